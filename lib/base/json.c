#include "base/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/str.h"
#include "base/when.h"

void
jw_begin(struct jw *j, struct buf *b)
{
	j->b = b;
	j->comma = false;
}

/* Bytes that are not UTF-8 become U+FFFD, one each. */
static void
quoted(struct buf *b, const unsigned char *p, size_t n)
{
	size_t i, k;

	buf_chr(b, '"');
	for (i = 0; i < n; i += k) {
		k = 1;
		if (p[i] == '"' || p[i] == '\\') {
			buf_chr(b, '\\');
			buf_chr(b, (char)p[i]);
		} else if (p[i] < 0x20 || p[i] == 0x7f) {
			buf_printf(b, "\\u%04x", p[i]);
		} else if (p[i] < 0x80) {
			while (i + k < n && p[i + k] >= 0x20 &&
			    p[i + k] < 0x7f && p[i + k] != '"' &&
			    p[i + k] != '\\')
				k++;
			buf_add(b, p + i, k);
		} else {
			k = p[i] >= 0xf0 ? 4 : p[i] >= 0xe0 ? 3 : 2;
			if (k <= n - i && str_utf8(p + i, k)) {
				buf_add(b, p + i, k);
			} else {
				k = 1;
				buf_str(b, "\xef\xbf\xbd");
			}
		}
	}
	buf_chr(b, '"');
}

static void
lead(struct jw *j, const char *key)
{
	if (j->comma)
		buf_chr(j->b, ',');
	j->comma = true;
	if (key != NULL) {
		quoted(j->b, (const unsigned char *)key, strlen(key));
		buf_chr(j->b, ':');
	}
}

void
jw_open(struct jw *j, const char *key, char c)
{
	lead(j, key);
	buf_chr(j->b, c);
	j->comma = false;
}

void
jw_close(struct jw *j, char c)
{
	buf_chr(j->b, c);
	j->comma = true;
}

void
jw_str(struct jw *j, const char *key, const char *s)
{
	lead(j, key);
	quoted(j->b, (const unsigned char *)s, strlen(s));
}

void
jw_u64(struct jw *j, const char *key, uint64_t n)
{
	lead(j, key);
	buf_printf(j->b, "%" PRIu64, n);
}

void
jw_i64(struct jw *j, const char *key, int64_t n)
{
	lead(j, key);
	buf_printf(j->b, "%" PRId64, n);
}

void
jw_real(struct jw *j, const char *key, double d)
{
	lead(j, key);
	buf_printf(j->b, "%.3f", d);
}

void
jw_bool(struct jw *j, const char *key, bool v)
{
	lead(j, key);
	buf_str(j->b, v ? "true" : "false");
}

void
jw_null(struct jw *j, const char *key)
{
	lead(j, key);
	buf_str(j->b, "null");
}

void
jw_time(struct jw *j, const char *key, struct timespec t)
{
	char text[WHEN_TEXT];

	jw_str(j, key, when_utc(t, text));
}

void
jw_bytes(struct jw *j, const char *key, const void *p, size_t n)
{
	char key64[64];

	lead(j, key);
	quoted(j->b, p, n);
	if (key == NULL || str_utf8(p, n))
		return;
	snprintf(key64, sizeof(key64), "%s_b64", key);
	lead(j, key64);
	buf_chr(j->b, '"');
	b64_put(j->b, p, n);
	buf_chr(j->b, '"');
}

json_t *
json_parse(const void *p, size_t n, const char *what, struct err *e)
{
	json_error_t je;
	json_t *j = json_loadb(p, n, JSON_REJECT_DUPLICATES, &je);
	char *near;

	if (j != NULL)
		return j;
	/* The text may be a secret that a link led us to: never quote it. */
	if ((near = strstr(je.text, " near '")) != NULL)
		*near = '\0';
	err_set(e, CALA_INTEGRITY, "%s: not valid JSON: line %d: %s", what,
	    je.line, str_q(je.text));
	return NULL;
}

const char *
json_get_str(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

uint64_t
json_get_u64(const json_t *o, const char *key, uint64_t def)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return def;
	return (uint64_t)json_integer_value(v);
}

bool
json_get_bool(const json_t *o, const char *key, bool def)
{
	const json_t *v = json_object_get(o, key);

	return json_is_boolean(v) ? json_is_true(v) : def;
}
