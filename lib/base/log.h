#ifndef CALA_BASE_LOG_H
#define CALA_BASE_LOG_H

/*
 * log: messages for people, and the memory of what went wrong on the way.
 *
 * The library never opens or chooses a stream: it writes to the one that main
 * put into struct log.  Warnings are counted and the first LOG_KEEP of them are
 * kept, because a backup's record carries them.  All functions may be called
 * from any thread.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct err;

enum log_level { LOG_QUIET = -1, LOG_NORMAL, LOG_STEPS, LOG_FILES, LOG_WIRE };

enum { LOG_KEEP = 1000 };       /* warnings kept: the record's limit */

struct log {
	FILE *out;              /* stderr in tools; NULL: print nothing */
	const char *prog;       /* "cala-pack" */
	enum log_level level;
	bool journal;           /* prefix <4> style priorities */
	void (*before)(void *); /* erase the progress line, or NULL */
	void *before_arg;
	/* the rest belongs to log.c */
	pthread_mutex_t mu;
	uint64_t nwarn;         /* warnings so far: turns exit 0 into 3 */
	char **kept;
	size_t nkept;
};

/*
 * log_init(l, out, prog): a log at LOG_NORMAL.  prog is borrowed.
 * log_fini(l): frees what was kept.
 */
void log_init(struct log *, FILE *, const char *);
void log_fini(struct log *);

/* log_error(l, e): "prog: error: message", and the hint on its own line. */
void log_error(struct log *, const struct err *);

/*
 * log_warn(l, fmt, ...): something could not be read or kept.  Counts, is
 * kept for the record, is printed at any level, and makes the exit status 3.
 * log_note(l, fmt, ...): worth saying once, printed but not counted.
 * log_step/log_file/log_wire: printed at -v, -vv, --debug.
 */
void log_warn(struct log *, const char *, ...)
    __attribute__((format(printf, 2, 3)));
void log_note(struct log *, const char *, ...)
    __attribute__((format(printf, 2, 3)));
void log_step(struct log *, const char *, ...)
    __attribute__((format(printf, 2, 3)));
void log_file(struct log *, const char *, ...)
    __attribute__((format(printf, 2, 3)));
void log_wire(struct log *, const char *, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * log_hold(l), log_release(l): nothing is printed in between, so that a
 * progress line and a message can't run into each other.
 */
void log_hold(struct log *);
void log_release(struct log *);

/* log_warnings(l): how many warnings were counted so far. */
uint64_t log_warnings(struct log *);

#endif
