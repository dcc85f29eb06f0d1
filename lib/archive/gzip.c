/*
 * gzip: the press of tar.gz: one gzip member (RFC 1952) by libdeflate.
 *
 * Level 1 alone decides how fast an incompressible world goes: what samples
 * say can't be compressed is stored (deflate's stored blocks, +5 bytes for
 * 64 KiB).
 */

#include "archive/press.h"

#include <libdeflate.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/probe.h"

/* Less than 1.6 % gained is not worth deflating, nor inflating again. */
enum { STORE = 252 };

struct gz {
	struct libdeflate_compressor *deflate, *store;
};

static size_t
gz_room(const void *in, size_t n)
{
	(void)in;
	return libdeflate_gzip_compress_bound(NULL, n);
}

static void
gz_close(void *ctx)
{
	struct gz *g = ctx;

	if (g->deflate != NULL)
		libdeflate_free_compressor(g->deflate);
	if (g->store != NULL)
		libdeflate_free_compressor(g->store);
	free(g);
}

static void *
gz_open(enum archive_format f, int level, struct err *e)
{
	struct gz *g = calloc(1, sizeof(*g));

	(void)f;
	if (g == NULL ||
	    (g->deflate = libdeflate_alloc_compressor(level)) == NULL ||
	    (g->store = libdeflate_alloc_compressor(0)) == NULL) {
		if (g != NULL)
			gz_close(g);
		err_oom(e);
		return NULL;
	}
	return g;
}

static int
gz_run(void *ctx, const void *in, size_t n, void *out, size_t cap,
    size_t *len, struct err *e)
{
	struct gz *g = ctx;

	*len = libdeflate_gzip_compress(probe_left(in, n) >= STORE ?
	    g->store : g->deflate, in, n, out, cap);
	if (*len == 0)
		return err_set(e, CALA_FAIL, "gzip: %zu bytes became more "
		    "than %zu", n, cap);
	return 0;
}

const struct press press_gz = { gz_room, gz_open, gz_run, NULL, gz_close };
