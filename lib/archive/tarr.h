#ifndef CALA_ARCHIVE_TARR_H
#define CALA_ARCHIVE_TARR_H

/*
 * tarr: tar as a reader of entries: v7, ustar (POSIX.1-1988), GNU (L and K
 * records, base-256 numbers, S sparse files) and pax (POSIX.1-2001), with the
 * extensions of star, libarchive and GNU sparse 0.0, 0.1, 1.0.
 *
 * It is our own because completeness hangs on it: the two zero blocks, cala's
 * inner marks and the offset of each header must be seen exactly.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/archive.h"

struct buf;

enum {
	TAR_BLOCK = 512,
	TAR_PAX_MAX = 16 << 20,         /* one extended header */
	TAR_LONG_MAX = 1 << 20          /* one GNU long name record */
};

/*
 * tarr_reader(in, own, seek, limits, log, e): entries of the decompressed tar
 * in; closed with the reader when own.  seek(in, off, e), or NULL where bytes
 * can only be skipped by reading them, moves in to the absolute offset off;
 * CALA_INCOMPLETE when that lies behind its end.
 */
typedef int tarr_seek(struct source *, uint64_t, struct err *);
struct reader *tarr_reader(struct source *, bool, tarr_seek *,
    const struct archive_read *, struct log *, struct err *);

/* Where the entry that next() gave last lies in the decompressed stream. */
struct tarr_where {
	uint64_t head;          /* its first header block, pre-headers too */
	uint64_t data;
	uint64_t stored;        /* bytes at data, without padding */
	char flag;              /* the type flag, '0' for NUL */
};
void tarr_where(const struct reader *, struct tarr_where *);

/* tarr_facts(r, f): proof, cala, partial, counts; why is borrowed from r. */
void tarr_facts(struct reader *, struct archive_facts *);

/*
 * tarr_jump(r, off, e): the next entry is the one whose header begins at off;
 * only with seek.  From then on r neither counts nor looks for end marks, and
 * answers 0 where there is no entry.
 */
int tarr_jump(struct reader *, uint64_t, struct err *);

/*
 * tarr_header(block): is this a header, by its checksum?
 * tarr_zero(p, n): are these n bytes zero?
 */
bool tarr_header(const unsigned char [TAR_BLOCK]);
bool tarr_zero(const void *, size_t);

/*
 * cala's marks: the comment of a pax global header, or of a zip.
 * mark_parse(text, n, &m): 0 no mark; 1 "cala-pack 1"; 2 with counts,
 * "cala-pack 1 [end ]entries=N files=F size=S warnings=W"; -1 one of ours, but
 * malformed.
 * mark_tail(p, n, &m): does the tar whose last n bytes are at p end with an
 * end mark and at least two zero blocks?
 *
 * Behind the end mark may stand a directory that was said before: its header,
 * and at most MARK_AGAIN bytes of extended header.
 */
enum { MARK_AGAIN = 32 << 10 };
struct mark {
	uint64_t entries, files, size, warnings;
};
int  mark_parse(const char *, size_t, struct mark *);
bool mark_tail(const unsigned char *, size_t, struct mark *);

/*
 * What extended headers have said about the next entry.
 */
enum {
	PAX_PATH = 1, PAX_LINK = 2, PAX_SIZE = 4, PAX_MTIME = 8, PAX_UID = 16,
	PAX_GID = 32, PAX_UNAME = 64, PAX_GNAME = 128, PAX_MAJOR = 256,
	PAX_MINOR = 512, PAX_REAL = 1024, PAX_NAME = 2048, PAX_COMMENT = 4096
};

struct pax {
	unsigned have;
	struct buf *path, *link, *uname, *gname, *name, *comment;
	uint64_t size, real, major, minor;
	uint64_t uid, gid;
	struct timespec mtime;
	struct buf *bytes;              /* names and values of xattrs */
	struct pax_xattr { size_t name, value, len; } *x;
	size_t nx;
	int sparse;                     /* 0 none, 1 map here, 2 map in data */
	int major_v, minor_v;           /* GNU.sparse.major, .minor; -1 */
	uint64_t half;                  /* 0.0: an offset without its length */
	bool have_half;
	struct extent *ext;
	size_t next, cap;
	const char *soft;               /* trouble worth a warning, or NULL */
};

/*
 * pax_init, pax_fini.  pax_reset: nothing is known.
 * pax_parse(p, rec, n, global, e): the records of one extended header.  From a
 * global one only owner, time and comment are taken.  -1 with CALA_INTEGRITY
 * where the framing or a size is damaged.
 * pax_extent(p, off, len): one more stretch of data; -1 over the limit.
 * pax_num(s, n, &v): the n digits as a decimal number up to INT64_MAX.
 */
int  pax_init(struct pax *, struct err *);
void pax_fini(struct pax *);
void pax_reset(struct pax *);
int  pax_parse(struct pax *, const char *, size_t, bool, struct err *);
int  pax_extent(struct pax *, uint64_t, uint64_t);
int  pax_num(const char *, size_t, uint64_t *);

/*
 * tarr_acl(b, text, n): append the kernel's form of a textual ACL (SCHILY.acl;
 * entries apart by comma or newline, an optional numeric id in a fourth
 * field).  1 when it says no more than the mode does; -1 when it makes no
 * sense or names someone unknown here.
 */
int tarr_acl(struct buf *, const char *, size_t);

#endif
