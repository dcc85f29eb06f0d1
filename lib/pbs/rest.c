/* rest: one call over HTTP/1.1, by libcurl with our own idea of trust. */

#include "pbs/rest.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <curl/curl.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/rate.h"
#include "base/secret.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "pbs/answer.h"
#include "pbs/net.h"
#include "pbs/rest_int.h"
#include "pbs/session.h"
#include "pbs/tls.h"

#ifndef CALA_VERSION
#define CALA_VERSION "unknown"
#endif

enum {
	URL_MAX = 8 << 10,
	TARGET_MAX = 3072,              /* path and query (pbs.md 2.5) */
	IDLE = 8,                       /* connections kept */
	CONNECT = 10,                   /* seconds, all of these */
	ANSWER = 120,
	ANSWER_CHANGE = 600,            /* what removes may take its time */
	RETRIES = 3
};

/* A connection, with what its handshake saw. */
struct hand {
	CURL *c;
	struct tls_check check;
	struct hand *next;
};

struct pbs_rest {
	const struct pbs_target *t;
	struct log *log;
	pthread_mutex_t mu;
	struct hand *idle;
	unsigned nidle;
	atomic_bool last_words;
};

/* One attempt while it runs. */
struct wire {
	struct pbs_rest *r;
	const struct rest_call *call;
	struct hand *h;
	struct err *e;
	bool failed;                    /* e is set */
	bool late;
	unsigned status;
	char text[PBS_TEXT];
	size_t ntext;
	curl_off_t moved;
	double mark;
};

static void
start_curl(void)
{
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

/*
 * Trust is decided in a callback on OpenSSL's context: a libcurl that is built
 * on something else must not be used at all.
 */
static int
check_curl(struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const curl_version_info_data *v;

	if (pthread_once(&once, start_curl) != 0 ||
	    (v = curl_version_info(CURLVERSION_NOW)) == NULL)
		return err_set(e, CALA_FAIL, "libcurl can't start");
	if (v->ssl_version == NULL || strncmp(v->ssl_version, "OpenSSL/3",
	    9) != 0)
		return err_set(e, CALA_TLS, "libcurl uses %s: only OpenSSL 3 "
		    "will do", v->ssl_version != NULL ? v->ssl_version :
		    "no TLS");
	return 0;
}

struct pbs_rest *
pbs_rest_new(const struct pbs_target *t, struct log *log, struct err *e)
{
	struct pbs_rest *r;

	if (check_curl(e) == -1 || pbs_target_check(t, e) == -1)
		return NULL;
	if ((r = calloc(1, sizeof(*r))) == NULL) {
		err_oom(e);
		return NULL;
	}
	r->t = t;
	r->log = log;
	pthread_mutex_init(&r->mu, NULL);
	return r;
}

void
pbs_rest_free(struct pbs_rest *r)
{
	struct hand *h;

	if (r == NULL)
		return;
	while ((h = r->idle) != NULL) {
		r->idle = h->next;
		curl_easy_cleanup(h->c);
		free(h);
	}
	pthread_mutex_destroy(&r->mu);
	free(r);
}

void
pbs_rest_last_words(struct pbs_rest *r, bool on)
{
	atomic_store(&r->last_words, on);
}

const struct pbs_target *
pbs_rest_target(const struct pbs_rest *r)
{
	return r->t;
}

static struct hand *
hand_get(struct pbs_rest *r, struct err *e)
{
	struct hand *h;

	pthread_mutex_lock(&r->mu);
	if ((h = r->idle) != NULL) {
		r->idle = h->next;
		r->nidle--;
	}
	pthread_mutex_unlock(&r->mu);
	if (h != NULL)
		return h;
	if ((h = calloc(1, sizeof(*h))) == NULL ||
	    (h->c = curl_easy_init()) == NULL) {
		free(h);
		err_oom(e);
		return NULL;
	}
	h->check.target = r->t;
	return h;
}

static void
hand_put(struct pbs_rest *r, struct hand *h)
{
	bool keep;

	curl_easy_reset(h->c);
	pthread_mutex_lock(&r->mu);
	keep = r->nidle < IDLE;
	if (keep) {
		h->next = r->idle;
		r->idle = h;
		r->nidle++;
	}
	pthread_mutex_unlock(&r->mu);
	if (keep)
		return;
	curl_easy_cleanup(h->c);
	free(h);
}

/* ---- callbacks: they keep facts, and never call back ---- */

static CURLcode
on_context(CURL *c, void *ctx, void *arg)
{
	struct wire *w = arg;

	(void)c;
	w->h->check.seen = w->h->check.wrong = false;
	w->h->check.why[0] = '\0';
	if (tls_trust(ctx, &w->h->check, w->e) == 0)
		return CURLE_OK;
	w->failed = true;
	return CURLE_SSL_CERTPROBLEM;
}

static size_t
on_header(char *p, size_t size, size_t n, void *arg)
{
	struct wire *w = arg;
	size_t len = size * n;
	char line[32];
	uint64_t v;

	if (len < 12 || memcmp(p, "HTTP/1.", 7) != 0)
		return len;
	memcpy(line, p + 9, 3);
	line[3] = '\0';
	w->status = str_u64(line, 100, 599, &v) == 0 ? (unsigned)v : 0;
	w->ntext = 0;
	w->text[0] = '\0';
	return len;
}

static size_t
on_body(char *p, size_t size, size_t n, void *arg)
{
	struct wire *w = arg;
	struct buf *out = w->call->answer;
	size_t len = size * n, k;

	if (w->status / 100 != 2) {
		k = sizeof(w->text) - 1 - w->ntext;
		k = len < k ? len : k;
		memcpy(w->text + w->ntext, p, k);
		w->ntext += k;
		w->text[w->ntext] = '\0';
		return len;
	}
	if (rate_take(w->r->t->rate, len, w->e) == -1) {
		w->failed = true;
		return 0;
	}
	if (out != NULL && buf_add(out, p, len) == -1) {
		w->failed = true;
		if (len > out->max - out->len)
			err_set(w->e, CALA_INTEGRITY, "the answer is longer "
			    "than %zu bytes", out->max);
		else
			err_oom(w->e);
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
	unsigned limit = w->r->t->answer;

	(void)dt, (void)ut;
	if (!atomic_load(&w->r->last_words) && stop_check(w->e) == -1) {
		w->failed = true;
		return 1;
	}
	if (dn + un != w->moved) {
		w->moved = dn + un;
		w->mark = now;
	}
	if (limit == 0)
		limit = strcmp(w->call->method, "GET") == 0 ? ANSWER :
		    ANSWER_CHANGE;
	w->late = now - w->mark > limit;
	return w->late;
}

/* ---- an attempt ---- */

static int
set_headers(struct wire *w, struct curl_slist **list)
{
	static const char auth[] = "Authorization: ";
	const char *type = w->call->type;
	struct curl_slist *l;
	struct buf b;
	int ret = -1;

	buf_init(&b, 4096);
	/* one piece: a buffer that moves would leave the secret behind */
	(void)buf_room(&b, 4095);
	buf_str(&b, auth);
	pbs_token(w->r->t, &b);
	if (buf_failed(&b, w->e) == -1)
		goto out;
	if ((*list = curl_slist_append(NULL, b.p)) == NULL)
		goto out;
	if ((l = curl_slist_append(*list, "Expect:")) == NULL)
		goto out;
	buf_reset(&b);
	buf_printf(&b, "Content-Type:%s%s", type != NULL ? " " : "",
	    type != NULL ? type : "");
	if (buf_failed(&b, w->e) == 0 && curl_slist_append(l, b.p) != NULL)
		ret = 0;
out:
	secret_wipe(b.p, b.cap > 0 ? b.cap : 0);
	buf_fini(&b);
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

static void
set_method(struct wire *w)
{
	const struct rest_call *q = w->call;
	CURL *c = w->h->c;

	if (strcmp(q->method, "GET") == 0 ||
	    (strcmp(q->method, "DELETE") == 0 && q->body == NULL)) {
		curl_easy_setopt(c, CURLOPT_HTTPGET, 1L);
	} else {
		curl_easy_setopt(c, CURLOPT_POST, 1L);
		curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE,
		    (curl_off_t)q->nbody);
		curl_easy_setopt(c, CURLOPT_POSTFIELDS,
		    q->body != NULL ? q->body : "");
	}
	curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q->method);
	/*
	 * libcurl repeats what it sent over a connection that turns out to be
	 * dead; a change must not be made twice.
	 */
	if (strcmp(q->method, "GET") != 0)
		curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L);
}

static int
set_all(struct wire *w, const char *url, struct curl_slist *list)
{
	const struct pbs_target *t = w->r->t;
	CURL *c = w->h->c;

	/* no trust without this: it must succeed */
	if (curl_easy_setopt(c, CURLOPT_SSL_CTX_FUNCTION, on_context) !=
	    CURLE_OK || curl_easy_setopt(c, CURLOPT_SSL_CTX_DATA, w) !=
	    CURLE_OK)
		return err_set(w->e, CALA_TLS, "libcurl: no way to check "
		    "certificates");
	/* on_context puts tls_trust() in the place of these two */
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
	/* a resumed session would not be looked at again */
	curl_easy_setopt(c, CURLOPT_SSL_SESSIONID_CACHE, 0L);
	curl_easy_setopt(c, CURLOPT_SSL_ENABLE_ALPN, 0L);
	curl_easy_setopt(c, CURLOPT_URL, url);
	curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https");
	curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(c, CURLOPT_USERAGENT, "cala-pbs/" CALA_VERSION);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, list);
	/* the environment is main's business: "" keeps libcurl out of it */
	curl_easy_setopt(c, CURLOPT_PROXY, t->proxy != NULL ? t->proxy : "");
	curl_easy_setopt(c, CURLOPT_NOPROXY, "");
	curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT,
	    t->timeout != 0 ? (long)t->timeout : (long)CONNECT);
	curl_easy_setopt(c, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(c, CURLOPT_TCP_KEEPIDLE, 60L);
	curl_easy_setopt(c, CURLOPT_MAXCONNECTS, 1L);
	curl_easy_setopt(c, CURLOPT_MAXAGE_CONN, 30L);
	curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(c, CURLOPT_HEADERDATA, w);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, w);
	curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(c, CURLOPT_XFERINFODATA, w);
	set_method(w);
	return 0;
}

static bool
before_sent(CURLcode n)
{
	switch (n) {
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
		return true;
	default:
		return false;
	}
}

/* What curl's result means; *again: worth another attempt. */
static int
outcome(struct wire *w, CURLcode n, const char *text, bool *again)
{
	const struct tls_check *c = &w->h->check;
	bool get = strcmp(w->call->method, "GET") == 0;
	long proxy = 0;

	*again = false;
	if (w->failed)
		return -1;
	if (n == CURLE_OK && w->status / 100 == 2)
		return 0;
	if (n == CURLE_OK) {
		(void)pbs_refused(w->e, w->call->what, w->status, w->text);
		*again = get && w->e->code == CALA_NET &&
		    w->status / 100 == 5;
		return -1;
	}
	(void)curl_easy_getinfo(w->h->c, CURLINFO_HTTP_CONNECTCODE, &proxy);
	if (c->seen && (c->wrong || *c->why != '\0')) {
		(void)tls_distrust(c, w->e);
	} else if (proxy >= 300) {
		err_set(w->e, proxy == 407 ? CALA_AUTH : CALA_NET,
		    "the proxy said %ld", proxy);
	} else {
		err_set(w->e, CALA_NET, "%s", w->late ? "no answer in time" :
		    *text != '\0' ? str_q(text) : curl_easy_strerror(n));
		*again = (get && !w->late) || before_sent(n);
	}
	return err_ctx(w->e, "%s", str_q(w->r->t->host));
}

static int
attempt(struct pbs_rest *r, const struct rest_call *q, const char *url,
    bool *again, struct err *e)
{
	struct wire w = { .r = r, .call = q, .e = e };
	char text[CURL_ERROR_SIZE] = "";
	struct curl_slist *list = NULL;
	double start = when_mono();
	CURLcode n;
	int ret = -1;

	*again = false;
	if ((w.h = hand_get(r, e)) == NULL)
		return -1;
	w.mark = start;
	err_clear(e);
	if (set_headers(&w, &list) == -1) {
		if (*e->msg == '\0')
			err_oom(e);
	} else if (set_all(&w, url, list) == 0) {
		curl_easy_setopt(w.h->c, CURLOPT_ERRORBUFFER, text);
		log_wire(r->log, "> %s %s", q->method, str_q(url));
		n = curl_easy_perform(w.h->c);
		log_wire(r->log, "< %u (%.3f s) %s", w.status, when_mono() -
		    start, n != CURLE_OK ? curl_easy_strerror(n) : "");
		ret = outcome(&w, n, text, again);
	}
	hand_put(r, w.h);
	wipe_list(list);
	return ret;
}

/* Even jitter needs no secret, but no two clients may share it. */
static double
pause_of(unsigned n)
{
	double base = n < 4 ? 0.5 * (1 << n) : 8;
	uint32_t x = 0;

	if (getrandom(&x, sizeof(x), GRND_NONBLOCK) != sizeof(x))
		x = UINT32_MAX / 2;
	return base * (0.5 + (double)x / 8589934592.0);
}

int
pbs_rest_do(struct pbs_rest *r, const struct rest_call *q, struct err *e)
{
	unsigned n, tries = r->t->retries != 0 ? r->t->retries : RETRIES;
	size_t had = q->answer != NULL ? q->answer->len : 0, base;
	struct buf url;
	bool again = false;
	int ret = -1;

	buf_init(&url, URL_MAX);
	pbs_target_url_text(r->t, &url);
	base = url.len;
	buf_printf(&url, "/api2/json/%s%s%s", q->path, q->query != NULL &&
	    *q->query != '\0' ? "?" : "", q->query != NULL ? q->query : "");
	if (buf_failed(&url, e) == -1)
		goto out;
	if (url.len - base > TARGET_MAX) {
		err_set(e, CALA_USAGE, "%s: too long a request", q->what);
		goto out;
	}
	for (n = 0;; n++) {
		ret = attempt(r, q, url.p, &again, e);
		if (ret == 0 || !again || n == tries)
			break;
		log_step(r->log, "%s: %s; trying again", q->what, e->msg);
		if (q->answer != NULL)
			buf_cut(q->answer, had);
		if (net_wait(-1, 0, when_mono() + pause_of(n), e) == -1)
			break;
	}
out:
	buf_fini(&url);
	return ret;
}

json_t *
pbs_rest_envelope(struct pbs_rest *r, const struct rest_call *call,
    struct err *e)
{
	struct rest_call q = *call;
	struct buf answer;
	json_t *j = NULL;

	buf_init(&answer, PBS_REST_CAP);
	q.answer = &answer;
	if (pbs_rest_do(r, &q, e) == 0) {
		/* an empty body is null (pbs.md 2.4) */
		j = answer.len == 0 ? json_pack("{s:n}", "data") :
		    json_parse(answer.p, answer.len, q.what, e);
		if (j != NULL && json_object_get(j, "data") == NULL) {
			json_decref(j);
			j = NULL;
			err_set(e, CALA_INTEGRITY, "%s: an answer without "
			    "data", q.what);
		}
	}
	buf_fini(&answer);
	return j;
}

json_t *
pbs_rest_call(struct pbs_rest *r, const char *what, const char *method,
    const char *path, const char *query, const json_t *body, struct err *e)
{
	struct rest_call q = { .what = what, .method = method, .path = path,
	    .query = query };
	char *text = NULL;
	json_t *j, *data = NULL;

	if (body != NULL) {
		if ((text = json_dumps(body, JSON_COMPACT)) == NULL) {
			err_oom(e);
			return NULL;
		}
		q.type = "application/json";
		q.body = text;
		q.nbody = strlen(text);
		q.query = NULL;
	}
	if ((j = pbs_rest_envelope(r, &q, e)) != NULL)
		data = json_incref(json_object_get(j, "data"));
	json_decref(j);
	free(text);
	return data;
}

int
pbs_rest_raw(struct pbs_rest *r, const char *what, const char *path,
    const char *query, struct buf *b, struct err *e)
{
	struct rest_call q = { .what = what, .method = "GET", .path = path,
	    .query = query, .answer = b };

	return pbs_rest_do(r, &q, e);
}
