#include "fs/attrs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <linux/fs.h>

_Static_assert(ATTRS_SET == (FS_COMPR_FL | FS_SYNC_FL | FS_NODUMP_FL |
    FS_NOATIME_FL | FS_NOCOMP_FL | FS_DIRSYNC_FL | FS_NOCOW_FL |
    FS_PROJINHERIT_FL), "the bits of the header");

void
attrs_get(int fd, uint32_t *attrs, uint32_t *projid)
{
	struct fsxattr x;
	unsigned flags = 0;

	*attrs = *projid = 0;
	/* The type in its name is not the one that it takes. */
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0)
		*attrs = flags;
	if (ioctl(fd, FS_IOC_FSGETXATTR, &x) == 0)
		*projid = x.fsx_projid;
}

/* ioctl() does not know descriptors of O_PATH. */
static int
really(int fd, bool opath)
{
	char path[32];

	if (!opath)
		return fd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int
done(int fd, bool opath, int ret)
{
	int why = errno;

	if (opath && fd != -1)
		close(fd);
	errno = why;
	return ret;
}

int
attrs_set(int fd, bool opath, uint32_t attrs)
{
	unsigned flags = 0;
	int in = really(fd, opath), ret = -1;

	if (in != -1 && ioctl(in, FS_IOC_GETFLAGS, &flags) == 0) {
		flags |= attrs & ATTRS_SET;
		ret = ioctl(in, FS_IOC_SETFLAGS, &flags);
	}
	return done(in, opath, ret);
}

int
attrs_project(int fd, bool opath, uint32_t projid)
{
	struct fsxattr x;
	int in = really(fd, opath), ret = -1;

	if (in != -1 && ioctl(in, FS_IOC_FSGETXATTR, &x) == 0) {
		x.fsx_projid = projid;
		ret = ioctl(in, FS_IOC_FSSETXATTR, &x);
	}
	return done(in, opath, ret);
}
