/*
 * snap_btrfs_move: sending, receiving and rolling back Btrfs snapshots.
 */

#include "driver/snap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/io.h"
#include "base/str.h"
#include "base/when.h"
#include "config/conf.h"
#include "config/inside.h"
#include "driver/dirs.h"
#include "snap/mounts.h"
#include "snap/source.h"
#include "snap/stream.h"
#include "snap/subvol.h"

#define RECV ".cala-recv-"

static const char name[] = "subvolume";

enum {
	STREAM_HEAD = 17,       /* "btrfs-stream", NUL, version */
	COMMAND_HEAD = 10,      /* length, command, CRC-32C */
	COMMAND_SNAPSHOT = 2,   /* a stream that begins so needs its parent */
	STALE = 3600
};

static int
open_in(int dir, const char *what)
{
	return openat(dir, what,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int
open_backup(struct snap *s, const char *uuid, struct err *e)
{
	int dir = snap_folder(s, uuid, e), fd;

	if (dir == -1)
		return -1;
	if ((fd = open_in(dir, name)) == -1)
		err_sys(e, "%s/%s", uuid, name);
	close(dir);
	return fd;
}

/* ---- send ---- */

/* The kernel writes into a pipe until it is done: on a thread of its own. */
struct sending {
	int fd, out;
	uint64_t parent;
	int ret;
	struct err e;
};

static void *
sender(void *arg)
{
	struct sending *t = arg;

	t->ret = subvol_send(t->fd, t->parent, t->out, &t->e);
	close(t->out);
	return NULL;
}

static int
run_sender(struct sending *t, int in, struct sink *to, bool trailer,
    struct err *e)
{
	unsigned char end[STREAM_TRAILER];
	sigset_t all, old;
	pthread_t id;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&id, NULL, sender, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ret != 0) {
		close(t->out);
		close(in);
		return err_set(e, CALA_FAIL, "start a thread: %s",
		    strerror(ret));
	}
	ret = stream_out(in, to, end, e);
	close(in);
	pthread_join(id, NULL);
	if (ret == 0 && t->ret == -1) {
		*e = t->e;
		return -1;
	}
	/* Only now: it must not follow what the kernel gave up. */
	return ret == 0 && trailer ? sink_write(to, end, sizeof(end), e) : ret;
}

int
snap_btrfs_send(struct snap *s, const char *uuid, const char *base,
    struct sink *to, struct err *e)
{
	struct sending t;
	struct subvol sv;
	int fd = -1, from = -1, p[2], ret = -1;

	memset(&t, 0, sizeof(t));
	if ((fd = open_backup(s, uuid, e)) == -1 ||
	    subvol_info(fd, &sv, e) == -1)
		goto out;
	if (!sv.readonly) {
		err_set(e, CALA_USAGE, "backup %s is a writable snapshot: "
		    "only read-only ones can be sent", uuid);
		goto out;
	}
	if (*base != '\0') {
		if ((from = open_backup(s, base, e)) == -1 ||
		    subvol_info(from, &sv, e) == -1)
			goto out;
		t.parent = sv.id;
	}
	if (pipe2(p, O_CLOEXEC) == -1) {
		err_sys(e, "pipe");
		goto out;
	}
	t.fd = fd;
	t.out = p[1];
	ret = run_sender(&t, p[0], to, s->call->trailer, e);
out:
	if (fd != -1)
		close(fd);
	if (from != -1)
		close(from);
	return ret;
}

/* ---- receive ---- */

/*
 * btrfs receive follows the paths in the stream.  Confined to its folder it
 * can't leave it, but neither can it find the parent of an incremental one.
 */
static int
confine(const struct snap_arrival *a, bool *yes, struct err *e)
{
	const unsigned char *p = a->start;

	if (a->nstart < STREAM_HEAD + COMMAND_HEAD ||
	    memcmp(p, "btrfs-stream", 13) != 0)
		return err_set(e, CALA_INCOMPLETE, "the input is no stream of "
		    "btrfs send; nothing stored");
	*yes = get_le16(p + STREAM_HEAD + 4) != COMMAND_SNAPSHOT;
	return 0;
}

int
snap_btrfs_arrive(struct snap *s, struct snap_arrival *a, struct err *e)
{
	const char *argv[] = { "btrfs", "receive", "-e", NULL, NULL, NULL };
	bool confined = true;
	char *path;
	unsigned id;
	int ret;

	if (confine(a, &confined, e) == -1)
		return -1;
	if (subvol_root(s->dirfd) == -1)
		return err_set(e, CALA_USAGE, "%s is not on Btrfs",
		    str_q(s->path));
	if (getrandom(&id, sizeof(id), 0) != sizeof(id))
		return err_sys(e, "get randomness");
	snprintf(a->temp, sizeof(a->temp), RECV "%08x", id);
	if (mkdirat(s->dirfd, a->temp, 0700) == -1 ||
	    (a->dir = open_in(s->dirfd, a->temp)) == -1 ||
	    flock(a->dir, LOCK_EX | LOCK_NB) == -1)
		return err_sys(e, "%s/%s", str_q(s->path), a->temp);
	if ((path = str_join(s->path, a->temp)) == NULL)
		return err_oom(e);
	argv[3] = confined ? "-C" : path;
	argv[4] = confined ? path : NULL;
	if (!confined)
		log_step(s->call->log, "an incremental stream: btrfs receive "
		    "is not confined to its directory");
	ret = snap_child(a, argv, e);
	free(path);
	return ret;
}

/* Each subvolume in the folder, and how many things there are in all. */
static int
contents(int dir, char *out, size_t room, size_t *n, struct err *e)
{
	const struct dirent *d;
	DIR *dp = file_list(dir);

	if (dp == NULL)
		return err_sys(e, "read what was received");
	*n = 0;
	while ((d = readdir(dp)) != NULL)
		if (strcmp(d->d_name, ".") != 0 &&
		    strcmp(d->d_name, "..") != 0) {
			snprintf(out, room, "%s", d->d_name);
			++*n;
		}
	closedir(dp);
	return 0;
}

/* The one subvolume, read-only and received, under its name. */
static int
accept_one(struct snap_arrival *a, struct subvol *sv, struct err *e)
{
	char got[NAME_MAX + 1];
	size_t n;
	int fd, ret = -1;

	if (contents(a->dir, got, sizeof(got), &n, e) == -1)
		return -1;
	if (n != 1)
		return err_set(e, CALA_INTEGRITY, "the stream holds %zu "
		    "subvolumes, not one; nothing stored", n);
	if ((fd = open_in(a->dir, got)) == -1)
		return err_sys(e, "what was received");
	if (subvol_root(fd) != 1 || subvol_info(fd, sv, e) == -1 ||
	    !sv->readonly || sv->received[0] == '\0')
		err_set(e, CALA_INTEGRITY, "the stream ended before its "
		    "subvolume was complete; nothing stored");
	else if (strcmp(got, name) != 0 && renameat(a->dir, got, a->dir,
	    name) == -1)
		err_sys(e, "rename what was received");
	else
		ret = fd;
	if (ret == -1)
		close(fd);
	return ret;
}

int
snap_btrfs_arrived(struct snap *s, struct snap_arrival *a, struct err *e)
{
	struct record *rec = s->call->record;
	char text[UUID_TEXT + 24];
	struct subvol sv;
	int fd, ret = -1;

	if ((fd = accept_one(a, &sv, e)) == -1)
		return -1;
	/* Its numbers are final when it is on the disk. */
	if (syncfs(a->dir) == -1) {
		err_sys(e, "sync %s", str_q(s->path));
		goto out;
	}
	if (subvol_info(fd, &sv, e) == -1)
		goto out;
	if (sv.generation < sv.changed)
		sv.generation = sv.changed;
	snprintf(text, sizeof(text), "%" PRIu64 "-%s", sv.generation, sv.uuid);
	rec->completed = when_now();
	if (snap_count(s, a->match, fd, rec, e) == -1 ||
	    dirs_warned(s->call, e) == -1 ||
	    record_set(&rec->sum_type, s->kind->sum_type, e) == -1 ||
	    record_set(&rec->sum_value, text, e) == -1 ||
	    snap_write_rules(a->dir, a->match, e) == -1 ||
	    snap_write(a->dir, rec, e) == -1)
		goto out;
	if (syncfs(a->dir) == -1) {
		err_sys(e, "sync %s", str_q(s->path));
		goto out;
	}
	/* The commit; a folder of that name may be a deletion's remains. */
	if (snap_lock(s, e) == -1)
		goto out;
	if (s->kind->stored(s, rec->uuid, e) == 0 &&
	    snap_clear(s, rec->uuid, e) == 0) {
		if (renameat2(s->dirfd, a->temp, s->dirfd, rec->uuid,
		    RENAME_NOREPLACE) == -1)
			err_sys(e, "backup %s", rec->uuid);
		else
			a->done = true;
	} else if (e->code == 0) {
		err_set(e, CALA_EXISTS, "backup %s exists already", rec->uuid);
	}
	if (!a->done)
		goto out;
	if (fsync(s->dirfd) == -1)
		err_sys(e, "sync %s", str_q(s->path));
	else
		ret = rec->locked ? s->kind->hold(s, rec->uuid, true, e) : 0;
out:
	snap_unlock(s);
	close(fd);
	return ret;
}

/* A folder of ours with what was received in it so far. */
static int
drop(int dirfd, const char *temp, int dir, struct err *e)
{
	char got[NAME_MAX + 1];
	size_t n;
	int fd;

	for (;;) {
		if (contents(dir, got, sizeof(got), &n, e) == -1)
			return -1;
		if (n == 0)
			break;
		if ((fd = open_in(dir, got)) != -1 && subvol_root(fd) == 1) {
			close(fd);
			if (subvol_delete(dir, got, e) == -1)
				return -1;
			continue;
		}
		if (fd != -1)
			close(fd);
		if (unlinkat(dir, got, 0) == -1)
			return err_sys(e, "remove %s", str_q(got));
	}
	if (unlinkat(dirfd, temp, AT_REMOVEDIR) == -1)
		return err_sys(e, "remove %s", str_q(temp));
	return 0;
}

void
snap_btrfs_depart(struct snap *s, struct snap_arrival *a)
{
	struct err e = ERR_INIT;

	if (a->dir == -1)
		return;
	if (!a->done && drop(s->dirfd, a->temp, a->dir, &e) == -1)
		log_warn(s->call->log, "%s stays until the next run: %s",
		    a->temp, e.msg);
	close(a->dir);
	a->dir = -1;
}

/* Of a check that was killed; one that is at work holds the lock. */
static int
drop_probe(struct snap *s, const char *probe, size_t *n, struct err *e)
{
	int fd, is;

	if (s->lock == -1 || (fd = open_in(s->dirfd, probe)) == -1)
		return 0;
	is = subvol_root(fd);
	close(fd);
	if (is != 1)
		return 0;
	++*n;
	return s->call->dry_run ? 0 : subvol_delete(s->dirfd, probe, e);
}

int
snap_btrfs_sweep(struct snap *s, size_t *n, struct err *e)
{
	DIR *dp = file_list(s->dirfd);
	const struct dirent *d;
	int dir, ret = 0;

	if (dp == NULL)
		return err_sys(e, "read %s", str_q(s->path));
	while (ret == 0 && (d = readdir(dp)) != NULL) {
		if (str_begins(d->d_name, SNAP_PROBE)) {
			ret = drop_probe(s, d->d_name, n, e);
			continue;
		}
		if (!str_begins(d->d_name, RECV) ||
		    (dir = open_in(s->dirfd, d->d_name)) == -1)
			continue;
		/* Its receiver holds the lock while it lives. */
		if (flock(dir, LOCK_EX | LOCK_NB) == 0) {
			++*n;
			if (!s->call->dry_run)
				ret = drop(s->dirfd, d->d_name, dir, e);
		}
		close(dir);
	}
	closedir(dp);
	return ret;
}

/* ---- rollback ---- */

static int
inside(void *arg, const char *path, struct err *e)
{
	(void)arg;
	err_set(e, CALA_USAGE, "%s is a subvolume of its own: it would stay "
	    "behind in the old tree", str_q(path));
	return 1;
}

/* Btrfs would detach it when the old tree is deleted. */
static int
no_mount(void *arg, const struct mount_at *m, struct err *e)
{
	if (!mount_below(m, arg))
		return 0;
	err_set(e, CALA_USAGE, "%s is mounted there: it would go with the old "
	    "tree", str_q(m->path));
	err_hint(e, "unmount it first");
	return -1;
}

/*
 * The copy is made under the name that the old tree then has: one step, and a
 * run that is killed before or after it leaves nothing in the way.
 */
static int
swap(struct snap *s, int from, int up, const char *base, struct err *e)
{
	char old[SOURCE_NAME];

	if (source_aside(s->call->server, old, e) == -1 ||
	    subvol_snapshot(from, up, old, false, e) == -1)
		return -1;
	if (renameat2(up, old, up, base, RENAME_EXCHANGE) == -1) {
		err_sys(e, "exchange the volume");
		if (errno == EBUSY)
			err_hint(e, "it is mounted somewhere, by a running "
			    "container perhaps: stop that first, or restore");
		(void)subvol_delete(up, old, &(struct err)ERR_INIT);
		return -1;
	}
	driver_say(s->call, "done; the old tree is the subvolume %s beside it: "
	    "cala restore --discard-old %s removes it", old, s->call->server);
	return syncfs(up) == -1 ? err_sys(e, "sync what was exchanged") : 0;
}

/*
 * Backups without a record are known to be this server's by the subvolume that
 * they were made of, which goes: write down whose they are.
 */
static int
remember_whose(void *arg, const char *uuid, struct err *e)
{
	struct snap *s = arg;
	struct record rec;
	int ret = 0;

	if (snap_recorded(s, uuid, &rec, e) == 0) {
		if (snap_record(s, uuid, &rec, e) == -1)
			return -1;
		if (strcmp(rec.server, s->call->server) == 0)
			ret = snap_save(s, &rec, e);
	} else if (e->code != 0) {
		/* list has a warning for it; it is not in our way. */
		err_clear(e);
		return 0;
	}
	record_fini(&rec);
	return ret;
}

int
snap_btrfs_rollback(struct snap *s, const struct record *rec, struct err *e)
{
	char *path = NULL, *base;
	struct conf_server srv;
	int fd = -1, up = -1, from = -1, ret = -1;

	if (conf_server(s->call->conf, s->call->server, &srv, e) == -1)
		return -1;
	if ((fd = file_opendir(AT_FDCWD, srv.path, e)) == -1 ||
	    (path = mounts_path(fd, e)) == NULL)
		goto out;
	if (subvol_root(fd) != 1) {
		err_set(e, CALA_USAGE, "%s is no Btrfs subvolume",
		    str_q(srv.path));
		goto out;
	}
	if (inside_none_of(s->call->conf, fd, e) == -1) {
		if (e->code == CALA_USAGE)
			err_hint(e, "move them out of %s first "
			    "(backup-directory)", str_q(path));
		goto out;
	}
	if (subvol_nested(fd, inside, NULL, e) != 0 ||
	    mounts_each(no_mount, path, e) != 0)
		goto out;
	base = strrchr(path, '/');
	up = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (up == -1 || !subvol_same_fs(up, s->dirfd)) {
		err_set(e, CALA_USAGE, "%s is mounted by itself, and can't be "
		    "exchanged; restore instead", str_q(path));
		goto out;
	}
	if ((from = open_backup(s, rec->uuid, e)) == -1)
		goto out;
	if (s->call->dry_run) {
		driver_say(s->call, "would put a copy of backup %s in the "
		    "place of %s", rec->uuid, str_q(path));
		ret = 0;
		goto out;
	}
	if (s->kind->each(s, remember_whose, s, e) == 0)
		ret = swap(s, from, up, base + 1, e);
out:
	if (fd != -1)
		close(fd);
	if (up != -1)
		close(up);
	if (from != -1)
		close(from);
	free(path);
	conf_server_fini(&srv);
	return ret;
}
