/* draft: entries into the spool. */

#include "ddup/draft.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/str.h"

enum { FIRST_TABLE = 256 };

struct ddup_draft *
ddup_draft_new(struct ddup *r, bool all_links, struct log *log, struct err *e)
{
	struct ddup_draft *d = calloc(1, sizeof(*d));

	if (d == NULL) {
		err_oom(e);
		return NULL;
	}
	d->r = r;
	d->log = log;
	d->all_links = all_links;
	d->sorted = true;
	d->depth = 1;
	d->ndirs = 1;
	buf_init(&d->path, ENTRY_PATH_MAX + 1);
	buf_init(&d->last, ENTRY_PATH_MAX + 1);
	buf_init(&d->name, 4 * ENTRY_PATH_MAX);
	buf_init(&d->target, 4 * ENTRY_PATH_MAX);
	d->dirs_room = FIRST_TABLE;
	d->children = calloc(d->dirs_room, sizeof(*d->children));
	if (d->children == NULL)
		err_oom(e);
	if (d->children == NULL ||
	    (d->fd = file_nameless(r->dir, ".", e)) == -1) {
		d->fd = -1;
		ddup_draft_free(d);
		return NULL;
	}
	if ((d->spool = dsink_new(d->fd, "spool file", e)) == NULL) {
		ddup_draft_free(d);
		return NULL;
	}
	return d;
}

void
ddup_draft_free(struct ddup_draft *d)
{
	if (d == NULL)
		return;
	dsink_free(d->spool);
	if (d->fd != -1)
		close(d->fd);
	buf_fini(&d->path);
	buf_fini(&d->last);
	buf_fini(&d->name);
	buf_fini(&d->target);
	free(d->children);
	free(d->places);
	free(d->odd);
	free(d);
}

/* The bytes of one valid UTF-8 sequence at p, 0 when there is none. */
static size_t
sequence(const unsigned char *p, size_t n)
{
	size_t k;

	for (k = 1; k <= 4 && k <= n; k++)
		if (str_utf8(p, k))
			return k;
	return 0;
}

void
odd_map(struct buf *b, const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t k;

	buf_reset(b);
	while (n > 0) {
		if ((k = sequence(p, n)) > 0) {
			buf_add(b, p, k);
		} else {
			k = 1;
			buf_chr(b, (char)0xEF);
			buf_chr(b, (char)(*p < 0xC0 ? 0x9E : 0x9F));
			buf_chr(b, (char)(*p < 0xC0 ? *p : *p - 0x40));
		}
		p += k;
		n -= k;
	}
}

/* Could this literal name be the mapped form of another one? */
static bool
looks_mapped(const char *s)
{
	for (; (s = strchr(s, 0xEF)) != NULL; s++)
		if ((unsigned char)s[1] == 0x9E ||
		    (unsigned char)s[1] == 0x9F)
			return true;
	return false;
}

/* 1 when it is new in the directory, 0 when it is taken, -1. */
static int
odd_add(struct ddup_draft *d, const char *name, struct err *e)
{
	uint64_t h = XXH3_64bits_withSeed(name, strlen(name),
	    d->level[d->depth - 1].at), *v;
	size_t i, k, n;

	h += h == 0;
	if (d->odd == NULL || d->nodd > d->odd_mask - d->odd_mask / 4) {
		n = d->odd == NULL ? FIRST_TABLE : 2 * (d->odd_mask + 1);
		if ((v = calloc(n, sizeof(*v))) == NULL)
			return err_oom(e);
		for (i = 0; d->odd != NULL && i <= d->odd_mask; i++) {
			if (d->odd[i] == 0)
				continue;
			for (k = d->odd[i] & (n - 1); v[k] != 0;
			    k = (k + 1) & (n - 1))
				;
			v[k] = d->odd[i];
		}
		free(d->odd);
		d->odd = v;
		d->odd_mask = n - 1;
	}
	for (i = h & d->odd_mask; d->odd[i] != 0; i = (i + 1) & d->odd_mask)
		if (d->odd[i] == h)
			return 0;
	d->odd[i] = h;
	d->nodd++;
	return 1;
}

static int
places_add(struct ddup_draft *d, const char *path, uint64_t at, struct err *e)
{
	uint64_t h = XXH3_64bits(path, strlen(path));
	struct place *v;
	size_t i, k, n;

	if (d->places == NULL ||
	    d->nplaces > d->places_mask - d->places_mask / 4) {
		n = d->places == NULL ? FIRST_TABLE : 2 * (d->places_mask + 1);
		if ((v = calloc(n, sizeof(*v))) == NULL)
			return err_oom(e);
		for (i = 0; d->places != NULL && i <= d->places_mask; i++) {
			if (d->places[i].at == 0)
				continue;
			for (k = d->places[i].hash & (n - 1); v[k].at != 0;
			    k = (k + 1) & (n - 1))
				;
			v[k] = d->places[i];
		}
		free(d->places);
		d->places = v;
		d->places_mask = n - 1;
	}
	for (i = h & d->places_mask; d->places[i].at != 0;
	    i = (i + 1) & d->places_mask)
		;
	d->places[i].hash = h;
	d->places[i].at = at + 1;
	d->nplaces++;
	return 0;
}

static void
put_str(struct dsink *s, const char *p, size_t n)
{
	dsink_varint(s, n);
	dsink_put(s, p, n);
}

static void
put_head(struct ddup_draft *d, const struct entry *en, const char *name,
    const char *mapped, uint64_t number, const struct rec *same)
{
	unsigned char type = (unsigned char)en->type;
	size_t i;

	dsink_put(d->spool, &type, 1);
	dsink_varint(d->spool, number);
	dsink_varint(d->spool, d->level[d->depth - 1].at);
	put_str(d->spool, name, strlen(name));
	put_str(d->spool, mapped, strlen(mapped));
	dsink_varint(d->spool, en->mode & 07777);
	dsink_varint(d->spool, en->uid);
	dsink_varint(d->spool, en->gid);
	dsink_varint(d->spool, zigzag(en->mtime.tv_sec));
	dsink_varint(d->spool, (uint64_t)en->mtime.tv_nsec);
	if (same != NULL) {
		dsink_varint(d->spool, same->nxattrs);
		dsink_put(d->spool, same->xattrs.p, same->xattrs.len);
		return;
	}
	dsink_varint(d->spool, en->nxattrs);
	for (i = 0; i < en->nxattrs; i++) {
		put_str(d->spool, en->xattrs[i].name,
		    strlen(en->xattrs[i].name));
		put_str(d->spool, en->xattrs[i].value, en->xattrs[i].len);
	}
}

static void
put_extents(struct dsink *s, const struct extent *v, size_t n)
{
	uint64_t end = 0;
	size_t i;

	dsink_varint(s, n + 1);
	for (i = 0; i < n; i++) {
		dsink_varint(s, v[i].off - end);
		dsink_varint(s, v[i].len);
		end = v[i].off + v[i].len;
	}
}

static int
left_out(struct ddup_draft *d, const struct entry *en, const char *why)
{
	log_warn(d->log, "%s: left out: %s", str_q(en->path), why);
	if (en->type == ENTRY_DIR)
		d->skip = 1;
	return 1;
}

/* The path of the record at + 1, compared from its end. */
static int
is_path(struct ddup_draft *d, struct dstream *s, struct rec *rec, uint64_t at,
    const char *path, struct err *e)
{
	size_t n = strlen(path);
	uint64_t size = dsink_pos(d->spool);

	while (at != 0) {
		if (dstream_set(s, at - 1, size - (at - 1), DDUP_NONE,
		    UINT64_MAX, e) == -1 || rec_get(rec, s, e) != 1)
			return -1;
		if (n < rec->name.len || memcmp(path + n - rec->name.len,
		    rec->name.p, rec->name.len) != 0)
			return 0;
		n -= rec->name.len;
		if ((at = rec->parent) == 0)
			return n == 0;
		if (n == 0 || path[n - 1] != '/')
			return 0;
		n--;
	}
	return 0;
}

/* 1: *at is where the record of the file path is; 0: there is none; -1. */
static int
places_find(struct ddup_draft *d, struct dstream *s, struct rec *rec,
    const char *path, uint64_t *at, struct err *e)
{
	uint64_t h = XXH3_64bits(path, strlen(path));
	size_t i;
	int r;

	if (d->places == NULL)
		return 0;
	for (i = h & d->places_mask; d->places[i].at != 0;
	    i = (i + 1) & d->places_mask) {
		if (d->places[i].hash != h)
			continue;
		r = is_path(d, s, rec, d->places[i].at, path, e);
		if (r != 0) {
			*at = d->places[i].at - 1;
			return r;
		}
	}
	return 0;
}

static int
copy_refs(struct ddup_draft *d, struct dstream *s, uint64_t n, struct err *e)
{
	unsigned char p[4096];
	size_t k;

	dsink_varint(d->spool, n);
	for (n *= 4; n > 0; n -= k) {
		k = n < sizeof(p) ? (size_t)n : sizeof(p);
		if (dstream_get(s, p, k, e) == -1)
			return -1;
		dsink_put(d->spool, p, k);
	}
	return 0;
}

/* Other readers see a file of its own with the same chunks. */
static int
put_link(struct ddup_draft *d, const struct entry *en, const char *name,
    const char *mapped, struct err *e)
{
	struct dstream *s = NULL;
	struct entry as = *en;
	struct rec rec;
	uint64_t at = 0;
	int r, ret = -1;

	rec_init(&rec);
	if (dsink_flush(d->spool, e) == -1 ||
	    (s = dstream_new(d->fd, "spool file", e)) == NULL ||
	    (r = places_find(d, s, &rec, en->target, &at, e)) == -1)
		goto out;
	if (r == 0) {
		ret = left_out(d, en, "the file that it links to is not in "
		    "the backup");
		goto out;
	}
	if (dstream_set(s, at, dsink_pos(d->spool) - at, DDUP_NONE,
	    UINT64_MAX, e) == -1 || rec_get(&rec, s, e) != 1)
		goto out;
	/* One file has one set of attributes, its first name's. */
	as.mode = rec.mode;
	as.uid = rec.uid;
	as.gid = rec.gid;
	as.mtime.tv_sec = rec.sec;
	as.mtime.tv_nsec = (long)rec.nsec;
	put_head(d, &as, name, mapped, d->numbers, &rec);
	dsink_varint(d->spool, rec.size);
	dsink_varint(d->spool, rec.number);
	dsink_varint(d->spool, rec.sparse ? (uint64_t)rec.nextents + 1 : 0);
	dsink_put(d->spool, rec.extents.p, rec.extents.len);
	d->sum.refs += rec.nrefs;
	d->sum.size += rec.size;
	if (copy_refs(d, s, rec.nrefs, e) == 0)
		ret = 0;
out:
	dstream_free(s);
	rec_fini(&rec);
	return ret;
}

static int
check_sum(struct ddup_draft *d, const struct entry *en, const uint32_t *refs,
    size_t n, struct err *e)
{
	uint64_t sum = 0;
	size_t i;

	pthread_mutex_lock(&d->r->mu);
	for (i = 0; i < n; i++)
		sum += index_word(&d->r->ix, refs[i]) & INDEX_LEN;
	pthread_mutex_unlock(&d->r->mu);
	return sum == en->size ? 0 : err_set(e, CALA_FAIL, "%s: %" PRIu64
	    " bytes in %zu chunks, but its size is %" PRIu64,
	    str_q(en->path), sum, n, en->size);
}

static int
put_file(struct ddup_draft *d, const struct entry *en, const char *name,
    const char *mapped, const uint32_t *refs, size_t n, struct err *e)
{
	uint64_t at = dsink_pos(d->spool);
	unsigned char p[4];
	size_t i;

	if (check_sum(d, en, refs, n, e) == -1)
		return -1;
	put_head(d, en, name, mapped, d->numbers, NULL);
	dsink_varint(d->spool, en->size);
	if (en->sparse)
		put_extents(d->spool, en->extents, en->nextents);
	else
		dsink_varint(d->spool, 0);
	dsink_varint(d->spool, n);
	for (i = 0; i < n; i++) {
		put_le32(p, refs[i]);
		dsink_put(d->spool, p, 4);
	}
	d->sum.refs += n;
	d->sum.size += en->size;
	return d->all_links || en->nlink > 1 ?
	    places_add(d, en->path, at, e) : 0;
}

static int
enter(struct ddup_draft *d, const struct entry *en, uint64_t at,
    struct err *e)
{
	uint32_t *more;

	if (d->ndirs == d->dirs_room) {
		more = reallocarray(d->children, 2 * d->dirs_room,
		    sizeof(*more));
		if (more == NULL)
			return err_oom(e);
		memset(more + d->dirs_room, 0, d->dirs_room * sizeof(*more));
		d->children = more;
		d->dirs_room *= 2;
	}
	d->level[d->depth].at = at + 1;
	d->level[d->depth].dir = (uint32_t)d->ndirs;
	buf_reset(&d->path);
	buf_str(&d->path, en->path);
	d->level[d->depth].plen = d->path.len;
	d->depth++;
	dsink_varint(d->spool, d->ndirs++);
	return buf_failed(&d->path, e);
}

static int
put_root(struct ddup_draft *d, const struct entry *en, struct err *e)
{
	if (en->type != ENTRY_DIR || d->root || dsink_pos(d->spool) > 0)
		return err_set(e, CALA_FAIL, "the root is no directory, or "
		    "does not come first");
	put_head(d, en, "", "", 0, NULL);
	dsink_varint(d->spool, 0);
	d->root = true;
	d->sum.entries++;
	return 0;
}

/* Is it directly in the directory that we are in? */
static bool
in_order(const struct ddup_draft *d, const char *path)
{
	const char *name = entry_name(path);
	size_t n = (size_t)(name - path);

	if (d->path.len == 0)
		return n == 0;
	return n == d->path.len + 1 && memcmp(path, d->path.p,
	    d->path.len) == 0;
}

/* Byte order of components: '/' sorts before all others. */
static bool
after(const char *a, const char *b)
{
	unsigned char x, y;

	for (; *a == *b && *a != '\0'; a++, b++)
		;
	if (*a == '\0' || *b == '\0')
		return *a == '\0';
	x = *a == '/' ? 0 : (unsigned char)*a;
	y = *b == '/' ? 0 : (unsigned char)*b;
	return x < y;
}

static const char *
unfit(struct ddup_draft *d, const struct entry *en, const char *name)
{
	uint32_t n = d->children[d->level[d->depth - 1].dir];

	if (en->type == ENTRY_SOCKET)
		return "a socket has no content to restore";
	if (d->name.len > FORMAT_NAME || strlen(name) > FORMAT_NAME)
		return "its name is too long for the format";
	if (en->type == ENTRY_SYMLINK && d->target.len > FORMAT_TARGET)
		return "its target is too long for the format";
	if (en->type == ENTRY_DIR && d->depth > FORMAT_DEPTH)
		return "the format holds no deeper directories";
	if (n >= FORMAT_CHILDREN)
		return "its directory holds more than the format can";
	return NULL;
}

static bool
special(const struct entry *en)
{
	return en->type == ENTRY_FIFO || en->type == ENTRY_CHAR ||
	    en->type == ENTRY_BLOCK;
}

static int
put_kind(struct ddup_draft *d, const struct entry *en, const char *name,
    const char *mapped, const uint32_t *refs, size_t n, struct err *e)
{
	uint64_t at = dsink_pos(d->spool);

	switch (en->type) {
	case ENTRY_FILE:
		return put_file(d, en, name, mapped, refs, n, e);
	case ENTRY_HARDLINK:
		return put_link(d, en, name, mapped, e);
	case ENTRY_DIR:
		put_head(d, en, name, mapped, d->numbers, NULL);
		return enter(d, en, at, e);
	case ENTRY_SYMLINK:
		put_head(d, en, name, mapped, d->numbers, NULL);
		put_str(d->spool, en->target, strlen(en->target));
		if (strcmp(d->target.p, en->target) != 0)
			put_str(d->spool, d->target.p, d->target.len);
		else
			put_str(d->spool, "", 0);
		return 0;
	default:
		put_head(d, en, name, mapped, 0, NULL);
		dsink_varint(d->spool, d->depth - 1);
		dsink_varint(d->spool, en->rdev_major);
		dsink_varint(d->spool, en->rdev_minor);
		return 0;
	}
}

int
ddup_draft_put(struct ddup_draft *d, const struct entry *en,
    const uint32_t *refs, size_t n, struct err *e)
{
	const char *name = entry_name(en->path), *why, *mapped = "";
	uint32_t dir = d->level[d->depth - 1].dir;
	int r;

	if (d->skip > 0) {
		d->skip += en->type == ENTRY_DIR;
		return 1;
	}
	if (*en->path == '\0')
		return put_root(d, en, e);
	if (!in_order(d, en->path))
		return err_set(e, CALA_FAIL, "%s: comes before its directory "
		    "or after it was left", str_q(en->path));
	odd_map(&d->name, name, strlen(name));
	buf_reset(&d->target);
	if (en->type == ENTRY_SYMLINK)
		odd_map(&d->target, en->target, strlen(en->target));
	if (buf_failed(&d->name, e) == -1 || buf_failed(&d->target, e) == -1)
		return -1;
	if ((why = unfit(d, en, name)) != NULL)
		return left_out(d, en, why);
	if (strcmp(d->name.p, name) != 0)
		mapped = d->name.p;
	if (!special(en) && (*mapped != '\0' || looks_mapped(name))) {
		if ((r = odd_add(d, d->name.p, e)) == -1)
			return -1;
		if (r == 0)
			return left_out(d, en, "the format can't tell its "
			    "name from another one's");
	}
	d->sorted = d->sorted && after(d->last.p, en->path);
	buf_reset(&d->last);
	buf_str(&d->last, en->path);
	if ((r = put_kind(d, en, name, mapped, refs, n, e)) != 0)
		return r;
	d->sum.entries++;
	d->sum.files += en->type != ENTRY_DIR;
	if (!special(en)) {
		d->numbers++;
		d->children[dir]++;
	}
	return buf_failed(&d->last, e);
}

int
ddup_draft_leave(struct ddup_draft *d, struct err *e)
{
	if (d->skip > 0) {
		d->skip--;
		return 0;
	}
	if (d->depth == 0)
		return err_set(e, CALA_FAIL, "more directories left than "
		    "entered");
	/* The root stays: nothing can come behind it. */
	if (d->depth > 1)
		d->depth--;
	buf_cut(&d->path, d->level[d->depth - 1].plen);
	return 0;
}
