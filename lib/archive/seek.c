/* One decoded frame is kept: neighbours in a directory share it. */

#include "archive/seek.h"

#include <stdlib.h>
#include <string.h>

#include <libdeflate.h>
#include <xxhash.h>
#include <zstd.h>

#include "base/err.h"
#include "base/io.h"

enum { FRAME_MAX = 64 << 20 };

struct seek {
	struct source s;
	struct index *x;
	uint64_t pos;
	uint32_t at;            /* frame in out, or UINT32_MAX */
	unsigned char *in, *out;
	size_t in_cap, out_cap;
	ZSTD_DCtx *zst;
	struct libdeflate_decompressor *gz;
};

static int
room(unsigned char **p, size_t *cap, size_t n, struct err *e)
{
	if (*cap >= n)
		return 0;
	free(*p);
	*cap = 0;
	if ((*p = malloc(n)) == NULL)
		return err_oom(e);
	*cap = n;
	return 0;
}

static int
load(struct seek *s, uint32_t i, struct err *e)
{
	const struct idx_frame *f = &s->x->frame[i];
	size_t used, made;
	bool good;

	s->at = UINT32_MAX;
	if (f->u_len > FRAME_MAX || f->c_len > FRAME_MAX + FRAME_MAX / 8)
		return err_set(e, CALA_INTEGRITY, "the index is damaged: a "
		    "frame of %u bytes", f->u_len);
	if (room(&s->in, &s->in_cap, f->c_len, e) == -1 ||
	    room(&s->out, &s->out_cap, f->u_len + 1u, e) == -1 ||
	    ranged_read(s->x->r, s->in, f->c_len, f->c_off, e) == -1)
		return -1;
	if (s->x->zst)
		good = ZSTD_decompressDCtx(s->zst, s->out, f->u_len, s->in,
		    f->c_len) == f->u_len;
	else
		good = libdeflate_gzip_decompress_ex(s->gz, s->in, f->c_len,
		    s->out, f->u_len, &used, &made) == LIBDEFLATE_SUCCESS &&
		    used == f->c_len && made == f->u_len;
	if (!good || (uint32_t)XXH64(s->out, f->u_len, 0) != f->sum)
		return err_set(e, CALA_INTEGRITY, "the archive is damaged: the "
		    "part at byte %ju is not what was stored",
		    (uintmax_t)f->c_off);
	s->at = i;
	return 0;
}

/* The frame that holds pos; there is one, as they cover all of the tar. */
static uint32_t
frame_of(const struct index *x, uint64_t pos)
{
	uint32_t lo = 0, hi = x->f, mid;

	while (hi - lo > 1) {
		mid = lo + (hi - lo) / 2;
		if (x->frame[mid].u_off <= pos)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

static ssize_t
s_read(struct source *src, void *p, size_t n, struct err *e)
{
	struct seek *s = (struct seek *)src;
	const struct idx_frame *f;
	uint32_t i;

	if (s->pos >= s->x->tar_len)
		return 0;
	i = frame_of(s->x, s->pos);
	if (i != s->at && load(s, i, e) == -1)
		return -1;
	f = &s->x->frame[i];
	if (n > f->u_off + f->u_len - s->pos)
		n = (size_t)(f->u_off + f->u_len - s->pos);
	memcpy(p, s->out + (s->pos - f->u_off), n);
	s->pos += n;
	return (ssize_t)n;
}

static void
s_close(struct source *src)
{
	struct seek *s = (struct seek *)src;

	ZSTD_freeDCtx(s->zst);
	libdeflate_free_decompressor(s->gz);
	free(s->in);
	free(s->out);
	free(s);
}

struct source *
seek_source(struct index *x, struct err *e)
{
	static const struct source_ops ops = { s_read, s_close };
	struct seek *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		err_oom(e);
		return NULL;
	}
	s->s.ops = &ops;
	s->x = x;
	s->at = UINT32_MAX;
	s->zst = ZSTD_createDCtx();
	s->gz = libdeflate_alloc_decompressor();
	if (s->zst == NULL || s->gz == NULL) {
		s_close(&s->s);
		err_oom(e);
		return NULL;
	}
	return &s->s;
}

int
seek_to(struct source *src, uint64_t off, struct err *e)
{
	struct seek *s = (struct seek *)src;

	if (off > s->x->tar_len)
		return err_set(e, CALA_INCOMPLETE, "the archive is cut short: "
		    "byte %ju lies behind its end", (uintmax_t)off);
	s->pos = off;
	return 0;
}
