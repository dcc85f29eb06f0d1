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

struct archive_facts;
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
	const char *verb;
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
	struct tally tally;                     /* for pump: shown as progress */
	/* put */
	const char *dir;                        /* NULL: stdin */
	const char *as;                         /* --as V */
	const char *exclude_from;
	bool fresh;                             /* a UUID that nobody can have */
	bool force_read, ignore_inode;          /* of files that look unchanged */
	uint64_t expect;                        /* bytes to come; 0: unknown */
	bool vouched;                           /* receive: somebody says whole */
	char base[UUID_TEXT];                   /* send: "" complete */
	bool trailer, discard_newer;
	struct driver_keep {                    /* 0: no such rule */
		unsigned last, hourly, daily, weekly, monthly, yearly;
	} keep;
	struct record *record;                  /* filled in, to complete */
	const struct archive_facts *facts;      /* the stream, once it ended */
	const struct record *was;               /* set: before the change */
	/* check, verify, gc print their lines here */
	FILE *out;
	char *const *env;                       /* the environment; read only */
	void *own;                              /* the driver's, until done */
};

typedef int record_fn(void *, struct record *, struct err *);

/*
 * A verb that only this driver has, without operands.  needs says what it takes
 * and that it touches data (a configuration in maintenance blocks it).
 */
enum {
	DRIVER_SERVER = 1, DRIVER_DRY = 2, DRIVER_JSON = 4, DRIVER_BLOCKED = 8,
	DRIVER_BACKUP = 16,     /* -b; needs it */
	DRIVER_FULL = 32,       /* its whole UUID */
	DRIVER_BASE = 64,       /* --base, --trailer */
	DRIVER_NEWER = 128,     /* --discard-newer */
	DRIVER_TAKES = 256,     /* a stream, with put's options: receive_begin */
	DRIVER_KEEP = 512       /* --keep-last ..., into call->keep */
};

struct driver_verb {
	const char *name, *help;
	unsigned needs;
	int (*run)(struct driver_call *, struct err *);
};

/*
 * Every function returns 0, or -1 with err.  NULL: the driver has no such
 * verb.
 *
 * put_begin: where the stream's bytes go; CALA_EXISTS when the UUID is taken.
 *   The sink's commit makes the backup durable and visible.  driver_main calls
 *   it only when completeness is proven; call->facts and call->record tell what
 *   is known by then, and commit completes the record (stored, checksum).
 * receive_begin: the same for the verb that DRIVER_TAKES, of bytes that are no
 *   archive: the commit itself wants proof, call->vouched or our trailer.
 * put_dir:  store call->dir, complete call->record; warnings are in the log.
 * open:     a tree of one backup (ls, cat, get of paths come from it), or
 *   CALA_NOTFOUND.  call->backup is set.
 * get:      a reader of the whole backup, when that is better than the tree's.
 * raw:      the stored bytes, for get --raw.
 * restore:  call->paths (all when none) into the empty directory call->dir.
 * list:     each backup of call->server (all when "") by fn, in any order; the
 *   record is fn's only during the call.  A foreign backup whose server is
 *   unknown is listed only without a server.
 * find:     the record of call->backup (initialised here; record_fini).
 * sync:     make a changed record (set) durable.  CALA_LOCKED where the store
 *   can tell that the stored one is no longer call->was (record_same): somebody
 *   else's lock must not be lost.
 * remove:   exactly call->backup; driver_main has checked the lock.
 * check, verify, gc: say each step on call->out.  verify_all: verify without a
 *   backup, of all that the backups share; NULL where they share nothing.
 * done:     the run is over: free call->own.
 */
struct driver {
	const char *name;               /* "cala-local" */
	const char *const *disks;       /* NULL-terminated */
	unsigned takes;
	bool salvages;          /* get, restore, ls, cat honour no_check */
	bool proves;            /* get proves all before it gives any of it,
				 * unless no_check says that it need not */
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
	int (*verify_all)(struct driver_call *, struct err *);
	int (*gc)(struct driver_call *, struct err *);
	void (*done)(struct driver_call *);
	const struct driver_verb *extra;        /* up to one without name */
	int (*receive_begin)(struct driver_call *, struct sink **,
	    struct err *);
};

/*
 * driver_main(d, argc, argv): the whole of a driver's main; returns the exit
 * status.  See cala-driver(7) for what every verb promises.
 */
int driver_main(const struct driver *, int, char **);

/* driver_say(call, fmt, ...): one line of a report (check, verify, gc). */
void driver_say(struct driver_call *, const char *, ...)
    __attribute__((format(printf, 2, 3)));

#endif
