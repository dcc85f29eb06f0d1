#ifndef CALA_ARCHIVE_INDEX_H
#define CALA_ARCHIVE_INDEX_H

/*
 * index: reading CALAIDX1 (spec s3.md §10), the index inside a tar.zst or
 * tar.gz.  What it says is never believed before it is checked: counts against
 * the bytes that hold them, offsets against the stream, text against limits.
 * Nothing is allocated for what is only announced.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/archive.h"
#include "base/buf.h"

enum {
	IDX_ENTRIES = 50 * 1000 * 1000,         /* at most */
	IDX_HEADER = 48, IDX_FRAME = 28,
	IDX_PARTIAL = 2                         /* flag */
};
#define IDX_RAW (4ull << 30)                    /* bytes at most */
#define IDX_EMPTY_SUM 0x51d8e999u               /* XXH64 of nothing, low half */

struct idx_frame {
	uint64_t c_off, u_off;
	uint32_t c_len, u_len, sum;
};

struct idx_entry {
	uint64_t head, data, stored;            /* offsets in the tar */
	char flag;
	uint32_t mode, uid, gid;
	int64_t mtime;
	const char *path, *target;              /* as in the tar; target or "" */
	size_t path_len, target_len;
};

/*
 * The parser is pushed; it holds one entry at most.  frame and entry may be
 * NULL; they return 0, 1 to stop, -1 with err.
 */
struct idx_parse {
	int (*frame)(void *, const struct idx_frame *, struct err *);
	int (*entry)(void *, const struct idx_entry *, struct err *);
	void *arg;
	uint64_t data_len;      /* compressed bytes before the index */
	uint64_t raw_len;       /* announced, or 0: not known before the end */
	/* read from the header */
	unsigned flags;
	uint32_t n, f, warnings;
	uint64_t tar_len;
	/* the rest belongs to index.c */
	struct buf carry, path, target;
	uint64_t got, c_sum, u_sum, head;
	uint32_t frames, entries;
	bool begun;
};

/*
 * idx_init(p): after the members above were set.  idx_feed: 0, 1 stopped, -1
 * CALA_INTEGRITY.  idx_end: was it all there, and does it agree with data_len?
 */
void idx_init(struct idx_parse *);
int  idx_feed(struct idx_parse *, const void *, size_t, struct err *);
int  idx_end(struct idx_parse *, struct err *);
void idx_fini(struct idx_parse *);

/*
 * The stored blob into a parser: codec IDX_RAW_CODEC, IDX_ZSTD, IDX_ZLIB, or
 * IDX_GUESS by its first bytes.  hash_raw: XXH64 of the raw index, else of the
 * stored blob.
 */
enum { IDX_PLAIN, IDX_ZSTD, IDX_ZLIB, IDX_GUESS };
struct idx_blob;
struct idx_blob *idx_blob_new(struct idx_parse *, int, bool, struct err *);
int  idx_blob_feed(struct idx_blob *, const void *, size_t, struct err *);
/* idx_blob_end(b, want, e): complete, and is want its hash? */
int  idx_blob_end(struct idx_blob *, uint64_t, struct err *);
void idx_blob_free(struct idx_blob *);

/* The 40 bytes before the blob in the skippable frame (§10.3). */
struct idx_zhead {
	int codec;
	uint64_t raw_len, blob_len, hash;
};
enum { IDX_ZHEAD = 40 };
int idx_zhead(const unsigned char *, uint32_t, struct idx_zhead *,
    struct err *);

/*
 * Index members of a tar.gz (§10.4), pushed: their chunks go to data.  1 when
 * the footer was read (then nothing may follow), 0 go on, -1 malformed.
 */
struct gzx {
	int (*data)(void *, const void *, size_t, struct err *);
	void *arg;
	struct buf carry;
	bool footer;
	uint64_t members, chunks;               /* bytes so far */
	uint64_t index_off, members_len, blob_len, hash;        /* footer */
};
enum { GZX_FOOTER = 66 };
void gzx_init(struct gzx *);
int  gzx_feed(struct gzx *, const void *, size_t, struct err *);
void gzx_fini(struct gzx *);

/*
 * index_open(r, what, e): find, check and load the index of r, which stays the
 * caller's.  NULL with e->code 0 when r has none; else NULL with err.
 */
struct index {
	struct ranged *r;
	bool zst;
	uint64_t data_len, tar_len;
	uint32_t n, f, warnings;
	unsigned flags;
	uint64_t files, size;
	bool ordered;           /* depth first, siblings sorted, no name twice */
	struct idx_frame *frame;
	/* the rest belongs to index.c */
	uint64_t blob_off, blob_len, area_len, raw_len, hash;
	int codec;
	unsigned char *cache;   /* the stored bytes, when they are few */
};
struct index *index_open(struct ranged *, struct err *);
void index_free(struct index *);

/*
 * index_scan(x, fn, arg, e): each entry in the order of the tar; 0 at the end,
 * 1 when fn stopped it.
 */
int index_scan(struct index *, int (*)(void *, const struct idx_entry *,
    struct err *), void *, struct err *);

/* index_before(a, b): is a before b in depth-first order of sorted names? */
bool index_before(const char *, const char *);

#endif
