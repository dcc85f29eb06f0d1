#ifndef CALA_DDUP_READ_H
#define CALA_DDUP_READ_H

/*
 * read: a backup as a reader and as a tree (entry.h).
 *
 * Every byte that comes out was compared with the hash of its chunk.  The order
 * is the archive's: our own are sorted (READER_ORDERED); those of ddup-bak are
 * depth first, and may hold a name twice.
 */

#include <stdbool.h>
#include <stddef.h>

struct ddup;
struct err;
struct reader;
struct tree;

struct ddup_read {
	unsigned jobs;          /* threads that decode; 0: one a core */
	/*
	 * Of a damaged backup, what is left: entries up to where they can't be
	 * told any more, zeros for lost chunks; all of it with warnings.
	 */
	bool damaged;
};

/*
 * ddup_reader(r, name, paths, n, how, e): the entries of the backup name that
 * lie at or below one of n paths (n 0: all).  Of several names of one file, the
 * first that is selected is the file.
 * ddup_tree(r, name, how, e): the same backup, to be entered anywhere.
 * Both need r until they are closed.
 */
struct reader *ddup_reader(struct ddup *, const char *, const char *const *,
    size_t, const struct ddup_read *, struct err *);
struct tree *ddup_tree(struct ddup *, const char *, const struct ddup_read *,
    struct err *);

#endif
