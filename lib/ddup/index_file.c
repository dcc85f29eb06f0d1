/* index_file: the table's file, read with suspicion and written whole. */

#include "ddup/index.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "ddup/stream.h"

#define INFLATED_MAX ((uint64_t)1 << 36)

enum { HEADER = 32, LEVEL = 0 };        /* hashes don't compress */

static void
file_of(struct index_file *f, const struct stat *st)
{
	f->dev = st->st_dev;
	f->ino = st->st_ino;
	f->size = st->st_size;
	f->mtime = st->st_mtim;
	f->ctime = st->st_ctim;
}

bool
index_same(const struct index_file *f, int dirfd, const char *name)
{
	struct stat st;

	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_dev == f->dev && st.st_ino == f->ino &&
	    st.st_size == f->size &&
	    st.st_mtim.tv_sec == f->mtime.tv_sec &&
	    st.st_mtim.tv_nsec == f->mtime.tv_nsec &&
	    st.st_ctim.tv_sec == f->ctime.tv_sec &&
	    st.st_ctim.tv_nsec == f->ctime.tv_nsec;
}

bool
index_sum(const struct index *ix, const unsigned char sum[16])
{
	return memcmp(ix->file.sum, sum, sizeof(ix->file.sum)) == 0;
}

/*
 * How much a file of that size may hold, so that a small one does not fill the
 * memory: hashes do not compress, and lists of ids do by a factor of ten at the
 * most, where what deflate can do is a thousand.
 */
static uint64_t
most_entries(const struct index *ix)
{
	return (uint64_t)ix->file.size / 16 + 1024;
}

static uint64_t
most_deleted(const struct index *ix)
{
	return (uint64_t)ix->file.size * 64 + 65536;
}

static int
get_deleted(struct index *ix, struct dstream *d, uint64_t n, struct err *e)
{
	unsigned char p[10];
	uint64_t id;

	for (; n > 0; n--) {
		if (dstream_varint(d, &id, e) == -1)
			return -1;
		if (ix->deleted.len > most_deleted(ix) ||
		    buf_add(&ix->deleted, p, varint_put(p, id)) == -1)
			return err_set(e, CALA_INTEGRITY,
			    "more deleted ids than a file of its size has");
		ix->ndeleted++;
	}
	return 0;
}

/* Where the chunk of an entry of the file belongs in a table in use. */
static int
place(struct index *ix, const unsigned char *hash, bool again, uint32_t *ref,
    struct err *e)
{
	uint32_t i = INDEX_NONE, at = INDEX_NONE;

	while (again && (i = index_each(ix, hash, &at)) != INDEX_NONE &&
	    index_get_id(ix, i) != 0)
		;
	if (i == INDEX_NONE)
		return index_add(ix, hash, ref, e);
	*ref = i;
	return 0;
}

static int
get_entries(struct index *ix, struct dstream *d, uint64_t n, bool again,
    uint64_t *top, struct err *e)
{
	unsigned char hash[DDUP_HASH];
	uint64_t id, refs, left = most_entries(ix);
	uint32_t ref;

	for (; n > 0; n--) {
		if (left-- == 0)
			return err_set(e, CALA_INTEGRITY, "more chunks than "
			    "a file of its size has");
		if (dstream_get(d, hash, sizeof(hash), e) == -1 ||
		    dstream_varint(d, &id, e) == -1 ||
		    dstream_varint(d, &refs, e) == -1)
			return -1;
		if (id == 0 || id > INDEX_ID_MAX)
			return err_set(e, CALA_INTEGRITY,
			    "a chunk has the id %" PRIu64, id);
		if (refs > INDEX_MANY)
			return err_set(e, CALA_INTEGRITY, "chunk %" PRIu64
			    " has %" PRIu64 " references", id, refs);
		if (place(ix, hash, again, &ref, e) == -1)
			return -1;
		index_set_id(ix, ref, id);
		index_set_refs(ix, ref, (uint32_t)refs);
		if (id > *top)
			*top = id;
	}
	return 0;
}

/* A live id in the list of ids to use again would be given twice. */
static int
drop_live(struct index *ix, struct log *log, struct err *e)
{
	const unsigned char *p = (const unsigned char *)ix->deleted.p;
	const unsigned char *end = p + ix->deleted.len;
	uint64_t id, left = 0;
	struct buf keep;
	size_t n;
	int ret;

	buf_init(&keep, ix->deleted.max);
	for (; p < end && (n = varint_get(p, end, &id)) > 0; p += n) {
		if (id == 0 || index_id(ix, id) != INDEX_NONE)
			continue;
		buf_add(&keep, p, n);
		left++;
	}
	if ((ret = buf_failed(&keep, e)) == 0 && left < ix->ndeleted) {
		log_note(log, "index: %" PRIu64 " ids in use stood in the "
		    "list of free ones", ix->ndeleted - left);
		ix->fixed += ix->ndeleted - left;
		buf_fini(&ix->deleted);
		ix->deleted = keep;
		ix->ndeleted = left;
		return 0;
	}
	buf_fini(&keep);
	return ret;
}

static int
parse(struct index *ix, struct dstream *d, bool again, struct log *log,
    struct err *e)
{
	unsigned char h[HEADER];
	uint64_t entries, top = 0;
	int more, twice;

	if (dstream_get(d, h, sizeof(h), e) == -1)
		return -1;
	ix->chunk_size = get_le32(h + 8);
	ix->max_count = get_le32(h + 12);
	entries = get_le64(h + 16);
	ix->next_id = get_le64(h + 24);
	if (ix->next_id > INDEX_ID_MAX) {
		/* Cut to what the table holds, it would be given twice. */
		err_set(e, CALA_INTEGRITY, "the next id is %" PRIu64,
		    ix->next_id);
		ix->next_id = 1;
		return -1;
	}
	if (ix->next_id == 0)
		ix->next_id = 1;
	if (!again)
		index_expect(ix, entries < most_entries(ix) ? entries :
		    most_entries(ix));
	if (get_deleted(ix, d, get_le64(h), e) == -1 ||
	    get_entries(ix, d, entries, again, &top, e) == -1)
		return -1;
	if ((more = dstream_more(d, e)) == -1)
		return -1;
	if (more == 1 || dstream_rest(d) > 0)
		return err_set(e, CALA_INTEGRITY,
		    "goes on behind its last entry");
	if (ix->next_id <= top) {
		log_note(log, "index: the next id was %" PRIu64 ", but %"
		    PRIu64 " is in use", ix->next_id, top);
		ix->next_id = top + 1;
		ix->fixed++;
	}
	if ((twice = index_ids(ix, e)) == -1)
		return -1;
	if (twice == 1)
		return err_set(e, CALA_INTEGRITY, "two chunks have one id");
	return drop_live(ix, log, e);
}

static int
load(struct index *ix, int dirfd, const char *name, bool again,
    struct log *log, struct err *e)
{
	struct dstream *d = NULL;
	struct err why = ERR_INIT;
	struct stat st;
	int fd, ret = -1;

	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
	    O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, "index");
	if (fstat(fd, &st) == -1) {
		err_sys(e, "index");
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		err_set(e, CALA_INTEGRITY, "index: not a regular file");
		goto out;
	}
	file_of(&ix->file, &st);
	if ((d = dstream_new(fd, "index", e)) == NULL ||
	    dstream_sum(d, e) == -1 || dstream_set(d, 0, (uint64_t)st.st_size,
	    DDUP_DEFLATE, INFLATED_MAX, e) == -1)
		goto out;
	if (parse(ix, d, again, log, &why) == -1) {
		if (why.code != CALA_INTEGRITY) {
			*e = why;
			goto out;
		}
		/* Ids can be searched although the file is not whole. */
		if (index_ids(ix, e) == -1)
			goto out;
		snprintf(ix->damage, sizeof(ix->damage), "%.*s",
		    (int)sizeof(ix->damage) - 1, why.msg);
	} else {
		dstream_sum_end(d, ix->file.sum);
	}
	ret = 0;
out:
	dstream_free(d);
	close(fd);
	return ret;
}

int
index_load(struct index *ix, int dirfd, const char *name, struct log *log,
    struct err *e)
{
	return load(ix, dirfd, name, false, log, e);
}

int
index_reload(struct index *ix, int dirfd, const char *name, struct log *log,
    struct err *e)
{
	uint32_t i;

	for (i = 0; i < ix->n; i++) {
		index_set_id(ix, i, 0);
		index_set_refs(ix, i, 0);
	}
	buf_reset(&ix->deleted);
	ix->ndeleted = 0;
	ix->damage[0] = '\0';
	return load(ix, dirfd, name, true, log, e);
}

static bool
saved(const struct index *ix, uint32_t ref)
{
	return index_get_id(ix, ref) != 0 &&
	    (index_word(ix, ref) & INDEX_DEAD) == 0;
}

static void
put_one(void *arg, const struct index *ix, uint32_t ref)
{
	struct dsink *d = arg;

	dsink_put(d, index_hash(ix, ref), DDUP_HASH);
	dsink_varint(d, index_get_id(ix, ref));
	dsink_varint(d, index_refs(ix, ref));
}

/* By id: so the next run finds one chunk behind the other. */
static int
put_all(const struct index *ix, struct dsink *d, struct err *e)
{
	unsigned char h[HEADER];
	uint64_t n = 0;
	uint32_t i;

	for (i = 0; i < ix->n; i++)
		n += saved(ix, i);
	put_le64(h, ix->ndeleted);
	put_le32(h + 8, ix->chunk_size);
	put_le32(h + 12, ix->max_count);
	put_le64(h + 16, n);
	put_le64(h + 24, ix->next_id);
	dsink_begin(d, LEVEL);
	dsink_put(d, h, sizeof(h));
	dsink_put(d, ix->deleted.p, ix->deleted.len);
	if (index_by_id(ix, saved, put_one, d, e) == -1)
		return -1;
	dsink_end(d);
	return 0;
}

int
index_draft(struct index *ix, int dirfd, struct index_draft *w, struct err *e)
{
	if (afile_open(&w->file, dirfd, "index", e) == -1 ||
	    (w->out = dsink_new(w->file.fd, "index", e)) == NULL ||
	    dsink_hash_xxh(w->out, e) == -1)
		return -1;
	if (put_all(ix, w->out, e) == -1 || dsink_flush(w->out, e) == -1)
		return -1;
	if (ix->uid != geteuid() && fchown(w->file.fd, ix->uid, ix->gid) == -1)
		return err_sys(e, "write the index");
	return 0;
}

int
index_publish(struct index *ix, int dirfd, struct index_draft *w,
    struct err *e)
{
	struct stat st;

	if (fsync(w->file.fd) == -1)
		return err_sys(e, "write the index");
	/* Only here is it written over: never what another program changed. */
	if (ix->file.ino != 0 && !index_same(&ix->file, dirfd, "index"))
		return err_set(e, CALA_LOCKED, "another program has changed "
		    "the index meanwhile");
	if (afile_commit(&w->file, 0600, AFILE_SYNCED, e) == -1)
		return -1;
	if (fstatat(dirfd, "index", &st, AT_SYMLINK_NOFOLLOW) == -1)
		return err_sys(e, "index");
	file_of(&ix->file, &st);
	dsink_xxh(w->out, ix->file.sum);
	return 0;
}

void
index_draft_fini(struct index_draft *w)
{
	dsink_free(w->out);
	afile_abort(&w->file);
}

int
index_save(struct index *ix, int dirfd, struct err *e)
{
	struct index_draft w = INDEX_DRAFT_INIT;
	int ret = index_draft(ix, dirfd, &w, e) == -1 ? -1 :
	    index_publish(ix, dirfd, &w, e);

	index_draft_fini(&w);
	return ret;
}
