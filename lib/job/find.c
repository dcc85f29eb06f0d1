#include "job/find.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/str.h"
#include "base/when.h"
#include "job/tool.h"

/* Stores asked at once; seconds one may take; bytes of its messages kept. */
enum { ASK_JOBS = 8, ASK_SECONDS = 300, SAID_MAX = 16384 };

struct ask {
	const struct conf_section *cfg;
	struct finds *f;
	const char *server;     /* asked for, or NULL */
	bool raw;
	struct args args;
	struct buf said;
	struct err e;
};

/* Listings keep thousands of records: their lists of texts would be all. */
static void
slim(struct record *r)
{
	struct record lists = *r;

	r->ignored = NULL;
	r->warnings = NULL;
	r->nignored = r->nwarnings = 0;
	r->extra = NULL;
	/* record_fini frees what it is given, so give it only these. */
	lists.name = lists.group = lists.disk = lists.configuration = NULL;
	lists.sum_type = lists.sum_value = lists.host = lists.version = NULL;
	record_fini(&lists);
}

static int
on_record(void *ctx, const char *p, size_t n, struct err *e)
{
	struct ask *a = ctx;
	struct finds *f = a->f;
	struct hit **v, *h;

	if (n == 0)
		return 0;
	if ((h = calloc(1, sizeof(*h))) == NULL)
		return err_oom(e);
	h->cfg = a->cfg;
	if (record_get(&h->rec, p, n, "record", e) == -1) {
		free(h);
		return err_ctx(e, "configuration %s",
		    str_q(conf_name(a->cfg)));
	}
	/* Whatever the driver took -s for: latest and prune act on these. */
	if (a->server != NULL && h->rec.server[0] != '\0' &&
	    strcasecmp(h->rec.server, a->server) != 0) {
		record_fini(&h->rec);
		free(h);
		return 0;
	}
	slim(&h->rec);
	if (a->raw && (h->raw = str_ndup(p, n)) == NULL)
		goto oom;
	/* Powers of two, like opt_list_add. */
	if ((f->nhits & (f->nhits + 1)) == 0) {
		v = realloc(f->hit, (2 * f->nhits + 2) * sizeof(struct hit *));
		if (v == NULL)
			goto oom;
		f->hit = v;
	}
	f->hit[f->nhits++] = h;
	return 0;
oom:
	record_fini(&h->rec);
	free(h->raw);
	free(h);
	return err_oom(e);
}

static int
missed(struct finds *f, struct ask *a, int code, struct err *e)
{
	struct miss *v, *m;

	v = realloc(f->miss, (f->nmisses + 1) * sizeof(*v));
	if (v == NULL)
		return err_oom(e);
	f->miss = v;
	m = &v[f->nmisses];
	m->cfg = a->cfg;
	/* 10 is for what was looked for: here there was nowhere to look. */
	m->code = tool_code(code) == CALA_NOTFOUND ? CALA_NET :
	    tool_code(code);
	m->why = strdup(a->e.msg);
	m->said = strdup(a->said.p);
	if (m->why == NULL || m->said == NULL) {
		free(m->why);
		free(m->said);
		return err_oom(e);
	}
	f->nmisses++;
	return 0;
}

/* The driver's lines name it and are escaped by it. */
static void
say(const struct job_env *env, const char *said)
{
	if (*said == '\0' || env->log->out == NULL)
		return;
	log_hold(env->log);
	fputs(said, env->log->out);
	fflush(env->log->out);
	log_release(env->log);
}

int
finds_ask(const struct job_env *env, const struct conf_section *const *cfgs,
    size_t n, const char *server, bool raw, struct finds *f, struct err *e)
{
	static const struct proc_spec init = PROC_SPEC_INIT;
	struct proc_task *t = calloc(n + 1, sizeof(*t));
	struct ask *a = calloc(n + 1, sizeof(*a));
	int ret = -1;
	size_t i;

	if (t == NULL || a == NULL) {
		err_oom(e);
		goto out;
	}
	for (i = 0; i < n; i++) {
		a[i].cfg = cfgs[i];
		a[i].f = f;
		a[i].server = server;
		a[i].raw = raw;
		buf_init(&a[i].said, SAID_MAX);
		args_driver(env, &a[i].args, cfgs[i], "list");
		if (server != NULL) {
			args_add(&a[i].args, "-s");
			args_add(&a[i].args, server);
		}
		t[i].spec = init;
		t[i].spec.argv = (const char *const *)a[i].args.v;
		t[i].spec.group = true;
		t[i].line = on_record;
		t[i].ctx = &a[i];
		t[i].line_max = RECORD_MAX;
		t[i].errs = &a[i].said;
		t[i].e = &a[i].e;
		if (a[i].args.failed) {
			err_oom(e);
			goto out;
		}
	}
	if (proc_gather(t, n, n < ASK_JOBS ? n : ASK_JOBS, ASK_SECONDS,
	    e) == -1)
		goto out;
	for (i = 0; i < n; i++) {
		/* One unreadable record must not hide all the others. */
		if (t[i].code == CALA_PARTIAL) {
			say(env, a[i].said.p);
			log_warn(env->log, "configuration %s: not everything "
			    "there could be read", str_q(conf_name(cfgs[i])));
			continue;
		}
		if (t[i].code != 0 && missed(f, &a[i], t[i].code, e) == -1)
			goto out;
		if (t[i].code == 0 && a[i].said.len > 0 && env->verbose > 0)
			log_step(env->log, "configuration %s: %s",
			    str_q(conf_name(cfgs[i])), str_q(a[i].said.p));
	}
	ret = 0;
out:
	for (i = 0; a != NULL && i < n; i++) {
		args_free(&a[i].args);
		buf_fini(&a[i].said);
	}
	free(a);
	free(t);
	return ret;
}

static int
by_time(const void *a, const void *b)
{
	const struct hit *const *x = a, *const *y = b;

	return record_cmp(&(*x)->rec, &(*y)->rec);
}

void
finds_sort(struct finds *f)
{
	if (f->nhits > 1)
		qsort(f->hit, f->nhits, sizeof(struct hit *), by_time);
}

void
finds_free(struct finds *f)
{
	size_t i;

	for (i = 0; i < f->nhits; i++) {
		record_fini(&f->hit[i]->rec);
		free(f->hit[i]->raw);
		free(f->hit[i]);
	}
	free(f->hit);
	for (i = 0; i < f->nmisses; i++) {
		free(f->miss[i].why);
		free(f->miss[i].said);
	}
	free(f->miss);
	memset(f, 0, sizeof(*f));
}

void
miss_say(const struct job_env *env, const struct miss *m)
{
	say(env, m->said);
	if (m->why[0] != '\0' || m->said[0] == '\0')
		log_note(env->log, "configuration %s can't be asked: %s",
		    str_q(conf_name(m->cfg)), m->why[0] != '\0' ? m->why :
		    "its driver failed");
}

int
job_configs(const struct job_env *env, const struct conf_section ***out,
    size_t *n, struct err *e)
{
	const struct conf_section *s, **v;
	size_t i;

	if (env->configuration != NULL) {
		s = conf_section(env->conf, "configuration",
		    env->configuration);
		if (s == NULL)
			return err_set(e, CALA_USAGE, "no configuration %s",
			    str_q(env->configuration));
		if ((v = calloc(1, sizeof(struct conf_section *))) == NULL)
			return err_oom(e);
		v[0] = s;
		*out = v;
		*n = 1;
		return 0;
	}
	for (i = 0; conf_nth(env->conf, "configuration", i) != NULL; i++)
		;
	if ((v = calloc(i + 1, sizeof(struct conf_section *))) == NULL)
		return err_oom(e);
	*out = v;
	*n = i;
	for (i = 0; i < *n; i++)
		v[i] = conf_nth(env->conf, "configuration", i);
	return 0;
}

int
job_server(const struct job_env *env, const char *query,
    struct conf_server *out, struct err *e)
{
	char uuid[UUID_TEXT];

	memset(out, 0, sizeof(*out));
	if (conf_server(env->conf, query, out, e) == 0)
		return 0;
	if (e->code != CALA_NOTFOUND || uuid_norm(query, uuid) == -1)
		return -1;
	/* Its directory is gone, its backups need not be. */
	err_clear(e);
	memset(out, 0, sizeof(*out));
	memcpy(out->uuid, uuid, UUID_TEXT);
	return 0;
}

int
job_config(const struct job_env *env, const struct conf_server *srv,
    const struct conf_section **out, struct err *e)
{
	struct conf_resolved r;

	if (env->configuration != NULL) {
		*out = conf_section(env->conf, "configuration",
		    env->configuration);
		if (*out == NULL)
			return err_set(e, CALA_USAGE, "no configuration %s",
			    str_q(env->configuration));
		return 0;
	}
	memset(&r, 0, sizeof(r));
	if (conf_resolve(env->conf, srv, env->log, &r, e) == -1) {
		if (e->code != CALA_MAINTENANCE || r.configuration == NULL)
			return -1;
		err_clear(e);
	}
	*out = r.configuration;
	return 0;
}

static int
not_found(const struct job_env *env, const struct finds *f,
    const char *backup, struct err *e)
{
	const struct miss *worst = NULL;
	size_t i;

	for (i = 0; i < f->nmisses; i++) {
		miss_say(env, &f->miss[i]);
		if (worst == NULL || f->miss[i].code == CALA_NET)
			worst = &f->miss[i];
	}
	if (worst == NULL)
		return err_set(e, CALA_NOTFOUND, "no backup %s of this server",
		    str_q(backup));
	return err_set(e, worst->code, "backup %s: not found, but "
	    "configuration %s could not be asked", str_q(backup),
	    str_q(conf_name(worst->cfg)));
}

static void
give(struct job_found *out, struct hit *h)
{
	out->cfg = h->cfg;
	out->rec = h->rec;
	record_init(&h->rec);
}

/* What a wrong clock has dated ahead is in the way of no newer one. */
static void
say_ahead(const struct job_env *env, struct record *const *v, size_t n,
    const struct record *picked)
{
	time_t now = when_now().tv_sec;
	size_t i;

	for (i = 0; i < n && !record_ahead(picked, now); i++)
		if (record_ahead(v[i], now))
			log_note(env->log, "backup %s is dated in the future "
			    "and passed over: a clock is or was wrong",
			    v[i]->uuid);
}

static int
by_age(const struct job_env *env, const struct conf_server *srv,
    const char *backup, struct finds *f, struct job_found *out, struct err *e)
{
	const struct conf_section *cfg;
	struct record **list = NULL;
	size_t i, k;
	int ret = -1;

	if (job_config(env, srv, &cfg, e) == -1 ||
	    finds_ask(env, &cfg, 1, srv->uuid, false, f, e) == -1)
		return -1;
	if (f->nmisses > 0)
		return not_found(env, f, backup, e);
	if ((list = calloc(f->nhits + 1, sizeof(*list))) == NULL)
		return err_oom(e);
	finds_sort(f);
	for (i = 0; i < f->nhits; i++)
		list[i] = &f->hit[i]->rec;
	if (record_pick(list, f->nhits, backup, &k, e) == 0) {
		say_ahead(env, list, f->nhits, list[k]);
		give(out, f->hit[k]);
		ret = 0;
	}
	free(list);
	return ret;
}

/*
 * The hit whose UUID begins with backup: 1 with *k, 0 none, -1 with err when
 * it could be several.  first: the configuration that goes before others.
 */
static int
by_uuid(const struct finds *f, const char *server, const char *backup,
    const struct conf_section *first, size_t *k, struct err *e)
{
	size_t i, len = strlen(backup), found = f->nhits;
	bool twice = false;

	for (i = 0; i < f->nhits; i++) {
		const struct record *r = &f->hit[i]->rec;

		if (strncasecmp(r->uuid, backup, len) != 0 ||
		    (r->server[0] != '\0' && strcmp(r->server, server) != 0))
			continue;
		if (found == f->nhits) {
			found = i;
		} else if (strcmp(f->hit[found]->rec.uuid, r->uuid) != 0) {
			return err_set(e, CALA_USAGE, "backup %s: could be "
			    "%s or %s", str_q(backup),
			    f->hit[found]->rec.uuid, r->uuid);
		} else if (f->hit[i]->cfg == first) {
			found = i;
		} else if (f->hit[found]->cfg != first) {
			twice = true;
		}
	}
	if (found == f->nhits)
		return 0;
	if (twice && f->hit[found]->cfg != first)
		return err_set(e, CALA_USAGE, "backup %s: in more than one "
		    "configuration: say which with -c", str_q(backup));
	*k = found;
	return 1;
}

static int
search(const struct job_env *env, const struct conf_server *srv,
    const char *backup, struct finds *f, struct job_found *out, struct err *e)
{
	const struct conf_section **cfgs = NULL, *first = NULL;
	struct err ignored = ERR_INIT;
	size_t n, k = 0;
	int r, ret = -1;

	/* Which configuration it resolves to only decides between copies. */
	if (srv->path != NULL && job_config(env, srv, &first, &ignored) == -1)
		first = NULL;
	if (job_configs(env, &cfgs, &n, e) == -1)
		return -1;
	/* A whole UUID where it most likely is: one store to ask, not all. */
	if (uuid_ok(backup) && first != NULL) {
		if (finds_ask(env, &first, 1, srv->uuid, false, f, e) == -1)
			goto out;
		if ((r = by_uuid(f, srv->uuid, backup, first, &k, e)) != 0)
			goto found;
		finds_free(f);
	}
	if (finds_ask(env, cfgs, n, srv->uuid, false, f, e) == -1)
		goto out;
	if ((r = by_uuid(f, srv->uuid, backup, first, &k, e)) != 0)
		goto found;
	/* Other programs' backups may not say whose they are. */
	finds_free(f);
	if (finds_ask(env, cfgs, n, NULL, false, f, e) == -1)
		goto out;
	r = by_uuid(f, srv->uuid, backup, first, &k, e);
	if (r == 0)
		not_found(env, f, backup, e);
found:
	if (r == 1) {
		give(out, f->hit[k]);
		ret = 0;
	}
out:
	free(cfgs);
	return ret;
}

int
job_find(const struct job_env *env, const struct conf_server *srv,
    const char *backup, struct job_found *out, struct err *e)
{
	struct finds f = { NULL, 0, NULL, 0 };
	int ret;

	record_init(&out->rec);
	out->cfg = NULL;
	if (strcmp(backup, "latest") == 0 || strcmp(backup, "oldest") == 0)
		ret = by_age(env, srv, backup, &f, out, e);
	else if (!uuid_ok(backup) && !uuid_prefix(backup))
		ret = err_set(e, CALA_USAGE, "%s: not a backup: a UUID, the "
		    "first 4 characters of one or more, latest or oldest",
		    str_q(backup));
	else
		ret = search(env, srv, backup, &f, out, e);
	finds_free(&f);
	if (ret == 0)
		log_step(env->log, "backup %s in configuration %s",
		    out->rec.uuid, str_q(conf_name(out->cfg)));
	return ret;
}
