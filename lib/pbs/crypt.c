#include "pbs/crypt.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/code.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/secret.h"

/* In memory: the key, and what signs and marks in its place. */
struct pbs_crypt {
	struct secret s;
	unsigned char print[PBS_DIGEST];
};

/* SHA-256 of "Proxmox Backup Encryption Key Fingerprint". */
static const unsigned char print_prefix[PBS_DIGEST] = {
	0x6e, 0xd0, 0xef, 0x77, 0x47, 0x1f, 0xff, 0x4d,
	0x55, 0xc7, 0xa8, 0xfe, 0x4a, 0x9d, 0xb6, 0x21,
	0x61, 0x40, 0x7f, 0x13, 0x4c, 0x72, 0x5d, 0xdf,
	0x30, 0x99, 0x2d, 0x25, 0xec, 0x45, 0xed, 0x26
};

static const unsigned char *
id_key(const struct pbs_crypt *c)
{
	return c->s.p + PBS_KEY;
}

struct pbs_crypt *
pbs_crypt_new(const unsigned char key[PBS_KEY], struct err *e)
{
	static const unsigned char salt[] = "_id_key";
	struct pbs_crypt *c = calloc(1, sizeof(*c));
	struct sha256 *h = NULL;

	if (c == NULL) {
		err_oom(e);
		return NULL;
	}
	if (secret_alloc(&c->s, (size_t)PBS_KEY + PBS_DIGEST, e) == -1 ||
	    (h = sha256_new(e)) == NULL)
		goto bad;
	memcpy(c->s.p, key, PBS_KEY);
	if (PKCS5_PBKDF2_HMAC((const char *)key, PBS_KEY, salt,
	    sizeof(salt) - 1, 10, EVP_sha256(), PBS_DIGEST,
	    c->s.p + PBS_KEY) != 1) {
		err_set(e, CALA_FAIL, "the key's id can't be computed");
		goto bad;
	}
	sha256_add(h, print_prefix, sizeof(print_prefix));
	sha256_add(h, id_key(c), PBS_DIGEST);
	sha256_end(h, c->print);
	sha256_free(h);
	return c;
bad:
	sha256_free(h);
	pbs_crypt_free(c);
	return NULL;
}

void
pbs_crypt_free(struct pbs_crypt *c)
{
	if (c == NULL)
		return;
	secret_free(&c->s);
	free(c);
}

const unsigned char *
pbs_crypt_key(const struct pbs_crypt *c)
{
	return c->s.p;
}

const unsigned char *
pbs_crypt_print(const struct pbs_crypt *c)
{
	return c->print;
}

void
pbs_crypt_digest(const struct pbs_crypt *c, struct sha256 *h, const void *p,
    size_t n, unsigned char out[PBS_DIGEST])
{
	sha256_add(h, p, n);
	if (c != NULL)
		sha256_add(h, id_key(c), PBS_DIGEST);
	sha256_end(h, out);
}

int
pbs_crypt_sign(const struct pbs_crypt *c, const void *p, size_t n,
    unsigned char out[PBS_DIGEST], struct err *e)
{
	unsigned len = 0;

	if (HMAC(EVP_sha256(), id_key(c), PBS_DIGEST, p, n, out, &len) ==
	    NULL || len != PBS_DIGEST)
		return err_set(e, CALA_FAIL, "HMAC-SHA256 failed");
	return 0;
}

/* A context for AES-256-GCM with Proxmox's IV length; NULL on failure. */
static EVP_CIPHER_CTX *
cipher(const unsigned char *key, const unsigned char *iv, int seal)
{
	EVP_CIPHER_CTX *x = EVP_CIPHER_CTX_new();

	if (x == NULL)
		return NULL;
	if (EVP_CipherInit_ex(x, EVP_aes_256_gcm(), NULL, NULL, NULL,
	    seal) == 1 &&
	    EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_SET_IVLEN, PBS_IV, NULL) ==
	    1 && EVP_CipherInit_ex(x, NULL, NULL, key, iv, seal) == 1)
		return x;
	EVP_CIPHER_CTX_free(x);
	return NULL;
}

int
pbs_seal(const unsigned char key[PBS_KEY], const unsigned char iv[PBS_IV],
    const void *p, size_t n, void *out, unsigned char tag[PBS_TAG],
    struct err *e)
{
	EVP_CIPHER_CTX *x = cipher(key, iv, 1);
	unsigned char rest[16];
	int len = 0, ok;

	ok = x != NULL && n <= INT_MAX &&
	    (n == 0 || EVP_CipherUpdate(x, out, &len, p, (int)n) == 1) &&
	    (size_t)len == n && EVP_CipherFinal_ex(x, rest, &len) == 1 &&
	    EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_GET_TAG, PBS_TAG, tag) == 1;
	EVP_CIPHER_CTX_free(x);
	return ok ? 0 : err_set(e, CALA_FAIL, "AES-256-GCM failed");
}

int
pbs_unseal(const unsigned char key[PBS_KEY], const unsigned char iv[PBS_IV],
    const unsigned char tag[PBS_TAG], const void *p, size_t n, void *out,
    struct err *e)
{
	EVP_CIPHER_CTX *x = cipher(key, iv, 0);
	unsigned char rest[16], copy[PBS_TAG];
	int len = 0, ok;

	memcpy(copy, tag, sizeof(copy));
	if (x == NULL || n > INT_MAX) {
		EVP_CIPHER_CTX_free(x);
		return err_set(e, CALA_FAIL, "AES-256-GCM failed");
	}
	ok = (n == 0 || EVP_CipherUpdate(x, out, &len, p, (int)n) == 1) &&
	    EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_SET_TAG, PBS_TAG, copy) ==
	    1 && EVP_CipherFinal_ex(x, rest, &len) == 1;
	EVP_CIPHER_CTX_free(x);
	if (ok)
		return 0;
	secret_wipe(out, n);
	return err_set(e, CALA_INTEGRITY, "it can't be decrypted: damaged, "
	    "or made with another key");
}

const char *
pbs_print_text(const unsigned char print[PBS_DIGEST], char out[PBS_PRINT])
{
	size_t i;

	for (i = 0; i < PBS_DIGEST; i++) {
		hex_put(print + i, 1, out + 3 * i);
		out[3 * i + 2] = i + 1 < PBS_DIGEST ? ':' : '\0';
	}
	return out;
}

int
pbs_print_get(const char *s, unsigned char out[PBS_DIGEST])
{
	char hex[2 * PBS_DIGEST + 1];
	size_t n = 0;

	for (; *s != '\0'; s++) {
		if (*s == ':')
			continue;
		if (n == sizeof(hex) - 1)
			return -1;
		hex[n++] = *s;
	}
	hex[n] = '\0';
	return n == sizeof(hex) - 1 ? hex_get(hex, PBS_DIGEST, out) : -1;
}
