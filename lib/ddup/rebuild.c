/*
 * rebuild: an index out of what is left.
 *
 * Archives refer to chunks by id, so an id is never given anew to anything that
 * some source still tells: the archives' own maps come first (they were written
 * with the ids in the same file), then whatever of the old index can be read.
 * Ids that nothing explains stay unexplained; no guess is better than a wrong
 * file.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/stop.h"
#include "base/str.h"
#include "ddup/archive.h"
#include "ddup/care.h"
#include "ddup/count.h"
#include "ddup/int.h"
#include "ddup/walk.h"

struct rebuild {
	struct ddup *r;
	struct index now;               /* the index to be */
	struct index ids;               /* which ids it has given */
	const struct care_say *say;
	uint64_t top, maps, contradicted, old, fresh, bad, missing;
	struct decoder *dec;
};

static void say(struct rebuild *, const char *, ...)
    __attribute__((format(printf, 2, 3)));

static void
say(struct rebuild *b, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	b->say->fn(b->say->arg, line);
}

static void
key_of(uint64_t id, unsigned char key[DDUP_HASH])
{
	memset(key, 0, DDUP_HASH);
	put_le64(key, id);
}

/* Give hash the id, unless another one has it: 1, 0, or -1. */
static int
give(struct rebuild *b, const unsigned char *hash, uint64_t id,
    struct err *e)
{
	unsigned char key[DDUP_HASH];
	uint32_t ref, at;

	if (id > INDEX_ID_MAX)
		return 0;
	key_of(id, key);
	if ((at = index_find(&b->ids, key)) != INDEX_NONE) {
		/* The place in the one table is the place in the other. */
		return memcmp(index_hash(&b->now, at), hash, DDUP_HASH) == 0;
	}
	if (index_add(&b->now, hash, &ref, e) == -1 ||
	    index_add(&b->ids, key, &at, e) == -1)
		return -1;
	index_set_id(&b->now, ref, id);
	if (id > b->top)
		b->top = id;
	return 1;
}

static int
from_map(void *arg, const char *name, struct err *e)
{
	struct rebuild *b = arg;
	struct err why = ERR_INIT;
	struct archive a;
	size_t i;
	int r = 1;

	if (archive_open(&a, b->r, name, &why) == -1) {
		if (why.code == CALA_INTEGRITY)
			return 0;
		*e = why;
		return -1;
	}
	b->maps += a.ext;
	for (i = 0; i < a.nmap && r != -1; i++) {
		if (a.map[i].id == 0)
			continue;
		r = give(b, a.map[i].hash, a.map[i].id, e);
		b->contradicted += r == 0;
	}
	archive_close(&a);
	return r == -1 ? -1 : 0;
}

static int
from_old(struct rebuild *b, struct err *e)
{
	const struct index *old = &b->r->ix;
	unsigned char key[DDUP_HASH];
	uint64_t id;
	uint32_t i;
	int r;

	for (i = 0; i < old->n; i++) {
		if ((id = index_get_id(old, i)) == 0)
			continue;
		if (id > b->top)
			b->top = id;
		if ((r = give(b, index_hash(old, i), id, e)) == -1)
			return -1;
		if (r == 0)
			continue;
		b->old++;
		/* It stays where an archive that can't be read may count. */
		key_of(id, key);
		index_set_refs(&b->now, index_find(&b->ids, key),
		    index_refs(old, i));
	}
	return 0;
}

/* Files that nothing told of get ids that nobody ever used. */
static int
from_file(void *arg, const struct chunk_file *f, struct err *e)
{
	struct rebuild *b = arg;
	struct err why = ERR_INIT;
	const unsigned char *p;
	size_t n;

	if (stop_check(e) == -1)
		return -1;
	if (!f->chunk || index_find(&b->now, f->hash) != INDEX_NONE)
		return 0;
	if (decoder_load(b->dec, b->r->chunks, f->hash, 0,
	    chunk_cap(b->r, (uint64_t)1 << 30), &p, &n, &why) == -1) {
		if (why.code != CALA_INTEGRITY && why.code != CALA_NOTFOUND) {
			*e = why;
			return -1;
		}
		b->bad++;
		return 0;
	}
	if (b->top == INDEX_ID_MAX)
		return err_set(e, CALA_FAIL, "there are no more ids for "
		    "chunks");
	b->fresh++;
	return give(b, f->hash, b->top + 1, e) == -1 ? -1 : 0;
}

/*
 * What has neither a file nor a use is forgotten; what is used keeps its id, so
 * that the same bytes, stored again, mend the backup.
 */
static void
forget(struct rebuild *b, const struct count *c)
{
	struct index *ix = &b->r->ix;
	uint32_t i;

	for (i = 0; i < ix->n; i++) {
		if (chunk_there(b->r, index_hash(ix, i)))
			continue;
		if (index_refs(ix, i) == 0 && c->unreadable == 0)
			index_set_id(ix, i, 0);
		else
			b->missing++;
	}
}

static void
swap(struct rebuild *b)
{
	struct index old = b->r->ix;

	b->now.chunk_size = old.chunk_size;
	b->now.max_count = old.max_count;
	b->now.next_id = b->top + 1 > old.next_id ? b->top + 1 : old.next_id;
	b->now.file = old.file;
	b->now.uid = old.uid;
	b->now.gid = old.gid;
	b->r->ix = b->now;
	b->now = old;
}

static int
work(struct rebuild *b, struct count *c, struct err *e)
{
	struct ddup *r = b->r;

	if (r->ix.damage[0] != '\0')
		say(b, "note: the old index: %s; %u chunks could be read of "
		    "it", r->ix.damage, r->ix.n);
	if (care_archives(r, from_map, b, e) == -1 || from_old(b, e) == -1)
		return -1;
	/* Highest of all ids, also of those that nothing explains. */
	if (count_all(c, e) == -1)
		return -1;
	if (c->top > b->top)
		b->top = c->top;
	count_fini(c);
	if (each_chunk(r, from_file, b, e) == -1)
		return -1;
	swap(b);
	if (index_ids(&r->ix, e) == -1)
		return -1;
	count_init(c, r, false);
	if (count_all(c, e) == -1)
		return -1;
	(void)count_apply(c);
	forget(b, c);
	if (index_save(&r->ix, r->chunks, e) == -1)
		return -1;
	r->foreign = false;
	repo_state_save(r);
	return 0;
}

static void
sum_up(struct rebuild *b, const struct count *c)
{
	say(b, "ok: %u chunks: %" PRIu64 " backups tell their ids themselves, "
	    "%" PRIu64 " ids are the old index's, %" PRIu64 " files are new "
	    "to it", b->r->ix.n, b->maps, b->old, b->fresh);
	if (b->contradicted > 0)
		say(b, "note: %" PRIu64 " ids mean different chunks to "
		    "different backups; cala reads all of them by their own "
		    "maps, ddup-bak can't", b->contradicted);
	if (b->bad > 0)
		say(b, "damaged: %" PRIu64 " chunk files do not hold what "
		    "their names say, and were left out", b->bad);
	if (b->missing > 0)
		say(b, "damaged: %" PRIu64 " chunks have no file", b->missing);
	if (c->unknown > 0)
		say(b, "damaged: backups refer %" PRIu64 " times to ids that "
		    "nothing explains: those files are lost; verify tells "
		    "which backups", c->unknown);
	if (c->unreadable > 0)
		say(b, "damaged: %" PRIu64 " of %" PRIu64 " backups can't be "
		    "read", c->unreadable, c->archives);
	else
		say(b, "ok: counted in %" PRIu64 " backups", c->archives);
}

int
ddup_rebuild(struct ddup *r, const struct care_say *s, struct err *e)
{
	struct rebuild b = { .r = r, .say = s };
	struct count c;
	int lock = -1, ret = -1;

	index_init(&b.now);
	index_init(&b.ids);
	count_init(&c, r, false);
	if (repo_index(r, e) == -1 || (b.dec = decoder_new(e)) == NULL ||
	    (lock = repo_lock_index(r, FOREIGN_DESTROY, e)) == -1)
		goto out;
	if (work(&b, &c, e) == -1)
		goto out;
	sum_up(&b, &c);
	ret = 0;
	/* Without an index a killed deletion could not be finished. */
	repo_unlock_index(r, lock);
	lock = -1;
	ret = care_recover(r, e);
out:
	repo_unlock_index(r, lock);
	count_fini(&c);
	decoder_free(b.dec);
	index_fini(&b.now);
	index_fini(&b.ids);
	return ret;
}
