#ifndef CALA_DRIVER_DRIVER_H
#define CALA_DRIVER_DRIVER_H

/*
 * driver: the contract between `cala` and a disk.
 *
 *	cala-DRIVER VERB -c CONFIGURATION [-s SERVER] [-b BACKUP] [options]
 *
 * A driver is a table of functions; driver_main() does everything that is the
 * same for all of them: options, configuration, maintenance, the proof of
 * completeness on stdin, printing records and entries, exit statuses.
 * Processes only ever meet the command line; this header is for drivers in C.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "base/err.h"
#include "base/log.h"
#include "base/opt.h"
#include "driver/record.h"
#include "entry/entry.h"

struct conf;
struct conf_section;
struct sink;
struct source;

enum {
	DRIVER_STREAM = 1,      /* put takes an archive stream */
	DRIVER_DIR = 2          /* put takes a directory */
};

/* One call of one verb, options parsed and checked. */
struct driver_call {
	const struct driver *driver;
	const struct conf *conf;
	const struct conf_section *cfg;         /* [configuration "NAME"] */
	const char *configuration;              /* NAME */
	struct log *log;
	char server[UUID_TEXT];                 /* "" without -s */
	char backup[UUID_TEXT];                 /* resolved; "" without -b */
	const char *const *paths;               /* operands: clean paths */
	size_t npaths;
	bool recursive, json, raw, dry_run, no_check, allow_empty;
	bool read_data;
	unsigned percent;                       /* of --read-data, 100 */
	uint64_t offset, length;                /* cat; length UINT64_MAX: all */
	uint64_t limit_read, limit_write, limit_network;
	uint64_t memory;                        /* 0: default */
	unsigned jobs;                          /* 0: cores */
	/* put */
	const char *dir;                        /* NULL: stdin */
	const char *as;                         /* --as V */
	const char *exclude_from;
	struct record *record;                  /* filled in, to complete */
	/* set: which of these were given */
	bool set_name, set_group, set_locked, set_server;
	const char *name, *group;
	bool locked;
	/* check, verify, gc print their lines here */
	FILE *out;
};

typedef int record_fn(void *, struct record *, struct err *);

/*
 * Every function returns 0, or -1 with err.  NULL: the driver has no such
 * verb.
 *
 * put_begin: where the stream's bytes go.  The sink's commit makes the backup
 *   durable and visible, and call->record is completed by then; driver_main
 *   calls it only when completeness is proven.
 * put_dir:  store call->dir.
 * open:     a tree of one backup (ls, cat, get of paths come from it), or NULL
 *   with CALA_NOTFOUND.
 * get:      a reader of the whole backup or call->paths.
 * raw:      the stored bytes, for get --raw.
 * list:     each backup of call->server (all when "") by fn; the record is
 *   fn's only during the call.
 * find:     the record of call->backup.
 * remove:   exactly call->backup; driver_main has checked the lock.
 * sync:     make a changed record (set) durable.
 */
struct driver {
	const char *name;               /* "cala-local" */
	const char *const *disks;       /* NULL-terminated */
	unsigned takes;
	int (*put_begin)(struct driver_call *, struct sink **, struct err *);
	int (*put_dir)(struct driver_call *, struct err *);
	int (*open)(struct driver_call *, struct tree **, struct err *);
	int (*get)(struct driver_call *, struct reader **, struct err *);
	int (*raw)(struct driver_call *, struct source **, struct err *);
	int (*restore)(struct driver_call *, struct err *);
	int (*list)(struct driver_call *, record_fn *, void *, struct err *);
	int (*find)(struct driver_call *, struct record *, struct err *);
	int (*sync)(struct driver_call *, struct record *, struct err *);
	int (*remove)(struct driver_call *, struct record *, struct err *);
	int (*check)(struct driver_call *, struct err *);
	int (*verify)(struct driver_call *, struct record *, struct err *);
	int (*gc)(struct driver_call *, struct err *);
};

/*
 * driver_main(d, argc, argv): the whole of a driver's main; returns the exit
 * status.
 */
int driver_main(const struct driver *, int, char **);

#endif
