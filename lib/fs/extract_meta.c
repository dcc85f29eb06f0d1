/*
 * Owners, attributes, modes, times; and the objects that are nothing else.
 *
 * Order: owner first (changing it clears setuid bits and capabilities), then
 * attributes (an ACL changes the mode), then mode, then times.
 */

#include "fs/extract_int.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/str.h"
#include "fs/attrs.h"

enum { XHEAD = 8, NAMES = 8 };

static bool
passwd_id(const char *name, uint32_t *id)
{
	char text[4096];
	struct passwd p, *got = NULL;

	if (getpwnam_r(name, &p, text, sizeof(text), &got) != 0 || got == NULL)
		return false;
	*id = p.pw_uid;
	return true;
}

static bool
group_id(const char *name, uint32_t *id)
{
	char text[16384];
	struct group g, *got = NULL;

	if (getgrnam_r(name, &g, text, sizeof(text), &got) != 0 || got == NULL)
		return false;
	*id = g.gr_gid;
	return true;
}

/* What this machine calls name, or the number when it does not know it. */
#define LOOKUP(cache, n, find, text, number) do {			\
	unsigned i;							\
									\
	if (text == NULL || text[0] == '\0' ||				\
	    strlen(text) >= sizeof((cache)[0].name))			\
		return number;						\
	for (i = 0; i < NAMES && i < (n); i++)				\
		if (strcmp((cache)[i].name, text) == 0)			\
			return (cache)[i].known ? (cache)[i].id : number; \
	i = (n)++ % NAMES;						\
	snprintf((cache)[i].name, sizeof((cache)[i].name), "%s", text);	\
	(cache)[i].known = find(text, &(cache)[i].id);			\
	return (cache)[i].known ? (cache)[i].id : number;		\
} while (0)

static uint32_t
user(struct extract *x, const char *name, uint32_t id)
{
	LOOKUP(x->user, x->nuser, passwd_id, name, id);
}

static uint32_t
group(struct extract *x, const char *name, uint32_t id)
{
	LOOKUP(x->group, x->ngroup, group_id, name, id);
}

static int
copy_xattrs(const struct entry *en, struct meta *m, struct err *e)
{
	size_t i, k, n = 0;
	unsigned char *p;

	for (i = 0; i < en->nxattrs; i++) {
		k = strlen(en->xattrs[i].name);
		if (k > EXT_XATTRS || en->xattrs[i].len > EXT_XATTRS ||
		    (n += XHEAD + k + 1 + en->xattrs[i].len) > EXT_XATTRS)
			return err_set(e, CALA_FAIL,
			    "%s: more than %d bytes of attributes",
			    str_q(en->path), EXT_XATTRS);
	}
	if (n == 0)
		return 0;
	if ((m->xattrs = malloc(n)) == NULL)
		return err_oom(e);
	for (p = m->xattrs, i = 0; i < en->nxattrs; i++) {
		k = strlen(en->xattrs[i].name) + 1;
		put_le32(p, (uint32_t)k);
		put_le32(p + 4, (uint32_t)en->xattrs[i].len);
		memcpy(p + XHEAD, en->xattrs[i].name, k);
		if (en->xattrs[i].len > 0)
			memcpy(p + XHEAD + k, en->xattrs[i].value,
			    en->xattrs[i].len);
		p += XHEAD + k + en->xattrs[i].len;
	}
	m->xlen = n;
	return 0;
}

int
meta_of(struct extract *x, const struct entry *en, struct meta *m,
    struct err *e)
{
	memset(m, 0, sizeof(*m));
	m->mode = en->mode & 07777;
	m->uid = en->unowned ? x->how.uid : en->uid;
	m->gid = en->unowned ? x->how.gid : en->gid;
	if (!en->unowned && x->how.owners && !x->how.numeric) {
		m->uid = user(x, en->uname, en->uid);
		m->gid = group(x, en->gname, en->gid);
	}
	m->attrs = en->attrs;
	m->projid = en->projid;
	m->mtime = en->mtime;
	if (m->mtime.tv_nsec < 0 || m->mtime.tv_nsec > 999999999)
		m->mtime.tv_nsec = 0;
	return x->how.xattrs ? copy_xattrs(en, m, e) : 0;
}

void
meta_fini(struct meta *m)
{
	free(m->xattrs);
	m->xattrs = NULL;
}

static bool
is_acl(const char *name)
{
	return str_begins(name, "system.posix_acl_");
}

static void
set_xattr(struct extract *x, int fd, const char *proc, bool owned,
    const char *name, const void *value, size_t n, const char *path)
{
	bool root_only = str_begins(name, "security.") ||
	    str_begins(name, "trusted.");
	int ret;

	if (root_only && !x->privileged) {
		if (x_once(x, ONCE_XATTR_ROOT))
			log_warn(x->log, "%s: %s needs root; such attributes "
			    "are not restored", str_q(path), str_q(name));
		return;
	}
	/* A capability without its owner would be somebody else's power. */
	if (strcmp(name, "security.capability") == 0 && !owned) {
		if (x_once(x, ONCE_SETUID))
			log_warn(x->log, "%s: capabilities and setuid bits "
			    "need --owners; not restored", str_q(path));
		return;
	}
	ret = proc != NULL ? setxattr(proc, name, value, n, 0) :
	    fsetxattr(fd, name, value, n, 0);
	if (ret == 0)
		return;
	if (errno == ENOTSUP) {
		if (x_once(x, ONCE_XATTR_TYPE))
			log_warn(x->log, "%s: the file system has no room for "
			    "%s; such attributes are not restored",
			    str_q(path), is_acl(name) ? "ACLs" : str_q(name));
		return;
	}
	log_warn(x->log, "%s: attribute %s: %s", str_q(path), str_q(name),
	    strerrordesc_np(errno));
}

static void
set_xattrs(struct extract *x, int fd, const char *proc, bool owned,
    const struct meta *m, bool inherits, const char *path)
{
	const unsigned char *p = m->xattrs, *end = p + m->xlen;
	static const char *const acl[] = { "system.posix_acl_access",
	    "system.posix_acl_default" };
	int i;

	for (i = 0; inherits && i < 2; i++)
		(void)(proc != NULL ? removexattr(proc, acl[i]) :
		    fremovexattr(fd, acl[i]));
	while (m->xlen > 0 && p < end) {
		const char *name = (const char *)p + XHEAD;
		size_t k = get_le32(p), n = get_le32(p + 4);

		set_xattr(x, fd, proc, owned, name, p + XHEAD + k, n, path);
		p += XHEAD + k + n;
	}
}

static bool
set_owner(struct extract *x, int fd, const struct meta *m, const char *path)
{
	bool want = m->implied ? x->privileged : x->how.owners;

	if (!want)
		return false;
	if (fchownat(fd, "", m->uid, m->gid, AT_EMPTY_PATH |
	    AT_SYMLINK_NOFOLLOW) == 0)
		return true;
	if (errno != EPERM || x_once(x, ONCE_CHOWN))
		log_warn(x->log, "%s: owner %ju:%ju: %s%s", str_q(path),
		    (uintmax_t)m->uid, (uintmax_t)m->gid,
		    strerrordesc_np(errno), errno == EPERM ?
		    "; said once" : "");
	return false;
}

/* Which of the recorded bits may be set, now that we know the owner. */
static uint32_t
allowed(struct extract *x, int fd, bool owned, const struct meta *m,
    const char *path)
{
	uint32_t mode = m->mode;
	struct stat st;

	if (owned || (mode & 06000) == 0)
		return mode;
	if (fstat(fd, &st) == -1 || x->privileged)
		mode &= 01777;
	else {
		if (st.st_uid != m->uid)
			mode &= (uint32_t)~04000;
		if (st.st_gid != m->gid)
			mode &= (uint32_t)~02000;
	}
	if (mode != m->mode && x_once(x, ONCE_SETUID))
		log_warn(x->log, "%s: capabilities and setuid bits need "
		    "--owners; not restored", str_q(path));
	return mode;
}

/* Best effort: hardly anything depends on them, and few file systems have any. */
static void
set_attrs(struct extract *x, int fd, bool opath, const struct meta *m,
    const char *path)
{
	uint32_t fixed = FS_IMMUTABLE_FL | FS_APPEND_FL;

	/* Who is charged for it is a question of owners. */
	if (m->projid != 0 && x->how.owners &&
	    attrs_project(fd, opath, m->projid) == -1 &&
	    x_once(x, ONCE_PROJECT))
		log_warn(x->log, "%s: quota project %u: %s; said once",
		    str_q(path), (unsigned)m->projid,
		    strerrordesc_np(errno));
	if ((m->attrs & ATTRS_SET) != 0 &&
	    attrs_set(fd, opath, m->attrs) == -1 && x_once(x, ONCE_ATTRS))
		log_warn(x->log, "%s: its attribute bits: %s; said once",
		    str_q(path), strerrordesc_np(errno));
	if ((m->attrs & fixed) != 0 && x_once(x, ONCE_FIXED))
		log_warn(x->log, "%s: is immutable or append-only; such bits "
		    "are not restored", str_q(path));
}

void
meta_apply(struct extract *x, int fd, bool opath, enum entry_type type,
    const struct meta *m, bool inherits, const char *path)
{
	struct timespec ts[2] = { { 0, UTIME_OMIT }, m->mtime };
	char buf[32], *proc = NULL;
	uint32_t mode;
	bool owned;

	if (opath) {
		snprintf(buf, sizeof(buf), "/proc/self/fd/%d", fd);
		proc = buf;
	}
	owned = set_owner(x, fd, m, path);
	set_xattrs(x, fd, proc, owned, m, inherits, path);
	if (type == ENTRY_FILE || type == ENTRY_DIR)
		set_attrs(x, fd, opath, m, path);
	if (type != ENTRY_SYMLINK) {
		mode = type == ENTRY_FILE ? allowed(x, fd, owned, m, path) :
		    m->mode;
		if ((proc != NULL ? chmod(proc, mode) : fchmod(fd, mode)) ==
		    -1)
			log_warn(x->log, "%s: mode %04o: %s", str_q(path),
			    mode, strerrordesc_np(errno));
	}
	if (!m->implied && (opath ? utimensat(fd, "", ts, AT_EMPTY_PATH |
	    AT_SYMLINK_NOFOLLOW) : futimens(fd, ts)) == -1)
		log_warn(x->log, "%s: time: %s", str_q(path),
		    strerrordesc_np(errno));
}

static mode_t
format(enum entry_type t)
{
	switch (t) {
	case ENTRY_SYMLINK:
		return S_IFLNK;
	case ENTRY_FIFO:
		return S_IFIFO;
	case ENTRY_CHAR:
		return S_IFCHR;
	case ENTRY_BLOCK:
		return S_IFBLK;
	default:
		return 0;
	}
}

/* 1: something is there and may not be replaced. */
static int
kept(struct extract *x, struct dir *d, const struct entry *en)
{
	struct stat st;

	if (x->how.overwrite || fstatat(d->fd, entry_name(en->path), &st,
	    AT_SYMLINK_NOFOLLOW) == -1)
		return 0;
	x->kept++;
	log_warn(x->log, "%s: exists; kept", str_q(en->path));
	return 1;
}

int
meta_special(struct extract *x, struct dir *d, const struct entry *en,
    struct err *e)
{
	struct meta m = { 0 };
	struct stat st;
	char tmp[X_TEMP];
	mode_t fmt = format(en->type);
	int fd = -1, ret = -1;

	if (kept(x, d, en))
		return 1;
	if ((fmt == S_IFCHR || fmt == S_IFBLK) && !x->privileged) {
		if (x_once(x, ONCE_DEVICE))
			log_warn(x->log, "%s: device nodes need root; not "
			    "restored", str_q(en->path));
		return 1;
	}
	x_temp(x, tmp);
	if ((fmt == S_IFLNK ? symlinkat(en->target, d->fd, tmp) :
	    mknodat(d->fd, tmp, fmt | 0600, makedev(en->rdev_major,
	    en->rdev_minor))) == -1)
		return err_sys(e, "%s", str_q(en->path));
	/*
	 * Who may write to this directory could have put something else there
	 * by now: a further name of a file whose owner must not change.
	 */
	fd = openat(d->fd, tmp, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1 || fstat(fd, &st) == -1) {
		err_sys(e, "%s", str_q(en->path));
		goto out;
	}
	if ((st.st_mode & S_IFMT) != fmt || st.st_nlink != 1) {
		err_set(e, CALA_FAIL, "%s: was replaced while we made it",
		    str_q(en->path));
		goto out;
	}
	if (meta_of(x, en, &m, e) == -1)
		goto out;
	meta_apply(x, fd, true, en->type, &m, false, en->path);
	ret = x_place(x, d->fd, tmp, entry_name(en->path), e);
	if (ret == -1)
		err_ctx(e, "%s", str_q(en->path));
out:
	if (ret == -1)
		(void)unlinkat(d->fd, tmp, 0);
	meta_fini(&m);
	if (fd != -1)
		close(fd);
	return ret;
}

/* The directory that holds target, never made, and target's last component. */
static int
target_dir(struct extract *x, const char *target, struct err *e)
{
	const char *name = entry_name(target);
	char *parent;
	int fd;

	if ((parent = strndup(target, name == target ? 0 :
	    (size_t)(name - target - 1))) == NULL)
		return err_oom(e);
	fd = fs_beneath(x->root, parent, O_PATH | O_DIRECTORY, &x->walk);
	if (fd == -1) {
		dirs_explain(errno, parent, e);
		err_ctx(e, "link target %s", str_q(target));
	}
	free(parent);
	return fd;
}

int
meta_link(struct extract *x, struct dir *d, const struct entry *en,
    struct err *e)
{
	const char *name = entry_name(en->path), *of = entry_name(en->target);
	struct stat a, b;
	char tmp[X_TEMP];
	int fd, ret = -1;

	if ((fd = target_dir(x, en->target, e)) == -1)
		goto out;
	if (fstatat(fd, of, &a, AT_SYMLINK_NOFOLLOW) == -1) {
		err_sys(e, "link target %s", str_q(en->target));
		goto out;
	}
	if (S_ISDIR(a.st_mode)) {
		err_set(e, CALA_FAIL, "link target %s is a directory",
		    str_q(en->target));
		goto out;
	}
	if (fstatat(d->fd, name, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
	    a.st_dev == b.st_dev && a.st_ino == b.st_ino) {
		ret = 0;
		goto out;
	}
	if (kept(x, d, en)) {
		ret = 1;
		goto out;
	}
	x_temp(x, tmp);
	/* Without AT_SYMLINK_FOLLOW: a link to a link, never through it. */
	if (linkat(fd, of, d->fd, tmp, 0) == -1) {
		err_sys(e, "link to %s", str_q(en->target));
		goto out;
	}
	if ((ret = x_place(x, d->fd, tmp, name, e)) == -1)
		(void)unlinkat(d->fd, tmp, 0);
out:
	if (ret == -1)
		err_ctx(e, "%s", str_q(en->path));
	if (fd != -1)
		close(fd);
	return ret;
}
