#ifndef CALA_DDUP_WALK_H
#define CALA_DDUP_WALK_H

/* walk: every chunk file, every id of an archive. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "ddup/archive.h"

struct err;

/* Something in the folders of chunks. */
struct chunk_file {
	const char *path;               /* below chunks/ */
	bool chunk;                     /* its name is a chunk's: hash is set */
	bool temp;                      /* a file that was being written */
	unsigned char hash[DDUP_HASH];
	int at;                         /* its folder, where it is name */
	const char *name;
};

/*
 * each_chunk(r, fn, arg, e): stops when fn returns not 0.
 * chunk_stat(f, &st, e): 1; 0: it is gone; -1.  Not done for all of them: most
 * of what is found is what was looked for.
 */
int each_chunk(struct ddup *, int (*)(void *, const struct chunk_file *,
    struct err *), void *, struct err *);
int chunk_stat(const struct chunk_file *, struct stat *, struct err *);

/*
 * each_id(a, fn, ent, arg, e): fn for every id of every file of a, after ent
 * (may be NULL) for every entry.
 */
int each_id(struct archive *, int (*)(void *, uint64_t, struct err *),
    int (*)(void *, const struct aent *, struct err *), void *,
    struct err *);

#endif
