/* proof: what a sink may believe of a stream that has ended. */

#include "unit.h"
#include "pack_mem.h"

#include "base/bytes.h"
#include "base/code.h"

static void
prove(struct archive_facts *f, const void *v, size_t n, size_t chunk,
    bool decode)
{
	static char why[800];
	const unsigned char *p = v;
	struct err e = ERR_INIT;
	struct proof *pr = proof_new(decode, &e);
	size_t k;

	assert_non_null(pr);
	for (; n > 0; p += k, n -= k) {
		k = n < chunk ? n : chunk;
		assert_ok(proof_feed(pr, p, k, &e), &e);
	}
	assert_ok(proof_end(pr, f, &e), &e);
	if (f->why != NULL) {
		snprintf(why, sizeof(why), "%s", f->why);
		f->why = why;
	}
	proof_free(pr);
}

static const struct made_kind {
	enum archive_format f;
	bool index, trailer, foreign;
	enum archive_proof want;
} kinds[] = {
	{ ARCHIVE_TAR, false, false, false, PROOF_INNER },
	{ ARCHIVE_TAR, false, false, true, PROOF_FOREIGN },
	{ ARCHIVE_TAR_ZST, true, false, false, PROOF_INDEX },
	{ ARCHIVE_TAR_ZST, false, true, false, PROOF_TRAILER },
	{ ARCHIVE_TAR_ZST, false, false, false, PROOF_INNER },
	{ ARCHIVE_TAR_ZST, false, false, true, PROOF_FOREIGN },
	{ ARCHIVE_TAR_GZ, true, false, false, PROOF_INDEX },
	{ ARCHIVE_TAR_GZ, false, false, false, PROOF_INNER },
	{ ARCHIVE_TAR_GZ, false, false, true, PROOF_FOREIGN },
	{ ARCHIVE_TAR_XZ, false, false, false, PROOF_INNER },
	{ ARCHIVE_TAR_BZ2, false, false, false, PROOF_INNER },
	{ ARCHIVE_TAR_LZ4, false, false, false, PROOF_INNER },
	{ ARCHIVE_TAR_LZ, false, false, false, PROOF_INNER },
	{ ARCHIVE_ZIP, false, false, false, PROOF_INNER },
	{ ARCHIVE_ZIP, false, false, true, PROOF_FOREIGN },
	{ ARCHIVE_7Z, false, false, false, PROOF_FOREIGN },
};

static void
make(struct buf *b, const struct made_kind *k, unsigned files, uint64_t size,
    unsigned warnings)
{
	struct archive_write how = { .format = k->f, .level = INT_MIN,
	    .jobs = 1, .index = k->index, .trailer = k->trailer,
	    .foreign = k->foreign };

	pack_mem(b, &how, files, size, warnings);
}

/* Whole: the proof there is, however the bytes come. */
static void
whole(void **state)
{
	static const size_t chunks[] = { 1, 13, 511, 4096, 65536, SIZE_MAX };
	struct archive_facts f;
	struct buf b;
	size_t i, c;
	int decode;

	(void)state;
	buf_init(&b, 64 << 20);
	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		make(&b, &kinds[i], 120, 700, 0);
		for (c = 0; c < sizeof(chunks) / sizeof(*chunks); c++)
			for (decode = 0; decode < 2; decode++) {
				prove(&f, b.p, b.len, chunks[c], decode);
				if (f.proof != kinds[i].want)
					fail_msg("kind %zu chunk %zu decode %d:"
					    " %d %s", i, chunks[c], decode,
					    f.proof, f.why ? f.why : "");
				assert_true(f.known && f.format == kinds[i].f);
				assert_true(f.cala == (!kinds[i].foreign &&
				    kinds[i].f != ARCHIVE_7Z));
				assert_false(f.partial);
				if (f.counted && kinds[i].f < ARCHIVE_ZIP) {
					assert_int_equal((int)f.entries, 126);
					assert_int_equal((int)f.files, 123);
					assert_int_equal((int)f.size, 84000);
				}
			}
	}
	buf_fini(&b);
}

/* Exit 3 survives the pipe. */
static void
partial(void **state)
{
	struct archive_facts f;
	struct buf b;
	size_t i;

	(void)state;
	buf_init(&b, 64 << 20);
	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (kinds[i].foreign || kinds[i].f == ARCHIVE_7Z)
			continue;
		make(&b, &kinds[i], 3, 10, 5);
		prove(&f, b.p, b.len, 1000, false);
		if (!f.partial || f.warnings != 5)
			fail_msg("kind %zu: %ju", i, (uintmax_t)f.warnings);
	}
	buf_fini(&b);
}

/* Cut anywhere: no proof; never a wrong one, never a good one. */
static void
cut(void **state)
{
	struct archive_facts f;
	struct buf b;
	size_t i, n, step, less;

	(void)state;
	buf_init(&b, 64 << 20);
	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		make(&b, &kinds[i], 300, 300, 0);
		step = b.len / 60 + 1;
		less = 0;
		for (n = 0; n < b.len; n += n + step < b.len ||
		    n == b.len - 1 ? step : b.len - 1 - n) {
			prove(&f, b.p, n, 4096, false);
			/* less its trailer, it still has its inner mark */
			if (f.proof == PROOF_INNER && kinds[i].trailer &&
			    n == b.len - 56)
				continue;
			/* so it has less its index: in one place */
			if (f.proof == PROOF_INNER && kinds[i].index &&
			    ++less == 1)
				continue;
			/* zeros behind the end of a tar are padding */
			if (f.proof == PROOF_FOREIGN &&
			    kinds[i].f == ARCHIVE_TAR && n + 9216 > b.len)
				continue;
			if (f.proof == PROOF_INNER &&
			    kinds[i].f == ARCHIVE_TAR && n + 9216 > b.len)
				continue;
			if (f.proof != PROOF_NONE)
				fail_msg("kind %zu cut at %zu of %zu: %d %s",
				    i, n, b.len, f.proof,
				    f.why ? f.why : "");
			assert_non_null(f.why);
		}
	}
	buf_fini(&b);
}

/* Large enough for several frames and members. */
static void
many_frames(void **state)
{
	struct archive_facts f;
	struct buf b;
	size_t i;

	(void)state;
	buf_init(&b, 256 << 20);
	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (kinds[i].f != ARCHIVE_TAR_ZST &&
		    kinds[i].f != ARCHIVE_TAR_GZ)
			continue;
		make(&b, &kinds[i], 30, 700000, 0);
		prove(&f, b.p, b.len, 65536, false);
		if (f.proof != kinds[i].want)
			fail_msg("kind %zu: %d %s", i, f.proof,
			    f.why ? f.why : "");
		/* less one byte in the middle: frames and index disagree */
		memmove(b.p + b.len / 2, b.p + b.len / 2 + 1,
		    b.len - b.len / 2 - 1);
		prove(&f, b.p, b.len - 1, 65536, false);
		if (kinds[i].index && f.proof != PROOF_WRONG &&
		    f.proof != PROOF_NONE)
			fail_msg("kind %zu less one: %d", i, f.proof);
	}
	buf_fini(&b);
}

/* Every bit of the index, the seek table and the trailer counts. */
static void
bent(void **state)
{
	struct archive_facts f;
	struct buf b;
	size_t i, n, from;
	unsigned spared;

	(void)state;
	buf_init(&b, 64 << 20);
	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (!kinds[i].index && !kinds[i].trailer)
			continue;
		make(&b, &kinds[i], 20, 50, 0);
		spared = 0;
		/* where the data ends: the last magic before the index */
		from = kinds[i].trailer ? b.len - 56 :
		    (size_t)((char *)memmem(b.p, b.len,
		    kinds[i].f == ARCHIVE_TAR_ZST ? "\x5c\x2a\x4d\x18" :
		    "\x1f\x8b\x08\x04", 4) - b.p);
		for (n = from; n < b.len; n++) {
			b.p[n] = (char)(b.p[n] ^ 1);
			prove(&f, b.p, b.len, 65536, false);
			b.p[n] = (char)(b.p[n] ^ 1);
			if (f.proof == PROOF_INDEX ||
			    f.proof == PROOF_TRAILER) {
				/* a window size, an XFL: they say nothing,
				 * and what is said must be the same */
				spared++;
				assert_true(kinds[i].index && f.entries == 25 &&
				    f.size == 1000 && !f.partial);
			}
		}
		if (spared > (kinds[i].f == ARCHIVE_TAR_ZST ? 4u : 20u))
			fail_msg("kind %zu: %u bent bytes were not seen", i,
			    spared);
	}
	buf_fini(&b);
}

/* cli-conventions.md §6.3 */
static void
trailer_vector(void **state)
{
	static const char hex[] = "616263" "5c2a4d18" "30000000"
	    "43414c41454f5331" "0300000000000000"
	    "ba7816bf8f01cfea414140de5dae2223"
	    "b00361a396177a9cb410ff61f20015ad";
	unsigned char p[59];
	struct archive_facts f;
	size_t n;

	(void)state;
	assert_int_equal(hex_get(hex, sizeof(p), p), 0);
	for (n = 1; n < 60; n++) {
		prove(&f, p, sizeof(p), n, false);
		assert_int_equal(f.proof, PROOF_TRAILER);
		assert_false(f.known);
	}
	p[0] = 'x';
	prove(&f, p, sizeof(p), 7, false);
	assert_int_equal(f.proof, PROOF_WRONG);
	prove(&f, p, sizeof(p) - 1, 7, false);
	assert_int_equal(f.proof, PROOF_NONE);
	prove(&f, p, 0, 7, false);
	assert_true(f.proof == PROOF_NONE && !f.known);
}

/* Two archives behind each other are no archive. */
static void
doubled(void **state)
{
	struct archive_facts f;
	struct buf b, two;
	size_t i;

	(void)state;
	buf_init(&b, 64 << 20);
	buf_init(&two, 64 << 20);
	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (!kinds[i].index && !kinds[i].trailer)
			continue;
		make(&b, &kinds[i], 20, 50, 0);
		buf_reset(&two);
		buf_add(&two, b.p, b.len);
		buf_add(&two, b.p, b.len);
		prove(&f, two.p, two.len, 1000, false);
		assert_int_equal(f.proof, PROOF_WRONG);
	}
	buf_fini(&b);
	buf_fini(&two);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole), cmocka_unit_test(partial),
		cmocka_unit_test(cut), cmocka_unit_test(many_frames),
		cmocka_unit_test(bent), cmocka_unit_test(trailer_vector),
		cmocka_unit_test(doubled),
	};

	return cmocka_run_group_tests_name("proof", tests, NULL, NULL);
}
