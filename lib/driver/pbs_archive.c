#include "driver/pbs_archive.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "driver/pbs_record.h"
#include "pbs/before.h"
#include "pbs/manifest.h"
#include "pbs/upload.h"
#include "pxar/pxar.h"

#define NOTE "cala-chunker"             /* in unprotected */

enum { CATALOG_AVG = 512 << 10 };

struct pbs_archive {
	struct writer w;
	struct pbs_archive_how how;
	bool split;
	enum pbs_cut cut;
	struct pbs_upload *up;
	struct sink *meta, *payload, *catalog;
	struct pcat *pcat;
	struct writer *pxar;
	struct pbs_archive_sum sum;
};

static const char *const cutters[] = { "buzhash", "fastcdc", "buzhash" };

/*
 * Only chunks that are cut alike are found again.  What we wrote says how; Wings
 * cuts by FastCDC, Proxmox by buzhash; of a first backup both systems' tools
 * don't care.
 */
static enum pbs_cut
choose(const struct pbs_archive_how *how)
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
stream(struct pbs_archive *a, const char *name, enum pbs_cut cut, size_t avg,
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
	return pbs_stream_suggest(((struct pbs_archive *)arg)->payload, pos,
	    e);
}

static int
open_split(struct pbs_archive *a, struct err *e)
{
	struct pxar_write how = { .suggest = suggest, .arg = a };

	if ((a->meta = stream(a, PBS_MPXAR, PBS_CUT_BUZHASH, 0, e)) == NULL ||
	    (a->payload = stream(a, PBS_PPXAR, PBS_CUT_PAYLOAD, 0, e)) ==
	    NULL)
		return -1;
	how.payload = a->payload;
	a->pxar = pxar_writer(a->meta, &how, a->how.log, e);
	return a->pxar != NULL ? 0 : -1;
}

static int
open_whole(struct pbs_archive *a, struct err *e)
{
	struct pxar_write how = { .payload = NULL };

	a->cut = choose(&a->how);
	if ((a->meta = stream(a, PBS_PXAR, a->cut, 0, e)) == NULL ||
	    (a->catalog = stream(a, PBS_CATALOG, a->cut, CATALOG_AVG, e)) ==
	    NULL || (a->pcat = pcat_new(a->catalog, e)) == NULL ||
	    pcat_enter(a->pcat, PBS_PXAR, e) == -1)
		return -1;
	how.catalog = a->pcat;
	a->pxar = pxar_writer(a->meta, &how, a->how.log, e);
	return a->pxar != NULL ? 0 : -1;
}

/* ---- the writer ---- */

static int
archive_put(struct writer *w, const struct entry *en, struct content *c,
    struct err *e)
{
	struct pbs_archive *a = (struct pbs_archive *)w;

	if (writer_put(a->pxar, en, c, e) == -1)
		return a->how.stream && strstr(e->msg, "order") != NULL ?
		    err_hint(e, "unpack it into a directory (cala-unpack) and "
		    "put that") : -1;
	return 0;
}

static int
archive_leave(struct writer *w, struct err *e)
{
	return writer_leave(((struct pbs_archive *)w)->pxar, e);
}

static int
archive_end(struct writer *w, struct err *e)
{
	struct pbs_archive *a = (struct pbs_archive *)w;

	if (writer_commit(a->pxar, e) == -1)
		return -1;
	if (a->pcat == NULL)
		return 0;
	return pcat_leave(a->pcat, e) == -1 ? -1 : pcat_end(a->pcat, e);
}

static void
archive_keep(struct writer *w)
{
	(void)w;                /* pbs_archive_free */
}

struct pbs_archive *
pbs_archive_new(const struct pbs_archive_how *how, struct err *e)
{
	static const struct writer_ops ops = { archive_put, archive_leave,
	    NULL, archive_end, archive_keep };
	struct pbs_upload_how up = { .session = how->session,
	    .crypt = how->crypt, .jobs = how->jobs, .memory = how->memory };
	struct pbs_archive *a = calloc(1, sizeof(*a));

	if (a == NULL) {
		err_oom(e);
		return NULL;
	}
	a->w.ops = &ops;
	a->how = *how;
	a->split = strcmp(how->detection, "legacy") != 0;
	if ((a->up = pbs_upload_new(&up, e)) == NULL ||
	    (a->split ? open_split(a, e) : open_whole(a, e)) == -1) {
		pbs_archive_free(a);
		return NULL;
	}
	return a;
}

void
pbs_archive_free(struct pbs_archive *a)
{
	if (a == NULL)
		return;
	writer_free(a->pxar);
	pcat_free(a->pcat);
	sink_free(a->catalog);
	sink_free(a->payload);
	sink_free(a->meta);
	pbs_upload_free(a->up);
	free(a);
}

int
pbs_archive_plan(struct pbs_archive *a, const char *dir,
    const struct match *match, struct err *e)
{
	(void)a, (void)dir, (void)match, (void)e;
	return 0;
}

struct writer *
pbs_archive_writer(struct pbs_archive *a)
{
	return &a->w;
}

static int
list(struct pbs_archive *a, struct sink *s, const char *name,
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
	log_step(a->how.log, "%s: %ju bytes in %ju chunks, %ju bytes of them "
	    "(%ju chunks) known already", name, (uintmax_t)sum.size,
	    (uintmax_t)sum.chunks, (uintmax_t)sum.known_size,
	    (uintmax_t)sum.known);
	return pbs_manifest_add(m, name, a->how.crypt != NULL ?
	    PBS_MODE_ENCRYPT : PBS_MODE_NONE, sum.size, sum.csum, e);
}

int
pbs_archive_commit(struct pbs_archive *a, struct pbs_manifest *m,
    struct err *e)
{
	if (!a->w.committed && writer_commit(&a->w, e) == -1)
		return -1;
	a->sum.size = pxar_writer_sum(a->pxar)->size;
	a->sum.files = pxar_writer_sum(a->pxar)->files;
	return list(a, a->meta, pbs_archive_name(a), m, e) == -1 ||
	    list(a, a->payload, PBS_PPXAR, m, e) == -1 ||
	    list(a, a->catalog, PBS_CATALOG, m, e) == -1 ? -1 : 0;
}

int
pbs_archive_note(const struct pbs_archive *a, struct pbs_manifest *m,
    struct err *e)
{
	return json_object_set_new(m->unprotected, NOTE,
	    json_string(cutters[a->cut])) == 0 ? 0 : err_oom(e);
}

const char *
pbs_archive_name(const struct pbs_archive *a)
{
	return a->split ? PBS_MPXAR : PBS_PXAR;
}

const char *
pbs_archive_catalog(const struct pbs_archive *a)
{
	return a->split ? NULL : PBS_CATALOG;
}

const struct pbs_archive_sum *
pbs_archive_sum(const struct pbs_archive *a)
{
	return &a->sum;
}
