#ifndef CALA_ARCHIVE_PAX_H
#define CALA_ARCHIVE_PAX_H

/* pax: the records of pax extended headers, appended to a buffer. */

#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct buf;
struct entry;
struct log;

/*
 * pax_add(b, key, value, n): one record "LENGTH key=value\n"; the value may
 * hold any bytes.  Failures stick in the buffer.
 * pax_u64(b, key, n), pax_time(b, key, t): decimal values; times with up to
 * nine digits behind the point.
 */
void pax_add(struct buf *, const char *, const void *, size_t);
void pax_u64(struct buf *, const char *, uint64_t);
void pax_time(struct buf *, const char *, struct timespec);

/*
 * pax_xattrs(b, entry, log): SCHILY.xattr.* and, for POSIX ACLs,
 * SCHILY.acl.access and SCHILY.acl.default as text with numeric ids.  Names
 * are escaped as GNU tar does ('%' and '=').  Attributes that would make the
 * header larger than readers accept (1 MiB) are left out with a warning.
 */
void pax_xattrs(struct buf *, const struct entry *, struct log *);

#endif
