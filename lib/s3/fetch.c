/*
 * fetch: one range of a download, by as many requests as it takes.
 *
 * All ranges are of one generation of the object: each carries the first one's
 * ETag, and each answer must (s3.md 6.4).
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/when.h"
#include "s3/attr.h"
#include "s3/download.h"

enum { AGAIN = 10 };            /* answers shorter than asked */

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
	if (c->a == S3_SUM_NONE && c == &d->ring[d->proven % d->nchunks])
		pthread_cond_signal(&d->hash);
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
	d->hold = when_mono() + DOWNLOAD_HOLD * (double)(1u << (d->punished - 1));
	d->round_ranges = 0;
	d->probing = false;
	pthread_mutex_unlock(&d->mu);
}

int
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
