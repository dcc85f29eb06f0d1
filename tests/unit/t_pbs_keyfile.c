/* Key files of Proxmox's client. */

#include "pbs_mem.h"

#include "base/secret.h"
#include "pbs/keyfile.h"

static struct secret pass;

static int
setup(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	return secret_set(&pass, "password", 8, &e);
}

static int
teardown(void **state)
{
	(void)state;
	secret_free(&pass);
	return 0;
}

static void
opens(const char *name, const struct secret *with)
{
	struct pbs_crypt *c = NULL, *want = counting_key();
	struct err e = ERR_INIT;
	struct pbs_keyfile f;
	struct buf in;

	vector(&in, name);
	assert_ok(pbs_keyfile_parse(&f, in.p, in.len, &e), &e);
	assert_ok(pbs_keyfile_open(&f, with, &c, &e), &e);
	assert_memory_equal(pbs_crypt_key(c), pbs_crypt_key(want), PBS_KEY);
	pbs_crypt_free(c);
	pbs_crypt_free(want);
	pbs_keyfile_fini(&f);
	buf_fini(&in);
}

static void
test_the_known_files_are_opened(void **state)
{
	(void)state;
	opens("none.key", NULL);
	opens("none.key", &pass);
	opens("scrypt.key", &pass);
	opens("pbkdf2.key", &pass);
}

static void
test_a_wrong_passphrase_is_said(void **state)
{
	struct secret wrong = SECRET_INIT;
	struct pbs_crypt *c = NULL;
	struct err e = ERR_INIT;
	struct pbs_keyfile f;
	struct buf in;

	(void)state;
	vector(&in, "scrypt.key");
	assert_ok(pbs_keyfile_parse(&f, in.p, in.len, &e), &e);
	assert_int_equal(f.kdf, PBS_KDF_SCRYPT);
	assert_ok(secret_set(&wrong, "Password", 8, &e), &e);
	assert_int_equal(pbs_keyfile_open(&f, &wrong, &c, &e), -1);
	assert_int_equal(e.code, CALA_AUTH);
	assert_int_equal(pbs_keyfile_open(&f, NULL, &c, &e), -1);
	assert_int_equal(e.code, CALA_AUTH);
	/* The right one, but the file tells of another key. */
	f.print[0] ^= 1;
	assert_int_equal(pbs_keyfile_open(&f, &pass, &c, &e), -1);
	assert_int_equal(e.code, CALA_INTEGRITY);
	assert_null(c);
	secret_free(&wrong);
	pbs_keyfile_fini(&f);
	buf_fini(&in);
}

static void
round_trip(enum pbs_kdf kdf)
{
	struct pbs_crypt *c = counting_key(), *back = NULL;
	struct secret text = SECRET_INIT;
	struct err e = ERR_INIT;
	struct pbs_keyfile f, g;

	assert_ok(pbs_keyfile_make(&f, c, kdf, &pass, "the \"usual\" one", &e),
	    &e);
	assert_ok(pbs_keyfile_put(&f, &text, &e), &e);
	assert_ok(pbs_keyfile_parse(&g, text.p, text.len, &e), &e);
	assert_int_equal(g.kdf, kdf);
	assert_string_equal(g.hint, "the \"usual\" one");
	assert_true(g.has_print);
	assert_int_equal(g.created.tv_sec, f.created.tv_sec);
	assert_ok(pbs_keyfile_open(&g, kdf == PBS_KDF_NONE ? NULL : &pass,
	    &back, &e), &e);
	assert_memory_equal(pbs_crypt_key(c), pbs_crypt_key(back), PBS_KEY);
	secret_free(&text);
	pbs_keyfile_fini(&f);
	pbs_keyfile_fini(&g);
	pbs_crypt_free(back);
	pbs_crypt_free(c);
}

static void
test_what_is_written_is_read_again(void **state)
{
	(void)state;
	round_trip(PBS_KDF_NONE);
	round_trip(PBS_KDF_SCRYPT);
}

static void
test_a_short_passphrase_makes_no_key(void **state)
{
	struct pbs_crypt *c = counting_key();
	struct secret four = SECRET_INIT;
	struct err e = ERR_INIT;
	struct pbs_keyfile f;

	(void)state;
	assert_ok(secret_set(&four, "abcd", 4, &e), &e);
	assert_int_equal(pbs_keyfile_make(&f, c, PBS_KDF_SCRYPT, &four, NULL,
	    &e), -1);
	assert_int_equal(e.code, CALA_USAGE);
	secret_free(&four);
	pbs_crypt_free(c);
}

static void
test_a_broken_file_is_refused(void **state)
{
#define KEY(kdf, data) "{\"kdf\":" kdf ",\"created\":\"2023-11-14T22:13:20Z\"" \
	",\"modified\":\"2023-11-14T22:13:20Z\",\"data\":\"" data "\"}"
#define RAW "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define SCRYPT(n, r, p) "{\"Scrypt\":{\"n\":" n ",\"r\":" r ",\"p\":" p \
	",\"salt\":\"AAEC\"}}"
#define SEALED "EBESExQVFhcYGRobHB0eH2of8v0goUABRKl16kktup4Z3FaZHMVRxxBMKkq" \
	"dkl9FgO4OtlrVYwa5vNMB7V+nBg=="
	static const char *const bad[] = {
		"", "[]", "{}",
		KEY("null", ""),
		KEY("null", "AAEC"),
		KEY("null", SEALED),
		KEY("null", RAW "x"),
		KEY("\"Scrypt\"", SEALED),
		KEY("{}", SEALED),
		KEY("{\"Argon2\":{}}", SEALED),
		KEY(SCRYPT("0", "8", "1"), SEALED),
		KEY(SCRYPT("65535", "8", "1"), SEALED),
		KEY(SCRYPT("1073741824", "8", "1"), SEALED),
		KEY(SCRYPT("1048576", "32", "1"), SEALED),
		KEY(SCRYPT("65536", "0", "1"), SEALED),
		KEY(SCRYPT("65536", "8", "1000000"), SEALED),
		KEY(SCRYPT("65536", "8", "1"), RAW),
		KEY("{\"PBKDF2\":{\"iter\":0,\"salt\":\"AAEC\"}}", SEALED),
		KEY("{\"PBKDF2\":{\"iter\":4000000000,\"salt\":\"AAEC\"}}",
		    SEALED),
		KEY("{\"PBKDF2\":{\"iter\":1000}}", SEALED),
		"{\"kdf\":null,\"created\":\"now\",\"modified\":"
		    "\"2023-11-14T22:13:20Z\",\"data\":\"" RAW "\"}"
	};
	struct pbs_keyfile f;
	struct err e = ERR_INIT;
	size_t i;

	(void)state;
	assert_ok(pbs_keyfile_parse(&f, KEY("null", RAW),
	    strlen(KEY("null", RAW)), &e), &e);
	pbs_keyfile_fini(&f);
	assert_ok(pbs_keyfile_parse(&f, KEY(SCRYPT("65536", "8", "1"),
	    SEALED), strlen(KEY(SCRYPT("65536", "8", "1"), SEALED)), &e), &e);
	pbs_keyfile_fini(&f);
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		if (pbs_keyfile_parse(&f, bad[i], strlen(bad[i]), &e) == 0)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(e.code, CALA_INTEGRITY);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_known_files_are_opened),
		cmocka_unit_test(test_a_wrong_passphrase_is_said),
		cmocka_unit_test(test_what_is_written_is_read_again),
		cmocka_unit_test(test_a_short_passphrase_makes_no_key),
		cmocka_unit_test(test_a_broken_file_is_refused)
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
