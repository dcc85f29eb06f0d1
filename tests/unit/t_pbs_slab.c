/* What slabs cost, as the kernel counts it. */

#include "unit.h"

#include <string.h>
#include <sys/mman.h>

#include "pbs/blob.h"
#include "pbs/slab.h"

enum { MIB = 1 << 20, PAGE = 4096, MANY = 6 };

static size_t
resident(const struct slab *b)
{
	static unsigned char page[PBS_CHUNK_MAX / PAGE];
	size_t i, n = 0;

	assert_int_equal(mincore(b->p, PBS_CHUNK_MAX, page), 0);
	for (i = 0; i < sizeof(page); i++)
		n += page[i] & 1;
	return n * PAGE;
}

static void
fill(struct slab *b, size_t n)
{
	memset(b->p, 7, n);
	slab_used(b, n);
	assert_true(resident(b) >= n);
}

static void
what_is_not_needed_is_given_up(void **state)
{
	struct err e = ERR_INIT;
	struct slabs s;
	struct slab *b;

	(void)state;
	slabs_init(&s);
	b = slab_take(&s, &e);
	assert_non_null(b);
	fill(b, 8 * MIB);
	/* a little too much is not worth a call */
	slab_fit(b, 8 * MIB - PAGE);
	assert_int_equal(b->used, 8 * MIB);
	slab_fit(b, 100001);
	assert_true(b->used >= 100001 && b->used < 100001 + PAGE);
	assert_true(resident(b) <= b->used);
	assert_int_equal(b->p[100000], 7);
	slab_give(&s, b);
	slabs_fini(&s);
}

static void
those_at_rest_hold_little_and_the_warmest_is_taken(void **state)
{
	struct err e = ERR_INIT;
	struct slab *b[MANY];
	struct slabs s;
	size_t all = 0, last = SIZE_MAX;
	unsigned i;

	(void)state;
	slabs_init(&s);
	for (i = 0; i < MANY; i++) {
		b[i] = slab_take(&s, &e);
		assert_non_null(b[i]);
		fill(b[i], (i % 2 == 0 ? 3u : 13u) * MIB + i);
	}
	for (i = 0; i < MANY; i++)
		slab_give(&s, b[i]);
	slab_give(&s, NULL);
	for (i = 0; i < MANY; i++) {
		b[i] = slab_take(&s, &e);
		assert_non_null(b[i]);
		assert_true(b[i]->used <= last);
		last = b[i]->used;
		assert_true(resident(b[i]) <= last + PAGE);
		all += resident(b[i]);
	}
	assert_true(all > 16 * MIB);
	assert_true(all <= 20 * MIB + MANY * PAGE);
	for (i = 0; i < MANY; i++)
		slab_give(&s, b[i]);
	slabs_fini(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_needed_is_given_up),
		cmocka_unit_test(
		    those_at_rest_hold_little_and_the_warmest_is_taken),
	};

	return cmocka_run_group_tests_name("pbs slab", tests, NULL, NULL);
}
