/*
 * child_items: JSON in what a program prints: objects on lines, and arrays that
 * are taken apart as they come, since one may name every backup of every
 * server.
 */

#include "exec/child.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum { BLOCK = 64 << 10 };

json_t *
child_json(const char *line, size_t n)
{
	while (n > 0 && (*line == ' ' || *line == '\t')) {
		line++;
		n--;
	}
	if (n == 0 || *line != '{')
		return NULL;
	return json_loadb(line, n, JSON_ALLOW_NUL, NULL);
}

enum where {
	LINE_START, LINE, KEY, ITEM_OR_END, ITEM, INSIDE, COMMA_OR_END, AFTER
};

struct items {
	enum where where;
	unsigned depth;
	bool string, escaped;
	char open[64];          /* what stands before the elements */
	size_t nopen;           /* of it, what was seen */
	struct buf text;
};

static int
garbled(const char *what, const char *p, struct err *e)
{
	char c[2] = { *p, '\0' };

	return err_set(e, CALA_INTEGRITY, "%s: printed no JSON array: '%s' in "
	    "the wrong place", what, str_q(c));
}

/* Bytes of one element: how many of n belong to it; its end clears depth. */
static size_t
inside(struct items *it, const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n && it->depth > 0; i++) {
		if (it->string) {
			if (it->escaped)
				it->escaped = false;
			else if (p[i] == '\\')
				it->escaped = true;
			else if (p[i] == '"')
				it->string = false;
		} else if (p[i] == '"') {
			it->string = true;
		} else if (p[i] == '{' || p[i] == '[') {
			it->depth++;
		} else if (p[i] == '}' || p[i] == ']') {
			it->depth--;
		}
	}
	return i;
}

static int
one(struct items *it, const char *what, int (*fn)(void *, json_t *,
    struct err *), void *ctx, struct err *e)
{
	json_error_t why;
	json_t *j = json_loadb(it->text.p, it->text.len, JSON_ALLOW_NUL,
	    &why);
	int ret;

	if (j == NULL)
		return err_set(e, CALA_INTEGRITY, "%s: printed no JSON: %s",
		    what, str_q(why.text));
	ret = fn(ctx, j, e);
	json_decref(j);
	buf_reset(&it->text);
	return ret;
}

static int
feed(struct items *it, const char *what, const char *p, size_t n,
    int (*fn)(void *, json_t *, struct err *), void *ctx, struct err *e)
{
	const char *end = p + n;
	bool blank;
	size_t k;

	for (; p < end; p++) {
		blank = *p == ' ' || *p == '\t' || *p == '\r' || *p == '\n';
		switch (it->where) {
		case LINE_START:
			if (blank)
				break;
			it->nopen = 0;
			it->where = KEY;
			__attribute__((fallthrough));
		case KEY:
			if (*p != it->open[it->nopen++])
				it->where = *p == '\n' ? LINE_START : LINE;
			else if (it->open[it->nopen] == '\0')
				it->where = ITEM_OR_END;
			break;
		case LINE:
			if (*p == '\n')
				it->where = LINE_START;
			break;
		case ITEM_OR_END:
		case ITEM:
			if (blank)
				break;
			if (*p == ']' && it->where == ITEM_OR_END) {
				it->where = AFTER;
				break;
			}
			if (*p != '{')
				return garbled(what, p, e);
			it->where = INSIDE;
			it->depth = 1;
			it->string = it->escaped = false;
			buf_chr(&it->text, '{');
			break;
		case INSIDE:
			k = inside(it, p, (size_t)(end - p));
			if (buf_add(&it->text, p, k) == -1)
				return err_set(e, CALA_INTEGRITY, "%s: an "
				    "element of more than %zu bytes", what,
				    it->text.max);
			p += k - 1;
			if (it->depth > 0)
				break;
			it->where = COMMA_OR_END;
			if (one(it, what, fn, ctx, e) == -1)
				return -1;
			break;
		case COMMA_OR_END:
			if (*p == ',')
				it->where = ITEM;
			else if (*p == ']')
				it->where = AFTER;
			else if (!blank)
				return garbled(what, p, e);
			break;
		case AFTER:
			return 0;
		}
	}
	return 0;
}

int
child_member(struct child *c, const char *key, size_t max, int (*fn)(void *,
    json_t *, struct err *), void *ctx, struct err *e)
{
	const char *what = child_what(c);
	struct items it = { .where = LINE_START };
	char block[BLOCK];
	ssize_t n;
	int ret = -1;

	if (key != NULL)
		snprintf(it.open, sizeof(it.open), "{\"%s\":[", key);
	else
		memcpy(it.open, "[", 2);
	buf_init(&it.text, max);
	while ((n = child_read(c, block, sizeof(block), e)) > 0)
		if (feed(&it, what, block, (size_t)n, fn, ctx, e) == -1)
			goto out;
	if (n == -1)
		goto out;
	if (it.where == AFTER)
		ret = 0;
	else
		err_set(e, CALA_INTEGRITY, it.where <= KEY ?
		    "%s: printed no JSON array" :
		    "%s: printed a JSON array without its end", what);
out:
	buf_fini(&it.text);
	return ret;
}

int
child_items(struct child *c, size_t max, int (*fn)(void *, json_t *,
    struct err *), void *ctx, struct err *e)
{
	return child_member(c, NULL, max, fn, ctx, e);
}
