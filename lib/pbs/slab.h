#ifndef CALA_PBS_SLAB_H
#define CALA_PBS_SLAB_H

/*
 * slab: rooms for chunks that circulate, each as large as a chunk can be, of
 * which only the pages that were used cost memory.  Any thread.
 */

#include <pthread.h>
#include <stddef.h>

struct err;

struct slab {
	struct slab *next;
	unsigned char *p;       /* PBS_CHUNK_MAX bytes */
	size_t used;            /* bytes from p on that cost memory by now */
};

struct slabs {
	pthread_mutex_t mu;
	struct slab *spare;
	size_t warm;            /* bytes that these hold */
};

/*
 * slabs_init; slabs_fini: all were given back.
 * slab_take(s, e): one, with the most pages that are there.
 * slab_used(b, n): whoever has it wrote to the first n bytes.
 * slab_fit(b, n): and that is all that it needs: much more is given up.
 * slab_give(s, b): back; its pages are kept up to a bound for all that rest.
 * NULL is fine.
 */
void slabs_init(struct slabs *);
void slabs_fini(struct slabs *);
struct slab *slab_take(struct slabs *, struct err *);
void slab_used(struct slab *, size_t);
void slab_fit(struct slab *, size_t);
void slab_give(struct slabs *, struct slab *);

#endif
