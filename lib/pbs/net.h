#ifndef CALA_PBS_NET_H
#define CALA_PBS_NET_H

/* net: a TCP connection to the server, or to it through an HTTP proxy. */

#include <sys/types.h>

struct err;
struct log;
struct pbs_target;

/*
 * net_open(t, log, e): a connected, non-blocking, close-on-exec socket.  -1:
 * CALA_NET, also when the host has no address; CALA_SIGNAL; CALA_AUTH when the
 * proxy wants a password; CALA_USAGE when it is none.
 */
int net_open(const struct pbs_target *, struct log *, struct err *);

/*
 * net_wait(fd, events, deadline, e): as poll(), until deadline by when_mono().
 * 1: something happened; 0: the deadline came; -1: CALA_SIGNAL.
 */
int net_wait(int, short, double, struct err *);

#endif
