/*
 * copy: a backup from one configuration into another, under the same UUID,
 * without a detour over the disk: the driver's get into the other one's put;
 * from a store of trees into one of archives through cala-pack.
 *
 * The source is compared with its own record while it is read, and the copy is
 * committed only on our go, which follows the reader's exit.
 */

#include "job/job.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "base/when.h"
#include "job/find.h"
#include "job/state.h"
#include "job/tool.h"

struct copy {
	const struct job_env *env;
	struct conf_server srv;
	struct job_found from;
	const struct conf_section *to;
	struct driver_facts source, dest;
	struct job_lock lock;
	char name[UUID_TEXT + 16];      /* of the facts, in the runtime folder */
	char *facts;
};

static void
texts(struct jw *j, const char *key, char *const *v, size_t n)
{
	size_t i;

	jw_open(j, key, '[');
	for (i = 0; i < n; i++)
		jw_str(j, NULL, v[i]);
	jw_close(j, ']');
}

/* What the record of the source knows and an archive can't say. */
static int
write_facts(const struct copy *c, const struct record *r, struct err *e)
{
	static char note[] = "copied from a partial backup";
	uint64_t warnings = r->warnings_count;
	struct afile f = AFILE_INIT;
	char *one = note;
	struct buf b;
	struct jw j;
	int ret = -1;

	if (!r->complete && warnings == 0)
		warnings = 1;
	buf_init(&b, RECORD_MAX);
	jw_begin(&j, &b);
	jw_open(&j, NULL, '{');
	jw_u64(&j, "v", 1);
	jw_str(&j, "type", "summary");
	if (r->has_files)
		jw_u64(&j, "files", r->files);
	if (r->has_size)
		jw_u64(&j, "size", r->size);
	jw_u64(&j, "changed", r->changed);
	jw_u64(&j, "sockets", r->sockets);
	jw_u64(&j, "warnings_count", warnings);
	if (warnings > 0 && r->nwarnings == 0)
		texts(&j, "warnings", &one, 1);
	else
		texts(&j, "warnings", r->warnings, r->nwarnings);
	texts(&j, "ignored", r->ignored, r->nignored);
	jw_close(&j, '}');
	if (buf_failed(&b, e) == 0 &&
	    afile_open(&f, c->lock.dirfd, c->name, e) == 0) {
		if (file_write_all(f.fd, b.p, b.len) == -1)
			err_sys(e, "write %s", c->facts);
		else
			ret = afile_commit(&f, 0600, 0, e);
	}
	afile_abort(&f);
	buf_fini(&b);
	return ret;
}

/* Listings leave the lists of a record out: ask for all of it. */
static int
tell_facts(const struct copy *c, struct err *e)
{
	const char *uuid = c->from.rec.uuid, *of = c->from.rec.server;
	struct finds f = { NULL, 0, NULL, 0 };
	struct record rec;
	size_t i;
	int ret = -1;

	if (finds_ask(c->env, &c->from.cfg, 1, *of != '\0' ? of : NULL, true,
	    &f, e) == -1)
		return -1;
	for (i = 0; i < f.nhits && strcmp(f.hit[i]->rec.uuid, uuid) != 0; i++)
		;
	if (i == f.nhits) {
		err_set(e, CALA_NOTFOUND, "backup %s: gone", uuid);
	} else if (record_get(&rec, f.hit[i]->raw, strlen(f.hit[i]->raw),
	    "record", e) == 0) {
		ret = write_facts(c, &rec, e);
		record_fini(&rec);
	}
	finds_free(&f);
	return ret;
}

static void
put_args(const struct copy *c, int commit, struct args *a)
{
	static const char *const keys[] = { "limit-write", "limit-network",
	    "memory", NULL };
	const struct record *r = &c->from.rec;
	char when[WHEN_TEXT];

	args_driver(c->env, a, c->to, "put");
	args_limits(c->env, c->to, a, keys);
	args_add(a, "-s");
	args_add(a, c->srv.uuid);
	args_fmt(a, "--uuid=%s", r->uuid);
	args_fmt(a, "--created=%s", when_utc(r->created, when));
	if (r->name != NULL)
		args_fmt(a, "--name=%s", r->name);
	if (r->group != NULL)
		args_fmt(a, "--group=%s", r->group);
	if (r->locked)
		args_add(a, "--lock");
	args_fmt(a, "--commit-fd=%d", commit);
	args_fmt(a, "--facts=%s", c->facts);
}

static void
pack_args(const struct copy *c, struct args *a)
{
	static const char *const keys[] = { "memory", "jobs", NULL };

	args_tool(c->env, a, "cala-pack");
	args_limits(c->env, c->to, a, keys);
	args_form(c->to, a);
	args_add(a, "--no-progress");
	args_add(a, "--from-archive=-");
	args_add(a, "--allow-empty");
}

static int
transfer(const struct copy *c, struct buf *out, struct err *e)
{
	static const char *const keys[] = { "limit-read", "memory", "jobs",
	    NULL };
	struct args a[3] = { { NULL, 0, false }, { NULL, 0, false },
	    { NULL, 0, false } };
	int commit[2], code;
	size_t n = 1, i;

	if (pipe2(commit, O_CLOEXEC) == -1)
		return err_sys(e, "pipe");
	args_backup(c->env, &a[0], &c->from, "get");
	args_limits(c->env, NULL, &a[0], keys);
	/* what comes out wrong in the end is never committed */
	if (c->source.proves)
		args_add(&a[0], "--no-check");
	if (c->source.raw)
		args_add(&a[0], "--raw");
	/* a copy shall be what a backup there would be, with its index */
	else if (c->dest.raw)
		pack_args(c, &a[n++]);
	put_args(c, commit[0], &a[n]);
	args_progress(c->env, &a[n++]);
	code = tool_pipe(c->env, a, n, commit, c->lock.fd, out, e);
	for (i = 0; i < n; i++)
		args_free(&a[i]);
	return code;
}

static int
answer(const struct copy *c, struct buf *raw, int code, struct err *e)
{
	struct record rec;
	int ret = -1;

	while (raw->len > 0 && raw->p[raw->len - 1] == '\n')
		buf_cut(raw, raw->len - 1);
	if (record_get(&rec, raw->p, raw->len, "driver's record", e) == -1)
		return -1;
	if (strcmp(rec.uuid, c->from.rec.uuid) != 0)
		err_set(e, CALA_INTEGRITY, "driver's record is of backup %s, "
		    "not of %s", rec.uuid, c->from.rec.uuid);
	else
		ret = rec.complete ? code : CALA_PARTIAL;
	record_fini(&rec);
	if (ret == -1)
		return -1;
	fprintf(c->env->out, "%s\n", c->env->json ? raw->p :
	    c->from.rec.uuid);
	log_step(c->env->log, "backup %s copied from configuration %s to %s",
	    c->from.rec.uuid, str_q(conf_name(c->from.cfg)),
	    str_q(conf_name(c->to)));
	return ret;
}

static int
prepare(struct copy *c, const char *to, struct err *e)
{
	if (to == NULL)
		return err_set(e, CALA_USAGE, "--to: which configuration?");
	if ((c->to = conf_section(c->env->conf, "configuration", to)) == NULL)
		return err_set(e, CALA_USAGE, "no configuration %s",
		    str_q(to));
	if (c->to == c->from.cfg)
		return err_set(e, CALA_EXISTS, "backup %s is in configuration "
		    "%s already", c->from.rec.uuid, str_q(to));
	if (driver_info(c->env, c->from.cfg, &c->source, e) == -1 ||
	    driver_info(c->env, c->to, &c->dest, e) == -1)
		return -1;
	if (c->dest.stream)
		return 0;
	err_set(e, CALA_USAGE, "configuration %s takes directories only",
	    str_q(to));
	return err_hint(e, "restore it with --to, and back that up");
}

int
job_copy(const struct job_env *env, const char *server, const char *backup,
    const char *to, struct err *e)
{
	struct copy c = { .env = env, .lock = JOB_LOCK_INIT };
	struct buf raw;
	int code, ret = -1;

	if (job_locate(env, server, backup, &c.srv, &c.from, e) == -1)
		return -1;
	buf_init(&raw, RECORD_MAX);
	if (prepare(&c, to, e) == -1)
		goto out;
	if (env->dry_run) {
		log_note(env->log, "backup %s would be copied from "
		    "configuration %s to %s", c.from.rec.uuid,
		    str_q(conf_name(c.from.cfg)), str_q(to));
		ret = 0;
		goto out;
	}
	if (lock_take(env, &c.srv, "copy", &c.lock, e) == -1)
		goto out;
	snprintf(c.name, sizeof(c.name), "%s.report", c.srv.uuid);
	if ((c.facts = str_join(env->runtime, c.name)) == NULL) {
		err_oom(e);
		goto out;
	}
	if (tell_facts(&c, e) == 0 &&
	    (code = transfer(&c, &raw, e)) != -1)
		ret = answer(&c, &raw, code, e);
	(void)unlinkat(c.lock.dirfd, c.name, 0);
out:
	if (ret == -1)
		err_ctx(e, "%s", str_q(c.srv.name != NULL ? c.srv.name :
		    server));
	lock_drop(&c.lock);
	free(c.facts);
	buf_fini(&raw);
	record_fini(&c.from.rec);
	conf_server_fini(&c.srv);
	return ret;
}
