#ifndef CALA_PBS_BLOB_H
#define CALA_PBS_BLOB_H

/*
 * blob: the DataBlob, in which every chunk and every small file is sent and kept:
 * 8 bytes that say which kind it is, CRC-32 of what is behind the header, for
 * encrypted ones IV and tag, and the bytes, compressed by zstd where that helps.
 */

#include <stdbool.h>
#include <stddef.h>

#include "pbs/crypt.h"

struct buf;
struct err;
struct pbs_crypt;

enum {
	PBS_CHUNK_MAX = 16 << 20,       /* decoded bytes of a chunk */
	PBS_BLOB_HEAD = 12,
	PBS_BLOB_SEALED = 44,           /* header of an encrypted one */
	PBS_BLOB_MAX = PBS_CHUNK_MAX + PBS_BLOB_SEALED, /* on the wire */
	PBS_BLOB_ROOM = PBS_BLOB_SEALED /* header bytes of any kind at most */
};

/*
 * A coder is what one thread needs to make and open blobs: contexts of zstd and
 * SHA-256.
 *
 * pbs_coder_new(c, level, e): with the key c, which is borrowed; NULL: nothing
 * is encrypted, and nothing encrypted can be opened.  level is zstd's; 0: 1,
 * which is what Proxmox uses.
 * pbs_coder_digest(k, p, n, out): of a chunk, with the key if there is one.
 */
struct pbs_coder;

struct pbs_coder *pbs_coder_new(const struct pbs_crypt *, int, struct err *);
void pbs_coder_free(struct pbs_coder *);        /* NULL is fine */
void pbs_coder_digest(struct pbs_coder *, const void *, size_t,
    unsigned char [PBS_DIGEST]);

/*
 * pbs_blob_make(k, p, n, out, &len, e): the n <= PBS_CHUNK_MAX bytes at p as a
 * blob in out, which has room for n + PBS_BLOB_ROOM bytes.
 * pbs_blob_pack(k, p, n, spare, &b, e): the same in two pieces, without a copy:
 * what follows the header is in spare when it was compressed, which has room for
 * n bytes, else at p, where it was encrypted in place if there is a key.  spare
 * NULL: it is not compressed.
 * pbs_blob_sealed(p, n): is it an encrypted one?
 */
struct pbs_blob {
	unsigned char head[PBS_BLOB_ROOM];
	size_t nhead;
	void *body;
	size_t nbody;
};
int pbs_blob_pack(struct pbs_coder *, void *, size_t, void *,
    struct pbs_blob *, struct err *);
int pbs_blob_make(struct pbs_coder *, const void *, size_t, void *, size_t *,
    struct err *);
bool pbs_blob_sealed(const void *, size_t);

/*
 * pbs_blob_open(k, p, n, out, e): append what the blob holds to out; more than
 * out->max allows is an error.
 * pbs_chunk_open(k, p, n, digest, out, len, e): a chunk: exactly len bytes, into
 * out, whose digest is compared.  The blob is used up: it is decrypted in place.
 * Both: it must be encrypted if k has a key, and must not be if it has none
 * (pbs.md §5.3); CALA_INTEGRITY when it is not so, or damaged, or no blob.
 */
int pbs_blob_open(struct pbs_coder *, const void *, size_t, struct buf *,
    struct err *);
int pbs_chunk_open(struct pbs_coder *, void *, size_t,
    const unsigned char [PBS_DIGEST], void *, size_t, struct err *);

#endif
