/*
 * prove: a whole object is compared with what the store keeps of it (s3.md
 * 3.6): a CRC of all where there is one, else the MD5s behind its ETag.
 *
 * Ranges that are parts are hashed by the workers that fetch them; what is not
 * goes through one thread, in order, beside the reader.
 */

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/file.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/str.h"
#include "s3/attr.h"
#include "s3/download.h"

enum { PIECE_MIN = 4 << 20, SLOTS_MIN = 4 };

struct head_facts {
	struct download *d;
	unsigned parts;
	bool full;
	enum s3_sum sum;
	char value[64];
};

static void
on_head(void *arg, const char *name, const char *value)
{
	static const enum s3_sum all[] = { S3_SUM_CRC64NVME, S3_SUM_CRC32C,
	    S3_SUM_CRC32 };
	struct head_facts *h = arg;
	uint64_t n;
	size_t i;

	if (strcmp(name, "x-amz-mp-parts-count") == 0) {
		if (str_u64(value, 1, S3_PARTS, &n) == 0)
			h->parts = (unsigned)n;
	} else if (strcmp(name, "x-amz-checksum-type") == 0) {
		h->full = strcmp(value, "FULL_OBJECT") == 0;
	}
	for (i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (strcmp(name, sum_header(all[i])) == 0 &&
		    strlen(value) < sizeof(h->value)) {
			h->sum = all[i];
			memcpy(h->value, value, strlen(value) + 1);
		}
}

static int
head(struct download *d, struct head_facts *h, bool part, uint64_t *len)
{
	char match[S3_ETAG + 16];
	const char *lines[] = { match, part ? NULL :
	    "x-amz-checksum-mode: ENABLED", NULL };
	const char *q[] = { part ? "partNumber" : "versionId", part ? "1" :
	    d->o->got_version, NULL };
	struct s3_req r = { .call = { .method = "HEAD", .key = d->key,
	    .headers = lines, .header = on_head, .header_arg = h,
	    .query = part || d->o->got_version[0] != '\0' ? q : NULL },
	    .cancel = &d->cancel, .tries = 2 };
	struct err ignored = ERR_INIT;

	memset(h, 0, sizeof(*h));
	h->sum = S3_SUM_NONE;
	snprintf(match, sizeof(match), "if-match: %s", d->o->got_etag);
	if (s3_send(d->s, &r, &ignored) == -1)
		return -1;
	*len = r.call.length;
	return 0;
}

/* The bytes in front that the caller has already. */
static int
prefix(struct download *d, struct err *e)
{
	unsigned char *p = d->arena + d->slot;
	uint64_t at;
	ssize_t n;

	for (at = 0; at < d->o->off; at += (uint64_t)n) {
		size_t k = d->o->off - at < d->slot ?
		    (size_t)(d->o->off - at) : d->slot;

		if (stop_check(e) == -1)
			return -1;
		if ((n = file_pread_full(d->o->prefix, p, k, at)) == -1)
			return err_sys(e, "read what is there already");
		if ((size_t)n != k)
			return err_set(e, CALA_FAIL, "what is there already "
			    "became shorter");
		verify_bytes(d->verify, p, k);
	}
	return 0;
}

/* The CRC of all that the store keeps, or S3_SUM_NONE. */
static void
ask_crc(struct download *d)
{
	struct verify_facts *f = &d->facts;
	unsigned char md[16];
	struct head_facts h;
	struct buf b;
	uint64_t len;
	unsigned n;

	if (head(d, &h, false, &len) == -1 || h.sum == S3_SUM_NONE ||
	    (!h.full && attr_etag_parts(f->etag, md, &n)))
		return;
	buf_init(&b, SUM_MAX + 1);
	if (b64_get(&b, h.value, strlen(h.value)) == 0 &&
	    b.len == sum_len(h.sum)) {
		memcpy(f->value, b.p, b.len);
		f->sum = h.sum;
	}
	buf_fini(&b);
}

/* The parts behind an ETag of several, when they all have one size. */
static void
ask_layout(struct download *d)
{
	struct verify_facts *f = &d->facts;
	unsigned char md[16];
	struct head_facts h;
	uint64_t len;
	unsigned n;

	if (f->opaque || f->has_layout || !attr_etag_parts(f->etag, md, &n))
		return;
	if (n == 1)
		len = f->total;
	else if (head(d, &h, true, &len) == -1 || h.parts != n || len == 0 ||
	    (f->total + len - 1) / len != n)
		return;
	f->has_layout = len <= S3_PART_MAX;
	f->layout.runs = 1;
	f->layout.run[0].size = len;
	f->layout.run[0].count = n;
}

/* Ranges that are parts, where enough of them fit into memory. */
static void
align(struct download *d)
{
	uint64_t begin, end;

	if (!layout_part(&d->facts.layout, d->mid, d->o->total, &begin, &end) ||
	    verify_piece(d->verify, begin, end - begin) != S3_SUM_MD5 ||
	    d->facts.layout.run[0].size < PIECE_MIN ||
	    d->facts.layout.run[0].size > d->memory / SLOTS_MIN)
		return;
	d->lead = begin == d->mid ? d->mid : end;
	d->step = d->facts.layout.run[0].size;
	if (d->slot < d->step)
		d->slot = (size_t)d->step;
	if (d->nchunks > d->memory / d->slot)
		d->nchunks = d->memory / d->slot;
	if (d->jobs_max > d->nchunks - 1)
		d->jobs_max = (unsigned)d->nchunks - 1;
	if (d->target > d->jobs_max)
		d->target = d->jobs_max;
}

int
prove_plan(struct download *d, struct err *e)
{
	struct verify_facts *f = &d->facts;
	unsigned char md[16];

	f->sum = S3_SUM_NONE;
	if (d->o->no_verify || (d->o->off != 0 && !d->o->has_prefix) ||
	    d->end != d->o->total)
		return 0;
	/* the MD5 of a few bytes costs less than to ask for another sum */
	if (d->nranges > 1 || f->opaque || !attr_etag(f->etag, md))
		ask_crc(d);
	if (f->sum == S3_SUM_NONE)
		ask_layout(d);
	d->verify = verify_new(f, e);
	if (d->verify == NULL)
		return e->code != 0 ? -1 : 0;
	if (d->mid < d->end && f->has_layout && f->sum == S3_SUM_NONE)
		align(d);
	return d->o->off != 0 ? prefix(d, e) : 0;
}

/* ---- what comes ---- */

/* Under the lock: some more of the range that is next; 0: not yet. */
static int
prove_some(struct download *d)
{
	struct chunk *c = &d->ring[d->proven % d->nchunks];
	uint64_t have = c->got;

	if (d->proven >= d->next)
		return 0;
	if (c->a == S3_SUM_NONE && c->proven < have) {
		pthread_mutex_unlock(&d->mu);
		verify_bytes(d->verify, c->p + c->proven,
		    (size_t)(have - c->proven));
		pthread_mutex_lock(&d->mu);
		c->proven = have;
		return 1;
	}
	if (!c->done)
		return 0;
	if (c->a != S3_SUM_NONE)
		verify_fold(d->verify, c->sum, c->len);
	d->proven++;
	pthread_cond_broadcast(&d->work);
	pthread_cond_broadcast(&d->came);
	return 1;
}

static void *
prover(void *arg)
{
	struct download *d = arg;

	pthread_mutex_lock(&d->mu);
	while (!d->failed && !d->ended && d->proven < d->nranges)
		if (prove_some(d) == 0)
			pthread_cond_wait(&d->hash, &d->mu);
	pthread_mutex_unlock(&d->mu);
	return NULL;
}

int
prove_start(struct download *d)
{
	sigset_t all, old;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&d->prover, NULL, prover, d);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	d->proving = ret == 0;
	return ret == 0 ? 0 : -1;
}

int
prove_end(struct download *d, struct err *e)
{
	struct err wrong = ERR_INIT;

	if (d->verify == NULL || d->o->verified != NULL)
		return 0;
	/* all of it came with the first answer */
	while (!d->proving && d->proven < d->nranges)
		(void)prove_some(d);
	if (!verify_end(d->verify)) {
		err_set(&wrong, CALA_INTEGRITY, "%s: its %s is not what the "
		    "store keeps: the bytes are damaged", str_q(d->key),
		    verify_word(d->verify));
		download_fail(d, &wrong);
		*e = wrong;
		return -1;
	}
	d->o->verified = verify_word(d->verify);
	log_step(d->s->log, "%s: %s is right", str_q(d->key),
	    d->o->verified);
	return 0;
}
