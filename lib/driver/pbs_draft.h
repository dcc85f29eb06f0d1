#ifndef CALA_DRIVER_PBS_DRAFT_H
#define CALA_DRIVER_PBS_DRAFT_H

/*
 * pbs_draft: the archives of one snapshot as a writer of entries: root.pxar
 * with its catalog, or root.mpxar and root.ppxar.
 */

#include <stdbool.h>
#include <stdint.h>

#include "pbs/crypt.h"

struct driver_call;
struct err;
struct match;
struct pbs_draft;
struct pbs_backup;
struct pbs_before;
struct pbs_disk;
struct pbs_manifest;
struct writer;

/* All is borrowed and lives longer. */
struct pbs_draft_how {
	struct driver_call *call;
	struct pbs_disk *disk;
	struct pbs_backup *session;
	const struct pbs_crypt *crypt;
	struct pbs_before *before;
	const char *chunker;            /* auto, fastcdc, buzhash */
	const char *detection;          /* legacy, data, metadata */
};

/* pbs_draft_new: NULL with err.  pbs_draft_free: NULL is fine. */
struct pbs_draft *pbs_draft_new(const struct pbs_draft_how *,
    struct err *);
void pbs_draft_free(struct pbs_draft *);

/*
 * pbs_draft_plan(a, match, e): before call->dir is read: which contents of the
 * previous snapshot will be used as they are.  Reads no file.
 * pbs_draft_writer(a): takes the entries; lent.  Its commit ends the archives.
 * pbs_draft_commit(a, m, e): commits the writer unless that is done, and lists
 * the archives in the manifest.
 */
int pbs_draft_plan(struct pbs_draft *, const struct match *, struct err *);
struct writer *pbs_draft_writer(struct pbs_draft *);
int pbs_draft_commit(struct pbs_draft *, struct pbs_manifest *,
    struct err *);

/*
 * pbs_draft_note(a, m, e): into the manifest: how it was cut, for the next
 * backup.
 * pbs_draft_name(a), pbs_draft_catalog(a): of the (metadata) archive; of the
 * catalog, or NULL.
 */
int pbs_draft_note(const struct pbs_draft *, struct pbs_manifest *,
    struct err *);
const char *pbs_draft_name(const struct pbs_draft *);
const char *pbs_draft_catalog(const struct pbs_draft *);

struct pbs_draft_sum {
	uint64_t size, files;           /* of the files; all but directories */
	uint64_t archive;               /* bytes of all archives */
	uint64_t reused;                /* of these, in chunks of before */
	uint64_t sent;                  /* bytes of blobs */
	unsigned char csum[PBS_DIGEST]; /* of the (metadata) archive */
};
const struct pbs_draft_sum *pbs_draft_sum(const struct pbs_draft *);

#endif
