/*
 * tree: a backup that is entered anywhere.  Every question reads the entries
 * from their start: they are small, and nothing has to be held of them.
 */

#include "ddup/read.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "ddup/archive.h"
#include "ddup/feed.h"

struct dtree {
	struct tree t;
	struct ddup *r;
	char name[DDUP_NAME_MAX + 1];
	struct ddup_read how;
	struct archive a;
	struct acursor *c;              /* whose entry is lent */
	struct feed *feed;
	struct ffile *ff;
	uint64_t end;                   /* of the part that is open */
	struct content content;
	struct buf target;
};

static int
missing(const char *path, struct err *e)
{
	return err_set(e, CALA_NOTFOUND, "no such file or directory: %s",
	    str_q(path));
}

static int
again(struct dtree *t, struct err *e)
{
	acursor_free(t->c);
	t->c = acursor_new(&t->a, e);
	return t->c != NULL ? 0 : -1;
}

/* The path of the file that has this number, into t->target. */
static int
path_of(struct dtree *t, uint64_t number, struct err *e)
{
	struct acursor *c = acursor_new(&t->a, e);
	struct aent x;
	int got = -1;

	buf_reset(&t->target);
	while (c != NULL && (got = acursor_next(c, &x, e)) == 1)
		if (x.number == number) {
			buf_str(&t->target, x.en.path);
			break;
		}
	acursor_free(c);
	if (got == 0)
		return err_set(e, CALA_INTEGRITY, "a hard link to nothing");
	return got == -1 ? -1 : buf_failed(&t->target, e);
}

/* A later name of a file says so. */
static int
as_link(struct dtree *t, struct aent *x, struct err *e)
{
	if (x->en.type != ENTRY_FILE || !x->linked || x->link == x->number)
		return 0;
	if (path_of(t, x->link, e) == -1)
		return -1;
	x->en.type = ENTRY_HARDLINK;
	x->en.target = t->target.p;
	x->en.size = 0;
	x->en.sparse = false;
	x->en.nextents = 0;
	return 0;
}

/* 1: *x is the first entry with that path, 0: there is none. */
static int
find(struct dtree *t, const char *path, struct aent *x, struct err *e)
{
	int got = again(t, e);

	if (got == -1)
		return -1;
	while ((got = acursor_next(t->c, x, e)) == 1)
		if (strcmp(x->en.path, path) == 0)
			return 1;
	return got;
}

static int
dtree_stat(struct tree *tree, const char *path, struct entry *en,
    struct err *e)
{
	struct dtree *t = (struct dtree *)tree;
	struct aent x;
	int got = find(t, path, &x, e);

	if (got == -1)
		return -1;
	if (got == 0 && *path != '\0')
		return missing(path, e);
	if (got == 0) {
		/* Other writers do not store the root. */
		memset(&x, 0, sizeof(x));
		x.en.type = ENTRY_DIR;
		x.en.path = x.en.uname = x.en.gname = "";
		x.en.mode = 0755;
		x.en.unowned = true;
	}
	if (as_link(t, &x, e) == -1)
		return -1;
	*en = x.en;
	return 0;
}

/* Entries of a directory that the archive does not keep in order. */
struct shelf {
	struct entry *v;
	size_t n, room;
};

static int
shelve(struct shelf *s, const struct entry *en, struct err *e)
{
	struct entry *v;

	if (s->n == s->room) {
		s->room = s->room == 0 ? 64 : 2 * s->room;
		if ((v = reallocarray(s->v, s->room, sizeof(*v))) == NULL)
			return err_oom(e);
		s->v = v;
	}
	v = &s->v[s->n];
	*v = *en;
	v->xattrs = NULL;
	v->nxattrs = 0;
	v->sparse = false;
	v->extents = NULL;
	v->nextents = 0;
	v->path = strdup(en->path);
	v->target = en->target != NULL ? strdup(en->target) : NULL;
	s->n++;
	return v->path != NULL && (en->target == NULL || v->target != NULL) ?
	    0 : err_oom(e);
}

static int
by_path(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->path,
	    ((const struct entry *)b)->path);
}

static void
clear(struct shelf *s)
{
	size_t i;

	for (i = 0; i < s->n; i++) {
		free((void *)(uintptr_t)s->v[i].path);
		free((void *)(uintptr_t)s->v[i].target);
	}
	free(s->v);
}

static bool
directly_in(const char *path, const char *dir)
{
	size_t n = (size_t)(entry_name(path) - path), len = strlen(dir);

	if (*path == '\0')
		return false;
	return len == 0 ? n == 0 : n == len + 1 && memcmp(path, dir,
	    len) == 0;
}

static int
list_all(struct dtree *t, const char *path, tree_fn *fn, void *arg,
    struct shelf *s, bool *there, struct err *e)
{
	struct aent x;
	int got, ret;

	while ((got = acursor_next(t->c, &x, e)) == 1) {
		if (strcmp(x.en.path, path) == 0) {
			*there = true;
			if (x.en.type != ENTRY_DIR)
				return err_set(e, CALA_NOTFOUND,
				    "not a directory: %s", str_q(path));
		}
		if (!directly_in(x.en.path, path)) {
			/* Sorted: nothing of it can come any more. */
			if (*there && t->a.sorted && *path != '\0' &&
			    !entry_below(x.en.path, path))
				return 0;
			continue;
		}
		if (as_link(t, &x, e) == -1)
			return -1;
		ret = t->a.sorted ? fn(arg, &x.en, e) :
		    shelve(s, &x.en, e);
		if (ret != 0)
			return ret;
	}
	return got;
}

static int
dtree_list(struct tree *tree, const char *path, tree_fn *fn, void *arg,
    struct err *e)
{
	struct dtree *t = (struct dtree *)tree;
	struct shelf s = { NULL, 0, 0 };
	bool there = *path == '\0';
	size_t i;
	int ret;

	if (again(t, e) == -1)
		return -1;
	ret = list_all(t, path, fn, arg, &s, &there, e);
	if (ret == -1 && t->how.damaged && e->code == CALA_INTEGRITY) {
		log_warn(t->r->log, "%s; what comes behind it is lost",
		    e->msg);
		err_clear(e);
		ret = 0;
	}
	if (ret == 0 && !there)
		ret = missing(path, e);
	if (s.n > 0)
		qsort(s.v, s.n, sizeof(*s.v), by_path);
	for (i = 0; ret == 0 && i < s.n; i++)
		ret = fn(arg, &s.v[i], e);
	clear(&s);
	return ret;
}

static void
close_file(struct dtree *t)
{
	if (t->feed != NULL)
		feed_drop(t->feed, t->ff);
	t->ff = NULL;
}

static struct dtree *
of(struct content *c)
{
	return (struct dtree *)((char *)c - offsetof(struct dtree, content));
}

static ssize_t
read_content(struct content *c, void *p, size_t n, struct err *e)
{
	struct dtree *t = of(c);

	if (n > c->size - c->pos)
		n = (size_t)(c->size - c->pos);
	return feed_read(t->feed, t->ff, p, n, e);
}

static int
skip_content(struct content *c, uint64_t n, struct err *e)
{
	struct dtree *t = of(c);

	return feed_skip(t->feed, t->ff, n, e);
}

static const struct content_ops content_ops = {
	read_content, skip_content, NULL
};

static struct content *
dtree_open(struct tree *tree, const char *path, uint64_t off, uint64_t len,
    struct err *e)
{
	struct dtree *t = (struct dtree *)tree;
	struct aent x;
	uint64_t size;
	int got;

	close_file(t);
	if ((got = find(t, path, &x, e)) == 0)
		missing(path, e);
	if (got != 1)
		return NULL;
	if (x.en.type != ENTRY_FILE) {
		err_set(e, CALA_USAGE, "not a regular file: %s", str_q(path));
		return NULL;
	}
	if (t->feed == NULL && (t->feed = feed_new(&t->a, t->how.jobs,
	    t->how.damaged, e)) == NULL)
		return NULL;
	size = x.en.size;
	if (off > size)
		off = size;
	if ((t->ff = feed_add(t->feed, &x.body, path, off, e)) == NULL)
		return NULL;
	t->content.size = len < size - off ? len : size - off;
	t->content.pos = 0;
	t->content.ops = &content_ops;
	return &t->content;
}

static struct reader *
dtree_reader(struct tree *tree, const char *const *paths, size_t n,
    struct err *e)
{
	struct dtree *t = (struct dtree *)tree;

	return ddup_reader(t->r, t->name, paths, n, &t->how, e);
}

static void
dtree_close(struct tree *tree)
{
	struct dtree *t = (struct dtree *)tree;

	close_file(t);
	feed_free(t->feed);
	acursor_free(t->c);
	archive_close(&t->a);
	buf_fini(&t->target);
	free(t);
}

static const struct tree_ops tree_ops = {
	dtree_list, dtree_stat, dtree_open, dtree_reader, dtree_close
};

struct tree *
ddup_tree(struct ddup *r, const char *name, const struct ddup_read *how,
    struct err *e)
{
	struct dtree *t = calloc(1, sizeof(*t));

	if (t == NULL) {
		err_oom(e);
		return NULL;
	}
	t->t.ops = &tree_ops;
	t->r = r;
	t->how = *how;
	t->a.fd = -1;
	buf_init(&t->target, ENTRY_PATH_MAX + 1);
	if (archive_open(&t->a, r, name, e) == -1) {
		dtree_close(&t->t);
		return NULL;
	}
	memcpy(t->name, name, strlen(name) + 1);
	return &t->t;
}
