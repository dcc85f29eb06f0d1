/*
 * restore: the driver's get into cala-unpack.
 *
 * The unpacker is a sink like any other: what it stages becomes visible on our
 * go, after get has exited 0 or 3.
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
#include "job/state.h"
#include "job/tool.h"

static void
unpack_args(const struct job_env *env, const struct conf_server *srv,
    const struct job_restore *how, const struct job_found *b, int commit,
    struct args *a)
{
	args_tool(env, a, "cala-unpack");
	if (env->progress_off || env->json)
		args_add(a, "--no-progress");
	else if (env->progress)
		args_add(a, "--progress");
	if (how->to != NULL) {
		args_fmt(a, "--to=%s", how->to);
	} else {
		args_add(a, "-C");
		args_add(a, srv->path);
	}
	if (how->truncate)
		args_add(a, "--truncate");
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

static void
get_args(const struct job_env *env, const struct conf_server *srv,
    const struct job_restore *how, const struct job_found *b, bool raw,
    struct args *a)
{
	size_t i;

	args_driver(env, a, b->cfg, "get");
	if (b->rec.server[0] != '\0') {
		args_add(a, "-s");
		args_add(a, srv->uuid);
	}
	args_add(a, "-b");
	args_add(a, b->rec.uuid);
	if (raw)
		args_add(a, "--raw");
	for (i = 0; i < how->npaths; i++)
		args_path(a, how->paths[i]);
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
	if (pipe2(commit, O_CLOEXEC) == -1)
		return err_sys(e, "pipe");
	/* A whole archive as it is stored: the unpacker decodes in parallel. */
	get_args(env, srv, how, b, driver.raw && how->npaths == 0, &a[0]);
	unpack_args(env, srv, how, b, commit[0], &a[1]);
	code = tool_pipe(env, a, 2, commit, lock, NULL, e);
	args_free(&a[0]);
	args_free(&a[1]);
	return code;
}

static int
discard(const struct job_env *env, const struct conf_server *srv, int lock,
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
	args_add(&a, srv->path);
	p.status = tool_run(env, &a, lock, e);
	args_free(&a);
	if (p.status == -1)
		return -1;
	if (p.status != 0 && p.status != CALA_PARTIAL)
		return err_set(e, tool_code(p.status), "cala-unpack: %s",
		    proc_says(&p, text));
	return p.status;
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
	if (how->discard_old && (how->truncate || how->overwrite ||
	    how->to != NULL || how->npaths > 0))
		return err_set(e, CALA_USAGE, "--discard-old takes a SERVER "
		    "and nothing else");
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
		ret = discard(env, &srv, lock.fd, e);
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
