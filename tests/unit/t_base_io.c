/* base: streams and their failures, the log, help texts, JSON's edges. */

#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/file.h"
#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "base/opt.h"
#include "base/stop.h"
#include "base/str.h"

/* A sink whose n-th call of used fails, and which counts what it is told. */
struct shaky {
	struct sink s;
	int left, used, committed, aborted;
	char room[10];
};

static void *
shaky_space(struct sink *s, size_t *n, struct err *e)
{
	struct shaky *k = (struct shaky *)s;

	(void)e;
	*n = sizeof(k->room);
	return k->room;
}

static int
shaky_used(struct sink *s, size_t n, struct err *e)
{
	struct shaky *k = (struct shaky *)s;

	(void)n;
	k->used++;
	return k->left-- == 0 ? err_set(e, CALA_NOSPACE, "full") : 0;
}

static int
shaky_commit(struct sink *s, struct err *e)
{
	(void)e;
	((struct shaky *)s)->committed++;
	return 0;
}

static void
shaky_abort(struct sink *s)
{
	((struct shaky *)s)->aborted++;
}

static const struct sink_ops shaky_ops =
    { shaky_space, shaky_used, NULL, shaky_commit, shaky_abort };

static void
failure_sticks(void **state)
{
	struct shaky k = { { .ops = &shaky_ops }, 2, 0, 0, 0, "" };
	struct err e = ERR_INIT, later = ERR_INIT;
	char text[100] = { 0 };

	(void)state;
	assert_int_equal(sink_write(&k.s, text, sizeof(text), &e), -1);
	assert_int_equal(e.code, CALA_NOSPACE);
	assert_true(k.s.pos == 20 && k.used == 3);
	/* Nothing reaches it any more, least of all a commit. */
	assert_int_equal(sink_write(&k.s, text, 1, &later), -1);
	assert_int_equal(sink_zero(&k.s, 1, &e), -1);
	assert_int_equal(sink_mark(&k.s, &e), -1);
	assert_int_equal(sink_commit(&k.s, &e), -1);
	assert_int_equal(e.code, CALA_NOSPACE);
	assert_int_equal(later.code, CALA_FAIL);
	assert_true(k.used == 3 && k.committed == 0 && !k.s.committed);
	sink_free(&k.s);
	assert_int_equal(k.aborted, 1);
	sink_free(NULL);
	source_close(NULL);
	ranged_close(NULL);
}

static void
broken_pipe(void **state)
{
	struct err e = ERR_INIT;
	struct sink *s;
	int fds[2];

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	s = sink_fd(fds[1], true, "pipe", &e);
	assert_ok(sink_write(s, "x", 1, &e), &e);       /* still buffered */
	assert_int_equal(sink_commit(s, &e), -1);
	assert_int_equal(e.code, CALA_SIGNAL + SIGPIPE);
	sink_free(s);
}

static void
on_usr1(int sig)
{
	stop_set(sig);
}

struct interrupter {
	pthread_t whom;
	int fd;
};

/* A pipe that is full shows that the writer is inside write(2). */
static void *
interrupt(void *arg)
{
	struct interrupter *i = arg;
	int n = 0;

	while (ioctl(i->fd, FIONREAD, &n) == 0 && n < 65536)
		usleep(1000);
	pthread_kill(i->whom, SIGUSR1);
	return NULL;
}

static void
stuck_pipe(void **state)
{
	static char much[200000];
	struct sigaction sa = { .sa_handler = on_usr1 };
	struct err e = ERR_INIT;
	struct interrupter i;
	pthread_t thread;
	struct sink *s;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	i.whom = pthread_self();
	i.fd = fds[0];
	assert_int_equal(sigaction(SIGUSR1, &sa, NULL), 0);
	s = sink_fd(fds[1], true, "pipe", &e);
	assert_int_equal(pthread_create(&thread, NULL, interrupt, &i), 0);
	/* Nobody reads: only the signal can end this. */
	assert_int_equal(sink_write(s, much, sizeof(much), &e), -1);
	assert_int_equal(e.code, CALA_SIGNAL + SIGUSR1);
	pthread_join(thread, NULL);
	stop_set(0);
	sink_free(s);
	close(fds[0]);
}

static void
descriptors(void **state)
{
	static char in[300001], out[300001];
	char name[] = "/tmp/cala-t_base_io.XXXXXX";
	struct err e = ERR_INIT;
	struct source *src;
	struct ranged *r;
	struct sink *s;
	size_t i;
	int fd;

	(void)state;
	for (i = 0; i < sizeof(in); i++)
		in[i] = (char)(i * 17);
	fd = mkstemp(name);
	assert_true(fd != -1);
	assert_int_equal(unlink(name), 0);
	s = sink_fd(fd, false, name, &e);
	/* Small and large ones keep their order, buffered or not. */
	assert_ok(sink_write(s, in, 100, &e), &e);
	assert_ok(sink_write(s, in + 100, 200000, &e), &e);
	assert_true(s->pos == 200100);
	assert_ok(sink_write(s, in + 200100, 7, &e), &e);
	assert_ok(sink_write(s, in + 200107, sizeof(in) - 200107, &e), &e);
	assert_ok(sink_commit(s, &e), &e);
	assert_true(s->pos == sizeof(in) && s->committed);
	sink_free(s);

	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	src = source_fd(fd, false, name, &e);
	assert_int_equal(source_full(src, out, sizeof(out), &e), sizeof(in));
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(source_read(src, out, 1, &e), 0);
	source_close(src);

	r = ranged_fd(fd, true, name, &e);
	assert_true(r->size == sizeof(in));
	assert_ok(ranged_read(r, out, 10, sizeof(in) - 10, &e), &e);
	assert_memory_equal(out, in + sizeof(in) - 10, 10);
	assert_ok(ranged_read(r, out, 0, sizeof(in), &e), &e);
	assert_int_equal(ranged_read(r, out, 11, sizeof(in) - 10, &e), -1);
	assert_int_equal(e.code, CALA_INTEGRITY);
	assert_int_equal(ranged_read(r, out, 2, UINT64_MAX, &e), -1);
	assert_true(r->fetched == 10);
	assert_null(ranged_source(r, UINT64_MAX, 2, &e));
	assert_null(ranged_source(r, 1, UINT64_MAX, &e));
	src = ranged_source(r, 5, 7, &e);
	assert_int_equal(source_full(src, out, 100, &e), 7);
	assert_memory_equal(out, in + 5, 7);
	source_close(src);
	/* The file shrinks behind our back. */
	assert_int_equal(ftruncate(fd, 100), 0);
	assert_int_equal(ranged_read(r, out, 10, 95, &e), -1);
	assert_int_equal(e.code, CALA_INTEGRITY);
	ranged_close(r);

	fd = open("/dev/null", O_RDONLY);
	assert_null(ranged_fd(fd, true, "null", &e));
}

static void *
complain(void *arg)
{
	int i;

	for (i = 0; i < 600; i++)
		log_warn(arg, "file %d is gone", i);
	return NULL;
}

static void
warnings_counted(void **state)
{
	struct log l;
	pthread_t t[2];
	int i;

	(void)state;
	log_init(&l, NULL, "t");
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, complain, &l),
		    0);
	for (i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(log_warnings(&l), 1200);
	assert_int_equal(l.nkept, LOG_KEEP);
	assert_non_null(strstr(l.kept[999], "is gone"));
	log_fini(&l);
}

static void
levels(void **state)
{
	char text[1000] = "";
	FILE *f = fmemopen(text, sizeof(text), "w");
	struct err e = ERR_INIT;
	struct log l;

	(void)state;
	log_init(&l, f, "cala-x");
	log_step(&l, "hidden");
	log_note(&l, "note %d", 1);
	log_warn(&l, "gone");
	l.level = LOG_QUIET;
	log_note(&l, "hidden");
	log_warn(&l, "still");
	l.journal = true;
	err_set(&e, CALA_NET, "no answer");
	err_hint(&e, "try later");
	err_ctx(&e, "s3://b");
	log_error(&l, &e);
	fclose(f);
	assert_string_equal(text, "cala-x: note 1\ncala-x: warning: gone\n"
	    "cala-x: warning: still\n"
	    "<3>cala-x: error: s3://b: no answer\n"
	    "<5>cala-x: hint: try later\n");
	log_fini(&l);
}

/* However long the pieces, the message stays a string and keeps its front. */
static void
long_messages(void **state)
{
	char big[2000];
	struct err e = ERR_INIT;
	int i;

	(void)state;
	memset(big, 'b', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	err_set(&e, CALA_FAIL, "%s", big);
	assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
	for (i = 0; i < 3; i++)
		err_ctx(&e, "part %d", i);
	assert_int_equal(strncmp(e.msg, "part 2: part 1: part 0: bbb", 27), 0);
	assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
	err_ctx(&e, "%s", big);
	assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
	err_hint(&e, "%s", big);
	assert_int_equal(strlen(e.hint), sizeof(e.hint) - 1);
	assert_true(strlen(str_q(big)) < 512);
}

static void
help_fits(void **state)
{
	static const char words[] = "a help text that goes on and on, so that "
	    "it must be broken several times before it comes to its end, and "
	    "averyveryverylongwordthatdoesnotfitintothecolumnanditbreaksanyway";
	char text[4000] = "", *line, *save = NULL;
	FILE *f = fmemopen(text, sizeof(text), "w");
	bool flag = false;
	const char *s = NULL;
	const struct opt t[] = {
		{ OPT_FLAG, 'f', "flag", NULL, words, &flag, NULL },
		{ OPT_STR, 0, "a-rather-long-option-name", "METAVARIABLE",
		    words, &s, NULL },
		{ OPT_STR, 'x', "hidden", "X", NULL, &s, NULL },
		{ OPT_END, 0, NULL, NULL, NULL, NULL, NULL }
	};

	(void)state;
	opt_help(t, f);
	fclose(f);
	assert_null(strstr(text, "hidden"));
	assert_non_null(strstr(text, "  -f, --flag "));
	for (line = strtok_r(text, "\n", &save); line != NULL;
	    line = strtok_r(NULL, "\n", &save))
		assert_true(strlen(line) <= 79);

	memset(text, 0, sizeof(text));
	f = fmemopen(text, sizeof(text), "w");
	opt_names(t, f);
	fclose(f);
	assert_string_equal(text,
	    "--flag\n-f\n--a-rather-long-option-name=\n");
}

static void
option_errors(void **state)
{
	static const char *const t[][2] = {
		{ "--size=1Q", "--size: not a valid N: '1Q'" },
		{ "--size", "--size needs N" },
		{ "-s", "-s needs N" },
		{ "--flag=1", "--flag takes no value" },
		{ "--no-size=1", "unknown option --no-size" },
		{ "--no-", "unknown option --no-" },
		{ "--", NULL },
		{ "-", NULL },
		{ "-z", "unknown option -z" },
		{ "-f\xff", "unknown option -\\xff" },
		{ "--\x1b[m", "unknown option --\\x1b[m" },
	};
	struct opt_list ops;
	struct err e = ERR_INIT;
	bool flag = false;
	uint64_t n = 0;
	const char *argv[2] = { "t", NULL };
	const struct opt table[] = {
		{ OPT_FLAG, 'f', "flag", NULL, "f", &flag, NULL },
		{ OPT_SIZE, 's', "size", "N", "s", &n, NULL },
		{ OPT_END, 0, NULL, NULL, NULL, NULL, NULL }
	};
	size_t i;
	int ret;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		argv[1] = t[i][0];
		ret = opt_parse(table, 2, (char **)argv, &ops, NULL, &e);
		if (t[i][1] == NULL) {
			assert_ok(ret, &e);
			opt_list_free(&ops);
			continue;
		}
		assert_int_equal(ret, -1);
		assert_int_equal(e.code, CALA_USAGE);
		assert_string_equal(e.msg, t[i][1]);
	}
}

static void
json_edges(void **state)
{
	static const char *const bad[] = { "", "{", "[1,]", "nul", "{\"a\"}",
	    "\"\\u0000\"", "\"\xff\"", "1 2", "{\"a\":1,\"a\":1}" };
	static const char some[] =
	    "{\"n\":-1,\"s\":1,\"b\":\"x\",\"r\":1.5}";
	struct err e = ERR_INIT;
	struct buf b, deep;
	struct jw j;
	json_t *o;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_null(json_parse(bad[i], strlen(bad[i]), "x", &e));
		assert_int_equal(e.code, CALA_INTEGRITY);
	}
	buf_init(&deep, 1 << 20);
	for (i = 0; i < 100000; i++)
		buf_chr(&deep, '[');
	assert_null(json_parse(deep.p, deep.len, "deep", &e));
	buf_fini(&deep);

	o = json_parse(some, strlen(some), "x", &e);
	assert_non_null(o);
	assert_int_equal(json_get_u64(o, "n", 7), 7);
	assert_int_equal(json_get_u64(o, "r", 7), 7);
	assert_int_equal(json_get_u64(o, "absent", 7), 7);
	assert_null(json_get_str(o, "s"));
	assert_true(json_get_bool(o, "b", true));
	json_decref(o);

	/* What is cut by the limit says so once, at the end. */
	buf_init(&b, 10);
	jw_begin(&j, &b);
	jw_open(&j, NULL, '{');
	jw_str(&j, "key", "a value too long");
	jw_close(&j, '}');
	assert_int_equal(buf_failed(&b, &e), -1);
	buf_fini(&b);

	/* Every byte string survives: as itself or through _b64. */
	buf_init(&b, 4096);
	for (i = 1; i < 256; i++) {
		char p[3] = { 'a', (char)i, 'z' };

		buf_reset(&b);
		jw_begin(&j, &b);
		jw_open(&j, NULL, '{');
		jw_bytes(&j, "p", p, 3);
		jw_close(&j, '}');
		o = json_parse(b.p, b.len, "own", &e);
		assert_non_null(o);
		if (json_get_str(o, "p_b64") != NULL) {
			struct buf raw;

			buf_init(&raw, 10);
			assert_int_equal(b64_get(&raw,
			    json_get_str(o, "p_b64"),
			    strlen(json_get_str(o, "p_b64"))), 0);
			assert_memory_equal(raw.p, p, 3);
			buf_fini(&raw);
		} else {
			assert_memory_equal(json_get_str(o, "p"), p, 3);
		}
		json_decref(o);
	}
	buf_fini(&b);
}

static void
decoding_is_whole_or_nothing(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 5);
	assert_int_equal(buf_str(&b, "abc"), 0);
	assert_int_equal(b64_get(&b, "Zm9vYmFy", 8), -1);
	assert_string_equal(b.p, "abc");
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failure_sticks),
		cmocka_unit_test(broken_pipe), cmocka_unit_test(stuck_pipe),
		cmocka_unit_test(descriptors),
		cmocka_unit_test(warnings_counted), cmocka_unit_test(levels),
		cmocka_unit_test(long_messages), cmocka_unit_test(help_fits),
		cmocka_unit_test(option_errors), cmocka_unit_test(json_edges),
		cmocka_unit_test(decoding_is_whole_or_nothing),
	};

	return cmocka_run_group_tests_name("base_io", tests, NULL, NULL);
}
