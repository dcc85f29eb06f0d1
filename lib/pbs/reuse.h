#ifndef CALA_PBS_REUSE_H
#define CALA_PBS_REUSE_H

/*
 * reuse: which files need not be read, because the previous snapshot's payload
 * archive has their contents (pxar.md §14.3).
 *
 * Whole chunks are used again, with all that is in them.  Neighbours whose
 * contents touch are one run; a run that would bring more than a tenth of bytes
 * that nobody refers to is not used.  So the tree is looked at once before it is
 * read: plan, then find.
 *
 * A file is unchanged when the previous archive has it by the same path, size
 * and time, and its inode has not been changed since that snapshot began.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct entry;
struct err;
struct log;
struct pbs_index;
struct pbs_reuse;
struct ranged;
struct reader;

/* All is borrowed. */
struct pbs_reuse_how {
	struct ranged *meta;            /* the previous metadata archive */
	const struct pbs_index *payload;        /* of the payload archive */
	int64_t since;                  /* when that snapshot was begun */
	bool ignore_inode;              /* of files: times and size suffice */
	struct log *log;
};

struct pbs_reuse *pbs_reuse_new(const struct pbs_reuse_how *, struct err *);
void pbs_reuse_free(struct pbs_reuse *);        /* NULL is fine */

/*
 * pbs_reuse_plan(r, walk, e): all entries of walk, in order; their contents are
 * not touched.
 * pbs_reuse_old(r, entry): is it worth asking later?  Any thread.
 */
int  pbs_reuse_plan(struct pbs_reuse *, struct reader *, struct err *);
bool pbs_reuse_old(const struct pbs_reuse *, const struct entry *);

/*
 * A run: n chunks from chunk first on, size bytes that begin at start of the old
 * payload archive.
 */
struct pbs_run {
	uint64_t from, to;              /* what is used, in the old archive */
	uint64_t start, size;
	size_t first, n;
};

/*
 * pbs_reuse_find(r, entry, &run, &pos): for each file, in order: the run that
 * has its content (lent), and where its header is in the old archive; NULL: it
 * is to be read.
 */
const struct pbs_run *pbs_reuse_find(struct pbs_reuse *, const struct entry *,
    uint64_t *);

/* What was planned. */
struct pbs_reuse_sum {
	uint64_t files, bytes;          /* that are not read */
	size_t runs;
};
void pbs_reuse_sum(const struct pbs_reuse *, struct pbs_reuse_sum *);

#endif
