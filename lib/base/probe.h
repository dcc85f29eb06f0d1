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

/*
 * probe_runs(p, n, &left): which part is left when all that is done is to leave
 * out runs (base/run.h), in 256ths, and as *left what a fast compressor leaves
 * of the same samples, 16 a MiB: a decision between both must see more than
 * one for or against.  Both 0 when n is too small to sample.
 */
unsigned probe_runs(const void *, size_t, unsigned *);

#endif
