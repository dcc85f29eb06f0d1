#ifndef CALA_DDUP_COUNT_H
#define CALA_DDUP_COUNT_H

/* count: how often the archives refer to each chunk of the index. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct archive;
struct ddup;
struct err;

struct count {
	struct ddup *r;
	uint32_t *refs;                 /* by reference */
	size_t room;
	uint64_t archives, unreadable;  /* looked at; not to be read */
	uint64_t unknown;               /* uses of chunks not in the index */
	uint64_t unmapped;              /* of them: nothing tells their hash */
	uint64_t added;                 /* chunks that only a map knew */
	uint64_t top;                   /* highest id in any archive */
	bool mend;                      /* add those to the index, where they
					 * have a file */
	bool quiet;                     /* notes, no warnings */
	bool again;                     /* what was said is not said twice */
};

/*
 * count_init(c, r, mend), count_fini.
 * count_one(c, a, e): the archive a; -1 when it can't be read.
 * count_all(c, e): every archive; those that can't be read are warned about
 *   and counted.  When it has mended something it counts a second time: what
 *   one archive told may be what an id of another means.
 * count_apply(c): the counts into the index: exact when there is no doubt (see
 *   below), else only where they rise.  An id that an archive refers to and no
 *   index knows (its writer was killed) is never given to another chunk.
 *   Returns how many numbers changed.
 * count_doubt(c): is there a backup that can't be read, or that has ids which
 *   nothing explains?  Then a chunk without references may be one of its.
 */
void count_init(struct count *, struct ddup *, bool);
void count_fini(struct count *);
int  count_one(struct count *, struct archive *, struct err *);
int  count_all(struct count *, struct err *);
uint64_t count_apply(struct count *);
bool count_doubt(const struct count *);

/*
 * care_recount(r, c, &changed, e): count_all and count_apply; when there is no
 * doubt, the index is ours again.  c mends: another program that wrote
 * its old copy over the index has forgotten chunks that backups use.
 * care_bury(r, &n, e): take all chunks without references out of the index, save
 * it, and then remove their files, n of them.
 */
int care_recount(struct ddup *, struct count *, uint64_t *, struct err *);
int care_bury(struct ddup *, uint64_t *, struct err *);

#endif
