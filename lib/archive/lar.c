/*
 * zip and 7z.  libarchive says what is in them; that they are whole is seen
 * from their ends before it begins, because a zip without its central
 * directory would be read as a stream.
 */

#include "archive/lar.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <archive.h>
#include <archive_entry.h>
#include <zlib.h>

#include "archive/tarr.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"

enum { LAR_IN = 256 << 10 };

struct lar {
	struct reader r;
	struct ranged *in;
	bool own;
	uint64_t pos;
	struct archive *a;
	struct archive_read limits;
	struct log *log;
	struct archive_facts facts;
	/*
	 * libarchive turns the names of UTF-8 zips and of every 7z into the
	 * locale's charset.  In this one they stay what they are, and names of
	 * an unknown charset stay bytes.
	 */
	locale_t utf8;
	uint64_t announced;             /* entries, by the end of a zip ... */
	bool wide;                      /* ... or their lower 16 bits */

	struct entry entry;
	struct content content;
	struct buf path, target;
	const unsigned char *block;     /* of the entry's data, not given yet */
	size_t left;
	uint64_t block_off;
	uint64_t entries, files, size;
	bool done, failed;
	struct err io, err;
	unsigned char buf[LAR_IN];
};

int
zip_end(const unsigned char *p, size_t n, uint64_t size, struct zip_end *z)
{
	const unsigned char *q, *l, *q64;
	uint64_t at, off64;
	size_t i;

	if (n < 22)
		return 1;
	for (i = n - 22; ; i--) {
		q = p + i;
		/* bsdtar pads what it writes to a pipe with zero bytes */
		if (get_le32(q) == 0x06054b50 &&
		    get_le16(q + 20) <= n - i - 22 &&
		    tarr_zero(q + 22 + get_le16(q + 20),
		    n - i - 22 - get_le16(q + 20)))
			break;
		if (i == 0)
			return 1;
	}
	at = size - n + i;
	z->wide = false;
	z->entries = get_le16(q + 10);
	z->dir_len = get_le32(q + 12);
	z->dir = get_le32(q + 16);
	z->comment = q + 22;
	z->comment_len = get_le16(q + 20);
	if (z->entries == 0xffff || z->dir_len == UINT32_MAX ||
	    z->dir == UINT32_MAX) {
		l = i >= 20 ? q - 20 : NULL;
		if (l != NULL && get_le32(l) == 0x07064b50) {
			off64 = get_le64(l + 8);
			if (off64 < size - n || off64 > at - 20 ||
			    at - 20 - off64 < 56)
				return 1;
			q64 = p + (off64 - (size - n));
			if (get_le32(q64) != 0x06064b50)
				return 1;
			z->wide = true;
			z->entries = get_le64(q64 + 32);
			z->dir_len = get_le64(q64 + 40);
			z->dir = get_le64(q64 + 48);
		}
	}
	/* the directory lies before its end; in front of a zip may be more */
	return z->dir <= at && z->dir_len <= at - z->dir ? 0 : 1;
}

int
zip_facts(const struct zip_end *z, struct archive_facts *f)
{
	struct mark m;

	f->proof = PROOF_FOREIGN;
	switch (mark_parse((const char *)z->comment, z->comment_len, &m)) {
	case 2:
		f->cala = true;
		f->proof = PROOF_INNER;
		f->counted = true;
		f->entries = m.entries;
		f->files = m.files;
		f->size = m.size;
		f->warnings = m.warnings;
		f->partial = m.warnings > 0;
		if (m.entries == z->entries)
			return 0;
		break;
	case 0:
		return 0;
	default:
		break;
	}
	f->proof = PROOF_WRONG;
	f->why = "the zip's comment and its directory do not agree";
	return -1;
}

int
sevenz_end(const unsigned char h[32], uint64_t *whole)
{
	uint64_t end;

	if (memcmp(h, "7z\xbc\xaf\x27\x1c", 6) != 0 ||
	    crc32(0, h + 12, 20) != get_le32(h + 8) ||
	    !u64_add(get_le64(h + 12), get_le64(h + 20), &end) ||
	    !u64_add(end, 32, whole))
		return -1;
	return 0;
}

/* ---- libarchive's view of the file ---- */

static la_ssize_t
cb_read(struct archive *a, void *arg, const void **p)
{
	struct lar *l = arg;
	uint64_t n = l->in->size - l->pos;

	if (n > LAR_IN)
		n = LAR_IN;
	if (ranged_read(l->in, l->buf, (size_t)n, l->pos, &l->io) == -1) {
		archive_set_error(a, EIO, "%s", l->io.msg);
		return ARCHIVE_FATAL;
	}
	l->pos += n;
	*p = l->buf;
	return (la_ssize_t)n;
}

static la_int64_t
cb_seek(struct archive *a, void *arg, la_int64_t off, int whence)
{
	struct lar *l = arg;
	int64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ?
	    (int64_t)l->pos : (int64_t)l->in->size;

	if (__builtin_add_overflow(base, off, &base) || base < 0 ||
	    (uint64_t)base > l->in->size) {
		archive_set_error(a, EINVAL, "a position outside the file");
		return ARCHIVE_FATAL;
	}
	l->pos = (uint64_t)base;
	return base;
}

static la_int64_t
cb_skip(struct archive *a, void *arg, la_int64_t n)
{
	struct lar *l = arg;

	(void)a;
	if (n < 0 || (uint64_t)n > l->in->size - l->pos)
		return 0;
	l->pos += (uint64_t)n;
	return n;
}

static int
trouble(struct lar *l, struct err *e)
{
	const char *s = archive_error_string(l->a);

	if (l->io.code != 0) {
		*e = l->io;
		return -1;
	}
	if (archive_errno(l->a) == ENOMEM)
		return err_oom(e);
	return err_set(e, CALA_INTEGRITY, "the %s is damaged: %s",
	    l->facts.format == ARCHIVE_ZIP ? "zip" : "7z",
	    str_q(s == NULL ? "unknown" : s));
}

/* ---- contents ---- */

/* The next block of data; 1, 0 at its end, -1. */
static int
block(struct lar *l, struct err *e)
{
	const void *p;
	la_int64_t off;
	int r;

	while (l->left == 0) {
		r = archive_read_data_block(l->a, &p, &l->left, &off);
		if (r == ARCHIVE_EOF) {
			l->left = 0;
			return 0;
		}
		/* a warning here is a wrong checksum */
		if (r != ARCHIVE_OK || off < 0) {
			l->left = 0;
			trouble(l, e);
			return err_ctx(e, "%s", str_q(l->path.p));
		}
		l->block = p;
		l->block_off = (uint64_t)off;
	}
	return 1;
}

static ssize_t
c_read(struct content *c, void *p, size_t n, struct err *e)
{
	struct lar *l = (struct lar *)((char *)c -
	    offsetof(struct lar, content));
	int r = block(l, e);

	if (r == -1)
		return -1;
	if (r == 0 || l->block_off > c->pos) {
		uint64_t hole = (r == 0 ? c->size : l->block_off) - c->pos;

		/* libarchive leaves zeros out; a short file is another thing */
		if (r == 0)
			return err_set(e, CALA_INTEGRITY, "%s: %ju bytes are "
			    "missing", str_q(l->path.p), (uintmax_t)hole);
		if (n > hole)
			n = (size_t)hole;
		memset(p, 0, n);
		return (ssize_t)n;
	}
	if (l->block_off < c->pos)
		return err_set(e, CALA_INTEGRITY, "%s: its data is out of "
		    "order", str_q(l->path.p));
	if (n > l->left)
		n = l->left;
	memcpy(p, l->block, n);
	l->block += n;
	l->block_off += n;
	l->left -= n;
	/* the checksum is compared behind the last byte: before it counts */
	if (c->pos + n == c->size) {
		if ((r = block(l, e)) == -1)
			return -1;
		if (r == 1)
			return err_set(e, CALA_INTEGRITY, "%s: it is longer "
			    "than it says", str_q(l->path.p));
	}
	return (ssize_t)n;
}

static int
c_skip(struct content *c, uint64_t n, struct err *e)
{
	unsigned char waste[16384];
	struct content at = *c;
	struct lar *l = (struct lar *)((char *)c -
	    offsetof(struct lar, content));
	ssize_t k;

	while (n > 0) {
		k = c_read(&l->content, waste,
		    n < sizeof(waste) ? (size_t)n : sizeof(waste), e);
		if (k == -1)
			break;
		l->content.pos += (uint64_t)k;
		n -= (uint64_t)k;
	}
	c->pos = at.pos;        /* content_skip counts */
	return n == 0 ? 0 : -1;
}

static const struct content_ops c_ops = { c_read, c_skip, NULL };

/* ---- entries ---- */

static const char *
either(const char *utf8, const char *raw)
{
	return raw != NULL ? raw : utf8;
}

static uint32_t
id(la_int64_t v)
{
	return v < 0 || v >= UINT32_MAX ? 65534 : (uint32_t)v;
}

/* 1 l->entry is set; 0 skipped, said in the log. */
static int
convert(struct lar *l, struct archive_entry *ae)
{
	const char *name = either(archive_entry_pathname_utf8(ae),
	    archive_entry_pathname(ae));
	struct entry *en = &l->entry;
	const char *why, *to;
	mode_t type = archive_entry_filetype(ae);

	memset(en, 0, sizeof(*en));
	/* counted whether it can be used or not: the end marks count it, too */
	if (type == AE_IFREG || type == 0)
		en->size = archive_entry_size(ae) < 0 ? 0 :
		    (uint64_t)archive_entry_size(ae);
	if (name == NULL) {
		log_warn(l->log, "an entry was skipped: its name is not the "
		    "UTF-8 that the archive calls it");
		return 0;
	}
	/* Windows names of 7z would be one odd component; keep them so */
	if (entry_path(&l->path, name, strlen(name), &why) == -1) {
		log_warn(l->log, "%s: skipped; %s", str_q(name), why);
		return 0;
	}
	en->path = l->path.p;
	switch (type) {
	case AE_IFDIR: en->type = ENTRY_DIR; break;
	case AE_IFLNK: en->type = ENTRY_SYMLINK; break;
	case AE_IFREG: case 0: en->type = ENTRY_FILE; break;
	case AE_IFIFO: en->type = ENTRY_FIFO; break;
	default:
		log_warn(l->log, "%s: skipped; its type is not supported",
		    str_q(name));
		return 0;
	}
	if (l->path.len == 0 && en->type != ENTRY_DIR) {
		log_warn(l->log, "an entry without a name was skipped");
		return 0;
	}
	if (en->type == ENTRY_SYMLINK) {
		to = either(archive_entry_symlink_utf8(ae),
		    archive_entry_symlink(ae));
		buf_reset(&l->target);
		if (to == NULL || *to == '\0' ||
		    buf_str(&l->target, to) == -1) {
			log_warn(l->log, "%s: skipped; its link target is "
			    "unusable", str_q(name));
			return 0;
		}
		en->target = l->target.p;
	}
	if (archive_entry_is_encrypted(ae) && en->type == ENTRY_FILE) {
		log_warn(l->log, "%s: skipped; it is encrypted", str_q(name));
		return 0;
	}
	en->mode = (uint32_t)(archive_entry_perm(ae) & 07777);
	if (en->mode == 0)
		en->mode = en->type == ENTRY_DIR ? 0755 : 0644;
	en->mtime.tv_sec = archive_entry_mtime(ae);
	en->mtime.tv_nsec = archive_entry_mtime_nsec(ae);
	en->uid = id(archive_entry_uid(ae));
	en->gid = id(archive_entry_gid(ae));
	en->unowned = l->facts.format == ARCHIVE_7Z;
	en->uname = en->gname = "";
	return 1;
}

static int
tally(struct lar *l, struct err *e)
{
	const struct archive_read *m = &l->limits;

	l->entries++;
	l->files += l->entry.type != ENTRY_DIR;
	if (m->max_entries != 0 && l->entries > m->max_entries)
		return err_set(e, CALA_INTEGRITY, "the archive holds more "
		    "than %ju entries", (uintmax_t)m->max_entries);
	if (!u64_add(l->size, l->entry.size, &l->size) ||
	    (m->max_size != 0 && l->size > m->max_size))
		return err_set(e, CALA_INTEGRITY, "the archive holds more "
		    "than %ju bytes of contents", (uintmax_t)m->max_size);
	return 0;
}

static int
finish(struct lar *l, struct err *e)
{
	struct archive_facts *f = &l->facts;

	l->done = true;
	if (f->cala && (f->entries != l->entries || f->size != l->size)) {
		f->proof = PROOF_WRONG;
		return err_set(e, CALA_INTEGRITY, "the end mark says %ju "
		    "entries, %ju bytes; found were %ju, %ju",
		    (uintmax_t)f->entries, (uintmax_t)f->size,
		    (uintmax_t)l->entries, (uintmax_t)l->size);
	}
	/* Two entries that share one place in the file come as one, too. */
	if (f->format == ARCHIVE_ZIP && l->announced != (l->wide ? l->entries :
	    l->entries & 0xffff)) {
		f->proof = PROOF_WRONG;
		return err_set(e, CALA_INTEGRITY, "the zip announces %ju "
		    "entries; found were %ju", (uintmax_t)l->announced,
		    (uintmax_t)l->entries);
	}
	f->counted = true;
	f->entries = l->entries;
	f->files = l->files;
	f->size = l->size;
	return 0;
}

static int
next(struct lar *l, const struct entry **en, struct content **c,
    struct err *e)
{
	struct archive_entry *ae;
	int got;

	if (l->failed) {
		*e = l->err;
		return -1;
	}
	if (l->done)
		return 0;
	for (;;) {
		l->left = 0;
		got = archive_read_next_header(l->a, &ae);
		if (got == ARCHIVE_EOF) {
			if (finish(l, e) == 0)
				return 0;
			break;
		}
		/* ARCHIVE_WARN: a name that the locale can't hold; ours can */
		if (got != ARCHIVE_OK && got != ARCHIVE_WARN) {
			trouble(l, e);
			break;
		}
		got = convert(l, ae);
		if (tally(l, e) == -1)
			break;
		if (got == 0)
			continue;
		*en = &l->entry;
		if (l->entry.type == ENTRY_FILE) {
			l->content.ops = &c_ops;
			l->content.size = l->entry.size;
			l->content.pos = 0;
			*c = &l->content;
		}
		return 1;
	}
	l->failed = true;
	l->err = *e;
	return -1;
}

static int
l_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	struct lar *l = (struct lar *)r;
	locale_t was = uselocale(l->utf8);
	int got = next(l, en, c, e);

	uselocale(was);
	return got;
}

static void
l_close(struct reader *r)
{
	struct lar *l = (struct lar *)r;

	if (l->a != NULL)
		archive_read_free(l->a);
	if (l->own)
		ranged_close(l->in);
	if (l->utf8 != (locale_t)0)
		freelocale(l->utf8);
	buf_fini(&l->path);
	buf_fini(&l->target);
	free(l);
}

/* The ends of the file, before libarchive looks at it. */
static int
ends(struct lar *l, bool zip, struct err *e)
{
	uint64_t size = l->in->size, whole;
	size_t n = size < ZIP_TAIL ? (size_t)size : ZIP_TAIL;
	unsigned char *tail;
	struct zip_end z;
	int ret = -1;

	if ((tail = malloc(n < 32 ? 32 : n)) == NULL)
		return err_oom(e);
	if (zip) {
		if (ranged_read(l->in, tail, n, size - n, e) == -1)
			goto out;
		if (zip_end(tail, n, size, &z) != 0)
			err_set(e, CALA_INCOMPLETE, "the zip is cut short: its "
			    "end record is missing");
		else if (zip_facts(&z, &l->facts) == -1)
			err_set(e, CALA_INTEGRITY, "%s", l->facts.why);
		else {
			l->announced = z.entries;
			l->wide = z.wide;
			ret = 0;
		}
	} else if (size < 32)
		err_set(e, CALA_INCOMPLETE, "the 7z is cut short");
	else if (ranged_read(l->in, tail, 32, 0, e) == -1)
		goto out;
	else if (sevenz_end(tail, &whole) == -1)
		err_set(e, CALA_INTEGRITY, "the 7z is damaged: its first "
		    "header fails its checksum");
	else if (whole > size)
		err_set(e, CALA_INCOMPLETE, "the 7z is cut short: %ju of %ju "
		    "bytes", (uintmax_t)size, (uintmax_t)whole);
	else {
		l->facts.proof = PROOF_FOREIGN;
		ret = 0;
	}
out:
	free(tail);
	return ret;
}

struct reader *
lar_reader(struct ranged *in, bool own, bool zip,
    const struct archive_read *limits, struct log *log, struct err *e)
{
	static const struct reader_ops ops = { l_next, l_close };
	struct lar *l = calloc(1, sizeof(*l));

	if (l == NULL) {
		if (own)
			ranged_close(in);
		err_oom(e);
		return NULL;
	}
	l->r.ops = &ops;
	l->in = in;
	l->own = own;
	l->limits = *limits;
	l->log = log;
	l->facts.known = true;
	l->facts.format = zip ? ARCHIVE_ZIP : ARCHIVE_7Z;
	buf_init(&l->path, ENTRY_PATH_MAX);
	buf_init(&l->target, ENTRY_PATH_MAX);
	if (ends(l, zip, e) == -1)
		goto fail;
	l->utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	if (l->utf8 == (locale_t)0) {
		err_set(e, CALA_FAIL, "this system lacks the locale C.UTF-8, "
		    "without which names in zip and 7z can't be read");
		goto fail;
	}
	if ((l->a = archive_read_new()) == NULL) {
		err_oom(e);
		goto fail;
	}
	if (zip)
		archive_read_support_format_zip_seekable(l->a);
	else
		archive_read_support_format_7zip(l->a);
	archive_read_set_read_callback(l->a, cb_read);
	archive_read_set_seek_callback(l->a, cb_seek);
	archive_read_set_skip_callback(l->a, cb_skip);
	archive_read_set_callback_data(l->a, l);
	if (archive_read_open1(l->a) != ARCHIVE_OK) {
		trouble(l, e);
		goto fail;
	}
	return &l->r;
fail:
	l_close(&l->r);
	return NULL;
}

void
lar_facts(struct reader *r, struct archive_facts *f)
{
	struct lar *l = (struct lar *)r;

	*f = l->facts;
	if (l->done && !l->failed)
		return;
	if (l->failed) {
		f->proof = l->err.code == CALA_INTEGRITY ? PROOF_WRONG :
		    PROOF_NONE;
		f->why = l->err.msg;
	}
}
