/*
 * local: what is in the folder, and the verbs that only handle names and
 * records.
 */

#include "driver/local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"
#include "config/conf.h"
#include "driver/beside.h"

/* Dumps of databases that newer Wings keep beside the archives. */
static const char *const dump_kinds[] = { "sql", "archive", "rdb", "dump" };
static const char *const dump_codecs[] =
    { "", ".gz", ".xz", ".lz", ".bz2", ".lz4", ".zst" };

enum {
	DUMP_KINDS = sizeof(dump_kinds) / sizeof(*dump_kinds),
	DUMP_CODECS = sizeof(dump_codecs) / sizeof(*dump_codecs),
	RANKS = ARCHIVE_FORMATS + DUMP_KINDS * DUMP_CODECS
};

const char *
local_dir(const struct driver_call *call)
{
	const char *own = conf_get(call->cfg, "backup-directory");

	return own != NULL ? own : conf_backup_dir(call->conf);
}

int
local_open(struct driver_call *call, bool create, struct err *e)
{
	const char *dir = local_dir(call);
	struct stat st;
	int fd;

	if (create && stat(dir, &st) == -1 && errno == ENOENT)
		log_note(call->log, "making the directory %s", str_q(dir));
	fd = create ? file_mkdirs(dir, 0700, e) :
	    file_opendir(AT_FDCWD, dir, e);
	if (fd == -1) {
		err_ctx(e, "backup directory");
		if (e->code == CALA_NOTFOUND)
			err_hint(e, "mkdir -m 700 %s, or set "
			    "backup-directory", str_q(dir));
	}
	return fd;
}

/* The name of rank i behind uuid. */
static void
ranked(struct local_file *f, const char *uuid, unsigned i)
{
	unsigned d = i - ARCHIVE_FORMATS;

	memcpy(f->uuid, uuid, sizeof(f->uuid));
	f->rank = i;
	f->dump = i >= ARCHIVE_FORMATS;
	f->format = f->dump ? ARCHIVE_TAR : (enum archive_format)i;
	if (f->dump)
		snprintf(f->name, sizeof(f->name), "%s.%s%s", uuid,
		    dump_kinds[d / DUMP_CODECS], dump_codecs[d % DUMP_CODECS]);
	else
		snprintf(f->name, sizeof(f->name), "%s.%s", uuid,
		    archive_info[i].ext);
}

bool
local_name(const char *name, struct local_file *f)
{
	char uuid[UUID_TEXT];
	size_t n = strlen(name);
	unsigned i;

	if (n < UUID_TEXT || n >= LOCAL_NAME || name[UUID_TEXT - 1] != '.')
		return false;
	memcpy(uuid, name, UUID_TEXT - 1);
	uuid[UUID_TEXT - 1] = '\0';
	/* Lower case only: nobody looks for another spelling. */
	if (uuid_norm(uuid, f->uuid) == -1 || strcmp(uuid, f->uuid) != 0)
		return false;
	for (i = 0; i < RANKS; i++) {
		ranked(f, uuid, i);
		if (strcmp(f->name, name) == 0)
			return true;
	}
	return false;
}

/* 0; 1 when there is no such file, or none that can be a backup. */
static int
look(int dirfd, struct local_file *f, struct err *e)
{
	struct stat st;

	if (fstatat(dirfd, f->name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
		if (errno == ENOENT)
			return 1;
		return err_sys(e, "%s", f->name);
	}
	if (!S_ISREG(st.st_mode))
		return 1;
	f->size = (uint64_t)st.st_size;
	f->mtime = st.st_mtim;
	return 0;
}

int
local_find(int dirfd, const char *uuid, struct local_file *f, struct err *e)
{
	unsigned i;
	int got;

	for (i = 0; i < RANKS; i++) {
		ranked(f, uuid, i);
		if ((got = look(dirfd, f, e)) != 1)
			return got;
	}
	return err_set(e, CALA_NOTFOUND, "no backup %s", uuid);
}

static int
by_uuid(const void *va, const void *vb)
{
	const struct local_file *a = va, *b = vb;
	int c = strcmp(a->uuid, b->uuid);

	return c != 0 ? c : a->rank < b->rank ? -1 : a->rank > b->rank;
}

int
local_scan(int dirfd, struct local_file **out, size_t *count, struct err *e)
{
	struct local_file f, *v = NULL, *more;
	struct dirent *d;
	size_t n = 0, cap = 0, i, k;
	DIR *dp = NULL;
	int ret = -1, got;

	if ((dp = file_list(dirfd)) == NULL)
		return err_sys(e, "read the backup directory");
	for (;;) {
		errno = 0;
		if ((d = readdir(dp)) == NULL)
			break;
		if (!local_name(d->d_name, &f))
			continue;
		if ((got = look(dirfd, &f, e)) == -1)
			goto out;
		if (got == 1)
			continue;
		if (n == cap) {
			cap = cap == 0 ? 64 : 2 * cap;
			more = reallocarray(v, cap, sizeof(*v));
			if (more == NULL) {
				err_oom(e);
				goto out;
			}
			v = more;
		}
		v[n++] = f;
	}
	if (errno != 0) {
		err_sys(e, "read the backup directory");
		goto out;
	}
	if (n > 0)
		qsort(v, n, sizeof(*v), by_uuid);
	for (i = k = 0; i < n; i++)
		if (k == 0 || strcmp(v[k - 1].uuid, v[i].uuid) != 0)
			v[k++] = v[i];
	*out = v;
	*count = k;
	v = NULL;
	ret = 0;
out:
	if (dp != NULL)
		closedir(dp);
	free(v);
	return ret;
}

static int
foreign(const struct driver_call *call, const struct local_file *f,
    struct record *rec, struct err *e)
{
	record_init(rec);
	memcpy(rec->uuid, f->uuid, sizeof(rec->uuid));
	rec->foreign = true;
	/* Wings writes under the final name: this is when it ended. */
	rec->created = rec->completed = f->mtime;
	rec->has_stored = true;
	rec->stored = f->size;
	if (record_set(&rec->disk, "local", e) == -1 ||
	    record_set(&rec->configuration, call->configuration, e) == -1) {
		record_fini(rec);
		return -1;
	}
	return 0;
}

int
local_record(struct driver_call *call, int dirfd, const struct local_file *f,
    struct record *rec, struct err *e)
{
	int r = beside_tell(call, dirfd, f->uuid, rec);

	return r == 1 ? 0 : foreign(call, f, rec, e);
}

/*
 * A file of another size than its record's is not what was stored, and not
 * called whole; the record itself stays as it is.
 */
static void
compare(struct driver_call *call, const struct local_file *f,
    struct record *rec)
{
	if (rec->foreign || !rec->has_stored || rec->stored == f->size)
		return;
	log_warn(call->log, "%s: damaged: it has %" PRIu64 " bytes, its "
	    "record says %" PRIu64, f->name, f->size, rec->stored);
	rec->complete = false;
}

static int
local_list(struct driver_call *call, record_fn *fn, void *arg, struct err *e)
{
	struct local_file *v = NULL;
	struct record rec;
	size_t n = 0, i;
	int dirfd, ret = -1;

	if ((dirfd = local_open(call, false, e)) == -1)
		return -1;
	if (local_scan(dirfd, &v, &n, e) == -1)
		goto out;
	for (i = 0; i < n; i++) {
		if (local_record(call, dirfd, &v[i], &rec, e) == -1)
			goto out;
		ret = 0;
		if (call->server[0] == '\0' ||
		    strcmp(call->server, rec.server) == 0) {
			compare(call, &v[i], &rec);
			ret = fn(arg, &rec, e);
		}
		record_fini(&rec);
		if (ret != 0)
			goto out;
	}
	ret = 0;
out:
	free(v);
	close(dirfd);
	return ret;
}

static int
local_lookup(struct driver_call *call, struct record *rec, struct err *e)
{
	struct local_file f;
	int dirfd, ret = -1;

	if ((dirfd = local_open(call, false, e)) == -1)
		return -1;
	if (local_find(dirfd, call->backup, &f, e) == 0)
		ret = local_record(call, dirfd, &f, rec, e);
	close(dirfd);
	return ret;
}

static int
local_sync(struct driver_call *call, struct record *rec, struct err *e)
{
	struct local_file f;
	int dirfd, lock = -1, ret = -1;

	if ((dirfd = local_open(call, false, e)) == -1)
		return -1;
	if ((lock = file_lock(dirfd, LOCAL_LOCK, call->driver->name,
	    LOCAL_WAIT, e)) == -1 ||
	    local_find(dirfd, rec->uuid, &f, e) == -1)
		goto out;
	ret = beside_sync(call, dirfd, rec, e);
out:
	if (lock != -1)
		close(lock);
	close(dirfd);
	return ret;
}

/* The archive first: a record alone is invisible, an archive alone is not. */
static int
unlink_both(struct driver_call *call, int dirfd, const struct local_file *f,
    struct err *e)
{
	struct local_file other;
	struct err none = ERR_INIT;

	if (unlinkat(dirfd, f->name, 0) == -1 || fsync(dirfd) == -1)
		return err_sys(e, "remove %s", f->name);
	/* The record may be the other's; it goes with the last of them. */
	if (local_find(dirfd, f->uuid, &other, &none) == 0) {
		log_note(call->log, "another file of this backup stays: %s",
		    other.name);
		return 0;
	}
	return beside_drop(dirfd, f->uuid, e);
}

static int
local_remove(struct driver_call *call, struct record *rec, struct err *e)
{
	struct local_file f;
	int dirfd, lock = -1, ret = -1;

	if ((dirfd = local_open(call, false, e)) == -1)
		return -1;
	if ((lock = file_lock(dirfd, LOCAL_LOCK, call->driver->name,
	    LOCAL_WAIT, e)) == -1 ||
	    local_find(dirfd, rec->uuid, &f, e) == -1)
		goto out;
	if (beside_free(dirfd, rec->uuid, e) == -1)
		goto out;
	if (call->dry_run) {
		driver_say(call, "would remove %s", f.name);
		ret = 0;
	} else {
		ret = unlink_both(call, dirfd, &f, e);
	}
out:
	if (lock != -1)
		close(lock);
	close(dirfd);
	return ret;
}

static const char *const disks[] = { "local", NULL };

const struct driver local_driver = {
	.name = "cala-local",
	.disks = disks,
	.takes = DRIVER_STREAM,
	.proves = true,
	.put_begin = local_put,
	.open = local_tree,
	.get = local_get,
	.raw = local_raw,
	.list = local_list,
	.find = local_lookup,
	.sync = local_sync,
	.remove = local_remove,
	.check = local_check,
	.verify = local_verify,
	.gc = local_gc,
};
