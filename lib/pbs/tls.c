#include "pbs/tls.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "base/when.h"
#include "pbs/crypt.h"
#include "pbs/net.h"

enum {
	IN = 256 << 10,         /* one recv() for many records */
	OUT_START = 64 << 10,
	OUT_MAX = 4 << 20,      /* callers stay far below */
	HANDSHAKE = 30          /* seconds; the server allows 10 */
};

/*
 * OpenSSL reads and writes memory, and the socket is ours: a system call takes
 * many records at once, and writing never has to be repeated.
 */
struct tls {
	int fd;
	SSL_CTX *ctx;
	SSL *ssl;
	struct tls_check check;
	bool eof;                       /* the peer has closed */
	int sys;                        /* errno that ended it, or 0 */
	unsigned char *in;
	size_t in_at, in_len;
	unsigned char *out;
	size_t out_at, out_len, out_cap;
};

/* ---- memory in place of a socket ---- */

static int
mem_write(BIO *b, const char *p, int n)
{
	struct tls *t = BIO_get_data(b);
	size_t need, cap;
	unsigned char *v;

	if (n <= 0)
		return 0;
	if (t->out_at == t->out_len)
		t->out_at = t->out_len = 0;
	need = t->out_len - t->out_at + (size_t)n;
	if (need > OUT_MAX)
		return -1;
	if (t->out_len + (size_t)n > t->out_cap && t->out_at > 0) {
		memmove(t->out, t->out + t->out_at, t->out_len - t->out_at);
		t->out_len -= t->out_at;
		t->out_at = 0;
	}
	if (need > t->out_cap) {
		for (cap = OUT_START; cap < need; cap *= 2)
			;
		if ((v = realloc(t->out, cap)) == NULL)
			return -1;
		t->out = v;
		t->out_cap = cap;
	}
	memcpy(t->out + t->out_len, p, (size_t)n);
	t->out_len += (size_t)n;
	return n;
}

static int
mem_read(BIO *b, char *p, int n)
{
	struct tls *t = BIO_get_data(b);
	size_t have;
	ssize_t k;

	BIO_clear_retry_flags(b);
	if (n <= 0)
		return 0;
	if (t->in_at == t->in_len) {
		do
			k = recv(t->fd, t->in, IN, 0);
		while (k == -1 && errno == EINTR);
		if (k == -1 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			BIO_set_retry_read(b);
			return -1;
		}
		if (k <= 0) {
			t->eof = true;
			t->sys = k == -1 ? errno : 0;
			return 0;
		}
		t->in_at = 0;
		t->in_len = (size_t)k;
	}
	have = t->in_len - t->in_at;
	if (have > (size_t)n)
		have = (size_t)n;
	memcpy(p, t->in + t->in_at, have);
	t->in_at += have;
	return (int)have;
}

static long
mem_ctrl(BIO *b, int cmd, long n, void *p)
{
	struct tls *t = BIO_get_data(b);

	(void)n, (void)p;
	if (cmd == BIO_CTRL_EOF)
		return t->eof;
	return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;

static void
make_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() |
	    BIO_TYPE_SOURCE_SINK, "cala");

	if (m != NULL && BIO_meth_set_write(m, mem_write) == 1 &&
	    BIO_meth_set_read(m, mem_read) == 1 &&
	    BIO_meth_set_ctrl(m, mem_ctrl) == 1)
		method = m;
}

/* ---- whom we trust ---- */

static int
verify(X509_STORE_CTX *sc, void *arg)
{
	struct tls_check *c = arg;
	X509 *leaf = X509_STORE_CTX_get0_cert(sc);
	unsigned n = 0;

	if (leaf == NULL || X509_digest(leaf, EVP_sha256(), c->pin, &n) != 1 ||
	    n != PBS_PIN) {
		X509_STORE_CTX_set_error(sc, X509_V_ERR_UNSPECIFIED);
		return 0;
	}
	c->seen = true;
	if (c->target->pinned) {
		c->wrong = memcmp(c->pin, c->target->pin, PBS_PIN) != 0;
		X509_STORE_CTX_set_error(sc, c->wrong ?
		    X509_V_ERR_CERT_REJECTED : X509_V_OK);
		return !c->wrong;
	}
	if (c->target->insecure) {
		X509_STORE_CTX_set_error(sc, X509_V_OK);
		return 1;
	}
	if (X509_verify_cert(sc) == 1)
		return 1;
	(void)snprintf(c->why, sizeof(c->why), "%s",
	    X509_verify_cert_error_string(X509_STORE_CTX_get_error(sc)));
	return 0;
}

int
tls_trust(SSL_CTX *ctx, struct tls_check *c, struct err *e)
{
	X509_VERIFY_PARAM *p = SSL_CTX_get0_param(ctx);
	const struct pbs_target *t = c->target;

	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, verify, c);
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1)
		return err_set(e, CALA_TLS, "TLS: no version 1.2");
	if (t->pinned || t->insecure)
		return 0;
	/* of an address, or else of a name */
	if (X509_VERIFY_PARAM_set1_ip_asc(p, t->host) != 1 &&
	    X509_VERIFY_PARAM_set1_host(p, t->host, 0) != 1)
		return err_set(e, CALA_TLS, "TLS: no host name: '%s'",
		    str_q(t->host));
	if (t->cacert == NULL && SSL_CTX_set_default_verify_paths(ctx) != 1)
		return err_set(e, CALA_TLS, "the system's trust store can't "
		    "be read");
	if (t->cacert != NULL &&
	    SSL_CTX_load_verify_file(ctx, t->cacert) != 1)
		return err_set(e, CALA_TLS, "cacert %s: no certificates can "
		    "be read from it", str_q(t->cacert));
	return 0;
}

int
tls_distrust(const struct tls_check *c, struct err *e)
{
	char got[PBS_PRINT], want[PBS_PRINT];

	pbs_print_text(c->pin, got);
	if (c->wrong) {
		err_set(e, CALA_TLS, "the server's certificate has the "
		    "fingerprint %s, expected was %s", got,
		    pbs_print_text(c->target->pin, want));
		return err_hint(e, "was its certificate replaced? compare "
		    "with the dashboard of the server before you change "
		    "fingerprint");
	}
	err_set(e, CALA_TLS, "the server's certificate is not trusted: %s; "
	    "its fingerprint is %s", c->why, got);
	return err_hint(e, "if that is what the server's dashboard shows, set "
	    "it as fingerprint");
}

/* ---- the connection ---- */

/* What OpenSSL has to say, once. */
static int
failed(struct tls *t, const char *what, struct err *e)
{
	unsigned long n = ERR_get_error();
	const char *why = n != 0 ? ERR_reason_error_string(n) : NULL;

	ERR_clear_error();
	if (t->eof && t->sys != 0) {
		errno = t->sys;
		err_sys(e, "the connection failed");
		e->code = CALA_NET;
		return -1;
	}
	if (t->eof)
		return err_set(e, CALA_NET, "%s: the server closed the "
		    "connection", what);
	return err_set(e, CALA_NET, "%s: %s", what, why != NULL ? why :
	    "TLS failed");
}

static SSL_CTX *
context(struct tls *t, struct err *e)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (ctx == NULL) {
		err_set(e, CALA_TLS, "TLS can't start");
		return NULL;
	}
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION |
	    SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	/* the servers follow the client's taste; 128 bits are a third faster */
	if (SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:"
	    "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") != 1 ||
	    tls_trust(ctx, &t->check, e) == -1) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

static bool
literal(const char *host)
{
	ASN1_OCTET_STRING *ip = a2i_IPADDRESS(host);
	bool is = ip != NULL;

	ASN1_OCTET_STRING_free(ip);
	ERR_clear_error();
	return is;
}

static int
set_up(struct tls *t, struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const char *host = t->check.target->host;
	BIO *b;

	if (pthread_once(&once, make_method) != 0 || method == NULL)
		return err_set(e, CALA_FAIL, "TLS can't start");
	if ((t->in = malloc(IN)) == NULL)
		return err_oom(e);
	if ((t->ctx = context(t, e)) == NULL)
		return -1;
	if ((t->ssl = SSL_new(t->ctx)) == NULL ||
	    (b = BIO_new(method)) == NULL)
		return err_oom(e);
	BIO_set_data(b, t);
	BIO_set_init(b, 1);
	SSL_set_bio(t->ssl, b, b);
	SSL_set_connect_state(t->ssl);
	if (!literal(host) && SSL_set_tlsext_host_name(t->ssl, host) != 1)
		return err_oom(e);
	return 0;
}

static int
shake(struct tls *t, struct err *e)
{
	double deadline = when_mono() + HANDSHAKE;
	int n;

	for (;;) {
		ERR_clear_error();
		n = SSL_do_handshake(t->ssl);
		/* an alert, too, is to arrive */
		if (tls_flush(t, e) == -1 && n == 1)
			return -1;
		if (n == 1 && tls_unsent(t) == 0)
			return 0;
		if (n != 1 && SSL_get_error(t->ssl, n) !=
		    SSL_ERROR_WANT_READ)
			break;
		if (tls_wait(t, deadline, e) == -1)
			return -1;
	}
	if (t->check.seen && (t->check.wrong || *t->check.why != '\0'))
		return tls_distrust(&t->check, e);
	failed(t, "TLS handshake", e);
	if (!t->eof)
		e->code = CALA_TLS;
	return -1;
}

struct tls *
tls_open(const struct pbs_target *target, struct log *log, struct err *e)
{
	struct tls *t = calloc(1, sizeof(*t));
	char print[PBS_PRINT];

	if (t == NULL) {
		err_oom(e);
		return NULL;
	}
	t->fd = -1;
	t->check.target = target;
	if (set_up(t, e) == -1 || (t->fd = net_open(target, log, e)) == -1 ||
	    shake(t, e) == -1) {
		err_ctx(e, "%s", str_q(target->host));
		tls_free(t);
		return NULL;
	}
	log_wire(log, "%s, %s, fingerprint %s", SSL_get_version(t->ssl),
	    SSL_get_cipher_name(t->ssl), pbs_print_text(t->check.pin, print));
	return t;
}

void
tls_free(struct tls *t)
{
	struct err e;

	if (t == NULL)
		return;
	if (t->ssl != NULL && t->fd != -1 && !t->eof &&
	    SSL_is_init_finished(t->ssl)) {
		(void)SSL_shutdown(t->ssl);
		(void)tls_flush(t, &e);
	}
	ERR_clear_error();
	SSL_free(t->ssl);
	SSL_CTX_free(t->ctx);
	if (t->fd != -1)
		close(t->fd);
	free(t->in);
	free(t->out);
	free(t);
}

ssize_t
tls_read(struct tls *t, void *p, size_t n, struct err *e)
{
	size_t got = 0;
	int k;

	ERR_clear_error();
	if (SSL_read_ex(t->ssl, p, n, &got) == 1)
		return (ssize_t)got;
	k = SSL_get_error(t->ssl, 0);
	if (k == SSL_ERROR_WANT_READ)
		return 0;
	if (k == SSL_ERROR_ZERO_RETURN)
		t->eof = true;
	return failed(t, "read", e);
}

int
tls_write(struct tls *t, const void *p, size_t n, struct err *e)
{
	size_t done = 0;

	if (n == 0)
		return 0;
	ERR_clear_error();
	if (SSL_write_ex(t->ssl, p, n, &done) == 1 && done == n)
		return 0;
	return failed(t, "write", e);
}

int
tls_flush(struct tls *t, struct err *e)
{
	ssize_t n;

	while (t->out_at < t->out_len) {
		n = send(t->fd, t->out + t->out_at, t->out_len - t->out_at,
		    MSG_NOSIGNAL);
		if (n >= 0) {
			t->out_at += (size_t)n;
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			return 0;
		} else if (errno != EINTR) {
			err_sys(e, "the connection failed");
			e->code = CALA_NET;
			return -1;
		}
	}
	return 0;
}

size_t
tls_unsent(const struct tls *t)
{
	return t->out_len - t->out_at;
}

int
tls_fd(const struct tls *t)
{
	return t->fd;
}

int
tls_wait(struct tls *t, double deadline, struct err *e)
{
	short events = (short)(POLLIN | (tls_unsent(t) > 0 ? POLLOUT : 0));

	switch (net_wait(t->fd, events, deadline, e)) {
	case 0:
		return err_set(e, CALA_NET, "no answer in time");
	case -1:
		return -1;
	default:
		return tls_unsent(t) > 0 ? tls_flush(t, e) : 0;
	}
}
