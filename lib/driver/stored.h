#ifndef CALA_DRIVER_STORED_H
#define CALA_DRIVER_STORED_H

/*
 * stored: reading back an archive that a store keeps, for the disks that keep
 * archives (local, s3).
 *
 * Whoever reads a whole backup gets its record's SHA-256 checked on the way,
 * and CALA_INTEGRITY at the end when it is another.  "Cut short", which a pipe
 * may say while it is written, is damage (CALA_INTEGRITY) once it is stored.
 * name stands in messages.
 */

#include <stdbool.h>
#include <stdint.h>

#include "driver/driver.h"

struct archive_read;
struct ranged;
struct rate;
struct sha256;

/*
 * stored_complete(rec, sha, n, e): n bytes with the checksum of sha were stored,
 *   just now.
 * stored_has_sum(rec): is there a checksum to compare with?
 * stored_source(in, rec, rate, name, e): the bytes of in, compared and not
 *   faster than rate (may be NULL).  Takes in and rate, also when it fails.
 * stored_reader(src, rg, how, log, name, e): the entries of src, or of rg when
 *   that is not NULL (one of them is); what is behind the last entry is read,
 *   too.  Takes it.
 * stored_prove(in, e): read all of it, for what its format can tell of damage.
 * stored_tree(rg, how, log, name, e): archive_tree.  Takes rg.
 */
int stored_complete(struct record *, struct sha256 *, uint64_t, struct err *);
bool stored_has_sum(const struct record *);
struct source *stored_source(struct source *, const struct record *,
    struct rate *, const char *, struct err *);
struct reader *stored_reader(struct source *, struct ranged *,
    const struct archive_read *, struct log *, const char *, struct err *);
int stored_prove(struct reader *, struct err *);
struct tree *stored_tree(struct ranged *, const struct archive_read *,
    struct log *, const char *, struct err *);

/*
 * stored_failed(call, step, e): "failed: STEP: why" on call->out; -1.
 * stored_compare(call, rec, what, has, want, got, e): does the record say the
 *   same (if it says anything)?  CALA_INTEGRITY, and said.
 * stored_verify(call, rec, in, e): read everything as a restore would, compare
 *   with the record, say each step.  It also says that the SHA-256 is the
 *   record's: in is of stored_source, or the caller has compared it.
 */
int stored_failed(struct driver_call *, const char *, struct err *);
int stored_compare(struct driver_call *, const struct record *, const char *,
    bool, uint64_t, uint64_t, struct err *);
int stored_verify(struct driver_call *, const struct record *,
    struct reader *, struct err *);

/*
 * stored_sample(call, rg, e): call->percent of an archive with an index: so
 * many of its frames, spread over it and others in each run, compared with
 * their sums; said.  1: done; 0: it has no index, which is said, too: all has to
 * be read; -1: CALA_INTEGRITY and others.  Takes rg; NULL is the caller's
 * failure to open it (-1).
 */
int stored_sample(struct driver_call *, struct ranged *, struct err *);

#endif
