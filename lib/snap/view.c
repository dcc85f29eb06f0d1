#include "snap/view.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/str.h"
#include "entry/match.h"
#include "fs/extract.h"
#include "fs/fs.h"

/* What the rules say of a path, its directories included. */
static enum match_verdict
verdict(const struct match *m, const char *path, bool is_dir)
{
	enum match_verdict v = MATCH_KEEP;
	const char *slash = path;
	struct buf part;

	if (m == NULL || *path == '\0')
		return MATCH_KEEP;
	buf_init(&part, ENTRY_PATH_MAX);
	while (v != MATCH_DROP && (slash = strchr(slash, '/')) != NULL) {
		buf_reset(&part);
		buf_add(&part, path, (size_t)(slash - path));
		v = part.failed ? MATCH_DROP : match_path(m, part.p, true);
		slash++;
	}
	buf_fini(&part);
	return v == MATCH_DROP ? v : match_path(m, path, is_dir);
}

static int
absent(const char *path, struct err *e)
{
	return err_set(e, CALA_NOTFOUND, "%s: not in the backup", str_q(path));
}

/* What is stored can't be read: that is damage. */
static int
bad(const char *path, struct err *e)
{
	int sys = errno;

	err_sys(e, "%s", str_q(path));
	if (sys == EIO || sys == EUCLEAN)
		e->code = CALA_INTEGRITY;
	else if (sys == ELOOP || sys == ENOTDIR || sys == ENXIO)
		e->code = CALA_NOTFOUND;
	return -1;
}

/* ---- the reader ---- */

struct sight {
	struct reader r;
	int dirfd;
	struct fs_walk walk;
	const char *const *paths;
	size_t n, at;
	struct reader *in;
	struct log *log;
	struct log own;         /* where the walk's warnings go: damage */
	uint64_t excluded;
	bool no_openat2;
};

static const char *const whole[] = { "" };

/* Is the i-th path another one's, or below it? */
static bool
covered(const struct sight *s, size_t i)
{
	size_t k;

	for (k = 0; k < s->n; k++)
		if (k != i && entry_below(s->paths[i], s->paths[k]) &&
		    (k < i || strcmp(s->paths[i], s->paths[k]) != 0))
			return true;
	return false;
}

/*
 * The next path's reader.  A directory on the way may be a symbolic link that
 * leads out of the snapshot: none is followed.
 */
static int
enter(struct sight *s, const char *path, struct err *e)
{
	const char *name = entry_name(path);
	int fd = s->dirfd;
	struct stat st;
	char *dir;

	s->walk.prefix = *path == '\0' ? NULL : path;
	if (*path == '\0') {
		name = ".";
	} else {
		dir = str_ndup(path, name > path ? (size_t)(name - path) - 1 :
		    0);
		if (dir == NULL)
			return err_oom(e);
		fd = fs_beneath(s->dirfd, dir, O_RDONLY | O_DIRECTORY,
		    &s->no_openat2);
		free(dir);
		if (fd == -1)
			return bad(path, e);
		if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
		    verdict(s->walk.match, path, S_ISDIR(st.st_mode)) ==
		    MATCH_DROP) {
			close(fd);
			return absent(path, e);
		}
	}
	s->in = fs_reader(fd, name, &s->walk, &s->own, e);
	if (fd != s->dirfd)
		close(fd);
	return s->in == NULL ? -1 : 0;
}

static int
sight_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	struct sight *s = (struct sight *)r;
	struct fs_walked facts;
	int got;

	for (;;) {
		if (s->in == NULL) {
			while (s->at < s->n && covered(s, s->at))
				s->at++;
			if (s->at == s->n)
				break;
			if (enter(s, s->paths[s->at++], e) == -1)
				return -1;
		}
		if ((got = reader_next(s->in, en, c, e)) != 0)
			return got;
		fs_reader_facts(s->in, &facts);
		s->excluded += facts.excluded;
		reader_close(s->in);
		s->in = NULL;
	}
	if (log_warnings(&s->own) == 0)
		return 0;
	return err_set(e, CALA_INTEGRITY, "%" PRIu64 " entries of the snapshot "
	    "can't be read: it is damaged", log_warnings(&s->own));
}

static void
sight_close(struct reader *r)
{
	struct sight *s = (struct sight *)r;

	reader_close(s->in);
	log_fini(&s->own);
	free(s);
}

static const struct reader_ops sight_ops = { sight_next, sight_close };

struct reader *
view_reader(int dirfd, const char *const *paths, size_t n,
    const struct view_how *how, struct log *log, struct err *e)
{
	struct sight *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		err_oom(e);
		return NULL;
	}
	s->r.ops = &sight_ops;
	s->r.can = READER_ORDERED | READER_REOPEN | READER_HOLES;
	s->dirfd = dirfd;
	s->paths = n == 0 ? whole : paths;
	s->n = n == 0 ? 1 : n;
	s->log = log;
	log_init(&s->own, log->out, log->prog);
	s->own.level = log->level;
	s->own.journal = log->journal;
	s->walk.match = how->match;
	s->walk.match_prefix = true;
	s->walk.bare = how->bare;
	s->walk.xattrs = !how->bare;
	s->walk.limit_read = how->limit_read;
	s->walk.jobs = how->jobs;
	return &s->r;
}

int
view_count(int dirfd, const struct view_how *how, struct log *log,
    struct view_counted *out, struct err *e)
{
	struct view_how bare = *how;
	struct reader *r;
	const struct entry *en;
	struct content *c;
	int got;

	memset(out, 0, sizeof(*out));
	bare.bare = true;
	if ((r = view_reader(dirfd, NULL, 0, &bare, log, e)) == NULL)
		return -1;
	while ((got = reader_next(r, &en, &c, e)) == 1) {
		if (stop_check(e) == -1) {
			got = -1;
			break;
		}
		if (*en->path == '\0')
			continue;
		out->entries++;
		out->files += en->type != ENTRY_DIR;
		out->bytes += en->size;
	}
	out->excluded = ((struct sight *)r)->excluded;
	reader_close(r);
	return got;
}

/* ---- the tree ---- */

/* The bytes of one open file. */
struct piece {
	struct content c;
	int fd;
	uint64_t off;
	const char *path;
};

struct view {
	struct tree t;
	int dirfd;
	struct view_how how;
	struct log *log;
	bool no_openat2;
	struct buf path, target;
	struct piece piece;
};

static ssize_t
piece_read(struct content *c, void *p, size_t n, struct err *e)
{
	struct piece *s = (struct piece *)c;
	ssize_t got;

	if (stop_check(e) == -1)
		return -1;
	while ((got = pread(s->fd, p, n, (off_t)(s->off + c->pos))) == -1 &&
	    errno == EINTR)
		;
	if (got == -1)
		return bad("read", e);
	if (got == 0)
		return err_set(e, CALA_INTEGRITY, "the file ends early");
	return got;
}

static int
piece_skip(struct content *c, uint64_t n, struct err *e)
{
	(void)c;
	(void)n;
	(void)e;
	return 0;
}

static const struct content_ops piece_ops = { piece_read, piece_skip, NULL };

/* Fill en from name below dirfd; path is what it is called. */
static int
look(struct view *v, int fd, const char *path, struct entry *en,
    struct err *e)
{
	struct stat st;
	ssize_t n;
	char *p;

	if (fstat(fd, &st) == -1)
		return bad(path, e);
	memset(en, 0, sizeof(*en));
	en->type = S_ISREG(st.st_mode) ? ENTRY_FILE :
	    S_ISDIR(st.st_mode) ? ENTRY_DIR :
	    S_ISLNK(st.st_mode) ? ENTRY_SYMLINK :
	    S_ISFIFO(st.st_mode) ? ENTRY_FIFO :
	    S_ISCHR(st.st_mode) ? ENTRY_CHAR :
	    S_ISBLK(st.st_mode) ? ENTRY_BLOCK : ENTRY_SOCKET;
	en->path = path;
	en->size = en->type == ENTRY_FILE ? (uint64_t)st.st_size : 0;
	en->mtime = st.st_mtim;
	en->ctime = st.st_ctim;
	en->mode = st.st_mode & 07777;
	en->uid = st.st_uid;
	en->gid = st.st_gid;
	en->uname = en->gname = "";
	en->dev = st.st_dev;
	en->ino = st.st_ino;
	en->nlink = st.st_nlink;
	if (en->type == ENTRY_CHAR || en->type == ENTRY_BLOCK) {
		en->rdev_major = major(st.st_rdev);
		en->rdev_minor = minor(st.st_rdev);
	}
	if (en->type != ENTRY_SYMLINK)
		return 0;
	buf_reset(&v->target);
	if ((p = buf_room(&v->target, ENTRY_PATH_MAX - 1)) == NULL)
		return err_oom(e);
	if ((n = readlinkat(fd, "", p, ENTRY_PATH_MAX - 1)) == -1)
		return bad(path, e);
	buf_grown(&v->target, (size_t)n);
	en->target = v->target.p;
	return 0;
}

static int
view_stat(struct tree *t, const char *path, struct entry *en, struct err *e)
{
	struct view *v = (struct view *)t;
	int fd, ret;

	buf_reset(&v->path);
	if (buf_str(&v->path, path) == -1)
		return buf_failed(&v->path, e);
	fd = fs_beneath(v->dirfd, v->path.p, O_PATH | O_NOFOLLOW,
	    &v->no_openat2);
	if (fd == -1)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ?
		    absent(path, e) : bad(path, e);
	ret = look(v, fd, v->path.p, en, e);
	close(fd);
	if (ret == 0 && (en->type == ENTRY_SOCKET || verdict(v->how.match,
	    path, en->type == ENTRY_DIR) == MATCH_DROP))
		return absent(path, e);
	return ret;
}

static int
by_name(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x, *y);
}

static void
names_free(char **v, size_t n)
{
	while (n > 0)
		free(v[--n]);
	free(v);
}

/* All names of a directory, sorted; takes fd. */
static int
names_of(int fd, char ***out, size_t *count, struct err *e)
{
	const struct dirent *d;
	char **v = NULL, **more;
	size_t n = 0, room = 0;
	int ret = -1;
	DIR *dp;

	if ((dp = fdopendir(fd)) == NULL) {
		close(fd);
		return err_sys(e, "read a directory");
	}
	for (;;) {
		errno = 0;
		if ((d = readdir(dp)) == NULL)
			break;
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
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
		bad("read a directory", e);
		goto out;
	}
	if (n > 1)
		qsort(v, n, sizeof(*v), by_name);
	*out = v;
	*count = n;
	v = NULL;
	n = 0;
	ret = 0;
out:
	names_free(v, n);
	closedir(dp);
	return ret;
}

/* 0 to go on, as fn wants otherwise. */
static int
list_one(struct view *v, int fd, const char *path, const char *name,
    tree_fn *fn, void *arg, struct err *e)
{
	struct entry en;
	int one, ret;

	buf_reset(&v->path);
	if (*path != '\0')
		buf_printf(&v->path, "%s/", path);
	if (buf_str(&v->path, name) == -1)
		return buf_failed(&v->path, e);
	one = openat(fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (one == -1)
		return bad(v->path.p, e);
	ret = look(v, one, v->path.p, &en, e);
	close(one);
	if (ret == -1)
		return -1;
	/*
	 * A directory that is only passed on the way to what is kept is shown,
	 * so that the way can be seen.
	 */
	if (en.type == ENTRY_SOCKET || verdict(v->how.match, v->path.p,
	    en.type == ENTRY_DIR) == MATCH_DROP)
		return 0;
	return fn(arg, &en, e);
}

static int
view_list(struct tree *t, const char *path, tree_fn *fn, void *arg,
    struct err *e)
{
	struct view *v = (struct view *)t;
	char **names = NULL;
	size_t n = 0, i;
	int fd, again, ret = -1;

	if (verdict(v->how.match, path, true) == MATCH_DROP)
		return absent(path, e);
	fd = fs_beneath(v->dirfd, path, O_RDONLY | O_DIRECTORY,
	    &v->no_openat2);
	if (fd == -1)
		return errno == ENOENT ? absent(path, e) : bad(path, e);
	again = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (again == -1) {
		err_sys(e, "%s", str_q(path));
		goto out;
	}
	if (names_of(again, &names, &n, e) == -1)
		goto out;
	ret = 0;
	for (i = 0; ret == 0 && i < n; i++)
		ret = list_one(v, fd, path, names[i], fn, arg, e);
	if (ret > 0)
		ret = 0;
out:
	names_free(names, n);
	close(fd);
	return ret;
}

static struct content *
view_content(struct tree *t, const char *path, uint64_t off, uint64_t len,
    struct err *e)
{
	struct view *v = (struct view *)t;
	struct piece *p = &v->piece;
	struct stat st;
	uint64_t size;

	if (p->fd != -1)
		close(p->fd);
	p->fd = -1;
	if (verdict(v->how.match, path, false) != MATCH_KEEP) {
		absent(path, e);
		return NULL;
	}
	/* What it is comes first: opening a device or a FIFO acts on it. */
	p->fd = fs_beneath(v->dirfd, path, O_PATH | O_NOFOLLOW,
	    &v->no_openat2);
	if (p->fd == -1 || fstat(p->fd, &st) == -1) {
		bad(path, e);
		return NULL;
	}
	if (!S_ISREG(st.st_mode)) {
		err_set(e, CALA_USAGE, "%s: not a regular file", str_q(path));
		return NULL;
	}
	close(p->fd);
	p->fd = fs_beneath(v->dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK,
	    &v->no_openat2);
	if (p->fd == -1 || fstat(p->fd, &st) == -1) {
		bad(path, e);
		return NULL;
	}
	size = (uint64_t)st.st_size;
	p->off = off < size ? off : size;
	memset(&p->c, 0, sizeof(p->c));
	p->c.ops = &piece_ops;
	p->c.size = len < size - p->off ? len : size - p->off;
	return &p->c;
}

static struct reader *
view_read(struct tree *t, const char *const *paths, size_t n, struct err *e)
{
	struct view *v = (struct view *)t;

	return view_reader(v->dirfd, paths, n, &v->how, v->log, e);
}

static void
view_close(struct tree *t)
{
	struct view *v = (struct view *)t;

	if (v->piece.fd != -1)
		close(v->piece.fd);
	buf_fini(&v->path);
	buf_fini(&v->target);
	free(v);
}

static const struct tree_ops view_ops = {
	view_list, view_stat, view_content, view_read, view_close
};

struct tree *
view_open(int dirfd, const struct view_how *how, struct log *log,
    struct err *e)
{
	struct view *v = calloc(1, sizeof(*v));

	if (v == NULL) {
		err_oom(e);
		return NULL;
	}
	v->t.ops = &view_ops;
	v->dirfd = dirfd;
	v->how = *how;
	v->log = log;
	v->piece.fd = -1;
	buf_init(&v->path, 2 * ENTRY_PATH_MAX);
	buf_init(&v->target, ENTRY_PATH_MAX);
	return &v->t;
}
