/*
 * Any archive as a reader: what it is follows from its first bytes, never from
 * a name.
 */

#include "archive/archive.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/lar.h"
#include "archive/reader.h"
#include "archive/source.h"
#include "archive/tarr.h"
#include "base/err.h"
#include "base/file.h"
#include "base/io.h"
#include "base/log.h"
#include "base/pool.h"

enum { HEAD = TAR_BLOCK };

static const uint64_t spool_default = 64ull << 30;

struct any {
	struct reader r;
	struct reader *inner;
	struct source *whole;           /* head and the rest of in, or NULL */
	struct source *plain;           /* unwrapped, or NULL */
	struct source *own;             /* over a ranged, or NULL */
	struct ranged *spool;
	enum archive_format format;
	bool zip;                       /* or 7z: inner is lar */
};

enum archive_sniff
archive_sniff(const unsigned char *p, size_t n, enum archive_format *f)
{
	static const enum archive_format of[] = { ARCHIVE_TAR, ARCHIVE_TAR_GZ,
	    ARCHIVE_TAR_XZ, ARCHIVE_TAR_LZ, ARCHIVE_TAR_BZ2, ARCHIVE_TAR_LZ4,
	    ARCHIVE_TAR_ZST };
	enum wrap w = wrap_sniff(p, n);

	*f = of[w];
	if (w != WRAP_NONE)
		return SNIFF_WRAPPED;
	if (n >= 4 && (memcmp(p, "PK\3\4", 4) == 0 ||
	    memcmp(p, "PK\5\6", 4) == 0)) {
		*f = ARCHIVE_ZIP;
		return SNIFF_ZIP;
	}
	if (n >= 6 && memcmp(p, "7z\xbc\xaf\x27\x1c", 6) == 0) {
		*f = ARCHIVE_7Z;
		return SNIFF_7Z;
	}
	if (n >= TAR_BLOCK && (tarr_zero(p, TAR_BLOCK) || tarr_header(p)))
		return SNIFF_TAR;
	return n == 0 ? SNIFF_EMPTY : SNIFF_UNKNOWN;
}

static int
any_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	struct any *a = (struct any *)r;

	return a->inner->ops->next(a->inner, en, c, e);
}

static void
any_close(struct reader *r)
{
	struct any *a = (struct any *)r;

	reader_close(a->inner);
	source_close(a->plain);
	source_close(a->whole);
	source_close(a->own);
	ranged_close(a->spool);
	free(a);
}

/* A file without a name that takes what comes from in, at most max bytes. */
static struct ranged *
spool(struct source *in, const struct archive_read *how, struct log *log,
    struct err *e)
{
	enum { N = 256 << 10 };
	const char *dir = how->spool_dir != NULL ? how->spool_dir : "/var/tmp";
	uint64_t max = how->spool != 0 ? how->spool : spool_default;
	struct ranged *r = NULL;
	char *p = malloc(N);
	ssize_t k;
	int fd;

	log_step(log, "this format needs its end first: spooled through a "
	    "file in %s", dir);
	if ((fd = file_nameless(AT_FDCWD, dir, e)) == -1)
		goto out;
	if (p == NULL) {
		err_oom(e);
		goto out;
	}
	while ((k = source_read(in, p, N, e)) > 0) {
		if (in->pos > max) {
			err_set(e, CALA_NOSPACE, "the archive is larger than "
			    "the %ju bytes that may be spooled",
			    (uintmax_t)max);
			goto out;
		}
		if (file_write_all(fd, p, (size_t)k) == -1) {
			err_sys(e, "spool file in %s", dir);
			goto out;
		}
	}
	if (k == 0) {
		r = ranged_fd(fd, true, "spool file", e);
		fd = -1;
	}
out:
	if (fd != -1)
		close(fd);
	free(p);
	return r;
}

static int
not_ours(enum archive_sniff s, struct err *e)
{
	if (s == SNIFF_EMPTY)
		return err_set(e, CALA_INCOMPLETE,
		    "the archive is empty: not a single byte came");
	return err_set(e, CALA_INTEGRITY, "this is no archive of a kind that "
	    "cala knows");
}

static struct any *
any_new(struct err *e)
{
	static const struct reader_ops ops = { any_next, any_close };
	struct any *a = calloc(1, sizeof(*a));

	if (a == NULL) {
		err_oom(e);
		return NULL;
	}
	a->r.ops = &ops;
	return a;
}

static unsigned
jobs(const struct archive_read *how)
{
	return how->jobs != 0 ? how->jobs : pool_cores();
}

struct reader *
archive_reader(struct source *in, const struct archive_read *how,
    struct log *log, struct err *e)
{
	unsigned char head[HEAD];
	struct any *a = any_new(e);
	enum archive_sniff what;
	ssize_t n;

	if (a == NULL)
		return NULL;
	if ((n = source_full(in, head, HEAD, e)) == -1)
		goto fail;
	what = archive_sniff(head, (size_t)n, &a->format);
	if (what == SNIFF_EMPTY || what == SNIFF_UNKNOWN) {
		not_ours(what, e);
		goto fail;
	}
	if ((a->whole = source_after(head, (size_t)n, in, e)) == NULL)
		goto fail;
	switch (what) {
	case SNIFF_WRAPPED:
		a->plain = source_unwrap(wrap_sniff(head, (size_t)n), a->whole,
		    jobs(how), how->memory, log, e);
		if (a->plain != NULL)
			a->inner = tarr_reader(a->plain, false, NULL, how, log,
			    e);
		break;
	case SNIFF_ZIP:
	case SNIFF_7Z:
		a->zip = true;
		if ((a->spool = spool(a->whole, how, log, e)) != NULL)
			a->inner = lar_reader(a->spool, false,
			    what == SNIFF_ZIP, how, log, e);
		break;
	default:
		a->inner = tarr_reader(a->whole, false, NULL, how, log, e);
		break;
	}
	if (a->inner == NULL)
		goto fail;
	a->r.can = a->inner->can;
	return &a->r;
fail:
	any_close(&a->r);
	return NULL;
}

/* ---- a tar that lies in a file: contents are stepped over ---- */

struct file {
	struct source s;
	struct ranged *r;
	uint64_t pos;
};

static ssize_t
f_read(struct source *s, void *p, size_t n, struct err *e)
{
	struct file *f = (struct file *)s;

	if (n > f->r->size - f->pos)
		n = (size_t)(f->r->size - f->pos);
	if (n == 0)
		return 0;
	if (ranged_read(f->r, p, n, f->pos, e) == -1)
		return -1;
	f->pos += n;
	return (ssize_t)n;
}

static void
f_close(struct source *s)
{
	free(s);
}

static int
f_seek(struct source *s, uint64_t off, struct err *e)
{
	struct file *f = (struct file *)s;

	if (off > f->r->size)
		return err_set(e, CALA_INCOMPLETE, "the archive is cut short: "
		    "it ends at byte %ju, in the middle of an entry",
		    (uintmax_t)f->r->size);
	f->pos = off;
	return 0;
}

static struct reader *
tar_in_file(struct ranged *r, const struct archive_read *how, struct log *log,
    struct err *e)
{
	static const struct source_ops ops = { f_read, f_close };
	struct file *f = calloc(1, sizeof(*f));

	if (f == NULL) {
		err_oom(e);
		return NULL;
	}
	f->s.ops = &ops;
	f->r = r;
	return tarr_reader(&f->s, true, f_seek, how, log, e);
}

struct reader *
archive_reader_at(struct ranged *r, const struct archive_read *how,
    struct log *log, struct err *e)
{
	unsigned char head[HEAD];
	size_t n = r->size < HEAD ? (size_t)r->size : HEAD;
	enum archive_sniff what;
	struct reader *rd;
	struct source *in;
	struct any *a;

	if (ranged_read(r, head, n, 0, e) == -1)
		return NULL;
	what = archive_sniff(head, n, &(enum archive_format){ 0 });
	if (what != SNIFF_ZIP && what != SNIFF_7Z && what != SNIFF_TAR) {
		if ((in = ranged_source(r, 0, r->size, e)) == NULL)
			return NULL;
		if ((rd = archive_reader(in, how, log, e)) == NULL)
			source_close(in);
		else
			((struct any *)rd)->own = in;
		return rd;
	}
	if ((a = any_new(e)) == NULL)
		return NULL;
	a->zip = what != SNIFF_TAR;
	a->format = what == SNIFF_TAR ? ARCHIVE_TAR : what == SNIFF_ZIP ?
	    ARCHIVE_ZIP : ARCHIVE_7Z;
	a->inner = what == SNIFF_TAR ? tar_in_file(r, how, log, e) :
	    lar_reader(r, false, what == SNIFF_ZIP, how, log, e);
	if (a->inner == NULL) {
		any_close(&a->r);
		return NULL;
	}
	a->r.can = a->inner->can;
	return &a->r;
}

void
archive_reader_facts(struct reader *r, struct archive_facts *f)
{
	struct any *a = (struct any *)r;

	memset(f, 0, sizeof(*f));
	if (a->zip)
		lar_facts(a->inner, f);
	else
		tarr_facts(a->inner, f);
	f->format = a->format;
}
