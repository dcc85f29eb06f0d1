#ifndef CALA_PBS_H2_CORE_H
#define CALA_PBS_H2_CORE_H

/*
 * h2_core: nghttp2's session and the requests in it, without socket and thread:
 * bytes go in and come out.  Everything runs in the caller's thread.
 */

#include <stdbool.h>
#include <stddef.h>

#include "pbs/h2.h"

struct nghttp2_session;

struct h2_core {
	/* Frames, to be sent in this order: 0 or -1. */
	int (*out)(void *, const void *, size_t, struct err *);
	/* A request has ended and is not looked at any more. */
	void (*ended)(void *, struct h2_req *);
	void *arg;
	struct log *log;
	size_t frame;                   /* payload of one frame at most */
	/* the rest belongs to h2_core.c */
	struct nghttp2_session *ng;
	struct h2_req *open;            /* submitted and not ended */
	size_t nopen;
	struct h2_req *line;            /* bodies to be sent, oldest first */
	bool paused;
	bool moved;                     /* more than PINGs; reset by callers */
	bool leaving;                   /* the server takes no more */
	struct err e;                   /* what broke it, or why it leaves */
};

enum { H2_OPEN = 1, H2_WHOLE, H2_BROKEN };

/*
 * h2_core_start(c, e): out, ended, arg, log, frame are set.  Submits our
 * settings; nothing is sent before h2_core_send.
 * h2_core_fini(c): requests must have ended.
 */
int  h2_core_start(struct h2_core *, struct err *);
void h2_core_fini(struct h2_core *);

/*
 * h2_core_submit(c, r): r is under way; it ends in any case, by ended().
 * h2_core_feed(c, p, n, e): bytes from the server.  -1: the connection is of no
 * more use.
 * h2_core_send(c, e): at most one frame goes to out(): 1; 0: there is none; -1.
 * h2_core_over(c, e): -1 when both sides have said that they are through.
 * h2_core_ping, h2_core_goodbye: to be sent.
 * h2_core_fail(c, e): all that is under way ends, failed, because of e.
 */
void h2_core_submit(struct h2_core *, struct h2_req *);
int  h2_core_feed(struct h2_core *, const void *, size_t, struct err *);
int  h2_core_send(struct h2_core *, struct err *);
int  h2_core_over(struct h2_core *, struct err *);
void h2_core_ping(struct h2_core *);
void h2_core_goodbye(struct h2_core *);
void h2_core_fail(struct h2_core *, const struct err *);

#endif
