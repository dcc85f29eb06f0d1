#ifndef CALA_EXEC_RESTIC_H
#define CALA_EXEC_RESTIC_H

/*
 * restic: the program, run for one repository (kopia-restic §2-§6).
 *
 * What is the same for all of its commands is here: version, environment,
 * password through a descriptor, locks, and what its endings mean:
 *
 *	CALA_NOTFOUND   no such repository, snapshot or path
 *	CALA_LOCKED     somebody else works on the repository
 *	CALA_AUTH       wrong password, refused by the store
 *	CALA_NET        unreachable; CALA_TLS: its certificate
 *	CALA_INTEGRITY  damaged data
 *	CALA_NOSPACE    the store is full
 *	CALA_USAGE      too old for what was asked, no password
 *	CALA_NOCMD      not installed
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <jansson.h>

#include "exec/child.h"

struct log;
struct restic;

/* Version 0.17.3 is 1703. */
enum {
	RESTIC_OLDEST = 1400,
	RESTIC_SUBFOLDER = 1600,        /* SNAPSHOT:PATH, --retry-lock */
	RESTIC_SUMMARY = 1700,          /* kept in snapshots */
	RESTIC_ITEM = 64 << 20          /* JSON of one snapshot or folder */
};

struct restic_how {
	const char *repository;
	const char *cache;      /* its cache, and our memory; made 0700 */
	const char *cacert;     /* NULL */
	const char *compression;        /* NULL */
	uint64_t pack_size;     /* MiB; 0: its own */
	uint64_t retry_lock;    /* seconds to wait for somebody's lock */
	uint64_t limit;         /* bytes per second each way; 0: none */
	uint64_t patience;      /* seconds of failed requests; 0: its own */
	uint64_t idle;          /* seconds of silence; 0: for ever */
	unsigned jobs;          /* 0: its own */
	struct log *log;
};

/*
 * restic_open(&r, how, env, e): find the program in env's PATH, and what it is.
 * env has the backend's variables and the password (RESTIC_PASSWORD,
 * RESTIC_PASSWORD_FILE or RESTIC_PASSWORD_COMMAND); restic_open takes what is
 * in it, also when it fails.  how's strings are borrowed until restic_close.
 */
int  restic_open(struct restic **, const struct restic_how *,
    struct child_env *, struct err *);
void restic_close(struct restic *);     /* NULL is fine */
unsigned restic_version(const struct restic *);
const char *restic_name(const struct restic *); /* "restic 0.19.1" */

enum {
	RESTIC_READS = 1,       /* without a lock */
	RESTIC_WAITS = 2,       /* takes one: waits, removes stale ones */
	RESTIC_PLAIN = 4,       /* prints text, not JSON */
	RESTIC_QUIET = 8        /* may say nothing for hours */
};

/* One run. */
struct restic_run {
	unsigned flags;
	const char *const *args;        /* the command and what follows it */
	const struct proc_fd *fds;      /* more; theirs >= 10 */
	size_t nfds;
	const char *dir;
	uint64_t wait;          /* seconds for a lock, if retry_lock is less */
	/* NULL, or: an error with one file: its path ("" unknown), the text */
	void (*trouble)(void *, const char *, const char *);
	/* NULL, or: a line of text on standard error */
	void (*told)(void *, const char *);
	void *ctx;
	bool partial_ok;        /* exit 3 is a good end */
	bool partial;           /* it was that */
	bool ignored;           /* it passed over a snapshot: there is none */
	bool torn;              /* its cache is not made to its end */
};

/*
 * restic_start(r, run, &c, e): the child, to be read to its end; ctx lives until
 * then, and run's results are not told.  For what takes no lock.
 * restic_do(r, run, body, ctx, e): start it and let body read it to its end; on
 * CALA_LOCKED remove stale locks once, wait and try again for as long as
 * retry_lock says; again, too, with a cache that was torn.  (What ends so has
 * printed nothing.)  body NULL: its output is dropped.
 */
int restic_start(struct restic *, const struct restic_run *, struct child **,
    struct err *);
int restic_do(struct restic *, struct restic_run *,
    int (*)(void *, struct child *, struct err *), void *, struct err *);

/*
 * restic_cache.c.  restic_cache_torn(line): does it say that its cache is not
 * made to its end?  restic_cache_mend(path, log): then take away what is in the
 * way in the caches below path; what makes them just now does so again.
 */
bool restic_cache_torn(const char *);
void restic_cache_mend(const char *, struct log *);

/*
 * restic_text.c.  restic_means(line): what a line of its messages says about the
 * cause: a code, or 0.
 */
int restic_means(const char *);

/* A node of a tree, by `cat tree`, `cat blob` or `ls`. */
struct restic_node {
	char type;              /* enum entry_type; 0: of no use */
	const char *name;       /* its bytes; heap of the node */
	const char *target;     /* NULL: unknown or none */
	const char *path;       /* ls: absolute, NULL: not exactly known */
	bool mangled;           /* ls: the name is not exactly known */
	uint64_t size;
	struct timespec mtime;
	uint32_t mode, uid, gid;
	uint32_t rdev_major, rdev_minor;
	const char *user, *group;
	char subtree[65];       /* "" unless a folder */
	char *own[2];           /* heap: restic_node_fini */
};

/*
 * restic_node(n, json, e): parse; strings of it are lent by json, which must
 * live as long.  CALA_INTEGRITY.
 */
int  restic_node(struct restic_node *, json_t *, struct err *);
void restic_node_fini(struct restic_node *);

#endif
