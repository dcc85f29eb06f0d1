/*
 * The encoder: items in the order of entries, and behind each directory the
 * table of what is in it.
 *
 * The records and names of all open directories are in two arrays that grow
 * and shrink like stacks; each directory knows where its own begin.
 */

#include "pxar/pxar.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/str.h"
#include "pxar/acl.h"
#include "pxar/attrs.h"
#include "pxar/item.h"
#include "pxar/links.h"

enum {
	PIECE = 1 << 20,        /* content read at once: stops soon */
	ITEMS_MAX = 64 << 20,
	NAMES_MAX = 1 << 30
};

struct rec {
	uint64_t hash, pos, size;
	size_t name;            /* in names */
};

/* An open directory. */
struct level {
	uint64_t entry;         /* position of its ENTRY; the root's is 0 */
	uint64_t pos;           /* of its FILENAME */
	size_t recs, names;     /* its own begin there */
	size_t plen;            /* of its path */
	bool implied;
};

struct enc {
	struct writer w;
	struct sink *out;
	struct pxar_write how;
	struct log *log;
	uint64_t base, payload_base;
	uint64_t injected, last_ref;
	bool referred;
	struct pxar_sum sum;
	struct buf items, path, names;
	struct acl acl;
	struct plinks *links;
	struct rec *rec;
	size_t nrec, rec_room;
	struct level level[ENTRY_DEPTH_MAX + 1];
	size_t n;
};

static uint64_t
here(const struct enc *t)
{
	return t->out->pos - t->base;
}

static uint64_t
payload(const struct enc *t)
{
	return t->how.payload->pos - t->payload_base + t->injected;
}

static int
flush(struct enc *t, struct err *e)
{
	if (buf_failed(&t->items, e) == -1 ||
	    sink_write(t->out, t->items.p, t->items.len, e) == -1)
		return -1;
	buf_reset(&t->items);
	return 0;
}

/* ---- directories ---- */

/* Remember a name at pos; its size comes when it is known. */
static int
rec_add(struct enc *t, const char *name, uint64_t pos, struct err *e)
{
	size_t n = strlen(name), cap, bytes;
	struct rec *r;
	void *v;

	if (t->nrec == t->rec_room) {
		cap = t->rec_room == 0 ? 256 : 2 * t->rec_room;
		if (!size_mul(cap, sizeof(*r), &bytes) ||
		    (v = realloc(t->rec, bytes)) == NULL)
			return err_oom(e);
		t->rec = v;
		t->rec_room = cap;
	}
	r = &t->rec[t->nrec];
	r->hash = pxar_hash(name, n);
	r->pos = pos;
	r->size = 0;
	r->name = t->names.len;
	buf_add(&t->names, name, n + 1);
	if (buf_failed(&t->names, e) == -1)
		return -1;
	t->nrec++;
	return 0;
}

static int
by_hash(const void *va, const void *vb, void *names)
{
	const struct rec *a = va, *b = vb;

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	return strcmp((char *)names + a->name, (char *)names + b->name);
}

static int
put_rec(struct enc *t, uint64_t hash, uint64_t offset, uint64_t size,
    struct err *e)
{
	unsigned char p[PXAR_REC];

	put_le64(p, hash);
	put_le64(p + 8, offset);
	put_le64(p + 16, size);
	buf_add(&t->items, p, sizeof(p));
	return t->items.len < PIECE ? 0 : flush(t, e);
}

/* The table of the innermost directory, which is then closed. */
static int
goodbye(struct enc *t, struct err *e)
{
	struct level *l = &t->level[t->n - 1];
	size_t n = t->nrec - l->recs, i;
	struct rec *r = t->rec + l->recs, *x;
	uint64_t g = here(t), size = PXAR_HEAD + PXAR_REC * (n + 1);

	if (n > 1)
		qsort_r(r, n, sizeof(*r), by_hash, t->names.p);
	for (i = 1; i < n; i++)
		if (by_hash(&r[i - 1], &r[i], t->names.p) == 0)
			return err_set(e, CALA_FAIL, "%s: holds %s twice",
			    str_q(t->path.p), str_q(t->names.p + r[i].name));
	item_head(&t->items, PXAR_GOODBYE, size - PXAR_HEAD);
	for (i = 0; i < n; i++) {
		x = &r[pxar_goodbye(n, i)];
		if (put_rec(t, x->hash, g - x->pos, x->size, e) == -1)
			return -1;
	}
	if (put_rec(t, PXAR_GOODBYE_TAIL, g - l->entry, size, e) == -1 ||
	    flush(t, e) == -1)
		return -1;
	t->nrec = l->recs;
	buf_cut(&t->names, l->names);
	if (--t->n > 0) {
		t->rec[t->nrec - 1].size = here(t) - l->pos;
		buf_cut(&t->path, t->level[t->n - 1].plen);
		if (t->how.catalog != NULL)
			return pcat_leave(t->how.catalog, e);
	}
	return 0;
}

/* A directory, whose FILENAME is in items already, becomes the innermost. */
static int
descend(struct enc *t, const struct entry *en, uint64_t pos, bool implied,
    struct err *e)
{
	struct level *l = &t->level[t->n];

	if (t->n > ENTRY_DEPTH_MAX)
		return err_set(e, CALA_FAIL, "%s: more than %d levels deep",
		    str_q(en->path), ENTRY_DEPTH_MAX);
	if (t->n > 0 && t->how.catalog != NULL && pcat_enter(t->how.catalog,
	    entry_name(en->path), e) == -1)
		return -1;
	l->entry = t->n == 0 ? 0 : here(t) + t->items.len;
	attrs_put(&t->items, en, &t->acl, t->log);
	if (flush(t, e) == -1)
		return -1;
	l->pos = pos;
	l->recs = t->nrec;
	l->names = t->names.len;
	l->implied = implied;
	buf_reset(&t->path);
	buf_str(&t->path, en->path);
	l->plen = t->path.len;
	t->n++;
	t->sum.entries++;
	return buf_failed(&t->path, e);
}

static int
filename(struct enc *t, const char *path, uint64_t *pos, struct err *e)
{
	const char *name = entry_name(path);
	size_t n = strlen(name);

	if (n == 0 || n > PXAR_NAME_MAX)
		return err_set(e, CALA_FAIL, "%s: a name of %zu bytes",
		    str_q(path), n);
	*pos = here(t);
	item_head(&t->items, PXAR_FILENAME, n + 1);
	buf_add(&t->items, name, n + 1);
	return rec_add(t, name, *pos, e);
}

/* A directory that does not show by itself. */
static int
imply(struct enc *t, const char *path, size_t n, struct err *e)
{
	struct entry en = { .type = ENTRY_DIR, .mode = 0755, .uname = "",
	    .gname = "" };
	char *copy = str_ndup(path, n);
	uint64_t pos = 0;
	int ret = -1;

	if (copy == NULL)
		return err_oom(e);
	en.path = copy;
	if (t->n == 0 || filename(t, copy, &pos, e) == 0)
		ret = descend(t, &en, pos, true, e);
	free(copy);
	return ret;
}

static int
begin(struct enc *t, struct err *e)
{
	unsigned char h[PXAR_HEAD];

	if (t->how.payload == NULL)
		return 0;
	item_u64s(&t->items, PXAR_FORMAT_VERSION, 1, (const uint64_t[]){ 2 });
	if (t->how.prelude != NULL) {
		item_head(&t->items, PXAR_PRELUDE, t->how.prelude_len);
		buf_add(&t->items, t->how.prelude, t->how.prelude_len);
	}
	if (flush(t, e) == -1)
		return -1;
	put_le64(h, PXAR_PAYLOAD_START);
	put_le64(h + 8, PXAR_HEAD);
	return sink_write(t->how.payload, h, sizeof(h), e);
}

static bool
holds(const struct enc *t, const char *path)
{
	return entry_below(path, t->path.p) && strcmp(path, t->path.p) != 0;
}

/* Make the directory of path the innermost one. */
static int
place(struct enc *t, const char *path, struct err *e)
{
	const char *s;

	if (t->n == 0 && (begin(t, e) == -1 || imply(t, "", 0, e) == -1))
		return -1;
	while (t->level[t->n - 1].implied && t->n > 1 && !holds(t, path))
		if (goodbye(t, e) == -1)
			return -1;
	if (!holds(t, path))
		return err_set(e, CALA_FAIL, "%s: does not follow %s in an "
		    "order that pxar can hold", str_q(path),
		    str_q(t->path.p));
	for (;;) {
		s = path + t->path.len;
		s = strchr(s + (*s == '/'), '/');
		if (s == NULL)
			return 0;
		if (imply(t, path, (size_t)(s - path), e) == -1)
			return -1;
	}
}

/* ---- entries ---- */

static int
copy(struct sink *out, struct content *c, uint64_t n, const char *path,
    struct err *e)
{
	size_t room;
	ssize_t k;
	void *p;

	while (n > 0) {
		if (stop_check(e) == -1 ||
		    (p = sink_space(out, &room, e)) == NULL)
			return -1;
		if (room > PIECE)
			room = PIECE;
		if (room > n)
			room = (size_t)n;
		if ((k = content_read(c, p, room, e)) == -1)
			return -1;
		if (k == 0)
			return err_set(e, CALA_FAIL,
			    "%s: ended %ju bytes before its size",
			    str_q(path), (uintmax_t)n);
		if (sink_used(out, (size_t)k, e) == -1)
			return -1;
		n -= (uint64_t)k;
	}
	return 0;
}

static int
put_ref(struct enc *t, uint64_t off, uint64_t size, struct err *e)
{
	item_u64s(&t->items, PXAR_PAYLOAD_REF, 2, (const uint64_t[]){ off,
	    size });
	return flush(t, e);
}

/* A file's content in the payload stream; *extra: see the table's size. */
static int
content2(struct enc *t, const struct entry *en, struct content *c,
    uint64_t *extra, struct err *e)
{
	struct sink *out = t->how.payload;
	unsigned char h[PXAR_HEAD];
	uint64_t off, now = payload(t);
	int k = 0;

	if (t->how.reuse != NULL &&
	    (k = t->how.reuse(t->how.arg, en, &off, e)) == -1)
		return -1;
	if (k == 1) {
		if (off < now || (t->referred && off <= t->last_ref))
			return err_set(e, CALA_FAIL, "%s: its old content at "
			    "%ju is out of order", str_q(en->path),
			    (uintmax_t)off);
		t->last_ref = off;
		t->referred = true;
		return put_ref(t, off, en->size, e);
	}
	if (t->referred && now <= t->last_ref)
		return err_set(e, CALA_FAIL, "%s: old contents are referred "
		    "to, but were not put in", str_q(en->path));
	t->last_ref = now;
	t->referred = true;
	if (t->how.suggest != NULL &&
	    t->how.suggest(t->how.arg, now, e) == -1)
		return -1;
	put_le64(h, PXAR_PAYLOAD);
	put_le64(h + 8, en->size + PXAR_HEAD);
	/* Proxmox counts the bytes that are elsewhere as well. */
	*extra = en->size;
	if (put_ref(t, now, en->size, e) == -1 ||
	    sink_write(out, h, sizeof(h), e) == -1)
		return -1;
	return copy(out, c, en->size, en->path, e);
}

static int
content1(struct enc *t, const struct entry *en, struct content *c,
    struct err *e)
{
	item_head(&t->items, PXAR_PAYLOAD, en->size);
	if (flush(t, e) == -1)
		return -1;
	return copy(t->out, c, en->size, en->path, e);
}

/* 1: what the format can't hold, and said so. */
static int
unfit(struct enc *t, const struct entry *en, struct content *c, struct err *e)
{
	if (en->type == ENTRY_FILE && c == NULL && en->size > 0 &&
	    t->how.reuse == NULL)
		return err_set(e, CALA_FAIL, "%s: a file without content",
		    str_q(en->path));
	if (en->type == ENTRY_FILE && en->size > UINT64_MAX / 2)
		return err_set(e, CALA_FAIL, "%s: too large",
		    str_q(en->path));
	if (en->type == ENTRY_SYMLINK &&
	    strlen(en->target) > PXAR_NAME_MAX) {
		log_warn(t->log, "%s: left out; a target of more than %d "
		    "bytes", str_q(en->path), PXAR_NAME_MAX);
		return 1;
	}
	return 0;
}

/*
 * What another name of target is to be here: a HARDLINK (1) at distance *back,
 * an entry of its own (2: only files have other names), or nothing (0).
 */
static int
linked(struct enc *t, const struct entry *en, struct entry *own,
    uint64_t *back)
{
	const struct plink *l = plinks_find(t->links, en->target);

	if (l == NULL || (l->type == ENTRY_FILE &&
	    strlen(en->target) > PXAR_NAME_MAX)) {
		log_warn(t->log, "%s: left out; the file it links to, %s, "
		    "%s", str_q(en->path), str_q(en->target), l == NULL ?
		    "is not in the archive" : "has too long a path");
		return 0;
	}
	if (l->type == ENTRY_FILE) {
		*back = here(t) - l->pos;
		return 1;
	}
	*own = *en;
	own->type = l->type;
	own->target = l->target;
	own->rdev_major = l->major;
	own->rdev_minor = l->minor;
	return 2;
}

static int
put_link(struct enc *t, const struct entry *en, uint64_t back, struct err *e)
{
	size_t n = strlen(en->target) + 1;
	unsigned char p[8];

	put_le64(p, back);
	item_head(&t->items, PXAR_HARDLINK, 8 + n);
	buf_add(&t->items, p, sizeof(p));
	buf_add(&t->items, en->target, n);
	return flush(t, e);
}

/* All behind ENTRY and attributes. */
static int
tail(struct enc *t, const struct entry *en, struct content *c, uint64_t *extra,
    struct err *e)
{
	size_t n;

	switch (en->type) {
	case ENTRY_FILE:
		return t->how.payload != NULL ?
		    content2(t, en, c, extra, e) : content1(t, en, c, e);
	case ENTRY_SYMLINK:
		n = strlen(en->target) + 1;
		item_head(&t->items, PXAR_SYMLINK, n);
		buf_add(&t->items, en->target, n);
		break;
	case ENTRY_CHAR:
	case ENTRY_BLOCK:
		item_u64s(&t->items, PXAR_DEVICE, 2, (const uint64_t[]){
		    en->rdev_major, en->rdev_minor });
		break;
	default:
		break;
	}
	return flush(t, e);
}

static int
put_entry(struct enc *t, const struct entry *en, struct content *c,
    struct err *e)
{
	uint64_t pos, back = 0, extra = 0;
	struct entry own;
	size_t i;
	int k;

	if ((k = unfit(t, en, c, e)) != 0)
		return k == 1 ? 0 : -1;
	k = 0;
	if (en->type == ENTRY_HARDLINK) {
		if ((k = linked(t, en, &own, &back)) == 0)
			return 0;
		if (k == 2)
			en = &own;
	}
	if (filename(t, en->path, &pos, e) == -1)
		return -1;
	if (en->type == ENTRY_DIR)
		return descend(t, en, pos, false, e);
	/* None told: it may have other names, and a link may be linked to. */
	if ((k == 0 && en->nlink != 1 &&
	    plinks_add(t->links, en, en->type, pos, e) == -1) ||
	    (k == 1 && en->nlink == 0 &&
	    plinks_add(t->links, en, ENTRY_FILE, pos - back, e) == -1))
		return -1;
	i = t->nrec - 1;
	if (k == 1) {
		if (put_link(t, en, back, e) == -1)
			return -1;
	} else {
		attrs_put(&t->items, en, &t->acl, t->log);
		if (tail(t, en, c, &extra, e) == -1)
			return -1;
	}
	t->rec[i].size = here(t) - pos + extra;
	t->sum.entries++;
	t->sum.files++;
	t->sum.size += en->type == ENTRY_FILE ? en->size : 0;
	if (t->how.catalog == NULL)
		return 0;
	return pcat_add(t->how.catalog, en->type, entry_name(en->path),
	    en->size, en->mtime.tv_sec, e);
}

/* ---- the writer ---- */

static int
enc_put(struct writer *w, const struct entry *en, struct content *c,
    struct err *e)
{
	struct enc *t = (struct enc *)w;
	int k;

	if (en->path[0] == '\0') {
		if (en->type != ENTRY_DIR || t->n > 0)
			return err_set(e, CALA_FAIL, "the root is not the "
			    "first directory");
		return begin(t, e) == -1 ? -1 : descend(t, en, 0, false, e);
	}
	if ((k = place(t, en->path, e)) == -1)
		return -1;
	return put_entry(t, en, c, e) == -1 ? err_ctx(e, "pxar") : 0;
}

static int
enc_leave(struct writer *w, struct err *e)
{
	struct enc *t = (struct enc *)w;

	while (t->n > 1 && t->level[t->n - 1].implied)
		if (goodbye(t, e) == -1)
			return -1;
	if (t->n == 0)
		return err_set(e, CALA_FAIL, "pxar: no directory is open");
	return goodbye(t, e);
}

static bool
enc_known(struct writer *w, const struct entry *en)
{
	struct enc *t = (struct enc *)w;

	return t->how.known != NULL && t->how.known(t->how.arg, en);
}

static int
enc_commit(struct writer *w, struct err *e)
{
	struct enc *t = (struct enc *)w;
	unsigned char h[PXAR_HEAD];

	if (here(t) == 0 && (begin(t, e) == -1 || imply(t, "", 0, e) == -1))
		return -1;
	while (t->n > 0)
		if (goodbye(t, e) == -1)
			return -1;
	if (t->how.payload != NULL) {
		if (t->referred && payload(t) <= t->last_ref)
			return err_set(e, CALA_FAIL, "pxar: old contents are "
			    "referred to, but were not put in");
		put_le64(h, PXAR_PAYLOAD_END);
		put_le64(h + 8, PXAR_HEAD);
		if (sink_write(t->how.payload, h, sizeof(h), e) == -1 ||
		    sink_commit(t->how.payload, e) == -1)
			return -1;
	}
	return sink_commit(t->out, e);
}

static void
enc_abort(struct writer *w)
{
	struct enc *t = (struct enc *)w;

	buf_fini(&t->items);
	buf_fini(&t->path);
	buf_fini(&t->names);
	acl_fini(&t->acl);
	plinks_free(t->links);
	free(t->rec);
	free(t);
}

struct writer *
pxar_writer(struct sink *out, const struct pxar_write *how, struct log *log,
    struct err *e)
{
	static const struct writer_ops ops = { enc_put, enc_leave, enc_known,
	    enc_commit, enc_abort };
	struct enc *t = calloc(1, sizeof(*t));

	if (t == NULL) {
		err_oom(e);
		return NULL;
	}
	t->w.ops = &ops;
	t->out = out;
	if (how != NULL)
		t->how = *how;
	t->log = log;
	t->base = out->pos;
	if (t->how.payload != NULL)
		t->payload_base = t->how.payload->pos;
	buf_init(&t->items, ITEMS_MAX);
	buf_init(&t->path, ENTRY_PATH_MAX);
	buf_init(&t->names, NAMES_MAX);
	if ((t->links = plinks_new(e)) == NULL) {
		enc_abort(&t->w);
		return NULL;
	}
	return &t->w;
}

uint64_t
pxar_writer_payload(const struct writer *w)
{
	const struct enc *t = (const struct enc *)w;

	return t->how.payload == NULL ? 0 : payload(t);
}

int
pxar_writer_injected(struct writer *w, uint64_t n, struct err *e)
{
	struct enc *t = (struct enc *)w;
	uint64_t sum;

	if (t->how.payload == NULL || !u64_add(payload(t), n, &sum) ||
	    sum > UINT64_MAX / 2)
		return err_set(e, CALA_FAIL, "pxar: no room for old chunks");
	t->injected += n;
	return 0;
}

const struct pxar_sum *
pxar_writer_sum(const struct writer *w)
{
	return &((const struct enc *)w)->sum;
}
