/*
 * wire: one attempt of one request: signed, sent and its answer taken in.
 *
 * Whether to try again is s3_send()'s business (call.c).
 */

#include "s3/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rate.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"

#ifndef CALA_VERSION
#define CALA_VERSION "unknown"
#endif

enum {
	ERROR_MAX = 64 << 10,           /* of an error document */
	ANSWER_MAX = 1 << 20,
	UPLOAD_BUF = 512 << 10,
	LIMITED = 16 << 10,
	FETCH_BUF = 256 << 10,
	PATIENCE = 60,                  /* seconds without progress */
	PATIENCE_ANSWER = 120,          /* when all was sent */
	TRICKLE = 60 << 10              /* bytes that count as progress */
};

struct hand {
	CURL *c;
	struct hand *next;
};

/* ---- callbacks: they keep facts, and never call back ---- */

static bool
cancelled(struct wire *w)
{
	struct s3_req *r = w->r;

	if (r->cancel != NULL && atomic_load(r->cancel)) {
		w->why = "cancelled";
		return true;
	}
	if (!r->last_words && stop_signal() != 0) {
		w->why = "interrupted";
		return true;
	}
	if (r->deadline > 0 && when_mono() > r->deadline) {
		w->why = "out of time";
		return true;
	}
	return false;
}

static int
read_spool(struct wire *w, char *to, size_t room, size_t *done)
{
	uint64_t left = w->r->spool_len - w->spooled;
	ssize_t n;

	if (room > left)
		room = (size_t)left;
	n = file_pread_full(*w->r->spool, to, room, w->spooled);
	if (n == (ssize_t)room) {
		w->spooled += (uint64_t)n;
		*done = room;
		return 0;
	}
	w->failed = true;
	return n == -1 ? err_sys(w->e, "read a part from disk") :
	    err_set(w->e, CALA_FAIL, "a part on disk became shorter");
}

static size_t
on_read(char *to, size_t size, size_t n, void *arg)
{
	struct wire *w = arg;
	const struct iovec *v;
	curl_off_t us = 0;
	size_t room = size * n, k, done = 0;
	double now;

	if (cancelled(w))
		return CURL_READFUNC_ABORT;
	/* small steps under a limit: a cancellation must not wait for much */
	if (w->s->t->rate != NULL && room > LIMITED)
		room = LIMITED;
	now = when_mono();
	if (w->expect && !w->asked) {
		/* Did the 100 come, or did libcurl tire of waiting? */
		(void)curl_easy_getinfo(w->c, CURLINFO_PRETRANSFER_TIME_T,
		    &us);
		if (now - w->start - (double)us / 1e6 > 0.95) {
			pthread_mutex_lock(&w->s->mu);
			w->s->expect_lost++;
			pthread_mutex_unlock(&w->s->mu);
		}
	}
	w->asked = true;
	if (w->r->spool != NULL && read_spool(w, to, room, &done) == -1)
		return CURL_READFUNC_ABORT;
	while (room > 0 && w->at < w->niov) {
		v = &w->iov[w->at];
		k = v->iov_len - w->off;
		if (k > room)
			k = room;
		memcpy(to + done, (const char *)v->iov_base + w->off, k);
		done += k;
		room -= k;
		w->off += k;
		if (w->off == v->iov_len) {
			w->at++;
			w->off = 0;
		}
	}
	if (done > 0 && w->r->data) {
		if (rate_take(w->s->t->rate, done, w->e) == -1) {
			w->failed = true;
			return CURL_READFUNC_ABORT;
		}
		w->mark += when_mono() - now;
	}
	return done;
}

/* A connection that died idle is replaced by libcurl, from the beginning. */
static int
on_seek(void *arg, curl_off_t off, int whence)
{
	struct wire *w = arg;

	if (off != 0 || whence != SEEK_SET)
		return CURL_SEEKFUNC_CANTSEEK;
	w->at = w->off = 0;
	w->spooled = 0;
	return CURL_SEEKFUNC_OK;
}

static void
keep(char *to, size_t size, const char *value)
{
	snprintf(to, size, "%s", value);
}

/* "bytes 0-9/100", "bytes * /100" */
static void
content_range(struct s3_req *r, const char *v)
{
	char num[3][24] = { "", "", "" };
	uint64_t a, b, t;

	if (sscanf(v, "bytes %20[0-9]-%20[0-9]/%20[0-9]", num[0], num[1],
	    num[2]) != 3 || str_u64(num[0], 0, INT64_MAX, &a) == -1 ||
	    str_u64(num[1], 0, INT64_MAX, &b) == -1 ||
	    str_u64(num[2], 0, INT64_MAX, &t) == -1 || b < a || t <= b)
		return;
	r->ranged = true;
	r->range_off = a;
	r->range_end = b + 1;
	r->range_total = t;
}

static void
one_header(struct wire *w, const char *name, const char *value)
{
	struct s3_req *r = w->r;
	struct wire_facts *f = w->f;
	struct s3_call *c = &r->call;
	uint64_t n;

	if (strcmp(name, "content-length") == 0) {
		if (str_u64(value, 0, INT64_MAX, &n) == 0)
			c->length = n;
	} else if (strcmp(name, "etag") == 0) {
		if (strlen(value) < sizeof(c->etag))
			keep(c->etag, sizeof(c->etag), value);
	} else if (strcmp(name, "x-amz-version-id") == 0) {
		if (strlen(value) < sizeof(c->version))
			keep(c->version, sizeof(c->version), value);
	} else if (strcmp(name, "last-modified") == 0) {
		c->modified = curl_getdate(value, NULL);
		if (c->modified == -1)
			c->modified = 0;
	} else if (strcmp(name, "content-range") == 0) {
		content_range(r, value);
	} else if (strcmp(name, "date") == 0) {
		f->date = curl_getdate(value, NULL);
		f->has_date = f->date != -1;
	} else if (strcmp(name, "age") == 0) {
		f->has_age = true;
	} else if (strcmp(name, "retry-after") == 0) {
		f->after = s3_retry_after(value, false,
		    f->has_date ? f->date : time(NULL));
	} else if (strcmp(name, "x-amz-retry-after") == 0) {
		f->after = s3_retry_after(value, true, 0);
	} else if (strcmp(name, "x-amz-bucket-region") == 0) {
		keep(f->region, sizeof(f->region), value);
	} else if (strcmp(name, "location") == 0) {
		if (strlen(value) < sizeof(f->location))
			keep(f->location, sizeof(f->location), value);
	} else if (strcmp(name, "x-amz-request-id") == 0) {
		keep(f->request, sizeof(f->request), value);
	}
	if (c->header != NULL && c->status / 100 == 2)
		c->header(c->header_arg, name, value);
}

static void
forget_answer(struct wire *w)
{
	struct s3_req *r = w->r;
	struct s3_call *c = &r->call;
	unsigned creds = w->f->creds;
	bool plain = w->f->unsigned_body;
	time_t sent = w->f->sent;

	memset(w->f, 0, sizeof(*w->f));
	w->f->creds = creds;
	w->f->unsigned_body = plain;
	w->f->sent = sent;
	c->status = 0;
	c->length = 0;
	c->modified = 0;
	c->etag[0] = c->version[0] = c->code[0] = '\0';
	r->ranged = false;
	buf_reset(&w->error);
	w->got = 0;
}

static size_t
on_header(char *p, size_t size, size_t n, void *arg)
{
	struct wire *w = arg;
	size_t len = size * n, k;
	char line[8192], *value;

	if (len >= sizeof(line))
		return len;             /* none that matters is that long */
	memcpy(line, p, len);
	line[len] = '\0';
	if (str_begins(line, "HTTP/")) {
		/* a 100, or libcurl's second try: what came before is void */
		forget_answer(w);
		w->f->got = time(NULL);
		if (sscanf(line, "%*s %3u", &w->r->call.status) != 1)
			w->r->call.status = 0;
		return len;
	}
	if ((value = strchr(line, ':')) == NULL)
		return len;
	*value++ = '\0';
	for (k = 0; line[k] != '\0'; k++)
		if (line[k] >= 'A' && line[k] <= 'Z')
			line[k] = (char)(line[k] + 32);
	one_header(w, line, str_trim(value));
	return len;
}

static size_t
on_body(char *p, size_t size, size_t n, void *arg)
{
	struct wire *w = arg;
	struct s3_req *r = w->r;
	struct s3_call *c = &r->call;
	size_t len = size * n, k;
	double now;

	if (cancelled(w))
		return 0;
	if (c->status / 100 != 2) {
		k = ERROR_MAX - w->error.len;
		buf_add(&w->error, p, len < k ? len : k);
		return len;
	}
	if (r->take != NULL) {
		now = when_mono();
		if (rate_take(w->s->t->rate, len, w->e) == -1 ||
		    r->take(r->arg, r, p, len, w->e) == -1) {
			w->failed = true;
			return 0;
		}
		w->mark += when_mono() - now;
		return len;
	}
	w->got += len;
	if (w->got > (c->cap != 0 ? c->cap : ANSWER_MAX)) {
		w->failed = true;
		err_set(w->e, CALA_INTEGRITY, "the answer is longer than %zu "
		    "bytes", c->cap != 0 ? c->cap : (size_t)ANSWER_MAX);
		return 0;
	}
	if (c->answer != NULL && buf_add(c->answer, p, len) == -1) {
		w->failed = true;
		buf_failed(c->answer, w->e);
		return 0;
	}
	return len;
}

/* Seconds without progress, before and after the answer begins. */
static unsigned
patience(const struct wire *w, bool sent, bool answering)
{
	unsigned all = w->s->t->stall;

	/* one connection is tried anew well before all is given up */
	if (!sent || (answering && w->r->data))
		return all != 0 && all / 2 < PATIENCE ? all / 2 + 1 : PATIENCE;
	/* Complete sends a blank now and then while it works (s3.md 2.4) */
	if (answering)
		return PATIENCE_ANSWER;
	if (w->s->t->answer != 0)
		return w->s->t->answer;
	return w->total > 0 ? PATIENCE_ANSWER : PATIENCE;
}

static int
on_progress(void *arg, curl_off_t dt, curl_off_t dn, curl_off_t ut,
    curl_off_t un)
{
	struct wire *w = arg;
	double now = when_mono();
	bool sent = un >= (curl_off_t)w->total;
	curl_off_t moved = dn + un, need = 1;

	(void)dt, (void)ut;
	if (cancelled(w))
		return 1;
	/* a transfer that only trickles is as good as dead */
	if (w->r->data && (!sent || dn > 0))
		need = TRICKLE;
	if (moved < w->marked || moved - w->marked >= need) {
		w->marked = moved;
		w->mark = now;
	}
	if (now - w->mark > patience(w, sent, dn > 0)) {
		w->why = "stalled";
		return 1;
	}
	return 0;
}

/* ---- the attempt ---- */

static struct hand *
hand_get(struct s3 *s, struct err *e)
{
	struct hand *h;

	pthread_mutex_lock(&s->mu);
	if ((h = s->idle) != NULL) {
		s->idle = h->next;
		s->nidle--;
	}
	pthread_mutex_unlock(&s->mu);
	if (h != NULL)
		return h;
	if ((h = calloc(1, sizeof(*h))) == NULL ||
	    (h->c = curl_easy_init()) == NULL) {
		free(h);
		err_oom(e);
		return NULL;
	}
	return h;
}

static void
hand_put(struct s3 *s, struct hand *h)
{
	bool keep_it;

	curl_easy_reset(h->c);
	pthread_mutex_lock(&s->mu);
	keep_it = s->nidle < (s->t->jobs != 0 ? s->t->jobs : 8) + 4;
	if (keep_it) {
		h->next = s->idle;
		s->idle = h;
		s->nidle++;
	}
	pthread_mutex_unlock(&s->mu);
	if (keep_it)
		return;
	curl_easy_cleanup(h->c);
	free(h);
}

static void
init(void)
{
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

int
wire_init(struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	if (pthread_once(&once, init) != 0)
		return err_set(e, CALA_FAIL, "libcurl can't start");
	return 0;
}

void
wire_fini(struct s3 *s)
{
	struct hand *h;

	while ((h = s->idle) != NULL) {
		s->idle = h->next;
		curl_easy_cleanup(h->c);
		free(h);
	}
}

static void
set_method(struct wire *w)
{
	struct s3_call *q = &w->r->call;
	CURL *c = w->c;

	if (strcmp(q->method, "HEAD") == 0) {
		curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
	} else if (strcmp(q->method, "PUT") == 0) {
		/* also without a body: it must say Content-Length: 0 */
		curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE,
		    (curl_off_t)w->total);
	} else if (strcmp(q->method, "POST") == 0) {
		curl_easy_setopt(c, CURLOPT_POST, 1L);
		curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE,
		    (curl_off_t)w->total);
		curl_easy_setopt(c, CURLOPT_POSTFIELDS,
		    q->body != NULL ? q->body : "");
	} else {
		curl_easy_setopt(c, CURLOPT_HTTPGET, 1L);
		if (strcmp(q->method, "GET") != 0)
			curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q->method);
	}
}

static void
set_all(struct wire *w, const char *url)
{
	const struct s3_target *t = w->s->t;
	CURL *c = w->c;

	curl_easy_setopt(c, CURLOPT_URL, url);
	curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	/* its own connection and congestion window for each */
	curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(c, CURLOPT_USERAGENT, "cala-s3/" CALA_VERSION);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, w->list);
	/* the environment is main's business: "" keeps libcurl out of it */
	curl_easy_setopt(c, CURLOPT_PROXY, t->proxy != NULL ? t->proxy : "");
	curl_easy_setopt(c, CURLOPT_NOPROXY, "");
	curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	if (t->cacert != NULL)
		curl_easy_setopt(c, CURLOPT_CAINFO, t->cacert);
	curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, t->insecure ? 0L : 1L);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, t->insecure ? 0L : 2L);
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT,
	    t->timeout != 0 ? (long)t->timeout : 10L);
	curl_easy_setopt(c, CURLOPT_EXPECT_100_TIMEOUT_MS, 1000L);
	curl_easy_setopt(c, CURLOPT_DNS_SHUFFLE_ADDRESSES, 1L);
	curl_easy_setopt(c, CURLOPT_DNS_CACHE_TIMEOUT, 30L);
	/* shorter than servers keep an idle connection */
	curl_easy_setopt(c, CURLOPT_MAXAGE_CONN, 15L);
	curl_easy_setopt(c, CURLOPT_MAXLIFETIME_CONN, 600L);
	curl_easy_setopt(c, CURLOPT_MAXCONNECTS, 2L);
	curl_easy_setopt(c, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(c, CURLOPT_TCP_KEEPIDLE, 30L);
	curl_easy_setopt(c, CURLOPT_TCP_KEEPINTVL, 15L);
	if (w->total >= UPLOAD_BUF)
		curl_easy_setopt(c, CURLOPT_UPLOAD_BUFFERSIZE,
		    (long)UPLOAD_BUF);
	if (w->r->take != NULL)
		curl_easy_setopt(c, CURLOPT_BUFFERSIZE, (long)FETCH_BUF);
	curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(c, CURLOPT_READDATA, w);
	curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_seek);
	curl_easy_setopt(c, CURLOPT_SEEKDATA, w);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, w);
	curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(c, CURLOPT_HEADERDATA, w);
	curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(c, CURLOPT_XFERINFODATA, w);
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, w->f->curl_text);
	set_method(w);
}

static void
wipe_list(struct curl_slist *l)
{
	struct curl_slist *i;

	for (i = l; i != NULL; i = i->next)
		secret_wipe(i->data, strlen(i->data));
	curl_slist_free_all(l);
}

/* What curl's result means, together with what our callbacks said. */
static int
outcome(struct wire *w, int curl)
{
	struct s3_req *r = w->r;

	r->curl = curl;
	if (w->failed)
		return -1;
	if (w->why != NULL && strcmp(w->why, "stalled") == 0) {
		r->curl = CURLE_OPERATION_TIMEDOUT;
		keep(w->f->curl_text, sizeof(w->f->curl_text),
		    "no progress, given up");
		return 0;
	}
	if (w->why != NULL) {
		if (!r->last_words && stop_check(w->e) == -1)
			return -1;
		return err_set(w->e, CALA_NET, "%s", w->why);
	}
	if (curl == CURLE_OK)
		return 0;
	/*
	 * libcurl's word for a header line beyond its limit.  What it is not is
	 * short of memory: nothing of ours is as large as that.
	 */
	if (curl == CURLE_OUT_OF_MEMORY && w->f->curl_text[0] == '\0') {
		r->curl = CURLE_WEIRD_SERVER_REPLY;
		keep(w->f->curl_text, sizeof(w->f->curl_text),
		    "a header line of the answer is too long");
	}
	if (w->f->curl_text[0] == '\0')
		keep(w->f->curl_text, sizeof(w->f->curl_text),
		    curl_easy_strerror((CURLcode)curl));
	/* refused before all was sent: what it said counts */
	if (r->call.status >= 400 && curl == CURLE_SEND_ERROR)
		r->curl = CURLE_OK;
	return 0;
}

int
wire_send(struct s3 *s, struct s3_req *r, unsigned attempt,
    struct wire_facts *f, struct err *e)
{
	struct wire w = { .s = s, .r = r, .f = f, .e = e };
	struct hand *h = NULL;
	char root[16];
	struct buf url;
	size_t i;
	int ret = -1;

	memset(f, 0, sizeof(*f));
	buf_init(&url, 32 << 10);
	buf_init(&w.error, ERROR_MAX);
	forget_answer(&w);
	w.one.iov_base = (void *)(uintptr_t)r->call.body;
	w.one.iov_len = r->call.body_len;
	w.iov = r->iov != NULL ? r->iov : &w.one;
	w.niov = r->spool != NULL ? 0 : r->iov != NULL ? r->niov : 1;
	w.total = r->spool != NULL ? r->spool_len : 0;
	for (i = 0; i < w.niov; i++)
		w.total += w.iov[i].iov_len;
	if (wire_prepare(&w, attempt, &url) == -1 || (h = hand_get(s, e)) == NULL)
		goto out;
	w.c = h->c;
	set_all(&w, url.p);
	log_wire(s->log, "> %s %s", r->call.method, str_q(url.p));
	f->sent = time(NULL);
	w.start = w.mark = when_mono();
	ret = outcome(&w, (int)curl_easy_perform(w.c));
	hand_put(s, h);
	log_wire(s->log, "< %u %s%s (%.3f s)", r->call.status,
	    r->curl != 0 ? str_q(f->curl_text) : "", w.why != NULL ? w.why :
	    "", when_mono() - w.start);
	if (ret == -1 || r->curl != 0)
		goto out;
	/* Complete may fail inside a 200 (s3.md 2.4) */
	if (r->call.status / 100 == 2 && r->call.answer != NULL) {
		xml_root(r->call.answer->p, r->call.answer->len, root,
		    sizeof(root));
		if (strcmp(root, "Error") == 0)
			(void)xml_error(r->call.answer->p,
			    r->call.answer->len, &f->error);
	} else if (w.error.len > 0) {
		(void)xml_error(w.error.p, w.error.len, &f->error);
	}
	keep(r->call.code, sizeof(r->call.code), f->error.code);
	if (f->request[0] == '\0')
		keep(f->request, sizeof(f->request), f->error.request);
out:
	for (i = 0; i < w.nhead; i++) {
		secret_wipe(w.head[i].p, w.head[i].len);
		buf_fini(&w.head[i]);
	}
	wipe_list(w.list);
	buf_fini(&w.error);
	buf_fini(&url);
	return ret;
}
