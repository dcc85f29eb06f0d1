#ifndef CALA_DRIVER_PBS_ARCHIVE_H
#define CALA_DRIVER_PBS_ARCHIVE_H

/*
 * pbs_archive: the archives of one snapshot as a writer of entries: root.pxar
 * with its catalog, or root.mpxar and root.ppxar.
 */

#include <stdbool.h>
#include <stdint.h>

#include "pbs/crypt.h"

struct err;
struct log;
struct match;
struct pbs_archive;
struct pbs_backup;
struct pbs_before;
struct pbs_manifest;
struct pbs_target;
struct writer;

/* All is borrowed and lives longer. */
struct pbs_archive_how {
	struct pbs_backup *session;
	const struct pbs_crypt *crypt;
	struct pbs_before *before;
	const char *chunker;            /* auto, fastcdc, buzhash */
	const char *detection;          /* legacy, data, metadata */
	bool stream;                    /* no directory that can be looked at */
	bool ignore_inode, force_read;
	unsigned jobs;
	uint64_t memory;                /* 0: default */
	/* to read the previous snapshot in a session of its own */
	const struct pbs_target *target;
	const char *id;
	struct log *log;
};

/* pbs_archive_new: NULL with err.  pbs_archive_free: NULL is fine. */
struct pbs_archive *pbs_archive_new(const struct pbs_archive_how *,
    struct err *);
void pbs_archive_free(struct pbs_archive *);

/*
 * pbs_archive_plan(a, dir, match, e): before dir is read: which contents of the
 * previous snapshot will be used as they are.  Reads no file.
 * pbs_archive_writer(a): takes the entries; lent.  Its commit ends the archives.
 * pbs_archive_commit(a, m, e): commits the writer unless that is done, and lists
 * the archives in the manifest.
 */
int pbs_archive_plan(struct pbs_archive *, const char *, const struct match *,
    struct err *);
struct writer *pbs_archive_writer(struct pbs_archive *);
int pbs_archive_commit(struct pbs_archive *, struct pbs_manifest *,
    struct err *);

/*
 * pbs_archive_note(a, m, e): into the manifest: how it was cut, for the next
 * backup.
 * pbs_archive_name(a), pbs_archive_catalog(a): of the (metadata) archive; of the
 * catalog, or NULL.
 */
int pbs_archive_note(const struct pbs_archive *, struct pbs_manifest *,
    struct err *);
const char *pbs_archive_name(const struct pbs_archive *);
const char *pbs_archive_catalog(const struct pbs_archive *);

struct pbs_archive_sum {
	uint64_t size, files;           /* of the files; all but directories */
	uint64_t archive;               /* bytes of all archives */
	uint64_t reused;                /* of these, in chunks of before */
	uint64_t sent;                  /* bytes of blobs */
	unsigned char csum[PBS_DIGEST]; /* of the (metadata) archive */
};
const struct pbs_archive_sum *pbs_archive_sum(const struct pbs_archive *);

#endif
