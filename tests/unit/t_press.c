/* One frame or member: what noise is, and that all of it comes back. */
#include "unit.h"

#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

#include "archive/noise.h"
#include "archive/press.h"
#include "base/io.h"

enum { MIB = 1 << 20, MOST = 2 * MIB };

static uint64_t seed;

static uint32_t
dice(uint32_t n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((seed >> 33) % n);
}

static void
noise(unsigned char *p, size_t n)
{
	for (; n > 0; n--)
		*p++ = (unsigned char)dice(256);
}

static void
text(unsigned char *p, size_t n)
{
	static const char *const words[] = { "chunk ", "region\n", "tick ",
	    "INFO ", "player ", "[12:00:01] ", "overworld ", "saved " };
	const char *w = "";

	for (; n > 0; n--) {
		if (*w == '\0')
			w = words[dice(8)];
		*p++ = (unsigned char)*w++;
	}
}

/* As a game writes them: streams, and what fills up their sectors. */
static size_t
region(unsigned char *p, size_t n)
{
	size_t at, k;

	memset(p, 0, n);
	for (at = 0; at + 16384 <= n; at += (k + 4095) & ~(size_t)4095) {
		k = 1000 + dice(10000);
		noise(p + at, k);
	}
	return at;
}

static void
noise_told(void **state)
{
	static unsigned char p[4096], z[65536];
	uLongf len = sizeof(z);
	size_t i, n;

	(void)state;
	seed = 1;
	for (i = 0; i < 200; i++) {
		noise(p, sizeof(p));
		assert_true(noise_is(p, sizeof(p)));
		assert_true(noise_is(p, 300));
		assert_false(noise_is(p, NOISE_TELL - 1));
		text(p, sizeof(p));
		assert_false(noise_is(p, sizeof(p)));
		assert_false(noise_is(p, NOISE_TELL));
		/* a code of 6 bits, as of base64 */
		for (n = 0; n < sizeof(p); n++)
			p[n] = (unsigned char)('0' + dice(64));
		assert_false(noise_is(p, sizeof(p)));
		/* as many zeros as half a sector */
		noise(p, sizeof(p));
		memset(p + 1800, 0, 500);
		assert_false(noise_is(p, sizeof(p)));
	}
	memset(p, 0, sizeof(p));
	assert_false(noise_is(p, sizeof(p)));
	/* What deflate made is what it is for. */
	text(p, sizeof(p));
	for (n = 0; n < sizeof(p); n++)
		p[n] ^= (unsigned char)dice(4);
	assert_int_equal(compress2(z, &len, p, sizeof(p), 6), Z_OK);
	assert_true(noise_is(z + 100, len - 100));
}

static void
zeros_found(void **state)
{
	static unsigned char p[8192];
	size_t i, at, end, a, b, n, k;

	(void)state;
	seed = 2;
	for (i = 0; i < 3000; i++) {
		n = 1 + dice(sizeof(p));
		memset(p, 1, n);
		for (k = dice(20); k > 0; k--) {
			at = dice((uint32_t)n);
			b = dice(200);
			memset(p + at, 0, b < n - at ? b : n - at);
		}
		/* one byte after another, for comparison */
		at = dice((uint32_t)n);
		for (a = b = at; b < n && b - a < NOISE_ZEROS; b++)
			if (p[b] != 0)
				a = b + 1;
		if (b - a < NOISE_ZEROS)
			a = b = n;
		while (b < n && p[b] == 0)
			b++;
		assert_int_equal(noise_zeros(p, n, at, &end), a);
		assert_int_equal(end, b);
	}
}

static void
runs_found(void **state)
{
	unsigned char *p = malloc(MIB);
	size_t end, k;

	(void)state;
	assert_non_null(p);
	seed = 3;
	text(p, MIB);
	assert_int_equal(noise_run(p, MIB, 0, &end), MIB);
	assert_int_equal(end, MIB);
	/* Too short, at once and in sum. */
	memset(p + 1000, 0, 100);
	noise(p + 1100, NOISE_LEAST - 1);
	memset(p + 1100 + NOISE_LEAST - 1, 0, 100);
	assert_int_equal(noise_run(p, MIB, 0, &end), MIB);
	/* Zeros belong to it between noise, not before and behind. */
	memset(p + 50000, 0, 300000);
	p[349999] = 1;
	k = 51000 + region(p + 51000, 200000);
	while (p[k - 1] == 0)
		k--;
	assert_int_equal(noise_run(p, MIB, 0, &end), 51000);
	assert_int_equal(end, k);
	assert_int_equal(noise_run(p, MIB, end, &end), MIB);
	/* To the very end, and from the beginning. */
	noise(p, MIB);
	assert_int_equal(noise_run(p, MIB, 0, &end), 0);
	assert_int_equal(end, MIB);
	assert_int_equal(noise_run(p, 0, 0, &end), 0);
	free(p);
}

static void
rule(void **state)
{
	unsigned char *p = malloc(4 * MIB);
	size_t k;

	(void)state;
	assert_non_null(p);
	seed = 4;
	text(p, 4 * MIB);
	assert_false(noise_rules(p, 4 * MIB));
	memset(p, 0, 4 * MIB);
	assert_false(noise_rules(p, 4 * MIB));
	k = region(p, 4 * MIB);
	assert_true(noise_rules(p, k));
	text(p + MIB, MIB / 4);
	assert_true(noise_rules(p, k));
	text(p + MIB, MIB);
	assert_false(noise_rules(p, k));
	assert_false(noise_rules(p, 0));
	free(p);
}

/* The member of n bytes; checked by two that read it. */
static size_t
member(int level, const unsigned char *p, size_t n)
{
	size_t cap = press_gz.room(p, n), len = 0, got = 0;
	struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
	unsigned char *z = malloc(cap), *back = malloc(MOST + 1);
	struct err e = ERR_INIT;
	void *ctx = press_gz.open(ARCHIVE_TAR_GZ, level, &e);
	z_stream s = { 0 };

	assert_true(d != NULL && z != NULL && back != NULL && ctx != NULL);
	/* frames.c has no more. */
	assert_true(n < MIB || cap <= n + n / 8);
	assert_ok(press_gz.run(ctx, p, n, z, cap, &len, &e), &e);
	assert_in_range(len, 20, cap);
	assert_int_equal(libdeflate_gzip_decompress(d, z, len, back, MOST + 1,
	    &got), LIBDEFLATE_SUCCESS);
	assert_int_equal(got, n);
	assert_memory_equal(back, p, n);
	memset(back, 0, n);
	assert_int_equal(inflateInit2(&s, 16 + 15), Z_OK);
	s.next_in = z;
	s.avail_in = (uInt)len;
	s.next_out = back;
	s.avail_out = MOST + 1;
	assert_int_equal(inflate(&s, Z_FINISH), Z_STREAM_END);
	assert_int_equal(s.total_out, n);
	assert_int_equal(s.avail_in, 0);
	assert_memory_equal(back, p, n);
	inflateEnd(&s);
	press_gz.close(ctx);
	libdeflate_free_decompressor(d);
	free(z);
	free(back);
	return len;
}

static void
gzip_back(void **state)
{
	static const int levels[] = { 0, 1, 6, 9, 12 };
	unsigned char *p = malloc(MOST);
	size_t at, n, k, i;

	(void)state;
	assert_non_null(p);
	seed = 5;
	member(1, p, 0);
	/* All lengths of zeros that are coded in another way. */
	noise(p, MOST);
	for (k = NOISE_ZEROS, at = 17000; k < NOISE_ZEROS + 2 * 258 + 3;
	    at += k++ + 300)
		memset(p + at, 0, k);
	member(1, p, at + 20000);
	for (i = 0; i < 60; i++) {
		n = 1 + dice(i < 10 ? MOST : MOST / 8);
		for (at = 0; at < n; at += k) {
			k = 1 + dice(dice(4) == 0 ? 100000 : 3000);
			if (k > n - at)
				k = n - at;
			switch (dice(5)) {
			case 0:
				text(p + at, k);
				break;
			case 1:
				memset(p + at, 0, k);
				break;
			case 2:
				region(p + at, k);
				break;
			default:
				noise(p + at, k);
				break;
			}
		}
		member(levels[i % 5], p, n);
	}
	/* As long as a member may be, and none of it gains. */
	noise(p, MOST);
	assert_in_range(member(1, p, MOST), MOST, MOST + 5 * 33 + 20);
	/* The worst there is for those who take turns. */
	for (at = 0; at + 20000 <= MOST; at += 16384 + 600)
		for (k = 16384; k < 16384 + 600; k++)
			p[at + k] = (unsigned char)(128 + dice(100));
	member(1, p, MOST);
	free(p);
}

static void
gzip_small(void **state)
{
	unsigned char *p = malloc(MOST);
	uLongf len = compressBound(MOST);
	unsigned char *z = malloc(len);
	size_t n;

	(void)state;
	assert_true(p != NULL && z != NULL);
	seed = 6;
	n = region(p, MOST);
	assert_int_equal(compress2(z, &len, p, n, 1), Z_OK);
	assert_in_range(member(1, p, n), 1, len);
	free(p);
	free(z);
}

static void
zstd_frame(int level, const unsigned char *p, size_t n, double most)
{
	size_t cap = ZSTD_compressBound(n), len = 0, plain;
	unsigned char *z = malloc(cap), *back = malloc(n);
	struct err e = ERR_INIT;
	void *ctx = press_zst.open(ARCHIVE_TAR_ZST, level, &e);

	assert_true(z != NULL && back != NULL && ctx != NULL);
	plain = ZSTD_compress(z, cap, p, n, level);
	assert_ok(press_zst.run(ctx, p, n, z, cap, &len, &e), &e);
	assert_true((double)len <= most * (double)plain);
	assert_int_equal(ZSTD_getFrameContentSize(z, len), n);
	assert_int_equal(ZSTD_decompress(back, n, z, len), n);
	assert_memory_equal(back, p, n);
	assert_int_equal(press_zst.sum(z, len), (uint32_t)XXH64(p, n, 0));
	press_zst.close(ctx);
	free(z);
	free(back);
}

static void
zstd_back(void **state)
{
	static const int levels[] = { 1, 2, 3, 4, 9 };
	unsigned char *p = malloc(4 * MIB);
	size_t i, n;

	(void)state;
	assert_non_null(p);
	seed = 7;
	n = region(p, 4 * MIB);
	for (i = 0; i < 5; i++)
		zstd_frame(levels[i], p, n, 1.005);
	text(p, 4 * MIB);
	for (i = 0; i < 5; i++)
		zstd_frame(levels[i], p, 4 * MIB, 1.0001);
	zstd_frame(1, p, 1, 2);
	free(p);
}

/* What a thread has made before decides nothing. */
static void
zstd_same(void **state)
{
	unsigned char *p = malloc(4 * MIB), *z, *again;
	size_t n, cap = ZSTD_compressBound(MIB), len[6] = { 0 },
	    k, i, round;
	struct err e = ERR_INIT;
	void *ctx = press_zst.open(ARCHIVE_TAR_ZST, 3, &e);

	(void)state;
	z = malloc(6 * cap);
	again = malloc(cap);
	assert_true(p != NULL && z != NULL && again != NULL && ctx != NULL);
	seed = 8;
	region(p, 2 * MIB);
	text(p + 2 * MIB, 2 * MIB);
	for (round = 0; round < 3; round++)
		for (i = 0; i < 6; i++) {
			/* 0 to 2 in the region, 4 and 5 in the text */
			k = round == 1 ? 5 - i : i;
			assert_ok(press_zst.run(ctx, p + k * (MIB / 2 + 12345),
			    MIB, again, cap, &n, &e), &e);
			if (round == 0) {
				memcpy(z + k * cap, again, n);
				len[k] = n;
			}
			assert_int_equal(n, len[k]);
			assert_memory_equal(again, z + k * cap, n);
		}
	press_zst.close(ctx);
	free(p);
	free(z);
	free(again);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(noise_told),
		cmocka_unit_test(zeros_found),
		cmocka_unit_test(runs_found),
		cmocka_unit_test(rule),
		cmocka_unit_test(gzip_back),
		cmocka_unit_test(gzip_small),
		cmocka_unit_test(zstd_back),
		cmocka_unit_test(zstd_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
