#include "exec/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* The same kind of thing at to, with what from has in it. */
static int
mirror(const char *from, const char *to)
{
	char target[PATH_MAX];
	struct stat st;
	ssize_t n;
	int fd;

	if (lstat(from, &st) == -1)
		return -1;
	if (S_ISLNK(st.st_mode)) {
		if ((n = readlink(from, target, sizeof(target) - 1)) == -1)
			return -1;
		target[n] = '\0';
		return symlink(target, to);
	}
	if (S_ISDIR(st.st_mode)) {
		if (mkdir(to, 0755) == -1)
			return -1;
	} else {
		fd = open(to, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
		if (fd == -1)
			return -1;
		close(fd);
	}
	return mount(from, to, NULL, MS_BIND | MS_REC, NULL);
}

/*
 * All that is in the folder real, but for the name skip.  What can't be shown
 * is missing: that is no worse than the place itself not being there.
 */
static int
mirror_around(const char *real, const char *to, const char *skip,
    struct err *e)
{
	struct dirent *d;
	DIR *dp = opendir(*real != '\0' ? real : "/");
	char *a, *b;
	int ret = 0;

	if (dp == NULL)
		return 0;
	while (ret == 0 && (d = readdir(dp)) != NULL) {
		if (strcmp(d->d_name, ".") == 0 ||
		    strcmp(d->d_name, "..") == 0 ||
		    strcmp(d->d_name, skip) == 0)
			continue;
		a = *real != '\0' ? str_join(real, d->d_name) :
		    str_join("/", d->d_name);
		b = str_join(to, d->d_name);
		if (a == NULL || b == NULL)
			ret = err_oom(e);
		else
			(void)mirror(a, b);
		free(a);
		free(b);
	}
	closedir(dp);
	return ret;
}

/*
 * A root of our own in which at exists as a directory, whatever is there in
 * the real one, and nothing else is different.
 */
static int
new_root(const char *root, const char *from, const char *at, struct err *e)
{
	struct buf real, to, name;
	const char *p, *end;
	int ret = -1;

	buf_init(&real, PATH_MAX);
	buf_init(&to, 2 * PATH_MAX);
	buf_init(&name, PATH_MAX);
	buf_str(&to, root);
	if (mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV,
	    "mode=755,size=16m") == -1) {
		err_sys(e, "mount on %s", str_q(root));
		goto out;
	}
	for (p = at + 1; *p != '\0'; p = *end == '/' ? end + 1 : end) {
		end = strchrnul(p, '/');
		buf_reset(&name);
		buf_add(&name, p, (size_t)(end - p));
		if (buf_failed(&name, e) == -1 ||
		    mirror_around(real.p, to.p, name.p, e) == -1)
			goto out;
		buf_printf(&real, "/%s", name.p);
		buf_printf(&to, "/%s", name.p);
		if (buf_failed(&real, e) == -1 || buf_failed(&to, e) == -1)
			goto out;
		if (mkdir(to.p, 0755) == -1) {
			err_sys(e, "make %s", str_q(to.p));
			goto out;
		}
	}
	if (mount(from, to.p, NULL, MS_BIND | MS_REC, NULL) == -1) {
		err_sys(e, "show %s as %s", str_q(from), str_q(at));
		goto out;
	}
	if (chroot(root) == -1) {
		err_sys(e, "enter %s", str_q(root));
		goto out;
	}
	ret = 0;
out:
	buf_fini(&real);
	buf_fini(&to);
	buf_fini(&name);
	return ret;
}

int
place_take(struct place *p, const char *from, const char *at, const char *tmp,
    struct err *e)
{
	struct stat st;

	p->ours = -1;
	p->root = NULL;
	if (geteuid() != 0) {
		err_set(e, CALA_AUTH, "only root can do that");
		return 1;
	}
	p->ours = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (p->ours == -1 || unshare(CLONE_NEWNS) == -1) {
		err_sys(e, "a mount namespace");
		if (p->ours != -1)
			close(p->ours);
		p->ours = -1;
		return 1;
	}
	/* What others mount and unmount reaches us; not the other way. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == -1) {
		err_sys(e, "a mount namespace");
		goto fail;
	}
	if (lstat(at, &st) == 0 && S_ISDIR(st.st_mode)) {
		if (mount(from, at, NULL, MS_BIND | MS_REC, NULL) == 0)
			return 0;
		err_sys(e, "show %s as %s", str_q(from), str_q(at));
		goto fail;
	}
	if ((p->root = str_join(tmp, ".root.XXXXXX")) == NULL) {
		err_oom(e);
		goto fail;
	}
	if (mkdtemp(p->root) == NULL) {
		err_sys(e, "%s", str_q(p->root));
		free(p->root);
		p->root = NULL;
		goto fail;
	}
	if (new_root(p->root, from, at, e) == 0)
		return 0;
fail:
	place_drop(p);
	return -1;
}

void
place_drop(struct place *p)
{
	if (p->ours != -1) {
		(void)setns(p->ours, CLONE_NEWNS);
		close(p->ours);
	}
	p->ours = -1;
	if (p->root != NULL)
		(void)rmdir(p->root);
	free(p->root);
	p->root = NULL;
}
