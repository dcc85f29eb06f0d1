#include "exec/restic.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"

enum {
	ARGS = 64,              /* what we add to a command */
	GRACE = 15,             /* seconds to take its lock away in */
	PASSWORD_FD = 3,
	PROBE = 60,             /* seconds for what needs no repository */
	PAUSE_MAX = 20,         /* seconds between two tries for a lock */
	TORN_TRIES = 3          /* for a cache that is being made */
};

struct restic {
	struct restic_how how;
	struct child_env env;
	char *program;
	unsigned version;
	char name[48];
	int password;           /* -1: by other means */
	bool unlocked;          /* stale locks were removed once */
};

/* ---- which program ---- */

static int
find_program(struct restic *r, struct err *e)
{
	const char *path = child_env_get(&r->env, "PATH"), *end;
	char full[4096];

	for (; path != NULL && *path != '\0'; path = *end == ':' ? end + 1 :
	    end) {
		end = strchrnul(path, ':');
		if (*path != '/' || snprintf(full, sizeof(full),
		    "%.*s/restic", (int)(end - path), path) >=
		    (int)sizeof(full) || access(full, X_OK) == -1)
			continue;
		if ((r->program = strdup(full)) == NULL)
			return err_oom(e);
		return 0;
	}
	err_set(e, CALA_NOCMD, "restic is not installed (nowhere in PATH)");
	return err_hint(e, "apt install restic, or see restic.net");
}

/* "restic 0.14.0 compiled with …", or the same as JSON. */
static int
parse_version(struct restic *r, char *line)
{
	unsigned major, minor, patch = 0;
	json_t *j = child_json(line, strlen(line));
	const char *s = j != NULL ? json_get_str(j, "version") :
	    str_begins(line, "restic ") ? line + 7 : NULL;
	int ret = -1;

	if (s != NULL && sscanf(s, "%3u.%2u.%2u", &major, &minor,
	    &patch) >= 2) {
		r->version = major * 10000 + minor * 100 + patch;
		snprintf(r->name, sizeof(r->name), "restic %u.%u.%u", major,
		    minor, patch);
		ret = 0;
	}
	json_decref(j);
	return ret;
}

static int
ask_version(struct restic *r, struct err *e)
{
	const char *const argv[] = { r->program, "version", NULL };
	struct child_spec s = CHILD_SPEC_INIT;
	struct child *c = NULL;
	char *line;
	size_t n;
	int ret = -1, got;

	s.what = "restic version";
	s.argv = argv;
	s.env = child_env_list(&r->env);
	s.limit = PROBE;
	s.line_max = 4096;
	s.log = r->how.log;
	if (child_start(&c, &s, e) == -1)
		return -1;
	while ((got = child_line(c, &line, &n, e)) == 1)
		if (parse_version(r, line) == 0)
			ret = 0;
	child_free(c);
	if (got == -1)
		return -1;
	if (ret == -1)
		err_set(e, CALA_FAIL, "%s: says no version of restic",
		    str_q(r->program));
	return ret;
}

/*
 * Starting a program only to learn what it is costs as much as a small command:
 * the answer is kept for as long as its file is the same.
 */
static int
know_version(struct restic *r, int dirfd, struct err *e)
{
	struct afile f = AFILE_INIT;
	struct err own = ERR_INIT;
	struct buf b, key;
	struct stat st;
	int ret = -1;

	buf_init(&b, 8192);
	buf_init(&key, 8192);
	if (stat(r->program, &st) == -1) {
		err_sys(e, "%s", str_q(r->program));
		goto out;
	}
	buf_printf(&key, "%s %ju %ju %jd %jd.%09ld\n", r->program,
	    (uintmax_t)st.st_dev, (uintmax_t)st.st_ino, (intmax_t)st.st_size,
	    (intmax_t)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
	if (file_slurp(&b, dirfd, "cala-version", &own) == 0 &&
	    b.len > key.len && memcmp(b.p, key.p, key.len) == 0 &&
	    parse_version(r, b.p + key.len) == 0) {
		ret = 0;
		goto out;
	}
	if (ask_version(r, e) == -1)
		goto out;
	ret = 0;
	err_clear(&own);
	/* What can't be kept is asked again. */
	if (afile_open(&f, dirfd, "cala-version", &own) == 0 &&
	    buf_str(&key, r->name) == 0 &&
	    file_write_all(f.fd, key.p, key.len) == 0)
		(void)afile_commit(&f, 0600, 0, &own);
	afile_abort(&f);
out:
	buf_fini(&b);
	buf_fini(&key);
	return ret;
}

/* ---- environment ---- */

/* The password goes through memory: an environment can be read for longer. */
static int
password(struct restic *r, struct err *e)
{
	const char *pw = child_env_get(&r->env, "RESTIC_PASSWORD");
	char name[32];

	if (child_env_get(&r->env, "RESTIC_PASSWORD_FILE") != NULL ||
	    child_env_get(&r->env, "RESTIC_PASSWORD_COMMAND") != NULL)
		return 0;
	if (pw == NULL || *pw == '\0') {
		err_set(e, CALA_USAGE, "the repository's password is not "
		    "configured");
		return err_hint(e, "environment.RESTIC_PASSWORD-file = a file "
		    "that only root can read");
	}
	r->password = child_memory("restic-password", pw, strlen(pw), e);
	if (r->password == -1)
		return -1;
	snprintf(name, sizeof(name), "/dev/fd/%d", PASSWORD_FD);
	if (child_env_set(&r->env, "RESTIC_PASSWORD_FILE", name, e) == -1)
		return -1;
	/* Set last, so that it is the one that is wiped. */
	return child_env_set(&r->env, "RESTIC_PASSWORD", "", e);
}

static int
environment(struct restic *r, struct err *e)
{
	const struct restic_how *h = &r->how;
	char num[32];

	/* How its times and texts are read depends on these. */
	if (child_env_set(&r->env, "LC_ALL", "C", e) == -1 ||
	    child_env_set(&r->env, "TZ", "UTC", e) == -1 ||
	    child_env_set(&r->env, "RESTIC_REPOSITORY", h->repository,
	    e) == -1 ||
	    child_env_set(&r->env, "RESTIC_CACHE_DIR", h->cache, e) == -1 ||
	    child_env_set(&r->env, "RESTIC_PROGRESS_FPS", "2", e) == -1 ||
	    (h->compression != NULL && child_env_set(&r->env,
	    "RESTIC_COMPRESSION", h->compression, e) == -1))
		return -1;
	snprintf(num, sizeof(num), "%" PRIu64, h->pack_size);
	if (h->pack_size > 0 && child_env_set(&r->env, "RESTIC_PACK_SIZE",
	    num, e) == -1)
		return -1;
	snprintf(num, sizeof(num), "%u", h->jobs);
	if (h->jobs > 0 && child_env_set(&r->env, "GOMAXPROCS", num, e) == -1)
		return -1;
	return password(r, e);
}

int
restic_open(struct restic **out, const struct restic_how *how,
    struct child_env *env, struct err *e)
{
	struct restic *r = calloc(1, sizeof(*r));
	int dirfd = -1, ret = -1;

	if (r == NULL) {
		child_env_fini(env);
		return err_oom(e);
	}
	r->how = *how;
	r->env = *env;
	env->v = NULL;
	env->n = 0;
	r->password = -1;
	if ((dirfd = file_mkdirs(how->cache, 0700, e)) == -1) {
		err_ctx(e, "cache");
		goto out;
	}
	if (find_program(r, e) == -1 || know_version(r, dirfd, e) == -1 ||
	    environment(r, e) == -1)
		goto out;
	if (r->version < RESTIC_OLDEST) {
		err_set(e, CALA_USAGE, "%s is too old: 0.14 is the oldest that "
		    "can be driven", r->name);
		goto out;
	}
	*out = r;
	r = NULL;
	ret = 0;
out:
	if (dirfd != -1)
		close(dirfd);
	restic_close(r);
	return ret;
}

void
restic_close(struct restic *r)
{
	if (r == NULL)
		return;
	child_env_fini(&r->env);
	if (r->password != -1)
		close(r->password);
	free(r->program);
	free(r);
}

unsigned
restic_version(const struct restic *r)
{
	return r->version;
}

const char *
restic_name(const struct restic *r)
{
	return r->name;
}

/* ---- one run ---- */

struct live {
	struct restic *r;
	struct restic_run *run; /* restic_do's, or our copy */
	struct restic_run copy;
	char what[64];
	const char *argv[ARGS];
	struct proc_fd fds[8];
	char num[2][32];
	int means;              /* what its messages said, the first cause */
	double trying;          /* since when requests fail; 0: they don't */
	char why[256];          /* the last of these failures */
	char text[1024];
};

/* "Fatal: " and the like say no more than that it failed. */
static const char *
strip(const char *s)
{
	static const char *const noise[] = { "Fatal: ", "error: ", "Error: ",
	    NULL };

	return child_strip(s, noise);
}

static void
means(struct live *l, const char *line)
{
	int code = restic_means(line);

	/* A store that refuses is no source that can't be read. */
	if (l->means == 0)
		l->means = code;
	if (strstr(line, "Ignoring \"") != NULL)
		l->run->ignored = true;
	l->run->torn |= restic_cache_torn(line);
	if (strstr(line, "retrying after") != NULL) {
		if (l->trying <= 0)
			l->trying = when_mono();
		snprintf(l->why, sizeof(l->why), "%s", line);
	} else if (strstr(line, "operation successful after") != NULL) {
		l->trying = 0;
		l->means = 0;
	}
}

static const char *
from_json(struct live *l, json_t *j)
{
	const char *type = json_get_str(j, "message_type");
	const char *text = json_get_str(j, "message");
	const char *item = json_get_str(j, "item");
	const json_t *inner = json_object_get(j, "error");
	const char *during = json_get_str(j, "during");

	if (text == NULL && inner != NULL)
		text = json_get_str(inner, "message");
	if (text == NULL && inner != NULL)      /* until 0.17 */
		text = json_get_str(inner, "Op") != NULL ?
		    "could not be read" : "an error";
	if (text == NULL)
		return NULL;
	snprintf(l->text, sizeof(l->text), "%s", strip(text));
	l->text[strcspn(l->text, "\n")] = '\0';
	if (type != NULL && strcmp(type, "error") == 0 && during != NULL &&
	    l->run->trouble != NULL) {
		/* The scan only counts: what it could not see is read later. */
		if (strcmp(during, "scan") != 0)
			l->run->trouble(l->run->ctx, item != NULL ? item : "",
			    l->text);
		return NULL;
	}
	means(l, text);
	return l->text;
}

static const char *
said(void *ctx, char *line, size_t n)
{
	struct live *l = ctx;
	json_t *j = child_json(line, n);
	const char *quote;

	if (j != NULL) {
		quote = from_json(l, j);
		json_decref(j);
		return quote;
	}
	means(l, line);
	if (l->run->told != NULL)
		l->run->told(l->run->ctx, line);
	/* What it advises its own users is nothing for ours. */
	if (strstr(line, "the `unlock` command") != NULL ||
	    str_begins(line, "lock was created at") ||
	    str_begins(line, "storage ID "))
		return NULL;
	return strip(line);
}

static int
patient(void *ctx, struct err *e)
{
	struct live *l = ctx;
	uint64_t limit = l->r->how.patience;

	if (l->trying <= 0 || limit == 0 ||
	    when_mono() - l->trying < (double)limit)
		return 0;
	return err_set(e, l->means == CALA_TLS || l->means == CALA_AUTH ?
	    l->means : CALA_NET, "%s: no success for %" PRIu64 " seconds: %s",
	    l->what, limit, str_q(l->why));
}

static int
judge(void *ctx, int status, const char *last, struct err *e)
{
	struct live *l = ctx;
	int code = l->means;

	switch (status) {
	case 0:
		return 0;
	case 3:
		if (l->run->partial_ok) {
			l->run->partial = true;
			return 0;
		}
		break;
	case 10:
		code = CALA_NOTFOUND;
		break;
	case 11:
		code = CALA_LOCKED;
		break;
	case 12:
		code = CALA_AUTH;
		break;
	}
	if (status >= CALA_SIGNAL || code == 0)
		code = CALA_FAIL;
	child_fail(l->what, status, last, code, e);
	if (code == CALA_LOCKED)
		err_hint(e, "retry-lock-seconds waits for it");
	return -1;
}

static uint64_t
lock_wait(const struct restic *r, const struct restic_run *run)
{
	return run->wait > r->how.retry_lock ? run->wait : r->how.retry_lock;
}

static void
add(struct live *l, size_t *n, const char *arg)
{
	if (*n + 1 < ARGS)
		l->argv[(*n)++] = arg;
}

static int
start(struct live *l, struct child **out, struct err *e)
{
	const struct restic_run *run = l->run;
	const struct restic_how *h = &l->r->how;
	uint64_t wait = lock_wait(l->r, run);
	struct child_spec s = CHILD_SPEC_INIT;
	const char **argv = NULL;
	size_t n = 0, nargs = 0, i;
	int ret;

	snprintf(l->what, sizeof(l->what), "restic %s", run->args[0]);
	while (run->args[nargs] != NULL)
		nargs++;
	add(l, &n, l->r->program);
	if ((run->flags & RESTIC_PLAIN) == 0)
		add(l, &n, "--json");
	if ((run->flags & RESTIC_READS) != 0)
		add(l, &n, "--no-lock");
	if ((run->flags & RESTIC_WAITS) != 0 &&
	    l->r->version >= RESTIC_SUBFOLDER && wait > 0) {
		snprintf(l->num[0], sizeof(l->num[0]), "%" PRIu64 "s", wait);
		add(l, &n, "--retry-lock");
		add(l, &n, l->num[0]);
	}
	if (h->cacert != NULL) {
		add(l, &n, "--cacert");
		add(l, &n, h->cacert);
	}
	if (h->limit > 0) {
		snprintf(l->num[1], sizeof(l->num[1]), "%" PRIu64,
		    h->limit < 1024 ? 1 : h->limit / 1024);
		add(l, &n, "--limit-upload");
		add(l, &n, l->num[1]);
		add(l, &n, "--limit-download");
		add(l, &n, l->num[1]);
	}
	if ((argv = calloc(n + nargs + 1, sizeof(*argv))) == NULL)
		return err_oom(e);
	memcpy(argv, l->argv, n * sizeof(*argv));
	memcpy(argv + n, run->args, nargs * sizeof(*argv));
	n = 0;
	if (l->r->password != -1)
		l->fds[n++] = (struct proc_fd){ l->r->password, PASSWORD_FD };
	for (i = 0; i < run->nfds && n < 8; i++)
		l->fds[n++] = run->fds[i];
	s.what = l->what;
	s.argv = argv;
	s.env = child_env_list(&l->r->env);
	s.dir = run->dir;
	s.fds = l->fds;
	s.nfds = n;
	/* Before 0.17 it keeps its lock when it gets a SIGTERM. */
	s.ends = SIGINT;
	s.grace = GRACE;
	s.idle = (run->flags & RESTIC_QUIET) != 0 ? 0 : (double)h->idle;
	s.line_max = RESTIC_ITEM;
	s.log = h->log;
	s.said = said;
	s.wait = patient;
	s.judge = judge;
	s.ctx = l;
	s.release = free;
	ret = child_start(out, &s, e);
	free(argv);
	return ret;
}

static int
begin(struct restic *r, struct restic_run *run, bool copy, struct child **out,
    struct err *e)
{
	struct live *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return err_oom(e);
	l->r = r;
	l->copy = *run;
	l->run = copy ? &l->copy : run;
	l->run->partial = l->run->ignored = l->run->torn = false;
	if (start(l, out, e) == 0)
		return 0;
	free(l);
	return -1;
}

int
restic_start(struct restic *r, const struct restic_run *run,
    struct child **out, struct err *e)
{
	struct restic_run own = *run;

	return begin(r, &own, true, out, e);
}

static int
once(struct restic *r, struct restic_run *run, int (*body)(void *,
    struct child *, struct err *), void *ctx, struct err *e)
{
	struct child *c = NULL;
	int ret;

	if (begin(r, run, false, &c, e) == -1)
		return -1;
	ret = body != NULL ? body(ctx, c, e) : child_finish(c, e);
	child_free(c);
	return ret;
}

static int
nap(double seconds, struct err *e)
{
	struct timespec tick = { 0, 100 * 1000 * 1000 };
	double until = when_mono() + seconds;

	while (when_mono() < until) {
		if (stop_check(e) == -1)
			return -1;
		nanosleep(&tick, NULL);
	}
	return stop_check(e);
}

/*
 * Locks of the dead: of this machine's processes that are gone, and those that
 * nobody has refreshed for half an hour.  Never those of the living.
 */
static void
unlock(struct restic *r)
{
	const char *const args[] = { "unlock", NULL };
	struct restic_run run = { .flags = RESTIC_PLAIN, .args = args };
	struct err own = ERR_INIT;

	r->unlocked = true;
	log_step(r->how.log, "the repository is locked: removing stale locks");
	if (once(r, &run, NULL, NULL, &own) == -1)
		log_step(r->how.log, "%s", own.msg);
}

int
restic_do(struct restic *r, struct restic_run *run, int (*body)(void *,
    struct child *, struct err *), void *ctx, struct err *e)
{
	double begun = when_mono(), pause = 1;
	unsigned torn = 0;
	/* Newer ones wait by themselves. */
	double until = begun + (r->version >= RESTIC_SUBFOLDER ? 0 :
	    (double)lock_wait(r, run));

	for (;;) {
		if (once(r, run, body, ctx, e) == 0)
			return 0;
		if (run->torn && e->code == CALA_FAIL &&
		    torn++ < TORN_TRIES) {
			/* Who is making it has time to end. */
			if (nap(0.3, e) == -1)
				return -1;
			restic_cache_mend(r->how.cache, r->how.log);
			err_clear(e);
			continue;
		}
		if (e->code != CALA_LOCKED ||
		    (run->flags & RESTIC_WAITS) == 0)
			return -1;
		if (!r->unlocked) {
			unlock(r);
		} else {
			if (when_mono() + pause > until)
				return -1;
			if (nap(pause, e) == -1)
				return -1;
			pause = pause * 2 > PAUSE_MAX ? PAUSE_MAX : pause * 2;
		}
		err_clear(e);
	}
}
