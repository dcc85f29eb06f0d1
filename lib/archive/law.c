/*
 * law: libarchive's filters as a press for frames, and as one stream.
 *
 * xz, lzip, bzip2 and lz4 all allow streams behind one another, so that these
 * formats, too, are compressed on all cores with the same bytes for any number
 * of threads.
 */

#include "archive/law.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/press.h"
#include "base/err.h"
#include "base/io.h"

static int
law_err(struct archive *a, struct err *e)
{
	const char *s = archive_error_string(a);

	if (e->code == 0)
		err_set(e, CALA_FAIL, "libarchive: %s",
		    s != NULL ? s : "unknown error");
	return -1;
}

static int
add_filter(struct archive *a, enum archive_format f, int level,
    struct err *e)
{
	char text[8];
	int r;

	switch (f) {
	case ARCHIVE_TAR_XZ:
		r = archive_write_add_filter_xz(a);
		break;
	case ARCHIVE_TAR_LZ:
		r = archive_write_add_filter_lzip(a);
		break;
	case ARCHIVE_TAR_BZ2:
		r = archive_write_add_filter_bzip2(a);
		break;
	default:
		r = archive_write_add_filter_lz4(a);
		break;
	}
	snprintf(text, sizeof(text), "%d", level);
	if (r != ARCHIVE_OK || archive_write_set_filter_option(a, NULL,
	    "compression-level", text) != ARCHIVE_OK)
		return law_err(a, e);
	return 0;
}

/*
 * A libarchive writer of format raw: one entry without a name, whose bytes go
 * through the filter.  NULL with err.
 */
static struct archive *
raw_open(enum archive_format f, int level, void *arg,
    archive_write_callback *fn, struct err *e)
{
	struct archive *a = archive_write_new();
	struct archive_entry *ae = archive_entry_new();

	if (a == NULL || ae == NULL) {
		err_oom(e);
		goto fail;
	}
	archive_entry_set_filetype(ae, AE_IFREG);
	archive_entry_set_pathname(ae, "-");
	/* No padding at the end, no waiting for full blocks. */
	if (archive_write_set_format_raw(a) != ARCHIVE_OK ||
	    add_filter(a, f, level, e) == -1 ||
	    archive_write_set_bytes_per_block(a, 0) != ARCHIVE_OK ||
	    archive_write_open(a, arg, NULL, fn, NULL) != ARCHIVE_OK ||
	    archive_write_header(a, ae) != ARCHIVE_OK) {
		law_err(a, e);
		goto fail;
	}
	archive_entry_free(ae);
	return a;
fail:
	archive_entry_free(ae);
	if (a != NULL)
		archive_write_free(a);
	return NULL;
}

struct law_ctx {
	enum archive_format f;
	int level;
	unsigned char *out;
	size_t cap, len;
};

static size_t
law_room(const void *in, size_t n)
{
	(void)in;
	return n + n / 16 + 65536;
}

static void *
law_open(enum archive_format f, int level, struct err *e)
{
	struct law_ctx *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		err_oom(e);
		return NULL;
	}
	c->f = f;
	c->level = level;
	return c;
}

static la_ssize_t
ctx_write(struct archive *a, void *arg, const void *p, size_t n)
{
	struct law_ctx *c = arg;

	if (n > c->cap - c->len) {
		archive_set_error(a, -1, "a frame grew by compression");
		return -1;
	}
	memcpy(c->out + c->len, p, n);
	c->len += n;
	return (la_ssize_t)n;
}

static int
law_run(void *ctx, const void *in, size_t n, void *out, size_t cap,
    size_t *len, struct err *e)
{
	struct law_ctx *c = ctx;
	struct archive *a;
	int ret = 0;

	c->out = out;
	c->cap = cap;
	c->len = 0;
	if ((a = raw_open(c->f, c->level, c, ctx_write, e)) == NULL)
		return -1;
	if (archive_write_data(a, in, n) != (la_ssize_t)n ||
	    archive_write_close(a) != ARCHIVE_OK)
		ret = law_err(a, e);
	archive_write_free(a);
	*len = c->len;
	return ret;
}

const struct press press_law = { law_room, law_open, law_run, NULL, NULL,
    free };

/* One stream through a filter. */
struct filter {
	struct sink sink;
	struct sink *next;
	struct archive *a;
	struct err *e;          /* of the call we are in */
	unsigned char buf[128 * 1024];
};

static la_ssize_t
filter_write(struct archive *a, void *arg, const void *p, size_t n)
{
	struct filter *f = arg;

	/* Only errors of commit and used can be told; abort wants none. */
	if (f->e == NULL || sink_write(f->next, p, n, f->e) == -1) {
		archive_set_error(a, -1, "write failed");
		return -1;
	}
	return (la_ssize_t)n;
}

static void *
filter_space(struct sink *s, size_t *n, struct err *e)
{
	struct filter *f = (struct filter *)s;

	(void)e;
	*n = sizeof(f->buf);
	return f->buf;
}

static int
filter_used(struct sink *s, size_t n, struct err *e)
{
	struct filter *f = (struct filter *)s;
	int ret = 0;

	f->e = e;
	if (archive_write_data(f->a, f->buf, n) != (la_ssize_t)n)
		ret = law_err(f->a, e);
	f->e = NULL;
	return ret;
}

static int
filter_commit(struct sink *s, struct err *e)
{
	struct filter *f = (struct filter *)s;
	int ret = 0;

	f->e = e;
	if (archive_write_close(f->a) != ARCHIVE_OK)
		ret = law_err(f->a, e);
	f->e = NULL;
	return ret == -1 ? -1 : sink_commit(f->next, e);
}

static void
filter_abort(struct sink *s)
{
	struct filter *f = (struct filter *)s;

	if (!s->committed)
		archive_write_fail(f->a);
	archive_write_free(f->a);
	free(f);
}

struct sink *
law_filter(struct sink *next, enum archive_format format, int level,
    struct err *e)
{
	static const struct sink_ops ops = { filter_space, filter_used, NULL,
	    filter_commit, filter_abort };
	struct filter *f = calloc(1, sizeof(*f));

	if (f == NULL) {
		err_oom(e);
		return NULL;
	}
	f->sink.ops = &ops;
	f->next = next;
	f->e = e;
	f->a = raw_open(format, level, f, filter_write, e);
	f->e = NULL;
	if (f->a == NULL) {
		free(f);
		return NULL;
	}
	return &f->sink;
}
