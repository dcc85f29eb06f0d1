#ifndef CALA_FS_SWAP_H
#define CALA_FS_SWAP_H

/*
 * swap: a restored tree takes the place of another, or of nothing, in one
 * step that is taken only when the new tree is whole and on the disk (design:
 * "Restore").
 *
 * Replacing a directory V, the new tree is staged in
 *
 *	HOME/.cala-restore-ID/tree      with journal beside it
 *
 * where HOME is V's parent, and V is exchanged with it by one rename; or HOME
 * is V itself where V can't be renamed (a mount point, a subvolume, a file
 * system without RENAME_EXCHANGE, or on demand because a container holds V).
 * Then what V holds moves to .cala-restore-ID/old and what tree holds moves to
 * V, phase by phase; every phase begins with a line in the journal, synced
 * before anything moves, so that an interrupted swap can always be finished, or
 * undone as long as nothing had moved.  When all is done the folder is called
 * HOME/.cala-old-ID and keeps the old tree until swap_discard.
 *
 * Both folders are 0700 and ours; others are never believed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct log;
struct swap;

struct swap_how {
	const char *id;         /* a UUID; NULL: a new one */
	uint64_t need;          /* bytes that must be free; 0: not known */
	bool entries;           /* never rename V itself */
};

/*
 * swap_open(path, how, log, e): begin to replace the directory path (which may
 * be absent).  First finishes or undoes what an interrupted swap of the same
 * path left.  NULL on failure: CALA_NOSPACE; CALA_LOCKED when another swap of
 * it is running; CALA_USAGE for a path that can't be replaced ("/").
 *
 * swap_to(path, how, log, e): begin to make the directory path, which must be
 * absent or empty (CALA_EXISTS): staged as path.part.
 *
 * swap_dir(s): the staging directory, for fs_writer; lent.
 * swap_stage(s): its path, of swap_open; lent.
 * swap_id(s): the id, another one when the given one still keeps an old tree.
 * swap_old(s): after the commit, the folder that keeps the old tree, or NULL
 * where there was none.  Lent.
 *
 * swap_commit(s, e): swap.  Call it when the writer has committed.  On failure
 * everything is as before, or e says that it could not be put back.
 * swap_free(s): removes the staging directory unless committed; NULL is fine.
 */
struct swap *swap_open(const char *, const struct swap_how *, struct log *,
    struct err *);
struct swap *swap_to(const char *, const struct swap_how *, struct log *,
    struct err *);
int swap_dir(const struct swap *);
const char *swap_stage(const struct swap *);
const char *swap_id(const struct swap *);
const char *swap_old(const struct swap *);
int swap_commit(struct swap *, struct err *);
void swap_free(struct swap *);

/*
 * swap_recover(path, log, e): finish a swap of path that had begun to move
 * things, remove what was only staged.  Returns how many were dealt with, or
 * -1.  Doing it twice is harmless.
 * swap_discard(path, log, e): remove the old trees of path.  Returns how many.
 */
int swap_recover(const char *, struct log *, struct err *);
int swap_discard(const char *, struct log *, struct err *);

/*
 * swap_advance(s, steps, e): as swap_commit, but stops, as if the machine had,
 * after so many changes to the disk: 1 when more would follow.
 */
int swap_advance(struct swap *, unsigned, struct err *);

#endif
