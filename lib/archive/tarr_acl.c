/*
 * Textual ACLs of star and libarchive (SCHILY.acl.access, SCHILY.acl.default)
 * into the value of system.posix_acl_access and _default: a version, then tag,
 * permissions and id of each entry, little-endian, sorted by tag and id.
 */

#include "archive/tarr.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"

enum {
	USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16,
	OTHER = 32, VERSION = 2, ACES_MAX = 1024, NO_ID = -1
};

struct ace {
	uint16_t tag, perm;
	uint32_t id;
};

struct span {
	const char *p;
	size_t n;
};

static bool
is(struct span s, const char *word)
{
	return s.n == strlen(word) && memcmp(s.p, word, s.n) == 0;
}

static struct span
trim(struct span s)
{
	while (s.n > 0 && (*s.p == ' ' || *s.p == '\t'))
		s.p++, s.n--;
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

static int
number(struct span s, uint32_t *out)
{
	uint64_t v;

	if (s.n == 0 || pax_num(s.p, s.n, &v) == -1 || v >= UINT32_MAX)
		return -1;
	*out = (uint32_t)v;
	return 0;
}

/* The id of a name on this machine: the archive has only the name. */
static int
lookup(struct span s, bool user, uint32_t *out)
{
	char name[256], room[4096];
	struct passwd pw, *pp = NULL;
	struct group gr, *gp = NULL;

	if (s.n >= sizeof(name))
		return -1;
	memcpy(name, s.p, s.n);
	name[s.n] = '\0';
	if (user && getpwnam_r(name, &pw, room, sizeof(room), &pp) == 0 &&
	    pp != NULL)
		*out = pp->pw_uid;
	else if (!user && getgrnam_r(name, &gr, room, sizeof(room), &gp) == 0 &&
	    gp != NULL)
		*out = gp->gr_gid;
	else
		return -1;
	return 0;
}

static int
perms(struct span s, uint16_t *out)
{
	size_t i;

	*out = 0;
	for (i = 0; i < s.n; i++)
		switch (s.p[i]) {
		case 'r': *out |= 4; break;
		case 'w': *out |= 2; break;
		case 'x': *out |= 1; break;
		case '-': break;
		default: return -1;
		}
	return s.n > 0 && s.n <= 3 ? 0 : -1;
}

/* One entry: [default:]tag:[who]:perms[:id]; "mask:rwx" also occurs. */
static int
one(struct span s, struct ace *a)
{
	struct span f[5];
	const char *c;
	size_t n = 0;
	bool user, named;

	while (n < 5) {
		c = memchr(s.p, ':', s.n);
		f[n].p = s.p;
		f[n].n = c == NULL ? s.n : (size_t)(c - s.p);
		f[n] = trim(f[n]);
		n++;
		if (c == NULL)
			break;
		s.n -= (size_t)(c + 1 - s.p);
		s.p = c + 1;
	}
	if (n > 1 && (is(f[0], "default") || is(f[0], "d"))) {
		memmove(f, f + 1, (n - 1) * sizeof(*f));
		n--;
	}
	user = is(f[0], "user") || is(f[0], "u");
	if (user || is(f[0], "group") || is(f[0], "g")) {
		if (n < 3)
			return -1;
		named = f[1].n > 0;
		a->tag = user ? (named ? USER : USER_OBJ) :
		    (named ? GROUP : GROUP_OBJ);
		a->id = (uint32_t)NO_ID;
		if (named && !(n > 3 && number(f[3], &a->id) == 0) &&
		    number(f[1], &a->id) == -1 &&
		    lookup(f[1], user, &a->id) == -1)
			return -1;
		return perms(f[2], &a->perm);
	}
	if (is(f[0], "mask") || is(f[0], "m"))
		a->tag = MASK;
	else if (is(f[0], "other") || is(f[0], "o"))
		a->tag = OTHER;
	else
		return -1;
	a->id = (uint32_t)NO_ID;
	if (n < 2 || (n > 2 && f[1].n > 0))
		return -1;
	return perms(f[n > 2 ? 2 : 1], &a->perm);
}

static int
by_tag(const void *va, const void *vb)
{
	const struct ace *a = va, *b = vb;

	if (a->tag != b->tag)
		return a->tag < b->tag ? -1 : 1;
	return a->id < b->id ? -1 : a->id > b->id;
}

int
tarr_acl(struct buf *b, const char *text, size_t len)
{
	const char *end = text + len, *p = text, *q, *hash;
	struct ace *a = calloc(ACES_MAX, sizeof(*a));
	unsigned char raw[8];
	struct span s;
	size_t n = 0, i;
	int ret = -1;

	if (a == NULL)
		return -1;
	for (; p < end; p = q + (q < end)) {
		for (q = p; q < end && *q != ',' && *q != '\n'; q++)
			;
		s.p = p;
		s.n = (size_t)(q - p);
		if (s.n > 0 && (hash = memchr(s.p, '#', s.n)) != NULL)
			s.n = (size_t)(hash - s.p);
		s = trim(s);
		if (s.n == 0)
			continue;
		if (n == ACES_MAX || one(s, &a[n]) == -1)
			goto out;
		n++;
	}
	if (n <= 3) {
		ret = 1;
		goto out;
	}
	qsort(a, n, sizeof(*a), by_tag);
	put_le32(raw, VERSION);
	buf_add(b, raw, 4);
	for (i = 0; i < n; i++) {
		put_le16(raw, a[i].tag);
		put_le16(raw + 2, a[i].perm);
		put_le32(raw + 4, a[i].id);
		buf_add(b, raw, 8);
	}
	ret = b->failed ? -1 : 0;
out:
	free(a);
	return ret;
}
