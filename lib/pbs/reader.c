#include "pbs/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/str.h"
#include "pbs/session.h"

enum { QUERY_MAX = 1024 };

struct pbs_reader {
	struct h2 *h2;
};

struct pbs_reader *
pbs_reader_open(const struct pbs_target *t, const struct pbs_snap *s,
    struct log *log, struct err *e)
{
	struct pbs_reader *r = calloc(1, sizeof(*r));

	if (r == NULL) {
		err_oom(e);
		return NULL;
	}
	if ((r->h2 = pbs_session(t, "reader", s, log, e)) == NULL) {
		free(r);
		return NULL;
	}
	return r;
}

void
pbs_reader_free(struct pbs_reader *r)
{
	if (r == NULL)
		return;
	h2_free(r->h2);
	free(r);
}

void
pbs_reader_moved(struct pbs_reader *r, uint64_t *sent, uint64_t *received)
{
	h2_moved(r->h2, sent, received);
}

static int
download(struct pbs_reader *r, const char *name,
    int (*take)(void *, const void *, size_t, struct err *), void *arg,
    struct buf *out, struct err *e)
{
	struct h2_req q = { .method = "GET", .take = take, .arg = arg,
	    .answer = out };
	struct buf path;
	int ret = -1;

	if (!pbs_name_ok(name))
		return err_set(e, CALA_USAGE, "'%s': no name of a file",
		    str_q(name));
	buf_init(&path, QUERY_MAX);
	buf_str(&path, "/download");
	pbs_param(&path, "file-name", name);
	q.path = path.p;
	if (buf_failed(&path, e) == 0 && h2_call(r->h2, &q, e) == 0)
		ret = h2_outcome(&q, name, e);
	buf_fini(&path);
	return ret;
}

int
pbs_reader_file(struct pbs_reader *r, const char *name, struct buf *b,
    struct err *e)
{
	return download(r, name, NULL, NULL, b, e);
}

int
pbs_reader_stream(struct pbs_reader *r, const char *name,
    int (*take)(void *, const void *, size_t, struct err *), void *arg,
    struct err *e)
{
	return download(r, name, take, arg, NULL, e);
}

/* ---- chunks ---- */

static void
fetch_ended(struct h2_req *q)
{
	struct pbs_fetch *f = q->arg;

	f->ended(f);
}

int
pbs_fetch_send(struct pbs_reader *r, struct pbs_fetch *f, struct err *e)
{
	char hex[2 * PBS_DIGEST + 1];

	hex_put(f->digest, PBS_DIGEST, hex);
	snprintf(f->path, sizeof(f->path), "/chunk?digest=%s", hex);
	memset(&f->req, 0, sizeof(f->req));
	buf_reset(f->blob);
	f->req.method = "GET";
	f->req.path = f->path;
	f->req.answer = f->blob;
	f->req.arg = f;
	f->req.ended = f->ended != NULL ? fetch_ended : NULL;
	return h2_send(r->h2, &f->req, e);
}

int
pbs_fetch_outcome(struct pbs_fetch *f, struct err *e)
{
	char hex[2 * PBS_DIGEST + 1], what[2 * PBS_DIGEST + 16];

	hex_put(f->digest, PBS_DIGEST, hex);
	snprintf(what, sizeof(what), "chunk %s", hex);
	if (h2_outcome(&f->req, what, e) == 0)
		return 0;
	/* here it speaks of the chunk, not of us (pbs.md 5.2) */
	if (e->code != CALA_MAINTENANCE && (f->req.status == 401 ||
	    f->req.status == 400 || f->req.status == 404)) {
		e->code = CALA_NOTFOUND;
		e->hint[0] = '\0';
	}
	return -1;
}

int
pbs_fetch_wait(struct pbs_reader *r, struct pbs_fetch *f, struct err *e)
{
	struct err ignored;

	(void)h2_wait(r->h2, &f->req, &ignored);
	return pbs_fetch_outcome(f, e);
}

bool
pbs_fetch_poll(struct pbs_reader *r, struct pbs_fetch *f)
{
	return h2_poll(r->h2, &f->req);
}
