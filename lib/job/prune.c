/*
 * prune: remove what no rule keeps, group by group, under the server's lock so
 * that no restore loses what it reads.
 *
 * Rules come from the command line, for every group that is asked for, or else
 * from [group "SERVER/GROUP"]; a group without rules is not touched.
 */

#include "job/job.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "base/when.h"
#include "job/find.h"
#include "job/retain.h"
#include "job/state.h"
#include "job/tool.h"

struct prune {
	const struct job_env *env;
	const struct job_prune *how;
	const struct conf_server *srv;
	struct finds f;                 /* of one configuration, oldest first */
	const char **why;               /* of each hit: what keeps it */
	bool *ruled;                    /* of each hit: is there any rule? */
	size_t groups;                  /* that have rules */
};

static const char *
group_of(const struct hit *h)
{
	return h->rec.group != NULL ? h->rec.group : "";
}

/* [group "survival/daily"], by the server's name or UUID. */
static const struct conf_section *
section_of(const struct prune *p, const char *group)
{
	const char *const ids[] = { p->srv->name, p->srv->uuid };
	const struct conf_section *s = NULL;
	char *name;
	size_t i;

	for (i = 0; i < 2 && s == NULL && *group != '\0'; i++) {
		if (ids[i] == NULL ||
		    asprintf(&name, "%s/%s", ids[i], group) == -1)
			continue;
		s = conf_section(p->env->conf, "group", name);
		free(name);
	}
	return s;
}

static void
rules_of(const struct prune *p, const char *group, struct retain *r)
{
	const struct conf_section *s;
	size_t i;

	*r = p->how->keep;
	if (retain_any(r) || (s = section_of(p, group)) == NULL)
		return;
	for (i = 0; retain_key(i) != NULL; i++)
		*retain_at(r, i) = conf_u64(s, retain_key(i));
}

/* The group of hit i, unless an earlier hit's was the same. */
static int
plan_group(struct prune *p, size_t i, struct err *e)
{
	const char *group = group_of(p->f.hit[i]), **why = NULL;
	const struct record **v = NULL;
	size_t *at = NULL, n = 0, k, left = p->f.nhits - i;
	struct retain rules;
	int ret = -1;

	rules_of(p, group, &rules);
	if (!retain_any(&rules) || (p->how->group != NULL &&
	    strcmp(p->how->group, group) != 0))
		return 0;
	p->groups++;
	v = calloc(left, sizeof(*v));
	why = calloc(left, sizeof(*why));
	at = calloc(left, sizeof(*at));
	if (v == NULL || why == NULL || at == NULL) {
		err_oom(e);
		goto out;
	}
	for (k = i; k < p->f.nhits; k++)
		if (strcmp(group_of(p->f.hit[k]), group) == 0) {
			v[n] = &p->f.hit[k]->rec;
			at[n++] = k;
		}
	retain_plan(&rules, when_now().tv_sec, v, n, why);
	for (k = 0; k < n; k++) {
		p->ruled[at[k]] = true;
		p->why[at[k]] = why[k];
	}
	ret = 0;
out:
	free(v);
	free(why);
	free(at);
	return ret;
}

static int
plan(struct prune *p, struct err *e)
{
	size_t i, k;

	for (i = 0; i < p->f.nhits; i++) {
		for (k = 0; k < i && strcmp(group_of(p->f.hit[k]),
		    group_of(p->f.hit[i])) != 0; k++)
			;
		if (k == i && plan_group(p, i, e) == -1)
			return -1;
	}
	if (p->groups > 0 || p->f.nhits == 0)
		return 0;
	err_set(e, CALA_USAGE, "no rule says what to keep");
	return err_hint(e, "--keep-last, --keep-daily, ..., or a section "
	    "[group \"SERVER/GROUP\"]");
}

static int
say(const struct prune *p, size_t i, const char *action, const char *why,
    struct err *e)
{
	const struct record *r = &p->f.hit[i]->rec;
	char when[WHEN_TEXT];
	struct buf b;
	struct jw j;
	int ret;

	buf_init(&b, 1 << 20);
	if (p->env->json) {
		jw_begin(&j, &b);
		jw_open(&j, NULL, '{');
		jw_str(&j, "server", p->srv->uuid);
		jw_str(&j, "uuid", r->uuid);
		jw_str(&j, "created", when_utc(r->created, when));
		if (r->group != NULL)
			jw_str(&j, "group", r->group);
		jw_str(&j, "action", action);
		if (why != NULL)
			jw_str(&j, "rule", why);
		jw_close(&j, '}');
	} else {
		buf_printf(&b, "%s\t%s\t%s\t", action, r->uuid,
		    when_local(r->created, when));
		str_esc(&b, *group_of(p->f.hit[i]) != '\0' ?
		    group_of(p->f.hit[i]) : "-", *group_of(p->f.hit[i]) !=
		    '\0' ? strlen(group_of(p->f.hit[i])) : 1);
		buf_printf(&b, "\t%s", why != NULL ? why : "-");
	}
	buf_chr(&b, '\n');
	if ((ret = buf_failed(&b, e)) == 0)
		fputs(b.p, p->env->out);
	buf_fini(&b);
	return ret;
}

/* 1: could not be removed, said. */
static int
drop(const struct prune *p, size_t i, struct err *e)
{
	struct job_found b = { p->f.hit[i]->cfg, p->f.hit[i]->rec };
	struct args a = { NULL, 0, false };
	struct proc done = { .status = 0 };
	char text[PROC_TEXT];

	args_backup(p->env, &a, &b, "rm");
	done.status = tool_run(p->env, &a, -1, e);
	args_free(&a);
	if (done.status == 0)
		return say(p, i, "removed", NULL, e);
	if (done.status == -1)
		return -1;
	/* Somebody has locked or removed it since. */
	if (done.status == CALA_PROTECTED || done.status == CALA_NOTFOUND)
		return 0;
	log_warn(p->env->log, "backup %s: could not be removed: %s",
	    b.rec.uuid, proc_says(&done, text));
	return 1;
}

static int
carry_out(const struct prune *p, struct err *e)
{
	int ret = 0, k;
	size_t i;

	for (i = 0; i < p->f.nhits; i++) {
		if (p->env->dry_run) {
			if (say(p, i, !p->ruled[i] || p->why[i] != NULL ?
			    "keep" : "remove", !p->ruled[i] ? "no rule" :
			    p->why[i], e) == -1)
				return -1;
			continue;
		}
		if (!p->ruled[i] || p->why[i] != NULL)
			continue;
		if ((k = drop(p, i, e)) == -1)
			return -1;
		if (k == 1)
			ret = CALA_PARTIAL;
	}
	return ret;
}

int
job_prune(const struct job_env *env, const char *server,
    const struct job_prune *how, struct err *e)
{
	struct prune p = { .env = env, .how = how };
	struct job_lock lock = JOB_LOCK_INIT;
	const struct conf_section *cfg;
	struct conf_server srv;
	int ret = -1;

	if (job_server(env, server, &srv, e) == -1)
		return -1;
	p.srv = &srv;
	if (job_config(env, &srv, &cfg, e) == -1 || (!env->dry_run &&
	    lock_take(env, &srv, "prune", &lock, e) == -1) ||
	    finds_ask(env, &cfg, 1, srv.uuid, false, &p.f, e) == -1)
		goto out;
	if (p.f.nmisses > 0) {
		miss_say(env, &p.f.miss[0]);
		err_set(e, p.f.miss[0].code, "configuration %s could not be "
		    "asked", str_q(conf_name(cfg)));
		goto out;
	}
	finds_sort(&p.f);
	p.why = calloc(p.f.nhits + 1, sizeof(*p.why));
	p.ruled = calloc(p.f.nhits + 1, sizeof(*p.ruled));
	if (p.why == NULL || p.ruled == NULL)
		err_oom(e);
	else if (plan(&p, e) == 0)
		ret = carry_out(&p, e);
out:
	if (ret == -1)
		err_ctx(e, "%s", str_q(srv.name != NULL ? srv.name : server));
	lock_drop(&lock);
	free(p.why);
	free(p.ruled);
	finds_free(&p.f);
	conf_server_fini(&srv);
	return ret;
}
