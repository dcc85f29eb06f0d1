/*
 * upload: see upload.h.
 *
 * The thread that writes fills one chunk a stream, finds where it ends, and
 * hands it to the pool.  A worker hashes it, asks the stream's table whether the
 * server has it, and if not makes a blob of it and hands that to the session.
 * The writing thread takes what has ended from the head of the stream's queue,
 * in order, into the index.  Everything but work() and the tables runs in that
 * thread.
 */

#include "pbs/upload.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/pool.h"
#include "base/probe.h"
#include "base/stop.h"
#include "chunk/buzhash.h"
#include "chunk/cut.h"
#include "pbs/backup.h"
#include "pbs/blob.h"
#include "pbs/digests.h"
#include "pbs/index.h"
#include "pbs/slab.h"

enum {
	AVG = 4 << 20,
	MEMORY = 26 << 20,
	STEP = 256 << 10,       /* bytes after which a cut is looked for */
	BATCH = 120,            /* entries of one append, as Proxmox's client */
	QUEUE = 512,            /* chunks under way, of a stream */
	GAIN = 250,             /* of 256: not worth compressing */
	JOBS_MAX = 64
};

struct pbs_upload {
	struct pbs_upload_how how;
	struct pool *pool;
	struct slabs slabs;
	unsigned nworkers, nfree;
	struct pbs_coder *coder[JOBS_MAX + 1];
	/* of all threads: */
	pthread_mutex_t mu;
	unsigned idle[JOBS_MAX + 1];
	uint64_t held;          /* bytes of chunks and blobs under way */
	bool ending;            /* nothing more is worth doing */
};

/*
 * A chunk on its way.  Ended: the job has run, and what was sent is confirmed.
 */
struct piece {
	struct job job;
	struct stream *s;
	struct piece *next;
	unsigned refs;          /* the queue, and those that are the same */
	struct slab *raw;       /* NULL: only its digest is needed */
	size_t n;
	unsigned char digest[PBS_DIGEST];
	struct pbs_blob blob;
	struct slab *zipped;    /* the blob's body; NULL: it is in raw */
	bool has_job, known, claimed, sent, ended;
	struct piece *same;     /* sends it for us */
	struct pbs_chunk out;
	int ret;
	struct err e;
};

struct stream {
	struct sink sink;
	struct pbs_upload *u;
	struct pbs_stream_how how;
	struct pbs_writer to;
	bool open;
	struct digests *known;  /* under u->mu */
	struct slab *cur;
	size_t fill, seen;      /* in cur; searched for a cut so far */
	uint64_t at;            /* of cur, in the whole */
	struct cut cut;
	struct cut_state state;
	struct buzhash buz;
	struct paycut *pay;
	struct piece *head, **tail;
	unsigned queued;
	/* the index */
	struct sha256 *sha;
	struct pbs_stream_sum sum;
	unsigned char digest[BATCH][PBS_DIGEST];
	uint64_t start[BATCH];
	size_t nbatch;
	struct pbs_append append;
	bool appending;
};

/* ---- memory ---- */

static void
hold(struct pbs_upload *u, uint64_t more, uint64_t less)
{
	pthread_mutex_lock(&u->mu);
	u->held = u->held + more - less;
	pthread_mutex_unlock(&u->mu);
}

static uint64_t
held(struct pbs_upload *u)
{
	uint64_t n;

	pthread_mutex_lock(&u->mu);
	n = u->held;
	pthread_mutex_unlock(&u->mu);
	return n;
}

/* ---- the session's workers ---- */

struct pbs_upload *
pbs_upload_new(const struct pbs_upload_how *how, struct err *e)
{
	struct pbs_upload *u = calloc(1, sizeof(*u));
	unsigned i, n = how->jobs > 0 ? how->jobs : pool_cores();

	if (u == NULL) {
		err_oom(e);
		return NULL;
	}
	pthread_mutex_init(&u->mu, NULL);
	slabs_init(&u->slabs);
	u->how = *how;
	if (u->how.memory == 0)
		u->how.memory = MEMORY;
	if (n > JOBS_MAX)
		n = JOBS_MAX;
	/* One more: the writing thread works, too, rather than wait. */
	u->nworkers = n + 1;
	for (i = 0; i < u->nworkers; i++) {
		u->coder[i] = pbs_coder_new(how->crypt, 0, e);
		if (u->coder[i] == NULL)
			goto bad;
		u->idle[u->nfree++] = i;
	}
	if ((u->pool = pool_new(n == 1 ? 0 : n, e)) == NULL)
		goto bad;
	return u;
bad:
	pbs_upload_free(u);
	return NULL;
}

void
pbs_upload_free(struct pbs_upload *u)
{
	unsigned i;

	if (u == NULL)
		return;
	pool_free(u->pool);
	for (i = 0; i < u->nworkers; i++)
		pbs_coder_free(u->coder[i]);
	slabs_fini(&u->slabs);
	pthread_mutex_destroy(&u->mu);
	free(u);
}

/* ---- one chunk, on any thread ---- */

/* 1: the server has it, or gets it from another; 0: we send it; -1. */
static int
claim(struct piece *p)
{
	struct pbs_upload *u = p->s->u;
	void *owner = NULL;
	int ret;

	pthread_mutex_lock(&u->mu);
	ret = digests_claim(p->s->known, p->digest, p, &owner, &p->e);
	if (ret == 1 && owner != NULL) {
		p->same = owner;
		p->same->refs++;
	}
	pthread_mutex_unlock(&u->mu);
	return ret;
}

/* The blob is made: what is in memory for it is what counts from now on. */
static void
swap(struct piece *p, struct slab *body)
{
	struct pbs_upload *u = p->s->u;

	slab_fit(body, p->blob.nbody);
	hold(u, body->used, p->raw->used);
	slab_give(&u->slabs, p->raw);
	p->raw = NULL;
	p->zipped = body;
}

static int
encode(struct piece *p, struct pbs_coder *k)
{
	struct pbs_upload *u = p->s->u;
	struct slab *spare = NULL;
	int ret;

	/* Where nothing is gained, nothing is copied either. */
	if (probe_left(p->raw->p, p->n) < GAIN &&
	    (spare = slab_take(&u->slabs, &p->e)) == NULL)
		return -1;
	ret = pbs_blob_pack(k, p->raw->p, p->n, spare != NULL ? spare->p :
	    NULL, &p->blob, &p->e);
	if (spare == NULL)
		return ret;
	if (ret == 0 && p->blob.body == spare->p) {
		swap(p, spare);
		return 0;
	}
	slab_used(spare, p->n);
	slab_give(&u->slabs, spare);
	return ret;
}

static int
work(struct piece *p, struct pbs_coder *coder)
{
	struct pbs_upload *u = p->s->u;
	int k;

	pbs_coder_digest(coder, p->raw->p, p->n, p->digest);
	if ((k = claim(p)) == -1)
		return -1;
	p->claimed = k == 0;
	if (k == 1) {
		p->known = true;
		hold(u, 0, p->raw->used);
		slab_give(&u->slabs, p->raw);
		p->raw = NULL;
		return 0;
	}
	if (encode(p, coder) == -1)
		return -1;
	p->out.to = &p->s->to;
	memcpy(p->out.digest, p->digest, PBS_DIGEST);
	p->out.size = p->n;
	p->out.blob[0].iov_base = p->blob.head;
	p->out.blob[0].iov_len = p->blob.nhead;
	p->out.blob[1].iov_base = p->blob.body;
	p->out.blob[1].iov_len = p->blob.nbody;
	p->out.nblob = 2;
	if (pbs_chunk_send(u->how.session, &p->out, &p->e) == -1)
		return -1;
	p->sent = true;
	return 0;
}

static void
run(struct job *j)
{
	struct piece *p = (struct piece *)j;
	struct pbs_upload *u = p->s->u;
	unsigned i;
	bool ending;

	pthread_mutex_lock(&u->mu);
	i = u->idle[--u->nfree];
	ending = u->ending;
	pthread_mutex_unlock(&u->mu);
	p->ret = ending || stop_check(&p->e) == -1 ? -1 :
	    work(p, u->coder[i]);
	pthread_mutex_lock(&u->mu);
	u->idle[u->nfree++] = i;
	pthread_mutex_unlock(&u->mu);
}

/* ---- the queue of a stream ---- */

/* Its bytes are needed no more. */
static void
piece_bare(struct pbs_upload *u, struct piece *p)
{
	if (p->zipped != NULL) {
		hold(u, 0, p->zipped->used);
		slab_give(&u->slabs, p->zipped);
		p->zipped = NULL;
	}
	if (p->raw != NULL) {
		hold(u, 0, p->raw->used);
		slab_give(&u->slabs, p->raw);
		p->raw = NULL;
	}
}

/* Wait until it has run, and is confirmed; once. */
static int
settle(struct stream *s, struct piece *p, struct err *e)
{
	struct pbs_upload *u = s->u;

	if (p->ended) {
		if (p->ret == -1)
			*e = p->e;
		return p->ret;
	}
	if (p->has_job) {
		while (!pool_done(u->pool, &p->job))
			if (!pool_help(u->pool))
				pool_wait(u->pool, &p->job);
	}
	p->ended = true;
	if (p->sent) {
		struct err why = ERR_INIT;

		if (pbs_chunk_wait(u->how.session, &p->out, &why) == -1) {
			p->ret = -1;
			p->e = why;
		}
		s->sum.sent += p->blob.nhead + p->blob.nbody;
	}
	if (p->claimed) {
		/* From now on nobody else gets hold of it. */
		pthread_mutex_lock(&u->mu);
		digests_done(s->known, p->digest);
		pthread_mutex_unlock(&u->mu);
	}
	piece_bare(u, p);
	if (p->ret == -1)
		*e = p->e;
	return p->ret;
}

static void
piece_drop(struct stream *s, struct piece *p)
{
	struct pbs_upload *u = s->u;
	unsigned refs;

	pthread_mutex_lock(&u->mu);
	refs = --p->refs;
	pthread_mutex_unlock(&u->mu);
	if (refs > 0)
		return;
	piece_bare(u, p);
	free(p);
}

static int
append_end(struct stream *s, struct err *e)
{
	if (!s->appending)
		return 0;
	s->appending = false;
	return pbs_append_wait(s->u->how.session, &s->append, e);
}

/* One append at a time: the server wants them in order. */
static int
append(struct stream *s, struct err *e)
{
	if (s->nbatch == 0)
		return 0;
	if (append_end(s, e) == -1)
		return -1;
	memset(&s->append, 0, sizeof(s->append));
	s->append.to = &s->to;
	s->append.n = s->nbatch;
	s->append.digest = s->digest;
	s->append.start = s->start;
	if (pbs_append_send(s->u->how.session, &s->append, e) == -1)
		return -1;
	s->appending = true;
	s->nbatch = 0;
	return 0;
}

static int
enter(struct stream *s, const struct piece *p, struct err *e)
{
	uint64_t end;

	if (!u64_add(s->sum.size, p->n, &end))
		return err_set(e, CALA_FAIL, "%s: too large", s->how.name);
	if (s->nbatch == BATCH && append(s, e) == -1)
		return -1;
	memcpy(s->digest[s->nbatch], p->digest, PBS_DIGEST);
	s->start[s->nbatch++] = s->sum.size;
	s->sum.size = end;
	s->sum.chunks++;
	if (p->known) {
		s->sum.known++;
		s->sum.known_size += p->n;
	}
	pbs_csum_add(s->sha, end, p->digest);
	return 0;
}

/* The oldest, waited for, into the index. */
static int
take_head(struct stream *s, struct err *e)
{
	struct piece *p = s->head, *same;
	int ret;

	ret = settle(s, p, e);
	if ((same = p->same) != NULL) {
		/* It may be behind us, but must be there before we name it. */
		if (ret == 0)
			ret = settle(s, same, e);
		piece_drop(s, same);
		p->same = NULL;
	}
	if (ret == 0)
		ret = enter(s, p, e);
	s->head = p->next;
	if (s->head == NULL)
		s->tail = &s->head;
	s->queued--;
	piece_drop(s, p);
	return ret;
}

static bool
ready(struct stream *s, struct piece *p)
{
	struct pbs_upload *u = s->u;

	if (p->ended)
		return true;
	if (p->has_job && !pool_done(u->pool, &p->job))
		return false;
	return !p->sent || pbs_chunk_poll(u->how.session, &p->out);
}

/* What has ended, without waiting. */
static int
poll_head(struct stream *s, struct err *e)
{
	while (s->head != NULL && ready(s, s->head) &&
	    (s->head->same == NULL || ready(s, s->head->same)))
		if (take_head(s, e) == -1)
			return -1;
	return 0;
}

static void
enqueue(struct stream *s, struct piece *p)
{
	p->refs = 1;
	p->s = s;
	p->next = NULL;
	*s->tail = p;
	s->tail = &p->next;
	s->queued++;
}

static int
begin(struct stream *s, struct err *e)
{
	if (s->open)
		return 0;
	if (pbs_writer_open(s->u->how.session, &s->to, s->how.name, e) == -1)
		return -1;
	s->open = true;
	return 0;
}

/* The first n bytes of cur are a chunk. */
static int
ship(struct stream *s, size_t n, struct err *e)
{
	struct pbs_upload *u = s->u;
	struct slab *rest = NULL;
	struct piece *p;

	if (begin(s, e) == -1 || poll_head(s, e) == -1)
		return -1;
	/* Ours alone are waited for: the other streams' are few and small. */
	while (s->head != NULL && (s->queued >= QUEUE ||
	    held(u) + n > u->how.memory))
		if (take_head(s, e) == -1)
			return -1;
	if ((p = calloc(1, sizeof(*p))) == NULL)
		return err_oom(e);
	if (s->fill > n && (rest = slab_take(&u->slabs, e)) == NULL) {
		free(p);
		return -1;
	}
	if (rest != NULL) {
		memcpy(rest->p, s->cur->p + n, s->fill - n);
		slab_used(rest, s->fill - n);
	}
	p->raw = s->cur;
	p->n = n;
	p->has_job = true;
	p->job.run = run;
	s->cur = rest;
	s->at += n;
	s->fill -= n;
	s->seen = 0;
	memset(&s->state, 0, sizeof(s->state));
	slab_fit(p->raw, n);
	hold(u, p->raw->used, 0);
	enqueue(s, p);
	pool_submit(u->pool, &p->job);
	return 0;
}

/* ---- filling ---- */

/* Where the chunk at the beginning of cur ends; 0: not in what is there. */
static int
find(struct stream *s, bool end, size_t *n, struct err *e)
{
	size_t k;

	*n = 0;
	switch (s->how.cut) {
	case PBS_CUT_FASTCDC:
		*n = cut_fastcdc_more(&s->cut, &s->state, s->cur->p,
		    s->fill < s->cut.max ? s->fill : s->cut.max);
		break;
	case PBS_CUT_BUZHASH:
		k = buzhash_scan(&s->buz, s->cur->p + s->seen,
		    s->fill - s->seen);
		*n = k > 0 ? s->seen + k : 0;
		s->seen = s->fill;
		break;
	case PBS_CUT_PAYLOAD:
		if (paycut_next(s->pay, s->cur->p, s->fill, end, n, e) == -1)
			return -1;
		s->seen = s->fill;
		return 0;
	}
	s->seen = s->fill;
	if (*n == 0 && end) {
		*n = s->fill;
		buzhash_reset(&s->buz);
	}
	return 0;
}

/* Ship all that is cut off; end: and what is left. */
static int
cut(struct stream *s, bool end, struct err *e)
{
	size_t n;

	while (s->fill > 0) {
		if (find(s, end, &n, e) == -1)
			return -1;
		if (n == 0)
			return 0;
		if (ship(s, n, e) == -1)
			return -1;
	}
	return 0;
}

static size_t
most(const struct stream *s)
{
	return 4 * (s->how.avg != 0 ? s->how.avg : AVG);
}

static void *
stream_space(struct sink *sink, size_t *n, struct err *e)
{
	struct stream *s = (struct stream *)sink;

	if (s->cur == NULL && (s->cur = slab_take(&s->u->slabs, e)) == NULL)
		return NULL;
	*n = most(s) - s->fill;
	if (*n > STEP)
		*n = STEP;
	return s->cur->p + s->fill;
}

static int
stream_used(struct sink *sink, size_t n, struct err *e)
{
	struct stream *s = (struct stream *)sink;

	s->fill += n;
	slab_used(s->cur, s->fill);
	return s->fill - s->seen >= STEP || s->fill == most(s) ?
	    cut(s, false, e) : 0;
}

int
pbs_stream_suggest(struct sink *sink, uint64_t pos, struct err *e)
{
	return paycut_suggest(((struct stream *)sink)->pay, pos, e);
}

static int
put_in(struct stream *s, const struct pbs_index *ix, size_t i, struct err *e)
{
	struct piece *p;

	while (s->queued >= QUEUE)
		if (take_head(s, e) == -1)
			return -1;
	if ((p = calloc(1, sizeof(*p))) == NULL)
		return err_oom(e);
	p->n = pbs_index_length(ix, i);
	p->known = true;
	memcpy(p->digest, pbs_index_digest(ix, i), PBS_DIGEST);
	enqueue(s, p);
	return 0;
}

int
pbs_stream_inject(struct sink *sink, const struct pbs_index *ix, size_t first,
    size_t n, struct err *e)
{
	struct stream *s = (struct stream *)sink;
	uint64_t from, size;
	size_t i, len = 0;

	if (n == 0)
		return 0;
	from = pbs_index_start(ix, first);
	size = pbs_index_start(ix, first + n - 1) +
	    pbs_index_length(ix, first + n - 1) - from;
	/* The chunk at hand ends here; so the boundary is where we are. */
	if (begin(s, e) == -1 || cut(s, true, e) == -1 ||
	    paycut_inject(s->pay, s->at, size, e) == -1 ||
	    paycut_next(s->pay, NULL, 0, false, &len, e) == -1)
		return -1;
	s->at += size;
	for (i = first; i < first + n; i++)
		if (put_in(s, ix, i, e) == -1)
			return -1;
	return 0;
}

static int
stream_commit(struct sink *sink, struct err *e)
{
	struct stream *s = (struct stream *)sink;

	if (cut(s, true, e) == -1)
		return -1;
	while (s->head != NULL)
		if (take_head(s, e) == -1)
			return -1;
	if (append(s, e) == -1 || append_end(s, e) == -1)
		return -1;
	if (!s->open)
		return err_set(e, CALA_FAIL, "%s: it has no bytes",
		    s->how.name);
	sha256_end(s->sha, s->sum.csum);
	return pbs_writer_close(s->u->how.session, &s->to, s->sum.chunks,
	    s->sum.size, s->sum.csum, e);
}

static void
stream_abort(struct sink *sink)
{
	struct stream *s = (struct stream *)sink;
	struct err ignored = ERR_INIT;
	struct piece *p;

	pthread_mutex_lock(&s->u->mu);
	s->u->ending = s->u->ending || !sink->committed;
	pthread_mutex_unlock(&s->u->mu);
	/* What others send for us ends with the queue: two rounds. */
	for (p = s->head; p != NULL; p = p->next)
		(void)settle(s, p, &ignored);
	while ((p = s->head) != NULL) {
		s->head = p->next;
		if (p->same != NULL)
			piece_drop(s, p->same);
		piece_drop(s, p);
	}
	(void)append_end(s, &ignored);
	if (s->cur != NULL)
		slab_give(&s->u->slabs, s->cur);
	digests_free(s->known);
	paycut_free(s->pay);
	sha256_free(s->sha);
	free(s);
}

struct sink *
pbs_stream(struct pbs_upload *u, const struct pbs_stream_how *how,
    struct err *e)
{
	static const struct sink_ops ops = { stream_space, stream_used, NULL,
	    stream_commit, stream_abort };
	struct stream *s = calloc(1, sizeof(*s));
	size_t avg = how->avg != 0 ? how->avg : AVG, i;

	if (s == NULL) {
		err_oom(e);
		return NULL;
	}
	s->sink.ops = &ops;
	s->u = u;
	s->how = *how;
	s->tail = &s->head;
	cut_fastcdc_exact(&s->cut, avg / 4, avg, 4 * avg);
	buzhash_init(&s->buz, avg);
	if ((s->sha = sha256_new(e)) == NULL ||
	    (s->pay = paycut_new(avg, e)) == NULL ||
	    (s->known = digests_new(e)) == NULL)
		goto bad;
	for (i = 0; how->before != NULL && i < how->before->n; i++)
		if (digests_claim(s->known, pbs_index_digest(how->before, i),
		    NULL, NULL, e) == -1)
			goto bad;
	return &s->sink;
bad:
	stream_abort(&s->sink);
	return NULL;
}

void
pbs_stream_sum(const struct sink *sink, struct pbs_stream_sum *out)
{
	*out = ((const struct stream *)sink)->sum;
}
