/*
 * Staging a tree beside or inside the one it replaces, and what to do with
 * what an interrupted run left.
 */

#include "fs/swap_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/str.h"
#include "fs/extract.h"


enum { LEFT_OVER = 10 };        /* seconds a killed run may need to unwind */

static int
shut(int fd)
{
	if (fd != -1)
		close(fd);
	return -1;
}

void
swap_release(struct swap *s)
{
	shut(s->journal);
	shut(s->tree);
	shut(s->dir);
	shut(s->target);
	shut(s->home);
	free(s->path);
	free(s->name);
	free(s->old);
	free(s->stage);
	free(s);
}

/* Canonical path and last component of a directory that may be absent. */
static int
resolve(struct swap *s, const char *path, struct err *e)
{
	char *copy = NULL, *slash, *parent = NULL;
	const char *name;
	size_t n = strlen(path);
	int ret = -1;

	if ((s->path = realpath(path, NULL)) != NULL)
		goto split;
	if (errno != ENOENT || n == 0) {
		err_sys(e, "%s", str_q(path));
		goto out;
	}
	if ((copy = strdup(path)) == NULL) {
		err_oom(e);
		goto out;
	}
	while (n > 1 && copy[n - 1] == '/')
		copy[--n] = '\0';
	slash = strrchr(copy, '/');
	name = slash == NULL ? copy : slash + 1;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		err_set(e, CALA_USAGE, "%s: no such directory", str_q(path));
		goto out;
	}
	if (slash == NULL)
		parent = realpath(".", NULL);
	else {
		*slash = '\0';
		parent = realpath(slash == copy ? "/" : copy, NULL);
	}
	if (parent == NULL) {
		err_sys(e, "the directory of %s", str_q(path));
		goto out;
	}
	if ((s->path = str_join(strcmp(parent, "/") == 0 ? "" : parent,
	    name)) == NULL) {
		err_oom(e);
		goto out;
	}
	if (s->path[0] != '/') {
		free(s->path);
		if (asprintf(&s->path, "/%s", name) == -1) {
			s->path = NULL;
			err_oom(e);
			goto out;
		}
	}
split:
	name = strrchr(s->path, '/') + 1;
	if (*name == '\0') {
		err_set(e, CALA_USAGE, "%s: can't be replaced", str_q(path));
		goto out;
	}
	if ((s->name = strdup(name)) == NULL) {
		err_oom(e);
		goto out;
	}
	ret = 0;
out:
	free(parent);
	free(copy);
	return ret;
}

int
swap_parent(const struct swap *s, struct err *e)
{
	char *parent = strndup(s->path, s->name == NULL ? 0 :
	    strlen(s->path) - strlen(s->name));
	int fd;

	if (parent == NULL)
		return err_oom(e);
	if ((fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1)
		err_sys(e, "%s", str_q(parent));
	free(parent);
	return fd;
}

struct swap *
swap_blank(const char *path, const char *id, struct log *log, struct err *e)
{
	struct swap *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		err_oom(e);
		return NULL;
	}
	s->log = log;
	s->home = s->dir = s->tree = s->target = s->journal = -1;
	s->steps = UINT_MAX;
	if (id != NULL && uuid_norm(id, s->id) == -1)
		err_set(e, CALA_USAGE, "%s: not a UUID", str_q(id));
	else if ((id != NULL || uuid_new(s->id, e) == 0) &&
	    resolve(s, path, e) == 0) {
		snprintf(s->work, sizeof(s->work), ".cala-restore-%s", s->id);
		return s;
	}
	swap_release(s);
	return NULL;
}

static int
room(int fd, uint64_t need, const char *path, struct err *e)
{
	struct statvfs v;
	char a[STR_HUMAN], b[STR_HUMAN];
	uint64_t have;

	if (need == 0)
		return 0;
	if (fstatvfs(fd, &v) == -1)
		return err_sys(e, "free space of %s", str_q(path));
	have = (uint64_t)v.f_bavail * v.f_frsize;
	if (have >= need)
		return 0;
	err_set(e, CALA_NOSPACE, "%s: %s needed, %s free", str_q(path),
	    str_human(need, a), str_human(have, b));
	return err_hint(e, "holes need less: cala's --no-space-check, or no "
	    "--expect, tries it all the same");
}

static bool
is_mount(int at, const char *name)
{
	struct statx x;

	return statx(at, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT |
	    (name[0] == '\0' ? AT_EMPTY_PATH : 0), STATX_BASIC_STATS, &x) == 0
	    && (x.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0 &&
	    (x.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

static int
a_mount(const char *path, struct err *e)
{
	err_set(e, CALA_FAIL, "%s: is a mount point", str_q(path));
	return err_hint(e, "unmount it, or restore without --truncate");
}

/*
 * A mount directly in V can't move, and one further down would go away with
 * the old tree; better said before hours of staging.
 */
static int
no_mounts(const struct swap *s, struct err *e)
{
	char path[PATH_MAX], *below;
	struct dirent *d;
	DIR *dir = file_list(s->target);
	int ret = 0;

	if (dir == NULL)
		return err_sys(e, "%s", str_q(s->path));
	while (ret == 0 && (d = readdir(dir)) != NULL)
		if (strcmp(d->d_name, ".") != 0 &&
		    strcmp(d->d_name, "..") != 0 &&
		    is_mount(s->target, d->d_name)) {
			snprintf(path, sizeof(path), "%s/%s", s->path,
			    d->d_name);
			ret = a_mount(path, e);
		}
	closedir(dir);
	if (ret == 0 && (below = swap_mounted(s->path)) != NULL) {
		ret = a_mount(below, e);
		free(below);
	}
	return ret;
}

/* Does this file system exchange names?  Tried on two files of ours. */
static bool
exchanges(int dir)
{
	static const char *const name[2] = { "probe.a", "probe.b" };
	bool yes = false;
	int i, fd;

	for (i = 0; i < 2; i++) {
		fd = openat(dir, name[i], O_WRONLY | O_CREAT | O_EXCL |
		    O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd == -1)
			goto out;
		close(fd);
	}
	yes = renameat2(dir, name[0], dir, name[1], RENAME_EXCHANGE) == 0;
out:
	for (i = 0; i < 2; i++)
		(void)unlinkat(dir, name[i], 0);
	return yes;
}

int
swap_sub(int at, const char *name)
{
	return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);
}

/* A folder of ours that nobody else could have filled. */
bool
swap_ours(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
	    (st.st_mode & 077) == 0;
}

/*
 * A name for the work folder: of the id we were given, or of another where
 * that one still keeps an old tree.
 */
static int
make_folder(struct swap *s, struct err *e)
{
	char old[64];

	for (;;) {
		snprintf(s->work, sizeof(s->work), ".cala-restore-%s", s->id);
		snprintf(old, sizeof(old), ".cala-old-%s", s->id);
		if (faccessat(s->home, old, F_OK, AT_SYMLINK_NOFOLLOW) == -1) {
			if (mkdirat(s->home, s->work, 0700) == 0)
				return 0;
			if (errno != EEXIST)
				return err_sys(e, "create %s for %s", s->work,
				    str_q(s->path));
		}
		if (uuid_new(s->id, e) == -1)
			return -1;
	}
}

/* The work folder with journal and tree, in s->home. */
static int
make_work(struct swap *s, struct err *e)
{
	struct stat st;

	if (make_folder(s, e) == -1)
		return -1;
	if ((s->dir = swap_sub(s->home, s->work)) == -1) {
		err_sys(e, "stage in %s", s->work);
		(void)unlinkat(s->home, s->work, AT_REMOVEDIR);
		return -1;
	}
	if (fchmod(s->dir, 0700) == -1)
		goto fail;
	/* Whoever finds it locked leaves it alone: we are at work. */
	if (flock(s->dir, LOCK_EX | LOCK_NB) == -1 ||
	    fstat(s->dir, &st) == -1 || !swap_ours(s->dir))
		goto fail;
	s->journal = openat(s->dir, "journal", O_WRONLY | O_APPEND | O_CREAT |
	    O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (s->journal == -1 || mkdirat(s->dir, "tree", 0700) == -1 ||
	    (s->tree = swap_sub(s->dir, "tree")) == -1)
		goto fail;
	return 0;
fail:
	return err_sys(e, "stage in %s", s->work);
}

void
swap_drop(struct swap *s)
{
	if (s->dir == -1)
		return;
	if (fs_remove(s->home, s->work) == -1)
		log_warn(s->log, "%s beside or in %s: %s", s->work,
		    str_q(s->path), strerrordesc_np(errno));
	s->dir = shut(s->dir);
	s->journal = shut(s->journal);
	s->tree = shut(s->tree);
}

/* HOME/.cala-old-ID as people can find it, and the stage. */
int
swap_name(struct swap *s, struct err *e)
{
	size_t n = strlen(s->path) - (s->whole ? strlen(s->name) + 1 : 0);

	free(s->old);
	free(s->stage);
	s->stage = NULL;
	if (asprintf(&s->old, "%.*s/.cala-old-%s", (int)n, s->path, s->id) ==
	    -1) {
		s->old = NULL;
		return err_oom(e);
	}
	if (asprintf(&s->stage, "%.*s/%s/tree", (int)n, s->path, s->work) ==
	    -1) {
		s->stage = NULL;
		return err_oom(e);
	}
	return 0;
}

static int
stage_whole(struct swap *s, struct err *e)
{
	struct stat v, p;
	bool exists = s->target != -1;

	if ((s->home = swap_parent(s, e)) == -1)
		return -1;
	s->whole = true;
	if (exists && (fstat(s->target, &v) == -1 || fstat(s->home, &p) == -1 ||
	    v.st_dev != p.st_dev || is_mount(s->target, "")))
		return 1;
	if (make_work(s, e) == -1) {
		if (s->dir != -1)
			swap_drop(s);
		/* A parent we may not write to: V itself may do. */
		return exists && (e->sys == EACCES || e->sys == EROFS ||
		    e->sys == EPERM) ? 1 : -1;
	}
	if (exists && !exchanges(s->dir)) {
		swap_drop(s);
		return 1;
	}
	return 0;
}

/*
 * The new root starts as what it replaces, or as a new directory in its
 * parent: not every archive describes its root, and nobody but root could use
 * a tree that kept the 0700 of a stage.
 */
static int
dress_root(struct swap *s, int like, struct err *e)
{
	struct stat st;
	mode_t mode = 0755;

	if (fstat(like, &st) == -1)
		return err_sys(e, "%s", str_q(s->path));
	if (like == s->target)
		mode = st.st_mode & 07777;
	if ((geteuid() == 0 && fchown(s->tree, st.st_uid, st.st_gid) == -1) ||
	    fchmod(s->tree, mode) == -1)
		return err_sys(e, "owner and mode of %s", str_q(s->work));
	return 0;
}

/* Does a container, perhaps, hold the directory itself? */
static bool
held(struct swap *s)
{
	char by[SWAP_BY];
	bool below, yes = swap_held(s->target, s->path, by, &below);

	if (yes)
		log_step(s->log, "%s: is mounted where process %s lives, too: "
		    "its entries will be swapped, not itself", str_q(s->path),
		    by);
	else if (below)
		log_note(s->log, "%s: a directory in it is mounted elsewhere, "
		    "too; there the old one stays until that is mounted anew",
		    str_q(s->path));
	return yes;
}

struct swap *
swap_open(const char *path, const struct swap_how *how, struct log *log,
    struct err *e)
{
	struct swap *s;
	int k = 1;

	if (swap_recover(path, log, e) == -1 ||
	    (s = swap_blank(path, how->id, log, e)) == NULL)
		return NULL;
	s->target = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->target == -1 && errno != ENOENT) {
		err_sys(e, "%s", str_q(path));
		goto fail;
	}
	if (s->target != -1 && no_mounts(s, e) == -1)
		goto fail;
	if (s->target == -1 || !(how->entries || held(s)))
		k = stage_whole(s, e);
	if (k == -1)
		goto fail;
	if (k == 1) {
		err_clear(e);
		s->whole = false;
		shut(s->home);
		if ((s->home = openat(s->target, ".", O_RDONLY | O_DIRECTORY |
		    O_CLOEXEC)) == -1) {
			err_sys(e, "%s", str_q(path));
			goto fail;
		}
		if (make_work(s, e) == -1)
			goto fail;
	}
	if (dress_root(s, s->target != -1 ? s->target : s->home, e) == -1 ||
	    swap_name(s, e) == -1 || room(s->dir, how->need, path, e) == -1 ||
	    journal_begin(s, e) == -1)
		goto fail;
	if (fsync(s->dir) == -1 || fsync(s->home) == -1) {
		err_sys(e, "sync %s", str_q(path));
		goto fail;
	}
	log_step(log, "%s: staging in %s, %s", str_q(path), s->work, s->whole ?
	    "to be exchanged with it" : "its entries to be swapped");
	return s;
fail:
	swap_free(s);
	return NULL;
}

/* swap_to: DIR.part is the tree itself. */

static int
empty_or_absent(const struct swap *s, struct err *e)
{
	struct dirent *d;
	int fd = openat(s->home, s->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC), n = 0;
	DIR *dir;

	if (fd == -1)
		return errno == ENOENT ? 0 : err_sys(e, "%s", str_q(s->path));
	if ((dir = fdopendir(fd)) == NULL) {
		err_sys(e, "%s", str_q(s->path));
		return shut(fd);
	}
	while ((d = readdir(dir)) != NULL)
		n += strcmp(d->d_name, ".") != 0 &&
		    strcmp(d->d_name, "..") != 0;
	closedir(dir);
	if (n == 0)
		return 0;
	err_set(e, CALA_EXISTS, "%s: exists and is not empty", str_q(s->path));
	return err_hint(e, "--overwrite replaces it and keeps the old one");
}

static int
open_part(struct swap *s, struct err *e)
{
	int fd;

	if (mkdirat(s->home, s->work, 0700) == -1 && errno != EEXIST)
		return err_sys(e, "create %s", str_q(s->work));
	if ((s->dir = swap_sub(s->home, s->work)) == -1)
		return err_sys(e, "%s", str_q(s->work));
	if (flock(s->dir, LOCK_EX | LOCK_NB) == -1)
		return err_set(e, CALA_LOCKED,
		    "%s: another restore is writing there", str_q(s->work));
	fd = openat(s->dir, SWAP_MARK, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW |
	    O_CLOEXEC, 0600);
	if (fd == -1)
		return err_sys(e, "%s", str_q(s->work));
	close(fd);
	return 0;
}

/*
 * Its lock, if its holder is only a killed run's unpacker that is removing what
 * it has made: that takes seconds at most, a restore takes longer.
 */
static bool
lock_soon(int fd)
{
	const struct timespec pause = { 0, 50 * 1000 * 1000 };
	int tries = LEFT_OVER * 20;

	while (flock(fd, LOCK_EX | LOCK_NB) == -1) {
		if (errno != EWOULDBLOCK || tries-- == 0 || stop_signal() != 0)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

/* What an interrupted run left in DIR.part, provably ours; else hands off. */
static int
clear_part(struct swap *s, struct err *e)
{
	struct stat st;
	int fd, ret = -1;

again:
	if ((fd = swap_sub(s->home, s->work)) == -1)
		return errno == ENOENT ? 0 : err_sys(e, "%s", str_q(s->work));
	if (!lock_soon(fd)) {
		err_set(e, CALA_LOCKED, "%s: another restore is writing there",
		    str_q(s->work));
	} else if (fstat(fd, &st) == 0 && st.st_nlink == 0) {
		close(fd);
		goto again;
	} else if (unlinkat(s->home, s->work, AT_REMOVEDIR) == 0) {
		ret = 0;
	} else if (fstatat(fd, SWAP_MARK, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    !S_ISREG(st.st_mode) || st.st_uid != geteuid()) {
		err_set(e, CALA_EXISTS, "%s: exists and is not ours to remove",
		    str_q(s->work));
	} else if (fs_remove(s->home, s->work) == -1) {
		err_sys(e, "remove %s", str_q(s->work));
	} else {
		log_step(s->log, "%s: removed what an interrupted restore "
		    "left", str_q(s->work));
		ret = 0;
	}
	close(fd);
	return ret;
}

struct swap *
swap_to(const char *path, const struct swap_how *how, struct log *log,
    struct err *e)
{
	struct swap *s = swap_blank(path, how->id, log, e);

	if (s == NULL)
		return NULL;
	if (strlen(s->name) + sizeof(".part") > sizeof(s->work)) {
		/* Long names get a short staging folder of their own. */
		snprintf(s->work, sizeof(s->work), ".cala-restore-%s",
		    s->id);
	} else {
		snprintf(s->work, sizeof(s->work), "%s.part", s->name);
	}
	s->to = true;
	if ((s->home = swap_parent(s, e)) == -1 ||
	    empty_or_absent(s, e) == -1 || clear_part(s, e) == -1 ||
	    open_part(s, e) == -1)
		goto fail;
	if ((s->tree = openat(s->dir, ".", O_RDONLY | O_DIRECTORY |
	    O_CLOEXEC)) == -1) {
		err_sys(e, "%s", str_q(s->work));
		goto fail;
	}
	if (dress_root(s, s->home, e) == -1 ||
	    room(s->dir, how->need, path, e) == -1)
		goto fail;
	return s;
fail:
	/* Before the lock is ours, neither is the folder. */
	if (s->tree == -1)
		s->dir = shut(s->dir);
	swap_free(s);
	return NULL;
}

static int
commit_to(struct swap *s, struct err *e)
{
	struct timespec ts[2];
	struct stat st;

	if (!swap_step(s))
		return 1;
	if (fstat(s->tree, &st) == -1)
		return err_sys(e, "%s", str_q(s->work));
	/* Over an empty directory, and over nothing else. */
	if (renameat(s->home, s->work, s->home, s->name) == -1)
		return err_sys(e, "rename %s to %s", str_q(s->work),
		    str_q(s->name));
	s->committed = true;
	(void)unlinkat(s->tree, SWAP_MARK, 0);
	ts[0] = st.st_atim;
	ts[1] = st.st_mtim;
	(void)futimens(s->tree, ts);
	if (fsync(s->tree) == -1 || fsync(s->home) == -1)
		return err_sys(e, "sync %s", str_q(s->path));
	return 0;
}

/* Both kinds. */

int
swap_dir(const struct swap *s)
{
	return s->tree;
}

const char *
swap_stage(const struct swap *s)
{
	return s->stage;
}

const char *
swap_id(const struct swap *s)
{
	return s->id;
}

const char *
swap_old(const struct swap *s)
{
	return s->committed ? s->old : NULL;
}

/* The folder gets its last name, or goes when it keeps nothing. */
int
swap_finish(struct swap *s, struct err *e)
{
	struct timespec ts[2] = { { 0, 0 }, { 0, 0 } };
	char name[64];

	/* An old tree that held nothing is not worth keeping. */
	if (s->phase == PHASE_DONE)
		(void)unlinkat(s->dir, "old", AT_REMOVEDIR);
	if (s->phase == PHASE_UNDONE || faccessat(s->dir, "old", F_OK,
	    AT_SYMLINK_NOFOLLOW) == -1) {
		if (!swap_step(s))
			return 1;
		s->committed = true;
		free(s->old);
		s->old = NULL;
		swap_drop(s);
		goto times;
	}
	if (!swap_step(s))
		return 1;
	snprintf(name, sizeof(name), ".cala-old-%s", s->id);
	if (renameat(s->home, s->work, s->home, name) == -1)
		return err_sys(e, "name the old tree %s", name);
	s->committed = true;
times:
	/* Our folders in V must not show in its times. */
	if (!s->whole && s->phase == PHASE_DONE) {
		ts[0].tv_nsec = UTIME_OMIT;
		ts[1] = s->mtime;
		(void)futimens(s->target, ts);
	}
	return fsync(s->home) == -1 ? err_sys(e, "sync %s", str_q(s->path)) :
	    0;
}

int
swap_advance(struct swap *s, unsigned steps, struct err *e)
{
	struct err sub = ERR_INIT;
	int ret;

	s->steps = steps;
	if (s->to)
		return commit_to(s, e);
	if ((ret = swap_run(s, e)) == 1)
		return 1;
	if (ret == -1) {
		if (s->phase == PHASE_UNDONE)
			(void)swap_finish(s, &sub);
		else if (s->phase != PHASE_STAGE)
			s->committed = true;    /* both trees must stay */
		return -1;
	}
	/* Whatever fails from here on: the old tree is in the work folder. */
	s->committed = true;
	return swap_finish(s, e);
}

int
swap_commit(struct swap *s, struct err *e)
{
	return swap_advance(s, UINT_MAX, e);
}

void
swap_free(struct swap *s)
{
	if (s == NULL)
		return;
	if (!s->committed)
		swap_drop(s);
	swap_release(s);
}
