/*
 * The proof of a stream passing by.  A tar.zst or tar.gz whose first block
 * shows cala's mark is watched on the wire and not decoded; anything else is
 * decoded on a thread, but for zip and 7z, whose ends are looked at.
 */

#include "archive/proof.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>
#include <zstd.h>

#include "archive/lar.h"
#include "archive/reader.h"
#include "archive/source.h"
#include "archive/tarr.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/log.h"

enum {
	HEAD_MAX = 512 << 10,   /* to find the first block in */
	FIRST = 3 * TAR_BLOCK,
	FLOW_IN = 1 << 20,
	TRAILER = 56
};

struct side {
	struct log log;
	uint64_t memory;
	struct archive_facts f;
	char why[768];
	bool end;
};

struct proof {
	bool decode, lax;
	uint64_t n;
	bool sniffed, decided;
	enum archive_sniff what;
	enum archive_format format;
	struct buf head;                /* until it is decided */
	struct watch *watch;
	struct flow *flow;
	struct side side;
	bool cala;

	unsigned char first[32];        /* of a 7z */
	unsigned char *tail;            /* 2 * ZIP_TAIL */
	size_t ntail;
	struct sha256 *sha;             /* of bytes that are no archive */
	char why[768];
};

/* ---- shared by the watches ---- */

static int
on_frame(void *arg, const struct idx_frame *f, struct err *e)
{
	struct passing *p = arg;

	return p->frame(p->arg, f, e);
}

static int
on_entry(void *arg, const struct idx_entry *en, struct err *e)
{
	struct passing *p = arg;
	bool dir = en->flag == '5';

	(void)e;
	p->files += !dir;
	if (en->flag != '1' && !dir)
		p->size += en->stored;
	return 0;
}

int
passing_begin(struct passing *p, int codec, bool raw, uint64_t data,
    uint64_t len, struct err *e)
{
	p->p.frame = on_frame;
	p->p.entry = on_entry;
	p->p.arg = p;
	p->p.data_len = data;
	p->p.raw_len = len;
	idx_init(&p->p);
	p->b = idx_blob_new(&p->p, codec, raw, e);
	return p->b == NULL ? -1 : 0;
}

void
passing_facts(const struct passing *p, struct archive_facts *f)
{
	f->partial = (p->p.flags & IDX_PARTIAL) != 0;
	f->warnings = p->p.warnings;
	f->counted = true;
	f->entries = p->p.n;
	f->files = p->files;
	f->size = p->size;
}

void
passing_free(struct passing *p)
{
	if (p->b == NULL)
		return;
	idx_blob_free(p->b);
	idx_fini(&p->p);
}

bool
proof_inner(const unsigned char *p, size_t n, struct archive_facts *f)
{
	struct mark m;

	/* a first frame or member may begin anywhere in a block */
	if (!mark_tail(p + n % TAR_BLOCK, n - n % TAR_BLOCK, &m))
		return false;
	f->counted = true;
	f->entries = m.entries;
	f->files = m.files;
	f->size = m.size;
	f->warnings = m.warnings;
	f->partial = m.warnings > 0;
	return true;
}

/* ---- decoding beside ---- */

struct from_flow {
	struct source s;
	struct flow *f;
};

static ssize_t
ff_read(struct source *s, void *p, size_t n, struct err *e)
{
	ssize_t k = flow_take(((struct from_flow *)s)->f, p, n);

	if (k == -1)
		err_set(e, CALA_FAIL, "stopped");
	return k;
}

static void
ff_close(struct source *s)
{
	(void)s;
}

static int
side_run(struct flow *f, void *arg, struct err *e)
{
	static const struct source_ops ops = { ff_read, ff_close };
	struct from_flow in = { { &ops, 0 }, f };
	struct side *s = arg;
	struct archive_read how = { .jobs = 1, .memory = s->memory };
	const struct entry *en;
	struct content *c;
	struct reader *r;
	int k = -1;

	if ((r = archive_reader(&in.s, &how, &s->log, e)) != NULL) {
		while ((k = r->ops->next(r, &en, &c, e)) == 1)
			;
		archive_reader_facts(r, &s->f);
	}
	if (k == -1) {
		if (r == NULL)
			s->f.proof = e->code == CALA_INTEGRITY ? PROOF_WRONG :
			    PROOF_NONE;
		snprintf(s->why, sizeof(s->why), "%s", e->msg);
	}
	s->f.why = k == -1 ? s->why : NULL;
	reader_close(r);
	/* no memory, or not enough of it: that is not the stream's failure */
	return k == -1 && (e->code == CALA_FAIL || e->code == CALA_NOSPACE) ?
	    -1 : 0;
}

static int
side_start(struct proof *p, struct err *e)
{
	if (p->flow != NULL)
		return 0;
	p->flow = flow_new(side_run, &p->side, FLOW_IN, 0, e);
	if (p->flow == NULL)
		return -1;
	flow_push(p->flow, p->head.p, p->head.len);
	return 0;
}

/* ---- is it cala's? ---- */

/* Up to FIRST bytes of what is inside the n bytes at p. */
static size_t
peek(enum archive_format f, const char *p, size_t n, unsigned char *out)
{
	ZSTD_inBuffer in = { p, n, 0 };
	ZSTD_outBuffer ob = { out, FIRST, 0 };
	ZSTD_DCtx *d;
	z_stream z;
	size_t r;

	if (f == ARCHIVE_TAR_ZST) {
		if ((d = ZSTD_createDCtx()) == NULL)
			return 0;
		while (ob.pos < FIRST && in.pos < n) {
			r = ZSTD_decompressStream(d, &ob, &in);
			if (ZSTD_isError(r))
				break;
		}
		ZSTD_freeDCtx(d);
		return ob.pos;
	}
	memset(&z, 0, sizeof(z));
	if (inflateInit2(&z, 15 + 16) != Z_OK)
		return 0;
	z.next_in = (unsigned char *)(uintptr_t)p;
	z.avail_in = (uInt)n;
	z.next_out = out;
	z.avail_out = FIRST;
	inflate(&z, Z_NO_FLUSH);
	inflateEnd(&z);
	return FIRST - z.avail_out;
}

static bool
first_mark(const unsigned char *p, size_t n)
{
	static const char want[] = " comment=cala-pack 1\n";

	return n >= 2 * TAR_BLOCK && tarr_header(p) && p[156] == 'g' &&
	    memmem(p + TAR_BLOCK, TAR_BLOCK, want, sizeof(want) - 1) != NULL;
}

/* With what is in head: go one way or the other, or wait for more. */
static int
decide(struct proof *p, bool last, struct err *e)
{
	unsigned char out[FIRST];
	size_t n;

	n = peek(p->format, p->head.p, p->head.len, out);
	if (n < 2 * TAR_BLOCK && !last && p->head.len < HEAD_MAX)
		return 0;
	p->decided = true;
	p->cala = first_mark(out, n);
	if (!p->cala)
		p->watch->ops->forget(p->watch);
	if ((!p->cala || p->decode) && side_start(p, e) == -1)
		return -1;
	buf_fini(&p->head);
	return 0;
}

static int
sniff(struct proof *p, struct err *e)
{
	p->sniffed = true;
	p->what = archive_sniff((const unsigned char *)p->head.p, p->head.len,
	    &p->format);
	switch (p->what) {
	case SNIFF_WRAPPED:
		if (p->format != ARCHIVE_TAR_ZST &&
		    p->format != ARCHIVE_TAR_GZ)
			break;
		p->watch = p->format == ARCHIVE_TAR_ZST ? watch_zst(e) :
		    watch_gz(e);
		return p->watch == NULL ? -1 : 0;
	case SNIFF_TAR:
		break;
	case SNIFF_ZIP:
	case SNIFF_7Z:
		memcpy(p->first, p->head.p, p->head.len < 32 ? p->head.len :
		    32);
		p->decided = true;
		p->tail = malloc(2 * (size_t)ZIP_TAIL);
		return p->tail == NULL ? err_oom(e) : 0;
	default:
		p->decided = true;
		if (p->lax)
			return 0;
		if ((p->sha = sha256_new(e)) == NULL)
			return -1;
		p->tail = malloc(2 * (size_t)ZIP_TAIL);
		return p->tail == NULL ? err_oom(e) : 0;
	}
	p->decided = true;
	return side_start(p, e);
}

/* The last ZIP_TAIL bytes; what leaves the last TRAILER ones is hashed. */
static void
tail(struct proof *p, const unsigned char *q, size_t n)
{
	size_t k, held;

	for (; n > 0; q += k, n -= k) {
		k = n < ZIP_TAIL ? n : ZIP_TAIL;
		if (p->ntail + k > 2 * (size_t)ZIP_TAIL) {
			memmove(p->tail, p->tail + p->ntail - ZIP_TAIL,
			    ZIP_TAIL);
			p->ntail = ZIP_TAIL;
		}
		memcpy(p->tail + p->ntail, q, k);
		if (p->sha != NULL) {
			held = p->ntail < TRAILER ? p->ntail : TRAILER;
			if (held + k > TRAILER)
				sha256_add(p->sha, p->tail + p->ntail - held,
				    held + k - TRAILER);
		}
		p->ntail += k;
	}
}

static int
take(struct proof *p, const unsigned char *q, size_t n, struct err *e)
{
	if (p->watch != NULL && p->watch->ops->feed(p->watch, q, n, e) == -1)
		return -1;
	if (p->tail != NULL)
		tail(p, q, n);
	if (p->flow != NULL)
		flow_push(p->flow, q, n);
	return 0;
}

int
proof_feed(struct proof *p, const void *v, size_t n, struct err *e)
{
	const unsigned char *q = v;
	size_t k;

	p->n += n;
	if (!p->sniffed) {
		k = TAR_BLOCK - p->head.len;
		if (k > n)
			k = n;
		if (buf_add(&p->head, q, k) == -1)
			return buf_failed(&p->head, e);
		q += k;
		n -= k;
		if (p->head.len < TAR_BLOCK)
			return 0;
		if (sniff(p, e) == -1)
			return -1;
		/* a flow was given its head when it began */
		if (p->watch != NULL && p->watch->ops->feed(p->watch,
		    (const unsigned char *)p->head.p, p->head.len, e) == -1)
			return -1;
		if (p->tail != NULL)
			tail(p, (const unsigned char *)p->head.p,
			    p->head.len);
	}
	while (n > 0 && !p->decided) {
		k = n < 64 << 10 ? n : 64 << 10;
		if (buf_add(&p->head, q, k) == -1)
			return buf_failed(&p->head, e);
		if (p->watch->ops->feed(p->watch, q, k, e) == -1 ||
		    decide(p, false, e) == -1)
			return -1;
		q += k;
		n -= k;
	}
	return n == 0 ? 0 : take(p, q, n, e);
}

static void
judge_zip(struct proof *p, struct archive_facts *f)
{
	size_t n = p->ntail < ZIP_TAIL ? p->ntail : ZIP_TAIL;
	struct zip_end z;

	if (zip_end(p->tail + p->ntail - n, n, p->n, &z) == 0) {
		zip_facts(&z, f);
		return;
	}
	f->proof = PROOF_NONE;
	f->why = "its end record is missing";
}

static void
judge_7z(struct proof *p, struct archive_facts *f)
{
	uint64_t whole;

	f->proof = PROOF_WRONG;
	if (p->n < 32 || sevenz_end(p->first, &whole) == -1)
		f->why = "its first header fails its checksum";
	else if (p->n < whole) {
		f->proof = PROOF_NONE;
		f->why = "it is shorter than its first header says";
	} else
		f->proof = PROOF_FOREIGN;
}

static void
judge_raw(struct proof *p, struct archive_facts *f)
{
	const unsigned char *t;
	unsigned char md[SHA256_LEN];

	f->known = false;
	f->proof = PROOF_NONE;
	f->why = p->n == 0 ? "it is empty" : "it is no archive";
	t = p->lax || p->ntail < TRAILER ? NULL : p->tail + p->ntail - TRAILER;
	if (t == NULL || get_le32(t) != (ZST_SKIP_MAGIC | 12) ||
	    get_le32(t + 4) != 48 || memcmp(t + 8, "CALAEOS1", 8) != 0)
		return;
	sha256_end(p->sha, md);
	if (get_le64(t + 16) == p->n - TRAILER &&
	    memcmp(t + 24, md, SHA256_LEN) == 0) {
		f->proof = PROOF_TRAILER;
		f->why = NULL;
		return;
	}
	/* ours, by its trailer */
	f->known = true;
	f->proof = PROOF_WRONG;
	f->why = "the trailer does not fit the bytes before it";
}

/* What the watch found and what decoding found: the stronger, unless wrong. */
static void
join(struct archive_facts *f, const struct archive_facts *side)
{
	if (side->proof == PROOF_WRONG || side->proof == PROOF_NONE) {
		f->proof = side->proof;
		f->why = side->why;
	}
	if (!side->counted)
		return;
	if (f->counted && f->entries != side->entries &&
	    f->proof > PROOF_FOREIGN && f->proof != PROOF_WRONG) {
		f->proof = PROOF_WRONG;
		f->why = "the index and the archive do not agree";
	}
	/* decoding sees the logical size of sparse files */
	f->counted = true;
	f->entries = side->entries;
	f->files = side->files;
	f->size = side->size;
}

int
proof_end(struct proof *p, struct archive_facts *f, struct err *e)
{
	memset(f, 0, sizeof(*f));
	if (!p->sniffed) {
		if (sniff(p, e) == -1)
			return -1;
		if (p->watch != NULL && p->watch->ops->feed(p->watch,
		    (const unsigned char *)p->head.p, p->head.len, e) == -1)
			return -1;
		if (p->tail != NULL)
			tail(p, (const unsigned char *)p->head.p,
			    p->head.len);
	}
	if (!p->decided && decide(p, true, e) == -1)
		return -1;
	f->known = true;
	f->format = p->format;
	if (p->what == SNIFF_ZIP)
		judge_zip(p, f);
	else if (p->what == SNIFF_7Z)
		judge_7z(p, f);
	else if (p->what == SNIFF_EMPTY || p->what == SNIFF_UNKNOWN)
		judge_raw(p, f);
	if (p->watch != NULL && p->cala) {
		f->cala = true;
		p->watch->ops->end(p->watch, f, p->why, sizeof(p->why));
		f->why = f->proof == PROOF_NONE || f->proof == PROOF_WRONG ?
		    p->why : NULL;
	}
	if (p->flow != NULL) {
		flow_end(p->flow);
		if (flow_wait(p->flow, e) == -1)
			return -1;
		if (f->cala)
			join(f, &p->side.f);
		else {
			*f = p->side.f;
			f->format = p->format;
		}
	}
	return 0;
}

struct proof *
proof_new(bool decode, struct err *e)
{
	struct proof *p = calloc(1, sizeof(*p));

	if (p == NULL) {
		err_oom(e);
		return NULL;
	}
	p->decode = decode;
	buf_init(&p->head, 2 * HEAD_MAX);
	log_init(&p->side.log, NULL, "");
	return p;
}

void
proof_memory(struct proof *p, uint64_t n)
{
	p->side.memory = n;
}

void
proof_free(struct proof *p)
{
	if (p == NULL)
		return;
	flow_free(p->flow);
	if (p->watch != NULL)
		p->watch->ops->free(p->watch);
	log_fini(&p->side.log);
	sha256_free(p->sha);
	buf_fini(&p->head);
	free(p->tail);
	free(p);
}

void
proof_lax(struct proof *p)
{
	p->lax = true;
}
