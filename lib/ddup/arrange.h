#ifndef CALA_DDUP_ARRANGE_H
#define CALA_DDUP_ARRANGE_H

/*
 * arrange: entries of a stream in the order of a backup.  For this room only.
 *
 * An archive may hold siblings in any order, a file before its directory or
 * without one, the same name twice.  Contents are chunks already when an entry
 * comes here, so only what describes it is kept, in an unlinked file; at the end
 * it is given on depth first, siblings sorted by the bytes of their names, each
 * directory there before what it holds, and of a name given twice the last one.
 * Memory: 8 bytes an entry; the file is mapped only where sorting is needed.
 */

#include <stddef.h>
#include <stdint.h>

struct arrange;
struct entry;
struct err;
struct log;

/* arrange_new(dirfd, log, e): the file is in the folder dirfd. */
struct arrange *arrange_new(int, struct log *, struct err *);
void arrange_free(struct arrange *);    /* NULL is fine */

/* arrange_put(a, en, refs, n, e): all is copied. */
int arrange_put(struct arrange *, const struct entry *, const uint32_t *,
    size_t, struct err *);

/*
 * arrange_all(a, how, e): give all of them on, once.  put gets an entry and its
 * refs; leave ends the directory put last and not yet left.  An error of theirs
 * is the answer.
 */
struct arrange_to {
	int (*put)(void *, const struct entry *, const uint32_t *, size_t,
	    struct err *);
	int (*leave)(void *, struct err *);
	void *arg;
};
int arrange_all(struct arrange *, const struct arrange_to *, struct err *);

#endif
