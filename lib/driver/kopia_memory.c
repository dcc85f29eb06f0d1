/*
 * kopia_memory: the snapshots that were looked up last, so that reading one need
 * not begin with a list of all.  What a manifest's id stands for never changes,
 * and Kopia asks its server for it, so one that is still there is as remembered
 * and one that is not is missed.  A cache: what is wrong with it is no error.
 */

#include "driver/kopia.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "exec/child.h"

enum { NAME = KOPIA_SLUG + 24, LINES = 64, BYTES = 1 << 20 };

static void
name(const struct kopia *k, char out[NAME])
{
	snprintf(out, NAME, "%s.cala.seen", kopia_slug(k));
}

/* The newest first, one of each UUID. */
static void
add_others(struct buf *b, char *p, const char *uuid)
{
	char *nl;
	size_t n;

	for (n = 1; n < LINES && (nl = strchr(p, '\n')) != NULL; p = nl + 1) {
		*nl = '\0';
		if (strstr(p, uuid) != NULL)
			continue;
		if ((size_t)(nl - p) + 1 > b->max - b->len)
			return;
		buf_str(b, p);
		buf_chr(b, '\n');
		n++;
	}
}

void
kopia_remember(const struct kopia *k, const struct kopia_snap *s)
{
	char *line = json_dumps(s->json, JSON_COMPACT), file[NAME];
	struct afile f = AFILE_INIT;
	struct err own = ERR_INIT;
	struct buf was, b;
	size_t n;

	buf_init(&was, BYTES);
	buf_init(&b, BYTES);
	name(k, file);
	if (line == NULL || (n = strlen(line)) + 1 > BYTES)
		goto out;
	(void)file_slurp(&was, kopia_dirfd(k), file, &own);
	if (was.len > n && memcmp(was.p, line, n) == 0 && was.p[n] == '\n')
		goto out;
	buf_str(&b, line);
	buf_chr(&b, '\n');
	add_others(&b, was.p, s->uuid);
	/* A line that is torn is no JSON, and so is nothing. */
	if (!b.failed && afile_open(&f, kopia_dirfd(k), file, &own) == 0 &&
	    file_write_all(f.fd, b.p, b.len) == 0)
		(void)afile_commit(&f, 0600, AFILE_LAZY, &own);
out:
	afile_abort(&f);
	free(line);
	buf_fini(&was);
	buf_fini(&b);
}

bool
kopia_recall(const struct kopia *k, const char *uuid, struct kopia_found *f)
{
	struct err own = ERR_INIT;
	struct kopia_snap s;
	char file[NAME], *p, *nl;
	struct buf b;
	json_t *j;

	memset(f, 0, sizeof(*f));
	buf_init(&b, BYTES);
	name(k, file);
	(void)file_slurp(&b, kopia_dirfd(k), file, &own);
	for (p = b.p; f->snap.json == NULL && (nl = strchr(p, '\n')) != NULL;
	    p = nl + 1) {
		*nl = '\0';
		if (strstr(p, uuid) == NULL ||
		    (j = child_json(p, (size_t)(nl - p))) == NULL)
			continue;
		if (kopia_snap(j, &s, &own) == 0 && !s.incomplete &&
		    strcmp(s.uuid, uuid) == 0)
			f->snap = s;
		else
			json_decref(j);
	}
	buf_fini(&b);
	f->recalled = f->snap.json != NULL;
	return f->recalled;
}
