#ifndef CALA_PBS_SESSION_H
#define CALA_PBS_SESSION_H

/*
 * session: from nothing to HTTP/2 (pbs.md §4.1, §4.3): one HTTP/1.1 request over
 * TLS, whose 101 turns the connection over.
 */

#include <stddef.h>

struct buf;
struct err;
struct h2;
struct log;
struct pbs_snap;
struct pbs_target;

/*
 * pbs_session(t, verb, s, log, e): verb is "backup" or "reader"; s the snapshot.
 * NULL: what pbs_refused says of an answer that is not 101, CALA_NET, CALA_TLS,
 * CALA_SIGNAL.
 */
struct h2 *pbs_session(const struct pbs_target *, const char *,
    const struct pbs_snap *, struct log *, struct err *);

/* pbs_session_what(t, s, out, n): "STORE: host/ID/TIME" for messages. */
const char *pbs_session_what(const struct pbs_target *,
    const struct pbs_snap *, char *, size_t);

/*
 * pbs_hello_parse(p, n, &status, &end, e): the head of an answer in the first n
 * bytes: 1 when it is whole, and end is behind it; 0: more must be read; -1:
 * it is not HTTP/1.1.
 */
int pbs_hello_parse(const char *, size_t, unsigned *, size_t *,
    struct err *);

/* pbs_token(t, b): append "PBSAPIToken=ID:SECRET", the secret encoded. */
void pbs_token(const struct pbs_target *, struct buf *);

#endif
