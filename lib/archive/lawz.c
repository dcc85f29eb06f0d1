/*
 * lawz: zip and 7z as entry writers, over libarchive.
 *
 * What these formats can't hold is said once a kind, with a count and the first
 * path.
 */

#include "archive/law.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/str.h"

enum { EOCD = 22, PIECE = 256 * 1024, MIB = 1 << 20 };

enum loss { LINKS, SPECIAL, XATTRS, NAMES, HOLES, OWNERS, LOSSES };

static const struct {
	const char *what;
	bool counts;            /* a warning; else said at -v */
} losses[LOSSES] = {
	[LINKS] = { "hard links (left out)", true },
	[SPECIAL] = { "devices and fifos (left out)", true },
	[XATTRS] = { "extended attributes and ACLs (files are there)", true },
	[NAMES] = { "names that are not UTF-8 (stored with %XX)", true },
	[HOLES] = { "holes (filled with zero bytes)", false },
	[OWNERS] = { "owners", false }
};

struct lawz {
	struct writer w;
	struct sink *out;
	struct log *log;
	struct archive *a;
	struct archive_entry *ae;
	struct archive_sum *sum;
	bool zip, mark;
	struct archive_write how;
	/*
	 * libarchive marks a zip's name as UTF-8, or turns a 7z's into UTF-16,
	 * by the locale.  Names that are no UTF-8 go into a zip as bytes, in
	 * the other one: a false mark makes them unreadable.
	 */
	locale_t utf8, bytes;
	uint64_t lost[LOSSES];
	char *first[LOSSES];
	struct buf name;
	struct err *e;          /* of the call we are in */
	unsigned char tail[EOCD];
	size_t ntail;
	unsigned char piece[PIECE];
};

static int
law_err(struct lawz *z, struct err *e)
{
	const char *s = archive_error_string(z->a);
	int sys = archive_errno(z->a);

	if (e->code != 0)
		return -1;
	if (s == NULL)
		s = "unknown error";
	if (sys != ENOSPC && sys != EDQUOT && sys != EFBIG)
		return err_set(e, CALA_FAIL, "libarchive: %s", s);
	/* Of a 7z only its end knows its beginning. */
	errno = sys;
	err_sys(e, "libarchive: %s", s);
	return z->zip ? -1 : err_hint(e, "a 7z is kept whole in TMPDIR until "
	    "it is written");
}

/*
 * For zip the last 22 bytes wait: they are the end record, which is to get
 * our comment.
 */
static la_ssize_t
on_write(struct archive *a, void *arg, const void *v, size_t n)
{
	struct lawz *z = arg;
	const unsigned char *p = v;
	size_t hold = z->zip && z->mark ? EOCD : 0, all, pass, old;
	int ret = 0;

	if (z->e == NULL) {
		archive_set_error(a, -1, "aborted");
		return -1;
	}
	all = z->ntail + n;
	pass = all > hold ? all - hold : 0;
	old = pass < z->ntail ? pass : z->ntail;
	if (old > 0) {
		ret = sink_write(z->out, z->tail, old, z->e);
		memmove(z->tail, z->tail + old, z->ntail - old);
		z->ntail -= old;
	}
	pass -= old;
	if (ret == 0 && pass > 0)
		ret = sink_write(z->out, p, pass, z->e);
	memcpy(z->tail + z->ntail, p + pass, n - pass);
	z->ntail += n - pass;
	if (ret == -1)
		archive_set_error(a, -1, "write failed");
	return ret == -1 ? -1 : (la_ssize_t)n;
}

static void
lose(struct lawz *z, enum loss what, const struct entry *en)
{
	if (z->lost[what]++ == 0)
		z->first[what] = strdup(en->path);
}

/* The mark of a zip's name speaks for a link's target, too. */
static bool
text(const struct entry *en)
{
	return str_utf8(en->path, strlen(en->path)) &&
	    (en->target == NULL || str_utf8(en->target, strlen(en->target)));
}

/* 7z names are UTF-16: bytes that are no text are spelled out. */
static const char *
text_name(struct lawz *z, const struct entry *en)
{
	const char *s;

	buf_reset(&z->name);
	buf_str(&z->name, en->path[0] == '\0' ? "." : en->path);
	if (z->zip || str_utf8(z->name.p, z->name.len))
		return z->name.p;
	lose(z, NAMES, en);
	buf_reset(&z->name);
	for (s = en->path; *s != '\0'; s++)
		if ((*s & 0x80) != 0)
			buf_printf(&z->name, "%%%02X", (unsigned char)*s);
		else
			buf_chr(&z->name, *s);
	return z->name.p;
}

static int
describe(struct lawz *z, const struct entry *en)
{
	struct archive_entry *ae = archive_entry_clear(z->ae);
	mode_t type = S_IFREG;

	switch (en->type) {
	case ENTRY_FILE:
		archive_entry_set_size(ae, (la_int64_t)en->size);
		if (en->sparse && en->nextents != 1)
			lose(z, HOLES, en);
		break;
	case ENTRY_DIR:
		type = S_IFDIR;
		break;
	case ENTRY_SYMLINK:
		type = S_IFLNK;
		archive_entry_copy_symlink(ae, en->target);
		break;
	case ENTRY_HARDLINK:
		lose(z, LINKS, en);
		return 0;
	case ENTRY_SOCKET:
		return 0;
	default:
		lose(z, SPECIAL, en);
		return 0;
	}
	archive_entry_copy_pathname(ae, text_name(z, en));
	archive_entry_set_mode(ae, type | (en->mode & 07777));
	archive_entry_set_mtime(ae, en->mtime.tv_sec, en->mtime.tv_nsec);
	archive_entry_set_uid(ae, en->uid);
	archive_entry_set_gid(ae, en->gid);
	if (en->nxattrs > 0)
		lose(z, XATTRS, en);
	if (!z->zip && (en->uid != 0 || en->gid != 0))
		lose(z, OWNERS, en);
	return 1;
}

static int
copy(struct lawz *z, const struct entry *en, struct content *c,
    struct err *e)
{
	uint64_t left = en->size;
	ssize_t k;

	while (left > 0) {
		if (stop_check(e) == -1 ||
		    (k = content_read(c, z->piece, PIECE, e)) == -1)
			return -1;
		if (k == 0)
			return err_set(e, CALA_FAIL,
			    "%s: ended %ju bytes before its size",
			    str_q(en->path), (uintmax_t)left);
		if (archive_write_data(z->a, z->piece, (size_t)k) != k)
			return law_err(z, e);
		left -= (uint64_t)k;
	}
	return 0;
}

static int
lawz_put(struct writer *w, const struct entry *en, struct content *c,
    struct err *e)
{
	struct lawz *z = (struct lawz *)w;
	locale_t was;
	int ret = 0, r;

	if (!describe(z, en))
		return 0;
	if (z->name.failed)
		return buf_failed(&z->name, e);
	was = uselocale(text(en) ? z->utf8 : z->bytes);
	z->e = e;
	r = archive_write_header(z->a, z->ae);
	if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
		ret = law_err(z, e);
	else if (en->type == ENTRY_FILE && en->size > 0 && c != NULL)
		ret = copy(z, en, c, e);
	z->e = NULL;
	uselocale(was);
	if (ret == -1)
		return err_ctx(e, "%s", str_q(en->path));
	z->sum->entries++;
	z->sum->files += en->type != ENTRY_DIR;
	z->sum->size += en->size;
	return 0;
}

static void
tell_losses(struct lawz *z)
{
	const char *fmt = z->zip ? "zip" : "7z";
	int i;

	for (i = 0; i < LOSSES; i++) {
		if (z->lost[i] == 0)
			continue;
		if (losses[i].counts)
			log_warn(z->log, "%s can't hold %s: %ju, first: %s",
			    fmt, losses[i].what, (uintmax_t)z->lost[i],
			    str_q(z->first[i] != NULL ? z->first[i] : "?"));
		else
			log_step(z->log, "%s can't hold %s: %ju", fmt,
			    losses[i].what, (uintmax_t)z->lost[i]);
	}
}

/* The end record with our comment behind (APPNOTE 4.3.16). */
static int
comment(struct lawz *z, struct err *e)
{
	char text[160];
	int n;

	if (z->ntail != EOCD || get_le32(z->tail) != 0x06054b50)
		return err_set(e, CALA_FAIL, "zip: no end record");
	n = snprintf(text, sizeof(text),
	    "cala-pack 1 entries=%ju files=%ju size=%ju warnings=%ju",
	    (uintmax_t)z->sum->entries, (uintmax_t)z->sum->files,
	    (uintmax_t)z->sum->size, (uintmax_t)log_warnings(z->log));
	put_le16(z->tail + 20, (uint16_t)n);
	if (sink_write(z->out, z->tail, EOCD, e) == -1)
		return -1;
	return sink_write(z->out, text, (size_t)n, e);
}

static int
lawz_commit(struct writer *w, struct err *e)
{
	struct lawz *z = (struct lawz *)w;
	locale_t was;
	int ret = 0;

	tell_losses(z);
	if (archive_strict(&z->how, z->log, e) == -1)
		return -1;
	was = uselocale(z->utf8);
	z->e = e;
	if (archive_write_close(z->a) != ARCHIVE_OK)
		ret = law_err(z, e);
	z->e = NULL;
	uselocale(was);
	if (ret == -1)
		return -1;
	if (z->zip && z->mark && comment(z, e) == -1)
		return -1;
	return sink_commit(z->out, e);
}

static void
lawz_abort(struct writer *w)
{
	struct lawz *z = (struct lawz *)w;
	int i;

	if (z->a != NULL) {
		if (!w->committed)
			archive_write_fail(z->a);
		archive_write_free(z->a);
	}
	archive_entry_free(z->ae);
	if (z->utf8 != (locale_t)0)
		freelocale(z->utf8);
	if (z->bytes != (locale_t)0)
		freelocale(z->bytes);
	for (i = 0; i < LOSSES; i++)
		free(z->first[i]);
	buf_fini(&z->name);
	free(z);
}

uint64_t
law_memory(const struct archive_write *how, int level)
{
	static const unsigned short lzma[] = { 3, 9, 17, 32, 48, 94, 94, 186,
	    370, 674 };

	return (24 + (how->format == ARCHIVE_7Z ? (uint64_t)lzma[level] :
	    0)) * MIB;
}

static int
set_up(struct lawz *z, int level, struct err *e)
{
	char text[8];

	snprintf(text, sizeof(text), "%d", level);
	if ((z->zip ? archive_write_set_format_zip(z->a) :
	    archive_write_set_format_7zip(z->a)) != ARCHIVE_OK ||
	    archive_write_set_format_option(z->a, NULL, "compression",
	    z->zip ? "deflate" : "lzma2") != ARCHIVE_OK ||
	    archive_write_set_format_option(z->a, NULL, "compression-level",
	    text) != ARCHIVE_OK ||
	    archive_write_set_bytes_per_block(z->a, 0) != ARCHIVE_OK ||
	    archive_write_open(z->a, z, NULL, on_write, NULL) != ARCHIVE_OK)
		return law_err(z, e);
	return 0;
}

struct writer *
law_writer(struct sink *out, const struct archive_write *how, int level,
    struct archive_sum *sum, struct log *log, struct err *e)
{
	static const struct writer_ops ops =
	    { lawz_put, NULL, NULL, lawz_commit, lawz_abort };
	struct lawz *z;

	if (how->memory != 0 && how->memory < law_memory(how, level)) {
		err_set(e, CALA_USAGE, "%ju MiB of memory are too few: %s at "
		    "level %d needs %ju MiB",
		    (uintmax_t)(how->memory / MIB),
		    archive_info[how->format].ext, level,
		    (uintmax_t)(law_memory(how, level) / MIB));
		return NULL;
	}
	if ((z = calloc(1, sizeof(*z))) == NULL) {
		err_oom(e);
		return NULL;
	}
	buf_init(&z->name, 4 * ENTRY_PATH_MAX);
	z->w.ops = &ops;
	z->out = out;
	z->log = log;
	z->sum = sum;
	z->how = *how;
	z->zip = how->format == ARCHIVE_ZIP;
	z->mark = !how->foreign;
	z->utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	z->bytes = newlocale(LC_CTYPE_MASK, "C", (locale_t)0);
	z->a = archive_write_new();
	z->ae = archive_entry_new();
	z->e = e;
	if (z->utf8 == (locale_t)0 || z->bytes == (locale_t)0)
		err_set(e, CALA_FAIL, "this system lacks the locale C.UTF-8, "
		    "without which names in zip and 7z can't be written");
	else if (z->a == NULL || z->ae == NULL)
		err_oom(e);
	else if (set_up(z, level, e) == 0) {
		z->e = NULL;
		return &z->w;
	}
	lawz_abort(&z->w);
	return NULL;
}
