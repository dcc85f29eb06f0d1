/*
 * Decoded frames are kept: neighbours in a directory share one.  A reader that
 * goes on from frame to frame has the next ones decoded beside it; input is
 * read in its own thread only.
 */

#include "archive/seek.h"

#include <stdlib.h>
#include <string.h>

#include <libdeflate.h>
#include <xxhash.h>
#include <zstd.h>

#include "base/err.h"
#include "base/io.h"
#include "base/pool.h"

enum {
	FRAME_MAX = 64 << 20,
	SLOTS = 3,
	STEADY = 2              /* frames in a row, then more will follow */
};

#define NONE UINT32_MAX

struct slot {
	struct job job;
	uint32_t at;            /* which frame, or NONE */
	bool zst, busy, good;   /* busy: not waited for yet */
	struct idx_frame f;
	unsigned char *in, *out;
	size_t in_cap, out_cap;
	ZSTD_DCtx *zctx;
	struct libdeflate_decompressor *gctx;
};

struct seek {
	struct source s;
	struct index *x;
	uint64_t pos;
	unsigned jobs, row;
	struct pool *pool;      /* NULL until frames are read in a row */
	struct slot slot[SLOTS], *now;
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

static void
decode(struct job *j)
{
	struct slot *s = (struct slot *)j;
	const struct idx_frame *f = &s->f;
	size_t used, made;

	if (s->zst)
		s->good = ZSTD_decompressDCtx(s->zctx, s->out, f->u_len,
		    s->in, f->c_len) == f->u_len;
	else
		s->good = libdeflate_gzip_decompress_ex(s->gctx, s->in,
		    f->c_len, s->out, f->u_len, &used, &made) ==
		    LIBDEFLATE_SUCCESS && used == f->c_len && made == f->u_len;
	s->good = s->good && (uint32_t)XXH64(s->out, f->u_len, 0) == f->sum;
}

/* The stored bytes of frame i into t, and t ready to decode them. */
static int
fetch(struct seek *s, struct slot *t, uint32_t i, struct err *e)
{
	const struct idx_frame *f = &s->x->frame[i];

	t->f = *f;
	t->zst = s->x->zst;
	t->job.run = decode;
	if (t->zst && t->zctx == NULL && (t->zctx = ZSTD_createDCtx()) == NULL)
		return err_oom(e);
	if (!t->zst && t->gctx == NULL &&
	    (t->gctx = libdeflate_alloc_decompressor()) == NULL)
		return err_oom(e);
	if (f->u_len > FRAME_MAX || f->c_len > FRAME_MAX + FRAME_MAX / 8)
		return err_set(e, CALA_INTEGRITY, "the index is damaged: a "
		    "frame of %u bytes", f->u_len);
	if (room(&t->in, &t->in_cap, f->c_len, e) == -1 ||
	    room(&t->out, &t->out_cap, f->u_len + 1u, e) == -1)
		return -1;
	return ranged_read(s->x->r, t->in, f->c_len, f->c_off, e);
}

/* A slot in which frame i is or will be; those from first on are not taken. */
static struct slot *
begin(struct seek *s, uint32_t first, uint32_t i, struct err *e)
{
	struct slot *t = NULL;
	size_t k;

	for (k = 0; k < SLOTS; k++)
		if (s->slot[k].at == i)
			return &s->slot[k];
	/* one that holds memory before one that does not */
	for (k = 0; k < SLOTS; k++)
		if ((s->slot[k].at == NONE || s->slot[k].at < first ||
		    s->slot[k].at - first >= SLOTS) && (t == NULL ||
		    s->slot[k].out_cap > t->out_cap))
			t = &s->slot[k];
	if (t->busy)
		pool_wait(s->pool, &t->job);
	t->busy = false;
	t->at = NONE;
	if (fetch(s, t, i, e) == -1)
		return NULL;
	t->at = i;
	t->busy = s->pool != NULL;
	if (t->busy)
		pool_submit(s->pool, &t->job);
	else
		decode(&t->job);
	return t;
}

static int
load(struct seek *s, uint32_t i, struct err *e)
{
	struct err ahead = ERR_INIT;
	struct slot *t;
	uint32_t k;

	s->row = s->now != NULL && s->now->at != NONE &&
	    i == s->now->at + 1 ? s->row + 1 : 0;
	s->now = NULL;
	if (s->row >= STEADY && s->pool == NULL && s->jobs > 1 &&
	    (s->pool = pool_new(s->jobs < SLOTS ? s->jobs - 1 : SLOTS - 1,
	    e)) == NULL)
		return -1;
	if ((t = begin(s, i, i, e)) == NULL)
		return -1;
	/* trouble with a later frame is told when it is reached */
	if (s->row >= STEADY && s->pool != NULL)
		for (k = 1; k < SLOTS && k < s->x->f - i; k++)
			if (begin(s, i, i + k, &ahead) == NULL)
				break;
	if (t->busy)
		pool_wait(s->pool, &t->job);
	t->busy = false;
	if (!t->good) {
		t->at = NONE;
		return err_set(e, CALA_INTEGRITY, "the archive is damaged: the "
		    "part at byte %ju is not what was stored",
		    (uintmax_t)t->f.c_off);
	}
	s->now = t;
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
	if ((s->now == NULL || s->now->at != i) && load(s, i, e) == -1)
		return -1;
	f = &s->x->frame[i];
	if (n > f->u_off + f->u_len - s->pos)
		n = (size_t)(f->u_off + f->u_len - s->pos);
	memcpy(p, s->now->out + (s->pos - f->u_off), n);
	s->pos += n;
	return (ssize_t)n;
}

static void
s_close(struct source *src)
{
	struct seek *s = (struct seek *)src;
	size_t i;

	pool_free(s->pool);
	for (i = 0; i < SLOTS; i++) {
		ZSTD_freeDCtx(s->slot[i].zctx);
		libdeflate_free_decompressor(s->slot[i].gctx);
		free(s->slot[i].in);
		free(s->slot[i].out);
	}
	free(s);
}

struct source *
seek_source(struct index *x, unsigned jobs, struct err *e)
{
	static const struct source_ops ops = { s_read, s_close };
	struct seek *s = calloc(1, sizeof(*s));
	size_t i;

	if (s == NULL) {
		err_oom(e);
		return NULL;
	}
	s->s.ops = &ops;
	s->x = x;
	s->jobs = jobs != 0 ? jobs : pool_cores();
	for (i = 0; i < SLOTS; i++)
		s->slot[i].at = NONE;
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
