#ifndef CALA_SNAP_SOURCE_H
#define CALA_SNAP_SOURCE_H

/*
 * source: a temporary read-only snapshot of a directory, so that a backup of
 * it, which may take hours, has one moment in it.
 *
 * Its name says whose it is, "cala-source-OWNER-ID": on Btrfs a subvolume
 * beside the directory (".cala-source-…"), or in it where it is a mount point;
 * on ZFS a snapshot of its dataset with the property cala:temp=OWNER.  Nothing
 * else is ever deleted.  One owner (a server) has one run at a time: the caller
 * holds its lock.
 */

#include <stdbool.h>
#include <stddef.h>

#include "snap/clone.h"

struct err;
struct log;

enum source_kind { SOURCE_ANY, SOURCE_BTRFS, SOURCE_ZFS };

struct source_snap {
	char *path;             /* where to read it, absolute; heap */
	/* the rest belongs to source.c */
	int dirfd;              /* btrfs: where it is */
	char *name;
	char *full;             /* zfs: DATASET@NAME */
	int seen;               /* zfs: keeps .zfs mounted */
	struct clone clone;
	int tmp;                /* the folder of clones */
};

enum { SOURCE_NAME = 80 };

#define SOURCE_INIT { NULL, -1, NULL, NULL, -1, CLONE_INIT, -1 }

/*
 * source_take(log, dir, owner, kind, whole, tmp, s, e): snapshot dir.  owner is
 * a UUID; tmp an absolute path of a folder for clones.  0; 1: dir is no
 * subvolume or dataset of (that) kind, or can't have a snapshot that is safe
 * from the server, or, with whole, has others mounted or nested in it that a
 * snapshot would not hold: err says which; -1.  Without
 * whole those are warnings.
 * source_drop(log, s): remove it, also after a signal; a failure is a warning.
 * source_sweep(log, dir, owner, tmp, &n, e): remove what killed runs left.
 */
int  source_take(struct log *, const char *, const char *, enum source_kind,
    bool, const char *, struct source_snap *, struct err *);
void source_drop(struct log *, struct source_snap *);
int  source_sweep(struct log *, const char *, const char *, const char *,
    size_t *, struct err *);

/*
 * The trees that rollbacks put aside: Btrfs subvolumes ".cala-was-OWNER-ID"
 * beside the directory.
 *
 * source_aside(owner, out, e): a new name for one.
 * source_discard(log, dir, owner, dry, &n, e): remove them all, or count them.
 */
int  source_aside(const char *, char [SOURCE_NAME], struct err *);
int  source_discard(struct log *, const char *, const char *, bool, size_t *,
    struct err *);

#endif
