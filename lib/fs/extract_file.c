/* Files made and filled; this runs on pool threads, too. */

#include "fs/extract_int.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"

enum {
	BLOCK = 4096,
	WRITE_BACK = 8 << 20    /* bytes of a file that the disk may begin with */
};

int
x_place(struct extract *x, int dir, const char *tmp, const char *name,
    struct err *e)
{
	struct stat st;

	if (x->how.overwrite) {
		if (renameat(dir, tmp, dir, name) == 0)
			return 0;
		if (errno == EISDIR || errno == ENOTEMPTY || errno == EEXIST)
			return err_set(e, CALA_EXISTS,
			    "a directory is in its place");
		return err_sys(e, "rename into place");
	}
	if (renameat2(dir, tmp, dir, name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL)
		return err_sys(e, "rename into place");
	/* Some file systems have no such flag; a link does not replace. */
	if (linkat(dir, tmp, dir, name, 0) == 0)
		return unlinkat(dir, tmp, 0) == 0 ? 0 :
		    err_sys(e, "rename into place");
	if (errno == EEXIST || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) ==
	    0)
		return err_set(e, CALA_EXISTS, "exists");
	return renameat(dir, tmp, dir, name) == 0 ? 0 :
	    err_sys(e, "rename into place");
}

int
x_begin(struct file *f, struct err *e)
{
	int tries;

	for (tries = 0; tries < 100; tries++) {
		x_temp(f->x, f->tmp);
		f->fd = openat(f->dir->fd, f->tmp, O_WRONLY | O_CREAT |
		    O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (f->fd != -1 || errno != EEXIST)
			break;
	}
	if (f->fd == -1)
		return err_sys(e, "%s", str_q(f->path));
	return 0;
}

/* Name the file, or remove what there is of it. */
static void
file_end(struct file *f)
{
	struct extract *x = f->x;
	struct err e = ERR_INIT;
	int fd = f->fd;

	if (f->failed || x->stop)
		goto fail;
	if (f->sparse && !f->ended && ftruncate(fd, (off_t)f->size) == -1) {
		err_sys(&e, "%s", str_q(f->path));
		goto fail;
	}
	meta_apply(x, fd, false, ENTRY_FILE, &f->m, f->dir->acl, f->path);
	f->fd = -1;
	if (close(fd) == -1) {
		err_sys(&e, "%s", str_q(f->path));
		goto fail;
	}
	if (x_place(x, f->dir->fd, f->tmp, f->name, &e) == -1) {
		err_ctx(&e, "%s", str_q(f->path));
		goto fail;
	}
	x->files++;
	x->bytes += f->size;
	return;
fail:
	if (f->fd != -1)
		close(f->fd);
	f->fd = -1;
	(void)unlinkat(f->dir->fd, f->tmp, 0);
	if (e.code != 0)
		x_trouble(x, &e);
}

static bool
zero(const unsigned char *p, size_t n)
{
	return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

/*
 * Write n bytes at off; blocks of zeros are left out when sparse.  Only a file that
 * does not end with what was written must be given its size.
 */
static int
file_fill(struct file *f, const unsigned char *p, size_t n, uint64_t off)
{
	size_t from = 0, at = 0, k;

	if (!f->sparse)
		return file_pwrite_all(f->fd, p, n, off);
	while (at < n) {
		k = BLOCK - (size_t)((off + at) % BLOCK);
		if (k > n - at)
			k = n - at;
		if (zero(p + at, k)) {
			if (at > from && file_pwrite_all(f->fd, p + from,
			    at - from, off + from) == -1)
				return -1;
			from = at + k;
		}
		at += k;
	}
	if (n == from)
		return 0;
	if (off + n == f->size)
		f->ended = true;
	return file_pwrite_all(f->fd, p + from, n - from, off + from);
}

static void
run_batch(struct slot *s)
{
	struct file *f;
	struct err e;
	unsigned i;

	for (i = 0; i < s->n; i++) {
		f = s->file[i];
		if (f->x->stop)
			return;
		err_clear(&e);
		if (x_begin(f, &e) == -1) {
			x_trouble(f->x, &e);
			continue;
		}
		if (f->size > 0 && file_fill(f, s->buf + f->off,
		    (size_t)f->size, 0) == -1) {
			err_sys(&e, "%s", str_q(f->path));
			x_trouble(f->x, &e);
			f->failed = true;
		}
		file_end(f);
	}
}

void
x_drop(struct file *f)
{
	if (atomic_fetch_sub(&f->refs, 1) == 1)
		file_end(f);
}

/*
 * n more bytes of the file are there.  The disk begins while others are on their
 * way, so that the sync at the end does not find all of them still to be written;
 * an error of its shows there.
 */
static void
file_write_back(struct file *f, size_t n)
{
	uint64_t all = atomic_fetch_add(&f->written, n) + n;

	if (all == f->size || all / WRITE_BACK != (all - n) / WRITE_BACK)
		(void)sync_file_range(f->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

static void
run_chunk(struct slot *s)
{
	struct file *f = s->file[0];
	struct err e = ERR_INIT;

	if (f->failed || f->x->stop)
		goto out;
	if (file_fill(f, s->buf, s->len, s->off) == -1) {
		err_sys(&e, "%s", str_q(f->path));
		/* Two jobs may fail: say it once. */
		if (!atomic_exchange(&f->failed, true))
			x_trouble(f->x, &e);
		goto out;
	}
	file_write_back(f, s->len);
out:
	x_drop(f);
}

void
x_run(struct job *j)
{
	struct slot *s = (struct slot *)j;

	if (s->chunk)
		run_chunk(s);
	else
		run_batch(s);
}

