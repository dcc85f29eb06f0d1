#include "pbs/session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/str.h"
#include "base/when.h"
#include "pbs/answer.h"
#include "pbs/h2.h"
#include "pbs/target.h"
#include "pbs/tls.h"

#ifndef CALA_VERSION
#define CALA_VERSION "unknown"
#endif

enum {
	HEAD_MAX = 16 << 10,
	ANSWER = 120,                   /* seconds */
	BODY_WAIT = 5                   /* for the text of a refusal */
};

void
pbs_token(const struct pbs_target *t, struct buf *b)
{
	static const char bad[] = "\"#<>?{}`%";
	const struct secret *s = t->token_secret;
	size_t i;

	buf_printf(b, "PBSAPIToken=%s:", t->token_id);
	for (i = 0; i < s->len; i++) {
		if (s->p[i] <= ' ' || s->p[i] >= 0x7f ||
		    strchr(bad, s->p[i]) != NULL)
			buf_printf(b, "%%%02X", s->p[i]);
		else
			buf_chr(b, (char)s->p[i]);
	}
}

const char *
pbs_session_what(const struct pbs_target *t, const struct pbs_snap *s,
    char *out, size_t n)
{
	struct timespec at = { .tv_sec = (time_t)s->time };
	char text[WHEN_TEXT];
	bool ns = t->ns != NULL && *t->ns != '\0';

	snprintf(out, n, "%s: %s%s%s/%s/%s", t->datastore, ns ? t->ns : "",
	    ns ? ": " : "", s->type != NULL ? s->type : "host", s->id,
	    when_utc(at, text));
	return out;
}

int
pbs_hello_parse(const char *p, size_t n, unsigned *status, size_t *end,
    struct err *e)
{
	static const char proto[] = "HTTP/1.1 ";
	size_t k = sizeof(proto) - 1;
	const char *q;
	uint64_t v;
	char text[4];

	if (memcmp(p, proto, n < k ? n : k) != 0)
		return err_set(e, CALA_NET, "what answers is no Proxmox "
		    "Backup Server: it speaks no HTTP/1.1");
	q = memmem(p, n, "\r\n\r\n", 4);
	if (q == NULL)
		return n < HEAD_MAX ? 0 : err_set(e, CALA_NET, "an answer "
		    "without end");
	if ((size_t)(q - p) < k + 3)
		return err_set(e, CALA_NET, "an answer without status");
	memcpy(text, p + k, 3);
	text[3] = '\0';
	if (str_u64(text, 100, 599, &v) == -1)
		return err_set(e, CALA_NET, "an answer without status");
	*status = (unsigned)v;
	*end = (size_t)(q - p) + 4;
	return 1;
}

/* Until b holds a whole head, or (end set) until the connection ends. */
static int
fill(struct tls *tls, struct buf *b, double deadline, struct err *e)
{
	char *p = buf_room(b, 4096);
	ssize_t n;

	if (p == NULL)
		return err_set(e, CALA_NET, "too long an answer");
	for (;;) {
		n = tls_read(tls, p, 4096, e);
		if (n == -1)
			return -1;
		if (n > 0) {
			buf_grown(b, (size_t)n);
			return 0;
		}
		if (tls_wait(tls, deadline, e) == -1)
			return -1;
	}
}

/* The value of a header of a head, or NULL; ends at CR. */
static const char *
header(const char *head, size_t end, const char *name)
{
	const char *p = head, *stop = head + end, *eol;
	size_t k = strlen(name);

	while (p < stop && (eol = memchr(p, '\n', (size_t)(stop - p))) !=
	    NULL) {
		if ((size_t)(eol - p) > k && strncasecmp(p, name, k) == 0 &&
		    p[k] == ':')
			return p + k + 1 + strspn(p + k + 1, " \t");
		p = eol + 1;
	}
	return NULL;
}

/* Without the lengths between the pieces; what is broken stays as it is. */
static void
unchunk(char *body)
{
	char *p = body, *out = body, *eol, num[20];
	size_t n, have = strlen(body);
	int digits;

	for (;;) {
		digits = (int)strspn(p, "0123456789abcdefABCDEF");
		if (digits == 0 || digits > 8 ||
		    (eol = strstr(p, "\r\n")) == NULL)
			break;
		snprintf(num, sizeof(num), "%.*s", digits, p);
		if (sscanf(num, "%zx", &n) != 1 || n == 0)
			break;
		p = eol + 2;
		if (n > have - (size_t)(p - body))
			n = have - (size_t)(p - body);
		memmove(out, p, n);
		out += n;
		p += n;
		p += strspn(p, "\r\n");
	}
	*out = '\0';
}

/* Not 101: what the server says about it. */
static int
refused(struct tls *tls, struct buf *b, unsigned status, size_t end,
    const char *what, struct err *e)
{
	const char *v = header(b->p, end, "content-length");
	double deadline = when_mono() + BODY_WAIT;
	struct err ignored = ERR_INIT;
	char num[24], text[PBS_TEXT];
	uint64_t want = PBS_TEXT;
	bool chunked;

	chunked = (v == NULL && (v = header(b->p, end, "transfer-encoding")) !=
	    NULL && strncasecmp(v, "chunked", 7) == 0);
	if (!chunked && v != NULL) {
		snprintf(num, sizeof(num), "%.*s", (int)strspn(v,
		    "0123456789"), v);
		if (str_u64(num, 0, PBS_TEXT, &want) == -1)
			want = PBS_TEXT;
	}
	while (b->len - end < want &&
	    !(chunked && strstr(b->p + end, "0\r\n\r\n") != NULL))
		if (fill(tls, b, deadline, &ignored) == -1)
			break;
	snprintf(text, sizeof(text), "%s", b->p + end);
	if (chunked)
		unchunk(text);
	if (ignored.code >= CALA_SIGNAL) {
		*e = ignored;
		return -1;
	}
	return pbs_refused(e, what, status, text);
}

static int
ask(struct tls *tls, const struct pbs_target *t, const char *verb,
    const struct pbs_snap *s, struct err *e)
{
	struct buf b, q;
	bool v6 = strchr(t->host, ':') != NULL;
	int ret = -1;

	buf_init(&b, HEAD_MAX);
	buf_init(&q, HEAD_MAX);
	pbs_param_snap(&q, s);
	pbs_param(&q, "store", t->datastore);
	if (t->ns != NULL && *t->ns != '\0')
		pbs_param(&q, "ns", t->ns);
	/* one piece: a buffer that moves would leave the secret behind */
	(void)buf_room(&b, HEAD_MAX - 1);
	buf_printf(&b, "GET /api2/json/%s?%s HTTP/1.1\r\n"
	    "Host: %s%s%s:%u\r\nConnection: upgrade\r\n"
	    "Upgrade: proxmox-backup-%sprotocol-v1\r\n"
	    "User-Agent: cala-pbs/" CALA_VERSION "\r\nAuthorization: ",
	    verb, q.p, v6 ? "[" : "", t->host, v6 ? "]" : "", t->port,
	    strcmp(verb, "reader") == 0 ? "reader-" : "");
	pbs_token(t, &b);
	buf_str(&b, "\r\n\r\n");
	if (buf_failed(&q, e) == -1 || buf_failed(&b, e) == -1)
		goto out;
	if (tls_write(tls, b.p, b.len, e) == -1 || tls_flush(tls, e) == -1)
		goto out;
	ret = 0;
out:
	secret_wipe(b.p, b.len);
	buf_fini(&b);
	buf_fini(&q);
	return ret;
}

struct h2 *
pbs_session(const struct pbs_target *t, const char *verb,
    const struct pbs_snap *s, struct log *log, struct err *e)
{
	struct h2_how how = { .in_flight = t->in_flight, .stall = t->stall,
	    .rate = t->rate };
	struct tls *tls = NULL;
	struct h2 *h = NULL;
	unsigned status = 0;
	size_t end = 0;
	char what[PBS_NAME_MAX + PBS_PRIV_PATH + 64];
	double deadline;
	struct buf b;
	int n;

	buf_init(&b, 2 * HEAD_MAX);
	pbs_session_what(t, s, what, sizeof(what));
	if ((tls = tls_open(t, log, e)) == NULL)
		goto out;
	log_wire(log, "> %s of %s", verb, what);
	deadline = when_mono() + (t->answer != 0 ? t->answer : ANSWER);
	if (ask(tls, t, verb, s, e) == -1)
		goto fail;
	do {
		if (fill(tls, &b, deadline, e) == -1 ||
		    (n = pbs_hello_parse(b.p, b.len, &status, &end, e)) == -1)
			goto fail;
	} while (n == 0);
	log_wire(log, "< %u", status);
	if (status != 101) {
		(void)refused(tls, &b, status, end, what, e);
		goto out;
	}
	how.early = b.p + end;
	how.nearly = b.len - end;
	h = h2_start(tls, &how, log, e);
	tls = NULL;
	goto out;
fail:
	err_ctx(e, "%s", str_q(t->host));
out:
	tls_free(tls);
	buf_fini(&b);
	return h;
}
