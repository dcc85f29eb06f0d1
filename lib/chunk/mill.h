#ifndef CALA_CHUNK_MILL_H
#define CALA_CHUNK_MILL_H

/*
 * mill: files become chunks on all cores, and the results come back in order.
 *
 * The caller's thread fills windows of memory and finds the cuts; what lies
 * between two cuts is handed to a pool, small chunks many at a time.  Memory is
 * a number of windows, each twice the largest chunk, fixed at the beginning;
 * when all are in use, the caller's thread works, too.
 *
 * Everything but work() runs in the thread that calls mill_*.
 */

#include <stddef.h>
#include <stdint.h>

struct content;
struct cut;
struct err;
struct mill;

enum { MILL_PIECES = 128 };

struct mill_piece {
	const unsigned char *p;
	size_t len;
	uint64_t ref;           /* what done will get */
};

struct mill_how {
	size_t max;             /* the largest chunk of any cutter used */
	unsigned jobs;          /* 0: cores */
	uint64_t memory;        /* bytes for windows; 0: 32 MiB */
	/*
	 * Some chunks, MILL_PIECES at most, on any thread: hash, look up,
	 * compress, store, and set ref of each.  worker (below mill_workers)
	 * is in use by one thread at a time.  0 or -1.
	 */
	int (*work)(void *, unsigned, struct mill_piece *, size_t,
	    struct err *);
	/* The next chunk, in order: the tag of its file, and its ref. */
	int (*done)(void *, void *, uint64_t, struct err *);
	void *arg;
};

struct mill *mill_new(const struct mill_how *, struct err *);
/* mill_free: waits for what is under way; NULL is fine. */
void mill_free(struct mill *);

/* mill_workers(f): the most that may work at once. */
unsigned mill_workers(const struct mill *);

/*
 * A file: mill_begin, then its bytes in place (mill_room lends room for at
 * least one, mill_used takes n of them), then mill_end, which says how many
 * chunks it became.  No bytes: no chunks.  The cutter is borrowed until then.
 */
void mill_begin(struct mill *, const struct cut *, void *);
unsigned char *mill_room(struct mill *, size_t *, struct err *);
int  mill_used(struct mill *, size_t, struct err *);
int  mill_end(struct mill *, size_t *, struct err *);

/* mill_content(f, c, n, e): n bytes out of c, as if by mill_room and _used. */
int  mill_content(struct mill *, struct content *, uint64_t, struct err *);

/*
 * mill_pending(f): bytes taken since the last cut.
 * mill_ref(f, ref, e): a chunk of the file begun whose result is known; only
 * where no bytes are pending.
 */
size_t mill_pending(const struct mill *);
int  mill_ref(struct mill *, uint64_t, struct err *);

/*
 * mill_poll: done() for all chunks whose results are there and in turn.
 * mill_step: waits for the oldest ones; 0 also when there are none but what is
 * pending.
 * mill_drain: for all.  -1: what work or done answered.
 */
int mill_poll(struct mill *, struct err *);
int mill_step(struct mill *, struct err *);
int mill_drain(struct mill *, struct err *);

#endif
