/*
 * finish: an upload begins, becomes an object, or goes away (s3.md 2.2, 2.4,
 * 2.5, 2.9).
 *
 * The answer to Complete is the only commit.  When it is lost, the store is
 * asked what became of it, until it is known or said to be unknown.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "s3/attr.h"
#include "s3/upload.h"

enum {
	COMPLETE_MAX = 8 << 20, /* of the body: 10,000 parts and checksums */
	LIST_MAX = 8 << 20,
	COMPLETE_TRIES = 8,
	LOOKS = 5,              /* at an object that should be there */
	LAST_WORDS = 10,        /* seconds for an abort */
	ABORT_ROUNDS = 3
};

/* What Complete and Create answer. */
struct result {
	char id[S3_ID], etag[S3_ETAG], sum[64];
	const char *element;    /* of the checksum */
	bool whole;             /* CompleteMultipartUploadResult was seen */
};

static int
on_result(void *arg, const char *path, const char *text, struct err *e)
{
	struct result *r = arg;
	const char *leaf = strchr(path, '/');

	(void)e;
	if (leaf == NULL) {
		r->whole = strcmp(path, "CompleteMultipartUploadResult") == 0;
		return 0;
	}
	if (strcmp(leaf, "/UploadId") == 0 && strlen(text) < sizeof(r->id))
		memcpy(r->id, text, strlen(text) + 1);
	else if (strcmp(leaf, "/ETag") == 0 && strlen(text) < sizeof(r->etag))
		memcpy(r->etag, text, strlen(text) + 1);
	else if (r->element != NULL && strcmp(leaf + 1, r->element) == 0 &&
	    strlen(text) < sizeof(r->sum))
		memcpy(r->sum, text, strlen(text) + 1);
	return 0;
}

/* ---- create ---- */

static int
create_lines(struct upload *u, struct lines *l, struct err *e)
{
	struct buf plan;
	int ret;

	buf_init(&plan, 1024);
	s3_plan_text(&u->plan, &plan);
	ret = buf_failed(&plan, e);
	if (ret == 0)
		ret = attr_lines(u->s, l, u->o->type != NULL ? u->o->type :
		    attr_type(u->key), u->o->meta, true, e);
	/* so that a reader can check the ETag without asking for each part */
	if (ret == 0)
		ret = lines_add(l, e, "x-amz-meta-cala-parts: %s", plan.p);
	buf_fini(&plan);
	if (ret == 0 && sum_element(u->sum) != NULL &&
	    (lines_add(l, e, "x-amz-checksum-algorithm: %s",
	    sum_element(u->sum) + strlen("Checksum")) == -1 ||
	    lines_add(l, e, "x-amz-checksum-type: %s", u->composite ?
	    "COMPOSITE" : "FULL_OBJECT") == -1))
		ret = -1;
	return ret;
}

struct created {
	struct result got;
	unsigned status;
	bool echoed;            /* it will check what was announced */
};

static void
on_created(void *arg, const char *name, const char *value)
{
	((struct created *)arg)->echoed |= *value != '\0' &&
	    strcmp(name, "x-amz-checksum-algorithm") == 0;
}

static int
ask_id(struct upload *u, struct created *c, struct err *e)
{
	const char *q[] = { "uploads", "", NULL };
	struct s3_req r = { .call = { .method = "POST", .key = u->key,
	    .query = q, .header = on_created, .header_arg = c },
	    .cancel = &u->cancel };
	struct lines l = { NULL, 0 };
	struct buf b;
	int ret = -1;

	memset(c, 0, sizeof(*c));
	buf_init(&b, 65536);
	r.call.answer = &b;
	if (create_lines(u, &l, e) == -1)
		goto out;
	r.call.headers = l.v;
	ret = s3_send(u->s, &r, e);
	c->status = r.call.status;
	if (ret == 0)
		ret = xml_walk(b.p, b.len, on_result, &c->got, e);
	if (ret == 0 && c->got.id[0] == '\0')
		ret = err_set(e, CALA_INTEGRITY, "%s: an upload was begun, "
		    "but the answer has no id", str_q(u->key));
out:
	lines_free(&l);
	buf_fini(&b);
	return ret;
}

/*
 * A checksum more than proofs need, so that readers have a cheap one: only
 * where the store says that it keeps it.  1: an upload with it; 0: without.
 */
static int
offer(struct upload *u, struct created *c, struct err *e)
{
	struct err why = ERR_INIT;

	u->sum = S3_SUM_CRC64NVME;
	if (ask_id(u, c, e) == 0) {
		if (c->echoed)
			return 1;
		if (s3_abort(u->s, u->key, c->got.id, &why) == -1)
			log_step(u->s->log, "upload %s stays open: %s",
			    str_q(c->got.id), why.msg);
	} else if (c->status != 400 && c->status != 501) {
		return -1;
	}
	err_clear(e);
	u->sum = S3_SUM_NONE;
	return 0;
}

int
upload_create(struct upload *u, struct err *e)
{
	struct created c;
	int ret = u->offer ? offer(u, &c, e) : 0;

	if (ret == -1)
		return -1;
	if (ret == 0)
		ret = ask_id(u, &c, e);
	if (ret == -1 && (c.status == 400 || c.status == 501) &&
	    sum_element(u->sum) != NULL &&
	    strcasestr(e->msg, "checksum") != NULL) {
		log_note(u->s->log, "the store takes no %s: %s; MD5 instead",
		    sum_word(u->sum), e->msg);
		err_clear(e);
		u->sum = S3_SUM_MD5;
		u->composite = false;
		ret = ask_id(u, &c, e);
	}
	if (ret == -1)
		return -1;
	memcpy(u->id, c.got.id, sizeof(u->id));
	u->opened = s3_date(u->s);
	log_step(u->s->log, "%s: upload %s", str_q(u->key), str_q(u->id));
	if (u->o->opened != NULL)
		u->o->opened(u->o->arg, u->key, u->id);
	return 0;
}

/* ---- complete ---- */

static void
put_sum(struct buf *b, const struct upload *u, const struct done *d)
{
	const char *name = sum_element(u->sum);

	/* also where the whole has one: some stores demand them then */
	if (name == NULL || !d->has_sum)
		return;
	buf_printf(b, "<%s>", name);
	b64_put(b, d->sum, sum_len(u->sum));
	buf_printf(b, "</%s>", name);
}

static int
body(const struct upload *u, struct buf *b, struct err *e)
{
	unsigned i;

	buf_reset(b);
	buf_str(b, "<CompleteMultipartUpload xmlns="
	    "\"http://s3.amazonaws.com/doc/2006-03-01/\">");
	for (i = 0; i < u->parts; i++) {
		buf_printf(b, "<Part><PartNumber>%u</PartNumber><ETag>",
		    i + 1);
		xml_esc(b, u->done[i].etag);
		buf_str(b, "</ETag>");
		put_sum(b, u, &u->done[i]);
		buf_str(b, "</Part>");
	}
	buf_str(b, "</CompleteMultipartUpload>");
	return buf_failed(b, e);
}

/* The CRC of the whole, out of those of its parts. */
static bool
whole_crc(const struct upload *u, struct buf *out)
{
	unsigned char sum[SUM_MAX];
	struct err ignored = ERR_INIT;
	unsigned i;

	if (u->composite || !sum_crc(u->sum) ||
	    sum_once(u->sum, "", 0, sum, &ignored) == -1)
		return false;
	for (i = 0; i < u->parts; i++)
		sum_join(u->sum, sum, u->done[i].sum, u->done[i].size);
	b64_put(out, sum, sum_len(u->sum));
	return true;
}

static int
complete_lines(const struct upload *u, struct lines *l, const char *crc,
    struct err *e)
{
	if (lines_add(l, e, "content-type: application/xml") == -1 ||
	    (u->o->only_new && lines_add(l, e, "if-none-match: *") == -1))
		return -1;
	if (*crc != '\0' && (lines_add(l, e, "%s: %s", sum_header(u->sum),
	    crc) == -1 || lines_add(l, e,
	    "x-amz-checksum-type: FULL_OBJECT") == -1))
		return -1;
	if (u->s->provider->aws)
		return lines_add(l, e, "x-amz-mp-object-size: %" PRIu64,
		    u->total);
	return 0;
}

/*
 * The ETag that a store makes of these parts, where theirs are MD5s: the MD5
 * of their MD5s (s3.md 3.3).
 */
static bool
expected_etag(const struct upload *u, unsigned char out[SUM_MAX])
{
	struct err ignored = ERR_INIT;
	unsigned char md[16];
	struct sum *s;
	unsigned i;

	if (!attr_plain(u->s) || u->etags == MD5_NO ||
	    (s = sum_new(S3_SUM_MD5, &ignored)) == NULL)
		return false;
	for (i = 0; i < u->parts && attr_etag(u->done[i].etag, md); i++)
		sum_add(s, md, sizeof(md));
	sum_end(s, out);
	sum_free(s);
	return i == u->parts;
}

enum look { LOOK_OURS, LOOK_OTHER, LOOK_ABSENT, LOOK_FAILED };

/* Is what lies under our key the object that Complete makes? */
static enum look
look(struct upload *u, time_t since, struct err *e)
{
	struct s3_req r = { .call = { .method = "HEAD", .key = u->key },
	    .patient = true };
	unsigned char want[SUM_MAX], got[16];
	unsigned n = 0;
	bool form, fresh;

	if (s3_send(u->s, &r, e) == -1)
		return r.call.status == 404 ? LOOK_ABSENT : LOOK_FAILED;
	fresh = r.call.modified == 0 || r.call.modified >= since - 5;
	form = attr_etag_parts(r.call.etag, got, &n);
	if (r.call.length != u->total || !fresh)
		return LOOK_OTHER;
	if (form && expected_etag(u, want)) {
		if (n != u->parts || memcmp(want, got, sizeof(got)) != 0)
			return LOOK_OTHER;
	} else if (form && n != u->parts) {
		return LOOK_OTHER;
	} else if (!form && r.call.modified == 0) {
		return LOOK_OTHER;      /* nothing at all tells it from others */
	}
	memcpy(u->o->etag, r.call.etag, sizeof(u->o->etag));
	memcpy(u->o->version, r.call.version, sizeof(u->o->version));
	return LOOK_OURS;
}

/* Parts as the store lists them. */
struct listing {
	struct upload *u;
	unsigned n;
	uint64_t size;
	char etag[S3_ETAG], next[16];
	bool truncated, wrong;
	unsigned seen, any;
};

static int
listed(struct listing *l, struct err *e)
{
	struct upload *u = l->u;
	struct done *d;
	unsigned char md[16];
	char *copy;

	l->any++;
	if (l->n < 1 || l->n > u->parts || u->done == NULL)
		return 0;               /* somebody else's: not named, not used */
	d = &u->done[l->n - 1];
	if (d->etag == NULL)
		return 0;
	if (l->size != d->size || (u->etags == MD5_YES && d->has_sum &&
	    attr_etag(l->etag, md) && memcmp(md, d->sum, 16) != 0)) {
		l->wrong = true;
		return 0;
	}
	l->seen++;
	if ((copy = strdup(l->etag)) == NULL)
		return err_oom(e);
	free(d->etag);
	d->etag = copy;
	return 0;
}

static int
on_part(void *arg, const char *path, const char *text, struct err *e)
{
	struct listing *l = arg;
	uint64_t n;

	if (strncmp(path, "ListPartsResult", 15) != 0)
		return err_set(e, CALA_INTEGRITY, "the answer is no list of "
		    "parts");
	path += path[15] == '/' ? 16 : 15;
	if (strcmp(path, "IsTruncated") == 0) {
		l->truncated = strcmp(text, "true") == 0;
	} else if (strcmp(path, "NextPartNumberMarker") == 0) {
		snprintf(l->next, sizeof(l->next), "%s", text);
	} else if (strcmp(path, "Part/PartNumber") == 0) {
		l->n = str_u64(text, 1, S3_PARTS, &n) == 0 ? (unsigned)n : 0;
	} else if (strcmp(path, "Part/Size") == 0) {
		if (str_u64(text, 0, INT64_MAX, &l->size) == -1)
			l->size = UINT64_MAX;
	} else if (strcmp(path, "Part/ETag") == 0) {
		snprintf(l->etag, sizeof(l->etag), "%s", text);
	} else if (strcmp(path, "Part") == 0) {
		if (listed(l, e) == -1)
			return -1;
		l->n = 0;
		l->etag[0] = '\0';
		l->size = UINT64_MAX;
	}
	return 0;
}

/* 0: open, l filled in; 1: there is no such upload; -1. */
static int
list_parts(struct upload *u, struct listing *l, bool last, double deadline,
    struct err *e)
{
	char mark[16] = "";
	const char *q[] = { "uploadId", u->id, "max-parts", "1000",
	    "part-number-marker", mark, NULL };
	struct s3_req r = { .call = { .method = "GET", .key = u->key,
	    .query = q, .cap = LIST_MAX }, .patient = !last,
	    .last_words = last, .deadline = deadline };
	struct buf b;
	int ret;

	memset(l, 0, sizeof(*l));
	l->u = u;
	buf_init(&b, LIST_MAX);
	r.call.answer = &b;
	do {
		if (mark[0] == '\0')
			memcpy(mark, "0", 2);
		l->truncated = false;
		l->next[0] = '\0';
		if ((ret = s3_send(u->s, &r, e)) == -1) {
			if (r.call.status == 404) {
				err_clear(e);
				ret = 1;
			}
			break;
		}
		if ((ret = xml_walk(b.p, b.len, on_part, l, e)) == -1)
			break;
		if (l->truncated && (l->next[0] == '\0' ||
		    strcmp(l->next, mark) == 0)) {
			ret = err_set(e, CALA_INTEGRITY, "a list of parts "
			    "does not say where it goes on");
			break;
		}
		memcpy(mark, l->next, sizeof(mark));
	} while (l->truncated);
	buf_fini(&b);
	return ret;
}

static int
nap(double seconds, struct err *e)
{
	double until = when_mono() + seconds;
	struct timespec ts = { 0, 100 * 1000 * 1000 };

	while (when_mono() < until) {
		if (stop_check(e) == -1)
			return -1;
		nanosleep(&ts, NULL);
	}
	return 0;
}

static int
unknown(struct upload *u, const struct err *why, struct err *e)
{
	struct err was = *why;

	u->keep_open = true;
	err_clear(e);
	err_set(e, CALA_UNKNOWN, "s3://%s/%s: whether upload %s became an "
	    "object is not known: %s", u->s->t->bucket, str_q(u->key),
	    str_q(u->id), was.msg);
	return err_hint(e, "look for the object; if it is not there, abort the "
	    "upload");
}

/*
 * Complete failed in a way that leaves everything possible.  0: the object is
 * there and ours; 1: the upload is still open, send Complete again; -1.
 */
static int
reconcile(struct upload *u, const struct s3_req *r, time_t since,
    struct err *e)
{
	struct err why = *e;
	struct listing l;
	enum look what;
	unsigned i;
	int ret;

	log_step(u->s->log, "%s: %s; asking what became of it", str_q(u->key),
	    e->msg);
	for (i = 0; i < LOOKS; i++) {
		err_clear(e);
		if ((what = look(u, since, e)) == LOOK_FAILED)
			return unknown(u, &why, e);
		err_clear(e);
		if ((ret = list_parts(u, &l, false, 0, e)) == -1)
			return unknown(u, &why, e);
		/* while the upload is open, an equal object is another's */
		if (ret == 1 && what == LOOK_OURS)
			return 0;
		if (ret == 0) {
			/* open still: it is another's object that is there */
			if (r->call.status == 412) {
				*e = why;
				return -1;
			}
			if (!l.wrong && l.seen == u->parts)
				return 1;
			return err_set(e, CALA_INTEGRITY, "%s: the store lists "
			    "%u of %u parts as they were sent", str_q(u->key),
			    l.seen, u->parts);
		}
		/* neither: it may still be at work */
		if (nap((double)(2u << i), e) == -1)
			return unknown(u, &why, e);
	}
	return unknown(u, &why, e);
}

/*
 * What came back from a Complete that succeeded.  Of what is under the key now
 * only our own may be called damaged, for that is removed: without conditions
 * another writer may have replaced it since.
 */
static int
check_result(struct upload *u, const struct result *got, const char *crc,
    bool *damaged, struct err *e)
{
	unsigned char want[SUM_MAX] = { 0 }, have[16];
	struct err why = ERR_INIT;
	struct s3_object o;
	bool other, wrong = false;
	unsigned n;

	*damaged = false;
	if (*crc != '\0' && got->sum[0] != '\0' && strcmp(crc, got->sum) != 0) {
		err_set(e, CALA_INTEGRITY, "%s: the store's %s of the whole "
		    "is not ours", str_q(u->key), sum_word(u->sum));
		wrong = true;
	} else if (attr_etag_parts(u->o->etag, have, &n) && n == u->parts &&
	    expected_etag(u, want)) {
		if (memcmp(want, have, sizeof(have)) == 0)
			return 0;
		if (u->etags == MD5_YES) {
			err_set(e, CALA_INTEGRITY, "%s: the store's ETag of "
			    "the whole is not that of its parts",
			    str_q(u->key));
			wrong = true;
		}
	}
	if (wrong && u->o->version[0] != '\0') {
		*damaged = true;
		return -1;
	}
	/* an ETag that tells nothing: at least all bytes must be there */
	if (s3_head(u->s, u->key, &o, &why) == -1) {
		log_step(u->s->log, "%s: its size can't be looked at: %s",
		    str_q(u->key), why.msg);
		return wrong ? -1 : 0;
	}
	/* only the answer was wrong */
	if (wrong && o.size == u->total && attr_etag_parts(o.etag, have, &n) &&
	    n == u->parts && memcmp(want, have, sizeof(have)) == 0) {
		memcpy(u->o->etag, o.etag, strlen(o.etag) + 1);
		err_clear(e);
		return 0;
	}
	other = u->o->etag[0] != '\0' && !attr_etag_same(o.etag, u->o->etag);
	*damaged = !other;
	if (wrong)
		return -1;
	/* another writer's by now: nothing of it is ours to judge */
	if (other) {
		log_step(u->s->log, "%s: replaced by somebody else since",
		    str_q(u->key));
		return 0;
	}
	if (o.size != u->total)
		return err_set(e, CALA_INTEGRITY, "%s: the object has %" PRIu64
		    " bytes, %" PRIu64 " were sent", str_q(u->key), o.size,
		    u->total);
	return 0;
}

/* Must the outcome be asked for?  Else what e says is final. */
static bool
ambiguous(const struct s3_req *r, const struct err *e, unsigned try)
{
	const char *code = r->call.code;

	if (e->code >= CALA_SIGNAL)
		return r->began != 0;
	if (r->curl != 0 || r->verdict == S3_AGAIN ||
	    r->verdict == S3_THROTTLE)
		return strcmp(code, "ConditionalRequestConflict") != 0;
	if (strcmp(code, "InvalidPart") == 0)
		return try == 0;
	return strcmp(code, "NoSuchUpload") == 0 ||
	    (r->call.status == 404 && code[0] == '\0') ||
	    /* also at once: libcurl itself sends again on a dead connection */
	    r->call.status == 412;
}

static int
complete_once(struct upload *u, struct lines *l, struct buf *text,
    struct result *got, struct s3_req *r, struct err *e)
{
	const char *q[] = { "uploadId", u->id, NULL };
	struct buf b;
	int ret;

	buf_init(&b, 1 << 20);
	memset(r, 0, sizeof(*r));
	r->call.method = "POST";
	r->call.key = u->key;
	r->call.query = q;
	r->call.headers = l->v;
	r->call.body = text->p;
	r->call.body_len = text->len;
	r->call.answer = &b;
	r->once = true;
	r->patient = true;
	/* once sent, its answer must be known: a signal waits for it */
	r->last_words = true;
	if ((ret = s3_send(u->s, r, e)) == 0) {
		got->element = sum_element(u->sum);
		if (xml_walk(b.p, b.len, on_result, got, e) == -1 ||
		    !got->whole) {
			err_clear(e);
			ret = err_set(e, CALA_NET, "%s: Complete was answered "
			    "without a result", str_q(u->key));
			r->verdict = S3_AGAIN;
		}
	}
	buf_fini(&b);
	r->call.answer = NULL;
	r->call.query = NULL;
	return ret;
}

/*
 * A part whose ETag was no MD5 of it came before any that was: what passed for
 * the store's own way is a damaged part.
 */
static int
parts_agree(const struct upload *u, struct err *e)
{
	unsigned char md[16];
	unsigned i;

	if (u->etags != MD5_YES || u->sum != S3_SUM_MD5)
		return 0;
	for (i = 0; i < u->parts; i++)
		if (u->done[i].has_sum && attr_etag(u->done[i].etag, md) &&
		    memcmp(md, u->done[i].sum, sizeof(md)) != 0)
			return err_set(e, CALA_INTEGRITY, "%s: part %u: the "
			    "store's ETag %s is not the MD5 of what was sent",
			    str_q(u->key), i + 1, str_q(u->done[i].etag));
	return 0;
}

/* What was stored is damaged, and it is ours: it must not stay. */
static void
remove_damaged(struct upload *u)
{
	struct err e = ERR_INIT;

	if (s3_delete(u->s, u->key, u->o->version, &e) == -1)
		log_note(u->s->log, "the damaged object can't be removed: %s",
		    e.msg);
	else
		log_note(u->s->log, "the damaged object was removed");
}

int
upload_complete(struct upload *u, struct err *e)
{
	struct lines l = { NULL, 0 };
	struct result got = { .whole = false };
	struct s3_req r;
	struct buf text, crc;
	struct s3_object there;
	time_t since = 0;
	bool damaged;
	unsigned try;
	int ret = -1;

	buf_init(&text, COMPLETE_MAX);
	buf_init(&crc, 64);
	if (parts_agree(u, e) == -1)
		goto out;
	if (u->o->only_new && !u->s->provider->conditional) {
		if (s3_head(u->s, u->key, &there, e) == 0) {
			err_set(e, CALA_EXISTS, "%s is there by now",
			    str_q(u->key));
			goto out;
		}
		err_clear(e);
	}
	(void)whole_crc(u, &crc);
	if (complete_lines(u, &l, crc.p, e) == -1)
		goto out;
	for (try = 0; ret != 0; try++) {
		if (body(u, &text, e) == -1)
			goto out;
		memset(&got, 0, sizeof(got));
		ret = complete_once(u, &l, &text, &got, &r, e);
		if (since == 0)
			since = r.began;
		if (ret == 0) {
			memcpy(u->o->etag, got.etag, sizeof(got.etag));
			memcpy(u->o->version, r.call.version,
			    sizeof(u->o->version));
			break;
		}
		if (!ambiguous(&r, e, try))
			goto out;
		if (try == COMPLETE_TRIES)
			goto out;
		if ((ret = reconcile(u, &r, since, e)) == -1)
			goto out;
		if (ret == 1 && nap(s3_pause(S3_THROTTLE, try, 0), e) == -1) {
			ret = -1;
			goto out;
		}
	}
	if (check_result(u, &got, crc.p, &damaged, e) == -1) {
		if (damaged)
			remove_damaged(u);
		u->id[0] = '\0';
		ret = -1;
		goto out;
	}
	u->o->verified = u->sum != S3_SUM_NONE ? sum_word(u->sum) :
	    u->s->t->creds != NULL && !u->s->t->creds->anonymous &&
	    (u->s->tls ? u->s->t->sign_payload || u->s->no_unsigned :
	    !u->s->t->insecure_unsigned) ? "sha256" : NULL;
	if (u->o->closed != NULL)
		u->o->closed(u->o->arg, u->key, u->id);
out:
	lines_free(&l);
	buf_fini(&text);
	buf_fini(&crc);
	return ret;
}

/* ---- abort ---- */

void
upload_drop(struct upload *u)
{
	const char *q[] = { "uploadId", u->id, NULL };
	double deadline = when_mono() + LAST_WORDS;
	struct err e = ERR_INIT;
	struct listing l;
	unsigned i;
	int ret = -1;

	for (i = 0; i < ABORT_ROUNDS; i++) {
		struct s3_req r = { .call = { .method = "DELETE",
		    .key = u->key, .query = q }, .last_words = true,
		    .deadline = deadline };

		err_clear(&e);
		ret = s3_send(u->s, &r, &e);
		if (ret == -1 && r.call.status == 404) {
			ret = 0;
			break;
		}
		if (ret == -1)
			break;
		/* a part that was on its way may have come after it */
		err_clear(&e);
		if (list_parts(u, &l, true, deadline, &e) != 0 || l.any == 0)
			break;
		ret = err_set(&e, CALA_FAIL, "parts of it come back");
	}
	if (ret == 0) {
		log_step(u->s->log, "%s: upload aborted", str_q(u->key));
		if (u->o->closed != NULL)
			u->o->closed(u->o->arg, u->key, u->id);
		return;
	}
	log_note(u->s->log, "%s: upload %s could not be aborted, gc will find "
	    "it: %s", str_q(u->key), str_q(u->id), e.msg);
}
