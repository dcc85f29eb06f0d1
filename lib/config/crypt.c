#include "config/crypt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"

enum { NONCE = 12, TAG = 16, FIXED = CRYPT_ID + NONCE + TAG };

static const char line_start[] = "cala-key-v1 ";
static const char head[] =
    "# cala's secret key.  Without it no encrypted value in the configuration\n"
    "# can be read again: keep a copy in another safe place.\n";

static int
key_id(const unsigned char *key, unsigned char id[CRYPT_ID], struct err *e)
{
	static const char salt[] = "cala key id";
	unsigned char in[sizeof(salt) - 1 + CRYPT_KEY], md[32];
	int ok;

	memcpy(in, salt, sizeof(salt) - 1);
	memcpy(in + sizeof(salt) - 1, key, CRYPT_KEY);
	ok = EVP_Digest(in, sizeof(in), md, NULL, EVP_sha256(), NULL);
	secret_wipe(in, sizeof(in));
	if (ok != 1)
		return err_set(e, CALA_FAIL, "SHA-256 is not available");
	memcpy(id, md, CRYPT_ID);
	return 0;
}

static unsigned char *
key_at(const struct crypt_keys *k, size_t i)
{
	return k->keys.p + i * CRYPT_KEY;
}

void
crypt_keys_free(struct crypt_keys *k)
{
	secret_free(&k->keys);
	k->n = 0;
	k->rotating = false;
}

static int
read_line(struct crypt_keys *k, const char *s, size_t n)
{
	size_t start = sizeof(line_start) - 1;
	struct err e = ERR_INIT;

	while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\r'))
		n--;
	if (n == 0 || *s == '#')
		return 0;
	if (n == 8 && memcmp(s, "rotating", 8) == 0) {
		k->rotating = true;
		return 0;
	}
	if (k->n == CRYPT_KEYS || n != start + 2 * CRYPT_KEY ||
	    memcmp(s, line_start, start) != 0 ||
	    hex_get(s + start, CRYPT_KEY, key_at(k, k->n)) == -1 ||
	    key_id(key_at(k, k->n), k->id[k->n], &e) == -1)
		return -1;
	k->n++;
	return 0;
}

int
crypt_keys_read(struct crypt_keys *k, const char *path, struct err *e)
{
	struct secret text = SECRET_INIT;
	const char *p, *end, *nl;
	int ret = -1, line = 0;

	crypt_keys_free(k);
	if (secret_read_file(&text, path, e) == -1) {
		if (e->code == CALA_NOTFOUND) {
			e->code = CALA_AUTH;
			err_hint(e, "cala-secret init makes the first one; what "
			    "another has encrypted needs the copy of that");
		}
		return -1;
	}
	if (secret_alloc(&k->keys, (size_t)CRYPT_KEYS * CRYPT_KEY, e) == -1)
		goto out;
	p = (const char *)text.p;
	for (end = p + text.len; p < end; p = nl + 1) {
		line++;
		if ((nl = memchr(p, '\n', (size_t)(end - p))) == NULL)
			nl = end;
		if (read_line(k, p, (size_t)(nl - p)) == -1) {
			err_set(e, CALA_USAGE, "key file %s:%d: not a line "
			    "\"cala-key-v1\" and 64 hex digits", str_q(path),
			    line);
			goto out;
		}
	}
	if (k->n == 0) {
		err_set(e, CALA_USAGE, "key file %s: holds no key",
		    str_q(path));
		goto out;
	}
	ret = 0;
out:
	secret_free(&text);
	if (ret == -1)
		crypt_keys_free(k);
	return ret;
}

int
crypt_keys_new(struct crypt_keys *k, struct err *e)
{
	if (k->keys.p == NULL &&
	    secret_alloc(&k->keys, (size_t)CRYPT_KEYS * CRYPT_KEY, e) == -1)
		return -1;
	if (k->n == CRYPT_KEYS)
		return err_set(e, CALA_USAGE,
		    "the key file holds %d keys already; drop the old ones",
		    CRYPT_KEYS);
	memmove(key_at(k, 1), key_at(k, 0), k->n * CRYPT_KEY);
	memmove(k->id[1], k->id[0], k->n * CRYPT_ID);
	if (getrandom(key_at(k, 0), CRYPT_KEY, 0) != CRYPT_KEY)
		return err_sys(e, "get randomness for a key");
	if (key_id(key_at(k, 0), k->id[0], e) == -1)
		return -1;
	k->n++;
	return 0;
}

void
crypt_keys_drop(struct crypt_keys *k)
{
	if (k->n <= 1)
		return;
	secret_wipe(key_at(k, 1), (k->n - 1) * CRYPT_KEY);
	k->n = 1;
}

int
crypt_keys_write(const struct crypt_keys *k, const char *path, bool fresh,
    struct err *e)
{
	struct secret text = SECRET_INIT;
	struct afile f = AFILE_INIT;
	const char *slash = strrchr(path, '/');
	char *dir = NULL, hex[2 * CRYPT_KEY + 1];
	size_t i, n = 0;
	struct stat st;
	int dirfd = -1, ret = -1;

	dir = slash == NULL ? strdup(".") : slash == path ? strdup("/") :
	    strndup(path, (size_t)(slash - path));
	if (dir == NULL || secret_alloc(&text, sizeof(head) + 16 + k->n *
	    (sizeof(line_start) + sizeof(hex)), e) == -1) {
		err_oom(e);
		goto out;
	}
	memcpy(text.p, head, n = sizeof(head) - 1);
	for (i = 0; i < k->n; i++) {
		memcpy(text.p + n, line_start, sizeof(line_start) - 1);
		n += sizeof(line_start) - 1;
		hex_put(key_at(k, i), CRYPT_KEY, hex);
		memcpy(text.p + n, hex, 2 * CRYPT_KEY);
		n += 2 * CRYPT_KEY;
		text.p[n++] = '\n';
	}
	if (k->rotating) {
		memcpy(text.p + n, "rotating\n", 9);
		n += 9;
	}
	dirfd = fresh ? file_mkdirs(dir, 0755, e) :
	    file_opendir(AT_FDCWD, dir, e);
	if (dirfd == -1 ||
	    afile_open(&f, dirfd, slash != NULL ? slash + 1 : path, e) == -1)
		goto out;
	if (!fresh && stat(path, &st) == 0 && (st.st_uid != geteuid() ||
	    st.st_gid != getegid()) &&
	    fchown(f.fd, st.st_uid, st.st_gid) == -1) {
		err_sys(e, "keep the owner of %s", str_q(path));
		goto out;
	}
	if (file_write_all(f.fd, text.p, n) == -1) {
		err_sys(e, "write %s", str_q(path));
		goto out;
	}
	ret = afile_commit(&f, 0600, fresh ? AFILE_NOREPLACE : 0, e);
out:
	afile_abort(&f);
	if (dirfd != -1)
		close(dirfd);
	secret_wipe(hex, sizeof(hex));
	secret_free(&text);
	free(dir);
	return ret == -1 ? err_ctx(e, "key file %s", str_q(path)) : 0;
}

/* Both ways: the context with key, nonce and the place as extra data. */
static EVP_CIPHER_CTX *
start(bool seal, const unsigned char *key, const unsigned char *nonce,
    const struct crypt_place *at)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	const char *part[3] = { at->kind, at->name, at->key };
	int i, n;

	if (c == NULL || EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, key,
	    nonce, seal) != 1)
		goto fail;
	/* The NULs count, so that no two places look the same. */
	for (i = 0; i < 3; i++)
		if (EVP_CipherUpdate(c, NULL, &n,
		    (const unsigned char *)part[i],
		    (int)strlen(part[i]) + (i < 2)) != 1)
			goto fail;
	return c;
fail:
	EVP_CIPHER_CTX_free(c);
	return NULL;
}

int
crypt_seal(const struct crypt_keys *k, const struct crypt_place *at,
    const void *p, size_t n, struct buf *token, struct err *e)
{
	EVP_CIPHER_CTX *c = NULL;
	unsigned char *raw = NULL, *ct;
	int len = 0, end = 0, ret = -1;

	if (k->n == 0 || n > SECRET_MAX - 1)
		return err_set(e, CALA_USAGE,
		    "a secret may have at most %d bytes", SECRET_MAX - 1);
	if ((raw = malloc(FIXED + n)) == NULL)
		return err_oom(e);
	memcpy(raw, k->id[0], CRYPT_ID);
	ct = raw + CRYPT_ID + NONCE;
	if (getrandom(raw + CRYPT_ID, NONCE, 0) != NONCE) {
		err_sys(e, "get randomness for a nonce");
		goto out;
	}
	c = start(true, key_at(k, 0), raw + CRYPT_ID, at);
	if (c == NULL || (n > 0 &&
	    EVP_CipherUpdate(c, ct, &len, p, (int)n) != 1) ||
	    EVP_CipherFinal_ex(c, ct + len, &end) != 1 ||
	    EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG, ct + n) != 1) {
		err_set(e, CALA_FAIL, "AES-256-GCM failed");
		goto out;
	}
	buf_str(token, CRYPT_PREFIX);
	b64url_put(token, raw, FIXED + n);
	ret = buf_failed(token, e);
out:
	EVP_CIPHER_CTX_free(c);
	free(raw);
	return ret;
}

/* The bytes of a token. */
static int
decode(const char *token, struct buf *raw, struct err *e)
{
	if (!str_begins(token, CRYPT_PREFIX) ||
	    b64url_get(raw, token + sizeof(CRYPT_PREFIX) - 1,
	    strlen(token) - (sizeof(CRYPT_PREFIX) - 1)) == -1 ||
	    raw->len < FIXED)
		return err_set(e, CALA_USAGE,
		    "not a whole encrypted value (enc:v1:...)");
	return 0;
}

int
crypt_look(const char *token, char *id, struct err *e)
{
	struct buf raw;
	int ret;

	buf_init(&raw, FIXED + SECRET_MAX);
	ret = decode(token, &raw, e);
	if (ret == 0 && id != NULL)
		hex_put(raw.p, CRYPT_ID, id);
	buf_fini(&raw);
	return ret;
}

int
crypt_open(const struct crypt_keys *k, const struct crypt_place *at,
    const char *token, struct secret *out, struct err *e)
{
	EVP_CIPHER_CTX *c = NULL;
	struct secret plain = SECRET_INIT;
	char id[CRYPT_ID_TEXT];
	struct buf raw;
	unsigned char *r;
	int len = 0, end = 0, ret = -1;
	size_t i, n;

	buf_init(&raw, FIXED + SECRET_MAX);
	if (decode(token, &raw, e) == -1)
		goto out;
	r = (unsigned char *)raw.p;
	n = raw.len - FIXED;
	for (i = 0; i < k->n && memcmp(k->id[i], r, CRYPT_ID) != 0; i++)
		;
	if (i == k->n) {
		hex_put(r, CRYPT_ID, id);
		err_set(e, CALA_AUTH,
		    "encrypted with key %s, which the key file does not hold",
		    id);
		goto out;
	}
	if (secret_alloc(&plain, n, e) == -1)
		goto out;
	c = start(false, key_at(k, i), r + CRYPT_ID, at);
	if (c == NULL || (n > 0 && EVP_CipherUpdate(c, plain.p, &len,
	    r + CRYPT_ID + NONCE, (int)n) != 1) ||
	    EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG,
	    r + CRYPT_ID + NONCE + n) != 1 ||
	    EVP_CipherFinal_ex(c, plain.p + len, &end) != 1) {
		err_set(e, CALA_AUTH, "the encrypted value was changed or "
		    "made for another section or key");
		goto out;
	}
	secret_free(out);
	*out = plain;
	plain = (struct secret)SECRET_INIT;
	ret = 0;
out:
	EVP_CIPHER_CTX_free(c);
	secret_free(&plain);
	buf_fini(&raw);
	return ret;
}
