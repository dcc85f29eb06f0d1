/*
 * s3_care: what interrupted runs left, and objects without records.
 */

#include "driver/s3.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"
#include "base/when.h"

/* What one gc does and has done. */
struct sweep {
	struct driver_call *call;
	struct s3_disk *d;
	size_t n;
	int dirfd;              /* of the memory; -1: none */
	/* the upload that is asked for among those of living processes */
	const char *key, *id;
	bool alive;
};

static const char *
verb(const struct sweep *s, const char *would, const char *does)
{
	return s->call->dry_run ? would : does;
}

static int
abort_one(struct sweep *s, const char *key, const char *id, const char *why,
    struct err *e)
{
	driver_say(s->call, "%s an upload to %s: %s", verb(s, "would abort",
	    "aborting"), str_q(key), why);
	s->n++;
	/* Not done is not forgotten. */
	if (s->call->dry_run)
		return 1;
	return s3_abort(s->d->s3, key, id, e);
}

static int
left_here(void *arg, const char *key, const char *id, struct err *e)
{
	return abort_one(arg, key, id, "its process was killed", e);
}

static int
compare(void *arg, const char *key, const char *id, struct err *e)
{
	struct sweep *s = arg;

	(void)e;
	s->alive |= strcmp(key, s->key) == 0 && strcmp(id, s->id) == 0;
	return 0;
}

/*
 * An upload that the store lists.  Only of keys that are ours; not while a
 * process here works on it, nor when a part came within a day: another machine
 * may.
 */
static int
left_somewhere(void *arg, const struct s3_open *u, struct err *e)
{
	struct sweep *s = arg;
	struct err own = ERR_INIT;
	struct s3_stored o;
	time_t now = s3_date(s->d->s3), last = 0;

	if (!s3disk_name(u->key, &o) && !str_begins(u->key, S3DISK_CHECK))
		return 0;
	if (u->initiated == 0 || u->initiated > now - S3DISK_OLD)
		return 0;
	s->key = u->key;
	s->id = u->id;
	s->alive = false;
	if (s->dirfd != -1 && memory_each(s->dirfd,
	    &s->d->setup.target, false, compare, s, e) == -1)
		return -1;
	if (s->alive)
		return 0;
	if (s3_touched(s->d->s3, u->key, u->id, &last, &own) == -1) {
		if (own.code == CALA_NOTFOUND)
			return 0;
		*e = own;
		return -1;
	}
	if (last > now - S3DISK_OLD)
		return 0;
	return abort_one(s, u->key, u->id, "nothing came for a day", e) == -1 ?
	    -1 : 0;
}

static int
sweep_uploads(struct sweep *s, struct err *e)
{
	struct err own = ERR_INIT;

	if (s->dirfd != -1 && memory_each(s->dirfd,
	    &s->d->setup.target, true, left_here, s, e) == -1)
		return -1;
	if (s3_uploads(s->d->s3, "", left_somewhere, s, &own) == 0)
		return 0;
	if (own.code == CALA_NET || own.code > CALA_SIGNAL) {
		*e = own;
		return -1;
	}
	driver_say(s->call, "note: open uploads of other machines can't be "
	    "listed: %s", own.msg);
	return 0;
}

/* A record of ours whose backup never came or is gone, for a day. */
static int
orphan(struct sweep *s, const struct s3_side *o, struct err *e)
{
	char key[S3DISK_KEY];
	struct s3_stored f;
	struct s3_listed l;
	struct record rec;
	bool back;
	int r;

	if (o->modified > s3_date(s->d->s3) - S3DISK_OLD)
		return 0;
	memset(&f, 0, sizeof(f));
	memcpy(f.server, o->server, sizeof(f.server));
	memcpy(f.uuid, o->uuid, sizeof(f.uuid));
	s3disk_side_key(o->server, o->uuid, key);
	r = s3disk_recorded(s->d, &f, &rec, NULL, e);
	if (r == -1 && e->code == CALA_INTEGRITY) {
		err_clear(e);
		driver_say(s->call, "note: %s is no record; it stays", key);
		return 0;
	}
	if (r != 1)
		return r;
	record_fini(&rec);
	/* Its object may have come since we listed. */
	if (s3disk_scan(s->d, o->server, o->uuid, &l, e) == -1)
		return -1;
	back = l.n > 0;
	s3disk_list_fini(&l);
	if (back)
		return 0;
	driver_say(s->call, "%s %s: a record without backup",
	    verb(s, "would remove", "removing"), key);
	s->n++;
	return s->call->dry_run ? 0 : s3_delete(s->d->s3, key, NULL, e);
}

static int
old_check(void *arg, const struct s3_object *o, struct err *e)
{
	struct sweep *s = arg;

	if (o->modified == 0 ||
	    o->modified > s3_date(s->d->s3) - S3DISK_CHECK_OLD)
		return 0;
	driver_say(s->call, "%s %s, left by a check", verb(s,
	    "would remove", "removing"), str_q(o->key));
	s->n++;
	return s->call->dry_run ? 0 :
	    s3disk_forget(s->call, s->d, o->key, e);
}

int
s3disk_gc(struct driver_call *call, struct err *e)
{
	struct sweep s = { .call = call, .dirfd = -1 };
	struct err none = ERR_INIT;
	struct s3_listed l;
	size_t i;
	int ret = -1;

	if ((s.d = s3disk_open(call, e)) == NULL)
		return -1;
	s.dirfd = memory_open(call->env, false, &none);
	if (sweep_uploads(&s, e) == -1 ||
	    s3_list(s.d->s3, S3DISK_CHECK, NULL, old_check, &s, e) == -1 ||
	    s3disk_scan(s.d, "", "", &l, e) == -1)
		goto out;
	ret = 0;
	for (i = 0; ret == 0 && i < l.nside; i++)
		ret = orphan(&s, &l.side[i], e);
	s3disk_list_fini(&l);
	if (ret == 0 && s.n == 0)
		driver_say(call, "nothing to do");
out:
	if (s.dirfd != -1)
		close(s.dirfd);
	return ret;
}

/* A record for an object that has none. */
static int
adopt(struct driver_call *call, struct s3_disk *d, const struct s3_stored *o,
    size_t *n, struct err *e)
{
	char when[WHEN_TEXT];
	struct record rec;
	struct buf b;
	int ret = -1;

	if (o->size == 0) {
		driver_say(call, "note: %s is empty, no backup", o->key);
		return 0;
	}
	buf_init(&b, RECORD_MAX + 1);
	if (s3disk_record(call, d, o, &rec, e) == -1)
		goto out;
	rec.foreign = false;
	if (!call->dry_run && s3disk_save(d, &rec, true, e) == -1) {
		/* Somebody else was faster: nothing is lost. */
		if (e->code == CALA_EXISTS) {
			err_clear(e);
			ret = 0;
		}
		record_fini(&rec);
		goto out;
	}
	++*n;
	if (!call->json) {
		driver_say(call, "%s %s, of %s", call->dry_run ?
		    "would import" : "imported", o->key,
		    when_utc(rec.created, when));
		ret = 0;
	} else if ((ret = record_put(&rec, &b, e)) == 0) {
		driver_say(call, "%s", b.p);
	}
	record_fini(&rec);
out:
	buf_fini(&b);
	return ret;
}

int
s3disk_import(struct driver_call *call, struct err *e)
{
	struct s3_disk *d = s3disk_open(call, e);
	struct s3_listed l;
	size_t i, n = 0;
	int ret = 0;

	if (d == NULL || s3disk_scan(d, call->server, "", &l, e) == -1)
		return -1;
	for (i = 0; ret == 0 && i < l.n; i++)
		if (!l.v[i].recorded)
			ret = adopt(call, d, &l.v[i], &n, e);
	if (ret == 0 && n == 0 && !call->json)
		driver_say(call, "nothing to import: %zu backups have their "
		    "records", l.n);
	s3disk_list_fini(&l);
	return ret;
}
