#ifndef CALA_BASE_POOL_H
#define CALA_BASE_POOL_H

/*
 * pool: threads that run jobs.
 *
 * The owner submits jobs and waits for them in the order that suits it (order
 * of output); a wait for a job that no thread has taken yet runs it in the
 * waiting thread, so that with N - 1 threads N cores work.  With 0 threads
 * every job runs inside pool_wait: -j 1 takes the same path.
 */

#include <pthread.h>
#include <stdbool.h>

struct err;
struct pool;

struct job {
	void (*run)(struct job *);      /* keeps its own result and error */
	/* the rest belongs to pool.c */
	struct job *next;
	int state;
};

/* pool_new(n, e): n threads with all signals blocked.  NULL on failure. */
struct pool *pool_new(unsigned, struct err *);
/*
 * pool_grow: as many more threads as it takes to have n; fewer where there can
 * be no more, which is slower, not wrong.
 */
void pool_grow(struct pool *, unsigned);
/* pool_submit: queue it; the job must stay where it is until waited for. */
void pool_submit(struct pool *, struct job *);
/* pool_wait: returns when the job has run (perhaps here). */
void pool_wait(struct pool *, struct job *);
/*
 * pool_help: run the oldest job that no thread has taken, here; false when
 * there is none.  What to do while a job that is running is waited for.
 */
bool pool_help(struct pool *);
/* pool_done: has it run? */
bool pool_done(struct pool *, struct job *);
/* pool_free: lets running jobs end, drops queued ones, joins; NULL is fine. */
void pool_free(struct pool *);

/* pool_cores(): the processors this process may use, at least 1. */
unsigned pool_cores(void);

#endif
