#include "archive/indexw.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/file.h"
#include "base/io.h"
#include "entry/entry.h"

enum {
	KEEP = 1 << 20,         /* of a heap before it becomes a file */
	PIECE = 64 * 1024,
	LEVEL = 3,
	HEADER = 48, FRAME = 28,
	CHUNK = 65000,          /* of an empty gzip member's field */
	EMPTY_SUM = 0x51D8E999  /* low half of XXH64 of nothing */
};

/* What readers accept. */
#define ENTRIES_MAX UINT64_C(50000000)
#define RAW_MAX UINT64_C(0xF0000000)

/* Bytes that go to an unlinked file when they are many. */
struct heap {
	const char *dir;
	struct buf buf;
	int fd;
	uint64_t len;
};

/* A zstd frame that grows in a heap. */
struct stream {
	ZSTD_CCtx *z;
	struct heap heap;
	uint64_t raw;           /* bytes fed */
};

struct frame {
	uint32_t c_len, u_len, sum;
};

struct indexw {
	char *dir;
	struct stream entries;
	struct buf raw;         /* entries not yet compressed */
	struct buf last;        /* path of the previous entry */
	uint64_t header;        /* of the previous entry */
	uint64_t n;
	bool truncated;
	struct frame *frames;
	size_t nframes, room;
};

static void
heap_init(struct heap *h, const char *dir)
{
	h->dir = dir;
	h->fd = -1;
	h->len = 0;
	buf_init(&h->buf, KEEP + PIECE);
}

static void
heap_fini(struct heap *h)
{
	if (h->fd != -1)
		close(h->fd);
	h->fd = -1;
	buf_fini(&h->buf);
}

static int
heap_add(struct heap *h, const void *p, size_t n, struct err *e)
{
	h->len += n;
	if (buf_add(&h->buf, p, n) == -1)
		return buf_failed(&h->buf, e);
	if (h->buf.len < KEEP)
		return 0;
	if (h->fd == -1 && (h->fd = file_nameless(AT_FDCWD, h->dir,
	    e)) == -1)
		return -1;
	if (file_write_all(h->fd, h->buf.p, h->buf.len) == -1)
		return err_sys(e, "temporary file in %s", h->dir);
	buf_reset(&h->buf);
	return 0;
}

typedef int heap_fn(void *, const void *, size_t, struct err *);

/* All of it, in pieces of at most PIECE bytes. */
static int
heap_each(struct heap *h, heap_fn *fn, void *arg, struct err *e)
{
	unsigned char piece[PIECE];
	uint64_t off, stored = h->len - h->buf.len;
	size_t n;

	for (off = 0; off < stored; off += n) {
		n = stored - off < PIECE ? (size_t)(stored - off) : PIECE;
		if (file_pread_full(h->fd, piece, n, off) != (ssize_t)n)
			return err_sys(e, "temporary file in %s", h->dir);
		if (fn(arg, piece, n, e) == -1)
			return -1;
	}
	for (off = 0; off < h->buf.len; off += n) {
		n = h->buf.len - off < PIECE ? h->buf.len - (size_t)off :
		    PIECE;
		if (fn(arg, h->buf.p + off, n, e) == -1)
			return -1;
	}
	return 0;
}

static int
stream_init(struct stream *s, const char *dir, struct err *e)
{
	heap_init(&s->heap, dir);
	s->raw = 0;
	if ((s->z = ZSTD_createCCtx()) == NULL)
		return err_oom(e);
	ZSTD_CCtx_setParameter(s->z, ZSTD_c_compressionLevel, LEVEL);
	ZSTD_CCtx_setParameter(s->z, ZSTD_c_windowLog, 19);
	return 0;
}

static void
stream_fini(struct stream *s)
{
	ZSTD_freeCCtx(s->z);
	heap_fini(&s->heap);
}

static int
stream_add(struct stream *s, const void *p, size_t n, bool end,
    struct err *e)
{
	unsigned char piece[16384];
	ZSTD_inBuffer in = { p, n, 0 };
	ZSTD_outBuffer out = { piece, sizeof(piece), 0 };
	size_t k;

	s->raw += n;
	do {
		out.pos = 0;
		k = ZSTD_compressStream2(s->z, &out, &in,
		    end ? ZSTD_e_end : ZSTD_e_continue);
		if (ZSTD_isError(k))
			return err_set(e, CALA_FAIL, "index: zstd: %s",
			    ZSTD_getErrorName(k));
		if (out.pos > 0 && heap_add(&s->heap, piece, out.pos, e) == -1)
			return -1;
	} while (end ? k != 0 : in.pos < in.size);
	return 0;
}

struct indexw *
indexw_new(const char *dir, struct err *e)
{
	struct indexw *ix = calloc(1, sizeof(*ix));

	if (ix == NULL || (ix->dir = strdup(dir != NULL ? dir :
	    "/var/tmp")) == NULL) {
		free(ix);
		err_oom(e);
		return NULL;
	}
	buf_init(&ix->raw, PIECE + 4 * ENTRY_PATH_MAX);
	buf_init(&ix->last, 2 * ENTRY_PATH_MAX);
	if (stream_init(&ix->entries, ix->dir, e) == -1) {
		indexw_free(ix);
		return NULL;
	}
	return ix;
}

void
indexw_free(struct indexw *ix)
{
	if (ix == NULL)
		return;
	stream_fini(&ix->entries);
	buf_fini(&ix->raw);
	buf_fini(&ix->last);
	free(ix->frames);
	free(ix->dir);
	free(ix);
}

static size_t
shared(const char *a, const char *b)
{
	size_t n = 0;

	while (a[n] != '\0' && a[n] == b[n])
		n++;
	return n;
}

int
indexw_entry(struct indexw *ix, const struct indexw_member *m,
    struct err *e)
{
	const struct entry *en = m->entry;
	unsigned char v[128];
	size_t n = 0, same, rest;

	if (ix->truncated)
		return 0;
	if (ix->n == ENTRIES_MAX ||
	    ix->entries.raw + ix->raw.len > RAW_MAX - 4 * ENTRY_PATH_MAX) {
		ix->truncated = true;
		return 0;
	}
	same = shared(ix->last.p, m->path);
	rest = strlen(m->path + same);
	n += varint_put(v + n, m->header - ix->header);
	n += varint_put(v + n, m->data - m->header);
	n += varint_put(v + n, m->stored);
	v[n++] = (unsigned char)m->type;
	n += varint_put(v + n, en->mode & 07777);
	n += varint_put(v + n, en->uid);
	n += varint_put(v + n, en->gid);
	n += varint_put(v + n, zigzag(en->mtime.tv_sec));
	n += varint_put(v + n, same);
	n += varint_put(v + n, rest);
	buf_add(&ix->raw, v, n);
	buf_add(&ix->raw, m->path + same, rest);
	if (m->link != NULL) {
		n = varint_put(v, strlen(m->link));
		buf_add(&ix->raw, v, n);
		buf_str(&ix->raw, m->link);
	}
	ix->header = m->header;
	ix->n++;
	buf_cut(&ix->last, same);
	buf_add(&ix->last, m->path + same, rest);
	if (buf_failed(&ix->raw, e) == -1 || buf_failed(&ix->last, e) == -1)
		return -1;
	if (ix->raw.len < PIECE)
		return 0;
	if (stream_add(&ix->entries, ix->raw.p, ix->raw.len, false, e) == -1)
		return -1;
	buf_reset(&ix->raw);
	return 0;
}

int
indexw_frame(struct indexw *ix, uint32_t c_len, uint32_t u_len, uint32_t sum,
    struct err *e)
{
	struct frame *p;
	size_t room;

	if (ix->nframes == ix->room) {
		room = ix->room == 0 ? 1024 : 2 * ix->room;
		p = realloc(ix->frames, room * sizeof(*p));
		if (p == NULL)
			return err_oom(e);
		ix->frames = p;
		ix->room = room;
	}
	p = &ix->frames[ix->nframes++];
	p->c_len = c_len;
	p->u_len = u_len;
	p->sum = sum;
	return 0;
}

/* The blob's fixed part and frame table, in pieces. */
static int
front_each(struct indexw *ix, uint64_t tar_len, uint64_t warnings,
    heap_fn *fn, void *arg, struct err *e)
{
	unsigned char h[HEADER] = { 0 };
	uint64_t c_off = 0, u_off = 0;
	size_t i;

	memcpy(h, "CALAIDX1", 8);
	put_le16(h + 8, 1);
	put_le16(h + 10, (uint16_t)((ix->truncated ? 1 : 0) |
	    (warnings > 0 ? 2 : 0)));
	put_le32(h + 12, (uint32_t)ix->n);
	put_le32(h + 16, (uint32_t)ix->nframes);
	put_le32(h + 20, warnings > UINT32_MAX ? UINT32_MAX :
	    (uint32_t)warnings);
	put_le64(h + 24, tar_len);
	put_le64(h + 32, HEADER);
	put_le64(h + 40, HEADER + (uint64_t)FRAME * ix->nframes);
	if (fn(arg, h, HEADER, e) == -1)
		return -1;
	for (i = 0; i < ix->nframes; i++) {
		const struct frame *f = &ix->frames[i];

		put_le64(h, c_off);
		put_le64(h + 8, u_off);
		put_le32(h + 16, f->c_len);
		put_le32(h + 20, f->u_len);
		put_le32(h + 24, f->sum);
		c_off += f->c_len;
		u_off += f->u_len;
		if (fn(arg, h, FRAME, e) == -1)
			return -1;
	}
	return 0;
}

struct front {
	struct stream s;
	XXH64_state_t *sum;     /* of the raw blob */
};

static int
front_add(void *arg, const void *p, size_t n, struct err *e)
{
	struct front *f = arg;

	XXH64_update(f->sum, p, n);
	return stream_add(&f->s, p, n, false, e);
}

struct unzip {
	ZSTD_DCtx *z;
	heap_fn *fn;
	void *arg;
};

/* Compressed entries come in, raw ones go to fn. */
static int
unzip_add(void *arg, const void *p, size_t n, struct err *e)
{
	unsigned char piece[PIECE];
	struct unzip *u = arg;
	ZSTD_inBuffer in = { p, n, 0 };
	ZSTD_outBuffer out = { piece, sizeof(piece), 0 };
	size_t k;

	do {
		out.pos = 0;
		k = ZSTD_decompressStream(u->z, &out, &in);
		if (ZSTD_isError(k))
			return err_set(e, CALA_FAIL,
			    "index: the temporary file was changed: %s",
			    ZSTD_getErrorName(k));
		if (out.pos > 0 && u->fn(u->arg, piece, out.pos, e) == -1)
			return -1;
	} while (in.pos < in.size || out.pos == out.size);
	return 0;
}

/* End the entries' frame and hand its raw bytes to fn once more. */
static int
entries_each(struct indexw *ix, heap_fn *fn, void *arg, struct err *e)
{
	struct unzip u = { ZSTD_createDCtx(), fn, arg };
	int ret;

	if (u.z == NULL)
		return err_oom(e);
	ret = heap_each(&ix->entries.heap, unzip_add, &u, e);
	ZSTD_freeDCtx(u.z);
	return ret;
}

static int
sum_add(void *arg, const void *p, size_t n, struct err *e)
{
	(void)e;
	XXH64_update(arg, p, n);
	return 0;
}

static int
sink_add(void *arg, const void *p, size_t n, struct err *e)
{
	return sink_write(arg, p, n, e);
}

/*
 * The whole compressed blob: a frame with header and frame table, and the one
 * of the entries.  *sum is the XXH64 of the raw blob.
 */
static int
front_make(struct indexw *ix, struct front *f, uint64_t tar_len,
    uint64_t warnings, uint64_t *sum, struct err *e)
{
	if (stream_add(&ix->entries, ix->raw.p, ix->raw.len, true, e) == -1)
		return -1;
	buf_reset(&ix->raw);
	XXH64_reset(f->sum, 0);
	if (front_each(ix, tar_len, warnings, front_add, f, e) == -1 ||
	    stream_add(&f->s, "", 0, true, e) == -1 ||
	    entries_each(ix, sum_add, f->sum, e) == -1)
		return -1;
	*sum = XXH64_digest(f->sum);
	return 0;
}

static int
seek_table(const struct indexw *ix, uint32_t index_len, struct sink *out,
    struct err *e)
{
	uint64_t n = (uint64_t)ix->nframes + 1;
	unsigned char p[12];
	size_t i;

	put_le32(p, 0x184D2A5E);
	put_le32(p + 4, (uint32_t)(12 * n + 9));
	if (sink_write(out, p, 8, e) == -1)
		return -1;
	for (i = 0; i < ix->nframes; i++) {
		put_le32(p, ix->frames[i].c_len);
		put_le32(p + 4, ix->frames[i].u_len);
		put_le32(p + 8, ix->frames[i].sum);
		if (sink_write(out, p, 12, e) == -1)
			return -1;
	}
	put_le32(p, index_len);
	put_le32(p + 4, 0);
	put_le32(p + 8, EMPTY_SUM);
	if (sink_write(out, p, 12, e) == -1)
		return -1;
	put_le32(p, (uint32_t)n);
	p[4] = 0x80;
	put_le32(p + 5, 0x8F92EAB1);
	return sink_write(out, p, 9, e);
}

static int
zst_put(struct indexw *ix, struct front *f, struct sink *out, uint64_t sum,
    struct err *e)
{
	uint64_t c_len = f->s.heap.len + ix->entries.heap.len;
	unsigned char h[8 + 40] = { 0 };

	/* RAW_MAX and the number of frames keep it below. */
	if (c_len > UINT32_MAX - 40 || ix->nframes >= 0x8000000)
		return err_set(e, CALA_FAIL, "the index became too large");
	put_le32(h, 0x184D2A5C);
	put_le32(h + 4, (uint32_t)(40 + c_len));
	memcpy(h + 8, "CALAIDXZ", 8);
	put_le16(h + 16, 1);
	put_le16(h + 18, 1);            /* codec: zstd */
	put_le64(h + 24, f->s.raw + ix->entries.raw);
	put_le64(h + 32, c_len);
	put_le64(h + 40, sum);
	if (sink_write(out, h, sizeof(h), e) == -1 ||
	    heap_each(&f->s.heap, sink_add, out, e) == -1 ||
	    heap_each(&ix->entries.heap, sink_add, out, e) == -1)
		return -1;
	return seek_table(ix, (uint32_t)(48 + c_len), out, e);
}

/* Chunks of the compressed blob as fields of empty gzip members. */
struct members {
	struct sink *out;
	XXH64_state_t *sum;     /* of the compressed blob */
	struct buf chunk;
};

static int
member(struct sink *out, const char *id, const void *p, size_t n,
    struct err *e)
{
	unsigned char h[16] = { 0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff };
	static const unsigned char tail[10] = { 3, 0 };

	put_le16(h + 10, (uint16_t)(n + 4));
	memcpy(h + 12, id, 2);
	put_le16(h + 14, (uint16_t)n);
	if (sink_write(out, h, sizeof(h), e) == -1 ||
	    sink_write(out, p, n, e) == -1)
		return -1;
	return sink_write(out, tail, sizeof(tail), e);
}

static int
members_add(void *arg, const void *p, size_t n, struct err *e)
{
	struct members *m = arg;
	const char *from = p;
	size_t k;

	XXH64_update(m->sum, p, n);
	while (n > 0) {
		k = CHUNK - m->chunk.len < n ? CHUNK - m->chunk.len : n;
		if (buf_add(&m->chunk, from, k) == -1)
			return buf_failed(&m->chunk, e);
		from += k;
		n -= k;
		if (m->chunk.len < CHUNK)
			continue;
		if (member(m->out, "CI", m->chunk.p, CHUNK, e) == -1)
			return -1;
		buf_reset(&m->chunk);
	}
	return 0;
}

static int
gz_put(struct indexw *ix, struct front *f, struct sink *out, struct err *e)
{
	struct members m = { out, f->sum, { 0 } };
	uint64_t start = 0, at = out->pos;
	unsigned char p[40];
	int ret = -1;
	size_t i;

	for (i = 0; i < ix->nframes; i++)
		start += ix->frames[i].c_len;
	buf_init(&m.chunk, CHUNK);
	XXH64_reset(m.sum, 0);
	if (heap_each(&f->s.heap, members_add, &m, e) == -1 ||
	    heap_each(&ix->entries.heap, members_add, &m, e) == -1 ||
	    (m.chunk.len > 0 &&
	    member(out, "CI", m.chunk.p, m.chunk.len, e) == -1))
		goto out;
	memcpy(p, "CALAGZX1", 8);
	put_le64(p + 8, start);
	put_le64(p + 16, out->pos - at);
	put_le64(p + 24, f->s.heap.len + ix->entries.heap.len);
	put_le64(p + 32, XXH64_digest(m.sum));
	ret = member(out, "CF", p, sizeof(p), e);
out:
	buf_fini(&m.chunk);
	return ret;
}

enum shape { ZST, GZ, BLOB };

static int
put(struct indexw *ix, enum shape shape, struct sink *out, uint64_t tar_len,
    uint64_t warnings, struct err *e)
{
	struct front f = { .sum = XXH64_createState() };
	uint64_t sum;
	int ret = -1;

	heap_init(&f.s.heap, ix->dir);
	if (f.sum == NULL) {
		err_oom(e);
		goto out;
	}
	if (stream_init(&f.s, ix->dir, e) == -1 ||
	    front_make(ix, &f, tar_len, warnings, &sum, e) == -1)
		goto out;
	if (shape == ZST)
		ret = zst_put(ix, &f, out, sum, e);
	else if (shape == GZ)
		ret = gz_put(ix, &f, out, e);
	else if (front_each(ix, tar_len, warnings, sink_add, out, e) == 0)
		ret = entries_each(ix, sink_add, out, e);
out:
	stream_fini(&f.s);
	XXH64_freeState(f.sum);
	return ret == -1 ? err_ctx(e, "index") : 0;
}

int
indexw_zst(struct indexw *ix, struct sink *out, uint64_t tar_len,
    uint64_t warnings, struct err *e)
{
	return put(ix, ZST, out, tar_len, warnings, e);
}

int
indexw_gz(struct indexw *ix, struct sink *out, uint64_t tar_len,
    uint64_t warnings, struct err *e)
{
	return put(ix, GZ, out, tar_len, warnings, e);
}

int
indexw_blob(struct indexw *ix, struct sink *out, uint64_t tar_len,
    uint64_t warnings, struct err *e)
{
	return put(ix, BLOB, out, tar_len, warnings, e);
}
