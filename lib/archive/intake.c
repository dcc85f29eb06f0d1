#include "archive/intake.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/io.h"

enum { RING = 1 << 20, PIECE = 128 << 10 };

/*
 * Bytes wait in a ring; either side that is at its end says so and wakes the
 * other.
 */
struct intake {
	struct sink sink;
	struct writer *w;
	struct archive_read how;
	struct log *log;
	pthread_t thread;
	bool running;
	pthread_mutex_t mu;
	pthread_cond_t data, room;
	size_t head, fill;              /* where bytes begin, how many */
	bool end;                       /* all bytes were given */
	bool quit;                      /* nobody wants the result any more */
	bool done;                      /* the thread reads no more */
	int ret;
	struct err e;
	struct archive_facts facts;
	unsigned char ring[RING];
};

/* The decoder's side. */
struct outlet {
	struct source source;
	struct intake *in;
};

static ssize_t
outlet_read(struct source *s, void *p, size_t n, struct err *e)
{
	struct intake *in = ((struct outlet *)s)->in;
	bool quit;

	pthread_mutex_lock(&in->mu);
	while (in->fill == 0 && !in->end && !in->quit)
		pthread_cond_wait(&in->data, &in->mu);
	if (n > in->fill)
		n = in->fill;
	if (n > RING - in->head)
		n = RING - in->head;
	quit = in->quit;
	pthread_mutex_unlock(&in->mu);
	if (quit)
		return err_set(e, CALA_INCOMPLETE, "the stream was given up");
	/* The other side never touches these. */
	memcpy(p, in->ring + in->head, n);
	pthread_mutex_lock(&in->mu);
	in->head = (in->head + n) % RING;
	in->fill -= n;
	pthread_cond_signal(&in->room);
	pthread_mutex_unlock(&in->mu);
	return (ssize_t)n;
}

static void
outlet_close(struct source *s)
{
	(void)s;
}

static int
decode(struct intake *in, struct err *e)
{
	static const struct source_ops ops = { outlet_read, outlet_close };
	struct outlet out = { { &ops, 0 }, in };
	struct reader *r;
	int ret;

	if ((r = archive_reader(&out.source, &in->how, in->log, e)) == NULL)
		return -1;
	ret = pump(r, in->w, NULL, e);
	archive_reader_facts(r, &in->facts);
	reader_close(r);
	return ret == -1 ? -1 : source_drain(&out.source, e);
}

/*
 * A stream that is no archive, or a damaged one, is taken to its end: whether
 * it was whole is for its proof to say, which sees all of it.
 */
static void
swallow(struct intake *in)
{
	struct outlet out = { { NULL, 0 }, in };
	struct err ignored = ERR_INIT;
	unsigned char p[16384];

	while (outlet_read(&out.source, p, sizeof(p), &ignored) > 0)
		;
}

static void *
intake_run(void *arg)
{
	struct intake *in = arg;
	struct err e = ERR_INIT;
	int ret = decode(in, &e);

	if (ret == -1 && (e.code == CALA_INTEGRITY ||
	    e.code == CALA_INCOMPLETE))
		swallow(in);

	pthread_mutex_lock(&in->mu);
	in->ret = ret;
	in->e = e;
	in->done = true;
	pthread_cond_signal(&in->room);
	pthread_mutex_unlock(&in->mu);
	return NULL;
}

static void *
intake_space(struct sink *s, size_t *n, struct err *e)
{
	struct intake *in = (struct intake *)s;
	size_t at;
	bool done;

	pthread_mutex_lock(&in->mu);
	while (in->fill == RING && !in->done)
		pthread_cond_wait(&in->room, &in->mu);
	done = in->done;
	if (done)
		*e = in->e;
	at = (in->head + in->fill) % RING;
	*n = RING - in->fill;
	if (*n > RING - at)
		*n = RING - at;
	if (*n > PIECE)
		*n = PIECE;
	pthread_mutex_unlock(&in->mu);
	/* It never ends before the stream, unless it failed. */
	return done ? NULL : in->ring + at;
}

static int
intake_used(struct sink *s, size_t n, struct err *e)
{
	struct intake *in = (struct intake *)s;

	(void)e;
	pthread_mutex_lock(&in->mu);
	in->fill += n;
	pthread_cond_signal(&in->data);
	pthread_mutex_unlock(&in->mu);
	return 0;
}

static void
join(struct intake *in, bool *how)
{
	if (!in->running)
		return;
	pthread_mutex_lock(&in->mu);
	*how = true;
	pthread_cond_signal(&in->data);
	pthread_mutex_unlock(&in->mu);
	pthread_join(in->thread, NULL);
	in->running = false;
}

static int
intake_commit(struct sink *s, struct err *e)
{
	struct intake *in = (struct intake *)s;

	join(in, &in->end);
	if (in->ret == -1) {
		*e = in->e;
		return -1;
	}
	return writer_commit(in->w, e);
}

static void
intake_abort(struct sink *s)
{
	struct intake *in = (struct intake *)s;

	join(in, &in->quit);
	pthread_cond_destroy(&in->data);
	pthread_cond_destroy(&in->room);
	pthread_mutex_destroy(&in->mu);
	free(in);
}

void
intake_facts(struct sink *s, struct archive_facts *f)
{
	*f = ((struct intake *)s)->facts;
}

struct sink *
archive_intake(struct writer *w, const struct archive_read *how,
    struct log *log, struct err *e)
{
	static const struct sink_ops ops = { intake_space, intake_used, NULL,
	    intake_commit, intake_abort };
	struct intake *in = calloc(1, sizeof(*in));
	sigset_t all, old;
	int why;

	if (in == NULL) {
		err_oom(e);
		return NULL;
	}
	in->sink.ops = &ops;
	in->w = w;
	in->how = *how;
	in->log = log;
	pthread_mutex_init(&in->mu, NULL);
	pthread_cond_init(&in->data, NULL);
	pthread_cond_init(&in->room, NULL);
	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	why = pthread_create(&in->thread, NULL, intake_run, in);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (why != 0) {
		intake_abort(&in->sink);
		err_set(e, CALA_FAIL, "make a thread: %s", strerror(why));
		return NULL;
	}
	in->running = true;
	return &in->sink;
}
