/*
 * gzip: the press of tar.gz: one gzip member (RFC 1952).
 *
 * A world is noise for the most part, and how fast that goes decides all: what
 * can't be compressed becomes stored blocks (RFC 1951, 3.2.4), the zeros
 * between it matches of them, by hand; the rest is libdeflate's work.  That
 * ends a stream and does not say at which bit, so it gets what is behind the
 * last noise, which is nearly always all; what is between noise goes to zlib,
 * which can end at a whole byte.
 */

#include "archive/press.h"

#include <libdeflate.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "archive/noise.h"
#include "base/bytes.h"
#include "base/err.h"

enum { STORED_MAX = 65535, MATCH_MAX = 258, HEAD = 10, TAIL = 8 };

struct gz {
	struct libdeflate_compressor *deflate;
	z_stream z;
	bool z_open;
	int level;
};

/* Deflate as it grows, by bits. */
struct bits {
	unsigned char *p, *end;
	uint32_t hold;
	unsigned n;             /* bits in hold, fewer than 8 between calls */
	bool full;              /* there was no room */
};

static void
bits_put(struct bits *b, uint32_t v, unsigned n)
{
	b->hold |= v << b->n;
	for (b->n += n; b->n >= 8; b->n -= 8, b->hold >>= 8) {
		if (b->p == b->end)
			b->full = true;
		else
			*b->p++ = (unsigned char)b->hold;
	}
}

static void
bits_align(struct bits *b)
{
	if (b->n > 0)
		bits_put(b, 0, 8 - b->n);
}

static void
bits_bytes(struct bits *b, const void *p, size_t n)
{
	if (n > (size_t)(b->end - b->p)) {
		b->full = true;
		return;
	}
	memcpy(b->p, p, n);
	b->p += n;
}

/* A Huffman code, which stands with its first bit first. */
static void
bits_code(struct bits *b, unsigned code, unsigned n)
{
	while (n-- > 0)
		bits_put(b, code >> n & 1, 1);
}

static void
put_stored(struct bits *b, const unsigned char *p, size_t n)
{
	unsigned char h[4];
	size_t k;

	for (; n > 0; p += k, n -= k) {
		k = n < STORED_MAX ? n : STORED_MAX;
		bits_put(b, 0, 3);
		bits_align(b);
		put_le16(h, (uint16_t)k);
		put_le16(h + 2, (uint16_t)~k);
		bits_bytes(b, h, sizeof(h));
		bits_bytes(b, p, k);
	}
}

/*
 * In a block of the fixed codes (RFC 1951, 3.2.6): len times the byte before,
 * 3 <= len <= 258.
 */
static void
put_match(struct bits *b, unsigned len)
{
	unsigned x = len - 3, extra = 0, symbol = 285;

	if (len < MATCH_MAX) {
		while (x >> extra > 7)
			extra++;
		symbol = 257 + 4 * extra + (x >> extra);
	}
	if (symbol < 280)
		bits_code(b, symbol - 256, 7);
	else
		bits_code(b, 0xc0 + symbol - 280, 8);
	bits_put(b, x & ((1u << extra) - 1), extra);
	bits_code(b, 0, 5);
}

/* n > 0 of them, as a block of the fixed codes. */
static void
put_zeros(struct bits *b, size_t n)
{
	enum { ZERO = 0x30 };
	unsigned k;

	bits_put(b, 2, 3);
	bits_code(b, ZERO, 8);
	for (n--; n >= 3; n -= k) {
		k = n < MATCH_MAX ? (unsigned)n : MATCH_MAX;
		put_match(b, k);
	}
	while (n-- > 0)
		bits_code(b, ZERO, 8);
	bits_code(b, 0, 7);
}

static void
put_noise(struct bits *b, const unsigned char *p, size_t n)
{
	size_t at, zeros, end;

	for (at = 0; at < n; at = end) {
		zeros = noise_zeros(p, n, at, &end);
		put_stored(b, p + at, zeros - at);
		if (zeros < n)
			put_zeros(b, end - zeros);
	}
}

/* What is between noise, ended by an empty stored block. */
static void
put_between(struct gz *g, struct bits *b, const unsigned char *p, size_t n)
{
	z_stream *z = &g->z;

	deflateReset(z);
	z->next_in = (z_const Bytef *)p;
	z->avail_in = (uInt)n;
	z->next_out = b->p;
	z->avail_out = (uInt)(b->end - b->p);
	if (deflate(z, Z_SYNC_FLUSH) != Z_OK || z->avail_in > 0 ||
	    z->avail_out == 0)
		b->full = true;
	b->p = z->next_out;
}

/* The end of the stream: n bytes behind all noise. */
static void
put_last(struct gz *g, struct bits *b, const unsigned char *p, size_t n)
{
	size_t k;

	if (n == 0) {
		/* A block of the fixed codes, the last one, and its end. */
		bits_put(b, 3, 3);
		bits_code(b, 0, 7);
		bits_align(b);
		return;
	}
	k = libdeflate_deflate_compress(g->deflate, p, n, b->p,
	    (size_t)(b->end - b->p));
	if (k == 0)
		b->full = true;
	b->p += k;
}

static size_t
gz_room(const void *in, size_t n)
{
	(void)in;
	/* Each stretch of zlib's may grow, by 20 bytes and a 4,096th. */
	return libdeflate_gzip_compress_bound(NULL, n) + n / 512 + 1024;
}

static void
gz_close(void *ctx)
{
	struct gz *g = ctx;

	libdeflate_free_compressor(g->deflate);
	if (g->z_open)
		deflateEnd(&g->z);
	free(g);
}

static void *
gz_open(enum archive_format f, int level, struct err *e)
{
	struct gz *g = calloc(1, sizeof(*g));

	(void)f;
	if (g == NULL)
		goto oom;
	g->level = level;
	if ((g->deflate = libdeflate_alloc_compressor(level)) == NULL ||
	    deflateInit2(&g->z, level < 9 ? level : 9, Z_DEFLATED, -15, 8,
	    Z_DEFAULT_STRATEGY) != Z_OK)
		goto oom;
	g->z_open = true;
	return g;
oom:
	if (g != NULL)
		gz_close(g);
	err_oom(e);
	return NULL;
}

static int
gz_run(void *ctx, const void *in, size_t n, void *out, size_t cap,
    size_t *len, struct err *e)
{
	static const unsigned char head[HEAD] =
	    { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff };
	const unsigned char *p = in;
	unsigned char tail[TAIL];
	struct gz *g = ctx;
	struct bits b = { .p = out, .end = (unsigned char *)out + cap };
	size_t at, noise, end;

	bits_bytes(&b, head, HEAD);
	/* Level 0 stores all. */
	for (at = 0; g->level > 0 && !b.full; at = end) {
		if ((noise = noise_run(p, n, at, &end)) == n)
			break;
		if (noise > at)
			put_between(g, &b, p + at, noise - at);
		put_noise(&b, p + noise, end - noise);
	}
	put_last(g, &b, p + at, n - at);
	put_le32(tail, libdeflate_crc32(0, p, n));
	put_le32(tail + 4, (uint32_t)n);
	bits_bytes(&b, tail, TAIL);
	if (b.full)
		return err_set(e, CALA_FAIL, "gzip: %zu bytes became more "
		    "than %zu", n, cap);
	*len = (size_t)(b.p - (unsigned char *)out);
	return 0;
}

const struct press press_gz =
    { gz_room, gz_open, gz_run, NULL, NULL, gz_close };
