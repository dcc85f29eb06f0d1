#include "s3/target.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "s3/sign.h"

#define TIB (1ull << 40)

static const struct s3_provider providers[] = {
	{ ".amazonaws.com", true, false, false, true, 10000, 0,
	    S3_PARTS * S3_PART_MAX, NULL },
	{ ".amazonaws.com.cn", true, false, false, true, 10000, 0,
	    S3_PARTS * S3_PART_MAX, NULL },
	{ ".r2.cloudflarestorage.com", false, true, true, true, 10000, 0,
	    5 * TIB - (5ull << 30), "auto" },
	{ ".backblazeb2.com", false, false, false, false, 10000, 0,
	    10000000000000, NULL },
	{ ".wasabisys.com", false, false, false, false, 10000, 0, 5 * TIB,
	    NULL },
	{ ".your-objectstorage.com", false, false, false, false, 10000, 32,
	    5 * TIB, NULL },
	{ ".scw.cloud", false, false, false, true, 1000, 0, 5 * TIB, NULL },
	{ ".digitaloceanspaces.com", false, false, false, false, 10000, 0,
	    5 * TIB, NULL },
	{ ".cloud.ovh.net", false, false, false, false, 10000, 0, 48 * TIB,
	    NULL },
	{ "storage.googleapis.com", false, false, false, false, 10000, 0,
	    5 * TIB, "auto" },
	{ NULL, false, false, false, false, 10000, 0, 5 * TIB, NULL }
};

static int
bad(struct err *e, const char *text, const char *why)
{
	return err_set(e, CALA_USAGE, "endpoint '%s': %s", str_q(text), why);
}

static bool
host_ok(const char *p, size_t n)
{
	char v6[PLACE_HOST];
	struct in6_addr a;
	size_t i;

	if (n == 0 || n >= PLACE_HOST)
		return false;
	if (*p == '[') {
		if (n < 4 || p[n - 1] != ']')
			return false;
		memcpy(v6, p + 1, n - 2);
		v6[n - 2] = '\0';
		return inet_pton(AF_INET6, v6, &a) == 1;
	}
	for (i = 0; i < n; i++)
		if ((p[i] < 'a' || p[i] > 'z') && (p[i] < 'A' || p[i] > 'Z') &&
		    (p[i] < '0' || p[i] > '9') && p[i] != '-' &&
		    p[i] != '_' && p[i] != '.')
			return false;
	return p[0] != '.' && p[0] != '-' && strstr(p, "..") == NULL;
}

/* A base path is sent as it is: only what needs no encoding, or has it. */
static bool
base_ok(const char *p)
{
	for (; *p != '\0'; p++)
		if ((*p < 'a' || *p > 'z') && (*p < 'A' || *p > 'Z') &&
		    (*p < '0' || *p > '9') && strchr("-._~/%", *p) == NULL)
			return false;
	return true;
}

int
s3_place_parse(const char *text, struct s3_place *out, struct err *e)
{
	struct s3_place p = { .tls = true };
	const char *s = text, *end, *port;
	uint64_t n;
	size_t i, len;

	if (str_begins(s, "http://")) {
		p.tls = false;
		s += 7;
	} else if (str_begins(s, "https://")) {
		s += 8;
	} else if (strstr(s, "://") != NULL) {
		return bad(e, text, "only http and https");
	}
	end = s + strcspn(s, "/");
	if (strpbrk(s, "?#@") != NULL)
		return bad(e, text, "no user, query or fragment belongs there");
	len = strlen(end);
	while (len > 0 && end[len - 1] == '/')
		len--;
	if (len >= sizeof(p.base) || !base_ok(end))
		return bad(e, text, "what is behind the host is no path");
	memcpy(p.base, end, len);
	port = *s == '[' ? memchr(s, ']', (size_t)(end - s)) : s;
	if (port != NULL)
		port = memchr(port, ':', (size_t)(end - port));
	len = port != NULL ? (size_t)(port - s) : (size_t)(end - s);
	if (!host_ok(s, len))
		return bad(e, text, "its host is no name or address");
	for (i = 0; i < len; i++)
		p.host[i] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] + 32 :
		    s[i]);
	if (port != NULL) {
		char num[8] = "";

		len = (size_t)(end - port) - 1;
		if (len >= sizeof(num))
			return bad(e, text, "its port is no port");
		memcpy(num, port + 1, len);
		if (str_u64(num, 1, 65535, &n) == -1)
			return bad(e, text, "its port is no port");
		p.port = n == (p.tls ? 443 : 80) ? 0 : (unsigned)n;
	}
	*out = p;
	return 0;
}

const struct s3_provider *
s3_provider(const struct s3_place *p)
{
	const struct s3_provider *v;

	for (v = providers; v->suffix != NULL; v++)
		if (str_ends(p->host, v->suffix) ||
		    (v->suffix[0] == '.' &&
		    strcmp(p->host, v->suffix + 1) == 0))
			break;
	return v;
}

void
s3_place_aws(const char *region, struct s3_place *p)
{
	memset(p, 0, sizeof(*p));
	p->tls = true;
	snprintf(p->host, sizeof(p->host), "s3.%s.amazonaws.com%s", region,
	    str_begins(region, "cn-") ? ".cn" : "");
}

static int
keep(char out[REGION_MAX], const char *p, size_t n)
{
	if (n == 0 || n >= REGION_MAX)
		return -1;
	memcpy(out, p, n);
	out[n] = '\0';
	return 0;
}

/* The label right before tail in host: "fsn1" of "b.fsn1.example.com". */
static int
label(const char *host, const char *tail, char out[REGION_MAX])
{
	const char *end = host + strlen(host) - strlen(tail), *p = end;

	while (p > host && p[-1] != '.')
		p--;
	return keep(out, p, (size_t)(end - p));
}

int
s3_place_region(const struct s3_place *p, char out[REGION_MAX])
{
	const struct s3_provider *v = s3_provider(p);
	const char *h = p->host, *tail = v->suffix;

	if (v->region != NULL)
		return keep(out, v->region, strlen(v->region));
	if (tail == NULL || !str_ends(h, tail))
		return -1;
	if (strcmp(tail, ".cloud.ovh.net") == 0 &&
	    str_ends(h, ".io.cloud.ovh.net"))
		tail = ".io.cloud.ovh.net";
	if (label(h, tail, out) == -1)
		return -1;
	if (strcmp(out, "s3") == 0) {
		/* the bare host of AWS and Wasabi; elsewhere it tells nothing */
		if (!v->aws && strcmp(tail, ".wasabisys.com") != 0)
			return -1;
		return keep(out, "us-east-1", 9);
	}
	if (v->aws && str_begins(out, "s3-") && strcmp(out, "s3-fips") != 0)
		memmove(out, out + 3, strlen(out + 3) + 1);
	return 0;
}

/* Can bucket be a label of a host name? */
static bool
dns_safe(const char *b)
{
	size_t i, n = strlen(b);

	if (n < 3 || n > 63 || b[0] == '-' || b[n - 1] == '-')
		return false;
	for (i = 0; i < n; i++)
		if ((b[i] < 'a' || b[i] > 'z') && (b[i] < '0' || b[i] > '9') &&
		    b[i] != '-')
			return false;
	return true;
}

static bool
is_address(const char *host)
{
	struct in_addr a;

	return *host == '[' || inet_pton(AF_INET, host, &a) == 1;
}

bool
s3_place_pasted(const struct s3_place *p, const char *bucket)
{
	size_t n = strlen(bucket);

	/*
	 * "backups.example.org" with a bucket "backups" is an ordinary name;
	 * only at a provider, or in front of "s3.", the first label is a
	 * bucket that came with the pasted URL.
	 */
	return strncmp(p->host, bucket, n) == 0 && p->host[n] == '.' &&
	    (s3_provider(p)->suffix != NULL ||
	    str_begins(p->host + n, ".s3.")) &&
	    strcmp(bucket, "s3") != 0 && p->base[0] == '\0';
}

bool
s3_place_other(const struct s3_place *p, const char *bucket)
{
	return !is_address(p->host) && strchr(p->host, '.') != NULL &&
	    dns_safe(bucket) && p->base[0] == '\0' &&
	    !s3_place_pasted(p, bucket);
}

enum s3_style
s3_place_style(const struct s3_place *p, const char *bucket,
    enum s3_style want)
{
	if (s3_place_pasted(p, bucket))
		return S3_VIRTUAL;
	if (want != S3_AUTO)
		return want;
	return s3_provider(p)->aws && s3_place_other(p, bucket) &&
	    p->port == 0 ? S3_VIRTUAL : S3_PATH;
}

void
s3_place_host(const struct s3_place *p, enum s3_style style,
    const char *bucket, struct buf *b)
{
	if (style == S3_VIRTUAL && !s3_place_pasted(p, bucket))
		buf_printf(b, "%s.", bucket);
	buf_str(b, p->host);
	if (p->port != 0)
		buf_printf(b, ":%u", p->port);
}

void
s3_place_path(const struct s3_place *p, enum s3_style style,
    const char *bucket, const char *key, struct buf *b)
{
	buf_str(b, p->base);
	buf_chr(b, '/');
	if (style != S3_VIRTUAL) {
		sign_encode(b, bucket, strlen(bucket), false);
		if (key != NULL)
			buf_chr(b, '/');
	}
	if (key != NULL)
		sign_encode(b, key, strlen(key), true);
}

bool
s3_place_trusts(const struct s3_place *p, const char *host)
{
	const struct s3_provider *v = s3_provider(p);
	size_t n = strlen(p->host), m = strlen(host);

	if (strcmp(p->host, host) == 0)
		return true;
	if (m > n + 1 && host[m - n - 1] == '.' && !is_address(p->host) &&
	    strcmp(host + m - n, p->host) == 0)
		return true;
	return v->suffix != NULL && v->suffix[0] == '.' &&
	    str_ends(host, v->suffix);
}

int
s3_bucket_check(const char *b, struct err *e)
{
	size_t i, n = b != NULL ? strlen(b) : 0;

	if (n == 0)
		return err_set(e, CALA_USAGE, "no bucket");
	if (n < 3 || n > 255)
		return err_set(e, CALA_USAGE, "bucket '%s': a bucket's name "
		    "has 3 to 255 characters", str_q(b));
	for (i = 0; i < n; i++)
		if ((b[i] < 'a' || b[i] > 'z') && (b[i] < 'A' || b[i] > 'Z') &&
		    (b[i] < '0' || b[i] > '9') && strchr("-._", b[i]) == NULL)
			return err_set(e, CALA_USAGE, "bucket '%s': only "
			    "letters, digits, '-', '.' and '_'", str_q(b));
	if (strcmp(b, "..") == 0 || strstr(b, "..") != NULL)
		return err_set(e, CALA_USAGE, "bucket '%s': no two dots",
		    str_q(b));
	return 0;
}

int
s3_key_check(const char *key, struct err *e)
{
	size_t n = strlen(key);

	if (n == 0 || n > S3_KEY_MAX)
		return err_set(e, CALA_USAGE, "key '%s': 1 to %d bytes",
		    str_q(key), (int)S3_KEY_MAX);
	if (!str_utf8(key, n))
		return err_set(e, CALA_USAGE, "key '%s': no UTF-8", str_q(key));
	return 0;
}
