#ifndef CALA_PXAR_IN_H
#define CALA_PXAR_IN_H

/*
 * in: a window over bytes that come as a stream, or can be read anywhere, or
 * are in memory; one decoder for all three.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct ranged;
struct source;

struct in {
	struct source *s;       /* this, or */
	struct ranged *r;       /* that; memory has neither */
	uint64_t pos;           /* of the byte at p[at] */
	size_t ahead;           /* bytes read at once at most */
	unsigned char *p;
	size_t at, have, room;
	bool lent;              /* p is borrowed memory */
};

/*
 * in_stream, in_ranged, in_memory: from position 0 on; all are borrowed.
 * in_fini: frees; fine for one that is all zero.
 */
int  in_stream(struct in *, struct source *, struct err *);
int  in_ranged(struct in *, struct ranged *, size_t, struct err *);
void in_memory(struct in *, const void *, size_t);
void in_fini(struct in *);

/*
 * in_peek(in, n, &p, e): 1 with the next n <= IN_MAX bytes at p; 0: there is
 * not one more; -1 (CALA_INCOMPLETE: fewer than n).
 * in_take(in, n): past n bytes that were peeked at.
 * in_read(in, p, n, e): 1..n bytes; -1 at the end, too.
 * in_skip(in, n, e), in_seek(in, pos, e): streams only go forward; in_seek back
 * is CALA_FAIL.
 */
enum { IN_MAX = 80 << 10 };
int  in_peek(struct in *, size_t, const unsigned char **, struct err *);
void in_take(struct in *, size_t);
ssize_t in_read(struct in *, void *, size_t, struct err *);
int  in_skip(struct in *, uint64_t, struct err *);
int  in_seek(struct in *, uint64_t, struct err *);

#endif
