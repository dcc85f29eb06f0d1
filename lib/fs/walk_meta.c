/*
 * What a walk keeps beside bytes: extended attributes, hard links, the names
 * behind ids, the map of a sparse file.
 */

#include "fs/walk.h"

#include <errno.h>
#include <grp.h>
#include <linux/limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { XATTR_BYTES = 1 << 20 };         /* of one file, all values */

/* Not security.selinux and the like: they belong to this machine's policy. */
static bool
xattr_kept(const char *name)
{
	return strncmp(name, "user.", 5) == 0 ||
	    strncmp(name, "trusted.", 8) == 0 ||
	    strcmp(name, "system.posix_acl_access") == 0 ||
	    strcmp(name, "system.posix_acl_default") == 0 ||
	    strcmp(name, "security.capability") == 0;
}

static int
xattr_cmp(const void *a, const void *b)
{
	const struct xattr *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* An O_PATH descriptor has no f*xattr; its magic link leads to the object. */
static ssize_t
list_of(int fd, const char *proc, char *p, size_t n)
{
	return proc[0] == '\0' ? flistxattr(fd, p, n) : listxattr(proc, p, n);
}

static ssize_t
value_of(int fd, const char *proc, const char *name, void *p, size_t n)
{
	return proc[0] == '\0' ? fgetxattr(fd, name, p, n) :
	    getxattr(proc, name, p, n);
}

/* The block for the kept names of a list of n bytes. */
static struct xset *
xset_fill(int fd, const char *proc, const char *list, size_t n, int *why)
{
	struct xset *x = NULL;
	const char *s;
	size_t count = 0, names = 0, room = 0, k;
	ssize_t got;
	char *p, *end;

	for (s = list; s < list + n; s += strlen(s) + 1) {
		if (!xattr_kept(s))
			continue;
		if ((got = value_of(fd, proc, s, NULL, 0)) == -1) {
			if (errno == ENODATA)
				continue;       /* gone meanwhile */
			*why = errno;
			return NULL;
		}
		count++;
		names += strlen(s) + 1;
		room += (size_t)got;
	}
	if (count == 0)
		return NULL;
	if (count > ENTRY_XATTR_MAX || room > XATTR_BYTES) {
		*why = E2BIG;
		return NULL;
	}
	room += names;
	x = malloc(sizeof(*x) + count * sizeof(*x->v) + room);
	if (x == NULL) {
		*why = ENOMEM;
		return NULL;
	}
	x->n = 0;
	p = (char *)(x->v + count);
	end = p + room;
	for (s = list; s < list + n && x->n < count; s += strlen(s) + 1) {
		k = strlen(s) + 1;
		if (!xattr_kept(s) || k > (size_t)(end - p))
			continue;
		memcpy(p, s, k);
		/* A size of 0 would only ask for the length. */
		got = end - p - (ssize_t)k == 0 ? 0 :
		    value_of(fd, proc, s, p + k, (size_t)(end - p) - k);
		if (got == -1 && errno == ENODATA)
			continue;
		if (got == -1) {
			*why = errno;
			free(x);
			return NULL;
		}
		x->v[x->n].name = p;
		x->v[x->n].value = p + k;
		x->v[x->n].len = (size_t)got;
		x->n++;
		p += k + (size_t)got;
	}
	qsort(x->v, x->n, sizeof(*x->v), xattr_cmp);
	return x;
}

struct xset *
walk_xattrs(int fd, bool path_only, int *why)
{
	struct xset *x = NULL;
	char proc[40] = "", few[1024], *list = few;
	ssize_t n;

	if (path_only)
		snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	n = list_of(fd, proc, few, sizeof(few));
	if (n == -1 && errno == ERANGE) {
		if ((list = malloc(XATTR_LIST_MAX)) == NULL) {
			*why = ENOMEM;
			return NULL;
		}
		n = list_of(fd, proc, list, XATTR_LIST_MAX);
	}
	if (n > 0)
		x = xset_fill(fd, proc, list, (size_t)n, why);
	else if (n == -1 && errno != ENOTSUP)
		*why = errno;
	if (list != few)
		free(list);
	return x;
}

/* ---- hard links ---- */

struct link {
	struct link *next;
	dev_t dev;
	ino_t ino;
	nlink_t left;           /* names not seen yet */
	char path[];
};

struct links {
	struct link **bucket;
	size_t nbuckets, n;
	struct link *last;      /* complete; its path is lent */
};

struct links *
links_new(void)
{
	return calloc(1, sizeof(struct links));
}

void
links_free(struct links *l)
{
	struct link *k;
	size_t i;

	if (l == NULL)
		return;
	for (i = 0; i < l->nbuckets; i++)
		while ((k = l->bucket[i]) != NULL) {
			l->bucket[i] = k->next;
			free(k);
		}
	free(l->bucket);
	free(l->last);
	free(l);
}

static size_t
link_hash(dev_t dev, ino_t ino, size_t n)
{
	uint64_t h = ((uint64_t)ino ^ (uint64_t)dev << 48) *
	    0x9e3779b97f4a7c15u;

	return (size_t)(h >> 32) & (n - 1);
}

static int
links_grow(struct links *l)
{
	size_t n = l->nbuckets == 0 ? 256 : l->nbuckets * 2, i, h;
	struct link **v, *k;

	if ((v = calloc(n, sizeof(struct link *))) == NULL)
		return -1;
	for (i = 0; i < l->nbuckets; i++)
		while ((k = l->bucket[i]) != NULL) {
			l->bucket[i] = k->next;
			h = link_hash(k->dev, k->ino, n);
			k->next = v[h];
			v[h] = k;
		}
	free(l->bucket);
	l->bucket = v;
	l->nbuckets = n;
	return 0;
}

int
links_seen(struct links *l, const struct stat *st, const char *path,
    const char **first)
{
	struct link **at, *k;
	size_t n;

	free(l->last);
	l->last = NULL;
	if (l->n >= l->nbuckets && links_grow(l) == -1)
		return -1;
	at = &l->bucket[link_hash(st->st_dev, st->st_ino, l->nbuckets)];
	for (; (k = *at) != NULL; at = &k->next)
		if (k->ino == st->st_ino && k->dev == st->st_dev) {
			*first = k->path;
			if (--k->left == 0) {
				*at = k->next;
				l->last = k;
				l->n--;
			}
			return 1;
		}
	n = strlen(path) + 1;
	if ((k = malloc(sizeof(*k) + n)) == NULL)
		return -1;
	k->next = NULL;
	k->dev = st->st_dev;
	k->ino = st->st_ino;
	k->left = st->st_nlink - 1;
	memcpy(k->path, path, n);
	*at = k;
	l->n++;
	return 0;
}

/* ---- names of ids ---- */

enum { IDS = 256 };

struct id {
	bool known;
	uint32_t id;
	char name[64];
};

struct ids {
	struct id user[IDS], group[IDS];
};

struct ids *
ids_new(void)
{
	return calloc(1, sizeof(struct ids));
}

void
ids_free(struct ids *t)
{
	free(t);
}

/* A name that does not fit is no name: ids are kept anyway. */
static void
id_set(struct id *i, uint32_t id, const char *name)
{
	i->known = true;
	i->id = id;
	i->name[0] = '\0';
	if (name != NULL && strlen(name) < sizeof(i->name))
		memcpy(i->name, name, strlen(name) + 1);
}

const char *
ids_user(struct ids *t, uint32_t id)
{
	struct id *i = &t->user[id % IDS];
	struct passwd pw, *found = NULL;
	char b[4096];

	if (!i->known || i->id != id) {
		if (getpwuid_r(id, &pw, b, sizeof(b), &found) != 0)
			found = NULL;
		id_set(i, id, found == NULL ? NULL : found->pw_name);
	}
	return i->name;
}

const char *
ids_group(struct ids *t, uint32_t id)
{
	struct id *i = &t->group[id % IDS];
	struct group gr, *found = NULL;
	char b[16384];

	if (!i->known || i->id != id) {
		if (getgrgid_r(id, &gr, b, sizeof(b), &found) != 0)
			found = NULL;
		id_set(i, id, found == NULL ? NULL : found->gr_name);
	}
	return i->name;
}

/* ---- sparse files ---- */

/* Holes smaller than least become data.  Returns how many are left. */
static size_t
merge(struct extent *v, size_t n, uint64_t least)
{
	size_t i, k = 0;

	for (i = 1; i < n; i++)
		if (v[i].off - (v[k].off + v[k].len) < least)
			v[k].len = v[i].off + v[i].len - v[k].off;
		else
			v[++k] = v[i];
	return k + 1;
}

int
walk_extents(int fd, uint64_t size, struct extent **out, size_t *room,
    size_t *out_n)
{
	struct extent *v;
	uint64_t least = 0, from = 0, to;
	size_t n = 0;
	off_t at;

	while (from < size) {
		at = lseek(fd, (off_t)from, SEEK_DATA);
		if (at == -1 && errno == ENXIO)
			break;                  /* a hole to the end */
		if (at == -1)
			return -1;
		if ((uint64_t)at >= size)
			break;                  /* grown meanwhile */
		from = (uint64_t)at;
		if ((at = lseek(fd, at, SEEK_HOLE)) == -1)
			return -1;
		to = (uint64_t)at < size ? (uint64_t)at : size;
		if (to <= from)
			return errno = EIO, -1; /* changing under our hands */
		if (n == EXTENTS)
			for (least = least == 0 ? 8192 : least;
			    (n = merge(*out, n, least)) > EXTENTS / 2;
			    least *= 2)
				;
		if (n > 0 && least > 0 &&
		    from - ((*out)[n - 1].off + (*out)[n - 1].len) < least) {
			(*out)[n - 1].len = to - (*out)[n - 1].off;
		} else {
			if (n == *room) {
				v = reallocarray(*out, *room == 0 ? 64 :
				    *room * 2, sizeof(*v));
				if (v == NULL)
					return errno = ENOMEM, -1;
				*room = *room == 0 ? 64 : *room * 2;
				*out = v;
			}
			(*out)[n].off = from;
			(*out)[n++].len = to - from;
		}
		from = to;
	}
	*out_n = n;
	return 0;
}
