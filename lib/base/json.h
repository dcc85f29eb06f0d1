#ifndef CALA_BASE_JSON_H
#define CALA_BASE_JSON_H

/*
 * json: writing (struct jw) is ours (compact, one document or one line, straight
 * into a struct buf); reading is jansson's, with limits.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <jansson.h>

struct buf;
struct err;

/*
 * A writer keeps track of commas; keys are NULL inside arrays and at the top.
 *
 *	jw_begin(&j, &b);
 *	jw_open(&j, NULL, '{');
 *	jw_str(&j, "uuid", u);
 *	jw_close(&j, '}');
 *
 * Failures stick in the buffer: check buf_failed() once.
 */
struct jw {
	struct buf *b;
	bool comma;
};

void jw_begin(struct jw *, struct buf *);
void jw_open(struct jw *, const char *, char);      /* '{' or '[' */
void jw_close(struct jw *, char);                   /* '}' or ']' */
void jw_str(struct jw *, const char *, const char *);
void jw_u64(struct jw *, const char *, uint64_t);
void jw_i64(struct jw *, const char *, int64_t);
void jw_real(struct jw *, const char *, double);    /* 3 decimals */
void jw_bool(struct jw *, const char *, bool);
void jw_null(struct jw *, const char *);
void jw_time(struct jw *, const char *, struct timespec);

/*
 * jw_bytes(j, key, p, n): a byte string.  What is not UTF-8 is written with
 * U+FFFD for each bad byte, and a second member KEY_b64 carries the exact
 * bytes in base64.
 */
void jw_bytes(struct jw *, const char *, const void *, size_t);

/*
 * json_parse(p, n, what, e): a document of at most n bytes from outside
 * (duplicate keys refused, jansson's depth limit of 2048 applies).  Returns a
 * new reference, or NULL with CALA_INTEGRITY; what names it in the message.
 */
json_t *json_parse(const void *, size_t, const char *, struct err *);

/*
 * Members of an object by name.  get_str: NULL when absent or no string.
 * get_u64: def when absent, negative or no integer.
 */
const char *json_get_str(const json_t *, const char *);
uint64_t json_get_u64(const json_t *, const char *, uint64_t);
bool json_get_bool(const json_t *, const char *, bool);

#endif
