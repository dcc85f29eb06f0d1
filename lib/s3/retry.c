/* What an answer means, and how long to wait (s3.md 2.10, 13). */

#include "s3/client.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <curl/curl.h>

#include "base/err.h"
#include "base/str.h"

static const struct {
	const char *code;
	enum s3_verdict verdict;
} words[] = {
	{ "SlowDown", S3_THROTTLE }, { "SlowDownRead", S3_THROTTLE },
	{ "SlowDownWrite", S3_THROTTLE }, { "ServerBusy", S3_THROTTLE },
	{ "TooManyRequests", S3_THROTTLE }, { "Throttling", S3_THROTTLE },
	{ "ThrottlingException", S3_THROTTLE },
	{ "ThrottledException", S3_THROTTLE },
	{ "RequestThrottled", S3_THROTTLE },
	{ "RequestLimitExceeded", S3_THROTTLE },
	{ "BandwidthLimitExceeded", S3_THROTTLE },
	{ "OperationAborted", S3_THROTTLE },
	{ "InternalError", S3_AGAIN }, { "ServiceUnavailable", S3_AGAIN },
	{ "RequestTimeout", S3_AGAIN }, { "IncompleteBody", S3_AGAIN },
	{ "ConditionalRequestConflict", S3_AGAIN },
	{ "XMinioServerNotInitialized", S3_AGAIN },
	{ "BadDigest", S3_ONCE }, { "XAmzContentSHA256Mismatch", S3_ONCE },
	{ "XAmzContentChecksumMismatch", S3_ONCE },
	{ "RequestTimeTooSkewed", S3_SKEW }, { "RequestExpired", S3_SKEW },
	{ "RequestInTheFuture", S3_SKEW },
	{ "AuthFailure", S3_SIGNATURE },
	{ "SignatureDoesNotMatch", S3_SIGNATURE },
	{ "ExpiredToken", S3_EXPIRED }, { "ExpiredTokenException", S3_EXPIRED },
	{ "TokenRefreshRequired", S3_EXPIRED }, { "InvalidToken", S3_EXPIRED },
	{ "AuthorizationHeaderMalformed", S3_ELSEWHERE },
	{ "PermanentRedirect", S3_ELSEWHERE },
	{ "TemporaryRedirect", S3_ELSEWHERE },
	{ "IllegalLocationConstraintException", S3_ELSEWHERE },
	{ "IncorrectEndpoint", S3_ELSEWHERE },
	/* a 503 or 409 whose code says that patience is no use */
	{ "QuotaExceeded", S3_FATAL }, { "XMinioStorageFull", S3_FATAL },
	{ "BucketNotEmpty", S3_FATAL }, { "InvalidObjectState", S3_FATAL },
};

static bool
certificate(int curl)
{
	switch (curl) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_CRL_BADFILE:
	case CURLE_SSL_INVALIDCERTSTATUS:
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
		return true;
	default:
		return false;
	}
}

static bool
hopeless(int curl)
{
	switch (curl) {
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
	case CURLE_NOT_BUILT_IN:
	case CURLE_OUT_OF_MEMORY:
	case CURLE_BAD_FUNCTION_ARGUMENT:
	case CURLE_UNKNOWN_OPTION:
		return true;
	default:
		return certificate(curl);
	}
}

enum s3_verdict
s3_judge(int curl, unsigned status, const char *code)
{
	size_t i;

	if (curl != CURLE_OK)
		return hopeless(curl) ? S3_FATAL : S3_AGAIN;
	if (*code != '\0')
		for (i = 0; i < sizeof(words) / sizeof(*words); i++)
			if (strcmp(code, words[i].code) == 0)
				return words[i].verdict;
	if (status >= 200 && status < 300)
		return *code == '\0' ? S3_GOOD : S3_FATAL;
	switch (status) {
	case 301: case 302: case 307: case 308:
		return S3_ELSEWHERE;
	case 429: case 503: case 509:
		return S3_THROTTLE;
	case 408: case 425: case 499: case 500: case 502: case 504:
		return S3_AGAIN;
	default:
		return status >= 520 && status <= 530 ? S3_AGAIN : S3_FATAL;
	}
}

int
s3_code(int curl, unsigned status, const char *code)
{
	static const struct { const char *code; int means; } t[] = {
		{ "QuotaExceeded", CALA_NOSPACE },
		{ "XMinioStorageFull", CALA_NOSPACE },
		{ "EntityTooLarge", CALA_NOSPACE },
		{ "TooManyParts", CALA_NOSPACE },
		{ "InvalidObjectState", CALA_FAIL },
		{ "BadDigest", CALA_INTEGRITY },
		{ "InvalidDigest", CALA_INTEGRITY },
		{ "XAmzContentSHA256Mismatch", CALA_INTEGRITY },
		{ "XAmzContentChecksumMismatch", CALA_INTEGRITY },
		{ "InvalidPart", CALA_INTEGRITY },
		{ "InvalidPartOrder", CALA_INTEGRITY },
		{ "ConditionalRequestConflict", CALA_EXISTS },
		{ "PreconditionFailed", CALA_EXISTS },
		/* also inside the 200 of a Complete */
		{ "AccessDenied", CALA_AUTH },
		{ "InvalidAccessKeyId", CALA_AUTH },
		/* versitygw's word for it, with 404 */
		{ "XAdminUserNotFound", CALA_AUTH },
		{ "SignatureDoesNotMatch", CALA_AUTH },
		{ "RequestTimeTooSkewed", CALA_AUTH },
		{ "ExpiredToken", CALA_AUTH }, { "InvalidToken", CALA_AUTH },
		{ "TokenRefreshRequired", CALA_AUTH },
		{ "AuthorizationHeaderMalformed", CALA_AUTH },
		{ "InvalidBucketName", CALA_USAGE },
		{ "KeyTooLongError", CALA_USAGE },
		{ "MetadataTooLarge", CALA_USAGE },
		{ "InvalidTag", CALA_USAGE },
		{ "InvalidStorageClass", CALA_USAGE },
		{ "XMinioInvalidObjectName", CALA_USAGE },
	};
	size_t i;

	/* what answers speaks no HTTP: the scheme was always one that is */
	if (curl == CURLE_UNSUPPORTED_PROTOCOL)
		return CALA_NET;
	if (curl != CURLE_OK)
		return certificate(curl) ? CALA_TLS :
		    hopeless(curl) ? CALA_FAIL : CALA_NET;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++)
		if (strcmp(code, t[i].code) == 0)
			return t[i].means;
	switch (s3_judge(curl, status, code)) {
	case S3_AGAIN: case S3_THROTTLE: case S3_ELSEWHERE:
		return CALA_NET;
	case S3_SKEW: case S3_SIGNATURE: case S3_EXPIRED:
		return CALA_AUTH;
	default:
		break;
	}
	switch (status) {
	case 401: case 403: case 407:
		return CALA_AUTH;
	case 404: case 410:
		return CALA_NOTFOUND;
	case 409: case 412:
		return CALA_EXISTS;
	case 413: case 507:
		return CALA_NOSPACE;
	default:
		return CALA_FAIL;
	}
}

/* Even jitter needs no secret, but no two clients may share it. */
static double
chance(void)
{
	uint32_t r = 0;

	if (getrandom(&r, sizeof(r), GRND_NONBLOCK) != sizeof(r))
		r = (uint32_t)time(NULL) * 2654435761u;
	return (double)r / 4294967296.0;
}

double
s3_pause(enum s3_verdict v, unsigned attempt, double after)
{
	double base = v == S3_THROTTLE ? 1 : 0.05, top = 20;

	while (attempt-- > 0 && base < top)
		base *= 2;
	base = (base < top ? base : top) * chance();
	return base > after ? base : after;
}

double
s3_retry_after(const char *value, bool ms, time_t now)
{
	uint64_t n;
	time_t t;
	double s;

	if (str_u64(value, 0, 1ull << 40, &n) == 0)
		s = ms ? (double)n / 1000 : (double)n;
	else if (!ms && (t = curl_getdate(value, NULL)) != -1)
		s = (double)(t - now);
	else
		return 0;
	return s < 1 ? 1 : s > 300 ? 300 : s;
}
