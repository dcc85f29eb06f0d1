/*
 * A thread with a bounded queue of bytes on each side.  Each queue has one
 * writer and one reader, so that bytes are copied without the lock and only
 * the counts change under it.
 */

#include "archive/source.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

struct ring {
	unsigned char *p;
	size_t cap, at, fill;
	bool end;
};

struct flow {
	pthread_mutex_t mu;
	pthread_cond_t cv;
	pthread_t thread;
	bool started, stop, done;
	struct ring in, out;
	flow_run *run;
	void *arg;
	int ret;
	struct err err;
};

/* The longest stretch that can be filled, or emptied, in one go. */
static size_t
room(const struct ring *r, unsigned char **p)
{
	size_t to = r->cap == 0 ? 0 : (r->at + r->fill) % r->cap;
	size_t n = r->cap - r->fill;

	*p = r->p + to;
	return n < r->cap - to ? n : r->cap - to;
}

static size_t
data(const struct ring *r, unsigned char **p)
{
	*p = r->p + r->at;
	return r->fill < r->cap - r->at ? r->fill : r->cap - r->at;
}

static void
took(struct ring *r, size_t n)
{
	r->at = (r->at + n) % r->cap;
	r->fill -= n;
}

static void *
body(void *arg)
{
	struct flow *f = arg;
	struct err e = ERR_INIT;
	int ret = f->run(f, f->arg, &e);

	pthread_mutex_lock(&f->mu);
	f->ret = ret;
	f->err = e;
	f->done = true;
	pthread_cond_broadcast(&f->cv);
	pthread_mutex_unlock(&f->mu);
	return NULL;
}

struct flow *
flow_new(flow_run *run, void *arg, size_t in, size_t out, struct err *e)
{
	struct flow *f = calloc(1, sizeof(*f));
	sigset_t all, old;

	if (f == NULL) {
		err_oom(e);
		return NULL;
	}
	pthread_mutex_init(&f->mu, NULL);
	pthread_cond_init(&f->cv, NULL);
	f->run = run;
	f->arg = arg;
	f->in.cap = in;
	f->out.cap = out;
	f->in.p = malloc(in);
	f->out.p = malloc(out > 0 ? out : 1);
	sigfillset(&all);       /* signals are the main thread's */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	f->started = f->in.p != NULL && f->out.p != NULL &&
	    pthread_create(&f->thread, NULL, body, f) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!f->started) {
		flow_free(f);
		err_oom(e);
		return NULL;
	}
	return f;
}

/*
 * n bytes into one of f's rings, waiting for room until *over says that nobody
 * will take more.  Returns how many found no place.
 */
static size_t
pour(struct flow *f, struct ring *r, const bool *over, const void *v,
    size_t n)
{
	const unsigned char *p = v;
	unsigned char *to;
	size_t k;

	pthread_mutex_lock(&f->mu);
	while (n > 0 && !*over) {
		if ((k = room(r, &to)) == 0) {
			pthread_cond_wait(&f->cv, &f->mu);
			continue;
		}
		if (k > n)
			k = n;
		pthread_mutex_unlock(&f->mu);
		memcpy(to, p, k);
		pthread_mutex_lock(&f->mu);
		r->fill += k;
		pthread_cond_broadcast(&f->cv);
		p += k;
		n -= k;
	}
	pthread_mutex_unlock(&f->mu);
	return n;
}

void
flow_push(struct flow *f, const void *v, size_t n)
{
	pour(f, &f->in, &f->done, v, n);
}

void
flow_end(struct flow *f)
{
	pthread_mutex_lock(&f->mu);
	f->in.end = true;
	pthread_cond_broadcast(&f->cv);
	pthread_mutex_unlock(&f->mu);
}

int
flow_wait(struct flow *f, struct err *e)
{
	pthread_mutex_lock(&f->mu);
	while (!f->done)
		pthread_cond_wait(&f->cv, &f->mu);
	pthread_mutex_unlock(&f->mu);
	if (f->ret == -1)
		*e = f->err;
	return f->ret;
}

/* Called with the lock held, which is dropped around the read. */
static int
feed(struct flow *f, struct source *in, struct err *e)
{
	unsigned char *to;
	size_t k = room(&f->in, &to);
	ssize_t got;

	pthread_mutex_unlock(&f->mu);
	got = source_read(in, to, k, e);
	pthread_mutex_lock(&f->mu);
	if (got == -1)
		return -1;
	if (got == 0)
		f->in.end = true;
	f->in.fill += (size_t)got;
	pthread_cond_broadcast(&f->cv);
	return 0;
}

ssize_t
flow_pull(struct flow *f, struct source *in, void *v, size_t n, struct err *e)
{
	unsigned char *from;
	ssize_t ret = -1;
	size_t k;

	pthread_mutex_lock(&f->mu);
	for (;;) {
		/* keep the thread fed before handing out what it made */
		if (!f->in.end && !f->done && f->in.fill < f->in.cap / 2) {
			if (feed(f, in, e) == -1)
				goto out;
			continue;
		}
		if ((k = data(&f->out, &from)) > 0) {
			if (k > n)
				k = n;
			pthread_mutex_unlock(&f->mu);
			memcpy(v, from, k);
			pthread_mutex_lock(&f->mu);
			took(&f->out, k);
			pthread_cond_broadcast(&f->cv);
			ret = (ssize_t)k;
			goto out;
		}
		if (f->done) {
			if (f->ret == -1)
				*e = f->err;
			else
				ret = 0;
			goto out;
		}
		pthread_cond_wait(&f->cv, &f->mu);
	}
out:
	pthread_mutex_unlock(&f->mu);
	return ret;
}

ssize_t
flow_take(struct flow *f, void *v, size_t n)
{
	unsigned char *from;
	ssize_t ret = -1;
	size_t k;

	pthread_mutex_lock(&f->mu);
	while (!f->stop) {
		if ((k = data(&f->in, &from)) > 0) {
			if (k > n)
				k = n;
			pthread_mutex_unlock(&f->mu);
			memcpy(v, from, k);
			pthread_mutex_lock(&f->mu);
			took(&f->in, k);
			pthread_cond_broadcast(&f->cv);
			ret = (ssize_t)k;
			break;
		}
		if (f->in.end) {
			ret = 0;
			break;
		}
		pthread_cond_wait(&f->cv, &f->mu);
	}
	pthread_mutex_unlock(&f->mu);
	return ret;
}

int
flow_give(struct flow *f, const void *v, size_t n)
{
	return pour(f, &f->out, &f->stop, v, n) == 0 ? 0 : -1;
}

void
flow_free(struct flow *f)
{
	if (f == NULL)
		return;
	if (f->started) {
		pthread_mutex_lock(&f->mu);
		f->stop = true;
		pthread_cond_broadcast(&f->cv);
		pthread_mutex_unlock(&f->mu);
		pthread_join(f->thread, NULL);
	}
	pthread_cond_destroy(&f->cv);
	pthread_mutex_destroy(&f->mu);
	free(f->in.p);
	free(f->out.p);
	free(f);
}
