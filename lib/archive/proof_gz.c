/*
 * A tar.gz on the wire.  Members can't be walked without decoding, so what
 * looks like a header is remembered, and each member of the index must begin
 * at one of them.
 */

#include "archive/proof.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libdeflate.h>

#include "archive/source.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"

enum {
	EDGE = 16,              /* what a header may need of the next bytes */
	STARTS = 1 << 20,       /* offsets remembered: 8 MiB at most */
	TAIL = 5 << 20,         /* two members of 2 MiB and what is between */
	OUT = 8 << 20
};

struct gwatch {
	struct watch w;
	uint64_t off;           /* bytes fed */
	unsigned char edge[2 * EDGE];
	size_t nedge;
	uint64_t *start;
	size_t nstart, cap, at;
	bool active;            /* inside index members */
	uint64_t index_off;
	struct gzx gzx;
	struct passing pass;
	bool keeping, broken;
	unsigned char *tail;    /* 2 * TAIL: shifted when full */
	size_t ntail;
	struct err err;
};

static int
on_chunk(void *arg, const void *p, size_t n, struct err *e)
{
	struct gwatch *w = arg;

	return idx_blob_feed(w->pass.b, p, n, e);
}

static int
on_frame(void *arg, const struct idx_frame *f, struct err *e)
{
	struct gwatch *w = arg;

	while (w->at < w->nstart && w->start[w->at] < f->c_off)
		w->at++;
	if ((w->at < w->nstart && w->start[w->at] == f->c_off) ||
	    (w->nstart == STARTS && w->at == STARTS))
		return 0;
	return err_set(e, CALA_INTEGRITY,
	    "the index does not fit the members before it");
}

static int
seen(struct gwatch *w, uint64_t off, struct err *e)
{
	uint64_t *p;
	size_t cap;

	if (w->nstart == STARTS)
		return 0;
	if (w->nstart == w->cap) {
		cap = w->cap == 0 ? 256 : 2 * w->cap;
		if ((p = realloc(w->start, cap * sizeof(*p))) == NULL)
			return err_oom(e);
		w->start = p;
		w->cap = cap;
	}
	w->start[w->nstart++] = off;
	return 0;
}

/* An index begins here.  Bytes from off on go to gzx. */
static int
activate(struct gwatch *w, uint64_t off, struct err *e)
{
	w->active = true;
	w->index_off = off;
	w->gzx.data = on_chunk;
	w->gzx.arg = w;
	gzx_init(&w->gzx);
	w->pass.frame = on_frame;
	w->pass.arg = w;
	return passing_begin(&w->pass, IDX_GUESS, false, off, 0, e);
}

/*
 * Look for headers that begin in the first n bytes of p, of which have are
 * there.  Returns where an index begins, n when nowhere, -1 without memory.
 */
static ssize_t
scan(struct gwatch *w, const unsigned char *p, size_t n, size_t have,
    uint64_t off, struct err *e)
{
	size_t at = 0;

	while (at < n) {
		at += gz_find(p + at, have - at);
		if (at >= n)
			break;
		if (have - at >= 14 && p[at + 3] == 4 &&
		    memcmp(p + at + 12, "CI", 2) == 0)
			return (ssize_t)at;
		if (seen(w, off + at, e) == -1)
			return -1;
		at++;
	}
	return (ssize_t)n;
}

static void
index_bytes(struct gwatch *w, const unsigned char *p, size_t n)
{
	if (!w->broken && n > 0 && gzx_feed(&w->gzx, p, n, &w->err) == -1)
		w->broken = true;
}

static void
keep(struct gwatch *w, const unsigned char *p, size_t n)
{
	if (!w->keeping)
		return;
	if (n > TAIL) {
		p += n - TAIL;
		n = TAIL;
	}
	if (w->ntail + n > 2 * (size_t)TAIL) {
		memmove(w->tail, w->tail + w->ntail - TAIL, TAIL);
		w->ntail = TAIL;
	}
	memcpy(w->tail + w->ntail, p, n);
	w->ntail += n;
}

static int
g_feed(struct watch *v, const unsigned char *p, size_t n, struct err *e)
{
	struct gwatch *w = (struct gwatch *)v;
	size_t k, old;
	ssize_t at;

	keep(w, p, n);
	if (w->active) {
		w->off += n;
		index_bytes(w, p, n);
		return 0;
	}
	/* headers that begin in the edge of what came before */
	old = w->nedge;
	k = n < EDGE ? n : EDGE;
	memcpy(w->edge + old, p, k);
	if (old + n <= EDGE) {
		w->nedge += n;
		w->off += n;
		return 0;
	}
	at = scan(w, w->edge, old, old + k, w->off - old, e);
	if (at == -1)
		return -1;
	if ((size_t)at < old) {
		if (activate(w, w->off - old + (size_t)at, e) == -1)
			return -1;
		index_bytes(w, w->edge + at, old - (size_t)at);
		index_bytes(w, p, n);
		w->off += n;
		return 0;
	}
	/* then in p, but for its own edge */
	k = n > EDGE ? n - EDGE : 0;
	at = scan(w, p, k, n, w->off, e);
	if (at == -1)
		return -1;
	if ((size_t)at < k) {
		if (activate(w, w->off + (size_t)at, e) == -1)
			return -1;
		index_bytes(w, p + at, n - (size_t)at);
		w->off += n;
		return 0;
	}
	w->off += n;
	if (n >= EDGE) {
		memcpy(w->edge, p + n - EDGE, EDGE);
		w->nedge = EDGE;
	} else {
		/* fewer came than the edge holds: the oldest go out */
		k = old + n - EDGE;
		memmove(w->edge, w->edge + k, EDGE);
		w->nedge = EDGE;
	}
	return 0;
}

static void
g_forget(struct watch *v)
{
	struct gwatch *w = (struct gwatch *)v;

	w->keeping = false;
	free(w->tail);
	w->tail = NULL;
	w->ntail = 0;
}

/* The members from at to the end of the tail; their bytes in out, or 0. */
static size_t
decode(struct libdeflate_decompressor *d, const unsigned char *p, size_t n,
    unsigned char *out)
{
	size_t used, made, all = 0;

	while (n > 0) {
		if (libdeflate_gzip_decompress_ex(d, p, n, out + all,
		    OUT - all, &used, &made) != LIBDEFLATE_SUCCESS)
			return 0;
		p += used;
		n -= used;
		all += made;
	}
	return all;
}

static bool
inner(struct gwatch *w, struct archive_facts *f)
{
	struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
	unsigned char *out = malloc(OUT);
	uint64_t first = w->off - w->ntail;
	bool found = false;
	size_t i, n;
	int tries = 0;

	/* the edge has not been looked at yet, and never holds a member */
	for (i = w->nstart; d != NULL && out != NULL && !found && i > 0 &&
	    tries++ < 4 && w->start[i - 1] >= first; i--) {
		n = (size_t)(w->start[i - 1] - first);
		n = decode(d, w->tail + n, w->ntail - n, out);
		found = n > 0 && proof_inner(out, n, f);
	}
	libdeflate_free_decompressor(d);
	free(out);
	return found;
}

static void
g_end(struct watch *v, struct archive_facts *f, char *why, size_t n)
{
	struct gwatch *w = (struct gwatch *)v;
	const char *say = NULL;

	f->proof = PROOF_WRONG;
	if (w->broken)
		say = w->err.msg;
	else if (w->active) {
		if (!w->gzx.footer) {
			f->proof = PROOF_NONE;
			say = "it is cut short inside its index";
		} else if (w->gzx.index_off != w->index_off)
			say = "the footer does not fit the bytes before it";
		else if (idx_blob_end(w->pass.b, w->gzx.hash, &w->err) == -1)
			say = w->err.msg;
		else {
			f->proof = PROOF_INDEX;
			passing_facts(&w->pass, f);
		}
	} else if (inner(w, f))
		f->proof = PROOF_INNER;
	else {
		f->proof = PROOF_NONE;
		say = "it has no index and no end mark";
	}
	if (say != NULL)
		snprintf(why, n, "%s", say);
}

static void
g_free(struct watch *v)
{
	struct gwatch *w = (struct gwatch *)v;

	g_forget(v);
	passing_free(&w->pass);
	if (w->active)
		gzx_fini(&w->gzx);
	free(w->start);
	free(w);
}

struct watch *
watch_gz(struct err *e)
{
	static const struct watch_ops ops = { g_feed, g_forget, g_end, g_free };
	struct gwatch *w = calloc(1, sizeof(*w));

	if (w == NULL || (w->tail = malloc(2 * (size_t)TAIL)) == NULL) {
		free(w);
		err_oom(e);
		return NULL;
	}
	w->w.ops = &ops;
	w->keeping = true;
	return &w->w;
}
