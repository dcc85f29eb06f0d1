#ifndef CALA_FRONT_METER_H
#define CALA_FRONT_METER_H

/*
 * meter: how far a transfer is: the progress line, and a line of its own
 * whenever SIGUSR1 asks for one.
 *
 * front_init has blocked that signal, so that it ends nobody; here a thread
 * waits for it.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/progress.h"

struct err;

struct front_meter {
	struct progress_how how;
	struct progress *progress;
	pthread_t thread;
	double began;
	atomic_bool end;
	bool on;
};

/*
 * front_meter_start(m, how, e): progress_start, and answer SIGUSR1 in any
 * mode.  The counters must live until front_meter_stop, which may be called
 * again, and for one that is all zero.
 */
int  front_meter_start(struct front_meter *, const struct progress_how *,
    struct err *);
void front_meter_stop(struct front_meter *);

#endif
