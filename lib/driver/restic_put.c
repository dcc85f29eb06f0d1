/*
 * restic_put: a directory becomes a snapshot.
 *
 * The snapshot is the commit, and it has the record's tags from its first
 * moment.  Only what is known at the end needs a change of them: warnings, and
 * with an old restic the sizes.  Until then a note says that it may be partial
 * (restic_open.c).
 */

#include "driver/restic.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/file.h"
#include "base/json.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "driver/dirs.h"
#include "entry/match.h"
#include "exec/place.h"
#include "exec/restic_rules.h"

enum {
	RULES_FD = 10,
	NOTE_FD = 11,
	AMEND_WAIT = 60,        /* seconds for the lock to say "partial" with */
	OURS = 4                /* patterns of our own */
};

struct put {
	struct driver_call *call;
	struct restic *r;
	struct match *match;
	struct restic_rules rules;
	struct place place;
	int dirfd;
	char *real, *path;      /* where it is, and what restic sees */
	char *patterns[OURS];
	char run[20];
	int note;               /* -1: none */
	struct resticd_tags tags;
	bool asked, taken, stored;
	json_t *summary;
};

/* ---- what is stored, and under which path ---- */

static int
see(struct put *p, struct err *e)
{
	struct driver_call *call = p->call;
	struct stat a, b;
	size_t n;
	int r;

	if ((p->dirfd = file_opendir(AT_FDCWD, call->dir, e)) == -1)
		return -1;
	if ((p->real = realpath(call->dir, NULL)) == NULL ||
	    fstat(p->dirfd, &a) == -1)
		return err_sys(e, "%s", str_q(call->dir));
	if (call->as != NULL && *call->as != '/')
		return err_set(e, CALA_USAGE, "--as: '%s' is no absolute path",
		    str_q(call->as));
	p->path = strdup(call->as != NULL ? call->as : p->real);
	if (p->path == NULL)
		return err_oom(e);
	for (n = strlen(p->path); n > 1 && p->path[n - 1] == '/'; n--)
		p->path[n - 1] = '\0';
	if (lstat(p->path, &b) == 0 && S_ISDIR(b.st_mode) &&
	    a.st_dev == b.st_dev && a.st_ino == b.st_ino)
		return 0;
	if (p->path[1] == '\0')
		return err_set(e, CALA_USAGE, "--as: the root can only be "
		    "itself");
	r = place_take(&p->place, p->real, p->path, resticd_cache(call), e);
	if (r != 1)
		return r;
	log_note(call->log, "stored under %s, not under %s: %s",
	    str_q(p->real), str_q(p->path), e->msg);
	err_clear(e);
	free(p->path);
	return (p->path = strdup(p->real)) == NULL ? err_oom(e) : 0;
}

/* Our own traces are never part of a backup, as in every other disk's. */
static int
own_patterns(struct put *p, struct err *e)
{
#define HEX "[0-9a-f]"
#define HEX4 HEX HEX HEX HEX
	static const char *const tails[OURS] = {
		"/.cala-restore-*", "/.cala-old-*",
		"/**/.cala-unpack-" HEX4 HEX4 HEX4 HEX4,
		"/**/.cala." HEX4 HEX4 HEX4 HEX4 "." HEX4 HEX HEX
	};
	struct buf b;
	const char *s;
	size_t i;

	for (i = 0; i < OURS; i++) {
		buf_init(&b, 4 * ENTRY_PATH_MAX);
		buf_str(&b, "--exclude=");
		for (s = p->path; *s != '\0'; s++) {
			if (strchr("*?[]\\", *s) != NULL)
				buf_chr(&b, '\\');
			buf_chr(&b, *s);
		}
		buf_str(&b, tails[i]);
		if ((p->patterns[i] = buf_detach(&b)) == NULL)
			return err_oom(e);
	}
	return 0;
}

/* ---- while it runs ---- */

static void
trouble(void *arg, const char *item, const char *text)
{
	struct put *p = arg;

	if (*item == '\0')
		log_warn(p->call->log, "%s", str_q(text));
	else
		log_warn(p->call->log, "%s: %s", str_q(item), str_q(text));
}

static int
is_taken(void *arg, struct resticd_snap *snap, struct record *rec,
    struct err *e)
{
	struct put *p = arg;

	(void)e;
	/* Ours may be stored by now. */
	if (strcmp(rec->uuid, p->call->record->uuid) == 0 &&
	    strcmp(snap->run, p->run) != 0)
		p->taken = true;
	return 0;
}

/*
 * Whether the UUID is free is asked while restic already works: opening a
 * repository takes it longer than most backups that change little.
 */
static int
ask(struct put *p, struct err *e)
{
	if (p->asked || p->call->fresh)
		return 0;
	p->asked = true;
	if (resticd_each(p->call, is_taken, p, e) == -1)
		return -1;
	return p->taken ? err_set(e, CALA_EXISTS, "backup %s exists already",
	    p->call->record->uuid) : 0;
}

static int
follow(void *arg, struct child *c, struct err *e)
{
	struct put *p = arg;
	const char *type;
	json_t *j;
	char *line;
	size_t n;
	int got;

	/* It takes restic longer than this to store anything. */
	if (resticd_note_sync(p->call, e) == -1 || ask(p, e) == -1)
		return -1;
	while ((got = child_line(c, &line, &n, e)) == 1) {
		if ((j = child_json(line, n)) == NULL)
			continue;
		type = json_get_str(j, "message_type");
		if (type != NULL && strcmp(type, "status") == 0) {
			p->call->tally.bytes = json_get_u64(j, "bytes_done",
			    p->call->tally.bytes);
			p->call->tally.files = json_get_u64(j, "files_done",
			    p->call->tally.files);
		} else if (type != NULL && strcmp(type, "summary") == 0) {
			json_decref(p->summary);
			p->summary = json_incref(j);
		}
		json_decref(j);
	}
	if (got == -1)
		return -1;
	if (json_get_str(p->summary, "snapshot_id") == NULL)
		return err_set(e, CALA_FAIL, "restic backup: ended well, but "
		    "names no snapshot");
	return 0;
}

static int
backup(struct put *p, struct err *e)
{
	struct record *rec = p->call->record;
	size_t n = 0, i, max = 40 + 2 * p->tags.n + p->rules.nargs;
	const char **args = calloc(max, sizeof(*args));
	struct proc_fd fd[] = { { p->note, NOTE_FD },
	    { p->rules.fd, RULES_FD } };
	struct restic_run run = { .flags = RESTIC_WAITS, .args = args,
	    .fds = fd, .nfds = 1, .trouble = trouble, .ctx = p,
	    .partial_ok = true };
	char file[32], when[WHEN_TEXT];
	int ret;

	if (args == NULL)
		return err_oom(e);
	args[n++] = "backup";
	if (rec->host != NULL && *rec->host != '\0') {
		args[n++] = "--host";
		args[n++] = rec->host;
	}
	/* "2026-01-02T03:04:05…" as restic wants it. */
	when_utc(rec->created, when);
	when[10] = ' ';
	when[19] = '\0';
	args[n++] = "--time";
	args[n++] = when;
	/* By tags, as Wings has it, it would never find an earlier one. */
	if (restic_version(p->r) >= RESTIC_SUBFOLDER) {
		args[n++] = "--group-by";
		args[n++] = "host,paths";
	}
	if (p->call->force_read)
		args[n++] = "--force";
	if (p->call->ignore_inode)
		args[n++] = "--ignore-inode";
	for (i = 0; i < p->tags.n; i++) {
		args[n++] = "--tag";
		args[n++] = p->tags.v[i];
	}
	for (i = 0; i < OURS; i++)
		args[n++] = p->patterns[i];
	if (p->rules.fd != -1) {
		snprintf(file, sizeof(file), "/dev/fd/%d", RULES_FD);
		args[n++] = "--exclude-file";
		args[n++] = file;
		run.nfds = 2;
	}
	for (i = 0; i < p->rules.nargs; i++)
		args[n++] = p->rules.args[i];
	args[n++] = "--";
	args[n++] = p->path;
	args[n] = NULL;
	if (p->place.root != NULL)
		run.dir = "/";
	p->stored = true;
	ret = restic_do(p->r, &run, follow, p, e);
	free(args);
	if (ret == 0 && run.partial && log_warnings(p->call->log) == 0)
		log_warn(p->call->log, "restic could not read everything, and "
		    "did not say what");
	return ret;
}

/* ---- afterwards ---- */

struct found {
	const char *run;
	bool yes;
	struct resticd_snap snap;
	struct record rec;
};

static int
is_ours(void *arg, struct resticd_snap *snap, struct record *rec,
    struct err *e)
{
	struct found *f = arg;

	(void)e;
	if (f->yes || strcmp(snap->run, f->run) != 0)
		return 0;
	f->yes = true;
	f->snap = *snap;
	f->rec = *rec;
	memset(snap, 0, sizeof(*snap));
	record_init(rec);
	return 0;
}

static int
find_ours(struct put *p, struct found *f, struct err *e)
{
	memset(f, 0, sizeof(*f));
	f->run = p->run;
	return resticd_each(p->call, is_ours, f, e);
}

static void
found_fini(struct found *f)
{
	if (!f->yes)
		return;
	resticd_snap_fini(&f->snap);
	record_fini(&f->rec);
}

/* The UUID is another backup's: ours may be stored all the same. */
static void
undo(struct put *p)
{
	struct err own = ERR_INIT;
	struct found f;

	if (find_ours(p, &f, &own) == -1 || (f.yes &&
	    resticd_drop(p->call, f.snap.id, &own) == -1))
		log_warn(p->call->log, "a second snapshot of backup %s may "
		    "stay: %s", p->call->record->uuid, own.msg);
	found_fini(&f);
}

static void
take(struct record *to, struct record *from)
{
	record_fini(to);
	*to = *from;
	record_init(from);
}

/*
 * What list will say, without asking: 0; 1: it has to be asked.
 */
static int
known(struct put *p, struct err *e)
{
	struct record *rec = p->call->record, now;
	const char *id = json_get_str(p->summary, "snapshot_id");
	struct resticd_snap snap;
	char when[WHEN_TEXT];
	json_t *tags, *j;
	size_t i;
	int r;

	if (restic_version(p->r) < RESTIC_SUMMARY || strlen(id) != 64 ||
	    json_get_str(p->summary, "backup_end") == NULL ||
	    log_warnings(p->call->log) > 0)
		return 1;
	if ((tags = json_array()) == NULL)
		return err_oom(e);
	for (i = 0; i < p->tags.n; i++)
		json_array_append_new(tags, json_string(p->tags.v[i]));
	j = json_pack("{s:s,s:s,s:s?,s:[s],s:o,s:O}", "id", id, "time",
	    when_utc(rec->created, when), "hostname", rec->host, "paths",
	    p->path, "tags", tags, "summary", p->summary);
	/* A path that is no text, say. */
	if (j == NULL)
		return 1;
	r = resticd_parse(p->call, j, &snap, &now, e);
	if (r == 1) {
		resticd_remember_one(p->call, j);
		resticd_snap_fini(&snap);
		take(rec, &now);
	}
	json_decref(j);
	return r == -1 ? -1 : r == 0;
}

/* What restic counted, where it does not keep that itself. */
static int
sizes(struct put *p, struct err *e)
{
	char when[WHEN_TEXT];

	if (restic_version(p->r) >= RESTIC_SUMMARY)
		return 0;
	if (resticd_tag(&p->tags, e, "cala.size=%" PRIu64, json_get_u64(
	    p->summary, "total_bytes_processed", 0)) == -1 ||
	    resticd_tag(&p->tags, e, "cala.files=%" PRIu64, json_get_u64(
	    p->summary, "total_files_processed", 0)) == -1)
		return -1;
	return resticd_tag(&p->tags, e, "cala.completed=%s",
	    when_utc(when_now(), when));
}

static int
amend(struct put *p, struct found *f, struct err *e)
{
	resticd_tags_fini(&p->tags);
	if (resticd_tags(p->call->record, &f->snap, &p->tags, e) == -1 ||
	    sizes(p, e) == -1)
		return -1;
	return resticd_retag(p->call, f->snap.id, &p->tags, AMEND_WAIT, e);
}

static int
finish(struct put *p, struct err *e)
{
	struct err own = ERR_INIT;
	struct record *rec = p->call->record;
	bool partial = log_warnings(p->call->log) > 0;
	struct found f;
	int r;

	if (!partial)
		resticd_settle(p->call, p->run);
	if ((r = known(p, e)) != 1)
		return r;
	if (dirs_warned(p->call, e) == -1 || find_ours(p, &f, e) == -1)
		return -1;
	if (!f.yes)
		return err_set(e, CALA_FAIL, "restic backup: ended well, but "
		    "the snapshot is not there");
	if (!partial && restic_version(p->r) >= RESTIC_SUMMARY) {
		take(rec, &f.rec);
	} else if (amend(p, &f, &own) == 0) {
		resticd_settle(p->call, p->run);
		found_fini(&f);
		if (find_ours(p, &f, e) == -1)
			return -1;
		if (f.yes)
			take(rec, &f.rec);
	} else if (partial) {
		/* As it stands there, others would take it for whole. */
		*e = own;
		err_ctx(e, "backup %s is partial, and nothing in the "
		    "repository says so (the next put or gc will)",
		    rec->uuid);
		found_fini(&f);
		return -1;
	} else {
		log_note(p->call->log, "backup %s is stored, but not its "
		    "sizes: %s", rec->uuid, own.msg);
		take(rec, &f.rec);
	}
	found_fini(&f);
	return 0;
}

static int
new_run(struct put *p, struct err *e)
{
	unsigned char r[8];

	if (getrandom(r, sizeof(r), 0) != (ssize_t)sizeof(r))
		return err_sys(e, "random numbers");
	hex_put(r, sizeof(r), p->run);
	return resticd_tag(&p->tags, e, "cala.run=%s", p->run);
}

/* What the dead have left is no reason for this one to fail. */
static void
sweep(struct driver_call *call)
{
	struct err own = ERR_INIT;
	size_t n;

	if (resticd_sweep(call, &n, &own) == -1)
		log_step(call->log, "what interrupted runs have left stays: "
		    "%s", own.msg);
}

int
resticd_put(struct driver_call *call, struct err *e)
{
	struct put p = { .call = call, .rules = RESTIC_RULES_INIT,
	    .place = PLACE_INIT, .dirfd = -1, .note = -1 };
	size_t i;
	int ret = -1;

	if (resticd_open(call, &p.r, e) == -1)
		return -1;
	sweep(call);
	if (stop_check(e) == -1 ||
	    dirs_rules(call, DIRS_RULES, &p.match, e) == -1 ||
	    see(&p, e) == -1 || own_patterns(&p, e) == -1 ||
	    restic_rules_make(&p.rules, p.match, p.dirfd, p.path, e) == -1 ||
	    resticd_tags(call->record, NULL, &p.tags, e) == -1 ||
	    new_run(&p, e) == -1 ||
	    resticd_note(call, p.run, &p.note, e) == -1)
		goto out;
	if (p.rules.listed >= RESTIC_RULES_MANY)
		log_note(call->log, "the rules leave out %" PRIu64 " entries "
		    "that restic has to be told one by one: simpler rules "
		    "would be faster", p.rules.listed);
	ret = backup(&p, e);
	place_drop(&p.place);
	if (ret == 0)
		ret = finish(&p, e);
	else if (p.taken)
		undo(&p);
out:
	place_drop(&p.place);
	if (p.note != -1) {
		if (!p.stored)
			resticd_settle(call, p.run);
		close(p.note);
	}
	resticd_tags_fini(&p.tags);
	restic_rules_fini(&p.rules);
	match_free(p.match);
	for (i = 0; i < OURS; i++)
		free(p.patterns[i]);
	json_decref(p.summary);
	free(p.real);
	free(p.path);
	if (p.dirfd != -1)
		close(p.dirfd);
	return ret;
}
