/*
 * kopia_tree: a snapshot that can be entered anywhere.
 *
 * A directory is one object, so each step down is one run of the program; what
 * was read last is kept, since whoever lists a directory has just looked it up
 * in its parent.
 */

#include "exec/kopia_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum { TARGET_MAX = 1 << 16, DIR_MAX = 512 << 20 };

struct ktree {
	struct tree t;
	struct kopia *k;
	struct log *log;
	bool deep;
	unsigned jobs;
	char root[KOPIA_ID];
	struct entry root_entry;
	/* the directory that was read last */
	struct kopia_dir dir;
	char *dir_path;                 /* NULL: none */
	/* what stat lends */
	char *path, *target;
	struct kcontent *open;
};

/* The bytes of one file. */
struct kcontent {
	struct content c;
	struct kopia_run run;
	uint64_t skip;                  /* before the first that is wanted */
	bool whole;                     /* to the end: it must end there */
};

/* ---- a file's bytes ---- */

static ssize_t
more(struct kcontent *k, void *p, size_t n, struct err *e)
{
	ssize_t got;

	while (k->skip > 0) {
		got = child_read(k->run.child, p, n < k->skip ? n :
		    (size_t)k->skip, e);
		if (got == -1)
			return -1;
		if (got == 0)
			break;
		k->skip -= (uint64_t)got;
	}
	return child_read(k->run.child, p, n, e);
}

static ssize_t
c_read(struct content *c, void *p, size_t n, struct err *e)
{
	struct kcontent *k = (struct kcontent *)c;
	uint64_t left = c->size - c->pos;
	unsigned char extra[1];
	ssize_t got;

	if (left == 0) {
		if (!k->whole)
			return 0;
		k->whole = false;
		got = more(k, extra, sizeof(extra), e);
		if (got <= 0)
			return got;
		return err_set(e, CALA_INTEGRITY, "a file is longer than its "
		    "directory says");
	}
	got = more(k, p, n < left ? n : (size_t)left, e);
	if (got == 0)
		return err_set(e, CALA_INTEGRITY, "a file is shorter than its "
		    "directory says");
	return got;
}

static int
c_skip(struct content *c, uint64_t n, struct err *e)
{
	unsigned char block[16384];
	ssize_t got;

	while (n > 0) {
		got = c_read(c, block, n < sizeof(block) ? (size_t)n :
		    sizeof(block), e);
		if (got <= 0)
			return -1;
		n -= (uint64_t)got;
	}
	return 0;
}

static const struct content_ops c_ops = { c_read, c_skip, NULL };

static void
content_free(struct kcontent *k)
{
	if (k == NULL)
		return;
	kopia_end(&k->run);
	free(k);
}

static struct kcontent *
content_of(struct ktree *t, const char *oid, uint64_t size, uint64_t off,
    uint64_t len, struct err *e)
{
	struct kcontent *k = calloc(1, sizeof(*k));

	if (k == NULL) {
		err_oom(e);
		return NULL;
	}
	if (off > size)
		off = size;
	if (len > size - off)
		len = size - off;
	k->c.ops = &c_ops;
	k->c.size = len;
	k->skip = off;
	k->whole = len == size - off;
	if (kopia_show(&k->run, t->k, oid, e) == -1) {
		content_free(k);
		return NULL;
	}
	return k;
}

/* ---- looking up ---- */

static int
keep_dir(void *ctx, size_t i, const char *p, size_t n, struct err *e)
{
	struct ktree *t = ctx;

	(void)i;
	return kopia_dir(p, n, t->dir_path, &t->dir, e);
}

/*
 * The directory at ROOT/path.  Kopia prints whatever is there, and a file could
 * be written to look like a directory, with objects of other backups in it; only
 * `ls` insists on one.
 */
static int
fetch_dir(struct ktree *t, const char *where, struct err *e)
{
	const char *const args[] = { "ls", where, NULL };
	struct kopia_cmd cmd = { .what = "ls", .args = args,
	    .in = PROC_NULL };
	struct err own = ERR_INIT;
	struct kopia_run ls;
	int ret = kopia_start(&ls, t->k, &cmd, e);

	if (ret == 0)
		ret = kopia_fetch(t->k, &where, 1, DIR_MAX, 1, keep_dir, t,
		    e);
	/* That it is no directory says more than how it does not look so. */
	if ((ret == 0 || e->code == CALA_INTEGRITY) &&
	    child_finish(ls.child, &own) == -1) {
		*e = own;
		ret = -1;
	}
	kopia_end(&ls);
	return ret;
}

/* Make the directory path (of that id; NULL: to be found) t->dir. */
static int
load(struct ktree *t, const char *path, const char *oid, struct err *e)
{
	char *where, *own = strdup(path);
	int ret;

	if (own == NULL)
		return err_oom(e);
	if (t->dir_path != NULL && strcmp(t->dir_path, path) == 0) {
		free(own);
		return 0;
	}
	kopia_dir_fini(&t->dir);
	free(t->dir_path);
	t->dir_path = own;
	if (oid == NULL && *path == '\0')
		oid = t->root;
	if (oid != NULL) {
		ret = kopia_fetch(t->k, &oid, 1, DIR_MAX, 1, keep_dir, t, e);
	} else if ((where = str_join(t->root, path)) == NULL) {
		ret = err_oom(e);
	} else {
		ret = fetch_dir(t, where, e);
		free(where);
	}
	if (ret == -1) {
		kopia_dir_fini(&t->dir);
		free(t->dir_path);
		t->dir_path = NULL;
	}
	return ret;
}

static int
absent(const char *path, struct err *e)
{
	return err_set(e, CALA_NOTFOUND, "%s: not in the backup",
	    str_q(path));
}

/* NULL with err: CALA_NOTFOUND.  Lent until the next call. */
static const struct kopia_node *
find(struct ktree *t, const char *path, struct err *e)
{
	const char *name = entry_name(path);
	const struct kopia_node *n;
	char *parent;
	int ret;

	/* Kopia keeps no other names. */
	if (!str_utf8(path, strlen(path))) {
		absent(path, e);
		return NULL;
	}
	parent = str_ndup(path, name > path ? (size_t)(name - path) - 1 : 0);
	if (parent == NULL) {
		err_oom(e);
		return NULL;
	}
	ret = load(t, parent, NULL, e);
	free(parent);
	if (ret == -1) {
		/* Not there, or below something that is no folder. */
		if (e->code == CALA_NOTFOUND)
			absent(path, e);
		return NULL;
	}
	if ((n = kopia_dir_find(&t->dir, name, strlen(name))) == NULL)
		absent(path, e);
	return n;
}

static int
keep_target(void *ctx, size_t i, const char *p, size_t n, struct err *e)
{
	char **v = ctx;

	if (memchr(p, '\0', n) != NULL)
		return err_set(e, CALA_INTEGRITY, "a symbolic link's target "
		    "has a NUL byte");
	free(v[i]);
	v[i] = str_ndup(p, n);
	return v[i] != NULL ? 0 : err_oom(e);
}

static int
t_stat(struct tree *tree, const char *path, struct entry *en, struct err *e)
{
	struct ktree *t = (struct ktree *)tree;
	const struct kopia_node *n;
	char *copy;

	if (*path == '\0') {
		*en = t->root_entry;
		return 0;
	}
	if ((n = find(t, path, e)) == NULL)
		return -1;
	if ((copy = strdup(path)) == NULL)
		return err_oom(e);
	free(t->path);
	t->path = copy;
	*en = n->en;
	en->path = t->path;
	if (en->type == ENTRY_SYMLINK) {
		if (kopia_fetch(t->k, &n->oid, 1, TARGET_MAX, 1, keep_target,
		    &t->target, e) == -1)
			return -1;
		en->target = t->target;
	}
	return 0;
}

/* ---- targets of all links of a directory ---- */

static void
targets_free(char **v, size_t n)
{
	while (v != NULL && n > 0)
		free(v[--n]);
	free(v);
}

/* v[i] for the i-th entry; NULL for what is no link. */
static int
targets_of(struct ktree *t, const struct kopia_dir *d, char ***out,
    struct err *e)
{
	const char **oids = calloc(d->n + 1, sizeof(*oids));
	char **found = calloc(d->n + 1, sizeof(*found));
	char **v = calloc(d->n + 1, sizeof(*v));
	size_t i, n = 0;
	int ret = -1;

	if (oids == NULL || found == NULL || v == NULL) {
		err_oom(e);
		goto out;
	}
	for (i = 0; i < d->n; i++)
		if (d->v[i].en.type == ENTRY_SYMLINK)
			oids[n++] = d->v[i].oid;
	ret = kopia_fetch(t->k, oids, n, TARGET_MAX, t->jobs, keep_target,
	    found, e);
	for (i = n = 0; ret == 0 && i < d->n; i++)
		if (d->v[i].en.type == ENTRY_SYMLINK) {
			v[i] = found[n];
			found[n++] = NULL;
		}
	if (ret == 0) {
		*out = v;
		v = NULL;
	}
out:
	targets_free(found, d->n);
	targets_free(v, d->n);
	free(oids);
	return ret;
}

static int
t_list(struct tree *tree, const char *path, tree_fn *fn, void *arg,
    struct err *e)
{
	struct ktree *t = (struct ktree *)tree;
	const struct kopia_node *n = NULL;
	char **target = NULL, *oid = NULL;
	struct entry en;
	struct buf b;
	size_t i, count;
	int ret = -1;

	buf_init(&b, 2 * ENTRY_PATH_MAX);
	if (*path != '\0') {
		if ((n = find(t, path, e)) == NULL)
			goto out;
		if (n->en.type != ENTRY_DIR) {
			err_set(e, CALA_NOTFOUND, "%s: no directory",
			    str_q(path));
			goto out;
		}
		if ((oid = strdup(n->oid)) == NULL) {
			err_oom(e);
			goto out;
		}
	}
	if (load(t, path, oid, e) == -1 ||
	    targets_of(t, &t->dir, &target, e) == -1)
		goto out;
	count = t->dir.n;
	ret = 0;
	for (i = 0; i < count && ret == 0; i++) {
		en = t->dir.v[i].en;
		en.target = target[i];
		buf_reset(&b);
		buf_printf(&b, "%s%s%s", path, *path != '\0' ? "/" : "",
		    en.path);
		if (buf_failed(&b, e) == -1) {
			ret = -1;
			break;
		}
		en.path = b.p;
		ret = fn(arg, &en, e);
	}
	targets_free(target, count);
out:
	free(oid);
	buf_fini(&b);
	return ret;
}

static struct content *
t_open(struct tree *tree, const char *path, uint64_t off, uint64_t len,
    struct err *e)
{
	struct ktree *t = (struct ktree *)tree;
	const struct kopia_node *n = *path == '\0' ? NULL :
	    find(t, path, e);

	content_free(t->open);
	t->open = NULL;
	if (*path == '\0' || (n != NULL && n->en.type != ENTRY_FILE)) {
		err_set(e, CALA_USAGE, "%s: not a regular file", str_q(path));
		return NULL;
	}
	if (n == NULL)
		return NULL;
	t->open = content_of(t, n->oid, n->en.size, off, len, e);
	return t->open != NULL ? &t->open->c : NULL;
}

/* ---- all below some paths ---- */

enum { AHEAD = 16 };

/* A directory being walked. */
struct step {
	struct kopia_dir dir;
	char **target;
	size_t at;
	size_t path_len;
	/* folders in it that are read already: texts of [from, to) */
	char *text[AHEAD];
	size_t text_len[AHEAD], text_of[AHEAD];
	size_t ntext, used;
};

struct below {
	struct reader r;
	struct ktree *t;
	char **paths;
	size_t n, at;
	struct reader *stream;          /* of a directory */
	struct kcontent *content;       /* of a file */
	struct entry en;
	char *target;
	struct buf path;
	struct step *v;                 /* deep */
	size_t depth, room;
};

static int
keep_text(void *ctx, size_t i, const char *p, size_t n, struct err *e)
{
	struct step *s = ctx;

	if ((s->text[i] = malloc(n + 1)) == NULL)
		return err_oom(e);
	memcpy(s->text[i], p, n + 1);
	s->text_len[i] = n;
	return 0;
}

/* Read the folders of s from the one at s->at on, several at once. */
static int
read_ahead(struct below *b, struct step *s, struct err *e)
{
	const char *oids[AHEAD];
	size_t i, n = 0;

	for (i = s->at; i < s->dir.n && n < AHEAD; i++)
		if (s->dir.v[i].en.type == ENTRY_DIR) {
			oids[n] = s->dir.v[i].oid;
			s->text_of[n++] = i;
		}
	s->ntext = n;
	s->used = 0;
	return kopia_fetch(b->t->k, oids, n, DIR_MAX, b->t->jobs, keep_text,
	    s, e);
}

static void
step_fini(struct step *s)
{
	size_t i;

	targets_free(s->target, s->dir.n);
	for (i = 0; i < AHEAD; i++)
		free(s->text[i]);
	kopia_dir_fini(&s->dir);
	memset(s, 0, sizeof(*s));
}

/* The folder that text is of, at b->path, as a new step. */
static int
descend(struct below *b, const char *text, size_t n, struct err *e)
{
	struct step *s, *more_room;

	if (b->depth == ENTRY_DEPTH_MAX)
		return err_set(e, CALA_INTEGRITY, "%s: too deep",
		    str_q(b->path.p));
	if (b->depth == b->room) {
		b->room = b->room == 0 ? 16 : 2 * b->room;
		more_room = reallocarray(b->v, b->room, sizeof(*b->v));
		if (more_room == NULL)
			return err_oom(e);
		b->v = more_room;
	}
	s = &b->v[b->depth];
	memset(s, 0, sizeof(*s));
	if (kopia_dir(text, n, b->path.p, &s->dir, e) == -1)
		return -1;
	s->path_len = b->path.len;
	b->depth++;
	return targets_of(b->t, &s->dir, &s->target, e);
}

static int
descend_first(void *ctx, size_t i, const char *p, size_t n, struct err *e)
{
	(void)i;
	return descend(ctx, p, n, e);
}

/* 1 with b->en; 0 at the end of this directory tree. */
static int
walk_on(struct below *b, struct err *e)
{
	struct step *s;
	const struct kopia_node *n;
	size_t k;
	char *text;
	int ret;

	while (b->depth > 0) {
		s = &b->v[b->depth - 1];
		/* The folder given last is entered before what follows it. */
		if (s->at > 0 && s->dir.v[s->at - 1].en.type == ENTRY_DIR &&
		    (s->used == s->ntext || s->text_of[s->used] ==
		    s->at - 1)) {
			if (s->used == s->ntext) {
				s->at--;
				ret = read_ahead(b, s, e);
				s->at++;
				if (ret == -1)
					return -1;
			}
			k = s->used++;
			text = s->text[k];
			s->text[k] = NULL;
			/* It is marked as entered: the walk goes on behind. */
			s->dir.v[s->at - 1].en.type = ENTRY_FILE;
			ret = descend(b, text, s->text_len[k], e);
			free(text);
			if (ret == -1)
				return -1;
			continue;
		}
		buf_cut(&b->path, s->path_len);
		if (s->at == s->dir.n) {
			step_fini(s);
			b->depth--;
			continue;
		}
		n = &s->dir.v[s->at];
		b->en = n->en;
		b->en.target = s->target[s->at];
		s->at++;
		if (b->path.len > 0)
			buf_chr(&b->path, '/');
		buf_str(&b->path, n->en.path);
		if (buf_failed(&b->path, e) == -1)
			return -1;
		b->en.path = b->path.p;
		return 1;
	}
	return 0;
}

/* The next of the paths: 1 with its own entry, 0 when there are no more. */
static int
begin(struct below *b, struct content **c, struct err *e)
{
	const struct kopia_node *n;
	const char *path, *oid = b->t->root;

	if (b->at == b->n)
		return 0;
	path = b->paths[b->at++];
	if (*path == '\0') {
		b->en = b->t->root_entry;
	} else {
		if ((n = find(b->t, path, e)) == NULL)
			return -1;
		b->en = n->en;
		oid = n->oid;
	}
	buf_reset(&b->path);
	buf_str(&b->path, path);
	if (buf_failed(&b->path, e) == -1)
		return -1;
	b->en.path = b->path.p;
	if (b->en.type == ENTRY_SYMLINK) {
		if (kopia_fetch(b->t->k, &oid, 1, TARGET_MAX, 1, keep_target,
		    &b->target, e) == -1)
			return -1;
		b->en.target = b->target;
	} else if (b->en.type == ENTRY_DIR && b->t->deep) {
		if (kopia_fetch(b->t->k, &oid, 1, DIR_MAX, 1, descend_first,
		    b, e) == -1)
			return -1;
	} else if (b->en.type == ENTRY_DIR) {
		b->stream = kopia_stream(b->t->k, oid, path, &b->en,
		    b->t->log, e);
		if (b->stream == NULL)
			return -1;
		/* Its first entry is the directory itself. */
		return 2;
	} else if (!b->t->deep) {
		b->content = content_of(b->t, oid, b->en.size, 0, UINT64_MAX,
		    e);
		if (b->content == NULL)
			return -1;
		*c = &b->content->c;
	}
	return 1;
}

static int
b_next(struct reader *r, const struct entry **out, struct content **c,
    struct err *e)
{
	struct below *b = (struct below *)r;
	int got;

	*c = NULL;
	content_free(b->content);
	b->content = NULL;
	for (;;) {
		if (b->stream != NULL) {
			got = reader_next(b->stream, out, c, e);
			if (got != 0)
				return got;
			reader_close(b->stream);
			b->stream = NULL;
		}
		if (b->depth > 0) {
			if ((got = walk_on(b, e)) == 1)
				*out = &b->en;
			if (got != 0)
				return got;
		}
		got = begin(b, c, e);
		if (got == 1)
			*out = &b->en;
		if (got != 2)
			return got;
	}
}

static void
b_close(struct reader *r)
{
	struct below *b = (struct below *)r;

	reader_close(b->stream);
	content_free(b->content);
	while (b->depth > 0)
		step_fini(&b->v[--b->depth]);
	free(b->v);
	while (b->n > 0)
		free(b->paths[--b->n]);
	free(b->paths);
	free(b->target);
	buf_fini(&b->path);
	free(b);
}

static const struct reader_ops b_ops = { b_next, b_close };

/* Is it below another of them, or the same again? */
static bool
covered(const char *const *paths, size_t n, size_t i)
{
	size_t k;

	for (k = 0; k < n; k++)
		if (k != i && entry_below(paths[i], paths[k]) &&
		    (k < i || strcmp(paths[i], paths[k]) != 0))
			return true;
	return false;
}

static struct reader *
t_reader(struct tree *tree, const char *const *paths, size_t n,
    struct err *e)
{
	struct below *b = calloc(1, sizeof(*b));
	size_t i;

	if (b == NULL || (b->paths = calloc(n + 1, sizeof(*b->paths))) ==
	    NULL) {
		free(b);
		err_oom(e);
		return NULL;
	}
	b->r.ops = &b_ops;
	b->t = (struct ktree *)tree;
	buf_init(&b->path, 2 * ENTRY_PATH_MAX);
	for (i = 0; i < n; i++) {
		if (covered(paths, n, i))
			continue;
		if ((b->paths[b->n] = strdup(paths[i])) == NULL) {
			err_oom(e);
			b_close(&b->r);
			return NULL;
		}
		b->n++;
	}
	return &b->r;
}

static void
t_close(struct tree *tree)
{
	struct ktree *t = (struct ktree *)tree;

	content_free(t->open);
	kopia_dir_fini(&t->dir);
	free(t->dir_path);
	free(t->path);
	free(t->target);
	free(t);
}

static const struct tree_ops t_ops = {
	t_list, t_stat, t_open, t_reader, t_close
};

struct tree *
kopia_tree(struct kopia *k, const struct kopia_snap *s, bool deep,
    unsigned jobs, struct log *log, struct err *e)
{
	struct ktree *t = calloc(1, sizeof(*t));

	if (t == NULL) {
		err_oom(e);
		return NULL;
	}
	t->t.ops = &t_ops;
	t->k = k;
	t->log = log;
	t->deep = deep;
	t->jobs = jobs;
	memcpy(t->root, s->root, sizeof(t->root));
	t->root_entry = s->entry;
	return &t->t;
}
