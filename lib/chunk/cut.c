/*
 * FastCDC 2020: a gear hash over two bytes a step, a stricter mask before the
 * average length and a looser one behind it.  The first min bytes of a chunk
 * can't end it and are never hashed.
 */

#include "chunk/cut.h"

#include "chunk/gear.h"

enum {
	AVG_MIN = 256, AVG_MAX = 4 << 20,
	MIN_MIN = 64, MIN_MAX = 1 << 20,
	MAX_MIN = 1 << 10, MAX_MAX = 16 << 20
};

/* By the number of bits that are set, spread over the upper half. */
static const uint64_t masks[26] = {
	0, 0, 0, 0, 0,
	0x0000000001804110, 0x0000000001803110, 0x0000000018035100,
	0x0000001800035300, 0x0000019000353000, 0x0000590003530000,
	0x0000d90003530000, 0x0000d90103530000, 0x0000d90303530000,
	0x0000d90313530000, 0x0000d90f03530000, 0x0000d90303537000,
	0x0000d90703537000, 0x0000d90707537000, 0x0000d91707537000,
	0x0000d91747537000, 0x0000d91767537000, 0x0000d93767537000,
	0x0000d93777537000, 0x0000d93777577000, 0x0000db3777577000
};

size_t
cut_fastcdc_more(const struct cut *c, struct cut_state *s,
    const unsigned char *p, size_t n)
{
	size_t i = s->i > c->min / 2 ? s->i : c->min / 2;
	size_t end = (n < c->avg ? n : c->avg) / 2;
	uint64_t h = s->h, mask = c->mask_s, twice = mask << 1;
	int phase;

	if (n <= c->min)
		return 0;
	for (phase = 0; phase < 2; phase++) {
		for (; i < end; i++) {
			h = (h << 2) + gear_twice[p[2 * i]];
			if ((h & twice) == 0)
				return 2 * i;
			h += gear[p[2 * i + 1]];
			if ((h & mask) == 0)
				return 2 * i + 1;
		}
		mask = c->mask_l;
		twice = mask << 1;
		end = n / 2;
	}
	s->h = h;
	s->i = i;
	return n == c->max ? n : 0;
}

static size_t
find(const struct cut *c, const unsigned char *p, size_t n)
{
	struct cut_state s = { 0, 0 };
	size_t k = cut_fastcdc_more(c, &s, p, n);

	return k > 0 ? k : n;
}

/* log2, rounded to the nearest; n is 64 to 16 MiB. */
static unsigned
bits(uint64_t n)
{
	unsigned b = 63 - (unsigned)__builtin_clzll(n);

	/* n / 2^b is above the square root of 2: compare the squares */
	return n * n > (uint64_t)1 << (2 * b + 1) ? b + 1 : b;
}

void
cut_fastcdc_exact(struct cut *c, size_t min, size_t avg, size_t max)
{
	c->find = find;
	c->min = min;
	c->avg = avg;
	c->max = max;
	c->mask_s = masks[bits(avg) + 1];
	c->mask_l = masks[bits(avg) - 1];
}

static uint64_t
clamp(uint64_t n, uint64_t least, uint64_t most)
{
	return n < least ? least : n > most ? most : n;
}

void
cut_fastcdc(struct cut *c, uint32_t size, uint32_t count, uint64_t len)
{
	uint64_t avg = size > 0 ? size : 1;

	while (count > 0 && avg < AVG_MAX &&
	    len / avg + (len % avg != 0) > count)
		avg *= 2;
	avg = clamp(avg, AVG_MIN, AVG_MAX);
	cut_fastcdc_exact(c, (size_t)clamp(avg / 4, MIN_MIN, MIN_MAX),
	    (size_t)avg, (size_t)clamp(avg * 4, MAX_MIN, MAX_MAX));
}

static size_t
find_fixed(const struct cut *c, const unsigned char *p, size_t n)
{
	(void)c;
	(void)p;
	return n;
}

void
cut_fixed(struct cut *c, uint32_t size, uint32_t count, uint64_t len)
{
	uint64_t n = size > 0 ? size : 1, k = len / n + (len % n != 0);

	for (; count > 0 && k > count; k /= 2)
		n *= 2;
	c->find = find_fixed;
	c->min = c->avg = c->max = (size_t)clamp(n, 1, MAX_MAX);
	c->mask_s = c->mask_l = 0;
}

size_t
cut_next(const struct cut *c, const void *p, size_t n, bool end)
{
	if (n >= c->max)
		n = c->max;
	else if (!end)
		return 0;
	return n == 0 ? 0 : c->find(c, p, n);
}
