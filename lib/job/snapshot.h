#ifndef CALA_JOB_SNAPSHOT_H
#define CALA_JOB_SNAPSHOT_H

/*
 * snapshot: the moment that a backup is of (snapshot = in cala.conf); for this
 * room.
 */

#include "job/job.h"
#include "snap/source.h"

/*
 * snapshot_wanted(env, srv, disk): does `snapshot =` allow one?  Removes
 * what killed runs left, in any case.
 * snapshot_take(env, srv, s, e): 0 with s->path to be read in place of the
 * server's own; 1: none can be had, and none is demanded; -1.
 */
bool snapshot_wanted(const struct job_env *, const struct conf_server *,
    const char *);
int snapshot_take(const struct job_env *, const struct conf_server *,
    struct source_snap *, struct err *);

#endif
