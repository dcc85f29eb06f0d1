#include "base/progress.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "base/when.h"

enum { LINE_MS = 200, PLAIN_MS = 10000, TEXT = 160 };

struct progress {
	struct progress_how how;
	pthread_t thread;
	pthread_mutex_t mu;
	pthread_cond_t cond;
	bool end;
	bool drawn;             /* a line is on the screen; under log's lock */
	uint64_t last;          /* bytes at the last look */
	double when, rate;      /* of the last look; bytes per second */
};

enum progress_mode
progress_mode(bool force, bool forbid, bool quiet, bool json, bool tty)
{
	if (forbid)
		return PROGRESS_OFF;
	if (force)
		return PROGRESS_PLAIN;
	return tty && !quiet && !json ? PROGRESS_LINE : PROGRESS_OFF;
}

void
progress_text(char *out, size_t n, uint64_t bytes, uint64_t files,
    uint64_t expected, double rate)
{
	char a[STR_HUMAN], b[STR_HUMAN], c[STR_HUMAN], of[48] = "", nf[40] = "";
	char left[40] = "";
	double sec;

	/* Only the last one's size: what has passed it says nothing more. */
	if (expected > 0 && bytes <= expected) {
		snprintf(of, sizeof(of), " of %s (%u%%)",
		    str_human(expected, b),
		    (unsigned)((double)bytes * 100 / (double)expected));
		sec = rate < 1 ? 0 :
		    (double)(expected - bytes) / rate;
		if (sec >= 1 && sec < 100 * 3600)
			snprintf(left, sizeof(left), ", %u:%02u:%02u left",
			    (unsigned)sec / 3600, (unsigned)sec / 60 % 60,
			    (unsigned)sec % 60);
	}
	if (files != UINT64_MAX)
		snprintf(nf, sizeof(nf), ", %" PRIu64 " files", files);
	snprintf(out, n, "%s%s%s, %s/s%s", str_human(bytes, a), of, nf,
	    str_human(rate < 0 ? 0 : (uint64_t)rate, c), left);
}

static size_t
columns(FILE *out)
{
	struct winsize w;

	if (ioctl(fileno(out), TIOCGWINSZ, &w) == 0 && w.ws_col > 20)
		return w.ws_col;
	return 80;
}

/* Runs under the log's lock, before a message. */
static void
erase(void *arg)
{
	struct progress *p = arg;

	if (!p->drawn)
		return;
	p->drawn = false;
	fputs("\r\033[K", p->how.log->out);
	fflush(p->how.log->out);
}

static void
show(struct progress *p)
{
	struct log *l = p->how.log;
	char text[TEXT];
	uint64_t bytes;
	double now = when_mono(), span = now - p->when, fresh, w;

	bytes = atomic_load_explicit(p->how.bytes, memory_order_relaxed);
	if (span > 0) {
		/* A mean that forgets half of the past in five seconds. */
		fresh = bytes > p->last ? (double)(bytes - p->last) / span : 0;
		w = p->rate < 0 ? 1 : span / (span + 5);
		p->rate = p->rate < 0 ? fresh : p->rate * (1 - w) + fresh * w;
	}
	p->last = bytes;
	p->when = now;
	progress_text(text, sizeof(text), bytes, p->how.files != NULL ?
	    atomic_load_explicit(p->how.files, memory_order_relaxed) :
	    UINT64_MAX, p->how.expected, p->rate);
	if (p->how.mode == PROGRESS_PLAIN) {
		log_note(l, "%s", text);
		return;
	}
	log_hold(l);
	fprintf(l->out, "\r\033[K%s: %.*s", l->prog,
	    (int)(columns(l->out) - 1 - strlen(l->prog) - 2), text);
	fflush(l->out);
	p->drawn = true;
	log_release(l);
}

static void *
ticker(void *arg)
{
	struct progress *p = arg;
	long ms = p->how.mode == PROGRESS_LINE ? LINE_MS : PLAIN_MS;
	struct timespec at;

	pthread_mutex_lock(&p->mu);
	clock_gettime(CLOCK_MONOTONIC, &at);
	while (!p->end) {
		at.tv_sec += ms / 1000;
		at.tv_nsec += ms % 1000 * 1000000;
		if (at.tv_nsec >= 1000000000) {
			at.tv_nsec -= 1000000000;
			at.tv_sec++;
		}
		while (!p->end && pthread_cond_timedwait(&p->cond, &p->mu,
		    &at) != ETIMEDOUT)
			;
		if (p->end)
			break;
		pthread_mutex_unlock(&p->mu);
		show(p);
		pthread_mutex_lock(&p->mu);
	}
	pthread_mutex_unlock(&p->mu);
	return NULL;
}

int
progress_start(struct progress **out, const struct progress_how *how,
    struct err *e)
{
	pthread_condattr_t attr;
	sigset_t all, old;
	struct progress *p;
	int r;

	*out = NULL;
	if (how->mode == PROGRESS_OFF || how->log->out == NULL)
		return 0;
	if ((p = calloc(1, sizeof(*p))) == NULL)
		return err_oom(e);
	p->how = *how;
	p->rate = -1;
	p->when = when_mono();
	pthread_mutex_init(&p->mu, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->cond, &attr);
	pthread_condattr_destroy(&attr);
	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&p->thread, NULL, ticker, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r != 0) {
		pthread_cond_destroy(&p->cond);
		pthread_mutex_destroy(&p->mu);
		free(p);
		errno = r;
		return err_sys(e, "start the progress thread");
	}
	if (how->mode == PROGRESS_LINE) {
		log_hold(how->log);
		how->log->before_arg = p;
		how->log->before = erase;
		log_release(how->log);
	}
	*out = p;
	return 0;
}

void
progress_stop(struct progress *p)
{
	if (p == NULL)
		return;
	pthread_mutex_lock(&p->mu);
	p->end = true;
	pthread_cond_signal(&p->cond);
	pthread_mutex_unlock(&p->mu);
	pthread_join(p->thread, NULL);
	log_hold(p->how.log);
	erase(p);
	if (p->how.mode == PROGRESS_LINE)
		p->how.log->before = NULL;
	log_release(p->how.log);
	pthread_cond_destroy(&p->cond);
	pthread_mutex_destroy(&p->mu);
	free(p);
}
