#ifndef CALA_PXAR_PXAR_H
#define CALA_PXAR_PXAR_H

/*
 * pxar: the archives of Proxmox Backup Server, as writer, reader and tree, and
 * the catalog of names that goes with them.
 *
 * Version 1 is one stream.  Version 2 is two: the metadata (.mpxar), and the
 * contents (.ppxar), which the metadata refers to by position.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "entry/entry.h"

struct err;
struct log;
struct pcat;
struct ranged;
struct sink;
struct source;

struct pxar_write {
	struct sink *payload;           /* NULL: version 1, else 2 */
	struct pcat *catalog;           /* all names are added, or NULL */
	const void *prelude;            /* version 2: opaque bytes, or NULL */
	size_t prelude_len;
	/*
	 * Version 2; each may be NULL.  suggest: a file's header comes at this
	 * position of the payload stream.  reuse: 1 with the position of the
	 * header of an unchanged file's content, which is or will be put into
	 * the payload stream by its chunks (not before the present position,
	 * and behind all earlier ones); 0: write it; -1 with err.  known: as
	 * the writer's operation.
	 */
	int (*suggest)(void *, uint64_t, struct err *);
	int (*reuse)(void *, const struct entry *, uint64_t *, struct err *);
	bool (*known)(void *, const struct entry *);
	void *arg;
};

/*
 * pxar_writer(out, how, log, e): entries, depth first, into an archive; how may
 * be NULL.  Directories that do not show by themselves are made up.  An entry
 * twice in one directory is an error where the directory ends; what the format
 * can't hold is left out with a warning.  Holes are stored as zero bytes, as
 * Proxmox's client does.  commit ends the archive and commits the payload sink,
 * then out; all that was given stays the caller's.  Memory: 40 bytes and the
 * name for each entry of the directories that are open; 48 bytes for each file
 * that has, or may have, other names.
 */
struct writer *pxar_writer(struct sink *, const struct pxar_write *,
    struct log *, struct err *);

/*
 * pxar_writer_payload(w): the position in the payload stream.
 * pxar_writer_injected(w, n, e): n bytes of chunks were put in there.
 */
uint64_t pxar_writer_payload(const struct writer *);
int pxar_writer_injected(struct writer *, uint64_t, struct err *);

/* pxar_writer_sum(w): what was written so far. */
struct pxar_sum {
	uint64_t entries, files, size;  /* files: all but directories */
};
const struct pxar_sum *pxar_writer_sum(const struct writer *);

/* Limits for an archive from outside; 0: none. */
struct pxar_read {
	uint64_t max_size;              /* of all contents */
	uint64_t max_entries;
};

/*
 * pxar_reader(meta, payload, how, log, e): the entries of an archive as a
 * stream; payload is that of version 2, or NULL: then the contents of such an
 * archive can't be read.  next() answers 0 only behind the root's end, where
 * the stream must end, too; a cut one is CALA_INCOMPLETE, one that breaks the
 * rules CALA_INTEGRITY.  how may be NULL.  The sources stay the caller's.
 *
 * pxar_tree(meta, payload, how, log, e): the same anywhere; only what is asked
 * for is read.  Both stay the caller's.
 */
struct reader *pxar_reader(struct source *, struct source *,
    const struct pxar_read *, struct log *, struct err *);

/*
 * pxar_reader_payload(r): of the file that next() answered with last, where the
 * header of its content is in the payload stream of version 2; else 0.  What the
 * archive says, not compared with anything.
 */
uint64_t pxar_reader_payload(const struct reader *);

struct tree *pxar_tree(struct ranged *, struct ranged *,
    const struct pxar_read *, struct log *, struct err *);

/*
 * pxar_tree_payload(t, path, &off, &size, e): where the header of a file's
 * content is in the payload stream of version 2, and how long the content is.
 * 0; 1: it has none there (no file, or version 1); -1 (CALA_NOTFOUND: no such
 * path).
 */
int pxar_tree_payload(struct tree *, const char *, uint64_t *, uint64_t *,
    struct err *);

/* ---- catalog.pcat1: names, sizes and times for browsing ---- */

/*
 * pcat_new(out, e): a catalog into out, which stays the caller's.  The root has
 * one directory an archive, named as its index is.
 * pcat_enter, pcat_leave: a directory.  pcat_add: anything else; size and mtime
 * (seconds) are those of files.  pcat_end: all is left; writes the rest, and
 * commits out.
 */
struct pcat *pcat_new(struct sink *, struct err *);
int  pcat_enter(struct pcat *, const char *, struct err *);
int  pcat_leave(struct pcat *, struct err *);
int  pcat_add(struct pcat *, enum entry_type, const char *, uint64_t, int64_t,
    struct err *);
int  pcat_end(struct pcat *, struct err *);
void pcat_free(struct pcat *);          /* NULL is fine */

/*
 * pcat_list(r, path, fn, arg, e): the entries directly in path ("" is the
 * root), in the order of the catalog; the entry has path, type, and for files
 * size and mtime.  Stops when fn returns not 0, and returns that.
 * CALA_NOTFOUND: no such directory.
 */
int pcat_list(struct ranged *, const char *, tree_fn *, void *, struct err *);

#endif
