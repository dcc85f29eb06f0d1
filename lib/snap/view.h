#ifndef CALA_SNAP_VIEW_H
#define CALA_SNAP_VIEW_H

/*
 * view: a directory that never changes, a snapshot, as a tree and as a reader,
 * without what ignore rules leave out.
 *
 * What can't be read of a stored backup is damage, not a warning: a reader of a
 * view gives all that can be had and then fails with CALA_INTEGRITY.
 */

#include <stdbool.h>
#include <stdint.h>

#include "entry/entry.h"

struct err;
struct log;
struct match;

struct view_how {
	const struct match *match;      /* NULL: all */
	uint64_t limit_read;
	unsigned jobs;
	bool bare;                      /* count only */
};

/*
 * view_open(dirfd, how, log, e): both are borrowed while the tree lives.
 * view_reader(dirfd, paths, n, how, log, e): paths and all below them (none:
 * the whole).  paths are borrowed; CALA_NOTFOUND comes from next().
 */
struct tree *view_open(int, const struct view_how *, struct log *,
    struct err *);
struct reader *view_reader(int, const char *const *, size_t,
    const struct view_how *, struct log *, struct err *);

/*
 * view_count(dirfd, how, log, &c, e): how many files and bytes a backup of it
 * would have, and how many entries the rules leave out.
 */
struct view_counted {
	uint64_t files, bytes, entries, excluded;
};
int view_count(int, const struct view_how *, struct log *,
    struct view_counted *, struct err *);

#endif
