#include "exec/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"

enum {
	TICK = 200,             /* ms: a stop signal may miss poll() */
	BLOCK = 64 << 10,
	GRACE = 20,             /* seconds to clean up in */
	SAID_LINE = 16 << 10,   /* of a line on standard error, the rest is
				 * dropped */
	SAID_LINES = 4          /* of the last lines, errors quote */
};

struct child {
	struct child_spec spec;
	struct proc proc;
	int out, err;           /* -1: closed */
	double begun, heard;
	bool started;
	bool over;              /* ended and judged, with how */
	int how;
	struct err why;
	/* lines of standard output */
	struct buf lines;
	size_t at, scanned;
	bool eof;
	/* standard error */
	struct buf part;        /* a line that is not whole */
	char *last[SAID_LINES]; /* a ring */
	size_t nlast;
	char said[CHILD_SAID];
};

static void
shut(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

int
child_start(struct child **out, const struct child_spec *spec, struct err *e)
{
	struct proc_spec s = PROC_SPEC_INIT;
	struct child *c = calloc(1, sizeof(*c));
	int o[2] = { -1, -1 }, r[2] = { -1, -1 }, ret = -1;

	if (c == NULL)
		return err_oom(e);
	c->spec = *spec;
	if (c->spec.line_max == 0)
		c->spec.line_max = CHILD_LINE;
	if (c->spec.grace <= 0)
		c->spec.grace = GRACE;
	c->out = c->err = -1;
	c->proc.pidfd = -1;
	buf_init(&c->lines, c->spec.line_max + BLOCK);
	buf_init(&c->part, SAID_LINE);
	if (pipe2(o, O_CLOEXEC) == -1 || pipe2(r, O_CLOEXEC) == -1 ||
	    fcntl(o[0], F_SETFL, O_NONBLOCK) == -1 ||
	    fcntl(r[0], F_SETFL, O_NONBLOCK) == -1) {
		err_sys(e, "%s: pipe", spec->what);
		goto out;
	}
	s.argv = spec->argv;
	s.fd[0] = spec->in;
	s.fd[1] = o[1];
	s.fd[2] = r[1];
	s.fds = spec->fds;
	s.nfds = spec->nfds;
	s.env = spec->env;
	s.dir = spec->dir;
	s.bare = s.group = true;
	s.ends = spec->ends;
	if (proc_start(&c->proc, &s, e) == -1)
		goto out;
	c->out = o[0];
	c->err = r[0];
	o[0] = r[0] = -1;
	c->begun = c->heard = when_mono();
	c->started = true;
	*out = c;
	c = NULL;
	ret = 0;
out:
	shut(&o[0]);
	shut(&o[1]);
	shut(&r[0]);
	shut(&r[1]);
	child_free(c);
	return ret;
}

/*
 * It is ended, not judged: what it would say now is our doing.  First the
 * signal: without a reader some would store what they have.  And only to
 * itself: it may need what it started to clean up.
 */
static void
kill_off(struct child *c)
{
	if (c->proc.pid > 0)
		proc_signal(&c->proc, 1, c->proc.ends);
	shut(&c->out);
	if (c->proc.pid > 0)
		proc_end(&c->proc, 1, c->spec.grace);
	shut(&c->err);
}

void
child_free(struct child *c)
{
	size_t i;

	if (c == NULL)
		return;
	/* Once it is over its number may be another's. */
	if (!c->over)
		kill_off(c);
	for (i = 0; i < SAID_LINES; i++)
		free(c->last[i]);
	buf_fini(&c->lines);
	buf_fini(&c->part);
	if (c->started && c->spec.release != NULL)
		c->spec.release(c->spec.ctx);
	free(c);
}

/* ---- standard error ---- */

static void
said_line(struct child *c)
{
	const char *quote = c->part.p;
	size_t slot = c->nlast % SAID_LINES;
	char *copy;

	if (c->spec.log != NULL)
		log_wire(c->spec.log, "%s: %s", c->spec.what,
		    str_q(c->part.p));
	if (c->spec.said != NULL)
		quote = c->spec.said(c->spec.ctx, c->part.p, c->part.len);
	if (quote != NULL && *quote != '\0' &&
	    (copy = strdup(quote)) != NULL) {
		free(c->last[slot]);
		c->last[slot] = copy;
		c->nlast++;
	}
	buf_reset(&c->part);
}

static void
said(struct child *c, const char *p, size_t n)
{
	size_t k, room;

	while (n > 0) {
		/* A line of progress ends where the next is written over it. */
		for (k = 0; k < n && p[k] != '\n' && p[k] != '\r'; k++)
			;
		room = c->part.max - c->part.len;
		buf_add(&c->part, p, k < room ? k : room);
		if (k == n)
			return;
		said_line(c);
		p += k + 1;
		n -= k + 1;
	}
}

/* The last lines, the newest at the end, as many as there is room for. */
static const char *
quoted(struct child *c)
{
	size_t i, n, have = 0, keep = c->nlast;
	const char *line;

	c->said[0] = '\0';
	for (i = 0; i < SAID_LINES && i < keep; i++) {
		line = str_q(c->last[(c->nlast - 1 - i) % SAID_LINES]);
		n = strlen(line) + (i > 0 ? 2 : 0);
		if (n > sizeof(c->said) - 1 - have)
			break;
		memmove(c->said + n, c->said, have + 1);
		memcpy(c->said, line, strlen(line));
		if (i > 0)
			memcpy(c->said + n - 2, "; ", 2);
		have += n;
	}
	return c->said;
}

static void
drain_err(struct child *c)
{
	char block[4096];
	ssize_t n;

	while (c->err != -1) {
		n = read(c->err, block, sizeof(block));
		if (n > 0) {
			said(c, block, (size_t)n);
			c->heard = when_mono();
			continue;
		}
		if (n == 0 || (errno != EINTR && errno != EAGAIN))
			shut(&c->err);
		if (n == 0 || errno != EINTR)
			return;
	}
}

/* ---- waiting ---- */

int
child_fail(const char *what, int status, const char *said_last, int code,
    struct err *e)
{
	struct proc p = { .status = status };
	char says[PROC_TEXT];

	proc_says(&p, says);
	if (*said_last == '\0')
		return err_set(e, code, "%s: %s", what, says);
	return err_set(e, code, "%s: %s: %s", what, says, said_last);
}

static int
settle(struct child *c, int how, const struct err *why, struct err *e)
{
	c->over = true;
	c->how = how;
	if (why != NULL && why != &c->why)
		c->why = *why;
	if (how == -1)
		*e = c->why;
	return how;
}

/* Our own finding about a program that still runs. */
static int
give_up(struct child *c, struct err *e)
{
	struct err why = *e;

	kill_off(c);
	return settle(c, -1, &why, e);
}

/* It has ended, and all that it wrote is read. */
static int
judge(struct child *c, struct err *e)
{
	struct err why = ERR_INIT;
	int ret = 0;

	drain_err(c);
	if (c->part.len > 0)
		said_line(c);
	/* What it started has no more business. */
	proc_end(&c->proc, 1, 0);
	shut(&c->out);
	shut(&c->err);
	if (c->spec.judge != NULL)
		ret = c->spec.judge(c->spec.ctx, c->proc.status, quoted(c),
		    &why);
	else if (c->proc.status != 0)
		ret = child_fail(c->spec.what, c->proc.status, quoted(c),
		    CALA_FAIL, &why);
	/* Whoever stopped us may have stopped it, too. */
	if (ret == -1)
		(void)stop_check(&why);
	return settle(c, ret, &why, e);
}

static int
patience(struct child *c, struct err *e)
{
	double now = when_mono();
	const char *s;

	if (stop_check(e) == -1 || (c->spec.wait != NULL &&
	    c->spec.wait(c->spec.ctx, e) == -1))
		return give_up(c, e);
	s = quoted(c);
	if (c->spec.idle > 0 && now - c->heard > c->spec.idle) {
		err_set(e, CALA_NET, "%s: silent for %.0f seconds%s%s",
		    c->spec.what, c->spec.idle, *s != '\0' ?
		    "; before that: " : "", s);
		return give_up(c, e);
	}
	if (c->spec.limit > 0 && now - c->begun > c->spec.limit) {
		err_set(e, CALA_NET, "%s: no end within %.0f seconds%s%s",
		    c->spec.what, c->spec.limit, *s != '\0' ? "; it said: " :
		    "", s);
		return give_up(c, e);
	}
	return 0;
}

ssize_t
child_read(struct child *c, void *p, size_t n, struct err *e)
{
	struct pollfd pfd[3];
	bool ended = false;
	ssize_t got;

	/* While nobody asked, nobody was waiting. */
	c->heard = when_mono();
	while (!c->over) {
		got = c->out == -1 ? 0 : read(c->out, p, n);
		if (got > 0)
			return got;
		if (got == 0)
			shut(&c->out);
		else if (errno != EAGAIN && errno != EINTR) {
			err_sys(e, "%s: read", c->spec.what);
			return give_up(c, e);
		}
		/* A grandchild may hold the pipe open: that is no reason. */
		if (ended)
			return judge(c, e);
		/* What it wrote before it ended is in the pipe. */
		ended = proc_poll(&c->proc, 1, 0) == 0;
		if (ended)
			continue;
		if (patience(c, e) == -1)
			return -1;
		pfd[0] = (struct pollfd){ c->out, POLLIN, 0 };
		pfd[1] = (struct pollfd){ c->err, POLLIN, 0 };
		pfd[2] = (struct pollfd){ c->proc.pidfd, POLLIN, 0 };
		(void)poll(pfd, 3, TICK);
		drain_err(c);
	}
	return settle(c, c->how, NULL, e);
}

int
child_line(struct child *c, char **line, size_t *n, struct err *e)
{
	struct buf *b = &c->lines;
	char *room, *nl;
	ssize_t got;

	for (;;) {
		nl = memchr(b->p + c->scanned, '\n', b->len - c->scanned);
		if (nl == NULL && c->eof && b->len > c->at)
			nl = b->p + b->len;     /* the buffer keeps a NUL */
		if (nl != NULL) {
			*line = b->p + c->at;
			*n = (size_t)(nl - *line);
			*nl = '\0';
			c->at = (size_t)(nl - b->p);
			c->at += c->at < b->len;
			c->scanned = c->at;
			if (*n <= c->spec.line_max)
				return 1;
		}
		if (nl != NULL || b->len - c->at > c->spec.line_max) {
			err_set(e, CALA_INTEGRITY, "%s: a line of more than "
			    "%zu bytes", c->spec.what, c->spec.line_max);
			return c->over ? -1 : give_up(c, e);
		}
		if (c->eof)
			return settle(c, c->how, NULL, e);
		c->scanned = b->len - c->at;
		memmove(b->p, b->p + c->at, c->scanned);
		buf_cut(b, c->scanned);
		c->at = 0;
		if ((room = buf_room(b, BLOCK)) == NULL) {
			err_oom(e);
			return give_up(c, e);
		}
		if ((got = child_read(c, room, BLOCK, e)) == -1)
			return -1;
		buf_grown(b, (size_t)got);
		c->eof = got == 0;
	}
}

const char *
child_what(const struct child *c)
{
	return c->spec.what;
}

int
child_finish(struct child *c, struct err *e)
{
	char block[4096];
	ssize_t n;

	while ((n = child_read(c, block, sizeof(block), e)) > 0)
		;
	return (int)n;
}

/* ---- as a source ---- */

struct csource {
	struct source s;
	struct child *c;
};

static ssize_t
csource_read(struct source *s, void *p, size_t n, struct err *e)
{
	return child_read(((struct csource *)s)->c, p, n, e);
}

static void
csource_close(struct source *s)
{
	child_free(((struct csource *)s)->c);
	free(s);
}

static const struct source_ops csource_ops = { csource_read, csource_close };

struct source *
child_source(struct child *c, struct err *e)
{
	struct csource *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		err_oom(e);
		child_free(c);
		return NULL;
	}
	s->s.ops = &csource_ops;
	s->c = c;
	return &s->s;
}

const char *
child_strip(const char *s, const char *const *noise)
{
	const char *const *w = noise;

	while (*w != NULL)
		if (str_begins(s, *w)) {
			s += strlen(*w);
			w = noise;
		} else {
			w++;
		}
	return s;
}
