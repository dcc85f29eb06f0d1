#ifndef CALA_CHUNK_CUT_H
#define CALA_CHUNK_CUT_H

/*
 * cut: where a file is cut into chunks, decided by its bytes alone, so that an
 * insertion moves the bounds of one chunk and leaves the others as they were.
 *
 * An algorithm is one function that looks at the bytes from the beginning of a
 * chunk on.  How the bytes arrived never matters: whoever cuts has max bytes, or
 * all up to the end of the file.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cut {
	/* 1..n: the length of the chunk at p, of n <= max bytes that follow */
	size_t (*find)(const struct cut *, const unsigned char *, size_t);
	size_t min, avg, max;
	uint64_t mask_s, mask_l;        /* FastCDC */
};

/*
 * cut_fastcdc(c, size, count, len): FastCDC 2020 with the parameters that
 * ddup-bak derives: size is the wanted average, count the most chunks that a
 * file of len bytes may have (0: any number; the average grows until it is
 * kept, up to 4 MiB).  avg is in 256 B to 4 MiB, min and max a quarter and four
 * times of it within 64 B to 1 MiB and 1 KiB to 16 MiB.
 */
void cut_fastcdc(struct cut *, uint32_t, uint32_t, uint64_t);

/*
 * cut_fastcdc_exact(c, min, avg, max): other parameters; 64 <= min <= avg <=
 * max, avg 64 B to 16 MiB.
 */
void cut_fastcdc_exact(struct cut *, size_t, size_t, size_t);

/*
 * cut_fastcdc_more(c, s, p, n): the same for a chunk of which only the first n <=
 * max bytes are there, all of them again at p on each call; s remembers how far
 * it has looked, and is zero for a new chunk.  Its length, 1..n, or 0: it goes
 * on.
 */
struct cut_state {
	uint64_t h;
	size_t i;
};
size_t cut_fastcdc_more(const struct cut *, struct cut_state *,
    const unsigned char *, size_t);

/*
 * cut_fixed(c, size, count, len): pieces of one size, as ddup-bak 0.8 and 0.9
 * cut: doubled until a file of len bytes has at most count of them (0: any
 * number); at most 16 MiB.
 */
void cut_fixed(struct cut *, uint32_t, uint32_t, uint64_t);

/*
 * cut_next(c, p, n, end): the length of the chunk at p of which n bytes are at
 * hand; end: no more will follow.  0: not known yet, more bytes are needed (n <
 * max and not end).
 */
size_t cut_next(const struct cut *, const void *, size_t, bool);

#endif
