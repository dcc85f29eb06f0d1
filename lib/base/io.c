#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/stop.h"
#include "base/str.h"

enum { PIPE_ROOM = 1 << 20 };   /* what Linux lets anyone have */

ssize_t
source_read(struct source *s, void *p, size_t n, struct err *e)
{
	ssize_t k = s->ops->read(s, p, n, e);

	if (k > 0)
		s->pos += (uint64_t)k;
	return k;
}

ssize_t
source_full(struct source *s, void *v, size_t n, struct err *e)
{
	unsigned char *p = v;
	size_t got = 0;
	ssize_t k;

	while (got < n) {
		if ((k = source_read(s, p + got, n - got, e)) == -1)
			return -1;
		if (k == 0)
			break;
		got += (size_t)k;
	}
	return (ssize_t)got;
}

int
source_drain(struct source *s, struct err *e)
{
	static _Thread_local char waste[65536];
	ssize_t k;

	while ((k = source_read(s, waste, sizeof(waste), e)) > 0)
		;
	return k == 0 ? 0 : -1;
}

void
source_close(struct source *s)
{
	if (s != NULL)
		s->ops->close(s);
}

struct fd_source {
	struct source s;
	int fd;
	bool own;
	char *name;
};

static ssize_t
fd_read(struct source *s, void *p, size_t n, struct err *e)
{
	struct fd_source *f = (struct fd_source *)s;
	ssize_t k;

	for (;;) {
		if (stop_check(e) == -1)
			return -1;
		k = read(f->fd, p, n);
		if (k >= 0)
			return k;
		if (errno != EINTR) {
			err_sys(e, "read %s", f->name);
			return -1;
		}
	}
}

static void
fd_close(struct source *s)
{
	struct fd_source *f = (struct fd_source *)s;

	if (f->own)
		close(f->fd);
	free(f->name);
	free(f);
}

struct source *
source_fd(int fd, bool own, const char *name, struct err *e)
{
	static const struct source_ops ops = { fd_read, fd_close };
	struct fd_source *f = calloc(1, sizeof(*f));

	if (f == NULL || (f->name = strdup(str_q(name))) == NULL) {
		free(f);
		if (own)
			close(fd);
		err_oom(e);
		return NULL;
	}
	f->s.ops = &ops;
	f->fd = fd;
	f->own = own;
	pipe_widen(fd);
	return &f->s;
}

struct mem_source {
	struct source s;
	const unsigned char *p;
	size_t n;
};

static ssize_t
mem_read(struct source *s, void *p, size_t n, struct err *e)
{
	struct mem_source *m = (struct mem_source *)s;

	(void)e;
	if (n > m->n)
		n = m->n;
	if (n > 0)
		memcpy(p, m->p, n);
	m->p += n;
	m->n -= n;
	return (ssize_t)n;
}

static void
mem_close(struct source *s)
{
	free(s);
}

struct source *
source_mem(const void *p, size_t n, struct err *e)
{
	static const struct source_ops ops = { mem_read, mem_close };
	struct mem_source *m = calloc(1, sizeof(*m));

	if (m == NULL) {
		err_oom(e);
		return NULL;
	}
	m->s.ops = &ops;
	m->p = p;
	m->n = n;
	return &m->s;
}

static int
again(const struct sink *s, struct err *e)
{
	if (!s->failed)
		return 0;
	/* The first failure was reported; keep it if the caller still has it. */
	if (e->code == 0)
		err_set(e, CALA_FAIL, "write after a failed write");
	return -1;
}

void *
sink_space(struct sink *s, size_t *n, struct err *e)
{
	void *p;

	if (again(s, e) == -1)
		return NULL;
	if ((p = s->ops->space(s, n, e)) == NULL)
		s->failed = true;
	return p;
}

int
sink_used(struct sink *s, size_t n, struct err *e)
{
	if (again(s, e) == -1)
		return -1;
	if (s->ops->used(s, n, e) == -1) {
		s->failed = true;
		return -1;
	}
	s->pos += n;
	return 0;
}

enum { DIRECT = 64 * 1024 };            /* copying less is cheaper */

int
sink_write(struct sink *s, const void *v, size_t n, struct err *e)
{
	const unsigned char *p = v;
	size_t room;
	void *to;

	if (s->direct != NULL && n >= DIRECT) {
		if (again(s, e) == -1)
			return -1;
		if (s->direct(s, v, n, e) == -1) {
			s->failed = true;
			return -1;
		}
		s->pos += n;
		return 0;
	}
	while (n > 0) {
		if ((to = sink_space(s, &room, e)) == NULL)
			return -1;
		if (room > n)
			room = n;
		memcpy(to, p, room);
		if (sink_used(s, room, e) == -1)
			return -1;
		p += room;
		n -= room;
	}
	return 0;
}

int
sink_zero(struct sink *s, uint64_t n, struct err *e)
{
	size_t room;
	void *to;

	while (n > 0) {
		if ((to = sink_space(s, &room, e)) == NULL)
			return -1;
		if (room > n)
			room = (size_t)n;
		memset(to, 0, room);
		if (sink_used(s, room, e) == -1)
			return -1;
		n -= room;
	}
	return 0;
}

int
sink_mark(struct sink *s, struct err *e)
{
	if (again(s, e) == -1)
		return -1;
	if (s->ops->mark != NULL && s->ops->mark(s, e) == -1) {
		s->failed = true;
		return -1;
	}
	return 0;
}

int
sink_commit(struct sink *s, struct err *e)
{
	if (again(s, e) == -1)
		return -1;
	if (s->ops->commit(s, e) == -1) {
		s->failed = true;
		return -1;
	}
	s->committed = true;
	return 0;
}

void
sink_free(struct sink *s)
{
	if (s != NULL)
		s->ops->abort(s);
}

enum { FD_BUF = 128 * 1024 };

struct fd_sink {
	struct sink s;
	int fd;
	bool own;
	char *name;
	size_t n;
	unsigned char buf[FD_BUF];
};

static int
fd_put(struct fd_sink *f, const void *p, size_t n, struct err *e)
{
	if (n == 0 || file_write_all(f->fd, p, n) == 0)
		return 0;
	if (errno == EINTR && stop_check(e) == -1)
		return -1;
	err_sys(e, "write %s", f->name);
	if (errno == EPIPE)
		e->code = CALA_SIGNAL + SIGPIPE;
	return -1;
}

static int
fd_flush(struct fd_sink *f, struct err *e)
{
	size_t n = f->n;

	f->n = 0;
	return fd_put(f, f->buf, n, e);
}

static int
fd_direct(struct sink *s, const void *p, size_t n, struct err *e)
{
	struct fd_sink *f = (struct fd_sink *)s;

	return fd_flush(f, e) == -1 ? -1 : fd_put(f, p, n, e);
}

static void *
fd_space(struct sink *s, size_t *n, struct err *e)
{
	struct fd_sink *f = (struct fd_sink *)s;

	if (f->n == FD_BUF && fd_flush(f, e) == -1)
		return NULL;
	*n = FD_BUF - f->n;
	return f->buf + f->n;
}

static int
fd_used(struct sink *s, size_t n, struct err *e)
{
	struct fd_sink *f = (struct fd_sink *)s;

	f->n += n;
	return f->n == FD_BUF ? fd_flush(f, e) : 0;
}

static int
fd_commit(struct sink *s, struct err *e)
{
	struct fd_sink *f = (struct fd_sink *)s;
	int fd = f->fd;

	if (fd_flush(f, e) == -1)
		return -1;
	if (!f->own)
		return 0;
	f->own = false;
	if (close(fd) == -1)
		return err_sys(e, "write %s", f->name);
	return 0;
}

static void
fd_abort(struct sink *s)
{
	struct fd_sink *f = (struct fd_sink *)s;

	if (f->own)
		close(f->fd);
	free(f->name);
	free(f);
}

void
pipe_widen(int fd)
{
	int room = fcntl(fd, F_GETPIPE_SZ);

	if (room != -1 && room < PIPE_ROOM)
		(void)fcntl(fd, F_SETPIPE_SZ, PIPE_ROOM);
}

struct sink *
sink_fd(int fd, bool own, const char *name, struct err *e)
{
	static const struct sink_ops ops =
	    { fd_space, fd_used, NULL, fd_commit, fd_abort };
	struct fd_sink *f = calloc(1, sizeof(*f));

	if (f == NULL || (f->name = strdup(str_q(name))) == NULL) {
		free(f);
		if (own)
			close(fd);
		err_oom(e);
		return NULL;
	}
	f->s.ops = &ops;
	f->s.direct = fd_direct;
	f->fd = fd;
	f->own = own;
	return &f->s;
}

struct null_sink {
	struct sink s;
	unsigned char buf[65536];
};

static void *
null_space(struct sink *s, size_t *n, struct err *e)
{
	(void)e;
	*n = sizeof(((struct null_sink *)s)->buf);
	return ((struct null_sink *)s)->buf;
}

static int
null_used(struct sink *s, size_t n, struct err *e)
{
	(void)s, (void)n, (void)e;
	return 0;
}

static int
null_commit(struct sink *s, struct err *e)
{
	(void)s, (void)e;
	return 0;
}

static void
null_abort(struct sink *s)
{
	free(s);
}

struct sink *
sink_null(struct err *e)
{
	static const struct sink_ops ops =
	    { null_space, null_used, NULL, null_commit, null_abort };
	struct null_sink *n = calloc(1, sizeof(*n));

	if (n == NULL) {
		err_oom(e);
		return NULL;
	}
	n->s.ops = &ops;
	return &n->s;
}

int
ranged_read(struct ranged *r, void *p, size_t n, uint64_t off, struct err *e)
{
	if (off > r->size || n > r->size - off)
		return err_set(e, CALA_INTEGRITY,
		    "%zu bytes at %ju lie outside its %ju bytes", n,
		    (uintmax_t)off, (uintmax_t)r->size);
	if (n == 0)
		return 0;
	r->fetched += n;
	return r->ops->read(r, p, n, off, e);
}

void
ranged_expect(struct ranged *r, uint64_t off, uint64_t n)
{
	if (r->expect == NULL || off >= r->size || n == 0)
		return;
	r->expect(r, off, n < r->size - off ? n : r->size - off);
}

void
ranged_close(struct ranged *r)
{
	if (r != NULL)
		r->ops->close(r);
}

struct fd_ranged {
	struct ranged r;
	int fd;
	bool own;
	char *name;
};

static int
fr_read(struct ranged *r, void *p, size_t n, uint64_t off, struct err *e)
{
	struct fd_ranged *f = (struct fd_ranged *)r;
	ssize_t k = file_pread_full(f->fd, p, n, off);

	if (k == -1)
		return err_sys(e, "read %s", f->name);
	if ((size_t)k != n)
		return err_set(e, CALA_INTEGRITY,
		    "%s: became shorter while it was read", f->name);
	return 0;
}

static void
fr_close(struct ranged *r)
{
	struct fd_ranged *f = (struct fd_ranged *)r;

	if (f->own)
		close(f->fd);
	free(f->name);
	free(f);
}

struct ranged *
ranged_fd(int fd, bool own, const char *name, struct err *e)
{
	static const struct ranged_ops ops = { fr_read, fr_close };
	struct fd_ranged *f = calloc(1, sizeof(*f));
	struct stat st;

	if (f == NULL || (f->name = strdup(str_q(name))) == NULL) {
		err_oom(e);
		goto fail;
	}
	if (fstat(fd, &st) == -1) {
		err_sys(e, "%s", f->name);
		goto fail;
	}
	if (!S_ISREG(st.st_mode)) {
		err_set(e, CALA_FAIL, "%s: not a regular file", f->name);
		goto fail;
	}
	f->r.ops = &ops;
	f->r.size = (uint64_t)st.st_size;
	f->fd = fd;
	f->own = own;
	return &f->r;
fail:
	if (f != NULL)
		free(f->name);
	free(f);
	if (own)
		close(fd);
	return NULL;
}

struct part_source {
	struct source s;
	struct ranged *r;
	uint64_t off, left;
};

static ssize_t
part_read(struct source *s, void *p, size_t n, struct err *e)
{
	struct part_source *x = (struct part_source *)s;

	if (n > x->left)
		n = (size_t)x->left;
	if (n == 0)
		return 0;
	if (stop_check(e) == -1 || ranged_read(x->r, p, n, x->off, e) == -1)
		return -1;
	x->off += n;
	x->left -= n;
	return (ssize_t)n;
}

struct source *
ranged_source(struct ranged *r, uint64_t off, uint64_t n, struct err *e)
{
	static const struct source_ops ops = { part_read, mem_close };
	struct part_source *x;

	if (off > r->size || n > r->size - off) {
		err_set(e, CALA_INTEGRITY, "%ju bytes at %ju lie outside",
		    (uintmax_t)n, (uintmax_t)off);
		return NULL;
	}
	if ((x = calloc(1, sizeof(*x))) == NULL) {
		err_oom(e);
		return NULL;
	}
	x->s.ops = &ops;
	x->r = r;
	x->off = off;
	x->left = n;
	return &x->s;
}
