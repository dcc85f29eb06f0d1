/* repo: a repository as a whole: its folders, its locks, who wrote it last. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/file.h"
#include "base/str.h"
#include "base/when.h"
#include "ddup/int.h"
#include "ddup/care.h"
#include "ddup/loose.h"

/* Others of ours hold the index for a commit, not longer. */
enum { INDEX_WAIT = 600 };

bool
ddup_name_ok(const char *s)
{
	size_t n = strlen(s);

	return n > 0 && n <= DDUP_NAME_MAX && s[0] != '.' &&
	    strchr(s, '/') == NULL;
}

void
name_archive(char out[DDUP_FILE], const char *name)
{
	snprintf(out, DDUP_FILE, "%s.ddup", name);
}

void
name_temp(char out[DDUP_FILE], const char *name)
{
	snprintf(out, DDUP_FILE, ".%s.cala-tmp", name);
}

void
name_deleted(char out[DDUP_FILE], const char *name)
{
	snprintf(out, DDUP_FILE, ".%s.cala-deleted", name);
}

int
ddup_dirfd(const struct ddup *r)
{
	return r->dir;
}

int
ddup_archives(const struct ddup *r)
{
	return r->archives;
}

uint32_t
ddup_chunk_size(const struct ddup *r)
{
	return r->ix.chunk_size;
}

uint32_t
ddup_chunk_count(const struct ddup *r)
{
	return r->ix.max_count;
}

int
ddup_exists(const struct ddup *r, const char *name, struct err *e)
{
	char file[DDUP_FILE];
	struct stat st;

	if (!ddup_name_ok(name))
		return err_set(e, CALA_USAGE, "'%s' is no name for an "
		    "archive", str_q(name));
	name_archive(file, name);
	if (fstatat(r->archives, file, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : err_sys(e, "%s", file);
}

int
repo_own(const struct ddup *r, int fd, struct err *e)
{
	if (r->chown && fchown(fd, r->uid, r->gid) == -1)
		return err_sys(e, "give a file to the repository's owner");
	return 0;
}

int
repo_index(struct ddup *r, struct err *e)
{
	struct err why = ERR_INIT;

	if (r->loaded)
		return 0;
	if (index_load(&r->ix, r->chunks, "index", r->log, &why) == -1) {
		if (why.code != CALA_NOTFOUND) {
			*e = why;
			return -1;
		}
		snprintf(r->ix.damage, sizeof(r->ix.damage), "there is none");
	}
	r->loaded = true;
	r->ix.uid = r->uid;
	r->ix.gid = r->gid;
	/* Whoever commits looks then. */
	if (r->how.use == DDUP_ALONE)
		repo_state_look(r);
	return 0;
}

int
repo_index_write(struct ddup *r, struct err *e)
{
	if (repo_index(r, e) == -1)
		return -1;
	if (r->ix.damage[0] == '\0')
		return 0;
	err_set(e, CALA_INTEGRITY, "the index is damaged: %s", r->ix.damage);
	return err_hint(e, "'cala-ddup rebuild' makes a new one out of the "
	    "chunks and archives");
}

static int
open_below(int dirfd, const char *name, struct err *e)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);

	if (fd == -1)
		err_sys(e, "%s/%s", DDUP_DIR, name);
	return fd;
}

static int
folders(struct ddup *r, struct err *e)
{
	struct stat st;

	r->dir = openat(r->root, DDUP_DIR, O_RDONLY | O_DIRECTORY |
	    O_NOFOLLOW | O_CLOEXEC);
	if (r->dir == -1) {
		err_sys(e, "%s", DDUP_DIR);
		return e->code == CALA_NOTFOUND ? err_set(e, CALA_NOTFOUND,
		    "there is no repository yet") : -1;
	}
	if ((r->archives = open_below(r->dir, "archives", e)) == -1 ||
	    (r->chunks = open_below(r->dir, "chunks", e)) == -1)
		return -1;
	if (fstat(r->dir, &st) == -1)
		return err_sys(e, "%s", DDUP_DIR);
	/* Wings need not be root: what root makes for it is its own. */
	r->chown = geteuid() == 0 && st.st_uid != 0;
	r->uid = r->chown ? st.st_uid : geteuid();
	r->gid = r->chown ? st.st_gid : getegid();
	return 0;
}

static int
lock(struct ddup *r, struct err *e)
{
	unsigned wait = r->how.wait > 0 ? r->how.wait : DDUP_WAIT;

	if (r->how.use == DDUP_LOOK)
		return 0;
	if (r->how.use == DDUP_ALONE) {
		r->lock = file_lock(r->dir, DDUP_LOCK, "cala-ddup", wait, e);
		if (r->lock == -1 && e->code == CALA_LOCKED) {
			err_set(e, CALA_LOCKED, "backups or restores of this "
			    "repository are running");
			err_hint(e, "try again when they have ended");
		}
		return r->lock == -1 ? -1 : 0;
	}
	r->lock = file_lock_shared(r->dir, DDUP_LOCK, wait, e);
	if (r->lock != -1)
		return 0;
	/* A repository on a read-only disk can be restored from. */
	if (!r->how.write && (e->code == CALA_AUTH || e->sys == EROFS)) {
		err_clear(e);
		return 0;
	}
	return -1;
}

/* When the foreign lock file was written last; all zero: never. */
static struct timespec
lock_time(const struct ddup *r)
{
	struct stat st;

	if (fstatat(r->chunks, "index.lock", &st, AT_SYMLINK_NOFOLLOW) == -1)
		return (struct timespec){ 0, 0 };
	return st.st_ctim;
}

static int
no_foreigner(struct ddup *r, struct err *e)
{
	char who[128];

	if (!r->how.write || foreign_alive(r->root, who, sizeof(who)) != 1)
		return 0;
	err_set(e, CALA_LOCKED, "%s has the repository open: it would "
	    "overwrite the index", who);
	return err_hint(e, "stop it first; two programs can't write to one "
	    "repository");
}

int
ddup_open(struct ddup **out, int dirfd, const struct ddup_how *how,
    struct log *log, struct err *e)
{
	struct ddup *r = calloc(1, sizeof(*r));
	uint64_t dice, now = (uint64_t)when_now().tv_sec;

	if (r == NULL)
		return err_oom(e);
	r->how = *how;
	r->log = log;
	/* In another container somebody has our pid, or a killed one had. */
	if (getrandom(&dice, sizeof(dice), 0) == sizeof(dice))
		r->temps = dice >> 16;
	r->pid = (long)getpid();
	r->turn = (unsigned)((now / 3600 + now / 86400) % SHARES);
	r->root = r->dir = r->archives = r->chunks = r->lock = -1;
	pthread_mutex_init(&r->mu, NULL);
	index_init(&r->ix);
	if ((r->tops = tops_new(e)) == NULL)
		goto fail;
	r->root = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->root == -1) {
		err_sys(e, "open the repository's directory");
		goto fail;
	}
	if (folders(r, e) == -1 || no_foreigner(r, e) == -1 ||
	    lock(r, e) == -1)
		goto fail;
	r->touched = !foreign_untouched(r->chunks);
	if (how->break_lock && foreign_reset(r, e) == -1)
		goto fail;
	r->locked = lock_time(r);
	/* Somebody may be making it just now. */
	if (how->write && faccessat(r->chunks, "index", F_OK, 0) == -1) {
		int fd = file_lock(r->dir, DDUP_INDEX_LOCK, "cala-ddup",
		    DDUP_WAIT, e);

		if (fd == -1)
			goto fail;
		close(fd);
	}
	/* Even of a damaged one: what it names keeps its id. */
	if ((how->index || how->write) && repo_index(r, e) == -1)
		goto fail;
	if (how->write && how->use != DDUP_ALONE &&
	    repo_index_write(r, e) == -1)
		goto fail;
	if (how->use == DDUP_ALONE && how->write &&
	    care_recover(r, e) == -1)
		goto fail;
	r->strays = how->write && loose_others(r);
	*out = r;
	return 0;
fail:
	ddup_close(r);
	return -1;
}

void
ddup_close(struct ddup *r)
{
	if (r == NULL)
		return;
	index_fini(&r->ix);
	tops_free(r->tops);
	if (r->lock != -1)
		close(r->lock);
	if (r->chunks != -1)
		close(r->chunks);
	if (r->archives != -1)
		close(r->archives);
	if (r->dir != -1)
		close(r->dir);
	if (r->root != -1)
		close(r->root);
	pthread_mutex_destroy(&r->mu);
	free(r);
}

int
repo_lock_index(struct ddup *r, int mode, struct err *e)
{
	int fd = file_lock(r->dir, DDUP_INDEX_LOCK, "cala-ddup", INDEX_WAIT,
	    e);
	struct timespec now;

	if (fd == -1)
		return -1;
	now = lock_time(r);
	r->visited = now.tv_sec != r->locked.tv_sec ||
	    now.tv_nsec != r->locked.tv_nsec;
	if (!foreign_untouched(r->chunks))
		state_touched(r);
	/* Killed in here, somebody may have left some. */
	afile_sweep(r->chunks, "index");
	afile_sweep(r->dir, DDUP_STATE);
	if (foreign_take(r, (enum foreign_mode)mode, e) == -1) {
		close(fd);
		return -1;
	}
	/* A commit has work to do meanwhile, and asks before it saves. */
	if (mode == FOREIGN_DESTROY &&
	    foreign_settle(r, FOREIGN_DESTROY, e) == -1) {
		repo_unlock_index(r, fd);
		return -1;
	}
	return fd;
}

void
repo_unlock_index(struct ddup *r, int fd)
{
	if (fd == -1)
		return;
	foreign_give(r);
	close(fd);
}

static int
make(int dirfd, const char *name, uid_t uid, gid_t gid, struct err *e)
{
	if (mkdirat(dirfd, name, 0700) == -1 && errno != EEXIST)
		return err_sys(e, "make %s", name);
	if (uid != geteuid() && fchownat(dirfd, name, uid, gid,
	    AT_SYMLINK_NOFOLLOW) == -1)
		return err_sys(e, "make %s", name);
	return 0;
}

/*
 * A crash in the middle leaves a folder without an index; the next init fills
 * it, because nothing can be in it yet.
 */
int
ddup_init(int dirfd, uint32_t size, uint32_t count, struct err *e)
{
	static const struct foreign idle;
	static const unsigned char nothing[16];
	struct index ix;
	struct stat st;
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int dir = -1, chunks = -1, archives = -1, lock_fd = -1, ret = -1;

	index_init(&ix);
	if (fstat(dirfd, &st) == -1) {
		err_sys(e, "repository");
		goto out;
	}
	if (uid == 0 && st.st_uid != 0) {
		uid = st.st_uid;
		gid = st.st_gid;
	}
	if (make(dirfd, DDUP_DIR, uid, gid, e) == -1 ||
	    (dir = open_below(dirfd, DDUP_DIR, e)) == -1 ||
	    (lock_fd = file_lock(dir, DDUP_INDEX_LOCK, "cala-ddup init",
	    DDUP_WAIT, e)) == -1 ||
	    make(dir, "archives", uid, gid, e) == -1 ||
	    make(dir, "archives-restored", uid, gid, e) == -1 ||
	    make(dir, "chunks", uid, gid, e) == -1 ||
	    (archives = open_below(dir, "archives", e)) == -1 ||
	    (chunks = open_below(dir, "chunks", e)) == -1)
		goto out;
	if (fstatat(chunks, "index", &st, AT_SYMLINK_NOFOLLOW) == 0) {
		err_set(e, CALA_EXISTS, "there is a repository already");
		goto out;
	}
	/* Chunks or archives without an index are a case for rebuild. */
	if (care_empty(archives, ".ddup", e) != 1 ||
	    care_empty(chunks, NULL, e) != 1) {
		err_set(e, CALA_EXISTS, "there is a repository already, "
		    "without its index");
		err_hint(e, "'cala-ddup rebuild' makes a new one");
		goto out;
	}
	ix.chunk_size = size;
	ix.max_count = count;
	ix.uid = uid;
	ix.gid = gid;
	if (foreign_put(&idle, chunks, e) == -1 ||
	    index_save(&ix, chunks, e) == -1)
		goto out;
	state_save(dir, &ix, nothing, nothing);
	loose_swept(&(const struct ddup){ .dir = dir,
	    .chown = uid != geteuid(), .uid = uid, .gid = gid }, true);
	if (fsync(dir) == -1 || fsync(dirfd) == -1) {
		err_sys(e, "sync the repository");
		goto out;
	}
	ret = 0;
out:
	index_fini(&ix);
	if (lock_fd != -1)
		close(lock_fd);
	if (archives != -1)
		close(archives);
	if (chunks != -1)
		close(chunks);
	if (dir != -1)
		close(dir);
	return ret;
}
