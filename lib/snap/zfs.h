#ifndef CALA_SNAP_ZFS_H
#define CALA_SNAP_ZFS_H

/*
 * zfs: ZFS by its program, zfs(8), which is the one stable interface that
 * OpenZFS and zfs-fuse share.
 *
 * It is run without a shell, in the C locale, in a process group of its own so
 * that a key pressed at a terminal does not end it half way.  Only what both
 * know is used.  Names are checked before they become arguments: a dataset
 * never begins with "-", and a snapshot is always one, never a range.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/proc.h"
#include "base/uuid.h"

struct buf;
struct err;
struct log;

/* The name before a backup's UUID (Calagopus layout: zfs). */
#define ZFS_BACKUP "backup-"

enum { ZFS_NAME = 256 };        /* longest name with NUL (zfs(8)) */

/*
 * zfs_dataset_ok(name): may it be a dataset's name?
 * zfs_snapshot_ok(name): may it be what follows the "@"?
 */
bool zfs_dataset_ok(const char *);
bool zfs_snapshot_ok(const char *);

/*
 * zfs_do(log, argv, must, e): run an action; argv begins with "zfs".  Its last
 * line on standard error is the message; the code is CALA_NOTFOUND ("does not
 * exist"), CALA_EXISTS, CALA_LOCKED ("busy"), CALA_AUTH, CALA_NOSPACE, or
 * CALA_FAIL.  must: it is cleanup, done also after a signal asked to stop.
 */
int zfs_do(struct log *, const char *const *, bool, struct err *);

/*
 * zfs_ask(log, argv, line, ctx, e): run a query; line gets each line of its
 * output (proc.h).
 */
int zfs_ask(struct log *, const char *const *,
    int (*)(void *, const char *, size_t, struct err *), void *,
    struct err *);

/*
 * zfs_get(log, target, property, value, e): one property into value (emptied
 * first).  1: not set by anybody, or only inherited (of user properties).
 */
int zfs_get(struct log *, const char *, const char *, struct buf *,
    struct err *);

/*
 * zfs_destroy(log, name, must, e): one snapshot, or one clone (nothing that
 * depends on it); busy ones are tried again for some seconds.  0 also when it
 * is not there.
 */
int zfs_destroy(struct log *, const char *, bool, struct err *);

/* One snapshot that is called like a backup. */
struct zfs_seen {
	char uuid[UUID_TEXT];
	char *dataset;
};

/*
 * zfs_backups(log, &v, &n, e): all of them, sorted by uuid, then dataset.
 * zfs_seen_free(v, n).
 */
int  zfs_backups(struct log *, struct zfs_seen **, size_t *, struct err *);
void zfs_seen_free(struct zfs_seen *, size_t);

/*
 * zfs_of(fd, e): the dataset whose mount point the open directory is, on the
 * heap.  NULL: CALA_USAGE when it is none (the message says what it is).
 * zfs_mountpoint(dataset, e): where it is mounted, on the heap; NULL with
 * CALA_NOTFOUND when it is not.
 */
char *zfs_of(struct log *, int, struct err *);
char *zfs_mountpoint(const char *, struct err *);

/*
 * zfs_look(dataset, snapshot): the snapshot's root by way of .zfs, or -1 where
 * it can't be seen that way (not mounted, zfs-fuse, another mount namespace).
 */
int zfs_look(const char *, const char *);

#endif
