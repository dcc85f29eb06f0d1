#ifndef CALA_DDUP_ARCHIVE_H
#define CALA_DDUP_ARCHIVE_H

/*
 * archive: a backup's file NAME.ddup as it is read:
 *
 *	"DDUPBAK" 1; bodies of files (varint ids of their chunks); perhaps our
 *	block (ext.h); at E a deflate stream of the entries, depth first; u64
 *	number of entries at the top; u64 E
 *
 * Memory does not depend on the number of entries; only on that of the chunks
 * that our block maps (48 bytes each), and on hard links.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "ddup/int.h"
#include "entry/entry.h"

struct dstream;
struct archive;
struct acursor;

enum {
	ARCHIVE_HEAD = 8, ARCHIVE_TRAIL = 16, ARCHIVE_LEAST = 26,
	ARCHIVE_CHILDREN = 10000000, ARCHIVE_ENTRIES = 50000000,
	ARCHIVE_DEPTH = 256, ARCHIVE_NAME = 255, ARCHIVE_TARGET = 4096
};

/* A chunk that our block names. */
struct amap {
	uint64_t id;
	uint32_t len;
	unsigned char hash[DDUP_HASH];
};

struct archive {
	struct ddup *r;                 /* lent; NULL: an archive alone */
	int fd;
	char name[DDUP_FILE];           /* of the file, for messages */
	uint64_t size, at, top;         /* whole; E; entries at the top */
	bool ext, sorted;
	uint64_t extras, extras_len;    /* of our block */
	uint64_t entries;               /* as it says */
	struct amap *map;               /* by id */
	size_t nmap;
	uint64_t *links;                /* numbers that are linked to, sorted */
	size_t nlinks;
};

/*
 * archive_open(a, r, name, e): the backup name.  archive_open_at: the file
 * `file` of the folder dirfd.  archive_close.
 * Without our block, or where that is damaged, ids are looked up in r's index,
 * which is loaded if it has to be.
 */
int  archive_open(struct archive *, struct ddup *, const char *,
    struct err *);
int  archive_open_at(struct archive *, struct ddup *, int, const char *,
    struct err *);
void archive_close(struct archive *);

/*
 * archive_sum(a, out, e): Wings' ddup-sha1 of the file, LENGTH-HEX, with NUL into
 * out[64].  Nothing else covers the entries: a flipped bit of them may well read
 * as another name, mode or time.
 */
int archive_sum(const struct archive *, char [64], struct err *);

/*
 * archive_foreign(r, name, &st): has the backup name an archive's beginning and
 * end, and nothing that says that it is ours?  st: of its file, when it has.
 */
struct stat;
bool archive_foreign(const struct ddup *, const char *, struct stat *);

/*
 * archive_chunk(a, id, hash, &len): what id stands for; len 0: unknown.  false
 * when nothing says.
 */
bool archive_chunk(const struct archive *, uint64_t, unsigned char *,
    uint32_t *);

/* Where a file's ids are. */
struct abody {
	uint64_t off, stored, size;     /* size: plain bytes of the list */
	enum ddup_code code;
	uint64_t real;                  /* bytes of the file */
};

/* An entry; everything is lent until the next acursor_next. */
struct aent {
	struct entry en;                /* no target for a hard link */
	uint64_t number;                /* UINT64_MAX: not one of the format's */
	uint64_t link;                  /* the file it is a name of, or itself */
	bool linked;                    /* has other names, or is one */
	struct abody body;
};

/*
 * acursor_new(a, e): before the first entry.  acursor_next: 1 with the next;
 * 0 at the end, which was checked; -1.  The root comes first where it is
 * known.
 */
struct acursor *acursor_new(struct archive *, struct err *);
int acursor_next(struct acursor *, struct aent *, struct err *);
void acursor_free(struct acursor *);    /* NULL is fine */

#endif
