#include "chunk/runs.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/run.h"

/* RFC 1951, 3.2.4 to 3.2.6 */
enum {
	STORED = 0, FIXED = 1,
	STORED_MAX = 65535,
	MATCH_MIN = 3, MATCH_MAX = 258
};

struct bits {
	unsigned char *p;
	size_t n, room;
	uint64_t acc;
	unsigned held;                  /* bits in acc, below 8 after put() */
	bool full;
};

static void
put(struct bits *b, unsigned value, unsigned n)
{
	b->acc |= (uint64_t)value << b->held;
	for (b->held += n; b->held >= 8; b->held -= 8) {
		if (b->n == b->room) {
			b->full = true;
			return;
		}
		b->p[b->n++] = (unsigned char)b->acc;
		b->acc >>= 8;
	}
}

/* Huffman codes begin with their highest bit. */
static void
put_code(struct bits *b, unsigned code, unsigned n)
{
	unsigned i, turned = 0;

	for (i = 0; i < n; i++)
		turned |= (code >> i & 1) << (n - 1 - i);
	put(b, turned, n);
}

static void
put_literal(struct bits *b, unsigned char c)
{
	if (c < 144)
		put_code(b, 0x30u + c, 8);
	else
		put_code(b, 0x190u + (c - 144u), 9);
}

/* The byte before, len times. */
static void
put_match(struct bits *b, size_t len)
{
	unsigned x = (unsigned)len - MATCH_MIN, extra = 0, code;

	if (len == MATCH_MAX) {
		code = 285;
	} else {
		if (x >= 8)
			extra = 29 - (unsigned)__builtin_clz(x);
		code = 257 + (extra << 2) + (x >> extra);
	}
	if (code < 280)
		put_code(b, code - 256, 7);
	else
		put_code(b, 0xc0 + (code - 280), 8);
	if (len != MATCH_MAX)
		put(b, x & ((1u << extra) - 1), extra);
	put(b, 0, 5);                   /* distance 1 */
}

/* Of n equal bytes as many as matches can say; how many these are. */
static size_t
put_run(struct bits *b, unsigned char c, size_t n, bool last)
{
	size_t left = n - 1, rest = left % MATCH_MAX;

	if (rest < MATCH_MIN)
		n -= rest;
	else
		rest = 0;
	put(b, (unsigned)(last && rest == 0) | FIXED << 1, 3);
	put_literal(b, c);
	for (left = n - 1; left > MATCH_MAX && !b->full; left -= MATCH_MAX)
		put_match(b, MATCH_MAX);
	put_match(b, left);
	put(b, 0, 7);                   /* end of block */
	return n;
}

static void
put_stored(struct bits *b, const unsigned char *p, size_t n, bool last)
{
	size_t k;

	for (; n > 0 && !b->full; p += k, n -= k) {
		k = n < STORED_MAX ? n : STORED_MAX;
		put(b, (unsigned)(last && k == n) | STORED << 1, 3);
		put(b, 0, (8 - b->held) % 8);
		if (b->room - b->n < 4 || b->room - b->n - 4 < k) {
			b->full = true;
			return;
		}
		put_le16(b->p + b->n, (uint16_t)k);
		put_le16(b->p + b->n + 2, (uint16_t)~k);
		memcpy(b->p + b->n + 4, p, k);
		b->n += 4 + k;
	}
}

size_t
runs_deflate(const void *in, size_t n, void *out, size_t room)
{
	struct bits b = { .p = out, .room = room };
	const unsigned char *p = in;
	size_t at = 0, start, end;

	while (at < n && !b.full) {
		start = run_find(p, at, n, &end);
		put_stored(&b, p + at, start - at, start == n);
		at = start;
		if (at < n)
			at += put_run(&b, p[at], end - at, end == n);
	}
	if (b.held > 0)
		put(&b, 0, 8 - b.held);
	return b.full ? 0 : b.n;
}
