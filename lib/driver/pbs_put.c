/*
 * pbs_put: a session from its start to its finish.
 *
 * Nothing is listed before the server has answered to finish; whatever fails
 * before ends the connection, and the server removes what there was.
 */

#include "driver/pbs_put.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "archive/archive.h"
#include "archive/intake.h"
#include "base/buf.h"
#include "base/code.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/json.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "config/conf.h"
#include "driver/dirs.h"
#include "driver/pbs.h"
#include "driver/pbs_draft.h"
#include "driver/pbs_record.h"
#include "entry/match.h"
#include "fs/fs.h"
#include "pbs/backup.h"
#include "pbs/before.h"
#include "pbs/blob.h"
#include "pbs/master.h"
#include "pbs/rest.h"
#include "pbs/target.h"

enum {
	LOCK_TRIES = 6,                 /* a second apart */
	AGAIN = 3                       /* sessions of put DIR at most */
};

struct put {
	struct sink sink;               /* of a stream */
	struct sink *in;                /* decodes it */
	struct driver_call *call;
	struct pbs_disk *d;
	char id[PBSDISK_ID];
	struct pbs_snap snap;
	struct pbs_backup *session;
	struct pbs_before before;
	struct pbs_draft *draft;
	struct pbs_manifest m;
	struct buf master;              /* the key sealed for it, or empty */
	struct reader *walk;
	struct match *match;
	uint64_t warned;                /* warnings of earlier sessions */
	size_t kept;
};

/* ---- the session ---- */

static int
pause_a_second(struct err *e)
{
	struct timespec t = { 0, 50 * 1000 * 1000 };
	unsigned i;

	for (i = 0; i < 20; i++) {
		if (stop_check(e) == -1)
			return -1;
		nanosleep(&t, NULL);
	}
	return 0;
}

/* The server wants times that ascend: the group's last one, plus one. */
static int
later(struct put *p, struct err *e)
{
	struct pbs_shot *v;
	size_t n, i;
	int64_t last = p->snap.time;

	if (pbsdisk_scan(p->d, p->call->server, &v, &n, e) == -1)
		return -1;
	for (i = 0; i < n; i++)
		if (v[i].time > last)
			last = v[i].time;
	pbsdisk_scan_free(v, n);
	if (last == PBS_TIME_MAX)
		return err_set(e, CALA_EXISTS, "%s/%s: there is a snapshot of "
		    "the year 9999, and none can be later", p->snap.type,
		    p->snap.id);
	log_step(p->call->log, "the snapshot's time is %" PRId64 ": there is "
	    "one at %" PRId64 " or later", last + 1, p->snap.time);
	p->snap.time = last + 1;
	return 0;
}

static int
start(struct put *p, struct err *e)
{
	struct err why = ERR_INIT;
	unsigned locked = 0, taken = 0;

	for (;;) {
		p->session = pbs_backup_start(p->d->target, &p->snap,
		    p->call->log, &why);
		if (p->session != NULL)
			return 0;
		if (why.code == CALA_EXISTS && taken++ < LOCK_TRIES) {
			if (later(p, e) == -1)
				return -1;
		} else if (why.code == CALA_LOCKED &&
		    ++locked < LOCK_TRIES) {
			/* A session that has just ended may hold it yet. */
			if (pause_a_second(e) == -1)
				return -1;
		} else {
			*e = why;
			return -1;
		}
		err_clear(&why);
	}
}

/* CALA_EXISTS when a snapshot says that it is this backup. */
static int
untaken(struct put *p, struct err *e)
{
	int taken = pbsdisk_taken(p->call, p->d, p->call->backup, e);

	return taken != 1 ? taken : err_set(e, CALA_EXISTS, "backup %s exists "
	    "already", p->call->backup);
}

/*
 * --expect against what the server says is free, where it says so.  What the
 * previous snapshot has will not be sent again, but nobody knows how much.
 */
static int
has_room(struct put *p, struct err *e)
{
	char need[STR_HUMAN], have[STR_HUMAN];
	uint64_t total, avail;
	const char *kind;
	json_t *s;
	bool told;

	if (p->call->expect == 0)
		return 0;
	if ((s = pbs_status(p->d->rest, e)) == NULL)
		return -1;
	total = json_get_u64(s, "total", 0);
	avail = json_get_u64(s, "avail", 0);
	/* 0: not for this token; with s3: of a cache (pbs.md §3.2). */
	kind = json_get_str(s, "backend-type");
	told = total > 0 && (kind == NULL || strcmp(kind, "s3") != 0);
	json_decref(s);
	if (!told) {
		log_step(p->call->log, "the server does not say how much room "
		    "it has");
		return 0;
	}
	if (avail >= p->call->expect)
		return 0;
	err_set(e, CALA_NOSPACE, "datastore %s: %s are free, %s are to come",
	    p->d->target->datastore, str_human(avail, have),
	    str_human(p->call->expect, need));
	return err_hint(e, "prune, and run garbage collection on the server");
}

/* What recovers the key, where the configuration says who may. */
static int
master(struct put *p, struct err *e)
{
	const char *pem = conf_get(p->call->cfg, "master-public-key");

	buf_init(&p->master, PBS_CHUNK_MAX);
	if (pem == NULL)
		return 0;
	if (p->d->crypt == NULL)
		return err_set(e, CALA_USAGE, "master-public-key: there is no "
		    "encryption-key that it could recover");
	return pbs_master_seal(pem, p->d->crypt, &p->master, e);
}

static int
begin(struct put *p, struct err *e)
{
	struct driver_call *call = p->call;
	struct pbs_draft_how how = {
		.call = call,
		.chunker = conf_get(call->cfg, "chunker"),
		.detection = conf_get(call->cfg, "change-detection"),
		.before = &p->before
	};

	if ((p->d = pbsdisk_open(call, e)) == NULL ||
	    pbsdisk_key(call, p->d, e) == -1 || master(p, e) == -1 ||
	    untaken(p, e) == -1 ||
	    has_room(p, e) == -1)
		return -1;
	p->snap.type = "host";
	p->snap.id = pbsdisk_id(p->d, call->server, p->id);
	p->snap.time = call->record->created.tv_sec > 0 ?
	    call->record->created.tv_sec : 1;
	/* Once more, now that we have the group: somebody may just have ended. */
	if (start(p, e) == -1 || untaken(p, e) == -1)
		return -1;
	how.disk = p->d;
	how.session = p->session;
	how.crypt = p->d->crypt;
	if (pbs_before_load(&p->before, p->session, p->d->crypt, call->log,
	    e) == -1 ||
	    pbs_manifest_init(&p->m, p->snap.type, p->snap.id, p->snap.time,
	    e) == -1)
		return -1;
	p->draft = pbs_draft_new(&how, e);
	return p->draft != NULL ? 0 : -1;
}

/* Whatever was not finished is removed by the server. */
static void
put_end(struct put *p)
{
	reader_close(p->walk);
	p->walk = NULL;
	match_free(p->match);
	p->match = NULL;
	pbs_draft_free(p->draft);
	p->draft = NULL;
	pbs_before_fini(&p->before);
	pbs_manifest_fini(&p->m);
	buf_fini(&p->master);
	pbs_backup_free(p->session);
	p->session = NULL;
}

/* ---- the end ---- */

/* The warnings of this run are part of what the backup is. */
static int
take_warnings(struct put *p, struct err *e)
{
	struct log *log = p->call->log;
	struct record *rec = p->call->record;
	size_t i;

	if (p->call->dir != NULL) {
		/* Those of a session that failed do not count. */
		while (rec->nwarnings > 0)
			free(rec->warnings[--rec->nwarnings]);
		rec->warnings_count = 0;
		rec->complete = true;
	}
	for (i = p->kept; i < log->nkept; i++)
		if (record_push(&rec->warnings, &rec->nwarnings, log->kept[i],
		    RECORD_WARNINGS, e) == -1)
			return -1;
	rec->warnings_count += log_warnings(log) - p->warned;
	if (rec->warnings_count > 0)
		rec->complete = false;
	return 0;
}

static int
fill_record(struct put *p, struct err *e)
{
	struct record *rec = p->call->record;
	const struct pbs_draft_sum *sum = pbs_draft_sum(p->draft);
	struct fs_walked walked;
	char hex[2 * PBS_DIGEST + 1];

	if (p->walk != NULL) {
		fs_reader_facts(p->walk, &walked);
		rec->changed = walked.changed;
		rec->sockets = walked.sockets;
	}
	rec->has_size = rec->has_files = rec->has_stored = true;
	rec->size = sum->size;
	rec->files = sum->files;
	rec->stored = sum->sent;
	rec->completed = when_now();
	hex_put(sum->csum, PBS_DIGEST, hex);
	if (take_warnings(p, e) == -1 ||
	    record_set(&rec->sum_type, "sha256", e) == -1)
		return -1;
	return record_set(&rec->sum_value, hex, e);
}

/* A small file: sealed or not, stored, and listed in the manifest. */
static int
blob(struct put *p, const char *name, const struct pbs_crypt *c,
    enum pbs_mode mode, const struct buf *text, struct err *e)
{
	struct pbs_coder *k = pbs_coder_new(c, 0, e);
	unsigned char *out = NULL, csum[PBS_DIGEST];
	size_t n;
	int ret = -1;

	if (k == NULL)
		goto out;
	if (text->len > PBS_CHUNK_MAX) {
		err_set(e, CALA_FAIL, "%s: too large", name);
		goto out;
	}
	if ((out = malloc(text->len + PBS_BLOB_ROOM)) == NULL) {
		err_oom(e);
		goto out;
	}
	if (pbs_blob_make(k, text->p, text->len, out, &n, e) == -1 ||
	    pbs_backup_blob(p->session, name, out, n, e) == -1 ||
	    sha256(out, n, csum, e) == -1)
		goto out;
	/* The manifest does not list itself. */
	ret = strcmp(name, PBS_MANIFEST) == 0 ? 0 :
	    pbs_manifest_add(&p->m, name, mode, n, csum, e);
out:
	free(out);
	pbs_coder_free(k);
	return ret;
}

static int
put_records(struct put *p, struct err *e)
{
	const struct record *rec = p->call->record;
	struct buf b;
	int ret = -1;

	buf_init(&b, PBS_CHUNK_MAX);
	if (p->d->crypt != NULL) {
		if (record_put(rec, &b, e) == -1 ||
		    blob(p, PBS_RECORD_BLOB, p->d->crypt, PBS_MODE_ENCRYPT, &b,
		    e) == -1)
			goto out;
		buf_reset(&b);
	}
	pbs_panel_put(rec, p->snap.id, p->snap.time,
	    pbs_draft_name(p->draft), pbs_draft_catalog(p->draft),
	    &b);
	if (buf_failed(&b, e) == -1 ||
	    blob(p, PBS_PANEL_BLOB, NULL, PBS_MODE_NONE, &b, e) == -1 ||
	    (p->master.len > 0 && blob(p, PBS_MASTER, NULL,
	    PBS_MODE_ENCRYPT, &p->master, e) == -1) ||
	    pbs_record_put(rec, p->d->crypt != NULL, &p->m, e) == -1)
		goto out;
	buf_reset(&b);
	if (pbs_draft_note(p->draft, &p->m, e) == -1 ||
	    pbs_manifest_put(&p->m, p->d->crypt, &b, e) == -1)
		goto out;
	ret = blob(p, PBS_MANIFEST, NULL, PBS_MODE_NONE, &b, e);
out:
	buf_fini(&b);
	return ret;
}

/* The commit; an answer that was lost is asked for in another way. */
static int
finish(struct put *p, struct err *e)
{
	struct err why = ERR_INIT;
	int done;

	if (pbs_backup_finish(p->session, e) == 0)
		return 0;
	if (e->code != CALA_UNKNOWN)
		return -1;
	done = pbs_finished(p->d->rest, &p->snap, &why);
	if (done == 1) {
		log_step(p->call->log, "%s; it is stored nevertheless",
		    e->msg);
		err_clear(e);
		return 0;
	}
	if (done == 0)
		e->code = CALA_NET;
	else
		err_hint(e, "look for %s/%s/%" PRId64 " and backup %s",
		    p->snap.type, p->snap.id, p->snap.time,
		    p->call->backup);
	return -1;
}

/*
 * From here on the backup exists.  Its lock is a mark that can be set only now,
 * and not while the server still holds the snapshot for the session.
 */
static void
protect(struct put *p)
{
	struct record *rec = p->call->record;
	struct err why = ERR_INIT;
	unsigned i;

	if (!rec->locked)
		return;
	pbs_rest_last_words(p->d->rest, true);
	for (i = 0; i < LOCK_TRIES; i++) {
		err_clear(&why);
		if (pbs_protect(p->d->rest, &p->snap, true, &why) == 0)
			return;
		if (why.code != CALA_LOCKED || pause_a_second(&why) == -1)
			break;
	}
	log_warn(p->call->log, "the backup is stored, but it could not be "
	    "locked: %s", why.msg);
	rec->locked = false;
}

static int
commit(struct put *p, struct err *e)
{
	if (pbs_draft_commit(p->draft, &p->m, e) == -1 ||
	    fill_record(p, e) == -1 || put_records(p, e) == -1)
		return -1;
	return finish(p, e);
}

/* ---- a directory ---- */

static int
one_session(struct put *p, struct err *e)
{
	struct driver_call *call = p->call;
	struct fs_walk how = { .xattrs = true, .attrs = true, .jobs = call->jobs,
	    .limit_read = call->limit_read };
	struct writer *w;

	if (begin(p, e) == -1 ||
	    dirs_rules(call, DIRS_RULES, &p->match, e) == -1)
		return -1;
	if (match_count(p->match) > 0)
		how.match = p->match;
	if (pbs_draft_plan(p->draft, how.match, e) == -1)
		return -1;
	w = pbs_draft_writer(p->draft);
	how.asks = w;
	/* What is not read is described anew all the same. */
	how.asks_whole = true;
	p->walk = fs_reader(AT_FDCWD, call->dir, &how, call->log, e);
	if (p->walk == NULL || pump(p->walk, w, &call->tally, e) == -1 ||
	    dirs_not_empty(call, p->walk, e) == -1)
		return -1;
	return commit(p, e);
}

int
pbs_put_dir(struct driver_call *call, struct err *e)
{
	struct put p = { .call = call };
	uint64_t left = conf_u64(call->cfg, "retries");
	struct err why = ERR_INIT;
	int fd, ret;

	if ((fd = file_opendir(AT_FDCWD, call->dir, e)) == -1)
		return -1;
	close(fd);
	for (left = left < AGAIN ? left : AGAIN;; left--) {
		p.warned = log_warnings(call->log);
		p.kept = call->log->nkept;
		call->tally.entries = call->tally.files = 0;
		call->tally.bytes = 0;
		ret = one_session(&p, &why);
		put_end(&p);
		/* What has begun again has read the directory again. */
		if (ret == 0 || why.code != CALA_NET || left == 0)
			break;
		log_note(call->log, "%s; once more from the beginning",
		    why.msg);
		err_clear(&why);
		if (pause_a_second(&why) == -1)
			break;
	}
	if (ret == 0)
		protect(&p);
	else
		*e = why;
	return ret;
}

/* ---- a stream ---- */

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
	if (s->pos > 0 && sink_commit(p->in, e) == -1)
		return -1;
	sink_free(p->in);
	p->in = NULL;
	if (commit(p, e) == -1)
		return -1;
	put_end(p);
	protect(p);
	return 0;
}

static void
stream_abort(struct sink *s)
{
	struct put *p = (struct put *)s;

	/* Its thread ends before the writer that it fills does. */
	sink_free(p->in);
	put_end(p);
	free(p);
}

static const struct sink_ops stream_ops = {
	stream_space, stream_used, NULL, stream_commit, stream_abort
};

int
pbs_put_stream(struct driver_call *call, struct sink **out, struct err *e)
{
	struct archive_read how = { .jobs = call->jobs,
	    .memory = call->memory };
	struct put *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return err_oom(e);
	p->sink.ops = &stream_ops;
	p->call = call;
	p->warned = log_warnings(call->log);
	p->kept = call->log->nkept;
	if (begin(p, e) == -1 ||
	    (p->in = archive_intake(pbs_draft_writer(p->draft), &how,
	    call->log, e)) == NULL) {
		stream_abort(&p->sink);
		return -1;
	}
	*out = &p->sink;
	return 0;
}
