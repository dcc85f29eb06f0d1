#ifndef CALA_FS_WALK_H
#define CALA_FS_WALK_H

/*
 * walk: the inside of fs_reader.
 *
 * One thread, the one that calls next(), plans and delivers; the pool's threads
 * only load.  The plan is a queue of slots in the order of delivery: either one
 * directory, or up to BATCH other names of one directory.  A directory's names
 * are read (and sorted, and matched against the rules) by the job that opens
 * it, some directories ahead of the plan.
 *
 * All counts of references and users are touched by the planning thread alone;
 * what a job writes is read only after pool_wait() for it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/pool.h"
#include "fs/fs.h"

struct rate;
struct walk;

enum {
	BATCH = 64,             /* names of a slot */
	SLOT_BYTES = 256 << 10, /* small contents of a slot */
	SMALL = 64 << 10,       /* read whole, ahead */
	HELD = 4,               /* large files a slot keeps open */
	SLOTS_WARM = 12,        /* slots ahead while loading is cheap */
	SLOTS_MAX = 16,         /* and when it waits for a disk */
	THREADS = 8,            /* while it waits for a disk */
	THREADS_WARM = 1,
	LEVELS_OPEN = 32,       /* innermost directories with a descriptor */
	DIRS_AHEAD = 4,         /* subdirectories loaded ahead, one directory */
	DIRS_AHEAD_MAX = 16,    /* and in all */
	NAMES_AHEAD = 4096      /* names read of a directory ahead */
};

/* Extended attributes as one block: free() ends it. */
struct xset {
	size_t n;
	struct xattr v[];
};

/* What stands between a directory and its names. */
struct chunk;

/*
 * A directory.  Each name is a string behind one byte, its enum entry_type as
 * listed ('D': a directory that is not kept itself, only descended into).
 */
enum { DIR_ONLY_BELOW = 'D' };

struct wdir {
	struct walk *w;
	struct wdir *parent;            /* a reference; NULL for the root */
	unsigned refs;
	unsigned users;                 /* jobs and slots that need fd */
	unsigned depth;                 /* components below the root */
	size_t plen;                    /* of its path below the root */
	bool emit;                      /* kept itself */
	struct job job;
	bool submitted, waited;
	/* what the job found */
	int fd;                         /* -1: not open */
	int why;                        /* errno: could not be opened */
	int list_why;                   /* errno: could not be read */
	bool mount;                     /* another file system: not entered */
	bool have_st;
	struct stat st;
	struct xset *xattrs;
	int xattr_why;
	uint32_t attrs, projid;
	bool whole;                     /* all names read and sorted */
	struct chunk *chunks;
	char **names;
	size_t nnames, room;
	uint64_t excluded;
	/* the plan's position */
	size_t at, scan;
	struct wdir *ahead[DIRS_AHEAD];
	unsigned nahead;
	char name[];
};

/*
 * dir_new: name below parent, not loaded.  NULL without memory.
 * dir_free: frees it alone; the caller has seen to its references.
 * dir_load: the job: open, look, list up to NAMES_AHEAD names.
 * dir_list: read the rest of the names.
 * dir_path: append the path below the root (no slash at the end) to b.
 * dir_reopen: a descriptor again for one that was closed, by ".." of child or,
 * where that is no longer it, from the root.  -1 with errno.
 */
struct wdir *dir_new(struct walk *, struct wdir *, const char *);
void dir_free(struct wdir *);
void dir_load(struct job *);
void dir_list(struct wdir *, size_t);
int  dir_path(const struct wdir *, struct buf *);
int  dir_reopen(struct wdir *, const struct wdir *);
int  dir_add_name(struct wdir *, char, const char *);

/* One loaded name that is no directory. */
struct item {
	const char *name;               /* the directory's */
	char kind;                      /* enum entry_type as listed */
	bool odd;                       /* no longer of that type */
	bool changed, shrunk;           /* while the small content was read */
	bool cold;                      /* its bytes were not in the cache */
	bool known;                     /* to how.asks: not opened */
	int why;                        /* errno: left out */
	int read_why;                   /* errno: bytes are missing */
	int xattr_why;
	int fd;                         /* a large file, open; or -1 */
	struct stat st;
	char *target;
	struct xset *xattrs;
	uint32_t attrs, projid;
	unsigned char *data;            /* a small file's bytes, or NULL */
};

struct slot {
	struct job job;
	struct walk *w;
	struct slot *next;
	struct wdir *dir;
	bool is_dir;                    /* dir itself, no items */
	bool waited;
	unsigned n, at, loaded, held;
	size_t used;
	double cost;                    /* seconds of loading, per item */
	long waits;                     /* how often that slept */
	unsigned char *data;
	struct buf path;                /* of dir, for how.asks */
	size_t path_len;
	struct item item[BATCH];
};

/*
 * slot_load: the job: load items from loaded on until all are, or data or HELD
 * is used up.  At least one is.  slot_clear: give back what items hold.
 * item_drop: one item.
 */
void slot_load(struct job *);
void item_drop(struct item *);

/*
 * walk_xattrs(fd, path_only, &why): what fs_reader keeps of them; NULL when
 * there are none or with why set.  path_only: fd was opened with O_PATH.
 */
struct xset *walk_xattrs(int, bool, int *);

/* walk_openat: openat for reading, without touching atime where allowed. */
int walk_openat(int, const char *, int);

/* The table of hard links not yet complete. */
struct links;
struct links *links_new(void);
void links_free(struct links *);
/*
 * links_seen(l, st, path, &first): 1 with first (lent until the next call) when
 * an earlier name of this file was given; 0 when path is the first and is now
 * remembered; -1 without memory.
 */
int links_seen(struct links *, const struct stat *, const char *,
    const char **);

/* Names of users and groups, looked up once each. */
struct ids;
struct ids *ids_new(void);
void ids_free(struct ids *);
/* Lent until ids_free; "" when there is none. */
const char *ids_user(struct ids *, uint32_t);
const char *ids_group(struct ids *, uint32_t);

/*
 * walk_extents(fd, size, &v, &room, &n): the stretches of data of a sparse file
 * into *v (grown as needed, the caller frees), at most EXTENTS of them: small
 * holes count as data beyond that.  -1 with errno: unknown.
 */
enum { EXTENTS = 16384 };
int walk_extents(int, uint64_t, struct extent **, size_t *, size_t *);

/* The bytes of the entry delivered last. */
struct wcontent {
	struct content c;
	struct walk *w;
	const struct wdir *dir;
	struct item *it;
	bool told;                      /* a warning was given */
	bool checked;                   /* compared with what was announced */
	size_t ext;                     /* extent at or behind pos */
	uint64_t dropped;               /* from the page cache, up to here */
};

void wcontent_begin(struct walk *, const struct wdir *, struct item *);
void wcontent_end(struct walk *);

struct walk {
	struct reader r;
	struct fs_walk how;
	struct log *log;
	struct pool *pool;
	struct rate *rate;
	struct links *links;
	struct ids *ids;
	struct fs_walked facts;
	dev_t dev;                      /* of the root */
	char *prefix;                   /* "" without */
	char *single;                   /* path of a root that is a file */
	struct wdir *root;
	struct wdir **stack;            /* the path being planned */
	unsigned depth;
	unsigned nahead;                /* directories begun, not yet planned */
	struct slot *head, **tail, *spare, *slots;
	unsigned nslots, slots_ahead, warm;
	struct buf path;                /* of the entry delivered */
	const struct wdir *path_dir;    /* whose path it begins with */
	size_t path_len;
	struct entry en;
	struct wcontent content;
	struct extent *extents;
	size_t extents_room;
	bool failed;
};

/* walk_path(w, dir, name): into w->path; NULL without memory. */
const char *walk_path(struct walk *, const struct wdir *, const char *);

#endif
