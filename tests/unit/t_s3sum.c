/* The checksums of S3: catalogue values, base64 as in headers, joining. */

#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/code.h"
#include "s3/crc.h"
#include "s3/sum.h"

static void
is(enum s3_sum a, const void *p, size_t n, const char *want)
{
	unsigned char md[SUM_MAX];
	struct err e = ERR_INIT;
	struct buf b;

	buf_init(&b, 128);
	assert_ok(sum_once(a, p, n, md, &e), &e);
	b64_put(&b, md, sum_len(a));
	assert_string_equal(b.p, want);
	buf_fini(&b);
}

static void
known_values(void **st)
{
	static const struct {
		const char *text, *crc32, *crc32c, *crc64, *sha256, *md5;
	} v[] = {
		{ "", "AAAAAA==", "AAAAAA==", "AAAAAAAAAAA=",
		    "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
		    "1B2M2Y8AsgTpgAmY7PhCfg==" },
		{ "123456789", "y/Q5Jg==", "4waSgw==", "rosUhgp5mIg=",
		    "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
		    "JfnnlDI7RTiF9RgfG2JNCw==" },
		{ "hello world\n", "rwg7LQ==", "8P9ykg==", "D3gOhIHSoh8=",
		    "qUiQTy8PR5uPgZdpSzAYSw0u0cHNKh7A+4XSmaGSpEc=",
		    "b1kCrCNwJL3QwXbLkwY9xA==" },
	};
	size_t i;

	(void)st;
	for (i = 0; i < sizeof(v) / sizeof(*v); i++) {
		is(S3_SUM_CRC32, v[i].text, strlen(v[i].text), v[i].crc32);
		is(S3_SUM_CRC32C, v[i].text, strlen(v[i].text), v[i].crc32c);
		is(S3_SUM_CRC64NVME, v[i].text, strlen(v[i].text),
		    v[i].crc64);
		is(S3_SUM_SHA256, v[i].text, strlen(v[i].text), v[i].sha256);
		is(S3_SUM_MD5, v[i].text, strlen(v[i].text), v[i].md5);
	}
}

/* Two parts, 5 MiB of a and 1 KiB of b, joined to the whole's. */
static void
joined(void **st)
{
	static const struct { enum s3_sum a; const char *whole; } v[] = {
		{ S3_SUM_CRC32, "9NrqQQ==" },
		{ S3_SUM_CRC32C, "OATA6w==" },
		{ S3_SUM_CRC64NVME, "hrdXXE6LjSo=" },
	};
	const size_t na = 5242880, nb = 1024;
	unsigned char x[SUM_MAX], y[SUM_MAX], z[SUM_MAX], *p;
	struct err e = ERR_INIT;
	struct buf b;
	size_t i;

	(void)st;
	p = malloc(na + nb);
	assert_non_null(p);
	memset(p, 'a', na);
	memset(p + na, 'b', nb);
	is(S3_SUM_CRC64NVME, p, na, "PbvLEkWUSgg=");
	is(S3_SUM_CRC64NVME, p + na, nb, "462jT6Wyr6Q=");
	is(S3_SUM_CRC32C, p, na, "WpuOeg==");
	is(S3_SUM_CRC32C, p + na, nb, "suQIkg==");
	is(S3_SUM_SHA256, p, na,
	    "oplo+tLngqqfIECjXwWtuX7Yl56x9XLIyOp4Y34nXzw=");
	buf_init(&b, 128);
	for (i = 0; i < sizeof(v) / sizeof(*v); i++) {
		assert_ok(sum_once(v[i].a, p, na, x, &e), &e);
		assert_ok(sum_once(v[i].a, p + na, nb, y, &e), &e);
		assert_ok(sum_once(v[i].a, "", 0, z, &e), &e);
		sum_join(v[i].a, z, x, na);
		sum_join(v[i].a, z, y, nb);
		buf_reset(&b);
		b64_put(&b, z, sum_len(v[i].a));
		assert_string_equal(b.p, v[i].whole);
	}
	buf_fini(&b);
	free(p);
}

static void
any_pieces(void **st)
{
	static const enum s3_sum all[] = { S3_SUM_MD5, S3_SUM_CRC64NVME,
	    S3_SUM_CRC32C, S3_SUM_CRC32, S3_SUM_SHA256 };
	unsigned char text[1000], a[SUM_MAX], b[SUM_MAX];
	struct err e = ERR_INIT;
	struct sum *s;
	size_t i, k, n, step;

	(void)st;
	for (i = 0; i < sizeof(text); i++)
		text[i] = (unsigned char)(i * 7 + i / 13);
	for (k = 0; k < sizeof(all) / sizeof(*all); k++) {
		assert_ok(sum_once(all[k], text, sizeof(text), a, &e), &e);
		assert_non_null(s = sum_new(all[k], &e));
		for (step = 1; step < 40; step++) {
			for (i = 0; i < sizeof(text); i += n) {
				n = sizeof(text) - i < step ?
				    sizeof(text) - i : step;
				sum_add(s, text + i, n);
			}
			sum_end(s, b);
			assert_memory_equal(a, b, sum_len(all[k]));
		}
		sum_free(s);
	}
}

/* Many bytes at a time or one after the other, whatever the length is. */
static void
both_ways(void **st)
{
	static const struct { uint64_t poly; unsigned bits; } v[] = {
		{ 0xedb88320, 32 }, { 0x82f63b78, 32 },
		{ 0x9a6c9329ac4bc9b5, 64 },
	};
	static struct crc c;
	unsigned char text[1100];
	uint64_t first, want;
	size_t i, n, off;

	(void)st;
	for (i = 0; i < sizeof(v) / sizeof(*v); i++) {
		for (n = 0; n < sizeof(text); n++)
			text[n] = (unsigned char)(n * 31 + n / 7);
		crc_init(&c, v[i].poly, v[i].bits);
		first = 0x123456789abcdef0 >> (64 - v[i].bits);
		for (off = 0; off < 17; off += 4)
			for (n = 0; n <= sizeof(text) - off; n++) {
				want = crc_plain(&c, first, text + off, n);
				assert_true(crc_add(&c, first, text + off,
				    n) == want);
			}
		memset(text, 0, sizeof(text));
		assert_true(crc_zeros(&c, 77, 1000) ==
		    crc_plain(&c, 77, text, 1000));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_values),
		cmocka_unit_test(joined),
		cmocka_unit_test(any_pieces),
		cmocka_unit_test(both_ways),
	};

	return cmocka_run_group_tests_name("s3sum", tests, NULL, NULL);
}
