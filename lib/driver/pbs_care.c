/*
 * pbs_care: verify, gc, and what the server does by itself when it is asked to:
 * prune and verify there.
 */

#include "driver/pbs.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/code.h"
#include "base/io.h"
#include "base/json.h"
#include "base/pool.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "archive/archive.h"
#include "driver/pbs_read.h"
#include "driver/pbs_record.h"
#include "driver/stored.h"
#include "pbs/blob.h"
#include "pbs/rest.h"
#include "pxar/pxar.h"

enum { JOBS = 8, MEMORY = 64 << 20, NAMED = 20 };

/* ---- a part of the chunks ---- */

struct probe;

/* One that looks at chunk after chunk. */
struct eye {
	struct job job;
	struct probe *p;
	struct pbs_coder *coder;
	struct buf blob;
	unsigned char *plain;
	int ret;
	struct err e;
};

struct probe {
	struct driver_call *call;
	struct pbs_session *s;
	const struct pbs_part *part;
	uint32_t salt;
	size_t largest;
	pthread_mutex_t mu;     /* over what follows */
	size_t next;
	uint64_t read, chunks, bad;
	bool stop;
};

/* Always the same choice of a backup, another one of each other. */
static bool
chosen(const struct probe *p, size_t i)
{
	const unsigned char *d = pbs_index_digest(&p->part->index, i);

	return i == 0 || ((get_le32(d) ^ p->salt) * UINT32_C(2654435761) >>
	    8) % 100 < p->call->percent;
}

/* The next chunk to look at; false: no more. */
static bool
next_chunk(struct probe *p, size_t *i)
{
	bool more;

	pthread_mutex_lock(&p->mu);
	while (p->next < p->part->index.n && !chosen(p, p->next))
		p->next++;
	more = !p->stop && p->next < p->part->index.n;
	*i = p->next++;
	pthread_mutex_unlock(&p->mu);
	return more;
}

static void
look(struct job *j)
{
	struct eye *x = (struct eye *)j;
	struct probe *p = x->p;
	const struct pbs_index *ix = &p->part->index;
	struct err e = ERR_INIT;
	size_t i, len;

	while (x->ret == 0 && next_chunk(p, &i)) {
		len = pbs_index_length(ix, i);
		if (stop_check(&x->e) == -1) {
			x->ret = -1;
			break;
		}
		err_clear(&e);
		if (pbs_session_fetch(p->s, pbs_index_digest(ix, i), &x->blob,
		    &e) == 0)
			(void)pbs_chunk_open(x->coder, x->blob.p, x->blob.len,
			    pbs_index_digest(ix, i), x->plain, len, &e);
		pthread_mutex_lock(&p->mu);
		p->chunks++;
		p->read += len;
		p->call->tally.bytes += len;
		if (e.code == CALA_INTEGRITY) {
			if (p->bad++ < NAMED)
				driver_say(p->call, "damaged: %s: chunk %zu, "
				    "bytes %" PRIu64 " to %" PRIu64 ": %s",
				    p->part->file->name, i,
				    pbs_index_start(ix, i),
				    pbs_index_start(ix, i) + len, e.msg);
		} else if (e.code != 0) {
			x->e = e;
			x->ret = -1;
		}
		p->stop |= x->ret == -1;
		pthread_mutex_unlock(&p->mu);
	}
}

static int
eye_init(struct eye *x, struct probe *p, struct err *e)
{
	memset(x, 0, sizeof(*x));
	x->job.run = look;
	x->p = p;
	buf_init(&x->blob, PBS_BLOB_MAX);
	if ((x->plain = malloc(p->largest)) == NULL)
		return err_oom(e);
	x->coder = pbs_coder_new(p->part->crypt, 0, e);
	return x->coder == NULL ? -1 : 0;
}

static void
eye_fini(struct eye *x)
{
	pbs_coder_free(x->coder);
	buf_fini(&x->blob);
	free(x->plain);
}

/* So many of a hundred chunks of an index are what their digests say. */
static int
probe(struct probe *p, struct err *e)
{
	unsigned n = p->call->jobs != 0 ? p->call->jobs : JOBS, i, have = 0;
	uint64_t memory = p->call->memory != 0 ? p->call->memory : MEMORY;
	struct eye eye[JOBS];
	struct pool *pool = NULL;
	size_t k, len;
	int ret = -1;

	p->largest = 1;
	for (k = 0; k < p->part->index.n; k++)
		if ((len = pbs_index_length(&p->part->index, k)) > p->largest)
			p->largest = len;
	/* A blob and what is in it, for each. */
	if (n > memory / (2 * p->largest))
		n = (unsigned)(memory / (2 * p->largest));
	n = n < 1 ? 1 : n > JOBS ? JOBS : n;
	for (; have < n; have++)
		if (eye_init(&eye[have], p, e) == -1) {
			eye_fini(&eye[have]);
			goto out;
		}
	if ((pool = pool_new(n - 1, e)) == NULL)
		goto out;
	for (i = 0; i < n; i++)
		pool_submit(pool, &eye[i].job);
	for (ret = 0, i = 0; i < n; i++) {
		pool_wait(pool, &eye[i].job);
		if (eye[i].ret == -1 && ret == 0) {
			*e = eye[i].e;
			ret = -1;
		}
	}
out:
	pool_free(pool);
	while (have > 0)
		eye_fini(&eye[--have]);
	return ret;
}

static int
some_chunks(struct driver_call *call, struct pbs_session *s, struct err *e)
{
	const struct pbs_manifest *m = pbs_session_manifest(s);
	struct probe p = { .call = call, .s = s };
	unsigned char salt[4];
	uint64_t bad = 0;
	size_t i;
	int ret = 0;

	hex_get(call->backup, 4, salt);
	p.salt = get_le32(salt);
	pthread_mutex_init(&p.mu, NULL);
	for (i = 0; ret == 0 && i < m->n; i++) {
		if (!str_ends(m->files[i].name, "idx"))
			continue;
		p.next = 0;
		if ((ret = pbs_session_part(s, &m->files[i], &p.part,
		    e)) == 0)
			ret = probe(&p, e);
		bad = p.bad;
	}
	pthread_mutex_destroy(&p.mu);
	if (ret == -1)
		return stored_failed(call, "read chunks", e);
	if (bad > 0) {
		err_set(e, CALA_INTEGRITY, "%" PRIu64 " of %" PRIu64 " chunks "
		    "that were read are damaged", bad, p.chunks);
		return stored_failed(call, "compare with the digests", e);
	}
	driver_say(call, "ok: read %" PRIu64 " chunks (%" PRIu64 " bytes), "
	    "which are what their digests say", p.chunks, p.read);
	return 0;
}

/* ---- all of it ---- */

static struct source *
stream(struct pbs_session *s, const struct pbs_file *f, struct ranged **rg,
    struct err *e)
{
	const struct pbs_part *p;

	if (pbs_session_part(s, f, &p, e) == -1 ||
	    (*rg = pbs_session_ranged(s, p, true, 2, e)) == NULL)
		return NULL;
	return ranged_source(*rg, 0, (*rg)->size, e);
}

static int
drain(struct pbs_session *s, const struct pbs_file *f, struct err *e)
{
	struct ranged *rg = NULL;
	struct source *in = stream(s, f, &rg, e);
	int ret = in == NULL ? -1 : source_drain(in, e);

	source_close(in);
	ranged_close(rg);
	return ret;
}

/* As a restore would read it, and what no file uses, too. */
static int
read_archive(struct driver_call *call, struct pbs_session *s,
    const struct pbs_archive *a, const struct record *rec, struct err *e)
{
	struct archive_read how = { .jobs = call->jobs };
	struct ranged *rg[2] = { NULL, NULL };
	struct source *in = NULL, *pay = NULL;
	struct reader *r = NULL;
	int ret = -1;

	if (a->kind == PBS_IS_RAW) {
		ret = drain(s, a->meta, e);
		return ret == -1 ? stored_failed(call, "read", e) : 0;
	}
	if ((in = stream(s, a->meta, &rg[0], e)) == NULL ||
	    (a->payload != NULL &&
	    (pay = stream(s, a->payload, &rg[1], e)) == NULL) ||
	    (r = a->kind == PBS_IS_TAR ?
	    archive_reader(in, &how, call->log, e) :
	    pxar_reader(in, pay, NULL, call->log, e)) == NULL)
		stored_failed(call, "read", e);
	else
		ret = stored_verify(call, rec, r, e);
	reader_close(r);
	if (ret == 0 && ((pay != NULL && source_drain(pay, e) == -1) ||
	    source_drain(in, e) == -1))
		ret = stored_failed(call, "read", e);
	source_close(in);
	source_close(pay);
	ranged_close(rg[0]);
	ranged_close(rg[1]);
	return ret;
}

static int
everything(struct driver_call *call, struct pbs_session *s,
    const struct pbs_archive *a, const struct record *rec, struct err *e)
{
	const struct pbs_manifest *m = pbs_session_manifest(s);
	size_t i;

	if (read_archive(call, s, a, rec, e) == -1)
		return -1;
	for (i = 0; i < m->n; i++) {
		const struct pbs_file *f = &m->files[i];

		if (f == a->meta || f == a->payload ||
		    !str_ends(f->name, "idx"))
			continue;
		if (drain(s, f, e) == -1)
			return stored_failed(call, "read", e);
	}
	driver_say(call, "ok: every chunk is what its digest says");
	return 0;
}

/* ---- verify ---- */

/* Every file is the one that the manifest has. */
static int
files(struct driver_call *call, struct pbs_session *s, struct err *e)
{
	const struct pbs_manifest *m = pbs_session_manifest(s);
	const struct pbs_part *p;
	uint64_t chunks = 0;
	struct buf b;
	size_t i;
	int ret = 0;

	for (i = 0; ret == 0 && i < m->n; i++) {
		if (str_ends(m->files[i].name, "idx")) {
			ret = pbs_session_part(s, &m->files[i], &p, e);
			chunks += ret == 0 ? p->index.n : 0;
		} else {
			buf_init(&b, (size_t)128 << 20);
			ret = pbs_session_blob(s, &m->files[i], &b, e);
			buf_fini(&b);
		}
	}
	if (ret == -1)
		return stored_failed(call, "compare with the manifest", e);
	driver_say(call, "ok: %zu files are what the manifest says; %" PRIu64
	    " chunks in their indexes", m->n, chunks);
	return 0;
}

static int
same_sum(struct driver_call *call, const struct pbs_archive *a,
    const struct record *rec, struct err *e)
{
	const struct pbs_file *f = a->payload != NULL ? a->payload : a->meta;
	char hex[2 * PBS_DIGEST + 1];

	if (rec->foreign || !stored_has_sum(rec))
		return 0;
	hex_put(f->csum, PBS_DIGEST, hex);
	if (strcmp(hex, rec->sum_value) == 0)
		return 0;
	hex_put(a->meta->csum, PBS_DIGEST, hex);
	if (strcmp(hex, rec->sum_value) == 0)
		return 0;
	err_set(e, CALA_INTEGRITY, "the record says %s of another archive",
	    rec->sum_value);
	return stored_failed(call, "compare with the record", e);
}

static int
count_entry(void *arg, const struct entry *en, struct err *e)
{
	(void)en;
	(void)e;
	++*(uint64_t *)arg;
	return 0;
}

/* Its end, and where to go on from there. */
static int
top(struct driver_call *call, struct err *e)
{
	struct tree *t = NULL;
	uint64_t n = 0;
	int ret = pbsdisk_tree(call, &t, e);

	if (ret == 0)
		ret = t->ops->list(t, "", count_entry, &n, e);
	if (t != NULL)
		t->ops->close(t);
	if (ret == -1)
		return stored_failed(call, "open the archive", e);
	driver_say(call, "ok: the archive opens: %" PRIu64 " entries at its "
	    "top", n);
	return 0;
}

static int
by_server(struct driver_call *call, const struct pbs_disk *d, struct err *e)
{
	if (d->found.bad && call->read_data && call->percent == 100) {
		driver_say(call, "note: the server had found damage when it "
		    "verified the snapshot");
		return 0;
	}
	if (d->found.bad) {
		err_set(e, CALA_INTEGRITY, "the server has found damage when it "
		    "verified the snapshot");
		err_hint(e, "cala-pbs verify-job lets it look again");
		return stored_failed(call, "the server's verification", e);
	}
	driver_say(call, d->found.proven ? "ok: the server's own "
	    "verification found it whole" : "note: the server has not verified "
	    "it yet");
	return 0;
}

static int
inspect(struct driver_call *call, struct pbs_session *s,
    const struct record *rec, struct err *e)
{
	const struct pbs_manifest *m = pbs_session_manifest(s);
	bool all = call->read_data && call->percent == 100;
	unsigned char print[PBS_DIGEST];
	struct pbs_archive a;

	if (!m->has_sign && !rec->foreign &&
	    pbs_manifest_print(m, print) != 0) {
		err_set(e, CALA_INTEGRITY, "it was made with a key, and its "
		    "signature is gone");
		return stored_failed(call, "the manifest", e);
	}
	driver_say(call, pbs_session_signed(s) ? "ok: the manifest is signed by "
	    "our key" : m->has_sign ? "note: the manifest's signature was not "
	    "looked at: no key" : "ok: the manifest is the snapshot's own");
	if (!pbs_manifest_finished(m))
		driver_say(call, "note: the server's mark of a finished backup "
		    "is missing");
	if (files(call, s, e) == -1)
		return -1;
	if (pbs_archive(m, &a, e) == -1)
		return stored_failed(call, "find the archive", e);
	if (same_sum(call, &a, rec, e) == -1)
		return -1;
	if (all && everything(call, s, &a, rec, e) == -1)
		return -1;
	/* By its tables; a tar has none, and was read to its end. */
	if (a.kind != PBS_IS_RAW && (a.kind != PBS_IS_TAR || !all) &&
	    top(call, e) == -1)
		return -1;
	if (all)
		return 0;
	if (call->read_data)
		return some_chunks(call, s, e);
	driver_say(call, "note: contents were not read (--read-data does)");
	return 0;
}

int
pbsdisk_verify(struct driver_call *call, struct record *rec, struct err *e)
{
	struct pbs_disk *d = pbsdisk_open(call, e);
	struct pbs_session *s = NULL;
	char name[PBSDISK_NAME];
	int ret;

	if (d == NULL || pbsdisk_find(call, d, e) == -1)
		return stored_failed(call, "find", e);
	driver_say(call, "ok: found %s", pbsdisk_name(&d->found, name));
	if (pbs_session_open(call, d, &s, e) == -1)
		return stored_failed(call, "open", e);
	ret = inspect(call, s, rec, e);
	pbs_session_close(s);
	if (ret == 0)
		ret = by_server(call, d, e);
	if (ret == 0 && !rec->complete)
		driver_say(call, "note: the backup is partial: %" PRIu64
		    " warnings when it was made", rec->warnings_count);
	return ret;
}

/* ---- what the server does ---- */

static void
say_line(void *arg, const char *line)
{
	struct buf b;

	buf_init(&b, 4096);
	str_esc(&b, line, strlen(line));
	driver_say(arg, "%s", b.p);
	buf_fini(&b);
}

int
pbsdisk_verify_job(struct driver_call *call, struct err *e)
{
	struct pbs_disk *d = pbsdisk_open(call, e);
	char upid[PBS_UPID];
	struct pbs_snap snap;
	int r;

	if (d == NULL || pbsdisk_find(call, d, e) == -1)
		return -1;
	snap = pbsdisk_snap(&d->found);
	if (pbs_verify(d->rest, &snap, true, upid, e) == -1) {
		if (e->code == CALA_AUTH && e->hint[0] == '\0')
			err_hint(e, "the token needs Datastore.Verify, or "
			    "Datastore.Backup and to have made the backup");
		return -1;
	}
	log_step(call->log, "task %s", upid);
	r = pbs_task_wait(d->rest, upid, say_line, call, 0, e);
	if (r == -1)
		return -1;
	driver_say(call, r == 0 ? "ok: the server found it whole" :
	    "note: the server warns");
	return 0;
}

static const struct pbs_shot *
shot_at(const struct pbs_shot *v, size_t n, int64_t time)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (v[i].time == time)
			return &v[i];
	return NULL;
}

/* What there was, and what there is. */
struct cull {
	struct pbs_shot *was, *left;
	size_t nwas, nleft;
};

/*
 * The server says what it means to remove, not what it did: what somebody reads
 * stays, and only its task's log has that (pbs.md §3.6).
 */
static int
culled(struct driver_call *call, const json_t *o, const struct cull *c,
    struct pbs_shot *one, size_t *gone, struct err *e)
{
	const json_t *keep = json_object_get(o, "keep");
	uint64_t time = json_get_u64(o, "backup-time", 0);
	const struct pbs_shot *was;
	char name[PBSDISK_NAME];

	if (time == 0 || time > PBS_TIME_MAX || !json_is_boolean(keep))
		return err_set(e, CALA_INTEGRITY, "prune: the server's answer "
		    "is no list of snapshots");
	one->time = (int64_t)time;
	pbsdisk_name(one, name);
	if (json_is_true(keep)) {
		log_step(call->log, "keeps %s", name);
		return 0;
	}
	++*gone;
	if (shot_at(c->left, c->nleft, one->time) != NULL) {
		log_warn(call->log, "%s is still there: the server did not "
		    "remove it; is it in use?", name);
		return 0;
	}
	was = shot_at(c->was, c->nwas, one->time);
	driver_say(call, "%s %s %s", call->dry_run ? "would remove" :
	    "removed", name, was != NULL && was->uuid[0] != '\0' ?
	    was->uuid : "-");
	return 0;
}

int
pbsdisk_prune(struct driver_call *call, struct err *e)
{
	const struct driver_keep *k = &call->keep;
	const struct pbs_keep keep = { k->last, k->hourly, k->daily,
	    k->weekly, k->monthly, k->yearly };
	struct cull c = { .was = NULL };
	struct pbs_shot one = { .time = 0 };
	struct pbs_snap group;
	struct pbs_disk *d;
	size_t i, gone = 0;
	json_t *all = NULL;
	int ret = -1;

	if (call->server[0] == '\0')
		return err_set(e, CALA_USAGE, "prune needs a server (-s)");
	if ((d = pbsdisk_open(call, e)) == NULL ||
	    pbsdisk_scan(d, call->server, &c.was, &c.nwas, e) == -1)
		return -1;
	pbsdisk_id(d, call->server, one.id);
	group = pbsdisk_snap(&one);
	if ((all = pbs_prune(d->rest, &group, &keep, call->dry_run,
	    e)) == NULL || (!call->dry_run && pbsdisk_scan(d, call->server,
	    &c.left, &c.nleft, e) == -1))
		goto out;
	for (i = 0, ret = 0; ret == 0 && i < json_array_size(all); i++)
		ret = culled(call, json_array_get(all, i), &c, &one, &gone,
		    e);
	if (ret == 0 && gone == 0)
		driver_say(call, "nothing to do: %zu snapshots stay",
		    json_array_size(all));
out:
	json_decref(all);
	pbsdisk_scan_free(c.was, c.nwas);
	pbsdisk_scan_free(c.left, c.nleft);
	return ret;
}

/* ---- gc ---- */

/*
 * What is left of a backup that broke off with the server, or of a check: never
 * one with a manifest that somebody may want.
 */
static bool
leftover(const struct pbs_shot *s, time_t now)
{
	if (s->locked)
		return false;
	if (s->check)
		return s->time < now - PBSDISK_CHECK_OLD;
	return !s->finished && s->time < now - PBSDISK_OLD;
}

int
pbsdisk_gc(struct driver_call *call, struct err *e)
{
	struct pbs_disk *d = pbsdisk_open(call, e);
	time_t now = when_now().tv_sec;
	struct err own = ERR_INIT;
	char name[PBSDISK_NAME];
	struct pbs_shot *v;
	struct pbs_snap snap;
	size_t i, n, gone = 0;

	if (d == NULL || pbsdisk_scan(d, "", &v, &n, e) == -1)
		return -1;
	for (i = 0; i < n; i++) {
		if (!leftover(&v[i], now))
			continue;
		pbsdisk_name(&v[i], name);
		snap = pbsdisk_snap(&v[i]);
		if (call->dry_run) {
			driver_say(call, "would remove %s: %s", name,
			    v[i].check ? "left by a check" :
			    "never finished");
		} else if (pbs_forget(d->rest, &snap, &own) == 0) {
			driver_say(call, "removed %s: %s", name, v[i].check ?
			    "left by a check" : "never finished");
		} else {
			/* Somebody works on it, after all. */
			driver_say(call, "note: %s stays: %s", name, own.msg);
			if (own.code == CALA_NET || own.code > CALA_SIGNAL) {
				*e = own;
				break;
			}
			err_clear(&own);
		}
		gone++;
	}
	pbsdisk_scan_free(v, n);
	if (i < n)
		return -1;
	driver_say(call, gone > 0 ? "note: the server frees the space when it "
	    "collects garbage" : "nothing to do: what is no longer used the "
	    "server removes when it collects garbage");
	return 0;
}
