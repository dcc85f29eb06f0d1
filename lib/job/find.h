#ifndef CALA_JOB_FIND_H
#define CALA_JOB_FIND_H

/*
 * find: asking drivers, several at once, which backups there are; for this
 * room.
 */

#include "base/buf.h"
#include "job/job.h"

/* A backup, and where. */
struct hit {
	const struct conf_section *cfg;
	struct record rec;      /* without its lists of texts */
	char *raw;              /* the JSON as it came, when asked for */
};

/* A configuration that could not be asked. */
struct miss {
	const struct conf_section *cfg;
	int code;
	char *why;              /* our finding, or "" when the driver said it */
	char *said;             /* its messages */
};

struct finds {
	struct hit **hit;
	size_t nhits;
	struct miss *miss;
	size_t nmisses;
};

/*
 * finds_ask(env, cfgs, n, server, raw, f, e): add the backups of a server
 * (UUID; NULL: of all) in n configurations.  A configuration that can't be
 * asked is a miss and no error; one that could be read in part is a warning,
 * and what it told counts.  Another server's backup is passed over where a
 * driver lists it all the same.  -1 without memory or when stopped.
 * finds_sort: oldest first.  finds_free: also after a failure.
 */
int  finds_ask(const struct job_env *, const struct conf_section *const *,
    size_t, const char *, bool, struct finds *, struct err *);
void finds_sort(struct finds *);
void finds_free(struct finds *);

/* miss_say(env, m): what the driver and we have to say about it, to the log. */
void miss_say(const struct job_env *, const struct miss *);

/*
 * job_configs(env, &v, &n, e): the configuration of -c, or all; v is on the
 * heap.
 */
int job_configs(const struct job_env *, const struct conf_section ***,
    size_t *, struct err *);

/*
 * job_locate(env, server, backup, srv, b, e): the server and its backup; the
 * caller ends both.
 * args_backup(env, a, b, verb): the driver's verb on that backup.
 */
struct args;
int  job_locate(const struct job_env *, const char *, const char *,
    struct conf_server *, struct job_found *, struct err *);
void args_backup(const struct job_env *, struct args *,
    const struct job_found *, const char *);

#endif
