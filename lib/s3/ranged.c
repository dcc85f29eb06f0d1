/*
 * ranged: an object as a file that is read anywhere.
 *
 * A request costs a round trip, whatever it brings: small reads fetch a window
 * of their neighbourhood, and who reads on gets larger and larger ones.  A few
 * windows are kept.  All reads are of one generation of the object.
 */

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/io.h"
#include "base/str.h"
#include "s3/client.h"

enum {
	WINDOWS = 4,
	WINDOW_MIN = 64 << 10,
	WINDOW_MAX = 1 << 20,   /* larger reads go past the windows */
	AGAIN = 10
};

struct window {
	uint64_t off;
	size_t len;             /* 0: empty */
	uint64_t used;          /* when, for the least recent */
	unsigned char *p;       /* WINDOW_MAX bytes, or NULL */
};

struct s3_ranged {
	struct ranged r;
	struct s3 *s;
	char *key, *etag;
	pthread_mutex_t mu;     /* over the windows */
	struct window win[WINDOWS];
	uint64_t clock;
	uint64_t next;          /* where the last fetch ended */
	size_t step;            /* and how much it fetched */
};

struct fetch {
	struct s3_ranged *g;
	unsigned char *p;
	uint64_t off;
	size_t len, got;
	uint64_t from;
	bool checked;
	char range[64], match[S3_ETAG + 16];
	const char *lines[3];
};

static int
on_begin(void *arg, struct s3_req *r, struct err *e)
{
	struct fetch *f = arg;

	(void)e;
	f->from = f->off + f->got;
	f->checked = false;
	snprintf(f->range, sizeof(f->range), "range: bytes=%" PRIu64 "-%"
	    PRIu64, f->from, f->off + f->len - 1);
	snprintf(f->match, sizeof(f->match), "if-match: %s", f->g->etag);
	f->lines[0] = f->range;
	f->lines[1] = f->match;
	f->lines[2] = NULL;
	r->call.headers = f->lines;
	return 0;
}

static int
on_take(void *arg, struct s3_req *r, const void *p, size_t n, struct err *e)
{
	struct fetch *f = arg;
	bool whole = r->call.status != 206;

	if (!f->checked && (whole ? f->from != 0 ||
	    r->call.length != f->g->r.size : !r->ranged ||
	    r->range_off != f->from || r->range_end > f->off + f->len ||
	    r->range_total != f->g->r.size))
		return err_set(e, CALA_INTEGRITY, "the answer is not the "
		    "range that was asked for");
	if (!f->checked && r->call.etag[0] != '\0' &&
	    strcmp(r->call.etag, f->g->etag) != 0)
		return err_set(e, CALA_INTEGRITY, "the object changed while it "
		    "was read");
	f->checked = true;
	if (n > f->len - f->got)
		return err_set(e, CALA_INTEGRITY, "more bytes came than were "
		    "asked for");
	memcpy(f->p + f->got, p, n);
	f->got += n;
	return 0;
}

static int
fetch(struct s3_ranged *g, void *p, size_t n, uint64_t off, struct err *e)
{
	struct fetch f = { .g = g, .p = p, .off = off, .len = n };
	unsigned i;

	for (i = 0; i < AGAIN && f.got < n; i++) {
		struct s3_req r = { .call = { .method = "GET", .key = g->key },
		    .data = true, .patient = true, .begin = on_begin,
		    .take = on_take, .arg = &f };

		if (s3_send(g->s, &r, e) == 0)
			continue;
		if (r.call.status == 412 || r.call.status == 404)
			return err_set(e, CALA_INTEGRITY, "%s: the object was "
			    "replaced while it was read", str_q(g->key));
		return -1;
	}
	return f.got == n ? 0 : err_set(e, CALA_NET, "%s: answers are cut "
	    "again and again", str_q(g->key));
}

static struct window *
find(struct s3_ranged *g, uint64_t off)
{
	size_t i;

	for (i = 0; i < WINDOWS; i++)
		if (g->win[i].len > 0 && off >= g->win[i].off &&
		    off - g->win[i].off < g->win[i].len)
			return &g->win[i];
	return NULL;
}

/* A window from off on; who reads on gets twice as much as before. */
static struct window *
fill(struct s3_ranged *g, uint64_t off, size_t want, struct err *e)
{
	struct window *w = &g->win[0];
	size_t i, n = WINDOW_MIN;

	for (i = 1; i < WINDOWS; i++)
		if (g->win[i].used < w->used)
			w = &g->win[i];
	if (off == g->next && g->step > 0)
		n = 2 * g->step;
	if (n < want)
		n = want;
	if (n > WINDOW_MAX)
		n = WINDOW_MAX;
	if (n > g->r.size - off)
		n = (size_t)(g->r.size - off);
	if (w->p == NULL && (w->p = malloc(WINDOW_MAX)) == NULL) {
		err_oom(e);
		return NULL;
	}
	w->len = 0;
	if (fetch(g, w->p, n, off, e) == -1)
		return NULL;
	g->r.fetched += n;
	g->next = off + n;
	g->step = n;
	w->off = off;
	w->len = n;
	return w;
}

static int
rg_read(struct ranged *r, void *v, size_t n, uint64_t off, struct err *e)
{
	struct s3_ranged *g = (struct s3_ranged *)r;
	unsigned char *p = v;
	struct window *w;
	size_t k;
	int ret = 0;

	/* ranged_read() counted what was asked for; we count what comes */
	r->fetched -= n;
	pthread_mutex_lock(&g->mu);
	while (n > 0 && ret == 0) {
		w = find(g, off);
		if (w == NULL && n >= WINDOW_MAX) {
			if ((ret = fetch(g, p, n, off, e)) == 0)
				r->fetched += n;
			break;
		}
		if (w == NULL && (w = fill(g, off, n, e)) == NULL) {
			ret = -1;
			break;
		}
		w->used = ++g->clock;
		k = w->len - (size_t)(off - w->off);
		if (k > n)
			k = n;
		memcpy(p, w->p + (off - w->off), k);
		p += k;
		off += k;
		n -= k;
	}
	pthread_mutex_unlock(&g->mu);
	return ret;
}

static void
rg_close(struct ranged *r)
{
	struct s3_ranged *g = (struct s3_ranged *)r;
	size_t i;

	for (i = 0; i < WINDOWS; i++)
		free(g->win[i].p);
	pthread_mutex_destroy(&g->mu);
	free(g->key);
	free(g->etag);
	free(g);
}

struct ranged *
s3_ranged(struct s3 *s, const char *key, const char *etag, uint64_t size,
    struct err *e)
{
	static const struct ranged_ops ops = { rg_read, rg_close };
	struct s3_object o;
	struct s3_ranged *g;

	if (s3_key_check(key, e) == -1)
		return NULL;
	if (etag == NULL || *etag == '\0') {
		if (s3_head(s, key, &o, e) == -1)
			return NULL;
		etag = o.etag;
		size = o.size;
	}
	if (strlen(etag) >= S3_ETAG || *etag == '\0') {
		err_set(e, CALA_INTEGRITY, "%s: has no ETag that ranges could "
		    "be pinned by", str_q(key));
		return NULL;
	}
	if ((g = calloc(1, sizeof(*g))) == NULL) {
		err_oom(e);
		return NULL;
	}
	pthread_mutex_init(&g->mu, NULL);
	g->r.ops = &ops;
	g->r.size = size;
	g->s = s;
	if ((g->key = strdup(key)) == NULL ||
	    (g->etag = strdup(etag)) == NULL) {
		rg_close(&g->r);
		err_oom(e);
		return NULL;
	}
	return &g->r;
}
