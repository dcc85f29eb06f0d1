#include "snap/subvol.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"

int
subvol_root(int fd)
{
	struct statfs fs;
	struct stat st;

	if (fstatfs(fd, &fs) == -1 || fstat(fd, &st) == -1 ||
	    (uint32_t)fs.f_type != (uint32_t)BTRFS_SUPER_MAGIC)
		return -1;
	return S_ISDIR(st.st_mode) && st.st_ino == BTRFS_FIRST_FREE_OBJECTID;
}

/* A UUID as the kernel keeps it; all zero is none. */
static void
uuid_text(const unsigned char u[BTRFS_UUID_SIZE], char out[UUID_TEXT])
{
	static const unsigned char none[BTRFS_UUID_SIZE];

	if (memcmp(u, none, BTRFS_UUID_SIZE) == 0) {
		out[0] = '\0';
		return;
	}
	snprintf(out, UUID_TEXT, "%02x%02x%02x%02x-%02x%02x-%02x%02x-"
	    "%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2], u[3], u[4],
	    u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
	    u[15]);
}

int
subvol_info(int fd, struct subvol *s, struct err *e)
{
	struct btrfs_ioctl_get_subvol_info_args a;

	memset(&a, 0, sizeof(a));
	if (ioctl(fd, BTRFS_IOC_GET_SUBVOL_INFO, &a) == -1)
		return err_sys(e, "ask for the subvolume");
	memset(s, 0, sizeof(*s));
	s->id = a.treeid;
	s->generation = a.generation;
	s->changed = a.ctransid;
	s->readonly = (a.flags & BTRFS_ROOT_SUBVOL_RDONLY) != 0;
	s->created.tv_sec = (time_t)a.otime.sec;
	s->created.tv_nsec = (long)a.otime.nsec;
	uuid_text(a.uuid, s->uuid);
	uuid_text(a.parent_uuid, s->parent);
	uuid_text(a.received_uuid, s->received);
	return 0;
}

bool
subvol_same_fs(int a, int b)
{
	struct btrfs_ioctl_fs_info_args x, y;

	memset(&x, 0, sizeof(x));
	memset(&y, 0, sizeof(y));
	return subvol_root(a) != -1 && subvol_root(b) != -1 &&
	    ioctl(a, BTRFS_IOC_FS_INFO, &x) == 0 &&
	    ioctl(b, BTRFS_IOC_FS_INFO, &y) == 0 &&
	    memcmp(x.fsid, y.fsid, sizeof(x.fsid)) == 0;
}

static int
named(struct btrfs_ioctl_vol_args_v2 *a, const char *name, struct err *e)
{
	size_t n = strlen(name);

	memset(a, 0, sizeof(*a));
	if (n == 0 || n >= sizeof(a->name) || strchr(name, '/') != NULL)
		return err_set(e, CALA_USAGE, "%s: no name for a subvolume",
		    str_q(name));
	memcpy(a->name, name, n + 1);
	return 0;
}

int
subvol_snapshot(int src, int dirfd, const char *name, bool readonly,
    struct err *e)
{
	struct btrfs_ioctl_vol_args_v2 a;

	if (named(&a, name, e) == -1)
		return -1;
	a.fd = src;
	a.flags = readonly ? BTRFS_SUBVOL_RDONLY : 0;
	if (ioctl(dirfd, BTRFS_IOC_SNAP_CREATE_V2, &a) == 0)
		return 0;
	if (errno == EXDEV || errno == ENOTTY)
		return err_set(e, CALA_USAGE, "a snapshot can't leave its "
		    "file system");
	err_sys(e, "make a Btrfs snapshot");
	if (errno == EPERM)
		err_hint(e, "run as root");
	return -1;
}

int
subvol_create(int dirfd, const char *name, struct err *e)
{
	struct btrfs_ioctl_vol_args_v2 a;

	if (named(&a, name, e) == -1)
		return -1;
	if (ioctl(dirfd, BTRFS_IOC_SUBVOL_CREATE_V2, &a) == -1)
		return err_sys(e, "make a Btrfs subvolume");
	return 0;
}

/*
 * Its quota group would stay, empty, for ever.  Newer kernels remove it
 * themselves, and say that it is busy until then; without quotas there is none.
 */
static void
drop_qgroup(int dirfd, uint64_t id)
{
	struct btrfs_ioctl_qgroup_create_args a;

	memset(&a, 0, sizeof(a));
	a.qgroupid = id;
	(void)ioctl(dirfd, BTRFS_IOC_QGROUP_CREATE, &a);
}

int
subvol_delete(int dirfd, const char *name, struct err *e)
{
	struct btrfs_ioctl_vol_args_v2 v2;
	struct btrfs_ioctl_vol_args a;
	struct subvol s = { .id = 0 };
	int fd;

	if (named(&v2, name, e) == -1)
		return -1;
	fd = openat(dirfd, name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, "%s", str_q(name));
	if (subvol_root(fd) != 1) {
		close(fd);
		return err_set(e, CALA_FAIL, "%s: not a subvolume",
		    str_q(name));
	}
	if (subvol_info(fd, &s, e) == -1) {
		close(fd);
		return -1;
	}
	close(fd);
	memset(&a, 0, sizeof(a));
	memcpy(a.name, name, strlen(name) + 1);
	if (ioctl(dirfd, BTRFS_IOC_SNAP_DESTROY, &a) == -1) {
		err_sys(e, "delete the subvolume %s", str_q(name));
		if (errno == ENOTEMPTY)
			err_hint(e, "there are subvolumes in it: "
			    "btrfs subvolume list -o shows them");
		else if (errno == EPERM)
			err_hint(e, "run as root; chattr -i when its directory "
			    "is immutable");
		return -1;
	}
	drop_qgroup(dirfd, s.id);
	return 0;
}

int
subvol_set_readonly(int fd, bool on, struct err *e)
{
	uint64_t flags = 0;

	if (ioctl(fd, BTRFS_IOC_SUBVOL_GETFLAGS, &flags) == -1)
		return err_sys(e, "ask for the subvolume's flags");
	flags = on ? flags | BTRFS_SUBVOL_RDONLY :
	    flags & ~(uint64_t)BTRFS_SUBVOL_RDONLY;
	if (ioctl(fd, BTRFS_IOC_SUBVOL_SETFLAGS, &flags) == -1)
		return err_sys(e, "make the subvolume %s", on ? "read-only" :
		    "writable");
	return 0;
}

/* Where in its parent a nested subvolume is. */
static int
tell(int fd, uint64_t dirid, uint64_t id,
    int (*fn)(void *, const char *, struct err *), void *arg, struct err *e)
{
	struct btrfs_ioctl_ino_lookup_user_args *u = calloc(1, sizeof(*u));
	char path[sizeof(u->path) + sizeof(u->name) + 2];
	int ret;

	if (u == NULL)
		return err_oom(e);
	u->dirid = dirid;
	u->treeid = id;
	if (ioctl(fd, BTRFS_IOC_INO_LOOKUP_USER, u) == -1)
		snprintf(path, sizeof(path), "subvolume with the id %ju",
		    (uintmax_t)id);
	else
		snprintf(path, sizeof(path), "%.*s%s%.*s",
		    (int)sizeof(u->path) - 1, u->path,
		    u->path[0] != '\0' && !str_ends(u->path, "/") ? "/" : "",
		    (int)sizeof(u->name) - 1, u->name);
	free(u);
	ret = fn(arg, path, e);
	return ret;
}

int
subvol_nested(int fd, int (*fn)(void *, const char *, struct err *),
    void *arg, struct err *e)
{
	struct btrfs_ioctl_get_subvol_rootref_args *a = calloc(1, sizeof(*a));
	int ret = 0, full;
	unsigned i;

	if (a == NULL)
		return err_oom(e);
	do {
		/* EOVERFLOW: min_treeid is where to go on. */
		full = ioctl(fd, BTRFS_IOC_GET_SUBVOL_ROOTREF, a) == -1;
		if (full && errno != EOVERFLOW) {
			ret = err_sys(e, "ask for nested subvolumes");
			break;
		}
		for (i = 0; ret == 0 && i < a->num_items; i++)
			ret = tell(fd, a->rootref[i].dirid,
			    a->rootref[i].treeid, fn, arg, e);
	} while (ret == 0 && full);
	free(a);
	return ret;
}

int
subvol_send(int fd, uint64_t parent, int out, struct err *e)
{
	struct btrfs_ioctl_send_args a;
	__u64 sources[1];

	memset(&a, 0, sizeof(a));
	a.send_fd = out;
	a.parent_root = parent;
	if (parent != 0) {
		sources[0] = parent;
		a.clone_sources = sources;
		a.clone_sources_count = 1;
	}
	if (ioctl(fd, BTRFS_IOC_SEND, &a) == 0)
		return 0;
	err_sys(e, "send the subvolume");
	if (errno == EPIPE)
		e->code = CALA_SIGNAL + SIGPIPE;
	else if (errno == EROFS || errno == EPERM)
		err_hint(e, "only root can send, and only what is read-only");
	return -1;
}

static int
flags_of(int dirfd, int *flags)
{
	return ioctl(dirfd, FS_IOC_GETFLAGS, flags);
}

int
subvol_guard(int dirfd, bool on)
{
	int flags;

	if (flags_of(dirfd, &flags) == -1)
		return -1;
	if (((flags & FS_IMMUTABLE_FL) != 0) == on)
		return 0;
	flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
	return ioctl(dirfd, FS_IOC_SETFLAGS, &flags);
}

bool
subvol_guarded(int dirfd)
{
	int flags;

	return flags_of(dirfd, &flags) == 0 && (flags & FS_IMMUTABLE_FL) != 0;
}
