#ifndef CALA_ARCHIVE_INTAKE_H
#define CALA_ARCHIVE_INTAKE_H

/*
 * intake: an archive stream into a store that keeps trees.
 */

#include "archive/archive.h"

/*
 * archive_intake(w, how, log, e): a sink for the bytes of an archive of any
 * format.  A thread of its own decodes them and puts the entries into w, which
 * stays the caller's and is no one else's meanwhile.  commit: the archive is
 * whole, all of it is in w, and w is committed.  abort leaves w to the caller,
 * uncommitted.
 * intake_facts(s, f): what the decoder knows; after commit was tried.
 */
struct sink *archive_intake(struct writer *, const struct archive_read *,
    struct log *, struct err *);
void intake_facts(struct sink *, struct archive_facts *);

#endif
