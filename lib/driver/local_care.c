/*
 * local_care: is the folder fit for backups, is a backup fit for a restore,
 * and what may go.
 */

#include "driver/local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/str.h"
#include "driver/beside.h"
#include "driver/stored.h"

enum { PROBE = 64 << 10 };

/* Write, sync, read back through another descriptor, delete. */
int
local_probe(struct driver_call *call, int dirfd, struct err *e)
{
	unsigned char *p = malloc(2 * PROBE);
	struct afile f = AFILE_INIT;
	int fd = -1, ret = -1;

	if (p == NULL)
		return err_oom(e);
	if (getrandom(p, 256, 0) != 256) {
		err_sys(e, "get randomness");
		goto out;
	}
	memset(p + 256, 0xa5, PROBE - 256);
	if (afile_open(&f, dirfd, "cala-check", e) == -1) {
		stored_failed(call, "create a file", e);
		err_hint(e, "run as the owner of %s, and see that it is not "
		    "mounted read-only", str_q(local_dir(call)));
		goto out;
	}
	if (file_write_all(f.fd, p, PROBE) == -1 || fsync(f.fd) == -1) {
		err_sys(e, "write");
		stored_failed(call, "write and sync", e);
		goto out;
	}
	driver_say(call, "ok: wrote and synced %d bytes", (int)PROBE);
	(void)posix_fadvise(f.fd, 0, 0, POSIX_FADV_DONTNEED);
	fd = openat(dirfd, f.tmp, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1 || file_read_full(fd, p + PROBE, PROBE) != PROBE) {
		err_sys(e, "read");
		stored_failed(call, "read back", e);
		goto out;
	}
	if (memcmp(p, p + PROBE, PROBE) != 0) {
		err_set(e, CALA_INTEGRITY, "what was read is not what was "
		    "written");
		stored_failed(call, "read back", e);
		err_hint(e, "the storage is defective: test disk, cable and "
		    "memory before you trust a backup on it");
		goto out;
	}
	driver_say(call, "ok: read the same bytes back");
	if (unlinkat(dirfd, f.tmp, 0) == -1 || fsync(dirfd) == -1) {
		err_sys(e, "delete");
		stored_failed(call, "delete", e);
		goto out;
	}
	driver_say(call, "ok: deleted the file and synced the directory");
	ret = 0;
out:
	if (fd != -1)
		close(fd);
	afile_abort(&f);
	free(p);
	return ret;
}

int
local_room(struct driver_call *call, int dirfd, struct err *e)
{
	char have[STR_HUMAN], all[STR_HUMAN];
	struct statvfs fs;

	if (fstatvfs(dirfd, &fs) == -1) {
		err_sys(e, "ask for free space");
		return stored_failed(call, "free space", e);
	}
	driver_say(call, "%s: %s of %s are free", fs.f_bavail <
	    fs.f_blocks / 20 ? "note" : "ok",
	    str_human((uint64_t)fs.f_bavail * fs.f_frsize, have),
	    str_human((uint64_t)fs.f_blocks * fs.f_frsize, all));
	return 0;
}

int
local_check(struct driver_call *call, struct err *e)
{
	struct local_file *v = NULL;
	struct stat st;
	size_t n = 0;
	int dirfd, ret = -1;

	if ((dirfd = local_open(call, false, e)) == -1)
		return stored_failed(call, "open the directory", e);
	driver_say(call, "ok: directory %s", str_q(local_dir(call)));
	if (fstat(dirfd, &st) == 0 && (st.st_mode & 07) != 0)
		driver_say(call, "note: others may enter it (mode %03o); "
		    "chmod 700 keeps backups private",
		    (unsigned)(st.st_mode & 0777));
	if (local_probe(call, dirfd, e) == -1 ||
	    local_room(call, dirfd, e) == -1)
		goto out;
	if (local_scan(dirfd, &v, &n, e) == -1) {
		stored_failed(call, "list", e);
		goto out;
	}
	driver_say(call, "ok: %zu backups", n);
	ret = 0;
out:
	free(v);
	close(dirfd);
	return ret;
}

/* A dump has no end that could be seen: only its checksum could tell. */
static int
verify_dump(struct driver_call *call, const struct record *rec,
    struct err *e)
{
	struct source *in;
	uint64_t n;
	int ret;

	if (local_raw(call, &in, e) == -1)
		return stored_failed(call, "open", e);
	ret = source_drain(in, e);
	n = in->pos;
	source_close(in);
	if (ret == -1)
		return stored_failed(call, "read", e);
	driver_say(call, "ok: read %" PRIu64 " bytes", n);
	if (stored_has_sum(rec))
		return 0;
	err_set(e, CALA_INCOMPLETE, "a database dump without checksum: "
	    "nothing proves that it is whole");
	return stored_failed(call, "prove", e);
}

int
local_verify(struct driver_call *call, struct record *rec, struct err *e)
{
	struct local_file f;
	struct reader *in = NULL;
	int dirfd, ret = -1;

	if ((dirfd = local_open(call, false, e)) == -1)
		return stored_failed(call, "open the directory", e);
	if (local_find(dirfd, call->backup, &f, e) == -1) {
		stored_failed(call, "find", e);
		goto out;
	}
	driver_say(call, "ok: found %s", f.name);
	if (stored_compare(call, rec, "stored bytes", rec->has_stored, rec->stored,
	    f.size, e) == -1)
		goto out;
	if (f.dump) {
		ret = verify_dump(call, rec, e);
		goto out;
	}
	if (call->read_data && call->percent < 100 &&
	    (ret = stored_sample(call, local_ranged(call, e), e)) != 0) {
		ret = ret == 1 ? 0 : -1;
		goto out;
	}
	ret = -1;
	if (local_read(call, &in, e) == -1) {
		stored_failed(call, "open", e);
		goto out;
	}
	ret = stored_verify(call, rec, in, e);
out:
	reader_close(in);
	close(dirfd);
	return ret;
}

static bool
there(void *arg, const char *uuid)
{
	struct err why = ERR_INIT;
	struct local_file f;

	return local_find(*(int *)arg, uuid, &f, &why) == 0 ||
	    why.code != CALA_NOTFOUND;
}

int
local_gc(struct driver_call *call, struct err *e)
{
	size_t parts = 0, orphans = 0;
	int dirfd, lock = -1, ret = -1;

	if ((dirfd = local_open(call, false, e)) == -1)
		return -1;
	if ((lock = file_lock(dirfd, LOCAL_LOCK, call->driver->name,
	    LOCAL_WAIT, e)) == -1 ||
	    local_sweep(call, dirfd, call->dry_run, &parts, e) == -1 ||
	    beside_orphans(call, dirfd, there, &dirfd, &orphans, e) == -1)
		goto out;
	if (parts > 0)
		driver_say(call, "%s %zu unfinished files",
		    call->dry_run ? "would remove" : "removed", parts);
	if (parts + orphans == 0)
		driver_say(call, "nothing to do");
	ret = call->dry_run ? 0 : fsync(dirfd);
	if (ret == -1)
		err_sys(e, "sync the backup directory");
out:
	if (lock != -1)
		close(lock);
	close(dirfd);
	return ret;
}
