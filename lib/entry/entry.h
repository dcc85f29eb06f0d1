#ifndef CALA_ENTRY_ENTRY_H
#define CALA_ENTRY_ENTRY_H

/*
 * entry: the heart.  A backup is a sequence of entries; a reader yields them,
 * a writer takes them, the pump moves them.  Directory, tar, zip, pxar and
 * ddup are each written once as one or both.
 *
 * Order: depth first, a directory before what it holds, siblings sorted by the
 * bytes of their names.  Readers that can't promise it lack READER_ORDERED.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct buf;
struct err;
struct log;

/* The letters are what listings and JSON show. */
enum entry_type {
	ENTRY_FILE = 'f',
	ENTRY_DIR = 'd',
	ENTRY_SYMLINK = 'l',
	ENTRY_HARDLINK = 'h',   /* another name of target, seen before */
	ENTRY_FIFO = 'p',
	ENTRY_CHAR = 'c',
	ENTRY_BLOCK = 'b',
	ENTRY_SOCKET = 's'
};

struct xattr {
	const char *name;       /* "user.x"; ACLs as system.posix_acl_* */
	const void *value;
	size_t len;
};

/* A stretch of a sparse file that is not a hole. */
struct extent {
	uint64_t off, len;
};

/*
 * All pointers are lent: valid until the next call on the reader.
 *
 * path is bytes: relative, components joined by single '/', none empty, "." or
 * "..", no slash at either end; "" is the root itself.
 */
struct entry {
	enum entry_type type;
	const char *path;
	const char *target;     /* symlink: as stored; hard link: a path */
	uint64_t size;          /* logical bytes of a file, else 0 */
	struct timespec mtime;
	uint32_t mode;          /* 07777 */
	uint32_t uid, gid;
	bool unowned;           /* the format or its writer kept no owner */
	const char *uname, *gname;      /* "" when unknown */
	uint32_t rdev_major, rdev_minor;
	const struct xattr *xattrs;
	size_t nxattrs;
	bool sparse;            /* extents are known; else all is data */
	const struct extent *extents;   /* ascending, apart, inside size */
	size_t nextents;
	/* where it was read; all 0 when unknown */
	uint64_t dev, ino, nlink;
	struct timespec ctime;
	uint32_t attrs;         /* as FS_IOC_GETFLAGS has them; 0: none known */
	uint32_t projid;        /* quota project; 0: none */
};

enum {
	ENTRY_PATH_MAX = 65536,         /* limits for what comes from outside */
	ENTRY_DEPTH_MAX = 1024,
	ENTRY_XATTR_MAX = 1024,
	ENTRY_EXTENT_MAX = 1 << 20
};

/*
 * A file's bytes, pulled by the writer: exactly entry.size of them in order,
 * holes as zero bytes.  What is not read, the reader drops by itself.
 */
struct content;
struct content_ops {
	/* 1..n bytes, 0 at the end, -1 with err */
	ssize_t (*read)(struct content *, void *, size_t, struct err *);
	/* n <= what is left; cheap inside a hole */
	int (*skip)(struct content *, uint64_t, struct err *);
	/* from the start again; NULL where the reader can't */
	int (*reopen)(struct content *, struct err *);
};

struct content {
	const struct content_ops *ops;
	uint64_t size;
	uint64_t pos;
	_Atomic uint64_t *seen; /* the pump's: grows as bytes go; else NULL */
};

/*
 * content_read: short counts are normal.  content_full: n bytes, fewer only at
 * the end.  content_skip.  content_reopen: -1 with CALA_FAIL where it can't be.
 */
ssize_t content_read(struct content *, void *, size_t, struct err *);
ssize_t content_full(struct content *, void *, size_t, struct err *);
int content_skip(struct content *, uint64_t, struct err *);
int content_reopen(struct content *, struct err *);

enum {
	READER_ORDERED = 1,     /* depth first, sorted */
	READER_REOPEN = 2,      /* contents can be read twice */
	READER_HOLES = 4        /* entry.sparse is told */
};

/*
 * next: 1 with *entry and, for ENTRY_FILE, *content (else NULL); 0 at the end
 *       of a whole stream; -1 with err.  Trouble with one entry is a warning
 *       in the log and the next entry.
 * close frees the reader.
 */
struct reader;
struct reader_ops {
	int (*next)(struct reader *, const struct entry **, struct content **,
	    struct err *);
	void (*close)(struct reader *);
};

struct reader {
	const struct reader_ops *ops;
	unsigned can;           /* READER_* */
};

int  reader_next(struct reader *, const struct entry **, struct content **,
    struct err *);
void reader_close(struct reader *);     /* NULL is fine */

/*
 * put:   take an entry; pulls content or never does.  0, or -1 with err.
 *        What the format can't hold is a warning in the log.
 * leave: the directory last put and not yet left has no more entries; the
 *        root is left, too.  NULL where the writer does not care.
 * known: would put take this entry by its stat alone, without its content,
 *        extended attributes and holes?  Called by any thread.  NULL: no.
 * commit: make the whole visible.
 * abort: leave no trace unless committed; frees; never fails.
 */
struct writer;
struct writer_ops {
	int (*put)(struct writer *, const struct entry *, struct content *,
	    struct err *);
	int (*leave)(struct writer *, struct err *);
	bool (*known)(struct writer *, const struct entry *);
	int (*commit)(struct writer *, struct err *);
	void (*abort)(struct writer *);
};

struct writer {
	const struct writer_ops *ops;
	bool failed;            /* sticky */
	bool committed;
};

int  writer_put(struct writer *, const struct entry *, struct content *,
    struct err *);
int  writer_leave(struct writer *, struct err *);
bool writer_known(struct writer *, const struct entry *);
int  writer_commit(struct writer *, struct err *);
void writer_free(struct writer *);      /* aborts what was not committed */

/*
 * pump(r, w, count, e): every entry of r into w, leave() called where a
 * directory ends; commits nothing.  count (may be NULL) is added to, and may
 * be read by another thread for progress.
 */
struct tally {
	_Atomic uint64_t entries;
	_Atomic uint64_t files;         /* all but directories */
	_Atomic uint64_t bytes;         /* logical bytes of files */
};
int pump(struct reader *, struct writer *, struct tally *, struct err *);

/*
 * A tree is a store that can be entered anywhere.
 *
 * list: the entries directly in path ("" is the root), by fn, sorted; stops
 *       when fn returns not 0.  CALA_NOTFOUND when absent.
 * stat: one entry.  open: the bytes [off, off + len) of a file, cut to its
 *       size; the content lives until the next call; close with tree_done.
 * reader: a new reader of path and all below it (full paths).
 */
typedef int tree_fn(void *, const struct entry *, struct err *);
struct tree;
struct tree_ops {
	int (*list)(struct tree *, const char *, tree_fn *, void *,
	    struct err *);
	int (*stat)(struct tree *, const char *, struct entry *,
	    struct err *);
	struct content *(*open)(struct tree *, const char *, uint64_t,
	    uint64_t, struct err *);
	struct reader *(*reader)(struct tree *, const char *const *, size_t,
	    struct err *);
	void (*close)(struct tree *);
};

struct tree {
	const struct tree_ops *ops;
};

/*
 * entry_path(b, raw, n, &why): put the clean form of a foreign path into b
 * (emptied first): leading and doubled slashes and "." go.  0, or -1 with *why
 * for "..", NUL bytes, too long, too deep: then the entry must not be used.
 */
int entry_path(struct buf *, const char *, size_t, const char **);

/*
 * entry_below(path, dir): is path dir itself or below it?  "" holds all.
 * entry_name(path): the last component.  entry_depth(path): components.
 */
bool entry_below(const char *, const char *);
const char *entry_name(const char *);
size_t entry_depth(const char *);

/* entry_mode(e, out): "drwxr-xr-x" with NUL into out[11]; returns out. */
const char *entry_mode(const struct entry *, char [11]);

/*
 * entry_json(b, e): {"path","path_b64"?,"type","size","mtime","mode","uid",
 * "gid","target"?,"rdev"?} without newline.  mode is an octal string "0644".
 */
void entry_json(struct buf *, const struct entry *);

#endif
