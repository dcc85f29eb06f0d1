/* record: what describes a backup survives reading and writing. */

#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/when.h"
#include "driver/record.h"

static const char full[] =
    "{\"v\":1,\"uuid\":\"11111111-2222-3333-4444-555555555555\","
    "\"server\":\"99999999-2222-3333-4444-555555555555\","
    "\"name\":\"before \\\"update\\\"\",\"group\":\"daily\","
    "\"locked\":true,\"created\":\"2026-03-09T04:12:33.5Z\","
    "\"completed\":\"2026-03-09T04:13:00Z\",\"disk\":\"local\","
    "\"configuration\":\"fast\",\"size\":10,\"files\":2,\"stored\":7,"
    "\"checksum\":{\"type\":\"sha256\",\"value\":\"ab\"},"
    "\"ignored\":[\"*.log\",\"!keep\"],\"complete\":false,\"changed\":1,"
    "\"warnings_count\":3,\"warnings\":[\"a\",\"b\"],\"host\":\"node1\","
    "\"version\":\"0.1\"";

static int
parse(struct record *r, const char *s, struct err *e)
{
	return record_get(r, s, strlen(s), "test", e);
}

static void
round_trip(void **state)
{
	struct err e = ERR_INIT;
	struct record r, again;
	struct buf b, c, text;

	(void)state;
	buf_init(&text, 10000);
	buf_init(&b, 10000);
	buf_init(&c, 10000);
	buf_str(&text, full);
	buf_str(&text, ",\"later\":{\"x\":[1,null,\"\xc3\xa9\"]},\"n\":-1}");
	assert_ok(record_get(&r, text.p, text.len, "test", &e), &e);
	assert_string_equal(r.name, "before \"update\"");
	assert_string_equal(r.group, "daily");
	assert_true(r.locked && !r.complete && !r.foreign);
	assert_true(r.created.tv_nsec == 500000000);
	assert_true(r.has_size && r.size == 10 && r.files == 2 &&
	    r.stored == 7 && r.changed == 1 && r.warnings_count == 3);
	assert_int_equal((int)r.nignored, 2);
	assert_int_equal((int)r.nwarnings, 2);
	assert_string_equal(r.sum_value, "ab");

	assert_ok(record_put(&r, &b, &e), &e);
	assert_non_null(strstr(b.p,
	    "\"later\": {\"x\":[1,null,\"\xc3\xa9\"]}"));
	assert_non_null(strstr(b.p, "\"n\": -1}"));
	assert_ok(record_get(&again, b.p, b.len, "test", &e), &e);
	assert_ok(record_put(&again, &c, &e), &e);
	assert_string_equal(b.p, c.p);
	record_fini(&r);
	record_fini(&again);
	buf_fini(&text);
	buf_fini(&b);
	buf_fini(&c);
}

static void
foreign(void **state)
{
	struct err e = ERR_INIT;
	struct record r;
	struct buf b;

	(void)state;
	buf_init(&b, 10000);
	record_init(&r);
	strcpy(r.uuid, "11111111-2222-3333-4444-555555555555");
	r.foreign = true;
	r.created.tv_sec = 1700000000;
	r.has_stored = true;
	r.stored = 5;
	assert_ok(record_put(&r, &b, &e), &e);
	assert_string_equal(b.p,
	    "{\"v\":1,\"uuid\":\"11111111-2222-3333-4444-555555555555\","
	    "\"created\":\"2023-11-14T22:13:20Z\",\"stored\":5,"
	    "\"foreign\":true}");
	record_fini(&r);
	assert_ok(record_get(&r, b.p, b.len, "test", &e), &e);
	assert_true(r.foreign && r.complete && !r.has_size);
	record_fini(&r);
	buf_fini(&b);
}

static void
hostile(void **state)
{
	static const char u[] =
	    "{\"v\":1,\"uuid\":\"11111111-2222-3333-4444-555555555555\"";
	static const char own[] = "\"locked\":false,\"complete\":true";
	static const char *const tails[] = {
		",\"server\":\"x\"}", ",\"server\":7}", ",\"name\":1}",
		",\"group\":[]}", ",\"locked\":1}", ",\"created\":\"now\"}",
		",\"completed\":5}", ",\"size\":-1}", ",\"size\":1.5}",
		",\"size\":\"1\"}", ",\"size\":99999999999999999999}",
		",\"files\":{}}", ",\"stored\":true}", ",\"checksum\":\"x\"}",
		",\"checksum\":{\"type\":\"sha256\"}}",
		",\"checksum\":{\"type\":1,\"value\":\"x\"}}",
		",\"ignored\":\"x\"}", ",\"ignored\":[1]}",
		",\"warnings\":{}}", ",\"warnings\":[null]}",
		",\"warnings_count\":-3}", ",\"complete\":\"no\"}",
		",\"foreign\":0}", ",\"host\":1}", ",\"uuid\":\"again\"}",
		"", "}x", ",}", NULL
	};
	static const char *const whole[] = {
		"", "[]", "1", "null", "{}", "{\"v\":1}",
		"{\"uuid\":\"11111111-2222-3333-4444-555555555555\"}",
		"{\"v\":2,\"uuid\":\"11111111-2222-3333-4444-555555555555\"}",
		"{\"v\":1,\"uuid\":\"../../etc/passwd\"}",
		"{\"v\":1,\"uuid\":\"11111111222233334444555555555555\"}",
		/* one bit of "locked" or "complete" */
		"{\"v\":1,\"uuid\":\"11111111-2222-3333-4444-555555555555\","
		    "\"mocked\":true,\"complete\":true}",
		"{\"v\":1,\"uuid\":\"11111111-2222-3333-4444-555555555555\","
		    "\"locked\":true,\"complgte\":false}", NULL
	};
	struct err e = ERR_INIT;
	struct record r;
	struct buf b;
	size_t i;

	(void)state;
	buf_init(&b, RECORD_MAX + 100);
	for (i = 0; tails[i] != NULL; i++) {
		buf_reset(&b);
		buf_str(&b, u);
		if (strstr(tails[i], "locked") == NULL)
			buf_str(&b, ",\"locked\":false");
		if (strstr(tails[i], "complete\"") == NULL)
			buf_str(&b, ",\"complete\":true");
		buf_str(&b, tails[i]);
		err_clear(&e);
		if (parse(&r, b.p, &e) != -1)
			fail_msg("accepted: %s", b.p);
		assert_int_equal(e.code, CALA_INTEGRITY);
	}
	for (i = 0; whole[i] != NULL; i++) {
		if (parse(&r, whole[i], &e) != -1)
			fail_msg("accepted: %s", whole[i]);
	}
	/* the limits, and one less than the limits */
	for (i = 0; i < 2; i++) {
		buf_reset(&b);
		buf_printf(&b, "%s,%s,\"name\":\"%0*d\"}", u, own,
		    (int)(RECORD_NAME + i), 0);
		assert_int_equal(parse(&r, b.p, &e), i == 0 ? 0 : -1);
		record_fini(&r);
	}
	for (i = 0; i < 2; i++) {
		size_t k;

		buf_reset(&b);
		buf_printf(&b, "%s,%s,\"warnings\":[\"w\"", u, own);
		for (k = 1; k < RECORD_WARNINGS + i; k++)
			buf_str(&b, ",\"w\"");
		buf_str(&b, "]}");
		assert_int_equal(parse(&r, b.p, &e), i == 0 ? 0 : -1);
		record_fini(&r);
	}
	buf_fini(&b);
}

/* Too many long warnings: the record is still one that can be read. */
static void
too_much(void **state)
{
	struct err e = ERR_INIT;
	struct record r;
	struct buf b, w;
	int i;

	(void)state;
	buf_init(&b, RECORD_MAX);
	buf_init(&w, 20000);
	buf_printf(&w, "%010000d", 7);
	record_init(&r);
	strcpy(r.uuid, "11111111-2222-3333-4444-555555555555");
	r.warnings_count = 5000;
	for (i = 0; i < 5000; i++)
		assert_ok(record_push(&r.warnings, &r.nwarnings, w.p,
		    RECORD_WARNINGS, &e), &e);
	assert_int_equal((int)r.nwarnings, RECORD_WARNINGS);
	assert_ok(record_put(&r, &b, &e), &e);
	record_fini(&r);
	assert_ok(record_get(&r, b.p, b.len, "test", &e), &e);
	assert_true(r.warnings_count == 5000);
	assert_true(r.nwarnings > 100 && r.nwarnings < RECORD_WARNINGS);
	record_fini(&r);
	buf_fini(&w);
	buf_fini(&b);
}

static void
pick(void **state)
{
	static const struct { const char *uuid; time_t t; bool whole; } t[] = {
		{ "aaaa1111-2222-3333-4444-555555555555", 300, true },
		{ "aaaa2222-2222-3333-4444-555555555555", 100, false },
		{ "bbbb2222-2222-3333-4444-555555555555", 200, true },
		{ "cccc2222-2222-3333-4444-555555555555", 400, false },
		{ "dddd2222-2222-3333-4444-555555555555", 200, true },
	};
	static const struct { const char *what; int code; size_t i; } want[] = {
		{ "latest", 0, 0 }, { "oldest", 0, 2 },
		{ "aaaa", CALA_USAGE, 0 }, { "aaaa2", 0, 1 },
		{ "AAAA1111-", 0, 0 },
		{ "CCCC2222-2222-3333-4444-555555555555", 0, 3 },
		{ "eeee", CALA_NOTFOUND, 0 },
		{ "eeee2222-2222-3333-4444-555555555555", CALA_NOTFOUND, 0 },
		{ "aaa", CALA_USAGE, 0 }, { "", CALA_USAGE, 0 },
		{ "newest", CALA_USAGE, 0 }, { "%s%n", CALA_USAGE, 0 },
	};
	struct record r[5], *v[5];
	struct err e = ERR_INIT;
	size_t i, got;
	int ret;

	(void)state;
	for (i = 0; i < 5; i++) {
		record_init(&r[i]);
		strcpy(r[i].uuid, t[i].uuid);
		r[i].created.tv_sec = t[i].t;
		r[i].complete = t[i].whole;
		v[i] = &r[i];
	}
	for (i = 0; i < sizeof(want) / sizeof(*want); i++) {
		err_clear(&e);
		got = 99;
		ret = record_pick(v, 5, want[i].what, &got, &e);
		assert_int_equal(e.code, want[i].code);
		if (want[i].code == 0)
			assert_true(ret == 0 && got == want[i].i);
		else
			assert_true(ret == -1 && got == 99);
	}
	assert_int_equal(record_pick(v, 0, "latest", &got, &e), -1);
	assert_int_equal(e.code, CALA_NOTFOUND);
	/* only partial ones: better than none */
	assert_ok(record_pick(v + 1, 1, "latest", &got, &e), &e);
	assert_true(record_cmp(v[2], v[4]) < 0);
	/* From the future: passed over, but nothing else is older or newer. */
	r[0].created.tv_sec = when_now().tv_sec + 2 * 3600;
	assert_ok(record_pick(v, 5, "latest", &got, &e), &e);
	assert_int_equal(got, 4);
	assert_ok(record_pick(v, 2, "latest", &got, &e), &e);
	assert_int_equal(got, 0);
	r[0].created.tv_sec = when_now().tv_sec + 60;
	assert_ok(record_pick(v, 5, "latest", &got, &e), &e);
	assert_int_equal(got, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip), cmocka_unit_test(foreign),
		cmocka_unit_test(hostile), cmocka_unit_test(too_much),
		cmocka_unit_test(pick),
	};

	return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
