#include "ddup/feed.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "base/str.h"
#include "ddup/stream.h"

enum {
	BUDGET = 16 << 20,              /* bytes in flight, packed and plain */
	PIECES = 256,                   /* chunks in flight */
	LEAST = 3,                      /* even of huge ones */
	SPARE = 4 << 20                 /* bytes of idle decoders */
};

/* A chunk on its way; several uses in a row share one. */
struct piece {
	struct job job;
	struct feed *f;
	unsigned refs;
	bool waited;
	unsigned char hash[DDUP_HASH];
	uint32_t len;                   /* expected, 0: unknown */
	size_t max, weight;
	struct decoder *dec;
	const unsigned char *p;         /* in dec */
	size_t n;
	int ret;
	struct err err;
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
	unsigned pieces;
	size_t weight;
	struct decoder *spare[PIECES];
	unsigned nspare;
	size_t spare_size;
};

static void
run(struct job *j)
{
	struct piece *pc = (struct piece *)j;

	pc->ret = decoder_load(pc->dec, pc->f->a->r->chunks, pc->hash,
	    pc->len, pc->max, &pc->p, &pc->n, &pc->err);
}

struct feed *
feed_new(struct archive *a, unsigned jobs, bool lenient, struct err *e)
{
	struct feed *f = calloc(1, sizeof(*f));

	if (f == NULL) {
		err_oom(e);
		return NULL;
	}
	f->a = a;
	f->lenient = lenient;
	f->tail = &f->head;
	if ((f->ids = dstream_new(a->fd, a->name, e)) == NULL ||
	    (f->pool = pool_new(jobs > 0 ? jobs : pool_cores(), e)) == NULL) {
		feed_free(f);
		return NULL;
	}
	return f;
}

static struct decoder *
decoder_get(struct feed *f, struct err *e)
{
	if (f->nspare == 0)
		return decoder_new(e);
	f->spare_size -= decoder_size(f->spare[--f->nspare]);
	return f->spare[f->nspare];
}

static void
piece_drop(struct feed *f, struct piece *pc)
{
	if (pc == NULL || --pc->refs > 0)
		return;
	if (!pc->waited)
		pool_wait(f->pool, &pc->job);
	f->pieces--;
	f->weight -= pc->weight;
	if (f->nspare < PIECES &&
	    decoder_size(pc->dec) <= SPARE - f->spare_size) {
		f->spare_size += decoder_size(pc->dec);
		f->spare[f->nspare++] = pc->dec;
	} else {
		decoder_free(pc->dec);
	}
	free(pc);
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
		decoder_free(f->spare[--f->nspare]);
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

static int
add_piece(struct feed *f, struct ffile *ff, const unsigned char *hash,
    uint32_t len, struct err *e)
{
	struct piece *pc = f->last;
	struct use *u = calloc(1, sizeof(*u));
	uint64_t guess;

	if (u == NULL)
		return err_oom(e);
	if (pc == NULL || memcmp(pc->hash, hash, DDUP_HASH) != 0) {
		pc = calloc(1, sizeof(*pc));
		if (pc == NULL || (pc->dec = decoder_get(f, e)) == NULL) {
			free(pc);
			free(u);
			return err_oom(e);
		}
		pc->f = f;
		memcpy(pc->hash, hash, DDUP_HASH);
		pc->len = len;
		pc->max = chunk_cap(f->a->r, ff->body.real);
		guess = len > 0 ? len : 4 * (uint64_t)f->a->r->ix.chunk_size;
		if (guess > ff->body.real)
			guess = ff->body.real;
		if (len > pc->max)
			pc->len = 0;
		/* A decoder holds the file beside what comes out of it. */
		pc->weight = 2 * (guess > pc->max ? pc->max : (size_t)guess);
		pc->refs = 1;
		f->pieces++;
		f->weight += pc->weight;
		piece_drop(f, f->last);
		f->last = pc;
		pc->job.run = run;
		pool_submit(f->pool, &pc->job);
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
	if (!pc->waited) {
		pool_wait(f->pool, &pc->job);
		pc->waited = true;
	}
	*out = pc;
	return 1;
}

static int
lost(struct feed *f, struct ffile *ff, struct piece *pc, struct err *e)
{
	if (!f->lenient || (pc->err.code != CALA_INTEGRITY &&
	    pc->err.code != CALA_NOTFOUND)) {
		*e = pc->err;
		/* Not in the store is not "no such file" of who asked. */
		if (e->code == CALA_NOTFOUND)
			e->code = CALA_INTEGRITY;
		err_ctx(e, "%s", str_q(ff->path));
		return e->code != CALA_INTEGRITY ? -1 : err_hint(e,
		    "--no-check goes on, with zeros for what is lost");
	}
	return say_lost(f, ff, &pc->err);
}

ssize_t
feed_read(struct feed *f, struct ffile *ff, void *p, size_t n, struct err *e)
{
	uint64_t left = ff->body.real - ff->pos, skip;
	struct piece *pc = NULL;
	size_t have;
	int r;

	if (n > left)
		n = (size_t)left;
	while (n > 0) {
		if ((r = ready(f, ff, &pc, e)) == -1)
			return -1;
		if (r == 0)
			return zeros(f, ff, p, n, e);
		have = pc->n;
		if (pc->ret == -1) {
			if (lost(f, ff, pc, e) == -1)
				return -1;
			/* Nobody knows how long it was: the file ends here. */
			have = pc->len > 0 ? pc->len : SIZE_MAX;
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
		if (pc->ret == -1)
			memset(p, 0, n);
		else
			memcpy(p, pc->p + ff->used, n);
		ff->used += n;
		ff->pos += n;
		if (ff->pos == ff->body.real && pc->ret == 0 &&
		    ff->used < pc->n && !ff->told) {
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
