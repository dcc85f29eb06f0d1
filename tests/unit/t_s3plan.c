/* Sizes of parts: the tables of s3.md 2.7, and what is refused at once. */

#include "unit.h"

#include "base/buf.h"
#include "s3/plan.h"
#include "s3/s3.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define TIB (1ull << 40)

static struct s3_plan
wide(void)
{
	return (struct s3_plan){ .max_parts = 10000, .memory = 16 * GIB,
	    .max_object = 48 * TIB };
}

/* First part 16 MiB, doubling every thousand, capped at 5 GiB. */
static void
growing_schedule(void **st)
{
	static const struct { unsigned n; uint64_t size, mib; } t[] = {
		{ 1000, 16 * MIB, 16000 }, { 2000, 32 * MIB, 48000 },
		{ 3000, 64 * MIB, 112000 }, { 4000, 128 * MIB, 240000 },
		{ 5000, 256 * MIB, 496000 }, { 6000, 512 * MIB, 1008000 },
		{ 7000, GIB, 2032000 }, { 8000, 2 * GIB, 4080000 },
		{ 9000, 4 * GIB, 8176000 }, { 10000, 5 * GIB, 13296000 },
	};
	struct s3_plan p = wide();
	struct err e = ERR_INIT;
	struct buf b;
	uint64_t sum = 0;
	unsigned n, i = 0;

	(void)st;
	assert_ok(s3_plan(&p, &e), &e);
	for (n = 1; n <= 10000; n++) {
		sum += s3_plan_size(&p, n);
		if (n != t[i].n)
			continue;
		assert_int_equal(s3_plan_size(&p, n), t[i].size);
		assert_int_equal(sum, t[i].mib * MIB);
		i++;
	}
	assert_int_equal(p.limit, sum);
	buf_init(&b, 1024);
	s3_plan_text(&p, &b);
	assert_string_equal(b.p, "16777216x1000,33554432x1000,67108864x1000,"
	    "134217728x1000,268435456x1000,536870912x1000,1073741824x1000,"
	    "2147483648x1000,4294967296x1000,5368709120x1000");
	buf_fini(&b);
}

static void
default_memory(void **st)
{
	struct s3_plan p = wide();
	struct err e = ERR_INIT;
	unsigned n;

	(void)st;
	p.memory = 56 * MIB;
	assert_ok(s3_plan(&p, &e), &e);
	assert_int_equal(p.first, 8 * MIB);
	assert_int_equal(p.cap, 28 * MIB);
	for (n = 1; n <= 10000; n++)
		assert_true(2 * s3_plan_size(&p, n) <= p.memory);
	assert_true(p.limit > 200 * GIB);
	/* part-size is a ceiling */
	p = wide();
	p.memory = 56 * MIB;
	p.part_size = 10 * MIB;
	assert_ok(s3_plan(&p, &e), &e);
	assert_int_equal(p.first, 8 * MIB);
	assert_int_equal(s3_plan_size(&p, 5000), 10 * MIB);
	p = wide();
	p.memory = 56 * MIB;
	p.part_size = GIB;
	assert_ok(s3_plan(&p, &e), &e);
	assert_int_equal(p.cap, 28 * MIB);
}

static void
few_parts(void **st)
{
	struct s3_plan p = wide();
	struct err e = ERR_INIT;

	(void)st;
	p.max_parts = 1000;
	assert_ok(s3_plan(&p, &e), &e);
	assert_int_equal(p.first, 64 * MIB);
	assert_int_equal(p.step, 100);
	/* 2.2 TiB, as documented for 1000 parts */
	assert_true(p.limit > 2 * TIB && p.limit < 5 * TIB / 2);
	p = wide();
	p.max_parts = 3;
	p.memory = 56 * MIB;
	assert_ok(s3_plan(&p, &e), &e);
	assert_int_equal(p.limit, 3 * 28 * MIB);
}

static void
last_hundred(void **st)
{
	struct s3_plan p = wide();
	struct err e = ERR_INIT;

	(void)st;
	p.memory = 600 * GIB;
	p.part_size = 5 * GIB;
	p.max_parts = 2000;
	assert_ok(s3_plan(&p, &e), &e);
	assert_int_equal(s3_plan_size(&p, 1900), p.cap);
	assert_int_equal(s3_plan_size(&p, 1901), p.cap);
	assert_int_equal(p.cap, 5 * GIB);
}

static void
known_length(void **st)
{
	struct s3_plan p = wide();
	struct err e = ERR_INIT;

	(void)st;
	p.memory = 56 * MIB;
	p.expect = 10 * GIB;
	assert_ok(s3_plan(&p, &e), &e);
	assert_int_equal(p.first, 8 * MIB);
	/* what was told may be too little: there is room all the same */
	assert_true(p.limit > 200 * GIB);
	p.expect = 250 * GIB;
	assert_ok(s3_plan(&p, &e), &e);
	assert_int_equal(p.step, 0);
	assert_true(p.limit >= p.expect + p.expect / 20);
	p = wide();
	p.expect = 10 * TIB;
	assert_ok(s3_plan(&p, &e), &e);
	assert_true(p.limit >= p.expect + p.expect / 20);
	assert_int_equal(p.first % MIB, 0);
	/* the memory can't hold two such parts: said now, not after hours */
	p = wide();
	p.memory = 56 * MIB;
	p.expect = TIB;
	assert_int_equal(s3_plan(&p, &e), -1);
	assert_int_equal(e.code, CALA_NOSPACE);
	assert_true(e.hint[0] != '\0');
	err_clear(&e);
	p = wide();
	p.expect = 49 * TIB;
	p.max_object = 5 * TIB;
	assert_int_equal(s3_plan(&p, &e), -1);
	assert_int_equal(e.code, CALA_NOSPACE);
	err_clear(&e);
	/* the ceiling can't hold it */
	p = wide();
	p.part_size = 8 * MIB;
	p.expect = 100 * GIB;
	assert_int_equal(s3_plan(&p, &e), -1);
	assert_int_equal(e.code, CALA_USAGE);
}

static void
exact_and_equal(void **st)
{
	struct s3_plan p = wide();
	struct err e = ERR_INIT;

	(void)st;
	p.exact = true;
	assert_int_equal(s3_plan(&p, &e), -1);
	assert_int_equal(e.code, CALA_USAGE);
	err_clear(&e);
	p.part_size = GIB;
	assert_ok(s3_plan(&p, &e), &e);
	assert_int_equal(s3_plan_size(&p, 1), GIB);
	assert_int_equal(s3_plan_size(&p, 9999), GIB);
	p.memory = 56 * MIB;
	assert_int_equal(s3_plan(&p, &e), -1);
	assert_int_equal(e.code, CALA_USAGE);
	err_clear(&e);
	p = wide();
	p.equal = true;
	assert_ok(s3_plan(&p, &e), &e);
	assert_int_equal(p.first, 128 * MIB);
	assert_int_equal(p.step, 0);
	p.memory = 56 * MIB;
	assert_ok(s3_plan(&p, &e), &e);
	assert_int_equal(p.first, 28 * MIB);
}

/* What memory can't hold twice lies on disk. */
static void
spool(void **st)
{
	struct s3_plan p = wide();
	struct err e = ERR_INIT;

	(void)st;
	p.memory = 56 * MIB;
	p.spool = true;
	assert_ok(s3_plan(&p, &e), &e);
	assert_int_equal(p.fit, 28 * MIB);
	assert_int_equal(p.first, 8 * MIB);
	assert_int_equal(s3_plan_size(&p, 2001), 32 * MIB);
	assert_int_equal(p.cap, 5 * GIB);
	assert_true(p.limit > 7 * TIB);
	p.part_size = GIB;
	assert_ok(s3_plan(&p, &e), &e);
	assert_int_equal(p.cap, GIB);
	assert_true(p.limit > 3 * TIB);
	p.exact = true;
	assert_ok(s3_plan(&p, &e), &e);
	assert_int_equal(s3_plan_size(&p, 1), GIB);
	p = wide();
	p.memory = 56 * MIB;
	p.spool = true;
	p.expect = 20 * TIB;
	assert_ok(s3_plan(&p, &e), &e);
	assert_true(p.limit >= p.expect + p.expect / 20);
	assert_int_equal(p.step, 0);
	p.expect = 0;
	p.equal = true;
	assert_ok(s3_plan(&p, &e), &e);
	assert_int_equal(p.first, 128 * MIB);
}

static void
limits(void **st)
{
	struct s3_plan p = wide();
	struct err e = ERR_INIT;

	(void)st;
	p.part_size = 4999999;
	assert_int_equal(s3_plan(&p, &e), -1);
	assert_int_equal(e.code, CALA_USAGE);
	err_clear(&e);
	p = wide();
	p.part_size = 5000000;
	assert_ok(s3_plan(&p, &e), &e);
	assert_int_equal(p.cap, 5 * MIB);
	p = wide();
	p.part_size = 5000000;
	p.exact = true;
	assert_int_equal(s3_plan(&p, &e), -1);
	err_clear(&e);
	p = wide();
	p.part_size = 6 * GIB;
	assert_ok(s3_plan(&p, &e), &e);
	assert_int_equal(p.cap, 5 * GIB);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(growing_schedule),
		cmocka_unit_test(default_memory),
		cmocka_unit_test(few_parts),
		cmocka_unit_test(last_hundred),
		cmocka_unit_test(known_length),
		cmocka_unit_test(exact_and_equal),
		cmocka_unit_test(spool),
		cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests_name("s3plan", tests, NULL, NULL);
}
