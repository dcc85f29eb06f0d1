/*
 * Directories beneath the root.
 *
 * Invariant: a descriptor kept here was reached from the root without passing
 * a symbolic link, so whatever is made through it lies inside the target.
 */

#include "fs/extract_int.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"

enum { PIECE = 4000 };          /* below PATH_MAX: longer paths go in pieces */

static int
by_component(int at, char *path, int flags)
{
	char *p = path, *slash;
	struct stat st;
	int cur = at, fd, saved;

	for (;;) {
		if ((slash = strchr(p, '/')) != NULL)
			*slash = '\0';
		fd = openat(cur, p, O_NOFOLLOW | O_CLOEXEC | (slash == NULL ?
		    flags : O_PATH | O_DIRECTORY), 0600);
		/* O_DIRECTORY hides from us that it was a link. */
		if (fd == -1 && errno == ENOTDIR)
			errno = fstatat(cur, p, &st, AT_SYMLINK_NOFOLLOW) == 0
			    && S_ISLNK(st.st_mode) ? ELOOP : ENOTDIR;
		saved = errno;
		if (cur != at)
			close(cur);
		errno = saved;
		if (fd == -1 || slash == NULL)
			return fd;
		*slash = '/';
		p = slash + 1;
		cur = fd;
	}
}

static int
piece(int at, char *path, int flags, bool *walk)
{
	struct open_how how = {
		.flags = (unsigned)(flags | O_CLOEXEC),
		.mode = (flags & O_CREAT) != 0 ? 0600 : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
		    RESOLVE_NO_MAGICLINKS
	};
	int fd, tries;

	if (!*walk) {
		for (tries = 0; tries < 64; tries++) {
			fd = (int)syscall(SYS_openat2, at, path, &how,
			    sizeof(how));
			if (fd != -1 || (errno != EAGAIN && errno != EINTR))
				break;
		}
		/* Old containers answer EPERM to calls they do not know. */
		if (fd != -1 || (errno != ENOSYS && errno != EPERM))
			return fd;
		*walk = true;
	}
	return by_component(at, path, flags);
}

int
fs_beneath(int root, const char *path, int flags, bool *walk)
{
	char part[PIECE + 1];
	size_t n = strlen(path), k;
	int cur = root, fd = -1, saved;

	if (n == 0)
		return openat(root, ".", flags | O_CLOEXEC);
	while (n > 0) {
		k = n;
		if (k > PIECE)
			for (k = PIECE; k > 0 && path[k] != '/'; k--)
				;
		if (k == 0) {
			errno = ENAMETOOLONG;
			fd = -1;
		} else {
			memcpy(part, path, k);
			part[k] = '\0';
			fd = piece(cur, part, k == n ? flags :
			    O_PATH | O_DIRECTORY, walk);
		}
		saved = errno;
		if (cur != root)
			close(cur);
		errno = saved;
		if (fd == -1)
			return -1;
		cur = fd;
		path += k + (k < n);
		n -= k + (k < n);
	}
	return fd;
}

static uint64_t
hash_of(const char *s)
{
	uint64_t h = 0xcbf29ce484222325;

	for (; *s != '\0'; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3;
	return h;
}

/* Would files made in this directory inherit an ACL? */
static bool
gives_acl(int fd)
{
	char proc[32];

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	return getxattr(proc, "system.posix_acl_default", NULL, 0) > 0;
}

/* A file system entered for the first time must be synced at the end. */
static void
note_mount(struct extract *x, int fd)
{
	struct stat st;
	unsigned i;
	int real;

	if (fstat(fd, &st) == -1)
		return;
	for (i = 0; i < x->nmounts; i++)
		if (x->mount[i].dev == st.st_dev)
			return;
	real = i == EXT_MOUNTS ? -1 :
	    openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (real == -1) {
		x->more_mounts = true;
		return;
	}
	x->mount[i].dev = st.st_dev;
	x->mount[i].fd = real;
	x->nmounts++;
}

static void
dir_free(struct dir *d)
{
	close(d->fd);
	free(d->path);
	free(d);
}

/* A free place in the cache: the longest unused goes. */
static struct dir **
place(struct extract *x)
{
	struct dir **best = NULL;
	int i, round;

	for (round = 0; round < 2; round++) {
		for (i = 0; i < EXT_DIRS; i++) {
			if (x->dir[i] == NULL)
				return &x->dir[i];
			if (x->dir[i]->refs == 0 && (best == NULL ||
			    x->dir[i]->used < (*best)->used))
				best = &x->dir[i];
		}
		if (best != NULL)
			break;
		x_drain(x);
	}
	if (best != NULL) {
		dir_free(*best);
		*best = NULL;
	}
	return best;
}

/* Takes fd. */
static int
remember(struct extract *x, const char *path, uint64_t hash, int fd,
    struct dir **out, struct err *e)
{
	struct dir **at = place(x), *d;

	if (at == NULL) {
		close(fd);
		return err_set(e, CALA_FAIL, "too many directories in use");
	}
	if ((d = calloc(1, sizeof(*d))) == NULL ||
	    (d->path = strdup(path)) == NULL) {
		free(d);
		close(fd);
		return err_oom(e);
	}
	d->hash = hash;
	d->fd = fd;
	d->acl = x->how.xattrs && gives_acl(fd);
	note_mount(x, fd);
	*at = *out = d;
	return 0;
}

int
dirs_explain(int err, const char *path, struct err *e)
{
	errno = err;
	if (err == ELOOP)
		return err_set(e, CALA_FAIL,
		    "%s: a symbolic link is in the way; not followed",
		    str_q(path));
	if (err == ENOTDIR)
		return err_set(e, CALA_FAIL, "%s: not a directory",
		    str_q(path));
	return err_sys(e, "directory %s", str_q(path));
}

/*
 * Make what is missing of path, whose nearest existing ancestor is found from
 * the end.  Parents that no entry describes get 0755 and their own parent's
 * owner, so that a partly restored tree belongs to who owns the rest.
 */
static int
make_parents(struct extract *x, const char *path, struct err *e)
{
	struct meta m = { .mode = 0755, .implied = true, .made = true };
	size_t have = strlen(path), n = have, from;
	struct stat st;
	char *part;
	int cur = -1, next, ret = -1;

	if ((part = strdup(path)) == NULL)
		return err_oom(e);
	do {
		while (have > 0 && path[--have] != '/')
			;
		part[have] = '\0';
		cur = fs_beneath(x->root, part, O_PATH | O_DIRECTORY,
		    &x->walk);
		if (cur == -1 && (errno != ENOENT || have == 0)) {
			dirs_explain(errno, part, e);
			goto out;
		}
	} while (cur == -1);
	while (have < n) {
		from = have + (have > 0);
		have = from + strcspn(path + from, "/");
		memcpy(part, path, have);
		part[have] = '\0';
		if (fstat(cur, &st) == -1 || (mkdirat(cur, part + from, 0700)
		    == -1 && errno != EEXIST)) {
			err_sys(e, "create directory %s", str_q(part));
			goto out;
		}
		next = openat(cur, part + from, O_PATH | O_DIRECTORY |
		    O_NOFOLLOW | O_CLOEXEC);
		if (next == -1) {
			dirs_explain(errno, part, e);
			goto out;
		}
		close(cur);
		cur = next;
		m.uid = st.st_uid;
		m.gid = st.st_gid;
		if (later_add(x, part, &m, e) == -1)
			goto out;
	}
	ret = 0;
out:
	if (cur != -1)
		close(cur);
	free(part);
	return ret;
}

int
dirs_get(struct extract *x, const char *path, struct dir **out,
    struct err *e)
{
	uint64_t h = hash_of(path);
	struct dir *d = NULL;
	int i, fd;

	for (i = 0; i < EXT_DIRS; i++)
		if (x->dir[i] != NULL && x->dir[i]->hash == h &&
		    strcmp(x->dir[i]->path, path) == 0) {
			d = x->dir[i];
			break;
		}
	if (d == NULL) {
		fd = fs_beneath(x->root, path, O_PATH | O_DIRECTORY, &x->walk);
		if (fd == -1 && errno == ENOENT) {
			/* A file on its way here would look missing, too. */
			x_drain(x);
			if (make_parents(x, path, e) == -1)
				return -1;
			fd = fs_beneath(x->root, path, O_PATH | O_DIRECTORY,
			    &x->walk);
		}
		if (fd == -1)
			return dirs_explain(errno, path, e);
		if (remember(x, path, h, fd, &d, e) == -1)
			return -1;
	}
	d->used = ++x->tick;
	d->refs++;
	*out = d;
	return 0;
}

void
dirs_put(struct dir *d)
{
	if (d != NULL)
		d->refs--;
}

/* A symbolic link where the backup has a directory: the backup wins. */
static int
unlink_symlink(struct extract *x, int at, const char *name, const char *path,
    struct err *e)
{
	if (!x->how.overwrite)
		return err_set(e, CALA_EXISTS,
		    "%s: a symbolic link is in the place of a directory",
		    str_q(path));
	log_step(x->log, "%s: a directory replaces a symbolic link",
	    str_q(path));
	/* No AT_REMOVEDIR: should it have become a directory, this fails. */
	if (unlinkat(at, name, 0) == -1 || mkdirat(at, name, 0700) == -1)
		return err_sys(e, "create directory %s", str_q(path));
	return 0;
}

int
dirs_make(struct extract *x, const struct entry *en, struct err *e)
{
	struct dir *up = NULL;
	struct meta m = { 0 };
	struct stat st;
	const char *name = entry_name(en->path);
	char *parent = NULL;
	bool made = false;
	int ret = -1;

	if (en->path[0] == '\0')
		goto later;
	if ((parent = strndup(en->path, name == en->path ? 0 :
	    (size_t)(name - en->path - 1))) == NULL) {
		err_oom(e);
		goto out;
	}
	if (dirs_get(x, parent, &up, e) == -1)
		goto out;
	if (mkdirat(up->fd, name, 0700) == 0) {
		made = true;
	} else if (errno != EEXIST) {
		err_sys(e, "create directory %s", str_q(en->path));
		goto out;
	} else if (fstatat(up->fd, name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
		err_sys(e, "%s", str_q(en->path));
		goto out;
	} else if (S_ISLNK(st.st_mode)) {
		if (unlink_symlink(x, up->fd, name, en->path, e) == -1)
			goto out;
		made = true;
	} else if (!S_ISDIR(st.st_mode)) {
		err_set(e, CALA_EXISTS,
		    "%s: a file is in the place of a directory",
		    str_q(en->path));
		goto out;
	}
later:
	x->dirs++;
	if (!made && !x->how.overwrite && en->path[0] != '\0') {
		/* What was there before keeps its mode and times. */
		ret = 0;
		goto out;
	}
	if (meta_of(x, en, &m, e) == -1)
		goto out;
	m.made = made;
	ret = later_add(x, en->path, &m, e);
out:
	meta_fini(&m);
	dirs_put(up);
	free(parent);
	return ret;
}

void
dirs_fini(struct extract *x)
{
	unsigned i;

	for (i = 0; i < EXT_DIRS; i++)
		if (x->dir[i] != NULL)
			dir_free(x->dir[i]);
	for (i = 0; i < x->nmounts; i++)
		close(x->mount[i].fd);
}
