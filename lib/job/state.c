#include "job/state.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
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
#include "fs/extract.h"
#include "job/tool.h"

/* The children of a killed run unwind in this time (seconds). */
enum { LEFT_OVER = 20, STATE_MAX = 1 << 20, NAME_ROOM = UUID_TEXT + 8 };

static void
file_of(const struct job_lock *l, const char *end, char out[NAME_ROOM])
{
	snprintf(out, NAME_ROOM, "%s.%s", l->server, end);
}

/*
 * Is the process that took the lock dead?  Then its children hold it still,
 * and they are ending.
 */
static bool
orphaned(int dirfd, const char *name)
{
	struct err ignored = ERR_INIT;
	unsigned long pid;
	struct buf b;
	bool dead;
	char *end;

	buf_init(&b, 4096);
	dead = file_slurp(&b, dirfd, name, &ignored) == 0 &&
	    str_begins(b.p, "pid ") && isdigit((unsigned char)b.p[4]) &&
	    (pid = strtoul(b.p + 4, &end, 10)) > 0 && pid < 1UL << 30 &&
	    kill((pid_t)pid, 0) == -1 && errno == ESRCH;
	buf_fini(&b);
	return dead;
}

static int
write_state(const struct job_lock *l, const struct buf *b, struct err *e)
{
	struct afile f = AFILE_INIT;
	char name[NAME_ROOM];

	file_of(l, "state", name);
	if (buf_failed(b, e) == -1 || afile_open(&f, l->dirfd, name, e) == -1)
		return -1;
	if (file_write_all(f.fd, b->p, b->len) == -1)
		err_sys(e, "write %s", name);
	else if (afile_commit(&f, 0600, 0, e) == 0)
		return 0;
	afile_abort(&f);
	return -1;
}

static void
member(struct jw *j, const char *key, const char *value)
{
	if (value != NULL)
		jw_str(j, key, value);
}

int
state_hook(const struct job_lock *l, const struct hook *h, struct err *e)
{
	struct buf b;
	struct jw j;
	int ret;

	if (h->command == NULL)
		return 0;
	buf_init(&b, STATE_MAX);
	jw_begin(&j, &b);
	jw_open(&j, NULL, '{');
	jw_u64(&j, "v", 1);
	jw_str(&j, "job", "backup");
	jw_str(&j, "command", h->command);
	jw_u64(&j, "seconds", h->seconds);
	member(&j, "server", h->server);
	member(&j, "name", h->name);
	member(&j, "path", h->path);
	member(&j, "configuration", h->configuration);
	member(&j, "disk", h->disk);
	member(&j, "backup", h->backup);
	member(&j, "backup_name", h->backup_name);
	jw_close(&j, '}');
	ret = write_state(l, &b, e);
	buf_fini(&b);
	return ret;
}

int
state_restore(const struct job_lock *l, const char *path, struct err *e)
{
	struct buf b;
	struct jw j;
	int ret;

	buf_init(&b, STATE_MAX);
	jw_begin(&j, &b);
	jw_open(&j, NULL, '{');
	jw_u64(&j, "v", 1);
	jw_str(&j, "job", "restore");
	jw_bytes(&j, "path", path, strlen(path));
	jw_close(&j, '}');
	ret = write_state(l, &b, e);
	buf_fini(&b);
	return ret;
}

void
state_clear(const struct job_lock *l)
{
	char name[NAME_ROOM];

	file_of(l, "state", name);
	(void)unlinkat(l->dirfd, name, 0);
}

static int
missed_hook(const struct job_env *env, const json_t *j, struct err *e)
{
	struct hook_after after = { CALA_SIGNAL + SIGKILL, true, false, 0,
	    NULL, NULL };
	struct hook h;
	int r;

	memset(&h, 0, sizeof(h));
	h.command = json_get_str(j, "command");
	h.seconds = json_get_u64(j, "seconds", 300);
	h.server = json_get_str(j, "server");
	h.name = json_get_str(j, "name");
	h.path = json_get_str(j, "path");
	h.configuration = json_get_str(j, "configuration");
	h.disk = json_get_str(j, "disk");
	h.backup = json_get_str(j, "backup");
	h.backup_name = json_get_str(j, "backup_name");
	log_note(env->log, "an earlier backup was killed: running its "
	    "post-backup hook now");
	if ((r = hook_run(env, &h, "post-backup", &after, e)) == -1)
		return -1;
	if (r != 0)
		return err_set(e, CALA_FAIL,
		    "post-backup: exited with status %d", r);
	return 0;
}

/* Its own journal says what to do: cala-unpack reads it in the directory. */
static int
finish_swap(const struct job_env *env, const struct job_lock *l,
    const char *path, struct err *e)
{
	struct args a = { NULL, 0, false };
	struct proc p = { .status = 0 };
	char text[PROC_TEXT];

	args_tool(env, &a, "cala-unpack");
	args_add(&a, "--recover");
	args_add(&a, "-C");
	args_add(&a, path);
	p.status = tool_run(env, &a, l->fd, e);
	args_free(&a);
	if (p.status == -1)
		return -1;
	if (p.status != 0)
		return err_set(e, tool_code(p.status),
		    "cala-unpack --recover: %s", proc_says(&p, text));
	return 0;
}

/*
 * Is a stage of an exchange in path, or the trace of an unpacker that wrote
 * right there?  /run is empty after a crash of the machine, the directory is
 * not.
 */
static bool
staged(const char *path)
{
	const struct dirent *d;
	bool found = false;
	DIR *dir;

	if ((dir = opendir(path)) == NULL)
		return false;
	while (!found && (d = readdir(dir)) != NULL)
		found = str_begins(d->d_name, ".cala-restore-") ||
		    fs_leftover(d->d_name);
	closedir(dir);
	return found;
}

static bool
unfinished(const char *path)
{
	char *parent = strdup(path), *slash;
	bool found = staged(path);

	if (parent != NULL && (slash = strrchr(parent, '/')) != NULL &&
	    slash != parent) {
		*slash = '\0';
		/* Perhaps a neighbour's: cala-unpack knows its own. */
		found = found || staged(parent);
	}
	free(parent);
	return found;
}

static int
recover(const struct job_env *env, const struct conf_server *srv,
    const struct job_lock *l, struct err *e)
{
	struct err own = ERR_INIT;
	char name[NAME_ROOM];
	const char *job, *path;
	json_t *j = NULL;
	struct buf b;
	int ret = -1;

	file_of(l, "state", name);
	buf_init(&b, STATE_MAX);
	if (file_slurp(&b, l->dirfd, name, &own) == -1) {
		if (own.code != CALA_NOTFOUND) {
			*e = own;
			goto out;
		}
		goto path;
	}
	/*
	 * Written whole or not at all, by us alone; but a disk may damage it,
	 * and that must not end all backups of the server.
	 */
	if ((j = json_parse(b.p, b.len, name, &own)) == NULL)
		log_warn(env->log, "%s: it may be that a post-backup hook is "
		    "owed, which can't be run", own.msg);
	job = json_get_str(j, "job");
	path = json_get_str(j, "path");
	if (job != NULL && strcmp(job, "backup") == 0) {
		/* It was tried; a hook that fails must not block for ever. */
		if (missed_hook(env, j, &own) == -1)
			log_warn(env->log, "%s", own.msg);
	} else if (job != NULL && strcmp(job, "restore") == 0) {
		if (srv->path != NULL)
			path = srv->path;
		if (path != NULL && finish_swap(env, l, path, e) == -1) {
			err_ctx(e, "finish an interrupted restore");
			goto out;
		}
	}
	state_clear(l);
path:
	if (srv->path == NULL || !unfinished(srv->path) ||
	    finish_swap(env, l, srv->path, e) == 0)
		ret = 0;
out:
	json_decref(j);
	buf_fini(&b);
	return ret;
}

int
lock_take(const struct job_env *env, const struct conf_server *srv,
    const char *what, struct job_lock *l, struct err *e)
{
	unsigned wait = env->lock_wait < 1U << 30 ? (unsigned)env->lock_wait :
	    1U << 30;
	char name[NAME_ROOM];

	memcpy(l->server, srv->uuid, UUID_TEXT);
	l->dirfd = l->fd = -1;
	if (env->runtime == NULL) {
		err_set(e, CALA_USAGE, "no place for locks");
		return err_hint(e, "set RUNTIME_DIRECTORY, XDG_RUNTIME_DIR or "
		    "HOME to an absolute path");
	}
	if ((l->dirfd = file_mkdirs(env->runtime, 0700, e)) == -1)
		return err_ctx(e, "runtime directory");
	file_of(l, "lock", name);
	l->fd = file_lock(l->dirfd, name, what, wait, e);
	if (l->fd == -1 && e->code == CALA_LOCKED &&
	    orphaned(l->dirfd, name)) {
		log_step(env->log, "waiting for what a killed run started");
		err_clear(e);
		l->fd = file_lock(l->dirfd, name, what, LEFT_OVER, e);
	}
	if (l->fd != -1)
		afile_sweep(l->dirfd, l->server);
	if (l->fd != -1 && recover(env, srv, l, e) == 0)
		return 0;
	lock_drop(l);
	return -1;
}

void
lock_drop(struct job_lock *l)
{
	if (l->fd != -1)
		close(l->fd);
	if (l->dirfd != -1)
		close(l->dirfd);
	l->fd = l->dirfd = -1;
}
