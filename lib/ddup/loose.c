#include "ddup/loose.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "ddup/int.h"

#define PREFIX "cala-loose."
#define SWEPT "cala-swept"

static int
touch(const struct ddup *r, const char *name, int flags)
{
	int fd = openat(r->dir, name, O_WRONLY | O_CREAT | O_NOFOLLOW |
	    O_CLOEXEC | flags, 0600);
	int ret = 0;

	if (fd == -1)
		return -1;
	if ((r->chown && fchown(fd, r->uid, r->gid) == -1) ||
	    futimens(fd, NULL) == -1)
		ret = -1;
	close(fd);
	return ret;
}

int
loose_begin(struct ddup *r, struct err *e)
{
	uint64_t dice = 0;
	int ret = 0;

	if (r->loose_said)
		return 0;
	pthread_mutex_lock(&r->mu);
	if (!r->loose_said) {
		/* A container's process has the number of others. */
		if (getrandom(&dice, sizeof(dice), 0) == -1)
			dice = (uint64_t)(uintptr_t)r;
		snprintf(r->loose, sizeof(r->loose), PREFIX "%ld.%016" PRIx64,
		    r->pid, dice);
		/* It is older than what it tells of: no file system orders
		 * them the other way round. */
		if (touch(r, r->loose, O_EXCL) == -1)
			ret = err_sys(e, "%s", r->loose);
		else
			r->loose_said = true;
	}
	pthread_mutex_unlock(&r->mu);
	return ret;
}

void
loose_end(struct ddup *r)
{
	if (r->loose_said)
		(void)unlinkat(r->dir, r->loose, 0);
	r->loose_said = false;
}

/* 1 when there is one; all of them are removed when drop. */
static int
said(const struct ddup *r, bool drop)
{
	int fd = openat(r->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dp = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *d;
	int found = 0;

	if (dp == NULL) {
		if (fd != -1)
			close(fd);
		return 1;
	}
	while ((errno = 0, d = readdir(dp)) != NULL) {
		if (!str_begins(d->d_name, PREFIX))
			continue;
		found = 1;
		if (drop)
			(void)unlinkat(fd, d->d_name, 0);
	}
	if (errno != 0)
		found = 1;
	closedir(dp);
	return found;
}

bool
loose_others(const struct ddup *r)
{
	return said(r, false) == 1;
}

bool
loose_any(const struct ddup *r, time_t now)
{
	struct stat st;

	/* What another program has left, nothing tells. */
	return r->strange || loose_others(r) ||
	    fstatat(r->dir, SWEPT, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    st.st_mtim.tv_sec > now ||
	    now - st.st_mtim.tv_sec > (time_t)LOOSE_DAYS * 24 * 3600;
}

void
loose_swept(const struct ddup *r, bool all)
{
	if (all)
		(void)said(r, true);
	(void)touch(r, SWEPT, 0);
}
