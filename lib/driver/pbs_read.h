#ifndef CALA_DRIVER_PBS_READ_H
#define CALA_DRIVER_PBS_READ_H

/*
 * pbs_read: one snapshot opened for reading.
 *
 * Nothing of it is believed that its manifest does not vouch for, and the
 * manifest is compared with the snapshot and, where there is a key, its
 * signature is checked.  A connection that breaks is made anew.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "driver/pbs.h"
#include "pbs/index.h"
#include "pbs/manifest.h"

struct pbs_session;
struct ranged;
struct reader;
struct tree;

/* An index of the snapshot; lives as long as the session. */
struct pbs_part {
	struct pbs_part *next;
	const struct pbs_file *file;
	const struct pbs_crypt *crypt;  /* of its chunks, or NULL */
	struct buf raw;
	struct pbs_index index;
};

/*
 * pbs_session_open(call, d, &s, e): d->found must be set.
 * pbs_session_close: NULL is fine.
 * pbs_session_manifest(s): lent.  pbs_session_signed(s): by our key.
 */
int  pbs_session_open(struct driver_call *, struct pbs_disk *,
    struct pbs_session **, struct err *);
void pbs_session_close(struct pbs_session *);
const struct pbs_manifest *pbs_session_manifest(const struct pbs_session *);
bool pbs_session_signed(const struct pbs_session *);

/*
 * pbs_session_part(s, file, &part, e): read an index, which must be the one that
 * the manifest has.  Before anything is fetched.
 * pbs_session_blob(s, file, out, e): append what a blob holds; compared likewise.
 * Both: CALA_INTEGRITY; CALA_NOTFOUND becomes that, too.
 * pbs_session_fetch(s, digest, out, e): the blob of a chunk, whose bytes are the
 * caller's to compare; any thread (pbs/chunks.h).
 * pbs_session_ranged(s, part, whole, share, e): what the index describes; whole:
 * it is read from front to back.  So many share the memory.  Closed before the
 * session.
 */
int pbs_session_part(struct pbs_session *, const struct pbs_file *,
    const struct pbs_part **, struct err *);
int pbs_session_blob(struct pbs_session *, const struct pbs_file *,
    struct buf *, struct err *);
int pbs_session_fetch(void *, const unsigned char [PBS_DIGEST], struct buf *,
    struct err *);
struct ranged *pbs_session_ranged(struct pbs_session *,
    const struct pbs_part *, bool, unsigned, struct err *);

/* What was backed up: one archive, or two that belong together, or a dump. */
struct pbs_archive {
	enum { PBS_IS_PXAR, PBS_IS_SPLIT, PBS_IS_TAR, PBS_IS_RAW } kind;
	const struct pbs_file *meta, *payload;  /* payload: of PBS_IS_SPLIT */
};

/*
 * pbs_archive(m, a, e): which of a manifest's files it is.  CALA_NOTFOUND: none
 * that we know; CALA_USAGE: several.
 */
int pbs_archive(const struct pbs_manifest *, struct pbs_archive *,
    struct err *);

/* The driver's open, get, restore; its verbs archive, sealed-key, outline. */
int pbsdisk_tree(struct driver_call *, struct tree **, struct err *);
int pbsdisk_get(struct driver_call *, struct reader **, struct err *);
int pbsdisk_restore(struct driver_call *, struct err *);
int pbsdisk_archive(struct driver_call *, struct err *);
int pbsdisk_sealed_key(struct driver_call *, struct err *);
int pbsdisk_outline(struct driver_call *, struct err *);

#endif
