/*
 * gather: the half of proc.h that reads what several programs print.
 */

#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/stop.h"
#include "base/when.h"

enum { TICK = 200, BLOCK = 65536, HINT = 1, GRACE = 10 };

struct run {
	struct proc_task *t;
	double until;           /* < 0: no limit */
	bool told;              /* its output is closed */
	double term, kill;      /* when SIGTERM and SIGKILL follow */
};

static void
shut(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

static int
begin(struct run *r, double seconds)
{
	struct proc_task *t = r->t;
	int out[2] = { -1, -1 }, err[2] = { -1, -1 }, ret = -1;

	r->told = false;
	r->until = seconds < 0 ? -1 : when_mono() + seconds;
	if (pipe2(out, O_CLOEXEC) == -1 ||
	    (t->errs != NULL && (pipe2(err, O_CLOEXEC) == -1 ||
	    fcntl(err[0], F_SETFL, O_NONBLOCK) == -1))) {
		err_sys(t->e, "pipe");
		goto out;
	}
	t->spec.fd[1] = out[1];
	if (t->errs != NULL)
		t->spec.fd[2] = err[1];
	if (proc_start(&t->proc, &t->spec, t->e) == -1)
		goto out;
	t->out = out[0];
	t->err = err[0];
	out[0] = err[0] = -1;
	ret = 0;
out:
	shut(&out[0]);
	shut(&out[1]);
	shut(&err[0]);
	shut(&err[1]);
	if (ret == -1)
		t->code = t->e->code;
	return ret;
}

/*
 * Our own finding about a program that still runs: it is ended.  Most end by
 * themselves and without a word when nobody reads them any more.
 */
static void
stop(struct run *r, int code)
{
	if (r->t->code == 0)
		r->t->code = code;
	if (!r->told) {
		r->told = true;
		r->term = when_mono() + HINT;
		r->kill = r->term + GRACE;
	}
	shut(&r->t->out);
}

static int
lines(struct proc_task *t, const char *p, size_t n)
{
	const char *nl;
	size_t k;

	while (n > 0) {
		nl = memchr(p, '\n', n);
		k = nl != NULL ? (size_t)(nl - p) : n;
		if (k > t->line_max - t->part->len)
			return err_set(t->e, CALA_INTEGRITY,
			    "%s: line of more than %zu bytes", t->proc.name,
			    t->line_max);
		if (nl != NULL && t->part->len == 0) {
			if (t->line(t->ctx, p, k, t->e) == -1)
				return -1;
		} else {
			buf_add(t->part, p, k);
			if (buf_failed(t->part, t->e) == -1)
				return -1;
			if (nl != NULL) {
				if (t->line(t->ctx, t->part->p, t->part->len,
				    t->e) == -1)
					return -1;
				buf_reset(t->part);
			}
		}
		p += k;
		n -= k;
		if (nl != NULL) {
			p++;
			n--;
		}
	}
	return 0;
}

static void
drain_out(struct run *r, char *block)
{
	struct proc_task *t = r->t;
	ssize_t n = read(t->out, block, BLOCK);

	if (n == -1) {
		if (errno == EINTR)
			return;
		err_sys(t->e, "read from %s", t->proc.name);
		stop(r, CALA_FAIL);
		return;
	}
	if (n == 0) {
		shut(&t->out);
		if (t->part->len > 0 &&
		    t->line(t->ctx, t->part->p, t->part->len, t->e) == -1)
			stop(r, t->e->code);
		return;
	}
	if (lines(t, block, (size_t)n) == -1)
		stop(r, t->e->code);
}

static void
drain_err(struct proc_task *t, char *block)
{
	size_t room;
	ssize_t n;

	while ((n = read(t->err, block, BLOCK)) > 0) {
		room = t->errs->max - t->errs->len;
		buf_add(t->errs, block, (size_t)n < room ? (size_t)n : room);
	}
	if (n == 0 || (errno != EINTR && errno != EAGAIN))
		shut(&t->err);
}

static bool
over(struct run *r, char *block)
{
	struct proc_task *t = r->t;

	/*
	 * A grandchild may keep a pipe open; what counts is the program, and
	 * what it wrote is in the pipe by then.
	 */
	if (proc_poll(&t->proc, 1, 0) > 0 || t->out != -1)
		return false;
	if (t->err != -1)
		drain_err(t, block);
	shut(&t->err);
	if (t->code == 0)
		t->code = t->proc.status;
	return true;
}

static void
end_all(struct run *run, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (run[i].t != NULL) {
			proc_signal(&run[i].t->proc, 1, SIGTERM);
			shut(&run[i].t->out);
		}
	for (i = 0; i < n; i++)
		if (run[i].t != NULL) {
			proc_end(&run[i].t->proc, 1, GRACE);
			shut(&run[i].t->err);
		}
}

static void
turn(struct run *run, size_t jobs, struct pollfd *pfd, char *block)
{
	size_t i, k = 0;

	for (i = 0; i < jobs; i++) {
		if (run[i].t == NULL)
			continue;
		pfd[k].fd = run[i].t->out;
		pfd[k++].events = POLLIN;
		pfd[k].fd = run[i].t->err;
		pfd[k++].events = POLLIN;
		pfd[k].fd = run[i].t->out == -1 ? run[i].t->proc.pidfd : -1;
		pfd[k++].events = POLLIN;
	}
	if (poll(pfd, k, TICK) == -1)
		return;
	for (i = k = 0; i < jobs; i++) {
		if (run[i].t == NULL)
			continue;
		if (pfd[k].revents != 0 && run[i].t->out != -1)
			drain_out(&run[i], block);
		if (pfd[k + 1].revents != 0)
			drain_err(run[i].t, block);
		k += 3;
	}
}

int
proc_gather(struct proc_task *t, size_t n, size_t jobs, double seconds,
    struct err *e)
{
	struct run *run = calloc(jobs, sizeof(*run));
	struct pollfd *pfd = calloc(3 * jobs, sizeof(*pfd));
	struct buf *parts = calloc(jobs, sizeof(*parts));
	char *block = malloc(BLOCK);
	size_t i, next = 0, live = 0;
	int ret = -1;

	if (run == NULL || pfd == NULL || block == NULL || parts == NULL) {
		err_oom(e);
		goto out;
	}
	for (i = 0; i < n; i++) {
		t[i].out = t[i].err = -1;
		t[i].code = 0;
		memset(&t[i].proc, 0, sizeof(t[i].proc));
	}
	while (next < n || live > 0) {
		if (stop_check(e) == -1) {
			end_all(run, jobs);
			goto out;
		}
		for (i = 0; i < jobs && next < n; i++) {
			if (run[i].t != NULL)
				continue;
			run[i].t = &t[next++];
			buf_init(&parts[i], run[i].t->line_max + 1);
			run[i].t->part = &parts[i];
			if (begin(&run[i], seconds) == -1)
				run[i].t = NULL;
			else
				live++;
		}
		if (live == 0)
			continue;
		turn(run, jobs, pfd, block);
		for (i = 0; i < jobs; i++) {
			if (run[i].t == NULL)
				continue;
			if (run[i].until >= 0 && !run[i].told &&
			    when_mono() > run[i].until) {
				err_set(run[i].t->e, CALA_NET,
				    "%s: no answer within %.0f seconds",
				    run[i].t->proc.name, seconds);
				stop(&run[i], CALA_NET);
			}
			if (run[i].told && when_mono() > run[i].kill)
				proc_end(&run[i].t->proc, 1, 0);
			else if (run[i].told && when_mono() > run[i].term) {
				proc_signal(&run[i].t->proc, 1, SIGTERM);
				/* A second one would mean: without cleanup. */
				run[i].term = run[i].kill;
			}
			if (!over(&run[i], block))
				continue;
			buf_fini(&parts[i]);
			run[i].t->part = NULL;
			run[i].t = NULL;
			live--;
		}
	}
	ret = 0;
out:
	for (i = 0; parts != NULL && run != NULL && i < jobs; i++)
		if (run[i].t != NULL)
			buf_fini(&parts[i]);
	free(run);
	free(pfd);
	free(parts);
	free(block);
	return ret;
}
