/* verify: can this backup be restored? */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "ddup/archive.h"
#include "ddup/care.h"
#include "ddup/int.h"
#include "ddup/audit.h"
#include "ddup/stream.h"

enum { SAID = 20 };

struct verify {
	struct ddup *r;
	struct archive a;
	struct index done;              /* hashes that were looked at */
	unsigned percent, said;
	const struct care_say *say;
	struct ddup_seen *seen;
	struct audit *audit;
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
proved(void *arg, const struct audited *p)
{
	struct verify *v = arg;

	if (p->why != NULL) {
		v->seen->damaged++;
		report(v, "damaged: %s", p->why->msg);
		return;
	}
	v->seen->read += p->n;
	/* Without our map, nothing else tells how long it is. */
	index_set_word(&v->done, index_find(&v->done, p->hash),
	    p->n < INDEX_LEN ? (uint32_t)p->n : 0);
	if (p->trailing > 0)
		report(v, "note: a chunk file has %zu bytes behind its end",
		    p->trailing);
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
	return audit_chunk(v->audit, hash, size, e);
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
	if (archive_open(&v->a, r, name, e) == -1 ||
	    (v->audit = audit_new(r, jobs, proved, v, e)) == NULL)
		goto out;
	ret = entries(v, e);
	audit_end(v->audit);
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
	audit_free(v->audit);
	index_fini(&v->done);
	archive_close(&v->a);
	free(v);
	return ret;
}
