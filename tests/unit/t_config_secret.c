/* Where the value of a secret key comes from, and what is refused. */

#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "config/conf.h"
#include "config/files.h"
#include "fs/extract.h"

static char dir[64];
static const char *names[4], *values[4];

static const char *
env(const char *name)
{
	size_t i;

	for (i = 0; i < 4 && names[i] != NULL; i++)
		if (strcmp(names[i], name) == 0)
			return values[i];
	return NULL;
}

/* The one variable that is set; NULL: none. */
static void
only(const char *name, const char *value)
{
	memset(names, 0, sizeof(names));
	names[0] = name;
	values[0] = value;
}

static int
in_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "%s/cala-secret.XXXXXX", "/tmp");
	only(NULL, NULL);
	return mkdtemp(dir) == NULL ? -1 : 0;
}

static int
gone(void **state)
{
	(void)state;
	return fs_remove(AT_FDCWD, dir);
}

/* A file in dir; its path until the next call. */
static const char *
file(const char *name, const char *text, mode_t mode)
{
	static char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	return path;
}

/* conf_secret of token-secret in a configuration "a" with one more line. */
static int
ask(const char *line, struct secret *out, struct err *e)
{
	struct conf_paths paths = { .system = "/nonexistent", .env = env };
	struct conf_files fs = { NULL, 0, true };
	struct conf *c = NULL;
	struct conf_file *f = files_add(&fs, "f", e);
	int ret;

	assert_non_null(f);
	buf_printf(&f->text, "[configuration \"a\"]\ndisk = pbs\n"
	    "url = https://h\ndatastore = d\ntoken-id = a@b!c\n%s\n", line);
	assert_ok(conf_build(&c, &fs, &paths, NULL, e), e);
	files_free(&fs);
	ret = conf_secret(c, conf_section(c, "configuration", "a"),
	    "token-secret", out, e);
	conf_free(c);
	return ret;
}

static void
gives(const char *line, const char *want)
{
	struct secret s = SECRET_INIT;
	struct err e = ERR_INIT;

	if (ask(line, &s, &e) != 1)
		fail_msg("%s: %s", line, e.msg);
	assert_string_equal((char *)s.p, want);
	secret_free(&s);
}

static void
refuses(const char *line, int code, const char *what)
{
	struct secret s = SECRET_INIT;
	struct err e = ERR_INIT;

	assert_int_equal(ask(line, &s, &e), -1);
	assert_int_equal(e.code, code);
	if (strstr(e.msg, what) == NULL)
		fail_msg("'%s' does not say '%s'", e.msg, what);
	assert_null(s.p);
}

static void
order(void **state)
{
	char line[512], path[256], text[16];
	int fd[2];

	(void)state;
	refuses("", CALA_USAGE, "token-secret is missing");
	only("PBS_PASSWORD", "custom");
	gives("", "custom");
	gives("token-secret = plain", "plain");
	snprintf(line, sizeof(line), "token-secret-file = %s",
	    file("s", "from a file\n", 0600));
	gives(line, "from a file");

	file("cala.a.token-secret", "credential\r\n", 0400);
	file("cala.b.token-secret", "of another", 0400);
	only("CREDENTIALS_DIRECTORY", dir);
	gives("token-secret = plain", "credential");
	gives("", "credential");

	names[1] = "CALA_TOKEN_SECRET_COMMAND";
	values[1] = "/bin/echo \"of the command\"";
	gives("token-secret = plain", "of the command");
	snprintf(path, sizeof(path), "%s", file("e", "environment", 0600));
	only("CALA_TOKEN_SECRET_FILE", path);
	gives("token-secret = plain", "environment");
	assert_int_equal(pipe(fd), 0);
	assert_int_equal(write(fd[1], "piped\n", 6), 6);
	close(fd[1]);
	snprintf(text, sizeof(text), "%d", fd[0]);
	only("CALA_TOKEN_SECRET_FD", text);
	gives("token-secret = plain", "piped");
	close(fd[0]);
	only("CALA_TOKEN_SECRET_FD", "x");
	refuses("token-secret = plain", CALA_USAGE, "no descriptor");
}

static void
files(void **state)
{
	char line[512], path[256], link[256];
	/* user::rw user:1234:r group::- mask::r other::- */
	unsigned char acl[] = { 2, 0, 0, 0,
	    1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 210, 4, 0, 0,
	    4, 0, 0, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255,
	    32, 0, 0, 0, 255, 255, 255, 255 };

	(void)state;
	snprintf(path, sizeof(path), "%s", file("s", "x", 0640));
	snprintf(line, sizeof(line), "token-secret-file = %s", path);
	refuses(line, CALA_AUTH, "group or others");
	assert_int_equal(chmod(path, 0604), 0);
	refuses(line, CALA_AUTH, "group or others");
	assert_int_equal(chmod(path, 0600), 0);
	gives(line, "x");
	snprintf(link, sizeof(link), "%s/link", dir);
	assert_int_equal(symlink("s", link), 0);
	snprintf(line, sizeof(line), "token-secret-file = %s", link);
	refuses(line, CALA_FAIL, "link");
	snprintf(line, sizeof(line), "token-secret-file = %s/none", dir);
	refuses(line, CALA_NOTFOUND, "none");
	snprintf(line, sizeof(line), "token-secret-file = %s", dir);
	refuses(line, CALA_AUTH, "not a regular file");
	snprintf(line, sizeof(line), "token-secret-file = %s",
	    file("empty", "\n", 0600));
	refuses(line, CALA_USAGE, "0 characters");

	/* An ACL for another user; then, as systemd sets it, for us. */
	snprintf(line, sizeof(line), "token-secret-file = %s", path);
	if (setxattr(path, "system.posix_acl_access", acl, sizeof(acl), 0) == -1)
		return;
	refuses(line, CALA_AUTH, "group or others");
	acl[16] = (unsigned char)geteuid();
	acl[17] = (unsigned char)(geteuid() >> 8);
	assert_int_equal(setxattr(path, "system.posix_acl_access", acl,
	    sizeof(acl), 0), 0);
	gives(line, "x");
}

static void
commands(void **state)
{
	(void)state;
	/* No shell: what one would expand is an argument. */
	gives("token-secret-command = /bin/echo $HOME;id `id` *",
	    "$HOME;id `id` *");
	/* Nothing to read: cat ends at once, and nothing is no secret. */
	refuses("token-secret-command = /bin/cat", CALA_USAGE,
	    "0 characters");
	refuses("token-secret-command = /bin/sh -c \"echo half; exit 3\"",
	    CALA_AUTH, "exited with status 3");
	refuses("token-secret-command = /bin/sh -c \"kill -9 $$\"",
	    CALA_AUTH, "SIGKILL");
	refuses("token-secret-command = /nonexistent/program", CALA_NOCMD,
	    "program");
	refuses("token-secret-command = /usr/bin/yes", CALA_USAGE,
	    "says more than");
	refuses("token-secret-command = /usr/bin/printf \"a\\\\000b\"",
	    CALA_USAGE, "NUL");
}

static void
slow_command(void **state)
{
	(void)state;
	refuses("token-secret-command = /bin/sh -c \"sleep 3600; echo late\"",
	    CALA_AUTH, "no end after 30 seconds");
}

int
main(void)
{
	const struct CMUnitTest t[] = {
		cmocka_unit_test_setup_teardown(order, in_dir, gone),
		cmocka_unit_test_setup_teardown(files, in_dir, gone),
		cmocka_unit_test_setup_teardown(commands, in_dir, gone),
		cmocka_unit_test_setup_teardown(slow_command, in_dir, gone),
	};

	return cmocka_run_group_tests(t, NULL, NULL);
}
