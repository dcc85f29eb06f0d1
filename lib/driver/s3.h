#ifndef CALA_DRIVER_S3_H
#define CALA_DRIVER_S3_H

/*
 * s3: archives as objects of one bucket, named as a Calagopus panel names them
 * (calagopus.md §3.2):
 *
 *	S/U.tar.zst     the archive of server S; the extension is its format's
 *	S/.cala/U.json  its record; the panel's and Wings' own have none.  Three
 *	                parts, because the panel takes any S/U.* for a backup
 *	.cala/check-*   what check tries; removed at once
 *
 * Every other key is somebody else's and never touched.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "archive/archive.h"
#include "driver/driver.h"
#include "driver/s3_memory.h"
#include "s3/s3.h"
#include "s3/setup.h"

struct buf;
struct rate;

enum {
	S3DISK_KEY = 2 * UUID_TEXT + 16,        /* "S/U.tar.zst", a record's */
	S3DISK_OLD = 24 * 3600,                 /* leftovers may go (seconds) */
	S3DISK_CHECK_OLD = 3600
};

#define S3DISK_CHECK ".cala/check-"

/* An object that counts as a backup. */
struct s3_stored {
	char server[UUID_TEXT], uuid[UUID_TEXT];
	char key[S3DISK_KEY];
	enum archive_format format;
	uint64_t size;
	time_t modified;
	char etag[S3_ETAG];
	bool recorded;          /* a list showed a record of it */
};

/* What one run keeps: the client, and the object it found last. */
struct s3_disk {
	struct s3_setup setup;
	struct s3 *s3;
	struct rate *rate;
	struct s3_stored found; /* uuid "": none yet */
};

/*
 * s3disk_open(call, e): the disk of this run, made on the first call; freed by
 * s3disk_done.  NULL with err.
 */
struct s3_disk *s3disk_open(struct driver_call *, struct err *);
void s3disk_done(struct driver_call *);

/*
 * s3disk_name(key, o): is key that of a backup?  Fills server, uuid, key and
 * format.  s3disk_side(key, server, uuid): is it that of a record?
 */
bool s3disk_name(const char *, struct s3_stored *);
bool s3disk_side(const char *, char [UUID_TEXT], char [UUID_TEXT]);

/*
 * What a bucket holds that is ours, sorted by server and UUID; of several
 * objects of one backup the first in the order of archive_info.
 *
 * s3disk_scan(d, server, uuid, l, e): of one server ("": all), one backup ("":
 * all).  s3disk_list_fini frees.
 */
struct s3_side {
	char server[UUID_TEXT], uuid[UUID_TEXT];
	time_t modified;
};
struct s3_listed {
	struct s3_stored *v;
	size_t n;
	struct s3_side *side;   /* records without object */
	size_t nside;
	/* other objects of a backup, that its first one hides */
	size_t hidden;
};
int  s3disk_scan(struct s3_disk *, const char *, const char *,
    struct s3_listed *, struct err *);
void s3disk_list_fini(struct s3_listed *);

/*
 * s3disk_remove(call, d, key, e): delete an object, and its versions where the
 * bucket keeps any and the key may.  CALA_PROTECTED when the store keeps it.
 * s3disk_forget: the same of something of no value, which may as well be hidden
 * when a rule of the bucket keeps it for a while.
 */
int  s3disk_remove(struct driver_call *, struct s3_disk *, const char *,
    struct err *);
int  s3disk_forget(struct driver_call *, struct s3_disk *, const char *,
    struct err *);

/*
 * s3disk_find(call, d, e): the object of call->backup into d->found (asked for
 * once a run).  CALA_NOTFOUND; CALA_USAGE when several servers have it and
 * call->server says none.
 */
int s3disk_find(struct driver_call *, struct s3_disk *, struct err *);

/*
 * s3disk_record(call, d, o, rec, e): the record of o, or what the object
 * itself tells when there is none (foreign).  A senseless record is a warning:
 * the backup is still there.  CALA_NOTFOUND when o was removed meanwhile.  rec
 * is initialised here.
 * s3disk_side_get(d, server, uuid, b, etag, e): the bytes of a record: 1, 0:
 * there is none, -1.  s3disk_recorded(d, o, rec, etag, e): the same as a record;
 * -1 with CALA_INTEGRITY when it makes no sense or describes another backup.
 * etag may be NULL.
 * s3disk_save(d, rec, only_new, e): write it, whole or not at all; only_new:
 * CALA_EXISTS when there is one.  s3disk_replace(d, rec, etag, e): write it in
 * place of exactly the one with that ETag ("": of none, CALA_EXISTS);
 * CALA_LOCKED when another is there, as far as the store can tell.
 */
int s3disk_record(struct driver_call *, struct s3_disk *,
    const struct s3_stored *, struct record *, struct err *);
int s3disk_recorded(struct s3_disk *, const struct s3_stored *,
    struct record *, char [S3_ETAG], struct err *);
int s3disk_side_get(struct s3_disk *, const char *, const char *,
    struct buf *, char [S3_ETAG], struct err *);
int s3disk_save(struct s3_disk *, const struct record *, bool,
    struct err *);
int s3disk_replace(struct s3_disk *, const struct record *, const char *,
    struct err *);
void s3disk_side_key(const char *, const char *, char [S3DISK_KEY]);

/* s3_list.c, s3_put.c */
int s3disk_list(struct driver_call *, record_fn *, void *, struct err *);
int s3disk_put(struct driver_call *, struct sink **, struct err *);

/* s3_read.c */
int s3disk_raw(struct driver_call *, struct source **, struct err *);
int s3disk_get(struct driver_call *, struct reader **, struct err *);
int s3disk_tree(struct driver_call *, struct tree **, struct err *);
int s3disk_verify(struct driver_call *, struct record *, struct err *);

/* s3_check.c, s3_care.c */
int s3disk_check(struct driver_call *, struct err *);
int s3disk_gc(struct driver_call *, struct err *);
int s3disk_import(struct driver_call *, struct err *);

extern const struct driver s3_driver;

#endif
