/*
 * s3_put: a stream becomes S/U.tar.<ext>.
 *
 * Its record is durable before the object appears, and the object appears only
 * if no other has its name: the store refuses the second of two writers (and
 * on one machine a lock does, where the store can't).  The record is then
 * looked at once more, because the loser may have written its own.
 */

#include "driver/s3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/reader.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/io.h"
#include "driver/stored.h"

enum { HEAD = 512, LOCK_WAIT = 3600, RACES = 5 };

struct put {
	struct sink sink;
	struct driver_call *call;
	struct s3_disk *d;
	struct sink *up;        /* NULL: the format is not known yet */
	struct s3_upload how;
	struct sha256 *sha;
	struct memory memory;
	int dirfd;              /* of the memory; -1: none */
	char key[S3DISK_KEY];
	enum archive_format format;
	unsigned char head[HEAD];
	size_t n;
	void *lent;             /* room in up's buffer */
	struct buf before;      /* a record that was there before ours */
	bool replaced;
};

static void
on_opened(void *arg, const char *key, const char *id)
{
	struct put *p = arg;
	struct err e = ERR_INIT;

	if (p->dirfd != -1 && memory_note(&p->memory, p->dirfd,
	    &p->d->setup.target, key, id, &e) == -1)
		log_step(p->call->log, "an interrupted upload would not be "
		    "remembered: %s", e.msg);
}

static void
on_closed(void *arg, const char *key, const char *id)
{
	struct put *p = arg;

	(void)key;
	(void)id;
	memory_drop(&p->memory);
}

/* The name follows the format, and that is known by the first bytes. */
static int
begin(struct put *p, struct err *e)
{
	enum archive_sniff what;
	size_t n = p->n;

	p->format = ARCHIVE_TAR;
	what = archive_sniff(p->head, p->n, &p->format);
	if (what == SNIFF_ZIP)
		p->format = ARCHIVE_ZIP;
	else if (what == SNIFF_7Z)
		p->format = ARCHIVE_7Z;
	else if (what != SNIFF_WRAPPED)
		p->format = ARCHIVE_TAR;
	snprintf(p->key, sizeof(p->key), "%s/%s.%s", p->call->server,
	    p->call->backup, archive_info[p->format].ext);
	p->how.expect = p->call->expect;
	p->how.only_new = true;
	p->how.opened = on_opened;
	p->how.closed = on_closed;
	p->how.arg = p;
	p->up = s3_upload(p->d->s3, p->key, &p->how, e);
	if (p->up == NULL)
		return -1;
	log_step(p->call->log, "uploading to %s", p->key);
	p->n = 0;
	return sink_write(p->up, p->head, n, e);
}

static void *
put_space(struct sink *s, size_t *n, struct err *e)
{
	struct put *p = (struct put *)s;

	if (p->up != NULL)
		return p->lent = sink_space(p->up, n, e);
	*n = HEAD - p->n;
	return p->head + p->n;
}

static int
put_used(struct sink *s, size_t n, struct err *e)
{
	struct put *p = (struct put *)s;

	if (p->up == NULL) {
		sha256_add(p->sha, p->head + p->n, n);
		p->n += n;
		return p->n == HEAD ? begin(p, e) : 0;
	}
	sha256_add(p->sha, p->lent, n);
	return sink_used(p->up, n, e);
}

/* Is there an object of this backup, under whatever extension? */
static int
taken(struct put *p, struct err *e)
{
	struct s3_listed l;

	if (s3disk_scan(p->d, p->call->server, p->call->backup, &l, e) == -1)
		return -1;
	if (l.n > 0)
		err_set(e, CALA_EXISTS, "backup %s exists already: %s",
		    p->call->backup, l.v[0].key);
	s3disk_list_fini(&l);
	return e->code == CALA_EXISTS ? -1 : 0;
}

/*
 * Our record.  One that is there already belongs to a run that was killed, or
 * to a writer who is as far as we are: it is put back if he wins.
 */
static int
record_ours(struct put *p, struct err *e)
{
	const struct record *rec = p->call->record;
	char etag[S3_ETAG];
	int i, r;

	for (i = 0; i < RACES; i++) {
		err_clear(e);
		etag[0] = '\0';
		r = s3disk_side_get(p->d, rec->server, rec->uuid, &p->before,
		    etag, e);
		if (r == -1)
			return -1;
		if (r == 0)
			buf_reset(&p->before);
		if (s3disk_replace(p->d, rec, etag, e) == 0) {
			p->replaced = true;
			return 0;
		}
		if (e->code != CALA_EXISTS && e->code != CALA_LOCKED)
			break;
	}
	return err_ctx(e, "write the record");
}

/* Is the record that is there ours, byte for byte? */
static bool
is_ours(struct put *p)
{
	const struct record *rec = p->call->record;
	struct err ignored = ERR_INIT;
	struct buf want, got;
	bool ret;

	buf_init(&want, RECORD_MAX + 1);
	buf_init(&got, RECORD_MAX + 1);
	ret = record_put(rec, &want, &ignored) == 0 &&
	    buf_chr(&want, '\n') == 0 && s3disk_side_get(p->d, rec->server,
	    rec->uuid, &got, NULL, &ignored) == 1 && got.len == want.len &&
	    memcmp(got.p, want.p, got.len) == 0;
	buf_fini(&want);
	buf_fini(&got);
	return ret;
}

/*
 * The object did not appear.  Our record goes, or gives way to what was there.
 * When nobody knows whether it appeared, the record stays: without an object
 * it is invisible.
 */
static void
undo(struct put *p, int why)
{
	const struct record *rec = p->call->record;
	struct err ignored = ERR_INIT;
	char key[S3DISK_KEY];
	struct s3_listed l;
	bool alone;

	if (!p->replaced || why == CALA_UNKNOWN || !is_ours(p))
		return;
	s3disk_side_key(rec->server, rec->uuid, key);
	if (p->before.len > 0) {
		(void)s3_put(p->d->s3, key, "application/json", p->before.p,
		    p->before.len, false, &ignored);
		return;
	}
	/* Whose object is there puts its own record in place of ours. */
	if (s3disk_scan(p->d, rec->server, rec->uuid, &l, &ignored) == -1)
		return;
	alone = l.n == 0;
	s3disk_list_fini(&l);
	if (alone)
		(void)s3_delete(p->d->s3, key, NULL, &ignored);
}

/* The object is there: that its record is ours is all that is left. */
static int
settle(struct put *p, struct err *e)
{
	struct record *rec = p->call->record;

	rec->unverified = p->how.verified == NULL && p->how.size > 0;
	if (rec->unverified)
		log_step(p->call->log, "%s: the store gave no checksum to "
		    "compare with", p->key);
	else
		log_step(p->call->log, "%s: %u parts, verified by %s", p->key,
		    p->how.parts, p->how.verified != NULL ? p->how.verified :
		    "its size");
	if (is_ours(p) || s3disk_save(p->d, rec, false, e) == 0)
		return 0;
	log_warn(p->call->log, "backup %s is stored, but its record may be "
	    "another writer's: %s", rec->uuid, e->msg);
	err_clear(e);
	return 0;
}

static int
publish(struct put *p, struct err *e)
{
	if (taken(p, e) == -1 ||
	    stored_complete(p->call->record, p->sha, p->sink.pos, e) == -1 ||
	    record_ours(p, e) == -1)
		return -1;
	if (sink_commit(p->up, e) == 0)
		return settle(p, e);
	if (e->code == CALA_EXISTS)
		err_set(e, CALA_EXISTS, "backup %s exists already: %s",
		    p->call->backup, p->key);
	undo(p, e->code);
	return -1;
}

static int
put_commit(struct sink *s, struct err *e)
{
	struct put *p = (struct put *)s;
	const struct archive_facts *f = p->call->facts;
	char name[16];
	int lock = -1, ret;

	if (s->pos > 0 && (f == NULL || !f->known))
		return err_set(e, CALA_INCOMPLETE, "this disk keeps archives "
		    "only, and the input is none that cala knows");
	if (p->up == NULL && begin(p, e) == -1)
		return -1;
	if (s->pos > 0 && f->format != p->format)
		return err_set(e, CALA_INTEGRITY, "the input began as %s and "
		    "is %s", archive_info[p->format].ext,
		    archive_info[f->format].ext);
	/* A few thousand files for good: a name that goes is no lock. */
	snprintf(name, sizeof(name), "%.3s.lock", p->call->backup);
	if (p->dirfd != -1 && (lock = file_lock(p->dirfd, name,
	    p->call->driver->name, LOCK_WAIT, e)) == -1)
		return -1;
	ret = publish(p, e);
	if (lock != -1)
		close(lock);
	return ret;
}

static void
put_abort(struct sink *s)
{
	struct put *p = (struct put *)s;

	sink_free(p->up);
	/* What could not be aborted stays noted: gc tries again. */
	if (p->memory.fd != -1)
		close(p->memory.fd);
	if (p->dirfd != -1)
		close(p->dirfd);
	sha256_free(p->sha);
	buf_fini(&p->before);
	free(p);
}

static const struct sink_ops put_ops = {
	put_space, put_used, NULL, put_commit, put_abort
};

int
s3disk_put(struct driver_call *call, struct sink **out, struct err *e)
{
	struct put *p = calloc(1, sizeof(*p));
	struct err none = ERR_INIT;

	if (p == NULL)
		return err_oom(e);
	p->sink.ops = &put_ops;
	p->call = call;
	p->memory = (struct memory)MEMORY_INIT;
	buf_init(&p->before, RECORD_MAX + 1);
	p->dirfd = memory_open(call->env, true, &none);
	if (p->dirfd == -1)
		log_step(call->log, "an interrupted upload would not be "
		    "remembered: %s", none.msg);
	if ((p->sha = sha256_new(e)) == NULL ||
	    (p->d = s3disk_open(call, e)) == NULL || taken(p, e) == -1) {
		put_abort(&p->sink);
		return -1;
	}
	if (p->dirfd != -1)
		memory_sweep(p->dirfd, &p->d->setup.target, p->d->s3,
		    call->log);
	*out = &p->sink;
	return 0;
}
