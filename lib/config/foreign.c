#include "config/foreign.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

static json_t *
keys_of(const char *p, size_t n, struct err *e)
{
	json_t *doc = json_parse(p, n, "info", e), *keys;

	if (doc == NULL)
		return NULL;
	keys = json_object_get(doc, "keys");
	if (!json_is_array(keys) || json_array_size(keys) > FOREIGN_KEYS) {
		err_set(e, CALA_INTEGRITY,
		    "info: \"keys\" is no array of at most %d", FOREIGN_KEYS);
		keys = NULL;
	}
	json_incref(keys);
	json_decref(doc);
	return keys;
}

/* Choices as the table has them, or NULL. */
static char *
choices(const json_t *list)
{
	const char *s;
	struct buf b;
	size_t i;

	buf_init(&b, 65536);
	for (i = 0; i < json_array_size(list); i++) {
		s = json_string_value(json_array_get(list, i));
		if (s == NULL || *s == '\0' || strpbrk(s, " |") != NULL)
			continue;
		buf_str(&b, b.len > 0 ? " " : "");
		buf_str(&b, s);
	}
	s = b.len > 0 ? buf_detach(&b) : NULL;
	buf_fini(&b);
	return (char *)s;
}

static int
fill(struct key *k, const json_t *o, const char *disk, struct err *e)
{
	const char *name = json_get_str(o, "name"),
	    *type = json_get_str(o, "type"), *def = json_get_str(o, "default");
	const json_t *list = json_object_get(o, "choices");

	if (name == NULL || *name == '\0' || strlen(name) >= KEY_NAME_MAX / 2 ||
	    name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-")] != '\0')
		return err_set(e, CALA_INTEGRITY, "info: the key '%s' has no "
		    "name of small letters, digits and hyphens",
		    str_q(name != NULL ? name : ""));
	k->section = "configuration";
	/* A type that we don't know is checked by the driver. */
	if (type == NULL || key_type_of(type, &k->type) == -1 ||
	    k->type == KEY_REF)
		k->type = KEY_TEXT;
	k->min = json_get_u64(o, "min", 0);
	k->max = json_get_u64(o, "max", 0);
	if (json_get_bool(o, "secret", false))
		k->flags |= KEY_SECRET;
	if (json_get_bool(o, "required", false))
		k->flags |= KEY_REQUIRED;
	if (json_get_bool(o, "list", false))
		k->flags |= KEY_LIST;
	if (json_get_bool(o, "map", false))
		k->flags |= KEY_MAP;
	k->disk = strdup(disk);
	k->name = strdup(name);
	k->def = def != NULL ? strdup(def) : NULL;
	k->choices = choices(list);
	k->help = "";
	if (k->type == KEY_LEVEL && k->choices == NULL)
		k->type = KEY_COUNT;
	if (k->type == KEY_ENUM && k->choices == NULL)
		k->type = KEY_TEXT;
	if (k->disk == NULL || k->name == NULL || (def != NULL &&
	    k->def == NULL))
		return err_oom(e);
	return 0;
}

int
foreign_keys(const char *p, size_t n, const char *disk,
    const struct key **rows, size_t *nrows, struct err *e)
{
	json_t *keys = keys_of(p, n, e);
	struct key *v;
	size_t i, count;

	if (keys == NULL)
		return -1;
	count = json_array_size(keys);
	if ((v = calloc(count + 1, sizeof(*v))) == NULL) {
		json_decref(keys);
		return err_oom(e);
	}
	for (i = 0; i < count; i++)
		if (fill(&v[i], json_array_get(keys, i), disk, e) == -1)
			break;
	json_decref(keys);
	if (i < count) {
		for (i = 0; i < count; i++) {
			free((void *)(uintptr_t)v[i].disk);
			free((void *)(uintptr_t)v[i].name);
			free((void *)(uintptr_t)v[i].def);
			free((void *)(uintptr_t)v[i].choices);
		}
		free(v);
		return -1;
	}
	*rows = v;
	*nrows = count;
	return 0;
}

int
foreign_print(const char *p, size_t n, struct buf *out, struct err *e)
{
	json_t *keys = keys_of(p, n, e);
	char *text;

	if (keys == NULL)
		return -1;
	text = json_dumps(keys, JSON_COMPACT);
	json_decref(keys);
	if (text == NULL)
		return err_oom(e);
	buf_str(out, text);
	free(text);
	return buf_failed(out, e);
}
