#ifndef CALA_DDUP_CREATE_H
#define CALA_DDUP_CREATE_H

/*
 * create: a writer of entries that makes a backup in a ddup repository.
 *
 *	fs_reader or archive_reader → pump → ddup_writer → writer_commit
 *
 * Contents are cut, hashed, compressed and stored on all cores; entries reach
 * the archive in the order in which they were put, whatever finished first, or,
 * of a stream, depth first and sorted.  The same tree gives the same archive in
 * an empty repository, whatever the number of threads.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ddup/ddup.h"
#include "entry/entry.h"

struct err;
struct log;

struct ddup_create {
	const char *name;               /* of the archive */
	enum ddup_code code;            /* for chunks that are new */
	int level;                      /* -1: the default of code */
	bool fixed;                     /* cut into pieces of one size */
	bool stream;                    /* of an archive: in any order */
	unsigned jobs;                  /* 0: cores */
	uint64_t memory;                /* bytes for contents; 0: 32 MiB */
	uint64_t limit_write;           /* bytes per second; 0: none */
	/*
	 * Whose files, by the server's UUID: what its last backup noted about
	 * them is compared, and what is unchanged is not read.  NULL: all are
	 * read, nothing is noted.
	 */
	const char *server;
	bool force_read;                /* read all, but note */
	bool ignore_inode;              /* size and times are enough */
	unsigned doubt;                 /* seconds: see ddup_doubt */
	/* as for ddup_draft_commit */
	int (*before)(void *, const struct ddup_sum *, struct err *);
	void *arg;
};

struct ddup_created {
	struct ddup_sum sum;
	uint64_t unread;                /* files that were not read again */
	uint64_t unread_bytes;
};

/*
 * ddup_doubt(fd): by how many seconds the clock that gives files in fd's file
 * system their times may be behind ours: 0 where it is the same, an hour where
 * it is another machine's (by its name: NFS, SMB, FUSE and such).  What is as
 * young as that is read again, because it may change without a change of its
 * times.
 */
unsigned ddup_doubt(int);

/*
 * ddup_writer(r, how, log, e): how is copied, its strings are borrowed.  known()
 * may be called by any thread; it says yes for a file that has neither extended
 * attributes nor holes, so that its stat is all that put() needs.
 * ddup_writer_sum(w): what became of it, once committed.
 */
struct writer *ddup_writer(struct ddup *, const struct ddup_create *,
    struct log *, struct err *);
const struct ddup_created *ddup_writer_sum(const struct writer *);

#endif
