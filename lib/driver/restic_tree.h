#ifndef CALA_DRIVER_RESTIC_TREE_H
#define CALA_DRIVER_RESTIC_TREE_H

/* restic_tree: what restic_read.c and restic_stream.c share. */

#include "base/buf.h"
#include "driver/restic.h"

/* One name in a folder; the strings of n are of json. */
struct rnode {
	struct restic_node n;
	json_t *json;
};

struct rnodes {
	struct rnode *v;
	size_t n;
};

struct rtree {
	struct tree t;
	struct driver_call *call;
	struct restic *r;
	struct resticd_snap snap;
	bool based;                     /* snap.base is known to be there */
	bool recalled;                  /* snap may be out of date */
	bool light;                     /* one node is enough, and what reads
					 * it asks the repository anyway */
	struct child *ahead;            /* the bytes of what is asked for */
	char *ahead_path;
	/* what was looked up last */
	bool have;
	char *path;
	struct rnode self;              /* json NULL: the root of all */
	struct rnodes below;
	struct rnode found;             /* lent by stat */
	/* bytes of a file */
	struct rcontent {
		struct content c;
		struct child *child;
		struct rtree *tree;
		uint64_t off;
		uint64_t skip;          /* to read and drop first */
		bool begun;
		bool last;              /* its end is the file's */
	} content;
};

/* A listing of t->path is read: is that the root of all, and was there any? */
struct rtree_looking {
	struct rtree *t;
	bool root, any;
};

/*
 * rtree_abs(t, path, out, e): path as restic knows it.
 * rtree_exact(t, path, v, e): the folder's nodes with all that restic knows.
 * rtree_look(t, path, e): self and below of path.  A snapshot whose root is the
 * folder itself (restic backup .) is found to be one here.
 * rtree_again(t, e): after a failure with a snapshot that was only remembered:
 *   1 when the repository has another for the backup now (t->snap), 0 when it is
 *   the same or was not remembered; -1: it has none, or can't be asked.
 * rtree_listing(looking, child, e): restic ls of one path into self and below.
 * rtree_looked(t): self is what is at path; it may be remembered.
 * rtree_known(t, path, e): self as it is remembered, which never changes.  1: it
 *   is not.
 * rtree_forget(t): what was looked up last.
 * rtree_entry(n, path, en): a node as an entry.
 * rnodes_fini, rnode_fini: free.
 */
int  rtree_abs(const struct rtree *, const char *, struct buf *, struct err *);
int  rtree_exact(struct rtree *, const char *, struct rnodes *, struct err *);
int  rtree_listing(void *, struct child *, struct err *);
void rtree_looked(struct rtree *);
int  rtree_known(struct rtree *, const char *, struct err *);
void rtree_forget(struct rtree *);
int  rtree_again(struct rtree *, struct err *);
int  rtree_look(struct rtree *, const char *, struct err *);
void rtree_entry(const struct restic_node *, const char *, struct entry *);
int  rnodes_add(struct rnodes *, json_t *, struct err *);
void rnode_fini(struct rnode *);
void rnodes_fini(struct rnodes *);

/*
 * restic_stream.c: all entries of paths, in order.  contents: their bytes, too,
 * from one dump of each path, beside a listing that says what a dump does not:
 * types, and times to the nanosecond.  says: what a stream can't carry is said
 * once, where it is seen.
 */
struct reader *rtree_reader(struct rtree *, const char *const *, size_t, bool,
    bool, struct err *);

#endif
