/*
 * What directories get when everything else is done: a directory's own time
 * would change with every file made in it, and its mode may forbid making any.
 *
 * The records wait in the order they came, in memory up to a few MiB and then
 * in an unlinked file on the target.  They are set in that order, so that a
 * directory told twice ends as told last; only those whose mode would lock us
 * out of what they hold (we are not root) come at the very end, innermost
 * first.
 */

#include "fs/extract_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/stop.h"
#include "base/str.h"

enum {
	HEAD = 48,              /* bytes of a record before path and xattrs */
	KEEP = 4 * 1024 * 1024, /* bytes kept in memory */
	MADE = 1, IMPLIED = 2
};

static int
spill(struct extract *x, struct err *e)
{
	if (x->later_fd == -1) {
		x->later_fd = openat(x->root, ".", O_TMPFILE | O_RDWR |
		    O_CLOEXEC, 0600);
		if (x->later_fd == -1) {
			char tmp[X_TEMP];

			x_temp(x, tmp);
			x->later_fd = openat(x->root, tmp, O_RDWR | O_CREAT |
			    O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
			if (x->later_fd == -1)
				return err_sys(e, "create a temporary file");
			(void)unlinkat(x->root, tmp, 0);
		}
	}
	if (file_pwrite_all(x->later_fd, x->later.p, x->later.len,
	    x->later_len) == -1)
		return err_sys(e, "write a temporary file");
	x->later_len += x->later.len;
	buf_reset(&x->later);
	return 0;
}

int
later_add(struct extract *x, const char *path, const struct meta *m,
    struct err *e)
{
	unsigned char head[HEAD];
	size_t n = strlen(path);

	put_le32(head, m->mode);
	put_le32(head + 4, m->uid);
	put_le32(head + 8, m->gid);
	put_le32(head + 12, (m->made ? MADE : 0u) |
	    (m->implied ? IMPLIED : 0u));
	put_le64(head + 16, (uint64_t)m->mtime.tv_sec);
	put_le64(head + 24, (uint64_t)m->mtime.tv_nsec);
	put_le32(head + 32, (uint32_t)n);
	put_le32(head + 36, (uint32_t)m->xlen);
	put_le32(head + 40, m->attrs);
	put_le32(head + 44, m->projid);
	if (x->later.len > KEEP && spill(x, e) == -1)
		return -1;
	buf_add(&x->later, head, sizeof(head));
	buf_add(&x->later, path, n);
	if (m->xlen > 0)
		buf_add(&x->later, m->xattrs, m->xlen);
	return buf_failed(&x->later, e);
}

static int
get(struct extract *x, uint64_t off, void *p, size_t n, struct err *e)
{
	ssize_t k;

	if (off >= x->later_len) {
		memcpy(p, x->later.p + (off - x->later_len), n);
		return 0;
	}
	if ((k = file_pread_full(x->later_fd, p, n, off)) == -1)
		return err_sys(e, "read a temporary file");
	if ((size_t)k != n)
		return err_set(e, CALA_FAIL, "a temporary file is too short");
	return 0;
}

/* Read the record at off: m lends from b; returns its length in *n. */
static int
record(struct extract *x, uint64_t off, struct buf *b, struct meta *m,
    size_t *n, struct err *e)
{
	unsigned char head[HEAD];
	uint32_t flags, npath, nx;
	char *p;

	if (get(x, off, head, sizeof(head), e) == -1)
		return -1;
	memset(m, 0, sizeof(*m));
	m->mode = get_le32(head);
	m->uid = get_le32(head + 4);
	m->gid = get_le32(head + 8);
	flags = get_le32(head + 12);
	m->made = (flags & MADE) != 0;
	m->implied = (flags & IMPLIED) != 0;
	m->mtime.tv_sec = (time_t)get_le64(head + 16);
	m->mtime.tv_nsec = (long)get_le64(head + 24);
	npath = get_le32(head + 32);
	nx = get_le32(head + 36);
	m->attrs = get_le32(head + 40);
	m->projid = get_le32(head + 44);
	buf_reset(b);
	if ((p = buf_room(b, (size_t)npath + 1 + nx)) == NULL)
		return buf_failed(b, e);
	if (get(x, off + HEAD, p, npath, e) == -1 ||
	    (nx > 0 && get(x, off + HEAD + npath, p + npath + 1, nx, e) == -1))
		return -1;
	p[npath] = '\0';
	m->xattrs = (unsigned char *)p + npath + 1;
	m->xlen = nx;
	*n = HEAD + npath + nx;
	return 0;
}

static void
set(struct extract *x, const char *path, const struct meta *m)
{
	struct err e = ERR_INIT;
	bool opath = false;
	int fd;

	fd = fs_beneath(x->root, path, O_RDONLY | O_DIRECTORY, &x->walk);
	if (fd == -1 && errno == EACCES) {
		opath = true;
		fd = fs_beneath(x->root, path, O_PATH | O_DIRECTORY, &x->walk);
	}
	if (fd == -1) {
		err_sys(&e, "directory %s", str_q(path));
		x_trouble(x, &e);
		return;
	}
	meta_apply(x, fd, opath, ENTRY_DIR, m, m->made && x->how.xattrs, path);
	close(fd);
}

int
later_apply(struct extract *x, struct err *e)
{
	uint64_t off, end = x->later_len + x->later.len;
	uint64_t *last = NULL, *more;
	size_t nlast = 0, n;
	struct meta m;
	struct buf b;
	int ret = -1;

	buf_init(&b, ENTRY_PATH_MAX + EXT_XATTRS + 1);
	for (off = 0; off < end; off += n) {
		if (stop_check(e) == -1 || record(x, off, &b, &m, &n, e) == -1)
			goto out;
		if (x->privileged || (m.mode & 0300) == 0300) {
			set(x, b.p, &m);
			continue;
		}
		if ((nlast & (nlast - 1)) == 0) {
			more = realloc(last, (nlast == 0 ? 1 : 2 * nlast) *
			    sizeof(*last));
			if (more == NULL) {
				err_oom(e);
				goto out;
			}
			last = more;
		}
		last[nlast++] = off;
	}
	while (nlast > 0) {
		if (record(x, last[--nlast], &b, &m, &n, e) == -1)
			goto out;
		set(x, b.p, &m);
	}
	ret = 0;
out:
	free(last);
	buf_fini(&b);
	return ret;
}

void
later_fini(struct extract *x)
{
	buf_fini(&x->later);
	if (x->later_fd != -1)
		close(x->later_fd);
}
