/*
 * snap_care: is the disk fit for snapshots, is a snapshot fit for a restore,
 * and what may go.
 */

#include "driver/snap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "snap/view.h"

enum {
	READ_BUF = 256 << 10,
	ORPHAN = 24 * 3600      /* seconds: a record without backup may go */
};

/* A step that failed: its line, and the error as it is. */
static int
failed(struct driver_call *call, const char *step, struct err *e)
{
	driver_say(call, "failed: %s: %s", step, e->msg);
	return -1;
}

static int
tick(void *arg, const char *uuid, struct err *e)
{
	(void)uuid;
	(void)e;
	++*(size_t *)arg;
	return 0;
}

int
snap_check(struct driver_call *call, struct err *e)
{
	struct snap s;
	size_t n = 0;
	int ret = -1;

	if (snap_begin(call, false, &s, e) == -1)
		return failed(call, "open the directory", e);
	if (s.dirfd == -1) {
		err_set(e, CALA_NOTFOUND, "%s: there is no such directory",
		    str_q(s.path));
		failed(call, "open the directory", e);
		err_hint(e, "mkdir -p -m 700 %s", str_q(s.path));
		goto out;
	}
	driver_say(call, "ok: directory %s", str_q(s.path));
	if (faccessat(s.dirfd, ".", W_OK | X_OK, AT_EACCESS) == -1) {
		err_sys(e, "%s", str_q(s.path));
		failed(call, "write into the directory", e);
		goto out;
	}
	if (s.kind->check(&s, e) == -1)
		goto out;
	if (s.kind->each(&s, tick, &n, e) == -1) {
		failed(call, "list", e);
		goto out;
	}
	driver_say(call, "ok: %zu backups", n);
	ret = 0;
out:
	snap_end(&s);
	return ret;
}

struct sums {
	uint64_t files, size, entries, read;
};

/*
 * Every entry as a restore would take it; of their bytes percent, spread over
 * all files.
 */
static int
read_all(struct reader *in, unsigned percent, struct sums *t, struct err *e)
{
	unsigned char *p = malloc(READ_BUF);
	const struct entry *en;
	struct content *c;
	uint64_t k = 0;
	ssize_t n = 0;
	int got;

	if (p == NULL)
		return err_oom(e);
	while ((got = reader_next(in, &en, &c, e)) == 1) {
		if (stop_check(e) == -1) {
			got = -1;
			break;
		}
		if (*en->path == '\0')
			continue;
		t->entries++;
		t->files += en->type != ENTRY_DIR;
		t->size += en->size;
		if (c == NULL || k++ * 61 % 100 >= percent)
			continue;
		while ((n = content_read(c, p, READ_BUF, e)) > 0)
			t->read += (uint64_t)n;
		if (n == -1) {
			got = -1;
			break;
		}
	}
	free(p);
	return got;
}

static int
compare(struct driver_call *call, const char *what, bool has, uint64_t want,
    uint64_t got, struct err *e)
{
	if (!has || want == got)
		return 0;
	err_set(e, CALA_INTEGRITY, "%s: the record says %" PRIu64 ", the "
	    "snapshot has %" PRIu64, what, want, got);
	return failed(call, "compare with the record", e);
}

int
snap_verify(struct driver_call *call, struct record *rec, struct err *e)
{
	struct sums t = { 0, 0, 0, 0 };
	struct reader *in = NULL;
	struct snap s;
	int ret = -1;

	if (snap_begin(call, false, &s, e) == -1)
		return failed(call, "open the directory", e);
	if (s.kind->intact(&s, rec->uuid, rec, e) == -1) {
		failed(call, "identify the snapshot", e);
		goto out;
	}
	driver_say(call, rec->foreign ? "note: no record: nothing to compare "
	    "the snapshot with" : rec->sum_value == NULL ? "note: the run that "
	    "made it was killed before the record was complete: nothing to "
	    "compare the snapshot with" : "ok: it is the snapshot of the "
	    "record, unchanged");
	if (snap_get(call, &in, e) == -1) {
		failed(call, "open the snapshot", e);
		goto out;
	}
	if (read_all(in, call->read_data ? call->percent : 0, &t, e) == -1) {
		failed(call, "read", e);
		goto out;
	}
	driver_say(call, "ok: listed to its end: %" PRIu64 " entries, %" PRIu64
	    " bytes of files", t.entries, t.size);
	if (compare(call, "files", rec->has_files, rec->files, t.files,
	    e) == -1 || compare(call, "bytes of files", rec->has_size,
	    rec->size, t.size, e) == -1)
		goto out;
	if (call->read_data)
		driver_say(call, "ok: read %" PRIu64 " bytes; the file system "
		    "compared their checksums", t.read);
	else
		driver_say(call, "note: --read-data reads the contents, too");
	if (!rec->complete)
		driver_say(call, "note: the backup is partial: %" PRIu64
		    " warnings when it was made", rec->warnings_count);
	ret = 0;
out:
	reader_close(in);
	snap_end(&s);
	return ret;
}

/* A folder with a record of ours, without a snapshot, for a day. */
static bool
orphan(struct snap *s, const char *name)
{
	struct timespec now = when_now();
	struct err ignored = ERR_INIT;
	struct record rec;
	char uuid[UUID_TEXT];
	struct stat st;
	int fd;
	bool old;

	if (uuid_norm(name, uuid) == -1 || strcmp(name, uuid) != 0 ||
	    s->kind->stored(s, uuid, &ignored) != 0 ||
	    snap_arriving(s, uuid) ||
	    (fd = snap_folder(s, uuid, &ignored)) == -1)
		return false;
	old = fstatat(fd, "cala.json", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_mtim.tv_sec < now.tv_sec - ORPHAN;
	close(fd);
	if (!old || snap_recorded(s, uuid, &rec, &ignored) != 1)
		return false;
	record_fini(&rec);
	return true;
}

static int
remove_orphans(struct snap *s, size_t *n, struct err *e)
{
	struct dirent *d;
	int ret = 0;
	DIR *dp;

	if ((dp = file_list(s->dirfd)) == NULL)
		return err_sys(e, "read %s", str_q(s->path));
	errno = 0;
	while (ret == 0 && (d = readdir(dp)) != NULL) {
		if (orphan(s, d->d_name)) {
			driver_say(s->call, "%s %s: a record without snapshot",
			    s->call->dry_run ? "would remove" : "removing",
			    d->d_name);
			if (!s->call->dry_run)
				ret = snap_clear(s, d->d_name, e);
			++*n;
		}
		errno = 0;
	}
	if (ret == 0 && errno != 0)
		ret = err_sys(e, "read %s", str_q(s->path));
	closedir(dp);
	return ret;
}

/* A run that was killed may have locked a backup in its record only. */
static int
hold_again(void *arg, const char *uuid, struct err *e)
{
	struct snap *s = arg;
	struct record rec;
	int r = snap_recorded(s, uuid, &rec, e);

	if (r == 1) {
		if (rec.locked && !s->call->dry_run)
			r = s->kind->hold(s, uuid, true, e);
		record_fini(&rec);
	}
	if (r == -1) {
		log_warn(s->call->log, "%s", e->msg);
		err_clear(e);
	}
	return 0;
}

int
snap_gc(struct driver_call *call, struct err *e)
{
	size_t left = 0, orphans = 0;
	struct snap s;
	int ret = -1;

	if (snap_begin(call, false, &s, e) == -1)
		return -1;
	if (s.dirfd == -1) {
		driver_say(call, "nothing to do: there is no directory yet");
		ret = 0;
		goto out;
	}
	if (snap_lock(&s, e) == -1 || s.kind->sweep(&s, &left, e) == -1 ||
	    remove_orphans(&s, &orphans, e) == -1 ||
	    s.kind->each(&s, hold_again, &s, e) == -1)
		goto out;
	if (left > 0)
		driver_say(call, "%s %zu leftovers of interrupted runs",
		    call->dry_run ? "would remove" : "removed", left);
	if (left + orphans == 0)
		driver_say(call, "nothing to do");
	ret = 0;
out:
	snap_end(&s);
	return ret;
}
