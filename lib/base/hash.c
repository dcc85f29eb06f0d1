#include "base/hash.h"

#include <pthread.h>
#include <stdlib.h>

#include <openssl/evp.h>

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
