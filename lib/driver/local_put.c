/*
 * local_put: a stream becomes U.<ext>.
 *
 * The bytes go to a temporary file that is locked while its writer lives; the
 * record is durable before the rename, which alone makes the backup visible.
 */

#include "driver/local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/rate.h"
#include "base/str.h"
#include "base/when.h"
#include "driver/beside.h"
#include "driver/stored.h"

enum {
	PUT_BUF = 256 << 10,
	WINDOW = 16 << 20,      /* bytes of write-back that may be pending */
	PART_HEX = 12,          /* random digits in a temporary name */
	STALE = 3600            /* seconds: too old to have a live writer */
};

struct put {
	struct sink sink;
	struct driver_call *call;
	int dirfd;
	struct afile data;
	struct sha256 *sha;
	struct rate *rate;
	unsigned char *buf;
	size_t fill;
	uint64_t done;          /* bytes written */
	uint64_t flushed;       /* bytes whose write-back was started */
};

/*
 * Start writing early and wait for the window before: the kernel never holds
 * more dirty pages of ours than two windows, the last fsync is short, and the
 * page cache keeps what was in it.
 */
static void
write_back(struct put *p)
{
	off_t at = (off_t)p->flushed;

	if (p->done - p->flushed < WINDOW)
		return;
	(void)sync_file_range(p->data.fd, at, WINDOW, SYNC_FILE_RANGE_WRITE);
	if (at >= WINDOW) {
		at -= WINDOW;
		(void)sync_file_range(p->data.fd, at, WINDOW,
		    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
		    SYNC_FILE_RANGE_WAIT_AFTER);
		(void)posix_fadvise(p->data.fd, at, WINDOW,
		    POSIX_FADV_DONTNEED);
	}
	p->flushed += WINDOW;
}

static int
flush(struct put *p, struct err *e)
{
	if (rate_take(p->rate, p->fill, e) == -1)
		return -1;
	if (file_write_all(p->data.fd, p->buf, p->fill) == -1)
		return err_sys(e, "write backup %s", p->call->backup);
	p->done += p->fill;
	p->fill = 0;
	write_back(p);
	return 0;
}

static void *
put_space(struct sink *s, size_t *n, struct err *e)
{
	struct put *p = (struct put *)s;

	(void)e;
	*n = PUT_BUF - p->fill;
	return p->buf + p->fill;
}

static int
put_used(struct sink *s, size_t n, struct err *e)
{
	struct put *p = (struct put *)s;

	sha256_add(p->sha, p->buf + p->fill, n);
	p->fill += n;
	return p->fill == PUT_BUF ? flush(p, e) : 0;
}

static int
taken(struct put *p, struct err *e)
{
	struct local_file f;

	if (local_find(p->dirfd, p->call->backup, &f, e) == 0)
		return err_set(e, CALA_EXISTS, "backup %s exists already: %s",
		    p->call->backup, f.name);
	if (e->code != CALA_NOTFOUND)
		return -1;
	err_clear(e);
	return 0;
}

/* Under the lock: nobody else gives or takes a name meanwhile. */
static int
publish(struct put *p, const char *name, struct err *e)
{
	struct err ignored = ERR_INIT;
	struct local_file f;

	if (taken(p, e) == -1 ||
	    beside_save(p->dirfd, p->call->record, e) == -1)
		return -1;
	free(p->data.name);
	if ((p->data.name = strdup(name)) == NULL)
		err_oom(e);
	else if (afile_commit(&p->data, 0600, AFILE_NOREPLACE, e) == 0)
		return 0;
	/*
	 * Renamed, but the folder can't be synced: what may be gone after a
	 * power cut was never promised.
	 */
	if (p->data.name != NULL && p->data.tmp == NULL)
		(void)unlinkat(p->dirfd, name, 0);
	if (local_find(p->dirfd, p->call->backup, &f, &ignored) == -1 &&
	    ignored.code == CALA_NOTFOUND)
		(void)beside_drop(p->dirfd, p->call->backup, &ignored);
	return -1;
}

static int
put_commit(struct sink *s, struct err *e)
{
	struct put *p = (struct put *)s;
	const struct archive_facts *facts = p->call->facts;
	enum archive_format format = ARCHIVE_TAR;
	char name[LOCAL_NAME];
	int lock, ret;

	if (flush(p, e) == -1)
		return -1;
	if (p->done > 0 && !facts->known)
		return err_set(e, CALA_INCOMPLETE, "this disk keeps archives "
		    "only, and the input is none that cala knows");
	if (p->done > 0)
		format = facts->format;
	snprintf(name, sizeof(name), "%s.%s", p->call->backup,
	    archive_info[format].ext);
	/* The long wait comes before the lock. */
	if (fsync(p->data.fd) == -1)
		return err_sys(e, "write backup %s", p->call->backup);
	(void)posix_fadvise(p->data.fd, 0, 0, POSIX_FADV_DONTNEED);
	if (stored_complete(p->call->record, p->sha, p->done, e) == -1 ||
	    (lock = file_lock(p->dirfd, LOCAL_LOCK,
	    p->call->driver->name, LOCAL_WAIT, e)) == -1)
		return -1;
	ret = publish(p, name, e);
	close(lock);
	return ret;
}

static void
put_abort(struct sink *s)
{
	struct put *p = (struct put *)s;

	afile_abort(&p->data);
	sha256_free(p->sha);
	rate_free(p->rate);
	free(p->buf);
	if (p->dirfd != -1)
		close(p->dirfd);
	free(p);
}

static const struct sink_ops put_ops = {
	put_space, put_used, NULL, put_commit, put_abort
};

/* A temporary file whose lock says that we live. */
static int
open_part(struct put *p, struct err *e)
{
	struct stat st;
	int tries;

	for (tries = 0; tries < 10; tries++) {
		if (afile_open(&p->data, p->dirfd, p->call->backup, e) == -1)
			return -1;
		/*
		 * A sweeper may have come between creation and lock: it holds
		 * the lock until the name is gone.  Where there are no locks,
		 * age alone protects the file.
		 */
		if (flock(p->data.fd, LOCK_EX | LOCK_NB) == -1) {
			if (errno != EWOULDBLOCK)
				return 0;
		} else if (fstat(p->data.fd, &st) == 0 && st.st_nlink > 0) {
			return 0;
		}
		afile_abort(&p->data);
	}
	return err_set(e, CALA_FAIL, "temporary files vanish as soon as they "
	    "are made in %s", str_q(local_dir(p->call)));
}

static int
has_room(struct put *p, struct err *e)
{
	char need[STR_HUMAN], have[STR_HUMAN];
	struct statvfs fs;
	uint64_t room;

	if (fstatvfs(p->dirfd, &fs) == -1)
		return err_sys(e, "%s", str_q(local_dir(p->call)));
	if (__builtin_mul_overflow((uint64_t)fs.f_bavail,
	    (uint64_t)fs.f_frsize, &room))
		room = UINT64_MAX;
	if (room >= p->call->expect && room > 0)
		return 0;
	return err_set(e, CALA_NOSPACE, "%s: %s are free, %s are to come",
	    str_q(local_dir(p->call)), str_human(room, have),
	    str_human(p->call->expect, need));
}

int
local_put(struct driver_call *call, struct sink **out, struct err *e)
{
	struct put *p = calloc(1, sizeof(*p));
	size_t swept = 0;

	if (p == NULL)
		return err_oom(e);
	p->sink.ops = &put_ops;
	p->call = call;
	p->data = (struct afile)AFILE_INIT;
	if ((p->dirfd = local_open(call, true, e)) == -1 ||
	    taken(p, e) == -1 ||
	    local_sweep(call, p->dirfd, false, &swept, e) == -1 ||
	    has_room(p, e) == -1)
		goto fail;
	if ((p->sha = sha256_new(e)) == NULL ||
	    (p->rate = rate_new(call->limit_write, e)) == NULL)
		goto fail;
	if ((p->buf = malloc(PUT_BUF)) == NULL) {
		err_oom(e);
		goto fail;
	}
	if (open_part(p, e) == -1)
		goto fail;
	*out = &p->sink;
	return 0;
fail:
	put_abort(&p->sink);
	return -1;
}

/* ".U.XXXXXXXXXXXX.part", ".U.json.XXXXXXXXXXXX.part", and check's. */
bool
local_part(const char *name)
{
	char uuid[UUID_TEXT];
	const char *p = name + 1;
	size_t i;

	if (*name != '.')
		return false;
	if (str_begins(p, "cala-check.")) {
		p += strlen("cala-check");
	} else {
		if (strlen(p) < UUID_TEXT)
			return false;
		memcpy(uuid, p, UUID_TEXT - 1);
		uuid[UUID_TEXT - 1] = '\0';
		if (!uuid_ok(uuid))
			return false;
		p += UUID_TEXT - 1;
		if (str_begins(p, ".json"))
			p += strlen(".json");
	}
	if (*p++ != '.')
		return false;
	for (i = 0; i < PART_HEX; i++, p++)
		if ((*p < '0' || *p > '9') && (*p < 'a' || *p > 'f'))
			return false;
	return strcmp(p, ".part") == 0;
}

/*
 * Is nobody writing name any more?  Its lock says so, or its age.  A descriptor
 * that holds the lock, so that nobody begins before it is removed, or -1.
 */
static int
dead(int dirfd, const char *name)
{
	struct timespec now = when_now();
	struct stat st;
	bool ret = false, old;
	int fd;

	fd = openat(dirfd, name,
	    O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		old = st.st_mtim.tv_sec < now.tv_sec - STALE;
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			/* records and probes are short-lived, never locked */
			ret = old || (strstr(name, ".json.") == NULL &&
			    !str_begins(name, ".cala-check."));
		else
			ret = errno != EWOULDBLOCK && old;
	}
	if (ret)
		return fd;
	close(fd);
	return -1;
}

int
local_sweep(struct driver_call *call, int dirfd, bool dry, size_t *n,
    struct err *e)
{
	struct dirent *d;
	int held, ret = 0;
	DIR *dp;

	if ((dp = file_list(dirfd)) == NULL)
		return err_sys(e, "read the backup directory");
	errno = 0;
	while (ret == 0 && (d = readdir(dp)) != NULL) {
		if (local_part(d->d_name) &&
		    (held = dead(dirfd, d->d_name)) != -1) {
			log_step(call->log, "%s %s, left by an interrupted "
			    "run", dry ? "would remove" : "removing",
			    d->d_name);
			if (!dry && unlinkat(dirfd, d->d_name, 0) == -1 &&
			    errno != ENOENT)
				ret = err_sys(e, "remove %s", d->d_name);
			close(held);
			++*n;
		}
		errno = 0;
	}
	if (ret == 0 && errno != 0)
		ret = err_sys(e, "read the backup directory");
	closedir(dp);
	return ret;
}
