#ifndef CALA_PBS_KEYFILE_H
#define CALA_PBS_KEYFILE_H

/*
 * keyfile: the JSON file in which Proxmox's client keeps an encryption key, bare
 * or under a passphrase (scrypt, RFC 7914; older ones PBKDF2, RFC 8018).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/secret.h"
#include "pbs/crypt.h"

struct buf;
struct err;

enum {
	PBS_PASS_MIN = 5,       /* bytes of a passphrase */
	PBS_SALT_MAX = 64
};

enum pbs_kdf { PBS_KDF_NONE, PBS_KDF_SCRYPT, PBS_KDF_PBKDF2 };

struct pbs_keyfile {
	enum pbs_kdf kdf;
	uint64_t n, r, p;       /* scrypt; n: PBKDF2's iterations */
	unsigned char salt[PBS_SALT_MAX];
	size_t nsalt;
	struct timespec created, modified;
	struct secret data;     /* the key, or IV, tag and it sealed */
	bool has_print;
	unsigned char print[PBS_DIGEST];
	char *hint;             /* or NULL */
};

/*
 * pbs_keyfile_parse(f, p, n, e): of JSON from outside; f is initialised here.
 * Costs that no machine should pay are refused.  CALA_INTEGRITY.
 * pbs_keyfile_read(f, path, e): of a file, which must be closed to others as
 * every secret's (secret_read_file).
 * pbs_keyfile_fini: frees; fine for one that is all zero.
 */
int  pbs_keyfile_parse(struct pbs_keyfile *, const void *, size_t,
    struct err *);
int  pbs_keyfile_read(struct pbs_keyfile *, const char *, struct err *);
void pbs_keyfile_fini(struct pbs_keyfile *);

/*
 * pbs_keyfile_open(f, pass, &c, e): the key itself.  pass may be NULL when kdf is
 * none.  CALA_AUTH: it is needed, or wrong; CALA_INTEGRITY: the key is not the
 * one that the file's fingerprint tells of.
 */
int pbs_keyfile_open(const struct pbs_keyfile *, const struct secret *,
    struct pbs_crypt **, struct err *);

/*
 * pbs_keyfile_make(f, c, kdf, pass, hint, e): the file for a key; f is
 * initialised here; kdf is none or scrypt.  CALA_USAGE: the passphrase is too
 * short.
 * pbs_keyfile_put(f, out, e): the JSON, with newline, as the file holds it.
 */
int pbs_keyfile_make(struct pbs_keyfile *, const struct pbs_crypt *,
    enum pbs_kdf, const struct secret *, const char *, struct err *);
int pbs_keyfile_put(const struct pbs_keyfile *, struct secret *,
    struct err *);

#endif
