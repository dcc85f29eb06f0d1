/*
 * The tar reader proper: blocks, headers, and what belongs to one entry.
 * Damage ends the stream with an error that names the offset; trouble with one
 * entry is a warning and the next entry.
 */

#include "archive/tarr_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"

/* ---- headers ---- */

static int
damaged(struct tarr *t, uint64_t at, const char *what, struct err *e)
{
	t->wrong = true;
	return err_set(e, CALA_INTEGRITY, "the archive is damaged: %s at byte "
	    "%ju", what, (uintmax_t)at);
}

/* A text field without its NULs; the buffers hold at least that much. */
static void
field(struct buf *b, const unsigned char *p, size_t n)
{
	buf_reset(b);
	buf_add(b, p, strnlen((const char *)p, n));
}

/* Is there more of the archive right behind us, or its end?  1, 0, -1. */
static int
at_header(struct tarr *t, struct err *e)
{
	size_t have = t->end - t->at;
	ssize_t k;

	if (have < TAR_BLOCK) {
		memmove(t->buf, t->buf + t->at, have);
		t->at = 0;
		t->end = have;
		k = source_full(t->in, t->buf + have, TAR_BLOCK - have, e);
		if (k == -1)
			return -1;
		t->end += (size_t)k;
		if (t->end < TAR_BLOCK)
			return 0;
	}
	return tarr_zero(t->buf + t->at, TAR_BLOCK) ||
	    tarr_header(t->buf + t->at);
}

static void
raw_name(struct tarr *t, const unsigned char *h)
{
	const struct pax *p = &t->pax;
	bool star = memcmp(h + 508, "tar", 4) == 0;
	const struct buf *long_one = (p->have & PAX_NAME) != 0 ? p->name :
	    (p->have & PAX_PATH) != 0 ? p->path :
	    t->have_name ? &t->longname : NULL;

	buf_reset(&t->raw);
	if (long_one != NULL) {
		buf_add(&t->raw, long_one->p, long_one->len);
		return;
	}
	/* GNU keeps other things where ustar has the prefix */
	if (memcmp(h + 257, "ustar", 6) == 0 && h[345] != '\0') {
		buf_add(&t->raw, h + 345,
		    strnlen((const char *)h + 345, star ? 131 : 155));
		buf_chr(&t->raw, '/');
	}
	buf_add(&t->raw, h, strnlen((const char *)h, 100));
}

static uint32_t
owner(struct tarr *t, const unsigned char *p, unsigned bit, uint64_t pax,
    uint64_t global)
{
	int64_t v = -1;

	if ((t->pax.have & bit) != 0)
		v = (int64_t)pax;
	else if ((t->global.have & bit) != 0)
		v = (int64_t)global;
	else if (tarr_number(p, 8, &v) == -1)
		v = -1;
	if (v >= 0 && v < UINT32_MAX)
		return (uint32_t)v;
	log_warn(t->log, "%s: its owner has no possible id; taken as %d",
	    str_q(t->path.p), NOBODY);
	return NOBODY;
}

/*
 * Did the writer leave the owner out?  Wings' tars have NUL bytes in both
 * fields, where every other program writes digits.
 */
static bool
unowned(const struct tarr *t, const unsigned char *h)
{
	static const unsigned char none[16];

	return memcmp(h + 108, none, 16) == 0 &&
	    ((t->pax.have | t->global.have) & (PAX_UID | PAX_GID)) == 0;
}

static const char *
owner_name(struct tarr *t, struct buf *b, const unsigned char *h, size_t at,
    unsigned bit, const struct buf *pax, const struct buf *global)
{
	const struct buf *from = (t->pax.have & bit) != 0 ? pax :
	    (t->global.have & bit) != 0 ? global : NULL;

	if (from != NULL) {
		buf_reset(b);
		buf_add(b, from->p, strlen(from->p));
	} else if (memcmp(h + 257, "ustar", 5) == 0)
		field(b, h + at, 32);
	else
		buf_reset(b);   /* v7 has no names */
	return b->p;
}

static void
device(struct tarr *t, const unsigned char *h)
{
	int64_t ma = 0, mi = 0;

	if (tarr_number(h + 329, 8, &ma) == -1 || ma < 0 || ma > UINT32_MAX ||
	    tarr_number(h + 337, 8, &mi) == -1 || mi < 0 || mi > UINT32_MAX) {
		log_warn(t->log, "%s: its device number is malformed",
		    str_q(t->path.p));
		ma = mi = 0;
	}
	if ((t->pax.have & PAX_MAJOR) != 0)
		ma = (int64_t)t->pax.major;
	if ((t->pax.have & PAX_MINOR) != 0)
		mi = (int64_t)t->pax.minor;
	t->entry.rdev_major = (uint32_t)ma;
	t->entry.rdev_minor = (uint32_t)mi;
}

/*
 * Programs in Go (Kopia) may write an os.FileMode where an octal mode belongs:
 * its type and setuid bits are so high that the field becomes base-256.
 */
static uint32_t
permissions(const unsigned char *h, enum entry_type type)
{
	uint64_t octal;
	int64_t go;

	if (tarr_octal(h + 100, 8, &octal) == 0)
		return (uint32_t)(octal & 07777);
	if ((h[100] & 0x80) == 0 || tarr_number(h + 100, 8, &go) == -1 ||
	    go < 0 || go > UINT32_MAX)
		return type == ENTRY_DIR ? 0755 : 0644;
	return (uint32_t)(go & 0777) | ((go >> 23 & 1) != 0 ? 04000 : 0) |
	    ((go >> 22 & 1) != 0 ? 02000 : 0) |
	    ((go >> 20 & 1) != 0 ? 01000 : 0);
}

/* Where a link leads.  0 when the entry can't be used. */
static int
link_target(struct tarr *t, const unsigned char *h)
{
	const struct buf *from = (t->pax.have & PAX_LINK) != 0 ? t->pax.link :
	    t->have_link ? &t->longlink : NULL;
	const char *why = NULL, *p;
	size_t n;

	p = from != NULL ? from->p : (const char *)h + 157;
	n = from != NULL ? from->len : strnlen(p, 100);
	if (t->entry.type == ENTRY_HARDLINK) {
		if (entry_path(&t->target, p, n, &why) == 0 &&
		    t->target.len == 0)
			why = "it names nothing";
	} else {
		buf_reset(&t->target);
		if (n == 0)
			why = "it is empty";
		else if (n >= ENTRY_PATH_MAX)
			why = "it is too long";
		else if (memchr(p, '\0', n) != NULL)
			why = "it holds a NUL byte";
		else
			buf_add(&t->target, p, n);
	}
	if (why != NULL) {
		log_warn(t->log, "%s: skipped; its link target is unusable: %s",
		    str_q(t->path.p), why);
		return 0;
	}
	t->entry.target = t->target.p;
	return 1;
}

static void
xattrs(struct tarr *t)
{
	const struct pax *p = &t->pax;
	size_t i;

	for (i = 0; i < p->nx; i++) {
		t->xattrs[i].name = p->bytes->p + p->x[i].name;
		t->xattrs[i].value = p->bytes->p + p->x[i].value;
		t->xattrs[i].len = p->x[i].len;
	}
	t->entry.xattrs = t->xattrs;
	t->entry.nxattrs = p->nx;
}

/* 1, 0 when the map is bad (said), -1 with err. */
static int
holes(struct tarr *t, const unsigned char *h, struct err *e)
{
	int64_t real = -1;
	int r = 0;

	if (t->where.flag == 'S') {
		if (tarr_number(h + 483, 12, &real) == -1)
			real = -1;
		t->pax.next = 0;
		r = tarr_map_old(t, h, e);
		t->where.data = t->pos;
	} else {
		if ((t->pax.have & PAX_REAL) != 0)
			real = (int64_t)t->pax.real;
		if (t->pax.sparse == 2) {
			t->pax.next = 0;
			r = tarr_map_data(t, e);
		}
	}
	if (r == -1)
		return -1;
	if (r == 1 || real < 0 || !tarr_map_good(t, (uint64_t)real)) {
		log_warn(t->log, "%s: skipped; its map of holes makes no sense",
		    str_q(t->path.p));
		return 0;
	}
	t->entry.sparse = true;
	t->entry.size = (uint64_t)real;
	t->entry.extents = t->pax.ext;
	t->entry.nextents = t->pax.next;
	return 1;
}

static enum entry_type
kind(char flag, bool slash)
{
	switch (flag) {
	case '1': return ENTRY_HARDLINK;
	case '2': return ENTRY_SYMLINK;
	case '3': return ENTRY_CHAR;
	case '4': return ENTRY_BLOCK;
	case '5': case 'D': return ENTRY_DIR;
	case '6': return ENTRY_FIFO;
	default: return slash ? ENTRY_DIR : ENTRY_FILE;
	}
}

static int
over(struct err *e, const char *what, uint64_t max)
{
	return err_set(e, CALA_INTEGRITY, "the archive holds more than %ju %s",
	    (uintmax_t)max, what);
}

static int
tally(struct tarr *t, struct err *e)
{
	const struct archive_read *l = &t->limits;

	if (t->jumped)
		return 0;
	t->entries++;
	t->files += t->entry.type != ENTRY_DIR;
	t->size += t->entry.size;
	if (l->max_entries != 0 && t->entries > l->max_entries)
		return over(e, "entries", l->max_entries);
	if (!u64_add(t->sum, t->entry.size, &t->sum) ||
	    (l->max_size != 0 && t->sum > l->max_size))
		return over(e, "bytes of contents", l->max_size);
	return 0;
}

/* Mode, owner, times and extended attributes. */
static void
attributes(struct tarr *t, const unsigned char *h)
{
	struct entry *en = &t->entry;
	int64_t mtime;

	en->mode = permissions(h, en->type);
	en->uid = owner(t, h + 108, PAX_UID, t->pax.uid, t->global.uid);
	en->gid = owner(t, h + 116, PAX_GID, t->pax.gid, t->global.gid);
	en->unowned = unowned(t, h);
	if ((t->pax.have & PAX_MTIME) != 0)
		en->mtime = t->pax.mtime;
	else if ((t->global.have & PAX_MTIME) != 0)
		en->mtime = t->global.mtime;
	else if (tarr_number(h + 136, 12, &mtime) == 0)
		en->mtime.tv_sec = mtime;
	else
		log_warn(t->log, "%s: its time is malformed",
		    str_q(t->path.p));
	en->uname = owner_name(t, &t->uname, h, 265, PAX_UNAME,
	    t->pax.uname, t->global.uname);
	en->gname = owner_name(t, &t->gname, h, 297, PAX_GNAME,
	    t->pax.gname, t->global.gname);
	xattrs(t);
	if (t->pax.soft != NULL)
		log_warn(t->log, "%s: %s", str_q(t->path.p), t->pax.soft);
}

/*
 * A header of an entry: 1 it is t->entry, 0 skipped (said in the log), -1.
 */
static int
entry(struct tarr *t, const unsigned char *h, char flag, struct err *e)
{
	struct entry *en = &t->entry;
	const char *why;
	int64_t size;
	bool slash;
	int r = 1, body = 0;

	memset(en, 0, sizeof(*en));
	t->where.flag = flag == '\0' ? '0' : flag;
	if (tarr_number(h + 124, 12, &size) == -1 || size < 0)
		return damaged(t, t->pos - TAR_BLOCK, "an impossible size", e);
	if ((t->pax.have & PAX_SIZE) != 0)
		size = (int64_t)t->pax.size;
	raw_name(t, h);
	if (t->raw.failed)
		return buf_failed(&t->raw, e);
	slash = t->raw.len > 0 && t->raw.p[t->raw.len - 1] == '/';
	en->type = kind(flag, slash);
	t->where.data = t->pos;
	t->left = 0;
	/* Links, devices, directories have no data whatever the size says,
	 * but for pax hard links, which may repeat the file's. */
	if (en->type == ENTRY_HARDLINK && size > 0) {
		if ((body = at_header(t, e)) == -1)
			return -1;
		body = !body;
	}
	if (en->type == ENTRY_FILE || (en->type == ENTRY_DIR && flag != '5') ||
	    body)
		t->left = (uint64_t)size;
	t->where.stored = t->left;
	t->pad = -t->left % TAR_BLOCK;
	if (en->type == ENTRY_FILE)
		en->size = t->left;
	t->ext = 0;

	if (flag == 'V' || flag == 'M' || flag == 'N' || flag == 'A' ||
	    flag == 'E' || flag == 'I') {
		if (flag == 'M' || flag == 'N')
			log_warn(t->log, "%s: skipped; records of type %c "
			    "are not supported", str_q(t->raw.p), flag);
		return 0;
	}
	if (entry_path(&t->path, t->raw.p, t->raw.len, &why) == -1) {
		log_warn(t->log, "%s: skipped; %s", str_q(t->raw.p), why);
		r = 0;
	} else if (t->raw.len == 0 || (t->path.len == 0 &&
	    en->type != ENTRY_DIR)) {
		log_warn(t->log, "an entry without a name was skipped");
		r = 0;
	}
	en->path = t->path.p;
	if (flag == 'S' || (en->type == ENTRY_FILE && t->pax.sparse != 0)) {
		int map = holes(t, h, e);

		if (map == -1)
			return -1;
		r = map == 0 ? 0 : r;
	}
	if (tally(t, e) == -1)
		return -1;
	if (r == 0)
		return 0;
	if ((en->type == ENTRY_SYMLINK || en->type == ENTRY_HARDLINK) &&
	    link_target(t, h) == 0)
		return 0;
	if (en->type == ENTRY_CHAR || en->type == ENTRY_BLOCK)
		device(t, h);
	attributes(t, h);
	return 1;
}

/*
 * A pax global header: owner and time for all that follows, until another one
 * says something else or nothing; and our marks.
 */
static int
global(struct tarr *t, struct err *e)
{
	const struct pax *g = &t->global;
	struct mark m;

	t->global.have &= ~(unsigned)PAX_COMMENT;
	if (pax_parse(&t->global, t->raw.p, t->raw.len, true, e) == -1)
		return -1;
	if ((g->have & PAX_COMMENT) == 0 || t->jumped)
		return 0;
	switch (mark_parse(g->comment->p, g->comment->len, &m)) {
	case 1:
		t->cala = t->cala || t->where.head == 0;
		break;
	case 2:
		if (t->cala) {
			t->marked = true;
			t->mark = m;
		}
		break;
	case -1:
		if (t->cala)
			return damaged(t, t->where.head,
			    "a malformed end mark", e);
		break;
	default:
		break;
	}
	return 0;
}

/* A record that speaks about the next entry.  0, or -1. */
static int
record(struct tarr *t, const unsigned char *h, char flag, struct err *e)
{
	bool name = flag == 'L', pax = flag != 'L' && flag != 'K';
	struct buf *to = pax ? &t->raw : name ? &t->longname : &t->longlink;
	int64_t size;

	if (tarr_number(h + 124, 12, &size) == -1 || size < 0 ||
	    size > (pax ? TAR_PAX_MAX : TAR_LONG_MAX) ||
	    (flag != 'g' && !u64_add(t->told, (uint64_t)size, &t->told)) ||
	    t->told > TAR_PAX_MAX)
		return damaged(t, t->pos - TAR_BLOCK, pax ?
		    "an extended header of impossible size" :
		    "a long name of impossible size", e);
	if (tarr_text(t, to, (uint64_t)size, e) == -1)
		return -1;
	if (pax) {
		if (flag == 'g') {
			if (global(t, e) == -1)
				goto bad;
			return 0;
		}
		/* several speak together, the later one with precedence */
		if (pax_parse(&t->pax, to->p, to->len, false, e) == -1)
			goto bad;
		return 0;
	}
	buf_cut(to, strlen(to->p));
	*(name ? &t->have_name : &t->have_link) = true;
	return 0;
bad:
	if (e->code == CALA_INTEGRITY) {
		t->wrong = true;
		err_ctx(e, "at byte %ju", (uintmax_t)t->where.head);
	}
	return -1;
}

/* ---- the end ---- */

static int
check_mark(struct tarr *t, struct err *e)
{
	const struct mark *m = &t->mark;

	if (!t->marked)
		return err_set(e, CALA_INCOMPLETE, "the archive is cut short: "
		    "cala-pack did not get to its end mark");
	if (m->entries != t->entries || m->files != t->files ||
	    m->size != t->size) {
		t->wrong = true;
		return err_set(e, CALA_INTEGRITY, "the end mark says %ju "
		    "entries, %ju files, %ju bytes; found were %ju, %ju, %ju",
		    (uintmax_t)m->entries, (uintmax_t)m->files,
		    (uintmax_t)m->size, (uintmax_t)t->entries,
		    (uintmax_t)t->files, (uintmax_t)t->size);
	}
	return 0;
}

/* After the first zero block: the second, the marks, what lies behind. */
static int
finish(struct tarr *t, struct err *e)
{
	unsigned char block[TAR_BLOCK];
	bool clean = true;
	ssize_t got;
	int r;

	if ((got = tarr_full(t, block, TAR_BLOCK, e)) == -1)
		return -1;
	if (got < TAR_BLOCK)
		return tarr_short(t, e);
	if (!tarr_zero(block, TAR_BLOCK))
		return damaged(t, t->pos - 2 * TAR_BLOCK, "a lone zero block",
		    e);
	if (t->cala && check_mark(t, e) == -1)
		return -1;
	/* Read on: a compressed stream's own check comes at its end. */
	while ((r = tarr_fill(t, e)) == 1) {
		clean = clean && tarr_zero(t->buf + t->at, t->end - t->at);
		t->pos += t->end - t->at;
		t->at = t->end;
	}
	if (r == -1)
		return -1;
	if (!clean)
		log_warn(t->log, "data behind the end of the archive was "
		    "ignored");
	t->done = true;
	return 0;
}

/* Only the directory that tarw says again, which is told nobody. */
static int
behind_mark(struct tarr *t, const unsigned char *h, char flag, bool *pre,
    struct err *e)
{
	uint64_t size;

	if (flag == 'x' && !*pre && !t->again &&
	    tarr_octal(h + 124, 12, &size) == 0 && size <= MARK_AGAIN) {
		*pre = true;
		return record(t, h, flag, e) == -1 ? -1 : 2;
	}
	if (flag != '5' || t->again || tarr_octal(h + 124, 12, &size) == -1 ||
	    size != 0)
		return damaged(t, t->pos - TAR_BLOCK,
		    "an entry behind the end mark", e);
	*pre = false;
	t->again = true;
	return 2;
}

/* 1 an entry; 0 the end; 2 go on; -1. */
static int
step(struct tarr *t, bool *pre, struct err *e)
{
	unsigned char h[TAR_BLOCK];
	uint64_t at = t->pos;
	ssize_t got;
	char flag;
	int r;

	if (!*pre)
		t->where.head = at;
	if ((got = tarr_full(t, h, TAR_BLOCK, e)) == -1)
		return -1;
	if (got < TAR_BLOCK)
		return tarr_short(t, e);
	if (tarr_zero(h, TAR_BLOCK)) {
		if (*pre)
			return damaged(t, at, "a missing header", e);
		if (t->jumped)
			return 0;
		return finish(t, e);
	}
	if (!tarr_header(h)) {
		if (at == 0 && !t->jumped)
			return err_set(e, CALA_INTEGRITY,
			    "this is no tar archive");
		return damaged(t, at, "a header that fails its checksum", e);
	}
	flag = (char)h[156];
	if (t->marked)
		return behind_mark(t, h, flag, pre, e);
	switch (flag) {
	case 'g':
		return record(t, h, flag, e) == -1 ? -1 : 2;
	case 'L': case 'K': case 'x': case 'X':
		*pre = true;
		return record(t, h, flag, e) == -1 ? -1 : 2;
	default:
		break;
	}
	*pre = false;
	if ((r = entry(t, h, flag, e)) == -1)
		return -1;
	return r == 1 ? 1 : 2;
}

static void
forget(struct tarr *t)
{
	t->left = t->pad = t->told = 0;
	pax_reset(&t->pax);
	t->have_name = t->have_link = false;
}

/* The rest of the entry that next() gave, and what was said about it. */
static int
drop(struct tarr *t, struct err *e)
{
	uint64_t n = t->left + t->pad;

	forget(t);
	return n == 0 ? 0 : tarr_skip(t, n, e);
}

static int
t_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	struct tarr *t = (struct tarr *)r;
	bool pre = false;
	int got = 2;

	if (t->failed) {
		*e = t->err;
		return -1;
	}
	if (t->done)
		return 0;
	while (got == 2) {
		if (!pre && drop(t, e) == -1)
			got = -1;
		else
			got = step(t, &pre, e);
	}
	if (got == -1) {
		t->failed = true;
		t->err = *e;
		return -1;
	}
	if (got == 0)
		return 0;
	*en = &t->entry;
	if (t->entry.type == ENTRY_FILE) {
		t->content.ops = &tarr_content;
		t->content.size = t->entry.size;
		t->content.pos = 0;
		*c = &t->content;
	}
	return 1;
}

static void
t_close(struct reader *r)
{
	struct tarr *t = (struct tarr *)r;

	if (t->own)
		source_close(t->in);
	pax_fini(&t->pax);
	pax_fini(&t->global);
	buf_fini(&t->longname);
	buf_fini(&t->longlink);
	buf_fini(&t->path);
	buf_fini(&t->target);
	buf_fini(&t->uname);
	buf_fini(&t->gname);
	buf_fini(&t->raw);
	free(t->xattrs);
	free(t->buf);
	free(t);
}

struct reader *
tarr_reader(struct source *in, bool own, tarr_seek *seek,
    const struct archive_read *limits, struct log *log, struct err *e)
{
	static const struct reader_ops ops = { t_next, t_close };
	struct tarr *t = calloc(1, sizeof(*t));

	if (t == NULL) {
		if (own)
			source_close(in);
		err_oom(e);
		return NULL;
	}
	t->r.ops = &ops;
	t->r.can = READER_HOLES;
	t->in = in;
	t->own = own;
	t->seek = seek;
	t->limits = *limits;
	t->log = log;
	buf_init(&t->longname, TAR_LONG_MAX + TAR_BLOCK);
	buf_init(&t->longlink, TAR_LONG_MAX + TAR_BLOCK);
	buf_init(&t->path, ENTRY_PATH_MAX);
	buf_init(&t->target, ENTRY_PATH_MAX);
	buf_init(&t->uname, TAR_PAX_MAX);
	buf_init(&t->gname, TAR_PAX_MAX);
	buf_init(&t->raw, TAR_PAX_MAX + TAR_BLOCK);
	t->buf = malloc(TARR_IN);
	t->xattrs = calloc(ENTRY_XATTR_MAX, sizeof(*t->xattrs));
	if (t->buf == NULL || t->xattrs == NULL ||
	    pax_init(&t->pax, e) == -1 || pax_init(&t->global, e) == -1) {
		err_oom(e);
		t_close(&t->r);
		return NULL;
	}
	return &t->r;
}

void
tarr_where(const struct reader *r, struct tarr_where *w)
{
	*w = ((const struct tarr *)r)->where;
}

int
tarr_jump(struct reader *r, uint64_t off, struct err *e)
{
	struct tarr *t = (struct tarr *)r;

	forget(t);
	t->jumped = true;
	t->done = t->failed = false;
	return t->pos == off ? 0 : tarr_move(t, off, e);
}

void
tarr_facts(struct reader *r, struct archive_facts *f)
{
	struct tarr *t = (struct tarr *)r;

	f->cala = t->cala;
	f->known = t->entries > 0 || t->cala || t->done;
	f->proof = PROOF_NONE;
	f->why = NULL;
	if (t->done) {
		f->proof = t->cala ? PROOF_INNER : PROOF_FOREIGN;
		f->counted = true;
		f->entries = t->entries;
		f->files = t->files;
		f->size = t->size;
		if (t->cala) {
			f->warnings = t->mark.warnings;
			f->partial = t->mark.warnings > 0;
		}
	} else if (t->failed) {
		if (t->wrong || t->err.code == CALA_INTEGRITY)
			f->proof = PROOF_WRONG;
		f->why = t->err.msg;
	} else
		f->why = "it was not read to its end";
}
