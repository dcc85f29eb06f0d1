/* Directory listings and other small things that both trees share. */

#include "archive/tree.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"

struct kid {
	char *path, *target;
	struct entry en;
	bool real;
	size_t seq;
};

void
lister_init(struct lister *l, const char *dir, bool sorted, tree_fn *fn,
    void *arg)
{
	memset(l, 0, sizeof(*l));
	l->dir = dir;
	l->len = strlen(dir);
	l->sorted = sorted;
	l->fn = fn;
	l->arg = arg;
	l->found = l->len == 0;
}

static void
kid_free(struct kid *k)
{
	free(k->path);
	free(k->target);
}

static int
emit(struct lister *l, struct kid *k, struct err *e)
{
	int r;

	k->en.path = k->path;
	k->en.target = k->target;
	k->en.uname = k->en.gname = "";
	r = l->fn(l->arg, &k->en, e);
	if (r == 1)
		l->stopped = true;
	return r;
}

/* What is known of a child: exactly it, or something below it. */
static int
kid_set(struct kid *k, const struct entry *en, bool real, struct err *e)
{
	char *target = NULL;

	if (!real)
		return 0;
	if (en->target != NULL && (target = strdup(en->target)) == NULL)
		return err_oom(e);
	free(k->target);
	k->en = *en;
	k->en.xattrs = NULL;
	k->en.nxattrs = 0;
	k->en.extents = NULL;
	k->en.nextents = 0;
	k->target = target;
	k->real = true;
	return 0;
}

int
lister_add(struct lister *l, const struct entry *en, struct err *e)
{
	const char *p = en->path, *name, *slash;
	size_t len;
	struct kid *k;
	void *more;
	int r;

	if (!entry_below(p, l->dir))
		/* sorted: nothing of dir comes after what is behind it */
		return l->sorted && l->found && l->len > 0 ? 1 : 0;
	l->found = true;
	if (strlen(p) == l->len) {
		l->notdir = en->type != ENTRY_DIR;
		return 0;
	}
	l->notdir = false;
	name = p + l->len + (l->len > 0);
	slash = strchr(name, '/');
	len = slash == NULL ? strlen(p) : (size_t)(slash - p);
	if (l->n > 0) {
		k = &l->kid[l->n - 1];
		if (strncmp(k->path, p, len) == 0 && k->path[len] == '\0')
			return kid_set(k, en, slash == NULL, e);
		if (l->sorted) {
			r = emit(l, k, e);
			kid_free(k);
			l->n = 0;
			if (r != 0)
				return r;
		}
	}
	if (l->n == l->cap) {
		size_t cap = l->cap == 0 ? 16 : 2 * l->cap;

		if ((more = realloc(l->kid, cap * sizeof(*k))) == NULL)
			return err_oom(e);
		l->kid = more;
		l->cap = cap;
	}
	k = &l->kid[l->n];
	memset(k, 0, sizeof(*k));
	if ((k->path = str_ndup(p, len)) == NULL)
		return err_oom(e);
	k->en.type = ENTRY_DIR;
	k->en.mode = 0755;
	k->seq = l->n++;
	return kid_set(k, en, slash == NULL, e);
}

static int
by_name(const void *va, const void *vb)
{
	const struct kid *a = va, *b = vb;
	int c = strcmp(a->path, b->path);

	if (c != 0)
		return c;
	/* of one name, what is really there comes last, and the latest */
	if (a->real != b->real)
		return a->real ? 1 : -1;
	return a->seq < b->seq ? -1 : 1;
}

int
lister_end(struct lister *l, struct err *e)
{
	size_t i;
	int r;

	if (!l->found)
		return err_set(e, CALA_NOTFOUND, "%s: not in the archive",
		    str_q(l->dir));
	if (l->notdir)
		return err_set(e, CALA_NOTFOUND, "%s: not a directory",
		    str_q(l->dir));
	if (l->stopped || l->n == 0)
		return 0;
	qsort(l->kid, l->n, sizeof(*l->kid), by_name);
	for (i = 0; i < l->n; i++) {
		if (i + 1 < l->n &&
		    strcmp(l->kid[i].path, l->kid[i + 1].path) == 0)
			continue;
		if ((r = emit(l, &l->kid[i], e)) != 0)
			return r == -1 ? -1 : 0;
	}
	return 0;
}

void
lister_fini(struct lister *l)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		kid_free(&l->kid[i]);
	free(l->kid);
}

static ssize_t
sl_read(struct content *c, void *p, size_t n, struct err *e)
{
	ssize_t k = content_read(((struct slice *)c)->of, p, n, e);

	return k;
}

static int
sl_skip(struct content *c, uint64_t n, struct err *e)
{
	return content_skip(((struct slice *)c)->of, n, e);
}

int
slice_set(struct slice *s, struct content *of, uint64_t off, uint64_t len,
    struct err *e)
{
	static const struct content_ops ops = { sl_read, sl_skip, NULL };

	if (off > of->size)
		off = of->size;
	if (len > of->size - off)
		len = of->size - off;
	s->c.ops = &ops;
	s->c.size = len;
	s->c.pos = 0;
	s->of = of;
	return content_skip(of, off, e);
}

bool
tree_below(const char *path, char *const *paths, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (entry_below(path, paths[i]))
			return true;
	return false;
}

int
tree_paths(const char *const *paths, size_t n, char ***out, struct err *e)
{
	char **v = calloc(n + 1, sizeof(*v));
	const char *why;
	struct buf b;
	int all = n == 0;
	size_t i;

	buf_init(&b, ENTRY_PATH_MAX);
	for (i = 0; v != NULL && i < n; i++) {
		if (entry_path(&b, paths[i], strlen(paths[i]), &why) == -1) {
			err_set(e, CALA_USAGE, "%s: %s", str_q(paths[i]), why);
			goto fail;
		}
		all |= b.len == 0;
		if ((v[i] = strdup(b.p)) == NULL) {
			err_oom(e);
			goto fail;
		}
	}
	buf_fini(&b);
	*out = v;
	return v == NULL ? err_oom(e) : all;
fail:
	buf_fini(&b);
	tree_paths_free(v, n);
	return -1;
}

void
tree_paths_free(char **v, size_t n)
{
	size_t i;

	for (i = 0; v != NULL && i < n; i++)
		free(v[i]);
	free(v);
}
