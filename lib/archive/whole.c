#include "archive/whole.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/stop.h"
#include "base/str.h"

enum { GRACE = 10 };

/* While it runs. */
struct run {
	struct whole *in;
	struct sink *sink;
	struct proof *proof;
	struct proc proc;
	bool ran;               /* we started the producer */
	int fd;
};

/* "0,1": is status n in the list? */
static int
status_ok(const char *list, int n, bool *ok, struct err *e)
{
	const char *p = list, *comma;
	char one[8];
	uint64_t v;
	size_t len;

	*ok = list == NULL && n == 0;
	while (p != NULL) {
		comma = strchr(p, ',');
		len = comma != NULL ? (size_t)(comma - p) : strlen(p);
		if (len >= sizeof(one))
			goto bad;
		memcpy(one, p, len);
		one[len] = '\0';
		if (str_u64(one, 0, 255, &v) == -1)
			goto bad;
		*ok |= (int)v == n;
		p = comma != NULL ? comma + 1 : NULL;
	}
	return 0;
bad:
	return err_set(e, CALA_USAGE, "--ok-status: '%s' is no list of "
	    "exit statuses", str_q(list));
}

int
whole_check(struct whole *in, uint64_t given, struct err *e)
{
	bool ok;

	in->commit_fd = -1;
	if (in->command != NULL && in->command[0] == NULL)
		return err_set(e, CALA_USAGE, "no COMMAND behind '--'");
	if (in->ok_status != NULL && in->command == NULL)
		return err_set(e, CALA_USAGE, "--ok-status needs a COMMAND");
	if (status_ok(in->ok_status, 0, &ok, e) == -1)
		return -1;
	if (in->command == NULL && isatty(STDIN_FILENO)) {
		err_set(e, CALA_USAGE, "standard input is a terminal");
		return err_hint(e, "pipe something into it, or name the "
		    "command that makes it behind '--'");
	}
	if (given == UINT64_MAX)
		return 0;
	in->commit_fd = given <= 65535 ? (int)given : -1;
	if (in->commit_fd < 3 ||
	    fcntl(in->commit_fd, F_SETFD, FD_CLOEXEC) == -1)
		return err_set(e, CALA_USAGE, "--commit-fd %ju: not an open "
		    "descriptor above 2", (uintmax_t)given);
	return 0;
}

static int
start_producer(struct run *r, struct err *e)
{
	struct proc_spec spec = PROC_SPEC_INIT;
	int p[2];

	if (pipe2(p, O_CLOEXEC) == -1)
		return err_sys(e, "make a pipe");
	spec.argv = r->in->command;
	spec.fd[0] = STDIN_FILENO;
	spec.fd[1] = p[1];
	r->fd = p[0];
	r->ran = proc_start(&r->proc, &spec, e) == 0;
	close(p[1]);
	return r->ran ? 0 : -1;
}

/* Every byte goes past the proof and into the sink, in place. */
static int
take_all(struct run *r, struct err *e)
{
	unsigned char *p;
	size_t room;
	ssize_t n;

	pipe_widen(r->fd);
	for (;;) {
		if (stop_check(e) == -1 ||
		    (p = sink_space(r->sink, &room, e)) == NULL)
			return -1;
		n = read(r->fd, p, room);
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return err_sys(e, "read the stream");
		if (n == 0)
			return 0;
		if (proof_feed(r->proof, p, (size_t)n, e) == -1 ||
		    sink_used(r->sink, (size_t)n, e) == -1)
			return -1;
		if (r->in->bytes != NULL)
			*r->in->bytes += (size_t)n;
	}
}

/* 1: the producer that we ran ended well. */
static int
ask_producer(struct run *r, struct err *e)
{
	char text[PROC_TEXT];
	bool ok;

	if (proc_wait(&r->proc, 1, -1, e) == -1 ||
	    status_ok(r->in->ok_status, r->proc.status, &ok, e) == -1)
		return -1;
	if (!ok && r->proc.status != CALA_PARTIAL)
		return err_set(e, CALA_INCOMPLETE, "%s: %s; nothing stored",
		    r->proc.name, proc_says(&r->proc, text));
	r->in->partial |= !ok;
	return 0;
}

/* 2: the supervisor says go. */
static int
ask_supervisor(struct run *r, struct err *e)
{
	char c = 'A';
	ssize_t n;

	do {
		if (stop_check(e) == -1)
			return -1;
		n = read(r->in->commit_fd, &c, 1);
	} while (n == -1 && errno == EINTR);
	if (n == -1)
		return err_sys(e, "read descriptor %d", r->in->commit_fd);
	if (n == 0)
		return err_set(e, CALA_INCOMPLETE, "the supervisor ended "
		    "without a word; nothing stored");
	if (c != 'C')
		return err_set(e, CALA_INCOMPLETE, "the supervisor says "
		    "abort; nothing stored");
	return 0;
}

/* No archive: whoever else speaks for it, or nobody. */
static int
ask_nobody(struct run *r, struct err *e)
{
	const struct whole *in = r->in;

	if (!in->any)
		return err_set(e, CALA_INCOMPLETE, "the input is no archive "
		    "that cala knows; nothing stored");
	if (in->strict && !r->ran && in->commit_fd == -1 &&
	    in->facts.proof != PROOF_TRAILER)
		return err_set(e, CALA_INCOMPLETE, "nothing proves that the "
		    "input is whole; nothing stored");
	log_step(in->log, "no archive: %s", r->ran ? "its producer ended "
	    "well" : in->commit_fd != -1 ? "the supervisor decides" :
	    "its end is taken for its end");
	return 0;
}

/* 3, 4: what the stream says about itself. */
static int
ask_stream(struct run *r, struct err *e)
{
	struct whole *in = r->in;
	const struct archive_facts *f = &in->facts;

	if (r->sink->pos == 0) {
		if (in->allow_empty)
			return 0;
		err_set(e, CALA_INCOMPLETE, "the input is empty; nothing "
		    "stored");
		return err_hint(e, "--allow-empty stores it nevertheless");
	}
	if (in->no_check) {
		/* Kept as it is, but nobody may take it for whole. */
		in->partial |= f->proof == PROOF_WRONG ||
		    (f->proof == PROOF_NONE && (f->known || !in->any));
		return 0;
	}
	/* what is compressed may be no archive inside (a database's dump) */
	if (f->proof == PROOF_WRONG && (f->known || !in->any))
		return err_set(e, CALA_INTEGRITY, "the stream contradicts "
		    "itself: %s; nothing stored",
		    f->why != NULL ? f->why : "wrong proof of completeness");
	if (!f->known)
		return ask_nobody(r, e);
	if (f->proof == PROOF_NONE)
		return err_set(e, CALA_INCOMPLETE, "the stream is cut short: "
		    "%s; nothing stored",
		    f->why != NULL ? f->why : "it has no end");
	log_step(in->log, "the stream is whole: %s",
	    f->proof == PROOF_INDEX ? "its index agrees with the bytes" :
	    f->proof == PROOF_TRAILER ? "its trailer agrees with the bytes" :
	    f->proof == PROOF_INNER ? "it ends with cala's mark" :
	    "the archive's own end was seen");
	return 0;
}

int
whole_run(struct whole *in, struct sink *sink, struct err *e)
{
	struct run r = { .in = in, .sink = sink, .fd = STDIN_FILENO };
	int ret = -1;

	memset(&in->facts, 0, sizeof(in->facts));
	in->partial = false;
	if ((r.proof = proof_new(false, e)) == NULL)
		return -1;
	proof_memory(r.proof, in->memory);
	if (in->any && !in->strict)
		proof_lax(r.proof);
	if ((in->command != NULL && start_producer(&r, e) == -1) ||
	    take_all(&r, e) == -1 ||
	    proof_end(r.proof, &in->facts, e) == -1)
		goto out;
	/*
	 * The first cause is what helps: a producer that failed explains why
	 * its stream is cut short.
	 */
	if ((r.ran && ask_producer(&r, e) == -1) ||
	    ask_stream(&r, e) == -1 ||
	    (in->commit_fd != -1 && ask_supervisor(&r, e) == -1))
		goto out;
	in->partial |= in->facts.partial || in->facts.warnings > 0;
	ret = 0;
out:
	if (r.fd != STDIN_FILENO)
		close(r.fd);
	if (r.ran && !r.proc.done)
		proc_end(&r.proc, 1, GRACE);
	/* what facts.why points to goes with the proof */
	in->facts.why = NULL;
	proof_free(r.proof);
	return ret;
}
