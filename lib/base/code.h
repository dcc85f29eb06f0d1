#ifndef CALA_BASE_CODE_H
#define CALA_BASE_CODE_H

/*
 * code: bytes as text: hex, base64 (RFC 4648 §4) and base64url without
 * padding (§5).
 */

#include <stddef.h>

struct buf;

/*
 * hex_put(p, n, out): 2n lower-case digits and a NUL into out.
 * hex_get(s, n, out): exactly 2n digits of s into n bytes; -1 on others.
 */
void hex_put(const void *, size_t, char *);
int  hex_get(const char *, size_t, void *);

/* Append n bytes encoded; failures stick in the buffer. */
void b64_put(struct buf *, const void *, size_t);
void b64url_put(struct buf *, const void *, size_t);

/*
 * Append the decoded bytes of the n characters at s.  -1 on any character
 * outside the alphabet, wrong padding or stray bits (nothing is appended), or
 * when the buffer failed.
 */
int  b64_get(struct buf *, const char *, size_t);
int  b64url_get(struct buf *, const char *, size_t);

#endif
