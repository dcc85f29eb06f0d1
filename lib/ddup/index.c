/* index: the table. */

#include "ddup/index.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"
#include "base/err.h"

enum {
	SEG = 16384,                    /* chunks of a segment */
	CELL = DDUP_HASH + 5 + 4 + 4,   /* hash, id, count, word */
	OFF_ID = DDUP_HASH,
	OFF_REFS = OFF_ID + 5,
	OFF_WORD = OFF_REFS + 4,
	SLOTS = 1024,
	NEAR = 4
};

void
index_init(struct index *ix)
{
	memset(ix, 0, sizeof(*ix));
	ix->chunk_size = DDUP_CHUNK_SIZE;
	ix->next_id = 1;
	ix->ascending = true;
	ix->uid = geteuid();
	ix->gid = getegid();
	buf_init(&ix->deleted, (size_t)256 << 20);
	/* What a foreign index may hold must not choose its slots. */
	if (getrandom(&ix->seed, sizeof(ix->seed), 0) == -1)
		ix->seed = (uint64_t)(uintptr_t)ix;
}

void
index_fini(struct index *ix)
{
	size_t i;

	for (i = 0; i < ix->nseg; i++)
		free(ix->seg[i]);
	free(ix->seg);
	free(ix->slot);
	free(ix->by_id);
	buf_fini(&ix->deleted);
	ix->seg = NULL;
	ix->slot = ix->by_id = NULL;
	ix->nseg = 0;
	ix->n = ix->mask = ix->filled = ix->id_mask = 0;
}

static unsigned char *
cell(const struct index *ix, uint32_t ref)
{
	return ix->seg[ref / SEG] + (size_t)(ref % SEG) * CELL;
}

const unsigned char *
index_hash(const struct index *ix, uint32_t ref)
{
	return cell(ix, ref);
}

uint64_t
index_get_id(const struct index *ix, uint32_t ref)
{
	const unsigned char *p = cell(ix, ref) + OFF_ID;

	return (uint64_t)get_le32(p) | (uint64_t)p[4] << 32;
}

void
index_set_id(struct index *ix, uint32_t ref, uint64_t id)
{
	unsigned char *p = cell(ix, ref) + OFF_ID;

	put_le32(p, (uint32_t)id);
	p[4] = (unsigned char)(id >> 32);
}

uint32_t
index_refs(const struct index *ix, uint32_t ref)
{
	return get_le32(cell(ix, ref) + OFF_REFS);
}

void
index_set_refs(struct index *ix, uint32_t ref, uint32_t n)
{
	put_le32(cell(ix, ref) + OFF_REFS, n);
}

uint32_t
index_word(const struct index *ix, uint32_t ref)
{
	return get_le32(cell(ix, ref) + OFF_WORD);
}

void
index_set_word(struct index *ix, uint32_t ref, uint32_t word)
{
	put_le32(cell(ix, ref) + OFF_WORD, word);
}

void
index_more(struct index *ix, uint32_t ref)
{
	uint32_t n = index_refs(ix, ref);

	if (n != INDEX_MANY)
		index_set_refs(ix, ref, n + 1);
}

static uint32_t
mix(uint64_t seed, uint64_t v)
{
	v = (v ^ seed) * 0x9E3779B97F4A7C15u;
	v = (v ^ v >> 32) * (seed | 1);
	return (uint32_t)(v >> 32);
}

/* All of the hash and the seed: nobody can write many that fall together. */
static uint32_t
spread(const struct index *ix, const unsigned char *hash)
{
	return (uint32_t)XXH3_64bits_withSeed(hash, DDUP_HASH, ix->seed);
}

/* The slots in its way: a hash that is there often makes many. */
static uint32_t
slot_in(struct index *ix, uint32_t ref)
{
	uint32_t i = spread(ix, cell(ix, ref)) & ix->mask, n = 0;

	for (; ix->slot[i] != 0; n++)
		i = (i + 1) & ix->mask;
	ix->slot[i] = ref + 1;
	ix->filled++;
	return n;
}

static int
slots_make(struct index *ix, uint32_t n, struct err *e)
{
	uint32_t i, *v;

	if (n == 0 || (v = calloc(n, sizeof(*v))) == NULL)
		return err_oom(e);
	free(ix->slot);
	ix->slot = v;
	ix->mask = n - 1;
	ix->filled = 0;
	for (i = 0; i < ix->n; i++)
		(void)slot_in(ix, i);
	return 0;
}

/* Room for one more: slots are filled up to seven eighths. */
static int
slots_grow(struct index *ix, struct err *e)
{
	if (ix->slot != NULL && ix->filled < ix->mask - ix->mask / 8)
		return 0;
	return slots_make(ix, ix->slot == NULL ? SLOTS : 2 * (ix->mask + 1),
	    e);
}

void
index_expect(struct index *ix, uint64_t n)
{
	struct err ignored = ERR_INIT;
	uint32_t size = SLOTS;

	while (size - size / 8 <= ix->n + n && size < (uint32_t)1 << 31)
		size *= 2;
	if (ix->slot == NULL || size > ix->mask + 1)
		(void)slots_make(ix, size, &ignored);
}

int
index_add(struct index *ix, const unsigned char *hash, uint32_t *ref,
    struct err *e)
{
	unsigned char **more;
	uint32_t i = ix->n;

	if (i >= INDEX_NONE - 1)
		return err_set(e, CALA_FAIL, "too many chunks");
	if (slots_grow(ix, e) == -1)
		return -1;
	if (i / SEG == ix->nseg) {
		more = reallocarray(ix->seg, ix->nseg + 1, sizeof(*more));
		if (more == NULL)
			return err_oom(e);
		ix->seg = more;
		if ((ix->seg[ix->nseg] = malloc((size_t)SEG * CELL)) == NULL)
			return err_oom(e);
		ix->nseg++;
	}
	memset(cell(ix, i), 0, CELL);
	memcpy(cell(ix, i), hash, DDUP_HASH);
	*ref = i;
	ix->n++;
	return slot_in(ix, i) < INDEX_PROBES ? 0 : err_set(e, CALA_INTEGRITY,
	    "one chunk has thousands of ids");
}

uint32_t
index_each(const struct index *ix, const unsigned char *hash, uint32_t *at)
{
	uint32_t i = *at == INDEX_NONE ? spread(ix, hash) : *at + 1;

	if (ix->slot == NULL)
		return INDEX_NONE;
	for (i &= ix->mask; ix->slot[i] != 0; i = (i + 1) & ix->mask) {
		if (memcmp(cell(ix, ix->slot[i] - 1), hash, DDUP_HASH) != 0)
			continue;
		*at = i;
		return ix->slot[i] - 1;
	}
	return INDEX_NONE;
}

uint32_t
index_find(const struct index *ix, const unsigned char *hash)
{
	uint32_t at = INDEX_NONE;

	return index_each(ix, hash, &at);
}

uint32_t
index_near(const struct index *ix, const unsigned char *hash, uint32_t at)
{
	uint32_t i;

	for (i = at; i < ix->n && i - at < NEAR; i++)
		if (memcmp(cell(ix, i), hash, DDUP_HASH) == 0)
			return i;
	return index_find(ix, hash);
}

int
index_ids(struct index *ix, struct err *e)
{
	uint64_t id, last = 0;
	uint32_t i, k, n = SLOTS;
	int twice = 0;

	free(ix->by_id);
	ix->by_id = NULL;
	ix->ascending = true;
	for (i = 0; i < ix->n && ix->ascending; i++) {
		id = index_get_id(ix, i);
		ix->ascending = id > last;
		last = id;
	}
	if (ix->ascending)
		return 0;
	while (n - n / 8 <= ix->n)
		n *= 2;
	if ((ix->by_id = calloc(n, sizeof(*ix->by_id))) == NULL)
		return err_oom(e);
	ix->id_mask = n - 1;
	for (i = 0; i < ix->n; i++) {
		if ((id = index_get_id(ix, i)) == 0)
			continue;
		for (k = mix(ix->seed, id) & ix->id_mask; ix->by_id[k] != 0;
		    k = (k + 1) & ix->id_mask)
			if (index_get_id(ix, ix->by_id[k] - 1) == id)
				break;
		if (ix->by_id[k] != 0)
			twice = 1;
		else
			ix->by_id[k] = i + 1;
	}
	return twice;
}

static int
id_cmp(const void *va, const void *vb, void *arg)
{
	const struct index *ix = arg;
	uint64_t a = index_get_id(ix, *(const uint32_t *)va);
	uint64_t b = index_get_id(ix, *(const uint32_t *)vb);

	return a < b ? -1 : a > b;
}

int
index_by_id(const struct index *ix,
    bool (*want)(const struct index *, uint32_t),
    void (*fn)(void *, const struct index *, uint32_t), void *arg,
    struct err *e)
{
	uint32_t i, n = 0, *v = NULL;
	uint64_t id, last = 0;
	bool sorted = true;

	for (i = 0; i < ix->n; i++) {
		if (!want(ix, i))
			continue;
		id = index_get_id(ix, i);
		sorted = sorted && id >= last;
		last = id;
		n++;
	}
	if (!sorted) {
		if ((v = calloc(n, sizeof(*v))) == NULL)
			return err_oom(e);
		for (i = n = 0; i < ix->n; i++)
			if (want(ix, i))
				v[n++] = i;
		qsort_r(v, n, sizeof(*v), id_cmp, (void *)(uintptr_t)ix);
		for (i = 0; i < n; i++)
			fn(arg, ix, v[i]);
		free(v);
		return 0;
	}
	for (i = 0; i < ix->n; i++)
		if (want(ix, i))
			fn(arg, ix, i);
	return 0;
}

int
index_give(struct index *ix, uint32_t ref, uint64_t id, struct err *e)
{
	uint32_t k;

	index_set_id(ix, ref, id);
	if (ix->ascending && (ref == 0 || index_get_id(ix, ref - 1) < id))
		return 0;
	if (ix->ascending || ix->id_mask - ix->id_mask / 8 <= ix->n)
		return index_ids(ix, e) == -1 ? -1 : 0;
	for (k = mix(ix->seed, id) & ix->id_mask; ix->by_id[k] != 0;
	    k = (k + 1) & ix->id_mask)
		;
	ix->by_id[k] = ref + 1;
	return 0;
}

uint32_t
index_id(const struct index *ix, uint64_t id)
{
	uint32_t lo = 0, hi = ix->n, mid, k;

	if (id == 0)
		return INDEX_NONE;
	if (!ix->ascending) {
		if (ix->by_id == NULL)
			return INDEX_NONE;
		for (k = mix(ix->seed, id) & ix->id_mask; ix->by_id[k] != 0;
		    k = (k + 1) & ix->id_mask)
			if (index_get_id(ix, ix->by_id[k] - 1) == id)
				return ix->by_id[k] - 1;
		return INDEX_NONE;
	}
	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (index_get_id(ix, mid) < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < ix->n && index_get_id(ix, lo) == id ? lo : INDEX_NONE;
}
