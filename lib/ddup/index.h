#ifndef CALA_DDUP_INDEX_H
#define CALA_DDUP_INDEX_H

/*
 * index: chunks/index: one raw deflate stream of
 *
 *	u64 D, u32 chunk_size, u32 max_chunk_count, u64 N, u64 next_id,
 *	D varints of ids that may be used again,
 *	N times: 32 bytes of hash, varint id, varint count of references
 *
 * and the table of it in memory: 45 bytes a chunk in segments that never move,
 * 4 to 8 more for the slots that find a hash.  A chunk's place in the table is
 * its reference; it stays what it is when the file is read again.
 *
 * Not thread-safe; ddup.h's functions hold a mutex around it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/file.h"
#include "ddup/ddup.h"

struct dsink;
struct err;
struct log;

enum {
	INDEX_NONE = 0x7fffffff,        /* no such reference */
	INDEX_PROBES = 16384            /* slots looked at for one hash */
};

/* The table keeps ids in five bytes: no repository ever had as many chunks. */
#define INDEX_ID_MAX (((uint64_t)1 << 40) - 1)

/* What is remembered of a chunk during a run. */
enum {
	INDEX_SEEN = 1 << 25,           /* its file was looked at */
	INDEX_PENDING = 1 << 26,        /* somebody has to store it */
	INDEX_USED = 1 << 27,           /* by the draft that is committed */
	INDEX_DEAD = 1 << 28,           /* not to be saved */
	INDEX_MADE = 1 << 29,           /* its file is of this process */
	INDEX_FLAGS = INDEX_SEEN | INDEX_PENDING | INDEX_USED | INDEX_DEAD |
	    INDEX_MADE,
	INDEX_LEN = (1 << 25) - 1
};

/* The highest id: a member has 40 bits for it. */
#define INDEX_ID_MAX (((uint64_t)1 << 40) - 1)

/* Which file it was: what another program would have to change. */
struct index_file {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
	unsigned char sum[16];          /* XXH3-128 of its bytes */
};

struct index {
	uint32_t chunk_size, max_count;
	uint64_t next_id;
	struct buf deleted;             /* varints, as they are kept */
	uint64_t ndeleted;
	uint32_t n;                     /* references given */
	unsigned char **seg;
	size_t nseg;
	uint32_t *slot;                 /* by hash: ref + 1, 0: free */
	uint32_t mask, filled;
	uint64_t seed;
	bool ascending;                 /* ids, so that they can be searched */
	uint32_t *by_id;                /* slots by id, where they are not */
	uint32_t id_mask;
	struct index_file file;
	uid_t uid;                      /* whose the file shall be */
	gid_t gid;
	char damage[160];               /* "" or why it may not be trusted */
	uint64_t fixed;                 /* small things put right */
};

/* index_init: empty, as of a new repository.  index_fini: frees. */
void index_init(struct index *);
void index_fini(struct index *);

/*
 * index_load(ix, dirfd, name, log, e): read the file into an empty table.  What
 * breaks a rule of the format sets ix->damage and ends the reading; what was
 * read so far can be looked up.  -1: it could not be read at all, CALA_NOTFOUND
 * when there is none.
 * index_reload: read it again into a table in use: chunks keep their
 * references; ids and counts are the file's, 0 for those that it lacks.
 */
int index_load(struct index *, int, const char *, struct log *, struct err *);
int index_reload(struct index *, int, const char *, struct log *,
    struct err *);

/* index_same(f, dirfd, name): is it still that file? */
bool index_same(const struct index_file *, int, const char *);
/* index_sum(ix): the same bytes as in the file that has this sum? */
bool index_sum(const struct index *, const unsigned char [16]);

/*
 * index_save(ix, dirfd, e): write chunks/index whole: all chunks with an id
 * that are not dead.  CALA_LOCKED when the file there is no longer the one that
 * was loaded (ix->file.ino is not 0); then nothing was changed.
 */
int index_save(struct index *, int, struct err *);

/*
 * The same in two steps, so that its bytes are on their way while others are
 * written: index_draft(ix, dirfd, w, e) writes them beside the file,
 * index_publish(ix, dirfd, w, e) makes them durable and the index; then
 * index_draft_fini(w) in any case.  w begins as INDEX_DRAFT_INIT.
 */
struct index_draft {
	struct afile file;
	struct dsink *out;
};
#define INDEX_DRAFT_INIT { AFILE_INIT, NULL }
int  index_draft(struct index *, int, struct index_draft *, struct err *);
int  index_publish(struct index *, int, struct index_draft *, struct err *);
void index_draft_fini(struct index_draft *);

/*
 * index_by_id(ix, want, fn, arg, e): fn(arg, ix, ref) for each reference that want
 * says yes to, in the order of their ids.  -1 only without memory, and before the
 * first.
 */
int index_by_id(const struct index *,
    bool (*)(const struct index *, uint32_t),
    void (*)(void *, const struct index *, uint32_t), void *, struct err *);

/*
 * index_find(ix, hash): the first reference with that hash, or INDEX_NONE.
 * index_each(ix, hash, &at): each of them in turn (two ids of one chunk), then
 * INDEX_NONE; at is INDEX_NONE before the first.
 * index_near(ix, hash, at): one of them, quicker when it is among the next at or
 * behind at: chunks are asked for as they were stored.
 * index_expect(ix, n): n are to be added, perhaps: room for them, if there is.
 * index_add(ix, hash, &ref, e): one more, id and count 0.  CALA_INTEGRITY when
 * INDEX_PROBES others stand in its way, which no honest index brings about.
 */
uint32_t index_find(const struct index *, const unsigned char *);
uint32_t index_each(const struct index *, const unsigned char *, uint32_t *);
uint32_t index_near(const struct index *, const unsigned char *, uint32_t);
void index_expect(struct index *, uint64_t);
int index_add(struct index *, const unsigned char *, uint32_t *,
    struct err *);

/*
 * index_ids(ix, e): make ids searchable: 0; 1 when two chunks have one id.
 * index_id(ix, id): the reference with that id, or INDEX_NONE; after index_ids.
 * index_give(ix, ref, id, e): the id, which no other has, to the reference that
 * was added last; it can be searched at once.
 */
int index_ids(struct index *, struct err *);
int index_give(struct index *, uint32_t, uint64_t, struct err *);
uint32_t index_id(const struct index *, uint64_t);

/* Members of a chunk. */
const unsigned char *index_hash(const struct index *, uint32_t);
uint64_t index_get_id(const struct index *, uint32_t);
void     index_set_id(struct index *, uint32_t, uint64_t);
uint32_t index_refs(const struct index *, uint32_t);
void     index_set_refs(struct index *, uint32_t, uint32_t);
uint32_t index_word(const struct index *, uint32_t);   /* length | flags */
void     index_set_word(struct index *, uint32_t, uint32_t);

/*
 * Counts stop at INDEX_MANY and then never fall: such a chunk is not freed.
 * index_more(ix, ref): one more reference.
 */
#define INDEX_MANY UINT32_MAX
void index_more(struct index *, uint32_t);

#endif
