#include "front/front.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/stop.h"

#ifndef CALA_VERSION
#define CALA_VERSION "unknown"
#endif

/*
 * A signal that lands between a look at the flag and a call that blocks wakes
 * nobody: ring every second, so that the next EINTR ends the call.
 */
static void
on_alarm(int sig)
{
	(void)sig;
	alarm(1);
}

static void
on_signal(int sig)
{
	/* The second one means: now. */
	if (stop_signal() != 0) {
		signal(sig, SIG_DFL);
		raise(sig);
	}
	stop_set(sig);
	alarm(1);
}

void
front_init(struct front *f, const char *prog, const char *usage,
    const char *example)
{
	static const int sigs[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction sa, old;
	sigset_t mask;
	size_t i;
	int fd;

	/*
	 * A file opened later must not become stdout.  What is written to a
	 * closed one must fail: a backup that went nowhere is no success.
	 */
	do
		fd = open("/dev/null", fcntl(STDOUT_FILENO, F_GETFD) == -1 ?
		    O_RDONLY : O_RDWR);
	while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);

	memset(f, 0, sizeof(*f));
	f->prog = prog;
	f->usage = usage;
	f->example = example;
	umask(077);
	log_init(&f->log, stderr, prog);

	/*
	 * SIGUSR1 asks for a status line and must end nobody: meter.c waits for
	 * it, and the dispatcher hands it on.
	 */
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	signal(SIGUSR1, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);       /* EFBIG, and we clean up */
	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = on_alarm;       /* no SA_RESTART: calls must end */
	sigaction(SIGALRM, &sa, NULL);
	sa.sa_handler = on_signal;
	for (i = 0; i < sizeof(sigs) / sizeof(*sigs); i++) {
		/* nohup and cron ignore HUP on purpose. */
		if (sigaction(sigs[i], NULL, &old) == 0 &&
		    old.sa_handler == SIG_IGN)
			continue;
		sigaction(sigs[i], &sa, NULL);
	}
}

static bool
on_journal(void)
{
	const char *s = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return s != NULL && sscanf(s, "%llu:%llu", &dev, &ino) == 2 &&
	    fstat(2, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

bool
front_said(int argc, char **argv, const char *word)
{
	int i;

	for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], word) == 0)
			return true;
	return false;
}

int
front_parse(struct front *f, const struct opt *t, int argc, char **argv,
    struct opt_list *args, struct opt_list *rest, struct err *e)
{
	int i;

	for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--no-progress") == 0)
			f->progress_off = true;
		else if (strcmp(argv[i], "--progress") == 0)
			f->progress_off = false;
	if (opt_parse(t, argc, argv, args, rest, e) == -1)
		return err_hint(e, "try '%s --help'", f->prog);
	f->log.level = f->debug ? LOG_WIRE : f->verbose >= 2 ? LOG_FILES :
	    f->verbose == 1 ? LOG_STEPS : f->quiet ? LOG_QUIET : LOG_NORMAL;
	f->log.journal = on_journal();
	if (!f->help && !f->version && !f->names)
		return 0;
	opt_list_free(args);
	if (f->names) {
		opt_names(t, stdout);
	} else if (f->version) {
		printf("%s %s\n", f->prog, CALA_VERSION);
	} else {
		printf("usage: %s\n\noptions:\n", f->usage);
		opt_help(t, stdout);
		if (f->example != NULL)
			printf("\n%s\n", f->example);
	}
	return 1;
}

static void
die_of(int sig)
{
	sigset_t set;

	signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(sig);
}

int
front_end(struct front *f, const struct err *e)
{
	struct err out = ERR_INIT;
	int code = 0, lost = 0;

	if (e == NULL && log_warnings(&f->log) > 0)
		code = CALA_PARTIAL;
	if (e != NULL) {
		code = e->code != 0 ? e->code : CALA_FAIL;
		if (code != CALA_SIGNAL + SIGPIPE)
			log_error(&f->log, e);
	}
	/* A full disk behind stdout shows up only here. */
	if (e == NULL || e->code != CALA_SIGNAL + SIGPIPE) {
		if (fflush(stdout) == EOF && errno != EPIPE)
			lost = err_sys(&out, "write to standard output");
		else
			lost = file_printed(stdout, "standard output", &out);
		if (lost == 0 && fclose(stdout) == EOF && errno != EBADF)
			lost = err_sys(&out, "write to standard output");
	}
	if (lost == -1 && out.code == CALA_SIGNAL + SIGPIPE) {
		code = out.code;
	} else if (lost == -1 && e == NULL) {
		code = out.code;
		log_error(&f->log, &out);
	}
	log_fini(&f->log);
	if (code > CALA_SIGNAL)
		die_of(code - CALA_SIGNAL);
	return code;
}

static const char *
from_env(const char *name)
{
	const char *s = getenv(name);

	return s != NULL && *s == '/' ? s : NULL;
}

int
front_runtime(char *out, size_t room)
{
	const char *s;
	int n;

	if ((s = from_env("RUNTIME_DIRECTORY")) != NULL)
		n = snprintf(out, room, "%.*s", (int)strcspn(s, ":"), s);
	else if (geteuid() == 0)
		n = snprintf(out, room, "/run/cala");
	else if ((s = from_env("XDG_RUNTIME_DIR")) != NULL)
		n = snprintf(out, room, "%s/cala", s);
	else if ((s = from_env("XDG_STATE_HOME")) != NULL)
		n = snprintf(out, room, "%s/cala", s);
	else if ((s = from_env("HOME")) != NULL)
		n = snprintf(out, room, "%s/.local/state/cala", s);
	else
		return -1;
	return n > 0 && (size_t)n < room ? 0 : -1;
}

void
front_keys(void)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}
