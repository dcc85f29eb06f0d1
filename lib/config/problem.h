#ifndef CALA_CONFIG_PROBLEM_H
#define CALA_CONFIG_PROBLEM_H

/*
 * problem: what is wrong in the configuration files, collected so that all of
 * it is said at once.
 */

#include <stdbool.h>
#include <stddef.h>

struct conf_files;
struct conf_section;
struct err;
struct log;

enum { PROBLEMS = 1000 };       /* more are not worth reading */

/* A line that is wrong; line 0: the file as a whole. */
struct problem {
	size_t file;
	int line;
	char *text;             /* never the value of a secret */
	size_t first_file;      /* where it was said first; */
	int first_line;         /* 0: nowhere */
	bool old;               /* see problems_old */
};

struct problems {
	struct problem *v;
	size_t n;
	bool oom;               /* one was lost */
};

#define PROBLEMS_INIT { NULL, 0, false }

/*
 * problem_add(ps, file, line, fmt, ...): one more.
 * problem_first(ps, file, line): the one just added repeats what stands there.
 */
void problem_add(struct problems *, size_t, int, const char *, ...)
    __attribute__((format(printf, 4, 5)));
void problem_first(struct problems *, size_t, int);
void problems_free(struct problems *);

/*
 * problem_label(s, key): "[server "x"] key" for messages, in one of two
 * rotating buffers of the thread; key may be NULL.
 */
const char *problem_label(const struct conf_section *, const char *);

/*
 * problems_old(now, before): mark what was there before, wherever in its file
 * it stands now; the rest is the fault of the change in between.
 * problems_verdict(ps, fs, log, e): 0 when all are old or there are none; else
 * each new one on the log as "FILE:LINE: what" by place (log NULL: the first in
 * e), and -1 with CALA_USAGE and their number.
 * problems_warn(ps, fs, log): the old ones, as warnings.
 */
void problems_old(struct problems *, const struct problems *);
int  problems_verdict(struct problems *, const struct conf_files *,
    struct log *, struct err *);
void problems_warn(struct problems *, const struct conf_files *, struct log *);

#endif
