#ifndef CALA_PBS_TLS_H
#define CALA_PBS_TLS_H

/*
 * tls: a TLS connection on a non-blocking socket, and whom we trust.
 *
 * With a pin the SHA-256 of the server's own certificate decides alone; else
 * the system's trust store and the host name do (pbs.md §1.3).  Either is
 * settled inside the handshake, before the first byte of ours.
 *
 * One thread uses a connection at a time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <openssl/ssl.h>

#include "pbs/target.h"

struct err;
struct log;
struct tls;

/*
 * What the handshake saw.  tls_trust(ctx, c, e): make ctx verify for c->target
 * and fill in c, which must outlive ctx.  For our own connections and for
 * libcurl's.  CALA_TLS when the trust store can't be read.
 */
struct tls_check {
	const struct pbs_target *target;
	bool seen;                              /* a certificate came */
	bool wrong;                             /* it is not the pinned one */
	unsigned char pin[PBS_PIN];             /* the one presented */
	char why[128];                          /* OpenSSL's reason, or "" */
};
int tls_trust(SSL_CTX *, struct tls_check *, struct err *);

/*
 * tls_distrust(c, e): the certificate was refused, as an error: CALA_TLS with
 * what was expected and what was presented, and what to do.  Returns -1.
 */
int tls_distrust(const struct tls_check *, struct err *);

/*
 * tls_open(t, log, e): connect (every address of the host in turn), through
 * the proxy if there is one, and shake hands.  NULL: CALA_NET, CALA_TLS,
 * CALA_SIGNAL when asked to stop.
 * tls_free: close_notify as far as it can be sent at once, close; NULL is
 * fine.
 */
struct tls *tls_open(const struct pbs_target *, struct log *, struct err *);
void tls_free(struct tls *);

/*
 * tls_read(t, p, n, e): up to n bytes that are there; 0: none now; -1: the
 * connection failed or was closed (CALA_NET).
 * tls_write(t, p, n, e): all n bytes, encrypted, into memory; the caller keeps
 * that small by looking at tls_unsent.
 * tls_flush(t, e): hand the kernel what it takes; 0 or -1.
 * tls_unsent(t): bytes not yet handed over.  tls_fd(t): for poll().
 */
ssize_t tls_read(struct tls *, void *, size_t, struct err *);
int  tls_write(struct tls *, const void *, size_t, struct err *);
int  tls_flush(struct tls *, struct err *);
size_t tls_unsent(const struct tls *);
int  tls_fd(const struct tls *);

/*
 * tls_wait(t, deadline, e): until there may be something to read, or unsent
 * bytes may go; deadline by when_mono().  0, or -1: CALA_NET "no answer ...",
 * CALA_SIGNAL.
 */
int tls_wait(struct tls *, double, struct err *);

#endif
