/* index, seek, tree: one file out of an archive, and indexes that lie. */

#include "unit.h"
#include "pack_mem.h"

#include <unistd.h>
#include <xxhash.h>

#include "archive/index.h"
#include "base/bytes.h"
#include "base/code.h"
#include "base/str.h"

static struct log lg;

static struct ranged *
ranged_of(const struct buf *b)
{
	char name[] = "/tmp/t_index.XXXXXX";
	struct err e = ERR_INIT;
	int fd = mkstemp(name);

	assert_true(fd != -1);
	unlink(name);
	assert_true(write(fd, b->p, b->len) == (ssize_t)b->len);
	return ranged_fd(fd, true, name, &e);
}

/* ---- the parser ---- */

/* s3.md §10.5 */
static const char vector[] = "43414c4149445831" "0100" "0000" "02000000"
    "01000000" "00000000" "000c000000000000" "3000000000000000"
    "4c00000000000000"
    "0000000000000000" "0000000000000000" "6f000000" "000c0000" "77cf6a00"
    "00800406" "30" "a403e807e80780c49fd50c" "0007" "612f782e747874"
    "8008800407" "30" "a403e807e80780c49fd50c" "0205" "792e747874";

static int
note(void *arg, const struct idx_entry *x, struct err *e)
{
	(void)e;
	buf_printf(arg, "%s %ju %ju %ju %c %o %u %u %jd\n", x->path,
	    (uintmax_t)x->head, (uintmax_t)x->data, (uintmax_t)x->stored,
	    x->flag, x->mode, x->uid, x->gid, (intmax_t)x->mtime);
	return 0;
}

static int
parse(const void *v, size_t n, size_t chunk, uint64_t data, struct buf *out,
    struct err *e)
{
	const unsigned char *p = v;
	struct idx_parse ip;
	size_t k;
	int r = 0;

	memset(&ip, 0, sizeof(ip));
	ip.data_len = data;
	ip.entry = out == NULL ? NULL : note;
	ip.arg = out;
	idx_init(&ip);
	for (; n > 0 && r == 0; p += k, n -= k) {
		k = n < chunk ? n : chunk;
		r = idx_feed(&ip, p, k, e);
	}
	if (r == 0)
		r = idx_end(&ip, e);
	idx_fini(&ip);
	return r;
}

static void
spec_vector(void **state)
{
	unsigned char p[125];
	struct err e = ERR_INIT;
	struct buf b;
	size_t i;

	(void)state;
	assert_int_equal(hex_get(vector, sizeof(p), p), 0);
	buf_init(&b, 10000);
	for (i = 1; i < 126; i++) {
		buf_reset(&b);
		assert_ok(parse(p, sizeof(p), i, 111, &b, &e), &e);
		assert_string_equal(b.p,
		    "a/x.txt 0 512 6 0 644 1000 1000 1700000000\n"
		    "a/y.txt 1024 1536 7 0 644 1000 1000 1700000000\n");
	}
	for (i = 0; i < sizeof(p); i++) {       /* cut anywhere */
		memset(&e, 0, sizeof(e));
		assert_int_equal(parse(p, i, 7, 111, NULL, &e), -1);
		assert_int_equal(e.code, CALA_INTEGRITY);
	}
	assert_int_equal(parse(p, sizeof(p), 7, 110, NULL, &e), -1);
	assert_int_equal(parse(p, sizeof(p), 7, 112, NULL, &e), -1);
	buf_fini(&b);
}

/* Each lie of a header costs an error and nothing else. */
static void
lies(void **state)
{
	static const struct { size_t at; const char *hex; } t[] = {
		{ 8, "0200" }, { 10, "0100" }, { 10, "0400" },
		{ 12, "00ca9a3b" },     /* 10^9 entries */
		{ 12, "03000000" }, { 12, "01000000" },
		{ 16, "ffffffff" }, { 16, "02000000" }, { 16, "00000000" },
		{ 24, "ffffffffffffffff" }, { 24, "000b000000000000" },
		{ 32, "3100000000000000" }, { 40, "4d00000000000000" },
		{ 40, "ffffffffffffffff" },
		{ 48, "0100000000000000" }, { 56, "0100000000000000" },
		{ 64, "70000000" }, { 64, "00000000" }, { 68, "010c0000" },
		{ 68, "ffffffff" },
		{ 76, "ff" },           /* a number without end */
		{ 78, "00" }, { 79, "ff" }, { 82, "7f" },
		{ 92, "01" },           /* shares bytes with nothing */
		{ 93, "7f" },
	};
	unsigned char p[125], q[16];
	struct err e = ERR_INIT;
	size_t i, n;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		assert_int_equal(hex_get(vector, sizeof(p), p), 0);
		n = strlen(t[i].hex) / 2;
		assert_int_equal(hex_get(t[i].hex, n, q), 0);
		memcpy(p + t[i].at, q, n);
		memset(&e, 0, sizeof(e));
		if (parse(p, sizeof(p), 50, 111, NULL, &e) == 0)
			fail_msg("%zu at %zu: believed", i, t[i].at);
		assert_int_equal(e.code, CALA_INTEGRITY);
	}
}

/* A small file that announces a large index. */
static void
announced(void **state)
{
	struct archive_read how = { .jobs = 1 };
	struct err e = ERR_INIT;
	struct ranged *r;
	struct buf b;
	char *p;

	(void)state;
	buf_init(&b, 100000);
	buf_add(&b, "\x28\xb5\x2f\xfd\x20\x01\x09\x00\x00x", 10);
	buf_add(&b, "\x5c\x2a\x4d\x18\x78\x00\x00\x00" "CALAIDXZ", 16);
	p = buf_room(&b, 32 + 80);
	memset(p, 0, 32 + 80);
	put_le16(p, 1);
	put_le64(p + 8, 4ull << 30);
	put_le64(p + 16, 80);
	memcpy(p + 32, "CALAIDX1\1\0\0\0", 12);
	put_le32(p + 32 + 12, 50000000);
	put_le32(p + 32 + 16, 1);
	buf_grown(&b, 112);
	buf_add(&b, "\x5e\x2a\x4d\x18\x21\x00\x00\x00", 8);
	buf_add(&b, "\x0a\0\0\0\1\0\0\0\0\0\0\0", 12);
	buf_add(&b, "\x80\0\0\0\0\0\0\0\x99\xe9\xd8\x51", 12);
	buf_add(&b, "\2\0\0\0\x80\xb1\xea\x92\x8f", 9);
	r = ranged_of(&b);
	assert_null(index_open(r, &e));
	assert_int_equal(e.code, CALA_INTEGRITY);
	memset(&e, 0, sizeof(e));
	assert_null(archive_tree(r, &how, &lg, &e));    /* no tar in it */
	assert_true(e.code != 0);
	ranged_close(r);
	buf_fini(&b);
}

static void
ordering(void **state)
{
	static const char *const sorted[] = { "", "a", "a/b", "a/b/c", "a/b-c",
	    "a-b", "a-b/x", "a.b", "a0", "b" };
	size_t i, k, n = sizeof(sorted) / sizeof(*sorted);

	(void)state;
	for (i = 0; i < n; i++)
		for (k = 0; k < n; k++)
			assert_true(index_before(sorted[i], sorted[k]) ==
			    (i < k));
}

/* ---- the tree ---- */

static const struct kind {
	enum archive_format f;
	bool index;
} kinds[] = {
	{ ARCHIVE_TAR_ZST, true }, { ARCHIVE_TAR_GZ, true },
	{ ARCHIVE_TAR_ZST, false }, { ARCHIVE_TAR, false },
	{ ARCHIVE_TAR_XZ, false }, { ARCHIVE_ZIP, false },
	{ ARCHIVE_7Z, false },
};

static int
names(void *arg, const struct entry *en, struct err *e)
{
	(void)e;
	buf_printf(arg, "%c %s %ju\n", en->type, en->path,
	    (uintmax_t)en->size);
	return 0;
}

static void
check_bytes(struct content *c, uint64_t seed, uint64_t off, uint64_t len)
{
	unsigned char p[10000];
	struct err e = ERR_INIT;
	uint64_t at = off;
	ssize_t k, i;

	assert_true(c->size == len);
	while ((k = content_read(c, p, sizeof(p), &e)) > 0) {
		for (i = 0; i < k; i++)
			assert_int_equal(p[i], made_byte(seed, at + (uint64_t)i));
		at += (uint64_t)k;
	}
	assert_true(k == 0 && at == off + len);
}

static void
trees(void **state)
{
	enum { SIZE = 30011 };
	const char *some[] = { "d002/f00201", "z-hard", "./d000/", "z-hard2" };
	const char *links[] = { "z-hard", "z-hard2" };
	const char *absent[] = { "d000", "nope" };
	struct archive_read how = { .jobs = 2 };
	const struct entry *en;
	struct err e = ERR_INIT;
	struct entry st;
	struct content *c;
	struct ranged *r;
	struct reader *rd;
	struct tree *t;
	struct buf b, l;
	size_t i, n;
	int k;

	(void)state;
	buf_init(&b, 64 << 20);
	buf_init(&l, 1 << 20);
	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		struct archive_write w = { .format = kinds[i].f,
		    .level = INT_MIN, .jobs = 1, .index = kinds[i].index };
		bool tar = kinds[i].f < ARCHIVE_ZIP;

		pack_mem(&b, &w, 230, SIZE, 0);
		r = ranged_of(&b);
		t = archive_tree(r, &how, &lg, &e);
		if (t == NULL)
			fail_msg("kind %zu: %s", i, e.msg);
		buf_reset(&l);
		assert_ok(t->ops->list(t, "", names, &l, &e), &e);
		if (tar)
			assert_string_equal(l.p, "d d000 0\nd d001 0\n"
			    "d d002 0\nh z-hard 0\nh z-hard2 0\nl z-sym 0\n");
		buf_reset(&l);
		assert_ok(t->ops->list(t, "d002", names, &l, &e), &e);
		for (n = 0, k = 0; l.p[k] != '\0'; k++)
			n += l.p[k] == '\n';
		assert_int_equal((int)n, 30);
		assert_true(str_begins(l.p, "f d002/f00200 30011\n"));
		assert_int_equal(t->ops->list(t, "nope", names, &l, &e), -1);
		assert_int_equal(e.code, CALA_NOTFOUND);
		err_clear(&e);
		assert_int_equal(t->ops->list(t, "d002/f00200", names, &l,
		    &e), -1);
		err_clear(&e);

		assert_ok(t->ops->stat(t, "d001/f00155", &st, &e), &e);
		assert_true(st.type == ENTRY_FILE && st.size == SIZE &&
		    (!tar || (st.uid == 1000 + 155 % 7 && st.mode == 0640)));
		assert_ok(t->ops->stat(t, "", &st, &e), &e);
		assert_true(st.type == ENTRY_DIR);
		assert_int_equal(t->ops->stat(t, "d001/f0015", &st, &e), -1);
		assert_int_equal(e.code, CALA_NOTFOUND);
		err_clear(&e);

		c = t->ops->open(t, "d001/f00155", 0, UINT64_MAX, &e);
		assert_non_null(c);
		check_bytes(c, 155, 0, SIZE);
		c = t->ops->open(t, "d002/f00229", 29000, 500, &e);
		assert_non_null(c);
		check_bytes(c, 229, 29000, 500);
		c = t->ops->open(t, "d000/f00000", SIZE + 5, 1, &e);
		assert_true(c != NULL && c->size == 0);
		assert_null(t->ops->open(t, "d001", 0, 1, &e));
		err_clear(&e);
		if (tar) {
			c = t->ops->open(t, "z-hard2", 0, UINT64_MAX, &e);
			assert_non_null(c);
			check_bytes(c, 0, 0, SIZE);

			rd = t->ops->reader(t, some, 4, &e);
			assert_non_null(rd);
			for (n = 0; (k = reader_next(rd, &en, &c, &e)) == 1;
			    n++)
				if (strcmp(en->path, "d002/f00201") == 0)
					check_bytes(c, 201, 0, SIZE);
				else if (strcmp(en->path, "z-hard") == 0)
					assert_string_equal(en->target,
					    "d000/f00000");
			assert_true(k == 0 && n == 104);
			reader_close(rd);

			/* the first link becomes the file */
			rd = t->ops->reader(t, links, 2, &e);
			assert_non_null(rd);
			assert_int_equal(reader_next(rd, &en, &c, &e), 1);
			assert_true(en->type == ENTRY_FILE);
			assert_string_equal(en->path, "z-hard");
			check_bytes(c, 0, 0, SIZE);
			assert_int_equal(reader_next(rd, &en, &c, &e), 1);
			assert_true(en->type == ENTRY_HARDLINK && c == NULL);
			assert_string_equal(en->target, "z-hard");
			assert_int_equal(reader_next(rd, &en, &c, &e), 0);
			reader_close(rd);
		}
		assert_null(t->ops->reader(t, absent, 2, &e));
		assert_int_equal(e.code, CALA_NOTFOUND);
		err_clear(&e);
		rd = t->ops->reader(t, NULL, 0, &e);
		assert_non_null(rd);
		for (n = 0; (k = reader_next(rd, &en, &c, &e)) == 1; n++)
			;
		if (k != 0 || (tar && n != 237))
			fail_msg("kind %zu: %d %zu %s", i, k, n, e.msg);
		reader_close(rd);
		t->ops->close(t);
		ranged_close(r);
	}
	buf_fini(&b);
	buf_fini(&l);
}

/* A damaged frame is found, and only where it is. */
static void
bent_frame(void **state)
{
	struct archive_read how = { .jobs = 1 };
	struct archive_write w = { .format = ARCHIVE_TAR_ZST,
	    .level = INT_MIN, .jobs = 1, .index = true };
	struct err e = ERR_INIT;
	struct content *c;
	struct ranged *r;
	struct tree *t;
	struct buf b;
	unsigned char p[4096];
	char *p_idx;
	ssize_t k;

	(void)state;
	buf_init(&b, 256 << 20);
	pack_mem(&b, &w, 20, 1 << 20, 0);
	b.p[b.len / 2] = (char)(b.p[b.len / 2] ^ 4);
	r = ranged_of(&b);
	t = archive_tree(r, &how, &lg, &e);
	assert_non_null(t);
	c = t->ops->open(t, "d000/f00019", 0, UINT64_MAX, &e);
	assert_non_null(c);
	check_bytes(c, 19, 0, 1 << 20);
	c = t->ops->open(t, "d000/f00010", 0, UINT64_MAX, &e);
	while (c != NULL && (k = content_read(c, p, sizeof(p), &e)) > 0)
		;
	assert_int_equal(e.code, CALA_INTEGRITY);
	t->ops->close(t);
	/* an index that is bent is said, and done without */
	b.p[b.len / 2] = (char)(b.p[b.len / 2] ^ 4);
	p_idx = memmem(b.p, b.len, "CALAIDXZ", 8);
	assert_non_null(p_idx);
	p_idx[60] = (char)(p_idx[60] ^ 4);
	ranged_close(r);
	r = ranged_of(&b);
	err_clear(&e);
	assert_null(index_open(r, &e));
	err_clear(&e);
	t = archive_tree(r, &how, &lg, &e);
	assert_non_null(t);
	c = t->ops->open(t, "d000/f00010", 0, UINT64_MAX, &e);
	assert_non_null(c);
	check_bytes(c, 10, 0, 1 << 20);
	t->ops->close(t);
	ranged_close(r);
	buf_fini(&b);
}

/*
 * Files of d000 in order until something is wrong; how many were as packed.
 */
static unsigned
good_files(struct ranged *r, unsigned jobs, struct err *e)
{
	static const char *const some[] = { "d000" };
	struct archive_read how = { .jobs = jobs };
	struct tree *t = archive_tree(r, &how, &lg, e);
	struct reader *rd;
	const struct entry *en;
	struct content *c;
	static unsigned char p[300000];
	unsigned n = 0;
	uint64_t at;
	ssize_t k, i;

	assert_non_null(t);
	assert_non_null(rd = t->ops->reader(t, some, 1, e));
	while (reader_next(rd, &en, &c, e) == 1) {
		if (c == NULL)
			continue;
		for (at = 0; (k = content_read(c, p, sizeof(p), e)) > 0;
		    at += (uint64_t)k)
			for (i = 0; i < k; i++)
				if (p[i] != made_byte(n, at + (uint64_t)i))
					fail_msg("%s: wrong at %ju", en->path,
					    (uintmax_t)at + (uintmax_t)i);
		if (k == -1)
			break;
		assert_int_equal(at, 1 << 20);
		n++;
	}
	reader_close(rd);
	t->ops->close(t);
	return n;
}

/* Frames decoded ahead: the same bytes, and the same damage at its place. */
static void
in_a_row(void **state)
{
	static const enum archive_format f[] = { ARCHIVE_TAR_ZST,
	    ARCHIVE_TAR_GZ };
	struct err e = ERR_INIT;
	struct ranged *r;
	struct buf b;
	unsigned jobs, n, want = 0;
	size_t i;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct archive_write w = { .format = f[i], .level = 1,
		    .jobs = 2, .index = true };

		buf_init(&b, 256 << 20);
		pack_mem(&b, &w, 24, 1 << 20, 0);
		r = ranged_of(&b);
		for (jobs = 1; jobs < 5; jobs += 1) {
			n = good_files(r, jobs, &e);
			if (n != 24)
				fail_msg("%u jobs: %u: %s", jobs, n, e.msg);
		}
		ranged_close(r);
		b.p[b.len / 5 * 4] = (char)(b.p[b.len / 5 * 4] ^ 4);
		r = ranged_of(&b);
		for (jobs = 1; jobs < 4; jobs++) {
			err_clear(&e);
			n = good_files(r, jobs, &e);
			assert_int_equal(e.code, CALA_INTEGRITY);
			if (jobs == 1)
				want = n;
			assert_int_equal(n, want);
			assert_in_range(n, 1, 22);
		}
		err_clear(&e);
		ranged_close(r);
		buf_fini(&b);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spec_vector), cmocka_unit_test(lies),
		cmocka_unit_test(announced), cmocka_unit_test(ordering),
		cmocka_unit_test(trees), cmocka_unit_test(bent_frame),
		cmocka_unit_test(in_a_row),
	};
	int r;

	log_init(&lg, getenv("T_VERBOSE") ? stderr : NULL, "t_index");
	r = cmocka_run_group_tests_name("index", tests, NULL, NULL);
	log_fini(&lg);
	return r;
}
