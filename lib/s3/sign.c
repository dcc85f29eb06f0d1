#include "s3/sign.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/secret.h"
#include "base/str.h"

enum { CANON_MAX = 64 << 10 };

static bool
plain(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	    (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
	    c == '~';
}

void
sign_encode(struct buf *b, const char *s, size_t n, bool slash)
{
	static const char hex[] = "0123456789ABCDEF";
	unsigned char c;
	size_t i;

	for (i = 0; i < n; i++) {
		c = (unsigned char)s[i];
		if (plain(c) || (slash && c == '/')) {
			buf_chr(b, (char)c);
		} else {
			buf_chr(b, '%');
			buf_chr(b, hex[c >> 4]);
			buf_chr(b, hex[c & 15]);
		}
	}
}

/* A parameter, encoded: name and value are compared apart (s3.md 1.2). */
struct pair {
	char *name, *value;
};

static int
by_name(const void *x, const void *y)
{
	const struct pair *a = x, *b = y;
	int d = strcmp(a->name, b->name);

	return d != 0 ? d : strcmp(a->value, b->value);
}

static char *
encoded(const char *s)
{
	struct buf b;

	buf_init(&b, CANON_MAX);
	if (s != NULL)
		sign_encode(&b, s, strlen(s), false);
	return buf_detach(&b);
}

int
sign_query(struct buf *b, const char *const *q, struct err *e)
{
	struct pair v[SIGN_HEADERS];
	size_t i, n = 0;
	int ret = -1;

	memset(v, 0, sizeof(v));
	for (; q != NULL && *q != NULL; q += 2) {
		if (n == SIGN_HEADERS) {
			err_set(e, CALA_FAIL, "more than %d parameters in a "
			    "request", (int)SIGN_HEADERS);
			goto out;
		}
		v[n].name = encoded(q[0]);
		v[n].value = encoded(q[1]);
		n++;
		if (v[n - 1].name == NULL || v[n - 1].value == NULL) {
			err_oom(e);
			goto out;
		}
	}
	qsort(v, n, sizeof(*v), by_name);
	for (i = 0; i < n; i++)
		buf_printf(b, "%s%s=%s", i > 0 ? "&" : "", v[i].name,
		    v[i].value);
	ret = buf_failed(b, e);
out:
	for (i = 0; i < n; i++) {
		free(v[i].name);
		free(v[i].value);
	}
	return ret;
}

void
sign_date(time_t t, char out[SIGN_DATE])
{
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL ||
	    strftime(out, SIGN_DATE, "%Y%m%dT%H%M%SZ", &tm) != SIGN_DATE - 1)
		memcpy(out, "19700101T000000Z", SIGN_DATE);
}

static int
hmac(const void *key, size_t nkey, const void *p, size_t n,
    unsigned char out[SIGN_KEY], struct err *e)
{
	unsigned len = SIGN_KEY;

	if (HMAC(EVP_sha256(), key, (int)nkey, p, n, out, &len) == NULL)
		return err_set(e, CALA_FAIL, "HMAC: OpenSSL can't do it");
	return 0;
}

int
sign_derive(const struct secret *secret, const char *date, const char *region,
    unsigned char out[SIGN_KEY], struct err *e)
{
	struct secret k = SECRET_INIT;
	int ret = -1;

	if (secret_alloc(&k, secret->len + 4, e) == -1)
		return -1;
	memcpy(k.p, "AWS4", 4);
	if (secret->len > 0)
		memcpy(k.p + 4, secret->p, secret->len);
	if (hmac(k.p, k.len, date, 8, out, e) == 0 &&
	    hmac(out, SIGN_KEY, region, strlen(region), out, e) == 0 &&
	    hmac(out, SIGN_KEY, "s3", 2, out, e) == 0 &&
	    hmac(out, SIGN_KEY, "aws4_request", 12, out, e) == 0)
		ret = 0;
	secret_free(&k);
	return ret;
}

static int
by_header(const void *x, const void *y)
{
	const struct sign_header *a = x, *b = y;

	return strcmp(a->name, b->name);
}

/* Outer blanks go, inner runs of them become one. */
static void
trimmed(struct buf *b, const char *s)
{
	bool gap = false;

	while (*s == ' ' || *s == '\t')
		s++;
	for (; *s != '\0'; s++) {
		if (*s == ' ' || *s == '\t') {
			gap = true;
			continue;
		}
		if (gap)
			buf_chr(b, ' ');
		gap = false;
		buf_chr(b, *s);
	}
}

static void
names(const struct sign *s, struct buf *b)
{
	size_t i;

	for (i = 0; i < s->nheaders; i++)
		buf_printf(b, "%s%s", i > 0 ? ";" : "", s->headers[i].name);
}

int
sign_canonical(struct sign *s, struct buf *b, struct err *e)
{
	size_t i;

	qsort(s->headers, s->nheaders, sizeof(*s->headers), by_header);
	buf_printf(b, "%s\n%s\n%s\n", s->method, s->path, s->query);
	for (i = 0; i < s->nheaders; i++) {
		if (i > 0 && by_header(&s->headers[i - 1], &s->headers[i]) == 0)
			return err_set(e, CALA_FAIL, "header %s stands twice "
			    "in a request", str_q(s->headers[i].name));
		buf_printf(b, "%s:", s->headers[i].name);
		trimmed(b, s->headers[i].value);
		buf_chr(b, '\n');
	}
	buf_chr(b, '\n');
	names(s, b);
	buf_printf(b, "\n%s", s->payload);
	return buf_failed(b, e);
}

static int
sha_hex(const void *p, size_t n, char out[SIGN_HEX], struct err *e)
{
	unsigned char md[SHA256_LEN];

	if (sha256(p, n, md, e) == -1)
		return -1;
	hex_put(md, sizeof(md), out);
	return 0;
}

int
sign_request(struct sign *s, char sig[SIGN_HEX], struct buf *b, struct err *e)
{
	unsigned char mac[SIGN_KEY];
	char hash[SIGN_HEX];
	struct buf c;
	int ret = -1;

	buf_init(&c, CANON_MAX);
	if (sign_canonical(s, &c, e) == -1 || sha_hex(c.p, c.len, hash, e) == -1)
		goto out;
	buf_reset(&c);
	buf_printf(&c, "AWS4-HMAC-SHA256\n%s\n%.8s/%s/s3/aws4_request\n%s",
	    s->date, s->date, s->region, hash);
	if (buf_failed(&c, e) == -1 ||
	    hmac(s->key, SIGN_KEY, c.p, c.len, mac, e) == -1)
		goto out;
	hex_put(mac, sizeof(mac), sig);
	buf_printf(b, "AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/s3/aws4_request, "
	    "SignedHeaders=", s->id, s->date, s->region);
	names(s, b);
	buf_printf(b, ", Signature=%s", sig);
	ret = buf_failed(b, e);
out:
	buf_fini(&c);
	return ret;
}
