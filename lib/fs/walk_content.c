/*
 * The bytes of a file: whatever happens to it meanwhile, exactly as many as
 * were announced.
 */

#include "fs/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/rate.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"

enum { DROP_STEP = 4 << 20 };

/* The first trouble with a file is told, and is enough. */
static void
tell(struct wcontent *c, int why)
{
	if (c->told)
		return;
	c->told = true;
	if (why == 0)
		log_warn(c->w->log, "%s: shrank while it was read; filled up "
		    "with zero bytes", str_q(c->w->path.p));
	else
		log_warn(c->w->log, "%s: %s; filled up with zero bytes",
		    str_q(c->w->path.p), strerror(why));
}

static void
changed(struct wcontent *c)
{
	if (c->told)
		return;
	c->w->facts.changed++;
	log_step(c->w->log, "%s: changed while it was read",
	    str_q(c->w->path.p));
}

/* All was read: is it still what was announced? */
static void
check(struct wcontent *c)
{
	const struct stat *st = &c->it->st;
	struct stat now;

	if (c->checked)
		return;
	c->checked = true;
	if (c->it->data != NULL) {
		if (c->it->read_why != 0 || c->it->shrunk)
			tell(c, c->it->read_why);
		else if (c->it->changed)
			changed(c);
		return;
	}
	if (fstat(c->it->fd, &now) == -1)
		return;
	if (now.st_size < st->st_size)
		tell(c, 0);
	else if (now.st_size != st->st_size ||
	    when_cmp(now.st_mtim, st->st_mtim) != 0 ||
	    when_cmp(now.st_ctim, st->st_ctim) != 0)
		changed(c);
}

/* How many of n bytes at pos lie in one piece?  *hole says in what. */
static size_t
piece(struct wcontent *c, uint64_t pos, size_t n, bool *hole)
{
	const struct entry *en = &c->w->en;
	const struct extent *x;
	uint64_t left;

	*hole = false;
	if (!en->sparse)
		return n;
	while (c->ext < en->nextents &&
	    en->extents[c->ext].off + en->extents[c->ext].len <= pos)
		c->ext++;
	x = en->extents + c->ext;
	if (c->ext == en->nextents)
		left = en->size - pos;
	else if (pos < x->off)
		left = x->off - pos;
	else
		left = x->off + x->len - pos;
	*hole = c->ext == en->nextents || pos < x->off;
	return left < n ? (size_t)left : n;
}

/* What was not in the page cache before shall not push out what was. */
static void
drop_behind(struct wcontent *c, uint64_t to, uint64_t least)
{
	if (!c->it->cold || c->w->how.keep_cache || c->it->fd == -1 ||
	    to < c->dropped || to - c->dropped < least)
		return;
	posix_fadvise(c->it->fd, (off_t)c->dropped,
	    (off_t)(to - c->dropped), POSIX_FADV_DONTNEED);
	/* A page only half read now is dropped next time. */
	c->dropped = to & ~(uint64_t)4095;
}

static ssize_t
read_large(struct wcontent *c, void *p, size_t n)
{
	ssize_t got;

	while ((got = pread(c->it->fd, p, n, (off_t)c->c.pos)) == -1 &&
	    errno == EINTR)
		;
	if (got > 0) {
		drop_behind(c, c->c.pos + (uint64_t)got, DROP_STEP);
		return got;
	}
	tell(c, got == 0 ? 0 : errno);
	memset(p, 0, n);
	return (ssize_t)n;
}

/* A known file is read nevertheless.  0, or an errno. */
static int
open_late(struct wcontent *c)
{
	struct item *it = c->it;
	struct stat now;

	if ((it->fd = walk_openat(c->dir->fd, it->name, 0)) == -1)
		return errno;
	if (fstat(it->fd, &now) == 0 && now.st_dev == it->st.st_dev &&
	    now.st_ino == it->st.st_ino)
		return 0;
	close(it->fd);
	it->fd = -1;
	return ESTALE;
}

static ssize_t
wcontent_read(struct content *base, void *p, size_t n, struct err *e)
{
	struct wcontent *c = (struct wcontent *)base;
	ssize_t got;
	bool hole;

	int why;

	if (stop_check(e) == -1)
		return -1;
	if (c->it->known && c->it->fd == -1 && !c->told &&
	    (why = open_late(c)) != 0)
		tell(c, why);
	if (c->it->data != NULL) {
		memcpy(p, c->it->data + base->pos, n);
		got = (ssize_t)n;
	} else {
		n = piece(c, base->pos, n, &hole);
		if (hole || c->told) {
			memset(p, 0, n);
			got = (ssize_t)n;
		} else {
			if (rate_take(c->w->rate, n, e) == -1)
				return -1;
			got = read_large(c, p, n);
		}
	}
	if (base->pos + (uint64_t)got == base->size)
		check(c);
	return got;
}

static int
wcontent_skip(struct content *base, uint64_t n, struct err *e)
{
	(void)e;
	if (base->pos + n == base->size)
		check((struct wcontent *)base);
	return 0;
}

static int
wcontent_reopen(struct content *base, struct err *e)
{
	(void)e;
	((struct wcontent *)base)->ext = 0;
	((struct wcontent *)base)->dropped = 0;
	return 0;
}

static const struct content_ops wcontent_ops = {
	wcontent_read, wcontent_skip, wcontent_reopen
};

int
fs_content_clone(struct content *base, int fd)
{
	struct wcontent *c = (struct wcontent *)base;
	struct stat st;

	if (base == NULL || base->ops != &wcontent_ops || base->pos != 0 ||
	    c->it->fd == -1)
		return 1;
	if (ioctl(fd, FICLONE, c->it->fd) == -1)
		return errno == EXDEV || errno == EOPNOTSUPP ||
		    errno == ENOTTY ? -1 : 1;
	/* It may have grown or shrunk since it was announced. */
	if (fstat(fd, &st) == -1 || (uint64_t)st.st_size != base->size)
		return ftruncate(fd, 0) == -1 ? -1 : 1;
	base->pos = base->size;
	check(c);
	return 0;
}

void
wcontent_begin(struct walk *w, const struct wdir *dir, struct item *it)
{
	struct wcontent *c = &w->content;

	memset(c, 0, sizeof(*c));
	c->c.ops = &wcontent_ops;
	c->c.size = (uint64_t)it->st.st_size;
	c->w = w;
	c->dir = dir;
	c->it = it;
}

void
wcontent_end(struct walk *w)
{
	struct wcontent *c = &w->content;

	if (c->it != NULL)
		drop_behind(c, c->c.size, 1);
	c->it = NULL;
}
