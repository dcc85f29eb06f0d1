#ifndef CALA_ARCHIVE_ARCHIVE_H
#define CALA_ARCHIVE_ARCHIVE_H

/*
 * archive: tar, zip and 7z, plain and compressed, as writer, reader and tree;
 * and the proof that a stream is whole.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "entry/entry.h"

struct sink;
struct source;
struct ranged;
struct log;
struct err;

enum archive_format {
	ARCHIVE_TAR, ARCHIVE_TAR_GZ, ARCHIVE_TAR_XZ, ARCHIVE_TAR_LZ,
	ARCHIVE_TAR_BZ2, ARCHIVE_TAR_LZ4, ARCHIVE_TAR_ZST, ARCHIVE_ZIP,
	ARCHIVE_7Z, ARCHIVE_FORMATS
};

/*
 * What a format is called: ext "tar.zst"; calagopus "tar_zstd"; mime as
 * Calagopus sends it for downloads; level limits and default (all 0: none).
 */
struct archive_info {
	const char *ext, *calagopus, *mime;
	int level_min, level_max, level_def;
};
extern const struct archive_info archive_info[ARCHIVE_FORMATS];

/*
 * archive_word(name, &f): by extension ("tar.zst", ".tar.zst", "tzst", …),
 * compression word ("zstd") or Calagopus name.  -1 when unknown.
 * archive_level(f, text, &level): a number in range, or best_speed, good_speed,
 * good_compression, best_compression (hyphens too).  -1 when it is neither.
 * archive_by_name(file, &f): from a file name's ending.
 */
int archive_word(const char *, enum archive_format *);
int archive_level(enum archive_format, const char *, int *);
int archive_by_name(const char *, enum archive_format *);

struct archive_write {
	enum archive_format format;
	int level;              /* INT_MIN: the default */
	unsigned jobs;          /* 0: cores */
	uint64_t memory;        /* of the process; 0: default */
	bool index, trailer;
	bool foreign;           /* no cala marks: what any tar would write */
	bool wings;             /* profile = wings: only what Wings can read */
	bool strict;            /* commit fails when log has warnings */
	const char *tmp_dir;    /* unlinked files; NULL: /var/tmp */
};

/*
 * archive_writer(out, how, log, e): entries into an archive.  commit writes the
 * end marks, which say how many warnings log has counted (partial), then
 * commits out; abort never writes an end mark.  out stays the caller's.
 */
struct writer *archive_writer(struct sink *, const struct archive_write *,
    struct log *, struct err *);

/* archive_writer_sum(w): what was taken so far, as the end marks count it. */
struct archive_sum {
	uint64_t entries;
	uint64_t files;         /* all but directories */
	uint64_t size;          /* logical bytes of files */
};
const struct archive_sum *archive_writer_sum(const struct writer *);

/*
 * What is known of an archive stream when it has ended.
 */
enum archive_proof {
	PROOF_NONE,             /* ended without an end: truncated */
	PROOF_FOREIGN,          /* an archive's own end was seen */
	PROOF_INNER,            /* cala's inner end mark */
	PROOF_TRAILER,          /* CALAEOS1 frame, count and SHA-256 right */
	PROOF_INDEX,            /* index, checked against the bytes */
	PROOF_WRONG             /* a proof that contradicts the bytes */
};

struct archive_facts {
	enum archive_proof proof;
	bool cala;              /* begins with our pax global header */
	enum archive_format format;
	bool known;             /* is any archive we know */
	bool partial;
	uint64_t warnings;      /* as the producer counted */
	bool counted;           /* the three below are known */
	uint64_t files, entries, size;
	const char *why;        /* for NONE and WRONG: what is missing */
};

/*
 * The proof of a stream passing by (design: "Proof of completeness").
 * proof_feed takes every byte in order; it decodes on a thread of its own where
 * decoding is needed, and never holds more than a few MiB.  decode: also count
 * entries and bytes and see inner end marks where the index alone would do.
 * proof_end waits and fills in facts; it returns -1 only when it could not
 * work (no memory, CALA_NOSPACE: less than decoding needs), not for a bad
 * stream.  proof_memory: as archive_read's memory; before the first byte.
 * proof_lax: bytes that are no archive need no proof; they are neither hashed
 * nor looked at; before the first byte.
 */
struct proof;
struct proof *proof_new(bool decode, struct err *);
int  proof_feed(struct proof *, const void *, size_t, struct err *);
int  proof_end(struct proof *, struct archive_facts *, struct err *);
void proof_memory(struct proof *, uint64_t);
void proof_lax(struct proof *);
void proof_free(struct proof *);        /* NULL is fine */

/*
 * archive_reader(in, opts, log, e): the entries of any archive on a stream;
 * format and compression are recognised by their bytes (all of the formats
 * above, and what tar, bsdtar, zip, 7z and Wings write).  zip and 7z on a pipe
 * go through an unlinked spool file (at most spool bytes), said at -v.  next()
 * answers 0 only when the end of a whole archive was seen: a cut one is an
 * error (CALA_INCOMPLETE for one of ours or a tar without its end,
 * CALA_INTEGRITY for damage).  in stays the caller's.
 */
struct archive_read {
	unsigned jobs;          /* 0: cores */
	uint64_t max_size;      /* sum of contents at most; 0: no limit */
	uint64_t max_entries;   /* 0: no limit */
	uint64_t spool;         /* 0: default 64 GiB */
	const char *spool_dir;  /* NULL: /var/tmp */
	uint64_t memory;        /* a decoder of xz, lzip may take; 0: default */
};
struct reader *archive_reader(struct source *, const struct archive_read *,
    struct log *, struct err *);
/* archive_reader_facts(r, f): what is known; after next() answered 0 or -1. */
void archive_reader_facts(struct reader *, struct archive_facts *);

/*
 * archive_reader_at(r, …): the same from a file or object, where zip and 7z
 * need no spool.  archive_tree(r, …): random access: indexed tar.zst and
 * tar.gz, zip, 7z; others are scanned once from the start into a list (said at
 * -v), and opened by decoding up to the file.  r stays the caller's.
 */
struct reader *archive_reader_at(struct ranged *, const struct archive_read *,
    struct log *, struct err *);
struct tree *archive_tree(struct ranged *, const struct archive_read *,
    struct log *, struct err *);

#endif
