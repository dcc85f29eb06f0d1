#include "fs/roots.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"

enum { PIECE = 65536 };

struct roots {
	struct reader r;
	struct roots_how how;
	struct log *log;
	size_t at;              /* next operand */
	struct reader *now;     /* being read, or NULL */
	struct reader *copy;    /* of a second name, until the next call */
	struct buf name;        /* where now starts */
	struct buf prefix;      /* where it goes in the archive */
	struct buf path;
	char *piece;            /* of the list */
	size_t have, used;
	bool list_end;
	struct fs_walked facts;
};

/* The last component of an operand into b; "" for the like of "/" and "..". */
static void
last_of(struct buf *b, const char *s)
{
	size_t n = strlen(s), k;

	while (n > 0 && s[n - 1] == '/')
		n--;
	for (k = n; k > 0 && s[k - 1] != '/'; k--)
		;
	buf_reset(b);
	if ((n - k == 1 && s[k] == '.') ||
	    (n - k == 2 && s[k] == '.' && s[k + 1] == '.'))
		return;
	buf_add(b, s + k, n - k);
}

static int
check_operands(const struct roots_how *how, struct err *e)
{
	struct buf a, b;
	struct stat st;
	size_t i, k;
	int ret = 0;

	buf_init(&a, ENTRY_PATH_MAX);
	buf_init(&b, ENTRY_PATH_MAX);
	for (i = 0; i < how->n && ret == 0; i++) {
		if (fstatat(how->dirfd, how->operands[i], &st,
		    AT_SYMLINK_NOFOLLOW) == -1) {
			ret = err_sys(e, "%s", str_q(how->operands[i]));
			break;
		}
		if (how->n == 1 && how->list == NULL)
			break;
		last_of(&a, how->operands[i]);
		if (a.len == 0 || a.failed)
			ret = err_set(e, CALA_USAGE, "%s: among several "
			    "operands each needs a name of its own",
			    str_q(how->operands[i]));
		for (k = 0; k < i && ret == 0; k++) {
			last_of(&b, how->operands[k]);
			if (strcmp(a.p, b.p) == 0)
				ret = err_set(e, CALA_USAGE, "%s and %s "
				    "would have the same name in the archive",
				    str_q(how->operands[k]),
				    str_q(how->operands[i]));
		}
	}
	buf_fini(&a);
	buf_fini(&b);
	return ret;
}

/* The next name of the list into r->name: 1, 0 at the end, -1. */
static int
list_name(struct roots *r, struct err *e)
{
	int sep = r->how.nul ? '\0' : '\n';
	const char *p, *end;
	ssize_t k;

	buf_reset(&r->name);
	for (;;) {
		if (r->used == r->have) {
			if (r->list_end)
				k = 0;
			else if ((k = source_read(r->how.list, r->piece,
			    PIECE, e)) == -1)
				return -1;
			r->list_end = k == 0;
			r->have = (size_t)k;
			r->used = 0;
			if (k == 0)
				return r->name.len > 0;
		}
		p = r->piece + r->used;
		end = memchr(p, sep, r->have - r->used);
		if (buf_add(&r->name, p, end != NULL ? (size_t)(end - p) :
		    r->have - r->used) == -1)
			return err_set(e, CALA_USAGE,
			    "a name in the list is too long");
		r->used = end != NULL ? (size_t)(end - r->piece) + 1 :
		    r->have;
		if (end != NULL && r->name.len > 0)
			return 1;
	}
}

static int
start(struct roots *r, struct err *e)
{
	struct fs_walk walk = r->how.walk;

	walk.prefix = r->prefix.len > 0 ? r->prefix.p : NULL;
	r->now = fs_reader(r->how.dirfd, r->name.p, &walk, r->log, e);
	return r->now != NULL ? 1 : -1;
}

/* Begin the next operand or name: 1, 0 when there is none, -1. */
static int
advance(struct roots *r, struct err *e)
{
	const char *why;
	int got;

	if (r->at < r->how.n) {
		buf_reset(&r->name);
		buf_str(&r->name, r->how.operands[r->at++]);
		buf_reset(&r->prefix);
		if (r->how.n > 1 || r->how.list != NULL)
			last_of(&r->prefix, r->name.p);
		if (buf_failed(&r->name, e) == -1 ||
		    buf_failed(&r->prefix, e) == -1)
			return -1;
		return start(r, e);
	}
	while (r->how.list != NULL && (got = list_name(r, e)) != 0) {
		if (got == -1)
			return -1;
		if (entry_path(&r->prefix, r->name.p, r->name.len, &why) ==
		    -1)
			return err_set(e, CALA_USAGE, "%s: %s",
			    str_q(r->name.p), why);
		if (start(r, e) == 1)
			return 1;
		if (e->code > CALA_SIGNAL)
			return -1;
		log_warn(r->log, "%s", e->msg);
		err_clear(e);
	}
	return 0;
}

/*
 * A second name of a file, for formats that have no links: read it as a file
 * of its own.  1, 0 when it can't be (said), -1.
 */
static int
as_copy(struct roots *r, const struct entry **en, struct content **c,
    struct err *e)
{
	struct fs_walk walk = r->how.walk;
	const char *path = (*en)->path, *below = path + r->prefix.len;
	int got = -1;

	below += *below == '/';
	buf_reset(&r->path);
	buf_str(&r->path, r->name.p);
	if (*below != '\0') {
		buf_chr(&r->path, '/');
		buf_str(&r->path, below);
	}
	walk.match = NULL;
	walk.prefix = path;
	walk.jobs = 1;
	if (buf_failed(&r->path, e) == 0 &&
	    (r->copy = fs_reader(r->how.dirfd, r->path.p, &walk, r->log,
	    e)) != NULL)
		got = reader_next(r->copy, en, c, e);
	if (got == 1 || (got == -1 && e->code > CALA_SIGNAL))
		return got;
	if (got == -1) {
		log_warn(r->log, "%s", e->msg);
		err_clear(e);
	}
	return 0;
}

static int
roots_next(struct reader *reader, const struct entry **en,
    struct content **c, struct err *e)
{
	struct roots *r = (struct roots *)reader;
	struct fs_walked f;
	int got;

	reader_close(r->copy);
	r->copy = NULL;
	for (;;) {
		if (r->now == NULL && (got = advance(r, e)) != 1)
			return got;
		if ((got = reader_next(r->now, en, c, e)) == -1)
			return -1;
		if (got == 0) {
			fs_reader_facts(r->now, &f);
			r->facts.changed += f.changed;
			r->facts.excluded += f.excluded;
			r->facts.sockets += f.sockets;
			reader_close(r->now);
			r->now = NULL;
			continue;
		}
		if ((*en)->ino != 0 && (*en)->ino == r->how.skip_ino &&
		    (*en)->dev == r->how.skip_dev) {
			log_step(r->log, "%s: is the archive, left out",
			    str_q((*en)->path));
			continue;
		}
		if ((*en)->type == ENTRY_HARDLINK && r->how.copies) {
			if ((got = as_copy(r, en, c, e)) != 0)
				return got;
			reader_close(r->copy);
			r->copy = NULL;
			continue;
		}
		return 1;
	}
}

static void
roots_close(struct reader *reader)
{
	struct roots *r = (struct roots *)reader;

	reader_close(r->copy);
	reader_close(r->now);
	buf_fini(&r->name);
	buf_fini(&r->prefix);
	buf_fini(&r->path);
	free(r->piece);
	free(r);
}

struct reader *
roots_reader(const struct roots_how *how, struct log *log, struct err *e)
{
	static const struct reader_ops ops = { roots_next, roots_close };
	struct roots *r;

	if (check_operands(how, e) == -1)
		return NULL;
	if ((r = calloc(1, sizeof(*r))) == NULL ||
	    (how->list != NULL && (r->piece = malloc(PIECE)) == NULL)) {
		free(r);
		err_oom(e);
		return NULL;
	}
	r->r.ops = &ops;
	r->r.can = READER_REOPEN | READER_HOLES;
	if (how->n == 1 && how->list == NULL)
		r->r.can |= READER_ORDERED;
	r->how = *how;
	r->log = log;
	buf_init(&r->name, ENTRY_PATH_MAX);
	buf_init(&r->prefix, ENTRY_PATH_MAX);
	buf_init(&r->path, 2 * ENTRY_PATH_MAX);
	return &r->r;
}

void
roots_facts(struct reader *r, struct fs_walked *f)
{
	*f = ((struct roots *)r)->facts;
}
