#ifndef CALA_PXAR_LINKS_H
#define CALA_PXAR_LINKS_H

/*
 * plinks: where the files are that other names may link to, by path.
 *
 * Of a path only 128 bits of a hash are kept, whose key nobody outside knows.
 */

#include "pxar/pxar.h"

/* Of files only pos; others (which have no HARDLINK) are kept themselves. */
struct plink {
	uint64_t hash[2];
	uint64_t pos;           /* of its FILENAME */
	char *target;
	uint32_t major, minor;
	enum entry_type type;
};

struct plinks;

/*
 * plinks_add(l, entry, type, pos, e): an entry of that type at pos; a path that
 * is there already is replaced.
 * plinks_find: NULL when path never came.
 */
struct plinks *plinks_new(struct err *);
void plinks_free(struct plinks *);        /* NULL is fine */
int  plinks_add(struct plinks *, const struct entry *, enum entry_type, uint64_t,
    struct err *);
const struct plink *plinks_find(const struct plinks *, const char *);

#endif
