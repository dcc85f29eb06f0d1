/*
 * What archive_writer() writes, checked against the programs that must read it
 * in tests/bats/pack.bats and against the bytes here.
 */
#include "unit.h"
#include "io_mem.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/archive.h"
#include "archive/pax.h"
#include "archive/tarr.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/io.h"
#include "base/log.h"

/* Content that is a function of its position; reads in odd pieces. */
struct made {
	struct content c;
	unsigned seed;
};

static unsigned char
at(unsigned seed, uint64_t pos)
{
	uint64_t x = (pos / 7 + seed) * UINT64_C(0x9E3779B97F4A7C15);

	/* Half noise, half runs. */
	return (pos >> 16 & 1) != 0 ? (unsigned char)(x >> 56) :
	    (unsigned char)((pos + seed) * UINT64_C(0xD6E8FEB86659FD93) >>
	    57);
}

static ssize_t
made_read(struct content *c, void *v, size_t n, struct err *e)
{
	unsigned char *p = v;
	size_t i;

	(void)e;
	if (n > 100001)
		n = 100001;
	for (i = 0; i < n; i++)
		p[i] = at(((struct made *)c)->seed, c->pos + i);
	return (ssize_t)n;
}

static int
made_skip(struct content *c, uint64_t n, struct err *e)
{
	(void)c, (void)n, (void)e;
	return 0;
}

static const struct content_ops made_ops = { made_read, made_skip, NULL };

static void
put(struct writer *w, struct entry *en, unsigned seed)
{
	struct made m = { { .ops = &made_ops, .size = en->size }, seed };
	struct err e = ERR_INIT;

	assert_ok(writer_put(w, en, en->type == ENTRY_FILE ? &m.c : NULL,
	    &e), &e);
}

static struct entry
file(const char *path, uint64_t size)
{
	struct entry en = { .type = ENTRY_FILE, .path = path, .size = size,
	    .mode = 0644, .uid = 1000, .gid = 1000, .uname = "", .gname = "",
	    .mtime = { 1700000000, 0 } };

	return en;
}

/* The same tree in a format; out gets the bytes. */
static void
tree(struct mem *m, const struct archive_write *how, bool warn)
{
	static const char big[] = "world/region/r.0.0.mca";
	struct err e = ERR_INIT;
	struct writer *w;
	struct entry en;
	char name[64];
	struct log log;
	int i;

	log_init(&log, NULL, "t");
	mem_init(m);
	w = archive_writer(&m->s, how, &log, &e);
	if (w == NULL)
		fail_msg("%s", e.msg);
	en = file("", 0);
	en.type = ENTRY_DIR;
	put(w, &en, 0);
	for (i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "data/%03d.dat", i);
		en = file(name, (uint64_t)i * 97);
		put(w, &en, (unsigned)i);
	}
	en = file(big, 19 * 1000 * 1000);
	put(w, &en, 5);
	en = file("z", 3);
	put(w, &en, 5);
	if (warn)
		log_warn(&log, "x: unreadable");
	assert_ok(writer_commit(w, &e), &e);
	assert_int_equal(archive_writer_sum(w)->entries, 303);
	assert_int_equal(archive_writer_sum(w)->files, 302);
	assert_int_equal(m->commits, 1);
	assert_int_equal(m->s.pos, m->b.len);
	writer_free(w);
	log_fini(&log);
}

static const struct archive_write plain =
    { .format = ARCHIVE_TAR, .level = INT_MIN, .jobs = 1 };

static void
marks(void **state)
{
	static const char begin[] = "23 comment=cala-pack 1\n";
	static const char end[] = " comment=cala-pack 1 end entries=303 "
	    "files=302 size=23350453 warnings=1\n";
	struct mark mark;
	struct mem m;
	char *text;
	size_t i;

	(void)state;
	tree(&m, &plain, true);
	assert_int_equal(m.b.len % 10240, 0);
	assert_int_equal(m.b.p[156], 'g');
	assert_memory_equal(m.b.p + 512, begin, sizeof(begin) - 1);
	for (i = m.b.len / 512; tarr_zero(m.b.p + (i - 1) * 512, 512); i--)
		;
	assert_true(m.b.len / 512 - i >= 2);
	/* Behind the mark stands the first directory, in the same bytes. */
	assert_int_equal(m.b.p[(i - 1) * 512 + 156], '5');
	assert_memory_equal(m.b.p + (i - 1) * 512, m.b.p + 1024, 512);
	text = (char *)m.b.p + (i - 2) * 512;
	assert_non_null(strstr(text, end));
	assert_true(mark_tail((unsigned char *)m.b.p + (i - 3) * 512,
	    m.b.len - (i - 3) * 512, &mark));
	assert_int_equal(mark.warnings, 1);
	buf_fini(&m.b);
}

static void
nothing_without_commit(void **state)
{
	struct archive_write how = { .format = ARCHIVE_TAR_ZST,
	    .level = INT_MIN, .jobs = 2, .index = true };
	struct err e = ERR_INIT;
	struct writer *w;
	struct entry en = file("a", 30 << 20);
	struct log log;
	struct mem m;
	size_t i;

	(void)state;
	log_init(&log, NULL, "t");
	mem_init(&m);
	w = archive_writer(&m.s, &how, &log, &e);
	assert_non_null(w);
	put(w, &en, 1);
	writer_free(w);
	assert_int_equal(m.commits, 0);
	for (i = 0; i + 8 < m.b.len; i++)
		assert_int_not_equal(memcmp(m.b.p + i, "CALAIDX", 7), 0);
	buf_fini(&m.b);
	log_fini(&log);
}

/* Any number of threads gives the same bytes, in every format. */
static void
same_bytes(void **state)
{
	static const enum archive_format f[] = { ARCHIVE_TAR_ZST,
	    ARCHIVE_TAR_GZ, ARCHIVE_TAR_XZ, ARCHIVE_TAR_LZ, ARCHIVE_TAR_BZ2,
	    ARCHIVE_TAR_LZ4 };
	struct archive_write how = plain;
	struct mem one, many;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(f) / sizeof(*f); i++) {
		how.format = f[i];
		how.level = f[i] == ARCHIVE_TAR_XZ || f[i] == ARCHIVE_TAR_LZ ?
		    0 : 1;
		how.index = true;
		how.jobs = 1;
		tree(&one, &how, false);
		how.jobs = 3;
		tree(&many, &how, false);
		assert_int_equal(one.b.len, many.b.len);
		assert_memory_equal(one.b.p, many.b.p, one.b.len);
		buf_fini(&many.b);
		/* Nor does it matter how tight memory is. */
		if (f[i] == ARCHIVE_TAR_ZST) {
			how.memory = 38 << 20;
			tree(&many, &how, false);
			assert_int_equal(one.b.len, many.b.len);
			assert_memory_equal(one.b.p, many.b.p, one.b.len);
			buf_fini(&many.b);
			how.memory = 0;
		}
		buf_fini(&one.b);
	}
}

/* What the other side makes of every format, partial or not. */
static void
proven(void **state)
{
	static const struct {
		enum archive_format f;
		bool index, trailer;
		enum archive_proof proof;
	} t[] = {
		{ ARCHIVE_TAR, true, true, PROOF_INNER },
		{ ARCHIVE_TAR_ZST, true, true, PROOF_INDEX },
		{ ARCHIVE_TAR_ZST, false, true, PROOF_TRAILER },
		{ ARCHIVE_TAR_ZST, false, false, PROOF_INNER },
		{ ARCHIVE_TAR_GZ, true, true, PROOF_INDEX },
		{ ARCHIVE_TAR_GZ, false, false, PROOF_INNER },
		{ ARCHIVE_TAR_LZ4, true, true, PROOF_INNER },
		{ ARCHIVE_ZIP, true, true, PROOF_INNER }
	};
	struct archive_write how = plain;
	struct archive_facts f;
	struct err e = ERR_INIT;
	struct proof *p;
	struct mem m;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		how.format = t[i].f;
		how.index = t[i].index;
		how.trailer = t[i].trailer;
		tree(&m, &how, i % 2 == 0);
		p = proof_new(true, &e);
		assert_non_null(p);
		assert_ok(proof_feed(p, m.b.p, m.b.len, &e), &e);
		assert_ok(proof_end(p, &f, &e), &e);
		assert_int_equal(f.proof, t[i].proof);
		assert_true(f.cala && f.counted);
		assert_int_equal(f.partial, i % 2 == 0);
		assert_int_equal(f.warnings, i % 2 == 0);
		assert_int_equal(f.entries, 303);
		assert_int_equal(f.files, 302);
		assert_int_equal(f.size, 23350453);
		proof_free(p);
		buf_fini(&m.b);
	}
}

static void
too_little_memory(void **state)
{
	struct archive_write how = { .format = ARCHIVE_TAR_ZST, .level = 19,
	    .jobs = 4, .memory = 64 << 20 };
	struct err e = ERR_INIT;
	struct log log;
	struct mem m;

	(void)state;
	log_init(&log, NULL, "t");
	mem_init(&m);
	assert_null(archive_writer(&m.s, &how, &log, &e));
	assert_int_equal(e.code, CALA_USAGE);
	assert_int_equal(m.b.len, 0);
	buf_fini(&m.b);
	log_fini(&log);
}

static void
records(void **state)
{
	static const unsigned char acl[] = { 2, 0, 0, 0,
	    1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 210, 4, 0, 0,
	    4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255,
	    32, 0, 0, 0, 255, 255, 255, 255 };
	struct xattr x[] = {
		{ "user.a=b%", "v\0w", 3 },
		{ "system.posix_acl_access", acl, sizeof(acl) },
		{ "system.posix_acl_default", "bad", 3 }
	};
	static const char want[] =
	    "12 size=123\n"
	    "34 SCHILY.xattr.user.a%3Db%25=v\0w\n"
	    "77 SCHILY.acl.access=user::rw-,user:1234:r--,group::r--,"
	    "mask::r--,other::---\n"
	    "45 SCHILY.xattr.system.posix_acl_default=bad\n";
	struct entry en = file("a", 0);
	struct log log;
	struct buf b;
	char big[200];

	(void)state;
	log_init(&log, NULL, "t");
	buf_init(&b, 1 << 20);
	en.xattrs = x;
	en.nxattrs = 3;
	pax_u64(&b, "size", 123);
	pax_xattrs(&b, &en, &log);
	assert_int_equal(b.len, sizeof(want) - 1);
	assert_memory_equal(b.p, want, b.len);
	buf_reset(&b);
	/* A length that grows by a digit when its own digits are counted. */
	memset(big, 'x', sizeof(big));
	pax_add(&b, "a", big, 94);
	assert_int_equal(b.len, 101);
	assert_memory_equal(b.p, "101 a=", 6);
	buf_reset(&b);
	pax_add(&b, "a", big, 93);
	assert_int_equal(b.len, 99);
	assert_memory_equal(b.p, "99 a=", 5);
	buf_reset(&b);
	pax_time(&b, "mtime", (struct timespec){ -2, 250000000 });
	assert_string_equal(b.p, "22 mtime=-1.750000000\n");
	buf_reset(&b);
	pax_time(&b, "mtime", (struct timespec){ -1, 500000000 });
	assert_string_equal(b.p, "22 mtime=-0.500000000\n");
	buf_fini(&b);
	log_fini(&log);
}

int
main(void)
{
	const struct CMUnitTest t[] = {
		cmocka_unit_test(marks), cmocka_unit_test(records),
		cmocka_unit_test(nothing_without_commit),
		cmocka_unit_test(same_bytes), cmocka_unit_test(proven),
		cmocka_unit_test(too_little_memory)
	};

	return cmocka_run_group_tests(t, NULL, NULL);
}
