#ifndef CALA_ARCHIVE_NOISE_H
#define CALA_ARCHIVE_NOISE_H

/*
 * noise: what is compressed already, told by its bytes alone: streams of
 * deflate and the like, whose byte values are nearly equally frequent.  A
 * world's region files are such streams and zeros between them.
 */

#include <stdbool.h>
#include <stddef.h>

/*
 * noise_is(p, n): would order-0 coding of n bytes gain less than 2 %?  Looks
 * at up to 1 KiB in the middle; false for less than NOISE_TELL bytes, which say
 * nothing.
 */
enum { NOISE_TELL = 256 };
bool noise_is(const unsigned char *, size_t);

/*
 * noise_rules(p, n): is at most an eighth of p anything but noise and zeros,
 * by samples?
 */
bool noise_rules(const unsigned char *, size_t);

/*
 * noise_zeros(p, n, from, &end): where the first NOISE_ZEROS or more zeros in a
 * row begin, from on, and where they end; n when there are none.
 *
 * noise_run(p, n, from, &end): where the first stretch of at least NOISE_LEAST
 * bytes begins, from on, that is noise and such rows of zeros between noise,
 * and where it ends; n when there is none.
 */
enum { NOISE_ZEROS = 64, NOISE_LEAST = 16 << 10 };
size_t noise_zeros(const unsigned char *, size_t, size_t, size_t *);
size_t noise_run(const unsigned char *, size_t, size_t, size_t *);

#endif
