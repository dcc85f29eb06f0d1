/*
 * CALAIDX1, pushed: header, frame table, entries.
 */

#include "archive/index.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/io.h"

enum {
	ENTRY_MIN = 11,         /* bytes of the shortest entry */
	FRAME_MIN = 9,          /* of the shortest zstd frame */
	FRAME_MAX = 1 << 30,    /* decompressed */
	CARRY = 2 * ENTRY_PATH_MAX + 256
};

static int
bad(struct err *e, const char *what)
{
	return err_set(e, CALA_INTEGRITY, "the index is damaged: %s", what);
}

void
idx_init(struct idx_parse *p)
{
	buf_init(&p->carry, CARRY + 65536);
	buf_init(&p->path, ENTRY_PATH_MAX);
	buf_init(&p->target, ENTRY_PATH_MAX);
	p->got = p->c_sum = p->u_sum = p->head = 0;
	p->frames = p->entries = p->n = p->f = 0;
	p->begun = false;
}

void
idx_fini(struct idx_parse *p)
{
	buf_fini(&p->carry);
	buf_fini(&p->path);
	buf_fini(&p->target);
}

static int
header(struct idx_parse *p, const unsigned char *h, struct err *e)
{
	if (memcmp(h, "CALAIDX1", 8) != 0 || get_le16(h + 8) != 1)
		return bad(e, "unknown version");
	p->flags = get_le16(h + 10);
	if ((p->flags & ~(unsigned)IDX_PARTIAL) != 0)
		return bad(e, "unknown or incomplete kind");
	p->n = get_le32(h + 12);
	p->f = get_le32(h + 16);
	p->warnings = get_le32(h + 20);
	p->tar_len = get_le64(h + 24);
	if (p->n > IDX_ENTRIES)
		return bad(e, "too many entries");
	if (p->f > p->data_len / FRAME_MIN)
		return bad(e, "more frames than there is room for");
	if (get_le64(h + 32) != IDX_HEADER ||
	    get_le64(h + 40) != IDX_HEADER + (uint64_t)IDX_FRAME * p->f)
		return bad(e, "impossible layout");
	if (p->raw_len != 0 && p->raw_len < IDX_HEADER +
	    (uint64_t)IDX_FRAME * p->f + (uint64_t)ENTRY_MIN * p->n)
		return bad(e, "more entries than there is room for");
	if (p->tar_len > INT64_MAX)
		return bad(e, "impossible length");
	p->begun = true;
	return 0;
}

static int
frame(struct idx_parse *p, const unsigned char *q, struct err *e)
{
	struct idx_frame f = { get_le64(q), get_le64(q + 8), get_le32(q + 16),
	    get_le32(q + 20), get_le32(q + 24) };

	if (f.c_off != p->c_sum || f.u_off != p->u_sum || f.c_len == 0 ||
	    f.u_len > FRAME_MAX || f.c_len > p->data_len - p->c_sum ||
	    f.u_len > p->tar_len - p->u_sum)
		return bad(e, "a frame lies outside the archive");
	p->c_sum += f.c_len;
	p->u_sum += f.u_len;
	p->frames++;
	return p->frame == NULL ? 0 : p->frame(p->arg, &f, e);
}

/* Bytes used; 0 when more are needed; -1. */
static int
entry(struct idx_parse *p, const unsigned char *q, const unsigned char *end,
    int *stop, struct err *e)
{
	const unsigned char *start = q;
	struct idx_entry x;
	uint64_t v[8], pre, len, data;
	size_t k;
	int i;

#define GET(to) do {							\
		if ((k = varint_get(q, end, (to))) == 0)		\
			return end - q >= 10 ? bad(e, "a number") : 0;	\
		q += k;							\
	} while (0)
	for (i = 0; i < 3; i++)
		GET(&v[i]);
	if (q == end)
		return 0;
	x.flag = (char)*q++;
	for (i = 3; i < 7; i++)
		GET(&v[i]);
	GET(&pre);
	GET(&len);
	if (pre > p->path.len || len >= ENTRY_PATH_MAX - pre)
		return bad(e, "an impossible name");
	if (len > (uint64_t)(end - q))
		return 0;
	const unsigned char *name = q;
	q += len;
	const unsigned char *to = q;
	uint64_t tlen = 0;
	if (x.flag == '1' || x.flag == '2') {
		GET(&tlen);
		if (tlen >= ENTRY_PATH_MAX)
			return bad(e, "an impossible target");
		if (tlen > (uint64_t)(end - q))
			return 0;
		to = q;
		q += tlen;
	}
#undef GET
	if (!u64_add(p->head, v[0], &x.head) || !u64_add(x.head, v[1], &data) ||
	    data > p->tar_len || v[2] > p->tar_len - data ||
	    (p->entries > 0 && v[0] < 512) || v[1] < 512)
		return bad(e, "an entry lies outside the archive");
	if (v[3] > 07777 || v[4] > UINT32_MAX || v[5] > UINT32_MAX)
		return bad(e, "an impossible mode or owner");
	buf_cut(&p->path, (size_t)pre);
	buf_add(&p->path, name, (size_t)len);
	buf_reset(&p->target);
	buf_add(&p->target, to, (size_t)tlen);
	if (p->path.failed || p->target.failed)
		return err_oom(e);
	if (memchr(p->path.p, '\0', p->path.len) != NULL ||
	    memchr(p->target.p, '\0', p->target.len) != NULL)
		return bad(e, "a NUL byte in a name");
	x.data = data;
	x.stored = v[2];
	x.mode = (uint32_t)v[3];
	x.uid = (uint32_t)v[4];
	x.gid = (uint32_t)v[5];
	x.mtime = unzigzag(v[6]);
	x.path = p->path.p;
	x.path_len = p->path.len;
	x.target = p->target.p;
	x.target_len = p->target.len;
	p->head = x.head;
	p->entries++;
	*stop = p->entry == NULL ? 0 : p->entry(p->arg, &x, e);
	return (int)(q - start);
}

/* Everything complete in the carry. */
static int
parse(struct idx_parse *p, struct err *e)
{
	const unsigned char *q = (const unsigned char *)p->carry.p;
	const unsigned char *end = q + p->carry.len;
	int k, stop = 0;

	if (!p->begun) {
		if (end - q < IDX_HEADER)
			return 0;
		if (header(p, q, e) == -1)
			return -1;
		q += IDX_HEADER;
	}
	while (stop == 0 && p->frames < p->f && end - q >= IDX_FRAME) {
		stop = frame(p, q, e);
		q += IDX_FRAME;
	}
	while (stop == 0 && p->frames == p->f && p->entries < p->n) {
		if ((k = entry(p, q, end, &stop, e)) == -1)
			return -1;
		if (k == 0)
			break;
		q += k;
	}
	if (stop == 0 && p->begun && p->frames == p->f &&
	    p->entries == p->n && q < end)
		return bad(e, "something behind its last entry");
	k = (int)(end - q);
	memmove(p->carry.p, q, (size_t)k);
	buf_cut(&p->carry, (size_t)k);
	return stop;
}

int
idx_feed(struct idx_parse *p, const void *v, size_t n, struct err *e)
{
	const unsigned char *q = v;
	size_t k;
	int r;

	for (; n > 0; q += k, n -= k) {
		k = n < 65536 ? n : 65536;
		p->got += k;
		if (p->got > IDX_RAW || (p->raw_len != 0 &&
		    p->got > p->raw_len))
			return bad(e, "it is longer than it may be");
		if (p->carry.len > CARRY)
			return bad(e, "an entry without end");
		if (buf_add(&p->carry, q, k) == -1)
			return err_oom(e);
		if ((r = parse(p, e)) != 0)
			return r;
	}
	return 0;
}

int
idx_end(struct idx_parse *p, struct err *e)
{
	if (!p->begun || p->frames < p->f || p->entries < p->n ||
	    p->carry.len > 0 || (p->raw_len != 0 && p->got != p->raw_len))
		return bad(e, "it is cut short");
	if (p->c_sum != p->data_len || p->u_sum != p->tar_len)
		return bad(e, "its frames do not cover the archive");
	return 0;
}

/* ---- the stored form ---- */

struct idx_blob {
	struct idx_parse *p;
	int codec;
	bool hash_raw;
	XXH64_state_t *x;
	ZSTD_DCtx *d;
	size_t zleft;                   /* what ZSTD said last */
	z_stream z;
	bool zinit, zend;
	unsigned char first[4];
	size_t nfirst;
	unsigned char out[65536];
};

struct idx_blob *
idx_blob_new(struct idx_parse *p, int codec, bool hash_raw, struct err *e)
{
	struct idx_blob *b = calloc(1, sizeof(*b));

	if (b == NULL || (b->x = XXH64_createState()) == NULL ||
	    (b->d = ZSTD_createDCtx()) == NULL ||
	    inflateInit(&b->z) != Z_OK) {
		idx_blob_free(b);
		err_oom(e);
		return NULL;
	}
	b->zinit = true;
	XXH64_reset(b->x, 0);
	/* the index is written with small windows; a bomb is not */
	ZSTD_DCtx_setParameter(b->d, ZSTD_d_windowLogMax, 23);
	b->p = p;
	b->codec = codec;
	b->hash_raw = hash_raw;
	return b;
}

static int
raw(struct idx_blob *b, const void *p, size_t n, struct err *e)
{
	if (b->hash_raw)
		XXH64_update(b->x, p, n);
	return idx_feed(b->p, p, n, e);
}

static int
blob_zstd(struct idx_blob *b, const void *p, size_t n, struct err *e)
{
	ZSTD_inBuffer in = { p, n, 0 };
	ZSTD_outBuffer out;
	int r;

	do {
		out.dst = b->out;
		out.size = sizeof(b->out);
		out.pos = 0;
		b->zleft = ZSTD_decompressStream(b->d, &out, &in);
		if (ZSTD_isError(b->zleft))
			return bad(e, ZSTD_getErrorName(b->zleft));
		if ((r = raw(b, b->out, out.pos, e)) != 0)
			return r;
	} while (in.pos < in.size || out.pos == out.size);
	return 0;
}

static int
blob_zlib(struct idx_blob *b, const void *p, size_t n, struct err *e)
{
	int r, k;

	b->z.next_in = (unsigned char *)(uintptr_t)p;
	b->z.avail_in = (uInt)n;
	do {
		b->z.next_out = b->out;
		b->z.avail_out = sizeof(b->out);
		r = inflate(&b->z, Z_NO_FLUSH);
		if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
			return bad(e, "zlib");
		if ((k = raw(b, b->out, sizeof(b->out) - b->z.avail_out,
		    e)) != 0)
			return k;
		if (r == Z_STREAM_END) {
			b->zend = true;
			return b->z.avail_in == 0 ? 0 :
			    bad(e, "something behind it");
		}
	} while (b->z.avail_in > 0 || b->z.avail_out == 0);
	return 0;
}

static int
decode(struct idx_blob *b, const void *p, size_t n, struct err *e)
{
	if (n == 0)
		return 0;
	if (b->codec == IDX_PLAIN)
		return raw(b, p, n, e);
	if (b->codec == IDX_ZSTD)
		return blob_zstd(b, p, n, e);
	return b->zend ? bad(e, "something behind it") :
	    blob_zlib(b, p, n, e);
}

int
idx_blob_feed(struct idx_blob *b, const void *v, size_t n, struct err *e)
{
	const unsigned char *p = v;
	size_t k;
	int r;

	if (!b->hash_raw)
		XXH64_update(b->x, p, n);
	while (n > 0) {
		if (b->codec == IDX_GUESS) {
			b->first[b->nfirst++] = *p++;
			n--;
			if (b->nfirst < 4)
				continue;
			b->codec = get_le32(b->first) == 0xFD2FB528u ?
			    IDX_ZSTD : IDX_ZLIB;
			if ((r = decode(b, b->first, 4, e)) != 0)
				return r;
			continue;
		}
		k = n < 1 << 20 ? n : 1 << 20;
		if ((r = decode(b, p, k, e)) != 0)
			return r;
		p += k;
		n -= k;
	}
	return 0;
}

int
idx_blob_end(struct idx_blob *b, uint64_t want, struct err *e)
{
	if ((b->codec == IDX_ZSTD && b->zleft != 0) ||
	    (b->codec == IDX_ZLIB && !b->zend) || b->codec == IDX_GUESS)
		return bad(e, "it is cut short");
	if (XXH64_digest(b->x) != want)
		return bad(e, "its checksum is wrong");
	return idx_end(b->p, e);
}

void
idx_blob_free(struct idx_blob *b)
{
	if (b == NULL)
		return;
	if (b->zinit)
		inflateEnd(&b->z);
	ZSTD_freeDCtx(b->d);
	XXH64_freeState(b->x);
	free(b);
}

int
idx_zhead(const unsigned char *p, uint32_t size, struct idx_zhead *h,
    struct err *e)
{
	if (size < IDX_ZHEAD || memcmp(p, "CALAIDXZ", 8) != 0 ||
	    get_le16(p + 8) != 1 || get_le32(p + 12) != 0)
		return bad(e, "unknown version");
	h->codec = get_le16(p + 10);
	h->raw_len = get_le64(p + 16);
	h->blob_len = get_le64(p + 24);
	h->hash = get_le64(p + 32);
	if (h->codec > IDX_ZLIB || h->blob_len != size - IDX_ZHEAD ||
	    h->raw_len > IDX_RAW || h->raw_len < IDX_HEADER)
		return bad(e, "impossible lengths");
	return 0;
}

/* ---- index members of a tar.gz ---- */

void
gzx_init(struct gzx *g)
{
	buf_init(&g->carry, 1 << 20);
	g->footer = false;
	g->members = g->chunks = 0;
}

void
gzx_fini(struct gzx *g)
{
	buf_fini(&g->carry);
}

/* One member of n bytes; the length was read from it. */
static int
member(struct gzx *g, const unsigned char *p, size_t n, struct err *e)
{
	static const unsigned char empty[10] = { 3 };
	const unsigned char *q = p + 12;
	size_t xlen = n - 22, len;

	if (memcmp(p + n - 10, empty, 10) != 0 || xlen < 4 ||
	    (len = get_le16(q + 2)) != xlen - 4)
		return bad(e, "an index member");
	q += 4;
	if (memcmp(p + 12, "CI", 2) == 0) {
		g->members += n;
		g->chunks += len;
		return g->data(g->arg, q, len, e);
	}
	if (memcmp(p + 12, "CF", 2) != 0 || len != 40 ||
	    memcmp(q, "CALAGZX1", 8) != 0)
		return bad(e, "an index member");
	g->footer = true;
	g->index_off = get_le64(q + 8);
	g->members_len = get_le64(q + 16);
	g->blob_len = get_le64(q + 24);
	g->hash = get_le64(q + 32);
	if (g->members_len != g->members || g->blob_len != g->chunks)
		return bad(e, "its footer miscounts");
	return 0;
}

int
gzx_feed(struct gzx *g, const void *v, size_t n, struct err *e)
{
	static const unsigned char head[4] = { 0x1f, 0x8b, 8, 4 };
	const unsigned char *in = v, *p;
	size_t at, len, k;
	int r;

	while (n > 0) {
		k = n < 65536 ? n : 65536;
		if (buf_add(&g->carry, in, k) == -1)
			return err_oom(e);
		in += k;
		n -= k;
		p = (const unsigned char *)g->carry.p;
		for (at = 0; g->carry.len - at >= 12; at += len) {
			if (g->footer || memcmp(p + at, head, 4) != 0)
				return bad(e, "an index member");
			len = 22u + get_le16(p + at + 10);
			if (len > g->carry.len - at)
				break;
			if ((r = member(g, p + at, len, e)) != 0)
				return r;
		}
		memmove(g->carry.p, p + at, g->carry.len - at);
		buf_cut(&g->carry, g->carry.len - at);
		if (g->footer && g->carry.len > 0)
			return bad(e, "something behind its footer");
	}
	return g->footer ? 1 : 0;
}
