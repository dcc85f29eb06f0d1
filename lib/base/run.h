#ifndef CALA_BASE_RUN_H
#define CALA_BASE_RUN_H

/*
 * run: stretches of one byte, again and again.
 */

#include <stddef.h>

enum { RUN_LEAST = 32 };

/*
 * run_find(p, from, n, &end): the first run of RUN_LEAST bytes or more at or
 * behind from, in p[0] to p[n - 1]: its start; n when there is none.  *end: the
 * first byte behind it, or n.
 */
size_t run_find(const unsigned char *, size_t, size_t, size_t *);

#endif
