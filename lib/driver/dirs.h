#ifndef CALA_DRIVER_DIRS_H
#define CALA_DRIVER_DIRS_H

/*
 * dirs: a directory as what is stored, and as where it is restored, for the
 * drivers that have put DIR or restore.
 */

#include <stddef.h>

#include "driver/driver.h"

struct match;

enum { DIRS_RULES = 16 << 20 };         /* bytes of rules */

/*
 * dirs_rules(call, max, out, e): the rules of --exclude-from, a file of at most
 * max bytes, into *out and, those that are text, into call->record, unless it
 * has them already.  *out is never NULL on success; match_free() in any case.
 * CALA_NOTFOUND when there is no such file.
 *
 * dirs_not_empty(call, walk, e): after pump() of walk, an fs_reader:
 * CALA_INCOMPLETE when there was nothing and nobody said --allow-empty.
 *
 * dirs_warned(call, e): the warnings of this run so far into call->record; once
 * more adds what is new.
 *
 * dirs_restore(call, open, e): what open gives into call->dir.  Damaged files
 * are left out, and CALA_INTEGRITY in the end.  What has no owner becomes that
 * of the directory.
 */
int dirs_rules(struct driver_call *, size_t, struct match **, struct err *);
int dirs_not_empty(const struct driver_call *, struct reader *, struct err *);
int dirs_warned(struct driver_call *, struct err *);
int dirs_restore(struct driver_call *,
    int (*)(struct driver_call *, struct reader **, struct err *),
    struct err *);

#endif
