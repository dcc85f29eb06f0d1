/*
 * s3_read: what is stored, as bytes, as entries, as a tree.
 *
 * A whole backup comes in parallel ranges of one generation of the object, and
 * its record's SHA-256 is checked at the end; without an index, before, too.  A
 * part of one costs a few ranged requests where the archive has an index (or is
 * a zip); else the object is read through.
 */

#include "driver/s3.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "archive/archive.h"
#include "archive/index.h"
#include "base/io.h"
#include "base/str.h"
#include "driver/stored.h"

/* A download, which must outlive what s3_download was told of it. */
struct whole {
	struct source src;
	struct source *in;
	struct s3_download how;
};

static ssize_t
whole_read(struct source *s, void *p, size_t n, struct err *e)
{
	return source_read(((struct whole *)s)->in, p, n, e);
}

static void
whole_close(struct source *s)
{
	struct whole *w = (struct whole *)s;

	source_close(w->in);
	free(w);
}

static const struct source_ops whole_ops = { whole_read, whole_close };

/* All bytes of d->found, compared with rec. */
static struct source *
download(struct s3_disk *d, const struct record *rec, struct err *e)
{
	struct whole *w = calloc(1, sizeof(*w));

	if (w == NULL) {
		err_oom(e);
		return NULL;
	}
	w->src.ops = &whole_ops;
	w->how.len = UINT64_MAX;
	/* its record's sum proves more than the store's: one of them is enough */
	w->how.no_verify = stored_has_sum(rec);
	w->how.etag = d->found.etag[0] != '\0' ? d->found.etag : NULL;
	w->in = s3_download(d->s3, d->found.key, &w->how, e);
	if (w->in == NULL) {
		free(w);
		/* that of If-Match, which only here is no wish of the caller */
		if (e->code == CALA_EXISTS)
			err_set(e, CALA_INTEGRITY, "%s: the object was "
			    "replaced while it was read", str_q(d->found.key));
		return NULL;
	}
	return stored_source(&w->src, rec, NULL, d->found.key, e);
}

static struct s3_disk *
found(struct driver_call *call, struct err *e)
{
	struct s3_disk *d = s3disk_open(call, e);

	return d != NULL && s3disk_find(call, d, e) == 0 ? d : NULL;
}

/* The object and its record, which the caller frees. */
static struct s3_disk *
found_record(struct driver_call *call, struct record *rec, struct err *e)
{
	struct s3_disk *d = found(call, e);

	return d != NULL && s3disk_record(call, d, &d->found, rec, e) == 0 ?
	    d : NULL;
}

static struct ranged *
ranged(struct s3_disk *d, struct err *e)
{
	return s3_ranged(d->s3, d->found.key, d->found.etag[0] != '\0' ?
	    d->found.etag : NULL, d->found.size, e);
}

static bool
seeks(enum archive_format f)
{
	return f == ARCHIVE_ZIP || f == ARCHIVE_7Z;
}

static int
reader_of(struct driver_call *call, struct s3_disk *d,
    const struct record *rec, struct reader **out, struct err *e)
{
	struct archive_read how = { .jobs = call->jobs };
	struct source *src = NULL;
	struct ranged *rg = NULL;

	if (seeks(d->found.format))
		rg = ranged(d, e);
	else
		src = download(d, rec, e);
	if (rg == NULL && src == NULL)
		return -1;
	*out = stored_reader(src, rg, &how, call->log, d->found.key, e);
	return *out != NULL ? 0 : -1;
}

/* What is read here and there is compared with its record's sum before. */
static int
sum_now(struct s3_disk *d, const struct record *rec, struct err *e)
{
	struct source *src;
	int ret;

	if (!stored_has_sum(rec))
		return 0;
	if ((src = download(d, rec, e)) == NULL)
		return -1;
	ret = source_drain(src, e);
	source_close(src);
	return ret;
}

/* Of all but zip and 7z: can every piece be checked before it is given out? */
static bool
piecewise(struct s3_disk *d)
{
	struct err ignored = ERR_INIT;
	struct ranged *rg = ranged(d, &ignored);
	struct index *x = rg != NULL ? index_open(rg, &ignored) : NULL;
	bool yes = x != NULL;

	index_free(x);
	ranged_close(rg);
	return yes;
}

/*
 * Nothing that is damaged or cut is given to anybody who may write it
 * somewhere: what can't be checked piece by piece comes twice.
 */
static int
vouch(struct driver_call *call, struct s3_disk *d, const struct record *rec,
    struct err *e)
{
	struct reader *in;
	int ret;

	/* a zip is read here and there: only before can all be compared */
	if (seeks(d->found.format) ? call->no_check && !stored_has_sum(rec) :
	    call->no_check || piecewise(d))
		return 0;
	log_step(call->log, "%s: fetched once before, to be sure that it is "
	    "whole: %s", d->found.key, stored_has_sum(rec) ?
	    "its SHA-256 is the record's" : "it has no index, and no SHA-256 "
	    "on record");
	if (stored_has_sum(rec))
		return sum_now(d, rec, e);
	if (reader_of(call, d, rec, &in, e) == -1)
		return -1;
	ret = stored_prove(in, e);
	reader_close(in);
	return ret;
}

int
s3disk_raw(struct driver_call *call, struct source **out, struct err *e)
{
	struct record rec;
	struct s3_disk *d = found_record(call, &rec, e);

	if (d == NULL)
		return -1;
	*out = vouch(call, d, &rec, e) == 0 ? download(d, &rec, e) : NULL;
	record_fini(&rec);
	return *out != NULL ? 0 : -1;
}

int
s3disk_get(struct driver_call *call, struct reader **out, struct err *e)
{
	struct record rec;
	struct s3_disk *d = found_record(call, &rec, e);
	int ret;

	if (d == NULL)
		return -1;
	ret = vouch(call, d, &rec, e);
	if (ret == 0)
		ret = reader_of(call, d, &rec, out, e);
	record_fini(&rec);
	return ret;
}

int
s3disk_tree(struct driver_call *call, struct tree **out, struct err *e)
{
	struct archive_read how = { .jobs = call->jobs };
	struct s3_disk *d = found(call, e);
	struct ranged *rg;

	if (d == NULL || (rg = ranged(d, e)) == NULL)
		return -1;
	*out = stored_tree(rg, &how, call->log, d->found.key, e);
	return *out != NULL ? 0 : -1;
}

/*
 * Without reading the contents: the size that the record says, and an index,
 * whose every offset is checked against the object, or the list of a zip.
 */
static int
look(struct driver_call *call, struct s3_disk *d, struct err *e)
{
	struct ranged *rg = ranged(d, e);
	struct index *x;

	if (rg == NULL)
		return stored_failed(call, "open", e);
	x = index_open(rg, e);
	if (x == NULL && e->code != 0) {
		ranged_close(rg);
		return stored_failed(call, "read the index", e);
	}
	if (x != NULL)
		driver_say(call, "ok: its index is whole: %" PRIu32 " entries, "
		    "%" PRIu64 " bytes fetched", x->n, rg->fetched);
	index_free(x);
	ranged_close(rg);
	return x != NULL ? 1 : 0;
}

int
s3disk_verify(struct driver_call *call, struct record *rec, struct err *e)
{
	struct s3_disk *d = found(call, e);
	struct reader *in = NULL;
	int ret;

	if (d == NULL)
		return stored_failed(call, "find", e);
	driver_say(call, "ok: found %s", d->found.key);
	if (stored_compare(call, rec, "stored bytes", rec->has_stored,
	    rec->stored, d->found.size, e) == -1)
		return -1;
	if (rec->unverified)
		driver_say(call, "note: the store confirmed no checksum when "
		    "it was uploaded");
	if (!call->read_data) {
		if ((ret = look(call, d, e)) == -1)
			return -1;
		if (ret == 1) {
			driver_say(call, "note: contents were not read "
			    "(--read-data does)");
			return 0;
		}
		driver_say(call, "note: no index: only reading it can tell");
	}
	if (call->read_data && call->percent < 100 &&
	    (ret = stored_sample(call, ranged(d, e), e)) != 0)
		return ret == 1 ? 0 : -1;
	if (seeks(d->found.format) && sum_now(d, rec, e) == -1)
		return stored_failed(call, "read", e);
	if (reader_of(call, d, rec, &in, e) == -1)
		return stored_failed(call, "open", e);
	ret = stored_verify(call, rec, in, e);
	reader_close(in);
	return ret;
}
