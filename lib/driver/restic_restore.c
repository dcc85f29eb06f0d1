/*
 * restic_restore: restic's own restore into an empty directory.
 */

#include "driver/restic_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

struct restoring {
	struct rtree *t;
	int dirfd;
	char **args;            /* heap */
	size_t nargs;
};

static int
arg(struct restoring *r, struct err *e, const char *word, const char *path,
    bool pattern)
{
	struct buf b;

	buf_init(&b, 4 * ENTRY_PATH_MAX);
	buf_str(&b, word);
	for (; path != NULL && *path != '\0'; path++) {
		if (pattern && strchr("*?[]\\", *path) != NULL)
			buf_chr(&b, '\\');
		buf_chr(&b, *path);
	}
	if ((r->args[r->nargs] = buf_detach(&b)) == NULL)
		return err_oom(e);
	r->nargs++;
	return 0;
}

static int
progress(void *ctx, struct child *c, struct err *e)
{
	struct driver_call *call = ctx;
	json_t *j;
	char *line;
	size_t n;
	int got;

	while ((got = child_line(c, &line, &n, e)) == 1) {
		if ((j = child_json(line, n)) == NULL)
			continue;
		call->tally.bytes = json_get_u64(j, "bytes_restored",
		    call->tally.bytes);
		call->tally.files = json_get_u64(j, "files_restored",
		    call->tally.files);
		json_decref(j);
	}
	return got;
}

/* Everything below from, which is in dirfd, moves up into dirfd. */
static int
move_up(int dirfd, const char *from, struct err *e)
{
	int fd = openat(dirfd, from, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC), ret = 0;
	struct dirent *d;
	DIR *dp;

	if (fd == -1 || (dp = fdopendir(fd)) == NULL) {
		err_sys(e, "what restic restored");
		if (fd != -1)
			close(fd);
		return -1;
	}
	while (ret == 0 && (d = readdir(dp)) != NULL)
		if (strcmp(d->d_name, ".") != 0 &&
		    strcmp(d->d_name, "..") != 0 &&
		    renameat2(fd, d->d_name, dirfd, d->d_name,
		    RENAME_NOREPLACE) == -1)
			ret = err_sys(e, "move %s", str_q(d->d_name));
	closedir(dp);
	return ret;
}

static int
lift(struct restoring *r, const char *target, struct err *e)
{
	struct buf b;
	char *slash;
	int ret;

	buf_init(&b, 2 * ENTRY_PATH_MAX);
	buf_printf(&b, "%s%s", target, r->t->snap.base);
	if ((ret = buf_failed(&b, e)) == 0)
		ret = move_up(r->dirfd, b.p, e);
	/* The way to it is empty now. */
	while (ret == 0 && unlinkat(r->dirfd, b.p, AT_REMOVEDIR) == 0) {
		if ((slash = strrchr(b.p, '/')) == NULL)
			break;
		buf_cut(&b, (size_t)(slash - b.p));
	}
	buf_fini(&b);
	return ret;
}

/* The folder itself is the backup's root, whose metadata restic passes over. */
static int
root_metadata(struct restoring *r, struct err *e)
{
	struct timespec times[2] = { { 0, UTIME_OMIT }, { 0, 0 } };
	struct entry en;

	if (r->t->t.ops->stat(&r->t->t, "", &en, e) == -1)
		return -1;
	if (r->t->self.json == NULL)
		return 0;
	times[1] = en.mtime;
	if ((geteuid() == 0 && fchown(r->dirfd, en.uid, en.gid) == -1) ||
	    fchmod(r->dirfd, en.mode) == -1 ||
	    futimens(r->dirfd, times) == -1)
		return err_sys(e, "%s", str_q(r->t->call->dir));
	return 0;
}

static int
fill(struct restoring *r, struct err *e)
{
	struct driver_call *call = r->t->call;
	bool sub = restic_version(r->t->r) >= RESTIC_SUBFOLDER;
	const char *base = r->t->snap.base;
	char temp[] = ".cala-restic-000000";
	struct restic_run run = { .flags = RESTIC_READS };
	struct buf b;
	size_t i;
	int ret = -1;

	r->nargs = 0;
	buf_init(&b, 4 * ENTRY_PATH_MAX);
	if ((r->args = calloc(call->npaths + 8, sizeof(*r->args))) == NULL) {
		err_oom(e);
		goto out;
	}
	buf_printf(&b, "%s%s%s", r->t->snap.ref, sub && *base != '\0' ? ":" :
	    "", sub ? base : "");
	if (arg(r, e, "restore", NULL, false) == -1 ||
	    arg(r, e, b.p, NULL, false) == -1)
		goto out;
	buf_reset(&b);
	buf_printf(&b, "%s%s%s", call->dir, sub ? "" : "/", sub ? "" : temp);
	if (arg(r, e, "--target=", b.p, false) == -1)
		goto out;
	for (i = 0; i < call->npaths; i++) {
		buf_reset(&b);
		buf_printf(&b, "%s/%s", sub ? "" : base, call->paths[i]);
		if (buf_failed(&b, e) == -1 ||
		    arg(r, e, "--include=", b.p, true) == -1)
			goto out;
	}
	if (!sub && call->npaths == 0 && *base != '\0' &&
	    arg(r, e, "--include=", base, true) == -1)
		goto out;
	run.args = (const char *const *)r->args;
	if (restic_do(r->t->r, &run, progress, call, e) == -1 ||
	    (!sub && lift(r, temp, e) == -1))
		goto out;
	ret = 0;
out:
	buf_fini(&b);
	while (r->nargs > 0)
		free(r->args[--r->nargs]);
	free(r->args);
	r->args = NULL;
	return ret;
}

/* fill, and once more if it was with a snapshot that is no more. */
static int
fill_again(struct restoring *r, struct err *e)
{
	struct err own = ERR_INIT;
	int again;

	if (fill(r, e) == 0)
		return 0;
	if ((again = rtree_again(r->t, &own)) == -1) {
		*e = own;
		return -1;
	}
	if (again == 0) {
		/* The path may be another: who backs up "." has none. */
		if (e->code != CALA_NOTFOUND || r->t->based)
			return -1;
		r->t->light = false;
		rtree_forget(r->t);
		if (rtree_look(r->t, "", &own) == -1)
			return -1;
	}
	err_clear(e);
	return fill(r, e);
}

/* All of it, and meanwhile the question what the folder itself is like. */
static int
whole(struct restoring *r, struct err *e)
{
	struct rtree *t = r->t;
	struct buf abs;
	char ref[RESTICD_REF + 1];
	const char *args[] = { "ls", "--", ref, NULL, NULL };
	struct restic_run run = { .flags = RESTIC_READS, .args = args };
	struct rtree_looking l = { .t = t };
	struct child *c = NULL;
	int ret;

	memcpy(ref, t->snap.ref, sizeof(ref));
	rtree_forget(t);
	if ((ret = rtree_known(t, "", e)) != 1)
		return ret == -1 || fill_again(r, e) == -1 ? -1 :
		    root_metadata(r, e);
	buf_init(&abs, 2 * ENTRY_PATH_MAX);
	ret = rtree_abs(t, "", &abs, e);
	args[3] = abs.p;
	l.root = abs.p[1] == '\0';
	if (ret == 0)
		ret = restic_start(t->r, &run, &c, e);
	if (ret == 0 && (ret = fill_again(r, e)) == 0 && !t->have &&
	    strcmp(ref, t->snap.ref) == 0 && (ret = rtree_listing(&l, c,
	    e)) == 0 && l.any) {
		if ((t->path = strdup("")) != NULL)
			rtree_looked(t);
	}
	child_free(c);
	buf_fini(&abs);
	return ret == 0 ? root_metadata(r, e) : -1;
}

int
resticd_restore(struct driver_call *call, struct err *e)
{
	struct restoring r = { .dirfd = -1 };
	struct tree *t = NULL;
	struct entry en;
	size_t i;
	int ret = -1;

	if ((r.dirfd = file_opendir(AT_FDCWD, call->dir, e)) == -1)
		return -1;
	if (resticd_tree(call, &t, e) == -1)
		goto out;
	r.t = (struct rtree *)t;
	/* What is not there restic would pass over without a word. */
	for (i = 0; i < call->npaths; i++)
		if (t->ops->stat(t, call->paths[i], &en, e) == -1) {
			err_ctx(e, "%s", str_q(call->paths[i]));
			goto out;
		}
	ret = call->npaths == 0 ? whole(&r, e) : fill_again(&r, e);
	if (ret == 0 && syncfs(r.dirfd) == -1)
		ret = err_sys(e, "sync %s", str_q(call->dir));
out:
	if (t != NULL)
		t->ops->close(t);
	close(r.dirfd);
	return ret;
}
