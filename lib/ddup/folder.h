#ifndef CALA_DDUP_FOLDER_H
#define CALA_DDUP_FOLDER_H

/* folder: where a chunk's file goes.  For this room only; thread-safe. */

#include <stdbool.h>

#include "ddup/int.h"

enum { LEAF = 2 + 1 + 2 + 1 };  /* of a chunk's path: where its name begins */

/*
 * chunk_create(r, hash): the chunk's own file, new, to be written: a descriptor;
 * -1 with errno, EEXIST when there is one.
 * folder_known(r, hash): may the folder of a chunk be there?  Not, only when it
 * was not there a while ago.
 * folder_open(r, hash): it; -1 with errno.  The caller closes it.
 * folder_create(r, hash, name, &dir): make the new file name in it, and the
 * folder where it is missing, or goes meanwhile because another run deletes: a
 * descriptor, and one of the folder, both the caller's; -1 with errno.
 */
int  chunk_create(struct ddup *, const unsigned char *);
bool folder_known(const struct ddup *, const unsigned char *);
int  folder_open(const struct ddup *, const unsigned char *);
int  folder_create(const struct ddup *, const unsigned char *, const char *,
    int *);

#endif
