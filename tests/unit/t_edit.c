/* Edits of several files: all of them or none. */

#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "config/edit.h"
#include "fs/extract.h"

static char dir[] = "/tmp/t_edit.XXXXXX";
static struct conf_paths paths;
static struct log lg;

static void
put(const char *name, const char *text, mode_t mode)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_non_null(f = fopen(path, "w"));
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
}

static const char *
get(const char *name)
{
	static struct buf b;
	struct err e = ERR_INIT;
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	buf_fini(&b);
	buf_init(&b, 65536);
	return file_slurp(&b, AT_FDCWD, path, &e) == 0 ? b.p : NULL;
}

static bool
there(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return access(path, F_OK) == 0;
}

static int
setup(void **state)
{
	char cmd[300];

	(void)state;
	memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
	assert_non_null(mkdtemp(dir));
	snprintf(cmd, sizeof(cmd), "%s/conf.d", dir);
	assert_int_equal(mkdir(cmd, 0755), 0);
	put("cala.conf", "; mine\n[configuration \"a\"]\ndisk = local\n", 0600);
	put("conf.d/10.conf", "[configuration \"a\"]\ndescription = d\n", 0640);
	memset(&paths, 0, sizeof(paths));
	paths.system = dir;
	paths.key = "/nonexistent";
	log_init(&lg, NULL, "t");
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	return fs_remove(AT_FDCWD, dir);
}

static void
both_files_change(void **state)
{
	struct err e = ERR_INIT;
	struct edit ed;

	(void)state;
	assert_int_equal(edit_open(&ed, &paths, "t", &lg, &e), 0);
	assert_int_equal(edit_rename(&ed, "configuration", "a", "b", &e), 0);
	assert_int_equal(edit_commit(&ed, &e), 0);
	edit_close(&ed);
	assert_string_equal(get("cala.conf"),
	    "; mine\n[configuration \"b\"]\ndisk = local\n");
	assert_string_equal(get("conf.d/10.conf"),
	    "[configuration \"b\"]\ndescription = d\n");
	assert_false(there(".cala-config.journal"));
	assert_false(there(".cala-config.lock"));
	assert_false(there("conf.d/.cala-config.lock"));
}

/* The second can't be written: nor is the first. */
static void
none_changes_when_one_cannot(void **state)
{
	struct err e = ERR_INIT;
	struct edit ed;

	(void)state;
	assert_int_equal(edit_open(&ed, &paths, "t", &lg, &e), 0);
	assert_int_equal(edit_rename(&ed, "configuration", "a", "b", &e), 0);
	put("conf.d/10.conf", "[configuration \"a\"]\ndescription = other\n",
	    0640);
	assert_int_equal(edit_commit(&ed, &e), -1);
	assert_int_equal(e.code, CALA_LOCKED);
	edit_close(&ed);
	assert_string_equal(get("cala.conf"),
	    "; mine\n[configuration \"a\"]\ndisk = local\n");
	assert_string_equal(get("conf.d/10.conf"),
	    "[configuration \"a\"]\ndescription = other\n");
}

static void
journal(const char *to, mode_t mode)
{
	char text[700];

	snprintf(text, sizeof(text), "{\"v\":1,\"moves\":[{\"dir\":\"%s\","
	    "\"from\":\".cala.conf.0123456789ab.part\",\"to\":\"cala.conf\"},"
	    "{\"dir\":\"%s/conf.d\",\"from\":\".10.conf.0123456789ab.part\","
	    "\"to\":\"%s\"}]}", dir, dir, to);
	put(".cala-config.journal", text, mode);
}

/* Cut off between the two: the next editor does the rest. */
static void
the_next_finishes(void **state)
{
	static const char b[] = "[configuration \"b\"]\ndescription = d\n";
	struct err e = ERR_INIT;
	struct edit ed;

	(void)state;
	put("cala.conf", "[configuration \"b\"]\ndisk = local\n", 0600);
	put("conf.d/.10.conf.0123456789ab.part", b, 0640);
	journal("10.conf", 0600);
	assert_int_equal(edit_open(&ed, &paths, "t", &lg, &e), 0);
	assert_non_null(conf_section(ed.c, "configuration", "b"));
	assert_null(conf_section(ed.c, "configuration", "a"));
	edit_close(&ed);
	assert_string_equal(get("conf.d/10.conf"), b);
	assert_false(there(".cala-config.journal"));
	assert_false(there("conf.d/.10.conf.0123456789ab.part"));
}

/* What can't be finished any more must not block every edit to come. */
static void
a_gone_folder_blocks_nothing(void **state)
{
	struct err e = ERR_INIT;
	struct edit ed;
	char path[256];

	(void)state;
	snprintf(path, sizeof(path), "%s/conf.d/10.conf", dir);
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof(path), "%s/conf.d", dir);
	assert_int_equal(rmdir(path), 0);
	journal("10.conf", 0600);
	assert_int_equal(edit_open(&ed, &paths, "t", &lg, &e), 0);
	edit_close(&ed);
	assert_false(there(".cala-config.journal"));
}

static void
what_was_changed_since_stays(void **state)
{
	static const char mine[] = "[configuration \"a\"]\ndescription = x\n";
	struct timespec later[2] = { { 0, UTIME_OMIT }, { 4000000000, 0 } };
	struct err e = ERR_INIT;
	struct edit ed;
	char path[256];

	(void)state;
	put("conf.d/.10.conf.0123456789ab.part", "[cala]\n", 0640);
	journal("10.conf", 0600);
	put("conf.d/10.conf", mine, 0640);
	snprintf(path, sizeof(path), "%s/conf.d/10.conf", dir);
	assert_int_equal(utimensat(AT_FDCWD, path, later, 0), 0);
	assert_int_equal(edit_open(&ed, &paths, "t", &lg, &e), 0);
	edit_close(&ed);
	assert_string_equal(get("conf.d/10.conf"), mine);
	assert_false(there("conf.d/.10.conf.0123456789ab.part"));
}

/* Who may write a journal may replace any file of ours. */
static void
others_journals_are_not_believed(void **state)
{
	struct err e = ERR_INIT;
	struct edit ed;

	(void)state;
	put("conf.d/.10.conf.0123456789ab.part", "[cala]\n", 0640);
	journal("10.conf", 0644);
	assert_int_equal(edit_open(&ed, &paths, "t", &lg, &e), 0);
	edit_close(&ed);
	assert_true(there("conf.d/.10.conf.0123456789ab.part"));
	/* Nor one of ours that names something else. */
	journal("../cala.conf", 0600);
	assert_int_equal(edit_open(&ed, &paths, "t", &lg, &e), -1);
	assert_int_equal(e.code, CALA_INTEGRITY);
	assert_string_equal(get("cala.conf"),
	    "; mine\n[configuration \"a\"]\ndisk = local\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(both_files_change, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(none_changes_when_one_cannot,
		    setup, teardown),
		cmocka_unit_test_setup_teardown(the_next_finishes, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(a_gone_folder_blocks_nothing,
		    setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_changed_since_stays,
		    setup, teardown),
		cmocka_unit_test_setup_teardown(
		    others_journals_are_not_believed, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
