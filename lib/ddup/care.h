#ifndef CALA_DDUP_CARE_H
#define CALA_DDUP_CARE_H

/*
 * care: what keeps a repository healthy: finishing what was killed, counting,
 * deleting, collecting, proving, rebuilding.
 *
 * Nothing is lowered or removed while there is an archive that can't be read, or
 * one with ids that nothing explains: then counts only rise and chunks stay.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "ddup/ddup.h"

struct err;

/* A line of a report. */
struct care_say {
	void (*fn)(void *, const char *);
	void *arg;
};

/*
 * care_empty(dirfd, suffix, e): 1 when no name in the folder ends in suffix
 * (NULL: when no folder of chunks, two hex digits, is there), 0, or -1.
 */
int care_empty(int, const char *, struct err *);

/*
 * care_recover(r, e): finish what killed runs left: deletions are completed,
 * unfinished archives removed.  Only when nobody else of ours is there.
 */
int care_recover(struct ddup *, struct err *);

/*
 * care_archives(r, fn, arg, e): the name of every archive, sorted, also those
 * that we give to none (ddup-bak does): their chunks are in use as well.  Stops
 * when fn returns not 0.
 */
int care_archives(struct ddup *, int (*)(void *, const char *, struct err *),
    void *, struct err *);

/*
 * ddup_remove(r, name, e): delete a backup: r was opened DDUP_ALONE and write.
 * CALA_NOTFOUND.
 */
int ddup_remove(struct ddup *, const char *, struct err *);

/*
 * ddup_gc(r, dry, say, e): count again, remove chunks that nothing refers to,
 * files that no index knows and that are older than a day, and what killed
 * runs left.
 * ddup_rebuild(r, say, e): make the index anew, keeping the id of every chunk
 * that anything still tells: the archives' own maps, then the old index.
 */
int ddup_gc(struct ddup *, bool, const struct care_say *, struct err *);
int ddup_rebuild(struct ddup *, const struct care_say *, struct err *);

/*
 * ddup_verify(r, name, percent, jobs, say, &seen, e): the archive decodes, every
 * chunk it names has its file, and of percent of them (0: none) the bytes are
 * what the hash says.  CALA_INTEGRITY, after all of it was looked at.
 */
struct ddup_seen {
	uint64_t entries, files, size, chunks, read;
	uint64_t missing, damaged;
};
int ddup_verify(struct ddup *, const char *, unsigned, unsigned,
    const struct care_say *, struct ddup_seen *, struct err *);

/*
 * ddup_verify_all(r, percent, jobs, say, &got, e): the whole repository: every
 * backup decodes, its chunks are in the index and have files, the counts are the
 * truth, and of percent of the chunk files, each once, the bytes are what the
 * hash says.  Changes nothing.  CALA_INTEGRITY, after all of it was looked at.
 */
struct ddup_whole {
	uint64_t archives, chunks, read;
	uint64_t unreadable, unknown;   /* backups; uses of unknown chunks */
	uint64_t missing, damaged;      /* chunks */
	uint64_t low, high;             /* counts below and above the truth */
	uint64_t orphans;               /* chunk files not in the index */
};
int ddup_verify_all(struct ddup *, unsigned, unsigned,
    const struct care_say *, struct ddup_whole *, struct err *);

/*
 * ddup_mend(r, jobs, say, &got, e): read every chunk that the index knows, and
 * rename the files that do not hold what their names say: …REST.damaged, so that
 * the next backup with these bytes stores them again.  r was opened DDUP_ALONE
 * and write.
 */
struct ddup_mended {
	uint64_t chunks, read, aside;
};
int ddup_mend(struct ddup *, unsigned, const struct care_say *,
    struct ddup_mended *, struct err *);

/* ddup_stats(r, st, e): what the repository holds, by its index and files. */
struct ddup_stats {
	uint64_t archives, archive_bytes;
	uint64_t chunks, refs, unused;  /* of the index */
	uint64_t files, file_bytes;     /* chunk files */
};
int ddup_stats(struct ddup *, struct ddup_stats *, struct err *);

#endif
