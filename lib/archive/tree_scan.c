/*
 * A tree over an archive without an index: one scan makes a list; contents are
 * found by reading up to them again.  The list is the only thing here that
 * grows with the archive, and only for archives that nobody indexed.
 */

#include "archive/tree.h"

#include <stdlib.h>
#include <string.h>

#include "archive/index.h"
#include "base/err.h"
#include "base/log.h"
#include "base/str.h"

enum { LINKS_MAX = 8 };

struct item {
	char *path, *target;
	struct entry en;        /* its pointers are not valid */
	uint64_t nth;
	const char *first;      /* of a file behind links: see stand_in */
};

struct stree {
	struct tree t;
	struct ranged *r;
	struct archive_read how;
	struct log *log;
	struct item *item;
	size_t n, cap;
	struct reader *rd;      /* of the last open or stat */
	struct slice slice;
	char *given;
};

static int
order(const void *va, const void *vb)
{
	const struct item *a = va, *b = vb;

	if (strcmp(a->path, b->path) != 0)
		return index_before(a->path, b->path) ? -1 : 1;
	return a->nth < b->nth ? -1 : 1;
}

static int
add(struct stree *t, const struct entry *en, uint64_t nth, struct err *e)
{
	struct item *i;
	size_t cap;
	void *p;

	if (t->n == t->cap) {
		cap = t->cap == 0 ? 64 : 2 * t->cap;
		if ((p = realloc(t->item, cap * sizeof(*i))) == NULL)
			return err_oom(e);
		t->item = p;
		t->cap = cap;
	}
	i = &t->item[t->n];
	memset(i, 0, sizeof(*i));
	i->en = *en;
	i->nth = nth;
	if ((i->path = strdup(en->path)) == NULL)
		return err_oom(e);
	t->n++;
	if (en->target != NULL && (i->target = strdup(en->target)) == NULL)
		return err_oom(e);
	return 0;
}

static int
scan(struct stree *t, struct err *e)
{
	struct reader *rd = archive_reader_at(t->r, &t->how, t->log, e);
	const struct entry *en;
	struct content *c;
	uint64_t nth = 0;
	size_t i, k;
	int r = -1;

	if (rd == NULL)
		return -1;
	while ((r = reader_next(rd, &en, &c, e)) == 1)
		if (add(t, en, nth++, e) == -1) {
			r = -1;
			break;
		}
	reader_close(rd);
	if (r == -1)
		return -1;
	if (t->n > 0)
		qsort(t->item, t->n, sizeof(*t->item), order);
	for (i = k = 0; i < t->n; i++) {
		if (i + 1 < t->n &&
		    strcmp(t->item[i].path, t->item[i + 1].path) == 0) {
			free(t->item[i].path);
			free(t->item[i].target);
			continue;
		}
		t->item[k++] = t->item[i];
	}
	t->n = k;
	return 0;
}

/* The first item that is path or comes after it. */
static size_t
lower(const struct stree *t, const char *path)
{
	size_t lo = 0, hi = t->n, mid;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (index_before(t->item[mid].path, path))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* NULL with CALA_NOTFOUND, or without err when only made up of others. */
static struct item *
get(struct stree *t, const char *path, struct err *e)
{
	size_t i = lower(t, path);

	if (i < t->n && strcmp(t->item[i].path, path) == 0)
		return &t->item[i];
	if (*path != '\0' &&
	    (i == t->n || !entry_below(t->item[i].path, path)))
		err_set(e, CALA_NOTFOUND, "%s: not in the archive",
		    str_q(path));
	return NULL;
}

static void
show(const struct item *i, struct entry *en)
{
	*en = i->en;
	en->path = i->path;
	en->target = i->target;
	en->uname = en->gname = "";
	en->xattrs = NULL;
	en->nxattrs = 0;
	en->sparse = false;
	en->extents = NULL;
	en->nextents = 0;
}

static int
s_list(struct tree *tr, const char *path, tree_fn *fn, void *arg,
    struct err *e)
{
	struct stree *t = (struct stree *)tr;
	struct lister l;
	struct entry en;
	size_t i;
	int r = 0;

	lister_init(&l, path, true, fn, arg);
	for (i = lower(t, path); i < t->n && r == 0; i++) {
		show(&t->item[i], &en);
		r = lister_add(&l, &en, e);
	}
	if (r != -1)
		r = lister_end(&l, e);
	lister_fini(&l);
	return r == -1 ? -1 : 0;
}

/* Read again up to the entry. */
static int
again(struct stree *t, const struct item *i, const struct entry **en,
    struct content **c, struct err *e)
{
	uint64_t k;
	int r;

	reader_close(t->rd);
	t->rd = archive_reader_at(t->r, &t->how, t->log, e);
	if (t->rd == NULL)
		return -1;
	for (k = 0; k <= i->nth; k++)
		if ((r = reader_next(t->rd, en, c, e)) != 1)
			return r == -1 ? -1 : err_set(e, CALA_INTEGRITY,
			    "the archive has changed");
	return 0;
}

static int
s_stat(struct tree *tr, const char *path, struct entry *out, struct err *e)
{
	struct stree *t = (struct stree *)tr;
	struct item *i = get(t, path, e);

	if (i != NULL) {
		show(i, out);
		return 0;
	}
	if (e->code != 0)
		return -1;
	free(t->given);
	if ((t->given = strdup(path)) == NULL)
		return err_oom(e);
	memset(out, 0, sizeof(*out));
	out->type = ENTRY_DIR;
	out->path = t->given;
	out->mode = 0755;
	out->uname = out->gname = "";
	return 0;
}

static struct content *
s_open(struct tree *tr, const char *path, uint64_t off, uint64_t len,
    struct err *e)
{
	struct stree *t = (struct stree *)tr;
	const struct entry *en;
	struct content *c;
	struct item *i = get(t, path, e);
	int k;

	for (k = 0; i != NULL && i->en.type == ENTRY_HARDLINK; k++)
		i = k == LINKS_MAX ? NULL : get(t, i->target, e);
	if (i == NULL || i->en.type != ENTRY_FILE) {
		if (e->code == 0)
			err_set(e, CALA_NOTFOUND, "%s: not a file",
			    str_q(path));
		return NULL;
	}
	if (again(t, i, &en, &c, e) == -1)
		return NULL;
	if (c == NULL) {
		err_set(e, CALA_INTEGRITY, "the archive has changed");
		return NULL;
	}
	return slice_set(&t->slice, c, off, len, e) == -1 ? NULL :
	    &t->slice.c;
}

struct part {
	struct reader r;
	struct stree *t;
	struct reader *rd;
	char **paths;
	size_t npaths;
	struct entry entry;
};

/*
 * A file that was not asked for, but a link to it was: it is given under the
 * first such link's name; that link is then left out, others point at it.
 */
static void
stand_in(struct part *p)
{
	struct stree *t = p->t;
	struct err e = ERR_INIT;
	struct item *i, *to;
	size_t k;

	for (k = 0; k < t->n; k++)
		t->item[k].first = NULL;
	for (k = 0; k < t->n; k++) {
		i = &t->item[k];
		if (i->en.type != ENTRY_HARDLINK ||
		    !tree_below(i->path, p->paths, p->npaths) ||
		    tree_below(i->target, p->paths, p->npaths))
			continue;
		if ((to = get(t, i->target, &e)) != NULL &&
		    to->en.type != ENTRY_HARDLINK && to->first == NULL)
			to->first = i->path;
	}
}

static int
p_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	struct part *p = (struct part *)r;
	struct err none = ERR_INIT;
	struct item *i;
	int k;

	while ((k = reader_next(p->rd, en, c, e)) == 1) {
		if (!tree_below((*en)->path, p->paths, p->npaths)) {
			i = get(p->t, (*en)->path, &none);
			if (i == NULL || i->first == NULL)
				continue;
			p->entry = **en;
			p->entry.path = i->first;
			*en = &p->entry;
			return 1;
		}
		if ((*en)->type != ENTRY_HARDLINK ||
		    tree_below((*en)->target, p->paths, p->npaths))
			return 1;
		i = get(p->t, (*en)->target, &none);
		if (i == NULL || i->first == NULL) {
			log_warn(p->t->log, "%s: skipped; the file it links "
			    "to, %s, is not in the archive",
			    str_q((*en)->path), str_q((*en)->target));
			continue;
		}
		if (strcmp(i->first, (*en)->path) == 0)
			continue;
		p->entry = **en;
		p->entry.target = i->first;
		*en = &p->entry;
		return 1;
	}
	return k;
}

static void
p_close(struct reader *r)
{
	struct part *p = (struct part *)r;

	reader_close(p->rd);
	tree_paths_free(p->paths, p->npaths);
	free(p);
}

static struct reader *
s_reader(struct tree *tr, const char *const *paths, size_t n, struct err *e)
{
	static const struct reader_ops ops = { p_next, p_close };
	struct stree *t = (struct stree *)tr;
	struct part *p = calloc(1, sizeof(*p));
	size_t i;
	int all;

	if (p == NULL) {
		err_oom(e);
		return NULL;
	}
	p->r.ops = &ops;
	p->t = t;
	if ((all = tree_paths(paths, n, &p->paths, e)) == -1)
		goto fail;
	p->npaths = n;
	if (all) {
		p_close(&p->r);
		return archive_reader_at(t->r, &t->how, t->log, e);
	}
	for (i = 0; i < n; i++)
		if (get(t, p->paths[i], e) == NULL && e->code != 0)
			goto fail;
	stand_in(p);
	if ((p->rd = archive_reader_at(t->r, &t->how, t->log, e)) == NULL)
		goto fail;
	p->r.can = p->rd->can;
	return &p->r;
fail:
	p_close(&p->r);
	return NULL;
}

static void
s_close(struct tree *tr)
{
	struct stree *t = (struct stree *)tr;
	size_t i;

	reader_close(t->rd);
	for (i = 0; i < t->n; i++) {
		free(t->item[i].path);
		free(t->item[i].target);
	}
	free(t->item);
	free(t->given);
	free(t);
}

struct tree *
tree_scanned(struct ranged *r, const struct archive_read *how, struct log *log,
    struct err *e)
{
	static const struct tree_ops ops = { s_list, s_stat, s_open, s_reader,
	    s_close };
	struct stree *t = calloc(1, sizeof(*t));

	if (t == NULL) {
		err_oom(e);
		return NULL;
	}
	t->t.ops = &ops;
	t->r = r;
	t->how = *how;
	t->log = log;
	log_step(log, "the archive has no index: it is scanned from its "
	    "start");
	if (scan(t, e) == -1) {
		s_close(&t->t);
		return NULL;
	}
	return &t->t;
}
