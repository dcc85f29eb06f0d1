/*
 * gzip: members are found by what looks like a header and decoded whole, each
 * by itself, as long as that works out; a single large member as a stream.
 * Zero bytes behind the last member are padding (tapes); anything else there
 * is ignored with a warning, as gzip does.
 */

#include "archive/source.h"

#include <stdlib.h>
#include <string.h>

#include <libdeflate.h>
#include <zlib.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/log.h"
#include "archive/tarr.h"

enum {
	GZ_MIN = 18,                    /* header and trailer of a member */
	GZ_PIECE = 4 << 20              /* look that far for the next one */
};

int
gz_member(const unsigned char *p, size_t n)
{
	size_t at = 10;
	unsigned flags;
	const unsigned char *z;
	int i;

	if (n < 10)
		return 0;
	if (p[0] != 0x1f || p[1] != 0x8b || p[2] != 8 || (p[3] & 0xe0) != 0)
		return -1;
	flags = p[3];
	if ((flags & 4) != 0) {
		if (n < 12)
			return 0;
		at = 12u + get_le16(p + 10);
	}
	for (i = 0; i < 2; i++)
		if ((flags & (i == 0 ? 8u : 16u)) != 0) {
			if (at >= n || (z = memchr(p + at, 0, n - at)) == NULL)
				return 0;
			at = (size_t)(z - p) + 1;
		}
	if ((flags & 2) != 0)
		at += 2;
	return at <= n ? (int)at : 0;
}

size_t
gz_find(const unsigned char *p, size_t n)
{
	size_t at = 0;
	const unsigned char *q;

	while (n - at >= 10) {
		q = memmem(p + at, n - at - 7, "\x1f\x8b\x08", 3);
		if (q == NULL)
			break;
		/* reserved flags, XFL and OS as writers set them */
		if ((q[3] & 0xe0) == 0 &&
		    (q[8] == 0 || q[8] == 2 || q[8] == 4) &&
		    (q[9] <= 13 || q[9] == 255))
			return (size_t)(q - p);
		at = (size_t)(q - p) + 1;
	}
	return n;
}

static enum cut
gz_cut(const unsigned char *p, size_t n, bool eof, struct cutting *c)
{
	size_t from, next;
	int len;

	if ((len = gz_member(p, n)) == -1)
		return CUT_STREAM;      /* garbage: run says so */
	if (len == 0) {
		if (eof || n > GZ_PIECE)
			return CUT_STREAM;
		c->len = n + 4096;
		return CUT_MORE;
	}
	from = (size_t)len + 8;
	next = from < n ? from + gz_find(p + from, n - from) : n;
	if (next >= n && !eof) {
		if (n > GZ_PIECE)
			return CUT_STREAM;
		c->len = n + (n < 1 << 20 ? 1 << 20 : n);
		return CUT_MORE;
	}
	if (next < GZ_MIN)
		return CUT_STREAM;
	c->len = next < n ? next : n;
	c->out = get_le32(p + c->len - 4);
	return c->len > GZ_PIECE || c->out > PIECE_OUT ? CUT_STREAM :
	    CUT_PIECE;
}

static void *
gz_new(void)
{
	return libdeflate_alloc_decompressor();
}

static void
gz_free(void *ctx)
{
	libdeflate_free_decompressor(ctx);
}

static bool
gz_piece(void *ctx, const unsigned char *in, size_t n, unsigned char *out,
    size_t m)
{
	size_t used, made;

	return libdeflate_gzip_decompress_ex(ctx, in, n, out, m, &used,
	    &made) == LIBDEFLATE_SUCCESS && used == n && made == m;
}

/* What lies behind the last member.  0, or -1 when told to stop. */
static int
garbage(struct flow *f, struct log *log, const unsigned char *p, size_t n,
    unsigned char *in, size_t size)
{
	bool zero = tarr_zero(p, n);
	ssize_t k;

	while ((k = flow_take(f, in, size)) > 0)
		zero = zero && tarr_zero(in, (size_t)k);
	if (k == 0 && !zero)
		log_warn(log, "garbage behind the gzip data was ignored");
	return (int)k;
}

static int
gz_run(struct flow *f, void *arg, struct err *e)
{
	enum { IN = 128 << 10, OUT = 256 << 10 };
	unsigned char *in = malloc(IN), *out = malloc(OUT);
	const struct decoding *how = arg;
	z_stream z;
	bool inside = true, init = false;
	int ret = -1, r;
	ssize_t k;

	memset(&z, 0, sizeof(z));
	if (in == NULL || out == NULL || inflateInit2(&z, 15 + 16) != Z_OK) {
		err_oom(e);
		goto done;
	}
	init = true;
	inside = false;
	while ((k = flow_take(f, in, IN)) > 0) {
		z.next_in = in;
		z.avail_in = (uInt)k;
		do {
			if (!inside && z.avail_in > 0) {
				if (*z.next_in != 0x1f) {
					ret = garbage(f, how->log, z.next_in,
					    z.avail_in, in, IN);
					goto done;
				}
				inflateReset(&z);
				inside = true;
			}
			z.next_out = out;
			z.avail_out = OUT;
			r = inflate(&z, Z_NO_FLUSH);
			if (r == Z_STREAM_END)
				inside = false;
			else if (r == Z_MEM_ERROR) {
				err_oom(e);
				goto done;
			} else if (r != Z_OK && r != Z_BUF_ERROR) {
				err_set(e, CALA_INTEGRITY, "the gzip data is "
				    "damaged: %s", z.msg == NULL ? "no "
				    "dictionary is allowed" : z.msg);
				goto done;
			}
			if (flow_give(f, out, OUT - z.avail_out) == -1)
				goto done;
		} while (z.avail_in > 0 || z.avail_out == 0);
	}
	if (k == 0 && inside)
		err_set(e, CALA_INCOMPLETE, "the gzip data is cut short");
	else if (k == 0)
		ret = 0;
done:
	if (init)
		inflateEnd(&z);
	free(in);
	free(out);
	return ret;
}

const struct decoder decoder_gz = {
	"gzip", gz_cut, gz_new, gz_free, gz_piece, gz_run
};
