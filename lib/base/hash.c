#include "base/hash.h"

#include <pthread.h>
#include <stdlib.h>

#include <openssl/evp.h>
#include <sodium.h>

#include "base/err.h"

struct sha256 {
	EVP_MD_CTX *ctx;
};

static EVP_MD *md;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
fetch(void)
{
	md = EVP_MD_fetch(NULL, "SHA256", NULL);
}

struct sha256 *
sha256_new(struct err *e)
{
	struct sha256 *h;

	pthread_once(&once, fetch);
	if ((h = calloc(1, sizeof(*h))) == NULL ||
	    (h->ctx = EVP_MD_CTX_new()) == NULL || md == NULL ||
	    EVP_DigestInit_ex2(h->ctx, md, NULL) != 1) {
		sha256_free(h);
		err_set(e, CALA_FAIL, "SHA-256: OpenSSL can't provide it");
		return NULL;
	}
	return h;
}

void
sha256_add(struct sha256 *h, const void *p, size_t n)
{
	EVP_DigestUpdate(h->ctx, p, n);
}

void
sha256_end(struct sha256 *h, unsigned char out[SHA256_LEN])
{
	EVP_DigestFinal_ex(h->ctx, out, NULL);
	EVP_DigestInit_ex2(h->ctx, NULL, NULL);
}

void
sha256_free(struct sha256 *h)
{
	if (h == NULL)
		return;
	EVP_MD_CTX_free(h->ctx);
	free(h);
}

int
sha256(const void *p, size_t n, unsigned char out[SHA256_LEN], struct err *e)
{
	struct sha256 *h = sha256_new(e);

	if (h == NULL)
		return -1;
	sha256_add(h, p, n);
	sha256_end(h, out);
	sha256_free(h);
	return 0;
}

/* The state wants an alignment that malloc does not promise. */
struct blake2b {
	crypto_generichash_state *state;
};

static pthread_once_t sodium_once = PTHREAD_ONCE_INIT;

/* Picks the fastest implementation that this processor can run. */
static void
sodium_begin(void)
{
	(void)!sodium_init();
}

void
blake2b(const void *p, size_t n, unsigned char out[BLAKE2B_LEN])
{
	pthread_once(&sodium_once, sodium_begin);
	crypto_generichash(out, BLAKE2B_LEN, p, n, NULL, 0);
}

struct blake2b *
blake2b_new(struct err *e)
{
	struct blake2b *h = calloc(1, sizeof(*h));

	pthread_once(&sodium_once, sodium_begin);
	if (h == NULL || (h->state = aligned_alloc(64,
	    (crypto_generichash_statebytes() + 63) & ~(size_t)63)) == NULL) {
		free(h);
		err_oom(e);
		return NULL;
	}
	crypto_generichash_init(h->state, NULL, 0, BLAKE2B_LEN);
	return h;
}

void
blake2b_add(struct blake2b *h, const void *p, size_t n)
{
	crypto_generichash_update(h->state, p, n);
}

void
blake2b_end(struct blake2b *h, unsigned char out[BLAKE2B_LEN])
{
	crypto_generichash_final(h->state, out, BLAKE2B_LEN);
	crypto_generichash_init(h->state, NULL, 0, BLAKE2B_LEN);
}

void
blake2b_free(struct blake2b *h)
{
	if (h == NULL)
		return;
	free(h->state);
	free(h);
}
