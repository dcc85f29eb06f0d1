#include "chunk/mill.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/pool.h"
#include "base/stop.h"
#include "chunk/cut.h"
#include "entry/entry.h"

enum {
	PARCELS = 64,           /* under way at most */
	READ = 256 << 10,       /* bytes of one read */
	WINDOWS_MIN = 2,
	WINDOWS_MAX = 64,
	WINDOW_MIN = 2 << 20,
	MEMORY = 32 << 20,
	JOBS_MAX = 256
};

struct window {
	struct window *next;
	unsigned users;                 /* parcels, and whoever fills it */
	size_t fill;
	unsigned char *p;
};

struct parcel {
	struct job job;
	struct mill *m;
	struct parcel *next;
	struct window *w;               /* NULL while it holds none */
	unsigned n, work;               /* of tag; of piece */
	size_t bytes;
	bool failed;
	struct err e;
	struct mill_piece piece[MILL_PIECES];
	struct {
		void *tag;
		bool known;             /* ref is; else that of a piece */
		uint64_t ref;
	} turn[MILL_PIECES];
};

struct mill {
	struct mill_how how;
	unsigned jobs;
	size_t window;                  /* bytes of one */
	size_t full;                    /* bytes from which a parcel is sent */
	unsigned nwindows, windows_max;
	struct pool *pool;
	struct window *spare, *w;       /* w is being filled */
	struct parcel *idle, *cur;      /* cur is being made */
	struct parcel *head, **tail;    /* sent, in order */
	unsigned nparcels;
	const struct cut *cut;
	void *tag;
	size_t begin;                   /* in w: of the bytes pending */
	size_t count;                   /* chunks of this file */
	/* which workers are free */
	pthread_mutex_t mu;
	unsigned nfree;
	unsigned worker[JOBS_MAX + 1];
};

static unsigned
worker_take(struct mill *m)
{
	unsigned n;

	pthread_mutex_lock(&m->mu);
	n = m->worker[--m->nfree];
	pthread_mutex_unlock(&m->mu);
	return n;
}

static void
worker_give(struct mill *m, unsigned n)
{
	pthread_mutex_lock(&m->mu);
	m->worker[m->nfree++] = n;
	pthread_mutex_unlock(&m->mu);
}

static void
run(struct job *j)
{
	struct parcel *c = (void *)((char *)j - offsetof(struct parcel, job));
	struct mill *m = c->m;
	unsigned worker = worker_take(m);

	c->failed = stop_check(&c->e) == -1 || (c->work > 0 &&
	    m->how.work(m->how.arg, worker, c->piece, c->work, &c->e) == -1);
	worker_give(m, worker);
}

struct mill *
mill_new(const struct mill_how *how, struct err *e)
{
	struct mill *m = calloc(1, sizeof(*m));
	uint64_t n;
	unsigned i;

	if (m == NULL) {
		err_oom(e);
		return NULL;
	}
	m->how = *how;
	m->tail = &m->head;
	pthread_mutex_init(&m->mu, NULL);
	m->jobs = how->jobs == 0 ? pool_cores() : how->jobs;
	if (m->jobs > JOBS_MAX)
		m->jobs = JOBS_MAX;
	/* The threads, and the caller's when it waits. */
	for (i = 0; i < mill_workers(m); i++)
		m->worker[m->nfree++] = i;
	m->window = 2 * how->max < WINDOW_MIN ? WINDOW_MIN : 2 * how->max;
	/*
	 * Two or three in a window: of large chunks each holds a few, as some
	 * work is done best on several at once.
	 */
	m->full = m->window / 8 * 3;
	n = (how->memory == 0 ? MEMORY : how->memory) / m->window;
	m->windows_max = n < WINDOWS_MIN ? WINDOWS_MIN :
	    n > WINDOWS_MAX ? WINDOWS_MAX : (unsigned)n;
	/* One job: the caller's thread does it all. */
	m->pool = pool_new(m->jobs == 1 ? 0 : m->jobs, e);
	if (m->pool == NULL) {
		mill_free(m);
		return NULL;
	}
	return m;
}

unsigned
mill_workers(const struct mill *m)
{
	return m->jobs + 1;
}

static void
window_free(struct window *w)
{
	if (w == NULL)
		return;
	free(w->p);
	free(w);
}

/* One user less: the last one puts it back. */
static void
window_leave(struct mill *m, struct window *w)
{
	if (w == NULL || --w->users > 0)
		return;
	w->next = m->spare;
	m->spare = w;
}

void
mill_free(struct mill *m)
{
	struct parcel *c;
	struct window *w;

	if (m == NULL)
		return;
	/* Ends what runs, drops what is queued: nobody wants it any more. */
	pool_free(m->pool);
	while ((c = m->head) != NULL) {
		m->head = c->next;
		window_leave(m, c->w);
		free(c);
	}
	if (m->cur != NULL)
		window_leave(m, m->cur->w);
	free(m->cur);
	window_leave(m, m->w);
	while ((c = m->idle) != NULL) {
		m->idle = c->next;
		free(c);
	}
	while ((w = m->spare) != NULL) {
		m->spare = w->next;
		window_free(w);
	}
	pthread_mutex_destroy(&m->mu);
	free(m);
}

/* ---- results, in order ---- */

/* The oldest parcel has run. */
static int
take_head(struct mill *m, struct err *e)
{
	struct parcel *c = m->head;
	unsigned i, k;
	int ret = 0;

	m->head = c->next;
	if (m->head == NULL)
		m->tail = &m->head;
	m->nparcels--;
	if (c->failed) {
		*e = c->e;
		ret = -1;
	}
	for (i = k = 0; ret == 0 && i < c->n; i++)
		ret = m->how.done(m->how.arg, c->turn[i].tag,
		    c->turn[i].known ? c->turn[i].ref : c->piece[k++].ref, e);
	window_leave(m, c->w);
	c->next = m->idle;
	m->idle = c;
	return ret;
}

int
mill_poll(struct mill *m, struct err *e)
{
	while (m->head != NULL && pool_done(m->pool, &m->head->job))
		if (take_head(m, e) == -1)
			return -1;
	return 0;
}

static void
send(struct mill *m)
{
	struct parcel *c = m->cur;

	if (c == NULL || c->n == 0)
		return;
	m->cur = NULL;
	c->next = NULL;
	*m->tail = c;
	m->tail = &c->next;
	m->nparcels++;
	pool_submit(m->pool, &c->job);
}

int
mill_step(struct mill *m, struct err *e)
{
	if (m->head == NULL)
		send(m);
	if (m->head == NULL)
		return 0;
	/* Rather work than wait; what is oldest comes first in the queue. */
	while (!pool_done(m->pool, &m->head->job))
		if (!pool_help(m->pool))
			pool_wait(m->pool, &m->head->job);
	return take_head(m, e);
}

int
mill_drain(struct mill *m, struct err *e)
{
	send(m);
	while (m->head != NULL)
		if (mill_step(m, e) == -1)
			return -1;
	return 0;
}

/* ---- filling ---- */

static int
parcel_get(struct mill *m, struct err *e)
{
	struct parcel *c;

	if (m->cur != NULL)
		return 0;
	while (m->nparcels >= PARCELS)
		if (mill_step(m, e) == -1)
			return -1;
	if ((c = m->idle) != NULL)
		m->idle = c->next;
	else if ((c = malloc(sizeof(*c))) == NULL)
		return err_oom(e);
	c->job.run = run;
	c->m = m;
	c->w = NULL;
	c->n = c->work = 0;
	c->bytes = 0;
	c->failed = false;
	err_clear(&c->e);
	m->cur = c;
	return 0;
}

/* A chunk at p, or, when p is NULL, one whose ref is known. */
static int
add_piece(struct mill *m, const unsigned char *p, size_t len, uint64_t ref,
    struct err *e)
{
	struct mill_piece *q;
	struct parcel *c;

	if (parcel_get(m, e) == -1)
		return -1;
	c = m->cur;
	c->turn[c->n].tag = m->tag;
	c->turn[c->n].known = p == NULL;
	c->turn[c->n++].ref = ref;
	if (p != NULL) {
		q = &c->piece[c->work++];
		q->p = p;
		q->len = len;
	}
	if (p != NULL && c->w == NULL) {
		c->w = m->w;
		m->w->users++;
	}
	c->bytes += len;
	m->count++;
	if (c->n == MILL_PIECES || c->bytes >= m->full)
		send(m);
	return 0;
}

/* A fresh window; what is pending moves along. */
static int
next_window(struct mill *m, struct err *e)
{
	struct window *w, *old = m->w;
	size_t n = mill_pending(m);

	send(m);
	while (m->spare == NULL && m->nwindows == m->windows_max) {
		if (m->head == NULL)
			return err_set(e, CALA_FAIL, "no memory for chunks");
		if (mill_step(m, e) == -1)
			return -1;
	}
	if ((w = m->spare) != NULL) {
		m->spare = w->next;
	} else {
		if ((w = calloc(1, sizeof(*w))) == NULL ||
		    (w->p = malloc(m->window)) == NULL) {
			window_free(w);
			return err_oom(e);
		}
		m->nwindows++;
	}
	w->users = 1;
	w->fill = n;
	if (n > 0)
		memcpy(w->p, old->p + m->begin, n);
	m->begin = 0;
	m->w = w;
	window_leave(m, old);
	return 0;
}

void
mill_begin(struct mill *m, const struct cut *cut, void *tag)
{
	m->cut = cut;
	m->tag = tag;
	m->count = 0;
}

size_t
mill_pending(const struct mill *m)
{
	return m->w == NULL ? 0 : m->w->fill - m->begin;
}

/* Room for n bytes behind those pending, which with n are no chunk yet. */
static int
make_room(struct mill *m, size_t n, struct err *e)
{
	if (m->w != NULL && m->window - m->w->fill >= n)
		return 0;
	return next_window(m, e);
}

unsigned char *
mill_room(struct mill *m, size_t *n, struct err *e)
{
	size_t want = m->cut->max - mill_pending(m);

	if ((m->w == NULL || m->w->fill == m->window) &&
	    next_window(m, e) == -1)
		return NULL;
	*n = m->window - m->w->fill;
	if (*n > want)
		*n = want;
	return m->w->p + m->w->fill;
}

/* Send what can be cut off. */
static int
cut(struct mill *m, bool end, struct err *e)
{
	size_t n;

	while ((n = cut_next(m->cut, m->w->p + m->begin, mill_pending(m),
	    end)) > 0) {
		m->begin += n;
		if (add_piece(m, m->w->p + m->begin - n, n, 0, e) == -1)
			return -1;
	}
	return 0;
}

int
mill_used(struct mill *m, size_t n, struct err *e)
{
	m->w->fill += n;
	return cut(m, false, e);
}

int
mill_end(struct mill *m, size_t *count, struct err *e)
{
	if (mill_pending(m) > 0 && cut(m, true, e) == -1)
		return -1;
	*count = m->count;
	return 0;
}

int
mill_content(struct mill *m, struct content *c, uint64_t left, struct err *e)
{
	unsigned char *p;
	ssize_t got;
	size_t n;

	/* A small file lies in one piece, and is read by one call. */
	if (left > 0 && left <= READ && make_room(m, (size_t)left, e) == -1)
		return -1;
	for (; left > 0; left -= (uint64_t)got) {
		if ((p = mill_room(m, &n, e)) == NULL)
			return -1;
		if (n > READ)
			n = READ;
		if (n > left)
			n = (size_t)left;
		if ((got = content_read(c, p, n, e)) == -1)
			return -1;
		if (got == 0)
			return err_set(e, CALA_FAIL, "a file ended before its "
			    "size");
		if (mill_used(m, (size_t)got, e) == -1)
			return -1;
	}
	return 0;
}

int
mill_ref(struct mill *m, uint64_t ref, struct err *e)
{
	return add_piece(m, NULL, 0, ref, e);
}
