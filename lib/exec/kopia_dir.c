/* kopia_dir: directory objects, which are JSON (kopia-restic §13.1). */

#include "exec/kopia_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

static int
bad(const char *name, const char *why, struct err *e)
{
	return err_set(e, CALA_INTEGRITY, "Kopia's directory %s: %s",
	    str_q(*name != '\0' ? name : "/"), why);
}

static int
node(const json_t *o, const char *dir, struct kopia_node *n, struct err *e)
{
	const char *name = json_get_str(o, "name");
	const char *type = json_get_str(o, "type");

	memset(n, 0, sizeof(*n));
	if (name == NULL || *name == '\0' || strchr(name, '/') != NULL ||
	    strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return bad(dir, "a name that can't be one", e);
	n->en.path = name;
	n->oid = json_get_str(o, "obj");
	if (n->oid == NULL || strlen(n->oid) >= KOPIA_ID ||
	    !kopia_oid_ok(n->oid))
		return bad(dir, "an entry without its object", e);
	if (kopia_meta(o, &n->en) == -1)
		return bad(dir, "an entry with a mode or time that is none",
		    e);
	switch (type != NULL ? *type : '\0') {
	case 'd':
		n->en.type = ENTRY_DIR;
		return 0;
	case 's':
		n->en.type = ENTRY_SYMLINK;
		return 0;
	case 'f':
		n->en.type = ENTRY_FILE;
		n->en.size = json_get_u64(o, "size", 0);
		return 0;
	default:
		return bad(dir, "an entry of a type that is not known", e);
	}
}

static int
by_name(const void *va, const void *vb)
{
	const struct kopia_node *a = va, *b = vb;

	return strcmp(a->en.path, b->en.path);
}

int
kopia_dir(const char *text, size_t n, const char *name,
    struct kopia_dir *out, struct err *e)
{
	json_t *list;
	size_t i;

	memset(out, 0, sizeof(*out));
	if ((out->json = json_parse(text, n, "Kopia's directory", e)) == NULL)
		return -1;
	list = json_object_get(out->json, "entries");
	/* An empty folder has null, or nothing. */
	if (list != NULL && !json_is_null(list) && !json_is_array(list)) {
		bad(name, "not a list of entries", e);
		goto fail;
	}
	if (strcmp(json_get_str(out->json, "stream") != NULL ?
	    json_get_str(out->json, "stream") : "", "kopia:directory") != 0) {
		bad(name, "not a directory", e);
		goto fail;
	}
	out->n = json_array_size(list);
	if (out->n == 0)
		return 0;
	if ((out->v = calloc(out->n, sizeof(*out->v))) == NULL) {
		err_oom(e);
		goto fail;
	}
	for (i = 0; i < out->n; i++)
		if (node(json_array_get(list, i), name, &out->v[i], e) == -1)
			goto fail;
	qsort(out->v, out->n, sizeof(*out->v), by_name);
	return 0;
fail:
	kopia_dir_fini(out);
	return -1;
}

const struct kopia_node *
kopia_dir_find(const struct kopia_dir *d, const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < d->n; i++)
		if (strncmp(d->v[i].en.path, name, len) == 0 &&
		    d->v[i].en.path[len] == '\0')
			return &d->v[i];
	return NULL;
}

void
kopia_dir_fini(struct kopia_dir *d)
{
	free(d->v);
	json_decref(d->json);
	memset(d, 0, sizeof(*d));
}
