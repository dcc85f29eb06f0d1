#include "pxar/attrs.h"

#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/log.h"
#include "base/str.h"
#include "entry/entry.h"
#include "pxar/acl.h"
#include "pxar/item.h"

struct attrs {
	struct buf *items;
	struct acl *acl;
	struct log *log;
};

static const struct xattr *
special(const struct entry *en, const char *name)
{
	size_t i;

	for (i = 0; i < en->nxattrs; i++)
		if (strcmp(en->xattrs[i].name, name) == 0)
			return &en->xattrs[i];
	return NULL;
}

static void
lost(struct attrs *t, const struct entry *en, const char *what)
{
	log_warn(t->log, "%s: %s: pxar can't hold it; left out",
	    str_q(en->path), str_q(what));
}

static void
put_aces(struct buf *b, uint64_t type, const struct acl_ace *v, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		item_u64s(b, type, 2, (const uint64_t[]){ v[i].id, v[i].perm });
}

/*
 * The access list into t->acl and what it says of it into *mode; false when
 * there is none, or it says no more than the mode.
 */
static bool
access_acl(struct attrs *t, const struct entry *en, uint64_t *mode)
{
	const struct xattr *x = special(en, "system.posix_acl_access");
	const struct acl *a = t->acl;
	uint64_t group;

	if (x == NULL)
		return false;
	if (acl_get(t->acl, x->value, x->len) == -1 ||
	    a->user_obj == PXAR_ACL_NONE || a->group_obj == PXAR_ACL_NONE ||
	    a->other == PXAR_ACL_NONE || (a->mask == PXAR_ACL_NONE &&
	    a->nuser + a->ngroup > 0)) {
		lost(t, en, x->name);
		return false;
	}
	group = a->mask != PXAR_ACL_NONE ? a->mask : a->group_obj;
	*mode = (*mode & ~(uint64_t)0777) | a->user_obj << 6 | group << 3 |
	    a->other;
	return a->mask != PXAR_ACL_NONE;
}

static void
default_acl(struct attrs *t, const struct entry *en)
{
	const struct xattr *x = special(en, "system.posix_acl_default");
	struct acl *a = t->acl;

	if (x == NULL)
		return;
	if (en->type != ENTRY_DIR || acl_get(a, x->value, x->len) == -1) {
		lost(t, en, x->name);
		return;
	}
	if (!acl_any(a))
		return;
	item_u64s(t->items, PXAR_ACL_DEFAULT, 4, (const uint64_t[]){
	    a->user_obj, a->group_obj, a->other, a->mask });
	put_aces(t->items, PXAR_ACL_DEFAULT_USER, a->user, a->nuser);
	put_aces(t->items, PXAR_ACL_DEFAULT_GROUP, a->group, a->ngroup);
}

static void
xattrs(struct attrs *t, const struct entry *en)
{
	const struct xattr *x;
	size_t i, n;

	for (i = 0; i < en->nxattrs; i++) {
		x = &en->xattrs[i];
		if (str_begins(x->name, "system.posix_acl_") ||
		    strcmp(x->name, "security.capability") == 0)
			continue;
		n = strlen(x->name);
		if (n == 0 || n > 255 || x->len > PXAR_XATTR_SIZE - n - 1 ||
		    t->items->len + x->len > t->items->max / 2) {
			lost(t, en, x->name);
			continue;
		}
		item_head(t->items, PXAR_XATTR, n + 1 + x->len);
		buf_add(t->items, x->name, n + 1);
		buf_add(t->items, x->value, x->len);
	}
}

static uint64_t
format_of(enum entry_type type)
{
	switch (type) {
	case ENTRY_DIR:
		return S_IFDIR;
	case ENTRY_SYMLINK:
		return S_IFLNK;
	case ENTRY_FIFO:
		return S_IFIFO;
	case ENTRY_CHAR:
		return S_IFCHR;
	case ENTRY_BLOCK:
		return S_IFBLK;
	case ENTRY_SOCKET:
		return S_IFSOCK;
	default:
		return S_IFREG;
	}
}

void
attrs_put(struct buf *items, const struct entry *en, struct acl *acl,
    struct log *log)
{
	struct attrs t = { items, acl, log };
	const struct xattr *caps;
	unsigned char s[PXAR_STAT] = { 0 };
	uint64_t mode = format_of(en->type) | (en->mode & 07777);
	bool has = en->nxattrs > 0 && access_acl(&t, en, &mode);

	put_le64(s, mode);
	put_le64(s + 8, pxar_attrs(en->attrs));
	put_le32(s + 16, en->uid);
	put_le32(s + 20, en->gid);
	put_le64(s + 24, (uint64_t)en->mtime.tv_sec);
	put_le32(s + 32, (uint32_t)en->mtime.tv_nsec);
	item_head(items, PXAR_ENTRY, sizeof(s));
	buf_add(items, s, sizeof(s));
	if (en->nxattrs > 0) {
		xattrs(&t, en);
		if (has) {
			put_aces(items, PXAR_ACL_USER, acl->user, acl->nuser);
			put_aces(items, PXAR_ACL_GROUP, acl->group,
			    acl->ngroup);
			item_u64s(items, PXAR_ACL_GROUP_OBJ, 1,
			    &acl->group_obj);
		}
		default_acl(&t, en);
		if ((caps = special(en, "security.capability")) != NULL) {
			if (caps->len > PXAR_XATTR_SIZE) {
				lost(&t, en, caps->name);
			} else {
				item_head(items, PXAR_FCAPS, caps->len);
				buf_add(items, caps->value, caps->len);
			}
		}
	}
	if (en->projid != 0)
		item_u64s(items, PXAR_QUOTA_PROJID, 1,
		    (const uint64_t[]){ en->projid });
}
