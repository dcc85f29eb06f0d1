#include "ddup/stream.h"

#include <stdlib.h>
#include <string.h>

#include <brotli/decode.h>
#define XXH_INLINE_ALL
#include <xxhash.h>
#include <zlib.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/file.h"
#include "base/stop.h"
#include "base/str.h"

enum { IN = 64 << 10, OUT = 32 << 10, GZIP_BITS = 15 + 16, RAW_BITS = -15 };

struct dstream {
	int fd;
	const char *name;
	enum ddup_code code;
	uint64_t at, end;               /* in the file */
	uint64_t window;                /* where in[] lies */
	size_t nin;
	uint64_t out, max;              /* plain bytes so far, at most */
	size_t pos, n;                  /* of buf */
	bool ended;
	bool z_used;
	int z_bits;
	z_stream z;
	BrotliDecoderState *br;
	XXH3_state_t *xxh;
	unsigned char in[IN], buf[OUT];
};

struct dstream *
dstream_new(int fd, const char *name, struct err *e)
{
	struct dstream *d = calloc(1, sizeof(*d));

	if (d == NULL) {
		err_oom(e);
		return NULL;
	}
	d->fd = fd;
	d->name = name;
	d->ended = true;
	return d;
}

void
dstream_free(struct dstream *d)
{
	if (d == NULL)
		return;
	if (d->z_used)
		inflateEnd(&d->z);
	if (d->br != NULL)
		BrotliDecoderDestroyInstance(d->br);
	XXH3_freeState(d->xxh);
	free(d);
}

static int
damaged(const struct dstream *d, const char *why, struct err *e)
{
	return err_set(e, CALA_INTEGRITY, "%s: %s", str_q(d->name), why);
}

int
dstream_set(struct dstream *d, uint64_t off, uint64_t len,
    enum ddup_code code, uint64_t max, struct err *e)
{
	int bits = code == DDUP_GZIP ? GZIP_BITS : RAW_BITS;

	d->at = off;
	if (!u64_add(off, len, &d->end) || d->end > INT64_MAX)
		return damaged(d, "an offset beyond all files", e);
	d->code = code;
	d->max = max;
	d->out = 0;
	d->pos = d->n = 0;
	d->ended = false;
	if (code == DDUP_BROTLI) {
		if (d->br != NULL)
			BrotliDecoderDestroyInstance(d->br);
		d->br = BrotliDecoderCreateInstance(NULL, NULL, NULL);
		return d->br != NULL ? 0 : err_oom(e);
	}
	if (code == DDUP_NONE)
		return 0;
	if (d->z_used && d->z_bits == bits)
		return inflateReset(&d->z) == Z_OK ? 0 : err_oom(e);
	if (d->z_used)
		inflateEnd(&d->z);
	memset(&d->z, 0, sizeof(d->z));
	d->z_used = inflateInit2(&d->z, bits) == Z_OK;
	d->z_bits = bits;
	return d->z_used ? 0 : err_oom(e);
}

int
dstream_sum(struct dstream *d, struct err *e)
{
	if (d->xxh == NULL && (d->xxh = XXH3_createState()) == NULL)
		return err_oom(e);
	XXH3_128bits_reset(d->xxh);
	return 0;
}

void
dstream_sum_end(struct dstream *d, unsigned char out[16])
{
	XXH128_canonical_t c;

	XXH128_canonicalFromHash(&c, XXH3_128bits_digest(d->xxh));
	memcpy(out, c.digest, 16);
	XXH3_freeState(d->xxh);
	d->xxh = NULL;
}

/* Input at d->at: how many bytes lie at *p; 0 at the end of the range. */
static ssize_t
input(struct dstream *d, const unsigned char **p, struct err *e)
{
	ssize_t n;
	size_t have;

	if (d->at >= d->end)
		return 0;
	if (d->at < d->window || d->at - d->window >= d->nin) {
		if (stop_check(e) == -1)
			return -1;
		n = file_pread_full(d->fd, d->in, IN, d->at);
		if (n == -1)
			return err_sys(e, "read %s", str_q(d->name));
		d->window = d->at;
		d->nin = (size_t)n;
		if (n == 0)
			return damaged(d, "the file is cut short", e);
	}
	*p = d->in + (d->at - d->window);
	have = d->nin - (size_t)(d->at - d->window);
	return (ssize_t)(have > d->end - d->at ? (size_t)(d->end - d->at) :
	    have);
}

static void
used(struct dstream *d, const unsigned char *p, size_t n)
{
	if (d->xxh != NULL && n > 0)
		XXH3_128bits_update(d->xxh, p, n);
	d->at += n;
}

/* One step of a decoder: 0, or -1; sets *out and d->ended. */
static int
step(struct dstream *d, const unsigned char *p, size_t n, size_t *out,
    struct err *e)
{
	const uint8_t *next = p;
	uint8_t *to = d->buf;
	size_t room = OUT, left = n;
	BrotliDecoderResult b;
	int z;

	if (d->code == DDUP_NONE) {
		*out = n < OUT ? n : OUT;
		memcpy(d->buf, p, *out);
		used(d, p, *out);
		return 0;
	}
	if (d->code == DDUP_BROTLI) {
		b = BrotliDecoderDecompressStream(d->br, &left, &next, &room,
		    &to, NULL);
		used(d, p, n - left);
		*out = OUT - room;
		d->ended = b == BROTLI_DECODER_RESULT_SUCCESS;
		if (b == BROTLI_DECODER_RESULT_ERROR)
			return damaged(d, "brotli data are damaged", e);
		return n == 0 && *out == 0 && !d->ended ?
		    damaged(d, "compressed data are cut short", e) : 0;
	}
	d->z.next_in = (z_const Bytef *)p;
	d->z.avail_in = (uInt)n;
	d->z.next_out = d->buf;
	d->z.avail_out = OUT;
	z = inflate(&d->z, Z_NO_FLUSH);
	used(d, p, n - d->z.avail_in);
	*out = OUT - d->z.avail_out;
	d->ended = z == Z_STREAM_END;
	if (z == Z_BUF_ERROR || (z == Z_OK && n == 0 && *out == 0))
		return damaged(d, "compressed data are cut short", e);
	if (z == Z_MEM_ERROR)
		return err_oom(e);
	if (z != Z_OK && z != Z_STREAM_END)
		return damaged(d, "compressed data are damaged", e);
	return 0;
}

/* 1: there are bytes in buf, 0: the end, -1. */
static int
fill(struct dstream *d, struct err *e)
{
	static const unsigned char nothing;
	const unsigned char *p = &nothing;
	size_t out = 0;
	ssize_t n;

	while (d->pos == d->n) {
		if (d->ended)
			return 0;
		if ((n = input(d, &p, e)) == -1)
			return -1;
		if (n == 0 && d->code == DDUP_NONE) {
			d->ended = true;
			return 0;
		}
		if (step(d, p, (size_t)n, &out, e) == -1)
			return -1;
		d->pos = 0;
		d->n = out;
		d->out += out;
		if (d->out > d->max) {
			d->n = 0;
			d->ended = true;
			return damaged(d, "more data than it may hold", e);
		}
	}
	return 1;
}

ssize_t
dstream_read(struct dstream *d, void *v, size_t n, struct err *e)
{
	unsigned char *p = v;
	size_t got = 0, k;
	int more;

	while (got < n) {
		if ((more = fill(d, e)) == -1)
			return -1;
		if (more == 0)
			break;
		k = d->n - d->pos < n - got ? d->n - d->pos : n - got;
		memcpy(p + got, d->buf + d->pos, k);
		d->pos += k;
		got += k;
	}
	return (ssize_t)got;
}

int
dstream_get(struct dstream *d, void *p, size_t n, struct err *e)
{
	ssize_t got = dstream_read(d, p, n, e);

	if (got == -1)
		return -1;
	return (size_t)got == n ? 0 : damaged(d, "ends too early", e);
}

int
dstream_skip(struct dstream *d, uint64_t n, struct err *e)
{
	size_t k;
	int more;

	while (n > 0) {
		if ((more = fill(d, e)) == -1)
			return -1;
		if (more == 0)
			return damaged(d, "ends too early", e);
		k = d->n - d->pos;
		if (k > n)
			k = (size_t)n;
		d->pos += k;
		n -= k;
	}
	return 0;
}

static int
varint(struct dstream *d, unsigned max, uint64_t top, uint64_t *v,
    struct err *e)
{
	uint64_t n = 0;
	unsigned char c = 0;
	unsigned i;

	/* Most are small. */
	if (d->pos < d->n && d->buf[d->pos] < 0x80) {
		*v = d->buf[d->pos++];
		return 0;
	}
	for (i = 0; i < max; i++) {
		if (d->pos < d->n)
			c = d->buf[d->pos++];
		else if (dstream_get(d, &c, 1, e) == -1)
			return -1;
		if (i == max - 1 && c > top)
			break;
		n |= (uint64_t)(c & 0x7f) << (7 * i);
		if ((c & 0x80) == 0) {
			*v = n;
			return 0;
		}
	}
	return damaged(d, "a number that is too large", e);
}

int
dstream_varint(struct dstream *d, uint64_t *v, struct err *e)
{
	return varint(d, 10, 1, v, e);
}

int
dstream_varint32(struct dstream *d, uint32_t *v, struct err *e)
{
	uint64_t n;

	if (varint(d, 5, 15, &n, e) == -1)
		return -1;
	*v = (uint32_t)n;
	return 0;
}

int
dstream_more(struct dstream *d, struct err *e)
{
	return fill(d, e);
}

uint64_t
dstream_rest(const struct dstream *d)
{
	return d->end - d->at;
}
