#ifndef CALA_DDUP_AUDIT_H
#define CALA_DDUP_AUDIT_H

/* audit: read chunks, several at once, and compare them with their hashes. */

#include <stddef.h>
#include <stdint.h>

#include "ddup/ddup.h"

struct err;
struct audit;

/* What came of one: why is NULL when it is sound, of n plain bytes. */
struct audited {
	unsigned char hash[DDUP_HASH];
	size_t n;
	size_t trailing;        /* bytes behind its end in the file */
	const struct err *why;
};

/*
 * audit_new(r, jobs, fn, arg, e): fn is called by this thread, for each chunk,
 * in the order in which they were given.  jobs 0: one a core.
 * audit_chunk(p, hash, size, e): one of a file of size bytes.
 * audit_end(p): the rest of them.  audit_free: NULL is fine.
 */
struct audit *audit_new(struct ddup *, unsigned,
    void (*)(void *, const struct audited *), void *, struct err *);
int  audit_chunk(struct audit *, const unsigned char *, uint64_t,
    struct err *);
void audit_end(struct audit *);
void audit_free(struct audit *);

#endif
