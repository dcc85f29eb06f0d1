#ifndef CALA_BASE_UUID_H
#define CALA_BASE_UUID_H

/* uuid: RFC 9562 identifiers as 36-character lower-case text. */

#include <stdbool.h>

struct err;

enum { UUID_TEXT = 37 };        /* with NUL */

/*
 * uuid_ok(s): is s exactly one UUID, hyphenated?  Upper case is accepted.
 * uuid_norm(s, out): the same, lower-cased into out; -1 when it is none.
 */
bool uuid_ok(const char *);
int  uuid_norm(const char *, char [UUID_TEXT]);

/* uuid_new(out, e): a random (version 4) one.  -1 without randomness. */
int  uuid_new(char [UUID_TEXT], struct err *);

/*
 * uuid_named(name, out): the version 5 UUID of a server's name, in cala's
 * namespace (the version 5 UUID of "cala" in the DNS namespace), so that a
 * server without uuid = has the same one on every machine.
 */
void uuid_named(const char *, char [UUID_TEXT]);

/*
 * uuid_prefix(s): could s (at least 4 characters of hex and hyphens in the
 * right places) begin a UUID?
 */
bool uuid_prefix(const char *);

#endif
