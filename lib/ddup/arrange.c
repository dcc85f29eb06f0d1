#include "ddup/arrange.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "entry/entry.h"

enum { OUT = 256 << 10, ALIGN = 8, DROP = 4 << 20, HOPS = 16 };

/*
 * A record: this, then arrays (extents, refs), then strings with their NUL:
 * path, target, uname, gname; then name, u64 length, value of each attribute,
 * unaligned; then padding.  Nobody else ever reads it.
 */
struct record {
	uint64_t size;                  /* of the record, padded */
	struct entry en;                /* its pointers mean nothing */
	uint64_t nrefs;
	/*
	 * 0, or 1 + the place of the link that was given on as this file,
	 * because its name comes first
	 */
	uint64_t first;
	bool target, uname, gname;
};

struct arrange {
	struct log *log;
	int fd;
	uint64_t *at;                   /* where each record begins */
	size_t n, room;
	uint64_t len;
	struct buf last;                /* path of the entry before */
	bool sorted;
	size_t fill;
	unsigned char *map;
	/* the entry that is being given on */
	struct xattr *xattrs;
	size_t xattrs_room;
	unsigned char buf[OUT];
};

struct arrange *
arrange_new(int dirfd, struct log *log, struct err *e)
{
	struct arrange *a = calloc(1, sizeof(*a));

	if (a == NULL) {
		err_oom(e);
		return NULL;
	}
	a->log = log;
	a->sorted = true;
	buf_init(&a->last, ENTRY_PATH_MAX + 1);
	if ((a->fd = file_nameless(dirfd, ".", e)) == -1) {
		arrange_free(a);
		return NULL;
	}
	return a;
}

void
arrange_free(struct arrange *a)
{
	if (a == NULL)
		return;
	if (a->map != NULL)
		munmap(a->map, (size_t)a->len);
	if (a->fd != -1)
		close(a->fd);
	free(a->at);
	free(a->xattrs);
	buf_fini(&a->last);
	free(a);
}

/* ---- writing ---- */

static int
flush(struct arrange *a, struct err *e)
{
	if (a->fill > 0 && file_write_all(a->fd, a->buf, a->fill) == -1)
		return err_sys(e, "write the spool file");
	a->fill = 0;
	return 0;
}

static int
add(struct arrange *a, const void *v, size_t n, struct err *e)
{
	const unsigned char *p = v;
	size_t k;

	for (a->len += n; n > 0; n -= k, p += k) {
		k = OUT - a->fill < n ? OUT - a->fill : n;
		memcpy(a->buf + a->fill, p, k);
		a->fill += k;
		if (a->fill == OUT && flush(a, e) == -1)
			return -1;
	}
	return 0;
}

static size_t
text_size(const char *s)
{
	return s == NULL ? 0 : strlen(s) + 1;
}

/* An end comes first, then a slash, then all other bytes. */
static int
rank(char c)
{
	return c == '\0' ? 0 : c == '/' ? 1 : 1 + (unsigned char)c;
}

/* Depth first, siblings by bytes. */
static int
path_cmp(const char *a, const char *b)
{
	for (; *a == *b && *a != '\0'; a++, b++)
		;
	return rank(*a) - rank(*b);
}

/* Is the directory of path where we are, path its next child? */
static bool
follows(const char *last, const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t n = slash == NULL ? 0 : (size_t)(slash - path);

	/*
	 * In ascending order whatever begins with a directory comes right
	 * behind it: it is there when the entry before is it or is in it.
	 */
	return path_cmp(last, path) < 0 && (n == 0 ||
	    (strncmp(last, path, n) == 0 &&
	    (last[n] == '\0' || last[n] == '/')));
}

int
arrange_put(struct arrange *a, const struct entry *en, const uint32_t *refs,
    size_t nrefs, struct err *e)
{
	static const unsigned char zero[ALIGN];
	struct record r;
	uint64_t *v, vlen;
	size_t i, room;

	if (a->n == a->room) {
		room = a->room == 0 ? 1024 : a->room * 2;
		if ((v = reallocarray(a->at, room, sizeof(*v))) == NULL)
			return err_oom(e);
		a->at = v;
		a->room = room;
	}
	if (a->sorted && (a->n > 0 || *en->path != '\0'))
		a->sorted = follows(a->last.p, en->path);
	buf_reset(&a->last);
	if (buf_str(&a->last, en->path) == -1)
		return buf_failed(&a->last, e);
	memset(&r, 0, sizeof(r));
	r.en = *en;
	r.nrefs = nrefs;
	r.target = en->target != NULL;
	r.uname = en->uname != NULL;
	r.gname = en->gname != NULL;
	if (!en->sparse)
		r.en.nextents = 0;
	r.size = sizeof(r) + r.en.nextents * sizeof(struct extent) +
	    nrefs * sizeof(*refs) + text_size(en->path) +
	    text_size(en->target) + text_size(en->uname) + text_size(en->gname);
	for (i = 0; i < en->nxattrs; i++)
		r.size += text_size(en->xattrs[i].name) + sizeof(vlen) +
		    en->xattrs[i].len;
	room = (size_t)(0 - r.size) % ALIGN;
	r.size += room;
	a->at[a->n++] = a->len;
	if (add(a, &r, sizeof(r), e) == -1 ||
	    add(a, en->extents, r.en.nextents * sizeof(struct extent),
	    e) == -1 || add(a, refs, nrefs * sizeof(*refs), e) == -1 ||
	    add(a, en->path, text_size(en->path), e) == -1 ||
	    add(a, en->target, text_size(en->target), e) == -1 ||
	    add(a, en->uname, text_size(en->uname), e) == -1 ||
	    add(a, en->gname, text_size(en->gname), e) == -1)
		return -1;
	for (i = 0; i < en->nxattrs; i++) {
		vlen = en->xattrs[i].len;
		if (add(a, en->xattrs[i].name, text_size(en->xattrs[i].name),
		    e) == -1 || add(a, &vlen, sizeof(vlen), e) == -1 ||
		    add(a, en->xattrs[i].value, en->xattrs[i].len, e) == -1)
			return -1;
	}
	return add(a, zero, room, e);
}

/* ---- giving on ---- */

struct given {
	struct entry en;
	const uint32_t *refs;
	size_t nrefs;
};

static const char *
path_at(const struct arrange *a, uint64_t at)
{
	const struct record *r = (const void *)(a->map + at);

	return (const char *)(r + 1) +
	    r->en.nextents * sizeof(struct extent) +
	    r->nrefs * sizeof(uint32_t);
}

static const char *
next_str(const char **p, bool there)
{
	const char *s = *p;

	if (!there)
		return NULL;
	*p += strlen(s) + 1;
	return s;
}

static int
load(struct arrange *a, uint64_t at, struct given *g, struct err *e)
{
	const struct record *r = (const void *)(a->map + at);
	const char *p = path_at(a, at);
	struct xattr *x;
	uint64_t vlen;
	size_t i;

	g->en = r->en;
	g->en.extents = (const void *)(r + 1);
	g->refs = (const void *)(g->en.extents + r->en.nextents);
	g->nrefs = (size_t)r->nrefs;
	g->en.path = next_str(&p, true);
	g->en.target = next_str(&p, r->target);
	g->en.uname = next_str(&p, r->uname);
	g->en.gname = next_str(&p, r->gname);
	if (r->en.nxattrs > a->xattrs_room) {
		x = reallocarray(a->xattrs, r->en.nxattrs, sizeof(*x));
		if (x == NULL)
			return err_oom(e);
		a->xattrs = x;
		a->xattrs_room = r->en.nxattrs;
	}
	for (i = 0; i < r->en.nxattrs; i++) {
		x = &a->xattrs[i];
		x->name = next_str(&p, true);
		memcpy(&vlen, p, sizeof(vlen));
		p += sizeof(vlen);
		x->value = p;
		x->len = (size_t)vlen;
		p += vlen;
	}
	g->en.xattrs = a->xattrs;
	return 0;
}

static int
at_cmp(const void *x, const void *y, void *arg)
{
	const uint64_t *p = x, *q = y;
	int d = path_cmp(path_at(arg, *p), path_at(arg, *q));

	/* the same name: as they came */
	return d != 0 ? d : *p < *q ? -1 : *p > *q;
}

/* Of one name, the last. */
static void
sort(struct arrange *a)
{
	size_t i, n = 0;

	qsort_r(a->at, a->n, sizeof(*a->at), at_cmp, a);
	for (i = 0; i < a->n; i++) {
		if (i + 1 < a->n && path_cmp(path_at(a, a->at[i]),
		    path_at(a, a->at[i + 1])) == 0)
			continue;
		a->at[n++] = a->at[i];
	}
	a->n = n;
}

/* Where path is among the sorted, or SIZE_MAX. */
static size_t
search(const struct arrange *a, const char *path)
{
	size_t lo = 0, hi = a->n, mid;
	int d;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		d = path_cmp(path_at(a, a->at[mid]), path);
		if (d == 0)
			return mid;
		if (d < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return SIZE_MAX;
}

/* The directories that are open, and the way to the next entry. */
struct way {
	const struct arrange_to *to;
	struct buf path;                /* of the innermost */
	size_t depth;
};

static int
leave_one(struct way *w, struct err *e)
{
	const char *slash = strrchr(w->path.p, '/');

	buf_cut(&w->path, slash == NULL ? 0 : (size_t)(slash - w->path.p));
	w->depth--;
	return w->to->leave(w->to->arg, e);
}

/* A directory that the stream did not tell about. */
static int
make_dir(struct way *w, const char *path, size_t n, struct err *e)
{
	struct entry en;

	memset(&en, 0, sizeof(en));
	buf_reset(&w->path);
	buf_add(&w->path, path, n);
	if (buf_failed(&w->path, e) == -1)
		return -1;
	en.type = ENTRY_DIR;
	en.path = w->path.p;
	en.mode = 0755;
	en.unowned = true;
	w->depth++;
	return w->to->put(w->to->arg, &en, NULL, 0, e);
}

static int
go_to(struct way *w, const char *path, struct err *e)
{
	const char *slash = strrchr(path, '/'), *s;
	size_t n = slash == NULL ? 0 : (size_t)(slash - path);

	while (w->depth > 0 && (w->path.len > n ||
	    strncmp(path, w->path.p, w->path.len) != 0 ||
	    (path[w->path.len] != '/')))
		if (leave_one(w, e) == -1)
			return -1;
	while (w->path.len < n) {
		s = path + w->path.len + (w->depth > 0);
		s = memchr(s, '/', (size_t)(path + n - s));
		if (make_dir(w, path, s == NULL ? n : (size_t)(s - path),
		    e) == -1)
			return -1;
	}
	return 0;
}

/* What a link means in the end: its place, or SIZE_MAX. */
static size_t
file_of(const struct arrange *a, const char *target)
{
	const struct record *r;
	const char *p;
	size_t at, hops;

	for (hops = 0; hops < HOPS; hops++) {
		if ((at = search(a, target)) == SIZE_MAX)
			return at;
		r = (const void *)(a->map + a->at[at]);
		if (r->en.type != ENTRY_HARDLINK)
			return r->en.type == ENTRY_DIR ? SIZE_MAX : at;
		p = path_at(a, a->at[at]);
		(void)next_str(&p, true);
		target = p;
	}
	return SIZE_MAX;
}

/*
 * Of all names of a file the first one given on must be the file: a link that
 * comes before it takes its place, and it becomes a link.  A link to what never
 * came stays as it is, for others to judge.
 */
static int
settle_links(struct arrange *a, size_t i, struct given *g, struct err *e)
{
	struct record *r = (void *)(a->map + a->at[i]);
	const char *path = g->en.path;
	size_t at;

	if (g->en.type != ENTRY_HARDLINK) {
		if (r->first == 0)
			return 0;
		g->en.type = ENTRY_HARDLINK;
		g->en.target = path_at(a, a->at[r->first - 1]);
		g->nrefs = 0;
		return 0;
	}
	if ((at = file_of(a, g->en.target)) == SIZE_MAX)
		return 0;
	r = (void *)(a->map + a->at[at]);
	if (r->first != 0) {
		g->en.target = path_at(a, a->at[r->first - 1]);
	} else if (at < i) {
		g->en.target = path_at(a, a->at[at]);
	} else {
		r->first = i + 1;
		if (load(a, a->at[at], g, e) == -1)
			return -1;
		g->en.path = path;
	}
	return 0;
}

static int
give(struct arrange *a, const struct arrange_to *to, struct err *e)
{
	struct given g;
	struct way w;
	uint64_t dropped = 0;
	size_t i;
	bool root = false;
	int ret = -1;

	w.to = to;
	w.depth = 0;
	buf_init(&w.path, ENTRY_PATH_MAX + 1);
	for (i = 0; i < a->n; i++) {
		if (load(a, a->at[i], &g, e) == -1 ||
		    go_to(&w, g.en.path, e) == -1)
			goto out;
		if (!a->sorted && settle_links(a, i, &g, e) == -1)
			goto out;
		if (to->put(to->arg, &g.en, g.refs, g.nrefs, e) == -1)
			goto out;
		/* Front to back, and nothing was changed: once is enough. */
		if (a->sorted && a->at[i] - dropped > 2 * DROP) {
			(void)madvise(a->map + dropped, DROP, MADV_DONTNEED);
			dropped += DROP;
		}
		if (g.en.type != ENTRY_DIR)
			continue;
		if (*g.en.path == '\0') {
			root = true;
			continue;
		}
		buf_reset(&w.path);
		buf_str(&w.path, g.en.path);
		w.depth++;
	}
	while (w.depth > 0)
		if (leave_one(&w, e) == -1)
			goto out;
	ret = root ? to->leave(to->arg, e) : 0;
out:
	buf_fini(&w.path);
	return ret;
}

int
arrange_all(struct arrange *a, const struct arrange_to *to, struct err *e)
{
	void *p;

	if (flush(a, e) == -1)
		return -1;
	if (a->n == 0)
		return 0;
	p = mmap(NULL, (size_t)a->len, PROT_READ | PROT_WRITE, MAP_PRIVATE,
	    a->fd, 0);
	if (p == MAP_FAILED)
		return err_sys(e, "map the spool file");
	a->map = p;
	if (!a->sorted) {
		log_step(a->log, "the archive is in no order; sorting %zu "
		    "entries", a->n);
		sort(a);
	}
	return give(a, to, e);
}
