/* kopia: the connection of a run, and the verbs that work on records. */

#include "driver/kopia.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/secret.h"
#include "base/str.h"
#include "base/when.h"
#include "config/conf.h"
#include "front/front.h"

enum { LOCK_WAIT = 30 };        /* seconds */

struct session {
	struct kopia *k;
	struct kopia_how how;
	struct secret password;
	struct kopia_found found;       /* of call->backup */
};

int
kopia_use(struct driver_call *call, struct kopia **out, struct err *e)
{
	struct session *s = call->own;
	int got;

	if (s != NULL && s->k != NULL) {
		*out = s->k;
		return 0;
	}
	/* The password is in our memory, and in our children's environment. */
	front_keys();
	if (s == NULL && (call->own = s = calloc(1, sizeof(*s))) == NULL)
		return err_oom(e);
	got = conf_secret(call->conf, call->cfg, "password", &s->password, e);
	if (got == -1)
		return -1;
	if (got == 0)
		return err_set(e, CALA_USAGE, "password: not set");
	s->how.url = conf_get(call->cfg, "url");
	s->how.user = conf_get(call->cfg, "username");
	s->how.fingerprint = conf_get(call->cfg, "fingerprint");
	s->how.folder = conf_backup_dir(call->conf);
	s->how.cache = conf_get(call->cfg, "cache-directory");
	s->how.password = &s->password;
	s->how.env = call->env;
	s->how.memory = call->memory;
	s->how.idle = (double)conf_u64(call->cfg, "timeout");
	s->how.stall = (double)conf_u64(call->cfg, "stall-timeout");
	s->how.log = call->log;
	if (kopia_open(&s->k, &s->how, e) == -1)
		return -1;
	*out = s->k;
	return 0;
}

void
kopia_done(struct driver_call *call)
{
	struct session *s = call->own;

	if (s == NULL)
		return;
	kopia_found_fini(&s->found);
	kopia_close(s->k);
	secret_free(&s->password);
	free(s);
	call->own = NULL;
}

/* ---- finding ---- */

static int
add_id(char (**v)[KOPIA_ID], size_t *n, const char *id, struct err *e)
{
	char (*more)[KOPIA_ID] = realloc(*v, (*n + 1) * sizeof(*more));

	if (more == NULL)
		return err_oom(e);
	*v = more;
	memcpy(more[(*n)++], id, KOPIA_ID);
	return 0;
}

static bool
better(const struct kopia_snap *a, const struct kopia_snap *b)
{
	bool la = kopia_pin(a, "cala.lock", 0) != NULL;
	bool lb = kopia_pin(b, "cala.lock", 0) != NULL;

	return la != lb ? la : when_cmp(a->start, b->start) > 0;
}

int
kopia_collect(struct kopia_found *f, const struct kopia_snap *s,
    struct err *e)
{
	if (s->incomplete)
		return add_id(&f->broken, &f->nbroken, s->id, e);
	if (add_id(&f->ids, &f->n, s->id, e) == -1)
		return -1;
	if (f->snap.json != NULL && !better(s, &f->snap))
		return 0;
	json_decref(f->snap.json);
	f->snap = *s;
	json_incref(f->snap.json);
	return 0;
}

void
kopia_found_fini(struct kopia_found *f)
{
	json_decref(f->snap.json);
	free(f->ids);
	free(f->broken);
	memset(f, 0, sizeof(*f));
}

static int
collect(void *arg, const struct kopia_snap *s, struct err *e)
{
	return kopia_collect(arg, s, e);
}

int
kopia_find(struct driver_call *call, struct kopia *k, const char *uuid,
    struct kopia_found *f, struct err *e)
{
	(void)call;
	memset(f, 0, sizeof(*f));
	if (kopia_list(k, uuid, collect, f, e) == 0 && f->snap.json != NULL) {
		kopia_remember(k, &f->snap);
		return 0;
	}
	kopia_found_fini(f);
	return e->code != 0 ? -1 : err_set(e, CALA_NOTFOUND, "no backup %s",
	    uuid);
}

int
kopia_find_again(struct driver_call *call, struct kopia *k,
    struct kopia_found *f, struct err *e)
{
	struct session *s = call->own;

	if (s->found.snap.json == NULL)
		return kopia_find(call, k, call->backup, f, e);
	*f = s->found;
	memset(&s->found, 0, sizeof(s->found));
	return 0;
}

/* ---- list and find ---- */

struct listing {
	struct kopia_found *v;
	size_t n, room;
};

/*
 * Kept until the end of Kopia's answer: it is only then known to be whole, and
 * only then known which of two with one UUID counts.
 */
static int
keep(void *arg, const struct kopia_snap *s, struct err *e)
{
	struct listing *l = arg;
	struct kopia_found *more;
	size_t i;

	if (s->incomplete)
		return 0;
	/* Two of one UUID are of one source, and so stand near. */
	for (i = l->n; i > 0 && l->n - i < 1000; i--)
		if (strcmp(l->v[i - 1].snap.uuid, s->uuid) == 0)
			return kopia_collect(&l->v[i - 1], s, e);
	if (l->n == l->room) {
		l->room = l->room == 0 ? 64 : 2 * l->room;
		more = reallocarray(l->v, l->room, sizeof(*more));
		if (more == NULL)
			return err_oom(e);
		l->v = more;
	}
	memset(&l->v[l->n], 0, sizeof(*l->v));
	return kopia_collect(&l->v[l->n++], s, e);
}

static int
list(struct driver_call *call, record_fn *fn, void *arg, struct err *e)
{
	struct listing l = { NULL, 0, 0 };
	struct record rec;
	struct kopia *k;
	size_t i;
	int ret;

	if (kopia_use(call, &k, e) == -1)
		return -1;
	ret = kopia_list(k, NULL, keep, &l, e);
	for (i = 0; i < l.n && ret == 0; i++) {
		ret = kopia_get_record(call, &l.v[i].snap, &rec, e);
		if (ret == 0 && (call->server[0] == '\0' ||
		    strcmp(call->server, rec.server) == 0))
			ret = fn(arg, &rec, e);
		record_fini(&rec);
	}
	while (l.n > 0)
		kopia_found_fini(&l.v[--l.n]);
	free(l.v);
	return ret;
}

/* What is changed or deleted is looked up once more, when that is done. */
static int
find(struct driver_call *call, struct record *rec, struct err *e)
{
	bool all = strcmp(call->verb, "restore") == 0 && call->npaths == 0;
	struct kopia *k;
	struct session *s;

	if (kopia_use(call, &k, e) == -1)
		return -1;
	s = call->own;
	/* A restore of all of it asks for it by its id. */
	if (s->found.snap.json == NULL &&
	    !(all && kopia_recall(k, call->backup, &s->found)) &&
	    kopia_find(call, k, call->backup, &s->found, e) == -1)
		return -1;
	return kopia_get_record(call, &s->found.snap, rec, e);
}

/* ---- set ---- */

/* Two of us on this machine; Kopia itself replaces whatever is there. */
static int
lock_records(struct kopia *k, struct driver_call *call, struct err *e)
{
	char name[KOPIA_SLUG + 16];

	snprintf(name, sizeof(name), "%s.records.lock", kopia_slug(k));
	return file_lock(kopia_dirfd(k), name, call->driver->name, LOCK_WAIT,
	    e);
}

static bool
among(char *const *v, size_t n, const char *pin)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (strcmp(v[i], pin) == 0)
			return true;
	return false;
}

/* "--add=" and "--remove=" what makes of the pins there those wanted. */
static int
difference(const struct kopia_snap *s, const struct kopia_pins *want,
    struct kopia_pins *args, struct err *e)
{
	struct kopia_pins have = { NULL, 0 };
	const char *pin;
	char *arg;
	size_t i, k;
	char **v;
	int ret = -1;

	for (i = 0; (pin = kopia_pin(s, "cala.", i)) != NULL; i++) {
		if ((v = realloc(have.v, (have.n + 1) * sizeof(*v))) == NULL)
			goto out;
		have.v = v;
		if (asprintf(&v[have.n], "cala.%s", pin) == -1)
			goto out;
		have.n++;
	}
	for (k = 0; k < 2; k++) {
		const struct kopia_pins *from = k == 0 ? want : &have;
		const struct kopia_pins *other = k == 0 ? &have : want;

		for (i = 0; i < from->n; i++) {
			if (among(other->v, other->n, from->v[i]) ||
			    strcmp(from->v[i], KOPIA_PIN_RULES) == 0)
				continue;
			v = realloc(args->v, (args->n + 1) * sizeof(*v));
			if (v == NULL)
				goto out;
			args->v = v;
			if (asprintf(&arg, "--%s=%s", k == 0 ? "add" :
			    "remove", from->v[i]) == -1)
				goto out;
			v[args->n++] = arg;
		}
	}
	ret = 0;
out:
	kopia_pins_free(&have);
	return ret == -1 ? err_oom(e) : 0;
}

static int
change_pins(struct kopia *k, const struct kopia_snap *s,
    const struct kopia_pins *want, struct err *e)
{
	struct kopia_pins args = { NULL, 0 };
	const char *argv[KOPIA_ARGS];
	size_t n = 0, i;
	int ret = -1;

	if (difference(s, want, &args, e) == -1)
		goto out;
	if (args.n == 0) {
		ret = 0;
		goto out;
	}
	argv[n++] = "snapshot";
	argv[n++] = "pin";
	for (i = 0; i < args.n && n + 2 < KOPIA_ARGS; i++)
		argv[n++] = args.v[i];
	argv[n++] = s->id;
	argv[n] = NULL;
	ret = i == args.n ? kopia_do(k, "snapshot pin", argv, e) :
	    err_set(e, CALA_FAIL, "more than %zu pins to change", i);
out:
	kopia_pins_free(&args);
	return ret;
}

/*
 * After two at once (on two machines) there are two: each wrote the manifest
 * anew, and deleted the one that it knew.
 */
static int
only_one(struct driver_call *call, struct kopia *k, const char *uuid,
    struct err *e)
{
	struct kopia_found f;
	int ret = kopia_find(call, k, uuid, &f, e);

	if (ret == 0 && f.n > 1) {
		err_set(e, CALA_LOCKED, "backup %s: somebody else has just "
		    "changed it, too; Kopia has kept both", uuid);
		ret = err_hint(e, "look at it again; %s gc removes the other",
		    call->driver->name);
	}
	if (ret == 0 || e->code == CALA_LOCKED)
		kopia_found_fini(&f);
	return ret;
}

static int
sync_record(struct driver_call *call, struct record *rec, struct err *e)
{
	struct kopia_found f = { .n = 0 };
	struct kopia_pins want = { NULL, 0 };
	struct record now;
	struct kopia *k;
	bool same;
	int lock, ret = -1;

	if (kopia_use(call, &k, e) == -1 ||
	    (lock = lock_records(k, call, e)) == -1)
		return -1;
	if (kopia_find(call, k, rec->uuid, &f, e) == -1 ||
	    kopia_get_record(call, &f.snap, &now, e) == -1)
		goto out;
	same = record_same(&now, call->was);
	record_fini(&now);
	if (!same) {
		err_set(e, CALA_LOCKED, "backup %s: somebody else has just "
		    "changed its record", rec->uuid);
		goto out;
	}
	if (kopia_make_pins(rec, &want, e) == -1 ||
	    change_pins(k, &f.snap, &want, e) == -1)
		goto out;
	ret = only_one(call, k, rec->uuid, e);
out:
	kopia_pins_free(&want);
	kopia_found_fini(&f);
	close(lock);
	return ret;
}

/* ---- rm ---- */

static int
remove_one(struct driver_call *call, struct record *rec, struct err *e)
{
	struct kopia_found f = { .n = 0 };
	struct kopia *k;
	size_t i;
	int lock, ret = -1;

	if (kopia_use(call, &k, e) == -1 ||
	    (lock = lock_records(k, call, e)) == -1)
		return -1;
	if (kopia_find(call, k, rec->uuid, &f, e) == -1)
		goto out;
	/* Somebody may have locked it since it was looked up. */
	if (kopia_pin(&f.snap, "cala.lock", 0) != NULL) {
		err_set(e, CALA_PROTECTED, "backup %s is locked", rec->uuid);
		goto out;
	}
	ret = 0;
	for (i = 0; i < f.n && ret == 0; i++) {
		if (call->dry_run)
			driver_say(call, "would delete snapshot %s of %s",
			    f.ids[i], str_q(f.snap.path));
		else
			ret = kopia_delete(k, f.ids[i], e);
	}
	for (i = 0; i < f.nbroken && ret == 0 && !call->dry_run; i++)
		ret = kopia_delete(k, f.broken[i], e);
out:
	kopia_found_fini(&f);
	close(lock);
	return ret;
}

static const char *const disks[] = { "kopia", NULL };

const struct driver kopia_driver = {
	.name = "cala-kopia",
	.disks = disks,
	.takes = DRIVER_DIR,
	.put_dir = kopia_put_dir,
	.open = kopia_open_tree,
	.get = kopia_get_all,
	.restore = kopia_restore,
	.list = list,
	.find = find,
	.sync = sync_record,
	.remove = remove_one,
	.check = kopia_check,
	.verify = kopia_verify,
	.gc = kopia_gc,
	.done = kopia_done,
};
