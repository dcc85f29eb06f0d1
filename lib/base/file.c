#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"

int
file_write_all(int fd, const void *v, size_t n)
{
	const unsigned char *p = v;
	ssize_t k;

	while (n > 0) {
		k = write(fd, p, n);
		if (k == -1 && errno == EINTR && stop_signal() == 0)
			continue;
		if (k == 0)
			errno = ENOSPC;
		if (k <= 0)
			return -1;
		p += k;
		n -= (size_t)k;
		/* A pipe took part of it before the signal came. */
		if (n > 0 && stop_signal() != 0) {
			errno = EINTR;
			return -1;
		}
	}
	return 0;
}

int
file_pwrite_all(int fd, const void *v, size_t n, uint64_t off)
{
	const unsigned char *p = v;
	ssize_t k;

	while (n > 0) {
		k = pwrite(fd, p, n, (off_t)off);
		if (k == -1 && errno == EINTR && stop_signal() == 0)
			continue;
		if (k == 0)
			errno = ENOSPC;
		if (k <= 0)
			return -1;
		p += k;
		n -= (size_t)k;
		off += (uint64_t)k;
	}
	return 0;
}

int
file_flow(const int *fd, size_t n)
{
	static const unsigned all = SYNC_FILE_RANGE_WAIT_BEFORE |
	    SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
	size_t i;

	for (i = 0; i < n; i++)
		/* Not everywhere can it be asked for; fsync can. */
		if (sync_file_range(fd[i], 0, 0, SYNC_FILE_RANGE_WRITE) == -1)
			return errno == ENOSYS || errno == EINVAL ||
			    errno == ESPIPE || errno == EPERM ? 0 : -1;
	for (i = 0; i < n; i++)
		if (sync_file_range(fd[i], 0, 0, all) == -1)
			return -1;
	return 0;
}

int
file_nameless(int dirfd, const char *dir, struct err *e)
{
	static const int flags = O_RDWR | O_CLOEXEC;
	char name[PATH_MAX];
	uint64_t x;
	int fd = openat(dirfd, dir, O_TMPFILE | flags, 0600);

	/* Not every file system, or kernel, has them. */
	if (fd == -1 && (errno == EOPNOTSUPP || errno == EISDIR ||
	    errno == EINVAL || errno == ENOENT) &&
	    getrandom(&x, sizeof(x), 0) == sizeof(x)) {
		if (snprintf(name, sizeof(name), "%s/.cala-temp.%016" PRIx64,
		    dir, x) >= (int)sizeof(name))
			errno = ENAMETOOLONG;
		else if ((fd = openat(dirfd, name, O_CREAT | O_EXCL |
		    O_NOFOLLOW | flags, 0600)) != -1)
			(void)unlinkat(dirfd, name, 0);
	}
	return fd != -1 ? fd : err_sys(e, "a temporary file in %s",
	    str_q(dir));
}

ssize_t
file_read_full(int fd, void *v, size_t n)
{
	unsigned char *p = v;
	size_t got = 0;
	ssize_t k;

	while (got < n) {
		k = read(fd, p + got, n - got);
		if (k == -1 && errno == EINTR && stop_signal() == 0)
			continue;
		if (k == -1)
			return -1;
		if (k == 0)
			break;
		got += (size_t)k;
	}
	return (ssize_t)got;
}

ssize_t
file_pread_full(int fd, void *v, size_t n, uint64_t off)
{
	unsigned char *p = v;
	size_t got = 0;
	ssize_t k;

	while (got < n) {
		k = pread(fd, p + got, n - got, (off_t)(off + got));
		if (k == -1 && errno == EINTR && stop_signal() == 0)
			continue;
		if (k == -1)
			return -1;
		if (k == 0)
			break;
		got += (size_t)k;
	}
	return (ssize_t)got;
}

int
file_printed(FILE *out, const char *name, struct err *e)
{
	struct pollfd p = { .fd = fileno(out), .events = POLLOUT };

	if (!ferror(out))
		return 0;
	/* errno is long gone; the pipe itself knows. */
	if (poll(&p, 1, 0) == 1 && (p.revents & POLLERR) != 0)
		return err_set(e, CALA_SIGNAL + SIGPIPE, "%s: closed", name);
	return err_set(e, CALA_FAIL, "write to %s failed", name);
}

int
file_slurp(struct buf *b, int dirfd, const char *name, struct err *e)
{
	struct stat st;
	char *to;
	ssize_t n;
	int fd, ret = -1;

	/* O_NONBLOCK: a FIFO planted here must not hang us. */
	fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK |
	    (dirfd == AT_FDCWD ? 0 : O_NOFOLLOW));
	if (fd == -1 && errno == ELOOP && dirfd != AT_FDCWD)
		return err_set(e, CALA_FAIL, "%s: a symbolic link, not a "
		    "regular file", str_q(name));
	if (fd == -1)
		return err_sys(e, "%s", str_q(name));
	if (fstat(fd, &st) == -1) {
		err_sys(e, "%s", str_q(name));
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		err_set(e, CALA_FAIL, "%s: not a regular file", str_q(name));
		goto out;
	}
	do {
		if ((to = buf_room(b, b->max - b->len < 65536 ?
		    b->max - b->len : 65536)) == NULL) {
			buf_failed(b, e);
			goto out;
		}
		n = file_read_full(fd, to, b->max - b->len < 65536 ?
		    b->max - b->len : 65536);
		if (n == -1) {
			err_sys(e, "%s", str_q(name));
			goto out;
		}
		buf_grown(b, (size_t)n);
	} while (n > 0 && b->len < b->max);
	if (b->len == b->max && read(fd, &(char){ 0 }, 1) == 1) {
		err_set(e, CALA_INTEGRITY, "%s: larger than %zu bytes",
		    str_q(name), b->max);
		goto out;
	}
	ret = 0;
out:
	close(fd);
	return ret;
}

int
afile_open(struct afile *f, int dirfd, const char *name, struct err *e)
{
	unsigned char rnd[6];
	char hex[13];
	size_t n = strlen(name) + sizeof(hex) + 8;

	f->dirfd = f->fd = -1;
	f->name = f->tmp = NULL;
	/* "." for AT_FDCWD, so that the folder can be synced afterwards. */
	f->dirfd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->dirfd == -1)
		return err_sys(e, "open the directory of %s", str_q(name));
	if ((f->name = strdup(name)) == NULL ||
	    (f->tmp = malloc(n)) == NULL) {
		err_oom(e);
		goto fail;
	}
	if (getrandom(rnd, sizeof(rnd), 0) != (ssize_t)sizeof(rnd)) {
		err_sys(e, "get randomness");
		goto fail;
	}
	hex_put(rnd, sizeof(rnd), hex);
	snprintf(f->tmp, n, ".%s.%s.part", name, hex);
	f->fd = openat(f->dirfd, f->tmp,
	    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (f->fd == -1) {
		err_sys(e, "create %s", str_q(f->tmp));
		free(f->tmp);
		f->tmp = NULL;
		goto fail;
	}
	return 0;
fail:
	afile_abort(f);
	return -1;
}

/*
 * NFS, CIFS and FAT know no RENAME_NOREPLACE (EINVAL).  A hard link refuses a
 * taken name as well; where there are none either, looking first is the best
 * that can be had.
 */
static int
rename_new(int dirfd, const char *from, const char *to)
{
	struct stat st;

	if (renameat2(dirfd, from, dirfd, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (linkat(dirfd, from, dirfd, to, 0) == 0) {
		(void)unlinkat(dirfd, from, 0);
		return 0;
	}
	if (errno == EEXIST)
		return -1;
	if (fstatat(dirfd, to, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		errno = EEXIST;
		return -1;
	}
	return errno == ENOENT ? renameat(dirfd, from, dirfd, to) : -1;
}

int
afile_commit(struct afile *f, mode_t mode, int flags, struct err *e)
{
	int fd = f->fd;

	if (fchmod(fd, mode) == -1 || ((flags & (AFILE_SYNCED |
	    AFILE_LAZY)) == 0 && fsync(fd) == -1))
		return err_sys(e, "write %s", str_q(f->name));
	f->fd = -1;
	if (close(fd) == -1)
		return err_sys(e, "write %s", str_q(f->name));
	if (((flags & AFILE_NOREPLACE) != 0 ?
	    rename_new(f->dirfd, f->tmp, f->name) :
	    renameat(f->dirfd, f->tmp, f->dirfd, f->name)) == -1)
		return err_sys(e, "%s", str_q(f->name));
	free(f->tmp);
	f->tmp = NULL;
	if ((flags & (AFILE_LAZY | AFILE_UNNAMED)) == 0 &&
	    fsync(f->dirfd) == -1)
		return err_sys(e, "sync the directory of %s", str_q(f->name));
	afile_abort(f);
	return 0;
}

void
afile_abort(struct afile *f)
{
	if (f->fd != -1)
		close(f->fd);
	if (f->tmp != NULL && f->dirfd != -1)
		(void)unlinkat(f->dirfd, f->tmp, 0);
	if (f->dirfd != -1)
		close(f->dirfd);
	free(f->tmp);
	free(f->name);
	f->fd = f->dirfd = -1;
	f->tmp = f->name = NULL;
}

/* ".NAME*.XXXXXXXXXXXX.part" */
static bool
leftover(const char *file, const char *name)
{
	size_t n = strlen(file), k = strlen(name), i;

	if (file[0] != '.' || strncmp(file + 1, name, k) != 0 ||
	    n < 1 + k + 18 || !str_ends(file, ".part") || file[n - 18] != '.')
		return false;
	for (i = n - 17; i < n - 5; i++)
		if (strchr("0123456789abcdef", file[i]) == NULL)
			return false;
	return true;
}

DIR *
file_list(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), why;
	DIR *dir = fd == -1 ? NULL : fdopendir(fd);

	if (dir == NULL && fd != -1) {
		why = errno;
		close(fd);
		errno = why;
	}
	return dir;
}

void
afile_sweep(int dirfd, const char *name)
{
	DIR *dir = file_list(dirfd);
	const struct dirent *d;

	if (dir == NULL)
		return;
	while ((d = readdir(dir)) != NULL)
		if (leftover(d->d_name, name))
			(void)unlinkat(dirfd, d->d_name, 0);
	closedir(dir);
}

static int
held(int fd, const char *name, struct err *e)
{
	char who[256];
	ssize_t n = pread(fd, who, sizeof(who) - 1, 0);

	who[n > 0 ? n : 0] = '\0';
	return err_set(e, CALA_LOCKED, "%s: locked by %s", str_q(name),
	    n > 0 ? str_q(str_trim(who)) : "another process");
}

static int
lock(int dirfd, const char *name, int how, unsigned wait, struct err *e)
{
	double until = when_mono() + wait;
	struct timespec pause = { 0, 50 * 1000 * 1000 };
	struct stat a, b;
	int fd;

again:
	fd = openat(dirfd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
	    0600);
	if (fd == -1)
		return err_sys(e, "lock file %s", str_q(name));
	while (flock(fd, how | LOCK_NB) == -1) {
		if (errno != EWOULDBLOCK && errno != EINTR) {
			err_sys(e, "lock %s", str_q(name));
			close(fd);
			return -1;
		}
		if (stop_check(e) == -1 || when_mono() >= until) {
			if (stop_signal() == 0)
				held(fd, name, e);
			close(fd);
			return -1;
		}
		nanosleep(&pause, NULL);
	}
	/* Somebody may have removed the file while we waited for it. */
	if (fstat(fd, &a) == -1 || fstatat(dirfd, name, &b,
	    AT_SYMLINK_NOFOLLOW) == -1 || a.st_ino != b.st_ino) {
		close(fd);
		goto again;
	}
	return fd;
}

int
file_lock_shared(int dirfd, const char *name, unsigned wait, struct err *e)
{
	return lock(dirfd, name, LOCK_SH, wait, e);
}

int
file_lock(int dirfd, const char *name, const char *what, unsigned wait,
    struct err *e)
{
	char now[WHEN_TEXT];
	int fd;

	if ((fd = lock(dirfd, name, LOCK_EX, wait, e)) == -1)
		return -1;
	/* Who holds it is a courtesy; a full disk must not stop a restore. */
	if (ftruncate(fd, 0) == 0)
		(void)!dprintf(fd, "pid %ld (%s) since %s\n", (long)getpid(),
		    what, when_utc(when_now(), now));
	return fd;
}

int
file_opendir(int dirfd, const char *path, struct err *e)
{
	int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd == -1)
		return err_sys(e, "%s", str_q(path));
	return fd;
}

int
file_mkdirs(const char *path, mode_t mode, struct err *e)
{
	char part[PATH_MAX];
	size_t i, n = strlen(path);

	if (n == 0 || n >= sizeof(part))
		return err_set(e, CALA_USAGE, "%s: path is empty or too long",
		    str_q(path));
	for (i = 1; i <= n; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, mode) == -1 && errno != EEXIST)
			return err_sys(e, "create directory %s", str_q(part));
	}
	return file_opendir(AT_FDCWD, path, e);
}

bool
file_may(const char *path, int mode)
{
	return faccessat(AT_FDCWD, path, mode, AT_EACCESS) == 0;
}

int
file_empty(int dirfd, const char *path, struct err *e)
{
	const struct dirent *d;
	int fd = file_opendir(dirfd, path, e), ret = 1;
	DIR *dir = NULL;

	if (fd == -1)
		return -1;
	if ((dir = fdopendir(fd)) == NULL) {
		err_sys(e, "%s", str_q(path));
		close(fd);
		return -1;
	}
	errno = 0;
	while (ret == 1 && (d = readdir(dir)) != NULL)
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			ret = 0;
	if (ret == 1 && errno != 0)
		ret = err_sys(e, "%s", str_q(path));
	closedir(dir);
	return ret;
}
