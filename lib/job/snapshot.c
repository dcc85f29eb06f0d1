#include "job/snapshot.h"

#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "config/conf.h"

static const char *
mode_of(const struct job_env *env, const struct conf_server *srv)
{
	return conf_get(srv->section != NULL ? srv->section :
	    conf_section(env->conf, "cala", NULL), "snapshot");
}

bool
snapshot_wanted(const struct job_env *env, const struct conf_server *srv,
    const char *disk)
{
	struct err own = ERR_INIT;
	size_t n = 0;

	if (source_sweep(env->log, srv->path, srv->uuid, env->runtime, &n,
	    &own) == -1)
		log_note(env->log, "%s: snapshots of a killed run: %s",
		    str_q(srv->name), own.msg);
	/* Those disks make one themselves, and keep it. */
	if (strcmp(disk, "btrfs") == 0 || strcmp(disk, "zfs") == 0)
		return false;
	return strcmp(mode_of(env, srv), "no") != 0;
}

int
snapshot_take(const struct job_env *env, const struct conf_server *srv,
    struct source_snap *s, struct err *e)
{
	const char *mode = mode_of(env, srv);
	bool try = strcmp(mode, "auto") == 0;
	int r;

	r = source_take(env->log, srv->path, srv->uuid,
	    strcmp(mode, "btrfs") == 0 ? SOURCE_BTRFS :
	    strcmp(mode, "zfs") == 0 ? SOURCE_ZFS : SOURCE_ANY, try,
	    env->runtime, s, e);
	if (r == 0 || e->code >= CALA_SIGNAL)
		return r;
	if (!try)
		return err_ctx(e, "snapshot = %s", mode);
	/* Most directories are neither; for the rest there is a reason. */
	if (r == 1)
		log_step(env->log, "%s: no snapshot: %s", str_q(srv->name),
		    e->msg);
	else
		log_note(env->log, "%s: no snapshot, reading the directory "
		    "itself: %s", str_q(srv->name), e->msg);
	err_clear(e);
	return 1;
}
