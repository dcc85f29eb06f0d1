/*
 * rebuild: an index out of what is left.
 *
 * Archives refer to chunks by id, so an id is never given anew to anything that
 * some source still tells: the old index, as far as it can be read, and the maps
 * in our own archives.  These are read by their own maps whatever the index
 * says; for the archives without one it decides what their files are, so where
 * the two differ it matters which is believed.
 *
 * The index, when it is the one that we wrote last, or when more archives agree
 * with it than not: then those others are damaged or forged.  Else the maps:
 * ddup-bak's own rebuild renumbers everything and leaves the archives as they
 * are.  An id of which maps tell different things means what the index says, if
 * one of them says the same, and else nothing: no guess is better than a wrong
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
	struct index claim, claimed;    /* what the maps tell: hashes, ids */
	uint64_t agree, differ;         /* archives, with the old index */
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

/* In the word of a claim. */
enum {
	CONTESTED = INDEX_SEEN,         /* by another map */
	CONFIRMED = INDEX_USED          /* by the index: one of the claims */
};

static bool
index_says(const struct rebuild *b, uint64_t id, const unsigned char *hash)
{
	uint32_t ref = index_id(&b->r->ix, id);

	return ref != INDEX_NONE &&
	    memcmp(index_hash(&b->r->ix, ref), hash, DDUP_HASH) == 0;
}

static int
claim(struct rebuild *b, const struct amap *m, struct err *e)
{
	unsigned char key[DDUP_HASH];
	uint32_t at, ref, word = 0;

	key_of(m->id, key);
	if ((at = index_find(&b->claimed, key)) == INDEX_NONE) {
		if (index_add(&b->claimed, key, &at, e) == -1 ||
		    index_add(&b->claim, m->hash, &ref, e) == -1)
			return -1;
		index_set_id(&b->claim, ref, m->id);
	} else if (memcmp(index_hash(&b->claim, at), m->hash,
	    DDUP_HASH) != 0) {
		word = CONTESTED;
	}
	if (index_says(b, m->id, m->hash))
		word |= CONFIRMED;
	index_set_word(&b->claim, at, index_word(&b->claim, at) | word);
	return 0;
}

static int
from_map(void *arg, const char *name, struct err *e)
{
	struct rebuild *b = arg;
	struct err why = ERR_INIT;
	uint64_t same = 0, other = 0;
	struct archive a;
	size_t i;
	int ret = 0;

	if (archive_open(&a, b->r, name, &why) == -1) {
		if (why.code == CALA_INTEGRITY)
			return 0;
		*e = why;
		return -1;
	}
	b->maps += a.ext;
	for (i = 0; i < a.nmap && ret == 0; i++) {
		if (a.map[i].id == 0 || a.map[i].id > INDEX_ID_MAX)
			continue;
		if (index_says(b, a.map[i].id, a.map[i].hash))
			same++;
		else if (index_id(&b->r->ix, a.map[i].id) != INDEX_NONE)
			other++;
		ret = claim(b, &a.map[i], e);
	}
	b->agree += same > other;
	b->differ += other > same;
	archive_close(&a);
	return ret == 0 ? 0 : err_ctx(e, "backup %s", str_q(name));
}

/* Is id one of which nobody can tell what it means? */
static bool
moot(const struct rebuild *b, uint64_t id)
{
	unsigned char key[DDUP_HASH];
	uint32_t at;

	key_of(id, key);
	at = index_find(&b->claimed, key);
	return at != INDEX_NONE && (index_word(&b->claim, at) &
	    (CONTESTED | CONFIRMED)) == CONTESTED;
}

static int
from_claims(struct rebuild *b, struct err *e)
{
	uint32_t i, word;
	uint64_t id;
	int r;

	for (i = 0; i < b->claim.n; i++) {
		id = index_get_id(&b->claim, i);
		word = index_word(&b->claim, i);
		if (id > b->top)
			b->top = id;
		if ((word & CONTESTED) != 0) {
			b->contradicted++;
			continue;
		}
		if ((r = give(b, index_hash(&b->claim, i), id, e)) == -1)
			return -1;
		b->contradicted += r == 0;
	}
	return 0;
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
		if (b->r->foreign && moot(b, id))
			continue;
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

static int
gather(struct rebuild *b, struct err *e)
{
	struct ddup *r = b->r;
	bool index_first;

	if (care_archives(r, from_map, b, e) == -1)
		return -1;
	index_first = !r->foreign || (b->agree > 0 && b->agree >= b->differ);
	if (index_first && b->differ > 0)
		say(b, "damaged: what %" PRIu64 " backups tell of their ids is "
		    "not what the old index tells, which is believed",
		    b->differ);
	if (!index_first && b->differ > 0)
		say(b, "note: another program has renumbered the old index: "
		    "%" PRIu64 " backups tell what their ids mean",
		    b->differ);
	if (index_first)
		return from_old(b, e) == -1 ? -1 : from_claims(b, e);
	return from_claims(b, e) == -1 ? -1 : from_old(b, e);
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
	if (gather(b, e) == -1)
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
	if (repo_others(r, e) == -1 || count_all(c, e) == -1)
		return -1;
	(void)count_apply(c);
	forget(b, c);
	if (index_save(&r->ix, r->chunks, e) == -1)
		return -1;
	r->foreign = r->strange = false;
	/* Some may be missing, so the next backups look for all they need. */
	repo_state_doubt(r);
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
	index_init(&b.claim);
	index_init(&b.claimed);
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
	index_fini(&b.claim);
	index_fini(&b.claimed);
	return ret;
}
