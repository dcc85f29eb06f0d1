/*
 * catalog.pcat1: a block a directory, behind those of what it holds; entries
 * point back by the distance of the blocks, the last 8 bytes at the root's.
 *
 * The entries of the open directories wait in one buffer, each as it will be
 * written, but for directories: there the position of the block stands for the
 * distance, in 8 bytes.
 */

#include "pxar/pcat.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/io.h"
#include "base/str.h"

enum {
	WAITING_MAX = 1 << 30,
	PIECE = 32768
};

const unsigned char pcat_magic[8] =
    { 0x91, 0xfd, 0x60, 0xf9, 0xc4, 0x67, 0x58, 0xd5 };

struct open {
	size_t at;              /* its entries begin here in waiting */
	uint64_t count;
	size_t name;            /* its own begins here in names */
};

struct pcat {
	struct sink *out;
	uint64_t base;
	struct buf waiting, names, block;
	struct open level[ENTRY_DEPTH_MAX + 2];
	size_t n;
};

/*
 * As bytes.h's for what is not negative; else the magnitude with bit 7 in
 * every byte, and a zero byte behind.
 */
static size_t
svarint_put(unsigned char *p, int64_t n)
{
	uint64_t m;
	size_t i = 0;

	if (n >= 0)
		return varint_put(p, (uint64_t)n);
	for (m = 0 - (uint64_t)n; m != 0; m >>= 7)
		p[i++] = (unsigned char)(m | 0x80);
	p[i++] = 0;
	return i;
}

struct pcat *
pcat_new(struct sink *out, struct err *e)
{
	struct pcat *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		err_oom(e);
		return NULL;
	}
	c->out = out;
	c->base = out->pos;
	buf_init(&c->waiting, WAITING_MAX);
	buf_init(&c->names, ENTRY_PATH_MAX + 2 * (ENTRY_DEPTH_MAX + 2));
	buf_init(&c->block, 2 * PIECE);
	c->n = 1;
	if (sink_write(out, pcat_magic, sizeof(pcat_magic), e) == -1) {
		pcat_free(c);
		return NULL;
	}
	return c;
}

void
pcat_free(struct pcat *c)
{
	if (c == NULL)
		return;
	buf_fini(&c->waiting);
	buf_fini(&c->names);
	buf_fini(&c->block);
	free(c);
}

static int
add(struct pcat *c, int type, const char *name, const void *more, size_t n,
    struct err *e)
{
	unsigned char v[10];
	size_t len = strlen(name);

	if (len == 0 || len > PCAT_NAME_MAX)
		return err_set(e, CALA_FAIL, "catalog: %s: a name of %zu "
		    "bytes", str_q(name), len);
	buf_chr(&c->waiting, (char)type);
	buf_add(&c->waiting, v, varint_put(v, len));
	buf_add(&c->waiting, name, len);
	buf_add(&c->waiting, more, n);
	if (buf_failed(&c->waiting, e) == -1)
		return err_ctx(e, "catalog");
	c->level[c->n - 1].count++;
	return 0;
}

int
pcat_add(struct pcat *c, enum entry_type type, const char *name, uint64_t size,
    int64_t mtime, struct err *e)
{
	unsigned char v[24];
	size_t n = 0;

	if (type == ENTRY_FILE) {
		n = varint_put(v, size);
		n += svarint_put(v + n, mtime);
	}
	return add(c, (int)type, name, v, n, e);
}

int
pcat_enter(struct pcat *c, const char *name, struct err *e)
{
	if (c->n == ENTRY_DEPTH_MAX + 2)
		return err_set(e, CALA_FAIL, "catalog: too deep");
	c->level[c->n].at = c->waiting.len;
	c->level[c->n].count = 0;
	c->level[c->n].name = c->names.len;
	buf_str(&c->names, name);
	buf_chr(&c->names, '\0');
	if (buf_failed(&c->names, e) == -1)
		return err_ctx(e, "catalog");
	c->n++;
	return 0;
}

/*
 * One pass over the innermost directory's entries: with out, they are written;
 * without, counted.  self is the position of its block.
 */
static int
entries(struct pcat *c, uint64_t self, bool out, uint64_t *size, struct err *e)
{
	const struct open *o = &c->level[c->n - 1];
	const unsigned char *p = (unsigned char *)c->waiting.p + o->at, *from;
	const unsigned char *end = (unsigned char *)c->waiting.p +
	    c->waiting.len;
	unsigned char v[10];
	uint64_t n = 0;
	size_t k;
	bool dir;

	*size = 0;
	while (p < end) {
		from = p;
		dir = *p++ == ENTRY_DIR;
		p += varint_get(p, end, &n);
		p += n;
		if (dir) {
			k = varint_put(v, self - get_le64(p));
		} else {
			k = 0;
			if (*from == ENTRY_FILE) {
				p += varint_get(p, end, &n);
				/* both kinds end at a byte without bit 7 */
				while ((*p++ & 0x80) != 0)
					;
			}
		}
		*size += (uint64_t)(p - from) + k;
		if (out && (buf_add(&c->block, from, (size_t)(p - from)) == -1
		    || buf_add(&c->block, v, k) == -1))
			return buf_failed(&c->block, e);
		if (dir)
			p += 8;
		if (out && c->block.len > PIECE) {
			if (sink_write(c->out, c->block.p, c->block.len, e) ==
			    -1)
				return -1;
			buf_reset(&c->block);
		}
	}
	return 0;
}

/* The block of the innermost directory; *self is its position. */
static int
block(struct pcat *c, uint64_t *self, struct err *e)
{
	unsigned char count[10], len[10];
	uint64_t size;
	size_t k;

	*self = c->out->pos - c->base;
	k = varint_put(count, c->level[c->n - 1].count);
	if (entries(c, *self, false, &size, e) == -1)
		return -1;
	buf_reset(&c->block);
	buf_add(&c->block, len, varint_put(len, size + k));
	buf_add(&c->block, count, k);
	if (entries(c, *self, true, &size, e) == -1 ||
	    buf_failed(&c->block, e) == -1)
		return -1;
	buf_cut(&c->waiting, c->level[c->n - 1].at);
	return sink_write(c->out, c->block.p, c->block.len, e);
}

int
pcat_leave(struct pcat *c, struct err *e)
{
	unsigned char at[8];
	uint64_t self;
	size_t name;

	if (c->n < 2)
		return err_set(e, CALA_FAIL, "catalog: no directory is open");
	if (block(c, &self, e) == -1)
		return err_ctx(e, "catalog");
	name = c->level[--c->n].name;
	put_le64(at, self);
	if (add(c, ENTRY_DIR, c->names.p + name, at, sizeof(at), e) == -1)
		return -1;
	buf_cut(&c->names, name);
	return 0;
}

int
pcat_end(struct pcat *c, struct err *e)
{
	unsigned char at[8];
	uint64_t self;

	if (c->n != 1)
		return err_set(e, CALA_FAIL, "catalog: a directory is open");
	if (block(c, &self, e) == -1)
		return err_ctx(e, "catalog");
	put_le64(at, self);
	return sink_write(c->out, at, sizeof(at), e) == -1 ? -1 :
	    sink_commit(c->out, e);
}
