#include "job/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "archive/archive.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/str.h"

enum { INFO_MAX = 1 << 20, GRACE = 10 };

static void
take(struct args *a, char *s)
{
	char **v;

	if (s == NULL || a->failed)
		goto fail;
	if ((v = realloc(a->v, (a->n + 2) * sizeof(*v))) == NULL)
		goto fail;
	a->v = v;
	a->v[a->n++] = s;
	a->v[a->n] = NULL;
	return;
fail:
	free(s);
	a->failed = true;
}

void
args_add(struct args *a, const char *s)
{
	take(a, strdup(s));
}

void
args_fmt(struct args *a, const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) == -1)
		s = NULL;
	va_end(ap);
	take(a, s);
}

void
args_path(struct args *a, const char *p)
{
	args_fmt(a, "%s%s", *p == '-' ? "./" : "", p);
}

void
args_free(struct args *a)
{
	size_t i;

	for (i = 0; i < a->n; i++)
		free(a->v[i]);
	free(a->v);
	a->v = NULL;
	a->n = 0;
}

static void
levels(const struct job_env *env, struct args *a)
{
	int i;

	for (i = 0; i < env->verbose; i++)
		args_add(a, "-v");
	if (env->quiet)
		args_add(a, "-q");
	if (env->debug)
		args_add(a, "--debug");
}

void
args_tool(const struct job_env *env, struct args *a, const char *name)
{
	const char *const dirs[] = { env->bindir, env->libexec };
	char *path;
	size_t i;

	for (i = 0; i < 2; i++) {
		if (dirs[i] == NULL)
			continue;
		if ((path = str_join(dirs[i], name)) == NULL)
			break;
		if (file_may(path, X_OK)) {
			take(a, path);
			levels(env, a);
			return;
		}
		free(path);
	}
	args_add(a, name);
	levels(env, a);
}

void
args_driver(const struct job_env *env, struct args *a,
    const struct conf_section *cfg, const char *verb)
{
	struct args head = { NULL, 0, false };
	char *name = NULL;
	size_t i;

	if (asprintf(&name, "cala-%s", conf_disk(cfg)) == -1) {
		a->failed = true;
		return;
	}
	args_tool(env, &head, name);
	free(name);
	/* The verb comes first: a driver in shell need not look for it. */
	for (i = 0; i < head.n; i++) {
		args_add(a, head.v[i]);
		if (i == 0)
			args_add(a, verb);
	}
	a->failed |= head.failed;
	args_free(&head);
	if (env->config_file != NULL) {
		args_add(a, "--config-file");
		args_add(a, env->config_file);
	}
	args_add(a, "-c");
	args_add(a, conf_name(cfg));
}

/* What cala itself was told about key, or UINT64_MAX. */
static uint64_t
told(const struct job_env *env, const char *key)
{
	const struct { const char *key; uint64_t given; } t[] = {
		{ "limit-read", env->limit_read },
		{ "limit-write", env->limit_write },
		{ "limit-network", env->limit_network },
		{ "memory", env->memory },
		{ "jobs", env->jobs },
	};
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(*t); i++)
		if (strcmp(t[i].key, key) == 0)
			return t[i].given;
	return UINT64_MAX;
}

void
args_limits(const struct job_env *env, const struct conf_section *cfg,
    struct args *a, const char *const *keys)
{
	const char *v;
	uint64_t n;

	for (; *keys != NULL; keys++) {
		if ((n = told(env, *keys)) != UINT64_MAX)
			args_fmt(a, "--%s=%" PRIu64, *keys, n);
		else if (cfg != NULL && (v = conf_get(cfg, *keys)) != NULL &&
		    strcmp(v, "0") != 0)
			args_fmt(a, "--%s=%s", *keys, v);
	}
}

/*
 * What the packer makes.  s3 has the panel's own key: compression names an
 * archive format all the same ("none" is plain tar).
 */
static const char *
format_of(const struct conf_section *cfg)
{
	enum archive_format f = ARCHIVE_TAR;
	const char *s;

	if (strcmp(conf_disk(cfg), "s3") != 0)
		return conf_get(cfg, "archive-format");
	s = conf_get(cfg, "compression");
	if (s != NULL && strcmp(s, "none") != 0 && archive_word(s, &f) == -1)
		return NULL;
	return archive_info[f].ext;
}

void
args_form(const struct conf_section *cfg, struct args *a)
{
	const char *format = format_of(cfg);
	const char *level = conf_get(cfg, "compression-level");

	if (format != NULL)
		args_fmt(a, "--format=%s", format);
	/* What can't be compressed takes no level. */
	if (level != NULL && (format == NULL || strcmp(format, "tar") != 0))
		args_fmt(a, "--level=%s", level);
}

void
args_progress(const struct job_env *env, struct args *a)
{
	if (env->progress_off || env->json)
		args_add(a, "--no-progress");
	else if (env->progress)
		args_add(a, "--progress");
}

static void
say_command(const struct job_env *env, const struct args *a)
{
	struct buf b;
	size_t i;

	buf_init(&b, 8000);
	for (i = 0; i < a->n; i++) {
		if (i > 0)
			buf_chr(&b, ' ');
		str_esc(&b, a->v[i], strlen(a->v[i]));
	}
	log_file(env->log, "run: %s", b.p);
	buf_fini(&b);
}

int
tool_code(int status)
{
	if (status > CALA_SIGNAL)
		return CALA_INCOMPLETE;
	switch (status) {
	case CALA_NOEXEC:
	case CALA_NOCMD:
		return status;
	case CALA_OK:
		return CALA_FAIL;
	default:
		return (status >= CALA_USAGE && status <= CALA_INCOMPLETE) ||
		    (status >= CALA_NOTFOUND && status <= CALA_PROTECTED) ?
		    status : CALA_FAIL;
	}
}

/* Wait for all; a stop signal ends them.  -1 with err then. */
static int
wait_all(struct proc *p, size_t n, struct err *e)
{
	if (proc_wait(p, n, -1, e) == 0)
		return 0;
	proc_end(p, n, GRACE);
	return -1;
}

static void
put_spec(struct proc_spec *s, const struct args *a, struct proc_fd *fds,
    size_t nfds)
{
	static const struct proc_spec init = PROC_SPEC_INIT;

	*s = init;
	s->argv = (const char *const *)a->v;
	s->fds = fds;
	s->nfds = nfds;
	/*
	 * A terminal's ^C is for us: we tell each child once, while a second
	 * signal would make it leave its temporary files behind.
	 */
	s->group = true;
	s->tells = true;
}

int
tool_run(const struct job_env *env, const struct args *a, int lock,
    struct err *e)
{
	struct proc_fd fds = { lock, lock };
	struct proc_spec s;
	struct proc p;

	if (a->failed)
		return err_oom(e);
	say_command(env, a);
	fflush(env->out);
	put_spec(&s, a, &fds, lock != -1);
	if (proc_start(&p, &s, e) == -1 || wait_all(&p, 1, e) == -1)
		return -1;
	return p.status;
}

/* What a child wrote into fd (an unnamed file), at most out->max bytes. */
static int
load(int fd, struct buf *out, const char *who, struct err *e)
{
	off_t size = lseek(fd, 0, SEEK_END);
	char *to;

	if (size == -1)
		return err_sys(e, "output of %s", who);
	if ((uintmax_t)size > out->max - out->len)
		return err_set(e, CALA_INTEGRITY,
		    "output of %s: more than %zu bytes", who, out->max);
	if (size == 0)
		return 0;
	if ((to = buf_room(out, (size_t)size)) == NULL)
		return buf_failed(out, e);
	if (file_pread_full(fd, to, (size_t)size, 0) != (ssize_t)size)
		return err_sys(e, "output of %s", who);
	buf_grown(out, (size_t)size);
	return 0;
}

int
tool_read(const struct job_env *env, const struct args *a, int lock,
    struct buf *out, struct err *e)
{
	struct proc_fd fds = { lock, lock };
	struct proc_spec s;
	struct proc p;
	int fd, ret = -1;

	if (a->failed)
		return err_oom(e);
	say_command(env, a);
	if ((fd = memfd_create("output", MFD_CLOEXEC)) == -1)
		return err_sys(e, "memory for the output");
	put_spec(&s, a, &fds, lock != -1);
	s.fd[1] = fd;
	if (proc_start(&p, &s, e) == 0 && wait_all(&p, 1, e) == 0 &&
	    load(fd, out, p.name, e) == 0)
		ret = p.status;
	close(fd);
	return ret;
}

static bool
ended(const struct proc *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!p[i].done)
			return false;
	return true;
}

static bool
good(const struct proc *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (p[i].status != CALA_OK && p[i].status != CALA_PARTIAL)
			return false;
	return true;
}

/*
 * The producers first, then the go; the sink waits for it with everything
 * else done, so its answer is the outcome.
 */
static int
conduct(struct proc *p, size_t n, int *tell, struct err *e)
{
	/* All are watched, so that it is known which one ended first. */
	while (!ended(p, n - 1)) {
		(void)proc_poll(p, n, 3600);
		if (stop_check(e) == -1)
			goto stopped;
	}
	if (*tell != -1) {
		/* A sink that is gone (EPIPE) has its own status. */
		if (good(p, n - 1))
			(void)!write(*tell, "C", 1);
		close(*tell);
		*tell = -1;
	}
	if (proc_wait(p, n, -1, e) == 0)
		return 0;
stopped:
	/* Closed without a word: the sink aborts whatever else happens. */
	if (*tell != -1)
		close(*tell);
	*tell = -1;
	proc_end(p, n, GRACE);
	return -1;
}

int
tool_pipe(const struct job_env *env, struct args *a, size_t n, int commit[2],
    int lock, struct buf *out, struct err *e)
{
	struct proc_fd fds[2] = { { lock, lock }, { commit[0], commit[0] } };
	size_t i, k, nlock = lock != -1;
	char text[PROC_TEXT];
	struct proc_spec s[4];
	struct proc p[4];
	int fd = -1, ret = -1;

	if (n > 4) {
		err_set(e, CALA_FAIL, "pipeline of more than 4 stages");
		goto out;
	}
	for (i = 0; i < n; i++) {
		if (a[i].failed) {
			err_oom(e);
			goto out;
		}
		say_command(env, &a[i]);
		put_spec(&s[i], &a[i], fds, nlock);
	}
	if (commit[0] != -1) {
		s[n - 1].fds = nlock ? fds : fds + 1;
		s[n - 1].nfds = nlock + 1;
	}
	if (out != NULL) {
		if ((fd = memfd_create("output", MFD_CLOEXEC)) == -1) {
			err_sys(e, "memory for the output");
			goto out;
		}
		s[n - 1].fd[1] = fd;
	}
	fflush(env->out);
	if (proc_chain(p, s, n, e) == -1)
		goto out;
	if (commit[0] != -1)
		close(commit[0]);
	commit[0] = -1;
	if (conduct(p, n, &commit[1], e) == -1)
		goto out;
	if (out != NULL && load(fd, out, p[n - 1].name, e) == -1)
		goto out;
	if ((k = proc_cause(p, n)) == n)
		ret = 0;
	else if (p[k].status == CALA_PARTIAL)
		ret = CALA_PARTIAL;
	else
		err_set(e, tool_code(p[k].status), "%s: %s", p[k].name,
		    proc_says(&p[k], text));
out:
	if (fd != -1)
		close(fd);
	for (i = 0; i < 2; i++) {
		if (commit[i] != -1)
			close(commit[i]);
		commit[i] = -1;
	}
	return ret;
}

int
driver_info(const struct job_env *env, const struct conf_section *cfg,
    struct driver_facts *out, struct err *e)
{
	struct args a = { NULL, 0, false };
	const json_t *verb;
	const char *takes;
	size_t i;
	char text[PROC_TEXT];
	struct proc p = { .status = 0 };
	json_t *j = NULL;
	struct buf b;
	int ret = -1;

	buf_init(&b, INFO_MAX);
	args_driver(env, &a, cfg, "info");
	p.status = tool_read(env, &a, -1, &b, e);
	if (p.status == -1) {
		if (e->code == CALA_NOCMD)
			err_hint(e, "disk %s needs this program beside cala "
			    "or in PATH", conf_disk(cfg));
		goto out;
	}
	if (p.status != 0) {
		err_set(e, tool_code(p.status), "%s info: %s", str_q(a.v[0]),
		    proc_says(&p, text));
		goto out;
	}
	if ((j = json_parse(b.p, b.len, "driver's info", e)) == NULL)
		goto out;
	takes = json_get_str(j, "takes");
	out->stream = takes != NULL && (strcmp(takes, "stream") == 0 ||
	    strcmp(takes, "both") == 0);
	out->dir = takes != NULL && (strcmp(takes, "dir") == 0 ||
	    strcmp(takes, "both") == 0);
	out->raw = json_get_bool(j, "raw", false);
	out->proves = json_get_bool(j, "proves", false);
	out->restore = false;
	json_array_foreach(json_object_get(j, "verbs"), i, verb)
		out->restore |= json_is_string(verb) &&
		    strcmp(json_string_value(verb), "restore") == 0;
	if (!out->stream && !out->dir) {
		err_set(e, CALA_INTEGRITY, "%s info: says not what it takes "
		    "(stream, dir or both)", str_q(a.v[0]));
		goto out;
	}
	ret = 0;
out:
	json_decref(j);
	args_free(&a);
	buf_fini(&b);
	return ret;
}
