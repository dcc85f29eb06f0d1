#ifndef CALA_FS_FS_H
#define CALA_FS_FS_H

/*
 * fs: directories as readers and writers of entries.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "entry/entry.h"

struct log;
struct err;
struct match;
struct writer;

struct fs_walk {
	const struct match *match;      /* NULL: take all */
	bool one_file_system;
	bool xattrs;                    /* and ACLs */
	bool attrs;                     /* attribute bits, quota projects */
	unsigned jobs;                  /* read-ahead threads; 0: by measure */
	uint64_t limit_read;            /* bytes per second; 0: none */
	const char *prefix;             /* put in front of every path, or NULL */
	bool match_prefix;              /* the rules see it, too */
	bool bare;                      /* what files are, not what they hold */
	bool keep_cache;                /* do not drop what we read from it */
	/*
	 * NULL, or: a file that its known() takes is not opened: the entry has
	 * its stat, no extended attributes and no map of holes.  (Its bytes can
	 * still be read.)  known() is called by any thread.
	 */
	struct writer *asks;
	bool asks_whole;                /* … has its xattrs, all the same: it is
					 * opened, but not read */
};

/* What changed under our hands; complete when next() answered 0. */
struct fs_walked {
	uint64_t changed;       /* grown or rewritten while read */
	uint64_t excluded;      /* by the rules */
	uint64_t sockets;       /* left out: they hold nothing */
};

/*
 * fs_reader(dirfd, name, how, log, e): name below dirfd, sorted, depth first,
 * with its own metadata first (path "" without prefix).  A name that is no
 * directory yields that one entry (under prefix or its last component).  Files
 * are padded or cut to the announced size; unreadable, vanished and shrunk ones
 * are warnings.  Hard links: the first name in order is the file, later ones
 * ENTRY_HARDLINK.  Sockets are left out and counted; one step message says so.
 * bare: no file is opened, next() gives no content, no xattrs, no map of holes.
 */
struct reader *fs_reader(int, const char *, const struct fs_walk *,
    struct log *, struct err *);
void fs_reader_facts(struct reader *, struct fs_walked *);

/*
 * fs_content_clone(c, fd): make the empty file fd share the blocks of the file
 * that c stands at the beginning of (reflink), in place of reading it.  0; 1:
 * not this one; -1: these two file systems never can.  fd is empty but for 0.
 */
int fs_content_clone(struct content *, int);

struct fs_extract {
	unsigned jobs;                  /* writer threads; 0: default 2 */
	uint64_t max_size, max_entries; /* 0: none */
	bool overwrite;                 /* replace what is there */
	bool owners;                    /* chown; default when root */
	bool numeric;                   /* ids, never names */
	uint32_t uid, gid;              /* with owners: of an entry.unowned */
	bool xattrs, sparse;
	uint64_t limit_write;
	const char *const *paths;       /* only these and below; NULL: all */
	size_t npaths;
	bool dry_run;
	bool go_on;                     /* leave out a file whose content is
					 * damaged (CALA_INTEGRITY), say so,
					 * and take the next */
	bool in_place;                  /* no stage: the directory lives on when
					 * we are killed, so leave a trace */
};

/*
 * fs_writer(dirfd, how, log, e): entries into the directory dirfd and nothing
 * outside it, whatever they say: every step is beneath dirfd, no symlink on the
 * way is followed.  A file is written under a temporary name and renamed.
 * Directory modes and times are set last.  commit makes all of it durable (one
 * syncfs); abort removes temporary files.
 */
struct writer *fs_writer(int, const struct fs_extract *, struct log *,
    struct err *);

/*
 * Replacing a whole tree (design: "Restore").  See swap.h in this room for
 * staging, the journal and the exchange.
 */

#endif
