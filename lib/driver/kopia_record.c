/* kopia_record: records out of manifests, and into pins. */

#include "driver/kopia.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "config/conf.h"

enum {
	PIN_MAX = 100000,               /* one argument may have 128 KiB */
	PINS_BYTES = 1 << 20,           /* of all arguments together */
	PARTS = 16
};

#define PIN_NAME "cala.name="
#define PIN_GROUP "cala.group="
#define PIN_LOCK "cala.lock"
#define PIN_RECORD "cala.record"

/* ---- reading ---- */

/* The record's JSON put together again; 0 without one. */
static int
stored_json(const struct kopia_snap *s, struct buf *b, struct err *e)
{
	char prefix[32];
	const char *part;
	size_t i;

	for (i = 0; i < PARTS; i++) {
		if (i == 0)
			snprintf(prefix, sizeof(prefix), PIN_RECORD "=");
		else
			snprintf(prefix, sizeof(prefix), PIN_RECORD ".%zu=",
			    i);
		if ((part = kopia_pin(s, prefix, 0)) == NULL)
			break;
		buf_str(b, part);
	}
	return buf_failed(b, e);
}

/* Whose volume it is: Wings names the directory by the server's UUID. */
static void
server_of(const struct kopia_snap *s, char out[UUID_TEXT])
{
	const char *name = strrchr(s->path, '/');
	char uuid[UUID_TEXT];

	name = name != NULL ? name + 1 : s->path;
	if (uuid_norm(name, uuid) == 0 && strcmp(uuid, name) == 0)
		memcpy(out, uuid, UUID_TEXT);
}

static int
foreign(const struct kopia_snap *s, struct record *rec, struct err *e)
{
	record_init(rec);
	memcpy(rec->uuid, s->uuid, sizeof(rec->uuid));
	server_of(s, rec->server);
	rec->foreign = true;
	rec->created = s->start;
	return record_set(&rec->host, s->host, e);
}

/* What Kopia says about entries that it could not take. */
static int
add_failures(const struct kopia_snap *s, struct record *rec, struct err *e)
{
	const char *path, *text;
	struct buf b;
	size_t i;
	int ret = 0;

	buf_init(&b, 2 * ENTRY_PATH_MAX);
	for (i = 0; ret == 0 && kopia_error(s, i, &path, &text); i++) {
		buf_reset(&b);
		buf_printf(&b, "%s: %s", str_q(path), str_q(text));
		ret = record_push(&rec->warnings, &rec->nwarnings, b.p,
		    RECORD_WARNINGS, e);
	}
	rec->warnings_count += s->failed;
	/* What others left out of a backup of ours that had no rules. */
	if (ret == 0 && rec->version != NULL && s->excluded > 0 &&
	    kopia_pin(s, KOPIA_PIN_RULES, 0) == NULL) {
		buf_reset(&b);
		buf_printf(&b, "%" PRIu64 " files and directories were left "
		    "out by a policy that is not ours", s->excluded);
		ret = record_push(&rec->warnings, &rec->nwarnings, b.p,
		    RECORD_WARNINGS, e);
		rec->warnings_count++;
	}
	if (rec->warnings_count > 0)
		rec->complete = false;
	buf_fini(&b);
	return ret;
}

static int
from_manifest(const struct driver_call *call, const struct kopia_snap *s,
    struct record *rec, struct err *e)
{
	const char *name = kopia_pin(s, PIN_NAME, 0);
	const char *group = kopia_pin(s, PIN_GROUP, 0);
	const char *lock = kopia_pin(s, PIN_LOCK, 0);

	rec->completed = s->end;
	rec->has_size = rec->has_files = true;
	rec->size = s->size;
	rec->files = s->files + s->symlinks;
	/* Anything of that prefix: in doubt it is locked. */
	rec->locked = lock != NULL;
	if (record_set(&rec->name, name, e) == -1 ||
	    record_set(&rec->group, group, e) == -1 ||
	    record_set(&rec->disk, conf_disk(call->cfg), e) == -1 ||
	    record_set(&rec->configuration, call->configuration, e) == -1 ||
	    record_set(&rec->sum_type, "kopia-root", e) == -1 ||
	    record_set(&rec->sum_value, s->root, e) == -1)
		return -1;
	return add_failures(s, rec, e);
}

int
kopia_get_record(struct driver_call *call, const struct kopia_snap *s,
    struct record *rec, struct err *e)
{
	struct err why = ERR_INIT;
	struct buf b;
	int ret = -1;

	buf_init(&b, RECORD_MAX);
	if (stored_json(s, &b, e) == -1)
		goto out;
	if (b.len > 0 && record_get(rec, b.p, b.len, "record", &why) == -1) {
		log_warn(call->log, "backup %s: %s", s->uuid, why.msg);
		buf_reset(&b);
	} else if (b.len > 0 && strcmp(rec->uuid, s->uuid) != 0) {
		log_warn(call->log, "backup %s: its record is of %s", s->uuid,
		    rec->uuid);
		record_fini(rec);
		buf_reset(&b);
	}
	if (b.len == 0 && foreign(s, rec, e) == -1)
		goto out;
	ret = from_manifest(call, s, rec, e);
	if (ret == -1)
		record_fini(rec);
out:
	buf_fini(&b);
	return ret;
}

/* ---- writing ---- */

static int
add(struct kopia_pins *p, const char *prefix, const char *text, size_t n,
    struct err *e)
{
	size_t len = strlen(prefix);
	char *pin = malloc(len + n + 1), **v;

	if (pin == NULL)
		return err_oom(e);
	memcpy(pin, prefix, len);
	memcpy(pin + len, text, n);
	pin[len + n] = '\0';
	if ((v = realloc(p->v, (p->n + 1) * sizeof(*v))) == NULL) {
		free(pin);
		return err_oom(e);
	}
	p->v = v;
	v[p->n++] = pin;
	return 0;
}

/* What the manifest or another pin says has no place in it. */
static void
strip(struct record *r)
{
	r->name = r->group = r->disk = r->configuration = NULL;
	r->sum_type = r->sum_value = NULL;
	r->locked = false;
	r->has_size = r->has_files = r->has_stored = false;
	r->completed.tv_sec = 0;
}

static int
add_record(const struct record *rec, struct kopia_pins *p, struct err *e)
{
	struct record own = *rec;
	char prefix[32];
	struct buf b;
	size_t at = 0, n, part;
	int ret = -1;

	strip(&own);
	buf_init(&b, RECORD_MAX);
	/* A backup must not fail because too much can be said about it. */
	for (;;) {
		buf_reset(&b);
		if (record_put(&own, &b, e) == -1)
			goto out;
		if (b.len <= PINS_BYTES)
			break;
		own.nignored /= 2;
		own.nwarnings /= 2;
	}
	for (part = 0; at < b.len && part < PARTS; part++) {
		n = b.len - at < PIN_MAX ? b.len - at : PIN_MAX;
		/* A pin is text: cut between characters. */
		while (n < b.len - at && (b.p[at + n] & 0xc0) == 0x80)
			n--;
		if (part == 0)
			snprintf(prefix, sizeof(prefix), PIN_RECORD "=");
		else
			snprintf(prefix, sizeof(prefix), PIN_RECORD ".%zu=",
			    part);
		if (add(p, prefix, b.p + at, n, e) == -1)
			goto out;
		at += n;
	}
	ret = 0;
out:
	buf_fini(&b);
	return ret;
}

int
kopia_make_pins(struct record *rec, struct kopia_pins *p, struct err *e)
{
	memset(p, 0, sizeof(*p));
	if ((rec->name != NULL && add(p, PIN_NAME, rec->name,
	    strlen(rec->name), e) == -1) ||
	    (rec->group != NULL && add(p, PIN_GROUP, rec->group,
	    strlen(rec->group), e) == -1) ||
	    (rec->locked && add(p, PIN_LOCK, "", 0, e) == -1) ||
	    /* Of another's backup we know nothing that it does not tell. */
	    (!rec->foreign && add_record(rec, p, e) == -1)) {
		kopia_pins_free(p);
		return -1;
	}
	return 0;
}

void
kopia_pins_free(struct kopia_pins *p)
{
	while (p->n > 0)
		free(p->v[--p->n]);
	free(p->v);
	p->v = NULL;
}
