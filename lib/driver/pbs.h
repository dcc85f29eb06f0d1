#ifndef CALA_DRIVER_PBS_H
#define CALA_DRIVER_PBS_H

/*
 * pbs: snapshots on a Proxmox Backup Server, named as Wings names them
 * (calagopus.md §3.7):
 *
 *	host/PREFIX-S/TIME      a backup of server S
 *
 * What else is in the datastore is somebody else's: every name that comes from
 * the server passes pbsdisk_ours(), and nothing that fails is ever changed,
 * deleted or listed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/uuid.h"
#include "driver/driver.h"
#include "pbs/target.h"

struct buf;
struct pbs_crypt;
struct pbs_manifest;
struct pbs_rest;

enum {
	PBSDISK_PREFIX = 200,           /* bytes of backup-id-prefix */
	PBSDISK_ID = PBSDISK_PREFIX + UUID_TEXT + 1,
	PBSDISK_NAME = PBSDISK_ID + 64, /* "host/PREFIX-S/2026-…Z" */
	PBSDISK_OLD = 24 * 3600,        /* leftovers may go (seconds) */
	PBSDISK_CHECK_OLD = 3600
};

/* What check stores; no backup has a file of this name. */
#define PBSDISK_CHECK "cala-check.blob"

/* A snapshot of ours, as the server lists it. */
struct pbs_shot {
	char id[PBSDISK_ID];            /* "PREFIX-S" */
	char server[UUID_TEXT];
	char uuid[UUID_TEXT];           /* "": its notes do not say */
	int64_t time;                   /* backup-time, seconds */
	uint64_t size;                  /* of its files, as they were read */
	bool finished;                  /* it has a manifest */
	bool check;                     /* left by a check */
	bool last;                      /* of its group */
	bool locked;                    /* "protected" */
	bool bad;                       /* the server's own verification failed */
	bool proven;                    /* … or found it whole */
	char *comment;                  /* first line of its notes, or NULL */
};

/* What one run keeps. */
struct pbs_disk {
	struct pbs_target *target;
	struct pbs_rest *rest;
	struct pbs_crypt *crypt;        /* pbsdisk_key read it, or NULL */
	const char *prefix;             /* backup-id-prefix */
	struct pbs_shot found;          /* uuid "": none yet */
};

/*
 * pbsdisk_open(call, e): the disk of this run, made on the first call; freed by
 * pbsdisk_done.  NULL with err.
 * pbsdisk_key(call, d, e): the encryption key of the configuration, read when it
 * is needed, into d->crypt.  1; 0: there is none; -1.  Any thread.
 */
struct pbs_disk *pbsdisk_open(struct driver_call *, struct err *);
void pbsdisk_done(struct driver_call *);
int pbsdisk_key(struct driver_call *, struct pbs_disk *, struct err *);

/*
 * pbsdisk_id(d, server, out): the group of a server; returns out.
 * pbsdisk_ours(d, id, server): is id such a group?  Fills in server.
 * pbsdisk_name(s, out): a snapshot for people; returns out.
 * pbsdisk_snap(s): as the wire wants it; lives as long as s.
 */
const char *pbsdisk_id(const struct pbs_disk *, const char *,
    char [PBSDISK_ID]);
bool pbsdisk_ours(const struct pbs_disk *, const char *, char [UUID_TEXT]);
const char *pbsdisk_name(const struct pbs_shot *, char [PBSDISK_NAME]);
struct pbs_snap pbsdisk_snap(const struct pbs_shot *);

/*
 * pbsdisk_scan(d, server, &v, &n, e): what is ours, of one server ("": of all),
 * by one request, sorted by group and time; unfinished ones, too.
 * pbsdisk_scan_free(v, n).
 * pbsdisk_taken(call, d, uuid, e): does the notes of any say that it is the
 * backup uuid?  1, 0, -1.
 */
int  pbsdisk_scan(struct pbs_disk *, const char *, struct pbs_shot **,
    size_t *, struct err *);
void pbsdisk_scan_free(struct pbs_shot *, size_t);
int  pbsdisk_taken(struct driver_call *, struct pbs_disk *, const char *,
    struct err *);

/*
 * pbsdisk_blob(d, s, m, name, crypt, out, e): a file of s without a session,
 * decoded, encrypted if crypt is given; the one that the manifest m has, where
 * that is given.  CALA_NOTFOUND, CALA_INTEGRITY.
 * pbsdisk_manifest(d, s, m, e): without a session; the caller frees it.  That it
 * is the snapshot's own is checked, a signature is not.
 * pbsdisk_record(call, d, s, rec, e): the record of s, or what the snapshot
 * itself tells (foreign).  rec is initialised here.  CALA_NOTFOUND: it was
 * removed, or is being made.  Any thread.
 */
int pbsdisk_blob(struct pbs_disk *, const struct pbs_shot *,
    const struct pbs_manifest *, const char *, const struct pbs_crypt *,
    struct buf *, struct err *);
int pbsdisk_manifest(struct pbs_disk *, const struct pbs_shot *,
    struct pbs_manifest *, struct err *);
int pbsdisk_record(struct driver_call *, struct pbs_disk *,
    const struct pbs_shot *, struct record *, struct err *);

/*
 * pbs_list.c: the verbs list, find, sync, remove.
 * pbsdisk_find(call, d, e): the snapshot of call->backup into d->found (asked
 * for once a run).  CALA_NOTFOUND; CALA_USAGE when several say that they are
 * that backup.
 */
int pbsdisk_find(struct driver_call *, struct pbs_disk *, struct err *);
int pbsdisk_list(struct driver_call *, record_fn *, void *, struct err *);
int pbsdisk_lookup(struct driver_call *, struct record *, struct err *);
int pbsdisk_sync(struct driver_call *, struct record *, struct err *);
int pbsdisk_remove(struct driver_call *, struct record *, struct err *);

/* pbs_care.c, pbs_check.c */
int pbsdisk_verify(struct driver_call *, struct record *, struct err *);
int pbsdisk_verify_job(struct driver_call *, struct err *);
int pbsdisk_prune(struct driver_call *, struct err *);
int pbsdisk_gc(struct driver_call *, struct err *);
int pbsdisk_check(struct driver_call *, struct err *);

extern const struct driver pbs_driver;

#endif
