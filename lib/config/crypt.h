#ifndef CALA_CONFIG_CRYPT_H
#define CALA_CONFIG_CRYPT_H

/*
 * crypt: secrets at rest (design: "Secrets at rest").
 *
 * A token is "enc:v1:" and base64url of key id (4 bytes), nonce (12),
 * ciphertext, tag (16): AES-256-GCM (NIST SP 800-38D).  The authenticated data
 * is the place where the value stands, kind NUL name NUL key, so that a token
 * does not open anywhere else.
 *
 * The key file has a line "cala-key-v1 HEX64" for each key, the current one
 * first; lines that begin with # are comments; a line "rotating" says that a
 * rotation has not ended.  A key's id is the first 4 bytes of the SHA-256 of
 * "cala key id" and the key.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/secret.h"

struct buf;
struct err;

#define CRYPT_PREFIX "enc:v1:"

enum {
	CRYPT_KEY = 32,
	CRYPT_ID = 4,
	CRYPT_ID_TEXT = 9,              /* hex, NUL */
	CRYPT_KEYS = 64                 /* at most in a file */
};

struct crypt_keys {
	struct secret keys;             /* n times CRYPT_KEY bytes */
	unsigned char id[CRYPT_KEYS][CRYPT_ID];
	size_t n;                       /* [0] is the current one */
	bool rotating;
};

#define CRYPT_KEYS_INIT { SECRET_INIT, { { 0 } }, 0, false }

/*
 * crypt_keys_read(k, path, e): CALA_AUTH when the file is open to others, a
 * hint when there is none, CALA_USAGE when it is no key file.
 */
int  crypt_keys_read(struct crypt_keys *, const char *, struct err *);
void crypt_keys_free(struct crypt_keys *);

/*
 * crypt_keys_write(k, path, fresh, e): atomically, mode 0600, owner and group
 * as the file had; fresh: CALA_EXISTS when there is one.
 * crypt_keys_new(k, e): a new random key becomes the current one.
 * crypt_keys_drop(k): forget all but the current one.
 */
int  crypt_keys_write(const struct crypt_keys *, const char *, bool,
    struct err *);
int  crypt_keys_new(struct crypt_keys *, struct err *);
void crypt_keys_drop(struct crypt_keys *);

/* The place of a value; name "" for [cala]. */
struct crypt_place {
	const char *kind, *name, *key;
};

/* crypt_seal(k, place, p, n, token, e): append the token for n bytes. */
int crypt_seal(const struct crypt_keys *, const struct crypt_place *,
    const void *, size_t, struct buf *, struct err *);

/*
 * crypt_open(k, place, token, out, e): CALA_AUTH when no key has its id or it
 * was made for another place; CALA_USAGE when it is no token.
 */
int crypt_open(const struct crypt_keys *, const struct crypt_place *,
    const char *, struct secret *, struct err *);

/* crypt_look(token, id, e): is it well-formed?  Its key id in hex, or NULL. */
int crypt_look(const char *, char *, struct err *);

#endif
