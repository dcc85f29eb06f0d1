#ifndef CALA_S3_WIRE_H
#define CALA_S3_WIRE_H

/* What wire.c (an attempt) and head.c (what goes out in front) share. */

#include <curl/curl.h>

#include "base/buf.h"
#include "s3/client.h"

enum { HEADER_MAX = 16 << 10 };         /* bytes of one line that we send */

/* One attempt while it runs. */
struct wire {
	struct s3 *s;
	struct s3_req *r;
	struct wire_facts *f;
	struct err *e;
	CURL *c;
	bool failed;                    /* e was set by a callback */
	const char *why;                /* we ended it: "stalled" */
	struct buf head[SIGN_HEADERS];  /* "name\0value" to be sent */
	size_t nhead;
	char date[SIGN_DATE];
	struct curl_slist *list;
	/* the body on its way */
	struct iovec one;
	const struct iovec *iov;
	size_t niov, at, off;           /* off bytes of iov[at] are read */
	uint64_t spooled;               /* bytes of the spool that are read */
	uint64_t total;
	bool expect, asked;
	double start;
	/* the answer on its way */
	struct buf error;
	size_t got;
	/* patience */
	double mark;                    /* when_mono() */
	curl_off_t marked;
};

/*
 * wire_prepare(w, attempt, url): everything that goes out before the body,
 * signed: fills in w->head, w->list, w->expect, and appends the URL.
 */
int wire_prepare(struct wire *, unsigned, struct buf *);

#endif
