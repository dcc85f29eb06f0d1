#include "pbs/blob.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <libdeflate.h>
#include <openssl/rand.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/hash.h"

enum {
	MAGIC = 8,
	KINDS = 4,
	ZSTD = 1, SEALED = 2,           /* bits of a kind */
	LEVEL = 1,                      /* as Proxmox's client */
	WINDOW_LOG = 24,                /* no blob on the wire is larger */
	STEP = 128 << 10                /* of what is decoded at once */
};

/* By kind; first bytes of the SHA-256 of a sentence each. */
static const unsigned char magics[KINDS][MAGIC] = {
	{ 0x42, 0xab, 0x38, 0x07, 0xbe, 0x83, 0x70, 0xa1 },
	{ 0x31, 0xb9, 0x58, 0x42, 0x6f, 0xb6, 0xa3, 0x7f },
	{ 0x7b, 0x67, 0x85, 0xbe, 0x22, 0x2d, 0x4c, 0xf0 },
	{ 0xe6, 0x59, 0x1b, 0xbf, 0x0b, 0xbf, 0xd8, 0x0b }
};

struct pbs_coder {
	const struct pbs_crypt *crypt;
	struct sha256 *sha;
	ZSTD_CCtx *zip;
	ZSTD_DCtx *unzip;
	unsigned char *plain;           /* decrypted, still compressed */
	size_t room;
};

struct pbs_coder *
pbs_coder_new(const struct pbs_crypt *c, int level, struct err *e)
{
	struct pbs_coder *k = calloc(1, sizeof(*k));

	if (k == NULL) {
		err_oom(e);
		return NULL;
	}
	k->crypt = c;
	if ((k->sha = sha256_new(e)) == NULL)
		goto bad;
	if ((k->zip = ZSTD_createCCtx()) == NULL ||
	    (k->unzip = ZSTD_createDCtx()) == NULL) {
		err_oom(e);
		goto bad;
	}
	if (ZSTD_isError(ZSTD_CCtx_setParameter(k->zip,
	    ZSTD_c_compressionLevel, level != 0 ? level : LEVEL)) ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(k->unzip,
	    ZSTD_d_windowLogMax, WINDOW_LOG))) {
		err_set(e, CALA_FAIL, "zstd refuses its parameters");
		goto bad;
	}
	return k;
bad:
	pbs_coder_free(k);
	return NULL;
}

void
pbs_coder_free(struct pbs_coder *k)
{
	if (k == NULL)
		return;
	sha256_free(k->sha);
	ZSTD_freeCCtx(k->zip);
	ZSTD_freeDCtx(k->unzip);
	free(k->plain);
	free(k);
}

void
pbs_coder_digest(struct pbs_coder *k, const void *p, size_t n,
    unsigned char out[PBS_DIGEST])
{
	pbs_crypt_digest(k->crypt, k->sha, p, n, out);
}

/* Smaller, in out: its length; 0: it is not worth it. */
static size_t
zip(struct pbs_coder *k, const void *p, size_t n, void *out)
{
	size_t z = n > 1 ? ZSTD_compress2(k->zip, out, n - 1, p, n) : 0;

	return ZSTD_isError(z) ? 0 : z;
}

/* Encrypt body in place if there is a key, and make the header. */
static int
top_off(struct pbs_coder *k, unsigned kind, void *body, size_t n,
    unsigned char *head, size_t *nhead, struct err *e)
{
	*nhead = PBS_BLOB_HEAD;
	if (k->crypt != NULL) {
		kind |= SEALED;
		*nhead = PBS_BLOB_SEALED;
		if (RAND_bytes(head + PBS_BLOB_HEAD, PBS_IV) != 1)
			return err_set(e, CALA_FAIL, "there is no randomness");
		if (pbs_seal(pbs_crypt_key(k->crypt), head + PBS_BLOB_HEAD,
		    body, n, body, head + PBS_BLOB_HEAD + PBS_IV, e) == -1)
			return -1;
	}
	memcpy(head, magics[kind], MAGIC);
	put_le32(head + MAGIC, libdeflate_crc32(0, body, n));
	return 0;
}

int
pbs_blob_pack(struct pbs_coder *k, void *p, size_t n, void *spare,
    struct pbs_blob *b, struct err *e)
{
	size_t z = spare != NULL ? zip(k, p, n, spare) : 0;

	b->body = z > 0 ? spare : p;
	b->nbody = z > 0 ? z : n;
	return top_off(k, z > 0 ? ZSTD : 0, b->body, b->nbody, b->head,
	    &b->nhead, e);
}

int
pbs_blob_make(struct pbs_coder *k, const void *p, size_t n, void *to,
    size_t *len, struct err *e)
{
	size_t head = k->crypt != NULL ? PBS_BLOB_SEALED : PBS_BLOB_HEAD, z;
	unsigned char *out = to;

	if ((z = zip(k, p, n, out + head)) > 0)
		n = z;
	else
		memcpy(out + head, p, n);
	*len = head + n;
	return top_off(k, z > 0 ? ZSTD : 0, out + head, n, out, &head, e);
}

static int
bad(struct err *e, const char *what)
{
	return err_set(e, CALA_INTEGRITY, "blob: %s", what);
}

/* Which kind of blob is it, and where are its bytes? */
static int
look(const unsigned char *p, size_t n, unsigned *kind,
    const unsigned char **body, size_t *len, struct err *e)
{
	unsigned i;
	size_t head;

	if (n < PBS_BLOB_HEAD)
		return bad(e, "too short");
	for (i = 0; i < KINDS && memcmp(p, magics[i], MAGIC) != 0; i++)
		;
	if (i == KINDS)
		return bad(e, "it is none");
	head = i & SEALED ? PBS_BLOB_SEALED : PBS_BLOB_HEAD;
	if (n < head)
		return bad(e, "too short");
	if (libdeflate_crc32(0, p + head, n - head) != get_le32(p + MAGIC))
		return bad(e, "wrong checksum");
	*kind = i;
	*body = p + head;
	*len = n - head;
	return 0;
}

bool
pbs_blob_sealed(const void *p, size_t n)
{
	return n >= PBS_BLOB_SEALED && (memcmp(p, magics[SEALED], MAGIC) == 0 ||
	    memcmp(p, magics[SEALED | ZSTD], MAGIC) == 0);
}

static int
unseal(struct pbs_coder *k, const unsigned char *blob,
    const unsigned char *body, size_t n, void *out, struct err *e)
{
	return pbs_unseal(pbs_crypt_key(k->crypt), blob + PBS_BLOB_HEAD,
	    blob + PBS_BLOB_HEAD + PBS_IV, body, n, out, e);
}

/* Decrypted into k->plain; *body is there then. */
static int
unseal_own(struct pbs_coder *k, const unsigned char *blob,
    const unsigned char **body, size_t n, struct err *e)
{
	unsigned char *more;

	if (n > k->room) {
		if ((more = realloc(k->plain, n)) == NULL)
			return err_oom(e);
		k->plain = more;
		k->room = n;
	}
	if (unseal(k, blob, *body, n, k->plain, e) == -1)
		return -1;
	*body = k->plain;
	return 0;
}

/* All frames of n bytes, appended to out. */
static int
unzip(struct pbs_coder *k, const void *p, size_t n, struct buf *out,
    struct err *e)
{
	ZSTD_inBuffer in = { p, n, 0 };
	ZSTD_outBuffer to;
	unsigned char beyond;
	size_t left, room;

	ZSTD_DCtx_reset(k->unzip, ZSTD_reset_session_only);
	/* More may be inside after all was read. */
	do {
		room = out->max - out->len < STEP ? out->max - out->len : STEP;
		/* Not one byte more than allowed; one is tried. */
		to.size = room > 0 ? room : 1;
		to.pos = 0;
		to.dst = &beyond;
		if (room > 0 && (to.dst = buf_room(out, room)) == NULL)
			return err_oom(e);
		left = ZSTD_decompressStream(k->unzip, &to, &in);
		if (ZSTD_isError(left))
			return bad(e, ZSTD_getErrorName(left));
		if (to.pos > room)
			return bad(e, "it holds more than allowed");
		if (to.pos > 0)
			buf_grown(out, to.pos);
	} while (in.pos < n || (left > 0 && to.pos == to.size));
	return left == 0 ? 0 : bad(e, "cut short");
}

/* What is among encrypted ones must be encrypted, and nothing else may be. */
static int
suits(const struct pbs_coder *k, unsigned kind, struct err *e)
{
	if (kind & SEALED && k->crypt == NULL)
		return bad(e, "it is encrypted as it should not be");
	if (!(kind & SEALED) && k->crypt != NULL)
		return bad(e, "it is not encrypted as it should be");
	return 0;
}

int
pbs_blob_open(struct pbs_coder *k, const void *p, size_t n, struct buf *out,
    struct err *e)
{
	const unsigned char *body;
	unsigned kind;
	size_t len;

	if (look(p, n, &kind, &body, &len, e) == -1 || suits(k, kind, e) == -1)
		return -1;
	if (kind & SEALED && unseal_own(k, p, &body, len, e) == -1)
		return -1;
	if (kind & ZSTD)
		return unzip(k, body, len, out, e);
	if (len > out->max - out->len)
		return bad(e, "it holds more than allowed");
	return buf_add(out, body, len) == 0 ? 0 : err_oom(e);
}

int
pbs_chunk_open(struct pbs_coder *k, void *p, size_t n,
    const unsigned char digest[PBS_DIGEST], void *out, size_t len,
    struct err *e)
{
	unsigned char is[PBS_DIGEST], *plain;
	const unsigned char *body;
	unsigned kind;
	size_t have, got;

	if (look(p, n, &kind, &body, &have, e) == -1 ||
	    suits(k, kind, e) == -1)
		return -1;
	if (kind & ZSTD) {
		plain = (unsigned char *)p + (n - have);
		if (kind & SEALED && unseal(k, p, body, have, plain, e) == -1)
			return -1;
		got = ZSTD_decompressDCtx(k->unzip, out, len, body, have);
		if (ZSTD_isError(got))
			return bad(e, ZSTD_getErrorName(got));
	} else {
		if (have != len)
			return bad(e, "it holds another length than the index "
			    "says");
		if (kind & SEALED) {
			if (unseal(k, p, body, have, out, e) == -1)
				return -1;
		} else {
			memcpy(out, body, len);
		}
		got = len;
	}
	if (got != len)
		return bad(e, "it holds another length than the index says");
	pbs_coder_digest(k, out, len, is);
	return memcmp(is, digest, PBS_DIGEST) == 0 ? 0 :
	    bad(e, "it holds other bytes than the index says");
}
