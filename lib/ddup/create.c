#include "ddup/create.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/err.h"
#include "base/log.h"
#include "base/rate.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "chunk/cut.h"
#include "chunk/hashes.h"
#include "chunk/mill.h"
#include "chunk/squeeze.h"
#include "ddup/arrange.h"
#include "ddup/statcache.h"

_Static_assert((int)DDUP_NONE == (int)SQUEEZE_RAW &&
    (int)DDUP_GZIP == (int)SQUEEZE_GZIP &&
    (int)DDUP_DEFLATE == (int)SQUEEZE_DEFLATE &&
    (int)DDUP_BROTLI == (int)SQUEEZE_BROTLI, "codes are handed on as they are");
_Static_assert((int)DDUP_HASH == (int)BLAKE2B_LEN, "a chunk's name");

enum { OPS = 8192, HITS = 64, DOUBT = 3600 };

/*
 * What was put or left, waiting for its turn: an entry goes to the draft when
 * all its chunks and all entries before it are there.
 */
struct op {
	struct op *next;
	bool leave;
	bool read;              /* all of its chunks were sent */
	bool sure;              /* read without trouble: may be noted */
	uint32_t *refs;
	size_t nrefs, room, want;
	struct entry en;        /* a copy, with all it points to behind */
};

/* What a thread of the pool works with. */
struct tool {
	struct squeeze *squeeze;
	unsigned char *out;
	size_t room;
};

struct create {
	struct writer w;
	struct ddup *r;
	struct ddup_create how;
	struct log *log;
	struct ddup_draft *draft;
	struct arrange *arrange;        /* of a stream; NULL: in order */
	struct mill *mill;
	struct tool *tool;      /* mill_workers, and one for this thread */
	unsigned ntools;
	struct rate *rate;
	struct stat_old *old;
	struct stat_new *new;
	struct op *head, **tail;
	size_t nops;
	uint64_t warned;        /* of log, when the entry before was done */
	struct cut cut;
	/* the chunk of max zero bytes, of the cutter it was made for */
	size_t zero_max;
	uint32_t zero_ref;
	bool zero;
	/* chunks of unchanged files are gone: known() looks for them, too */
	_Atomic bool wary;
	/* for known(): a buffer for each thread that asks at once */
	pthread_mutex_t mu;
	struct stat_hit *hit[HITS];
	unsigned nhit;
	struct stat_hit mine;
	uint32_t *refs;         /* of mine */
	size_t refs_room;
	struct stat_chunk *chunks;
	size_t chunks_room;
	struct ddup_created sum;
};

/* ---- one chunk, on any thread ---- */

static int
store(struct create *c, struct tool *t, uint32_t ref, const void *p, size_t n,
    struct err *e)
{
	enum squeeze_format f;
	unsigned char *q;
	size_t len;

	if (t->squeeze == NULL && (t->squeeze = squeeze_new(
	    (enum squeeze_format)c->how.code, c->how.level, e)) == NULL)
		return -1;
	if (t->room < n) {
		if ((q = realloc(t->out, n)) == NULL)
			return err_oom(e);
		t->out = q;
		t->room = n;
	}
	f = squeeze_run(t->squeeze, p, n, t->out, &len);
	if (f != SQUEEZE_RAW) {
		p = t->out;
		n = len;
	}
	if (rate_take(c->rate, n, e) == -1)
		return -1;
	return ddup_store(c->r, ref, (enum ddup_code)f, p, n, e);
}

static int
work(void *arg, unsigned worker, struct mill_piece *v, size_t n,
    struct err *e)
{
	unsigned char hash[MILL_PIECES][DDUP_HASH];
	struct hash_one one[MILL_PIECES] = { { 0 } };
	struct create *c = arg;
	uint32_t ref;
	size_t i;
	int got;

	for (i = 0; i < n; i++) {
		one[i].p = v[i].p;
		one[i].n = v[i].len;
		one[i].md = hash[i];
	}
	hashes(one, n);
	for (i = 0; i < n; i++) {
		if (stop_check(e) == -1 || (got = ddup_claim(c->r, hash[i],
		    (uint32_t)v[i].len, &ref, e)) == -1)
			return -1;
		v[i].ref = ref;
		if (got == DDUP_WANT && store(c, &c->tool[worker], ref,
		    v[i].p, v[i].len, e) == -1)
			return -1;
	}
	return 0;
}

/* ---- in order ---- */

static int
op_ref(struct op *o, uint32_t ref, struct err *e)
{
	size_t room = o->room == 0 ? 4 : o->room * 2;
	uint32_t *v;

	if (o->nrefs == o->room) {
		if ((v = reallocarray(o->refs, room, sizeof(*v))) == NULL)
			return err_oom(e);
		o->refs = v;
		o->room = room;
	}
	o->refs[o->nrefs++] = ref;
	return 0;
}

static int
done(void *arg, void *tag, uint64_t ref, struct err *e)
{
	(void)arg;
	return op_ref(tag, (uint32_t)ref, e);
}

/* A file went into the backup: what the next one may skip. */
static int
note(struct create *c, const struct entry *en, const uint32_t *refs, size_t n,
    struct err *e)
{
	struct stat_chunk *v;
	size_t i;

	if (n > c->chunks_room) {
		if ((v = reallocarray(c->chunks, n, sizeof(*v))) == NULL)
			return err_oom(e);
		c->chunks = v;
		c->chunks_room = n;
	}
	for (i = 0; i < n; i++) {
		ddup_ref_hash(c->r, refs[i], c->chunks[i].hash);
		c->chunks[i].len = ddup_ref_len(c->r, refs[i]);
	}
	stat_new_add(c->new, en, c->chunks, n);
	return 0;
}

static int
give(struct create *c, const struct entry *en, const uint32_t *refs, size_t n,
    bool sure, struct err *e)
{
	int got;

	if (c->arrange != NULL)
		return arrange_put(c->arrange, en, refs, n, e);
	got = ddup_draft_put(c->draft, en, refs, n, e);
	if (got == 0 && sure && c->new != NULL && en->type == ENTRY_FILE)
		got = note(c, en, refs, n, e);
	return got == -1 ? -1 : 0;
}

static void
op_free(struct op *o)
{
	free(o->refs);
	free(o);
}

/* Hand on what is complete. */
static int
hand_on(struct create *c, struct err *e)
{
	struct op *o;
	int ret = 0;

	while (ret == 0 && (o = c->head) != NULL) {
		if (!o->leave && (!o->read || o->nrefs < o->want))
			return 0;
		ret = o->leave ? ddup_draft_leave(c->draft, e) :
		    give(c, &o->en, o->refs, o->nrefs, o->sure, e);
		c->head = o->next;
		if (c->head == NULL)
			c->tail = &c->head;
		c->nops--;
		op_free(o);
	}
	return ret;
}

static int
queue(struct create *c, struct op *o, struct err *e)
{
	*c->tail = o;
	c->tail = &o->next;
	c->nops++;
	if (mill_poll(c->mill, e) == -1 || hand_on(c, e) == -1)
		return -1;
	/* Many that wait for few: then so do we. */
	while (c->nops > OPS) {
		if (mill_step(c->mill, e) == -1 || hand_on(c, e) == -1)
			return -1;
	}
	return 0;
}

/* ---- copies of entries ---- */

static char *
take_str(char **at, const char *s)
{
	size_t n;
	char *p = *at;

	if (s == NULL)
		return NULL;
	n = strlen(s) + 1;
	memcpy(p, s, n);
	*at += n;
	return p;
}

static size_t
str_room(const char *s)
{
	return s == NULL ? 0 : strlen(s) + 1;
}

/* Arrays first, for their alignment; then the bytes. */
static struct op *
op_copy(const struct entry *en, struct err *e)
{
	size_t i, n, fixed;
	struct xattr *x;
	struct extent *ext;
	struct op *o;
	char *at;

	fixed = en->nxattrs * sizeof(*x) +
	    (en->sparse ? en->nextents * sizeof(*ext) : 0);
	n = str_room(en->path) + str_room(en->target) + str_room(en->uname) +
	    str_room(en->gname);
	for (i = 0; i < en->nxattrs; i++)
		n += str_room(en->xattrs[i].name) + en->xattrs[i].len;
	if ((o = malloc(sizeof(*o) + fixed + n)) == NULL) {
		err_oom(e);
		return NULL;
	}
	memset(o, 0, sizeof(*o));
	o->en = *en;
	ext = (void *)(o + 1);
	if (en->sparse) {
		if (en->nextents > 0)
			memcpy(ext, en->extents,
			    en->nextents * sizeof(*ext));
		o->en.extents = ext;
		ext += en->nextents;
	}
	x = (void *)ext;
	o->en.xattrs = x;
	at = (char *)(x + en->nxattrs);
	o->en.path = take_str(&at, en->path);
	o->en.target = take_str(&at, en->target);
	o->en.uname = take_str(&at, en->uname);
	o->en.gname = take_str(&at, en->gname);
	for (i = 0; i < en->nxattrs; i++) {
		x[i].name = take_str(&at, en->xattrs[i].name);
		x[i].len = en->xattrs[i].len;
		if (x[i].len > 0)
			memcpy(at, en->xattrs[i].value, x[i].len);
		x[i].value = at;
		at += x[i].len;
	}
	return o;
}

/* ---- contents ---- */

/*
 * Are zero bytes cut into chunks of max?  Then holes need not be read: 1 with
 * that chunk in zero_ref, made when the first hole needs it.  0 or -1.
 */
static int
zero_chunk(struct create *c, struct err *e)
{
	struct mill_piece piece = { .len = c->cut.max };
	unsigned char *p;
	int ret = 0;

	if (c->zero_max == c->cut.max)
		return c->zero;
	if ((p = calloc(1, c->cut.max)) == NULL)
		return err_oom(e);
	c->zero = cut_next(&c->cut, p, c->cut.max, false) == c->cut.max;
	piece.p = p;
	if (c->zero && (ret = work(c, c->ntools - 1, &piece, 1, e)) == 0)
		c->zero_ref = (uint32_t)piece.ref;
	free(p);
	if (ret == -1)
		return -1;
	c->zero_max = c->cut.max;
	return c->zero;
}

/* Holes are not read, as far as whole chunks of them go. */
static int
read_sparse(struct create *c, const struct entry *en, struct content *in,
    struct err *e)
{
	uint64_t pos = 0, end, step;
	size_t i = 0, pending;
	bool hole;
	int zero;

	while (pos < en->size) {
		while (i < en->nextents &&
		    en->extents[i].off + en->extents[i].len <= pos)
			i++;
		hole = i == en->nextents || pos < en->extents[i].off;
		end = i == en->nextents ? en->size : hole ?
		    en->extents[i].off :
		    en->extents[i].off + en->extents[i].len;
		pending = mill_pending(c->mill);
		zero = 0;
		if (hole && pending == 0 && end - pos >= c->cut.max &&
		    (zero = zero_chunk(c, e)) == -1)
			return -1;
		if (zero == 1) {
			if (content_skip(in, c->cut.max, e) == -1 ||
			    mill_ref(c->mill, c->zero_ref, e) == -1)
				return -1;
			pos += c->cut.max;
			continue;
		}
		step = end - pos;
		/* after that much a cut is certain */
		if (hole && step > c->cut.max - pending)
			step = c->cut.max - pending;
		if (mill_content(c->mill, in, step, e) == -1)
			return -1;
		pos += step;
	}
	return 0;
}

/*
 * May it be noted?  Not when there was a warning since the entry before it:
 * what was padded, or lost its extended attributes, must be looked at again,
 * and be warned about again, next time.
 */
static bool
sure(const struct create *c)
{
	return log_warnings(c->log) == c->warned;
}

static int
put_read(struct create *c, const struct entry *en, struct content *in,
    struct err *e)
{
	uint32_t size = ddup_chunk_size(c->r), count = ddup_chunk_count(c->r);
	struct op *o = op_copy(en, e);

	if (o == NULL)
		return -1;
	/* In the queue at once, so that it has an owner whatever happens. */
	if (queue(c, o, e) == -1)
		return -1;
	if (c->how.fixed)
		cut_fixed(&c->cut, size, count, en->size);
	else
		cut_fastcdc(&c->cut, size, count, en->size);
	mill_begin(c->mill, &c->cut, o);
	if ((en->sparse ? read_sparse(c, en, in, e) :
	    mill_content(c->mill, in, en->size, e)) == -1 ||
	    mill_end(c->mill, &o->want, e) == -1)
		return -1;
	o->sure = sure(c);
	o->read = true;
	return 0;
}

/* ---- files that are as they were ---- */

/* Are all chunks of hit still there?  Then they go into refs (if not NULL). */
static bool
all_there(struct create *c, const struct entry *en,
    const struct stat_hit *hit, uint32_t *refs)
{
	struct err e = ERR_INIT;
	uint64_t sum = 0;
	uint32_t ref;
	size_t i;

	for (i = 0; i < hit->n; i++) {
		if (ddup_known(c->r, hit->v[i].hash, hit->v[i].len, &ref,
		    &e) != DDUP_HAVE)
			return false;
		if (refs != NULL)
			refs[i] = ref;
		sum += hit->v[i].len;
	}
	return sum == en->size;
}

static struct stat_hit *
hit_take(struct create *c)
{
	struct stat_hit *h = NULL;

	pthread_mutex_lock(&c->mu);
	if (c->nhit > 0)
		h = c->hit[--c->nhit];
	pthread_mutex_unlock(&c->mu);
	return h != NULL ? h : calloc(1, sizeof(*h));
}

static void
hit_give(struct create *c, struct stat_hit *h)
{
	pthread_mutex_lock(&c->mu);
	if (c->nhit < HITS) {
		c->hit[c->nhit++] = h;
		h = NULL;
	}
	pthread_mutex_unlock(&c->mu);
	if (h != NULL)
		free(h->v);
	free(h);
}

static bool
create_known(struct writer *w, const struct entry *en)
{
	struct create *c = (struct create *)w;
	struct stat_hit *h;
	bool ret;

	if (en->type != ENTRY_FILE || c->old == NULL || c->how.force_read)
		return false;
	if (!c->wary)
		return stat_old_plain(c->old, en, c->how.ignore_inode);
	if ((h = hit_take(c)) == NULL)
		return false;
	ret = stat_old_find(c->old, en, c->how.ignore_inode, h) &&
	    (h->flags & STAT_PLAIN) != 0 &&
	    all_there(c, en, h, NULL);
	hit_give(c, h);
	return ret;
}

/* 1: it is, and was put; 0: it must be read; -1. */
static int
put_unread(struct create *c, const struct entry *en, struct err *e)
{
	struct stat_hit *h = &c->mine;
	struct op *o;
	uint32_t *v;
	size_t i;

	if (c->old == NULL || c->how.force_read ||
	    !stat_old_find(c->old, en, c->how.ignore_inode, h))
		return 0;
	if (h->n > c->refs_room) {
		if ((v = reallocarray(c->refs, h->n, sizeof(*v))) == NULL)
			return err_oom(e);
		c->refs = v;
		c->refs_room = h->n;
	}
	if (!all_there(c, en, h, c->refs)) {
		c->wary = true;
		return 0;
	}
	c->sum.unread++;
	c->sum.unread_bytes += en->size;
	if (c->head == NULL)
		return give(c, en, c->refs, h->n, sure(c), e) == -1 ? -1 : 1;
	if ((o = op_copy(en, e)) == NULL)
		return -1;
	for (i = 0; i < h->n; i++) {
		if (op_ref(o, c->refs[i], e) == -1) {
			op_free(o);
			return -1;
		}
	}
	o->want = h->n;
	o->read = true;
	o->sure = sure(c);
	return queue(c, o, e) == -1 ? -1 : 1;
}

/* ---- the writer ---- */

static int
put(struct create *c, const struct entry *en, struct content *in,
    struct err *e)
{
	struct op *o;
	int got;

	if (en->type == ENTRY_FILE && en->size > 0) {
		if ((got = put_unread(c, en, e)) != 0)
			return got == -1 ? -1 : 0;
		return put_read(c, en, in, e);
	}
	if (c->head == NULL)
		return give(c, en, NULL, 0, sure(c), e);
	if ((o = op_copy(en, e)) == NULL)
		return -1;
	o->read = true;
	o->sure = sure(c);
	return queue(c, o, e);
}

static int
create_put(struct writer *w, const struct entry *en, struct content *in,
    struct err *e)
{
	struct create *c = (struct create *)w;
	int ret = put(c, en, in, e);

	c->warned = log_warnings(c->log);
	return ret;
}

static int
create_leave(struct writer *w, struct err *e)
{
	struct create *c = (struct create *)w;
	struct op *o;

	if (c->head == NULL)
		return ddup_draft_leave(c->draft, e);
	if ((o = calloc(1, sizeof(*o))) == NULL)
		return err_oom(e);
	o->leave = true;
	return queue(c, o, e);
}

static int
arranged_put(void *arg, const struct entry *en, const uint32_t *refs, size_t n,
    struct err *e)
{
	struct create *c = arg;

	return ddup_draft_put(c->draft, en, refs, n, e) == -1 ? -1 : 0;
}

static int
arranged_leave(void *arg, struct err *e)
{
	return ddup_draft_leave(((struct create *)arg)->draft, e);
}

static int
create_commit(struct writer *w, struct err *e)
{
	struct create *c = (struct create *)w;
	struct arrange_to to = { arranged_put, arranged_leave, c };
	unsigned char since[DDUP_SINCE];

	if (mill_drain(c->mill, e) == -1 || hand_on(c, e) == -1 ||
	    (c->arrange != NULL && arrange_all(c->arrange, &to, e) == -1) ||
	    ddup_draft_commit(c->draft, c->how.name, c->how.before,
	    c->how.arg, &c->sum.sum, e) == -1)
		return -1;
	/* Only now: it names chunks that no archive may have used. */
	ddup_since(c->r, since);
	stat_new_commit(c->new, since);
	log_step(c->log, "%ju files as they were, %ju new chunks",
	    (uintmax_t)c->sum.unread, (uintmax_t)c->sum.sum.new_chunks);
	return 0;
}

static void
create_abort(struct writer *w)
{
	struct create *c = (struct create *)w;
	struct op *o;
	unsigned i;

	mill_free(c->mill);
	while ((o = c->head) != NULL) {
		c->head = o->next;
		op_free(o);
	}
	arrange_free(c->arrange);
	ddup_draft_free(c->draft);
	stat_old_free(c->old);
	stat_new_free(c->new);
	for (i = 0; c->tool != NULL && i < c->ntools; i++) {
		squeeze_free(c->tool[i].squeeze);
		free(c->tool[i].out);
	}
	free(c->tool);
	for (i = 0; i < c->nhit; i++) {
		free(c->hit[i]->v);
		free(c->hit[i]);
	}
	free(c->mine.v);
	free(c->refs);
	free(c->chunks);
	rate_free(c->rate);
	pthread_mutex_destroy(&c->mu);
	free(c);
}

/* The largest chunk that any file may have. */
static size_t
largest(const struct create *c)
{
	struct cut cut = { 0 };

	(c->how.fixed ? cut_fixed : cut_fastcdc)(&cut, ddup_chunk_size(c->r),
	    ddup_chunk_count(c->r), UINT64_MAX);
	return cut.max;
}

unsigned
ddup_doubt(int fd)
{
	/* statfs(2): of others, and those whose server may be anywhere */
	static const uint32_t far[] = {
		0x6969 /* NFS */, 0x517B /* SMB */, 0xFE534D42 /* SMB 2 */,
		0xFF534D42 /* CIFS */, 0x65735546 /* FUSE */,
		0x01021997 /* 9P */, 0x00C36400 /* Ceph */,
		0x5346414F /* AFS */, 0x6B414653 /* kAFS */,
		0x0BD00BD0 /* Lustre */, 0x19830326 /* BeeGFS */,
		0x01161970 /* GFS2 */, 0x564C /* NCP */,
		0x73757245 /* Coda */, 0x7461636F /* OCFS2 */
	};
	struct statfs fs;
	size_t i;

	if (fstatfs(fd, &fs) == -1)
		return DOUBT;
	for (i = 0; i < sizeof(far) / sizeof(*far); i++)
		if ((uint32_t)fs.f_type == far[i])
			return DOUBT;
	return 0;
}

struct writer *
ddup_writer(struct ddup *r, const struct ddup_create *how, struct log *log,
    struct err *e)
{
	static const struct writer_ops ops = { create_put, create_leave,
	    create_known, create_commit, create_abort };
	static const struct writer_ops all_new = { create_put, create_leave,
	    NULL, create_commit, create_abort };
	static const struct writer_ops stream = { create_put, NULL, NULL,
	    create_commit, create_abort };
	struct create *c = calloc(1, sizeof(*c));
	struct mill_how mill;
	struct timespec now;

	if (c == NULL) {
		err_oom(e);
		return NULL;
	}
	c->w.ops = how->stream ? &stream : &all_new;
	c->r = r;
	c->how = *how;
	c->log = log;
	c->warned = log_warnings(log);
	c->tail = &c->head;
	pthread_mutex_init(&c->mu, NULL);
	memset(&mill, 0, sizeof(mill));
	mill.max = largest(c);
	mill.jobs = how->jobs;
	mill.memory = how->memory;
	mill.work = work;
	mill.done = done;
	mill.arg = c;
	if ((c->rate = rate_new(how->limit_write, e)) == NULL ||
	    (c->mill = mill_new(&mill, e)) == NULL ||
	    (c->draft = ddup_draft_new(r, how->stream, log, e)) == NULL)
		goto fail;
	c->ntools = mill_workers(c->mill) + 1;
	if ((c->tool = calloc(c->ntools, sizeof(*c->tool))) == NULL) {
		err_oom(e);
		goto fail;
	}
	if (how->stream) {
		c->arrange = arrange_new(ddup_dirfd(r), log, e);
		if (c->arrange == NULL)
			goto fail;
	} else if (how->server != NULL) {
		c->old = stat_old_open(ddup_archives(r), how->server, log);
		now = when_now();
		now.tv_sec -= how->doubt;
		c->new = stat_new_open(ddup_archives(r), how->server, now,
		    log);
		if (c->old != NULL && !how->force_read) {
			ddup_trust(r, stat_old_since(c->old));
			c->w.ops = &ops;
		}
	}
	return &c->w;
fail:
	create_abort(&c->w);
	return NULL;
}

const struct ddup_created *
ddup_writer_sum(const struct writer *w)
{
	return &((const struct create *)w)->sum;
}
