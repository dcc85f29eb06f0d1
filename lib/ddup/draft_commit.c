/* draft_commit: the spool becomes an archive. */

#include "ddup/draft.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/pool.h"
#include "base/str.h"
#include "ddup/count.h"
#include "ddup/ext.h"
#include "ddup/loose.h"

/*
 * LEVEL: of entries, mostly numbers that no level finds anything in: 6 takes
 * three times as long as 2 and saves a fiftieth.
 */
enum { LEVEL = 2, HEADER = 8, FILE_TYPES = 0170000 };

void
rec_init(struct rec *rec)
{
	memset(rec, 0, sizeof(*rec));
	buf_init(&rec->name, 4 * ENTRY_PATH_MAX);
	buf_init(&rec->mapped, 4 * ENTRY_PATH_MAX);
	buf_init(&rec->target, 4 * ENTRY_PATH_MAX);
	buf_init(&rec->target_mapped, 4 * ENTRY_PATH_MAX);
	buf_init(&rec->xattrs, (size_t)1 << 30);
	buf_init(&rec->extents, (size_t)1 << 26);
}

void
rec_fini(struct rec *rec)
{
	buf_fini(&rec->name);
	buf_fini(&rec->mapped);
	buf_fini(&rec->target);
	buf_fini(&rec->target_mapped);
	buf_fini(&rec->xattrs);
	buf_fini(&rec->extents);
}

/* n bytes of s behind what b holds. */
static int
get_bytes(struct dstream *s, struct buf *b, uint64_t n, struct err *e)
{
	char *p;

	if (n > b->max || (p = buf_room(b, (size_t)n)) == NULL)
		return err_oom(e);
	if (dstream_get(s, p, (size_t)n, e) == -1)
		return -1;
	buf_grown(b, (size_t)n);
	return 0;
}

static int
get_str(struct dstream *s, struct buf *b, struct err *e)
{
	uint64_t n;

	buf_reset(b);
	if (dstream_varint(s, &n, e) == -1)
		return -1;
	return get_bytes(s, b, n, e);
}

static int
get_varint_into(struct dstream *s, struct buf *b, uint64_t *n, struct err *e)
{
	unsigned char p[10];

	if (dstream_varint(s, n, e) == -1)
		return -1;
	return buf_add(b, p, varint_put(p, *n)) == -1 ? err_oom(e) : 0;
}

static int
get_xattrs(struct rec *rec, struct dstream *s, struct err *e)
{
	uint64_t n, i, len;

	buf_reset(&rec->xattrs);
	if (dstream_varint(s, &n, e) == -1)
		return -1;
	rec->nxattrs = (uint32_t)n;
	for (i = 0; i < 2 * n; i++)
		if (get_varint_into(s, &rec->xattrs, &len, e) == -1 ||
		    get_bytes(s, &rec->xattrs, len, e) == -1)
			return -1;
	return 0;
}

static int
get_file(struct rec *rec, struct dstream *s, struct err *e)
{
	uint64_t n, i, skip;

	if (dstream_varint(s, &rec->size, e) == -1 || (rec->type ==
	    ENTRY_HARDLINK && dstream_varint(s, &rec->link, e) == -1) ||
	    dstream_varint(s, &n, e) == -1)
		return -1;
	rec->sparse = n > 0;
	rec->nextents = n > 0 ? (uint32_t)(n - 1) : 0;
	buf_reset(&rec->extents);
	for (i = 0; i < 2 * (uint64_t)rec->nextents; i++)
		if (get_varint_into(s, &rec->extents, &skip, e) == -1)
			return -1;
	return dstream_varint(s, &rec->nrefs, e);
}

static int
get_kind(struct rec *rec, struct dstream *s, struct err *e)
{
	switch (rec->type) {
	case ENTRY_FILE:
	case ENTRY_HARDLINK:
		return get_file(rec, s, e);
	case ENTRY_DIR:
		return dstream_varint32(s, &rec->dir, e);
	case ENTRY_SYMLINK:
		return get_str(s, &rec->target, e) == -1 ? -1 :
		    get_str(s, &rec->target_mapped, e);
	default:
		return dstream_varint32(s, &rec->depth, e) == -1 ||
		    dstream_varint32(s, &rec->major, e) == -1 ? -1 :
		    dstream_varint32(s, &rec->minor, e);
	}
}

int
rec_get(struct rec *rec, struct dstream *s, struct err *e)
{
	uint64_t sec;
	int more;

	if ((more = dstream_more(s, e)) != 1)
		return more;
	rec->nrefs = 0;
	rec->sparse = false;
	rec->target_mapped.len = 0;
	if (dstream_get(s, &rec->type, 1, e) == -1 ||
	    dstream_varint(s, &rec->number, e) == -1 ||
	    dstream_varint(s, &rec->parent, e) == -1 ||
	    get_str(s, &rec->name, e) == -1 ||
	    get_str(s, &rec->mapped, e) == -1 ||
	    dstream_varint32(s, &rec->mode, e) == -1 ||
	    dstream_varint32(s, &rec->uid, e) == -1 ||
	    dstream_varint32(s, &rec->gid, e) == -1 ||
	    dstream_varint(s, &sec, e) == -1 ||
	    dstream_varint32(s, &rec->nsec, e) == -1 ||
	    get_xattrs(rec, s, e) == -1 || get_kind(rec, s, e) == -1)
		return -1;
	rec->sec = unzigzag(sec);
	return 1;
}

/* One reading of the spool: fn for each record, then for each of its refs. */
struct pass {
	struct ddup_draft *d;
	struct index *ix;
	struct dsink *out;
	uint64_t offset;                /* of the next body */
	uint64_t number;                /* of the entry that comes next */
	uint64_t noted;                 /* the same, at the last extra item */
	int (*rec)(struct pass *, struct rec *, struct err *);
	int (*ref)(struct pass *, uint32_t, struct err *);
	int (*end)(struct pass *, struct rec *, uint64_t, struct err *);
};

static int
refs(struct pass *p, struct dstream *s, const struct rec *rec, uint64_t *len,
    struct err *e)
{
	unsigned char raw[4096], v[10];
	uint64_t left = rec->nrefs;
	uint32_t ref;
	size_t n, i;

	*len = 0;
	if (p->ref == NULL && p->end == NULL)
		return dstream_skip(s, 4 * left, e);
	while (left > 0) {
		n = left < sizeof(raw) / 4 ? (size_t)left : sizeof(raw) / 4;
		if (dstream_get(s, raw, 4 * n, e) == -1)
			return -1;
		for (i = 0; i < n; i++) {
			ref = get_le32(raw + 4 * i);
			if (p->ref != NULL && p->ref(p, ref, e) == -1)
				return -1;
			*len += varint_put(v, index_get_id(p->ix, ref));
		}
		left -= n;
	}
	return 0;
}

/* Is it an entry of the format? */
static bool
numbered(const struct rec *rec)
{
	return rec->name.len > 0 && rec->type != ENTRY_FIFO &&
	    rec->type != ENTRY_CHAR && rec->type != ENTRY_BLOCK;
}

static int
pass(struct pass *p, struct err *e)
{
	struct dstream *s;
	struct rec rec;
	uint64_t len;
	int more = -1;

	rec_init(&rec);
	s = dstream_new(p->d->fd, "spool file", e);
	if (s != NULL && dstream_set(s, 0, dsink_pos(p->d->spool), DDUP_NONE,
	    UINT64_MAX, e) == 0)
		while ((more = rec_get(&rec, s, e)) == 1) {
			if ((p->rec != NULL && p->rec(p, &rec, e) == -1) ||
			    refs(p, s, &rec, &len, e) == -1 ||
			    (p->end != NULL && p->end(p, &rec, len, e) == -1)) {
				more = -1;
				break;
			}
			p->number += numbered(&rec);
		}
	dstream_free(s);
	rec_fini(&rec);
	return more;
}

/* Every chunk that is used is stored, has an id, and is counted. */
static int
count_first(struct pass *p, uint32_t ref, uint32_t word, struct err *e)
{
	const struct ddup *r = p->d->r;

	if ((word & INDEX_PENDING) != 0)
		return err_set(e, CALA_FAIL, "a chunk was never stored");
	index_set_word(p->ix, ref, word | INDEX_USED);
	/*
	 * Was it taken away while we were at work?  ddup-bak removes chunks
	 * before it says so in the index, which it may never.
	 */
	if (r->visited && !chunk_there(r, index_hash(p->ix, ref)))
		return err_set(e, CALA_LOCKED, "another program has removed a "
		    "chunk meanwhile");
	if (index_get_id(p->ix, ref) == 0) {
		if (p->ix->next_id > INDEX_ID_MAX)
			return err_set(e, CALA_FAIL, "there are no more ids "
			    "for chunks");
		index_set_id(p->ix, ref, p->ix->next_id++);
	}
	return 0;
}

static int
body_ref(struct pass *p, uint32_t ref, struct err *e)
{
	uint32_t word = index_word(p->ix, ref);

	if ((word & INDEX_USED) == 0 && count_first(p, ref, word, e) == -1)
		return -1;
	index_more(p->ix, ref);
	dsink_varint(p->out, index_get_id(p->ix, ref));
	return 0;
}

static void
put_str(struct dsink *out, const struct buf *b)
{
	dsink_varint(out, b->len);
	dsink_put(out, b->p, b->len);
}

static void
put_attrs(struct dsink *out, const struct rec *rec)
{
	dsink_varint(out, rec->mode);
	dsink_varint(out, rec->uid);
	dsink_varint(out, rec->gid);
	dsink_varint(out, zigzag(rec->sec));
}

static void
put_xattrs(struct dsink *out, const struct rec *rec)
{
	dsink_varint(out, rec->nxattrs);
	dsink_put(out, rec->xattrs.p, rec->xattrs.len);
}

static unsigned
extra_bits(const struct rec *rec)
{
	bool ghost = rec->type == ENTRY_FIFO || rec->type == ENTRY_CHAR ||
	    rec->type == ENTRY_BLOCK;

	return (rec->nsec != 0 ? EXT_NSEC : 0u) |
	    (rec->sec < 0 && !ghost ? EXT_SEC : 0u) |
	    (rec->mapped.len > 0 && !ghost ? EXT_NAME : 0u) |
	    (rec->type == ENTRY_SYMLINK && rec->target_mapped.len > 0 ?
	    EXT_TARGET : 0u) |
	    (rec->nxattrs > 0 ? EXT_XATTRS : 0u) |
	    (rec->type == ENTRY_HARDLINK ? EXT_LINK : 0u) |
	    (rec->sparse ? EXT_SPARSE : 0u) |
	    (ghost ? EXT_GHOST : 0u);
}

static int
extra(struct pass *p, struct rec *rec, struct err *e)
{
	struct dsink *out = p->out;
	unsigned bits = extra_bits(rec);

	(void)e;
	if (rec->type == ENTRY_DIR && rec->name.len == 0) {
		dsink_put(out, "\1", 1);
		put_attrs(out, rec);
		dsink_varint(out, rec->nsec);
		put_xattrs(out, rec);
		return 0;
	}
	if (bits == 0)
		return 0;
	dsink_varint(out, p->number - p->noted);
	p->noted = p->number;
	dsink_varint(out, bits);
	if ((bits & EXT_NSEC) != 0)
		dsink_varint(out, rec->nsec);
	if ((bits & EXT_SEC) != 0)
		dsink_varint(out, zigzag(rec->sec));
	if ((bits & EXT_NAME) != 0)
		put_str(out, &rec->name);
	if ((bits & EXT_TARGET) != 0)
		put_str(out, &rec->target);
	if ((bits & EXT_XATTRS) != 0)
		put_xattrs(out, rec);
	if ((bits & EXT_LINK) != 0)
		dsink_varint(out, rec->link);
	if ((bits & EXT_SPARSE) != 0) {
		dsink_varint(out, rec->nextents);
		dsink_put(out, rec->extents.p, rec->extents.len);
	}
	if ((bits & EXT_GHOST) != 0) {
		dsink_put(out, &rec->type, 1);
		dsink_varint(out, rec->depth);
		put_str(out, &rec->name);
		put_attrs(out, rec);
		dsink_varint(out, rec->major);
		dsink_varint(out, rec->minor);
	}
	return 0;
}

static uint32_t
type_word(const struct rec *rec)
{
	switch (rec->type) {
	case ENTRY_DIR:
		return 1u << 30 | S_IFDIR;
	case ENTRY_SYMLINK:
		return 2u << 30 | S_IFLNK;
	default:
		return S_IFREG;
	}
}

static int
entry(struct pass *p, struct rec *rec, uint64_t len, struct err *e)
{
	const struct buf *name = rec->mapped.len > 0 ? &rec->mapped :
	    &rec->name;
	const struct buf *target = rec->target_mapped.len > 0 ?
	    &rec->target_mapped : &rec->target;
	struct dsink *out = p->out;
	unsigned char word[4];

	(void)e;
	if (!numbered(rec))
		return 0;
	put_str(out, name);
	put_le32(word, type_word(rec) | rec->mode);
	dsink_put(out, word, sizeof(word));
	dsink_varint(out, rec->uid);
	dsink_varint(out, rec->gid);
	dsink_varint(out, rec->sec > 0 ? (uint64_t)rec->sec : 0);
	if (rec->type == ENTRY_DIR) {
		dsink_varint(out, p->d->children[rec->dir]);
	} else if (rec->type == ENTRY_SYMLINK) {
		put_str(out, target);
		dsink_put(out, "", 1);          /* target_dir: no */
	} else {
		dsink_varint(out, len);
		dsink_varint(out, rec->size);
		dsink_varint(out, p->offset);
		p->offset += len;
	}
	return 0;
}

static bool
is_used(const struct index *ix, uint32_t ref)
{
	return (index_word(ix, ref) & INDEX_USED) != 0;
}

struct map {
	struct dsink *out;
	uint64_t n;
};

static void
map_one(void *arg, const struct index *ix, uint32_t ref)
{
	struct map *m = arg;

	dsink_varint(m->out, index_get_id(ix, ref));
	dsink_varint(m->out, index_word(ix, ref) & INDEX_LEN);
	dsink_put(m->out, index_hash(ix, ref), DDUP_HASH);
	m->n++;
}

/*
 * By id, as readers look them up; and as the order in which threads met them
 * would make another archive each time.
 */
static int
put_map(struct index *ix, struct dsink *out, uint64_t *n, struct err *e)
{
	struct map m = { .out = out };

	if (index_by_id(ix, is_used, map_one, &m, e) == -1)
		return -1;
	*n = m.n;
	return 0;
}

/* What was just written, hashed by reading it again. */
static int
digest(int fd, uint64_t off, uint64_t len, unsigned char md[BLAKE2B_LEN],
    struct err *e)
{
	unsigned char buf[16384];
	struct blake2b *h = blake2b_new(e);
	size_t n;

	if (h == NULL)
		return -1;
	for (; len > 0; len -= n, off += n) {
		n = len < sizeof(buf) ? (size_t)len : sizeof(buf);
		if (file_pread_full(fd, buf, n, off) != (ssize_t)n) {
			blake2b_free(h);
			return err_sys(e, "read the archive again");
		}
		blake2b_add(h, buf, n);
	}
	blake2b_end(h, md);
	blake2b_free(h);
	return 0;
}

static int
put_ext(struct pass *p, int fd, struct err *e)
{
	unsigned char fixed[EXT_FIXED] = { EXT_VERSION }, md[BLAKE2B_LEN];
	unsigned char tail[EXT_TAIL];
	struct dsink *out = p->out;
	uint64_t start = dsink_pos(out), map, n = 0;

	dsink_begin(out, LEVEL);
	if (!p->d->root)
		dsink_put(out, "", 1);
	p->rec = extra;
	p->ref = NULL;
	p->end = NULL;
	p->number = p->noted = 0;
	if (pass(p, e) == -1)
		return -1;
	dsink_end(out);
	map = dsink_pos(out);
	if (put_map(p->ix, out, &n, e) == -1)
		return -1;
	fixed[1] = p->d->sorted ? EXT_SORTED : 0;
	put_le64(fixed + 8, p->d->numbers);
	put_le64(fixed + 16, map - start);
	put_le64(fixed + 24, n);
	put_le64(fixed + 32, dsink_pos(out) - map);
	dsink_put(out, fixed, sizeof(fixed));
	if (dsink_flush(out, e) == -1 ||
	    digest(fd, start, dsink_pos(out) - start, md, e) == -1)
		return -1;
	dsink_put(out, md, sizeof(md));
	put_le64(tail, dsink_pos(out) - start);
	memcpy(tail + 8, EXT_MAGIC, 8);
	dsink_put(out, tail, sizeof(tail));
	return 0;
}

/*
 * The entries and the index wait for nothing but the ids: whoever has time writes
 * them, the entries into a file of their own.
 */
struct aside {
	struct job job;
	struct ddup_draft *d;
	struct index_draft *index;
	int fd;
	uint64_t len;
	int ret;
	struct err e;
};

static void
entries_run(struct job *job)
{
	struct aside *a = (struct aside *)job;
	struct pass p = { .d = a->d, .ix = &a->d->r->ix, .end = entry,
	    .offset = HEADER };

	a->ret = -1;
	if ((p.out = dsink_new(a->fd, "spool file", &a->e)) == NULL)
		return;
	dsink_begin(p.out, LEVEL);
	if (pass(&p, &a->e) == 0) {
		dsink_end(p.out);
		a->len = dsink_pos(p.out);
		a->ret = dsink_flush(p.out, &a->e);
	}
	dsink_free(p.out);
}

static void
index_run(struct job *job)
{
	struct aside *a = (struct aside *)job;
	struct ddup *r = a->d->r;

	a->ret = index_draft(&r->ix, r->chunks, a->index, &a->e);
}

static int
append(struct dsink *out, int fd, uint64_t len, struct err *e)
{
	unsigned char buf[16384];
	uint64_t off;
	size_t n;

	for (off = 0; off < len; off += n) {
		n = len - off < sizeof(buf) ? (size_t)(len - off) :
		    sizeof(buf);
		if (file_pread_full(fd, buf, n, off) != (ssize_t)n)
			return err_sys(e, "read the spool file");
		dsink_put(out, buf, n);
	}
	return 0;
}

/* What becomes of a job, unless something has failed already. */
static int
joined(struct pool *pool, struct aside *a, int ret, struct err *e)
{
	pool_wait(pool, &a->job);
	if (ret == 0 && a->ret == -1)
		*e = a->e;
	return ret == 0 ? a->ret : -1;
}

/* The extras, the entries' block and the index, made at once. */
static int
put_blocks(struct pass *p, int fd, struct index_draft *ix, uint64_t *at,
    struct err *e)
{
	struct aside entries = { .job.run = entries_run, .d = p->d,
	    .e = ERR_INIT };
	struct aside index = { .job.run = index_run, .d = p->d, .index = ix,
	    .e = ERR_INIT };
	struct pool *pool;
	int ret = -1;

	if ((entries.fd = file_nameless(p->d->r->dir, ".", e)) == -1)
		return -1;
	if ((pool = pool_new(pool_cores() > 1, e)) != NULL) {
		pool_submit(pool, &entries.job);
		pool_submit(pool, &index.job);
		ret = put_ext(p, fd, e);
		*at = dsink_pos(p->out);
		ret = joined(pool, &index, ret, e);
		ret = joined(pool, &entries, ret, e);
		if (ret == 0)
			ret = append(p->out, entries.fd, entries.len, e);
	}
	pool_free(pool);
	close(entries.fd);
	return ret;
}

/* The archive, and beside its file the index that goes with it. */
static int
write_archive(struct ddup_draft *d, int fd, const char *name,
    struct index_draft *ix, struct err *e)
{
	static const unsigned char header[HEADER] = "DDUPBAK\1";
	struct pass p = { .d = d, .ix = &d->r->ix, .ref = body_ref };
	unsigned char tail[16];
	char hex[41];
	uint64_t at;
	int ret = -1;

	if ((p.out = dsink_new(fd, name, e)) == NULL)
		return -1;
	if (dsink_hash_sha1(p.out, e) == -1)
		goto out;
	dsink_put(p.out, header, sizeof(header));
	if (pass(&p, e) == -1 || put_blocks(&p, fd, ix, &at, e) == -1)
		goto out;
	put_le64(tail, d->children[0]);
	put_le64(tail + 8, at);
	dsink_put(p.out, tail, sizeof(tail));
	if (dsink_flush(p.out, e) == -1)
		goto out;
	d->sum.archive = dsink_pos(p.out);
	dsink_sha1(p.out, hex);
	snprintf(d->sum.checksum, sizeof(d->sum.checksum), "%" PRIu64 "-%s",
	    d->sum.archive, hex);
	ret = 0;
out:
	dsink_free(p.out);
	return ret;
}

/*
 * Another program has made backups.  Killed before it saved the index, it left an
 * archive with ids that the index does not know: given to our chunks, they would
 * make it show our bytes.  Counts are left alone until a delete needs them.
 */
static void
avoid_ids(struct ddup *r)
{
	struct err why = ERR_INIT;
	struct count c;

	log_step(r->log, "another program has made backups: looking for ids "
	    "that only these know");
	count_init(&c, r, false);
	c.quiet = true;
	/* Chunks were added since it was read. */
	if (index_ids(&r->ix, &why) == -1 || count_all(&c, &why) == -1)
		log_note(r->log, "%s", why.msg);
	if (c.top >= r->ix.next_id)
		r->ix.next_id = c.top + 1;
	count_fini(&c);
}

/* The index as it is now, in which this draft can be counted. */
static int
index_now(struct ddup *r, struct err *e)
{
	if (!index_same(&r->ix.file, r->chunks, "index")) {
		log_step(r->log, "the index was changed meanwhile: reading it "
		    "again");
		if (index_reload(&r->ix, r->chunks, "index", r->log,
		    e) == -1 || repo_index_write(r, e) == -1)
			return -1;
	}
	repo_state_look(r);
	if (r->strange)
		avoid_ids(r);
	return 0;
}

static int
publish(struct ddup_draft *d, const char *name,
    int (*before)(void *, const struct ddup_sum *, struct err *), void *arg,
    struct err *e)
{
	char tmp[DDUP_FILE], file[DDUP_FILE];
	struct index_draft ix = INDEX_DRAFT_INIT;
	struct ddup *r = d->r;
	int fd, fds[2], ret = -1, there;

	name_temp(tmp, name);
	name_archive(file, name);
	if ((there = ddup_exists(r, name, e)) == -1)
		return -1;
	if (there == 1)
		return err_set(e, CALA_EXISTS, "backup %s exists already",
		    name);
	(void)unlinkat(r->archives, tmp, 0);
	fd = openat(r->archives, tmp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW |
	    O_CLOEXEC, 0600);
	if (fd == -1)
		return err_sys(e, "create %s", tmp);
	if (repo_own(r, fd, e) == -1 ||
	    write_archive(d, fd, tmp, &ix, e) == -1)
		goto out;
	/*
	 * All that is new goes to the disk together, then its names do: each
	 * wait for the journal is as long as much of the rest of a backup in
	 * which nothing has changed.
	 */
	fds[0] = fd;
	fds[1] = ix.file.fd;
	if (file_flow(fds, 2) == -1) {
		err_sys(e, "write %s or the index", tmp);
		goto out;
	}
	if (before != NULL && before(arg, &d->sum, e) == -1)
		goto out;
	if (fsync(fd) == -1) {
		err_sys(e, "write %s", tmp);
		goto out;
	}
	if (foreign_settle(r, FOREIGN_CREATE, e) == -1 ||
	    index_publish(&r->ix, r->chunks, &ix, e) == -1)
		goto out;
	/* What others see must not be in doubt: no foreign hand in between. */
	if (!r->strange)
		repo_state_save(r);
	if (before != NULL && fsync(r->archives) == -1) {
		err_sys(e, "sync the directory of archives");
		goto out;
	}
	if (renameat(r->archives, tmp, r->archives, file) == -1) {
		err_sys(e, "rename %s", tmp);
		goto out;
	}
	if (fsync(r->archives) == -1) {
		/* What may be gone after a power cut was never promised. */
		err_sys(e, "sync the directory of archives");
		(void)renameat(r->archives, file, r->archives, tmp);
		goto out;
	}
	ret = 0;
out:
	index_draft_fini(&ix);
	close(fd);
	if (ret == -1)
		(void)unlinkat(r->archives, tmp, 0);
	return ret;
}

/* Did we store what no entry came to use? */
static bool
unused(const struct index *ix)
{
	uint32_t i;

	for (i = 0; i < ix->n; i++)
		if ((index_word(ix, i) & INDEX_MADE) != 0 &&
		    index_get_id(ix, i) == 0)
			return true;
	return false;
}

int
ddup_draft_commit(struct ddup_draft *d, const char *name,
    int (*before)(void *, const struct ddup_sum *, struct err *), void *arg,
    struct ddup_sum *sum, struct err *e)
{
	struct ddup *r = d->r;
	int lock, ret = -1;

	d->sum.new_chunks = r->new_chunks;
	d->sum.new_bytes = r->new_bytes;
	if (dsink_flush(d->spool, e) == -1)
		return -1;
	/* Of chunks that an index knows, whoever put them there saw to that. */
	if (r->fresh && syncfs(r->chunks) == -1)
		return err_sys(e, "make the chunks durable");
	if ((lock = repo_lock_index(r, FOREIGN_CREATE, e)) == -1)
		return -1;
	if (index_now(r, e) == 0)
		ret = publish(d, name, before, arg, e);
	if (ret == 0 && !unused(&r->ix))
		loose_end(r);
	repo_unlock_index(r, lock);
	if (ret == 0)
		*sum = d->sum;
	return ret;
}
