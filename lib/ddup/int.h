#ifndef CALA_DDUP_INT_H
#define CALA_DDUP_INT_H

/* int: what the files of this room share. */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/err.h"
#include "base/log.h"
#include "ddup/ddup.h"
#include "ddup/index.h"

#define DDUP_LOCK "cala.lock"
#define DDUP_INDEX_LOCK "cala-index.lock"
#define DDUP_STATE "cala-state"

enum {
	DDUP_WAIT = 60,                 /* seconds for a foreign holder */
	DDUP_FILE = DDUP_NAME_MAX + 24, /* ".NAME.cala-deleted" with NUL */
	SHARES = 16,
	CHUNK_PATH = 2 + 1 + 2 + 1 + 60 + 6 + 1         /* HH/HH/….chunk */
};

/*
 * The folders of chunks, opened once each: chunks/HH, and which folders are in
 * it.  A folder may go when another program deletes, so what is known here is
 * where to look first, not what is there.
 */
enum { TOPS = 256 };

struct tops {
	pthread_mutex_t mu;
	_Atomic int fd[TOPS];           /* -1: not opened yet */
	bool listed[TOPS];
	unsigned char below[TOPS][TOPS / 8];
};

struct ddup {
	struct tops *tops;
	int root;                       /* the folder that holds .ddup-bak */
	int dir, archives, chunks;
	struct log *log;
	struct ddup_how how;
	int lock;                       /* cala.lock, or -1 */
	uid_t uid;                      /* whose our files shall be */
	gid_t gid;
	bool chown;
	bool foreign;                   /* the index is not as we left it */
	bool strange;                   /* that, or others' archives are not */
	unsigned char others[16];       /* what these are, see state.c */
	bool strays;                    /* chunk files that it does not know? */
	bool touched;                   /* others have locked since we did */
	unsigned char since[16];        /* names the time in which none has */
	bool trusted;                   /* and it began before the notes */
	unsigned turn;                  /* which chunks are looked for: SHARES */
	double settled;                 /* when_mono() at which it is ours */
	struct timespec locked;         /* ctime of index.lock at open */
	bool visited;                   /* somebody has locked since */
	pthread_mutex_t mu;             /* around ix */
	struct index ix;
	bool loaded;
	_Atomic uint64_t new_chunks, new_bytes;
	uint32_t near;                  /* behind the chunk known last */
	_Atomic uint64_t temps;         /* in names of temporary files */
	_Atomic bool loose_said;        /* see loose.h */
	_Atomic bool fresh;             /* chunks were stored, or found loose */
	_Atomic bool stepwise;          /* no openat2(2) */
	long pid;
	char loose[64];
};

/*
 * repo_index(r, e): load the index unless it is; damage is a note here.
 * repo_index_write(r, e): CALA_INTEGRITY when it is damaged.
 * repo_lock_index(r, mode, e): the lock under which the index changes, and our
 *   name in the foreign one (mode: enum foreign_mode); a descriptor for
 *   repo_unlock_index, or -1.
 * repo_state_look(r): with the index loaded: is it, and are the archives of
 *   other programs, as we left them?  Sets foreign, strange and others.
 * repo_state_save(r): remember the index as it was written, and others.
 * repo_state_doubt(r): nothing that was noted of chunks is trusted any more; else
 *   the state is as it was.
 * state_touched(r): somebody else has locked: what was noted is not trusted.
 * repo_others(r, e): others anew; repo_others_less(r, name): without that one,
 *   which is about to go.
 * state_save(dir, ix, others, since): of a repository that is being made.
 * repo_own(r, fd, e): give a new file to whom the repository belongs.
 */
int  repo_index(struct ddup *, struct err *);
int  repo_index_write(struct ddup *, struct err *);
int  repo_lock_index(struct ddup *, int, struct err *);
void repo_unlock_index(struct ddup *, int);
void repo_state_look(struct ddup *);
void repo_state_save(struct ddup *);
void repo_state_doubt(struct ddup *);
void state_touched(struct ddup *);
int  repo_others(struct ddup *, struct err *);
void repo_others_less(struct ddup *, const char *);
void state_save(int, const struct index *, const unsigned char [16],
    const unsigned char [16]);
int  repo_own(const struct ddup *, int, struct err *);

/* NAME.ddup; .NAME.cala-tmp; .NAME.cala-deleted */
void name_archive(char [DDUP_FILE], const char *);
void name_temp(char [DDUP_FILE], const char *);
void name_deleted(char [DDUP_FILE], const char *);

/*
 * foreign: the Rust program's lock file chunks/index.lock (48 bytes) and the
 * processes that could be it.
 *
 *	0 u8 writer_mode   8 u8 writer_present   16 u64 writer_pid
 *	24, 32, 40 u64 readers, by mode
 */
enum foreign_mode { FOREIGN_NONE, FOREIGN_DESTROY, FOREIGN_CREATE };

enum { FOREIGN_SIZE = 48 };

struct foreign {
	uint8_t mode;
	bool writer;
	uint64_t pid;
	uint64_t readers[3];
	struct timespec since;          /* the file is of then, if it was read */
};

/*
 * foreign_parse(f, p, n): the bytes of a lock file; -1 when there are fewer
 * than 24, counters that are missing are 0.
 * foreign_get(f, chunks, e): read it; absent or empty is idle.
 * foreign_put(f, chunks, e): write it whole.
 * foreign_untouched(chunks): has nobody else written it since foreign_give()?
 */
int  foreign_parse(struct foreign *, const unsigned char *, size_t);
void foreign_bytes(const struct foreign *, unsigned char [FOREIGN_SIZE]);
int  foreign_get(struct foreign *, int, struct err *);
int  foreign_put(const struct foreign *, int, struct err *);
bool foreign_untouched(int);

/*
 * foreign_alive(root, who, n): 1 when a process of Wings or ddup-bak may have
 * this repository open, with its name and pid in who; 0 when none of them runs
 * at all; 2 when some run elsewhere.
 * foreign_take(r, mode, e): publish ourselves as writer, waiting for others;
 * CALA_LOCKED says who.  The other side changes the file without a lock, so it
 * is ours only when foreign_settle(r, mode, e) has found it unchanged a while
 * later: to be called before the first change that others see.
 * foreign_give(r): idle again, if it is ours.
 * foreign_reset(r, e): --break-lock.
 */
int  foreign_alive(int, char *, size_t);
int  foreign_take(struct ddup *, enum foreign_mode, struct err *);
int  foreign_settle(struct ddup *, enum foreign_mode, struct err *);
void foreign_give(struct ddup *);
int  foreign_reset(struct ddup *, struct err *);

/*
 * tops_new(e), tops_free(t): NULL is fine.
 * chunk_path(hash, out): HH/HH/….chunk.
 * chunk_there(r, hash): is there a file that may be a chunk?
 * chunk_remove(r, hash, e): unlink it and the folders that it leaves empty; 0
 * also when it is gone.
 */
struct tops *tops_new(struct err *);
void tops_free(struct tops *);
void chunk_path(const unsigned char *, char [CHUNK_PATH]);
bool chunk_there(const struct ddup *, const unsigned char *);
int  chunk_remove(const struct ddup *, const unsigned char *, struct err *);

/*
 * A decoder holds the memory to read one chunk at a time.
 *
 * decoder_load(d, chunks, hash, len, max, &p, &n, e): the plain bytes of a
 * chunk, at most max, checked against its hash; len is what is expected or 0.
 * *p is lent until the next call.  CALA_NOTFOUND: no file; CALA_INTEGRITY: it
 * is damaged.
 * decoder_trailing(d): bytes behind the end of the compressed data just read.
 */
struct decoder;
struct decoder *decoder_new(struct err *);
int decoder_load(struct decoder *, int, const unsigned char *, size_t,
    size_t, const unsigned char **, size_t *, struct err *);
size_t decoder_trailing(const struct decoder *);
/*
 * A chunk to be read: hash, len, max as above; buf is memory from malloc, or
 * NULL, of room bytes, changed for more or other memory as needed, and freed by
 * the caller; p, n: the plain bytes, in buf.
 * decoder_loads(d, chunks, v, n): some chunks, DDUP_LOADS at most, each with an
 * answer of its own in ret and err.  Several cost less than each alone.
 */
enum { DDUP_LOADS = 16 };

struct load {
	unsigned char hash[DDUP_HASH];
	size_t len, max;
	unsigned char *buf;
	size_t room;
	const unsigned char *p;
	size_t n;
	int ret;
	struct err err;
};
void decoder_loads(struct decoder *, int, struct load *const *, size_t);
/* decoder_size(d): the bytes of memory that it holds. */
size_t decoder_size(const struct decoder *);
void decoder_free(struct decoder *);    /* NULL is fine */

/*
 * chunk_cap(r, size): the most plain bytes that a chunk of a file of size bytes
 * may have.
 */
size_t chunk_cap(const struct ddup *, uint64_t);

#endif
