/*
 * Where an s3_target's endpoint, region and credentials come from: the order of
 * s3.md §8, and that two sources are never mixed.
 */

#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "config/conf.h"
#include "fs/extract.h"
#include "s3/awsfile.h"
#include "s3/creds.h"
#include "s3/setup.h"

static char dir[64], paths[32][160];
static size_t npaths;
static struct log quiet;

static int
in_dir(void **state)
{
	(void)state;
	log_init(&quiet, NULL, "t");
	npaths = 0;
	snprintf(dir, sizeof(dir), "%s/cala-s3setup.XXXXXX", "/tmp");
	return mkdtemp(dir) == NULL ? -1 : 0;
}

static int
gone(void **state)
{
	(void)state;
	log_fini(&quiet);
	return fs_remove(AT_FDCWD, dir);
}

static const char *
file(const char *name, const char *text)
{
	char *path = paths[npaths++];
	int fd;

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
	close(fd);
	return path;
}

/* An environment: NAME, VALUE, ..., NULL; HOME has no .aws. */
static char *env[24];
static char vars[24][320];

static void
setenvs(const char *name, ...)
{
	va_list ap;
	size_t n = 0;

	va_start(ap, name);
	snprintf(vars[n], sizeof(vars[n]), "HOME=%s", dir);
	env[n] = vars[n];
	for (n = 1; name != NULL; name = va_arg(ap, const char *), n++) {
		snprintf(vars[n], sizeof(vars[n]), "%s=%s", name,
		    va_arg(ap, const char *));
		env[n] = vars[n];
	}
	env[n] = NULL;
	va_end(ap);
}

static struct s3_setup u;
static struct conf *conf;

/* cfg: lines of a configuration, or NULL. */
static int
setup(const char *cfg, struct err *e)
{
	struct conf_paths where;
	char text[2048];
	int ret;

	conf_free(conf);
	conf = NULL;
	err_clear(e);
	if (cfg != NULL) {
		memset(&where, 0, sizeof(where));
		snprintf(text, sizeof(text), "[configuration \"c\"]\n"
		    "disk = s3\nbucket = conf-bucket\n%s", cfg);
		npaths = npaths > 20 ? 20 : npaths;
		where.file = file("cala.conf", text);
		assert_ok(conf_load(&conf, &where, &quiet, e), e);
	} else if (u.target.bucket == NULL) {
		u.target.bucket = "b";
	}
	ret = s3_setup_conf(&u, conf, cfg != NULL ? conf_section(conf,
	    "configuration", "c") : NULL, env, &quiet, e);
	return ret;
}

static void
done(void)
{
	s3_setup_fini(&u);
	memset(&u, 0, sizeof(u));
	conf_free(conf);
	conf = NULL;
}

static void
is_key(const char *id, const char *secret, const char *token)
{
	const struct s3_creds *c = u.target.creds;

	assert_non_null(c);
	assert_string_equal(c->id, id);
	assert_string_equal((const char *)c->secret.p, secret);
	if (token == NULL)
		assert_int_equal(c->token.len, 0);
	else
		assert_string_equal((const char *)c->token.p, token);
}

static void
aws_files(void **state)
{
	static const char text[] = "\xef\xbb\xbf; comment\r\n"
	    "orphan = 1\r\n"
	    "[default]\r\n"
	    "Region = eu-west-1 # where\r\n"
	    "[profile \"my servers\"]\r\n"
	    "region=a#b\r\n"
	    "s3 =\r\n"
	    "  addressing_style = path ; inner\r\n"
	    "\tmax_concurrent_requests=5\r\n"
	    "region = c\r\n"
	    "not a pair\r\n"
	    "[services local]\n"
	    "s3 = \n"
	    "  endpoint_url = http://127.0.0.1:9000\n"
	    "[profile empty]";
	struct err e = ERR_INIT;
	struct awsfile f;

	(void)state;
	assert_ok(awsfile_parse(&f, text, sizeof(text) - 1, false, &e), &e);
	assert_string_equal(awsfile_get(&f, "profile", "default", "",
	    "region"), "eu-west-1");
	assert_string_equal(awsfile_get(&f, "profile", "my servers", "",
	    "REGION"), "c");
	assert_string_equal(awsfile_get(&f, "profile", "my servers", "s3",
	    "addressing_style"), "path");
	assert_string_equal(awsfile_get(&f, "profile", "my servers", "s3",
	    "max_concurrent_requests"), "5");
	assert_null(awsfile_get(&f, "profile", "my servers", "",
	    "addressing_style"));
	assert_string_equal(awsfile_get(&f, "services", "local", "s3",
	    "endpoint_url"), "http://127.0.0.1:9000");
	assert_true(awsfile_has(&f, "profile", "empty"));
	assert_false(awsfile_has(&f, "profile", "none"));
	assert_null(awsfile_get(&f, "profile", "default", "", "orphan"));
	awsfile_fini(&f);

	assert_ok(awsfile_parse(&f, "[profile x]\nregion = a#b\n", 25, true,
	    &e), &e);
	assert_string_equal(awsfile_get(&f, "profile", "profile x", "",
	    "region"), "a#b");
	awsfile_fini(&f);
	assert_int_equal(awsfile_parse(&f, "[a]\nb=\0c\n", 10, true, &e), -1);
	assert_int_equal(e.code, CALA_USAGE);
}

static void
the_environment(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	setenvs("AWS_ACCESS_KEY_ID", "AKENV", "AWS_SECRET_ACCESS_KEY", "senv",
	    "AWS_SESSION_TOKEN", "tok", "AWS_REGION", "eu-1",
	    "AWS_DEFAULT_REGION", "eu-2", "AWS_ENDPOINT_URL", "http://any",
	    "AWS_ENDPOINT_URL_S3", "http://s3", "AWS_CA_BUNDLE", "/ca.pem",
	    "AWS_REQUEST_CHECKSUM_CALCULATION", "WHEN_REQUIRED", NULL);
	assert_ok(setup(NULL, &e), &e);
	is_key("AKENV", "senv", "tok");
	assert_string_equal(u.target.region, "eu-1");
	assert_string_equal(u.target.endpoint, "http://s3");
	assert_string_equal(u.target.cacert, "/ca.pem");
	assert_int_equal(u.target.sum, S3_SUM_MD5);
	done();

	/* Half a key is not completed from elsewhere. */
	setenvs("AWS_ACCESS_KEY_ID", "AKENV", "AWS_SHARED_CREDENTIALS_FILE",
	    file("c", "[default]\naws_access_key_id = A\n"
	    "aws_secret_access_key = s\n"), NULL);
	assert_int_equal(setup(NULL, &e), -1);
	assert_int_equal(e.code, CALA_USAGE);
	assert_non_null(strstr(e.msg, "AWS_SECRET_ACCESS_KEY"));
	done();

	setenvs("AWS_ENDPOINT_URL_S3", "http://s3", "AWS_ACCESS_KEY_ID", "A",
	    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true",
	    "AWS_SECRET_ACCESS_KEY", "s", NULL);
	assert_ok(setup(NULL, &e), &e);
	assert_null(u.target.endpoint);
	done();

	setenvs("AWS_ACCESS_KEY_ID", "A", "AWS_SECRET_ACCESS_KEY", "s",
	    "AWS_USE_DUALSTACK_ENDPOINT", "true", "AWS_REGION", "cn-north-1",
	    NULL);
	assert_ok(setup(NULL, &e), &e);
	assert_string_equal(u.target.endpoint,
	    "https://s3.dualstack.cn-north-1.amazonaws.com.cn");
	done();

	setenvs(NULL);
	assert_int_equal(setup(NULL, &e), -1);
	assert_int_equal(e.code, CALA_AUTH);
	done();
	u.opt_anonymous = true;
	assert_ok(setup(NULL, &e), &e);
	assert_true(u.target.creds->anonymous);
	assert_null(u.target.refresh);
	done();
}

static void
profiles(void **state)
{
	struct err e = ERR_INIT;
	const char *creds, *config;

	(void)state;
	creds = file("credentials", "[default]\naws_access_key_id = AKDEF\n"
	    "aws_secret_access_key = sdef # mine\n"
	    "[ops]\naws_access_key_id=AKOPS\naws_secret_access_key=sops\n"
	    "aws_session_token=tops\n"
	    "[half]\naws_access_key_id = AKHALF\n");
	config = file("config", "[default]\nregion = r-def\n"
	    "[profile ops]\nregion = r-ops\nservices = local\n"
	    "aws_access_key_id = OTHER\naws_secret_access_key = other\n"
	    "endpoint_url = http://profile\ns3 =\n  addressing_style = path\n"
	    "  multipart_chunksize = 64MB\n"
	    "[profile half]\naws_secret_access_key = shalf\n"
	    "[profile role]\nrole_arn = arn:x\nsource_profile = ops\n"
	    "[profile nothing]\nregion = x\n"
	    "[services local]\ns3 =\n  endpoint_url = http://service\n");
	setenvs("AWS_SHARED_CREDENTIALS_FILE", creds, "AWS_CONFIG_FILE",
	    config, NULL);
	assert_ok(setup(NULL, &e), &e);
	is_key("AKDEF", "sdef", NULL);
	assert_string_equal(u.target.region, "r-def");
	done();

	setenvs("AWS_SHARED_CREDENTIALS_FILE", creds, "AWS_CONFIG_FILE",
	    config, "AWS_PROFILE", "ops", "AWS_ENDPOINT_URL", "http://env",
	    NULL);
	assert_ok(setup(NULL, &e), &e);
	is_key("AKOPS", "sops", "tops");
	assert_string_equal(u.target.region, "r-ops");
	assert_string_equal(u.target.endpoint, "http://service");
	assert_int_equal(u.target.style, S3_PATH);
	assert_int_equal(u.target.part_size, 64000000);
	done();

	/* A profile that is named outranks the variables. */
	setenvs("AWS_SHARED_CREDENTIALS_FILE", creds, "AWS_CONFIG_FILE",
	    config, "AWS_ACCESS_KEY_ID", "AKENV", "AWS_SECRET_ACCESS_KEY",
	    "senv", NULL);
	u.opt_profile = "ops";
	assert_ok(setup(NULL, &e), &e);
	is_key("AKOPS", "sops", "tops");
	done();
	assert_ok(setup(NULL, &e), &e);
	is_key("AKENV", "senv", NULL);
	done();

	/* The id of one file is never joined with the secret of the other. */
	u.opt_profile = "half";
	assert_int_equal(setup(NULL, &e), -1);
	assert_int_equal(e.code, CALA_USAGE);
	done();
	u.opt_profile = "none";
	assert_int_equal(setup(NULL, &e), -1);
	assert_int_equal(e.code, CALA_AUTH);
	done();
	u.opt_profile = "nothing";
	assert_int_equal(setup(NULL, &e), -1);
	assert_int_equal(e.code, CALA_AUTH);
	done();
	u.opt_profile = "role";
	assert_int_equal(setup(NULL, &e), -1);
	assert_int_equal(e.code, CALA_USAGE);
	assert_non_null(strstr(e.hint, "credential_process"));
	done();
}

static void
a_process(void **state)
{
	struct err e = ERR_INIT;
	const char *config;
	char text[400];

	(void)state;
	file("out", "{\"Version\":1,\"AccessKeyId\":\"AKP\","
	    "\"SecretAccessKey\":\"sp\",\"SessionToken\":\"tp\","
	    "\"Expiration\":\"2030-01-02T03:04:05Z\"}\n");
	snprintf(text, sizeof(text), "[default]\n"
	    "credential_process = /bin/cat \"%s/out\"\n", dir);
	config = file("config", text);
	setenvs("AWS_CONFIG_FILE", config, NULL);
	assert_ok(setup(NULL, &e), &e);
	is_key("AKP", "sp", "tp");
	assert_int_equal(u.target.creds->expires, 1893553445);

	/* Expired: asked again; what is the same is no help. */
	assert_int_equal(u.target.refresh(u.target.refresh_arg,
	    u.target.creds, &e), -1);
	assert_int_equal(e.code, CALA_AUTH);
	is_key("AKP", "sp", "tp");
	file("out", "{\"Version\":1,\"AccessKeyId\":\"AKQ\","
	    "\"SecretAccessKey\":\"sq\"}");
	assert_ok(u.target.refresh(u.target.refresh_arg, u.target.creds, &e),
	    &e);
	is_key("AKQ", "sq", NULL);
	assert_int_equal(u.target.creds->expires, 0);
	done();

	file("out", "{\"Version\":2,\"AccessKeyId\":\"AKQ\","
	    "\"SecretAccessKey\":\"sq\"}");
	assert_int_equal(setup(NULL, &e), -1);
	assert_int_equal(e.code, CALA_AUTH);
	done();
	file("out", "nonsense");
	assert_int_equal(setup(NULL, &e), -1);
	done();
	file("config", "[default]\ncredential_process = /bin/false\n");
	assert_int_equal(setup(NULL, &e), -1);
	assert_int_equal(e.code, CALA_AUTH);
	done();
}

static void
a_configuration(void **state)
{
	struct err e = ERR_INIT;
	const char *creds;

	(void)state;
	creds = file("credentials", "[ops]\naws_access_key_id=AKOPS\n"
	    "aws_secret_access_key=sops\nregion=r-ops\n");
	/* It is complete: no variable changes where backups go. */
	setenvs("AWS_ACCESS_KEY_ID", "AKENV", "AWS_SECRET_ACCESS_KEY", "senv",
	    "AWS_SESSION_TOKEN", "tenv", "AWS_REGION", "r-env",
	    "AWS_ENDPOINT_URL", "http://env", "AWS_PROFILE", "ops",
	    "AWS_SHARED_CREDENTIALS_FILE", creds, NULL);
	assert_ok(setup("access-key = AKC\nsecret-key = sc\n", &e), &e);
	is_key("AKC", "sc", NULL);
	assert_string_equal(u.target.bucket, "conf-bucket");
	assert_null(u.target.region);
	assert_null(u.target.endpoint);
	assert_int_equal(u.target.part_size, 1ull << 30);
	assert_int_equal(u.target.max_parts, 0);
	assert_int_equal(u.target.retries, 0);
	assert_false(u.target.sign_payload);
	assert_false(u.target.insecure_unsigned);
	done();

	/* Without a key of its own the others count. */
	assert_ok(setup("region = r-conf\n", &e), &e);
	is_key("AKENV", "senv", "tenv");
	assert_string_equal(u.target.region, "r-conf");
	assert_string_equal(u.target.endpoint, "http://env");
	done();
	assert_ok(setup("aws-profile = ops\n", &e), &e);
	is_key("AKOPS", "sops", NULL);
	done();
	assert_int_equal(setup("access-key = AKC\n", &e), -1);
	assert_int_equal(e.code, CALA_USAGE);
	done();
	assert_int_equal(setup("secret-key = sc\n", &e), -1);
	assert_int_equal(e.code, CALA_USAGE);
	done();
	assert_int_equal(setup("access-key = A\nsecret-key = s\n"
	    "aws-profile = ops\n", &e), -1);
	assert_int_equal(e.code, CALA_USAGE);
	done();
	assert_ok(setup("anonymous = yes\n", &e), &e);
	assert_true(u.target.creds->anonymous);
	assert_null(u.target.endpoint);
	done();
	/* Options stand above it. */
	u.opt_region = "r-opt";
	u.opt_endpoint = "http://opt";
	u.opt_credentials = file("own", "# ours\naccess-key = AKOWN\n"
	    "secret-key = sown\n");
	u.target.part_size = 6 << 20;
	assert_ok(setup("access-key = A\nsecret-key = s\nregion = r\n"
	    "endpoint = http://conf\npath-style = yes\n", &e), &e);
	is_key("AKOWN", "sown", NULL);
	assert_string_equal(u.target.region, "r-opt");
	assert_string_equal(u.target.endpoint, "http://opt");
	assert_int_equal(u.target.part_size, 6 << 20);
	assert_int_equal(u.target.style, S3_PATH);
	done();
}

static void
objects(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	setenvs(NULL);
	assert_ok(setup("access-key = A\nsecret-key = s\n"
	    "sse = customer\nsse-customer-key = "
	    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
	    "object-lock-mode = compliance\nobject-lock-retention = 2d\n"
	    "tags.team = ops\ntags.a = b c\nunsigned-payload = no\n"
	    "max-parts = 1000\nexact-parts = yes\npart-size = 64MiB\n"
	    "storage-class = STANDARD_IA\ntimeout = 5\nretries = 3\njobs = 100\n", &e),
	    &e);
	assert_int_equal(u.target.sse, S3_SSE_CUSTOMER);
	assert_int_equal(u.target.customer_key->len, 32);
	assert_int_equal(u.target.customer_key->p[31], 31);
	assert_string_equal(u.target.lock_mode, "COMPLIANCE");
	assert_int_equal(u.target.lock_seconds, 2 * 86400);
	assert_string_equal(u.target.tags[0], "team");
	assert_string_equal(u.target.tags[3], "b c");
	assert_null(u.target.tags[4]);
	assert_true(u.target.sign_payload);
	assert_true(u.target.exact_parts);
	assert_int_equal(u.target.max_parts, 1000);
	assert_int_equal(u.target.timeout, 5);
	assert_int_equal(u.target.answer, 5);
	assert_int_equal(u.target.jobs, 64);
	assert_int_equal(u.target.retries, 4);
	assert_string_equal(u.target.storage_class, "STANDARD_IA");
	done();
	assert_int_equal(setup("access-key = A\nsecret-key = s\n"
	    "sse = customer\n", &e), -1);
	assert_int_equal(e.code, CALA_USAGE);
	done();
	assert_int_equal(setup("access-key = A\nsecret-key = s\n"
	    "object-lock-mode = governance\n", &e), -1);
	assert_int_equal(e.code, CALA_USAGE);
	done();
}

/* What goes into a header can't start another one. */
static void
keys_are_clean(void **state)
{
	static const struct { const char *id, *secret, *token; } bad[] = {
		{ "", "s", NULL }, { "A", "", NULL }, { "A\r\nX: y", "s", NULL },
		{ "A B", "s", NULL }, { "A/B", "s", NULL },
		{ "A\xc3\xa9", "s", NULL }, { "A", "s", "t\nx" },
	};
	struct s3_creds c;
	struct err e = ERR_INIT;
	size_t i;

	(void)state;
	memset(&c, 0, sizeof(c));
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(creds_take(&c, bad[i].id, bad[i].secret,
		    bad[i].token, &e), -1);
		assert_int_equal(c.id[0], 0);
	}
	assert_ok(creds_take(&c, "A", "s p\xc3\xa4" "ce", "t+/==", &e), &e);
	creds_fini(&c);
}

static void
urls(void **state)
{
	static const struct {
		const char *text;
		int ret;
		const char *bucket, *key;
	} t[] = {
		{ "s3://b/k", 0, "b", "k" }, { "S3://b//x", 0, "b", "/x" },
		{ "s3://b", 0, "b", "" }, { "s3://b/", 0, "b", "" },
		{ "s3://b/a%20b", 0, "b", "a%20b" }, { "s3://b/a/../b?c#d", 0,
		    "b", "a/../b?c#d" }, { "s3:///k", -1, NULL, NULL },
		{ "s3://", -1, NULL, NULL }, { "b/k", 1, NULL, NULL },
		{ "", 1, NULL, NULL }, { "s3:/b/k", 1, NULL, NULL },
	};
	char longest[S3_KEY_MAX + 32], *bucket, *key;
	struct err e = ERR_INIT;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		assert_int_equal(s3_url(t[i].text, &bucket, &key, &e),
		    t[i].ret);
		if (t[i].ret != 0)
			continue;
		assert_string_equal(bucket, t[i].bucket);
		assert_string_equal(key, t[i].key);
		free(bucket);
		free(key);
	}
	memcpy(longest, "s3://b/", 7);
	memset(longest + 7, 'k', S3_KEY_MAX + 1);
	longest[7 + S3_KEY_MAX] = '\0';
	assert_ok(s3_url(longest, &bucket, &key, &e), &e);
	free(bucket);
	free(key);
	longest[7 + S3_KEY_MAX] = 'k';
	longest[8 + S3_KEY_MAX] = '\0';
	assert_int_equal(s3_url(longest, &bucket, &key, &e), -1);
}

static void
proxies(void **state)
{
	static const struct {
		const char *endpoint, *host, *no, *proxy;
	} t[] = {
		{ NULL, "s3.amazonaws.com", "", "http://p" },
		{ "https://h", "h", "", "http://p" },
		{ "http://h", "h", "", "http://plain" },
		{ "https://h", "h", "*", NULL },
		{ "https://x", "s3.example.org", "a,example.org", NULL },
		{ "https://x", "s3.example.org", ".example.org", NULL },
		{ "https://x", "sexample.org", "example.org", "http://p" },
		{ "https://x", "EXAMPLE.org", "example.ORG", NULL },
		{ "https://x", "10.1.2.3", "10.0.0.0/8", NULL },
		{ "https://x", "11.1.2.3", "10.0.0.0/8", "http://p" },
		{ "https://x", "::1", "a b,::/64", NULL },
		{ "https://x", "10.1.2.3", "10.0.0.0/99", "http://p" },
	};
	const char *p;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		setenvs("https_proxy", "http://p", "http_proxy",
		    "http://plain", "HTTP_PROXY", "http://evil", "NO_PROXY",
		    t[i].no, NULL);
		p = s3_proxy(env, t[i].endpoint, t[i].host);
		if (t[i].proxy == NULL)
			assert_null(p);
		else
			assert_string_equal(p, t[i].proxy);
	}
	setenvs("HTTP_PROXY", "http://evil", NULL);
	assert_null(s3_proxy(env, "http://h", "h"));
	setenvs("all_proxy", "socks5://s", NULL);
	assert_string_equal(s3_proxy(env, "http://h", "h"), "socks5://s");
}

#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, in_dir, gone)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(aws_files), IN_DIR(the_environment),
		IN_DIR(profiles), IN_DIR(a_process), IN_DIR(a_configuration),
		IN_DIR(objects), cmocka_unit_test(keys_are_clean),
		cmocka_unit_test(urls), IN_DIR(proxies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
