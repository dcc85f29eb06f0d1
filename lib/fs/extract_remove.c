/*
 * Removing a tree that may be of any depth and in hostile hands.
 *
 * A directory found inside another is first moved up beside it, so that two
 * descriptors are enough, and no path is ever built or ".." trusted.
 *
 * A signal does not stop it: this is what cleans up after one.
 */

#include "fs/extract.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

struct removal {
	int top;
	dev_t dev;
	uint64_t serial;
};

static bool
dots(const char *s)
{
	return s[0] == '.' && (s[1] == '\0' || (s[1] == '.' && s[2] == '\0'));
}

/* A directory of this file system, made writable for us; -1 with errno. */
static int
enter(struct removal *r, int at, const char *name)
{
	struct stat st;
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);

	if (fd == -1 && errno == EACCES &&
	    fchmodat(at, name, 0700, AT_SYMLINK_NOFOLLOW) == 0)
		fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
		    O_CLOEXEC);
	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == -1)
		goto fail;
	/* What is mounted in the tree does not belong to it. */
	if (r->dev != 0 && st.st_dev != r->dev) {
		errno = EXDEV;
		goto fail;
	}
	r->dev = st.st_dev;
	if ((st.st_mode & 0700) != 0700)
		(void)fchmod(fd, 0700);
	return fd;
fail:
	close(fd);
	return -1;
}

/* Remove one name; 1 when it is a directory that holds something. */
static int
one(int at, const char *name)
{
	if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -1;
	if (unlinkat(at, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	return errno == ENOTEMPTY || errno == EEXIST ? 1 : -1;
}

static int
move_up(struct removal *r, int at, const char *name)
{
	char to[40];
	int tries;

	for (tries = 0; tries < 1000; tries++) {
		snprintf(to, sizeof(to), ".cala.up.%ju",
		    (uintmax_t)r->serial++);
		if (renameat2(at, name, r->top, to, RENAME_NOREPLACE) == 0)
			return 0;
		/* Where that flag is unknown, an empty name is what it takes. */
		if (errno == EINVAL && faccessat(r->top, to, F_OK,
		    AT_SYMLINK_NOFOLLOW) == -1)
			return renameat(at, name, r->top, to);
		if (errno != EEXIST)
			return -1;
	}
	return -1;
}

/* Empty the directory fd (taken); what it holds of directories moves up. */
static int
empty(struct removal *r, int fd)
{
	struct dirent *d;
	DIR *dir = fdopendir(fd);
	int ret = -1, k;

	if (dir == NULL) {
		close(fd);
		return -1;
	}
	while (errno = 0, (d = readdir(dir)) != NULL) {
		if (dots(d->d_name))
			continue;
		if ((k = one(dirfd(dir), d->d_name)) == -1 ||
		    (k == 1 && move_up(r, dirfd(dir), d->d_name) == -1))
			goto out;
	}
	if (errno == 0)
		ret = 0;
out:
	k = errno;
	closedir(dir);
	errno = k;
	return ret;
}

/* One pass over the top: 1 when something was there, 0 when it was empty. */
static int
pass(struct removal *r)
{
	struct dirent *d;
	DIR *dir = file_list(r->top);
	int fd, k, found = 0;

	if (dir == NULL)
		return -1;
	while (errno = 0, (d = readdir(dir)) != NULL) {
		if (dots(d->d_name))
			continue;
		found = 1;
		if ((k = one(r->top, d->d_name)) == -1)
			goto fail;
		if (k == 0)
			continue;
		if ((fd = enter(r, r->top, d->d_name)) == -1 ||
		    empty(r, fd) == -1 ||
		    (unlinkat(r->top, d->d_name, AT_REMOVEDIR) == -1 &&
		    errno != ENOTEMPTY && errno != ENOENT))
			goto fail;
	}
	if (errno != 0)
		goto fail;
	closedir(dir);
	return found;
fail:
	k = errno;
	closedir(dir);
	errno = k;
	return -1;
}

int
fs_remove(int at, const char *name)
{
	struct removal r = { -1, 0, 0 };
	int k, saved;

	if ((k = one(at, name)) != 1)
		return k;
	if ((r.top = enter(&r, at, name)) == -1)
		return -1;
	while ((k = pass(&r)) == 1)
		;
	saved = errno;
	close(r.top);
	errno = saved;
	return k == -1 ? -1 : unlinkat(at, name, AT_REMOVEDIR);
}
