#include "entry/holding.h"

#include <stdlib.h>

#include "base/err.h"
#include "entry/entry.h"

struct held_tree {
	struct tree t;
	struct tree *in;
	void *own;
	void (*drop)(void *);
};

static int
held_list(struct tree *t, const char *path, tree_fn *fn, void *arg,
    struct err *e)
{
	struct tree *in = ((struct held_tree *)t)->in;

	return in->ops->list(in, path, fn, arg, e);
}

static int
held_stat(struct tree *t, const char *path, struct entry *en, struct err *e)
{
	struct tree *in = ((struct held_tree *)t)->in;

	return in->ops->stat(in, path, en, e);
}

static struct content *
held_open(struct tree *t, const char *path, uint64_t off, uint64_t len,
    struct err *e)
{
	struct tree *in = ((struct held_tree *)t)->in;

	return in->ops->open(in, path, off, len, e);
}

static struct reader *
held_reader(struct tree *t, const char *const *paths, size_t n,
    struct err *e)
{
	struct tree *in = ((struct held_tree *)t)->in;

	return in->ops->reader(in, paths, n, e);
}

static void
held_close(struct tree *t)
{
	struct held_tree *h = (struct held_tree *)t;

	h->in->ops->close(h->in);
	h->drop(h->own);
	free(h);
}

struct tree *
tree_holding(struct tree *in, void *own, void (*drop)(void *), struct err *e)
{
	static const struct tree_ops ops = {
		held_list, held_stat, held_open, held_reader, held_close
	};
	struct held_tree *h = malloc(sizeof(*h));

	if (h == NULL) {
		err_oom(e);
		in->ops->close(in);
		drop(own);
		return NULL;
	}
	h->t.ops = &ops;
	h->in = in;
	h->own = own;
	h->drop = drop;
	return &h->t;
}

struct held_reader {
	struct reader r;
	struct reader *in;
	void *own;
	void (*drop)(void *);
};

static int
held_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	return reader_next(((struct held_reader *)r)->in, en, c, e);
}

static void
held_end(struct reader *r)
{
	struct held_reader *h = (struct held_reader *)r;

	reader_close(h->in);
	h->drop(h->own);
	free(h);
}

struct reader *
reader_holding(struct reader *in, void *own, void (*drop)(void *),
    struct err *e)
{
	static const struct reader_ops ops = { held_next, held_end };
	struct held_reader *h = malloc(sizeof(*h));

	if (h == NULL) {
		err_oom(e);
		reader_close(in);
		drop(own);
		return NULL;
	}
	h->r.ops = &ops;
	h->r.can = in->can;
	h->in = in;
	h->own = own;
	h->drop = drop;
	return &h->r;
}
