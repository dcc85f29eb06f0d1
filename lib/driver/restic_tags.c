/*
 * restic_tags: a record as tags of a snapshot.
 */

#include "driver/restic.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/str.h"
#include "base/when.h"

void
resticd_tags_fini(struct resticd_tags *t)
{
	while (t->n > 0)
		free(t->v[--t->n]);
}

int
resticd_tag(struct resticd_tags *t, struct err *e, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (t->n == RESTICD_TAGS)
		return err_set(e, CALA_FAIL, "a snapshot with more than %d tags",
		    (int)RESTICD_TAGS);
	va_start(ap, fmt);
	n = vasprintf(&t->v[t->n], fmt, ap);
	va_end(ap);
	if (n == -1)
		return err_oom(e);
	t->n++;
	return 0;
}

static int
encoded(struct resticd_tags *t, const char *key, const char *p, size_t n,
    struct err *e)
{
	struct buf b;
	int ret;

	buf_init(&b, 2 * RESTICD_TEXT + 64);
	b64url_put(&b, p, n);
	ret = buf_failed(&b, e);
	if (ret == 0)
		ret = resticd_tag(t, e, "cala.%s=%s", key, b.p);
	buf_fini(&b);
	return ret;
}

static int
text(struct resticd_tags *t, const char *key, const char *s, struct err *e)
{
	return s == NULL ? 0 : encoded(t, key, s, strlen(s), e);
}

/* As many lines as fit: an argument can't be longer than 128 KiB. */
static int
lines(struct resticd_tags *t, const char *key, char *const *v, size_t n,
    struct err *e)
{
	struct buf b;
	size_t i;
	int ret = 0;

	buf_init(&b, RESTICD_TEXT);
	for (i = 0; i < n; i++) {
		if (strlen(v[i]) + 1 > b.max - b.len)
			break;
		buf_str(&b, v[i]);
		buf_chr(&b, '\n');
	}
	if (b.len > 0)
		ret = encoded(t, key, b.p, b.len, e);
	buf_fini(&b);
	return ret;
}

int
resticd_tags(const struct record *rec, const struct resticd_snap *snap,
    struct resticd_tags *t, struct err *e)
{
	char when[WHEN_TEXT];
	size_t i;

	t->n = 0;
	if (resticd_tag(t, e, "%s", rec->uuid) == -1 ||
	    (!rec->foreign && resticd_tag(t, e, "cala.v=1") == -1) ||
	    (rec->server[0] != '\0' && resticd_tag(t, e, "cala.server=%s",
	    rec->server) == -1) ||
	    text(t, "name", rec->name, e) == -1 ||
	    text(t, "group", rec->group, e) == -1 ||
	    (rec->locked && resticd_tag(t, e, "cala.locked") == -1) ||
	    (rec->created.tv_sec != 0 && resticd_tag(t, e, "cala.created=%s",
	    when_utc(rec->created, when)) == -1) ||
	    (rec->version != NULL && resticd_tag(t, e, "cala.version=%s",
	    rec->version) == -1) ||
	    lines(t, "ignored", rec->ignored, rec->nignored, e) == -1 ||
	    (rec->warnings_count > 0 && (resticd_tag(t, e,
	    "cala.warnings=%" PRIu64, rec->warnings_count) == -1 ||
	    lines(t, "warning", rec->warnings, rec->nwarnings, e) == -1)) ||
	    (rec->changed > 0 && resticd_tag(t, e, "cala.changed=%" PRIu64,
	    rec->changed) == -1))
		return -1;
	if (snap == NULL)
		return 0;
	if (resticd_tag(t, e, "cala.rev=%" PRIu64, snap->rev + 1) == -1)
		return -1;
	if (snap->run[0] != '\0' && resticd_tag(t, e, "cala.run=%s",
	    snap->run) == -1)
		return -1;
	for (i = 0; i < snap->nother; i++)
		if (resticd_tag(t, e, "%s", snap->other[i]) == -1)
			return -1;
	return 0;
}

/* ---- back ---- */

static int
decode(const char *s, struct buf *b)
{
	return b64url_get(b, s, strlen(s)) == -1 || !str_utf8(b->p, b->len) ?
	    -1 : 0;
}

static int
split(const struct buf *b, char ***v, size_t *n, size_t max, struct err *e)
{
	char *p = b->p, *nl;

	for (; *p != '\0'; p = nl + 1) {
		nl = strchrnul(p, '\n');
		if (*nl == '\0')
			break;
		*nl = '\0';
		if (record_push(v, n, p, max, e) == -1)
			return -1;
	}
	return 0;
}

static int
number(const char *s, uint64_t *out)
{
	return str_u64(s, 0, UINT64_MAX, out);
}

/* 1: none of ours, or not as we write it. */
static int
ours(struct record *rec, struct resticd_snap *snap, const char *key,
    const char *value, struct buf *b, struct err *e)
{
	if (strcmp(key, "v") == 0) {
		rec->foreign = false;
		return 0;
	}
	if (strcmp(key, "server") == 0)
		return uuid_norm(value, rec->server) == -1 ? 1 : 0;
	if (strcmp(key, "locked") == 0) {
		rec->locked = true;
		return 0;
	}
	if (strcmp(key, "created") == 0)
		return when_rfc3339(value, &rec->created) == -1 ? 1 : 0;
	if (strcmp(key, "completed") == 0)
		return when_rfc3339(value, &rec->completed) == -1 ? 1 : 0;
	if (strcmp(key, "version") == 0)
		return record_set(&rec->version, value, e);
	if (strcmp(key, "run") == 0) {
		snprintf(snap->run, sizeof(snap->run), "%s", value);
		return 0;
	}
	if (strcmp(key, "rev") == 0)
		return number(value, &snap->rev) == -1 ||
		    snap->rev == UINT64_MAX ? (snap->rev = 0, 1) : 0;
	if (strcmp(key, "size") == 0)
		return (rec->has_size = number(value, &rec->size) == 0) ?
		    0 : 1;
	if (strcmp(key, "files") == 0)
		return (rec->has_files = number(value, &rec->files) == 0) ?
		    0 : 1;
	if (strcmp(key, "changed") == 0)
		return number(value, &rec->changed) == -1 ? 1 : 0;
	if (strcmp(key, "warnings") == 0) {
		if (number(value, &rec->warnings_count) == -1)
			return 1;
		rec->complete = rec->warnings_count == 0;
		return 0;
	}
	if (decode(value, b) == -1)
		return 1;
	if (strcmp(key, "name") == 0)
		return record_set(&rec->name, b->p, e);
	if (strcmp(key, "group") == 0)
		return record_set(&rec->group, b->p, e);
	if (strcmp(key, "ignored") == 0)
		return split(b, &rec->ignored, &rec->nignored,
		    RECORD_IGNORED, e);
	if (strcmp(key, "warning") == 0)
		return split(b, &rec->warnings, &rec->nwarnings,
		    RECORD_WARNINGS, e);
	return 1;
}

int
resticd_untag(struct record *rec, struct resticd_snap *snap, const char *tag,
    struct err *e)
{
	char key[16];
	const char *eq;
	struct buf b;
	int r = 1;

	if (str_begins(tag, "cala.")) {
		eq = strchrnul(tag + 5, '=');
		if ((size_t)(eq - tag) - 5 < sizeof(key)) {
			memcpy(key, tag + 5, (size_t)(eq - tag) - 5);
			key[eq - tag - 5] = '\0';
			buf_init(&b, RECORD_MAX);
			r = ours(rec, snap, key, *eq == '=' ? eq + 1 : eq, &b,
			    e);
			buf_fini(&b);
		}
	}
	/* What was counted stays, whatever else changes. */
	if (r != 1 && !str_begins(tag, "cala.size=") &&
	    !str_begins(tag, "cala.files=") &&
	    !str_begins(tag, "cala.completed="))
		return r;
	return r == -1 ? -1 : record_push(&snap->other, &snap->nother, tag,
	    RESTICD_TAGS - 32, e);
}

/* ---- changing them ---- */

static int
count(void *ctx, struct child *c, struct err *e)
{
	uint64_t *changed = ctx;
	char *line;
	size_t n;
	int got;

	*changed = 0;
	while ((got = child_line(c, &line, &n, e)) == 1)
		if (str_begins(line, "modified tags on ") ||
		    str_begins(line, "modified "))
			*changed = 1;
	return got;
}

int
resticd_retag(struct driver_call *call, const char *id,
    const struct resticd_tags *t, uint64_t wait, struct err *e)
{
	const char *args[2 * RESTICD_TAGS + 8];
	char ref[RESTICD_REF + 1];
	struct restic_run run = { .flags = RESTIC_WAITS | RESTIC_PLAIN,
	    .args = args, .wait = wait };
	static const struct buf nothing;
	struct restic *r;
	uint64_t changed;
	size_t n = 0, i;

	args[n++] = "tag";
	for (i = 0; i < t->n; i++) {
		args[n++] = "--set";
		args[n++] = t->v[i];
	}
	snprintf(ref, sizeof(ref), "%s", id);
	args[n++] = "--";
	args[n++] = ref;
	args[n] = NULL;
	if (resticd_open(call, &r, e) == -1)
		return -1;
	resticd_remember(call, &nothing);
	if (restic_do(r, &run, count, &changed, e) == -1)
		return -1;
	if (changed == 0)
		return err_set(e, CALA_LOCKED, "backup %s: somebody else has "
		    "just changed it", t->v[0]);
	return 0;
}
