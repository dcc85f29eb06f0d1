/*
 * snap_put: a directory becomes a snapshot.
 *
 * U/ gets its files, all of them synced, and then the snapshot is made: that is
 * the commit.  What is counted in it afterwards is added to the record.
 */

#include "driver/snap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/str.h"
#include "base/when.h"
#include "config/conf.h"
#include "config/inside.h"
#include "driver/dirs.h"
#include "entry/match.h"
#include "snap/mounts.h"
#include "snap/view.h"

struct put {
	struct snap s;
	struct snap_volume vol;
	struct record *rec;
	struct match *match;
	bool made;              /* U/ is ours */
	bool taken;             /* the snapshot is there */
	bool asked;             /* to lock it: by our own caller */
};

int
snap_write_rules(int dir, const struct match *m, struct err *e)
{
	struct afile f = AFILE_INIT;
	struct buf b;
	size_t i;
	int ret = -1;

	buf_init(&b, SNAP_IGNORED);
	for (i = 0; i < match_count(m); i++) {
		buf_str(&b, match_rule(m, i));
		buf_chr(&b, '\n');
	}
	if (buf_failed(&b, e) == -1 || afile_open(&f, dir, "ignored", e) == -1)
		goto out;
	if (file_write_all(f.fd, b.p, b.len) == -1)
		err_sys(e, "write ignored");
	else
		ret = afile_commit(&f, 0600, 0, e);
out:
	afile_abort(&f);
	buf_fini(&b);
	return ret;
}

static int
not_taken(struct put *p, struct err *e)
{
	const char *uuid = p->rec->uuid;
	int r = p->s.kind->stored(&p->s, uuid, e);

	if (r == 1)
		return err_set(e, CALA_EXISTS, "backup %s exists already",
		    uuid);
	return r;
}

/* Under the lock: nobody else makes or removes a backup meanwhile. */
static int
take(struct put *p, struct err *e)
{
	struct snap *s = &p->s;
	const char *uuid = p->rec->uuid;
	int dir = -1, ret = -1;

	if (snap_lock(s, e) == -1 || not_taken(p, e) == -1 ||
	    s->kind->before(s, &p->vol, -1, e) == -1)
		goto out;
	if (snap_arriving(s, uuid)) {
		err_set(e, CALA_LOCKED, "backup %s is being received by "
		    "somebody else", uuid);
		goto out;
	}
	/* What a deletion by Wings, or a killed run, left under this name. */
	if (mkdirat(s->dirfd, uuid, 0700) == -1 && (errno != EEXIST ||
	    snap_clear(s, uuid, e) == -1 ||
	    mkdirat(s->dirfd, uuid, 0700) == -1)) {
		if (e->code == 0)
			err_sys(e, "%s/%s", str_q(s->path), uuid);
		goto out;
	}
	p->made = true;
	if ((dir = snap_folder(s, uuid, e)) == -1 ||
	    snap_write_rules(dir, p->match, e) == -1 ||
	    s->kind->before(s, &p->vol, dir, e) == -1 ||
	    snap_save(s, p->rec, e) == -1)
		goto out;
	if (fsync(s->dirfd) == -1) {
		err_sys(e, "sync %s", str_q(s->path));
		goto out;
	}
	if (s->kind->create(s, &p->vol, dir, p->rec, e) == -1)
		goto out;
	p->taken = true;
	ret = 0;
out:
	if (dir != -1)
		close(dir);
	/* Counting takes its time: others may work meanwhile. */
	snap_unlock(s);
	return ret;
}

int
snap_count(struct snap *s, const struct match *m, int fd, struct record *rec,
    struct err *e)
{
	struct view_how how = { .match = match_count(m) > 0 ? m : NULL,
	    .jobs = s->call->jobs };
	struct view_counted c;

	if (view_count(fd, &how, s->call->log, &c, e) == -1)
		return err_ctx(e, "count what is in the snapshot");
	if (c.entries == 0 && c.excluded > 0)
		return err_set(e, CALA_INCOMPLETE, "the rules leave out "
		    "everything; nothing stored");
	rec->has_files = rec->has_size = true;
	rec->files = c.files;
	rec->size = c.bytes;
	return 0;
}

static int
count(struct put *p, struct err *e)
{
	struct snap_root root = { -1, CLONE_INIT };
	int ret;

	if (p->s.kind->open(&p->s, p->rec->uuid, &root, e) == -1)
		return -1;
	ret = snap_count(&p->s, p->match, root.fd, p->rec, e);
	p->s.kind->close(&p->s, &root);
	return ret;
}

/* The backup could be seen already: somebody may have named or locked it. */
static int
merge(struct put *p, struct err *e)
{
	struct record now;
	int r = snap_recorded(&p->s, p->rec->uuid, &now, e), ret = -1;

	if (r == -1)
		return -1;
	if (r == 0)
		return err_set(e, CALA_FAIL, "backup %s was removed before it "
		    "was complete", p->rec->uuid);
	p->rec->locked = now.locked;
	if (record_set(&p->rec->name, now.name, e) == 0 &&
	    record_set(&p->rec->group, now.group, e) == 0)
		ret = 0;
	record_fini(&now);
	return ret;
}

static int
finish(struct put *p, struct err *e)
{
	struct snap *s = &p->s;

	if (count(p, e) == -1 || dirs_warned(s->call, e) == -1 ||
	    snap_lock(s, e) == -1 || merge(p, e) == -1 ||
	    s->kind->sum(s, p->rec->uuid, p->rec, e) == -1)
		return -1;
	if (p->rec->locked && s->kind->hold(s, p->rec->uuid, false, e) == -1)
		return -1;
	p->rec->completed = when_now();
	if (snap_save(s, p->rec, e) == -1 ||
	    s->kind->remember(s, p->rec, e) == -1)
		return -1;
	return p->rec->locked ? s->kind->hold(s, p->rec->uuid, true, e) : 0;
}

/* It could be seen, and has been locked since: it is whole, and stays. */
static bool
wanted(struct put *p)
{
	struct err own = ERR_INIT;
	struct record now;
	bool yes = false;

	if (!p->asked && snap_recorded(&p->s, p->rec->uuid, &now, &own) == 1) {
		yes = now.locked;
		record_fini(&now);
	}
	return yes;
}

static void
undo(struct put *p)
{
	struct err own = ERR_INIT;
	const char *uuid = p->rec->uuid;

	if (p->s.lock == -1 && (p->made || p->taken))
		(void)snap_lock(&p->s, &own);
	err_clear(&own);
	if (p->taken && wanted(p)) {
		log_warn(p->s.call->log, "backup %s stays, although it was "
		    "not counted to its end: somebody has locked it", uuid);
		return;
	}
	if (p->taken) {
		(void)p->s.kind->hold(&p->s, uuid, false, &own);
		err_clear(&own);
		if (p->s.kind->destroy(&p->s, uuid, &own) == -1) {
			log_warn(p->s.call->log, "backup %s stays, although it "
			    "failed: %s", uuid, own.msg);
			return;
		}
	}
	if (p->made && snap_clear(&p->s, uuid, &own) == -1)
		log_step(p->s.call->log, "%s", own.msg);
}

bool
snap_left_out(const struct match *m, const char *path)
{
	char part[PATH_MAX];
	size_t i;

	if (strlen(path) >= sizeof(part))
		return false;
	for (i = 1; path[i - 1] != '\0'; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (match_path(m, part, true) == MATCH_DROP)
			return true;
	}
	return false;
}

struct inside {
	struct log *log;
	const char *path;
	const struct match *match;
};

static int
mounted(void *arg, const struct mount_at *m, struct err *e)
{
	const struct inside *in = arg;
	const char *below = m->path + strlen(in->path);

	(void)e;
	if (mount_below(m, in->path) &&
	    !snap_left_out(in->match, below + (*below == '/')))
		log_warn(in->log, "%s: another dataset or file system: what it "
		    "holds is not in the snapshot", str_q(m->path));
	return 0;
}

/* A restore would put old records of backups over newer ones. */
static int
without_store(struct put *p, const char *path, struct err *e)
{
	struct driver_call *call = p->s.call;
	char *below = NULL, *rule;
	int k = inside_store(call->conf, call->cfg, path, &below, e);

	if (k == 1 && snap_left_out(p->match, below))
		k = 0;
	if (k == 1) {
		err_set(e, CALA_USAGE, "%s: configuration %s keeps its "
		    "backups in it, in %s: a restore would put old records "
		    "over newer ones", str_q(path), str_q(conf_name(call->cfg)),
		    str_q(p->s.path));
		if (*below != '\0' && (rule = inside_rule(below)) != NULL) {
			err_hint(e, "cala backup leaves it out; so does the "
			    "rule %s by --exclude-from", str_q(rule));
			free(rule);
		}
	}
	free(below);
	return k == 0 ? 0 : -1;
}

static int
nested(struct put *p, struct err *e)
{
	char *path = mounts_path(p->vol.fd, e);
	struct inside in = { p->s.call->log, path, p->match };
	int ret = -1;

	if (path != NULL && without_store(p, path, e) == 0 &&
	    (p->s.kind->nested == NULL ||
	    p->s.kind->nested(&p->s, &p->vol, p->match, e) == 0))
		ret = mounts_each(mounted, &in, e);
	free(path);
	return ret;
}

int
snap_put(struct driver_call *call, struct err *e)
{
	struct put p;
	size_t swept = 0;
	int ret = -1;

	memset(&p, 0, sizeof(p));
	p.rec = call->record;
	p.vol.fd = -1;
	p.asked = p.rec->locked;
	if (snap_begin(call, true, &p.s, e) == -1)
		return -1;
	if (p.s.kind->volume(&p.s, &p.vol, e) == -1 ||
	    dirs_rules(call, SNAP_IGNORED, &p.match, e) == -1 ||
	    p.s.kind->sweep(&p.s, &swept, e) == -1 ||
	    nested(&p, e) == -1 ||
	    dirs_warned(call, e) == -1)
		goto out;
	if (take(&p, e) == 0)
		ret = finish(&p, e);
	if (ret == -1)
		undo(&p);
out:
	if (p.vol.fd != -1)
		close(p.vol.fd);
	free(p.vol.dataset);
	match_free(p.match);
	snap_end(&p.s);
	return ret;
}
