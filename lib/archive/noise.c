#include "archive/noise.h"

#include <stdint.h>
#include <string.h>

enum {
	LOOK = 1024,
	SAMPLE = 512, STEP = 64 << 10,  /* of noise_rules */
	PIECE = 8 << 10,                /* judged as one, by its middle */
	ZEROS_MAX = 32 << 10            /* more are no gap between noise */
};

/*
 * With c of n bytes in each of the 256 classes, chi squared is 256 / n * Σ c²
 * - n, about 255 for noise, 280 for deflate; and an order-0 code gains
 * (chi squared - 255) / 11.1 n of the whole.
 */
bool
noise_is(const unsigned char *p, size_t n)
{
	/* Two tables: equal neighbours do not wait for each other. */
	uint16_t count[2][256] = { { 0 } };
	uint32_t sum = 0, c;
	size_t i;

	if (n < NOISE_TELL)
		return false;
	if (n > LOOK) {
		p += (n - LOOK) / 2;
		n = LOOK;
	}
	n &= ~(size_t)1;
	for (i = 0; i < n; i += 2) {
		count[0][p[i]]++;
		count[1][p[i + 1]]++;
	}
	for (i = 0; i < 256; i++) {
		c = (uint32_t)count[0][i] + count[1][i];
		sum += c * c;
	}
	return 256 * (uint64_t)sum < n * (n + 330 + n * 11 / 50);
}

bool
noise_rules(const unsigned char *p, size_t n)
{
	size_t at, from, to, noise = 0, other = 0;

	for (at = 0; at + SAMPLE <= n; at += STEP) {
		/* Where a stream ends or begins, its part is what counts. */
		for (from = at; from < at + SAMPLE && p[from] == 0; from++)
			;
		for (to = at + SAMPLE; to > from && p[to - 1] == 0; to--)
			;
		if (to - from < NOISE_TELL)
			continue;
		if (noise_is(p + from, to - from))
			noise++;
		else
			other++;
	}
	return noise > 0 && other <= noise / 7;
}

static bool
zero8(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v == 0;
}

size_t
noise_zeros(const unsigned char *p, size_t n, size_t from, size_t *end)
{
	size_t at = from, a, b;

	/* Every row that is long enough has eight zeros at one of these. */
	while (at + 8 <= n) {
		if (!zero8(p + at)) {
			at += NOISE_ZEROS / 2;
			continue;
		}
		for (a = at; a > from && p[a - 1] == 0; a--)
			;
		for (b = at + 8; b + 8 <= n && zero8(p + b); b += 8)
			;
		while (b < n && p[b] == 0)
			b++;
		if (b - a >= NOISE_ZEROS) {
			*end = b;
			return a;
		}
		at = b;
	}
	*end = n;
	return n;
}

size_t
noise_run(const unsigned char *p, size_t n, size_t from, size_t *out)
{
	size_t at = from, zeros = 0, zeros_end = 0, start = n, end = n, to;
	bool known = false;             /* the next zeros */

	while (at < n) {
		if (!known)
			zeros = noise_zeros(p, n, at, &zeros_end);
		known = zeros != at;
		if (!known) {
			to = zeros_end;
			if (to - at <= ZEROS_MAX) {
				at = to;
				continue;
			}
		} else {
			/* No rest so short that it tells nothing. */
			to = zeros - at > 2 * PIECE ? at + PIECE : zeros;
			if (noise_is(p + at, to - at)) {
				if (start == n)
					start = at;
				at = end = to;
				continue;
			}
		}
		if (start != n && end - start >= NOISE_LEAST)
			break;
		start = n;
		at = to;
	}
	if (start == n || end - start < NOISE_LEAST)
		start = end = n;
	*out = end;
	return start;
}
