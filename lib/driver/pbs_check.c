/*
 * pbs_check: everything that a backup needs of a server, tried in order; what
 * fails says what to do.
 */

#include "driver/pbs.h"

#include <inttypes.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/json.h"
#include "base/str.h"
#include "base/when.h"
#include "driver/pbs_read.h"
#include "driver/stored.h"
#include "pbs/backup.h"
#include "pbs/blob.h"
#include "pbs/rest.h"

#define INDEX "cala-check.didx"

enum { PROBE = 4096, ROOM = PROBE + PBS_BLOB_ROOM };

struct check {
	struct driver_call *call;
	struct pbs_disk *d;
	bool removes;           /* may remove what it stores */
	bool stored;            /* there is something to be removed */
	struct pbs_shot shot;
	unsigned char data[PROBE];
};

static int
failed(struct check *c, const char *step, struct err *e)
{
	return stored_failed(c->call, step, e);
}

/* ---- the way to the datastore ---- */

static int
resolve(struct check *c, struct err *e)
{
	const struct pbs_target *t = c->d->target;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	char text[NI_MAXHOST];
	struct buf url;
	int r;

	buf_init(&url, PBS_HOST + 32);
	pbs_target_url_text(t, &url);
	driver_say(c->call, "ok: datastore %s%s%s at %s, groups host/%s-*",
	    t->datastore, t->ns != NULL ? ", namespace " : "",
	    t->ns != NULL ? t->ns : "", url.p, c->d->prefix);
	buf_fini(&url);
	if (t->proxy != NULL) {
		driver_say(c->call, "note: by a proxy of the environment; "
		    "it resolves the name");
		return 0;
	}
	if ((r = getaddrinfo(t->host, NULL, &hints, &list)) != 0) {
		err_set(e, CALA_NET, "%s: %s", str_q(t->host),
		    gai_strerror(r));
		err_hint(e, "is the url spelled right, and does this machine "
		    "reach a name server?");
		return failed(c, "resolve", e);
	}
	r = getnameinfo(list->ai_addr, list->ai_addrlen, text, sizeof(text),
	    NULL, 0, NI_NUMERICHOST);
	driver_say(c->call, "ok: %s is %s", str_q(t->host), r == 0 ? text :
	    "known");
	freeaddrinfo(list);
	return 0;
}

/* Connection, certificate and token, by one call. */
static int
reach(struct check *c, struct err *e)
{
	const struct pbs_target *t = c->d->target;
	const char *major, *release;
	json_t *v = pbs_version(c->d->rest, e);

	if (v == NULL && e->code == CALA_TLS)
		return failed(c, "TLS", e);
	if (v == NULL && e->code == CALA_NET) {
		if (e->hint[0] == '\0')
			err_hint(e, "is the server up, the port right (%d by "
			    "default), and does a firewall let us out?",
			    (int)PBS_PORT);
		return failed(c, "connect", e);
	}
	driver_say(c->call, "ok: connected; its certificate is %s",
	    t->pinned ? "the one of the fingerprint" : t->insecure ?
	    "not checked (tls-verify = no)" : "trusted");
	if (v == NULL) {
		if (e->code == CALA_AUTH && e->hint[0] == '\0')
			err_hint(e, "compare token-id and token-secret with "
			    "what the server says, and that the token is "
			    "enabled and has not expired");
		return failed(c, "token", e);
	}
	major = json_get_str(v, "version");
	release = json_get_str(v, "release");
	driver_say(c->call, "ok: the token %s is accepted; Proxmox Backup "
	    "Server %s-%s", t->token_id, str_q(major != NULL ? major : "?"),
	    str_q(release != NULL ? release : "?"));
	json_decref(v);
	return 0;
}

/* ---- rights ---- */

static int
rights(struct check *c, struct err *e)
{
	json_t *have = pbs_permissions(c->d->rest, e);
	char acl[PBS_PRIV_PATH];
	bool backup, modify, prune, reads, audit, verify;

	if (have == NULL)
		return failed(c, "privileges", e);
	/* The value says whether it is passed on below, not whether it is. */
	backup = json_object_get(have, "Datastore.Backup") != NULL;
	modify = json_object_get(have, "Datastore.Modify") != NULL;
	prune = json_object_get(have, "Datastore.Prune") != NULL;
	reads = json_object_get(have, "Datastore.Read") != NULL;
	audit = json_object_get(have, "Datastore.Audit") != NULL;
	verify = json_object_get(have, "Datastore.Verify") != NULL;
	json_decref(have);
	if (!backup) {
		err_set(e, CALA_AUTH, "the token lacks Datastore.Backup on %s",
		    pbs_target_acl(c->d->target, acl));
		err_hint(e, "give the token, and its user, the role "
		    "DatastorePowerUser there");
		return failed(c, "privileges", e);
	}
	driver_say(c->call, "ok: Datastore.Backup: may store and read its own "
	    "backups");
	driver_say(c->call, audit && reads ? "ok: Datastore.Audit, "
	    "Datastore.Read: may list and read those of others" : audit ?
	    "note: without Datastore.Read backups of others are listed, not "
	    "read" : "note: without Datastore.Audit only its own backups are "
	    "listed");
	driver_say(c->call, modify ? "ok: Datastore.Modify: may mark and "
	    "remove all backups" : prune ? "ok: Datastore.Prune: may remove "
	    "its own backups" : "note: without Datastore.Prune rm and "
	    "retention don't work");
	driver_say(c->call, verify ? "ok: Datastore.Verify: may have all "
	    "backups verified" : "note: without Datastore.Verify only its own "
	    "backups can be verified on the server");
	c->removes = modify || prune;
	return 0;
}

static int
room(struct check *c, struct err *e)
{
	char have[STR_HUMAN], all[STR_HUMAN];
	json_t *s = pbs_status(c->d->rest, e);
	uint64_t total, avail;

	if (s == NULL) {
		if (e->code == CALA_FAIL || e->code == CALA_NOTFOUND)
			err_hint(e, "is the datastore spelled right?");
		return failed(c, "datastore", e);
	}
	total = json_get_u64(s, "total", 0);
	avail = json_get_u64(s, "avail", 0);
	json_decref(s);
	if (total == 0)
		driver_say(c->call, "note: how much space is left this token "
		    "is not told");
	else
		driver_say(c->call, "%s: %s of %s are free", avail <
		    total / 20 ? "note" : "ok", str_human(avail, have),
		    str_human(total, all));
	return 0;
}

static int
space(struct check *c, struct err *e)
{
	const char *ns = c->d->target->ns;
	json_t *all;

	if (ns == NULL || *ns == '\0')
		return 0;
	if ((all = pbs_namespaces(c->d->rest, e)) == NULL) {
		err_hint(e, "make the namespace in the server's web interface, "
		    "or with proxmox-backup-client namespace create");
		return failed(c, "namespace", e);
	}
	json_decref(all);
	driver_say(c->call, "ok: the namespace %s is there", ns);
	return 0;
}

static int
key(struct check *c, struct err *e)
{
	char print[PBS_PRINT];
	int r = pbsdisk_key(c->call, c->d, e);

	if (r == -1)
		return failed(c, "encryption key", e);
	if (r == 1)
		driver_say(c->call, "ok: the encryption key opens: %s",
		    pbs_print_text(pbs_crypt_print(c->d->crypt), print));
	return 0;
}

static int
list(struct check *c, struct err *e)
{
	struct pbs_shot *v;
	size_t n;

	if (pbsdisk_scan(c->d, "", &v, &n, e) == -1)
		return failed(c, "list", e);
	pbsdisk_scan_free(v, n);
	driver_say(c->call, "ok: listed %zu snapshots of ours", n);
	return 0;
}

/* ---- a tiny snapshot ---- */

static int
name_it(struct check *c, struct err *e)
{
	char server[UUID_TEXT];

	if (getrandom(c->data, sizeof(c->data), 0) != sizeof(c->data))
		return err_sys(e, "get randomness");
	/* A group of its own: no backup waits for us, nor we for one. */
	if (uuid_new(server, e) == -1)
		return -1;
	pbsdisk_id(c->d, server, c->shot.id);
	c->shot.time = when_now().tv_sec;
	return 0;
}

static int
send_chunk(struct check *c, struct pbs_backup *b, struct pbs_coder *k,
    unsigned char digest[PBS_DIGEST], unsigned char csum[PBS_DIGEST],
    struct err *e)
{
	struct pbs_writer w;
	struct pbs_chunk ch;
	struct pbs_append a;
	struct sha256 *h;
	unsigned char blob[ROOM];
	uint64_t start = 0;
	size_t len;

	memset(&w, 0, sizeof(w));
	memset(&ch, 0, sizeof(ch));
	memset(&a, 0, sizeof(a));
	pbs_coder_digest(k, c->data, PROBE, digest);
	if (pbs_blob_make(k, c->data, PROBE, blob, &len, e) == -1 ||
	    pbs_writer_open(b, &w, INDEX, e) == -1)
		return -1;
	ch.to = &w;
	memcpy(ch.digest, digest, PBS_DIGEST);
	ch.size = PROBE;
	ch.blob[0].iov_base = blob;
	ch.blob[0].iov_len = len;
	ch.nblob = 1;
	if (pbs_chunk_send(b, &ch, e) == -1 || pbs_chunk_wait(b, &ch, e) == -1)
		return -1;
	a.to = &w;
	a.n = 1;
	a.digest = (unsigned char (*)[PBS_DIGEST])digest;
	a.start = &start;
	if (pbs_append_send(b, &a, e) == -1 ||
	    pbs_append_wait(b, &a, e) == -1 || (h = sha256_new(e)) == NULL)
		return -1;
	pbs_csum_add(h, PROBE, digest);
	sha256_end(h, csum);
	sha256_free(h);
	return pbs_writer_close(b, &w, 1, PROBE, csum, e);
}

/* An encoded blob, and its line of the manifest. */
static int
send_blob(struct pbs_backup *b, struct pbs_coder *k, const char *name,
    const void *p, size_t n, struct pbs_manifest *m, enum pbs_mode mode,
    struct err *e)
{
	unsigned char md[SHA256_LEN];
	unsigned char *blob = malloc(n + PBS_BLOB_ROOM);
	size_t len;
	int ret = -1;

	if (blob == NULL)
		return err_oom(e);
	if (pbs_blob_make(k, p, n, blob, &len, e) == -1 ||
	    sha256(blob, len, md, e) == -1)
		goto out;
	if (m != NULL && pbs_manifest_add(m, name, mode, len, md, e) == -1)
		goto out;
	ret = pbs_backup_blob(b, name, blob, len, e);
out:
	free(blob);
	return ret;
}

static int
fill(struct check *c, struct pbs_backup *b, struct err *e)
{
	const struct pbs_crypt *crypt = c->d->crypt;
	enum pbs_mode mode = crypt != NULL ? PBS_MODE_ENCRYPT : PBS_MODE_NONE;
	struct pbs_coder *k = pbs_coder_new(crypt, 0, e), *plain = NULL;
	unsigned char digest[PBS_DIGEST], csum[PBS_DIGEST];
	struct pbs_manifest m;
	struct buf json;
	int ret = -1;

	memset(&m, 0, sizeof(m));
	buf_init(&json, 1 << 20);
	if (k == NULL || (plain = pbs_coder_new(NULL, 0, e)) == NULL ||
	    pbs_manifest_init(&m, "host", c->shot.id, c->shot.time, e) == -1 ||
	    send_chunk(c, b, k, digest, csum, e) == -1 ||
	    pbs_manifest_add(&m, INDEX, mode, PROBE, csum, e) == -1 ||
	    send_blob(b, k, PBSDISK_CHECK, c->data, 64, &m, mode, e) == -1 ||
	    pbs_manifest_put(&m, crypt, &json, e) == -1)
		goto out;
	ret = send_blob(b, plain, PBS_MANIFEST, json.p, json.len, NULL,
	    PBS_MODE_NONE, e);
out:
	pbs_coder_free(k);
	pbs_coder_free(plain);
	pbs_manifest_fini(&m);
	buf_fini(&json);
	return ret;
}

static int
store(struct check *c, struct err *e)
{
	struct pbs_snap snap = pbsdisk_snap(&c->shot);
	struct pbs_backup *b = pbs_backup_start(c->d->target, &snap,
	    c->call->log, e);
	int ret = -1;

	if (b == NULL)
		return failed(c, "begin a backup", e);
	driver_say(c->call, "ok: began a backup");
	if (fill(c, b, e) == 0) {
		ret = 0;
		/* Without the right to remove it, it must not come to be. */
		if (c->removes && (ret = pbs_backup_finish(b, e)) == 0)
			c->stored = true;
		else if (ret == -1 && e->code == CALA_UNKNOWN)
			c->stored = true;
	}
	pbs_backup_free(b);
	if (ret == -1)
		return failed(c, "store", e);
	driver_say(c->call, c->removes ? "ok: stored a tiny snapshot" :
	    "ok: sent a tiny snapshot, and gave it up: it could not be "
	    "removed");
	return 0;
}

static int
read_back(struct check *c, struct err *e)
{
	struct pbs_session *s = NULL;
	const struct pbs_manifest *m;
	const struct pbs_part *p;
	const struct pbs_file *f;
	struct ranged *rg = NULL;
	unsigned char got[PROBE];
	struct buf b;
	int ret = -1;

	buf_init(&b, PROBE);
	c->d->found = c->shot;
	if (pbs_session_open(c->call, c->d, &s, e) == -1)
		goto out;
	m = pbs_session_manifest(s);
	if ((f = pbs_manifest_file(m, PBSDISK_CHECK)) == NULL ||
	    pbs_manifest_file(m, INDEX) == NULL) {
		err_set(e, CALA_INTEGRITY, "the manifest is not what was "
		    "stored");
		goto out;
	}
	if (pbs_session_blob(s, f, &b, e) == -1 ||
	    pbs_session_part(s, pbs_manifest_file(m, INDEX), &p, e) == -1 ||
	    (rg = pbs_session_ranged(s, p, false, 1,
	    e)) == NULL || ranged_read(rg, got, PROBE, 0, e) == -1)
		goto out;
	if (b.len != 64 || memcmp(b.p, c->data, 64) != 0 ||
	    memcmp(got, c->data, PROBE) != 0)
		err_set(e, CALA_INTEGRITY, "what was read is not what was "
		    "stored");
	else
		ret = 0;
out:
	ranged_close(rg);
	pbs_session_close(s);
	buf_fini(&b);
	if (ret == -1)
		return failed(c, "read back", e);
	driver_say(c->call, "ok: read the same bytes back%s",
	    c->d->crypt != NULL ? ", decrypted" : "");
	return 0;
}

static int
mark(struct check *c, struct err *e)
{
	struct pbs_snap snap = pbsdisk_snap(&c->shot);

	if (pbs_set_notes(c->d->rest, &snap, "cala check", e) == -1 ||
	    pbs_protect(c->d->rest, &snap, true, e) == -1 ||
	    pbs_protect(c->d->rest, &snap, false, e) == -1)
		return failed(c, "notes and protection", e);
	driver_say(c->call, "ok: notes and protection can be set");
	return 0;
}

/* The snapshot, and the group, which it has alone. */
static int
clean(struct check *c, struct err *e)
{
	struct pbs_snap snap = pbsdisk_snap(&c->shot);
	struct err own = ERR_INIT;
	struct buf path, query;
	json_t *gone;
	int ret = 0;

	pbs_rest_last_words(c->d->rest, true);
	if (c->stored) {
		(void)pbs_protect(c->d->rest, &snap, false, &own);
		ret = pbs_forget(c->d->rest, &snap, e);
	}
	if (ret == 0 && c->removes) {
		buf_init(&path, 512);
		buf_init(&query, 1024);
		buf_printf(&path, "admin/datastore/%s/groups",
		    c->d->target->datastore);
		if (c->d->target->ns != NULL && *c->d->target->ns != '\0')
			pbs_param(&query, "ns", c->d->target->ns);
		pbs_param(&query, "backup-type", "host");
		pbs_param(&query, "backup-id", c->shot.id);
		gone = pbs_rest_call(c->d->rest, "remove the group", "DELETE",
		    path.p, query.p, NULL, &own);
		json_decref(gone);
		buf_fini(&path);
		buf_fini(&query);
	}
	pbs_rest_last_words(c->d->rest, false);
	return ret;
}

int
pbsdisk_check(struct driver_call *call, struct err *e)
{
	struct check c = { .call = call };
	struct err own = ERR_INIT;
	char name[PBSDISK_NAME];
	int ret = -1;

	if ((c.d = pbsdisk_open(call, e)) == NULL)
		return stored_failed(call, "set up", e);
	if (resolve(&c, e) == -1 || reach(&c, e) == -1 ||
	    rights(&c, e) == -1 || room(&c, e) == -1 || space(&c, e) == -1 ||
	    key(&c, e) == -1 || list(&c, e) == -1 || name_it(&c, e) == -1)
		return -1;
	if (store(&c, e) == 0 && (!c.stored ||
	    (read_back(&c, e) == 0 && mark(&c, e) == 0)))
		ret = 0;
	if (clean(&c, &own) == -1) {
		if (ret == -1) {
			driver_say(call, "note: %s may be left: %s",
			    pbsdisk_name(&c.shot, name), own.msg);
			return -1;
		}
		*e = own;
		return failed(&c, "remove", e);
	}
	if (ret == 0 && c.stored)
		driver_say(call, "ok: removed what was stored");
	return ret;
}
