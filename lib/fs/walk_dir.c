/*
 * Directories of a walk: opening, listing, finding again.
 */

#include "fs/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "entry/match.h"
#include "fs/extract.h"
#include "fs/attrs.h"

enum { CHUNK_FIRST = 1 << 10, CHUNK_MAX = 256 << 10, DENTS = 32 << 10 };

struct chunk {
	struct chunk *next;
	size_t used, room;
	char p[];
};

struct wdir *
dir_new(struct walk *w, struct wdir *parent, const char *name)
{
	size_t n = strlen(name);
	struct wdir *d = calloc(1, sizeof(*d) + n + 1);

	if (d == NULL)
		return NULL;
	d->w = w;
	d->parent = parent;
	d->fd = -1;
	d->emit = true;
	d->refs = 1;
	memcpy(d->name, name, n);
	if (parent != NULL) {
		parent->refs++;
		d->depth = parent->depth + 1;
		d->plen = parent->plen + (parent->plen > 0) + n;
	}
	d->job.run = dir_load;
	return d;
}

void
dir_free(struct wdir *d)
{
	struct chunk *c;

	while ((c = d->chunks) != NULL) {
		d->chunks = c->next;
		free(c);
	}
	free(d->names);
	free(d->xattrs);
	if (d->fd != -1)
		close(d->fd);
	free(d);
}

int
dir_path(const struct wdir *d, struct buf *b)
{
	size_t end = b->len + d->plen, n;
	char *p;

	/* From the end, because only parents are known. */
	if (buf_room(b, d->plen) == NULL)
		return -1;
	buf_grown(b, d->plen);
	p = b->p + end;
	for (; d->parent != NULL; d = d->parent) {
		n = strlen(d->name);
		p -= n;
		memcpy(p, d->name, n);
		if (d->parent->parent != NULL)
			*--p = '/';
	}
	return 0;
}

int
dir_add_name(struct wdir *d, char kind, const char *name)
{
	size_t n = strlen(name) + 2, room;
	struct chunk *c = d->chunks;
	char **v;

	if (d->nnames == d->room) {
		room = d->room == 0 ? 16 : d->room * 2;
		if ((v = reallocarray(d->names, room, sizeof(*v))) == NULL)
			return -1;
		d->names = v;
		d->room = room;
	}
	if (c == NULL || n > c->room - c->used) {
		room = c == NULL ? CHUNK_FIRST :
		    c->room < CHUNK_MAX ? c->room * 4 : CHUNK_MAX;
		if (room < n)
			room = n;
		if ((c = malloc(sizeof(*c) + room)) == NULL)
			return -1;
		c->next = d->chunks;
		c->used = 0;
		c->room = room;
		d->chunks = c;
	}
	c->p[c->used] = kind;
	memcpy(c->p + c->used + 1, name, n - 1);
	d->names[d->nnames++] = c->p + c->used;
	c->used += n;
	return 0;
}

static char
kind_of_mode(mode_t m)
{
	return S_ISREG(m) ? ENTRY_FILE : S_ISDIR(m) ? ENTRY_DIR :
	    S_ISLNK(m) ? ENTRY_SYMLINK : S_ISFIFO(m) ? ENTRY_FIFO :
	    S_ISCHR(m) ? ENTRY_CHAR : S_ISBLK(m) ? ENTRY_BLOCK : ENTRY_SOCKET;
}

static char
kind_of_dent(int fd, const struct dirent64 *de)
{
	struct stat st;

	switch (de->d_type) {
	case DT_REG: return ENTRY_FILE;
	case DT_DIR: return ENTRY_DIR;
	case DT_LNK: return ENTRY_SYMLINK;
	case DT_FIFO: return ENTRY_FIFO;
	case DT_CHR: return ENTRY_CHAR;
	case DT_BLK: return ENTRY_BLOCK;
	case DT_SOCK: return ENTRY_SOCKET;
	default: break;
	}
	/* Some file systems don't say.  What has gone by now, loading reports. */
	if (fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return ENTRY_FILE;
	return kind_of_mode(st.st_mode);
}

static int
name_cmp(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x + 1, *y + 1);  /* compares as unsigned char */
}

/* Ours, from a restore or backup under way: never part of a backup. */
static bool
ours(const struct wdir *d, const char *name)
{
	if (strncmp(name, ".cala", 5) != 0)
		return false;
	return fs_leftover(name) || (d->parent == NULL &&
	    (strncmp(name, ".cala-restore-", 14) == 0 ||
	    strncmp(name, ".cala-old-", 10) == 0));
}

/* Take one name, or leave it out by the rules.  -1 with errno. */
static int
take(struct wdir *d, char kind, const char *name, struct buf *path,
    size_t base)
{
	const struct match *m = d->w->how.match;

	if (m != NULL) {
		buf_cut(path, base);
		if (buf_str(path, name) == -1) {
			errno = ENOMEM;
			return -1;
		}
		switch (match_path(m, path->p, kind == ENTRY_DIR)) {
		case MATCH_KEEP:
			break;
		case MATCH_DROP:
			d->excluded++;
			return 0;
		case MATCH_DESCEND:
			d->excluded++;
			kind = DIR_ONLY_BELOW;
			break;
		}
	}
	if (dir_add_name(d, kind, name) == -1) {
		errno = ENOMEM;
		return -1;
	}
	return 0;
}

void
dir_list(struct wdir *d, size_t max)
{
	_Alignas(struct dirent64) char dents[DENTS];
	const struct dirent64 *de;
	struct buf path;
	size_t base;
	ssize_t n = 0, i;

	buf_init(&path, 2 * ENTRY_PATH_MAX);
	if (d->w->how.match_prefix && d->w->prefix[0] != '\0' &&
	    (buf_str(&path, d->w->prefix) == -1 ||
	    (d->parent != NULL && buf_chr(&path, '/') == -1))) {
		d->list_why = ENOMEM;
		goto out;
	}
	if (d->w->how.match != NULL && (dir_path(d, &path) == -1 ||
	    (path.len > 0 && buf_chr(&path, '/') == -1))) {
		d->list_why = ENOMEM;
		goto out;
	}
	base = path.len;
	while (d->nnames < max) {
		if ((n = getdents64(d->fd, dents, sizeof(dents))) <= 0)
			break;
		for (i = 0; i < n; i += de->d_reclen) {
			de = (const void *)(dents + i);
			if (strcmp(de->d_name, ".") == 0 ||
			    strcmp(de->d_name, "..") == 0 ||
			    ours(d, de->d_name))
				continue;
			if (take(d, kind_of_dent(d->fd, de), de->d_name, &path,
			    base) == -1) {
				n = -1;
				break;
			}
		}
		if (n == -1)
			break;
	}
	if (n > 0)
		goto out;       /* more to come */
	if (n == -1)
		d->list_why = errno;
	d->whole = true;
	if (d->nnames > 1)
		qsort(d->names, d->nnames, sizeof(*d->names), name_cmp);
out:
	if (d->list_why != 0)
		d->whole = true;
	buf_fini(&path);
}

void
dir_load(struct job *j)
{
	struct wdir *d = (void *)((char *)j - offsetof(struct wdir, job));
	struct walk *w = d->w;

	/* The root was opened and looked at by fs_reader. */
	if (d->parent != NULL) {
		d->fd = walk_openat(d->parent->fd, d->name, O_DIRECTORY);
		if (d->fd == -1) {
			d->why = errno;
			d->have_st = fstatat(d->parent->fd, d->name, &d->st,
			    AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(d->st.st_mode);
			d->whole = true;
			return;
		}
		if (fstat(d->fd, &d->st) == -1) {
			d->why = errno;
			d->whole = true;
			return;
		}
		d->have_st = true;
	}
	if (w->how.xattrs && d->emit)
		d->xattrs = walk_xattrs(d->fd, false, &d->xattr_why);
	if (w->how.attrs && d->emit)
		attrs_get(d->fd, &d->attrs, &d->projid);
	if (w->how.one_file_system && d->st.st_dev != w->dev) {
		d->mount = true;
		d->whole = true;
		return;
	}
	/* What would be too deep is reported where it is planned. */
	dir_list(d, NAMES_AHEAD);
}

static bool
same(int fd, const struct stat *st)
{
	struct stat now;

	return fstat(fd, &now) == 0 && now.st_dev == st->st_dev &&
	    now.st_ino == st->st_ino;
}

int
dir_reopen(struct wdir *d, const struct wdir *child)
{
	const struct wdir *up;
	unsigned i;
	int fd = -1, next;

	if (child != NULL && child->fd != -1)
		fd = openat(child->fd, "..", O_RDONLY | O_DIRECTORY |
		    O_NOFOLLOW | O_CLOEXEC);
	if (fd != -1 && same(fd, &d->st)) {
		d->fd = fd;
		return 0;
	}
	/* A directory on the way was moved, or may not be searched. */
	if (fd != -1)
		close(fd);
	if ((fd = fcntl(d->w->root->fd, F_DUPFD_CLOEXEC, 0)) == -1)
		return -1;
	for (i = 1; i <= d->depth; i++) {
		for (up = d; up->depth > i; up = up->parent)
			;
		next = openat(fd, up->name, O_RDONLY | O_DIRECTORY |
		    O_NOFOLLOW | O_CLOEXEC);
		close(fd);
		if ((fd = next) == -1)
			return -1;
	}
	if (!same(fd, &d->st)) {
		close(fd);
		errno = ESTALE;
		return -1;
	}
	d->fd = fd;
	return 0;
}
