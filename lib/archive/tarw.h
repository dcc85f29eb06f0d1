#ifndef CALA_ARCHIVE_TARW_H
#define CALA_ARCHIVE_TARW_H

/*
 * tarw: entries as tar (POSIX.1-2017 pax: ustar headers, extended headers for
 * what these can't hold, SCHILY.xattr and SCHILY.acl, GNU sparse 1.0).
 *
 * The stream begins with a global header whose comment is "cala-pack 1" and
 * ends with one that counts what is in it (design: "Proof of completeness"),
 * unless foreign.
 */

#include <stdbool.h>
#include <stdint.h>

#include "archive/archive.h"

struct indexw;
struct tarw;

/*
 * tarw_new(out, index, foreign, wings, log, e): out, index (may be NULL) and
 * log are borrowed.  wings leaves out what Wings' reader would drop or
 * misread, with a warning, and fills holes.
 */
struct tarw *tarw_new(struct sink *, struct indexw *, bool, bool,
    struct log *, struct err *);

/* tarw_put(t, entry, content, e): as the writer operation. */
int tarw_put(struct tarw *, const struct entry *, struct content *,
    struct err *);

/*
 * tarw_end(t, &len, e): the end mark, two zero blocks and the padding to a
 * record of 10 KiB; len is then the length of the tar.
 */
int tarw_end(struct tarw *, uint64_t *, struct err *);
void tarw_free(struct tarw *);          /* NULL is fine */

/* tarw_sum(t): what was taken so far. */
const struct archive_sum *tarw_sum(const struct tarw *);

#endif
