#include "snap/source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/uuid.h"
#include "snap/mounts.h"
#include "snap/subvol.h"
#include "snap/zfs.h"

#define PREFIX "cala-source-"
#define ASIDE "cala-was-"

enum { ID = 8 };

/* Is it PREFIX (or ASIDE), "OWNER-ID"? */
static bool
named(const char *prefix, const char *name, const char *owner)
{
	size_t i;

	if (!str_begins(name, prefix))
		return false;
	name += strlen(prefix);
	if (!str_begins(name, owner) || name[UUID_TEXT - 1] != '-')
		return false;
	name += UUID_TEXT;
	for (i = 0; i < ID; i++)
		if (strchr("0123456789abcdef", name[i]) == NULL ||
		    name[i] == '\0')
			return false;
	return name[ID] == '\0';
}

static int
name_new(const char *prefix, const char *owner, char out[SOURCE_NAME],
    struct err *e)
{
	unsigned id;

	if (getrandom(&id, sizeof(id), 0) != sizeof(id))
		return err_sys(e, "get randomness");
	snprintf(out, SOURCE_NAME, ".%s%s-%08x", prefix, owner, id);
	return 0;
}

/* ---- what a snapshot would not hold ---- */

struct inside {
	struct log *log;
	const char *path;
	bool whole;
};

static int
one_inside(struct inside *in, const char *path, struct err *e)
{
	if (in->whole) {
		err_set(e, CALA_USAGE, "%s is a subvolume, dataset or mount of "
		    "its own inside", str_q(path));
		return 1;
	}
	log_warn(in->log, "%s: a subvolume, dataset or mount of its own: what "
	    "it holds is not in the snapshot", str_q(path));
	return 0;
}

static int
nested(void *arg, const char *path, struct err *e)
{
	/* What an earlier run of ours left in V is no loss. */
	if (str_begins(path, "." PREFIX))
		return 0;
	return one_inside(arg, path, e);
}

static int
mounted(void *arg, const struct mount_at *m, struct err *e)
{
	struct inside *in = arg;

	return mount_below(m, in->path) ? one_inside(in, m->path, e) : 0;
}

/* ---- btrfs ---- */

static bool
left_over(int dirfd, const char *name, const char *owner)
{
	struct err ignored = ERR_INIT;
	struct subvol s;
	bool yes = false;
	int fd;

	if (name[0] != '.' || !named(PREFIX, name + 1, owner))
		return false;
	fd = openat(dirfd, name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return false;
	/* A read-only snapshot, as we make them. */
	if (subvol_root(fd) == 1 && subvol_info(fd, &s, &ignored) == 0)
		yes = s.readonly && s.parent[0] != '\0';
	close(fd);
	return yes;
}

static int
sweep_dir(struct log *log, int dirfd, const char *owner, size_t *n,
    struct err *e)
{
	const struct dirent *d;
	DIR *dp = file_list(dirfd);
	int ret = 0;

	if (dp == NULL)
		return err_sys(e, "look for leftovers");
	while (ret == 0 && (d = readdir(dp)) != NULL)
		if (left_over(dirfd, d->d_name, owner)) {
			log_step(log, "removing %s, left by a killed run",
			    d->d_name);
			ret = subvol_delete(dirfd, d->d_name, e);
			++*n;
		}
	closedir(dp);
	return ret;
}

/* The directory that V stands in, where that is on the same file system. */
static int
parent_of(int fd)
{
	int up = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (up != -1 && !subvol_same_fs(up, fd)) {
		close(up);
		up = -1;
	}
	return up;
}

/*
 * Who may rename in V could put a link in the place of a snapshot in it, and
 * have us read anything.
 */
static int
only_root(int fd, const char *path, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) == -1)
		return err_sys(e, "%s", str_q(path));
	if (st.st_uid == 0 && (st.st_mode & 022) == 0)
		return 0;
	err_set(e, CALA_USAGE, "%s is a mount point that others than root can "
	    "write to: they could exchange a snapshot in it", str_q(path));
	err_hint(e, "mount the directory above it instead");
	return 1;
}

static int
take_btrfs(int fd, const char *path, const char *owner,
    struct source_snap *s, struct err *e)
{
	char name[SOURCE_NAME], *up = NULL;
	int ret = -1;

	if (name_new(PREFIX, owner, name, e) == -1)
		return -1;
	/* In V itself where it is a mount point: it is not in the snapshot. */
	if ((s->dirfd = parent_of(fd)) == -1) {
		if ((ret = only_root(fd, path, e)) != 0)
			return ret;
		s->dirfd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		ret = -1;
	} else if ((up = mounts_path(s->dirfd, e)) == NULL) {
		return -1;
	}
	s->path = str_join(up != NULL ? up : path, name);
	free(up);
	if (s->path == NULL || s->dirfd == -1)
		return err_oom(e);
	if (subvol_snapshot(fd, s->dirfd, name, true, e) == -1)
		return -1;
	s->name = strdup(name);
	ret = s->name == NULL ? err_oom(e) : 0;
	if (ret == -1)
		(void)subvol_delete(s->dirfd, name, &(struct err)ERR_INIT);
	return ret;
}

/* ---- zfs ---- */

static int
take_zfs(struct log *log, const char *dataset, const char *owner,
    const char *tmp, struct source_snap *s, struct err *e)
{
	char name[SOURCE_NAME], temp[UUID_TEXT + 16], *at;
	struct err ignored = ERR_INIT;

	if (name_new(PREFIX, owner, name, e) == -1)
		return -1;
	snprintf(temp, sizeof(temp), "cala:temp=%s", owner);
	if (asprintf(&s->full, "%s@%s", dataset, name + 1) == -1) {
		s->full = NULL;
		return err_oom(e);
	}
	const char *argv[] = { "zfs", "snapshot", "-o", temp, s->full, NULL };
	if (zfs_do(log, argv, false, e) == -1) {
		/* A signal may have come after it was made: drop sees to it. */
		return -1;
	}
	if ((s->seen = zfs_look(dataset, name + 1)) != -1) {
		if ((at = zfs_mountpoint(dataset, &ignored)) == NULL ||
		    asprintf(&s->path, "%s/.zfs/snapshot/%s", at,
		    name + 1) == -1)
			s->path = NULL;
		free(at);
		return s->path == NULL ? err_oom(e) : 0;
	}
	if ((s->tmp = file_mkdirs(tmp, 0700, e)) == -1 ||
	    clone_open(log, tmp, s->tmp, dataset, name + 1, &s->clone,
	    e) == -1)
		return err_ctx(e, "a temporary clone to read it");
	if ((s->path = mounts_path(s->clone.fd, e)) == NULL)
		return -1;
	return 0;
}

struct sweep {
	const char *owner;
	char **v;
	size_t n;
};

static int
on_name(void *ctx, const char *p, size_t n, struct err *e)
{
	struct sweep *w = ctx;
	char *full = str_ndup(p, n), *at, **more;

	if (full == NULL)
		return err_oom(e);
	at = strchr(full, '@');
	if (at == NULL || !named(PREFIX, at + 1, w->owner)) {
		free(full);
		return 0;
	}
	more = reallocarray(w->v, w->n + 1, sizeof(*w->v));
	if (more == NULL) {
		free(full);
		return err_oom(e);
	}
	w->v = more;
	w->v[w->n++] = full;
	return 0;
}

static int
sweep_zfs(struct log *log, const char *dataset, const char *owner,
    size_t *n, struct err *e)
{
	const char *argv[] = { "zfs", "list", "-H", "-r", "-d", "1", "-t",
	    "snapshot", "-o", "name", dataset, NULL };
	struct sweep w = { owner, NULL, 0 };
	struct buf b;
	size_t i;
	int ret;

	buf_init(&b, 4096);
	ret = zfs_ask(log, argv, on_name, &w, e);
	for (i = 0; ret == 0 && i < w.n; i++) {
		ret = zfs_get(log, w.v[i], "cala:temp", &b, e);
		if (ret == 1 || (ret == 0 && strcmp(b.p, owner) != 0)) {
			ret = 0;
			continue;
		}
		if (ret == 0) {
			log_step(log, "removing %s, left by a killed run",
			    w.v[i]);
			ret = zfs_destroy(log, w.v[i], false, e);
			++*n;
		}
	}
	for (i = 0; i < w.n; i++)
		free(w.v[i]);
	free(w.v);
	buf_fini(&b);
	return ret;
}

/* ---- both ---- */

/* Is path, or what is mounted there, on ZFS?  Then zfs(8) is worth asking. */
static int
zfs_at(void *arg, const struct mount_at *m, struct err *e)
{
	const char *const *path = arg;

	(void)e;
	return mount_zfs(m) && strcmp(m->path, *path) == 0;
}

static bool
maybe_zfs(const char *path)
{
	struct err ignored = ERR_INIT;

	return mounts_each(zfs_at, &path, &ignored) == 1;
}

int
source_take(struct log *log, const char *dir, const char *owner,
    enum source_kind kind, bool whole, const char *tmp,
    struct source_snap *s, struct err *e)
{
	char *path = NULL, *dataset = NULL;
	int fd, ret = -1;

	*s = (struct source_snap)SOURCE_INIT;
	if ((fd = file_opendir(AT_FDCWD, dir, e)) == -1)
		return -1;
	if ((path = mounts_path(fd, e)) == NULL)
		goto out;
	struct inside in = { log, path, whole };
	if (kind != SOURCE_ZFS && subvol_root(fd) == 1 && geteuid() != 0) {
		/* Anybody may make one of what is his, but not remove it. */
		ret = 1;
		err_set(e, CALA_AUTH, "only root can remove a Btrfs snapshot "
		    "again");
	} else if (kind != SOURCE_ZFS && subvol_root(fd) == 1) {
		if ((ret = subvol_nested(fd, nested, &in, e)) == 0 &&
		    (ret = mounts_each(mounted, &in, e)) == 0)
			ret = take_btrfs(fd, path, owner, s, e);
	} else if (kind != SOURCE_BTRFS && maybe_zfs(path)) {
		if ((dataset = zfs_of(log, fd, e)) != NULL &&
		    (ret = mounts_each(mounted, &in, e)) == 0)
			ret = take_zfs(log, dataset, owner, tmp, s, e);
	} else {
		err_set(e, CALA_USAGE, "%s is not a %s", str_q(dir),
		    kind == SOURCE_BTRFS ? "Btrfs subvolume" :
		    kind == SOURCE_ZFS ? "ZFS dataset of its own" :
		    "Btrfs subvolume or ZFS dataset of its own");
		ret = 1;
	}
out:
	if (ret != 0)
		source_drop(log, s);
	else
		log_step(log, "%s: reading the snapshot %s", str_q(dir),
		    str_q(s->path));
	free(path);
	free(dataset);
	close(fd);
	return ret;
}

void
source_drop(struct log *log, struct source_snap *s)
{
	struct err e = ERR_INIT;
	int ret = 0;

	if (s->seen != -1)
		close(s->seen);
	if (s->clone.name != NULL)
		clone_close(log, s->tmp, &s->clone);
	if (s->name != NULL)
		ret = subvol_delete(s->dirfd, s->name, &e);
	if (s->full != NULL)
		ret = zfs_destroy(log, s->full, true, &e);
	if (ret == -1)
		log_warn(log, "a temporary snapshot stays until the next run: "
		    "%s", e.msg);
	if (s->dirfd != -1)
		close(s->dirfd);
	if (s->tmp != -1)
		close(s->tmp);
	free(s->path);
	free(s->name);
	free(s->full);
	*s = (struct source_snap)SOURCE_INIT;
}

int
source_sweep(struct log *log, const char *dir, const char *owner,
    const char *tmp, size_t *n, struct err *e)
{
	char *path = NULL, *dataset = NULL;
	int fd, up, tmpfd, ret = 0;

	if ((fd = file_opendir(AT_FDCWD, dir, e)) == -1)
		return -1;
	if (subvol_root(fd) == 1) {
		if ((up = parent_of(fd)) != -1) {
			ret = sweep_dir(log, up, owner, n, e);
			close(up);
		}
		if (ret == 0)
			ret = sweep_dir(log, fd, owner, n, e);
	} else if ((path = mounts_path(fd, e)) != NULL && maybe_zfs(path)) {
		/* Clones first: a snapshot with a clone can't go. */
		tmpfd = open(tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (tmpfd != -1) {
			ret = clone_sweep(log, tmpfd, false, n, e);
			close(tmpfd);
		}
		if (ret == 0 && (dataset = zfs_of(log, fd, e)) != NULL)
			ret = sweep_zfs(log, dataset, owner, n, e);
		else if (dataset == NULL)
			ret = -1;
	}
	free(path);
	free(dataset);
	close(fd);
	return ret;
}

/* ---- what rollbacks put aside ---- */

int
source_aside(const char *owner, char out[SOURCE_NAME], struct err *e)
{
	return name_new(ASIDE, owner, out, e);
}

int
source_discard(struct log *log, const char *dir, const char *owner, bool dry,
    size_t *n, struct err *e)
{
	const struct dirent *d;
	int fd, up, ret = 0;
	DIR *dp = NULL;

	if ((fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1)
		return errno == ENOENT ? 0 : err_sys(e, "%s", str_q(dir));
	up = parent_of(fd);
	close(fd);
	if (up == -1)
		return 0;
	if ((dp = fdopendir(up)) == NULL) {
		close(up);
		return err_sys(e, "look for old trees");
	}
	while (ret == 0 && (d = readdir(dp)) != NULL) {
		if (d->d_name[0] != '.' ||
		    !named(ASIDE, d->d_name + 1, owner))
			continue;
		++*n;
		if (dry)
			continue;
		log_step(log, "removing the old tree %s", d->d_name);
		ret = subvol_delete(dirfd(dp), d->d_name, e);
	}
	closedir(dp);
	return ret;
}
