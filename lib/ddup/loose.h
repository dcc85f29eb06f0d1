#ifndef CALA_DDUP_LOOSE_H
#define CALA_DDUP_LOOSE_H

/*
 * loose: may there be chunk files that no index knows?
 *
 * To find them, all folders of chunks are read, up to 65,536; so who may leave
 * some says so beforehand, with a file cala-loose.* in .ddup-bak that it takes
 * away when it has left none.  cala-swept is of when gc has last looked.  For
 * this room only.
 */

#include <stdbool.h>
#include <time.h>

struct ddup;
struct err;

enum { LOOSE_DAYS = 7 };        /* gc looks at least that often */

/*
 * loose_begin(r, e): from here on we may leave some; again is fine, and so are
 * many threads.  loose_end(r): we have left none.
 */
int  loose_begin(struct ddup *, struct err *);
void loose_end(struct ddup *);

/*
 * loose_others(r): has somebody else said so, or can't that be told?
 * With nobody else there: loose_any(r, now): is it worth looking?
 * loose_swept(r, all): gc has looked; all: and none is left.
 */
bool loose_others(const struct ddup *);
bool loose_any(const struct ddup *, time_t);
void loose_swept(const struct ddup *, bool);

#endif
