#include "ddup/count.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "ddup/archive.h"
#include "ddup/care.h"
#include "ddup/int.h"
#include "ddup/walk.h"

void
count_init(struct count *c, struct ddup *r, bool mend)
{
	memset(c, 0, sizeof(*c));
	c->r = r;
	c->mend = mend;
}

void
count_fini(struct count *c)
{
	free(c->refs);
	c->refs = NULL;
}

static int
count_room(struct count *c, uint32_t ref, struct err *e)
{
	size_t n = c->room == 0 ? 1024 : c->room;
	uint32_t *more;

	if (ref < c->room)
		return 0;
	while (n <= ref)
		n *= 2;
	if ((more = reallocarray(c->refs, n, sizeof(*more))) == NULL)
		return err_oom(e);
	memset(more + c->room, 0, (n - c->room) * sizeof(*more));
	c->refs = more;
	c->room = n;
	return 0;
}

struct one {
	struct count *c;
	struct archive *a;
};

/*
 * The index has lost the chunk, this archive's own map has not.  It gets the id
 * back by which the archive calls it, unless that means another one by now.
 */
static int
mend(struct count *c, uint64_t id, const unsigned char *hash, uint32_t *ref,
    struct err *e)
{
	struct index *ix = &c->r->ix;

	if (!c->mend || !chunk_there(c->r, hash))
		return 0;
	if (id > INDEX_ID_MAX || index_id(ix, id) != INDEX_NONE)
		id = ix->next_id;
	if (index_add(ix, hash, ref, e) == -1 ||
	    index_give(ix, *ref, id, e) == -1)
		return -1;
	if (id >= ix->next_id)
		ix->next_id = id + 1;
	c->added++;
	return 0;
}

static int
id_used(void *arg, uint64_t id, struct err *e)
{
	struct one *o = arg;
	struct count *c = o->c;
	struct index *ix = &c->r->ix;
	unsigned char hash[DDUP_HASH];
	uint32_t ref, len, i, at = INDEX_NONE;
	bool told = false;

	/* What no index can hold says nothing of the ids that were given. */
	if (id > c->top && id <= INDEX_ID_MAX)
		c->top = id;
	if (!o->a->ext) {
		/* No detour by the hash: it may stand under two ids. */
		ref = index_id(ix, id);
	} else {
		ref = INDEX_NONE;
		if ((told = archive_chunk(o->a, id, hash, &len))) {
			/* Two ids of one chunk: the one that it names. */
			while ((i = index_each(ix, hash, &at)) !=
			    INDEX_NONE) {
				ref = i;
				if (index_get_id(ix, i) == id)
					break;
			}
			if (ref == INDEX_NONE &&
			    mend(c, id, hash, &ref, e) == -1)
				return -1;
		}
	}
	if (ref == INDEX_NONE) {
		c->unknown++;
		c->unmapped += !told;
		return 0;
	}
	if (count_room(c, ref, e) == -1)
		return -1;
	if (c->refs[ref] != INDEX_MANY)
		c->refs[ref]++;
	return 0;
}

int
count_one(struct count *c, struct archive *a, struct err *e)
{
	struct one o = { c, a };

	return each_id(a, id_used, NULL, &o, e);
}

static int
archive_counted(void *arg, const char *name, struct err *e)
{
	struct count *c = arg;
	struct archive a;
	struct err why = ERR_INIT;

	c->archives++;
	if (archive_open(&a, c->r, name, &why) == 0) {
		if (count_one(c, &a, &why) == 0) {
			archive_close(&a);
			return 0;
		}
		archive_close(&a);
	}
	if (why.code != CALA_INTEGRITY) {
		*e = why;
		return -1;
	}
	c->unreadable++;
	if (c->again)
		return 0;
	if (c->quiet)
		log_note(c->r->log, "backup %s can't be read to its end: %s",
		    str_q(name), why.msg);
	else
		log_warn(c->r->log, "backup %s can't be read to its end: %s",
		    str_q(name), why.msg);
	return 0;
}

int
count_all(struct count *c, struct err *e)
{
	if (repo_index(c->r, e) == -1 ||
	    care_archives(c->r, archive_counted, c, e) == -1)
		return -1;
	if (c->added == 0 || c->unknown == 0)
		return 0;
	/* What was unknown to one may be what a later one has told. */
	count_fini(c);
	c->room = 0;
	c->archives = c->unreadable = c->unknown = c->unmapped = 0;
	c->again = true;
	return care_archives(c->r, archive_counted, c, e);
}

uint64_t
count_apply(struct count *c)
{
	struct index *ix = &c->r->ix;
	uint64_t changed = 0;
	uint32_t i, now, want;

	for (i = 0; i < ix->n; i++) {
		if (index_get_id(ix, i) == 0)
			continue;
		now = index_refs(ix, i);
		want = i < c->room ? c->refs[i] : 0;
		if (want == now || (count_doubt(c) && want < now))
			continue;
		index_set_refs(ix, i, want);
		changed++;
	}
	if (c->top >= ix->next_id) {
		ix->next_id = c->top + 1;
		changed++;
	}
	return changed;
}

bool
count_doubt(const struct count *c)
{
	return c->unreadable > 0 || c->unmapped > 0;
}
