#include "pxar/acl.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "pxar/item.h"

enum {
	USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16,
	OTHER = 32, VERSION = 2
};

void
acl_reset(struct acl *a)
{
	a->nuser = a->ngroup = 0;
	a->user_obj = a->group_obj = a->other = a->mask = PXAR_ACL_NONE;
}

void
acl_fini(struct acl *a)
{
	free(a->user);
	free(a->group);
	memset(a, 0, sizeof(*a));
}

static int
add(struct acl_ace **v, size_t *n, size_t *room, uint64_t id, uint64_t perm)
{
	size_t cap = *room == 0 ? 8 : 2 * *room;
	void *p;

	if (*n == ACL_ACES_MAX)
		return -1;
	if (*n == *room) {
		if ((p = realloc(*v, cap * sizeof(**v))) == NULL)
			return -1;
		*v = p;
		*room = cap;
	}
	(*v)[*n].id = id;
	(*v)[(*n)++].perm = perm;
	return 0;
}

int
acl_add_user(struct acl *a, uint64_t id, uint64_t perm)
{
	return add(&a->user, &a->nuser, &a->user_room, id, perm);
}

int
acl_add_group(struct acl *a, uint64_t id, uint64_t perm)
{
	return add(&a->group, &a->ngroup, &a->group_room, id, perm);
}

bool
acl_any(const struct acl *a)
{
	return a->nuser > 0 || a->ngroup > 0 ||
	    a->user_obj != PXAR_ACL_NONE || a->group_obj != PXAR_ACL_NONE ||
	    a->other != PXAR_ACL_NONE || a->mask != PXAR_ACL_NONE;
}

static int
by_id(const void *va, const void *vb)
{
	const struct acl_ace *a = va, *b = vb;

	if (a->id != b->id)
		return a->id < b->id ? -1 : 1;
	return a->perm < b->perm ? -1 : a->perm > b->perm;
}

int
acl_get(struct acl *a, const void *v, size_t n)
{
	const unsigned char *p = v, *end = p + n;
	uint64_t perm, id;

	acl_reset(a);
	if (n < 4 || (n - 4) % 8 != 0 || get_le32(p) != VERSION)
		return -1;
	for (p += 4; p < end; p += 8) {
		if ((perm = get_le16(p + 2)) > 7)
			return -1;
		id = get_le32(p + 4);
		switch (get_le16(p)) {
		case USER_OBJ:
			a->user_obj = perm;
			break;
		case USER:
			if (acl_add_user(a, id, perm) == -1)
				return -1;
			break;
		case GROUP_OBJ:
			a->group_obj = perm;
			break;
		case GROUP:
			if (acl_add_group(a, id, perm) == -1)
				return -1;
			break;
		case MASK:
			a->mask = perm;
			break;
		case OTHER:
			a->other = perm;
			break;
		default:
			return -1;
		}
	}
	if (a->nuser > 0)
		qsort(a->user, a->nuser, sizeof(*a->user), by_id);
	if (a->ngroup > 0)
		qsort(a->group, a->ngroup, sizeof(*a->group), by_id);
	return 0;
}

static bool
put(struct buf *b, unsigned tag, uint64_t perm, uint64_t id)
{
	unsigned char raw[8];

	if (perm == PXAR_ACL_NONE)
		return true;
	if (perm > 7 || id > UINT32_MAX)
		return false;
	put_le16(raw, (uint16_t)tag);
	put_le16(raw + 2, (uint16_t)perm);
	put_le32(raw + 4, (uint32_t)id);
	return buf_add(b, raw, sizeof(raw)) == 0;
}

int
acl_put(struct buf *b, const struct acl *a)
{
	size_t len = b->len, i;
	unsigned char raw[4];
	bool good;

	put_le32(raw, VERSION);
	good = buf_add(b, raw, sizeof(raw)) == 0;
	/* The kernel wants this order, and this id where there is none. */
	good = good && put(b, USER_OBJ, a->user_obj, UINT32_MAX);
	for (i = 0; i < a->nuser && good; i++)
		good = put(b, USER, a->user[i].perm, a->user[i].id);
	good = good && put(b, GROUP_OBJ, a->group_obj, UINT32_MAX);
	for (i = 0; i < a->ngroup && good; i++)
		good = put(b, GROUP, a->group[i].perm, a->group[i].id);
	good = good && put(b, MASK, a->mask, UINT32_MAX) &&
	    put(b, OTHER, a->other, UINT32_MAX);
	if (!good)
		buf_cut(b, len);
	return good ? 0 : -1;
}
