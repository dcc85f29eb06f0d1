/* Reading by range through an index: which chunks are fetched, and trusted. */

#include "unit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/io.h"
#include "base/log.h"
#include "pbs/blob.h"
#include "pbs/chunks.h"
#include "pbs/index.h"

enum { N = 40, MOST = 50000 };

/* A store of chunks, their index, and what they add up to. */
struct store {
	unsigned char *all;
	uint64_t size;
	unsigned char *file;            /* the .didx */
	struct pbs_index index;
	struct buf blob[N];
	unsigned char digest[N][PBS_DIGEST];
	pthread_mutex_t mu;
	pthread_cond_t more;
	unsigned asked[N], in_flight, most, barrier;
	int broken;                     /* answers "unreachable", or -1 */
};

static void
chunk_add(struct store *s, struct pbs_coder *k, size_t i, size_t n, int fill)
{
	unsigned char out[MOST + PBS_BLOB_ROOM];
	unsigned char *p = s->all + s->size;
	struct err e = ERR_INIT;
	uint32_t x = (uint32_t)i * 7919 + 1;
	size_t len, j;

	for (j = 0; j < n; j++) {
		x = x * 1664525 + 1013904223;
		p[j] = fill >= 0 ? (unsigned char)fill :
		    (unsigned char)(x >> 24);
	}
	pbs_coder_digest(k, p, n, s->digest[i]);
	assert_ok(pbs_blob_make(k, p, n, out, &len, &e), &e);
	buf_init(&s->blob[i], PBS_BLOB_MAX);
	buf_add(&s->blob[i], out, len);
	s->size += n;
	put_le64(s->file + PBS_INDEX_HEAD + i * PBS_DIDX_ENTRY, s->size);
	memcpy(s->file + PBS_INDEX_HEAD + i * PBS_DIDX_ENTRY + 8,
	    s->digest[i], PBS_DIGEST);
}

/* Chunks of different lengths; 30 and 31 have the same bytes. */
static int
setup(void **st)
{
	static const unsigned char magic[8] =
	    { 0x1c, 0x91, 0x4e, 0xa5, 0x19, 0xba, 0xb3, 0xcd };
	struct store *s = calloc(1, sizeof(*s));
	struct err e = ERR_INIT;
	struct pbs_coder *k = pbs_coder_new(NULL, 0, &e);
	size_t i, len = PBS_INDEX_HEAD + N * PBS_DIDX_ENTRY;

	assert_non_null(k);
	s->all = malloc((size_t)N * MOST);
	s->file = calloc(1, len);
	memcpy(s->file, magic, sizeof(magic));
	for (i = 0; i < N; i++)
		chunk_add(s, k, i, i == 30 || i == 31 ? 20000 :
		    1 + (i * 7777) % MOST, i == 30 || i == 31 ? 'z' : -1);
	pbs_coder_free(k);
	assert_ok(pbs_index_open(&s->index, s->file, len, &e), &e);
	pthread_mutex_init(&s->mu, NULL);
	pthread_cond_init(&s->more, NULL);
	s->broken = -1;
	*st = s;
	return 0;
}

static int
teardown(void **st)
{
	struct store *s = *st;
	size_t i;

	for (i = 0; i < N; i++)
		buf_fini(&s->blob[i]);
	pthread_cond_destroy(&s->more);
	pthread_mutex_destroy(&s->mu);
	free(s->file);
	free(s->all);
	free(s);
	return 0;
}

static int
fetch(void *arg, const unsigned char digest[PBS_DIGEST], struct buf *out,
    struct err *e)
{
	struct store *s = arg;
	struct timespec end;
	size_t i;
	int ret = -1;

	for (i = 0; i < N; i++)
		if (memcmp(s->digest[i], digest, PBS_DIGEST) == 0)
			break;
	pthread_mutex_lock(&s->mu);
	s->asked[i]++;
	if (++s->in_flight > s->most)
		s->most = s->in_flight;
	pthread_cond_broadcast(&s->more);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 60;
	while (s->most < s->barrier)
		if (pthread_cond_timedwait(&s->more, &s->mu, &end) != 0)
			break;
	if ((int)i == s->broken)
		err_set(e, CALA_NET, "unreachable");
	else
		ret = buf_add(out, s->blob[i].p, s->blob[i].len);
	s->in_flight--;
	pthread_mutex_unlock(&s->mu);
	return ret;
}

static struct ranged *
open_all(struct store *s, struct pbs_chunks *how)
{
	struct err e = ERR_INIT;
	struct ranged *r;

	how->index = &s->index;
	how->name = "test.didx";
	how->fetch = fetch;
	how->arg = s;
	r = pbs_chunks(how, &e);
	assert_non_null(r);
	assert_int_equal(r->size, s->size);
	return r;
}

static void
compare(struct store *s, struct ranged *r, uint64_t off, size_t n)
{
	unsigned char *p = malloc(n + 1);
	struct err e = ERR_INIT;

	assert_ok(ranged_read(r, p, n, off, &e), &e);
	assert_memory_equal(p, s->all + off, n);
	free(p);
}

static unsigned
asked(const struct store *s)
{
	unsigned n = 0;
	size_t i;

	for (i = 0; i < N; i++)
		n += s->asked[i];
	return n;
}

static void
any_range(void **st)
{
	static const uint64_t memory[] = { 1, 100000, 1 << 20, 0 };
	struct store *s = *st;
	uint32_t x = 42;
	size_t m, i;

	for (m = 0; m < sizeof(memory) / sizeof(*memory); m++) {
		struct pbs_chunks how = { .memory = memory[m],
		    .jobs = (unsigned)m + 1 };
		struct ranged *r = open_all(s, &how);

		for (i = 0; i < 300; i++) {
			uint64_t off;
			size_t n;

			x = x * 1664525 + 1013904223;
			off = x % s->size;
			x = x * 1664525 + 1013904223;
			n = (x >> 8) % (i % 3 == 0 ? 300000 : 3000);
			if (n > s->size - off)
				n = (size_t)(s->size - off);
			compare(s, r, off, n);
		}
		compare(s, r, 0, (size_t)s->size);
		compare(s, r, s->size, 0);
		compare(s, r, s->size - 1, 1);
		ranged_close(r);
	}
}

static void
only_what_is_needed(void **st)
{
	struct store *s = *st;
	struct pbs_chunks how = { .jobs = 4 };
	struct ranged *r = open_all(s, &how);
	uint64_t from = pbs_index_start(&s->index, 9);
	uint64_t to = pbs_index_start(&s->index, 14);
	uint64_t off;

	compare(s, r, pbs_index_start(&s->index, 20) + 5, 3);
	compare(s, r, pbs_index_start(&s->index, 20) + 1, 30);
	assert_int_equal(asked(s), 1);
	assert_int_equal(s->asked[20], 1);
	assert_int_equal(pbs_chunks_count(r), 1);
	assert_int_equal(r->fetched, s->blob[20].len);
	/* Announced: these and no other, each once. */
	ranged_expect(r, from, to - from);
	for (off = from; off < to; off += 1000)
		compare(s, r, off, to - off < 1000 ? (size_t)(to - off) :
		    1000);
	assert_int_equal(asked(s), 6);
	assert_int_equal(s->asked[9] + s->asked[10] + s->asked[11] +
	    s->asked[12] + s->asked[13], 5);
	ranged_close(r);
}

static void
front_to_back(void **st)
{
	struct store *s = *st;
	struct pbs_chunks how = { .jobs = 4, .whole = true,
	    .memory = 300000 };
	struct ranged *r = open_all(s, &how);
	uint64_t off;
	size_t i;

	for (off = 0; off < s->size; off += 4096)
		compare(s, r, off, s->size - off < 4096 ?
		    (size_t)(s->size - off) : 4096);
	ranged_close(r);
	for (i = 0; i < N; i++)
		assert_int_equal(s->asked[i], i == 31 ? 0 : 1);
	assert_true(s->most <= 5);
}

static void
several_at_once(void **st)
{
	struct store *s = *st;
	struct pbs_chunks how = { .jobs = 4 };
	struct ranged *r = open_all(s, &how);

	/* No answer comes before four are asked for. */
	s->barrier = 4;
	compare(s, r, 0, (size_t)pbs_index_start(&s->index, 6));
	assert_true(s->most >= 4);
	ranged_close(r);
}

static void
damage_is_found(void **st)
{
	struct store *s = *st;
	struct pbs_chunks how = { .jobs = 2 };
	struct ranged *r = open_all(s, &how);
	struct err e = ERR_INIT;
	unsigned char b[8];
	uint64_t at = pbs_index_start(&s->index, 12);
	size_t len = s->blob[12].len;

	/* another chunk's blob, whose CRC is right */
	buf_reset(&s->blob[12]);
	buf_add(&s->blob[12], s->blob[13].p, s->blob[13].len);
	assert_int_equal(ranged_read(r, b, 8, at, &e), -1);
	assert_int_equal(e.code, CALA_INTEGRITY);
	assert_non_null(strstr(e.msg, "test.didx: chunk 12"));
	assert_true(len > 0);
	/* the others are there */
	compare(s, r, pbs_index_start(&s->index, 13), 8);
	/* an answer that is empty */
	err_clear(&e);
	buf_reset(&s->blob[20]);
	assert_int_equal(ranged_read(r, b, 1,
	    pbs_index_start(&s->index, 20), &e), -1);
	assert_int_equal(e.code, CALA_INTEGRITY);
	ranged_close(r);
}

static void
trouble_may_pass(void **st)
{
	struct store *s = *st;
	struct pbs_chunks how = { .jobs = 3, .whole = true };
	struct ranged *r = open_all(s, &how);
	struct err e = ERR_INIT;
	uint64_t at = pbs_index_start(&s->index, 3);
	unsigned char b[8];

	s->broken = 3;
	compare(s, r, 0, 1);
	assert_int_equal(ranged_read(r, b, 8, at, &e), -1);
	assert_int_equal(e.code, CALA_NET);
	s->broken = -1;
	compare(s, r, at, 8);
	compare(s, r, 0, (size_t)s->size);
	ranged_close(r);
}

static void
what_is_left(void **st)
{
	struct store *s = *st;
	struct log log;
	struct pbs_chunks how = { .jobs = 2, .damaged = true, .log = &log };
	struct ranged *r = open_all(s, &how);
	uint64_t at = pbs_index_start(&s->index, 12);
	size_t len = pbs_index_length(&s->index, 12);

	log_init(&log, NULL, "test");
	buf_cut(&s->blob[12], s->blob[12].len / 2);
	memset(s->all + at, 0, len);
	compare(s, r, at - 10, len + 20);
	compare(s, r, at, len);
	assert_int_equal(log_warnings(&log), 1);
	ranged_close(r);
	log_fini(&log);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(any_range, setup, teardown),
		cmocka_unit_test_setup_teardown(only_what_is_needed, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(front_to_back, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(several_at_once, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(damage_is_found, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(trouble_may_pass, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(what_is_left, setup, teardown),
	};

	return cmocka_run_group_tests_name("pbs chunks", tests, NULL, NULL);
}
