/*
 * restic_read: a snapshot as a tree.
 *
 * A listing names what is asked for in one go, but has no targets of links, no
 * device numbers and no names that are not text; where these are there, the
 * folder's own node is read, which has everything.
 */

#include "driver/restic_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/stop.h"
#include "base/str.h"

enum { WASTE = 64 << 10 };

void
rnode_fini(struct rnode *n)
{
	restic_node_fini(&n->n);
	json_decref(n->json);
	n->json = NULL;
}

void
rnodes_fini(struct rnodes *v)
{
	while (v->n > 0)
		rnode_fini(&v->v[--v->n]);
	free(v->v);
	v->v = NULL;
}

int
rnodes_add(struct rnodes *v, json_t *j, struct err *e)
{
	struct rnode *p = v->v;

	if ((v->n & (v->n - 1)) == 0) {
		p = realloc(p, (v->n == 0 ? 1 : 2 * v->n) * sizeof(*p));
		if (p == NULL)
			return err_oom(e);
		v->v = p;
	}
	if (restic_node(&p[v->n].n, j, e) == -1)
		return -1;
	p[v->n++].json = json_incref(j);
	return 0;
}

int
rtree_abs(const struct rtree *t, const char *path, struct buf *b,
    struct err *e)
{
	buf_reset(b);
	buf_str(b, t->snap.base);
	if (*path != '\0')
		buf_printf(b, "/%s", path);
	else if (*t->snap.base == '\0')
		buf_chr(b, '/');
	return buf_failed(b, e);
}

void
rtree_entry(const struct restic_node *n, const char *path, struct entry *en)
{
	memset(en, 0, sizeof(*en));
	en->type = (enum entry_type)n->type;
	en->path = path;
	en->target = n->type == ENTRY_SYMLINK ? n->target : NULL;
	en->size = n->size;
	en->mtime = n->mtime;
	en->mode = n->mode;
	en->uid = n->uid;
	en->gid = n->gid;
	en->uname = n->user != NULL ? n->user : "";
	en->gname = n->group != NULL ? n->group : "";
	if (n->type == ENTRY_CHAR || n->type == ENTRY_BLOCK) {
		en->rdev_major = n->rdev_major;
		en->rdev_minor = n->rdev_minor;
	}
}

/* ---- exact: the node of a folder ---- */

static int
add_node(void *arg, json_t *j, struct err *e)
{
	return rnodes_add(arg, j, e);
}

static int
read_nodes(void *arg, struct child *c, struct err *e)
{
	return child_member(c, "nodes", RESTIC_ITEM, add_node, arg, e);
}

static int
cat(struct rtree *t, const char *what, const char *id, struct rnodes *v,
    struct err *e)
{
	const char *const args[] = { "cat", what, "--", id, NULL };
	struct restic_run run = { .flags = RESTIC_READS | RESTIC_PLAIN,
	    .args = args };

	memset(v, 0, sizeof(*v));
	if (restic_do(t->r, &run, read_nodes, v, e) == 0)
		return 0;
	rnodes_fini(v);
	return -1;
}

/* Before 0.16 a folder can only be reached from the root, step by step. */
static int
descend(struct rtree *t, const char *abs, struct rnodes *v, struct err *e)
{
	char id[RESTICD_ID];
	const char *p = abs, *end;
	size_t i, n;

	memcpy(id, t->snap.tree, sizeof(id));
	for (;;) {
		if (id[0] == '\0')
			return err_set(e, CALA_NOTFOUND, "%s: no such "
			    "directory in the snapshot", str_q(abs));
		if (cat(t, "blob", id, v, e) == -1)
			return -1;
		while (*p == '/')
			p++;
		if (*p == '\0')
			return 0;
		end = strchrnul(p, '/');
		n = (size_t)(end - p);
		id[0] = '\0';
		for (i = 0; i < v->n; i++)
			if (strlen(v->v[i].n.name) == n &&
			    memcmp(v->v[i].n.name, p, n) == 0)
				memcpy(id, v->v[i].n.subtree, sizeof(id));
		rnodes_fini(v);
		p = end;
	}
}

int
rtree_exact(struct rtree *t, const char *path, struct rnodes *v,
    struct err *e)
{
	struct buf abs, ref;
	int ret = -1;

	memset(v, 0, sizeof(*v));
	buf_init(&abs, 2 * ENTRY_PATH_MAX);
	buf_init(&ref, 2 * ENTRY_PATH_MAX + RESTICD_ID);
	if (rtree_abs(t, path, &abs, e) == -1)
		goto out;
	if (restic_version(t->r) < RESTIC_SUBFOLDER) {
		ret = descend(t, abs.p, v, e);
		goto out;
	}
	buf_printf(&ref, "%s:%s", t->snap.ref, abs.p);
	ret = buf_failed(&ref, e) == -1 ? -1 : cat(t, "tree", ref.p, v, e);
out:
	buf_fini(&abs);
	buf_fini(&ref);
	return ret;
}

/* ---- look: one listing ---- */

int
rtree_listing(void *arg, struct child *c, struct err *e)
{
	struct rtree_looking *l = arg;
	const char *type;
	json_t *j;
	char *line;
	size_t n;
	int got, ret;

	while ((got = child_line(c, &line, &n, e)) == 1) {
		if ((j = child_json(line, n)) == NULL)
			continue;
		type = json_get_str(j, "struct_type");
		ret = 0;
		if (type != NULL && strcmp(type, "node") == 0) {
			if (l->any || l->root) {
				ret = rnodes_add(&l->t->below, j, e);
			} else if ((ret = restic_node(&l->t->self.n, j,
			    e)) == 0) {
				l->t->self.json = json_incref(j);
			}
			l->any = true;
		} else if (type != NULL && strcmp(type, "snapshot") == 0 &&
		    l->root) {
			l->any = true;
		}
		json_decref(j);
		if (ret == -1)
			return -1;
	}
	return got;
}

void
rtree_forget(struct rtree *t)
{
	rnode_fini(&t->self);
	memset(&t->self, 0, sizeof(t->self));
	rnodes_fini(&t->below);
	free(t->path);
	t->path = NULL;
	t->have = false;
}

void
rtree_looked(struct rtree *t)
{
	t->have = true;
	if (t->light)
		resticd_remember_node(t->call, t->snap.id, t->path,
		    t->self.json);
}

int
rtree_known(struct rtree *t, const char *path, struct err *e)
{
	json_t *j;

	if (resticd_recall_node(t->call, t->snap.id, path, &j) != 0)
		return 1;
	if (j == NULL || restic_node(&t->self.n, j, e) == 0) {
		t->self.json = j;
		t->have = (t->path = strdup(path)) != NULL;
		return t->have ? 0 : err_oom(e);
	}
	/* Whoever has written that: ask restic. */
	err_clear(e);
	json_decref(j);
	return 1;
}

static int
look(struct rtree *t, const char *path, struct err *e)
{
	const char *args[] = { "ls", "--", t->snap.ref, NULL, NULL };
	struct restic_run run = { .flags = RESTIC_READS, .args = args };
	struct rtree_looking l = { .t = t };
	struct buf abs;
	int ret = -1;

	if (t->have && strcmp(path, t->path) == 0)
		return 0;
	rtree_forget(t);
	if (t->light && (ret = rtree_known(t, path, e)) != 1)
		return ret;
	ret = -1;
	buf_init(&abs, 2 * ENTRY_PATH_MAX);
	if (rtree_abs(t, path, &abs, e) == -1)
		goto out;
	if ((t->path = strdup(path)) == NULL) {
		err_oom(e);
		goto out;
	}
	args[3] = abs.p;
	l.root = abs.p[1] == '\0';
	if (restic_do(t->r, &run, rtree_listing, &l, e) == -1)
		goto out;
	if (!l.any) {
		err_set(e, CALA_NOTFOUND, "not in backup %s",
		    t->call->backup);
		goto out;
	}
	rtree_looked(t);
	ret = 0;
out:
	buf_fini(&abs);
	if (ret == -1)
		rtree_forget(t);
	return ret;
}

int
rtree_again(struct rtree *t, struct err *e)
{
	struct resticd_snap now;
	int same;

	if (!t->recalled || stop_check(e) == -1)
		return 0;
	t->recalled = false;
	if (resticd_find(t->call, t->call->backup, &now, NULL, e) == -1)
		return -1;
	same = strcmp(now.id, t->snap.id) == 0;
	if (!same) {
		child_free(t->ahead);
		t->ahead = NULL;
		rtree_forget(t);
		resticd_snap_fini(&t->snap);
		t->snap = now;
		memset(&now, 0, sizeof(now));
	}
	resticd_snap_fini(&now);
	return !same;
}

int
rtree_look(struct rtree *t, const char *path, struct err *e)
{
	struct err own = ERR_INIT;
	int r;

	if (look(t, path, e) == 0) {
		t->based = true;
		return 0;
	}
	/* Each restic has its own words for a snapshot that is gone. */
	if ((r = rtree_again(t, &own)) == 1) {
		err_clear(e);
		return rtree_look(t, path, e);
	}
	if (r == -1) {
		*e = own;
		return -1;
	}
	if (e->code != CALA_NOTFOUND || t->based || *t->snap.base == '\0')
		return -1;
	if (*path != '\0' && look(t, "", &own) == 0) {
		t->based = true;
		return -1;
	}
	/* Who backs up "." has the folder for a root. */
	child_free(t->ahead);
	t->ahead = NULL;
	t->based = true;
	/* What is remembered by path would not be found by it. */
	t->light = false;
	*t->snap.base = '\0';
	err_clear(e);
	return look(t, path, e);
}

/* ---- the tree ---- */

static int
tlist(struct tree *tree, const char *path, tree_fn *fn, void *arg,
    struct err *e)
{
	struct rtree *t = (struct rtree *)tree;
	struct rnodes own = { NULL, 0 };
	const struct rnodes *v = &t->below;
	const struct restic_node *n;
	struct entry en;
	struct buf b;
	bool exact = false;
	size_t i;
	int ret = 0;

	if (rtree_look(t, path, e) == -1)
		return -1;
	if (t->self.json != NULL && t->self.n.type != ENTRY_DIR)
		return err_set(e, CALA_USAGE, "not a directory");
	for (i = 0; i < v->n; i++)
		exact |= v->v[i].n.mangled || (v->v[i].n.type != ENTRY_FILE &&
		    v->v[i].n.type != ENTRY_DIR);
	if (exact) {
		if (rtree_exact(t, path, &own, e) == -1)
			return -1;
		v = &own;
	}
	buf_init(&b, ENTRY_PATH_MAX);
	for (i = 0; i < v->n && ret == 0; i++) {
		n = &v->v[i].n;
		if (n->type == 0)
			continue;
		buf_reset(&b);
		buf_printf(&b, "%s%s%s", path, *path != '\0' ? "/" : "",
		    n->name);
		if (buf_failed(&b, e) == -1) {
			ret = -1;
			break;
		}
		rtree_entry(n, b.p, &en);
		ret = fn(arg, &en, e);
	}
	buf_fini(&b);
	rnodes_fini(&own);
	return ret;
}

/* What a listing does not tell of path is in its folder. */
static int
find_exact(struct rtree *t, const char *path, struct err *e)
{
	const char *name = entry_name(path);
	struct rnodes v;
	char *parent;
	size_t i;
	int ret;

	parent = str_ndup(path, name > path ? (size_t)(name - path) - 1 : 0);
	if (parent == NULL)
		return err_oom(e);
	ret = rtree_exact(t, parent, &v, e);
	free(parent);
	if (ret == -1)
		return -1;
	for (i = 0; i < v.n && strcmp(v.v[i].n.name, name) != 0; i++)
		;
	if (i < v.n) {
		rnode_fini(&t->found);
		t->found = v.v[i];
		memset(&v.v[i], 0, sizeof(v.v[i]));
	} else {
		ret = err_set(e, CALA_NOTFOUND, "not in backup %s",
		    t->call->backup);
	}
	rnodes_fini(&v);
	return ret;
}

/* The bytes of path, from its beginning. */
static int
bytes(struct rtree *t, const char *path, struct child **c, struct err *e)
{
	const char *args[] = { "dump", "--", t->snap.ref, NULL, NULL };
	struct restic_run run = { .flags = RESTIC_READS, .args = args };
	struct buf abs;
	int ret;

	buf_init(&abs, 2 * ENTRY_PATH_MAX);
	ret = rtree_abs(t, path, &abs, e);
	args[3] = abs.p;
	if (ret == 0)
		ret = restic_start(t->r, &run, c, e);
	buf_fini(&abs);
	return ret;
}

/*
 * Who wants a file's bytes asks first whether it is one, since of a folder
 * restic would give a tar.  Both questions take restic a while to begin with.
 */
static void
go_ahead(struct rtree *t, const char *path)
{
	struct err own = ERR_INIT;

	if (strcmp(t->call->verb, "cat") != 0 || t->ahead != NULL ||
	    (t->have && strcmp(path, t->path) == 0))
		return;
	free(t->ahead_path);
	if ((t->ahead_path = strdup(path)) != NULL)
		(void)bytes(t, path, &t->ahead, &own);
}

static int
tstat(struct tree *tree, const char *path, struct entry *en, struct err *e)
{
	struct rtree *t = (struct rtree *)tree;
	const struct restic_node *n = &t->self.n;

	go_ahead(t, path);
	if (rtree_look(t, path, e) == -1)
		return -1;
	if (t->self.json == NULL) {
		memset(en, 0, sizeof(*en));
		en->type = ENTRY_DIR;
		en->path = "";
		en->mode = 0755;
		en->uname = en->gname = "";
		return 0;
	}
	if (n->type != ENTRY_FILE && n->type != ENTRY_DIR) {
		if (find_exact(t, path, e) == -1)
			return -1;
		n = &t->found.n;
	}
	rtree_entry(n, t->path, en);
	return 0;
}

/*
 * The snapshot was only remembered, and restic has not given a byte of it: 0
 * when it has begun to give those of the backup as it is now.
 */
static int
begin_again(struct rcontent *r, struct err *e)
{
	struct rtree *t = r->tree;
	struct err own = ERR_INIT;
	uint64_t size = r->off + r->c.size;
	char *path = NULL;
	int ret = -1;

	if (r->begun || (path = strdup(t->path)) == NULL)
		return -1;
	switch (rtree_again(t, &own)) {
	case 0:
		break;
	case -1:
		*e = own;
		break;
	default:
		err_clear(e);
		child_free(r->child);
		r->child = NULL;
		if (rtree_look(t, path, e) == -1)
			break;
		if (t->self.json == NULL || t->self.n.type != ENTRY_FILE ||
		    (r->last ? t->self.n.size != size :
		    t->self.n.size < size))
			err_set(e, CALA_LOCKED, "somebody else has just "
			    "replaced the backup");
		else
			ret = bytes(t, path, &r->child, e);
	}
	free(path);
	return ret;
}

static ssize_t
pull(struct rcontent *r, void *p, size_t n, struct err *e)
{
	ssize_t got = child_read(r->child, p, n, e);

	if (got == -1 && begin_again(r, e) == 0)
		got = child_read(r->child, p, n, e);
	r->begun = true;
	return got;
}

static ssize_t
rcontent_read(struct content *c, void *p, size_t n, struct err *e)
{
	struct rcontent *r = (struct rcontent *)c;
	char waste[WASTE], more;
	ssize_t got;

	while (r->skip > 0) {
		got = pull(r, waste, r->skip < sizeof(waste) ?
		    (size_t)r->skip : sizeof(waste), e);
		if (got == 0)
			goto cut;
		if (got == -1)
			return -1;
		r->skip -= (uint64_t)got;
	}
	if ((got = pull(r, p, n, e)) == 0)
		goto cut;
	/* Its last bytes count only when restic says that all was well. */
	if (got > 0 && r->last && (uint64_t)got == c->size - c->pos) {
		switch (child_read(r->child, &more, 1, e)) {
		case 0:
			break;
		case -1:
			return -1;
		default:
			return err_set(e, CALA_INTEGRITY, "longer than the "
			    "snapshot says");
		}
	}
	return got;
cut:
	return err_set(e, CALA_INTEGRITY, "shorter than the snapshot says");
}

static int
rcontent_skip(struct content *c, uint64_t n, struct err *e)
{
	(void)e;
	((struct rcontent *)c)->skip += n;
	return 0;
}

static const struct content_ops rcontent_ops = {
	rcontent_read, rcontent_skip, NULL
};

static struct content *
topen(struct tree *tree, const char *path, uint64_t off, uint64_t len,
    struct err *e)
{
	struct rtree *t = (struct rtree *)tree;
	struct rcontent *c = &t->content;
	uint64_t size;

	if (rtree_look(t, path, e) == -1)
		return NULL;
	if (t->self.json == NULL || t->self.n.type != ENTRY_FILE) {
		err_set(e, CALA_USAGE, "not a regular file");
		return NULL;
	}
	child_free(c->child);
	memset(c, 0, sizeof(*c));
	size = t->self.n.size;
	if (off > size)
		off = size;
	c->c.ops = &rcontent_ops;
	c->c.size = len < size - off ? len : size - off;
	c->tree = t;
	c->off = c->skip = off;
	c->last = off + c->c.size == size;
	/* Nothing is read that would ask the repository: ask it so. */
	if (c->c.size == 0) {
		if (!t->light)
			return &c->c;
		t->light = false;
		rtree_forget(t);
		return topen(tree, path, off, len, e);
	}
	if (t->ahead != NULL && strcmp(t->ahead_path, path) == 0) {
		c->child = t->ahead;
		t->ahead = NULL;
		return &c->c;
	}
	return bytes(t, path, &c->child, e) == 0 ? &c->c : NULL;
}

static struct reader *
treader(struct tree *tree, const char *const *paths, size_t n, struct err *e)
{
	struct rtree *t = (struct rtree *)tree;

	/* ls -R asks for no contents. */
	return rtree_reader(t, paths, n, !t->call->recursive, true, e);
}

static void
tclose(struct tree *tree)
{
	struct rtree *t = (struct rtree *)tree;

	rtree_forget(t);
	rnode_fini(&t->found);
	child_free(t->content.child);
	child_free(t->ahead);
	free(t->ahead_path);
	resticd_snap_fini(&t->snap);
	free(t);
}

static const struct tree_ops rtree_ops = {
	tlist, tstat, topen, treader, tclose
};

/* What looks at one path can ask again; streams begin at once. */
static int
pick(struct rtree *t, struct err *e)
{
	static const char *const verbs[] = { "cat", "ls", "restore" };
	struct driver_call *call = t->call;
	size_t i;
	int r = 1;

	for (i = 0; i < sizeof(verbs) / sizeof(*verbs) &&
	    !call->recursive; i++)
		if (strcmp(call->verb, verbs[i]) == 0)
			r = resticd_recall(call, call->backup, &t->snap, NULL,
			    e);
	t->recalled = r == 0;
	t->light = strcmp(call->verb, "cat") == 0 ||
	    strcmp(call->verb, "restore") == 0;
	return r != 1 ? r : resticd_find(call, call->backup, &t->snap, NULL,
	    e);
}

int
resticd_tree(struct driver_call *call, struct tree **out, struct err *e)
{
	struct rtree *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return err_oom(e);
	t->t.ops = &rtree_ops;
	t->call = call;
	if (resticd_open(call, &t->r, e) == -1 || pick(t, e) == -1) {
		tclose(&t->t);
		return -1;
	}
	*out = &t->t;
	return 0;
}
