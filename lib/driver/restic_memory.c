/*
 * restic_memory: the last listing, so that what is only read need not ask for it
 * again.  It is a cache: what is wrong with it is no error, and it is written
 * without waiting for a disk.
 */

#include "driver/restic.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/file.h"
#include "base/hash.h"
#include "config/conf.h"

enum { NAME = 64 };

/* One for each repository. */
static int
name(const struct driver_call *call, char out[NAME])
{
	const char *repository = conf_get(call->cfg, "repository");
	unsigned char sum[BLAKE2B_LEN];
	char hex[17];

	blake2b(repository, strlen(repository), sum);
	hex_put(sum, 8, hex);
	return snprintf(out, NAME, "cala-snapshots-%s", hex);
}

void
resticd_remember(struct driver_call *call, const struct buf *b)
{
	int dirfd = open(resticd_cache(call), O_RDONLY | O_DIRECTORY |
	    O_CLOEXEC), fd = -1;
	struct err own = ERR_INIT;
	char file[NAME], temp[NAME + 16];
	struct buf was;

	if (dirfd == -1)
		return;
	buf_init(&was, RESTICD_MEMORY);
	name(call, file);
	snprintf(temp, sizeof(temp), ".%s.%ld", file, (long)getpid());
	if (b->len == 0) {
		(void)unlinkat(dirfd, file, 0);
		goto out;
	}
	if (file_slurp(&was, dirfd, file, &own) == 0 && was.len == b->len &&
	    memcmp(was.p, b->p, b->len) == 0)
		goto out;
	fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW |
	    O_CLOEXEC, 0600);
	if (fd == -1)
		goto out;
	if (file_write_all(fd, b->p, b->len) == -1 ||
	    renameat(dirfd, temp, dirfd, file) == -1)
		(void)unlinkat(dirfd, temp, 0);
out:
	if (fd != -1)
		close(fd);
	close(dirfd);
	buf_fini(&was);
}

int
resticd_recall(struct driver_call *call, const char *uuid,
    struct resticd_snap *snap, struct record *rec, struct err *e)
{
	struct err own = ERR_INIT;
	struct record r;
	struct restic *program;
	char file[NAME];
	char *p, *nl;
	struct buf b;
	json_t *j;
	int dirfd, got = 0;

	if (resticd_open(call, &program, e) == -1)
		return -1;
	dirfd = open(resticd_cache(call), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd == -1)
		return 1;
	buf_init(&b, RESTICD_MEMORY);
	name(call, file);
	(void)file_slurp(&b, dirfd, file, &own);
	close(dirfd);
	for (p = b.p; got == 0 && (nl = strchr(p, '\n')) != NULL; p = nl + 1) {
		*nl = '\0';
		if (strstr(p, uuid) == NULL ||
		    (j = child_json(p, (size_t)(nl - p))) == NULL)
			continue;
		got = resticd_parse(call, j, snap, &r, e);
		json_decref(j);
		if (got == 1 && strcmp(r.uuid, uuid) != 0) {
			resticd_snap_fini(snap);
			record_fini(&r);
			got = 0;
		}
	}
	buf_fini(&b);
	if (got != 1)
		return got == -1 ? -1 : 1;
	if (rec != NULL)
		*rec = r;
	else
		record_fini(&r);
	return 0;
}
