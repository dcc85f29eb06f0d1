/* kopia_fetch: the bytes of objects, whole or as a stream. */

#include "exec/kopia_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"

/* Each run has a session of its own, most of which is waiting. */
enum { JOBS_DEF = 4, JOBS_MAX = 16, BLOCK = 64 << 10 };

int
kopia_show(struct kopia_run *r, struct kopia *k, const char *oid,
    struct err *e)
{
	const char *const args[] = { "show", oid, NULL };
	struct kopia_cmd cmd = { .what = "show", .args = args,
	    .in = PROC_NULL, .slow = true };

	return kopia_start(r, k, &cmd, e);
}

static int
whole(struct kopia_run *r, struct buf *b, struct err *e)
{
	ssize_t n;
	char *room;

	do {
		if (b->len == b->max)
			return err_set(e, CALA_INTEGRITY, "%s: an object of "
			    "more than %zu bytes", r->name, b->max);
		if ((room = buf_room(b, b->max - b->len < BLOCK ?
		    b->max - b->len : BLOCK)) == NULL)
			return buf_failed(b, e);
		n = child_read(r->child, room, b->max - b->len < BLOCK ?
		    b->max - b->len : BLOCK, e);
		if (n == -1)
			return -1;
		buf_grown(b, (size_t)n);
	} while (n > 0);
	return 0;
}

int
kopia_fetch(struct kopia *k, const char *const *oids, size_t n, size_t max,
    unsigned jobs, kopia_fetch_fn *fn, void *ctx, struct err *e)
{
	struct kopia_run *runs;
	size_t i, begun = 0, width;
	struct buf b;
	int ret = 0;

	width = jobs == 0 ? JOBS_DEF : jobs < JOBS_MAX ? jobs : JOBS_MAX;
	if (width > n)
		width = n;
	if (n == 0)
		return 0;
	if ((runs = calloc(width, sizeof(*runs))) == NULL)
		return err_oom(e);
	buf_init(&b, max);
	for (i = 0; i < n && ret == 0; i++) {
		for (; begun < n && begun < i + width && ret == 0; begun++)
			ret = kopia_show(&runs[begun % width], k, oids[begun],
			    e);
		if (ret == 0)
			ret = whole(&runs[i % width], &b, e);
		if (ret == 0)
			ret = fn(ctx, i, b.p, b.len, e);
		kopia_end(&runs[i % width]);
		buf_reset(&b);
	}
	for (i = 0; i < width; i++)
		kopia_end(&runs[i]);
	free(runs);
	buf_fini(&b);
	return ret;
}
