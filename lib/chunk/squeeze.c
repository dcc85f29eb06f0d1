#include "chunk/squeeze.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <brotli/encode.h>
#include <libdeflate.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/probe.h"
#include "chunk/runs.h"

/*
 * In 256ths.  Less than 1.6 % gained is not worth compressing, nor inflating
 * again.  Where a compressor finds hardly more than runs (a world's regions are
 * compressed already, but for their gaps) runs_deflate does it in a fiftieth of
 * the time; most that SLIGHT lets slip is 0.5 % of such a chunk.  Where less
 * than a fifth is gained, the quickest level finds nearly all of it; and of few
 * bytes, whose compressing is mostly its beginning and end, all but a 300th.
 */
enum { RAW_FROM = 252, SLIGHT = 10, DENSE_FROM = 64, QUICK_FROM = 204,
	QUICK = 1, FEW = 4096 };

enum { GZIP_HEAD = 10, GZIP_TAIL = 8 };

struct squeeze {
	enum squeeze_format format;
	int level;
	size_t few;                     /* up to that many, quick does */
	struct libdeflate_compressor *deflate, *quick;
};

void
squeeze_levels(enum squeeze_format f, int *min, int *max, int *def)
{
	static const struct {
		int min, max, def;
	} level[] = { { 0, 0, 0 }, { 1, 12, 6 }, { 1, 12, 6 }, { 0, 11, 5 } };

	*min = level[f].min;
	*max = level[f].max;
	*def = level[f].def;
}

struct squeeze *
squeeze_new(enum squeeze_format f, int level, struct err *e)
{
	struct squeeze *s = calloc(1, sizeof(*s));
	int min, max, def;

	squeeze_levels(f, &min, &max, &def);
	if (s == NULL) {
		err_oom(e);
		return NULL;
	}
	s->format = f;
	s->level = level == -1 ? def : level;
	s->few = level == -1 ? FEW : 0;
	if (f == SQUEEZE_GZIP || f == SQUEEZE_DEFLATE) {
		s->deflate = libdeflate_alloc_compressor(s->level);
		s->quick = libdeflate_alloc_compressor(QUICK);
		if (s->deflate == NULL || s->quick == NULL) {
			squeeze_free(s);
			err_oom(e);
			return NULL;
		}
	}
	return s;
}

static size_t
brotli(int level, const void *in, size_t n, void *out)
{
	size_t len = n - 1;

	return BrotliEncoderCompress(level, BROTLI_DEFAULT_WINDOW,
	    BROTLI_DEFAULT_MODE, n, in, &len, out) == BROTLI_TRUE ? len : 0;
}

/* RFC 1952: no name, no time, of no known system. */
static size_t
gzip_runs(const void *in, size_t n, unsigned char *out, size_t room)
{
	static const unsigned char head[GZIP_HEAD] = { 0x1f, 0x8b, 8, 0, 0, 0,
	    0, 0, 0, 0xff };
	size_t got;

	if (room < GZIP_HEAD + GZIP_TAIL || (got = runs_deflate(in, n,
	    out + GZIP_HEAD, room - GZIP_HEAD - GZIP_TAIL)) == 0)
		return 0;
	memcpy(out, head, GZIP_HEAD);
	put_le32(out + GZIP_HEAD + got, libdeflate_crc32(0, in, n));
	put_le32(out + GZIP_HEAD + got + 4, (uint32_t)n);
	return GZIP_HEAD + got + GZIP_TAIL;
}

enum squeeze_format
squeeze_run(struct squeeze *s, const void *in, size_t n, void *out,
    size_t *len)
{
	struct libdeflate_compressor *deflate = s->deflate;
	unsigned left, runs;
	size_t got = 0;
	bool dense;

	if (s->format == SQUEEZE_RAW || n < 2)
		return SQUEEZE_RAW;
	runs = probe_runs(in, n, &left);
	dense = left >= DENSE_FROM && runs < left + SLIGHT;
	if (left >= RAW_FROM || (dense && runs >= RAW_FROM))
		return SQUEEZE_RAW;
	if (left >= QUICK_FROM || n <= s->few)
		deflate = s->quick;
	/* Room for one byte less than it is now: the compressors stop there. */
	switch (s->format) {
	case SQUEEZE_GZIP:
		got = dense ? gzip_runs(in, n, out, n - 1) :
		    libdeflate_gzip_compress(deflate, in, n, out, n - 1);
		break;
	case SQUEEZE_DEFLATE:
		got = dense ? runs_deflate(in, n, out, n - 1) :
		    libdeflate_deflate_compress(deflate, in, n, out, n - 1);
		break;
	case SQUEEZE_BROTLI:
		got = brotli((dense || left >= QUICK_FROM) &&
		    s->level > QUICK ? QUICK : s->level, in, n, out);
		break;
	case SQUEEZE_RAW:
		break;
	}
	if (got == 0)
		return SQUEEZE_RAW;
	*len = got;
	return s->format;
}

void
squeeze_free(struct squeeze *s)
{
	if (s == NULL)
		return;
	libdeflate_free_compressor(s->deflate);
	libdeflate_free_compressor(s->quick);
	free(s);
}
