#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static char nothing[1];         /* never written: cap is 0 */

void
buf_init(struct buf *b, size_t max)
{
	b->p = nothing;
	b->len = b->cap = 0;
	b->max = max;
	b->failed = b->lent = false;
}

void
buf_over(struct buf *b, void *p, size_t n)
{
	/* buf_room() never needs more than max and the NUL: it stays there */
	b->p = p;
	b->p[0] = '\0';
	b->len = 0;
	b->cap = n;
	b->max = n - 1;
	b->failed = false;
	b->lent = true;
}

void
buf_fini(struct buf *b)
{
	if (b->cap != 0 && !b->lent)
		free(b->p);
	buf_init(b, b->max);
}

char *
buf_room(struct buf *b, size_t n)
{
	size_t cap;
	char *p;

	if (b->failed || n > b->max - b->len) {
		b->failed = true;
		return NULL;
	}
	if (b->cap == 0 || n > b->cap - b->len - 1) {
		cap = b->len + n + 1;
		if (cap < 2 * b->cap)
			cap = 2 * b->cap;
		if (cap < 64)
			cap = 64;
		p = realloc(b->cap != 0 ? b->p : NULL, cap);
		if (p == NULL) {
			b->failed = true;
			return NULL;
		}
		p[b->len] = '\0';
		b->p = p;
		b->cap = cap;
	}
	return b->p + b->len;
}

void
buf_grown(struct buf *b, size_t n)
{
	if (n == 0)
		return;
	b->len += n;
	b->p[b->len] = '\0';
}

int
buf_add(struct buf *b, const void *p, size_t n)
{
	char *to;

	if (n == 0)
		return b->failed ? -1 : 0;
	if ((to = buf_room(b, n)) == NULL)
		return -1;
	memcpy(to, p, n);
	buf_grown(b, n);
	return 0;
}

int
buf_str(struct buf *b, const char *s)
{
	return buf_add(b, s, strlen(s));
}

int
buf_chr(struct buf *b, char c)
{
	return buf_add(b, &c, 1);
}

int
buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	char *to;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->failed = true;
		return -1;
	}
	if ((to = buf_room(b, (size_t)n)) == NULL)
		return -1;
	if (n == 0)
		return 0;
	va_start(ap, fmt);
	vsnprintf(to, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return 0;
}

void
buf_reset(struct buf *b)
{
	b->failed = false;
	buf_cut(b, 0);
}

void
buf_cut(struct buf *b, size_t n)
{
	if (n > b->len || b->cap == 0)
		return;
	b->len = n;
	b->p[n] = '\0';
}

int
buf_failed(const struct buf *b, struct err *e)
{
	if (!b->failed)
		return 0;
	return err_set(e, CALA_FAIL,
	    "out of memory, or more than %zu bytes where fewer were expected",
	    b->max);
}

char *
buf_detach(struct buf *b)
{
	char *p;

	if (b->failed || b->lent || buf_room(b, 0) == NULL)
		return NULL;
	p = b->p;
	buf_init(b, b->max);
	return p;
}
