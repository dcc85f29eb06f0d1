/*
 * cursor: the entries of an archive, one after the other, and what our block
 * adds to each.
 */

#include "ddup/archive.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/stop.h"
#include "base/str.h"
#include "ddup/ext.h"
#include "ddup/stream.h"

#define STREAM_MAX ((uint64_t)4 << 30)
#define LIST_MAX ((uint64_t)1 << 30)    /* bytes of a file's list of ids */
#define RATIO 1100
#define SLACK (64 << 10)

enum { XATTR_NAME = 255, XATTR_VALUE = 64 << 10 };

struct level {
	uint64_t left;                  /* entries to come in it */
	size_t plen;
};

/* What our block says next. */
struct item {
	bool there;
	uint64_t at;                    /* the entry it belongs to */
	unsigned bits;
	uint32_t nsec, uid, gid, mode, major, minor;
	int64_t sec;
	uint64_t link, depth;
	uint8_t type;
	struct buf name, target, xattrs;
	struct xattr *xv;
	size_t nxattrs;
	struct extent *ev;
	size_t nextents;
};

struct acursor {
	struct archive *a;
	struct dstream *s, *x;          /* entries, extras */
	struct level level[ARCHIVE_DEPTH + 2];
	unsigned depth;                 /* levels in use */
	uint64_t number;                /* of the entry that comes next */
	uint64_t seen;                  /* with those of our block */
	bool root;                      /* is still to come */
	bool consumed;                  /* the item was given to an entry */
	bool done;
	struct buf path, target;
	struct item item;
};

static int
damage(const struct acursor *c, const char *why, struct err *e)
{
	return err_set(e, CALA_INTEGRITY, "%s: entry %" PRIu64 ": %s",
	    str_q(c->a->name), c->number + 1, why);
}

/* n bytes of s as the string b. */
static int
text(struct acursor *c, struct dstream *s, struct buf *b, uint64_t max,
    struct err *e)
{
	uint64_t n;
	char *p;

	buf_reset(b);
	if (dstream_varint(s, &n, e) == -1)
		return -1;
	if (n > max)
		return damage(c, "a name or target that is too long", e);
	if ((p = buf_room(b, (size_t)n)) == NULL)
		return err_oom(e);
	if (dstream_get(s, p, (size_t)n, e) == -1)
		return -1;
	buf_grown(b, (size_t)n);
	return memchr(p, '\0', (size_t)n) == NULL ? 0 :
	    damage(c, "a NUL byte in a name or target", e);
}

static int
name_check(const struct acursor *c, const char *p, struct err *e)
{
	if (*p == '\0' || strcmp(p, ".") == 0 || strcmp(p, "..") == 0 ||
	    strchr(p, '/') != NULL)
		return err_set(e, CALA_INTEGRITY, "%s: entry %" PRIu64
		    ": '%s' can't be a name", str_q(c->a->name),
		    c->number + 1, str_q(p));
	return 0;
}

static int
item_xattrs(struct acursor *c, struct err *e)
{
	struct item *it = &c->item;
	size_t at[2 * ENTRY_XATTR_MAX], i;
	uint64_t n, len;
	char *p;

	buf_reset(&it->xattrs);
	if (dstream_varint(c->x, &n, e) == -1)
		return -1;
	if (n > ENTRY_XATTR_MAX)
		return damage(c, "too many extended attributes", e);
	if (it->xv == NULL &&
	    (it->xv = calloc(ENTRY_XATTR_MAX, sizeof(*it->xv))) == NULL)
		return err_oom(e);
	for (i = 0; i < 2 * n; i++) {
		if (dstream_varint(c->x, &len, e) == -1)
			return -1;
		if (len > (i % 2 == 0 ? XATTR_NAME : XATTR_VALUE))
			return damage(c, "an extended attribute is too long",
			    e);
		at[i] = it->xattrs.len;
		if ((p = buf_room(&it->xattrs, (size_t)len + 1)) == NULL)
			return err_oom(e);
		if (dstream_get(c->x, p, (size_t)len, e) == -1)
			return -1;
		p[len] = '\0';
		buf_grown(&it->xattrs, (size_t)len + 1);
		if (i % 2 == 1)
			it->xv[i / 2].len = (size_t)len;
	}
	it->nxattrs = (size_t)n;
	for (i = 0; i < n; i++) {
		it->xv[i].name = it->xattrs.p + at[2 * i];
		it->xv[i].value = it->xattrs.p + at[2 * i + 1];
	}
	return 0;
}

static int
item_extents(struct acursor *c, struct err *e)
{
	struct item *it = &c->item;
	uint64_t n, gap, len, end = 0;
	struct extent *v;
	size_t i;

	if (dstream_varint(c->x, &n, e) == -1)
		return -1;
	if (n > ENTRY_EXTENT_MAX)
		return damage(c, "too many holes", e);
	if ((v = realloc(it->ev, ((size_t)n + 1) * sizeof(*v))) == NULL)
		return err_oom(e);
	it->ev = v;
	for (i = 0; i < n; i++) {
		if (dstream_varint(c->x, &gap, e) == -1 ||
		    dstream_varint(c->x, &len, e) == -1)
			return -1;
		if (!u64_add(end, gap, &v[i].off) ||
		    !u64_add(v[i].off, len, &end))
			return damage(c, "holes beyond all files", e);
		v[i].len = len;
	}
	it->nextents = (size_t)n;
	return 0;
}

static int
item_ghost(struct acursor *c, struct err *e)
{
	struct item *it = &c->item;
	uint64_t sec;

	if (dstream_get(c->x, &it->type, 1, e) == -1 ||
	    dstream_varint(c->x, &it->depth, e) == -1 ||
	    text(c, c->x, &it->name, ARCHIVE_NAME, e) == -1 ||
	    dstream_varint32(c->x, &it->mode, e) == -1 ||
	    dstream_varint32(c->x, &it->uid, e) == -1 ||
	    dstream_varint32(c->x, &it->gid, e) == -1 ||
	    dstream_varint(c->x, &sec, e) == -1 ||
	    dstream_varint32(c->x, &it->major, e) == -1 ||
	    dstream_varint32(c->x, &it->minor, e) == -1)
		return -1;
	it->sec = unzigzag(sec);
	if (it->type != ENTRY_FIFO && it->type != ENTRY_CHAR &&
	    it->type != ENTRY_BLOCK)
		return damage(c, "a special file of no known type", e);
	return name_check(c, it->name.p, e);
}

static int
item_next(struct acursor *c, struct err *e)
{
	struct item *it = &c->item;
	uint64_t gap, bits, sec;
	int more;

	it->there = false;
	if (c->x == NULL || (more = dstream_more(c->x, e)) == 0)
		return 0;
	if (more == -1 || dstream_varint(c->x, &gap, e) == -1 ||
	    dstream_varint(c->x, &bits, e) == -1)
		return -1;
	if (bits == 0 || bits > EXT_ALL || !u64_add(it->at, gap, &it->at))
		return damage(c, "an extra that makes no sense", e);
	it->bits = (unsigned)bits;
	it->nsec = 0;
	it->nxattrs = 0;
	if (((bits & EXT_NSEC) != 0 &&
	    dstream_varint32(c->x, &it->nsec, e) == -1) ||
	    ((bits & EXT_SEC) != 0 &&
	    dstream_varint(c->x, &sec, e) == -1) ||
	    ((bits & EXT_NAME) != 0 &&
	    text(c, c->x, &it->name, ARCHIVE_NAME, e) == -1) ||
	    ((bits & EXT_TARGET) != 0 &&
	    text(c, c->x, &it->target, ARCHIVE_TARGET, e) == -1) ||
	    ((bits & EXT_XATTRS) != 0 && item_xattrs(c, e) == -1) ||
	    ((bits & EXT_LINK) != 0 &&
	    dstream_varint(c->x, &it->link, e) == -1) ||
	    ((bits & EXT_SPARSE) != 0 && item_extents(c, e) == -1))
		return -1;
	if ((bits & EXT_SEC) != 0)
		it->sec = unzigzag(sec);
	if (it->nsec > 999999999)
		return damage(c, "more nanoseconds than a second has", e);
	if ((bits & EXT_NAME) != 0 && name_check(c, it->name.p, e) == -1)
		return -1;
	if ((bits & EXT_GHOST) != 0 && item_ghost(c, e) == -1)
		return -1;
	it->there = true;
	return 0;
}

static int
extras_open(struct acursor *c, struct err *e)
{
	struct archive *a = c->a;
	unsigned char root;

	if (!a->ext)
		return 0;
	if ((c->x = dstream_new(a->fd, a->name, e)) == NULL ||
	    dstream_set(c->x, a->extras, a->extras_len, DDUP_DEFLATE,
	    STREAM_MAX, e) == -1 || dstream_get(c->x, &root, 1, e) == -1)
		return -1;
	c->root = root == 1;
	return c->root ? 0 : item_next(c, e);
}

static int
by_number(const void *va, const void *vb)
{
	const uint64_t *a = va, *b = vb;

	return *a < *b ? -1 : *a > *b;
}

static int root_entry(struct acursor *, struct aent *, struct err *);

/* Which files have more than one name? */
static int
find_links(struct acursor *c, struct err *e)
{
	struct archive *a = c->a;
	size_t room = 0, i, k;
	struct aent ignored;
	uint64_t *v;

	if (c->x == NULL || a->links != NULL)
		return 0;
	if (c->root && (root_entry(c, &ignored, e) == -1 ||
	    item_next(c, e) == -1))
		return -1;
	while (c->item.there) {
		if ((c->item.bits & EXT_LINK) != 0) {
			if (a->nlinks == room) {
				room = room == 0 ? 64 : 2 * room;
				v = reallocarray(a->links, room, sizeof(*v));
				if (v == NULL)
					return err_oom(e);
				a->links = v;
			}
			a->links[a->nlinks++] = c->item.link;
		}
		if (item_next(c, e) == -1)
			return -1;
	}
	if (a->nlinks > 0)
		qsort(a->links, a->nlinks, sizeof(*a->links), by_number);
	for (i = k = 0; i < a->nlinks; i++)
		if (k == 0 || a->links[k - 1] != a->links[i])
			a->links[k++] = a->links[i];
	a->nlinks = k;
	/* Not looked for again, also where there are none. */
	if (a->links == NULL &&
	    (a->links = calloc(1, sizeof(*a->links))) == NULL)
		return err_oom(e);
	return 0;
}

static void
reset(struct acursor *c)
{
	dstream_free(c->s);
	dstream_free(c->x);
	c->s = c->x = NULL;
	c->item.there = false;
	c->item.at = 0;
	c->root = c->consumed = false;
	c->number = c->seen = 0;
	buf_reset(&c->path);
}

static int
begin(struct acursor *c, struct err *e)
{
	struct archive *a = c->a;
	uint64_t len = a->size - ARCHIVE_TRAIL - a->at, max;

	reset(c);
	if (extras_open(c, e) == -1 || find_links(c, e) == -1)
		return -1;
	if (a->ext) {
		/* find_links has used them up. */
		reset(c);
		if (extras_open(c, e) == -1)
			return -1;
	}
	max = len < STREAM_MAX / RATIO ? len * RATIO + SLACK : STREAM_MAX;
	c->level[0].left = a->top;
	c->level[0].plen = 0;
	c->depth = 1;
	if ((c->s = dstream_new(a->fd, a->name, e)) == NULL)
		return -1;
	return dstream_set(c->s, a->at, len, DDUP_DEFLATE, max, e);
}

struct acursor *
acursor_new(struct archive *a, struct err *e)
{
	struct acursor *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		err_oom(e);
		return NULL;
	}
	c->a = a;
	buf_init(&c->path, ENTRY_PATH_MAX + ARCHIVE_NAME + 1);
	buf_init(&c->target, ARCHIVE_TARGET);
	buf_init(&c->item.name, ARCHIVE_NAME);
	buf_init(&c->item.target, ARCHIVE_TARGET);
	buf_init(&c->item.xattrs, (size_t)ENTRY_XATTR_MAX *
	    (XATTR_NAME + XATTR_VALUE + 2));
	if (begin(c, e) == -1) {
		acursor_free(c);
		return NULL;
	}
	return c;
}

void
acursor_free(struct acursor *c)
{
	if (c == NULL)
		return;
	dstream_free(c->s);
	dstream_free(c->x);
	buf_fini(&c->path);
	buf_fini(&c->target);
	buf_fini(&c->item.name);
	buf_fini(&c->item.target);
	buf_fini(&c->item.xattrs);
	free(c->item.xv);
	free(c->item.ev);
	free(c);
}

static void
blank(const struct acursor *c, struct aent *x)
{
	memset(x, 0, sizeof(*x));
	x->en.path = c->path.p;
	x->en.uname = x->en.gname = "";
	x->number = UINT64_MAX;
}

static int
root_entry(struct acursor *c, struct aent *x, struct err *e)
{
	uint64_t sec;
	uint32_t nsec;

	c->root = false;
	c->consumed = true;
	buf_reset(&c->path);
	blank(c, x);
	if (dstream_varint32(c->x, &x->en.mode, e) == -1 ||
	    dstream_varint32(c->x, &x->en.uid, e) == -1 ||
	    dstream_varint32(c->x, &x->en.gid, e) == -1 ||
	    dstream_varint(c->x, &sec, e) == -1 ||
	    dstream_varint32(c->x, &nsec, e) == -1 ||
	    item_xattrs(c, e) == -1)
		return -1;
	if (nsec > 999999999)
		return damage(c, "more nanoseconds than a second has", e);
	x->en.type = ENTRY_DIR;
	x->en.mode &= 07777;
	x->en.mtime.tv_sec = (time_t)unzigzag(sec);
	x->en.mtime.tv_nsec = (long)nsec;
	return 0;
}

/* The path of name in the innermost directory. */
static int
set_path(struct acursor *c, const char *name, struct err *e)
{
	buf_cut(&c->path, c->level[c->depth - 1].plen);
	if (c->path.len > 0)
		buf_chr(&c->path, '/');
	buf_str(&c->path, name);
	if (c->path.len > ENTRY_PATH_MAX)
		return damage(c, "its path is too long", e);
	return buf_failed(&c->path, e);
}

static int
ghost(struct acursor *c, struct aent *x, struct err *e)
{
	struct item *it = &c->item;

	while (c->depth - 1 > it->depth) {
		if (c->level[c->depth - 1].left > 0)
			return damage(c, "a special file out of place", e);
		c->depth--;
	}
	if (c->depth - 1 != it->depth)
		return damage(c, "a special file out of place", e);
	if (set_path(c, it->name.p, e) == -1)
		return -1;
	c->consumed = true;
	blank(c, x);
	x->en.type = (enum entry_type)it->type;
	x->en.mode = it->mode & 07777;
	x->en.uid = it->uid;
	x->en.gid = it->gid;
	x->en.mtime.tv_sec = (time_t)it->sec;
	x->en.mtime.tv_nsec = (long)it->nsec;
	x->en.rdev_major = it->major;
	x->en.rdev_minor = it->minor;
	x->en.xattrs = it->xv;
	x->en.nxattrs = it->nxattrs;
	return 0;
}

/* Called with the item still in place: it is lent with the entry. */
static int
dress(struct acursor *c, struct aent *x, struct err *e)
{
	struct item *it = &c->item;
	unsigned bits = it->bits;
	size_t i;

	c->consumed = true;
	if ((bits & EXT_NSEC) != 0)
		x->en.mtime.tv_nsec = (long)it->nsec;
	if ((bits & EXT_SEC) != 0)
		x->en.mtime.tv_sec = (time_t)it->sec;
	if ((bits & EXT_NAME) != 0 && set_path(c, it->name.p, e) == -1)
		return -1;
	x->en.path = c->path.p;
	if ((bits & EXT_TARGET) != 0 && x->en.type == ENTRY_SYMLINK)
		x->en.target = it->target.p;
	if ((bits & EXT_XATTRS) != 0) {
		x->en.xattrs = it->xv;
		x->en.nxattrs = it->nxattrs;
	}
	if ((bits & EXT_LINK) != 0) {
		if (x->en.type != ENTRY_FILE || it->link >= c->number)
			return damage(c, "a hard link to what comes later", e);
		x->link = it->link;
		x->linked = true;
	}
	if ((bits & EXT_SPARSE) == 0)
		return 0;
	if (x->en.type != ENTRY_FILE)
		return damage(c, "holes in what is no file", e);
	for (i = 0; i < it->nextents; i++)
		if (it->ev[i].off + it->ev[i].len > x->en.size ||
		    it->ev[i].len == 0)
			return damage(c, "holes beyond its end", e);
	x->en.sparse = true;
	x->en.extents = it->ev;
	x->en.nextents = it->nextents;
	return 0;
}

static int
file(struct acursor *c, struct aent *x, unsigned code, struct err *e)
{
	struct abody *b = &x->body;
	uint64_t end;

	if (code >= DDUP_CODES)
		return damage(c, "a compression that is not known", e);
	b->code = (enum ddup_code)code;
	if (dstream_varint(c->s, &b->size, e) == -1 ||
	    (code != DDUP_NONE && dstream_varint(c->s, &b->stored, e) == -1)
	    || dstream_varint(c->s, &b->real, e) == -1 ||
	    dstream_varint(c->s, &b->off, e) == -1)
		return -1;
	if (code == DDUP_NONE)
		b->stored = b->size;
	if (b->size > LIST_MAX)
		return damage(c, "its list of chunks is too long", e);
	if (b->size > 0 && (b->off < ARCHIVE_HEAD ||
	    !u64_add(b->off, b->stored, &end) || end > c->a->at))
		return damage(c, "its list of chunks is not in the archive",
		    e);
	if (b->real > INT64_MAX)
		return damage(c, "a size that no file has", e);
	x->en.type = ENTRY_FILE;
	x->en.size = b->real;
	x->link = c->number;
	x->linked = c->a->nlinks > 0 && bsearch(&x->link, c->a->links,
	    c->a->nlinks, sizeof(*c->a->links), by_number) != NULL;
	return 0;
}

static int
directory(struct acursor *c, struct aent *x, uint64_t *children,
    struct err *e)
{
	if (dstream_varint(c->s, children, e) == -1)
		return -1;
	if (*children > ARCHIVE_CHILDREN)
		return damage(c, "too many entries in a directory", e);
	if (c->depth > ARCHIVE_DEPTH)
		return damage(c, "directories too deep", e);
	x->en.type = ENTRY_DIR;
	return 0;
}

static int
symlink_target(struct acursor *c, struct aent *x, struct err *e)
{
	unsigned char dir;

	if (text(c, c->s, &c->target, ARCHIVE_TARGET, e) == -1 ||
	    dstream_get(c->s, &dir, 1, e) == -1)
		return -1;
	if (!str_utf8(c->target.p, c->target.len))
		return damage(c, "a target that is not UTF-8", e);
	x->en.type = ENTRY_SYMLINK;
	x->en.target = c->target.p;
	return 0;
}

static int
decode(struct acursor *c, struct aent *x, struct err *e)
{
	char name[ARCHIVE_NAME + 1];
	unsigned char word[4];
	uint64_t mtime, children = 0;
	uint32_t n, tcm;
	int ret;

	if (dstream_varint32(c->s, &n, e) == -1)
		return -1;
	if (n > ARCHIVE_NAME)
		return damage(c, "its name is too long", e);
	if (dstream_get(c->s, name, n, e) == -1)
		return -1;
	name[n] = '\0';
	if (strlen(name) != n || !str_utf8(name, n))
		return damage(c, "a name that is not UTF-8", e);
	if (name_check(c, name, e) == -1 || set_path(c, name, e) == -1 ||
	    dstream_get(c->s, word, sizeof(word), e) == -1)
		return -1;
	blank(c, x);
	tcm = get_le32(word);
	x->en.mode = tcm & 07777;
	if (dstream_varint32(c->s, &x->en.uid, e) == -1 ||
	    dstream_varint32(c->s, &x->en.gid, e) == -1 ||
	    dstream_varint(c->s, &mtime, e) == -1)
		return -1;
	if (mtime > INT64_MAX)
		return damage(c, "a time beyond all times", e);
	x->en.mtime.tv_sec = (time_t)mtime;
	x->number = c->number;
	switch (tcm >> 30) {
	case 0:
		ret = file(c, x, tcm >> 26 & 15, e);
		break;
	case 1:
		ret = (tcm >> 26 & 15) >= DDUP_CODES ? damage(c,
		    "a compression that is not known", e) :
		    directory(c, x, &children, e);
		break;
	case 2:
		ret = (tcm >> 26 & 15) >= DDUP_CODES ? damage(c,
		    "a compression that is not known", e) :
		    symlink_target(c, x, e);
		break;
	default:
		ret = damage(c, "a type that is not known", e);
	}
	if (ret == -1)
		return -1;
	if (c->item.there && c->item.at == c->number &&
	    dress(c, x, e) == -1)
		return -1;
	c->level[c->depth - 1].left--;
	c->number++;
	if (x->en.type == ENTRY_DIR) {
		c->level[c->depth].left = children;
		c->level[c->depth].plen = c->path.len;
		c->depth++;
	}
	return 0;
}

/* Both streams have to end with the last entry. */
static int
finish(struct acursor *c, struct err *e)
{
	int more;

	c->done = true;
	if ((more = dstream_more(c->s, e)) == -1)
		return -1;
	if (more == 1 || dstream_rest(c->s) > 0)
		return damage(c, "something comes behind the last entry", e);
	if (c->a->ext && (c->item.there || c->number != c->a->entries))
		return damage(c, "its block describes other entries", e);
	return 0;
}

int
acursor_next(struct acursor *c, struct aent *x, struct err *e)
{
	if (c->done)
		return 0;
	if (stop_check(e) == -1)
		return -1;
	if (c->seen++ > ARCHIVE_ENTRIES)
		return damage(c, "more entries than any backup has", e);
	if (c->root)
		return root_entry(c, x, e) == -1 ? -1 : 1;
	/* The item of the entry before was lent until now. */
	if (c->consumed && item_next(c, e) == -1)
		return -1;
	c->consumed = false;
	if (c->item.there && c->item.at < c->number)
		return damage(c, "its block is out of order", e);
	if (c->item.there && (c->item.bits & EXT_GHOST) != 0 &&
	    c->item.at == c->number)
		return ghost(c, x, e) == -1 ? -1 : 1;
	while (c->depth > 0 && c->level[c->depth - 1].left == 0)
		c->depth--;
	if (c->depth == 0)
		return finish(c, e);
	return decode(c, x, e) == -1 ? -1 : 1;
}
