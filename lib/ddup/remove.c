/* remove: deleting a backup, and finishing deletions that were killed. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "base/when.h"
#include "ddup/archive.h"
#include "ddup/care.h"
#include "ddup/count.h"
#include "ddup/int.h"
#include "ddup/loose.h"

enum {
	UNDO = 10,                      /* seconds: somebody waits for our end */
	ROOM = 64 << 10                 /* for a new index, beyond the old one's */
};

/* No archive may refer to it: neither by this id nor by another one. */
static bool
unused(const struct index *ix, uint32_t ref)
{
	uint32_t i, at = INDEX_NONE;

	while ((i = index_each(ix, index_hash(ix, ref), &at)) != INDEX_NONE)
		if (index_get_id(ix, i) != 0 && index_refs(ix, i) > 0)
			return false;
	return true;
}

/*
 * Take chunks without references out of the index: those that c counts (all
 * when NULL).
 */
static void
bury(struct ddup *r, const struct count *c)
{
	struct index *ix = &r->ix;
	uint32_t i;

	for (i = 0; i < ix->n; i++) {
		if (index_get_id(ix, i) == 0 || index_refs(ix, i) > 0 ||
		    (c != NULL && (i >= c->room || c->refs[i] == 0)))
			continue;
		index_set_word(ix, i, index_word(ix, i) | INDEX_DEAD);
	}
}

/* The files of the dead; only once the index without them is durable. */
static int
remove_dead(struct ddup *r, uint64_t *n, struct err *e)
{
	struct index *ix = &r->ix;
	uint32_t i;

	for (i = 0; i < ix->n; i++) {
		if ((index_word(ix, i) & INDEX_DEAD) == 0)
			continue;
		if (unused(ix, i)) {
			if (chunk_remove(r, index_hash(ix, i), e) == -1)
				return -1;
			++*n;
		}
		index_set_id(ix, i, 0);
		index_set_word(ix, i, index_word(ix, i) &
		    ~(uint32_t)INDEX_DEAD);
	}
	return 0;
}

/* How much the dead take, if that is room for a new index. */
static bool
makes_room(const struct ddup *r)
{
	const struct index *ix = &r->ix;
	uint64_t sum = 0, need = (uint64_t)ix->file.size + ROOM;
	char path[CHUNK_PATH];
	struct stat st;
	uint32_t i;

	for (i = 0; i < ix->n && sum < need; i++) {
		if ((index_word(ix, i) & INDEX_DEAD) == 0 || !unused(ix, i))
			continue;
		chunk_path(index_hash(ix, i), path);
		if (fstatat(r->chunks, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
			sum += (uint64_t)st.st_blocks * 512;
	}
	return sum >= need;
}

static int
save(struct ddup *r, struct err *e)
{
	if (index_save(&r->ix, r->chunks, e) == -1)
		return -1;
	if (!r->strange)
		repo_state_save(r);
	return 0;
}

/* The names of a kind of leftover: ".NAME" + suffix. */
static int
leftovers(struct ddup *r, const char *suffix,
    int (*fn)(struct ddup *, const char *, struct err *), struct err *e)
{
	int fd = openat(r->archives, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dp = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *d;
	struct stat st;
	int ret = 0;

	if (dp == NULL) {
		if (fd != -1)
			close(fd);
		return err_sys(e, "read the directory of archives");
	}
	while (ret == 0 && (errno = 0, d = readdir(dp)) != NULL) {
		/* A directory is not of us, whatever it is called. */
		if (d->d_name[0] == '.' && str_ends(d->d_name, suffix) &&
		    fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    !S_ISDIR(st.st_mode))
			ret = fn(r, d->d_name, e);
		errno = 0;
	}
	if (ret == 0 && errno != 0)
		ret = err_sys(e, "read the directory of archives");
	closedir(dp);
	return ret;
}

static int
unlink_one(struct ddup *r, const char *name, struct err *e)
{
	if (unlinkat(r->archives, name, 0) == -1 && errno != ENOENT)
		return err_sys(e, "remove %s", str_q(name));
	return 0;
}

/*
 * The index without the dead.  On a full disk there is no room for it, and who
 * deletes wants to have some.  Notes on unchanged files go first: without them
 * the next backup reads all.  If that is not enough, the dead: until the index
 * is saved it names chunks that have no file, which a put stores again; *gone
 * tells that there is no way back.
 */
static int
save_dead(struct ddup *r, bool *gone, struct err *e)
{
	const struct index *ix = &r->ix;
	struct err ignored = ERR_INIT;
	uint32_t i;

	if (save(r, e) == 0)
		return 0;
	if (e->code != CALA_NOSPACE)
		return -1;
	log_note(r->log, "the disk is full: the notes on unchanged files make "
	    "room, and the next backup reads all files");
	(void)leftovers(r, ".cala-stat", unlink_one, &ignored);
	/* Some file systems give it only then. */
	(void)syncfs(r->archives);
	err_clear(e);
	if (save(r, e) == 0)
		return 0;
	if (e->code != CALA_NOSPACE || !makes_room(r))
		return -1;
	err_clear(e);
	log_step(r->log, "still full: chunks are removed first");
	*gone = true;
	for (i = 0; i < ix->n; i++)
		if ((index_word(ix, i) & INDEX_DEAD) != 0 && unused(ix, i) &&
		    chunk_remove(r, index_hash(ix, i), e) == -1)
			return -1;
	(void)syncfs(r->chunks);
	if (save(r, e) == 0)
		return 0;
	return err_hint(e, "the next rm or gc finishes it");
}

/* What it would tell gc is not worth a delete, where there is no room for it. */
static int
tell_loose(struct ddup *r, struct err *e)
{
	if (loose_begin(r, e) == 0)
		return 0;
	if (e->code != CALA_NOSPACE)
		return -1;
	err_clear(e);
	return 0;
}

int
care_recount(struct ddup *r, struct count *c, uint64_t *changed,
    struct err *e)
{
	/* First: what comes while we count is not counted. */
	if (repo_others(r, e) == -1 || count_all(c, e) == -1)
		return -1;
	*changed = count_apply(c);
	if (!count_doubt(c))
		r->foreign = r->strange = false;
	return 0;
}

int
care_bury(struct ddup *r, uint64_t *n, struct err *e)
{
	bool gone = false;

	bury(r, NULL);
	if (tell_loose(r, e) == -1 || save_dead(r, &gone, e) == -1 ||
	    remove_dead(r, n, e) == -1)
		return -1;
	loose_end(r);
	return 0;
}

static int
yes(struct ddup *r, const char *name, struct err *e)
{
	(void)r;
	(void)name;
	(void)e;
	return 1;
}

/* Its name is gone, so it is no backup any more: what it used goes. */
static int
finish_deletion(struct ddup *r, struct err *e)
{
	struct count c;
	uint64_t changed, n = 0;
	int lock, ret = -1;

	log_step(r->log, "finishing a deletion that was interrupted");
	if ((lock = repo_lock_index(r, FOREIGN_DESTROY, e)) == -1)
		return -1;
	count_init(&c, r, true);
	if (care_recount(r, &c, &changed, e) == -1)
		goto out;
	if ((count_doubt(&c) ? save(r, e) : care_bury(r, &n, e)) == -1)
		goto out;
	ret = leftovers(r, ".cala-deleted", unlink_one, e);
	if (ret == 0 && fsync(r->archives) == -1)
		ret = err_sys(e, "sync the directory of archives");
out:
	count_fini(&c);
	repo_unlock_index(r, lock);
	return ret;
}

int
care_recover(struct ddup *r, struct err *e)
{
	int found;

	/* Without an index nothing can be counted: rebuild comes first. */
	if (repo_index(r, e) == -1)
		return -1;
	if (r->ix.damage[0] != '\0')
		return 0;
	if (leftovers(r, ".cala-tmp", unlink_one, e) == -1 ||
	    (found = leftovers(r, ".cala-deleted", yes, e)) == -1)
		return -1;
	return found == 1 ? finish_deletion(r, e) : 0;
}

/* What it uses goes out of the counts; never below nothing. */
static void
subtract(struct ddup *r, const struct count *c)
{
	struct index *ix = &r->ix;
	uint32_t i, now;

	for (i = 0; i < ix->n && i < c->room; i++) {
		now = index_refs(ix, i);
		if (c->refs[i] == 0 || now == INDEX_MANY)
			continue;
		index_set_refs(ix, i, now > c->refs[i] ? now - c->refs[i] : 0);
	}
}

static int
remove_locked(struct ddup *r, const char *name, struct err *e)
{
	char file[DDUP_FILE], deleted[DDUP_FILE];
	struct err why = ERR_INIT;
	struct count all, c;
	struct index_file ix_was = r->ix.file;
	struct archive a;
	uint64_t n = 0;
	bool known = false, gone = false;
	int ret = -1;

	name_archive(file, name);
	name_deleted(deleted, name);
	count_init(&all, r, true);
	count_init(&c, r, false);
	/* Somebody else's counts may be too low, and theirs is not our word. */
	if (r->strange) {
		log_step(r->log, "another program has changed the repository: "
		    "counting again");
		if (care_recount(r, &all, &n, e) == -1)
			goto out;
	}
	if (archive_open(&a, r, name, &why) == 0) {
		known = count_one(&c, &a, &why) == 0;
		archive_close(&a);
	}
	if (!known && why.code != CALA_INTEGRITY) {
		*e = why;
		goto out;
	}
	if (!known)
		log_note(r->log, "%s; what it used stays until gc can tell",
		    why.msg);
	if (tell_loose(r, e) == -1)
		goto out;
	repo_others_less(r, name);
	if (renameat(r->archives, file, r->archives, deleted) == -1 ||
	    fsync(r->archives) == -1) {
		err_sys(e, "remove %s", file);
		goto out;
	}
	/* Where one can't be understood, nobody knows what may go. */
	if (known && !count_doubt(&all)) {
		subtract(r, &c);
		bury(r, &c);
	}
	if (save_dead(r, &gone, e) == -1) {
		/*
		 * A backup again, unless the new index is there although its
		 * durability is in doubt: it does not count this one any more,
		 * and the next run finishes what was begun.
		 */
		if (!gone && index_same(&ix_was, r->chunks, "index"))
			(void)renameat(r->archives, deleted, r->archives,
			    file);
		goto out;
	}
	if (unlinkat(r->archives, deleted, 0) == -1 ||
	    fsync(r->archives) == -1) {
		err_sys(e, "remove %s", deleted);
		goto out;
	}
	n = 0;
	if (remove_dead(r, &n, e) == -1)
		goto out;
	loose_end(r);
	log_step(r->log, "%" PRIu64 " chunks were used by nothing else", n);
	ret = 0;
out:
	count_fini(&all);
	count_fini(&c);
	return ret;
}

/* The lock that excludes everybody, if nobody is there at this moment. */
static bool
alone_now(struct ddup *r)
{
	if (r->lock == -1)
		return false;
	/* Given up first: two that wait for each other's would wait long. */
	return flock(r->lock, LOCK_UN) == 0 &&
	    flock(r->lock, LOCK_EX | LOCK_NB) == 0;
}

void
ddup_undo(struct ddup *r)
{
	struct err e = ERR_INIT;
	struct index *ix = &r->ix;
	double until = when_mono() + UNDO;
	char who[128];
	uint64_t n = 0;
	uint32_t i;

	if (r->new_chunks == 0)
		return;
	/* Whoever else is there may have found them, and use them. */
	if (foreign_alive(r->root, who, sizeof(who)) == 1 || !alone_now(r)) {
		log_step(r->log, "others use the repository: the chunks that "
		    "were stored stay until gc");
		return;
	}
	if (index_reload(ix, r->chunks, "index", r->log, &e) == -1 ||
	    ix->damage[0] != '\0')
		return;
	for (i = 0; i < ix->n; i++) {
		if ((index_word(ix, i) & INDEX_MADE) == 0 ||
		    index_get_id(ix, i) != 0)
			continue;
		if (chunk_remove(r, index_hash(ix, i), &e) == -1) {
			log_step(r->log, "%s", e.msg);
			return;
		}
		n++;
		if (when_mono() > until)
			return;
	}
	loose_end(r);
	log_step(r->log, "removed the %" PRIu64 " chunks that were stored",
	    n);
}

int
ddup_remove(struct ddup *r, const char *name, struct err *e)
{
	int lock, there, ret = -1;

	if (repo_index_write(r, e) == -1 ||
	    (lock = repo_lock_index(r, FOREIGN_DESTROY, e)) == -1)
		return -1;
	if ((there = ddup_exists(r, name, e)) == 0)
		err_set(e, CALA_NOTFOUND, "no backup %s", str_q(name));
	if (there == 1)
		ret = remove_locked(r, name, e);
	repo_unlock_index(r, lock);
	return ret;
}
