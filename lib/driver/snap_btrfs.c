/*
 * snap_btrfs: the disk btrfs: U/subvolume is a snapshot of V in the same file
 * system (Calagopus layout: btrfs).
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

#include "base/file.h"
#include "base/str.h"
#include "config/conf.h"
#include "snap/subvol.h"

static const char name[] = "subvolume";

static int
bt_volume(struct snap *s, struct snap_volume *v, struct err *e)
{
	const char *dir = s->call->dir;

	v->fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (v->fd == -1)
		return err_sys(e, "%s", str_q(dir));
	switch (subvol_root(v->fd)) {
	case 1:
		return 0;
	case 0:
		err_set(e, CALA_USAGE, "%s is a plain directory, not a Btrfs "
		    "subvolume", str_q(dir));
		break;
	default:
		err_set(e, CALA_USAGE, "%s is not on Btrfs", str_q(dir));
	}
	return err_hint(e, "with the server stopped: mv V V.old && btrfs "
	    "subvolume create V && cp -a --reflink=auto V.old/. V/");
}

struct inside {
	struct log *log;
	const struct match *match;
};

static int
inside(void *arg, const char *path, struct err *e)
{
	const struct inside *in = arg;

	(void)e;
	if (!snap_left_out(in->match, path))
		log_warn(in->log, "%s: a subvolume of its own: what it holds "
		    "is not in the snapshot", str_q(path));
	return 0;
}

static int
bt_nested(struct snap *s, struct snap_volume *v, const struct match *m,
    struct err *e)
{
	struct inside in = { s->call->log, m };

	return subvol_nested(v->fd, inside, &in, e);
}

/* U/subvolume as a descriptor; -1 with CALA_NOTFOUND. */
static int
open_snapshot(struct snap *s, const char *uuid, struct err *e)
{
	int dir, fd, saved;

	if ((dir = snap_folder(s, uuid, e)) == -1)
		return -1;
	fd = openat(dir, name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	saved = errno;
	close(dir);
	if (fd != -1 && subvol_root(fd) == 1)
		return fd;
	if (fd == -1 && saved != ENOENT && saved != ENOTDIR && saved != ELOOP) {
		errno = saved;
		return err_sys(e, "%s/%s", uuid, name);
	}
	if (fd != -1)
		close(fd);
	return err_set(e, CALA_NOTFOUND, "no backup %s", uuid);
}

static int
bt_stored(struct snap *s, const char *uuid, struct err *e)
{
	struct err own = ERR_INIT;
	int fd = open_snapshot(s, uuid, &own);

	if (fd != -1) {
		close(fd);
		return 1;
	}
	if (own.code == CALA_NOTFOUND)
		return 0;
	*e = own;
	return -1;
}

static int
bt_each(struct snap *s, int (*fn)(void *, const char *, struct err *),
    void *arg, struct err *e)
{
	char uuid[UUID_TEXT];
	struct dirent *d;
	int r, ret = 0;
	DIR *dp;

	if (s->dirfd == -1)
		return 0;
	if ((dp = file_list(s->dirfd)) == NULL)
		return err_sys(e, "read %s", str_q(s->path));
	errno = 0;
	while (ret == 0 && (d = readdir(dp)) != NULL) {
		/* Lower case only: nobody looks for another spelling. */
		if (uuid_norm(d->d_name, uuid) == 0 &&
		    strcmp(uuid, d->d_name) == 0) {
			if ((r = bt_stored(s, uuid, e)) == -1)
				ret = -1;
			else if (r == 1)
				ret = fn(arg, uuid, e);
		}
		errno = 0;
	}
	if (ret == 0 && errno != 0)
		ret = err_sys(e, "read %s", str_q(s->path));
	closedir(dp);
	return ret;
}

static int
info_of(struct snap *s, const char *uuid, struct subvol *sv, struct err *e)
{
	int fd = open_snapshot(s, uuid, e), ret;

	if (fd == -1)
		return -1;
	ret = subvol_info(fd, sv, e);
	close(fd);
	return ret;
}

/* Is the live volume in path the subvolume uuid? */
static bool
is_volume(const char *path, const char *uuid)
{
	struct err ignored = ERR_INIT;
	struct subvol sv;
	bool yes = false;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);

	if (fd == -1)
		return false;
	if (subvol_root(fd) == 1 && subvol_info(fd, &sv, &ignored) == 0)
		yes = strcmp(sv.uuid, uuid) == 0;
	close(fd);
	return yes;
}

/* Whose volume is it a snapshot of?  "" when no live one is its origin. */
static void
whose(struct snap *s, const char *parent, char out[UUID_TEXT])
{
	const char *volumes = conf_volumes(s->call->conf);
	struct err ignored = ERR_INIT;
	struct conf_server srv;
	char uuid[UUID_TEXT], *path;
	struct dirent *d;
	size_t i;
	DIR *dp;

	for (i = 0; *out == '\0' && conf_server_nth(s->call->conf, i, &srv,
	    &ignored) == 0; i++) {
		if (is_volume(srv.path, parent))
			memcpy(out, srv.uuid, UUID_TEXT);
		conf_server_fini(&srv);
	}
	if (*out != '\0' || (dp = opendir(volumes)) == NULL)
		return;
	while (*out == '\0' && (d = readdir(dp)) != NULL) {
		if (uuid_norm(d->d_name, uuid) == -1 ||
		    (path = str_join(volumes, d->d_name)) == NULL)
			continue;
		if (is_volume(path, parent))
			memcpy(out, uuid, UUID_TEXT);
		free(path);
	}
	closedir(dp);
}

static int
sum_text(const struct subvol *sv, struct record *rec, struct err *e)
{
	char text[UUID_TEXT + 24];

	snprintf(text, sizeof(text), "%" PRIu64 "-%s", sv->generation,
	    sv->uuid);
	if (record_set(&rec->sum_type, "btrfs-subvolume", e) == -1)
		return -1;
	return record_set(&rec->sum_value, text, e);
}

static int
bt_facts(struct snap *s, const char *uuid, struct record *rec, struct err *e)
{
	struct subvol sv;

	if (info_of(s, uuid, &sv, e) == -1 || sum_text(&sv, rec, e) == -1)
		return -1;
	rec->created = rec->completed = sv.created;
	if (sv.parent[0] != '\0')
		whose(s, sv.parent, rec->server);
	return 0;
}

static int
bt_memory(struct snap *s, const char *uuid, struct buf *b, struct err *e)
{
	(void)s;
	(void)uuid;
	(void)b;
	(void)e;
	return 0;
}

static int
bt_before(struct snap *s, struct snap_volume *v, int dir, struct err *e)
{
	(void)dir;
	if (subvol_same_fs(s->dirfd, v->fd))
		return 0;
	err_set(e, CALA_USAGE, "%s and %s are not on one Btrfs file system, "
	    "and a snapshot can't leave it", str_q(s->call->dir),
	    str_q(s->path));
	return err_hint(e, "set the configuration's backup-directory to a "
	    "directory on it");
}

static int
bt_create(struct snap *s, struct snap_volume *v, int dir,
    const struct record *rec, struct err *e)
{
	(void)rec;
	return subvol_snapshot(v->fd, dir, name, conf_bool(s->call->cfg,
	    "create-read-only"), e);
}

static int
bt_sum(struct snap *s, const char *uuid, struct record *rec, struct err *e)
{
	struct subvol sv;

	return info_of(s, uuid, &sv, e) == -1 ? -1 : sum_text(&sv, rec, e);
}

/*
 * "GENERATION-UUID": what was changed in it since has a higher number.  (Its own
 * generation is no proof: making a snapshot of it counts it up.)
 */
static int
bt_intact(struct snap *s, const char *uuid, const struct record *rec,
    struct err *e)
{
	struct subvol sv;
	const char *dash;
	char gen[24];
	uint64_t made;

	if (info_of(s, uuid, &sv, e) == -1)
		return -1;
	if (rec->sum_value == NULL || rec->foreign ||
	    (dash = strchr(rec->sum_value, '-')) == NULL)
		return 0;
	if (strcmp(dash + 1, sv.uuid) != 0)
		return err_set(e, CALA_INTEGRITY, "backup %s: its snapshot "
		    "was replaced: it is subvolume %s, not %s", uuid, sv.uuid,
		    str_q(dash + 1));
	snprintf(gen, sizeof(gen), "%.*s", (int)(dash - rec->sum_value),
	    rec->sum_value);
	if (str_u64(gen, 0, UINT64_MAX, &made) == -1 || sv.changed > made)
		return err_set(e, CALA_INTEGRITY, "backup %s: its snapshot "
		    "was written to since it was made", uuid);
	return 0;
}

static int
bt_remember(struct snap *s, const struct record *rec, struct err *e)
{
	(void)s;
	(void)rec;
	(void)e;
	return 0;
}

static int
bt_hold(struct snap *s, const char *uuid, bool on, struct err *e)
{
	int dir = snap_folder(s, uuid, e), ret = 0;

	if (dir == -1)
		return -1;
	if (subvol_guard(dir, on) == -1) {
		if (on && (errno == EPERM || errno == EOPNOTSUPP ||
		    errno == ENOTTY))
			log_note(s->call->log, "%s: locked for cala only: %s",
			    uuid, strerror(errno));
		else
			ret = err_sys(e, "%s: immutable attribute", uuid);
	}
	close(dir);
	return ret;
}

static int
bt_removable(struct snap *s, const char *uuid, struct err *e)
{
	struct subvol sv;
	int dir, ret = 0;

	if (info_of(s, uuid, &sv, e) == -1 ||
	    (dir = snap_folder(s, uuid, e)) == -1)
		return -1;
	if (sv.parent[0] == '\0' && sv.received[0] == '\0') {
		ret = err_set(e, CALA_FAIL, "%s/%s/%s is a subvolume, but "
		    "neither a snapshot nor received: it is not deleted",
		    str_q(s->path), uuid, name);
		err_hint(e, "btrfs subvolume delete removes it by hand");
	} else if (subvol_guarded(dir)) {
		ret = err_set(e, CALA_PROTECTED, "backup %s: its directory is "
		    "immutable", uuid);
		err_hint(e, "chattr -i %s/%s", str_q(s->path), uuid);
	}
	close(dir);
	return ret;
}

static int
bt_destroy(struct snap *s, const char *uuid, struct err *e)
{
	int dir = snap_folder(s, uuid, e), ret;

	if (dir == -1)
		return -1;
	ret = subvol_delete(dir, name, e);
	close(dir);
	return ret;
}

static int
bt_open(struct snap *s, const char *uuid, struct snap_root *r,
    struct err *e)
{
	r->fd = open_snapshot(s, uuid, e);
	return r->fd == -1 ? -1 : 0;
}

static void
bt_close(struct snap *s, struct snap_root *r)
{
	(void)s;
	if (r->fd != -1)
		close(r->fd);
	r->fd = -1;
}

/*
 * A subvolume, a snapshot of it, and both away again; under the lock, and after
 * what a killed check has left.
 */
static int
try_both(struct snap *s, struct err *e)
{
	static const char one[] = SNAP_PROBE, two[] = SNAP_PROBE "-2";
	size_t swept = 0;
	int fd, ret = -1;

	if (snap_btrfs_sweep(s, &swept, e) == -1 ||
	    subvol_create(s->dirfd, one, e) == -1)
		return -1;
	fd = openat(s->dirfd, one,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		err_sys(e, "%s", one);
	else if (subvol_snapshot(fd, s->dirfd, two, true, e) == 0)
		ret = subvol_delete(s->dirfd, two, e);
	if (fd != -1)
		close(fd);
	if (ret == 0)
		return subvol_delete(s->dirfd, one, e);
	(void)subvol_delete(s->dirfd, one, &(struct err)ERR_INIT);
	return -1;
}

static int
probe(struct snap *s, struct err *e)
{
	int ret = snap_lock(s, e) == -1 ? -1 : try_both(s, e);

	snap_unlock(s);
	return ret;
}

static void
check_server(struct snap *s, const struct conf_server *srv)
{
	struct driver_call *call = s->call;
	int fd = open(srv->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd == -1)
		return;
	if (subvol_root(fd) != 1)
		driver_say(call, "note: %s: %s is no subvolume: this disk "
		    "can't take it; put -s says how to convert it",
		    str_q(srv->name), str_q(srv->path));
	else if (!subvol_same_fs(fd, s->dirfd))
		driver_say(call, "note: %s: %s is on another file system",
		    str_q(srv->name), str_q(srv->path));
	else
		driver_say(call, "ok: %s: %s is a subvolume",
		    str_q(srv->name), str_q(srv->path));
	close(fd);
}

static int
bt_check(struct snap *s, struct err *e)
{
	struct driver_call *call = s->call;
	struct conf_server srv;
	size_t i;

	if (subvol_root(s->dirfd) == -1) {
		err_set(e, CALA_USAGE, "%s is not on Btrfs", str_q(s->path));
		driver_say(call, "failed: %s", e->msg);
		return err_hint(e, "set the configuration's backup-directory "
		    "to a directory on the file system of the volumes");
	}
	driver_say(call, "ok: it is on Btrfs");
	if (probe(s, e) == -1) {
		driver_say(call, "failed: make and delete a snapshot: %s",
		    e->msg);
		return -1;
	}
	driver_say(call, "ok: made a snapshot and deleted it");
	for (i = 0; conf_server_nth(call->conf, i, &srv, e) == 0; i++) {
		check_server(s, &srv);
		conf_server_fini(&srv);
	}
	err_clear(e);
	return 0;
}

const struct snap_kind snap_btrfs = {
	.disk = "btrfs", .sum_type = "btrfs-subvolume",
	.volume = bt_volume, .nested = bt_nested, .each = bt_each,
	.stored = bt_stored, .facts = bt_facts, .memory = bt_memory,
	.before = bt_before, .create = bt_create, .sum = bt_sum,
	.intact = bt_intact, .remember = bt_remember, .hold = bt_hold,
	.removable = bt_removable, .destroy = bt_destroy, .open = bt_open,
	.close = bt_close, .check = bt_check, .sweep = snap_btrfs_sweep,
	.send = snap_btrfs_send, .arrive = snap_btrfs_arrive,
	.arrived = snap_btrfs_arrived, .depart = snap_btrfs_depart,
	.rollback = snap_btrfs_rollback,
};
