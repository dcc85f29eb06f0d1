/* Cut points and hashes against vectors; compressing one chunk. */

#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <brotli/decode.h>
#include <libdeflate.h>

#include "base/bytes.h"
#include "base/code.h"
#include "base/hash.h"
#include "base/probe.h"
#include "base/run.h"
#include "chunk/cut.h"
#include "chunk/hashes.h"
#include "chunk/runs.h"
#include "chunk/squeeze.h"

enum { BIG = 32 << 20 };

static unsigned char *data;             /* BIG bytes */

/* splitmix64, whose numbers the vectors are made of */
static void
prng(uint64_t s, unsigned char *p, size_t n)
{
	unsigned char last[8];
	uint64_t z;
	size_t k;

	for (; n > 0; n -= k, p += k) {
		s += UINT64_C(0x9E3779B97F4A7C15);
		z = s;
		z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
		z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
		put_le64(last, z ^ z >> 31);
		k = n < 8 ? n : 8;
		memcpy(p, last, k);
	}
}

static FILE *
vectors(const char *name)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "tests/vectors/ddup/%s", name);
	if ((f = fopen(path, "r")) == NULL)
		fail_msg("%s is missing", path);
	return f;
}

static int
setup(void **state)
{
	(void)state;
	return (data = malloc(BIG)) == NULL ? -1 : 0;
}

static int
teardown(void **state)
{
	(void)state;
	free(data);
	return 0;
}

static void
parameters(void **state)
{
	char line[256];
	uint64_t size, count, len, min, avg, max, s, l;
	struct cut c;
	size_t rows = 0;
	FILE *f = vectors("cdc-params.txt");

	(void)state;
	while (fgets(line, sizeof(line), f) != NULL) {
		if (*line == '#')
			continue;
		assert_int_equal(sscanf(line + 2, "%" SCNu64 " %" SCNu64 " %"
		    SCNu64 " -> %" SCNu64 " %" SCNu64 " %" SCNu64 " 0x%" SCNx64
		    " 0x%" SCNx64, &size, &count, &len, &min, &avg, &max, &s,
		    &l), 8);
		cut_fastcdc(&c, (uint32_t)size, (uint32_t)count, len);
		if (c.min != min || c.avg != avg || c.max != max ||
		    c.mask_s != s || c.mask_l != l)
			fail_msg("wrong parameters for %s", line);
		rows++;
	}
	fclose(f);
	assert_int_equal(rows, 14);
}

/* One row: the source, its length and parameters, the expected lengths. */
static void
cut_row(char *line)
{
	char source[16], *at;
	size_t n, min, avg, max, len, pos = 0, want;
	struct cut c;
	int used;

	assert_int_equal(sscanf(line, "%15s %zu %zu %zu %zu : %n", source, &n,
	    &min, &avg, &max, &used), 5);
	assert_true(n <= BIG);
	if (strcmp(source, "zero") == 0)
		memset(data, 0, n);
	else if (strcmp(source, "ff") == 0)
		memset(data, 0xff, n);
	else
		prng((uint64_t)atoi(source + 4), data, n);
	cut_fastcdc_exact(&c, min, avg, max);
	for (at = line + used; pos < n; pos += len) {
		want = (size_t)strtoull(at, &at, 10);
		len = cut_next(&c, data + pos, n - pos, true);
		if (len != want)
			fail_msg("%.60s: %zu at %zu, not %zu", line, len, pos,
			    want);
	}
	assert_int_equal(strspn(at, " \n"), strlen(at));
}

static void
small(void **state)
{
	char *line = NULL;
	size_t room = 0, rows = 0;
	FILE *f = vectors("cdc-small.txt");

	(void)state;
	while (getline(&line, &room, f) != -1) {
		if (*line == '#')
			continue;
		cut_row(line);
		rows++;
	}
	free(line);
	fclose(f);
	assert_int_equal(rows, 36);
}

static void
large(void **state)
{
	char line[256], hash[BLAKE2B_HEX], hex[BLAKE2B_HEX];
	unsigned char md[BLAKE2B_LEN];
	uint64_t off, len;
	size_t pos = 0, got;
	struct cut c;
	FILE *f = vectors("cdc-prng32m.txt");

	(void)state;
	prng(1, data, BIG);
	cut_fastcdc(&c, 1 << 20, 0, BIG);
	while (fgets(line, sizeof(line), f) != NULL) {
		if (*line == '#')
			continue;
		assert_int_equal(sscanf(line, "%" SCNu64 " %" SCNu64
		    " %*16s %64s", &off, &len, hash), 3);
		got = cut_next(&c, data + pos, BIG - pos, true);
		assert_int_equal(off, pos);
		assert_int_equal(got, len);
		blake2b(data + pos, got, md);
		hex_put(md, sizeof(md), hex);
		assert_string_equal(hex, hash);
		pos += got;
	}
	fclose(f);
	assert_int_equal(pos, BIG);
}

/* However the bytes arrive, the cuts are the same. */
static void
piecemeal(void **state)
{
	static const size_t steps[] = { 1, 7, 1000, 4096, 100000 };
	size_t i, want[512], n = 0, have, pos, len, at;
	struct cut c;

	(void)state;
	prng(3, data, 200000);
	cut_fastcdc_exact(&c, 250, 1000, 4000);
	for (pos = 0; pos < 200000; pos += want[n++])
		want[n] = cut_next(&c, data + pos, 200000 - pos, true);
	assert_true(n > 50);
	for (i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		at = pos = have = 0;
		while (pos < 200000) {
			len = cut_next(&c, data + pos, have - pos,
			    have == 200000);
			if (len == 0) {
				assert_true(have - pos < c.max);
				have += steps[i];
				if (have > 200000)
					have = 200000;
				continue;
			}
			assert_int_equal(len, want[at++]);
			pos += len;
		}
		assert_int_equal(at, n);
	}
	assert_int_equal(cut_next(&c, data, 0, true), 0);
}

/* Nor does it matter that the search goes on where it stopped. */
static void
going_on(void **state)
{
	static const size_t steps[] = { 1, 2, 7, 501, 1000, 4096 };
	struct cut_state s;
	size_t i, have, pos, len, want;
	struct cut c;

	(void)state;
	prng(5, data, 400000);
	cut_fastcdc_exact(&c, 250, 1000, 4000);
	for (i = 0; i < sizeof(steps) / sizeof(*steps); i++)
		for (pos = 0; pos + c.max <= 400000; pos += len) {
			want = cut_next(&c, data + pos, c.max, false);
			memset(&s, 0, sizeof(s));
			for (have = steps[i], len = 0; len == 0;
			    have += steps[i]) {
				if (have > c.max)
					have = c.max;
				len = cut_fastcdc_more(&c, &s, data + pos,
				    have);
			}
			assert_int_equal(len, want);
		}
}

/* Decoders of others read what we write. */
static bool
inflates(enum squeeze_format f, const unsigned char *p, size_t n,
    unsigned char *out, size_t want)
{
	struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
	size_t len = want;
	bool ok = false;

	if (f == SQUEEZE_GZIP)
		ok = libdeflate_gzip_decompress(d, p, n, out, want, &len) == 0;
	else if (f == SQUEEZE_DEFLATE)
		ok = libdeflate_deflate_decompress(d, p, n, out, want,
		    &len) == 0;
	else if (f == SQUEEZE_BROTLI)
		ok = BrotliDecoderDecompress(n, p, &len, out) ==
		    BROTLI_DECODER_RESULT_SUCCESS;
	libdeflate_free_decompressor(d);
	return ok && len == want;
}

static void
squeezing(void **state)
{
	static const size_t sizes[] = { 1, 2, 3, 64, 5000, 300000, 1 << 20 };
	unsigned char *out = malloc(BIG), *back = malloc(BIG);
	struct err e = ERR_INIT;
	struct squeeze *s;
	size_t i, j, len, n;
	int f, level, min, max, def;

	(void)state;
	assert_true(out != NULL && back != NULL);
	for (f = SQUEEZE_RAW; f <= SQUEEZE_BROTLI; f++) {
		squeeze_levels((enum squeeze_format)f, &min, &max, &def);
		for (level = min; level <= max; level += max - min + (f == 0)) {
			s = squeeze_new((enum squeeze_format)f, level, &e);
			assert_non_null(s);
			for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
				n = sizes[i];
				if (n > 300000 && f == SQUEEZE_BROTLI)
					continue;
				for (j = 0; j < n; j++)
					data[j] = (unsigned char)(j / 100);
				len = 0;
				if (squeeze_run(s, data, n, out, &len) ==
				    SQUEEZE_RAW) {
					assert_true(f == SQUEEZE_RAW ||
					    n < 1000);
					assert_int_equal(len, 0);
					continue;
				}
				assert_true(len > 0 && len < n);
				assert_true(inflates((enum squeeze_format)f,
				    out, len, back, n));
				assert_memory_equal(back, data, n);
			}
			/* noise is kept as it is, large and small */
			prng(5, data, 1 << 20);
			assert_int_equal(squeeze_run(s, data, 1 << 20, out,
			    &len), SQUEEZE_RAW);
			assert_int_equal(squeeze_run(s, data, 3000, out,
			    &len), SQUEEZE_RAW);
			squeeze_free(s);
		}
	}
	free(out);
	free(back);
}

/* Wherever a run lies, and however short what follows it. */
static void
finding_runs(void **state)
{
	size_t at, len, n, end, from;

	(void)state;
	for (len = RUN_LEAST - 1; len < RUN_LEAST + 20; len++)
		for (at = 0; at < 70; at++)
			for (n = at + len; n < at + len + 3; n++) {
				prng(at + len, data, n + 8);
				memset(data + at, 7, len);
				data[at + len] = 8;
				if (at > 0)
					data[at - 1] = 9;
				from = at < 5 ? 0 : at - 5;
				if (len < RUN_LEAST) {
					assert_int_equal(run_find(data, from,
					    n, &end), n);
					assert_int_equal(end, n);
					continue;
				}
				assert_int_equal(run_find(data, from, n, &end),
				    at);
				assert_int_equal(end, at + len);
			}
	assert_int_equal(run_find(data, 5, 5, &end), 5);
}

/* n bytes of data through runs_deflate and back; how long they were. */
static size_t
runs_back(size_t n, unsigned char *out, unsigned char *back)
{
	size_t room = n + n / 1000 + 64, len = runs_deflate(data, n, out, room);

	assert_true(len > 0);
	memset(back, 1, n);
	assert_true(inflates(SQUEEZE_DEFLATE, out, len, back, n));
	assert_memory_equal(back, data, n);
	/* exactly that much room is enough, and a byte less is not */
	memset(out + len, 0xa5, 8);
	assert_int_equal(runs_deflate(data, n, out, len), len);
	assert_int_equal(get_le64(out + len), UINT64_C(0xa5a5a5a5a5a5a5a5));
	out[len - 1] = 0xa5;
	assert_int_equal(runs_deflate(data, n, out, len - 1), 0);
	assert_int_equal(out[len - 1], 0xa5);
	return len;
}

static void
runs(void **state)
{
	static const size_t tails[] = { 0, 1, 2, 100, 65535, 65536, 200000 };
	unsigned char *out = malloc(BIG), *back = malloc(BIG);
	size_t i, j, len;

	(void)state;
	assert_true(out != NULL && back != NULL);
	/* every length of a match, every byte, at the end and before more */
	for (len = RUN_LEAST; len < 2 * 258 + 40; len++)
		for (i = 0; i < 3; i++) {
			prng(len, data, 600 + len);
			memset(data + 300, (int)(len * 7 + i), len);
			runs_back(300 + len + i * 150, out, back);
			runs_back(300 + len + i, out, back);
		}
	/* stored blocks of all sizes, before and behind a run */
	for (i = 0; i < sizeof(tails) / sizeof(*tails); i++)
		for (j = 0; j < sizeof(tails) / sizeof(*tails); j++) {
			len = tails[i] + 5000 + tails[j];
			prng(i, data, len);
			memset(data + tails[i], 0, 5000);
			assert_true(runs_back(len, out, back) < tails[i] +
			    tails[j] + 600);
		}
	memset(data, 0, 4 << 20);
	assert_true(runs_back(4 << 20, out, back) < 32 << 10);
	prng(4, data, 100000);
	assert_true(runs_back(100000, out, back) <= 100010);
	free(out);
	free(back);
}

/*
 * A world's region: streams that nothing shrinks, in sectors that they don't
 * fill.  As small as a compressor makes it, within half a percent.
 */
static void
gaps(void **state)
{
	enum { N = 2 << 20 };
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(6);
	unsigned char *out = malloc(N), *back = malloc(N);
	enum squeeze_format f;
	struct err e = ERR_INIT;
	struct squeeze *s;
	size_t i, len, want;
	unsigned left;

	(void)state;
	assert_true(c != NULL && out != NULL && back != NULL);
	prng(9, data, N);
	for (i = 0; i < N; i += 8192)
		memset(data + i + 5000 + i / 8192 * 11, 0, 3192 - i / 8192 *
		    11);
	assert_true(probe_runs(data, N, &left) < left + 8);
	want = libdeflate_deflate_compress(c, data, N, out, N);
	for (f = SQUEEZE_GZIP; f <= SQUEEZE_DEFLATE; f++) {
		s = squeeze_new(f, -1, &e);
		assert_non_null(s);
		assert_int_equal(squeeze_run(s, data, N, out, &len), f);
		assert_true(len < want + want / 200);
		assert_true(inflates(f, out, len, back, N));
		assert_memory_equal(back, data, N);
		squeeze_free(s);
	}
	/* where there is more to gain, it is gained */
	for (i = 0; i < N; i++)
		data[i] = (unsigned char)("0123456789abcdef"[data[i] & 15]);
	want = libdeflate_deflate_compress(c, data, N, out, N);
	s = squeeze_new(SQUEEZE_DEFLATE, 6, &e);
	assert_non_null(s);
	assert_int_equal(squeeze_run(s, data, N, out, &len), SQUEEZE_DEFLATE);
	assert_int_equal(len, want);
	squeeze_free(s);
	libdeflate_free_compressor(c);
	free(out);
	free(back);
}

/*
 * Several messages at once, in each way that this processor has: the same sums
 * as one after the other, whatever their lengths, and no byte beside them.
 */
static void
hashing_together(void **state)
{
	enum { MOST = 19, ROUNDS = 400, ROOM = 4096 };
	static const size_t edge[] = { 0, 1, 127, 128, 129, 255, 256, 257,
	    384, 1023 };
	unsigned char md[MOST + 1][BLAKE2B_LEN], want[BLAKE2B_LEN];
	unsigned char guard[BLAKE2B_LEN], *copy;
	struct hash_one one[MOST];
	size_t round, n, i, ways = 0;
	enum hashes_way way;

	(void)state;
	prng(5, data, BIG);
	memset(guard, 0x5a, sizeof(guard));
	for (way = HASHES_ONE; way < HASHES_WAYS; way++) {
		if (!hashes_by(way, one, 0))
			continue;
		ways++;
		for (round = 0; round < ROUNDS; round++) {
			n = round % MOST + 1;
			memset(md, 0x5a, sizeof(md));
			for (i = 0; i < n; i++) {
				/* of that size: a sanitizer sees beyond it */
				one[i].n = round < ROUNDS / 2 ?
				    edge[(round * 7 + i * 3) %
				    (sizeof(edge) / sizeof(*edge))] :
				    data[round * MOST + i] * 16u +
				    data[BIG - round * MOST - i - 1];
				copy = malloc(one[i].n > 0 ? one[i].n : 1);
				assert_non_null(copy);
				memcpy(copy, data + round * ROOM + i,
				    one[i].n);
				one[i].p = copy;
				one[i].md = md[i];
			}
			assert_true(hashes_by(way, one, n));
			for (i = 0; i < n; i++) {
				blake2b(one[i].p, one[i].n, want);
				assert_memory_equal(md[i], want, BLAKE2B_LEN);
				free((void *)(uintptr_t)one[i].p);
			}
			assert_memory_equal(md[n], guard, BLAKE2B_LEN);
		}
	}
	assert_true(ways > 0);
	/* of lengths far apart, and by whichever way is taken */
	for (i = 0; i < MOST; i++) {
		one[i].p = data + i;
		one[i].n = i % 3 == 0 ? BIG / 16 + i : i;
		one[i].md = md[i];
	}
	hashes(one, MOST);
	for (i = 0; i < MOST; i++) {
		blake2b(one[i].p, one[i].n, want);
		assert_memory_equal(md[i], want, BLAKE2B_LEN);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parameters),
		cmocka_unit_test(small),
		cmocka_unit_test(large),
		cmocka_unit_test(piecemeal),
		cmocka_unit_test(going_on),
		cmocka_unit_test(squeezing),
		cmocka_unit_test(finding_runs),
		cmocka_unit_test(runs),
		cmocka_unit_test(gaps),
		cmocka_unit_test(hashing_together),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
