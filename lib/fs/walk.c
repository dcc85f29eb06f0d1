#include "fs/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/rate.h"
#include "base/str.h"
#include "entry/match.h"

/* Seconds of loading a name that say: this waits for a disk. */
static const double slow = 200e-6;
enum { WARM_AGAIN = 16 };               /* quick slots until we believe it */

static void
dir_unref(struct wdir *d)
{
	struct wdir *up;

	while (d != NULL && --d->refs == 0) {
		up = d->parent;
		dir_free(d);
		d = up;
	}
}

const char *
walk_path(struct walk *w, const struct wdir *d, const char *name)
{
	struct buf *b = &w->path;

	if (w->single != NULL) {
		buf_reset(b);
		buf_str(b, w->single);
	} else {
		if (w->path_dir != d) {
			buf_reset(b);
			buf_str(b, w->prefix);
			if (b->len > 0 && d->plen > 0)
				buf_chr(b, '/');
			dir_path(d, b);
			w->path_len = b->len;
			w->path_dir = d;
		}
		buf_cut(b, w->path_len);
		if (name != NULL && b->len > 0)
			buf_chr(b, '/');
		if (name != NULL)
			buf_str(b, name);
	}
	if (!b->failed)
		return b->p;
	w->path_dir = NULL;
	return NULL;
}

/* ---- planning ---- */

static void
dir_wait(struct walk *w, struct wdir *d)
{
	if (d->waited)
		return;
	pool_wait(w->pool, &d->job);
	d->waited = true;
	if (d->parent != NULL)
		d->parent->users--;
}

/* May an entry have this place? */
static bool
fits(struct walk *w, const struct wdir *d, const char *name)
{
	size_t n = strlen(w->prefix) + 1 + d->plen + 1 + strlen(name);

	return n < ENTRY_PATH_MAX &&
	    entry_depth(w->prefix) + d->depth + 1 <= ENTRY_DEPTH_MAX;
}

static void
too_deep(struct walk *w, const struct wdir *d, const char *name)
{
	const char *path = walk_path(w, d, name);

	log_warn(w->log, "%s: too long or too deep a path; left out",
	    str_q(path == NULL ? name : path));
}

/* Begin to load the subdirectories that come next. */
static int
look_ahead(struct walk *w, struct wdir *d, struct err *e)
{
	struct wdir *sub;
	char *rec;

	if (d->scan < d->at)
		d->scan = d->at;
	for (; d->nahead < DIRS_AHEAD && d->scan < d->nnames; d->scan++) {
		rec = d->names[d->scan];
		if (*rec != ENTRY_DIR && *rec != DIR_ONLY_BELOW)
			continue;
		if (d->nahead > 0 && w->nahead >= DIRS_AHEAD_MAX)
			break;
		if (!fits(w, d, rec + 1)) {
			too_deep(w, d, rec + 1);
			*rec = '\0';
			continue;
		}
		if ((sub = dir_new(w, d, rec + 1)) == NULL)
			return err_oom(e);
		sub->emit = *rec == ENTRY_DIR;
		d->ahead[d->nahead++] = sub;
		d->users++;
		w->nahead++;
		pool_submit(w->pool, &sub->job);
	}
	return 0;
}

static struct slot *
slot_get(struct walk *w, struct wdir *d, struct err *e)
{
	struct slot *s = w->spare;

	if (s->data == NULL && (s->data = malloc(SLOT_BYTES)) == NULL) {
		err_oom(e);
		return NULL;
	}
	w->spare = s->next;
	s->next = NULL;
	s->dir = d;
	s->is_dir = s->waited = false;
	s->n = s->at = s->loaded = 0;
	*w->tail = s;
	w->tail = &s->next;
	w->nslots++;
	return s;
}

/* The head of the queue is done with. */
static void
slot_put(struct walk *w)
{
	struct slot *s = w->head;
	unsigned i;

	w->head = s->next;
	if (w->head == NULL)
		w->tail = &w->head;
	w->nslots--;
	for (i = 0; i < s->n; i++)
		item_drop(&s->item[i]);
	if (!s->is_dir)
		s->dir->users--;
	if (w->path_dir == s->dir)
		w->path_dir = NULL;
	dir_unref(s->dir);
	s->next = w->spare;
	w->spare = s;
}

/*
 * Close an outer directory that nothing needs for now, so that a deep tree
 * does not use up the descriptors.
 */
static void
dir_rest(struct walk *w, struct wdir *d)
{
	unsigned i;

	for (i = 0; i < d->nahead; i++)
		dir_wait(w, d->ahead[i]);
	if (d->users == 0 && d->parent != NULL && d->fd != -1) {
		close(d->fd);
		d->fd = -1;
	}
}

static void
push(struct walk *w, struct wdir *d)
{
	d->refs++;
	w->stack[w->depth++] = d;
	if (w->depth > LEVELS_OPEN)
		dir_rest(w, w->stack[w->depth - 1 - LEVELS_OPEN]);
}

static void
pop(struct walk *w)
{
	struct wdir *d = w->stack[--w->depth];
	struct wdir *up = w->depth == 0 ? NULL : w->stack[w->depth - 1];
	const char *path;

	w->facts.excluded += d->excluded;
	if (d->list_why != 0) {
		path = walk_path(w, d, NULL);
		log_warn(w->log, "%s: reading the directory: %s; some of it "
		    "is left out", path == NULL ? "?" : *path == '\0' ? "." :
		    str_q(path), strerror(d->list_why));
	}
	if (up != NULL && up->fd == -1 && up->at < up->nnames &&
	    dir_reopen(up, d) == -1) {
		path = walk_path(w, up, NULL);
		log_warn(w->log, "%s: moved away while it was read (%s); the "
		    "rest of it is left out", path == NULL ? "?" : str_q(path),
		    strerror(errno));
		up->nnames = up->at;
	}
	if (w->path_dir == d)
		w->path_dir = NULL;
	dir_unref(d);
}

static int
plan_dir(struct walk *w, struct wdir *d, struct err *e)
{
	struct slot *s = slot_get(w, d->ahead[0], e);

	if (s == NULL)
		return -1;
	s->is_dir = true;               /* with the reference from ahead */
	w->nahead--;
	memmove(d->ahead, d->ahead + 1,
	    --d->nahead * sizeof(struct wdir *));
	d->at++;
	push(w, s->dir);
	return 0;
}

static int
plan_batch(struct walk *w, struct wdir *d, struct err *e)
{
	struct slot *s = slot_get(w, d, e);
	struct item *it;
	const char *rec;

	if (s == NULL)
		return -1;
	d->refs++;
	d->users++;
	for (; s->n < BATCH && d->at < d->nnames; d->at++) {
		rec = d->names[d->at];
		if (*rec == ENTRY_DIR || *rec == DIR_ONLY_BELOW)
			break;
		if (*rec == '\0')
			continue;
		if (w->single == NULL && !fits(w, d, rec + 1)) {
			too_deep(w, d, rec + 1);
			continue;
		}
		it = &s->item[s->n++];
		memset(it, 0, sizeof(*it));
		it->fd = -1;
		it->kind = *rec;
		it->name = rec + 1;
	}
	pool_submit(w->pool, &s->job);
	return 0;
}

/* Fill the queue as far as it may and can be filled without waiting. */
static int
plan(struct walk *w, struct err *e)
{
	struct wdir *d;
	char kind;

	while (w->depth > 0 && w->nslots < w->slots_ahead) {
		d = w->stack[w->depth - 1];
		if (!d->waited) {
			if (w->head != NULL && !pool_done(w->pool, &d->job))
				return 0;
			dir_wait(w, d);
		}
		if (!d->whole)
			dir_list(d, SIZE_MAX);
		if (look_ahead(w, d, e) == -1)
			return -1;
		if (d->at == d->nnames) {
			pop(w);
			continue;
		}
		kind = *d->names[d->at];
		if ((kind == ENTRY_DIR || kind == DIR_ONLY_BELOW ?
		    plan_dir(w, d, e) : plan_batch(w, d, e)) == -1)
			return -1;
	}
	return 0;
}

/* ---- delivering ---- */

static void
left_out(struct walk *w, const char *path, int why, bool odd)
{
	log_warn(w->log, "%s: %s", *path == '\0' ? "." : str_q(path),
	    why == ENOENT ? "vanished before it could be read" :
	    odd ? "became something else while it was read; left out" :
	    strerror(why));
}

static void
fill(struct walk *w, const char *path, const struct stat *st,
    const struct xset *x)
{
	struct entry *en = &w->en;

	memset(en, 0, sizeof(*en));
	en->path = path;
	en->mtime = st->st_mtim;
	en->ctime = st->st_ctim;
	en->mode = st->st_mode & 07777;
	en->uid = st->st_uid;
	en->gid = st->st_gid;
	en->uname = ids_user(w->ids, st->st_uid);
	en->gname = ids_group(w->ids, st->st_gid);
	en->dev = st->st_dev;
	en->ino = st->st_ino;
	en->nlink = st->st_nlink;
	if (x != NULL) {
		en->xattrs = x->v;
		en->nxattrs = x->n;
	}
}

static void
lost_xattrs(struct walk *w, const char *path, int why)
{
	if (why != 0)
		log_warn(w->log, "%s: extended attributes: %s; left out",
		    *path == '\0' ? "." : str_q(path), strerror(why));
}

/* 1: delivered, 0: left out, -1: error. */
static int
give_dir(struct walk *w, struct wdir *d, struct err *e)
{
	const char *path = walk_path(w, d, NULL);

	if (path == NULL)
		return err_oom(e);
	if (d->why != 0) {
		left_out(w, path, d->why, d->why == ENOTDIR ||
		    d->why == ELOOP);
		if (!d->have_st)
			return 0;
	}
	if (!d->emit)
		return 0;
	if (d->mount)
		log_step(w->log, "%s: another file system; not entered",
		    str_q(path));
	lost_xattrs(w, path, d->xattr_why);
	fill(w, path, &d->st, d->xattrs);
	w->en.type = ENTRY_DIR;
	w->en.attrs = d->attrs;
	w->en.projid = d->projid;
	return 1;
}

static void
map_holes(struct walk *w, const struct item *it)
{
	struct entry *en = &w->en;
	size_t n;

	if (it->data != NULL || it->known || en->size == 0 ||
	    (uint64_t)it->st.st_blocks * 512 >= en->size)
		return;
	/* Where a file system can't tell, all is data. */
	if (walk_extents(it->fd, en->size, &w->extents, &w->extents_room,
	    &n) == -1)
		return;
	if (n == 1 && w->extents[0].off == 0 && w->extents[0].len == en->size)
		return;
	en->sparse = true;
	en->extents = w->extents;
	en->nextents = n;
}

static int
give_item(struct walk *w, struct wdir *d, struct item *it,
    struct content **content, struct err *e)
{
	const char *path = walk_path(w, d, it->name), *first;
	struct entry *en = &w->en;
	int seen;

	if (path == NULL)
		return err_oom(e);
	if (it->why != 0) {
		left_out(w, path, it->why, it->odd);
		return 0;
	}
	if (it->kind == ENTRY_SOCKET) {
		if (w->facts.sockets++ == 0)
			log_step(w->log, "%s: a socket; sockets hold nothing "
			    "and are left out", str_q(path));
		else
			log_file(w->log, "%s: a socket", str_q(path));
		return 0;
	}
	lost_xattrs(w, path, it->xattr_why);
	fill(w, path, &it->st, it->xattrs);
	en->type = (enum entry_type)it->kind;
	en->attrs = it->attrs;
	en->projid = it->projid;
	if (it->st.st_nlink > 1) {
		if ((seen = links_seen(w->links, &it->st, path, &first)) == -1)
			return err_oom(e);
		if (seen == 1) {
			en->type = ENTRY_HARDLINK;
			en->target = first;
			return 1;
		}
	}
	switch (en->type) {
	case ENTRY_SYMLINK:
		en->target = it->target;
		break;
	case ENTRY_CHAR:
	case ENTRY_BLOCK:
		en->rdev_major = major(it->st.st_rdev);
		en->rdev_minor = minor(it->st.st_rdev);
		break;
	case ENTRY_FILE:
		en->size = (uint64_t)it->st.st_size;
		if (w->how.bare)
			break;
		map_holes(w, it);
		wcontent_begin(w, d, it);
		*content = &w->content.c;
		break;
	default:
		break;
	}
	return 1;
}

/* Many reads in flight while a disk is waited for, few while none is. */
static void
adapt(struct walk *w, const struct slot *s)
{
	if (w->how.jobs != 0)
		return;
	/* Slow without ever sleeping: the cores are busy, with us perhaps. */
	if (s->cost > slow && s->waits > 0) {
		pool_grow(w->pool, THREADS);
		w->slots_ahead = SLOTS_MAX;
		w->warm = 0;
	} else if (++w->warm >= WARM_AGAIN) {
		w->slots_ahead = SLOTS_WARM;
	}
}

static int
walk_step(struct walk *w, struct content **content, struct err *e)
{
	struct slot *s;
	int got;

	for (;;) {
		if (plan(w, e) == -1)
			return -1;
		if ((s = w->head) == NULL)
			return 0;
		if (s->is_dir) {
			if (s->at == 1) {
				slot_put(w);
				continue;
			}
			s->at = 1;
			dir_wait(w, s->dir);
			if ((got = give_dir(w, s->dir, e)) != 0)
				return got;
			continue;
		}
		if (!s->waited) {
			/* Somebody loads it: then load what is next. */
			while (!pool_done(w->pool, &s->job))
				if (!pool_help(w->pool))
					pool_wait(w->pool, &s->job);
			s->waited = true;
			adapt(w, s);
		}
		if (s->at > 0)
			item_drop(&s->item[s->at - 1]);
		if (s->at == s->n) {
			slot_put(w);
			continue;
		}
		if (s->at == s->loaded)
			slot_load(&s->job);
		got = give_item(w, s->dir, &s->item[s->at++], content, e);
		if (got != 0)
			return got;
	}
}

static int
walk_next(struct reader *r, const struct entry **en, struct content **content,
    struct err *e)
{
	struct walk *w = (struct walk *)r;
	int got;

	if (w->failed)
		return err_set(e, CALA_FAIL, "read after a failed read");
	wcontent_end(w);
	if ((got = walk_step(w, content, e)) == -1)
		w->failed = true;
	if (got == 1)
		*en = &w->en;
	if (got == 1 && w->log->level >= LOG_FILES && !w->how.bare)
		log_file(w->log, "%s", *w->en.path != '\0' ?
		    str_q(w->en.path) : ".");
	return got;
}

static void
walk_close(struct reader *r)
{
	struct walk *w = (struct walk *)r;
	struct wdir *d;
	unsigned i;

	if (w == NULL)
		return;
	wcontent_end(w);
	pool_free(w->pool);
	while (w->head != NULL)
		slot_put(w);
	while (w->depth > 0) {
		d = w->stack[--w->depth];
		for (i = 0; i < d->nahead; i++)
			dir_unref(d->ahead[i]);
		dir_unref(d);
	}
	dir_unref(w->root);
	for (i = 0; w->slots != NULL && i < SLOTS_MAX; i++) {
		free(w->slots[i].data);
		buf_fini(&w->slots[i].path);
	}
	free(w->slots);
	free(w->stack);
	free(w->prefix);
	free(w->single);
	free(w->extents);
	links_free(w->links);
	ids_free(w->ids);
	rate_free(w->rate);
	buf_fini(&w->path);
	free(w);
}

static const struct reader_ops walk_ops = { walk_next, walk_close };

/* ---- beginning ---- */

/* A root that is no directory: its directory, holding this one name. */
static int
open_single(struct walk *w, int dirfd, const char *name, struct err *e)
{
	struct stat st;
	char kind;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return err_sys(e, "%s", str_q(name));
	kind = S_ISREG(st.st_mode) ? ENTRY_FILE :
	    S_ISLNK(st.st_mode) ? ENTRY_SYMLINK :
	    S_ISFIFO(st.st_mode) ? ENTRY_FIFO :
	    S_ISCHR(st.st_mode) ? ENTRY_CHAR :
	    S_ISBLK(st.st_mode) ? ENTRY_BLOCK : ENTRY_SOCKET;
	w->single = strdup(w->prefix[0] != '\0' ? w->prefix :
	    entry_name(name));
	if (w->single == NULL)
		return err_oom(e);
	w->root->fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->root->fd == -1)
		return err_sys(e, "open the directory of %s", str_q(name));
	if (w->how.match != NULL &&
	    match_path(w->how.match, w->how.match_prefix ? w->prefix :
	    entry_name(name), false) != MATCH_KEEP)
		w->root->excluded = 1;
	else if (dir_add_name(w->root, kind, name) == -1)
		return err_oom(e);
	w->root->whole = w->root->waited = true;
	push(w, w->root);
	return 0;
}

static int
open_root(struct walk *w, int dirfd, const char *name, struct err *e)
{
	struct slot *s;

	if ((w->root = dir_new(w, NULL, "")) == NULL)
		return err_oom(e);
	w->root->fd = walk_openat(dirfd, name, O_DIRECTORY);
	if (w->root->fd == -1) {
		if (errno == ENOTDIR || errno == ELOOP)
			return open_single(w, dirfd, name, e);
		return err_sys(e, "%s", str_q(name));
	}
	if (fstat(w->root->fd, &w->root->st) == -1)
		return err_sys(e, "%s", str_q(name));
	w->root->have_st = true;
	w->dev = w->root->st.st_dev;
	if ((s = slot_get(w, w->root, e)) == NULL)
		return -1;
	s->is_dir = true;
	w->root->refs++;
	push(w, w->root);
	pool_submit(w->pool, &w->root->job);
	return 0;
}

static int
set_prefix(struct walk *w, const char *prefix, struct err *e)
{
	const char *why;
	struct buf b;
	int ret = 0;

	buf_init(&b, ENTRY_PATH_MAX);
	if (prefix != NULL &&
	    entry_path(&b, prefix, strlen(prefix), &why) == -1)
		ret = err_set(e, CALA_USAGE, "%s: %s", str_q(prefix), why);
	else if ((w->prefix = strdup(b.p)) == NULL)
		ret = err_oom(e);
	buf_fini(&b);
	return ret;
}

struct reader *
fs_reader(int dirfd, const char *name, const struct fs_walk *how,
    struct log *log, struct err *e)
{
	struct walk *w = calloc(1, sizeof(*w));
	unsigned i;

	if (w == NULL) {
		err_oom(e);
		return NULL;
	}
	w->r.ops = &walk_ops;
	w->r.can = READER_ORDERED | READER_REOPEN | READER_HOLES;
	w->how = *how;
	if (how->asks != NULL && how->asks->ops->known == NULL)
		w->how.asks = NULL;
	w->log = log;
	w->tail = &w->head;
	buf_init(&w->path, 2 * ENTRY_PATH_MAX);
	w->slots_ahead = how->jobs == 0 ? SLOTS_WARM :
	    how->jobs < SLOTS_MAX ? how->jobs + 1 : SLOTS_MAX;
	if (set_prefix(w, how->prefix, e) == -1)
		goto fail;
	w->stack = calloc(ENTRY_DEPTH_MAX + 2, sizeof(struct wdir *));
	w->slots = calloc(SLOTS_MAX, sizeof(*w->slots));
	w->links = links_new();
	w->ids = ids_new();
	if (w->stack == NULL || w->slots == NULL || w->links == NULL ||
	    w->ids == NULL) {
		err_oom(e);
		goto fail;
	}
	for (i = 0; i < SLOTS_MAX; i++) {
		w->slots[i].w = w;
		w->slots[i].job.run = slot_load;
		w->slots[i].next = w->spare;
		buf_init(&w->slots[i].path, 2 * ENTRY_PATH_MAX);
		w->spare = &w->slots[i];
	}
	if (how->limit_read > 0 &&
	    (w->rate = rate_new(how->limit_read, e)) == NULL)
		goto fail;
	/* One job: whoever waits for it does it. */
	w->pool = pool_new(how->jobs == 0 ? THREADS_WARM : how->jobs == 1 ? 0 :
	    how->jobs > THREADS ? THREADS : how->jobs, e);
	if (w->pool == NULL || open_root(w, dirfd, name, e) == -1)
		goto fail;
	return &w->r;
fail:
	walk_close(&w->r);
	return NULL;
}

void
fs_reader_facts(struct reader *r, struct fs_walked *f)
{
	*f = ((struct walk *)r)->facts;
}
