/*
 * upload: a stream of any length becomes one object.
 *
 *	reader -> slabs -> part -> queue -> workers (hash, send, retry)
 *
 * A slab returns to the reader when the store has confirmed its part, so that
 * what must perhaps be sent again is always at hand, and memory is bounded
 * whatever comes.  The first part waits until there is a second: what fits one
 * part is a single PUT.
 */

#include "s3/upload.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "s3/attr.h"

enum { HOLD = 10 };             /* seconds without growth after a throttle */

/* ---- parts and slabs ---- */

/* Its slabs are free again. */
static void
part_empty(struct upload *u, struct part *p)
{
	size_t i;

	pthread_mutex_lock(&u->mu);
	for (i = 0; i < p->niov; i++)
		u->free[u->nfree++] = p->iov[i].iov_base;
	u->inuse -= p->niov;
	p->niov = 0;
	pthread_cond_broadcast(&u->room);
	pthread_mutex_unlock(&u->mu);
}

static void
part_free(struct upload *u, struct part *p)
{
	if (p == NULL)
		return;
	if (p->fd != -1) {
		close(p->fd);
		pthread_mutex_lock(&u->mu);
		u->nspooled--;
		pthread_mutex_unlock(&u->mu);
	}
	part_empty(u, p);
	free(p->iov);
	free(p);
}

static struct part *
part_new(struct upload *u, struct err *e)
{
	uint64_t size = s3_plan_size(&u->plan, u->parts + 1);
	bool spooled = size > u->plan.fit;
	struct part *p;

	if ((p = calloc(1, sizeof(*p))) == NULL ||
	    (p->iov = calloc(spooled ? 1 : (size_t)((size + SLAB - 1) / SLAB),
	    sizeof(*p->iov))) == NULL) {
		free(p);
		err_oom(e);
		return NULL;
	}
	p->fd = -1;
	if (spooled && (p->fd = spool_open(u, size, e)) == -1) {
		part_free(u, p);
		return NULL;
	}
	p->n = ++u->parts;
	return p;
}

/* How many slabs the reader may hold: a part more than is being sent. */
static size_t
allowed(const struct upload *u)
{
	size_t part = (size_t)((s3_plan_size(&u->plan, u->parts) + SLAB - 1) /
	    SLAB), n = part * (u->target + 1);

	return n < u->nslabs ? n : u->nslabs;
}

/* The failure of a worker is the sink's. */
static int
failure(struct upload *u, struct err *e)
{
	*e = u->e;
	return -1;
}

int
upload_wait(struct upload *u, struct err *e)
{
	struct timespec until;

	u->waited = true;
	/* a signal wakes nobody here: look now and then */
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 200 * 1000 * 1000;
	if (until.tv_nsec >= 1000 * 1000 * 1000) {
		until.tv_sec++;
		until.tv_nsec -= 1000 * 1000 * 1000;
	}
	pthread_cond_timedwait(&u->room, &u->mu, &until);
	return stop_check(e);
}

static void *
slab_get(struct upload *u, struct err *e)
{
	void *p = NULL;

	pthread_mutex_lock(&u->mu);
	while (!u->failed && (u->nfree == 0 || u->inuse >= allowed(u)))
		if (upload_wait(u, e) == -1)
			goto out;
	if (u->failed) {
		failure(u, e);
		goto out;
	}
	p = u->free[--u->nfree];
	u->inuse++;
out:
	pthread_mutex_unlock(&u->mu);
	return p;
}

/* ---- workers ---- */

void
upload_throttled(void *arg)
{
	struct upload *u = arg;
	unsigned left;

	pthread_mutex_lock(&u->mu);
	left = u->target = u->target > 1 ? u->target / 2 : 1;
	if (u->punished < 8)
		u->punished++;
	u->hold = when_mono() + HOLD * (double)(1u << (u->punished - 1));
	u->round_parts = 0;
	u->probing = false;
	pthread_mutex_unlock(&u->mu);
	log_step(u->s->log, "the server asks to slow down: %u connections",
	    left);
}

static void *worker(void *);

/* Under the lock: as many threads as parts may be sent at once. */
static int
hire(struct upload *u)
{
	sigset_t all, old;
	int ret = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (u->nthreads < u->target && ret == 0)
		if ((ret = pthread_create(&u->thread[u->nthreads], NULL,
		    worker, u)) == 0)
			u->nthreads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	/* fewer are slower, not wrong */
	return u->nthreads > 0 ? 0 : ret;
}

/*
 * One connection more as long as the network, not the producer, is what is
 * waited for; one that was not worth it goes again, and is not tried so soon.
 */
static void
pace(struct upload *u, uint64_t bytes)
{
	double now = when_mono(), rate;

	if (u->round_parts == 0) {
		u->round = now;
		u->round_bytes = 0;
		u->waited = false;
	} else {
		u->round_bytes += bytes;
	}
	if (++u->round_parts <= 2 * u->target || now <= u->round)
		return;
	rate = (double)u->round_bytes / (now - u->round);
	u->round_parts = 0;
	if (u->probing && rate < 1.05 * u->best) {
		u->probing = false;
		u->target--;
		u->hold = now + 3 * HOLD;
	}
	if (!u->waited || now < u->hold || u->target >= u->jobs_max)
		return;
	u->best = rate;
	u->probing = true;
	u->target++;
	(void)hire(u);
	log_file(u->s->log, "%u connections, %.0f MB/s", u->target,
	    rate / 1e6);
}

/* Under the lock. */
static void
fail(struct upload *u, const struct err *e)
{
	if (!u->failed) {
		u->failed = true;
		u->e = *e;
	}
	atomic_store(&u->cancel, true);
	pthread_cond_broadcast(&u->room);
	pthread_cond_broadcast(&u->work);
}

static void *
worker(void *arg)
{
	struct upload *u = arg;
	struct err e = ERR_INIT;
	struct done d;
	struct part *p;
	uint64_t size;
	int ret;

	pthread_mutex_lock(&u->mu);
	for (;;) {
		while (!u->failed && (u->queue == NULL ||
		    u->active >= u->target) &&
		    !(u->closing && u->queue == NULL))
			pthread_cond_wait(&u->work, &u->mu);
		if (u->failed || u->queue == NULL)
			break;
		p = u->queue;
		if ((u->queue = p->next) == NULL)
			u->tail = &u->queue;
		u->active++;
		pthread_mutex_unlock(&u->mu);

		memset(&d, 0, sizeof(d));
		err_clear(&e);
		size = p->size;
		ret = part_send(u, p, &d, &e);

		pthread_mutex_lock(&u->mu);
		u->active--;
		if (ret == -1) {
			free(d.etag);
			fail(u, &e);
		} else {
			u->done[p->n - 1] = d;
			u->ndone++;
			pace(u, size);
		}
		pthread_cond_signal(&u->work);
		pthread_mutex_unlock(&u->mu);
		part_free(u, p);
		pthread_mutex_lock(&u->mu);
	}
	pthread_cond_broadcast(&u->room);
	/*
	 * After a throttle more threads wait than may send, and a part that
	 * ends wakes only one: each that leaves lets the others see why.
	 */
	pthread_cond_broadcast(&u->work);
	pthread_mutex_unlock(&u->mu);
	return NULL;
}

static int
enqueue(struct upload *u, struct part *p, struct err *e)
{
	struct done *v;
	unsigned want;
	int ret = 0;

	if (p->fd != -1)
		part_empty(u, p);
	pthread_mutex_lock(&u->mu);
	if (p->n > u->room_done) {
		want = 2 * p->n + 64;
		v = reallocarray(u->done, want, sizeof(*v));
		if (v != NULL) {
			memset(v + u->room_done, 0,
			    (want - u->room_done) * sizeof(*v));
			u->done = v;
			u->room_done = want;
		} else {
			ret = err_oom(e);
		}
	}
	if (u->failed)
		ret = failure(u, e);
	else if (ret == 0 && hire(u) != 0)
		ret = err_set(e, CALA_FAIL, "no thread can be started");
	if (ret == 0) {
		p->next = NULL;
		*u->tail = p;
		u->tail = &p->next;
		pthread_cond_signal(&u->work);
	}
	pthread_mutex_unlock(&u->mu);
	if (ret == -1)
		part_free(u, p);
	return ret;
}

static void
dismiss(struct upload *u, bool cancel)
{
	unsigned i;

	pthread_mutex_lock(&u->mu);
	u->closing = true;
	if (cancel) {
		u->failed = true;
		atomic_store(&u->cancel, true);
	}
	pthread_cond_broadcast(&u->work);
	pthread_mutex_unlock(&u->mu);
	for (i = 0; i < u->nthreads; i++)
		pthread_join(u->thread[i], NULL);
	u->nthreads = 0;
}

/* ---- the sink ---- */

static void *
up_space(struct sink *sink, size_t *n, struct err *e)
{
	struct upload *u = (struct upload *)sink;
	struct part *p = u->fill;
	uint64_t left;
	size_t off;
	void *slab;

	if (p == NULL && u->parts == u->plan.max_parts) {
		/* the end of the stream may come right here */
		*n = 1;
		return &u->over;
	}
	if (p == NULL && (p = u->fill = part_new(u, e)) == NULL)
		return NULL;
	off = (size_t)(p->size % SLAB);
	if (p->fd != -1 ? p->niov == 0 : off == 0 &&
	    p->size / SLAB == p->niov) {
		if ((slab = slab_get(u, e)) == NULL)
			return NULL;
		p->iov[p->niov].iov_base = slab;
		p->iov[p->niov++].iov_len = 0;
	}
	left = s3_plan_size(&u->plan, p->n) - p->size;
	*n = SLAB - off < left ? SLAB - off : (size_t)left;
	return (char *)p->iov[p->niov - 1].iov_base + off;
}

static int
near_the_end(struct upload *u, struct err *e)
{
	char a[STR_HUMAN];

	if (u->total > u->plan.limit) {
		err_set(e, CALA_NOSPACE, "%s: no more than %s fit",
		    str_q(u->key), str_human(u->plan.limit, a));
		return err_hint(e, "larger objects need more memory "
		    "(--memory), a directory on disk for large parts "
		    "(--spool-dir, spool-directory), or a larger part size");
	}
	if (!u->warned && u->total / 4 > u->plan.limit / 5) {
		u->warned = true;
		log_note(u->s->log, "%s: four fifths of the %s that fit are "
		    "used", str_q(u->key), str_human(u->plan.limit, a));
	}
	return 0;
}

static int
up_used(struct sink *sink, size_t n, struct err *e)
{
	struct upload *u = (struct upload *)sink;
	struct part *p = u->fill, *first;

	if (n == 0)
		return 0;
	u->total += n;
	if (near_the_end(u, e) == -1)
		return -1;
	p->size += n;
	p->iov[p->niov - 1].iov_len += n;
	if (p->fd != -1 && (p->iov[0].iov_len == SLAB ||
	    p->size == s3_plan_size(&u->plan, p->n)) && spool_write(p, e) == -1)
		return -1;
	/* there is a second part: the first, which waited, is none alone */
	if (p->n == 2 && u->id[0] == '\0') {
		if (upload_create(u, e) == -1)
			return -1;
		first = p->next;
		p->next = NULL;
		if (enqueue(u, first, e) == -1)
			return -1;
	}
	if (p->size < s3_plan_size(&u->plan, p->n))
		return 0;
	if (p->n > 1) {
		u->fill = NULL;
		return enqueue(u, p, e);
	}
	/* full, but perhaps alone: the second keeps it until then */
	if ((u->fill = part_new(u, e)) == NULL) {
		u->fill = p;
		return -1;
	}
	u->fill->next = p;
	return 0;
}

/* Everything is taken: wait until the store has confirmed all parts. */
static int
await(struct upload *u, struct err *e)
{
	struct part *p = u->fill;
	int ret = 0;

	u->fill = NULL;
	if (p != NULL && p->size > 0) {
		if (p->fd != -1 && spool_write(p, e) == -1) {
			part_free(u, p);
			return -1;
		}
		if (enqueue(u, p, e) == -1)
			return -1;
	} else if (p != NULL) {
		u->parts--;
		part_free(u, p);
	}
	dismiss(u, false);
	if (u->failed)
		ret = failure(u, e);
	else if (u->ndone != u->parts)
		ret = stop_check(e) == -1 ? -1 : err_set(e, CALA_FAIL,
		    "%u of %u parts are stored", u->ndone, u->parts);
	return ret;
}

static int
up_commit(struct sink *sink, struct err *e)
{
	struct upload *u = (struct upload *)sink;
	struct part empty = { .n = 1, .fd = -1 }, *p = u->fill;
	int ret;

	if (stop_check(e) == -1)
		return -1;
	u->o->size = u->total;
	if (u->id[0] != '\0') {
		if (await(u, e) == -1 || upload_complete(u, e) == -1)
			return -1;
		u->o->parts = u->parts;
		return 0;
	}
	/* the first part, full, waits behind an empty second */
	if (p != NULL && p->n == 2)
		p = p->next;
	if (p != NULL && p->fd != -1 && p->niov > 0 && spool_write(p, e) == -1)
		return -1;
	ret = part_whole(u, p != NULL ? p : &empty, e);
	u->o->parts = 1;
	return ret;
}

static void
up_abort(struct sink *sink)
{
	struct upload *u = (struct upload *)sink;
	struct part *p, *next;
	unsigned i;

	dismiss(u, !sink->committed);
	if (!sink->committed && u->id[0] != '\0' && !u->keep_open)
		upload_drop(u);
	if ((p = u->fill) != NULL) {
		part_free(u, p->next);
		part_free(u, p);
	}
	for (p = u->queue; p != NULL; p = next) {
		next = p->next;
		part_free(u, p);
	}
	for (i = 0; i < u->room_done; i++)
		free(u->done[i].etag);
	free(u->done);
	if (u->arena != NULL)
		munmap(u->arena, u->nslabs * SLAB);
	free(u->free);
	free(u->key);
	pthread_mutex_destroy(&u->mu);
	pthread_cond_destroy(&u->room);
	pthread_cond_destroy(&u->work);
	free(u);
}

static int
make_slabs(struct upload *u, struct err *e)
{
	size_t i;
	void *p;

	u->nslabs = (size_t)(u->plan.memory / SLAB);
	if ((u->free = calloc(u->nslabs, sizeof(*u->free))) == NULL)
		return err_oom(e);
	/* touched only as far as needed */
	p = mmap(NULL, u->nslabs * SLAB, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return err_sys(e, "memory for the parts");
	u->arena = p;
	for (i = u->nslabs; i > 0; i--)
		u->free[u->nfree++] = u->arena + (i - 1) * SLAB;
	return 0;
}

static void
choose_sum(struct upload *u)
{
	const struct s3_target *t = u->s->t;
	bool hashed = t->creds != NULL && !t->creds->anonymous &&
	    (u->s->tls ? t->sign_payload : !t->insecure_unsigned);

	u->sum = t->sum;
	if (u->sum == S3_SUM_AUTO) {
		/*
		 * A signed SHA-256 is checked by whoever checks the signature:
		 * a second hash would cost as much again and prove no more.
		 * Locked buckets insist on a checksum.
		 */
		if (u->s->provider->aws) {
			u->sum = S3_SUM_CRC64NVME;
		} else if (hashed && t->lock_mode == NULL && !t->legal_hold) {
			u->sum = S3_SUM_NONE;
			u->offer = u->s->provider->suffix == NULL;
		} else {
			u->sum = S3_SUM_MD5;
		}
	}
	u->composite = u->sum == S3_SUM_SHA256 || (u->s->provider->composite &&
	    (u->sum == S3_SUM_CRC32 || u->sum == S3_SUM_CRC32C));
}

static int
choose_plan(struct upload *u, struct err *e)
{
	const struct s3_target *t = u->s->t;
	const struct s3_provider *v = u->s->provider;
	uint64_t memory = t->memory != 0 ? t->memory : S3_MEMORY_DEFAULT;
	char a[STR_HUMAN], b[STR_HUMAN];
	unsigned fit;

	if (memory < S3_MEMORY_MIN)
		return err_set(e, CALA_USAGE, "memory: at least %s",
		    str_human(S3_MEMORY_MIN, a));
	if (memory > 1ull << 40)
		memory = 1ull << 40;
	/* an eighth is for connections, threads and the program */
	u->plan.memory = (memory - memory / 8) / SLAB * SLAB;
	u->plan.part_size = t->part_size;
	u->plan.exact = t->exact_parts;
	u->plan.equal = v->equal_parts;
	u->plan.max_parts = t->max_parts != 0 ? t->max_parts : v->max_parts;
	if (u->plan.max_parts > S3_PARTS)
		u->plan.max_parts = S3_PARTS;
	u->plan.max_object = v->max_object;
	if (u->plan.max_parts < 2)
		u->plan.max_parts = 2;  /* one alone is no upload in parts */
	u->plan.expect = u->o->expect;
	u->plan.spool = t->spool != NULL;
	u->spool_most = WORKERS + 1;
	if (s3_plan(&u->plan, e) == -1)
		return err_ctx(e, "%s", str_q(u->key));
	u->jobs_max = t->jobs != 0 ? t->jobs : 8;
	if (v->max_jobs != 0 && u->jobs_max > v->max_jobs)
		u->jobs_max = v->max_jobs;
	fit = (unsigned)(u->plan.memory / u->plan.cap);
	fit = fit > 1 ? fit - 1 : 1;
	if (u->jobs_max > fit && u->plan.cap == u->plan.first &&
	    u->plan.cap <= u->plan.fit)
		u->jobs_max = fit;
	u->target = u->jobs_max < WORKERS_FIRST ? u->jobs_max : WORKERS_FIRST;
	log_step(u->s->log, "parts of %s, at most %s in all",
	    str_human(u->plan.first, a), str_human(u->plan.limit, b));
	return 0;
}

struct sink *
s3_upload(struct s3 *s, const char *key, struct s3_upload *o, struct err *e)
{
	static const struct sink_ops ops = { up_space, up_used, NULL,
	    up_commit, up_abort };
	struct s3_object there;
	struct upload *u;

	if (s3_key_check(key, e) == -1)
		return NULL;
	if ((u = calloc(1, sizeof(*u))) == NULL ||
	    (u->key = strdup(key)) == NULL) {
		free(u);
		err_oom(e);
		return NULL;
	}
	u->sink.ops = &ops;
	u->s = s;
	u->o = o;
	u->tail = &u->queue;
	pthread_mutex_init(&u->mu, NULL);
	pthread_cond_init(&u->room, NULL);
	pthread_cond_init(&u->work, NULL);
	choose_sum(u);
	if (choose_plan(u, e) == -1 || make_slabs(u, e) == -1)
		goto fail;
	/* who must not overwrite learns now, not after hours */
	if (o->only_new) {
		if (s3_head(s, key, &there, e) == 0) {
			err_set(e, CALA_EXISTS, "%s is there already",
			    str_q(key));
			goto fail;
		}
		if (e->code != CALA_NOTFOUND && e->code != CALA_AUTH)
			goto fail;
		err_clear(e);
		if (!s->provider->conditional)
			log_step(s->log, "this store may not know conditions: "
			    "best effort");
	}
	return &u->sink;
fail:
	sink_free(&u->sink);
	return NULL;
}
