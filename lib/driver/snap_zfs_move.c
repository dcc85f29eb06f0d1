/*
 * snap_zfs_move: sending, receiving and rolling back ZFS snapshots.
 *
 * What is received becomes the dataset RECEIVE-DATASET/backup-U (or a further
 * snapshot of the one that its base lies in), marked by the user property
 * cala:received: nothing else is ever received into, or destroyed.
 */

#include "driver/snap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/io.h"
#include "base/str.h"
#include "base/when.h"
#include "config/conf.h"
#include "config/inside.h"
#include "driver/dirs.h"
#include "snap/mounts.h"
#include "snap/stream.h"
#include "snap/zfs.h"

#define BEGIN_MAGIC 0x2F5bacbacULL      /* of a stream's first record */

int
snap_zfs_send(struct snap *s, const char *uuid, const char *base,
    struct sink *to, struct err *e)
{
	const char *argv[] = { "zfs", "send", NULL, NULL, NULL, NULL };
	static const char *const env[] = { "LC_ALL=C", NULL };
	char full[SNAP_FULL], from[SNAP_FULL], text[PROC_TEXT];
	unsigned char end[STREAM_TRAILER];
	struct proc_spec spec = PROC_SPEC_INIT;
	struct proc p;
	int fds[2], i = 2, ret;

	if (snap_zfs_full(s, uuid, full, e) == -1)
		return -1;
	if (*base != '\0') {
		if (snap_zfs_full(s, base, from, e) == -1)
			return -1;
		argv[i++] = "-i";
		argv[i++] = from;
	}
	argv[i] = full;
	if (pipe2(fds, O_CLOEXEC) == -1)
		return err_sys(e, "pipe");
	spec.argv = argv;
	spec.env = env;
	spec.fd[1] = fds[1];
	spec.group = true;
	ret = proc_start(&p, &spec, e);
	close(fds[1]);
	if (ret == 0 && (ret = stream_out(fds[0], to, end, e)) == 0 &&
	    (ret = proc_wait(&p, 1, -1, e)) == 0 && p.status != 0)
		ret = err_set(e, CALA_FAIL, "zfs send: %s",
		    proc_says(&p, text));
	close(fds[0]);
	if (p.pid != 0 && !p.done)
		proc_end(&p, 1, 10);
	return ret == 0 && s->call->trailer ?
	    sink_write(to, end, sizeof(end), e) : ret;
}

/* Snapshots of one dataset, oldest first; those behind name are newer. */
struct newer {
	const char *name;
	bool found;
	char **v;
	size_t n;
};

static int
on_snapshot(void *ctx, const char *p, size_t n, struct err *e)
{
	struct newer *w = ctx;
	char **more;

	if (n == strlen(w->name) && memcmp(p, w->name, n) == 0) {
		w->found = true;
		return 0;
	}
	if (!w->found)
		return 0;
	more = reallocarray(w->v, w->n + 1, sizeof(*w->v));
	if (more == NULL)
		return err_oom(e);
	w->v = more;
	if ((w->v[w->n] = str_ndup(p, n)) == NULL)
		return err_oom(e);
	w->n++;
	return 0;
}

static int
newer_than(struct snap *s, const char *dataset, struct newer *w,
    struct err *e)
{
	/* Not by time of creation: clocks are set back. */
	const char *argv[] = { "zfs", "list", "-H", "-r", "-d", "1", "-t",
	    "snapshot", "-o", "name", "-s", "createtxg", dataset, NULL };

	return zfs_ask(s->call->log, argv, on_snapshot, w, e);
}

static void
newer_fini(struct newer *w)
{
	size_t i;

	for (i = 0; i < w->n; i++)
		free(w->v[i]);
	free(w->v);
}

/* ---- receive ---- */

struct search {
	const char *guid;
	char *full;
};

/* "NAME\tGUID" */
static int
on_guid(void *ctx, const char *p, size_t n, struct err *e)
{
	struct search *w = ctx;
	const char *tab = memchr(p, '\t', n);

	if (tab == NULL || w->full != NULL ||
	    n - (size_t)(tab - p) - 1 != strlen(w->guid) ||
	    memcmp(tab + 1, w->guid, strlen(w->guid)) != 0 ||
	    memchr(p, '@', (size_t)(tab - p)) == NULL)
		return 0;
	w->full = str_ndup(p, (size_t)(tab - p));
	return w->full == NULL ? err_oom(e) : 0;
}

static bool
received(struct snap *s, const char *dataset, struct err *e)
{
	struct buf b;
	int r;

	buf_init(&b, 4096);
	r = zfs_get(s->call->log, dataset, "cala:received", &b, e);
	buf_fini(&b);
	return r == 0;
}

/*
 * With -F some versions destroy what is newer than the snapshot that a stream
 * continues.  Those are backups.
 */
static int
is_newest(struct snap *s, const char *dataset, const char *full,
    struct err *e)
{
	struct newer w = { full, false, NULL, 0 };
	int ret = newer_than(s, dataset, &w, e);

	if (ret == 0 && w.n > 0) {
		ret = err_set(e, CALA_USAGE, "the stream continues %s, but %s "
		    "is newer: nothing stored", str_q(full), str_q(w.v[0]));
		err_hint(e, "send it with --base of the newest one here, or "
		    "whole");
	}
	newer_fini(&w);
	return ret;
}

/* The dataset of the snapshot that an incremental stream begins with. */
static int
base_of(struct snap *s, struct snap_arrival *a, const char *parent,
    uint64_t guid, struct err *e)
{
	const char *argv[] = { "zfs", "get", "-H", "-p", "-r", "-o",
	    "name,value", "guid", parent, NULL };
	char text[24];
	struct search w = { text, NULL };
	int ret = -1;

	snprintf(text, sizeof(text), "%" PRIu64, guid);
	if (zfs_ask(s->call->log, argv, on_guid, &w, e) == -1)
		goto out;
	if (w.full == NULL) {
		err_set(e, CALA_NOTFOUND, "the stream continues a snapshot "
		    "that is not in %s: receive that first", str_q(parent));
		goto out;
	}
	if ((a->dataset = str_ndup(w.full, strcspn(w.full, "@"))) == NULL) {
		err_oom(e);
		goto out;
	}
	if (!zfs_dataset_ok(a->dataset) || !received(s, a->dataset, e)) {
		if (e->code == 0)
			err_set(e, CALA_USAGE, "%s was not received: it is "
			    "left alone", str_q(a->dataset));
		goto out;
	}
	ret = is_newest(s, a->dataset, w.full, e);
out:
	free(w.full);
	return ret;
}

/* What is there already is not ours to remove again. */
static int
unused(struct snap *s, struct snap_arrival *a, struct err *e)
{
	struct buf b;
	int r;

	buf_init(&b, 4096);
	r = zfs_get(s->call->log, a->dataset, "type", &b, e);
	buf_fini(&b);
	if (r != -1)
		return err_set(e, CALA_EXISTS, "there is a dataset %s already",
		    str_q(a->dataset));
	if (e->code != CALA_NOTFOUND)
		return -1;
	err_clear(e);
	a->fresh = true;
	return 0;
}

static int
target(struct snap *s, struct snap_arrival *a, struct err *e)
{
	const char *parent = conf_get(s->call->cfg, "receive-dataset");
	const unsigned char *p = a->start;
	uint64_t from, magic;
	bool le;

	if (parent == NULL) {
		err_set(e, CALA_USAGE, "no receive-dataset in configuration "
		    "'%s'", str_q(s->call->configuration));
		return err_hint(e, "zfs create -o canmount=off POOL/received, "
		    "and name it there");
	}
	if (!zfs_dataset_ok(parent))
		return err_set(e, CALA_USAGE, "receive-dataset: '%s' is no "
		    "dataset's name", str_q(parent));
	magic = a->nstart < 64 ? 0 : get_le64(p + 8);
	le = magic == BEGIN_MAGIC;
	if (!le && __builtin_bswap64(magic) != BEGIN_MAGIC)
		return err_set(e, CALA_INCOMPLETE, "the input is no stream of "
		    "zfs send; nothing stored");
	from = get_le64(p + 48);
	if (from != 0)
		return base_of(s, a, parent, le ? from :
		    __builtin_bswap64(from), e);
	if (asprintf(&a->dataset, "%s/" ZFS_BACKUP "%s", parent,
	    s->call->record->uuid) == -1) {
		a->dataset = NULL;
		return err_oom(e);
	}
	if (!zfs_dataset_ok(a->dataset))
		return err_set(e, CALA_USAGE, "receive-dataset: '%s' is too "
		    "long", str_q(parent));
	return unused(s, a, e);
}

/* Whoever receives U holds its folder. */
static int
hold_folder(struct snap *s, struct snap_arrival *a, struct err *e)
{
	const char *uuid = s->call->record->uuid;

	if (a->dir != -1)
		close(a->dir);
	if ((a->dir = snap_folder(s, uuid, e)) == -1)
		return -1;
	if (flock(a->dir, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return err_set(e, CALA_LOCKED, "backup %s is being received by "
	    "somebody else", uuid);
}

/* U/ and its files are there before the snapshot is. */
static int
folder(struct snap *s, struct snap_arrival *a, struct err *e)
{
	struct record *rec = s->call->record;
	struct snap_volume v = { -1, a->dataset };
	int ret = -1;

	if (snap_lock(s, e) == -1)
		return -1;
	if (faccessat(s->dirfd, rec->uuid, F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
	    hold_folder(s, a, e) == -1)
		goto out;
	/* Somebody may have been faster. */
	snap_zfs_forget(s);
	if (s->kind->stored(s, rec->uuid, e) != 0) {
		if (e->code == 0)
			err_set(e, CALA_EXISTS, "backup %s exists already",
			    rec->uuid);
		goto out;
	}
	if (mkdirat(s->dirfd, rec->uuid, 0700) == -1 && (errno != EEXIST ||
	    snap_clear(s, rec->uuid, e) == -1 ||
	    mkdirat(s->dirfd, rec->uuid, 0700) == -1)) {
		if (e->code == 0)
			err_sys(e, "%s/%s", str_q(s->path), rec->uuid);
		goto out;
	}
	if (hold_folder(s, a, e) == -1)
		goto out;
	snprintf(a->temp, sizeof(a->temp), "%s", rec->uuid);
	if (snap_write_rules(a->dir, a->match, e) == -1 ||
	    s->kind->before(s, &v, a->dir, e) == -1 ||
	    snap_write(a->dir, rec, e) == -1)
		goto out;
	ret = fsync(s->dirfd) == -1 ? err_sys(e, "sync %s", str_q(s->path)) :
	    0;
out:
	snap_unlock(s);
	return ret;
}

int
snap_zfs_arrive(struct snap *s, struct snap_arrival *a, struct err *e)
{
	const char *argv[] = { "zfs", "receive", NULL, NULL, NULL };
	char full[SNAP_FULL];
	int i = 2;

	if (target(s, a, e) == -1 || folder(s, a, e) == -1)
		return -1;
	snprintf(full, sizeof(full), "%s@" ZFS_BACKUP "%s", a->dataset,
	    s->call->record->uuid);
	/* It was mounted, perhaps, and its access times have changed. */
	if (!a->fresh)
		argv[i++] = "-F";
	argv[i] = full;
	return snap_child(a, argv, e);
}

static int
mark(struct snap *s, const char *dataset, struct err *e)
{
	static const char *const what[] = { "cala:received=yes",
	    "canmount=noauto", "readonly=on" };
	const char *down[] = { "zfs", "unmount", dataset, NULL };
	size_t i;

	for (i = 0; i < sizeof(what) / sizeof(*what); i++) {
		const char *argv[] = { "zfs", "set", what[i], dataset, NULL };

		if (zfs_do(s->call->log, argv, true, e) == -1)
			return -1;
	}
	(void)zfs_do(s->call->log, down, true, &(struct err)ERR_INIT);
	return 0;
}

int
snap_zfs_arrived(struct snap *s, struct snap_arrival *a, struct err *e)
{
	struct record *rec = s->call->record;
	struct snap_root root = { -1, CLONE_INIT };
	int ret;

	snap_zfs_forget(s);
	if ((a->fresh && mark(s, a->dataset, e) == -1) ||
	    s->kind->open(s, rec->uuid, &root, e) == -1)
		return -1;
	ret = snap_count(s, a->match, root.fd, rec, e);
	s->kind->close(s, &root);
	rec->completed = when_now();
	if (ret == -1 || dirs_warned(s->call, e) == -1 ||
	    s->kind->sum(s, rec->uuid, rec, e) == -1 ||
	    snap_lock(s, e) == -1)
		return -1;
	if (snap_save(s, rec, e) == 0 && s->kind->remember(s, rec, e) == 0 &&
	    (!rec->locked || s->kind->hold(s, rec->uuid, true, e) == 0))
		a->done = true;
	snap_unlock(s);
	return a->done ? 0 : -1;
}

void
snap_zfs_depart(struct snap *s, struct snap_arrival *a)
{
	struct err e = ERR_INIT;
	char full[SNAP_FULL];

	if (!a->done && a->proc.pid != 0) {
		snprintf(full, sizeof(full), "%s@" ZFS_BACKUP "%s", a->dataset,
		    s->call->record->uuid);
		if (zfs_destroy(s->call->log, full, true, &e) == -1 ||
		    (a->fresh && zfs_destroy(s->call->log, a->dataset, true,
		    &e) == -1))
			log_warn(s->call->log, "%s stays: %s", str_q(full),
			    e.msg);
	}
	if (!a->done && a->temp[0] != '\0')
		(void)snap_clear(s, a->temp, &e);
	if (a->dir != -1)
		close(a->dir);
	a->dir = -1;
	free(a->dataset);
	a->dataset = NULL;
}

static int
any_line(void *arg, const char *p, size_t n, struct err *e)
{
	(void)p;
	(void)n;
	(void)e;
	++*(size_t *)arg;
	return 0;
}

int
snap_zfs_clean(struct snap *s, const char *dataset, struct err *e)
{
	const char *argv[] = { "zfs", "list", "-H", "-r", "-t", "snapshot",
	    "-o", "name", dataset, NULL };
	size_t n = 0;

	if (!received(s, dataset, e))
		return e->code != 0 ? -1 : 0;
	if (zfs_ask(s->call->log, argv, any_line, &n, e) == -1)
		return -1;
	return n > 0 ? 0 : zfs_destroy(s->call->log, dataset, true, e);
}

/* ---- rollback ---- */

/* May each of them be lost?  Not one that somebody holds or has locked. */
static int
may_lose(struct snap *s, const struct newer *w, struct err *e)
{
	const char *at;
	char uuid[UUID_TEXT];
	struct record rec;
	bool locked;
	struct buf b;
	size_t i;
	int ret = 0, r;

	if (w->n > 0 && !s->call->discard_newer) {
		err_set(e, CALA_PROTECTED, "%zu newer snapshots would be "
		    "lost, the first of them %s", w->n, str_q(w->v[0]));
		return err_hint(e, "--discard-newer loses them; restore does "
		    "not");
	}
	buf_init(&b, 4096);
	for (i = 0; ret == 0 && i < w->n; i++) {
		if ((ret = zfs_get(s->call->log, w->v[i], "userrefs", &b,
		    e)) == -1)
			break;
		ret = 0;
		if (strcmp(b.p, "0") != 0 && strcmp(b.p, "-") != 0)
			ret = err_set(e, CALA_PROTECTED, "the newer snapshot "
			    "%s is held", str_q(w->v[i]));
		at = strchr(w->v[i], '@');
		if (ret == -1 || at == NULL ||
		    !str_begins(at + 1, ZFS_BACKUP) ||
		    uuid_norm(at + 1 + strlen(ZFS_BACKUP), uuid) == -1)
			continue;
		if ((r = snap_recorded(s, uuid, &rec, e)) == -1) {
			ret = -1;
		} else if (r == 1) {
			locked = rec.locked;
			record_fini(&rec);
			if (locked)
				ret = err_set(e, CALA_PROTECTED, "the newer "
				    "backup %s is locked", uuid);
		}
	}
	buf_fini(&b);
	return ret;
}

static int
clear_lost(struct snap *s, const struct newer *w, struct err *e)
{
	char uuid[UUID_TEXT];
	const char *at;
	size_t i;

	snap_zfs_forget(s);
	for (i = 0; i < w->n; i++) {
		at = strchr(w->v[i], '@');
		if (at != NULL && str_begins(at + 1, ZFS_BACKUP) &&
		    uuid_norm(at + 1 + strlen(ZFS_BACKUP), uuid) == 0 &&
		    s->kind->stored(s, uuid, e) == 0 &&
		    snap_clear(s, uuid, e) == -1)
			return -1;
	}
	return 0;
}

struct above {
	struct driver_call *call;
	const char *path;
};

static int
stays(void *arg, const struct mount_at *m, struct err *e)
{
	const struct above *a = arg;

	(void)e;
	if (mount_below(m, a->path))
		driver_say(a->call, "note: %s is another dataset or file "
		    "system: it stays as it is", str_q(m->path));
	return 0;
}

/*
 * What lies in the dataset goes back with it, and nothing brings it back:
 * backups must not be there.
 */
static int
contents(struct snap *s, const char *dataset, struct err *e)
{
	struct above a = { s->call, NULL };
	char *path = zfs_mountpoint(dataset, e);
	int fd, ret = -1;

	if (path == NULL) {
		/* Nobody keeps anything in what is not mounted. */
		if (e->code != CALA_NOTFOUND)
			return -1;
		err_clear(e);
		return 0;
	}
	a.path = path;
	if ((fd = file_opendir(AT_FDCWD, path, e)) == -1)
		goto out;
	ret = inside_none_of(s->call->conf, fd, e);
	close(fd);
	if (ret == 0)
		ret = mounts_each(stays, &a, e);
	else if (e->code == CALA_USAGE)
		err_hint(e, "move them out of %s first (backup-directory)",
		    str_q(path));
out:
	free(path);
	return ret;
}

int
snap_zfs_rollback(struct snap *s, const struct record *rec, struct err *e)
{
	char full[SNAP_FULL], dataset[SNAP_FULL];
	const char *back[] = { "zfs", "rollback", full, NULL, NULL };
	struct newer w = { full, false, NULL, 0 };
	int ret = -1;

	if (snap_zfs_full(s, rec->uuid, full, e) == -1)
		return -1;
	memcpy(dataset, full, sizeof(dataset));
	dataset[strcspn(dataset, "@")] = '\0';
	if (received(s, dataset, e) || e->code != 0) {
		if (e->code == 0)
			err_set(e, CALA_USAGE, "backup %s was received: "
			    "restore from it", rec->uuid);
		return -1;
	}
	if (contents(s, dataset, e) == -1 ||
	    newer_than(s, dataset, &w, e) == -1 || may_lose(s, &w, e) == -1)
		goto out;
	if (s->call->dry_run) {
		driver_say(s->call, "would roll %s back to %s, losing %zu "
		    "newer snapshots", dataset, full, w.n);
		ret = 0;
		goto out;
	}
	if (w.n > 0) {
		back[2] = "-r";
		back[3] = full;
	}
	if (zfs_do(s->call->log, back, true, e) == -1)
		goto out;
	driver_say(s->call, "done; %zu newer snapshots are gone", w.n);
	ret = clear_lost(s, &w, e);
out:
	newer_fini(&w);
	return ret;
}
