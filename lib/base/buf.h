#ifndef CALA_BASE_BUF_H
#define CALA_BASE_BUF_H

/*
 * buf: the one growing byte buffer.
 *
 * p is never NULL and always NUL-terminated behind len, so it can be used as a
 * string.  Growth is bounded by max; a failure (max reached or no memory) is
 * sticky, so that ten appends need one check of buf_failed().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct buf {
	char *p;
	size_t len;
	size_t cap;             /* bytes allocated, 0 while p is static */
	size_t max;             /* len never passes this */
	bool failed;
	bool lent;              /* p is not ours */
};

/*
 * buf_init(b, max): empty, nothing allocated.  buf_fini(b): frees.
 * buf_over(b, p, n): empty, over the n > 0 bytes at p, which stay the caller's:
 * at most n - 1 fit, and nothing is to be freed or can be detached.
 */
void buf_init(struct buf *, size_t);
void buf_fini(struct buf *);
void buf_over(struct buf *, void *, size_t);

/* All return 0, or -1 with b->failed set (and then b->len unchanged). */
int buf_add(struct buf *, const void *, size_t);
int buf_str(struct buf *, const char *);
int buf_chr(struct buf *, char);
int buf_printf(struct buf *, const char *, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * buf_room(b, n): make room for n more bytes behind len and return where they
 * go; the caller adds to len what it wrote and must keep the NUL (buf_grown).
 * NULL when it can't be had.
 */
char *buf_room(struct buf *, size_t);
void buf_grown(struct buf *, size_t);

/* buf_reset(b): empty again, memory kept, failure forgotten. */
void buf_reset(struct buf *);

/* buf_cut(b, n): keep the first n bytes only. */
void buf_cut(struct buf *, size_t);

/* buf_failed(b, e): 0, or -1 with e set ("out of memory or over the limit"). */
int buf_failed(const struct buf *, struct err *);

/* buf_detach(b): the bytes as a heap string the caller frees; NULL if failed. */
char *buf_detach(struct buf *);

#endif
