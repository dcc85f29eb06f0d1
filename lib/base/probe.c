#include "base/probe.h"

#include <zstd.h>

#include "base/run.h"

enum { MIB = 1 << 20, SAMPLE = 4096, PER_MIB = 4, CLOSELY = 16 };

static size_t
runs_left(const unsigned char *p)
{
	size_t at = 0, left = 0, start, end;

	while (at < SAMPLE) {
		start = run_find(p, at, SAMPLE, &end);
		left += start - at;
		at = end;
	}
	return left;
}

/* *runs and *left of 256. */
static void
sample(const unsigned char *p, size_t n, size_t per_mib, unsigned *runs,
    unsigned *left)
{
	unsigned char out[SAMPLE + 512];
	size_t k = n * per_mib / MIB, i, got, took = 0, packed = 0, bare = 0;
	ZSTD_CCtx *ctx;

	*left = 0;
	if (runs != NULL)
		*runs = 0;
	if (n < PER_MIB * SAMPLE || (ctx = ZSTD_createCCtx()) == NULL)
		return;
	if (k < PER_MIB)
		k = PER_MIB;
	for (i = 0; i < k; i++) {
		const unsigned char *at = p + (n - SAMPLE) / k * i;

		got = ZSTD_compressCCtx(ctx, out, sizeof(out), at, SAMPLE, 1);
		took += SAMPLE;
		packed += ZSTD_isError(got) || got > SAMPLE ? SAMPLE : got;
		if (runs != NULL)
			bare += runs_left(at);
	}
	ZSTD_freeCCtx(ctx);
	*left = (unsigned)(packed * 256 / took);
	if (runs != NULL)
		*runs = (unsigned)(bare * 256 / took);
}

unsigned
probe_left(const void *in, size_t n)
{
	unsigned left;

	sample(in, n, PER_MIB, NULL, &left);
	return left;
}

unsigned
probe_runs(const void *in, size_t n, unsigned *left)
{
	unsigned runs;

	sample(in, n, CLOSELY, &runs, left);
	return runs;
}
