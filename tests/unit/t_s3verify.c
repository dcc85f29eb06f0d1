/* Proving what was read: layouts of parts, ETags of parts, CRCs. */

#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/code.h"
#include "s3/verify.h"

/* Part 1 is 5 MiB of a, part 2 1 KiB of b (s3.md 3.2). */
#define N1 ((size_t)5242880)
#define N2 ((size_t)1024)
#define ETAG "\"16329fb6004d64a4fbc5bbb983fa0528-2\""

static unsigned char *data;

static void
layouts(void **st)
{
	static const char *const bad[] = { "", "x", "5x", "5x0", "0x5", "5x5,",
	    ",5x5", "5x5 ", "-5x5", "5x10001", "5x9999,5x2",
	    "5368709121x1", "5x5;6x6", "99999999999999999999x1" };
	uint64_t b, e;
	struct layout l;
	size_t i;

	(void)st;
	assert_int_equal(layout_parse("10x3,20x2", &l), 0);
	assert_int_equal(l.runs, 2);
	assert_true(layout_part(&l, 0, 65, &b, &e));
	assert_true(b == 0 && e == 10);
	assert_true(layout_part(&l, 29, 65, &b, &e));
	assert_true(b == 20 && e == 30);
	assert_true(layout_part(&l, 30, 65, &b, &e));
	assert_true(b == 30 && e == 50);
	assert_true(layout_part(&l, 64, 65, &b, &e));
	assert_true(b == 50 && e == 65);
	assert_false(layout_part(&l, 70, 100, &b, &e));
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (layout_parse(bad[i], &l) != -1)
			fail_msg("accepted: %s", bad[i]);
}

/* All in pieces of step bytes; the first part folded where it can be. */
static int
run(const struct verify_facts *f, size_t step, bool fold)
{
	struct err e = ERR_INIT;
	struct verify *v = verify_new(f, &e);
	unsigned char md[SUM_MAX];
	size_t at = 0, n;
	enum s3_sum a;
	int ret;

	if (v == NULL) {
		assert_int_equal(e.code, 0);
		return -1;
	}
	if (fold && (a = verify_piece(v, 0, N1)) != S3_SUM_NONE) {
		assert_ok(sum_once(a, data, N1, md, &e), &e);
		verify_fold(v, md, N1);
		at = N1;
	}
	for (; at < N1 + N2; at += n) {
		n = N1 + N2 - at < step ? N1 + N2 - at : step;
		verify_bytes(v, data + at, n);
	}
	ret = verify_end(v);
	verify_free(v);
	return ret;
}

static struct verify_facts
facts(const char *etag)
{
	struct verify_facts f = { .total = N1 + N2, .sum = S3_SUM_NONE };

	memcpy(f.etag, etag, strlen(etag) + 1);
	return f;
}

static void
etag_of_parts(void **st)
{
	struct verify_facts f = facts(ETAG);

	(void)st;
	/* nobody says how it was cut */
	assert_int_equal(run(&f, N1, true), -1);
	f.has_layout = true;
	assert_int_equal(layout_parse("5242880x10000", &f.layout), 0);
	assert_int_equal(run(&f, 1 << 20, false), 1);
	assert_int_equal(run(&f, 777777, false), 1);
	assert_int_equal(run(&f, 777777, true), 1);
	data[N1 + 1] ^= 1;
	assert_int_equal(run(&f, 777777, true), 0);
	data[N1 + 1] ^= 1;
	data[0] ^= 1;
	assert_int_equal(run(&f, 777777, true), 0);
	data[0] ^= 1;
	/* a layout that gives another number of parts proves nothing */
	assert_int_equal(layout_parse("1048576x10000", &f.layout), 0);
	assert_int_equal(run(&f, N1, false), -1);
	f.opaque = true;
	assert_int_equal(layout_parse("5242880x10000", &f.layout), 0);
	assert_int_equal(run(&f, N1, false), -1);
}

static void
whole_md5(void **st)
{
	unsigned char md[SUM_MAX];
	char etag[40] = "\"";
	struct verify_facts f;
	struct err e = ERR_INIT;

	(void)st;
	assert_ok(sum_once(S3_SUM_MD5, data, N1 + N2, md, &e), &e);
	hex_put(md, 16, etag + 1);
	memcpy(etag + 33, "\"", 2);
	f = facts(etag);
	assert_int_equal(run(&f, 100000, true), 1);
	data[7] ^= 1;
	assert_int_equal(run(&f, 100000, true), 0);
	data[7] ^= 1;
	f.total++;
	assert_int_equal(run(&f, 100000, true), 0);
}

static void
whole_crc(void **st)
{
	struct verify_facts f = facts("\"opaque\"");
	struct err e = ERR_INIT;

	(void)st;
	f.sum = S3_SUM_CRC64NVME;
	assert_ok(sum_once(f.sum, data, N1 + N2, f.value, &e), &e);
	assert_int_equal(run(&f, 123456, false), 1);
	assert_int_equal(run(&f, 123456, true), 1);
	data[N1 + N2 - 1] ^= 0x80;
	assert_int_equal(run(&f, 123456, true), 0);
	data[N1 + N2 - 1] ^= 0x80;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layouts),
		cmocka_unit_test(etag_of_parts),
		cmocka_unit_test(whole_md5),
		cmocka_unit_test(whole_crc),
	};
	int ret;

	if ((data = malloc(N1 + N2)) == NULL)
		return 1;
	memset(data, 'a', N1);
	memset(data + N1, 'b', N2);
	ret = cmocka_run_group_tests_name("s3verify", tests, NULL, NULL);
	free(data);
	return ret;
}
