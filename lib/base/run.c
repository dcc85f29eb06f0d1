#include "base/run.h"

#include <stdint.h>
#include <string.h>

/*
 * A run of RUN_LEAST bytes holds eight of them at one of the places that are
 * STEP apart, wherever it begins: only these are looked at.
 */
enum { WORD = 8, STEP = 16 };

_Static_assert((int)RUN_LEAST >= STEP + WORD - 1, "no run slips through");

static uint64_t
word(const unsigned char *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}

size_t
run_find(const unsigned char *p, size_t from, size_t n, size_t *end)
{
	size_t i, start, stop;
	uint64_t w;

	for (i = from; n - i >= WORD; i = n - i > STEP ? i + STEP : n) {
		w = word(p + i);
		if (w != (w >> 8 | w << 56))
			continue;
		for (start = i; start > from && p[start - 1] == p[i]; )
			start--;
		for (stop = i + WORD; n - stop >= WORD && word(p + stop) == w; )
			stop += WORD;
		while (stop < n && p[stop] == p[i])
			stop++;
		if (stop - start >= RUN_LEAST) {
			*end = stop;
			return start;
		}
	}
	*end = n;
	return n;
}
