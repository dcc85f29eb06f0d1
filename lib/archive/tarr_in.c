/*
 * The bytes of a tar: numbers, cala's marks, what is read and what is skipped,
 * contents, and the maps of sparse files.
 */

#include "archive/tarr_int.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/io.h"
#include "base/str.h"

enum { OLD_SPARSE = 21 };       /* pairs in a continuation block */

bool
tarr_zero(const void *v, size_t n)
{
	const unsigned char *p = v;

	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

int
tarr_octal(const unsigned char *p, size_t n, uint64_t *out)
{
	uint64_t v = 0;
	size_t i = 0;

	while (i < n && (p[i] == ' ' || p[i] == '\0'))
		i++;
	for (; i < n && p[i] >= '0' && p[i] <= '7'; i++) {
		if (v > UINT64_MAX >> 4)
			return -1;
		v = v << 3 | (uint64_t)(p[i] - '0');
	}
	if (i < n && p[i] != ' ' && p[i] != '\0')
		return -1;
	*out = v;
	return 0;
}

/* Base-256: GNU's and star's big-endian two's complement. */
int
tarr_number(const unsigned char *p, size_t n, int64_t *out)
{
	uint64_t v;
	size_t i;

	if ((p[0] & 0x80) == 0) {
		if (tarr_octal(p, n, &v) == -1 || v > INT64_MAX)
			return -1;
		*out = (int64_t)v;
		return 0;
	}
	v = (p[0] & 0x40) != 0 ? UINT64_MAX : 0;
	for (i = 0; i < n; i++) {
		/* only sign bits may be shifted out */
		if (i > 0 && v >> 55 != 0 && v >> 55 != 0x1ff)
			return -1;
		v = v << 8 | (i == 0 ? (p[0] & 0x40) != 0 ? p[0] :
		    (unsigned)p[0] & 0x3f : p[i]);
	}
	*out = (int64_t)v;
	return 0;
}

bool
tarr_header(const unsigned char h[TAR_BLOCK])
{
	uint64_t want;
	unsigned sum = 0;
	int ssum = 0, i;

	if (tarr_octal(h + 148, 8, &want) == -1)
		return false;
	for (i = 0; i < TAR_BLOCK; i++) {
		unsigned char c = i >= 148 && i < 156 ? ' ' : h[i];

		sum += c;
		ssum += (signed char)c;
	}
	return (want == sum || (ssum >= 0 && want == (uint64_t)ssum)) &&
	    sum != 8 * ' ';
}

int
mark_parse(const char *s, size_t n, struct mark *m)
{
	char text[160];
	unsigned long long en, fi, si, wa;
	int used = 0;

	if (n < 11 || memcmp(s, "cala-pack 1", 11) != 0 ||
	    (n > 11 && s[11] != ' '))
		return 0;
	if (n == 11)
		return 1;
	if (n >= sizeof(text))
		return -1;
	memcpy(text, s + 12, n - 12);
	text[n - 12] = '\0';
	s = str_begins(text, "end ") ? text + 4 : text;
	if (sscanf(s, "entries=%20llu files=%20llu size=%20llu "
	    "warnings=%20llu%n", &en, &fi, &si, &wa, &used) != 4 ||
	    s[used] != '\0')
		return -1;
	m->entries = en;
	m->files = fi;
	m->size = si;
	m->warnings = wa;
	return 2;
}

/* Are the bytes from at to end nothing, or one directory said again? */
static bool
is_again(const unsigned char *p, size_t at, size_t end)
{
	uint64_t len;

	if (at == end)
		return true;
	if (p[at + 156] == 'x') {
		if (tarr_octal(p + at + 124, 12, &len) == -1 ||
		    len > MARK_AGAIN)
			return false;
		len = (len + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
		if (end - at != 2 * TAR_BLOCK + len)
			return false;
		at += TAR_BLOCK + (size_t)len;
	}
	return end - at == TAR_BLOCK && tarr_header(p + at) &&
	    p[at + 156] == '5';
}

/* Is at h, in n bytes, a global header with an end mark of one block? */
static bool
is_mark(const unsigned char *h, size_t n, struct mark *m)
{
	struct err e = ERR_INIT;
	struct pax pax;
	uint64_t len;
	bool found = false;

	if (n < 2 * TAR_BLOCK || h[156] != 'g' || !tarr_header(h) ||
	    tarr_octal(h + 124, 12, &len) == -1 || len > TAR_BLOCK ||
	    pax_init(&pax, &e) == -1)
		return false;
	if (pax_parse(&pax, (const char *)h + TAR_BLOCK, (size_t)len, true,
	    &e) == 0 && (pax.have & PAX_COMMENT) != 0)
		found = mark_parse(pax.comment->p, pax.comment->len, m) == 2;
	pax_fini(&pax);
	return found;
}

bool
mark_tail(const unsigned char *p, size_t n, struct mark *m)
{
	size_t end = n, at;

	while (end >= TAR_BLOCK && tarr_zero(p + end - TAR_BLOCK, TAR_BLOCK))
		end -= TAR_BLOCK;
	if (n - end < 2 * TAR_BLOCK || n % TAR_BLOCK != 0)
		return false;
	for (at = end; at >= TAR_BLOCK &&
	    end - at < 4 * TAR_BLOCK + MARK_AGAIN; ) {
		at -= TAR_BLOCK;
		if (is_mark(p + at, end - at, m))
			return is_again(p, at + 2 * TAR_BLOCK, end);
	}
	return false;
}

/* ---- bytes ---- */

int
tarr_short(struct tarr *t, struct err *e)
{
	return err_set(e, CALA_INCOMPLETE, "the archive is cut short: it ends "
	    "at byte %ju without its end", (uintmax_t)t->pos);
}

int
tarr_fill(struct tarr *t, struct err *e)
{
	ssize_t k;

	if (t->at < t->end)
		return 1;
	t->at = t->end = 0;
	if ((k = source_read(t->in, t->buf, TARR_IN, e)) <= 0)
		return (int)k;
	t->end = (size_t)k;
	return 1;
}

ssize_t
tarr_full(struct tarr *t, void *v, size_t n, struct err *e)
{
	unsigned char *p = v;
	size_t got = 0, k;
	int r;

	while (got < n) {
		if ((r = tarr_fill(t, e)) == -1)
			return -1;
		if (r == 0)
			break;
		k = t->end - t->at < n - got ? t->end - t->at : n - got;
		memcpy(p + got, t->buf + t->at, k);
		t->at += k;
		t->pos += k;
		got += k;
	}
	return (ssize_t)got;
}

/* 1..n bytes; large reads go past the buffer.  -1 also at the end. */
static ssize_t
in_some(struct tarr *t, void *p, size_t n, struct err *e)
{
	ssize_t k;

	if (t->at == t->end && n >= TARR_IN / 4)
		k = source_read(t->in, p, n, e);
	else {
		if (n > TARR_IN)
			n = TARR_IN;
		if ((k = tarr_fill(t, e)) == 1) {
			if (n > t->end - t->at)
				n = t->end - t->at;
			memcpy(p, t->buf + t->at, n);
			t->at += n;
			k = (ssize_t)n;
		}
	}
	if (k == 0)
		return tarr_short(t, e);
	if (k > 0)
		t->pos += (uint64_t)k;
	return k;
}

int
tarr_move(struct tarr *t, uint64_t off, struct err *e)
{
	if (t->seek(t->in, off, e) == -1)
		return -1;
	t->at = t->end = 0;
	t->pos = off;
	return 0;
}

int
tarr_skip(struct tarr *t, uint64_t n, struct err *e)
{
	size_t k;
	int r;

	while (n > 0) {
		/* what the next read would bring anyway is no reason to move */
		if (t->seek != NULL && n > t->end - t->at + TARR_IN)
			return tarr_move(t, t->pos + n, e);
		if ((r = tarr_fill(t, e)) == -1)
			return -1;
		if (r == 0)
			return tarr_short(t, e);
		k = t->end - t->at;
		if (k > n)
			k = (size_t)n;
		t->at += k;
		t->pos += k;
		n -= k;
	}
	return 0;
}

int
tarr_text(struct tarr *t, struct buf *b, uint64_t n, struct err *e)
{
	uint64_t left = n;
	ssize_t got;
	size_t k;
	char *to;

	/* grows as the bytes come: the announced length may be a lie */
	buf_reset(b);
	while (left > 0) {
		k = left > 65536 ? 65536 : (size_t)left;
		if ((to = buf_room(b, k)) == NULL)
			return buf_failed(b, e);
		if ((got = tarr_full(t, to, k, e)) == -1)
			return -1;
		if ((size_t)got < k)
			return tarr_short(t, e);
		buf_grown(b, k);
		left -= k;
	}
	return tarr_skip(t, -n % TAR_BLOCK, e);
}

/* ---- contents ---- */

static ssize_t
c_read(struct content *c, void *p, size_t n, struct err *e)
{
	struct tarr *t = (struct tarr *)((char *)c -
	    offsetof(struct tarr, content));
	const struct entry *en = &t->entry;
	const struct extent *x;
	uint64_t hole;
	ssize_t k;

	if (en->sparse) {
		while (t->ext < en->nextents && c->pos >=
		    en->extents[t->ext].off + en->extents[t->ext].len)
			t->ext++;
		x = t->ext < en->nextents ? &en->extents[t->ext] : NULL;
		if (x == NULL || c->pos < x->off) {
			hole = (x == NULL ? c->size : x->off) - c->pos;
			if (n > hole)
				n = (size_t)hole;
			memset(p, 0, n);
			return (ssize_t)n;
		}
		if (n > x->off + x->len - c->pos)
			n = (size_t)(x->off + x->len - c->pos);
	}
	if ((k = in_some(t, p, n, e)) == -1)
		return -1;
	t->left -= (uint64_t)k;
	return k;
}

static int
c_skip(struct content *c, uint64_t n, struct err *e)
{
	struct tarr *t = (struct tarr *)((char *)c -
	    offsetof(struct tarr, content));
	const struct entry *en = &t->entry;
	const struct extent *x;
	uint64_t data = n, to = c->pos + n, from;
	size_t i;

	if (en->sparse)
		for (data = 0, i = t->ext; i < en->nextents; i++) {
			x = &en->extents[i];
			if (x->off >= to)
				break;
			from = x->off > c->pos ? x->off : c->pos;
			if (x->off + x->len > from)
				data += (x->off + x->len < to ?
				    x->off + x->len : to) - from;
		}
	if (tarr_skip(t, data, e) == -1)
		return -1;
	t->left -= data;
	return 0;
}

const struct content_ops tarr_content = { c_read, c_skip, NULL };

/* ---- sparse maps ---- */

/* GNU.sparse 1.0: decimal numbers, a line each, before the data. */
static int
map_number(struct tarr *t, unsigned char *block, size_t *at, uint64_t *out,
    struct err *e)
{
	char digits[24];
	ssize_t got;
	size_t n = 0;

	for (;;) {
		if (*at == TAR_BLOCK) {
			if (t->left < TAR_BLOCK)
				return 1;
			if ((got = tarr_full(t, block, TAR_BLOCK, e)) == -1)
				return -1;
			if (got < TAR_BLOCK)
				return tarr_short(t, e);
			t->left -= TAR_BLOCK;
			*at = 0;
		}
		if (block[*at] == '\n') {
			(*at)++;
			return pax_num(digits, n, out) == 0 ? 0 : 1;
		}
		if (n == sizeof(digits))
			return 1;
		digits[n++] = (char)block[(*at)++];
	}
}

int
tarr_map_data(struct tarr *t, struct err *e)
{
	unsigned char block[TAR_BLOCK];
	uint64_t n, off = 0, len = 0, i;
	size_t at = TAR_BLOCK;
	int r;

	if ((r = map_number(t, block, &at, &n, e)) != 0)
		return r;
	for (i = 0; i < n; i++) {
		if ((r = map_number(t, block, &at, &off, e)) != 0 ||
		    (r = map_number(t, block, &at, &len, e)) != 0)
			return r;
		if (pax_extent(&t->pax, off, len) == -1)
			return 1;
	}
	return 0;
}

/* Old GNU: four pairs in the header, 21 in each continuation block. */
int
tarr_map_old(struct tarr *t, const unsigned char *h, struct err *e)
{
	unsigned char block[TAR_BLOCK];
	const unsigned char *p = h + 386;
	bool more = h[482] != 0;
	int n = 4, i;
	int64_t off, len;
	ssize_t got;

	for (;;) {
		for (i = 0; i < n && p[24 * i] != '\0'; i++) {
			if (tarr_number(p + 24 * i, 12, &off) == -1 || off < 0 ||
			    tarr_number(p + 24 * i + 12, 12, &len) == -1 ||
			    len < 0 || pax_extent(&t->pax, (uint64_t)off,
			    (uint64_t)len) == -1)
				return 1;
		}
		if (!more)
			return 0;
		if ((got = tarr_full(t, block, TAR_BLOCK, e)) == -1)
			return -1;
		if (got < TAR_BLOCK)
			return tarr_short(t, e);
		p = block;
		n = OLD_SPARSE;
		more = block[504] != 0;
	}
}

bool
tarr_map_good(struct tarr *t, uint64_t size)
{
	struct extent *x = t->pax.ext;
	uint64_t end = 0, sum = 0, stop;
	size_t i, k = 0;

	for (i = 0; i < t->pax.next; i++) {
		if (x[i].off < end || !u64_add(x[i].off, x[i].len, &stop) ||
		    stop > size || !u64_add(sum, x[i].len, &sum))
			return false;
		end = stop;
		if (x[i].len > 0)
			x[k++] = x[i];
	}
	t->pax.next = k;
	return sum == t->left;
}
