#ifndef CALA_ARCHIVE_LAW_H
#define CALA_ARCHIVE_LAW_H

/*
 * law: what libarchive writes for us: xz, lzip, bzip2 and lz4 streams around
 * our tar, and zip and 7z.
 */

#include "archive/archive.h"

/*
 * law_writer(out, how, level, sum, log, e): zip or 7z; sum is counted up.  zip
 * ends in a comment that is our inner end mark; 7z, whose header says its own
 * length and checksum, goes through an unlinked file in how->tmp_dir.
 */
struct writer *law_writer(struct sink *, const struct archive_write *, int,
    struct archive_sum *, struct log *, struct err *);

/*
 * law_filter(next, format, level, e): one single stream around what is
 * written, for readers that stop after the first.  next is borrowed; commit
 * ends the stream and commits next.
 */
struct sink *law_filter(struct sink *, enum archive_format, int,
    struct err *);

/* archive_strict(how, log, e): -1 when a warning forbids the end (pack.c). */
int archive_strict(const struct archive_write *, struct log *,
    struct err *);

/* law_memory(how, level): what the process may reach for zip and 7z. */
uint64_t law_memory(const struct archive_write *, int);

#endif
