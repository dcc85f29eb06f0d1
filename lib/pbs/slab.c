#include "pbs/slab.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/err.h"
#include "pbs/blob.h"

enum { WARM = 8 << 20 };        /* bytes that slabs that rest may hold */

void
slabs_init(struct slabs *s)
{
	pthread_mutex_init(&s->mu, NULL);
	s->spare = NULL;
	s->warm = 0;
}

static void
slab_free(struct slab *b)
{
	if (b == NULL)
		return;
	munmap(b->p, PBS_CHUNK_MAX);
	free(b);
}

static struct slab *
slab_new(struct err *e)
{
	struct slab *b = calloc(1, sizeof(*b));

	if (b == NULL) {
		err_oom(e);
		return NULL;
	}
	b->p = mmap(NULL, PBS_CHUNK_MAX, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (b->p == MAP_FAILED) {
		free(b);
		err_oom(e);
		return NULL;
	}
	return b;
}

void
slab_give(struct slabs *s, struct slab *b)
{
	bool cool;

	if (b == NULL)
		return;
	pthread_mutex_lock(&s->mu);
	cool = b->used > WARM - s->warm;
	if (!cool)
		s->warm += b->used;
	pthread_mutex_unlock(&s->mu);
	if (cool) {
		madvise(b->p, b->used, MADV_DONTNEED);
		b->used = 0;
	}
	pthread_mutex_lock(&s->mu);
	b->next = s->spare;
	s->spare = b;
	pthread_mutex_unlock(&s->mu);
}

struct slab *
slab_take(struct slabs *s, struct err *e)
{
	struct slab *b = NULL, **at, **best = NULL;

	/* The warmest: its pages are there. */
	pthread_mutex_lock(&s->mu);
	for (at = &s->spare; *at != NULL; at = &(*at)->next)
		if (best == NULL || (*at)->used > (*best)->used)
			best = at;
	if (best != NULL) {
		b = *best;
		*best = b->next;
		s->warm -= b->used;
	}
	pthread_mutex_unlock(&s->mu);
	return b != NULL ? b : slab_new(e);
}

void
slabs_fini(struct slabs *s)
{
	struct slab *b;

	while ((b = s->spare) != NULL) {
		s->spare = b->next;
		slab_free(b);
	}
	pthread_mutex_destroy(&s->mu);
}
