/*
 * The tar reader proper: blocks, headers, and what belongs to one entry.
 * Damage ends the stream with an error that names the offset; trouble with one
 * entry is a warning and the next entry.
 */

#include "archive/tarr.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"

enum {
	IN_SIZE = 256 * 1024,
	NOBODY = 65534,
	OLD_SPARSE = 21                 /* pairs in a continuation block */
};

struct tarr {
	struct reader r;
	struct source *in;
	bool own;
	tarr_seek *seek;
	struct archive_read limits;
	struct log *log;

	unsigned char *buf;             /* read but not consumed */
	size_t at, end;
	uint64_t pos;                   /* in the stream, of buf[at] */

	struct pax pax, global;
	struct buf longname, longlink;  /* GNU L, K */
	bool have_name, have_link;
	struct buf path, target, uname, gname, raw;
	struct xattr *xattrs;

	struct entry entry;
	struct content content;
	struct tarr_where where;
	uint64_t left;                  /* stored bytes of the entry, unread */
	uint64_t pad;                   /* then zero bytes to a block */
	size_t ext;                     /* extent that content.pos is in */
	uint64_t told;                  /* bytes of its extended headers */

	uint64_t entries, files, size;
	uint64_t sum;                   /* for max_size */
	bool jumped, done, failed;
	bool cala, marked;
	struct mark mark;
	bool wrong;
	struct err err;                 /* sticky */
};

bool
tarr_zero(const void *v, size_t n)
{
	const unsigned char *p = v;

	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* Octal as it is written: spaces around, or NULs; all blank is 0. */
static int
octal(const unsigned char *p, size_t n, uint64_t *out)
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
static int
number(const unsigned char *p, size_t n, int64_t *out)
{
	uint64_t v;
	size_t i;

	if ((p[0] & 0x80) == 0) {
		if (octal(p, n, &v) == -1 || v > INT64_MAX)
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

	if (octal(h + 148, 8, &want) == -1)
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

bool
mark_tail(const unsigned char *p, size_t n, struct mark *m)
{
	const unsigned char *h, *data;
	struct err e = ERR_INIT;
	struct pax pax;
	size_t end = n;
	uint64_t len;
	bool found = false;

	while (end >= TAR_BLOCK && tarr_zero(p + end - TAR_BLOCK, TAR_BLOCK))
		end -= TAR_BLOCK;
	if (n - end < 2 * TAR_BLOCK || end < 2 * TAR_BLOCK ||
	    n % TAR_BLOCK != 0)
		return false;
	h = p + end - 2 * TAR_BLOCK;
	data = h + TAR_BLOCK;
	if (!tarr_header(h) || h[156] != 'g' ||
	    octal(h + 124, 12, &len) == -1 || len > TAR_BLOCK ||
	    pax_init(&pax, &e) == -1)
		return false;
	if (pax_parse(&pax, (const char *)data, (size_t)len, true, &e) == 0 &&
	    (pax.have & PAX_COMMENT) != 0)
		found = mark_parse(pax.comment->p, pax.comment->len, m) == 2;
	pax_fini(&pax);
	return found;
}

/* ---- bytes ---- */

static int
cut_short(struct tarr *t, struct err *e)
{
	return err_set(e, CALA_INCOMPLETE, "the archive is cut short: it ends "
	    "at byte %ju without its end", (uintmax_t)t->pos);
}

/* 1 with at least one byte in the buffer, 0 at the end, -1. */
static int
fill(struct tarr *t, struct err *e)
{
	ssize_t k;

	if (t->at < t->end)
		return 1;
	t->at = t->end = 0;
	if ((k = source_read(t->in, t->buf, IN_SIZE, e)) <= 0)
		return (int)k;
	t->end = (size_t)k;
	return 1;
}

/* Up to n bytes; fewer only at the end; -1 with err. */
static ssize_t
in_full(struct tarr *t, void *v, size_t n, struct err *e)
{
	unsigned char *p = v;
	size_t got = 0, k;
	int r;

	while (got < n) {
		if ((r = fill(t, e)) == -1)
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

	if (t->at == t->end && n >= IN_SIZE / 4)
		k = source_read(t->in, p, n, e);
	else {
		if (n > IN_SIZE)
			n = IN_SIZE;
		if ((k = fill(t, e)) == 1) {
			if (n > t->end - t->at)
				n = t->end - t->at;
			memcpy(p, t->buf + t->at, n);
			t->at += n;
			k = (ssize_t)n;
		}
	}
	if (k == 0)
		return cut_short(t, e);
	if (k > 0)
		t->pos += (uint64_t)k;
	return k;
}

static int
in_seek(struct tarr *t, uint64_t off, struct err *e)
{
	if (t->seek(t->in, off, e) == -1)
		return -1;
	t->at = t->end = 0;
	t->pos = off;
	return 0;
}

static int
in_skip(struct tarr *t, uint64_t n, struct err *e)
{
	size_t k;
	int r;

	while (n > 0) {
		/* what the next read would bring anyway is no reason to move */
		if (t->seek != NULL && n > t->end - t->at + IN_SIZE)
			return in_seek(t, t->pos + n, e);
		if ((r = fill(t, e)) == -1)
			return -1;
		if (r == 0)
			return cut_short(t, e);
		k = t->end - t->at;
		if (k > n)
			k = (size_t)n;
		t->at += k;
		t->pos += k;
		n -= k;
	}
	return 0;
}

/* The n bytes of a record into b (emptied), and its padding dropped. */
static int
in_record(struct tarr *t, struct buf *b, uint64_t n, struct err *e)
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
		if ((got = in_full(t, to, k, e)) == -1)
			return -1;
		if ((size_t)got < k)
			return cut_short(t, e);
		buf_grown(b, k);
		left -= k;
	}
	return in_skip(t, -n % TAR_BLOCK, e);
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
	if (in_skip(t, data, e) == -1)
		return -1;
	t->left -= data;
	return 0;
}

static const struct content_ops c_ops = { c_read, c_skip, NULL };

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
			if ((got = in_full(t, block, TAR_BLOCK, e)) == -1)
				return -1;
			if (got < TAR_BLOCK)
				return cut_short(t, e);
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

/* 0; 1 when the map makes no sense; -1 with err. */
static int
map_in_data(struct tarr *t, struct err *e)
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
static int
map_old(struct tarr *t, const unsigned char *h, struct err *e)
{
	unsigned char block[TAR_BLOCK];
	const unsigned char *p = h + 386;
	bool more = h[482] != 0;
	int n = 4, i;
	int64_t off, len;
	ssize_t got;

	for (;;) {
		for (i = 0; i < n && p[24 * i] != '\0'; i++) {
			if (number(p + 24 * i, 12, &off) == -1 || off < 0 ||
			    number(p + 24 * i + 12, 12, &len) == -1 ||
			    len < 0 || pax_extent(&t->pax, (uint64_t)off,
			    (uint64_t)len) == -1)
				return 1;
		}
		if (!more)
			return 0;
		if ((got = in_full(t, block, TAR_BLOCK, e)) == -1)
			return -1;
		if (got < TAR_BLOCK)
			return cut_short(t, e);
		p = block;
		n = OLD_SPARSE;
		more = block[504] != 0;
	}
}

/* Ascending, apart, inside size, and together as long as what is stored. */
static bool
map_good(struct tarr *t, uint64_t size)
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

/* ---- headers ---- */

static int
damaged(struct tarr *t, uint64_t at, const char *what, struct err *e)
{
	t->wrong = true;
	return err_set(e, CALA_INTEGRITY, "the archive is damaged: %s at byte "
	    "%ju", what, (uintmax_t)at);
}

/* A text field without its NULs; the buffers hold at least that much. */
static void
field(struct buf *b, const unsigned char *p, size_t n)
{
	buf_reset(b);
	buf_add(b, p, strnlen((const char *)p, n));
}

/* Is there more of the archive right behind us, or its end?  1, 0, -1. */
static int
at_header(struct tarr *t, struct err *e)
{
	size_t have = t->end - t->at;
	ssize_t k;

	if (have < TAR_BLOCK) {
		memmove(t->buf, t->buf + t->at, have);
		t->at = 0;
		t->end = have;
		k = source_full(t->in, t->buf + have, TAR_BLOCK - have, e);
		if (k == -1)
			return -1;
		t->end += (size_t)k;
		if (t->end < TAR_BLOCK)
			return 0;
	}
	return tarr_zero(t->buf + t->at, TAR_BLOCK) ||
	    tarr_header(t->buf + t->at);
}

static void
raw_name(struct tarr *t, const unsigned char *h)
{
	const struct pax *p = &t->pax;
	bool star = memcmp(h + 508, "tar", 4) == 0;
	const struct buf *long_one = (p->have & PAX_NAME) != 0 ? p->name :
	    (p->have & PAX_PATH) != 0 ? p->path :
	    t->have_name ? &t->longname : NULL;

	buf_reset(&t->raw);
	if (long_one != NULL) {
		buf_add(&t->raw, long_one->p, long_one->len);
		return;
	}
	/* GNU keeps other things where ustar has the prefix */
	if (memcmp(h + 257, "ustar", 6) == 0 && h[345] != '\0') {
		buf_add(&t->raw, h + 345,
		    strnlen((const char *)h + 345, star ? 131 : 155));
		buf_chr(&t->raw, '/');
	}
	buf_add(&t->raw, h, strnlen((const char *)h, 100));
}

static uint32_t
owner(struct tarr *t, const unsigned char *p, unsigned bit, uint64_t pax,
    uint64_t global)
{
	int64_t v = -1;

	if ((t->pax.have & bit) != 0)
		v = (int64_t)pax;
	else if ((t->global.have & bit) != 0)
		v = (int64_t)global;
	else if (number(p, 8, &v) == -1)
		v = -1;
	if (v >= 0 && v < UINT32_MAX)
		return (uint32_t)v;
	log_warn(t->log, "%s: its owner has no possible id; taken as %d",
	    str_q(t->path.p), NOBODY);
	return NOBODY;
}

/*
 * Did the writer leave the owner out?  Wings' tars have NUL bytes in both
 * fields, where every other program writes digits.
 */
static bool
unowned(const struct tarr *t, const unsigned char *h)
{
	static const unsigned char none[16];

	return memcmp(h + 108, none, 16) == 0 &&
	    ((t->pax.have | t->global.have) & (PAX_UID | PAX_GID)) == 0;
}

static const char *
owner_name(struct tarr *t, struct buf *b, const unsigned char *h, size_t at,
    unsigned bit, const struct buf *pax, const struct buf *global)
{
	const struct buf *from = (t->pax.have & bit) != 0 ? pax :
	    (t->global.have & bit) != 0 ? global : NULL;

	if (from != NULL) {
		buf_reset(b);
		buf_add(b, from->p, strlen(from->p));
	} else if (memcmp(h + 257, "ustar", 5) == 0)
		field(b, h + at, 32);
	else
		buf_reset(b);   /* v7 has no names */
	return b->p;
}

static void
device(struct tarr *t, const unsigned char *h)
{
	int64_t ma = 0, mi = 0;

	if (number(h + 329, 8, &ma) == -1 || ma < 0 || ma > UINT32_MAX ||
	    number(h + 337, 8, &mi) == -1 || mi < 0 || mi > UINT32_MAX) {
		log_warn(t->log, "%s: its device number is malformed",
		    str_q(t->path.p));
		ma = mi = 0;
	}
	if ((t->pax.have & PAX_MAJOR) != 0)
		ma = (int64_t)t->pax.major;
	if ((t->pax.have & PAX_MINOR) != 0)
		mi = (int64_t)t->pax.minor;
	t->entry.rdev_major = (uint32_t)ma;
	t->entry.rdev_minor = (uint32_t)mi;
}

/* Where a link leads.  0 when the entry can't be used. */
static int
link_target(struct tarr *t, const unsigned char *h)
{
	const struct buf *from = (t->pax.have & PAX_LINK) != 0 ? t->pax.link :
	    t->have_link ? &t->longlink : NULL;
	const char *why = NULL, *p;
	size_t n;

	p = from != NULL ? from->p : (const char *)h + 157;
	n = from != NULL ? from->len : strnlen(p, 100);
	if (t->entry.type == ENTRY_HARDLINK) {
		if (entry_path(&t->target, p, n, &why) == 0 &&
		    t->target.len == 0)
			why = "it names nothing";
	} else {
		buf_reset(&t->target);
		if (n == 0)
			why = "it is empty";
		else if (n >= ENTRY_PATH_MAX)
			why = "it is too long";
		else if (memchr(p, '\0', n) != NULL)
			why = "it holds a NUL byte";
		else
			buf_add(&t->target, p, n);
	}
	if (why != NULL) {
		log_warn(t->log, "%s: skipped; its link target is unusable: %s",
		    str_q(t->path.p), why);
		return 0;
	}
	t->entry.target = t->target.p;
	return 1;
}

static void
xattrs(struct tarr *t)
{
	const struct pax *p = &t->pax;
	size_t i;

	for (i = 0; i < p->nx; i++) {
		t->xattrs[i].name = p->bytes->p + p->x[i].name;
		t->xattrs[i].value = p->bytes->p + p->x[i].value;
		t->xattrs[i].len = p->x[i].len;
	}
	t->entry.xattrs = t->xattrs;
	t->entry.nxattrs = p->nx;
}

/* 1, 0 when the map is bad (said), -1 with err. */
static int
holes(struct tarr *t, const unsigned char *h, struct err *e)
{
	int64_t real = -1;
	int r = 0;

	if (t->where.flag == 'S') {
		if (number(h + 483, 12, &real) == -1)
			real = -1;
		t->pax.next = 0;
		r = map_old(t, h, e);
		t->where.data = t->pos;
	} else {
		if ((t->pax.have & PAX_REAL) != 0)
			real = (int64_t)t->pax.real;
		if (t->pax.sparse == 2) {
			t->pax.next = 0;
			r = map_in_data(t, e);
		}
	}
	if (r == -1)
		return -1;
	if (r == 1 || real < 0 || !map_good(t, (uint64_t)real)) {
		log_warn(t->log, "%s: skipped; its map of holes makes no sense",
		    str_q(t->path.p));
		return 0;
	}
	t->entry.sparse = true;
	t->entry.size = (uint64_t)real;
	t->entry.extents = t->pax.ext;
	t->entry.nextents = t->pax.next;
	return 1;
}

static enum entry_type
kind(char flag, bool slash)
{
	switch (flag) {
	case '1': return ENTRY_HARDLINK;
	case '2': return ENTRY_SYMLINK;
	case '3': return ENTRY_CHAR;
	case '4': return ENTRY_BLOCK;
	case '5': case 'D': return ENTRY_DIR;
	case '6': return ENTRY_FIFO;
	default: return slash ? ENTRY_DIR : ENTRY_FILE;
	}
}

static int
over(struct err *e, const char *what, uint64_t max)
{
	return err_set(e, CALA_INTEGRITY, "the archive holds more than %ju %s",
	    (uintmax_t)max, what);
}

static int
tally(struct tarr *t, struct err *e)
{
	const struct archive_read *l = &t->limits;

	if (t->jumped)
		return 0;
	t->entries++;
	t->files += t->entry.type != ENTRY_DIR;
	t->size += t->entry.size;
	if (l->max_entries != 0 && t->entries > l->max_entries)
		return over(e, "entries", l->max_entries);
	if (!u64_add(t->sum, t->entry.size, &t->sum) ||
	    (l->max_size != 0 && t->sum > l->max_size))
		return over(e, "bytes of contents", l->max_size);
	return 0;
}

/*
 * A header of an entry: 1 it is t->entry, 0 skipped (said in the log), -1.
 */
static int
entry(struct tarr *t, const unsigned char *h, char flag, struct err *e)
{
	struct entry *en = &t->entry;
	const char *why;
	int64_t size, mtime = 0;
	uint64_t mode;
	bool slash;
	int r = 1, body = 0;

	memset(en, 0, sizeof(*en));
	t->where.flag = flag == '\0' ? '0' : flag;
	if (number(h + 124, 12, &size) == -1 || size < 0)
		return damaged(t, t->pos - TAR_BLOCK, "an impossible size", e);
	if ((t->pax.have & PAX_SIZE) != 0)
		size = (int64_t)t->pax.size;
	raw_name(t, h);
	if (t->raw.failed)
		return buf_failed(&t->raw, e);
	slash = t->raw.len > 0 && t->raw.p[t->raw.len - 1] == '/';
	en->type = kind(flag, slash);
	t->where.data = t->pos;
	t->left = 0;
	/* Links, devices, directories have no data whatever the size says,
	 * but for pax hard links, which may repeat the file's. */
	if (en->type == ENTRY_HARDLINK && size > 0) {
		if ((body = at_header(t, e)) == -1)
			return -1;
		body = !body;
	}
	if (en->type == ENTRY_FILE || (en->type == ENTRY_DIR && flag != '5') ||
	    body)
		t->left = (uint64_t)size;
	t->where.stored = t->left;
	t->pad = -t->left % TAR_BLOCK;
	if (en->type == ENTRY_FILE)
		en->size = t->left;
	t->ext = 0;

	if (flag == 'V' || flag == 'M' || flag == 'N' || flag == 'A' ||
	    flag == 'E' || flag == 'I') {
		if (flag == 'M' || flag == 'N')
			log_warn(t->log, "%s: skipped; records of type %c "
			    "are not supported", str_q(t->raw.p), flag);
		return 0;
	}
	if (entry_path(&t->path, t->raw.p, t->raw.len, &why) == -1) {
		log_warn(t->log, "%s: skipped; %s", str_q(t->raw.p), why);
		r = 0;
	} else if (t->raw.len == 0 || (t->path.len == 0 &&
	    en->type != ENTRY_DIR)) {
		log_warn(t->log, "an entry without a name was skipped");
		r = 0;
	}
	en->path = t->path.p;
	if (flag == 'S' || (en->type == ENTRY_FILE && t->pax.sparse != 0)) {
		int map = holes(t, h, e);

		if (map == -1)
			return -1;
		r = map == 0 ? 0 : r;
	}
	if (tally(t, e) == -1)
		return -1;
	if (r == 0)
		return 0;
	if ((en->type == ENTRY_SYMLINK || en->type == ENTRY_HARDLINK) &&
	    link_target(t, h) == 0)
		return 0;
	if (en->type == ENTRY_CHAR || en->type == ENTRY_BLOCK)
		device(t, h);
	if (octal(h + 100, 8, &mode) == -1)
		mode = en->type == ENTRY_DIR ? 0755 : 0644;
	en->mode = (uint32_t)(mode & 07777);
	en->uid = owner(t, h + 108, PAX_UID, t->pax.uid, t->global.uid);
	en->gid = owner(t, h + 116, PAX_GID, t->pax.gid, t->global.gid);
	en->unowned = unowned(t, h);
	if ((t->pax.have & PAX_MTIME) != 0)
		en->mtime = t->pax.mtime;
	else if ((t->global.have & PAX_MTIME) != 0)
		en->mtime = t->global.mtime;
	else if (number(h + 136, 12, &mtime) == 0)
		en->mtime.tv_sec = mtime;
	else
		log_warn(t->log, "%s: its time is malformed",
		    str_q(t->path.p));
	en->uname = owner_name(t, &t->uname, h, 265, PAX_UNAME,
	    t->pax.uname, t->global.uname);
	en->gname = owner_name(t, &t->gname, h, 297, PAX_GNAME,
	    t->pax.gname, t->global.gname);
	xattrs(t);
	if (t->pax.soft != NULL)
		log_warn(t->log, "%s: %s", str_q(t->path.p), t->pax.soft);
	return 1;
}

/*
 * A pax global header: owner and time for all that follows, until another one
 * says something else or nothing; and our marks.
 */
static int
global(struct tarr *t, struct err *e)
{
	const struct pax *g = &t->global;
	struct mark m;

	t->global.have &= ~(unsigned)PAX_COMMENT;
	if (pax_parse(&t->global, t->raw.p, t->raw.len, true, e) == -1)
		return -1;
	if ((g->have & PAX_COMMENT) == 0 || t->jumped)
		return 0;
	switch (mark_parse(g->comment->p, g->comment->len, &m)) {
	case 1:
		t->cala = t->cala || t->where.head == 0;
		break;
	case 2:
		if (t->cala) {
			t->marked = true;
			t->mark = m;
		}
		break;
	case -1:
		if (t->cala)
			return damaged(t, t->where.head,
			    "a malformed end mark", e);
		break;
	default:
		break;
	}
	return 0;
}

/* A record that speaks about the next entry.  0, or -1. */
static int
record(struct tarr *t, const unsigned char *h, char flag, struct err *e)
{
	bool name = flag == 'L', pax = flag != 'L' && flag != 'K';
	struct buf *to = pax ? &t->raw : name ? &t->longname : &t->longlink;
	int64_t size;

	if (number(h + 124, 12, &size) == -1 || size < 0 ||
	    size > (pax ? TAR_PAX_MAX : TAR_LONG_MAX) ||
	    (flag != 'g' && !u64_add(t->told, (uint64_t)size, &t->told)) ||
	    t->told > TAR_PAX_MAX)
		return damaged(t, t->pos - TAR_BLOCK, pax ?
		    "an extended header of impossible size" :
		    "a long name of impossible size", e);
	if (in_record(t, to, (uint64_t)size, e) == -1)
		return -1;
	if (pax) {
		if (flag == 'g') {
			if (global(t, e) == -1)
				goto bad;
			return 0;
		}
		/* several speak together, the later one with precedence */
		if (pax_parse(&t->pax, to->p, to->len, false, e) == -1)
			goto bad;
		return 0;
	}
	buf_cut(to, strlen(to->p));
	*(name ? &t->have_name : &t->have_link) = true;
	return 0;
bad:
	if (e->code == CALA_INTEGRITY) {
		t->wrong = true;
		err_ctx(e, "at byte %ju", (uintmax_t)t->where.head);
	}
	return -1;
}

/* ---- the end ---- */

static int
check_mark(struct tarr *t, struct err *e)
{
	const struct mark *m = &t->mark;

	if (!t->marked)
		return err_set(e, CALA_INCOMPLETE, "the archive is cut short: "
		    "cala-pack did not get to its end mark");
	if (m->entries != t->entries || m->files != t->files ||
	    m->size != t->size) {
		t->wrong = true;
		return err_set(e, CALA_INTEGRITY, "the end mark says %ju "
		    "entries, %ju files, %ju bytes; found were %ju, %ju, %ju",
		    (uintmax_t)m->entries, (uintmax_t)m->files,
		    (uintmax_t)m->size, (uintmax_t)t->entries,
		    (uintmax_t)t->files, (uintmax_t)t->size);
	}
	return 0;
}

/* After the first zero block: the second, the marks, what lies behind. */
static int
finish(struct tarr *t, struct err *e)
{
	unsigned char block[TAR_BLOCK];
	bool clean = true;
	ssize_t got;
	int r;

	if ((got = in_full(t, block, TAR_BLOCK, e)) == -1)
		return -1;
	if (got < TAR_BLOCK)
		return cut_short(t, e);
	if (!tarr_zero(block, TAR_BLOCK))
		return damaged(t, t->pos - 2 * TAR_BLOCK, "a lone zero block",
		    e);
	if (t->cala && check_mark(t, e) == -1)
		return -1;
	/* Read on: a compressed stream's own check comes at its end. */
	while ((r = fill(t, e)) == 1) {
		clean = clean && tarr_zero(t->buf + t->at, t->end - t->at);
		t->pos += t->end - t->at;
		t->at = t->end;
	}
	if (r == -1)
		return -1;
	if (!clean)
		log_warn(t->log, "data behind the end of the archive was "
		    "ignored");
	t->done = true;
	return 0;
}

/* 1 an entry; 0 the end; 2 go on; -1. */
static int
step(struct tarr *t, bool *pre, struct err *e)
{
	unsigned char h[TAR_BLOCK];
	uint64_t at = t->pos;
	ssize_t got;
	char flag;
	int r;

	if (!*pre)
		t->where.head = at;
	if ((got = in_full(t, h, TAR_BLOCK, e)) == -1)
		return -1;
	if (got < TAR_BLOCK)
		return cut_short(t, e);
	if (tarr_zero(h, TAR_BLOCK)) {
		if (*pre)
			return damaged(t, at, "a missing header", e);
		if (t->jumped)
			return 0;
		return finish(t, e);
	}
	if (!tarr_header(h)) {
		if (at == 0 && !t->jumped)
			return err_set(e, CALA_INTEGRITY,
			    "this is no tar archive");
		return damaged(t, at, "a header that fails its checksum", e);
	}
	if (t->marked)
		return damaged(t, at, "an entry behind the end mark", e);
	flag = (char)h[156];
	switch (flag) {
	case 'g':
		return record(t, h, flag, e) == -1 ? -1 : 2;
	case 'L': case 'K': case 'x': case 'X':
		*pre = true;
		return record(t, h, flag, e) == -1 ? -1 : 2;
	default:
		break;
	}
	*pre = false;
	if ((r = entry(t, h, flag, e)) == -1)
		return -1;
	return r == 1 ? 1 : 2;
}

static void
forget(struct tarr *t)
{
	t->left = t->pad = t->told = 0;
	pax_reset(&t->pax);
	t->have_name = t->have_link = false;
}

/* The rest of the entry that next() gave, and what was said about it. */
static int
drop(struct tarr *t, struct err *e)
{
	uint64_t n = t->left + t->pad;

	forget(t);
	return n == 0 ? 0 : in_skip(t, n, e);
}

static int
t_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	struct tarr *t = (struct tarr *)r;
	bool pre = false;
	int got = 2;

	if (t->failed) {
		*e = t->err;
		return -1;
	}
	if (t->done)
		return 0;
	while (got == 2) {
		if (!pre && drop(t, e) == -1)
			got = -1;
		else
			got = step(t, &pre, e);
	}
	if (got == -1) {
		t->failed = true;
		t->err = *e;
		return -1;
	}
	if (got == 0)
		return 0;
	*en = &t->entry;
	if (t->entry.type == ENTRY_FILE) {
		t->content.ops = &c_ops;
		t->content.size = t->entry.size;
		t->content.pos = 0;
		*c = &t->content;
	}
	return 1;
}

static void
t_close(struct reader *r)
{
	struct tarr *t = (struct tarr *)r;

	if (t->own)
		source_close(t->in);
	pax_fini(&t->pax);
	pax_fini(&t->global);
	buf_fini(&t->longname);
	buf_fini(&t->longlink);
	buf_fini(&t->path);
	buf_fini(&t->target);
	buf_fini(&t->uname);
	buf_fini(&t->gname);
	buf_fini(&t->raw);
	free(t->xattrs);
	free(t->buf);
	free(t);
}

struct reader *
tarr_reader(struct source *in, bool own, tarr_seek *seek,
    const struct archive_read *limits, struct log *log, struct err *e)
{
	static const struct reader_ops ops = { t_next, t_close };
	struct tarr *t = calloc(1, sizeof(*t));

	if (t == NULL) {
		if (own)
			source_close(in);
		err_oom(e);
		return NULL;
	}
	t->r.ops = &ops;
	t->r.can = READER_HOLES;
	t->in = in;
	t->own = own;
	t->seek = seek;
	t->limits = *limits;
	t->log = log;
	buf_init(&t->longname, TAR_LONG_MAX + TAR_BLOCK);
	buf_init(&t->longlink, TAR_LONG_MAX + TAR_BLOCK);
	buf_init(&t->path, ENTRY_PATH_MAX);
	buf_init(&t->target, ENTRY_PATH_MAX);
	buf_init(&t->uname, TAR_PAX_MAX);
	buf_init(&t->gname, TAR_PAX_MAX);
	buf_init(&t->raw, TAR_PAX_MAX + TAR_BLOCK);
	t->buf = malloc(IN_SIZE);
	t->xattrs = calloc(ENTRY_XATTR_MAX, sizeof(*t->xattrs));
	if (t->buf == NULL || t->xattrs == NULL ||
	    pax_init(&t->pax, e) == -1 || pax_init(&t->global, e) == -1) {
		err_oom(e);
		t_close(&t->r);
		return NULL;
	}
	return &t->r;
}

void
tarr_where(const struct reader *r, struct tarr_where *w)
{
	*w = ((const struct tarr *)r)->where;
}

int
tarr_jump(struct reader *r, uint64_t off, struct err *e)
{
	struct tarr *t = (struct tarr *)r;

	forget(t);
	t->jumped = true;
	t->done = t->failed = false;
	return t->pos == off ? 0 : in_seek(t, off, e);
}

void
tarr_facts(struct reader *r, struct archive_facts *f)
{
	struct tarr *t = (struct tarr *)r;

	f->cala = t->cala;
	f->known = t->entries > 0 || t->cala || t->done;
	f->proof = PROOF_NONE;
	f->why = NULL;
	if (t->done) {
		f->proof = t->cala ? PROOF_INNER : PROOF_FOREIGN;
		f->counted = true;
		f->entries = t->entries;
		f->files = t->files;
		f->size = t->size;
		if (t->cala) {
			f->warnings = t->mark.warnings;
			f->partial = t->mark.warnings > 0;
		}
	} else if (t->failed) {
		if (t->wrong || t->err.code == CALA_INTEGRITY)
			f->proof = PROOF_WRONG;
		f->why = t->err.msg;
	} else
		f->why = "it was not read to its end";
}
