#ifndef CALA_PBS_H2_H
#define CALA_PBS_H2_H

/*
 * h2: many requests at once over one connection (HTTP/2, RFC 9113).
 *
 * A thread of its own owns the socket and nghttp2's session.  Any thread hands
 * requests over and is told when they have ended.  When the connection fails,
 * every request under way ends once, with the same reason, and later ones are
 * refused with it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/err.h"
#include "pbs/answer.h"

struct buf;
struct log;
struct rate;
struct tls;
struct h2;

/*
 * One request: the caller's memory, which must stay as it is, and the bytes of
 * the body too, from h2_send until it has ended.  Zero all, fill the first
 * part.
 */
struct h2_req {
	const char *method;             /* "GET" ... */
	const char *path;               /* "/blob?file-name=..." */
	const char *type;               /* of the body; NULL: not said */
	const struct iovec *body;
	unsigned nbody;
	/*
	 * Where the body of a 2xx answer goes: to take() piece by piece (0, or
	 * -1 with err to give up), else appended to answer, whose max is the
	 * most that is accepted; neither: it is dropped.
	 */
	int (*take)(void *, const void *, size_t, struct err *);
	struct buf *answer;
	/*
	 * Called once it has ended; the request is the caller's again.  NULL:
	 * the caller uses h2_wait.  take() and ended() run in the session's
	 * thread, must not wait for anything, and send nothing by h2_send.
	 */
	void (*ended)(struct h2_req *);
	void *arg;                      /* take's first; for ended, too */
	/* the outcome */
	unsigned status;                /* of the answer; 0: none came */
	bool failed;                    /* no whole answer: e says why */
	char text[PBS_TEXT];            /* body of an answer that is not 2xx */
	struct err e;
	/* the rest belongs to h2_core.c and h2.c */
	struct h2_req *next, *prev;
	struct h2_req *behind;          /* in the line of bodies */
	int32_t id;
	int state;
	bool waits;                     /* for its turn */
	bool over;                      /* under the lock: it has ended */
	unsigned at;                    /* in body */
	size_t off, left, size;
	size_t ntext;
};

struct h2_how {
	uint64_t in_flight;             /* bytes of bodies; 0: PBS_IN_FLIGHT */
	unsigned stall;                 /* seconds; 0: 600 */
	struct rate *rate;
	const void *early;              /* bytes read behind the 101 */
	size_t nearly;
};

/*
 * h2_start(tls, how, log, e): take the connection over (it is freed with the
 * session, and on failure) and start the thread.  NULL on failure.
 * h2_free: ends what is under way ("closed"), says goodbye, joins; NULL is
 * fine.  No other thread may be inside a call of it by then.
 */
struct h2 *h2_start(struct tls *, const struct h2_how *, struct log *,
    struct err *);
void h2_free(struct h2 *);

/*
 * h2_send(h, r, e): hand r over.  Waits while so many bytes are under way that
 * r's body would pass the limit; one of up to 64 KiB never waits.  -1: not taken
 * (ended is not called): the connection's failure, CALA_SIGNAL.
 * h2_wait(h, r, e): until r has ended, for one without ended().  0: an answer
 * came, of whatever status; -1: r->e.
 * h2_call: both.
 * h2_poll(h, r): has it ended?  For one without ended().
 */
int  h2_send(struct h2 *, struct h2_req *, struct err *);
int  h2_wait(struct h2 *, struct h2_req *, struct err *);
int  h2_call(struct h2 *, struct h2_req *, struct err *);
bool h2_poll(struct h2 *, struct h2_req *);

/*
 * h2_outcome(r, what, e): of one that has ended: 0 for 2xx; -1 with what
 * happened to what.
 */
int h2_outcome(const struct h2_req *, const char *, struct err *);

/* Bytes through the socket so far, encrypted; either may be NULL. */
void h2_moved(struct h2 *, uint64_t *, uint64_t *);

#endif
