/*
 * list: which backups there are, for people and for scripts.
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
#include "job/tool.h"

enum { COLUMNS = 8, CELL = 1024 };

static const char *const titles[COLUMNS] = { "SERVER", "BACKUP", "CREATED",
	"SIZE", "CONFIGURATION", "GROUP", "FLAGS", "NAME" };

struct row {
	char *cell[COLUMNS];
};

/* A server's name where the configuration knows it, else its UUID. */
static const char *
server_name(const struct job_env *env, const char *uuid)
{
	static _Thread_local char name[256];
	struct err ignored = ERR_INIT;
	struct conf_server s;

	if (uuid[0] == '\0')
		return "-";
	memset(&s, 0, sizeof(s));
	if (conf_server(env->conf, uuid, &s, &ignored) == -1)
		return uuid;
	snprintf(name, sizeof(name), "%s", s.name);
	conf_server_fini(&s);
	return name;
}

static const char *
flags(const struct record *r, char out[32])
{
	snprintf(out, 32, "%s%s%s", r->locked ? "locked," : "",
	    r->complete ? "" : "partial,", r->foreign ? "foreign," : "");
	if (out[0] == '\0')
		return "-";
	out[strlen(out) - 1] = '\0';
	return out;
}

static char *
text(const char *s)
{
	struct buf b;

	buf_init(&b, CELL * 4);
	str_esc(&b, s != NULL && *s != '\0' ? s : "-", s != NULL && *s != '\0' ?
	    strlen(s) : 1);
	return buf_detach(&b);
}

static int
fill(const struct job_env *env, const struct hit *h, struct row *row,
    struct err *e)
{
	const struct record *r = &h->rec;
	char when[WHEN_TEXT], human[STR_HUMAN], num[24], fl[32];
	const char *size = NULL;
	size_t i;

	if (r->has_size || r->has_stored) {
		uint64_t n = r->has_size ? r->size : r->stored;

		snprintf(num, sizeof(num), "%" PRIu64, n);
		size = env->tty ? str_human(n, human) : num;
	}
	row->cell[0] = text(server_name(env, r->server));
	row->cell[1] = text(r->uuid);
	row->cell[2] = text(r->created.tv_sec == 0 ? NULL : env->tty ?
	    when_local(r->created, when) : when_utc(r->created, when));
	row->cell[3] = text(size);
	row->cell[4] = text(conf_name(h->cfg));
	row->cell[5] = text(r->group);
	row->cell[6] = text(flags(r, fl));
	row->cell[7] = text(r->name);
	for (i = 0; i < COLUMNS; i++)
		if (row->cell[i] == NULL)
			return err_oom(e);
	return 0;
}

/* Characters, as far as UTF-8 tells: good enough to align. */
static size_t
width(const char *s)
{
	size_t n = 0;

	for (; *s != '\0'; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static void
cells(const struct job_env *env, const char *const *cell, const size_t *wide)
{
	size_t i, w;

	for (i = 0; i < COLUMNS; i++) {
		if (i > 0)
			fputs(env->tty ? "  " : "\t", env->out);
		w = width(cell[i]);
		/* Sizes to the right. */
		if (env->tty && i == 3 && w < wide[i])
			fprintf(env->out, "%*s", (int)(wide[i] - w), "");
		fputs(cell[i], env->out);
		if (env->tty && i != 3 && i + 1 < COLUMNS && w < wide[i])
			fprintf(env->out, "%*s", (int)(wide[i] - w), "");
	}
	fputc('\n', env->out);
}

static int
table(const struct job_env *env, const struct finds *f, struct err *e)
{
	struct row *rows = calloc(f->nhits + 1, sizeof(*rows));
	size_t wide[COLUMNS], i, k;
	int ret = -1;

	if (rows == NULL)
		return err_oom(e);
	for (k = 0; k < COLUMNS; k++)
		wide[k] = strlen(titles[k]);
	for (i = 0; i < f->nhits; i++) {
		if (fill(env, f->hit[i], &rows[i], e) == -1)
			goto out;
		for (k = 0; k < COLUMNS; k++)
			if (width(rows[i].cell[k]) > wide[k])
				wide[k] = width(rows[i].cell[k]);
	}
	if (env->header || (env->tty && f->nhits > 0))
		cells(env, titles, wide);
	for (i = 0; i < f->nhits; i++)
		cells(env, (const char *const *)rows[i].cell, wide);
	ret = 0;
out:
	for (i = 0; i < f->nhits; i++)
		for (k = 0; k < COLUMNS; k++)
			free(rows[i].cell[k]);
	free(rows);
	return ret;
}

/* {"v":1,"backups":[record, …],"unreachable":[{"configuration","code"}, …]} */
static int
document(const struct job_env *env, const struct finds *f, struct err *e)
{
	struct buf b;
	struct jw j;
	size_t i;
	int ret;

	fputs("{\"v\":1,\"backups\":[", env->out);
	for (i = 0; i < f->nhits; i++)
		fprintf(env->out, "%s%s", i > 0 ? ",\n" : "\n",
		    f->hit[i]->raw);
	buf_init(&b, 1 << 20);
	jw_begin(&j, &b);
	jw_open(&j, NULL, '[');
	for (i = 0; i < f->nmisses; i++) {
		jw_open(&j, NULL, '{');
		jw_str(&j, "configuration", conf_name(f->miss[i].cfg));
		jw_i64(&j, "code", f->miss[i].code);
		jw_close(&j, '}');
	}
	jw_close(&j, ']');
	fprintf(env->out, "%s],\"unreachable\":%s}\n",
	    f->nhits > 0 ? "\n" : "", b.p);
	ret = buf_failed(&b, e);
	buf_fini(&b);
	return ret;
}

int
job_list(const struct job_env *env, const char *const *servers, size_t n,
    struct err *e)
{
	struct finds f = { NULL, 0, NULL, 0 };
	const struct conf_section **cfgs = NULL;
	struct conf_server s;
	size_t i, m;
	int ret = -1;

	if (job_configs(env, &cfgs, &m, e) == -1)
		return -1;
	if (n == 0 && finds_ask(env, cfgs, m, NULL, env->json, &f, e) == -1)
		goto out;
	for (i = 0; i < n; i++) {
		if (job_server(env, servers[i], &s, e) == -1)
			goto out;
		ret = finds_ask(env, cfgs, m, s.uuid, env->json, &f, e);
		conf_server_fini(&s);
		if (ret == -1)
			goto out;
		ret = -1;
	}
	finds_sort(&f);
	if ((env->json ? document(env, &f, e) : table(env, &f, e)) == -1)
		goto out;
	fflush(env->out);
	for (i = 0; i < f.nmisses; i++)
		miss_say(env, &f.miss[i]);
	if (f.nmisses > 0)
		err_set(e, f.miss[0].code, "%zu of %zu configurations could "
		    "not be asked", f.nmisses, n > 1 ? m * n : m);
	else
		ret = 0;
out:
	finds_free(&f);
	free(cfgs);
	return ret;
}

static void
status_json(const struct job_env *env, const struct conf_server *s,
    const struct conf_section *cfg, const struct hit *h, uint64_t age,
    bool ok)
{
	struct buf b;
	struct jw j;

	buf_init(&b, 1 << 16);
	jw_begin(&j, &b);
	jw_open(&j, NULL, '{');
	jw_u64(&j, "v", 1);
	jw_str(&j, "server", s->uuid);
	jw_str(&j, "configuration", conf_name(cfg));
	jw_bool(&j, "ok", ok);
	if (h != NULL) {
		jw_str(&j, "backup", h->rec.uuid);
		jw_time(&j, "created", h->rec.created);
		jw_u64(&j, "age", age);
	}
	jw_close(&j, '}');
	fprintf(env->out, "%s\n", b.p);
	buf_fini(&b);
}

int
job_status(const struct job_env *env, const char *server, uint64_t max_age,
    struct err *e)
{
	struct finds f = { NULL, 0, NULL, 0 };
	const struct conf_section *cfg;
	const struct hit *best = NULL;
	struct conf_server s;
	struct timespec now = when_now();
	char when[WHEN_TEXT];
	uint64_t age = 0;
	int ret = -1;
	size_t i, ahead = 0;
	bool ok;

	if (job_server(env, server, &s, e) == -1)
		return -1;
	if (job_config(env, &s, &cfg, e) == -1 ||
	    finds_ask(env, &cfg, 1, s.uuid, false, &f, e) == -1)
		goto out;
	if (f.nmisses > 0) {
		miss_say(env, &f.miss[0]);
		err_set(e, f.miss[0].code, "configuration %s could not be "
		    "asked", str_q(conf_name(cfg)));
		goto out;
	}
	finds_sort(&f);
	/*
	 * A partial backup is no answer to "is there a good one?", nor is one
	 * that a wrong clock has made young for ever.
	 */
	for (i = 0; i < f.nhits; i++) {
		if (record_ahead(&f.hit[i]->rec, now.tv_sec)) {
			ahead++;
			log_warn(env->log, "backup %s was made in the future:"
			    " a clock is or was wrong", f.hit[i]->rec.uuid);
		} else if (f.hit[i]->rec.complete) {
			best = f.hit[i];
		}
	}
	if (best != NULL && best->rec.created.tv_sec < now.tv_sec)
		age = (uint64_t)(now.tv_sec - best->rec.created.tv_sec);
	ok = best != NULL && age <= max_age;
	if (env->json)
		status_json(env, &s, cfg, best, age, ok);
	else if (best != NULL && !env->quiet)
		fprintf(env->out, "%s\t%s\t%s\t%" PRIu64 "\t%s\n",
		    str_q(s.name != NULL ? s.name : s.uuid),
		    best->rec.uuid, env->tty ?
		    when_local(best->rec.created, when) :
		    when_utc(best->rec.created, when), age,
		    str_q(conf_name(cfg)));
	if (ok)
		ret = 0;
	else if (best == NULL)
		err_set(e, CALA_NOTFOUND, ahead > 0 ? "no backup with a "
		    "credible time in configuration %s" : f.nhits > 0 ?
		    "only partial backups in configuration %s" : "no backup "
		    "in configuration %s", str_q(conf_name(cfg)));
	else
		err_set(e, CALA_NOTFOUND, "the last whole backup is %" PRIu64
		    " seconds old", age);
out:
	if (ret == -1)
		err_ctx(e, "%s", str_q(s.name != NULL ? s.name : server));
	finds_free(&f);
	conf_server_fini(&s);
	return ret;
}
