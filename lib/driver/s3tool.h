#ifndef CALA_DRIVER_S3TOOL_H
#define CALA_DRIVER_S3TOOL_H

/*
 * s3tool: what cala-s3put and cala-s3get share: the options that name a store
 * and an object in it, and the client made of them.
 */

#include "base/opt.h"
#include "front/front.h"
#include "s3/s3.h"
#include "s3/setup.h"

struct conf;
struct rate;

/* Begin with S3TOOL_INIT; the options fill in the upper half. */
struct s3tool {
	struct front *front;
	const char *configuration;
	uint64_t memory, jobs, retries, limit, stall;
	bool json;
	struct opt_list args;
	struct s3_setup setup;
	/* of s3tool_open */
	struct conf *conf;
	struct rate *rate;
	char *bucket, *own_key;
	const char *key;                /* of the object */
	struct s3 *s3;
};

#define S3TOOL_INIT(f) { .front = (f), .retries = UINT64_MAX,		\
	.limit = UINT64_MAX }

#define S3TOOL_OPTS(t)							\
	{ OPT_STR, 'c', "configuration", "NAME",			\
	    "the configuration to use", &(t).configuration, NULL },	\
	{ OPT_STR, 0, "endpoint", "URL", "the store; default: AWS",	\
	    &(t).setup.opt_endpoint, NULL },				\
	{ OPT_STR, 0, "region", "REGION", "its region",			\
	    &(t).setup.opt_region, NULL },				\
	{ OPT_STR, 0, "profile", "NAME", "a profile of AWS's files",	\
	    &(t).setup.opt_profile, NULL },				\
	{ OPT_STR, 0, "credentials-file", "FILE",			\
	    "where access key id and secret are",			\
	    &(t).setup.opt_credentials, NULL },				\
	{ OPT_FLAG, 0, "anonymous", NULL, "sign nothing",		\
	    &(t).setup.opt_anonymous, NULL },				\
	{ OPT_SIZE, 0, "memory", "SIZE",				\
	    "stay below (default 64 MiB)", &(t).memory, NULL },		\
	{ OPT_U64, 'j', "jobs", "N", "connections at most (default 8)",	\
	    &(t).jobs, NULL },						\
	{ OPT_U64, 0, "retries", "N", "attempts of one request "	\
	    "(default 10, outages not counted)", &(t).retries, NULL },	\
	{ OPT_DURATION, 0, "stall-timeout", "TIME",			\
	    "give up when nothing works so long (default 30m)",		\
	    &(t).stall, NULL },						\
	{ OPT_RATE, 0, "limit-network", "RATE",				\
	    "move at most RATE bytes a second", &(t).limit, NULL },	\
	{ OPT_FLAG, 0, "json", NULL, "a line about the object",		\
	    &(t).json, NULL },						\
	{ OPT_FLAG, 0, "progress", NULL,				\
	    "progress, also without a terminal", &(t).front->progress,	\
	    NULL }

/*
 * s3tool_open(t, what, env, e): the operand, the configuration (in
 * maintenance: CALA_MAINTENANCE, "no ${what}"), credentials and the client.
 * s3tool_close: always.
 */
int  s3tool_open(struct s3tool *, const char *, char *const *, struct err *);
void s3tool_close(struct s3tool *);

/*
 * s3tool_report(t, rep, log): of a run that has done its work, the members that
 * both tools print.  s3tool_proof(rep, etag, version, word): what is known of
 * the object; word NULL: nothing proves it.
 */
struct front_report;
void s3tool_report(const struct s3tool *, struct front_report *, struct log *);
void s3tool_proof(struct front_report *, const char *, const char *,
    const char *);

#endif
