#include "driver/beside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/when.h"

enum { ORPHAN = 24 * 3600 };    /* seconds: a record without backup may go */

int
beside_get(int dirfd, const char *uuid, struct record *rec, struct err *e)
{
	char name[BESIDE_NAME];
	struct buf b;
	int ret = -1;

	buf_init(&b, RECORD_MAX);
	snprintf(name, sizeof(name), "%s.json", uuid);
	if (file_slurp(&b, dirfd, name, e) == -1) {
		if (e->code == CALA_NOTFOUND) {
			err_clear(e);
			ret = 0;
		}
	} else if (record_get(rec, b.p, b.len, name, e) == 0) {
		ret = 1;
		if (strcmp(rec->uuid, uuid) != 0) {
			ret = err_set(e, CALA_INTEGRITY, "%s: describes "
			    "backup %s", name, rec->uuid);
			record_fini(rec);
		}
	}
	buf_fini(&b);
	return ret;
}

/*
 * Does the unreadable record say all the same that it is another server's?  A
 * guess, good enough for whom to alarm and for nothing else.
 */
static bool
others(const struct driver_call *call, int dirfd, const char *backup)
{
	static const char key[] = "\"server\"";
	struct err ignored = ERR_INIT;
	char name[BESIDE_NAME], uuid[UUID_TEXT];
	const char *p;
	bool yes = false;
	struct buf b;

	if (call->server[0] == '\0')
		return false;
	buf_init(&b, RECORD_MAX);
	snprintf(name, sizeof(name), "%s.json", backup);
	if (file_slurp(&b, dirfd, name, &ignored) == 0 &&
	    (p = strstr(b.p, key)) != NULL) {
		p += sizeof(key) - 1;
		p += strspn(p, " \t\r\n:\"");
		snprintf(uuid, sizeof(uuid), "%s", p);
		yes = uuid_ok(uuid) && strcasecmp(uuid, call->server) != 0;
	}
	buf_fini(&b);
	return yes;
}

int
beside_tell(struct driver_call *call, int dirfd, const char *uuid,
    struct record *rec)
{
	struct err why = ERR_INIT;
	int r = beside_get(dirfd, uuid, rec, &why);

	if (r == -1 && others(call, dirfd, uuid))
		log_step(call->log, "%s (another server's)", why.msg);
	else if (r == -1)
		log_warn(call->log, "%s", why.msg);
	return r == 1;
}

static int
save(int dirfd, const struct record *rec, int flags, struct err *e)
{
	char name[BESIDE_NAME];
	struct afile f = AFILE_INIT;
	struct buf b;
	int ret = -1;

	buf_init(&b, RECORD_MAX + 1);
	snprintf(name, sizeof(name), "%s.json", rec->uuid);
	if (record_put(rec, &b, e) == -1 || buf_chr(&b, '\n') == -1)
		goto out;
	if (afile_open(&f, dirfd, name, e) == -1)
		goto out;
	if (file_write_all(f.fd, b.p, b.len) == -1) {
		err_sys(e, "write %s", name);
		goto out;
	}
	ret = afile_commit(&f, 0600, flags, e);
out:
	afile_abort(&f);
	buf_fini(&b);
	return ret;
}

int
beside_save(int dirfd, const struct record *rec, struct err *e)
{
	return save(dirfd, rec, 0, e);
}

int
beside_add(int dirfd, const struct record *rec, struct err *e)
{
	return save(dirfd, rec, AFILE_UNNAMED, e);
}

int
beside_drop(int dirfd, const char *uuid, struct err *e)
{
	char name[BESIDE_NAME];

	snprintf(name, sizeof(name), "%s.json", uuid);
	if ((unlinkat(dirfd, name, 0) == -1 && errno != ENOENT) ||
	    fsync(dirfd) == -1)
		return err_sys(e, "remove %s", name);
	return 0;
}

int
beside_sync(struct driver_call *call, int dirfd, const struct record *rec,
    struct err *e)
{
	struct record now;
	bool same = true;
	int r;

	/* It may hold a lock, or what only a newer cala can read. */
	if ((r = beside_get(dirfd, rec->uuid, &now, e)) == -1) {
		err_ctx(e, "backup %s: its record can't be read, and is not "
		    "replaced", rec->uuid);
		return err_hint(e, "repair or remove %s.json first",
		    rec->uuid);
	}
	if (r == 1) {
		same = record_same(&now, call->was);
		record_fini(&now);
	}
	return same ? beside_save(dirfd, rec, e) : err_set(e, CALA_LOCKED,
	    "backup %s: somebody else has just changed its record",
	    rec->uuid);
}

int
beside_free(int dirfd, const char *uuid, struct err *e)
{
	struct record now;
	bool locked = false;
	int r;

	/* Nobody knows whether it is locked. */
	if ((r = beside_get(dirfd, uuid, &now, e)) == -1) {
		err_ctx(e, "backup %s is kept, its record can't be read",
		    uuid);
		return err_hint(e, "remove %s.json first if it may go", uuid);
	}
	/* Somebody may have locked it since it was looked up. */
	if (r == 1) {
		locked = now.locked;
		record_fini(&now);
	}
	return locked ? err_set(e, CALA_PROTECTED, "backup %s is locked",
	    uuid) : 0;
}

/* A record of ours whose backup never came or is gone, for a day. */
static bool
orphan(int dirfd, const char *name, bool (*there)(void *, const char *),
    void *arg)
{
	struct timespec now = when_now();
	struct err ignored = ERR_INIT;
	struct record rec;
	char uuid[UUID_TEXT], norm[UUID_TEXT];
	struct stat st;

	if (strlen(name) != UUID_TEXT - 1 + strlen(".json") ||
	    strcmp(name + UUID_TEXT - 1, ".json") != 0)
		return false;
	memcpy(uuid, name, UUID_TEXT - 1);
	uuid[UUID_TEXT - 1] = '\0';
	if (uuid_norm(uuid, norm) == -1 || strcmp(uuid, norm) != 0 ||
	    fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    !S_ISREG(st.st_mode) || st.st_mtim.tv_sec > now.tv_sec - ORPHAN ||
	    there(arg, uuid) ||
	    beside_get(dirfd, uuid, &rec, &ignored) != 1)
		return false;
	record_fini(&rec);
	return true;
}

int
beside_orphans(struct driver_call *call, int dirfd,
    bool (*there)(void *, const char *), void *arg, size_t *n, struct err *e)
{
	struct dirent *d;
	int ret = 0;
	DIR *dp;

	if ((dp = file_list(dirfd)) == NULL)
		return err_sys(e, "read the backup directory");
	errno = 0;
	while (ret == 0 && (d = readdir(dp)) != NULL) {
		if (orphan(dirfd, d->d_name, there, arg)) {
			driver_say(call, "%s %s: a record without backup",
			    call->dry_run ? "would remove" : "removing",
			    d->d_name);
			if (!call->dry_run &&
			    unlinkat(dirfd, d->d_name, 0) == -1)
				ret = err_sys(e, "remove %s", d->d_name);
			++*n;
		}
		errno = 0;
	}
	if (ret == 0 && errno != 0)
		ret = err_sys(e, "read the backup directory");
	closedir(dp);
	return ret;
}
