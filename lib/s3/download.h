#ifndef CALA_S3_DOWNLOAD_H
#define CALA_S3_DOWNLOAD_H

/*
 * What the files of a download share: download.c (the source, its ring and
 * workers), fetch.c (one range), prove.c (what the whole is compared with).
 */

#include <pthread.h>
#include <stdatomic.h>

#include "base/err.h"
#include "base/io.h"
#include "s3/client.h"
#include "s3/verify.h"

enum {
	DOWNLOAD_WORKERS = 64,
	DOWNLOAD_RING = 256,
	DOWNLOAD_HOLD = 10      /* seconds without growth after a throttle */
};

/* One range: its place in the ring is its number modulo the ring's length. */
struct chunk {
	uint64_t off, len, got, proven;
	unsigned char *p;
	bool done;
	enum s3_sum a;          /* of the piece, kept by the worker */
	unsigned char sum[SUM_MAX];
};

struct download {
	struct source source;
	struct s3 *s;
	struct s3_download *o;
	char *key;
	struct verify_facts facts;
	struct verify *verify;
	pthread_mutex_t mu;
	pthread_cond_t came;    /* bytes, an end, a failure: the reader waits */
	pthread_cond_t hash;    /* the same for what proves */
	pthread_cond_t work;    /* a chunk became free, or the end */
	unsigned char *arena;
	size_t memory, slot, nchunks;   /* bytes in all, of one, how many */
	struct chunk ring[DOWNLOAD_RING];
	/*
	 * The first range ends at mid; one up to lead, where a part begins,
	 * may follow; then all have step bytes but the last.
	 */
	uint64_t mid, lead, step;
	uint64_t end;           /* offset behind the last byte wanted */
	uint64_t nranges;       /* in all; 1 until the first answer */
	uint64_t next, due;     /* numbers: to be asked for, to be read */
	uint64_t proven;        /* to be proven */
	bool proving;           /* by a thread of its own */
	pthread_t prover;
	bool failed, ended;
	atomic_bool cancel;
	struct err e;
	pthread_t thread[DOWNLOAD_WORKERS];
	unsigned nthreads, target, jobs_max, active;
	/* the pace, as in upload.c */
	bool waited, probing;
	double round, best, hold;
	uint64_t round_bytes;
	unsigned round_ranges, punished;
};

/*
 * fetch_range(d, c, first, e): all of c, resumed where an answer was cut.  first
 * learns what the object is, and what all other answers must agree with; it
 * trims c, and 1 is its answer to a range behind the end of the object.
 */
int fetch_range(struct download *, struct chunk *, bool, struct err *);

/*
 * prove_plan(d, e): how can the whole be proven?  Sets d->verify (NULL: it
 *   can't), the ranges behind the first, and proves what the caller has.
 * prove_start(d): the thread that proves what comes.  -1: there is none.
 * prove_end(d, e): is it all proven, and right?  -1 with the reason.
 * download_fail(d, e): under the lock: the first failure ends all.
 */
int  prove_plan(struct download *, struct err *);
int  prove_start(struct download *);
int  prove_end(struct download *, struct err *);
void download_fail(struct download *, const struct err *);

#endif
