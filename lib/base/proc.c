#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"

extern char **environ;

/*
 * A stop signal that comes between our look at the flag and poll() would not
 * wake it; so no poll is longer than this (ms).  Without pidfds (before
 * Linux 5.3) the children are asked this often.
 */
enum { TICK = 200, TICK_BLIND = 20 };

enum stage { STAGE_SETUP, STAGE_DIR, STAGE_EXEC };

/* What a child that could not become the program tells us. */
struct failure {
	int stage, sys;
};

/*
 * environ, unless bare, and what spec adds; an added name replaces an inherited
 * one.
 */
static const char **
environment(const char *const *more, bool bare)
{
	size_t have = 0, add = 0, n = 0, i, j, len;
	const char **v;

	while (!bare && environ != NULL && environ[have] != NULL)
		have++;
	while (more != NULL && more[add] != NULL)
		add++;
	if ((v = calloc(have + add + 1, sizeof(*v))) == NULL)
		return NULL;
	for (i = 0; i < have; i++) {
		for (j = 0; j < add; j++) {
			len = strcspn(more[j], "=") + 1;
			if (strncmp(environ[i], more[j], len) == 0)
				break;
		}
		if (j == add)
			v[n++] = environ[i];
	}
	for (j = 0; j < add; j++)
		v[n++] = more[j];
	return v;
}

/* From here on in the child: only async-signal-safe calls. */
static void __attribute__((noreturn))
give_up(int fd, enum stage stage)
{
	struct failure f = { (int)stage, errno };

	(void)!write(fd, &f, sizeof(f));
	_exit(CALA_NOCMD);
}

/*
 * The first number above all that the child is given.  No higher: there may be
 * few descriptors (RLIMIT_NOFILE).
 */
static int
above(const struct proc_spec *s)
{
	int n = 3;
	size_t k;

	for (k = 0; k < s->nfds; k++)
		if (s->fds[k].theirs >= n)
			n = s->fds[k].theirs + 1;
	return n;
}

static void
descriptors(const struct proc_spec *s, int *high, int tell)
{
	int i, fd, null = -1, from = above(s);
	size_t k;

	/*
	 * First everything out of the way of the targets, then into place:
	 * dup2 alone would overwrite a source that is another's target.
	 */
	for (i = 0; i < 3; i++) {
		if ((fd = s->fd[i]) == PROC_NULL) {
			if (null == -1 && (null = open("/dev/null",
			    O_RDWR | O_CLOEXEC)) == -1)
				give_up(tell, STAGE_SETUP);
			fd = null;
		}
		high[i] = fcntl(fd, F_DUPFD_CLOEXEC, from);
		if (high[i] == -1)
			give_up(tell, STAGE_SETUP);
	}
	for (k = 0; k < s->nfds; k++) {
		high[3 + k] = fcntl(s->fds[k].ours, F_DUPFD_CLOEXEC, from);
		if (high[3 + k] == -1)
			give_up(tell, STAGE_SETUP);
	}
	for (i = 0; i < 3; i++)
		if (dup2(high[i], i) == -1)
			give_up(tell, STAGE_SETUP);
	for (k = 0; k < s->nfds; k++)
		if (dup2(high[3 + k], s->fds[k].theirs) == -1)
			give_up(tell, STAGE_SETUP);
}

static void __attribute__((noreturn))
child(const struct proc_spec *s, const char *path, const char **env,
    int *high, int tell, pid_t parent)
{
	struct sigaction sa;
	sigset_t none;
	int sig, moved;

	/* Out of reach of the descriptors the child is given. */
	if ((moved = fcntl(tell, F_DUPFD_CLOEXEC, above(s))) == -1)
		give_up(tell, STAGE_SETUP);
	tell = moved;
	if (s->group && setpgid(0, 0) == -1)
		give_up(tell, STAGE_SETUP);
	/* Our handlers must not run here between fork and exec. */
	for (sig = 1; sig < NSIG; sig++)
		if (sigaction(sig, NULL, &sa) == 0 &&
		    sa.sa_handler != SIG_IGN && sa.sa_handler != SIG_DFL)
			signal(sig, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	signal(SIGCHLD, SIG_DFL);
	/* A shell's background jobs are deaf to SIGINT. */
	if (s->ends != 0)
		signal(s->ends, SIG_DFL);
	/* Not every driver knows what it means. */
	signal(SIGUSR1, s->tells ? SIG_IGN : SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (prctl(PR_SET_PDEATHSIG, s->ends != 0 ? s->ends : SIGTERM, 0, 0,
	    0) == -1)
		give_up(tell, STAGE_SETUP);
	/* It may have died before we asked. */
	if (getppid() != parent)
		_exit(CALA_SIGNAL + SIGTERM);
	descriptors(s, high, tell);
	if (s->dir != NULL && chdir(s->dir) == -1)
		give_up(tell, STAGE_DIR);
	execvpe(path, (char *const *)(uintptr_t)s->argv,
	    (char *const *)(uintptr_t)env);
	give_up(tell, STAGE_EXEC);
}

static int
not_started(struct proc *p, const struct proc_spec *s,
    const struct failure *f, struct err *e)
{
	errno = f->sys;
	switch (f->stage) {
	case STAGE_DIR:
		return err_sys(e, "start %s: directory %s", p->name,
		    str_q(s->dir));
	case STAGE_EXEC:
		break;
	default:
		return err_sys(e, "start %s", p->name);
	}
	err_sys(e, "start %s", str_q(s->path != NULL ? s->path : s->argv[0]));
	e->code = f->sys == ENOENT || f->sys == ENOTDIR ? CALA_NOCMD :
	    CALA_NOEXEC;
	return -1;
}

int
proc_start(struct proc *p, const struct proc_spec *s, struct err *e)
{
	const char *path = s->path != NULL ? s->path : s->argv[0];
	const char *slash = strrchr(path, '/');
	pid_t pid, parent = getpid();
	struct failure f = { 0, 0 };
	const char **env = NULL;
	int tell[2] = { -1, -1 }, ret = -1, *high = NULL;
	sigset_t all, old;
	ssize_t n;

	memset(p, 0, sizeof(*p));
	p->pidfd = -1;
	snprintf(p->name, sizeof(p->name), "%s",
	    str_q(slash != NULL ? slash + 1 : path));
	p->group = s->group;
	p->tells = s->tells;
	p->ends = s->ends != 0 ? s->ends : SIGTERM;
	high = calloc(3 + s->nfds, sizeof(*high));
	if (high == NULL || (env = environment(s->env, s->bare)) == NULL) {
		err_oom(e);
		goto out;
	}
	if (pipe2(tell, O_CLOEXEC) == -1) {
		err_sys(e, "start %s: pipe", p->name);
		goto out;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (pid == 0)
		child(s, path, env, high, tell[1], parent);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (pid == -1) {
		err_sys(e, "start %s: fork", p->name);
		goto out;
	}
	/* Both sides set it, so that neither meets the other too early. */
	if (s->group)
		(void)setpgid(pid, pid);
	close(tell[1]);
	tell[1] = -1;
	do
		n = read(tell[0], &f, sizeof(f));
	while (n == -1 && errno == EINTR);
	if (n == (ssize_t)sizeof(f)) {
		while (waitpid(pid, NULL, 0) == -1 && errno == EINTR)
			;
		not_started(p, s, &f, e);
		goto out;
	}
	p->pid = pid;
	p->pidfd = pidfd_open(pid, 0);
	ret = 0;
out:
	if (tell[0] != -1)
		close(tell[0]);
	if (tell[1] != -1)
		close(tell[1]);
	free(high);
	free(env);
	return ret;
}

static bool
runs(const struct proc *p)
{
	return p->pid != 0 && !p->done;
}

static void
reap(struct proc *p, unsigned order)
{
	int ws;
	pid_t r;

	do
		r = waitpid(p->pid, &ws, WNOHANG);
	while (r == -1 && errno == EINTR);
	if (r == 0)
		return;
	if (r == -1)            /* someone else took it: not a success */
		p->status = CALA_FAIL;
	else if (WIFEXITED(ws))
		p->status = WEXITSTATUS(ws);
	else
		p->status = CALA_SIGNAL + WTERMSIG(ws);
	p->done = true;
	p->order = order;
	if (p->pidfd != -1)
		close(p->pidfd);
	p->pidfd = -1;
}

/* Reap what has ended; *left gets how many run, the result how many ended. */
static size_t
reap_all(struct proc *p, size_t n, size_t *left)
{
	unsigned order = 1;
	size_t i, ended = 0;

	*left = 0;
	for (i = 0; i < n; i++)
		if (p[i].done && p[i].order >= order)
			order = p[i].order + 1;
	/* Those seen at once share a place: the upstream one is the cause. */
	for (i = 0; i < n; i++) {
		if (!runs(&p[i]))
			continue;
		reap(&p[i], order);
		if (p[i].done)
			ended++;
		else
			++*left;
	}
	return ended;
}

/* Somebody asks for status lines: that is for those who do the work. */
static void
hand_on(struct proc *p, size_t n)
{
	const struct timespec now = { 0, 0 };
	sigset_t set;
	size_t i;

	for (i = 0; i < n && !(runs(&p[i]) && p[i].tells); i++)
		;
	if (i == n)
		return;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	if (sigtimedwait(&set, NULL, &now) != SIGUSR1)
		return;
	for (i = 0; i < n; i++)
		if (runs(&p[i]) && p[i].tells)
			(void)kill(p[i].pid, SIGUSR1);
}

size_t
proc_poll(struct proc *p, size_t n, double seconds)
{
	double until = when_mono() + seconds, left;
	size_t i, k, running;
	struct pollfd *pfd;
	bool blind;
	int ms;

	if (reap_all(p, n, &running) > 0 || running == 0)
		return running;
	pfd = calloc(n, sizeof(*pfd));
	for (;;) {
		blind = pfd == NULL;
		for (i = k = 0; pfd != NULL && !blind && i < n; i++) {
			if (!runs(&p[i]))
				continue;
			if (p[i].pidfd == -1)
				blind = true;
			pfd[k].fd = p[i].pidfd;
			pfd[k++].events = POLLIN;
		}
		ms = blind ? TICK_BLIND : TICK;
		if ((left = until - when_mono()) <= 0)
			break;
		if (left * 1000 < ms)
			ms = (int)(left * 1000) + 1;
		(void)poll(blind ? NULL : pfd, blind ? 0 : k, ms);
		hand_on(p, n);
		if (reap_all(p, n, &running) > 0 || running == 0 ||
		    stop_signal() != 0)
			break;
	}
	free(pfd);
	return running;
}

int
proc_wait(struct proc *p, size_t n, double seconds, struct err *e)
{
	double until = when_mono() + seconds, left;

	for (;;) {
		left = seconds < 0 ? 3600 : until - when_mono();
		if (proc_poll(p, n, left < 0 ? 0 : left) == 0)
			return 0;
		if (stop_check(e) == -1)
			return -1;
		if (seconds >= 0 && when_mono() >= until)
			return err_set(e, CALA_DEADLINE,
			    "did not end within %.0f seconds", seconds);
	}
}

void
proc_signal(struct proc *p, size_t n, int sig)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (runs(&p[i])) {
			p[i].told |= sig == p[i].ends;
			kill(p[i].pid, sig);
		}
}

void
proc_end(struct proc *p, size_t n, double grace)
{
	double until = when_mono() + grace;
	struct timespec pause = { 0, TICK_BLIND * 1000 * 1000 };
	size_t i;

	for (i = 0; i < n; i++)
		if (runs(&p[i]) && !p[i].told)
			kill(p[i].group ? -p[i].pid : p[i].pid, p[i].ends);
	while (proc_poll(p, n, until - when_mono()) > 0 &&
	    when_mono() < until)
		/* With the stop flag up proc_poll returns at once. */
		if (stop_signal() != 0)
			nanosleep(&pause, NULL);
	/* A group outlives its leader: a shell dies before what it started. */
	for (i = 0; i < n; i++)
		if (p[i].group && p[i].pid > 0)
			kill(-p[i].pid, SIGKILL);
		else if (runs(&p[i]))
			kill(p[i].pid, SIGKILL);
	while (proc_poll(p, n, 1) > 0)
		if (stop_signal() != 0)
			nanosleep(&pause, NULL);
}

int
proc_chain(struct proc *p, struct proc_spec *s, size_t n, struct err *e)
{
	int pfd[2] = { -1, -1 }, in = -1;
	size_t i;

	memset(p, 0, n * sizeof(*p));
	for (i = 0; i < n; i++) {
		if (i > 0)
			s[i].fd[0] = in;
		if (i + 1 < n) {
			if (pipe2(pfd, O_CLOEXEC) == -1) {
				err_sys(e, "pipe");
				goto fail;
			}
			s[i].fd[1] = pfd[1];
		}
		if (proc_start(&p[i], &s[i], e) == -1)
			goto fail;
		if (in != -1)
			close(in);
		in = pfd[0];
		if (pfd[1] != -1)
			close(pfd[1]);
		pfd[0] = pfd[1] = -1;
	}
	return 0;
fail:
	if (in != -1)
		close(in);
	if (pfd[0] != -1)
		close(pfd[0]);
	if (pfd[1] != -1)
		close(pfd[1]);
	proc_end(p, i, 2);
	return -1;
}

size_t
proc_cause(const struct proc *p, size_t n)
{
	size_t i, best = n;
	int rank, brank = 0;

	/*
	 * Rank 4 an error of its own, 3 input cut short, 2 stopped by SIGPIPE,
	 * 1 partial.  A 4 with nothing before it is nobody's consequence, but
	 * then nobody outranks it either.
	 */
	for (i = 0; i < n; i++) {
		if (p[i].status == CALA_OK)
			continue;
		rank = p[i].status == CALA_PARTIAL ? 1 :
		    p[i].status == CALA_SIGNAL + SIGPIPE ? 2 :
		    p[i].status == CALA_INCOMPLETE && i > 0 ? 3 : 4;
		if (rank > brank ||
		    (rank == brank && p[i].order < p[best].order)) {
			best = i;
			brank = rank;
		}
	}
	return best;
}

const char *
proc_says(const struct proc *p, char out[PROC_TEXT])
{
	const char *name;

	if (p->status <= CALA_SIGNAL) {
		snprintf(out, PROC_TEXT, "exited with status %d", p->status);
		return out;
	}
	name = sigabbrev_np(p->status - CALA_SIGNAL);
	if (name != NULL)
		snprintf(out, PROC_TEXT, "killed by SIG%s", name);
	else
		snprintf(out, PROC_TEXT, "killed by signal %d",
		    p->status - CALA_SIGNAL);
	return out;
}
