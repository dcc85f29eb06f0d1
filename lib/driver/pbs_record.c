#include "driver/pbs_record.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "pbs/manifest.h"

#define DOT "\xc2\xb7"                  /* "·" */
#define SEP " " DOT " "
#define PARTIAL SEP "partial"
#define RECORD "cala"                   /* in unprotected */

enum { LINE_MAX = 8 * RECORD_NAME + 128, PANEL_MAX = 64 << 10 };

/* ---- the first line of the notes ---- */

static void
put_name(struct buf *b, const char *s)
{
	for (; s != NULL && *s != '\0'; s++) {
		if (*s == '\n') {
			buf_str(b, "\\n");
			continue;
		}
		if (*s == '\\' || str_begins(s, DOT))
			buf_chr(b, '\\');
		buf_chr(b, *s);
	}
}

void
pbs_notes_put(const struct record *r, struct buf *b)
{
	put_name(b, r->name);
	buf_str(b, SEP);
	put_name(b, r->group);
	buf_str(b, SEP);
	buf_str(b, r->uuid);
	if (!r->complete)
		buf_str(b, PARTIAL);
}

/* Up to the next separator that is one, or to the end; *end: behind it. */
static char *
get_name(const char *s, const char **end, struct err *e)
{
	struct buf b;
	char *out;

	buf_init(&b, LINE_MAX);
	while (*s != '\0' && !str_begins(s, SEP)) {
		if (*s == '\\' && s[1] != '\0') {
			s++;
			buf_chr(&b, *s == 'n' ? '\n' : *s);
			s++;
		} else {
			buf_chr(&b, *s++);
		}
	}
	*end = s;
	if ((out = buf_detach(&b)) == NULL)
		err_oom(e);
	return out;
}

/* A clean one is ours; what a person wrote there is not taken for one. */
static bool
usable(const char *s)
{
	struct err e = ERR_INIT;

	return *s == '\0' || record_name("notes", s, &e) == 0;
}

static int
take(const char *line, struct record *r, struct err *e)
{
	char *name, *group = NULL, uuid[UUID_TEXT], text[UUID_TEXT];
	const char *s;
	int ret = 0;

	if ((name = get_name(line, &s, e)) == NULL)
		return -1;
	if (*s != '\0') {
		group = get_name(s + strlen(SEP), &s, e);
		ret = group != NULL ? 0 : -1;
	}
	if (group == NULL || *s == '\0')
		goto out;
	s += strlen(SEP);
	if (strlen(s) < UUID_TEXT - 1)
		goto out;
	memcpy(text, s, UUID_TEXT - 1);
	text[UUID_TEXT - 1] = '\0';
	s += UUID_TEXT - 1;
	if (uuid_norm(text, uuid) == -1 ||
	    (*s != '\0' && strcmp(s, PARTIAL) != 0) ||
	    !usable(name) || !usable(group))
		goto out;
	if (record_set(&r->name, *name != '\0' ? name : NULL, e) == -1 ||
	    record_set(&r->group, *group != '\0' ? group : NULL, e) == -1) {
		ret = -1;
		goto out;
	}
	memcpy(r->uuid, uuid, sizeof(r->uuid));
	r->complete = *s == '\0';
	ret = 1;
out:
	free(name);
	free(group);
	return ret;
}

int
pbs_notes_get(const char *notes, struct record *r, struct err *e)
{
	size_t n = strcspn(notes, "\n");
	char *line;
	int ret;

	if (n > 0 && notes[n - 1] == '\r')
		n--;
	if (n >= LINE_MAX)
		return 0;
	if ((line = str_ndup(notes, n)) == NULL)
		return err_oom(e);
	ret = take(line, r, e);
	free(line);
	return ret;
}

/* ---- the record in the manifest ---- */

static json_t *
to_json(const struct record *r, struct err *e)
{
	json_t *j = NULL;
	struct buf b;

	buf_init(&b, RECORD_MAX);
	if (record_put(r, &b, e) == 0)
		j = json_parse(b.p, b.len, "record", e);
	buf_fini(&b);
	return j;
}

int
pbs_record_put(const struct record *r, bool sealed, struct pbs_manifest *m,
    struct err *e)
{
	/* Names of files, or what people call things. */
	static const char *const told[] =
	    { "name", "group", "ignored", "warnings" };
	struct buf b;
	json_t *j;
	size_t i;
	int ret;

	if ((j = to_json(r, e)) == NULL)
		return -1;
	for (i = 0; sealed && i < sizeof(told) / sizeof(*told); i++)
		json_object_del(j, told[i]);
	buf_init(&b, LINE_MAX);
	pbs_notes_put(r, &b);
	ret = buf_failed(&b, e);
	if (json_object_set_new(m->unprotected, RECORD, j) == -1 ||
	    (ret == 0 && json_object_set_new(m->unprotected, "notes",
	    json_string(b.p)) == -1))
		ret = err_oom(e);
	buf_fini(&b);
	return ret;
}

int
pbs_record_get(const struct pbs_manifest *m, struct record *r, struct err *e)
{
	const json_t *j = json_object_get(m->unprotected, RECORD);
	const char *notes = pbs_manifest_notes(m);
	struct record said;
	char *text;
	int ret = 0, k = 0;

	record_init(r);
	if (j != NULL) {
		text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
		ret = text == NULL ? err_oom(e) :
		    record_get(r, text, strlen(text), "record", e) == -1 ?
		    -1 : 1;
		free(text);
		if (ret == -1)
			return -1;
	}
	record_init(&said);
	if (notes != NULL)
		k = pbs_notes_get(notes, &said, e);
	/* Those of another backup, which somebody copied, say nothing of it. */
	if (k == 1 && ret == 1 && strcmp(said.uuid, r->uuid) != 0)
		k = 0;
	if (k == 1 && (record_set(&r->name, said.name, e) == -1 ||
	    record_set(&r->group, said.group, e) == -1))
		k = -1;
	if (k == 1) {
		memcpy(r->uuid, said.uuid, sizeof(r->uuid));
		r->complete = r->complete && said.complete;
	}
	record_fini(&said);
	if (k == -1) {
		record_fini(r);
		return -1;
	}
	return ret;
}

/* ---- what Wings writes and reads ---- */

void
pbs_panel_put(const struct record *r, const char *id, int64_t when,
    const char *archive, const char *catalog, struct buf *b)
{
	struct jw j;

	jw_begin(&j, b);
	jw_open(&j, NULL, '{');
	jw_str(&j, "backup_uuid", r->uuid);
	jw_str(&j, "server_uuid", r->server);
	jw_str(&j, "backup_id", id);
	jw_i64(&j, "backup_time", when);
	jw_str(&j, "archive", archive);
	if (catalog != NULL)
		jw_str(&j, "catalog", catalog);
	jw_str(&j, "wings_version", "cala " CALA_VERSION);
	jw_close(&j, '}');
}

static void
take_uuid(const json_t *j, const char *key, char out[UUID_TEXT])
{
	const char *s = json_get_str(j, key);

	if (s == NULL || uuid_norm(s, out) == -1)
		out[0] = '\0';
}

static void
take_text(const json_t *j, const char *key, char *out, size_t room)
{
	const char *s = json_get_str(j, key);

	out[0] = '\0';
	if (s != NULL && strlen(s) < room)
		memcpy(out, s, strlen(s) + 1);
}

int
pbs_panel_get(const void *p, size_t n, struct pbs_panel *out, struct err *e)
{
	json_t *j;

	if (n > PANEL_MAX)
		return err_set(e, CALA_INTEGRITY, PBS_PANEL_BLOB ": too long");
	if ((j = json_parse(p, n, PBS_PANEL_BLOB, e)) == NULL)
		return -1;
	if (!json_is_object(j)) {
		json_decref(j);
		return err_set(e, CALA_INTEGRITY, PBS_PANEL_BLOB
		    ": it is no object");
	}
	take_uuid(j, "backup_uuid", out->uuid);
	take_uuid(j, "server_uuid", out->server);
	take_text(j, "archive", out->archive, sizeof(out->archive));
	take_text(j, "dump_file_name", out->dump, sizeof(out->dump));
	json_decref(j);
	return 0;
}
