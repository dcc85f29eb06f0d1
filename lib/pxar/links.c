#include "pxar/links.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "base/err.h"
#include "pxar/item.h"

/* A table with open addresses, at most half full; type 0 is an empty place. */
struct plinks {
	struct plink *v;
	size_t n, room;         /* room: a power of two */
	uint64_t key[4];
};

struct plinks *
plinks_new(struct err *e)
{
	struct plinks *l = calloc(1, sizeof(*l));

	if (l == NULL) {
		err_oom(e);
		return NULL;
	}
	if (getrandom(l->key, sizeof(l->key), 0) != sizeof(l->key)) {
		err_sys(e, "random numbers");
		plinks_free(l);
		return NULL;
	}
	return l;
}

void
plinks_free(struct plinks *l)
{
	size_t i;

	if (l == NULL)
		return;
	for (i = 0; i < l->room; i++)
		free(l->v[i].target);
	free(l->v);
	free(l);
}

static struct plink *
at(struct plink *v, size_t room, const uint64_t h[2])
{
	size_t i = (size_t)h[0] & (room - 1);

	while (v[i].type != 0 && (v[i].hash[0] != h[0] ||
	    v[i].hash[1] != h[1]))
		i = (i + 1) & (room - 1);
	return &v[i];
}

static int
grow(struct plinks *l, struct err *e)
{
	size_t room = l->room == 0 ? 256 : 2 * l->room, i;
	struct plink *v = calloc(room, sizeof(*v));

	if (v == NULL)
		return err_oom(e);
	for (i = 0; i < l->room; i++)
		if (l->v[i].type != 0)
			*at(v, room, l->v[i].hash) = l->v[i];
	free(l->v);
	l->v = v;
	l->room = room;
	return 0;
}

static void
hash(const struct plinks *l, const char *path, uint64_t h[2])
{
	size_t n = strlen(path);

	h[0] = siphash(l->key[0], l->key[1], path, n);
	h[1] = siphash(l->key[2], l->key[3], path, n);
}

int
plinks_add(struct plinks *l, const struct entry *en, enum entry_type type,
    uint64_t pos, struct err *e)
{
	struct plink *x;
	char *target = NULL;
	uint64_t h[2];

	if (l->n >= l->room / 2 && grow(l, e) == -1)
		return -1;
	if (type == ENTRY_SYMLINK && (target = strdup(en->target)) == NULL)
		return err_oom(e);
	hash(l, en->path, h);
	x = at(l->v, l->room, h);
	l->n += x->type == 0;
	free(x->target);
	x->hash[0] = h[0];
	x->hash[1] = h[1];
	x->pos = pos;
	x->target = target;
	x->major = en->rdev_major;
	x->minor = en->rdev_minor;
	x->type = type;
	return 0;
}

const struct plink *
plinks_find(const struct plinks *l, const char *path)
{
	const struct plink *x;
	uint64_t h[2];

	if (l->room == 0)
		return NULL;
	hash(l, path, h);
	x = at(l->v, l->room, h);
	return x->type == 0 ? NULL : x;
}
