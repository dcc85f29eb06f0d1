/* kopia: what is pure of driving it: names, messages, JSON, rules. */

#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "entry/match.h"
#include "exec/kopia.h"
#include "fs/extract.h"

static void
slug_is_that_of_wings(void **state)
{
	struct err e = ERR_INIT;
	char slug[KOPIA_SLUG];

	(void)state;
	assert_ok(kopia_make_slug("https://kopia.example.com:51515",
	    "wings@node1", slug, &e), &e);
	assert_string_equal(slug, "9ba78f633f9f6cd3");
}

static void
messages_have_a_status(void **state)
{
	/* As Kopia 0.23.1 says them. */
	static const struct { const char *line; int code; } t[] = {
		{ "open repository: unable to open repository: unable to "
		    "establish session for purpose=: error establishing "
		    "session: unable to initialize session: rpc error: code = "
		    "PermissionDenied desc = access denied for a@b: EOF",
		    CALA_AUTH },
		{ "Session(): rpc error: code = Unavailable desc = connection "
		    "error: desc = \"transport: authentication handshake "
		    "failed: can't find certificate matching SHA256 "
		    "fingerprint \\\"52\\\" (server had [53])\"", CALA_TLS },
		{ "code = Unavailable desc = connection error: desc = "
		    "\"transport: authentication handshake failed: tls: "
		    "failed to verify certificate: x509: certificate signed "
		    "by unknown authority\"", CALA_TLS },
		{ "code = Unavailable desc = connection error: desc = "
		    "\"transport: Error while dialing: dial tcp 127.0.0.1:1: "
		    "connect: connection refused\"", CALA_NET },
		{ "code = Unavailable desc = connection error: desc = "
		    "\"transport: authentication handshake failed: tls: first "
		    "record does not look like a TLS handshake\"",
		    CALA_USAGE },
		{ "parsing base URL: invalid server address, must be "
		    "'https://host:port' or 'unix+https://<path>",
		    CALA_USAGE },
		{ "unable to get filesystem directory entry: k59b8961f6ac6f/one "
		    "is not a directory object", CALA_NOTFOUND },
		{ "kopia: error: unknown long flag '--x', try --help",
		    CALA_USAGE },
		{ "open repository: get password: password prompt error: "
		    "inappropriate ioctl for device", CALA_USAGE },
		{ "error deleting snapshots by root ID 0: no snapshots "
		    "matched 0", CALA_NOTFOUND },
		{ "unable to parse ID: k0/x: error reading directory: entry "
		    "not found", CALA_NOTFOUND },
		{ "can't get defined policy for \"a@b:/c\": policy not found",
		    CALA_NOTFOUND },
		{ "error opening object k0: content k0 not found: object not "
		    "found", CALA_INTEGRITY },
		{ "write /x: no space left on device", CALA_NOSPACE },
		{ "Found 1 fatal error(s) while snapshotting a@b:/c.", 0 },
		{ "", 0 },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++)
		assert_int_equal(kopia_class(t[i].line), t[i].code);
}

static void
old_programs(void **state)
{
	(void)state;
	assert_true(kopia_too_old("0.20.1"));
	assert_true(kopia_too_old("0.9.6"));
	assert_false(kopia_too_old("0.21.0"));
	assert_false(kopia_too_old("0.23.1"));
	assert_false(kopia_too_old("1.0"));
	assert_false(kopia_too_old("v0-unofficial"));
	assert_false(kopia_too_old(""));
}

static void
modes_of_go(void **state)
{
	(void)state;
	assert_int_equal(kopia_mode(0644), 0644);
	assert_int_equal(kopia_mode(0x800001ed), 0755);
	assert_int_equal(kopia_mode(040000755), 04755);
	assert_int_equal(kopia_mode(020000755), 02755);
	assert_int_equal(kopia_mode(04000777), 01777);
	assert_int_equal(kopia_mode(UINT64_MAX), 07777);
}

static void
object_ids(void **state)
{
	(void)state;
	assert_true(kopia_oid_ok("kd1f0762002902314f09c0acfbbb42d94"));
	assert_true(kopia_oid_ok("Ixf281622a95213212b875f148136592c9"));
	assert_true(kopia_oid_ok("8f03d2d081b1f4cddb12df0c71fa0ed9"));
	assert_false(kopia_oid_ok("k"));
	assert_false(kopia_oid_ok("--delete"));
	assert_false(kopia_oid_ok("kd1f0762002902314f09c0acfbbb42d94/../x"));
	assert_false(kopia_oid_ok("kd1f0762002902314f09c0acfbbb42d9"));
}

#define SNAP(more) "{\"id\":\"d6f66d227a7ae6147d562444cf7b26e2\"," \
	"\"source\":{\"host\":\"n\",\"userName\":\"u\",\"path\":\"/v\"}," \
	"\"startTime\":\"2026-11-23T06:48:53.598900654Z\"," more "}"
#define ROOT "\"rootEntry\":{\"name\":\"v\",\"type\":\"d\",\"mode\":" \
	"\"0755\",\"uid\":7,\"obj\":\"kd1f0762002902314f09c0acfbbb42d94\"," \
	"\"summ\":{\"size\":5,\"files\":2,\"symlinks\":1,\"dirs\":3," \
	"\"numFailed\":1,\"errors\":[{\"path\":\"a\",\"error\":\"no\"}]}}"

static void
manifests(void **state)
{
	static const struct { const char *text; int want; } t[] = {
		{ SNAP(ROOT), 0 },
		{ SNAP("\"incomplete\":\"canceled\""), 0 },
		{ SNAP("\"rootEntry\":{\"type\":\"f\",\"obj\":\"8f03d2d081b1f4"
		    "cddb12df0c71fa0ed9\"}"), 1 },
		{ SNAP("\"rootEntry\":{\"type\":\"d\",\"obj\":\"--x\"}"), -1 },
		{ SNAP("\"x\":1"), -1 },
		{ "{\"id\":\"--delete\"," ROOT "}", -1 },
		{ "{}", -1 },
	};
	const char *path, *text;
	struct kopia_snap s;
	struct err e;
	json_t *o;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		o = json_loads(t[i].text, 0, NULL);
		assert_non_null(o);
		err_clear(&e);
		assert_int_equal(kopia_snap(o, &s, &e), t[i].want);
		if (i == 0) {
			assert_int_equal(s.size, 5);
			assert_int_equal(s.files + s.symlinks, 3);
			assert_int_equal(s.failed, 1);
			assert_int_equal(s.entry.uid, 7);
			assert_int_equal(s.start.tv_nsec, 598900654);
			assert_string_equal(s.uuid, "");
			assert_true(kopia_error(&s, 0, &path, &text));
			assert_string_equal(path, "a");
			assert_false(kopia_error(&s, 1, &path, &text));
		}
		if (t[i].want == -1)
			assert_int_equal(e.code, CALA_INTEGRITY);
		json_decref(o);
	}
}

#define OID "8f03d2d081b1f4cddb12df0c71fa0ed9"
#define ENTRY(name, type) "{\"name\":\"" name "\",\"type\":\"" type \
	"\",\"obj\":\"" OID "\"}"
#define FOLDER(list) "{\"stream\":\"kopia:directory\",\"entries\":" list "}"

static void
folders(void **state)
{
	static const struct { const char *text; long n; } t[] = {
		{ FOLDER("[" ENTRY("b", "f") "," ENTRY("a", "d") ","
		    ENTRY("c", "s") "]"), 3 },
		{ FOLDER("[]"), 0 },
		{ FOLDER("null"), 0 },
		{ "{\"stream\":\"kopia:directory\"}", 0 },
		{ FOLDER("[" ENTRY("..", "f") "]"), -1 },
		{ FOLDER("[" ENTRY("a/b", "f") "]"), -1 },
		{ FOLDER("[" ENTRY("", "f") "]"), -1 },
		{ FOLDER("[" ENTRY("a", "x") "]"), -1 },
		{ FOLDER("[{\"name\":\"a\",\"type\":\"f\"}]"), -1 },
		{ FOLDER("7"), -1 },
		{ FOLDER("[7]"), -1 },
		{ "{\"stream\":\"kopia:x\",\"entries\":[]}", -1 },
		{ "[]", -1 },
		{ "x", -1 },
		{ "", -1 },
	};
	struct kopia_dir d;
	struct err e;
	size_t i;
	int got;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		err_clear(&e);
		got = kopia_dir(t[i].text, strlen(t[i].text), "x", &d, &e);
		assert_int_equal(got, t[i].n < 0 ? -1 : 0);
		if (got == -1) {
			assert_int_equal(e.code, CALA_INTEGRITY);
			continue;
		}
		assert_int_equal(d.n, t[i].n);
		if (d.n == 3) {
			assert_string_equal(d.v[0].en.path, "a");
			assert_int_equal(d.v[0].en.type, ENTRY_DIR);
			assert_int_equal(d.v[2].en.type, ENTRY_SYMLINK);
			assert_ptr_equal(kopia_dir_find(&d, "bc", 1),
			    &d.v[1]);
			assert_null(kopia_dir_find(&d, "bc", 2));
		}
		kopia_dir_fini(&d);
	}
}

static void
policies(void **state)
{
	static const char *const rules[] = { "*.log", "/a" };
	struct err e = ERR_INIT;
	json_t *now, *want, *again;

	(void)state;
	now = json_loads("{\"retention\":{\"keepLatest\":3},\"files\":{"
	    "\"ignore\":[\"x\"],\"ignoreDotFiles\":[\".i\"]},\"upload\":{"
	    "\"y\":1},\"compression\":{\"neverCompress\":[\".z\"]}}", 0,
	    NULL);
	want = kopia_policy_want(now, (char **)(uintptr_t)rules, 2, "zstd",
	    &e);
	assert_non_null(want);
	assert_int_equal(kopia_policy_rules(now), 1);
	assert_int_equal(kopia_policy_rules(want), 2);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(
	    want, "retention"), "keepLatest")), 0);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(
	    want, "upload"), "y")), 1);
	assert_int_equal(json_array_size(json_object_get(json_object_get(
	    want, "compression"), "neverCompress")), 1);
	again = kopia_policy_want(want, NULL, 0, NULL, &e);
	assert_int_equal(kopia_policy_rules(again), 0);
	assert_string_equal(json_string_value(json_object_get(json_object_get(
	    again, "compression"), "compressorName")), "zstd");
	json_decref(want);
	/* What is right already is not touched. */
	want = kopia_policy_want(again, NULL, 0, "zstd", &e);
	assert_true(json_equal(again, want));
	json_decref(want);
	json_decref(again);
	json_decref(now);
	want = kopia_policy_want(NULL, NULL, 0, "none", &e);
	assert_non_null(want);
	json_decref(want);
}

static void
literals(void **state)
{
	static const struct { const char *path, *rule; } t[] = {
		{ "a/b", "/a/b" },
		{ "a*?[]!#\\", "/a\\*\\?\\[\\]\\!\\#\\\\" },
		{ "a ", "/a\\ " },
		{ "a\n", "/a\\\n" },
		{ "a\xc3\xa9", "/a[\xc3\xa9]" },
		{ "\xe3\x80\x80", "/[\xe3\x80\x80]" },
		{ "\xc3\xa9/b", "/\xc3\xa9/b" },
	};
	struct buf b;
	size_t i;

	(void)state;
	buf_init(&b, 4096);
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		buf_reset(&b);
		kopia_literal(t[i].path, &b);
		assert_string_equal(b.p, t[i].rule);
	}
	buf_fini(&b);
}

static void
patterns(void **state)
{
	static const struct { const char *rule; int want; } t[] = {
		{ "*.log", 0 }, { "/a/b", 0 }, { "cache/", 0 }, { "a/*", 0 },
		{ "a b", -1 }, { "!a", -1 }, { "a?", -1 }, { "[a]", -1 },
		{ "**", -1 }, { "a/**", -1 }, { "**/a", -1 }, { "*/a", -1 },
		{ "a\\b", -1 }, { "\xc3\xa9", -1 }, { "\xe9", -1 },
		{ "a//b", -1 }, { "./a", -1 }, { "/", -1 }, { "", -1 },
	};
	struct buf b;
	size_t i;

	(void)state;
	buf_init(&b, 4096);
	for (i = 0; i < sizeof(t) / sizeof(*t); i++)
		assert_int_equal(kopia_pattern(t[i].rule, &b), t[i].want);
	buf_fini(&b);
}

static void
touch(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	assert_int_not_equal(fd, -1);
	close(fd);
}

/* Folders are read in their own order. */
static int
by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
scanned(int dirfd, const char *rule, const char *more, const char *want,
    uint64_t kept)
{
	struct err e = ERR_INIT;
	struct match *m = match_new(&e);
	struct kopia_scan s;
	struct log log;
	struct buf b;
	size_t i;

	log_init(&log, NULL, "t");
	buf_init(&b, 65536);
	assert_int_equal(match_add(m, rule, strlen(rule), &e), 0);
	if (more != NULL)
		assert_int_equal(match_add(m, more, strlen(more), &e), 0);
	assert_ok(kopia_scan(dirfd, m, &s, &log, &e), &e);
	qsort(s.rules, s.nrules, sizeof(*s.rules), by_text);
	for (i = 0; i < s.nrules; i++)
		buf_printf(&b, "%s%s", i > 0 ? " " : "", s.rules[i]);
	assert_string_equal(b.p, want);
	assert_int_equal(s.kept, kept);
	kopia_scan_fini(&s);
	match_free(m);
	buf_fini(&b);
	log_fini(&log);
}

static void
rules_of_a_tree(void **state)
{
	char dir[] = "/tmp/t_kopia.XXXXXX";
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(fd, "d", 0700), 0);
	assert_int_equal(mkdirat(fd, "d/e", 0700), 0);
	assert_int_equal(mkdirat(fd, "g", 0700), 0);
	touch(fd, "d/e/f.log");
	touch(fd, "d/e/h");
	touch(fd, "g/i");
	/* What means the same is handed over, and the rest is not walked for. */
	scanned(fd, "*.log", NULL, "*.log", 5);
	/* "?" is looked up. */
	scanned(fd, "?.log", NULL, "/d/e/f.log", 5);
	/* Only what the pattern does not cover is named. */
	scanned(fd, "*.log", "?", "*.log /d /g", 0);
	/* Re-included below: the folders on the way stay, g goes as one. */
	scanned(fd, "*", "!/d/e/h", "/d/e/f.log /g", 1);
	/* Nothing is left in d: one rule says it. */
	scanned(fd, "/d/**", "!/d/none", "/d", 2);
	/* What a restore left is no part of a backup. */
	assert_int_equal(mkdirat(fd, ".cala-old-x", 0700), 0);
	scanned(fd, "nothing", NULL, "/.cala-old-x nothing", 6);
	close(fd);
	assert_int_equal(fs_remove(AT_FDCWD, dir), 0);
}

static void
a_file_alone_in_a_tar(void **state)
{
	static const struct { size_t at; const char *text; bool ok; } t[] = {
		{ 0, "", true }, { 0, "x", false },     /* a name */
		{ 156, "", true }, { 156, "5", false }, { 156, "2", false },
		{ 156, "x", false }, { 156, "L", false }, { 257, "gnu", false },
		{ 124, "777777777777", true }, { 124, "0000000100 ", true },
		{ 124, "8", false }, { 124, "\x80", false },
		{ 124, "00-1", false },
	};
	unsigned char b[KOPIA_TAR];
	uint64_t size;
	size_t i, n;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		memset(b, 0, sizeof(b));
		memcpy(b + 124, "00000001004", 11);
		b[156] = '0';
		memcpy(b + 257, "ustar", 5);
		n = strlen(t[i].text);
		memcpy(b + t[i].at, t[i].text, n > 0 ? n : 1);
		assert_int_equal(kopia_tar_file(b, &size), t[i].ok);
		if (t[i].ok)
			assert_int_equal(size, t[i].at != 124 ? 01004 :
			    n == 12 ? 0777777777777 : 0100);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slug_is_that_of_wings),
		cmocka_unit_test(messages_have_a_status),
		cmocka_unit_test(old_programs),
		cmocka_unit_test(modes_of_go),
		cmocka_unit_test(object_ids),
		cmocka_unit_test(manifests),
		cmocka_unit_test(folders),
		cmocka_unit_test(policies),
		cmocka_unit_test(literals),
		cmocka_unit_test(patterns),
		cmocka_unit_test(rules_of_a_tree),
		cmocka_unit_test(a_file_alone_in_a_tar),
	};

	return cmocka_run_group_tests_name("kopia", tests, NULL, NULL);
}
