/* The index of a ddup repository: what is believed of it, and when it is written. */

#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "ddup/index.h"
#include "ddup/int.h"
#include "ddup/stream.h"

static int dir = -1;
static char name[] = "/tmp/cala-unit.XXXXXX";
static struct log quiet;

static int
setup(void **state)
{
	(void)state;
	log_init(&quiet, NULL, "unit");
	return mkdtemp(name) == NULL ||
	    (dir = open(name, O_RDONLY | O_DIRECTORY)) == -1;
}

static int
teardown(void **state)
{
	(void)state;
	(void)unlinkat(dir, "index", 0);
	close(dir);
	log_fini(&quiet);
	return rmdir(name);
}

/* One chunk of an index: its hash is 32 times fill. */
struct one {
	unsigned char fill;
	uint64_t id, refs;
};

/* An index with count in its header, n chunks, ids that are free, and a tail. */
static void
make(uint64_t next, uint64_t count, const struct one *v, size_t n,
    const uint64_t *free_ids, size_t nfree, size_t tail)
{
	struct err e = ERR_INIT;
	unsigned char head[32], hash[32];
	struct dsink *d;
	size_t i;
	int fd;

	(void)unlinkat(dir, "index", 0);
	fd = openat(dir, "index", O_WRONLY | O_CREAT, 0600);
	assert_true(fd != -1);
	d = dsink_new(fd, "index", &e);
	assert_non_null(d);
	put_le64(head, nfree);
	put_le32(head + 8, 65536);
	put_le32(head + 12, 7);
	put_le64(head + 16, count);
	put_le64(head + 24, next);
	dsink_begin(d, 6);
	dsink_put(d, head, sizeof(head));
	for (i = 0; i < nfree; i++)
		dsink_varint(d, free_ids[i]);
	for (i = 0; i < n; i++) {
		memset(hash, v[i].fill, sizeof(hash));
		dsink_put(d, hash, sizeof(hash));
		dsink_varint(d, v[i].id);
		dsink_varint(d, v[i].refs);
	}
	memset(hash, 0, sizeof(hash));
	dsink_put(d, hash, tail);
	dsink_end(d);
	assert_ok(dsink_flush(d, &e), &e);
	dsink_free(d);
	close(fd);
}

static void
load(struct index *ix)
{
	struct err e = ERR_INIT;

	index_init(ix);
	assert_ok(index_load(ix, dir, "index", &quiet, &e), &e);
}

static void
damaged(const char *why)
{
	struct index ix;

	load(&ix);
	if (strstr(ix.damage, why) == NULL)
		fail_msg("'%s', not '%s'", ix.damage, why);
	index_fini(&ix);
}

static void
rules(void **state)
{
	static const struct one good[] = { { 1, 9, 2 }, { 2, 3, 0 } };
	static const struct one twice[] = { { 1, 3, 2 }, { 2, 3, 0 } };
	static const struct one zero[] = { { 1, 0, 2 } };
	struct index ix;
	unsigned char hash[32];

	(void)state;
	make(10, 2, good, 2, NULL, 0, 0);
	load(&ix);
	assert_string_equal(ix.damage, "");
	assert_int_equal(ix.n, 2);
	assert_int_equal(ix.chunk_size, 65536);
	assert_int_equal(ix.max_count, 7);
	memset(hash, 1, sizeof(hash));
	assert_int_equal(index_find(&ix, hash), index_id(&ix, 9));
	assert_int_equal(index_refs(&ix, index_id(&ix, 9)), 2);
	assert_int_equal(index_id(&ix, 4), INDEX_NONE);
	index_fini(&ix);

	make(10, 3, good, 2, NULL, 0, 0);
	damaged("ends too early");
	make(10, 3, good, 2, NULL, 0, 20);      /* a part of a third */
	damaged("ends too early");
	make(10, 2, good, 2, NULL, 0, 1);
	damaged("goes on");
	make(10, 1, good, 2, NULL, 0, 0);
	damaged("goes on");
	make(10, UINT64_MAX, good, 2, NULL, 0, 0);
	damaged("ends too early");
	make(10, 2, twice, 2, NULL, 0, 0);
	damaged("two chunks have one id");
	make(10, 1, zero, 1, NULL, 0, 0);
	damaged("id 0");
	/* Five bytes hold an id; cut to them it would be given twice. */
	make(INDEX_ID_MAX + 1, 2, good, 2, NULL, 0, 0);
	damaged("the next id is");
	make(INDEX_ID_MAX, 2, good, 2, NULL, 0, 0);
	load(&ix);
	assert_string_equal(ix.damage, "");
	index_fini(&ix);
}

static void
mended(void **state)
{
	static const struct one v[] = { { 1, 9, 2 }, { 2, 3, 1 } };
	static const uint64_t ids[] = { 5, 3, 200 };
	struct index ix;

	(void)state;
	/* A free id that is in use, a next one that was given. */
	make(4, 2, v, 2, ids, 3, 0);
	load(&ix);
	assert_string_equal(ix.damage, "");
	assert_int_equal(ix.ndeleted, 2);
	assert_int_equal(ix.next_id, 10);
	assert_int_equal(ix.fixed, 2);
	index_fini(&ix);
}

static void
saved(void **state)
{
	static const struct one v[] = { { 1, 9, 2 }, { 2, 3, 1 }, { 3, 4, 7 } };
	static const struct one other[] = { { 3, 8, 1 }, { 5, 9, 1 } };
	static const uint64_t ids[] = { 5, 200 };
	struct err e = ERR_INIT;
	struct index ix, two;
	unsigned char hash[32];
	uint32_t ref, kept;

	(void)state;
	make(10, 3, v, 3, ids, 2, 0);
	load(&ix);
	memset(hash, 4, sizeof(hash));
	assert_ok(index_add(&ix, hash, &ref, &e), &e);
	/* Without an id it is nobody's; the dead are not written. */
	kept = index_id(&ix, 3);
	index_set_word(&ix, index_id(&ix, 9), INDEX_DEAD);
	assert_ok(index_save(&ix, dir, &e), &e);
	load(&two);
	assert_string_equal(two.damage, "");
	assert_int_equal(two.n, 2);
	assert_int_equal(two.ndeleted, 2);
	assert_true(index_sum(&two, ix.file.sum));
	assert_int_equal(index_refs(&two, index_id(&two, 4)), 7);
	index_fini(&two);

	/* Another program's: never written over; read again, places stay. */
	make(10, 2, other, 2, NULL, 0, 0);
	assert_int_equal(index_save(&ix, dir, &e), -1);
	assert_int_equal(e.code, CALA_LOCKED);
	load(&two);
	assert_int_equal(two.n, 2);
	index_fini(&two);
	assert_ok(index_reload(&ix, dir, "index", &quiet, &e), &e);
	memset(hash, 3, sizeof(hash));
	assert_int_equal(index_get_id(&ix, index_find(&ix, hash)), 8);
	memset(hash, 2, sizeof(hash));
	assert_int_equal(index_find(&ix, hash), kept);
	assert_int_equal(index_get_id(&ix, kept), 0);
	memset(hash, 4, sizeof(hash));
	assert_int_equal(index_find(&ix, hash), ref);
	index_fini(&ix);
}

/*
 * A file can't make much more of itself than it is: n chunks of one hash or all
 * of a pattern, told by fill.
 */
static void
bomb(size_t n, bool same)
{
	struct err e = ERR_INIT;
	unsigned char head[32] = { 0 }, hash[32] = { 0 };
	struct dsink *d;
	size_t i;
	int fd;

	(void)unlinkat(dir, "index", 0);
	fd = openat(dir, "index", O_WRONLY | O_CREAT, 0600);
	assert_true(fd != -1);
	d = dsink_new(fd, "index", &e);
	assert_non_null(d);
	put_le64(head + 16, n);
	put_le64(head + 24, n + 1);
	dsink_begin(d, same ? 0 : 6);
	dsink_put(d, head, sizeof(head));
	for (i = 1; i <= n; i++) {
		if (!same)
			put_le32(hash, (uint32_t)i);
		dsink_put(d, hash, sizeof(hash));
		dsink_varint(d, i);
		dsink_varint(d, 1);
	}
	dsink_end(d);
	assert_ok(dsink_flush(d, &e), &e);
	dsink_free(d);
	close(fd);
}

static void
in_order(void **state)
{
	static const struct one v[] = { { 1, 9, 1 }, { 2, 3, 1 }, { 3, 4, 1 },
	    { 4, 12, 1 }, { 5, 1, 1 }, { 6, 2, 1 }, { 7, 11, 1 }, { 8, 5, 1 } };
	struct err e = ERR_INIT;
	unsigned char hash[32];
	struct index ix, two;
	uint32_t i, at;

	(void)state;
	make(13, 8, v, 8, NULL, 0, 0);
	load(&ix);
	assert_false(ix.ascending);
	assert_ok(index_save(&ix, dir, &e), &e);
	load(&two);
	assert_true(two.ascending);
	assert_int_equal(two.n, 8);
	for (i = 0; i < 8; i++) {
		memset(hash, v[i].fill, sizeof(hash));
		assert_int_equal(index_get_id(&two, index_find(&two, hash)),
		    v[i].id);
		/* From wherever: it is the same chunk. */
		for (at = 0; at < 12; at++)
			assert_int_equal(index_near(&two, hash, at),
			    index_find(&two, hash));
	}
	memset(hash, 77, sizeof(hash));
	assert_int_equal(index_near(&two, hash, 0), INDEX_NONE);
	index_fini(&two);
	index_fini(&ix);
}

static void
bombs(void **state)
{
	uint64_t *ids = calloc(400000, sizeof(*ids));
	struct err e = ERR_INIT;
	struct index ix;
	struct stat st;

	(void)state;
	assert_non_null(ids);
	bomb(200000, false);
	assert_int_equal(fstatat(dir, "index", &st, 0), 0);
	damaged("more chunks than a file of its size has");
	load(&ix);
	assert_int_equal(ix.n, st.st_size / 16 + 1024);
	index_fini(&ix);

	/* Each would look at all before it. */
	bomb(100000, true);
	damaged("thousands of ids");
	load(&ix);
	assert_int_equal(ix.n, INDEX_PROBES + 1);
	assert_ok(index_reload(&ix, dir, "index", &quiet, &e), &e);
	assert_string_not_equal(ix.damage, "");
	index_fini(&ix);

	make(10, 0, NULL, 0, ids, 400000, 0);
	damaged("more deleted ids than");
	free(ids);
}

/* Two ids of one chunk, as releases before 0.8 made them. */
static void
two_ids(void **state)
{
	static const struct one v[] = { { 1, 9, 2 }, { 1, 3, 1 } };
	struct err e = ERR_INIT;
	struct index ix;
	unsigned char hash[32];
	uint32_t a, b, at;

	(void)state;
	make(10, 2, v, 2, NULL, 0, 0);
	load(&ix);
	assert_string_equal(ix.damage, "");
	memset(hash, 1, sizeof(hash));
	at = INDEX_NONE;
	a = index_each(&ix, hash, &at);
	assert_int_equal(a, index_find(&ix, hash));
	b = index_each(&ix, hash, &at);
	assert_int_not_equal(b, INDEX_NONE);
	assert_int_equal(index_each(&ix, hash, &at), INDEX_NONE);
	assert_int_equal(index_get_id(&ix, a) + index_get_id(&ix, b), 12);
	assert_ok(index_reload(&ix, dir, "index", &quiet, &e), &e);
	assert_int_equal(ix.n, 2);
	assert_int_equal(index_get_id(&ix, a) + index_get_id(&ix, b), 12);
	index_fini(&ix);
}

/* Many chunks: the table grows, ids in any order are found. */
static void
many(void **state)
{
	struct err e = ERR_INIT;
	unsigned char hash[32] = { 0 };
	struct index ix;
	uint32_t i, ref;

	(void)state;
	index_init(&ix);
	for (i = 0; i < 40000; i++) {
		put_le32(hash + 5, i);
		assert_ok(index_add(&ix, hash, &ref, &e), &e);
		index_set_id(&ix, ref, 1 + (i * 7919u) % 40009u);
	}
	assert_ok(index_ids(&ix, &e), &e);
	for (i = 0; i < 40000; i++) {
		put_le32(hash + 5, i);
		assert_int_equal(index_find(&ix, hash), i);
		assert_int_equal(index_id(&ix, index_get_id(&ix, i)), i);
	}
	index_fini(&ix);
}

static void
lock_file(void **state)
{
	static const unsigned char create[48] =
	    { 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xf9, 0x66 };
	unsigned char out[FOREIGN_SIZE];
	struct foreign f;

	(void)state;
	assert_int_equal(foreign_parse(&f, create, sizeof(create)), 0);
	assert_int_equal(f.mode, FOREIGN_CREATE);
	assert_true(f.writer);
	assert_int_equal(f.pid, 0x66f9);
	foreign_bytes(&f, out);
	assert_memory_equal(out, create, sizeof(out));
	/* Counters that are missing are none. */
	assert_int_equal(foreign_parse(&f, create, 24), 0);
	assert_int_equal(f.readers[2], 0);
	assert_int_equal(foreign_parse(&f, create, 23), -1);
}

static void
names(void **state)
{
	(void)state;
	assert_true(ddup_name_ok("a"));
	assert_false(ddup_name_ok(""));
	assert_false(ddup_name_ok(".a"));
	assert_false(ddup_name_ok("a/b"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules), cmocka_unit_test(mended),
		cmocka_unit_test(saved), cmocka_unit_test(in_order),
		cmocka_unit_test(bombs),
		cmocka_unit_test(two_ids),
		cmocka_unit_test(many), cmocka_unit_test(lock_file),
		cmocka_unit_test(names)
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
