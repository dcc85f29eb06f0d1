#include "driver/pbs_draft.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "base/stop.h"
#include "driver/driver.h"
#include "driver/pbs.h"
#include "driver/pbs_read.h"
#include "driver/pbs_record.h"
#include "fs/fs.h"
#include "pbs/before.h"
#include "pbs/manifest.h"
#include "pbs/reuse.h"
#include "pbs/upload.h"
#include "pxar/pxar.h"

#define NOTE "cala-chunker"             /* in unprotected */

enum { CATALOG_AVG = 512 << 10 };

struct pbs_draft {
	struct writer w;
	struct pbs_draft_how how;
	bool split;
	enum pbs_cut cut;
	struct pbs_upload *up;
	struct sink *meta, *payload, *catalog;
	struct pcat *pcat;
	struct writer *pxar;
	struct pbs_draft_sum sum;
	/* change-detection = metadata */
	struct pbs_session *session;    /* that reads the previous snapshot */
	struct ranged *old;
	struct pbs_reuse *reuse;
	const struct pbs_index *chunks; /* of its payload */
	const struct pbs_run *run;      /* put in, and referred to just now */
	const struct pbs_run *over;     /* the last one before it */
	uint64_t base;                  /* where it is now */
	uint64_t ref;                   /* of the file that is put */
	bool refers;
};

static const char *const cutters[] = { "buzhash", "fastcdc", "buzhash" };

/*
 * Only chunks that are cut alike are found again.  What we wrote says how; Wings
 * cuts by FastCDC, Proxmox by buzhash; of a first backup both systems' tools
 * don't care.
 */
static enum pbs_cut
choose(const struct pbs_draft_how *how)
{
	const struct pbs_before *b = how->before;
	const char *s = how->chunker;

	if (strcmp(s, "auto") == 0 && b->any &&
	    pbs_manifest_file(&b->m, PBS_PXAR) != NULL) {
		s = json_get_str(b->m.unprotected, NOTE);
		if (s == NULL)
			s = pbs_manifest_file(&b->m, PBS_PANEL_BLOB) != NULL ?
			    "fastcdc" : "buzhash";
	}
	return strcmp(s, "buzhash") == 0 ? PBS_CUT_BUZHASH : PBS_CUT_FASTCDC;
}

static struct sink *
stream(struct pbs_draft *a, const char *name, enum pbs_cut cut, size_t avg,
    struct err *e)
{
	struct pbs_stream_how how = { .name = name, .cut = cut, .avg = avg };

	how.before = pbs_before_index(a->how.before, name);
	return pbs_stream(a->up, &how, e);
}

/* Where a file's header will be: chunks like to begin there. */
static int
suggest(void *arg, uint64_t pos, struct err *e)
{
	return pbs_stream_suggest(((struct pbs_draft *)arg)->payload, pos,
	    e);
}

static int
refer(void *arg, const struct entry *en, uint64_t *pos, struct err *e)
{
	const struct pbs_draft *a = arg;

	(void)en, (void)e;
	*pos = a->ref;
	return a->refers;
}

static bool
old(void *arg, const struct entry *en)
{
	const struct pbs_draft *a = arg;

	return a->reuse != NULL && pbs_reuse_old(a->reuse, en);
}

static int
open_split(struct pbs_draft *a, struct err *e)
{
	struct pxar_write how = { .suggest = suggest, .reuse = refer,
	    .known = old, .arg = a };

	if ((a->meta = stream(a, PBS_MPXAR, PBS_CUT_BUZHASH, 0, e)) == NULL ||
	    (a->payload = stream(a, PBS_PPXAR, PBS_CUT_PAYLOAD, 0, e)) ==
	    NULL)
		return -1;
	how.payload = a->payload;
	a->pxar = pxar_writer(a->meta, &how, a->how.call->log, e);
	return a->pxar != NULL ? 0 : -1;
}

static int
open_whole(struct pbs_draft *a, struct err *e)
{
	struct pxar_write how = { .payload = NULL };

	a->cut = choose(&a->how);
	if ((a->meta = stream(a, PBS_PXAR, a->cut, 0, e)) == NULL ||
	    (a->catalog = stream(a, PBS_CATALOG, a->cut, CATALOG_AVG, e)) ==
	    NULL || (a->pcat = pcat_new(a->catalog, e)) == NULL ||
	    pcat_enter(a->pcat, PBS_PXAR, e) == -1)
		return -1;
	how.catalog = a->pcat;
	a->pxar = pxar_writer(a->meta, &how, a->how.call->log, e);
	return a->pxar != NULL ? 0 : -1;
}

/* ---- contents of the previous snapshot ---- */

/* Is it one that is known to be whole?  What could not be read then would
 * look unchanged for ever. */
static bool
trusted(const struct pbs_manifest *m, int64_t *since)
{
	struct record rec;
	struct err why = ERR_INIT;
	bool ok = pbs_record_get(m, &rec, &why) != -1 && rec.complete;

	*since = m->time;
	/* The snapshot's own time may be a later one (see pbs_put.c). */
	if (ok && rec.created.tv_sec > 0 && rec.created.tv_sec < *since)
		*since = rec.created.tv_sec;
	record_fini(&rec);
	return ok;
}

static int
open_old(struct pbs_draft *a, struct err *e)
{
	const struct pbs_before *b = a->how.before;
	struct pbs_shot *shot = &a->how.disk->found;
	const struct pbs_part *part;
	const struct pbs_file *f;

	memset(shot, 0, sizeof(*shot));
	pbsdisk_id(a->how.disk, a->how.call->server, shot->id);
	memcpy(shot->server, a->how.call->server, sizeof(shot->server));
	shot->time = b->time;
	if (pbs_session_open(a->how.call, a->how.disk, &a->session, e) == -1)
		return -1;
	f = pbs_manifest_file(pbs_session_manifest(a->session), PBS_MPXAR);
	if (f == NULL)
		return err_set(e, CALA_NOTFOUND, "it has no " PBS_MPXAR);
	if (pbs_session_part(a->session, f, &part, e) == -1)
		return -1;
	a->old = pbs_session_ranged(a->session, part, true, 4, e);
	return a->old != NULL ? 0 : -1;
}

static void
close_old(struct pbs_draft *a)
{
	pbs_reuse_free(a->reuse);
	a->reuse = NULL;
	ranged_close(a->old);
	a->old = NULL;
	pbs_session_close(a->session);
	a->session = NULL;
}

/* What was put in and is referred to no more counts from now on. */
static int
end_run(struct pbs_draft *a, struct err *e)
{
	const struct pbs_run *run = a->run;

	if (run == NULL)
		return 0;
	a->over = run;
	a->run = NULL;
	return pxar_writer_injected(a->pxar, run->size, e);
}

/* Is a file's content among what is put in? */
static int
look(struct pbs_draft *a, const struct entry *en, struct err *e)
{
	const struct pbs_run *run;
	uint64_t pos = 0;

	a->refers = false;
	run = pbs_reuse_find(a->reuse, en, &pos);
	/* One that was left can't be gone back to. */
	if (run != NULL && a->over != NULL && run <= a->over)
		run = NULL;
	if (run != a->run && end_run(a, e) == -1)
		return -1;
	if (run == NULL)
		return 0;
	if (a->run == NULL) {
		a->base = pxar_writer_payload(a->pxar);
		if (pbs_stream_inject(a->payload, a->chunks, run->first,
		    run->n, e) == -1)
			return -1;
		a->run = run;
	}
	a->ref = a->base + (pos - run->start);
	a->refers = true;
	return 0;
}

int
pbs_draft_plan(struct pbs_draft *a, const struct match *match, struct err *e)
{
	const struct driver_call *call = a->how.call;
	struct pbs_reuse_how how = { .ignore_inode = call->ignore_inode,
	    .log = call->log };
	struct fs_walk bare = { .match = match, .bare = true,
	    .jobs = call->jobs };
	struct err why = ERR_INIT;
	struct pbs_reuse_sum sum;
	struct reader *walk;
	struct log quiet;
	int ret;

	if (strcmp(a->how.detection, "metadata") != 0 || call->force_read ||
	    !a->how.before->any || !trusted(&a->how.before->m, &how.since) ||
	    (a->chunks = pbs_before_index(a->how.before, PBS_PPXAR)) == NULL)
		return 0;
	if (open_old(a, &why) == -1) {
		log_step(call->log, "all files are read: the previous "
		    "snapshot: %s", why.msg);
		close_old(a);
		return stop_check(e);
	}
	how.meta = a->old;
	how.payload = a->chunks;
	if ((a->reuse = pbs_reuse_new(&how, e)) == NULL)
		return -1;
	/* What can't be read is said when it is to be read. */
	log_init(&quiet, NULL, "");
	walk = fs_reader(AT_FDCWD, call->dir, &bare, &quiet, e);
	ret = walk == NULL ? -1 : pbs_reuse_plan(a->reuse, walk, e);
	reader_close(walk);
	log_fini(&quiet);
	if (ret == 0) {
		pbs_reuse_sum(a->reuse, &sum);
		log_step(call->log, "%ju files (%ju bytes) are as they were, "
		    "and are not read", (uintmax_t)sum.files,
		    (uintmax_t)sum.bytes);
	}
	return ret;
}

/* ---- the writer ---- */

/* A stream may come back to a directory, which pxar can't. */
static int
explain(const struct pbs_draft *a, int ret, struct err *e)
{
	if (ret == -1 && a->how.call->dir == NULL && e->code == CALA_FAIL &&
	    (strstr(e->msg, "order") != NULL ||
	    strstr(e->msg, "twice") != NULL))
		err_hint(e, "unpack it into a directory (cala-unpack) and put "
		    "that");
	return ret;
}

static int
draft_put(struct writer *w, const struct entry *en, struct content *c,
    struct err *e)
{
	struct pbs_draft *a = (struct pbs_draft *)w;

	if (en->type == ENTRY_FILE && a->reuse != NULL &&
	    look(a, en, e) == -1)
		return -1;
	return explain(a, writer_put(a->pxar, en, c, e), e);
}

static int
draft_leave(struct writer *w, struct err *e)
{
	struct pbs_draft *a = (struct pbs_draft *)w;

	return explain(a, writer_leave(a->pxar, e), e);
}

static bool
draft_known(struct writer *w, const struct entry *en)
{
	return writer_known(((struct pbs_draft *)w)->pxar, en);
}

static int
draft_end(struct writer *w, struct err *e)
{
	struct pbs_draft *a = (struct pbs_draft *)w;

	if (end_run(a, e) == -1 ||
	    explain(a, writer_commit(a->pxar, e), e) == -1)
		return -1;
	if (a->pcat == NULL)
		return 0;
	return pcat_leave(a->pcat, e) == -1 ? -1 : pcat_end(a->pcat, e);
}

static void
draft_keep(struct writer *w)
{
	(void)w;                /* pbs_draft_free */
}

struct pbs_draft *
pbs_draft_new(const struct pbs_draft_how *how, struct err *e)
{
	static const struct writer_ops ops = { draft_put, draft_leave,
	    draft_known, draft_end, draft_keep };
	struct pbs_upload_how up = { .session = how->session,
	    .crypt = how->crypt, .jobs = how->call->jobs,
	    .memory = how->call->memory };
	struct pbs_draft *a = calloc(1, sizeof(*a));

	if (a == NULL) {
		err_oom(e);
		return NULL;
	}
	a->w.ops = &ops;
	a->how = *how;
	a->split = strcmp(how->detection, "legacy") != 0;
	if ((a->up = pbs_upload_new(&up, e)) == NULL ||
	    (a->split ? open_split(a, e) : open_whole(a, e)) == -1) {
		pbs_draft_free(a);
		return NULL;
	}
	return a;
}

void
pbs_draft_free(struct pbs_draft *a)
{
	if (a == NULL)
		return;
	close_old(a);
	writer_free(a->pxar);
	pcat_free(a->pcat);
	sink_free(a->catalog);
	sink_free(a->payload);
	sink_free(a->meta);
	pbs_upload_free(a->up);
	free(a);
}

struct writer *
pbs_draft_writer(struct pbs_draft *a)
{
	return &a->w;
}

static int
list(struct pbs_draft *a, struct sink *s, const char *name,
    struct pbs_manifest *m, struct err *e)
{
	struct pbs_stream_sum sum;

	if (s == NULL)
		return 0;
	pbs_stream_sum(s, &sum);
	a->sum.archive += sum.size;
	a->sum.reused += sum.known_size;
	a->sum.sent += sum.sent;
	if (s == a->meta)
		memcpy(a->sum.csum, sum.csum, PBS_DIGEST);
	log_step(a->how.call->log, "%s: %ju bytes in %ju chunks, %ju bytes of them "
	    "(%ju chunks) known already", name, (uintmax_t)sum.size,
	    (uintmax_t)sum.chunks, (uintmax_t)sum.known_size,
	    (uintmax_t)sum.known);
	return pbs_manifest_add(m, name, a->how.crypt != NULL ?
	    PBS_MODE_ENCRYPT : PBS_MODE_NONE, sum.size, sum.csum, e);
}

int
pbs_draft_commit(struct pbs_draft *a, struct pbs_manifest *m,
    struct err *e)
{
	if (!a->w.committed && writer_commit(&a->w, e) == -1)
		return -1;
	a->sum.size = pxar_writer_sum(a->pxar)->size;
	a->sum.files = pxar_writer_sum(a->pxar)->files;
	return list(a, a->meta, pbs_draft_name(a), m, e) == -1 ||
	    list(a, a->payload, PBS_PPXAR, m, e) == -1 ||
	    list(a, a->catalog, PBS_CATALOG, m, e) == -1 ? -1 : 0;
}

int
pbs_draft_note(const struct pbs_draft *a, struct pbs_manifest *m,
    struct err *e)
{
	return json_object_set_new(m->unprotected, NOTE,
	    json_string(cutters[a->cut])) == 0 ? 0 : err_oom(e);
}

const char *
pbs_draft_name(const struct pbs_draft *a)
{
	return a->split ? PBS_MPXAR : PBS_PXAR;
}

const char *
pbs_draft_catalog(const struct pbs_draft *a)
{
	return a->split ? NULL : PBS_CATALOG;
}

const struct pbs_draft_sum *
pbs_draft_sum(const struct pbs_draft *a)
{
	return &a->sum;
}
