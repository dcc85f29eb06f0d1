#ifndef CALA_PBS_CHUNKS_H
#define CALA_PBS_CHUNKS_H

/*
 * chunks: what an index describes, read anywhere.
 *
 * Only chunks that are needed are fetched, each once while it is remembered,
 * several at once where it is known what comes next; each is compared with its
 * digest before a byte of it is handed out.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pbs/crypt.h"

struct buf;
struct err;
struct log;
struct pbs_index;
struct ranged;

struct pbs_chunks {
	const struct pbs_index *index;  /* lives longer */
	const char *name;               /* in messages; copied */
	const struct pbs_crypt *crypt;  /* the archive is encrypted, or NULL */
	/*
	 * The blob of a chunk, appended to the buffer; called by several
	 * threads at once.
	 */
	int (*fetch)(void *, const unsigned char [PBS_DIGEST], struct buf *,
	    struct err *);
	void *arg;
	unsigned jobs;                  /* requests at once; 0: 4 */
	uint64_t memory;                /* chunks and blobs; 0: 48 MiB */
	bool whole;                     /* it will be read from front to back */
	/*
	 * Zeros for a damaged chunk, said in log once: what is left of the
	 * archive.  log may be NULL without it.
	 */
	bool damaged;
	struct log *log;
};

/*
 * pbs_chunks(how, e): NULL with err.  Memory: what how says, for chunks and the
 * blobs of those under way, each as long as it could be at most; in any case
 * room for the largest chunk and its blob.
 */
struct ranged *pbs_chunks(const struct pbs_chunks *, struct err *);

/* pbs_chunks_count(r): chunks fetched so far. */
uint64_t pbs_chunks_count(const struct ranged *);

#endif
