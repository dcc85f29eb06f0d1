#include "base/probe.h"

#include <zstd.h>

enum { MIB = 1 << 20, SAMPLE = 4096, PER_MIB = 4 };

unsigned
probe_left(const void *in, size_t n)
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
