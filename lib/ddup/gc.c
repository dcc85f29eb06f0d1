/* gc: what nothing needs any more goes, and what is there is counted. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "ddup/care.h"
#include "ddup/count.h"
#include "ddup/int.h"
#include "ddup/loose.h"
#include "ddup/walk.h"

enum { HOUR = 3600, DAY = 24 * HOUR, QUARTER = 90 * DAY };

struct gc {
	struct ddup *r;
	const struct care_say *say;
	bool dry;
	bool keep;                      /* nobody knows what may go */
	time_t now;
	uint64_t orphans, orphan_bytes, temps, notes, young;
};

static void say(const struct care_say *, const char *, ...)
    __attribute__((format(printf, 2, 3)));

static void
say(const struct care_say *s, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	s->fn(s->arg, line);
}

static int
drop(struct gc *g, const struct chunk_file *f, struct err *e)
{
	if (g->dry)
		return 0;
	if (f->chunk)
		return chunk_remove(g->r, f->hash, e);
	if (unlinkat(g->r->chunks, f->path, 0) == -1 && errno != ENOENT)
		return err_sys(e, "remove %s", str_q(f->path));
	return 0;
}

static int
look(void *arg, const struct chunk_file *f, struct err *e)
{
	struct gc *g = arg;
	struct stat st;
	uint32_t ref, at = INDEX_NONE;
	int got;

	if (stop_check(e) == -1)
		return -1;
	if (f->temp) {
		if ((got = chunk_stat(f, &st, e)) != 1)
			return got;
		/* Nobody of ours is there; a foreign one may be. */
		if (strstr(f->path, ".tmp.cala.") == NULL &&
		    st.st_mtim.tv_sec > g->now - DAY)
			return 0;
		g->temps++;
		return drop(g, f, e);
	}
	while ((ref = index_each(&g->r->ix, f->hash, &at)) != INDEX_NONE)
		if (index_get_id(&g->r->ix, ref) != 0)
			return 0;
	if ((got = chunk_stat(f, &st, e)) != 1)
		return got;
	if (st.st_mtim.tv_sec > g->now - DAY) {
		g->young++;
		return 0;
	}
	g->orphans++;
	g->orphan_bytes += (uint64_t)st.st_size;
	return g->keep ? 0 : drop(g, f, e);
}

/* What a killed writer of the index or the lock left, ours or the other's. */
static int
sweep_chunks(struct gc *g, struct err *e)
{
	int fd = openat(g->r->chunks, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dp = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *d;
	struct stat st;
	char inner[300];

	if (dp == NULL) {
		if (fd != -1)
			close(fd);
		return err_sys(e, "read the directory of chunks");
	}
	while ((d = readdir(dp)) != NULL) {
		bool atomic = str_begins(d->d_name, ".atomicwrite");

		if ((!atomic && strcmp(d->d_name, "index.tmp") != 0 &&
		    !str_begins(d->d_name, ".index.lock.cala.")) ||
		    fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
		    st.st_mtim.tv_sec > g->now - HOUR)
			continue;
		g->temps++;
		if (g->dry)
			continue;
		if (!atomic) {
			(void)unlinkat(fd, d->d_name, 0);
			continue;
		}
		snprintf(inner, sizeof(inner), "%s/tmpfile.tmp", d->d_name);
		(void)unlinkat(fd, inner, 0);
		(void)unlinkat(fd, d->d_name, AT_REMOVEDIR);
	}
	closedir(dp);
	return 0;
}

static bool
unfinished(const struct gc *g, const char *name, const struct stat *st)
{
	return str_ends(name, ".cala-tmp") || (str_ends(name, ".part") &&
	    st->st_mtim.tv_sec < g->now - DAY);
}

/*
 * Beside the archives: files of killed writers, and notes on unchanged files of
 * servers that have had no backup for so long that they are worth nothing.
 */
static int
sweep_archives(struct gc *g, struct err *e)
{
	int fd = openat(g->r->archives, ".", O_RDONLY | O_DIRECTORY |
	    O_CLOEXEC);
	DIR *dp = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *d;
	struct stat st;

	if (dp == NULL) {
		if (fd != -1)
			close(fd);
		return err_sys(e, "read the directory of archives");
	}
	while ((d = readdir(dp)) != NULL) {
		if (fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1)
			continue;
		/* Else it was finished when the repository was opened. */
		if (g->dry && d->d_name[0] == '.' &&
		    str_ends(d->d_name, ".cala-deleted"))
			say(g->say, "would finish deleting %s",
			    str_q(d->d_name));
		if (d->d_name[0] != '.' || !S_ISREG(st.st_mode))
			continue;
		if (unfinished(g, d->d_name, &st))
			g->temps++;
		else if (str_ends(d->d_name, ".cala-stat") &&
		    st.st_mtim.tv_sec < g->now - QUARTER)
			g->notes++;
		else
			continue;
		if (!g->dry)
			(void)unlinkat(fd, d->d_name, 0);
	}
	closedir(dp);
	return 0;
}

static int
collect(struct gc *g, struct count *c, struct err *e)
{
	struct index *ix = &g->r->ix;
	char human[STR_HUMAN];
	uint64_t changed = 0, n = 0;
	bool sweep = loose_any(g->r, g->now);
	uint32_t i;

	if (care_recount(g->r, c, &changed, e) == -1)
		return -1;
	g->keep = count_doubt(c);
	say(g->say, "ok: %" PRIu64 " backups use %u chunks", c->archives,
	    ix->n);
	if (changed > 0)
		say(g->say, "%s the counts of %" PRIu64 " chunks", g->dry ?
		    "would correct" : "corrected", changed);
	if (c->added > 0)
		say(g->say, "%s %" PRIu64 " chunks that the index had "
		    "forgotten: another program has written an old copy of "
		    "it", g->dry ? "would correct" : "corrected", c->added);
	if (c->unknown > 0)
		log_warn(g->r->log, "damaged: backups refer %" PRIu64
		    " times to chunks that are not there; verify tells which",
		    c->unknown);
	if (c->unmapped > 0)
		say(g->say, "damaged: nothing tells what %" PRIu64 " ids in "
		    "backups mean: no chunk is removed while these backups "
		    "are there", c->unmapped);
	if (c->unreadable > 0)
		say(g->say, "damaged: %" PRIu64 " backups can't be read: "
		    "their chunks can't be told, so none is removed",
		    c->unreadable);
	for (i = 0; i < ix->n && !g->keep; i++)
		n += index_get_id(ix, i) != 0 && index_refs(ix, i) == 0;
	if (n > 0)
		say(g->say, "%s %" PRIu64 " chunks that nothing uses",
		    g->dry ? "would remove" : "removing", n);
	if (!g->dry && (changed > 0 || n > 0)) {
		if (g->keep ? index_save(ix, g->r->chunks, e) == -1 :
		    care_bury(g->r, &n, e) == -1)
			return -1;
	}
	if (!g->dry && !g->keep)
		repo_state_save(g->r);
	if (!sweep)
		log_step(g->r->log, "no run has left chunk files that no "
		    "index knows");
	else if (each_chunk(g->r, look, g, e) == -1)
		return -1;
	if (sweep_chunks(g, e) == -1 || sweep_archives(g, e) == -1)
		return -1;
	if (sweep && !g->dry)
		loose_swept(g->r, g->young == 0 && !g->keep);
	if (g->orphans > 0)
		say(g->say, "%s %" PRIu64 " chunk files that no index knows "
		    "(%s)", g->keep ? "kept" : g->dry ? "would remove" :
		    "removed", g->orphans,
		    str_human(g->orphan_bytes, human));
	if (g->young > 0)
		say(g->say, "note: %" PRIu64 " chunk files that no index knows "
		    "are younger than a day and stay", g->young);
	if (g->temps > 0)
		say(g->say, "%s %" PRIu64 " unfinished files", g->dry ?
		    "would remove" : "removed", g->temps);
	if (g->notes > 0)
		say(g->say, "%s notes on unchanged files of %" PRIu64
		    " servers, not backed up for 90 days", g->dry ?
		    "would remove" : "removed", g->notes);
	if (changed + n + g->orphans + g->temps + g->notes == 0)
		say(g->say, "nothing to do");
	return 0;
}

int
ddup_gc(struct ddup *r, bool dry, const struct care_say *s, struct err *e)
{
	struct gc g = { .r = r, .say = s, .dry = dry,
	    .now = when_now().tv_sec };
	struct count c;
	int lock = -1, ret;

	if (repo_index_write(r, e) == -1 || (!dry &&
	    (lock = repo_lock_index(r, FOREIGN_DESTROY, e)) == -1))
		return -1;
	count_init(&c, r, true);
	ret = collect(&g, &c, e);
	count_fini(&c);
	repo_unlock_index(r, lock);
	return ret;
}

static int
add_file(void *arg, const struct chunk_file *f, struct err *e)
{
	struct ddup_stats *sum = arg;
	struct stat st;
	int got;

	if (f->chunk) {
		if ((got = chunk_stat(f, &st, e)) != 1)
			return got;
		sum->files++;
		sum->file_bytes += (uint64_t)st.st_size;
	}
	return stop_check(e);
}

struct sum {
	struct ddup *r;
	struct ddup_stats *st;
};

static int
add_archive(void *arg, const char *name, struct err *e)
{
	struct sum *s = arg;
	char file[DDUP_FILE];
	struct stat st;

	(void)e;
	name_archive(file, name);
	s->st->archives++;
	if (fstatat(s->r->archives, file, &st, AT_SYMLINK_NOFOLLOW) == 0)
		s->st->archive_bytes += (uint64_t)st.st_size;
	return 0;
}

int
ddup_stats(struct ddup *r, struct ddup_stats *st, struct err *e)
{
	struct sum s = { r, st };
	uint32_t i;

	memset(st, 0, sizeof(*st));
	if (repo_index(r, e) == -1 ||
	    care_archives(r, add_archive, &s, e) == -1 ||
	    each_chunk(r, add_file, st, e) == -1)
		return -1;
	for (i = 0; i < r->ix.n; i++) {
		st->chunks++;
		st->refs += index_refs(&r->ix, i);
		st->unused += index_refs(&r->ix, i) == 0;
	}
	return 0;
}
