/* reader: a backup from its first entry to its last. */

#include "ddup/read.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "ddup/archive.h"
#include "ddup/feed.h"

enum { AHEAD = 256, AHEAD_BYTES = 2 << 20 };

/* An entry that waits for its turn; its strings are in it. */
struct wait {
	struct wait *next;
	struct entry en;
	uint64_t link;
	bool linked;
	struct ffile *ff;
	size_t bytes;
};

/* The first name, of those selected, of a file that has several. */
struct first {
	uint64_t number;
	char *path;
};

struct dreader {
	struct reader r;
	struct archive a;
	struct acursor *c;
	struct feed *feed;
	struct ddup_read how;
	struct log *log;
	char **paths;
	size_t npaths;
	struct wait *head, **tail, *now;
	unsigned waiting;
	size_t bytes;
	bool ended, failed;
	struct err why;                 /* how the cursor ended */
	struct first *firsts;           /* as a.links */
	struct content content;
	bool own;
};

static size_t
strings(const struct entry *en)
{
	size_t n = strlen(en->path) + 1, i;

	n += en->target != NULL ? strlen(en->target) + 1 : 0;
	for (i = 0; i < en->nxattrs; i++)
		n += strlen(en->xattrs[i].name) + 1 + en->xattrs[i].len;
	return n;
}

static char *
keep(char **at, const void *p, size_t n)
{
	char *to = *at;

	if (n > 0)
		memcpy(to, p, n);
	*at += n;
	return to;
}

static struct wait *
copy(const struct aent *x)
{
	const struct entry *en = &x->en;
	size_t fixed, n, i;
	struct xattr *xv;
	struct wait *w;
	char *at;

	fixed = sizeof(*w) + en->nxattrs * sizeof(*en->xattrs) +
	    en->nextents * sizeof(*en->extents);
	n = fixed + strings(en);
	if ((w = malloc(n)) == NULL)
		return NULL;
	memset(w, 0, sizeof(*w));
	w->en = *en;
	w->link = x->link;
	w->linked = x->linked;
	w->bytes = n;
	at = (char *)(w + 1);
	w->en.extents = (struct extent *)(void *)keep(&at, en->extents,
	    en->nextents * sizeof(*en->extents));
	xv = (struct xattr *)(void *)at;
	w->en.xattrs = xv;
	at = (char *)w + fixed;
	w->en.path = keep(&at, en->path, strlen(en->path) + 1);
	if (en->target != NULL)
		w->en.target = keep(&at, en->target, strlen(en->target) + 1);
	for (i = 0; i < en->nxattrs; i++) {
		xv[i].len = en->xattrs[i].len;
		xv[i].name = keep(&at, en->xattrs[i].name,
		    strlen(en->xattrs[i].name) + 1);
		xv[i].value = keep(&at, en->xattrs[i].value,
		    en->xattrs[i].len);
	}
	return w;
}

static bool
selected(const struct dreader *d, const char *path)
{
	size_t i;

	for (i = 0; i < d->npaths; i++)
		if (entry_below(path, d->paths[i]))
			return true;
	return d->npaths == 0;
}

static struct first *
first_of(struct dreader *d, uint64_t number)
{
	size_t lo = 0, hi = d->a.nlinks, mid;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (d->a.links[mid] < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < d->a.nlinks && d->a.links[lo] == number ?
	    &d->firsts[lo] : NULL;
}

/* 1: it is another name of a file that was given already. */
static int
link_name(struct dreader *d, struct wait *w, struct err *e)
{
	struct first *f;

	if (!w->linked || (f = first_of(d, w->link)) == NULL)
		return 0;
	if (f->path == NULL)
		return (f->path = strdup(w->en.path)) != NULL ? 0 :
		    err_oom(e);
	w->en.type = ENTRY_HARDLINK;
	w->en.target = f->path;
	w->en.size = 0;
	w->en.sparse = false;
	w->en.nextents = 0;
	return 1;
}

static int
take(struct dreader *d, const struct aent *x, struct err *e)
{
	struct wait *w;
	int link = 0;

	if (!selected(d, x->en.path))
		return 0;
	if ((w = copy(x)) == NULL)
		return err_oom(e);
	if (w->en.type == ENTRY_FILE && (link = link_name(d, w, e)) == -1) {
		free(w);
		return -1;
	}
	if (w->en.type == ENTRY_FILE &&
	    (w->ff = feed_add(d->feed, &x->body, x->en.path, 0, e)) == NULL) {
		free(w);
		return -1;
	}
	*d->tail = w;
	d->tail = &w->next;
	d->waiting++;
	d->bytes += w->bytes;
	return 0;
}

/* Entries ahead of the one being read, so that chunks can be decoded. */
static int
look_ahead(struct dreader *d, struct err *e)
{
	struct aent x;
	int got;

	while (!d->ended && (d->head == NULL || (d->waiting < AHEAD &&
	    d->bytes < AHEAD_BYTES && !feed_full(d->feed)))) {
		if ((got = acursor_next(d->c, &x, &d->why)) != 1) {
			d->ended = true;
			d->failed = got == -1;
			break;
		}
		if (take(d, &x, e) == -1 || feed_ahead(d->feed, e) == -1)
			return -1;
	}
	return 0;
}

static void
done(struct dreader *d)
{
	if (d->now == NULL)
		return;
	feed_drop(d->feed, d->now->ff);
	free(d->now);
	d->now = NULL;
}

static int
dreader_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	struct dreader *d = (struct dreader *)r;

	done(d);
	if (look_ahead(d, e) == -1)
		return -1;
	if (d->head == NULL) {
		if (!d->failed)
			return 0;
		if (!d->how.damaged || d->why.code != CALA_INTEGRITY) {
			*e = d->why;
			return -1;
		}
		log_warn(d->log, "%s; what comes behind it is lost",
		    d->why.msg);
		d->failed = false;
		return 0;
	}
	d->now = d->head;
	d->head = d->now->next;
	if (d->head == NULL)
		d->tail = &d->head;
	d->waiting--;
	d->bytes -= d->now->bytes;
	*en = &d->now->en;
	*c = NULL;
	if (d->now->en.type == ENTRY_FILE) {
		d->content.size = d->now->en.size;
		d->content.pos = 0;
		*c = &d->content;
	}
	return 1;
}

static struct dreader *
of(struct content *c)
{
	return (struct dreader *)((char *)c - offsetof(struct dreader,
	    content));
}

static ssize_t
read_content(struct content *c, void *p, size_t n, struct err *e)
{
	struct dreader *d = of(c);
	ssize_t got;

	if (look_ahead(d, e) == -1)
		return -1;
	got = feed_read(d->feed, d->now->ff, p, n, e);
	return got;
}

static int
skip_content(struct content *c, uint64_t n, struct err *e)
{
	struct dreader *d = of(c);

	return feed_skip(d->feed, d->now->ff, n, e);
}

static const struct content_ops content_ops = {
	read_content, skip_content, NULL
};

static void
dreader_close(struct reader *r)
{
	struct dreader *d = (struct dreader *)r;
	struct wait *w;
	size_t i;

	done(d);
	while ((w = d->head) != NULL) {
		d->head = w->next;
		if (d->feed != NULL)
			feed_drop(d->feed, w->ff);
		free(w);
	}
	feed_free(d->feed);
	acursor_free(d->c);
	for (i = 0; d->firsts != NULL && i < d->a.nlinks; i++)
		free(d->firsts[i].path);
	free(d->firsts);
	for (i = 0; i < d->npaths; i++)
		free(d->paths[i]);
	free(d->paths);
	archive_close(&d->a);
	free(d);
}

static const struct reader_ops reader_ops = { dreader_next, dreader_close };

static int
copy_paths(struct dreader *d, const char *const *paths, size_t n,
    struct err *e)
{
	size_t i;

	if (n == 0)
		return 0;
	if ((d->paths = calloc(n, sizeof(*d->paths))) == NULL)
		return err_oom(e);
	for (i = 0; i < n; i++) {
		if ((d->paths[i] = strdup(paths[i])) == NULL)
			return err_oom(e);
		d->npaths++;
	}
	return 0;
}

struct reader *
ddup_reader(struct ddup *r, const char *name, const char *const *paths,
    size_t n, const struct ddup_read *how, struct err *e)
{
	struct dreader *d = calloc(1, sizeof(*d));

	if (d == NULL) {
		err_oom(e);
		return NULL;
	}
	d->a.fd = -1;
	d->r.ops = &reader_ops;
	d->content.ops = &content_ops;
	d->tail = &d->head;
	d->how = *how;
	d->log = r->log;
	if (archive_open(&d->a, r, name, e) == -1 ||
	    copy_paths(d, paths, n, e) == -1 ||
	    (d->c = acursor_new(&d->a, e)) == NULL ||
	    (d->feed = feed_new(&d->a, how->jobs, how->damaged, e)) == NULL)
		goto fail;
	if ((d->firsts = calloc(d->a.nlinks + 1, sizeof(*d->firsts))) ==
	    NULL) {
		err_oom(e);
		goto fail;
	}
	d->r.can = (d->a.sorted ? READER_ORDERED : 0u) |
	    (d->a.ext ? READER_HOLES : 0u);
	return &d->r;
fail:
	dreader_close(&d->r);
	return NULL;
}
