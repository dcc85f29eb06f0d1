#ifndef CALA_BASE_RATE_H
#define CALA_BASE_RATE_H

/*
 * rate: so many bytes a second, shared by any number of threads.
 */

#include <stddef.h>
#include <stdint.h>

struct err;
struct rate;

/*
 * rate_new(bytes_per_second, e): a limiter; 0 bytes per second is no limit.
 * NULL without memory.
 */
struct rate *rate_new(uint64_t, struct err *);

/*
 * rate_take(r, n, e): wait until n more bytes are due.  A pause is not saved up
 * beyond a twentieth of a second.  Returns 0 at once when r is NULL or without
 * a limit; -1 as stop_check() when asked to stop meanwhile.  Thread-safe.
 */
int rate_take(struct rate *, size_t, struct err *);

void rate_free(struct rate *);          /* NULL is fine */

#endif
