/*
 * snap_move: a backup goes to another place, comes from one, or takes the
 * server's.
 */

#include "driver/snap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/io.h"
#include "base/stop.h"
#include "base/str.h"
#include "driver/dirs.h"
#include "entry/match.h"
#include "front/front.h"
#include "snap/stream.h"

enum { TAKE = 256 << 10 };

static int
find(struct snap *s, const char *uuid, struct record *rec, struct err *e)
{
	const char *server = s->call->server;
	int r = s->kind->stored(s, uuid, e);

	if (r == 0)
		return err_set(e, CALA_NOTFOUND, "no backup %s", uuid);
	if (r == -1 || snap_record(s, uuid, rec, e) == -1)
		return -1;
	if (*server == '\0' || rec->server[0] == '\0' ||
	    strcmp(server, rec->server) == 0)
		return 0;
	record_fini(rec);
	return err_set(e, CALA_NOTFOUND, "backup %s is not one of server %s",
	    uuid, server);
}

int
snap_send(struct driver_call *call, struct err *e)
{
	struct sink *out = NULL;
	struct record rec, base;
	struct snap s;
	int ret = -1;

	if (isatty(STDOUT_FILENO))
		return err_set(e, CALA_USAGE, "a snapshot's stream is nothing "
		    "for a terminal: send it into a file or a pipe");
	if (snap_begin(call, false, &s, e) == -1)
		return -1;
	if (find(&s, call->backup, &rec, e) == -1)
		goto out;
	if (call->base[0] != '\0') {
		if (find(&s, call->base, &base, e) == -1) {
			record_fini(&rec);
			goto out;
		}
		record_fini(&base);
	}
	/* What was changed since is no copy of the backup. */
	if (s.kind->intact(&s, call->backup, &rec, e) == 0 &&
	    (out = sink_fd(STDOUT_FILENO, false, "standard output", e)) !=
	    NULL && s.kind->send(&s, call->backup, call->base, out, e) == 0)
		ret = sink_commit(out, e);
	record_fini(&rec);
out:
	sink_free(out);
	snap_end(&s);
	return ret;
}

/*
 * The server's own lock, as cala's jobs take it: no backup or restore of it may
 * be at work, nor be owed anything.  The lock, or -1.
 */
static int
lock_server(const char *server, struct err *e)
{
	char dir[PATH_MAX], name[UUID_TEXT + 8];
	int dirfd, fd;

	if (front_runtime(dir, sizeof(dir)) == -1) {
		err_set(e, CALA_USAGE, "no place for locks");
		return err_hint(e, "set RUNTIME_DIRECTORY, XDG_RUNTIME_DIR or "
		    "HOME to an absolute path");
	}
	if ((dirfd = file_mkdirs(dir, 0700, e)) == -1)
		return err_ctx(e, "runtime directory");
	snprintf(name, sizeof(name), "%s.lock", server);
	fd = file_lock(dirfd, name, "rollback", 0, e);
	snprintf(name, sizeof(name), "%s.state", server);
	if (fd != -1 && faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		close(fd);
		fd = err_set(e, CALA_LOCKED, "a run of server %s was killed "
		    "and is not finished yet", server);
		err_hint(e, "cala break-lock %s finishes it", server);
	}
	close(dirfd);
	return fd;
}

/* Whose it is must be known: any other server's would be a disaster. */
static int
is_its(struct snap *s, const struct record *rec, struct err *e)
{
	if (strcmp(s->call->server, rec->server) == 0)
		return 0;
	err_set(e, CALA_USAGE, "nobody knows whose backup %s is", rec->uuid);
	return err_hint(e, "set --server says so");
}

int
snap_rollback(struct driver_call *call, struct err *e)
{
	struct record rec;
	struct snap s;
	int ret = -1, lock;

	if (call->server[0] == '\0')
		return err_set(e, CALA_USAGE, "rollback needs a server (-s)");
	if ((lock = lock_server(call->server, e)) == -1)
		return -1;
	if (snap_begin(call, false, &s, e) == -1) {
		close(lock);
		return -1;
	}
	if (snap_lock(&s, e) == 0 &&
	    find(&s, call->backup, &rec, e) == 0) {
		if (is_its(&s, &rec, e) == 0 &&
		    s.kind->intact(&s, call->backup, &rec, e) == 0)
			ret = s.kind->rollback(&s, &rec, e);
		record_fini(&rec);
	}
	snap_end(&s);
	close(lock);
	return ret;
}

int
snap_child(struct snap_arrival *a, const char *const *argv, struct err *e)
{
	static const char *const env[] = { "LC_ALL=C", NULL };
	struct proc_spec spec = PROC_SPEC_INIT;
	int p[2], ret;

	if ((a->said = memfd_create("said", MFD_CLOEXEC)) == -1)
		return err_sys(e, "memfd_create");
	if (pipe2(p, O_CLOEXEC) == -1)
		return err_sys(e, "pipe");
	spec.argv = argv;
	spec.env = env;
	spec.fd[0] = p[0];
	spec.fd[1] = a->said;
	spec.fd[2] = a->said;
	spec.group = true;
	ret = proc_start(&a->proc, &spec, e);
	close(p[0]);
	if (ret == -1)
		close(p[1]);
	else
		a->in = p[1];
	return ret;
}

int
snap_child_end(struct snap_arrival *a, struct err *e)
{
	char text[PROC_TEXT], said[2048], *line;
	ssize_t n;

	if (a->in != -1)
		close(a->in);
	a->in = -1;
	if (proc_wait(&a->proc, 1, -1, e) == -1)
		return -1;
	if (a->proc.status == 0)
		return 0;
	n = file_pread_full(a->said, said, sizeof(said) - 1, 0);
	said[n > 0 ? n : 0] = '\0';
	line = strrchr(str_trim(said), '\n');
	line = line != NULL ? line + 1 : str_trim(said);
	return err_set(e, CALA_INTEGRITY, "%s receive: %s; nothing stored",
	    a->proc.name, *line != '\0' ? str_q(line) :
	    proc_says(&a->proc, text));
}

/* The stream on its way in. */
struct intake {
	struct sink sink;
	struct snap s;
	struct snap_arrival a;
	struct stream_in st;
	struct match *match;
	unsigned char *buf;
	size_t fill;
	bool started;
};

static int
forward(struct intake *in, struct err *e)
{
	if (in->fill == 0)
		return 0;
	if (!in->started) {
		in->a.start = in->buf;
		in->a.nstart = in->fill;
		if (in->s.kind->arrive(&in->s, &in->a, e) == -1)
			return -1;
		in->a.start = NULL;
		in->started = true;
	}
	if (stream_in_put(&in->st, in->buf, in->fill, in->a.in, e) == -1) {
		/* It has ended, and knows why. */
		if (e->sys == EPIPE && snap_child_end(&in->a,
		    &(struct err)ERR_INIT) == -1)
			(void)snap_child_end(&in->a, e);
		return -1;
	}
	in->fill = 0;
	return 0;
}

static void *
in_space(struct sink *sink, size_t *n, struct err *e)
{
	struct intake *in = (struct intake *)sink;

	(void)e;
	*n = TAKE - in->fill;
	return in->buf + in->fill;
}

static int
in_used(struct sink *sink, size_t n, struct err *e)
{
	struct intake *in = (struct intake *)sink;

	in->fill += n;
	return in->fill == TAKE ? forward(in, e) : 0;
}

static int
in_commit(struct sink *sink, struct err *e)
{
	struct intake *in = (struct intake *)sink;

	if (forward(in, e) == -1)
		return -1;
	/* Until here the program has seen a stream without its end. */
	if (stream_in_end(&in->st, in->s.call->vouched, in->a.in, e) == -1) {
		if (e->sys == EPIPE)
			(void)snap_child_end(&in->a, e);
		return -1;
	}
	if (snap_child_end(&in->a, e) == -1)
		return -1;
	return in->s.kind->arrived(&in->s, &in->a, e);
}

static void
in_abort(struct sink *sink)
{
	struct intake *in = (struct intake *)sink;

	if (in->a.in != -1)
		close(in->a.in);
	in->a.in = -1;
	if (in->a.proc.pid != 0 && !in->a.proc.done)
		proc_end(&in->a.proc, 1, 10);
	in->s.kind->depart(&in->s, &in->a);
	if (in->a.said != -1)
		close(in->a.said);
	stream_in_fini(&in->st);
	match_free(in->match);
	snap_end(&in->s);
	free(in->buf);
	free(in);
}

static const struct sink_ops in_ops = {
	in_space, in_used, NULL, in_commit, in_abort
};

int
snap_receive(struct driver_call *call, struct sink **out, struct err *e)
{
	struct intake *in = calloc(1, sizeof(*in));
	size_t swept = 0;
	int r;

	if (in == NULL)
		return err_oom(e);
	in->sink.ops = &in_ops;
	in->a.in = in->a.said = in->a.dir = -1;
	if (snap_begin(call, true, &in->s, e) == -1) {
		free(in);
		return -1;
	}
	if (stream_in_init(&in->st, e) == -1 ||
	    dirs_rules(call, SNAP_IGNORED, &in->match, e) == -1 ||
	    in->s.kind->sweep(&in->s, &swept, e) == -1)
		goto fail;
	in->a.match = in->match;
	if ((r = in->s.kind->stored(&in->s, call->record->uuid, e)) != 0) {
		if (r == 1)
			err_set(e, CALA_EXISTS, "backup %s exists already",
			    call->record->uuid);
		goto fail;
	}
	if ((in->buf = malloc(TAKE)) == NULL) {
		err_oom(e);
		goto fail;
	}
	*out = &in->sink;
	return 0;
fail:
	in_abort(&in->sink);
	return -1;
}
