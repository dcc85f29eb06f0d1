/*
 * zst: the press of tar.zst: one zstd frame with its content size in the
 * header (RFC 8878), no dictionary, with a checksum.  The seek table has one
 * too, but whoever reads a stream meets that when all files are written.
 */

#include "archive/press.h"

#include <stdlib.h>
#include <zstd.h>

#include "archive/noise.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/io.h"
#include "base/probe.h"

/*
 * Where noise rules, and of the levels that are chosen for speed, the one that
 * passes over it fastest is as good as any: it does not try to code literals.
 * Other bytes among it are coded worse: 0.1 % of a tree of region files.
 */
enum { MIB = 1 << 20, FAST = 3, NOISE_LEVEL = -1, SUM_LEN = 4 };

struct zst {
	ZSTD_CCtx *z;
	int level;
};

/*
 * Samples stand for the whole, with a quarter to spare, so that four large
 * frames fit the budget where their worst case would not.
 */
static size_t
zst_room(const void *in, size_t n)
{
	size_t worst = ZSTD_compressBound(n), guess;

	if (n <= MIB || noise_rules(in, n))
		return worst;
	guess = n / 256 * (probe_left(in, n) + 64) + 65536;
	return guess < worst ? guess : worst;
}

static void
zst_close(void *ctx)
{
	ZSTD_freeCCtx(((struct zst *)ctx)->z);
	free(ctx);
}

static void *
zst_open(enum archive_format f, int level, struct err *e)
{
	struct zst *x = calloc(1, sizeof(*x));

	(void)f;
	if (x == NULL || (x->z = ZSTD_createCCtx()) == NULL) {
		free(x);
		err_oom(e);
		return NULL;
	}
	x->level = level;
	ZSTD_CCtx_setParameter(x->z, ZSTD_c_checksumFlag, 1);
	return x;
}

/* By the bytes alone, so that both ways make the same frame. */
static void
choose(const struct zst *x, const void *in, size_t n)
{
	ZSTD_CCtx_reset(x->z, ZSTD_reset_session_only);
	ZSTD_CCtx_setParameter(x->z, ZSTD_c_compressionLevel,
	    x->level > 0 && x->level <= FAST && noise_rules(in, n) ?
	    NOISE_LEVEL : x->level);
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
	struct zst *x = ctx;
	size_t k;

	choose(x, in, n);
	k = ZSTD_compress2(x->z, out, cap, in, n);
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
	struct zst *x = ctx;
	size_t k;

	choose(x, in, n);
	k = ZSTD_CCtx_setPledgedSrcSize(x->z, n);
	if (ZSTD_isError(k))
		return failed(k, e);
	do {
		out.pos = 0;
		if ((out.dst = sink_space(to, &out.size, e)) == NULL)
			return -1;
		k = ZSTD_compressStream2(x->z, &out, &from, ZSTD_e_end);
		if (ZSTD_isError(k))
			return failed(k, e);
		if (out.pos > 0 && sink_used(to, out.pos, e) == -1)
			return -1;
	} while (k != 0);
	return 0;
}

/* A frame's checksum is the low half of the XXH64 of its content. */
static uint32_t
zst_sum(const void *out, size_t len)
{
	return get_le32((const unsigned char *)out + len - SUM_LEN);
}

const struct press press_zst =
    { zst_room, zst_open, zst_run, zst_stream, zst_sum, zst_close };
