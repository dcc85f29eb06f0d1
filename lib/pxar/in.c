#include "pxar/in.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/io.h"
#include "base/stop.h"

enum { ROOM = 256 << 10 };

static int
cut_short(struct err *e)
{
	return err_set(e, CALA_INCOMPLETE, "pxar: the archive ends too early");
}

static int
room(struct in *in, struct err *e)
{
	if ((in->p = malloc(ROOM)) == NULL)
		return err_oom(e);
	in->room = ROOM;
	return 0;
}

int
in_stream(struct in *in, struct source *s, struct err *e)
{
	memset(in, 0, sizeof(*in));
	in->s = s;
	in->ahead = ROOM;
	return room(in, e);
}

int
in_ranged(struct in *in, struct ranged *r, size_t ahead, struct err *e)
{
	memset(in, 0, sizeof(*in));
	in->r = r;
	in->ahead = ahead;
	return room(in, e);
}

void
in_memory(struct in *in, const void *p, size_t n)
{
	memset(in, 0, sizeof(*in));
	in->p = (unsigned char *)(uintptr_t)p;
	in->have = in->room = n;
	in->lent = true;
}

void
in_fini(struct in *in)
{
	if (!in->lent)
		free(in->p);
	memset(in, 0, sizeof(*in));
}

/* Up to n bytes behind what was read, straight to p; 0 at the end. */
static ssize_t
fetch(struct in *in, void *p, size_t n, uint64_t at, struct err *e)
{
	if (in->s != NULL)
		return source_read(in->s, p, n, e);
	if (in->r == NULL || at >= in->r->size)
		return 0;
	if (n > in->r->size - at)
		n = (size_t)(in->r->size - at);
	if (stop_check(e) == -1 || ranged_read(in->r, p, n, at, e) == -1)
		return -1;
	return (ssize_t)n;
}

int
in_peek(struct in *in, size_t n, const unsigned char **p, struct err *e)
{
	size_t left = in->have - in->at, want;
	ssize_t k;

	if (left < n && in->at > 0 && !in->lent) {
		memmove(in->p, in->p + in->at, left);
		in->have = left;
		in->at = 0;
	}
	while (left < n) {
		want = in->room - in->have;
		if (want > in->ahead && in->ahead >= n - left)
			want = in->ahead;
		k = in->lent ? 0 : fetch(in, in->p + in->have, want,
		    in->pos + left, e);
		if (k == -1)
			return -1;
		if (k == 0)
			return left == 0 ? 0 : cut_short(e);
		in->have += (size_t)k;
		left += (size_t)k;
	}
	*p = in->p + in->at;
	return 1;
}

void
in_take(struct in *in, size_t n)
{
	in->at += n;
	in->pos += n;
}

ssize_t
in_read(struct in *in, void *p, size_t n, struct err *e)
{
	size_t left = in->have - in->at;
	ssize_t k;

	if (left == 0) {
		/* past the window: no copy of large contents */
		if ((k = fetch(in, p, n, in->pos, e)) == 0)
			return cut_short(e);
		if (k > 0)
			in->pos += (uint64_t)k;
		return k;
	}
	if (n > left)
		n = left;
	memcpy(p, in->p + in->at, n);
	in_take(in, n);
	return (ssize_t)n;
}

int
in_skip(struct in *in, uint64_t n, struct err *e)
{
	size_t left = in->have - in->at;
	const unsigned char *p;
	uint64_t to;

	if (n <= left) {
		in_take(in, (size_t)n);
		return 0;
	}
	if (in->r != NULL) {
		if (!u64_add(in->pos, n, &to))
			return cut_short(e);
		return in_seek(in, to, e);
	}
	while (n > 0) {
		switch (in_peek(in, 1, &p, e)) {
		case 0:
			return cut_short(e);
		case -1:
			return -1;
		}
		left = in->have - in->at;
		if (left > n)
			left = (size_t)n;
		in_take(in, left);
		n -= left;
	}
	return 0;
}

int
in_seek(struct in *in, uint64_t pos, struct err *e)
{
	uint64_t begin = in->pos - in->at;

	if (in->r == NULL) {
		if (pos < in->pos)
			return err_set(e, CALA_FAIL, "pxar: a stream does not "
			    "go back");
		return in_skip(in, pos - in->pos, e);
	}
	if (pos > in->r->size)
		return cut_short(e);
	if (pos >= begin && pos - begin <= in->have) {
		in->at = (size_t)(pos - begin);
	} else {
		in->at = in->have = 0;
	}
	in->pos = pos;
	return 0;
}
