/*
 * An archive as a tree: from the root's table, found from the end, down by the
 * hashes of names.  Directories lie strictly inside those that hold them, which
 * is checked at each step.
 */

#include "pxar/reader.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/io.h"
#include "base/str.h"
#include "pxar/item.h"

enum { AHEAD = 4096, AHEAD_SPLIT = 64 << 10, AHEAD_BODY = 256 << 10 };

#define TABLE_MAX	((uint64_t)1 << 30)     /* bytes of a directory's */
#define LISTED_MAX	((size_t)512 << 20)      /* bytes of its entries */

/* Where something is. */
struct node {
	uint64_t pos;           /* its FILENAME */
	uint64_t entry;         /* its ENTRY or HARDLINK; the root's: 0 */
	uint64_t end;
	bool root;
};

/* A directory's table. */
struct table {
	uint64_t g, e;          /* where it begins, where its directory does */
	size_t n;
	unsigned char *rec;
};

struct ptree {
	struct tree t;
	struct ranged *meta, *payload;
	struct pxar_read how;
	struct log *log;
	bool split;
	struct in in, body_in, body_pay;
	struct found f;
	struct buf name, path;
	struct body body;
	char *body_path;
	/* the directory looked into last: one is asked for many names */
	struct table table;
	uint64_t table_end;
	bool has_payload;       /* its beginning was looked at */
};

static int
bad(struct ptree *t, struct err *e, const char *what)
{
	return decode_bad(e, &t->in, what);
}

/* The table of the directory that ends at end, into t->table. */
static int
open_dir(struct ptree *t, uint64_t end, struct err *e)
{
	unsigned char tail[PXAR_REC], h[PXAR_HEAD];
	uint64_t size, off, n;
	struct table *x = &t->table;

	if (t->table_end == end && end != 0)
		return 0;
	t->table_end = 0;
	free(x->rec);
	x->rec = NULL;
	if (end < PXAR_HEAD + PXAR_REC)
		return bad(t, e, "a directory too small for a table");
	if (ranged_read(t->meta, tail, PXAR_REC, end - PXAR_REC, e) == -1)
		return -1;
	if (get_le64(tail) != PXAR_GOODBYE_TAIL)
		return bad(t, e, "no goodbye tail where one must be");
	off = get_le64(tail + 8);
	size = get_le64(tail + 16);
	if (size < PXAR_HEAD + PXAR_REC || size > end ||
	    (size - PXAR_HEAD) % PXAR_REC != 0 || off > end - size)
		return bad(t, e, "a goodbye tail that points nowhere");
	x->g = end - size;
	x->e = x->g - off;
	n = (size - PXAR_HEAD) / PXAR_REC - 1;
	if (n > off / PXAR_DIRENT_MIN || size > TABLE_MAX)
		return bad(t, e, "a table with more entries than its "
		    "directory");
	if (ranged_read(t->meta, h, sizeof(h), x->g, e) == -1)
		return -1;
	if (get_le64(h) != PXAR_GOODBYE || get_le64(h + 8) != size)
		return bad(t, e, "a goodbye tail without its table");
	x->n = (size_t)n;
	if ((x->rec = malloc(x->n * PXAR_REC + 1)) == NULL)
		return err_oom(e);
	if (n > 0 && ranged_read(t->meta, x->rec, x->n * PXAR_REC,
	    x->g + PXAR_HEAD, e) == -1)
		return -1;
	t->table_end = end;
	return 0;
}

/* The i-th record as a node whose name is then in t->name. */
static int
node_at(struct ptree *t, size_t i, struct node *nd, struct err *e)
{
	const unsigned char *r = t->table.rec + i * PXAR_REC;
	uint64_t off = get_le64(r + 8), size = get_le64(r + 16);

	/* behind the directory's own entry, in front of its table */
	if (off == 0 || off > t->table.g - t->table.e)
		return bad(t, e, "a record outside of its directory");
	nd->pos = t->table.g - off;
	if (nd->pos == t->table.e || !u64_add(nd->pos, size, &nd->end))
		return bad(t, e, "a record outside of its directory");
	nd->root = false;
	if (in_seek(&t->in, nd->pos, e) == -1 ||
	    decode_name(&t->in, &t->name, e) == -1)
		return -1;
	nd->entry = t->in.pos;
	if (nd->end < nd->entry)
		return bad(t, e, "a record smaller than its name");
	return 0;
}

/* Is the i-th record that name?  1, 0, -1. */
static int
is(struct ptree *t, size_t i, const char *name, size_t n, struct node *nd,
    struct err *e)
{
	if (node_at(t, i, nd, e) == -1)
		return -1;
	return t->name.len == n && memcmp(t->name.p, name, n) == 0;
}

/* 1 with the node; 0: no such name; -1. */
static int
look_up(struct ptree *t, const char *name, size_t n, struct node *nd,
    struct err *e)
{
	uint64_t want = pxar_hash(name, n), h;
	size_t i = 0;
	int k;

	for (;;) {
		if (i >= t->table.n)
			return 0;
		h = get_le64(t->table.rec + i * PXAR_REC);
		if (want == h)
			break;
		i = 2 * i + (want < h ? 1 : 2);
	}
	if ((k = is(t, i, name, n, nd, e)) != 0)
		return k;
	/* Names with one hash may be anywhere below. */
	for (i = 0; i < t->table.n; i++)
		if (get_le64(t->table.rec + i * PXAR_REC) == want &&
		    (k = is(t, i, name, n, nd, e)) != 0)
			return k;
	return 0;
}

static int
absent(const char *path, struct err *e)
{
	return err_set(e, CALA_NOTFOUND, "%s: not in the archive",
	    str_q(path));
}

/* Decode what nd is into t->f. */
static int
load(struct ptree *t, const struct node *nd, const char *path, struct err *e)
{
	bool split;

	if (in_seek(&t->in, nd->entry, e) == -1 ||
	    (nd->root && decode_version(&t->in, &split, e) == -1))
		return -1;
	return decode_entry(&t->in, t->split, &t->f, path, t->log, e);
}

/* The node of path, decoded in t->f. */
static int
find(struct ptree *t, const char *path, struct node *nd, struct err *e)
{
	const char *p = path, *s;
	size_t n;
	int k;

	nd->pos = nd->entry = 0;
	nd->end = t->meta->size;
	nd->root = true;
	for (;; p = s) {
		while (*p == '/')
			p++;
		if (*p == '\0')
			break;
		s = strchr(p, '/');
		s = s == NULL ? p + strlen(p) : s;
		n = (size_t)(s - p);
		if (!nd->root) {
			if (load(t, nd, path, e) == -1)
				return -1;
			if (t->f.en.type != ENTRY_DIR)
				return absent(path, e);
			if (nd->end > t->table.g)
				return bad(t, e, "a directory outside of the "
				    "one that holds it");
		}
		if (open_dir(t, nd->end, e) == -1)
			return -1;
		if (!nd->root && t->table.e != nd->entry)
			return bad(t, e, "a table of another directory");
		if ((k = look_up(t, p, n, nd, e)) == -1)
			return -1;
		if (k == 0)
			return absent(path, e);
	}
	if (load(t, nd, path, e) == -1)
		return -1;
	if (nd->root && t->f.en.type != ENTRY_DIR)
		return bad(t, e, "a root that is no directory");
	if (!nd->root && t->f.en.type == ENTRY_DIR && nd->end > t->table.g)
		return bad(t, e, "a directory outside of the one that holds "
		    "it");
	return 0;
}

/* t->f's path for the entry handed out. */
static int
set_path(struct ptree *t, const char *dir, const char *name, struct err *e)
{
	buf_reset(&t->path);
	buf_str(&t->path, dir);
	if (t->path.len > 0 && *name != '\0')
		buf_chr(&t->path, '/');
	buf_str(&t->path, name);
	t->f.en.path = t->path.p;
	return buf_failed(&t->path, e);
}

static int
p_stat(struct tree *tr, const char *path, struct entry *out, struct err *e)
{
	struct ptree *t = (struct ptree *)tr;
	struct node nd;

	if (find(t, path, &nd, e) == -1 || set_path(t, path, "", e) == -1)
		return -1;
	*out = t->f.en;
	return 0;
}

/* ---- listing ---- */

struct kid {
	uint64_t pos;
	size_t i;               /* in the table */
	size_t name, raw, len;  /* in the list's buffers */
	const char *names;
};

struct list {
	struct kid *kid;
	struct buf names, raw;
};

static int
by_pos(const void *va, const void *vb)
{
	const struct kid *a = va, *b = vb;

	return a->pos < b->pos ? -1 : a->pos > b->pos;
}

static int
by_name(const void *va, const void *vb)
{
	const struct kid *a = va, *b = vb;
	int k = strcmp(a->names + a->name, b->names + b->name);

	return k != 0 ? k : by_pos(a, b);
}

/* Name and items of each, read in the order in which they lie. */
static int
gather(struct ptree *t, struct list *l, struct err *e)
{
	struct kid *kid = l->kid;
	uint64_t last = t->table.e;
	struct node nd;
	size_t i, n = t->table.n;
	char *p;

	for (i = 0; i < n; i++) {
		kid[i].i = i;
		kid[i].pos = t->table.g - get_le64(t->table.rec +
		    i * PXAR_REC + 8);
	}
	if (n > 1)
		qsort(kid, n, sizeof(*kid), by_pos);
	for (i = 0; i < n; i++) {
		if (node_at(t, kid[i].i, &nd, e) == -1)
			return -1;
		if (nd.pos < last)
			return bad(t, e, "an entry inside of another");
		kid[i].name = l->names.len;
		buf_add(&l->names, t->name.p, t->name.len + 1);
		if (decode_entry(&t->in, t->split, &t->f, t->name.p, t->log,
		    e) == -1)
			return -1;
		last = t->in.pos;
		kid[i].raw = l->raw.len;
		kid[i].len = (size_t)(t->in.pos - nd.entry);
		if ((p = buf_room(&l->raw, kid[i].len)) == NULL)
			return buf_failed(&l->raw, e);
		if (ranged_read(t->meta, p, kid[i].len, nd.entry, e) == -1)
			return -1;
		buf_grown(&l->raw, kid[i].len);
		if (buf_failed(&l->names, e) == -1)
			return -1;
	}
	for (i = 0; i < n; i++)
		kid[i].names = l->names.p;
	if (n > 1)
		qsort(kid, n, sizeof(*kid), by_name);
	return 0;
}

static int
p_list(struct tree *tr, const char *path, tree_fn *fn, void *arg,
    struct err *e)
{
	struct ptree *t = (struct ptree *)tr;
	struct list l = { NULL, { 0 }, { 0 } };
	struct node nd;
	struct in in;
	size_t i, n;
	char *dir = NULL;
	int k, ret = -1;

	buf_init(&l.names, LISTED_MAX);
	buf_init(&l.raw, LISTED_MAX);
	if (find(t, path, &nd, e) == -1)
		goto out;
	if (t->f.en.type != ENTRY_DIR) {
		err_set(e, CALA_NOTFOUND, "%s: not a directory", str_q(path));
		goto out;
	}
	if (open_dir(t, nd.end, e) == -1)
		goto out;
	n = t->table.n;
	/* fn may ask this tree for other things; path may be ours */
	if ((dir = strdup(path)) == NULL ||
	    (l.kid = calloc(n + 1, sizeof(*l.kid))) == NULL) {
		err_oom(e);
		goto out;
	}
	if (gather(t, &l, e) == -1)
		goto out;
	for (i = 0; i < n; i++) {
		in_memory(&in, l.raw.p + l.kid[i].raw, l.kid[i].len);
		k = decode_entry(&in, t->split, &t->f,
		    l.names.p + l.kid[i].name, t->log, e);
		if (k == -1 || set_path(t, dir, l.names.p + l.kid[i].name,
		    e) == -1)
			goto out;
		if ((k = fn(arg, &t->f.en, e)) != 0) {
			ret = k == -1 ? -1 : 0;
			goto out;
		}
	}
	ret = 0;
out:
	free(dir);
	free(l.kid);
	buf_fini(&l.names);
	buf_fini(&l.raw);
	return ret;
}

/* ---- contents ---- */

/* The file that the hard link in t->f, whose name is at pos, is. */
static int
follow(struct ptree *t, uint64_t pos, const char *path, struct err *e)
{
	if (t->f.back == 0 || t->f.back > pos)
		return bad(t, e, "a hard link to nowhere");
	if (in_seek(&t->in, pos - t->f.back, e) == -1 ||
	    decode_name(&t->in, &t->name, e) == -1 ||
	    decode_entry(&t->in, t->split, &t->f, path, t->log, e) == -1)
		return -1;
	return t->f.en.type == ENTRY_FILE ? 0 :
	    bad(t, e, "a hard link to no file");
}

/*
 * Before the first content, and not before: who only lists needs nothing of the
 * payload, which may be far away.
 */
static int
payload(struct ptree *t, struct err *e)
{
	unsigned char h[PXAR_HEAD];

	if (!t->split || t->payload == NULL || t->has_payload)
		return 0;
	if (t->payload->size < sizeof(h))
		memset(h, 0, sizeof(h));
	else if (ranged_read(t->payload, h, sizeof(h), 0, e) == -1)
		return -1;
	if (get_le64(h) != PXAR_PAYLOAD_START || get_le64(h + 8) != PXAR_HEAD)
		return decode_bad(e, &t->body_pay, "payload: not a payload "
		    "stream");
	t->has_payload = true;
	return 0;
}

static struct content *
p_open(struct tree *tr, const char *path, uint64_t off, uint64_t len,
    struct err *e)
{
	struct ptree *t = (struct ptree *)tr;
	struct node nd;
	struct in *pay = t->payload == NULL ? NULL : &t->body_pay;

	if (payload(t, e) == -1 || find(t, path, &nd, e) == -1 ||
	    (t->f.en.type == ENTRY_HARDLINK &&
	    follow(t, nd.pos, path, e) == -1))
		return NULL;
	if (t->f.en.type != ENTRY_FILE) {
		err_set(e, CALA_NOTFOUND, "%s: not a file", str_q(path));
		return NULL;
	}
	free(t->body_path);
	if ((t->body_path = strdup(path)) == NULL) {
		err_oom(e);
		return NULL;
	}
	if (off > t->f.en.size)
		off = t->f.en.size;
	if (len > t->f.en.size - off)
		len = t->f.en.size - off;
	body_set(&t->body, &t->body_in, pay, t->split, &t->f, t->body_path);
	/* only that part of it: content counts from there */
	t->body.from = off;
	t->body.c.size = len;
	return &t->body.c;
}

int
pxar_tree_payload(struct tree *tr, const char *path, uint64_t *off,
    uint64_t *size, struct err *e)
{
	struct ptree *t = (struct ptree *)tr;
	struct node nd;

	if (find(t, path, &nd, e) == -1)
		return -1;
	if (!t->split || t->f.en.type != ENTRY_FILE)
		return 1;
	*off = t->f.body;
	*size = t->f.en.size;
	return 0;
}

/* ---- a reader of some of it ---- */

static int
by_path(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/*
 * Clean, sorted copies of paths, without those below others; *out has n places.
 * Returns how many, -1.
 */
static int
clean_paths(const char *const *paths, size_t n, char **out, size_t *count,
    struct err *e)
{
	struct buf b;
	const char *why;
	size_t i, j, k = 0;
	int ret = -1;

	buf_init(&b, ENTRY_PATH_MAX);
	for (i = 0; i < n; i++) {
		if (entry_path(&b, paths[i], strlen(paths[i]), &why) == -1) {
			err_set(e, CALA_USAGE, "%s: %s", str_q(paths[i]), why);
			goto out;
		}
		if ((out[i] = strdup(b.p)) == NULL) {
			err_oom(e);
			goto out;
		}
	}
	qsort(out, n, sizeof(*out), by_path);
	for (i = 0; i < n; i++) {
		for (j = 0; j < k && !entry_below(out[i], out[j]); j++)
			;
		if (j == k) {
			out[k++] = out[i];
		} else {
			free(out[i]);
		}
	}
	for (i = k; i < n; i++)
		out[i] = NULL;
	*count = k;
	ret = 0;
out:
	buf_fini(&b);
	return ret;
}

static struct reader *
p_reader(struct tree *tr, const char *const *paths, size_t n, struct err *e)
{
	static const char *const all[] = { "" };
	struct ptree *t = (struct ptree *)tr;
	struct start *start = NULL;
	struct node nd;
	const char *s;
	char **own = NULL;
	size_t i, count = 0;

	if (n == 0) {
		paths = all;
		n = 1;
	}
	if ((own = calloc(n, sizeof(*own))) == NULL ||
	    (start = calloc(n, sizeof(*start))) == NULL) {
		err_oom(e);
		goto fail;
	}
	if (clean_paths(paths, n, own, &count, e) == -1) {
		count = n;
		goto fail;
	}
	for (i = 0; i < count; i++) {
		if (find(t, own[i], &nd, e) == -1)
			goto fail;
		s = strrchr(own[i], '/');
		start[i].dir = str_ndup(own[i], s == NULL ? 0 :
		    (size_t)(s - own[i]));
		if (start[i].dir == NULL) {
			err_oom(e);
			goto fail;
		}
		start[i].pos = nd.pos;
		start[i].root = nd.root;
	}
	return reader_parts(t->meta, t->payload, t->split, &t->how, start,
	    count, own, count, t->log, e);
fail:
	paths_free(own, n);
	starts_free(start, n);
	return NULL;
}

static void
p_close(struct tree *tr)
{
	struct ptree *t = (struct ptree *)tr;

	in_fini(&t->in);
	in_fini(&t->body_in);
	in_fini(&t->body_pay);
	found_fini(&t->f);
	buf_fini(&t->name);
	buf_fini(&t->path);
	free(t->body_path);
	free(t->table.rec);
	free(t);
}

struct tree *
pxar_tree(struct ranged *meta, struct ranged *payload,
    const struct pxar_read *how, struct log *log, struct err *e)
{
	static const struct tree_ops ops = { p_list, p_stat, p_open, p_reader,
	    p_close };
	struct ptree *t = calloc(1, sizeof(*t));

	if (t == NULL) {
		err_oom(e);
		return NULL;
	}
	t->t.ops = &ops;
	t->meta = meta;
	t->payload = payload;
	if (how != NULL)
		t->how = *how;
	t->log = log;
	found_init(&t->f);
	buf_init(&t->name, PXAR_NAME_MAX + 1);
	buf_init(&t->path, ENTRY_PATH_MAX);
	if (in_ranged(&t->in, meta, AHEAD, e) == -1 ||
	    in_ranged(&t->body_in, meta, AHEAD_BODY, e) == -1 ||
	    (payload != NULL &&
	    in_ranged(&t->body_pay, payload, AHEAD_BODY, e) == -1) ||
	    decode_version(&t->in, &t->split, e) == -1)
		goto fail;
	if (t->split)
		t->in.ahead = AHEAD_SPLIT;
	return &t->t;
fail:
	p_close(&t->t);
	return NULL;
}
