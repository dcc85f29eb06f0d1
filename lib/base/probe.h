#ifndef CALA_BASE_PROBE_H
#define CALA_BASE_PROBE_H

/*
 * probe: is a slow compressor worth its time?
 */

#include <stddef.h>

/*
 * probe_left(p, n): which part of n bytes a fast compressor leaves, in 256ths,
 * by samples of 4 KiB spread over it (four a MiB).  256: none is gained.  0
 * when n is too small to sample.
 */
unsigned probe_left(const void *, size_t);

#endif
