#include "entry/entry.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/stop.h"
#include "base/str.h"

ssize_t
content_read(struct content *c, void *p, size_t n, struct err *e)
{
	ssize_t k;

	if (n > c->size - c->pos)
		n = (size_t)(c->size - c->pos);
	if (n == 0)
		return 0;
	if ((k = c->ops->read(c, p, n, e)) == -1)
		return -1;
	c->pos += (uint64_t)k;
	if (c->seen != NULL)
		*c->seen += (uint64_t)k;
	return k;
}

ssize_t
content_full(struct content *c, void *v, size_t n, struct err *e)
{
	unsigned char *p = v;
	size_t got = 0;
	ssize_t k;

	while (got < n) {
		if ((k = content_read(c, p + got, n - got, e)) == -1)
			return -1;
		if (k == 0)
			break;
		got += (size_t)k;
	}
	return (ssize_t)got;
}

int
content_skip(struct content *c, uint64_t n, struct err *e)
{
	if (n > c->size - c->pos)
		return err_set(e, CALA_FAIL, "skip past the end of a file");
	if (n == 0)
		return 0;
	if (c->ops->skip(c, n, e) == -1)
		return -1;
	c->pos += n;
	if (c->seen != NULL)
		*c->seen += n;
	return 0;
}

int
content_reopen(struct content *c, struct err *e)
{
	if (c->ops->reopen == NULL)
		return err_set(e, CALA_FAIL, "this source reads once only");
	if (c->ops->reopen(c, e) == -1)
		return -1;
	c->pos = 0;
	return 0;
}

int
reader_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	*en = NULL;
	*c = NULL;
	if (stop_check(e) == -1)
		return -1;
	return r->ops->next(r, en, c, e);
}

void
reader_close(struct reader *r)
{
	if (r != NULL)
		r->ops->close(r);
}

static int
after(struct writer *w, int ret)
{
	if (ret == -1)
		w->failed = true;
	return ret;
}

static int
again(const struct writer *w, struct err *e)
{
	if (!w->failed)
		return 0;
	if (e->code == 0)
		err_set(e, CALA_FAIL, "write after a failed write");
	return -1;
}

int
writer_put(struct writer *w, const struct entry *en, struct content *c,
    struct err *e)
{
	if (again(w, e) == -1)
		return -1;
	return after(w, w->ops->put(w, en, c, e));
}

int
writer_leave(struct writer *w, struct err *e)
{
	if (again(w, e) == -1)
		return -1;
	return w->ops->leave == NULL ? 0 : after(w, w->ops->leave(w, e));
}

bool
writer_known(struct writer *w, const struct entry *en)
{
	return w->ops->known != NULL && w->ops->known(w, en);
}

int
writer_commit(struct writer *w, struct err *e)
{
	if (again(w, e) == -1 || after(w, w->ops->commit(w, e)) == -1)
		return -1;
	w->committed = true;
	return 0;
}

void
writer_free(struct writer *w)
{
	if (w != NULL)
		w->ops->abort(w);
}

/* The directories that were put and not yet left: each inside the one before. */
struct trail {
	struct buf path;                        /* of the innermost */
	size_t len[ENTRY_DEPTH_MAX + 1];        /* where each one's path ends */
	size_t n;
};

/* Leave directories until the innermost one holds path; all for NULL. */
static int
leave_to(struct writer *w, struct trail *t, const char *path, struct err *e)
{
	while (t->n > 0) {
		if (path != NULL && entry_below(path, t->path.p) &&
		    strcmp(path, t->path.p) != 0)
			return 0;
		if (writer_leave(w, e) == -1)
			return -1;
		if (--t->n > 0)
			buf_cut(&t->path, t->len[t->n - 1]);
	}
	return 0;
}

static int
enter(struct trail *t, const char *path, struct err *e)
{
	if (t->n > ENTRY_DEPTH_MAX)
		return err_set(e, CALA_FAIL, "%s: more than %d levels deep",
		    str_q(path), ENTRY_DEPTH_MAX);
	buf_reset(&t->path);
	buf_str(&t->path, path);
	t->len[t->n++] = t->path.len;
	return buf_failed(&t->path, e);
}

/* A large file is told while it goes, and whatever was read of it, once. */
static int
put(struct writer *w, const struct entry *en, struct content *c,
    struct tally *t, struct err *e)
{
	uint64_t bytes;
	int ret;

	if (t == NULL)
		return writer_put(w, en, c, e);
	bytes = t->bytes + en->size;
	if (c != NULL)
		c->seen = &t->bytes;
	ret = writer_put(w, en, c, e);
	if (c != NULL)
		c->seen = NULL;
	if (ret == 0)
		t->bytes = bytes;
	return ret;
}

int
pump(struct reader *r, struct writer *w, struct tally *t, struct err *e)
{
	const struct entry *en;
	struct content *c;
	struct trail open;
	bool leaves = w->ops->leave != NULL;
	int got, ret = -1;

	buf_init(&open.path, ENTRY_PATH_MAX);
	open.n = 0;
	while ((got = reader_next(r, &en, &c, e)) == 1) {
		if (leaves && leave_to(w, &open, en->path, e) == -1)
			goto out;
		if (leaves && en->type == ENTRY_DIR &&
		    enter(&open, en->path, e) == -1)
			goto out;
		if (t != NULL) {
			t->entries++;
			t->files += en->type != ENTRY_DIR;
		}
		if (put(w, en, c, t, e) == -1)
			goto out;
	}
	if (got == -1 || (leaves && leave_to(w, &open, NULL, e) == -1))
		goto out;
	ret = 0;
out:
	buf_fini(&open.path);
	return ret;
}

int
entry_path(struct buf *b, const char *raw, size_t n, const char **why)
{
	const char *p = raw, *end = raw + n, *s;
	size_t k, depth = 0;

	buf_reset(b);
	if (memchr(raw, '\0', n) != NULL) {
		*why = "the name holds a NUL byte";
		return -1;
	}
	while (p < end) {
		if ((s = memchr(p, '/', (size_t)(end - p))) == NULL)
			s = end;
		k = (size_t)(s - p);
		if (k == 2 && p[0] == '.' && p[1] == '.') {
			*why = "the name climbs with '..'";
			return -1;
		}
		if (k > 0 && !(k == 1 && p[0] == '.')) {
			if (b->len > 0)
				buf_chr(b, '/');
			buf_add(b, p, k);
			depth++;
		}
		p = s + (s < end);
	}
	if (b->failed || b->len >= ENTRY_PATH_MAX) {
		*why = "the name is too long";
		return -1;
	}
	if (depth > ENTRY_DEPTH_MAX) {
		*why = "the name is too deep";
		return -1;
	}
	return 0;
}

bool
entry_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return n == 0 || (strncmp(path, dir, n) == 0 &&
	    (path[n] == '\0' || path[n] == '/'));
}

const char *
entry_name(const char *path)
{
	const char *s = strrchr(path, '/');

	return s == NULL ? path : s + 1;
}

size_t
entry_depth(const char *path)
{
	size_t n = *path != '\0';

	for (; *path != '\0'; path++)
		n += *path == '/';
	return n;
}

const char *
entry_mode(const struct entry *en, char out[11])
{
	static const char rwx[] = "rwxrwxrwx";
	int i;

	out[0] = en->type == ENTRY_FILE ? '-' : (char)en->type;
	for (i = 0; i < 9; i++)
		out[i + 1] = (en->mode >> (8 - i) & 1) != 0 ? rwx[i] : '-';
	if ((en->mode & 04000) != 0)
		out[3] = out[3] == 'x' ? 's' : 'S';
	if ((en->mode & 02000) != 0)
		out[6] = out[6] == 'x' ? 's' : 'S';
	if ((en->mode & 01000) != 0)
		out[9] = out[9] == 'x' ? 't' : 'T';
	out[10] = '\0';
	return out;
}

void
entry_json(struct buf *b, const struct entry *en)
{
	char text[24];
	struct jw j;

	jw_begin(&j, b);
	jw_open(&j, NULL, '{');
	jw_bytes(&j, "path", en->path, strlen(en->path));
	snprintf(text, sizeof(text), "%c", en->type);
	jw_str(&j, "type", text);
	jw_u64(&j, "size", en->size);
	jw_time(&j, "mtime", en->mtime);
	snprintf(text, sizeof(text), "%04o", en->mode & 07777);
	jw_str(&j, "mode", text);
	jw_u64(&j, "uid", en->uid);
	jw_u64(&j, "gid", en->gid);
	if (en->target != NULL && (en->type == ENTRY_SYMLINK ||
	    en->type == ENTRY_HARDLINK))
		jw_bytes(&j, "target", en->target, strlen(en->target));
	if (en->type == ENTRY_CHAR || en->type == ENTRY_BLOCK) {
		snprintf(text, sizeof(text), "%u:%u", en->rdev_major,
		    en->rdev_minor);
		jw_str(&j, "rdev", text);
	}
	jw_close(&j, '}');
}
