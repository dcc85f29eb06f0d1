#ifndef CALA_JOB_HOOK_H
#define CALA_JOB_HOOK_H

/*
 * hook: the programs that an administrator has run before and after a backup;
 * for this room.
 *
 * No shell: the value is a program and its arguments (conf_words).  Standard
 * input is /dev/null, standard output our standard error.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct job_env;

/* What a hook is told, as CALA_* in its environment; NULL: left out. */
struct hook {
	const char *command;    /* NULL: there is none */
	uint64_t seconds;       /* time limit */
	const char *server, *name, *path;
	const char *configuration, *disk, *backup, *backup_name;
};

/* What only the hook afterwards can be told. */
struct hook_after {
	int code;               /* exit status of the backup */
	bool recovered;         /* of a run that was killed */
	bool has_bytes;
	uint64_t bytes;         /* size of the backup */
	const char *report;     /* the packer's report, a file; NULL */
	/*
	 * NULL, or: the backup only begins, and reads this snapshot; the rest
	 * of this is not known yet.
	 */
	const char *snapshot;
};

enum { HOOK_SKIP = 75 };        /* from pre-backup: no backup this time */

/*
 * hook_run(env, h, stage, after, e): run it ("pre-backup", "post-backup") to
 * its end or its time limit.  Its exit status (0 when there is none), or -1
 * with err (can't be run, took too long, killed by a signal).  A stop signal
 * ends a pre-backup hook; a post-backup hook runs to its end.
 */
int hook_run(const struct job_env *, const struct hook *, const char *,
    const struct hook_after *, struct err *);

#endif
