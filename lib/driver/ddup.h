#ifndef CALA_DRIVER_DDUP_H
#define CALA_DRIVER_DDUP_H

/*
 * ddup: backups in a repository of ddup-bak, one in the folder B for all
 * servers, as Wings keeps it: B/.ddup-bak/archives/U.ddup, with our record
 * U.json beside it.  Everything that knows the format is in lib/ddup.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "ddup/care.h"
#include "ddup/ddup.h"
#include "driver/driver.h"

/*
 * ddup_start(call, use, write, create, &r, e): the repository of the
 * configuration; create makes it (and the folder) when there is none.
 * ddup_record(call, r, uuid, rec, e): the record beside the archive, or what
 * the archive itself tells (foreign).  rec is initialised here.
 */
int ddup_start(struct driver_call *, enum ddup_use, bool, bool,
    struct ddup **, struct err *);
int ddup_record(struct driver_call *, struct ddup *, const char *,
    struct record *, struct err *);

/*
 * ddup_proven(call, r, rec, e): the backup's archive is the one that the record
 * tells of: 0, or -1 with CALA_INTEGRITY.  1: the record (another program's)
 * has no checksum.
 */
int ddup_proven(struct driver_call *, struct ddup *, const struct record *,
    struct err *);

/* ddup_put.c */
int ddup_put_dir(struct driver_call *, struct err *);
int ddup_put_stream(struct driver_call *, struct sink **, struct err *);

/* ddup_care.c */
int ddup_check(struct driver_call *, struct err *);
int ddup_verify_whole(struct driver_call *, struct err *);
int ddup_verify_one(struct driver_call *, struct record *, struct err *);
int ddup_collect(struct driver_call *, struct err *);
extern const struct driver_verb ddup_verbs[];

extern const struct driver ddup_driver;

#endif
