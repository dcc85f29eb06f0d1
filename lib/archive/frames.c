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

enum { MIB = 1 << 20, STEP = MIB, FIXED = 18 * MIB, USUAL = 64 * MIB, USUAL_JOBS = 4,
    JOBS_MAX = 512 };

/*
 * A stretch of address space for one end of a frame.  hot is how many of its
 * bytes may have been touched and so count as memory; they stay hot when the
 * area is free, because the kernel's fresh pages cost as much as compressing,
 * until somebody needs the room.
 */
struct area {
	unsigned char *p;
	size_t hot;
};

struct slot {
	struct job job;         /* first: the pool hands it back */
	struct frames *f;
	struct area in, out;    /* p is NULL while there is none */
	size_t in_len, out_len;
	size_t cap;             /* of out, for this frame */
	size_t out_was;         /* out.hot before it */
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
	size_t area_size;
	unsigned nslots;
	struct slot *slots;
	struct slot **free;
	unsigned nfree;
	struct area *spare;     /* two a slot, whether lent or here */
	unsigned nspare;
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

static uint64_t
most(const struct press_cost *c, unsigned jobs)
{
	/* Nothing compresses, and every frame is as long as it may be. */
	return (jobs + 2) * least(c);
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
	if (p->budget > most(&c, jobs))
		p->budget = most(&c, jobs);
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

	s->failed = ctx == NULL || f->press->run(ctx, s->in.p, s->in_len,
	    s->out.p, s->cap, &s->out_len, &s->e) == -1;
	if (f->index != NULL && !s->failed)
		s->sum = s->out_len > 0 && f->press->sum != NULL ?
		    f->press->sum(s->out.p, s->out_len) :
		    (uint32_t)XXH64(s->in.p, s->in_len, 0);
	if (ctx != NULL)
		ctx_give(f, ctx);
}

/* The least hot one that is hot enough for n bytes, or else the hottest. */
static struct area
area_take(struct frames *f, size_t n)
{
	unsigned i, best = 0;
	size_t hot, least;
	struct area a;

	for (i = 1; i < f->nspare; i++) {
		hot = f->spare[i].hot;
		least = f->spare[best].hot;
		if (least < n ? hot > least : hot >= n && hot < least)
			best = i;
	}
	a = f->spare[best];
	f->spare[best] = f->spare[--f->nspare];
	return a;
}

static void
area_give(struct frames *f, struct area *a)
{
	if (a->p != NULL)
		f->spare[f->nspare++] = *a;
	a->p = NULL;
	a->hot = 0;
}

/* Give the pages behind keep bytes back. */
static void
cool(struct frames *f, struct area *a, size_t keep)
{
	keep = (keep + 4095) & ~(size_t)4095;
	if (a->hot <= keep)
		return;
	madvise(a->p + keep, a->hot - keep, MADV_DONTNEED);
	f->used -= a->hot - keep;
	a->hot = keep;
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
		ret = f->press->stream(ctx, s->in.p, s->in_len, f->next, e);
		ctx_give(f, ctx);
	} else {
		ret = sink_write(f->next, s->out.p, s->out_len, e);
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
	f->used -= s->out.hot - hot;
	s->out.hot = hot;
	area_give(f, &s->in);
	area_give(f, &s->out);
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

/* Free at most n bytes that nobody needs just now; false: there are none. */
static bool
spare_some(struct frames *f, uint64_t n)
{
	struct slot *s;
	struct area *a;
	unsigned i;

	for (i = 0; i < f->nspare; i++) {
		a = &f->spare[i];
		if (a->hot == 0)
			continue;
		/* In whole pages, and at least one. */
		cool(f, a, a->hot > n ? (a->hot - (size_t)n) & ~(size_t)4095 :
		    0);
		return true;
	}
	/* What has been compressed waits as its result alone. */
	for (i = 1; i < f->nline; i++) {
		s = f->line[(f->head + i) % f->nslots];
		if (s->in.p != NULL && pool_done(f->pool, &s->job) &&
		    s->out_len > 0) {
			area_give(f, &s->in);
			return true;
		}
	}
	return false;
}

/* n more bytes will be hot: make room for them. */
static int
reserve(struct frames *f, size_t n, struct err *e)
{
	while (f->used + n > f->budget) {
		if (spare_some(f, f->used + n - f->budget))
			continue;
		if (f->nline == 0)
			break;
		if (wait_head(f, e) == -1)
			return -1;
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
	s->in = area_take(f, f->cost.hard);
	s->in_len = 0;
	return 0;
}

static int
cut(struct frames *f, struct err *e)
{
	struct slot *s = f->fill;
	size_t more;

	f->fill = NULL;
	s->cap = f->press->room(s->in.p, s->in_len);
	if (s->cap > f->area_size)
		s->cap = f->area_size;
	s->out = area_take(f, s->cap);
	s->out_was = s->out.hot;
	more = s->cap > s->out.hot ? s->cap - s->out.hot : 0;
	/* A longer frame was here before, and may never come again. */
	if (f->used + more > f->budget)
		cool(f, &s->in, s->in_len);
	if (reserve(f, more, e) == -1) {
		area_give(f, &s->in);
		area_give(f, &s->out);
		f->free[f->nfree++] = s;
		return -1;
	}
	s->out.hot += more;
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
	size_t room, more;
	struct slot *s;

	if (f->fill != NULL && f->fill->in_len == f->cost.hard &&
	    cut(f, e) == -1)
		return NULL;
	if (f->fill == NULL && start(f, e) == -1)
		return NULL;
	s = f->fill;
	room = f->cost.hard - s->in_len;
	if (room > STEP)
		room = STEP;
	if (s->in_len + room > s->in.hot) {
		more = s->in_len + room - s->in.hot;
		if (reserve(f, more, e) == -1)
			return NULL;
		s->in.hot += more;
	}
	*n = room;
	return s->in.p + s->in_len;
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
	for (i = 0; i < f->nslots && f->slots != NULL && f->spare != NULL;
	    i++) {
		area_give(f, &f->slots[i].in);
		area_give(f, &f->slots[i].out);
	}
	for (i = 0; i < f->nspare; i++)
		munmap(f->spare[i].p, f->area_size);
	while (f->nctx > 0)
		f->press->close(f->ctx[--f->nctx]);
	pthread_mutex_destroy(&f->mu);
	free(f->ctx);
	free(f->slots);
	free(f->free);
	free(f->spare);
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
	f->area_size = f->cost.hard + f->cost.hard / 8;
	/* One is filled, one waits, the others are being compressed. */
	f->nslots = plan->jobs + 2;
	f->slots = calloc(f->nslots, sizeof(*f->slots));
	f->free = calloc(f->nslots, sizeof(*f->free));
	f->line = calloc(f->nslots, sizeof(*f->line));
	f->spare = calloc(2 * f->nslots, sizeof(*f->spare));
	f->ctx = calloc(plan->jobs + 1, sizeof(*f->ctx));
	if (f->slots == NULL || f->free == NULL || f->line == NULL ||
	    f->spare == NULL || f->ctx == NULL)
		goto oom;
	for (i = 0; i < f->nslots; i++) {
		f->slots[i].f = f;
		f->free[f->nfree++] = &f->slots[i];
	}
	for (; f->nspare < 2 * f->nslots; f->nspare++)
		if ((f->spare[f->nspare].p = reserve_pages(f->area_size)) ==
		    NULL)
			goto oom;
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
