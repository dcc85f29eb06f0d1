/*
 * A reader asks for bytes; the chunks that hold them are fetched and opened by
 * a pool, each into a slot.  How far ahead is decided by what is known: all of
 * the read itself, all that was announced (ranged_expect), everything when it
 * is read from front to back; without any of that twice as many chunks as before
 * each time that a chunk is followed by the next one.
 *
 * Slots belong to the readers' side (under the lock); while a job is under way
 * its slot's bytes are the job's.
 */

#include "pbs/chunks.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/str.h"
#include "pbs/blob.h"
#include "pbs/index.h"

enum {
	JOBS = 4,
	SLOTS = 64,
	MEMORY = 48 << 20
};

struct chunks;

struct slot {
	struct job job;
	struct chunks *g;
	bool used;              /* holds, or will hold, the chunk i */
	bool busy;              /* not waited for since it was submitted */
	size_t i;
	uint64_t stamp;         /* of its last use */
	unsigned char *p;
	size_t len, room;
	int ret;
	struct err e;
};

/* What a thread needs to open blobs; lent to one job at a time. */
struct kit {
	struct kit *next;
	struct pbs_coder *coder;
	struct buf blob;
};

struct chunks {
	struct ranged r;
	struct pbs_chunks how;
	char *name;
	struct pool *pool;
	size_t largest;         /* chunk of the index */
	pthread_mutex_t mu;     /* over the slots and what follows */
	struct slot slot[SLOTS];
	uint64_t held;          /* bytes that slots have */
	uint64_t limit;
	uint64_t clock;
	size_t last;            /* chunk that was read last */
	size_t streak;          /* chunks to fetch ahead by habit */
	uint64_t from, to;      /* what was announced */
	const struct slot *pin; /* the one being read */
	pthread_mutex_t kit_mu; /* over kits and counts */
	struct kit *kits;
	uint64_t count, bytes;
};

/* ---- jobs ---- */

static struct kit *
kit_take(struct chunks *g, struct err *e)
{
	struct kit *k;

	pthread_mutex_lock(&g->kit_mu);
	if ((k = g->kits) != NULL)
		g->kits = k->next;
	pthread_mutex_unlock(&g->kit_mu);
	if (k != NULL)
		return k;
	if ((k = calloc(1, sizeof(*k))) == NULL) {
		err_oom(e);
		return NULL;
	}
	buf_init(&k->blob, PBS_BLOB_MAX);
	if ((k->coder = pbs_coder_new(g->how.crypt, 0, e)) == NULL) {
		free(k);
		return NULL;
	}
	return k;
}

static void
kit_give(struct chunks *g, struct kit *k, size_t fetched)
{
	pthread_mutex_lock(&g->kit_mu);
	k->next = g->kits;
	g->kits = k;
	g->bytes += fetched;
	g->count++;
	pthread_mutex_unlock(&g->kit_mu);
}

static void
kit_free(struct kit *k)
{
	pbs_coder_free(k->coder);
	buf_fini(&k->blob);
	free(k);
}

/* Lost bytes are zeros where that is wanted. */
static int
salvage(struct slot *s)
{
	struct chunks *g = s->g;

	if (!g->how.damaged || s->e.code != CALA_INTEGRITY)
		return -1;
	log_warn(g->how.log, "%s", s->e.msg);
	err_clear(&s->e);
	memset(s->p, 0, s->len);
	return 0;
}

static void
run(struct job *j)
{
	struct slot *s = (struct slot *)j;
	struct chunks *g = s->g;
	const unsigned char *digest = pbs_index_digest(g->how.index, s->i);
	struct kit *k = kit_take(g, &s->e);

	s->ret = -1;
	if (k == NULL)
		return;
	buf_reset(&k->blob);
	/* As much at once as a blob can be that does not compress. */
	if (k->blob.cap <= s->len + PBS_BLOB_ROOM) {
		buf_fini(&k->blob);
		buf_init(&k->blob, PBS_BLOB_MAX);
	}
	(void)buf_room(&k->blob, s->len + PBS_BLOB_ROOM);
	if (g->how.fetch(g->how.arg, digest, &k->blob, &s->e) == 0 &&
	    buf_failed(&k->blob, &s->e) == 0)
		s->ret = pbs_chunk_open(k->coder, k->blob.p, k->blob.len,
		    digest, s->p, s->len, &s->e);
	kit_give(g, k, k->blob.len);
	if (s->ret == -1) {
		err_ctx(&s->e, "%s: chunk %zu", g->name, s->i);
		s->ret = salvage(s);
	}
}

/* ---- slots ---- */

static void
finish(struct chunks *g, struct slot *s)
{
	if (!s->busy)
		return;
	pool_wait(g->pool, &s->job);
	s->busy = false;
}

/* What it holds is not wanted any more; its memory may be. */
static void
drop(struct slot *s)
{
	s->used = false;
}

static void
release(struct chunks *g, struct slot *s)
{
	g->held -= s->room;
	free(s->p);
	s->p = NULL;
	s->room = 0;
}

/* The slot of chunk i, or of another one with the same bytes. */
static struct slot *
look(struct chunks *g, size_t i)
{
	const struct pbs_index *ix = g->how.index;
	const unsigned char *digest = pbs_index_digest(ix, i);
	size_t k, len = pbs_index_length(ix, i);

	for (k = 0; k < SLOTS; k++) {
		struct slot *s = &g->slot[k];

		if (s->used && (s->i == i || (s->len == len &&
		    memcmp(pbs_index_digest(ix, s->i), digest,
		    PBS_DIGEST) == 0)))
			return s;
	}
	return NULL;
}

/*
 * The one to do without: of those that are there and not wanted (between first
 * and last), the one that was not used for longest.
 */
static struct slot *
victim(struct chunks *g, size_t first, size_t last)
{
	struct slot *old = NULL;
	size_t k;

	for (k = 0; k < SLOTS; k++) {
		struct slot *s = &g->slot[k];

		if (!s->used || s == g->pin ||
		    (s->i >= first && s->i <= last) ||
		    (s->busy && !pool_done(g->pool, &s->job)))
			continue;
		if (old == NULL || s->stamp < old->stamp)
			old = s;
	}
	return old;
}

/*
 * A slot that is not in use, for len bytes: one whose memory fits, or one that
 * may have some; memory that lies idle goes first.
 */
static struct slot *
vacant(struct chunks *g, size_t len)
{
	struct slot *fits = NULL, *any = NULL;
	size_t k;

	for (k = 0; k < SLOTS; k++) {
		struct slot *s = &g->slot[k];

		if (s->used)
			continue;
		if (s->room >= len && (fits == NULL || s->room < fits->room))
			fits = s;
		any = s;
	}
	if (fits != NULL && fits->room / 2 <= len)
		return fits;
	for (k = 0; k < SLOTS && g->held + len > g->limit; k++)
		if (!g->slot[k].used)
			release(g, &g->slot[k]);
	if (any == NULL || g->held - any->room + len > g->limit)
		return NULL;
	release(g, any);
	return any;
}

/* Wait for the one that was begun first, if any is under way. */
static bool
wait_any(struct chunks *g)
{
	struct slot *old = NULL;
	size_t k;

	for (k = 0; k < SLOTS; k++)
		if (g->slot[k].used && g->slot[k].busy &&
		    (old == NULL || g->slot[k].stamp < old->stamp))
			old = &g->slot[k];
	if (old != NULL)
		finish(g, old);
	return old != NULL;
}

/*
 * Room for a chunk of len bytes while those from first to last are wanted.  must:
 * at any price.
 */
static struct slot *
room(struct chunks *g, size_t len, size_t first, size_t last, bool must)
{
	struct slot *s;

	while ((s = vacant(g, len)) == NULL) {
		struct slot *old = victim(g, first, last);

		if (old == NULL && must) {
			if (wait_any(g))
				continue;
			old = victim(g, 1, 0);
		}
		if (old == NULL)
			return NULL;
		finish(g, old);
		drop(old);
	}
	return s;
}

/*
 * Have chunk i fetched.  0; 1: no room now; -1.
 */
static int
begin(struct chunks *g, size_t i, size_t last, bool must, struct err *e)
{
	size_t len = pbs_index_length(g->how.index, i);
	struct slot *s;
	unsigned char *p;

	if (look(g, i) != NULL)
		return 0;
	if ((s = room(g, len, must ? i : g->last, last, must)) == NULL)
		return 1;
	if (s->room < len) {
		if ((p = malloc(len)) == NULL)
			return err_oom(e);
		s->p = p;
		s->room = len;
		g->held += len;
	}
	s->job.run = run;
	s->g = g;
	s->used = s->busy = true;
	s->i = i;
	s->len = len;
	s->stamp = ++g->clock;
	err_clear(&s->e);
	pool_submit(g->pool, &s->job);
	return 0;
}

/* ---- reading ---- */

/* The last chunk to fetch now, when the bytes [off, off + n) are read at i. */
static size_t
horizon(struct chunks *g, size_t i, uint64_t off, uint64_t n)
{
	const struct pbs_index *ix = g->how.index;
	size_t last = pbs_index_find(ix, off + n - 1), habit;

	if (g->how.whole)
		return ix->n - 1;
	if (i == g->last + 1)
		g->streak = g->streak == 0 ? 1 : 2 * g->streak;
	else if (i != g->last)
		g->streak = 0;
	if (off >= g->from && off < g->to) {
		habit = pbs_index_find(ix, g->to - 1);
	} else {
		if (g->streak > SLOTS)
			g->streak = SLOTS;
		habit = g->streak < ix->n - i ? i + g->streak : ix->n - 1;
	}
	return habit > last ? habit : last;
}

/* The chunk i, whole, and what follows under way. */
static struct slot *
get(struct chunks *g, size_t i, uint64_t off, uint64_t n, struct err *e)
{
	size_t last = horizon(g, i, off, n), k;
	struct slot *s;

	g->last = i;
	g->pin = NULL;
	if (begin(g, i, last, true, e) == -1)
		return NULL;
	g->pin = s = look(g, i);
	s->stamp = ++g->clock;
	for (k = i + 1; k <= last; k++) {
		int r = begin(g, k, last, false, e);

		if (r == -1)
			return NULL;
		if (r == 1)
			break;
	}
	finish(g, s);
	if (s->ret == 0)
		return s;
	*e = s->e;
	/* It may be there when it is asked for again. */
	g->pin = NULL;
	drop(s);
	return NULL;
}

static int
c_read(struct ranged *r, void *v, size_t n, uint64_t off, struct err *e)
{
	struct chunks *g = (struct chunks *)r;
	const struct pbs_index *ix = g->how.index;
	unsigned char *p = v;
	struct slot *s;
	size_t i, k;
	int ret = 0;

	pthread_mutex_lock(&g->mu);
	while (n > 0) {
		i = pbs_index_find(ix, off);
		if ((s = get(g, i, off, n, e)) == NULL) {
			ret = -1;
			break;
		}
		k = (size_t)(off - pbs_index_start(ix, i));
		if (s->len - k < n) {
			memcpy(p, s->p + k, s->len - k);
			k = s->len - k;
		} else {
			memcpy(p, s->p + k, n);
			k = n;
		}
		p += k;
		off += k;
		n -= k;
	}
	/* ranged_read() counted what was asked for; we count what comes */
	pthread_mutex_lock(&g->kit_mu);
	r->fetched = g->bytes;
	pthread_mutex_unlock(&g->kit_mu);
	pthread_mutex_unlock(&g->mu);
	return ret;
}

static void
c_expect(struct ranged *r, uint64_t off, uint64_t n)
{
	struct chunks *g = (struct chunks *)r;

	pthread_mutex_lock(&g->mu);
	g->from = off;
	g->to = off + n;
	pthread_mutex_unlock(&g->mu);
}

static void
c_close(struct ranged *r)
{
	struct chunks *g = (struct chunks *)r;
	struct kit *k;
	size_t i;

	/* Jobs under way end first. */
	pool_free(g->pool);
	while ((k = g->kits) != NULL) {
		g->kits = k->next;
		kit_free(k);
	}
	for (i = 0; i < SLOTS; i++)
		free(g->slot[i].p);
	pthread_mutex_destroy(&g->mu);
	pthread_mutex_destroy(&g->kit_mu);
	free(g->name);
	free(g);
}

uint64_t
pbs_chunks_count(const struct ranged *r)
{
	return ((const struct chunks *)r)->count;
}

struct ranged *
pbs_chunks(const struct pbs_chunks *how, struct err *e)
{
	static const struct ranged_ops ops = { c_read, c_close };
	const struct pbs_index *ix = how->index;
	struct chunks *g = calloc(1, sizeof(*g));
	unsigned jobs = how->jobs != 0 ? how->jobs : JOBS;
	uint64_t avg;
	size_t i, len;

	if (g == NULL) {
		err_oom(e);
		return NULL;
	}
	pthread_mutex_init(&g->mu, NULL);
	pthread_mutex_init(&g->kit_mu, NULL);
	g->r.ops = &ops;
	g->r.size = ix->size;
	g->r.expect = c_expect;
	g->how = *how;
	for (i = 0; i < ix->n; i++)
		if ((len = pbs_index_length(ix, i)) > g->largest)
			g->largest = len;
	g->limit = how->memory != 0 ? how->memory : MEMORY;
	if (g->limit < 2 * g->largest)
		g->limit = 2 * g->largest;
	g->last = SIZE_MAX - 1;
	/* Blobs under way come on top: about half as much again at most. */
	avg = ix->n > 0 ? ix->size / ix->n + 1 : 1;
	if (jobs > g->limit / (2 * avg))
		jobs = g->limit / (2 * avg) > 0 ?
		    (unsigned)(g->limit / (2 * avg)) : 1;
	if ((g->name = strdup(how->name)) == NULL)
		err_oom(e);
	else
		g->pool = pool_new(jobs, e);
	if (g->pool == NULL) {
		c_close(&g->r);
		return NULL;
	}
	return &g->r;
}
