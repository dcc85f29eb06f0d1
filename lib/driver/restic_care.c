/*
 * restic_care: is the repository there and ours, is a backup fit for a restore,
 * and what may go.
 */

#include "driver/restic_tree.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/stop.h"
#include "base/str.h"
#include "config/conf.h"
#include "driver/stored.h"

enum { READ_BUF = 256 << 10 };

static int
tick(void *arg, struct resticd_snap *snap, struct record *rec, struct err *e)
{
	(void)snap;
	(void)rec;
	(void)e;
	++*(size_t *)arg;
	return 0;
}

/* Something in the store is written, read by others, and removed: a lock. */
static int
try_lock(struct restic *r, struct err *e)
{
	const char *const args[] = { "snapshots", "--latest", "1", NULL };
	struct restic_run run = { .flags = RESTIC_WAITS, .args = args };

	return restic_do(r, &run, NULL, NULL, e);
}

static int
reach(struct restic *r, struct err *e)
{
	const char *const args[] = { "cat", "config", NULL };
	struct restic_run run = { .flags = RESTIC_READS, .args = args };

	return restic_do(r, &run, NULL, NULL, e);
}

int
resticd_check(struct driver_call *call, struct err *e)
{
	struct restic *r;
	size_t n = 0;

	if (resticd_open(call, &r, e) == -1)
		return stored_failed(call, "find restic and its settings", e);
	driver_say(call, "%s: %s%s", restic_version(r) >= RESTIC_SUMMARY ?
	    "ok" : "note", restic_name(r), restic_version(r) >=
	    RESTIC_SUMMARY ? "" : " works; from 0.17 on it is quicker and "
	    "keeps sizes by itself");
	if (reach(r, e) == -1) {
		stored_failed(call, "open the repository", e);
		if (e->code == CALA_NOTFOUND)
			err_hint(e, "cala-restic init -c %s makes it",
			    str_q(call->configuration));
		return -1;
	}
	driver_say(call, "ok: the repository is there, and the password is "
	    "right");
	if (try_lock(r, e) == -1)
		return stored_failed(call, "write, read and remove a lock", e);
	driver_say(call, "ok: wrote, read and removed a lock");
	if (resticd_each(call, tick, &n, e) == -1)
		return stored_failed(call, "list", e);
	driver_say(call, "ok: %zu backups", n);
	return 0;
}

struct sums {
	uint64_t files, size, entries;
};

static int
read_all(struct driver_call *call, struct reader *in, struct sums *t,
    struct err *e)
{
	unsigned char *p = malloc(READ_BUF);
	const struct entry *en;
	struct content *c;
	ssize_t n = 0;
	int got;

	if (p == NULL)
		return err_oom(e);
	while ((got = reader_next(in, &en, &c, e)) == 1) {
		t->entries++;
		t->files += en->type == ENTRY_FILE;
		t->size += en->size;
		call->tally.files = t->files;
		while (c != NULL && (n = content_read(c, p, READ_BUF, e)) > 0)
			call->tally.bytes += (uint64_t)n;
		if (n == -1 || stop_check(e) == -1) {
			got = -1;
			break;
		}
	}
	free(p);
	return got;
}

int
resticd_verify(struct driver_call *call, struct record *rec, struct err *e)
{
	static const char *const root[] = { "" };
	struct sums t = { 0, 0, 0 };
	struct reader *in = NULL;
	struct tree *tree = NULL;
	int ret = -1;

	if (resticd_tree(call, &tree, e) == -1 ||
	    (in = rtree_reader((struct rtree *)tree, root, 1,
	    true, false, e)) == NULL) {
		stored_failed(call, "open the snapshot", e);
		goto out;
	}
	if (read_all(call, in, &t, e) == -1) {
		if (e->code == CALA_INCOMPLETE)
			e->code = CALA_INTEGRITY;
		stored_failed(call, "read", e);
		goto out;
	}
	driver_say(call, "ok: read to its end: %" PRIu64 " entries, %" PRIu64
	    " bytes of files; restic compared their hashes", t.entries,
	    t.size);
	/* What could not be read is counted in one, and not in the other. */
	if (rec->complete && (stored_compare(call, rec, "files",
	    rec->has_files, rec->files, t.files, e) == -1 ||
	    stored_compare(call, rec, "bytes of files", rec->has_size,
	    rec->size, t.size, e) == -1))
		goto out;
	if (!rec->complete)
		driver_say(call, "note: the backup is partial: %" PRIu64
		    " warnings when it was made", rec->warnings_count);
	ret = 0;
out:
	reader_close(in);
	if (tree != NULL)
		tree->ops->close(tree);
	return ret;
}

static int
say_lines(void *arg, struct child *c, struct err *e)
{
	char *line;
	size_t n;
	int got;

	while ((got = child_line(c, &line, &n, e)) == 1)
		if (n > 0)
			driver_say(arg, "%s", str_q(line));
	return got;
}

int
resticd_init(struct driver_call *call, struct err *e)
{
	const char *const args[] = { "init", NULL };
	struct restic_run run = { .flags = RESTIC_PLAIN, .args = args };
	struct restic *r;

	if (resticd_open(call, &r, e) == -1)
		return -1;
	if (restic_do(r, &run, NULL, NULL, e) == -1) {
		if (strstr(e->msg, "already") != NULL)
			e->code = CALA_EXISTS;
		return -1;
	}
	driver_say(call, "made the repository %s", str_q(
	    conf_get(call->cfg, "description") != NULL ?
	    conf_get(call->cfg, "description") : call->configuration));
	return 0;
}

/* The older half of a change of tags that was killed in between. */
struct pair {
	char uuid[UUID_TEXT];
	struct resticd_snap snap;       /* without what is on the heap */
};

struct pairs {
	struct pair *v;
	size_t n;
};

static int
collect(void *arg, struct resticd_snap *snap, struct record *rec,
    struct err *e)
{
	struct pairs *p = arg;
	struct pair *v = p->v;

	if ((p->n & (p->n - 1)) == 0) {
		v = realloc(v, (p->n == 0 ? 1 : 2 * p->n) * sizeof(*v));
		if (v == NULL)
			return err_oom(e);
		p->v = v;
	}
	v += p->n++;
	memcpy(v->uuid, rec->uuid, sizeof(v->uuid));
	v->snap = *snap;
	v->snap.base = NULL;
	v->snap.other = NULL;
	v->snap.nother = 0;
	return 0;
}

static int
by_uuid(const void *a, const void *b)
{
	return strcmp(((const struct pair *)a)->uuid,
	    ((const struct pair *)b)->uuid);
}

/* Those of one UUID stand together. */
static bool
has_newer(const struct pairs *p, size_t i)
{
	size_t k;

	for (k = i; k > 0 && by_uuid(&p->v[k - 1], &p->v[i]) == 0; k--)
		;
	for (; k < p->n && by_uuid(&p->v[k], &p->v[i]) == 0; k++)
		if (resticd_renews(&p->v[k].snap, &p->v[i].snap))
			return true;
	return false;
}

static int
forget(struct driver_call *call, const struct pair *p, size_t *n,
    struct err *e)
{
	++*n;
	driver_say(call, "%s snapshot %.8s: backup %s has a newer one",
	    call->dry_run ? "would forget" : "forgetting", p->snap.id,
	    p->uuid);
	return call->dry_run ? 0 : resticd_drop(call, p->snap.id, e);
}

static int
superseded(struct driver_call *call, size_t *n, struct err *e)
{
	struct pairs p = { NULL, 0 };
	size_t i;
	int ret = resticd_each(call, collect, &p, e);

	if (ret == 0 && p.n > 0)
		qsort(p.v, p.n, sizeof(*p.v), by_uuid);
	for (i = 0; ret == 0 && i < p.n; i++)
		ret = has_newer(&p, i) ? forget(call, &p.v[i], n, e) : 0;
	free(p.v);
	return ret;
}

int
resticd_gc(struct driver_call *call, struct err *e)
{
	const char *const unlock[] = { "unlock", NULL };
	const char *const prune[] = { "prune", NULL, NULL };
	const char *const pretend[] = { "prune", "--dry-run", NULL };
	struct restic_run run = { .flags = RESTIC_PLAIN | RESTIC_QUIET };
	struct restic *r;
	size_t n = 0;

	if (resticd_open(call, &r, e) == -1)
		return -1;
	/* Only of the dead: restic leaves the locks of the living. */
	run.args = unlock;
	if (!call->dry_run && restic_do(r, &run, say_lines, call, e) == -1)
		return -1;
	if (resticd_sweep(call, &n, e) == -1 || superseded(call, &n, e) == -1)
		return -1;
	run.flags |= call->dry_run ? RESTIC_READS : RESTIC_WAITS;
	run.args = call->dry_run ? pretend : prune;
	if (restic_do(r, &run, say_lines, call, e) == -1)
		return -1;
	driver_say(call, call->dry_run ? "nothing was changed" :
	    "ok: pruned; all backups of the repository were looked at");
	return 0;
}
