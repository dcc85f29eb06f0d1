/* kopia_snap: manifests of snapshots: read, listed, deleted. */

#include "exec/kopia_int.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "base/when.h"

uint32_t
kopia_mode(uint64_t n)
{
	/* Go's os.FileMode: bits of its own above those of permissions. */
	return (uint32_t)(n & 0777) | ((n >> 23 & 1) != 0 ? 04000 : 0) |
	    ((n >> 22 & 1) != 0 ? 02000 : 0) | ((n >> 20 & 1) != 0 ? 01000 : 0);
}

bool
kopia_oid_ok(const char *s)
{
	size_t n;

	/* kopia-restic §13.1 */
	while (*s == 'I')
		s++;
	if (*s == 'Z' || *s == 'D')
		s++;
	if (*s >= 'g' && *s <= 'z')
		s++;
	n = strspn(s, "0123456789abcdef");
	return s[n] == '\0' && n >= 32 && n <= 64;
}

static bool
id_ok(const char *s)
{
	size_t n = strspn(s, "0123456789abcdef");

	return s[n] == '\0' && n >= 16 && n < KOPIA_ID;
}

static int
bad(const char *id, const char *member, struct err *e)
{
	return err_set(e, CALA_INTEGRITY, "Kopia's manifest %s: member '%s' "
	    "is missing or malformed", str_q(id), member);
}

/* Absent: 1970. */
static int
get_time(const json_t *o, const char *key, struct timespec *t)
{
	const char *s = json_get_str(o, key);

	if (s == NULL) {
		t->tv_sec = t->tv_nsec = 0;
		return 0;
	}
	return when_rfc3339(s, t);
}

/* What Kopia's DirEntry says of an entry's metadata. */
int
kopia_meta(const json_t *o, struct entry *en)
{
	const char *mode = json_get_str(o, "mode"), *p;
	uint64_t n = 0;

	if (mode != NULL) {
		for (p = mode; *p >= '0' && *p <= '7' && p - mode < 12; p++)
			n = n << 3 | (uint64_t)(*p - '0');
		if (*p != '\0')
			return -1;
	}
	en->mode = kopia_mode(n);
	en->uid = (uint32_t)json_get_u64(o, "uid", 0);
	en->gid = (uint32_t)json_get_u64(o, "gid", 0);
	en->uname = en->gname = "";
	return get_time(o, "mtime", &en->mtime);
}

int
kopia_snap(json_t *o, struct kopia_snap *s, struct err *e)
{
	const json_t *root = json_object_get(o, "rootEntry"), *summ, *source;
	const json_t *tags = json_object_get(o, "tags"), *stats;
	const char *id = json_get_str(o, "id"), *obj, *uuid;

	memset(s, 0, sizeof(*s));
	s->json = o;
	if (id == NULL || !id_ok(id))
		return bad(id != NULL ? id : "?", "id", e);
	snprintf(s->id, sizeof(s->id), "%s", id);
	uuid = json_get_str(tags, "tag:backup-uuid");
	/* Lower case only: nobody looks for another spelling. */
	if (uuid != NULL && (uuid_norm(uuid, s->uuid) == -1 ||
	    strcmp(uuid, s->uuid) != 0))
		s->uuid[0] = '\0';
	s->incomplete = json_get_str(o, "incomplete") != NULL;
	source = json_object_get(o, "source");
	s->host = json_get_str(source, "host");
	s->user = json_get_str(source, "userName");
	s->path = json_get_str(source, "path");
	if (s->host == NULL || s->user == NULL || s->path == NULL)
		return bad(id, "source", e);
	if (get_time(o, "startTime", &s->start) == -1 ||
	    get_time(o, "endTime", &s->end) == -1)
		return bad(id, "startTime", e);
	obj = json_get_str(root, "obj");
	/* What was cancelled early has none. */
	if (obj == NULL && s->incomplete)
		return 0;
	if (obj == NULL || strlen(obj) >= KOPIA_ID || !kopia_oid_ok(obj))
		return bad(id, "rootEntry", e);
	if (strcmp(json_get_str(root, "type") != NULL ?
	    json_get_str(root, "type") : "", "d") != 0)
		return 1;
	snprintf(s->root, sizeof(s->root), "%s", obj);
	s->entry.type = ENTRY_DIR;
	s->entry.path = "";
	if (kopia_meta(root, &s->entry) == -1)
		return bad(id, "rootEntry", e);
	summ = json_object_get(root, "summ");
	s->size = json_get_u64(summ, "size", 0);
	s->files = json_get_u64(summ, "files", 0);
	s->symlinks = json_get_u64(summ, "symlinks", 0);
	s->dirs = json_get_u64(summ, "dirs", 0);
	s->failed = json_get_u64(summ, "numFailed", 0) +
	    json_get_u64(summ, "numIgnoredErrors", 0);
	stats = json_object_get(o, "stats");
	s->excluded = json_get_u64(stats, "excludedFileCount", 0) +
	    json_get_u64(stats, "excludedDirCount", 0);
	return 0;
}

const char *
kopia_pin(const struct kopia_snap *s, const char *prefix, size_t i)
{
	const json_t *pins = json_object_get(s->json, "pins");
	const char *pin;
	size_t k;

	for (k = 0; k < json_array_size(pins); k++) {
		pin = json_string_value(json_array_get(pins, k));
		if (pin != NULL && str_begins(pin, prefix) && i-- == 0)
			return pin + strlen(prefix);
	}
	return NULL;
}

bool
kopia_error(const struct kopia_snap *s, size_t i, const char **path,
    const char **text)
{
	const json_t *list = json_object_get(json_object_get(
	    json_object_get(s->json, "rootEntry"), "summ"), "errors");
	const json_t *one = json_array_get(list, i);

	if (one == NULL)
		return false;
	*path = json_get_str(one, "path");
	*text = json_get_str(one, "error");
	if (*path == NULL)
		*path = "?";
	if (*text == NULL)
		*text = "can't be read";
	return true;
}

struct lister {
	kopia_snap_fn *fn;
	void *ctx;
};

static int
one(void *arg, json_t *o, struct err *e)
{
	struct lister *l = arg;
	struct kopia_snap s;
	int r = kopia_snap(o, &s, e);

	return r == 0 && s.uuid[0] != '\0' ? l->fn(l->ctx, &s, e) :
	    r == 1 ? 0 : r;
}

int
kopia_list_start(struct kopia_run *r, struct kopia *k, const char *uuid,
    struct err *e)
{
	char tag[UUID_TEXT + 32];
	const char *args[] = { "snapshot", "list", "--json", "--all",
	    "--no-retention", NULL, NULL };
	struct kopia_cmd cmd = { .what = "snapshot list", .args = args,
	    .in = PROC_NULL };

	if (uuid != NULL) {
		snprintf(tag, sizeof(tag), "--tags=backup-uuid:%s", uuid);
		args[5] = tag;
	}
	return kopia_start(r, k, &cmd, e);
}

int
kopia_list_read(struct kopia_run *r, kopia_snap_fn *fn, void *ctx,
    struct err *e)
{
	struct lister l = { fn, ctx };

	return child_items(r->child, KOPIA_ITEM, one, &l, e);
}

int
kopia_list(struct kopia *k, const char *uuid, kopia_snap_fn *fn, void *ctx,
    struct err *e)
{
	struct kopia_run r;
	int ret = kopia_list_start(&r, k, uuid, e);

	if (ret == 0)
		ret = kopia_list_read(&r, fn, ctx, e);
	kopia_end(&r);
	return ret;
}

int
kopia_delete(struct kopia *k, const char *id, struct err *e)
{
	const char *const args[] = { "snapshot", "delete", "--delete", id,
	    NULL };
	int ret = kopia_do(k, "snapshot delete", args, e);

	if (ret == -1 && e->code == CALA_NOTFOUND) {
		err_clear(e);
		ret = 0;
	}
	return ret;
}
