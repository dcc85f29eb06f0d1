#ifndef CALA_PBS_CRYPT_H
#define CALA_PBS_CRYPT_H

/*
 * crypt: client-side encryption as Proxmox's client does it: AES-256-GCM with
 * 16-byte IVs and no associated data (NIST SP 800-38D), and what is derived from
 * the 32-byte key to name and to sign things without telling it.
 */

#include <stddef.h>

struct err;
struct sha256;

enum {
	PBS_KEY = 32,
	PBS_DIGEST = 32,        /* SHA-256: of chunks, files, keys */
	PBS_IV = 16,
	PBS_TAG = 16,
	PBS_PRINT = 96          /* a fingerprint as text, with NUL */
};

/*
 * A key with all that is derived from it; never changes, so that any thread may
 * use it.
 *
 * pbs_crypt_new(key, e): of the 32 bytes of a key, which are copied to memory
 * that leaves no trace.  NULL on failure.
 * pbs_crypt_free: NULL is fine.
 * pbs_crypt_key(c), pbs_crypt_print(c): the key; its fingerprint: both lent.
 */
struct pbs_crypt;

struct pbs_crypt *pbs_crypt_new(const unsigned char [PBS_KEY], struct err *);
void pbs_crypt_free(struct pbs_crypt *);
const unsigned char *pbs_crypt_key(const struct pbs_crypt *);
const unsigned char *pbs_crypt_print(const struct pbs_crypt *);

/*
 * pbs_crypt_digest(c, h, p, n, out): the digest by which a chunk is known: SHA-256
 * of its n bytes, and of the key's id behind them; c NULL: of the bytes alone.
 * h is a scratch of the calling thread.
 * pbs_crypt_sign(c, p, n, out, e): HMAC-SHA256 with the key's id.
 */
void pbs_crypt_digest(const struct pbs_crypt *, struct sha256 *, const void *,
    size_t, unsigned char [PBS_DIGEST]);
int pbs_crypt_sign(const struct pbs_crypt *, const void *, size_t,
    unsigned char [PBS_DIGEST], struct err *);

/*
 * pbs_seal(key, iv, p, n, out, tag, e): encrypt n <= INT_MAX bytes into out,
 * which may be p.
 * pbs_unseal(key, iv, tag, p, n, out, e): the reverse.  CALA_INTEGRITY when the
 * tag is wrong: then nothing in out may be used (it is overwritten).
 */
int pbs_seal(const unsigned char [PBS_KEY], const unsigned char [PBS_IV],
    const void *, size_t, void *, unsigned char [PBS_TAG], struct err *);
int pbs_unseal(const unsigned char [PBS_KEY], const unsigned char [PBS_IV],
    const unsigned char [PBS_TAG], const void *, size_t, void *,
    struct err *);

/*
 * pbs_print_text(print, out): "0e:ab:…"; returns out.
 * pbs_print_get(s, out): the reverse; any case, colons are dropped.  -1 when
 * these are not 32 bytes.
 */
const char *pbs_print_text(const unsigned char [PBS_DIGEST],
    char [PBS_PRINT]);
int pbs_print_get(const char *, unsigned char [PBS_DIGEST]);

#endif
