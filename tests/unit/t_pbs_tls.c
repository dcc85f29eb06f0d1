/* Whom we trust, and the way up to HTTP/2. */

#include "unit.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/stop.h"
#include "pbs/answer.h"
#include "pbs/crypt.h"
#include "pbs/h2.h"
#include "pbs/rest.h"
#include "pbs/session.h"
#include "pbs/target.h"
#include "pbs/tls.h"
#include "pbs_peer.h"

static struct peer peer;
static struct log logger;
static struct secret secret = SECRET_INIT;
static char pem[] = "/tmp/cala-t-pbs-XXXXXX";
static const struct pbs_snap snap = { .id = "calagopus-x", .time = 1700000000 };

static void *
serve(void *arg)
{
	(void)arg;
	peer_one(&peer);
	return NULL;
}

/* Until somebody got an answer. */
static void *
serve_all(void *arg)
{
	(void)arg;
	do
		peer_one(&peer);
	while (strstr(peer.head, "\r\n\r\n") == NULL);
	return NULL;
}

static struct pbs_target
target(void)
{
	struct pbs_target t = { .host = "127.0.0.1", .port = peer.port,
	    .pinned = true, .datastore = "store1", .token_id = "a@b!c",
	    .token_secret = &secret, .answer = 60 };

	memcpy(t.pin, peer.pin, sizeof(t.pin));
	return t;
}

/* A session with a peer that serves one connection. */
static struct h2 *
session(const struct pbs_target *t, pthread_t *thread, struct err *e)
{
	struct h2 *h;

	assert_int_equal(pthread_create(thread, NULL, serve, NULL), 0);
	h = pbs_session(t, "backup", &snap, &logger, e);
	if (h == NULL)
		pthread_join(*thread, NULL);
	return h;
}

static void
leave(struct h2 *h, pthread_t thread)
{
	h2_free(h);
	pthread_join(thread, NULL);
}

static void
urls(void **state)
{
	static const struct { const char *url, *host; unsigned port; } t[] = {
		{ "https://pbs.example", "pbs.example", 8007 },
		{ "https://pbs.example/", "pbs.example", 8007 },
		{ "HTTPS://pbs.example:443//", "pbs.example", 443 },
		{ "https://192.0.2.1:1", "192.0.2.1", 1 },
		{ "https://[2001:db8::1]", "2001:db8::1", 8007 },
		{ "https://[::1]:65535/", "::1", 65535 },
		{ "http://pbs.example", NULL, 0 },
		{ "pbs.example", NULL, 0 },
		{ "https://", NULL, 0 },
		{ "https:///", NULL, 0 },
		{ "https://a:0", NULL, 0 },
		{ "https://a:65536", NULL, 0 },
		{ "https://a:12x", NULL, 0 },
		{ "https://a:", NULL, 0 },
		{ "https://u@a", NULL, 0 },
		{ "https://a/api2", NULL, 0 },
		{ "https://a?x", NULL, 0 },
		{ "https://[::1", NULL, 0 },
		{ "https://[::1]x", NULL, 0 },
		{ "https://[x]", NULL, 0 },
		{ "https://[]", NULL, 0 },
		{ "https://a b", NULL, 0 },
	};
	struct pbs_target p;
	struct err e = ERR_INIT;
	struct buf b;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		memset(&p, 0, sizeof(p));
		if (t[i].host == NULL) {
			if (pbs_target_url(&p, t[i].url, &e) == 0)
				fail_msg("%s was taken", t[i].url);
			assert_int_equal(e.code, CALA_USAGE);
			continue;
		}
		assert_ok(pbs_target_url(&p, t[i].url, &e), &e);
		assert_string_equal(p.host, t[i].host);
		assert_int_equal(p.port, t[i].port);
	}
	assert_ok(pbs_target_url(&p, "https://[::1]:7", &e), &e);
	buf_init(&b, 100);
	pbs_target_url_text(&p, &b);
	assert_string_equal(b.p, "https://[::1]:7");
	buf_fini(&b);
}

static void
pins(void **state)
{
	static const char *const good[] = {
		"dd6af0afeb19b31cadb33edf654af88a51572817e6b838e9db11d5e6a525b3e9",
		"DD:6A:F0:AF:EB:19:B3:1C:AD:B3:3E:DF:65:4A:F8:8A:51:57:28:17:E6:B8:38:E9:DB:11:D5:E6:A5:25:B3:E9",
		"  Dd:6A:f0:af:eb:19:b3:1c:ad:b3:3e:df:65:4a:f8:8a:51:57:28:17:e6:b8:38:e9:db:11:d5:e6:a5:25:b3:e9\t",
	};
	static const char *const bad[] = {
		"", " ", "dd", "dd:6a",
		"dd6af0afeb19b31cadb33edf654af88a51572817e6b838e9db11d5e6a525b3",
		"dd6af0afeb19b31cadb33edf654af88a51572817e6b838e9db11d5e6a525b3e900",
		"xd6af0afeb19b31cadb33edf654af88a51572817e6b838e9db11d5e6a525b3e9",
	};
	struct pbs_target p = { .pinned = false };
	struct err e = ERR_INIT;
	char text[PBS_PRINT];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(pbs_target_pin(&p, bad[i], &e), -1);
		assert_int_equal(e.code, CALA_USAGE);
		assert_false(p.pinned);
	}
	for (i = 0; i < sizeof(good) / sizeof(*good); i++) {
		memset(&p, 0, sizeof(p));
		assert_ok(pbs_target_pin(&p, good[i], &e), &e);
		assert_true(p.pinned);
		assert_string_equal(pbs_print_text(p.pin, text),
		    "dd:6a:f0:af:eb:19:b3:1c:ad:b3:3e:df:65:4a:f8:8a:51:57:28:"
		    "17:e6:b8:38:e9:db:11:d5:e6:a5:25:b3:e9");
	}
}

static void
schemas(void **state)
{
	struct pbs_target t = target();
	static const char *const ns[] = { "a//b", "/a", "a/", "-a",
	    "a/b/c/d/e/f/g/h", "a b", "..",
	    "a23456789012345678901234567890123" };
	static const char *const stores[] = { "ab", "a/b", "-ab", "",
	    "a23456789012345678901234567890123" };
	static const char *const tokens[] = { "a@b", "a!c", "@b!c", "a@!c",
	    "a@b!", "a:x@b!c", "a @b!c", "a@b!c/d" };
	struct err e = ERR_INIT;
	struct buf q;
	size_t i;

	(void)state;
	assert_ok(pbs_target_check(&t, &e), &e);
	t.ns = "a/b.c/D_e-f";
	assert_ok(pbs_target_check(&t, &e), &e);
	for (i = 0; i < sizeof(ns) / sizeof(*ns); i++) {
		t.ns = ns[i];
		if (pbs_target_check(&t, &e) == 0)
			fail_msg("namespace %s was taken", ns[i]);
		assert_int_equal(e.code, CALA_USAGE);
	}
	t = target();
	for (i = 0; i < sizeof(stores) / sizeof(*stores); i++) {
		t.datastore = stores[i];
		if (pbs_target_check(&t, &e) == 0)
			fail_msg("datastore %s was taken", stores[i]);
	}
	t = target();
	for (i = 0; i < sizeof(tokens) / sizeof(*tokens); i++) {
		t.token_id = tokens[i];
		if (pbs_target_check(&t, &e) == 0)
			fail_msg("token %s was taken", tokens[i]);
	}
	/* the last @ and the last ! separate */
	t.token_id = "a@b@c!d!e";
	assert_int_equal(pbs_target_check(&t, &e), -1);
	t.token_id = "a@x@c!d";
	assert_ok(pbs_target_check(&t, &e), &e);
	buf_init(&q, 1000);
	buf_str(&q, "/x");
	pbs_param(&q, "a", "b c/+%\xc3\xa4*-._");
	pbs_param_i64(&q, "n", INT64_MIN);
	assert_string_equal(q.p, "/x?a=b%20c%2F%2B%25%C3%A4*-._&n="
	    "-9223372036854775808");
	buf_reset(&q);
	pbs_param_snap(&q, &snap);
	assert_string_equal(q.p, "backup-type=host&backup-id=calagopus-x&"
	    "backup-time=1700000000");
	buf_reset(&q);
	pbs_escape(&q, "UPID:a_b\\x3a:");
	assert_string_equal(q.p, "UPID%3Aa%5Fb%5Cx3a%3A");
	buf_fini(&q);
}

static void
sentences(void **state)
{
	static const struct { unsigned status; const char *text; int code; }
	t[] = {
		{ 401, "", CALA_AUTH }, { 403, "x", CALA_AUTH },
		{ 404, "x", CALA_NOTFOUND }, { 500, "x", CALA_NET },
		{ 503, "", CALA_NET }, { 302, "", CALA_NET },
		{ 400, "x", CALA_FAIL }, { 400, "", CALA_FAIL },
		{ 400, "backup owner check failed (a != b)", CALA_AUTH },
		{ 400, "unable to acquire lock on snapshot directory \"x\" - "
		    "another backup is already running", CALA_LOCKED },
		{ 400, "unable to acquire backup group lock \"x\"",
		    CALA_LOCKED },
		{ 400, "backup timestamp is older than last backup.",
		    CALA_EXISTS },
		{ 400, "backup directory already exists.", CALA_EXISTS },
		{ 400, "write failed: No space left on device (os error 28)",
		    CALA_NOSPACE },
		{ 400, "EDQUOT: Quota exceeded", CALA_NOSPACE },
		{ 400, "datastore 's' is in read-only maintenance mode",
		    CALA_MAINTENANCE },
		{ 400, "no such datastore 'x'", CALA_NOTFOUND },
		{ 400, "cannot remove protected snapshot", CALA_PROTECTED },
	};
	struct err e = ERR_INIT;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		assert_int_equal(pbs_refused(&e, "it", t[i].status,
		    t[i].text), -1);
		if (e.code != t[i].code)
			fail_msg("%u '%s' is %d", t[i].status, t[i].text,
			    e.code);
	}
	(void)pbs_refused(&e, "it", 400, "a\x1b[31mb\r\nsecond\n");
	assert_string_equal(e.msg, "it: server said 400: a\\x1b[31mb ...");
	(void)pbs_refused(&e, "it", 400, "");
	assert_string_equal(e.msg, "it: server said 400");
}

static void
heads(void **state)
{
	static const char ok[] = "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"
	    "rest";
	static char huge[20000];
	struct err e = ERR_INIT;
	unsigned status = 0;
	size_t end = 0, i;

	(void)state;
	for (i = 1; i < sizeof(ok) - 5; i++)
		assert_int_equal(pbs_hello_parse(ok, i, &status, &end, &e), 0);
	assert_int_equal(pbs_hello_parse(ok, sizeof(ok) - 1, &status, &end,
	    &e), 1);
	assert_int_equal(status, 101);
	assert_string_equal(ok + end, "rest");
	assert_int_equal(pbs_hello_parse("HTTP/1.0 200", 12, &status, &end,
	    &e), -1);
	assert_int_equal(pbs_hello_parse("SSH-2.0", 7, &status, &end, &e), -1);
	assert_int_equal(pbs_hello_parse("HTTP/1.1 \r\n\r\n", 13, &status,
	    &end, &e), -1);
	assert_int_equal(pbs_hello_parse("HTTP/1.1 9x9 \r\n\r\n", 17, &status,
	    &end, &e), -1);
	memset(huge, 'a', sizeof(huge));
	memcpy(huge, "HTTP/1.1 101 ", 13);
	assert_int_equal(pbs_hello_parse(huge, sizeof(huge), &status, &end,
	    &e), -1);
	assert_int_equal(e.code, CALA_NET);
}

/* The pin decides alone: the certificate is nobody's, and for another name. */
static void
pinned(void **state)
{
	struct pbs_target t = target();
	struct err e = ERR_INIT;
	char want[PBS_PRINT], got[PBS_PRINT];
	pthread_t thread;
	struct h2 *h;

	(void)state;
	h = session(&t, &thread, &e);
	if (h == NULL)
		fail_msg("%s", e.msg);
	leave(h, thread);
	assert_non_null(strstr(peer.head, "GET /api2/json/backup?backup-type="
	    "host&backup-id=calagopus-x&backup-time=1700000000&store=store1 "
	    "HTTP/1.1\r\n"));
	assert_non_null(strstr(peer.head, "\r\nAuthorization: PBSAPIToken="
	    "a@b!c:se%20cret%25\r\n"));
	assert_non_null(strstr(peer.head,
	    "\r\nUpgrade: proxmox-backup-protocol-v1\r\n"));
	/* another one, even where the system would trust it */
	t.pin[31] ^= 1;
	t.cacert = pem;
	snprintf(t.host, sizeof(t.host), "localhost");
	assert_null(session(&t, &thread, &e));
	assert_int_equal(e.code, CALA_TLS);
	assert_non_null(strstr(e.msg, pbs_print_text(t.pin, want)));
	assert_non_null(strstr(e.msg, pbs_print_text(peer.pin, got)));
	/* nothing of ours was said before that */
	assert_string_equal(peer.head, "");
}

static void
trusted(void **state)
{
	struct pbs_target t = target();
	struct err e = ERR_INIT;
	char got[PBS_PRINT];
	pthread_t thread;
	struct h2 *h;

	(void)state;
	t.pinned = false;
	t.cacert = pem;
	h = session(&t, &thread, &e);
	if (h == NULL)
		fail_msg("by address: %s", e.msg);
	leave(h, thread);
	snprintf(t.host, sizeof(t.host), "localhost");
	h = session(&t, &thread, &e);
	if (h == NULL)
		fail_msg("by name: %s", e.msg);
	leave(h, thread);
	/* the system has never heard of it */
	t.cacert = NULL;
	assert_null(session(&t, &thread, &e));
	assert_int_equal(e.code, CALA_TLS);
	assert_non_null(strstr(e.msg, pbs_print_text(peer.pin, got)));
	t.insecure = true;
	h = session(&t, &thread, &e);
	if (h == NULL)
		fail_msg("insecure: %s", e.msg);
	leave(h, thread);
	t.insecure = false;
	t.cacert = "/nonexistent";
	assert_null(pbs_session(&t, "backup", &snap, &logger, &e));
	assert_int_equal(e.code, CALA_TLS);
}

/* Trusted, but for another host. */
static void
other_name(void **state)
{
	struct pbs_target t = target();
	struct err e = ERR_INIT;
	struct peer mine = peer;
	char path[] = "/tmp/cala-t-pbs-XXXXXX";
	pthread_t thread;
	int fd = mkstemp(path);

	(void)state;
	assert_int_not_equal(fd, -1);
	close(fd);
	peer_open(&peer, "pbs.example", path);
	t.pinned = false;
	t.cacert = path;
	t.port = peer.port;
	snprintf(t.host, sizeof(t.host), "localhost");
	assert_null(session(&t, &thread, &e));
	assert_int_equal(e.code, CALA_TLS);
	assert_non_null(strstr(e.msg, "ostname mismatch"));
	assert_string_equal(peer.head, "");
	unlink(path);
	peer_close(&peer);
	peer = mine;
}

/* 1.2 will do, and nothing older. */
static void
versions(void **state)
{
	struct pbs_target t = target();
	struct h2_req r = { .method = "POST", .path = "/sink" };
	struct err e = ERR_INIT;
	pthread_t thread;
	struct h2 *h;

	(void)state;
	assert_int_equal(SSL_CTX_set_max_proto_version(peer.ctx,
	    TLS1_2_VERSION), 1);
	h = session(&t, &thread, &e);
	if (h == NULL)
		fail_msg("%s", e.msg);
	assert_ok(h2_call(h, &r, &e), &e);
	leave(h, thread);
	assert_int_equal(SSL_CTX_set_min_proto_version(peer.ctx,
	    TLS1_VERSION), 1);
	assert_int_equal(SSL_CTX_set_max_proto_version(peer.ctx,
	    TLS1_1_VERSION), 1);
	assert_null(session(&t, &thread, &e));
	assert_int_equal(e.code, CALA_TLS);
	assert_int_equal(SSL_CTX_set_max_proto_version(peer.ctx, 0), 1);
}

static void
refusals(void **state)
{
	static const struct { const char *hello; int code; const char *text; }
	t[] = {
		{ "HTTP/1.1 400 Bad\r\ncontent-length: 38\r\n\r\n"
		    "backup timestamp is older than last ba", CALA_FAIL,
		    "older than last ba" },
		{ "HTTP/1.1 403 No\r\ncontent-type: application/json\r\n"
		    "Content-Length: 2\r\n\r\nno", CALA_AUTH, "403: no" },
		{ "HTTP/1.1 400 Bad\r\ntransfer-encoding: chunked\r\n\r\n"
		    "5\r\nanoth\r\n1d\r\ner backup is already running.\r\n"
		    "0\r\n\r\n", CALA_LOCKED, "another backup is already "
		    "running." },
		{ "HTTP/1.1 404 No\r\n\r\nno namespace", CALA_NOTFOUND,
		    "no namespace" },
		{ "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", CALA_FAIL,
		    "200" },
		{ "SSH-2.0-OpenSSH\r\n", CALA_NET, "no Proxmox" },
		{ "HTTP/1.1 101 Switching", CALA_NET, "closed" },
		{ "", CALA_NET, "closed" },
	};
	struct pbs_target p = target();
	struct err e = ERR_INIT;
	pthread_t thread;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		peer.hello = t[i].hello;
		assert_null(session(&p, &thread, &e));
		if (e.code != t[i].code || strstr(e.msg, t[i].text) == NULL)
			fail_msg("%zu: %d %s", i, e.code, e.msg);
	}
	peer.hello = NULL;
}

static void
byte_by_byte(void **state)
{
	struct pbs_target t = target();
	struct h2_req r = { .method = "POST", .path = "/sink" };
	struct err e = ERR_INIT;
	pthread_t thread;
	struct h2 *h;

	(void)state;
	peer.bytewise = true;
	h = session(&t, &thread, &e);
	if (h == NULL)
		fail_msg("%s", e.msg);
	assert_ok(h2_call(h, &r, &e), &e);
	assert_int_equal(r.status, 200);
	leave(h, thread);
	peer.bytewise = false;
}

static void
unreachable(void **state)
{
	struct pbs_target t = target();
	struct err e = ERR_INIT;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);

	(void)state;
	/* a port that is ours and does not listen */
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	t.port = ntohs(a.sin_port);
	assert_null(pbs_session(&t, "backup", &snap, &logger, &e));
	assert_int_equal(e.code, CALA_NET);
	assert_non_null(strstr(e.msg, "127.0.0.1"));
	t.proxy = "socks5://who:hush@x";
	assert_null(pbs_session(&t, "backup", &snap, &logger, &e));
	assert_int_equal(e.code, CALA_USAGE);
	assert_null(strstr(e.msg, "hush"));
	assert_int_equal(pbs_target_url(&t, "https://who:hush@x", &e), -1);
	assert_null(strstr(e.msg, "hush"));
	close(fd);
}

/* Asked to stop, nothing is begun and nothing is waited for. */
static void
stopped(void **state)
{
	struct pbs_target t = target();
	struct err e = ERR_INIT;
	struct pbs_rest *r = pbs_rest_new(&t, &logger, &e);
	pthread_t thread;

	(void)state;
	assert_non_null(r);
	stop_set(SIGINT);
	assert_int_equal(pbs_ping(r, &e), -1);
	assert_int_equal(e.code, CALA_SIGNAL + SIGINT);
	assert_null(pbs_session(&t, "backup", &snap, &logger, &e));
	assert_int_equal(e.code, CALA_SIGNAL + SIGINT);
	/* but for what tidies up */
	peer.hello = "HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n"
	    "{\"data\":{\"pong\":true}}";
	/* what was given up may still wait in the listener's queue */
	assert_int_equal(pthread_create(&thread, NULL, serve_all, NULL), 0);
	pbs_rest_last_words(r, true);
	assert_ok(pbs_ping(r, &e), &e);
	stop_set(0);
	pbs_rest_free(r);
	pthread_join(thread, NULL);
	peer.hello = NULL;
}

static int
begin(void **state)
{
	struct err e = ERR_INIT;
	int fd = mkstemp(pem);

	(void)state;
	if (fd == -1)
		return -1;
	close(fd);
	signal(SIGPIPE, SIG_IGN);       /* the peer's */
	log_init(&logger, NULL, "t");
	peer_open(&peer, "localhost", pem);
	return secret_set(&secret, "se cret%", 8, &e);
}

static int
end(void **state)
{
	(void)state;
	peer_close(&peer);
	secret_free(&secret);
	log_fini(&logger);
	unlink(pem);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(urls), cmocka_unit_test(pins),
		cmocka_unit_test(schemas), cmocka_unit_test(sentences),
		cmocka_unit_test(heads), cmocka_unit_test(pinned),
		cmocka_unit_test(trusted), cmocka_unit_test(other_name),
		cmocka_unit_test(versions), cmocka_unit_test(refusals),
		cmocka_unit_test(byte_by_byte), cmocka_unit_test(unreachable),
		cmocka_unit_test(stopped),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
