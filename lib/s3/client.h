#ifndef CALA_S3_CLIENT_H
#define CALA_S3_CLIENT_H

/*
 * client: what the files of this room share: one request with its retries.
 *
 * A request is sent by the thread that asks, on an easy handle of its own that
 * keeps its connection: as many connections as threads, encryption on as many
 * cores, and a callback that waits (rate limit, slow reader) holds up nobody
 * else.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "s3/s3.h"
#include "s3/sign.h"
#include "s3/target.h"
#include "s3/xml.h"

struct hand;

struct s3 {
	const struct s3_target *t;
	struct log *log;
	const struct s3_provider *provider;
	bool tls;
	pthread_mutex_t mu;             /* over all below */
	struct s3_place place;
	enum s3_style style;
	bool style_known;               /* it worked, or was asked for */
	char region[REGION_MAX];
	int64_t skew;                   /* server's clock - ours, seconds */
	struct secret key;              /* of key_date, key_region, key_creds */
	char key_date[9], key_region[REGION_MAX];
	unsigned key_creds, creds;      /* generation of credentials */
	time_t renewed;                 /* last try to renew them */
	bool no_unsigned;               /* the server wants real hashes */
	bool no_expect;
	unsigned expect_lost;           /* waits for 100 that were in vain */
	uint64_t worked;                /* requests that succeeded */
	double last;                    /* when_mono() of the last one */
	struct hand *idle;
	unsigned nidle;
};

/* What to do about an outcome. */
enum s3_verdict {
	S3_GOOD,
	S3_AGAIN,               /* transient: after a pause */
	S3_THROTTLE,            /* the server asks for patience */
	S3_ONCE,                /* damaged on its way: once more, then wrong */
	S3_SKEW, S3_SIGNATURE,  /* the clocks; perhaps the clocks */
	S3_EXPIRED,             /* credentials */
	S3_ELSEWHERE,           /* another region or host */
	S3_FATAL
};

/*
 * s3_judge(curl, status, code): curl's result (CURLE_*), the status of the
 * answer and the code of its error document ("").
 * s3_code(curl, status, code): the exit status that it means once given up.
 * s3_pause(verdict, attempt, after): seconds to wait before the next attempt,
 * at least after (0: the server did not say).
 * s3_retry_after(value, ms, now): seconds that Retry-After (seconds or a date)
 * or x-amz-retry-after (ms) asks for, within 1..300; 0 when it says nothing.
 */
enum s3_verdict s3_judge(int, unsigned, const char *);
int s3_code(int, unsigned, const char *);
double s3_pause(enum s3_verdict, unsigned, double);
double s3_retry_after(const char *, bool, time_t);

/*
 * One request.  call is what s3_call() takes and answers; the rest is for
 * bodies that don't fit memory, and for those who keep many in flight.
 */
struct s3_req {
	struct s3_call call;
	const struct iovec *iov;        /* instead of call.body */
	size_t niov;
	const int *spool;               /* instead: a file, from its start */
	uint64_t spool_len;
	bool data;              /* object data: may go unsigned, is limited */
	char sha[SIGN_HEX];     /* of the body; "" until it is needed */
	bool patient;           /* outlive an outage once something worked */
	bool once;              /* a transient failure is the caller's */
	bool last_words;        /* also after a signal, until deadline */
	double deadline;        /* when_mono(), 0: none */
	unsigned tries;         /* 0: of a control request */
	const atomic_bool *cancel;
	/*
	 * begin: before each attempt; may change call.headers.
	 * take: bytes of a 2xx answer, instead of call.answer; a failure is
	 *   final.  Counted again by an attempt that starts over: see begin.
	 */
	int (*begin)(void *, struct s3_req *, struct err *);
	int (*take)(void *, struct s3_req *, const void *, size_t,
	    struct err *);
	/* throttled: the server asked to slow down */
	void (*throttled)(void *);
	void *arg;
	/* the answer, besides call's */
	uint64_t range_off, range_end, range_total;     /* Content-Range */
	bool ranged;                                    /* there was one */
	enum s3_verdict verdict;
	int curl;
	unsigned attempts;
	time_t began;           /* of the last attempt, server's clock */
};

/* s3_send(s, r, e): as s3_call. */
int s3_send(struct s3 *, struct s3_req *, struct err *);

/*
 * s3_body(r, fn, arg, e): fn gets the body, piece by piece.  -1 only when a
 * spool can't be read.
 */
int s3_body(const struct s3_req *, void (*)(void *, const void *, size_t),
    void *, struct err *);

/* s3_name(s, key, b): "s3://bucket/key", escaped, for messages. */
void s3_name(struct s3 *, const char *, struct buf *);

/*
 * one attempt, in wire.c: fills in the answer; 0 when there was one (whatever
 * it says) or curl failed (r->curl); -1: our own failure, cancelled, stopped.
 */
struct wire_facts {
	bool has_date, has_age;
	time_t date;            /* of the answer */
	time_t sent, got;       /* by our clock, around the answer's head */
	char region[REGION_MAX];        /* x-amz-bucket-region */
	char location[1024];
	char request[128];      /* x-amz-request-id */
	double after;           /* Retry-After */
	bool unsigned_body;
	unsigned creds;         /* generation that signed */
	struct xml_error error;
	char curl_text[256];
};
int  wire_send(struct s3 *, struct s3_req *, unsigned, struct wire_facts *,
    struct err *);
int  wire_init(struct err *);
void wire_fini(struct s3 *);

#endif
