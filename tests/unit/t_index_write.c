/* The index of spec s3 §10: its vectors, and the shapes around the blob. */
#include "unit.h"
#include "io_mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#include "archive/indexw.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/code.h"
#include "base/io.h"
#include "entry/entry.h"

static struct indexw *
vector(void)
{
	struct entry en = { .type = ENTRY_FILE, .mode = 0644, .uid = 1000,
	    .gid = 1000, .mtime = { 1700000000, 0 } };
	struct indexw_member m = { 0, 512, 6, '0', &en, "a/x.txt", NULL };
	struct err e = ERR_INIT;
	struct indexw *ix = indexw_new("/tmp", &e);

	assert_non_null(ix);
	assert_ok(indexw_entry(ix, &m, &e), &e);
	m = (struct indexw_member){ 1024, 1536, 7, '0', &en, "a/y.txt",
	    NULL };
	assert_ok(indexw_entry(ix, &m, &e), &e);
	assert_ok(indexw_frame(ix, 111, 3072, 0x006acf77, &e), &e);
	return ix;
}

static const char blob_hex[] =
    "43414c4149445831" "0100" "0000" "02000000" "01000000" "00000000"
    "000c000000000000" "3000000000000000" "4c00000000000000"
    "0000000000000000" "0000000000000000" "6f000000" "000c0000" "77cf6a00"
    "00800406" "30a403e807e80780c49fd50c" "0007612f782e747874"
    "8008800407" "30a403e807e80780c49fd50c" "0205792e747874";

static void
blob(void **state)
{
	struct indexw *ix = vector();
	struct err e = ERR_INIT;
	char hex[512];
	struct mem m;

	(void)state;
	mem_init(&m);
	assert_ok(indexw_blob(ix, &m.s, 3072, 0, &e), &e);
	assert_int_equal(m.b.len, 125);
	hex_put(m.b.p, m.b.len, hex);
	assert_string_equal(hex, blob_hex);
	buf_fini(&m.b);
	indexw_free(ix);
}

static void
partial(void **state)
{
	struct indexw *ix = vector();
	struct err e = ERR_INIT;
	struct mem m;

	(void)state;
	mem_init(&m);
	assert_ok(indexw_blob(ix, &m.s, 3072, 7, &e), &e);
	assert_int_equal(get_le16(m.b.p + 10), 2);
	assert_int_equal(get_le32(m.b.p + 20), 7);
	buf_fini(&m.b);
	indexw_free(ix);
}

/* All that zstd makes of several frames behind one another. */
static size_t
unzstd(const void *p, size_t n, unsigned char *out, size_t cap)
{
	size_t k = ZSTD_decompress(out, cap, p, n);

	assert_false(ZSTD_isError(k));
	return k;
}

static void
zst(void **state)
{
	struct indexw *ix = vector();
	unsigned char raw[256];
	struct err e = ERR_INIT;
	const unsigned char *p, *t;
	char hex[512];
	size_t c_len;
	struct mem m;

	(void)state;
	mem_init(&m);
	assert_ok(indexw_zst(ix, &m.s, 3072, 0, &e), &e);
	p = (unsigned char *)m.b.p;
	assert_int_equal(get_le32(p), 0x184D2A5C);
	assert_memory_equal(p + 8, "CALAIDXZ\1\0\1\0\0\0\0\0", 16);
	c_len = get_le64(p + 32);
	assert_int_equal(get_le32(p + 4), 40 + c_len);
	assert_int_equal(get_le64(p + 24), 125);
	assert_int_equal(unzstd(p + 48, c_len, raw, sizeof(raw)), 125);
	assert_int_equal(get_le64(p + 40), XXH64(raw, 125, 0));
	hex_put(raw, 125, hex);
	assert_string_equal(hex, blob_hex);
	t = p + 48 + c_len;
	assert_int_equal(get_le32(t), 0x184D2A5E);
	assert_int_equal(get_le32(t + 4), 2 * 12 + 9);
	hex_put(t + 8, 12, hex);
	assert_string_equal(hex, "6f000000000c000077cf6a00");
	assert_int_equal(get_le32(t + 20), 48 + c_len);
	hex_put(t + 24, 8, hex);
	assert_string_equal(hex, "0000000099e9d851");
	hex_put(t + 32, 9, hex);
	assert_string_equal(hex, "0200000080b1ea928f");
	assert_int_equal(m.b.len, (size_t)(t - p) + 41);
	buf_fini(&m.b);
	indexw_free(ix);
}

/* Enough entries for several members and for the unlinked file. */
static void
gz(void **state)
{
	enum { N = 300000 };
	struct entry en = { .type = ENTRY_FILE, .mode = 0600 };
	struct indexw_member im = { 0, 0, 0, '0', &en, NULL, NULL };
	struct err e = ERR_INIT;
	struct indexw *ix = indexw_new("/tmp", &e);
	struct buf comp;
	const unsigned char *p, *f;
	unsigned char *raw;
	size_t off, n, members = 0, k;
	uint32_t x = 1;
	char name[64];
	struct mem m;
	int i;

	(void)state;
	mem_init(&m);
	buf_init(&comp, 64 << 20);
	for (i = 0; i < N; i++) {
		x = x * 1664525 + 1013904223;
		snprintf(name, sizeof(name), "dir/%08x%08x", x, x * 77777);
		im.path = name;
		im.header = (uint64_t)i * 1024;
		im.data = im.header + 512;
		im.stored = x & 511;
		assert_ok(indexw_entry(ix, &im, &e), &e);
	}
	assert_ok(indexw_frame(ix, 1000, 4096, 1, &e), &e);
	assert_ok(indexw_frame(ix, 2000, 4096, 2, &e), &e);
	assert_ok(indexw_gz(ix, &m.s, 8192, 0, &e), &e);
	p = (unsigned char *)m.b.p;
	f = p + m.b.len - 66;
	assert_memory_equal(f, "\x1f\x8b\x08\x04\0\0\0\0\0\xff\x2c\0CF\x28\0"
	    "CALAGZX1", 24);
	assert_int_equal(get_le64(f + 24), 3000);
	assert_int_equal(get_le64(f + 32), m.b.len - 66);
	for (off = 0; off < m.b.len - 66; off += 26 + n) {
		n = get_le16(p + off + 14);
		assert_memory_equal(p + off + 12, "CI", 2);
		assert_true(n <= 65000 && off + 26 + n <= m.b.len - 66);
		assert_memory_equal(p + off + 16 + n, "\3\0\0\0\0\0\0\0\0\0",
		    10);
		buf_add(&comp, p + off + 16, n);
		members++;
	}
	assert_true(members > 20);      /* more than is kept in memory */
	assert_int_equal(get_le64(f + 40), comp.len);
	assert_int_equal(get_le64(f + 48), XXH64(comp.p, comp.len, 0));
	raw = malloc(32 << 20);
	assert_non_null(raw);
	k = unzstd(comp.p, comp.len, raw, 32 << 20);
	assert_memory_equal(raw, "CALAIDX1", 8);
	assert_int_equal(get_le32(raw + 12), N);
	assert_int_equal(get_le32(raw + 16), 2);
	/* The last suffix is the end of the blob. */
	assert_memory_equal(raw + k - 4, name + strlen(name) - 4, 4);
	free(raw);
	buf_fini(&comp);
	buf_fini(&m.b);
	indexw_free(ix);
}

static void
no_folder(void **state)
{
	struct entry en = { .type = ENTRY_FILE, .mode = 0600 };
	struct indexw_member im = { 0, 512, 0, '0', &en, NULL, NULL };
	struct err e = ERR_INIT;
	struct indexw *ix = indexw_new("/nonexistent", &e);
	uint32_t x = 1;
	char name[64];
	int i, ret = 0;

	(void)state;
	/* An index that can't be kept is an error, not a shorter index. */
	for (i = 0; i < 1000000 && ret == 0; i++) {
		x = x * 1664525 + 1013904223;
		snprintf(name, sizeof(name), "%08x%08x", x, x * 77777);
		im.path = name;
		ret = indexw_entry(ix, &im, &e);
	}
	assert_int_equal(ret, -1);
	assert_non_null(strstr(e.msg, "/nonexistent"));
	indexw_free(ix);
}

int
main(void)
{
	const struct CMUnitTest t[] = {
		cmocka_unit_test(blob), cmocka_unit_test(partial),
		cmocka_unit_test(zst), cmocka_unit_test(gz),
		cmocka_unit_test(no_folder)
	};

	return cmocka_run_group_tests(t, NULL, NULL);
}
