/* object: small things: head, lists, small objects whole, deletion. */

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
#include "s3/client.h"
#include "s3/sum.h"

enum {
	LIST_MAX = 8 << 20,             /* bytes of one page */
	PAGE = 1000,
	CODED = 9 * S3_KEY_MAX + 1      /* a key as a list may write it */
};

struct head_text {
	char class[64];
};

static void
on_head(void *arg, const char *name, const char *value)
{
	struct head_text *h = arg;

	if (strcmp(name, "x-amz-storage-class") == 0)
		snprintf(h->class, sizeof(h->class), "%s", value);
}

int
s3_head(struct s3 *s, const char *key, struct s3_object *o, struct err *e)
{
	static _Thread_local struct {
		char key[S3_KEY_MAX + 1], etag[S3_ETAG], version[S3_ID];
		struct head_text text;
	} k;
	struct s3_call c = { .method = "HEAD", .key = key,
	    .header = on_head, .header_arg = &k.text };

	if (s3_key_check(key, e) == -1)
		return -1;
	k.text.class[0] = '\0';
	if (s3_call(s, &c, e) == -1)
		return -1;
	memcpy(k.key, key, strlen(key) + 1);
	memcpy(k.etag, c.etag, sizeof(k.etag));
	memcpy(k.version, c.version, sizeof(k.version));
	o->key = k.key;
	o->size = c.length;
	o->modified = c.modified;
	o->etag = k.etag;
	o->version = k.version;
	o->storage_class = k.text.class;
	return 0;
}

/* ---- lists ---- */

/* One page of a list, and where the next begins. */
struct page {
	struct s3 *s;
	const char *root;               /* element that it must be */
	bool rooted, coded, truncated, counted;
	char next[S3_ID], next_id[S3_ID];
	/* the item that is being read */
	char key[CODED], etag[S3_ETAG], class[64], id[S3_ID];
	uint64_t size;
	time_t modified;
	char last[S3_KEY_MAX + 1];
	s3_object_fn *fn;
	s3_open_fn *open;
	void *arg;
	int ret;
};

/* encoding-type=url is form encoding: '+' is a blank (s3.md 6.1). */
static int
decode(char *p, struct err *e)
{
	char *to = p, c;

	for (; *p != '\0'; p++)
		if (*p == '+') {
			*to++ = ' ';
		} else if (*p != '%') {
			*to++ = *p;
		} else if (hex_get(p + 1, 1, &c) == -1 || c == '\0') {
			return err_set(e, CALA_INTEGRITY, "a listed key is "
			    "encoded wrongly: %s", str_q(p));
		} else {
			*to++ = c;
			p += 2;
		}
	*to = '\0';
	return 0;
}

static int
text_to(char *to, size_t size, const char *text, const char *what,
    struct err *e)
{
	size_t n = strlen(text);

	if (n >= size)
		return err_set(e, CALA_INTEGRITY, "%s in a list has %zu bytes",
		    what, n);
	memcpy(to, text, n + 1);
	return 0;
}

static time_t
time_of(const char *text)
{
	struct timespec t;

	return when_rfc3339(text, &t) == 0 ? t.tv_sec : 0;
}

static int
item(struct page *p, struct err *e)
{
	struct s3_object o = { p->key, p->size, p->modified, p->etag,
	    p->class, "" };
	struct s3_open u = { p->key, p->id, p->modified };

	if (p->coded && decode(p->key, e) == -1)
		return -1;
	if (p->key[0] == '\0' || strlen(p->key) > S3_KEY_MAX)
		return err_set(e, CALA_INTEGRITY, "a listed key has %zu bytes",
		    strlen(p->key));
	memcpy(p->last, p->key, strlen(p->key) + 1);
	if (stop_check(e) == -1)
		return -1;
	p->ret = p->open != NULL ? p->open(p->arg, &u, e) :
	    p->fn(p->arg, &o, e);
	p->key[0] = p->etag[0] = p->class[0] = p->id[0] = '\0';
	p->size = 0;
	p->modified = 0;
	return p->ret;
}

static int
on_list(void *arg, const char *path, const char *text, struct err *e)
{
	struct page *p = arg;
	size_t n = strlen(p->root);

	if (strncmp(path, p->root, n) != 0 ||
	    (path[n] != '/' && path[n] != '\0'))
		return err_set(e, CALA_INTEGRITY, "the answer is no %s but "
		    "%s", p->root, str_q(path));
	p->rooted = true;
	if (path[n] == '\0')
		return 0;
	path += n + 1;
	if (strcmp(path, "IsTruncated") == 0)
		p->truncated = strcmp(text, "true") == 0;
	else if (strcmp(path, "KeyCount") == 0)
		p->counted = true;
	else if (strcmp(path, "NextContinuationToken") == 0 ||
	    strcmp(path, "NextMarker") == 0 ||
	    strcmp(path, "NextKeyMarker") == 0)
		return text_to(p->next, sizeof(p->next), text, "a mark", e);
	else if (strcmp(path, "NextUploadIdMarker") == 0)
		return text_to(p->next_id, sizeof(p->next_id), text, "a mark",
		    e);
	else if (strcmp(path, "Contents/Key") == 0 ||
	    strcmp(path, "Upload/Key") == 0 ||
	    strcmp(path, "CommonPrefixes/Prefix") == 0)
		return text_to(p->key, sizeof(p->key), text, "a key", e);
	else if (strcmp(path, "Contents/ETag") == 0)
		return text_to(p->etag, sizeof(p->etag), text, "an ETag", e);
	else if (strcmp(path, "Contents/StorageClass") == 0)
		snprintf(p->class, sizeof(p->class), "%s",
		    strcmp(text, "STANDARD") == 0 ? "" : text);
	else if (strcmp(path, "Contents/Size") == 0 &&
	    str_u64(text, 0, INT64_MAX, &p->size) == -1)
		return err_set(e, CALA_INTEGRITY, "a size in a list is no "
		    "number");
	else if (strcmp(path, "Contents/LastModified") == 0 ||
	    strcmp(path, "Upload/Initiated") == 0)
		p->modified = time_of(text);
	else if (strcmp(path, "Upload/UploadId") == 0)
		return text_to(p->id, sizeof(p->id), text, "an upload id", e);
	else if (strcmp(path, "Contents") == 0 ||
	    strcmp(path, "Upload") == 0 ||
	    (strcmp(path, "CommonPrefixes") == 0 && p->open == NULL))
		return item(p, e);
	return 0;
}

/* Some servers say so only behind the keys. */
static int
on_coding(void *arg, const char *path, const char *text, struct err *e)
{
	struct page *p = arg;

	(void)e;
	if (str_ends(path, "/EncodingType"))
		p->coded = strcmp(text, "url") == 0;
	return 0;
}

static int
read_page(struct page *p, const char *const *query, unsigned *status,
    struct err *e)
{
	struct s3_call c = { .method = "GET", .query = query, .cap = LIST_MAX };
	struct buf b;
	int ret;

	buf_init(&b, LIST_MAX);
	c.answer = &b;
	p->rooted = p->coded = p->truncated = p->counted = false;
	p->next[0] = p->next_id[0] = '\0';
	p->key[0] = p->etag[0] = p->class[0] = p->id[0] = '\0';
	p->size = 0;
	p->modified = 0;
	p->ret = 0;
	if ((ret = s3_call(p->s, &c, e)) == 0 &&
	    (ret = xml_walk(b.p, b.len, on_coding, p, e)) == 0)
		ret = xml_walk(b.p, b.len, on_list, p, e);
	*status = c.status;
	buf_fini(&b);
	return ret;
}

static int
endless(struct page *p, const char *before, struct err *e)
{
	if (p->next[0] == '\0')
		return err_set(e, CALA_INTEGRITY, "a list is cut and does not "
		    "say where it goes on");
	if (strcmp(p->next, before) == 0)
		return err_set(e, CALA_INTEGRITY, "a list goes on where it "
		    "was");
	return 0;
}

int
s3_list(struct s3 *s, const char *prefix, const char *delimiter,
    s3_object_fn *fn, void *arg, struct err *e)
{
	char mark[S3_ID] = "";
	const char *q[16];
	struct page *p;
	unsigned status;
	bool old = false, first = true;
	size_t n;
	int ret;

	if ((p = calloc(1, sizeof(*p))) == NULL)
		return err_oom(e);
	p->s = s;
	p->root = "ListBucketResult";
	p->fn = fn;
	p->arg = arg;
	for (;;) {
		n = 0;
		if (!old) {
			q[n++] = "list-type";
			q[n++] = "2";
		}
		q[n++] = "encoding-type";
		q[n++] = "url";
		q[n++] = "max-keys";
		q[n++] = "1000";
		q[n++] = "prefix";
		q[n++] = prefix != NULL ? prefix : "";
		if (delimiter != NULL) {
			q[n++] = "delimiter";
			q[n++] = delimiter;
		}
		if (mark[0] != '\0') {
			q[n++] = old ? "marker" : "continuation-token";
			q[n++] = mark;
		}
		q[n] = NULL;
		ret = read_page(p, q, &status, e);
		/* old servers know the first version only (s3.md 6.1) */
		if (ret == -1 && first && !old && e->code != CALA_AUTH &&
		    (status == 501 || status == 400 || status == 405)) {
			log_step(s->log, "the server has no second version "
			    "of lists: %s", e->msg);
			err_clear(e);
			old = true;
			continue;
		}
		first = false;
		if (ret != 0 || !p->truncated)
			break;
		if (!old && p->next[0] == '\0' && !p->counted)
			old = true;
		if (old && p->next[0] == '\0')
			memcpy(p->next, p->last, sizeof(p->last));
		else if (old && p->coded && decode(p->next, e) == -1)
			ret = -1;
		if (ret == -1 || (ret = endless(p, mark, e)) == -1)
			break;
		memcpy(mark, p->next, sizeof(mark));
	}
	free(p);
	return ret;
}

int
s3_uploads(struct s3 *s, const char *prefix, s3_open_fn *fn, void *arg,
    struct err *e)
{
	char mark[S3_ID] = "", id[S3_ID] = "";
	struct page *p;
	unsigned status;
	int ret;

	if ((p = calloc(1, sizeof(*p))) == NULL)
		return err_oom(e);
	p->s = s;
	p->root = "ListMultipartUploadsResult";
	p->open = fn;
	p->arg = arg;
	for (;;) {
		const char *q[] = { "uploads", "", "encoding-type", "url",
		    "max-uploads", "1000", "prefix",
		    prefix != NULL ? prefix : "",
		    mark[0] != '\0' ? "key-marker" : NULL, mark,
		    id[0] != '\0' ? "upload-id-marker" : NULL, id, NULL };

		if ((ret = read_page(p, q, &status, e)) != 0 || !p->truncated)
			break;
		if (p->coded && decode(p->next, e) == -1) {
			ret = -1;
			break;
		}
		/* the key alone may stay: then its ids go on */
		if (p->next[0] == '\0' || (strcmp(p->next, mark) == 0 &&
		    strcmp(p->next_id, id) == 0)) {
			ret = endless(p, mark, e);
			break;
		}
		memcpy(mark, p->next, sizeof(mark));
		memcpy(id, p->next_id, sizeof(id));
	}
	free(p);
	return ret;
}

/* ---- whole objects ---- */

int
s3_get(struct s3 *s, const char *key, struct buf *b, size_t cap,
    struct err *e)
{
	struct s3_call c = { .method = "GET", .key = key, .answer = b,
	    .cap = cap };

	/* s3_call begins at the start of the buffer with each attempt */
	buf_reset(b);
	return s3_key_check(key, e) == -1 ? -1 : s3_call(s, &c, e);
}

/* Is the object that is there the one we meant? */
static bool
same(struct s3 *s, const char *key, const void *p, size_t n)
{
	struct err ignored = ERR_INIT;
	struct buf b;
	bool ret;

	buf_init(&b, n + 1);
	ret = s3_get(s, key, &b, n + 1, &ignored) == 0 && b.len == n &&
	    (n == 0 || memcmp(b.p, p, n) == 0);
	buf_fini(&b);
	return ret;
}

static int
absent(struct s3 *s, const char *key, struct err *e)
{
	struct s3_object o;

	if (s3_head(s, key, &o, e) == 0)
		return err_set(e, CALA_EXISTS, "%s is there already",
		    str_q(key));
	if (e->code != CALA_NOTFOUND)
		return -1;
	err_clear(e);
	return 0;
}

int
s3_put(struct s3 *s, const char *key, const char *type, const void *p,
    size_t n, bool only_new, struct err *e)
{
	struct s3_req r = { .call = { .method = "PUT", .key = key, .body = p,
	    .body_len = n, .md5 = true } };
	unsigned char md[SUM_MAX], got[16];
	struct lines l = { NULL, 0 };
	int ret = -1;

	if (s3_key_check(key, e) == -1 ||
	    (only_new && !s->provider->conditional && absent(s, key, e) == -1))
		return -1;
	if (attr_lines(s, &l, type != NULL ? type : attr_type(key), NULL,
	    false, e) == -1 || (only_new &&
	    lines_add(&l, e, "if-none-match: *") == -1))
		goto out;
	r.call.headers = l.v;
	ret = s3_send(s, &r, e);
	if (ret == -1 && only_new && r.call.status == 501) {
		/* it knows no conditions; we have looked (best effort) */
		err_clear(e);
		free((char *)(uintptr_t)l.v[--l.n]);
		l.v[l.n] = NULL;
		ret = s3_send(s, &r, e);
	}
	/* an attempt whose answer was lost may have been ours */
	if (ret == -1 && e->code == CALA_EXISTS && r.attempts > 2 &&
	    same(s, key, p, n)) {
		err_clear(e);
		ret = 0;
	}
	/* 32 digits that are not our MD5: look at what was stored */
	if (ret == 0 && attr_plain(s) && attr_etag(r.call.etag, got)) {
		if ((ret = sum_once(S3_SUM_MD5, p, n, md, e)) == 0 &&
		    memcmp(md, got, sizeof(got)) != 0 && !same(s, key, p, n))
			ret = err_set(e, CALA_INTEGRITY, "%s: what was stored "
			    "is not what was sent", str_q(key));
	}
out:
	lines_free(&l);
	return ret;
}

int
s3_delete(struct s3 *s, const char *key, const char *version, struct err *e)
{
	const char *q[] = { "versionId", version, NULL };
	struct s3_call c = { .method = "DELETE", .key = key,
	    .query = version != NULL && *version != '\0' ? q : NULL };

	if (s3_key_check(key, e) == -1)
		return -1;
	if (s3_call(s, &c, e) == 0)
		return 0;
	if (strcmp(c.code, "NoSuchKey") == 0 ||
	    strcmp(c.code, "NoSuchVersion") == 0 ||
	    (c.status == 404 && c.code[0] == '\0')) {
		err_clear(e);
		return 0;
	}
	if ((c.status == 400 || c.status == 403) &&
	    (strcmp(c.code, "ObjectLocked") == 0 ||
	    strcasestr(e->msg, "object lock") != NULL ||
	    strcasestr(e->msg, "WORM") != NULL ||
	    strcasestr(e->msg, "retention") != NULL ||
	    strcasestr(e->msg, "legal hold") != NULL))
		e->code = CALA_PROTECTED;
	return -1;
}

int
s3_abort(struct s3 *s, const char *key, const char *id, struct err *e)
{
	const char *q[] = { "uploadId", id, NULL };
	struct s3_call c = { .method = "DELETE", .key = key, .query = q };

	if (s3_key_check(key, e) == -1)
		return -1;
	if (s3_call(s, &c, e) == 0)
		return 0;
	if (c.status != 404 || strcmp(c.code, "NoSuchBucket") == 0)
		return -1;
	err_clear(e);
	return 0;
}
