#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/bytes.h"

static const char *
digits(const char *s, uint64_t *out)
{
	uint64_t n = 0;
	const char *p;

	for (p = s; *p >= '0' && *p <= '9'; p++)
		if (!u64_mul(n, 10, &n) ||
		    !u64_add(n, (uint64_t)(*p - '0'), &n))
			return NULL;
	if (p == s)
		return NULL;
	*out = n;
	return p;
}

int
str_u64(const char *s, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t n;
	const char *p = digits(s, &n);

	if (p == NULL || *p != '\0' || n < min || n > max)
		return -1;
	*out = n;
	return 0;
}

int
str_size(const char *s, uint64_t *out)
{
	static const char units[] = "KMGTPE";
	uint64_t n, base = 1024;
	const char *p = digits(s, &n), *u;
	ptrdiff_t i;

	if (p == NULL)
		return -1;
	while (*p == ' ')
		p++;
	if (*p == '\0' || strcasecmp(p, "b") == 0) {
		*out = n;
		return 0;
	}
	u = strchr(units, toupper((unsigned char)*p));
	if (u == NULL || *u == '\0')
		return -1;
	if (strcasecmp(p + 1, "b") == 0)
		base = 1000;
	else if (p[1] != '\0' && strcasecmp(p + 1, "ib") != 0)
		return -1;
	for (i = u - units; i >= 0; i--)
		if (!u64_mul(n, base, &n))
			return -1;
	*out = n;
	return 0;
}

int
str_rate(const char *s, uint64_t *out)
{
	char tmp[64];
	size_t n = strlen(s);

	if (n >= 2 && strcasecmp(s + n - 2, "/s") == 0)
		n -= 2;
	if (n >= sizeof(tmp))
		return -1;
	memcpy(tmp, s, n);
	tmp[n] = '\0';
	return str_size(tmp, out);
}

int
str_bool(const char *s, bool *out)
{
	static const char *const yes[] = { "yes", "true", "on", "1" };
	static const char *const no[] = { "no", "false", "off", "0" };
	size_t i;

	for (i = 0; i < 4; i++) {
		if (strcasecmp(s, yes[i]) == 0) {
			*out = true;
			return 0;
		}
		if (strcasecmp(s, no[i]) == 0) {
			*out = false;
			return 0;
		}
	}
	return -1;
}

int
str_duration(const char *s, uint64_t *out)
{
	uint64_t total = 0, n, unit;

	if (*s == '\0')
		return -1;
	while (*s != '\0') {
		if ((s = digits(s, &n)) == NULL)
			return -1;
		switch (*s) {
		case '\0':
		case 's': unit = 1; break;
		case 'm': unit = 60; break;
		case 'h': unit = 3600; break;
		case 'd': unit = 86400; break;
		case 'w': unit = 7 * 86400; break;
		default: return -1;
		}
		if (!u64_mul(n, unit, &n) || !u64_add(total, n, &total))
			return -1;
		if (*s != '\0')
			s++;
	}
	*out = total;
	return 0;
}

const char *
str_human(uint64_t n, char out[STR_HUMAN])
{
	static const char *const unit[] =
	    { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double d = (double)n;
	size_t i = 0;

	while (d >= 1023.95 && i + 1 < sizeof(unit) / sizeof(*unit)) {
		d /= 1024;
		i++;
	}
	if (i == 0)
		snprintf(out, STR_HUMAN, "%d B", (int)n);
	else
		snprintf(out, STR_HUMAN, "%.1f %s", d, unit[i]);
	return out;
}

/* The length of the well-formed UTF-8 character at p (RFC 3629), else 0. */
static size_t
utf8_len(const unsigned char *p, size_t n)
{
	static const struct { unsigned char lo, hi, lo2, hi2; size_t n; } t[] = {
		{ 0x00, 0x7f, 0, 0, 1 },
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};
	size_t i, k;

	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		if (p[0] < t[i].lo || p[0] > t[i].hi)
			continue;
		if (t[i].n > n)
			return 0;
		if (t[i].n > 1 && (p[1] < t[i].lo2 || p[1] > t[i].hi2))
			return 0;
		for (k = 2; k < t[i].n; k++)
			if ((p[k] & 0xc0) != 0x80)
				return 0;
		return t[i].n;
	}
	return 0;
}

bool
str_utf8(const void *v, size_t n)
{
	const unsigned char *p = v;
	size_t k;

	while (n > 0) {
		if (*p == '\0' || (k = utf8_len(p, n)) == 0)
			return false;
		p += k;
		n -= k;
	}
	return true;
}

/* C1 controls, line separators and what reorders text on a terminal. */
static bool
deceives(const unsigned char *p, size_t k)
{
	if (k == 2)
		return (p[0] == 0xc2 && p[1] < 0xa0) ||
		    (p[0] == 0xd8 && p[1] == 0x9c);
	if (k == 3 && p[0] == 0xe2)
		return (p[1] == 0x80 && p[2] >= 0x8b && p[2] <= 0x8f) ||
		    (p[1] == 0x80 && p[2] >= 0xa8 && p[2] <= 0xae) ||
		    (p[1] == 0x81 && p[2] >= 0xa0 && p[2] <= 0xaf);
	return k == 3 && p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf;
}

void
str_esc(struct buf *b, const void *v, size_t n)
{
	const unsigned char *p = v;
	size_t i, k;

	while (n > 0) {
		k = utf8_len(p, n);
		if (k == 1 && *p == '\\')
			buf_str(b, "\\\\");
		else if (k == 1 && *p == '\n')
			buf_str(b, "\\n");
		else if (k == 1 && *p == '\t')
			buf_str(b, "\\t");
		else if (k == 1 && *p == '\r')
			buf_str(b, "\\r");
		else if (k == 0 || (k == 1 && (*p < 0x20 || *p == 0x7f)) ||
		    deceives(p, k)) {
			k = k == 0 ? 1 : k;
			for (i = 0; i < k; i++)
				buf_printf(b, "\\x%02x", p[i]);
		} else
			buf_add(b, p, k);
		p += k;
		n -= k;
	}
}

const char *
str_q(const char *s)
{
	static _Thread_local char ring[8][512];
	static _Thread_local unsigned turn;
	char *out = ring[turn++ % 8];
	struct buf b;
	size_t n;

	buf_init(&b, 4 * 512);
	n = strnlen(s, 512);
	str_esc(&b, s, n);
	snprintf(out, sizeof(ring[0]), "%.*s%s", 508, b.p,
	    b.len > 508 ? "..." : "");
	buf_fini(&b);
	return out;
}

bool
str_begins(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool
str_ends(const char *s, const char *suffix)
{
	size_t n = strlen(s), k = strlen(suffix);

	return n >= k && memcmp(s + n - k, suffix, k) == 0;
}

char *
str_trim(char *s)
{
	size_t n;

	while (isspace((unsigned char)*s))
		s++;
	n = strlen(s);
	while (n > 0 && isspace((unsigned char)s[n - 1]))
		s[--n] = '\0';
	return s;
}

char *
str_ndup(const char *p, size_t n)
{
	char *s = malloc(n + 1);

	if (s == NULL)
		return NULL;
	if (n > 0)
		memcpy(s, p, n);
	s[n] = '\0';
	return s;
}

char *
str_join(const char *dir, const char *name)
{
	size_t a = strlen(dir), b = strlen(name);
	char *s = malloc(a + b + 2);

	if (s == NULL)
		return NULL;
	memcpy(s, dir, a);
	if (a > 0 && dir[a - 1] != '/')
		s[a++] = '/';
	memcpy(s + a, name, b + 1);
	return s;
}
