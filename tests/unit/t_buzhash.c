/* Cut points as Proxmox's client has them, against the vectors. */

#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/code.h"
#include "base/hash.h"
#include "chunk/buzhash.h"
#include "chunk/cut.h"

enum { BIG = 64 << 20, ENDS = 2000 };

static unsigned char *data;             /* BIG bytes of splitmix64 */

static int
setup(void **state)
{
	uint64_t x = 0, z;
	size_t i;

	(void)state;
	if ((data = malloc(BIG)) == NULL)
		return -1;
	for (i = 0; i < BIG; i += 8) {
		x += UINT64_C(0x9E3779B97F4A7C15);
		z = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
		z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
		put_le64(data + i, z ^ z >> 31);
	}
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	free(data);
	return 0;
}

static size_t
expected(const char *name, uint64_t *end)
{
	char path[256];
	unsigned long long v;
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "tests/vectors/pxar/%s", name);
	if ((f = fopen(path, "r")) == NULL)
		fail_msg("%s is missing", path);
	while (n < ENDS && fscanf(f, "%llu", &v) == 1)
		end[n++] = v;
	fclose(f);
	return n;
}

static void
same(const uint64_t *got, size_t n, const uint64_t *want, size_t m)
{
	size_t i;

	for (i = 0; i < n && i < m; i++)
		if (got[i] != want[i])
			fail_msg("chunk %zu ends at %ju, not %ju", i,
			    (uintmax_t)got[i], (uintmax_t)want[i]);
	assert_int_equal(n, m);
}

/* The ends of chunks, fed in pieces; lengths vary when piece is 0. */
static size_t
in_pieces(const unsigned char *p, size_t n, size_t avg, size_t piece,
    uint64_t *end)
{
	struct buzhash b;
	size_t at = 0, k, cut, count = 0, last = 0, i = 0;

	buzhash_init(&b, avg);
	while (at < n) {
		k = piece != 0 ? piece : 1 + (i++ * 7919) % 70001;
		if (k > n - at)
			k = n - at;
		while ((cut = buzhash_scan(&b, p + at, k)) != 0) {
			at += cut;
			k -= cut;
			end[count++] = last = at;
		}
		at += k;
	}
	if (last < n)
		end[count++] = n;
	return count;
}

static size_t
whole(const unsigned char *p, size_t n, size_t avg, uint64_t *end)
{
	size_t at, count = 0;
	struct cut c;

	cut_buzhash(&c, avg);
	for (at = 0; at < n;) {
		at += cut_next(&c, p + at, n - at, true);
		end[count++] = at;
	}
	return count;
}

static void
vectors(void **state)
{
	static const struct {
		const char *name, *sha;
		size_t avg;
	} v[] = {
		{ "chunks-splitmix64-64MiB-avg4MiB.txt",
		    "9f919a4749c28c1886a32e004f5eccf5f656eb2942d5463cbba383620e4fb5be",
		    4 << 20 },
		{ "chunks-splitmix64-64MiB-avg512KiB.txt",
		    "4bb198a93ce5a516c6e77f67f6baca32e92f91be4c6811e5dd625387f9622428",
		    512 << 10 },
		{ "chunks-splitmix64-64MiB-avg64KiB.txt",
		    "218dd9cc7aa1d630e7163260fa022334049009b0a6c1e0b89034fc0c239e1a02",
		    64 << 10 },
	};
	static uint64_t got[ENDS], want[ENDS];
	unsigned char sum[SHA256_LEN], le[8];
	char hex[SHA256_HEX];
	struct err e = ERR_INIT;
	struct sha256 *h = sha256_new(&e);
	size_t i, k, n;

	(void)state;
	for (i = 0; i < 3; i++) {
		n = expected(v[i].name, want);
		same(got, whole(data, BIG, v[i].avg, got), want, n);
		same(got, in_pieces(data, BIG, v[i].avg, 0, got), want, n);
		same(got, in_pieces(data, BIG, v[i].avg, 256 << 10, got), want,
		    n);
		for (k = 0; k < n; k++) {
			put_le64(le, got[k]);
			sha256_add(h, le, 8);
		}
		sha256_end(h, sum);
		hex_put(sum, sizeof(sum), hex);
		assert_string_equal(hex, v[i].sha);
	}
	sha256_free(h);
}

static void
byte_by_byte(void **state)
{
	static uint64_t got[ENDS], want[ENDS];
	size_t i, n = 1 << 20;

	(void)state;
	for (i = 1; i < 130; i += 3)
		same(got, in_pieces(data + i, n, 4096, i, got), want,
		    whole(data + i, n, 4096, want));
}

/* The definition, as it stands: a byte, a step. */
static size_t
plainly(const unsigned char *p, size_t n, size_t avg, uint64_t *end)
{
	static uint32_t t[256];
	uint32_t h = 0;
	size_t i, k = 0, count = 0, last = 0;
	struct buzhash b;

	/* the table, through the hash of a window of one byte's kind */
	if (t[0] == 0) {
		FILE *f = fopen("tests/vectors/pxar/buzhash-table.txt", "r");

		assert_non_null(f);
		for (i = 0; i < 256; i++)
			assert_int_equal(fscanf(f, "%x", &t[i]), 1);
		fclose(f);
	}
	buzhash_init(&b, avg);
	for (i = 0; i < n; i++) {
		h = h << 1 | h >> 31;
		if (k >= 64)
			h ^= t[p[i - 64]];
		h ^= t[p[i]];
		if (++k > 64 && (k >= b.max || (k >= b.min &&
		    (h & b.mask) >= b.mask - 2))) {
			end[count++] = last = i + 1;
			h = 0;
			k = 0;
		}
	}
	if (last < n)
		end[count++] = n;
	return count;
}

static void
definition(void **state)
{
	static uint64_t got[ENDS], want[ENDS];
	size_t avg;

	(void)state;
	for (avg = 1024; avg <= 65536; avg *= 2)
		same(got, whole(data, 1 << 20, avg, got), want,
		    plainly(data, 1 << 20, avg, want));
}

static unsigned char *
counter(void)
{
	unsigned char *p = malloc(1 << 20);
	uint32_t i;

	assert_non_null(p);
	for (i = 0; i < 262144; i++)
		put_le32(p + 4 * i, i);
	return p;
}

static void
other_data(void **state)
{
	static const uint64_t a[] = { 143377, 405521, 667665, 929809,
	    1048576 }, z[] = { 16777216, 33554432, 50331648, 67108864 };
	static uint64_t got[ENDS];
	unsigned char *p = counter(), *zero = calloc(1, BIG);

	(void)state;
	assert_non_null(zero);
	same(got, whole(p, 1 << 20, 65536, got), a, 5);
	same(got, whole(zero, BIG, 4 << 20, got), z, 4);
	free(p);
	free(zero);
}

/* Chunks of Wings are found again only with its very parameters. */
static void
wings(void **state)
{
	struct cut c;

	(void)state;
	cut_fastcdc(&c, 4 << 20, 0, 0);
	assert_int_equal(c.min, 1 << 20);
	assert_int_equal(c.avg, 4 << 20);
	assert_int_equal(c.max, 16 << 20);
}

/* Everything through paycut in pieces; the lengths of chunks into len. */
static size_t
pay(struct paycut *c, const unsigned char *p, size_t n, size_t piece,
    uint64_t *len)
{
	size_t at = 0, have = 0, k, count = 0;
	struct err e = ERR_INIT;
	int r;

	for (;;) {
		r = paycut_next(c, p + at, have, at + have == n, &k, &e);
		if (r == -1)
			fail_msg("%s", e.msg);
		at += k;
		have -= k;
		if (r != PAYCUT_MORE && k > 0)
			len[count++] = k;
		if (r != PAYCUT_MORE)
			continue;
		if (at + have == n)
			return count;
		have += piece < n - at - have ? piece : n - at - have;
	}
}

static void
suggested(void **state)
{
	static uint64_t got[ENDS], want[ENDS];
	struct err e = ERR_INIT;
	struct paycut *c;
	uint64_t s, i, at;
	size_t n, k, run;

	(void)state;
	for (run = 0; run < 2; run++) {
		c = paycut_new(65536, &e);
		for (s = 16, i = 0; s < 8 << 20; s += 16 + (i++ * 37003) %
		    200000)
			assert_ok(paycut_suggest(c, s, &e), &e);
		assert_int_equal(i, 84);
		n = pay(c, data, 8 << 20, run == 0 ? 256 << 10 : 8 << 20, got);
		for (k = 0, at = 0; k < n; k++)
			got[k] = at += got[k];
		same(got, n, want, expected(run == 0 ?
		    "payload-chunks-8MiB-avg64KiB-feed256KiB.txt" :
		    "payload-chunks-8MiB-avg64KiB-feed8MiB.txt", want));
		paycut_free(c);
	}
}

static void
suggested_small(void **state)
{
	static const uint64_t s[] = { 32768, 32768, 0, 405521 }, want[] = {
	    32768, 110609, 262144, 262144, 262144, 118767 };
	static uint64_t got[ENDS];
	unsigned char *p = counter();
	struct err e = ERR_INIT;
	struct paycut *c = paycut_new(65536, &e);
	size_t i;

	(void)state;
	for (i = 0; i < 4; i++)
		assert_ok(paycut_suggest(c, s[i], &e), &e);
	same(got, pay(c, p, 1 << 20, 1 << 20, got), want, 6);
	paycut_free(c);
	free(p);
}

static void
put_in(void **state)
{
	static const uint64_t want[] = { 32768, 31744, 65536, 262144, 262144,
	    512, 262144, 131584 };
	static uint64_t got[ENDS];
	unsigned char *p = counter(), *turned = malloc(1 << 20);
	struct err e = ERR_INIT;
	struct paycut *c = paycut_new(65536, &e);
	size_t k;

	(void)state;
	assert_non_null(turned);
	memcpy(turned, p + 10, (1 << 20) - 10);
	memcpy(turned + (1 << 20) - 10, p, 10);
	paycut_suggest(c, 32768, &e);
	paycut_suggest(c, 65536, &e);
	paycut_inject(c, 32768, 1024, &e);
	paycut_inject(c, 131072, 2048, &e);
	paycut_inject(c, 657408, 512, &e);
	paycut_inject(c, 658432, 0, &e);
	same(got, pay(c, turned, 1 << 20, (1 << 20) - 10, got), want, 8);
	paycut_free(c);

	/* behind the end */
	c = paycut_new(65536, &e);
	paycut_inject(c, 11, 5, &e);
	assert_int_equal(paycut_next(c, p, 10, true, &k, &e), -1);
	paycut_free(c);
	free(p);
	free(turned);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors),
		cmocka_unit_test(byte_by_byte),
		cmocka_unit_test(definition),
		cmocka_unit_test(other_data),
		cmocka_unit_test(wings),
		cmocka_unit_test(suggested),
		cmocka_unit_test(suggested_small),
		cmocka_unit_test(put_in),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
