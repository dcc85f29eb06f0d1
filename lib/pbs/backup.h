#ifndef CALA_PBS_BACKUP_H
#define CALA_PBS_BACKUP_H

/*
 * backup: one backup session (pbs.md §4): one new snapshot.
 *
 * Nothing of it is listed as whole before pbs_backup_finish returns 0; freeing
 * it earlier makes the server remove what was sent.  Calls may come from any
 * thread; what must be in order (appends to one index) is the caller's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "pbs/blob.h"
#include "pbs/h2.h"
#include "pbs/target.h"

struct buf;
struct err;
struct log;
struct pbs_backup;

enum {
	PBS_APPEND_MAX = 500,           /* entries of one append */
	PBS_FIXED_CHUNK = 4 << 20
};

/*
 * pbs_backup_start(t, s, log, e): connect and begin the snapshot s.  NULL:
 * CALA_TLS, CALA_NET, CALA_AUTH, CALA_NOTFOUND (namespace, datastore),
 * CALA_LOCKED (somebody writes to the group), CALA_EXISTS (a snapshot of that
 * time or a later one is there), CALA_MAINTENANCE, ...  An unsuccessful start
 * may leave an empty group of ours behind (pbs.md §4.2).
 * pbs_backup_free: closes; aborts what was not finished; NULL is fine.  What is
 * under way ends with CALA_NET; no other thread may be inside a call by then.
 */
struct pbs_backup *pbs_backup_start(const struct pbs_target *,
    const struct pbs_snap *, struct log *, struct err *);
void pbs_backup_free(struct pbs_backup *);

/*
 * pbs_backup_before(b, &time, e): 1 and the time of the previous snapshot, as
 * the server chooses it; 0: there is none; -1.
 * pbs_backup_previous(b, name, take, arg, e): a file of it, piece by piece.  An
 * index read this way makes its chunks known: they may be appended without
 * being sent.  CALA_NOTFOUND when it has no such file.  take runs in the
 * session's thread.  pbs_backup_previous_buf: into a buffer, up to its max.
 */
int pbs_backup_before(struct pbs_backup *, int64_t *, struct err *);
int pbs_backup_previous(struct pbs_backup *, const char *,
    int (*)(void *, const void *, size_t, struct err *), void *,
    struct err *);
int pbs_backup_previous_buf(struct pbs_backup *, const char *, struct buf *,
    struct err *);

/* An index being written: what pbs_writer_open fills in. */
struct pbs_writer {
	unsigned wid;
	bool fixed;
	char name[PBS_NAME_MAX + 1];
};

/*
 * pbs_writer_open(b, w, name, e): NAME.didx; only when at least one byte is
 * sure to come, because an empty one can't be closed (pbs.md §4.5).
 * pbs_writer_fixed(b, w, name, size, e): NAME.fidx of size bytes (pbs.md §4.6).
 */
int pbs_writer_open(struct pbs_backup *, struct pbs_writer *, const char *,
    struct err *);
int pbs_writer_fixed(struct pbs_backup *, struct pbs_writer *, const char *,
    uint64_t, struct err *);

/*
 * A chunk on its way up.  Fill the first part (zero the rest); it and the
 * bytes must stay until it has ended.
 */
struct pbs_chunk {
	const struct pbs_writer *to;
	unsigned char digest[PBS_DIGEST];
	size_t size;                            /* decoded: 1..PBS_CHUNK_MAX */
	struct iovec blob[2];                   /* header and payload, or one */
	unsigned nblob;
	void (*ended)(struct pbs_chunk *);      /* as h2_req's, or NULL */
	void *arg;
	/* the rest belongs to backup.c */
	struct h2_req req;
	char path[256];
	char got[128];
	size_t ngot;
};

/*
 * pbs_chunk_send(b, c, e): hand it over; waits while too many bytes are under
 * way.  -1: not taken, ended is not called.
 * pbs_chunk_wait(b, c, e): until the server has stored it (or had it already).
 * Not for one with ended().
 * pbs_chunk_poll(b, c): would wait return at once?
 * pbs_chunk_outcome(c, e): of one that has ended: 0, or -1 with why not.
 */
int  pbs_chunk_send(struct pbs_backup *, struct pbs_chunk *, struct err *);
int  pbs_chunk_wait(struct pbs_backup *, struct pbs_chunk *, struct err *);
bool pbs_chunk_poll(struct pbs_backup *, struct pbs_chunk *);
int  pbs_chunk_outcome(struct pbs_chunk *, struct err *);

/*
 * Entries for an index on their way.  Each chunk must be known to the server
 * before: stored by pbs_chunk_*, or in an index read by pbs_backup_previous.
 * One append at a time for an index, in order of offset, starting at 0, without
 * gap (fixed: in any order).
 */
struct pbs_append {
	const struct pbs_writer *to;
	size_t n;                               /* 1..PBS_APPEND_MAX */
	unsigned char (*digest)[PBS_DIGEST];    /* n of them, borrowed */
	const uint64_t *start;                  /* n offsets, borrowed */
	/* the rest belongs to backup.c */
	struct h2_req req;
	struct iovec body;
	struct buf *json;
};

/*
 * pbs_append_send, pbs_append_wait, pbs_append_poll: as for chunks; digest and
 * start may be reused when send has returned.  After a successful send wait
 * must be called, whatever happened: it frees.
 */
int  pbs_append_send(struct pbs_backup *, struct pbs_append *, struct err *);
int  pbs_append_wait(struct pbs_backup *, struct pbs_append *, struct err *);
bool pbs_append_poll(struct pbs_backup *, struct pbs_append *);

/*
 * pbs_writer_close(b, w, count, size, csum, e): all has been appended.  A
 * failure is the session's end: it can't be repeated.
 */
int pbs_writer_close(struct pbs_backup *, const struct pbs_writer *, uint64_t,
    uint64_t, const unsigned char [PBS_DIGEST], struct err *);

/*
 * pbs_backup_blob(b, name, p, n, e): store the encoded blob NAME.blob; an
 * earlier one of that name is replaced.  index.json.blob comes last.
 */
int pbs_backup_blob(struct pbs_backup *, const char *, const void *, size_t,
    struct err *);

/*
 * pbs_backup_finish(b, e): the commit.  0: the server has confirmed it.
 * CALA_UNKNOWN: the connection was lost while the answer was awaited; ask with
 * pbs_finished (rest.h).  Other codes: it is not stored.
 */
int pbs_backup_finish(struct pbs_backup *, struct err *);

/* pbs_backup_moved(b, &sent, &received): bytes on the wire so far. */
void pbs_backup_moved(struct pbs_backup *, uint64_t *, uint64_t *);

#endif
