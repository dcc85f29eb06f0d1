/*
 * secrets: the value of a secret key, wherever the configuration says it is.
 */

#include "config/conf.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"
#include "config/crypt.h"
#include "config/model.h"

enum { COMMAND_SECONDS = 30 };

static int
from_command(const char *command, struct secret *out, struct err *e)
{
	char **argv = NULL;
	int ret;

	if (conf_words(command, &argv, e) == -1)
		return -1;
	ret = secret_read_command(out, (const char *const *)argv,
	    COMMAND_SECONDS, e);
	free(argv);
	return ret;
}

static int
from_token(const struct conf *c, const struct conf_section *s,
    const char *key, const char *token, struct secret *out, struct err *e)
{
	struct crypt_place at = { s->kind, s->name, key };
	struct crypt_keys keys = CRYPT_KEYS_INIT;
	int ret;

	if (c->key == NULL)
		return err_set(e, CALA_AUTH, "no key file is known");
	ret = crypt_keys_read(&keys, c->key, e);
	if (ret == 0)
		ret = crypt_open(&keys, &at, token, out, e);
	crypt_keys_free(&keys);
	return ret;
}

static const char *
env(const struct conf *c, const char *name)
{
	const char *v = c->env != NULL ? c->env(name) : NULL;

	return v != NULL && *v != '\0' ? v : NULL;
}

/*
 * CALA_<KEY>_FD, _FILE or _COMMAND: 1 set, 0 not.  Members of maps have none:
 * restic's variables have forms of their own.
 */
static int
from_env(const struct conf *c, const char *key, struct secret *out,
    struct err *e)
{
	static const char *const suffix[] = { "FD", "FILE", "COMMAND" };
	char name[KEY_NAME_MAX + 16], *p;
	const char *v = NULL;
	uint64_t fd;
	size_t i;
	int ret = -1;

	if (strchr(key, '.') != NULL || strlen(key) >= KEY_NAME_MAX)
		return 0;
	for (i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "CALA_%s_%s", key, suffix[i]);
		for (p = name; *p != '\0'; p++)
			*p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
		if ((v = env(c, name)) != NULL)
			break;
	}
	if (v == NULL)
		return 0;
	if (i == 1)
		ret = secret_read_file(out, v, e);
	else if (i == 2)
		ret = from_command(v, out, e);
	else if (str_u64(v, 0, INT_MAX, &fd) == -1)
		err_set(e, CALA_USAGE, "'%s' is no descriptor", str_q(v));
	else
		ret = secret_read_fd(out, (int)fd, "secret", e);
	return ret == 0 ? 1 : err_ctx(e, "%s", name);
}

/* $CREDENTIALS_DIRECTORY/cala.NAME.KEY: 1 set, 0 not. */
static int
from_credential(const struct conf *c, const struct conf_section *s,
    const char *key, struct secret *out, struct err *e)
{
	const char *dir = env(c, "CREDENTIALS_DIRECTORY");
	char *path;
	int ret;

	if (dir == NULL || strcmp(s->kind, "configuration") != 0 ||
	    strchr(s->name, '/') != NULL)
		return 0;
	if (asprintf(&path, "%s/cala.%s.%s", dir, s->name, key) == -1)
		return err_oom(e);
	if (access(path, F_OK) == -1 && (errno == ENOENT ||
	    errno == ENOTDIR || errno == ENAMETOOLONG))
		ret = 0;
	else
		ret = secret_read_file(out, path, e) == 0 ? 1 : -1;
	free(path);
	return ret;
}

/* A variable that other programs know, too: 1 set, 0 not. */
static int
from_custom(const struct conf *c, const struct conf_section *s,
    const char *key, struct secret *out, struct err *e)
{
	static const struct { const char *disk, *key, *variable; } t[] = {
		{ "proxmox-backup-server", "token-secret", "PBS_PASSWORD" },
		{ "kopia", "password", "KOPIA_PASSWORD" },
	};
	const char *v;
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(*t); i++)
		if (strcmp(conf_disk(s), t[i].disk) == 0 &&
		    strcmp(key, t[i].key) == 0 &&
		    (v = env(c, t[i].variable)) != NULL)
			return secret_set(out, v, strlen(v), e) == 0 ? 1 : -1;
	return 0;
}

static int
from_item(const struct conf *c, const struct conf_section *s,
    const char *key, const struct conf_item *it, struct secret *out,
    struct err *e)
{
	int ret;

	if (it->form == KEY_FROM_FILE)
		ret = secret_read_file(out, it->text, e);
	else if (it->form == KEY_FROM_COMMAND)
		ret = from_command(it->text, out, e);
	else if (str_begins(it->text, CRYPT_PREFIX))
		ret = from_token(c, s, key, it->text, out, e);
	else
		ret = secret_set(out, it->text, strlen(it->text), e);
	if (ret == -1)
		return err_ctx(e, "%s: [%s \"%s\"] %s", it->where, s->kind,
		    str_q(s->name), it->name);
	return 1;
}

/* What came from outside must be what would be allowed in the file. */
static int
allowed(const struct conf_section *s, const struct key *k, const char *key,
    struct secret *in, struct err *e)
{
	if (strlen((const char *)in->p) != in->len)
		err_set(e, CALA_USAGE, "the secret has a NUL in it");
	else if (k == NULL || key_check(k, (const char *)in->p, e) == 0)
		return 1;
	secret_free(in);
	return err_ctx(e, "[%s \"%s\"] %s", s->kind, str_q(s->name), key);
}

int
conf_secret_here(const struct conf *c, const struct conf_section *s,
    const char *key, struct secret *out, struct err *e)
{
	const struct conf_item *it = s != NULL ? item_find(s, key) : NULL;

	return it != NULL ? from_item(c, s, key, it, out, e) : 0;
}

int
conf_secret(const struct conf *c, const struct conf_section *s,
    const char *key, struct secret *out, struct err *e)
{
	const struct key *k;
	int ret;

	if (s == NULL)
		return 0;
	k = key_find(s->kind, *conf_disk(s) != '\0' ? conf_disk(s) : NULL,
	    key);
	if ((ret = from_env(c, key, out, e)) == 0 &&
	    (ret = from_credential(c, s, key, out, e)) == 0 &&
	    (ret = conf_secret_here(c, s, key, out, e)) == 0)
		ret = from_custom(c, s, key, out, e);
	if (ret == 1)
		return allowed(s, k, key, out, e);
	if (ret == -1 || k == NULL || (k->flags & KEY_REQUIRED) == 0)
		return ret;
	err_set(e, CALA_USAGE, "%s: [%s \"%s\"]: %s is missing", s->where,
	    s->kind, str_q(s->name), key);
	return err_hint(e, "cala-config set %s %s, or the credential cala.%s.%s",
	    str_q(s->name), key, str_q(s->name), key);
}
