#ifndef CALA_PXAR_ACL_H
#define CALA_PXAR_ACL_H

/*
 * acl: access control lists between the kernel's extended attributes (version
 * 2: le32 version, then le16 tag, le16 permissions, le32 id each) and the items
 * of pxar, which leaves to the mode what the mode says.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

enum { ACL_ACES_MAX = 8192 };           /* more fit no xattr */

struct acl_ace {
	uint64_t id, perm;
};

/* Permissions that are not there are PXAR_ACL_NONE. */
struct acl {
	struct acl_ace *user, *group;
	size_t nuser, ngroup, user_room, group_room;
	uint64_t user_obj, group_obj, other, mask;
};

/*
 * acl_reset(a): nothing in it, memory kept.  acl_fini(a): frees.
 * acl_add_user, acl_add_group: -1: too many, or no memory.
 * acl_any(a): is there anything in it?
 */
void acl_reset(struct acl *);
void acl_fini(struct acl *);
int  acl_add_user(struct acl *, uint64_t, uint64_t);
int  acl_add_group(struct acl *, uint64_t, uint64_t);
bool acl_any(const struct acl *);

/*
 * acl_get(a, p, n): of an attribute's value; users and groups come out sorted.
 * -1: it is none.
 * acl_put(b, a): append such a value.  -1 (nothing appended): permissions or ids
 * that the kernel does not have.
 */
int acl_get(struct acl *, const void *, size_t);
int acl_put(struct buf *, const struct acl *);

#endif
