/*
 * read: the verbs that look into one backup: get, restore, ls, cat.
 */

#include "driver/verbs.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/archive.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/io.h"
#include "base/str.h"
#include "base/when.h"

enum { CAT_BUF = 256 << 10, LINK_HOPS = 8 };

static int
not_terminal(struct err *e)
{
	if (!isatty(STDOUT_FILENO))
		return 0;
	return err_set(e, CALA_USAGE, "an archive is nothing for a terminal: "
	    "send it into a file or a pipe");
}

/* The stored bytes as they are. */
static int
get_raw(struct run *r, struct err *e)
{
	struct source *in = NULL;
	struct sink *out = NULL;
	size_t room;
	ssize_t n;
	void *p;
	int ret = -1;

	if (r->d->raw == NULL)
		return err_set(e, CALA_USAGE,
		    "--raw: this disk does not keep archives");
	if (r->call.npaths > 0)
		return err_set(e, CALA_USAGE, "--raw takes no PATH");
	if (r->d->raw(&r->call, &in, e) == -1 ||
	    (out = sink_fd(STDOUT_FILENO, false, "standard output", e)) ==
	    NULL)
		goto out;
	do {
		if ((p = sink_space(out, &room, e)) == NULL ||
		    (n = source_read(in, p, room, e)) == -1 ||
		    sink_used(out, (size_t)n, e) == -1)
			goto out;
		r->call.tally.bytes += (size_t)n;
	} while (n > 0);
	ret = sink_commit(out, e);
out:
	sink_free(out);
	source_close(in);
	return ret;
}

/*
 * What a pipe may still wait for ("cut short") is damage once it is stored:
 * reading it again won't help.
 */
static int
damaged(const struct run *r, struct err *e)
{
	if (e->code != CALA_INCOMPLETE)
		return -1;
	e->code = CALA_INTEGRITY;
	return err_ctx(e, "backup %s", r->call.backup);
}

static int
tree_check(struct tree *t, const char *path, struct err *e)
{
	struct entry en;

	if (t->ops->stat(t, path, &en, e) == -1)
		return err_ctx(e, "%s", str_q(path));
	return 0;
}

int
verb_get(struct run *r, struct err *e)
{
	struct archive_write how;
	struct reader *in = NULL;
	struct writer *w = NULL;
	struct sink *out = NULL;
	struct tree *t = NULL;
	static const char *const root[] = { "" };
	size_t i;
	int ret = -1;

	if (not_terminal(e) == -1)
		return -1;
	if (r->raw)
		return get_raw(r, e);
	if (r->call.npaths == 0 && r->d->get != NULL) {
		if (r->d->get(&r->call, &in, e) == -1)
			goto out;
	} else {
		if (r->d->open(&r->call, &t, e) == -1)
			goto out;
		for (i = 0; i < r->call.npaths; i++)
			if (tree_check(t, r->call.paths[i], e) == -1)
				goto out;
		in = r->call.npaths > 0 ? t->ops->reader(t, r->call.paths,
		    r->call.npaths, e) : t->ops->reader(t, root, 1, e);
		if (in == NULL)
			goto out;
	}
	memset(&how, 0, sizeof(how));
	how.format = ARCHIVE_TAR;
	how.level = INT_MIN;
	/* Written before commit, so that a failure leaves it without its end. */
	if ((out = sink_fd(STDOUT_FILENO, false, "standard output", e)) ==
	    NULL ||
	    (w = archive_writer(out, &how, r->call.log, e)) == NULL ||
	    pump(in, w, &r->call.tally, e) == -1)
		goto out;
	ret = writer_commit(w, e);
out:
	writer_free(w);
	sink_free(out);
	reader_close(in);
	if (t != NULL)
		t->ops->close(t);
	return ret == -1 ? damaged(r, e) : ret;
}

int
verb_restore(struct run *r, struct err *e)
{
	struct record rec;
	int empty;

	if (r->d->restore == NULL) {
		err_set(e, CALA_USAGE, "this disk has no restore of its own");
		return err_hint(e, "%s get … | cala-unpack --to DIR",
		    r->d->name);
	}
	/* Which backup, before where to: it may be another server's. */
	if (backup_find(r, &rec, e) == -1)
		return -1;
	record_fini(&rec);
	if ((empty = file_empty(AT_FDCWD, r->call.dir, e)) == -1)
		return -1;
	if (empty == 0)
		return err_set(e, CALA_EXISTS, "%s: not empty",
		    str_q(r->call.dir));
	return r->d->restore(&r->call, e);
}

struct lister {
	struct run *r;
	struct buf b;
	char gap;
};

static int
show(struct lister *l, const struct entry *en, struct err *e)
{
	char mode[11], when[WHEN_TEXT];

	buf_reset(&l->b);
	if (l->r->json) {
		entry_json(&l->b, en);
	} else {
		buf_printf(&l->b, "%s%c%u/%u%c%*ju%c%s%c",
		    entry_mode(en, mode), l->gap, en->uid, en->gid, l->gap,
		    l->gap == ' ' ? 11 : 0, (uintmax_t)en->size, l->gap,
		    when_local(en->mtime, when), l->gap);
		str_esc(&l->b, en->path, strlen(en->path));
		if (en->target != NULL) {
			buf_str(&l->b, en->type == ENTRY_HARDLINK ?
			    " link to " : " -> ");
			str_esc(&l->b, en->target, strlen(en->target));
		}
	}
	buf_chr(&l->b, '\n');
	if (buf_failed(&l->b, e) == -1)
		return -1;
	fwrite(l->b.p, 1, l->b.len, stdout);
	return file_printed(stdout, "standard output", e);
}

static int
show_entry(void *arg, const struct entry *en, struct err *e)
{
	return show(arg, en, e);
}

static int
show_below(struct lister *l, struct tree *t, const char *path, struct err *e)
{
	struct reader *in = t->ops->reader(t, &path, 1, e);
	const struct entry *en;
	struct content *c;
	int got = -1;

	while (in != NULL && (got = reader_next(in, &en, &c, e)) == 1) {
		if (strcmp(en->path, path) == 0)
			continue;
		if (show(l, en, e) == -1) {
			got = -1;
			break;
		}
	}
	reader_close(in);
	return got;
}

int
verb_ls(struct run *r, struct err *e)
{
	const char *path = r->call.npaths > 0 ? r->call.paths[0] : "";
	struct lister l = { .r = r };
	struct entry en;
	struct tree *t = NULL;
	int ret = -1;

	buf_init(&l.b, 8 * ENTRY_PATH_MAX + 1024);
	l.gap = isatty(STDOUT_FILENO) ? ' ' : '\t';
	if (r->d->open(&r->call, &t, e) == -1)
		goto out;
	if (*path != '\0') {
		if (t->ops->stat(t, path, &en, e) == -1) {
			err_ctx(e, "%s", str_q(path));
			goto out;
		}
		if (en.type != ENTRY_DIR) {
			ret = show(&l, &en, e);
			goto out;
		}
	}
	ret = r->recursive ? show_below(&l, t, path, e) :
	    t->ops->list(t, path, show_entry, &l, e);
out:
	if (t != NULL)
		t->ops->close(t);
	buf_fini(&l.b);
	return ret == -1 ? damaged(r, e) : ret;
}

/* A hard link's bytes are its target's. */
static int
follow(struct tree *t, struct buf *path, struct err *e)
{
	struct entry en;
	int i;

	for (i = 0; i < LINK_HOPS; i++) {
		if (t->ops->stat(t, path->p, &en, e) == -1)
			return -1;
		if (en.type == ENTRY_FILE)
			return 0;
		if (en.type != ENTRY_HARDLINK || en.target == NULL)
			return err_set(e, CALA_USAGE, "not a regular file");
		buf_reset(path);
		if (buf_str(path, en.target) == -1)
			return buf_failed(path, e);
	}
	return err_set(e, CALA_INTEGRITY, "too many hard links in a row");
}

int
verb_cat(struct run *r, struct err *e)
{
	struct sink *out = NULL;
	struct tree *t = NULL;
	struct content *c;
	struct buf path;
	size_t room;
	ssize_t n;
	void *p;
	int ret = -1;

	buf_init(&path, ENTRY_PATH_MAX);
	buf_str(&path, r->call.paths[0]);
	if (r->d->open(&r->call, &t, e) == -1)
		goto out;
	if (follow(t, &path, e) == -1) {
		err_ctx(e, "%s", str_q(r->call.paths[0]));
		goto out;
	}
	if ((c = t->ops->open(t, path.p, r->offset, r->length, e)) == NULL ||
	    (out = sink_fd(STDOUT_FILENO, false, "standard output", e)) ==
	    NULL)
		goto out;
	do {
		if ((p = sink_space(out, &room, e)) == NULL ||
		    (n = content_read(c, p, room < CAT_BUF ? room : CAT_BUF,
		    e)) == -1 || sink_used(out, (size_t)n, e) == -1)
			goto out;
	} while (n > 0);
	ret = sink_commit(out, e);
out:
	sink_free(out);
	if (t != NULL)
		t->ops->close(t);
	buf_fini(&path);
	return ret == -1 ? damaged(r, e) : ret;
}
