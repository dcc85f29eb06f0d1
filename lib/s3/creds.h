#ifndef CALA_S3_CREDS_H
#define CALA_S3_CREDS_H

/*
 * creds: where an access key comes from (s3.md §8), and getting it anew when
 * the store says that it expired; for this room only.
 *
 * The first source that has a key wins, and id, secret and token are of that
 * one source:
 *
 *	1. a file named on the command line
 *	2. a profile named on the command line or by the configuration
 *	3. the configuration's access-key and secret-key, or anonymous
 *	4. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
 *	5. the profile of AWS_PROFILE, else "default": its keys, its
 *	   credential_process, its web identity
 *	6. AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN
 *	7. AWS_CONTAINER_CREDENTIALS_*
 *	8. the EC2 instance, only where imds = yes
 */

#include <stdbool.h>

#include "s3/awsfile.h"
#include "s3/s3.h"

struct buf;
struct conf;
struct conf_section;
struct err;
struct log;

struct creds_from {
	const struct conf *conf;
	const struct conf_section *cfg; /* NULL: none */
	char *const *env;
	struct log *log;
	const char *file;               /* 1, or NULL */
	const char *profile;            /* 2 or 5 */
	bool named;                     /* 2: it must exist */
	bool imds;
	const struct s3_target *target; /* region, cacert, proxy */
	struct awsfile config, shared;  /* as creds_files read them */
};

/* creds_env(env, name): its value; NULL also when it is empty. */
const char *creds_env(char *const *, const char *);

/*
 * creds_files(c, e): read the two files anew.  creds_profile(c, key): a key of
 * the profile; what the credentials file says wins.
 */
int  creds_files(struct creds_from *, struct err *);
const char *creds_profile(const struct creds_from *, const char *,
    const char *);
void creds_files_fini(struct creds_from *);

/*
 * creds_get(c, out, e): out filled anew (what it held is wiped).  CALA_AUTH
 * when no source has a key, or a chosen one fails; CALA_USAGE when what the
 * administrator wrote is no key.
 * creds_refresh: the same once more, for s3_target; CALA_AUTH when the source
 * has only what expired.
 */
int  creds_get(struct creds_from *, struct s3_creds *, struct err *);
int  creds_refresh(void *, struct s3_creds *, struct err *);
void creds_fini(struct s3_creds *);

/*
 * creds_take(out, id, secret, token, e): check and copy one key; token may be
 * NULL.
 */
int  creds_take(struct s3_creds *, const char *, const char *, const char *,
    struct err *);

/*
 * creds_net.c: sources that are asked over HTTP.  1: not set up, 0, -1.
 * creds_json(p, n, what, out, e): the document that credential_process and
 * container services print.
 */
int creds_web(struct creds_from *, const char *, const char *, const char *,
    struct s3_creds *, struct err *);
int creds_container(struct creds_from *, struct s3_creds *, struct err *);
int creds_imds(struct creds_from *, struct s3_creds *, struct err *);
int creds_json(const char *, size_t, const char *, struct s3_creds *,
    struct err *);

#endif
