#ifndef CALA_S3_ATTR_H
#define CALA_S3_ATTR_H

/* attr: lists of header lines, and what an object is given when it is made. */

#include <stdbool.h>
#include <stddef.h>

#include "s3/s3.h"

/* Heap strings, NULL-terminated for s3_call; v is NULL while n is 0. */
struct lines {
	const char **v;
	size_t n;
};

/*
 * lines_add(l, e, fmt, ...): append one.  lines_free: all of them.
 */
int  lines_add(struct lines *, struct err *, const char *, ...)
    __attribute__((format(printf, 3, 4)));
void lines_free(struct lines *);

/*
 * attr_lines(s, l, type, meta, whole, e): append the headers of PutObject and
 * CreateMultipartUpload (s3.md 4): content type, user metadata, encryption and
 * ACL; whole: also storage class, tags and lock.
 */
int attr_lines(struct s3 *, struct lines *, const char *, const char *const *,
    bool, struct err *);

/* attr_type(key): the content type of a key by its ending. */
const char *attr_type(const char *);

/*
 * attr_etag(etag, out): is it the MD5 of something (32 hex digits, quotes and
 * W/ ignored)?  Fills out with 16 bytes.  attr_etag_parts(etag, out, &n): of a
 * multipart upload, "MD5-N".  attr_etag_same(a, b): the same one, quotes and W/
 * ignored?
 */
bool attr_etag(const char *, unsigned char [16]);
bool attr_etag_same(const char *, const char *);
bool attr_etag_parts(const char *, unsigned char [16], unsigned *);

/* attr_plain(s): is an ETag the MD5 of what was sent, as far as we know? */
bool attr_plain(struct s3 *);

#endif
