#ifndef CALA_DDUP_DDUP_H
#define CALA_DDUP_DDUP_H

/*
 * ddup: a repository of the ddup-bak format: content-addressed chunk files, one
 * index (hash, id, count of references) and an archive file for each backup, in
 * ROOT/.ddup-bak:
 *
 *	archives/NAME.ddup          a backup
 *	archives/.NAME.cala-tmp     one being written
 *	archives/.NAME.cala-deleted one being deleted
 *	chunks/HH/HH/REST.chunk     BLAKE2b-256 of the plain bytes in hex
 *	chunks/HH/HH/REST.tmp.cala.PID.N    being written
 *	chunks/HH/HH/REST.damaged   set aside, see mend.c
 *	chunks/index                see index.h
 *	chunks/index.lock           the Rust program's lock, see foreign.h
 *	cala.lock                   ours: shared by put and restore, exclusive
 *	                            for delete, gc, rebuild; never upgraded
 *	cala-index.lock             ours: held while the index changes
 *	cala-state                  how we left it, see state.c
 *	cala-loose.*, cala-swept    see loose.h
 *
 * A backup exists when its archive has its name, not before: chunks are durable
 * first, then the index that counts them, then the archive is renamed.  Counts
 * are never lower than the truth.
 *
 * Who puts: ddup_open(DDUP_SHARE, write); a draft; from any thread ddup_claim()
 * for each chunk and, where it says so, ddup_store(); in order ddup_draft_put()
 * and _leave(); ddup_draft_commit().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct entry;
struct err;
struct log;
struct ddup;
struct ddup_draft;

#define DDUP_DIR ".ddup-bak"

enum {
	DDUP_HASH = 32,                 /* BLAKE2b-256 */
	DDUP_NAME_MAX = 250,            /* an archive's name */
	DDUP_CHUNK_MAX = 16 << 20,      /* plain bytes of a chunk that we cut */
	DDUP_CHUNK_SIZE = 1 << 20       /* average, of a new repository */
};

/* How a chunk file or the body of an entry is compressed: its first byte. */
enum ddup_code { DDUP_NONE, DDUP_GZIP, DDUP_DEFLATE, DDUP_BROTLI, DDUP_CODES };

/*
 * DDUP_LOOK:  takes no lock and changes nothing: list, stats.
 * DDUP_SHARE: others may put and restore meanwhile, nobody deletes.
 * DDUP_ALONE: nobody else of ours is there: delete, gc, rebuild.  What a killed
 *             run left is finished first.
 */
enum ddup_use { DDUP_LOOK, DDUP_SHARE, DDUP_ALONE };

struct ddup_how {
	enum ddup_use use;
	bool write;             /* the index will be changed */
	bool index;             /* load it, to be looked up by hash */
	bool break_lock;        /* the foreign lock file is stale: reset it */
	unsigned wait;          /* seconds for a lock; 0: 60 */
};

/*
 * ddup_init(dirfd, size, count, e): make an empty repository in the folder
 * dirfd: chunk size on average and limit of chunks a file (0: none), as its
 * index keeps them.  CALA_EXISTS when there is one.
 */
int ddup_init(int, uint32_t, uint32_t, struct err *);

/*
 * ddup_open(&r, dirfd, how, log, e): the repository in the folder dirfd, which
 * stays the caller's.  CALA_NOTFOUND when there is none, CALA_LOCKED when
 * somebody holds it or a foreign program may write to it, CALA_INTEGRITY when
 * how->write and the index is damaged (rebuild mends it).  log is borrowed.
 * ddup_close: releases locks; what was not committed is left for gc.
 */
int  ddup_open(struct ddup **, int, const struct ddup_how *, struct log *,
    struct err *);
void ddup_close(struct ddup *);         /* NULL is fine */

/*
 * ddup_dirfd: .ddup-bak itself.  ddup_archives: its folder of archives.  Both
 * are lent.  ddup_chunk_size, ddup_chunk_count: as the index has them, the
 * parameters of the cutter.
 */
int ddup_dirfd(const struct ddup *);
int ddup_archives(const struct ddup *);
uint32_t ddup_chunk_size(const struct ddup *);
uint32_t ddup_chunk_count(const struct ddup *);

/*
 * ddup_name_ok(s): may s name an archive?  Not empty, no leading dot, no slash,
 * at most DDUP_NAME_MAX bytes.
 * ddup_exists(r, name): 1, 0, or -1 with err.
 */
bool ddup_name_ok(const char *);
int  ddup_exists(const struct ddup *, const char *, struct err *);

/*
 * ddup_sound(r, name, want, e): is the archive's file the one that had the
 * checksum want (ddup_sum.checksum)?  0, or -1: CALA_INTEGRITY.
 * ddup_ended(r, name, e): does the file have an archive's beginning and end?  1;
 * 0: it is cut short, or another program is writing it, under its final name;
 * -1.
 */
int  ddup_sound(struct ddup *, const char *, const char *, struct err *);
int  ddup_ended(struct ddup *, const char *, struct err *);

/*
 * Chunks.  A reference (uint32_t) stands for a chunk as long as the repository
 * is open; ids are given at commit.  All three may be called by many threads
 * at once.
 *
 * ddup_claim(r, hash, len, &ref, e): the chunk of len plain bytes (1 to
 *   DDUP_CHUNK_MAX).  DDUP_HAVE: it is stored, or another thread is storing it.
 *   DDUP_WANT: the caller alone must store it now: it is new, or its file is
 *   missing or torn.  -1 with err.
 * ddup_known(r, hash, len, &ref, e): for a file that is not read again:
 *   DDUP_HAVE when the index has the hash, DDUP_WANT when not, or when its file
 *   is missing (then nothing is promised: read the file).  Never -1 for what
 *   is missing.
 * ddup_trust(r, since): what is asked by ddup_known() was noted when ddup_since()
 *   told since.  When no other program has locked the repository from then on,
 *   only a sixteenth of the files of thousands is looked for, each time another
 *   one; without this call all are.
 * ddup_since(r, since): to be noted, after the commit.
 * ddup_store(r, ref, code, p, n, e): the n compressed bytes of a chunk that was
 *   claimed; not yet durable.  Where a file that no index knows has its name, it
 *   is decoded and hashed, and counts or is replaced.  A chunk that was claimed
 *   and can't be stored makes the commit of every draft that uses it fail.
 */
enum { DDUP_HAVE, DDUP_WANT };
enum { DDUP_SINCE = 16 };

int ddup_claim(struct ddup *, const unsigned char [DDUP_HASH], uint32_t,
    uint32_t *, struct err *);
int ddup_known(struct ddup *, const unsigned char [DDUP_HASH], uint32_t,
    uint32_t *, struct err *);
void ddup_trust(struct ddup *, const unsigned char [DDUP_SINCE]);
void ddup_since(const struct ddup *, unsigned char [DDUP_SINCE]);
int ddup_store(struct ddup *, uint32_t, enum ddup_code, const void *, size_t,
    struct err *);

/*
 * ddup_ref_hash(r, ref, out): the hash of a chunk; thread-safe.
 * ddup_ref_len(r, ref): its plain bytes as claimed.
 */
void ddup_ref_hash(struct ddup *, uint32_t, unsigned char [DDUP_HASH]);
uint32_t ddup_ref_len(struct ddup *, uint32_t);

/*
 * Drafts: a backup before it has a name.  Entries come depth first, a directory
 * before what it holds; the root ("") first or not at all.  One thread at a
 * time.  Memory is a few bytes a directory and 16 bytes a name that may be a
 * hard link's target; the rest goes through an unlinked file in .ddup-bak.
 *
 * ddup_draft_new(r, all_links, log, e): all_links: the source tells no link
 *   counts (a stream), so that any file may be linked to later.
 * ddup_draft_put(d, en, refs, n, e): an entry, and for ENTRY_FILE the chunks of
 *   its contents in order (n is 0 for an empty one); refs are copied.
 *   ENTRY_HARDLINK needs none.  0; 1: the format can't hold it, so it was
 *   warned about and left out (with everything below, if it is a directory);
 *   -1 with err.
 * ddup_draft_leave(d, e): the directory last put and not yet left has no more;
 *   also for one that was left out, and for the root.
 */
struct ddup_draft *ddup_draft_new(struct ddup *, bool, struct log *,
    struct err *);
int ddup_draft_put(struct ddup_draft *, const struct entry *,
    const uint32_t *, size_t, struct err *);
int ddup_draft_leave(struct ddup_draft *, struct err *);

/* What a backup is, known when its archive is written. */
struct ddup_sum {
	uint64_t entries;       /* all */
	uint64_t files;         /* all but directories */
	uint64_t size;          /* logical bytes of files */
	uint64_t refs;          /* chunks used, each time counted */
	uint64_t new_chunks;    /* stored by this process */
	uint64_t new_bytes;     /* of them, as stored */
	uint64_t archive;       /* bytes of the archive file */
	char checksum[64];      /* Wings' ddup-sha1: LENGTH-HEX */
};

/*
 * ddup_draft_commit(d, name, before, arg, &sum, e): make the chunks durable,
 * give ids, write and sync archive and index, and give the archive its name.
 * before (may be NULL) is called when the archive is complete under its temporary
 * name and before the index changes: what it makes durable (the record) is there
 * when the backup is; of a file beside the archives it may leave the name to be
 * made durable here (AFILE_UNNAMED).  CALA_EXISTS when the name is taken.
 * On -1 no backup was made.  The index may have been changed by other puts
 * meanwhile; if a foreign program has changed it, and removed chunks that are
 * used, the commit fails.
 * ddup_draft_free: forgets what was not committed; NULL is fine.
 * ddup_undo(r): the last use of r when nothing came of it: removes the chunks
 * that it has stored, unless others are there who may use them already; then gc
 * does.
 */
int  ddup_draft_commit(struct ddup_draft *, const char *,
    int (*)(void *, const struct ddup_sum *, struct err *), void *,
    struct ddup_sum *, struct err *);
void ddup_draft_free(struct ddup_draft *);
void ddup_undo(struct ddup *);

#endif
