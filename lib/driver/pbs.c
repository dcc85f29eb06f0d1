/*
 * pbs: which snapshots are backups of which servers, and the verbs that only
 * handle names and records.
 *
 * A snapshot's notes are for everybody to change, so they only say where to
 * look: what is removed, changed or read is known by its manifest.
 */

#include "driver/pbs.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/rate.h"
#include "base/secret.h"
#include "base/str.h"
#include "base/when.h"
#include "config/conf.h"
#include "driver/pbs_put.h"
#include "driver/pbs_read.h"
#include "driver/pbs_record.h"
#include "pbs/blob.h"
#include "pbs/manifest.h"
#include "pbs/rest.h"
#include "s3/setup.h"

struct own {
	struct pbs_disk d;
	struct pbs_target target;
	struct secret secret;
	struct rate *rate;
	pthread_mutex_t mu;     /* over the key, which is read when needed */
	bool key_read;
	int key;                /* what reading it came to */
	struct err key_err;
};

/* ---- the configuration ---- */

static unsigned
seconds(const struct driver_call *call, const char *key)
{
	return (unsigned)conf_u64(call->cfg, key);
}

static int
configure(struct driver_call *call, struct own *o, struct err *e)
{
	struct pbs_target *t = &o->target;
	const struct conf_section *cfg = call->cfg;
	const char *pin = conf_get(cfg, "fingerprint");
	char url[PBS_HOST + 16];

	if (pbs_target_url(t, conf_get(cfg, "url"), e) == -1)
		return err_ctx(e, "%s: url", conf_where(cfg, "url"));
	t->datastore = conf_get(cfg, "datastore");
	t->ns = conf_get(cfg, "namespace");
	t->token_id = conf_get(cfg, "token-id");
	if (conf_secret(call->conf, cfg, "token-secret", &o->secret, e) == -1)
		return -1;
	t->token_secret = &o->secret;
	if (pin != NULL && pbs_target_pin(t, pin, e) == -1)
		return err_ctx(e, "%s: fingerprint",
		    conf_where(cfg, "fingerprint"));
	t->cacert = conf_get(cfg, "cacert");
	t->insecure = !conf_bool(cfg, "tls-verify");
	snprintf(url, sizeof(url), "https://%s", t->host);
	t->proxy = s3_proxy(call->env, url, t->host);
	if ((o->rate = rate_new(call->limit_network, e)) == NULL)
		return -1;
	if (call->limit_network > 0)
		t->rate = o->rate;
	t->answer = seconds(call, "timeout");
	t->stall = seconds(call, "stall-timeout");
	t->retries = (unsigned)conf_u64(cfg, "retries");
	o->d.prefix = conf_get(cfg, "backup-id-prefix");
	if (!pbs_name_ok(o->d.prefix) ||
	    strlen(o->d.prefix) > PBSDISK_PREFIX)
		return err_set(e, CALA_USAGE, "%s: backup-id-prefix: '%s' can't "
		    "begin the name of a group: letters, digits and _ first, "
		    "then also . and -, at most %d",
		    conf_where(cfg, "backup-id-prefix"), str_q(o->d.prefix),
		    (int)PBSDISK_PREFIX);
	return 0;
}

struct pbs_disk *
pbsdisk_open(struct driver_call *call, struct err *e)
{
	struct own *o = call->own;

	if (o != NULL)
		return &o->d;
	if ((o = calloc(1, sizeof(*o))) == NULL) {
		err_oom(e);
		return NULL;
	}
	pthread_mutex_init(&o->mu, NULL);
	call->own = o;
	o->d.target = &o->target;
	if (configure(call, o, e) == -1 ||
	    (o->d.rest = pbs_rest_new(&o->target, call->log, e)) == NULL) {
		pbsdisk_done(call);
		return NULL;
	}
	return &o->d;
}

void
pbsdisk_done(struct driver_call *call)
{
	struct own *o = call->own;

	if (o == NULL)
		return;
	pbs_rest_free(o->d.rest);
	pbs_crypt_free(o->d.crypt);
	free(o->d.found.comment);
	secret_free(&o->secret);
	rate_free(o->rate);
	pthread_mutex_destroy(&o->mu);
	free(o);
	call->own = NULL;
}

int
pbsdisk_key(struct driver_call *call, struct pbs_disk *d, struct err *e)
{
	struct own *o = (struct own *)d;

	/* Once: a passphrase is slow by design, a descriptor reads once. */
	pthread_mutex_lock(&o->mu);
	if (!o->key_read) {
		o->key = pbs_key(call->conf, call->cfg, &d->crypt,
		    &o->key_err);
		o->key_read = true;
		if (o->key == -1)
			err_ctx(&o->key_err, "encryption-key");
	}
	pthread_mutex_unlock(&o->mu);
	if (o->key == -1)
		*e = o->key_err;
	return o->key;
}

/* ---- names ---- */

const char *
pbsdisk_id(const struct pbs_disk *d, const char *server,
    char out[PBSDISK_ID])
{
	snprintf(out, PBSDISK_ID, "%s-%s", d->prefix, server);
	return out;
}

bool
pbsdisk_ours(const struct pbs_disk *d, const char *id, char server[UUID_TEXT])
{
	size_t n = strlen(d->prefix);

	/* As it must be spelled: in lower case. */
	return strncmp(id, d->prefix, n) == 0 && id[n] == '-' &&
	    uuid_norm(id + n + 1, server) == 0 &&
	    strcmp(id + n + 1, server) == 0;
}

const char *
pbsdisk_name(const struct pbs_shot *s, char out[PBSDISK_NAME])
{
	struct timespec t = { .tv_sec = (time_t)s->time };
	char when[WHEN_TEXT];

	snprintf(out, PBSDISK_NAME, "host/%s/%s", s->id, when_utc(t, when));
	return out;
}

struct pbs_snap
pbsdisk_snap(const struct pbs_shot *s)
{
	return (struct pbs_snap){ .type = "host", .id = s->id,
	    .time = s->time };
}

/* ---- the list ---- */

/* Its files by name; a list that can't be read would hide a backup. */
static int
shot_files(const json_t *files, struct pbs_shot *s, struct err *e)
{
	const char *name;
	size_t i;

	for (i = 0; i < json_array_size(files); i++) {
		name = json_get_str(json_array_get(files, i), "filename");
		if (name == NULL)
			break;
		s->finished |= strcmp(name, PBS_MANIFEST) == 0;
		s->check |= strcmp(name, PBSDISK_CHECK) == 0;
	}
	return json_is_array(files) && i == json_array_size(files) ? 0 :
	    err_set(e, CALA_INTEGRITY, "the list of snapshots: %s has no list "
	    "of files", s->id);
}

/* What the server says of one snapshot: 1, 0: none of ours, -1. */
static int
shot_get(const struct pbs_disk *d, const json_t *o, struct pbs_shot *s,
    struct err *e)
{
	const char *type = json_get_str(o, "backup-type");
	const char *id = json_get_str(o, "backup-id");
	const char *comment = json_get_str(o, "comment"), *state;
	uint64_t time = json_get_u64(o, "backup-time", 0);
	struct record rec;

	memset(s, 0, sizeof(*s));
	if (type == NULL || id == NULL)
		return err_set(e, CALA_INTEGRITY, "the list of snapshots: an "
		    "entry without a name");
	if (strcmp(type, "host") != 0 || !pbsdisk_ours(d, id, s->server))
		return 0;
	if (time == 0 || time > PBS_TIME_MAX)
		return err_set(e, CALA_INTEGRITY, "the list of snapshots: %s "
		    "without a time", id);
	snprintf(s->id, sizeof(s->id), "%s", id);
	s->time = (int64_t)time;
	s->size = json_get_u64(o, "size", 0);
	s->locked = json_get_bool(o, "protected", false);
	state = json_get_str(json_object_get(o, "verification"), "state");
	s->bad = state != NULL && strcmp(state, "failed") == 0;
	s->proven = state != NULL && strcmp(state, "ok") == 0;
	if (shot_files(json_object_get(o, "files"), s, e) == -1)
		return -1;
	if (comment == NULL)
		return 1;
	record_init(&rec);
	if (pbs_notes_get(comment, &rec, e) == -1 ||
	    (s->comment = strdup(comment)) == NULL) {
		record_fini(&rec);
		return e->code != 0 ? -1 : err_oom(e);
	}
	memcpy(s->uuid, rec.uuid, sizeof(s->uuid));
	record_fini(&rec);
	return 1;
}

static int
cmp_shot(const void *va, const void *vb)
{
	const struct pbs_shot *a = va, *b = vb;
	int c = strcmp(a->id, b->id);

	return c != 0 ? c : a->time < b->time ? -1 : a->time > b->time;
}

void
pbsdisk_scan_free(struct pbs_shot *v, size_t n)
{
	size_t i;

	for (i = 0; v != NULL && i < n; i++)
		free(v[i].comment);
	free(v);
}

int
pbsdisk_scan(struct pbs_disk *d, const char *server, struct pbs_shot **out,
    size_t *count, struct err *e)
{
	char id[PBSDISK_ID];
	struct pbs_shot *v = NULL;
	size_t i, n = 0;
	json_t *all;
	int k = 0;

	all = pbs_snapshots(d->rest, "host", *server != '\0' ?
	    pbsdisk_id(d, server, id) : NULL, e);
	if (all == NULL)
		return -1;
	if (!json_is_array(all))
		k = err_set(e, CALA_INTEGRITY, "the list of snapshots is no "
		    "list");
	else if ((v = calloc(json_array_size(all) + 1, sizeof(*v))) == NULL)
		k = err_oom(e);
	for (i = 0; k != -1 && i < json_array_size(all); i++) {
		k = shot_get(d, json_array_get(all, i), &v[n], e);
		/* The server chooses what it answers, not whose it is. */
		if (k == 1 && *server != '\0' &&
		    strcmp(v[n].server, server) != 0)
			free(v[n].comment);
		else if (k == 1)
			n++;
	}
	json_decref(all);
	if (k == -1) {
		pbsdisk_scan_free(v, n);
		return -1;
	}
	if (n > 1)
		qsort(v, n, sizeof(*v), cmp_shot);
	for (i = 0; i < n; i++)
		v[i].last = i + 1 == n || strcmp(v[i].id, v[i + 1].id) != 0;
	*out = v;
	*count = n;
	return 0;
}

int
pbsdisk_taken(struct driver_call *call, struct pbs_disk *d, const char *uuid,
    struct err *e)
{
	struct pbs_shot *v;
	size_t i, n;
	int ret = 0;

	(void)call;
	if (pbsdisk_scan(d, "", &v, &n, e) == -1)
		return -1;
	for (i = 0; i < n; i++)
		if (v[i].finished && strcmp(v[i].uuid, uuid) == 0)
			ret = 1;
	pbsdisk_scan_free(v, n);
	return ret;
}

/* ---- records ---- */

int
pbsdisk_blob(struct pbs_disk *d, const struct pbs_shot *s,
    const struct pbs_manifest *m, const char *name,
    const struct pbs_crypt *crypt, struct buf *out, struct err *e)
{
	const struct pbs_file *f = m != NULL ? pbs_manifest_file(m, name) :
	    NULL;
	struct pbs_snap snap = pbsdisk_snap(s);
	struct pbs_coder *k = NULL;
	struct buf raw;
	int ret = -1;

	buf_init(&raw, PBS_BLOB_MAX);
	if (pbs_download(d->rest, &snap, name, &raw, e) == 0 &&
	    (f == NULL || pbs_file_is(f, raw.p, raw.len, e) == 0) &&
	    (k = pbs_coder_new(crypt, 0, e)) != NULL)
		ret = pbs_blob_open(k, raw.p, raw.len, out, e);
	pbs_coder_free(k);
	buf_fini(&raw);
	return ret == -1 ? err_ctx(e, "%s", name) : 0;
}

int
pbsdisk_manifest(struct pbs_disk *d, const struct pbs_shot *s,
    struct pbs_manifest *m, struct err *e)
{
	struct buf b;
	int ret;

	buf_init(&b, PBS_MANIFEST_MAX);
	ret = pbsdisk_blob(d, s, NULL, PBS_MANIFEST, NULL, &b, e);
	if (ret == 0)
		ret = pbs_manifest_parse(m, b.p, b.len, e);
	buf_fini(&b);
	if (ret == 0 && (strcmp(m->type, "host") != 0 ||
	    strcmp(m->id, s->id) != 0 || m->time != s->time)) {
		ret = err_set(e, CALA_INTEGRITY, "its manifest is that of "
		    "%s/%s/%" PRId64, str_q(m->type), str_q(m->id), m->time);
		pbs_manifest_fini(m);
	}
	return ret;
}

/*
 * The UUID of a backup of Wings'; of another client's snapshot always the same
 * one, made of its name.  What notes say does not count: they can be copied.
 */
static int
identify(struct driver_call *call, struct pbs_disk *d,
    const struct pbs_shot *s, const struct pbs_manifest *m,
    struct record *rec, struct err *e)
{
	struct err own = ERR_INIT;
	char name[PBSDISK_NAME];
	struct pbs_panel p;
	struct buf b;

	p.uuid[0] = '\0';
	if (pbs_manifest_file(m, PBS_PANEL_BLOB) != NULL) {
		buf_init(&b, 1 << 20);
		if (pbsdisk_blob(d, s, m, PBS_PANEL_BLOB, NULL, &b, &own) == 0)
			pbs_panel_get(b.p, b.len, &p, &own);
		buf_fini(&b);
	}
	if (own.code != 0 && own.code != CALA_INTEGRITY &&
	    own.code != CALA_NOTFOUND) {
		*e = own;
		return -1;
	}
	pbsdisk_name(s, name);
	if (own.code != 0)
		log_warn(call->log, "%s: %s", name, own.msg);
	if (own.code == 0 && p.uuid[0] != '\0')
		memcpy(rec->uuid, p.uuid, sizeof(rec->uuid));
	else
		uuid_named(name, rec->uuid);
	return 0;
}

/* The first line of the notes as somebody wrote it is the best name. */
static int
named(const struct pbs_shot *s, struct record *rec, struct err *e)
{
	struct err no = ERR_INIT;

	if (s->uuid[0] != '\0' || s->comment == NULL || *s->comment == '\0' ||
	    record_name("notes", s->comment, &no) == -1)
		return 0;
	return record_set(&rec->name, s->comment, e);
}

/* The whole record, where it is encrypted and we have the key. */
static int
sealed(struct driver_call *call, struct pbs_disk *d,
    const struct pbs_shot *s, const struct pbs_manifest *m,
    struct record *rec, struct err *e)
{
	struct err own = ERR_INIT;
	struct record full;
	struct buf b;
	int ret = pbsdisk_key(call, d, &own);

	if (ret == 0)
		return 0;
	buf_init(&b, RECORD_MAX + 1);
	if (ret == 1)
		ret = pbsdisk_blob(d, s, m, PBS_RECORD_BLOB, d->crypt, &b, &own);
	if (ret == 0)
		ret = record_get(&full, b.p, b.len, PBS_RECORD_BLOB, &own);
	buf_fini(&b);
	if (ret == -1 && (own.code == CALA_NET || own.code > CALA_SIGNAL)) {
		*e = own;
		return -1;
	}
	if (ret == -1) {
		/* It is listed all the same. */
		log_step(call->log, "%s", own.msg);
		return 0;
	}
	/* Name and group may have been changed since. */
	if (strcmp(full.uuid, rec->uuid) != 0)
		ret = err_set(e, CALA_INTEGRITY, "%s: describes backup %s",
		    PBS_RECORD_BLOB, full.uuid);
	else if (record_set(&full.name, rec->name, e) == -1 ||
	    record_set(&full.group, rec->group, e) == -1)
		ret = -1;
	if (ret == -1) {
		record_fini(&full);
		return -1;
	}
	record_fini(rec);
	*rec = full;
	return 0;
}

/* The file that holds what was backed up; NULL: none that we know. */
static const struct pbs_file *
archive(const struct pbs_manifest *m)
{
	static const char *const names[] = { PBS_PXAR, PBS_PPXAR,
	    "backup.tar.didx", "dump.didx" };
	const struct pbs_file *f;
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		if ((f = pbs_manifest_file(m, names[i])) != NULL)
			return f;
	for (i = 0; i < m->n; i++)
		if (str_ends(m->files[i].name, "pxar.didx"))
			return &m->files[i];
	return NULL;
}

static int
foreign(struct driver_call *call, const struct pbs_shot *s,
    struct record *rec, struct err *e)
{
	rec->foreign = true;
	rec->created.tv_sec = (time_t)s->time;
	return record_set(&rec->disk, conf_disk(call->cfg), e) == -1 ||
	    record_set(&rec->configuration, call->configuration, e) == -1 ?
	    -1 : 0;
}

/* What a manifest tells that is not ours. */
static int
described(struct driver_call *call, struct pbs_disk *d,
    const struct pbs_shot *s, const struct pbs_manifest *m,
    struct record *rec, struct err *e)
{
	const struct pbs_file *f = archive(m);
	const json_t *stats = json_object_get(m->unprotected,
	    "chunk_upload_stats");
	char hex[2 * PBS_DIGEST + 1];

	if (foreign(call, s, rec, e) == -1 ||
	    identify(call, d, s, m, rec, e) == -1)
		return -1;
	if (json_is_integer(json_object_get(stats, "compressed_size"))) {
		rec->has_stored = true;
		rec->stored = json_get_u64(stats, "compressed_size", 0);
	}
	if (f == NULL)
		return 0;
	rec->has_size = true;
	rec->size = f->size;
	hex_put(f->csum, PBS_DIGEST, hex);
	return record_set(&rec->sum_type, "sha256", e) == -1 ||
	    record_set(&rec->sum_value, hex, e) == -1 ? -1 : 0;
}

/*
 * The server's mark of a finished session is missing: it runs still, or broke
 * off when it was all there.
 */
static int
unmarked(struct driver_call *call, const struct pbs_shot *s,
    const struct pbs_manifest *m, struct record *rec, struct err *e)
{
	char name[PBSDISK_NAME];

	if (pbs_manifest_finished(m))
		return 0;
	if (s->last)
		return err_set(e, CALA_NOTFOUND, "it is not finished");
	log_note(call->log, "%s was never finished; verify says what it is "
	    "worth", pbsdisk_name(s, name));
	rec->complete = false;
	return 0;
}

static int
of_manifest(struct driver_call *call, struct pbs_disk *d,
    const struct pbs_shot *s, const struct pbs_manifest *m,
    struct record *rec, struct err *e)
{
	int r = pbs_record_get(m, rec, e);

	if (r == -1)
		return -1;
	if ((r == 0 ? described(call, d, s, m, rec, e) :
	    pbs_manifest_file(m, PBS_RECORD_BLOB) != NULL ?
	    sealed(call, d, s, m, rec, e) : 0) == 0 && named(s, rec, e) == 0 &&
	    unmarked(call, s, m, rec, e) == 0)
		return 0;
	record_fini(rec);
	return -1;
}

int
pbsdisk_record(struct driver_call *call, struct pbs_disk *d,
    const struct pbs_shot *s, struct record *rec, struct err *e)
{
	char name[PBSDISK_NAME];
	struct pbs_manifest m;
	int ret = pbsdisk_manifest(d, s, &m, e);

	if (ret == 0) {
		ret = of_manifest(call, d, s, &m, rec, e);
		pbs_manifest_fini(&m);
	}
	pbsdisk_name(s, name);
	if (ret == -1 && e->code == CALA_INTEGRITY) {
		/* A damaged one is still there, for rm at least. */
		log_warn(call->log, "%s: damaged: %s", name, e->msg);
		err_clear(e);
		record_init(rec);
		uuid_named(name, rec->uuid);
		rec->complete = false;
		ret = foreign(call, s, rec, e);
	}
	if (ret == -1)
		return err_ctx(e, "%s", name);
	/* Whose it is, the group says: rights on the server go by that. */
	memcpy(rec->server, s->server, sizeof(rec->server));
	rec->locked = s->locked;
	return 0;
}

/* ---- the driver ---- */

static const char *const disks[] = { "proxmox-backup-server", NULL };

static const struct driver_verb extra[] = {
	{ "archive", "the stored archive as it is: pxar",
	    DRIVER_SERVER | DRIVER_BACKUP | DRIVER_BLOCKED,
	    pbsdisk_archive },
	{ "outline", "names, sizes and times, by the catalog",
	    DRIVER_SERVER | DRIVER_BACKUP | DRIVER_JSON, pbsdisk_outline },
	{ "prune", "let the server remove a server's old backups",
	    DRIVER_SERVER | DRIVER_DRY | DRIVER_BLOCKED | DRIVER_KEEP,
	    pbsdisk_prune },
	{ "sealed-key", "the encryption key, sealed for the master key",
	    DRIVER_SERVER | DRIVER_BACKUP | DRIVER_BLOCKED,
	    pbsdisk_sealed_key },
	{ "verify-job", "let the server verify a backup",
	    DRIVER_SERVER | DRIVER_BACKUP, pbsdisk_verify_job },
	{ NULL, NULL, 0, NULL }
};

const struct driver pbs_driver = {
	.name = "cala-pbs",
	.disks = disks,
	.takes = DRIVER_STREAM | DRIVER_DIR,
	.salvages = true,
	.put_begin = pbs_put_stream,
	.put_dir = pbs_put_dir,
	.open = pbsdisk_tree,
	.get = pbsdisk_get,
	.restore = pbsdisk_restore,
	.list = pbsdisk_list,
	.find = pbsdisk_lookup,
	.sync = pbsdisk_sync,
	.remove = pbsdisk_remove,
	.check = pbsdisk_check,
	.verify = pbsdisk_verify,
	.gc = pbsdisk_gc,
	.done = pbsdisk_done,
	.extra = extra,
};
