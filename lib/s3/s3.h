#ifndef CALA_S3_S3_H
#define CALA_S3_S3_H

/*
 * s3: one bucket of an S3-compatible store.
 *
 * s3_target says where and how, s3_new makes a client of it, and everything
 * else is a request through that client.  Calls may come from any thread, and
 * each moves its own bytes over a connection of its own.
 * Signing, retries with back-off, clock skew, region redirects and expired
 * credentials are its business and nobody else's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/secret.h"

struct buf;
struct err;
struct log;
struct ranged;
struct rate;
struct sink;
struct source;
struct s3;

enum {
	S3_KEY_MAX = 1024,              /* bytes of a key */
	S3_ETAG = 128,                  /* as received, quotes included */
	S3_ID = 2048,                   /* an upload id, with NUL */
	S3_PARTS = 10000
};
#define S3_PART_MIN (5ull << 20)
#define S3_PART_MAX (5ull << 30)
#define S3_MEMORY_DEFAULT (64ull << 20)
#define S3_MEMORY_MIN (32ull << 20)

enum s3_style { S3_AUTO, S3_PATH, S3_VIRTUAL };
enum s3_sse {
	S3_SSE_NONE, S3_SSE_S3, S3_SSE_KMS, S3_SSE_CUSTOMER, S3_SSE_DSSE
};
enum s3_sum {                   /* what the server checks a body by */
	S3_SUM_AUTO, S3_SUM_MD5, S3_SUM_CRC64NVME, S3_SUM_CRC32C,
	S3_SUM_CRC32, S3_SUM_SHA256, S3_SUM_NONE
};

/* Id and secret always come from one source. */
struct s3_creds {
	char id[256];
	struct secret secret, token;    /* token.len 0: none */
	time_t expires;                 /* 0: not known */
	bool anonymous;
};

/*
 * Everything a client has to know.  All strings are borrowed and must live as
 * long as the client; NULL or 0 is "not set".
 */
struct s3_target {
	const char *endpoint;           /* NULL: AWS of the region */
	const char *bucket;
	const char *region;             /* NULL: from the host, or found out */
	enum s3_style style;
	struct s3_creds *creds;
	/*
	 * Called when the server says that the credentials expired, and five
	 * minutes before they do: fill *creds anew.  NULL: there are no others.
	 */
	int (*refresh)(void *, struct s3_creds *, struct err *);
	void *refresh_arg;
	const char *cacert;             /* PEM file */
	bool insecure;                  /* tls-verify = no, said each run */
	bool sign_payload;              /* also over TLS */
	bool insecure_unsigned;         /* unsigned over plain http */
	enum s3_sum sum;
	const char *storage_class, *acl, *owner;        /* expected owner */
	bool requester_pays;
	enum s3_sse sse;
	const char *kms_key;
	const struct secret *customer_key;              /* 32 bytes */
	bool bucket_key;
	const char *lock_mode;          /* "GOVERNANCE", "COMPLIANCE" */
	uint64_t lock_seconds;          /* retention from now */
	bool legal_hold;
	const char *const *tags;        /* k, v, k, v, NULL */
	/* provider limits; 0: by the endpoint (s3_provider) */
	unsigned max_parts;
	bool exact_parts;               /* all parts of part_size */
	uint64_t part_size;             /* ceiling, or exact; 0: auto */
	/* patience and manners */
	uint64_t memory;                /* budget; 0: S3_MEMORY_DEFAULT */
	const char *spool;      /* folder for parts too large for memory */
	unsigned jobs;                  /* connections at most; 0: 8 */
	unsigned retries;               /* of one part; 0: 10 */
	unsigned timeout;               /* seconds to connect; 0: 10 */
	unsigned answer;                /* seconds to the answer; 0: 120 */
	unsigned stall;                 /* seconds without progress; 0: 1800 */
	struct rate *rate;              /* --limit-network, or NULL */
	const char *proxy;              /* as the environment says, or NULL */
};

/*
 * s3_new(t, log, e): checks t and starts the client; sends nothing.  NULL with
 * CALA_USAGE (what is malformed), CALA_FAIL.
 * s3_free: cancels what runs, joins; NULL is fine.
 */
struct s3 *s3_new(const struct s3_target *, struct log *, struct err *);
void s3_free(struct s3 *);

/* s3_date(s): the time by the server's clock, as far as it is known. */
time_t s3_date(struct s3 *);

/*
 * A plain request and its answer, for what has no function below.  Body both
 * ways is in memory.  query is name, value, name, value, ..., NULL, raw (not
 * encoded); headers are lines "name: value", NULL; both borrowed.
 */
struct s3_call {
	const char *method;             /* "GET" ... */
	const char *key;                /* NULL: the bucket */
	const char *const *query;
	const char *const *headers;
	const void *body;
	size_t body_len;
	bool md5;                       /* send Content-MD5 */
	size_t cap;                     /* of the answer; 0: 1 MiB */
	/* the answer */
	unsigned status;
	struct buf *answer;             /* NULL: dropped; borrowed */
	uint64_t length;                /* Content-Length, HEAD too */
	char etag[S3_ETAG], version[S3_ID];
	time_t modified;                /* Last-Modified, or 0 */
	char code[64];                  /* of an error document */
	/* each header line of the answer, name in lower case; may be NULL */
	void (*header)(void *, const char *, const char *);
	void *header_arg;
};

/*
 * s3_call(s, c, e): send, retry what can be, 0 for 2xx (and no error document
 * in it).  -1 with err otherwise, c->status and c->code filled (0 and "" when
 * there was no answer): NOTFOUND, AUTH, NET, INTEGRITY, EXISTS, NOSPACE, TLS
 * (the table of exit statuses).  An answer that is no buf is dropped, but its
 * error document is still read; answer is emptied before each attempt.
 */
int s3_call(struct s3 *, struct s3_call *, struct err *);

/* An object, as HEAD and lists tell. */
struct s3_object {
	const char *key;
	uint64_t size;
	time_t modified;
	const char *etag;               /* quotes included */
	const char *storage_class;      /* "" is STANDARD */
	const char *version;            /* HEAD only, or "" */
};
typedef int s3_object_fn(void *, const struct s3_object *, struct err *);

/*
 * s3_head(s, key, o, e): CALA_NOTFOUND when absent.  o's strings live until the
 *   next call in this thread's s3_head.
 * s3_list(s, prefix, delimiter, fn, arg, e): every object below prefix in the
 *   store's order; with delimiter "/" common prefixes come as keys that end in
 *   it, size 0.  fn not 0 stops.
 * s3_get(s, key, b, cap, e): a small object whole; more than cap bytes:
 *   CALA_INTEGRITY.
 * s3_put(s, key, type, p, n, only_new, e): a small object whole, verified;
 *   only_new: CALA_EXISTS when it is there.  Storage class, tags and lock of the
 *   target are for what s3_upload stores: a record must stay readable and be
 *   replaced.
 * s3_delete(s, key, version, e): absent is fine.  A locked one: CALA_PROTECTED.
 */
int s3_head(struct s3 *, const char *, struct s3_object *, struct err *);
int s3_list(struct s3 *, const char *, const char *, s3_object_fn *, void *,
    struct err *);
int s3_get(struct s3 *, const char *, struct buf *, size_t, struct err *);
int s3_put(struct s3 *, const char *, const char *, const void *, size_t,
    bool, struct err *);
int s3_delete(struct s3 *, const char *, const char *, struct err *);

/* An upload that was neither completed nor aborted. */
struct s3_open {
	const char *key, *id;
	time_t initiated;
};
typedef int s3_open_fn(void *, const struct s3_open *, struct err *);

/*
 * s3_uploads: open uploads below prefix.  s3_touched(s, key, id, &t, e): when
 * the last part of one arrived, 0 when none did; CALA_NOTFOUND.  s3_abort: gone
 * already is fine.
 */
int s3_uploads(struct s3 *, const char *, s3_open_fn *, void *, struct err *);
int s3_touched(struct s3 *, const char *, const char *, time_t *,
    struct err *);
int s3_abort(struct s3 *, const char *, const char *, struct err *);

/*
 * s3_upload(s, key, o, e): a sink of any length.  Nothing is visible before
 * commit; commit returns 0 only when the store confirmed every byte (or
 * CALA_UNKNOWN with key and upload id in err); abort removes the upload.
 * Small input becomes one PUT.  o->opened is called with an upload id before
 * its first part, so that somebody else can abort it after SIGKILL; o->closed
 * when it is gone.
 */
struct s3_upload {
	const char *type;               /* content type; NULL: by the key */
	uint64_t expect;                /* bytes to come, 0: unknown */
	bool only_new;                  /* If-None-Match: * */
	const char *const *meta;        /* user metadata: k, v, ..., NULL */
	void (*opened)(void *, const char *, const char *);
	void (*closed)(void *, const char *, const char *);
	void *arg;
	/* after commit */
	char etag[S3_ETAG], version[S3_ID];
	uint64_t size;
	unsigned parts;
	const char *verified;           /* "md5", "crc64nvme", ... or NULL */
};
struct sink *s3_upload(struct s3 *, const char *, struct s3_upload *,
    struct err *);

/*
 * s3_download(s, key, o, e): the bytes [off, off + len) in order, parallel
 * ranges of one generation of the object (If-Match), resumed after a cut.
 * CALA_NOTFOUND; CALA_EXISTS when it is not what o->etag says;
 * CALA_INTEGRITY when the object changed meanwhile, or, of a whole object, a
 * checksum that the store keeps does not match: that is the last read's answer.
 * s3_ranged(s, key, etag, size, e): random access; etag and size as from HEAD
 * or a list (NULL, 0: asks).  fetched counts what came over the network.
 */
struct s3_download {
	uint64_t off, len;              /* len UINT64_MAX: to the end */
	const char *etag, *version;     /* NULL: whatever is there */
	bool no_verify;                 /* of a whole object */
	/* prefix is a file of the first off bytes: then all is the whole */
	bool has_prefix;
	int prefix;
	/* known when s3_download returns */
	uint64_t total;                 /* of the object */
	char got_etag[S3_ETAG], got_version[S3_ID];
	const char *verified;           /* at the end; NULL: nothing to prove */
};
struct source *s3_download(struct s3 *, const char *, struct s3_download *,
    struct err *);
struct ranged *s3_ranged(struct s3 *, const char *, const char *, uint64_t,
    struct err *);

#endif
