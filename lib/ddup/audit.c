#include "ddup/audit.h"

#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "ddup/int.h"

enum { JOBS = 64, LARGE = 1 << 20 };

/* A chunk that is being read. */
struct probe {
	struct job job;
	struct audit *owner;
	struct decoder *dec;
	bool busy;
	size_t max;
	int ret;
	struct audited got;
	struct err err;
};

struct audit {
	struct ddup *r;
	struct pool *pool;
	void (*fn)(void *, const struct audited *);
	void *arg;
	struct probe probe[JOBS];
	unsigned at;
};

struct audit *
audit_new(struct ddup *r, unsigned jobs,
    void (*fn)(void *, const struct audited *), void *arg, struct err *e)
{
	struct audit *p = calloc(1, sizeof(*p));

	if (p == NULL) {
		err_oom(e);
		return NULL;
	}
	p->r = r;
	p->fn = fn;
	p->arg = arg;
	p->pool = pool_new(jobs > 0 ? jobs : pool_cores(), e);
	if (p->pool == NULL) {
		free(p);
		return NULL;
	}
	return p;
}

static void
run(struct job *j)
{
	struct probe *p = (struct probe *)j;
	const unsigned char *bytes;

	p->ret = decoder_load(p->dec, p->owner->r->chunks, p->got.hash, 0,
	    p->max, &bytes, &p->got.n, &p->err);
}

static void
finish(struct audit *v, struct probe *p)
{
	if (!p->busy)
		return;
	p->busy = false;
	pool_wait(v->pool, &p->job);
	p->got.trailing = decoder_trailing(p->dec);
	p->got.why = p->ret == 0 ? NULL : &p->err;
	v->fn(v->arg, &p->got);
}

int
audit_chunk(struct audit *v, const unsigned char *hash, uint64_t size,
    struct err *e)
{
	struct probe *p = &v->probe[v->at++ % JOBS];

	finish(v, p);
	/* Memory of a large chunk is not kept in each of them. */
	if (p->dec != NULL && decoder_size(p->dec) > LARGE) {
		decoder_free(p->dec);
		p->dec = NULL;
	}
	if (p->dec == NULL && (p->dec = decoder_new(e)) == NULL)
		return -1;
	p->owner = v;
	memcpy(p->got.hash, hash, DDUP_HASH);
	p->max = chunk_cap(v->r, size);
	p->job.run = run;
	p->busy = true;
	err_clear(&p->err);
	pool_submit(v->pool, &p->job);
	/* Large ones: a few at a time. */
	if (size > LARGE && v->at >= 4)
		finish(v, &v->probe[(v->at - 4) % JOBS]);
	return 0;
}

void
audit_end(struct audit *v)
{
	unsigned i;

	for (i = 0; i < JOBS; i++)
		finish(v, &v->probe[(v->at + i) % JOBS]);
}

void
audit_free(struct audit *v)
{
	unsigned i;

	if (v == NULL)
		return;
	audit_end(v);
	pool_free(v->pool);
	for (i = 0; i < JOBS; i++)
		decoder_free(v->probe[i].dec);
	free(v);
}
