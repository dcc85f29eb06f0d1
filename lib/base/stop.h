#ifndef CALA_BASE_STOP_H
#define CALA_BASE_STOP_H

/*
 * stop: the wish to end, as set by a signal.
 *
 * Only front.c installs handlers; everything else asks between two steps and
 * unwinds like for any other error, so that temporary files go and hooks run.
 */

struct err;

/* stop_set(n): signal n asked us to stop; async-signal-safe. */
void stop_set(int);

/* stop_signal(): the signal, or 0. */
int stop_signal(void);

/*
 * stop_check(e): 0 to go on, or -1 with code CALA_SIGNAL + n and the message
 * "interrupted".  Call it once a buffer or an entry.
 */
int stop_check(struct err *);

#endif
