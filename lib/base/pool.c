#include "base/pool.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>

#include "base/err.h"

enum { QUEUED, RUNNING, DONE };

struct pool {
	pthread_mutex_t mu;
	pthread_cond_t work;            /* a job was queued, or the end */
	pthread_cond_t done;            /* a job has ended */
	struct job *head, **tail;
	bool end;
	unsigned n;
	pthread_t *thread;
};

/* Called with the lock held; takes it off and on around the run. */
static void
run(struct pool *p, struct job *j)
{
	j->state = RUNNING;
	pthread_mutex_unlock(&p->mu);
	j->run(j);
	pthread_mutex_lock(&p->mu);
	j->state = DONE;
	pthread_cond_broadcast(&p->done);
}

static struct job *
take(struct pool *p, struct job *want)
{
	struct job **at, *j;

	for (at = &p->head; (j = *at) != NULL; at = &j->next)
		if (want == NULL || j == want) {
			*at = j->next;
			if (p->tail == &j->next)
				p->tail = at;
			return j;
		}
	return NULL;
}

static void *
worker(void *arg)
{
	struct pool *p = arg;
	struct job *j;

	pthread_mutex_lock(&p->mu);
	while (!p->end) {
		if ((j = take(p, NULL)) != NULL)
			run(p, j);
		else
			pthread_cond_wait(&p->work, &p->mu);
	}
	pthread_mutex_unlock(&p->mu);
	return NULL;
}

void
pool_grow(struct pool *p, unsigned n)
{
	sigset_t all, old;
	pthread_t *v;

	if (n <= p->n)
		return;
	if ((v = reallocarray(p->thread, n, sizeof(*v))) == NULL)
		return;
	p->thread = v;
	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (; p->n < n; p->n++)
		if (pthread_create(&p->thread[p->n], NULL, worker, p) != 0)
			break;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

struct pool *
pool_new(unsigned n, struct err *e)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (p == NULL) {
		err_oom(e);
		return NULL;
	}
	pthread_mutex_init(&p->mu, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->done, NULL);
	p->tail = &p->head;
	pool_grow(p, n);
	return p;
}

void
pool_submit(struct pool *p, struct job *j)
{
	pthread_mutex_lock(&p->mu);
	j->state = QUEUED;
	j->next = NULL;
	*p->tail = j;
	p->tail = &j->next;
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->mu);
}

void
pool_wait(struct pool *p, struct job *j)
{
	pthread_mutex_lock(&p->mu);
	if (j->state == QUEUED && take(p, j) != NULL)
		run(p, j);
	while (j->state != DONE)
		pthread_cond_wait(&p->done, &p->mu);
	pthread_mutex_unlock(&p->mu);
}

bool
pool_help(struct pool *p)
{
	struct job *j;

	pthread_mutex_lock(&p->mu);
	if ((j = take(p, NULL)) != NULL)
		run(p, j);
	pthread_mutex_unlock(&p->mu);
	return j != NULL;
}

bool
pool_done(struct pool *p, struct job *j)
{
	bool done;

	pthread_mutex_lock(&p->mu);
	done = j->state == DONE;
	pthread_mutex_unlock(&p->mu);
	return done;
}

void
pool_free(struct pool *p)
{
	unsigned i;

	if (p == NULL)
		return;
	pthread_mutex_lock(&p->mu);
	p->end = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->mu);
	for (i = 0; i < p->n; i++)
		pthread_join(p->thread[i], NULL);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->done);
	pthread_mutex_destroy(&p->mu);
	free(p->thread);
	free(p);
}

unsigned
pool_cores(void)
{
	cpu_set_t set;
	int n;

	if (sched_getaffinity(0, sizeof(set), &set) == -1)
		return 1;
	n = CPU_COUNT(&set);
	return n > 0 ? (unsigned)n : 1;
}
