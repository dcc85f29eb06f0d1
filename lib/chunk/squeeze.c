#include "chunk/squeeze.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include <brotli/encode.h>
#include <libdeflate.h>

#include "base/err.h"
#include "base/probe.h"

/*
 * Less than 1.6 % gained is not worth compressing, nor inflating again.  Where
 * less than a fifth is gained (a world's regions are compressed already, but
 * for their gaps), the quickest level finds nearly all of it.
 */
enum { RAW_FROM = 252, QUICK_FROM = 204, QUICK = 1 };

struct squeeze {
	enum squeeze_format format;
	int level;
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

enum squeeze_format
squeeze_run(struct squeeze *s, const void *in, size_t n, void *out,
    size_t *len)
{
	struct libdeflate_compressor *deflate = s->deflate;
	unsigned left;
	size_t got = 0;

	if (s->format == SQUEEZE_RAW || n < 2 ||
	    (left = probe_left(in, n)) >= RAW_FROM)
		return SQUEEZE_RAW;
	if (left >= QUICK_FROM)
		deflate = s->quick;
	/* Room for one byte less than it is now: the compressors stop there. */
	switch (s->format) {
	case SQUEEZE_GZIP:
		got = libdeflate_gzip_compress(deflate, in, n, out, n - 1);
		break;
	case SQUEEZE_DEFLATE:
		got = libdeflate_deflate_compress(deflate, in, n, out,
		    n - 1);
		break;
	case SQUEEZE_BROTLI:
		got = brotli(left >= QUICK_FROM && s->level > QUICK ? QUICK :
		    s->level, in, n, out);
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
