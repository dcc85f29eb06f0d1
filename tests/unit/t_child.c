/* child: foreign programs, played by the shell. */

#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/stop.h"
#include "base/when.h"
#include "exec/child.h"

#define SH(script) (const char *const []){ "sh", "-c", script, NULL }

static const char *const plain_env[] = { "PATH=/usr/bin:/bin", NULL };

static struct child_spec
spec(const char *const *argv)
{
	struct child_spec s = CHILD_SPEC_INIT;

	s.what = "program";
	s.argv = argv;
	s.env = plain_env;
	s.grace = 20;
	return s;
}

static struct child *
start(const struct child_spec *s)
{
	struct err e = ERR_INIT;
	struct child *c = NULL;

	assert_ok(child_start(&c, s, &e), &e);
	return c;
}

/* All of its output, and how it ended. */
static ssize_t
slurp(struct child *c, char *out, size_t room, struct err *e)
{
	size_t have = 0;
	ssize_t n;

	while ((n = child_read(c, out + have, room - have - 1, e)) > 0)
		have += (size_t)n;
	out[have] = '\0';
	return n == 0 ? (ssize_t)have : -1;
}

static void
output(void **state)
{
	struct err e = ERR_INIT;
	struct child_spec s = spec(SH("echo one; echo two; printf three"));
	struct child *c = start(&s);
	char out[64];

	(void)state;
	assert_int_equal(slurp(c, out, sizeof(out), &e), 13);
	assert_string_equal(out, "one\ntwo\nthree");
	/* The end stays the end. */
	assert_int_equal(child_read(c, out, sizeof(out), &e), 0);
	child_free(c);
}

static void
endings(void **state)
{
	static const struct { const char *script, *msg; } t[] = {
		{ "echo x; echo why >&2; exit 5",
		    "program: exited with status 5: why" },
		{ "echo x; exit 5", "program: exited with status 5" },
		{ "kill -KILL $$", "program: killed by SIGKILL" },
		{ "echo a >&2; printf 'b\\033' >&2; exit 1",
		    "program: exited with status 1: a; b\\x1b" },
		{ "seq 1 1000 >&2; exit 1",
		    "program: exited with status 1: 997; 998; 999; 1000" },
	};
	struct child_spec s;
	struct child *c;
	char out[64];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct err e = ERR_INIT;

		s = spec(SH(t[i].script));
		c = start(&s);
		assert_int_equal(slurp(c, out, sizeof(out), &e), -1);
		assert_string_equal(e.msg, t[i].msg);
		assert_int_equal(e.code, CALA_FAIL);
		/* Asked again, it answers the same. */
		err_clear(&e);
		assert_int_equal(child_finish(c, &e), -1);
		assert_string_equal(e.msg, t[i].msg);
		child_free(c);
	}
}

static void
missing(void **state)
{
	const char *const argv[] = { "cala-no-such-program", NULL };
	struct child_spec s = spec(argv);
	struct err e = ERR_INIT;
	struct child *c = NULL;

	(void)state;
	assert_int_equal(child_start(&c, &s, &e), -1);
	assert_int_equal(e.code, CALA_NOCMD);
	assert_null(c);
}

static void
lines(void **state)
{
	struct err e = ERR_INIT;
	struct child_spec s = spec(SH("echo; echo ab; sleep 0.1; printf 'c'; "
	    "sleep 0.1; printf 'd\\n\\ne\\0f'"));
	static const struct { const char *p; size_t n; } want[] = {
		{ "", 0 }, { "ab", 2 }, { "cd", 2 }, { "", 0 }, { "e\0f", 3 }
	};
	struct child *c = start(&s);
	char *line;
	size_t i, n;

	(void)state;
	for (i = 0; i < 5; i++) {
		assert_int_equal(child_line(c, &line, &n, &e), 1);
		assert_int_equal(n, want[i].n);
		assert_memory_equal(line, want[i].p, n + 1);
	}
	assert_int_equal(child_line(c, &line, &n, &e), 0);
	assert_int_equal(child_line(c, &line, &n, &e), 0);
	child_free(c);
}

static void
long_lines(void **state)
{
	static const char *const scripts[] = {
		"head -c 100001 /dev/zero | tr '\\0' x; echo; echo more",
		"head -c 100001 /dev/zero | tr '\\0' x",
		"yes | tr -d '\\n'"
	};
	char *line;
	size_t i, n;

	(void)state;
	for (i = 0; i < 3; i++) {
		struct err e = ERR_INIT;
		struct child_spec s = spec(SH(scripts[i]));
		struct child *c;

		s.line_max = 100000;
		c = start(&s);
		assert_int_equal(child_line(c, &line, &n, &e), -1);
		assert_int_equal(e.code, CALA_INTEGRITY);
		child_free(c);
		if (i == 2)
			continue;
		err_clear(&e);
		s.line_max = 100001;
		c = start(&s);
		assert_int_equal(child_line(c, &line, &n, &e), 1);
		assert_int_equal(n, 100001);
		child_free(c);
	}
}

/* A full pipe on one side must not stop the other. */
static void
both_pipes(void **state)
{
	struct err e = ERR_INIT;
	struct child_spec s = spec(SH("head -c 3000000 /dev/zero >&2; "
	    "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; "
	    "echo last >&2; echo end"));
	struct child *c = start(&s);
	uint64_t sum = 0;
	char out[65536];
	ssize_t n;

	(void)state;
	while ((n = child_read(c, out, sizeof(out), &e)) > 0)
		sum += (uint64_t)n;
	assert_int_equal(n, 0);
	assert_int_equal(sum, 3000004);
	child_free(c);
}

static bool
gone(pid_t pid)
{
	double until = when_mono() + 20;

	/* Who adopted it may take a moment to reap it. */
	while (kill(pid, 0) == 0 && when_mono() < until)
		(void)poll(NULL, 0, 20);
	return kill(pid, 0) == -1 && errno == ESRCH;
}

static void
silence(void **state)
{
	struct err e = ERR_INIT;
	struct child_spec s = spec(SH("echo busy >&2; echo $$; exec sleep 600"));
	struct child *c;
	char out[64];

	(void)state;
	s.idle = 0.3;
	c = start(&s);
	assert_int_equal(slurp(c, out, sizeof(out), &e), -1);
	assert_int_equal(e.code, CALA_NET);
	assert_non_null(strstr(e.msg, "silent"));
	assert_non_null(strstr(e.msg, "busy"));
	assert_true(gone((pid_t)strtol(out, NULL, 10)));
	child_free(c);
}

static void
too_long(void **state)
{
	struct err e = ERR_INIT;
	struct child_spec s = spec(SH("echo $$; while :; do echo; "
	    "sleep 0.05; done"));
	struct child *c;
	char out[65536];

	(void)state;
	s.limit = 0.5;
	c = start(&s);
	assert_int_equal(slurp(c, out, sizeof(out), &e), -1);
	assert_int_equal(e.code, CALA_NET);
	assert_true(gone((pid_t)strtol(out, NULL, 10)));
	child_free(c);
}

/* Deaf to signals, and with a child of its own that is deaf, too. */
static void
deaf(void **state)
{
	struct err e = ERR_INIT;
	struct child_spec s = spec(SH("trap '' TERM INT; sleep 600 & "
	    "echo $! $$; wait; sleep 600"));
	struct child *c;
	char *line, *end;
	pid_t inner, outer;
	size_t n;

	(void)state;
	s.grace = 0.2;
	c = start(&s);
	assert_int_equal(child_line(c, &line, &n, &e), 1);
	inner = (pid_t)strtol(line, &end, 10);
	outer = (pid_t)strtol(end, NULL, 10);
	child_free(c);
	assert_true(gone(inner));
	assert_true(gone(outer));
}

/* The signal that it cleans up by, once, and time for that. */
static void
cleanup(void **state)
{
	char file[] = "/tmp/t_child.XXXXXX", script[256], got[16] = "";
	struct err e = ERR_INIT;
	struct child_spec s;
	struct child *c;
	char *line;
	size_t n;
	int fd = mkstemp(file);

	(void)state;
	assert_true(fd >= 0);
	snprintf(script, sizeof(script), "trap 'sleep 0.3; echo int >>%s; "
	    "exit 0' INT; trap 'echo term >>%s; exit 0' TERM; echo ready; "
	    "while :; do sleep 0.05; done", file, file);
	s = spec(SH(script));
	s.ends = SIGINT;
	c = start(&s);
	assert_int_equal(child_line(c, &line, &n, &e), 1);
	child_free(c);
	assert_int_equal(read(fd, got, sizeof(got) - 1), 4);
	assert_string_equal(got, "int\n");
	close(fd);
	unlink(file);
}

/* One that ends leaves nothing behind, and who holds its pipe delays nobody. */
static void
left_over(void **state)
{
	struct err e = ERR_INIT;
	struct child_spec s = spec(SH("sleep 600 & echo $!"));
	struct child *c = start(&s);
	char out[64];

	(void)state;
	assert_true(slurp(c, out, sizeof(out), &e) > 0);
	assert_true(gone((pid_t)strtol(out, NULL, 10)));
	child_free(c);
}

static void
stopped(void **state)
{
	struct err e = ERR_INIT;
	struct child_spec s = spec(SH("echo $$; exec sleep 600"));
	struct child *c = start(&s);
	char *line;
	pid_t pid;
	size_t n;

	(void)state;
	assert_int_equal(child_line(c, &line, &n, &e), 1);
	pid = (pid_t)strtol(line, NULL, 10);
	stop_set(SIGTERM);
	assert_int_equal(child_line(c, &line, &n, &e), -1);
	stop_set(0);
	assert_int_equal(e.code, CALA_SIGNAL + SIGTERM);
	assert_true(gone(pid));
	child_free(c);
}

struct heard {
	int lines, status;
	char said[CHILD_SAID];
};

static const char *
hear(void *ctx, char *line, size_t n)
{
	struct heard *h = ctx;

	assert_int_equal(strlen(line), n);
	h->lines++;
	return strncmp(line, "note ", 5) == 0 ? NULL : line;
}

static int
weigh(void *ctx, int status, const char *said, struct err *e)
{
	struct heard *h = ctx;

	h->status = status;
	snprintf(h->said, sizeof(h->said), "%s", said);
	return status == 3 ? 0 : child_fail("it", status, said, CALA_AUTH, e);
}

static void
judged(void **state)
{
	struct child_spec s = spec(SH("echo note a >&2; echo b >&2; "
	    "echo note c >&2; exit 3"));
	struct err e = ERR_INIT;
	struct heard h = { 0, 0, "" };
	struct child *c;

	(void)state;
	s.said = hear;
	s.judge = weigh;
	s.ctx = &h;
	c = start(&s);
	assert_int_equal(child_finish(c, &e), 0);
	child_free(c);
	assert_int_equal(h.lines, 3);
	assert_int_equal(h.status, 3);
	assert_string_equal(h.said, "b");

	s.argv = SH("exit 4");
	c = start(&s);
	assert_int_equal(child_finish(c, &e), -1);
	child_free(c);
	assert_int_equal(e.code, CALA_AUTH);
	assert_string_equal(e.msg, "it: exited with status 4");
}

static void
as_source(void **state)
{
	struct child_spec s = spec(SH("printf abc"));
	struct err e = ERR_INIT;
	struct source *in;
	char out[8];

	(void)state;
	in = child_source(start(&s), &e);
	assert_non_null(in);
	assert_int_equal(source_full(in, out, sizeof(out), &e), 3);
	assert_int_equal(in->pos, 3);
	source_close(in);

	s.argv = SH("printf abc; exit 1");
	in = child_source(start(&s), &e);
	assert_int_equal(source_full(in, out, sizeof(out), &e), -1);
	source_close(in);
}

/* Our own environment stays ours. */
static void
environment(void **state)
{
	char *ours[] = { (char[]){ "PATH=/usr/bin:/bin" },
	    (char[]){ "RESTIC_REPOSITORY=/wrong" },
	    (char[]){ "AWS_KEY=a=b" }, (char[]){ "AWS_ID=c" },
	    (char[]){ "AWSX=d" }, (char[]){ "NONSENSE" }, NULL };
	struct child_env v = CHILD_ENV_INIT;
	struct err e = ERR_INIT;
	struct child_spec s;
	struct child *c;
	char out[1024];

	(void)state;
	assert_ok(child_env_init(&v, ours, &e), &e);
	assert_ok(child_env_set(&v, "AWS_ID", "mine", &e), &e);
	assert_ok(child_env_pass(&v, ours, "AWS_", &e), &e);
	assert_ok(child_env_set(&v, "X", "1", &e), &e);
	assert_ok(child_env_set(&v, "X", "two\nlines", &e), &e);
	assert_int_equal(child_env_set(&v, "A=B", "", &e), -1);
	assert_int_equal(child_env_set(&v, "", "", &e), -1);
	assert_true(child_env_has(&v, "AWS_"));
	assert_true(child_env_has(&v, "AWS_KEY"));
	assert_false(child_env_has(&v, "AWS"));
	assert_false(child_env_has(&v, "RESTIC_"));
	assert_string_equal(child_env_get(&v, "AWS_KEY"), "a=b");
	assert_null(child_env_get(&v, "AWS_"));
	setenv("CALA_T_CHILD", "leak", 1);
	s = spec((const char *const []){ "env", NULL });
	s.env = child_env_list(&v);
	c = start(&s);
	assert_true(slurp(c, out, sizeof(out), &e) > 0);
	assert_string_equal(out, "PATH=/usr/bin:/bin\nHOME=/\nLC_ALL=C\n"
	    "TZ=UTC\nAWS_ID=mine\nAWS_KEY=a=b\nX=two\nlines\n");
	child_free(c);
	child_env_fini(&v);
}

static void
memory(void **state)
{
	struct child_spec s = spec(SH("cat /dev/fd/3; cat /dev/fd/3; "
	    "(echo x >/dev/fd/3) 2>/dev/null || echo sealed"));
	struct err e = ERR_INIT;
	struct proc_fd fd = { child_memory("secret", "pw\n", 3, &e), 3 };
	struct child *c;
	char out[64];

	(void)state;
	assert_true(fd.ours >= 0);
	s.fds = &fd;
	s.nfds = 1;
	c = start(&s);
	assert_true(slurp(c, out, sizeof(out), &e) > 0);
	assert_string_equal(out, "pw\npw\nsealed\n");
	child_free(c);
	close(fd.ours);
}

static void
objects(void **state)
{
	json_t *j;

	(void)state;
	j = child_json(" {\"a\":1}", 8);
	assert_non_null(j);
	json_decref(j);
	assert_null(child_json("", 0));
	assert_null(child_json("text", 4));
	assert_null(child_json("[1]", 3));
	assert_null(child_json("{\"a\":1", 6));
	assert_null(child_json("{\"a\":1} x", 9));
}

struct seen {
	int n, stop_at;
	char text[256];
};

static int
see(void *ctx, json_t *j, struct err *e)
{
	struct seen *s = ctx;

	snprintf(s->text + strlen(s->text), sizeof(s->text) - strlen(s->text),
	    "%s;", json_string_value(json_object_get(j, "a")));
	if (++s->n == s->stop_at)
		return err_set(e, CALA_FAIL, "enough");
	return 0;
}

static int
items(const char *script, const char *key, int stop_at, size_t max,
    struct seen *got, struct err *e)
{
	struct child_spec s = spec(SH(script));
	struct child *c = start(&s);
	int ret;

	memset(got, 0, sizeof(*got));
	got->stop_at = stop_at;
	ret = child_member(c, key, max, see, got, e);
	child_free(c);
	return ret;
}

static void
arrays(void **state)
{
	static const struct { const char *script, *want; } good[] = {
		{ "echo '[]'", "" },
		{ "echo '[{\"a\":\"x\"}]'", "x;" },
		{ "printf 'warning: [no\\n \\n [ {\"a\":\"]}\\\\\"{\",\"b\":"
		    "{\"c\":[1,{}]}}\\n , {\"a\":\"y\"} ]\\nbye ['",
		    "]}\"{;y;" },
		{ "for p in '[{\"a' '\":\"x' '\"},{\"' 'a\":\"y\\' "
		    "'\"\"}' ']'; do printf %s \"$p\"; sleep 0.05; done",
		    "x;y\";" },
	};
	static const char *const bad[] = {
		"echo", "echo nothing", "printf '['", "echo '[{\"a\":\"x\"}'",
		"echo '[{\"a\":\"x\"'", "echo '[1]'", "echo '[{}{}]'",
		"echo '[{},]'", "echo '[{\"a\":x}]'", "echo '[,]'",
		"echo '[{\"a\":\"x\"}]'; exit 1",
		"printf '[{\"a\":\"'; head -c 5000 /dev/zero | tr '\\0' x"
	};
	struct seen got;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(good) / sizeof(*good); i++) {
		struct err e = ERR_INIT;

		assert_ok(items(good[i].script, NULL, 0, 4096, &got, &e), &e);
		assert_string_equal(got.text, good[i].want);
	}
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct err e = ERR_INIT;

		assert_int_equal(items(bad[i], NULL, 0, 4096, &got, &e), -1);
		assert_int_equal(e.code, strstr(bad[i], "exit") != NULL ?
		    CALA_FAIL : CALA_INTEGRITY);
	}
	{
		struct err e = ERR_INIT;

		assert_int_equal(items("echo '[{\"a\":\"x\"},{\"a\":\"y\"}]'",
		    NULL, 1, 4096, &got, &e), -1);
		assert_string_equal(e.msg, "enough");
		assert_int_equal(got.n, 1);
		err_clear(&e);
		assert_ok(items("echo '{\"n\":[{\"a\":\"x\"}],\"m\":[]}'",
		    "n", 0, 4096, &got, &e), &e);
		assert_string_equal(got.text, "x;");
		assert_int_equal(items("echo '[{\"a\":\"x\"}]'", "n", 0, 4096,
		    &got, &e), -1);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output),
		cmocka_unit_test(endings),
		cmocka_unit_test(missing),
		cmocka_unit_test(lines),
		cmocka_unit_test(long_lines),
		cmocka_unit_test(both_pipes),
		cmocka_unit_test(silence),
		cmocka_unit_test(too_long),
		cmocka_unit_test(deaf),
		cmocka_unit_test(cleanup),
		cmocka_unit_test(left_over),
		cmocka_unit_test(stopped),
		cmocka_unit_test(judged),
		cmocka_unit_test(as_source),
		cmocka_unit_test(environment),
		cmocka_unit_test(memory),
		cmocka_unit_test(objects),
		cmocka_unit_test(arrays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
