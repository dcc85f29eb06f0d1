#ifndef CALA_EXEC_KOPIA_H
#define CALA_EXEC_KOPIA_H

/*
 * kopia: the program Kopia, as a client of a Kopia repository server.
 *
 * A connection is kept in files as Wings, the node daemon of Calagopus, keeps
 * it (Calagopus layout: kopia), so that either uses the other's:
 *
 *	B/.kopia/SLUG.config    Kopia's own; never the password
 *	B/.kopia/SLUG.cache     its cache, used for nothing else: Kopia deletes
 *	                        it when it disconnects
 *
 * with SLUG the first 16 hex digits of SHA-256(url NUL user).  Beside these, ours:
 *
 *	SLUG.cala.config        the same connection without a cache of contents,
 *	                        which saves a key derivation of 0.1 s each time
 *	SLUG.cala.seen          manifests that were looked up last (by the driver)
 *	SLUG.lock               held while it is connected
 *	SLUG.HASH.lock          held while a source is backed up
 *	SLUG.HASH.rules         its path: rules of ours are in its policy
 *
 * Everything goes through the program's command line; this room knows its
 * options, its JSON and its messages, and nothing of records.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <jansson.h>

#include "base/proc.h"
#include "base/uuid.h"
#include "entry/entry.h"

struct child;
struct err;
struct kopia;
struct log;
struct match;
struct secret;

enum {
	KOPIA_SLUG = 17,
	KOPIA_ID = 80,          /* of a manifest or an object, as text */
	KOPIA_SAID = 400,
	KOPIA_ARGS = 256                /* at most, of one command */
};

#define KOPIA_OLDEST "0.21"     /* --disable-file-logging */

/* What a configuration says; borrowed as long as the connection. */
struct kopia_how {
	const char *url;
	const char *user;               /* "user@host" */
	const char *fingerprint;        /* 64 hex digits; NULL: trust store */
	const char *folder;             /* B */
	const char *cache;              /* folder of caches; NULL: with the rest */
	const struct secret *password;
	char *const *env;               /* ours: PATH, HOME, proxies */
	uint64_t memory;                /* to stay under; 0: Kopia's own mind */
	double idle, stall;             /* seconds of silence, of short and of
					 * long commands; 0: no limit */
	struct log *log;
};

/*
 * kopia_open(&k, how, e): makes the folder (mode 0700) and connects where no
 * connection fits what how says; a failure leaves the files of an old
 * connection as they were.  CALA_USAGE: what can't be (no https, a password
 * that Kopia would trim, a Kopia older than KOPIA_OLDEST).
 * kopia_close: NULL is fine.
 */
int  kopia_open(struct kopia **, const struct kopia_how *, struct err *);
void kopia_close(struct kopia *);

/*
 * kopia_dirfd(k): the folder B/.kopia; lent.  kopia_slug(k).
 * kopia_source(k, path, e): "user@host:path" on the heap; CALA_USAGE when path
 * is not UTF-8, which Kopia could not keep.
 */
int kopia_dirfd(const struct kopia *);
const char *kopia_slug(const struct kopia *);
char *kopia_source(const struct kopia *, const char *, struct err *);

/* kopia_make_slug(url, user, out): the pure function. */
int kopia_make_slug(const char *, const char *, char [KOPIA_SLUG],
    struct err *);

/*
 * kopia_version(k, out, n, e): what `kopia --version` says first.  CALA_USAGE
 * when it is a number below KOPIA_OLDEST.
 * kopia_too_old(text): the pure part: is it surely older?
 */
int kopia_version(struct kopia *, char *, size_t, struct err *);
bool kopia_too_old(const char *);

/* ---- one run of the program ---- */

struct kopia_cmd {
	const char *what;               /* "snapshot list": for messages */
	const char *const *args;        /* all, NULL-terminated; borrowed until
					 * the end of the run */
	bool cached;                    /* with the cache of contents */
	bool slow;                      /* moves data: how.stall */
	bool kill;                      /* ended by SIGKILL: by any other signal
					 * it would store what it has */
	int in;                         /* PROC_NULL, or standard input */
	double limit;                   /* seconds in all; 0: none */
	/* a line of standard error that is no message of Kopia's log, or NULL */
	void (*line)(void *, char *);
	void *ctx;
	/*
	 * Exit status 1 is looked at by the caller (run.status) instead of being
	 * a failure; what it said is run.said.
	 */
	bool may_fail;
};

struct kopia_run {
	struct child *child;
	struct kopia *k;
	struct kopia_cmd cmd;
	char name[64];
	const char *argv[KOPIA_ARGS];
	int status;                     /* once ended */
	int code;                       /* what its messages mean; 0: unknown */
	bool lost;                      /* it could not read all manifests */
	bool fatal;                     /* "Found N fatal error(s)": partial */
	char said[KOPIA_SAID];          /* the message that code is of, or the
					 * last */
};

/*
 * kopia_start(r, k, cmd, e): r must stay where it is until kopia_end(r), which
 * ends what still runs, and is fine also after a failure here.
 */
int  kopia_start(struct kopia_run *, struct kopia *, const struct kopia_cmd *,
    struct err *);
void kopia_end(struct kopia_run *);

/* kopia_failed(r, e): the error of a run that has ended badly; -1. */
int kopia_failed(const struct kopia_run *, struct err *);

/*
 * kopia_do(k, what, args, e): run, drop the output.
 * kopia_calm(k): for cleaning up after a stop signal: it is forgotten, and what
 * kopia_do runs is limited in time; kopia_uncalm(k, what it returned) afterwards.
 */
int  kopia_do(struct kopia *, const char *, const char *const *,
    struct err *);
int  kopia_calm(struct kopia *);
void kopia_uncalm(struct kopia *, int);

/*
 * kopia_class(line): which exit status a message of Kopia's means; 0: none that
 * we know.  Pure.
 */
int kopia_class(const char *);

/* ---- manifests ---- */

/* A snapshot; strings are lent by json. */
struct kopia_snap {
	json_t *json;
	char id[KOPIA_ID];              /* of the manifest: changes with pins */
	char root[KOPIA_ID];            /* of the root directory: never */
	char uuid[UUID_TEXT];           /* tag backup-uuid; "": none */
	const char *host, *user, *path;
	struct timespec start, end;
	bool incomplete;                /* cancelled, or a checkpoint */
	uint64_t size, files, symlinks, dirs;
	uint64_t failed;                /* entries that could not be read */
	uint64_t excluded;              /* files and folders left out by rules */
	struct entry entry;             /* of the root: mode, mtime, owner */
};

/*
 * kopia_snap(json, s, e): 0; 1: no snapshot of a directory; -1 (CALA_INTEGRITY)
 * when what must be there is not, or malformed.  Borrows json.
 */
int kopia_snap(json_t *, struct kopia_snap *, struct err *);

/* kopia_pin(s, prefix, i): the rest of the i-th pin that begins so, or NULL. */
const char *kopia_pin(const struct kopia_snap *, const char *, size_t);

/*
 * kopia_error(s, i, &path, &text): the i-th failed entry that the manifest
 * names (Kopia keeps ten); false past the end.
 */
bool kopia_error(const struct kopia_snap *, size_t, const char **,
    const char **);

/*
 * kopia_list(k, uuid, fn, ctx, e): each snapshot that has a tag backup-uuid (of
 * that UUID when it is not NULL), incomplete ones, too, by fn, which borrows
 * it.  CALA_NET, and nothing promised about what fn got, when Kopia could not
 * read all of them.
 */
typedef int kopia_snap_fn(void *, const struct kopia_snap *, struct err *);
int kopia_list(struct kopia *, const char *, kopia_snap_fn *, void *,
    struct err *);
/* The two halves of it, for who has something else to do in between. */
int kopia_list_start(struct kopia_run *, struct kopia *, const char *,
    struct err *);
int kopia_list_read(struct kopia_run *, kopia_snap_fn *, void *,
    struct err *);

/* kopia_delete(k, id, e): the manifest; 0 also when it is gone already. */
int kopia_delete(struct kopia *, const char *, struct err *);

/* ---- policies ---- */

/*
 * What a source's policy must say for our backups (kopia-restic §11): nothing
 * expires on create; nothing is left out but by our rules.
 *
 * kopia_policy_want(now, rules, n, compressor, e): a new policy: now (may be
 * NULL) with that changed; the rest of it stays.  Pure.  NULL without memory.
 * kopia_policy_start/read: what the source says itself (*out is NULL when it
 * says nothing), or with effective what holds for it.
 * kopia_policy_good(effective, compressor): does it say all that already?
 * kopia_policy_set: replace it.
 */
json_t *kopia_policy_want(const json_t *, char *const *, size_t, const char *,
    struct err *);
int kopia_policy_start(struct kopia_run *, struct kopia *, const char *,
    bool, struct err *);
bool kopia_policy_good(const json_t *, const char *);
int kopia_policy_read(struct kopia_run *, const char *, json_t **,
    struct err *);
int kopia_policy_set(struct kopia *, const char *, json_t *, struct err *);
/*
 * kopia_policy_rules(policy): how many ignore rules are in it.  An empty list
 * means that of the policies above; KOPIA_NO_RULE, which matches nothing, means
 * none.
 */
size_t kopia_policy_rules(const json_t *);
#define KOPIA_NO_RULE "/."

/*
 * kopia_mark(k, path, e), kopia_unmark(k, path, e): note on disk, synced, that
 * rules of ours are in the policy of path; take the note away.
 * kopia_policy_clear(k, path, e): take the rules out of it, and the note away.
 * kopia_source_lock(k, path, alone, wait, e): who gives rules to a source must
 * be alone with it.  A descriptor to close; CALA_LOCKED.
 * kopia_sweep(k, dry, &n, e): remove the rules that dead runs left; n counts
 * the sources.
 */
int kopia_mark(struct kopia *, const char *, struct err *);
int kopia_unmark(struct kopia *, const char *, struct err *);
int kopia_policy_clear(struct kopia *, const char *, struct err *);
int kopia_source_lock(struct kopia *, const char *, bool, unsigned,
    struct err *);
int kopia_sweep(struct kopia *, bool, size_t *, struct err *);

/* ---- rules, and what Kopia can't keep ---- */

/*
 * kopia_pattern(rule, out): a rule of ours in Kopia's syntax, where both mean
 * exactly the same; -1 where they may not.  kopia_literal(path, out): the rule
 * that matches this path and no other.  Pure; failures stick in the buffer.
 */
struct buf;
int  kopia_pattern(const char *, struct buf *);
void kopia_literal(const char *, struct buf *);

/*
 * kopia_scan(dirfd, m, s, log, e): what is in a directory, by names and types
 * alone: the rules to hand over, made of m (NULL: none), and a warning for what
 * Kopia would lose: FIFOs, devices, names that are not UTF-8.
 */
struct kopia_scan {
	char **rules;
	size_t nrules;
	uint64_t kept;                  /* entries */
	uint64_t dropped;               /* by rules; folders count as one */
	uint64_t lost;                  /* warned about */
};
int  kopia_scan(int, const struct match *, struct kopia_scan *, struct log *,
    struct err *);
void kopia_scan_fini(struct kopia_scan *);

/* ---- directories ---- */

/* An entry as it stands in a directory object; en.path is its name alone. */
struct kopia_node {
	struct entry en;
	const char *oid;                /* of its bytes, entries, or target */
};

struct kopia_dir {
	struct kopia_node *v;           /* sorted by name */
	size_t n;
	json_t *json;                   /* lends all strings */
};

/*
 * kopia_dir(text, n, name, d, e): parse a directory object.  CALA_INTEGRITY for
 * anything malformed, names that lead elsewhere among it; name is for messages.
 * kopia_dir_find(d, name, len): the entry of that name, or NULL.
 */
int  kopia_dir(const char *, size_t, const char *, struct kopia_dir *,
    struct err *);
const struct kopia_node *kopia_dir_find(const struct kopia_dir *,
    const char *, size_t);
void kopia_dir_fini(struct kopia_dir *);

/*
 * kopia_oid_ok(s): may it be an object's id?  kopia_mode(n): Go's os.FileMode as
 * st_mode's 07777.
 */
bool kopia_oid_ok(const char *);
uint32_t kopia_mode(uint64_t);

/* ---- reading a snapshot ---- */

/*
 * kopia_fetch(k, oids, n, jobs, fn, ctx, e): the whole of n objects, each of at
 * most max bytes, several at once, in order: fn gets the index, the bytes (NUL
 * behind them) and how many.  CALA_INTEGRITY when one is longer.
 */
typedef int kopia_fetch_fn(void *, size_t, const char *, size_t,
    struct err *);
int kopia_fetch(struct kopia *, const char *const *, size_t, size_t, unsigned,
    kopia_fetch_fn *, void *, struct err *);

/*
 * kopia_tree(k, snap, deep, jobs, log, e): the snapshot as a tree; snap is
 * copied.  Its reader takes Kopia's own tar stream; deep: entries alone are
 * wanted, and a content gives an error.  Each question is one or two runs of the
 * program.
 * kopia_quick(k, snap, path, e): a tree that has the regular file path and
 *   nothing else, by one run of the program, which looks itself whether the
 *   manifest is still there.  NULL: there is none, or it is something else; e
 *   says no more.
 * kopia_tar_file(block, size): the pure part: is the first block of a tar that of
 *   a regular file without a name, whose size it says itself?
 * kopia_reader(k, snap, log, e): all of it, by the tar stream, with the root's
 * own metadata first.
 */
enum { KOPIA_TAR = 512 };
struct tree *kopia_tree(struct kopia *, const struct kopia_snap *, bool,
    unsigned, struct log *, struct err *);
struct tree *kopia_quick(struct kopia *, const struct kopia_snap *,
    const char *, struct err *);
bool kopia_tar_file(const unsigned char [KOPIA_TAR], uint64_t *);
struct reader *kopia_reader(struct kopia *, const struct kopia_snap *,
    struct log *, struct err *);

#endif
