#include "ddup/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/str.h"
#include "ddup/care.h"
#include "ddup/stream.h"

enum { REST = 60, NAME = REST + 6 };

/* A lower-case copy: Rust's rebuild takes either case. */
static bool
hash_of(const char *a, const char *b, const char *file, unsigned char *hash)
{
	return strlen(file) == NAME && strcmp(file + REST, ".chunk") == 0 &&
	    hex_get(a, 1, hash) == 0 && hex_get(b, 1, hash + 1) == 0 &&
	    hex_get(file, DDUP_HASH - 2, hash + 2) == 0;
}

static bool
two_digits(const char *s)
{
	return strlen(s) == 2 && strspn(s, "0123456789abcdef") == 2;
}

static DIR *
open_dir(int at, const char *name, struct err *e)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);
	DIR *dp = fd == -1 ? NULL : fdopendir(fd);

	if (dp == NULL)
		err_sys(e, "read %s", str_q(name));
	if (dp == NULL && fd != -1)
		close(fd);
	return dp;
}

/*
 * The folders of chunks are up to 65,536, most of them with a file or two: what
 * readdir asks besides their names costs more than these, and so does writing
 * down that they were read.
 */
struct names {
	int fd;
	ssize_t n, at;
	_Alignas(struct dirent64) char buf[8192];
};

static int
names_open(struct names *l, int at, const char *name, struct err *e)
{
	static const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC;

	l->n = l->at = 0;
	l->fd = openat(at, name, flags | O_NOATIME);
	if (l->fd == -1 && errno == EPERM)
		l->fd = openat(at, name, flags);
	if (l->fd != -1)
		return 0;
	if (errno == ENOTDIR || errno == ELOOP)
		return err_set(e, CALA_INTEGRITY, "%s is in the place of a "
		    "directory", str_q(name));
	return err_sys(e, "read %s", str_q(name));
}

/* 1, 0 at the end, -1. */
static int
names_next(struct names *l, const struct dirent64 **d, struct err *e)
{
	if (l->at >= l->n) {
		l->n = getdents64(l->fd, l->buf, sizeof(l->buf));
		l->at = 0;
		/* ENOENT: it went with the last file that fn removed. */
		if (l->n == 0 || (l->n == -1 && errno == ENOENT))
			return 0;
		if (l->n == -1)
			return err_sys(e, "read the chunks");
	}
	*d = (const void *)(l->buf + l->at);
	l->at += (*d)->d_reclen;
	return 1;
}

typedef int chunk_fn(void *, const struct chunk_file *, struct err *);

int
chunk_stat(const struct chunk_file *f, struct stat *st, struct err *e)
{
	if (fstatat(f->at, f->name, st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : err_sys(e, "%s", str_q(f->path));
}

/* Is it a regular file?  1, 0, -1. */
static int
regular(const struct chunk_file *f, unsigned char type, struct err *e)
{
	struct stat st;
	int got;

	if (type != DT_UNKNOWN)
		return type == DT_REG;
	got = chunk_stat(f, &st, e);
	return got == 1 ? S_ISREG(st.st_mode) : got;
}

static int
leaf(int at, const char *a, const char *b, chunk_fn *fn, void *arg,
    struct err *e)
{
	char path[6 + 256];
	const struct dirent64 *d = NULL;
	struct chunk_file f;
	struct names l;
	int more, ret = 0;

	if (names_open(&l, at, b, e) == -1)
		return -1;
	f.at = l.fd;
	f.path = path;
	while (ret == 0 && (more = names_next(&l, &d, e)) != 0) {
		if (more == -1) {
			ret = -1;
			break;
		}
		f.chunk = hash_of(a, b, d->d_name, f.hash);
		f.temp = strstr(d->d_name, ".tmp") != NULL;
		if (!f.chunk && !f.temp)
			continue;
		snprintf(path, sizeof(path), "%s/%s/%s", a, b, d->d_name);
		f.name = d->d_name;
		if ((ret = regular(&f, d->d_type, e)) == 1)
			ret = fn(arg, &f, e);
	}
	close(l.fd);
	return ret;
}

/* What is in the folder name: chunks/ itself, or a, one of its folders. */
static int
branch(int at, const char *name, const char *a, chunk_fn *fn, void *arg,
    struct err *e)
{
	const struct dirent64 *d = NULL;
	struct names l;
	int more, ret = 0;

	if (names_open(&l, at, name, e) == -1)
		return -1;
	while (ret == 0 && (more = names_next(&l, &d, e)) != 0)
		if (more == -1)
			ret = -1;
		else if (two_digits(d->d_name))
			ret = a == NULL ? branch(l.fd, d->d_name, d->d_name,
			    fn, arg, e) : leaf(l.fd, a, d->d_name, fn, arg, e);
	close(l.fd);
	return ret;
}

int
each_chunk(struct ddup *r, chunk_fn *fn, void *arg, struct err *e)
{
	return branch(r->chunks, ".", NULL, fn, arg, e);
}

static int
ids(struct archive *a, struct dstream *s, const struct abody *b,
    int (*fn)(void *, uint64_t, struct err *), void *arg, struct err *e)
{
	uint64_t id;
	int more;

	if (b->size == 0)
		return 0;
	if (dstream_set(s, b->off, b->stored, b->code, b->size, e) == -1)
		return -1;
	while ((more = dstream_more(s, e)) == 1) {
		if (dstream_varint(s, &id, e) == -1)
			return -1;
		if (id == 0)
			return err_set(e, CALA_INTEGRITY, "%s: a chunk has "
			    "the id 0", str_q(a->name));
		if (fn(arg, id, e) == -1)
			return -1;
	}
	return more;
}

int
each_id(struct archive *a, int (*fn)(void *, uint64_t, struct err *),
    int (*ent)(void *, const struct aent *, struct err *), void *arg,
    struct err *e)
{
	struct acursor *c = acursor_new(a, e);
	struct dstream *s = dstream_new(a->fd, a->name, e);
	struct aent x;
	int got = -1;

	if (c != NULL && s != NULL)
		while ((got = acursor_next(c, &x, e)) == 1)
			if ((ent != NULL && ent(arg, &x, e) == -1) ||
			    (x.en.type == ENTRY_FILE &&
			    ids(a, s, &x.body, fn, arg, e) == -1)) {
				got = -1;
				break;
			}
	dstream_free(s);
	acursor_free(c);
	return got;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int
care_archives(struct ddup *r, int (*fn)(void *, const char *, struct err *),
    void *arg, struct err *e)
{
	DIR *dp = open_dir(r->archives, ".", e);
	char **v = NULL, **more;
	size_t n = 0, room = 0, i, len;
	struct dirent *d;
	int ret = -1;

	if (dp == NULL)
		return -1;
	while ((errno = 0, d = readdir(dp)) != NULL) {
		len = strlen(d->d_name);
		if (len <= 5 || strcmp(d->d_name + len - 5, ".ddup") != 0)
			continue;
		d->d_name[len - 5] = '\0';
		if (n == room) {
			room = room == 0 ? 64 : 2 * room;
			if ((more = reallocarray(v, room, sizeof(*v))) == NULL) {
				err_oom(e);
				goto out;
			}
			v = more;
		}
		if ((v[n] = strdup(d->d_name)) == NULL) {
			err_oom(e);
			goto out;
		}
		n++;
	}
	if (errno != 0) {
		err_sys(e, "read the directory of archives");
		goto out;
	}
	if (n > 0)
		qsort(v, n, sizeof(*v), by_name);
	ret = 0;
	for (i = 0; i < n && ret == 0; i++)
		ret = fn(arg, v[i], e);
out:
	for (i = 0; i < n; i++)
		free(v[i]);
	free(v);
	closedir(dp);
	return ret;
}

int
care_empty(int at, const char *suffix, struct err *e)
{
	DIR *dp = open_dir(at, ".", e);
	struct dirent *d;
	int empty = 1;

	if (dp == NULL)
		return -1;
	while (empty == 1 && (errno = 0, d = readdir(dp)) != NULL)
		if (suffix != NULL ? str_ends(d->d_name, suffix) :
		    two_digits(d->d_name))
			empty = 0;
	if (empty == 1 && errno != 0)
		empty = err_sys(e, "read the repository");
	closedir(dp);
	return empty;
}
