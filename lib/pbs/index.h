#ifndef CALA_PBS_INDEX_H
#define CALA_PBS_INDEX_H

/*
 * index: which chunks an archive consists of: .didx, where each has its own
 * length, and .fidx (images), where all but the last have one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pbs/crypt.h"

struct err;
struct sha256;

enum {
	PBS_INDEX_HEAD = 4096,
	PBS_DIDX_ENTRY = 40,
	PBS_FIDX_ENTRY = 32
};

/* A view of a file in memory (or mapped), which stays the caller's. */
struct pbs_index {
	bool fixed;
	size_t n;               /* chunks */
	uint64_t size;          /* of the content */
	uint64_t step;          /* fixed: of a chunk */
	/* of the entries, computed: what the manifest has */
	unsigned char csum[PBS_DIGEST];
	const unsigned char *entries;
};

/*
 * pbs_index_open(ix, p, n, e): the n bytes of a .didx or .fidx file.  All bounds
 * are checked (ends ascend, no chunk is longer than PBS_CHUNK_MAX); its own
 * checksum and header are not trusted: compare csum and size with the manifest.
 * CALA_INTEGRITY.  Nothing is to be freed.
 */
int pbs_index_open(struct pbs_index *, const void *, size_t, struct err *);

/*
 * For i < n: where chunk i begins, how long it is, its digest (lent).
 * pbs_index_find(ix, off): the chunk that holds the byte off < size.
 */
uint64_t pbs_index_start(const struct pbs_index *, size_t);
size_t pbs_index_length(const struct pbs_index *, size_t);
const unsigned char *pbs_index_digest(const struct pbs_index *, size_t);
size_t pbs_index_find(const struct pbs_index *, uint64_t);

/*
 * pbs_csum_add(h, end, digest): one more entry of a .didx into the checksum of
 * all of them, by which the server and the manifest know it.
 */
void pbs_csum_add(struct sha256 *, uint64_t,
    const unsigned char [PBS_DIGEST]);

#endif
