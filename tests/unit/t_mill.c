/* Files through the pool: what is cut and in which order it comes back. */

#include "unit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/pool.h"
#include "chunk/cut.h"
#include "chunk/mill.h"
#include "entry/entry.h"

enum { FILES = 3000, CHUNKS = 60000, WORKERS = 64 };

/* A content of zero bytes and numbers; size says all. */
static ssize_t
mem_read(struct content *c, void *v, size_t n, struct err *e)
{
	unsigned char *p = v;
	uint64_t at, x;
	size_t i;

	(void)e;
	if (n > 1 + c->size % 7919)
		n = 1 + c->size % 7919;         /* short reads, too */
	for (i = 0; i < n; i++) {
		at = c->pos + i;
		x = (at / 8 + c->size) * UINT64_C(0x9E3779B97F4A7C15);
		p[i] = (unsigned char)(x >> (8 * (at % 8)));
	}
	return (ssize_t)n;
}

static int
mem_skip(struct content *c, uint64_t n, struct err *e)
{
	(void)c;
	(void)n;
	(void)e;
	return 0;
}

static const struct content_ops mem_ops = { mem_read, mem_skip, NULL };

struct file {
	size_t size, want, got;
	unsigned char sum[BLAKE2B_LEN];         /* over the hashes in order */
};

struct sink {
	_Atomic unsigned chunks;
	_Atomic int busy[WORKERS];
	_Atomic int clash;
	unsigned fail_at;                       /* 0: never */
	unsigned char (*hash)[BLAKE2B_LEN];     /* by ref */
	struct file *last;                      /* whose chunk came last */
	bool disorder;
};

static int
work(void *arg, unsigned worker, struct mill_piece *v, size_t n,
    struct err *e)
{
	struct sink *s = arg;
	unsigned at;
	size_t i;

	assert_true(worker < WORKERS);
	assert_true(n > 0 && n <= MILL_PIECES);
	if (s->busy[worker]++ != 0)
		s->clash = 1;
	for (i = 0; i < n; i++) {
		at = s->chunks++;
		if (s->fail_at != 0 && at == s->fail_at)
			return err_set(e, CALA_NOSPACE, "no room");
		if (at >= CHUNKS)
			return err_set(e, CALA_FAIL, "too many chunks");
		blake2b(v[i].p, v[i].len, s->hash[at]);
		v[i].ref = at;
	}
	s->busy[worker]--;
	return 0;
}

static int
done(void *arg, void *tag, uint64_t ref, struct err *e)
{
	struct sink *s = arg;
	struct file *f = tag;
	unsigned char both[2 * BLAKE2B_LEN];

	(void)e;
	if (f < s->last)
		s->disorder = true;
	s->last = f;
	memcpy(both, f->sum, BLAKE2B_LEN);
	memcpy(both + BLAKE2B_LEN, s->hash[ref], BLAKE2B_LEN);
	blake2b(both, sizeof(both), f->sum);
	f->got++;
	return 0;
}

static int
run(struct file *files, struct sink *s, unsigned jobs, size_t max,
    struct err *e)
{
	struct mill_how how = { .max = 65536, .jobs = jobs,
	    .memory = max, .work = work, .done = done, .arg = s };
	struct mill *f = mill_new(&how, e);
	struct content c;
	struct cut cut;
	size_t i;
	int ret = -1;

	assert_non_null(f);
	assert_true(mill_workers(f) <= WORKERS);
	cut_fastcdc_exact(&cut, 4096, 16384, 65536);
	for (i = 0; i < FILES; i++) {
		memset(&c, 0, sizeof(c));
		c.ops = &mem_ops;
		c.size = files[i].size;
		mill_begin(f, &cut, &files[i]);
		if (mill_content(f, &c, c.size, e) == -1 ||
		    mill_end(f, &files[i].want, e) == -1 ||
		    mill_poll(f, e) == -1)
			goto out;
	}
	ret = mill_drain(f, e);
out:
	mill_free(f);
	return ret;
}

static void
sizes(struct file *v)
{
	size_t i;

	memset(v, 0, FILES * sizeof(*v));
	for (i = 0; i < FILES; i++)
		v[i].size = i % 97 == 0 ? 3000000 + i * 11 : i % 13 == 0 ? 0 :
		    i * 37 % 20000;
}

/* Any number of threads, any amount of memory: the same chunks. */
static void
same(void **state)
{
	static const unsigned jobs[] = { 1, 2, 4, 7 };
	struct file *a = malloc(FILES * sizeof(*a));
	struct file *b = malloc(FILES * sizeof(*b));
	struct sink s;
	struct err e = ERR_INIT;
	size_t i, j;

	(void)state;
	for (i = 0; i < sizeof(jobs) / sizeof(*jobs); i++) {
		memset(&s, 0, sizeof(s));
		s.hash = malloc(CHUNKS * sizeof(*s.hash));
		assert_non_null(s.hash);
		sizes(i == 0 ? a : b);
		assert_ok(run(i == 0 ? a : b, &s, jobs[i], (i % 2) * 9000000,
		    &e), &e);
		assert_int_equal(s.clash, 0);
		assert_false(s.disorder);
		assert_true(s.chunks > 6000);
		for (j = 0; j < FILES; j++)
			assert_int_equal(i == 0 ? a[j].want : b[j].want,
			    i == 0 ? a[j].got : b[j].got);
		if (i > 0)
			assert_memory_equal(a, b, FILES * sizeof(*a));
		free(s.hash);
	}
	free(a);
	free(b);
}

/* One chunk that can't be stored is the end, with its reason. */
static void
failing(void **state)
{
	struct file *a = malloc(FILES * sizeof(*a));
	struct sink s;
	struct err e = ERR_INIT;
	unsigned at;

	(void)state;
	for (at = 1; at < 6000; at += 1500) {
		memset(&s, 0, sizeof(s));
		s.hash = malloc(CHUNKS * sizeof(*s.hash));
		s.fail_at = at;
		sizes(a);
		err_clear(&e);
		assert_int_equal(run(a, &s, 2, 0, &e), -1);
		assert_int_equal(e.code, CALA_NOSPACE);
		free(s.hash);
	}
	free(a);
}

/* Chunks that are known already keep their place. */
static void
known(void **state)
{
	struct file f[3];
	struct sink s;
	struct mill_how how = { .max = 65536, .jobs = 2, .work = work,
	    .done = done, .arg = &s };
	struct err e = ERR_INIT;
	struct content c;
	struct cut cut;
	struct mill *mill;
	size_t n;
	int i;

	(void)state;
	memset(&s, 0, sizeof(s));
	memset(f, 0, sizeof(f));
	s.hash = calloc(CHUNKS, sizeof(*s.hash));
	assert_non_null(mill = mill_new(&how, &e));
	cut_fastcdc_exact(&cut, 4096, 16384, 65536);
	for (i = 0; i < 3; i++) {
		memset(&c, 0, sizeof(c));
		c.ops = &mem_ops;
		c.size = 200000;
		mill_begin(mill, &cut, &f[i]);
		assert_int_equal(mill_pending(mill), 0);
		assert_ok(mill_ref(mill, CHUNKS - 1, &e), &e);
		assert_ok(mill_content(mill, &c, 200000, &e), &e);
		assert_ok(mill_end(mill, &n, &e), &e);
		f[i].want = n;
	}
	assert_ok(mill_drain(mill, &e), &e);
	mill_free(mill);
	assert_false(s.disorder);
	for (i = 0; i < 3; i++)
		assert_int_equal(f[i].got, f[i].want);
	assert_memory_equal(f[0].sum, f[2].sum, BLAKE2B_LEN);
	free(s.hash);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same), cmocka_unit_test(failing),
		cmocka_unit_test(known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
