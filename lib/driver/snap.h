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

#include "base/proc.h"
#include "driver/driver.h"
#include "driver/record.h"
#include "snap/clone.h"

struct match;
struct zfs_seen;

/* What check makes to try; found when its lock is held, it is a leftover. */
#define SNAP_PROBE ".cala-check"

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

/* A stream that is being received. */
struct snap_arrival {
	const unsigned char *start;     /* the stream's first bytes */
	size_t nstart;
	const struct match *match;
	struct proc proc;
	int in, said;                   /* its stdin; what it says (a file) */
	bool done;                      /* the backup is there */
	char temp[64];                  /* the folder it goes to */
	int dir;                        /* that, locked */
	char *dataset;                  /* zfs: where it goes; heap */
	bool fresh;                     /* made for it */
};

/*
 * snap_btrfs_move.c, snap_zfs_move.c.  snap_child: run argv with a pipe as its
 * standard input; snap_child_end: close that and wait for a good end.
 */
int snap_child(struct snap_arrival *, const char *const *, struct err *);
int snap_child_end(struct snap_arrival *, struct err *);

int  snap_btrfs_send(struct snap *, const char *, const char *, struct sink *,
    struct err *);
int  snap_btrfs_arrive(struct snap *, struct snap_arrival *, struct err *);
int  snap_btrfs_arrived(struct snap *, struct snap_arrival *, struct err *);
void snap_btrfs_depart(struct snap *, struct snap_arrival *);
int  snap_btrfs_rollback(struct snap *, const struct record *, struct err *);
int  snap_btrfs_sweep(struct snap *, size_t *, struct err *);
int  snap_zfs_send(struct snap *, const char *, const char *, struct sink *,
    struct err *);
int  snap_zfs_arrive(struct snap *, struct snap_arrival *, struct err *);
int  snap_zfs_arrived(struct snap *, struct snap_arrival *, struct err *);
void snap_zfs_depart(struct snap *, struct snap_arrival *);
int  snap_zfs_rollback(struct snap *, const struct record *, struct err *);
/* snap_zfs_full(s, uuid, out, e): DATASET@backup-U, that must be there. */
enum { SNAP_FULL = 512 };
int snap_zfs_full(struct snap *, const char *, char [SNAP_FULL], struct err *);
/* snap_zfs_forget(s): what was asked is no longer so. */
void snap_zfs_forget(struct snap *);
/* snap_zfs_clean(s, dataset): a received dataset without backups goes. */
int snap_zfs_clean(struct snap *, const char *, struct err *);

/*
 * What Btrfs and ZFS do each in their way.
 *
 * volume:  open what is to be backed up; CALA_USAGE where it is no subvolume or
 *          dataset of its own, and how it becomes one.
 * nested:  warn about what lies inside it, not mounted, and a snapshot does not
 *          hold, unless the rules leave it out; NULL: there is no such thing.
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
 * send:    base (or "") to it as a stream.
 * arrive:  start the program that receives, once the stream's beginning is
 *          known; U is not visible before arrived, which makes it so; depart:
 *          undo, also after success (then it only frees).
 * rollback: make the live volume what the snapshot is.
 */
struct snap_kind {
	const char *disk, *sum_type;
	int (*volume)(struct snap *, struct snap_volume *, struct err *);
	int (*nested)(struct snap *, struct snap_volume *,
	    const struct match *, struct err *);
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
	int (*send)(struct snap *, const char *, const char *, struct sink *,
	    struct err *);
	int (*arrive)(struct snap *, struct snap_arrival *, struct err *);
	int (*arrived)(struct snap *, struct snap_arrival *, struct err *);
	void (*depart)(struct snap *, struct snap_arrival *);
	int (*rollback)(struct snap *, const struct record *, struct err *);
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
 * snap_save(s, rec, e): write U/cala.json, whole or not at all.  snap_write: the
 * same into an open folder.
 * snap_rules(s, uuid, rec, &m, e): its ignore rules; NULL when it has none.
 * snap_clear(s, uuid, e): remove our files in U/, and U/ when nothing is left.
 * snap_arriving(s, uuid): is U/ there, and held by somebody who receives U?
 */
int snap_folder(struct snap *, const char *, struct err *);
int snap_recorded(struct snap *, const char *, struct record *, struct err *);
int snap_record(struct snap *, const char *, struct record *, struct err *);
int snap_save(struct snap *, const struct record *, struct err *);
int snap_write(int, const struct record *, struct err *);
int snap_rules(struct snap *, const char *, const struct record *,
    struct match **, struct err *);
int snap_clear(struct snap *, const char *, struct err *);
bool snap_arriving(struct snap *, const char *);

/* The verbs: snap_put.c, snap_read.c, snap_care.c, snap_move.c. */
int snap_put(struct driver_call *, struct err *);
int snap_tree(struct driver_call *, struct tree **, struct err *);
int snap_get(struct driver_call *, struct reader **, struct err *);
int snap_restore(struct driver_call *, struct err *);
int snap_check(struct driver_call *, struct err *);
int snap_verify(struct driver_call *, struct record *, struct err *);
int snap_gc(struct driver_call *, struct err *);
int snap_send(struct driver_call *, struct err *);
int snap_receive(struct driver_call *, struct sink **, struct err *);
int snap_rollback(struct driver_call *, struct err *);

/*
 * snap_put.c: the rules into the file ignored of an open folder; what a
 * snapshot holds into rec; is a directory, or one above it, left out?
 */
int snap_write_rules(int, const struct match *, struct err *);
int snap_count(struct snap *, const struct match *, int, struct record *,
    struct err *);
bool snap_left_out(const struct match *, const char *);

extern const struct driver snap_driver;

#endif
