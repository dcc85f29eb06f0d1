/*
 * kopia_stream: a directory as entries, out of the tar that Kopia writes.
 *
 * It opens /dev/stdout by name, to read and to write (kopia-restic §13.3):
 * that must be a pipe, of which it then holds a reading end itself.  So it
 * never notices that we have gone, and has to be ended; child_free does.
 */

#include "exec/kopia_int.h"

#include <stdlib.h>
#include <string.h>

#include "archive/archive.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/io.h"

struct stream {
	struct reader r;
	struct kopia_run run;
	struct source src;
	struct reader *in;
	struct entry first;             /* the directory's own */
	struct entry en;
	char *prefix;
	struct buf path;
	bool begun;
};

static ssize_t
src_read(struct source *s, void *p, size_t n, struct err *e)
{
	struct stream *t = (struct stream *)((char *)s -
	    offsetof(struct stream, src));

	return child_read(t->run.child, p, n, e);
}

static void
src_close(struct source *s)
{
	(void)s;                        /* the stream's own end does it */
}

static const struct source_ops src_ops = { src_read, src_close };

static int
next(struct reader *r, const struct entry **out, struct content **c,
    struct err *e)
{
	struct stream *t = (struct stream *)r;
	const struct entry *en;
	int got;

	if (!t->begun) {
		t->begun = true;
		*out = &t->first;
		*c = NULL;
		return 1;
	}
	do {
		if ((got = reader_next(t->in, &en, c, e)) == -1)
			break;
		/* Behind the end of the tar its exit status is told. */
		if (got == 0)
			return source_drain(&t->src, e);
	} while (*en->path == '\0');
	if (got == -1) {
		/* Why the stream ended early, it says better than the tar. */
		struct err why = ERR_INIT;

		if (e->code == CALA_INCOMPLETE &&
		    source_drain(&t->src, &why) == -1)
			*e = why;
		return -1;
	}
	t->en = *en;
	if (*t->prefix != '\0') {
		buf_reset(&t->path);
		buf_printf(&t->path, "%s/%s", t->prefix, en->path);
		if (buf_failed(&t->path, e) == -1)
			return -1;
		t->en.path = t->path.p;
	}
	*out = &t->en;
	return 1;
}

static void
close_stream(struct reader *r)
{
	struct stream *t = (struct stream *)r;

	reader_close(t->in);
	kopia_end(&t->run);
	buf_fini(&t->path);
	free(t->prefix);
	free(t);
}

static const struct reader_ops ops = { next, close_stream };

struct reader *
kopia_stream(struct kopia *k, const char *oid, const char *prefix,
    const struct entry *first, struct log *log, struct err *e)
{
	const char *const args[] = { "restore", oid, "/dev/stdout",
	    "--mode=tar", "--no-progress", NULL };
	struct kopia_cmd cmd = { .what = "restore", .args = args,
	    .in = PROC_NULL, .slow = true, .kill = true };
	struct archive_read how = { .jobs = 1 };
	struct stream *t = calloc(1, sizeof(*t));

	if (t == NULL || (t->prefix = strdup(prefix)) == NULL) {
		free(t);
		err_oom(e);
		return NULL;
	}
	t->r.ops = &ops;
	t->src.ops = &src_ops;
	buf_init(&t->path, 2 * ENTRY_PATH_MAX);
	t->first = *first;
	t->first.path = t->prefix;
	if (kopia_start(&t->run, k, &cmd, e) == -1 ||
	    (t->in = archive_reader(&t->src, &how, log, e)) == NULL) {
		close_stream(&t->r);
		return NULL;
	}
	return &t->r;
}

struct reader *
kopia_reader(struct kopia *k, const struct kopia_snap *s, struct log *log,
    struct err *e)
{
	return kopia_stream(k, s->root, "", &s->entry, log, e);
}
