/* Which backups the rules keep. */

#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "driver/record.h"
#include "job/retain.h"

enum { N = 40 };

static struct record rec[N];
static const struct record *v[N];
static const char *why[N];
static struct retain rules;

/* One backup each 12 hours, the last at the end of 2026-03-31 (UTC). */
static int
setup(void **state)
{
	size_t i;

	(void)state;
	setenv("TZ", "UTC", 1);
	tzset();
	memset(&rules, 0, sizeof(rules));
	for (i = 0; i < N; i++) {
		record_init(&rec[i]);
		rec[i].complete = true;
		rec[i].created.tv_sec = 1774994400 -
		    (time_t)(N - 1 - i) * 12 * 3600;
		v[i] = &rec[i];
	}
	return 0;
}

static const char *
plan(size_t n)
{
	static char out[N + 1];
	size_t i;

	/* Now is when the last of them was made. */
	retain_plan(&rules, 1774994400 - (time_t)(N - n) * 12 * 3600, v, n,
	    why);
	for (i = 0; i < n; i++)
		out[i] = why[i] == NULL ? '.' : why[i][0];
	out[n] = '\0';
	return out;
}

static void
the_union_of_rules(void **state)
{
	(void)state;
	assert_false(retain_any(&rules));
	rules.last = 3;
	assert_true(retain_any(&rules));
	assert_string_equal(plan(10), ".......lll");
	rules.daily = 4;
	/* Days are those that have a backup, the newest of each. */
	assert_string_equal(plan(10), "...d.d.lll");
	rules.last = UINT64_MAX;
	rules.daily = 0;
	rules.weekly = 2;
	/* The last is of a Monday, the Sunday before is another week. */
	assert_string_equal(plan(10), ".......w.w");
	rules.weekly = 0;
	rules.monthly = 2;
	rules.yearly = 1;
	assert_string_equal(plan(N),
	    ".......................................m");
	rules.monthly = rules.yearly = 0;
	rules.within = 24 * 3600;
	assert_string_equal(plan(6), "....ww");
	rules.within = 0;
	rules.days = 1;
	assert_string_equal(plan(6), "....dd");
}

static void
what_no_rule_can_take(void **state)
{
	(void)state;
	rules.last = 1;
	rec[0].locked = true;
	rec[1].foreign = true;
	rec[9].complete = false;
	rec[8].complete = false;
	/* Partial ones don't count while there is a whole one. */
	assert_string_equal(plan(10), "lf.....lnn");
	assert_string_equal(why[0], "locked");
	assert_string_equal(why[7], "last");
	rules.last = 0;
	rules.hourly = 1;
	rec[7].complete = false;
	assert_string_equal(plan(10), "lf....hnnn");
	rules.hourly = 0;
	rules.within = 1;
	rec[9].created.tv_sec += 60;    /* another's clock */
	assert_string_equal(plan(10), "lf....lnnw");
	assert_string_equal(why[6], "last whole one");
}

/* A clock that was years ahead once must not cost what is made since. */
static void
from_the_future(void **state)
{
	(void)state;
	rec[9].created.tv_sec += 400000000;
	rules.last = 2;
	rules.daily = 1;
	assert_string_equal(plan(10), ".......llf");
	assert_string_equal(why[9], "from the future");
	rules.last = rules.daily = 0;
	rules.within = 1;
	assert_string_equal(plan(10), "........lf");
	assert_string_equal(why[8], "last whole one");
	rec[8].complete = false;
	assert_string_equal(plan(10), ".......lnf");
	/* Two clocks differ a little, always. */
	rec[8].complete = true;
	rec[9].created.tv_sec += 60 - 400000000;
	rules.last = 1;
	assert_string_equal(plan(10), ".........l");
}

static void
partial_ones_alone(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < N; i++)
		rec[i].complete = false;
	rules.last = 2;
	assert_string_equal(plan(5), "...ll");
	rules.last = 0;
	rules.within = 1;
	for (i = 0; i < N; i++)
		rec[i].created.tv_sec -= 1000000;
	assert_string_equal(plan(5), "....l");
	assert_string_equal(why[4], "last one");
	assert_string_equal(plan(0), "");
	/* Made by others, and without a date: not ours to judge. */
	rec[4].foreign = true;
	rec[3].created.tv_sec = 0;
	assert_string_equal(plan(5), "...uf");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_union_of_rules, setup),
		cmocka_unit_test_setup(what_no_rule_can_take, setup),
		cmocka_unit_test_setup(from_the_future, setup),
		cmocka_unit_test_setup(partial_ones_alone, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
