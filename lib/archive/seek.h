#ifndef CALA_ARCHIVE_SEEK_H
#define CALA_ARCHIVE_SEEK_H

/*
 * seek: the tar inside an indexed archive, from any offset on.  Each frame is
 * compared with its XXH64 before a byte of it is handed out.
 */

#include "archive/index.h"
#include "archive/tarr.h"

/*
 * seek_source(x, jobs, e): from 0; x is borrowed.  Who reads on from frame to
 * frame gets the next ones decoded ahead by jobs threads (0: cores), at most
 * three frames at a time.  seek_to: a tarr_seek for it.
 */
struct source *seek_source(struct index *, unsigned, struct err *);
tarr_seek seek_to;

#endif
