#ifndef CALA_ARCHIVE_FRAMES_H
#define CALA_ARCHIVE_FRAMES_H

/*
 * frames: a sink that cuts a tar into independent frames, compresses them on
 * all cores and passes them on in order.
 *
 * The cuts depend on the bytes and marks alone, so that any number of threads
 * gives the same output.  Buffers are counted by the pages they have touched
 * and never pass the budget.
 */

#include <stdbool.h>
#include <stdint.h>

#include "archive/archive.h"
#include "base/io.h"

struct indexw;
struct err;

/*
 * frames_plan(how, level, plan, e): how many threads and which budget.  Without
 * how->memory the whole process is meant to stay under
 *
 *	18 MiB + jobs * context + (jobs + 2) * 1.25 * frame
 *
 * and up to 4 jobs with small contexts (zstd up to level 4) under 64 MiB; frame
 * is 8 MiB (gzip: 2 MiB, xz and lzip from level 6: 32 MiB), a context as in
 * press.c.  With it, jobs are given up until it holds, and when not even one
 * fits that is CALA_USAGE, naming the least that would do.
 */
struct frames_plan {
	unsigned jobs;
	uint64_t budget;        /* bytes of frames, in and out */
	uint64_t total;         /* what the process may reach */
};
int frames_plan(const struct archive_write *, int, struct frames_plan *,
    struct err *);

/*
 * frames_new(format, level, plan, index, next, e): index (may be NULL) is told
 * each frame.  next is borrowed: commit flushes the last frame and commits
 * next; abort leaves it alone.
 */
struct sink *frames_new(enum archive_format, int,
    const struct frames_plan *, struct indexw *, struct sink *,
    struct err *);

/* frames_flush: all frames up to here have been written to next. */
int frames_flush(struct sink *, struct err *);

#endif
