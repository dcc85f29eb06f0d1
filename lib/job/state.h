#ifndef CALA_JOB_STATE_H
#define CALA_JOB_STATE_H

/*
 * state: one lock a server, and the note of what a run has begun and must end
 * (SERVER.lock, SERVER.state in the runtime directory); for this room.
 *
 * The lock is a flock: it goes with its last holder, and holders are cala and
 * the tools it started (never hooks: what a hook leaves running in the
 * background must not hold it).  A state that is there when the lock has been
 * taken was left by a run that was killed.
 */

#include "base/uuid.h"
#include "job/hook.h"
#include "job/job.h"

struct job_lock {
	int dirfd, fd;          /* the runtime directory; the lock, inherited */
	char server[UUID_TEXT];
};

#define JOB_LOCK_INIT { -1, -1, "" }

/*
 * lock_take(env, server, what, l, e): lock the server for what ("backup"),
 * then finish what a killed run left: a missed post-backup hook runs, an
 * interrupted swap of its directory is ended by `cala-unpack --recover`.
 * CALA_LOCKED with the holder in the message.
 * lock_drop(l): unlock; always safe.
 */
int  lock_take(const struct job_env *, const struct conf_server *,
    const char *, struct job_lock *, struct err *);
void lock_drop(struct job_lock *);

/*
 * state_hook(l, h, e): note that a backup begins and its post-backup hook is
 * owed.  state_restore(l, path, e): that the directory path is being
 * exchanged.  state_clear(l): nothing is owed any more.
 */
int  state_hook(const struct job_lock *, const struct hook *, struct err *);
int  state_restore(const struct job_lock *, const char *, struct err *);
void state_clear(const struct job_lock *);

#endif
