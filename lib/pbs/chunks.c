/*
 * A reader asks for bytes; the chunks that hold them are fetched and opened by
 * a pool, each into a slot.  How far ahead is decided by what is known: all of
 * the read itself, all that was announced (ranged_expect), everything when it
 * is read from front to back; without any of that twice as many chunks as before
 * each time that a chunk is followed by the next one.
 *
 * Slots belong to the readers' side (under the lock); while a job is under way
 * its slot's bytes are the job's.  Chunks, and blobs while they are fetched, are
 * in one arena, which is as large as all of them may be.
 */

#include "pbs/chunks.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/str.h"
#include "pbs/arena.h"
#include "pbs/blob.h"
#include "pbs/index.h"

enum {
	JOBS = 4,
	SLOTS = 64,
	MEMORY = 48 << 20
};

/* About what all slots can use. */
#define MEMORY_MAX ((uint64_t)2 << 30)

struct chunks;

struct slot {
	struct job job;
	struct chunks *g;
	bool used;              /* holds, or will hold, the chunk i */
	bool busy;              /* not waited for since it was submitted */
	size_t i;
	uint64_t stamp;         /* of its last use */
	struct span bytes;
	struct span blob;       /* until the job is done */
	int ret;
	struct err e;
};

/* What a thread needs to open blobs; lent to one job at a time. */
struct kit {
	struct kit *next;
	struct pbs_coder *coder;
};

struct chunks {
	struct ranged r;
	struct pbs_chunks how;
	char *name;
	struct pool *pool;
	pthread_mutex_t mu;     /* over the slots and what follows */
	struct slot slot[SLOTS];
	uint64_t clock;
	size_t last;            /* chunk that was read last */
	size_t streak;          /* chunks to fetch ahead by habit */
	uint64_t from, to;      /* what was announced */
	const struct slot *pin; /* the one being read */
	pthread_mutex_t job_mu; /* over what jobs share */
	struct arena arena;
	struct kit *kits;
	uint64_t count, bytes;
};

/* ---- jobs ---- */

/* The longest blob of a chunk of len bytes, and a NUL behind it. */
static size_t
blob_most(size_t len)
{
	return ZSTD_COMPRESSBOUND(len) + PBS_BLOB_ROOM + 1;
}

static struct kit *
kit_take(struct chunks *g, struct err *e)
{
	struct kit *k;

	pthread_mutex_lock(&g->job_mu);
	if ((k = g->kits) != NULL)
		g->kits = k->next;
	pthread_mutex_unlock(&g->job_mu);
	if (k != NULL)
		return k;
	if ((k = calloc(1, sizeof(*k))) == NULL) {
		err_oom(e);
		return NULL;
	}
	if ((k->coder = pbs_coder_new(g->how.crypt, 0, e)) == NULL) {
		free(k);
		return NULL;
	}
	return k;
}

/* The job is done with k (or has none) and with the blob, of n bytes. */
static void
job_end(struct chunks *g, struct slot *s, struct kit *k, size_t n)
{
	pthread_mutex_lock(&g->job_mu);
	if (k != NULL) {
		k->next = g->kits;
		g->kits = k;
		g->bytes += n;
		g->count++;
	}
	arena_give(&g->arena, &s->blob);
	pthread_mutex_unlock(&g->job_mu);
}

static void
kit_free(struct kit *k)
{
	pbs_coder_free(k->coder);
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
	memset(s->bytes.p, 0, s->bytes.len);
	return 0;
}

static void
run(struct job *j)
{
	struct slot *s = (struct slot *)j;
	struct chunks *g = s->g;
	const unsigned char *digest = pbs_index_digest(g->how.index, s->i);
	struct kit *k = kit_take(g, &s->e);
	struct buf blob;

	s->ret = -1;
	buf_over(&blob, s->blob.p, s->blob.len);
	if (k != NULL && g->how.fetch(g->how.arg, digest, &blob, &s->e) == 0 &&
	    buf_failed(&blob, &s->e) == 0)
		s->ret = pbs_chunk_open(k->coder, blob.p, blob.len, digest,
		    s->bytes.p, s->bytes.len, &s->e);
	job_end(g, s, k, blob.len);
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

/* What it holds is not wanted any more. */
static void
drop(struct chunks *g, struct slot *s)
{
	s->used = false;
	pthread_mutex_lock(&g->job_mu);
	arena_give(&g->arena, &s->bytes);
	pthread_mutex_unlock(&g->job_mu);
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

		if (s->used && (s->i == i || (s->bytes.len == len &&
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

/* A slot that is not in use, with memory for len bytes and their blob. */
static struct slot *
vacant(struct chunks *g, size_t len)
{
	struct slot *s = NULL;
	bool have;
	size_t k;

	for (k = 0; k < SLOTS && s == NULL; k++)
		if (!g->slot[k].used)
			s = &g->slot[k];
	if (s == NULL)
		return NULL;
	pthread_mutex_lock(&g->job_mu);
	have = arena_take_end(&g->arena, &s->blob, blob_most(len));
	if (have && !arena_take(&g->arena, &s->bytes, len)) {
		arena_give(&g->arena, &s->blob);
		have = false;
	}
	pthread_mutex_unlock(&g->job_mu);
	return have ? s : NULL;
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
		drop(g, old);
	}
	return s;
}

/* Have chunk i fetched; false: there is no room now. */
static bool
begin(struct chunks *g, size_t i, size_t last, bool must)
{
	size_t len = pbs_index_length(g->how.index, i);
	struct slot *s;

	if (look(g, i) != NULL)
		return true;
	if ((s = room(g, len, must ? i : g->last, last, must)) == NULL)
		return false;
	s->job.run = run;
	s->g = g;
	s->used = s->busy = true;
	s->i = i;
	s->stamp = ++g->clock;
	err_clear(&s->e);
	pool_submit(g->pool, &s->job);
	return true;
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
	/* With nothing else in it the arena has room for any chunk. */
	(void)begin(g, i, last, true);
	g->pin = s = look(g, i);
	s->stamp = ++g->clock;
	for (k = i + 1; k <= last && begin(g, k, last, false); k++)
		;
	finish(g, s);
	if (s->ret == 0)
		return s;
	*e = s->e;
	/* It may be there when it is asked for again. */
	g->pin = NULL;
	drop(g, s);
	return NULL;
}

static int
c_read(struct ranged *r, void *v, size_t n, uint64_t off, struct err *e)
{
	struct chunks *g = (struct chunks *)r;
	const struct pbs_index *ix = g->how.index;
	unsigned char *p = v;
	struct slot *s;
	size_t i, k, have;
	int ret = 0;

	pthread_mutex_lock(&g->mu);
	while (n > 0) {
		i = pbs_index_find(ix, off);
		if ((s = get(g, i, off, n, e)) == NULL) {
			ret = -1;
			break;
		}
		k = (size_t)(off - pbs_index_start(ix, i));
		have = s->bytes.len - k < n ? s->bytes.len - k : n;
		memcpy(p, s->bytes.p + k, have);
		p += have;
		off += have;
		n -= have;
	}
	/* ranged_read() counted what was asked for; we count what comes */
	pthread_mutex_lock(&g->job_mu);
	r->fetched = g->bytes;
	pthread_mutex_unlock(&g->job_mu);
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

	/* Jobs under way end first. */
	pool_free(g->pool);
	while ((k = g->kits) != NULL) {
		g->kits = k->next;
		kit_free(k);
	}
	arena_fini(&g->arena);
	pthread_mutex_destroy(&g->mu);
	pthread_mutex_destroy(&g->job_mu);
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
	uint64_t avg, limit = how->memory != 0 ? how->memory : MEMORY;
	size_t i, len, largest = 0;

	if (g == NULL) {
		err_oom(e);
		return NULL;
	}
	pthread_mutex_init(&g->mu, NULL);
	pthread_mutex_init(&g->job_mu, NULL);
	g->r.ops = &ops;
	g->r.size = ix->size;
	g->r.expect = c_expect;
	g->how = *how;
	for (i = 0; i < ix->n; i++)
		if ((len = pbs_index_length(ix, i)) > largest)
			largest = len;
	if (limit < largest + blob_most(largest))
		limit = largest + blob_most(largest);
	if (limit > MEMORY_MAX)
		limit = MEMORY_MAX;
	g->last = SIZE_MAX - 1;
	/* More would not find room. */
	avg = ix->n > 0 ? ix->size / ix->n + 1 : 1;
	if (jobs > limit / (2 * avg))
		jobs = limit / (2 * avg) > 0 ?
		    (unsigned)(limit / (2 * avg)) : 1;
	if ((g->name = strdup(how->name)) == NULL)
		err_oom(e);
	else if (arena_init(&g->arena, (size_t)limit, e) == 0)
		g->pool = pool_new(jobs, e);
	if (g->pool == NULL) {
		c_close(&g->r);
		return NULL;
	}
	return &g->r;
}
