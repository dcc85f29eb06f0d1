/* kopia_care: is the server fit for backups, is a backup fit for a restore. */

#include "driver/kopia.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/str.h"
#include "config/conf.h"
#include "driver/stored.h"
#include "exec/child.h"
#include "fs/extract.h"

enum { PROBE = 64 << 10 };

static int
count(void *arg, const struct kopia_snap *s, struct err *e)
{
	(void)e;
	if (!s->incomplete)
		++*(size_t *)arg;
	return 0;
}

/* ---- check ---- */

struct probe {
	struct driver_call *call;
	struct kopia *k;
	char name[KOPIA_SLUG + 16];     /* folder in the state folder */
	unsigned char *p;
	bool same;
};

static int
make_probe(struct probe *b, int *fd, struct err *e)
{
	int dir = kopia_dirfd(b->k), file, ret = -1;

	(void)fs_remove(dir, b->name);
	if (getrandom(b->p, 256, 0) != 256)
		return err_sys(e, "get randomness");
	memset(b->p + 256, 0xa5, PROBE - 256);
	if (mkdirat(dir, b->name, 0700) == -1)
		return err_sys(e, "make %s", b->name);
	*fd = openat(dir, b->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd == -1)
		return err_sys(e, "open %s", b->name);
	file = openat(*fd, "probe", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
	    0600);
	if (file == -1 || file_write_all(file, b->p, PROBE) == -1)
		err_sys(e, "write %s/probe", b->name);
	else
		ret = 0;
	if (file != -1)
		close(file);
	return ret;
}

static int
compare(void *arg, size_t i, const char *p, size_t n, struct err *e)
{
	struct probe *b = arg;

	(void)i;
	(void)e;
	b->same = n == PROBE && memcmp(p, b->p, PROBE) == 0;
	return 0;
}

/* A snapshot of it: id and root. */
static int
store_probe(struct probe *b, int fd, struct kopia_snap *s, json_t **made,
    struct err *e)
{
	char self[64], path[PATH_MAX];
	const char *args[] = { "snapshot", "create", "--json",
	    "--force-disable-actions", "--no-send-snapshot-report",
	    "--description=cala check", path, NULL };
	struct kopia_cmd cmd = { .what = "snapshot create", .args = args,
	    .in = PROC_NULL, .kill = true };
	struct kopia_run r;
	json_t *o;
	char *line;
	ssize_t len;
	size_t n;
	int got;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if ((len = readlink(self, path, sizeof(path) - 1)) == -1)
		return err_sys(e, "%s", self);
	path[len] = '\0';
	if (kopia_start(&r, b->k, &cmd, e) == -1)
		return -1;
	while ((got = child_line(r.child, &line, &n, e)) == 1)
		if ((o = child_json(line, n)) != NULL) {
			json_decref(*made);
			*made = o;
		}
	kopia_end(&r);
	if (got == -1)
		return -1;
	if (*made == NULL || kopia_snap(*made, s, e) != 0)
		return e->code != 0 ? -1 : err_set(e, CALA_INTEGRITY,
		    "snapshot create: named no snapshot");
	return 0;
}

static int
probe(struct probe *b, struct err *e)
{
	struct driver_call *call = b->call;
	struct kopia_snap s;
	json_t *made = NULL;
	char *where = NULL;
	const char *oid;
	int fd = -1, ret = -1;

	if (make_probe(b, &fd, e) == -1) {
		stored_failed(call, "make something to store", e);
		goto out;
	}
	if (store_probe(b, fd, &s, &made, e) == -1) {
		stored_failed(call, "write", e);
		goto out;
	}
	driver_say(call, "ok: stored a snapshot with %d bytes", (int)PROBE);
	if ((where = str_join(s.root, "probe")) == NULL) {
		err_oom(e);
		goto out;
	}
	oid = where;
	if (kopia_fetch(b->k, &oid, 1, 2 * PROBE, 1, compare, b, e) == -1) {
		stored_failed(call, "read back", e);
		(void)kopia_delete(b->k, s.id, &(struct err)ERR_INIT);
		goto out;
	}
	if (!b->same) {
		err_set(e, CALA_INTEGRITY, "what was read is not what was "
		    "written");
		stored_failed(call, "read back", e);
		goto out;
	}
	driver_say(call, "ok: read the same bytes back");
	if (kopia_delete(b->k, s.id, e) == -1) {
		stored_failed(call, "delete", e);
		if (e->code == CALA_AUTH)
			err_hint(e, "the server's access rules let this user "
			    "append, but not delete");
		goto out;
	}
	driver_say(call, "ok: deleted it");
	ret = 0;
out:
	if (fd != -1)
		close(fd);
	(void)fs_remove(kopia_dirfd(b->k), b->name);
	json_decref(made);
	free(where);
	return ret;
}

int
kopia_check(struct driver_call *call, struct err *e)
{
	struct probe b = { .call = call };
	char version[64];
	size_t n = 0;
	int ret;

	if (kopia_use(call, &b.k, e) == -1)
		return stored_failed(call, "connect", e);
	if (kopia_version(b.k, version, sizeof(version), e) == -1)
		return stored_failed(call, "start Kopia", e);
	driver_say(call, "ok: Kopia %s", version);
	if (kopia_list(b.k, NULL, count, &n, e) == -1)
		return stored_failed(call, "reach the server", e);
	driver_say(call, "ok: %s lets %s in",
	    str_q(conf_get(call->cfg, "url")), conf_get(call->cfg,
	    "username"));
	driver_say(call, "ok: %zu backups", n);
	if (conf_get(call->cfg, "fingerprint") == NULL)
		driver_say(call, "note: no fingerprint is pinned: the "
		    "system's trust store decides");
	snprintf(b.name, sizeof(b.name), "%s.check", kopia_slug(b.k));
	if ((b.p = malloc(PROBE)) == NULL)
		return err_oom(e);
	ret = probe(&b, e);
	free(b.p);
	return ret;
}

/* ---- verify ---- */

/* A part of the files, chosen at random by Kopia. */
static int
sample(struct driver_call *call, struct kopia *k, const char *id,
    struct err *e)
{
	char percent[64];
	const char *const args[] = { "snapshot", "verify", percent,
	    "--max-errors=1", id, NULL };
	struct kopia_cmd cmd = { .what = "snapshot verify", .args = args,
	    .in = PROC_NULL, .slow = true };
	struct kopia_run r;
	int ret;

	snprintf(percent, sizeof(percent), "--verify-files-percent=%u",
	    call->percent);
	ret = kopia_start(&r, k, &cmd, e);
	if (ret == 0)
		ret = child_finish(r.child, e);
	/* What can't be read, and is no trouble with the way to it. */
	if (ret == -1 && r.status == 1 && e->code == CALA_FAIL)
		e->code = CALA_INTEGRITY;
	kopia_end(&r);
	if (ret == -1)
		return stored_failed(call, "verify", e);
	driver_say(call, "ok: all directories, and %u %% of the files, were "
	    "read by Kopia", call->percent);
	return 0;
}

int
kopia_verify(struct driver_call *call, struct record *rec, struct err *e)
{
	struct kopia_found f;
	struct reader *in = NULL;
	struct kopia *k;
	int ret = -1;

	if (kopia_use(call, &k, e) == -1 ||
	    kopia_find_again(call, k, &f, e) == -1)
		return stored_failed(call, "find", e);
	driver_say(call, "ok: snapshot %s of %s", f.snap.id,
	    str_q(f.snap.path));
	if (call->read_data && call->percent < 100) {
		ret = sample(call, k, f.snap.id, e);
		goto out;
	}
	if ((in = kopia_reader(k, &f.snap, call->log, e)) == NULL)
		stored_failed(call, "open", e);
	else
		ret = stored_verify(call, rec, in, e);
out:
	reader_close(in);
	kopia_found_fini(&f);
	return ret;
}

/* ---- gc ---- */

struct leftovers {
	struct driver_call *call;
	struct kopia_found *v;          /* of one UUID each */
	size_t n;
};

static int
gather(void *arg, const struct kopia_snap *s, struct err *e)
{
	struct leftovers *l = arg;
	struct kopia_found *more;
	size_t i;

	for (i = 0; i < l->n; i++)
		if (strcmp(l->v[i].snap.uuid, s->uuid) == 0)
			return kopia_collect(&l->v[i], s, e);
	more = realloc(l->v, (l->n + 1) * sizeof(*more));
	if (more == NULL)
		return err_oom(e);
	l->v = more;
	memset(&more[l->n], 0, sizeof(*more));
	memcpy(more[l->n].snap.uuid, s->uuid, sizeof(s->uuid));
	return kopia_collect(&more[l->n++], s, e);
}

/* Incomplete snapshots, and what two changes at once made twice. */
static int
clear(struct driver_call *call, struct kopia *k, const struct kopia_found *f,
    size_t *n, struct err *e)
{
	size_t i;
	int ret = 0;

	for (i = 0; i < f->nbroken && ret == 0; i++, ++*n) {
		driver_say(call, "%s %s: an interrupted snapshot",
		    call->dry_run ? "would delete" : "deleting",
		    f->broken[i]);
		if (!call->dry_run)
			ret = kopia_delete(k, f->broken[i], e);
	}
	for (i = 0; i < f->n && ret == 0; i++) {
		if (strcmp(f->ids[i], f->snap.id) == 0)
			continue;
		++*n;
		driver_say(call, "%s %s: another copy of backup %s",
		    call->dry_run ? "would delete" : "deleting", f->ids[i],
		    f->snap.uuid);
		if (!call->dry_run)
			ret = kopia_delete(k, f->ids[i], e);
	}
	return ret;
}

int
kopia_gc(struct driver_call *call, struct err *e)
{
	struct leftovers l = { call, NULL, 0 };
	size_t swept = 0, n = 0, i;
	struct kopia *k;
	int ret = -1;

	if (kopia_use(call, &k, e) == -1 ||
	    kopia_sweep(k, call->dry_run, &swept, e) == -1)
		return -1;
	if (swept > 0)
		driver_say(call, "%s rules of interrupted runs from the "
		    "policies of %zu sources", call->dry_run ? "would remove" :
		    "removed", swept);
	ret = kopia_list(k, NULL, gather, &l, e);
	for (i = 0; i < l.n && ret == 0; i++)
		ret = clear(call, k, &l.v[i], &n, e);
	while (l.n > 0)
		kopia_found_fini(&l.v[--l.n]);
	free(l.v);
	if (ret == 0 && swept + n == 0)
		driver_say(call, "nothing to do; space is freed by the "
		    "server's own maintenance");
	return ret;
}
