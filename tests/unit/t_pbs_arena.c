/* Rooms in one piece of memory, beside a map of its bytes. */

#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "pbs/arena.h"

enum { SIZE = 1000, SPANS = 40, TURNS = 20000 };

/* The longest run of bytes that nobody has. */
static size_t
longest(const bool *used)
{
	size_t i, run = 0, most = 0;

	for (i = 0; i < SIZE; i++) {
		run = used[i] ? 0 : run + 1;
		if (run > most)
			most = run;
	}
	return most;
}

static void
mark(const struct arena *a, const struct span *s, bool *used, bool to)
{
	size_t at = (size_t)(s->p - a->p), i;

	assert_true(s->p >= a->p && s->len <= SIZE && at <= SIZE - s->len);
	for (i = at; i < at + s->len; i++) {
		assert_true(used[i] != to);
		used[i] = to;
	}
}

static void
nobody_gets_what_another_has(void **state)
{
	struct span s[SPANS] = { 0 };
	struct err e = ERR_INIT;
	bool used[SIZE] = { false };
	struct arena a;
	uint32_t x = 7;
	unsigned i, refused = 0;

	(void)state;
	assert_ok(arena_init(&a, SIZE, &e), &e);
	for (i = 0; i < TURNS; i++) {
		struct span *it;
		size_t n;
		bool got;

		x = x * 1664525 + 1013904223;
		it = &s[(x >> 8) % SPANS];
		n = 1 + (x >> 16) % (i % 7 == 0 ? SIZE : SIZE / 12);
		if (it->p != NULL) {
			mark(&a, it, used, false);
			arena_give(&a, it);
			assert_null(it->p);
			continue;
		}
		got = x >> 31 ? arena_take(&a, it, n) :
		    arena_take_end(&a, it, n);
		/* It fails only where it must. */
		assert_int_equal(got, n <= longest(used));
		if (!got) {
			refused++;
			assert_null(it->p);
			continue;
		}
		assert_int_equal(it->len, n);
		mark(&a, it, used, true);
		memset(it->p, (int)i, n);
	}
	assert_true(refused > 100);
	/* Nothing is lost: all of it fits again. */
	for (i = 0; i < SPANS; i++)
		arena_give(&a, &s[i]);
	assert_true(arena_take(&a, &s[0], SIZE));
	assert_false(arena_take(&a, &s[1], 1));
	assert_false(arena_take_end(&a, &s[1], 1));
	arena_give(&a, &s[0]);
	assert_true(arena_take_end(&a, &s[0], SIZE));
	arena_fini(&a);
	arena_fini(&a);
}

/* One after another, the oldest going first: nearly all of it is used. */
static void
a_line_has_few_gaps(void **state)
{
	struct span s[SPANS] = { 0 }, blob = { 0 };
	struct err e = ERR_INIT;
	struct arena a;
	size_t held = 0, all = 0, n;
	unsigned from = 0, to;
	uint32_t x = 3;

	(void)state;
	assert_ok(arena_init(&a, SIZE, &e), &e);
	for (to = 0; to < TURNS; to++) {
		x = x * 1664525 + 1013904223;
		n = 20 + (x >> 16) % 60;
		/* what comes and goes between leaves nothing behind */
		(void)arena_take_end(&a, &blob, n);
		arena_give(&a, &blob);
		while (!arena_take(&a, &s[to % SPANS], n)) {
			held -= s[from % SPANS].len;
			arena_give(&a, &s[from++ % SPANS]);
		}
		held += n;
		all += held;
	}
	assert_true(all / TURNS > SIZE * 9 / 10);
	arena_fini(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_gets_what_another_has),
		cmocka_unit_test(a_line_has_few_gaps),
	};

	return cmocka_run_group_tests_name("pbs arena", tests, NULL, NULL);
}
