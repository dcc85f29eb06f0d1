/*
 * pbs_session: the reader session, behind which connections come and go.
 *
 * Whoever fetches holds the connection that it began with; one that failed is
 * replaced once, and freed by the last that let it go.
 */

#include "driver/pbs_read.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/stop.h"
#include "base/str.h"
#include "driver/pbs_record.h"
#include "pbs/blob.h"
#include "pbs/chunks.h"
#include "pbs/master.h"
#include "pbs/reader.h"

enum { PAUSE_MAX = 30, MEMORY = 48 << 20 };

/* 40 bytes a chunk: an archive of 50 TiB in chunks of 4 MiB. */
#define INDEX_MAX ((size_t)512 << 20)

struct link {
	struct pbs_reader *r;
	unsigned users;
	bool old;               /* freed when nobody uses it */
};

struct pbs_session {
	struct driver_call *call;
	struct pbs_disk *d;
	struct pbs_shot shot;
	char name[PBSDISK_NAME];
	struct pbs_manifest m;
	bool has_m, is_signed;
	struct pbs_part *parts;
	pthread_mutex_t mu;     /* over link */
	pthread_mutex_t renew;  /* one makes a new one */
	struct link *link;
};

/* ---- connections ---- */

static struct link *
take(struct pbs_session *s)
{
	struct link *l;

	pthread_mutex_lock(&s->mu);
	l = s->link;
	l->users++;
	pthread_mutex_unlock(&s->mu);
	return l;
}

static void
link_free(struct link *l)
{
	if (l == NULL)
		return;
	pbs_reader_free(l->r);
	free(l);
}

static void
give(struct pbs_session *s, struct link *l)
{
	bool gone;

	pthread_mutex_lock(&s->mu);
	gone = --l->users == 0 && l->old;
	pthread_mutex_unlock(&s->mu);
	if (gone)
		link_free(l);
}

static struct link *
connect_to(struct pbs_session *s, struct err *e)
{
	struct pbs_snap snap = pbsdisk_snap(&s->shot);
	struct link *l = calloc(1, sizeof(*l));

	if (l == NULL) {
		err_oom(e);
		return NULL;
	}
	l->r = pbs_reader_open(s->d->target, &snap, s->call->log, e);
	if (l->r == NULL) {
		free(l);
		return NULL;
	}
	return l;
}

/* A session knows the chunks of the indexes that were read in it. */
static int
announce(struct pbs_session *s, struct pbs_reader *r, struct err *e)
{
	const struct pbs_part *p;
	struct buf b;
	int ret = 0;

	for (p = s->parts; ret == 0 && p != NULL; p = p->next) {
		buf_init(&b, INDEX_MAX);
		ret = pbs_reader_file(r, p->file->name, &b, e);
		if (ret == 0 && (b.len != p->raw.len ||
		    memcmp(b.p, p->raw.p, b.len) != 0))
			ret = err_set(e, CALA_INTEGRITY, "%s: it changed while "
			    "it was read", p->file->name);
		buf_fini(&b);
	}
	return ret;
}

static int
pause_for(unsigned seconds, struct err *e)
{
	struct timespec bit = { .tv_nsec = 100 * 1000 * 1000 };
	unsigned i;

	for (i = 0; i < 10 * seconds; i++) {
		if (stop_check(e) == -1)
			return -1;
		nanosleep(&bit, NULL);
	}
	return 0;
}

/* A new connection in place of bad, unless somebody else was faster. */
static int
renew(struct pbs_session *s, const struct link *bad, unsigned pause,
    struct err *e)
{
	struct link *l, *was = NULL;
	int ret = 0;

	pthread_mutex_lock(&s->renew);
	pthread_mutex_lock(&s->mu);
	l = s->link;
	pthread_mutex_unlock(&s->mu);
	if (l != bad)
		goto out;
	log_note(s->call->log, "%s: %s; connecting again", s->name, e->msg);
	err_clear(e);
	if (pause_for(pause, e) == -1 || (l = connect_to(s, e)) == NULL) {
		ret = -1;
		goto out;
	}
	if (announce(s, l->r, e) == -1) {
		link_free(l);
		ret = -1;
		goto out;
	}
	pthread_mutex_lock(&s->mu);
	s->link->old = true;
	if (s->link->users == 0)
		was = s->link;
	s->link = l;
	pthread_mutex_unlock(&s->mu);
	link_free(was);
out:
	pthread_mutex_unlock(&s->renew);
	return ret;
}

static int
one_chunk(struct link *l, const unsigned char digest[PBS_DIGEST],
    struct buf *out, struct err *e)
{
	struct pbs_fetch f;

	memset(&f, 0, sizeof(f));
	memcpy(f.digest, digest, PBS_DIGEST);
	f.blob = out;
	if (pbs_fetch_send(l->r, &f, e) == -1 ||
	    pbs_fetch_wait(l->r, &f, e) == -1)
		return -1;
	return 0;
}

/*
 * Do it, over a new connection when the old one failed, as often as the
 * configuration has retries.  what is read is safe to be read twice.
 */
static int
again(struct pbs_session *s, int (*fn)(void *, struct link *, struct err *),
    void *arg, struct err *e)
{
	unsigned i, most = s->d->target->retries;
	struct link *l;
	int ret;

	for (i = 0;; i++) {
		l = take(s);
		ret = fn(arg, l, e);
		if (ret == 0 || e->code != CALA_NET || i == most) {
			give(s, l);
			return ret;
		}
		/* A server that restarts needs a while. */
		ret = renew(s, l, i == 0 ? 0 : i > 5 ? PAUSE_MAX :
		    1u << (i - 1), e);
		give(s, l);
		if (ret == -1 && e->code != CALA_NET)
			return -1;
	}
}

struct want_chunk {
	const unsigned char *digest;
	struct buf *out;
};

static int
get_chunk(void *arg, struct link *l, struct err *e)
{
	struct want_chunk *w = arg;

	buf_reset(w->out);
	return one_chunk(l, w->digest, w->out, e);
}

int
pbs_session_fetch(void *arg, const unsigned char digest[PBS_DIGEST],
    struct buf *out, struct err *e)
{
	struct want_chunk w = { digest, out };
	int ret = again(arg, get_chunk, &w, e);

	/* The index is right: the store has lost it. */
	if (ret == -1 && e->code == CALA_NOTFOUND)
		e->code = CALA_INTEGRITY;
	return ret;
}

struct want_file {
	const char *name;
	struct buf *out;
};

static int
get_file(void *arg, struct link *l, struct err *e)
{
	struct want_file *w = arg;

	buf_reset(w->out);
	return pbs_reader_file(l->r, w->name, w->out, e);
}

static int
file_get(struct pbs_session *s, const char *name, struct buf *out,
    struct err *e)
{
	struct want_file w = { name, out };
	int ret = again(s, get_file, &w, e);

	if (ret == -1 && e->code == CALA_NOTFOUND)
		e->code = CALA_INTEGRITY;
	return ret == -1 ? err_ctx(e, "%s", name) : 0;
}

/* ---- what is in it ---- */

static int
manifest(struct pbs_session *s, struct err *e)
{
	unsigned char print[PBS_DIGEST];
	const struct pbs_crypt *crypt = NULL;
	struct pbs_coder *k = NULL;
	struct buf raw, b;
	int r, ret = -1;

	buf_init(&raw, PBS_BLOB_MAX);
	buf_init(&b, PBS_MANIFEST_MAX);
	if (file_get(s, PBS_MANIFEST, &raw, e) == -1 ||
	    (k = pbs_coder_new(NULL, 0, e)) == NULL)
		goto out;
	if (pbs_blob_open(k, raw.p, raw.len, &b, e) == -1 ||
	    pbs_manifest_parse(&s->m, b.p, b.len, e) == -1) {
		err_ctx(e, "%s", PBS_MANIFEST);
		goto out;
	}
	s->has_m = true;
	if (strcmp(s->m.type, "host") != 0 || strcmp(s->m.id, s->shot.id) != 0 ||
	    s->m.time != s->shot.time) {
		err_set(e, CALA_INTEGRITY, "%s is that of another snapshot",
		    PBS_MANIFEST);
		goto out;
	}
	/* The key only where it matters: a passphrase takes its time. */
	if (s->m.has_sign || pbs_manifest_print(&s->m, print) != 0) {
		if ((r = pbsdisk_key(s->call, s->d, e)) == -1)
			goto out;
		crypt = r == 1 ? s->d->crypt : NULL;
	}
	if ((r = pbs_manifest_check(&s->m, crypt, e)) == -1) {
		if (e->code == CALA_AUTH && e->hint[0] == '\0')
			err_hint(e, "encryption-key-file names the key that "
			    "the backup was made with");
		goto out;
	}
	s->is_signed = r == 0;
	/* Every client signs what it encrypts. */
	if (crypt != NULL && !s->m.has_sign)
		log_warn(s->call->log, "%s: its manifest is not signed by the "
		    "key: what belongs to it only the server says", s->name);
	ret = 0;
out:
	pbs_coder_free(k);
	buf_fini(&raw);
	buf_fini(&b);
	return ret;
}

int
pbs_session_open(struct driver_call *call, struct pbs_disk *d,
    struct pbs_session **out, struct err *e)
{
	struct pbs_session *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return err_oom(e);
	pthread_mutex_init(&s->mu, NULL);
	pthread_mutex_init(&s->renew, NULL);
	s->call = call;
	s->d = d;
	s->shot = d->found;
	s->shot.comment = NULL;
	pbsdisk_name(&s->shot, s->name);
	if ((s->link = connect_to(s, e)) == NULL || manifest(s, e) == -1) {
		err_ctx(e, "%s", s->name);
		pbs_session_close(s);
		return -1;
	}
	*out = s;
	return 0;
}

void
pbs_session_close(struct pbs_session *s)
{
	struct pbs_part *p;

	if (s == NULL)
		return;
	link_free(s->link);
	while ((p = s->parts) != NULL) {
		s->parts = p->next;
		buf_fini(&p->raw);
		free(p);
	}
	if (s->has_m)
		pbs_manifest_fini(&s->m);
	pthread_mutex_destroy(&s->mu);
	pthread_mutex_destroy(&s->renew);
	free(s);
}

const struct pbs_manifest *
pbs_session_manifest(const struct pbs_session *s)
{
	return &s->m;
}

bool
pbs_session_signed(const struct pbs_session *s)
{
	return s->is_signed;
}

/* The key of a file's contents: only what is said to be encrypted may be. */
static int
key_of(struct pbs_session *s, const struct pbs_file *f,
    const struct pbs_crypt **crypt, struct err *e)
{
	int r;

	*crypt = NULL;
	if (f->mode != PBS_MODE_ENCRYPT)
		return 0;
	if ((r = pbsdisk_key(s->call, s->d, e)) == -1)
		return -1;
	if (r == 0) {
		err_set(e, CALA_AUTH, "%s is encrypted, and there is no key",
		    f->name);
		return err_hint(e, "encryption-key-file names one");
	}
	*crypt = s->d->crypt;
	return 0;
}

int
pbs_session_part(struct pbs_session *s, const struct pbs_file *f,
    const struct pbs_part **out, struct err *e)
{
	struct pbs_part *p;

	for (p = s->parts; p != NULL; p = p->next)
		if (p->file == f) {
			*out = p;
			return 0;
		}
	if ((p = calloc(1, sizeof(*p))) == NULL)
		return err_oom(e);
	p->file = f;
	buf_init(&p->raw, INDEX_MAX);
	if (key_of(s, f, &p->crypt, e) == -1 ||
	    file_get(s, f->name, &p->raw, e) == -1)
		goto fail;
	if (pbs_index_open(&p->index, p->raw.p, p->raw.len, e) == -1) {
		err_ctx(e, "%s", f->name);
		goto fail;
	}
	if (p->index.size != f->size ||
	    memcmp(p->index.csum, f->csum, PBS_DIGEST) != 0) {
		err_set(e, CALA_INTEGRITY, "%s is not the one that the manifest "
		    "has", f->name);
		goto fail;
	}
	p->next = s->parts;
	s->parts = p;
	*out = p;
	return 0;
fail:
	buf_fini(&p->raw);
	free(p);
	return -1;
}

int
pbs_session_blob(struct pbs_session *s, const struct pbs_file *f,
    struct buf *out, struct err *e)
{
	const struct pbs_crypt *crypt;
	struct pbs_coder *k = NULL;
	struct buf raw;
	int ret = -1;

	buf_init(&raw, PBS_BLOB_MAX);
	if (key_of(s, f, &crypt, e) == -1 ||
	    file_get(s, f->name, &raw, e) == -1 ||
	    pbs_file_is(f, raw.p, raw.len, e) == -1)
		goto out;
	if (strcmp(f->name, PBS_MASTER) == 0)
		crypt = NULL;
	if ((k = pbs_coder_new(crypt, 0, e)) == NULL)
		goto out;
	ret = pbs_blob_open(k, raw.p, raw.len, out, e);
	if (ret == -1)
		err_ctx(e, "%s", f->name);
out:
	pbs_coder_free(k);
	buf_fini(&raw);
	return ret;
}

struct ranged *
pbs_session_ranged(struct pbs_session *s, const struct pbs_part *p,
    bool whole, unsigned share, struct err *e)
{
	uint64_t memory = s->call->memory != 0 ? s->call->memory : MEMORY;
	struct pbs_chunks how = { .index = &p->index, .name = p->file->name,
	    .crypt = p->crypt, .fetch = pbs_session_fetch, .arg = s,
	    .jobs = s->call->jobs, .memory = memory / share, .whole = whole,
	    .damaged = s->call->no_check, .log = s->call->log };

	return pbs_chunks(&how, e);
}
