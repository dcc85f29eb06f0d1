#ifndef CALA_TESTS_PBS_PEER_H
#define CALA_TESTS_PBS_PEER_H

/*
 * The other side of lib/pbs's wire, in C: TLS with a certificate made on the
 * spot, the upgrade, and an HTTP/2 server that does what the path says:
 *
 *	/sink        takes the body, answers {"data":SIZE}
 *	/give?N      N bytes
 *	/short?N     says N bytes and sends half of them
 *	/no?STATUS   a refusal with a text, before the body was taken
 *	/silent      no answer
 *	/rst         RST_STREAM
 *	/goaway      GOAWAY, counting what came before this request, and the end
 *	/cut         the connection ends
 *	/junk        what is no frame
 *
 * One connection after another, one thread or process; a peer must not be
 * faster than it is read.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nghttp2/nghttp2.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

struct peer {
	int listener;
	uint16_t port;
	SSL_CTX *ctx;
	unsigned char pin[32];
	/* how it behaves */
	const char *hello;              /* in place of a 101, or NULL */
	uint32_t window;                /* of a stream; 0: 32 MiB */
	uint32_t streams;               /* MAX_CONCURRENT_STREAMS, or 0 */
	bool bytewise;                  /* 101 and settings byte by byte */
	/* what it saw */
	unsigned requests;              /* since it started */
	char head[4096];                /* of the last HTTP/1.1 request */
	uint64_t received;              /* bytes of bodies, this connection */
	uint64_t first;                 /* when the first body was whole */
	/* one connection */
	SSL *ssl;
	nghttp2_session *ng;
	bool over;
};

struct peer_stream {
	uint64_t got, left;
	bool shorter;
	char path[256];
	char answer[64];
	size_t nanswer, at;
	const char *status;
};

/* A key and a certificate for NAME and 127.0.0.1. */
static inline X509 *
peer_certificate(const char *name, EVP_PKEY **key)
{
	X509 *x = X509_new();
	X509_NAME *n;
	X509_EXTENSION *ext;
	char san[256];

	*key = EVP_EC_gen("P-256");
	if (x == NULL || *key == NULL)
		abort();
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_set_pubkey(x, *key);
	n = X509_get_subject_name(x);
	X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_ASC,
	    (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(x, n);
	snprintf(san, sizeof(san), "DNS:%s,IP:127.0.0.1", name);
	if ((ext = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name,
	    san)) == NULL)
		abort();
	X509_add_ext(x, ext, -1);
	X509_EXTENSION_free(ext);
	if (X509_sign(x, *key, EVP_sha256()) == 0)
		abort();
	return x;
}

/* peer_open(p, name, pem): listen; pem: write the certificate there, too. */
static inline void
peer_open(struct peer *p, const char *name, const char *pem)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	EVP_PKEY *key;
	X509 *x = peer_certificate(name, &key);
	unsigned n = 0;
	FILE *f;

	memset(p, 0, sizeof(*p));
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->listener == -1 || bind(p->listener, (struct sockaddr *)&a,
	    sizeof(a)) == -1 || listen(p->listener, 16) == -1 ||
	    getsockname(p->listener, (struct sockaddr *)&a, &len) == -1)
		abort();
	p->port = ntohs(a.sin_port);
	p->ctx = SSL_CTX_new(TLS_server_method());
	if (p->ctx == NULL || SSL_CTX_use_certificate(p->ctx, x) != 1 ||
	    SSL_CTX_use_PrivateKey(p->ctx, key) != 1 ||
	    X509_digest(x, EVP_sha256(), p->pin, &n) != 1)
		abort();
	SSL_CTX_set_read_ahead(p->ctx, 1);
	SSL_CTX_set_default_read_buffer_len(p->ctx, 64 << 10);
	if (pem != NULL) {
		if ((f = fopen(pem, "w")) == NULL ||
		    PEM_write_X509(f, x) != 1 || fclose(f) != 0)
			abort();
	}
	X509_free(x);
	EVP_PKEY_free(key);
}

static inline void
peer_close(struct peer *p)
{
	SSL_CTX_free(p->ctx);
	close(p->listener);
}

/* ---- HTTP/2 ---- */

static inline ssize_t
peer_read_answer(nghttp2_session *ng, int32_t id, uint8_t *out, size_t n,
    uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct peer_stream *s = source->ptr;

	(void)ng, (void)id, (void)arg;
	if (s->nanswer > 0) {
		if (n > s->nanswer - s->at)
			n = s->nanswer - s->at;
		memcpy(out, s->answer + s->at, n);
		s->at += n;
		if (s->at == s->nanswer)
			*flags |= NGHTTP2_DATA_FLAG_EOF;
		return (ssize_t)n;
	}
	if (n > s->left)
		n = (size_t)s->left;
	/* every byte says where it is */
	memset(out, (int)(s->left & 0xff), n);
	s->left -= n;
	if (s->left == 0 && s->shorter)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (s->left == 0)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static inline nghttp2_nv
peer_nv(const char *name, const char *value)
{
	nghttp2_nv v = { (uint8_t *)(uintptr_t)name,
	    (uint8_t *)(uintptr_t)value, strlen(name), strlen(value), 0 };

	return v;
}

static inline void
peer_answer(struct peer *p, int32_t id, struct peer_stream *s)
{
	nghttp2_data_provider body = { { .ptr = s }, peer_read_answer };
	nghttp2_nv nv[2];
	char length[24];
	size_t n = 1;

	nv[0] = peer_nv(":status", s->status);
	if (s->nanswer == 0) {
		snprintf(length, sizeof(length), "%ju", (uintmax_t)s->left);
		nv[n++] = peer_nv("content-length", length);
		if (s->shorter)
			s->left /= 2;
	}
	nghttp2_submit_response(p->ng, id, nv, n,
	    s->nanswer == 0 && s->left == 0 ? NULL : &body);
}

static inline int
peer_on_begin(nghttp2_session *ng, const nghttp2_frame *f, void *arg)
{
	struct peer_stream *s = calloc(1, sizeof(*s));

	(void)arg;
	if (s == NULL)
		abort();
	s->status = "200";
	nghttp2_session_set_stream_user_data(ng, f->hd.stream_id, s);
	return 0;
}

static inline int
peer_on_header(nghttp2_session *ng, const nghttp2_frame *f,
    const uint8_t *name, size_t nname, const uint8_t *value, size_t nvalue,
    uint8_t flags, void *arg)
{
	struct peer_stream *s = nghttp2_session_get_stream_user_data(ng,
	    f->hd.stream_id);

	(void)flags, (void)arg;
	if (s != NULL && nname == 5 && memcmp(name, ":path", 5) == 0)
		snprintf(s->path, sizeof(s->path), "%.*s", (int)nvalue,
		    (const char *)value);
	return 0;
}

static inline int
peer_on_data(nghttp2_session *ng, uint8_t flags, int32_t id,
    const uint8_t *data, size_t n, void *arg)
{
	struct peer *p = arg;
	struct peer_stream *s = nghttp2_session_get_stream_user_data(ng, id);

	(void)flags, (void)data;
	p->received += n;
	if (s != NULL)
		s->got += n;
	return 0;
}

static inline int
peer_on_frame(nghttp2_session *ng, const nghttp2_frame *f, void *arg)
{
	struct peer *p = arg;
	struct peer_stream *s;
	uint64_t n;

	if (f->hd.type != NGHTTP2_HEADERS && f->hd.type != NGHTTP2_DATA)
		return 0;
	s = nghttp2_session_get_stream_user_data(ng, f->hd.stream_id);
	if (s == NULL)
		return 0;
	n = strchr(s->path, '?') != NULL ?
	    strtoull(strchr(s->path, '?') + 1, NULL, 10) : 0;
	if (f->hd.type == NGHTTP2_HEADERS && strncmp(s->path, "/no?", 4) == 0) {
		p->requests++;
		s->status = strchr(s->path, '?') + 1;
		s->nanswer = (size_t)snprintf(s->answer, sizeof(s->answer),
		    "no: %s", s->path);
		peer_answer(p, f->hd.stream_id, s);
		return 0;
	}
	if ((f->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
		return 0;
	if (strncmp(s->path, "/no?", 4) != 0)
		p->requests++;
	if (s->got > 0 && p->first == 0)
		p->first = p->received;
	if (strcmp(s->path, "/sink") == 0) {
		s->nanswer = (size_t)snprintf(s->answer, sizeof(s->answer),
		    "{\"data\":%ju}", (uintmax_t)s->got);
		peer_answer(p, f->hd.stream_id, s);
	} else if (strncmp(s->path, "/give?", 6) == 0 ||
	    strncmp(s->path, "/short?", 7) == 0) {
		s->left = n;
		s->shorter = s->path[1] == 's';
		peer_answer(p, f->hd.stream_id, s);
	} else if (strcmp(s->path, "/rst") == 0) {
		nghttp2_submit_rst_stream(ng, 0, f->hd.stream_id,
		    NGHTTP2_INTERNAL_ERROR);
	} else if (strcmp(s->path, "/goaway") == 0) {
		nghttp2_submit_goaway(ng, 0, f->hd.stream_id - 2,
		    NGHTTP2_ENHANCE_YOUR_CALM, (const uint8_t *)"enough", 6);
		p->over = true;
	} else if (strcmp(s->path, "/cut") == 0) {
		p->over = true;
	} else if (strcmp(s->path, "/junk") == 0) {
		char junk[200];

		memset(junk, 0xee, sizeof(junk));
		SSL_write(p->ssl, junk, sizeof(junk));
	}
	return 0;
}

static inline int
peer_on_close(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
	(void)code, (void)arg;
	free(nghttp2_session_get_stream_user_data(ng, id));
	nghttp2_session_set_stream_user_data(ng, id, NULL);
	return 0;
}

/* What is to be sent, in large pieces: a record for a frame is too many. */
static inline int
peer_send(struct peer *p)
{
	static const size_t room = 64 << 10;
	unsigned char *out = malloc(2 * room);
	const uint8_t *data;
	size_t have = 0;
	ssize_t n;
	int ret = 0;

	if (out == NULL)
		abort();
	do {
		n = nghttp2_session_mem_send(p->ng, &data);
		if (n > 0) {
			memcpy(out + have, data, (size_t)n);
			have += (size_t)n;
		}
		if (have > 0 && (have > room || n <= 0)) {
			if (SSL_write(p->ssl, out, (int)have) <= 0)
				ret = -1;
			have = 0;
		}
	} while (n > 0 && ret == 0);
	free(out);
	return n < 0 ? -1 : ret;
}

static inline void
peer_free_streams(struct peer *p)
{
	int32_t id;

	for (id = 1; id <= nghttp2_session_get_last_proc_stream_id(p->ng);
	    id += 2)
		if (nghttp2_session_find_stream(p->ng, id) != NULL)
			free(nghttp2_session_get_stream_user_data(p->ng, id));
}

static inline void
peer_http2(struct peer *p)
{
	uint32_t window = p->window != 0 ? p->window : 32u << 20;
	nghttp2_settings_entry s[3] = {
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window },
		{ NGHTTP2_SETTINGS_MAX_FRAME_SIZE, 4 << 20 },
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, p->streams },
	};
	static const size_t room = 64 << 10;
	nghttp2_session_callbacks *cb;
	unsigned char *in = malloc(room);
	int n;

	if (in == NULL || nghttp2_session_callbacks_new(&cb) != 0)
		abort();
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb,
	    peer_on_begin);
	nghttp2_session_callbacks_set_on_header_callback(cb, peer_on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb,
	    peer_on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb,
	    peer_on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb,
	    peer_on_close);
	if (nghttp2_session_server_new(&p->ng, cb, p) != 0)
		abort();
	nghttp2_session_callbacks_del(cb);
	nghttp2_submit_settings(p->ng, 0, s, p->streams != 0 ? 3 : 2);
	nghttp2_session_set_local_window_size(p->ng, 0, 0,
	    window < 65535 ? 65535 : (int32_t)window);
	p->over = false;
	p->received = p->first = 0;
	for (;;) {
		if (peer_send(p) == -1 || p->over)
			break;
		n = SSL_read(p->ssl, in, (int)room);
		if (n <= 0 || nghttp2_session_mem_recv(p->ng, in,
		    (size_t)n) < 0)
			break;
	}
	peer_free_streams(p);
	nghttp2_session_del(p->ng);
	free(in);
}

static inline void
peer_say(struct peer *p, const char *text)
{
	size_t i, n = strlen(text), step = p->bytewise ? 1 : n;

	for (i = 0; i < n; i += step)
		if (SSL_write(p->ssl, text + i, (int)step) <= 0)
			return;
}

/* peer_one(p): a connection, from its first byte to its last. */
static inline void
peer_one(struct peer *p)
{
	int fd = accept(p->listener, NULL, NULL), one = 1, n;
	size_t have = 0;

	if (fd == -1)
		return;
	p->head[0] = '\0';
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	p->ssl = SSL_new(p->ctx);
	SSL_set_fd(p->ssl, fd);
	if (SSL_accept(p->ssl) == 1) {
		while (strstr(p->head, "\r\n\r\n") == NULL &&
		    have < sizeof(p->head) - 1) {
			n = SSL_read(p->ssl, p->head + have,
			    (int)(sizeof(p->head) - 1 - have));
			if (n <= 0)
				goto out;
			have += (size_t)n;
			p->head[have] = '\0';
		}
		if (p->hello != NULL) {
			peer_say(p, p->hello);
		} else {
			peer_say(p, "HTTP/1.1 101 Switching Protocols\r\n"
			    "connection: upgrade\r\nupgrade: x\r\n\r\n");
			peer_http2(p);
		}
		SSL_shutdown(p->ssl);
	}
out:
	SSL_free(p->ssl);
	close(fd);
}

#endif
