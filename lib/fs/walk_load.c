/*
 * Loading what is no directory: open, look, and read what is small.
 */

#include "fs/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/err.h"
#include "base/rate.h"
#include "base/when.h"
#include "fs/attrs.h"

enum { TARGET_MAX = 1 << 20, WILL_NEED = 1 << 20 };

int
walk_openat(int dirfd, const char *name, int flags)
{
	int fd;

	/*
	 * O_NONBLOCK: a FIFO put in a file's place must not hang us.
	 * O_NOATIME is refused for files of others.
	 */
	flags |= O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	fd = openat(dirfd, name, flags | O_NOATIME);
	if (fd == -1 && errno == EPERM)
		fd = openat(dirfd, name, flags);
	return fd;
}

/* The whole target, however long. */
static char *
read_target(int fd, int *why)
{
	size_t room = 256;
	char *p = NULL, *q;
	ssize_t n;

	for (; room <= TARGET_MAX; room *= 4) {
		if ((q = realloc(p, room)) == NULL) {
			*why = ENOMEM;
			goto out;
		}
		p = q;
		if ((n = readlinkat(fd, "", p, room)) == -1) {
			*why = errno;
			goto out;
		}
		if ((size_t)n < room) {
			p[n] = '\0';
			return p;
		}
	}
	*why = ENAMETOOLONG;
out:
	free(p);
	return NULL;
}

static bool
same_kind(char kind, mode_t m)
{
	switch (kind) {
	case ENTRY_FILE: return S_ISREG(m);
	case ENTRY_SYMLINK: return S_ISLNK(m);
	case ENTRY_FIFO: return S_ISFIFO(m);
	case ENTRY_CHAR: return S_ISCHR(m);
	case ENTRY_BLOCK: return S_ISBLK(m);
	default: return S_ISSOCK(m);
	}
}

/* Does it have holes?  Those are left to the map of a sparse file. */
static bool
solid(int fd, const struct stat *st)
{
	if ((uint64_t)st->st_blocks * 512 >= (uint64_t)st->st_size)
		return true;
	return lseek(fd, 0, SEEK_HOLE) >= st->st_size;
}

/*
 * Read a small file into it->data, and see whether it stayed what it was.
 * What is missing in the end is zero bytes.
 */
static void
read_small(struct item *it, bool keep_cache)
{
	size_t size = (size_t)it->st.st_size, got = 0;
	struct iovec v;
	struct stat now;
	ssize_t n;

	/* Served from the cache alone, or was it not there? */
	v.iov_base = it->data;
	v.iov_len = size;
	n = preadv2(it->fd, &v, 1, 0, RWF_NOWAIT);
	if (n > 0)
		got = (size_t)n;
	else if (n == -1 && errno == EAGAIN)
		it->cold = true;
	while (got < size) {
		n = pread(it->fd, it->data + got, size - got, (off_t)got);
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			it->read_why = errno;
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	memset(it->data + got, 0, size - got);
	if (it->cold && !keep_cache)
		posix_fadvise(it->fd, 0, 0, POSIX_FADV_DONTNEED);
	it->shrunk = got < size && it->read_why == 0;
	it->changed = fstat(it->fd, &now) == 0 &&
	    (now.st_size != it->st.st_size ||
	    when_cmp(now.st_mtim, it->st.st_mtim) != 0 ||
	    when_cmp(now.st_ctim, it->st.st_ctim) != 0);
}

/*
 * Is a large file's beginning in the cache?  If not, the rest is taken not to
 * be either: begin to fetch it now, drop it again when it was read.
 */
static void
look_large(struct item *it)
{
	struct iovec v;
	char byte;

	v.iov_base = &byte;
	v.iov_len = 1;
	if (preadv2(it->fd, &v, 1, 0, RWF_NOWAIT) == -1 && errno == EAGAIN) {
		it->cold = true;
		posix_fadvise(it->fd, 0, WILL_NEED, POSIX_FADV_WILLNEED);
	}
}

/*
 * Would the writer take it unread?  Then it need not even be opened.
 */
static bool
known(struct slot *s, struct item *it, int dirfd)
{
	struct entry en;
	struct stat st;

	if (fstatat(dirfd, it->name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    !S_ISREG(st.st_mode))
		return false;
	memset(&en, 0, sizeof(en));
	en.type = ENTRY_FILE;
	en.path = s->w->single;
	if (en.path == NULL) {
		buf_cut(&s->path, s->path_len);
		buf_str(&s->path, it->name);
		if (s->path.failed)
			return false;
		en.path = s->path.p;
	}
	en.size = (uint64_t)st.st_size;
	en.mtime = st.st_mtim;
	en.ctime = st.st_ctim;
	en.mode = st.st_mode & 07777;
	en.uid = st.st_uid;
	en.gid = st.st_gid;
	en.dev = st.st_dev;
	en.ino = st.st_ino;
	en.nlink = st.st_nlink;
	if (!writer_known(s->w->how.asks, &en))
		return false;
	it->st = st;
	it->known = true;
	return true;
}

/* The part of the paths that all of the slot's items share. */
static void
begin_paths(struct slot *s)
{
	struct buf *b = &s->path;

	buf_reset(b);
	buf_str(b, s->w->prefix);
	if (b->len > 0 && s->dir->plen > 0)
		buf_chr(b, '/');
	dir_path(s->dir, b);
	if (b->len > 0)
		buf_chr(b, '/');
	s->path_len = b->len;
}

static void
load_file(struct slot *s, struct item *it, int dirfd)
{
	struct walk *w = s->w;
	size_t size;

	if (w->how.asks != NULL && !w->how.asks_whole && known(s, it, dirfd))
		return;
	it->fd = walk_openat(dirfd, it->name, 0);
	if (it->fd == -1 || fstat(it->fd, &it->st) == -1) {
		it->why = errno;
		it->odd = it->why == ELOOP || it->why == ENXIO;
		return;
	}
	if (!S_ISREG(it->st.st_mode)) {
		it->odd = true;
		it->why = EINVAL;
		return;
	}
	if (w->how.xattrs)
		it->xattrs = walk_xattrs(it->fd, false, &it->xattr_why);
	if (w->how.attrs)
		attrs_get(it->fd, &it->attrs, &it->projid);
	if (w->how.asks != NULL && w->how.asks_whole && known(s, it, dirfd)) {
		close(it->fd);
		it->fd = -1;
		return;
	}
	if (it->st.st_size < 0 || it->st.st_size > SMALL ||
	    (size_t)it->st.st_size > SLOT_BYTES - s->used ||
	    !solid(it->fd, &it->st)) {
		s->held++;
		look_large(it);
		return;
	}
	size = (size_t)it->st.st_size;
	it->data = s->data + s->used;
	s->used += size;
	if (size > 0)
		read_small(it, w->how.keep_cache);
	close(it->fd);
	it->fd = -1;
}

static void
load_other(struct walk *w, struct item *it, int dirfd)
{
	/* Never really opened: a device may act on it. */
	int fd = openat(dirfd, it->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd == -1 || fstat(fd, &it->st) == -1) {
		it->why = errno;
	} else if (!same_kind(it->kind, it->st.st_mode)) {
		it->odd = true;
		it->why = EINVAL;
	} else {
		if (it->kind == ENTRY_SYMLINK)
			it->target = read_target(fd, &it->why);
		if (w->how.xattrs && !w->how.bare)
			it->xattrs = walk_xattrs(fd, true, &it->xattr_why);
	}
	if (fd != -1)
		close(fd);
}

/* How often this thread has given the processor away by itself. */
static long
slept(void)
{
	struct rusage ru;

	return getrusage(RUSAGE_THREAD, &ru) == -1 ? 0 : ru.ru_nvcsw;
}

void
slot_load(struct job *j)
{
	struct slot *s = (void *)((char *)j - offsetof(struct slot, job));
	struct err e = ERR_INIT;
	unsigned from = s->loaded;
	double t0 = when_mono();
	long waits = slept();
	struct item *it;
	size_t used;

	s->used = 0;
	s->held = 0;
	if (s->w->how.asks != NULL)
		begin_paths(s);
	while (s->loaded < s->n && s->held < HELD &&
	    s->used <= SLOT_BYTES - SMALL) {
		it = &s->item[s->loaded++];
		used = s->used;
		if (it->kind == ENTRY_FILE && !s->w->how.bare)
			load_file(s, it, s->dir->fd);
		else
			load_other(s->w, it, s->dir->fd);
		/* Asked to stop: so is the consumer, at its next step. */
		if (s->used > used &&
		    rate_take(s->w->rate, s->used - used, &e) == -1)
			break;
	}
	s->waits = slept() - waits;
	s->cost = s->loaded == from ? 0 :
	    (when_mono() - t0) / (s->loaded - from);
}

void
item_drop(struct item *it)
{
	if (it->fd != -1)
		close(it->fd);
	it->fd = -1;
	free(it->target);
	it->target = NULL;
	free(it->xattrs);
	it->xattrs = NULL;
}
