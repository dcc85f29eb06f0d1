/*
 * download: one object as a stream, by parallel ranges (s3.md 6.4).
 *
 *	workers (range, retry, checksum) -> chunks in order -> reader
 *
 * At most as many ranges are under way ahead of the reader as memory holds;
 * what has come of the range that is due is handed out at once.  All ranges
 * are of one generation: each carries the first one's ETag, and each answer
 * must.
 */

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/file.h"
#include "base/io.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "s3/attr.h"
#include "s3/client.h"
#include "s3/verify.h"

enum {
	WORKERS = 64,
	WORKERS_FIRST = 4,
	CHUNKS = 256,
	HOLD = 10,              /* seconds without growth after a throttle */
	AGAIN = 10              /* answers shorter than asked */
};

#define MIB (1ull << 20)

/* One range: its place in the ring is its number modulo the ring's length. */
struct chunk {
	uint64_t off, len, got;
	unsigned char *p;
	bool busy, done;
	enum s3_sum a;          /* of the piece, kept by the worker */
	unsigned char sum[SUM_MAX];
};

struct download {
	struct source source;
	struct s3 *s;
	struct s3_download *o;
	char *key;
	struct verify_facts facts;
	struct verify *verify;
	pthread_mutex_t mu;
	pthread_cond_t came;    /* bytes, an end, a failure: the reader waits */
	pthread_cond_t work;    /* a chunk became free, or the end */
	unsigned char *arena;
	size_t chunk, nchunks;  /* bytes of one, how many */
	struct chunk ring[CHUNKS];
	uint64_t next, due;     /* numbers: to be asked for, to be read */
	uint64_t nranges;       /* in all; 1 until the first answer */
	uint64_t end;           /* offset behind the last byte wanted */
	bool failed, ended;
	atomic_bool cancel;
	struct err e;
	pthread_t thread[WORKERS];
	unsigned nthreads, target, jobs_max, active;
	/* the pace, as in upload.c */
	bool waited, probing;
	double round, best, hold;
	uint64_t round_bytes;
	unsigned round_ranges, punished;
};

/* One worker's request. */
struct fetch {
	struct download *d;
	struct chunk *c;
	struct s3_req r;
	struct sum *sum;
	bool first, checked;
	uint64_t from;          /* where this attempt begins */
	char range[64], match[S3_ETAG + 16];
	const char *lines[4];
	const char *query[3];
	/* of the object, from the answer's headers */
	bool opaque, has_layout;
	struct layout layout;
};

static void
on_header(void *arg, const char *name, const char *value)
{
	struct fetch *f = arg;

	if (!f->first)
		return;
	if (strcmp(name, "x-amz-server-side-encryption") == 0)
		f->opaque |= strcmp(value, "AES256") != 0;
	else if (str_begins(name, "x-amz-server-side-encryption-customer"))
		f->opaque = true;
	else if (strcmp(name, "x-amz-meta-cala-parts") == 0)
		f->has_layout = layout_parse(value, &f->layout) == 0;
}

/* Before each attempt: what is still missing of the range. */
static int
on_begin(void *arg, struct s3_req *r, struct err *e)
{
	struct fetch *f = arg;
	struct download *d = f->d;
	size_t n = 0;

	(void)e;
	f->from = f->c->off + f->c->got;
	f->checked = false;
	snprintf(f->range, sizeof(f->range), "range: bytes=%" PRIu64 "-%"
	    PRIu64, f->from, f->c->off + f->c->len - 1);
	f->lines[n++] = f->range;
	if (d->o->got_etag[0] != '\0') {
		snprintf(f->match, sizeof(f->match), "if-match: %s",
		    d->o->got_etag);
		f->lines[n++] = f->match;
	}
	f->lines[n] = NULL;
	r->call.headers = f->lines;
	if (d->o->got_version[0] != '\0') {
		f->query[0] = "versionId";
		f->query[1] = d->o->got_version;
		f->query[2] = NULL;
		r->call.query = f->query;
	}
	return 0;
}

/* The first answer tells what all others must agree with. */
static int
learn(struct fetch *f, struct err *e)
{
	struct download *d = f->d;
	struct s3_req *r = &f->r;
	uint64_t total = r->ranged ? r->range_total : r->call.length;

	if (r->call.etag[0] == '\0')
		return err_set(e, CALA_INTEGRITY, "the answer has no ETag: "
		    "ranges could be of different objects");
	/* some stores ignore If-Match (s3.md 6.4) */
	if (d->o->got_etag[0] != '\0' &&
	    !attr_etag_same(d->o->got_etag, r->call.etag))
		return err_set(e, CALA_EXISTS, "it is not the one that was "
		    "meant");
	d->o->total = d->facts.total = total;
	memcpy(d->o->got_etag, r->call.etag, sizeof(d->o->got_etag));
	if (r->call.version[0] != '\0')
		memcpy(d->o->got_version, r->call.version,
		    sizeof(d->o->got_version));
	memcpy(d->facts.etag, r->call.etag, sizeof(d->facts.etag));
	d->facts.opaque = f->opaque;
	d->facts.has_layout = f->has_layout;
	d->facts.layout = f->layout;
	return 0;
}

/* Once an attempt: is this the answer to what was asked? */
static int
check(struct fetch *f, struct err *e)
{
	struct download *d = f->d;
	struct s3_req *r = &f->r;
	uint64_t end = f->c->off + f->c->len;

	f->checked = true;
	if (r->call.status == 206 && !r->ranged)
		return err_set(e, CALA_INTEGRITY, "an answer with a part "
		    "does not say which");
	if (r->call.status != 206 && (f->from != 0 ||
	    r->call.length > f->c->len))
		return err_set(e, CALA_INTEGRITY, "the store answers a range "
		    "with the whole object");
	if (r->call.status == 206 && (r->range_off != f->from ||
	    r->range_end > end || (f->first && r->range_end != end &&
	    r->range_end != r->range_total)))
		return err_set(e, CALA_INTEGRITY, "bytes %" PRIu64 " to %"
		    PRIu64 " were asked for, %" PRIu64 " to %" PRIu64
		    " came", f->from, end, r->range_off, r->range_end);
	if (f->first && f->c->got == 0)
		return learn(f, e);
	if ((r->ranged && r->range_total != d->o->total) ||
	    (r->call.etag[0] != '\0' &&
	    strcmp(r->call.etag, d->o->got_etag) != 0))
		return err_set(e, CALA_INTEGRITY, "the object changed while it "
		    "was read");
	return 0;
}

static int
on_take(void *arg, struct s3_req *r, const void *p, size_t n, struct err *e)
{
	struct fetch *f = arg;
	struct download *d = f->d;
	struct chunk *c = f->c;

	(void)r;
	if (!f->checked && check(f, e) == -1)
		return -1;
	if (n > c->len - c->got)
		return err_set(e, CALA_INTEGRITY, "more bytes came than were "
		    "asked for");
	memcpy(c->p + c->got, p, n);
	if (f->sum != NULL)
		sum_add(f->sum, p, n);
	pthread_mutex_lock(&d->mu);
	c->got += n;
	if (c == &d->ring[d->due % d->nchunks])
		pthread_cond_signal(&d->came);
	pthread_mutex_unlock(&d->mu);
	return 0;
}

static void
on_throttle(void *arg)
{
	struct download *d = ((struct fetch *)arg)->d;

	pthread_mutex_lock(&d->mu);
	d->target = d->target > 1 ? d->target / 2 : 1;
	if (d->punished < 8)
		d->punished++;
	d->hold = when_mono() + HOLD * (double)(1u << (d->punished - 1));
	d->round_ranges = 0;
	d->probing = false;
	pthread_mutex_unlock(&d->mu);
}

static int
fetch_range(struct download *d, struct chunk *c, bool first, struct err *e)
{
	struct fetch f = { .d = d, .c = c, .first = first };
	unsigned i;
	int ret = -1;

	if (c->a != S3_SUM_NONE && (f.sum = sum_new(c->a, e)) == NULL)
		return -1;
	for (i = 0; i < AGAIN; i++) {
		memset(&f.r, 0, sizeof(f.r));
		f.r.call.method = "GET";
		f.r.call.key = d->key;
		f.r.call.header = on_header;
		f.r.call.header_arg = &f;
		f.r.data = true;
		f.r.patient = !first;
		f.r.cancel = &d->cancel;
		f.r.begin = on_begin;
		f.r.take = on_take;
		f.r.throttled = on_throttle;
		f.r.arg = &f;
		ret = s3_send(d->s, &f.r, e);
		if (ret == -1 && f.r.call.status == 412 && first &&
		    c->got == 0) {
			e->code = CALA_EXISTS;
		} else if (ret == -1 && f.r.call.status == 412) {
			err_set(e, CALA_INTEGRITY, "%s: the object was "
			    "replaced while it was read", str_q(d->key));
		} else if (ret == -1 && f.r.call.status == 404 && !first) {
			err_set(e, CALA_INTEGRITY, "%s: the object was "
			    "removed while it was read", str_q(d->key));
		} else if (ret == -1 && f.r.call.status == 416 && first) {
			err_clear(e);
			ret = 1;        /* nothing there: empty, or past it */
		}
		if (ret != 0)
			goto out;
		/* the first range may be longer than the object */
		if (first && d->o->total - c->off < c->len)
			c->len = d->o->total - c->off;
		if (c->got == c->len)
			break;
		ret = -1;
		err_set(e, CALA_NET, "%s: answers are cut again and again",
		    str_q(d->key));
	}
	if (ret == 0) {
		err_clear(e);
		if (f.sum != NULL)
			sum_end(f.sum, c->sum);
	}
out:
	sum_free(f.sum);
	return ret;
}

/* ---- workers ---- */

static void
fail(struct download *d, const struct err *e)
{
	if (!d->failed) {
		d->failed = true;
		d->e = *e;
	}
	atomic_store(&d->cancel, true);
	pthread_cond_broadcast(&d->came);
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
		d->hold = now + 3 * HOLD;
	}
	if (!d->waited || now < d->hold || d->target >= d->jobs_max)
		return;
	d->best = rate;
	d->probing = true;
	d->target++;
	(void)hire(d);
}

/* Under the lock: the next range, once the reader has made room for it. */
static struct chunk *
next_chunk(struct download *d)
{
	struct chunk *c = &d->ring[d->next % d->nchunks];
	uint64_t off;

	if (d->next >= d->nranges || d->next - d->due >= d->nchunks ||
	    c->busy || d->active >= d->target ||
	    /* no further ahead than connections can use */
	    d->next - d->due > d->target)
		return NULL;
	off = d->o->off + d->next * d->chunk;
	memset(c, 0, sizeof(*c));
	c->off = off;
	c->len = d->end - off < d->chunk ? d->end - off : d->chunk;
	c->p = d->arena + (d->next % d->nchunks) * d->chunk;
	c->busy = true;
	c->a = d->verify != NULL ? verify_piece(d->verify, off, c->len) :
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
			fail(d, &e);
		else
			pace(d, c->len);
		c->done = true;
		pthread_cond_broadcast(&d->came);
		pthread_cond_broadcast(&d->work);
	}
	pthread_cond_broadcast(&d->work);
	pthread_mutex_unlock(&d->mu);
	return NULL;
}

/* ---- the first range ---- */

struct head_facts {
	struct download *d;
	unsigned parts;
	bool full;
	enum s3_sum sum;
	char value[64];
};

static void
on_head(void *arg, const char *name, const char *value)
{
	static const enum s3_sum all[] = { S3_SUM_CRC64NVME, S3_SUM_CRC32C,
	    S3_SUM_CRC32 };
	struct head_facts *h = arg;
	uint64_t n;
	size_t i;

	if (strcmp(name, "x-amz-mp-parts-count") == 0) {
		if (str_u64(value, 1, S3_PARTS, &n) == 0)
			h->parts = (unsigned)n;
	} else if (strcmp(name, "x-amz-checksum-type") == 0) {
		h->full = strcmp(value, "FULL_OBJECT") == 0;
	}
	for (i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (strcmp(name, sum_header(all[i])) == 0 &&
		    strlen(value) < sizeof(h->value)) {
			h->sum = all[i];
			memcpy(h->value, value, strlen(value) + 1);
		}
}

static int
head(struct download *d, struct head_facts *h, bool part, uint64_t *len)
{
	char match[S3_ETAG + 16];
	const char *lines[] = { match, part ? NULL :
	    "x-amz-checksum-mode: ENABLED", NULL };
	const char *q[] = { part ? "partNumber" : "versionId", part ? "1" :
	    d->o->got_version, NULL };
	struct s3_req r = { .call = { .method = "HEAD", .key = d->key,
	    .headers = lines, .header = on_head, .header_arg = h,
	    .query = part || d->o->got_version[0] != '\0' ? q : NULL },
	    .cancel = &d->cancel, .tries = 2 };
	struct err ignored = ERR_INIT;

	memset(h, 0, sizeof(*h));
	h->sum = S3_SUM_NONE;
	snprintf(match, sizeof(match), "if-match: %s", d->o->got_etag);
	if (s3_send(d->s, &r, &ignored) == -1)
		return -1;
	*len = r.call.length;
	return 0;
}

/* The bytes in front that the caller has already. */
static int
prefix(struct download *d, struct err *e)
{
	unsigned char *p = d->arena + d->chunk;
	uint64_t at;
	ssize_t n;

	for (at = 0; at < d->o->off; at += (uint64_t)n) {
		size_t k = d->o->off - at < d->chunk ?
		    (size_t)(d->o->off - at) : d->chunk;

		if (stop_check(e) == -1)
			return -1;
		if ((n = file_pread_full(d->o->prefix, p, k, at)) == -1)
			return err_sys(e, "read what is there already");
		if ((size_t)n != k)
			return err_set(e, CALA_FAIL, "what is there already "
			    "became shorter");
		verify_bytes(d->verify, p, k);
	}
	return 0;
}

/* How can the whole be proven?  What is not told is asked for. */
static int
plan_proof(struct download *d, struct err *e)
{
	struct verify_facts *f = &d->facts;
	struct head_facts h;
	unsigned char md[16];
	struct buf b;
	uint64_t len;
	unsigned n;

	f->sum = S3_SUM_NONE;
	if (d->o->no_verify || (d->o->off != 0 && !d->o->has_prefix) ||
	    d->end != d->o->total)
		return 0;
	/* cheaper than MD5, and AWS has one of each object by now */
	if (d->s->provider->aws && head(d, &h, false, &len) == 0 &&
	    h.sum != S3_SUM_NONE &&
	    (h.full || !attr_etag_parts(f->etag, md, &n))) {
		buf_init(&b, SUM_MAX + 1);
		if (b64_get(&b, h.value, strlen(h.value)) == 0 &&
		    b.len == sum_len(h.sum)) {
			memcpy(f->value, b.p, b.len);
			f->sum = h.sum;
		}
		buf_fini(&b);
	}
	if (f->sum == S3_SUM_NONE && !f->opaque && !f->has_layout &&
	    attr_etag_parts(f->etag, md, &n)) {
		if (n == 1) {
			f->has_layout = f->total <= S3_PART_MAX;
			f->layout.runs = 1;
			f->layout.run[0].size = f->total;
			f->layout.run[0].count = 1;
		} else if (head(d, &h, true, &len) == 0 && h.parts == n &&
		    len > 0 && len <= S3_PART_MAX &&
		    (f->total + len - 1) / len == n) {
			f->has_layout = true;
			f->layout.runs = 1;
			f->layout.run[0].size = len;
			f->layout.run[0].count = n;
		}
	}
	d->verify = verify_new(f, e);
	if (d->verify == NULL)
		return e->code != 0 ? -1 : 0;
	return d->o->off != 0 ? prefix(d, e) : 0;
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
	d->end = d->o->off;
	memcpy(d->o->got_etag, o.etag, strlen(o.etag) + 1);
	memcpy(d->facts.etag, o.etag, strlen(o.etag) + 1);
	memcpy(d->o->got_version, o.version, strlen(o.version) + 1);
	d->nranges = d->next = d->due = 0;
	return 0;
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
	c->len = len < d->chunk ? len : d->chunk;
	c->p = d->arena;
	c->busy = true;
	c->a = S3_SUM_NONE;
	if ((ret = fetch_range(d, c, true, e)) == -1)
		return -1;
	if (ret == 1)
		return empty(d, e);
	most = d->o->total - d->o->off;
	d->end = d->o->off + (len < most ? len : most);
	c->done = true;
	d->next = 1;
	d->nranges = (d->end - d->o->off + d->chunk - 1) / d->chunk;
	return 0;
}

/* ---- the source ---- */

/* Bytes of the due chunk that are not handed out: waits for one at least. */
static int
wait_bytes(struct download *d, struct chunk *c, uint64_t rpos, struct err *e)
{
	struct timespec until;
	int ret = 0;

	while (!d->failed && !(c->busy && (c->got > rpos || c->done))) {
		d->waited = true;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 200 * 1000 * 1000;
		if (until.tv_nsec >= 1000 * 1000 * 1000) {
			until.tv_sec++;
			until.tv_nsec -= 1000 * 1000 * 1000;
		}
		pthread_cond_timedwait(&d->came, &d->mu, &until);
		if ((ret = stop_check(e)) == -1)
			return -1;
	}
	if (d->failed) {
		*e = d->e;
		ret = -1;
	}
	return ret;
}

static int
finish(struct download *d, struct err *e)
{
	if (d->failed) {
		*e = d->e;
		return -1;
	}
	if (d->verify == NULL || d->o->verified != NULL)
		return 0;
	if (!verify_end(d->verify)) {
		d->failed = true;
		err_set(&d->e, CALA_INTEGRITY, "%s: its %s is not what the "
		    "store keeps: the bytes are damaged", str_q(d->key),
		    verify_word(d->verify));
		*e = d->e;
		return -1;
	}
	d->o->verified = verify_word(d->verify);
	log_step(d->s->log, "%s: %s is right", str_q(d->key),
	    d->o->verified);
	return 0;
}

/* The due chunk is read: its place is free. */
static void
release(struct download *d, struct chunk *c)
{
	c->busy = c->done = false;
	d->due++;
	pthread_cond_broadcast(&d->work);
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
	rpos = src->pos - d->due * d->chunk;
	pthread_mutex_lock(&d->mu);
	if (wait_bytes(d, c, rpos, e) == -1) {
		pthread_mutex_unlock(&d->mu);
		return -1;
	}
	have = c->got - rpos;
	pthread_mutex_unlock(&d->mu);
	if (n > have)
		n = (size_t)have;
	memcpy(p, c->p + rpos, n);
	if (d->verify != NULL && c->a == S3_SUM_NONE)
		verify_bytes(d->verify, p, n);
	if (rpos + n < c->len)
		return (ssize_t)n;
	/* its last byte; a piece's checksum comes right behind it */
	pthread_mutex_lock(&d->mu);
	while (!c->done && !d->failed)
		pthread_cond_wait(&d->came, &d->mu);
	if (d->failed) {
		*e = d->e;
		pthread_mutex_unlock(&d->mu);
		return -1;
	}
	if (d->verify != NULL && c->a != S3_SUM_NONE)
		verify_fold(d->verify, c->sum, c->len);
	release(d, c);
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
	pthread_mutex_unlock(&d->mu);
	for (i = 0; i < d->nthreads; i++)
		pthread_join(d->thread[i], NULL);
	verify_free(d->verify);
	if (d->arena != NULL)
		munmap(d->arena, d->nchunks * d->chunk);
	pthread_mutex_destroy(&d->mu);
	pthread_cond_destroy(&d->came);
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
	/* as upload cuts them, so that a range is a part */
	d->chunk = memory >= 224 * MIB ? 16 * MIB : 8 * MIB;
	d->nchunks = (size_t)(memory / d->chunk);
	if (d->nchunks > CHUNKS)
		d->nchunks = CHUNKS;
	d->jobs_max = t->jobs != 0 ? t->jobs : 8;
	if (d->s->provider->max_jobs != 0 &&
	    d->jobs_max > d->s->provider->max_jobs)
		d->jobs_max = d->s->provider->max_jobs;
	if (d->jobs_max > d->nchunks - 1)
		d->jobs_max = (unsigned)d->nchunks - 1;
	d->target = d->jobs_max < WORKERS_FIRST ? d->jobs_max : WORKERS_FIRST;
	p = mmap(NULL, d->nchunks * d->chunk, PROT_READ | PROT_WRITE,
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
	pthread_cond_init(&d->work, NULL);
	/* nothing wanted: but is it there? */
	if (make_ring(d, e) == -1 || (o->len == 0 ? empty(d, e) :
	    first_range(d, e)) == -1 || plan_proof(d, e) == -1)
		goto fail;
	if (d->nranges > 1) {
		if (d->nranges - 1 < d->target)
			d->target = (unsigned)d->nranges - 1;
		pthread_mutex_lock(&d->mu);
		if (hire(d) != 0) {
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
