#ifndef CALA_DDUP_DRAFT_H
#define CALA_DDUP_DRAFT_H

/*
 * draft: how a backup waits for its ids.
 *
 * Every entry is a record in an unlinked spool file:
 *
 *	u8 type; varint number (of an entry of the format; else 0);
 *	varint where its directory's record is + 1, 0: the root;
 *	name; mapped name or ""; varint mode, uid, gid; zigzag seconds,
 *	varint nanoseconds; xattrs; and
 *	'f' 'h': varint size, 'h': varint number of the file it links to,
 *	         varint extents + 1 or 0, extents, varint refs, u32 each
 *	'd': varint place in the table of child counts
 *	'l': target, mapped target or ""
 *	'p' 'c' 'b': varint depth, major, minor
 *
 * At commit it is read front to back, once for each part of the archive.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "ddup/int.h"
#include "ddup/stream.h"
#include "entry/entry.h"

enum {
	FORMAT_NAME = 255,              /* what other readers refuse beyond */
	FORMAT_TARGET = 4096,
	FORMAT_DEPTH = 256,             /* directories */
	FORMAT_CHILDREN = 10000000
};

struct place {                          /* of a name that may be linked to */
	uint64_t hash;                  /* of its path */
	uint64_t at;                    /* of its record, + 1; 0: free */
};

struct level {
	uint64_t at;                    /* of the directory's record + 1 */
	uint32_t dir;                   /* its place among the child counts */
	size_t plen;                    /* of its path */
};

struct ddup_draft {
	struct ddup *r;
	struct log *log;
	bool all_links;
	int fd;
	struct dsink *spool;
	struct buf path;                /* of the directory we are in */
	struct level level[FORMAT_DEPTH + 1];
	unsigned depth;                 /* levels in use; level[0] is the root */
	unsigned skip;                  /* directories left out, entered */
	bool root;                      /* its own record was given */
	bool sorted;                    /* so far */
	struct buf last;                /* path put last */
	uint32_t *children;
	size_t ndirs, dirs_room;
	struct place *places;
	size_t nplaces, places_mask;
	uint64_t *odd;                  /* hashes of names that may clash */
	size_t nodd, odd_mask;
	struct ddup_sum sum;
	uint64_t numbers;               /* entries of the format */
	struct buf name, target;        /* mapped */
};

/* A record as it is read back; the refs come after it in the stream. */
struct rec {
	uint8_t type;
	uint64_t number, parent;
	struct buf name, mapped, target, target_mapped;
	uint32_t mode, uid, gid, major, minor, dir;
	int64_t sec;
	uint32_t nsec;
	struct buf xattrs;              /* as they stand in the spool */
	uint32_t nxattrs;
	uint64_t size, link;
	bool sparse;
	struct buf extents;             /* varints: gap, length */
	uint32_t nextents;
	uint64_t nrefs;
	uint32_t depth;
};

void rec_init(struct rec *);
void rec_fini(struct rec *);
/* rec_get(rec, s, e): 1; 0 at the end; -1.  nrefs u32 follow in s. */
int rec_get(struct rec *, struct dstream *, struct err *);

/*
 * odd_map(b, s, n): s as valid UTF-8 into b (emptied): each byte b of no valid
 * sequence becomes U+F700 + b.
 */
void odd_map(struct buf *, const char *, size_t);

#endif
