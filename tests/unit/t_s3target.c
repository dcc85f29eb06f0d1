/* Endpoints: grammar, style, region, what a redirect may lead to. */

#include "unit.h"

#include <string.h>

#include "base/buf.h"
#include "s3/target.h"

static void
grammar(void **st)
{
	static const struct {
		const char *text, *host, *base;
		unsigned port;
		bool tls;
	} good[] = {
		{ "s3.example.com", "s3.example.com", "", 0, true },
		{ "https://S3.Example.COM/", "s3.example.com", "", 0, true },
		{ "http://[::1]:9000", "[::1]", "", 9000, false },
		{ "https://gw.example.org:8443/s3", "gw.example.org", "/s3",
		    8443, true },
		{ "https://gw.example.org:443//", "gw.example.org", "", 0,
		    true },
		{ "http://gw:80/a/b/", "gw", "/a/b", 0, false },
		{ "http://127.0.0.1:443", "127.0.0.1", "", 443, false },
		{ "https://[2001:db8::1]", "[2001:db8::1]", "", 0, true },
	};
	static const char *const bad[] = { "", "ftp://a", "https://",
	    "https://u@h", "https://h?x", "https://h#x", "h:0", "h:65536",
	    "h:", "h:99999999999", "[fe80::1%25eth0]", "[::1", "a b", "a..b",
	    ".a", "h/a b", "h/\"", "[::1]x:9", "http:///x" };
	struct err e = ERR_INIT;
	struct s3_place p;
	size_t i;

	(void)st;
	for (i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_ok(s3_place_parse(good[i].text, &p, &e), &e);
		assert_string_equal(p.host, good[i].host);
		assert_string_equal(p.base, good[i].base);
		assert_int_equal(p.port, good[i].port);
		assert_int_equal(p.tls, good[i].tls);
	}
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		err_clear(&e);
		if (s3_place_parse(bad[i], &p, &e) != -1)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(e.code, CALA_USAGE);
	}
}

static void
urls(void **st)
{
	static const struct {
		const char *endpoint, *bucket, *key;
		enum s3_style want, style;
		const char *host, *path;
	} v[] = {
		{ "s3.eu-west-1.amazonaws.com", "bkt", "k/a b", S3_AUTO,
		    S3_VIRTUAL, "bkt.s3.eu-west-1.amazonaws.com", "/k/a%20b" },
		{ "s3.eu-west-1.amazonaws.com", "a.b", "k", S3_AUTO, S3_PATH,
		    "s3.eu-west-1.amazonaws.com", "/a.b/k" },
		{ "s3.eu-west-1.amazonaws.com", "Old_One", NULL, S3_AUTO,
		    S3_PATH, "s3.eu-west-1.amazonaws.com", "/Old_One" },
		{ "http://127.0.0.1:9000", "bkt", "k", S3_AUTO, S3_PATH,
		    "127.0.0.1:9000", "/bkt/k" },
		{ "minio.lan", "bkt", "/k", S3_AUTO, S3_PATH, "minio.lan",
		    "/bkt//k" },
		{ "minio.lan", "bkt", NULL, S3_VIRTUAL, S3_VIRTUAL,
		    "bkt.minio.lan", "/" },
		{ "https://gw.example.org:8443/s3", "bkt", "a/../b", S3_AUTO,
		    S3_PATH, "gw.example.org:8443", "/s3/bkt/a/../b" },
		{ "bkt.fra1.digitaloceanspaces.com", "bkt", "k", S3_PATH,
		    S3_VIRTUAL, "bkt.fra1.digitaloceanspaces.com", "/k" },
		{ "bkt.s3.example.org", "bkt", "k", S3_AUTO, S3_VIRTUAL,
		    "bkt.s3.example.org", "/k" },
		{ "backups.example.org", "backups", "k", S3_AUTO, S3_PATH,
		    "backups.example.org", "/backups/k" },
		{ "http://[::1]:9000", "bkt", "k", S3_AUTO, S3_PATH,
		    "[::1]:9000", "/bkt/k" },
	};
	struct err e = ERR_INIT;
	struct s3_place p;
	struct buf b;
	size_t i;

	(void)st;
	buf_init(&b, 8192);
	for (i = 0; i < sizeof(v) / sizeof(*v); i++) {
		assert_ok(s3_place_parse(v[i].endpoint, &p, &e), &e);
		assert_int_equal(s3_place_style(&p, v[i].bucket, v[i].want),
		    v[i].style);
		buf_reset(&b);
		s3_place_host(&p, v[i].style, v[i].bucket, &b);
		assert_string_equal(b.p, v[i].host);
		buf_reset(&b);
		s3_place_path(&p, v[i].style, v[i].bucket, v[i].key, &b);
		assert_string_equal(b.p, v[i].path);
	}
	buf_fini(&b);
}

static void
regions(void **st)
{
	static const struct { const char *host, *region; } v[] = {
		{ "s3.eu-west-1.amazonaws.com", "eu-west-1" },
		{ "s3-eu-west-1.amazonaws.com", "eu-west-1" },
		{ "s3.amazonaws.com", "us-east-1" },
		{ "bkt.s3.dualstack.eu-west-3.amazonaws.com", "eu-west-3" },
		{ "s3.cn-north-1.amazonaws.com.cn", "cn-north-1" },
		{ "s3.us-west-004.backblazeb2.com", "us-west-004" },
		{ "s3.wasabisys.com", "us-east-1" },
		{ "s3.eu-central-2.wasabisys.com", "eu-central-2" },
		{ "s3.fr-par.scw.cloud", "fr-par" },
		{ "fsn1.your-objectstorage.com", "fsn1" },
		{ "bkt.nbg1.your-objectstorage.com", "nbg1" },
		{ "fra1.digitaloceanspaces.com", "fra1" },
		{ "s3.gra.io.cloud.ovh.net", "gra" },
		{ "s3.sbg.cloud.ovh.net", "sbg" },
		{ "0123.r2.cloudflarestorage.com", "auto" },
		{ "storage.googleapis.com", "auto" },
		{ "minio.example.org", NULL }, { "127.0.0.1", NULL },
		{ "evilamazonaws.com", NULL },
	};
	char region[REGION_MAX];
	struct err e = ERR_INIT;
	struct s3_place p;
	size_t i;

	(void)st;
	for (i = 0; i < sizeof(v) / sizeof(*v); i++) {
		assert_ok(s3_place_parse(v[i].host, &p, &e), &e);
		if (v[i].region == NULL) {
			assert_int_equal(s3_place_region(&p, region), -1);
			continue;
		}
		assert_ok(s3_place_region(&p, region), &e);
		assert_string_equal(region, v[i].region);
	}
	s3_place_aws("cn-north-1", &p);
	assert_string_equal(p.host, "s3.cn-north-1.amazonaws.com.cn");
	assert_true(s3_provider(&p)->aws);
}

static void
redirects(void **st)
{
	static const struct { const char *from, *to; bool ok; } v[] = {
		{ "s3.amazonaws.com", "bkt.s3.eu-west-1.amazonaws.com", true },
		{ "s3.amazonaws.com", "amazonaws.com.evil.org", false },
		{ "s3.amazonaws.com", "evilamazonaws.com", false },
		{ "gw.example.org", "n1.gw.example.org", true },
		{ "gw.example.org", "other.example.org", false },
		{ "gw.co.uk", "evil.co.uk", false },
		{ "gw.example.org", "xgw.example.org", false },
		{ "127.0.0.1", "127.0.0.1", true },
		{ "127.0.0.1", "1.127.0.0.1", false },
		{ "fsn1.your-objectstorage.com", "hel1.your-objectstorage.com",
		    true },
	};
	struct err e = ERR_INIT;
	struct s3_place p;
	size_t i;

	(void)st;
	for (i = 0; i < sizeof(v) / sizeof(*v); i++) {
		assert_ok(s3_place_parse(v[i].from, &p, &e), &e);
		if (s3_place_trusts(&p, v[i].to) != v[i].ok)
			fail_msg("%s to %s", v[i].from, v[i].to);
	}
}

static void
names(void **st)
{
	char key[S3_KEY_MAX + 2];
	struct err e = ERR_INIT;

	(void)st;
	assert_ok(s3_bucket_check("my-bucket.x_Y", &e), &e);
	assert_int_equal(s3_bucket_check(NULL, &e), -1);
	assert_int_equal(s3_bucket_check("ab", &e), -1);
	assert_int_equal(s3_bucket_check("a/b", &e), -1);
	assert_int_equal(s3_bucket_check("a..b", &e), -1);
	assert_int_equal(s3_bucket_check("a:b", &e), -1);
	memset(key, 'k', sizeof(key));
	key[S3_KEY_MAX] = '\0';
	assert_ok(s3_key_check(key, &e), &e);
	key[S3_KEY_MAX] = 'k';
	key[S3_KEY_MAX + 1] = '\0';
	assert_int_equal(s3_key_check(key, &e), -1);
	assert_int_equal(s3_key_check("", &e), -1);
	assert_int_equal(s3_key_check("\xff", &e), -1);
	assert_ok(s3_key_check("/a//b/../c\n", &e), &e);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grammar),
		cmocka_unit_test(urls),
		cmocka_unit_test(regions),
		cmocka_unit_test(redirects),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests_name("s3target", tests, NULL, NULL);
}
