/*
 * SigV4: AWS's published examples (the first five and the seed of the chunked
 * one) and our own vectors, which an independent implementation and botocore's
 * signer agree on (s3.md 1.2 to 1.6).
 */

#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/hash.h"
#include "base/secret.h"
#include "s3/sign.h"

#define ID "AKIAIOSFODNN7EXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define HOST "examplebucket.s3.amazonaws.com"
#define OTHER "s3.example.com:9000"
#define TOKEN "AQoDYXdzEJr//EXAMPLE+TOKEN=="

struct vector {
	const char *method, *path, *query, *payload;
	const char *headers[16];        /* name, value; x-amz-date is added */
	const char *hash, *signature;
};

static const char p3_raw[] =
    "/bkt/srv 1/\xc3\xa4+b=c&d@e:f,g'(h)*!~$%?#;[x]{y}|^`\\\"<>.tar.zst";
static const char p3_path[] = "/bkt/srv%201/%C3%A4%2Bb%3Dc%26d%40e%3Af%2Cg%27"
    "%28h%29%2A%21~%24%25%3F%23%3B%5Bx%5D%7By%7D%7C%5E%60%5C%22%3C%3E.tar.zst";
#define P3_QUERY "partNumber=7&uploadId=VXBsb2Fk%2B%2F%3DID"
#define PRESIGN(id, expires, tail) \
	"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" id \
	"%2F20130524%2Fus-east-1%2Fs3%2Faws4_request" \
	"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=" expires tail

static const struct vector vectors[] = {
	{ "GET", "/test.txt", "", SIGN_EMPTY,
	    { "host", HOST, "range", "bytes=0-9",
	    "x-amz-content-sha256", SIGN_EMPTY },
	    "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972",
	    "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41" },
	{ "PUT", "/test%24file.text", "",
	    "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
	    { "date", "Fri, 24 May 2013 00:00:00 GMT", "host", HOST,
	    "x-amz-storage-class", "REDUCED_REDUNDANCY",
	    "x-amz-content-sha256",
	    "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072" },
	    "9e0e90d9c76de8fa5b200d8c849cd5b8dc7a3be3951ddb7f6a76b4158342019d",
	    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd" },
	{ "GET", "/", "lifecycle=", SIGN_EMPTY,
	    { "host", HOST, "x-amz-content-sha256", SIGN_EMPTY },
	    "9766c798316ff2757b517bc739a67f6213b4ab36dd5da2f94eaebf79c77395ca",
	    "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543" },
	{ "GET", "/", "max-keys=2&prefix=J", SIGN_EMPTY,
	    { "host", HOST, "x-amz-content-sha256", SIGN_EMPTY },
	    "df57d21db20da04d7fa30298dd4488ba3a2b47ca3a489c74750e0f1e7df1b9b7",
	    "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7" },
	{ "PUT", "/examplebucket/chunkObject.txt", "",
	    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
	    { "host", "s3.amazonaws.com", "content-encoding", "aws-chunked",
	    "content-length", "66824", "x-amz-content-sha256",
	    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
	    "x-amz-decoded-content-length", "66560",
	    "x-amz-storage-class", "REDUCED_REDUNDANCY" },
	    NULL,
	    "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9" },
	{ "POST", "/backup.tar.zst", "uploads=", SIGN_EMPTY,
	    { "host", HOST, "x-amz-content-sha256", SIGN_EMPTY },
	    "eb478e7b85dfd936ab1d25fb2394e108298ee416b3dec1a2edad0aab476e315f",
	    "bae895bb73e082508c0c6af0cce330cba21a12ca14e1ddfb3f20bf4625f30eeb" },
	{ "PUT", "/backup.tar.zst", "partNumber=1&uploadId=VXBsb2FkSUQ",
	    SIGN_UNSIGNED,
	    { "host", HOST, "x-amz-content-sha256", SIGN_UNSIGNED },
	    "fc0477ade08fa3719cf32a755aaa7c122dffc52a2ec2c2098f0a19f458db06ce",
	    "631054ec4bc2994dd968de7783eeea862007649a3e6b79002e82b8bb0cdcc9c9" },
	{ "PUT", p3_path, P3_QUERY, SIGN_UNSIGNED,
	    { "host", OTHER, "x-amz-content-sha256", SIGN_UNSIGNED },
	    "5848c4567cee96c68e45133020ba6a65de6fa11d528204eb36a74ac69e38ec55",
	    "96b6624a4d9a83f8d41e86cea7b6447283ae32089935d63f563bd2f09b493938" },
	{ "PUT", p3_path, P3_QUERY, SIGN_EMPTY,
	    { "host", OTHER, "x-amz-content-sha256", SIGN_EMPTY }, NULL,
	    "656ccd161fd04039702c71f721ad1d16eb83382f97162fd717a8940dd7c193a7" },
	{ "PUT", p3_path, P3_QUERY, SIGN_UNSIGNED,
	    { "host", OTHER, "x-amz-content-sha256", SIGN_UNSIGNED,
	    "x-amz-security-token", TOKEN }, NULL,
	    "c11ea1bdd107ff863b6302e232b927f739c8f383bf3d214c1569f43bd4425f08" },
	{ "GET", "/", "continuation-token=1%2Fabc%2B%3D%3D&delimiter=%2F"
	    "&encoding-type=url&list-type=2&max-keys=1000"
	    "&prefix=srv%201%2F%C3%BC%2B", SIGN_EMPTY,
	    { "host", HOST, "x-amz-content-sha256", SIGN_EMPTY }, NULL,
	    "4497c95896e5824f933cab62712832dee1748f84d21f84618c5609abce39381b" },
	{ "POST", "/", "delete=",
	    "c61594325a4295a63e877400dcb6fc536080c6f42542622150d574a2b353b6ee",
	    { "content-md5", "kJbUGs3+P7DBG1xTFV7mIQ==", "host", HOST,
	    "x-amz-content-sha256",
	    "c61594325a4295a63e877400dcb6fc536080c6f42542622150d574a2b353b6ee" },
	    NULL,
	    "c1141de6d09a0a822001b11241e264a302179c485792ac119ceabe88746075ba" },
	{ "POST", "/backup.tar.zst", "uploadId=VXBsb2FkSUQ",
	    "d2f9b3b148d97f8c9537da0435a310eaae60826f4040e7608c1818326f15746c",
	    { "content-type", "application/xml", "host", HOST,
	    "x-amz-content-sha256",
	    "d2f9b3b148d97f8c9537da0435a310eaae60826f4040e7608c1818326f15746c" },
	    NULL,
	    "0ce093c93b1bcbf398838b7727d166f6c3c840316f3eca275ee063ae35ababc8" },
};

/* Presigned ones: no date header, only the host is signed. */
static const struct vector presigned[] = {
	{ "GET", "/test.txt",
	    PRESIGN(ID, "86400", "&X-Amz-SignedHeaders=host"), SIGN_UNSIGNED,
	    { "host", HOST },
	    "3bfa292879f6447bbcda7001decf97f4a54dc650c8942174ae0a9121cf58ad04",
	    "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404" },
	{ "PUT", "/bkt/a%20b.tar.gz", PRESIGN(ID, "7200",
	    "&X-Amz-Security-Token=AQoDYXdzEJr%2F%2FEXAMPLE%2BTOKEN%3D%3D"
	    "&X-Amz-SignedHeaders=host"
	    "&partNumber=1&uploadId=abc&x-id=UploadPart"), SIGN_UNSIGNED,
	    { "host", OTHER },
	    "21504c877e3cfeadd68d94ebe9d80b9968a921773d7dd9ab5438062ba98ebc8e",
	    "9d481fc82c8c02dda6a42e64e77d778c17c36194ecb97f135686fdc4cb56e525" },
};

static void
one(const struct vector *v, bool dated)
{
	struct secret secret = SECRET_INIT;
	struct sign_header h[SIGN_HEADERS];
	unsigned char key[SIGN_KEY], md[SHA256_LEN];
	char sig[SIGN_HEX], hex[SIGN_HEX], date[SIGN_DATE];
	struct err e = ERR_INIT;
	struct sha256 *sha;
	struct buf b;
	struct sign s = { .method = v->method, .path = v->path,
	    .query = v->query, .payload = v->payload, .headers = h,
	    .date = date, .region = "us-east-1", .id = ID, .key = key };
	size_t i;

	sign_date(1369353600, date);
	assert_string_equal(date, "20130524T000000Z");
	assert_ok(secret_set(&secret, SECRET, strlen(SECRET), &e), &e);
	assert_ok(sign_derive(&secret, date, "us-east-1", key, &e), &e);
	secret_free(&secret);
	/* unsorted on purpose: backwards */
	if (dated)
		h[s.nheaders++] = (struct sign_header){ "x-amz-date", date };
	for (i = 16; i > 0; i -= 2)
		if (v->headers[i - 2] != NULL)
			h[s.nheaders++] = (struct sign_header)
			    { v->headers[i - 2], v->headers[i - 1] };
	buf_init(&b, 65536);
	if (v->hash != NULL) {
		assert_ok(sign_canonical(&s, &b, &e), &e);
		sha = sha256_new(&e);
		assert_non_null(sha);
		sha256_add(sha, b.p, b.len);
		sha256_end(sha, md);
		sha256_free(sha);
		hex_put(md, sizeof(md), hex);
		assert_string_equal(hex, v->hash);
		buf_reset(&b);
	}
	assert_ok(sign_request(&s, sig, &b, &e), &e);
	assert_string_equal(sig, v->signature);
	assert_non_null(strstr(b.p, v->signature));
	assert_non_null(strstr(b.p, "Credential=" ID
	    "/20130524/us-east-1/s3/aws4_request, SignedHeaders="));
	buf_fini(&b);
}

static void
published_and_own_vectors(void **st)
{
	size_t i;

	(void)st;
	for (i = 0; i < sizeof(vectors) / sizeof(*vectors); i++)
		one(&vectors[i], true);
	for (i = 0; i < sizeof(presigned) / sizeof(*presigned); i++)
		one(&presigned[i], false);
}

static void
derived_key(void **st)
{
	struct secret secret = SECRET_INIT;
	unsigned char key[SIGN_KEY];
	char hex[SIGN_HEX];
	struct err e = ERR_INIT;

	(void)st;
	assert_ok(secret_set(&secret, SECRET, strlen(SECRET), &e), &e);
	assert_ok(sign_derive(&secret, "20130524", "us-east-1", key, &e), &e);
	hex_put(key, sizeof(key), hex);
	assert_string_equal(hex,
	    "dbb893acc010964918f1fd433add87c70e8b0db6be30c1fbeafefa5ec6ba8378");
	secret_free(&secret);
}

static void
encoding(void **st)
{
	char all[255], want[16];
	struct buf b;
	int i;

	(void)st;
	buf_init(&b, 4096);
	sign_encode(&b, p3_raw, strlen(p3_raw), true);
	assert_string_equal(b.p, p3_path);
	buf_reset(&b);
	sign_encode(&b, "a/b c+d", 7, false);
	assert_string_equal(b.p, "a%2Fb%20c%2Bd");
	buf_reset(&b);
	for (i = 1; i < 256; i++)
		all[i - 1] = (char)i;
	sign_encode(&b, all, sizeof(all), false);
	/* 66 unreserved stay, 189 become three */
	assert_int_equal(b.len, 66 + 3 * 189);
	for (i = 128; i < 256; i++) {
		snprintf(want, sizeof(want), "%%%02X", (unsigned)i);
		assert_non_null(strstr(b.p, want));
	}
	buf_fini(&b);
}

static void
queries(void **st)
{
	static const char *const tie[] = { "a-b", "1", "a", "2", NULL };
	static const char *const same[] = { "k", "b", "k", "a", "uploads",
	    NULL, NULL };
	static const char *const none[] = { NULL };
	static const char *const list[] = { "prefix", "srv 1/\xc3\xbc+",
	    "delimiter", "/", "max-keys", "1000", "encoding-type", "url",
	    "list-type", "2", "continuation-token", "1/abc+==", NULL };
	struct err e = ERR_INIT;
	struct buf b;

	(void)st;
	buf_init(&b, 4096);
	assert_ok(sign_query(&b, tie, &e), &e);
	assert_string_equal(b.p, "a=2&a-b=1");
	buf_reset(&b);
	assert_ok(sign_query(&b, same, &e), &e);
	assert_string_equal(b.p, "k=a&k=b&uploads=");
	buf_reset(&b);
	assert_ok(sign_query(&b, none, &e), &e);
	assert_ok(sign_query(&b, NULL, &e), &e);
	assert_string_equal(b.p, "");
	assert_ok(sign_query(&b, list, &e), &e);
	assert_string_equal(b.p, vectors[10].query);
	buf_fini(&b);
}

static void
headers(void **st)
{
	struct sign_header h[] = { { "x-amz-meta-b", " a   b \t c " },
	    { "x-amz-meta-a-b", "2" }, { "x-amz-meta-a", "1" } };
	struct sign_header twice[] = { { "host", "a" }, { "host", "b" } };
	struct sign s = { .method = "GET", .path = "/", .query = "",
	    .headers = h, .nheaders = 3, .payload = SIGN_EMPTY };
	struct err e = ERR_INIT;
	struct buf b;

	(void)st;
	buf_init(&b, 4096);
	assert_ok(sign_canonical(&s, &b, &e), &e);
	assert_string_equal(b.p, "GET\n/\n\nx-amz-meta-a:1\nx-amz-meta-a-b:2\n"
	    "x-amz-meta-b:a b c\n\n"
	    "x-amz-meta-a;x-amz-meta-a-b;x-amz-meta-b\n" SIGN_EMPTY);
	buf_reset(&b);
	s.headers = twice;
	s.nheaders = 2;
	assert_int_equal(sign_canonical(&s, &b, &e), -1);
	assert_int_equal(e.code, CALA_FAIL);
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_and_own_vectors),
		cmocka_unit_test(derived_key),
		cmocka_unit_test(encoding),
		cmocka_unit_test(queries),
		cmocka_unit_test(headers),
	};

	return cmocka_run_group_tests_name("s3sign", tests, NULL, NULL);
}
