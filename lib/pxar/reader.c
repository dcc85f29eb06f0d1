/*
 * The decoder as a reader: of a whole archive that streams by, or of some
 * parts of one that can be read anywhere.
 */

#include "pxar/reader.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "pxar/links.h"
#include "pxar/item.h"

enum { AHEAD = 256 << 10, AHEAD_LINK = 4096 };

struct dec {
	struct reader r;
	struct in in, pay, in2, pay2;
	bool has_payload, split, begun, done;
	struct pxar_read how;
	struct log *log;
	uint64_t entries, size;
	struct buf path, name, clean;
	size_t plen[ENTRY_DEPTH_MAX + 1];       /* of the open directories */
	size_t n;
	struct found f, f2;
	struct entry en;
	struct body body;
	bool unread;            /* body's bytes are next in in */
	/* of parts: */
	struct start *start;
	size_t nstart, at;
	char **paths;
	size_t npaths;
	struct plinks *links;    /* a file's own path: the first link to it */
};

void
starts_free(struct start *s, size_t n)
{
	size_t i;

	for (i = 0; s != NULL && i < n; i++)
		free(s[i].dir);
	free(s);
}

void
paths_free(char **p, size_t n)
{
	size_t i;

	for (i = 0; p != NULL && i < n; i++)
		free(p[i]);
	free(p);
}

/* ---- contents ---- */

static struct in *
body_in(struct body *b, struct err *e)
{
	struct in *in;

	if (b->begun)
		return b->split ? b->pay : b->in;
	if (!b->split) {
		if (b->in->r != NULL &&
		    in_seek(b->in, b->at + b->from, e) == -1)
			return NULL;
	} else if (b->pay == NULL) {
		err_set(e, CALA_NOTFOUND, "%s: the payload archive is not at "
		    "hand", str_q(b->path));
		return NULL;
	} else if (decode_payload(b->pay, b->at, b->size, e) == -1 ||
	    in_skip(b->pay, b->from, e) == -1) {
		err_ctx(e, "%s", str_q(b->path));
		return NULL;
	}
	b->begun = true;
	in = b->split ? b->pay : b->in;
	if (in->r != NULL)
		ranged_expect(in->r, in->pos, b->c.size);
	return in;
}

static ssize_t
body_read(struct content *c, void *p, size_t n, struct err *e)
{
	struct in *in = body_in((struct body *)c, e);

	return in == NULL ? -1 : in_read(in, p, n, e);
}

static int
body_skip(struct content *c, uint64_t n, struct err *e)
{
	struct in *in = body_in((struct body *)c, e);

	return in == NULL ? -1 : in_skip(in, n, e);
}

static int
body_reopen(struct content *c, struct err *e)
{
	struct body *b = (struct body *)c;
	struct in *in = b->split ? b->pay : b->in;

	if (in == NULL || in->r == NULL)
		return err_set(e, CALA_FAIL, "this source reads once only");
	b->begun = false;
	return 0;
}

void
body_set(struct body *b, struct in *in, struct in *pay, bool split,
    const struct found *f, const char *path)
{
	static const struct content_ops ops =
	    { body_read, body_skip, body_reopen };

	memset(b, 0, sizeof(*b));
	b->c.ops = &ops;
	b->c.size = b->size = f->en.size;
	b->in = in;
	b->pay = pay;
	b->split = split;
	b->at = f->body;
	b->path = path;
}

/* ---- entries ---- */

/* What was not read of the last file is passed over. */
static int
finish(struct dec *d, struct err *e)
{
	if (!d->unread)
		return 0;
	d->unread = false;
	if (d->in.r != NULL)
		return in_seek(&d->in, d->f.body + d->f.en.size, e);
	return in_skip(&d->in, d->body.c.size - d->body.c.pos, e);
}

static int
count(struct dec *d, struct err *e)
{
	if (d->how.max_entries != 0 && d->entries == d->how.max_entries)
		return err_set(e, CALA_FAIL, "pxar: more than %ju entries",
		    (uintmax_t)d->how.max_entries);
	d->entries++;
	if (!u64_add(d->size, d->en.size, &d->size) ||
	    (d->how.max_size != 0 && d->size > d->how.max_size))
		return err_set(e, CALA_FAIL, "pxar: more than %ju bytes of "
		    "contents", (uintmax_t)d->how.max_size);
	return 0;
}

static int
push(struct dec *d, struct err *e)
{
	if (d->n > ENTRY_DEPTH_MAX)
		return decode_bad(e, &d->in, "directories too deep");
	d->plen[d->n++] = d->path.len;
	return 0;
}

static bool
chosen(const struct dec *d, const char *path)
{
	size_t i;

	for (i = 0; i < d->npaths; i++)
		if (entry_below(path, d->paths[i]))
			return true;
	return d->npaths == 0;
}

/*
 * The file behind a link that was read at pos, when its own name was not asked
 * for: 1 with its content, 0: the entry is another link now; -1.
 */
static int
behind(struct dec *d, uint64_t pos, struct content **c, struct err *e)
{
	const struct plink *l = plinks_find(d->links, d->en.target);
	struct entry key = { .path = d->en.target };

	if (l != NULL) {
		d->en.target = l->target;
		return 0;
	}
	key.target = d->path.p;
	if (d->f.back == 0 || d->f.back > pos)
		return decode_bad(e, &d->in, "a hard link to nowhere");
	if (plinks_add(d->links, &key, ENTRY_SYMLINK, 0, e) == -1 ||
	    in_seek(&d->in2, pos - d->f.back, e) == -1 ||
	    decode_name(&d->in2, &d->name, e) == -1 ||
	    decode_entry(&d->in2, d->split, &d->f2, d->path.p, d->log, e) ==
	    -1)
		return -1;
	if (d->f2.en.type != ENTRY_FILE)
		return decode_bad(e, &d->in, "a hard link to no file");
	d->en = d->f2.en;
	body_set(&d->body, &d->in2, d->has_payload ? &d->pay2 : NULL, d->split,
	    &d->f2, d->path.p);
	*c = &d->body.c;
	return 1;
}

/* The entry whose item is next, under d->path; begun at pos. */
static int
entry(struct dec *d, uint64_t pos, const struct entry **en, struct content **c,
    struct err *e)
{
	const char *why;

	if (decode_entry(&d->in, d->split, &d->f, d->path.p, d->log, e) == -1)
		return -1;
	d->en = d->f.en;
	if (d->en.type == ENTRY_HARDLINK) {
		if (entry_path(&d->clean, d->en.target, strlen(d->en.target),
		    &why) == -1 || d->clean.len == 0)
			return decode_bad(e, &d->in, "a hard link to a path "
			    "that is none");
		d->en.target = d->clean.p;
		if (!chosen(d, d->en.target) && behind(d, pos, c, e) == -1)
			return -1;
	} else if (d->en.type == ENTRY_FILE) {
		body_set(&d->body, &d->in, d->has_payload ? &d->pay : NULL,
		    d->split, &d->f, d->path.p);
		*c = &d->body.c;
		d->unread = !d->split;
	}
	d->en.path = d->path.p;
	*en = &d->en;
	return count(d, e) == -1 ? -1 : 1;
}

/* A FILENAME and what it names; d->path is that of its directory. */
static int
named(struct dec *d, const struct entry **en, struct content **c,
    struct err *e)
{
	uint64_t pos = d->in.pos;

	if (decode_name(&d->in, &d->name, e) == -1)
		return -1;
	if (d->path.len > 0)
		buf_chr(&d->path, '/');
	buf_add(&d->path, d->name.p, d->name.len);
	if (d->path.failed)
		return decode_bad(e, &d->in, "a path too long");
	if (entry(d, pos, en, c, e) == -1)
		return -1;
	if (d->en.type == ENTRY_DIR && push(d, e) == -1)
		return -1;
	return 1;
}

static int
root(struct dec *d, const struct entry **en, struct content **c,
    struct err *e)
{
	bool split;

	if (decode_version(&d->in, &split, e) == -1)
		return -1;
	d->split = split;
	if (split && d->in.s != NULL && d->has_payload) {
		uint64_t type, size;

		if (decode_head(&d->pay, &type, &size, e) == -1)
			return -1;
		if (type != PXAR_PAYLOAD_START || size != 0)
			return decode_bad(e, &d->pay, "payload: not a payload "
			    "stream");
	}
	if (entry(d, 0, en, c, e) == -1)
		return -1;
	if (d->en.type != ENTRY_DIR)
		return decode_bad(e, &d->in, "a root that is no directory");
	return push(d, e) == -1 ? -1 : 1;
}

static int
begin(struct dec *d, const struct entry **en, struct content **c,
    struct err *e)
{
	const struct start *s;

	buf_reset(&d->path);
	if (d->in.r == NULL)
		return root(d, en, c, e);
	s = &d->start[d->at++];
	if (in_seek(&d->in, s->pos, e) == -1)
		return -1;
	if (s->root)
		return root(d, en, c, e);
	buf_str(&d->path, s->dir);
	return named(d, en, c, e);
}

/* Behind the root's table nothing may follow. */
static int
end(struct dec *d, struct err *e)
{
	const unsigned char *p;
	int k;

	d->done = true;
	if (d->in.r != NULL)
		return 0;
	if ((k = in_peek(&d->in, 1, &p, e)) == 1)
		return decode_bad(e, &d->in, "bytes behind the end");
	return k;
}

static int
dec_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	struct dec *d = (struct dec *)r;
	uint64_t type, size;
	int k;

	if (d->done)
		return 0;
	if (finish(d, e) == -1)
		return -1;
	for (;;) {
		if (d->n == 0) {
			if (d->in.r != NULL ? d->at == d->nstart : d->begun)
				return end(d, e);
			d->begun = true;
			return begin(d, en, c, e);
		}
		buf_cut(&d->path, d->plen[d->n - 1]);
		if ((k = decode_head(&d->in, &type, &size, e)) == -1)
			return -1;
		if (k == 0)
			return err_set(e, CALA_INCOMPLETE, "pxar: the archive "
			    "ends too early");
		if (type == PXAR_FILENAME)
			return named(d, en, c, e);
		if (type != PXAR_GOODBYE)
			return decode_bad(e, &d->in, "an item that does not "
			    "belong there");
		if (decode_goodbye(&d->in, e) == -1)
			return -1;
		d->n--;
	}
}

static void
dec_close(struct reader *r)
{
	struct dec *d = (struct dec *)r;

	in_fini(&d->in);
	in_fini(&d->pay);
	in_fini(&d->in2);
	in_fini(&d->pay2);
	buf_fini(&d->path);
	buf_fini(&d->name);
	buf_fini(&d->clean);
	found_fini(&d->f);
	found_fini(&d->f2);
	starts_free(d->start, d->nstart);
	paths_free(d->paths, d->npaths);
	plinks_free(d->links);
	free(d);
}

static struct dec *
dec_new(const struct pxar_read *how, struct log *log, struct err *e)
{
	static const struct reader_ops ops = { dec_next, dec_close };
	struct dec *d = calloc(1, sizeof(*d));

	if (d == NULL) {
		err_oom(e);
		return NULL;
	}
	d->r.ops = &ops;
	if (how != NULL)
		d->how = *how;
	d->log = log;
	buf_init(&d->path, ENTRY_PATH_MAX);
	buf_init(&d->name, PXAR_NAME_MAX + 1);
	buf_init(&d->clean, ENTRY_PATH_MAX);
	found_init(&d->f);
	found_init(&d->f2);
	return d;
}

struct reader *
pxar_reader(struct source *meta, struct source *payload,
    const struct pxar_read *how, struct log *log, struct err *e)
{
	struct dec *d = dec_new(how, log, e);

	if (d == NULL)
		return NULL;
	d->has_payload = payload != NULL;
	if (in_stream(&d->in, meta, e) == -1 || (payload != NULL &&
	    in_stream(&d->pay, payload, e) == -1)) {
		dec_close(&d->r);
		return NULL;
	}
	return &d->r;
}

uint64_t
pxar_reader_payload(const struct reader *r)
{
	const struct dec *d = (const struct dec *)r;

	return d->split && d->en.type == ENTRY_FILE ? d->f.body : 0;
}

struct reader *
reader_parts(struct ranged *meta, struct ranged *payload, bool split,
    const struct pxar_read *how, struct start *start, size_t n, char **paths,
    size_t npaths, struct log *log, struct err *e)
{
	struct dec *d = dec_new(how, log, e);

	if (d == NULL) {
		starts_free(start, n);
		paths_free(paths, npaths);
		return NULL;
	}
	d->r.can = READER_REOPEN;
	d->start = start;
	d->nstart = n;
	d->paths = paths;
	d->npaths = npaths;
	d->split = split;
	d->has_payload = payload != NULL;
	if (in_ranged(&d->in, meta, AHEAD, e) == -1 ||
	    in_ranged(&d->in2, meta, AHEAD_LINK, e) == -1 ||
	    (payload != NULL &&
	    (in_ranged(&d->pay, payload, AHEAD_LINK, e) == -1 ||
	    in_ranged(&d->pay2, payload, AHEAD_LINK, e) == -1)) ||
	    (d->links = plinks_new(e)) == NULL) {
		dec_close(&d->r);
		return NULL;
	}
	return &d->r;
}
