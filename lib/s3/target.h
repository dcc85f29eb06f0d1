#ifndef CALA_S3_TARGET_H
#define CALA_S3_TARGET_H

/*
 * target: what an endpoint is: host, port, base path; whose it is and what
 * that provider can't do; path or virtual-hosted style; its region (s3.md 5,
 * 7).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "s3/s3.h"

struct buf;
struct err;

enum { PLACE_HOST = 256, PLACE_BASE = 256, REGION_MAX = 64 };

struct s3_place {
	bool tls;
	char host[PLACE_HOST];          /* lower case, brackets of IPv6 kept */
	unsigned port;                  /* 0: the scheme's own */
	char base[PLACE_BASE];          /* "" or "/s3", never ends in '/' */
};

/* What differs from AWS; one row a provider, found by the end of its host. */
struct s3_provider {
	const char *suffix;             /* NULL ends the table: all others */
	bool aws;
	bool equal_parts;               /* all but the last of one size */
	bool composite;                 /* CRC-32s of parts, not of the whole */
	bool conditional;               /* If-None-Match is kept */
	unsigned max_parts;
	unsigned max_jobs;              /* connections at most; 0: any */
	uint64_t max_object;            /* bytes */
	const char *region;             /* fixed; NULL: see s3_place_region */
};

/*
 * s3_place_parse(text, p, e): "[scheme://]host[:port][/base]".  CALA_USAGE for
 * anything else: user info, query, fragment, other schemes, zone ids.
 */
int s3_place_parse(const char *, struct s3_place *, struct err *);

/* s3_provider(p): never NULL. */
const struct s3_provider *s3_provider(const struct s3_place *);

/*
 * s3_place_aws(region, p): AWS's own endpoint of a region.
 * s3_place_region(p, out): the region that the host's name tells: 0, or -1.
 */
void s3_place_aws(const char *, struct s3_place *);
int  s3_place_region(const struct s3_place *, char [REGION_MAX]);

/*
 * s3_place_style(p, bucket, want): S3_PATH or S3_VIRTUAL; S3_VIRTUAL as well
 * when the host begins with the bucket already (s3_place_pasted).
 * s3_place_other(p, bucket): might the other style work, too?
 */
enum s3_style s3_place_style(const struct s3_place *, const char *,
    enum s3_style);
bool s3_place_pasted(const struct s3_place *, const char *);
bool s3_place_other(const struct s3_place *, const char *);

/*
 * s3_place_host(p, style, bucket, b): the Host header.
 * s3_place_path(p, style, bucket, key, b): the encoded path; key NULL: the
 * bucket itself.
 * s3_place_trusts(p, host): may a redirect lead from p to host?  Only below
 * the same host or within one provider.
 */
void s3_place_host(const struct s3_place *, enum s3_style, const char *,
    struct buf *);
void s3_place_path(const struct s3_place *, enum s3_style, const char *,
    const char *, struct buf *);
bool s3_place_trusts(const struct s3_place *, const char *);

/*
 * s3_bucket_check(bucket, e): 3..255 bytes of letters, digits, '.', '-', '_';
 * ':' and '/' would change what is asked for.  s3_key_check(key, e): 1..1024
 * bytes of UTF-8.  CALA_USAGE.
 */
int s3_bucket_check(const char *, struct err *);
int s3_key_check(const char *, struct err *);

#endif
