#ifndef CALA_S3_VERIFY_H
#define CALA_S3_VERIFY_H

/*
 * verify: what a store keeps of an object lets its bytes be proven when they
 * are read whole: a CRC of it, its MD5, or the MD5 of its parts' MD5s
 * (s3.md 3.3, 3.6).
 */

#include <stdbool.h>
#include <stdint.h>

#include "s3/s3.h"
#include "s3/sum.h"

enum { LAYOUT_RUNS = 64 };

/* Sizes of parts: count of them with size bytes each, run after run. */
struct layout {
	struct { uint64_t size; unsigned count; } run[LAYOUT_RUNS];
	unsigned runs;
};

/*
 * layout_parse(text, l): "8388608x1000,16777216x12"; -1 when it is no such.
 * layout_part(l, off, total, &begin, &end): the part that holds the byte at
 * off < total; false past the last one that is told.
 */
int  layout_parse(const char *, struct layout *);
bool layout_part(const struct layout *, uint64_t, uint64_t, uint64_t *,
    uint64_t *);

struct verify;

/*
 * What is known of an object from the headers of its answers.
 */
struct verify_facts {
	uint64_t total;
	char etag[S3_ETAG];
	bool opaque;            /* encrypted: its ETag is no MD5 */
	bool has_layout;
	struct layout layout;
	enum s3_sum sum;        /* of the whole; S3_SUM_NONE: not known */
	unsigned char value[SUM_MAX];
};

/*
 * verify_new(f, e): NULL with e->code 0 when nothing can be proven.
 * verify_piece(v, off, len): the checksum of exactly these bytes that
 *   verify_fold can take, or S3_SUM_NONE: they must go through verify_bytes.
 * verify_fold, verify_bytes: what comes next in the object.
 * verify_end(v): 1: proven; 0: it is another.
 * verify_word(v): "md5", "crc64nvme", ...
 */
struct verify *verify_new(const struct verify_facts *, struct err *);
enum s3_sum verify_piece(const struct verify *, uint64_t, uint64_t);
void verify_fold(struct verify *, const unsigned char [SUM_MAX], uint64_t);
void verify_bytes(struct verify *, const void *, size_t);
int  verify_end(struct verify *);
const char *verify_word(const struct verify *);
void verify_free(struct verify *);      /* NULL is fine */

#endif
