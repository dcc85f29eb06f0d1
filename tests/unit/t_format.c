#include "unit.h"

#include "archive/archive.h"

static void
names(void **state)
{
	static const struct {
		const char *name;
		int f;
	} t[] = {
		{ "tar", ARCHIVE_TAR }, { ".tar.zst", ARCHIVE_TAR_ZST },
		{ "tar_zstd", ARCHIVE_TAR_ZST }, { "zstd", ARCHIVE_TAR_ZST },
		{ "tgz", ARCHIVE_TAR_GZ }, { "gzip", ARCHIVE_TAR_GZ },
		{ "tar_lzip", ARCHIVE_TAR_LZ }, { "tar.bz2", ARCHIVE_TAR_BZ2 },
		{ "TAR.XZ", ARCHIVE_TAR_XZ }, { "lz4", ARCHIVE_TAR_LZ4 },
		{ "zip", ARCHIVE_ZIP }, { "seven_zip", ARCHIVE_7Z },
		{ "7z", ARCHIVE_7Z }, { "rar", -1 }, { "", -1 }, { ".", -1 },
		{ "tar.", -1 }
	};
	enum archive_format f;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		if (t[i].f == -1) {
			assert_int_equal(archive_word(t[i].name, &f), -1);
			continue;
		}
		assert_int_equal(archive_word(t[i].name, &f), 0);
		assert_int_equal(f, t[i].f);
	}
}

static void
levels(void **state)
{
	int n = 77;

	(void)state;
	assert_int_equal(archive_level(ARCHIVE_TAR_ZST, "best_speed", &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(archive_level(ARCHIVE_TAR_ZST, "good-speed", &n), 0);
	assert_int_equal(n, 8);
	assert_int_equal(archive_level(ARCHIVE_TAR_ZST, "best_compression",
	    &n), 0);
	assert_int_equal(n, 19);
	assert_int_equal(archive_level(ARCHIVE_TAR_GZ, "good_compression",
	    &n), 0);
	assert_int_equal(n, 6);
	assert_int_equal(archive_level(ARCHIVE_TAR_LZ4, "good_speed", &n), 0);
	assert_int_equal(n, 5);
	assert_int_equal(archive_level(ARCHIVE_TAR_ZST, "7", &n), 0);
	assert_int_equal(n, 7);
	assert_int_equal(archive_level(ARCHIVE_TAR_ZST, "23", &n), -1);
	assert_int_equal(archive_level(ARCHIVE_TAR_BZ2, "0", &n), -1);
	assert_int_equal(archive_level(ARCHIVE_TAR, "1", &n), -1);
	assert_int_equal(archive_level(ARCHIVE_TAR_GZ, "-1", &n), -1);
	assert_int_equal(archive_level(ARCHIVE_TAR_GZ, "fast", &n), -1);
	assert_int_equal(archive_level(ARCHIVE_TAR_GZ, "best", &n), -1);
	assert_int_equal(n, 7);
}

static void
endings(void **state)
{
	enum archive_format f = ARCHIVE_7Z;

	(void)state;
	assert_int_equal(archive_by_name("x.tar.zst", &f), 0);
	assert_int_equal(f, ARCHIVE_TAR_ZST);
	assert_int_equal(archive_by_name("/a/b.TGZ", &f), 0);
	assert_int_equal(f, ARCHIVE_TAR_GZ);
	assert_int_equal(archive_by_name("x.tar", &f), 0);
	assert_int_equal(f, ARCHIVE_TAR);
	assert_int_equal(archive_by_name("x.zip", &f), 0);
	assert_int_equal(f, ARCHIVE_ZIP);
	/* A compressed file is no archive, nor is a bare ending. */
	assert_int_equal(archive_by_name("x.gz", &f), -1);
	assert_int_equal(archive_by_name(".zip", &f), -1);
	assert_int_equal(archive_by_name("zip", &f), -1);
	assert_int_equal(archive_by_name("xtar.zst", &f), -1);
}

int
main(void)
{
	const struct CMUnitTest t[] = {
		cmocka_unit_test(names), cmocka_unit_test(levels),
		cmocka_unit_test(endings)
	};

	return cmocka_run_group_tests(t, NULL, NULL);
}
