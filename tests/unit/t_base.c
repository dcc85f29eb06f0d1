/* base: the small things everything else stands on. */

#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/code.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/json.h"
#include "base/opt.h"
#include "base/pool.h"
#include "base/str.h"
#include "base/uuid.h"
#include "base/when.h"

static void
sizes(void **state)
{
	static const struct { const char *s; uint64_t n; int ret; } t[] = {
		{ "0", 0, 0 }, { "17", 17, 0 }, { "1K", 1024, 0 },
		{ "1KiB", 1024, 0 }, { "1KB", 1000, 0 }, { "2m", 2 << 20, 0 },
		{ "1 GiB", 1 << 30, 0 }, { "5B", 5, 0 }, { "", 0, -1 },
		{ "K", 0, -1 }, { "1X", 0, -1 }, { "-1", 0, -1 },
		{ "1KiBx", 0, -1 }, { "18446744073709551615", UINT64_MAX, 0 },
		{ "18446744073709551616", 0, -1 }, { "16E", 0, -1 },
	};
	uint64_t n, d;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		n = 0;
		assert_int_equal(str_size(t[i].s, &n), t[i].ret);
		assert_true(n == t[i].n);
	}
	assert_int_equal(str_rate("10M/s", &n), 0);
	assert_true(n == 10 << 20);
	assert_int_equal(str_duration("1d2h3m4s", &d), 0);
	assert_true(d == 86400 + 7200 + 180 + 4);
	assert_int_equal(str_duration("5x", &d), -1);
	assert_int_equal(str_u64("7", 8, 9, &n), -1);
}

static void
text(void **state)
{
	struct buf b;
	char human[STR_HUMAN];

	(void)state;
	buf_init(&b, 1000);
	str_esc(&b, "a\n\x1b[1m\xff\\\xc3\xa9\xe2\x80\xae", 13);
	assert_string_equal(b.p,
	    "a\\n\\x1b[1m\\xff\\\\\xc3\xa9\\xe2\\x80\\xae");
	assert_string_equal(str_human(0, human), "0 B");
	assert_string_equal(str_human(1536, human), "1.5 KiB");
	assert_string_equal(str_human(UINT64_MAX, human), "16.0 EiB");
	assert_true(str_utf8("\xf0\x9f\x98\x80", 4));
	assert_false(str_utf8("\xed\xa0\x80", 3));
	assert_false(str_utf8("\xc0\x80", 2));
	assert_string_equal(str_q("x\ty"), "x\\ty");
	buf_reset(&b);
	assert_int_equal(buf_printf(&b, "%0999d", 1), 0);
	assert_int_equal(buf_str(&b, "xx"), -1);
	assert_true(b.failed && b.len == 999);
	buf_fini(&b);
}

static void
text_in_lent_memory(void **state)
{
	char room[8];
	struct buf b;

	(void)state;
	memset(room, '#', sizeof(room));
	buf_over(&b, room, 6);
	assert_int_equal(buf_str(&b, "12345"), 0);
	assert_ptr_equal(b.p, room);
	assert_string_equal(room, "12345");
	assert_int_equal(buf_chr(&b, '6'), -1);
	assert_string_equal(room, "12345");
	assert_int_equal(room[6], '#');
	buf_reset(&b);
	assert_int_equal(buf_str(&b, "again"), 0);
	assert_null(buf_detach(&b));
	buf_fini(&b);
	assert_string_equal(room, "again");
	assert_int_equal(buf_str(&b, "6"), 0);
	assert_ptr_not_equal(b.p, room);
	buf_fini(&b);
}

static void
codes(void **state)
{
	static const char *const t[][2] = {     /* RFC 4648 §10 */
		{ "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" },
		{ "foo", "Zm9v" }, { "foob", "Zm9vYg==" },
		{ "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" },
	};
	struct buf b;
	size_t i;

	(void)state;
	buf_init(&b, 1000);
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		buf_reset(&b);
		b64_put(&b, t[i][0], strlen(t[i][0]));
		assert_string_equal(b.p, t[i][1]);
		buf_reset(&b);
		assert_int_equal(b64_get(&b, t[i][1], strlen(t[i][1])), 0);
		assert_string_equal(b.p, t[i][0]);
	}
	buf_reset(&b);
	b64url_put(&b, "\xfb\xff", 2);
	assert_string_equal(b.p, "-_8");
	buf_reset(&b);
	assert_int_equal(b64url_get(&b, "-_8", 3), 0);
	assert_int_equal(b64url_get(&b, "-_9", 3), -1);
	assert_int_equal(b64_get(&b, "Zg=", 3), -1);
	assert_int_equal(b64_get(&b, "Z===", 4), -1);
	assert_int_equal((int)b.len, 2);
	buf_fini(&b);
}

static void
varints(void **state)
{
	static const uint64_t t[] =
	    { 0, 1, 127, 128, 1700000000, UINT64_MAX, 1ull << 63 };
	unsigned char p[10];
	uint64_t n;
	size_t i, k;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		k = varint_put(p, t[i]);
		assert_int_equal((int)varint_get(p, p + k, &n), (int)k);
		assert_true(n == t[i]);
		assert_int_equal((int)varint_get(p, p + k - 1, &n), 0);
	}
	memset(p, 0xff, sizeof(p));
	assert_int_equal((int)varint_get(p, p + 10, &n), 0);
	assert_true(unzigzag(zigzag(-5)) == -5 && zigzag(-1) == 1);
}

static void
uuids(void **state)
{
	char u[UUID_TEXT];
	struct err e = ERR_INIT;

	(void)state;
	uuid_named("survival", u);      /* checked with Python's uuid5 */
	assert_string_equal(u, "f1d2db2e-c7b9-53f7-9635-b03256b27120");
	assert_ok(uuid_new(u, &e), &e);
	assert_true(uuid_ok(u) && u[14] == '4');
	assert_int_equal(uuid_norm("F1D2DB2E-C7B9-53F7-9635-B03256B27120", u),
	    0);
	assert_string_equal(u, "f1d2db2e-c7b9-53f7-9635-b03256b27120");
	assert_false(uuid_ok("f1d2db2e-c7b9-53f7-9635-b03256b2712"));
	assert_true(uuid_prefix("f1d2db2e-c"));
	assert_false(uuid_prefix("f1d2db2ec") || uuid_prefix("f1d"));
}

static void
times(void **state)
{
	struct timespec now = { 1700000000, 0 }, x;
	char out[WHEN_TEXT];

	(void)state;
	assert_string_equal(when_utc(now, out), "2023-11-14T22:13:20Z");
	assert_int_equal(when_rfc3339("2023-11-14T23:13:20.5+01:00", &x), 0);
	assert_true(x.tv_sec == now.tv_sec && x.tv_nsec == 500000000);
	assert_int_equal(when_rfc3339("2023-02-29T00:00:00Z", &x), -1);
	assert_int_equal(when_rfc3339("2023-11-14T22:13:20", &x), -1);
	assert_int_equal(when_parse("@5", now, &x), 0);
	assert_true(x.tv_sec == 5);
	assert_int_equal(when_parse("36h", now, &x), 0);
	assert_true(x.tv_sec == now.tv_sec - 36 * 3600);
	assert_int_equal(when_parse("1M", now, &x), 0);
	assert_string_equal(when_utc(x, out), "2023-10-14T22:13:20Z");
	assert_int_equal(when_parse("soon", now, &x), -1);
}

static void
json(void **state)
{
	struct err e = ERR_INIT;
	struct buf b;
	struct jw j;
	json_t *o;

	(void)state;
	buf_init(&b, 10000);
	jw_begin(&j, &b);
	jw_open(&j, NULL, '{');
	jw_str(&j, "a", "x\"\n");
	jw_open(&j, "l", '[');
	jw_u64(&j, NULL, UINT64_MAX);
	jw_i64(&j, NULL, -1);
	jw_close(&j, ']');
	jw_bytes(&j, "p", "\xff\xc3", 2);
	jw_bool(&j, "t", true);
	jw_close(&j, '}');
	assert_string_equal(b.p, "{\"a\":\"x\\\"\\u000a\","
	    "\"l\":[18446744073709551615,-1],"
	    "\"p\":\"\xef\xbf\xbd\xef\xbf\xbd\",\"p_b64\":\"/8M=\",\"t\":true}");
	assert_null(json_parse("{\"a\":1,\"a\":2}", 13, "x", &e));
	assert_int_equal(e.code, CALA_INTEGRITY);
	o = json_parse("{\"a\":1}", 7, "x", &e);
	assert_true(json_get_u64(o, "a", 0) == 1);
	json_decref(o);
	buf_fini(&b);
}

static void
hash(void **state)
{
	unsigned char md[SHA256_LEN];
	char hex[SHA256_HEX];
	struct err e = ERR_INIT;
	struct sha256 *h = sha256_new(&e);
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {       /* FIPS 180-4 example, twice */
		sha256_add(h, "abc", 3);
		sha256_end(h, md);
		hex_put(md, sizeof(md), hex);
		assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223"
		    "b00361a396177a9cb410ff61f20015ad");
	}
	sha256_free(h);
	assert_ok(sha256("", 0, md, &e), &e);
	hex_put(md, sizeof(md), hex);
	assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb924"
	    "27ae41e4649b934ca495991b7852b855");
}

/* Check values of the ddup-bak format. */
static void
hash_blake2b(void **state)
{
	static const char text[] = "hello world\n";
	static const char want[] = "c71b05fd1d1c7bf7e928ff18e58db519"
	    "3e9316416cc26ba9cc9094da80d7011e";
	unsigned char md[BLAKE2B_LEN];
	char hex[BLAKE2B_HEX];
	struct err e = ERR_INIT;
	struct blake2b *h = blake2b_new(&e);
	size_t i;
	int turn;

	(void)state;
	blake2b("", 0, md);
	hex_put(md, sizeof(md), hex);
	assert_string_equal(hex, "0e5751c026e543b2e8ab2eb06099daa1"
	    "d1e5df47778f7787faab45cdf12fe3a8");
	blake2b(text, sizeof(text) - 1, md);
	hex_put(md, sizeof(md), hex);
	assert_string_equal(hex, want);
	assert_non_null(h);
	for (turn = 0; turn < 2; turn++) {
		for (i = 0; i < sizeof(text) - 1; i++)
			blake2b_add(h, text + i, 1);
		blake2b_end(h, md);
		hex_put(md, sizeof(md), hex);
		assert_string_equal(hex, want);
	}
	blake2b_free(h);
}

static void
options(void **state)
{
	const char *argv[] = { "t", "a", "-vn3", "--name=x", "--no-flag",
	    "-e", "1", "b", "--ex", "2", "--", "cmd", "-v" };
	struct opt_list ops, rest, list = { NULL, 0 };
	struct err e = ERR_INIT;
	const char *name = NULL, *data = NULL;
	uint64_t n = 0;
	bool flag = true;
	int v = 0;
	const struct opt t[] = {
		{ OPT_FLAG, 'f', "flag", NULL, "f", &flag, NULL },
		{ OPT_COUNT, 'v', "verbose", NULL, "v", &v, NULL },
		{ OPT_U64, 'n', "number", "N", "n", &n, NULL },
		{ OPT_STR, 0, "name", "S", "s", &name, NULL },
		{ OPT_LIST, 'e', "ex", "P", "p", &list, NULL },
		{ OPT_MAYBE, 0, "data", "PCT", "d", &data, NULL },
		{ OPT_END, 0, NULL, NULL, NULL, NULL, NULL }
	};

	(void)state;
	assert_ok(opt_parse(t, 13, (char **)argv, &ops, &rest, &e), &e);
	assert_true(v == 1 && n == 3 && !flag && list.n == 2 && ops.n == 2);
	assert_string_equal(name, "x");
	assert_string_equal(rest.v[0], "cmd");
	assert_int_equal((int)rest.n, 2);
	opt_list_free(&ops);
	opt_list_free(&list);
	argv[1] = "--nam";
	assert_int_equal(opt_parse(t, 2, (char **)argv, &ops, &rest, &e), -1);
	assert_int_equal(e.code, CALA_USAGE);
	argv[1] = "--data", argv[2] = "5";
	assert_ok(opt_parse(t, 3, (char **)argv, &ops, &rest, &e), &e);
	assert_string_equal(data, "");
	assert_string_equal(ops.v[0], "5");
	opt_list_free(&ops);
	argv[1] = "--data=5";
	assert_ok(opt_parse(t, 2, (char **)argv, &ops, &rest, &e), &e);
	assert_string_equal(data, "5");
	opt_list_free(&ops);
	argv[1] = "-n1", argv[2] = "-n2";
	assert_int_equal(opt_parse(t, 3, (char **)argv, &ops, &rest, &e), -1);
}

struct sum { struct job job; int in, out; };

static void
square(struct job *j)
{
	struct sum *s = (struct sum *)j;

	s->out = s->in * s->in;
}

static void
pools(void **state)
{
	struct sum s[100];
	struct err e = ERR_INIT;
	struct pool *p;
	unsigned n;
	int i;

	(void)state;
	for (n = 0; n < 4; n++) {
		p = pool_new(n, &e);
		for (i = 0; i < 100; i++) {
			s[i].job.run = square;
			s[i].in = i;
			pool_submit(p, &s[i].job);
		}
		for (i = 0; i < 100; i++) {
			pool_wait(p, &s[i].job);
			assert_int_equal(s[i].out, i * i);
		}
		pool_free(p);
	}
}

static void
streams(void **state)
{
	struct err e = ERR_INIT;
	struct source *in = source_mem("hello", 5, &e);
	struct sink *out = sink_null(&e);
	char p[8];

	(void)state;
	assert_int_equal((int)source_full(in, p, 8, &e), 5);
	assert_true(in->pos == 5);
	source_close(in);
	assert_ok(sink_write(out, p, 5, &e), &e);
	assert_ok(sink_zero(out, 1 << 20, &e), &e);
	assert_true(out->pos == (1 << 20) + 5);
	assert_ok(sink_commit(out, &e), &e);
	sink_free(out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes), cmocka_unit_test(text),
		cmocka_unit_test(text_in_lent_memory),
		cmocka_unit_test(codes), cmocka_unit_test(varints),
		cmocka_unit_test(uuids), cmocka_unit_test(times),
		cmocka_unit_test(json), cmocka_unit_test(hash),
		cmocka_unit_test(hash_blake2b),
		cmocka_unit_test(options), cmocka_unit_test(pools),
		cmocka_unit_test(streams),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
