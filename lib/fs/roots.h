#ifndef CALA_FS_ROOTS_H
#define CALA_FS_ROOTS_H

/*
 * roots: what cala-pack was told to pack, as one reader: operands, then the
 * names of a list.
 *
 * One directory gives its contents, with its own metadata first; several
 * operands go each under its last component; names of a list keep their
 * whole relative path (design: "names in archives").
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/fs.h"

struct source;

struct roots_how {
	int dirfd;                      /* operands and names start here */
	const char *const *operands;
	size_t n;
	struct source *list;            /* more names, or NULL */
	bool nul;                       /* they end in NUL, not newline */
	struct fs_walk walk;            /* prefix is ours */
	bool copies;                    /* hard links as files of their own */
	dev_t skip_dev;                 /* the archive itself; 0, 0: none */
	ino_t skip_ino;
};

/*
 * roots_reader(how, log, e): how's pointers are borrowed.  Operands must exist
 * (CALA_NOTFOUND) and have different last components (CALA_USAGE); a name of
 * the list that can't be opened is a warning.
 */
struct reader *roots_reader(const struct roots_how *, struct log *,
    struct err *);

/* roots_facts(r, f): the sums, once next() answered 0. */
void roots_facts(struct reader *, struct fs_walked *);

#endif
