/* ddup: the repository as a disk: names, records, reading, removing. */

#include "driver/ddup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "config/conf.h"
#include "ddup/read.h"
#include "driver/beside.h"
#include "driver/dirs.h"
#include "driver/local.h"
#include "entry/holding.h"

enum { FILE_NAME = UUID_TEXT + 8 };

int
ddup_start(struct driver_call *call, enum ddup_use use, bool write,
    bool create, struct ddup **r, struct err *e)
{
	struct ddup_how how = { .use = use, .write = write, .index = write };
	int dirfd, ret;

	if ((dirfd = local_open(call, create, e)) == -1)
		return -1;
	ret = ddup_open(r, dirfd, &how, call->log, e);
	if (ret == -1 && create && e->code == CALA_NOTFOUND) {
		err_clear(e);
		log_note(call->log, "making a repository in %s",
		    str_q(local_dir(call)));
		ret = ddup_init(dirfd, (uint32_t)conf_u64(call->cfg,
		    "chunk-size"), 0, e);
		/* Somebody else may have been faster. */
		if (ret == -1 && e->code == CALA_EXISTS)
			err_clear(e);
		ret = e->code == 0 ? ddup_open(r, dirfd, &how, call->log, e) :
		    -1;
	}
	close(dirfd);
	if (ret == -1)
		err_ctx(e, "%s", str_q(local_dir(call)));
	return ret;
}

static int
foreign(const struct driver_call *call, struct ddup *r, const char *uuid,
    struct record *rec, struct err *e)
{
	char name[FILE_NAME];
	struct stat st;
	int whole;

	snprintf(name, sizeof(name), "%s.ddup", uuid);
	if (fstatat(ddup_archives(r), name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return err_sys(e, "%s", name);
	if ((whole = ddup_ended(r, uuid, e)) == -1)
		return -1;
	record_init(rec);
	rec->complete = whole == 1;
	memcpy(rec->uuid, uuid, sizeof(rec->uuid));
	rec->foreign = true;
	/* It is written under its final name: this is when it ended. */
	rec->created = rec->completed = st.st_mtim;
	if (record_set(&rec->disk, conf_disk(call->cfg), e) == -1 ||
	    record_set(&rec->configuration, call->configuration, e) == -1) {
		record_fini(rec);
		return -1;
	}
	return 0;
}

int
ddup_record(struct driver_call *call, struct ddup *r, const char *uuid,
    struct record *rec, struct err *e)
{
	return beside_tell(call, ddup_archives(r), uuid, rec) == 1 ? 0 :
	    foreign(call, r, uuid, rec, e);
}

int
ddup_proven(struct driver_call *call, struct ddup *r,
    const struct record *rec, struct err *e)
{
	if (rec->sum_type == NULL || rec->sum_value == NULL ||
	    strcmp(rec->sum_type, "ddup-sha1") != 0)
		return 1;
	return ddup_sound(r, call->backup, rec->sum_value, e);
}

/*
 * Before anything is read of it: deflate alone does not notice a flipped bit in
 * a name or a mode.
 */
static int
sound(struct driver_call *call, struct ddup *r, struct err *e)
{
	struct err why = ERR_INIT;
	struct record rec;
	int ret;

	/* A record that can't be read was complained of when it was found. */
	if (beside_get(ddup_archives(r), call->backup, &rec, &why) != 1)
		return 0;
	ret = ddup_proven(call, r, &rec, e);
	record_fini(&rec);
	if (ret != -1 || e->code != CALA_INTEGRITY)
		return ret == -1 ? -1 : 0;
	if (call->no_check) {
		log_warn(call->log, "%s", e->msg);
		err_clear(e);
		return 0;
	}
	return err_hint(e, "--no-check reads what is left of it");
}

struct listing {
	struct driver_call *call;
	struct ddup *r;
	record_fn *fn;
	void *arg;
};

static int
list_one(void *arg, const char *name, struct err *e)
{
	struct listing *l = arg;
	char uuid[UUID_TEXT];
	struct record rec;
	struct err why = ERR_INIT;
	int ret = 0;

	/* Lower case only: nobody looks for another spelling. */
	if (uuid_norm(name, uuid) == -1 || strcmp(name, uuid) != 0)
		return 0;
	if (ddup_record(l->call, l->r, uuid, &rec, &why) == -1) {
		/* Removed since we read the folder. */
		if (why.code == CALA_NOTFOUND)
			return 0;
		*e = why;
		return -1;
	}
	if (l->call->server[0] == '\0' ||
	    strcmp(l->call->server, rec.server) == 0)
		ret = l->fn(l->arg, &rec, e);
	record_fini(&rec);
	return ret;
}

static int
list(struct driver_call *call, record_fn *fn, void *arg, struct err *e)
{
	struct listing l = { call, NULL, fn, arg };
	int ret;

	if (ddup_start(call, DDUP_LOOK, false, false, &l.r, e) == -1) {
		/* A folder for backups that has no repository yet is empty. */
		if (e->code != CALA_NOTFOUND)
			return -1;
		err_clear(e);
		return 0;
	}
	ret = care_archives(l.r, list_one, &l, e);
	ddup_close(l.r);
	return ret;
}

static int
present(struct ddup *r, const char *uuid, struct err *e)
{
	int there = ddup_exists(r, uuid, e);

	return there == 0 ? err_set(e, CALA_NOTFOUND, "no backup %s", uuid) :
	    there == 1 ? 0 : -1;
}

static int
find(struct driver_call *call, struct record *rec, struct err *e)
{
	struct ddup *r;
	int ret = -1;

	if (ddup_start(call, DDUP_LOOK, false, false, &r, e) == -1)
		return e->code == CALA_NOTFOUND ? err_set(e, CALA_NOTFOUND,
		    "no backup %s", call->backup) : -1;
	if (present(r, call->backup, e) == 0)
		ret = ddup_record(call, r, call->backup, rec, e);
	ddup_close(r);
	return ret;
}

/* Two at once must not undo each other. */
static int
record_lock(struct driver_call *call, struct ddup *r, struct err *e)
{
	return file_lock(ddup_dirfd(r), "cala-records.lock",
	    call->driver->name, LOCAL_WAIT, e);
}

static int
sync_record(struct driver_call *call, struct record *rec, struct err *e)
{
	struct ddup *r;
	int lock = -1, ret = -1;

	if (ddup_start(call, DDUP_LOOK, false, false, &r, e) == -1)
		return -1;
	if ((lock = record_lock(call, r, e)) != -1 &&
	    present(r, rec->uuid, e) == 0)
		ret = beside_sync(call, ddup_archives(r), rec, e);
	if (lock != -1)
		close(lock);
	ddup_close(r);
	return ret;
}

static int
remove_one(struct driver_call *call, struct record *rec, struct err *e)
{
	struct ddup *r;
	int lock = -1, ret = -1;

	/* The exclusive lock first: it may take long to get. */
	if (ddup_start(call, call->dry_run ? DDUP_LOOK : DDUP_ALONE,
	    !call->dry_run, false, &r, e) == -1)
		return -1;
	if ((!call->dry_run && (lock = record_lock(call, r, e)) == -1) ||
	    present(r, rec->uuid, e) == -1 ||
	    beside_free(ddup_archives(r), rec->uuid, e) == -1)
		goto out;
	if (call->dry_run) {
		driver_say(call, "would remove %s.ddup", rec->uuid);
		ret = 0;
	} else if (ddup_remove(r, rec->uuid, e) == 0) {
		ret = beside_drop(ddup_archives(r), rec->uuid, e);
	}
out:
	if (lock != -1)
		close(lock);
	ddup_close(r);
	return ret;
}

static void
drop(void *r)
{
	ddup_close(r);
}

/* What is read from the repository lives longer than the call. */
static int
begin_read(struct driver_call *call, struct ddup **r, struct ddup_read *how,
    struct err *e)
{
	how->jobs = call->jobs;
	how->damaged = call->no_check;
	*r = NULL;
	if (ddup_start(call, DDUP_SHARE, false, false, r, e) == 0 &&
	    sound(call, *r, e) == 0)
		return 0;
	ddup_close(*r);
	return -1;
}

static int
open_tree(struct driver_call *call, struct tree **out, struct err *e)
{
	struct ddup_read how;
	struct tree *in;
	struct ddup *r;

	if (begin_read(call, &r, &how, e) == -1)
		return -1;
	if ((in = ddup_tree(r, call->backup, &how, e)) == NULL) {
		ddup_close(r);
		return -1;
	}
	return (*out = tree_holding(in, r, drop, e)) != NULL ? 0 : -1;
}

static int
open_reader(struct driver_call *call, struct reader **out, struct err *e)
{
	struct ddup_read how;
	struct reader *in;
	struct ddup *r;

	if (begin_read(call, &r, &how, e) == -1)
		return -1;
	if ((in = ddup_reader(r, call->backup, call->paths, call->npaths,
	    &how, e)) == NULL) {
		ddup_close(r);
		return -1;
	}
	return (*out = reader_holding(in, r, drop, e)) != NULL ? 0 : -1;
}

static int
restore(struct driver_call *call, struct err *e)
{
	return dirs_restore(call, open_reader, e);
}

static const char *const disks[] = { "ddup-bak", NULL };

const struct driver ddup_driver = {
	.name = "cala-ddup",
	.disks = disks,
	.takes = DRIVER_STREAM | DRIVER_DIR,
	.salvages = true,
	.put_begin = ddup_put_stream,
	.put_dir = ddup_put_dir,
	.open = open_tree,
	.get = open_reader,
	.restore = restore,
	.list = list,
	.find = find,
	.sync = sync_record,
	.remove = remove_one,
	.check = ddup_check,
	.verify = ddup_verify_one,
	.verify_all = ddup_verify_whole,
	.gc = ddup_collect,
	.extra = ddup_verbs,
};
