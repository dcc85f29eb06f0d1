#include "pbs/digests.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"

enum { FIRST = 1024 };          /* a power of two */

struct slot {
	unsigned char digest[PBS_DIGEST];
	void *owner;
	bool there;
};

struct digests {
	struct slot *v;
	size_t n, room;
};

struct digests *
digests_new(struct err *e)
{
	struct digests *d = calloc(1, sizeof(*d));

	if (d == NULL || (d->v = calloc(FIRST, sizeof(*d->v))) == NULL) {
		free(d);
		err_oom(e);
		return NULL;
	}
	d->room = FIRST;
	return d;
}

void
digests_free(struct digests *d)
{
	if (d == NULL)
		return;
	free(d->v);
	free(d);
}

/* Where it is, or would be.  A digest is as random as any hash of it. */
static struct slot *
place(struct slot *v, size_t room, const unsigned char *digest)
{
	size_t i = (size_t)get_le64(digest) & (room - 1);

	while (v[i].there && memcmp(v[i].digest, digest, PBS_DIGEST) != 0)
		i = (i + 1) & (room - 1);
	return &v[i];
}

static int
grow(struct digests *d, struct err *e)
{
	size_t room, i;
	struct slot *v;

	if (!size_mul(d->room, 2, &room) ||
	    (v = calloc(room, sizeof(*v))) == NULL)
		return err_oom(e);
	for (i = 0; i < d->room; i++)
		if (d->v[i].there)
			*place(v, room, d->v[i].digest) = d->v[i];
	free(d->v);
	d->v = v;
	d->room = room;
	return 0;
}

int
digests_claim(struct digests *d, const unsigned char digest[PBS_DIGEST],
    void *owner, void **other, struct err *e)
{
	struct slot *s;

	if (d->n >= d->room / 4 * 3 && grow(d, e) == -1)
		return -1;
	s = place(d->v, d->room, digest);
	if (s->there) {
		if (other != NULL)
			*other = s->owner;
		return 1;
	}
	memcpy(s->digest, digest, PBS_DIGEST);
	s->owner = owner;
	s->there = true;
	d->n++;
	return 0;
}

void
digests_done(struct digests *d, const unsigned char digest[PBS_DIGEST])
{
	struct slot *s = place(d->v, d->room, digest);

	if (s->there)
		s->owner = NULL;
}
