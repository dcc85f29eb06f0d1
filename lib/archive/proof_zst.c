/*
 * A tar.zst on the wire.  Frames are walked by their block headers, which
 * costs nothing; their sizes must be those of the index that comes behind them
 * and of the seek table behind that.  Three running hashes of sizes stand for
 * three lists that may be long.
 */

#include "archive/proof.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>
#include <zstd.h>

#include "archive/source.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/hash.h"

enum state { START, BLOCK, BODY, SKIP, INDEX, TABLE };

enum { TRAILER = 56, KEEP = PIECE_IN + (1 << 20), SEEK_FOOT = 9 };

struct zwatch {
	struct watch w;
	enum state state;
	unsigned char small[64];
	size_t have, want;
	uint64_t off;           /* bytes understood so far */
	uint64_t left;          /* of a body */
	uint64_t start;         /* of the frame */
	struct zst_frame f;
	bool last, data;        /* last block; inside a data frame */
	struct sha256 *sha;     /* NULL when no trailer will be believed */
	struct buf keep[2];     /* the last two data frames */
	int cur;
	bool keeping;

	XXH64_state_t *wire, *idx, *table, *idxt;
	bool have_index, have_table, have_trailer;
	uint64_t index_off, index_hash;
	uint32_t index_size, table_n, table_at;
	bool table_good;
	struct passing pass;
	bool broken;
	struct err err;         /* what contradicted */
};

static void
wrong(struct zwatch *w, const char *what)
{
	if (!w->broken)
		err_set(&w->err, CALA_INTEGRITY, "%s", what);
	w->broken = true;
}

static int
eat(struct zwatch *w, const unsigned char *p, size_t n)
{
	w->off += n;
	if (w->sha != NULL)
		sha256_add(w->sha, p, n);
	if (w->data && w->keeping)
		buf_add(&w->keep[w->cur], p, n);
	return 0;
}

static void
hash3(XXH64_state_t *x, uint64_t a, uint32_t b, uint32_t c)
{
	unsigned char p[16];

	put_le64(p, a);
	put_le32(p + 8, b);
	put_le32(p + 12, c);
	XXH64_update(x, p, sizeof(p));
}

static int
on_frame(void *arg, const struct idx_frame *f, struct err *e)
{
	struct zwatch *w = arg;

	(void)e;
	hash3(w->idx, f->c_off, f->c_len, f->u_len);
	hash3(w->idxt, f->c_len, f->u_len, f->sum);
	return 0;
}

static void
frame_done(struct zwatch *w)
{
	uint64_t len = w->off - w->start;

	if (w->data)
		hash3(w->wire, w->start, (uint32_t)len, (uint32_t)w->f.size);
	w->data = false;
	w->state = START;
	w->have = 0;
}

static void
next_block(struct zwatch *w)
{
	w->state = BLOCK;
	w->have = 0;
	w->want = 3;
}

static void
trailer(struct zwatch *w)
{
	unsigned char md[SHA256_LEN];

	w->have_trailer = true;
	if (w->sha == NULL)
		return;
	sha256_end(w->sha, md);
	if (get_le64(w->small + 16) != w->off ||
	    memcmp(w->small + 24, md, SHA256_LEN) != 0)
		wrong(w, "the trailer does not fit the bytes before it");
	sha256_free(w->sha);
	w->sha = NULL;
}

static int
index_begin(struct zwatch *w, uint32_t size, struct err *e)
{
	struct idx_zhead h;

	w->have_index = true;
	w->index_off = w->off;
	w->index_size = size + 8;
	w->state = INDEX;
	w->left = size - IDX_ZHEAD;
	if (idx_zhead(w->small + 8, size, &h, &w->err) == -1) {
		w->broken = true;
		return 0;
	}
	w->index_hash = h.hash;
	w->pass.frame = on_frame;
	w->pass.arg = w;
	return passing_begin(&w->pass, h.codec, true, w->off, h.raw_len, e);
}

/* Enough of a frame's beginning is in small.  -1 without memory. */
static int
skippable(struct zwatch *w, struct err *e)
{
	uint32_t magic = get_le32(w->small), size = get_le32(w->small + 4);
	size_t head = w->have;

	if (magic == (ZST_SKIP_MAGIC | 12) && size == 48 &&
	    memcmp(w->small + 8, "CALAEOS1", 8) == 0) {
		trailer(w);
		w->off += TRAILER;
		w->state = START;
		w->have = 0;
		return 0;
	}
	if (magic == (ZST_SKIP_MAGIC | 12) && size >= IDX_ZHEAD &&
	    memcmp(w->small + 8, "CALAIDXZ", 8) == 0) {
		if (index_begin(w, size, e) == -1)
			return -1;
		eat(w, w->small, head);
		if (!w->broken && head > 8 + IDX_ZHEAD &&
		    idx_blob_feed(w->pass.b, w->small + 8 + IDX_ZHEAD,
		    head - 8 - IDX_ZHEAD, &w->err) == -1)
			w->broken = true;
		w->left -= head - 8 - IDX_ZHEAD;
		return 0;
	}
	eat(w, w->small, head);
	w->left = size - (head - 8);
	w->state = SKIP;
	if (magic == (ZST_SKIP_MAGIC | 14) && w->have_index) {
		w->have_table = true;
		w->state = TABLE;
		w->table_n = size < SEEK_FOOT ? 0 : (size - SEEK_FOOT) / 12;
		w->table_good = size >= SEEK_FOOT &&
		    (size - SEEK_FOOT) % 12 == 0;
	}
	w->have = 0;
	return 0;
}

/* Gather a frame's beginning byte by byte; it has at most 56. */
static int
begin(struct zwatch *w, unsigned char c, struct err *e)
{
	uint32_t size;
	size_t want;
	int len;

	if (w->have == 0) {
		w->start = w->off;
		if (w->have_trailer || w->have_table)
			wrong(w, "there is something behind the archive's "
			    "end");
	}
	w->small[w->have++] = c;
	if (w->have < 5)
		return 0;
	if ((get_le32(w->small) & ~15u) == ZST_SKIP_MAGIC) {
		want = 8;
		if (w->have >= 8 &&
		    get_le32(w->small) == (ZST_SKIP_MAGIC | 12)) {
			size = get_le32(w->small + 4);
			want += size < 48 ? size : 48;
		}
		return w->have < want ? 0 : skippable(w, e);
	}
	if ((len = zst_frame(w->small, w->have, &w->f)) == -1) {
		wrong(w, "there is something that is no zstd frame");
		return 0;
	}
	if (len == 0)
		return 0;
	if (w->have_index)
		wrong(w, "there is data behind the index");
	w->cur = !w->cur;
	buf_reset(&w->keep[w->cur]);
	w->data = true;
	eat(w, w->small, w->have);
	next_block(w);
	return 0;
}

static void
block_head(struct zwatch *w)
{
	uint32_t b = (uint32_t)w->small[0] | (uint32_t)w->small[1] << 8 |
	    (uint32_t)w->small[2] << 16;

	eat(w, w->small, 3);
	w->last = (b & 1) != 0;
	w->left = (b >> 1 & 3) == 1 ? 1 : b >> 3;
	if ((b >> 1 & 3) == 3)
		wrong(w, "there is a damaged zstd block");
	if (w->last && w->f.sum)
		w->left += 4;
	w->state = BODY;
}

/* Seek table: an entry, or the foot. */
static void
table_part(struct zwatch *w)
{
	const unsigned char *s = w->small;

	if (w->table_at < w->table_n) {
		if (++w->table_at < w->table_n)
			hash3(w->table, get_le32(s), get_le32(s + 4),
			    get_le32(s + 8));
		else if (get_le32(s) != w->index_size ||
		    get_le32(s + 4) != 0 || get_le32(s + 8) != IDX_EMPTY_SUM)
			w->table_good = false;
	} else if (get_le32(s) != w->table_n || s[4] != 0x80 ||
	    get_le32(s + 5) != 0x8F92EAB1u)
		w->table_good = false;
}

static int
z_feed(struct watch *v, const unsigned char *p, size_t n, struct err *e)
{
	struct zwatch *w = (struct zwatch *)v;
	size_t k;

	while (n > 0 && !w->broken) {
		k = 1;
		switch (w->state) {
		case START:
			if (begin(w, *p, e) == -1)
				return -1;
			break;
		case BLOCK:
			w->small[w->have++] = *p;
			if (w->have == 3)
				block_head(w);
			break;
		case TABLE:
			w->small[w->have++] = *p;
			eat(w, p, 1);
			w->left--;
			if (w->have == (w->table_at < w->table_n ? 12u :
			    (size_t)SEEK_FOOT)) {
				table_part(w);
				w->have = 0;
			}
			break;
		default:
			k = w->left < n ? (size_t)w->left : n;
			if (w->state == INDEX && idx_blob_feed(w->pass.b, p,
			    k, &w->err) == -1)
				w->broken = true;
			eat(w, p, k);
			w->left -= k;
			break;
		}
		p += k;
		n -= k;
		if (w->left > 0 || w->state == START || w->state == BLOCK)
			continue;
		if (w->state == BODY && !w->last)
			next_block(w);
		else
			frame_done(w);
	}
	return 0;
}

static void
z_forget(struct watch *v)
{
	struct zwatch *w = (struct zwatch *)v;

	w->keeping = false;
	buf_fini(&w->keep[0]);
	buf_fini(&w->keep[1]);
	sha256_free(w->sha);
	w->sha = NULL;
}

/* The tar's last bytes, from the last two data frames. */
static bool
inner(struct zwatch *w, struct archive_facts *f)
{
	size_t n = 0, k;
	unsigned char *out = malloc(2 * (size_t)PIECE_OUT);
	ZSTD_DCtx *d = ZSTD_createDCtx();
	bool found = false;
	int i;

	for (i = 1; out != NULL && d != NULL && i >= 0; i--) {
		struct buf *b = &w->keep[i == 0 ? w->cur : !w->cur];

		if (b->failed)
			n = 0;
		if (b->len == 0 || b->failed)
			continue;
		k = ZSTD_decompressDCtx(d, out + n, PIECE_OUT, b->p, b->len);
		n = ZSTD_isError(k) ? 0 : n + k;
	}
	/* the first of the two may have begun anywhere in a block */
	if (n > 0)
		found = proof_inner(out, n, f);
	ZSTD_freeDCtx(d);
	free(out);
	return found;
}

static void
z_end(struct watch *v, struct archive_facts *f, char *why, size_t n)
{
	struct zwatch *w = (struct zwatch *)v;
	const char *say = NULL;

	f->proof = PROOF_WRONG;
	if (w->broken)
		say = w->err.msg;
	else if (w->state != START || w->have > 0) {
		f->proof = PROOF_NONE;
		say = "it is cut short inside a zstd frame";
	} else if (w->have_index) {
		if (idx_blob_end(w->pass.b, w->index_hash, &w->err) == -1)
			say = w->err.msg;
		else if (XXH64_digest(w->wire) != XXH64_digest(w->idx))
			say = "the index does not fit the frames before it";
		else if (!w->have_table) {
			f->proof = PROOF_NONE;
			say = "it is cut short behind its index";
		} else if (!w->table_good ||
		    XXH64_digest(w->table) != XXH64_digest(w->idxt))
			say = "the seek table does not fit the index";
		else {
			f->proof = PROOF_INDEX;
			passing_facts(&w->pass, f);
		}
	} else if (w->have_trailer) {
		f->proof = PROOF_TRAILER;
		inner(w, f);
		f->proof = PROOF_TRAILER;
	} else if (inner(w, f))
		f->proof = PROOF_INNER;
	else {
		f->proof = PROOF_NONE;
		say = "it has no index, no trailer and no end mark";
	}
	if (say != NULL)
		snprintf(why, n, "%s", say);
}

static void
z_free(struct watch *v)
{
	struct zwatch *w = (struct zwatch *)v;

	z_forget(v);
	passing_free(&w->pass);
	XXH64_freeState(w->wire);
	XXH64_freeState(w->idx);
	XXH64_freeState(w->table);
	XXH64_freeState(w->idxt);
	free(w);
}

static bool
fresh(XXH64_state_t **x)
{
	*x = XXH64_createState();
	if (*x != NULL)
		XXH64_reset(*x, 0);
	return *x != NULL;
}

struct watch *
watch_zst(struct err *e)
{
	static const struct watch_ops ops = { z_feed, z_forget, z_end, z_free };
	struct zwatch *w = calloc(1, sizeof(*w));

	if (w == NULL) {
		err_oom(e);
		return NULL;
	}
	w->w.ops = &ops;
	w->keeping = true;
	buf_init(&w->keep[0], KEEP);
	buf_init(&w->keep[1], KEEP);
	if (!fresh(&w->wire) || !fresh(&w->idx) || !fresh(&w->table) ||
	    !fresh(&w->idxt)) {
		z_free(&w->w);
		err_oom(e);
		return NULL;
	}
	if ((w->sha = sha256_new(e)) == NULL) {
		z_free(&w->w);
		return NULL;
	}
	return &w->w;
}
