#ifndef CALA_JOB_BROWSE_H
#define CALA_JOB_BROWSE_H

/*
 * browse: looking through whole backups, over a driver's `ls -R --json`.
 * Entries pass by one at a time; nothing grows with their number but the
 * temporary file of a diff.
 */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct err;
struct job_env;

/*
 * browse_tree(env, server, backup, path, e): all below path (NULL: the root),
 * indented; with env->json the driver's lines as they are.
 */
int browse_tree(const struct job_env *, const char *, const char *,
    const char *, struct err *);

/* What find prints: entries that all conditions hold for. */
struct browse_find {
	const char *name;               /* glob: of the name, with '/' of the
					 * path; NULL: any */
	char type;                      /* 0: any */
	uint64_t larger, smaller;       /* bytes; UINT64_MAX: any */
	bool has_newer, has_older;
	struct timespec newer, older;
	bool null;                      /* raw paths, each ended by a NUL */
};
int browse_find(const struct job_env *, const char *, const char *,
    const char *, const struct browse_find *, struct err *);

/*
 * browse_diff(env, server, a, b, dir, tmp, e): what is in b, or in the
 * directory dir where b is NULL (dir NULL: the server's own), and not in a, the
 * other way round, or different: type, size, mtime (of files), mode, owner,
 * target.  tmp is where sorted lists are kept meanwhile.
 */
int browse_diff(const struct job_env *, const char *, const char *,
    const char *, const char *, const char *, struct err *);

#endif
