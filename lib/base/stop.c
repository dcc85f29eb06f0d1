#include "base/stop.h"

#include <stdatomic.h>

#include "base/err.h"

/* Set by a handler, read by every thread; lock-free, so safe in a handler. */
static atomic_int asked;

void
stop_set(int sig)
{
	asked = sig;
}

int
stop_signal(void)
{
	return asked;
}

int
stop_check(struct err *e)
{
	if (asked == 0)
		return 0;
	return err_set(e, CALA_SIGNAL + asked, "interrupted");
}
