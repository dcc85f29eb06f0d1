#ifndef CALA_DRIVER_S3_MEMORY_H
#define CALA_DRIVER_S3_MEMORY_H

/*
 * s3_memory: the uploads that this machine began, so that another run can
 * abort what a killed one left, also where a store lists no uploads (MinIO
 * lists those of one key only) and whatever their keys are.  A file each,
 * locked by its process, in the folder s3-uploads of the state directory.
 */

#include <stdbool.h>

struct err;
struct log;
struct s3;
struct s3_target;

struct memory {
	int dirfd, fd;          /* dirfd is borrowed */
	char name[32];
};
#define MEMORY_INIT { -1, -1, "" }

/*
 * memory_open(env, create, e): that folder, as STATE_DIRECTORY,
 *   XDG_STATE_HOME or HOME in env tell; the caller closes it.  -1 with
 *   CALA_NOTFOUND when it was never made.
 * memory_note(m, dirfd, t, key, id, e): note an upload to t's bucket.
 *   memory_drop(m): it is over.
 * memory_each(dirfd, t, dead, fn, arg, e): each upload to t's bucket that was
 *   noted: of processes that are gone (dead), or that live.  When fn returns 0
 *   for a dead one, it is forgotten; -1 goes on with the next, and is returned
 *   in the end.
 */
int  memory_open(char *const *, bool, struct err *);
int  memory_note(struct memory *, int, const struct s3_target *,
    const char *, const char *, struct err *);
void memory_drop(struct memory *);
typedef int memory_fn(void *, const char *, const char *, struct err *);
int  memory_each(int, const struct s3_target *, bool, memory_fn *, void *,
    struct err *);
/*
 * memory_sweep(dirfd, t, s, log): abort those of processes that are gone, and
 * say so; what can't be aborted is said, too, and stays noted.
 */
void memory_sweep(int, const struct s3_target *, struct s3 *, struct log *);

#endif
