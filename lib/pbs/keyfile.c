#include "pbs/keyfile.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/json.h"
#include "base/when.h"

enum {
	SEALED = PBS_IV + PBS_TAG + PBS_KEY,
	FILE_MAX = 64 << 10,
	N_DEF = 65536, R_DEF = 8, P_DEF = 1, SALT_DEF = 32,
	N_MAX = 1 << 20, R_MAX = 32, P_MAX = 16,
	ITER_MAX = 10000000
};

/* Of what scrypt may take; the default costs 64 MiB. */
#define MEMORY_MAX (UINT64_C(1) << 30)

static int
bad(struct err *e, const char *what)
{
	return err_set(e, CALA_INTEGRITY, "key file: %s", what);
}

/* Base64 of at most max bytes into out; -1: it is none. */
static int
bytes(const json_t *j, void *out, size_t max, size_t *n)
{
	struct buf b;
	int ret = -1;

	buf_init(&b, max);
	if (json_is_string(j) && b64_get(&b, json_string_value(j),
	    json_string_length(j)) == 0) {
		memcpy(out, b.p, b.len);
		*n = b.len;
		ret = 0;
	}
	if (b.len > 0)
		secret_wipe(b.p, b.len);
	buf_fini(&b);
	return ret;
}

static int
parse_scrypt(struct pbs_keyfile *f, const json_t *j, struct err *e)
{
	f->kdf = PBS_KDF_SCRYPT;
	f->n = json_get_u64(j, "n", 0);
	f->r = json_get_u64(j, "r", 0);
	f->p = json_get_u64(j, "p", 0);
	if (f->n < 2 || f->n > N_MAX || (f->n & (f->n - 1)) != 0 ||
	    f->r < 1 || f->r > R_MAX || f->p < 1 || f->p > P_MAX ||
	    128 * f->n * f->r > MEMORY_MAX)
		return bad(e, "its scrypt parameters are not usable");
	return 0;
}

static int
parse_kdf(struct pbs_keyfile *f, const json_t *j, struct err *e)
{
	const json_t *in;
	int ret;

	if (j == NULL || json_is_null(j)) {
		f->kdf = PBS_KDF_NONE;
		return 0;
	}
	if (json_object_size(j) != 1)
		return bad(e, "its kdf is unknown");
	if ((in = json_object_get(j, "Scrypt")) != NULL) {
		ret = parse_scrypt(f, in, e);
	} else if ((in = json_object_get(j, "PBKDF2")) != NULL) {
		f->kdf = PBS_KDF_PBKDF2;
		f->n = json_get_u64(in, "iter", 0);
		ret = f->n >= 1 && f->n <= ITER_MAX ? 0 :
		    bad(e, "its number of iterations is not usable");
	} else {
		ret = bad(e, "its kdf is unknown");
	}
	if (ret == 0 && bytes(json_object_get(in, "salt"), f->salt,
	    sizeof(f->salt), &f->nsalt) == -1)
		ret = bad(e, "its salt is none");
	return ret;
}

static int
parse_time(const json_t *j, const char *key, struct timespec *t,
    struct err *e)
{
	const char *s = json_get_str(j, key);

	return s != NULL && when_rfc3339(s, t) == 0 ? 0 :
	    err_set(e, CALA_INTEGRITY, "key file: its time \"%s\" is none",
	    key);
}

static int
parse(struct pbs_keyfile *f, const json_t *j, struct err *e)
{
	const json_t *print = json_object_get(j, "fingerprint");
	const char *hint = json_get_str(j, "hint");
	unsigned char data[SEALED];
	size_t want, n = 0;
	int ret;

	if (!json_is_object(j))
		return bad(e, "it is no object");
	if (parse_kdf(f, json_object_get(j, "kdf"), e) == -1 ||
	    parse_time(j, "created", &f->created, e) == -1 ||
	    parse_time(j, "modified", &f->modified, e) == -1)
		return -1;
	if (print != NULL && !json_is_null(print)) {
		if (!json_is_string(print) ||
		    pbs_print_get(json_string_value(print), f->print) == -1)
			return bad(e, "its fingerprint is none");
		f->has_print = true;
	}
	if (hint != NULL && (f->hint = strdup(hint)) == NULL)
		return err_oom(e);
	want = f->kdf == PBS_KDF_NONE ? PBS_KEY : SEALED;
	if (bytes(json_object_get(j, "data"), data, sizeof(data), &n) == -1 ||
	    n != want)
		ret = bad(e, "its data is not that of a key");
	else
		ret = secret_set(&f->data, data, n, e);
	secret_wipe(data, sizeof(data));
	return ret;
}

int
pbs_keyfile_parse(struct pbs_keyfile *f, const void *p, size_t n,
    struct err *e)
{
	json_t *j, *data;
	int ret;

	memset(f, 0, sizeof(*f));
	if (n > FILE_MAX)
		return bad(e, "too long");
	if ((j = json_parse(p, n, "key file", e)) == NULL)
		return -1;
	ret = parse(f, j, e);
	data = json_object_get(j, "data");
	if (json_is_string(data))
		secret_wipe((char *)(uintptr_t)json_string_value(data),
		    json_string_length(data));
	json_decref(j);
	if (ret == -1)
		pbs_keyfile_fini(f);
	return ret;
}

int
pbs_keyfile_read(struct pbs_keyfile *f, const char *path, struct err *e)
{
	struct secret s = SECRET_INIT;
	int ret = -1;

	memset(f, 0, sizeof(*f));
	if (secret_read_file(&s, path, e) == 0 &&
	    (ret = pbs_keyfile_parse(f, s.p, s.len, e)) == -1)
		err_ctx(e, "%s", path);
	secret_free(&s);
	return ret;
}

void
pbs_keyfile_fini(struct pbs_keyfile *f)
{
	secret_free(&f->data);
	free(f->hint);
	memset(f, 0, sizeof(*f));
}

static int
derive(const struct pbs_keyfile *f, const struct secret *pass,
    struct secret *out, struct err *e)
{
	int ok;

	if (secret_alloc(out, PBS_KEY, e) == -1)
		return -1;
	if (f->kdf == PBS_KDF_SCRYPT)
		ok = EVP_PBE_scrypt((const char *)pass->p, pass->len, f->salt,
		    f->nsalt, f->n, f->r, f->p, MEMORY_MAX + (64 << 20),
		    out->p, PBS_KEY);
	else
		ok = PKCS5_PBKDF2_HMAC((const char *)pass->p, (int)pass->len,
		    f->salt, (int)f->nsalt, (int)f->n, EVP_sha256(), PBS_KEY,
		    out->p);
	return ok == 1 ? 0 : err_set(e, CALA_FAIL,
	    "the passphrase's key can't be computed");
}

static int
unlock(const struct pbs_keyfile *f, const struct secret *pass,
    struct secret *key, struct err *e)
{
	struct secret by = SECRET_INIT;
	int ret = -1;

	if (pass == NULL || pass->len == 0)
		return err_set(e, CALA_AUTH, "the key needs its passphrase");
	if (secret_alloc(key, PBS_KEY, e) == 0 &&
	    derive(f, pass, &by, e) == 0) {
		ret = pbs_unseal(by.p, f->data.p, f->data.p + PBS_IV,
		    f->data.p + PBS_IV + PBS_TAG, PBS_KEY, key->p, e);
		if (ret == -1 && e->code == CALA_INTEGRITY)
			err_set(e, CALA_AUTH,
			    "the key's passphrase is wrong");
	}
	secret_free(&by);
	return ret;
}

int
pbs_keyfile_open(const struct pbs_keyfile *f, const struct secret *pass,
    struct pbs_crypt **out, struct err *e)
{
	struct secret key = SECRET_INIT;
	struct pbs_crypt *c = NULL;

	if (f->kdf == PBS_KDF_NONE)
		c = pbs_crypt_new(f->data.p, e);
	else if (unlock(f, pass, &key, e) == 0)
		c = pbs_crypt_new(key.p, e);
	secret_free(&key);
	if (c == NULL)
		return -1;
	if (f->has_print &&
	    memcmp(f->print, pbs_crypt_print(c), PBS_DIGEST) != 0) {
		pbs_crypt_free(c);
		return bad(e, "its key is not the one that its fingerprint "
		    "tells of");
	}
	*out = c;
	return 0;
}

static int
lock(struct pbs_keyfile *f, const struct pbs_crypt *c,
    const struct secret *pass, struct err *e)
{
	struct secret by = SECRET_INIT;
	int ret = -1;

	if (pass == NULL || pass->len < PBS_PASS_MIN)
		return err_set(e, CALA_USAGE, "a passphrase has at least %d "
		    "bytes", PBS_PASS_MIN);
	f->n = N_DEF;
	f->r = R_DEF;
	f->p = P_DEF;
	f->nsalt = SALT_DEF;
	if (secret_alloc(&f->data, SEALED, e) == -1)
		return -1;
	if (RAND_bytes(f->salt, SALT_DEF) != 1 ||
	    RAND_bytes(f->data.p, PBS_IV) != 1)
		return err_set(e, CALA_FAIL, "there is no randomness");
	if (derive(f, pass, &by, e) == 0)
		ret = pbs_seal(by.p, f->data.p, pbs_crypt_key(c), PBS_KEY,
		    f->data.p + PBS_IV + PBS_TAG, f->data.p + PBS_IV, e);
	secret_free(&by);
	return ret;
}

int
pbs_keyfile_make(struct pbs_keyfile *f, const struct pbs_crypt *c,
    enum pbs_kdf kdf, const struct secret *pass, const char *hint,
    struct err *e)
{
	int ret;

	memset(f, 0, sizeof(*f));
	f->kdf = kdf;
	f->created = when_now();
	f->created.tv_nsec = 0;
	f->modified = f->created;
	f->has_print = true;
	memcpy(f->print, pbs_crypt_print(c), PBS_DIGEST);
	if (hint != NULL && (f->hint = strdup(hint)) == NULL)
		return err_oom(e);
	ret = kdf == PBS_KDF_NONE ?
	    secret_set(&f->data, pbs_crypt_key(c), PBS_KEY, e) :
	    lock(f, c, pass, e);
	if (ret == -1)
		pbs_keyfile_fini(f);
	return ret;
}

static void
put_kdf(const struct pbs_keyfile *f, struct jw *j)
{
	struct buf salt;

	if (f->kdf == PBS_KDF_NONE) {
		jw_null(j, "kdf");
		return;
	}
	buf_init(&salt, 2 * PBS_SALT_MAX);
	b64_put(&salt, f->salt, f->nsalt);
	jw_open(j, "kdf", '{');
	jw_open(j, f->kdf == PBS_KDF_SCRYPT ? "Scrypt" : "PBKDF2", '{');
	jw_u64(j, f->kdf == PBS_KDF_SCRYPT ? "n" : "iter", f->n);
	if (f->kdf == PBS_KDF_SCRYPT) {
		jw_u64(j, "r", f->r);
		jw_u64(j, "p", f->p);
	}
	jw_str(j, "salt", salt.p);
	jw_close(j, '}');
	jw_close(j, '}');
	buf_fini(&salt);
}

int
pbs_keyfile_put(const struct pbs_keyfile *f, struct secret *out,
    struct err *e)
{
	char print[PBS_PRINT];
	struct buf b, data;
	struct jw j;
	int ret;

	buf_init(&b, FILE_MAX);
	buf_init(&data, 2 * SEALED);
	/* Room at once: what grows leaves copies behind. */
	(void)buf_room(&b, FILE_MAX / 2);
	(void)buf_room(&data, 2 * SEALED);
	b64_put(&data, f->data.p, f->data.len);
	jw_begin(&j, &b);
	jw_open(&j, NULL, '{');
	put_kdf(f, &j);
	jw_time(&j, "created", f->created);
	jw_time(&j, "modified", f->modified);
	jw_str(&j, "data", data.p);
	if (f->has_print)
		jw_str(&j, "fingerprint", pbs_print_text(f->print, print));
	if (f->hint != NULL)
		jw_str(&j, "hint", f->hint);
	jw_close(&j, '}');
	buf_chr(&b, '\n');
	ret = data.failed ? err_oom(e) : buf_failed(&b, e);
	if (ret == 0)
		ret = secret_set(out, b.p, b.len, e);
	secret_wipe(b.p, b.len);
	secret_wipe(data.p, data.len);
	buf_fini(&data);
	buf_fini(&b);
	return ret;
}
