/*
 * A tree over an index: names are looked up in the index, everything else is
 * read from the entry's own header, one frame away.
 */

#include "archive/tree.h"

#include <stdlib.h>
#include <string.h>

#include "archive/index.h"
#include "archive/seek.h"
#include "archive/tarr.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"

enum { LINKS_MAX = 8 };

struct itree {
	struct tree t;
	struct index *x;
	struct ranged *r;
	struct archive_read how;
	struct log *log;
	struct source *src;
	struct reader *rd;
	struct buf path, target;        /* clean, of the index entry at hand */
	struct slice slice;
	char *given;                    /* path of a made-up directory */
};

/* An entry as the index has it.  0; 1 when its name is unusable. */
static int
light(struct itree *t, const struct idx_entry *x, struct entry *en)
{
	const char *why;
	bool slash = x->path_len > 0 && x->path[x->path_len - 1] == '/';

	memset(en, 0, sizeof(*en));
	if (entry_path(&t->path, x->path, x->path_len, &why) == -1)
		return 1;
	en->path = t->path.p;
	en->uname = en->gname = "";
	en->mode = x->mode;
	en->uid = x->uid;
	en->gid = x->gid;
	en->mtime.tv_sec = x->mtime;
	switch (x->flag) {
	case '1':
		en->type = ENTRY_HARDLINK;
		if (entry_path(&t->target, x->target, x->target_len,
		    &why) == -1)
			return 1;
		en->target = t->target.p;
		break;
	case '2':
		en->type = ENTRY_SYMLINK;
		en->target = x->target;
		break;
	case '3': en->type = ENTRY_CHAR; break;
	case '4': en->type = ENTRY_BLOCK; break;
	case '5': en->type = ENTRY_DIR; break;
	case '6': en->type = ENTRY_FIFO; break;
	default:
		en->type = slash ? ENTRY_DIR : ENTRY_FILE;
		if (!slash)
			en->size = x->stored;
		break;
	}
	return 0;
}

struct find {
	struct itree *t;
	const char *path;
	bool found, implied;
	uint64_t head;
	enum entry_type type;
	char *target;           /* of a hard link */
};

static int
find_one(void *arg, const struct idx_entry *x, struct err *e)
{
	struct find *f = arg;
	struct entry en;

	if (light(f->t, x, &en) == 1 || !entry_below(en.path, f->path))
		return 0;
	if (strlen(en.path) != strlen(f->path)) {
		f->implied = true;
		return 0;
	}
	f->found = true;
	f->head = x->head;
	f->type = en.type;
	free(f->target);
	f->target = NULL;
	if (en.type == ENTRY_HARDLINK &&
	    (f->target = strdup(en.target)) == NULL)
		return err_oom(e);
	return f->t->x->ordered ? 1 : 0;
}

/* 0 in f; -1 also when it is not there at all. */
static int
find(struct itree *t, const char *path, struct find *f, struct err *e)
{
	memset(f, 0, sizeof(*f));
	f->t = t;
	f->path = path;
	if (index_scan(t->x, find_one, f, e) == -1) {
		free(f->target);
		f->target = NULL;
		return -1;
	}
	if (!f->found && !f->implied && *path != '\0')
		return err_set(e, CALA_NOTFOUND, "%s: not in the archive",
		    str_q(path));
	return 0;
}

/* The entry whose header is at head, whole. */
static int
at(struct reader *rd, uint64_t head, const struct entry **en,
    struct content **c, struct err *e)
{
	if (tarr_jump(rd, head, e) == -1)
		return -1;
	switch (reader_next(rd, en, c, e)) {
	case 1:
		return 0;
	case 0:
		return err_set(e, CALA_INTEGRITY, "the index points at byte "
		    "%ju, where no entry is", (uintmax_t)head);
	default:
		return -1;
	}
}

struct listing {
	struct itree *t;
	struct lister l;
};

static int
list_one(void *arg, const struct idx_entry *x, struct err *e)
{
	struct listing *li = arg;
	struct entry en;

	return light(li->t, x, &en) == 1 ? 0 : lister_add(&li->l, &en, e);
}

static int
i_list(struct tree *tr, const char *path, tree_fn *fn, void *arg,
    struct err *e)
{
	struct itree *t = (struct itree *)tr;
	struct listing li = { .t = t };
	int ret;

	lister_init(&li.l, path, t->x->ordered, fn, arg);
	ret = index_scan(t->x, list_one, &li, e);
	if (ret != -1)
		ret = lister_end(&li.l, e);
	lister_fini(&li.l);
	return ret == -1 ? -1 : 0;
}

static int
i_stat(struct tree *tr, const char *path, struct entry *out, struct err *e)
{
	struct itree *t = (struct itree *)tr;
	const struct entry *en;
	struct content *c;
	struct find f;
	int ret;

	if ((ret = find(t, path, &f, e)) == 0 && f.found) {
		if ((ret = at(t->rd, f.head, &en, &c, e)) == 0)
			*out = *en;
	} else if (ret == 0) {
		free(t->given);
		if ((t->given = strdup(path)) == NULL)
			return err_oom(e);
		memset(out, 0, sizeof(*out));
		out->type = ENTRY_DIR;
		out->path = t->given;
		out->mode = 0755;
		out->uname = out->gname = "";
	}
	free(f.target);
	return ret;
}

static struct content *
i_open(struct tree *tr, const char *path, uint64_t off, uint64_t len,
    struct err *e)
{
	struct itree *t = (struct itree *)tr;
	char *name = strdup(path);
	const struct entry *en;
	struct content *c = NULL;
	struct find f;
	int i, ret = -1;

	for (i = 0; name != NULL && i < LINKS_MAX; i++) {
		if (find(t, name, &f, e) == -1)
			goto out;
		if (!f.found || f.type != ENTRY_HARDLINK)
			break;
		free(name);
		name = f.target;
	}
	if (name == NULL) {
		err_oom(e);
		goto out;
	}
	if (i == LINKS_MAX || !f.found || f.type != ENTRY_FILE) {
		err_set(e, CALA_NOTFOUND, "%s: not a file", str_q(path));
		goto out;
	}
	if (at(t->rd, f.head, &en, &c, e) == -1)
		goto out;
	if (c == NULL) {
		err_set(e, CALA_INTEGRITY, "%s: the index calls it a file, "
		    "the archive does not", str_q(path));
		goto out;
	}
	ret = slice_set(&t->slice, c, off, len, e);
out:
	free(name);
	return ret == 0 ? &t->slice.c : NULL;
}

/* ---- a reader of some of it ---- */

struct run {
	uint64_t from, to;      /* headers in [from, to) */
};

/* The file of a link group whose own name was not asked for. */
struct need {
	char *target;           /* its name: the key */
	char *first;            /* which link became the file, or NULL */
	uint64_t head;
	bool found;
};

struct part {
	struct reader r;
	struct itree *t;
	char **paths;
	size_t npaths;
	bool *hit;
	struct run *run;
	size_t n, cap, i;
	bool open, started;
	struct need *need;      /* sorted by target after the first pass */
	size_t needs, need_cap;
	struct source *src, *src2;
	struct reader *rd, *rd2;
	struct entry entry;
};

static int
by_target(const void *a, const void *b)
{
	return strcmp(((const struct need *)a)->target,
	    ((const struct need *)b)->target);
}

static struct need *
need_get(struct part *p, const char *target)
{
	struct need key = { (char *)(uintptr_t)target, NULL, 0, false };

	return p->needs == 0 ? NULL : bsearch(&key, p->need, p->needs,
	    sizeof(key), by_target);
}

static int
need_add(struct part *p, const char *target, struct err *e)
{
	size_t cap;
	void *v;

	/* links of one group mostly follow each other */
	if (p->needs > 0 &&
	    strcmp(p->need[p->needs - 1].target, target) == 0)
		return 0;
	if (p->needs == p->need_cap) {
		cap = p->need_cap == 0 ? 16 : 2 * p->need_cap;
		v = realloc(p->need, cap * sizeof(*p->need));
		if (v == NULL)
			return err_oom(e);
		p->need = v;
		p->need_cap = cap;
	}
	memset(&p->need[p->needs], 0, sizeof(*p->need));
	if ((p->need[p->needs].target = strdup(target)) == NULL)
		return err_oom(e);
	p->needs++;
	return 0;
}

static void
need_sort(struct part *p)
{
	size_t i, k = 0;

	if (p->needs == 0)
		return;
	qsort(p->need, p->needs, sizeof(*p->need), by_target);
	for (i = 0; i < p->needs; i++)
		if (k > 0 && by_target(&p->need[k - 1], &p->need[i]) == 0)
			free(p->need[i].target);
		else
			p->need[k++] = p->need[i];
	p->needs = k;
}

/* First pass: which stretches of the tar, and which files behind links. */
static int
choose(void *arg, const struct idx_entry *x, struct err *e)
{
	struct part *p = arg;
	struct entry en;
	bool in = false;
	size_t i, cap;
	void *v;

	if (light(p->t, x, &en) == 0)
		for (i = 0; i < p->npaths; i++)
			if (entry_below(en.path, p->paths[i]))
				in = p->hit[i] = true;
	if (in && en.type == ENTRY_HARDLINK &&
	    !tree_below(en.target, p->paths, p->npaths) &&
	    need_add(p, en.target, e) == -1)
		return -1;
	if (in == p->open)
		return 0;
	p->open = in;
	if (!in) {
		p->run[p->n - 1].to = x->head;
		return 0;
	}
	if (p->n == p->cap) {
		cap = p->cap == 0 ? 16 : 2 * p->cap;
		if ((v = realloc(p->run, cap * sizeof(*p->run))) == NULL)
			return err_oom(e);
		p->run = v;
		p->cap = cap;
	}
	p->run[p->n].from = x->head;
	p->run[p->n++].to = UINT64_MAX;
	return 0;
}

static int
behind(void *arg, const struct idx_entry *x, struct err *e)
{
	struct part *p = arg;
	struct entry en;
	struct need *n;

	(void)e;
	if (light(p->t, x, &en) == 0 && en.type != ENTRY_HARDLINK &&
	    (n = need_get(p, en.path)) != NULL) {
		n->head = x->head;
		n->found = true;
	}
	return 0;
}

/* A link whose file is elsewhere: the first one becomes the file. */
static int
unlink_one(struct part *p, const struct entry **en, struct content **c,
    struct err *e)
{
	struct need *n = need_get(p, (*en)->target);
	const struct entry *file;

	if (n == NULL)
		return 1;
	p->entry = **en;
	*en = &p->entry;
	if (n->first != NULL) {
		p->entry.target = n->first;
		return 1;
	}
	if (!n->found) {
		log_warn(p->t->log, "%s: skipped; the file it links to, %s, is "
		    "not in the archive", str_q(p->entry.path),
		    str_q(p->entry.target));
		return 0;
	}
	if ((n->first = strdup(p->entry.path)) == NULL)
		return err_oom(e);
	if (at(p->rd2, n->head, &file, c, e) == -1)
		return -1;
	p->entry = *file;
	p->entry.path = n->first;
	return 1;
}

static int
p_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	struct part *p = (struct part *)r;
	struct tarr_where w;
	int k;

	while (p->i < p->n) {
		if (!p->started) {
			if (tarr_jump(p->rd, p->run[p->i].from, e) == -1)
				return -1;
			p->started = true;
		}
		if ((k = reader_next(p->rd, en, c, e)) == -1)
			return -1;
		tarr_where(p->rd, &w);
		if (k == 0 || w.head >= p->run[p->i].to) {
			p->i++;
			p->started = false;
			continue;
		}
		if ((*en)->type != ENTRY_HARDLINK)
			return 1;
		if ((k = unlink_one(p, en, c, e)) != 0)
			return k;
	}
	*en = NULL;
	*c = NULL;
	return 0;
}

static void
p_close(struct reader *r)
{
	struct part *p = (struct part *)r;
	size_t i;

	reader_close(p->rd);
	reader_close(p->rd2);
	for (i = 0; i < p->needs; i++) {
		free(p->need[i].target);
		free(p->need[i].first);
	}
	free(p->need);
	tree_paths_free(p->paths, p->npaths);
	free(p->hit);
	free(p->run);
	free(p);
}

static struct reader *
frames_reader(struct itree *t, struct err *e)
{
	struct source *s = seek_source(t->x, t->how.jobs, e);

	return s == NULL ? NULL : tarr_reader(s, true, seek_to, &t->how,
	    t->log, e);
}

static struct reader *
i_reader(struct tree *tr, const char *const *paths, size_t n, struct err *e)
{
	static const struct reader_ops ops = { p_next, p_close };
	struct itree *t = (struct itree *)tr;
	struct part *p = calloc(1, sizeof(*p));
	size_t i;
	int all;

	if (p == NULL) {
		err_oom(e);
		return NULL;
	}
	p->r.ops = &ops;
	p->r.can = READER_HOLES;
	p->t = t;
	if ((all = tree_paths(paths, n, &p->paths, e)) == -1)
		goto fail;
	p->npaths = n;
	if (all) {
		/* the whole has its own end to be checked, and more threads */
		p_close(&p->r);
		return archive_reader_at(t->r, &t->how, t->log, e);
	}
	if ((p->hit = calloc(n, sizeof(*p->hit))) == NULL) {
		err_oom(e);
		goto fail;
	}
	if (index_scan(t->x, choose, p, e) == -1)
		goto fail;
	need_sort(p);
	if (p->needs > 0 && index_scan(t->x, behind, p, e) == -1)
		goto fail;
	for (i = 0; i < n; i++)
		if (!p->hit[i]) {
			err_set(e, CALA_NOTFOUND, "%s: not in the archive",
			    str_q(p->paths[i]));
			goto fail;
		}
	if ((p->rd = frames_reader(t, e)) == NULL ||
	    (p->rd2 = frames_reader(t, e)) == NULL)
		goto fail;
	return &p->r;
fail:
	p_close(&p->r);
	return NULL;
}

static void
i_close(struct tree *tr)
{
	struct itree *t = (struct itree *)tr;

	reader_close(t->rd);
	index_free(t->x);
	buf_fini(&t->path);
	buf_fini(&t->target);
	free(t->given);
	free(t);
}

struct tree *
tree_indexed(struct index *x, struct ranged *r, const struct archive_read *how,
    struct log *log, struct err *e)
{
	static const struct tree_ops ops = { i_list, i_stat, i_open, i_reader,
	    i_close };
	struct itree *t = calloc(1, sizeof(*t));

	if (t == NULL) {
		index_free(x);
		err_oom(e);
		return NULL;
	}
	t->t.ops = &ops;
	t->x = x;
	t->r = r;
	t->how = *how;
	t->log = log;
	buf_init(&t->path, ENTRY_PATH_MAX);
	buf_init(&t->target, ENTRY_PATH_MAX);
	if ((t->rd = frames_reader(t, e)) == NULL) {
		i_close(&t->t);
		return NULL;
	}
	return &t->t;
}

struct tree *
archive_tree(struct ranged *r, const struct archive_read *how, struct log *log,
    struct err *e)
{
	struct index *x = index_open(r, e);

	if (x != NULL)
		return tree_indexed(x, r, how, log, e);
	if (e->code != 0 && e->code != CALA_INTEGRITY)
		return NULL;
	if (e->code == CALA_INTEGRITY) {
		log_warn(log, "%s; the archive is read from its start instead",
		    e->msg);
		err_clear(e);
	}
	return tree_scanned(r, how, log, e);
}
