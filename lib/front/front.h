#ifndef CALA_FRONT_FRONT_H
#define CALA_FRONT_FRONT_H

/*
 * front: what every main shares: signals, the log on stderr, the common
 * options, the checked end.  The only room that touches the process's own
 * state (argv, environment, umask, signal dispositions, exit), and only bin/
 * and driver_main() use it.
 *
 *	int
 *	main(int argc, char **argv)
 *	{
 *		struct front f;
 *		struct opt_list args, rest;
 *		...
 *		const struct opt table[] = {
 *			{ OPT_STR, 'C', "directory", "DIR", "start in DIR",
 *			    &dir, NULL },
 *			FRONT_OPTS(f),
 *			{ OPT_END, 0, NULL, NULL, NULL, NULL, NULL }
 *		};
 *
 *		front_init(&f, "cala-unpack", usage, example);
 *		if (front_parse(&f, table, argc, argv, &args, &rest, &e))
 *			return front_end(&f, &e);
 *		if (work(...) == -1)
 *			return front_end(&f, &e);
 *		return front_end(&f, NULL);
 *	}
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/log.h"
#include "base/opt.h"

struct front {
	struct log log;
	const char *prog;
	const char *usage;      /* lines after "usage: " */
	const char *example;    /* last lines of --help, or NULL */
	int verbose;            /* -v, -vv */
	bool quiet, debug, help, version, progress, names;
	bool progress_off;      /* --no-progress was said */
	const char *config_file;
	int status;             /* what front_parse decided: 0 after --help */
};

/* The options every tool takes; --config-file only where one is read. */
#define FRONT_OPTS(f)							\
	{ OPT_FLAG, 'q', "quiet", NULL, "errors and warnings only",	\
	    &(f).quiet, NULL },						\
	{ OPT_COUNT, 'v', "verbose", NULL,				\
	    "say each step; -vv: each file", &(f).verbose, NULL },	\
	{ OPT_FLAG, 0, "debug", NULL, "add facts for bug reports",	\
	    &(f).debug, NULL },						\
	{ OPT_FLAG, 'h', "help", NULL, "this text", &(f).help, NULL },	\
	{ OPT_FLAG, 0, "version", NULL, "the version", &(f).version,	\
	    NULL },							\
	{ OPT_FLAG, 0, "list-options", NULL, NULL, &(f).names, NULL }
#define FRONT_CONFIG(f)							\
	{ OPT_STR, 0, "config-file", "FILE",				\
	    "read FILE instead of /etc/cala", &(f).config_file, NULL }
#define FRONT_END { OPT_END, 0, NULL, NULL, NULL, NULL, NULL }

/*
 * front_init(f, prog, usage, example): umask 077, SIGPIPE ignored, INT, TERM
 * and HUP set the stop flag (a second one ends at once), USR1 is blocked (see
 * meter.h), stdin, stdout and stderr are open.
 */
void front_init(struct front *, const char *, const char *, const char *);

/*
 * front_parse: opt_parse, then the common options.  Returns 0 to go on, 1 when
 * all is said (--help, --version: call front_end(f, NULL)), -1 with e.
 */
int front_parse(struct front *, const struct opt *, int, char **,
    struct opt_list *, struct opt_list *, struct err *);

/* front_said(argc, argv, word): does the option word stand in argv? */
bool front_said(int, char **, const char *);

/*
 * front_end(f, e): print e unless NULL, flush and close stdout (its failure is
 * ours), and return the exit status: e's code; 3 when warnings were counted; 0.
 * A code of CALA_SIGNAL + n ends the process by signal n instead (EPIPE on
 * stdout: by SIGPIPE, silently).
 */
int front_end(struct front *, const struct err *);

/*
 * front_runtime(out, room): where locks are: systemd's RUNTIME_DIRECTORY, for
 * root /run/cala, else XDG_RUNTIME_DIR; a user's cron job has none of these:
 * then the state directory.  -1 without any: only what takes a lock needs it.
 */
int front_runtime(char *, size_t);

/*
 * front_keys(): this process holds keys: no core file, not dumpable, not to
 * be traced by others.
 */
void front_keys(void);

#endif
