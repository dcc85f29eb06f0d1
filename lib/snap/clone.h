#ifndef CALA_SNAP_CLONE_H
#define CALA_SNAP_CLONE_H

/*
 * clone: a ZFS snapshot made readable by a temporary clone of it, where its
 * .zfs directory can't be had.
 *
 * In the folder given, .cala-read-ID/ has the file lock, which holds the
 * clone's name and is locked (flock) while its owner lives, and tree, where the
 * clone is mounted.  The clone is a dataset cala-read-ID beside the snapshot's
 * own, read-only, with the user property cala:temp=ID: nothing without it is
 * ever destroyed.
 */

#include <stdbool.h>
#include <stddef.h>

struct err;
struct log;

struct clone {
	int fd;                 /* its root; -1: not open */
	int lock;
	char *dataset, *name;   /* heap */
};

#define CLONE_INIT { -1, -1, NULL, NULL }

/*
 * clone_open(log, path, dirfd, dataset, snapshot, c, e): path is that of the
 * folder dirfd, absolute.  clone_close(log, dirfd, c): always safe, also after
 * a signal; what it can't remove is a warning.  Close everything opened below
 * c->fd before.
 * clone_sweep(log, dirfd, dry, &n, e): remove the clones of dead owners.
 */
int  clone_open(struct log *, const char *, int, const char *, const char *,
    struct clone *, struct err *);
void clone_close(struct log *, int, struct clone *);
int  clone_sweep(struct log *, int, bool, size_t *, struct err *);

#endif
