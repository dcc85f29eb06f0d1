#ifndef CALA_CONFIG_EDIT_H
#define CALA_CONFIG_EDIT_H

/*
 * edit: changing configuration files line by line, so that comments, order and
 * spelling stay.
 *
 * edit_open takes a lock that all editors of the same files share, reads them
 * and checks them.  Changes happen in memory; edit_commit checks the result as
 * a whole before the first byte is written, then replaces each changed file
 * atomically, with its mode and owner.  edit_close without commit changes
 * nothing.
 *
 * A configuration with errors can be edited, or it could not be repaired, but
 * no change may bring a new one.
 */

#include <stdbool.h>
#include <stddef.h>

#include "config/conf.h"
#include "config/files.h"
#include "config/problem.h"

struct crypt_keys;
struct crypt_place;

struct edit {
	struct conf_paths paths;
	struct conf_files fs;
	struct conf *c;                 /* as read; not changed by edits */
	struct problems bad;            /* of the files as read */
	struct log *log;
	char *target;                   /* where new sections go */
	int lock, lockdir;
};

/*
 * edit_open(ed, paths, what, log, e): what is said to others who wait
 * ("cala-config set").  CALA_LOCKED when another editor does not end for 10
 * seconds.  paths->file may not exist yet.
 * edit_strict(ed, e): CALA_USAGE, with every error on the log, when the files
 * as read have errors: for changes that must see every line.
 * edit_check(ed, e): would edit_commit accept the changes?  CALA_USAGE, with
 * every new error on the log.  Errors that were there before are warnings.
 * edit_commit(ed, e): edit_check, then write.
 */
int  edit_open(struct edit *, const struct conf_paths *, const char *,
    struct log *, struct err *);
int  edit_strict(struct edit *, struct err *);
int  edit_check(struct edit *, struct err *);
int  edit_commit(struct edit *, struct err *);
void edit_close(struct edit *);

/* edit_changed(ed): would edit_commit write anything? */
bool edit_changed(const struct edit *);

/*
 * edit_set(ed, kind, name, key, values, n, e): the key gets these values (one;
 * several for a list), where the value that counts now stands; else in its
 * section; a missing section is made at the end of the target.  For a secret
 * the other forms of the key (KEY-file) are replaced.  The values must have
 * passed key_check.  CALA_USAGE when one can't be written in a line.
 * edit_unset: from every file; the section stays.  Both: key in its canonical
 * spelling.
 */
int edit_set(struct edit *, const char *, const char *, const char *,
    const char *const *, size_t, struct err *);
int edit_unset(struct edit *, const char *, const char *, const char *,
    struct err *);

/*
 * edit_add(ed, kind, name, e): a section at the end of the target.
 * edit_remove: from every file, with its lines; comments above the next
 * section stay.  edit_remove_as: the section of such a heading, [kind "name"]
 * or [kind], of whatever kind.  CALA_NOTFOUND.
 * edit_rename, edit_copy (kind, old, new): headings, or a copy of the text at
 * the end of each file that has some; encrypted values still belong to old:
 * see edit_tokens.
 */
int edit_add(struct edit *, const char *, const char *, struct err *);
int edit_remove(struct edit *, const char *, const char *, struct err *);
int edit_remove_as(struct edit *, const char *, struct err *);
int edit_rename(struct edit *, const char *, const char *, const char *,
    struct err *);
int edit_copy(struct edit *, const char *, const char *, const char *,
    struct err *);

/*
 * edit_tokens(ed, fn, ctx, e): fn sees every encrypted value and its place (in
 * the files as edited so far); 1: it appended another to take its place, 0:
 * stays, -1 with err.
 */
struct buf;
typedef int edit_token(void *, const struct crypt_place *, const char *,
    struct buf *, struct err *);
int edit_tokens(struct edit *, edit_token *, void *, struct err *);

#endif
