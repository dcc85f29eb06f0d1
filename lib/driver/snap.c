/*
 * snap: what is in the folder, and the verbs that only handle names and
 * records.
 */

#include "driver/snap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/str.h"
#include "config/conf.h"
#include "entry/match.h"
#include "snap/zfs.h"

static const char lock_name[] = ".cala.lock";

int
snap_begin(struct driver_call *call, bool create, struct snap *s,
    struct err *e)
{
	const char *own = conf_get(call->cfg, "backup-directory");

	memset(s, 0, sizeof(*s));
	s->call = call;
	s->dirfd = s->lock = -1;
	s->kind = strcmp(conf_disk(call->cfg), "zfs") == 0 ? &snap_zfs :
	    &snap_btrfs;
	s->path = str_join(own != NULL ? own : conf_backup_dir(call->conf),
	    s->kind->disk);
	if (s->path == NULL)
		return err_oom(e);
	s->dirfd = create ? file_mkdirs(s->path, 0700, e) :
	    open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dirfd != -1 || (!create && errno == ENOENT))
		return 0;
	if (!create)
		err_sys(e, "%s", str_q(s->path));
	err_ctx(e, "backup directory");
	snap_end(s);
	return -1;
}

int
snap_lock(struct snap *s, struct err *e)
{
	if (s->dirfd == -1)
		return err_set(e, CALA_NOTFOUND, "%s: there is no such "
		    "directory", str_q(s->path));
	s->lock = file_lock(s->dirfd, lock_name, s->call->driver->name,
	    SNAP_WAIT, e);
	return s->lock == -1 ? -1 : 0;
}

void
snap_unlock(struct snap *s)
{
	if (s->lock != -1)
		close(s->lock);
	s->lock = -1;
}

void
snap_end(struct snap *s)
{
	snap_unlock(s);
	if (s->dirfd != -1)
		close(s->dirfd);
	s->dirfd = -1;
	free(s->path);
	s->path = NULL;
	zfs_seen_free(s->seen, s->nseen);
	s->seen = NULL;
	s->nseen = 0;
}

int
snap_folder(struct snap *s, const char *uuid, struct err *e)
{
	int fd;

	if (s->dirfd == -1)
		return err_set(e, CALA_NOTFOUND, "no backup %s", uuid);
	fd = openat(s->dirfd, uuid,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd != -1)
		return fd;
	if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
		return err_set(e, CALA_NOTFOUND, "no backup %s", uuid);
	return err_sys(e, "%s", uuid);
}

/* 1: there is one, in b; 0: none. */
static int
written(struct snap *s, const char *uuid, struct buf *b, struct err *e)
{
	struct err own = ERR_INIT;
	int fd, ret = 1;

	if ((fd = snap_folder(s, uuid, &own)) == -1 ||
	    file_slurp(b, fd, "cala.json", &own) == -1)
		ret = own.code == CALA_NOTFOUND ? 0 : -1;
	if (fd != -1)
		close(fd);
	if (ret == -1)
		*e = own;
	if (ret == 0)
		return s->kind->memory(s, uuid, b, e);
	return ret;
}

int
snap_recorded(struct snap *s, const char *uuid, struct record *rec,
    struct err *e)
{
	struct buf b;
	int ret;

	buf_init(&b, RECORD_MAX);
	ret = written(s, uuid, &b, e);
	if (ret == 1 && record_get(rec, b.p, b.len, "cala.json", e) == -1) {
		ret = -1;
	} else if (ret == 1 && strcmp(rec->uuid, uuid) != 0) {
		ret = err_set(e, CALA_INTEGRITY, "cala.json: describes "
		    "backup %s", rec->uuid);
		record_fini(rec);
	}
	if (ret == -1)
		err_ctx(e, "%s", uuid);
	buf_fini(&b);
	return ret;
}

/* The lines of U/ignored, appended to b.  1: there is none. */
static int
ignored(struct snap *s, const char *uuid, struct buf *b, struct err *e)
{
	struct err own = ERR_INIT;
	int fd, ret = 0;

	if ((fd = snap_folder(s, uuid, &own)) == -1 ||
	    file_slurp(b, fd, "ignored", &own) == -1)
		ret = own.code == CALA_NOTFOUND ? 1 : -1;
	if (fd != -1)
		close(fd);
	if (ret == -1) {
		*e = own;
		err_ctx(e, "%s/ignored", uuid);
	}
	return ret;
}

/* fn for each line; n bytes at p, no NUL. */
static int
each_line(const struct buf *b, int (*fn)(void *, const char *, size_t,
    struct err *), void *arg, struct err *e)
{
	const char *p = b->p, *end = b->p + b->len, *nl;

	for (; p < end; p = nl + 1) {
		if ((nl = memchr(p, '\n', (size_t)(end - p))) == NULL)
			nl = end;
		if (fn(arg, p, (size_t)(nl - p), e) == -1)
			return -1;
	}
	return 0;
}

static int
push_line(void *arg, const char *p, size_t n, struct err *e)
{
	struct record *rec = arg;
	char *line;
	int ret = 0;

	if (n == 0 || !str_utf8(p, n))
		return 0;
	if ((line = str_ndup(p, n)) == NULL)
		return err_oom(e);
	ret = record_push(&rec->ignored, &rec->nignored, line, RECORD_IGNORED,
	    e);
	free(line);
	return ret;
}

static int
foreign(struct snap *s, const char *uuid, struct record *rec, struct err *e)
{
	struct buf b;
	int ret = -1;

	record_init(rec);
	buf_init(&b, SNAP_IGNORED);
	memcpy(rec->uuid, uuid, UUID_TEXT);
	rec->foreign = true;
	if (record_set(&rec->disk, s->kind->disk, e) == 0 &&
	    record_set(&rec->configuration, s->call->configuration, e) == 0 &&
	    ignored(s, uuid, &b, e) != -1 &&
	    each_line(&b, push_line, rec, e) == 0 &&
	    s->kind->facts(s, uuid, rec, e) == 0)
		ret = 0;
	else
		record_fini(rec);
	buf_fini(&b);
	return ret;
}

int
snap_record(struct snap *s, const char *uuid, struct record *rec,
    struct err *e)
{
	struct err why = ERR_INIT;
	int r = snap_recorded(s, uuid, rec, &why);

	if (r == -1)
		log_warn(s->call->log, "%s", why.msg);
	return r == 1 ? 0 : foreign(s, uuid, rec, e);
}

int
snap_save(struct snap *s, const struct record *rec, struct err *e)
{
	int fd, ret;

	if (mkdirat(s->dirfd, rec->uuid, 0700) == -1 && errno != EEXIST)
		return err_sys(e, "%s", rec->uuid);
	if ((fd = snap_folder(s, rec->uuid, e)) == -1)
		return -1;
	ret = snap_write(fd, rec, e);
	close(fd);
	return ret;
}

int
snap_write(int fd, const struct record *rec, struct err *e)
{
	struct afile f = AFILE_INIT;
	struct buf b;
	int ret = -1;

	buf_init(&b, RECORD_MAX + 1);
	if (record_put(rec, &b, e) == -1 || buf_chr(&b, '\n') == -1 ||
	    afile_open(&f, fd, "cala.json", e) == -1)
		goto out;
	if (file_write_all(f.fd, b.p, b.len) == -1)
		err_sys(e, "write cala.json");
	else
		ret = afile_commit(&f, 0600, 0, e);
out:
	if (ret == -1)
		err_ctx(e, "%s", rec->uuid);
	afile_abort(&f);
	buf_fini(&b);
	return ret;
}

static int
add_rule(void *arg, const char *p, size_t n, struct err *e)
{
	struct err own = ERR_INIT;

	/* What was no rule then is none now: Wings passes it over, too. */
	if (match_add(arg, p, n, &own) == -1 && own.code != CALA_USAGE) {
		*e = own;
		return -1;
	}
	return 0;
}

int
snap_rules(struct snap *s, const char *uuid, const struct record *rec,
    struct match **out, struct err *e)
{
	struct match *m = NULL;
	struct buf b;
	size_t i;
	int ret = -1, r;

	*out = NULL;
	buf_init(&b, SNAP_IGNORED);
	if ((r = ignored(s, uuid, &b, e)) == -1 ||
	    (m = match_new(e)) == NULL)
		goto out;
	if (r == 0 && each_line(&b, add_rule, m, e) == -1)
		goto out;
	for (i = 0; r == 1 && i < rec->nignored; i++)
		if (add_rule(m, rec->ignored[i], strlen(rec->ignored[i]),
		    e) == -1)
			goto out;
	if (match_count(m) > 0) {
		*out = m;
		m = NULL;
	}
	ret = 0;
out:
	match_free(m);
	buf_fini(&b);
	return ret;
}

int
snap_clear(struct snap *s, const char *uuid, struct err *e)
{
	static const char *const names[] = { "cala.json", "ignored",
	    "dataset" };
	struct err own = ERR_INIT;
	size_t i;
	int fd = snap_folder(s, uuid, &own);

	if (fd == -1) {
		if (own.code == CALA_NOTFOUND)
			return 0;
		*e = own;
		return -1;
	}
	afile_sweep(fd, "cala.json");
	afile_sweep(fd, "ignored");
	afile_sweep(fd, "dataset");
	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (unlinkat(fd, names[i], 0) == -1 && errno != ENOENT) {
			err_sys(e, "remove %s/%s", uuid, names[i]);
			close(fd);
			return -1;
		}
	close(fd);
	if (unlinkat(s->dirfd, uuid, AT_REMOVEDIR) == -1 && errno != ENOENT) {
		if (errno != ENOTEMPTY && errno != EEXIST)
			return err_sys(e, "remove %s", uuid);
		log_note(s->call->log, "%s/%s stays: there are other files "
		    "in it", str_q(s->path), uuid);
	}
	if (fsync(s->dirfd) == -1)
		return err_sys(e, "sync %s", str_q(s->path));
	return 0;
}

bool
snap_arriving(struct snap *s, const char *uuid)
{
	struct err ignored = ERR_INIT;
	int fd = snap_folder(s, uuid, &ignored);
	bool held;

	if (fd == -1)
		return false;
	held = flock(fd, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK;
	close(fd);
	return held;
}

/* ---- verbs ---- */

struct listing {
	struct snap *s;
	record_fn *fn;
	void *arg;
};

static int
list_one(void *arg, const char *uuid, struct err *e)
{
	struct listing *l = arg;
	const char *server = l->s->call->server;
	struct record rec;
	int ret = 0;

	/* One that can't be read hides no other; one may have gone by now. */
	if (snap_record(l->s, uuid, &rec, e) == -1) {
		if (e->code >= CALA_SIGNAL)
			return -1;
		if (e->code != CALA_NOTFOUND)
			log_warn(l->s->call->log, "%s", e->msg);
		err_clear(e);
		return 0;
	}
	if (server[0] == '\0' || strcmp(server, rec.server) == 0)
		ret = l->fn(l->arg, &rec, e);
	record_fini(&rec);
	return ret;
}

static int
snap_list(struct driver_call *call, record_fn *fn, void *arg, struct err *e)
{
	struct snap s;
	struct listing l = { &s, fn, arg };
	int ret;

	if (snap_begin(call, false, &s, e) == -1)
		return -1;
	ret = s.kind->each(&s, list_one, &l, e);
	snap_end(&s);
	return ret;
}

/* CALA_NOTFOUND unless uuid is stored. */
static int
must_exist(struct snap *s, const char *uuid, struct err *e)
{
	int r = s->kind->stored(s, uuid, e);

	if (r == 0)
		return err_set(e, CALA_NOTFOUND, "no backup %s", uuid);
	return r == 1 ? 0 : -1;
}

static int
snap_find(struct driver_call *call, struct record *rec, struct err *e)
{
	struct snap s;
	int ret = -1;

	if (snap_begin(call, false, &s, e) == -1)
		return -1;
	if (must_exist(&s, call->backup, e) == 0)
		ret = snap_record(&s, call->backup, rec, e);
	snap_end(&s);
	return ret;
}

/* The lock is taken off first and put on last: a protected U can't be written. */
static int
change(struct snap *s, const struct record *rec, struct err *e)
{
	const struct record *was = s->call->was;

	if (was->locked && s->kind->hold(s, rec->uuid, false, e) == -1)
		return -1;
	if (snap_save(s, rec, e) == -1 ||
	    s->kind->remember(s, rec, e) == -1) {
		struct err ignored_err = ERR_INIT;

		if (was->locked)
			(void)s->kind->hold(s, rec->uuid, true, &ignored_err);
		return -1;
	}
	return rec->locked ? s->kind->hold(s, rec->uuid, true, e) : 0;
}

static int
snap_sync(struct driver_call *call, struct record *rec, struct err *e)
{
	struct record now;
	struct snap s;
	int ret = -1, r;

	if (snap_begin(call, true, &s, e) == -1)
		return -1;
	if (snap_lock(&s, e) == -1 || must_exist(&s, rec->uuid, e) == -1)
		goto out;
	/* It may hold a lock, or what only a newer cala can read. */
	if ((r = snap_recorded(&s, rec->uuid, &now, e)) == -1) {
		err_ctx(e, "its record can't be read, and is not replaced");
		err_hint(e, "repair or remove %s/%s/cala.json first",
		    str_q(s.path), rec->uuid);
		goto out;
	}
	if (r == 1) {
		if (!record_same(&now, call->was))
			r = err_set(e, CALA_LOCKED, "backup %s: somebody else "
			    "has just changed its record", rec->uuid);
		record_fini(&now);
	}
	if (r != -1)
		ret = change(&s, rec, e);
out:
	snap_end(&s);
	return ret;
}

static int
snap_remove(struct driver_call *call, struct record *rec, struct err *e)
{
	struct record now;
	struct snap s;
	bool locked = false;
	int ret = -1, r;

	if (snap_begin(call, true, &s, e) == -1)
		return -1;
	if (snap_lock(&s, e) == -1 || must_exist(&s, rec->uuid, e) == -1)
		goto out;
	/* Nobody knows whether it is locked. */
	if ((r = snap_recorded(&s, rec->uuid, &now, e)) == -1) {
		err_ctx(e, "backup %s is kept, its record can't be read",
		    rec->uuid);
		err_hint(e, "remove %s/%s/cala.json first if it may go",
		    str_q(s.path), rec->uuid);
		goto out;
	}
	/* Somebody may have locked it since it was looked up. */
	if (r == 1) {
		locked = now.locked;
		record_fini(&now);
	}
	if (locked) {
		err_set(e, CALA_PROTECTED, "backup %s is locked", rec->uuid);
		goto out;
	}
	if (s.kind->removable(&s, rec->uuid, e) == -1)
		goto out;
	if (call->dry_run) {
		driver_say(call, "would remove the snapshot of backup %s",
		    rec->uuid);
		ret = 0;
	} else if (s.kind->destroy(&s, rec->uuid, e) == 0) {
		ret = snap_clear(&s, rec->uuid, e);
	}
out:
	snap_end(&s);
	return ret;
}

static const char *const disks[] = { "btrfs", "zfs", NULL };

static const struct driver_verb extra[] = {
	{ "send", "a backup as a stream for another place", DRIVER_SERVER |
	    DRIVER_BACKUP | DRIVER_BASE | DRIVER_BLOCKED, snap_send },
	{ "receive", "store what send gave", DRIVER_SERVER | DRIVER_BLOCKED |
	    DRIVER_TAKES, NULL },
	{ "rollback", "make the server what the backup is", DRIVER_SERVER |
	    DRIVER_BACKUP | DRIVER_FULL | DRIVER_NEWER | DRIVER_DRY |
	    DRIVER_BLOCKED, snap_rollback },
	{ NULL, NULL, 0, NULL }
};

const struct driver snap_driver = {
	.name = "cala-snap",
	.disks = disks,
	.takes = DRIVER_DIR,
	.put_dir = snap_put,
	.open = snap_tree,
	.get = snap_get,
	.restore = snap_restore,
	.list = snap_list,
	.find = snap_find,
	.sync = snap_sync,
	.remove = snap_remove,
	.check = snap_check,
	.verify = snap_verify,
	.gc = snap_gc,
	.extra = extra,
	.receive_begin = snap_receive,
};
