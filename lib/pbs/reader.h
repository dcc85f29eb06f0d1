#ifndef CALA_PBS_READER_H
#define CALA_PBS_READER_H

/*
 * reader: one reader session (pbs.md §5): the files and chunks of a snapshot.
 *
 * What comes is exactly what the server stores; that it is what the manifest
 * and the index say is the caller's to check.  Calls may come from any thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pbs/blob.h"
#include "pbs/h2.h"
#include "pbs/target.h"

struct buf;
struct err;
struct log;
struct pbs_reader;

/*
 * pbs_reader_open(t, s, log, e): CALA_NOTFOUND when there is no such snapshot,
 * CALA_LOCKED while it is written or removed, CALA_AUTH, CALA_TLS, CALA_NET.
 * While it is open the snapshot can't be removed.
 */
struct pbs_reader *pbs_reader_open(const struct pbs_target *,
    const struct pbs_snap *, struct log *, struct err *);
void pbs_reader_free(struct pbs_reader *);      /* NULL is fine */

/*
 * pbs_reader_file(r, name, b, e): a file whole, up to b->max.
 * pbs_reader_stream(r, name, take, arg, e): piece by piece; take runs in the
 * session's thread.  Both CALA_NOTFOUND.  Reading an index makes its chunks
 * available to this session, and nothing else does.
 */
int pbs_reader_file(struct pbs_reader *, const char *, struct buf *,
    struct err *);
int pbs_reader_stream(struct pbs_reader *, const char *,
    int (*)(void *, const void *, size_t, struct err *), void *,
    struct err *);

/*
 * A chunk on its way down.  Fill the first part (zero the rest); it must stay
 * until it has ended.
 */
struct pbs_fetch {
	unsigned char digest[PBS_DIGEST];
	struct buf *blob;                       /* emptied; max: the most */
	void (*ended)(struct pbs_fetch *);      /* as h2_req's, or NULL */
	void *arg;
	/* the rest belongs to reader.c */
	struct h2_req req;
	char path[96];
};

/*
 * pbs_fetch_send(r, f, e): ask for it.  Nothing is waited for: how many are
 * under way is the caller's to bound.
 * pbs_fetch_wait, pbs_fetch_poll, pbs_fetch_outcome: as pbs_chunk_*.
 * CALA_NOTFOUND: the server's store has lost it, or it is in no index that was
 * read (which the server punishes with 3 seconds of silence).
 */
int  pbs_fetch_send(struct pbs_reader *, struct pbs_fetch *, struct err *);
int  pbs_fetch_wait(struct pbs_reader *, struct pbs_fetch *, struct err *);
bool pbs_fetch_poll(struct pbs_reader *, struct pbs_fetch *);
int  pbs_fetch_outcome(struct pbs_fetch *, struct err *);

/* pbs_reader_moved(r, &sent, &received): bytes on the wire so far. */
void pbs_reader_moved(struct pbs_reader *, uint64_t *, uint64_t *);

#endif
