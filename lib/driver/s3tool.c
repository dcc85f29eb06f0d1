#include "driver/s3tool.h"

#include <stdlib.h>
#include <string.h>

#include "base/rate.h"
#include "base/str.h"
#include "front/conf.h"
#include "front/report.h"

/* The operand: a key of the configuration's bucket, or a whole URL. */
static int
operand(struct s3tool *t, struct err *e)
{
	int url;

	if (t->args.n != 1)
		return err_set(e, CALA_USAGE, t->args.n == 0 ? "no KEY" :
		    "one KEY, not %zu", t->args.n);
	url = s3_url(t->args.v[0], &t->bucket, &t->own_key, e);
	if (url == -1)
		return -1;
	t->key = url == 0 ? t->own_key : t->args.v[0];
	if (url == 0)
		t->setup.opt_bucket = t->bucket;
	else if (t->configuration == NULL)
		return err_set(e, CALA_USAGE, "'%s': without a configuration, "
		    "s3://BUCKET/KEY is meant", str_q(t->key));
	if (*t->key == '\0')
		return err_set(e, CALA_USAGE, "no KEY behind the bucket");
	return 0;
}

/* Options stand above the configuration. */
static int
options(struct s3tool *t, struct err *e)
{
	struct s3_target *to = &t->setup.target;

	if (t->jobs > 64)
		return err_set(e, CALA_USAGE, "--jobs: at most 64");
	if (t->retries != UINT64_MAX && (t->retries < 1 || t->retries > 1000))
		return err_set(e, CALA_USAGE, "--retries: 1 to 1000");
	if (t->stall > 7 * 86400)
		return err_set(e, CALA_USAGE, "--stall-timeout: at most 7d");
	to->jobs = (unsigned)t->jobs;
	to->memory = t->memory;
	to->stall = (unsigned)t->stall;
	if (t->retries != UINT64_MAX)
		to->retries = (unsigned)t->retries;
	if (t->limit != UINT64_MAX) {
		if ((t->rate = rate_new(t->limit, e)) == NULL)
			return -1;
		to->rate = t->rate;
	}
	return 0;
}

static int
configure(struct s3tool *t, const char *what,
    const struct conf_section **cfg, struct err *e)
{
	if (t->configuration == NULL)
		return 0;
	if (front_conf(t->front, &t->conf, e) == -1)
		return -1;
	*cfg = conf_section(t->conf, "configuration", t->configuration);
	if (*cfg == NULL)
		return err_set(e, CALA_USAGE, "no configuration '%s'",
		    str_q(t->configuration));
	if (strcmp(conf_get(*cfg, "disk"), "s3") != 0)
		return err_set(e, CALA_USAGE, "configuration '%s' is of disk "
		    "%s, not s3", str_q(t->configuration),
		    conf_get(*cfg, "disk"));
	if (conf_bool(*cfg, "maintenance"))
		return err_set(e, CALA_MAINTENANCE, "configuration '%s' is in "
		    "maintenance: no %s", str_q(t->configuration), what);
	return 0;
}

int
s3tool_open(struct s3tool *t, const char *what, char *const *env,
    struct err *e)
{
	const struct conf_section *cfg = NULL;

	if (operand(t, e) == -1 || options(t, e) == -1) {
		if (e->code == CALA_USAGE && e->hint[0] == '\0')
			err_hint(e, "try '%s --help'", t->front->prog);
		return -1;
	}
	front_keys();
	if (configure(t, what, &cfg, e) == -1 ||
	    s3_setup_conf(&t->setup, t->conf, cfg, env, &t->front->log, e) ==
	    -1)
		return -1;
	t->s3 = s3_new(&t->setup.target, &t->front->log, e);
	return t->s3 == NULL ? -1 : 0;
}

void
s3tool_close(struct s3tool *t)
{
	s3_free(t->s3);
	s3_setup_fini(&t->setup);
	rate_free(t->rate);
	conf_free(t->conf);
	free(t->bucket);
	free(t->own_key);
	opt_list_free(&t->args);
}

void
s3tool_report(const struct s3tool *t, struct front_report *rep,
    struct log *log)
{
	front_report_begin(rep, log, NULL);
	jw_str(&rep->j, "bucket", t->setup.target.bucket);
	jw_bytes(&rep->j, "key", t->key, strlen(t->key));
}

void
s3tool_proof(struct front_report *rep, const char *etag, const char *version,
    const char *word)
{
	jw_str(&rep->j, "etag", etag);
	if (*version != '\0')
		jw_str(&rep->j, "version_id", version);
	if (word != NULL)
		jw_str(&rep->j, "verified", word);
	else
		jw_null(&rep->j, "verified");
}
