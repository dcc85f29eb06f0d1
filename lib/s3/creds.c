#include "s3/creds.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "base/when.h"
#include "config/conf.h"

enum { PROCESS_SECONDS = 60 };

const char *
creds_env(char *const *env, const char *name)
{
	size_t n = strlen(name);

	for (; env != NULL && *env != NULL; env++)
		if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
			return (*env)[n + 1] != '\0' ? *env + n + 1 : NULL;
	return NULL;
}

void
creds_fini(struct s3_creds *c)
{
	secret_free(&c->secret);
	secret_free(&c->token);
	memset(c, 0, sizeof(*c));
}

/* Both go into header lines: printable ASCII without blanks. */
static bool
header_safe(const char *s)
{
	for (; *s != '\0'; s++)
		if (*s <= ' ' || *s > '~')
			return false;
	return true;
}

int
creds_take(struct s3_creds *out, const char *id, const char *secret,
    const char *token, struct err *e)
{
	struct s3_creds c;

	memset(&c, 0, sizeof(c));
	if (*id == '\0' || *secret == '\0')
		return err_set(e, CALA_USAGE, "%s is empty", *id == '\0' ?
		    "the access key's id" : "the secret key");
	if (strlen(id) >= sizeof(c.id) || !header_safe(id) ||
	    strchr(id, '/') != NULL || strchr(id, ',') != NULL)
		return err_set(e, CALA_USAGE, "'%s' is no id of an access key",
		    str_q(id));
	if (token != NULL && !header_safe(token))
		return err_set(e, CALA_USAGE,
		    "the session token has blanks or control characters");
	memcpy(c.id, id, strlen(id) + 1);
	if (secret_set(&c.secret, secret, strlen(secret), e) == -1 ||
	    (token != NULL && *token != '\0' &&
	    secret_set(&c.token, token, strlen(token), e) == -1)) {
		creds_fini(&c);
		return -1;
	}
	creds_fini(out);
	*out = c;
	return 0;
}

/* jansson's copies of the secrets are on the heap: overwrite them there. */
static void
json_wipe(json_t *o)
{
	const char *key, *s;
	json_t *v;

	json_object_foreach(o, key, v)
		if ((s = json_string_value(v)) != NULL)
			secret_wipe((char *)(uintptr_t)s,
			    json_string_length(v));
	json_decref(o);
}

int
creds_json(const char *p, size_t n, const char *what, struct s3_creds *out,
    struct err *e)
{
	json_t *o = json_parse(p, n, what, e);
	const char *id, *secret, *token, *expires;
	struct timespec until = { 0, 0 };
	int ret = -1;

	if (o == NULL)
		return -1;
	id = json_get_str(o, "AccessKeyId");
	secret = json_get_str(o, "SecretAccessKey");
	token = json_get_str(o, "SessionToken");
	if (token == NULL)
		token = json_get_str(o, "Token");
	expires = json_get_str(o, "Expiration");
	if (!json_is_object(o) || json_get_u64(o, "Version", 1) != 1)
		err_set(e, CALA_AUTH, "not a document of version 1");
	else if (id == NULL || secret == NULL)
		err_set(e, CALA_AUTH, "has no AccessKeyId and "
		    "SecretAccessKey");
	else if (expires != NULL && when_rfc3339(expires, &until) == -1)
		err_set(e, CALA_AUTH, "Expiration '%s' is no time",
		    str_q(expires));
	else if (creds_take(out, id, secret, token, e) == 0) {
		out->expires = until.tv_sec;
		ret = 0;
	}
	json_wipe(o);
	return ret == 0 ? 0 : err_ctx(e, "%s", what);
}

/* "~/x", or $HOME/.aws/name without the variable; NULL: no home either. */
static char *
path_of(char *const *env, const char *variable, const char *name)
{
	const char *v = creds_env(env, variable);
	const char *home = creds_env(env, "HOME");
	char *dir, *path;

	if (v != NULL && strncmp(v, "~/", 2) != 0)
		return strdup(v);
	if (home == NULL)
		return v != NULL ? strdup(v) : strdup("");
	if (v != NULL)
		return str_join(home, v + 2);
	if ((dir = str_join(home, ".aws")) == NULL)
		return NULL;
	path = str_join(dir, name);
	free(dir);
	return path;
}

static int
one_file(struct creds_from *c, const char *variable, const char *name,
    struct awsfile *f, struct err *e)
{
	char *path = path_of(c->env, variable, name);
	int r;

	awsfile_fini(f);
	if (path == NULL)
		return err_oom(e);
	r = *path != '\0' ? awsfile_read(f, path, f == &c->shared, e) : 1;
	if (r == 0 && f->open && f == &c->shared)
		log_note(c->log, "%s: others may read it; chmod 600 keeps "
		    "the keys private", str_q(path));
	free(path);
	return r == -1 ? -1 : 0;
}

int
creds_files(struct creds_from *c, struct err *e)
{
	if (one_file(c, "AWS_CONFIG_FILE", "config", &c->config, e) == -1)
		return -1;
	return one_file(c, "AWS_SHARED_CREDENTIALS_FILE", "credentials",
	    &c->shared, e);
}

void
creds_files_fini(struct creds_from *c)
{
	awsfile_fini(&c->config);
	awsfile_fini(&c->shared);
}

const char *
creds_profile(const struct creds_from *c, const char *parent, const char *key)
{
	const char *v = awsfile_get(&c->shared, "profile", c->profile, parent,
	    key);

	return v != NULL ? v : awsfile_get(&c->config, "profile", c->profile,
	    parent, key);
}

static bool
profile_exists(const struct creds_from *c)
{
	return awsfile_has(&c->shared, "profile", c->profile) ||
	    awsfile_has(&c->config, "profile", c->profile);
}

/*
 * The sources.  Each returns 0 with a key, 1 when it has none, -1 when it has
 * one that can't be used: then no other is asked.
 */

/* "access-key = ...", "secret-key = ..."; AWS' names are fine, too. */
static int
from_file(struct creds_from *c, struct s3_creds *out, struct err *e)
{
	static const char *const names[3][2] = {
		{ "access-key", "aws_access_key_id" },
		{ "secret-key", "aws_secret_access_key" },
		{ "session-token", "aws_session_token" },
	};
	struct secret text = SECRET_INIT;
	struct buf b;
	struct awsfile f;
	const char *v[3];
	size_t i;
	int ret = -1;

	if (c->file == NULL)
		return 1;
	if (secret_read_file(&text, c->file, e) == -1)
		return -1;
	/* Its pairs need no heading: give it one. */
	buf_init(&b, SECRET_MAX + 16);
	if (buf_room(&b, text.len + 16) == NULL || buf_str(&b,
	    "[default]\n") == -1 || buf_add(&b, text.p, text.len) == -1) {
		buf_failed(&b, e);
		goto out;
	}
	if (awsfile_parse(&f, b.p, b.len, true, e) == -1)
		goto out;
	for (i = 0; i < 3; i++) {
		v[i] = awsfile_get(&f, "profile", "default", "", names[i][0]);
		if (v[i] == NULL)
			v[i] = awsfile_get(&f, "profile", "default", "",
			    names[i][1]);
	}
	if (v[0] == NULL || v[1] == NULL)
		err_set(e, CALA_USAGE, "needs lines 'access-key =' and "
		    "'secret-key ='");
	else
		ret = creds_take(out, v[0], v[1], v[2], e);
	awsfile_fini(&f);
out:
	secret_wipe(b.p, b.len);
	buf_fini(&b);
	secret_free(&text);
	return ret == 0 ? 0 : err_ctx(e, "%s", str_q(c->file));
}

static int
from_conf(struct creds_from *c, struct s3_creds *out, struct err *e)
{
	struct secret key = SECRET_INIT, token = SECRET_INIT;
	const char *id, *where;
	int ret = -1, r;

	if (c->cfg == NULL)
		return 1;
	if (conf_bool(c->cfg, "anonymous")) {
		creds_fini(out);
		out->anonymous = true;
		return 0;
	}
	where = conf_where(c->cfg, NULL);
	id = conf_get(c->cfg, "access-key");
	if ((r = conf_secret(c->conf, c->cfg, "secret-key", &key, e)) == -1)
		goto out;
	if (id == NULL && r == 0)
		return 1;
	if (id == NULL || r == 0) {
		err_set(e, CALA_USAGE, "%s: [configuration \"%s\"]: %s is "
		    "missing", where, str_q(conf_name(c->cfg)),
		    id == NULL ? "access-key" : "secret-key");
		err_hint(e, "cala-config set %s %s", str_q(conf_name(c->cfg)),
		    id == NULL ? "access-key" : "secret-key");
		goto out;
	}
	if ((r = conf_secret(c->conf, c->cfg, "session-token", &token, e)) ==
	    -1)
		goto out;
	ret = creds_take(out, id, (const char *)key.p, r == 1 ?
	    (const char *)token.p : NULL, e);
	if (ret == -1)
		err_ctx(e, "%s: [configuration \"%s\"]", where,
		    str_q(conf_name(c->cfg)));
out:
	secret_free(&key);
	secret_free(&token);
	return ret;
}

static int
from_env(struct creds_from *c, struct s3_creds *out, struct err *e)
{
	const char *id = creds_env(c->env, "AWS_ACCESS_KEY_ID");
	const char *secret = creds_env(c->env, "AWS_SECRET_ACCESS_KEY");
	const char *token = creds_env(c->env, "AWS_SESSION_TOKEN");

	if (token == NULL)
		token = creds_env(c->env, "AWS_SECURITY_TOKEN");
	if (id == NULL && secret == NULL)
		return 1;
	if (id == NULL || secret == NULL)
		return err_set(e, CALA_USAGE, "%s is set, %s is not",
		    id != NULL ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
		    id != NULL ? "AWS_SECRET_ACCESS_KEY" :
		    "AWS_ACCESS_KEY_ID");
	return creds_take(out, id, secret, token, e) == 0 ? 0 :
	    err_ctx(e, "AWS_ACCESS_KEY_ID");
}

/* id and secret of one file: never the id of one and the secret of another. */
static int
from_pair(struct creds_from *c, const struct awsfile *f, struct s3_creds *out,
    struct err *e)
{
	const char *id, *secret;

	id = awsfile_get(f, "profile", c->profile, "", "aws_access_key_id");
	secret = awsfile_get(f, "profile", c->profile, "",
	    "aws_secret_access_key");
	if (id == NULL && secret == NULL)
		return 1;
	if (id == NULL || secret == NULL)
		return err_set(e, CALA_USAGE, "%s is missing", id == NULL ?
		    "aws_access_key_id" : "aws_secret_access_key");
	return creds_take(out, id, secret, awsfile_get(f, "profile",
	    c->profile, "", "aws_session_token"), e);
}

static int
from_process(const char *command, struct s3_creds *out, struct err *e)
{
	struct secret text = SECRET_INIT;
	char **argv = NULL;
	int ret = -1;

	if (conf_words(command, &argv, e) == 0 && secret_read_command(&text,
	    (const char *const *)argv, PROCESS_SECONDS, e) == 0)
		ret = creds_json((const char *)text.p, text.len,
		    "its output", out, e);
	secret_free(&text);
	free(argv);
	return ret == 0 ? 0 : err_ctx(e, "credential_process");
}

static int
profile_key(struct creds_from *c, struct s3_creds *out, struct err *e)
{
	const char *role = creds_profile(c, "", "role_arn");
	const char *web = creds_profile(c, "", "web_identity_token_file");
	const char *process = creds_profile(c, "", "credential_process");
	int r;

	if (role != NULL && web != NULL)
		return creds_web(c, web, role, creds_profile(c, "",
		    "role_session_name"), out, e);
	if (role == NULL) {
		if ((r = from_pair(c, &c->shared, out, e)) != 1 ||
		    (r = from_pair(c, &c->config, out, e)) != 1)
			return r;
		if (process != NULL)
			return from_process(process, out, e);
		if (creds_profile(c, "", "sso_session") == NULL &&
		    creds_profile(c, "", "sso_start_url") == NULL)
			return 1;
	}
	err_set(e, CALA_USAGE, "%s is not supported", role != NULL ?
	    "taking a role by another profile" : "single sign-on");
	return err_hint(e, "credential_process = aws configure "
	    "export-credentials --profile NAME --format process, in a profile "
	    "of its own");
}

static int
from_profile(struct creds_from *c, struct s3_creds *out, struct err *e)
{
	int r;

	if (c->named && !profile_exists(c)) {
		err_set(e, CALA_AUTH, "there is no profile '%s'",
		    str_q(c->profile));
		return err_hint(e, "profiles are in ~/.aws/config and "
		    "~/.aws/credentials, or where AWS_CONFIG_FILE and "
		    "AWS_SHARED_CREDENTIALS_FILE say");
	}
	r = profile_key(c, out, e);
	if (r == 1 && c->named)
		r = err_set(e, CALA_AUTH, "has no key");
	return r == -1 ? err_ctx(e, "profile '%s'", str_q(c->profile)) : r;
}

static int
from_web(struct creds_from *c, struct s3_creds *out, struct err *e)
{
	const char *file = creds_env(c->env, "AWS_WEB_IDENTITY_TOKEN_FILE");
	const char *role = creds_env(c->env, "AWS_ROLE_ARN");

	if (file == NULL || role == NULL)
		return 1;
	return creds_web(c, file, role, creds_env(c->env,
	    "AWS_ROLE_SESSION_NAME"), out, e);
}

static int
from_named(struct creds_from *c, struct s3_creds *out, struct err *e)
{
	return c->named ? from_profile(c, out, e) : 1;
}

int
creds_get(struct creds_from *c, struct s3_creds *out, struct err *e)
{
	static const struct {
		int (*get)(struct creds_from *, struct s3_creds *,
		    struct err *);
		const char *name;
	} t[] = {
		{ from_file, "a credentials file" },
		{ from_named, "a profile" },
		{ from_conf, "the configuration" },
		{ from_env, "the environment" },
		{ from_profile, "a profile" },
		{ from_web, "web identity" },
		{ creds_container, "the container's service" },
		{ creds_imds, "the EC2 instance" },
	};
	size_t i;
	int r;

	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		if ((r = t[i].get(c, out, e)) == 1)
			continue;
		if (r == 0)
			log_step(c->log, "%s: from %s", out->anonymous ?
			    "no credentials, requests are not signed" :
			    out->id, t[i].name);
		return r;
	}
	err_set(e, CALA_AUTH, "no access key: neither %s nor AWS_ACCESS_KEY_ID "
	    "nor a profile has one", c->cfg != NULL ? "the configuration" :
	    "--profile");
	return c->cfg != NULL ? err_hint(e, "cala-config set %s access-key, "
	    "then secret-key", str_q(conf_name(c->cfg))) : err_hint(e,
	    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a "
	    "configuration (-c)");
}

static bool
same(const struct secret *a, const struct secret *b)
{
	return a->len == b->len && (a->len == 0 ||
	    memcmp(a->p, b->p, a->len) == 0);
}

int
creds_refresh(void *arg, struct s3_creds *out, struct err *e)
{
	struct creds_from *c = arg;
	struct s3_creds new;

	memset(&new, 0, sizeof(new));
	if (creds_files(c, e) == -1 || creds_get(c, &new, e) == -1)
		return -1;
	if (strcmp(new.id, out->id) == 0 && same(&new.secret, &out->secret) &&
	    same(&new.token, &out->token)) {
		creds_fini(&new);
		return err_set(e, CALA_AUTH, "the credentials have expired, "
		    "and there are no newer ones");
	}
	creds_fini(out);
	*out = new;
	return 0;
}
