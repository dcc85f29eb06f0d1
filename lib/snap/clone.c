#include "snap/clone.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/when.h"
#include "snap/zfs.h"

#define PREFIX ".cala-read-"

enum {
	ID_BYTES = 8,
	STALE = 3600            /* seconds: a folder without lock is dead */
};

/* The dataset beside: "tank/a/b" gives "tank/a/cala-read-ID". */
static char *
beside(const char *dataset, const char *name)
{
	const char *slash = strrchr(dataset, '/');
	struct buf b;

	buf_init(&b, ZFS_NAME - 1);
	buf_add(&b, dataset, slash != NULL ? (size_t)(slash - dataset) :
	    strlen(dataset));
	buf_printf(&b, "/%s", name + 1);
	return buf_detach(&b);
}

/* Is dataset provably a clone of ours, made for the folder name? */
static int
ours(struct log *log, const char *dataset, const char *name, bool *yes,
    struct err *e)
{
	struct buf b;
	int ret = -1, r;

	*yes = false;
	buf_init(&b, 4096);
	if ((r = zfs_get(log, dataset, "cala:temp", &b, e)) == -1) {
		if (e->code == CALA_NOTFOUND) {
			err_clear(e);
			ret = 1;
		}
		goto out;
	}
	*yes = r == 0 && strcmp(b.p, name + strlen(PREFIX)) == 0;
	if (*yes && (zfs_get(log, dataset, "origin", &b, e) == -1 ||
	    strchr(b.p, '@') == NULL))
		*yes = false;
	ret = 0;
out:
	buf_fini(&b);
	return ret;
}

/* The folder, with nothing mounted in it any more. */
static int
drop_folder(int dirfd, const char *name, struct err *e)
{
	int fd = openat(dirfd, name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd == -1)
		return errno == ENOENT ? 0 : err_sys(e, "%s", str_q(name));
	if ((unlinkat(fd, "tree", AT_REMOVEDIR) == -1 && errno != ENOENT) ||
	    (unlinkat(fd, "lock", 0) == -1 && errno != ENOENT)) {
		err_sys(e, "remove what is in %s", str_q(name));
		close(fd);
		return -1;
	}
	close(fd);
	if (unlinkat(dirfd, name, AT_REMOVEDIR) == -1)
		return err_sys(e, "remove %s", str_q(name));
	return 0;
}

static int
make_folder(int dirfd, const char *path, struct clone *c, struct err *e)
{
	int fd = -1, ret = -1;

	if (mkdirat(dirfd, c->name, 0700) == -1)
		return err_sys(e, "%s/%s", str_q(path), c->name);
	fd = openat(dirfd, c->name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1 || mkdirat(fd, "tree", 0700) == -1 ||
	    (c->lock = openat(fd, "lock", O_WRONLY | O_CREAT | O_EXCL |
	    O_CLOEXEC, 0600)) == -1 || flock(c->lock, LOCK_EX | LOCK_NB) == -1 ||
	    file_write_all(c->lock, c->dataset, strlen(c->dataset)) == -1 ||
	    fsync(c->lock) == -1 || fsync(fd) == -1)
		err_sys(e, "%s/%s", str_q(path), c->name);
	else
		ret = 0;
	if (fd != -1)
		close(fd);
	return ret;
}

static bool
mounted(const char *dataset, const char *path)
{
	struct err ignored = ERR_INIT;
	char *at = zfs_mountpoint(dataset, &ignored);
	bool yes = at != NULL && strcmp(at, path) == 0;

	free(at);
	return yes;
}

/* The empty folder below the mount must not be taken for the snapshot. */
static int
enter(struct clone *c, const char *path, struct err *e)
{
	if (!mounted(c->dataset, path))
		return err_set(e, CALA_FAIL, "the clone %s is not mounted on "
		    "%s", str_q(c->dataset), str_q(path));
	c->fd = file_opendir(AT_FDCWD, path, e);
	return c->fd == -1 ? -1 : 0;
}

int
clone_open(struct log *log, const char *path, int dirfd, const char *dataset,
    const char *snapshot, struct clone *c, struct err *e)
{
	char id[2 * ID_BYTES + 1], temp[64], full[2 * ZFS_NAME];
	unsigned char raw[ID_BYTES];
	char *mountpoint = NULL, *where = NULL, name[64];
	int ret = -1;

	*c = (struct clone)CLONE_INIT;
	if (getrandom(raw, sizeof(raw), 0) != sizeof(raw))
		return err_sys(e, "get randomness");
	hex_put(raw, sizeof(raw), id);
	snprintf(name, sizeof(name), PREFIX "%s", id);
	snprintf(temp, sizeof(temp), "cala:temp=%s", id);
	snprintf(full, sizeof(full), "%s@%s", dataset, snapshot);
	c->name = strdup(name);
	c->dataset = beside(dataset, name);
	if (c->name != NULL && (where = str_join(path, name)) != NULL &&
	    (mountpoint = str_join(where, "tree")) != NULL) {
		char *option = NULL;

		if (c->dataset == NULL)
			err_set(e, CALA_USAGE, "%s: its name is too long for "
			    "a clone beside it", str_q(dataset));
		else if (asprintf(&option, "mountpoint=%s", mountpoint) == -1)
			err_oom(e);
		else if (make_folder(dirfd, path, c, e) == 0) {
			const char *make[] = { "zfs", "clone", "-o",
			    "readonly=on", "-o", "canmount=noauto", "-o",
			    option, "-o", temp, full, c->dataset, NULL };
			const char *up[] = { "zfs", "mount", c->dataset,
			    NULL };

			log_step(log, "reading %s through the clone %s",
			    str_q(full), str_q(c->dataset));
			/* zfs-fuse mounts it in spite of canmount. */
			if (zfs_do(log, make, false, e) == 0 &&
			    (mounted(c->dataset, mountpoint) ||
			    zfs_do(log, up, false, e) == 0))
				ret = enter(c, mountpoint, e);
		}
		free(option);
	} else {
		err_oom(e);
	}
	free(where);
	free(mountpoint);
	if (ret == -1)
		clone_close(log, dirfd, c);
	return ret;
}

void
clone_close(struct log *log, int dirfd, struct clone *c)
{
	struct err e = ERR_INIT;

	if (c->fd != -1)
		close(c->fd);
	if (c->lock != -1) {
		/* Made a moment ago, under a random name and our lock. */
		if (zfs_destroy(log, c->dataset, true, &e) == -1 ||
		    drop_folder(dirfd, c->name, &e) == -1)
			log_warn(log, "a temporary clone stays until the next "
			    "run: %s", e.msg);
		close(c->lock);
	}
	free(c->dataset);
	free(c->name);
	*c = (struct clone)CLONE_INIT;
}

/* One folder of a dead owner.  1: it is not dead. */
static int
sweep_one(struct log *log, int dirfd, const char *name, bool dry,
    struct err *e)
{
	struct timespec now = when_now();
	int fd = -1, lock = -1, ret = 1;
	char *base;
	struct stat st;
	struct buf b;
	bool yes;

	buf_init(&b, ZFS_NAME);
	fd = openat(dirfd, name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1 || fstat(fd, &st) == -1)
		goto out;
	lock = openat(fd, "lock", O_RDWR | O_NOFOLLOW | O_NONBLOCK |
	    O_CLOEXEC);
	if (lock == -1) {
		/* Killed between two steps: no clone was made yet. */
		if (errno == ENOENT && st.st_mtim.tv_sec < now.tv_sec - STALE)
			ret = dry ? 0 : drop_folder(dirfd, name, e);
		goto out;
	}
	if (flock(lock, LOCK_EX | LOCK_NB) == -1)
		goto out;
	if (file_slurp(&b, fd, "lock", e) == -1) {
		ret = -1;
		goto out;
	}
	base = strrchr(b.p, '/');
	if (b.len > 0 && (!zfs_dataset_ok(b.p) || base == NULL ||
	    strcmp(base + 1, name + 1) != 0)) {
		log_warn(log, "%s names a dataset that is not ours: left "
		    "alone", str_q(name));
		goto out;
	}
	if (dry) {
		ret = 0;
		goto out;
	}
	if (b.len > 0) {
		if ((ret = ours(log, b.p, name, &yes, e)) == -1)
			goto out;
		if (ret == 0 && !yes) {
			log_warn(log, "%s is not a clone of ours: left alone",
			    str_q(b.p));
			ret = 1;
			goto out;
		}
		if (ret == 0 && zfs_destroy(log, b.p, false, e) == -1) {
			ret = -1;
			goto out;
		}
	}
	ret = drop_folder(dirfd, name, e);
out:
	if (lock != -1)
		close(lock);
	if (fd != -1)
		close(fd);
	buf_fini(&b);
	return ret;
}

int
clone_sweep(struct log *log, int dirfd, bool dry, size_t *n, struct err *e)
{
	struct err own;
	struct dirent *d;
	int r, ret = 0;
	DIR *dp;

	if ((dp = file_list(dirfd)) == NULL)
		return err_sys(e, "read the backup directory");
	errno = 0;
	while ((d = readdir(dp)) != NULL) {
		if (str_begins(d->d_name, PREFIX)) {
			err_clear(&own);
			r = sweep_one(log, dirfd, d->d_name, dry, &own);
			if (r == -1)
				log_warn(log, "%s", own.msg);
			else if (r == 0)
				++*n;
		}
		errno = 0;
	}
	if (errno != 0)
		ret = err_sys(e, "read the backup directory");
	closedir(dp);
	return ret;
}
