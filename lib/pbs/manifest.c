#include "pbs/manifest.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/json.h"

enum { HEX = 2 * PBS_DIGEST + 1 };

static const char *const modes[] = { "none", "encrypt", "sign-only" };

const char *
pbs_mode_name(enum pbs_mode mode)
{
	return modes[mode];
}

static int
bad(struct err *e, const char *what)
{
	return err_set(e, CALA_INTEGRITY, PBS_MANIFEST ": %s", what);
}

/* The server's rule for names and ids: they never need escaping. */
static bool
plain(const char *s)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "abcdefghijklmnopqrstuvwxyz0123456789_.-";

	return *s != '\0' && *s != '.' && *s != '-' &&
	    s[strspn(s, set)] == '\0';
}

int
pbs_manifest_init(struct pbs_manifest *m, const char *type, const char *id,
    int64_t when, struct err *e)
{
	memset(m, 0, sizeof(*m));
	m->time = when;
	if ((m->type = strdup(type)) == NULL ||
	    (m->id = strdup(id)) == NULL ||
	    (m->unprotected = json_object()) == NULL) {
		pbs_manifest_fini(m);
		return err_oom(e);
	}
	return 0;
}

void
pbs_manifest_fini(struct pbs_manifest *m)
{
	size_t i;

	for (i = 0; i < m->n; i++)
		free(m->files[i].name);
	free(m->files);
	free(m->type);
	free(m->id);
	json_decref(m->unprotected);
	memset(m, 0, sizeof(*m));
}

int
pbs_manifest_add(struct pbs_manifest *m, const char *name, enum pbs_mode mode,
    uint64_t size, const unsigned char csum[PBS_DIGEST], struct err *e)
{
	struct pbs_file *f;

	if (m->n == PBS_FILES_MAX)
		return bad(e, "too many files");
	if (!plain(name))
		return bad(e, "a file has a name that none can have");
	if (pbs_manifest_file(m, name) != NULL)
		return bad(e, "a file is listed twice");
	f = realloc(m->files, (m->n + 1) * sizeof(*f));
	if (f == NULL)
		return err_oom(e);
	m->files = f;
	f += m->n;
	if ((f->name = strdup(name)) == NULL)
		return err_oom(e);
	f->mode = mode;
	f->size = size;
	memcpy(f->csum, csum, PBS_DIGEST);
	m->n++;
	return 0;
}

static int
parse_file(struct pbs_manifest *m, const json_t *j, struct err *e)
{
	const char *name = json_get_str(j, "filename");
	const char *sum = json_get_str(j, "csum");
	const json_t *size = json_object_get(j, "size");
	const json_t *mode = json_object_get(j, "crypt-mode");
	unsigned char csum[PBS_DIGEST];
	size_t i = 0;

	if (name == NULL || !json_is_integer(size) ||
	    json_integer_value(size) < 0)
		return bad(e, "a file lacks its name or size");
	if (sum == NULL || hex_get(sum, PBS_DIGEST, csum) == -1)
		return bad(e, "a file lacks its checksum");
	if (mode != NULL) {
		for (; i < sizeof(modes) / sizeof(*modes); i++)
			if (json_is_string(mode) &&
			    strcmp(json_string_value(mode), modes[i]) == 0)
				break;
		if (i == sizeof(modes) / sizeof(*modes))
			return bad(e, "a file's crypt-mode is unknown");
	}
	return pbs_manifest_add(m, name, (enum pbs_mode)i,
	    (uint64_t)json_integer_value(size), csum, e);
}

static int
parse(struct pbs_manifest *m, json_t *j, struct err *e)
{
	const char *type = json_get_str(j, "backup-type");
	const char *id = json_get_str(j, "backup-id");
	const json_t *when = json_object_get(j, "backup-time");
	const json_t *files = json_object_get(j, "files");
	const json_t *sign = json_object_get(j, "signature");
	json_t *loose = json_object_get(j, "unprotected");
	size_t i;

	if (type == NULL || id == NULL || !plain(type) || !plain(id) ||
	    !json_is_integer(when) || !json_is_array(files))
		return bad(e, "it lacks what every manifest has");
	if (pbs_manifest_init(m, type, id, json_integer_value(when), e) == -1)
		return -1;
	for (i = 0; i < json_array_size(files); i++)
		if (parse_file(m, json_array_get(files, i), e) == -1)
			return -1;
	if (json_is_string(sign)) {
		if (hex_get(json_string_value(sign), PBS_DIGEST, m->sign) ==
		    -1)
			return bad(e, "its signature is none");
		m->has_sign = true;
	} else if (sign != NULL && !json_is_null(sign)) {
		return bad(e, "its signature is none");
	}
	if (loose != NULL && !json_is_object(loose) && !json_is_null(loose))
		return bad(e, "unprotected is no object");
	if (json_is_object(loose)) {
		json_decref(m->unprotected);
		m->unprotected = json_incref(loose);
	}
	return 0;
}

int
pbs_manifest_parse(struct pbs_manifest *m, const void *p, size_t n,
    struct err *e)
{
	json_t *j;
	int ret;

	memset(m, 0, sizeof(*m));
	if (n > PBS_MANIFEST_MAX)
		return bad(e, "too long");
	if ((j = json_parse(p, n, PBS_MANIFEST, e)) == NULL)
		return -1;
	ret = parse(m, j, e);
	json_decref(j);
	if (ret == -1)
		pbs_manifest_fini(m);
	return ret;
}

/* What is signed, as an object; NULL without memory. */
static json_t *
signed_part(const struct pbs_manifest *m)
{
	json_t *j = json_object(), *list = json_array(), *f;
	char hex[HEX];
	bool ok;
	size_t i;

	ok = json_object_set_new(j, "backup-type", json_string(m->type)) ==
	    0 && json_object_set_new(j, "backup-id", json_string(m->id)) ==
	    0 && json_object_set_new(j, "backup-time",
	    json_integer(m->time)) == 0;
	for (i = 0; ok && i < m->n; i++) {
		hex_put(m->files[i].csum, PBS_DIGEST, hex);
		f = json_object();
		ok = json_object_set_new(f, "filename",
		    json_string(m->files[i].name)) == 0 &&
		    json_object_set_new(f, "crypt-mode",
		    json_string(modes[m->files[i].mode])) == 0 &&
		    json_object_set_new(f, "size",
		    json_integer((json_int_t)m->files[i].size)) == 0 &&
		    json_object_set_new(f, "csum", json_string(hex)) == 0;
		if (json_array_append_new(list, f) == -1)
			ok = false;
	}
	if (json_object_set_new(j, "files", list) == -1)
		ok = false;
	if (ok)
		return j;
	json_decref(j);
	return NULL;
}

static int
dump(const json_t *j, struct buf *b, struct err *e)
{
	char *s = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
	int ret;

	if (s == NULL)
		return err_oom(e);
	ret = buf_str(b, s);
	free(s);
	return ret == 0 ? 0 : buf_failed(b, e);
}

int
pbs_manifest_canonical(const struct pbs_manifest *m, struct buf *b,
    struct err *e)
{
	json_t *j = signed_part(m);
	int ret = j != NULL ? dump(j, b, e) : err_oom(e);

	json_decref(j);
	return ret;
}

static int
sign(const struct pbs_manifest *m, const struct pbs_crypt *c,
    unsigned char out[PBS_DIGEST], struct err *e)
{
	struct buf b;
	int ret = -1;

	buf_init(&b, PBS_MANIFEST_MAX);
	if (pbs_manifest_canonical(m, &b, e) == 0)
		ret = pbs_crypt_sign(c, b.p, b.len, out, e);
	buf_fini(&b);
	return ret;
}

int
pbs_manifest_put(const struct pbs_manifest *m, const struct pbs_crypt *c,
    struct buf *b, struct err *e)
{
	json_t *j = signed_part(m), *loose = json_copy(m->unprotected);
	unsigned char mac[PBS_DIGEST];
	char hex[HEX], print[PBS_PRINT];
	int ret = -1;

	if (c != NULL && sign(m, c, mac, e) == -1)
		goto out;
	if (c != NULL) {
		hex_put(mac, sizeof(mac), hex);
		pbs_print_text(pbs_crypt_print(c), print);
	}
	if (json_object_set_new(j, "signature",
	    c != NULL ? json_string(hex) : json_null()) == -1 ||
	    (c != NULL && json_object_set_new(loose, "key-fingerprint",
	    json_string(print)) == -1) ||
	    json_object_set(j, "unprotected", loose) == -1) {
		err_oom(e);
		goto out;
	}
	ret = dump(j, b, e);
out:
	json_decref(loose);
	json_decref(j);
	return ret;
}

int
pbs_manifest_print(const struct pbs_manifest *m,
    unsigned char out[PBS_DIGEST])
{
	const json_t *j = json_object_get(m->unprotected, "key-fingerprint");

	if (j == NULL || json_is_null(j))
		return 0;
	return json_is_string(j) &&
	    pbs_print_get(json_string_value(j), out) == 0 ? 1 : -1;
}

int
pbs_manifest_check(const struct pbs_manifest *m, const struct pbs_crypt *c,
    struct err *e)
{
	unsigned char print[PBS_DIGEST], mac[PBS_DIGEST];
	char is[PBS_PRINT], want[PBS_PRINT];
	int has = pbs_manifest_print(m, print);

	if (has == -1)
		return bad(e, "its key's fingerprint is none");
	if (has == 1 && c == NULL)
		return err_set(e, CALA_AUTH, "the backup was made with the key "
		    "%s, and there is no key", pbs_print_text(print, want));
	if (has == 1 && memcmp(print, pbs_crypt_print(c), PBS_DIGEST) != 0)
		return err_set(e, CALA_AUTH, "the backup was made with the key "
		    "%s; the one that is configured is %s",
		    pbs_print_text(print, want),
		    pbs_print_text(pbs_crypt_print(c), is));
	if (c == NULL || !m->has_sign)
		return 1;
	if (sign(m, c, mac, e) == -1)
		return -1;
	return CRYPTO_memcmp(mac, m->sign, sizeof(mac)) == 0 ? 0 :
	    bad(e, "its signature is wrong");
}

int
pbs_file_is(const struct pbs_file *f, const void *p, size_t n, struct err *e)
{
	unsigned char is[SHA256_LEN];

	if (sha256(p, n, is, e) == -1)
		return -1;
	return n == f->size && memcmp(is, f->csum, sizeof(is)) == 0 ? 0 :
	    err_set(e, CALA_INTEGRITY, "%s is not the one that the manifest "
	    "has", f->name);
}

const struct pbs_file *
pbs_manifest_file(const struct pbs_manifest *m, const char *name)
{
	size_t i;

	for (i = 0; i < m->n; i++)
		if (strcmp(m->files[i].name, name) == 0)
			return &m->files[i];
	return NULL;
}

const char *
pbs_manifest_notes(const struct pbs_manifest *m)
{
	return json_get_str(m->unprotected, "notes");
}

bool
pbs_manifest_finished(const struct pbs_manifest *m)
{
	return json_is_object(json_object_get(m->unprotected,
	    "chunk_upload_stats"));
}
