/*
 * local_read: what is stored, as bytes, as entries, as a tree.
 *
 * Whoever reads a whole backup gets its record's SHA-256 checked on the way,
 * and an error at the end when it is another; a part of one is checked by what
 * its format has (index, CRC), or, where the format has nothing, by reading the
 * file through once before.
 */

#include "driver/local.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/code.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/rate.h"
#include "base/str.h"


/* A source whose bytes must have a certain SHA-256 in the end. */
struct checked {
	struct source src;
	struct source *in;
	struct sha256 *sha;     /* NULL: nothing to compare with */
	struct rate *rate;
	char want[SHA256_HEX], got[SHA256_HEX];
	char name[LOCAL_NAME];
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

static bool
has_sum(const struct record *rec)
{
	return rec->sum_type != NULL && rec->sum_value != NULL &&
	    strcmp(rec->sum_type, "sha256") == 0 &&
	    strlen(rec->sum_value) == SHA256_HEX - 1;
}

/* The file of call->backup: its descriptor, where it is, its record. */
struct stored {
	int fd;
	struct local_file file;
	struct record rec;
	bool has_rec;
};

static void
stored_close(struct stored *s)
{
	if (s->has_rec)
		record_fini(&s->rec);
	if (s->fd != -1)
		close(s->fd);
	s->fd = -1;
}

static int
stored_open(struct driver_call *call, struct stored *s, struct err *e)
{
	struct stat st;
	int dirfd;

	memset(s, 0, sizeof(*s));
	s->fd = -1;
	if ((dirfd = local_open(call, false, e)) == -1)
		return -1;
	if (local_find(dirfd, call->backup, &s->file, e) == -1 ||
	    local_record(call, dirfd, &s->file, &s->rec, e) == -1)
		goto fail;
	s->has_rec = true;
	s->fd = openat(dirfd, s->file.name,
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (s->fd == -1 || fstat(s->fd, &st) == -1) {
		err_sys(e, "%s", s->file.name);
		goto fail;
	}
	if (!S_ISREG(st.st_mode)) {
		err_set(e, CALA_NOTFOUND, "%s: not a regular file",
		    s->file.name);
		goto fail;
	}
	s->file.size = (uint64_t)st.st_size;
	close(dirfd);
	return 0;
fail:
	close(dirfd);
	stored_close(s);
	return -1;
}

/* All bytes from the start; takes the descriptor, also when it fails. */
static struct source *
checked_new(struct driver_call *call, struct stored *s, struct err *e)
{
	struct checked *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		err_oom(e);
		return NULL;
	}
	c->src.ops = &checked_ops;
	memcpy(c->name, s->file.name, sizeof(c->name));
	if ((c->rate = rate_new(call->limit_read, e)) == NULL)
		goto fail;
	if (has_sum(&s->rec)) {
		memcpy(c->want, s->rec.sum_value, SHA256_HEX);
		if ((c->sha = sha256_new(e)) == NULL)
			goto fail;
	}
	(void)posix_fadvise(s->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	if ((c->in = source_fd(s->fd, true, s->file.name, e)) == NULL)
		goto fail;
	s->fd = -1;
	return &c->src;
fail:
	checked_close(&c->src);
	return NULL;
}

int
local_raw(struct driver_call *call, struct source **out, struct err *e)
{
	struct stored s;

	if (stored_open(call, &s, e) == -1)
		return -1;
	*out = checked_new(call, &s, e);
	stored_close(&s);
	return *out == NULL ? -1 : 0;
}

/* Read the file through and compare, before anything in it is believed. */
static int
sum_now(struct driver_call *call, struct stored *s, struct err *e)
{
	struct stored again = *s;
	struct source *src;
	int ret = -1;

	if (!has_sum(&s->rec))
		return 0;
	log_step(call->log, "%s: comparing its SHA-256 with the record's",
	    s->file.name);
	again.has_rec = false;
	if ((again.fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 0)) == -1)
		return err_sys(e, "%s", s->file.name);
	if ((src = checked_new(call, &again, e)) != NULL)
		ret = source_drain(src, e);
	source_close(src);
	stored_close(&again);
	if (ret == 0 && lseek(s->fd, 0, SEEK_SET) == -1)
		ret = err_sys(e, "%s", s->file.name);
	return ret;
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
	char name[LOCAL_NAME];
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

static int
not_a_dump(const struct stored *s, struct err *e)
{
	if (!s->file.dump)
		return 0;
	err_set(e, CALA_USAGE, "%s is a database dump, not an archive",
	    s->file.name);
	return err_hint(e, "get --raw gives its bytes");
}

static void
how_to_read(const struct driver_call *call, struct archive_read *how)
{
	memset(how, 0, sizeof(*how));
	how->jobs = call->jobs;
}

int
local_get(struct driver_call *call, struct reader **out, struct err *e)
{
	struct archive_read how;
	struct stored s;
	struct whole *w = NULL;
	int ret = -1;

	if (stored_open(call, &s, e) == -1)
		return -1;
	how_to_read(call, &how);
	if (not_a_dump(&s, e) == -1)
		goto out;
	if ((w = calloc(1, sizeof(*w))) == NULL) {
		err_oom(e);
		goto out;
	}
	w->r.ops = &whole_ops;
	memcpy(w->name, s.file.name, sizeof(w->name));
	if (s.file.format == ARCHIVE_ZIP || s.file.format == ARCHIVE_7Z) {
		if (sum_now(call, &s, e) == -1)
			goto out;
		w->rg = ranged_fd(s.fd, true, s.file.name, e);
		if (w->rg == NULL)
			goto out;
		s.fd = -1;
		w->in = archive_reader_at(w->rg, &how, call->log, e);
	} else {
		if ((w->src = checked_new(call, &s, e)) == NULL)
			goto out;
		w->in = archive_reader(w->src, &how, call->log, e);
	}
	if (w->in == NULL) {
		stored_err(s.file.name, e);
		goto out;
	}
	w->r.can = w->in->can;
	*out = &w->r;
	w = NULL;
	ret = 0;
out:
	if (w != NULL)
		whole_close(&w->r);
	stored_close(&s);
	return ret;
}

struct branch {
	struct tree t;
	struct tree *in;
	struct ranged *rg;
	char name[LOCAL_NAME];
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

int
local_tree(struct driver_call *call, struct tree **out, struct err *e)
{
	struct archive_read how;
	struct stored s;
	struct branch *b = NULL;
	int ret = -1;

	if (stored_open(call, &s, e) == -1)
		return -1;
	how_to_read(call, &how);
	/* Plain tar and lz4 may hold no checksum of their contents. */
	if (not_a_dump(&s, e) == -1 ||
	    ((s.file.format == ARCHIVE_TAR ||
	    s.file.format == ARCHIVE_TAR_LZ4) &&
	    sum_now(call, &s, e) == -1))
		goto out;
	if ((b = calloc(1, sizeof(*b))) == NULL) {
		err_oom(e);
		goto out;
	}
	b->t.ops = &branch_ops;
	memcpy(b->name, s.file.name, sizeof(b->name));
	if ((b->rg = ranged_fd(s.fd, true, s.file.name, e)) == NULL)
		goto out;
	s.fd = -1;
	if ((b->in = archive_tree(b->rg, &how, call->log, e)) == NULL) {
		stored_err(s.file.name, e);
		goto out;
	}
	*out = &b->t;
	b = NULL;
	ret = 0;
out:
	if (b != NULL)
		branch_close(&b->t);
	stored_close(&s);
	return ret;
}
