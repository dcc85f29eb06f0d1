/*
 * snap_zfs: the disk zfs: DATASET@backup-U is a snapshot of V's own dataset
 * (Calagopus layout: zfs).  The user property cala:record of the snapshot is a
 * copy of the record without its lists: it is there, too, when the pool comes
 * to another machine without B.
 */

#include "driver/snap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "config/conf.h"
#include "snap/zfs.h"

#define HOLD "cala-lock"

enum {
	MEMORY_MAX = 1023       /* bytes of a user property's value */
};

static int
zt_volume(struct snap *s, struct snap_volume *v, struct err *e)
{
	const char *dir = s->call->dir;

	v->fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (v->fd == -1)
		return err_sys(e, "%s", str_q(dir));
	v->dataset = zfs_of(s->call->log, v->fd, e);
	return v->dataset == NULL ? -1 : 0;
}

static int
ask_all(struct snap *s, struct err *e)
{
	if (s->asked)
		return 0;
	if (zfs_backups(s->call->log, &s->seen, &s->nseen, e) == -1)
		return -1;
	s->asked = true;
	return 0;
}

void
snap_zfs_forget(struct snap *s)
{
	zfs_seen_free(s->seen, s->nseen);
	s->seen = NULL;
	s->nseen = 0;
	s->asked = false;
}

/* U/dataset; "" when there is none that can be one. */
static void
noted(struct snap *s, const char *uuid, char out[ZFS_NAME])
{
	struct err own = ERR_INIT;
	struct buf b;
	int fd = snap_folder(s, uuid, &own);

	out[0] = '\0';
	if (fd == -1)
		return;
	buf_init(&b, ZFS_NAME + 1);
	if (file_slurp(&b, fd, "dataset", &own) == 0) {
		const char *name = str_trim(b.p);

		if (strlen(name) == strcspn(name, "\n") &&
		    zfs_dataset_ok(name))
			memcpy(out, name, strlen(name) + 1);
	}
	buf_fini(&b);
	close(fd);
}

/* Is the dataset's pool imported? */
static int
pool_there(struct snap *s, const char *dataset, bool *yes, struct err *e)
{
	char pool[ZFS_NAME];
	struct buf b;
	int r;

	snprintf(pool, sizeof(pool), "%.*s", (int)strcspn(dataset, "/"),
	    dataset);
	buf_init(&b, 4096);
	r = zfs_get(s->call->log, pool, "type", &b, e);
	buf_fini(&b);
	*yes = r != -1;
	if (r == -1 && e->code != CALA_NOTFOUND)
		return -1;
	err_clear(e);
	return 0;
}

/* No snapshot is to be seen; that means little while its pool is away. */
static int
none_seen(struct snap *s, const char *uuid, const char *note, struct err *e)
{
	bool there = true;

	if (*note != '\0' && pool_there(s, note, &there, e) == -1)
		return -1;
	if (there)
		return 0;
	err_set(e, CALA_NET, "backup %s lies in the dataset %s, whose pool is "
	    "not there", uuid, note);
	return err_hint(e, "zpool import %.*s", (int)strcspn(note, "/"), note);
}

/*
 * Which dataset's snapshot U is: 1; 0: there is none.  Where several have one
 * of this name (a copy of a pool, say), U/dataset decides; where it does not,
 * that is an error: none of them is touched on a guess.
 */
static int
dataset_of(struct snap *s, const char *uuid, char out[ZFS_NAME],
    struct err *e)
{
	char note[ZFS_NAME];
	const struct zfs_seen *v;
	size_t i, hits = 0;

	if (ask_all(s, e) == -1)
		return -1;
	noted(s, uuid, note);
	for (i = 0; i < s->nseen; i++) {
		v = &s->seen[i];
		if (strcmp(v->uuid, uuid) != 0)
			continue;
		if (hits++ == 0 || strcmp(v->dataset, note) == 0)
			snprintf(out, ZFS_NAME, "%s", v->dataset);
		if (strcmp(v->dataset, note) == 0)
			return 1;
	}
	if (hits > 1) {
		err_set(e, CALA_FAIL, "backup %s: %zu datasets have a "
		    "snapshot of this name, and nothing says which is it",
		    uuid, hits);
		return err_hint(e, "write the right dataset's name into "
		    "%s/%s/dataset", str_q(s->path), uuid);
	}
	return hits == 1 ? 1 : none_seen(s, uuid, note, e);
}

/* The full name of a snapshot that must be there. */
int
snap_zfs_full(struct snap *s, const char *uuid, char out[SNAP_FULL],
    struct err *e)
{
	char dataset[ZFS_NAME];
	int r = dataset_of(s, uuid, dataset, e);

	if (r == 0)
		return err_set(e, CALA_NOTFOUND, "no backup %s", uuid);
	if (r == 1)
		snprintf(out, SNAP_FULL, "%s@" ZFS_BACKUP "%s", dataset, uuid);
	return r == 1 ? 0 : -1;
}

static int
by_uuid(const void *key, const void *one)
{
	return strcmp(key, ((const struct zfs_seen *)one)->uuid);
}

/* Say which backups are not listed because their pool is away. */
static int
tell_away(struct snap *s, struct err *e)
{
	char uuid[UUID_TEXT], note[ZFS_NAME], pool[ZFS_NAME] = "";
	struct dirent *d;
	size_t n = 0, k;
	int ret = 0;
	bool there = true;
	DIR *dp;

	if (s->dirfd == -1)
		return 0;
	if ((dp = file_list(s->dirfd)) == NULL)
		return err_sys(e, "read %s", str_q(s->path));
	while (ret == 0 && (d = readdir(dp)) != NULL) {
		if (uuid_norm(d->d_name, uuid) == -1 ||
		    (s->nseen > 0 && bsearch(uuid, s->seen, s->nseen,
		    sizeof(*s->seen), by_uuid) != NULL))
			continue;
		noted(s, uuid, note);
		if ((k = strcspn(note, "/")) == 0)
			continue;
		if (strlen(pool) != k || memcmp(pool, note, k) != 0) {
			note[k] = '\0';
			memcpy(pool, note, k + 1);
			ret = pool_there(s, pool, &there, e);
		}
		n += !there;
	}
	closedir(dp);
	if (ret == 0 && n > 0)
		log_warn(s->call->log, "%zu backups are not listed: their "
		    "pool is not there (zpool import)", n);
	return ret;
}

static int
zt_each(struct snap *s, int (*fn)(void *, const char *, struct err *),
    void *arg, struct err *e)
{
	size_t i;
	int ret = 0;

	if (ask_all(s, e) == -1 || tell_away(s, e) == -1)
		return -1;
	/* One of several of a name: sorted, they stand together. */
	for (i = 0; ret == 0 && i < s->nseen; i++)
		if (i == 0 || strcmp(s->seen[i].uuid, s->seen[i - 1].uuid) != 0)
			ret = fn(arg, s->seen[i].uuid, e);
	return ret;
}

static int
zt_stored(struct snap *s, const char *uuid, struct err *e)
{
	char dataset[ZFS_NAME];

	return dataset_of(s, uuid, dataset, e);
}

/* "…/server-UUID" is how Wings names datasets. */
static bool
server_of(const char *dataset, char out[UUID_TEXT])
{
	const char *slash = strrchr(dataset, '/');
	const char *last = slash != NULL ? slash + 1 : dataset;

	return str_begins(last, "server-") &&
	    uuid_norm(last + strlen("server-"), out) == 0;
}

static int
sum_text(const char *dataset, struct record *rec, struct err *e)
{
	if (record_set(&rec->sum_type, "zfs-snapshot", e) == -1)
		return -1;
	return record_set(&rec->sum_value, dataset, e);
}

static int
zt_facts(struct snap *s, const char *uuid, struct record *rec, struct err *e)
{
	char full[SNAP_FULL];
	struct buf b;
	uint64_t when;
	int ret = -1;

	buf_init(&b, 4096);
	if (snap_zfs_full(s, uuid, full, e) == -1)
		goto out;
	if (zfs_get(s->call->log, full, "creation", &b, e) == -1)
		goto out;
	if (str_u64(b.p, 0, INT64_MAX, &when) == 0)
		rec->created.tv_sec = rec->completed.tv_sec = (time_t)when;
	full[strcspn(full, "@")] = '\0';
	if (!server_of(full, rec->server))
		rec->server[0] = '\0';
	ret = sum_text(full, rec, e);
out:
	buf_fini(&b);
	return ret;
}

static int
zt_memory(struct snap *s, const char *uuid, struct buf *b, struct err *e)
{
	char full[SNAP_FULL];
	int r;

	if (snap_zfs_full(s, uuid, full, e) == -1)
		return -1;
	if ((r = zfs_get(s->call->log, full, "cala:record", b, e)) == -1)
		return -1;
	return r == 0;
}

/*
 * The record as a property's value: without lists, in ASCII, and without what
 * can be done without when it is too long.
 */
static int
memory_text(const struct record *rec, struct buf *out, struct err *e)
{
	static const char *const less[] = { "version", "host",
	    "configuration", "completed", "group", "name" };
	struct record r = *rec;
	struct buf b;
	json_t *o = NULL;
	char *text = NULL;
	size_t i = 0;
	int ret = -1;

	r.nignored = r.nwarnings = 0;
	r.extra = NULL;
	buf_init(&b, RECORD_MAX);
	if (record_put(&r, &b, e) == -1 ||
	    (o = json_parse(b.p, b.len, "record", e)) == NULL)
		goto out;
	json_object_del(o, "ignored");
	json_object_del(o, "warnings");
	for (;; i++) {
		free(text);
		text = json_dumps(o, JSON_COMPACT | JSON_ENSURE_ASCII);
		if (text == NULL) {
			err_oom(e);
			goto out;
		}
		if (strlen(text) <= MEMORY_MAX ||
		    i == sizeof(less) / sizeof(*less))
			break;
		json_object_del(o, less[i]);
	}
	buf_printf(out, "cala:record=%s", text);
	ret = buf_failed(out, e);
out:
	free(text);
	json_decref(o);
	buf_fini(&b);
	return ret;
}

static int
zt_before(struct snap *s, struct snap_volume *v, int dir, struct err *e)
{
	struct afile f = AFILE_INIT;
	int ret = -1;

	(void)s;
	if (dir == -1)
		return 0;
	if (afile_open(&f, dir, "dataset", e) == -1)
		return -1;
	if (file_write_all(f.fd, v->dataset, strlen(v->dataset)) == -1)
		err_sys(e, "write dataset");
	else
		ret = afile_commit(&f, 0600, 0, e);
	afile_abort(&f);
	return ret;
}

static int
zt_create(struct snap *s, struct snap_volume *v, int dir,
    const struct record *rec, struct err *e)
{
	char full[SNAP_FULL];
	struct buf b;
	int ret = -1;

	(void)dir;
	buf_init(&b, 1 << 16);
	snprintf(full, sizeof(full), "%s@" ZFS_BACKUP "%s", v->dataset,
	    rec->uuid);
	if (memory_text(rec, &b, e) == 0) {
		const char *argv[] = { "zfs", "snapshot", "-o", b.p, full,
		    NULL };

		ret = zfs_do(s->call->log, argv, false, e);
		/*
		 * It may have been done all the same, when we were stopped
		 * meanwhile: put must know, to take it back.
		 */
		if (ret == -1 && e->code >= CALA_SIGNAL) {
			struct err own = ERR_INIT;

			(void)zfs_destroy(s->call->log, full, true, &own);
		}
	}
	snap_zfs_forget(s);
	buf_fini(&b);
	return ret;
}

static int
zt_sum(struct snap *s, const char *uuid, struct record *rec, struct err *e)
{
	char dataset[ZFS_NAME];
	int r = dataset_of(s, uuid, dataset, e);

	if (r == 0)
		return err_set(e, CALA_NOTFOUND, "no backup %s", uuid);
	return r == -1 ? -1 : sum_text(dataset, rec, e);
}

/* A snapshot can't be changed, but one can take the name of another. */
static int
zt_intact(struct snap *s, const char *uuid, const struct record *rec,
    struct err *e)
{
	struct record copy;
	char full[SNAP_FULL];
	struct buf b;
	int ret = -1, r;

	if (snap_zfs_full(s, uuid, full, e) == -1)
		return -1;
	if (rec->foreign)
		return 0;
	buf_init(&b, 1 << 16);
	if ((r = zfs_get(s->call->log, full, "cala:record", &b, e)) == -1)
		goto out;
	if (r == 0 && record_get(&copy, b.p, b.len, "cala:record", e) == 0) {
		ret = strcmp(copy.uuid, uuid) == 0 ? 0 : -1;
		record_fini(&copy);
	}
	if (ret == -1)
		err_set(e, CALA_INTEGRITY, "backup %s: %s is not the snapshot "
		    "that was made for it", uuid, str_q(full));
out:
	buf_fini(&b);
	return ret;
}

static int
zt_remember(struct snap *s, const struct record *rec, struct err *e)
{
	char full[SNAP_FULL];
	struct buf b;
	int ret = -1;

	buf_init(&b, 1 << 16);
	if (snap_zfs_full(s, rec->uuid, full, e) == 0 &&
	    memory_text(rec, &b, e) == 0) {
		const char *argv[] = { "zfs", "set", b.p, full, NULL };

		ret = zfs_do(s->call->log, argv, true, e);
	}
	buf_fini(&b);
	return ret;
}

/* "on" or "off", "yes" or "no". */
static int
is_on(struct snap *s, const char *full, const char *property, bool *on,
    struct err *e)
{
	struct buf b;
	int r;

	buf_init(&b, 4096);
	r = zfs_get(s->call->log, full, property, &b, e);
	*on = r == 0 && (strcmp(b.p, "on") == 0 || strcmp(b.p, "yes") == 0);
	buf_fini(&b);
	return r == -1 ? -1 : 0;
}

static int
zt_hold(struct snap *s, const char *uuid, bool on, struct err *e)
{
	char full[SNAP_FULL];
	const char *argv[] = { "zfs", on ? "hold" : "release", HOLD, full,
	    NULL };
	bool doomed;

	if (snap_zfs_full(s, uuid, full, e) == -1)
		return -1;
	if (!on) {
		/* Our hold is all that keeps it: releasing would destroy it. */
		if (is_on(s, full, "defer_destroy", &doomed, e) == -1)
			return -1;
		if (doomed) {
			err_set(e, CALA_PROTECTED, "backup %s: somebody asked "
			    "for its destruction while it was locked; "
			    "unlocking would destroy it", uuid);
			return err_hint(e, "copy what you need first; then "
			    "zfs release " HOLD " %s", full);
		}
	}
	if (zfs_do(s->call->log, argv, true, e) == 0)
		return 0;
	/* Held already, or released already. */
	if (strstr(e->msg, on ? "tag already exists" : "no such tag") == NULL)
		return -1;
	err_clear(e);
	return 0;
}

static int
zt_removable(struct snap *s, const char *uuid, struct err *e)
{
	char full[SNAP_FULL], server[UUID_TEXT];
	struct record rec;
	struct buf b;
	bool ours;
	int ret = -1, r;

	buf_init(&b, 1 << 16);
	if (snap_zfs_full(s, uuid, full, e) == -1 ||
	    (r = zfs_get(s->call->log, full, "cala:record", &b, e)) == -1)
		goto out;
	ours = r == 0 && record_get(&rec, b.p, b.len, "cala:record", e) == 0;
	if (ours) {
		ours = strcmp(rec.uuid, uuid) == 0;
		record_fini(&rec);
	}
	err_clear(e);
	full[strcspn(full, "@")] = '\0';
	if (!ours && !server_of(full, server)) {
		err_set(e, CALA_FAIL, "%s@" ZFS_BACKUP "%s has no record, and "
		    "its dataset is no server's: it is not destroyed",
		    str_q(full), uuid);
		err_hint(e, "zfs destroy removes it by hand");
		goto out;
	}
	full[strlen(full)] = '@';
	if (zfs_get(s->call->log, full, "userrefs", &b, e) == -1)
		goto out;
	if (b.len > 0 && strcmp(b.p, "0") != 0 && strcmp(b.p, "-") != 0) {
		err_set(e, CALA_PROTECTED, "backup %s: %s is held",
		    uuid, str_q(full));
		err_hint(e, "zfs holds %s says by whom", full);
		goto out;
	}
	ret = 0;
out:
	buf_fini(&b);
	return ret;
}

static int
zt_destroy(struct snap *s, const char *uuid, struct err *e)
{
	char full[SNAP_FULL];
	int ret;

	if (snap_zfs_full(s, uuid, full, e) == -1)
		return -1;
	ret = zfs_destroy(s->call->log, full, true, e);
	if (ret == -1 && e->code == CALA_LOCKED)
		err_hint(e, "somebody reads it or has cloned it; try later");
	snap_zfs_forget(s);
	full[strcspn(full, "@")] = '\0';
	return ret == 0 ? snap_zfs_clean(s, full, e) : ret;
}

static int
zt_open(struct snap *s, const char *uuid, struct snap_root *r,
    struct err *e)
{
	char dataset[ZFS_NAME], name[sizeof(ZFS_BACKUP) + UUID_TEXT];
	int got = dataset_of(s, uuid, dataset, e), made;

	if (got == 0)
		return err_set(e, CALA_NOTFOUND, "no backup %s", uuid);
	if (got == -1)
		return -1;
	snprintf(name, sizeof(name), ZFS_BACKUP "%s", uuid);
	if ((r->fd = zfs_look(dataset, name)) != -1)
		return 0;
	if (s->dirfd == -1) {
		made = file_mkdirs(s->path, 0700, e);
		if (made == -1)
			return -1;
		s->dirfd = made;
	}
	if (clone_open(s->call->log, s->path, s->dirfd, dataset, name,
	    &r->clone, e) == -1)
		return err_ctx(e, "a temporary clone to read it");
	r->fd = r->clone.fd;
	return 0;
}

static void
zt_close(struct snap *s, struct snap_root *r)
{
	if (r->fd != -1 && r->clone.fd == -1)
		close(r->fd);
	r->fd = -1;
	if (r->clone.name != NULL)
		clone_close(s->call->log, s->dirfd, &r->clone);
}

static int
pool_line(void *arg, const char *p, size_t n, struct err *e)
{
	(void)p;
	(void)n;
	(void)e;
	++*(size_t *)arg;
	return 0;
}

/*
 * A snapshot of a server's dataset, and away again; under the lock, and after
 * what a killed check has left.
 */
static int
probe(struct snap *s, const char *dataset, struct err *e)
{
	char full[SNAP_FULL];
	const char *argv[] = { "zfs", "snapshot", full, NULL };
	int ret = -1;

	snprintf(full, sizeof(full), "%s@cala-check", dataset);
	if (snap_lock(s, e) == 0 &&
	    zfs_destroy(s->call->log, full, true, e) == 0 &&
	    zfs_do(s->call->log, argv, false, e) == 0)
		ret = zfs_destroy(s->call->log, full, true, e);
	snap_unlock(s);
	return ret;
}

static int
zt_check(struct snap *s, struct err *e)
{
	static const char *const pools[] = { "zfs", "list", "-H", "-d", "0",
	    "-t", "filesystem", "-o", "name", NULL };
	struct driver_call *call = s->call;
	struct conf_server srv;
	bool probed = false;
	size_t n = 0, i;
	char *dataset;
	int fd, ret = 0;

	if (zfs_ask(call->log, pools, pool_line, &n, e) == -1 || n == 0) {
		if (e->code == 0)
			err_set(e, CALA_NOTFOUND, "there is no ZFS pool");
		driver_say(call, "failed: ask zfs(8): %s", e->msg);
		return -1;
	}
	driver_say(call, "ok: zfs(8) works; %zu datasets", n);
	for (i = 0; ret == 0 && conf_server_nth(call->conf, i, &srv, e) == 0;
	    i++) {
		fd = open(srv.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		dataset = fd == -1 ? NULL : zfs_of(call->log, fd, e);
		if (dataset == NULL && fd != -1)
			driver_say(call, "note: %s: this disk can't take it: "
			    "%s", str_q(srv.name), e->msg);
		else if (dataset != NULL)
			driver_say(call, "ok: %s: %s is the dataset %s",
			    str_q(srv.name), str_q(srv.path), dataset);
		err_clear(e);
		if (dataset != NULL && !probed) {
			probed = true;
			ret = probe(s, dataset, e);
			driver_say(call, ret == 0 ? "ok: made a snapshot and "
			    "destroyed it" : "failed: make a snapshot: %s",
			    e->msg);
		}
		free(dataset);
		if (fd != -1)
			close(fd);
		conf_server_fini(&srv);
	}
	if (ret == 0)
		err_clear(e);
	if (!probed)
		driver_say(call, "note: no server in the configuration is a "
		    "dataset: no snapshot was tried");
	return ret;
}

static int
zt_sweep(struct snap *s, size_t *n, struct err *e)
{
	return clone_sweep(s->call->log, s->dirfd, s->call->dry_run, n, e);
}

const struct snap_kind snap_zfs = {
	.disk = "zfs", .sum_type = "zfs-snapshot",
	.volume = zt_volume, .nested = NULL, .each = zt_each,
	.stored = zt_stored, .facts = zt_facts, .memory = zt_memory,
	.before = zt_before, .create = zt_create, .sum = zt_sum,
	.intact = zt_intact, .remember = zt_remember, .hold = zt_hold,
	.removable = zt_removable, .destroy = zt_destroy, .open = zt_open,
	.close = zt_close, .check = zt_check, .sweep = zt_sweep,
	.send = snap_zfs_send, .arrive = snap_zfs_arrive,
	.arrived = snap_zfs_arrived, .depart = snap_zfs_depart,
	.rollback = snap_zfs_rollback,
};
