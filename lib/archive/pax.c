#include "archive/pax.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/log.h"
#include "base/str.h"
#include "entry/entry.h"

/* libarchive refuses headers of more than 1 MiB. */
enum { ALL_MAX = 1000000 };

enum { DIGITS = 20 };                   /* of 64 bits */

/* n in least digits or more, ending before end; where they begin. */
static char *
decimal(char *end, uint64_t n, unsigned least)
{
	const char *from = end - least;

	do {
		*--end = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0 || end > from);
	return end;
}

static size_t
digits(size_t n)
{
	size_t d = 1;

	for (; n >= 10; n /= 10)
		d++;
	return d;
}

/* By hand: for small files printf was a fiftieth of all. */
void
pax_add(struct buf *b, const char *key, const void *value, size_t n)
{
	size_t body = strlen(key) + n + 3;      /* blank, '=', newline */
	size_t len = body + digits(body);
	char text[DIGITS], *at;

	/* The length counts its own digits, of which there may be one more. */
	if (digits(len) != digits(body))
		len = body + digits(len);
	at = decimal(text + DIGITS, len, 1);
	buf_add(b, at, (size_t)(text + DIGITS - at));
	buf_chr(b, ' ');
	buf_str(b, key);
	buf_chr(b, '=');
	buf_add(b, value, n);
	buf_chr(b, '\n');
}

void
pax_u64(struct buf *b, const char *key, uint64_t n)
{
	char text[DIGITS], *at = decimal(text + DIGITS, n, 1);

	pax_add(b, key, at, (size_t)(text + DIGITS - at));
}

void
pax_time(struct buf *b, const char *key, struct timespec t)
{
	uint64_t sec = (uint64_t)t.tv_sec, nsec = (uint64_t)t.tv_nsec;
	char text[2 * DIGITS + 2], *at = text + sizeof(text);

	if (t.tv_sec < 0) {
		/* -1 s + 0.25 s is written -0.75 */
		sec = -sec;
		if (nsec > 0) {
			sec--;
			nsec = 1000000000 - nsec;
		}
	}
	/* All nine digits, so that records, and so headers, are alike. */
	if (nsec > 0) {
		at = decimal(at, nsec, 9);
		*--at = '.';
	}
	at = decimal(at, sec, 1);
	if (t.tv_sec < 0)
		*--at = '-';
	pax_add(b, key, at, (size_t)(text + sizeof(text) - at));
}

/*
 * The kernel's representation of an ACL (version 2: le32 version, then le16
 * tag, le16 permissions, le32 id each) as text.  -1 when it is not that.
 */
static int
acl_text(struct buf *b, const struct xattr *x)
{
	enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16,
	    OTHER = 32 };
	const unsigned char *p = x->value, *end = p + x->len;
	unsigned tag, perm;

	if (x->len < 12 || (x->len - 4) % 8 != 0 || get_le32(p) != 2)
		return -1;
	for (p += 4; p < end; p += 8) {
		tag = get_le16(p);
		perm = get_le16(p + 2);
		if (perm > 7)
			return -1;
		if (b->len > 0)
			buf_chr(b, ',');
		switch (tag) {
		case USER_OBJ:
			buf_str(b, "user::");
			break;
		case USER:
			buf_printf(b, "user:%" PRIu32 ":", get_le32(p + 4));
			break;
		case GROUP_OBJ:
			buf_str(b, "group::");
			break;
		case GROUP:
			buf_printf(b, "group:%" PRIu32 ":", get_le32(p + 4));
			break;
		case MASK:
			buf_str(b, "mask::");
			break;
		case OTHER:
			buf_str(b, "other::");
			break;
		default:
			return -1;
		}
		buf_chr(b, (perm & 4) != 0 ? 'r' : '-');
		buf_chr(b, (perm & 2) != 0 ? 'w' : '-');
		buf_chr(b, (perm & 1) != 0 ? 'x' : '-');
	}
	return 0;
}

static const char *
acl_key(const char *name)
{
	if (strcmp(name, "system.posix_acl_access") == 0)
		return "SCHILY.acl.access";
	if (strcmp(name, "system.posix_acl_default") == 0)
		return "SCHILY.acl.default";
	return NULL;
}

void
pax_xattrs(struct buf *b, const struct entry *en, struct log *log)
{
	struct buf text;
	const char *key, *s;
	size_t i, left_out = 0;

	if (en->nxattrs == 0)
		return;
	buf_init(&text, 8 * ENTRY_PATH_MAX);
	for (i = 0; i < en->nxattrs; i++) {
		const struct xattr *x = &en->xattrs[i];

		if (b->len + x->len > ALL_MAX) {
			left_out++;
			continue;
		}
		buf_reset(&text);
		key = acl_key(x->name);
		if (key != NULL && acl_text(&text, x) == 0) {
			pax_add(b, key, text.p, text.len);
			continue;
		}
		buf_reset(&text);
		buf_str(&text, "SCHILY.xattr.");
		for (s = x->name; *s != '\0'; s++)
			if (*s == '%' || *s == '=')
				buf_str(&text, *s == '%' ? "%25" : "%3D");
			else
				buf_chr(&text, *s);
		pax_add(b, text.p, x->value, x->len);
	}
	if (left_out > 0)
		log_warn(log, "%s: %zu extended attributes are too large for "
		    "a tar header and were left out", str_q(en->path),
		    left_out);
	if (text.failed)
		b->failed = true;
	buf_fini(&text);
}
