#ifndef CALA_PBS_ANSWER_H
#define CALA_PBS_ANSWER_H

/*
 * answer: what a status and the server's text mean.
 *
 * The server answers almost every failure with 400 and a sentence (pbs.md
 * §2.5).  The sentence is no contract: it decides only between exit statuses
 * that are all failures, and is always shown.
 */

#include <stdbool.h>
#include <stddef.h>

struct err;

enum { PBS_TEXT = 512 };        /* bytes of a server's sentence we keep */

/*
 * pbs_refused(e, what, status, text): an answer that is not 2xx, as an error:
 * "what: server said 400: text".  Code by status and hints in text:
 * CALA_AUTH (401, 403, owner), CALA_NOTFOUND, CALA_LOCKED, CALA_NOSPACE,
 * CALA_EXISTS (a backup of that time or a later one), CALA_PROTECTED,
 * CALA_MAINTENANCE, CALA_NET (5xx), else CALA_FAIL.  Returns -1.
 */
int pbs_refused(struct err *, const char *, unsigned, const char *);

#endif
