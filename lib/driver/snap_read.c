/*
 * snap_read: what a snapshot holds, as entries and as a tree, without what its
 * rules leave out; and restore, which shares blocks with it where it can.
 */

#include "driver/snap.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "entry/holding.h"
#include "entry/match.h"
#include "fs/fs.h"
#include "snap/view.h"

/* An open backup: its snapshot, rules and record. */
struct opened {
	struct snap s;
	struct snap_root root;
	struct record rec;
	bool has_rec;
	struct match *match;
};

static void
opened_close(struct opened *o)
{
	o->s.kind->close(&o->s, &o->root);
	match_free(o->match);
	if (o->has_rec)
		record_fini(&o->rec);
	snap_end(&o->s);
}

static int
opened_open(struct driver_call *call, struct opened *o, struct err *e)
{
	const char *uuid = call->backup;
	int r;

	memset(o, 0, sizeof(*o));
	o->root.fd = -1;
	o->root.clone = (struct clone)CLONE_INIT;
	if (snap_begin(call, false, &o->s, e) == -1)
		return -1;
	if ((r = o->s.kind->stored(&o->s, uuid, e)) != 1) {
		if (r == 0)
			err_set(e, CALA_NOTFOUND, "no backup %s", uuid);
		goto fail;
	}
	if (snap_record(&o->s, uuid, &o->rec, e) == -1)
		goto fail;
	o->has_rec = true;
	if (snap_rules(&o->s, uuid, &o->rec, &o->match, e) == -1 ||
	    o->s.kind->open(&o->s, uuid, &o->root, e) == -1)
		goto fail;
	return 0;
fail:
	opened_close(o);
	return -1;
}

static void
how_to_view(const struct opened *o, struct view_how *how)
{
	memset(how, 0, sizeof(*how));
	how->match = o->match;
	how->jobs = o->s.call->jobs;
	how->limit_read = o->s.call->limit_read;
}

/* Everything, and at the end the question whether it still is the backup. */
struct whole {
	struct reader r;
	struct opened o;
	struct reader *in;
};

static int
whole_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	struct whole *w = (struct whole *)r;
	int got = reader_next(w->in, en, c, e);

	if (got != 0)
		return got;
	return w->o.s.kind->intact(&w->o.s, w->o.s.call->backup, &w->o.rec, e);
}

static void
whole_close(struct reader *r)
{
	struct whole *w = (struct whole *)r;

	reader_close(w->in);
	opened_close(&w->o);
	free(w);
}

static const struct reader_ops whole_ops = { whole_next, whole_close };

static int
read_paths(struct driver_call *call, const char *const *paths, size_t n,
    struct reader **out, struct err *e)
{
	struct whole *w = calloc(1, sizeof(*w));
	struct view_how how;

	if (w == NULL)
		return err_oom(e);
	if (opened_open(call, &w->o, e) == -1) {
		free(w);
		return -1;
	}
	w->r.ops = &whole_ops;
	how_to_view(&w->o, &how);
	w->in = view_reader(w->o.root.fd, paths, n, &how, call->log, e);
	if (w->in == NULL) {
		whole_close(&w->r);
		return -1;
	}
	w->r.can = w->in->can;
	*out = &w->r;
	return 0;
}

int
snap_get(struct driver_call *call, struct reader **out, struct err *e)
{
	return read_paths(call, NULL, 0, out, e);
}

int
snap_restore(struct driver_call *call, struct err *e)
{
	struct fs_extract how = { .xattrs = true, .owners = geteuid() == 0,
	    .numeric = true, .limit_write = call->limit_write,
	    .jobs = call->jobs };
	struct reader *in = NULL;
	struct writer *w = NULL;
	int fd, ret = -1;

	if ((fd = file_opendir(AT_FDCWD, call->dir, e)) == -1)
		return -1;
	if (read_paths(call, call->paths, call->npaths, &in, e) == 0 &&
	    (w = fs_writer(fd, &how, call->log, e)) != NULL &&
	    pump(in, w, NULL, e) == 0)
		ret = writer_commit(w, e);
	writer_free(w);
	reader_close(in);
	close(fd);
	return ret;
}

static void
drop(void *o)
{
	opened_close(o);
	free(o);
}

int
snap_tree(struct driver_call *call, struct tree **out, struct err *e)
{
	struct opened *o = malloc(sizeof(*o));
	struct view_how how;
	struct tree *in;

	if (o == NULL)
		return err_oom(e);
	if (opened_open(call, o, e) == -1) {
		free(o);
		return -1;
	}
	how_to_view(o, &how);
	if ((in = view_open(o->root.fd, &how, call->log, e)) == NULL) {
		drop(o);
		return -1;
	}
	return (*out = tree_holding(in, o, drop, e)) != NULL ? 0 : -1;
}
