#include "config/write.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

#define JOURNAL ".cala-config.journal"

enum { JOURNAL_MAX = 1 << 20 };

/* A file that is whole under a temporary name. */
struct fresh {
	struct conf_file *f;
	struct afile a;
	char *dir;
	mode_t mode;
	int dirfd, lock;
	bool old;               /* it replaces one */
};

char *
write_folder(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		return strdup(".");
	return slash == path ? strdup("/") :
	    strndup(path, (size_t)(slash - path));
}

/* Another editor may have come from another side, or know no lock of ours. */
static int
unchanged(const struct fresh *w, struct err *e)
{
	const struct conf_file *f = w->f;
	struct stat a;

	if (!w->old)
		return 0;       /* new: whoever is first wins, see publish */
	if (stat(f->path, &a) == -1)
		return err_sys(e, "changed by others meanwhile");
	if (a.st_dev != f->st.st_dev || a.st_ino != f->st.st_ino ||
	    a.st_size != f->st.st_size ||
	    a.st_mtim.tv_sec != f->st.st_mtim.tv_sec ||
	    a.st_mtim.tv_nsec != f->st.st_mtim.tv_nsec)
		return err_set(e, CALA_LOCKED,
		    "changed by others meanwhile; try again");
	return 0;
}

/* Lock the folder of v[n], unless one before it has, or edit_open did. */
static int
lock(const struct edit *ed, struct fresh *v, size_t n, struct err *e)
{
	struct fresh *w = &v[n];
	struct stat a, b;
	size_t i;

	for (i = 0; i < n; i++)
		if (v[i].lock != -1 && strcmp(v[i].dir, w->dir) == 0)
			return 0;
	if (fstat(ed->lockdir, &a) == -1 || fstat(w->dirfd, &b) == -1)
		return err_sys(e, "directory");
	if (a.st_dev == b.st_dev && a.st_ino == b.st_ino)
		return 0;
	w->lock = file_lock(w->dirfd, WRITE_LOCK, "cala-config", EDIT_WAIT, e);
	return w->lock == -1 ? -1 : 0;
}

static int
fill(struct fresh *w, const char *base, struct err *e)
{
	const struct conf_file *f = w->f;

	/* What a killed run left may hold secrets. */
	afile_sweep(w->dirfd, base);
	if (afile_open(&w->a, w->dirfd, base, e) == -1)
		return -1;
	if (w->old && (f->st.st_uid != geteuid() || f->st.st_gid !=
	    getegid()) && fchown(w->a.fd, f->st.st_uid, f->st.st_gid) == -1)
		return err_sys(e, "keep its owner");
	if (file_write_all(w->a.fd, f->text.p, f->text.len) == -1 ||
	    fchmod(w->a.fd, w->mode) == -1 || fsync(w->a.fd) == -1)
		return err_sys(e, "write");
	return 0;
}

static int
prepare(const struct edit *ed, struct fresh *v, size_t n, struct conf_file *f,
    struct err *e)
{
	struct fresh *w = &v[n];
	char real[PATH_MAX];
	const char *path, *base;

	w->f = f;
	w->old = f->st.st_nlink > 0;
	w->mode = w->old ? f->st.st_mode & 07777 : 0600;
	/* A link keeps pointing at the file that it points at. */
	path = realpath(f->path, real) != NULL ? real : f->path;
	base = strrchr(path, '/');
	base = base != NULL ? base + 1 : path;
	if ((w->dir = write_folder(path)) == NULL)
		return err_oom(e);
	w->dirfd = w->old ? file_opendir(AT_FDCWD, w->dir, e) :
	    file_mkdirs(w->dir, 0755, e);
	if (w->dirfd == -1)
		return -1;
	if (lock(ed, v, n, e) == -1 || unchanged(w, e) == -1)
		return -1;
	return fill(w, base, e);
}

static void
release(struct fresh *w)
{
	afile_abort(&w->a);
	if (w->lock != -1) {
		(void)unlinkat(w->dirfd, WRITE_LOCK, 0);
		close(w->lock);
	}
	if (w->dirfd != -1)
		close(w->dirfd);
	free(w->dir);
}

static int
write_journal(const struct edit *ed, const struct fresh *v, size_t n,
    struct err *e)
{
	struct afile f = AFILE_INIT;
	struct buf b;
	struct jw j;
	size_t i;
	int ret = -1;

	buf_init(&b, JOURNAL_MAX);
	jw_begin(&j, &b);
	jw_open(&j, NULL, '{');
	jw_u64(&j, "v", 1);
	jw_open(&j, "moves", '[');
	for (i = 0; i < n; i++) {
		jw_open(&j, NULL, '{');
		jw_bytes(&j, "dir", v[i].dir, strlen(v[i].dir));
		jw_bytes(&j, "from", v[i].a.tmp, strlen(v[i].a.tmp));
		jw_bytes(&j, "to", v[i].a.name, strlen(v[i].a.name));
		jw_close(&j, '}');
	}
	jw_close(&j, ']');
	jw_close(&j, '}');
	if (buf_failed(&b, e) == 0 &&
	    afile_open(&f, ed->lockdir, JOURNAL, e) == 0) {
		if (file_write_all(f.fd, b.p, b.len) == -1)
			err_sys(e, "write");
		else
			ret = afile_commit(&f, 0600, 0, e);
	}
	afile_abort(&f);
	buf_fini(&b);
	return ret == -1 ? err_ctx(e, "journal of the edit") : 0;
}

static int
publish(struct edit *ed, struct fresh *v, size_t n, struct err *e)
{
	size_t i, k;

	for (i = 0; i < n; i++) {
		if (afile_commit(&v[i].a, v[i].mode, v[i].old ? 0 :
		    AFILE_NOREPLACE, e) == 0) {
			v[i].f->dirty = false;
			continue;
		}
		err_ctx(e, "%s", str_q(v[i].f->path));
		for (k = 0; k < i; k++)
			log_note(ed->log, "%s: was written already, the others "
			    "were not", str_q(v[k].f->path));
		return -1;
	}
	return 0;
}

int
write_files(struct edit *ed, struct err *e)
{
	struct fresh *v = calloc(ed->fs.n + 1, sizeof(*v));
	size_t i, n = 0;
	int ret = -1;

	if (v == NULL)
		return err_oom(e);
	for (i = 0; i < ed->fs.n; i++) {
		if (!ed->fs.v[i].dirty)
			continue;
		v[n].a = (struct afile)AFILE_INIT;
		v[n].dirfd = v[n].lock = -1;
		if (prepare(ed, v, n++, &ed->fs.v[i], e) == -1) {
			err_ctx(e, "%s", str_q(ed->fs.v[i].path));
			goto out;
		}
	}
	if (n > 1 && write_journal(ed, v, n, e) == -1)
		goto out;
	ret = publish(ed, v, n, e);
	if (n > 1)
		(void)unlinkat(ed->lockdir, JOURNAL, 0);
out:
	while (n > 0)
		release(&v[--n]);
	free(v);
	return ret;
}

/* ---- what was cut off ---- */

static char *
bytes_of(const json_t *o, const char *key, const char *key64)
{
	const char *text = json_get_str(o, key);
	const char *b64 = json_get_str(o, key64);
	char *out = NULL;
	struct buf b;

	if (b64 == NULL)
		return text != NULL ? strdup(text) : NULL;
	buf_init(&b, JOURNAL_MAX);
	if (b64_get(&b, b64, strlen(b64)) == 0)
		out = strdup(b.p);
	buf_fini(&b);
	return out;
}

/* One of our temporary names for to: ".TO.x.part". */
static bool
temporary(const char *from, const char *to)
{
	size_t n = strlen(to);

	return *to != '\0' && strchr(to, '/') == NULL &&
	    strchr(from, '/') == NULL && from[0] == '.' &&
	    strncmp(from + 1, to, n) == 0 && from[1 + n] == '.' &&
	    str_ends(from, ".part");
}

static int
move(const json_t *o, const struct timespec *since, struct log *log,
    struct err *e)
{
	char *dir = bytes_of(o, "dir", "dir_b64");
	char *from = bytes_of(o, "from", "from_b64");
	char *to = bytes_of(o, "to", "to_b64");
	struct stat a, b;
	int fd = -1, ret = -1;

	if (dir == NULL || from == NULL || to == NULL ||
	    !temporary(from, to)) {
		err_set(e, CALA_INTEGRITY, "journal of an edit: malformed");
		goto out;
	}
	if ((fd = file_opendir(AT_FDCWD, dir, e)) == -1) {
		/* A folder that was removed since must not block all edits. */
		if (e->code == CALA_NOTFOUND) {
			log_note(log, "%s: gone since an edit was cut off",
			    str_q(dir));
			err_clear(e);
			ret = 0;
		}
		goto out;
	}
	ret = 0;
	if (fstatat(fd, from, &a, AT_SYMLINK_NOFOLLOW) == -1 ||
	    !S_ISREG(a.st_mode))
		goto out;       /* it has its name */
	if (fstatat(fd, to, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
	    (b.st_mtim.tv_sec > since->tv_sec ||
	    (b.st_mtim.tv_sec == since->tv_sec &&
	    b.st_mtim.tv_nsec > since->tv_nsec))) {
		log_note(log, "%s/%s: changed since an edit was cut off, and "
		    "left so", str_q(dir), str_q(to));
		(void)unlinkat(fd, from, 0);
	} else if (renameat(fd, from, fd, to) == -1 || fsync(fd) == -1) {
		ret = err_sys(e, "%s/%s", str_q(dir), str_q(to));
	}
out:
	if (fd != -1)
		close(fd);
	free(dir);
	free(from);
	free(to);
	return ret;
}

/* It names files to replace: nobody else may have written it. */
static bool
trusted(int lockdir, struct stat *st)
{
	return fstatat(lockdir, JOURNAL, st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISREG(st->st_mode) && st->st_uid == geteuid() &&
	    (st->st_mode & 077) == 0 && st->st_nlink == 1;
}

int
write_recover(int lockdir, struct log *log, struct err *e)
{
	const json_t *moves, *o;
	json_t *j = NULL;
	struct stat st;
	struct buf b;
	int ret = -1;
	size_t i;

	if (!trusted(lockdir, &st))
		return 0;
	buf_init(&b, JOURNAL_MAX);
	if (file_slurp(&b, lockdir, JOURNAL, e) == -1 ||
	    (j = json_parse(b.p, b.len, "journal of an edit", e)) == NULL)
		goto out;
	moves = json_object_get(j, "moves");
	json_array_foreach(moves, i, o)
		if (move(o, &st.st_mtim, log, e) == -1)
			goto out;
	if (unlinkat(lockdir, JOURNAL, 0) == -1) {
		err_sys(e, "remove %s", JOURNAL);
		goto out;
	}
	log_note(log, "an edit of several files that was cut off has been "
	    "finished");
	ret = 0;
out:
	json_decref(j);
	buf_fini(&b);
	return ret;
}
