#ifndef CALA_JOB_ITEM_H
#define CALA_JOB_ITEM_H

/* item: an entry as a driver's `ls --json` tells it; for browse and diff. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/buf.h"
#include "base/json.h"

struct err;
struct job_env;
struct job_found;

/* A path of 64 KiB may be written with six characters a byte, and in base64. */
enum { ITEM_LINE = 1 << 20 };

struct item {
	json_t *json;           /* all of it */
	struct buf path;        /* exact bytes */
	char type;
	uint64_t size;
	bool has_mtime;
	struct timespec mtime;
};

/* item_get(it, p, n, e): parse a line; -1 with nothing to end. */
int  item_get(struct item *, const char *, size_t, struct err *);
void item_fini(struct item *);

/*
 * items_list(env, b, path, line, ctx, e): each line of `ls -R --json` of path
 * (NULL: all) in the backup b.  0, CALA_PARTIAL, or -1.
 */
int items_list(const struct job_env *, const struct job_found *, const char *,
    int (*)(void *, const char *, size_t, struct err *), void *,
    struct err *);

#endif
