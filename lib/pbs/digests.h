#ifndef CALA_PBS_DIGESTS_H
#define CALA_PBS_DIGESTS_H

/*
 * digests: which chunks a server has, or is getting from whom.
 *
 * About 80 bytes for each: of an archive of 1 TiB, 20 MiB.
 */

#include "pbs/crypt.h"

struct digests;
struct err;

struct digests *digests_new(struct err *);
void digests_free(struct digests *);            /* NULL is fine */

/*
 * digests_claim(d, digest, owner, &other, e): 0: it was not there, and is now,
 * owner (may be NULL) sends it.  1: it is there; *other is who sends it, NULL
 * when that is done.  -1 without memory.
 * digests_done(d, digest): its owner is done.
 */
int  digests_claim(struct digests *, const unsigned char [PBS_DIGEST], void *,
    void **, struct err *);
void digests_done(struct digests *, const unsigned char [PBS_DIGEST]);

#endif
