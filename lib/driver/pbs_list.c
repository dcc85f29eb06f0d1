/*
 * pbs_list: list, find, set, rm.
 *
 * One request lists all snapshots with the first line of their notes; the
 * records, in the manifests, are read several at a time.
 */

#include "driver/pbs.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/pool.h"
#include "base/str.h"
#include "driver/pbs_record.h"
#include "pbs/rest.h"

enum {
	FETCHES = 8,            /* records at a time */
	WINDOW = 2 * FETCHES
};

/* ---- many records ---- */

struct fetch {
	struct job job;
	struct driver_call *call;
	struct pbs_disk *d;
	const struct pbs_shot *s;
	struct record rec;
	struct err e;
	int ret;
};

static void
run_fetch(struct job *j)
{
	struct fetch *f = (struct fetch *)j;

	f->ret = pbsdisk_record(f->call, f->d, f->s, &f->rec, &f->e);
}

typedef int shot_fn(void *, const struct pbs_shot *, struct record *,
    struct err *);

static void
start_fetch(struct fetch *f, struct pool *pool, struct driver_call *call,
    struct pbs_disk *d, const struct pbs_shot *s)
{
	memset(f, 0, sizeof(*f));
	f->job.run = run_fetch;
	f->call = call;
	f->d = d;
	f->s = s;
	pool_submit(pool, &f->job);
}

/* The records of n snapshots, in order, WINDOW at most in memory. */
static int
each(struct driver_call *call, struct pbs_disk *d,
    const struct pbs_shot *const *v, size_t n, shot_fn *fn, void *arg,
    struct err *e)
{
	struct fetch *f;
	struct pool *pool;
	size_t begun = 0, i;
	int ret = 0;

	if (n == 0)
		return 0;
	if ((f = calloc(WINDOW, sizeof(*f))) == NULL)
		return err_oom(e);
	/* The waiting thread works, too. */
	pool = pool_new(n < FETCHES ? (unsigned)n - 1 : FETCHES - 1, e);
	if (pool == NULL) {
		free(f);
		return -1;
	}
	for (i = 0; i < n; i++) {
		struct fetch *now = &f[i % WINDOW];

		for (; ret == 0 && begun < n && begun < i + WINDOW; begun++)
			start_fetch(&f[begun % WINDOW], pool, call, d,
			    v[begun]);
		if (i == begun)
			break;
		pool_wait(pool, &now->job);
		/* It was removed meanwhile, or is being made. */
		if (now->ret == -1 && now->e.code == CALA_NOTFOUND) {
			log_step(call->log, "%s", now->e.msg);
			continue;
		}
		if (now->ret == -1 && ret == 0) {
			*e = now->e;
			ret = -1;
		}
		if (now->ret == 0 && ret == 0)
			ret = fn(arg, now->s, &now->rec, e);
		if (now->ret == 0)
			record_fini(&now->rec);
	}
	pool_free(pool);
	free(f);
	return ret;
}

/* ---- list ---- */

struct listing {
	record_fn *fn;
	void *arg;
};

static int
hand_out(void *arg, const struct pbs_shot *s, struct record *rec,
    struct err *e)
{
	struct listing *l = arg;

	(void)s;
	return l->fn(l->arg, rec, e);
}

static bool
counts(const struct pbs_shot *s)
{
	return s->finished && !s->check;
}

int
pbsdisk_list(struct driver_call *call, record_fn *fn, void *arg,
    struct err *e)
{
	struct pbs_disk *d = pbsdisk_open(call, e);
	struct listing l = { fn, arg };
	const struct pbs_shot **some;
	struct pbs_shot *v;
	size_t i, n, k = 0;
	int ret = -1;

	if (d == NULL || pbsdisk_scan(d, call->server, &v, &n, e) == -1)
		return -1;
	if ((some = calloc(n + 1, sizeof(*some))) == NULL) {
		err_oom(e);
	} else {
		for (i = 0; i < n; i++)
			if (counts(&v[i]))
				some[k++] = &v[i];
		ret = each(call, d, some, k, hand_out, &l, e);
	}
	free(some);
	pbsdisk_scan_free(v, n);
	return ret;
}

/* ---- find ---- */

struct search {
	const char *uuid;
	const struct pbs_shot *hit;
	size_t hits;
	struct record rec;      /* of the first hit */
};

static int
compare(void *arg, const struct pbs_shot *s, struct record *rec,
    struct err *e)
{
	struct search *x = arg;
	char one[PBSDISK_NAME], two[PBSDISK_NAME];

	if (strcmp(rec->uuid, x->uuid) != 0)
		return 0;
	if (x->hits++ > 0) {
		err_set(e, CALA_USAGE, "%s and %s both say that they are "
		    "backup %s", pbsdisk_name(x->hit, one),
		    pbsdisk_name(s, two), x->uuid);
		return err_hint(e, "one was copied; remove it on the server");
	}
	x->hit = s;
	x->rec = *rec;
	record_init(rec);
	return 0;
}

/*
 * First those whose notes say so; then, if none of them is it, all others:
 * Wings writes no notes, and people change them.
 */
static int
search(struct driver_call *call, struct pbs_disk *d,
    const struct pbs_shot *v, size_t n, struct search *x, struct err *e)
{
	const struct pbs_shot **some = calloc(n + 1, sizeof(*some));
	size_t i, k;
	int said, ret = 0;

	if (some == NULL)
		return err_oom(e);
	for (said = 1; said >= 0 && ret == 0 && x->hits == 0; said--) {
		for (i = k = 0; i < n; i++)
			if (counts(&v[i]) && (strcmp(v[i].uuid, x->uuid) ==
			    0) == said)
				some[k++] = &v[i];
		ret = each(call, d, some, k, compare, x, e);
	}
	free(some);
	return ret;
}

/* d->found and its record. */
static int
find(struct driver_call *call, struct pbs_disk *d, struct record *rec,
    struct err *e)
{
	struct search x = { .uuid = call->backup };
	struct pbs_shot *v;
	size_t n;
	int ret;

	if (pbsdisk_scan(d, call->server, &v, &n, e) == -1)
		return -1;
	record_init(&x.rec);
	ret = search(call, d, v, n, &x, e);
	if (ret == 0 && x.hits == 0)
		ret = err_set(e, CALA_NOTFOUND, "no backup %s", call->backup);
	if (ret == 0) {
		free(d->found.comment);
		d->found = *x.hit;
		d->found.comment = NULL;
		memcpy(d->found.uuid, call->backup, sizeof(d->found.uuid));
		*rec = x.rec;
	} else {
		record_fini(&x.rec);
	}
	pbsdisk_scan_free(v, n);
	return ret;
}

int
pbsdisk_find(struct driver_call *call, struct pbs_disk *d, struct err *e)
{
	struct record rec;

	if (strcmp(d->found.uuid, call->backup) == 0)
		return 0;
	if (find(call, d, &rec, e) == -1)
		return -1;
	record_fini(&rec);
	return 0;
}

int
pbsdisk_lookup(struct driver_call *call, struct record *rec, struct err *e)
{
	struct pbs_disk *d = pbsdisk_open(call, e);

	return d != NULL ? find(call, d, rec, e) : -1;
}

/* ---- set ---- */

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Lock, name and group as they are now; *notes (a string) is the caller's. */
static int
present(struct pbs_disk *d, const struct pbs_snap *s, bool *locked,
    json_t **notes, struct err *e)
{
	json_t *on = pbs_protected(d->rest, s, e);

	if (on == NULL)
		return -1;
	*locked = json_is_true(on);
	json_decref(on);
	if ((*notes = pbs_notes(d->rest, s, e)) == NULL)
		return -1;
	if (json_is_string(*notes))
		return 0;
	json_decref(*notes);
	*notes = json_string("");
	return *notes != NULL ? 0 : err_oom(e);
}

/*
 * Is what the record was made of still so?  Only what the notes say counts: a
 * name that they don't have was never there to be lost.
 */
static int
unchanged(const struct driver_call *call, bool locked, const char *notes,
    struct err *e)
{
	struct record now;
	bool same = locked == call->was->locked;
	int r;

	record_init(&now);
	if ((r = pbs_notes_get(notes, &now, e)) == -1)
		return -1;
	if (r == 1 && strcmp(now.uuid, call->was->uuid) == 0)
		same = same && same_text(now.name, call->was->name) &&
		    same_text(now.group, call->was->group);
	record_fini(&now);
	return same ? 0 : err_set(e, CALA_LOCKED, "backup %s: somebody else "
	    "has just changed it", call->was->uuid);
}

/* Our line, then what the administrator has written below. */
static int
write_notes(struct pbs_disk *d, const struct pbs_snap *s,
    const struct record *rec, const char *old, struct err *e)
{
	const char *rest = strchr(old, '\n');
	struct buf b;
	int ret;

	buf_init(&b, PBS_NOTES_MAX);
	pbs_notes_put(rec, &b);
	if (rest != NULL)
		buf_str(&b, rest);
	if (b.failed)
		ret = err_set(e, CALA_USAGE, "the snapshot's notes are longer "
		    "than %d bytes", (int)PBS_NOTES_MAX);
	else
		ret = strcmp(b.p, old) == 0 ? 0 :
		    pbs_set_notes(d->rest, s, b.p, e);
	buf_fini(&b);
	return ret;
}

int
pbsdisk_sync(struct driver_call *call, struct record *rec, struct err *e)
{
	struct pbs_disk *d = pbsdisk_open(call, e);
	json_t *notes = NULL;
	struct pbs_snap snap;
	bool locked;
	int ret = -1;

	if (d == NULL || pbsdisk_find(call, d, e) == -1)
		return -1;
	snap = pbsdisk_snap(&d->found);
	if (present(d, &snap, &locked, &notes, e) == -1)
		return -1;
	/* A lock comes before all else, and goes last. */
	if (unchanged(call, locked, json_string_value(notes), e) == 0 &&
	    (!rec->locked || locked ||
	    pbs_protect(d->rest, &snap, true, e) == 0) &&
	    write_notes(d, &snap, rec, json_string_value(notes), e) == 0 &&
	    (rec->locked || !locked ||
	    pbs_protect(d->rest, &snap, false, e) == 0))
		ret = 0;
	json_decref(notes);
	return ret;
}

/* ---- rm ---- */

int
pbsdisk_remove(struct driver_call *call, struct record *rec, struct err *e)
{
	struct pbs_disk *d = pbsdisk_open(call, e);
	char name[PBSDISK_NAME];
	struct pbs_snap snap;
	json_t *locked;
	bool on;

	if (d == NULL || pbsdisk_find(call, d, e) == -1)
		return -1;
	snap = pbsdisk_snap(&d->found);
	/* Somebody may have locked it since it was looked up. */
	if ((locked = pbs_protected(d->rest, &snap, e)) == NULL)
		return -1;
	on = json_is_true(locked);
	json_decref(locked);
	if (on)
		return err_set(e, CALA_PROTECTED, "backup %s is locked",
		    rec->uuid);
	pbsdisk_name(&d->found, name);
	if (call->dry_run) {
		driver_say(call, "would remove %s", name);
		return 0;
	}
	if (pbs_forget(d->rest, &snap, e) == -1)
		return err_ctx(e, "%s", name);
	d->found.uuid[0] = '\0';
	return 0;
}
