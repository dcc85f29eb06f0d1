/*
 * paycut: see buzhash.h.
 *
 * A suggestion inside what is at hand wins over a cut by hash in front of it;
 * one that would make a chunk too small is dropped, one too far off waits.
 */

#include "chunk/buzhash.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"

/* A queue of positions, in one growing block. */
struct queue {
	uint64_t (*v)[2];
	size_t at, n, cap;
};

struct paycut {
	struct buzhash b;
	struct queue suggest, inject;
	uint64_t base;          /* position of the first byte not cut */
	size_t pos;             /* bytes behind base that were scanned */
};

static int
push(struct queue *q, uint64_t a, uint64_t b, struct err *e)
{
	size_t cap, n;
	void *v;

	if (q->n == q->cap && q->at > q->cap / 2) {
		memmove(q->v, q->v + q->at, (q->n - q->at) * sizeof(*q->v));
		q->n -= q->at;
		q->at = 0;
	}
	if (q->n == q->cap) {
		cap = q->cap == 0 ? 64 : 2 * q->cap;
		if (!size_mul(cap, sizeof(*q->v), &n) ||
		    (v = realloc(q->v, n)) == NULL)
			return err_oom(e);
		q->v = v;
		q->cap = cap;
	}
	q->v[q->n][0] = a;
	q->v[q->n++][1] = b;
	return 0;
}

struct paycut *
paycut_new(size_t avg, struct err *e)
{
	struct paycut *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		err_oom(e);
		return NULL;
	}
	buzhash_init(&c->b, avg);
	return c;
}

void
paycut_free(struct paycut *c)
{
	if (c == NULL)
		return;
	free(c->suggest.v);
	free(c->inject.v);
	free(c);
}

int
paycut_suggest(struct paycut *c, uint64_t pos, struct err *e)
{
	return push(&c->suggest, pos, 0, e);
}

int
paycut_inject(struct paycut *c, uint64_t pos, uint64_t size, struct err *e)
{
	return push(&c->inject, pos, size, e);
}

/* Where the chunk at p ends by hash: bytes from p, or 0: not yet. */
static size_t
plain(struct paycut *c, const unsigned char *p, size_t n)
{
	size_t k = buzhash_scan(&c->b, p + c->pos, n - c->pos);

	return k == 0 ? 0 : c->pos + k;
}

static size_t
scan(struct paycut *c, const unsigned char *p, size_t n)
{
	struct queue *q = &c->suggest;
	uint64_t s, size;

	for (; q->at < q->n; q->at++) {
		s = q->v[q->at][0];
		if (s < c->base || s - c->base < c->pos)
			continue;
		size = s - c->base;
		if (size > n)
			break;
		if (size < c->b.min)
			continue;
		if (size > c->b.max)
			break;
		q->at++;
		if (size == c->pos)
			break;
		buzhash_reset(&c->b);
		return (size_t)size;
	}
	return plain(c, p, n);
}

/* The chunk's len bytes are gone; size bytes that are not data follow. */
static int
advance(struct paycut *c, size_t len, uint64_t size, struct err *e)
{
	c->pos = 0;
	if (!u64_add(c->base, len, &c->base) ||
	    !u64_add(c->base, size, &c->base))
		return err_set(e, CALA_FAIL, "payload: positions overflow");
	return 0;
}

int
paycut_next(struct paycut *c, const void *v, size_t n, bool end, size_t *len,
    struct err *e)
{
	const unsigned char *p = v;
	struct queue *q = &c->inject;
	size_t k = 0;
	uint64_t at;

	*len = 0;
	if (n > c->pos)
		k = scan(c, p, n);
	if (q->at < q->n) {
		at = q->v[q->at][0];
		if (at < c->base)
			return err_set(e, CALA_FAIL, "payload: chunks to be "
			    "put in before what was cut");
		if (at - c->base <= (k > 0 ? k : n)) {
			*len = (size_t)(at - c->base);
			buzhash_reset(&c->b);
			return advance(c, *len, q->v[q->at++][1], e) == -1 ?
			    -1 : PAYCUT_INJECT;
		}
	}
	if (k == 0 && end) {
		if (q->at < q->n)
			return err_set(e, CALA_FAIL, "payload: chunks to be "
			    "put in behind its end");
		k = n;
		buzhash_reset(&c->b);
	}
	if (k == 0) {
		c->pos = n;
		return PAYCUT_MORE;
	}
	*len = k;
	return advance(c, k, 0, e) == -1 ? -1 : PAYCUT_CHUNK;
}
