#ifndef CALA_S3_PLAN_H
#define CALA_S3_PLAN_H

/*
 * plan: how a stream is cut into parts (s3.md 2.7).
 *
 * Parts start small, and of each tenth of the part numbers they double, so
 * that 10,000 of them hold what memory (or a disk) allows; never above the
 * ceiling, and all of one size where that is demanded or the length that is told
 * leaves no room to grow.
 */

#include <stdbool.h>
#include <stdint.h>

struct buf;
struct err;

struct s3_plan {
	/* in */
	uint64_t part_size;     /* ceiling, or the size with exact; 0: none */
	bool exact;             /* all of part_size */
	bool equal;             /* all of one size, whichever */
	unsigned max_parts;     /* 1..10000 */
	uint64_t max_object;
	uint64_t memory;        /* for parts; at least two live in it */
	uint64_t expect;        /* bytes to come; 0: unknown */
	bool spool;             /* parts too large for memory lie on disk */
	/* out */
	uint64_t fit;           /* the largest part for memory */
	uint64_t first, cap;    /* size of the first part, and of any */
	unsigned step;          /* parts until it doubles; 0: never */
	uint64_t limit;         /* bytes that fit */
};

/*
 * s3_plan(p, e): fill in the rest.  CALA_USAGE when the given sizes can't
 * work, CALA_NOSPACE when what is to come can't fit.
 * s3_plan_size(p, n): of part n, from 1.
 * s3_plan_text(p, b): "8388608x1000,16777216x9000", as kept with the object.
 */
int s3_plan(struct s3_plan *, struct err *);
uint64_t s3_plan_size(const struct s3_plan *, unsigned);
void s3_plan_text(const struct s3_plan *, struct buf *);

#endif
