#ifndef CALA_PXAR_DECODE_H
#define CALA_PXAR_DECODE_H

/*
 * decode: one directory entry at a time, checked against all rules of the
 * format that do not need the rest of the archive.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "entry/entry.h"
#include "pxar/acl.h"
#include "pxar/in.h"

struct log;

struct found {
	/* without path; lent until the next decode or found_fini */
	struct entry en;
	uint64_t back;          /* hard link: distance of the FILENAMEs */
	uint64_t body;          /* file: position of its bytes, or (split) of
				 * its PAYLOAD in the payload stream */
	/* the rest belongs to decode.c */
	struct buf bytes, target;
	struct xattr x[ENTRY_XATTR_MAX + 3];
	size_t at[ENTRY_XATTR_MAX + 3][2];      /* name, value: in bytes */
	struct acl access, def;
	unsigned seen;
};

void found_init(struct found *);
void found_fini(struct found *);

/*
 * decode_head(in, &type, &size, e): the header of the next item, not taken;
 * size is that of its content.  1; 0: the end; -1.
 * decode_version(in, &split, e): what a whole archive begins with, up to the
 * root's ENTRY.
 * decode_name(in, &name, e): a FILENAME item; name is emptied first.
 * decode_entry(in, split, f, path, log, e): ENTRY, its attributes and what
 * follows by its type, or HARDLINK; path is for messages.  in is left at the
 * file's bytes, or the next item.
 * decode_goodbye(in, e): past a GOODBYE item.
 */
int decode_head(struct in *, uint64_t *, uint64_t *, struct err *);
int decode_version(struct in *, bool *, struct err *);
int decode_name(struct in *, struct buf *, struct err *);
int decode_entry(struct in *, bool, struct found *, const char *, struct log *,
    struct err *);
int decode_goodbye(struct in *, struct err *);

/*
 * decode_payload(in, pos, size, e): in the payload stream, go to the PAYLOAD at
 * pos, which must be one of size bytes, and past its header.
 */
int decode_payload(struct in *, uint64_t, uint64_t, struct err *);

/* decode_bad(e, in, what): CALA_INTEGRITY with the position.  Returns -1. */
int decode_bad(struct err *, const struct in *, const char *);

#endif
