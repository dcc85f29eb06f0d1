/*
 * Unwrapping: pieces of every size come out in order and whole, for any number
 * of threads.
 */

#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "archive/source.h"
#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"

enum { TOTAL = 96 << 20 };

static unsigned char *plain;
static struct buf wrapped;
static struct log lg;

static uint32_t
next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* Frames of 0 to 8 MiB, most of them as large as ours, some tiny, some raw. */
static int
setup(void **state)
{
	uint32_t seed = 7;
	size_t at = 0, n, i, k;
	char *to;

	(void)state;
	log_init(&lg, NULL, "t");
	assert_non_null(plain = malloc(TOTAL));
	for (i = 0; i < TOTAL; i++)
		plain[i] = (i >> 21 & 7) != 0 ? (unsigned char)next(&seed) :
		    (unsigned char)(i % 251 + i / 70000);
	buf_init(&wrapped, 2 * (size_t)TOTAL);
	while (at < TOTAL) {
		n = next(&seed) % 8 == 0 ? next(&seed) % 300 :
		    (4u << 20) + next(&seed) % (4u << 20);
		if (n > TOTAL - at)
			n = TOTAL - at;
		assert_non_null(to = buf_room(&wrapped,
		    ZSTD_compressBound(n)));
		k = ZSTD_compress(to, ZSTD_compressBound(n), plain + at, n, 1);
		assert_false(ZSTD_isError(k));
		buf_grown(&wrapped, k);
		at += n;
	}
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	free(plain);
	buf_fini(&wrapped);
	log_fini(&lg);
	return 0;
}

static void
unwrap(unsigned jobs, size_t chunk)
{
	struct err e = ERR_INIT;
	struct source *in, *s;
	unsigned char *p = malloc(chunk);
	size_t at = 0;
	ssize_t k;

	assert_non_null(p);
	assert_non_null(in = source_mem(wrapped.p, wrapped.len, &e));
	s = source_unwrap(WRAP_ZST, in, jobs, 0, &lg, &e);
	assert_non_null(s);
	while ((k = source_read(s, p, chunk, &e)) > 0) {
		assert_true((size_t)k <= TOTAL - at);
		if (memcmp(p, plain + at, (size_t)k) != 0)
			fail_msg("%u jobs: wrong near byte %zu", jobs, at);
		at += (size_t)k;
	}
	assert_int_equal(k, 0);
	assert_int_equal(at, TOTAL);
	source_close(s);
	source_close(in);
	free(p);
}

static void
pieces(void **state)
{
	static const unsigned jobs[] = { 1, 2, 3, 5, 9 };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(jobs) / sizeof(*jobs); i++)
		unwrap(jobs[i], 300000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces),
	};

	return cmocka_run_group_tests_name("source", tests, setup, teardown);
}
