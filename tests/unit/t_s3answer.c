/* What a store answers: documents, their limits, what a status means. */

#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "s3/attr.h"
#include "s3/client.h"
#include "s3/xml.h"

#define FOUR(x) x x x x
#define DEEP FOUR(FOUR("<a>")) "<a/>" FOUR(FOUR("</a>"))

static int
collect(void *arg, const char *path, const char *text, struct err *e)
{
	(void)e;
	buf_printf(arg, "%s=%s;", path, text);
	return 0;
}

static int
stop(void *arg, const char *path, const char *text, struct err *e)
{
	(void)arg, (void)text, (void)e;
	return strcmp(path, "a/b") == 0 ? 7 : 0;
}

static void
documents(void **st)
{
	static const struct { const char *text, *want; } good[] = {
		{ "<a><b>x</b><c/></a>", "a/b=x;a/c=;a=;" },
		{ " \n\t<?xml version=\"1.0\"?>\n<a>1<b>2</b>3</a>",
		    "a/b=2;a=13;" },
		{ "\xef\xbb\xbf<a>&quot;&amp;&lt;</a>", "a=\"&<;" },
		{ "<n:a xmlns:n=\"urn:x\"><n:b>y</n:b></n:a>",
		    "a/b=y;a=;" },
	};
	static const char *const bad[] = { "", "   ", "text", "<a>", "<a></b>",
	    "<!DOCTYPE a []><a/>", "<a/><b/>",
	    "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
	    DEEP };
	struct err e = ERR_INIT;
	struct buf b;
	size_t i;

	(void)st;
	buf_init(&b, 4096);
	for (i = 0; i < sizeof(good) / sizeof(*good); i++) {
		buf_reset(&b);
		assert_ok(xml_walk(good[i].text, strlen(good[i].text),
		    collect, &b, &e), &e);
		assert_string_equal(b.p, good[i].want);
	}
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		err_clear(&e);
		if (xml_walk(bad[i], strlen(bad[i]), collect, &b, &e) != -1)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(e.code, CALA_INTEGRITY);
	}
	assert_int_equal(xml_walk("<a><b/><c/></a>", 15, stop, NULL, &e), 7);
	buf_fini(&b);
}

static void
bounded_text(void **st)
{
	size_t n = XML_TEXT + 100;
	char *p = malloc(n + 8);
	struct err e = ERR_INIT;
	struct buf b;

	(void)st;
	assert_non_null(p);
	memcpy(p, "<a>", 3);
	memset(p + 3, 'x', n);
	memcpy(p + 3 + n, "</a>", 4);
	buf_init(&b, 4096);
	assert_int_equal(xml_walk(p, n + 7, collect, &b, &e), -1);
	assert_int_equal(e.code, CALA_INTEGRITY);
	buf_fini(&b);
	free(p);
}

static void
roots_and_errors(void **st)
{
	static const char doc[] = "<?xml version=\"1.0\"?>\n<Error><Code>"
	    "AuthorizationHeaderMalformed</Code><Message>the region is wrong; "
	    "expecting 'eu-west-1'</Message><Region>eu-west-1</Region>"
	    "<RequestId>R1</RequestId></Error>";
	char root[64];
	struct xml_error x;
	size_t i;

	(void)st;
	xml_root(doc, sizeof(doc) - 1, root, sizeof(root));
	assert_string_equal(root, "Error");
	assert_true(xml_error(doc, sizeof(doc) - 1, &x));
	assert_string_equal(x.code, "AuthorizationHeaderMalformed");
	assert_string_equal(x.region, "eu-west-1");
	assert_string_equal(x.request, "R1");
	assert_false(xml_error("<html>502</html>", 16, &x));
	assert_false(xml_error("", 0, &x));
	/* cut anywhere: its code counts once it is whole, nothing else breaks */
	for (i = 0; i < sizeof(doc) - 1; i++)
		if (xml_error(doc, i, &x))
			assert_string_equal(x.code,
			    "AuthorizationHeaderMalformed");
	xml_root("  \n<x:Root a='1'>", 17, root, sizeof(root));
	assert_string_equal(root, "Root");
	xml_root("nothing", 7, root, sizeof(root));
	assert_string_equal(root, "");
}

static void
escaping(void **st)
{
	struct buf b;

	(void)st;
	buf_init(&b, 256);
	xml_esc(&b, "\"a\"&<b>\r");
	assert_string_equal(b.p, "\"a\"&amp;&lt;b&gt;&#13;");
	buf_fini(&b);
}

/* Curl's numbers: 0 fine, 6 resolve, 7 connect, 18 cut, 56 recv, 60 cert. */
static void
judging(void **st)
{
	static const struct {
		int curl;
		unsigned status;
		const char *code;
		enum s3_verdict verdict;
		int means;
	} v[] = {
		{ 0, 200, "", S3_GOOD, 0 },
		{ 0, 206, "", S3_GOOD, 0 },
		{ 0, 503, "SlowDown", S3_THROTTLE, CALA_NET },
		{ 0, 503, "", S3_THROTTLE, CALA_NET },
		{ 0, 429, "", S3_THROTTLE, CALA_NET },
		{ 0, 200, "InternalError", S3_AGAIN, CALA_NET },
		{ 0, 500, "", S3_AGAIN, CALA_NET },
		{ 0, 502, "", S3_AGAIN, CALA_NET },
		{ 0, 400, "RequestTimeout", S3_AGAIN, CALA_NET },
		{ 0, 522, "", S3_AGAIN, CALA_NET },
		{ 0, 400, "BadDigest", S3_ONCE, CALA_INTEGRITY },
		{ 0, 403, "RequestTimeTooSkewed", S3_SKEW, CALA_AUTH },
		{ 0, 403, "SignatureDoesNotMatch", S3_SIGNATURE, CALA_AUTH },
		{ 0, 400, "ExpiredToken", S3_EXPIRED, CALA_AUTH },
		{ 0, 301, "PermanentRedirect", S3_ELSEWHERE, CALA_NET },
		{ 0, 307, "", S3_ELSEWHERE, CALA_NET },
		{ 0, 400, "AuthorizationHeaderMalformed", S3_ELSEWHERE,
		    CALA_AUTH },
		{ 0, 403, "AccessDenied", S3_FATAL, CALA_AUTH },
		{ 0, 404, "NoSuchBucket", S3_FATAL, CALA_NOTFOUND },
		{ 0, 412, "PreconditionFailed", S3_FATAL, CALA_EXISTS },
		{ 0, 409, "ConditionalRequestConflict", S3_AGAIN,
		    CALA_EXISTS },
		{ 0, 400, "EntityTooLarge", S3_FATAL, CALA_NOSPACE },
		{ 0, 503, "QuotaExceeded", S3_FATAL, CALA_NOSPACE },
		{ 0, 200, "EntityTooSmall", S3_FATAL, CALA_FAIL },
		{ 0, 501, "NotImplemented", S3_FATAL, CALA_FAIL },
		{ 1, 0, "", S3_FATAL, CALA_NET },
		{ 6, 0, "", S3_AGAIN, CALA_NET },
		{ 7, 0, "", S3_AGAIN, CALA_NET },
		{ 18, 206, "", S3_AGAIN, CALA_NET },
		{ 56, 0, "", S3_AGAIN, CALA_NET },
		{ 60, 0, "", S3_FATAL, CALA_TLS },
	};
	size_t i;

	(void)st;
	for (i = 0; i < sizeof(v) / sizeof(*v); i++) {
		if (s3_judge(v[i].curl, v[i].status, v[i].code) !=
		    v[i].verdict)
			fail_msg("verdict of %d %u %s", v[i].curl,
			    v[i].status, v[i].code);
		if (v[i].verdict != S3_GOOD && s3_code(v[i].curl,
		    v[i].status, v[i].code) != v[i].means)
			fail_msg("code of %d %u %s", v[i].curl, v[i].status,
			    v[i].code);
	}
}

static void
pauses(void **st)
{
	const time_t now = 1369353600;
	unsigned i;
	double s;

	(void)st;
	for (i = 0; i < 100; i++) {
		s = s3_pause(S3_AGAIN, i, 0);
		assert_true(s >= 0 && s <= 20);
		assert_true(i > 0 || s <= 0.05);
		assert_true(s3_pause(S3_THROTTLE, 0, 0) <= 1);
		assert_true(s3_pause(S3_AGAIN, 0, 3) >= 3);
	}
	assert_true(s3_retry_after("3", false, now) == 3);
	assert_true(s3_retry_after("1500", true, now) == 1.5);
	assert_true(s3_retry_after("0", false, now) == 1);
	assert_true(s3_retry_after("99999", false, now) == 300);
	assert_true(s3_retry_after("Fri, 24 May 2013 00:00:05 GMT", false,
	    now) == 5);
	assert_true(s3_retry_after("Fri, 24 May 2013 00:00:05 GMT", true,
	    now) == 0);
	assert_true(s3_retry_after("soon", false, now) == 0);
}

static void
etags(void **st)
{
	unsigned char md[16];
	unsigned n;

	(void)st;
	assert_true(attr_etag("\"79b281060d337b9b2b84ccf390adcf74\"", md));
	assert_int_equal(md[0], 0x79);
	assert_true(attr_etag("79B281060D337B9B2B84CCF390ADCF74", md));
	assert_int_equal(md[15], 0x74);
	assert_true(attr_etag("W/\"79b281060d337b9b2b84ccf390adcf74\"", md));
	assert_false(attr_etag("\"79b281060d337b9b2b84ccf390adcf7\"", md));
	assert_false(attr_etag("\"79b281060d337b9b2b84ccf390adcf74-2\"", md));
	assert_false(attr_etag("", md));
	assert_true(attr_etag_parts("\"16329fb6004d64a4fbc5bbb983fa0528-2\"",
	    md, &n));
	assert_int_equal(n, 2);
	assert_false(attr_etag_parts("\"16329fb6004d64a4fbc5bbb983fa0528\"",
	    md, &n));
	assert_false(attr_etag_parts("16329fb6004d64a4fbc5bbb983fa0528-0", md,
	    &n));
	assert_false(attr_etag_parts("16329fb6004d64a4fbc5bbb983fa0528-10001",
	    md, &n));
	assert_false(attr_etag_parts("16329fb6004d64a4fbc5bbb983fa0528-9 ", md,
	    &n));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(documents),
		cmocka_unit_test(bounded_text),
		cmocka_unit_test(roots_and_errors),
		cmocka_unit_test(escaping),
		cmocka_unit_test(judging),
		cmocka_unit_test(pauses),
		cmocka_unit_test(etags),
	};

	return cmocka_run_group_tests_name("s3answer", tests, NULL, NULL);
}
