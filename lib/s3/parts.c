/*
 * parts: one part of an upload, or a small object whole: hashed, sent, and
 * its answer compared with what was sent (s3.md 2.3, 3).
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "s3/attr.h"
#include "s3/upload.h"

enum {
	TRIES = 3,              /* of a part whose answer is wrong */
	CLOCK_SLACK = 5         /* seconds that Last-Modified may be early */
};

/* The request, and what its answer says besides. */
struct sending {
	struct s3_req r;
	struct upload *u;
	enum s3_sum a;
	unsigned char sum[SUM_MAX];
	char back[64];          /* the store's own checksum, base64 */
};

static void
on_header(void *arg, const char *name, const char *value)
{
	struct sending *g = arg;
	const char *mine = sum_header(g->a);

	if (mine != NULL && strcmp(name, mine) == 0 &&
	    strlen(value) < sizeof(g->back))
		memcpy(g->back, value, strlen(value) + 1);
}

static void
add_bytes(void *arg, const void *p, size_t n)
{
	sum_add(arg, p, n);
}

static int
hash(const struct s3_req *r, enum s3_sum a, unsigned char out[SUM_MAX],
    struct err *e)
{
	struct sum *s;
	int ret;

	if (sum_len(a) == 0)
		return 0;
	if ((s = sum_new(a, e)) == NULL)
		return -1;
	ret = s3_body(r, add_bytes, s, e);
	sum_end(s, out);
	sum_free(s);
	return ret;
}

static int
sum_line(const struct sending *g, struct lines *l, struct err *e)
{
	struct buf b;
	int ret;

	if (sum_len(g->a) == 0)
		return 0;
	buf_init(&b, 64);
	b64_put(&b, g->sum, sum_len(g->a));
	ret = lines_add(l, e, "%s: %s", sum_header(g->a), b.p);
	buf_fini(&b);
	return ret;
}

/*
 * Does the store say what we say?  0; 1: something is wrong, send it again.
 * An ETag that is no MD5 is the store's own business, but only where the
 * checksum that went along proves the same, only if none ever was one, and not
 * at the first sight (first): a damaged part looks the same.
 */
static int
compare(struct sending *g, bool first, struct err *e)
{
	struct upload *u = g->u;
	const char *etag = g->r.call.etag;
	unsigned char md[16];
	struct buf b;
	int ret = 0;

	if (etag[0] == '\0') {
		err_set(e, CALA_INTEGRITY, "the answer has no ETag");
		return 1;
	}
	if (g->back[0] != '\0') {
		buf_init(&b, 64);
		b64_put(&b, g->sum, sum_len(g->a));
		if (strcmp(b.p, g->back) != 0)
			ret = 1;
		buf_fini(&b);
		if (ret == 1) {
			err_set(e, CALA_INTEGRITY, "the store has another %s",
			    sum_word(g->a));
			return 1;
		}
	}
	if (g->a != S3_SUM_MD5 || !attr_plain(u->s) || !attr_etag(etag, md))
		return 0;
	pthread_mutex_lock(&u->mu);
	if (memcmp(md, g->sum, sizeof(md)) == 0) {
		u->etags = MD5_YES;
	} else if (u->etags == MD5_YES || first) {
		ret = 1;
	} else if (u->etags == MD5_UNKNOWN) {
		u->etags = MD5_NO;
		log_step(u->s->log, "this store's ETags are no MD5s; its "
		    "check of Content-MD5 is the proof");
	}
	pthread_mutex_unlock(&u->mu);
	if (ret == 1)
		err_set(e, CALA_INTEGRITY, "the store's ETag %s is not the "
		    "MD5 of what was sent", str_q(etag));
	return ret;
}

/* A checksum that this store does not take: one that all of them know. */
static bool
downgrade(struct upload *u, const struct s3_call *c, const struct err *e,
    enum s3_sum a)
{
	enum s3_sum to;
	bool ok;

	if ((c->status != 400 && c->status != 501) ||
	    strcasestr(e->msg, "digest did not match") != NULL)
		return false;
	if (sum_len(a) == 0 && strcasestr(e->msg, "content-md5") != NULL)
		to = S3_SUM_MD5;        /* a locked bucket wants one */
	else if (u->id[0] == '\0' && a != S3_SUM_MD5 && sum_len(a) != 0 &&
	    strcasestr(e->msg, "checksum") != NULL)
		to = S3_SUM_MD5;
	else
		return false;
	pthread_mutex_lock(&u->mu);
	if ((ok = u->sum == a))
		u->sum = to;
	else
		ok = u->sum != a;
	pthread_mutex_unlock(&u->mu);
	if (ok)
		log_step(u->s->log, "checksums from here on: %s",
		    sum_word(to));
	return ok;
}

static enum s3_sum
now_used(struct upload *u)
{
	enum s3_sum a;

	pthread_mutex_lock(&u->mu);
	a = u->sum;
	pthread_mutex_unlock(&u->mu);
	return a;
}

/* One request, again when its answer is wrong.  base: its other headers. */
static int
send_one(struct sending *g, const struct lines *base, struct err *e)
{
	struct lines l = { NULL, 0 };
	unsigned tries = 0;
	size_t i;
	int ret = -1;

	for (;;) {
		g->a = now_used(g->u);
		g->back[0] = '\0';
		lines_free(&l);
		for (i = 0; i < base->n; i++)
			if (lines_add(&l, e, "%s", base->v[i]) == -1)
				goto out;
		if (hash(&g->r, g->a, g->sum, e) == -1 ||
		    sum_line(g, &l, e) == -1)
			goto out;
		g->r.call.headers = l.v;
		if (s3_send(g->u->s, &g->r, e) == -1) {
			if (tries < TRIES && downgrade(g->u, &g->r.call, e,
			    g->a)) {
				tries++;
				err_clear(e);
				continue;
			}
			goto out;
		}
		if (compare(g, tries == 0, e) == 0)
			break;
		if (++tries == TRIES)
			goto out;
		log_step(g->u->s->log, "%s: %s; sent again", str_q(g->u->key),
		    e->msg);
		err_clear(e);
	}
	ret = 0;
out:
	lines_free(&l);
	return ret;
}

static void
begin(struct sending *g, struct upload *u, struct part *p)
{
	memset(g, 0, sizeof(*g));
	g->u = u;
	g->r.call.method = "PUT";
	g->r.call.key = u->key;
	g->r.call.header = on_header;
	g->r.call.header_arg = g;
	if (p->fd != -1) {
		g->r.spool = &p->fd;
		g->r.spool_len = p->size;
	} else {
		g->r.iov = p->iov;
		g->r.niov = p->niov;
	}
	g->r.data = true;
	g->r.patient = true;
	g->r.cancel = &u->cancel;
	g->r.throttled = upload_throttled;
	g->r.arg = u;
}

int
part_send(struct upload *u, struct part *p, struct done *d, struct err *e)
{
	struct lines none = { NULL, 0 };
	struct sending g;
	char n[16];
	const char *q[] = { "partNumber", n, "uploadId", u->id, NULL };

	begin(&g, u, p);
	snprintf(n, sizeof(n), "%u", p->n);
	g.r.call.query = q;
	if (send_one(&g, &none, e) == -1)
		return err_ctx(e, "part %u", p->n);
	if ((d->etag = strdup(g.r.call.etag)) == NULL)
		return err_oom(e);
	d->size = p->size;
	d->has_sum = sum_len(g.a) > 0;
	memcpy(d->sum, g.sum, sizeof(d->sum));
	return 0;
}

/* Compares an object with a part, byte by byte, as it comes. */
struct compare {
	const struct part *p;
	size_t at, off;
	uint64_t spooled;       /* bytes compared with its file */
	bool differs;
};

static void
compare_file(struct compare *c, const char *b, size_t n)
{
	char have[16 << 10];
	size_t k;

	for (; n > 0 && !c->differs; b += k, n -= k) {
		k = n < sizeof(have) ? n : sizeof(have);
		c->differs = k > c->p->size - c->spooled ||
		    file_pread_full(c->p->fd, have, k, c->spooled) !=
		    (ssize_t)k || memcmp(have, b, k) != 0;
		c->spooled += k;
	}
}

static int
take(void *arg, struct s3_req *r, const void *v, size_t n, struct err *e)
{
	struct compare *c = arg;
	const char *b = v;
	size_t k;

	(void)r, (void)e;
	if (c->p->fd != -1) {
		compare_file(c, b, n);
		return 0;
	}
	while (n > 0 && !c->differs) {
		if (c->at == c->p->niov) {
			c->differs = true;
			break;
		}
		k = c->p->iov[c->at].iov_len - c->off;
		if (k > n)
			k = n;
		c->differs = memcmp((char *)c->p->iov[c->at].iov_base +
		    c->off, b, k) != 0;
		b += k;
		n -= k;
		if ((c->off += k) == c->p->iov[c->at].iov_len) {
			c->at++;
			c->off = 0;
		}
	}
	return 0;
}

static int
restart(void *arg, struct s3_req *r, struct err *e)
{
	struct compare *c = arg;

	(void)r, (void)e;
	c->at = c->off = 0;
	c->spooled = 0;
	c->differs = false;
	return 0;
}

/*
 * Is what lies in the store, byte for byte, what we have, and no older than
 * since (0: any)?
 */
static bool
same(struct upload *u, const struct part *p, time_t since)
{
	struct compare c = { .p = p };
	struct s3_req r = { .call = { .method = "GET", .key = u->key },
	    .data = true, .take = take, .begin = restart, .arg = &c };
	struct err ignored = ERR_INIT;

	return s3_send(u->s, &r, &ignored) == 0 && !c.differs &&
	    (p->fd != -1 ? c.spooled == p->size : c.at == p->niov) &&
	    (since == 0 || r.call.modified >= since);
}

int
part_whole(struct upload *u, struct part *p, struct err *e)
{
	struct lines l = { NULL, 0 };
	time_t began = s3_date(u->s) - CLOCK_SLACK;
	struct sending g;
	int ret = -1;

	/* small: a second hash costs nothing, and its ETag is a proof */
	if (u->sum == S3_SUM_NONE && u->s->t->sum == S3_SUM_AUTO)
		u->sum = S3_SUM_MD5;
	begin(&g, u, p);
	if (attr_lines(u->s, &l, u->o->type != NULL ? u->o->type :
	    attr_type(u->key), u->o->meta, true, e) == -1 ||
	    (u->o->only_new && lines_add(&l, e, "if-none-match: *") == -1))
		goto out;
	ret = send_one(&g, &l, e);
	if (ret == -1 && u->o->only_new && g.r.call.status == 501) {
		/* no conditions here; it was not there when we began */
		err_clear(e);
		free((char *)(uintptr_t)l.v[--l.n]);
		l.v[l.n] = NULL;
		ret = send_one(&g, &l, e);
	}
	/*
	 * It is there already, but an earlier attempt, whose answer was lost,
	 * may have put it there (curl itself makes a second one when a kept
	 * connection dies); or the ETag is none of ours: look.
	 */
	if (ret == -1 && ((e->code == CALA_EXISTS && same(u, p, began)) ||
	    (e->code == CALA_INTEGRITY && g.r.call.status == 200 &&
	    same(u, p, 0)))) {
		err_clear(e);
		ret = 0;
	}
	if (ret == 0 && u->etags == MD5_NO && !same(u, p, 0))
		ret = err_set(e, CALA_INTEGRITY, "%s: what was stored is not "
		    "what was sent", str_q(u->key));
	if (ret == -1)
		goto out;
	memcpy(u->o->etag, g.r.call.etag, sizeof(u->o->etag));
	memcpy(u->o->version, g.r.call.version, sizeof(u->o->version));
	u->o->verified = sum_len(g.a) > 0 ? sum_word(g.a) :
	    g.r.sha[0] != '\0' ? "sha256" : NULL;
out:
	lines_free(&l);
	return ret;
}
