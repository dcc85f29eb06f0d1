#ifndef CALA_S3_UPLOAD_H
#define CALA_S3_UPLOAD_H

/*
 * What the files of an upload share: upload.c (the sink, its slabs and
 * workers), parts.c (one part), finish.c (create, complete, abort).
 */

#include <pthread.h>
#include <stdatomic.h>

#include "base/err.h"
#include "base/io.h"
#include "s3/client.h"
#include "s3/plan.h"
#include "s3/sum.h"

enum {
	SLAB = 1 << 20,
	WORKERS = 64,
	WORKERS_FIRST = 4
};

/* A piece of the stream that is sent as one request. */
struct part {
	unsigned n;             /* from 1 */
	uint64_t size;
	struct iovec *iov;      /* slabs; room for the planned size */
	size_t niov;
	int fd;                 /* its bytes are in this file; -1: in slabs */
	struct part *next;
};

/* What is known of a part that the store has confirmed. */
struct done {
	uint64_t size;
	char *etag;             /* as received */
	bool has_sum;
	unsigned char sum[SUM_MAX];
};

struct upload {
	struct sink sink;
	struct s3 *s;
	struct s3_upload *o;
	char *key;
	struct s3_plan plan;
	char id[S3_ID];         /* "" until parts are sent */
	time_t opened;          /* by the server's clock */
	/* the slabs: used by sink and workers under mu */
	pthread_mutex_t mu;
	pthread_cond_t room;    /* a slab was freed, a part was done */
	pthread_cond_t work;    /* a part was queued, or the end */
	void **free;            /* last in, first out: few pages are touched */
	size_t nfree, nslabs, inuse;
	unsigned nspooled, spool_most;  /* parts on disk; how many fit */
	unsigned char *arena;
	/* parts */
	struct part *fill;      /* being filled; the sink's alone */
	struct part *queue, **tail;
	unsigned parts;         /* numbers given away */
	uint64_t total;         /* bytes taken */
	char over;              /* lent when all is full: nothing may come */
	bool warned;
	struct done *done;      /* [parts] */
	unsigned ndone, room_done;
	/* workers */
	pthread_t thread[WORKERS];
	unsigned nthreads, jobs_max, target, active;
	bool closing, failed;
	bool keep_open;         /* outcome unknown: no abort */
	atomic_bool cancel;
	struct err e;           /* the first failure */
	/* the pace (s3.md 9.5) */
	bool waited;            /* the reader had to wait for a slab */
	bool probing;           /* is the last connection worth it? */
	double round;           /* when_mono() when the round began */
	uint64_t round_bytes;
	unsigned round_parts, punished;
	double hold, best;      /* no more connections before; goodput then */
	/* proofs */
	enum s3_sum sum;        /* what goes with each part */
	bool offer;             /* a CRC besides, where the store keeps it */
	bool composite;
	enum { MD5_UNKNOWN, MD5_YES, MD5_NO } etags;
};

/*
 * parts.c: part_send(u, p, d, e): send p until the store has it; fills in d.
 * part_whole(u, p, e): the whole object as one PUT.
 *
 * spool.c: spool_open(u, size, e): a nameless file with room for a part, once
 * there are not too many; -1.  spool_write(p, e): what p's only slab holds goes
 * to the file's end.
 * upload_wait(u, e): under the lock: a moment, or until something is freed.
 */
int spool_open(struct upload *, uint64_t, struct err *);
int spool_write(struct part *, struct err *);
int upload_wait(struct upload *, struct err *);
int part_send(struct upload *, struct part *, struct done *, struct err *);
int part_whole(struct upload *, struct part *, struct err *);

/*
 * finish.c: upload_create(u, e): an upload id.
 * upload_complete(u, e): make it an object, and be sure of it.
 * upload_drop(u): abort it within ten seconds, and say so if that fails.
 * upload_throttled(u): the server asked to slow down.
 */
int  upload_create(struct upload *, struct err *);
int  upload_complete(struct upload *, struct err *);
void upload_drop(struct upload *);
void upload_throttled(void *);

#endif
