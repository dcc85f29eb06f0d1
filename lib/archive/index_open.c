/*
 * The index of an archive that can be read anywhere.  What is kept of it: the
 * frame table, and the stored bytes when they are few; entries are scanned
 * from there each time, which costs milliseconds and no memory.
 */

#include "archive/index.h"

#include <stdlib.h>
#include <string.h>

#include "archive/source.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/io.h"

enum {
	SEEK_FOOT = 9, SEEK_ENTRY = 12, CACHE = 32 << 20, CHUNK = 128 << 10,
	TAIL = SEEK_FOOT + SEEK_ENTRY
};

void
index_free(struct index *x)
{
	if (x == NULL)
		return;
	free(x->frame);
	free(x->cache);
	free(x);
}

bool
index_before(const char *a, const char *b)
{
	while (*a != '\0' && *a == *b)
		a++, b++;
	/* a component's end sorts before all that its longer namesakes have */
	if (*a == '/')
		return *b != '\0';
	return *b == '/' ? *a == '\0' :
	    (unsigned char)*a < (unsigned char)*b;
}

/* The stored bytes, in order, to fn. */
static int
stored(struct index *x, int (*fn)(void *, const void *, size_t, struct err *),
    void *arg, struct err *e)
{
	unsigned char *p = NULL;
	uint64_t at = 0;
	size_t k;
	int r = 0;

	if (x->cache != NULL)
		return fn(arg, x->cache, (size_t)x->area_len, e);
	if ((p = malloc(CHUNK)) == NULL)
		return err_oom(e);
	for (; at < x->area_len && r == 0; at += k) {
		k = x->area_len - at < CHUNK ? (size_t)(x->area_len - at) :
		    CHUNK;
		if (ranged_read(x->r, p, k, x->blob_off + at, e) == -1)
			r = -1;
		else
			r = fn(arg, p, k, e);
	}
	free(p);
	return r;
}

static int
to_blob(void *arg, const void *p, size_t n, struct err *e)
{
	return idx_blob_feed(arg, p, n, e);
}

static int
to_gzx(void *arg, const void *p, size_t n, struct err *e)
{
	return gzx_feed(arg, p, n, e);
}

/* Run the whole index through p; all of it is checked unless fn stops. */
static int
pass(struct index *x, struct idx_parse *p, struct err *e)
{
	struct idx_blob *b;
	struct gzx g;
	int r = -1;

	idx_init(p);
	b = idx_blob_new(p, x->codec, x->zst, e);
	if (b == NULL)
		goto out;
	if (x->zst)
		r = stored(x, to_blob, b, e);
	else {
		g.data = to_blob;
		g.arg = b;
		gzx_init(&g);
		r = stored(x, to_gzx, &g, e);
		if (r == 0 && (g.carry.len > 0 || g.chunks != x->blob_len))
			r = err_set(e, CALA_INTEGRITY, "the index is damaged: "
			    "its members and its footer do not agree");
		gzx_fini(&g);
	}
	if (r == 0)
		r = idx_blob_end(b, x->hash, e);
out:
	idx_blob_free(b);
	idx_fini(p);
	return r;
}

struct load {
	struct index *x;
	uint32_t at;
	struct buf last, now;
};

static int
load_frame(void *arg, const struct idx_frame *f, struct err *e)
{
	struct load *l = arg;
	struct index *x = l->x;
	size_t cap;
	void *p;

	/* grows with what was really there */
	if ((l->at & (l->at - 1)) == 0) {
		cap = l->at == 0 ? 1 : 2 * (size_t)l->at;
		p = realloc(x->frame, cap * sizeof(*x->frame));
		if (p == NULL)
			return err_oom(e);
		x->frame = p;
	}
	x->frame[l->at++] = *f;
	return 0;
}

static int
load_entry(void *arg, const struct idx_entry *en, struct err *e)
{
	struct load *l = arg;
	struct index *x = l->x;
	bool dir = en->flag == '5' || (en->path_len > 0 &&
	    en->path[en->path_len - 1] == '/');
	struct buf swap;
	const char *why;

	(void)e;
	x->files += !dir;
	if (en->flag != '1')
		x->size += dir ? 0 : en->stored;
	if (entry_path(&l->now, en->path, en->path_len, &why) == 0) {
		if (x->n++ > 0 && !index_before(l->last.p, l->now.p))
			x->ordered = false;
		swap = l->last;
		l->last = l->now;
		l->now = swap;
	}
	return 0;
}

/* Where a tar.zst has its index (§10.1, §10.3).  1 found, 0 none, -1. */
static int
find_zst(struct index *x, struct err *e)
{
	unsigned char tail[TAIL], head[8 + IDX_ZHEAD];
	struct idx_zhead z;
	uint64_t size = x->r->size, table, csz;
	uint32_t n;

	if (size < TAIL + 8)
		return 0;
	if (ranged_read(x->r, tail, TAIL, size - TAIL, e) == -1)
		return -1;
	if (get_le32(tail + TAIL - 4) != 0x8F92EAB1u ||
	    (tail[TAIL - 5] & 0xfc) != 0x80)
		return 0;
	n = get_le32(tail + SEEK_ENTRY);
	table = 8 + (uint64_t)SEEK_ENTRY * n + SEEK_FOOT;
	csz = get_le32(tail);
	if (n == 0 || get_le32(tail + 4) != 0 || table > size ||
	    csz > size - table || csz < sizeof(head))
		return 0;
	x->data_len = size - table - csz;
	if (ranged_read(x->r, head, sizeof(head), x->data_len, e) == -1)
		return -1;
	if (get_le32(head) != 0x184D2A5Cu || get_le32(head + 4) != csz - 8 ||
	    memcmp(head + 8, "CALAIDXZ", 8) != 0)
		return 0;
	if (idx_zhead(head + 8, get_le32(head + 4), &z, e) == -1)
		return -1;
	x->zst = true;
	x->codec = z.codec;
	x->raw_len = z.raw_len;
	x->blob_off = x->data_len + sizeof(head);
	x->blob_len = x->area_len = z.blob_len;
	x->hash = z.hash;
	return 1;
}

static int
find_gz(struct index *x, struct err *e)
{
	static const unsigned char want[16] = { 0x1f, 0x8b, 8, 4, 0, 0, 0, 0,
	    0, 0xff, 0x2c, 0, 'C', 'F', 40, 0 };
	unsigned char p[GZX_FOOTER];
	uint64_t size = x->r->size;

	if (size < GZX_FOOTER)
		return 0;
	if (ranged_read(x->r, p, sizeof(p), size - sizeof(p), e) == -1)
		return -1;
	if (memcmp(p, want, 8) != 0 || memcmp(p + 10, want + 10, 6) != 0 ||
	    memcmp(p + 16, "CALAGZX1", 8) != 0)
		return 0;
	x->data_len = get_le64(p + 24);
	x->area_len = get_le64(p + 32);
	x->blob_len = get_le64(p + 40);
	x->hash = get_le64(p + 48);
	x->blob_off = x->data_len;
	x->codec = IDX_GUESS;
	if (x->data_len > size - sizeof(p) ||
	    x->area_len != size - sizeof(p) - x->data_len ||
	    x->blob_len > x->area_len)
		return err_set(e, CALA_INTEGRITY, "the index is damaged: its "
		    "footer points outside the archive");
	return 1;
}

struct index *
index_open(struct ranged *r, struct err *e)
{
	struct index *x = calloc(1, sizeof(*x));
	struct idx_parse p;
	struct load l;
	unsigned char magic[4];
	int found;

	if (x == NULL) {
		err_oom(e);
		return NULL;
	}
	memset(&p, 0, sizeof(p));
	l.x = x;
	l.at = 0;
	buf_init(&l.last, ENTRY_PATH_MAX);
	buf_init(&l.now, ENTRY_PATH_MAX);
	x->r = r;
	x->ordered = true;
	if (r->size < 18 || ranged_read(r, magic, 4, 0, e) == -1)
		goto none;
	found = magic[0] == 0x1f && magic[1] == 0x8b ? find_gz(x, e) :
	    wrap_sniff(magic, 4) == WRAP_ZST ? find_zst(x, e) : 0;
	if (found != 1)
		goto none;
	if (x->area_len <= CACHE) {
		x->cache = malloc((size_t)x->area_len + 1);
		if (x->cache == NULL) {
			err_oom(e);
			goto none;
		}
		if (ranged_read(r, x->cache, (size_t)x->area_len, x->blob_off,
		    e) == -1)
			goto none;
	}
	p.frame = load_frame;
	p.entry = load_entry;
	p.arg = &l;
	p.data_len = x->data_len;
	p.raw_len = x->raw_len;
	if (pass(x, &p, e) == -1)
		goto none;
	x->n = p.n;
	x->f = p.f;
	x->flags = p.flags;
	x->warnings = p.warnings;
	x->tar_len = p.tar_len;
	buf_fini(&l.last);
	buf_fini(&l.now);
	return x;
none:
	buf_fini(&l.last);
	buf_fini(&l.now);
	index_free(x);
	return NULL;
}

int
index_scan(struct index *x, int (*fn)(void *, const struct idx_entry *,
    struct err *), void *arg, struct err *e)
{
	struct idx_parse p;

	memset(&p, 0, sizeof(p));
	p.entry = fn;
	p.arg = arg;
	p.data_len = x->data_len;
	p.raw_len = x->raw_len;
	return pass(x, &p, e);
}
