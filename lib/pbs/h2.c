/*
 * h2: the thread that owns the socket.
 *
 * It takes requests from a queue, lets nghttp2 write frames into TLS records
 * as long as little is unsent, hands the kernel what it takes, reads what is
 * there, and sleeps in poll() when neither can go on.  A body goes from the
 * caller's memory into a TLS record without a copy in between, but for what
 * fills a record up to its 16 KiB.
 */

#include "pbs/h2.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/rate.h"
#include "base/stop.h"
#include "base/when.h"
#include "pbs/h2_core.h"
#include "pbs/target.h"
#include "pbs/tls.h"

enum {
	RECORD = 16 << 10,              /* the most that TLS puts into one */
	UNSENT = 256 << 10,             /* one send() */
	FRAME = 256 << 10,
	FRAME_LIMITED = 16 << 10,
	READ = 64 << 10,
	READ_TURN = 1 << 20,            /* bytes before we write again */
	SMALL = 64 << 10,               /* a body that never waits */
	SLICE = 250,                    /* ms between looks at the stop flag */
	SLICE_IDLE = 5000,
	STALL = 600,                    /* seconds */
	PING = 30
};

struct h2 {
	struct tls *tls;
	struct log *log;
	struct rate *rate;
	struct h2_core core;
	pthread_t thread;
	int wake;
	uint64_t max;
	double stall;
	/* shared */
	pthread_mutex_t mu;
	pthread_cond_t change;          /* one has ended, or all has */
	struct h2_req *queue, **tail;
	uint64_t in_flight;
	bool asleep, quit, dead;
	struct err e;                   /* why it is dead */
	/* the thread's own */
	unsigned char *early;
	size_t nearly;
	unsigned char stage[RECORD];    /* a TLS record being filled */
	size_t nstage;
	size_t fresh;                   /* bytes not yet counted by rate */
	double moved, pinged;
	atomic_uint_fast64_t sent, received;
	unsigned char buf[READ];
};

/* ---- ends of requests ---- */

static void
on_ended(void *arg, struct h2_req *r)
{
	struct h2 *h = arg;
	void (*ended)(struct h2_req *) = r->ended;

	pthread_mutex_lock(&h->mu);
	h->in_flight -= r->size;
	r->over = true;
	pthread_cond_broadcast(&h->change);
	pthread_mutex_unlock(&h->mu);
	/* without ended() it may be gone by now */
	if (ended != NULL)
		ended(r);
}

static void
die(struct h2 *h, const struct err *e)
{
	struct h2_req *r, *q;

	pthread_mutex_lock(&h->mu);
	h->dead = true;
	h->e = *e;
	q = h->queue;
	h->queue = NULL;
	h->tail = &h->queue;
	pthread_cond_broadcast(&h->change);
	pthread_mutex_unlock(&h->mu);
	log_wire(h->log, "connection: %s", e->msg);
	h2_core_fail(&h->core, e);
	while ((r = q) != NULL) {
		q = r->next;
		r->next = NULL;
		r->failed = true;
		r->e = *e;
		on_ended(h, r);
	}
}

/* ---- writing ---- */

/* Whole records, and the rest waits for more in h->stage. */
static int
on_out(void *arg, const void *v, size_t n, struct err *e)
{
	struct h2 *h = arg;
	const unsigned char *p = v;
	size_t k;

	h->fresh += n;
	if (h->nstage > 0 || n < RECORD) {
		k = RECORD - h->nstage;
		if (k > n)
			k = n;
		memcpy(h->stage + h->nstage, p, k);
		h->nstage += k;
		p += k;
		n -= k;
		if (h->nstage < RECORD)
			return 0;
		h->nstage = 0;
		if (tls_write(h->tls, h->stage, RECORD, e) == -1)
			return -1;
	}
	k = n - n % RECORD;
	if (k > 0 && tls_write(h->tls, p, k, e) == -1)
		return -1;
	memcpy(h->stage, p + k, n - k);
	h->nstage = n - k;
	return 0;
}

/* 1: there is more to be written, once the socket takes it; 0; -1. */
static int
produce(struct h2 *h, struct err *e)
{
	size_t before;
	int n = 1;

	while (n == 1 && tls_unsent(h->tls) < UNSENT) {
		n = h2_core_send(&h->core, e);
		if (n == -1 || (h->fresh >= FRAME_LIMITED &&
		    rate_take(h->rate, h->fresh, e) == -1))
			return -1;
		if (h->fresh >= FRAME_LIMITED)
			h->fresh = 0;
		if (h->rate != NULL)
			break;          /* out with it */
	}
	if ((n == 0 || h->rate != NULL) && h->nstage > 0) {
		before = h->nstage;
		h->nstage = 0;
		if (tls_write(h->tls, h->stage, before, e) == -1)
			return -1;
	}
	before = tls_unsent(h->tls);
	if (tls_flush(h->tls, e) == -1)
		return -1;
	before -= tls_unsent(h->tls);
	atomic_fetch_add_explicit(&h->sent, before, memory_order_relaxed);
	return n;
}

/* ---- reading ---- */

static int
consume(struct h2 *h, struct err *e)
{
	size_t total = 0;
	ssize_t n;

	while (total < READ_TURN) {
		n = tls_read(h->tls, h->buf, sizeof(h->buf), e);
		if (n <= 0)
			return (int)n;
		total += (size_t)n;
		atomic_fetch_add_explicit(&h->received, (uint64_t)n,
		    memory_order_relaxed);
		if (h2_core_feed(&h->core, h->buf, (size_t)n, e) == -1 ||
		    rate_take(h->rate, (size_t)n, e) == -1)
			return -1;
	}
	return 1;
}

/* ---- the loop ---- */

/* What was handed over; false: it is time to go. */
static bool
take(struct h2 *h)
{
	struct h2_req *q, *r;
	bool quit;

	pthread_mutex_lock(&h->mu);
	q = h->queue;
	h->queue = NULL;
	h->tail = &h->queue;
	quit = h->quit;
	pthread_mutex_unlock(&h->mu);
	if (q != NULL && h->core.nopen == 0)
		h->moved = when_mono();
	while ((r = q) != NULL) {
		q = r->next;
		h2_core_submit(&h->core, r);
	}
	return !quit;
}

static int
patience(struct h2 *h, struct err *e)
{
	double now = when_mono();

	if (h->core.moved || h->core.nopen == 0)
		h->moved = now;
	h->core.moved = false;
	if (now - h->moved > h->stall)
		return err_set(e, CALA_NET, "no progress for %.0f seconds",
		    h->stall);
	/* for what forgets idle connections between us */
	if (now - h->pinged > PING) {
		h->pinged = now;
		h2_core_ping(&h->core);
	}
	return 0;
}

static int
sleep_on(struct h2 *h, struct err *e)
{
	struct pollfd p[2] = {
		{ .fd = tls_fd(h->tls), .events = POLLIN },
		{ .fd = h->wake, .events = POLLIN },
	};
	uint64_t n;
	bool idle;

	if (tls_unsent(h->tls) > 0)
		p[0].events |= POLLOUT;
	pthread_mutex_lock(&h->mu);
	idle = h->queue == NULL && !h->quit;
	h->asleep = idle;
	pthread_mutex_unlock(&h->mu);
	if (idle && poll(p, 2, h->core.nopen > 0 ? SLICE : SLICE_IDLE) == -1 &&
	    errno != EINTR && errno != EAGAIN)
		return err_sys(e, "poll");
	pthread_mutex_lock(&h->mu);
	h->asleep = false;
	pthread_mutex_unlock(&h->mu);
	if (p[1].revents != 0)
		(void)!read(h->wake, &n, sizeof(n));
	return 0;
}

/* We can't write any more: did the server say why? */
static int
last_words(struct h2 *h, struct err *e)
{
	struct err ignored = ERR_INIT;

	if (e->code == CALA_NET)
		(void)consume(h, &ignored);
	if (h->core.leaving)
		*e = h->core.e;
	return -1;
}

static int
turn(struct h2 *h, struct err *e)
{
	int more, again;

	if (h->core.nopen > 0 && stop_check(e) == -1)
		return -1;
	if (patience(h, e) == -1)
		return -1;
	if ((more = produce(h, e)) == -1)
		return last_words(h, e);
	if ((again = consume(h, e)) == -1 || h2_core_over(&h->core, e) == -1)
		return -1;
	/* what was read may have made something to write */
	if (again == 0 && more == 0 && (more = produce(h, e)) == -1)
		return last_words(h, e);
	if (again == 1 || (more == 1 && tls_unsent(h->tls) < UNSENT))
		return 0;
	return sleep_on(h, e);
}

static void *
run(void *arg)
{
	struct h2 *h = arg;
	struct err e = ERR_INIT;
	int ret;

	h->moved = h->pinged = when_mono();
	ret = h2_core_feed(&h->core, h->early, h->nearly, &e);
	while (take(h) && ret == 0)
		ret = turn(h, &e);
	if (ret == 0 && h->core.nopen == 0) {
		h2_core_goodbye(&h->core);
		(void)produce(h, &e);
	}
	if (ret == 0)
		err_set(&e, CALA_NET, "the connection was closed");
	die(h, &e);
	return NULL;
}

/* ---- for everybody ---- */

static int
start_thread(struct h2 *h, struct err *e)
{
	sigset_t all, old;
	int n;

	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	n = pthread_create(&h->thread, NULL, run, h);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (n == 0)
		return 0;
	errno = n;
	return err_sys(e, "thread");
}

static void
destroy(struct h2 *h)
{
	h2_core_fini(&h->core);
	tls_free(h->tls);
	if (h->wake != -1)
		close(h->wake);
	pthread_cond_destroy(&h->change);
	pthread_mutex_destroy(&h->mu);
	free(h->early);
	free(h);
}

struct h2 *
h2_start(struct tls *tls, const struct h2_how *how, struct log *log,
    struct err *e)
{
	struct h2 *h = calloc(1, sizeof(*h));

	if (h == NULL) {
		tls_free(tls);
		err_oom(e);
		return NULL;
	}
	h->tls = tls;
	h->log = log;
	h->rate = how->rate;
	h->max = how->in_flight != 0 ? how->in_flight : PBS_IN_FLIGHT;
	h->stall = how->stall != 0 ? how->stall : STALL;
	h->tail = &h->queue;
	h->core.out = on_out;
	h->core.ended = on_ended;
	h->core.arg = h;
	h->core.log = log;
	h->core.frame = how->rate != NULL ? FRAME_LIMITED : FRAME;
	pthread_mutex_init(&h->mu, NULL);
	pthread_cond_init(&h->change, NULL);
	h->nearly = how->nearly;
	h->early = malloc(how->nearly + 1);
	h->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (h->early == NULL) {
		err_oom(e);
	} else if (h->wake == -1) {
		err_sys(e, "eventfd");
	} else if (h2_core_start(&h->core, e) == 0) {
		if (how->nearly > 0)
			memcpy(h->early, how->early, how->nearly);
		if (start_thread(h, e) == 0)
			return h;
	}
	destroy(h);
	return NULL;
}

/* Called with the lock held. */
static void
wake(struct h2 *h)
{
	uint64_t one = 1;

	if (h->asleep)
		(void)!write(h->wake, &one, sizeof(one));
	h->asleep = false;
}

void
h2_free(struct h2 *h)
{
	if (h == NULL)
		return;
	pthread_mutex_lock(&h->mu);
	h->quit = true;
	wake(h);
	pthread_mutex_unlock(&h->mu);
	pthread_join(h->thread, NULL);
	destroy(h);
}

int
h2_send(struct h2 *h, struct h2_req *r, struct err *e)
{
	unsigned i;
	int ret = -1;

	r->size = r->left = r->off = r->ntext = 0;
	r->at = 0;
	r->status = 0;
	r->failed = r->over = false;
	r->text[0] = '\0';
	r->next = r->prev = NULL;
	for (i = 0; i < r->nbody; i++)
		r->size += r->body[i].iov_len;
	r->left = r->size;
	pthread_mutex_lock(&h->mu);
	while (!h->dead && !h->quit && r->size > SMALL && h->in_flight > 0 &&
	    h->in_flight + r->size > h->max)
		pthread_cond_wait(&h->change, &h->mu);
	if (h->dead || h->quit) {
		if (h->dead)
			*e = h->e;
		else
			err_set(e, CALA_NET, "the connection was closed");
		goto out;
	}
	h->in_flight += r->size;
	*h->tail = r;
	h->tail = &r->next;
	wake(h);
	ret = 0;
out:
	pthread_mutex_unlock(&h->mu);
	return ret;
}

int
h2_wait(struct h2 *h, struct h2_req *r, struct err *e)
{
	pthread_mutex_lock(&h->mu);
	while (!r->over)
		pthread_cond_wait(&h->change, &h->mu);
	pthread_mutex_unlock(&h->mu);
	if (!r->failed)
		return 0;
	*e = r->e;
	return -1;
}

int
h2_call(struct h2 *h, struct h2_req *r, struct err *e)
{
	return h2_send(h, r, e) == -1 ? -1 : h2_wait(h, r, e);
}

bool
h2_poll(struct h2 *h, struct h2_req *r)
{
	bool over;

	pthread_mutex_lock(&h->mu);
	over = r->over;
	pthread_mutex_unlock(&h->mu);
	return over;
}

int
h2_outcome(const struct h2_req *r, const char *what, struct err *e)
{
	if (r->failed) {
		*e = r->e;
		return err_ctx(e, "%s", what);
	}
	return r->status / 100 == 2 ? 0 :
	    pbs_refused(e, what, r->status, r->text);
}

void
h2_moved(struct h2 *h, uint64_t *sent, uint64_t *received)
{
	if (sent != NULL)
		*sent = atomic_load_explicit(&h->sent, memory_order_relaxed);
	if (received != NULL)
		*received = atomic_load_explicit(&h->received,
		    memory_order_relaxed);
}
