#ifndef CALA_BASE_OPT_H
#define CALA_BASE_OPT_H

/*
 * opt: one table per tool says which options it takes; parsing, --help and the
 * list for completions come from it, so that they can't drift apart.
 *
 * GNU manner: --name VALUE and --name=VALUE, -nVALUE, -abc, exact names only,
 * options and operands mixed, "--" ends the options.  Every flag has --no-NAME
 * and the later one wins; a scalar given twice is a usage error; lists
 * accumulate.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct err;

enum opt_kind {
	OPT_FLAG,               /* bool * */
	OPT_COUNT,              /* int *, each one adds 1 (-vv) */
	OPT_STR,                /* const char ** */
	OPT_MAYBE,              /* const char **: --name or --name=VALUE; "" */
	OPT_LIST,               /* struct opt_list * */
	OPT_U64,                /* uint64_t *, decimal */
	OPT_SIZE,               /* uint64_t *, str_size() */
	OPT_RATE,               /* uint64_t *, str_rate(), bytes per second */
	OPT_DURATION,           /* uint64_t *, str_duration(), seconds */
	OPT_CALL,               /* fn(ctx, value) in the order given */
	OPT_END
};

struct opt_list {
	const char **v;         /* borrowed from argv */
	size_t n;
};

struct opt {
	enum opt_kind kind;
	char letter;            /* or 0 */
	const char *name;
	const char *arg;        /* metavariable in help; NULL for flags */
	const char *help;       /* NULL: works, but is not shown */
	void *to;               /* where the value goes; ctx for OPT_CALL */
	int (*fn)(void *, const char *, struct err *);
};

/*
 * opt_parse(table, argc, argv, &operands, &rest, e): fill the targets.
 * operands gets what is no option (v is on the heap: opt_list_free), rest what
 * follows "--" (rest->v is NULL when there was no "--").  rest == NULL: what
 * follows "--" are operands too.  Returns 0, or -1 with CALA_USAGE.
 */
int opt_parse(const struct opt *, int, char **, struct opt_list *,
    struct opt_list *, struct err *);
void opt_list_free(struct opt_list *);

/* opt_list_add(l, s): append a borrowed string; -1 without memory. */
int opt_list_add(struct opt_list *, const char *);

/*
 * opt_help(table, out): the options, two columns, at most 79 wide.
 * opt_names(table, out): a line each: "--name", "--name=" where it takes a
 * value, "-n"; the completions and the agreement test read it.
 */
void opt_help(const struct opt *, FILE *);
void opt_names(const struct opt *, FILE *);

#endif
