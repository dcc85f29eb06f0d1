#include "base/rate.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/err.h"
#include "base/stop.h"
#include "base/when.h"

static const double burst = 0.05;       /* seconds that may be saved up */
static const double nap = 0.1;          /* between two looks at stop_check */

/*
 * One number says it all: when the bytes granted so far are paid for.  Each
 * taker moves it on and sleeps until then, so that waiting threads line up
 * without holding the lock.
 */
struct rate {
	pthread_mutex_t mu;
	double per_byte;
	double paid;
};

struct rate *
rate_new(uint64_t bps, struct err *e)
{
	struct rate *r = calloc(1, sizeof(*r));

	if (r == NULL) {
		err_oom(e);
		return NULL;
	}
	pthread_mutex_init(&r->mu, NULL);
	r->per_byte = bps == 0 ? 0 : 1.0 / (double)bps;
	r->paid = when_mono();
	return r;
}

int
rate_take(struct rate *r, size_t n, struct err *e)
{
	double now, due, left;
	struct timespec ts;

	if (r == NULL || r->per_byte <= 0)
		return 0;
	pthread_mutex_lock(&r->mu);
	now = when_mono();
	if (r->paid < now - burst)
		r->paid = now - burst;
	r->paid += (double)n * r->per_byte;
	due = r->paid;
	pthread_mutex_unlock(&r->mu);
	for (;;) {
		if (stop_check(e) == -1)
			return -1;
		left = due - when_mono();
		if (left <= 0)
			return 0;
		if (left > nap)
			left = nap;
		ts.tv_sec = 0;
		ts.tv_nsec = (long)(left * 1e9);
		nanosleep(&ts, NULL);
	}
}

void
rate_free(struct rate *r)
{
	if (r == NULL)
		return;
	pthread_mutex_destroy(&r->mu);
	free(r);
}
