/*
 * zstd: frames that say how large they are are decoded whole, each by itself;
 * others as a stream.  Skippable frames (our index, seek table, trailer) are
 * stepped over.
 */

#include "archive/source.h"

#include <stdlib.h>

#include <zstd.h>
#include <zstd_errors.h>

#include "base/bytes.h"
#include "base/err.h"

int
zst_frame(const unsigned char *p, size_t n, struct zst_frame *f)
{
	static const size_t id[] = { 0, 1, 2, 4 };
	static const size_t fcs[] = { 0, 2, 4, 8 };
	size_t at = 5, len, csz, i;
	unsigned d;
	uint64_t base;

	if (n < 5)
		return 0;
	if (get_le32(p) != ZST_MAGIC)
		return -1;
	d = p[4];
	if ((d & 8) != 0)
		return -1;      /* reserved */
	csz = fcs[d >> 6];
	if ((d & 0x20) != 0 && csz == 0)
		csz = 1;
	len = 5 + ((d & 0x20) == 0 ? 1u : 0u) + id[d & 3] + csz;
	if (n < len)
		return 0;
	f->sum = (d & 4) != 0;
	f->dict = false;
	f->window = 0;
	if ((d & 0x20) == 0) {
		base = 1ull << (10 + (p[at] >> 3));
		f->window = base + base / 8 * (p[at] & 7);
		at++;
	}
	for (i = 0; i < id[d & 3]; i++)
		f->dict |= p[at++] != 0;
	f->known = csz != 0;
	f->size = csz == 1 ? p[at] : csz == 2 ? get_le16(p + at) + 256u :
	    csz == 4 ? get_le32(p + at) : csz == 8 ? get_le64(p + at) : 0;
	if ((d & 0x20) != 0)
		f->window = f->size;
	return (int)len;
}

static enum cut
more(size_t len, bool eof, struct cutting *c)
{
	c->len = len;
	return eof ? CUT_SHORT : CUT_MORE;
}

static enum cut
zst_cut(const unsigned char *p, size_t n, bool eof, struct cutting *c)
{
	struct zst_frame f;
	uint32_t block;
	size_t at;
	int len;

	if (n < 5)
		return more(5, eof, c);
	if ((get_le32(p) & ~15u) == ZST_SKIP_MAGIC) {
		if (n < 8)
			return more(8, eof, c);
		c->skip = 8 + (uint64_t)get_le32(p + 4);
		return CUT_SKIP;
	}
	if ((len = zst_frame(p, n, &f)) == -1)
		return CUT_BAD;
	if (len == 0)
		return more(ZST_HEADER, eof, c);
	if (!f.known || f.size > PIECE_OUT || f.dict)
		return CUT_STREAM;
	for (at = (size_t)len; ; ) {
		if (at > PIECE_IN)
			return CUT_STREAM;
		if (n < at + 3)
			return more(at + 3, eof, c);
		block = (uint32_t)p[at] | (uint32_t)p[at + 1] << 8 |
		    (uint32_t)p[at + 2] << 16;
		if ((block >> 1 & 3) == 3)
			return CUT_BAD;
		at += 3 + ((block >> 1 & 3) == 1 ? 1 : block >> 3);
		if ((block & 1) != 0)
			break;
	}
	if (f.sum)
		at += 4;
	if (n < at)
		return more(at, eof, c);
	c->len = at;
	c->out = (size_t)f.size;
	return CUT_PIECE;
}

static void *
zst_new(void)
{
	return ZSTD_createDCtx();
}

static void
zst_free(void *ctx)
{
	ZSTD_freeDCtx(ctx);
}

static bool
zst_piece(void *ctx, const unsigned char *in, size_t n, unsigned char *out,
    size_t m)
{
	return ZSTD_decompressDCtx(ctx, out, m, in, n) == m;
}

static int
refused(size_t code, struct err *e)
{
	switch (ZSTD_getErrorCode(code)) {
	case ZSTD_error_frameParameter_windowTooLarge:
		err_set(e, CALA_INTEGRITY, "the zstd data needs a window of "
		    "more than %d MiB, which is refused",
		    1 << (ZST_WINDOW_LOG - 20));
		return err_hint(e, "decompress it first: zstd -d --long=31");
	case ZSTD_error_memory_allocation:
		return err_oom(e);
	case ZSTD_error_prefix_unknown:
		return err_set(e, CALA_INTEGRITY,
		    "the zstd data is followed by something else");
	default:
		return err_set(e, CALA_INTEGRITY, "the zstd data is damaged: "
		    "%s", ZSTD_getErrorName(code));
	}
}

static int
zst_run(struct flow *f, void *arg, struct err *e)
{
	const size_t in_size = ZSTD_DStreamInSize();
	const size_t out_size = ZSTD_DStreamOutSize();
	ZSTD_DCtx *d = ZSTD_createDCtx();
	unsigned char *in = malloc(in_size), *out = malloc(out_size);
	ZSTD_inBuffer ib = { in, 0, 0 };
	ZSTD_outBuffer ob;
	size_t r = 0;
	ssize_t k;
	int ret = -1;

	(void)arg;
	if (d == NULL || in == NULL || out == NULL) {
		err_oom(e);
		goto done;
	}
	ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, ZST_WINDOW_LOG);
	while ((k = flow_take(f, in, in_size)) > 0) {
		ib.size = (size_t)k;
		ib.pos = 0;
		do {
			ob.dst = out;
			ob.size = out_size;
			ob.pos = 0;
			r = ZSTD_decompressStream(d, &ob, &ib);
			if (ZSTD_isError(r)) {
				refused(r, e);
				goto done;
			}
			if (flow_give(f, out, ob.pos) == -1)
				goto done;
		} while (ib.pos < ib.size || ob.pos == ob.size);
	}
	if (k == 0 && r != 0)
		err_set(e, CALA_INCOMPLETE, "the zstd data is cut short");
	else if (k == 0)
		ret = 0;
done:
	ZSTD_freeDCtx(d);
	free(in);
	free(out);
	return ret;
}

const struct decoder decoder_zst = {
	"zstd", zst_cut, zst_new, zst_free, zst_piece, zst_run
};
