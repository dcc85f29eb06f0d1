#ifndef CALA_CHUNK_HASHES_H
#define CALA_CHUNK_HASHES_H

/*
 * hashes: BLAKE2b-256 (RFC 7693) of several messages at once.
 *
 * One message leaves most of a processor idle: each step of its sum waits for
 * the one before.  Four messages side by side, one in each lane of a vector,
 * cost about as much as one.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/hash.h"

struct hash_one {
	const void *p;
	size_t n;
	unsigned char *md;              /* room for BLAKE2B_LEN */
};

/* hashes(v, n): the sums of n messages, on this thread. */
void hashes(const struct hash_one *, size_t);

/*
 * The same in one way, for tests; false when this processor, or this build,
 * has no such way.
 */
enum hashes_way { HASHES_ONE, HASHES_AVX2, HASHES_AVX512, HASHES_WAYS };
bool hashes_by(enum hashes_way, const struct hash_one *, size_t);

#endif
