#ifndef CALA_JOB_INSIDE_H
#define CALA_JOB_INSIDE_H

/*
 * inside: backups that lie in the very directory that is to be packed or
 * replaced; for this room.
 */

#include "job/job.h"

/*
 * inside_store(env, cfg, dir, below, e): does a configuration keep its backups
 * at or below dir?  1 and below set to their place in it ("" for dir itself;
 * heap), else 0.  Links and bind mounts are seen through; what does not exist
 * yet counts as if it did.  -1 with err.
 */
int inside_store(const struct job_env *, const struct conf_section *,
    const char *, char **, struct err *);

/*
 * inside_rule(below): the gitignore pattern that leaves out exactly that
 * directory; heap, NULL without memory.
 */
char *inside_rule(const char *);

/*
 * inside_none(env, dir, e): CALA_USAGE when a configuration keeps its backups
 * at or below dir: a restore that replaces dir would carry them off, and
 * --discard-old delete them.
 */
int inside_none(const struct job_env *, const char *, struct err *);

#endif
