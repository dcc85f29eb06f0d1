/*
 * restic_memory: the last listing, so that what is only read need not ask for it
 * again.  It is a cache: what is wrong with it is no error, and it is written
 * without waiting for a disk.
 */

#include "driver/restic.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "config/conf.h"

enum {
	NAME = 64,
	NODES = 256,            /* remembered, and their text */
	NODES_BYTES = 256 << 10
};

void
resticd_repository(const struct driver_call *call, char out[17])
{
	const char *repository = conf_get(call->cfg, "repository");
	unsigned char sum[BLAKE2B_LEN];

	blake2b(repository, strlen(repository), sum);
	hex_put(sum, 8, out);
}

static void
name(const struct driver_call *call, const char *what, char out[NAME])
{
	char repository[17];

	resticd_repository(call, repository);
	snprintf(out, NAME, "cala-%s-%s", what, repository);
}

/* The file's folder and name; what is in it, if it can be read. */
struct memory {
	int dirfd;
	char file[NAME];
	struct buf was;
};

static bool
memory_open(struct memory *m, struct driver_call *call, const char *what)
{
	struct err own = ERR_INIT;

	m->dirfd = open(resticd_cache(call), O_RDONLY | O_DIRECTORY |
	    O_CLOEXEC);
	buf_init(&m->was, RESTICD_MEMORY);
	if (m->dirfd == -1)
		return false;
	name(call, what, m->file);
	(void)file_slurp(&m->was, m->dirfd, m->file, &own);
	return true;
}

static void
memory_close(struct memory *m)
{
	if (m->dirfd != -1)
		close(m->dirfd);
	buf_fini(&m->was);
}

/* What can't be written is not remembered. */
static void
memory_write(struct memory *m, const struct buf *b)
{
	struct afile f = AFILE_INIT;
	struct err own = ERR_INIT;

	if (b->failed || (m->was.len == b->len && memcmp(m->was.p, b->p,
	    b->len) == 0))
		return;
	if (afile_open(&f, m->dirfd, m->file, &own) == 0 &&
	    file_write_all(f.fd, b->p, b->len) == 0)
		(void)afile_commit(&f, 0600, AFILE_LAZY, &own);
	afile_abort(&f);
}

void
resticd_remember(struct driver_call *call, const struct buf *b)
{
	struct memory m;

	if (memory_open(&m, call, "snapshots")) {
		if (b->len == 0)
			(void)unlinkat(m.dirfd, m.file, 0);
		else
			memory_write(&m, b);
	}
	memory_close(&m);
}

static void
add_line(struct buf *b, const json_t *j)
{
	char *line = json_dumps(j, JSON_COMPACT);

	if (line == NULL) {
		b->failed = true;
		return;
	}
	buf_str(b, line);
	buf_chr(b, '\n');
	free(line);
}

void
resticd_remember_one(struct driver_call *call, const json_t *j)
{
	struct memory m;
	struct buf b;

	buf_init(&b, RESTICD_MEMORY);
	if (memory_open(&m, call, "snapshots")) {
		buf_add(&b, m.was.p, m.was.len);
		add_line(&b, j);
		memory_write(&m, &b);
	}
	buf_fini(&b);
	memory_close(&m);
}

/* ---- nodes ---- */

static bool
is_node(const json_t *j, const char *id, const char *path)
{
	const char *i = json_get_str(j, "i"), *p = json_get_str(j, "p");

	return i != NULL && p != NULL && strcmp(i, id) == 0 &&
	    strcmp(p, path) == 0;
}

void
resticd_remember_node(struct driver_call *call, const char *id,
    const char *path, const json_t *node)
{
	json_t *j = json_pack("{s:s,s:s,s:O?}", "i", id, "p", path, "n",
	    node);
	struct memory m;
	struct buf b;
	char *p, *nl;
	size_t n;

	/* A path that is no text can't be remembered. */
	if (j == NULL)
		return;
	buf_init(&b, NODES_BYTES);
	add_line(&b, j);
	json_decref(j);
	if (memory_open(&m, call, "nodes")) {
		for (p = m.was.p, n = 1; n < NODES && (nl = strchr(p, '\n')) !=
		    NULL && (size_t)(nl - p) + 1 <= b.max - b.len; p = nl + 1,
		    n++)
			buf_add(&b, p, (size_t)(nl - p) + 1);
		memory_write(&m, &b);
	}
	buf_fini(&b);
	memory_close(&m);
}

int
resticd_recall_node(struct driver_call *call, const char *id,
    const char *path, json_t **node)
{
	struct memory m;
	char *p, *nl;
	json_t *j;
	int ret = 1;

	if (memory_open(&m, call, "nodes"))
		for (p = m.was.p; ret == 1 && (nl = strchr(p, '\n')) != NULL;
		    p = nl + 1) {
			*nl = '\0';
			if (strstr(p, id) == NULL ||
			    (j = child_json(p, (size_t)(nl - p))) == NULL)
				continue;
			if (is_node(j, id, path)) {
				*node = json_object_get(j, "n");
				if (!json_is_object(*node))
					*node = NULL;
				json_incref(*node);
				ret = 0;
			}
			json_decref(j);
		}
	memory_close(&m);
	return ret;
}

/* ---- snapshots ---- */

int
resticd_recall(struct driver_call *call, const char *uuid,
    struct resticd_snap *snap, struct record *rec, struct err *e)
{
	struct restic *program;
	struct memory m;
	struct record r;
	char *p, *nl;
	json_t *j;
	int got = 0;

	if (resticd_open(call, &program, e) == -1)
		return -1;
	if (memory_open(&m, call, "snapshots"))
		for (p = m.was.p; got == 0 && (nl = strchr(p, '\n')) != NULL;
		    p = nl + 1) {
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
	memory_close(&m);
	if (got != 1)
		return got == -1 ? -1 : 1;
	if (rec != NULL)
		*rec = r;
	else
		record_fini(&r);
	return 0;
}
