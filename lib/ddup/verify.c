/* verify: can this backup be restored? */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "base/stop.h"
#include "base/str.h"
#include "ddup/archive.h"
#include "ddup/care.h"
#include "ddup/int.h"
#include "ddup/stream.h"

enum { SAID = 20, JOBS = 64 };

/* A chunk that is being read. */
struct probe {
	struct job job;
	struct ddup *r;
	struct decoder *dec;
	bool busy;
	unsigned char hash[DDUP_HASH];
	size_t max;
	int ret;
	size_t n;
	struct err err;
};

struct verify {
	struct ddup *r;
	struct archive a;
	struct index done;              /* hashes that were looked at */
	unsigned percent, said;
	const struct care_say *say;
	struct ddup_seen *seen;
	struct pool *pool;
	struct probe probe[JOBS];
	unsigned at;
	uint64_t turn;
	bool again;                     /* all was read: compare sizes */
};

static void report(struct verify *, const char *, ...)
    __attribute__((format(printf, 2, 3)));

static void
report(struct verify *v, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	if (v->said++ >= SAID)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	v->say->fn(v->say->arg, line);
}

static void
run(struct job *j)
{
	struct probe *p = (struct probe *)j;
	const unsigned char *bytes;

	p->ret = decoder_load(p->dec, p->r->chunks, p->hash, 0, p->max,
	    &bytes, &p->n, &p->err);
}

static void
finish(struct verify *v, struct probe *p)
{
	if (!p->busy)
		return;
	p->busy = false;
	pool_wait(v->pool, &p->job);
	if (p->ret == 0) {
		v->seen->read += p->n;
		/* Without our map, nothing else tells how long it is. */
		index_set_word(&v->done, index_find(&v->done, p->hash),
		    p->n < INDEX_LEN ? (uint32_t)p->n : 0);
		if (decoder_trailing(p->dec) > 0)
			report(v, "note: a chunk file has %zu bytes behind "
			    "its end", decoder_trailing(p->dec));
		return;
	}
	v->seen->damaged++;
	report(v, "damaged: %s", p->err.msg);
}

static int
start(struct verify *v, const unsigned char *hash, uint64_t size,
    struct err *e)
{
	struct probe *p = &v->probe[v->at++ % JOBS];

	finish(v, p);
	if (p->dec == NULL && (p->dec = decoder_new(e)) == NULL)
		return -1;
	/* Memory of a large chunk is not kept in each of them. */
	if (decoder_size(p->dec) > 1 << 20) {
		decoder_free(p->dec);
		if ((p->dec = decoder_new(e)) == NULL)
			return -1;
	}
	p->r = v->r;
	memcpy(p->hash, hash, DDUP_HASH);
	p->max = chunk_cap(v->r, size);
	p->job.run = run;
	p->busy = true;
	err_clear(&p->err);
	pool_submit(v->pool, &p->job);
	/* Large ones: a few at a time. */
	if (size > (uint64_t)1 << 20 && v->at >= 4)
		finish(v, &v->probe[(v->at - 4) % JOBS]);
	return 0;
}

static int
chunk(struct verify *v, const unsigned char *hash, uint64_t size,
    struct err *e)
{
	uint32_t ref = index_find(&v->done, hash);

	if (ref != INDEX_NONE)
		return 0;
	if (index_add(&v->done, hash, &ref, e) == -1)
		return -1;
	v->seen->chunks++;
	if (!chunk_there(v->r, hash)) {
		char path[CHUNK_PATH];

		chunk_path(hash, path);
		v->seen->missing++;
		report(v, "damaged: chunk %s is missing or empty", path);
		return 0;
	}
	if ((v->turn += v->percent) < 100)
		return 0;
	v->turn -= 100;
	return start(v, hash, size, e);
}

static int
file(struct verify *v, struct dstream *s, const struct aent *x,
    struct err *e)
{
	unsigned char hash[DDUP_HASH];
	uint64_t id, sum = 0;
	bool known = true;
	uint32_t len;
	int more;

	if (x->body.size == 0) {
		known = true;
		more = 0;
	} else {
		if (dstream_set(s, x->body.off, x->body.stored, x->body.code,
		    x->body.size, e) == -1)
			return -1;
		while ((more = dstream_more(s, e)) == 1) {
			if (dstream_varint(s, &id, e) == -1)
				return -1;
			if (id == 0 || !archive_chunk(&v->a, id, hash, &len)) {
				v->seen->missing++;
				report(v, "damaged: %s: chunk %" PRIu64
				    " is not in the index",
				    str_q(x->en.path), id);
				known = false;
				continue;
			}
			if (v->again)
				len = index_word(&v->done,
				    index_find(&v->done, hash));
			known = known && len > 0;
			sum += len;
			if (chunk(v, hash, x->body.real, e) == -1)
				return -1;
		}
	}
	if (more == 0 && known && sum != x->body.real && !v->a.ext) {
		log_warn(v->r->log, "%s: %" PRIu64 " bytes in its chunks, its "
		    "size is %" PRIu64 ": it changed while it was read, or "
		    "its chunks are another file's", str_q(x->en.path), sum,
		    x->body.real);
	} else if (more == 0 && known && sum != x->body.real) {
		v->seen->damaged++;
		report(v, "damaged: %s: %" PRIu64 " bytes in its chunks, its "
		    "size is %" PRIu64, str_q(x->en.path), sum, x->body.real);
	}
	return more;
}

static int
entries(struct verify *v, struct err *e)
{
	struct acursor *c = acursor_new(&v->a, e);
	struct dstream *s = dstream_new(v->a.fd, v->a.name, e);
	struct aent x;
	int got = -1;

	while (c != NULL && s != NULL &&
	    (got = acursor_next(c, &x, e)) == 1) {
		v->seen->entries += !v->again;
		v->seen->files += !v->again && x.en.type != ENTRY_DIR;
		if (x.en.type != ENTRY_FILE)
			continue;
		v->seen->size += v->again ? 0 : x.en.size;
		if (file(v, s, &x, e) == -1) {
			got = -1;
			break;
		}
	}
	dstream_free(s);
	acursor_free(c);
	return got;
}

int
ddup_verify(struct ddup *r, const char *name, unsigned percent,
    unsigned jobs, const struct care_say *s, struct ddup_seen *seen,
    struct err *e)
{
	struct verify *v = calloc(1, sizeof(*v));
	unsigned i;
	int ret = -1;

	if (v == NULL)
		return err_oom(e);
	memset(seen, 0, sizeof(*seen));
	v->r = r;
	v->percent = percent;
	v->say = s;
	v->seen = seen;
	v->a.fd = -1;
	/* Of few chunks, at least the first is read. */
	v->turn = percent > 0 ? 99 : 0;
	index_init(&v->done);
	if (archive_open(&v->a, r, name, e) == -1 || (v->pool = pool_new(
	    jobs > 0 ? jobs : pool_cores(), e)) == NULL)
		goto out;
	ret = entries(v, e);
	for (i = 0; i < JOBS; i++)
		finish(v, &v->probe[i]);
	/*
	 * An id that was given away again leads to a sound chunk that is not
	 * the file's; its size then seldom fits.  That of a file which grew
	 * while it was read does not, either: a warning, not damage.
	 */
	if (ret == 0 && percent == 100 && !v->a.ext &&
	    seen->missing + seen->damaged == 0) {
		v->again = true;
		ret = entries(v, e);
	}
	if (v->said > SAID) {
		v->said = 0;
		report(v, "damaged: and more");
	}
	if (ret == 0 && seen->missing + seen->damaged > 0)
		ret = err_set(e, CALA_INTEGRITY, "backup %s is damaged: %"
		    PRIu64 " chunks are missing, %" PRIu64 " are not sound",
		    str_q(name), seen->missing, seen->damaged);
out:
	pool_free(v->pool);
	for (i = 0; i < JOBS; i++)
		decoder_free(v->probe[i].dec);
	index_fini(&v->done);
	archive_close(&v->a);
	free(v);
	return ret;
}
