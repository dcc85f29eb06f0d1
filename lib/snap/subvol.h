#ifndef CALA_SNAP_SUBVOL_H
#define CALA_SNAP_SUBVOL_H

/*
 * subvol: Btrfs subvolumes and snapshots, by the kernel's own calls
 * (linux/btrfs.h, Linux 4.18 and later).
 *
 * No program is run and no path is looked up twice: a snapshot is made of an
 * open directory in an open directory, so nobody can put a symbolic link in
 * between.  Sending needs no program either; receiving does (btrfs receive).
 */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/uuid.h"

struct err;

struct subvol {
	uint64_t id, generation;
	uint64_t changed;               /* transaction of the last change in it */
	char uuid[UUID_TEXT];
	char parent[UUID_TEXT];         /* of what it is a snapshot; "" */
	char received[UUID_TEXT];       /* of what was sent; "" */
	struct timespec created;
	bool readonly;
};

/*
 * subvol_root(fd): is the open directory the root of a subvolume?  1; 0: a
 * directory of Btrfs that is none; -1: not on Btrfs.
 * subvol_info(fd, s, e): of the subvolume whose root (or anything in it) fd is.
 * subvol_same_fs(a, b): are both on one Btrfs file system?
 */
int  subvol_root(int);
int  subvol_info(int, struct subvol *, struct err *);
bool subvol_same_fs(int, int);

/*
 * subvol_snapshot(src, dirfd, name, readonly, e): make the snapshot name in
 * dirfd; it is on the disk when this returns 0.  CALA_EXISTS; CALA_USAGE when
 * dirfd is on another file system.
 * subvol_delete(dirfd, name, e): delete the subvolume name and its own quota
 * group.  CALA_FAIL while subvolumes are nested in it.
 * subvol_create(dirfd, name, e): an empty one.
 * subvol_set_readonly(fd, on, e).
 */
int subvol_snapshot(int, int, const char *, bool, struct err *);
int subvol_delete(int, const char *, struct err *);
int subvol_create(int, const char *, struct err *);
int subvol_set_readonly(int, bool, struct err *);

/*
 * subvol_nested(fd, fn, arg, e): the path of each subvolume directly inside
 * the one whose root fd is, below that root.  Snapshots don't reach into them.
 * Stops when fn returns not 0 and returns that.
 */
int subvol_nested(int, int (*)(void *, const char *, struct err *), void *,
    struct err *);

/*
 * subvol_send(fd, parent, out, e): the read-only subvolume fd as a stream into
 * the pipe or file out, complete, or as what changed since the subvolume of id
 * parent (0: complete).  Blocks until all is written; EPIPE gives CALA_SIGNAL +
 * SIGPIPE.
 */
int subvol_send(int, uint64_t, int, struct err *);

/*
 * subvol_guard(dirfd, on): set or clear the immutable attribute of a directory:
 * what lies in it can't be deleted, not even by root, until it is cleared.  0,
 * or -1 with errno.  subvol_guarded(dirfd): is it set?
 */
int  subvol_guard(int, bool);
bool subvol_guarded(int);

#endif
