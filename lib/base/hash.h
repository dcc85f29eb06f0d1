#ifndef CALA_BASE_HASH_H
#define CALA_BASE_HASH_H

/*
 * hash: SHA-256 (FIPS 180-4) over OpenSSL, the algorithm fetched once a
 * process (15 % on short inputs).
 */

#include <stddef.h>

struct sha256;
struct err;

enum { SHA256_LEN = 32, SHA256_HEX = 65 };

/* sha256_new(e): NULL when OpenSSL has none or without memory. */
struct sha256 *sha256_new(struct err *);
void sha256_add(struct sha256 *, const void *, size_t);
/* sha256_end(h, out): the digest; h is ready for a next one. */
void sha256_end(struct sha256 *, unsigned char [SHA256_LEN]);
void sha256_free(struct sha256 *);

#endif
