#include "archive/frames.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

#include "archive/press.h"
#include "archive/indexw.h"
#include "base/err.h"
#include "base/pool.h"
#include "base/stop.h"

enum { MIB = 1 << 20, FIXED = 18 * MIB, USUAL = 64 * MIB, USUAL_JOBS = 4,
    JOBS_MAX = 512 };

/*
 * A frame's two buffers.  in_hot and out_hot are how many of their bytes may
 * have been touched and so count as memory; they stay hot when the slot is
 * free, until somebody needs the room.
 */
struct slot {
	struct job job;         /* first: the pool hands it back */
	struct frames *f;
	unsigned char *in, *out;
	size_t in_hot, out_hot;
	size_t in_len, out_len;
	size_t cap;             /* of out, for this frame */
	size_t out_was;         /* out_hot before it */
	uint32_t sum;
	bool failed;
	struct err e;
};

struct frames {
	struct sink sink;
	struct sink *next;
	const struct press *press;
	struct press_cost cost;
	enum archive_format format;
	int level;
	struct indexw *index;
	struct pool *pool;
	uint64_t budget, used;
	size_t out_max;         /* of a mapping */
	unsigned nslots;
	struct slot *slots;
	struct slot **free;     /* a stack, so that warm buffers come first */
	unsigned nfree;
	struct slot **line;     /* frames on their way, a ring in order */
	unsigned head, nline;
	struct slot *fill;      /* being filled, or NULL */
	pthread_mutex_t mu;     /* for ctx */
	void **ctx;
	unsigned nctx;
};

static const struct press *
press_of(enum archive_format f)
{
	return f == ARCHIVE_TAR_ZST ? &press_zst :
	    f == ARCHIVE_TAR_GZ ? &press_gz : &press_law;
}

static uint64_t
least(const struct press_cost *c)
{
	/* One frame and what becomes of it. */
	return 2 * (uint64_t)c->hard + c->hard / 8;
}

static uint64_t
full(const struct press_cost *c, unsigned jobs)
{
	/* Most compress to a quarter or are shorter than the longest. */
	return (jobs + 2) * (uint64_t)(c->hard + c->hard / 4);
}

int
frames_plan(const struct archive_write *how, int level,
    struct frames_plan *p, struct err *e)
{
	struct press_cost c;
	uint64_t want, fixed, limit = how->memory;
	unsigned jobs = how->jobs != 0 ? how->jobs : pool_cores();

	if (jobs > JOBS_MAX)
		jobs = JOBS_MAX;
	press_cost(how->format, level, &c);
	if (limit == 0) {
		limit = USUAL;
		want = FIXED + jobs * (uint64_t)c.ctx + full(&c, jobs);
		if (want > limit && (jobs > USUAL_JOBS || c.ctx > 2 * MIB ||
		    c.hard > 8 * MIB))
			limit = want;
	}
	for (; jobs > 0; jobs--) {
		fixed = FIXED + jobs * (uint64_t)c.ctx;
		if (limit >= fixed + least(&c))
			break;
	}
	if (jobs == 0)
		return err_set(e, CALA_USAGE, "%ju MiB of memory are too few: "
		    "%s at level %d needs %ju MiB",
		    (uintmax_t)(limit / MIB), archive_info[how->format].ext,
		    level, (uintmax_t)((FIXED + c.ctx + least(&c) + MIB - 1) /
		    MIB));
	p->jobs = jobs;
	p->budget = limit - fixed;
	if (p->budget > full(&c, jobs))
		p->budget = full(&c, jobs);
	p->total = fixed + p->budget;
	return 0;
}

static void *
ctx_take(struct frames *f, struct err *e)
{
	void *ctx = NULL;

	pthread_mutex_lock(&f->mu);
	if (f->nctx > 0)
		ctx = f->ctx[--f->nctx];
	pthread_mutex_unlock(&f->mu);
	return ctx != NULL ? ctx : f->press->open(f->format, f->level, e);
}

static void
ctx_give(struct frames *f, void *ctx)
{
	pthread_mutex_lock(&f->mu);
	f->ctx[f->nctx++] = ctx;
	pthread_mutex_unlock(&f->mu);
}

static void
compress(struct job *j)
{
	struct slot *s = (struct slot *)j;
	struct frames *f = s->f;
	void *ctx = ctx_take(f, &s->e);

	if (f->index != NULL)
		s->sum = (uint32_t)XXH64(s->in, s->in_len, 0);
	s->failed = ctx == NULL || f->press->run(ctx, s->in, s->in_len,
	    s->out, s->cap, &s->out_len, &s->e) == -1;
	if (ctx != NULL)
		ctx_give(f, ctx);
}

/* Give the pages behind keep bytes back; returns how many were hot. */
static size_t
cool(unsigned char *p, size_t *hot, size_t keep)
{
	size_t was = *hot;

	keep = (keep + 4095) & ~(size_t)4095;
	if (was <= keep)
		return 0;
	madvise(p + keep, was - keep, MADV_DONTNEED);
	*hot = keep;
	return was - keep;
}

/* The head of the line has run: pass it on. */
static int
pass(struct frames *f, struct err *e)
{
	struct slot *s = f->line[f->head];
	uint64_t before = f->next->pos;
	size_t hot;
	void *ctx;
	int ret;

	if (s->failed) {
		*e = s->e;
		return -1;
	}
	if (s->out_len == 0) {
		/* It compressed worse than its samples. */
		if ((ctx = ctx_take(f, e)) == NULL)
			return -1;
		ret = f->press->stream(ctx, s->in, s->in_len, f->next, e);
		ctx_give(f, ctx);
	} else {
		ret = sink_write(f->next, s->out, s->out_len, e);
	}
	if (ret == -1)
		return -1;
	if (f->index != NULL && indexw_frame(f->index,
	    (uint32_t)(f->next->pos - before), (uint32_t)s->in_len, s->sum,
	    e) == -1)
		return -1;
	/* Only what was written to has cost anything. */
	hot = s->out_len == 0 ? s->cap : s->out_len;
	if (hot < s->out_was)
		hot = s->out_was;
	f->used -= s->out_hot - hot;
	s->out_hot = hot;
	f->head = (f->head + 1) % f->nslots;
	f->nline--;
	f->free[f->nfree++] = s;
	return 0;
}

/* Wait for the head of the line, doing others' work meanwhile. */
static int
wait_head(struct frames *f, struct err *e)
{
	struct slot *s = f->line[f->head];

	while (!pool_done(f->pool, &s->job)) {
		if (stop_check(e) == -1)
			return -1;
		if (!pool_help(f->pool))
			pool_wait(f->pool, &s->job);
	}
	return pass(f, e);
}

/* n more bytes will be hot: make room for them. */
static int
reserve(struct frames *f, size_t n, struct err *e)
{
	unsigned i;

	while (f->used + n > f->budget) {
		for (i = 0; i < f->nfree; i++)
			if (f->free[i]->in_hot + f->free[i]->out_hot > 0)
				break;
		if (i < f->nfree) {
			f->used -= cool(f->free[i]->in, &f->free[i]->in_hot,
			    0);
			f->used -= cool(f->free[i]->out,
			    &f->free[i]->out_hot, 0);
		} else if (f->nline == 0) {
			break;
		} else if (wait_head(f, e) == -1) {
			return -1;
		}
	}
	f->used += n;
	return 0;
}

static int
start(struct frames *f, struct err *e)
{
	struct slot *s;

	while (f->nfree == 0)
		if (wait_head(f, e) == -1)
			return -1;
	s = f->free[--f->nfree];
	f->fill = s;
	s->in_len = 0;
	if (f->cost.hard > s->in_hot)
		return reserve(f, f->cost.hard - s->in_hot, e);
	return 0;
}

static int
cut(struct frames *f, struct err *e)
{
	struct slot *s = f->fill;
	size_t more;

	f->fill = NULL;
	/* The whole was reserved; this much was used. */
	if (s->in_hot < s->in_len) {
		f->used -= f->cost.hard - s->in_len;
		s->in_hot = s->in_len;
	} else if (s->in_hot < f->cost.hard) {
		f->used -= f->cost.hard - s->in_hot;
	}
	/* A longer frame was here before, and may never come again. */
	if (s->in_hot > s->in_len + s->in_len / 2)
		f->used -= cool(s->in, &s->in_hot, s->in_len);
	s->cap = f->press->room(s->in, s->in_len);
	if (s->cap > f->out_max)
		s->cap = f->out_max;
	s->out_was = s->out_hot;
	more = s->cap > s->out_hot ? s->cap - s->out_hot : 0;
	if (reserve(f, more, e) == -1) {
		f->free[f->nfree++] = s;
		return -1;
	}
	s->out_hot += more;
	s->out_len = 0;
	s->failed = false;
	s->job.run = compress;
	f->line[(f->head + f->nline++) % f->nslots] = s;
	pool_submit(f->pool, &s->job);
	while (f->nline > 0 && pool_done(f->pool, &f->line[f->head]->job))
		if (pass(f, e) == -1)
			return -1;
	return 0;
}

static void *
fr_space(struct sink *sink, size_t *n, struct err *e)
{
	struct frames *f = (struct frames *)sink;

	if (f->fill != NULL && f->fill->in_len == f->cost.hard &&
	    cut(f, e) == -1)
		return NULL;
	if (f->fill == NULL && start(f, e) == -1)
		return NULL;
	*n = f->cost.hard - f->fill->in_len;
	return f->fill->in + f->fill->in_len;
}

static int
fr_used(struct sink *sink, size_t n, struct err *e)
{
	(void)e;
	((struct frames *)sink)->fill->in_len += n;
	return 0;
}

static int
fr_mark(struct sink *sink, struct err *e)
{
	struct frames *f = (struct frames *)sink;

	if (f->fill == NULL || f->fill->in_len < f->cost.target)
		return 0;
	return cut(f, e);
}

int
frames_flush(struct sink *sink, struct err *e)
{
	struct frames *f = (struct frames *)sink;

	if (f->fill != NULL && f->fill->in_len > 0 && cut(f, e) == -1)
		return -1;
	while (f->nline > 0)
		if (wait_head(f, e) == -1)
			return -1;
	return 0;
}

static int
fr_commit(struct sink *sink, struct err *e)
{
	if (frames_flush(sink, e) == -1)
		return -1;
	return sink_commit(((struct frames *)sink)->next, e);
}

static void
fr_abort(struct sink *sink)
{
	struct frames *f = (struct frames *)sink;
	unsigned i;

	pool_free(f->pool);
	for (i = 0; i < f->nslots && f->slots != NULL; i++) {
		if (f->slots[i].in != NULL)
			munmap(f->slots[i].in, f->cost.hard);
		if (f->slots[i].out != NULL)
			munmap(f->slots[i].out, f->out_max);
	}
	while (f->nctx > 0)
		f->press->close(f->ctx[--f->nctx]);
	pthread_mutex_destroy(&f->mu);
	free(f->ctx);
	free(f->slots);
	free(f->free);
	free(f->line);
	free(f);
}

/* Address space only; pages come when they are touched. */
static unsigned char *
reserve_pages(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	/* A page counted is a page used. */
	madvise(p, n, MADV_NOHUGEPAGE);
	return p;
}

struct sink *
frames_new(enum archive_format format, int level,
    const struct frames_plan *plan, struct indexw *index, struct sink *next,
    struct err *e)
{
	static const struct sink_ops ops =
	    { fr_space, fr_used, fr_mark, fr_commit, fr_abort };
	struct frames *f = calloc(1, sizeof(*f));
	struct slot *s;
	unsigned i;

	if (f == NULL)
		goto oom;
	pthread_mutex_init(&f->mu, NULL);
	f->sink.ops = &ops;
	f->next = next;
	f->press = press_of(format);
	f->format = format;
	f->level = level;
	f->index = index;
	f->budget = plan->budget;
	press_cost(format, level, &f->cost);
	f->out_max = f->cost.hard + f->cost.hard / 8;
	f->nslots = plan->jobs + 2;
	f->slots = calloc(f->nslots, sizeof(*f->slots));
	f->free = calloc(f->nslots, sizeof(*f->free));
	f->line = calloc(f->nslots, sizeof(*f->line));
	f->ctx = calloc(plan->jobs + 1, sizeof(*f->ctx));
	if (f->slots == NULL || f->free == NULL || f->line == NULL ||
	    f->ctx == NULL)
		goto oom;
	for (i = 0; i < f->nslots; i++) {
		s = &f->slots[i];
		s->f = f;
		s->in = reserve_pages(f->cost.hard);
		s->out = reserve_pages(f->out_max);
		if (s->in == NULL || s->out == NULL)
			goto oom;
		f->free[f->nfree++] = s;
	}
	if ((f->pool = pool_new(plan->jobs - 1, e)) == NULL) {
		fr_abort(&f->sink);
		return NULL;
	}
	return &f->sink;
oom:
	if (f != NULL)
		fr_abort(&f->sink);
	err_oom(e);
	return NULL;
}
