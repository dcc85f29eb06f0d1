#ifndef CALA_PXAR_READER_H
#define CALA_PXAR_READER_H

/* reader: what the stream's reader and the tree's share. */

#include "pxar/decode.h"
#include "pxar/pxar.h"

/* Where a reader begins; dir is the path of the directory that holds it. */
struct start {
	char *dir;
	uint64_t pos;           /* of the FILENAME, or the root's first byte */
	bool root;
};

/*
 * reader_parts(meta, payload, split, how, starts, n, paths, npaths, log, e): of
 * what is below each of n starts, which paths name; takes both lists, also on
 * failure.  Hard links whose file is not among them become that file, the first
 * of each.
 */
struct reader *reader_parts(struct ranged *, struct ranged *, bool,
    const struct pxar_read *, struct start *, size_t, char **, size_t,
    struct log *, struct err *);

void starts_free(struct start *, size_t);
void paths_free(char **, size_t);

/*
 * body: the bytes of a file, in the metadata or the payload stream.
 * body_set(b, in, pay, split, found, path): in is where found was read from;
 * pay may be NULL.  path is lent, for messages.
 */
struct body {
	struct content c;
	struct in *in, *pay;
	const char *path;
	uint64_t at, size;      /* where it begins, all of it */
	uint64_t from;          /* the content begins so many bytes into it */
	bool split, begun;
};
void body_set(struct body *, struct in *, struct in *, bool,
    const struct found *, const char *);

#endif
