/*
 * put: a stream becomes a backup only when it is known to be whole (design:
 * "Proof of completeness").
 */

#include "driver/verbs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/whole.h"
#include "base/io.h"
#include "base/str.h"
#include "base/when.h"
#include "config/conf.h"

#ifndef CALA_VERSION
#define CALA_VERSION "unknown"
#endif

static int
fill_record(struct run *r, struct record *rec, struct err *e)
{
	char host[RECORD_NAME + 1];

	if (r->uuid != NULL) {
		if (uuid_norm(r->uuid, rec->uuid) == -1)
			return err_set(e, CALA_USAGE, "--uuid: '%s' is none",
			    str_q(r->uuid));
	} else if (uuid_new(rec->uuid, e) == -1) {
		return -1;
	}
	r->call.fresh = r->uuid == NULL;
	memcpy(r->call.backup, rec->uuid, sizeof(rec->uuid));
	memcpy(rec->server, r->call.server, sizeof(rec->server));
	rec->created = when_now();
	if (r->created != NULL &&
	    when_rfc3339(r->created, &rec->created) == -1)
		return err_set(e, CALA_USAGE, "--created: '%s' is no time "
		    "(RFC 3339)", str_q(r->created));
	rec->locked = r->lock.raw == 1;
	if (gethostname(host, sizeof(host)) == -1)
		host[0] = '\0';
	host[sizeof(host) - 1] = '\0';
	if ((r->name != NULL && *r->name != '\0' &&
	    record_set(&rec->name, r->name, e) == -1) ||
	    (r->group != NULL && *r->group != '\0' &&
	    record_set(&rec->group, r->group, e) == -1) ||
	    record_set(&rec->disk, conf_disk(r->call.cfg), e) == -1 ||
	    record_set(&rec->configuration, r->call.configuration, e) == -1 ||
	    record_set(&rec->host, host, e) == -1 ||
	    record_set(&rec->version, CALA_VERSION, e) == -1)
		return -1;
	return 0;
}

static void
complete_record(const struct whole *in, struct record *rec)
{
	const struct archive_facts *f = &in->facts;

	if (f->counted && !rec->has_files) {
		rec->has_files = true;
		rec->files = f->files;
		/* An index counts what is stored of sparse files. */
		rec->has_size = f->proof != PROOF_INDEX;
		rec->size = f->size;
	}
	if (f->warnings > rec->warnings_count)
		rec->warnings_count = f->warnings;
	if (in->partial)
		rec->complete = false;
}

/* archive: else bytes that only the driver knows, and proves itself. */
static int
put_stream(struct run *r, bool archive, struct err *e)
{
	struct record *rec = r->call.record;
	struct whole in = {
		.command = r->rest.v,
		.ok_status = r->ok_status,
		.no_check = r->no_check,
		.allow_empty = r->allow_empty,
		.any = !archive,
		.memory = r->call.memory,
		.bytes = &r->call.tally.bytes,
		.log = r->call.log
	};
	struct sink *sink = NULL;
	int ret = -1;

	if (whole_check(&in, r->commit_fd, e) == -1 ||
	    (archive ? r->d->put_begin(&r->call, &sink, e) :
	    r->d->receive_begin(&r->call, &sink, e)) == -1)
		return -1;
	if (whole_run(&in, sink, e) == -1 ||
	    (r->facts != NULL && facts_get(r->facts, rec, e) == -1))
		goto out;
	complete_record(&in, rec);
	r->call.vouched = in.command != NULL || in.commit_fd != -1 ||
	    in.no_check;
	r->call.facts = &in.facts;
	ret = sink_commit(sink, e);
out:
	sink_free(sink);
	r->call.facts = NULL;
	return ret;
}

static int
check_options(struct run *r, bool archive, struct err *e)
{
	unsigned need = r->call.dir != NULL ? DRIVER_DIR : DRIVER_STREAM;

	if (!archive && r->facts != NULL)
		return err_set(e, CALA_USAGE, "--facts is for archives");
	if (archive && (r->d->takes & need) == 0)
		return err_set(e, CALA_USAGE, need == DRIVER_DIR ?
		    "put takes an archive on standard input, not a directory" :
		    "put needs a DIR: this disk takes no archive stream");
	if (r->call.dir != NULL && (r->rest.v != NULL || r->facts != NULL ||
	    r->commit_fd != UINT64_MAX))
		return err_set(e, CALA_USAGE, "put DIR takes no COMMAND, "
		    "--facts or --commit-fd");
	if (archive && r->call.dir == NULL && (r->as != NULL ||
	    r->exclude_from != NULL || r->force_read || r->ignore_inode))
		return err_set(e, CALA_USAGE, "--as, --exclude-from, "
		    "--force-read and --ignore-inode need a DIR");
	if (r->ok_status != NULL && r->rest.v == NULL)
		return err_set(e, CALA_USAGE, "--ok-status needs a COMMAND");
	return 0;
}

static int
store(struct run *r, bool archive, struct err *e)
{
	struct record rec;
	int ret = -1;

	record_init(&rec);
	r->call.record = &rec;
	if (check_options(r, archive, e) == -1 ||
	    fill_record(r, &rec, e) == -1)
		goto out;
	if ((r->call.dir != NULL ? r->d->put_dir(&r->call, e) :
	    put_stream(r, archive, e)) == -1)
		goto out;
	if (!rec.complete && log_warnings(r->call.log) == 0)
		log_warn(r->call.log, "%s: stored, but partial: %" PRIu64
		    " warnings", rec.uuid, rec.warnings_count);
	ret = record_print(&rec, e);
	if (ret == 0 && fflush(stdout) == EOF)
		ret = err_sys(e, "write to standard output");
	if (ret == -1)
		err_ctx(e, "backup %s is stored, but its record can't be "
		    "told", rec.uuid);
out:
	record_fini(&rec);
	r->call.record = NULL;
	return ret;
}

int
verb_put(struct run *r, struct err *e)
{
	return store(r, true, e);
}

int
verb_receive(struct run *r, struct err *e)
{
	return store(r, false, e);
}
