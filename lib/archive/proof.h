#ifndef CALA_ARCHIVE_PROOF_H
#define CALA_ARCHIVE_PROOF_H

/*
 * The parts of proof: what watches the wire of a tar.zst and of a tar.gz
 * without decoding it, and the index on its way past.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/archive.h"
#include "archive/index.h"

/*
 * A watch follows frames or members.  feed never fails for what it sees: a
 * contradiction is kept for end; -1 is for want of memory.  forget: the stream
 * is not cala's: keep nothing, hash nothing.  end sets f->proof to NONE, INNER,
 * TRAILER, INDEX or WRONG, counts, and why (at most n bytes) for NONE and
 * WRONG.
 */
struct watch;
struct watch_ops {
	int  (*feed)(struct watch *, const unsigned char *, size_t,
	    struct err *);
	void (*forget)(struct watch *);
	void (*end)(struct watch *, struct archive_facts *, char *, size_t);
	void (*free)(struct watch *);
};

struct watch {
	const struct watch_ops *ops;
};

struct watch *watch_zst(struct err *);
struct watch *watch_gz(struct err *);

/*
 * passing: an index that goes by.  frame is told each frame of it.  end: is it
 * complete, and is hash its hash?
 */
struct passing {
	struct idx_parse p;
	struct idx_blob *b;
	uint64_t files, size;
	int (*frame)(void *, const struct idx_frame *, struct err *);
	void *arg;
};
int  passing_begin(struct passing *, int, bool, uint64_t, uint64_t,
    struct err *);
void passing_facts(const struct passing *, struct archive_facts *);
void passing_free(struct passing *);

/* proof_inner(p, n, f): the inner end mark in the last n bytes of a tar. */
bool proof_inner(const unsigned char *, size_t, struct archive_facts *);

#endif
