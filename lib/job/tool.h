#ifndef CALA_JOB_TOOL_H
#define CALA_JOB_TOOL_H

/*
 * tool: command lines of the other tools, and running them; for this room.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/proc.h"
#include "job/job.h"

struct buf;

/* A command line; v is NULL-terminated and owns its strings. */
struct args {
	char **v;
	size_t n;
	bool failed;            /* sticky: out of memory */
};

void args_add(struct args *, const char *);
void args_fmt(struct args *, const char *, ...)
    __attribute__((format(printf, 2, 3)));
void args_free(struct args *);

/*
 * args_path(a, p): an operand for a driver, where "--" would begin a COMMAND:
 * a path that looks like an option gets "./" in front.
 */
void args_path(struct args *, const char *);

/*
 * args_tool(env, a, name): start a with the tool's path: beside cala, in
 * libexec, else the bare name (found by PATH); then -v, -q, --debug.
 * args_driver(env, a, cfg, verb): the same for a configuration's driver, with
 * verb, --config-file and -c.
 */
void args_tool(const struct job_env *, struct args *, const char *);
void args_driver(const struct job_env *, struct args *,
    const struct conf_section *, const char *);

/*
 * args_limits(env, cfg, a, keys): of limit-read, limit-write, limit-network,
 * memory and jobs those in keys (NULL-terminated): what cala was told, else
 * what the configuration or [cala] says, unless it is NULL.
 * args_progress(env, a): --progress or --no-progress, as cala was told.
 */
void args_limits(const struct job_env *, const struct conf_section *,
    struct args *, const char *const *);
void args_progress(const struct job_env *, struct args *);

/*
 * args_form(cfg, a): --format and --level of archives in a configuration
 * that keeps them.
 */
void args_form(const struct conf_section *, struct args *);

/*
 * tool_run(env, a, lock, e): run it with our stdout; lock (-1: none) is
 * inherited.  Its exit status, or -1 with err (could not start, stopped).
 * tool_read(env, a, lock, out, e): the same, its output (at most out->max
 * bytes) into out.
 */
int tool_run(const struct job_env *, const struct args *, int, struct err *);
int tool_read(const struct job_env *, const struct args *, int, struct buf *,
    struct err *);

/*
 * tool_pipe(env, a, n, commit, lock, out, e): a pipeline.  commit is the pair
 * of a pipe whose read end the last stage knows by number (--commit-fd): it
 * gets 'C' when all before it have exited 0 or 3, else end of file; both ends
 * are closed on return.  The last stage's output goes to out unless NULL, else
 * to our stdout.
 *
 * 0: all exited 0.  CALA_PARTIAL.  -1: err says which stage was the cause,
 * with its status as code (a signal: CALA_INCOMPLETE; an unknown status:
 * CALA_FAIL), or that we were stopped.
 */
int tool_pipe(const struct job_env *, struct args *, size_t, int [2], int,
    struct buf *, struct err *);

/* tool_code(status): what a child's exit status is as one of ours. */
int tool_code(int);

/* driver_info(env, cfg, out, e): how it takes and gives backups. */
struct driver_facts {
	bool stream, dir;       /* put takes */
	bool raw;               /* get --raw: it keeps archives */
	bool restore;           /* has that verb */
	bool proves;            /* get takes --no-check: see driver.h */
};
int driver_info(const struct job_env *, const struct conf_section *,
    struct driver_facts *, struct err *);

#endif
