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

struct pbs_crypt;
struct pbs_manifest;
struct pbs_rest;
struct pbs_target;

enum {
	PBSDISK_PREFIX = 200,           /* bytes of backup-id-prefix */
	PBSDISK_ID = PBSDISK_PREFIX + UUID_TEXT + 1,
	PBSDISK_OLD = 24 * 3600         /* leftovers may go (seconds) */
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
	struct pbs_crypt *crypt;        /* NULL: none configured */
	const char *prefix;             /* backup-id-prefix */
	struct pbs_shot found;          /* uuid "": none yet */
};

/*
 * pbsdisk_open(call, e): the disk of this run, made on the first call; freed by
 * pbsdisk_done.  NULL with err.
 */
struct pbs_disk *pbsdisk_open(struct driver_call *, struct err *);
void pbsdisk_done(struct driver_call *);

/*
 * pbsdisk_id(d, server, out): the group of a server; returns out.
 * pbsdisk_ours(d, id, server): is id such a group?  Fills in server.
 */
const char *pbsdisk_id(const struct pbs_disk *, const char *,
    char [PBSDISK_ID]);
bool pbsdisk_ours(const struct pbs_disk *, const char *, char [UUID_TEXT]);

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
 * pbsdisk_find(call, d, e): the snapshot of call->backup into d->found (asked
 * for once a run).  CALA_NOTFOUND; CALA_USAGE when several say that they are
 * that backup.
 * pbsdisk_record(call, d, s, rec, e): the record of s, or what the snapshot
 * itself tells (foreign).  rec is initialised here.
 */
int pbsdisk_find(struct driver_call *, struct pbs_disk *, struct err *);
int pbsdisk_record(struct driver_call *, struct pbs_disk *,
    const struct pbs_shot *, struct record *, struct err *);

extern const struct driver pbs_driver;

#endif
