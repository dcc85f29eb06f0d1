#ifndef CALA_CHUNK_SQUEEZE_H
#define CALA_CHUNK_SQUEEZE_H

/*
 * squeeze: compressing one chunk, which is in memory as a whole.
 *
 * The same bytes in give the same bytes out, on any thread and in any order.
 */

#include <stddef.h>

struct err;
struct squeeze;

/* The numbers are those of ddup-bak's files. */
enum squeeze_format {
	SQUEEZE_RAW = 0,
	SQUEEZE_GZIP = 1,       /* RFC 1952 */
	SQUEEZE_DEFLATE = 2,    /* RFC 1951, bare */
	SQUEEZE_BROTLI = 3      /* RFC 7932 */
};

/*
 * squeeze_levels(f, &min, &max, &def): which levels a format has; all 0 for
 * SQUEEZE_RAW.
 */
void squeeze_levels(enum squeeze_format, int *, int *, int *);

/*
 * squeeze_new(f, level, e): one for each thread.  NULL without memory; -1 as
 * level is the default, which is the quickest for chunks of 4096 bytes and less.
 */
struct squeeze *squeeze_new(enum squeeze_format, int, struct err *);

/*
 * squeeze_run(s, in, n, out, &len): n bytes into out, which has room for n.
 * The format is the answer: SQUEEZE_RAW (out and *len untouched) when samples
 * say, or trying shows, that nothing is gained.
 */
enum squeeze_format squeeze_run(struct squeeze *, const void *, size_t, void *,
    size_t *);
void squeeze_free(struct squeeze *);    /* NULL is fine */

#endif
