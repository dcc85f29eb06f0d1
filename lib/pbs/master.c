#include "pbs/master.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/secret.h"
#include "base/str.h"
#include "pbs/keyfile.h"

enum { PEM_MAX = 64 << 10 };

static EVP_PKEY *
public_key(const char *path, struct err *e)
{
	EVP_PKEY *key = NULL;
	BIO *in = NULL;
	struct buf pem;

	buf_init(&pem, PEM_MAX);
	if (file_slurp(&pem, AT_FDCWD, path, e) == -1) {
		e->code = CALA_USAGE;
		goto out;
	}
	if ((in = BIO_new_mem_buf(pem.p, (int)pem.len)) == NULL) {
		err_oom(e);
		goto out;
	}
	key = PEM_read_bio_PUBKEY(in, NULL, NULL, NULL);
	if (key == NULL || !EVP_PKEY_is_a(key, "RSA")) {
		EVP_PKEY_free(key);
		key = NULL;
		err_set(e, CALA_USAGE, "%s: no RSA public key in PEM",
		    str_q(path));
	}
out:
	ERR_clear_error();
	BIO_free(in);
	buf_fini(&pem);
	return key;
}

static int
encrypt(EVP_PKEY *key, const struct secret *text, struct buf *out,
    struct err *e)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	size_t n = (size_t)EVP_PKEY_get_size(key);
	char *to = buf_room(out, n);
	int ret = -1;

	if (ctx == NULL || to == NULL)
		err_oom(e);
	else if (n < text->len + RSA_PKCS1_PADDING_SIZE)
		err_set(e, CALA_USAGE, "the RSA key is too short: %zu bits, "
		    "and %zu are needed (4096 are usual)", 8 * n,
		    8 * (text->len + RSA_PKCS1_PADDING_SIZE));
	else if (EVP_PKEY_encrypt_init(ctx) != 1 ||
	    EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) != 1 ||
	    EVP_PKEY_encrypt(ctx, (unsigned char *)to, &n, text->p,
	    text->len) != 1)
		err_set(e, CALA_FAIL, "RSA encryption failed");
	else
		ret = 0;
	if (ret == 0)
		buf_grown(out, n);
	ERR_clear_error();
	EVP_PKEY_CTX_free(ctx);
	return ret;
}

int
pbs_master_seal(const char *pem, const struct pbs_crypt *c, struct buf *out,
    struct err *e)
{
	struct secret text = SECRET_INIT;
	EVP_PKEY *key = public_key(pem, e);
	struct pbs_keyfile f;
	int ret = -1;

	memset(&f, 0, sizeof(f));
	if (key != NULL && pbs_keyfile_make(&f, c, PBS_KDF_NONE, NULL, NULL,
	    e) == 0 && pbs_keyfile_put(&f, &text, e) == 0)
		ret = encrypt(key, &text, out, e);
	pbs_keyfile_fini(&f);
	secret_free(&text);
	EVP_PKEY_free(key);
	return ret == -1 ? err_ctx(e, "master-public-key") : 0;
}
