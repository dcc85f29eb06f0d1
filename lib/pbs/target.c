#include "pbs/target.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/str.h"
#include "pbs/crypt.h"

enum {
	STORE_MIN = 3, STORE_MAX = 32,
	NS_DEPTH = 7, NS_MAX = 256,
	TOKEN_MIN = 3, TOKEN_MAX = 64
};

static bool
alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	    (c >= '0' && c <= '9');
}

/* The first n bytes of s as [A-Za-z0-9_][A-Za-z0-9._-]* */
static bool
name_n(const char *s, size_t n)
{
	size_t i;

	if (n == 0 || !(alnum(*s) || *s == '_'))
		return false;
	for (i = 1; i < n; i++)
		if (!alnum(s[i]) && strchr("._-", s[i]) == NULL)
			return false;
	return true;
}

bool
pbs_name_ok(const char *s)
{
	size_t n = strlen(s);

	return n <= PBS_NAME_MAX && name_n(s, n);
}

/* What stands in front of an @ may be a password. */
static int
bad_url(const char *url, const char *why, struct err *e)
{
	const char *at = strrchr(url, '@');

	return err_set(e, CALA_USAGE, "url '%s%s': %s", at != NULL ? "..." :
	    "", str_q(at != NULL ? at : url), why);
}

int
pbs_target_url(struct pbs_target *t, const char *url, struct err *e)
{
	const char *p = url, *host, *rest;
	uint64_t port = PBS_PORT;
	size_t n, k;
	char text[8];

	if (strncasecmp(p, "http://", 7) == 0)
		return bad_url(url, "a token is not sent in the clear: use "
		    "https", e);
	if (strncasecmp(p, "https://", 8) != 0)
		return bad_url(url, "it must begin with https://", e);
	p += 8;
	n = strcspn(p, "/?#");
	rest = p + n;
	if (rest[strspn(rest, "/")] != '\0')
		return bad_url(url, "nothing may follow the port", e);
	if (memchr(p, '@', n) != NULL)
		return bad_url(url, "who asks is token-id and token-secret, "
		    "not a part of it", e);
	host = p;
	if (*p == '[') {
		host++;
		k = strcspn(host, "]");
		p = host + k + 1;
		if (k + 2 > n || strspn(host, "0123456789abcdefABCDEF:.%") < k)
			return bad_url(url, "no IPv6 address in brackets", e);
	} else {
		k = strcspn(p, ":/?#");
		p += k;
	}
	if (k == 0 || k >= sizeof(t->host))
		return bad_url(url, "no host in it, or too long a one", e);
	for (n = 0; n < k; n++)
		if ((unsigned char)host[n] <= ' ' || host[n] == 0x7f)
			return bad_url(url, "no host name", e);
	if (p < rest && *p == ':') {
		n = (size_t)(rest - ++p);
		if (n >= sizeof(text))
			return bad_url(url, "no port", e);
		memcpy(text, p, n);
		text[n] = '\0';
		if (str_u64(text, 1, 65535, &port) == -1)
			return bad_url(url, "no port", e);
	} else if (p != rest) {
		return bad_url(url, "no port", e);
	}
	memcpy(t->host, host, k);
	t->host[k] = '\0';
	t->port = (uint16_t)port;
	return 0;
}

int
pbs_target_proxy(struct pbs_target *p, const char *proxy, struct err *e)
{
	const char *at = proxy, *colon;
	char url[PBS_HOST + 32];
	struct err ignored = ERR_INIT;
	size_t len;
	int n;

	if (strncasecmp(at, "http://", 7) == 0)
		at += 7;
	/* the same grammar, but that here it is plain HTTP and a port is due */
	len = strcspn(at, "/");
	colon = memrchr(at, ':', len);
	n = snprintf(url, sizeof(url), "https://%.*s", (int)len, at);
	if (strstr(at, "://") == NULL && colon != NULL && colon[1] >= '0' &&
	    colon[1] <= '9' && strchr(colon, ']') == NULL && n > 0 &&
	    (size_t)n < sizeof(url) && pbs_target_url(p, url, &ignored) == 0)
		return 0;
	/* it may have a password in it: not shown */
	return err_set(e, CALA_USAGE, "proxy: only http://HOST:PORT is "
	    "supported, without a user or password");
}

int
pbs_target_pin(struct pbs_target *t, const char *text, struct err *e)
{
	char copy[3 * PBS_PIN + 64];
	unsigned char pin[PBS_PIN];
	int n = snprintf(copy, sizeof(copy), "%s", text);

	if (n < 0 || (size_t)n >= sizeof(copy) ||
	    pbs_print_get(str_trim(copy), pin) == -1)
		return err_set(e, CALA_USAGE, "fingerprint '%s': not the "
		    "SHA-256 of a certificate, 64 hexadecimal digits",
		    str_q(text));
	memcpy(t->pin, pin, sizeof(pin));
	t->pinned = true;
	return 0;
}

static int
check_ns(const char *ns, struct err *e)
{
	const char *p = ns;
	unsigned depth = 0;
	size_t n;

	if (ns == NULL || *ns == '\0')
		return 0;
	if (strlen(ns) > NS_MAX)
		return err_set(e, CALA_USAGE, "namespace '%s': longer than %d "
		    "bytes", str_q(ns), NS_MAX);
	for (;; p++) {
		n = strcspn(p, "/");
		if (!name_n(p, n) || n > STORE_MAX)
			return err_set(e, CALA_USAGE, "namespace '%s': each "
			    "part is 1 to %d of A-Z a-z 0-9 _ . -", str_q(ns),
			    STORE_MAX);
		if (++depth > NS_DEPTH)
			return err_set(e, CALA_USAGE, "namespace '%s': more "
			    "than %d deep", str_q(ns), NS_DEPTH);
		p += n;
		if (*p == '\0')
			return 0;
	}
}

/* user@realm!name (pbs.md 2.1) */
static bool
token_ok(const char *s)
{
	const char *at = strrchr(s, '@'), *bang, *p;
	size_t n = strlen(s);

	if (n < TOKEN_MIN || n > TOKEN_MAX || at == NULL || at == s ||
	    (bang = strrchr(at, '!')) == NULL)
		return false;
	for (p = s; p < at; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f || *p == ':' ||
		    *p == '/')
			return false;
	return name_n(at + 1, (size_t)(bang - at - 1)) &&
	    name_n(bang + 1, strlen(bang + 1));
}

int
pbs_target_check(const struct pbs_target *t, struct err *e)
{
	size_t n = t->datastore != NULL ? strlen(t->datastore) : 0;
	struct pbs_target proxy = { .port = 0 };

	if (t->proxy != NULL && pbs_target_proxy(&proxy, t->proxy, e) == -1)
		return -1;
	if (*t->host == '\0' || t->port == 0)
		return err_set(e, CALA_USAGE, "no host of the server");
	if (n < STORE_MIN || n > STORE_MAX || !name_n(t->datastore, n))
		return err_set(e, CALA_USAGE, "datastore '%s': %d to %d of "
		    "A-Z a-z 0-9 _ . -", n > 0 ? str_q(t->datastore) : "",
		    STORE_MIN, STORE_MAX);
	if (check_ns(t->ns, e) == -1)
		return -1;
	if (t->token_id == NULL || !token_ok(t->token_id))
		return err_set(e, CALA_USAGE, "token-id '%s': not like "
		    "user@realm!name", t->token_id != NULL ?
		    str_q(t->token_id) : "");
	if (t->token_secret == NULL || t->token_secret->len == 0)
		return err_set(e, CALA_USAGE, "no secret of the token %s",
		    str_q(t->token_id));
	return 0;
}

void
pbs_target_url_text(const struct pbs_target *t, struct buf *b)
{
	bool v6 = strchr(t->host, ':') != NULL;

	buf_printf(b, "https://%s%s%s:%u", v6 ? "[" : "", t->host,
	    v6 ? "]" : "", t->port);
}

const char *
pbs_target_acl(const struct pbs_target *t, char out[PBS_PRIV_PATH])
{
	bool ns = t->ns != NULL && *t->ns != '\0';

	snprintf(out, PBS_PRIV_PATH, "/datastore/%s%s%s", t->datastore,
	    ns ? "/" : "", ns ? t->ns : "");
	return out;
}

static void
encoded(struct buf *b, const char *s, const char *as_is)
{
	for (; *s != '\0'; s++) {
		if (alnum(*s) || strchr(as_is, *s) != NULL)
			buf_chr(b, *s);
		else
			buf_printf(b, "%%%02X", (unsigned)(unsigned char)*s);
	}
}

void
pbs_escape(struct buf *b, const char *s)
{
	encoded(b, s, "");
}

void
pbs_param(struct buf *b, const char *key, const char *value)
{
	/* a query of its own, or behind a path */
	if (b->len > 0)
		buf_chr(b, *b->p == '/' && strchr(b->p, '?') == NULL ? '?' :
		    '&');
	buf_str(b, key);
	buf_chr(b, '=');
	encoded(b, value, "*-._");
}

void
pbs_param_i64(struct buf *b, const char *key, int64_t n)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, n);
	pbs_param(b, key, text);
}

void
pbs_param_snap(struct buf *b, const struct pbs_snap *s)
{
	pbs_param(b, "backup-type", s->type != NULL ? s->type : "host");
	pbs_param(b, "backup-id", s->id);
	if (s->time != 0)
		pbs_param_i64(b, "backup-time", s->time);
}
