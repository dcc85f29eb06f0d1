#ifndef CALA_FS_SWAP_INT_H
#define CALA_FS_SWAP_INT_H

/*
 * The parts of swap among themselves: swap.c stages, swap_move.c keeps the
 * journal and moves, swap_recover.c ends what earlier runs left, swap_held.c
 * looks who else has the directory.
 */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/uuid.h"
#include "fs/swap.h"

enum phase {
	PHASE_STAGE,            /* nothing has moved */
	PHASE_SWAP,             /* whole: the exchange of V and tree */
	PHASE_OUT,              /* entries: V to old */
	PHASE_IN,               /* entries: tree to V */
	PHASE_BACK,             /* undo: V to tree */
	PHASE_HOME,             /* undo: old to V */
	PHASE_DONE,             /* the new tree is in place */
	PHASE_UNDONE            /* the old tree is */
};

struct swap {
	struct log *log;
	char id[UUID_TEXT];
	char work[64];          /* ".cala-restore-ID", in home */
	char *path;             /* of V, canonical */
	char *name;             /* its last component */
	char *old;              /* path of the folder that keeps the old tree */
	char *stage;            /* path of tree */
	bool to;                /* swap_to: DIR.part */
	bool whole, committed;
	int home, dir, tree;    /* dir: the work folder */
	int target;             /* entries: V */
	int journal;
	enum phase phase;
	uint64_t ino;           /* whole: of the new tree, once journalled */
	struct timespec mtime;  /* entries: what V's is to be */
	unsigned steps;         /* left to take; UINT_MAX: all */
};

#define SWAP_MARK ".cala-restore-to"    /* in DIR.part: ours to remove */

/*
 * swap_blank(path, id, log, e): one that has opened nothing; swap_release ends
 * it and changes nothing on the disk.
 * swap_parent(s, e): V's parent as a descriptor.
 * swap_sub(at, name): a directory that is no link, or -1.
 * swap_ours(fd): could nobody else have filled it?
 * swap_name(s, e): set s->old and s->stage.
 * swap_drop(s): remove the work folder.
 * swap_finish(s, e): when nothing is left to move: the folder gets its last
 * name, or goes.  0, 1 (steps used up), -1.
 */
struct swap *swap_blank(const char *, const char *, struct log *,
    struct err *);
void swap_release(struct swap *);
int  swap_parent(const struct swap *, struct err *);
int  swap_sub(int, const char *);
bool swap_ours(int);
int  swap_name(struct swap *, struct err *);
void swap_drop(struct swap *);
int  swap_finish(struct swap *, struct err *);

/* One change to the disk is about to be made: false when no more may be. */
bool swap_step(struct swap *);

/*
 * journal_begin: the first line.  journal_phase: a phase begins; synced.
 * journal_load: where the swap in dir stood; CALA_INTEGRITY when the journal
 * says nothing that can be used.
 */
int journal_begin(struct swap *, struct err *);
int journal_phase(struct swap *, enum phase, struct err *);
int journal_load(struct swap *, struct err *);

/*
 * swap_held(fd, path, by, below): is the directory fd, whose canonical path is
 * given, mounted by itself in any mount namespace, or twice in ours?  by gets
 * the number of a process there; below: is a directory in it?  Only root sees
 * others' namespaces; what can't be seen is not found.
 */
enum { SWAP_BY = 24 };
bool swap_held(int, const char *, char [SWAP_BY], bool *);

/*
 * swap_mounted(path): the first place below the canonical path where something
 * is mounted; heap, NULL where there is none or /proc does not say.
 */
char *swap_mounted(const char *);

/* swap_run: go on from s->phase to the end: 0, 1 (steps used up), -1. */
int swap_run(struct swap *, struct err *);

#endif
