#ifndef CALA_SNAP_MOUNTS_H
#define CALA_SNAP_MOUNTS_H

/*
 * mounts: what is mounted where, as this process sees it
 * (/proc/self/mountinfo, proc(5)).
 */

#include <stdbool.h>

struct err;

/* One line; strings are lent during the call. */
struct mount_at {
	const char *root;       /* of the file system that is seen: "/" all */
	const char *path;       /* where */
	const char *type;       /* "zfs", "fuse.zfs", "btrfs" ... */
	const char *source;     /* zfs: the dataset */
};

/*
 * mounts_each(fn, arg, e): every mount, in the order they were made (the last
 * one of a path is seen).  Stops when fn returns not 0 and returns that.
 * mount_zfs(m): is it a ZFS dataset, by the kernel's or by fuse's means?
 * mount_below(m, dir): is it mounted somewhere below the directory dir?
 */
int  mounts_each(int (*)(void *, const struct mount_at *, struct err *),
    void *, struct err *);
bool mount_zfs(const struct mount_at *);
bool mount_below(const struct mount_at *, const char *);

/*
 * mounts_path(fd, e): the absolute path of an open directory, on the heap; NULL
 * with err, also where it has none any more.
 */
char *mounts_path(int, struct err *);

#endif
