/* bzip2 and lz4 through libarchive's filters, on a thread of their own. */

#include "archive/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/err.h"
#include "base/str.h"

enum { LA_IN = 128 << 10 };

struct feed {
	struct flow *f;
	unsigned char in[LA_IN];
	bool stopped, end;
};

static la_ssize_t
la_read(struct archive *a, void *arg, const void **p)
{
	struct feed *fd = arg;
	ssize_t k = flow_take(fd->f, fd->in, LA_IN);

	if (k == -1) {
		fd->stopped = true;
		archive_set_error(a, EIO, "stopped");
		return ARCHIVE_FATAL;
	}
	fd->end = fd->end || k == 0;
	*p = fd->in;
	return k;
}

static int
trouble(struct archive *a, const char *name, bool end, struct err *e)
{
	const char *s = archive_error_string(a);

	if (s == NULL)
		s = "unknown";
	if (strcasestr(s, "truncated") != NULL ||
	    strcasestr(s, "premature") != NULL ||
	    strcasestr(s, "remaining data is less") != NULL ||
	    strcasestr(s, "unexpected end") != NULL ||
	    /* not a byte came out before the input ended */
	    (end && strcasestr(s, "unrecognized") != NULL))
		return err_set(e, CALA_INCOMPLETE, "the %s data is cut short",
		    name);
	return err_set(e, CALA_INTEGRITY, "the %s data is damaged: %s", name,
	    str_q(s));
}

static int
la_run(struct flow *f, const char *name, int filter, struct err *e)
{
	struct archive *a = archive_read_new();
	struct feed *fd = malloc(sizeof(*fd));
	struct archive_entry *ae;
	const void *p;
	la_int64_t off;
	size_t n;
	int r, ret = -1;

	if (a == NULL || fd == NULL) {
		err_oom(e);
		goto out;
	}
	memset(fd, 0, sizeof(*fd));
	fd->f = f;
	if (archive_read_support_format_raw(a) != ARCHIVE_OK ||
	    archive_read_append_filter(a, filter) != ARCHIVE_OK) {
		err_set(e, CALA_FAIL, "this libarchive can't read %s: %s", name,
		    str_q(archive_error_string(a)));
		goto out;
	}
	if (archive_read_open(a, fd, NULL, la_read, NULL) != ARCHIVE_OK) {
		trouble(a, name, fd->end, e);
		goto out;
	}
	r = archive_read_next_header(a, &ae);
	while (r == ARCHIVE_OK &&
	    (r = archive_read_data_block(a, &p, &n, &off)) == ARCHIVE_OK)
		if (flow_give(f, p, n) == -1)
			goto out;
	if (r != ARCHIVE_EOF) {
		trouble(a, name, fd->end, e);
		goto out;
	}
	/* what lies behind the last stream is not ours to judge, but must be
	 * taken so that the writer of a pipe is not cut off */
	while (!fd->end) {
		ssize_t k = flow_take(f, fd->in, LA_IN);

		if (k == -1)
			goto out;
		fd->end = k == 0;
	}
	ret = 0;
out:
	if (a != NULL)
		archive_read_free(a);
	free(fd);
	return ret;
}

static int
bz2_run(struct flow *f, void *arg, struct err *e)
{
	(void)arg;
	return la_run(f, "bzip2", ARCHIVE_FILTER_BZIP2, e);
}

static int
lz4_run(struct flow *f, void *arg, struct err *e)
{
	(void)arg;
	return la_run(f, "lz4", ARCHIVE_FILTER_LZ4, e);
}

const struct decoder decoder_bz2 = { "bzip2", NULL, NULL, NULL, NULL, bz2_run };
const struct decoder decoder_lz4 = { "lz4", NULL, NULL, NULL, NULL, lz4_run };
