/*
 * restic_open: which snapshots nobody has vouched for yet.
 *
 * That a file could not be read is known only when the snapshot is stored, and
 * then the tags that say so cost a second run of restic.  Whoever is killed
 * between the two leaves a partial backup that looks like a whole one.  So a
 * note lies in the cache from before restic starts until what it left is known
 * to be right: a snapshot that has one is listed as partial, and the next put or
 * gc of this machine writes that into its tags.
 *
 * The note is locked by the run and by its restic, so a lock that can be had
 * means that both are gone.
 */

#include "driver/restic.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"

enum { NAME = 64, SWEPT = 128 };

static int
prefix(struct driver_call *call, char out[NAME])
{
	char repository[17];

	resticd_repository(call, repository);
	return snprintf(out, NAME, "cala-open-%s-", repository);
}

static void
note_name(struct driver_call *call, const char *run, char out[NAME])
{
	int n = prefix(call, out);

	snprintf(out + n, NAME - (size_t)n, "%.16s", run);
}

/* The folder; -1 with errno. */
static int
folder(struct driver_call *call)
{
	return open(resticd_cache(call), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int
resticd_note(struct driver_call *call, const char *run, int *fd,
    struct err *e)
{
	int dirfd = folder(call);
	char name[NAME];

	note_name(call, run, name);
	*fd = dirfd == -1 ? -1 : openat(dirfd, name, O_RDWR | O_CREAT |
	    O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (*fd == -1 || flock(*fd, LOCK_EX | LOCK_NB) == -1)
		err_sys(e, "%s/%s", str_q(resticd_cache(call)), name);
	if (dirfd != -1)
		close(dirfd);
	return e->code != 0 ? -1 : 0;
}

int
resticd_note_sync(struct driver_call *call, struct err *e)
{
	int dirfd = folder(call), ret = 0;

	if (dirfd == -1 || fsync(dirfd) == -1)
		ret = err_sys(e, "%s", str_q(resticd_cache(call)));
	if (dirfd != -1)
		close(dirfd);
	return ret;
}

void
resticd_settle(struct driver_call *call, const char *run)
{
	int dirfd = folder(call);
	char name[NAME];

	if (dirfd == -1)
		return;
	note_name(call, run, name);
	/* Without that a loss of power would make it partial again. */
	if (unlinkat(dirfd, name, 0) == 0)
		(void)fsync(dirfd);
	close(dirfd);
}

bool
resticd_unsettled(struct driver_call *call, const char *run)
{
	char name[NAME], *path;
	bool is;

	if (strlen(run) != 16 || strspn(run, "0123456789abcdef") != 16)
		return false;
	note_name(call, run, name);
	/* In doubt it is not whole. */
	if ((path = str_join(resticd_cache(call), name)) == NULL)
		return true;
	is = access(path, F_OK) == 0 || errno != ENOENT;
	free(path);
	return is;
}

/* ---- notes of runs that are gone ---- */

struct stale {
	char run[17];
	int fd;                         /* holds its lock */
	bool settled;                   /* the tags say what it is */
	char id[RESTICD_ID];            /* "": nothing of it is there */
	struct resticd_tags tags;       /* that it is to get */
};

struct sweep {
	struct driver_call *call;
	struct stale v[SWEPT];
	size_t n;
};

static void
add_stale(struct sweep *s, int dirfd, const char *name, const char *run)
{
	struct stale *t = &s->v[s->n];
	struct stat a, b;
	int fd;

	if (s->n == SWEPT || strlen(run) != 16)
		return;
	fd = openat(dirfd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return;
	/* Alive, or gone since we have seen it. */
	if (flock(fd, LOCK_EX | LOCK_NB) == -1 || fstat(fd, &a) == -1 ||
	    fstatat(dirfd, name, &b, AT_SYMLINK_NOFOLLOW) == -1 ||
	    a.st_ino != b.st_ino) {
		close(fd);
		return;
	}
	memcpy(t->run, run, sizeof(t->run));
	t->fd = fd;
	s->n++;
}

static int
gather(struct sweep *s, struct err *e)
{
	int fd = folder(s->call);
	DIR *dp = fd != -1 ? fdopendir(fd) : NULL;
	char begins[NAME];
	struct dirent *d;
	size_t n;

	if (dp == NULL) {
		err_sys(e, "%s", str_q(resticd_cache(s->call)));
		if (fd != -1)
			close(fd);
		return -1;
	}
	n = (size_t)prefix(s->call, begins);
	while ((d = readdir(dp)) != NULL)
		if (strncmp(d->d_name, begins, n) == 0)
			add_stale(s, dirfd(dp), d->d_name, d->d_name + n);
	closedir(dp);
	return 0;
}

static int
match(void *arg, struct resticd_snap *snap, struct record *rec,
    struct err *e)
{
	struct sweep *s = arg;
	struct stale *t;
	size_t i;

	for (i = 0; i < s->n; i++) {
		t = &s->v[i];
		if (strcmp(snap->run, t->run) != 0)
			continue;
		/* Its run came so far; of two it is the newer. */
		t->settled |= !snap->open;
		if (t->id[0] != '\0')
			continue;
		memcpy(t->id, snap->id, RESTICD_ID);
		if (resticd_tags(rec, snap, &t->tags, e) == -1)
			return -1;
	}
	return 0;
}

static void
say(struct driver_call *call, const struct stale *t)
{
	char text[192];

	snprintf(text, sizeof(text), "%s snapshot %.8s of backup %s as "
	    "partial: its run was interrupted", call->dry_run ?
	    "would mark" : "marking", t->id, t->tags.v[0]);
	/* The output of a put is its record. */
	if (strcmp(call->verb, "gc") == 0)
		driver_say(call, "%s", text);
	else
		log_note(call->log, "%s", text);
}

static int
finish(struct driver_call *call, const struct stale *t, size_t *n,
    struct err *e)
{
	if (!t->settled && t->id[0] != '\0') {
		++*n;
		say(call, t);
		if (!call->dry_run && resticd_retag(call, t->id, &t->tags, 0,
		    e) == -1)
			return -1;
	}
	if (!call->dry_run)
		resticd_settle(call, t->run);
	return 0;
}

int
resticd_sweep(struct driver_call *call, size_t *n, struct err *e)
{
	struct sweep *s = calloc(1, sizeof(*s));
	size_t i;
	int ret = -1;

	*n = 0;
	if (s == NULL)
		return err_oom(e);
	s->call = call;
	if (gather(s, e) == 0)
		ret = s->n > 0 ? resticd_each(call, match, s, e) : 0;
	for (i = 0; i < s->n; i++) {
		if (ret == 0)
			ret = finish(call, &s->v[i], n, e);
		close(s->v[i].fd);
		resticd_tags_fini(&s->v[i].tags);
	}
	free(s);
	return ret;
}
