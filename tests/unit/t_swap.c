/*
 * swap: a tree takes another's place, and a machine that stops at any point
 * in between loses neither.
 */

#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/extract.h"
#include "fs/swap.h"

static struct log quiet;
static char base[64], v[80];

static const char id[] = "11111111-2222-4333-8444-555555555555";

/* A shell line in base; its status. */
static int
sh(const char *line)
{
	char cmd[2048];
	int st;

	snprintf(cmd, sizeof(cmd), "cd %s && { %s\n}", base, line);
	st = system(cmd);
	return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

static int
setup(void **state)
{
	(void)state;
	umask(077);
	log_init(&quiet, getenv("LOUD") ? stderr : NULL, "t_swap");
	snprintf(base, sizeof(base), "/tmp/cala-t-swap.XXXXXX");
	if (mkdtemp(base) == NULL)
		return -1;
	snprintf(v, sizeof(v), "%s/v", base);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	log_fini(&quiet);
	return fs_remove(AT_FDCWD, base);
}

/* V with the old tree; beside it a server that is none of our business. */
static void
fresh(void)
{
	assert_int_equal(sh("rm -rf v other .cala*; mkdir -p v/both v/o other;"
	    "echo old >v/both/f; echo old >v/o/f; echo old >v/file;"
	    "ln -s old v/link; chmod 751 v; echo other >other/f"), 0);
}

static void
fill(struct swap *s)
{
	char cmd[512];

	snprintf(cmd, sizeof(cmd), "cd /proc/%d/fd/%d && mkdir both n && "
	    "echo new >both/f && echo new >n/f && echo new >file && "
	    "chmod 710 . && touch -d 2001-02-03T04:05:06Z .", (int)getpid(),
	    swap_dir(s));
	assert_int_equal(sh(cmd), 0);
}

static bool
is_new(void)
{
	return sh("test \"$(ls -A v | grep -v '^[.]cala-')\" = \"$(printf "
	    "'both\nfile\nn')\" && grep -q new v/both/f && grep -q new v/n/f "
	    "&& grep -q new v/file && test $(stat -c %a v) = 710") == 0;
}

static bool
is_old(const char *where)
{
	char line[512];

	snprintf(line, sizeof(line), "cd %s && test \"$(ls -A . | grep -v "
	    "'^[.]cala-')\" = \"$(printf 'both\nfile\nlink\no')\" && grep -q "
	    "old both/f && grep -q old o/f && grep -q old file && "
	    "test -L link", where);
	return sh(line) == 0;
}

static bool
kept_old(bool entries)
{
	char where[128];

	snprintf(where, sizeof(where), "%s.cala-old-%s/old", entries ? "v/" :
	    "", id);
	return is_old(where);
}

static bool
tidy(void)
{
	return sh("test -z \"$(find . -name '.cala-*')\" && "
	    "grep -q other other/f") == 0;
}

static void
replace(void **state)
{
	struct swap_how how = { .id = id };
	struct err e = ERR_INIT;
	struct swap *s;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		how.entries = i == 1;
		fresh();
		assert_non_null(s = swap_open(v, &how, &quiet, &e));
		fill(s);
		assert_true(is_old("v"));
		assert_ok(swap_commit(s, &e), &e);
		swap_free(s);
		assert_true(is_new());
		assert_true(kept_old(how.entries));
		assert_int_equal(sh("test $(stat -c %Y v) = 981173106"), 0);
		/* Nothing to recover, then nothing of it left. */
		assert_int_equal(swap_recover(v, &quiet, &e), 0);
		assert_int_equal(swap_discard(v, &quiet, &e), 1);
		assert_int_equal(swap_discard(v, &quiet, &e), 0);
		assert_true(tidy() && is_new());
	}
}

static void
given_up(void **state)
{
	struct swap_how how = { .id = id };
	struct err e = ERR_INIT;
	struct swap *s, *t;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		how.entries = i == 1;
		fresh();
		assert_non_null(s = swap_open(v, &how, &quiet, &e));
		fill(s);
		/* A second run sees the first at work. */
		how.id = NULL;
		assert_null(t = swap_open(v, &how, &quiet, &e));
		assert_int_equal(e.code, CALA_LOCKED);
		how.id = id;
		err_clear(&e);
		swap_free(s);
		assert_true(is_old("v") && tidy());
	}
	how.need = UINT64_MAX / 2;
	assert_null(swap_open(v, &how, &quiet, &e));
	assert_int_equal(e.code, CALA_NOSPACE);
	assert_true(is_old("v") && tidy());
	assert_null(swap_open("/", &how, &quiet, &e));
	assert_int_equal(e.code, CALA_USAGE);
}

static void
absent(void **state)
{
	struct swap_how how = { .id = id };
	struct err e = ERR_INIT;
	struct swap *s;

	(void)state;
	fresh();
	assert_int_equal(sh("rm -rf v"), 0);
	assert_non_null(s = swap_open(v, &how, &quiet, &e));
	fill(s);
	assert_ok(swap_commit(s, &e), &e);
	swap_free(s);
	assert_true(is_new() && tidy());
}

/* Stage and swap in a process of its own that dies after so many steps. */
static bool
die_after(bool entries, unsigned steps)
{
	struct swap_how how = { .id = id, .entries = entries };
	struct err e = ERR_INIT;
	struct swap *s;
	pid_t pid;
	int st;

	if ((pid = fork()) == 0) {
		if ((s = swap_open(v, &how, &quiet, &e)) == NULL)
			_exit(9);
		fill(s);
		st = swap_advance(s, steps, &e);
		_exit(st == 1 ? 1 : st == 0 ? 0 : 9);
	}
	assert_true(waitpid(pid, &st, 0) == pid && WIFEXITED(st));
	assert_true(WEXITSTATUS(st) <= 1);
	return WEXITSTATUS(st) == 1;
}

static void
interrupted(void **state)
{
	struct err e = ERR_INIT;
	unsigned steps, olds, news;
	bool more;
	int i, n;

	(void)state;
	for (i = 0; i < 2; i++) {
		olds = news = 0;
		for (more = true, steps = 0; more; steps++) {
			fresh();
			more = die_after(i == 1, steps);
			n = swap_recover(v, &quiet, &e);
			if (n == -1)
				fail_msg("step %u: %s", steps, e.msg);
			assert_int_equal(n, more ? 1 : 0);
			assert_int_equal(swap_recover(v, &quiet, &e), 0);
			if (is_old("v")) {
				olds++;
				assert_true(tidy());
				continue;
			}
			news++;
			assert_true(is_new());
			assert_true(kept_old(i == 1));
			assert_int_equal(swap_discard(v, &quiet, &e), 1);
			assert_true(tidy());
		}
		/* Both outcomes were seen: the loop did stop on the way. */
		assert_true(olds >= 1 && news >= (i == 1 ? 8 : 3));
	}
}

/* Something that can't be moved: all goes back to where it was. */
static void
undone(void **state)
{
	struct swap_how how = { .id = id, .entries = true };
	struct err e = ERR_INIT;
	struct swap *s;

	(void)state;
	fresh();
	if (geteuid() != 0 || sh("chattr +i v/link v/o 2>/dev/null || "
	    "chattr +i v/o") != 0)
		skip();
	assert_non_null(s = swap_open(v, &how, &quiet, &e));
	fill(s);
	assert_int_equal(swap_commit(s, &e), -1);
	assert_int_equal(e.sys, EPERM);
	swap_free(s);
	assert_int_equal(sh("chattr -i v/o"), 0);
	assert_true(is_old("v") && tidy());
}

/* A planted folder of somebody else is not believed. */
static void
planted(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	fresh();
	assert_int_equal(sh("mkdir -p v/.cala-restore-99999999-2222-4333-8444-"
	    "555555555555/tree && cd v/.cala-restore-* && echo x >tree/x && "
	    "echo '{\"v\":1,\"whole\":false,\"target\":\"v\"}' >journal && "
	    "echo '{\"phase\":\"in\"}' >>journal && chmod 755 ."), 0);
	assert_int_equal(swap_recover(v, &quiet, &e), 0);
	assert_int_equal(sh("test ! -e v/x && rm -rf v/.cala*"), 0);
	assert_true(is_old("v"));
}

static void
to(void **state)
{
	struct swap_how how = { .id = NULL };
	struct err e = ERR_INIT;
	struct swap *s;
	int st;

	(void)state;
	fresh();
	assert_null(swap_to(v, &how, &quiet, &e));
	assert_int_equal(e.code, CALA_EXISTS);
	assert_true(is_old("v") && sh("test ! -e v.part") == 0);
	assert_int_equal(sh("rm -rf v; mkdir v"), 0);
	/* A run that died leaves a part, which the next one removes. */
	if (fork() == 0) {
		if ((s = swap_to(v, &how, &quiet, &e)) == NULL)
			_exit(9);
		fill(s);
		_exit(0);
	}
	assert_true(wait(&st) > 0 && st == 0);
	assert_int_equal(sh("test -e v.part/n/f"), 0);
	assert_non_null(s = swap_to(v, &how, &quiet, &e));
	assert_int_equal(sh("test ! -e v.part/n"), 0);
	assert_null(swap_to(v, &how, &quiet, &e));
	assert_int_equal(e.code, CALA_LOCKED);
	fill(s);
	assert_ok(swap_commit(s, &e), &e);
	swap_free(s);
	assert_true(is_new() && tidy() && sh("test ! -e v.part") == 0);
	assert_int_equal(sh("test $(stat -c %Y v) = 981173106"), 0);
	/* A part that is not ours stays. */
	assert_int_equal(sh("rm -rf v; mkdir v.part; echo x >v.part/x"), 0);
	err_clear(&e);
	assert_null(swap_to(v, &how, &quiet, &e));
	assert_int_equal(e.code, CALA_EXISTS);
	assert_int_equal(sh("test -e v.part/x && rm -rf v.part"), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replace), cmocka_unit_test(given_up),
		cmocka_unit_test(absent), cmocka_unit_test(interrupted),
		cmocka_unit_test(undone), cmocka_unit_test(planted),
		cmocka_unit_test(to),
	};

	return cmocka_run_group_tests_name("swap", tests, setup, teardown);
}
