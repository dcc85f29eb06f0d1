#ifndef CALA_PBS_ARENA_H
#define CALA_PBS_ARENA_H

/*
 * arena: rooms of any length in one piece of memory, so that what they cost at
 * most is known, and the pages that one leaves serve the next.
 *
 * One thread at a time.
 */

#include <stdbool.h>
#include <stddef.h>

struct err;

/* A room: the user's storage, which stays where it is while it is taken. */
struct span {
	unsigned char *p;       /* NULL: not taken */
	size_t len;
	struct span *next, *prev;
};

struct arena {
	unsigned char *p;
	size_t size;
	struct span *first, *last;      /* by address */
	struct span *rover;             /* taken last of those in turn */
};

/*
 * arena_init(a, size, e): of size bytes, whose pages cost nothing before they
 * are used.  0 or -1.  arena_fini: also of one that is all zeros.
 */
int  arena_init(struct arena *, size_t, struct err *);
void arena_fini(struct arena *);

/*
 * arena_take(a, s, n): n > 0 bytes, behind those taken before, from the start
 * again when there is no room: what is given back in the order in which it was
 * taken leaves no gaps.
 * arena_take_end(a, s, n): as far back as possible: for what is given back soon.
 * Both: false when no gap is large enough.
 * arena_give(a, s): free again; nothing happens to one that is not taken.
 */
bool arena_take(struct arena *, struct span *, size_t);
bool arena_take_end(struct arena *, struct span *, size_t);
void arena_give(struct arena *, struct span *);

#endif
