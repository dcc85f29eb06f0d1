/*
 * kopia: where a connection lives, and making it.
 *
 * `kopia repository connect` tries the connection, and when that fails it
 * deletes the configuration it has just written and, with all that is in it,
 * the cache.  So it works under another name and with another cache until it
 * has succeeded, and what was there is replaced only then.
 */

#include "exec/kopia_int.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/str.h"
#include "fs/extract.h"

enum {
	CONFIG_MAX = 1 << 20,
	CONNECT_WAIT = 60,              /* seconds for another's connecting */
	CONNECT_LIMIT = 120,
	VERSION_LIMIT = 30
};

int
kopia_make_slug(const char *url, const char *user, char out[KOPIA_SLUG],
    struct err *e)
{
	unsigned char md[SHA256_LEN];
	struct sha256 *h = sha256_new(e);

	if (h == NULL)
		return -1;
	sha256_add(h, url, strlen(url) + 1);
	sha256_add(h, user, strlen(user));
	sha256_end(h, md);
	sha256_free(h);
	hex_put(md, (KOPIA_SLUG - 1) / 2, out);
	return 0;
}

const char *
kopia_name(const struct kopia *k, const char *suffix, char out[KOPIA_NAME])
{
	snprintf(out, KOPIA_NAME, "%s%s", k->slug, suffix);
	return out;
}

int
kopia_dirfd(const struct kopia *k)
{
	return k->dirfd;
}

const char *
kopia_slug(const struct kopia *k)
{
	return k->slug;
}

char *
kopia_source(const struct kopia *k, const char *path, struct err *e)
{
	struct buf b;
	char *s;

	if (!str_utf8(path, strlen(path))) {
		err_set(e, CALA_USAGE, "%s: Kopia can't keep a path that is "
		    "not UTF-8", str_q(path));
		return NULL;
	}
	buf_init(&b, ENTRY_PATH_MAX + 512);
	buf_printf(&b, "%s:%s", k->how->user, path);
	if ((s = buf_detach(&b)) == NULL)
		err_oom(e);
	buf_fini(&b);
	return s;
}

/* ---- the program ---- */

bool
kopia_too_old(const char *text)
{
	unsigned major = 0, minor = 0;

	/* What somebody compiled says no number. */
	return sscanf(text, "%u.%u", &major, &minor) == 2 && major == 0 &&
	    minor < 21;
}

int
kopia_version(struct kopia *k, char *out, size_t n, struct err *e)
{
	static const char *const args[] = { "--version", NULL };
	struct kopia_cmd cmd = { .what = "--version", .args = args,
	    .in = PROC_NULL, .limit = VERSION_LIMIT };
	struct kopia_run r;
	char *line;
	size_t len;
	int got;

	*out = '\0';
	if (kopia_start(&r, k, &cmd, e) == -1)
		return -1;
	got = child_line(r.child, &line, &len, e);
	if (got == 1) {
		line[strcspn(line, " ")] = '\0';
		snprintf(out, n, "%s", str_q(line));
		got = child_finish(r.child, e);
	}
	kopia_end(&r);
	if (got == -1)
		return -1;
	if (kopia_too_old(out))
		return err_set(e, CALA_USAGE, "Kopia %s is too old: "
		    KOPIA_OLDEST " or newer is needed", out);
	return 0;
}

/* ---- the connection ---- */

/* Fingerprints as Wings passes them may have colons. */
static bool
same_print(const char *stored, const char *want)
{
	if (stored == NULL)
		stored = "";
	if (want == NULL)
		want = "";
	while (*stored == ':')
		stored++;
	while (*stored != '\0' &&
	    tolower((unsigned char)*stored) == tolower((unsigned char)*want)) {
		want++;
		do
			stored++;
		while (*stored == ':');
	}
	return *stored == '\0' && *want == '\0';
}

static bool
same_url(const char *stored, const char *want)
{
	size_t n = strlen(want);

	if (n > 0 && want[n - 1] == '/')
		n--;
	return stored != NULL && strlen(stored) == n &&
	    strncmp(stored, want, n) == 0;
}

static bool
same_user(const json_t *config, const char *user)
{
	const char *name = json_get_str(config, "username");
	const char *host = json_get_str(config, "hostname");
	size_t n;

	if (name == NULL || host == NULL)
		return false;
	n = strlen(name);
	return strncmp(user, name, n) == 0 && user[n] == '@' &&
	    strcmp(user + n + 1, host) == 0;
}

/* What is there: a new reference when it fits; else NULL (no error). */
static json_t *
fitting(const struct kopia *k)
{
	struct err ignored = ERR_INIT;
	char name[KOPIA_NAME];
	const json_t *server;
	json_t *config = NULL;
	struct buf b;

	buf_init(&b, CONFIG_MAX);
	kopia_name(k, ".config", name);
	if (file_slurp(&b, k->dirfd, name, &ignored) == 0)
		config = json_parse(b.p, b.len, name, &ignored);
	buf_fini(&b);
	server = json_object_get(config, "apiServer");
	if (config != NULL && same_url(json_get_str(server, "url"),
	    k->how->url) && same_print(json_get_str(server,
	    "serverCertFingerprint"), k->how->fingerprint) &&
	    same_user(config, k->how->user))
		return config;
	json_decref(config);
	return NULL;
}

/*
 * The connection without a cache of contents.  For each session Kopia derives
 * the key of that cache anew (scrypt), which takes longer than most of what we
 * ask; only a put profits from it.
 */
static int
save_bare(struct kopia *k, json_t *config, struct err *e)
{
	struct afile f = AFILE_INIT;
	struct err ignored = ERR_INIT;
	char name[KOPIA_NAME], *text;
	struct buf b;
	int ret = -1;

	buf_init(&b, CONFIG_MAX);
	kopia_name(k, ".cala.config", name);
	if (json_object_set_new(config, "caching", json_object()) == -1 ||
	    (text = json_dumps(config, JSON_INDENT(2))) == NULL)
		return err_oom(e);
	if (file_slurp(&b, k->dirfd, name, &ignored) == 0 &&
	    strcmp(b.p, text) == 0) {
		ret = 0;
		goto out;
	}
	if (afile_open(&f, k->dirfd, name, e) == -1)
		goto out;
	if (file_write_all(f.fd, text, strlen(text)) == -1)
		err_sys(e, "write %s", name);
	else
		ret = afile_commit(&f, 0600, 0, e);
out:
	afile_abort(&f);
	free(text);
	buf_fini(&b);
	return ret;
}

/* "--NAME=VALUE" */
static int
arg(char **out, const char *name, const char *value, struct err *e)
{
	if (asprintf(out, "--%s=%s", name, value) == -1) {
		*out = NULL;
		return err_oom(e);
	}
	return 0;
}

static int
run_connect(struct kopia *k, const char *config, const char *probe,
    struct err *e)
{
	char *url = NULL, *print = NULL, *name = NULL, *host = NULL,
	    *cache = NULL, *own = k->config_arg, *user = NULL, *at;
	const char *args[16];
	struct kopia_cmd cmd = { .what = "repository connect", .args = args,
	    .cached = true, .in = PROC_NULL, .limit = CONNECT_LIMIT };
	struct kopia_run r;
	size_t n = 0;
	int ret = -1;

	k->config_arg = NULL;
	if ((user = strdup(k->how->user)) == NULL ||
	    (at = strchr(user, '@')) == NULL) {
		err_oom(e);
		goto out;
	}
	*at++ = '\0';
	if (arg(&k->config_arg, "config-file", config, e) == -1 ||
	    arg(&url, "url", k->how->url, e) == -1 ||
	    arg(&name, "override-username", user, e) == -1 ||
	    arg(&host, "override-hostname", at, e) == -1 ||
	    arg(&cache, "cache-directory", k->cache, e) == -1 ||
	    (k->how->fingerprint != NULL && arg(&print,
	    "server-cert-fingerprint", k->how->fingerprint, e) == -1))
		goto out;
	args[n++] = "repository";
	args[n++] = "connect";
	args[n++] = "server";
	args[n++] = url;
	args[n++] = name;
	args[n++] = host;
	args[n++] = cache;
	args[n++] = "--no-check-for-updates";
	/* Directories of the last backup are in it, and little else. */
	args[n++] = "--content-cache-size-mb=500";
	if (print != NULL)
		args[n++] = print;
	args[n] = NULL;
	/* In effect while it tries; what is written is the one above. */
	if (child_env_set(&k->env, "KOPIA_CACHE_DIRECTORY", probe, e) == -1 ||
	    kopia_start(&r, k, &cmd, e) == -1)
		goto out;
	ret = child_finish(r.child, e);
	kopia_end(&r);
out:
	free(k->config_arg);
	k->config_arg = own;
	free(url);
	free(print);
	free(name);
	free(host);
	free(cache);
	free(user);
	return ret;
}

/* Under the lock. */
static int
make_connection(struct kopia *k, struct err *e)
{
	char tmp[KOPIA_NAME], probe[KOPIA_NAME], name[KOPIA_NAME];
	char version[64], *config = NULL, *cache = NULL;
	int ret = -1;

	snprintf(tmp, sizeof(tmp), ".%s.connecting", k->slug);
	snprintf(probe, sizeof(probe), ".%s.trying", k->slug);
	if (kopia_version(k, version, sizeof(version), e) == -1)
		return -1;
	log_step(k->how->log, "connecting to %s as %s, with Kopia %s",
	    str_q(k->how->url), k->how->user, version);
	if ((config = str_join(k->dir, tmp)) == NULL ||
	    (cache = str_join(k->dir, probe)) == NULL) {
		err_oom(e);
		goto out;
	}
	/* What a killed run left. */
	(void)unlinkat(k->dirfd, tmp, 0);
	if (fs_remove(k->dirfd, probe) == -1) {
		err_sys(e, "remove %s", str_q(cache));
		goto out;
	}
	if (run_connect(k, config, cache, e) == -1) {
		(void)unlinkat(k->dirfd, tmp, 0);
		(void)fs_remove(k->dirfd, probe);
		goto out;
	}
	(void)fs_remove(k->dirfd, probe);
	kopia_name(k, ".config", name);
	if (renameat(k->dirfd, tmp, k->dirfd, name) == -1 ||
	    fsync(k->dirfd) == -1) {
		err_sys(e, "make %s/%s", str_q(k->dir), name);
		goto out;
	}
	ret = 0;
out:
	free(config);
	free(cache);
	return ret;
}

static int
connect_once(struct kopia *k, struct err *e)
{
	json_t *config = fitting(k);
	char name[KOPIA_NAME];
	int lock = -1, ret = -1;

	if (config == NULL) {
		kopia_name(k, ".lock", name);
		lock = file_lock(k->dirfd, name, "cala-kopia", CONNECT_WAIT,
		    e);
		if (lock == -1)
			return -1;
		/* Another may have done it while we waited. */
		config = fitting(k);
		if (config == NULL && make_connection(k, e) == -1)
			goto out;
		if (config == NULL && (config = fitting(k)) == NULL) {
			err_set(e, CALA_FAIL, "Kopia says that it is "
			    "connected, but %s/%s.config does not",
			    str_q(k->dir), k->slug);
			goto out;
		}
	}
	ret = save_bare(k, config, e);
out:
	json_decref(config);
	if (lock != -1)
		close(lock);
	return ret;
}

/* ---- opening ---- */

static int
check_how(const struct kopia_how *how, struct err *e)
{
	const unsigned char *p = how->password->p;
	size_t n = how->password->len;

	if (!str_begins(how->url, "https://"))
		return err_set(e, CALA_USAGE, "url: a Kopia repository server "
		    "is reached by https only, not by %s", str_q(how->url));
	if (strchr(how->user, '@') == NULL)
		return err_set(e, CALA_USAGE, "username: no user@host");
	if (n == 0)
		return err_set(e, CALA_USAGE, "password: empty");
	if (isspace(p[0]) || isspace(p[n - 1]))
		return err_set(e, CALA_USAGE, "password: Kopia drops white "
		    "space at its ends");
	if (memchr(p, '\0', n) != NULL)
		return err_set(e, CALA_USAGE, "password: has a NUL byte");
	return 0;
}

static int
environment(struct kopia *k, struct err *e)
{
	static const struct { const char *name, *value; } fixed[] = {
		{ "KOPIA_CHECK_FOR_UPDATES", "false" },
		{ "KOPIA_PERSIST_CREDENTIALS_ON_CONNECT", "false" },
		{ "KOPIA_USE_KEYRING", "false" },
		{ "KOPIA_SEND_ERROR_NOTIFICATIONS", "never" },
		{ "KOPIA_DISABLE_COLOR", "true" },
	};
	static const char *const proxies[] = { "HTTPS_PROXY", "https_proxy",
	    "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR" };
	char limit[32];
	size_t i;

	if (child_env_init(&k->env, k->how->env, e) == -1)
		return -1;
	for (i = 0; i < sizeof(fixed) / sizeof(*fixed); i++)
		if (child_env_set(&k->env, fixed[i].name, fixed[i].value,
		    e) == -1)
			return -1;
	for (i = 0; i < sizeof(proxies) / sizeof(*proxies); i++)
		if (child_env_pass(&k->env, k->how->env, proxies[i], e) == -1)
			return -1;
	if (k->how->memory > 0) {
		snprintf(limit, sizeof(limit), "%ju",
		    (uintmax_t)k->how->memory);
		if (child_env_set(&k->env, "GOMEMLIMIT", limit, e) == -1)
			return -1;
	}
	return child_env_set(&k->env, "KOPIA_PASSWORD",
	    (const char *)k->how->password->p, e);
}

/* Ours, and nobody else's to look into. */
static int
private_folder(const char *path, struct err *e)
{
	int fd = file_mkdirs(path, 0700, e);
	struct stat st;

	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == -1 || ((st.st_mode & 077) != 0 &&
	    fchmod(fd, 0700) == -1)) {
		err_sys(e, "%s", str_q(path));
		close(fd);
		return -1;
	}
	return fd;
}

static int
places(struct kopia *k, struct err *e)
{
	char name[KOPIA_NAME];
	char *config = NULL, *bare = NULL;
	int fd, ret = -1;

	if (kopia_make_slug(k->how->url, k->how->user, k->slug, e) == -1)
		return -1;
	if ((k->dir = str_join(k->how->folder, ".kopia")) == NULL)
		return err_oom(e);
	if ((k->dirfd = private_folder(k->dir, e)) == -1)
		return -1;
	if (k->how->cache != NULL) {
		if ((fd = private_folder(k->how->cache, e)) == -1)
			return -1;
		close(fd);
	}
	k->cache = str_join(k->how->cache != NULL ? k->how->cache : k->dir,
	    kopia_name(k, ".cache", name));
	config = str_join(k->dir, kopia_name(k, ".config", name));
	bare = str_join(k->dir, kopia_name(k, ".cala.config", name));
	if (k->cache == NULL || config == NULL || bare == NULL)
		err_oom(e);
	else if (arg(&k->config_arg, "config-file", config, e) == 0 &&
	    arg(&k->bare_arg, "config-file", bare, e) == 0)
		ret = 0;
	free(config);
	free(bare);
	return ret;
}

int
kopia_open(struct kopia **out, const struct kopia_how *how, struct err *e)
{
	struct kopia *k;

	if (check_how(how, e) == -1)
		return -1;
	if ((k = calloc(1, sizeof(*k))) == NULL)
		return err_oom(e);
	k->how = how;
	k->dirfd = -1;
	if (places(k, e) == -1 || environment(k, e) == -1 ||
	    connect_once(k, e) == -1 ||
	    /* A user may have put the caches somewhere else since. */
	    child_env_set(&k->env, "KOPIA_CACHE_DIRECTORY", k->cache,
	    e) == -1) {
		kopia_close(k);
		return -1;
	}
	*out = k;
	return 0;
}

void
kopia_close(struct kopia *k)
{
	if (k == NULL)
		return;
	child_env_fini(&k->env);
	if (k->dirfd != -1)
		close(k->dirfd);
	free(k->dir);
	free(k->config_arg);
	free(k->bare_arg);
	free(k->cache);
	free(k);
}
