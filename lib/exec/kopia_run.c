/* kopia_run: one run of the program, and what its messages mean. */

#include "exec/kopia_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/stop.h"
#include "base/str.h"

enum { CLEANUP_LIMIT = 60 };    /* seconds */

/*
 * Kopia's exit status is 0 or 1: what went wrong is only in the text
 * (kopia-restic §14).  The first row that is found decides, so certificates
 * stand before "Unavailable", which is in all messages of the handshake.
 */
static const struct { const char *text; int code; } classes[] = {
	{ "can't find certificate matching", CALA_TLS },
	{ "x509: ", CALA_TLS },
	{ "failed to verify certificate", CALA_TLS },
	{ "first record does not look like a TLS handshake", CALA_USAGE },
	{ "invalid server address", CALA_USAGE },
	{ "missing credentials", CALA_USAGE },
	{ "password prompt error", CALA_USAGE },
	{ "can't get password", CALA_USAGE },
	{ "unknown long flag", CALA_USAGE },
	{ "unknown short flag", CALA_USAGE },
	{ "expected command but got", CALA_USAGE },
	{ "code = Unimplemented", CALA_USAGE },
	{ "unexpected HTTP status", CALA_USAGE },
	{ "no space left on device", CALA_NOSPACE },
	{ "disk quota exceeded", CALA_NOSPACE },
	{ "PermissionDenied", CALA_AUTH },
	{ "access denied", CALA_AUTH },
	{ "no snapshots matched", CALA_NOTFOUND },
	{ "snapshot not found", CALA_NOTFOUND },
	{ "policy not found", CALA_NOTFOUND },
	{ "entry not found", CALA_NOTFOUND },
	{ "is not a directory object", CALA_NOTFOUND },
	{ "error parsing root object ID", CALA_NOTFOUND },
	{ "object not found", CALA_INTEGRITY },
	{ "content not found", CALA_INTEGRITY },
	{ "BLOB not found", CALA_INTEGRITY },
	{ "unable to decrypt", CALA_INTEGRITY },
	{ "invalid checksum", CALA_INTEGRITY },
	{ "invalid compression", CALA_INTEGRITY },
	{ "decompression error", CALA_INTEGRITY },
	{ "message authentication failed", CALA_INTEGRITY },
	{ "not connected to a direct repository", CALA_NET },
	{ "code = Unavailable", CALA_NET },
	{ "code = DeadlineExceeded", CALA_NET },
	{ "connection refused", CALA_NET },
	{ "connection reset", CALA_NET },
	{ "no such host", CALA_NET },
	{ "i/o timeout", CALA_NET },
	{ "no route to host", CALA_NET },
	{ "network is unreachable", CALA_NET },
	{ "transport is closing", CALA_NET },
	{ "context deadline exceeded", CALA_NET },
};

int
kopia_class(const char *line)
{
	size_t i;

	for (i = 0; i < sizeof(classes) / sizeof(*classes); i++)
		if (strstr(line, classes[i].text) != NULL)
			return classes[i].code;
	return 0;
}

/* Every message of a failure to open begins with all of this. */
static const char *
without_noise(const char *s)
{
	static const char *const noise[] = { "ERROR ", "kopia: error: ",
	    "error: ", "open repository: ", "failed to open repository: ",
	    "unable to open repository: ",
	    "unable to establish session for purpose=: ",
	    "error establishing session: ", "Session(): ",
	    "unable to initialize session: ", "rpc error: ", NULL };

	return child_strip(s, noise);
}

/*
 * Progress is rewritten with carriage returns, so one line may hold many; what
 * stands behind the last is the newest.
 */
static const char *
said(void *ctx, char *line, size_t n)
{
	struct kopia_run *r = ctx;
	char *p = strrchr(line, '\r');
	const char *clean;
	int code;

	(void)n;
	p = str_trim(p != NULL ? p + 1 : line);
	if (r->cmd.line != NULL)
		r->cmd.line(r->cmd.ctx, p);
	if (*p == '\0')
		return NULL;
	if (strstr(p, "unable to parse snapshot manifest") != NULL)
		r->lost = true;
	if (strstr(p, "fatal error(s) while snapshotting") != NULL)
		r->fatal = true;
	clean = without_noise(p);
	code = kopia_class(p);
	/* A message that says what it is stays; the rest gives way. */
	if (r->code == 0 || code != 0) {
		snprintf(r->said, sizeof(r->said), "%s", str_q(clean));
		r->code = code != 0 ? code : r->code;
	}
	return clean;
}

int
kopia_failed(const struct kopia_run *r, struct err *e)
{
	const struct kopia_how *how = r->k->how;
	const char *what = r->name;

	if (r->status > CALA_SIGNAL || r->code == 0)
		return child_fail(what, r->status, r->said, CALA_FAIL, e);
	switch (r->code) {
	case CALA_AUTH:
		err_set(e, CALA_AUTH, "%s: the server refuses %s: %s", what,
		    how->user, r->said);
		return strstr(r->said, "access denied for") != NULL ?
		    err_hint(e, "a wrong password, or no such user: the server "
		    "says the same for both") : -1;
	case CALA_TLS:
		err_set(e, CALA_TLS, "%s: the certificate of %s is not the "
		    "expected one: %s", what, str_q(how->url), r->said);
		return err_hint(e, how->fingerprint != NULL ?
		    "ask the server's administrator before you change the "
		    "fingerprint" : "set fingerprint to pin a certificate of "
		    "its own making");
	case CALA_NET:
		return err_set(e, CALA_NET, "%s: %s can't be reached: %s",
		    what, str_q(how->url), r->said);
	case CALA_USAGE:
		err_set(e, CALA_USAGE, "%s: %s", what, r->said);
		if (strstr(r->said, "unknown ") != NULL ||
		    strstr(r->said, "expected command") != NULL)
			return err_hint(e, "Kopia " KOPIA_OLDEST
			    " or newer is needed");
		if (strstr(r->said, "TLS handshake") != NULL)
			return err_hint(e, "no TLS at that address: is it a "
			    "Kopia server, started without --insecure?");
		return -1;
	default:
		return err_set(e, r->code, "%s: %s", what, r->said);
	}
}

static int
judge(void *ctx, int status, const char *last, struct err *e)
{
	struct kopia_run *r = ctx;

	(void)last;             /* r->said is chosen better */
	r->status = status;
	if (status == 1 && r->cmd.may_fail)
		return 0;
	if (status != 0)
		return kopia_failed(r, e);
	/* It passes over what it could not read, and is content. */
	if (r->lost)
		return err_set(e, r->code != 0 ? r->code : CALA_NET,
		    "%s: not all snapshots could be read: %s", r->name,
		    r->said);
	return 0;
}

int
kopia_start(struct kopia_run *r, struct kopia *k, const struct kopia_cmd *cmd,
    struct err *e)
{
	struct child_spec spec = CHILD_SPEC_INIT;
	const char **argv;
	size_t n = 0, i;

	memset(r, 0, sizeof(*r));
	argv = r->argv;
	r->k = k;
	r->cmd = *cmd;
	snprintf(r->name, sizeof(r->name), "kopia %s", cmd->what);
	argv[n++] = "kopia";
	argv[n++] = cmd->cached ? k->config_arg : k->bare_arg;
	argv[n++] = "--disable-file-logging";
	argv[n++] = "--log-level=error";
	for (i = 0; cmd->args[i] != NULL; i++) {
		if (n + 1 == KOPIA_ARGS)
			return err_set(e, CALA_FAIL, "%s: too many arguments",
			    r->name);
		argv[n++] = cmd->args[i];
	}
	argv[n] = NULL;
	spec.what = r->name;
	spec.argv = argv;
	spec.env = child_env_list(&k->env);
	spec.in = cmd->in;
	spec.ends = cmd->kill ? SIGKILL : SIGTERM;
	spec.idle = cmd->slow ? k->how->stall : k->how->idle;
	spec.limit = k->calm ? CLEANUP_LIMIT : cmd->limit;
	spec.log = k->how->log;
	spec.said = said;
	spec.judge = judge;
	spec.ctx = r;
	if (child_start(&r->child, &spec, e) == 0)
		return 0;
	r->child = NULL;
	if (e->code == CALA_NOCMD)
		err_hint(e, "install Kopia " KOPIA_OLDEST " or newer, and see "
		    "that it is in PATH");
	return -1;
}

void
kopia_end(struct kopia_run *r)
{
	child_free(r->child);
	r->child = NULL;
}

int
kopia_do(struct kopia *k, const char *what, const char *const *args,
    struct err *e)
{
	struct kopia_cmd cmd = { .what = what, .args = args,
	    .in = PROC_NULL };
	struct kopia_run r;
	int ret;

	ret = kopia_start(&r, k, &cmd, e);
	if (ret == 0)
		ret = child_finish(r.child, e);
	kopia_end(&r);
	return ret;
}

int
kopia_calm(struct kopia *k)
{
	int sig = stop_signal();

	stop_set(0);
	k->calm = true;
	return sig;
}

void
kopia_uncalm(struct kopia *k, int sig)
{
	/* Another signal that came meanwhile is as good. */
	if (stop_signal() == 0)
		stop_set(sig);
	k->calm = false;
}
