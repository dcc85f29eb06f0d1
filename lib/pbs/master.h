#ifndef CALA_PBS_MASTER_H
#define CALA_PBS_MASTER_H

/*
 * master: an encryption key sealed for whoever has the master key, as Proxmox's
 * client stores it beside a backup (pbs.md §6.5).
 */

struct buf;
struct err;
struct pbs_crypt;

/* Plain, for by it the key is got back, though its mode is the others'. */
#define PBS_MASTER "rsa-encrypted.key.blob"

/*
 * pbs_master_seal(pem, c, out, e): the key c, as a key file without passphrase,
 * encrypted by RSA (PKCS#1 v1.5, RFC 8017 §7.2) to the public key in the file
 * pem, appended to out.  CALA_USAGE: no such file, no RSA public key, or one too
 * short to hold it.
 */
int pbs_master_seal(const char *, const struct pbs_crypt *, struct buf *,
    struct err *);

#endif
