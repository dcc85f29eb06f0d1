/*
 * download: one object as a stream, by parallel ranges (s3.md 6.4).
 *
 *	workers (range, retry, checksum) -> chunks in order -> reader, prover
 *
 * At most as many ranges are under way ahead of the reader as memory holds;
 * what has come of the range that is due is handed out at once.
 */

#include "s3/download.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "s3/attr.h"

enum { WORKERS_FIRST = 4 };

#define MIB (1ull << 20)

/* ---- workers ---- */

void
download_fail(struct download *d, const struct err *e)
{
	if (!d->failed) {
		d->failed = true;
		d->e = *e;
	}
	atomic_store(&d->cancel, true);
	pthread_cond_broadcast(&d->came);
	pthread_cond_broadcast(&d->hash);
	pthread_cond_broadcast(&d->work);
}

static void *worker(void *);

static int
hire(struct download *d)
{
	sigset_t all, old;
	int ret = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (d->nthreads < d->target && ret == 0)
		if ((ret = pthread_create(&d->thread[d->nthreads], NULL,
		    worker, d)) == 0)
			d->nthreads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return d->nthreads > 0 ? 0 : ret;
}

/* As an upload's: one connection more while that pays. */
static void
pace(struct download *d, uint64_t bytes)
{
	double now = when_mono(), rate;

	if (d->round_ranges == 0) {
		d->round = now;
		d->round_bytes = 0;
		d->waited = false;
	} else {
		d->round_bytes += bytes;
	}
	if (++d->round_ranges <= 2 * d->target || now <= d->round)
		return;
	rate = (double)d->round_bytes / (now - d->round);
	d->round_ranges = 0;
	if (d->probing && rate < 1.05 * d->best) {
		d->probing = false;
		d->target--;
		d->hold = now + 3 * DOWNLOAD_HOLD;
	}
	if (!d->waited || now < d->hold || d->target >= d->jobs_max)
		return;
	d->best = rate;
	d->probing = true;
	d->target++;
	(void)hire(d);
}

/* Where range n > 0 begins, and its length. */
static void
place(const struct download *d, uint64_t n, struct chunk *c)
{
	uint64_t end;

	if (n == 1 && d->lead > d->mid) {
		c->off = d->mid;
		end = d->lead;
	} else {
		c->off = d->lead + (n - (d->lead > d->mid ? 2 : 1)) * d->step;
		end = c->off + d->step;
	}
	c->len = (end < d->end ? end : d->end) - c->off;
}

/* Under the lock: the next range, once there is room for it. */
static struct chunk *
next_chunk(struct download *d)
{
	struct chunk *c = &d->ring[d->next % d->nchunks];
	uint64_t low = d->proving && d->proven < d->due ? d->proven : d->due;

	if (d->next >= d->nranges || d->next - low >= d->nchunks ||
	    d->active >= d->target ||
	    /* no further ahead than connections can use */
	    d->next - d->due > d->target)
		return NULL;
	memset(c, 0, sizeof(*c));
	place(d, d->next, c);
	c->p = d->arena + (d->next % d->nchunks) * d->slot;
	c->a = d->verify != NULL ? verify_piece(d->verify, c->off, c->len) :
	    S3_SUM_NONE;
	d->next++;
	return c;
}

static void *
worker(void *arg)
{
	struct download *d = arg;
	struct err e = ERR_INIT;
	struct chunk *c;
	int ret;

	pthread_mutex_lock(&d->mu);
	while (!d->failed && !d->ended && d->next < d->nranges) {
		if ((c = next_chunk(d)) == NULL) {
			pthread_cond_wait(&d->work, &d->mu);
			continue;
		}
		d->active++;
		pthread_mutex_unlock(&d->mu);
		err_clear(&e);
		ret = fetch_range(d, c, false, &e);
		pthread_mutex_lock(&d->mu);
		d->active--;
		if (ret != 0)
			download_fail(d, &e);
		else
			pace(d, c->len);
		c->done = true;
		pthread_cond_broadcast(&d->came);
		pthread_cond_broadcast(&d->hash);
		pthread_cond_broadcast(&d->work);
	}
	pthread_cond_broadcast(&d->work);
	pthread_mutex_unlock(&d->mu);
	return NULL;
}

/* Nothing to read: an empty object, a beginning behind the end, no length. */
static int
empty(struct download *d, struct err *e)
{
	struct s3_object o;

	if (s3_head(d->s, d->key, &o, e) == -1)
		return -1;
	if (d->o->etag != NULL && strcmp(d->o->etag, o.etag) != 0)
		return err_set(e, CALA_EXISTS, "%s: it is not the one that "
		    "was meant", str_q(d->key));
	if (d->o->off > o.size)
		return err_set(e, CALA_USAGE, "%s: has %" PRIu64 " bytes, "
		    "none at %" PRIu64, str_q(d->key), o.size, d->o->off);
	if (d->o->off < o.size && d->o->len != 0)
		return err_set(e, CALA_INTEGRITY, "%s: the store denies "
		    "bytes that it lists", str_q(d->key));
	d->o->total = d->facts.total = o.size;
	d->end = d->mid = d->o->off;
	memcpy(d->o->got_etag, o.etag, strlen(o.etag) + 1);
	memcpy(d->facts.etag, o.etag, strlen(o.etag) + 1);
	memcpy(d->o->got_version, o.version, strlen(o.version) + 1);
	d->nranges = d->next = d->due = d->proven = 0;
	return 0;
}

/* How many ranges it takes, once it is known where they lie. */
static void
count(struct download *d)
{
	uint64_t from = d->lead < d->end ? d->lead : d->end;

	d->nranges = (from > d->mid ? 2 : 1) + (d->end - from + d->step - 1) /
	    d->step;
}

/*
 * The first range in the thread that asks: a small object needs no other, and
 * everything else depends on what it tells.
 */
static int
first_range(struct download *d, struct err *e)
{
	struct chunk *c = &d->ring[0];
	uint64_t len = d->o->len, most;
	int ret;

	c->off = d->o->off;
	c->len = len < d->slot ? len : d->slot;
	c->p = d->arena;
	c->a = S3_SUM_NONE;
	if ((ret = fetch_range(d, c, true, e)) == -1)
		return -1;
	if (ret == 1)
		return empty(d, e);
	most = d->o->total - d->o->off;
	d->end = d->o->off + (len < most ? len : most);
	c->done = true;
	d->next = 1;
	d->mid = d->lead = c->off + c->len;
	d->step = d->slot;
	count(d);
	return 0;
}

/* ---- the source ---- */

/* A moment, or until something came. */
static int
pause_reader(struct download *d, struct err *e)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 200 * 1000 * 1000;
	if (until.tv_nsec >= 1000 * 1000 * 1000) {
		until.tv_sec++;
		until.tv_nsec -= 1000 * 1000 * 1000;
	}
	pthread_cond_timedwait(&d->came, &d->mu, &until);
	return stop_check(e);
}

/*
 * Bytes of the due chunk that are not handed out: waits for one at least, and
 * for the end of the range when that is the last.
 */
static int
wait_bytes(struct download *d, struct chunk *c, uint64_t rpos, struct err *e)
{
	while (!d->failed && !(d->due < d->next && (c->done ||
	    (c->got > rpos && c->got < c->len)))) {
		d->waited = true;
		if (pause_reader(d, e) == -1)
			return -1;
	}
	if (d->failed) {
		*e = d->e;
		return -1;
	}
	return 0;
}

static int
finish(struct download *d, struct err *e)
{
	int ret = 0;

	pthread_mutex_lock(&d->mu);
	while (ret == 0 && !d->failed && d->proving && d->proven < d->nranges)
		ret = pause_reader(d, e);
	if (d->failed) {
		*e = d->e;
		ret = -1;
	}
	if (ret == 0)
		ret = prove_end(d, e);
	pthread_mutex_unlock(&d->mu);
	return ret;
}

static ssize_t
dl_read(struct source *src, void *p, size_t n, struct err *e)
{
	struct download *d = (struct download *)src;
	struct chunk *c = &d->ring[d->due % d->nchunks];
	uint64_t rpos, have;

	if (stop_check(e) == -1)
		return -1;
	if (d->due == d->nranges)
		return finish(d, e);
	pthread_mutex_lock(&d->mu);
	rpos = d->due < d->next ? d->o->off + src->pos - c->off : 0;
	if (wait_bytes(d, c, rpos, e) == -1) {
		pthread_mutex_unlock(&d->mu);
		return -1;
	}
	rpos = d->o->off + src->pos - c->off;
	have = c->got - rpos;
	pthread_mutex_unlock(&d->mu);
	if (n > have)
		n = (size_t)have;
	memcpy(p, c->p + rpos, n);
	if (rpos + n < c->len)
		return (ssize_t)n;
	/* its place is free */
	pthread_mutex_lock(&d->mu);
	d->due++;
	pthread_cond_broadcast(&d->work);
	pthread_mutex_unlock(&d->mu);
	return (ssize_t)n;
}

static void
dl_close(struct source *src)
{
	struct download *d = (struct download *)src;
	unsigned i;

	pthread_mutex_lock(&d->mu);
	d->ended = true;
	atomic_store(&d->cancel, true);
	pthread_cond_broadcast(&d->work);
	pthread_cond_broadcast(&d->hash);
	pthread_mutex_unlock(&d->mu);
	for (i = 0; i < d->nthreads; i++)
		pthread_join(d->thread[i], NULL);
	if (d->proving)
		pthread_join(d->prover, NULL);
	verify_free(d->verify);
	if (d->arena != NULL)
		munmap(d->arena, d->memory);
	pthread_mutex_destroy(&d->mu);
	pthread_cond_destroy(&d->came);
	pthread_cond_destroy(&d->hash);
	pthread_cond_destroy(&d->work);
	free(d->key);
	free(d);
}

static int
make_ring(struct download *d, struct err *e)
{
	const struct s3_target *t = d->s->t;
	uint64_t memory = t->memory != 0 ? t->memory : S3_MEMORY_DEFAULT;
	void *p;

	if (memory < S3_MEMORY_MIN)
		return err_set(e, CALA_USAGE, "memory: at least %d MiB",
		    (int)(S3_MEMORY_MIN / MIB));
	if (memory > 1ull << 40)
		memory = 1ull << 40;
	memory -= memory / 8;
	/* as upload cuts parts */
	d->slot = memory >= 224 * MIB ? 16 * MIB : 8 * MIB;
	d->nchunks = (size_t)(memory / d->slot);
	if (d->nchunks > DOWNLOAD_RING)
		d->nchunks = DOWNLOAD_RING;
	d->memory = d->nchunks * d->slot;
	d->jobs_max = t->jobs != 0 ? t->jobs : 8;
	if (d->s->provider->max_jobs != 0 &&
	    d->jobs_max > d->s->provider->max_jobs)
		d->jobs_max = d->s->provider->max_jobs;
	if (d->jobs_max > d->nchunks - 1)
		d->jobs_max = (unsigned)d->nchunks - 1;
	d->target = d->jobs_max < WORKERS_FIRST ? d->jobs_max : WORKERS_FIRST;
	p = mmap(NULL, d->memory, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return err_sys(e, "memory for the download");
	d->arena = p;
	return 0;
}

struct source *
s3_download(struct s3 *s, const char *key, struct s3_download *o,
    struct err *e)
{
	static const struct source_ops ops = { dl_read, dl_close };
	struct download *d;

	if (s3_key_check(key, e) == -1)
		return NULL;
	if ((o->etag != NULL && strlen(o->etag) >= S3_ETAG) ||
	    (o->version != NULL && strlen(o->version) >= S3_ID)) {
		err_set(e, CALA_USAGE, "%s: no ETag or version is that long",
		    str_q(key));
		return NULL;
	}
	if ((d = calloc(1, sizeof(*d))) == NULL ||
	    (d->key = strdup(key)) == NULL) {
		free(d);
		err_oom(e);
		return NULL;
	}
	d->source.ops = &ops;
	d->s = s;
	d->o = o;
	d->nranges = 1;
	d->nchunks = 1;
	o->verified = NULL;
	o->got_etag[0] = o->got_version[0] = '\0';
	if (o->etag != NULL)
		memcpy(o->got_etag, o->etag, strlen(o->etag) + 1);
	if (o->version != NULL)
		memcpy(o->got_version, o->version, strlen(o->version) + 1);
	pthread_mutex_init(&d->mu, NULL);
	pthread_cond_init(&d->came, NULL);
	pthread_cond_init(&d->hash, NULL);
	pthread_cond_init(&d->work, NULL);
	/* nothing wanted: but is it there? */
	if (make_ring(d, e) == -1 || (o->len == 0 ? empty(d, e) :
	    first_range(d, e)) == -1 || prove_plan(d, e) == -1)
		goto fail;
	if (d->nranges > 1) {
		count(d);
		if (d->nranges - 1 < d->target)
			d->target = (unsigned)d->nranges - 1;
		pthread_mutex_lock(&d->mu);
		if ((d->verify != NULL && prove_start(d) == -1) ||
		    hire(d) != 0) {
			pthread_mutex_unlock(&d->mu);
			err_set(e, CALA_FAIL, "no thread can be started");
			goto fail;
		}
		pthread_mutex_unlock(&d->mu);
	}
	return &d->source;
fail:
	source_close(&d->source);
	return NULL;
}
