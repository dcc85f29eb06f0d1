/*
 * restic: the program as a configuration has it, and the verbs that only
 * handle names and records.
 */

#include "driver/restic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"
#include "base/when.h"
#include "config/conf.h"

struct own {
	struct restic *r;
	char *cache;
};

static const char *
ours(const struct driver_call *call, const char *name)
{
	size_t n = strlen(name);
	char *const *p;

	for (p = call->env; p != NULL && *p != NULL; p++)
		if (strncmp(*p, name, n) == 0 && (*p)[n] == '=' &&
		    (*p)[n + 1] != '\0')
			return *p + n + 1;
	return NULL;
}

/* What the configuration says to restic itself. */
static int
configured(struct driver_call *call, struct child_env *v, struct err *e)
{
	struct secret s = SECRET_INIT;
	const char *name, *raw;
	char key[KEY_NAME_MAX];
	size_t i;
	int r, ret = -1;

	for (i = 0; conf_map(call->cfg, "environment", i, &name, &raw) == 0;
	    i++) {
		/* That is what repository = is for. */
		if (str_begins(name, "RESTIC_REPOSITORY"))
			continue;
		snprintf(key, sizeof(key), "environment.%s", name);
		if ((r = conf_secret(call->conf, call->cfg, key, &s, e)) ==
		    -1)
			goto out;
		if (r == 0)
			continue;
		if (memchr(s.p, '\0', s.len) != NULL) {
			err_set(e, CALA_USAGE, "%s: has a NUL byte", key);
			goto out;
		}
		if (child_env_set(v, name, (const char *)s.p, e) == -1)
			goto out;
	}
	ret = 0;
out:
	secret_free(&s);
	return ret;
}

/*
 * What restic's back ends know by themselves is passed on, but never half of
 * a set: with an id of the configuration's goes no other's secret.
 */
static int
inherited(struct driver_call *call, struct child_env *v, struct err *e)
{
	static const char *const families[] = { "AWS_", "B2_", "AZURE_",
	    "GOOGLE_", "OS_", "ST_", "RCLONE_", "RESTIC_REST_" };
	static const char *const passwords[] = { "RESTIC_PASSWORD",
	    "RESTIC_PASSWORD_FILE", "RESTIC_PASSWORD_COMMAND" };
	static const char *const singles[] = { "SSH_AUTH_SOCK", "HTTP_PROXY",
	    "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy",
	    "https_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE",
	    "SSL_CERT_DIR", "XDG_CONFIG_HOME", "RESTIC_KEY_HINT",
	    "RESTIC_READ_CONCURRENCY", "RESTIC_FEATURES" };
	bool has = false;
	size_t i;

	for (i = 0; i < sizeof(families) / sizeof(*families); i++)
		if (!child_env_has(v, families[i]) &&
		    child_env_pass(v, call->env, families[i], e) == -1)
			return -1;
	for (i = 0; i < sizeof(passwords) / sizeof(*passwords); i++)
		has |= child_env_get(v, passwords[i]) != NULL;
	for (i = 0; !has && i < sizeof(passwords) / sizeof(*passwords); i++)
		if (child_env_pass(v, call->env, passwords[i], e) == -1)
			return -1;
	for (i = 0; i < sizeof(singles) / sizeof(*singles); i++)
		if (child_env_pass(v, call->env, singles[i], e) == -1)
			return -1;
	return 0;
}

static char *
cache_dir(struct driver_call *call, const struct child_env *v)
{
	const char *s = conf_get(call->cfg, "cache-directory");

	if (s == NULL)
		s = child_env_get(v, "RESTIC_CACHE_DIR");
	if (s != NULL && *s == '/')
		return strdup(s);
	if ((s = ours(call, "CALA_CACHE_DIR")) != NULL ||
	    (s = ours(call, "CACHE_DIRECTORY")) != NULL)
		return str_join(s, "restic");
	if (geteuid() == 0)
		return strdup("/var/cache/cala/restic");
	if ((s = ours(call, "XDG_CACHE_HOME")) != NULL && *s == '/')
		return str_join(s, "cala/restic");
	if ((s = ours(call, "HOME")) != NULL && *s == '/')
		return str_join(s, ".cache/cala/restic");
	return strdup("/var/cache/cala/restic");
}

int
resticd_open(struct driver_call *call, struct restic **out, struct err *e)
{
	struct own *o = call->own;
	struct child_env env = CHILD_ENV_INIT;
	struct restic_how how;

	if (o == NULL && (o = call->own = calloc(1, sizeof(*o))) == NULL)
		return err_oom(e);
	if (o->r != NULL) {
		*out = o->r;
		return 0;
	}
	if (child_env_init(&env, call->env, e) == -1 ||
	    configured(call, &env, e) == -1 ||
	    inherited(call, &env, e) == -1) {
		child_env_fini(&env);
		return -1;
	}
	if (o->cache == NULL &&
	    (o->cache = cache_dir(call, &env)) == NULL) {
		child_env_fini(&env);
		return err_oom(e);
	}
	memset(&how, 0, sizeof(how));
	how.repository = conf_get(call->cfg, "repository");
	how.cache = o->cache;
	how.cacert = conf_get(call->cfg, "cacert");
	if (child_env_get(&env, "RESTIC_COMPRESSION") == NULL)
		how.compression = conf_get(call->cfg, "compression");
	if (child_env_get(&env, "RESTIC_PACK_SIZE") == NULL)
		how.pack_size = conf_u64(call->cfg, "pack-size") >> 20;
	how.retry_lock = conf_u64(call->cfg, "retry-lock-seconds");
	how.limit = call->limit_network;
	how.patience = conf_u64(call->cfg, "timeout");
	how.idle = conf_u64(call->cfg, "stall-timeout");
	how.jobs = call->jobs;
	how.log = call->log;
	if (restic_open(&o->r, &how, &env, e) == -1)
		return -1;
	*out = o->r;
	return 0;
}

const char *
resticd_cache(struct driver_call *call)
{
	const struct own *o = call->own;

	return o->cache;
}

void
resticd_done(struct driver_call *call)
{
	struct own *o = call->own;

	if (o == NULL)
		return;
	restic_close(o->r);
	free(o->cache);
	free(o);
	call->own = NULL;
}

/* ---- verbs ---- */

/*
 * A change of tags that was killed leaves the old snapshot beside the new one.
 * Both have one time, and restic lists by time, so those of one time are held
 * back until it is known which of them has a newer one.
 */
struct held {
	struct resticd_snap snap;
	struct record rec;
	bool old;
};

struct listing {
	struct driver_call *call;
	record_fn *fn;
	void *arg;
	struct held *v;
	size_t n;
};

static int
let_go(struct listing *l, struct err *e)
{
	const char *server = l->call->server;
	struct held *h;
	size_t i;
	int ret = 0;

	for (i = 0; i < l->n; i++) {
		h = &l->v[i];
		if (ret == 0 && !h->old && (server[0] == '\0' ||
		    strcmp(server, h->rec.server) == 0))
			ret = l->fn(l->arg, &h->rec, e);
		resticd_snap_fini(&h->snap);
		record_fini(&h->rec);
	}
	l->n = 0;
	return ret;
}

static bool
renews(const struct held *a, const struct held *b)
{
	return strcmp(a->rec.uuid, b->rec.uuid) == 0 &&
	    resticd_renews(&a->snap, &b->snap);
}

static int
list_one(void *arg, struct resticd_snap *snap, struct record *rec,
    struct err *e)
{
	struct listing *l = arg;
	struct held *h = l->v;
	size_t i;

	if (l->n > 0 && when_cmp(h[0].snap.time, snap->time) != 0 &&
	    let_go(l, e) == -1)
		return -1;
	if ((l->n & (l->n - 1)) == 0) {
		h = realloc(h, (l->n == 0 ? 1 : 2 * l->n) * sizeof(*h));
		if (h == NULL)
			return err_oom(e);
		l->v = h;
	}
	h += l->n;
	h->snap = *snap;
	h->rec = *rec;
	h->old = false;
	memset(snap, 0, sizeof(*snap));
	record_init(rec);
	for (i = 0; i < l->n; i++) {
		l->v[i].old |= renews(h, &l->v[i]);
		h->old |= renews(&l->v[i], h);
	}
	l->n++;
	return 0;
}

static int
list(struct driver_call *call, record_fn *fn, void *arg, struct err *e)
{
	struct listing l = { call, fn, arg, NULL, 0 };
	int ret = resticd_each(call, list_one, &l, e);

	if (ret == 0)
		ret = let_go(&l, e);
	while (l.n > 0) {
		resticd_snap_fini(&l.v[--l.n].snap);
		record_fini(&l.v[l.n].rec);
	}
	free(l.v);
	return ret;
}

static int
find(struct driver_call *call, struct record *rec, struct err *e)
{
	struct resticd_snap snap;
	int r;

	/* What is changed or deleted must be as it is now. */
	if (strcmp(call->verb, "restore") == 0) {
		if ((r = resticd_recall(call, call->backup, &snap, rec,
		    e)) == 0)
			resticd_snap_fini(&snap);
		if (r != 1)
			return r;
	}
	return resticd_find(call, call->backup, NULL, rec, e);
}

static int
sync_record(struct driver_call *call, struct record *rec, struct err *e)
{
	struct resticd_tags t = { .n = 0 };
	struct resticd_snap snap;
	struct record now;
	int ret = -1;

	if (resticd_find(call, rec->uuid, &snap, &now, e) == -1)
		return -1;
	/* After this only who finds the snapshot unchanged can change it. */
	if (!record_same(&now, call->was))
		err_set(e, CALA_LOCKED, "backup %s: somebody else has just "
		    "changed its record", rec->uuid);
	else if (resticd_tags(rec, &snap, &t, e) == 0)
		ret = resticd_retag(call, snap.id, &t, 0, e);
	resticd_tags_fini(&t);
	resticd_snap_fini(&snap);
	record_fini(&now);
	return ret;
}

int
resticd_drop(struct driver_call *call, const char *id, struct err *e)
{
	char ref[RESTICD_REF + 1];
	const char *const args[] = { "forget", "--", ref, NULL };
	struct restic_run run = { .flags = RESTIC_WAITS, .args = args };
	static const struct buf nothing;
	struct restic *r;

	snprintf(ref, sizeof(ref), "%s", id);
	if (resticd_open(call, &r, e) == -1)
		return -1;
	resticd_remember(call, &nothing);
	if (restic_do(r, &run, NULL, NULL, e) == -1)
		return -1;
	return run.ignored ? err_set(e, CALA_LOCKED, "somebody else has just "
	    "changed or deleted it") : 0;
}

static int
remove_backup(struct driver_call *call, struct record *rec, struct err *e)
{
	struct resticd_snap snap;
	struct record now;
	int ret = -1;

	/* Somebody may have locked it since it was looked up. */
	if (resticd_find(call, rec->uuid, &snap, &now, e) == -1)
		return -1;
	if (now.locked) {
		err_set(e, CALA_PROTECTED, "backup %s is locked", rec->uuid);
	} else if (call->dry_run) {
		driver_say(call, "would forget snapshot %.8s of backup %s",
		    snap.id, rec->uuid);
		ret = 0;
	} else if ((ret = resticd_drop(call, snap.id, e)) == -1) {
		err_ctx(e, "backup %s", rec->uuid);
	}
	resticd_snap_fini(&snap);
	record_fini(&now);
	return ret;
}

static const char *const disks[] = { "restic", NULL };

static const struct driver_verb extra[] = {
	{ "init", "make the repository", DRIVER_BLOCKED, resticd_init },
	{ NULL, NULL, 0, NULL }
};

const struct driver restic_driver = {
	.name = "cala-restic",
	.disks = disks,
	.takes = DRIVER_DIR,
	.put_dir = resticd_put,
	.open = resticd_tree,
	.restore = resticd_restore,
	.list = list,
	.find = find,
	.sync = sync_record,
	.remove = remove_backup,
	.check = resticd_check,
	.verify = resticd_verify,
	.gc = resticd_gc,
	.done = resticd_done,
	.extra = extra,
};
