/*
 * zst: the press of tar.zst: one zstd frame with its content size in the
 * header (RFC 8878), no dictionary, with a checksum.  The seek table has one
 * too, but whoever reads a stream meets that when all files are written.
 */

#include "archive/press.h"

#include <zstd.h>

#include "base/err.h"
#include "base/io.h"
#include "base/probe.h"

enum { MIB = 1 << 20 };

/*
 * Samples stand for the whole, with a quarter to spare, so that four large
 * frames fit the budget where their worst case would not.
 */
static size_t
zst_room(const void *in, size_t n)
{
	size_t worst = ZSTD_compressBound(n), guess;

	if (n <= MIB)
		return worst;
	guess = n / 256 * (probe_left(in, n) + 64) + 65536;
	return guess < worst ? guess : worst;
}

static void *
zst_open(enum archive_format f, int level, struct err *e)
{
	ZSTD_CCtx *z = ZSTD_createCCtx();

	(void)f;
	if (z == NULL) {
		err_oom(e);
		return NULL;
	}
	ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, level);
	ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
	return z;
}

static int
failed(size_t k, struct err *e)
{
	return err_set(e, CALA_FAIL, "zstd: %s", ZSTD_getErrorName(k));
}

static int
zst_run(void *ctx, const void *in, size_t n, void *out, size_t cap,
    size_t *len, struct err *e)
{
	size_t k = ZSTD_compress2(ctx, out, cap, in, n);

	if (ZSTD_isError(k) && cap >= ZSTD_compressBound(n))
		return failed(k, e);
	/* Else there is stream(), which meets any other error again. */
	*len = ZSTD_isError(k) ? 0 : k;
	return 0;
}

static int
zst_stream(void *ctx, const void *in, size_t n, struct sink *to,
    struct err *e)
{
	ZSTD_inBuffer from = { in, n, 0 };
	ZSTD_outBuffer out;
	size_t k;

	ZSTD_CCtx_reset(ctx, ZSTD_reset_session_only);
	k = ZSTD_CCtx_setPledgedSrcSize(ctx, n);
	if (ZSTD_isError(k))
		return failed(k, e);
	do {
		out.pos = 0;
		if ((out.dst = sink_space(to, &out.size, e)) == NULL)
			return -1;
		k = ZSTD_compressStream2(ctx, &out, &from, ZSTD_e_end);
		if (ZSTD_isError(k))
			return failed(k, e);
		if (out.pos > 0 && sink_used(to, out.pos, e) == -1)
			return -1;
	} while (k != 0);
	return 0;
}

static void
zst_close(void *ctx)
{
	ZSTD_freeCCtx(ctx);
}

const struct press press_zst =
    { zst_room, zst_open, zst_run, zst_stream, zst_close };
