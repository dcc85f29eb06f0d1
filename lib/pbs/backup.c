#include "pbs/backup.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "pbs/session.h"

enum {
	ANSWER_MAX = 64 << 10,
	QUERY_MAX = 2048
};

struct pbs_backup {
	struct h2 *h2;
};

struct pbs_backup *
pbs_backup_start(const struct pbs_target *t, const struct pbs_snap *s,
    struct log *log, struct err *e)
{
	struct pbs_backup *b = calloc(1, sizeof(*b));

	if (b == NULL) {
		err_oom(e);
		return NULL;
	}
	if ((b->h2 = pbs_session(t, "backup", s, log, e)) == NULL) {
		free(b);
		return NULL;
	}
	return b;
}

void
pbs_backup_free(struct pbs_backup *b)
{
	if (b == NULL)
		return;
	h2_free(b->h2);
	free(b);
}

void
pbs_backup_moved(struct pbs_backup *b, uint64_t *sent, uint64_t *received)
{
	h2_moved(b->h2, sent, received);
}

/*
 * A small request whose answer is awaited.  q is "/verb?...", finished here;
 * data, if not NULL, gets the "data" of the answer.
 */
static int
call(struct pbs_backup *b, const char *method, struct buf *q,
    const struct iovec *body, json_t **data, struct err *e)
{
	struct h2_req r = { .method = method, .path = q->p, .body = body,
	    .nbody = body != NULL };
	struct buf answer;
	char what[64];
	size_t k = strcspn(q->p, "?");
	json_t *j = NULL, *d;
	int ret = -1;

	buf_init(&answer, ANSWER_MAX);
	if (k > 0 && k < sizeof(what)) {
		memcpy(what, q->p + 1, k - 1);
		what[k - 1] = '\0';
	} else {
		what[0] = '\0';
	}
	if (buf_failed(q, e) == -1)
		goto out;
	r.answer = &answer;
	if (h2_call(b->h2, &r, e) == -1 || h2_outcome(&r, what, e) == -1)
		goto out;
	if (data != NULL) {
		/* an empty body is null (pbs.md 2.4) */
		j = answer.len == 0 ? json_pack("{s:n}", "data") :
		    json_parse(answer.p, answer.len, what, e);
		if (j == NULL)
			goto out;
		if ((d = json_object_get(j, "data")) == NULL) {
			err_set(e, CALA_INTEGRITY, "%s: an answer without "
			    "data", what);
			goto out;
		}
		*data = json_incref(d);
	}
	ret = 0;
out:
	json_decref(j);
	buf_fini(&answer);
	return ret;
}

static int
check_name(const char *name, const char *end, struct err *e)
{
	if (!pbs_name_ok(name) || !str_ends(name, end))
		return err_set(e, CALA_USAGE, "'%s': no name of a %s file",
		    str_q(name), end);
	return 0;
}

/* ---- the previous snapshot ---- */

int
pbs_backup_before(struct pbs_backup *b, int64_t *time, struct err *e)
{
	json_t *data = NULL;
	struct buf q;
	int ret = -1;

	buf_init(&q, QUERY_MAX);
	buf_str(&q, "/previous_backup_time");
	if (call(b, "GET", &q, NULL, &data, e) == -1)
		goto out;
	if (json_is_integer(data) && json_integer_value(data) > 0 &&
	    json_integer_value(data) <= PBS_TIME_MAX) {
		*time = json_integer_value(data);
		ret = 1;
	} else if (json_is_null(data)) {
		ret = 0;
	} else {
		err_set(e, CALA_INTEGRITY, "previous_backup_time: no time");
	}
out:
	json_decref(data);
	buf_fini(&q);
	return ret;
}

static int
previous(struct pbs_backup *b, const char *name,
    int (*take)(void *, const void *, size_t, struct err *), void *arg,
    struct buf *out, struct err *e)
{
	struct h2_req r = { .method = "GET", .take = take, .arg = arg,
	    .answer = out };
	struct buf q;
	int ret = -1;

	if (!pbs_name_ok(name))
		return err_set(e, CALA_USAGE, "'%s': no name of a file",
		    str_q(name));
	buf_init(&q, QUERY_MAX);
	buf_str(&q, "/previous");
	pbs_param(&q, "archive-name", name);
	r.path = q.p;
	if (buf_failed(&q, e) == 0 && h2_call(b->h2, &r, e) == 0)
		ret = h2_outcome(&r, name, e);
	buf_fini(&q);
	return ret;
}

int
pbs_backup_previous(struct pbs_backup *b, const char *name,
    int (*take)(void *, const void *, size_t, struct err *), void *arg,
    struct err *e)
{
	return previous(b, name, take, arg, NULL, e);
}

int
pbs_backup_previous_buf(struct pbs_backup *b, const char *name,
    struct buf *out, struct err *e)
{
	return previous(b, name, NULL, NULL, out, e);
}

/* ---- indexes ---- */

static int
open_writer(struct pbs_backup *b, struct pbs_writer *w, const char *name,
    bool fixed, uint64_t size, struct err *e)
{
	json_t *data = NULL;
	json_int_t wid;
	struct buf q;
	int ret = -1;

	if (check_name(name, fixed ? ".fidx" : ".didx", e) == -1)
		return -1;
	buf_init(&q, QUERY_MAX);
	buf_str(&q, fixed ? "/fixed_index" : "/dynamic_index");
	pbs_param(&q, "archive-name", name);
	if (fixed)
		pbs_param_i64(&q, "size", (int64_t)size);
	if (call(b, "POST", &q, NULL, &data, e) == -1)
		goto out;
	wid = json_integer_value(data);
	if (!json_is_integer(data) || wid < 1 || wid > 256) {
		err_set(e, CALA_FAIL, "%s: the server names no writer of it "
		    "(at most 256 files a session)", name);
		goto out;
	}
	w->wid = (unsigned)wid;
	w->fixed = fixed;
	memcpy(w->name, name, strlen(name) + 1);
	ret = 0;
out:
	json_decref(data);
	buf_fini(&q);
	return ret;
}

int
pbs_writer_open(struct pbs_backup *b, struct pbs_writer *w, const char *name,
    struct err *e)
{
	return open_writer(b, w, name, false, 0, e);
}

int
pbs_writer_fixed(struct pbs_backup *b, struct pbs_writer *w,
    const char *name, uint64_t size, struct err *e)
{
	if (size == 0 || size > INT64_MAX)
		return err_set(e, CALA_USAGE, "%s: an image of %" PRIu64
		    " bytes", str_q(name), size);
	return open_writer(b, w, name, true, size, e);
}

int
pbs_writer_close(struct pbs_backup *b, const struct pbs_writer *w,
    uint64_t count, uint64_t size, const unsigned char csum[PBS_DIGEST],
    struct err *e)
{
	char hex[2 * PBS_DIGEST + 1];
	struct buf q;
	int ret;

	hex_put(csum, PBS_DIGEST, hex);
	buf_init(&q, QUERY_MAX);
	buf_str(&q, w->fixed ? "/fixed_close" : "/dynamic_close");
	pbs_param_i64(&q, "chunk-count", (int64_t)count);
	pbs_param(&q, "csum", hex);
	pbs_param_i64(&q, "size", (int64_t)size);
	pbs_param_i64(&q, "wid", w->wid);
	ret = call(b, "POST", &q, NULL, NULL, e);
	buf_fini(&q);
	return ret == 0 ? 0 : err_ctx(e, "%s", w->name);
}

/* ---- chunks ---- */

/* The answer is the digest: {"data":"..."}, and nothing longer. */
static int
take_digest(void *arg, const void *p, size_t n, struct err *e)
{
	struct pbs_chunk *c = arg;

	if (n > sizeof(c->got) - 1 - c->ngot)
		return err_set(e, CALA_INTEGRITY, "an answer longer than %zu "
		    "bytes", sizeof(c->got) - 1);
	memcpy(c->got + c->ngot, p, n);
	c->ngot += n;
	c->got[c->ngot] = '\0';
	return 0;
}

static void
chunk_ended(struct h2_req *r)
{
	struct pbs_chunk *c = r->arg;

	c->ended(c);
}

int
pbs_chunk_send(struct pbs_backup *b, struct pbs_chunk *c, struct err *e)
{
	char hex[2 * PBS_DIGEST + 1];
	size_t size = 0;
	unsigned i;
	int n;

	for (i = 0; i < c->nblob; i++)
		size += c->blob[i].iov_len;
	if (c->size == 0 || c->size > PBS_CHUNK_MAX || size > PBS_BLOB_MAX)
		return err_set(e, CALA_FAIL, "%s: a chunk of %zu bytes",
		    c->to->name, c->size);
	hex_put(c->digest, PBS_DIGEST, hex);
	n = snprintf(c->path, sizeof(c->path), "/%s_chunk?digest=%s&"
	    "encoded-size=%zu&size=%zu&wid=%u", c->to->fixed ? "fixed" :
	    "dynamic", hex, size, c->size, c->to->wid);
	if (n < 0 || (size_t)n >= sizeof(c->path))
		return err_set(e, CALA_FAIL, "%s: too long a request",
		    c->to->name);
	memset(&c->req, 0, sizeof(c->req));
	c->ngot = 0;
	c->got[0] = '\0';
	c->req.method = "POST";
	c->req.path = c->path;
	c->req.type = "application/octet-stream";
	c->req.body = c->blob;
	c->req.nbody = c->nblob;
	c->req.take = take_digest;
	c->req.arg = c;
	c->req.ended = c->ended != NULL ? chunk_ended : NULL;
	return h2_send(b->h2, &c->req, e);
}

int
pbs_chunk_outcome(struct pbs_chunk *c, struct err *e)
{
	char hex[2 * PBS_DIGEST + 1];

	hex_put(c->digest, PBS_DIGEST, hex);
	if (h2_outcome(&c->req, "chunk", e) == -1)
		return err_ctx(e, "%s", c->to->name);
	/* proof that this very request was answered */
	if (c->ngot > 0 && strstr(c->got, hex) == NULL)
		return err_set(e, CALA_INTEGRITY, "%s: chunk %s: the server "
		    "answered for another one", c->to->name, hex);
	return 0;
}

int
pbs_chunk_wait(struct pbs_backup *b, struct pbs_chunk *c, struct err *e)
{
	struct err ignored;

	(void)h2_wait(b->h2, &c->req, &ignored);
	return pbs_chunk_outcome(c, e);
}

bool
pbs_chunk_poll(struct pbs_backup *b, struct pbs_chunk *c)
{
	return h2_poll(b->h2, &c->req);
}

/* ---- entries ---- */

static void
entries(struct pbs_append *a, struct buf *out)
{
	char hex[2 * PBS_DIGEST + 1];
	struct jw j;
	size_t i;

	jw_begin(&j, out);
	jw_open(&j, NULL, '{');
	jw_u64(&j, "wid", a->to->wid);
	jw_open(&j, "digest-list", '[');
	for (i = 0; i < a->n; i++) {
		hex_put(a->digest[i], PBS_DIGEST, hex);
		jw_str(&j, NULL, hex);
	}
	jw_close(&j, ']');
	jw_open(&j, "offset-list", '[');
	for (i = 0; i < a->n; i++)
		jw_u64(&j, NULL, a->start[i]);
	jw_close(&j, ']');
	jw_close(&j, '}');
}

static void
append_fini(struct pbs_append *a)
{
	if (a->json != NULL)
		buf_fini(a->json);
	free(a->json);
	a->json = NULL;
}

int
pbs_append_send(struct pbs_backup *b, struct pbs_append *a, struct err *e)
{
	if (a->n == 0 || a->n > PBS_APPEND_MAX)
		return err_set(e, CALA_FAIL, "%s: %zu entries at once",
		    a->to->name, a->n);
	if ((a->json = malloc(sizeof(*a->json))) == NULL)
		return err_oom(e);
	/* an older server takes less than 64 KiB (pbs.md 10) */
	buf_init(a->json, (64 << 10) - 1);
	entries(a, a->json);
	memset(&a->req, 0, sizeof(a->req));
	a->body.iov_base = a->json->p;
	a->body.iov_len = a->json->len;
	a->req.method = "PUT";
	a->req.path = a->to->fixed ? "/fixed_index" : "/dynamic_index";
	a->req.type = "application/json";
	a->req.body = &a->body;
	a->req.nbody = 1;
	if (buf_failed(a->json, e) == -1 ||
	    h2_send(b->h2, &a->req, e) == -1) {
		append_fini(a);
		return -1;
	}
	return 0;
}

int
pbs_append_wait(struct pbs_backup *b, struct pbs_append *a, struct err *e)
{
	struct err ignored;

	(void)h2_wait(b->h2, &a->req, &ignored);
	append_fini(a);
	return h2_outcome(&a->req, "append", e) == 0 ? 0 :
	    err_ctx(e, "%s", a->to->name);
}

bool
pbs_append_poll(struct pbs_backup *b, struct pbs_append *a)
{
	return h2_poll(b->h2, &a->req);
}

/* ---- blobs, and the end ---- */

int
pbs_backup_blob(struct pbs_backup *b, const char *name, const void *p,
    size_t n, struct err *e)
{
	struct iovec body = { (void *)(uintptr_t)p, n };
	struct buf q;
	int ret;

	if (check_name(name, ".blob", e) == -1)
		return -1;
	if (n < PBS_BLOB_HEAD || n > PBS_BLOB_MAX)
		return err_set(e, CALA_FAIL, "%s: a blob of %zu bytes", name,
		    n);
	buf_init(&q, QUERY_MAX);
	buf_str(&q, "/blob");
	pbs_param_i64(&q, "encoded-size", (int64_t)n);
	pbs_param(&q, "file-name", name);
	ret = call(b, "POST", &q, &body, NULL, e);
	buf_fini(&q);
	return ret == 0 ? 0 : err_ctx(e, "%s", name);
}

int
pbs_backup_finish(struct pbs_backup *b, struct err *e)
{
	struct h2_req r = { .method = "POST", .path = "/finish" };

	if (h2_send(b->h2, &r, e) == -1)
		return err_ctx(e, "finish");
	if (h2_wait(b->h2, &r, e) == -1) {
		/* it was on its way: nobody knows what became of it */
		e->code = CALA_UNKNOWN;
		return err_ctx(e, "finish: its answer was lost");
	}
	if (h2_outcome(&r, "finish", e) == 0)
		return 0;
	/* not the server's refusal: something between us gave up waiting */
	if (r.status / 100 == 5 && e->code == CALA_NET)
		e->code = CALA_UNKNOWN;
	return -1;
}
