/* ddup_put: a directory, or the entries of an archive stream, as a backup. */

#include "driver/ddup.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/archive.h"
#include "archive/intake.h"
#include "base/file.h"
#include "base/io.h"
#include "base/when.h"
#include "config/conf.h"
#include "ddup/create.h"
#include "driver/beside.h"
#include "driver/dirs.h"
#include "entry/match.h"
#include "fs/fs.h"

/* A backup being made, from either source. */
struct put {
	struct sink sink;               /* of a stream */
	struct sink *in;                /* decodes it */
	struct driver_call *call;
	struct ddup *r;
	struct writer *w;
	unsigned doubt;                 /* ddup_doubt of the directory */
	struct reader *walk;
	struct match *match;
	bool recorded;                  /* the record is written */
	bool stream;
};

static enum ddup_code
compression(const struct driver_call *call)
{
	static const char *const names[DDUP_CODES] =
	    { "none", "gzip", "deflate", "brotli" };
	const char *s = conf_get(call->cfg, "compression-format");
	size_t i;

	for (i = 0; s != NULL && i < DDUP_CODES; i++)
		if (strcmp(s, names[i]) == 0)
			return (enum ddup_code)i;
	return DDUP_DEFLATE;
}

/* The warnings of this run are part of what the backup is. */
static int
take_warnings(struct driver_call *call, struct err *e)
{
	struct record *rec = call->record;
	size_t i;

	for (i = 0; i < call->log->nkept; i++)
		if (record_push(&rec->warnings, &rec->nwarnings,
		    call->log->kept[i], RECORD_WARNINGS, e) == -1)
			return -1;
	rec->warnings_count += log_warnings(call->log);
	if (rec->warnings_count > 0)
		rec->complete = false;
	return 0;
}

/* Everything is known and nothing is visible yet: the record goes first. */
static int
before(void *arg, const struct ddup_sum *sum, struct err *e)
{
	struct put *p = arg;
	struct record *rec = p->call->record;
	struct fs_walked walked;

	if (p->walk != NULL) {
		fs_reader_facts(p->walk, &walked);
		rec->changed = walked.changed;
		rec->sockets = walked.sockets;
	}
	rec->has_size = rec->has_files = rec->has_stored = true;
	rec->size = sum->size;
	rec->files = sum->files;
	rec->stored = sum->new_bytes + sum->archive;
	rec->completed = when_now();
	if (take_warnings(p->call, e) == -1 ||
	    record_set(&rec->sum_type, "ddup-sha1", e) == -1 ||
	    record_set(&rec->sum_value, sum->checksum, e) == -1)
		return -1;
	p->recorded = true;
	return beside_add(ddup_archives(p->r), rec, e);
}

static int
begin(struct put *p, struct err *e)
{
	struct driver_call *call = p->call;
	const char *chunker = conf_get(call->cfg, "chunker");
	struct ddup_create how = {
		.name = call->backup,
		.code = compression(call),
		.level = -1,
		.fixed = chunker != NULL && strcmp(chunker, "fixed") == 0,
		.stream = p->stream,
		.jobs = call->jobs,
		.memory = call->memory,
		.limit_write = call->limit_write,
		.server = call->server,
		.force_read = call->force_read,
		.ignore_inode = call->ignore_inode,
		.doubt = p->doubt,
		.before = before,
		.arg = p
	};
	int there;

	if (ddup_start(call, DDUP_SHARE, true, true, &p->r, e) == -1 ||
	    (there = ddup_exists(p->r, call->backup, e)) == -1)
		return -1;
	if (there == 1)
		return err_set(e, CALA_EXISTS, "backup %s exists already",
		    call->backup);
	p->w = ddup_writer(p->r, &how, call->log, e);
	return p->w != NULL ? 0 : -1;
}

static void
put_end(struct put *p, bool stored)
{
	struct err ignored = ERR_INIT;

	writer_free(p->w);
	reader_close(p->walk);
	match_free(p->match);
	/* A record alone is invisible, but need not wait for gc. */
	if (p->recorded && !stored && ddup_exists(p->r, p->call->backup,
	    &ignored) == 0)
		(void)beside_drop(ddup_archives(p->r), p->call->backup,
		    &ignored);
	if (p->r != NULL && !stored)
		ddup_undo(p->r);
	ddup_close(p->r);
}

int
ddup_put_dir(struct driver_call *call, struct err *e)
{
	struct put p = { .call = call };
	struct fs_walk how = { .xattrs = true, .jobs = call->jobs,
	    .limit_read = call->limit_read };
	int fd, ret = -1;

	if ((fd = file_opendir(AT_FDCWD, call->dir, e)) == -1)
		return -1;
	p.doubt = ddup_doubt(fd);
	close(fd);
	if (begin(&p, e) == -1 ||
	    dirs_rules(call, DIRS_RULES, &p.match, e) == -1)
		goto out;
	if (match_count(p.match) > 0)
		how.match = p.match;
	how.asks = p.w;
	p.walk = fs_reader(AT_FDCWD, call->dir, &how, call->log, e);
	if (p.walk == NULL || pump(p.walk, p.w, &call->tally, e) == -1 ||
	    dirs_not_empty(call, p.walk, e) == -1)
		goto out;
	ret = writer_commit(p.w, e);
out:
	put_end(&p, ret == 0);
	return ret;
}

static void *
stream_space(struct sink *s, size_t *n, struct err *e)
{
	return sink_space(((struct put *)s)->in, n, e);
}

static int
stream_used(struct sink *s, size_t n, struct err *e)
{
	return sink_used(((struct put *)s)->in, n, e);
}

static int
stream_commit(struct sink *s, struct err *e)
{
	struct put *p = (struct put *)s;

	/* An empty stream that is allowed is no archive to decode. */
	if (s->pos > 0)
		return sink_commit(p->in, e);
	sink_free(p->in);
	p->in = NULL;
	return writer_commit(p->w, e);
}

static void
stream_abort(struct sink *s)
{
	struct put *p = (struct put *)s;
	bool stored = s->committed;

	/* Its thread ends before the writer that it fills does. */
	sink_free(p->in);
	put_end(p, stored);
	free(p);
}

static const struct sink_ops stream_ops = {
	stream_space, stream_used, NULL, stream_commit, stream_abort
};

int
ddup_put_stream(struct driver_call *call, struct sink **out, struct err *e)
{
	struct archive_read how = { .jobs = call->jobs,
	    .memory = call->memory };
	struct put *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return err_oom(e);
	p->sink.ops = &stream_ops;
	p->call = call;
	p->stream = true;
	if (begin(p, e) == -1 ||
	    (p->in = archive_intake(p->w, &how, call->log, e)) == NULL) {
		stream_abort(&p->sink);
		return -1;
	}
	*out = &p->sink;
	return 0;
}
