#include "s3/attr.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/archive.h"
#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/str.h"
#include "base/when.h"
#include "s3/client.h"

int
lines_add(struct lines *l, struct err *e, const char *fmt, ...)
{
	const char **v = l->v;
	char *s = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n == -1)
		return err_oom(e);
	if ((v = reallocarray(v, l->n + 2, sizeof(*v))) == NULL) {
		free(s);
		return err_oom(e);
	}
	l->v = v;
	l->v[l->n++] = s;
	l->v[l->n] = NULL;
	return 0;
}

void
lines_free(struct lines *l)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		free((char *)(uintptr_t)l->v[i]);
	free(l->v);
	l->v = NULL;
	l->n = 0;
}

const char *
attr_type(const char *key)
{
	enum archive_format f;

	if (archive_by_name(key, &f) == -1)
		return "application/octet-stream";
	/* the panel's word for objects (s3.md 4), another than for downloads */
	return f == ARCHIVE_TAR_GZ ? "application/x-gzip" :
	    archive_info[f].mime;
}

/* Names as header names; values percent-encoded where they are no ASCII. */
static int
meta_lines(struct lines *l, const char *const *m, struct err *e)
{
	size_t total = 0, i;
	struct buf b;
	int ret = 0;

	buf_init(&b, 8192);
	for (; ret == 0 && m != NULL && m[0] != NULL; m += 2) {
		for (i = 0; m[0][i] != '\0'; i++)
			if ((m[0][i] < 'a' || m[0][i] > 'z') &&
			    (m[0][i] < 'A' || m[0][i] > 'Z') &&
			    (m[0][i] < '0' || m[0][i] > '9') &&
			    m[0][i] != '-' && m[0][i] != '_')
				break;
		if (m[0][0] == '\0' || m[0][i] != '\0' || i > 100) {
			ret = err_set(e, CALA_USAGE, "metadata '%s': letters, "
			    "digits, '-' and '_'", str_q(m[0]));
			break;
		}
		buf_reset(&b);
		for (i = 0; m[1][i] != '\0'; i++)
			if (m[1][i] >= ' ' && m[1][i] < 127 && m[1][i] != '%')
				buf_chr(&b, m[1][i]);
			else
				buf_printf(&b, "%%%02X",
				    (unsigned)(unsigned char)m[1][i]);
		total += strlen(m[0]) + b.len;
		if (buf_failed(&b, e) == -1 || total > 2048)
			ret = err_set(e, CALA_USAGE, "metadata: more than "
			    "2048 bytes");
		else
			ret = lines_add(l, e, "x-amz-meta-%s: %s", m[0], b.p);
	}
	buf_fini(&b);
	return ret;
}

static int
sse_lines(const struct s3_target *t, struct lines *l, struct err *e)
{
	switch (t->sse) {
	case S3_SSE_S3:
		return lines_add(l, e, "x-amz-server-side-encryption: AES256");
	case S3_SSE_KMS:
	case S3_SSE_DSSE:
		if (lines_add(l, e, "x-amz-server-side-encryption: aws:kms%s",
		    t->sse == S3_SSE_DSSE ? ":dsse" : "") == -1)
			return -1;
		if (t->kms_key != NULL && lines_add(l, e,
		    "x-amz-server-side-encryption-aws-kms-key-id: %s",
		    t->kms_key) == -1)
			return -1;
		return t->bucket_key ? lines_add(l, e, "x-amz-server-side-"
		    "encryption-bucket-key-enabled: true") : 0;
	default:
		return 0;       /* a customer's key goes with each request */
	}
}

static int
tag_line(const struct s3_target *t, struct lines *l, struct err *e)
{
	const char *const *k = t->tags;
	struct buf b;
	int ret = 0;

	if (k == NULL || *k == NULL)
		return 0;
	buf_init(&b, 16384);
	for (; *k != NULL; k += 2) {
		if (b.len > 0)
			buf_chr(&b, '&');
		sign_encode(&b, k[0], strlen(k[0]), false);
		buf_chr(&b, '=');
		sign_encode(&b, k[1], strlen(k[1]), false);
	}
	if (buf_failed(&b, e) == -1)
		ret = -1;
	else
		ret = lines_add(l, e, "x-amz-tagging: %s", b.p);
	buf_fini(&b);
	return ret;
}

static int
lock_lines(struct s3 *s, struct lines *l, struct err *e)
{
	const struct s3_target *t = s->t;
	char until[WHEN_TEXT];
	struct timespec ts = { 0, 0 };

	if (t->legal_hold &&
	    lines_add(l, e, "x-amz-object-lock-legal-hold: ON") == -1)
		return -1;
	if (t->lock_mode == NULL || t->lock_seconds == 0)
		return 0;
	ts.tv_sec = s3_date(s);
	if (__builtin_add_overflow(ts.tv_sec, t->lock_seconds, &ts.tv_sec))
		return err_set(e, CALA_USAGE, "retention is too long");
	if (lines_add(l, e, "x-amz-object-lock-mode: %s", t->lock_mode) == -1)
		return -1;
	return lines_add(l, e, "x-amz-object-lock-retain-until-date: %s",
	    when_utc(ts, until));
}

int
attr_lines(struct s3 *s, struct lines *l, const char *type,
    const char *const *meta, bool whole, struct err *e)
{
	const struct s3_target *t = s->t;

	if (lines_add(l, e, "content-type: %s", type) == -1 ||
	    meta_lines(l, meta, e) == -1 || sse_lines(t, l, e) == -1 ||
	    (t->acl != NULL && lines_add(l, e, "x-amz-acl: %s", t->acl) == -1))
		return -1;
	if (!whole)
		return 0;
	if (t->storage_class != NULL && *t->storage_class != '\0' &&
	    lines_add(l, e, "x-amz-storage-class: %s", t->storage_class) == -1)
		return -1;
	if (tag_line(t, l, e) == -1)
		return -1;
	return lock_lines(s, l, e);
}

static const char *
bare(const char *etag)
{
	if (str_begins(etag, "W/"))
		etag += 2;
	return *etag == '"' ? etag + 1 : etag;
}

static bool
digits(const char *p, unsigned char out[16])
{
	char low[33];
	size_t i;

	for (i = 0; i < 32; i++) {
		if (p[i] == '\0')
			return false;
		low[i] = (char)(p[i] >= 'A' && p[i] <= 'F' ? p[i] + 32 :
		    p[i]);
	}
	low[32] = '\0';
	return hex_get(low, 16, out) == 0;
}

bool
attr_etag_same(const char *a, const char *b)
{
	a = bare(a);
	b = bare(b);
	return strcspn(a, "\"") == strcspn(b, "\"") &&
	    strncmp(a, b, strcspn(a, "\"")) == 0;
}

bool
attr_etag(const char *etag, unsigned char out[16])
{
	const char *p = bare(etag);

	return digits(p, out) && (p[32] == '\0' || strcmp(p + 32, "\"") == 0);
}

bool
attr_etag_parts(const char *etag, unsigned char out[16], unsigned *n)
{
	const char *p = bare(etag);
	char num[8] = "";
	uint64_t v;
	size_t len;

	if (!digits(p, out) || p[32] != '-')
		return false;
	len = strcspn(p + 33, "\"");
	if (len >= sizeof(num))
		return false;
	memcpy(num, p + 33, len);
	num[len] = '\0';
	if (str_u64(num, 1, S3_PARTS, &v) == -1)
		return false;
	*n = (unsigned)v;
	return true;
}

bool
attr_plain(struct s3 *s)
{
	return s->t->sse == S3_SSE_NONE || s->t->sse == S3_SSE_S3;
}
