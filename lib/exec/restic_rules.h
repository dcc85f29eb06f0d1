#ifndef CALA_EXEC_RESTIC_RULES_H
#define CALA_EXEC_RESTIC_RULES_H

/*
 * restic_rules: our ignore rules in restic's words (kopia-restic §7).
 *
 * restic's patterns look like gitignore's and mean something else.  A rule that
 * means the same in both is handed over; of all others, and of all as soon as
 * one re-includes something, it is our matcher that says what they leave out,
 * and restic gets the list.
 */

#include <stddef.h>
#include <stdint.h>

struct err;
struct match;

enum { RESTIC_RULES_MANY = 20000 };     /* from here on restic gets slow */

struct restic_rules {
	int fd;                 /* for --exclude-file; -1: none */
	char **args;            /* for --exclude: names with a newline */
	size_t nargs;
	uint64_t listed;        /* entries in the list */
};

#define RESTIC_RULES_INIT { -1, NULL, 0, 0 }

/*
 * restic_rules_make(rules, m, dirfd, path, e): m as it applies to the directory
 * dirfd, that restic will see as the absolute path.
 */
int  restic_rules_make(struct restic_rules *, const struct match *, int,
    const char *, struct err *);
void restic_rules_fini(struct restic_rules *);

/*
 * restic_rule(line, path, out): append what one rule is in restic's words, with
 * a newline; 1: it has none.
 */
struct buf;
int restic_rule(const char *, const char *, struct buf *);

#endif
