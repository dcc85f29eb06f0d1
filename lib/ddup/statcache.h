#ifndef CALA_DDUP_STATCACHE_H
#define CALA_DDUP_STATCACHE_H

/*
 * statcache: what a server's last backup saw of its files (size, times, inode)
 * and which chunks they became, so that the next one need not read them.  For
 * this room only.
 *
 * archives/.SERVER.cala-stat, little-endian:
 *
 *	"CALASTAT" u32 version (2)  u32 0  u64 seed  server, 40 bytes, NUL-padded
 *	a record for each file, 56 bytes:
 *		u64 key (XXH3 of the path with the seed)  u64 size
 *		i64 mtime  u32 nanoseconds  i64 ctime  u32 nanoseconds
 *		u64 inode  u32 flags  u32 n
 *		n times: hash, 32 bytes  u32 bytes
 *	ddup_since(), 16 bytes  u64 records  u64 bytes before this field
 *	XXH3-128 of all before, 16 bytes
 *
 * It is never trusted: a file that is not exactly this is ignored, and so is
 * every chunk that the repository does not have any more.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "ddup/ddup.h"

struct entry;
struct err;
struct log;
struct stat_old;
struct stat_new;

enum { STAT_PLAIN = 1 };        /* no extended attributes, no holes */

struct stat_chunk {
	unsigned char hash[DDUP_HASH];
	uint32_t len;
};

/* The chunks of one file; the caller keeps it for many, and frees v. */
struct stat_hit {
	struct stat_chunk *v;
	size_t n, room;
	uint32_t flags;
};

/*
 * stat_old_open(dirfd, server, log): NULL when there is none that is whole (at
 * -v: why).
 * stat_old_since(o): ddup_since() of then.
 * stat_old_find(o, en, ignore_inode, hit): is en what it was?  Thread-safe,
 * each thread with a hit of its own.
 * stat_old_plain(o, en, ignore_inode): is it, and was it STAT_PLAIN?
 */
struct stat_old *stat_old_open(int, const char *, struct log *);
const unsigned char *stat_old_since(const struct stat_old *);
bool stat_old_find(struct stat_old *, const struct entry *, bool,
    struct stat_hit *);
bool stat_old_plain(struct stat_old *, const struct entry *, bool);
void stat_old_free(struct stat_old *);  /* NULL is fine */

/*
 * stat_new_open(dirfd, server, now, log): begin a new one, of what was seen
 * from now on; NULL when that can't be (a note in the log: the backup does not
 * depend on it).
 * stat_new_add(s, en, chunks, n): a file.  One that could be written to again
 * without a change of its times, because they are as good as now, is left out.
 * stat_new_commit(s, since): in place of the old one.  stat_new_free: NULL is fine.
 */
struct stat_new *stat_new_open(int, const char *, struct timespec,
    struct log *);
void stat_new_add(struct stat_new *, const struct entry *,
    const struct stat_chunk *, size_t);
void stat_new_commit(struct stat_new *, const unsigned char [DDUP_SINCE]);
void stat_new_free(struct stat_new *);

#endif
