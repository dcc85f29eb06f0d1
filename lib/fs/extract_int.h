#ifndef CALA_FS_EXTRACT_INT_H
#define CALA_FS_EXTRACT_INT_H

/*
 * The parts of extract among themselves.
 *
 * extract.c         the writer: order, jobs
 * extract_file.c    files: made, filled, named
 * extract_dir.c     directories beneath the root, a bounded cache of them
 * extract_meta.c    owners, attributes, modes, times; links and devices
 * extract_later.c   what directories get when everything else is done
 * extract_trace.c   temporary names, and those of killed runs
 *
 * One thread (the one that calls put) owns all structures; pool threads only
 * make and fill files, and touch what is marked for them.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/pool.h"
#include "entry/entry.h"
#include "fs/extract.h"
#include "fs/fs.h"

enum {
	EXT_BATCH = 32,                 /* small files a job makes at most */
	EXT_BUF = 256 * 1024,           /* bytes a job carries */
	EXT_DIRS = 64,                  /* directories kept open */
	EXT_MOUNTS = 16,                /* file systems synced one by one */
	X_TEMP = 32,                    /* a temporary name */
	EXT_XATTRS = 1024 * 1024        /* bytes of attributes of one entry */
};

/* A warning of its kind is given once; how often it applied shows at -v. */
enum once {
	ONCE_CHOWN, ONCE_XATTR_TYPE, ONCE_XATTR_ROOT, ONCE_SETUID, ONCE_DEVICE,
	ONCE_SOCKET, ONCE_ATTRS, ONCE_FIXED, ONCE_PROJECT, ONCES
};

/* What an object gets besides its bytes; xattrs is one serialised block. */
struct meta {
	uint32_t mode, uid, gid;
	struct timespec mtime;
	unsigned char *xattrs;
	size_t xlen;
	uint32_t attrs, projid;
	bool implied;           /* a parent no entry has described yet */
	bool made;              /* this run created it */
};

struct dir {
	char *path;
	uint64_t hash;
	int fd;                 /* O_PATH */
	unsigned refs;
	uint64_t used;
	bool acl;               /* new files would inherit an ACL */
};

struct file {
	struct extract *x;
	struct dir *dir;
	char *path;
	const char *name;       /* in path */
	uint64_t hash;
	char tmp[X_TEMP];
	int fd;
	struct meta m;
	uint64_t size;
	bool sparse;
	size_t off;             /* of a small file, in its job's buffer */
	atomic_bool failed;
	atomic_bool ended;      /* its last byte was written */
	atomic_uint refs;       /* of a large one: jobs and the feeder */
	atomic_uint_fast64_t written;   /* bytes of it so far */
	unsigned slots;         /* the owner's count of jobs not yet reaped */
	bool fed;
};

struct slot {
	struct job job;
	struct extract *x;
	bool busy;              /* submitted and not yet reaped */
	struct file *file[EXT_BATCH];
	unsigned n;
	bool chunk;             /* of the large file[0] */
	uint64_t off;
	size_t len;
	unsigned char *buf;
};

struct extract {
	struct writer w;
	struct fs_extract how;
	struct log *log;
	int root;
	bool privileged;
	bool no_clone;          /* the content lies on another file system */
	/* directories */
	bool walk;
	struct dir *dir[EXT_DIRS];
	uint64_t tick;
	struct { dev_t dev; int fd; } mount[EXT_MOUNTS];
	unsigned nmounts;
	bool more_mounts;
	/* directories' metadata, to be set last */
	struct buf later;
	int later_fd;
	uint64_t later_len;
	/* jobs */
	struct pool *pool;
	struct rate *rate;
	struct slot *slot;
	unsigned nslots, next;
	struct slot *batch;     /* being filled */
	uint64_t salt;
	int trace;              /* -1: none */
	atomic_uint serial;
	/* the first failure that ends the run */
	pthread_mutex_t mu;
	struct err fatal;
	atomic_bool stop;
	atomic_uint_fast64_t once[ONCES];
	/* facts */
	uint64_t entries, announced;
	atomic_uint_fast64_t files, dirs, bytes, kept, failed, lost;
	bool *hit;
	void (*watch)(void *, const struct entry *);
	void *watch_arg;
	struct { char name[64]; uint32_t id; bool known; } user[8], group[8];
	unsigned nuser, ngroup;
};

/*
 * x_trouble(x, e): an entry could not be made.  A full or broken disk
 * ends the run (-1, remembered for all threads); anything else is a warning
 * and counted (0).  Any thread.
 */
int x_trouble(struct extract *, const struct err *);
/* x_once(x, kind): true the first time. */
bool x_once(struct extract *, enum once);
/*
 * trace_begin(x, e): choose the names of our temporary files, and, working in
 * place, leave a trace of them.  trace_end: nothing temporary is left.
 * x_temp(x, out): the next temporary name.  Any thread.
 */
int  trace_begin(struct extract *, struct err *);
void trace_end(struct extract *);
void x_temp(struct extract *, char [X_TEMP]);
/* x_place(x, dir, tmp, name, e): rename, replacing only when allowed. */
int x_place(struct extract *, int, const char *, const char *, struct err *);
/*
 * x_begin(f, e): make the file under a temporary name.  x_run(job): fill the
 * files of a slot.  x_drop(f): one reference less; the last one names the file,
 * or removes what there is of it.
 */
int  x_begin(struct file *, struct err *);
void x_run(struct job *);
void x_drop(struct file *);

/*
 * dirs_get(x, path, &dir, e): the directory path, made with its parents where
 * it is missing.  The caller owns one reference: dirs_put.
 * dirs_make(x, en, e): the entry of a directory.
 * dirs_explain(errno, path, e): why path could not be entered.  Returns -1.
 * dirs_fini: closes all.
 */
int  dirs_get(struct extract *, const char *, struct dir **, struct err *);
void dirs_put(struct dir *);
int  dirs_make(struct extract *, const struct entry *, struct err *);
int  dirs_explain(int, const char *, struct err *);
void dirs_fini(struct extract *);
/* x_drain(x): every job has ended. */
void x_drain(struct extract *);

/*
 * meta_of(x, en, &m, e): copy what en says; the caller frees with meta_fini.
 * meta_apply(x, fd, opath, type, &m, inherits, path): owner, attributes, mode,
 * times, in the order in which none undoes another; opath says that fd was
 * opened with O_PATH; inherits, that an ACL from the parent must go.  What
 * can't be set is a warning.
 */
int  meta_of(struct extract *, const struct entry *, struct meta *,
    struct err *);
void meta_fini(struct meta *);
void meta_apply(struct extract *, int, bool, enum entry_type,
    const struct meta *, bool, const char *);
/*
 * meta_special: a symlink, FIFO or device; meta_link: a further name.  -1 with
 * e when the entry can't be made.  1: left as it was.
 */
int meta_special(struct extract *, struct dir *, const struct entry *,
    struct err *);
int meta_link(struct extract *, struct dir *, const struct entry *,
    struct err *);

/* later_add: remember m for path.  later_apply: set all, then forget. */
int  later_add(struct extract *, const char *, const struct meta *,
    struct err *);
int  later_apply(struct extract *, struct err *);
void later_fini(struct extract *);

#endif
