#ifndef CALA_DDUP_FEED_H
#define CALA_DDUP_FEED_H

/*
 * feed: the contents of files, their chunks decoded ahead by a pool and handed
 * out in order.
 *
 * Files are added in the order in which they will be read; what is in flight
 * is bounded in bytes, whatever their sizes are.  One thread uses a feed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ddup/archive.h"

struct err;
struct feed;
struct ffile;

/*
 * feed_new(a, jobs, lenient, e): of the archive a, with jobs threads (0: one a
 * core).  lenient: where a chunk is missing or damaged, zeros and a warning
 * instead of an error.
 */
struct feed *feed_new(struct archive *, unsigned, bool, struct err *);
void feed_free(struct feed *);          /* NULL is fine */

/*
 * feed_add(f, body, path, off, e): a file, to be read from off on; path is for
 * messages and copied.  feed_read: bytes of the file that was added first of
 * those not dropped; 0 at its end.  Exactly body->real bytes come in all:
 * chunks that hold fewer or more are a warning.  feed_drop: it is done with.
 * feed_ahead(f): plan as far as the bounds allow; feed_full(f): they are
 * reached.
 */
struct ffile *feed_add(struct feed *, const struct abody *, const char *,
    uint64_t, struct err *);
ssize_t feed_read(struct feed *, struct ffile *, void *, size_t,
    struct err *);
int  feed_skip(struct feed *, struct ffile *, uint64_t, struct err *);
void feed_drop(struct feed *, struct ffile *);
int  feed_ahead(struct feed *, struct err *);
bool feed_full(const struct feed *);

#endif
