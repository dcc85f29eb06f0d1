#include "job/hook.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "config/conf.h"
#include "job/tool.h"

enum { GRACE = 5 };

static void
tell(struct args *a, const char *name, const char *value)
{
	if (value != NULL)
		args_fmt(a, "%s=%s", name, value);
}

static void
environment(const struct hook *h, const char *stage,
    const struct hook_after *after, struct args *a)
{
	tell(a, "CALA_JOB", "backup");
	tell(a, "CALA_STAGE", stage);
	tell(a, "CALA_SERVER", h->server);
	tell(a, "CALA_SERVER_NAME", h->name);
	tell(a, "CALA_PATH", h->path);
	tell(a, "CALA_CONFIGURATION", h->configuration);
	tell(a, "CALA_DISK", h->disk);
	tell(a, "CALA_BACKUP", h->backup);
	tell(a, "CALA_BACKUP_NAME", h->backup_name);
	if (after == NULL)
		return;
	tell(a, "CALA_SNAPSHOT", after->snapshot);
	if (after->snapshot != NULL)
		return;
	args_fmt(a, "CALA_CODE=%d", after->code);
	if (after->recovered)
		tell(a, "CALA_RECOVERED", "1");
	if (after->has_bytes)
		args_fmt(a, "CALA_BYTES=%" PRIu64, after->bytes);
	tell(a, "CALA_REPORT", after->report);
}

int
hook_run(const struct job_env *env, const struct hook *h, const char *stage,
    const struct hook_after *after, struct err *e)
{
	static const struct proc_spec init = PROC_SPEC_INIT;
	double until = when_mono() + (double)h->seconds;
	struct args vars = { NULL, 0, false };
	struct proc_spec s = init;
	char text[PROC_TEXT], **argv = NULL;
	struct proc p;
	int ret = -1;

	if (h->command == NULL)
		return 0;
	if (conf_words(h->command, &argv, e) == -1)
		goto out;
	environment(h, stage, after, &vars);
	if (vars.failed) {
		err_oom(e);
		goto out;
	}
	s.argv = (const char *const *)argv;
	s.env = (const char *const *)vars.v;
	s.fd[1] = 2;
	s.group = true;
	log_step(env->log, "%s: %s", stage, str_q(h->command));
	if (proc_start(&p, &s, e) == -1)
		goto out;
	while (proc_poll(&p, 1, until - when_mono()) > 0) {
		if (after == NULL && stop_check(e) == -1) {
			proc_end(&p, 1, GRACE);
			goto out;
		}
		if (when_mono() >= until) {
			proc_end(&p, 1, GRACE);
			err_set(e, CALA_DEADLINE, "%s did not end within %"
			    PRIu64 " seconds", str_q(h->command), h->seconds);
			goto out;
		}
	}
	if (p.status > CALA_SIGNAL)
		err_set(e, CALA_FAIL, "%s: %s", str_q(h->command),
		    proc_says(&p, text));
	else
		ret = p.status;
out:
	if (ret == -1)
		err_ctx(e, "%s", stage);
	free(argv);
	args_free(&vars);
	return ret;
}
