#ifndef CALA_DRIVER_VERBS_H
#define CALA_DRIVER_VERBS_H

/*
 * verbs: what main.c, put.c, read.c and keep.c share; for this room only.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/opt.h"
#include "driver/driver.h"
#include "front/front.h"

/* One run of a driver: the options as they were given, and the call. */
struct run {
	struct front front;
	const struct driver *d;
	const struct driver_verb *extra;        /* when it is one of those */
	const char *argv0;
	struct driver_call call;
	struct conf *conf;
	struct opt_list args, rest;
	char **paths;                   /* heap: call.paths */
	const char *configuration, *server, *backup;
	const char *uuid, *name, *group, *as, *exclude_from;
	const char *facts, *created, *ok_status, *read_data;
	const char *to_server;          /* set --server */
	const char *base;               /* send --base */
	bool trailer, discard_newer;
	char adopt[UUID_TEXT];          /* its UUID, or "" */
	/* 2 until --lock or --no-lock is seen: set has a third answer */
	union { bool on; unsigned char raw; } lock;
	bool force_read, ignore_inode;
	bool recursive, json, raw, dry_run, no_check, allow_empty;
	uint64_t offset, expect;
	/* UINT64_MAX: not given */
	uint64_t commit_fd, length, jobs, memory;
	uint64_t limit_read, limit_write, limit_network;
	uint64_t keep[6];               /* as in driver_keep */
};

/* put.c: put DIR, put from a stream, and of what only the driver knows */
int verb_put(struct run *, struct err *);
int verb_receive(struct run *, struct err *);

/* read.c: what looks into a backup */
int verb_get(struct run *, struct err *);
int verb_restore(struct run *, struct err *);
int verb_ls(struct run *, struct err *);
int verb_cat(struct run *, struct err *);

/* keep.c: what works on records */
int verb_list(struct run *, struct err *);
int verb_set(struct run *, struct err *);
int verb_rm(struct run *, struct err *);
int verb_verify(struct run *, struct err *);

/*
 * backup_pick(r, e): -b into call.backup: a full UUID as it is, else among the
 * server's backups (record_pick).
 * backup_find(r, rec, e): the record of call.backup; CALA_NOTFOUND when it is
 * another server's than call.server.
 */
int backup_pick(struct run *, struct err *);
int backup_find(struct run *, struct record *, struct err *);

/* record_print(r, rec, e): one line of JSON on stdout. */
int record_print(const struct record *, struct err *);

/*
 * facts_get(path, r, e): the producer's report (cala-pack --report) into the
 * record r: files, size, changed, warnings, ignored, complete.
 */
int facts_get(const char *, struct record *, struct err *);

#endif
