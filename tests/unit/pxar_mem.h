#ifndef CALA_TESTS_PXAR_MEM_H
#define CALA_TESTS_PXAR_MEM_H

/* Content in memory; the vectors' trees as entries. */

#include "unit.h"
#include "io_mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/code.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "pxar/item.h"
#include "pxar/pxar.h"

struct mem_content {
	struct content c;
	const char *p;
};

static inline ssize_t
mc_read(struct content *c, void *p, size_t n, struct err *e)
{
	(void)e;
	n = n > 3 ? n / 2 : n;          /* short counts are normal */
	memcpy(p, ((struct mem_content *)c)->p + c->pos, n);
	return (ssize_t)n;
}

static inline int
mc_skip(struct content *c, uint64_t n, struct err *e)
{
	(void)c, (void)n, (void)e;
	return 0;
}

static inline struct content *
mc_init(struct mem_content *m, const void *p, size_t n)
{
	static const struct content_ops ops = { mc_read, mc_skip, NULL };

	memset(m, 0, sizeof(*m));
	m->c.ops = &ops;
	m->c.size = n;
	m->p = p;
	return &m->c;
}

static inline void
file_in(struct buf *b, const char *name)
{
	char path[256];
	FILE *f;
	int c;

	snprintf(path, sizeof(path), "tests/vectors/pxar/%s", name);
	if ((f = fopen(path, "rb")) == NULL)
		fail_msg("%s is missing", path);
	buf_reset(b);
	while ((c = getc(f)) != EOF)
		buf_chr(b, (char)c);
	fclose(f);
	assert_false(b->failed);
}

/* A vector's tree, a line an operation, as calls of a function. */
struct ops {
	struct buf text, path, value[8];
	char *at;
	struct entry en;
	struct xattr x[8];
	struct acl_lists {
		uint64_t v[2][4];       /* user_obj, group_obj, other, mask */
		uint64_t ace[4][8][2];  /* users, groups; default ones */
		size_t n[4];
		bool has[2];
	} acl;
	struct mem_content c;
	struct content *content;
	unsigned depth;
};

static inline void
ops_init(struct ops *o, const char *name)
{
	size_t i;

	memset(o, 0, sizeof(*o));
	buf_init(&o->text, 1 << 20);
	buf_init(&o->path, 4096);
	for (i = 0; i < 8; i++)
		buf_init(&o->value[i], 65536);
	file_in(&o->text, name);
	o->at = o->text.p;
}

static inline void
ops_fini(struct ops *o)
{
	size_t i;

	buf_fini(&o->text);
	buf_fini(&o->path);
	for (i = 0; i < 8; i++)
		buf_fini(&o->value[i]);
}

static inline void
kernel_ace(struct buf *b, unsigned tag, uint64_t perm, uint64_t id)
{
	unsigned char raw[8];

	if (perm == UINT64_MAX)
		return;
	put_le16(raw, (uint16_t)tag);
	put_le16(raw + 2, (uint16_t)perm);
	put_le32(raw + 4, (uint32_t)id);
	buf_add(b, raw, 8);
}

/* The lists read so far as extended attributes, as the kernel has them. */
static inline void
ops_acl(struct ops *o, int def)
{
	struct buf *b = &o->value[o->en.nxattrs];
	struct xattr *x = &o->x[o->en.nxattrs];
	unsigned char raw[4];
	size_t i;

	if (!o->acl.has[def])
		return;
	put_le32(raw, 2);
	buf_reset(b);
	buf_add(b, raw, 4);
	kernel_ace(b, 1, o->acl.v[def][0], UINT32_MAX);
	for (i = 0; i < o->acl.n[2 * def]; i++)
		kernel_ace(b, 2, o->acl.ace[2 * def][i][1],
		    o->acl.ace[2 * def][i][0]);
	kernel_ace(b, 4, o->acl.v[def][1], UINT32_MAX);
	for (i = 0; i < o->acl.n[2 * def + 1]; i++)
		kernel_ace(b, 8, o->acl.ace[2 * def + 1][i][1],
		    o->acl.ace[2 * def + 1][i][0]);
	kernel_ace(b, 16, o->acl.v[def][3], UINT32_MAX);
	kernel_ace(b, 32, o->acl.v[def][2], UINT32_MAX);
	x->name = def ? "system.posix_acl_default" : "system.posix_acl_access";
	x->value = b->p;
	x->len = b->len;
	o->en.nxattrs++;
}

static inline uint64_t
num(const char *s)
{
	return strtoull(s, NULL, 10);
}

static inline void
ops_attr(struct ops *o, char **f)
{
	struct buf *b = &o->value[o->en.nxattrs];
	int k = f[0][3] == 'D' ? 1 : 0;
	size_t g;
	char *hex;

	if (strcmp(f[0], "XATTR") == 0 || strcmp(f[0], "FCAPS") == 0) {
		o->x[o->en.nxattrs].name = f[0][0] == 'X' ? f[1] :
		    "security.capability";
		hex = f[0][0] == 'X' ? f[2] : f[1];
		buf_reset(b);
		assert_non_null(buf_room(b, strlen(hex) + 1));
		assert_int_equal(hex_get(hex, strlen(hex) / 2, b->p), 0);
		o->x[o->en.nxattrs].value = b->p;
		o->x[o->en.nxattrs++].len = strlen(hex) / 2;
	} else if (strcmp(f[0], "PROJ") == 0) {
		o->en.projid = (uint32_t)num(f[1]);
	} else if (strcmp(f[0], "ACLGO") == 0) {
		o->acl.has[0] = true;
		o->acl.v[0][0] = o->en.mode >> 6 & 7;
		o->acl.v[0][1] = num(f[1]);
		o->acl.v[0][2] = o->en.mode & 7;
		o->acl.v[0][3] = o->en.mode >> 3 & 7;
	} else if (strcmp(f[0], "ACLD") == 0) {
		o->acl.has[1] = true;
		for (g = 0; g < 4; g++)
			o->acl.v[1][g] = num(f[g + 1]);
	} else {
		g = f[0][strlen(f[0]) - 1] == 'G';
		k = k ? 2 : 0;
		o->acl.ace[(size_t)k + g][o->acl.n[(size_t)k + g]][0] =
		    num(f[1]);
		o->acl.ace[(size_t)k + g][o->acl.n[(size_t)k + g]++][1] =
		    num(f[2]);
	}
}

static inline void
ops_down(struct ops *o, const char *name)
{
	if (o->path.len > 0)
		buf_chr(&o->path, '/');
	buf_str(&o->path, name);
}

static inline void
ops_up(struct ops *o)
{
	char *s = strrchr(o->path.p, '/');

	buf_cut(&o->path, s == NULL ? 0 : (size_t)(s - o->path.p));
}

/*
 * The next operation: 1 with an entry in o->en; 2: a directory ends; 0 at the
 * end.  The path is to be cut after an entry that is no directory: ops_done.
 */
static inline int
ops_next(struct ops *o)
{
	char *f[8] = { 0 }, *line, *s;
	size_t n, i;

	while (o->at != NULL && *o->at != '\0') {
		line = o->at;
		o->at = strchr(line, '\n');
		if (o->at != NULL)
			*o->at++ = '\0';
		for (n = 0, s = line; n < 8 && s != NULL; n++) {
			f[n] = s;
			if ((s = strchr(s, '\t')) != NULL)
				*s++ = '\0';
		}
		for (i = n; i < 8; i++)
			f[i] = NULL;
		if (strcmp(f[0], "META") == 0) {
			memset(&o->en, 0, sizeof(o->en));
			memset(&o->acl, 0, sizeof(o->acl));
			o->en.mode = (uint32_t)num(f[1]) & 07777;
			o->en.attrs = pxar_chattr(num(f[2]));
			o->en.uid = (uint32_t)num(f[3]);
			o->en.gid = (uint32_t)num(f[4]);
			o->en.mtime.tv_sec = strtoll(f[5], NULL, 10);
			o->en.mtime.tv_nsec = (long)num(f[6]);
			o->en.xattrs = o->x;
			o->en.uname = o->en.gname = "";
			continue;
		}
		if (strcmp(f[0], "END") == 0) {
			if (--o->depth > 0)
				ops_up(o);
			return 2;
		}
		if (strncmp(f[0], "ACL", 3) == 0 || strcmp(f[0], "XATTR") == 0
		    || strcmp(f[0], "FCAPS") == 0 || strcmp(f[0], "PROJ") == 0)
		{
			ops_attr(o, f);
			continue;
		}
		ops_acl(o, 0);
		ops_acl(o, 1);
		o->content = NULL;
		if (strcmp(f[0], "ROOT") != 0)
			ops_down(o, f[1]);
		o->en.path = o->path.p;
		if (strcmp(f[0], "ROOT") == 0 || strcmp(f[0], "DIR") == 0) {
			o->en.type = ENTRY_DIR;
			o->depth++;
		} else if (strcmp(f[0], "FILE") == 0) {
			o->en.type = ENTRY_FILE;
			s = f[2] == NULL ? f[1] + strlen(f[1]) : f[2];
			buf_reset(&o->value[7]);
			buf_room(&o->value[7], strlen(s) + 1);
			hex_get(s, strlen(s) / 2, o->value[7].p);
			o->en.size = strlen(s) / 2;
			o->content = mc_init(&o->c, o->value[7].p,
			    strlen(s) / 2);
		} else if (strcmp(f[0], "SYMLINK") == 0 ||
		    strcmp(f[0], "HARDLINK") == 0) {
			o->en.type = f[0][0] == 'S' ? ENTRY_SYMLINK :
			    ENTRY_HARDLINK;
			o->en.target = f[2];
		} else if (strcmp(f[0], "DEVICE") == 0) {
			o->en.type = strcmp(f[1], "blk") == 0 ? ENTRY_BLOCK :
			    ENTRY_CHAR;
			o->en.rdev_major = (uint32_t)num(f[2]);
			o->en.rdev_minor = (uint32_t)num(f[3]);
		} else if (strcmp(f[0], "FIFO") == 0) {
			o->en.type = ENTRY_FIFO;
		} else if (strcmp(f[0], "SOCKET") == 0) {
			o->en.type = ENTRY_SOCKET;
		} else {
			fail_msg("what is %s?", f[0]);
		}
		return 1;
	}
	return 0;
}

static inline void
ops_done(struct ops *o)
{
	if (o->en.type != ENTRY_DIR)
		ops_up(o);
}

static inline void
same_bytes(const struct buf *got, const struct buf *want, const char *what)
{
	size_t i;

	for (i = 0; i < got->len && i < want->len; i++)
		if (got->p[i] != want->p[i])
			fail_msg("%s: differs at %#zx: %02x, not %02x", what, i,
			    (unsigned char)got->p[i],
			    (unsigned char)want->p[i]);
	if (got->len != want->len)
		fail_msg("%s: %zu bytes, not %zu", what, got->len, want->len);
}

#endif
