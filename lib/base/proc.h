#ifndef CALA_BASE_PROC_H
#define CALA_BASE_PROC_H

/*
 * proc: other programs, started without a shell and always waited for.
 *
 * A child starts with an empty signal mask, SIGPIPE at its default (an
 * inherited "ignored" makes producers that never stop), and is told to end
 * when the thread that started it does: start children from the main thread.
 * Descriptors opened by cala are all close-on-exec, so a child gets what is
 * listed here, and what we were given from outside.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct buf;
struct err;

enum { PROC_NULL = -1 };        /* /dev/null as stdin, stdout or stderr */

/* Our descriptor becomes theirs (the same number is fine); both stay open. */
struct proc_fd {
	int ours, theirs;       /* theirs >= 3 */
};

/* What to start; everything is borrowed during proc_start only. */
struct proc_spec {
	const char *path;       /* NULL: argv[0]; without '/': by PATH */
	const char *const *argv;
	int fd[3];              /* PROC_NULL or a descriptor of ours */
	const struct proc_fd *fds;
	size_t nfds;
	const char *const *env; /* more "NAME=VALUE", NULL-terminated; NULL */
	const char *dir;        /* where to start; NULL: here */
	bool group;             /* a process group of its own */
	bool tells;             /* SIGUSR1, blocked here, is handed on to it;
				 * it starts with that ignored */
	bool bare;              /* env is all: nothing of ours is inherited */
	int ends;               /* the signal that it ends by (not ignored
				 * when it starts); 0: SIGTERM */
};

#define PROC_SPEC_INIT { NULL, NULL, { PROC_NULL, 1, 2 }, NULL, 0, NULL, \
	NULL, false, false, false, 0 }

enum { PROC_NAME = 64 };

struct proc {
	char name[PROC_NAME];   /* last component of the path, escaped */
	pid_t pid;              /* 0: never started */
	int pidfd;              /* -1: none */
	bool group, tells, done;
	int ends;               /* of the spec */
	bool told;              /* that signal was sent */
	int status;             /* exit status, or 128 + signal; once done */
	unsigned order;         /* 1 for the first that was seen to end */
};

/*
 * proc_start(p, spec, e): returns 0 when the program itself runs.  -1:
 * CALA_NOCMD when there is no such program, CALA_NOEXEC when it can't be run
 * (told by the child over a close-on-exec pipe, so neither is mistaken for an
 * exit status), CALA_FAIL for the rest; then nothing runs and p->pid is 0.
 */
int proc_start(struct proc *, const struct proc_spec *, struct err *);

/*
 * proc_chain(p, specs, n, e): n programs, the standard output of each joined
 * by a pipe to the standard input of the next (specs' fd[1] and fd[0] there
 * are overwritten).  -1: one could not start, those already started were
 * killed and reaped.
 */
int proc_chain(struct proc *, struct proc_spec *, size_t, struct err *);

/*
 * proc_poll(p, n, seconds): wait until one more of n has ended, a signal came,
 * or the time is over.  Returns how many still run.  Never-started ones count
 * as ended.  Meanwhile a request for status lines goes to those that tell.
 */
size_t proc_poll(struct proc *, size_t, double);

/*
 * proc_wait(p, n, seconds, e): wait for all of them; seconds < 0: no limit.
 * 0: all have ended.  -1: CALA_DEADLINE when the time was over, or the stop
 * signal of stop.h; they still run then: see proc_end.
 */
int proc_wait(struct proc *, size_t, double, struct err *);

/*
 * proc_signal(p, n, sig): to each that still runs (to the program only).
 * proc_end(p, n, grace): the signal each ends by (unless proc_signal sent it: a
 * second one may mean "without cleanup"), up to grace seconds, then SIGKILL (to
 * the whole group of those that have one); returns when all have ended.
 */
void proc_signal(struct proc *, size_t, int);
void proc_end(struct proc *, size_t, double);

/*
 * proc_cause(p, n): which stage of an ended pipeline decides its outcome: n
 * when all exited 0.  Errors go before 3 (partial).  Among errors it is the
 * first cause: a stage killed by SIGPIPE is the consequence of one that
 * stopped reading, a 4 (input cut short) that of a failure before it; of the
 * rest the one that ended first, and the upstream one of two that were seen
 * at once.
 */
size_t proc_cause(const struct proc *, size_t);

/* proc_says(p, out): "exited with status 5", "killed by SIGKILL"; out. */
enum { PROC_TEXT = 64 };
const char *proc_says(const struct proc *, char [PROC_TEXT]);

/*
 * Programs whose output is read, several at once.
 *
 * line gets each line of standard output without its newline (a last one
 * without newline, too); -1 from it ends that program.  What it says on
 * standard error is collected in errs (cut at its max) unless errs is NULL.
 */
struct proc_task {
	struct proc_spec spec;  /* fd[1], and fd[2] with errs, are ours */
	int (*line)(void *, const char *, size_t, struct err *);
	void *ctx;
	size_t line_max;
	struct buf *errs;
	/* results */
	struct proc proc;
	int code;               /* its status, or our own finding in e */
	struct err *e;          /* set when it could not start or be read */
	/* the rest belongs to proc.c */
	int out, err;
	struct buf *part;
};

/*
 * proc_gather(t, n, jobs, seconds, e): run all, at most jobs at a time, each
 * for at most seconds (< 0: no limit; then its code is CALA_NET).  0 when all
 * were dealt with (see each code); -1 without memory, or by the stop signal,
 * with all of them ended.
 */
int proc_gather(struct proc_task *, size_t, size_t, double, struct err *);

#endif
