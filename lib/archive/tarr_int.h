#ifndef CALA_ARCHIVE_TARR_INT_H
#define CALA_ARCHIVE_TARR_INT_H

/*
 * tarr_int: what tarr.c (headers, entries) and tarr_in.c (bytes, contents,
 * sparse maps) share; for these two only.
 */

#include <sys/types.h>

#include "archive/tarr.h"
#include "base/buf.h"
#include "base/err.h"
#include "entry/entry.h"

enum {
	TARR_IN = 256 * 1024,           /* bytes of the buffer */
	NOBODY = 65534
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
	bool cala, marked, again;       /* the directory behind the mark */
	struct mark mark;
	bool wrong;
	struct err err;                 /* sticky */
};

/*
 * tarr_octal(p, n, &v): octal as it is written: spaces around, or NULs; all
 * blank is 0.  tarr_number: that, or base-256.  0, or -1 when it is neither.
 */
int tarr_octal(const unsigned char *, size_t, uint64_t *);
int tarr_number(const unsigned char *, size_t, int64_t *);

/* tarr_short(t, e): CALA_INCOMPLETE, with the offset.  -1. */
int tarr_short(struct tarr *, struct err *);

/*
 * tarr_fill(t, e): 1 with at least one byte in the buffer, 0 at the end, -1.
 * tarr_full(t, p, n, e): up to n bytes; fewer only at the end; -1 with err.
 * tarr_skip(t, n, e): pass over n bytes.  tarr_move(t, off, e): to an offset,
 * by the seek that the reader was given.
 * tarr_text(t, b, n, e): the n bytes of a record into b (emptied), and its
 * padding dropped.
 */
int tarr_fill(struct tarr *, struct err *);
ssize_t tarr_full(struct tarr *, void *, size_t, struct err *);
int tarr_skip(struct tarr *, uint64_t, struct err *);
int tarr_move(struct tarr *, uint64_t, struct err *);
int tarr_text(struct tarr *, struct buf *, uint64_t, struct err *);

/* What reads the entry's data. */
extern const struct content_ops tarr_content;

/*
 * The map of a sparse file into t->pax.ext: of GNU.sparse 1.0, before the data
 * (tarr_map_data), and of old GNU, in header h and behind it (tarr_map_old).
 * 0; 1 when the map makes no sense; -1 with err.
 * tarr_map_good(t, size): ascending, apart, inside size, and together as long
 * as what is stored?
 */
int tarr_map_data(struct tarr *, struct err *);
int tarr_map_old(struct tarr *, const unsigned char *, struct err *);
bool tarr_map_good(struct tarr *, uint64_t);

#endif
