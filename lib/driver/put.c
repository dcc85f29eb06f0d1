/*
 * put: a stream becomes a backup only when it is known to be whole (design:
 * "Proof of completeness").
 */

#include "driver/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/archive.h"
#include "base/io.h"
#include "base/proc.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "config/conf.h"

#ifndef CALA_VERSION
#define CALA_VERSION "unknown"
#endif

enum { PIPE_SIZE = 1 << 20, GRACE = 10 };

/* A stream on its way into the store. */
struct intake {
	struct sink *sink;
	struct proof *proof;
	struct proc proc;
	bool ran;               /* we started the producer */
	int fd;
	struct archive_facts facts;
	bool partial;
};

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

/* --ok-status 0,1: is status n in the list? */
static int
status_ok(const char *list, int n, bool *ok, struct err *e)
{
	const char *p = list, *comma;
	char one[8];
	uint64_t v;
	size_t len;

	*ok = list == NULL && n == 0;
	while (p != NULL) {
		comma = strchr(p, ',');
		len = comma != NULL ? (size_t)(comma - p) : strlen(p);
		if (len >= sizeof(one))
			goto bad;
		memcpy(one, p, len);
		one[len] = '\0';
		if (str_u64(one, 0, 255, &v) == -1)
			goto bad;
		*ok |= (int)v == n;
		p = comma != NULL ? comma + 1 : NULL;
	}
	return 0;
bad:
	return err_set(e, CALA_USAGE, "--ok-status: '%s' is no list of "
	    "exit statuses", str_q(list));
}

static int
start_producer(struct run *r, struct intake *in, struct err *e)
{
	struct proc_spec spec = PROC_SPEC_INIT;
	int p[2];

	if (pipe2(p, O_CLOEXEC) == -1)
		return err_sys(e, "make a pipe");
	spec.argv = r->rest.v;
	spec.fd[0] = 0;
	spec.fd[1] = p[1];
	in->fd = p[0];
	in->ran = proc_start(&in->proc, &spec, e) == 0;
	close(p[1]);
	return in->ran ? 0 : -1;
}

/* Every byte goes past the proof and into the sink, in place. */
static int
take_all(struct run *r, struct intake *in, struct err *e)
{
	unsigned char *p;
	size_t room;
	ssize_t n;

	(void)fcntl(in->fd, F_SETPIPE_SZ, PIPE_SIZE);
	for (;;) {
		if (stop_check(e) == -1 ||
		    (p = sink_space(in->sink, &room, e)) == NULL)
			return -1;
		n = read(in->fd, p, room);
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return err_sys(e, "read the stream");
		if (n == 0)
			return 0;
		if (proof_feed(in->proof, p, (size_t)n, e) == -1 ||
		    sink_used(in->sink, (size_t)n, e) == -1)
			return -1;
		r->call.tally.bytes += (size_t)n;
	}
}

/* 1: the producer that we ran ended well. */
static int
ask_producer(struct run *r, struct intake *in, struct err *e)
{
	char text[PROC_TEXT];
	bool ok;

	if (proc_wait(&in->proc, 1, -1, e) == -1)
		return -1;
	if (status_ok(r->ok_status, in->proc.status, &ok, e) == -1)
		return -1;
	if (!ok && in->proc.status != CALA_PARTIAL)
		return err_set(e, CALA_INCOMPLETE, "%s: %s; nothing stored",
		    in->proc.name, proc_says(&in->proc, text));
	in->partial |= !ok;
	return 0;
}

/* 2: the supervisor says go. */
static int
ask_supervisor(struct run *r, struct err *e)
{
	char c = 'A';
	ssize_t n;

	do {
		if (stop_check(e) == -1)
			return -1;
		n = read((int)r->commit_fd, &c, 1);
	} while (n == -1 && errno == EINTR);
	if (n == -1)
		return err_sys(e, "read descriptor %d", (int)r->commit_fd);
	if (n == 0)
		return err_set(e, CALA_INCOMPLETE, "the supervisor ended "
		    "without a word; nothing stored");
	if (c != 'C')
		return err_set(e, CALA_INCOMPLETE, "the supervisor says "
		    "abort; nothing stored");
	return 0;
}

/* 3, 4: what the stream says about itself. */
static int
ask_stream(struct run *r, struct intake *in, struct err *e)
{
	const struct archive_facts *f = &in->facts;

	if (in->sink->pos == 0) {
		if (r->allow_empty)
			return 0;
		err_set(e, CALA_INCOMPLETE, "the input is empty; nothing "
		    "stored");
		return err_hint(e, "--allow-empty stores it nevertheless");
	}
	if (r->no_check) {
		/* Kept as it is, but nobody may take it for whole. */
		in->partial |= f->proof == PROOF_WRONG ||
		    f->proof == PROOF_NONE;
		return 0;
	}
	if (f->proof == PROOF_WRONG)
		return err_set(e, CALA_INTEGRITY, "the stream contradicts "
		    "itself: %s; nothing stored",
		    f->why != NULL ? f->why : "wrong proof of completeness");
	if (!f->known) {
		err_set(e, CALA_INCOMPLETE, "the input is no archive that "
		    "cala knows; nothing stored");
		return -1;
	}
	if (f->proof == PROOF_NONE)
		return err_set(e, CALA_INCOMPLETE, "the stream is cut short: "
		    "%s; nothing stored",
		    f->why != NULL ? f->why : "it has no end");
	log_step(r->call.log, "the stream is whole: %s",
	    f->proof == PROOF_INDEX ? "its index agrees with the bytes" :
	    f->proof == PROOF_TRAILER ? "its trailer agrees with the bytes" :
	    f->proof == PROOF_INNER ? "it ends with cala's mark" :
	    "the archive's own end was seen");
	return 0;
}

static void
complete_record(struct intake *in, struct record *rec)
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
	if (in->partial || f->partial || f->warnings > 0)
		rec->complete = false;
}

static int
put_stream(struct run *r, struct err *e)
{
	struct record *rec = r->call.record;
	struct intake in;
	int ret = -1;

	memset(&in, 0, sizeof(in));
	in.fd = STDIN_FILENO;
	if (r->rest.v == NULL && isatty(STDIN_FILENO)) {
		err_set(e, CALA_USAGE, "standard input is a terminal");
		return err_hint(e, "pipe an archive into it, or name the "
		    "command that makes one behind '--'");
	}
	if ((in.proof = proof_new(false, e)) == NULL)
		goto out;
	proof_memory(in.proof, r->call.memory);
	if (r->d->put_begin(&r->call, &in.sink, e) == -1 ||
	    (r->rest.v != NULL && start_producer(r, &in, e) == -1) ||
	    take_all(r, &in, e) == -1 ||
	    proof_end(in.proof, &in.facts, e) == -1)
		goto out;
	/*
	 * The first cause is what helps: a producer that failed explains why
	 * its stream is cut short.
	 */
	if ((in.ran && ask_producer(r, &in, e) == -1) ||
	    ask_stream(r, &in, e) == -1 ||
	    (r->commit_fd != UINT64_MAX && ask_supervisor(r, e) == -1))
		goto out;
	if (r->facts != NULL && facts_get(r->facts, rec, e) == -1)
		goto out;
	complete_record(&in, rec);
	r->call.facts = &in.facts;
	ret = sink_commit(in.sink, e);
out:
	if (in.ran && !in.proc.done) {
		if (in.fd != STDIN_FILENO)
			close(in.fd);
		in.fd = STDIN_FILENO;
		proc_end(&in.proc, 1, GRACE);
	}
	if (in.fd != STDIN_FILENO)
		close(in.fd);
	sink_free(in.sink);
	proof_free(in.proof);
	r->call.facts = NULL;
	return ret;
}

static int
check_options(struct run *r, struct err *e)
{
	unsigned need = r->call.dir != NULL ? DRIVER_DIR : DRIVER_STREAM;
	bool ok;
	int fd;

	if ((r->d->takes & need) == 0)
		return err_set(e, CALA_USAGE, need == DRIVER_DIR ?
		    "put takes an archive on standard input, not a directory" :
		    "put needs a DIR: this disk takes no archive stream");
	if (r->call.dir != NULL && (r->rest.v != NULL || r->facts != NULL ||
	    r->commit_fd != UINT64_MAX))
		return err_set(e, CALA_USAGE, "put DIR takes no COMMAND, "
		    "--facts or --commit-fd");
	if (r->call.dir == NULL && (r->as != NULL ||
	    r->exclude_from != NULL || r->force_read || r->ignore_inode))
		return err_set(e, CALA_USAGE, "--as, --exclude-from, "
		    "--force-read and --ignore-inode need a DIR");
	if (r->rest.v != NULL && r->rest.n == 0)
		return err_set(e, CALA_USAGE, "no COMMAND behind '--'");
	if (r->ok_status != NULL && r->rest.v == NULL)
		return err_set(e, CALA_USAGE, "--ok-status needs a COMMAND");
	if (status_ok(r->ok_status, 0, &ok, e) == -1)
		return -1;
	if (r->commit_fd == UINT64_MAX)
		return 0;
	fd = r->commit_fd <= 65535 ? (int)r->commit_fd : -1;
	if (fd < 3 || fcntl(fd, F_SETFD, FD_CLOEXEC) == -1)
		return err_set(e, CALA_USAGE, "--commit-fd %ju: not an open "
		    "descriptor above 2", (uintmax_t)r->commit_fd);
	return 0;
}

int
verb_put(struct run *r, struct err *e)
{
	struct record rec;
	int ret = -1;

	record_init(&rec);
	r->call.record = &rec;
	if (check_options(r, e) == -1 || fill_record(r, &rec, e) == -1)
		goto out;
	if ((r->call.dir != NULL ? r->d->put_dir(&r->call, e) :
	    put_stream(r, e)) == -1)
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
