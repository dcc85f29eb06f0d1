/* What earlier runs left: swaps to finish or to undo, stages, old trees. */

#include "fs/swap_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "fs/extract.h"

/* One folder of home.  1: dealt with, 0: not ours or not of this path. */
static int
recover_one(struct swap *s, const char *name, struct err *e)
{
	struct err sub = ERR_INIT;
	struct stat st;

	if ((s->dir = swap_sub(s->home, name)) == -1 || !swap_ours(s->dir))
		return 0;
	s->journal = openat(s->dir, "journal", O_WRONLY | O_APPEND |
	    O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	snprintf(s->work, sizeof(s->work), "%s", name);
	snprintf(s->id, sizeof(s->id), "%s", name + strlen(".cala-restore-"));
	if (s->journal == -1 || fstat(s->journal, &st) == -1 ||
	    !S_ISREG(st.st_mode) || journal_load(s, &sub) == -1) {
		if (sub.code == CALA_NOTFOUND && s->journal != -1)
			return 0;
		/* Inside V it is of V; beside it nobody knows. */
		if (s->target != -1 && s->whole == false &&
		    flock(s->dir, LOCK_EX | LOCK_NB) == 0 &&
		    faccessat(s->dir, "old", F_OK, AT_SYMLINK_NOFOLLOW) ==
		    -1) {
			swap_drop(s);
			return 1;
		}
		return 0;
	}
	if (flock(s->dir, LOCK_EX | LOCK_NB) == -1)
		return err_set(e, CALA_LOCKED,
		    "%s: another restore is running", str_q(s->path));
	if (s->phase == PHASE_STAGE) {
		log_step(s->log, "%s: removing %s, never swapped",
		    str_q(s->path), name);
		swap_drop(s);
		return 1;
	}
	s->tree = swap_sub(s->dir, "tree");
	if (swap_name(s, e) == -1 || (!s->whole && s->tree == -1))
		return err_set(e, CALA_FAIL, "%s: its tree is missing", name);
	if (swap_run(s, e) == -1 || swap_finish(s, e) == -1)
		return err_ctx(e, "%s: finish the swap of %s", str_q(s->path),
		    name);
	log_note(s->log, "%s: an interrupted swap was %s", str_q(s->path),
	    s->phase == PHASE_UNDONE ? "undone" : "finished");
	return 1;
}

/* fn for every folder of home whose name begins so. */
static int
each(const char *path, bool inside, const char *prefix,
    int (*fn)(struct swap *, const char *, struct err *), struct log *log,
    struct err *e)
{
	struct swap *s;
	struct dirent *d;
	DIR *dir = NULL;
	int fd, n = 0, k = 0;

	if ((s = swap_blank(path, NULL, log, e)) == NULL)
		return -1;
	fd = inside ? open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) :
	    swap_parent(s, e);
	if (fd == -1 || (dir = fdopendir(fd)) == NULL) {
		k = inside && errno == ENOENT ? 0 : err_sys(e, "%s",
		    str_q(path));
		if (fd != -1)
			close(fd);
		goto out;
	}
	while (k >= 0 && (d = readdir(dir)) != NULL) {
		if (!str_begins(d->d_name, prefix) ||
		    !uuid_ok(d->d_name + strlen(prefix)))
			continue;
		swap_release(s);
		if ((s = swap_blank(path, NULL, log, e)) == NULL) {
			k = -1;
			break;
		}
		s->whole = !inside;
		s->home = openat(dirfd(dir), ".", O_RDONLY | O_DIRECTORY |
		    O_CLOEXEC);
		s->target = inside ? openat(dirfd(dir), ".", O_RDONLY |
		    O_DIRECTORY | O_CLOEXEC) : -1;
		if (s->home == -1 || (inside && s->target == -1))
			k = err_sys(e, "%s", str_q(path));
		else
			k = fn(s, d->d_name, e);
		n += k == 1;
	}
out:
	if (dir != NULL)
		closedir(dir);
	if (s != NULL)
		swap_release(s);
	return k == -1 ? -1 : n;
}

/* swap_to was cut off between its rename and the end of its mark. */
static int
recover_to(const char *path)
{
	struct timespec ts[2];
	struct stat st, mark;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret = 0;

	if (fd == -1)
		return 0;
	if (fstatat(fd, SWAP_MARK, &mark, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISREG(mark.st_mode) && mark.st_uid == geteuid() &&
	    fstat(fd, &st) == 0 && unlinkat(fd, SWAP_MARK, 0) == 0) {
		ts[0] = st.st_atim;
		ts[1] = st.st_mtim;
		(void)futimens(fd, ts);
		ret = 1;
	}
	close(fd);
	return ret;
}

int
swap_recover(const char *path, struct log *log, struct err *e)
{
	int a, b, c = recover_to(path);

	if ((a = each(path, false, ".cala-restore-", recover_one, log, e)) ==
	    -1 || (b = each(path, true, ".cala-restore-", recover_one, log,
	    e)) == -1)
		return -1;
	return a + b + c;
}

static int
discard_one(struct swap *s, const char *name, struct err *e)
{
	struct err sub = ERR_INIT;
	struct timespec ts[2];
	struct stat st;

	if ((s->dir = swap_sub(s->home, name)) == -1 || !swap_ours(s->dir) ||
	    journal_load(s, &sub) == -1 || s->phase != PHASE_DONE ||
	    fstat(s->home, &st) == -1)
		return 0;
	if (fs_remove(s->home, name) == -1)
		return err_sys(e, "remove %s", name);
	/* That our folder was in V must not show in its times. */
	ts[0] = st.st_atim;
	ts[1] = st.st_mtim;
	if (s->target != -1)
		(void)futimens(s->target, ts);
	log_step(s->log, "%s: removed its old tree %s", str_q(s->path), name);
	return 1;
}

int
swap_discard(const char *path, struct log *log, struct err *e)
{
	int a, b;

	if ((a = each(path, false, ".cala-old-", discard_one, log, e)) == -1 ||
	    (b = each(path, true, ".cala-old-", discard_one, log, e)) == -1)
		return -1;
	return a + b;
}
