/*
 * facts: what the producer of an archive says about it, merged into the
 * record.
 *
 * {"v":1,"type":"summary","ok":true,"code":0,"files":…,"entries":…,"size":…,
 *  "stored":…,"changed":…,"excluded":…,"sockets":…,"warnings_count":…,
 *  "warnings":[…],"ignored":[…]}
 *
 * The file comes from another process: every member is checked, none is
 * trusted to be there.
 */

#include "driver/verbs.h"

#include <fcntl.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

static int
count(const json_t *o, const char *key, uint64_t *to, bool *has,
    struct err *e)
{
	const json_t *v = json_object_get(o, key);

	if (v == NULL || json_is_null(v))
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return err_set(e, CALA_INTEGRITY, "member '%s': not a count",
		    key);
	*to = (uint64_t)json_integer_value(v);
	if (has != NULL)
		*has = true;
	return 0;
}

static int
list(const json_t *o, const char *key, char ***to, size_t *n, size_t max,
    struct err *e)
{
	const json_t *v = json_object_get(o, key);
	const char *s;
	size_t i;

	if (v == NULL || json_is_null(v))
		return 0;
	if (!json_is_array(v))
		return err_set(e, CALA_INTEGRITY, "member '%s': not a list",
		    key);
	for (i = 0; i < json_array_size(v) && i < max; i++) {
		if ((s = json_string_value(json_array_get(v, i))) == NULL)
			return err_set(e, CALA_INTEGRITY,
			    "member '%s': holds something that is no string",
			    key);
		if (record_push(to, n, s, max, e) == -1)
			return -1;
	}
	return 0;
}

static int
merge(const json_t *o, struct record *r, struct err *e)
{
	const char *type = json_get_str(o, "type");
	uint64_t v = 0, code = 0;

	if (!json_is_object(o) || type == NULL || strcmp(type, "summary") != 0)
		return err_set(e, CALA_INTEGRITY, "not a summary");
	if (count(o, "v", &v, NULL, e) == -1 ||
	    count(o, "code", &code, NULL, e) == -1)
		return -1;
	if (v != 1)
		return err_set(e, CALA_INTEGRITY,
		    "a version that this program does not know");
	if (!json_get_bool(o, "ok", true) ||
	    (code != CALA_OK && code != CALA_PARTIAL))
		return err_set(e, CALA_INCOMPLETE,
		    "the producer says that it failed");
	if (count(o, "files", &r->files, &r->has_files, e) == -1 ||
	    count(o, "size", &r->size, &r->has_size, e) == -1 ||
	    count(o, "changed", &r->changed, NULL, e) == -1 ||
	    count(o, "sockets", &r->sockets, NULL, e) == -1 ||
	    count(o, "warnings_count", &r->warnings_count, NULL, e) == -1 ||
	    list(o, "warnings", &r->warnings, &r->nwarnings, RECORD_WARNINGS,
	    e) == -1 ||
	    list(o, "ignored", &r->ignored, &r->nignored, RECORD_IGNORED,
	    e) == -1)
		return -1;
	if (code == CALA_PARTIAL || r->warnings_count > 0)
		r->complete = false;
	return 0;
}

int
facts_get(const char *path, struct record *r, struct err *e)
{
	struct buf b;
	json_t *o = NULL;
	int ret = -1;

	buf_init(&b, RECORD_MAX);
	if (file_slurp(&b, AT_FDCWD, path, e) == -1) {
		/* The producer promised it: without it we know nothing. */
		if (e->code == CALA_NOTFOUND)
			e->code = CALA_INCOMPLETE;
		goto out;
	}
	if ((o = json_parse(b.p, b.len, "report", e)) == NULL ||
	    merge(o, r, e) == -1) {
		err_ctx(e, "%s", str_q(path));
		goto out;
	}
	ret = 0;
out:
	json_decref(o);
	buf_fini(&b);
	return ret;
}
