/*
 * wire: one attempt of one request: signed, sent and its answer taken in.
 *
 * Whether to try again is s3_send()'s business (call.c).
 */

#include "s3/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/rate.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "s3/sum.h"

#ifndef CALA_VERSION
#define CALA_VERSION "unknown"
#endif

enum {
	HEADER_MAX = 16 << 10,          /* of one line that we send */
	ERROR_MAX = 64 << 10,           /* of an error document */
	ANSWER_MAX = 1 << 20,
	UPLOAD_BUF = 512 << 10,
	FETCH_BUF = 256 << 10,
	PATIENCE = 60,                  /* seconds without progress */
	PATIENCE_ANSWER = 120,          /* when all was sent */
	TRICKLE = 60 << 10,             /* bytes that count as progress */
	EXPECT_ALWAYS = 64 << 20,
	EXPECT_FIRST = 1 << 20
};

struct hand {
	CURL *c;
	struct hand *next;
};

/* One attempt while it runs. */
struct wire {
	struct s3 *s;
	struct s3_req *r;
	struct wire_facts *f;
	struct err *e;
	CURL *c;
	bool failed;                    /* e was set by a callback */
	const char *why;                /* we ended it: "stalled" */
	struct buf head[SIGN_HEADERS];  /* "name\0value" to be sent */
	size_t nhead;
	char date[SIGN_DATE];
	struct curl_slist *list;
	/* the body on its way */
	struct iovec one;
	const struct iovec *iov;
	size_t niov, at, off;           /* off bytes of iov[at] are read */
	uint64_t total;
	bool expect, asked;
	double start;
	/* the answer on its way */
	struct buf error;
	size_t got;
	/* patience */
	double mark;                    /* when_mono() */
	curl_off_t marked;
};

/* ---- what is sent ---- */

static int
add(struct wire *w, const char *name, const char *value)
{
	struct buf *b;

	if (w->nhead == SIGN_HEADERS)
		return err_set(w->e, CALA_FAIL, "more than %d headers in a "
		    "request", (int)SIGN_HEADERS);
	b = &w->head[w->nhead++];
	buf_init(b, HEADER_MAX);
	for (; *name != '\0'; name++)
		buf_chr(b, (char)(*name >= 'A' && *name <= 'Z' ? *name + 32 :
		    *name));
	buf_chr(b, '\0');
	buf_str(b, value);
	if (buf_failed(b, w->e) == -1)
		return -1;
	value = b->p + strlen(b->p) + 1;
	if (strpbrk(value, "\r\n") != NULL)
		return err_set(w->e, CALA_USAGE, "a header's value can't have "
		    "a line break: %s", b->p);
	return 0;
}

static int
add_lines(struct wire *w, const char *const *lines)
{
	const char *colon, *value;
	char name[128];
	size_t n;

	for (; lines != NULL && *lines != NULL; lines++) {
		colon = strchr(*lines, ':');
		n = colon != NULL ? (size_t)(colon - *lines) : 0;
		if (n == 0 || n >= sizeof(name))
			return err_set(w->e, CALA_FAIL, "no header line: %s",
			    str_q(*lines));
		memcpy(name, *lines, n);
		name[n] = '\0';
		for (value = colon + 1; *value == ' '; value++)
			;
		if (add(w, name, value) == -1)
			return -1;
	}
	return 0;
}

/* The customer's key goes with whatever touches an object's bytes (s3.md 4). */
static int
add_customer(struct wire *w)
{
	const struct s3_target *t = w->s->t;
	unsigned char md[SUM_MAX];
	struct buf b;
	int ret;

	if (t->sse != S3_SSE_CUSTOMER || w->r->call.key == NULL ||
	    strcmp(w->r->call.method, "DELETE") == 0)
		return 0;
	buf_init(&b, 256);
	b64_put(&b, t->customer_key->p, t->customer_key->len);
	ret = buf_failed(&b, w->e);
	if (ret == 0)
		ret = add(w, "x-amz-server-side-encryption-customer-algorithm",
		    "AES256");
	if (ret == 0)
		ret = add(w, "x-amz-server-side-encryption-customer-key", b.p);
	secret_wipe(b.p, b.len);
	buf_reset(&b);
	if (ret == 0)
		ret = sum_once(S3_SUM_MD5, t->customer_key->p,
		    t->customer_key->len, md, w->e);
	if (ret == 0) {
		b64_put(&b, md, sum_len(S3_SUM_MD5));
		ret = add(w, "x-amz-server-side-encryption-customer-key-md5",
		    b.p);
	}
	buf_fini(&b);
	return ret;
}

/* What x-amz-content-sha256 says of the body. */
static int
hash_body(struct wire *w, const char **out)
{
	struct s3_req *r = w->r;
	const struct s3_target *t = w->s->t;
	unsigned char md[SHA256_LEN];
	struct sha256 *h;
	bool refused;
	size_t i;

	*out = SIGN_EMPTY;
	w->f->unsigned_body = false;
	if (w->total == 0)
		return 0;
	pthread_mutex_lock(&w->s->mu);
	refused = w->s->no_unsigned;
	pthread_mutex_unlock(&w->s->mu);
	if (r->data && !refused && !t->sign_payload &&
	    (w->s->tls || t->insecure_unsigned)) {
		w->f->unsigned_body = true;
		*out = SIGN_UNSIGNED;
		return 0;
	}
	if (r->sha[0] == '\0') {
		if ((h = sha256_new(w->e)) == NULL)
			return -1;
		for (i = 0; i < w->niov; i++)
			sha256_add(h, w->iov[i].iov_base, w->iov[i].iov_len);
		sha256_end(h, md);
		sha256_free(h);
		hex_put(md, sizeof(md), r->sha);
	}
	*out = r->sha;
	return 0;
}

static int
add_md5(struct wire *w)
{
	unsigned char md[SUM_MAX];
	struct buf b;
	int ret;

	if (!w->r->call.md5)
		return 0;
	if (sum_once(S3_SUM_MD5, w->r->call.body, w->r->call.body_len, md,
	    w->e) == -1)
		return -1;
	buf_init(&b, 64);
	b64_put(&b, md, sum_len(S3_SUM_MD5));
	ret = add(w, "content-md5", b.p);
	buf_fini(&b);
	return ret;
}

/*
 * Credentials and the day's key, under the lock: they may be renewed by
 * another thread.  Appends the token's header and the Authorization.
 */
static int
authorize(struct wire *w, struct sign *g, struct buf *out)
{
	struct s3 *s = w->s;
	struct s3_creds *c = s->t->creds;
	struct sign_header h[SIGN_HEADERS];
	char sig[SIGN_HEX];
	size_t i;
	int ret = -1;

	if (c == NULL || c->anonymous)
		return 0;
	pthread_mutex_lock(&s->mu);
	w->f->creds = s->creds;
	if (c->token.len > 0 && add(w, "x-amz-security-token",
	    (const char *)c->token.p) == -1)
		goto out;
	if (s->key.len == 0 || s->key_creds != s->creds ||
	    strncmp(s->key_date, g->date, 8) != 0 ||
	    strcmp(s->key_region, s->region) != 0) {
		if ((s->key.len == 0 &&
		    secret_alloc(&s->key, SIGN_KEY, w->e) == -1) ||
		    sign_derive(&c->secret, g->date, s->region, s->key.p,
		    w->e) == -1)
			goto out;
		memcpy(s->key_date, g->date, 8);
		memcpy(s->key_region, s->region, sizeof(s->region));
		s->key_creds = s->creds;
	}
	for (i = 0; i < w->nhead; i++) {
		h[i].name = w->head[i].p;
		h[i].value = w->head[i].p + strlen(w->head[i].p) + 1;
	}
	g->headers = h;
	g->nheaders = w->nhead;
	g->region = s->region;
	g->id = c->id;
	g->key = s->key.p;
	ret = sign_request(g, sig, out, w->e);
out:
	pthread_mutex_unlock(&s->mu);
	return ret;
}

static int
list_add(struct wire *w, const char *line)
{
	struct curl_slist *l = curl_slist_append(w->list, line);

	if (l == NULL)
		return err_oom(w->e);
	w->list = l;
	return 0;
}

static int
list_headers(struct wire *w, const struct buf *auth)
{
	struct buf line;
	bool typed = false;
	size_t i;
	int ret = 0;

	buf_init(&line, 2 * HEADER_MAX);
	for (i = 0; ret == 0 && i < w->nhead; i++) {
		const char *value = w->head[i].p + strlen(w->head[i].p) + 1;

		typed |= strcmp(w->head[i].p, "content-type") == 0;
		buf_reset(&line);
		/* libcurl leaves out a header without value unless told so */
		buf_printf(&line, *value != '\0' ? "%s: %s" : "%s;",
		    w->head[i].p, value);
		if ((ret = buf_failed(&line, w->e)) == 0)
			ret = list_add(w, line.p);
		secret_wipe(line.p, line.len);
	}
	buf_reset(&line);
	buf_printf(&line, "authorization: %s", auth->p);
	if (ret == 0 && auth->len > 0)
		ret = list_add(w, line.p);
	/* no Expect of libcurl's own, nor its content type for a POST */
	if (ret == 0)
		ret = list_add(w, w->expect ? "Expect: 100-continue" :
		    "Expect:");
	if (ret == 0 && !typed)
		ret = list_add(w, "Content-Type:");
	buf_fini(&line);
	return ret;
}

/*
 * Ask before sending much only where a refusal is likely: a round trip for
 * every part would cost more than it ever saves.
 */
static bool
want_expect(struct wire *w, unsigned attempt)
{
	struct s3 *s = w->s;
	bool yes;

	pthread_mutex_lock(&s->mu);
	yes = !s->no_expect && s->expect_lost < 3 &&
	    (w->total >= EXPECT_ALWAYS || (w->total >= EXPECT_FIRST &&
	    (attempt > 0 || s->worked == 0)));
	pthread_mutex_unlock(&s->mu);
	return yes && w->r->data;
}

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
	if (now - w->mark > (w->total > 0 && sent ? PATIENCE_ANSWER :
	    PATIENCE)) {
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

/* Everything that goes out before the body; url is left for set_all. */
static int
prepare(struct wire *w, unsigned attempt, struct buf *url)
{
	struct s3 *s = w->s;
	struct s3_req *r = w->r;
	const struct s3_target *t = s->t;
	struct sign g = { .method = r->call.method, .date = w->date };
	struct buf path, query, host, auth;
	struct s3_place place;
	enum s3_style style;
	int ret = -1;

	buf_init(&path, 8 * S3_KEY_MAX);
	buf_init(&query, HEADER_MAX);
	buf_init(&host, 2 * PLACE_HOST);
	buf_init(&auth, HEADER_MAX);
	pthread_mutex_lock(&s->mu);
	place = s->place;
	style = s->style;
	pthread_mutex_unlock(&s->mu);
	s3_place_host(&place, style, t->bucket, &host);
	s3_place_path(&place, style, t->bucket, r->call.key, &path);
	if (buf_failed(&host, w->e) == -1 || buf_failed(&path, w->e) == -1 ||
	    sign_query(&query, r->call.query, w->e) == -1)
		goto out;
	r->began = s3_date(s);
	sign_date(r->began, w->date);
	if (add(w, "host", host.p) == -1 ||
	    add_lines(w, r->call.headers) == -1 || add_md5(w) == -1 ||
	    add_customer(w) == -1 ||
	    (t->owner != NULL &&
	    add(w, "x-amz-expected-bucket-owner", t->owner) == -1) ||
	    (t->requester_pays &&
	    add(w, "x-amz-request-payer", "requester") == -1))
		goto out;
	if (t->creds != NULL && !t->creds->anonymous &&
	    (hash_body(w, &g.payload) == -1 ||
	    add(w, "x-amz-content-sha256", g.payload) == -1 ||
	    add(w, "x-amz-date", w->date) == -1))
		goto out;
	g.path = path.p;
	g.query = query.p;
	w->expect = want_expect(w, attempt);
	if (authorize(w, &g, &auth) == -1 || list_headers(w, &auth) == -1)
		goto out;
	buf_printf(url, "http%s://%s%s%s%s", place.tls ? "s" : "", host.p,
	    path.p, query.len > 0 ? "?" : "", query.p);
	ret = buf_failed(url, w->e);
out:
	buf_fini(&path);
	buf_fini(&query);
	buf_fini(&host);
	buf_fini(&auth);
	return ret;
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
	w.niov = r->iov != NULL ? r->niov : 1;
	for (i = 0; i < w.niov; i++)
		w.total += w.iov[i].iov_len;
	if (prepare(&w, attempt, &url) == -1 || (h = hand_get(s, e)) == NULL)
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
