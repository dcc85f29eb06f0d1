#include "archive/press.h"

#include <zstd.h>

enum { MIB = 1 << 20, SAMPLE = 4096, PER_MIB = 4 };

unsigned
press_probe(const void *in, size_t n)
{
	const unsigned char *p = in;
	unsigned char out[SAMPLE + 512];
	size_t k = n * PER_MIB / MIB, i, got, took = 0, left = 0;
	ZSTD_CCtx *ctx;

	if (n < PER_MIB * SAMPLE || (ctx = ZSTD_createCCtx()) == NULL)
		return 0;
	if (k < PER_MIB)
		k = PER_MIB;
	for (i = 0; i < k; i++) {
		got = ZSTD_compressCCtx(ctx, out, sizeof(out),
		    p + (n - SAMPLE) / k * i, SAMPLE, 1);
		took += SAMPLE;
		left += ZSTD_isError(got) || got > SAMPLE ? SAMPLE : got;
	}
	ZSTD_freeCCtx(ctx);
	return (unsigned)(left * 256 / took);
}

/* Measured contexts in MiB, by level, for frames of up to 8 (xz: 32) MiB. */
static const unsigned char zstd_ctx[] = { 1, 1, 1, 2, 3, 4, 4, 7, 7, 13, 25,
    25, 49, 49, 49, 65, 65, 65, 65, 82 };
static const unsigned short lzma_ctx[] = { 3, 9, 17, 32, 48, 94, 94, 186,
    370, 674 };

void
press_cost(enum archive_format f, int level, struct press_cost *c)
{
	size_t ctx;

	c->target = 4 * MIB;
	switch (f) {
	case ARCHIVE_TAR_GZ:
		c->target = MIB;
		ctx = level > 9 ? 10 : 1;
		break;
	case ARCHIVE_TAR_XZ:
	case ARCHIVE_TAR_LZ:
		/* Their dictionaries are larger than a small frame. */
		if (level > 5)
			c->target = 16 * MIB;
		ctx = lzma_ctx[level];
		break;
	case ARCHIVE_TAR_ZST:
		ctx = zstd_ctx[level];
		break;
	default:
		ctx = 10;
		break;
	}
	c->hard = 2 * c->target;
	c->ctx = ctx * MIB;
}
