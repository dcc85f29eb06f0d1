#include "s3/plan.h"

#include <inttypes.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "s3/s3.h"

enum { RESERVE = 100 };         /* part numbers kept for the largest parts */

#define MIB (1ull << 20)

static uint64_t
round_up(uint64_t n)
{
	return (n + MIB - 1) / MIB * MIB;
}

/* The largest part of which two fit into memory. */
static uint64_t
fitting(const struct s3_plan *p)
{
	uint64_t n = p->memory / 2 / MIB * MIB;

	return n < S3_PART_MIN ? S3_PART_MIN : n > S3_PART_MAX ?
	    S3_PART_MAX : n;
}

uint64_t
s3_plan_size(const struct s3_plan *p, unsigned n)
{
	unsigned shift;

	if (p->step == 0)
		return p->first;
	if (n > p->max_parts - RESERVE)
		return p->cap;
	shift = (n - 1) / p->step;
	if (shift > 20 || p->first << shift > p->cap)
		return p->cap;
	return p->first << shift;
}

static void
sum_up(struct s3_plan *p)
{
	unsigned n;

	p->limit = 0;
	for (n = 1; n <= p->max_parts; n++)
		p->limit += s3_plan_size(p, n);
	if (p->limit > p->max_object)
		p->limit = p->max_object;
}

static int
too_small(const struct s3_plan *p, struct err *e)
{
	char size[STR_HUMAN], have[STR_HUMAN], need[STR_HUMAN];

	return err_set(e, CALA_USAGE, "%u parts of at most %s hold %s, and %s "
	    "are to come", p->max_parts, str_human(p->cap, size),
	    str_human(p->limit, have), str_human(p->expect, need));
}

/* All parts of one size. */
static int
fixed(struct s3_plan *p, struct err *e)
{
	uint64_t want = p->memory >= 224 * MIB ? 16 * MIB : 8 * MIB;
	char a[STR_HUMAN], b[STR_HUMAN];

	if (p->exact) {
		want = p->part_size;
	} else if (p->expect > 0) {
		/* five of a hundred more, should it have been a guess */
		if (want < p->expect / p->max_parts / 20 * 21 + MIB)
			want = round_up(p->expect / p->max_parts / 20 * 21 +
			    MIB);
		if (p->part_size != 0 && want > p->part_size)
			want = p->part_size;
	} else {
		want = p->part_size != 0 && p->part_size < 128 * MIB ?
		    p->part_size : 128 * MIB;
		if (want > p->fit && !p->spool)
			want = p->fit;
	}
	p->first = p->cap = want;
	p->step = 0;
	sum_up(p);
	if (want > p->fit && !p->spool) {
		err_set(e, p->exact ? CALA_USAGE : CALA_NOSPACE,
		    "parts of %s do not fit the memory of %s twice",
		    str_human(want, a), str_human(p->memory, b));
		return err_hint(e, "--memory %" PRIu64 "MiB, or a directory on "
		    "disk for them (--spool-dir, spool-directory)",
		    (uint64_t)(want / MIB * 2 * 8 / 7 + 16));
	}
	return 0;
}

static void
growing(struct s3_plan *p)
{
	uint64_t most = p->spool ? S3_PART_MAX : p->fit;

	p->first = p->max_parts < 5000 ? 64 * MIB :
	    p->memory >= 224 * MIB ? 16 * MIB : 8 * MIB;
	p->cap = p->part_size != 0 && p->part_size < most ? p->part_size :
	    most;
	if (p->first > p->cap)
		p->first = p->cap;
	p->step = p->max_parts / 10;
	if (p->max_parts <= RESERVE || p->step == 0) {
		p->first = p->cap;
		p->step = 0;
	}
	sum_up(p);
}

int
s3_plan(struct s3_plan *p, struct err *e)
{
	char a[STR_HUMAN], b[STR_HUMAN];

	if (p->exact && p->part_size == 0)
		return err_set(e, CALA_USAGE, "exact parts need a part size");
	/* what people call 5 MB is meant as the least there is */
	if (p->part_size != 0 && (p->part_size < 5000000 ||
	    (p->exact && p->part_size < S3_PART_MIN)))
		return err_set(e, CALA_USAGE, "part size %s: at least 5 MiB",
		    str_human(p->part_size, a));
	if (p->part_size != 0 && p->part_size < S3_PART_MIN)
		p->part_size = S3_PART_MIN;
	if (p->part_size > S3_PART_MAX)
		p->part_size = S3_PART_MAX;
	p->fit = fitting(p);
	if (!p->exact && !p->equal)
		growing(p);
	/* what is told may be a guess: room to grow is worth more than sizes */
	if ((p->exact || p->equal || p->expect > p->limit / 21 * 20) &&
	    fixed(p, e) == -1)
		return -1;
	if (p->expect <= p->limit)
		return 0;
	if (p->limit == p->max_object)
		return err_set(e, CALA_NOSPACE, "%s are to come, and the "
		    "largest object here has %s", str_human(p->expect, a),
		    str_human(p->limit, b));
	return too_small(p, e);
}

void
s3_plan_text(const struct s3_plan *p, struct buf *b)
{
	uint64_t size = 0;
	unsigned n, from = 1;

	for (n = 1; n <= p->max_parts + 1; n++) {
		uint64_t next = n <= p->max_parts ? s3_plan_size(p, n) : 0;

		if (next == size)
			continue;
		if (size != 0)
			buf_printf(b, "%s%" PRIu64 "x%u", b->len > 0 ? "," :
			    "", size, n - from);
		size = next;
		from = n;
	}
}
