#ifndef CALA_ARCHIVE_TREE_H
#define CALA_ARCHIVE_TREE_H

/*
 * tree: what archive_tree() gives: over an index (tree.c), or over a list made
 * by one scan (tree_scan.c).
 */

#include "archive/archive.h"
#include "base/buf.h"

struct index;

/* Takes x, also on failure; r is borrowed. */
struct tree *tree_indexed(struct index *, struct ranged *,
    const struct archive_read *, struct log *, struct err *);
struct tree *tree_scanned(struct ranged *, const struct archive_read *,
    struct log *, struct err *);

/*
 * lister: the children of dir among entries that come in any order (sorted:
 * depth first, sorted, none twice; then nothing is held back but one).
 * Directories that only show in the paths of others are made up.  The last of
 * two with one name wins.  lister_add: 0; 1 all that can matter was seen; -1.
 * lister_end: the rest; -1 with CALA_NOTFOUND when dir never showed, or is no
 * directory.
 */
struct kid;
struct lister {
	const char *dir;
	size_t len;
	bool sorted;
	tree_fn *fn;
	void *arg;
	/* the rest belongs to tree_list.c */
	struct kid *kid;
	size_t n, cap;
	bool found, notdir, stopped;
};
void lister_init(struct lister *, const char *, bool, tree_fn *, void *);
int  lister_add(struct lister *, const struct entry *, struct err *);
int  lister_end(struct lister *, struct err *);
void lister_fini(struct lister *);

/* slice: the bytes [off, off + len) of a content, cut to its size. */
struct slice {
	struct content c;
	struct content *of;
};
int slice_set(struct slice *, struct content *, uint64_t, uint64_t,
    struct err *);

/* tree_below(path, paths, n): is path one of paths or below one? */
bool tree_below(const char *, char *const *, size_t);
/*
 * tree_paths(paths, n, &clean, e): cleaned copies; tree_paths_free.  1 when one
 * of them (or none) means all.
 */
int  tree_paths(const char *const *, size_t, char ***, struct err *);
void tree_paths_free(char **, size_t);

#endif
