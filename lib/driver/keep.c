/*
 * keep: the verbs that work on records: list, set, rm, verify; and how -b
 * finds the backup that it means.
 */

#include "driver/verbs.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/str.h"

int
record_print(const struct record *rec, struct err *e)
{
	struct buf b;
	int ret = -1;

	buf_init(&b, RECORD_MAX + 1);
	if (record_put(rec, &b, e) == 0) {
		buf_chr(&b, '\n');
		fwrite(b.p, 1, b.len, stdout);
		ret = file_printed(stdout, "standard output", e);
	}
	buf_fini(&b);
	return ret;
}

/* What record_pick needs of each backup, and no more. */
struct seen {
	struct record **v;
	size_t n;
};

static int
remember(void *arg, struct record *rec, struct err *e)
{
	struct seen *s = arg;
	struct record *copy, **v = s->v;

	if ((s->n & (s->n - 1)) == 0) {
		v = realloc(v, (s->n == 0 ? 1 : 2 * s->n) * sizeof(*v));
		if (v == NULL)
			return err_oom(e);
		s->v = v;
	}
	if ((copy = malloc(sizeof(*copy))) == NULL)
		return err_oom(e);
	record_init(copy);
	memcpy(copy->uuid, rec->uuid, sizeof(copy->uuid));
	copy->created = rec->created;
	copy->complete = rec->complete;
	v[s->n++] = copy;
	return 0;
}

int
backup_pick(struct run *r, struct err *e)
{
	struct seen s = { NULL, 0 };
	size_t i;
	int ret = -1;

	if (uuid_norm(r->backup, r->call.backup) == 0)
		return 0;
	if (r->call.server[0] == '\0' && (strcmp(r->backup, "latest") == 0 ||
	    strcmp(r->backup, "oldest") == 0))
		return err_set(e, CALA_USAGE, "-b %s needs a server (-s)",
		    r->backup);
	if (r->d->list(&r->call, remember, &s, e) == 0 &&
	    record_pick(s.v, s.n, r->backup, &i, e) == 0) {
		memcpy(r->call.backup, s.v[i]->uuid, sizeof(r->call.backup));
		log_step(r->call.log, "%s is %s", r->backup, r->call.backup);
		ret = 0;
	}
	for (i = 0; i < s.n; i++)
		free(s.v[i]);
	free(s.v);
	return ret;
}

int
backup_find(struct run *r, struct record *rec, struct err *e)
{
	if (r->d->find(&r->call, rec, e) == -1)
		return -1;
	if (r->call.server[0] == '\0' || rec->server[0] == '\0' ||
	    strcmp(r->call.server, rec->server) == 0)
		return 0;
	err_set(e, CALA_NOTFOUND, "backup %s is not one of server %s",
	    rec->uuid, r->call.server);
	record_fini(rec);
	return -1;
}

static int
print(void *arg, struct record *rec, struct err *e)
{
	(void)arg;
	return record_print(rec, e);
}

int
verb_list(struct run *r, struct err *e)
{
	return r->d->list(&r->call, print, NULL, e);
}

/* --server: a backup whose server nobody knows gets one. */
static int
adopt(struct run *r, struct record *rec, struct err *e)
{
	if (rec->server[0] != '\0' &&
	    strcmp(rec->server, r->adopt) != 0)
		return err_set(e, CALA_EXISTS, "backup %s belongs to "
		    "server %s already", rec->uuid, rec->server);
	memcpy(rec->server, r->adopt, sizeof(rec->server));
	rec->foreign = false;
	return 0;
}

int
verb_set(struct run *r, struct err *e)
{
	struct record rec, was;
	int ret = -1;

	if (r->name == NULL && r->group == NULL && r->lock.raw > 1 &&
	    r->adopt[0] == '\0')
		return err_set(e, CALA_USAGE, "set: nothing to change");
	if (backup_find(r, &was, e) == -1)
		return -1;
	if (backup_find(r, &rec, e) == -1) {
		record_fini(&was);
		return -1;
	}
	r->call.was = &was;
	if ((r->adopt[0] != '\0' && adopt(r, &rec, e) == -1) ||
	    (r->name != NULL && record_set(&rec.name,
	    *r->name != '\0' ? r->name : NULL, e) == -1) ||
	    (r->group != NULL && record_set(&rec.group,
	    *r->group != '\0' ? r->group : NULL, e) == -1))
		goto out;
	if (r->lock.raw <= 1)
		rec.locked = r->lock.raw == 1;
	if (r->d->sync(&r->call, &rec, e) == -1)
		goto out;
	ret = record_print(&rec, e);
out:
	r->call.was = NULL;
	record_fini(&was);
	record_fini(&rec);
	return ret;
}

int
verb_rm(struct run *r, struct err *e)
{
	struct record rec;
	int ret;

	if (backup_find(r, &rec, e) == -1)
		return -1;
	if (rec.locked) {
		ret = err_set(e, CALA_PROTECTED, "backup %s is locked",
		    rec.uuid);
		err_hint(e, "%s set --no-lock unlocks it", r->d->name);
	} else {
		ret = r->d->remove(&r->call, &rec, e);
	}
	record_fini(&rec);
	return ret;
}

int
verb_verify(struct run *r, struct err *e)
{
	struct record rec;
	int ret;

	if (r->backup == NULL)
		return r->d->verify_all(&r->call, e);
	if (backup_find(r, &rec, e) == -1)
		return -1;
	ret = r->d->verify(&r->call, &rec, e);
	record_fini(&rec);
	return ret;
}
