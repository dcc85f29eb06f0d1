/*
 * call: one request until it is answered or given up: back-off, clocks,
 * regions, credentials, style (s3.md 1.7, 1.9, 1.10, 2.10, 5.2).
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "s3/client.h"

enum {
	TRIES_CONTROL = 6,
	TRIES_DATA = 10,
	SKEW_MIN = 60,          /* seconds: less is no reason */
	SKEW_HEAD = 300,        /* a 403 without a body */
	SKEW_TRIES = 2,
	HOPS = 3,
	RENEW_AHEAD = 300,      /* seconds before credentials expire */
	RENEW_EVERY = 60,
	STALL = 1800
};

/* What was tried so far for one request. */
struct course {
	struct s3 *s;
	struct s3_req *r;
	struct wire_facts f;
	unsigned attempt;       /* failures that were waited for */
	unsigned strikes;       /* those that count */
	unsigned skews, hops;
	bool renewed, damaged, plain, styled, asked;
	struct err first;       /* of the style that was tried first */
	uint64_t worked;        /* s->worked when it failed last */
};

static int
check_target(const struct s3_target *t, struct err *e)
{
	if (s3_bucket_check(t->bucket, e) == -1)
		return -1;
	if (t->creds != NULL && !t->creds->anonymous &&
	    (t->creds->id[0] == '\0' || t->creds->secret.len == 0)) {
		err_set(e, CALA_AUTH, "no credentials");
		return err_hint(e, "an access key id and its secret, or "
		    "anonymous access");
	}
	if (t->sse == S3_SSE_CUSTOMER && (t->customer_key == NULL ||
	    t->customer_key->len != 32))
		return err_set(e, CALA_USAGE, "a customer key has 32 bytes");
	if (t->jobs > 64)
		return err_set(e, CALA_USAGE, "at most 64 connections");
	return 0;
}

static int
place(struct s3 *s, struct err *e)
{
	const struct s3_target *t = s->t;

	if (t->endpoint != NULL) {
		if (s3_place_parse(t->endpoint, &s->place, e) == -1)
			return -1;
	} else {
		s3_place_aws(t->region != NULL ? t->region : "us-east-1",
		    &s->place);
	}
	s->tls = s->place.tls;
	s->provider = s3_provider(&s->place);
	if (t->sse == S3_SSE_CUSTOMER && !s->tls)
		return err_set(e, CALA_USAGE, "a customer key must not go over "
		    "plain http");
	if (t->region != NULL && (strlen(t->region) >= REGION_MAX ||
	    strpbrk(t->region, "/ \t\r\n") != NULL))
		return err_set(e, CALA_USAGE, "region '%s': no region",
		    str_q(t->region));
	if (t->region != NULL)
		memcpy(s->region, t->region, strlen(t->region) + 1);
	else if (s3_place_region(&s->place, s->region) == -1)
		memcpy(s->region, "us-east-1", 10);
	s->style = s3_place_style(&s->place, t->bucket, t->style);
	s->style_known = t->style != S3_AUTO ||
	    !s3_place_other(&s->place, t->bucket);
	return 0;
}

struct s3 *
s3_new(const struct s3_target *t, struct log *log, struct err *e)
{
	struct s3 *s;

	if (wire_init(e) == -1 || check_target(t, e) == -1)
		return NULL;
	if ((s = calloc(1, sizeof(*s))) == NULL) {
		err_oom(e);
		return NULL;
	}
	s->t = t;
	s->log = log;
	pthread_mutex_init(&s->mu, NULL);
	if (place(s, e) == -1) {
		s3_free(s);
		return NULL;
	}
	if (t->insecure && s->tls)
		log_note(log, "warning: certificates are not checked "
		    "(tls-verify = no)");
	log_step(log, "%s%s, region %s, %s style", s->tls ? "https://" :
	    "http://", s->place.host, s->region,
	    s->style == S3_VIRTUAL ? "virtual host" : "path");
	return s;
}

void
s3_free(struct s3 *s)
{
	if (s == NULL)
		return;
	wire_fini(s);
	secret_free(&s->key);
	pthread_mutex_destroy(&s->mu);
	free(s);
}

time_t
s3_date(struct s3 *s)
{
	int64_t skew;

	pthread_mutex_lock(&s->mu);
	skew = s->skew;
	pthread_mutex_unlock(&s->mu);
	return time(NULL) + (time_t)skew;
}

void
s3_name(struct s3 *s, const char *key, struct buf *b)
{
	buf_printf(b, "s3://%s", s->t->bucket);
	if (key != NULL) {
		buf_chr(b, '/');
		str_esc(b, key, strlen(key));
	}
}

/* ---- what can be mended ---- */

/* Before they expire; one thread does it while the others wait. */
static int
renew_ahead(struct s3 *s, struct err *e)
{
	const struct s3_target *t = s->t;
	time_t now = time(NULL);
	struct err mine = ERR_INIT;
	int ret = 0;

	if (t->refresh == NULL || t->creds == NULL)
		return 0;
	pthread_mutex_lock(&s->mu);
	now += (time_t)s->skew;
	if (t->creds->expires != 0 && t->creds->expires - RENEW_AHEAD < now &&
	    s->renewed + RENEW_EVERY <= now) {
		s->renewed = now;
		if (t->refresh(t->refresh_arg, t->creds, &mine) == 0) {
			s->creds++;
			log_step(s->log, "credentials renewed");
		} else if (t->creds->expires <= now) {
			*e = mine;
			ret = -1;
		} else {
			log_step(s->log, "credentials can't be renewed yet: "
			    "%s", mine.msg);
		}
	}
	pthread_mutex_unlock(&s->mu);
	return ret;
}

/* They did expire: true when there are others to try with. */
static bool
renew(struct course *c, struct err *e)
{
	struct s3 *s = c->s;
	bool ok = true;

	if (c->renewed)
		return false;
	c->renewed = true;
	pthread_mutex_lock(&s->mu);
	if (s->creds == c->f.creds) {
		ok = s->t->refresh != NULL &&
		    s->t->refresh(s->t->refresh_arg, s->t->creds, e) == 0;
		if (ok)
			s->creds++;
		s->renewed = time(NULL);
	}
	pthread_mutex_unlock(&s->mu);
	if (ok)
		log_step(s->log, "the credentials expired and were renewed");
	return ok;
}

static bool
adopt_clock(struct course *c)
{
	struct s3 *s = c->s;
	int64_t skew, off;
	struct timespec t;
	bool ok = false;

	if (when_rfc3339(c->f.error.time, &t) == 0)
		skew = (int64_t)t.tv_sec - (int64_t)c->f.got;
	else if (c->f.has_date && !c->f.has_age)
		skew = (int64_t)c->f.date -
		    (int64_t)(c->f.sent + (c->f.got - c->f.sent) / 2);
	else
		return false;
	if (c->skews >= SKEW_TRIES)
		return false;
	pthread_mutex_lock(&s->mu);
	off = skew - s->skew;
	/* another thread may have adopted it since we signed */
	ok = off > SKEW_MIN || off < -SKEW_MIN ||
	    c->r->began != time(NULL) + (time_t)s->skew;
	if (off > SKEW_MIN || off < -SKEW_MIN) {
		s->skew = skew;
		log_note(s->log, "the server's clock is %" PRId64 " seconds "
		    "%s ours; its time is used", skew < 0 ? -skew : skew,
		    skew < 0 ? "behind" : "ahead of");
	} else {
		off = (int64_t)c->r->began - (int64_t)c->f.got - s->skew;
		ok = off > SKEW_MIN || off < -SKEW_MIN;
	}
	pthread_mutex_unlock(&s->mu);
	if (ok)
		c->skews++;
	return ok;
}

/* Host of a Location or an Endpoint element. */
static bool
host_of(const char *text, struct s3_place *p)
{
	struct err ignored = ERR_INIT;
	char host[PLACE_HOST + 16];
	size_t n, skip = 0;

	if (str_begins(text, "http://") || str_begins(text, "https://"))
		skip = (size_t)(strstr(text, "://") + 3 - text);
	n = skip + strcspn(text + skip, "/?#");
	if (n == skip || n >= sizeof(host))
		return false;
	memcpy(host, text, n);
	host[n] = '\0';
	return s3_place_parse(host, p, &ignored) == 0;
}

static bool
move_region(struct course *c, const char *region)
{
	struct s3 *s = c->s;
	bool moved;

	if (*region == '\0' || strlen(region) >= REGION_MAX ||
	    strpbrk(region, "/ \t\r\n") != NULL)
		return false;
	moved = strcmp(s->region, region) != 0;
	if (moved)
		log_step(s->log, "the bucket's region is %s", str_q(region));
	memcpy(s->region, region, strlen(region) + 1);
	if (s->provider->aws && str_begins(s->place.host, "s3")) {
		s3_place_aws(region, &s->place);
		s->style = s3_place_style(&s->place, s->t->bucket,
		    s->t->style);
		moved = true;
	}
	return moved;
}

/* Another host is asked only when it is the same provider's. */
static bool
move_host(struct course *c, const char *text)
{
	struct s3 *s = c->s;
	struct s3_place p;
	size_t n = strlen(s->t->bucket);

	if (*text == '\0' || !host_of(text, &p))
		return false;
	if ((str_begins(text, "http://") && s->tls) ||
	    !s3_place_trusts(&s->place, p.host)) {
		log_note(s->log, "%s: a redirect to %s is not followed",
		    s->place.host, str_q(p.host));
		return false;
	}
	/* the bucket in front comes back by itself */
	if (strncmp(p.host, s->t->bucket, n) == 0 && p.host[n] == '.' &&
	    s->style == S3_VIRTUAL && !s3_place_pasted(&s->place, s->t->bucket))
		memmove(p.host, p.host + n + 1, strlen(p.host + n + 1) + 1);
	if (strcmp(p.host, s->place.host) == 0 &&
	    (p.port == s->place.port || !str_begins(text, "http")))
		return false;
	log_step(s->log, "sent on to %s", p.host);
	memcpy(s->place.host, p.host, sizeof(p.host));
	if (str_begins(text, "http"))
		s->place.port = p.port;
	return true;
}

static bool
elsewhere(struct course *c)
{
	struct s3 *s = c->s;
	bool ok;

	if (c->hops++ >= HOPS)
		return false;
	pthread_mutex_lock(&s->mu);
	ok = move_host(c, c->f.location);
	if (!ok)
		ok = move_region(c, c->f.region[0] != '\0' ? c->f.region :
		    c->f.error.region);
	if (!ok && strstr(c->f.error.message, "expecting '") != NULL) {
		char region[REGION_MAX];

		if (sscanf(strstr(c->f.error.message, "expecting '"),
		    "expecting '%63[^']'", region) == 1)
			ok = move_region(c, region);
	}
	if (!ok)
		ok = move_host(c, c->f.error.endpoint);
	pthread_mutex_unlock(&s->mu);
	return ok;
}

/* The other style, once, as long as none has worked (s3.md 5.2). */
static bool
restyle(struct course *c)
{
	struct s3 *s = c->s;
	const char *code = c->r->call.code;
	unsigned status = c->r->call.status;
	bool ok;

	pthread_mutex_lock(&s->mu);
	ok = !s->style_known && !c->styled &&
	    ((c->r->curl == 6 && s->style == S3_VIRTUAL) ||
	    strcmp(code, "NoSuchBucket") == 0 ||
	    strcmp(code, "InvalidBucketName") == 0 ||
	    (status == 405 && strcmp(c->r->call.method, "HEAD") != 0));
	if (ok)
		s->style = s->style == S3_VIRTUAL ? S3_PATH : S3_VIRTUAL;
	pthread_mutex_unlock(&s->mu);
	return ok;
}

static bool
refuses_unsigned(struct course *c)
{
	const struct s3_call *a = &c->r->call;
	bool named = strcasestr(c->f.error.message,
	    "content-sha256") != NULL || strstr(c->f.error.message,
	    SIGN_UNSIGNED) != NULL ||
	    strcmp(a->code, "XAmzContentSHA256Mismatch") == 0;

	if (!c->f.unsigned_body || c->plain || !named ||
	    (a->status != 400 && a->status != 403 && a->status != 501))
		return false;
	c->plain = true;
	pthread_mutex_lock(&c->s->mu);
	c->s->no_unsigned = true;
	pthread_mutex_unlock(&c->s->mu);
	log_step(c->s->log, "the server takes no unsigned body: hashing all");
	return true;
}

/* Is another attempt, right now, of any use? */
static bool
mend(struct course *c, struct err *e)
{
	const struct s3_call *a = &c->r->call;
	int64_t off;
	bool moved;

	if (c->r->curl == 0 && a->status == 417) {
		pthread_mutex_lock(&c->s->mu);
		c->s->no_expect = true;
		pthread_mutex_unlock(&c->s->mu);
		return c->hops++ < HOPS;
	}
	if (c->r->curl == 0 && refuses_unsigned(c))
		return true;
	switch (c->r->verdict) {
	case S3_SKEW:
	case S3_SIGNATURE:
		return adopt_clock(c);
	case S3_EXPIRED:
		return renew(c, e);
	case S3_ELSEWHERE:
		return elsewhere(c);
	default:
		break;
	}
	/* HEAD has no body to say more (s3.md 1.9, 1.10) */
	if (c->r->curl == 0 && strcmp(a->method, "HEAD") == 0 &&
	    (a->status == 403 || a->status == 400)) {
		off = (int64_t)c->f.date - (int64_t)c->r->began;
		if (c->f.has_date && (off > SKEW_HEAD || off < -SKEW_HEAD) &&
		    adopt_clock(c))
			return true;
		pthread_mutex_lock(&c->s->mu);
		moved = c->f.region[0] != '\0' && strcmp(c->f.region,
		    c->s->region) != 0;
		pthread_mutex_unlock(&c->s->mu);
		if (moved)
			return elsewhere(c);
	}
	return false;
}

/* ---- the course of a request ---- */

static int
say(struct course *c, struct err *e)
{
	struct s3_req *r = c->r;
	const struct xml_error *x = &c->f.error;
	int code = s3_code(r->curl, r->call.status, r->call.code);

	if (r->curl != 0) {
		err_set(e, code, "%s: %s", c->s->place.host,
		    str_q(c->f.curl_text));
		if (code == CALA_TLS)
			err_hint(e, "a private authority's certificate is "
			    "named by cacert; a bucket with dots needs path "
			    "style");
		return -1;
	}
	err_set(e, code, "server said %u%s%s%s%s%s%s%s", r->call.status,
	    r->call.code[0] != '\0' ? " " : "", str_q(r->call.code),
	    x->message[0] != '\0' ? ": " : "", str_q(x->message),
	    c->f.request[0] != '\0' ? " (request " : "",
	    str_q(c->f.request), c->f.request[0] != '\0' ? ")" : "");
	if (strcmp(r->call.code, "InvalidObjectState") == 0)
		err_hint(e, "the object is in an archive class: bring it back "
		    "first (restore-object)");
	else if (strcmp(r->call.code, "AuthorizationHeaderMalformed") == 0)
		err_hint(e, "is region = %s right?", str_q(c->s->region));
	else if (strcmp(r->call.code, "RequestTimeTooSkewed") == 0)
		err_hint(e, "set this machine's clock");
	else if (strcmp(r->call.code, "SignatureDoesNotMatch") == 0)
		err_hint(e, "the secret key does not belong to the key id, or "
		    "a proxy changes requests");
	return -1;
}

/* Sleep, but not past a wish to end. */
static int
wait_for(struct s3_req *r, double seconds, struct err *e)
{
	double until = when_mono() + seconds, left;
	struct timespec ts;

	for (;;) {
		if (r->cancel != NULL && atomic_load(r->cancel))
			return err_set(e, CALA_FAIL, "cancelled");
		if (!r->last_words && stop_check(e) == -1)
			return -1;
		left = until - when_mono();
		if (left <= 0)
			return 0;
		if (r->deadline > 0 && when_mono() > r->deadline)
			return err_set(e, CALA_NET, "out of time");
		if (left > 0.1)
			left = 0.1;
		ts.tv_sec = 0;
		ts.tv_nsec = (long)(left * 1e9);
		nanosleep(&ts, NULL);
	}
}

/*
 * Is it over?  Where the number of tries was left to us, a request that may
 * outlive outages is struck only by what is its own: a failure while others
 * worked, or one that the server calls its fault; else it goes on until
 * nothing at all has worked for the time that the target allows.
 */
static bool
give_up(struct course *c)
{
	struct s3 *s = c->s;
	struct s3_req *r = c->r;
	unsigned tries = r->tries != 0 ? r->tries : r->data ?
	    s->t->retries != 0 ? s->t->retries : TRIES_DATA : TRIES_CONTROL;
	double stall = s->t->stall != 0 ? s->t->stall : STALL, last;
	uint64_t worked;

	pthread_mutex_lock(&s->mu);
	worked = s->worked;
	last = s->last;
	pthread_mutex_unlock(&s->mu);
	c->attempt++;
	if (!r->patient || s->t->retries != 0 || worked == 0 ||
	    (r->curl == 0 && r->call.status == 500) ||
	    (worked != c->worked && r->verdict != S3_THROTTLE))
		c->strikes++;
	c->worked = worked;
	return c->strikes >= tries ||
	    (r->patient && worked > 0 && when_mono() - last > stall);
}

static void
succeeded(struct course *c)
{
	struct s3 *s = c->s;

	pthread_mutex_lock(&s->mu);
	s->worked++;
	s->last = when_mono();
	s->style_known = true;
	pthread_mutex_unlock(&s->mu);
}

/*
 * A HEAD is refused without a word; the same question about the bucket has an
 * answer that says why.  Only what concerns every request is taken over: the
 * region, the clock, the key.
 */
static bool
ask_why(struct course *c)
{
	static const char *const q[] = { "list-type", "2", "max-keys", "1",
	    "prefix", ".cala/", NULL };
	struct s3_req *r = c->r, why = { .call = { .method = "GET",
	    .query = q }, .cancel = r->cancel, .deadline = r->deadline };
	struct err ignored = ERR_INIT;
	struct wire_facts f = { .date = 0 };

	if (c->asked || r->curl != 0 || r->call.code[0] != '\0' ||
	    strcmp(r->call.method, "HEAD") != 0 ||
	    (r->call.status != 400 && r->call.status != 403))
		return false;
	c->asked = true;
	if (wire_send(c->s, &why, 0, &f, &ignored) == -1 || why.curl != 0)
		return false;
	switch (s3_judge(0, why.call.status, why.call.code)) {
	case S3_ELSEWHERE: case S3_SKEW: case S3_SIGNATURE: case S3_EXPIRED:
		break;
	default:
		if (strcmp(why.call.code, "InvalidAccessKeyId") != 0)
			return false;
	}
	c->f = f;
	memcpy(r->call.code, why.call.code, sizeof(r->call.code));
	r->call.status = why.call.status;
	r->began = why.began;
	r->verdict = s3_judge(0, r->call.status, r->call.code);
	return true;
}

/* 0: done; 1: try again; -1: over. */
static int
next_step(struct course *c, struct err *e)
{
	struct s3_req *r = c->r;
	double pause;

	r->verdict = s3_judge(r->curl, r->call.status, r->call.code);
	if (r->verdict == S3_GOOD) {
		succeeded(c);
		return 0;
	}
	if (mend(c, e) || (e->code == 0 && ask_why(c) && mend(c, e)))
		return 1;
	if (e->code != 0)
		return -1;
	say(c, e);
	if (r->verdict == S3_FATAL || r->verdict == S3_AGAIN) {
		if (restyle(c)) {
			c->styled = true;
			c->first = *e;
			err_clear(e);
			return 1;
		}
	}
	if (r->verdict == S3_THROTTLE && r->throttled != NULL)
		r->throttled(r->arg);
	if (r->verdict == S3_ONCE && !c->damaged) {
		c->damaged = true;
	} else if ((r->verdict != S3_AGAIN && r->verdict != S3_THROTTLE) ||
	    (r->once && r->verdict == S3_AGAIN) || give_up(c)) {
		return -1;
	}
	/* last words without a deadline: this one attempt, no more */
	if (r->last_words && r->deadline <= 0 && stop_signal() != 0)
		return -1;
	pause = s3_pause(r->verdict, c->attempt - (c->attempt > 0), c->f.after);
	log_step(c->s->log, "%s %s: attempt %u: %s; again in %.1f s",
	    r->call.method, r->call.key != NULL ? str_q(r->call.key) :
	    "bucket", r->attempts, e->msg, pause);
	err_clear(e);
	return wait_for(r, pause, e) == -1 ? -1 : 1;
}

int
s3_send(struct s3 *s, struct s3_req *r, struct err *e)
{
	struct course c = { .s = s, .r = r };
	struct buf name;
	int step = 1;

	pthread_mutex_lock(&s->mu);
	c.worked = s->worked;
	pthread_mutex_unlock(&s->mu);
	for (r->attempts = 1; step == 1; r->attempts++) {
		if (r->call.answer != NULL)
			buf_reset(r->call.answer);
		if ((!r->last_words && stop_check(e) == -1) ||
		    renew_ahead(s, e) == -1 ||
		    (r->begin != NULL && r->begin(r->arg, r, e) == -1) ||
		    wire_send(s, r, r->attempts - 1, &c.f, e) == -1)
			step = -1;
		else
			step = next_step(&c, e);
	}
	if (step == 0)
		return 0;
	if (c.styled) {
		/* the first answer is the one that explains */
		if (c.first.code != 0 && e->code < CALA_SIGNAL)
			*e = c.first;
		pthread_mutex_lock(&s->mu);
		if (!s->style_known)
			s->style = s->style == S3_VIRTUAL ? S3_PATH :
			    S3_VIRTUAL;
		pthread_mutex_unlock(&s->mu);
	}
	buf_init(&name, 8192);
	s3_name(s, r->call.key, &name);
	err_ctx(e, "%s: %s", name.p, r->call.method);
	buf_fini(&name);
	return -1;
}

int
s3_call(struct s3 *s, struct s3_call *c, struct err *e)
{
	struct s3_req r = { .call = *c };
	int ret = s3_send(s, &r, e);

	*c = r.call;
	return ret;
}
