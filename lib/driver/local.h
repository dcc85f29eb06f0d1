#ifndef CALA_DRIVER_LOCAL_H
#define CALA_DRIVER_LOCAL_H

/*
 * local: archives as files of one folder B, named as Wings names them
 * (Calagopus layout: local):
 *
 *	U.<ext>         the archive; ext in the order of archive_info[]
 *	U.json          its record; Wings' own backups have none
 *	.U.XXXX.part    being written (locked by the writer while it lives)
 *	.cala.lock      held while a name is given or taken away
 *
 * Everything else in B is somebody else's and never touched.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "archive/archive.h"
#include "base/file.h"
#include "driver/driver.h"

struct tree;

enum {
	LOCAL_NAME = UUID_TEXT + 16,    /* the longest "U.archive.zst" */
	LOCAL_WAIT = 30                 /* seconds for the lock */
};

#define LOCAL_LOCK ".cala.lock"

/* A stored file that counts as a backup. */
struct local_file {
	char uuid[UUID_TEXT];
	char name[LOCAL_NAME];
	unsigned rank;                  /* place in the order of lookup */
	bool dump;                      /* of a database, by Wings */
	enum archive_format format;     /* unless dump */
	uint64_t size;
	struct timespec mtime;
};

/*
 * local_open(call, create, e): the folder B as a descriptor; create makes it
 * when it is missing.  local_dir(call): its path.
 */
int local_open(struct driver_call *, bool, struct err *);
const char *local_dir(const struct driver_call *);

/*
 * local_name(name, f): is name that of a backup?  Fills uuid, name, rank, dump
 * and format; touches no disk.
 */
bool local_name(const char *, struct local_file *);

/*
 * local_find(dirfd, uuid, f, e): the file that uuid means: the first that
 * exists in the order of lookup.  CALA_NOTFOUND.
 * local_scan(dirfd, &v, &n, e): every backup in B, one for each UUID, sorted;
 * the caller frees v.
 */
int local_find(int, const char *, struct local_file *, struct err *);
int local_scan(int, struct local_file **, size_t *, struct err *);

/*
 * local_record(call, dirfd, f, rec, e): the record beside f, or what the file
 * itself tells when there is none (foreign).  An unreadable record is a
 * warning, unless it is plainly another server's than call->server: the backup
 * is still there.  rec is initialised here.
 */
int local_record(struct driver_call *, int, const struct local_file *,
    struct record *, struct err *);

/* local_put.c: the sink that stores a stream. */
int local_put(struct driver_call *, struct sink **, struct err *);

/*
 * local_part(name): is it one of our temporary names?
 * local_sweep(call, dirfd, dry, &n, e): remove temporary files whose writers
 * are dead; n counts them.
 */
bool local_part(const char *);
int local_sweep(struct driver_call *, int, bool, size_t *, struct err *);

/*
 * local_read.c: raw bytes and entries.  What is read whole is compared with the
 * record's SHA-256 at its end: CALA_INTEGRITY.  raw and get compare before the
 * first byte, too, where the archive could give damaged contents before its
 * own sums show it: a restore over files that live must not begin then.
 * local_read: get without that, for who writes nothing.  local_ranged: the file,
 * uncompared.
 */
struct ranged *local_ranged(struct driver_call *, struct err *);
int local_read(struct driver_call *, struct reader **, struct err *);
int local_raw(struct driver_call *, struct source **, struct err *);
int local_get(struct driver_call *, struct reader **, struct err *);
int local_tree(struct driver_call *, struct tree **, struct err *);

/*
 * local_care.c.  local_probe: write, sync, read back and delete a file in the
 * folder, a line each.  local_room: how much is free there, on a line.
 */
int local_probe(struct driver_call *, int, struct err *);
int local_room(struct driver_call *, int, struct err *);
int local_check(struct driver_call *, struct err *);
int local_verify(struct driver_call *, struct record *, struct err *);
int local_gc(struct driver_call *, struct err *);

extern const struct driver local_driver;

#endif
