#ifndef CALA_S3_SIGN_H
#define CALA_S3_SIGN_H

/*
 * sign: AWS Signature Version 4 for the service s3 (s3.md 1).
 *
 * What is signed is what is sent: path and query are encoded once, here, and
 * the same bytes go to the wire.
 */

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

struct buf;
struct err;
struct secret;

enum {
	SIGN_DATE = 17,         /* "20130524T000000Z", with NUL */
	SIGN_KEY = 32,          /* bytes of a derived key */
	SIGN_HEX = 65,          /* SHA-256 in hex, with NUL */
	SIGN_HEADERS = 64       /* at most so many in one request */
};

/* SHA-256 of nothing. */
#define SIGN_EMPTY \
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SIGN_UNSIGNED "UNSIGNED-PAYLOAD"

/* name in lower case without colon; value as it goes to the wire. */
struct sign_header {
	const char *name, *value;
};

struct sign {
	const char *method;
	const char *path;               /* encoded, begins with '/' */
	const char *query;              /* as sign_query made it; "" is none */
	struct sign_header *headers;    /* all are signed; sorted here */
	size_t nheaders;
	const char *payload;            /* of x-amz-content-sha256 */
	const char *date;               /* as sign_date made it */
	const char *region;
	const char *id;                 /* access key id */
	const unsigned char *key;       /* sign_derive's */
};

/*
 * sign_encode(b, s, n, slash): append n bytes percent-encoded; slash: '/' stays.
 * sign_query(b, pairs, e): append name, value, ..., NULL encoded, sorted and
 * joined.  A value may be NULL or "".  -1: more than SIGN_HEADERS pairs.
 * sign_date(t, out): t as amzdate.
 */
void sign_encode(struct buf *, const char *, size_t, bool);
int  sign_query(struct buf *, const char *const *, struct err *);
void sign_date(time_t, char [SIGN_DATE]);

/*
 * sign_derive(secret, date, region, out, e): the signing key of a day and a
 * region.  It is worth keeping: four HMACs.
 */
int sign_derive(const struct secret *, const char *, const char *,
    unsigned char [SIGN_KEY], struct err *);

/*
 * sign_canonical(s, b, e): append the canonical request; sorts the headers.  A
 * header that is there twice is CALA_FAIL.
 * sign_request(s, sig, b, e): the signature as hex into sig, and the value of
 * the Authorization header appended to b.
 */
int sign_canonical(struct sign *, struct buf *, struct err *);
int sign_request(struct sign *, char [SIGN_HEX], struct buf *, struct err *);

#endif
