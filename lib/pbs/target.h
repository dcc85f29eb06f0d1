#ifndef CALA_PBS_TARGET_H
#define CALA_PBS_TARGET_H

/*
 * target: which datastore of which Proxmox Backup Server, and who asks.
 *
 * Everything in this room that talks to a server takes one.  All strings are
 * borrowed and must live as long as whatever was made with it; NULL or 0 is
 * "not set".
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;
struct rate;
struct secret;

enum {
	PBS_PORT = 8007,
	PBS_HOST = 256,                 /* a host name, with NUL */
	PBS_PIN = 32,                   /* SHA-256 of the leaf certificate */
	PBS_NAME_MAX = 255,             /* of a file in a snapshot */
	PBS_PRIV_PATH = 300             /* "/datastore/STORE/NS", with NUL */
};

struct pbs_target {
	char host[PBS_HOST];            /* name or address, without brackets */
	uint16_t port;
	const char *datastore;
	const char *ns;                 /* NULL or "": the root */
	const char *token_id;           /* "user@realm!name" */
	const struct secret *token_secret;
	bool pinned;                    /* pin counts, and nothing else does */
	unsigned char pin[PBS_PIN];
	const char *cacert;             /* PEM file in place of the system's */
	bool insecure;                  /* tls-verify = no, said each run */
	const char *proxy;              /* "http://host:port", or NULL */
	struct rate *rate;              /* --limit-network, or NULL */
	uint64_t in_flight;             /* bytes of bodies; 0: PBS_IN_FLIGHT */
	/* patience, in seconds */
	unsigned timeout;               /* to connect; 0: 10 */
	unsigned answer;                /* to a first answer; 0: 120 */
	unsigned stall;                 /* of a session in which nothing
	                                 * moves; 0: 600 */
	unsigned retries;               /* of calls that can be; 0: 3 */
};

#define PBS_IN_FLIGHT (31u << 20)

/* The last second that a snapshot's name can hold, of the year 9999. */
#define PBS_TIME_MAX INT64_C(253402300799)

/* A snapshot of the target's datastore and namespace. */
struct pbs_snap {
	const char *type;               /* "host"; NULL is "host" */
	const char *id;                 /* "calagopus-UUID" */
	int64_t time;                   /* seconds since 1970 */
};

/*
 * pbs_target_url(t, url, e): host and port out of "https://HOST[:PORT][/]";
 * an IPv6 address stands in brackets.  CALA_USAGE for anything else, also for
 * http: a token is not sent in the clear.
 * pbs_target_proxy(p, proxy, e): host and port of a proxy out of
 * "[http://]HOST:PORT[/]" into p, whose other fields stay.  CALA_USAGE for
 * anything else, without showing it: it may hold a password.
 * pbs_target_pin(t, text, e): the fingerprint in any case, with colons or
 * without, white space around it ignored (pbs.md §1.1).  Exactly 32 bytes, or
 * CALA_USAGE: never "no pin".
 * pbs_target_check(t, e): proxy, names, ids and secret as the server's schemas want
 * them (pbs.md §2.7); CALA_USAGE says which one is not.
 */
int  pbs_target_url(struct pbs_target *, const char *, struct err *);
int  pbs_target_proxy(struct pbs_target *, const char *, struct err *);
int  pbs_target_pin(struct pbs_target *, const char *, struct err *);
int  pbs_target_check(const struct pbs_target *, struct err *);

/*
 * pbs_target_url_text(t, b): append "https://HOST:PORT" to b.
 * pbs_target_acl(t, out): "/datastore/STORE[/NS]", where the privileges are
 * looked up (pbs.md §2.3); returns out.
 */
void pbs_target_url_text(const struct pbs_target *, struct buf *);
const char *pbs_target_acl(const struct pbs_target *, char [PBS_PRIV_PATH]);

/*
 * pbs_name_ok(s): is it the name of a store, an id or a file: A-Z a-z 0-9 _
 * first, then also . and - (pbs.md §2.7), at most PBS_NAME_MAX bytes?
 */
bool pbs_name_ok(const char *);

/*
 * pbs_param(b, key, value): append "key=value" to a query, with ? or & in front
 * as needed and value percent-encoded (pbs.md §2.6).  pbs_param_i64: a number.
 * pbs_escape(b, s): append s, everything but A-Z a-z 0-9 percent-encoded, as
 * a component of a path wants it (a UPID, pbs.md §11.2).
 * pbs_param_snap(b, s): backup-type, backup-id, backup-time.
 */
void pbs_param(struct buf *, const char *, const char *);
void pbs_param_i64(struct buf *, const char *, int64_t);
void pbs_param_snap(struct buf *, const struct pbs_snap *);
void pbs_escape(struct buf *, const char *);

#endif
