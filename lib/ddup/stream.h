#ifndef CALA_DDUP_STREAM_H
#define CALA_DDUP_STREAM_H

/*
 * stream: a range of a file, decompressed while it is read, and the integers
 * in it.  What does not end where its format says it ends is an error, never
 * silently a shorter stream.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ddup/ddup.h"

struct err;
struct dstream;

/*
 * dstream_new(fd, name, e): over the file fd, which stays the caller's; name
 * (lent) is for messages.
 * dstream_set(d, off, len, code, max, e): begin with the len bytes at off; more
 * than max plain bytes are an error.  What lies in the file's window already is
 * not read again.
 * dstream_sum(d): XXH3-128 of the file's bytes from here on; dstream_sum_end
 * takes it (all of them must have been used).
 */
struct dstream *dstream_new(int, const char *, struct err *);
int  dstream_set(struct dstream *, uint64_t, uint64_t, enum ddup_code,
    uint64_t, struct err *);
int  dstream_sum(struct dstream *, struct err *);
void dstream_sum_end(struct dstream *, unsigned char [16]);
void dstream_free(struct dstream *);    /* NULL is fine */

/*
 * dstream_read(d, p, n, e): up to n bytes, fewer only at the end; -1 with
 * CALA_INTEGRITY where the stream is damaged or cut short.
 * dstream_get(d, p, n, e): exactly n; dstream_skip: exactly n, dropped.
 * dstream_varint(d, &v, e): unsigned LEB128 of at most 10 bytes and 64 bits;
 * dstream_varint32: of at most 5 bytes and 32 bits.  0 or -1.
 * dstream_more(d, e): 1 when there is another byte, 0 at the end, -1.
 * dstream_rest(d): bytes of the range behind the end of the stream.
 */
ssize_t dstream_read(struct dstream *, void *, size_t, struct err *);
int dstream_get(struct dstream *, void *, size_t, struct err *);
int dstream_skip(struct dstream *, uint64_t, struct err *);
int dstream_varint(struct dstream *, uint64_t *, struct err *);
int dstream_varint32(struct dstream *, uint32_t *, struct err *);
int dstream_more(struct dstream *, struct err *);
uint64_t dstream_rest(const struct dstream *);

/*
 * struct dsink: the way back: bytes through raw deflate (or as they are) into a
 * descriptor, hashed on the way.
 *
 * dsink_new(fd, name, e).  dsink_raw: bytes as they are.  dsink_begin(d, level):
 * from here on one deflate stream, until dsink_end.  dsink_varint.
 * dsink_hash_sha1, dsink_hash_xxh: hash all bytes of the file from here on.
 * dsink_flush: everything is written to fd; failures stick until it tells.
 * dsink_pos: bytes of the file so far, also those not yet written.
 */
struct dsink;
struct dsink *dsink_new(int, const char *, struct err *);
int  dsink_hash_sha1(struct dsink *, struct err *);
int  dsink_hash_xxh(struct dsink *, struct err *);
void dsink_put(struct dsink *, const void *, size_t);
void dsink_varint(struct dsink *, uint64_t);
void dsink_begin(struct dsink *, int);
void dsink_end(struct dsink *);
int  dsink_flush(struct dsink *, struct err *);
uint64_t dsink_pos(const struct dsink *);
/* The digests, once; hex is 41 characters with NUL. */
void dsink_sha1(struct dsink *, char [41]);
void dsink_xxh(struct dsink *, unsigned char [16]);
void dsink_free(struct dsink *);        /* NULL is fine */

#endif
