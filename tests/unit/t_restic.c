/* restic: what is pure of driving it: messages, nodes, rules, tags. */

#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "driver/restic.h"
#include "exec/restic_rules.h"

static void
messages_have_a_status(void **state)
{
	static const struct { const char *line; int code; } t[] = {
		{ "Fatal: unable to open config file: stat /x/config: no such "
		    "file or directory\nIs there a repository at the following "
		    "location?", CALA_NOTFOUND },
		{ "Fatal: wrong password or no key found", CALA_AUTH },
		{ "unable to create lock in backend: repository is already "
		    "locked by PID 26238 on vm by root (UID 0, GID 0)",
		    CALA_LOCKED },
		{ "no matching ID found for prefix \"0123\"", CALA_NOTFOUND },
		{ "path tmp: not found", CALA_NOTFOUND },
		{ "path tmp: not found, skipping", 0 },
		{ "unknown flag: --retry-lock", CALA_USAGE },
		{ "ciphertext verification failed", CALA_INTEGRITY },
		{ "write /x: no space left on device", CALA_NOSPACE },
		{ "dial tcp 127.0.0.1:1: connect: connection refused",
		    CALA_NET },
		{ "x509: certificate signed by unknown authority", CALA_TLS },
		{ "something new", 0 },
		{ "", 0 },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++)
		if (restic_means(t[i].line) != t[i].code)
			fail_msg("%s: %d, not %d", t[i].line,
			    restic_means(t[i].line), t[i].code);
}

static json_t *
parse(const char *text)
{
	struct err e = ERR_INIT;
	json_t *j = json_parse(text, strlen(text), "test", &e);

	assert_non_null(j);
	return j;
}

static void
nodes_of_trees_and_of_listings(void **state)
{
	struct err e = ERR_INIT;
	struct restic_node n;
	json_t *j;

	(void)state;
	j = parse("{\"name\":\"a\\\\xffb\\\\u00e9\\\\n\\\\\\\\\","
	    "\"type\":\"file\",\"mode\":8389101,\"size\":7,\"uid\":3,"
	    "\"mtime\":\"2026-01-02T03:04:05.000000006+01:00\"}");
	assert_ok(restic_node(&n, j, &e), &e);
	assert_string_equal(n.name, "a\xff" "b\xc3\xa9\n\\");
	assert_int_equal(n.type, ENTRY_FILE);
	assert_int_equal(n.mode, 04755);
	assert_int_equal(n.size, 7);
	assert_int_equal(n.uid, 3);
	assert_int_equal(n.mtime.tv_sec, 1767319445);
	assert_int_equal(n.mtime.tv_nsec, 6);
	restic_node_fini(&n);
	json_decref(j);

	j = parse("{\"name\":\"l\",\"type\":\"symlink\",\"linktarget\":\"?\","
	    "\"linktarget_raw\":\"/2E=\"}");
	assert_ok(restic_node(&n, j, &e), &e);
	assert_string_equal(n.target, "\xff" "a");
	restic_node_fini(&n);
	json_decref(j);

	/* A listing has no quotes; what was no text is marked. */
	j = parse("{\"name\":\"a\\\\x41\xef\xbf\xbd\",\"type\":\"chardev\","
	    "\"path\":\"/v/x\",\"device\":1281}");
	assert_ok(restic_node(&n, j, &e), &e);
	assert_string_equal(n.name, "a\\x41\xef\xbf\xbd");
	assert_true(n.mangled);
	assert_int_equal(n.rdev_major, 5);
	assert_int_equal(n.rdev_minor, 1);
	restic_node_fini(&n);
	json_decref(j);
}

static void
nodes_that_lead_elsewhere_are_refused(void **state)
{
	static const char *const bad[] = { "..", ".", "", "a/b", "a\\\\x2fb",
	    "a\\\\x00", "a\\\\xg0", "a\\\\u00", "a\\\\U00110000", "a\\\\",
	    "a\\\\q" };
	char text[64];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct err e = ERR_INIT;
		struct restic_node n;
		json_t *j;

		snprintf(text, sizeof(text), "{\"name\":\"%s\"}", bad[i]);
		j = parse(text);
		if (restic_node(&n, j, &e) != -1)
			fail_msg("%s: taken as %s", bad[i], n.name);
		assert_int_equal(e.code, CALA_INTEGRITY);
		json_decref(j);
	}
}

static void
rules_in_the_words_of_restic(void **state)
{
	/* NULL: only the list says it exactly. */
	static const struct { const char *rule, *out; } t[] = {
		{ "*.log", "/v \\[x\\]/**/*.log/\n" },
		{ "/cache", "/v \\[x\\]/cache/\n" },
		{ "a/b", "/v \\[x\\]/a/b/\n" },
		{ "a$b", "/v \\[x\\]/**/a$$b/\n" },
		{ "logs/", NULL },
		{ "!keep", NULL },
	};
	struct buf b;
	size_t i;
	int r;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		buf_init(&b, 4096);
		r = restic_rule(t[i].rule, "/v [x]", &b);
		if (r != (t[i].out == NULL) ||
		    (r == 0 && strcmp(b.p, t[i].out) != 0))
			fail_msg("%s: %d, %s", t[i].rule, r, b.p);
		buf_fini(&b);
	}
}

static bool
has(const struct resticd_tags *t, const char *tag)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		if (strcmp(t->v[i], tag) == 0)
			return true;
	return false;
}

static void
tags_carry_a_record(void **state)
{
	struct err e = ERR_INIT;
	struct record rec, back;
	struct resticd_snap snap, got;
	struct resticd_tags t;
	size_t i;

	(void)state;
	memset(&snap, 0, sizeof(snap));
	memset(&got, 0, sizeof(got));
	record_init(&rec);
	record_init(&back);
	back.foreign = true;
	back.complete = true;
	strcpy(rec.uuid, "aaaa1111-0000-4000-8000-000000000001");
	strcpy(rec.server, "11111111-aaaa-4bbb-8ccc-000000000001");
	assert_ok(record_set(&rec.name, "a, \xc3\xa9=b", &e), &e);
	rec.locked = true;
	rec.warnings_count = 3;
	assert_ok(record_push(&rec.warnings, &rec.nwarnings, "x, y", 9, &e),
	    &e);
	strcpy(snap.run, "0123456789abcdef");
	snap.rev = 4;
	assert_ok(resticd_tags(&rec, &snap, &t, &e), &e);
	assert_string_equal(t.v[0], rec.uuid);
	assert_true(has(&t, "cala.rev=5"));
	for (i = 1; i < t.n; i++) {
		/* restic cuts a tag at a comma. */
		assert_null(strchr(t.v[i], ','));
		assert_ok(resticd_untag(&back, &got, t.v[i], &e), &e);
	}
	assert_false(back.foreign);
	assert_false(back.complete);
	assert_true(back.locked);
	assert_string_equal(back.name, rec.name);
	assert_string_equal(back.server, rec.server);
	assert_int_equal(back.warnings_count, 3);
	assert_string_equal(back.warnings[0], "x, y");
	assert_string_equal(got.run, snap.run);
	assert_int_equal(got.rev, 5);
	assert_int_equal(got.nother, 0);
	/* What is not as we write it is another's, and stays. */
	for (i = 0; i < 3; i++) {
		static const char *const odd[] = { "cala.rev=x",
		    "cala.new=1", "team" };

		assert_ok(resticd_untag(&back, &got, odd[i], &e), &e);
		assert_int_equal(got.nother, i + 1);
	}
	resticd_tags_fini(&t);
	resticd_snap_fini(&got);
	record_fini(&rec);
	record_fini(&back);
}

static void
of_two_the_newer_counts(void **state)
{
	struct resticd_snap a, b;

	(void)state;
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	strcpy(a.id, "a");
	strcpy(a.original, "a");
	strcpy(b.id, "b");
	strcpy(b.original, "a");
	assert_true(resticd_renews(&b, &a));
	assert_false(resticd_renews(&a, &b));
	assert_false(resticd_renews(&a, &a));
	/* restic keeps the first id for ever. */
	strcpy(a.id, "c");
	a.rev = 2;
	b.rev = 1;
	assert_true(resticd_renews(&a, &b));
	assert_false(resticd_renews(&b, &a));
	strcpy(b.original, "other");
	assert_false(resticd_renews(&a, &b));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_have_a_status),
		cmocka_unit_test(nodes_of_trees_and_of_listings),
		cmocka_unit_test(nodes_that_lead_elsewhere_are_refused),
		cmocka_unit_test(rules_in_the_words_of_restic),
		cmocka_unit_test(tags_carry_a_record),
		cmocka_unit_test(of_two_the_newer_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
