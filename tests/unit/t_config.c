#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/code.h"
#include "config/conf.h"
#include "config/crypt.h"
#include "config/files.h"
#include "config/ini.h"

static struct conf *
build(const char *const *texts, size_t n, struct err *e)
{
	struct conf_paths paths = { .system = "/nonexistent" };
	struct conf_files fs = { NULL, 0, true };
	struct conf *c = NULL;
	struct conf_file *f;
	char name[8] = "0.conf";
	size_t i;

	for (i = 0; i < n; i++) {
		name[0] = (char)('0' + i);
		f = files_add(&fs, name, e);
		assert_non_null(f);
		buf_str(&f->text, texts[i]);
	}
	(void)conf_build(&c, &fs, &paths, NULL, e);
	files_free(&fs);
	return c;
}

static void
later_files_win(void **state)
{
	const char *const texts[] = {
	    "[configuration \"a\"]\ndisk=s3\nbucket=one\nregion=r\nignore=x\n",
	    "[configuration \"a\"]\nbucket=two\nregion=\nignore=y\n" };
	struct err e = ERR_INIT;
	const struct conf_section *s;
	struct conf *c;

	(void)state;
	c = build(texts, 2, &e);
	assert_non_null(c);
	s = conf_section(c, "configuration", "a");
	assert_string_equal(conf_get(s, "bucket"), "two");
	assert_string_equal(conf_where(s, "bucket"), "1.conf:2");
	assert_null(conf_get(s, "region"));
	assert_string_equal(conf_get_nth(s, "ignore", 0), "x");
	assert_string_equal(conf_get_nth(s, "ignore", 1), "y");
	assert_null(conf_get_nth(s, "ignore", 2));
	assert_int_equal(conf_u64(s, "part-size"), 1 << 30);
	conf_free(c);
}

static void
values(void **state)
{
	static const struct { const char *text; bool good; } t[] = {
		{ "[configuration \"a\"]\ndisk=local\narchive_format=tar_zstd\n",
		    true },
		{ "[configuration \"a\"]\ndisk=kopia\nurl=https://h\n"
		    "username=a@b\npassword=enc:v1:x\n", false },
		{ "[configuration \"a\"]\ndisk=proxmox-backup-server\n"
		    "url=https://h\ndatastore=d\ntoken-id=a@b!c\n"
		    "token-secret=s\nfingerprint=\n", true },
		{ "[configuration \"a\"]\ndisk=proxmox-backup-server\n"
		    "url=https://h\ndatastore=d\ntoken-id=a@b\n"
		    "token-secret=s\n", false },
		{ "[configuration \"a\"]\ndisk=restic\nrepository=ab\n", false },
		{ "[policy \"p\"]\nschedule=0 0 3 * * *\n", true },
		{ "[policy \"p\"]\nschedule=0 0 24 * * *\n", false },
		{ "[policy \"p\"]\nschedule=3 * * *\n", false },
		{ "[server \"a\"]\nuuid=nope\n", false },
		{ "[cala]\nlimit-read=10MiB/s\n", true },
		{ "[cala]\nvolumes=relative\n", false },
		{ "[cala]\nnode=\"open\n", false },
		{ "[cala]\nnode=a\001b\n", false },
	};
	struct conf *c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct err e = ERR_INIT;

		c = build(&t[i].text, 1, &e);
		if ((c != NULL) != t[i].good)
			fail_msg("case %zu: %s", i, e.msg);
		conf_free(c);
	}
}

static void
words(void **state)
{
	struct err e = ERR_INIT;
	char **v;

	(void)state;
	assert_ok(conf_words("/bin/x \"a b\" c\\ d", &v, &e), &e);
	assert_string_equal(v[0], "/bin/x");
	assert_string_equal(v[1], "a b");
	assert_string_equal(v[2], "c d");
	assert_null(v[3]);
	free(v);
}

static void
quoting(void **state)
{
	static const char *const t[] = { "plain", " lead", "a ;b", "\"q\"",
	    "back\\slash", ";", "x\"y ;z", "tail ", "\\", "a\\\"b ; c" };
	struct buf raw, back;
	size_t i, from, len;

	(void)state;
	buf_init(&raw, 4096);
	buf_init(&back, 4096);
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		buf_reset(&raw);
		buf_reset(&back);
		assert_int_equal(ini_quote(t[i], &raw), 0);
		ini_value(raw.p, raw.len, &from, &len);
		assert_int_equal(from, 0);
		assert_int_equal(len, raw.len);
		assert_int_equal(ini_unquote(raw.p, &back), 0);
		assert_string_equal(back.p, t[i]);
	}
	assert_int_equal(ini_quote("two\nlines", &raw), -1);
	buf_fini(&raw);
	buf_fini(&back);
}

static void
tokens(void **state)
{
	struct crypt_place at = { "configuration", "a", "k" };
	struct crypt_keys k = CRYPT_KEYS_INIT;
	struct secret out = SECRET_INIT;
	struct err e = ERR_INIT;
	struct buf token;
	size_t i;

	(void)state;
	buf_init(&token, 4096);
	assert_ok(crypt_keys_new(&k, &e), &e);
	assert_ok(crypt_seal(&k, &at, "hush", 4, &token, &e), &e);
	assert_ok(crypt_open(&k, &at, token.p, &out, &e), &e);
	assert_string_equal((char *)out.p, "hush");
	/* No character of it may be another. */
	for (i = 7; i < token.len; i++) {
		char was = token.p[i];

		token.p[i] = was == 'A' ? 'B' : 'A';
		assert_int_equal(crypt_open(&k, &at, token.p, &out, &e), -1);
		token.p[i] = was;
	}
	at.name = "b";
	assert_int_equal(crypt_open(&k, &at, token.p, &out, &e), -1);
	assert_int_equal(e.code, CALA_AUTH);
	secret_free(&out);
	crypt_keys_free(&k);
	buf_fini(&token);
}

int
main(void)
{
	const struct CMUnitTest t[] = {
		cmocka_unit_test(later_files_win), cmocka_unit_test(values),
		cmocka_unit_test(words), cmocka_unit_test(quoting),
		cmocka_unit_test(tokens),
	};

	return cmocka_run_group_tests(t, NULL, NULL);
}
