#include "pbs/slab.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/err.h"
#include "pbs/blob.h"

enum {
	PAGE = 4096,
	WARM = 20 << 20,        /* bytes that slabs that rest may hold */
	LOOSE = 1 << 20         /* that one in use may hold in vain */
};

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

/* Keep the first n bytes: a multiple of pages, or all. */
static void
cool(struct slab *b, size_t n)
{
	if (n == b->used)
		return;
	madvise(b->p + n, b->used - n, MADV_DONTNEED);
	b->used = n;
}

void
slab_give(struct slabs *s, struct slab *b)
{
	size_t keep, room;

	if (b == NULL)
		return;
	pthread_mutex_lock(&s->mu);
	room = (WARM - s->warm) & ~((size_t)PAGE - 1);
	keep = b->used < room ? b->used : room;
	s->warm += keep;
	pthread_mutex_unlock(&s->mu);
	cool(b, keep);
	pthread_mutex_lock(&s->mu);
	b->next = s->spare;
	s->spare = b;
	pthread_mutex_unlock(&s->mu);
}

void
slab_used(struct slab *b, size_t n)
{
	if (b->used < n)
		b->used = n;
}

void
slab_fit(struct slab *b, size_t n)
{
	size_t keep = (n + PAGE - 1) & ~((size_t)PAGE - 1);

	slab_used(b, n);
	if (b->used > keep + LOOSE)
		cool(b, keep);
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
