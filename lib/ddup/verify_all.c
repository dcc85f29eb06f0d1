/* verify_all: is the repository sound?  Every chunk once, every count. */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/stop.h"
#include "base/str.h"
#include "ddup/care.h"
#include "ddup/count.h"
#include "ddup/int.h"
#include "ddup/audit.h"
#include "ddup/walk.h"

enum { SAID = 20, LOCK_WAIT = 60 };

struct whole {
	struct ddup *r;
	const struct care_say *say;
	struct ddup_whole *got;
	struct audit *audit;
	unsigned percent, said;
	uint64_t turn;
};

static void report(struct whole *, const char *, ...)
    __attribute__((format(printf, 2, 3)));

static void
report(struct whole *w, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	if (w->said++ >= SAID)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	w->say->fn(w->say->arg, line);
}

static void
proved(void *arg, const struct audited *p)
{
	struct whole *w = arg;

	if (p->why != NULL) {
		w->got->damaged++;
		report(w, "damaged: %s", p->why->msg);
		return;
	}
	w->got->read += p->n;
	if (p->trailing > 0)
		report(w, "note: a chunk file has %zu bytes behind its end",
		    p->trailing);
}

/* Is it in the index, under whatever id? */
static bool
indexed(struct index *ix, const unsigned char *hash)
{
	uint32_t ref, at = INDEX_NONE;

	while ((ref = index_each(ix, hash, &at)) != INDEX_NONE)
		if (index_get_id(ix, ref) != 0)
			return true;
	return false;
}

static int
look(void *arg, const struct chunk_file *f, struct err *e)
{
	struct whole *w = arg;

	if (stop_check(e) == -1)
		return -1;
	if (f->temp)
		return 0;
	if (!indexed(&w->r->ix, f->hash)) {
		w->got->orphans++;
		return 0;
	}
	if ((w->turn += w->percent) < 100)
		return 0;
	w->turn -= 100;
	return audit_chunk(w->audit, f->hash, (uint64_t)1 << 30, e);
}

static void
compare(struct whole *w, const struct count *c)
{
	struct index *ix = &w->r->ix;
	char path[CHUNK_PATH];
	uint32_t i, have, want;

	for (i = 0; i < ix->n; i++) {
		if (index_get_id(ix, i) == 0)
			continue;
		w->got->chunks++;
		have = index_refs(ix, i);
		want = i < c->room ? c->refs[i] : 0;
		w->got->low += have < want;
		w->got->high += have > want && c->unreadable == 0;
		if (want == 0 || chunk_there(w->r, index_hash(ix, i)))
			continue;
		w->got->missing++;
		chunk_path(index_hash(ix, i), path);
		report(w, "damaged: chunk %s is missing or empty", path);
	}
}

/*
 * Backups and counts as they are at one moment: no commit in between.  Where
 * nothing can be locked, nothing can be written either.
 */
static int
counted(struct whole *w, struct count *c, struct err *e)
{
	struct ddup *r = w->r;
	int ret = -1, lock;

	lock = file_lock(r->dir, DDUP_INDEX_LOCK, "cala-ddup verify",
	    r->how.wait > 0 ? r->how.wait : LOCK_WAIT, e);
	if (lock == -1 && e->code == CALA_LOCKED)
		return -1;
	err_clear(e);
	if (repo_index(r, e) == -1)
		goto out;
	if (r->ix.damage[0] != '\0') {
		err_set(e, CALA_INTEGRITY, "the index is damaged: %s",
		    r->ix.damage);
		err_hint(e, "'cala-ddup rebuild' makes a new one out of the "
		    "chunks and archives");
		goto out;
	}
	if (count_all(c, e) == -1)
		goto out;
	compare(w, c);
	ret = 0;
out:
	if (lock != -1)
		close(lock);
	return ret;
}

static int
sum_up(struct whole *w, const struct count *c, struct err *e)
{
	struct ddup_whole *got = w->got;

	if (w->said > SAID) {
		w->said = 0;
		report(w, "damaged: and more");
	}
	w->said = 0;
	got->archives = c->archives;
	got->unreadable = c->unreadable;
	got->unknown = c->unknown;
	if (got->unknown > 0)
		report(w, "damaged: backups refer %" PRIu64 " times to chunks "
		    "that are not in the index", got->unknown);
	if (got->low > 0)
		report(w, "damaged: %" PRIu64 " chunks are used more often "
		    "than the index counts: gc corrects it, a delete before "
		    "that may not be made", got->low);
	if (got->high > 0)
		report(w, "note: %" PRIu64 " chunks are used less often than "
		    "the index counts: gc corrects it", got->high);
	if (got->orphans > 0)
		report(w, "note: %" PRIu64 " chunk files are not in the index: "
		    "of a run that was killed or is not finished; gc removes "
		    "them after a day", got->orphans);
	if (got->unreadable + got->unknown + got->low + got->missing +
	    got->damaged == 0)
		return 0;
	return err_set(e, CALA_INTEGRITY, "the repository is damaged: %" PRIu64
	    " backups can't be read, %" PRIu64 " chunks are missing, %" PRIu64
	    " are not sound", got->unreadable, got->missing + got->unknown,
	    got->damaged);
}

int
ddup_verify_all(struct ddup *r, unsigned percent, unsigned jobs,
    const struct care_say *s, struct ddup_whole *got, struct err *e)
{
	struct whole w = { .r = r, .say = s, .got = got, .percent = percent,
	    .turn = percent > 0 ? 99 : 0 };
	struct count c;
	int ret = -1;

	memset(got, 0, sizeof(*got));
	count_init(&c, r, false);
	c.quiet = false;
	w.audit = audit_new(r, jobs, proved, &w, e);
	if (w.audit != NULL && counted(&w, &c, e) == 0 &&
	    each_chunk(r, look, &w, e) == 0) {
		audit_end(w.audit);
		ret = sum_up(&w, &c, e);
	}
	audit_free(w.audit);
	count_fini(&c);
	return ret;
}
