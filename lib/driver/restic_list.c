/*
 * restic_list: snapshots as records.
 */

#include "driver/restic.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "base/when.h"

void
resticd_snap_fini(struct resticd_snap *s)
{
	free(s->base);
	while (s->nother > 0)
		free(s->other[--s->nother]);
	free(s->other);
	s->base = NULL;
	s->other = NULL;
}

static bool
get_id(const json_t *j, const char *key, char out[RESTICD_ID])
{
	const char *s = json_get_str(j, key);

	out[0] = '\0';
	if (s == NULL || strlen(s) != RESTICD_ID - 1 ||
	    strspn(s, "0123456789abcdef") != RESTICD_ID - 1)
		return false;
	memcpy(out, s, RESTICD_ID);
	return true;
}

/* The first tag that is a UUID: Wings has no other, ours stands first. */
static bool
which(const json_t *tags, char uuid[UUID_TEXT], size_t *at)
{
	const char *s;
	size_t i;

	for (i = 0; i < json_array_size(tags); i++) {
		s = json_string_value(json_array_get(tags, i));
		if (s != NULL && uuid_norm(s, uuid) == 0) {
			*at = i;
			return true;
		}
	}
	return false;
}

/*
 * The path, and by its name the server: Wings keeps it nowhere else.  A dump of
 * a database is a file of the root, and of no known server.
 */
static int
where(const char *path, const char *uuid, struct resticd_snap *snap,
    struct record *rec, struct err *e)
{
	const char *name = strrchr(path, '/');
	size_t n = strlen(path);

	while (n > 0 && path[n - 1] == '/')
		n--;
	if (name == path && str_begins(path + 1, uuid))
		n = 0;
	if ((snap->base = str_ndup(path, n)) == NULL)
		return err_oom(e);
	if (rec->server[0] == '\0' && n > 0 &&
	    uuid_norm(strrchr(snap->base, '/') + 1, rec->server) == -1)
		rec->server[0] = '\0';
	return 0;
}

/* What restic counted, since 0.17. */
static void
summary(const json_t *j, struct record *rec)
{
	const json_t *s = json_object_get(j, "summary");
	const char *end = json_get_str(s, "backup_end");
	json_t *v;

	if (!json_is_object(s))
		return;
	if (end != NULL && when_rfc3339(end, &rec->completed) == -1)
		rec->completed.tv_sec = 0;
	/* A member that is zero is often left out. */
	rec->has_size = rec->has_files = true;
	rec->size = json_get_u64(s, "total_bytes_processed", 0);
	rec->files = json_get_u64(s, "total_files_processed", 0);
	v = json_object_get(s, "data_added_packed");
	rec->has_stored = json_is_integer(v);
	rec->stored = json_get_u64(s, "data_added_packed", 0);
}

static int
read_tags(const json_t *tags, size_t at, struct resticd_snap *snap,
    struct record *rec, struct err *e)
{
	const char *s;
	size_t i;

	for (i = 0; i < json_array_size(tags); i++) {
		s = json_string_value(json_array_get(tags, i));
		if (i != at && s != NULL &&
		    resticd_untag(rec, snap, s, e) == -1)
			return -1;
	}
	return 0;
}

/* Whoever could say that it is partial has not said anything yet. */
static int
settled(struct driver_call *call, struct resticd_snap *snap,
    struct record *rec, struct err *e)
{
	if (!rec->complete || snap->run[0] == '\0' ||
	    !resticd_unsettled(call, snap->run))
		return 0;
	snap->open = true;
	rec->complete = false;
	rec->warnings_count = 1;
	return record_push(&rec->warnings, &rec->nwarnings, "its run was "
	    "interrupted, or has not ended yet: whether everything could be "
	    "read is not known", RECORD_WARNINGS, e);
}

int
resticd_parse(struct driver_call *call, json_t *j, struct resticd_snap *snap,
    struct record *rec, struct err *e)
{
	const json_t *tags = json_object_get(j, "tags");
	const char *path = json_string_value(json_array_get(
	    json_object_get(j, "paths"), 0));
	const char *time = json_get_str(j, "time");
	const char *host = json_get_str(j, "hostname");
	size_t at;

	memset(snap, 0, sizeof(*snap));
	record_init(rec);
	/* Nothing is on the heap yet. */
	if (!which(tags, rec->uuid, &at) || !get_id(j, "id", snap->id) ||
	    path == NULL || *path != '/')
		return 0;
	memcpy(snap->ref, snap->id, RESTICD_REF);
	(void)get_id(j, "tree", snap->tree);
	if (!get_id(j, "original", snap->original))
		memcpy(snap->original, snap->id, RESTICD_ID);
	rec->foreign = true;
	rec->complete = true;
	if (time != NULL && when_rfc3339(time, &rec->created) == -1)
		rec->created.tv_sec = 0;
	snap->time = rec->created;
	summary(j, rec);
	if (read_tags(tags, at, snap, rec, e) == 0 &&
	    where(path, rec->uuid, snap, rec, e) == 0 &&
	    record_set(&rec->disk, "restic", e) == 0 &&
	    record_set(&rec->configuration, call->configuration, e) == 0 &&
	    record_set(&rec->host, host, e) == 0 &&
	    record_set(&rec->sum_type, "restic", e) == 0 &&
	    /* What its id was first: it changes with the tags. */
	    record_set(&rec->sum_value, snap->original, e) == 0 &&
	    settled(call, snap, rec, e) == 0)
		return 1;
	resticd_snap_fini(snap);
	record_fini(rec);
	return -1;
}

struct each {
	struct driver_call *call;
	resticd_fn *fn;
	void *arg;
	struct buf memory;
};

/* One line of what is remembered. */
static void
note(struct each *w, json_t *j)
{
	char *line = json_dumps(j, JSON_COMPACT);

	if (line != NULL) {
		buf_str(&w->memory, line);
		buf_chr(&w->memory, '\n');
	}
	free(line);
}

static int
one(void *arg, json_t *j, struct err *e)
{
	struct each *w = arg;
	struct resticd_snap snap;
	struct record rec;
	int ret = resticd_parse(w->call, j, &snap, &rec, e);

	if (ret != 1)
		return ret;
	note(w, j);
	ret = w->fn(w->arg, &snap, &rec, e);
	resticd_snap_fini(&snap);
	record_fini(&rec);
	return ret;
}

static int
items(void *arg, struct child *c, struct err *e)
{
	return child_items(c, RESTIC_ITEM, one, arg, e);
}

int
resticd_each(struct driver_call *call, resticd_fn *fn, void *arg,
    struct err *e)
{
	const char *const args[] = { "snapshots", NULL };
	struct restic_run run = { .flags = RESTIC_READS, .args = args };
	struct each w = { .call = call, .fn = fn, .arg = arg };
	struct restic *r;
	int ret;

	if (resticd_open(call, &r, e) == -1)
		return -1;
	buf_init(&w.memory, RESTICD_MEMORY);
	ret = restic_do(r, &run, items, &w, e);
	if (ret == 0 && !w.memory.failed)
		resticd_remember(call, &w.memory);
	buf_fini(&w.memory);
	return ret;
}

/* What a snapshot was at first stays on record, however often it changes. */
bool
resticd_renews(const struct resticd_snap *a, const struct resticd_snap *b)
{
	if (strcmp(a->original, b->original) != 0)
		return false;
	return a->rev != b->rev ? a->rev > b->rev :
	    strcmp(a->original, b->id) == 0 && strcmp(a->id, b->id) != 0;
}

struct search {
	const char *uuid;
	bool found;
	struct resticd_snap snap;
	struct record rec;
};

static int
look(void *arg, struct resticd_snap *snap, struct record *rec, struct err *e)
{
	struct search *s = arg;

	(void)e;
	if (strcmp(rec->uuid, s->uuid) != 0)
		return 0;
	/* Of two that have nothing to do with each other it is the first. */
	if (s->found) {
		if (!resticd_renews(snap, &s->snap))
			return 0;
		resticd_snap_fini(&s->snap);
		record_fini(&s->rec);
	}
	s->found = true;
	s->snap = *snap;
	s->rec = *rec;
	memset(snap, 0, sizeof(*snap));
	record_init(rec);
	return 0;
}

int
resticd_find(struct driver_call *call, const char *uuid,
    struct resticd_snap *snap, struct record *rec, struct err *e)
{
	struct search s = { .uuid = uuid };
	int ret = resticd_each(call, look, &s, e);

	if (ret == 0 && !s.found)
		ret = err_set(e, CALA_NOTFOUND, "no backup %s", uuid);
	if (ret == 0 && snap != NULL) {
		*snap = s.snap;
		memset(&s.snap, 0, sizeof(s.snap));
	}
	if (ret == 0 && rec != NULL) {
		*rec = s.rec;
		record_init(&s.rec);
	}
	if (s.found) {
		resticd_snap_fini(&s.snap);
		record_fini(&s.rec);
	}
	return ret;
}
