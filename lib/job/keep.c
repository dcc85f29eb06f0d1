/*
 * keep: what is done with backups that are there, one driver call each.
 */

#include "job/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "job/find.h"
#include "job/state.h"
#include "job/tool.h"

int
job_worse(int a, int b)
{
	/* signal > error > partial > ok; among errors the first. */
	int ra = a > CALA_SIGNAL ? 3 : a == CALA_PARTIAL ? 1 : a != 0 ? 2 : 0;
	int rb = b > CALA_SIGNAL ? 3 : b == CALA_PARTIAL ? 1 : b != 0 ? 2 : 0;

	return rb > ra ? b : a;
}

int
job_locate(const struct job_env *env, const char *server,
    const char *backup, struct conf_server *srv, struct job_found *b,
    struct err *e)
{
	memset(b, 0, sizeof(*b));
	record_init(&b->rec);
	if (job_server(env, server, srv, e) == -1)
		return -1;
	if (job_find(env, srv, backup, b, e) == 0)
		return 0;
	err_ctx(e, "%s", str_q(srv->name != NULL ? srv->name : server));
	conf_server_fini(srv);
	return -1;
}

void
args_backup(const struct job_env *env, struct args *a,
    const struct job_found *b, const char *verb)
{
	args_driver(env, a, b->cfg, verb);
	/* A foreign backup may belong to nobody known. */
	if (b->rec.server[0] != '\0') {
		args_add(a, "-s");
		args_add(a, b->rec.server);
	}
	args_add(a, "-b");
	args_add(a, b->rec.uuid);
}

static int
failed(const struct args *a, const char *verb, int status, struct err *e)
{
	struct proc p = { .status = status };
	char text[PROC_TEXT];
	const char *base = strrchr(a->v[0], '/');

	return err_set(e, tool_code(status), "%s %s: %s",
	    str_q(base != NULL ? base + 1 : a->v[0]), verb,
	    proc_says(&p, text));
}

int
job_read(const struct job_env *env, const char *server, const char *backup,
    const char *verb, const char *const *options, const char *const *paths,
    size_t n, struct err *e)
{
	static const char *const limits[] = { "limit-read", "limit-write",
	    "limit-network", "memory", "jobs", NULL };
	struct args a = { NULL, 0, false };
	struct conf_server srv;
	struct job_found b;
	size_t i;
	int ret;

	if (job_locate(env, server, backup, &srv, &b, e) == -1)
		return -1;
	args_backup(env, &a, &b, verb);
	if (strcmp(verb, "verify") == 0) {
		args_limits(env, NULL, &a, limits);
		args_progress(env, &a);
	}
	for (; *options != NULL; options++)
		args_add(&a, *options);
	for (i = 0; i < n; i++)
		args_path(&a, paths[i]);
	ret = tool_run(env, &a, -1, e);
	args_free(&a);
	record_fini(&b.rec);
	conf_server_fini(&srv);
	return ret;
}

int
job_delete(const struct job_env *env, const char *server, const char *backup,
    struct err *e)
{
	struct args a = { NULL, 0, false };
	struct conf_server srv;
	struct job_found b;
	int r, ret = -1;

	if (job_locate(env, server, backup, &srv, &b, e) == -1)
		return -1;
	if (b.rec.locked) {
		err_set(e, CALA_PROTECTED, "backup %s is locked", b.rec.uuid);
		err_hint(e, "cala unlock %s %s", str_q(server), b.rec.uuid);
		goto out;
	}
	if (env->dry_run) {
		fprintf(env->out, "%s\n", b.rec.uuid);
		ret = 0;
		goto out;
	}
	args_backup(env, &a, &b, "rm");
	if ((r = tool_run(env, &a, -1, e)) == 0) {
		log_step(env->log, "backup %s deleted from configuration %s",
		    b.rec.uuid, str_q(conf_name(b.cfg)));
		ret = 0;
	} else if (r != -1) {
		failed(&a, "rm", r, e);
	}
out:
	args_free(&a);
	record_fini(&b.rec);
	conf_server_fini(&srv);
	return ret;
}

int
job_set(const struct job_env *env, const char *server, const char *backup,
    const char *what, const char *value, struct err *e)
{
	struct args a = { NULL, 0, false };
	struct conf_server srv;
	struct job_found b;
	struct buf out;
	int r, ret = -1;

	if (job_locate(env, server, backup, &srv, &b, e) == -1)
		return -1;
	buf_init(&out, RECORD_MAX);
	args_backup(env, &a, &b, "set");
	if (value != NULL)
		args_fmt(&a, "%s=%s", what, value);
	else
		args_add(&a, what);
	if (env->dry_run) {
		fprintf(env->out, "%s\n", b.rec.uuid);
		ret = 0;
	} else if ((r = tool_read(env, &a, -1, &out, e)) == 0) {
		if (env->json)
			fputs(out.p, env->out);
		ret = 0;
	} else if (r != -1) {
		failed(&a, "set", r, e);
	}
	args_free(&a);
	buf_fini(&out);
	record_fini(&b.rec);
	conf_server_fini(&srv);
	return ret;
}

int
job_check(const struct job_env *env, const char *const *names, size_t n,
    struct err *e)
{
	const struct conf_section **cfgs = NULL, *s;
	struct args a = { NULL, 0, false };
	int r, worst = 0, ret = -1;
	size_t i, m;

	if (job_configs(env, &cfgs, &m, e) == -1)
		return -1;
	if (n == 0 && m == 0) {
		err_set(e, CALA_NOTFOUND, "there is no configuration");
		goto out;
	}
	/* All names first: a typo should not show after a long check. */
	for (i = 0; i < n; i++)
		if (conf_section(env->conf, "configuration",
		    names[i]) == NULL) {
			err_set(e, CALA_USAGE, "no configuration %s",
			    str_q(names[i]));
			goto out;
		}
	for (i = 0; i < (n > 0 ? n : m); i++) {
		s = n > 0 ? conf_section(env->conf, "configuration",
		    names[i]) : cfgs[i];
		if ((n > 0 ? n : m) > 1)
			fprintf(env->out, "%s%s:\n", i > 0 ? "\n" : "",
			    str_q(conf_name(s)));
		args_driver(env, &a, s, "check");
		r = tool_run(env, &a, -1, e);
		args_free(&a);
		memset(&a, 0, sizeof(a));
		if (r == -1 && e->code > CALA_SIGNAL &&
		    e->code < CALA_SIGNAL + 65)
			goto out;
		if (r == -1) {
			log_error(env->log, e);
			r = e->code;
			err_clear(e);
		}
		worst = job_worse(worst, r > CALA_SIGNAL ? CALA_FAIL : r);
	}
	ret = worst;
out:
	free(cfgs);
	return ret;
}

int
job_break_lock(const struct job_env *env, const char *server, struct err *e)
{
	struct job_lock l = JOB_LOCK_INIT;
	char name[UUID_TEXT + 8];
	struct conf_server srv;
	int ret = -1;

	if (job_server(env, server, &srv, e) == -1)
		return -1;
	if (lock_take(env, &srv, "break-lock", &l, e) == 0) {
		snprintf(name, sizeof(name), "%s.lock", srv.uuid);
		if (unlinkat(l.dirfd, name, 0) == -1)
			err_sys(e, "remove %s", name);
		else
			ret = 0;
		log_step(env->log, "%s: nobody holds the lock",
		    str_q(srv.name != NULL ? srv.name : server));
	} else if (e->code == CALA_LOCKED) {
		err_hint(e, "it goes with that process; nothing is stale");
	}
	lock_drop(&l);
	conf_server_fini(&srv);
	return ret;
}
