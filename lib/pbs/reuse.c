#include "pbs/reuse.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "base/when.h"
#include "entry/entry.h"
#include "pbs/index.h"
#include "pxar/item.h"
#include "pxar/pxar.h"

enum { PADDING = 10 };          /* one of so many bytes may be */

struct pbs_reuse {
	struct pbs_reuse_how how;
	/* the previous archive, read beside the tree */
	struct source *src;
	struct reader *r;
	bool ended;
	struct buf path;
	enum entry_type type;
	uint64_t size, pos;
	struct timespec mtime;
	uint64_t last;          /* pos of the one used last */
	/* the run at hand, while planning */
	struct pbs_run run;
	bool open;
	uint64_t used, files;
	/* those that are good */
	struct pbs_run *runs;
	size_t n, room, at;
	struct pbs_reuse_sum sum;
};

struct pbs_reuse *
pbs_reuse_new(const struct pbs_reuse_how *how, struct err *e)
{
	struct pbs_reuse *r = calloc(1, sizeof(*r));

	if (r == NULL) {
		err_oom(e);
		return NULL;
	}
	r->how = *how;
	buf_init(&r->path, ENTRY_PATH_MAX);
	return r;
}

static void
rewind_old(struct pbs_reuse *r)
{
	reader_close(r->r);
	source_close(r->src);
	r->r = NULL;
	r->src = NULL;
	r->ended = false;
	r->last = 0;
	buf_reset(&r->path);
}

void
pbs_reuse_free(struct pbs_reuse *r)
{
	if (r == NULL)
		return;
	rewind_old(r);
	buf_fini(&r->path);
	free(r->runs);
	free(r);
}

/* ---- the previous archive ---- */

/* Whatever is wrong with it: the rest is read as if it were new. */
static void
give_up(struct pbs_reuse *r, const struct err *why)
{
	log_step(r->how.log, "the previous snapshot's metadata can't be read "
	    "on: %s", why->msg);
	r->ended = true;
}

static void
next(struct pbs_reuse *r)
{
	const struct entry *en = NULL;
	struct content *c;
	struct err why = ERR_INIT;
	int k;

	if (r->r == NULL) {
		r->src = ranged_source(r->how.meta, 0, r->how.meta->size,
		    &why);
		if (r->src == NULL || (r->r = pxar_reader(r->src, NULL, NULL,
		    r->how.log, &why)) == NULL) {
			give_up(r, &why);
			return;
		}
	}
	if ((k = reader_next(r->r, &en, &c, &why)) == -1) {
		give_up(r, &why);
		return;
	}
	if (k == 0) {
		r->ended = true;
		return;
	}
	buf_reset(&r->path);
	buf_str(&r->path, en->path);
	r->type = en->type;
	r->size = en->size;
	r->mtime = en->mtime;
	r->pos = pxar_reader_payload(r->r);
	r->ended = r->path.failed;
}

/* In the order of a walk: what is in a directory follows it at once. */
static int
order(const char *a, const char *b)
{
	while (*a != '\0' && *a == *b)
		a++, b++;
	if (*a == *b)
		return 0;
	if (*a == '\0' || *b == '\0')
		return *a == '\0' ? -1 : 1;
	if (*a == '/' || *b == '/')
		return *a == '/' ? -1 : 1;
	return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
}

static bool
unchanged(struct pbs_reuse *r, const struct entry *en)
{
	uint64_t end;

	if (en->type != ENTRY_FILE || !pbs_reuse_old(r, en))
		return false;
	while (!r->ended && (r->r == NULL || order(r->path.p, en->path) < 0))
		next(r);
	if (r->ended || strcmp(r->path.p, en->path) != 0 ||
	    r->type != ENTRY_FILE || r->size != en->size ||
	    when_cmp(r->mtime, en->mtime) != 0)
		return false;
	/* References only ever go forward. */
	if (r->pos <= r->last || r->pos < PXAR_HEAD ||
	    !u64_add(r->pos, r->size, &end) ||
	    !u64_add(end, PXAR_HEAD, &end) || end > r->how.payload->size)
		return false;
	r->last = r->pos;
	return true;
}

bool
pbs_reuse_old(const struct pbs_reuse *r, const struct entry *en)
{
	return r->how.ignore_inode || en->ctime.tv_sec < r->how.since;
}

/* ---- runs ---- */

static int
close_run(struct pbs_reuse *r, struct err *e)
{
	struct pbs_run *more;
	uint64_t padding;
	size_t room;

	if (!r->open)
		return 0;
	r->open = false;
	padding = r->run.size - r->used;
	if (padding > r->run.size / PADDING)
		return 0;
	if (r->n == r->room) {
		room = r->room == 0 ? 64 : 2 * r->room;
		more = reallocarray(r->runs, room, sizeof(*more));
		if (more == NULL)
			return err_oom(e);
		r->runs = more;
		r->room = room;
	}
	r->runs[r->n++] = r->run;
	r->sum.runs++;
	r->sum.files += r->files;
	r->sum.bytes += r->used;
	return 0;
}

/* May what is used in [from, to) go on the run at hand? */
static bool
goes_on(const struct pbs_reuse *r, uint64_t from, size_t first)
{
	if (!r->open)
		return false;
	if (from == r->run.to)
		return true;
	/* A gap within a chunk is padding; one too large would spoil all. */
	return first == r->run.first + r->run.n - 1 &&
	    (from - r->run.to) * PADDING <= r->used;
}

static int
add(struct pbs_reuse *r, struct err *e)
{
	const struct pbs_index *ix = r->how.payload;
	uint64_t from = r->pos, to = from + PXAR_HEAD + r->size;
	size_t first = pbs_index_find(ix, from);
	size_t last = pbs_index_find(ix, to - 1);

	if (!goes_on(r, from, first)) {
		if (close_run(r, e) == -1)
			return -1;
		r->open = true;
		r->used = r->files = 0;
		r->run.from = from;
		r->run.first = first;
		r->run.start = pbs_index_start(ix, first);
	}
	r->run.to = to;
	r->run.n = last - r->run.first + 1;
	r->run.size = pbs_index_start(ix, last) + pbs_index_length(ix, last) -
	    r->run.start;
	r->used += to - from;
	r->files++;
	return 0;
}

int
pbs_reuse_plan(struct pbs_reuse *r, struct reader *walk, struct err *e)
{
	const struct entry *en;
	struct content *c;
	int k;

	while ((k = reader_next(walk, &en, &c, e)) == 1) {
		if (en->type != ENTRY_FILE)
			continue;
		if ((unchanged(r, en) ? add(r, e) : close_run(r, e)) == -1)
			return -1;
	}
	if (k == -1 || close_run(r, e) == -1)
		return -1;
	rewind_old(r);
	return 0;
}

const struct pbs_run *
pbs_reuse_find(struct pbs_reuse *r, const struct entry *en, uint64_t *pos)
{
	const struct pbs_run *run;

	if (r->n == 0 || !unchanged(r, en))
		return NULL;
	while (r->at < r->n && r->runs[r->at].to <= r->pos)
		r->at++;
	if (r->at == r->n)
		return NULL;
	run = &r->runs[r->at];
	if (r->pos < run->from || r->pos + PXAR_HEAD + r->size > run->to)
		return NULL;
	*pos = r->pos;
	return run;
}

void
pbs_reuse_sum(const struct pbs_reuse *r, struct pbs_reuse_sum *out)
{
	*out = r->sum;
}
