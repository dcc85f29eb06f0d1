/*
 * cala-secret: the key of encrypted values: make it, use it, change it.
 */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/file.h"
#include "config/crypt.h"
#include "config/edit.h"
#include "front/conf.h"
#include "front/prompt.h"

struct job {
	struct front f;
	struct conf_paths paths;
	bool drop_old;
	uint64_t changed;
	const struct crypt_keys *keys;
};

static void
key_name(const struct crypt_keys *k, size_t i, char out[CRYPT_ID_TEXT])
{
	hex_put(k->id[i], CRYPT_ID, out);
}

static int
init(struct job *j, struct err *e)
{
	struct crypt_keys k = CRYPT_KEYS_INIT;
	char id[CRYPT_ID_TEXT];
	int ret = -1;

	if (crypt_keys_new(&k, e) == 0 &&
	    crypt_keys_write(&k, j->paths.key, true, e) == 0) {
		key_name(&k, 0, id);
		printf("%s\n", id);
		log_note(&j->f.log, "made key %s in %s; keep a copy in another "
		    "safe place: without it no encrypted value can be read",
		    id, j->paths.key);
		ret = 0;
	}
	crypt_keys_free(&k);
	return ret;
}

/* SECTION and KEY as the token's place; key is canonical in spelt. */
static int
where(const char *section, const char *key, struct crypt_place *at,
    char name[CONF_NAME], char spelt[KEY_NAME_MAX], struct err *e)
{
	const struct key *k;

	if (conf_address(section, &at->kind, name, e) == -1)
		return -1;
	k = key_find(at->kind, NULL, key);
	if (k != NULL && (k->flags & KEY_SECRET) == 0)
		return err_set(e, CALA_USAGE, "%s is no secret key of [%s]",
		    k->name, at->kind);
	if (k == NULL && (strcmp(at->kind, "configuration") != 0 ||
	    strlen(key) >= KEY_NAME_MAX))
		return err_set(e, CALA_USAGE, "unknown key '%s'", key);
	if (k == NULL)
		memcpy(spelt, key, strlen(key) + 1);
	else if (key_spell(k, key, spelt) != KEY_PLAIN)
		return err_set(e, CALA_USAGE,
		    "%s names where the secret is; it is not encrypted", key);
	at->name = name;
	at->key = spelt;
	return 0;
}

static int
crypt_one(struct job *j, const char *section, const char *key, bool seal,
    struct err *e)
{
	char name[CONF_NAME], spelt[KEY_NAME_MAX];
	struct crypt_keys k = CRYPT_KEYS_INIT;
	struct secret in = SECRET_INIT, out = SECRET_INIT;
	struct crypt_place at;
	struct buf token;
	int ret = -1;

	buf_init(&token, 2 * SECRET_MAX);
	if (where(section, key, &at, name, spelt, e) == -1 ||
	    crypt_keys_read(&k, j->paths.key, e) == -1 ||
	    front_secret(seal ? spelt : "token", &in, e) == -1)
		goto out;
	if (strlen((char *)in.p) != in.len) {
		err_set(e, CALA_USAGE, "standard input: has a NUL in it");
		goto out;
	}
	if (seal) {
		if (in.len == 0) {
			err_set(e, CALA_USAGE, "the secret is empty");
			goto out;
		}
		ret = crypt_seal(&k, &at, in.p, in.len, &token, e);
		if (ret == 0)
			printf("%s\n", token.p);
	} else {
		ret = crypt_open(&k, &at, (char *)in.p, &out, e);
		if (ret == 0)
			printf("%s\n", (char *)out.p);
	}
out:
	crypt_keys_free(&k);
	secret_free(&in);
	secret_free(&out);
	buf_fini(&token);
	return ret;
}

static int
reseal(void *ctx, const struct crypt_place *at, const char *token,
    struct buf *out, struct err *e)
{
	struct secret plain = SECRET_INIT;
	struct job *j = ctx;
	char id[CRYPT_ID_TEXT], now[CRYPT_ID_TEXT];
	int ret = -1;

	if (crypt_look(token, id, e) == -1)
		return -1;
	key_name(j->keys, 0, now);
	if (strcmp(id, now) == 0)
		return 0;
	if (crypt_open(j->keys, at, token, &plain, e) == 0 &&
	    crypt_seal(j->keys, at, plain.p, plain.len, out, e) == 0) {
		j->changed++;
		ret = 1;
	}
	secret_free(&plain);
	return ret;
}

/*
 * The key file names both keys, and that a rotation goes on, before the first
 * value changes, and forgets the old key only after the last one did; so every
 * value can be read at any moment, and a killed run is taken up again.
 */
static int
rotate(struct job *j, struct err *e)
{
	struct crypt_keys k = CRYPT_KEYS_INIT;
	struct edit ed;
	char id[CRYPT_ID_TEXT];
	int ret = -1;

	if (edit_open(&ed, &j->paths, "cala-secret rotate", &j->f.log, e) == -1)
		return -1;
	/* A value in a line that is not understood would be left behind. */
	if (edit_strict(&ed, e) == -1 ||
	    crypt_keys_read(&k, j->paths.key, e) == -1)
		goto out;
	j->keys = &k;
	if (k.rotating) {
		log_note(&j->f.log, "going on with a rotation that was cut off");
	} else {
		/* Nothing is begun that could not be finished. */
		if (edit_tokens(&ed, reseal, j, e) == -1)
			goto out;
		if (crypt_keys_new(&k, e) == -1)
			goto out;
		k.rotating = true;
		if (crypt_keys_write(&k, j->paths.key, false, e) == -1)
			goto out;
	}
	j->changed = 0;
	if (edit_tokens(&ed, reseal, j, e) == -1 || edit_commit(&ed, e) == -1)
		goto out;
	k.rotating = false;
	if (j->drop_old)
		crypt_keys_drop(&k);
	if (crypt_keys_write(&k, j->paths.key, false, e) == -1)
		goto out;
	key_name(&k, 0, id);
	printf("%s\n", id);
	log_note(&j->f.log, "key %s is current; %ju value%s encrypted anew%s",
	    id, (uintmax_t)j->changed, j->changed == 1 ? "" : "s",
	    j->drop_old ? "" : "; old keys stay in the file for values "
	    "elsewhere (--drop-old forgets them)");
	ret = 0;
out:
	crypt_keys_free(&k);
	edit_close(&ed);
	return ret;
}

static int
run(struct job *j, const struct opt_list *a, struct err *e)
{
	const char *verb = a->n > 0 ? a->v[0] : "";

	front_conf_paths(&j->f, &j->paths);
	if (strcmp(verb, "init") == 0 && a->n == 1)
		return init(j, e);
	if (strcmp(verb, "encrypt") == 0 && a->n == 3)
		return crypt_one(j, a->v[1], a->v[2], true, e);
	if (strcmp(verb, "decrypt") == 0 && a->n == 3)
		return crypt_one(j, a->v[1], a->v[2], false, e);
	if (strcmp(verb, "rotate") == 0 && a->n == 1)
		return rotate(j, e);
	err_set(e, CALA_USAGE, "expected: init, encrypt SECTION KEY, decrypt "
	    "SECTION KEY or rotate");
	return err_hint(e, "try 'cala-secret --help'");
}

int
main(int argc, char **argv)
{
	struct opt_list args = { NULL, 0 };
	struct err e = ERR_INIT;
	struct job j;
	int ret;
	const struct opt table[] = {
		{ OPT_FLAG, 0, "drop-old", NULL,
		    "rotate: forget the old keys at the end", &j.drop_old,
		    NULL },
		FRONT_CONFIG(j.f),
		FRONT_OPTS(j.f),
		FRONT_END
	};

	memset(&j, 0, sizeof(j));
	front_init(&j.f, "cala-secret",
	    "cala-secret init\n"
	    "       cala-secret encrypt SECTION KEY < secret\n"
	    "       cala-secret decrypt SECTION KEY < token\n"
	    "       cala-secret rotate [--drop-old]",
	    "example: cala-secret encrypt hetzner secret-key < key.txt");
	front_keys();
	if ((ret = front_parse(&j.f, table, argc, argv, &args, NULL, &e)) != 0)
		return front_end(&j.f, ret == -1 ? &e : NULL);
	ret = run(&j, &args, &e);
	opt_list_free(&args);
	return front_end(&j.f, ret == -1 ? &e : NULL);
}
