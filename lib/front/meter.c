#include "front/meter.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "base/when.h"

static void
tell(const struct front_meter *m)
{
	struct log *l = m->how.log;
	double t = when_mono() - m->began;
	uint64_t bytes = *m->how.bytes;
	char text[160];

	progress_text(text, sizeof(text), bytes, m->how.files != NULL ?
	    *m->how.files : UINT64_MAX, m->how.expected,
	    t > 0 ? (double)bytes / t : 0);
	/* At any level: it was asked for. */
	log_hold(l);
	if (l->before != NULL)
		l->before(l->before_arg);
	fprintf(l->out, "%s: %s\n", l->prog, text);
	fflush(l->out);
	log_release(l);
}

static void *
wait_and_tell(void *arg)
{
	struct front_meter *m = arg;
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	while (sigwait(&set, &sig) == 0 && !m->end)
		tell(m);
	return NULL;
}

int
front_meter_start(struct front_meter *m, const struct progress_how *how,
    struct err *e)
{
	sigset_t all, old;
	int r;

	m->how = *how;
	m->began = when_mono();
	m->end = false;
	if (progress_start(&m->progress, how, e) == -1)
		return -1;
	if (how->log->out == NULL)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&m->thread, NULL, wait_and_tell, m);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0) {
		m->on = true;
		return 0;
	}
	front_meter_stop(m);
	errno = r;
	return err_sys(e, "start a thread");
}

void
front_meter_stop(struct front_meter *m)
{
	if (m->on) {
		m->end = true;
		pthread_kill(m->thread, SIGUSR1);
		pthread_join(m->thread, NULL);
		m->on = false;
	}
	progress_stop(m->progress);
	m->progress = NULL;
}
