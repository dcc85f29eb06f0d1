#ifndef CALA_EXEC_CHILD_H
#define CALA_EXEC_CHILD_H

/*
 * child: one run of a foreign program whose output is read, as restic and
 * Kopia are driven (kopia-restic: "Common child-process rules").
 *
 * The output is pulled: child_read or child_line, and standard error is taken
 * meanwhile, so that neither pipe can fill up.  The program has a process group
 * of its own and an environment made from nothing.  Nothing counts as read
 * before the program has ended well: the end of its output is only told then.
 * A stop signal (stop.h) is handed on, and whatever is given up is ended with
 * all that it started.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#include "base/proc.h"

struct child;
struct err;
struct log;
struct source;

enum {
	CHILD_LINE = 64 << 20,  /* longest line of output by default */
	CHILD_SAID = 512        /* what errors quote of standard error */
};

/* What to start; borrowed until child_free, but argv, env and fds for less. */
struct child_spec {
	const char *what;       /* in messages: "restic backup" */
	const char *const *argv;        /* argv[0] is looked up in our PATH */
	const char *const *env;         /* all of it: child_env_list */
	const char *dir;        /* where to start; NULL: here */
	int in;                 /* standard input, or PROC_NULL */
	const struct proc_fd *fds;
	size_t nfds;
	int ends;               /* the signal it cleans up by; 0: SIGTERM */
	double grace;           /* seconds for that; 0: 20 */
	double idle;            /* seconds without a byte; 0: no limit */
	double limit;           /* seconds in all; 0: no limit */
	size_t line_max;        /* 0: CHILD_LINE */
	struct log *log;        /* standard error at --debug; NULL */
	/*
	 * NULL, or: a line of standard error (no newline, NUL behind, may be
	 * changed).  Returns what of it errors should quote (line, a part of
	 * it, something of ctx), NULL: nothing.
	 */
	const char *(*said)(void *, char *, size_t);
	/*
	 * NULL, or asked several times a second while it is waited for: -1 with
	 * err gives it up.
	 */
	int (*wait)(void *, struct err *);
	/*
	 * NULL (only 0 is a good end), or: it has ended with this status (128 +
	 * signal), what it said last is said ("" nothing).  0: well, or -1 with
	 * err; child_fail makes a message.
	 */
	int (*judge)(void *, int, const char *, struct err *);
	void *ctx;
	void (*release)(void *);        /* NULL, or frees ctx, by child_free */
};

#define CHILD_SPEC_INIT { NULL, NULL, NULL, NULL, PROC_NULL, NULL, 0, 0, 0, \
	0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL }

/*
 * child_start(&c, spec, e): CALA_NOCMD when there is no such program,
 * CALA_NOEXEC when it can't be run.  From the main thread (proc.h).
 * Then ctx stays the caller's.
 * child_free: ends it, with its group, if it still runs; NULL is fine.
 */
int  child_start(struct child **, const struct child_spec *, struct err *);
void child_free(struct child *);

/*
 * child_read(c, p, n, e): bytes of its output.  > 0; 0: the output is over, and
 * the program has ended and was judged to have ended well; -1: it has not (what
 * was read so far is worth nothing), or the idle or overall limit is reached
 * (CALA_NET), or a stop signal came.  Then it has been ended.
 * child_line(c, &line, &n, e): 1 with the next line (no newline, NUL behind;
 * lent until the next call, may be changed), 0 and -1 as child_read.  A last
 * line without newline counts.  CALA_INTEGRITY: longer than line_max.
 * child_finish(c, e): read and drop the rest; 0 or -1 as at the end.
 * Use child_read or child_line with one child, not both.
 */
ssize_t child_read(struct child *, void *, size_t, struct err *);
int child_line(struct child *, char **, size_t *, struct err *);
int child_finish(struct child *, struct err *);
const char *child_what(const struct child *);   /* of the spec */

/*
 * child_source(c, e): its output as a source.  Takes c, also when it fails.
 */
struct source *child_source(struct child *, struct err *);

/*
 * child_json(line, n): an object on a line of output, or NULL: it is none (a
 * program may print other things in between).  The caller's (json_decref).
 */
json_t *child_json(const char *, size_t);

/*
 * child_strip(s, noise): s without any of the words that it begins with, as
 * often as it does; noise ends with NULL.
 */
const char *child_strip(const char *, const char *const *);

/*
 * child_items(c, max, fn, ctx, e): its whole output as one JSON array; fn gets
 * each element (an object, at most max bytes of text) and borrows it; -1 from
 * it ends the program.  What stands before and behind the array (white space
 * and other lines) is passed over.  0 when the program has ended well and the
 * array was whole; -1: CALA_INTEGRITY when there was none, cut short or
 * garbled.
 * child_member(c, key, …): the same of an object whose first member, key, is the
 * array.
 */
int child_items(struct child *, size_t, int (*)(void *, json_t *,
    struct err *), void *, struct err *);
int child_member(struct child *, const char *, size_t, int (*)(void *,
    json_t *, struct err *), void *, struct err *);

/*
 * child_fail(what, status, said, code, e): "WHAT: exited with status 1: SAID"
 * with that code; -1.
 */
int child_fail(const char *, int, const char *, int, struct err *);

/*
 * An environment from nothing.  Values may be secrets: child_env_fini wipes
 * them.
 *
 * child_env_init(v, ours, e): PATH, HOME and TMPDIR as in ours (an environ; or
 * what is usual), LC_ALL=C, TZ=UTC.
 * child_env_set(v, name, value, e): adds or replaces.  CALA_USAGE when name is
 * none (letters, digits, '_').
 * child_env_pass(v, ours, name, e): as it is in ours, if it is there and not
 * set yet; a name that ends in '_' stands for all that begin so.
 * child_env_has: the same names.  child_env_get: NULL when it is not set.
 * child_env_list: for child_spec; lent until the next change.
 */
struct child_env {
	char **v;               /* "NAME=VALUE", NULL behind the last */
	size_t n;
};

#define CHILD_ENV_INIT { NULL, 0 }

int  child_env_init(struct child_env *, char *const *, struct err *);
int  child_env_set(struct child_env *, const char *, const char *,
    struct err *);
int  child_env_pass(struct child_env *, char *const *, const char *,
    struct err *);
bool child_env_has(const struct child_env *, const char *);
const char *child_env_get(const struct child_env *, const char *);
const char *const *child_env_list(const struct child_env *);
void child_env_fini(struct child_env *);

/*
 * child_memory(name, p, n, e): n bytes as a file without a name on any disk,
 * sealed; as descriptor 3, say, a program reads it as /dev/fd/3, as often as it
 * likes.  Close it.  -1 with err.
 */
int child_memory(const char *, const void *, size_t, struct err *);

#endif
