#include "driver/stored.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/archive.h"
#include "archive/seek.h"
#include "base/code.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/rate.h"
#include "base/str.h"
#include "base/stop.h"
#include "base/when.h"

enum { NAME = 160, READ_BUF = 256 << 10 };

/* A source whose bytes must have a certain SHA-256 in the end. */
struct checked {
	struct source src;
	struct source *in;
	struct sha256 *sha;     /* NULL: nothing to compare with */
	struct rate *rate;
	char want[SHA256_HEX], got[SHA256_HEX];
	char name[NAME];
	bool ended;
};

static int
sum_check(struct checked *c, struct err *e)
{
	unsigned char md[SHA256_LEN];

	if (c->sha == NULL)
		return 0;
	/* Said each time: whoever reads ahead may not listen. */
	if (!c->ended) {
		sha256_end(c->sha, md);
		hex_put(md, sizeof(md), c->got);
		c->ended = true;
	}
	if (strcmp(c->got, c->want) == 0)
		return 0;
	return err_set(e, CALA_INTEGRITY, "%s: damaged: its SHA-256 is %s, "
	    "the record says %s", c->name, c->got, c->want);
}

static ssize_t
checked_read(struct source *s, void *p, size_t n, struct err *e)
{
	struct checked *c = (struct checked *)s;
	ssize_t k = source_read(c->in, p, n, e);

	if (k > 0 && rate_take(c->rate, (size_t)k, e) == -1)
		return -1;
	if (k > 0 && c->sha != NULL)
		sha256_add(c->sha, p, (size_t)k);
	if (k == 0 && sum_check(c, e) == -1)
		return -1;
	return k;
}

static void
checked_close(struct source *s)
{
	struct checked *c = (struct checked *)s;

	source_close(c->in);
	rate_free(c->rate);
	sha256_free(c->sha);
	free(c);
}

static const struct source_ops checked_ops = { checked_read, checked_close };

int
stored_complete(struct record *rec, struct sha256 *sha, uint64_t n,
    struct err *e)
{
	unsigned char md[SHA256_LEN];
	char hex[SHA256_HEX];

	sha256_end(sha, md);
	hex_put(md, sizeof(md), hex);
	rec->completed = when_now();
	rec->has_stored = true;
	rec->stored = n;
	if (record_set(&rec->sum_type, "sha256", e) == -1)
		return -1;
	return record_set(&rec->sum_value, hex, e);
}

bool
stored_has_sum(const struct record *rec)
{
	return rec->sum_type != NULL && rec->sum_value != NULL &&
	    strcmp(rec->sum_type, "sha256") == 0 &&
	    strlen(rec->sum_value) == SHA256_HEX - 1;
}

struct source *
stored_source(struct source *in, const struct record *rec, struct rate *rate,
    const char *name, struct err *e)
{
	struct checked *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		err_oom(e);
		source_close(in);
		rate_free(rate);
		return NULL;
	}
	c->src.ops = &checked_ops;
	c->in = in;
	c->rate = rate;
	snprintf(c->name, sizeof(c->name), "%s", name);
	if (stored_has_sum(rec)) {
		memcpy(c->want, rec->sum_value, SHA256_HEX);
		if ((c->sha = sha256_new(e)) == NULL) {
			checked_close(&c->src);
			return NULL;
		}
	}
	return &c->src;
}

/*
 * What a pipe may still wait for ("the stream is cut short") is damage once it
 * is stored.
 */
static int
stored_err(const char *name, struct err *e)
{
	if (e->code == CALA_INCOMPLETE)
		e->code = CALA_INTEGRITY;
	return err_ctx(e, "%s", name);
}

struct whole {
	struct reader r;
	struct reader *in;
	struct source *src;     /* tar: a checked source */
	struct ranged *rg;      /* zip, 7z: they want to seek */
	char name[NAME];
};

static int
whole_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	struct whole *w = (struct whole *)r;
	int got;

	if (w->in == NULL)
		return 0;
	if ((got = reader_next(w->in, en, c, e)) == 1)
		return 1;
	if (got == -1)
		return stored_err(w->name, e);
	/*
	 * Behind the last entry are index and padding: hash them, too, once
	 * no thread of the reader is at the source any more.
	 */
	reader_close(w->in);
	w->in = NULL;
	return w->src != NULL ? source_drain(w->src, e) : 0;
}

static void
whole_close(struct reader *r)
{
	struct whole *w = (struct whole *)r;

	reader_close(w->in);
	source_close(w->src);
	ranged_close(w->rg);
	free(w);
}

static const struct reader_ops whole_ops = { whole_next, whole_close };

struct reader *
stored_reader(struct source *src, struct ranged *rg,
    const struct archive_read *how, struct log *log, const char *name,
    struct err *e)
{
	struct whole *w = calloc(1, sizeof(*w));

	if (w == NULL) {
		err_oom(e);
		source_close(src);
		ranged_close(rg);
		return NULL;
	}
	w->r.ops = &whole_ops;
	w->src = src;
	w->rg = rg;
	snprintf(w->name, sizeof(w->name), "%s", name);
	w->in = src != NULL ? archive_reader(src, how, log, e) :
	    archive_reader_at(rg, how, log, e);
	if (w->in == NULL) {
		stored_err(name, e);
		whole_close(&w->r);
		return NULL;
	}
	w->r.can = w->in->can;
	return &w->r;
}

struct branch {
	struct tree t;
	struct tree *in;
	struct ranged *rg;
	char name[NAME];
};

static int
branch_err(struct branch *b, struct err *e)
{
	/* "no such path" and "output closed" are about the question. */
	if (e->code == CALA_INCOMPLETE || e->code == CALA_INTEGRITY)
		stored_err(b->name, e);
	return -1;
}

static int
branch_list(struct tree *t, const char *path, tree_fn *fn, void *arg,
    struct err *e)
{
	struct branch *b = (struct branch *)t;
	int ret = b->in->ops->list(b->in, path, fn, arg, e);

	return ret == -1 ? branch_err(b, e) : ret;
}

static int
branch_stat(struct tree *t, const char *path, struct entry *en,
    struct err *e)
{
	struct branch *b = (struct branch *)t;
	int ret = b->in->ops->stat(b->in, path, en, e);

	return ret == -1 ? branch_err(b, e) : ret;
}

static struct content *
branch_open(struct tree *t, const char *path, uint64_t off, uint64_t len,
    struct err *e)
{
	struct branch *b = (struct branch *)t;
	struct content *c = b->in->ops->open(b->in, path, off, len, e);

	if (c == NULL)
		branch_err(b, e);
	return c;
}

static struct reader *
branch_reader(struct tree *t, const char *const *paths, size_t n,
    struct err *e)
{
	struct branch *b = (struct branch *)t;
	struct reader *r = b->in->ops->reader(b->in, paths, n, e);

	if (r == NULL)
		branch_err(b, e);
	return r;
}

static void
branch_close(struct tree *t)
{
	struct branch *b = (struct branch *)t;

	if (b->in != NULL)
		b->in->ops->close(b->in);
	ranged_close(b->rg);
	free(b);
}

static const struct tree_ops branch_ops = {
	branch_list, branch_stat, branch_open, branch_reader, branch_close
};

struct tree *
stored_tree(struct ranged *rg, const struct archive_read *how,
    struct log *log, const char *name, struct err *e)
{
	struct branch *b = calloc(1, sizeof(*b));

	if (b == NULL) {
		err_oom(e);
		ranged_close(rg);
		return NULL;
	}
	b->t.ops = &branch_ops;
	b->rg = rg;
	snprintf(b->name, sizeof(b->name), "%s", name);
	if ((b->in = archive_tree(rg, how, log, e)) == NULL) {
		stored_err(name, e);
		branch_close(&b->t);
		return NULL;
	}
	return &b->t;
}

int
stored_failed(struct driver_call *call, const char *step, struct err *e)
{
	driver_say(call, "failed: %s: %s", step, e->msg);
	return -1;
}

/* What was read, as the record counts it. */
struct count {
	uint64_t files, size, all;
	struct driver_call *call;       /* told meanwhile; NULL: nobody is */
};

/* Every entry and every byte, as a restore would take them. */
static int
read_all(struct reader *in, struct count *n, struct err *e)
{
	const struct entry *en;
	struct content *c;
	unsigned char *p = malloc(READ_BUF);
	ssize_t k;
	int got;

	if (p == NULL)
		return err_oom(e);
	while ((got = reader_next(in, &en, &c, e)) == 1) {
		n->all++;
		n->files += en->type != ENTRY_DIR;
		n->size += en->size;
		if (n->call != NULL)
			n->call->tally.files = n->files;
		while (c != NULL) {
			k = content_read(c, p, READ_BUF, e);
			if (k == -1 || stop_check(e) == -1) {
				free(p);
				return -1;
			}
			if (k == 0)
				break;
			if (n->call != NULL)
				n->call->tally.bytes += (size_t)k;
		}
	}
	free(p);
	return got;
}

int
stored_prove(struct reader *in, struct err *e)
{
	struct count n = { .call = NULL };

	if (read_all(in, &n, e) == 0)
		return 0;
	if (e->code == CALA_INCOMPLETE)
		e->code = CALA_INTEGRITY;
	return -1;
}

int
stored_compare(struct driver_call *call, const struct record *rec,
    const char *what, bool has, uint64_t want, uint64_t got, struct err *e)
{
	if (rec->foreign || !has || want == got)
		return 0;
	err_set(e, CALA_INTEGRITY, "%s: the record says %" PRIu64 ", the "
	    "archive has %" PRIu64, what, want, got);
	return stored_failed(call, "compare with the record", e);
}

int
stored_verify(struct driver_call *call, const struct record *rec,
    struct reader *in, struct err *e)
{
	struct count n = { .call = call };

	if (read_all(in, &n, e) == -1) {
		/* Stored, and its end is not there: damage. */
		if (e->code == CALA_INCOMPLETE)
			e->code = CALA_INTEGRITY;
		return stored_failed(call, "read", e);
	}
	driver_say(call, "ok: read to its end: %" PRIu64 " entries, %" PRIu64
	    " bytes of files", n.all, n.size);
	if (stored_compare(call, rec, "files", rec->has_files, rec->files,
	    n.files, e) == -1 || stored_compare(call, rec, "bytes of files",
	    rec->has_size, rec->size, n.size, e) == -1)
		return -1;
	if (!stored_has_sum(rec) && rec->sum_type != NULL &&
	    rec->sum_value != NULL && strcmp(rec->sum_type, "sha256") == 0) {
		err_set(e, CALA_INTEGRITY, "the record's SHA-256 is none: %s",
		    str_q(rec->sum_value));
		return stored_failed(call, "compare with the record", e);
	}
	driver_say(call, stored_has_sum(rec) ?
	    "ok: its SHA-256 is the record's" : rec->sum_value != NULL ?
	    "note: the record's checksum is none that cala knows; the "
	    "format's own checks agreed" : "note: no checksum on record; the "
	    "format's own checks agreed");
	if (!rec->complete)
		driver_say(call, "note: the backup is partial: %" PRIu64
		    " warnings when it was made", rec->warnings_count);
	return 0;
}

/* The frames of the sample, each compared as it is read. */
static int
sample(struct driver_call *call, struct index *x, uint32_t *read,
    struct err *e)
{
	struct source *in = seek_source(x, 1, e);
	unsigned char *p = malloc(READ_BUF);
	uint64_t left, at = (uint64_t)when_now().tv_nsec / 1000 % 100;
	uint32_t i;
	ssize_t n;
	int ret = -1;

	if (p == NULL)
		err_oom(e);
	if (p == NULL || in == NULL)
		goto out;
	for (*read = i = 0; i < x->f; i++) {
		/* never none at all */
		if ((i * 61ull + at) % 100 >= call->percent &&
		    (*read > 0 || i + 1 < x->f))
			continue;
		if (x->frame[i].u_len > 0 &&
		    seek_to(in, x->frame[i].u_off, e) == -1)
			goto out;
		for (left = x->frame[i].u_len; left > 0; left -= (uint64_t)n) {
			if (stop_check(e) == -1 || (n = source_read(in, p,
			    left < READ_BUF ? (size_t)left : READ_BUF, e)) ==
			    -1)
				goto out;
			if (n == 0) {
				err_set(e, CALA_INTEGRITY, "a frame is "
				    "shorter than the index says");
				goto out;
			}
			call->tally.bytes += (size_t)n;
		}
		++*read;
	}
	ret = 0;
out:
	free(p);
	source_close(in);
	return ret;
}

int
stored_sample(struct driver_call *call, struct ranged *rg, struct err *e)
{
	struct index *x = rg != NULL ? index_open(rg, e) : NULL;
	uint32_t n;
	int ret = -1;

	if (x == NULL && rg != NULL && e->code == 0) {
		driver_say(call, "note: no index: all of it is read");
		ret = 0;
	} else if (x == NULL || sample(call, x, &n, e) == -1) {
		stored_failed(call, "read", e);
	} else {
		driver_say(call, "ok: its index is whole, and %" PRIu32 " of %"
		    PRIu32 " frames are what it says", n, x->f);
		driver_say(call, "note: the rest was not read "
		    "(--read-data=100 does)");
		ret = 1;
	}
	index_free(x);
	ranged_close(rg);
	return ret;
}
