#ifndef CALA_FRONT_REPORT_H
#define CALA_FRONT_REPORT_H

/*
 * report: what a run came to, as one JSON object on a line, for --report and
 * --report-fd.  Between begin and end a tool adds its own members to ->j.
 */

#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/json.h"

struct err;
struct log;

struct front_report {
	struct buf b;
	struct jw j;
};

/*
 * front_report_begin(r, log, bad): v, type, ok, code, and the error; bad is
 * NULL for a run that has done its work, which makes 3 of kept warnings.
 * front_report_warnings(r, log): warnings_count, warnings.
 * front_report_end(r, path, fd, e): the end, written to the descriptor fd
 * (UINT64_MAX: none) and, whole or not at all, to the file path (NULL: none).
 * front_report_print(r, out, what, e): the end, printed on out, which messages
 *   call what: for --json of a tool that prints nothing else there.
 * Both free r whatever comes of it.
 */
void front_report_begin(struct front_report *, struct log *,
    const struct err *);
void front_report_warnings(struct front_report *, struct log *);
int  front_report_print(struct front_report *, FILE *, const char *,
    struct err *);
int  front_report_end(struct front_report *, const char *, uint64_t,
    struct err *);

#endif
