#ifndef CALA_ARCHIVE_READER_H
#define CALA_ARCHIVE_READER_H

/*
 * reader: what an archive is, by its first TAR_BLOCK bytes (fewer only when
 * there are no more).
 */

#include "archive/archive.h"

enum archive_sniff {
	SNIFF_EMPTY, SNIFF_UNKNOWN, SNIFF_TAR, SNIFF_WRAPPED, SNIFF_ZIP,
	SNIFF_7Z
};

enum archive_sniff archive_sniff(const unsigned char *, size_t,
    enum archive_format *);

#endif
