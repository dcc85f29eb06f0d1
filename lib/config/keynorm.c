/*
 * keynorm: is a value allowed, and what is its one canonical spelling?
 * Limits and forms are those of calagopus.md §2; the messages never quote the
 * value of a secret.
 */

#include "config/keys.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/str.h"
#include "base/uuid.h"

#define ALNUM "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

/* The value for a message: secrets are not quoted. */
static const char *
shown(const struct key *k, const char *v)
{
	return (k->flags & KEY_SECRET) != 0 ? "(secret)" : str_q(v);
}

static size_t
characters(const char *s)
{
	size_t n = 0;

	for (; *s != '\0'; s++)
		if (((unsigned char)*s & 0xc0) != 0x80)
			n++;
	return n;
}

static int
length(const struct key *k, const char *v, struct err *e)
{
	bool bytes = (k->flags & KEY_MAP) != 0;
	size_t n = bytes ? strlen(v) : characters(v);

	if (!bytes && !str_utf8(v, strlen(v)))
		return err_set(e, CALA_USAGE, "not valid UTF-8");
	if (n < k->min || (k->max != 0 && n > k->max))
		return err_set(e, CALA_USAGE,
		    "%zu %s, must have %ju to %ju", n,
		    bytes ? "bytes" : "characters", (uintmax_t)k->min,
		    (uintmax_t)k->max);
	return 0;
}

/* The canonical form of v among choices ("a|x b c|y"): its start and size. */
static const char *
choice(const char *choices, const char *v, size_t *len)
{
	const char *p = choices, *first;
	size_t n, want = strlen(v);

	while (*p != '\0') {
		first = p;
		for (;;) {
			n = strcspn(p, " |");
			if (n == want && strncasecmp(p, v, n) == 0) {
				*len = strcspn(first, " |");
				return first;
			}
			p += n;
			if (*p != '|')
				break;
			p++;
		}
		p += *p == ' ';
	}
	return NULL;
}

static int
norm_enum(const struct key *k, const char *v, struct buf *out, struct err *e)
{
	struct buf names;
	const char *p;
	size_t n;
	bool yes;

	p = choice(k->choices, v, &n);
	/* Where yes is a choice, so is every spelling of it. */
	if (p == NULL && str_bool(v, &yes) == 0)
		p = choice(k->choices, yes ? "yes" : "no", &n);
	if (p != NULL) {
		buf_add(out, p, n);
		return 0;
	}
	buf_init(&names, 1024);
	for (p = k->choices; *p != '\0'; p += strcspn(p, " "), p += *p == ' ') {
		buf_str(&names, names.len > 0 ? ", " : "");
		buf_add(&names, p, strcspn(p, " |"));
	}
	err_set(e, CALA_USAGE, "'%s' is none of %s", shown(k, v), names.p);
	buf_fini(&names);
	return -1;
}

static int
norm_number(const struct key *k, const char *v, struct buf *out, struct err *e)
{
	uint64_t n, max = k->max != 0 ? k->max : UINT64_MAX;
	int bad;

	switch (k->type) {
	case KEY_SIZE:
		bad = str_size(v, &n);
		break;
	case KEY_RATE:
		bad = str_rate(v, &n);
		break;
	case KEY_DURATION:
		bad = str_duration(v, &n);
		break;
	default:
		bad = str_u64(v, 0, UINT64_MAX, &n);
		break;
	}
	if (bad == -1)
		return err_set(e, CALA_USAGE, "'%s' is not a %s", shown(k, v),
		    k->type == KEY_COUNT ? "number" :
		    k->type == KEY_SIZE ? "size like 512MiB" :
		    k->type == KEY_RATE ? "rate like 50MiB" :
		    "duration like 36h or 7d");
	if ((n < k->min && (n != 0 || (k->flags & KEY_ZERO) == 0)) || n > max)
		return err_set(e, CALA_USAGE, "%s is not between %ju and %ju",
		    shown(k, v), (uintmax_t)k->min, (uintmax_t)max);
	buf_str(out, v);
	return 0;
}

static int
norm_level(const struct key *k, const char *v, struct buf *out, struct err *e)
{
	uint64_t n;

	if (str_u64(v, 0, k->max, &n) == 0) {
		buf_printf(out, "%ju", (uintmax_t)n);
		return 0;
	}
	if (norm_enum(k, v, out, e) == -1)
		return err_set(e, CALA_USAGE, "'%s' is neither a number from 0 "
		    "to %ju nor best_speed, good_speed, good_compression or "
		    "best_compression", str_q(v), (uintmax_t)k->max);
	return 0;
}

static int
norm_path(const char *v, struct buf *out, struct err *e)
{
	size_t n = strlen(v);

	if (v[0] != '/')
		return err_set(e, CALA_USAGE, "'%s' is not an absolute path",
		    str_q(v));
	if (n >= 4096)
		return err_set(e, CALA_USAGE, "path longer than 4095 bytes");
	while (n > 1 && v[n - 1] == '/')
		n--;
	buf_add(out, v, n);
	return 0;
}

static int
norm_url(const struct key *k, const char *v, struct buf *out, struct err *e)
{
	const char *host;
	size_t n;

	if (length(k, v, e) == -1)
		return -1;
	/* Before anything quotes the value: it may be a password. */
	if (strchr(v, '@') != NULL)
		return err_set(e, CALA_USAGE,
		    "a user or password in the URL is not used");
	if (strncasecmp(v, "https://", 8) == 0)
		host = v + 8;
	else if (strncasecmp(v, "http://", 7) == 0)
		host = v + 7;
	else
		return err_set(e, CALA_USAGE,
		    "'%s' begins with neither https:// nor http://", str_q(v));
	n = strcspn(host, "/");
	if (n == 0 || host[0] == ':' || strpbrk(host, " \t?#") != NULL)
		return err_set(e, CALA_USAGE, "'%s' is not a URL of a server",
		    str_q(v));
	buf_str(out, v);
	return 0;
}

static int
norm_fingerprint(const char *v, struct buf *out, struct err *e)
{
	char hex[65];
	size_t n = 0;

	for (; *v != '\0'; v++) {
		if (*v == ':' || *v == ' ' || *v == '\t')
			continue;
		if (!isxdigit((unsigned char)*v) || n == 64)
			n = 65;
		if (n == 65)
			break;
		hex[n++] = (char)tolower((unsigned char)*v);
	}
	if (n != 64)
		return err_set(e, CALA_USAGE,
		    "not a SHA-256 fingerprint: 64 hex digits, with or without "
		    "colons");
	buf_add(out, hex, n);
	return 0;
}

/* ^[^\s:/!@]+@[A-Za-z][A-Za-z0-9._-]*![A-Za-z0-9._-]+$ */
static bool
token_id(const char *v)
{
	size_t n = strcspn(v, " \t\r\n\v\f:/!@");

	if (n == 0 || v[n] != '@' || !isalpha((unsigned char)v[n + 1]))
		return false;
	v += n + 1;
	v += strspn(v, ALNUM "._-");
	if (*v++ != '!' || *v == '\0')
		return false;
	return v[strspn(v, ALNUM "._-")] == '\0';
}

/* ^[a-z0-9][a-z0-9._-]*@[a-z0-9][a-z0-9._-]*$ */
static bool
kopia_user(const char *v)
{
	static const char abc[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t n = strspn(v, abc);

	if (n == 0 || strchr("._-", v[0]) != NULL || v[n] != '@')
		return false;
	v += n + 1;
	n = strspn(v, abc);
	return n > 0 && strchr("._-", v[0]) == NULL && v[n] == '\0';
}

/* One number or name of a cron field; -1 when it is none. */
static int
cron_value(const char **p, int min, int max, const char *names)
{
	const char *s = *p, *at;
	int n = 0, digits = 0;

	if (names != NULL && isalpha((unsigned char)s[0]) &&
	    isalpha((unsigned char)s[1]) && isalpha((unsigned char)s[2]))
		for (at = names, n = min; *at != '\0'; at += 3, n++)
			if (strncasecmp(at, s, 3) == 0) {
				*p += 3;
				return n;
			}
	for (n = 0; s[digits] >= '0' && s[digits] <= '9'; digits++) {
		if (digits == 3)
			return -1;
		n = n * 10 + (s[digits] - '0');
	}
	if (digits == 0 || n < min || n > max)
		return -1;
	*p += digits;
	return n;
}

/* "*", "1,2-5,*" each with an optional "/step"; len characters at s. */
static bool
cron_field(const char *s, size_t len, int which)
{
	static const struct { int min, max; const char *names; } t[] = {
		{ 0, 59, NULL }, { 0, 59, NULL }, { 0, 23, NULL },
		{ 1, 31, NULL },
		{ 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec" },
		{ 0, 7, "sunmontuewedthufrisat" },
	};
	char field[128];
	const char *p = field;
	int a, b;

	if (len == 0 || len >= sizeof(field))
		return false;
	memcpy(field, s, len);
	field[len] = '\0';
	for (;;) {
		if (*p == '*' || (*p == '?' && (which == 3 || which == 5))) {
			p++;
		} else {
			a = cron_value(&p, t[which].min, t[which].max,
			    t[which].names);
			if (a == -1)
				return false;
			if (*p == '-') {
				p++;
				b = cron_value(&p, t[which].min, t[which].max,
				    t[which].names);
				if (b < a)
					return false;
			}
		}
		if (*p == '/') {
			p++;
			if (cron_value(&p, 1, t[which].max, NULL) == -1)
				return false;
		}
		if (*p == '\0')
			return true;
		if (*p++ != ',')
			return false;
	}
}

/*
 * The leading cron fields of v: how many were taken into out, separated by one
 * blank; *rest is what follows them.  0 when one is wrong: *bad names it.
 */
static int
cron(const char *v, int want, struct buf *out, const char **rest, char *bad,
    size_t nbad)
{
	size_t start[6], len[6];
	const char *p = v;
	int n, i;

	for (n = 0; n < want; n++) {
		p += strspn(p, " \t");
		if (*p == '\0')
			break;
		start[n] = (size_t)(p - v);
		len[n] = strcspn(p, " \t");
		p += len[n];
	}
	*rest = p + strspn(p, " \t");
	for (i = 0; i < n; i++) {
		if (!cron_field(v + start[i], len[i], i + (n == 5))) {
			snprintf(bad, nbad, "%.*s", (int)len[i], v + start[i]);
			return 0;
		}
		if (i > 0)
			buf_chr(out, ' ');
		buf_add(out, v + start[i], len[i]);
	}
	return n;
}

static int
norm_cron(const struct key *k, const char *v, struct buf *out, struct err *e)
{
	struct buf fields;
	char bad[64] = "";
	const char *rest;
	int n, ret = -1;

	if (length(k, v, e) == -1)
		return -1;
	buf_init(&fields, 1024);
	n = cron(v, 6, &fields, &rest, bad, sizeof(bad));
	if (bad[0] != '\0') {
		err_set(e, CALA_USAGE, "cron field '%s' is not understood",
		    str_q(bad));
	} else if (n < 5 || *rest != '\0') {
		err_set(e, CALA_USAGE,
		    "'%s' has not five or six cron fields", str_q(v));
	} else {
		if (n == 5)
			buf_str(out, "0 ");
		buf_str(out, fields.p);
		ret = buf_failed(out, e);
	}
	buf_fini(&fields);
	return ret;
}

static int
norm_prune(const struct key *k, const char *v, struct buf *out, struct err *e)
{
	char bad[64] = "";
	const char *rest;

	if (length(k, v, e) == -1)
		return -1;
	if (cron(v, 6, out, &rest, bad, sizeof(bad)) != 6)
		return err_set(e, CALA_USAGE, bad[0] != '\0' ?
		    "cron field '%s' is not understood" :
		    "'%s' does not begin with six cron fields",
		    str_q(bad[0] != '\0' ? bad : v));
	if (*rest != '\0') {
		buf_chr(out, ' ');
		buf_str(out, rest);
	}
	return 0;
}

static int
norm_command(const struct key *k, const char *v, struct err *e)
{
	bool quoted = false;
	const char *p;

	if (length(k, v, e) == -1)
		return -1;
	for (p = v; *p != '\0'; p++) {
		if (*p == '\\' && p[1] != '\0')
			p++;
		else if (*p == '"')
			quoted = !quoted;
	}
	if (quoted)
		return err_set(e, CALA_USAGE, "a quote is not closed");
	if (v[strspn(v, "\"")] != '/')
		return err_set(e, CALA_USAGE,
		    "'%s' does not begin with the absolute path of a program",
		    str_q(v));
	return 0;
}

static int
norm_base64(const struct key *k, const char *v, struct err *e)
{
	struct buf b;
	int ret;

	buf_init(&b, 65536);
	ret = b64_get(&b, v, strlen(v));
	if (ret == 0 && (b.len < k->min || b.len > k->max))
		ret = -1;
	secret_wipe(b.p, b.len);
	buf_fini(&b);
	return ret == 0 ? 0 : err_set(e, CALA_USAGE,
	    "not %ju bytes in base64", (uintmax_t)k->min);
}

/* The variables of restic, and the tags of a snapshot or an object. */
int
key_member(const struct key *k, const char *name, struct err *e)
{
	size_t n = strlen(name), max = strcmp(k->name, "environment") == 0 ||
	    k->disk == NULL || strcmp(k->disk, "s3") != 0 ? 255 : 128;

	if (n == 0 || n > max)
		return err_set(e, CALA_USAGE,
		    "the name of a member has %zu bytes, must have 1 to %zu",
		    n, max);
	if (strcmp(k->name, "environment") == 0 &&
	    (strspn(name, ALNUM "_") != n || isdigit((unsigned char)*name)))
		return err_set(e, CALA_USAGE,
		    "'%s' can't be the name of a variable", str_q(name));
	if (!str_utf8(name, n))
		return err_set(e, CALA_USAGE, "not valid UTF-8");
	return 0;
}

int
key_norm(const struct key *k, const char *v, struct buf *out, struct err *e)
{
	char uuid[UUID_TEXT];
	int ret = 0;
	bool b;

	switch (k->type) {
	case KEY_TEXT:
	case KEY_REF:
	case KEY_PATTERN:
		ret = length(k, v, e);
		if (ret == 0)
			buf_str(out, v);
		break;
	case KEY_PATH:
		ret = norm_path(v, out, e);
		break;
	case KEY_BOOL:
		if (str_bool(v, &b) == -1)
			return err_set(e, CALA_USAGE,
			    "'%s' is neither yes nor no", shown(k, v));
		buf_str(out, b ? "yes" : "no");
		break;
	case KEY_COUNT:
	case KEY_SIZE:
	case KEY_RATE:
	case KEY_DURATION:
		ret = norm_number(k, v, out, e);
		break;
	case KEY_ENUM:
		ret = norm_enum(k, v, out, e);
		break;
	case KEY_LEVEL:
		ret = norm_level(k, v, out, e);
		break;
	case KEY_URL:
		ret = norm_url(k, v, out, e);
		break;
	case KEY_UUID:
		if (uuid_norm(v, uuid) == -1)
			return err_set(e, CALA_USAGE, "'%s' is not a UUID",
			    str_q(v));
		buf_str(out, uuid);
		break;
	case KEY_CRON:
		ret = norm_cron(k, v, out, e);
		break;
	case KEY_PRUNE:
		ret = norm_prune(k, v, out, e);
		break;
	case KEY_FINGERPRINT:
		ret = norm_fingerprint(v, out, e);
		break;
	case KEY_TOKEN_ID:
	case KEY_KOPIA_USER:
		if ((ret = length(k, v, e)) == -1)
			break;
		if (k->type == KEY_TOKEN_ID ? !token_id(v) : !kopia_user(v))
			return err_set(e, CALA_USAGE, "'%s' is not of the form "
			    "%s", str_q(v), k->type == KEY_TOKEN_ID ?
			    "user@realm!token" :
			    "user@host in lower case");
		buf_str(out, v);
		break;
	case KEY_COMMAND:
		ret = norm_command(k, v, e);
		if (ret == 0)
			buf_str(out, v);
		break;
	case KEY_BASE64:
		ret = norm_base64(k, v, e);
		if (ret == 0)
			buf_str(out, v);
		break;
	}
	return ret == 0 ? buf_failed(out, e) : -1;
}

int
key_check(const struct key *k, const char *v, struct err *e)
{
	struct buf out;
	int ret;

	buf_init(&out, 1 << 20);
	ret = key_norm(k, v, &out, e);
	secret_wipe(out.p, out.len);
	buf_fini(&out);
	return ret;
}
