#ifndef CALA_ENTRY_MATCH_H
#define CALA_ENTRY_MATCH_H

/*
 * match: ignore rules with gitignore's syntax and the newer Wings' semantics:
 * the last matching rule wins; an excluded directory is still descended into
 * when a later rule could re-include something below it.
 */

#include <stdbool.h>
#include <stddef.h>

struct buf;
struct err;
struct log;
struct match;

struct match *match_new(struct err *);
void match_free(struct match *);        /* NULL is fine */

/*
 * match_add(m, line, n, e): one line of an ignore file.  0; 1 when the line is
 * no rule (blank, comment); -1 when it is malformed (CALA_USAGE: an unclosed
 * "[") or without memory.
 * match_add_file(m, dirfd, name, max, log, e): all lines of a file of at most
 * max bytes; malformed lines are warned about with their number and skipped.  1
 * when the file is absent.
 */
int match_add(struct match *, const char *, size_t, struct err *);
int match_add_file(struct match *, int, const char *, size_t, struct log *,
    struct err *);

/* match_count: rules.  match_rule: the i-th as it was given. */
size_t match_count(const struct match *);
const char *match_rule(const struct match *, size_t);

enum match_verdict {
	MATCH_KEEP,
	MATCH_DROP,             /* not the entry, nor anything below it */
	MATCH_DESCEND           /* not the directory, perhaps what it holds */
};

/* match_path(m, path, is_dir): thread-safe once the rules are complete. */
enum match_verdict match_path(const struct match *, const char *, bool);

#endif
