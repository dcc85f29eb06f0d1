#ifndef CALA_BASE_PROGRESS_H
#define CALA_BASE_PROGRESS_H

/*
 * progress: a thread that says how far a transfer is.
 *
 * It only reads counters; whoever does the work never waits for it.  On a
 * terminal: one line on stderr, rewritten at most five times a second, erased
 * for messages and at the end.  Forced: a plain line every ten seconds.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct log;
struct progress;

enum progress_mode { PROGRESS_OFF, PROGRESS_LINE, PROGRESS_PLAIN };

/*
 * progress_mode(force, forbid, quiet, json, tty): what --progress,
 * --no-progress, -q, --json and a terminal on stderr add up to.
 */
enum progress_mode progress_mode(bool, bool, bool, bool, bool);

struct progress_how {
	enum progress_mode mode;
	struct log *log;                /* where to; its before hook is set */
	const _Atomic uint64_t *bytes;
	const _Atomic uint64_t *files;  /* NULL: not shown */
	uint64_t expected;              /* bytes in all; 0: unknown */
};

/*
 * progress_start(&p, how, e): PROGRESS_OFF gives NULL and 0.  The counters
 * must live until progress_stop, which erases the line and joins; NULL is fine.
 */
int  progress_start(struct progress **, const struct progress_how *,
    struct err *);
void progress_stop(struct progress *);

/*
 * progress_text(out, n, bytes, files, expected, rate): the line itself, rate in
 * bytes per second; files UINT64_MAX: not shown.
 */
void progress_text(char *, size_t, uint64_t, uint64_t, uint64_t, double);

#endif
