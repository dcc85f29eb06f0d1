/*
 * pbs_read: a snapshot as a tree and as entries, whoever made it: pxar of one
 * piece or two, or the tar of the first Wings that could.
 */

#include "driver/pbs_read.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/archive.h"
#include "base/io.h"
#include "base/stop.h"
#include "base/str.h"
#include "driver/dirs.h"
#include "driver/pbs_record.h"
#include "pbs/blob.h"
#include "pbs/master.h"
#include "pxar/pxar.h"

enum { COPY_BUF = 1 << 20 };

/* ---- which archive ---- */

/* NAME.mpxar.didx and NAME.ppxar.didx belong together. */
static const struct pbs_file *
partner(const struct pbs_manifest *m, const struct pbs_file *meta)
{
	size_t n = strlen(meta->name) - strlen("mpxar.didx"), i;

	for (i = 0; i < m->n; i++)
		if (strncmp(m->files[i].name, meta->name, n) == 0 &&
		    strcmp(m->files[i].name + n, "ppxar.didx") == 0)
			return &m->files[i];
	return NULL;
}

int
pbs_archive(const struct pbs_manifest *m, struct pbs_archive *a,
    struct err *e)
{
	const struct pbs_file *f;
	size_t i;

	memset(a, 0, sizeof(*a));
	for (i = 0; i < m->n; i++) {
		f = &m->files[i];
		if (!str_ends(f->name, ".pxar.didx") &&
		    !str_ends(f->name, ".mpxar.didx"))
			continue;
		/* Ours, and Wings', before any other. */
		if (a->meta != NULL && strcmp(f->name, PBS_PXAR) != 0 &&
		    strcmp(f->name, PBS_MPXAR) != 0) {
			if (strcmp(a->meta->name, PBS_PXAR) == 0 ||
			    strcmp(a->meta->name, PBS_MPXAR) == 0)
				continue;
			return err_set(e, CALA_USAGE, "the snapshot holds "
			    "several archives: %s and %s", a->meta->name,
			    f->name);
		}
		a->meta = f;
	}
	if (a->meta != NULL) {
		a->kind = PBS_IS_PXAR;
		if (!str_ends(a->meta->name, ".mpxar.didx"))
			return 0;
		a->kind = PBS_IS_SPLIT;
		if ((a->payload = partner(m, a->meta)) != NULL)
			return 0;
		return err_set(e, CALA_INTEGRITY, "%s is there without its "
		    "payload", a->meta->name);
	}
	a->kind = PBS_IS_TAR;
	if ((a->meta = pbs_manifest_file(m, "backup.tar.didx")) != NULL)
		return 0;
	a->kind = PBS_IS_RAW;
	if ((a->meta = pbs_manifest_file(m, "dump.didx")) != NULL)
		return 0;
	return err_set(e, CALA_NOTFOUND, "the snapshot holds no archive of "
	    "files");
}

/* ---- the tree ---- */

struct branch {
	struct tree t;
	struct pbs_session *s;
	struct ranged *meta, *payload;
	struct tree *in;
	bool bare;              /* Wings keeps no owners */
	/* list, while it runs */
	tree_fn *fn;
	void *arg;
	struct entry en;
};

/* Cut short, once it is stored, is damage. */
static int
damaged(struct err *e)
{
	if (e->code == CALA_INCOMPLETE)
		e->code = CALA_INTEGRITY;
	return -1;
}

static const struct entry *
dress(struct branch *b, const struct entry *en)
{
	if (!b->bare)
		return en;
	b->en = *en;
	b->en.unowned = true;
	return &b->en;
}

static int
each_entry(void *arg, const struct entry *en, struct err *e)
{
	struct branch *b = arg;

	return b->fn(b->arg, dress(b, en), e);
}

static int
branch_list(struct tree *t, const char *path, tree_fn *fn, void *arg,
    struct err *e)
{
	struct branch *b = (struct branch *)t;

	b->fn = fn;
	b->arg = arg;
	return b->in->ops->list(b->in, path, each_entry, b, e) == -1 ?
	    damaged(e) : 0;
}

static int
branch_stat(struct tree *t, const char *path, struct entry *en,
    struct err *e)
{
	struct branch *b = (struct branch *)t;

	if (b->in->ops->stat(b->in, path, en, e) == -1)
		return damaged(e);
	en->unowned |= b->bare;
	return 0;
}

static struct content *
branch_open(struct tree *t, const char *path, uint64_t off, uint64_t len,
    struct err *e)
{
	struct branch *b = (struct branch *)t;
	struct content *c = b->in->ops->open(b->in, path, off, len, e);

	if (c == NULL)
		damaged(e);
	return c;
}

struct flow {
	struct reader r;
	struct reader *in;
	struct branch *b;
	bool own;               /* b is closed with it */
	struct entry en;
};

static int
flow_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	struct flow *f = (struct flow *)r;
	int got = reader_next(f->in, en, c, e);

	if (got == -1)
		return damaged(e);
	if (got == 1 && f->b->bare) {
		f->en = **en;
		f->en.unowned = true;
		*en = &f->en;
	}
	return got;
}

static void branch_close(struct tree *);

static void
flow_close(struct reader *r)
{
	struct flow *f = (struct flow *)r;

	reader_close(f->in);
	if (f->own)
		branch_close(&f->b->t);
	free(f);
}

/* Takes in, also when it fails. */
static struct reader *
flow(struct branch *b, struct reader *in, bool own, struct err *e)
{
	static const struct reader_ops ops = { flow_next, flow_close };
	struct flow *f;

	if (in == NULL) {
		damaged(e);
		return NULL;
	}
	if ((f = calloc(1, sizeof(*f))) == NULL) {
		reader_close(in);
		err_oom(e);
		return NULL;
	}
	f->r.ops = &ops;
	f->r.can = in->can;
	f->in = in;
	f->b = b;
	f->own = own;
	return &f->r;
}

static struct reader *
branch_reader(struct tree *t, const char *const *paths, size_t n,
    struct err *e)
{
	struct branch *b = (struct branch *)t;

	return flow(b, b->in->ops->reader(b->in, paths, n, e), false, e);
}

static void
branch_close(struct tree *t)
{
	struct branch *b = (struct branch *)t;

	if (b->in != NULL)
		b->in->ops->close(b->in);
	ranged_close(b->meta);
	ranged_close(b->payload);
	pbs_session_close(b->s);
	free(b);
}

static const struct tree_ops branch_ops = {
	branch_list, branch_stat, branch_open, branch_reader, branch_close
};

/* The bytes of an archive's file. */
static struct ranged *
bytes(struct pbs_session *s, const struct pbs_file *f, bool whole,
    unsigned share, struct err *e)
{
	const struct pbs_part *p;

	return pbs_session_part(s, f, &p, e) == -1 ? NULL :
	    pbs_session_ranged(s, p, whole, share, e);
}

/* Did Wings make it?  Then no entry has an owner. */
static bool
by_wings(const struct pbs_manifest *m)
{
	struct err no = ERR_INIT;
	struct record rec;
	int ours = pbs_record_get(m, &rec, &no);

	if (ours != -1)
		record_fini(&rec);
	return ours == 0 && pbs_manifest_file(m, PBS_PANEL_BLOB) != NULL;
}

static int
branch_new(struct driver_call *call, struct branch **out,
    struct pbs_archive *a, bool whole, struct err *e)
{
	struct pbs_disk *d = pbsdisk_open(call, e);
	struct branch *b;

	if (d == NULL || pbsdisk_find(call, d, e) == -1)
		return -1;
	if ((b = calloc(1, sizeof(*b))) == NULL)
		return err_oom(e);
	b->t.ops = &branch_ops;
	if (pbs_session_open(call, d, &b->s, e) == -1 ||
	    pbs_archive(pbs_session_manifest(b->s), a, e) == -1)
		goto fail;
	b->bare = a->kind != PBS_IS_TAR && by_wings(pbs_session_manifest(b->s));
	if (a->payload != NULL &&
	    (b->payload = bytes(b->s, a->payload, whole, 2, e)) == NULL)
		goto fail;
	if ((b->meta = bytes(b->s, a->meta, whole, a->payload != NULL ? 2 : 1,
	    e)) == NULL)
		goto fail;
	*out = b;
	return 0;
fail:
	branch_close(&b->t);
	return -1;
}

static int
no_files(const struct pbs_archive *a, struct err *e)
{
	if (a->kind != PBS_IS_RAW)
		return 0;
	err_set(e, CALA_USAGE, "the backup is a dump of a database, and holds "
	    "no files");
	return err_hint(e, "cala-pbs archive writes the dump as it is");
}

static int
plant(struct driver_call *call, struct branch *b,
    const struct pbs_archive *a, struct err *e)
{
	struct archive_read how = { .jobs = call->jobs,
	    .memory = call->memory };

	if (no_files(a, e) == -1)
		return -1;
	b->in = a->kind == PBS_IS_TAR ?
	    archive_tree(b->meta, &how, call->log, e) :
	    pxar_tree(b->meta, b->payload, NULL, call->log, e);
	return b->in == NULL ? damaged(e) : 0;
}

int
pbsdisk_tree(struct driver_call *call, struct tree **out, struct err *e)
{
	struct pbs_archive a;
	struct branch *b;

	if (branch_new(call, &b, &a, false, e) == -1)
		return -1;
	if (plant(call, b, &a, e) == -1) {
		branch_close(&b->t);
		return -1;
	}
	*out = &b->t;
	return 0;
}

/* All of call->paths, or everything. */
int
pbsdisk_get(struct driver_call *call, struct reader **out, struct err *e)
{
	struct archive_read how = { .jobs = call->jobs,
	    .memory = call->memory };
	struct reader *in = NULL;
	struct pbs_archive a;
	struct branch *b;

	if (branch_new(call, &b, &a, call->npaths == 0, e) == -1)
		return -1;
	if (a.kind == PBS_IS_TAR && call->npaths == 0)
		/* without a list of all entries before */
		in = archive_reader_at(b->meta, &how, call->log, e);
	else if (plant(call, b, &a, e) == 0)
		in = b->in->ops->reader(b->in, call->paths, call->npaths, e);
	if ((*out = flow(b, in, true, e)) == NULL) {
		branch_close(&b->t);
		return -1;
	}
	return 0;
}

int
pbsdisk_restore(struct driver_call *call, struct err *e)
{
	return dirs_restore(call, pbsdisk_get, e) == -1 ? damaged(e) : 0;
}

/* ---- the archive itself ---- */

static int
copy(struct driver_call *call, struct ranged *from, struct err *e)
{
	struct sink *out = sink_fd(STDOUT_FILENO, false, "standard output", e);
	struct source *in = NULL;
	unsigned char *p = malloc(COPY_BUF);
	ssize_t n = -1;
	int ret = -1;

	if (p == NULL)
		err_oom(e);
	else if (out != NULL)
		in = ranged_source(from, 0, from->size, e);
	while (in != NULL && (n = source_read(in, p, COPY_BUF, e)) > 0) {
		if (sink_write(out, p, (size_t)n, e) == -1) {
			n = -1;
			break;
		}
		call->tally.bytes += (size_t)n;
	}
	if (n == 0)
		ret = sink_commit(out, e);
	source_close(in);
	sink_free(out);
	free(p);
	return ret;
}

int
pbsdisk_archive(struct driver_call *call, struct err *e)
{
	struct pbs_archive a;
	struct branch *b;
	int ret = -1;

	if (isatty(STDOUT_FILENO))
		return err_set(e, CALA_USAGE, "an archive is nothing for a "
		    "terminal: send it into a file or a pipe");
	if (branch_new(call, &b, &a, true, e) == -1)
		return -1;
	if (a.kind == PBS_IS_SPLIT) {
		err_set(e, CALA_USAGE, "the backup is split into two archives, "
		    "which are none without each other");
		err_hint(e, "get writes its files as tar");
	} else {
		ret = copy(call, b->meta, e);
	}
	branch_close(&b->t);
	return ret;
}

/* ---- the key that a master key recovers ---- */

/* Without our key, which may be lost: that is what it is for. */
static int
sealed_key(struct driver_call *call, struct pbs_disk *d, struct buf *out,
    struct err *e)
{
	struct pbs_manifest m;
	int ret;

	if (pbsdisk_find(call, d, e) == -1 ||
	    pbsdisk_manifest(d, &d->found, &m, e) == -1)
		return -1;
	ret = pbs_manifest_file(&m, PBS_MASTER) == NULL ?
	    err_set(e, CALA_NOTFOUND, "backup %s was made without a master "
	    "key", call->backup) : pbsdisk_blob(d, &d->found, &m, PBS_MASTER,
	    NULL, out, e);
	pbs_manifest_fini(&m);
	return ret;
}

int
pbsdisk_sealed_key(struct driver_call *call, struct err *e)
{
	struct pbs_disk *d;
	struct sink *out = NULL;
	struct buf b;
	int ret = -1;

	if (isatty(STDOUT_FILENO))
		return err_set(e, CALA_USAGE, "a sealed key is nothing for a "
		    "terminal: send it into a file or a pipe");
	buf_init(&b, PBS_CHUNK_MAX);
	if ((d = pbsdisk_open(call, e)) != NULL &&
	    sealed_key(call, d, &b, e) == 0 &&
	    (out = sink_fd(STDOUT_FILENO, false, "standard output", e)) !=
	    NULL && sink_write(out, b.p, b.len, e) == 0)
		ret = sink_commit(out, e);
	sink_free(out);
	buf_fini(&b);
	return ret;
}
