/* head: what goes out before the body: headers, signature, URL. */

#include "s3/wire.h"

#include <string.h>

#include "base/code.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/str.h"
#include "s3/sum.h"

enum {
	EXPECT_ALWAYS = 64 << 20,
	EXPECT_FIRST = 1 << 20
};

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

static void
add_bytes(void *arg, const void *p, size_t n)
{
	sha256_add(arg, p, n);
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
	int ret;

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
		ret = s3_body(r, add_bytes, h, w->e);
		sha256_end(h, md);
		sha256_free(h);
		if (ret == -1)
			return -1;
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

int
wire_prepare(struct wire *w, unsigned attempt, struct buf *url)
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
