#include "ddup/feed.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "base/str.h"
#include "ddup/stream.h"

enum {
	BUDGET = 16 << 20,              /* plain bytes in flight */
	PIECES = 256,                   /* chunks in flight */
	LEAST = 3,                      /* even of huge ones */
	BATCH = BUDGET / 4,             /* bytes from which on one is sent */
	SPARE = 4 << 20,                /* bytes of idle memory */
	LOOSE = 16 << 10                /* more than needed may be used again */
};

/*
 * Chunks that one job reads, as several are checked faster than each alone.  It
 * is sent when it is full, or when one of them is wanted.
 */
struct batch {
	struct job job;
	struct feed *f;
	bool waited;
	unsigned n, refs;               /* pieces; of them not dropped */
	size_t weight;
	struct load *load[DDUP_LOADS];
};

/* A chunk on its way; several uses in a row share one. */
struct piece {
	struct load load;
	struct batch *batch;
	unsigned refs;
	size_t weight;
};

struct memory {
	unsigned char *p;
	size_t n;
};

struct use {
	struct use *next;
	struct piece *piece;
};

struct ffile {
	struct ffile *next;
	struct abody body;
	char *path;
	uint64_t pos;                   /* bytes handed out, from the start */
	uint64_t ahead;                 /* as far as planned, if known */
	uint64_t drop;                  /* of the next piece: before off */
	size_t used;                    /* of the first piece */
	struct use *first, **last;
	bool begun, planned, told;
	bool ids_bad;                   /* its list could not be read to its end */
	struct err why;
};

struct feed {
	struct archive *a;
	struct pool *pool;
	bool lenient;
	struct dstream *ids;
	struct ffile *head, **tail;     /* not dropped */
	struct ffile *plan;             /* first that is not planned */
	struct piece *last;             /* planned last: a reference */
	struct batch *open;             /* not sent yet */
	unsigned pieces;
	size_t weight;
	struct memory spare[PIECES];
	unsigned nspare;
	size_t spare_size;
	/* Of each thread that runs a job; which of them are free. */
	pthread_mutex_t mu;
	struct decoder **dec;
	unsigned ndec, nfree;
};

static void
run(struct job *j)
{
	struct batch *b = (struct batch *)j;
	struct feed *f = b->f;
	struct decoder *d;

	pthread_mutex_lock(&f->mu);
	d = f->dec[--f->nfree];
	pthread_mutex_unlock(&f->mu);
	decoder_loads(d, f->a->r->chunks, b->load, b->n);
	pthread_mutex_lock(&f->mu);
	f->dec[f->nfree++] = d;
	pthread_mutex_unlock(&f->mu);
}

struct feed *
feed_new(struct archive *a, unsigned jobs, bool lenient, struct err *e)
{
	struct feed *f = calloc(1, sizeof(*f));

	if (f == NULL) {
		err_oom(e);
		return NULL;
	}
	pthread_mutex_init(&f->mu, NULL);
	f->a = a;
	f->lenient = lenient;
	f->tail = &f->head;
	if (jobs == 0)
		jobs = pool_cores();
	/* The pool's threads, and this one when it waits. */
	if ((f->dec = calloc((size_t)jobs + 1, sizeof(struct decoder *))) ==
	    NULL) {
		err_oom(e);
		goto fail;
	}
	for (; f->ndec <= jobs; f->ndec++)
		if ((f->dec[f->ndec] = decoder_new(e)) == NULL)
			goto fail;
	f->nfree = f->ndec;
	if ((f->ids = dstream_new(a->fd, a->name, e)) == NULL ||
	    (f->pool = pool_new(jobs, e)) == NULL)
		goto fail;
	return f;
fail:
	feed_free(f);
	return NULL;
}

static struct batch *
batch_new(struct feed *f)
{
	struct batch *b = calloc(1, sizeof(*b));

	if (b != NULL) {
		b->job.run = run;
		b->f = f;
	}
	return b;
}

static void
send(struct feed *f)
{
	if (f->open != NULL)
		pool_submit(f->pool, &f->open->job);
	f->open = NULL;
}

static void
batch_wait(struct feed *f, struct batch *b)
{
	if (b == f->open)
		send(f);
	if (!b->waited)
		pool_wait(f->pool, &b->job);
	b->waited = true;
}

static void
piece_drop(struct feed *f, struct piece *pc)
{
	struct batch *b;

	if (pc == NULL || --pc->refs > 0)
		return;
	b = pc->batch;
	batch_wait(f, b);
	f->pieces--;
	f->weight -= pc->weight;
	if (f->nspare < PIECES && pc->load.room <= SPARE - f->spare_size) {
		f->spare_size += pc->load.room;
		f->spare[f->nspare].p = pc->load.buf;
		f->spare[f->nspare++].n = pc->load.room;
	} else {
		free(pc->load.buf);
	}
	free(pc);
	if (--b->refs == 0)
		free(b);
}

static void
pop(struct feed *f, struct ffile *ff)
{
	struct use *u = ff->first;

	ff->first = u->next;
	if (ff->first == NULL)
		ff->last = &ff->first;
	piece_drop(f, u->piece);
	free(u);
	ff->used = 0;
}

static void
ffile_free(struct feed *f, struct ffile *ff)
{
	while (ff->first != NULL)
		pop(f, ff);
	free(ff->path);
	free(ff);
}

void
feed_free(struct feed *f)
{
	struct ffile *ff;

	if (f == NULL)
		return;
	while ((ff = f->head) != NULL) {
		f->head = ff->next;
		ffile_free(f, ff);
	}
	piece_drop(f, f->last);
	pool_free(f->pool);
	while (f->nspare > 0)
		free(f->spare[--f->nspare].p);
	while (f->ndec > 0)
		decoder_free(f->dec[--f->ndec]);
	free(f->dec);
	pthread_mutex_destroy(&f->mu);
	dstream_free(f->ids);
	free(f);
}

struct ffile *
feed_add(struct feed *f, const struct abody *body, const char *path,
    uint64_t off, struct err *e)
{
	struct ffile *ff = calloc(1, sizeof(*ff));

	if (ff == NULL || (ff->path = strdup(path)) == NULL) {
		free(ff);
		err_oom(e);
		return NULL;
	}
	ff->body = *body;
	ff->pos = off < body->real ? off : body->real;
	ff->drop = ff->pos;
	ff->last = &ff->first;
	*f->tail = ff;
	f->tail = &ff->next;
	if (f->plan == NULL)
		f->plan = ff;
	return ff;
}

bool
feed_full(const struct feed *f)
{
	return f->pieces >= PIECES || (f->pieces >= LEAST &&
	    f->weight >= BUDGET);
}

/*
 * Memory for n bytes or a little more, if there is some: that of large chunks
 * is not for small ones, or many of these would hold it all.
 */
static void
spare_take(struct feed *f, struct load *l, size_t n)
{
	unsigned i = f->nspare;

	if (i == 0)
		return;
	while (i > 0 && (f->spare[i - 1].n < n ||
	    f->spare[i - 1].n - n > n / 4 + LOOSE))
		i--;
	f->nspare--;
	if (i == 0) {
		f->spare_size -= f->spare[f->nspare].n;
		free(f->spare[f->nspare].p);
		return;
	}
	l->buf = f->spare[i - 1].p;
	l->room = f->spare[i - 1].n;
	f->spare_size -= l->room;
	f->spare[i - 1] = f->spare[f->nspare];
}

static struct piece *
piece_new(struct feed *f, const struct ffile *ff, const unsigned char *hash,
    uint32_t len, struct err *e)
{
	struct piece *pc = calloc(1, sizeof(*pc));
	uint64_t guess;

	if (pc == NULL || (f->open == NULL &&
	    (f->open = batch_new(f)) == NULL)) {
		free(pc);
		err_oom(e);
		return NULL;
	}
	memcpy(pc->load.hash, hash, DDUP_HASH);
	pc->load.max = chunk_cap(f->a->r, ff->body.real);
	pc->load.len = len > pc->load.max ? 0 : len;
	guess = len > 0 ? len : 4 * (uint64_t)f->a->r->ix.chunk_size;
	if (guess > ff->body.real)
		guess = ff->body.real;
	pc->weight = guess > pc->load.max ? pc->load.max : (size_t)guess;
	spare_take(f, &pc->load, pc->weight + 1);
	pc->batch = f->open;
	f->pieces++;
	f->weight += pc->weight;
	return pc;
}

static int
add_piece(struct feed *f, struct ffile *ff, const unsigned char *hash,
    uint32_t len, struct err *e)
{
	struct piece *pc = f->last;
	struct use *u = calloc(1, sizeof(*u));
	struct batch *b;

	if (u == NULL)
		return err_oom(e);
	if (pc == NULL || memcmp(pc->load.hash, hash, DDUP_HASH) != 0) {
		if ((pc = piece_new(f, ff, hash, len, e)) == NULL) {
			free(u);
			return -1;
		}
		b = pc->batch;
		b->load[b->n++] = &pc->load;
		b->refs++;
		b->weight += pc->weight;
		if (b->n == DDUP_LOADS || b->weight >= BATCH)
			send(f);
		/* One reference is that of last. */
		pc->refs = 1;
		piece_drop(f, f->last);
		f->last = pc;
	}
	pc->refs++;
	u->piece = pc;
	*ff->last = u;
	ff->last = &u->next;
	return 0;
}

/* One more chunk of ff: 1 planned, 0 there are no more, -1 the list is bad. */
static int
plan_one(struct feed *f, struct ffile *ff, struct err *e)
{
	unsigned char hash[DDUP_HASH];
	uint32_t len;
	uint64_t id;
	int more;

	if (!ff->begun) {
		ff->begun = true;
		if (ff->body.size == 0)
			return 0;
		if (dstream_set(f->ids, ff->body.off, ff->body.stored,
		    ff->body.code, ff->body.size, e) == -1)
			return -1;
	}
	if ((more = dstream_more(f->ids, e)) != 1)
		return more;
	if (dstream_varint(f->ids, &id, e) == -1)
		return -1;
	/* Old releases read it as the end of the list. */
	if (id == 0)
		return err_set(e, CALA_INTEGRITY, "a chunk has the id 0");
	if (!archive_chunk(f->a, id, hash, &len))
		return err_set(e, CALA_INTEGRITY, "chunk %" PRIu64
		    " is not in the index", id);
	/* A part of a file need not read what comes before it. */
	if (ff->first == NULL && len > 0 && ff->drop >= len) {
		ff->drop -= len;
		ff->ahead += len;
		return 1;
	}
	ff->ahead += len;
	return add_piece(f, ff, hash, len, e) == -1 ? -1 : 1;
}

int
feed_ahead(struct feed *f, struct err *e)
{
	struct ffile *ff;
	int r;

	while ((ff = f->plan) != NULL && !feed_full(f)) {
		r = plan_one(f, ff, &ff->why);
		if (r == -1 && (ff->why.code != CALA_INTEGRITY)) {
			*e = ff->why;
			return -1;
		}
		ff->ids_bad = r == -1;
		if (r != 1) {
			ff->planned = true;
			f->plan = ff->next;
		}
	}
	return 0;
}

static int
say_lost(struct feed *f, struct ffile *ff, const struct err *why)
{
	if (!ff->told)
		log_warn(f->a->r->log, "%s: %s; zeros stand for what is lost",
		    str_q(ff->path), why->msg);
	ff->told = true;
	return 0;
}

/* The chunks hold less than the file has: a warning, and zeros. */
static ssize_t
zeros(struct feed *f, struct ffile *ff, void *p, size_t n, struct err *e)
{
	if (ff->ids_bad && !f->lenient) {
		*e = ff->why;
		return err_ctx(e, "%s", str_q(ff->path));
	}
	if (ff->ids_bad)
		say_lost(f, ff, &ff->why);
	else if (!ff->told)
		log_warn(f->a->r->log, "%s: its chunks hold %" PRIu64
		    " bytes less than its size; the rest is zeros",
		    str_q(ff->path), ff->body.real - ff->pos);
	ff->told = true;
	memset(p, 0, n);
	ff->pos += n;
	return (ssize_t)n;
}

/* The first piece, waited for: 1; 0 when the plan ends; -1. */
static int
ready(struct feed *f, struct ffile *ff, struct piece **out, struct err *e)
{
	struct piece *pc;

	while (ff->first == NULL) {
		if (ff->planned)
			return 0;
		if (feed_ahead(f, e) == -1)
			return -1;
		if (ff->first == NULL && !ff->planned && f->plan != ff)
			return err_set(e, CALA_FAIL, "%s: read out of order",
			    str_q(ff->path));
		/* All that is in flight is held by files behind this one. */
		if (ff->first == NULL && !ff->planned && feed_full(f))
			return err_set(e, CALA_FAIL, "%s: read too late",
			    str_q(ff->path));
	}
	pc = ff->first->piece;
	batch_wait(f, pc->batch);
	*out = pc;
	return 1;
}

static int
lost(struct feed *f, struct ffile *ff, const struct load *l, struct err *e)
{
	if (!f->lenient || (l->err.code != CALA_INTEGRITY &&
	    l->err.code != CALA_NOTFOUND)) {
		*e = l->err;
		/* Not in the store is not "no such file" of who asked. */
		if (e->code == CALA_NOTFOUND)
			e->code = CALA_INTEGRITY;
		err_ctx(e, "%s", str_q(ff->path));
		return e->code != CALA_INTEGRITY ? -1 : err_hint(e,
		    "--no-check goes on, with zeros for what is lost");
	}
	return say_lost(f, ff, &l->err);
}

ssize_t
feed_read(struct feed *f, struct ffile *ff, void *p, size_t n, struct err *e)
{
	uint64_t left = ff->body.real - ff->pos, skip;
	struct piece *pc = NULL;
	const struct load *l;
	size_t have;
	int r;

	if (n > left)
		n = (size_t)left;
	while (n > 0) {
		if ((r = ready(f, ff, &pc, e)) == -1)
			return -1;
		if (r == 0)
			return zeros(f, ff, p, n, e);
		l = &pc->load;
		have = l->n;
		if (l->ret == -1) {
			if (lost(f, ff, l, e) == -1)
				return -1;
			/* Nobody knows how long it was: the file ends here. */
			have = l->len > 0 ? l->len : SIZE_MAX;
		}
		skip = ff->drop < have - ff->used ? ff->drop :
		    have - ff->used;
		ff->used += (size_t)skip;
		ff->drop -= skip;
		if (ff->used == have) {
			pop(f, ff);
			if (feed_ahead(f, e) == -1)
				return -1;
			continue;
		}
		if (n > have - ff->used)
			n = have - ff->used;
		if (l->ret == -1)
			memset(p, 0, n);
		else
			memcpy(p, l->p + ff->used, n);
		ff->used += n;
		ff->pos += n;
		if (ff->pos == ff->body.real && l->ret == 0 &&
		    ff->used < l->n && !ff->told) {
			log_warn(f->a->r->log, "%s: its chunks hold more than "
			    "its size; the rest is left out",
			    str_q(ff->path));
			ff->told = true;
		}
		return (ssize_t)n;
	}
	return 0;
}

int
feed_skip(struct feed *f, struct ffile *ff, uint64_t n, struct err *e)
{
	(void)f;
	(void)e;
	/* Dropped when it is met. */
	ff->drop += n;
	ff->pos += n;
	return 0;
}

void
feed_drop(struct feed *f, struct ffile *ff)
{
	struct ffile **at;

	if (ff == NULL)
		return;
	for (at = &f->head; *at != ff; at = &(*at)->next)
		;
	*at = ff->next;
	if (f->tail == &ff->next)
		f->tail = at;
	if (f->plan == ff)
		f->plan = ff->next;
	ffile_free(f, ff);
}
