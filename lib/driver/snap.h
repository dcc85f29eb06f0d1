#ifndef CALA_DRIVER_SNAP_H
#define CALA_DRIVER_SNAP_H

/*
 * snap: backups as Btrfs or ZFS snapshots, where Wings keeps them (Calagopus
 * layout: btrfs, zfs).  In the folder F, B/btrfs or B/zfs:
 *
 *	U/subvolume     the snapshot (btrfs)
 *	U/dataset       its dataset's name (zfs): the snapshot is DATASET@backup-U
 *	U/ignored       rules, a line each: the snapshot holds what they match, too
 *	U/cala.json     the record; Wings' own backups have none
 *	.cala.lock      held while a backup comes or goes
 *
 * The snapshot is the commit: what stands in U before is invisible without it,
 * and a snapshot is whole from its first moment.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/driver.h"
#include "driver/record.h"
#include "snap/clone.h"

struct match;
struct zfs_seen;

enum {
	SNAP_IGNORED = 8 << 20,         /* bytes of rules */
	SNAP_WAIT = 30                  /* seconds for the lock */
};

/* One call at work. */
struct snap {
	struct driver_call *call;
	const struct snap_kind *kind;
	char *path;                     /* of F */
	int dirfd;                      /* F; -1: there is none yet */
	int lock;                       /* -1: not held */
	/* zfs: its snapshots, once asked for */
	struct zfs_seen *seen;
	size_t nseen;
	bool asked;
};

/* The directory to be backed up, as the disk knows it. */
struct snap_volume {
	int fd;                         /* -1: not open */
	char *dataset;                  /* zfs; heap */
};

/* A snapshot's contents, open for reading. */
struct snap_root {
	int fd;                         /* -1: not open */
	struct clone clone;             /* zfs: where it was needed */
};

/*
 * What Btrfs and ZFS do each in their way.
 *
 * volume:  open what is to be backed up; CALA_USAGE where it is no subvolume or
 *          dataset of its own, and how it becomes one.
 * nested:  warn about what lies inside it and a snapshot does not hold.
 * each:    fn for every stored backup.
 * stored:  1: U is one; 0; -1.
 * facts:   what the store knows of a backup without record.
 * memory:  the record's copy beside the snapshot itself, into b; 1: none.
 * before:  U/ is made and has its files: add the disk's own.
 * create:  the snapshot; record is what memory will give.
 * sum:     the checksum that identifies the snapshot, into rec.
 * intact:  is it still that snapshot, unchanged?  CALA_INTEGRITY.
 * remember: the record was changed.
 * hold:    protect it from deletion by anybody, or no longer.
 * removable: is it provably a backup, and does nobody else hold it?
 * destroy: remove the snapshot.
 * open, close: its contents.
 * check:   steps of check.
 * sweep:   what killed runs left; counts them.
 */
struct snap_kind {
	const char *disk, *sum_type;
	int (*volume)(struct snap *, struct snap_volume *, struct err *);
	int (*nested)(struct snap *, struct snap_volume *, struct err *);
	int (*each)(struct snap *, int (*)(void *, const char *, struct err *),
	    void *, struct err *);
	int (*stored)(struct snap *, const char *, struct err *);
	int (*facts)(struct snap *, const char *, struct record *,
	    struct err *);
	int (*memory)(struct snap *, const char *, struct buf *,
	    struct err *);
	int (*before)(struct snap *, struct snap_volume *, int, struct err *);
	int (*create)(struct snap *, struct snap_volume *, int,
	    const struct record *, struct err *);
	int (*sum)(struct snap *, const char *, struct record *,
	    struct err *);
	int (*intact)(struct snap *, const char *, const struct record *,
	    struct err *);
	int (*remember)(struct snap *, const struct record *, struct err *);
	int (*hold)(struct snap *, const char *, bool, struct err *);
	int (*removable)(struct snap *, const char *, struct err *);
	int (*destroy)(struct snap *, const char *, struct err *);
	int (*open)(struct snap *, const char *, struct snap_root *,
	    struct err *);
	void (*close)(struct snap *, struct snap_root *);
	int (*check)(struct snap *, struct err *);
	int (*sweep)(struct snap *, size_t *, struct err *);
};

extern const struct snap_kind snap_btrfs, snap_zfs;

/*
 * snap_begin(call, create, s, e): F, made where it is missing and create.
 * snap_lock(s, e): the folder's lock, until snap_unlock or snap_end.
 * snap_end(s): always safe.
 */
int  snap_begin(struct driver_call *, bool, struct snap *, struct err *);
int  snap_lock(struct snap *, struct err *);
void snap_unlock(struct snap *);
void snap_end(struct snap *);

/*
 * snap_folder(s, uuid, e): U/ as a descriptor, never through a link; -1 with
 * CALA_NOTFOUND.
 * snap_recorded(s, uuid, rec, e): 1 with its record (initialised), 0: it has
 * none, -1: it can't be read.
 * snap_record(s, uuid, rec, e): the record, or what the store tells (foreign).
 * snap_save(s, rec, e): write U/cala.json, whole or not at all.
 * snap_rules(s, uuid, rec, &m, e): its ignore rules; NULL when it has none.
 * snap_clear(s, uuid, e): remove our files in U/, and U/ when nothing is left.
 */
int snap_folder(struct snap *, const char *, struct err *);
int snap_recorded(struct snap *, const char *, struct record *, struct err *);
int snap_record(struct snap *, const char *, struct record *, struct err *);
int snap_save(struct snap *, const struct record *, struct err *);
int snap_rules(struct snap *, const char *, const struct record *,
    struct match **, struct err *);
int snap_clear(struct snap *, const char *, struct err *);

/* The verbs: snap_put.c, snap_read.c, snap_care.c, snap_move.c. */
int snap_put(struct driver_call *, struct err *);
int snap_tree(struct driver_call *, struct tree **, struct err *);
int snap_get(struct driver_call *, struct reader **, struct err *);
int snap_restore(struct driver_call *, struct err *);
int snap_check(struct driver_call *, struct err *);
int snap_verify(struct driver_call *, struct record *, struct err *);
int snap_gc(struct driver_call *, struct err *);

extern const struct driver snap_driver;

#endif
