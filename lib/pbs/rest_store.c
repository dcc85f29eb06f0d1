/* rest_store: what the calls of a datastore are called (pbs.md 3). */

#include "pbs/rest.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "base/when.h"
#include "pbs/blob.h"
#include "pbs/manifest.h"
#include "pbs/net.h"
#include "pbs/rest_int.h"
#include "pbs/session.h"

enum {
	PATH_ROOM = 96,
	QUERY_ROOM = 2048,
	WHAT = PBS_NAME_MAX + PBS_PRIV_PATH + 96,
	SETTLE = 60                     /* seconds to learn of a finish */
};

static const char *
ns_of(const struct pbs_rest *r)
{
	const char *ns = pbs_rest_target(r)->ns;

	return ns != NULL && *ns != '\0' ? ns : NULL;
}

/* "admin/datastore/STORE/verb"; the name of a store needs no encoding. */
static const char *
path_of(const struct pbs_rest *r, const char *verb, char out[PATH_ROOM])
{
	snprintf(out, PATH_ROOM, "admin/datastore/%s/%s",
	    pbs_rest_target(r)->datastore, verb);
	return out;
}

/* A call of the datastore with what is in q, or j (which is taken). */
static json_t *
of_store(struct pbs_rest *r, const char *what, const char *method,
    const char *verb, struct buf *q, json_t *body, struct err *e)
{
	char path[PATH_ROOM];
	json_t *j = NULL;

	if (q == NULL && body == NULL)
		err_oom(e);
	else if (q == NULL || buf_failed(q, e) == 0)
		j = pbs_rest_call(r, what, method, path_of(r, verb, path),
		    q != NULL ? q->p : NULL, body, e);
	json_decref(body);
	if (q != NULL)
		buf_fini(q);
	return j;
}

static struct buf *
query(struct pbs_rest *r, const struct pbs_snap *s, struct buf *q)
{
	buf_init(q, QUERY_ROOM);
	if (s != NULL)
		pbs_param_snap(q, s);
	if (ns_of(r) != NULL)
		pbs_param(q, "ns", ns_of(r));
	return q;
}

static json_t *
body_of(const struct pbs_rest *r, const struct pbs_snap *s)
{
	json_t *j = json_pack("{s:s, s:s}", "backup-type",
	    s->type != NULL ? s->type : "host", "backup-id", s->id);

	if (j == NULL)
		return NULL;
	if ((s->time != 0 && json_object_set_new(j, "backup-time",
	    json_integer(s->time)) == -1) ||
	    (ns_of(r) != NULL && json_object_set_new(j, "ns",
	    json_string(ns_of(r))) == -1)) {
		json_decref(j);
		return NULL;
	}
	return j;
}

/* "verb of STORE: host/ID/TIME" */
static const char *
what_of(const struct pbs_rest *r, const char *verb, const struct pbs_snap *s,
    char out[WHAT])
{
	char snap[WHAT - 32];

	if (s->time != 0)
		pbs_session_what(pbs_rest_target(r), s, snap, sizeof(snap));
	else
		snprintf(snap, sizeof(snap), "%s: %s/%s",
		    pbs_rest_target(r)->datastore,
		    s->type != NULL ? s->type : "host", s->id);
	snprintf(out, WHAT, "%s of %s", verb, snap);
	return out;
}

/* The answer is not looked at. */
static int
done(json_t *j)
{
	if (j == NULL)
		return -1;
	json_decref(j);
	return 0;
}

/* What must be of a type: the server's answer, or an error. */
static json_t *
must(json_t *j, bool is, const char *what, const char *type, struct err *e)
{
	if (j == NULL || is)
		return j;
	json_decref(j);
	err_set(e, CALA_INTEGRITY, "%s: the server's answer is no %s", what,
	    type);
	return NULL;
}

static json_t *
array(json_t *j, const char *what, struct err *e)
{
	return must(j, json_is_array(j), what, "array", e);
}

static json_t *
object(json_t *j, const char *what, struct err *e)
{
	return must(j, json_is_object(j), what, "object", e);
}

/* ---- reach and rights ---- */

int
pbs_ping(struct pbs_rest *r, struct err *e)
{
	json_t *j = pbs_rest_call(r, "ping", "GET", "ping", NULL, NULL, e);
	bool pong = json_get_bool(j, "pong", false);

	if (j == NULL)
		return -1;
	json_decref(j);
	return pong ? 0 : err_set(e, CALA_NET, "ping: what answers is no "
	    "Proxmox Backup Server");
}

json_t *
pbs_version(struct pbs_rest *r, struct err *e)
{
	return object(pbs_rest_call(r, "version", "GET", "version", NULL,
	    NULL, e), "version", e);
}

json_t *
pbs_permissions(struct pbs_rest *r, struct err *e)
{
	char path[PBS_PRIV_PATH];
	json_t *j, *v;
	struct buf q;

	pbs_target_acl(pbs_rest_target(r), path);
	buf_init(&q, QUERY_ROOM);
	pbs_param(&q, "path", path);
	j = object(pbs_rest_call(r, "permissions", "GET",
	    "access/permissions", q.p, NULL, e), "permissions", e);
	buf_fini(&q);
	if (j == NULL)
		return NULL;
	v = json_object_get(j, path);
	v = json_is_object(v) ? json_incref(v) : json_object();
	json_decref(j);
	if (v == NULL)
		err_oom(e);
	return v;
}

json_t *
pbs_status(struct pbs_rest *r, struct err *e)
{
	struct buf q;

	buf_init(&q, QUERY_ROOM);
	return object(of_store(r, "status", "GET", "status", &q, NULL, e),
	    "status", e);
}

json_t *
pbs_namespaces(struct pbs_rest *r, struct err *e)
{
	struct buf q;

	buf_init(&q, QUERY_ROOM);
	if (ns_of(r) != NULL)
		pbs_param(&q, "parent", ns_of(r));
	return array(of_store(r, "namespaces", "GET", "namespace", &q, NULL,
	    e), "namespaces", e);
}

int
pbs_namespace_create(struct pbs_rest *r, const char *name, struct err *e)
{
	json_t *body = json_pack("{s:s}", "name", name);

	if (body != NULL && ns_of(r) != NULL && json_object_set_new(body,
	    "parent", json_string(ns_of(r))) == -1) {
		json_decref(body);
		body = NULL;
	}
	return done(of_store(r, "namespace", "POST", "namespace", NULL, body,
	    e));
}

/* ---- what is there ---- */

json_t *
pbs_groups(struct pbs_rest *r, struct err *e)
{
	struct buf q;

	return array(of_store(r, "groups", "GET", "groups", query(r, NULL,
	    &q), NULL, e), "groups", e);
}

json_t *
pbs_snapshots(struct pbs_rest *r, const char *type, const char *id,
    struct err *e)
{
	struct buf q;

	query(r, NULL, &q);
	if (type != NULL)
		pbs_param(&q, "backup-type", type);
	if (id != NULL)
		pbs_param(&q, "backup-id", id);
	return array(of_store(r, "snapshots", "GET", "snapshots", &q, NULL,
	    e), "snapshots", e);
}

json_t *
pbs_files(struct pbs_rest *r, const struct pbs_snap *s, struct err *e)
{
	char what[WHAT];
	struct buf q;

	what_of(r, "files", s, what);
	return array(of_store(r, what, "GET", "files", query(r, s, &q), NULL,
	    e), what, e);
}

int
pbs_download(struct pbs_rest *r, const struct pbs_snap *s, const char *name,
    struct buf *b, struct err *e)
{
	char path[PATH_ROOM], what[WHAT];
	struct buf q;
	int ret = -1;

	query(r, s, &q);
	pbs_param(&q, "file-name", name);
	if (buf_failed(&q, e) == 0)
		ret = pbs_rest_raw(r, what_of(r, name, s, what),
		    path_of(r, "download", path), q.p, b, e);
	buf_fini(&q);
	return ret;
}

/* ---- marks ---- */

json_t *
pbs_notes(struct pbs_rest *r, const struct pbs_snap *s, struct err *e)
{
	char what[WHAT];
	struct buf q;
	json_t *j;

	what_of(r, "notes", s, what);
	j = of_store(r, what, "GET", s->time != 0 ? "notes" : "group-notes",
	    query(r, s, &q), NULL, e);
	return must(j, json_is_string(j), what, "string", e);
}

int
pbs_set_notes(struct pbs_rest *r, const struct pbs_snap *s, const char *text,
    struct err *e)
{
	char what[WHAT];
	json_t *body;

	what_of(r, "notes", s, what);
	if (strlen(text) > PBS_NOTES_MAX)
		return err_set(e, CALA_USAGE, "%s: longer than %d bytes",
		    what, PBS_NOTES_MAX);
	if (!str_utf8(text, strlen(text)))
		return err_set(e, CALA_USAGE, "%s: not UTF-8", what);
	body = body_of(r, s);
	if (body != NULL && json_object_set_new(body, "notes",
	    json_string(text)) == -1) {
		json_decref(body);
		body = NULL;
	}
	return done(of_store(r, what, "PUT", s->time != 0 ? "notes" :
	    "group-notes", NULL, body, e));
}

json_t *
pbs_protected(struct pbs_rest *r, const struct pbs_snap *s, struct err *e)
{
	char what[WHAT];
	struct buf q;
	json_t *j;

	what_of(r, "protection", s, what);
	j = of_store(r, what, "GET", "protected", query(r, s, &q), NULL, e);
	return must(j, json_is_boolean(j), what, "boolean", e);
}

int
pbs_protect(struct pbs_rest *r, const struct pbs_snap *s, bool on,
    struct err *e)
{
	char what[WHAT];
	json_t *body = body_of(r, s);

	if (body != NULL && json_object_set_new(body, "protected",
	    json_boolean(on)) == -1) {
		json_decref(body);
		body = NULL;
	}
	return done(of_store(r, what_of(r, "protection", s, what), "PUT",
	    "protected", NULL, body, e));
}

int
pbs_send_log(struct pbs_rest *r, const struct pbs_snap *s, const void *p,
    size_t n, struct err *e)
{
	char path[PATH_ROOM], what[WHAT];
	struct rest_call c = { .method = "POST", .body = p, .nbody = n,
	    .type = "application/octet-stream" };
	struct buf q;
	int ret = -1;

	query(r, s, &q);
	c.what = what_of(r, "log", s, what);
	c.path = path_of(r, "upload-backup-log", path);
	c.query = q.p;
	if (buf_failed(&q, e) == 0)
		ret = pbs_rest_do(r, &c, e);
	buf_fini(&q);
	return ret;
}

/* ---- what goes ---- */

int
pbs_forget(struct pbs_rest *r, const struct pbs_snap *s, struct err *e)
{
	char what[WHAT];
	struct buf q;

	/* without a time it would not be one snapshot */
	if (s->time <= 0)
		return err_set(e, CALA_FAIL, "forget: no time of a snapshot");
	return done(of_store(r, what_of(r, "removal", s, what), "DELETE",
	    "snapshots", query(r, s, &q), NULL, e));
}

json_t *
pbs_prune(struct pbs_rest *r, const struct pbs_snap *s,
    const struct pbs_keep *k, bool dry, struct err *e)
{
	const struct { const char *name; unsigned n; } rule[] = {
		{ "keep-last", k->last }, { "keep-hourly", k->hourly },
		{ "keep-daily", k->daily }, { "keep-weekly", k->weekly },
		{ "keep-monthly", k->monthly }, { "keep-yearly", k->yearly },
	};
	struct pbs_snap group = { .type = s->type, .id = s->id };
	char what[WHAT];
	json_t *body;
	size_t i, rules = 0;
	bool bad;

	body = body_of(r, &group);
	bad = body == NULL || json_object_set_new(body, "dry-run",
	    json_boolean(dry)) == -1;
	for (i = 0; !bad && i < sizeof(rule) / sizeof(*rule); i++)
		if (rule[i].n > 0) {
			rules++;
			bad = json_object_set_new(body, rule[i].name,
			    json_integer(rule[i].n)) == -1;
		}
	if (bad || rules == 0) {
		json_decref(body);
		if (bad)
			err_oom(e);
		else
			err_set(e, CALA_USAGE, "prune: no rule of what to "
			    "keep");
		return NULL;
	}
	what_of(r, "prune", &group, what);
	return array(of_store(r, what, "POST", "prune", NULL, body, e), what,
	    e);
}

/* ---- the fate of a finish ---- */

/* 1: it has the mark; 0: it is not there; 2: there without; -1. */
static int
look(struct pbs_rest *r, const struct pbs_snap *s, struct err *e)
{
	struct pbs_coder *k = NULL;
	struct pbs_manifest m;
	struct buf blob, text;
	int ret = -1;

	buf_init(&blob, PBS_BLOB_MAX);
	buf_init(&text, PBS_MANIFEST_MAX);
	if (pbs_download(r, s, PBS_MANIFEST, &blob, e) == -1) {
		ret = e->code == CALA_NOTFOUND ? 0 : -1;
		goto out;
	}
	ret = 2;
	/* one that is being written may not decode yet */
	if ((k = pbs_coder_new(NULL, 0, e)) == NULL ||
	    pbs_blob_open(k, blob.p, blob.len, &text, e) == -1 ||
	    pbs_manifest_parse(&m, text.p, text.len, e) == -1)
		goto out;
	if (pbs_manifest_finished(&m))
		ret = 1;
	pbs_manifest_fini(&m);
out:
	pbs_coder_free(k);
	buf_fini(&text);
	buf_fini(&blob);
	return ret;
}

int
pbs_finished(struct pbs_rest *r, const struct pbs_snap *s, struct err *e)
{
	double deadline = when_mono() + SETTLE;
	int n, before = -1;

	do {
		n = look(r, s, e);
		/*
		 * Twice, because a server that could not flush takes the mark
		 * away again, and one that rolls back needs a moment for it.
		 */
		if (n == before && (n == 0 || n == 1))
			return n;
		if (n == -1 && (e->code == CALA_AUTH || e->code == CALA_TLS ||
		    e->code >= CALA_SIGNAL))
			break;
		before = n;
		if (net_wait(-1, 0, when_mono() + 1, e) == -1)
			break;
	} while (when_mono() < deadline);
	if (n == 2)
		err_set(e, CALA_UNKNOWN, "it is there, but not marked as "
		    "finished");
	e->code = CALA_UNKNOWN;
	return -1;
}
