#ifndef CALA_ARCHIVE_LAR_H
#define CALA_ARCHIVE_LAR_H

/*
 * lar: zip and 7z through libarchive, which needs random access for both.
 */

#include "archive/archive.h"

struct zip_end;

/*
 * lar_reader(r, own, zip, limits, log, e): the entries of a zip (else 7z).
 * Its ends are checked before (CALA_INCOMPLETE when they are missing).
 * lar_facts(rd, f): as tarr_facts.
 */
struct reader *lar_reader(struct ranged *, bool, bool,
    const struct archive_read *, struct log *, struct err *);
void lar_facts(struct reader *, struct archive_facts *);

/*
 * zip_end(tail, n, size, &z): the end of central directory record in the last
 * n bytes of a zip of size bytes (APPNOTE 4.3.14-16).  0; 1 when there is none
 * or what it says does not fit size: cut short.
 * zip_facts: what a comment of ours in it says; -1 when it is malformed.
 */
struct zip_end {
	uint64_t entries, dir, dir_len;
	bool wide;                      /* zip64: entries is all of 64 bits */
	const unsigned char *comment;   /* in tail */
	size_t comment_len;
};
enum { ZIP_TAIL = 22 + 65535 + 20 + 56 };
int zip_end(const unsigned char *, size_t, uint64_t, struct zip_end *);
int zip_facts(const struct zip_end *, struct archive_facts *);

/*
 * sevenz_end(head, &whole): the 32 bytes a 7z begins with say that the file has
 * *whole bytes; -1 when their CRC is wrong or they make no sense.
 */
int sevenz_end(const unsigned char [32], uint64_t *);

#endif
