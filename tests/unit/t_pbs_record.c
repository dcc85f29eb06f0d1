/* Where a snapshot says which backup it is. */

#include "pbs_mem.h"

#include "base/json.h"
#include "driver/pbs_record.h"
#include "pbs/manifest.h"

#define U "0f8fad5b-d9cb-469f-a165-70867728950e"

static void
round_trip(const char *name, const char *group, bool complete,
    const char *want)
{
	struct record r, back;
	struct err e = ERR_INIT;
	struct buf b;

	record_init(&r);
	record_init(&back);
	memcpy(r.uuid, U, sizeof(r.uuid));
	assert_ok(record_set(&r.name, name, &e), &e);
	assert_ok(record_set(&r.group, group, &e), &e);
	r.complete = complete;
	buf_init(&b, 1 << 16);
	pbs_notes_put(&r, &b);
	if (want != NULL)
		assert_string_equal(b.p, want);
	assert_null(strchr(b.p, '\n'));
	buf_str(&b, "\nwritten by a person " "\xc2\xb7 " U);
	assert_int_equal(pbs_notes_get(b.p, &back, &e), 1);
	assert_string_equal(back.uuid, U);
	assert_int_equal(back.complete, complete);
	if (name == NULL)
		assert_null(back.name);
	else
		assert_string_equal(back.name, name);
	if (group == NULL)
		assert_null(back.group);
	else
		assert_string_equal(back.group, group);
	record_fini(&r);
	record_fini(&back);
	buf_fini(&b);
}

static void
test_notes_are_read_as_written(void **state)
{
	(void)state;
	round_trip("before the update", "daily", true,
	    "before the update \xc2\xb7 daily \xc2\xb7 " U);
	round_trip("n", NULL, false,
	    "n \xc2\xb7  \xc2\xb7 " U " \xc2\xb7 partial");
	round_trip(NULL, NULL, true, NULL);
	round_trip("a \xc2\xb7 b", "c\\d \xc2\xb7 \\", true, NULL);
	round_trip("\xc2\xb7", "\xc2\xb7 partial", false, NULL);
	round_trip("back\\nslash", "\xc3\xa4\xe2\x82\xac", true, NULL);
}

static void
test_other_notes_are_not_ours(void **state)
{
	static const char *const others[] = { "", "a", "hand made",
	    "a \xc2\xb7 b", "a \xc2\xb7 b \xc2\xb7 c", U,
	    "a \xc2\xb7 " U, "a \xc2\xb7 b \xc2\xb7 " U "x",
	    "a \xc2\xb7 b \xc2\xb7 " U " \xc2\xb7 whole",
	    "\na \xc2\xb7 b \xc2\xb7 " U,
	    "a\x01 \xc2\xb7 \xff \xc2\xb7 " U };
	struct record r;
	struct err e = ERR_INIT;
	size_t i;

	(void)state;
	record_init(&r);
	for (i = 0; i < sizeof(others) / sizeof(*others); i++) {
		if (pbs_notes_get(others[i], &r, &e) != 0)
			fail_msg("taken: %s", others[i]);
		assert_string_equal(r.uuid, "");
		assert_null(r.name);
	}
	record_fini(&r);
}

static void
fill(struct record *r)
{
	struct err e = ERR_INIT;

	record_init(r);
	memcpy(r->uuid, U, sizeof(r->uuid));
	memcpy(r->server, U, sizeof(r->server));
	r->created.tv_sec = 1700000000;
	r->has_size = r->has_files = true;
	r->size = 12345;
	r->files = 6;
	assert_ok(record_set(&r->name, "secret plans", &e), &e);
	assert_ok(record_push(&r->warnings, &r->nwarnings,
	    "secret/file: gone", RECORD_WARNINGS, &e), &e);
	assert_ok(record_push(&r->ignored, &r->nignored, "*.secret",
	    RECORD_IGNORED, &e), &e);
	r->warnings_count = 1;
	r->complete = false;
}

static void
through(bool sealed, struct record *back, struct buf *text)
{
	struct pbs_manifest m, n;
	struct record r;
	struct err e = ERR_INIT;

	fill(&r);
	assert_ok(pbs_manifest_init(&m, "host", "calagopus-" U, 1700000000,
	    &e), &e);
	assert_ok(pbs_record_put(&r, sealed, &m, &e), &e);
	buf_init(text, 1 << 16);
	assert_ok(pbs_manifest_put(&m, NULL, text, &e), &e);
	assert_ok(pbs_manifest_parse(&n, text->p, text->len, &e), &e);
	assert_int_equal(pbs_record_get(&n, back, &e), 1);
	pbs_manifest_fini(&m);
	pbs_manifest_fini(&n);
	record_fini(&r);
}

static void
test_a_record_goes_through_the_manifest(void **state)
{
	struct record back;
	struct buf text;

	(void)state;
	through(false, &back, &text);
	assert_string_equal(back.uuid, U);
	assert_string_equal(back.name, "secret plans");
	assert_int_equal(back.size, 12345);
	assert_int_equal(back.nwarnings, 1);
	assert_int_equal(back.nignored, 1);
	assert_false(back.complete);
	record_fini(&back);
	buf_fini(&text);
}

static void
test_a_sealed_one_tells_no_names_of_files(void **state)
{
	struct record back;
	struct buf text;

	(void)state;
	through(true, &back, &text);
	assert_null(strstr(text.p, "secret/file"));
	assert_null(strstr(text.p, "*.secret"));
	assert_int_equal(back.size, 12345);
	assert_int_equal(back.warnings_count, 1);
	assert_int_equal(back.nwarnings, 0);
	assert_string_equal(back.name, "secret plans");
	record_fini(&back);
	buf_fini(&text);
}

static void
test_notes_that_were_changed_count(void **state)
{
	struct pbs_manifest m;
	struct record r, back;
	struct err e = ERR_INIT;

	(void)state;
	fill(&r);
	assert_ok(pbs_manifest_init(&m, "host", "a", 1, &e), &e);
	assert_ok(pbs_record_put(&r, false, &m, &e), &e);
	json_object_set_new(m.unprotected, "notes",
	    json_string("new name \xc2\xb7 weekly \xc2\xb7 " U));
	assert_int_equal(pbs_record_get(&m, &back, &e), 1);
	assert_string_equal(back.name, "new name");
	assert_string_equal(back.group, "weekly");
	/* Nobody makes it whole by a note. */
	assert_false(back.complete);
	record_fini(&back);
	/* Another program's has none. */
	json_object_clear(m.unprotected);
	assert_int_equal(pbs_record_get(&m, &back, &e), 0);
	assert_string_equal(back.uuid, "");
	record_fini(&back);
	/* A broken one is no record of no backup. */
	json_object_set_new(m.unprotected, "cala", json_string("x"));
	assert_int_equal(pbs_record_get(&m, &back, &e), -1);
	assert_int_equal(e.code, CALA_INTEGRITY);
	pbs_manifest_fini(&m);
	record_fini(&r);
}

static void
test_the_panel_file_is_as_wings_reads_it(void **state)
{
	struct pbs_panel p;
	struct record r;
	struct err e = ERR_INIT;
	struct buf b;
	json_t *j;

	(void)state;
	fill(&r);
	buf_init(&b, 1 << 16);
	pbs_panel_put(&r, "calagopus-" U, 1700000000, PBS_PXAR, PBS_CATALOG,
	    &b);
	j = json_parse(b.p, b.len, "t", &e);
	assert_non_null(j);
	assert_string_equal(json_get_str(j, "backup_uuid"), U);
	assert_string_equal(json_get_str(j, "server_uuid"), U);
	assert_string_equal(json_get_str(j, "backup_id"), "calagopus-" U);
	assert_int_equal(json_get_u64(j, "backup_time", 0), 1700000000);
	assert_string_equal(json_get_str(j, "archive"), "root.pxar.didx");
	assert_string_equal(json_get_str(j, "catalog"),
	    "catalog.pcat1.didx");
	assert_non_null(json_get_str(j, "wings_version"));
	json_decref(j);
	assert_ok(pbs_panel_get(b.p, b.len, &p, &e), &e);
	assert_string_equal(p.uuid, U);
	assert_string_equal(p.archive, PBS_PXAR);
	assert_string_equal(p.dump, "");
	buf_reset(&b);
	buf_str(&b, "{\"backup_uuid\":7,\"dump_file_name\":\"" U ".sql\"}");
	assert_ok(pbs_panel_get(b.p, b.len, &p, &e), &e);
	assert_string_equal(p.uuid, "");
	assert_string_equal(p.dump, U ".sql");
	assert_int_equal(pbs_panel_get("[]", 2, &p, &e), -1);
	assert_int_equal(e.code, CALA_INTEGRITY);
	buf_fini(&b);
	record_fini(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_notes_are_read_as_written),
		cmocka_unit_test(test_other_notes_are_not_ours),
		cmocka_unit_test(test_a_record_goes_through_the_manifest),
		cmocka_unit_test(test_a_sealed_one_tells_no_names_of_files),
		cmocka_unit_test(test_notes_that_were_changed_count),
		cmocka_unit_test(test_the_panel_file_is_as_wings_reads_it)
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
