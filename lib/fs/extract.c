/*
 * A directory as writer of entries.
 *
 * The caller's thread takes entries in order and owns all structures.  Small
 * files are gathered, up to a buffer full, into jobs that make, fill and name
 * them; large ones are cut into jobs that fill, and the last one names the
 * file.  Jobs in flight are bounded, so memory is slots * 256 KiB.
 *
 * Two entries may touch the same name.  What was put earlier must be in place
 * before a later entry looks there: x_drain() waits whenever a path, a link's
 * target or a missing parent could be on its way.
 */

#include "fs/extract_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/rate.h"
#include "base/stop.h"
#include "base/str.h"

int
x_trouble(struct extract *x, const struct err *e)
{
	bool ends = e->sys == ENOSPC || e->sys == EDQUOT || e->sys == EIO ||
	    e->sys == EROFS || e->sys == ENOMEM || e->code > CALA_SIGNAL;

	x->failed++;
	if (!ends) {
		log_warn(x->log, "%s", e->msg);
		return 0;
	}
	pthread_mutex_lock(&x->mu);
	if (!x->stop) {
		x->fatal = *e;
		x->stop = true;
	}
	pthread_mutex_unlock(&x->mu);
	return -1;
}

bool
x_once(struct extract *x, enum once kind)
{
	return atomic_fetch_add(&x->once[kind], 1) == 0;
}

/* Slots.  From here on only the caller's thread. */

static void
file_free(struct file *f)
{
	if (f == NULL)
		return;
	dirs_put(f->dir);
	meta_fini(&f->m);
	free(f->path);
	free(f);
}

static void
reap(struct extract *x, struct slot *s)
{
	unsigned i;

	if (!s->busy)
		return;
	pool_wait(x->pool, &s->job);
	s->busy = false;
	if (s->chunk) {
		if (--s->file[0]->slots == 0 && s->file[0]->fed)
			file_free(s->file[0]);
	} else {
		for (i = 0; i < s->n; i++)
			file_free(s->file[i]);
	}
	s->n = 0;
}

static struct slot *
take(struct extract *x)
{
	struct slot *s = &x->slot[x->next];

	x->next = (x->next + 1) % x->nslots;
	reap(x, s);
	s->n = 0;
	s->len = 0;
	return s;
}

static void
submit(struct extract *x, struct slot *s)
{
	s->busy = true;
	pool_submit(x->pool, &s->job);
}

static void
flush(struct extract *x)
{
	struct slot *s = x->batch;

	x->batch = NULL;
	if (s != NULL)
		submit(x, s);
}

void
x_drain(struct extract *x)
{
	unsigned i;

	flush(x);
	for (i = 0; i < x->nslots; i++)
		reap(x, &x->slot[(x->next + i) % x->nslots]);
}

static bool
holds(const struct slot *s, uint64_t hash, const char *path)
{
	unsigned i;

	for (i = 0; i < s->n; i++)
		if (s->file[i]->hash == hash &&
		    strcmp(s->file[i]->path, path) == 0)
			return true;
	return false;
}

static uint64_t
hash_of(const char *s)
{
	uint64_t h = 0x9e3779b97f4a7c15;

	for (; *s != '\0'; s++)
		h = (h ^ (unsigned char)*s) * 0xff51afd7ed558ccd;
	return h;
}

/* Wait until no job is about to make path. */
static void
settle(struct extract *x, const char *path)
{
	uint64_t h = hash_of(path);
	unsigned i;

	for (i = 0; i < x->nslots; i++)
		if (holds(&x->slot[i], h, path)) {
			x_drain(x);
			return;
		}
}

/* Entries. */

static struct file *
file_new(struct extract *x, struct dir *d, const struct entry *en,
    struct err *e)
{
	struct file *f = calloc(1, sizeof(*f));

	if (f == NULL || (f->path = strdup(en->path)) == NULL) {
		free(f);
		err_oom(e);
		return NULL;
	}
	f->x = x;
	f->fd = -1;
	f->name = entry_name(f->path);
	f->hash = hash_of(f->path);
	f->size = en->size;
	f->sparse = en->sparse || x->how.sparse;
	if (meta_of(x, en, &f->m, e) == -1) {
		free(f->path);
		free(f);
		return NULL;
	}
	f->dir = d;
	d->refs++;
	return f;
}

static int
pull(struct content *c, void *p, size_t n, const char *path, struct err *e)
{
	ssize_t k = c == NULL ? 0 : content_full(c, p, n, e);

	if (k == -1)
		return err_ctx(e, "%s", str_q(path));
	if ((size_t)k != n)
		return err_set(e, CALA_INTEGRITY,
		    "%s: ends before its announced size", str_q(path));
	return 0;
}

/* 0: one damaged file does not end the run. */
static int
lost(struct extract *x, struct err *e)
{
	if (!x->how.go_on || e->code != CALA_INTEGRITY)
		return -1;
	log_warn(x->log, "%s; left out", e->msg);
	err_clear(e);
	x->lost++;
	return 0;
}

/* Returns -1 only for what ends the run. */
static int
small(struct extract *x, struct dir *d, const struct entry *en,
    struct content *c, struct err *e)
{
	struct slot *s = x->batch;
	struct file *f;
	int ret;

	if (s != NULL && (s->n == EXT_BATCH || en->size > EXT_BUF - s->len)) {
		flush(x);
		s = NULL;
	}
	if (s == NULL) {
		s = x->batch = take(x);
		s->chunk = false;
	}
	if ((f = file_new(x, d, en, e)) == NULL)
		return x_trouble(x, e);
	if (en->size > 0 && ((ret = pull(c, s->buf + s->len, (size_t)en->size,
	    en->path, e)) == -1 ||
	    (ret = rate_take(x->rate, (size_t)en->size, e)) == -1)) {
		file_free(f);
		return lost(x, e);
	}
	f->off = s->len;
	s->len += (size_t)en->size;
	s->file[s->n++] = f;
	return 0;
}

/* The bytes [off, off + n), where content stands. */
static int
feed(struct extract *x, struct file *f, struct content *c, uint64_t off,
    uint64_t n, struct err *e)
{
	struct slot *s;

	while (n > 0) {
		if (stop_check(e) == -1)
			return -1;
		if (f->failed || x->stop)
			return 0;
		s = take(x);
		s->chunk = true;
		s->off = off;
		s->len = n > EXT_BUF ? EXT_BUF : (size_t)n;
		if (pull(c, s->buf, s->len, f->path, e) == -1 ||
		    rate_take(x->rate, s->len, e) == -1)
			return -1;
		off += s->len;
		n -= s->len;
		s->file[0] = f;
		s->n = 1;
		f->slots++;
		atomic_fetch_add(&f->refs, 1);
		submit(x, s);
	}
	return 0;
}

static int
feed_extents(struct extract *x, struct file *f, const struct entry *en,
    struct content *c, struct err *e)
{
	const struct extent *t = en->extents;
	uint64_t at = 0;
	size_t i;

	for (i = 0; i < en->nextents; i++, t++) {
		if (t->off < at || t->len > en->size ||
		    t->off > en->size - t->len)
			return err_set(e, CALA_INTEGRITY,
			    "%s: its map of holes is wrong", str_q(en->path));
		if (f->failed || x->stop)
			return 0;
		if ((t->off > at && content_skip(c, t->off - at, e) == -1) ||
		    feed(x, f, c, t->off, t->len, e) == -1)
			return -1;
		at = t->off + t->len;
	}
	return 0;
}

/* Blocks that are there already need not be written again. */
static bool
share(struct extract *x, struct file *f, struct content *c)
{
	int r;

	if (x->no_clone)
		return false;
	r = fs_content_clone(c, f->fd);
	x->no_clone = r == -1;
	return r == 0;
}

static int
large(struct extract *x, struct dir *d, const struct entry *en,
    struct content *c, struct err *e)
{
	struct file *f;
	int ret;

	flush(x);
	if ((f = file_new(x, d, en, e)) == NULL)
		return x_trouble(x, e);
	if (x_begin(f, e) == -1) {
		file_free(f);
		return x_trouble(x, e);
	}
	f->refs = 1;
	if (share(x, f, c))
		ret = 0;
	else
		ret = en->sparse ? feed_extents(x, f, en, c, e) :
		    feed(x, f, c, 0, en->size, e);
	if (ret == -1)
		f->failed = true;
	f->fed = true;
	x_drop(f);
	if (f->slots == 0)
		file_free(f);
	return ret == -1 ? lost(x, e) : 0;
}

/* 1: something is there and may not be replaced. */
static int
file_kept(struct extract *x, struct dir *d, const struct entry *en)
{
	struct stat st;

	if (x->how.overwrite || fstatat(d->fd, entry_name(en->path), &st,
	    AT_SYMLINK_NOFOLLOW) == -1)
		return 0;
	x->kept++;
	log_warn(x->log, "%s: exists; kept", str_q(en->path));
	return 1;
}

static bool
selected(const struct extract *x, const char *path, bool mark)
{
	bool yes = x->how.paths == NULL;
	size_t i;

	for (i = 0; x->how.paths != NULL && i < x->how.npaths; i++)
		if (entry_below(path, x->how.paths[i])) {
			yes = true;
			if (!mark)
				break;
			x->hit[i] = true;
		}
	return yes;
}

/* Readers clean their paths; a second look costs nothing against a mistake. */
static bool
clean(const char *p)
{
	size_t k;

	if (p == NULL)
		return false;
	if (*p == '\0')
		return true;
	for (;; p += k + 1) {
		k = strcspn(p, "/");
		if (k == 0 || (k == 1 && p[0] == '.') ||
		    (k == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		if (p[k] == '\0')
			return true;
	}
}

static int
check(struct extract *x, const struct entry *en, struct err *e)
{
	if (!clean(en->path) || (en->path[0] == '\0' &&
	    en->type != ENTRY_DIR) || strlen(en->path) >= ENTRY_PATH_MAX)
		return err_set(e, CALA_INTEGRITY, "%s: not a path",
		    str_q(en->path == NULL ? "" : en->path));
	if (en->type == ENTRY_HARDLINK && (!clean(en->target) ||
	    en->target[0] == '\0'))
		return err_set(e, CALA_INTEGRITY,
		    "%s: its link target is no path", str_q(en->path));
	if (en->type == ENTRY_SYMLINK && (en->target == NULL ||
	    en->target[0] == '\0'))
		return err_set(e, CALA_INTEGRITY,
		    "%s: a symbolic link to nothing", str_q(en->path));
	if (en->type == ENTRY_HARDLINK && !selected(x, en->target, false))
		return err_set(e, CALA_FAIL,
		    "%s: its data is stored under %s, which was not selected",
		    str_q(en->path), str_q(en->target));
	return 0;
}

static int
limits(struct extract *x, const struct entry *en, struct err *e)
{
	if (x->how.max_entries != 0 && x->entries >= x->how.max_entries)
		return err_set(e, CALA_NOSPACE, "more than %ju entries",
		    (uintmax_t)x->how.max_entries);
	if (en->type == ENTRY_FILE && x->how.max_size != 0) {
		if (en->size > x->how.max_size - x->announced)
			return err_set(e, CALA_NOSPACE, "%s: passes the "
			    "limit of %ju bytes in all", str_q(en->path),
			    (uintmax_t)x->how.max_size);
		x->announced += en->size;
	}
	return 0;
}

static int
make(struct extract *x, const struct entry *en, struct content *c,
    struct err *e)
{
	const char *name = entry_name(en->path);
	struct dir *d = NULL;
	char *parent;
	int ret;

	settle(x, en->path);
	if (en->type == ENTRY_DIR) {
		if (dirs_make(x, en, e) == -1)
			return x_trouble(x, e);
		return 0;
	}
	if ((parent = strndup(en->path, name == en->path ? 0 :
	    (size_t)(name - en->path - 1))) == NULL)
		return err_oom(e);
	if (dirs_get(x, parent, &d, e) == -1) {
		ret = x_trouble(x, e);
		goto out;
	}
	if (en->type == ENTRY_FILE) {
		if (file_kept(x, d, en))
			ret = 0;
		else if (en->size > EXT_BUF || en->sparse)
			ret = large(x, d, en, c, e);
		else
			ret = small(x, d, en, c, e);
		goto out;
	}
	if (en->type == ENTRY_HARDLINK) {
		settle(x, en->target);
		ret = meta_link(x, d, en, e);
	} else {
		ret = meta_special(x, d, en, e);
	}
	if (ret == -1)
		ret = x_trouble(x, e);
	else if (ret == 0)
		x->files++;
	else
		ret = 0;
out:
	dirs_put(d);
	free(parent);
	return ret;
}

/* The failure of a job is everybody's. */
static int
fatal(struct extract *x, struct err *e)
{
	if (!x->stop)
		return 0;
	pthread_mutex_lock(&x->mu);
	*e = x->fatal;
	pthread_mutex_unlock(&x->mu);
	return -1;
}

static int
put(struct writer *w, const struct entry *en, struct content *c,
    struct err *e)
{
	struct extract *x = (struct extract *)w;
	struct err own = ERR_INIT;

	if (fatal(x, e) == -1)
		return -1;
	if (en->path != NULL && !selected(x, en->path, true))
		return 0;
	if (limits(x, en, e) == -1)
		return -1;
	x->entries++;
	if (check(x, en, &own) == -1) {
		x_trouble(x, &own);
		return 0;
	}
	if (x->watch != NULL)
		x->watch(x->watch_arg, en);
	if (x->how.dry_run)
		return 0;
	if (en->type == ENTRY_SOCKET) {
		if (x_once(x, ONCE_SOCKET))
			log_step(x->log, "%s: sockets are not restored",
			    str_q(en->path));
		return 0;
	}
	if (x->log->level >= LOG_FILES)
		log_file(x->log, "%s", *en->path != '\0' ? str_q(en->path) :
		    ".");
	if (make(x, en, c, &own) == -1) {
		*e = own;
		return -1;
	}
	return fatal(x, e);
}

static int
commit(struct writer *w, struct err *e)
{
	struct extract *x = (struct extract *)w;
	unsigned i;

	x_drain(x);
	if (fatal(x, e) == -1)
		return -1;
	if (x->how.dry_run)
		return 0;
	/* Before the root gets its time. */
	trace_end(x);
	if (later_apply(x, e) == -1 || fatal(x, e) == -1)
		return -1;
	if (syncfs(x->root) == -1)
		return err_sys(e, "sync the file system");
	for (i = 0; i < x->nmounts; i++)
		if (syncfs(x->mount[i].fd) == -1)
			return err_sys(e, "sync the file system");
	if (x->more_mounts)
		sync();
	return 0;
}

static void
writer_abort(struct writer *w)
{
	struct extract *x = (struct extract *)w;
	unsigned i;

	x->stop = true;
	if (x->slot != NULL && x->pool != NULL)
		x_drain(x);
	trace_end(x);
	pool_free(x->pool);
	rate_free(x->rate);
	for (i = 0; x->slot != NULL && i < x->nslots; i++)
		free(x->slot[i].buf);
	free(x->slot);
	dirs_fini(x);
	later_fini(x);
	free(x->hit);
	if (x->root != -1)
		close(x->root);
	pthread_mutex_destroy(&x->mu);
	free(x);
}

struct writer *
fs_writer(int dirfd, const struct fs_extract *how, struct log *log,
    struct err *e)
{
	static const struct writer_ops ops = { put, NULL, NULL, commit,
	    writer_abort };
	struct extract *x = calloc(1, sizeof(*x));
	unsigned jobs = how->jobs == 0 ? 2 : how->jobs, i;

	if (x == NULL) {
		err_oom(e);
		return NULL;
	}
	x->w.ops = &ops;
	x->how = *how;
	x->log = log;
	x->later_fd = x->trace = -1;
	x->privileged = geteuid() == 0;
	pthread_mutex_init(&x->mu, NULL);
	buf_init(&x->later, 16 * 1024 * 1024);
	x->root = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (x->root == -1) {
		err_sys(e, "open the target directory");
		goto fail;
	}
	if (trace_begin(x, e) == -1)
		goto fail;
	if (jobs > 64)
		jobs = 64;
	x->nslots = jobs < 2 ? 4 : 4 * jobs;
	if ((x->slot = calloc(x->nslots, sizeof(*x->slot))) == NULL ||
	    (x->hit = calloc(how->npaths + 1, sizeof(*x->hit))) == NULL) {
		err_oom(e);
		goto fail;
	}
	for (i = 0; i < x->nslots; i++) {
		x->slot[i].x = x;
		x->slot[i].job.run = x_run;
		if ((x->slot[i].buf = malloc(EXT_BUF)) == NULL) {
			err_oom(e);
			goto fail;
		}
	}
	if ((x->rate = rate_new(how->limit_write, e)) == NULL ||
	    (x->pool = pool_new(jobs < 2 ? 0 : jobs, e)) == NULL)
		goto fail;
	return &x->w;
fail:
	writer_abort(&x->w);
	return NULL;
}

void
fs_writer_facts(struct writer *w, struct fs_extracted *f)
{
	struct extract *x = (struct extract *)w;

	f->entries = x->entries;
	f->files = x->files;
	f->dirs = x->dirs;
	f->bytes = x->bytes;
	f->kept = x->kept;
	f->failed = x->failed;
	f->lost = x->lost;
}

bool
fs_writer_hit(struct writer *w, size_t i)
{
	struct extract *x = (struct extract *)w;

	return x->how.paths == NULL || (i < x->how.npaths && x->hit[i]);
}

void
fs_writer_watch(struct writer *w, void (*fn)(void *, const struct entry *),
    void *arg)
{
	struct extract *x = (struct extract *)w;

	x->watch = fn;
	x->watch_arg = arg;
}
