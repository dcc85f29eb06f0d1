/*
 * Unwrapping a stream: independent pieces are decoded by a pool, in order; at
 * the first thing that is no such piece, the rest of the stream goes through
 * one thread of its own.  A piece that fails is given to that thread, too: it
 * may only have been cut at the wrong place, and if not, the streaming decoder
 * says what is wrong.
 */

#include "archive/source.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/log.h"
#include "base/pool.h"

enum {
	PIECES = 16,
	BUDGET = 40 << 20,              /* of pieces; the window is beside it */
	CHUNK = 256 << 10,
	UNIT = 1 << 20,
	FLOW_IN = 1 << 20, FLOW_OUT = 4 << 20
};

struct piece {
	struct job job;
	const struct decoder *codec;
	void *ctx;
	unsigned char *in, *out;        /* buffers */
	size_t in_cap, out_cap;
	const unsigned char *src;       /* in in */
	size_t in_len, out_len, given;
	bool good;
};

struct unwrap {
	struct source s;
	const struct decoder *codec;
	struct source *in;
	struct decoding how;
	struct pool *pool;
	struct piece piece[PIECES];
	size_t slots, first, n;         /* ring of pieces in order */
	size_t caps;                    /* bytes of all buffers, win's too */

	unsigned char *win;             /* read but not cut yet */
	size_t at, end, cap;
	uint64_t skip;                  /* bytes of in still to be dropped */
	bool eof, stream;

	struct source *rest;            /* what flow reads */
	struct flow *flow;
};

static void
piece_run(struct job *j)
{
	struct piece *p = (struct piece *)j;

	p->good = p->ctx != NULL && p->codec->piece(p->ctx, p->src, p->in_len,
	    p->out, p->out_len);
}

/* Have n bytes at win + at, or what there is before the end. */
static int
need(struct unwrap *u, size_t n, struct err *e)
{
	unsigned char *p;
	size_t cap;
	ssize_t k;

	while (u->end - u->at < n && !u->eof) {
		if (u->cap - u->end < CHUNK) {
			if (u->end > u->at)     /* win may be NULL yet */
				memmove(u->win, u->win + u->at,
				    u->end - u->at);
			u->end -= u->at;
			u->at = 0;
		}
		if (u->cap - u->end < CHUNK) {
			cap = u->end + CHUNK > 2 * u->cap ? u->end + CHUNK :
			    2 * u->cap;
			if ((p = realloc(u->win, cap)) == NULL)
				return err_oom(e);
			u->win = p;
			u->caps += cap - u->cap;
			u->cap = cap;
		}
		k = source_read(u->in, u->win + u->end, CHUNK, e);
		if (k == -1)
			return -1;
		u->eof = k == 0;
		u->end += (size_t)k;
	}
	return 0;
}

/* Does skip bytes of the input; they may be more than fit anywhere. */
static int
drop(struct unwrap *u, struct err *e)
{
	size_t k;

	while (u->skip > 0) {
		if (need(u, 1, e) == -1)
			return -1;
		if ((k = u->end - u->at) == 0)
			return err_set(e, CALA_INCOMPLETE, "the %s data is "
			    "cut short", u->codec->name);
		if (k > u->skip)
			k = (size_t)u->skip;
		u->at += k;
		u->skip -= k;
	}
	return 0;
}

static bool
grow(struct unwrap *u, unsigned char **p, size_t *cap, size_t n)
{
	unsigned char *q;

	if (*cap >= n)
		return true;
	free(*p);
	*p = NULL;
	u->caps -= *cap;
	*cap = 0;
	/* sizes differ from piece to piece: do not grow for each */
	n = (n + UNIT - 1) / UNIT * UNIT;
	if ((q = malloc(n)) == NULL)
		return false;
	*p = q;
	*cap = n;
	u->caps += n;
	return true;
}

static void
shed(struct unwrap *u, struct piece *p)
{
	u->caps -= p->in_cap + p->out_cap;
	free(p->in);
	free(p->out);
	p->in = p->out = NULL;
	p->in_cap = p->out_cap = 0;
}

/*
 * Buffers for the next piece: those of whichever idle slot has the largest, so
 * that few of them, touched already, go round.  1; 0 when pieces under way must
 * be done first; -1.
 */
static int
lease(struct unwrap *u, struct piece *p, size_t in, size_t out, struct err *e)
{
	struct piece *q;
	struct piece was;
	size_t i, more;

	for (i = u->n + 1; i < u->slots; i++) {
		q = &u->piece[(u->first + i) % u->slots];
		if (q->out_cap <= p->out_cap)
			continue;
		was = *p;
		p->in = q->in;
		p->out = q->out;
		p->in_cap = q->in_cap;
		p->out_cap = q->out_cap;
		q->in = was.in;
		q->out = was.out;
		q->in_cap = was.in_cap;
		q->out_cap = was.out_cap;
	}
	more = (p->in_cap < in ? in - p->in_cap : 0) +
	    (p->out_cap < out ? out - p->out_cap : 0);
	if (u->caps + more > BUDGET)
		for (i = u->n + 1; i < u->slots; i++)
			shed(u, &u->piece[(u->first + i) % u->slots]);
	if (u->caps + more > BUDGET && u->n > 0)
		return 0;
	if (!grow(u, &p->out, &p->out_cap, out > 0 ? out : 1))
		return err_oom(e);
	return 1;
}

/*
 * The n bytes at the front of the window become p's: by giving it the window
 * and keeping what follows them, or by copying them, whichever is less.
 */
static int
hand(struct unwrap *u, struct piece *p, size_t n, struct err *e)
{
	size_t tail = u->end - u->at - n, cap = p->in_cap;
	unsigned char *from = u->win + u->at, *in = p->in;

	p->in_len = n;
	if (n <= tail) {
		if (!grow(u, &p->in, &p->in_cap, n))
			return err_oom(e);
		memcpy(p->in, from, n);
		p->src = p->in;
		u->at += n;
		return 0;
	}
	if (!grow(u, &in, &cap, tail + CHUNK)) {
		p->in = NULL;
		p->in_cap = 0;
		return err_oom(e);
	}
	memcpy(in, from + n, tail);
	p->in = u->win;
	p->in_cap = u->cap;
	p->src = from;
	u->win = in;
	u->cap = cap;
	u->at = 0;
	u->end = tail;
	return 0;
}

/* Cut and submit pieces while there is room for more. */
static int
top_up(struct unwrap *u, struct err *e)
{
	struct cutting c;
	struct piece *p;
	size_t want = 1;
	int r;

	while (u->n < u->slots && !u->stream) {
		if (drop(u, e) == -1 || need(u, want, e) == -1)
			return -1;
		if (u->end == u->at)
			return 0;
		memset(&c, 0, sizeof(c));
		switch (u->codec->cut(u->win + u->at, u->end - u->at, u->eof,
		    &c)) {
		case CUT_MORE:
			want = c.len;
			continue;
		case CUT_SKIP:
			u->skip = c.skip;
			break;
		case CUT_PIECE:
			p = &u->piece[(u->first + u->n) % u->slots];
			if ((r = lease(u, p, c.len, c.out, e)) != 1)
				return r;
			if (hand(u, p, c.len, e) == -1)
				return -1;
			if (p->ctx == NULL)
				p->ctx = u->codec->ctx_new();
			p->out_len = c.out;
			p->given = 0;
			p->codec = u->codec;
			p->job.run = piece_run;
			u->n++;
			pool_submit(u->pool, &p->job);
			break;
		case CUT_STREAM:
			u->stream = true;
			break;
		case CUT_SHORT:
			return err_set(e, CALA_INCOMPLETE, "the %s data is "
			    "cut short", u->codec->name);
		case CUT_BAD:
			return err_set(e, CALA_INTEGRITY, "the %s data is "
			    "damaged", u->codec->name);
		}
		want = 1;
	}
	return 0;
}

/* Pieces not handed out yet and what follows them go to the one thread. */
static int
go_stream(struct unwrap *u, struct err *e)
{
	unsigned char *all;
	size_t i, n = u->end - u->at, k = 0;
	struct piece *p;

	for (i = 0; i < u->n; i++) {
		p = &u->piece[(u->first + i) % u->slots];
		pool_wait(u->pool, &p->job);
		n += p->in_len;
	}
	if ((all = malloc(n + 1)) == NULL)
		return err_oom(e);
	for (i = 0; i < u->n; i++) {
		p = &u->piece[(u->first + i) % u->slots];
		memcpy(all + k, p->src, p->in_len);
		k += p->in_len;
	}
	if (u->end > u->at)
		memcpy(all + k, u->win + u->at, u->end - u->at);
	u->n = 0;
	u->at = u->end;
	u->rest = source_after(all, n, u->in, e);
	free(all);
	if (u->rest == NULL)
		return -1;
	u->flow = flow_new(u->codec->run, &u->how, FLOW_IN, FLOW_OUT, e);
	return u->flow == NULL ? -1 : 0;
}

static ssize_t
u_read(struct source *s, void *v, size_t n, struct err *e)
{
	struct unwrap *u = (struct unwrap *)s;
	struct piece *p;
	struct err late = ERR_INIT;
	size_t k;
	int r;

	for (;;) {
		if (u->flow != NULL)
			return flow_pull(u->flow, u->rest, v, n, e);
		r = top_up(u, &late);
		if (u->n == 0) {
			if (r == -1) {
				*e = late;
				return -1;
			}
			if (!u->stream)
				return 0;
			if (go_stream(u, e) == -1)
				return -1;
			continue;
		}
		/* an error behind good pieces is told after them */
		p = &u->piece[u->first];
		pool_wait(u->pool, &p->job);
		if (!p->good) {
			if (go_stream(u, e) == -1)
				return -1;
			continue;
		}
		k = p->out_len - p->given;
		if (k > n)
			k = n;
		memcpy(v, p->out + p->given, k);
		p->given += k;
		if (p->given == p->out_len) {
			u->first = (u->first + 1) % u->slots;
			u->n--;
		}
		if (k > 0)
			return (ssize_t)k;
	}
}

static void
u_close(struct source *s)
{
	struct unwrap *u = (struct unwrap *)s;
	size_t i;

	pool_free(u->pool);
	flow_free(u->flow);
	source_close(u->rest);
	for (i = 0; i < PIECES; i++) {
		if (u->piece[i].ctx != NULL)
			u->codec->ctx_free(u->piece[i].ctx);
		free(u->piece[i].in);
		free(u->piece[i].out);
	}
	free(u->win);
	free(u);
}

enum wrap
wrap_sniff(const void *v, size_t n)
{
	static const struct { enum wrap w; const char *p; size_t n; } t[] = {
		{ WRAP_GZ, "\x1f\x8b", 2 },
		{ WRAP_XZ, "\xfd" "7zXZ\0", 6 },
		{ WRAP_LZ, "LZIP", 4 },
		{ WRAP_BZ2, "BZh", 3 },
		{ WRAP_LZ4, "\x04\x22\x4d\x18", 4 },
		{ WRAP_LZ4, "\x02\x21\x4c\x18", 4 },
		{ WRAP_ZST, "\x28\xb5\x2f\xfd", 4 },
	};
	const unsigned char *p = v;
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(*t); i++)
		if (n >= t[i].n && memcmp(v, t[i].p, t[i].n) == 0)
			return t[i].w;
	if (n >= 4 && (get_le32(p) & ~15u) == ZST_SKIP_MAGIC)
		return WRAP_ZST;
	return WRAP_NONE;
}

struct source *
source_unwrap(enum wrap wrap, struct source *in, unsigned jobs,
    uint64_t memory, struct log *log, struct err *e)
{
	static const struct source_ops ops = { u_read, u_close };
	static const struct decoder *const codecs[] = { NULL, &decoder_gz,
	    &decoder_xz, &decoder_lz, &decoder_bz2, &decoder_lz4, &decoder_zst };
	struct unwrap *u = calloc(1, sizeof(*u));

	if (u == NULL) {
		err_oom(e);
		return NULL;
	}
	if (jobs == 0)
		jobs = 1;
	u->s.ops = &ops;
	u->codec = codecs[wrap];
	u->in = in;
	u->how.log = log;
	u->how.memory = memory;
	u->stream = u->codec->cut == NULL;
	u->slots = jobs == 1 ? 1 : jobs + 2 < PIECES ? jobs + 2 : PIECES;
	/* the reading thread decodes, too, when it has to wait */
	u->pool = pool_new(u->stream ? 0 : jobs - 1, e);
	if (u->pool == NULL) {
		free(u);
		return NULL;
	}
	return &u->s;
}

struct after {
	struct source s;
	struct source *in;
	size_t n, at;
	unsigned char head[];
};

static ssize_t
a_read(struct source *s, void *p, size_t n, struct err *e)
{
	struct after *a = (struct after *)s;

	if (a->at == a->n)
		return source_read(a->in, p, n, e);
	if (n > a->n - a->at)
		n = a->n - a->at;
	memcpy(p, a->head + a->at, n);
	a->at += n;
	return (ssize_t)n;
}

static void
a_close(struct source *s)
{
	free(s);
}

struct source *
source_after(const void *head, size_t n, struct source *in, struct err *e)
{
	static const struct source_ops ops = { a_read, a_close };
	struct after *a = malloc(sizeof(*a) + n);

	if (a == NULL) {
		err_oom(e);
		return NULL;
	}
	memset(a, 0, sizeof(*a));
	a->s.ops = &ops;
	a->in = in;
	a->n = n;
	if (n > 0)
		memcpy(a->head, head, n);
	return &a->s;
}
