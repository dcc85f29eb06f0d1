/* proc and progress, with real programs. */

#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/progress.h"
#include "base/when.h"

#define ARGV(...) (const char *const []){ __VA_ARGS__, NULL }
#define SH(script) ARGV("sh", "-c", script)

static struct proc_spec
spec(const char *const *argv)
{
	struct proc_spec s = PROC_SPEC_INIT;

	s.argv = argv;
	return s;
}

static int
run(const char *const *argv)
{
	struct err e = ERR_INIT;
	struct proc_spec s = spec(argv);
	struct proc p;

	assert_ok(proc_start(&p, &s, &e), &e);
	assert_ok(proc_wait(&p, 1, 20, &e), &e);
	return p.status;
}

static void
statuses(void **state)
{
	(void)state;
	assert_int_equal(run(SH("exit 0")), 0);
	assert_int_equal(run(SH("exit 5")), 5);
	assert_int_equal(run(SH("exit 127")), 127);
	assert_int_equal(run(SH("kill -KILL $$")), 128 + SIGKILL);
	assert_int_equal(run(SH("kill -TERM $$")), 128 + SIGTERM);
}

static void
exec_failures(void **state)
{
	char dir[] = "/tmp/t_proc.XXXXXX", file[64];
	struct err e = ERR_INIT;
	struct proc_spec s;
	struct proc p;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	s = spec(ARGV("cala-no-such-program"));
	assert_int_equal(proc_start(&p, &s, &e), -1);
	assert_int_equal(e.code, CALA_NOCMD);
	assert_int_equal(p.pid, 0);
	s = spec(ARGV("/nonexistent/prog"));
	assert_int_equal(proc_start(&p, &s, &e), -1);
	assert_int_equal(e.code, CALA_NOCMD);
	snprintf(file, sizeof(file), "%s/plain", dir);
	fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	close(fd);
	s = spec(ARGV(file));
	assert_int_equal(proc_start(&p, &s, &e), -1);
	assert_int_equal(e.code, CALA_NOEXEC);
	s = spec(SH("exit 0"));
	s.dir = "/nonexistent";
	assert_int_equal(proc_start(&p, &s, &e), -1);
	assert_non_null(strstr(e.msg, "/nonexistent"));
	/* None of them is left as a zombie. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	unlink(file);
	rmdir(dir);
}

/* What a child prints, to the end. */
static int
add_line(void *ctx, const char *p, size_t n, struct err *e)
{
	struct buf *b = ctx;

	buf_add(b, p, n);
	buf_chr(b, '|');
	return buf_failed(b, e);
}

static int
capture(struct proc_spec s, struct buf *out, struct err *e)
{
	struct proc_task t;
	struct err own = ERR_INIT;

	memset(&t, 0, sizeof(t));
	t.spec = s;
	t.line = add_line;
	t.ctx = out;
	t.line_max = 1000;
	t.e = e;
	assert_ok(proc_gather(&t, 1, 1, 20, &own), &own);
	return t.code;
}

static void
child_state(void **state)
{
	static const char *const env[] = { "CALA_X=a b", "HOME=/changed",
	    NULL };
	struct err e = ERR_INIT;
	struct proc_spec s;
	struct buf out;
	sigset_t set, old;
	int fd;

	(void)state;
	buf_init(&out, 10000);
	/* Ignored SIGPIPE and a full mask are ours alone. */
	signal(SIGPIPE, SIG_IGN);
	sigfillset(&set);
	sigprocmask(SIG_SETMASK, &set, &old);
	s = spec(SH("grep -E '^Sig(Blk|Ign):' /proc/self/status"));
	assert_int_equal(capture(s, &out, &e), 0);
	sigprocmask(SIG_SETMASK, &old, NULL);
	assert_non_null(strstr(out.p, "SigBlk:\t0000000000000000|"));
	/* SIGPIPE is bit 12. */
	assert_int_equal(strtoul(strstr(out.p, "SigIgn:") + 8, NULL, 16) &
	    0x1000, 0);
	buf_reset(&out);

	/* cloexec by default; what is mapped arrives, even crosswise */
	fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 3);
	s = spec(NULL);
	s.argv = ARGV("sh", "-c", "readlink /proc/self/fd/0 /proc/self/fd/7;"
	    "echo \"$CALA_X $HOME\"");
	s.env = env;
	s.fds = &(struct proc_fd){ fd, 7 };
	s.nfds = 1;
	assert_int_equal(capture(s, &out, &e), 0);
	assert_string_equal(out.p, "/dev/null|/dev/zero|a b /changed|");
	buf_reset(&out);
	s.nfds = 0;
	s.argv = ARGV("sh", "-c", "readlink /proc/self/fd/7 || echo none");
	assert_int_equal(capture(s, &out, &e), 0);
	assert_string_equal(out.p, "none|");
	close(fd);
	buf_fini(&out);
}

static void
crosswise(void **state)
{
	int a = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	int b = open("/dev/full", O_RDWR | O_CLOEXEC);
	struct proc_fd map[2] = { { a, b }, { b, a } };
	struct err e = ERR_INIT;
	char script[128];
	struct proc_spec s;
	struct buf out;

	(void)state;
	buf_init(&out, 1000);
	snprintf(script, sizeof(script),
	    "readlink /proc/self/fd/%d /proc/self/fd/%d", a, b);
	s = spec(SH(script));
	s.fds = map;
	s.nfds = 2;
	assert_int_equal(capture(s, &out, &e), 0);
	assert_string_equal(out.p, "/dev/full|/dev/zero|");
	close(a);
	close(b);
	buf_fini(&out);
}

static void
gathering(void **state)
{
	/* Outlives the loop, unlike a compound literal in it. */
	static const char *const simple[] = { "sh", "-c",
	    "printf 'a\\nb'; echo oops >&2; exit 7", NULL };
	struct proc_task t[6];
	struct err own[6], e = ERR_INIT;
	struct buf out[6], errs[6];
	size_t i;

	(void)state;
	memset(t, 0, sizeof(t));
	memset(own, 0, sizeof(own));
	for (i = 0; i < 6; i++) {
		buf_init(&out[i], 5000000);
		buf_init(&errs[i], 100);
		t[i].spec = spec(simple);
		t[i].line = add_line;
		t[i].ctx = &out[i];
		t[i].line_max = 1000;
		t[i].errs = &errs[i];
		t[i].e = &own[i];
	}
	t[1].spec = spec(ARGV("cala-no-such-program"));
	t[2].spec = spec(SH("head -c 3000 /dev/zero; exec sleep 60"));
	t[3].spec = spec(SH("seq 1 200000"));
	t[4].spec = spec(SH("head -c 300000 /dev/zero >&2; echo done"));
	assert_ok(proc_gather(t, 6, 3, 30, &e), &e);
	assert_int_equal(t[0].code, 7);
	assert_string_equal(out[0].p, "a|b|");
	assert_string_equal(errs[0].p, "oops\n");
	assert_int_equal(t[1].code, CALA_NOCMD);
	assert_int_equal(t[2].code, CALA_INTEGRITY);
	assert_int_equal(t[3].code, 0);
	assert_int_equal(out[3].len, 1288895);
	assert_int_equal(t[4].code, 0);
	assert_string_equal(out[4].p, "done|");
	assert_int_equal(errs[4].len, 100);
	assert_int_equal(t[5].code, 7);
	for (i = 0; i < 6; i++) {
		buf_fini(&out[i]);
		buf_fini(&errs[i]);
	}
}

static void
too_slow(void **state)
{
	struct err own = ERR_INIT, e = ERR_INIT;
	struct proc_task t;
	struct buf out;

	(void)state;
	memset(&t, 0, sizeof(t));
	buf_init(&out, 100);
	t.spec = spec(ARGV("sleep", "600"));
	t.line = add_line;
	t.ctx = &out;
	t.line_max = 10;
	t.e = &own;
	assert_ok(proc_gather(&t, 1, 1, 0.2, &e), &e);
	assert_int_equal(t.code, CALA_NET);
	assert_true(t.proc.done);
	buf_fini(&out);
}

static void
deadline_and_group(void **state)
{
	struct err e = ERR_INIT;
	struct proc_spec s = spec(SH("trap '' TERM; sleep 600 & "
	    "echo $! >&1; wait; wait"));
	struct proc p;
	char num[32] = "";
	int pfd[2];
	pid_t grandchild;
	int i;

	(void)state;
	assert_int_equal(pipe2(pfd, O_CLOEXEC), 0);
	s.group = true;
	s.fd[1] = pfd[1];
	assert_ok(proc_start(&p, &s, &e), &e);
	assert_true(read(pfd[0], num, sizeof(num) - 1) > 0);
	grandchild = (pid_t)atol(num);
	assert_int_equal(proc_wait(&p, 1, 0.1, &e), -1);
	assert_int_equal(e.code, CALA_DEADLINE);
	assert_false(p.done);
	proc_end(&p, 1, 0.1);
	assert_true(p.done);
	assert_int_equal(p.status, 128 + SIGKILL);
	/* the group went with it (init or a subreaper takes the body) */
	for (i = 0; i < 500 && kill(grandchild, 0) == 0; i++) {
		char path[64], stat[256] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%ld/stat",
		    (long)grandchild);
		if ((f = fopen(path, "re")) == NULL)
			break;
		assert_non_null(fgets(stat, sizeof(stat), f));
		fclose(f);
		if (strstr(stat, ") Z ") != NULL)
			break;
		usleep(10000);
	}
	assert_true(i < 500);
	close(pfd[0]);
	close(pfd[1]);
}

static size_t
chain(size_t n, const char **scripts, struct proc *p)
{
	struct proc_spec s[4];
	const char *argv[4][4];
	struct err e = ERR_INIT;
	size_t i;

	for (i = 0; i < n; i++) {
		argv[i][0] = "sh";
		argv[i][1] = "-c";
		argv[i][2] = scripts[i];
		argv[i][3] = NULL;
		s[i] = spec(argv[i]);
	}
	assert_ok(proc_chain(p, s, n, &e), &e);
	assert_ok(proc_wait(p, n, 30, &e), &e);
	return proc_cause(p, n);
}

static void
causes(void **state)
{
	char dir[] = "/tmp/t_proc.XXXXXX", file[64], producer[256], sink[128];
	struct proc p[4];

	(void)state;
#define CHAIN(n, ...) chain(n, (const char *[]){ __VA_ARGS__ }, p)
	assert_int_equal(CHAIN(3, "seq 1000", "cat", "wc -l >/dev/null"), 3);
	/* the producer failed; the sink says "no proof" */
	assert_int_equal(CHAIN(2, "echo x; exit 13", "cat >/dev/null; exit 4"),
	    0);
	/* a failed sink kills its producers by SIGPIPE */
	assert_int_equal(CHAIN(3, "exec yes", "exec cat", "head -1 >/dev/null;"
	    " exit 16"), 2);
	assert_int_equal(p[0].status, 128 + SIGPIPE);
	assert_int_equal(p[1].status, 128 + SIGPIPE);
	/* a sink that stopped reading without complaint */
	assert_int_equal(CHAIN(2, "exec yes", "head -1 >/dev/null"), 0);
	/* partial, unless something failed */
	assert_int_equal(CHAIN(2, "exit 3", "cat >/dev/null"), 0);
	assert_int_equal(CHAIN(2, "exit 3", "cat >/dev/null; exit 14"), 1);
	/* nothing before it failed: then 4 is the cause itself */
	assert_int_equal(CHAIN(2, "echo x", "cat >/dev/null; exit 4"), 1);
	/*
	 * What ended first is the cause, even downstream.  Of two that are
	 * seen at once it would be the other: the producer goes on until the
	 * sink was waited for.
	 */
	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/pid", dir);
	snprintf(producer, sizeof(producer), "trap '' PIPE; while echo x; do"
	    " :; done 2>/dev/null; while kill -0 $(cat %s) 2>/dev/null; do"
	    " sleep 0.01; done; exit 1", file);
	snprintf(sink, sizeof(sink), "echo $$ >%s; exit 12", file);
	assert_int_equal(CHAIN(2, producer, sink), 1);
	unlink(file);
	rmdir(dir);
}

static void
chain_unstartable(void **state)
{
	const char *const a[] = { "sleep", "600", NULL };
	const char *const b[] = { "cala-no-such-program", NULL };
	struct proc_spec s[2];
	struct proc p[2];
	struct err e = ERR_INIT;

	(void)state;
	s[0] = spec(a);
	s[1] = spec(b);
	assert_int_equal(proc_chain(p, s, 2, &e), -1);
	assert_int_equal(e.code, CALA_NOCMD);
	assert_true(p[0].done);
	assert_int_equal(p[1].pid, 0);
}

/* A child of a killed parent is told to end. */
static void
orphans(void **state)
{
	int pfd[2], ws;
	char c;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(pfd, O_CLOEXEC), 0);
	if ((pid = fork()) == 0) {
		struct err e = ERR_INIT;
		struct proc_spec s = spec(ARGV("sleep", "600"));
		struct proc p;

		s.fds = &(struct proc_fd){ pfd[1], pfd[1] };
		s.nfds = 1;
		(void)!proc_start(&p, &s, &e);
		raise(SIGKILL);
	}
	close(pfd[1]);
	assert_int_equal(waitpid(pid, &ws, 0), pid);
	/* End of file only when the last holder of pfd[1] is gone. */
	assert_int_equal(read(pfd[0], &c, 1), 0);
	close(pfd[0]);
}

static void
says(void **state)
{
	struct proc p = { .status = 5 };
	char t[PROC_TEXT];

	(void)state;
	assert_string_equal(proc_says(&p, t), "exited with status 5");
	p.status = 137;
	assert_string_equal(proc_says(&p, t), "killed by SIGKILL");
}

static void
texts(void **state)
{
	char t[160];

	(void)state;
	progress_text(t, sizeof(t), 512ull << 20, 12, 1ull << 30, 8 << 20);
	assert_string_equal(t, "512.0 MiB of 1.0 GiB (50%), 12 files, "
	    "8.0 MiB/s, 0:01:04 left");
	progress_text(t, sizeof(t), 100, UINT64_MAX, 0, 0);
	assert_string_equal(t, "100 B, 0 B/s");
	/* more than expected, and no rate: no nonsense */
	progress_text(t, sizeof(t), 2000, 1, 1000, 5);
	assert_string_equal(t, "2.0 KiB, 1 files, 5 B/s");
	progress_text(t, sizeof(t), 1000, 1, 1000, 0);
	assert_non_null(strstr(t, "(100%)"));
	assert_null(strstr(t, "left"));
	assert_int_equal(progress_mode(false, false, false, false, true),
	    PROGRESS_LINE);
	assert_int_equal(progress_mode(false, false, true, false, true),
	    PROGRESS_OFF);
	assert_int_equal(progress_mode(false, false, false, true, true),
	    PROGRESS_OFF);
	assert_int_equal(progress_mode(false, false, false, false, false),
	    PROGRESS_OFF);
	assert_int_equal(progress_mode(true, false, false, false, false),
	    PROGRESS_PLAIN);
	assert_int_equal(progress_mode(true, true, false, false, true),
	    PROGRESS_OFF);
}

static void
line_is_erased(void **state)
{
	_Atomic uint64_t bytes = 1000;
	struct progress_how how;
	struct err e = ERR_INIT;
	struct progress *p;
	struct log log;
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	double until = when_mono() + 20;

	(void)state;
	assert_non_null(f);
	log_init(&log, f, "t");
	memset(&how, 0, sizeof(how));
	how.mode = PROGRESS_LINE;
	how.log = &log;
	how.bytes = &bytes;
	assert_ok(progress_start(&p, &how, &e), &e);
	for (;;) {
		log_hold(&log);
		if (n > 0 || when_mono() > until)
			break;
		log_release(&log);
		usleep(1000);
	}
	log_release(&log);
	log_warn(&log, "between");
	progress_stop(p);
	assert_null(log.before);
	fclose(f);
	assert_non_null(strstr(text, "t: 1000 B"));
	assert_non_null(strstr(text, "\r\033[Kt: warning: between\n"));
	log_fini(&log);
	free(text);
}

/* Sixteen descriptors are few, and enough. */
static void
few_descriptors(void **state)
{
	struct proc_spec s = spec(SH("test \"$(cat <&7)\" = hello"));
	struct rlimit was, few;
	struct err e = ERR_INIT;
	struct proc p;
	int fd[2];

	(void)state;
	assert_int_equal(pipe(fd), 0);
	assert_int_equal(write(fd[1], "hello", 5), 5);
	close(fd[1]);
	s.fds = &(struct proc_fd){ fd[0], 7 };
	s.nfds = 1;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	few = was;
	few.rlim_cur = 16;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_ok(proc_start(&p, &s, &e), &e);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_ok(proc_wait(&p, 1, 20, &e), &e);
	assert_int_equal(p.status, 0);
	close(fd[0]);
}

/* What the child is given takes no place that it needs itself until then. */
static void
high_numbers(void **state)
{
	struct proc_spec s = spec(ARGV("/nowhere/program"));
	struct proc_fd map[3] = { { 0, 100 }, { 0, 101 }, { 0, 102 } };
	struct err e = ERR_INIT;
	struct proc p;
	char byte;
	int fd;

	(void)state;
	fd = memfd_create("t", MFD_CLOEXEC);
	assert_int_not_equal(fd, -1);
	map[0].ours = map[1].ours = map[2].ours = fd;
	s.fds = map;
	s.nfds = 3;
	assert_int_equal(proc_start(&p, &s, &e), -1);
	assert_int_equal(e.code, CALA_NOCMD);
	assert_int_equal(pread(fd, &byte, 1, 0), 0);
	close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(statuses),
		cmocka_unit_test(exec_failures),
		cmocka_unit_test(child_state),
		cmocka_unit_test(crosswise),
		cmocka_unit_test(few_descriptors),
		cmocka_unit_test(high_numbers),
		cmocka_unit_test(gathering),
		cmocka_unit_test(too_slow),
		cmocka_unit_test(deadline_and_group),
		cmocka_unit_test(causes),
		cmocka_unit_test(chain_unstartable),
		cmocka_unit_test(orphans),
		cmocka_unit_test(says),
		cmocka_unit_test(texts),
		cmocka_unit_test(line_is_erased),
	};

	return cmocka_run_group_tests_name("proc", tests, NULL, NULL);
}
