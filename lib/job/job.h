#ifndef CALA_JOB_JOB_H
#define CALA_JOB_JOB_H

/*
 * job: what the dispatcher does.  It resolves, locks, runs hooks and starts
 * the other tools, joined by pipes; it knows drivers by their command line only
 * (design: "Driver contract"), so any executable cala-DISK will do.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/opt.h"
#include "base/uuid.h"
#include "config/conf.h"
#include "driver/record.h"
#include "job/retain.h"

struct err;
struct log;

/* What main found out for all verbs; everything is borrowed. */
struct job_env {
	const struct conf *conf;
	struct log *log;
	FILE *out;                      /* standard output */
	bool tty, err_tty;              /* it, and stderr, are terminals */
	const char *bindir;             /* where cala itself lies */
	const char *libexec;
	const char *runtime;            /* locks and states: /run/cala; NULL */
	const char *config_file;        /* handed on; NULL: none */
	const char *configuration;      /* -c, or NULL */
	int verbose;
	bool quiet, debug, json, dry_run, header;
	bool progress, progress_off;
	uint64_t lock_wait;             /* seconds */
	/* UINT64_MAX: not given, the configuration counts */
	uint64_t jobs, memory, limit_read, limit_write, limit_network;
};

struct job_backup {
	const char *name, *group;       /* NULL: the default */
	struct opt_list exclude;
	bool lock;
	bool allow_empty;               /* a directory without anything, too */
};

struct job_restore {
	const char *to;                 /* NULL: the server's own directory */
	bool truncate, overwrite, discard_old;
	bool keep_directory;            /* never exchange the directory itself */
	bool space;                     /* refuse what can't fit, at once */
	const char *const *paths;
	size_t npaths;
};

/* The one backup that an operand means, and where it is. */
struct job_found {
	const struct conf_section *cfg;
	struct record rec;              /* without its lists of texts */
};

/*
 * job_backup(env, server, how, e): one backup of one server.  Returns 0,
 * CALA_PARTIAL (committed, but not everything could be read), or -1 with err
 * and nothing new in the store.
 */
int job_backup(const struct job_env *, const char *, const struct job_backup *,
    struct err *);

/*
 * job_restore(env, server, backup, how, e): 0, CALA_PARTIAL, or -1 with err.
 * backup is NULL with discard_old.
 */
int job_restore(const struct job_env *, const char *, const char *,
    const struct job_restore *, struct err *);

/*
 * job_server(env, query, out, e): conf_server, but a full UUID is a server
 * even when nothing of it is left here (path NULL).
 * job_config(env, server, &cfg, e): -c, or what the server resolves to; one in
 * maintenance is an answer here (the driver says what it then refuses).
 */
int job_server(const struct job_env *, const char *, struct conf_server *,
    struct err *);
int job_config(const struct job_env *, const struct conf_server *,
    const struct conf_section **, struct err *);

/*
 * job_find(env, server, backup, out, e): latest and oldest in the server's
 * configuration, a UUID or prefix in all of them (or -c).  CALA_NOTFOUND; the
 * status of a store that could not be asked when nothing was found elsewhere.
 * The caller ends with record_fini(&out->rec).
 */
int job_find(const struct job_env *, const struct conf_server *, const char *,
    struct job_found *, struct err *);

/*
 * job_list(env, servers, n, e): print the backups of n servers (0: all).
 * job_status(env, server, max_age, e): is there a whole backup younger than
 * max_age seconds (UINT64_MAX: any)?  CALA_NOTFOUND otherwise.  One from the
 * future says nothing about its age and is passed over with a warning.
 * job_check(env, configurations, n, e): the drivers' own checks; 0 or the most
 * severe status.
 */
int job_list(const struct job_env *, const char *const *, size_t,
    struct err *);
int job_status(const struct job_env *, const char *, uint64_t, struct err *);
int job_check(const struct job_env *, const char *const *, size_t,
    struct err *);

/*
 * job_delete(env, server, backup, e).  job_set(env, server, backup, what,
 * value, e): what is "--name", "--group", "--lock" or "--no-lock".  0, or -1.
 */
int job_delete(const struct job_env *, const char *, const char *,
    struct err *);
int job_set(const struct job_env *, const char *, const char *, const char *,
    const char *, struct err *);

/*
 * job_prune(env, server, how, e): remove what no rule keeps of the server's
 * backups in its configuration; with env->dry_run print each backup with the
 * rule that keeps it.  0; CALA_PARTIAL when one could not be removed; -1
 * (CALA_USAGE where there is no rule).
 * job_copy(env, server, backup, to, e): store it in the configuration to as
 * well, under its UUID.  0, CALA_PARTIAL for a partial one, or -1.
 */
struct job_prune {
	const char *group;              /* NULL: each; "": those without one */
	struct retain keep;             /* UINT64_MAX: not said */
};
int job_prune(const struct job_env *, const char *, const struct job_prune *,
    struct err *);
int job_copy(const struct job_env *, const char *, const char *,
    const char *, struct err *);

/*
 * job_read(env, server, backup, verb, options, paths, n, e): run the driver's
 * ls, cat, get or verify of one backup with these options (NULL-terminated)
 * and n paths, its output being ours.  Its exit status, or -1 with err.
 */
int job_read(const struct job_env *, const char *, const char *, const char *,
    const char *const *, const char *const *, size_t, struct err *);

/*
 * job_break_lock(env, server, e): take the lock (CALA_LOCKED names a living
 * holder), finish what a killed run left, and remove lock and state.
 */
int job_break_lock(const struct job_env *, const char *, struct err *);

/* job_worse(a, b): the more severe of two exit statuses. */
int job_worse(int, int);

#endif
