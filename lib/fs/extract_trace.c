/*
 * The trace of a writer that works in a directory which lives on when it is
 * killed: a file in the root, locked while it works, whose name says how its
 * temporary files are called.
 *
 * Whoever gets the lock of a trace knows that its writer is dead, and removes
 * what bears its name and nothing else: a lock is true in every container and
 * on every host that shares the directory, as no process id is.
 */

#include "fs/extract_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/stop.h"
#include "base/str.h"

#define TRACE ".cala-unpack-"
#define TEMP ".cala."

enum {
	SALT = 16,              /* digits of the writer */
	SERIAL = 6,             /* digits behind it, of a file */
	DEAD_MAX = 16,          /* traces dealt with at once */
	DEPTH = 200             /* directories open at once */
};

struct dead {
	char name[sizeof(TRACE) + SALT];
	int fd;                 /* holds its lock */
};

struct sweep {
	struct log *log;
	struct dead dead[DEAD_MAX];
	size_t n;
	int removed;
	bool all;               /* nothing was passed over */
};

static bool
hex(const char *s, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if ((s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f'))
			return false;
	return true;
}

static bool
is_trace(const char *s)
{
	return str_begins(s, TRACE) && strlen(s) == strlen(TRACE) + SALT &&
	    hex(s + strlen(TRACE), SALT);
}

static bool
is_temp(const char *s)
{
	const char *p = s + strlen(TEMP);

	return str_begins(s, TEMP) &&
	    strlen(p) == SALT + 1 + SERIAL && hex(p, SALT) &&
	    p[SALT] == '.' && hex(p + SALT + 1, SERIAL);
}

bool
fs_leftover(const char *name)
{
	return is_temp(name) || is_trace(name);
}

void
x_temp(struct extract *x, char out[X_TEMP])
{
	snprintf(out, X_TEMP, TEMP "%0*" PRIx64 ".%0*x", (int)SALT, x->salt,
	    (int)SERIAL, atomic_fetch_add(&x->serial, 1) & 0xffffff);
}

/* Its lock says that we live; without locks nobody can say that we don't. */
static int
begin(struct extract *x, struct err *e)
{
	struct stat st;
	char name[sizeof(TRACE) + SALT];
	int fd;

	snprintf(name, sizeof(name), TRACE "%0*" PRIx64, (int)SALT, x->salt);
	fd = openat(x->root, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW |
	    O_CLOEXEC, 0600);
	if (fd == -1 && errno == EEXIST)
		return 1;
	if (fd == -1) {
		/* What is below may still be ours to write. */
		if (errno == EACCES || errno == EPERM || errno == EROFS)
			return 0;
		return err_sys(e, "begin in the target directory");
	}
	/* Somebody who sweeps may have come between: it goes, we try again. */
	if ((flock(fd, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK) ||
	    fstat(fd, &st) == -1 || st.st_nlink == 0) {
		close(fd);
		return 1;
	}
	x->trace = fd;
	return 0;
}

int
trace_begin(struct extract *x, struct err *e)
{
	int tries, k = 1;

	for (tries = 0; k == 1 && tries < 10; tries++) {
		if (getrandom(&x->salt, sizeof(x->salt), 0) !=
		    (ssize_t)sizeof(x->salt))
			return err_sys(e, "get randomness");
		if (!x->how.in_place)
			return 0;
		k = begin(x, e);
	}
	return k == 1 ? err_set(e, CALA_FAIL, "files vanish as soon as they "
	    "are made in the target directory") : k;
}

void
trace_end(struct extract *x)
{
	char name[sizeof(TRACE) + SALT];

	if (x->trace == -1)
		return;
	snprintf(name, sizeof(name), TRACE "%0*" PRIx64, (int)SALT, x->salt);
	(void)unlinkat(x->root, name, 0);
	close(x->trace);
	x->trace = -1;
}

/* Traces of writers that are dead, with their locks. */
static int
find_dead(struct sweep *s, int root, struct err *e)
{
	int at = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;
	struct dirent *d;
	struct stat st;
	DIR *dir;

	if (at == -1 || (dir = fdopendir(at)) == NULL) {
		err_sys(e, "read the target directory");
		if (at != -1)
			close(at);
		return -1;
	}
	while (s->n < DEAD_MAX && (d = readdir(dir)) != NULL) {
		if (!is_trace(d->d_name))
			continue;
		fd = openat(root, d->d_name, O_RDWR | O_NOFOLLOW |
		    O_NONBLOCK | O_CLOEXEC);
		if (fd == -1)
			continue;
		if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode) ||
		    st.st_size != 0 || st.st_uid != geteuid() ||
		    flock(fd, LOCK_EX | LOCK_NB) == -1 ||
		    fstat(fd, &st) == -1 || st.st_nlink != 1) {
			close(fd);
			continue;
		}
		memcpy(s->dead[s->n].name, d->d_name, strlen(d->d_name) + 1);
		s->dead[s->n++].fd = fd;
	}
	closedir(dir);
	return 0;
}

static bool
of_dead(const struct sweep *s, const char *name)
{
	size_t i;

	if (!is_temp(name))
		return false;
	for (i = 0; i < s->n; i++)
		if (memcmp(name + strlen(TEMP), s->dead[i].name +
		    strlen(TRACE), SALT) == 0)
			return true;
	return false;
}

/* A directory of at, to be read; NULL where it can't be or is none. */
static DIR *
enter(struct sweep *s, int at, const struct dirent *d)
{
	int fd;
	DIR *dir;

	if (d->d_type != DT_DIR && d->d_type != DT_UNKNOWN)
		return NULL;
	fd = openat(at, d->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);
	if (fd == -1) {
		if (errno != ENOTDIR && errno != ELOOP && errno != ENOENT)
			s->all = false;
		return NULL;
	}
	if ((dir = fdopendir(fd)) == NULL) {
		s->all = false;
		close(fd);
	}
	return dir;
}

/*
 * Without following links, as deep as descriptors go.  Nobody but an attacker
 * nests deeper, and then the trace stays, which harms nobody.
 */
static int
walk(struct sweep *s, int root, struct err *e)
{
	int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stack[DEPTH], *down;
	const struct dirent *d;
	size_t n = 0;
	int ret = -1;

	if (fd == -1 || (stack[0] = fdopendir(fd)) == NULL) {
		err_sys(e, "read the target directory");
		if (fd != -1)
			close(fd);
		return -1;
	}
	for (n = 1; n > 0;) {
		if (stop_check(e) == -1)
			goto out;
		if ((d = readdir(stack[n - 1])) == NULL) {
			closedir(stack[--n]);
			continue;
		}
		if (strcmp(d->d_name, ".") == 0 ||
		    strcmp(d->d_name, "..") == 0)
			continue;
		if (of_dead(s, d->d_name)) {
			if (unlinkat(dirfd(stack[n - 1]), d->d_name, 0) == 0)
				s->removed++;
			else if (errno != ENOENT)
				s->all = false;
			continue;
		}
		if ((down = enter(s, dirfd(stack[n - 1]), d)) == NULL)
			continue;
		if (n == DEPTH) {
			s->all = false;
			closedir(down);
			continue;
		}
		stack[n++] = down;
	}
	ret = 0;
out:
	while (n > 0)
		closedir(stack[--n]);
	return ret;
}

int
fs_sweep(int root, struct log *log, struct err *e)
{
	struct sweep s = { .log = log, .all = true };
	struct timespec ts[2];
	struct stat st;
	int ret = -1;
	size_t i;

	if (find_dead(&s, root, e) == -1)
		goto out;
	if (s.n == 0) {
		ret = 0;
		goto out;
	}
	if (walk(&s, root, e) == -1 || fstat(root, &st) == -1)
		goto out;
	for (i = 0; i < s.n && s.all; i++)
		(void)unlinkat(root, s.dead[i].name, 0);
	/* That they were there is nothing to remember. */
	ts[0].tv_nsec = UTIME_OMIT;
	ts[1] = st.st_mtim;
	(void)futimens(root, ts);
	log_step(log, "removed %d temporary files that a killed run left",
	    s.removed);
	ret = s.removed;
out:
	for (i = 0; i < s.n; i++)
		close(s.dead[i].fd);
	return ret;
}
