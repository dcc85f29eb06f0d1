/*
 * mend: chunk files that do not hold what their names say, out of the way.
 *
 * As long as it has its name, a damaged file counts as stored: a backup of the
 * same bytes would use it, and be damaged, too.  Without it they are stored
 * again, and all backups that use them are whole.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/stop.h"
#include "base/str.h"
#include "ddup/audit.h"
#include "ddup/care.h"
#include "ddup/folder.h"
#include "ddup/walk.h"

struct mend {
	struct ddup *r;
	const struct care_say *say;
	struct ddup_mended *got;
	struct audit *audit;
	struct err err;                 /* the first, of proved() */
};

static void say(const struct mend *, const char *, ...)
    __attribute__((format(printf, 2, 3)));

static void
say(const struct mend *m, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	m->say->fn(m->say->arg, line);
}

/* Renamed, not removed: there may be other ways to save some of it. */
static int
aside(struct mend *m, const unsigned char *hash, struct err *e)
{
	char path[CHUNK_PATH], to[CHUNK_PATH + 8];
	int dir, ret = 0;

	chunk_path(hash, path);
	snprintf(to, sizeof(to), "%.*s.damaged", 66, path);
	if ((dir = folder_open(m->r, hash)) == -1)
		return err_sys(e, "set chunk %s aside", path);
	if (renameat(dir, path + LEAF, dir, to + LEAF) == -1)
		ret = err_sys(e, "set chunk %s aside", path);
	close(dir);
	if (ret == 0)
		say(m, "set aside: %s", to);
	return ret;
}

static void
proved(void *arg, const struct audited *p)
{
	struct mend *m = arg;

	m->got->chunks++;
	if (p->why == NULL) {
		m->got->read += p->n;
		return;
	}
	if (m->err.code != 0)
		return;
	if (p->why->code != CALA_INTEGRITY) {
		m->err = *p->why;
		return;
	}
	say(m, "damaged: %s", p->why->msg);
	if (aside(m, p->hash, &m->err) == 0)
		m->got->aside++;
}

static int
look(void *arg, const struct chunk_file *f, struct err *e)
{
	struct mend *m = arg;
	uint32_t ref, at = INDEX_NONE;

	if (stop_check(e) == -1)
		return -1;
	if (m->err.code != 0) {
		*e = m->err;
		return -1;
	}
	if (!f->chunk)
		return 0;
	/* Others are never used before they were read. */
	while ((ref = index_each(&m->r->ix, f->hash, &at)) != INDEX_NONE)
		if (index_get_id(&m->r->ix, ref) != 0)
			return audit_chunk(m->audit, f->hash,
			    (uint64_t)1 << 30, e);
	return 0;
}

int
ddup_mend(struct ddup *r, unsigned jobs, const struct care_say *s,
    struct ddup_mended *got, struct err *e)
{
	struct mend m = { .r = r, .say = s, .got = got, .err = ERR_INIT };
	int lock, ret = -1;

	memset(got, 0, sizeof(*got));
	if (repo_index_write(r, e) == -1 ||
	    (lock = repo_lock_index(r, FOREIGN_DESTROY, e)) == -1)
		return -1;
	/* First: the next backups shall look for every file that they need. */
	repo_state_doubt(r);
	if ((m.audit = audit_new(r, jobs, proved, &m, e)) != NULL)
		ret = each_chunk(r, look, &m, e);
	if (ret == 0) {
		audit_end(m.audit);
		if (m.err.code != 0) {
			*e = m.err;
			ret = -1;
		}
	}
	audit_free(m.audit);
	repo_unlock_index(r, lock);
	return ret;
}
