#include "archive/tarw.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/indexw.h"
#include "archive/pax.h"
#include "archive/tarr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/str.h"
#include "entry/entry.h"

enum {
	BLOCK = 512,
	RECORD = 20 * BLOCK,
	PIECE = 1 << 20,        /* read at once: how soon a signal is seen */
	PAX_MAX = 2 << 20,
	MAP_MAX = 64 << 20      /* text of ENTRY_EXTENT_MAX extents */
};

/* Where the fields of a ustar header lie. */
enum {
	NAME = 0, NAME_LEN = 100, MODE = 100, UID = 108, GID = 116, SIZE = 124,
	MTIME = 136, SUM = 148, TYPE = 156, LINK = 157, MAGIC = 257,
	UNAME = 265, GNAME = 297, OWNER_LEN = 32, MAJOR = 329, MINOR = 337,
	PREFIX = 345, PREFIX_LEN = 155
};

struct tarw {
	struct sink *out;
	struct indexw *index;
	struct log *log;
	bool foreign, wings, begun;
	uint64_t base;                  /* out's position at our start */
	struct archive_sum sum;
	struct buf path, pax, map;
	/* The first directory, to be said again at the end. */
	bool has_first;
	unsigned char first[BLOCK];
	struct buf first_pax;
};

static int
put_block(struct tarw *t, const void *p, size_t n, struct err *e)
{
	if (sink_write(t->out, p, n, e) == -1)
		return -1;
	n %= BLOCK;
	return n == 0 ? 0 : sink_zero(t->out, BLOCK - n, e);
}

/*
 * n as octal digits filling the field but for the last byte; when it does not
 * fit, as GNU's base-256, which goes with a pax record of the same meaning.
 */
static bool
number(unsigned char *p, size_t len, uint64_t n)
{
	size_t i = len - 1;
	bool fits = n >> (3 * (len - 1)) == 0;

	if (fits) {
		while (i-- > 0) {
			p[i] = (unsigned char)('0' + (n & 7));
			n >>= 3;
		}
		return true;
	}
	for (i = len; i-- > 0; n >>= 8)
		p[i] = (unsigned char)n;
	p[0] = 0x80;
	return false;
}

static void
checksum(unsigned char *h)
{
	unsigned sum = 0;
	int i;

	memset(h + SUM, ' ', 8);
	for (i = 0; i < BLOCK; i++)
		sum += h[i];
	number(h + SUM, 7, sum);        /* six digits, NUL, blank */
	h[SUM + 6] = '\0';
}

static void
field(unsigned char *h, const char *s, size_t len)
{
	size_t n = strlen(s);

	memcpy(h, s, n < len ? n : len);
}

/* path into name and prefix; false when it fits neither way. */
static bool
ustar_path(unsigned char *h, const char *path, size_t n)
{
	const char *s;

	if (n <= NAME_LEN) {
		memcpy(h + NAME, path, n);
		return true;
	}
	if (n > NAME_LEN + 1 + PREFIX_LEN)
		return false;
	/* The earliest slash that leaves a name that fits, and not none. */
	s = memchr(path + n - NAME_LEN - 1, '/', NAME_LEN + 1);
	if (s == NULL || s == path || s - path > PREFIX_LEN ||
	    s == path + n - 1)
		return false;
	memcpy(h + PREFIX, path, (size_t)(s - path));
	memcpy(h + NAME, s + 1, n - (size_t)(s - path) - 1);
	return true;
}

static void
magic(unsigned char *h)
{
	memcpy(h + MAGIC, "ustar\0" "00", 8);
}

/*
 * The records in t->pax as a member of type 'x' or 'g'.  The name says nothing
 * about the entry: most headers are then the same block but for the record's
 * digits, which compresses better and faster.
 */
static int
put_pax(struct tarw *t, char type, struct err *e)
{
	const char *name = type == 'x' ? "PaxHeaders" : "pax_global_header";
	unsigned char h[BLOCK] = { 0 };

	if (buf_failed(&t->pax, e) == -1)
		return err_ctx(e, "extended header");
	field(h, name, NAME_LEN);
	number(h + MODE, 8, 0644);
	number(h + UID, 8, 0);
	number(h + GID, 8, 0);
	number(h + SIZE, 12, t->pax.len);
	number(h + MTIME, 12, 0);
	h[TYPE] = (unsigned char)type;
	magic(h);
	checksum(h);
	if (sink_write(t->out, h, BLOCK, e) == -1)
		return -1;
	return put_block(t, t->pax.p, t->pax.len, e);
}

static int
global(struct tarw *t, const char *comment, struct err *e)
{
	buf_reset(&t->pax);
	pax_add(&t->pax, "comment", comment, strlen(comment));
	return put_pax(t, 'g', e);
}

struct tarw *
tarw_new(struct sink *out, struct indexw *index, bool foreign, bool wings,
    struct log *log, struct err *e)
{
	struct tarw *t = calloc(1, sizeof(*t));

	if (t == NULL) {
		err_oom(e);
		return NULL;
	}
	t->out = out;
	t->index = index;
	t->foreign = foreign;
	t->wings = wings;
	t->log = log;
	t->base = out->pos;
	buf_init(&t->path, ENTRY_PATH_MAX + 8);
	buf_init(&t->pax, PAX_MAX);
	buf_init(&t->map, MAP_MAX);
	buf_init(&t->first_pax, MARK_AGAIN);
	return t;
}

void
tarw_free(struct tarw *t)
{
	if (t == NULL)
		return;
	buf_fini(&t->path);
	buf_fini(&t->pax);
	buf_fini(&t->map);
	buf_fini(&t->first_pax);
	free(t);
}

const struct archive_sum *
tarw_sum(const struct tarw *t)
{
	return &t->sum;
}

static int
begin(struct tarw *t, struct err *e)
{
	if (t->begun)
		return 0;
	t->begun = true;
	return t->foreign ? 0 : global(t, "cala-pack 1", e);
}

/* n bytes of c into the sink's own buffer. */
static int
copy(struct tarw *t, struct content *c, uint64_t n, struct err *e)
{
	size_t room;
	ssize_t k;
	void *p;

	while (n > 0) {
		if (stop_check(e) == -1 ||
		    (p = sink_space(t->out, &room, e)) == NULL)
			return -1;
		if (room > PIECE)
			room = PIECE;
		if (room > n)
			room = (size_t)n;
		if ((k = content_read(c, p, room, e)) == -1)
			return -1;
		if (k == 0)
			return err_set(e, CALA_FAIL,
			    "%s: ended %ju bytes before its size",
			    str_q(t->path.p), (uintmax_t)n);
		if (sink_used(t->out, (size_t)k, e) == -1)
			return -1;
		n -= (uint64_t)k;
	}
	return 0;
}

/*
 * The map of GNU sparse format 1.0 into t->map, padded: the number of
 * stretches, then offset and length of each, a line a number.  A hole at the
 * end is told by an empty stretch there.  Returns the bytes stored (map and
 * data), or the whole size when a map would not be worth it.
 */
static uint64_t
sparse_map(struct tarw *t, const struct entry *en)
{
	uint64_t data = 0, end = 0, hole;
	size_t i;
	bool tail;

	if (!en->sparse || t->wings)
		return en->size;
	for (i = 0; i < en->nextents; i++) {
		const struct extent *x = &en->extents[i];

		if (x->off < end || x->len > en->size || x->off > en->size -
		    x->len)
			return en->size;
		data += x->len;
		end = x->off + x->len;
	}
	hole = en->size - data;
	if (hole < BLOCK)
		return en->size;
	tail = end < en->size;
	buf_reset(&t->map);
	buf_printf(&t->map, "%zu\n", en->nextents + tail);
	for (i = 0; i < en->nextents; i++)
		buf_printf(&t->map, "%" PRIu64 "\n%" PRIu64 "\n",
		    en->extents[i].off, en->extents[i].len);
	if (tail)
		buf_printf(&t->map, "%" PRIu64 "\n0\n", en->size);
	while (t->map.len % BLOCK != 0 && !t->map.failed)
		buf_chr(&t->map, '\0');
	if (t->map.failed || t->map.len >= hole)
		return en->size;
	return t->map.len + data;
}

static int
put_sparse(struct tarw *t, const struct entry *en, struct content *c,
    struct err *e)
{
	size_t i;

	if (sink_write(t->out, t->map.p, t->map.len, e) == -1)
		return -1;
	for (i = 0; i < en->nextents; i++) {
		const struct extent *x = &en->extents[i];

		if (content_skip(c, x->off - c->pos, e) == -1 ||
		    copy(t, c, x->len, e) == -1)
			return -1;
	}
	return 0;
}

static char
type_flag(enum entry_type type)
{
	switch (type) {
	case ENTRY_FILE:
		return '0';
	case ENTRY_HARDLINK:
		return '1';
	case ENTRY_SYMLINK:
		return '2';
	case ENTRY_CHAR:
		return '3';
	case ENTRY_BLOCK:
		return '4';
	case ENTRY_DIR:
		return '5';
	case ENTRY_FIFO:
		return '6';
	default:
		return 0;
	}
}

/* Names as readers without our charset want them told. */
static void
pax_name(struct tarw *t, const char *key, const char *name, bool *binary)
{
	size_t n = strlen(name);

	if (!*binary && !str_utf8(name, n)) {
		pax_add(&t->pax, "hdrcharset", "BINARY", 6);
		*binary = true;
	}
	pax_add(&t->pax, key, name, n);
}

/* Owner, times, device: into h, and into t->pax what does not fit. */
static void
attributes(struct tarw *t, const struct entry *en, unsigned char *h)
{
	bool dev = en->type == ENTRY_CHAR || en->type == ENTRY_BLOCK;
	int64_t sec = en->mtime.tv_sec;
	bool old = sec < 0;

	number(h + MODE, 8, en->mode & 07777);
	/* Not "root": the fields stay empty, as they came. */
	if (!en->unowned && !number(h + UID, 8, en->uid))
		pax_u64(&t->pax, "uid", en->uid);
	if (!en->unowned && !number(h + GID, 8, en->gid))
		pax_u64(&t->pax, "gid", en->gid);
	if (!number(h + MTIME, 12, old ? 0 : (uint64_t)sec) || old ||
	    en->mtime.tv_nsec != 0)
		pax_time(&t->pax, "mtime", en->mtime);
	if (en->uname != NULL) {
		field(h + UNAME, en->uname, OWNER_LEN);
		if (strlen(en->uname) >= OWNER_LEN)
			pax_add(&t->pax, "uname", en->uname,
			    strlen(en->uname));
	}
	if (en->gname != NULL) {
		field(h + GNAME, en->gname, OWNER_LEN);
		if (strlen(en->gname) >= OWNER_LEN)
			pax_add(&t->pax, "gname", en->gname,
			    strlen(en->gname));
	}
	number(h + MAJOR, 8, dev ? en->rdev_major : 0);
	number(h + MINOR, 8, dev ? en->rdev_minor : 0);
}

/* The header blocks of an entry that stores that many bytes. */
static int
put_header(struct tarw *t, const struct entry *en, char type,
    uint64_t stored, bool sparse, const char *link, struct err *e)
{
	unsigned char h[BLOCK] = { 0 };
	bool binary = false;

	buf_reset(&t->pax);
	if (sparse) {
		pax_add(&t->pax, "GNU.sparse.major", "1", 1);
		pax_add(&t->pax, "GNU.sparse.minor", "0", 1);
		pax_name(t, "GNU.sparse.name", t->path.p, &binary);
		pax_u64(&t->pax, "GNU.sparse.realsize", en->size);
		/* What readers without sparse files call the map. */
		memcpy(h, "GNUSparseFile.0/", 16);
		field(h + 16, entry_name(en->path), NAME_LEN - 16);
	} else if (!ustar_path(h, t->path.p, t->path.len)) {
		pax_name(t, "path", t->path.p, &binary);
		field(h, t->path.p, NAME_LEN);
	}
	if (link != NULL) {
		field(h + LINK, link, NAME_LEN);
		if (strlen(link) > NAME_LEN)
			pax_name(t, "linkpath", link, &binary);
	}
	if (!number(h + SIZE, 12, stored))
		pax_u64(&t->pax, "size", stored);
	attributes(t, en, h);
	/* A second name of a file has the attributes of the first. */
	if (type != '1')
		pax_xattrs(&t->pax, en, t->log);
	h[TYPE] = (unsigned char)type;
	magic(h);
	checksum(h);
	if (type == '5' && !t->has_first && t->pax.len <= MARK_AGAIN) {
		t->has_first = true;
		memcpy(t->first, h, BLOCK);
		buf_add(&t->first_pax, t->pax.p, t->pax.len);
	}
	if (t->pax.len > 0 && put_pax(t, 'x', e) == -1)
		return -1;
	return sink_write(t->out, h, BLOCK, e);
}

/* What is left out: 1, and said; 0 when the entry is to be written. */
static int
left_out(struct tarw *t, const struct entry *en, char type)
{
	if (type == 0) {
		log_step(t->log, "%s: a socket, left out", str_q(en->path));
		return 1;
	}
	if (!t->wings)
		return 0;
	if (type == '3' || type == '4' || type == '6') {
		log_warn(t->log, "%s: Wings can't read special files: left "
		    "out", str_q(en->path));
		return 1;
	}
	if (type == '1') {
		log_warn(t->log, "%s: Wings can't read hard links: left out",
		    str_q(en->path));
		return 1;
	}
	return 0;
}

int
tarw_put(struct tarw *t, const struct entry *en, struct content *c,
    struct err *e)
{
	char type = type_flag(en->type);
	const char *link = type == '1' || type == '2' ? en->target : NULL;
	struct indexw_member m;
	uint64_t stored = 0;
	bool sparse;

	if (begin(t, e) == -1)
		return -1;
	if (left_out(t, en, type))
		return 0;
	if (type == '0' && c == NULL && en->size > 0)
		return err_set(e, CALA_FAIL, "%s: a file without content",
		    str_q(en->path));
	buf_reset(&t->path);
	buf_str(&t->path, en->path[0] == '\0' ? "." : en->path);
	if (type == '5')
		buf_chr(&t->path, '/');
	if (buf_failed(&t->path, e) == -1)
		return err_ctx(e, "%s", str_q(en->path));
	if (type == '0')
		stored = sparse_map(t, en);
	sparse = type == '0' && stored < en->size;

	if (sink_mark(t->out, e) == -1)
		return -1;
	m.header = t->out->pos - t->base;
	if (put_header(t, en, type, stored, sparse, link, e) == -1)
		return err_ctx(e, "%s", str_q(en->path));
	m.data = t->out->pos - t->base;
	if (stored > 0) {
		if ((sparse ? put_sparse(t, en, c, e) :
		    copy(t, c, stored, e)) == -1)
			return -1;
		if (stored % BLOCK != 0 &&
		    sink_zero(t->out, BLOCK - stored % BLOCK, e) == -1)
			return -1;
	}
	t->sum.entries++;
	t->sum.files += type != '5';
	t->sum.size += type == '0' ? en->size : 0;
	if (t->index == NULL)
		return 0;
	m.stored = stored;
	m.type = type;
	m.entry = en;
	m.path = t->path.p;
	m.link = link;
	return indexw_entry(t->index, &m, e);
}

/*
 * The first directory once more: there are readers (Python's tarfile) to which
 * a global header with nothing behind it is an archive that is cut.
 */
static int
again(struct tarw *t, struct err *e)
{
	if (!t->has_first)
		return 0;
	buf_reset(&t->pax);
	buf_add(&t->pax, t->first_pax.p, t->first_pax.len);
	if (t->pax.len > 0 && put_pax(t, 'x', e) == -1)
		return -1;
	return sink_write(t->out, t->first, BLOCK, e);
}

int
tarw_end(struct tarw *t, uint64_t *len, struct err *e)
{
	char text[160];
	uint64_t n;

	if (begin(t, e) == -1)
		return -1;
	if (!t->foreign) {
		snprintf(text, sizeof(text), "cala-pack 1 end entries=%ju "
		    "files=%ju size=%ju warnings=%ju",
		    (uintmax_t)t->sum.entries, (uintmax_t)t->sum.files,
		    (uintmax_t)t->sum.size,
		    (uintmax_t)log_warnings(t->log));
		if (global(t, text, e) == -1 || again(t, e) == -1)
			return -1;
	}
	n = (t->out->pos - t->base + 2 * BLOCK) % RECORD;
	n = 2 * BLOCK + (n == 0 ? 0 : RECORD - n);
	if (sink_zero(t->out, n, e) == -1)
		return -1;
	*len = t->out->pos - t->base;
	return 0;
}
