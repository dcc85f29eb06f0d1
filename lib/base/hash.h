#ifndef CALA_BASE_HASH_H
#define CALA_BASE_HASH_H

/*
 * hash: SHA-256 (FIPS 180-4) over OpenSSL, the algorithm fetched once a
 * process (15 % on short inputs), and BLAKE2b-256 (RFC 7693, digest length 32
 * in the parameter block, no key) over libsodium.
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

/* sha256(p, n, out, e): all at once; 0, or -1 as sha256_new. */
int sha256(const void *, size_t, unsigned char [SHA256_LEN], struct err *);

/*
 * blake2b(p, n, out): BLAKE2b-256 of n bytes; may be called from any thread.
 * blake2b_new, _add, _end, _free: the same in pieces; _end makes the state
 * ready for a next one.
 */
struct blake2b;

enum { BLAKE2B_LEN = 32, BLAKE2B_HEX = 65 };

void blake2b(const void *, size_t, unsigned char [BLAKE2B_LEN]);
struct blake2b *blake2b_new(struct err *);
void blake2b_add(struct blake2b *, const void *, size_t);
void blake2b_end(struct blake2b *, unsigned char [BLAKE2B_LEN]);
void blake2b_free(struct blake2b *);    /* NULL is fine */

#endif
