#ifndef CALA_JOB_RETAIN_H
#define CALA_JOB_RETAIN_H

/*
 * retain: which backups of one group the rules keep; for this room.
 *
 * Each rule looks at all of them, and what any rule keeps stays (the union).
 * Periods are those of the local calendar, weeks those of ISO 8601, and only
 * periods that have a backup count.  Rules count whole backups; partial ones
 * count where there is no whole one.  Kept without any rule: what is locked,
 * what another program made, a partial backup newer than every whole one, and
 * the newest whole one; and, without counting for any, what a wrong clock has
 * dated after now.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct record;

/* In the order in which they are named; 0 or UINT64_MAX: the rule is off. */
struct retain {
	uint64_t last, count;           /* the newest so many */
	uint64_t hourly, daily, weekly, monthly, yearly;
	uint64_t days, within;          /* younger than; within: seconds */
};

/* retain_any(r): is any rule on?  retain_key(i): "keep-last" ..., NULL. */
bool retain_any(const struct retain *);
const char *retain_key(size_t);
/* retain_at(r, i): the number of the rule retain_key(i). */
uint64_t *retain_at(struct retain *, size_t);

/*
 * retain_plan(r, now, v, n, why): why[i] becomes what keeps v[i] ("daily",
 * "locked"), or NULL where nothing does.  v is sorted, oldest first.
 */
void retain_plan(const struct retain *, time_t, const struct record *const *,
    size_t, const char **);

#endif
