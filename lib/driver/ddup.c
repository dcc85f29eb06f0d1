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
#include "driver/local.h"
#include "fs/extract.h"
#include "fs/fs.h"

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
how_to_read(const struct driver_call *call, struct ddup_read *how)
{
	how->jobs = call->jobs;
	how->damaged = call->no_check;
}

/* What is read from the repository lives longer than the call. */
struct branch {
	struct tree t;
	struct tree *in;
	struct ddup *r;
};

static int
branch_list(struct tree *t, const char *path, tree_fn *fn, void *arg,
    struct err *e)
{
	struct branch *b = (struct branch *)t;

	return b->in->ops->list(b->in, path, fn, arg, e);
}

static int
branch_stat(struct tree *t, const char *path, struct entry *en,
    struct err *e)
{
	struct branch *b = (struct branch *)t;

	return b->in->ops->stat(b->in, path, en, e);
}

static struct content *
branch_open(struct tree *t, const char *path, uint64_t off, uint64_t len,
    struct err *e)
{
	struct branch *b = (struct branch *)t;

	return b->in->ops->open(b->in, path, off, len, e);
}

static struct reader *
branch_reader(struct tree *t, const char *const *paths, size_t n,
    struct err *e)
{
	struct branch *b = (struct branch *)t;

	return b->in->ops->reader(b->in, paths, n, e);
}

static void
branch_close(struct tree *t)
{
	struct branch *b = (struct branch *)t;

	if (b->in != NULL)
		b->in->ops->close(b->in);
	ddup_close(b->r);
	free(b);
}

static const struct tree_ops branch_ops = {
	branch_list, branch_stat, branch_open, branch_reader, branch_close
};

static int
open_tree(struct driver_call *call, struct tree **out, struct err *e)
{
	struct branch *b = calloc(1, sizeof(*b));
	struct ddup_read how;

	if (b == NULL)
		return err_oom(e);
	b->t.ops = &branch_ops;
	how_to_read(call, &how);
	if (ddup_start(call, DDUP_SHARE, false, false, &b->r, e) == -1 ||
	    sound(call, b->r, e) == -1 ||
	    (b->in = ddup_tree(b->r, call->backup, &how, e)) == NULL) {
		branch_close(&b->t);
		return -1;
	}
	*out = &b->t;
	return 0;
}

struct flow {
	struct reader r;
	struct reader *in;
	struct ddup *repo;
};

static int
flow_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	return reader_next(((struct flow *)r)->in, en, c, e);
}

static void
flow_close(struct reader *r)
{
	struct flow *f = (struct flow *)r;

	reader_close(f->in);
	ddup_close(f->repo);
	free(f);
}

static const struct reader_ops flow_ops = { flow_next, flow_close };

static int
open_reader(struct driver_call *call, struct reader **out, struct err *e)
{
	struct flow *f = calloc(1, sizeof(*f));
	struct ddup_read how;

	if (f == NULL)
		return err_oom(e);
	f->r.ops = &flow_ops;
	how_to_read(call, &how);
	if (ddup_start(call, DDUP_SHARE, false, false, &f->repo, e) == -1 ||
	    sound(call, f->repo, e) == -1 ||
	    (f->in = ddup_reader(f->repo, call->backup, call->paths,
	    call->npaths, &how, e)) == NULL) {
		flow_close(&f->r);
		return -1;
	}
	f->r.can = f->in->can;
	*out = &f->r;
	return 0;
}

static int
restore(struct driver_call *call, struct err *e)
{
	struct fs_extract how = { .jobs = call->jobs, .overwrite = true,
	    .owners = geteuid() == 0, .xattrs = true, .sparse = true,
	    .limit_write = call->limit_write, .go_on = true };
	struct fs_extracted made;
	struct reader *in = NULL;
	struct writer *w = NULL;
	int dirfd, ret = -1;

	if ((dirfd = file_opendir(AT_FDCWD, call->dir, e)) == -1)
		return -1;
	if (open_reader(call, &in, e) == 0 &&
	    (w = fs_writer(dirfd, &how, call->log, e)) != NULL &&
	    pump(in, w, &call->tally, e) == 0)
		ret = writer_commit(w, e);
	if (ret == 0) {
		fs_writer_facts(w, &made);
		if (made.lost > 0) {
			ret = err_set(e, CALA_INTEGRITY, "%ju files are "
			    "damaged and were left out; all others are "
			    "restored", (uintmax_t)made.lost);
			err_hint(e, "--no-check restores what is left of "
			    "them, too, with zeros for what is lost");
		}
	}
	writer_free(w);
	reader_close(in);
	close(dirfd);
	return ret;
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
