/*
 * backup: lock, hook, pack into the driver, hook.
 *
 * A backup is in the store only if the driver committed it, and it commits an
 * archive only on our go, which follows the packer's exit (design: "Proof of
 * completeness").  The post-backup hook is owed from before the pre-backup hook
 * starts until it has run: the state file says so across a SIGKILL.
 */

#include "job/job.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "archive/archive.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "base/when.h"
#include "config/inside.h"
#include "job/find.h"
#include "job/hook.h"
#include "job/snapshot.h"
#include "job/state.h"
#include "job/tool.h"

/* .pteroignore, as the packer limits it; all patterns of one backup. */
enum { IGNORE_MAX = 1 << 20, PATTERNS_MAX = 8 << 20 };

/* One backup on its way. */
struct run {
	const struct job_env *env;
	const struct job_backup *how;
	struct conf_server srv;
	const struct conf_section *cfg;
	struct driver_facts driver;
	struct job_lock lock;
	struct source_snap snap;
	const char *from;       /* what is read: V, or a snapshot of it */
	bool post_ran, post_failed;
	char uuid[UUID_TEXT];
	char name[64];          /* the default one */
	char *own;              /* the rule that leaves the store out; NULL */
	char report[UUID_TEXT + 16], exclude[UUID_TEXT + 16];
	char *report_path, *exclude_path;
	struct record rec;      /* the driver's answer */
	struct buf raw;         /* the same, as it came */
};

/* "2026-03-09 04:12:33 +0100": what Calagopus calls an unnamed backup. */
static void
default_name(char *out, size_t n)
{
	struct timespec now = when_now();
	struct tm tm;

	if (localtime_r(&now.tv_sec, &tm) == NULL ||
	    strftime(out, n, "%Y-%m-%d %H:%M:%S %z", &tm) == 0)
		snprintf(out, n, "backup");
}

/* Of the configuration or the server, else [cala]'s, else the default. */
static const char *
tuning(const struct run *r, const char *key, bool of_server)
{
	const struct conf_section *s = of_server ? r->srv.section : r->cfg;

	return conf_get(s != NULL ? s :
	    conf_section(r->env->conf, "cala", NULL), key);
}

static int
each_ignore(const struct run *r, int (*fn)(void *, const char *), void *ctx)
{
	const struct conf_section *from[] = {
		conf_section(r->env->conf, "cala", NULL), r->cfg,
		r->srv.section
	};
	const char *s;
	size_t i, k;

	for (i = 0; i < sizeof(from) / sizeof(*from); i++)
		for (k = 0; from[i] != NULL && (s = conf_get_nth(from[i],
		    "ignore", k)) != NULL; k++)
			if (fn(ctx, s) == -1)
				return -1;
	for (k = 0; k < r->how->exclude.n; k++)
		if (fn(ctx, r->how->exclude.v[k]) == -1)
			return -1;
	return r->own != NULL ? fn(ctx, r->own) : 0;
}

static int
add_exclude(void *ctx, const char *pattern)
{
	struct args *a = ctx;

	args_add(a, "-e");
	args_add(a, pattern);
	return 0;
}

static int
add_line(void *ctx, const char *pattern)
{
	struct buf *b = ctx;

	buf_str(b, pattern);
	return buf_chr(b, '\n');
}

static void
pack_args(const struct run *r, uint64_t expect, struct args *a)
{
	static const char *const keys[] = { "limit-read", "memory", "jobs",
	    NULL };
	const char *profile = tuning(r, "profile", false);

	args_tool(r->env, a, "cala-pack");
	args_limits(r->env, r->cfg, a, keys);
	if (profile != NULL)
		args_fmt(a, "--profile=%s", profile);
	args_form(r->cfg, a);
	each_ignore(r, add_exclude, a);
	if (r->how->allow_empty)
		args_add(a, "--allow-empty");
	if (r->env->dry_run)
		args_add(a, "--dry-run");
	if (!r->env->dry_run)
		args_progress(r->env, a);
	if (expect > 0)
		args_fmt(a, "--expect=%" PRIu64, expect);
	if (r->report_path != NULL)
		args_fmt(a, "--report=%s", r->report_path);
	args_add(a, "-C");
	args_add(a, r->from);
	args_add(a, ".");
}

static void
put_args(const struct run *r, int commit, struct args *a)
{
	static const char *const stream[] = { "limit-write", "limit-network",
	    "memory", NULL };
	static const char *const dir[] = { "limit-read", "limit-write",
	    "limit-network", "memory", "jobs", NULL };
	const char *group = r->how->group;

	if (group == NULL && r->srv.section != NULL)
		group = conf_get(r->srv.section, "group");
	args_driver(r->env, a, r->cfg, "put");
	args_limits(r->env, r->cfg, a, commit != -1 ? stream : dir);
	args_add(a, "-s");
	args_add(a, r->srv.uuid);
	args_fmt(a, "--uuid=%s", r->uuid);
	args_fmt(a, "--name=%s", r->how->name != NULL ? r->how->name :
	    r->name);
	if (group != NULL)
		args_fmt(a, "--group=%s", group);
	if (r->how->lock)
		args_add(a, "--lock");
	if (commit != -1) {
		args_fmt(a, "--commit-fd=%d", commit);
		args_fmt(a, "--facts=%s", r->report_path);
		return;
	}
	args_fmt(a, "--exclude-from=%s", r->exclude_path);
	args_fmt(a, "--as=%s", r->srv.path);
	args_add(a, r->from);
}

/*
 * How large the last backup was, for the time that is left; only worth a
 * question where somebody looks.
 */
static uint64_t
expected(const struct run *r)
{
	const struct job_env *env = r->env;
	struct finds f = { NULL, 0, NULL, 0 };
	struct err ignored = ERR_INIT;
	uint64_t size = 0;
	size_t i;

	if (!env->err_tty || env->quiet || env->json || env->progress_off)
		return 0;
	if (finds_ask(env, &r->cfg, 1, r->srv.uuid, false, &f,
	    &ignored) == 0) {
		finds_sort(&f);
		for (i = 0; i < f.nhits; i++)
			if (f.hit[i]->rec.has_size)
				size = f.hit[i]->rec.size;
	}
	finds_free(&f);
	return size;
}

/* All patterns into a file: what a driver that reads DIR itself gets. */
static int
write_excludes(struct run *r, struct err *e)
{
	struct afile f = AFILE_INIT;
	struct err own = ERR_INIT;
	int dirfd = -1, ret = -1;
	struct stat st;
	struct buf b;

	buf_init(&b, PATTERNS_MAX);
	each_ignore(r, add_line, &b);
	if ((dirfd = file_opendir(AT_FDCWD, r->from, e)) == -1)
		goto out;
	/* Last, so that it wins, as in the packer; a link is not followed. */
	if (fstatat(dirfd, ".pteroignore", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISREG(st.st_mode) && st.st_size <= IGNORE_MAX &&
	    file_slurp(&b, dirfd, ".pteroignore", &own) == -1 &&
	    own.code != CALA_NOTFOUND) {
		*e = own;
		goto out;
	}
	buf_chr(&b, '\n');
	if (buf_failed(&b, e) == -1 ||
	    afile_open(&f, r->lock.dirfd, r->exclude, e) == -1)
		goto out;
	if (file_write_all(f.fd, b.p, b.len) == -1)
		err_sys(e, "write %s", r->exclude_path);
	else
		ret = afile_commit(&f, 0600, 0, e);
	afile_abort(&f);
out:
	if (dirfd != -1)
		close(dirfd);
	buf_fini(&b);
	return ret;
}

/* The driver's answer must be the record of what we asked it to store. */
static int
answer(struct run *r, int code, struct err *e)
{
	size_t n = r->raw.len;

	while (n > 0 && r->raw.p[n - 1] == '\n')
		n--;
	buf_cut(&r->raw, n);
	if (record_get(&r->rec, r->raw.p, n, "driver's record", e) == -1)
		return -1;
	if (strcmp(r->rec.uuid, r->uuid) != 0)
		return err_set(e, CALA_INTEGRITY, "driver's record is of "
		    "backup %s, not of %s", r->rec.uuid, r->uuid);
	return r->rec.complete ? code : CALA_PARTIAL;
}

static int
store_stream(struct run *r, struct err *e)
{
	struct args a[2] = { { NULL, 0, false }, { NULL, 0, false } };
	int commit[2], code = -1;

	if (pipe2(commit, O_CLOEXEC) == -1)
		return err_sys(e, "pipe");
	pack_args(r, expected(r), &a[0]);
	put_args(r, commit[0], &a[1]);
	code = tool_pipe(r->env, a, 2, commit, r->lock.fd, &r->raw, e);
	args_free(&a[0]);
	args_free(&a[1]);
	return code == -1 ? -1 : answer(r, code, e);
}

static int
store_dir(struct run *r, struct err *e)
{
	struct args a = { NULL, 0, false };
	int none[2] = { -1, -1 }, code, empty;

	/* As cala-pack does: a volume that isn't mounted is no backup. */
	if (!r->how->allow_empty) {
		if ((empty = file_empty(AT_FDCWD, r->from, e)) == -1)
			return -1;
		if (empty == 1) {
			err_set(e, CALA_INCOMPLETE, "%s: there is nothing in "
			    "it; nothing stored", str_q(r->srv.path));
			return err_hint(e, "--allow-empty stores it "
			    "nevertheless");
		}
	}
	if (write_excludes(r, e) == -1)
		return -1;
	put_args(r, -1, &a);
	args_progress(r->env, &a);
	code = tool_pipe(r->env, &a, 1, none, r->lock.fd, &r->raw, e);
	args_free(&a);
	if (code == -1 || (code = answer(r, code, e)) == -1)
		return -1;
	if (!r->how->allow_empty && r->rec.has_files && r->rec.files == 0) {
		log_warn(r->env->log, "%s: not one file is in backup %s: see "
		    "its rules", str_q(r->srv.name), r->uuid);
		return CALA_PARTIAL;
	}
	return code;
}

static void
say(const struct run *r)
{
	const struct job_env *env = r->env;
	char a[STR_HUMAN], b[STR_HUMAN];

	if (env->json) {
		fprintf(env->out, "%s\n", r->raw.p);
	} else if (!env->tty) {
		fprintf(env->out, "%s\n", r->uuid);
	} else {
		fprintf(env->out, "%s  %s", r->uuid, str_q(r->srv.name));
		if (r->rec.has_size)
			fprintf(env->out, "  %s", str_human(r->rec.size, a));
		if (r->rec.has_files)
			fprintf(env->out, " in %" PRIu64 " files",
			    r->rec.files);
		if (r->rec.has_stored)
			fprintf(env->out, ", stored %s",
			    str_human(r->rec.stored, b));
		fprintf(env->out, ", configuration %s%s\n",
		    str_q(conf_name(r->cfg)),
		    r->rec.complete ? "" : " (partial)");
	}
	fflush(env->out);
}

static void
hook_facts(const struct run *r, const char *key, struct hook *h)
{
	memset(h, 0, sizeof(*h));
	h->command = tuning(r, key, true);
	h->seconds = conf_u64(r->srv.section != NULL ? r->srv.section :
	    conf_section(r->env->conf, "cala", NULL), "hook-timeout");
	if (h->seconds == 0)
		h->seconds = 300;
	h->server = r->srv.uuid;
	h->name = r->srv.name;
	h->path = r->srv.path;
	h->configuration = conf_name(r->cfg);
	h->disk = conf_disk(r->cfg);
	h->backup = r->uuid;
	h->backup_name = r->how->name != NULL ? r->how->name : r->name;
}

/* Once: its failure is a warning, and the backup stays. */
static void
run_post(struct run *r, const struct hook *post,
    const struct hook_after *after)
{
	struct err own = ERR_INIT;
	int k = hook_run(r->env, post, "post-backup", after, &own);

	if (k > 0)
		err_set(&own, CALA_FAIL, "post-backup: exited with status %d",
		    k);
	if (k != 0) {
		log_warn(r->env->log, "%s: %s", str_q(r->srv.name), own.msg);
		r->post_failed = true;
	}
	r->post_ran = true;
	state_clear(&r->lock);
}

/*
 * With a snapshot the server may go on at once: the moment of the backup is
 * over.  0; -1 where one was demanded and can't be had.
 */
static int
freeze(struct run *r, const struct hook *post, struct err *e)
{
	struct hook_after after;
	int got;

	if (!snapshot_wanted(r->env, &r->srv, conf_disk(r->cfg)))
		return 0;
	if ((got = snapshot_take(r->env, &r->srv, &r->snap, e)) == -1)
		return -1;
	if (got == 1)
		return 0;
	r->from = r->snap.path;
	memset(&after, 0, sizeof(after));
	after.snapshot = r->snap.path;
	run_post(r, post, &after);
	return 0;
}

/* 0, CALA_PARTIAL, HOOK_SKIP, or -1. */
static int
between_hooks(struct run *r, const struct hook *pre, const struct hook *post,
    struct err *e)
{
	int code = hook_run(r->env, pre, "pre-backup", NULL, e);

	if (code == -1)
		return -1;
	if (code == HOOK_SKIP) {
		log_note(r->env->log, "%s: skipped: the pre-backup hook says "
		    "so", str_q(r->srv.name));
		return HOOK_SKIP;
	}
	if (code != 0)
		return err_set(e, CALA_FAIL,
		    "pre-backup: exited with status %d; nothing stored", code);
	if (freeze(r, post, e) == -1)
		return -1;
	return r->driver.dir ? store_dir(r, e) : store_stream(r, e);
}

static int
locked(struct run *r, struct err *e)
{
	struct hook pre, post;
	struct hook_after after;
	int code;

	hook_facts(r, "pre-backup", &pre);
	hook_facts(r, "post-backup", &post);
	if (state_hook(&r->lock, &post, e) == -1)
		return err_ctx(e, "note of the post-backup hook");
	code = between_hooks(r, &pre, &post, e);
	source_drop(r->env->log, &r->snap);
	/* Said before the hook may fail: the backup is there. */
	if (code == 0 || code == CALA_PARTIAL)
		say(r);
	if (!r->post_ran) {
		memset(&after, 0, sizeof(after));
		after.code = code == -1 ? e->code : code;
		after.has_bytes = r->rec.has_size;
		after.bytes = r->rec.size;
		if (file_may(r->report_path, R_OK))
			after.report = r->report_path;
		run_post(r, &post, &after);
	}
	if (code == HOOK_SKIP)
		code = 0;
	return code == 0 && r->post_failed ? CALA_PARTIAL : code;
}

static int
plan(struct run *r, struct err *e)
{
	struct args a = { NULL, 0, false };
	struct proc p = { .status = 0 };
	char text[PROC_TEXT];

	log_note(r->env->log, "%s: %s would go to configuration %s (disk %s) "
	    "%s", str_q(r->srv.name), str_q(r->srv.path),
	    str_q(conf_name(r->cfg)), conf_disk(r->cfg), r->driver.dir ?
	    "as a directory" : "as an archive");
	pack_args(r, 0, &a);
	p.status = tool_run(r->env, &a, -1, e);
	args_free(&a);
	if (p.status == -1)
		return -1;
	if (p.status != 0 && p.status != CALA_PARTIAL)
		return err_set(e, tool_code(p.status), "cala-pack: %s",
		    proc_says(&p, text));
	return p.status;
}

/* Each backup would hold all that were made before it. */
static int
without_store(struct run *r, struct err *e)
{
	char *below;
	int k = inside_store(r->env->conf, r->cfg, r->srv.path, &below, e);

	if (k != 1)
		return k;
	if (*below == '\0') {
		err_set(e, CALA_USAGE, "%s: is where configuration %s keeps "
		    "its backups", str_q(r->srv.path),
		    str_q(conf_name(r->cfg)));
	} else if ((r->own = inside_rule(below)) == NULL) {
		err_oom(e);
	} else {
		log_step(r->env->log, "%s: left out: configuration %s keeps "
		    "its backups there", str_q(below),
		    str_q(conf_name(r->cfg)));
		k = 0;
	}
	free(below);
	return k == 0 ? 0 : -1;
}

static int
prepare(struct run *r, const char *server, struct err *e)
{
	struct conf_resolved res;
	struct stat st;

	if (conf_server(r->env->conf, server, &r->srv, e) == -1)
		return -1;
	if (r->env->configuration != NULL) {
		if (job_config(r->env, &r->srv, &r->cfg, e) == -1)
			return -1;
		if (conf_bool(r->cfg, "maintenance"))
			return err_set(e, CALA_MAINTENANCE, "configuration %s "
			    "is in maintenance",
			    str_q(conf_name(r->cfg)));
	} else {
		if (conf_resolve(r->env->conf, &r->srv, r->env->log, &res,
		    e) == -1)
			return -1;
		r->cfg = res.configuration;
	}
	if (stat(r->srv.path, &st) == -1)
		return err_sys(e, "%s", str_q(r->srv.path));
	if (!S_ISDIR(st.st_mode))
		return err_set(e, CALA_USAGE, "%s: not a directory",
		    str_q(r->srv.path));
	if (without_store(r, e) == -1)
		return -1;
	/* A driver that isn't there should cost no hook. */
	if (driver_info(r->env, r->cfg, &r->driver, e) == -1 ||
	    uuid_new(r->uuid, e) == -1)
		return -1;
	default_name(r->name, sizeof(r->name));
	return 0;
}

int
job_backup(const struct job_env *env, const char *server,
    const struct job_backup *how, struct err *e)
{
	struct run r;
	int ret = -1;

	memset(&r, 0, sizeof(r));
	r.env = env;
	r.how = how;
	r.lock.dirfd = r.lock.fd = -1;
	record_init(&r.rec);
	buf_init(&r.raw, RECORD_MAX);
	r.snap = (struct source_snap)SOURCE_INIT;
	if (prepare(&r, server, e) == -1)
		goto out;
	r.from = r.srv.path;
	if (env->dry_run) {
		ret = plan(&r, e);
		goto out;
	}
	if (lock_take(env, &r.srv, "backup", &r.lock, e) == -1)
		goto out;
	snprintf(r.report, sizeof(r.report), "%s.report", r.srv.uuid);
	snprintf(r.exclude, sizeof(r.exclude), "%s.exclude", r.srv.uuid);
	r.report_path = str_join(env->runtime, r.report);
	r.exclude_path = str_join(env->runtime, r.exclude);
	if (r.report_path == NULL || r.exclude_path == NULL) {
		err_oom(e);
		goto out;
	}
	/* A killed run's must not be taken for ours. */
	(void)unlinkat(r.lock.dirfd, r.report, 0);
	(void)unlinkat(r.lock.dirfd, r.exclude, 0);
	ret = locked(&r, e);
	(void)unlinkat(r.lock.dirfd, r.report, 0);
	(void)unlinkat(r.lock.dirfd, r.exclude, 0);
out:
	if (ret == -1)
		err_ctx(e, "%s", str_q(r.srv.name != NULL ? r.srv.name :
		    server));
	lock_drop(&r.lock);
	conf_server_fini(&r.srv);
	record_fini(&r.rec);
	buf_fini(&r.raw);
	free(r.report_path);
	free(r.exclude_path);
	free(r.own);
	return ret;
}
