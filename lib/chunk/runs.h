#ifndef CALA_CHUNK_RUNS_H
#define CALA_CHUNK_RUNS_H

/*
 * runs: deflate (RFC 1951) for bytes that no compressor gains on but where one
 * byte repeats: a world's regions are compressed streams, each followed by
 * zeros up to the next sector.  Runs become matches, all else is stored: as
 * quick as copying, both ways.
 */

#include <stddef.h>

/*
 * runs_deflate(in, n, out, room): the length of what it wrote to out; 0 when
 * that is more than room.
 */
size_t runs_deflate(const void *, size_t, void *, size_t);

#endif
