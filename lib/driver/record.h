#ifndef CALA_DRIVER_RECORD_H
#define CALA_DRIVER_RECORD_H

/*
 * record: the JSON object that describes a backup and travels with it.
 *
 * {"v":1,"uuid":…,"server":…,"name":…,"group":…,"locked":…,"created":…,
 *  "completed":…,"disk":…,"configuration":…,"size":…,"files":…,"stored":…,
 *  "checksum":{"type":"sha256","value":…},"ignored":[…],"complete":…,
 *  "changed":…,"warnings_count":…,"warnings":[…],"host":…,"version":…}
 *
 * A backup that another program made has what its store knows and no more:
 * absent members are left out, "foreign":true says so (without it "locked" and
 * "complete" must be there); "unverified":true, that the store gave no checksum
 * to compare what it took with.  Unknown members are kept when a record is
 * read, changed and written again.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/uuid.h"

struct buf;
struct err;

enum {
	RECORD_MAX = 4 << 20,           /* bytes of JSON */
	RECORD_WARNINGS = 1000,
	RECORD_IGNORED = 10000,
	RECORD_NAME = 255               /* characters of name and group */
};

struct record {
	char uuid[UUID_TEXT];
	char server[UUID_TEXT];         /* "" when unknown */
	char *name, *group;             /* NULL: none */
	bool locked;
	bool foreign;                   /* made by another program: no record */
	bool unverified;                /* the store confirmed no checksum */
	struct timespec created, completed;     /* tv_sec 0: unknown */
	char *disk, *configuration;
	bool has_size, has_files, has_stored;
	uint64_t size;                  /* logical bytes of the files */
	uint64_t files;                 /* entries that are no directories */
	uint64_t stored;                /* bytes in the store */
	char *sum_type, *sum_value;     /* NULL: none */
	char **ignored;
	size_t nignored;
	bool complete;                  /* false: some source was unreadable */
	uint64_t changed;               /* files that changed while read */
	uint64_t sockets;               /* left out */
	uint64_t warnings_count;
	char **warnings;                /* the first RECORD_WARNINGS of them */
	size_t nwarnings;
	char *host, *version;
	void *extra;                    /* unknown members; record.c's */
};

/* record_init: all unknown.  record_fini: frees what it holds. */
void record_init(struct record *);
void record_fini(struct record *);

/* record_put(r, b): append the JSON, without newline. */
int record_put(const struct record *, struct buf *, struct err *);

/*
 * record_get(r, p, n, what, e): parse n bytes into r (initialised here).  Every
 * member is checked for type and limit; -1 with CALA_INTEGRITY.
 */
int record_get(struct record *, const void *, size_t, const char *,
    struct err *);

/*
 * record_set(field, s, e): replace a heap string member by a copy of s (NULL:
 * none).  record_push(list, n, s, max): append a copy; beyond max: ignored.
 */
int record_set(char **, const char *, struct err *);
int record_push(char ***, size_t *, const char *, size_t, struct err *);

/*
 * record_name(what, s, e): may s be a name or a group: UTF-8, at most
 * RECORD_NAME characters?  CALA_USAGE; what names it in the message.
 */
int record_name(const char *, const char *, struct err *);

/*
 * record_cmp(a, b): by created, then uuid; for qsort of struct record *.
 */
int record_cmp(const struct record *, const struct record *);

/*
 * record_ahead(r, now): is it dated more than an hour after now, in seconds?
 * A clock was wrong when it was made.  Did it count as what it says, it would
 * be the newest for years.
 */
bool record_ahead(const struct record *, time_t);

/*
 * record_same(a, b): are name, group, lock and server, which set changes, the
 * same?
 */
bool record_same(const struct record *, const struct record *);

/*
 * record_pick(list, n, what, &i, e): the backup that BACKUP means among n
 * records of one server: a UUID, an unambiguous prefix of at least 4
 * characters, "latest" or "oldest" (whole ones before partial ones, and of
 * either kind those from the future last).
 * CALA_NOTFOUND; CALA_USAGE when ambiguous.
 */
int record_pick(struct record *const *, size_t, const char *, size_t *,
    struct err *);

#endif
