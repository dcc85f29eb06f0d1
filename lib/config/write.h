#ifndef CALA_CONFIG_WRITE_H
#define CALA_CONFIG_WRITE_H

/*
 * write: the changed files of an edit onto the disk, all or none; for edit.c.
 *
 * Every file is first whole under a temporary name and synced.  Where there are
 * several, a journal in the locked folder then says which name each is to get,
 * before the first of them gets it: an edit that is cut off there is finished
 * by the next.
 */

#include "config/edit.h"

enum { EDIT_WAIT = 10 };        /* seconds for the lock */
#define WRITE_LOCK ".cala-config.lock"

/*
 * write_files(ed, e): the dirty ones.  Before the first rename nothing has
 * changed; a failure after it names the files that are new.
 * write_recover(lockdir, log, e): finish what was cut off.  A file that was
 * changed since is left as it is.
 */
int write_files(struct edit *, struct err *);
int write_recover(int, struct log *, struct err *);

/* write_folder(path): its directory part, on the heap. */
char *write_folder(const char *);

#endif
