#include "pxar/decode.h"

#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "pxar/item.h"

enum { BYTES_MAX = 16 << 20 };          /* of one entry's attributes */

/* Items that come once at most. */
enum { SEEN_GROUP_OBJ = 1, SEEN_DEFAULT = 2, SEEN_FCAPS = 4, SEEN_PROJID = 8 };

void
found_init(struct found *f)
{
	memset(f, 0, sizeof(*f));
	buf_init(&f->bytes, BYTES_MAX);
	buf_init(&f->target, PXAR_NAME_MAX + 1);
}

void
found_fini(struct found *f)
{
	buf_fini(&f->bytes);
	buf_fini(&f->target);
	acl_fini(&f->access);
	acl_fini(&f->def);
}

int
decode_bad(struct err *e, const struct in *in, const char *what)
{
	return err_set(e, CALA_INTEGRITY, "pxar: at byte %ju: %s",
	    (uintmax_t)in->pos, what);
}

int
decode_head(struct in *in, uint64_t *type, uint64_t *size, struct err *e)
{
	const unsigned char *p;
	int k;

	if ((k = in_peek(in, PXAR_HEAD, &p, e)) != 1)
		return k;
	*type = get_le64(p);
	*size = get_le64(p + 8);
	if (*size < PXAR_HEAD)
		return decode_bad(e, in, "an item smaller than its header");
	*size -= PXAR_HEAD;
	return 1;
}

static int
cut_short(struct err *e)
{
	return err_set(e, CALA_INCOMPLETE, "pxar: the archive ends too early");
}

/* The whole content of a small item, taken. */
static int
content(struct in *in, uint64_t size, const unsigned char **p, struct err *e)
{
	int k;

	in_take(in, PXAR_HEAD);
	if (size == 0)
		return 0;
	if ((k = in_peek(in, (size_t)size, p, e)) == 0)
		return cut_short(e);
	if (k == 1)
		in_take(in, (size_t)size);
	return k == 1 ? 0 : -1;
}

static int
numbers(struct in *in, uint64_t size, unsigned n, uint64_t *v, struct err *e)
{
	const unsigned char *p = NULL;
	unsigned i;

	if (size != 8 * n)
		return decode_bad(e, in, "an item of a wrong size");
	if (content(in, size, &p, e) == -1)
		return -1;
	for (i = 0; i < n; i++)
		v[i] = get_le64(p + 8 * i);
	return 0;
}

int
decode_version(struct in *in, bool *split, struct err *e)
{
	uint64_t type, size, v;
	int k;

	*split = false;
	if ((k = decode_head(in, &type, &size, e)) != 1)
		return k == -1 ? -1 : cut_short(e);
	if (type != PXAR_FORMAT_VERSION)
		return type == PXAR_ENTRY || type == PXAR_ENTRY_V1 ? 0 :
		    decode_bad(e, in, "not a pxar archive");
	if (numbers(in, size, 1, &v, e) == -1)
		return -1;
	if (v != 1 && v != 2)
		return decode_bad(e, in, "a format version that is not known");
	*split = v == 2;
	if (!*split)
		return 0;
	if ((k = decode_head(in, &type, &size, e)) != 1)
		return k == -1 ? -1 : cut_short(e);
	if (type != PXAR_PRELUDE)
		return 0;
	in_take(in, PXAR_HEAD);
	return in_skip(in, size, e);
}

int
decode_name(struct in *in, struct buf *name, struct err *e)
{
	const unsigned char *p = NULL;
	uint64_t type, size;
	size_t n;
	int k;

	if ((k = decode_head(in, &type, &size, e)) == -1)
		return -1;
	if (k == 0)
		return cut_short(e);
	if (type != PXAR_FILENAME)
		return decode_bad(e, in, "no file name where one must be");
	if (size < 2 || size > PXAR_NAME_MAX + 1)
		return decode_bad(e, in, "a file name of a wrong length");
	if (content(in, size, &p, e) == -1)
		return -1;
	n = (size_t)size - 1;
	if (p[n] != '\0' || memchr(p, '\0', n) != NULL ||
	    memchr(p, '/', n) != NULL || (p[0] == '.' && (n == 1 ||
	    (n == 2 && p[1] == '.'))))
		return decode_bad(e, in, "a file name that is none");
	buf_reset(name);
	buf_add(name, p, n);
	return buf_failed(name, e);
}

/* ---- attributes ---- */

static int
attr_add(struct found *f, const struct in *in, const void *name, size_t n,
    const void *value, size_t len, struct err *e)
{
	size_t i = f->en.nxattrs;

	if (i == ENTRY_XATTR_MAX)
		return decode_bad(e, in, "too many extended attributes");
	f->at[i][0] = f->bytes.len;
	buf_add(&f->bytes, name, n);
	buf_chr(&f->bytes, '\0');
	f->at[i][1] = f->bytes.len;
	buf_add(&f->bytes, value, len);
	if (f->bytes.failed)
		return decode_bad(e, in, "too many bytes of extended "
		    "attributes");
	f->x[i].len = len;
	f->en.nxattrs++;
	return 0;
}

static int
xattr(struct found *f, struct in *in, uint64_t size, struct err *e)
{
	const unsigned char *p = NULL, *nul;

	if (size > PXAR_XATTR_SIZE)
		return decode_bad(e, in, "an extended attribute too large");
	if (content(in, size, &p, e) == -1)
		return -1;
	nul = size == 0 ? NULL : memchr(p, '\0', (size_t)size);
	if (nul == NULL || nul == p)
		return decode_bad(e, in, "an extended attribute without name");
	return attr_add(f, in, p, (size_t)(nul - p), nul + 1,
	    (size_t)(p + size - nul - 1), e);
}

static int
fcaps(struct found *f, struct in *in, uint64_t size, struct err *e)
{
	const unsigned char *p = (const unsigned char *)"";

	if (size > PXAR_XATTR_SIZE)
		return decode_bad(e, in, "file capabilities too large");
	if (content(in, size, &p, e) == -1)
		return -1;
	return attr_add(f, in, "security.capability", 19, p, (size_t)size, e);
}

/* 1: it was one; 0: no attribute; -1. */
static int
attribute(struct found *f, struct in *in, uint64_t type, uint64_t size,
    struct err *e)
{
	unsigned once = type == PXAR_ACL_GROUP_OBJ ? SEEN_GROUP_OBJ :
	    type == PXAR_ACL_DEFAULT ? SEEN_DEFAULT :
	    type == PXAR_FCAPS ? SEEN_FCAPS :
	    type == PXAR_QUOTA_PROJID ? SEEN_PROJID : 0;
	uint64_t v[4];
	int k = 0;

	if ((f->seen & once) != 0)
		return decode_bad(e, in, "an attribute that comes twice");
	f->seen |= once;
	switch (type) {
	case PXAR_XATTR:
		return xattr(f, in, size, e) == -1 ? -1 : 1;
	case PXAR_FCAPS:
		return fcaps(f, in, size, e) == -1 ? -1 : 1;
	case PXAR_ACL_USER:
	case PXAR_ACL_GROUP:
	case PXAR_ACL_DEFAULT_USER:
	case PXAR_ACL_DEFAULT_GROUP:
		if (numbers(in, size, 2, v, e) == -1)
			return -1;
		k = type == PXAR_ACL_USER ?
		    acl_add_user(&f->access, v[0], v[1]) :
		    type == PXAR_ACL_GROUP ?
		    acl_add_group(&f->access, v[0], v[1]) :
		    type == PXAR_ACL_DEFAULT_USER ?
		    acl_add_user(&f->def, v[0], v[1]) :
		    acl_add_group(&f->def, v[0], v[1]);
		return k == 0 ? 1 : decode_bad(e, in, "an access list too "
		    "long");
	case PXAR_ACL_GROUP_OBJ:
		return numbers(in, size, 1, &f->access.group_obj, e) == -1 ?
		    -1 : 1;
	case PXAR_ACL_DEFAULT:
		if (numbers(in, size, 4, v, e) == -1)
			return -1;
		f->def.user_obj = v[0];
		f->def.group_obj = v[1];
		f->def.other = v[2];
		f->def.mask = v[3];
		return 1;
	case PXAR_QUOTA_PROJID:
		if (numbers(in, size, 1, v, e) == -1)
			return -1;
		if (v[0] > UINT32_MAX)
			return decode_bad(e, in, "a project id that is none");
		f->en.projid = (uint32_t)v[0];
		return 1;
	default:
		return 0;
	}
}

static int
acl_attr(struct found *f, const struct in *in, const char *name,
    const struct acl *a, const char *path, struct log *log, struct err *e)
{
	struct buf b;
	int ret = 0;

	buf_init(&b, 8 * (2 * ACL_ACES_MAX + 5));
	if (acl_put(&b, a) == -1)
		log_warn(log, "%s: an access list that no kernel has; left "
		    "out", str_q(path));
	else
		ret = attr_add(f, in, name, strlen(name), b.p, b.len, e);
	buf_fini(&b);
	return ret;
}

/* What pxar leaves to the mode comes back from there. */
static int
acls(struct found *f, const struct in *in, const char *path, struct log *log,
    struct err *e)
{
	struct acl *a = &f->access;

	if (acl_any(a)) {
		a->user_obj = f->en.mode >> 6 & 7;
		a->other = f->en.mode & 7;
		a->mask = f->en.mode >> 3 & 7;
		if (a->group_obj == PXAR_ACL_NONE)
			a->group_obj = a->mask;
		if (acl_attr(f, in, "system.posix_acl_access", a, path, log,
		    e) == -1)
			return -1;
	}
	if (acl_any(&f->def) && acl_attr(f, in, "system.posix_acl_default",
	    &f->def, path, log, e) == -1)
		return -1;
	return 0;
}

/* ---- entries ---- */

static int
stat_v2(struct found *f, struct in *in, uint64_t size, uint64_t *mode,
    struct err *e)
{
	const unsigned char *p = NULL;

	if (size != PXAR_STAT)
		return decode_bad(e, in, "an entry of a wrong size");
	if (content(in, size, &p, e) == -1)
		return -1;
	*mode = get_le64(p);
	f->en.attrs = pxar_chattr(get_le64(p + 8));
	f->en.uid = get_le32(p + 16);
	f->en.gid = get_le32(p + 20);
	f->en.mtime.tv_sec = (int64_t)get_le64(p + 24);
	f->en.mtime.tv_nsec = get_le32(p + 32);
	if (f->en.mtime.tv_nsec > 999999999)
		return decode_bad(e, in, "a time with too many nanoseconds");
	return 0;
}

static int
stat_v1(struct found *f, struct in *in, uint64_t size, uint64_t *mode,
    struct err *e)
{
	const unsigned char *p = NULL;
	uint64_t t;

	if (size != PXAR_STAT_V1)
		return decode_bad(e, in, "an old entry of a wrong size");
	if (content(in, size, &p, e) == -1)
		return -1;
	*mode = get_le64(p);
	f->en.attrs = pxar_chattr(get_le64(p + 8));
	f->en.uid = get_le32(p + 16);
	f->en.gid = get_le32(p + 20);
	t = get_le64(p + 24);
	f->en.mtime.tv_sec = (int64_t)(t / 1000000000);
	f->en.mtime.tv_nsec = (long)(t % 1000000000);
	return 0;
}

static int
type_of(uint64_t mode, enum entry_type *type)
{
	if (mode > 0177777)
		return -1;
	switch (mode & S_IFMT) {
	case S_IFREG: *type = ENTRY_FILE; return 0;
	case S_IFDIR: *type = ENTRY_DIR; return 0;
	case S_IFLNK: *type = ENTRY_SYMLINK; return 0;
	case S_IFIFO: *type = ENTRY_FIFO; return 0;
	case S_IFCHR: *type = ENTRY_CHAR; return 0;
	case S_IFBLK: *type = ENTRY_BLOCK; return 0;
	case S_IFSOCK: *type = ENTRY_SOCKET; return 0;
	default: return -1;
	}
}

static int
target(struct found *f, struct in *in, const unsigned char *p, uint64_t size,
    struct err *e)
{
	if (p[size - 1] != '\0' || memchr(p, '\0', (size_t)size - 1) != NULL)
		return decode_bad(e, in, "a target that is none");
	buf_add(&f->target, p, (size_t)size - 1);
	f->en.target = f->target.p;
	return buf_failed(&f->target, e);
}

static int
symlink_tail(struct found *f, struct in *in, uint64_t size, struct err *e)
{
	const unsigned char *p = NULL;

	if (size < 1 || size > PXAR_NAME_MAX + 1)
		return decode_bad(e, in, "a symlink's target of a wrong "
		    "length");
	return content(in, size, &p, e) == -1 ? -1 :
	    target(f, in, p, size, e);
}

static int
device_tail(struct found *f, struct in *in, uint64_t size, struct err *e)
{
	uint64_t v[2];

	if (numbers(in, size, 2, v, e) == -1)
		return -1;
	if (v[0] > UINT32_MAX || v[1] > UINT32_MAX)
		return decode_bad(e, in, "a device that is none");
	f->en.rdev_major = (uint32_t)v[0];
	f->en.rdev_minor = (uint32_t)v[1];
	return 0;
}

static int
file_tail(struct found *f, struct in *in, bool split, uint64_t type,
    uint64_t size, struct err *e)
{
	uint64_t v[2];

	if (type != (split ? PXAR_PAYLOAD_REF : PXAR_PAYLOAD))
		return decode_bad(e, in, "a file without content");
	if (split) {
		if (numbers(in, size, 2, v, e) == -1)
			return -1;
		f->body = v[0];
		f->en.size = v[1];
	} else {
		in_take(in, PXAR_HEAD);
		f->body = in->pos;
		f->en.size = size;
	}
	if (f->en.size > INT64_MAX || f->body > INT64_MAX)
		return decode_bad(e, in, "a file larger than any");
	return 0;
}

/* What the type of the entry wants behind its attributes. */
static int
tail(struct found *f, struct in *in, bool split, uint64_t type, uint64_t size,
    struct err *e)
{
	if (type == 0 && (f->en.type == ENTRY_FILE ||
	    f->en.type == ENTRY_SYMLINK || f->en.type == ENTRY_CHAR ||
	    f->en.type == ENTRY_BLOCK))
		return cut_short(e);
	switch (f->en.type) {
	case ENTRY_FILE:
		return file_tail(f, in, split, type, size, e);
	case ENTRY_SYMLINK:
		if (type != PXAR_SYMLINK)
			return decode_bad(e, in, "a symlink without target");
		return symlink_tail(f, in, size, e);
	case ENTRY_CHAR:
	case ENTRY_BLOCK:
		if (type != PXAR_DEVICE)
			return decode_bad(e, in, "a device without numbers");
		return device_tail(f, in, size, e);
	default:
		if (type != 0 && type != PXAR_FILENAME && type != PXAR_GOODBYE)
			return decode_bad(e, in, "an item that does not belong "
			    "there");
		return 0;
	}
}

static int
hard_link(struct found *f, struct in *in, uint64_t size, struct err *e)
{
	const unsigned char *p = NULL;

	if (size < 10 || size > 8 + PXAR_NAME_MAX + 1)
		return decode_bad(e, in, "a hard link of a wrong length");
	if (content(in, size, &p, e) == -1)
		return -1;
	f->en.type = ENTRY_HARDLINK;
	f->back = get_le64(p);
	return target(f, in, p + 8, size - 8, e);
}

int
decode_entry(struct in *in, bool split, struct found *f, const char *path,
    struct log *log, struct err *e)
{
	uint64_t type, size, mode;
	size_t i;
	int k;

	memset(&f->en, 0, sizeof(f->en));
	f->back = f->body = 0;
	f->seen = 0;
	buf_reset(&f->bytes);
	buf_reset(&f->target);
	acl_reset(&f->access);
	acl_reset(&f->def);
	f->en.uname = f->en.gname = "";
	if ((k = decode_head(in, &type, &size, e)) == -1)
		return -1;
	if (k == 1 && type == PXAR_HARDLINK)
		return hard_link(f, in, size, e);
	if (k == 0)
		return cut_short(e);
	if (type != PXAR_ENTRY && type != PXAR_ENTRY_V1)
		return decode_bad(e, in, "no entry where one must be");
	if ((type == PXAR_ENTRY ? stat_v2 : stat_v1)(f, in, size, &mode,
	    e) == -1)
		return -1;
	if (type_of(mode, &f->en.type) == -1)
		return decode_bad(e, in, "an entry of an unknown type");
	f->en.mode = (uint32_t)mode & 07777;
	do {
		if ((k = decode_head(in, &type, &size, e)) == -1)
			return -1;
		if (k == 0)
			type = size = 0;
		if ((k = attribute(f, in, type, size, e)) == -1)
			return -1;
	} while (k == 1);
	if (tail(f, in, split, type, size, e) == -1 ||
	    acls(f, in, path, log, e) == -1)
		return -1;
	for (i = 0; i < f->en.nxattrs; i++) {
		f->x[i].name = f->bytes.p + f->at[i][0];
		f->x[i].value = f->bytes.p + f->at[i][1];
	}
	f->en.xattrs = f->x;
	return 0;
}

int
decode_goodbye(struct in *in, struct err *e)
{
	uint64_t type, size;

	if (decode_head(in, &type, &size, e) != 1)
		return -1;
	if (size < PXAR_REC || size % PXAR_REC != 0)
		return decode_bad(e, in, "a directory's table of a wrong "
		    "size");
	in_take(in, PXAR_HEAD);
	return in_skip(in, size, e);
}

int
decode_payload(struct in *in, uint64_t pos, uint64_t size, struct err *e)
{
	uint64_t type, n;
	int k;

	if (pos < PXAR_HEAD || (in->r == NULL && pos < in->pos))
		return decode_bad(e, in, "a reference to a content before the "
		    "last one");
	if (in_seek(in, pos, e) == -1)
		return err_ctx(e, "payload");
	if ((k = decode_head(in, &type, &n, e)) == -1)
		return err_ctx(e, "payload");
	if (k == 0)
		return cut_short(e);
	if (type != PXAR_PAYLOAD || n != size)
		return decode_bad(e, in, "payload: not the content that the "
		    "metadata refers to");
	in_take(in, PXAR_HEAD);
	return 0;
}
