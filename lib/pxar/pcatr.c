/*
 * The catalog read: from the root's block down a path, a block a step.
 */

#include "pxar/pcat.h"

#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/io.h"
#include "base/str.h"

enum { BLOCK_MAX = 1 << 30 };

/* A block in memory, and where it begins in the catalog. */
struct block {
	struct buf b;
	uint64_t self;
	const unsigned char *p, *end;
	uint64_t left;          /* entries not parsed yet */
};

/* An entry; name is not terminated. */
struct item {
	enum entry_type type;
	const char *name;
	size_t len;
	uint64_t child;         /* position of a directory's block */
	uint64_t size;
	int64_t mtime;
};

static int
bad(struct err *e, const char *what)
{
	return err_set(e, CALA_INTEGRITY, "catalog: %s", what);
}

/* Bytes read, or 0: cut short, or more than 64 bits. */
static size_t
svarint_get(const unsigned char *p, const unsigned char *end, int64_t *out)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < 11 && p + i < end; i++) {
		if (p[i] == 0) {
			if (n > (uint64_t)INT64_MAX + 1)
				return 0;
			*out = n == 0 ? 0 : -(int64_t)(n - 1) - 1;
			return i + 1;
		}
		if (i > 9 || (i == 9 && (p[i] & 0x7f) > 1))
			return 0;
		n |= (uint64_t)(p[i] & 0x7f) << (7 * i);
		if ((p[i] & 0x80) == 0) {
			if (n > INT64_MAX)
				return 0;
			*out = (int64_t)n;
			return i + 1;
		}
	}
	return 0;
}

static int
load(struct ranged *r, struct block *b, uint64_t self, struct err *e)
{
	unsigned char head[10];
	uint64_t size, limit = r->size - 8;
	size_t n, k;

	if (self < sizeof(pcat_magic) || self >= limit)
		return bad(e, "a directory outside of it");
	n = limit - self < sizeof(head) ? (size_t)(limit - self) :
	    sizeof(head);
	if (ranged_read(r, head, n, self, e) == -1)
		return -1;
	if ((k = varint_get(head, head + n, &size)) == 0 || size < 1 ||
	    size > limit - self - k)
		return bad(e, "a directory that passes its end");
	if (size > BLOCK_MAX)
		return bad(e, "a directory too large");
	buf_reset(&b->b);
	if (buf_room(&b->b, (size_t)size) == NULL)
		return buf_failed(&b->b, e);
	if (ranged_read(r, b->b.p, (size_t)size, self + k, e) == -1)
		return -1;
	buf_grown(&b->b, (size_t)size);
	b->self = self;
	b->p = (unsigned char *)b->b.p;
	b->end = b->p + size;
	if ((k = varint_get(b->p, b->end, &b->left)) == 0)
		return bad(e, "a directory without a count");
	b->p += k;
	/* The smallest entry: type, length, one byte. */
	if (b->left > (uint64_t)(b->end - b->p) / 3)
		return bad(e, "a directory with more entries than bytes");
	return 0;
}

/* 1 with it; 0 at the end of the block; -1. */
static int
next(struct block *b, struct item *it, struct err *e)
{
	uint64_t n;
	size_t k;

	if (b->left == 0)
		return b->p == b->end ? 0 : bad(e, "bytes behind a directory");
	b->left--;
	memset(it, 0, sizeof(*it));
	if (b->p == b->end)
		return bad(e, "a directory cut short");
	it->type = (enum entry_type)*b->p++;
	if (strchr("dflhbcps", (int)it->type) == NULL || it->type == 0)
		return bad(e, "an entry of an unknown type");
	if ((k = varint_get(b->p, b->end, &n)) == 0 || n == 0 ||
	    n > PCAT_NAME_MAX || n > (uint64_t)(b->end - b->p) - k)
		return bad(e, "a name that passes its end");
	it->name = (const char *)b->p + k;
	it->len = (size_t)n;
	b->p += k + it->len;
	if (it->type == ENTRY_DIR) {
		if ((k = varint_get(b->p, b->end, &n)) == 0 || n < 2 ||
		    n > b->self || b->self - n < sizeof(pcat_magic))
			return bad(e, "a directory that is nowhere");
		b->p += k;
		it->child = b->self - n;
	} else if (it->type == ENTRY_FILE) {
		if ((k = varint_get(b->p, b->end, &it->size)) == 0)
			return bad(e, "a size cut short");
		b->p += k;
		if ((k = svarint_get(b->p, b->end, &it->mtime)) == 0)
			return bad(e, "a time cut short");
		b->p += k;
	}
	return 1;
}

/* Load the block of path. */
static int
enter(struct ranged *r, struct block *b, const char *path, struct err *e)
{
	unsigned char raw[8];
	const char *s, *p = path;
	struct item it;
	size_t n;
	int k;

	if (r->size < 8 + 2 + 8)
		return bad(e, "too short");
	if (ranged_read(r, raw, 8, 0, e) == -1)
		return -1;
	if (memcmp(raw, pcat_magic, 8) != 0)
		return bad(e, "not one (unexpected magic number)");
	if (ranged_read(r, raw, 8, r->size - 8, e) == -1 ||
	    load(r, b, get_le64(raw), e) == -1)
		return -1;
	for (; *p != '\0'; p = s + (*s == '/')) {
		s = strchr(p, '/');
		s = s == NULL ? p + strlen(p) : s;
		n = (size_t)(s - p);
		while ((k = next(b, &it, e)) == 1)
			if (it.len == n && memcmp(it.name, p, n) == 0)
				break;
		if (k == -1)
			return -1;
		if (k == 0 || it.type != ENTRY_DIR)
			return err_set(e, CALA_NOTFOUND, "%s: no such "
			    "directory in the catalog", str_q(path));
		if (load(r, b, it.child, e) == -1)
			return -1;
	}
	return 0;
}

/* Could it be a component of a path? */
static bool
name_good(const struct item *it)
{
	return memchr(it->name, '\0', it->len) == NULL &&
	    memchr(it->name, '/', it->len) == NULL &&
	    !(it->name[0] == '.' && (it->len == 1 ||
	    (it->len == 2 && it->name[1] == '.')));
}

int
pcat_list(struct ranged *r, const char *path, tree_fn *fn, void *arg,
    struct err *e)
{
	struct block b = { .self = 0 };
	struct entry en = { .uname = "", .gname = "" };
	struct item it;
	struct buf name;
	int k, ret = -1;

	buf_init(&b.b, BLOCK_MAX);
	buf_init(&name, ENTRY_PATH_MAX);
	if (enter(r, &b, path, e) == -1)
		goto out;
	while ((k = next(&b, &it, e)) == 1) {
		if (!name_good(&it)) {
			bad(e, "a name that is none");
			goto out;
		}
		buf_reset(&name);
		buf_str(&name, path);
		if (name.len > 0)
			buf_chr(&name, '/');
		buf_add(&name, it.name, it.len);
		if (buf_failed(&name, e) == -1)
			goto out;
		en.type = it.type;
		en.path = name.p;
		en.size = it.size;
		en.mtime.tv_sec = it.mtime;
		if ((k = fn(arg, &en, e)) != 0) {
			ret = k;
			goto out;
		}
	}
	ret = k;
out:
	buf_fini(&b.b);
	buf_fini(&name);
	return ret;
}
