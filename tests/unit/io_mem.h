#ifndef CALA_TESTS_IO_MEM_H
#define CALA_TESTS_IO_MEM_H

/* A sink into memory, and memory as a ranged: for unit tests and fuzzers. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/io.h"

struct mem {
	struct sink s;
	struct buf b;
	int commits;
};

static inline void *
mem_space(struct sink *s, size_t *n, struct err *e)
{
	struct mem *m = (struct mem *)s;
	void *p = buf_room(&m->b, 4096);

	if (p == NULL)
		buf_failed(&m->b, e);
	*n = 4096;
	return p;
}

static inline int
mem_used(struct sink *s, size_t n, struct err *e)
{
	(void)e;
	buf_grown(&((struct mem *)s)->b, n);
	return 0;
}

static inline int
mem_commit(struct sink *s, struct err *e)
{
	(void)e;
	((struct mem *)s)->commits++;
	return 0;
}

static inline void
mem_abort(struct sink *s)
{
	(void)s;
}

static inline void
mem_init(struct mem *m)
{
	static const struct sink_ops ops =
	    { mem_space, mem_used, NULL, mem_commit, mem_abort };

	memset(m, 0, sizeof(*m));
	m->s.ops = &ops;
	buf_init(&m->b, 256 << 20);
}

struct mem_ranged {
	struct ranged r;
	const unsigned char *p;
};

static inline int
mr_read(struct ranged *r, void *p, size_t n, uint64_t off, struct err *e)
{
	(void)e;
	memcpy(p, ((struct mem_ranged *)r)->p + off, n);
	return 0;
}

static inline void
mr_close(struct ranged *r)
{
	(void)r;
}

static inline struct ranged *
mr_init(struct mem_ranged *m, const void *p, size_t n)
{
	static const struct ranged_ops ops = { mr_read, mr_close };

	memset(m, 0, sizeof(*m));
	m->r.ops = &ops;
	m->r.size = n;
	m->p = p;
	return &m->r;
}

#endif
