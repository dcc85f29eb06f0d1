/* kopia_read: what looks into a backup. */

#include "driver/kopia.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/stop.h"
#include "base/str.h"
#include "exec/child.h"
#include "fs/fs.h"

int
kopia_open_tree(struct driver_call *call, struct tree **out, struct err *e)
{
	struct kopia_found f;
	struct kopia *k;

	if (kopia_use(call, &k, e) == -1)
		return -1;
	*out = NULL;
	if (strcmp(call->verb, "cat") == 0 &&
	    kopia_recall(k, call->backup, &f)) {
		*out = kopia_quick(k, &f.snap, call->paths[0], e);
		kopia_found_fini(&f);
		if (*out != NULL || stop_check(e) == -1)
			return *out != NULL ? 0 : -1;
		/* Why it is not as remembered is asked step by step. */
		err_clear(e);
	}
	if (kopia_find(call, k, call->backup, &f, e) == -1)
		return -1;
	*out = kopia_tree(k, &f.snap, call->recursive, call->jobs, call->log,
	    e);
	kopia_found_fini(&f);
	return *out != NULL ? 0 : -1;
}

int
kopia_get_all(struct driver_call *call, struct reader **out, struct err *e)
{
	struct kopia_found f;
	struct kopia *k;

	if (kopia_use(call, &k, e) == -1 ||
	    kopia_find(call, k, call->backup, &f, e) == -1)
		return -1;
	log_note(call->log, "Kopia's stream has times in whole seconds, and no "
	    "hard links, FIFOs, devices or extended attributes");
	*out = kopia_reader(k, &f.snap, call->log, e);
	kopia_found_fini(&f);
	return *out != NULL ? 0 : -1;
}

/* ---- restore ---- */

struct restoring {
	struct driver_call *call;
	struct kopia *k;
	struct tree *tree;
	int dirfd;
	bool owners;
	uint64_t files, bytes;          /* of the paths before this one */
};

/* "12 (3.4 MB)" behind text; false when it is not there. */
static bool
amount(const char *line, const char *text, uint64_t *files, double *bytes)
{
	static const char units[] = "kMGTPE";
	const char *p = strstr(line, text), *u;
	unsigned long long n;
	char unit = 'B';
	double v;

	if (p == NULL || sscanf(p + strlen(text), "%llu (%lf %c", &n, &v,
	    &unit) != 3)
		return false;
	/* Decimal units: KB, MB. */
	if (unit == 'K')
		unit = 'k';
	for (u = units; unit != 'B' && *u != '\0'; u++) {
		v *= 1000;
		if (*u == unit)
			break;
	}
	*files = n;
	*bytes = v;
	return true;
}

static void
progress(void *arg, char *line)
{
	struct restoring *r = arg;
	uint64_t files;
	double bytes;

	if (!amount(line, "Processed ", &files, &bytes))
		return;
	r->call->tally.files = r->files + files;
	r->call->tally.bytes = r->bytes + (uint64_t)bytes;
}

/* One object to one place that is not there yet, or an empty folder. */
static int
run_restore(struct restoring *r, const char *source, const char *target,
    struct err *e)
{
	char parallel[32];
	const char *args[] = { "restore", source, target, "--mode=local",
	    "--progress", "--write-sparse-files", parallel, NULL, NULL };
	/* Of a few files less is saved by the cache than unlocking it takes. */
	struct kopia_cmd cmd = { .what = "restore", .args = args,
	    .in = PROC_NULL, .slow = true, .cached = r->call->npaths == 0,
	    .line = progress, .ctx = r };
	struct kopia_run run;
	int ret;

	snprintf(parallel, sizeof(parallel), "--parallel=%u",
	    r->call->jobs > 0 ? r->call->jobs : 8);
	if (!r->owners)
		args[7] = "--skip-owners";
	ret = kopia_start(&run, r->k, &cmd, e);
	if (ret == 0)
		ret = child_finish(run.child, e);
	kopia_end(&run);
	return ret;
}

/* All of it, by the manifest's id: that it is still there Kopia asks itself. */
static int
restore_all(struct restoring *r, struct kopia_found *f, struct err *e)
{
	struct err own = ERR_INIT;
	struct kopia_found now;
	int ret = run_restore(r, f->snap.id, r->call->dir, e);

	if (ret == 0 || !f->recalled || stop_check(&own) == -1)
		return ret;
	if (kopia_find(r->call, r->k, r->call->backup, &now, &own) == -1) {
		*e = own;
		return -1;
	}
	if (strcmp(now.snap.id, f->snap.id) != 0) {
		err_clear(e);
		ret = run_restore(r, now.snap.id, r->call->dir, e);
	}
	kopia_found_fini(&now);
	return ret;
}

/* The folder path of the backup, in r->dirfd, if it isn't there. */
static int
make_folder(struct restoring *r, const char *path, struct err *e)
{
	if (mkdirat(r->dirfd, path, 0700) == 0 || errno == EEXIST)
		return 0;
	return err_sys(e, "make %s", str_q(path));
}

/* What the backup says of a folder that we made. */
static int
dress_folder(struct restoring *r, const char *path, struct err *e)
{
	struct timespec times[2];
	struct entry en;

	if (r->tree->ops->stat(r->tree, path, &en, e) == -1)
		return -1;
	if (r->owners && fchownat(r->dirfd, path, en.uid, en.gid,
	    AT_SYMLINK_NOFOLLOW) == -1)
		return err_sys(e, "owner of %s", str_q(path));
	times[0].tv_sec = 0;
	times[0].tv_nsec = UTIME_OMIT;
	times[1] = en.mtime;
	if (fchmodat(r->dirfd, path, en.mode, 0) == -1 ||
	    utimensat(r->dirfd, path, times, AT_SYMLINK_NOFOLLOW) == -1)
		return err_sys(e, "mode of %s", str_q(path));
	return 0;
}

/* fn on each folder above path, from the outermost in; or back out again. */
static int
above(struct restoring *r, const char *path, bool outwards,
    int (*fn)(struct restoring *, const char *, struct err *), struct err *e)
{
	char *copy = strdup(path), *p;
	int ret = 0;

	if (copy == NULL)
		return err_oom(e);
	if (outwards) {
		while (ret == 0 && (p = strrchr(copy, '/')) != NULL) {
			*p = '\0';
			ret = fn(r, copy, e);
		}
	} else {
		for (p = strchr(copy, '/'); ret == 0 && p != NULL;
		    p = strchr(p + 1, '/')) {
			*p = '\0';
			ret = fn(r, copy, e);
			*p = '/';
		}
	}
	free(copy);
	return ret;
}

static int
restore_path(struct restoring *r, const char *root, const char *path,
    struct err *e)
{
	char *source = NULL, *target = NULL;
	struct entry en;
	int ret = -1;

	if (r->tree->ops->stat(r->tree, path, &en, e) == -1 ||
	    above(r, path, false, make_folder, e) == -1)
		return -1;
	source = str_join(root, path);
	target = str_join(r->call->dir, path);
	if (source == NULL || target == NULL)
		err_oom(e);
	else
		ret = run_restore(r, source, target, e);
	free(source);
	free(target);
	r->files = r->call->tally.files;
	r->bytes = r->call->tally.bytes;
	return ret;
}

/* Is the path below another one that is restored, too? */
static bool
covered(const struct driver_call *call, size_t i)
{
	size_t k;

	for (k = 0; k < call->npaths; k++)
		if (k != i && entry_below(call->paths[i], call->paths[k]) &&
		    (k < i || strcmp(call->paths[i], call->paths[k]) != 0))
			return true;
	return false;
}

static int
restore_paths(struct restoring *r, const char *root, struct err *e)
{
	struct driver_call *call = r->call;
	struct entry en;
	size_t i;

	/* All of them are there, before the first is written. */
	for (i = 0; i < call->npaths; i++)
		if (r->tree->ops->stat(r->tree, call->paths[i], &en, e) == -1)
			return -1;
	for (i = 0; i < call->npaths; i++)
		if (!covered(call, i) && restore_path(r, root, call->paths[i],
		    e) == -1)
			return -1;
	/* Their times last: what was made in them has changed them. */
	for (i = 0; i < call->npaths; i++)
		if (!covered(call, i) && above(r, call->paths[i], true,
		    dress_folder, e) == -1)
			return -1;
	return 0;
}

int
kopia_restore(struct driver_call *call, struct err *e)
{
	struct restoring r = { .call = call, .owners = geteuid() == 0 };
	struct kopia_found f;
	char *dir = NULL;
	const char *given = call->dir;
	int ret = -1;

	if (kopia_use(call, &r.k, e) == -1 ||
	    kopia_find_again(call, r.k, &f, e) == -1)
		return -1;
	if ((r.dirfd = file_opendir(AT_FDCWD, call->dir, e)) == -1)
		goto out;
	if ((dir = realpath(call->dir, NULL)) == NULL) {
		err_sys(e, "%s", str_q(call->dir));
		goto out;
	}
	call->dir = dir;
	r.tree = kopia_tree(r.k, &f.snap, false, call->jobs, call->log, e);
	if (r.tree == NULL)
		goto out;
	if (call->npaths == 0)
		ret = restore_all(&r, &f, e);
	else if (*call->paths[0] == '\0')
		ret = run_restore(&r, f.snap.root, dir, e);
	else
		ret = restore_paths(&r, f.snap.root, e);
	/* Kopia has only written it. */
	if (ret == 0 && syncfs(r.dirfd) == -1)
		ret = err_sys(e, "sync %s", str_q(dir));
out:
	if (r.tree != NULL)
		r.tree->ops->close(r.tree);
	if (r.dirfd != -1)
		close(r.dirfd);
	kopia_found_fini(&f);
	call->dir = given;
	free(dir);
	return ret;
}
