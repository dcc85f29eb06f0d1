/*
 * s3: what is in the bucket, and the verbs that only handle names and records.
 */

#include "driver/s3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/rate.h"
#include "base/str.h"
#include "base/when.h"

enum { VERSIONS = 100 };

struct s3_disk *
s3disk_open(struct driver_call *call, struct err *e)
{
	struct s3_disk *d = call->own;
	struct s3_target *t;

	if (d != NULL)
		return d;
	if ((d = calloc(1, sizeof(*d))) == NULL) {
		err_oom(e);
		return NULL;
	}
	call->own = d;
	t = &d->setup.target;
	t->memory = call->memory;
	t->jobs = call->jobs;
	if ((d->rate = rate_new(call->limit_network, e)) == NULL)
		goto fail;
	if (call->limit_network > 0)
		t->rate = d->rate;
	if (s3_setup_conf(&d->setup, call->conf, call->cfg, call->env,
	    call->log, e) == -1)
		goto fail;
	/* The store must know as well which backup is not to be removed. */
	if (call->record != NULL && call->record->locked &&
	    t->lock_mode != NULL)
		t->legal_hold = true;
	if ((d->s3 = s3_new(t, call->log, e)) == NULL)
		goto fail;
	return d;
fail:
	s3disk_done(call);
	return NULL;
}

void
s3disk_done(struct driver_call *call)
{
	struct s3_disk *d = call->own;

	if (d == NULL)
		return;
	s3_free(d->s3);
	s3_setup_fini(&d->setup);
	rate_free(d->rate);
	free(d);
	call->own = NULL;
}

/* 36 characters of s as a UUID, as it must be spelled: in lower case. */
static bool
uuid_at(const char *s, char out[UUID_TEXT])
{
	char text[UUID_TEXT];

	if (strnlen(s, UUID_TEXT - 1) < UUID_TEXT - 1)
		return false;
	memcpy(text, s, UUID_TEXT - 1);
	text[UUID_TEXT - 1] = '\0';
	return uuid_norm(text, out) == 0 && strcmp(text, out) == 0;
}

bool
s3disk_name(const char *key, struct s3_stored *o)
{
	const char *ext = key + 2 * UUID_TEXT;
	unsigned i;

	if (strlen(key) >= sizeof(o->key) || !uuid_at(key, o->server) ||
	    key[UUID_TEXT - 1] != '/' || !uuid_at(key + UUID_TEXT, o->uuid) ||
	    key[2 * UUID_TEXT - 1] != '.')
		return false;
	for (i = 0; i < ARCHIVE_FORMATS; i++)
		if (strcmp(ext, archive_info[i].ext) == 0) {
			o->format = (enum archive_format)i;
			memcpy(o->key, key, strlen(key) + 1);
			return true;
		}
	return false;
}

void
s3disk_side_key(const char *server, const char *uuid, char out[S3DISK_KEY])
{
	snprintf(out, S3DISK_KEY, "%s/.cala/%s.json", server, uuid);
}

bool
s3disk_side(const char *key, char server[UUID_TEXT], char uuid[UUID_TEXT])
{
	const char *p = key + UUID_TEXT - 1;

	return uuid_at(key, server) && strncmp(p, "/.cala/", 7) == 0 &&
	    uuid_at(p + 7, uuid) && strcmp(p + 7 + UUID_TEXT - 1,
	    ".json") == 0;
}

int
s3disk_side_get(struct s3_disk *d, const char *server, const char *uuid,
    struct buf *b, char etag[S3_ETAG], struct err *e)
{
	char key[S3DISK_KEY];
	struct s3_call c = { .method = "GET", .key = key, .answer = b,
	    .cap = RECORD_MAX + 1 };

	s3disk_side_key(server, uuid, key);
	if (s3_call(d->s3, &c, e) == 0) {
		if (etag != NULL)
			memcpy(etag, c.etag, S3_ETAG);
		return 1;
	}
	if (e->code != CALA_NOTFOUND)
		return -1;
	err_clear(e);
	return 0;
}

int
s3disk_recorded(struct s3_disk *d, const struct s3_stored *o,
    struct record *rec, char etag[S3_ETAG], struct err *e)
{
	char key[S3DISK_KEY];
	struct buf b;
	int ret;

	buf_init(&b, RECORD_MAX + 1);
	s3disk_side_key(o->server, o->uuid, key);
	ret = s3disk_side_get(d, o->server, o->uuid, &b, etag, e);
	if (ret == 1 && record_get(rec, b.p, b.len, key, e) == -1)
		ret = -1;
	if (ret == 1 && (strcmp(rec->uuid, o->uuid) != 0 ||
	    strcmp(rec->server, o->server) != 0)) {
		ret = err_set(e, CALA_INTEGRITY, "%s: describes backup %s of "
		    "server %s", key, rec->uuid, rec->server[0] != '\0' ?
		    rec->server : "(none)");
		record_fini(rec);
	}
	buf_fini(&b);
	return ret;
}

static int
foreign(const struct driver_call *call, const struct s3_stored *o,
    struct record *rec, struct err *e)
{
	record_init(rec);
	memcpy(rec->uuid, o->uuid, sizeof(rec->uuid));
	memcpy(rec->server, o->server, sizeof(rec->server));
	rec->foreign = true;
	/* An object appears when its upload ends. */
	rec->created.tv_sec = rec->completed.tv_sec = o->modified;
	rec->has_stored = true;
	rec->stored = o->size;
	if (record_set(&rec->disk, "s3", e) == -1 ||
	    record_set(&rec->configuration, call->configuration, e) == -1) {
		record_fini(rec);
		return -1;
	}
	return 0;
}

/*
 * A record that can't be had now is no reason to call the backup a foreign one:
 * only what was read and makes no sense is.
 */
int
s3disk_record(struct driver_call *call, struct s3_disk *d,
    const struct s3_stored *o, struct record *rec, struct err *e)
{
	struct err why = ERR_INIT;
	int r = o->recorded ? s3disk_recorded(d, o, rec, NULL, &why) : 0;
	struct s3_object now;

	if (r == 1)
		return 0;
	/* Removed since it was listed: the object goes before its record. */
	if (r == 0 && o->recorded && s3_head(d->s3, o->key, &now, e) == -1)
		return -1;
	if (r == -1 && why.code != CALA_INTEGRITY) {
		*e = why;
		return -1;
	}
	if (r == -1)
		log_warn(call->log, "%s", why.msg);
	return foreign(call, o, rec, e);
}

int
s3disk_save(struct s3_disk *d, const struct record *rec, bool only_new,
    struct err *e)
{
	char key[S3DISK_KEY];
	struct buf b;
	int ret = -1;

	buf_init(&b, RECORD_MAX + 1);
	s3disk_side_key(rec->server, rec->uuid, key);
	if (record_put(rec, &b, e) == 0 && buf_chr(&b, '\n') == 0)
		ret = s3_put(d->s3, key, "application/json", b.p, b.len,
		    only_new, e);
	else if (e->code == 0)
		buf_failed(&b, e);
	buf_fini(&b);
	return ret;
}

int
s3disk_find(struct driver_call *call, struct s3_disk *d, struct err *e)
{
	struct s3_listed l;
	int ret = -1;

	if (strcmp(d->found.uuid, call->backup) == 0)
		return 0;
	if (s3disk_scan(d, call->server, call->backup, &l, e) == -1)
		return -1;
	if (l.n == 0) {
		err_set(e, CALA_NOTFOUND, "no backup %s", call->backup);
	} else if (l.n > 1) {
		err_set(e, CALA_USAGE, "backup %s is there for the servers %s "
		    "and %s", call->backup, l.v[0].server, l.v[1].server);
		err_hint(e, "name one with -s");
	} else {
		d->found = l.v[0];
		ret = 0;
	}
	s3disk_list_fini(&l);
	return ret;
}

static int
lookup(struct driver_call *call, struct record *rec, struct err *e)
{
	struct s3_disk *d = s3disk_open(call, e);

	if (d == NULL || s3disk_find(call, d, e) == -1)
		return -1;
	return s3disk_record(call, d, &d->found, rec, e);
}

/* Where the store locks objects, it learns about our lock, too. */
static int
hold(struct driver_call *call, struct s3_disk *d, bool on, struct err *e)
{
	static const char *const query[] = { "legal-hold", "", NULL };
	struct s3_call c = { .method = "PUT", .key = d->found.key,
	    .query = query, .md5 = true };
	char body[160];

	if (d->setup.target.lock_mode == NULL && !d->setup.target.legal_hold)
		return 0;
	c.body_len = (size_t)snprintf(body, sizeof(body), "<LegalHold xmlns="
	    "\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>%s</Status>"
	    "</LegalHold>", on ? "ON" : "OFF");
	c.body = body;
	if (s3_call(d->s3, &c, e) == -1)
		return err_ctx(e, "%s the store's legal hold", on ? "set" :
		    "lift");
	log_step(call->log, "legal hold is %s", on ? "on" : "off");
	return 0;
}

int
s3disk_replace(struct s3_disk *d, const struct record *rec, const char *etag,
    struct err *e)
{
	char key[S3DISK_KEY], match[S3_ETAG + 16];
	const char *head[] = { match, "content-type: application/json", NULL };
	struct s3_call c = { .method = "PUT", .key = key, .headers = head,
	    .md5 = true };
	struct buf b, now;
	int ret = -1;

	if (*etag == '\0')
		return s3disk_save(d, rec, true, e);
	/* Only s3_put encrypts with the key of the administrator. */
	if (d->setup.target.sse != S3_SSE_NONE)
		return s3disk_save(d, rec, false, e);
	buf_init(&b, RECORD_MAX + 1);
	buf_init(&now, RECORD_MAX + 1);
	s3disk_side_key(rec->server, rec->uuid, key);
	snprintf(match, sizeof(match), "if-match: %s", etag);
	if (record_put(rec, &b, e) == -1 || buf_chr(&b, '\n') == -1)
		goto out;
	c.body = b.p;
	c.body_len = b.len;
	ret = s3_call(d->s3, &c, e);
	if (ret == 0)
		goto out;
	if (c.status == 501 || c.status == 400) {
		/* It knows no conditions: last one wins there. */
		err_clear(e);
		ret = s3disk_save(d, rec, false, e);
	} else if (e->code == CALA_EXISTS || e->code == CALA_NOTFOUND) {
		/* Perhaps by ourselves: an answer may get lost. */
		err_clear(e);
		if (s3_get(d->s3, key, &now, RECORD_MAX + 1, e) == 0)
			ret = now.len == b.len && memcmp(now.p, b.p, b.len) ==
			    0 ? 0 : err_set(e, CALA_LOCKED, "backup %s: "
			    "somebody else has just changed its record",
			    rec->uuid);
	}
out:
	buf_fini(&b);
	buf_fini(&now);
	return ret;
}

/* The stored record and its ETag: 1, 0 none, -1. */
static int
current(struct s3_disk *d, struct record *now, char etag[S3_ETAG],
    struct err *e)
{
	char key[S3DISK_KEY];
	int r;

	etag[0] = '\0';
	s3disk_side_key(d->found.server, d->found.uuid, key);
	/* It may hold a lock, or what only a newer cala can read. */
	if ((r = s3disk_recorded(d, &d->found, now, etag, e)) == -1 &&
	    e->code == CALA_INTEGRITY) {
		err_ctx(e, "backup %s: its record can't be read, and is not "
		    "replaced", d->found.uuid);
		err_hint(e, "repair or remove the object %s first", key);
	}
	return r;
}

static int
sync_record(struct driver_call *call, struct record *rec, struct err *e)
{
	struct s3_disk *d = s3disk_open(call, e);
	struct record now;
	char etag[S3_ETAG];
	bool same = true;
	int r;

	if (d == NULL || s3disk_find(call, d, e) == -1 ||
	    (r = current(d, &now, etag, e)) == -1)
		return -1;
	if (r == 1) {
		same = record_same(&now, call->was);
		record_fini(&now);
	}
	if (!same)
		return err_set(e, CALA_LOCKED, "backup %s: somebody else has "
		    "just changed its record", rec->uuid);
	/* Held before it is called locked, called unlocked before it is not. */
	if (rec->locked && !call->was->locked && hold(call, d, true, e) == -1)
		return -1;
	if (s3disk_replace(d, rec, etag, e) == -1) {
		if (e->code == CALA_EXISTS)
			e->code = CALA_LOCKED;
		return -1;
	}
	if (!rec->locked && call->was->locked)
		return hold(call, d, false, e);
	return 0;
}

/* What keeps an object from being removed, as its HEAD says. */
struct keeps {
	char version[S3_ID], mode[16], until[40];
	bool hold;
};

static void
on_header(void *arg, const char *name, const char *value)
{
	struct keeps *k = arg;

	if (strcmp(name, "x-amz-object-lock-mode") == 0)
		snprintf(k->mode, sizeof(k->mode), "%s", value);
	else if (strcmp(name, "x-amz-object-lock-retain-until-date") == 0)
		snprintf(k->until, sizeof(k->until), "%s", value);
	else if (strcmp(name, "x-amz-object-lock-legal-hold") == 0)
		k->hold = strcasecmp(value, "ON") == 0;
}

/* 0: may go; 1: is not there; -1. */
static int
look(struct s3_disk *d, const char *key, struct keeps *k, struct err *e)
{
	struct s3_call c = { .method = "HEAD", .key = key,
	    .header = on_header, .header_arg = k };
	struct timespec until;

	memset(k, 0, sizeof(*k));
	if (s3_call(d->s3, &c, e) == -1) {
		if (e->code != CALA_NOTFOUND)
			return -1;
		err_clear(e);
		return 1;
	}
	memcpy(k->version, c.version, sizeof(k->version));
	if (k->hold)
		return err_set(e, CALA_PROTECTED, "%s: the store keeps it: "
		    "legal hold", key);
	if (k->until[0] != '\0' && when_rfc3339(k->until, &until) == 0 &&
	    until.tv_sec > s3_date(d->s3))
		return err_set(e, CALA_PROTECTED, "%s: the store keeps it "
		    "until %s (%s)", key, str_q(k->until), str_q(k->mode));
	return 0;
}

/*
 * A bucket with versions keeps what is deleted without naming one.  So the
 * version goes, and those below it, that another writer of the same key made;
 * who may not delete versions leaves a mark that hides them.
 */
int
s3disk_remove(struct driver_call *call, struct s3_disk *d, const char *key,
    struct err *e)
{
	struct keeps k;
	int i, r;

	for (i = 0; i < VERSIONS; i++) {
		if ((r = look(d, key, &k, e)) != 0)
			return r == 1 ? 0 : -1;
		if (k.version[0] == '\0' || strcmp(k.version, "null") == 0)
			return s3_delete(d->s3, key, NULL, e);
		if (s3_delete(d->s3, key, k.version, e) == 0)
			continue;
		if (e->code != CALA_AUTH)
			return -1;
		log_note(call->log, "%s: its version may not be deleted "
		    "(%s); it is hidden, and the store keeps it until a rule "
		    "of the bucket ends it", key, e->msg);
		err_clear(e);
		return s3_delete(d->s3, key, NULL, e);
	}
	return err_set(e, CALA_FAIL, "%s: has more than %d versions; try "
	    "again", key, (int)VERSIONS);
}

int
s3disk_forget(struct driver_call *call, struct s3_disk *d, const char *key,
    struct err *e)
{
	if (s3disk_remove(call, d, key, e) == 0)
		return 0;
	if (e->code != CALA_PROTECTED)
		return -1;
	log_note(call->log, "%s", e->msg);
	err_clear(e);
	return s3_delete(d->s3, key, NULL, e);
}

/* The object first: a record alone is invisible, an object alone is not. */
static int
remove_backup(struct driver_call *call, struct record *rec, struct err *e)
{
	struct s3_disk *d = s3disk_open(call, e);
	char side[S3DISK_KEY];
	struct record now;
	struct s3_listed l;
	bool locked;
	size_t hidden;
	int r;

	if (d == NULL || s3disk_find(call, d, e) == -1)
		return -1;
	s3disk_side_key(d->found.server, rec->uuid, side);
	/* Somebody may have locked it since it was looked up. */
	if ((r = s3disk_recorded(d, &d->found, &now, NULL, e)) == -1) {
		err_ctx(e, "backup %s is kept, its record can't be read",
		    rec->uuid);
		return e->code != CALA_INTEGRITY ? -1 :
		    err_hint(e, "remove the object %s first if it may go",
		    side);
	}
	if (r == 1) {
		locked = now.locked;
		record_fini(&now);
		if (locked)
			return err_set(e, CALA_PROTECTED, "backup %s is "
			    "locked", rec->uuid);
	}
	if (call->dry_run) {
		driver_say(call, "would remove %s", d->found.key);
		return 0;
	}
	if (s3disk_remove(call, d, d->found.key, e) == -1)
		return -1;
	/* The record may be another object's; it goes with the last. */
	if (s3disk_scan(d, d->found.server, rec->uuid, &l, e) == -1)
		return err_ctx(e, "%s is removed, its record not",
		    d->found.key);
	hidden = l.n;
	if (l.n > 0)
		log_note(call->log, "another object of this backup stays: %s",
		    l.v[0].key);
	s3disk_list_fini(&l);
	d->found.uuid[0] = '\0';
	return hidden > 0 ? 0 : s3_delete(d->s3, side, NULL, e);
}

static const char *const disks[] = { "s3", NULL };

static const struct driver_verb extra[] = {
	{ "import", "make records for objects that have none",
	    DRIVER_SERVER | DRIVER_DRY | DRIVER_JSON | DRIVER_BLOCKED,
	    s3disk_import },
	{ NULL, NULL, 0, NULL }
};

const struct driver s3_driver = {
	.name = "cala-s3",
	.disks = disks,
	.takes = DRIVER_STREAM,
	.proves = true,
	.put_begin = s3disk_put,
	.open = s3disk_tree,
	.get = s3disk_get,
	.raw = s3disk_raw,
	.list = s3disk_list,
	.find = lookup,
	.sync = sync_record,
	.remove = remove_backup,
	.check = s3disk_check,
	.verify = s3disk_verify,
	.gc = s3disk_gc,
	.done = s3disk_done,
	.extra = extra,
};
