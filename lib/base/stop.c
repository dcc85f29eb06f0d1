#include "base/stop.h"

#include <signal.h>

#include "base/err.h"

static volatile sig_atomic_t asked;

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
