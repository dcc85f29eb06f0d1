#ifndef CALA_BASE_WHEN_H
#define CALA_BASE_WHEN_H

/*
 * when: times.  Machines get RFC 3339 in UTC, people local time with offset.
 */

#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum { WHEN_TEXT = 40 };

/*
 * when_now(): now.
 * when_utc(t, out): "2026-03-09T04:12:33Z", with ".123456789" before the Z
 * when nsec is not 0; years 0..9999, others print as year 9999 or 0.
 * when_local(t, out): "2026-03-09 04:12:33+0100".  Both return out.
 */
struct timespec when_now(void);
const char *when_utc(struct timespec, char [WHEN_TEXT]);
const char *when_local(struct timespec, char [WHEN_TEXT]);

/*
 * when_rfc3339(s, &t): the whole of s as RFC 3339 (any offset, up to nine
 * fractional digits).
 * when_parse(s, now, &t): as people write it: RFC 3339, "YYYY-MM-DD" or
 * "YYYY-MM-DD HH:MM[:SS]" (local), "@epoch", or a duration back from now
 * ("36h", "7d", "6M", "1y"; months and years by the calendar).
 * Both return 0, or -1 for anything else.
 */
int when_rfc3339(const char *, struct timespec *);
int when_parse(const char *, struct timespec, struct timespec *);

/* when_cmp(a, b): <0, 0, >0 */
int when_cmp(struct timespec, struct timespec);

/* when_mono(): seconds of a clock that never jumps. */
double when_mono(void);

#endif
