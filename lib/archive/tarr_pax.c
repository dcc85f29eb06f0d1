/*
 * pax extended headers: records "LEN KEY=VALUE\n" (POSIX.1-2001, pax, "pax
 * Extended Header").  Values are bytes; hdrcharset changes nothing for us.
 */

#include "archive/tarr.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/code.h"
#include "base/err.h"

/* Room for the names and values of one entry's xattrs. */
enum { BYTES_MAX = TAR_PAX_MAX + ENTRY_XATTR_MAX * 64 };

static struct buf *
new_buf(size_t max)
{
	struct buf *b = malloc(sizeof(*b));

	if (b != NULL)
		buf_init(b, max);
	return b;
}

static void
free_buf(struct buf *b)
{
	if (b != NULL)
		buf_fini(b);
	free(b);
}

int
pax_init(struct pax *p, struct err *e)
{
	memset(p, 0, sizeof(*p));
	p->path = new_buf(TAR_PAX_MAX);
	p->link = new_buf(TAR_PAX_MAX);
	p->uname = new_buf(TAR_PAX_MAX);
	p->gname = new_buf(TAR_PAX_MAX);
	p->name = new_buf(TAR_PAX_MAX);
	p->comment = new_buf(TAR_PAX_MAX);
	p->bytes = new_buf(BYTES_MAX);
	p->x = calloc(ENTRY_XATTR_MAX, sizeof(*p->x));
	if (p->path == NULL || p->link == NULL || p->uname == NULL ||
	    p->gname == NULL || p->name == NULL || p->comment == NULL ||
	    p->bytes == NULL || p->x == NULL) {
		pax_fini(p);
		return err_oom(e);
	}
	pax_reset(p);
	return 0;
}

void
pax_fini(struct pax *p)
{
	free_buf(p->path);
	free_buf(p->link);
	free_buf(p->uname);
	free_buf(p->gname);
	free_buf(p->name);
	free_buf(p->comment);
	free_buf(p->bytes);
	free(p->x);
	free(p->ext);
	memset(p, 0, sizeof(*p));
}

/* Empty, and without the megabytes that one odd header may have needed. */
static void
forget(struct buf *b)
{
	if (b->cap > 1 << 20)
		buf_fini(b);
	else
		buf_reset(b);
}

void
pax_reset(struct pax *p)
{
	p->have = 0;
	forget(p->path);
	forget(p->link);
	forget(p->uname);
	forget(p->gname);
	forget(p->name);
	forget(p->comment);
	forget(p->bytes);
	p->nx = p->next = 0;
	p->sparse = 0;
	p->major_v = p->minor_v = -1;
	p->have_half = false;
	p->soft = NULL;
	if (p->cap > 4096) {
		free(p->ext);
		p->ext = NULL;
		p->cap = 0;
	}
}

int
pax_num(const char *s, size_t n, uint64_t *out)
{
	uint64_t v = 0;
	size_t i;

	if (n == 0)
		return -1;
	for (i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -1;
		if (!u64_mul(v, 10, &v) ||
		    !u64_add(v, (uint64_t)(s[i] - '0'), &v) || v > INT64_MAX)
			return -1;
	}
	*out = v;
	return 0;
}

int
pax_extent(struct pax *p, uint64_t off, uint64_t len)
{
	struct extent *x;
	size_t cap;

	if (p->next == ENTRY_EXTENT_MAX)
		return -1;
	if (p->next == p->cap) {
		cap = p->cap == 0 ? 64 : 2 * p->cap;
		if ((x = realloc(p->ext, cap * sizeof(*x))) == NULL)
			return -1;
		p->ext = x;
		p->cap = cap;
	}
	p->ext[p->next].off = off;
	p->ext[p->next].len = len;
	p->next++;
	return 0;
}

/* [-]SECONDS[.FRACTION] */
static int
time_get(const char *s, size_t n, struct timespec *out)
{
	const char *dot;
	bool neg = n > 0 && *s == '-';
	uint64_t sec = 0;
	long ns = 0, unit = 100000000;
	size_t whole, i;

	if (neg)
		s++, n--;
	dot = n > 0 ? memchr(s, '.', n) : NULL;
	whole = dot == NULL ? n : (size_t)(dot - s);
	if (pax_num(s, whole, &sec) == -1)
		return -1;
	for (i = whole + 1; i < n; i++, unit /= 10) {
		if (s[i] < '0' || s[i] > '9')
			return -1;
		ns += (s[i] - '0') * unit;
	}
	out->tv_sec = neg ? -(time_t)sec : (time_t)sec;
	if (neg && ns > 0) {
		out->tv_sec--;
		ns = 1000000000 - ns;
	}
	out->tv_nsec = ns;
	return 0;
}

/* name must not be there yet: libarchive writes each xattr in two ways. */
static bool
have_xattr(const struct pax *p, const char *name, size_t n)
{
	size_t i;

	for (i = 0; i < p->nx; i++)
		if (strlen(p->bytes->p + p->x[i].name) == n &&
		    memcmp(p->bytes->p + p->x[i].name, name, n) == 0)
			return true;
	return false;
}

/* Begin an xattr; its value is what is appended to bytes until x_end. */
static bool
x_begin(struct pax *p, const char *name, size_t n)
{
	if (n == 0 || n > 255 || memchr(name, '\0', n) != NULL) {
		p->soft = "an extended attribute has an impossible name";
		return false;
	}
	if (have_xattr(p, name, n))
		return false;
	if (p->nx == ENTRY_XATTR_MAX) {
		p->soft = "too many extended attributes";
		return false;
	}
	p->x[p->nx].name = p->bytes->len;
	buf_add(p->bytes, name, n);
	buf_chr(p->bytes, '\0');
	p->x[p->nx].value = p->bytes->len;
	return true;
}

static void
x_end(struct pax *p, bool good)
{
	if (good && !p->bytes->failed) {
		p->x[p->nx].len = p->bytes->len - p->x[p->nx].value;
		buf_chr(p->bytes, '\0');
		p->nx++;
		return;
	}
	if (!good)
		buf_cut(p->bytes, p->x[p->nx].name);
}

static void
xattr(struct pax *p, const char *name, size_t n, const char *v, size_t vn)
{
	if (x_begin(p, name, n)) {
		buf_add(p->bytes, v, vn);
		x_end(p, true);
	}
}

static void
acl(struct pax *p, const char *name, const char *v, size_t vn)
{
	int r;

	if (!x_begin(p, name, strlen(name)))
		return;
	r = tarr_acl(p->bytes, v, vn);
	x_end(p, r == 0);
	if (r == -1)
		p->soft = "an access control list can't be understood";
}

/*
 * The name in the key of an xattr's record.  GNU tar spells "=" and "%" with
 * %XX, libarchive whatever is no printable character, too.
 * Its length, or 0 when it does not fit.
 */
static size_t
x_name(char name[256], const char *key, size_t n)
{
	size_t i, k = 0;

	for (i = 0; i < n && k < 256; i++)
		if (key[i] == '%' && i + 2 < n &&
		    hex_get(key + i + 1, 1, name + k) == 0) {
			k++;
			i += 2;
		} else {
			name[k++] = key[i];
		}
	return i < n ? 0 : k;
}

/* SCHILY.xattr: the value is bytes. */
static void
star_xattr(struct pax *p, const char *key, size_t n, const char *v, size_t vn)
{
	char name[256];

	n = x_name(name, key, n);
	xattr(p, name, n, v, vn);
}

/* LIBARCHIVE.xattr: the value is base64, unpadded. */
static void
la_xattr(struct pax *p, const char *key, size_t n, const char *v, size_t vn)
{
	char name[256];
	struct buf text;
	bool good;

	n = x_name(name, key, n);
	if (!x_begin(p, name, n))
		return;
	buf_init(&text, TAR_PAX_MAX + 4);
	while (vn > 0 && v[vn - 1] == '=')
		vn--;
	buf_add(&text, v, vn);
	while (text.len % 4 != 0)
		buf_chr(&text, '=');
	good = !text.failed && b64_get(p->bytes, text.p, text.len) == 0;
	x_end(p, good);
	if (!good)
		p->soft = "an extended attribute is no base64";
	buf_fini(&text);
}

/* GNU.sparse.map: "off,len,off,len" of format 0.1. */
static int
map_get(struct pax *p, const char *v, size_t n)
{
	const char *end = v + n, *c;
	uint64_t num[2];
	int i = 0;

	p->next = 0;
	while (v < end) {
		if ((c = memchr(v, ',', (size_t)(end - v))) == NULL)
			c = end;
		if (pax_num(v, (size_t)(c - v), &num[i]) == -1)
			return -1;
		if (i == 1 && pax_extent(p, num[0], num[1]) == -1)
			return -1;
		i = !i;
		v = c + (c < end);
	}
	return i == 0 ? 0 : -1;
}

/* Returns -1 when a number that framing hangs on is bad. */
static int
sparse(struct pax *p, const char *k, size_t kn, const char *v, size_t vn)
{
	uint64_t n;

#define KEY(s) (kn == sizeof(s) - 1 && memcmp(k, s, kn) == 0)
	if (KEY("name")) {
		buf_reset(p->name);
		buf_add(p->name, v, vn);
		p->have |= PAX_NAME;
		return 0;
	}
	if (KEY("map")) {
		p->sparse = 1;
		return map_get(p, v, vn);
	}
	if (!KEY("major") && !KEY("minor") && !KEY("realsize") &&
	    !KEY("size") && !KEY("numblocks") && !KEY("offset") &&
	    !KEY("numbytes"))
		return 0;
	if (pax_num(v, vn, &n) == -1)
		return -1;
	if (KEY("major"))
		p->major_v = n > 99 ? 99 : (int)n;
	else if (KEY("minor"))
		p->minor_v = n > 99 ? 99 : (int)n;
	else if (KEY("realsize") || KEY("size")) {
		p->real = n;
		p->have |= PAX_REAL;
	} else if (KEY("numblocks"))
		p->sparse = 1;
	else if (KEY("offset")) {
		p->half = n;
		p->have_half = true;
	} else {
		if (!p->have_half || pax_extent(p, p->half, n) == -1)
			return -1;
		p->have_half = false;
	}
	return 0;
}

static void
text(struct pax *p, struct buf *b, unsigned bit, const char *v, size_t n)
{
	buf_reset(b);
	buf_add(b, v, n);
	p->have = n > 0 ? p->have | bit : p->have & ~bit;
}

static void
number(struct pax *p, uint64_t *to, unsigned bit, const char *v, size_t n)
{
	if (n == 0)
		p->have &= ~bit;
	else if (pax_num(v, n, to) == 0)
		p->have |= bit;
	else
		p->soft = "a number in its extended header is malformed";
}

static bool
begins(const char *k, size_t n, const char *prefix)
{
	size_t l = strlen(prefix);

	return n > l && memcmp(k, prefix, l) == 0;
}

static int
record(struct pax *p, const char *k, size_t kn, const char *v, size_t vn,
    bool global)
{
	if (KEY("mtime")) {
		if (vn == 0)
			p->have &= ~(unsigned)PAX_MTIME;
		else if (time_get(v, vn, &p->mtime) == 0)
			p->have |= PAX_MTIME;
		else
			p->soft = "its time is malformed";
	} else if (KEY("uid"))
		number(p, &p->uid, PAX_UID, v, vn);
	else if (KEY("gid"))
		number(p, &p->gid, PAX_GID, v, vn);
	else if (KEY("uname"))
		text(p, p->uname, PAX_UNAME, v, vn);
	else if (KEY("gname"))
		text(p, p->gname, PAX_GNAME, v, vn);
	else if (KEY("comment"))
		text(p, p->comment, PAX_COMMENT, v, vn);
	else if (global)
		return 0;
	else if (KEY("path"))
		text(p, p->path, PAX_PATH, v, vn);
	else if (KEY("linkpath"))
		text(p, p->link, PAX_LINK, v, vn);
	else if (KEY("size")) {
		if (pax_num(v, vn, &p->size) == -1)
			return -1;
		p->have |= PAX_SIZE;
	} else if (KEY("SCHILY.devmajor"))
		number(p, &p->major, PAX_MAJOR, v, vn);
	else if (KEY("SCHILY.devminor"))
		number(p, &p->minor, PAX_MINOR, v, vn);
	else if (KEY("SCHILY.acl.access"))
		acl(p, "system.posix_acl_access", v, vn);
	else if (KEY("SCHILY.acl.default"))
		acl(p, "system.posix_acl_default", v, vn);
	else if (KEY("RHT.security.selinux"))
		xattr(p, "security.selinux", 16, v, vn);
	else if (begins(k, kn, "SCHILY.xattr."))
		star_xattr(p, k + 13, kn - 13, v, vn);
	else if (begins(k, kn, "LIBARCHIVE.xattr."))
		la_xattr(p, k + 17, kn - 17, v, vn);
	else if (begins(k, kn, "GNU.sparse."))
		return sparse(p, k + 11, kn - 11, v, vn);
	return 0;
#undef KEY
}

int
pax_parse(struct pax *p, const char *rec, size_t n, bool global,
    struct err *e)
{
	const char *end = rec + n, *sp, *eq;
	uint64_t len;

	while (rec < end) {
		/* some writers pad the header with NUL bytes */
		if (*rec == '\0' && tarr_zero(rec, (size_t)(end - rec)))
			break;
		sp = memchr(rec, ' ', (size_t)(end - rec));
		if (sp == NULL || pax_num(rec, (size_t)(sp - rec), &len) == -1 ||
		    len > (uint64_t)(end - rec) ||
		    len < (uint64_t)(sp - rec) + 3 || rec[len - 1] != '\n')
			return err_set(e, CALA_INTEGRITY,
			    "damaged extended header");
		sp++;
		eq = memchr(sp, '=', (size_t)(rec + len - 1 - sp));
		if (eq == NULL || record(p, sp, (size_t)(eq - sp), eq + 1,
		    (size_t)(rec + len - 1 - (eq + 1)), global) == -1)
			return err_set(e, CALA_INTEGRITY,
			    "damaged record in an extended header");
		rec += len;
	}
	if (p->major_v == 1 && p->minor_v == 0)
		p->sparse = 2;
	if (p->path->failed || p->link->failed || p->uname->failed ||
	    p->gname->failed || p->name->failed || p->comment->failed ||
	    p->bytes->failed)
		return err_oom(e);
	return 0;
}
