#ifndef CALA_DRIVER_BESIDE_H
#define CALA_DRIVER_BESIDE_H

/* beside: a backup's record as a file U.json beside the backup itself. */

#include <stdbool.h>

#include "driver/driver.h"

enum { BESIDE_NAME = UUID_TEXT + 8 };

/*
 * beside_get(dirfd, uuid, rec, e): 1 with rec initialised; 0: there is none;
 * -1: it can't be read, or is another backup's.
 * beside_tell(call, dirfd, uuid, rec): 1 as beside_get; 0: there is none, or none
 *   that can be read, which is a warning, unless it is plainly another server's
 *   than call->server.
 * beside_save(dirfd, rec, e): write it, whole or not at all.
 * beside_add(dirfd, rec, e): the same, but durable only when dirfd is synced.
 * beside_drop(dirfd, uuid, e): remove it; 0 also when there was none.
 */
int beside_get(int, const char *, struct record *, struct err *);
int beside_tell(struct driver_call *, int, const char *, struct record *);
int beside_save(int, const struct record *, struct err *);
int beside_add(int, const struct record *, struct err *);
int beside_drop(int, const char *, struct err *);

/*
 * beside_sync(call, dirfd, rec, e): the verb set: write rec unless the stored
 * one is no longer call->was (CALA_LOCKED) or can't be read.
 * beside_free(call, dirfd, uuid, e): may the backup be removed?  0, or -1:
 * CALA_PROTECTED when its record says that it is locked; when the record can't
 * be read, nobody knows.
 */
int beside_sync(struct driver_call *, int, const struct record *,
    struct err *);
int beside_free(int, const char *, struct err *);

/*
 * beside_orphans(call, dirfd, there, arg, &n, e): remove (dry run: name) the
 * records of ours that have had no backup for a day; there(arg, uuid) says
 * whether there is one.
 */
int beside_orphans(struct driver_call *, int,
    bool (*)(void *, const char *), void *, size_t *, struct err *);

#endif
