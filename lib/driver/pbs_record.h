#ifndef CALA_DRIVER_PBS_RECORD_H
#define CALA_DRIVER_PBS_RECORD_H

/*
 * pbs_record: where a snapshot says which backup it is.
 *
 * - The first line of its notes, "NAME · GROUP · UUID", and " · partial" behind
 *   it where that is so: one call lists all.  They are the only place that can be
 *   changed later, so name and group are what they say; further lines are the
 *   administrator's.  Lock is the snapshot's "protected".
 * - unprotected.cala of the manifest: the record (record.h).  Of an encrypted
 *   backup without name, group, rules and warnings.
 * - PBS_RECORD_BLOB, in an encrypted backup only: the whole record, encrypted.
 * - PBS_PANEL_BLOB, never encrypted: what Wings writes and reads.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/record.h"

struct buf;
struct err;
struct pbs_manifest;

#define PBS_RECORD_BLOB "cala.json.blob"
#define PBS_PANEL_BLOB "calagopus.json.blob"

/* Names of the archives, as Wings and Proxmox's tools have them. */
#define PBS_PXAR "root.pxar.didx"
#define PBS_MPXAR "root.mpxar.didx"
#define PBS_PPXAR "root.ppxar.didx"
#define PBS_CATALOG "catalog.pcat1.didx"

/*
 * pbs_notes_put(r, b): append the first line, without newline.  In name and group
 * a backslash stands before backslash, "·" and for a newline ("\n").
 * pbs_notes_get(s, r, e): uuid, name, group and complete of such a line (up to its
 * first newline, or NUL); r is initialised before.  1; 0: it is none of ours,
 * and r is untouched.
 */
void pbs_notes_put(const struct record *, struct buf *);
int  pbs_notes_get(const char *, struct record *, struct err *);

/*
 * pbs_record_put(r, sealed, m, e): into the manifest: notes, and the record.
 * pbs_record_get(m, r, e): out of it; r is initialised here.  1; 0: another
 * program's (r is initialised, and has what notes of ours say, if there are
 * any).  Notes go before the record.  Not told: locked.
 */
int pbs_record_put(const struct record *, bool, struct pbs_manifest *,
    struct err *);
int pbs_record_get(const struct pbs_manifest *, struct record *,
    struct err *);

/* What PBS_PANEL_BLOB says; "" where it does not. */
struct pbs_panel {
	char uuid[UUID_TEXT], server[UUID_TEXT];
	char archive[64];               /* "root.pxar.didx", "dump.didx" */
	char dump[300];                 /* dump_file_name */
};

/*
 * pbs_panel_put(r, id, time, archive, catalog, b): append the JSON; catalog may
 * be NULL.
 * pbs_panel_get(p, n, out, e): parse it.  CALA_INTEGRITY.
 */
void pbs_panel_put(const struct record *, const char *, int64_t,
    const char *, const char *, struct buf *);
int  pbs_panel_get(const void *, size_t, struct pbs_panel *, struct err *);

#endif
