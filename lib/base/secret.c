#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/stop.h"
#include "base/str.h"

int
secret_alloc(struct secret *s, size_t n, struct err *e)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), room;
	void *p;

	secret_free(s);
	if (n > SECRET_MAX)
		return err_set(e, CALA_USAGE,
		    "secret: %zu bytes, at most %d", n, SECRET_MAX);
	room = (n + 1 + page - 1) / page * page;
	p = mmap(NULL, room, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return err_sys(e, "memory for a secret");
	/* Best effort: RLIMIT_MEMLOCK may forbid it. */
	(void)mlock(p, room);
	(void)madvise(p, room, MADV_DONTDUMP);
	s->p = p;
	s->len = n;
	s->room = room;
	return 0;
}

int
secret_set(struct secret *s, const void *p, size_t n, struct err *e)
{
	if (secret_alloc(s, n, e) == -1)
		return -1;
	if (n > 0)
		memcpy(s->p, p, n);
	return 0;
}

void
secret_wipe(void *p, size_t n)
{
	explicit_bzero(p, n);
}

void
secret_free(struct secret *s)
{
	if (s->p == NULL)
		return;
	explicit_bzero(s->p, s->room);
	munmap(s->p, s->room);
	s->p = NULL;
	s->len = s->room = 0;
}

int
secret_read_fd(struct secret *s, int fd, const char *what, struct err *e)
{
	struct secret in = SECRET_INIT;
	size_t len = 0;
	ssize_t n;
	int ret = -1;

	if (secret_alloc(&in, SECRET_MAX, e) == -1)
		return -1;
	for (;;) {
		n = read(fd, in.p + len, SECRET_MAX - len);
		if (n == -1 && errno == EINTR && stop_check(e) == -1)
			goto out;
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1) {
			err_sys(e, "%s", what);
			goto out;
		}
		if (n == 0)
			break;
		len += (size_t)n;
		if (len == SECRET_MAX) {
			err_set(e, CALA_USAGE, "%s: longer than %d bytes",
			    what, SECRET_MAX - 1);
			goto out;
		}
	}
	if (len > 0 && in.p[len - 1] == '\n') {
		len--;
		if (len > 0 && in.p[len - 1] == '\r')
			len--;
	}
	ret = secret_set(s, in.p, len, e);
out:
	secret_free(&in);
	return ret;
}

/*
 * systemd gives a service its credentials by an ACL; the mode's group bits are
 * then the ACL's mask, not what the group may do.  May only we and root read
 * it?  (Format: linux/posix_acl_xattr.h.)
 */
static bool
acl_private(int fd, const struct stat *st)
{
	enum { USER = 2, GROUP_OBJ = 4, GROUP = 8 };
	unsigned char x[4 + 32 * 8];
	unsigned tag, perm, id;
	ssize_t n, i;

	n = fgetxattr(fd, "system.posix_acl_access", x, sizeof(x));
	if ((st->st_mode & 07) != 0 || n < 4 || n % 8 != 4 ||
	    get_le32(x) != 2)
		return false;
	for (i = 4; i < n; i += 8) {
		tag = get_le16(x + i);
		perm = get_le16(x + i + 2);
		id = get_le32(x + i + 4);
		if (perm == 0)
			continue;
		if (tag == GROUP_OBJ || tag == GROUP ||
		    (tag == USER && id != 0 && id != geteuid()))
			return false;
	}
	return true;
}

int
secret_read_file(struct secret *s, const char *path, struct err *e)
{
	struct stat st;
	int fd, ret = -1;

	/* O_NONBLOCK: a FIFO planted here must not hang us. */
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd == -1)
		return err_sys(e, "secret file %s", str_q(path));
	if (fstat(fd, &st) == -1) {
		err_sys(e, "secret file %s", str_q(path));
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		err_set(e, CALA_AUTH, "secret file %s: not a regular file",
		    str_q(path));
		goto out;
	}
	if (st.st_uid != geteuid() && st.st_uid != 0) {
		err_set(e, CALA_AUTH,
		    "secret file %s: owned by uid %u, must be ours or root's",
		    str_q(path), st.st_uid);
		goto out;
	}
	if ((st.st_mode & 077) != 0 && !acl_private(fd, &st)) {
		err_set(e, CALA_AUTH,
		    "secret file %s: mode %04o lets group or others read it",
		    str_q(path), st.st_mode & 07777);
		err_hint(e, "chmod 600 %s", str_q(path));
		goto out;
	}
	ret = secret_read_fd(s, fd, path, e);
out:
	close(fd);
	return ret;
}
