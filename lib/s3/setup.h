#ifndef CALA_S3_SETUP_H
#define CALA_S3_SETUP_H

/*
 * setup: an s3_target from what an administrator says: a configuration, the
 * AWS variables and profiles, s3://bucket/key, options (s3.md §1.10, §5, §8).
 *
 * What a configuration says stands above the variables.  One that has its own
 * access key is complete: then no AWS variable and no profile counts, so that
 * the same command does the same from a shell and from cron.
 */

#include <stdbool.h>

#include "s3/s3.h"

struct conf;
struct conf_section;
struct err;
struct log;

/*
 * s3_setup owns every string of its target, the credentials and what it takes
 * to read them again.  Begin with all zero; it must stay where it is.
 *
 * conf, cfg: a configuration of disk s3, or NULL: then everything comes from
 *   env (AWS_*, endpoint and region variables, profile files).
 * env: the environment, NULL-terminated; read, never changed.
 * Options of the command line go over both: set them in the members before;
 * whatever of target is not 0 or NULL stays as it is.
 */
struct s3_setup {
	struct s3_target target;
	/* given by the caller, all optional */
	const char *opt_endpoint, *opt_region, *opt_profile, *opt_bucket;
	const char *opt_credentials;            /* file of id and secret */
	bool opt_anonymous, opt_imds;
	/* the rest belongs to setup.c */
	void *own;
};

/*
 * s3_setup_conf(u, conf, cfg, env, log, e): 0, or -1 with CALA_USAGE (which
 * key), CALA_AUTH (a secret can't be had).
 * s3_setup_fini: wipes and frees; also after a failure, or of all zero.
 */
int  s3_setup_conf(struct s3_setup *, const struct conf *,
    const struct conf_section *, char *const *, struct log *, struct err *);
void s3_setup_fini(struct s3_setup *);

/*
 * s3_url(text, &bucket, &key, e): "s3://bucket/key" taken apart into new
 * strings the caller frees; the key is not decoded, and "" when there is none.
 * 0; -1 with CALA_USAGE.  1 when text is no such URL.
 */
int s3_url(const char *, char **, char **, struct err *);

/*
 * s3_proxy(env, endpoint, host): the proxy for requests to host, a name or an
 * address without port: https_proxy or http_proxy by the endpoint's scheme,
 * all_proxy, upper case too (but HTTP_PROXY), unless no_proxy covers the host.
 * NULL: none.  Borrowed from env.
 */
const char *s3_proxy(char *const *, const char *, const char *);

#endif
