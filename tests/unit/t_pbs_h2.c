/* Many requests over one connection, and every way in which it may end. */

#include "unit.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/rate.h"
#include "base/secret.h"
#include "base/stop.h"
#include "base/when.h"
#include "pbs/h2.h"
#include "pbs/session.h"
#include "pbs/target.h"
#include "pbs_peer.h"

enum { MIB = 1 << 20 };

static struct peer peer;
static struct log logger;
static struct secret secret = SECRET_INIT;
static unsigned char *bytes;            /* 8 MiB */

struct wired {
	struct h2 *h;
	pthread_t thread;
};

static void *
serve(void *arg)
{
	(void)arg;
	peer_one(&peer);
	return NULL;
}

static struct rate *limit;

static struct wired
wire(uint64_t in_flight, unsigned stall)
{
	const struct pbs_snap s = { .id = "x", .time = 1 };
	struct pbs_target t = { .host = "127.0.0.1", .port = peer.port,
	    .pinned = true, .datastore = "store1", .token_id = "a@b!c",
	    .token_secret = &secret, .in_flight = in_flight,
	    .stall = stall, .rate = limit };
	struct err e = ERR_INIT;
	struct wired w;

	memcpy(t.pin, peer.pin, sizeof(t.pin));
	assert_int_equal(pthread_create(&w.thread, NULL, serve, NULL), 0);
	w.h = pbs_session(&t, "reader", &s, &logger, &e);
	if (w.h == NULL)
		fail_msg("%s", e.msg);
	return w;
}

static void
unwire(struct wired *w)
{
	h2_free(w->h);
	pthread_join(w->thread, NULL);
	peer.window = peer.streams = 0;
}

/* A body of n bytes in three unequal pieces. */
static unsigned
pieces(struct iovec v[3], size_t n)
{
	size_t a = n / 3, b = n / 7;

	v[0] = (struct iovec){ bytes, a };
	v[1] = (struct iovec){ bytes + a, b };
	v[2] = (struct iovec){ bytes + a + b, n - a - b };
	return 3;
}

static void
sizes(void **state)
{
	static const size_t size[] = { 0, 1, 2, 16383, 16384, 16385, 65535,
	    65536, 262144, 262145, 4 * MIB, 4 * MIB + 17, 8 * MIB };
	struct wired w = wire(0, 0);
	struct err e = ERR_INIT;
	struct iovec v[3];
	struct buf b;
	char want[32], path[32];
	size_t i, k;

	(void)state;
	for (i = 0; i < sizeof(size) / sizeof(*size); i++) {
		struct h2_req r = { .method = "POST", .path = "/sink",
		    .body = v, .answer = &b };

		buf_init(&b, 100);
		r.nbody = pieces(v, size[i]);
		assert_ok(h2_call(w.h, &r, &e), &e);
		assert_int_equal(r.status, 200);
		snprintf(want, sizeof(want), "{\"data\":%zu}", size[i]);
		assert_string_equal(b.p, want);
		buf_fini(&b);
	}
	for (i = 0; i < sizeof(size) / sizeof(*size); i++) {
		struct h2_req r = { .method = "GET", .path = path,
		    .answer = &b };

		/* exactly as much as is allowed */
		buf_init(&b, size[i]);
		snprintf(path, sizeof(path), "/give?%zu", size[i]);
		assert_ok(h2_call(w.h, &r, &e), &e);
		assert_ok(h2_outcome(&r, "it", &e), &e);
		assert_int_equal(b.len, size[i]);
		for (k = 0; k < b.len; k += 16384)
			assert_int_equal((unsigned char)b.p[k],
			    (b.len - k) & 0xff);
		buf_fini(&b);
	}
	unwire(&w);
}

/* ---- many at once ---- */

struct one {
	struct job job;
	struct h2 *h;
	struct h2_req r;
	struct iovec v[3];
	size_t size;
	struct buf b;
	struct err e;
	int ret;
};

static void
run_one(struct job *j)
{
	struct one *o = (void *)((char *)j - offsetof(struct one, job));

	o->ret = h2_call(o->h, &o->r, &o->e);
}

static void
from_many_threads(uint64_t in_flight, size_t most)
{
	enum { N = 300 };
	struct one *o = calloc(N, sizeof(*o));
	struct wired w = wire(in_flight, 0);
	struct err e = ERR_INIT;
	struct pool *pool = pool_new(12, &e);
	char want[32];
	size_t i;

	assert_non_null(pool);
	for (i = 0; i < N; i++) {
		o[i].h = w.h;
		o[i].job.run = run_one;
		o[i].size = (i * 104729) % most;
		o[i].r.method = "POST";
		o[i].r.path = "/sink";
		o[i].r.body = o[i].v;
		o[i].r.nbody = pieces(o[i].v, o[i].size);
		o[i].r.answer = &o[i].b;
		buf_init(&o[i].b, 100);
		pool_submit(pool, &o[i].job);
	}
	for (i = 0; i < N; i++) {
		pool_wait(pool, &o[i].job);
		if (o[i].ret != 0)
			fail_msg("%zu: %s", i, o[i].e.msg);
		snprintf(want, sizeof(want), "{\"data\":%zu}", o[i].size);
		assert_string_equal(o[i].b.p, want);
		buf_fini(&o[i].b);
	}
	pool_free(pool);
	unwire(&w);
	free(o);
}

static void
threads(void **state)
{
	(void)state;
	from_many_threads(0, MIB);
}

/* A server with small windows and few streams, a client with little room. */
static void
narrow(void **state)
{
	(void)state;
	peer.window = 1000;
	peer.streams = 2;
	from_many_threads(100000, 70000);
}

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t one_more = PTHREAD_COND_INITIALIZER;
static unsigned ndone, nfailed;

static void
on_ended(struct h2_req *r)
{
	pthread_mutex_lock(&mu);
	if (!r->failed && r->status == 200)
		ndone++;
	else
		nfailed++;
	pthread_cond_signal(&one_more);
	pthread_mutex_unlock(&mu);
	free(r);
}

/* With callbacks nobody waits, and what is sent first need not end first. */
static void
callbacks(void **state)
{
	struct wired w = wire(0, 0);
	struct h2_req *r, last = { .method = "POST", .path = "/sink" };
	struct err e = ERR_INIT;
	struct iovec v = { bytes, 300000 };
	int i;

	(void)state;
	ndone = nfailed = 0;
	for (i = 0; i < 200; i++) {
		assert_non_null(r = calloc(1, sizeof(*r)));
		r->method = "POST";
		r->path = "/sink";
		r->body = &v;
		r->nbody = 1;
		r->ended = on_ended;
		assert_ok(h2_send(w.h, r, &e), &e);
	}
	assert_ok(h2_call(w.h, &last, &e), &e);
	pthread_mutex_lock(&mu);
	while (ndone + nfailed < 200)
		pthread_cond_wait(&one_more, &mu);
	pthread_mutex_unlock(&mu);
	assert_int_equal(nfailed, 0);
	unwire(&w);
}

/* Large bodies go one after another, but for one beside it. */
static void
one_by_one(void **state)
{
	enum { N = 12 };
	struct wired w = wire(64 * MIB, 0);
	struct h2_req r[N];
	struct err e = ERR_INIT;
	struct iovec v = { bytes, 3 * MIB };
	int i;

	(void)state;
	memset(r, 0, sizeof(r));
	for (i = 0; i < N; i++) {
		r[i].method = "POST";
		/* one that is given up does not hold up the others */
		r[i].path = i == 4 ? "/no?400" : "/sink";
		r[i].body = &v;
		r[i].nbody = 1;
		assert_ok(h2_send(w.h, &r[i], &e), &e);
	}
	for (i = 0; i < N; i++) {
		assert_ok(h2_wait(w.h, &r[i], &e), &e);
		assert_int_equal(r[i].status, i == 4 ? 400 : 200);
	}
	unwire(&w);
	assert_in_range(peer.first, 3 * MIB, 2 * 3 * MIB);
	assert_in_range(peer.received, (N - 1) * 3 * MIB, N * 3 * MIB);
}

/* So many bytes a second in each direction, and all of them. */
static void
limited(void **state)
{
	struct h2_req up = { .method = "POST", .path = "/sink" };
	struct h2_req down = { .method = "GET", .path = "/give?1000000" };
	struct iovec v = { bytes, 1000000 };
	struct err e = ERR_INIT;
	struct wired w;
	struct buf b;
	double start;

	(void)state;
	assert_non_null(limit = rate_new(4000000, &e));
	w = wire(0, 0);
	buf_init(&b, 1000000);
	up.body = &v;
	up.nbody = 1;
	up.answer = down.answer = &b;
	start = when_mono();
	assert_ok(h2_call(w.h, &up, &e), &e);
	assert_string_equal(b.p, "{\"data\":1000000}");
	/* a moment of it may have been saved up before */
	assert_true(when_mono() - start > 0.15);
	buf_reset(&b);
	start = when_mono();
	assert_ok(h2_call(w.h, &down, &e), &e);
	assert_int_equal(b.len, 1000000);
	assert_true(when_mono() - start > 0.15);
	buf_fini(&b);
	unwire(&w);
	rate_free(limit);
	limit = NULL;
}

/* No more than the limit is under way, but one request always is. */
static void
bounded(void **state)
{
	struct wired w = wire(3 * MIB, 0);
	struct h2_req r[2] = { { .method = "POST", .path = "/silent" },
	    { .method = "POST", .path = "/sink" } };
	struct one o = { .h = w.h, .job.run = run_one };
	struct err e = ERR_INIT;
	struct iovec v = { bytes, 4 * MIB };
	struct pool *pool = pool_new(1, &e);

	(void)state;
	assert_non_null(pool);
	r[0].body = &v;
	r[0].nbody = 1;
	assert_ok(h2_send(w.h, &r[0], &e), &e);
	/* a small one passes */
	assert_ok(h2_call(w.h, &r[1], &e), &e);
	assert_false(h2_poll(w.h, &r[0]));
	/* a large one waits until the connection ends */
	o.r.method = "POST";
	o.r.path = "/sink";
	o.r.body = &v;
	o.r.nbody = 1;
	pool_submit(pool, &o.job);
	r[1].path = "/cut";
	assert_int_equal(h2_call(w.h, &r[1], &e), -1);
	pool_wait(pool, &o.job);
	assert_int_equal(o.ret, -1);
	assert_int_equal(o.e.code, CALA_NET);
	assert_int_equal(o.r.status, 0);
	assert_int_equal(h2_wait(w.h, &r[0], &e), -1);
	pool_free(pool);
	unwire(&w);
}

/* ---- answers that are none ---- */

static void
refused(void **state)
{
	struct wired w = wire(0, 0);
	struct err e = ERR_INIT;
	struct iovec v = { bytes, 8 * MIB };
	struct buf b;
	int i;

	(void)state;
	buf_init(&b, 10);
	/* before the body was sent, many times: the connection goes on */
	for (i = 0; i < 20; i++) {
		struct h2_req r = { .method = "POST", .path = "/no?400",
		    .body = &v, .nbody = 1, .answer = &b };

		assert_ok(h2_call(w.h, &r, &e), &e);
		assert_int_equal(r.status, 400);
		assert_string_equal(r.text, "no: /no?400");
		assert_int_equal(h2_outcome(&r, "chunk", &e), -1);
		assert_string_equal(e.msg, "chunk: server said 400: no: "
		    "/no?400");
		assert_int_equal(b.len, 0);
	}
	buf_fini(&b);
	unwire(&w);
}

static int
take_some(void *arg, const void *p, size_t n, struct err *e)
{
	size_t *got = arg;

	(void)p;
	*got += n;
	return *got < 100000 ? 0 : err_set(e, CALA_NOSPACE, "enough");
}

static void
too_much(void **state)
{
	struct wired w = wire(0, 0);
	struct h2_req r = { .method = "GET", .path = "/give?8000000" };
	struct h2_req again = { .method = "POST", .path = "/sink" };
	struct err e = ERR_INIT;
	size_t got = 0;
	struct buf b;

	(void)state;
	buf_init(&b, 7999999);
	r.answer = &b;
	assert_int_equal(h2_call(w.h, &r, &e), -1);
	assert_int_equal(e.code, CALA_INTEGRITY);
	assert_true(b.len <= 7999999);
	buf_fini(&b);
	memset(&r, 0, sizeof(r));
	r.method = "GET";
	r.path = "/give?8000000";
	r.take = take_some;
	r.arg = &got;
	assert_int_equal(h2_call(w.h, &r, &e), -1);
	assert_int_equal(e.code, CALA_NOSPACE);
	assert_string_equal(e.msg, "enough");
	assert_ok(h2_call(w.h, &again, &e), &e);
	unwire(&w);
}

static void
short_of(void **state)
{
	static const char *const path[] = { "/short?100000", "/rst" };
	struct wired w = wire(0, 0);
	struct err e = ERR_INIT;
	struct buf b;
	size_t i;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct h2_req r = { .method = "GET", .path = path[i],
		    .answer = &b };

		buf_init(&b, MIB);
		assert_int_equal(h2_call(w.h, &r, &e), -1);
		assert_int_equal(e.code, CALA_NET);
		assert_true(r.failed);
		buf_fini(&b);
	}
	unwire(&w);
}

/* ---- ends ---- */

/* Everything under way ends once, for one reason; later ones do not begin. */
static void
ends_by(const char *path, const char *word)
{
	enum { N = 40 };
	struct wired w = wire(0, 0);
	struct h2_req r[N], last = { .method = "GET", .path = path };
	struct h2_req late = { .method = "GET", .path = "/sink" };
	struct err e = ERR_INIT;
	struct iovec v = { bytes, 500000 };
	int i;

	memset(r, 0, sizeof(r));
	for (i = 0; i < N; i++) {
		r[i].method = "POST";
		r[i].path = "/silent";
		r[i].body = &v;
		r[i].nbody = 1;
		assert_ok(h2_send(w.h, &r[i], &e), &e);
	}
	assert_int_equal(h2_call(w.h, &last, &e), -1);
	if (word != NULL && strstr(e.msg, word) == NULL)
		fail_msg("%s: %s", path, e.msg);
	for (i = 0; i < N; i++) {
		err_clear(&e);
		assert_int_equal(h2_wait(w.h, &r[i], &e), -1);
		assert_int_equal(e.code, CALA_NET);
		assert_true(r[i].failed);
	}
	assert_int_equal(h2_call(w.h, &late, &e), -1);
	assert_int_equal(e.code, CALA_NET);
	unwire(&w);
}

static void
cut(void **state)
{
	(void)state;
	/* what the kernel says depends on what was under way */
	ends_by("/cut", NULL);
}

static void
goaway(void **state)
{
	(void)state;
	ends_by("/goaway", "enough");
}

static void
junk(void **state)
{
	(void)state;
	ends_by("/junk", NULL);
}

/* A session that is freed takes what is under way with it. */
static void
abandoned(void **state)
{
	struct wired w = wire(0, 0);
	struct h2_req *r;
	struct err e = ERR_INIT;
	struct iovec v = { bytes, 8 * MIB };
	int i;

	(void)state;
	ndone = nfailed = 0;
	for (i = 0; i < 3; i++) {
		assert_non_null(r = calloc(1, sizeof(*r)));
		r->method = "POST";
		r->path = "/silent";
		r->body = &v;
		r->nbody = 1;
		r->ended = on_ended;
		assert_ok(h2_send(w.h, r, &e), &e);
	}
	unwire(&w);
	assert_int_equal(ndone, 0);
	assert_int_equal(nfailed, 3);
}

static void
stalled(void **state)
{
	struct wired w = wire(0, 1);
	struct h2_req r = { .method = "GET", .path = "/silent" };
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(h2_call(w.h, &r, &e), -1);
	assert_int_equal(e.code, CALA_NET);
	assert_non_null(strstr(e.msg, "no progress"));
	unwire(&w);
}

static void
stopped(void **state)
{
	struct wired w = wire(0, 0);
	struct h2_req r = { .method = "GET", .path = "/silent" };
	struct err e = ERR_INIT;

	(void)state;
	assert_ok(h2_send(w.h, &r, &e), &e);
	stop_set(SIGTERM);
	assert_int_equal(h2_wait(w.h, &r, &e), -1);
	assert_int_equal(e.code, CALA_SIGNAL + SIGTERM);
	assert_int_equal(h2_send(w.h, &r, &e), -1);
	stop_set(0);
	unwire(&w);
}

static int
begin(void **state)
{
	struct err e = ERR_INIT;
	size_t i;

	(void)state;
	signal(SIGPIPE, SIG_IGN);       /* the peer's */
	log_init(&logger, NULL, "t");
	peer_open(&peer, "localhost", NULL);
	if ((bytes = malloc(8 * MIB)) == NULL)
		return -1;
	for (i = 0; i < 8 * MIB; i++)
		bytes[i] = (unsigned char)(i * 2654435761u >> 13);
	return secret_set(&secret, "x", 1, &e);
}

static int
end(void **state)
{
	(void)state;
	peer_close(&peer);
	secret_free(&secret);
	log_fini(&logger);
	free(bytes);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes), cmocka_unit_test(threads),
		cmocka_unit_test(narrow), cmocka_unit_test(callbacks),
		cmocka_unit_test(one_by_one), cmocka_unit_test(limited),
		cmocka_unit_test(bounded), cmocka_unit_test(refused),
		cmocka_unit_test(too_much), cmocka_unit_test(short_of),
		cmocka_unit_test(cut), cmocka_unit_test(goaway),
		cmocka_unit_test(junk), cmocka_unit_test(abandoned),
		cmocka_unit_test(stalled), cmocka_unit_test(stopped),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
