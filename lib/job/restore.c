/*
 * restore: the driver's get into cala-unpack; or, of a whole backup into an
 * empty place, the driver's own restore, where it has one.
 *
 * The unpacker is a sink like any other: what it stages becomes visible on our
 * go, after get has exited 0 or 3.  A driver's restore fills a stage of ours,
 * and takes the place of what was there by the same exchange (swap.h).
 */

#include "job/job.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "config/inside.h"
#include "fs/swap.h"
#include "job/state.h"
#include "job/tool.h"
#include "snap/source.h"

static void
unpack_args(const struct job_env *env, const struct conf_server *srv,
    const struct job_restore *how, const struct job_found *b, int commit,
    struct args *a)
{
	static const char *const keys[] = { "limit-write", "memory", "jobs",
	    NULL };

	args_tool(env, a, "cala-unpack");
	args_limits(env, b->cfg, a, keys);
	args_progress(env, a);
	if (how->to != NULL) {
		args_fmt(a, "--to=%s", how->to);
	} else {
		args_add(a, "-C");
		args_add(a, srv->path);
	}
	if (how->truncate)
		args_add(a, "--truncate");
	if (how->keep_directory)
		args_add(a, "--keep-directory");
	if (how->overwrite)
		args_add(a, "--overwrite");
	if (env->dry_run)
		args_add(a, "--dry-run");
	/* For the time that is left, and for room beside the old tree. */
	if (how->space && b->rec.has_size && how->npaths == 0)
		args_fmt(a, "--expect=%" PRIu64, b->rec.size);
	args_fmt(a, "--id=%s", b->rec.uuid);
	args_fmt(a, "--commit-fd=%d", commit);
}

/* The driver reads its configuration itself: only what we were told. */
static void
driver_args(const struct job_env *env, const struct conf_server *srv,
    const struct job_found *b, const char *verb, struct args *a)
{
	static const char *const keys[] = { "limit-read", "limit-write",
	    "limit-network", "memory", "jobs", NULL };

	args_driver(env, a, b->cfg, verb);
	args_limits(env, NULL, a, keys);
	if (b->rec.server[0] != '\0') {
		args_add(a, "-s");
		args_add(a, srv->uuid);
	}
	args_add(a, "-b");
	args_add(a, b->rec.uuid);
}

static void
get_args(const struct job_env *env, const struct conf_server *srv,
    const struct job_restore *how, const struct job_found *b, bool raw,
    struct args *a)
{
	size_t i;

	driver_args(env, srv, b, "get", a);
	if (raw)
		args_add(a, "--raw");
	for (i = 0; i < how->npaths; i++)
		args_path(a, how->paths[i]);
}

static int
restored(const struct args *a, int status, struct err *e)
{
	const char *slash = strrchr(a->v[0], '/');
	struct proc p = { .status = status };
	char text[PROC_TEXT];

	if (status == 0 || status == CALA_PARTIAL)
		return status;
	return err_set(e, tool_code(status), "%s restore: %s",
	    str_q(slash != NULL ? slash + 1 : a->v[0]), proc_says(&p, text));
}

/* The driver fills dir; what it says of itself goes to our stderr. */
static int
fill(const struct job_env *env, const struct conf_server *srv,
    const struct job_found *b, const char *dir, int lock, struct err *e)
{
	struct args a = { NULL, 0, false };
	int ret;

	driver_args(env, srv, b, "restore", &a);
	args_progress(env, &a);
	args_add(&a, dir);
	if ((ret = tool_run(env, &a, lock, e)) != -1)
		ret = restored(&a, ret, e);
	args_free(&a);
	return ret;
}

/* Staged beside (or in) the directory, exchanged with it when all is there. */
static int
fill_stage(const struct job_env *env, const struct conf_server *srv,
    const struct job_restore *how, const struct job_found *b,
    const char *path, int lock, struct err *e)
{
	struct swap_how sh = { .id = b->rec.uuid,
	    .need = how->space && b->rec.has_size ? b->rec.size : 0,
	    .entries = how->keep_directory };
	struct swap *s = swap_open(path, &sh, env->log, e);
	int code, ret = -1;

	if (s == NULL)
		return -1;
	if ((code = fill(env, srv, b, swap_stage(s), lock, e)) == -1)
		goto out;
	/* Not every store's tools sync what they have written. */
	if (syncfs(swap_dir(s)) == -1) {
		err_sys(e, "sync %s", str_q(path));
		goto out;
	}
	if (swap_commit(s, e) == -1)
		goto out;
	if (swap_old(s) != NULL)
		log_note(env->log, "the old tree is kept in %s; "
		    "--discard-old removes it", str_q(swap_old(s)));
	ret = code;
out:
	swap_free(s);
	return ret;
}

/* 1: absent or empty, 0: there is something in it. */
static int
vacant(const char *path, struct err *e)
{
	int ret = file_empty(AT_FDCWD, path, e);

	if (ret == -1 && e->code == CALA_NOTFOUND) {
		err_clear(e);
		ret = 1;
	}
	return ret;
}

/*
 * The driver's own restore: 0, CALA_PARTIAL or -1; -2 where files of the server
 * stay beside those of the backup, which only the unpacker can do.
 */
static int
by_driver(const struct job_env *env, const struct conf_server *srv,
    const struct job_restore *how, const struct job_found *b, int lock,
    struct err *e)
{
	const char *path = how->to != NULL ? how->to : srv->path;
	int empty;

	if (how->npaths > 0 || env->dry_run)
		return -2;
	if (!how->truncate && (empty = vacant(path, e)) != 1) {
		if (empty == -1)
			return -1;
		if (how->to == NULL)
			return -2;
		if (!how->overwrite) {
			err_set(e, CALA_EXISTS, "%s: exists and is not empty",
			    str_q(path));
			return err_hint(e, "--overwrite replaces it and keeps "
			    "the old one");
		}
	}
	return fill_stage(env, srv, how, b, path, lock, e);
}

static int
transfer(const struct job_env *env, const struct conf_server *srv,
    const struct job_restore *how, const struct job_found *b, int lock,
    struct err *e)
{
	struct args a[2] = { { NULL, 0, false }, { NULL, 0, false } };
	struct driver_facts driver;
	int commit[2], code;

	if (driver_info(env, b->cfg, &driver, e) == -1)
		return -1;
	if (driver.restore && (code = by_driver(env, srv, how, b, lock,
	    e)) != -2)
		return code;
	if (pipe2(commit, O_CLOEXEC) == -1)
		return err_sys(e, "pipe");
	/* A whole archive as it is stored: the unpacker decodes in parallel. */
	get_args(env, srv, how, b, driver.raw && how->npaths == 0, &a[0]);
	/* staged: nothing is touched before the end is known */
	if (driver.proves && how->npaths == 0 &&
	    (how->to != NULL || how->truncate))
		args_add(&a[0], "--no-check");
	unpack_args(env, srv, how, b, commit[0], &a[1]);
	code = tool_pipe(env, a, 2, commit, lock, NULL, e);
	args_free(&a[0]);
	args_free(&a[1]);
	return code;
}

static int
discard(const struct job_env *env, const char *path, int lock,
    struct err *e)
{
	struct args a = { NULL, 0, false };
	struct proc p = { .status = 0 };
	char text[PROC_TEXT];

	args_tool(env, &a, "cala-unpack");
	args_add(&a, "--discard-old");
	if (env->dry_run)
		args_add(&a, "--dry-run");
	args_add(&a, "-C");
	args_add(&a, path);
	p.status = tool_run(env, &a, lock, e);
	args_free(&a);
	if (p.status == -1)
		return -1;
	if (p.status != 0 && p.status != CALA_PARTIAL)
		return err_set(e, tool_code(p.status), "cala-unpack: %s",
		    proc_says(&p, text));
	return p.status;
}

/* Those of cala-snap rollback. */
static int
discard_aside(const struct job_env *env, const struct conf_server *srv,
    struct err *e)
{
	size_t n = 0;

	if (source_discard(env->log, srv->path, srv->uuid, env->dry_run, &n,
	    e) == -1)
		return err_ctx(e, "old trees of rollbacks");
	if (n > 0)
		log_note(env->log, "%s: %s %zu old trees of rollbacks",
		    str_q(srv->name != NULL ? srv->name : srv->uuid),
		    env->dry_run ? "would remove" : "removed", n);
	return 0;
}

static int
consistent(const struct conf_server *srv, const char *query,
    const struct job_restore *how, struct err *e)
{
	if (how->truncate && how->npaths > 0)
		return err_set(e, CALA_USAGE, "--truncate replaces the whole "
		    "tree: it takes no PATH");
	if (how->truncate && how->to != NULL)
		return err_set(e, CALA_USAGE, "--truncate and --to exclude "
		    "each other");
	if (how->keep_directory && !how->truncate)
		return err_set(e, CALA_USAGE, "--keep-directory needs "
		    "--truncate");
	if (how->discard_old && (how->truncate || how->overwrite ||
	    how->npaths > 0))
		return err_set(e, CALA_USAGE, "--discard-old takes a SERVER, "
		    "perhaps --to DIR, and nothing else");
	if (srv->path == NULL && how->to == NULL) {
		err_set(e, CALA_NOTFOUND, "server %s is not known here and "
		    "has no directory", str_q(query));
		return err_hint(e, "--to DIR restores it somewhere else");
	}
	return 0;
}

int
job_restore(const struct job_env *env, const char *server,
    const char *backup, const struct job_restore *how, struct err *e)
{
	struct job_lock lock = JOB_LOCK_INIT;
	struct conf_server srv;
	struct job_found b;
	bool noted = false;
	int fd, ret = -1;

	memset(&b, 0, sizeof(b));
	record_init(&b.rec);
	if (job_server(env, server, &srv, e) == -1)
		return -1;
	if (consistent(&srv, server, how, e) == -1)
		goto out;
	if ((how->truncate || (how->to != NULL && how->overwrite)) &&
	    inside_none(env->conf, how->to != NULL ? how->to : srv.path,
	    e) == -1) {
		if (e->code == CALA_USAGE)
			err_hint(e, "restore without --truncate, or with --to "
			    "to another place");
		goto out;
	}
	if (!how->discard_old && job_find(env, &srv, backup, &b, e) == -1)
		goto out;
	if (!b.rec.complete && !how->discard_old)
		log_note(env->log, "backup %s is partial: some files could "
		    "not be read when it was made", b.rec.uuid);
	/* Elsewhere nothing of the server is touched. */
	if (how->to == NULL &&
	    lock_take(env, &srv, "restore", &lock, e) == -1)
		goto out;
	if (how->discard_old) {
		ret = discard(env, how->to != NULL ? how->to : srv.path,
		    lock.fd, e);
		if (ret != -1 && how->to == NULL &&
		    discard_aside(env, &srv, e) == -1)
			ret = -1;
		goto out;
	}
	if (how->to == NULL && !env->dry_run) {
		/* On a new node the volume is not there yet. */
		if ((fd = file_mkdirs(srv.path, 0755, e)) == -1)
			goto out;
		close(fd);
		if (how->truncate) {
			if (state_restore(&lock, srv.path, e) == -1)
				goto out;
			noted = true;
		}
	}
	ret = transfer(env, &srv, how, &b, lock.fd, e);
	if (ret != -1)
		log_note(env->log, "%s: backup %s %s %s",
		    str_q(srv.name != NULL ? srv.name : srv.uuid), b.rec.uuid,
		    env->dry_run ? "would be restored to" : "restored to",
		    str_q(how->to != NULL ? how->to : srv.path));
out:
	/*
	 * After a failure the unpacker has cleaned up or left its journal; only
	 * the latter is worth another run, which recovery finds out.
	 */
	if (noted && ret != -1)
		state_clear(&lock);
	if (ret == -1)
		err_ctx(e, "%s", str_q(srv.name != NULL ? srv.name : server));
	lock_drop(&lock);
	record_fini(&b.rec);
	conf_server_fini(&srv);
	return ret;
}
