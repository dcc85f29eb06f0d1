#include "config/ini.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <ini.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/str.h"

/*
 * inih asks for lines.  It gets headings as "[x]" and keys as "k" (their names
 * stay with us), and values with every byte that it would take for a comment, a
 * blank or a letter of some locale written as 0x01 and two letters; long ones
 * continue in further lines, as inih's multi-line values do.
 */
struct reader {
	const char *p, *end;
	int line;
	const struct ini_calls *calls;
	void *ctx;
	bool skip;              /* behind a heading that is none */
	struct buf enc;         /* the value, escaped */
	size_t off;             /* how much of it inih has */
	bool first;             /* inih has only the first piece */
	struct buf key, raw;
	bool failed;
};

enum { MARK = 1, LINES_MAX = INT_MAX - 1 };

static bool
blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Behind the quoted string that starts at s[i]; n when it is not closed. */
static size_t
closing(const char *s, size_t n, size_t i)
{
	for (i++; i < n; i++) {
		if (s[i] == '\\' && i + 1 < n)
			i++;
		else if (s[i] == '"')
			return i + 1;
	}
	return n + 1;
}

void
ini_value(const char *s, size_t n, size_t *from, size_t *len)
{
	size_t i, end, q;

	for (i = 0; i < n && blank(s[i]); i++)
		;
	*from = i;
	for (end = i; end < n; end++) {
		if (s[end] == ';' && (end == 0 || blank(s[end - 1])))
			break;
		if (s[end] == '"' && (q = closing(s, n, end)) <= n)
			end = q - 1;
	}
	while (end > i && blank(s[end - 1]))
		end--;
	*len = end - i;
}

int
ini_unquote(const char *raw, struct buf *out)
{
	size_t i, n = strlen(raw);

	if (raw[0] != '"') {
		buf_str(out, raw);
		return 0;
	}
	if (closing(raw, n, 0) != n)
		return -1;
	for (i = 1; i + 1 < n; i++) {
		if (raw[i] == '\\' && (raw[i + 1] == '"' ||
		    raw[i + 1] == '\\'))
			i++;
		buf_chr(out, raw[i]);
	}
	return 0;
}

static bool
control(const char *s)
{
	for (; *s != '\0'; s++)
		if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
			return true;
	return false;
}

int
ini_quote(const char *v, struct buf *out)
{
	size_t n = strlen(v), from, len;
	const char *p;

	if (control(v) || n + 512 > INI_LINE / 2)
		return -1;
	ini_value(v, n, &from, &len);
	if (from == 0 && len == n && v[0] != '"' && v[0] != ';') {
		buf_str(out, v);
		return 0;
	}
	buf_chr(out, '"');
	for (p = v; *p != '\0'; p++) {
		if (*p == '"' || *p == '\\')
			buf_chr(out, '\\');
		buf_chr(out, *p);
	}
	buf_chr(out, '"');
	return 0;
}

int
ini_heading(const char *kind, const char *name, struct buf *out)
{
	const char *p;

	if (name == NULL) {
		buf_printf(out, "[%s]", kind);
		return 0;
	}
	if (control(name) || strchr(name, '\t') != NULL || *name == '\0')
		return -1;
	buf_printf(out, "[%s \"", kind);
	for (p = name; *p != '\0'; p++) {
		if (*p == '"' || *p == '\\')
			buf_chr(out, '\\');
		buf_chr(out, *p);
	}
	buf_str(out, "\"]");
	return 0;
}

static void
bad(struct reader *r, const char *what)
{
	r->calls->bad(r->ctx, r->line, what);
}

/* [kind] or [kind "name"], and nothing but a comment behind it. */
static const char *
heading(struct reader *r, const char *s, size_t n)
{
	struct buf kind, name;
	const char *what = NULL;
	size_t i = 1, from;
	bool named = false;

	buf_init(&kind, 64);
	buf_init(&name, INI_LINE);
	while (i < n && blank(s[i]))
		i++;
	for (from = i; i < n && !blank(s[i]) && s[i] != ']' && s[i] != '"'; i++)
		;
	buf_add(&kind, s + from, i - from);
	while (i < n && blank(s[i]))
		i++;
	if (i < n && s[i] == '"') {
		named = true;
		from = i;
		i = closing(s, n, i);
		if (i > n) {
			what = "section name: a quote is not closed";
			goto out;
		}
		for (from++; from + 1 < i; from++) {
			if (s[from] == '\\')
				from++;
			buf_chr(&name, s[from]);
		}
		while (i < n && blank(s[i]))
			i++;
	}
	if (i >= n || s[i] != ']') {
		what = "a section is written [kind] or [kind \"name\"]";
		goto out;
	}
	for (i++; i < n && blank(s[i]); i++)
		;
	if (i < n && s[i] != ';' && s[i] != '#')
		what = "something follows the section's closing bracket";
	else if (kind.failed || kind.len == 0 || name.failed)
		what = "section name too long or empty";
	else if (named && (name.len == 0 || strchr(name.p, '\t') != NULL ||
	    !str_utf8(name.p, name.len)))
		what = "section name empty, with tabs or not valid UTF-8";
out:
	if (what == NULL)
		r->calls->heading(r->ctx, r->line, kind.p,
		    named ? name.p : NULL);
	buf_fini(&kind);
	buf_fini(&name);
	return what;
}

static void
escape(struct buf *b, const char *s, size_t n)
{
	unsigned char c;
	size_t i;

	for (i = 0; i < n; i++) {
		c = (unsigned char)s[i];
		if (c > ' ' && c < 0x7f && c != ';' && c != '#') {
			buf_chr(b, s[i]);
			continue;
		}
		buf_chr(b, MARK);
		buf_chr(b, (char)('A' + (c >> 4)));
		buf_chr(b, (char)('A' + (c & 15)));
	}
}

static void
unescape(struct buf *b, const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s == MARK && s[1] != '\0' && s[2] != '\0') {
			buf_chr(b, (char)((s[1] - 'A') << 4 | (s[2] - 'A')));
			s += 2;
		} else
			buf_chr(b, *s);
	}
}

/* The next piece of the value into the rest of str; escapes stay whole. */
static void
piece(struct reader *r, char *str, size_t room, size_t at)
{
	size_t n = r->enc.len - r->off, k;

	if (n > room - at - 2) {
		n = room - at - 2;
		for (k = 1; k <= 2 && k < n; k++)
			if (r->enc.p[r->off + n - k] == MARK) {
				n -= k;
				break;
			}
	}
	memcpy(str + at, r->enc.p + r->off, n);
	memcpy(str + at + n, "\n", 2);
	r->off += n;
}

/* Look at one line; what inih gets of it is in str. */
static const char *
look(struct reader *r, const char *s, size_t n, char *str, size_t room)
{
	size_t i, key, from, len;
	const char *what;

	memcpy(str, "\n", 2);
	if (n > 0 && s[n - 1] == '\r')
		n--;
	if (n > INI_LINE)
		return "line too long";
	for (i = 0; i < n; i++)
		if (((unsigned char)s[i] < 0x20 && s[i] != '\t') ||
		    s[i] == 0x7f)
			return "control character in the line";
	while (n > 0 && blank(*s)) {
		s++;
		n--;
	}
	if (n == 0 || *s == ';' || *s == '#')
		return NULL;
	if (*s == '[') {
		what = heading(r, s, n);
		r->skip = what != NULL;
		memcpy(str, "[x]\n", 5);
		return what;
	}
	if (r->skip)
		return NULL;
	for (i = 0; i < n && s[i] != '=' && s[i] != ':'; i++)
		if (s[i] == ';' && i > 0 && blank(s[i - 1]))
			break;
	for (key = i; key > 0 && blank(s[key - 1]); key--)
		;
	if (i == n || s[i] == ';' || key == 0)
		return "neither [section], comment nor key = value";
	if (key > INI_KEY)
		return "the name of the key is too long";
	i++;
	ini_value(s + i, n - i, &from, &len);
	/* inih cuts names at 49 bytes: the key stays with us, too. */
	buf_reset(&r->key);
	buf_add(&r->key, s, key);
	buf_reset(&r->enc);
	escape(&r->enc, s + i + from, len);
	if (r->enc.failed) {
		r->failed = true;
		return NULL;
	}
	r->off = 0;
	r->first = true;
	memcpy(str, "k=", 2);
	piece(r, str, room, 2);
	return NULL;
}

static char *
feed(char *str, int num, void *stream)
{
	struct reader *r = stream;
	const char *s, *nl, *what;

	if (num < 64 || r->failed)
		return NULL;
	if (r->off < r->enc.len) {
		str[0] = ' ';
		piece(r, str, (size_t)num, 1);
		return str;
	}
	if (r->p == r->end || r->line == LINES_MAX)
		return NULL;
	s = r->p;
	nl = memchr(s, '\n', (size_t)(r->end - s));
	r->p = nl != NULL ? nl + 1 : r->end;
	r->line++;
	what = look(r, s, (size_t)((nl != NULL ? nl : r->end) - s), str,
	    (size_t)num);
	if (what != NULL)
		bad(r, what);
	return str;
}

static int
take(void *ctx, const char *section, const char *name, const char *value)
{
	struct reader *r = ctx;

	(void)section;
	(void)name;
	if (r->first) {
		r->first = false;
		buf_reset(&r->raw);
	}
	unescape(&r->raw, value);
	if (r->off < r->enc.len)
		return 1;
	if (r->key.failed || r->raw.failed)
		r->failed = true;
	else
		r->calls->pair(r->ctx, r->line, r->key.p, r->raw.p);
	return 1;
}

int
ini_read(const char *text, size_t n, const struct ini_calls *calls, void *ctx,
    struct err *e)
{
	struct reader r = { .p = text, .end = text + n, .calls = calls,
	    .ctx = ctx };
	int ret = 0;

	if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		r.p += 3;
	buf_init(&r.enc, 3 * (size_t)INI_LINE + 8);
	buf_init(&r.key, 512);
	buf_init(&r.raw, INI_LINE + 8);
	/* Its line number is of no use to us: bad lines were reported. */
	if (ini_parse_stream(feed, &r, take, &r) < 0 || r.failed)
		ret = err_oom(e);
	secret_wipe(r.enc.p, r.enc.len);
	secret_wipe(r.raw.p, r.raw.len);
	buf_fini(&r.enc);
	buf_fini(&r.key);
	buf_fini(&r.raw);
	return ret;
}
