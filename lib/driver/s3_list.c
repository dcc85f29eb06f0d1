/*
 * s3_list: which keys of a bucket are backups, and their records.
 *
 * A bucket may hold a million keys that are not ours: they are looked at as the
 * list comes in, and forgotten.
 */

#include "driver/s3.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/pool.h"

enum {
	STRANGERS = 5000,       /* keys not ours before we ask by server */
	FETCHES = 8,            /* records at a time */
	WINDOW = 2 * FETCHES
};

/* A scan as it goes. */
struct scan {
	const char *uuid;       /* the only one of interest, or "" */
	struct s3_listed *l;
	size_t cap, side_cap;
	uint64_t ours, strangers;
	bool impatient;         /* stop when strangers prevail */
	bool gave_up;
	/* servers, when they are asked for one by one */
	char (*server)[UUID_TEXT];
	size_t nservers, server_cap;
};

static void *
grown(void *v, size_t n, size_t *cap, size_t size, struct err *e)
{
	if (n < *cap)
		return v;
	*cap = *cap == 0 ? 64 : 2 * *cap;
	if ((v = reallocarray(v, *cap, size)) == NULL)
		err_oom(e);
	return v;
}

static int
on_object(void *arg, const struct s3_object *o, struct err *e)
{
	struct scan *c = arg;
	struct s3_listed *l = c->l;
	struct s3_stored f;
	struct s3_side s;
	void *v;

	if (s3disk_name(o->key, &f)) {
		c->ours++;
		if (c->uuid[0] != '\0' && strcmp(c->uuid, f.uuid) != 0)
			return 0;
		f.size = o->size;
		f.modified = o->modified;
		f.recorded = false;
		if (strlen(o->etag) >= sizeof(f.etag))
			return err_set(e, CALA_INTEGRITY, "%s: an ETag of %zu "
			    "bytes", o->key, strlen(o->etag));
		memcpy(f.etag, o->etag, strlen(o->etag) + 1);
		v = grown(l->v, l->n, &c->cap, sizeof(f), e);
		if (v == NULL)
			return -1;
		l->v = v;
		l->v[l->n++] = f;
	} else if (s3disk_side(o->key, s.server, s.uuid)) {
		c->ours++;
		if (c->uuid[0] != '\0' && strcmp(c->uuid, s.uuid) != 0)
			return 0;
		s.modified = o->modified;
		v = grown(l->side, l->nside, &c->side_cap, sizeof(s), e);
		if (v == NULL)
			return -1;
		l->side = v;
		l->side[l->nside++] = s;
	} else if (++c->strangers > STRANGERS && c->impatient &&
	    c->strangers > 8 * c->ours) {
		c->gave_up = true;
		return 1;
	}
	return 0;
}

/* "S/" among the common prefixes. */
static int
on_prefix(void *arg, const struct s3_object *o, struct err *e)
{
	struct scan *c = arg;
	char text[UUID_TEXT], norm[UUID_TEXT];
	void *v;

	if (strlen(o->key) != UUID_TEXT || o->key[UUID_TEXT - 1] != '/')
		return 0;
	memcpy(text, o->key, UUID_TEXT - 1);
	text[UUID_TEXT - 1] = '\0';
	if (uuid_norm(text, norm) == -1 || strcmp(norm, text) != 0)
		return 0;
	v = grown(c->server, c->nservers, &c->server_cap,
	    sizeof(*c->server), e);
	if (v == NULL)
		return -1;
	c->server = v;
	memcpy(c->server[c->nservers++], norm, UUID_TEXT);
	return 0;
}

static int
by_name(const char *s1, const char *u1, const char *s2, const char *u2)
{
	int c = strcmp(s1, s2);

	return c != 0 ? c : strcmp(u1, u2);
}

static int
cmp_stored(const void *va, const void *vb)
{
	const struct s3_stored *a = va, *b = vb;
	int c = by_name(a->server, a->uuid, b->server, b->uuid);

	return c != 0 ? c : a->format < b->format ? -1 :
	    a->format > b->format;
}

static int
cmp_side(const void *va, const void *vb)
{
	const struct s3_side *a = va, *b = vb;

	return by_name(a->server, a->uuid, b->server, b->uuid);
}

/* Sort; one object a backup; records find their objects. */
static void
join(struct s3_listed *l)
{
	size_t i, k, n;
	int c;

	if (l->n > 0)
		qsort(l->v, l->n, sizeof(*l->v), cmp_stored);
	if (l->nside > 0)
		qsort(l->side, l->nside, sizeof(*l->side), cmp_side);
	for (i = k = 0; i < l->n; i++)
		if (k == 0 || by_name(l->v[k - 1].server, l->v[k - 1].uuid,
		    l->v[i].server, l->v[i].uuid) != 0)
			l->v[k++] = l->v[i];
	l->hidden = l->n - k;
	l->n = k;
	/* Both are sorted: go through them side by side. */
	for (i = k = n = 0; k < l->nside; k++) {
		const struct s3_side *s = &l->side[k];

		c = 1;
		while (i < l->n && (c = by_name(l->v[i].server, l->v[i].uuid,
		    s->server, s->uuid)) < 0)
			i++;
		if (i < l->n && c == 0)
			l->v[i].recorded = true;
		else
			l->side[n++] = *s;
	}
	l->nside = n;
}

/* Folder by folder: what strangers keep below theirs is never listed. */
static int
by_server(struct s3_disk *d, struct scan *c, struct err *e)
{
	char prefix[UUID_TEXT + 1];
	size_t i;
	int ret;

	c->l->n = c->l->nside = 0;
	c->impatient = false;
	ret = s3_list(d->s3, "", "/", on_prefix, c, e);
	for (i = 0; ret == 0 && i < c->nservers; i++) {
		memcpy(prefix, c->server[i], UUID_TEXT - 1);
		memcpy(prefix + UUID_TEXT - 1, "/", 2);
		ret = s3_list(d->s3, prefix, NULL, on_object, c, e);
	}
	return ret;
}

/*
 * One backup of a known server: the keys that begin with its UUID, and its
 * record is asked for by whoever wants it.
 */
static int
one(struct s3_disk *d, struct scan *c, const char *server, struct err *e)
{
	char prefix[2 * UUID_TEXT + 1];
	size_t i;

	memcpy(prefix, server, UUID_TEXT - 1);
	prefix[UUID_TEXT - 1] = '/';
	memcpy(prefix + UUID_TEXT, c->uuid, UUID_TEXT - 1);
	memcpy(prefix + 2 * UUID_TEXT - 1, ".", 2);
	if (s3_list(d->s3, prefix, NULL, on_object, c, e) == -1)
		return -1;
	join(c->l);
	for (i = 0; i < c->l->n; i++)
		c->l->v[i].recorded = true;
	return 0;
}

int
s3disk_scan(struct s3_disk *d, const char *server, const char *uuid,
    struct s3_listed *l, struct err *e)
{
	struct scan c = { .uuid = uuid, .l = l };
	char prefix[UUID_TEXT + 1] = "";
	int ret;

	memset(l, 0, sizeof(*l));
	if (*server != '\0' && *uuid != '\0') {
		ret = one(d, &c, server, e);
		goto out;
	}
	if (*server != '\0') {
		memcpy(prefix, server, UUID_TEXT - 1);
		memcpy(prefix + UUID_TEXT - 1, "/", 2);
	}
	c.impatient = *server == '\0';
	ret = s3_list(d->s3, prefix, NULL, on_object, &c, e);
	if (ret != -1 && c.gave_up)
		ret = by_server(d, &c, e);
	if (ret == 0)
		join(l);
out:
	free(c.server);
	if (ret == 0)
		return 0;
	s3disk_list_fini(l);
	return -1;
}

void
s3disk_list_fini(struct s3_listed *l)
{
	free(l->v);
	free(l->side);
	memset(l, 0, sizeof(*l));
}

/* A record on its way. */
struct fetch {
	struct job job;
	struct driver_call *call;
	struct s3_disk *d;
	const struct s3_stored *o;
	struct record rec;
	struct err e;
	int ret;
};

/*
 * An object of another size than its record's is not the backup that was
 * stored, and not called whole.  A list that may be old or wrong is no witness.
 */
static int
compare(struct fetch *f, struct err *e)
{
	struct record *rec = &f->rec;
	struct s3_object now;

	if (rec->foreign || !rec->has_stored || rec->stored == f->o->size)
		return 0;
	if (s3_head(f->d->s3, f->o->key, &now, e) == -1)
		return -1;
	if (now.size == rec->stored)
		return 0;
	log_warn(f->call->log, "%s: damaged: it has %" PRIu64 " bytes, its "
	    "record says %" PRIu64, f->o->key, now.size, rec->stored);
	rec->complete = false;
	return 0;
}

static void
run_fetch(struct job *j)
{
	struct fetch *f = (struct fetch *)j;

	f->ret = s3disk_record(f->call, f->d, f->o, &f->rec, &f->e);
	if (f->ret == 0 && compare(f, &f->e) == -1) {
		record_fini(&f->rec);
		f->ret = -1;
	}
}

static void
start_fetch(struct fetch *f, struct pool *pool, struct driver_call *call,
    struct s3_disk *d, const struct s3_stored *o)
{
	memset(f, 0, sizeof(*f));
	f->job.run = run_fetch;
	f->call = call;
	f->d = d;
	f->o = o;
	pool_submit(pool, &f->job);
}

/* In order, WINDOW records at most in memory. */
static int
each_record(struct driver_call *call, struct s3_disk *d,
    const struct s3_listed *l, record_fn *fn, void *arg, struct err *e)
{
	struct fetch *f = calloc(WINDOW, sizeof(*f));
	struct pool *pool = f == NULL ? NULL : pool_new(l->n < FETCHES ?
	    (unsigned)l->n : FETCHES, e);
	size_t begun = 0, i;
	int ret = 0;

	if (pool == NULL) {
		if (f == NULL)
			err_oom(e);
		free(f);
		return -1;
	}
	for (i = 0; i < l->n; i++) {
		struct fetch *now = &f[i % WINDOW];

		for (; ret == 0 && begun < l->n && begun < i + WINDOW;
		    begun++)
			start_fetch(&f[begun % WINDOW], pool, call, d,
			    &l->v[begun]);
		if (i == begun)
			break;
		pool_wait(pool, &now->job);
		/* It was removed meanwhile. */
		if (now->ret == -1 && now->e.code == CALA_NOTFOUND)
			continue;
		if (now->ret == -1 && ret == 0) {
			*e = now->e;
			ret = -1;
		}
		if (now->ret == 0 && ret == 0)
			ret = fn(arg, &now->rec, e);
		if (now->ret == 0)
			record_fini(&now->rec);
	}
	pool_free(pool);
	free(f);
	return ret;
}

int
s3disk_list(struct driver_call *call, record_fn *fn, void *arg,
    struct err *e)
{
	struct s3_disk *d = s3disk_open(call, e);
	struct s3_listed l;
	int ret = 0;

	if (d == NULL || s3disk_scan(d, call->server, "", &l, e) == -1)
		return -1;
	if (l.n > 0)
		ret = each_record(call, d, &l, fn, arg, e);
	s3disk_list_fini(&l);
	return ret;
}
