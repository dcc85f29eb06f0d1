#include "s3/sum.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <libdeflate.h>
#include <openssl/evp.h>

#include "base/err.h"
#include "s3/crc.h"

/* Reflected polynomials. */
#define POLY32 0xedb88320u
#define POLY32C 0x82f63b78u
#define POLY64 0x9a6c9329ac4bc9b5u

static const struct row {
	const char *word, *header, *element;
	size_t len;
	uint64_t poly;
} rows[] = {
	[S3_SUM_AUTO] = { "auto", NULL, NULL, 0, 0 },
	[S3_SUM_MD5] = { "md5", "content-md5", NULL, 16, 0 },
	[S3_SUM_CRC64NVME] = { "crc64nvme", "x-amz-checksum-crc64nvme",
	    "ChecksumCRC64NVME", 8, POLY64 },
	[S3_SUM_CRC32C] = { "crc32c", "x-amz-checksum-crc32c",
	    "ChecksumCRC32C", 4, POLY32C },
	[S3_SUM_CRC32] = { "crc32", "x-amz-checksum-crc32", "ChecksumCRC32",
	    4, POLY32 },
	[S3_SUM_SHA256] = { "sha256", "x-amz-checksum-sha256",
	    "ChecksumSHA256", 32, 0 },
	[S3_SUM_NONE] = { "none", NULL, NULL, 0, 0 },
};

static struct crc crc32, crc32c, crc64;
static EVP_MD *md5, *sha256;
static pthread_once_t once = PTHREAD_ONCE_INIT;

struct sum {
	enum s3_sum a;
	EVP_MD_CTX *ctx;
	const EVP_MD *md;
	uint64_t crc;
};

static void
prepare(void)
{
	crc_init(&crc32, POLY32, 32);
	crc_init(&crc32c, POLY32C, 32);
	crc_init(&crc64, POLY64, 64);
	/* a checksum here, no cryptography: a FIPS provider may be passed by */
	md5 = EVP_MD_fetch(NULL, "MD5", "-fips");
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

static const struct crc *
crc_of(enum s3_sum a)
{
	return a == S3_SUM_CRC64NVME ? &crc64 : a == S3_SUM_CRC32C ? &crc32c :
	    &crc32;
}

size_t
sum_len(enum s3_sum a)
{
	return rows[a].len;
}

const char *
sum_word(enum s3_sum a)
{
	return rows[a].word;
}

const char *
sum_header(enum s3_sum a)
{
	return rows[a].header;
}

const char *
sum_element(enum s3_sum a)
{
	return rows[a].element;
}

bool
sum_crc(enum s3_sum a)
{
	return rows[a].poly != 0;
}

static uint64_t
ones(enum s3_sum a)
{
	return a == S3_SUM_CRC64NVME ? UINT64_MAX : UINT32_MAX;
}

static void
restart(struct sum *s)
{
	/* libdeflate inverts by itself */
	s->crc = s->a == S3_SUM_CRC32 ? 0 : ones(s->a);
	if (s->ctx != NULL)
		EVP_DigestInit_ex2(s->ctx, s->md, NULL);
}

struct sum *
sum_new(enum s3_sum a, struct err *e)
{
	struct sum *s = calloc(1, sizeof(*s));

	pthread_once(&once, prepare);
	if (s == NULL) {
		err_oom(e);
		return NULL;
	}
	s->a = a;
	if (a == S3_SUM_MD5 || a == S3_SUM_SHA256) {
		s->md = a == S3_SUM_MD5 ? md5 : sha256;
		s->ctx = EVP_MD_CTX_new();
		if (s->md == NULL || s->ctx == NULL ||
		    EVP_DigestInit_ex2(s->ctx, s->md, NULL) != 1) {
			sum_free(s);
			err_set(e, CALA_FAIL, "%s: OpenSSL can't provide it",
			    sum_word(a));
			return NULL;
		}
	}
	restart(s);
	return s;
}

void
sum_add(struct sum *s, const void *p, size_t n)
{
	if (s->ctx != NULL)
		EVP_DigestUpdate(s->ctx, p, n);
	else if (s->a == S3_SUM_CRC32)
		s->crc = libdeflate_crc32((uint32_t)s->crc, p, n);
	else if (sum_crc(s->a))
		s->crc = crc_add(crc_of(s->a), s->crc, p, n);
}

static void
put_be(unsigned char *p, size_t len, uint64_t v)
{
	while (len-- > 0) {
		p[len] = (unsigned char)v;
		v >>= 8;
	}
}

static uint64_t
get_be(const unsigned char *p, size_t len)
{
	uint64_t v = 0;

	while (len-- > 0)
		v = v << 8 | *p++;
	return v;
}

void
sum_end(struct sum *s, unsigned char out[SUM_MAX])
{
	if (s->ctx != NULL)
		EVP_DigestFinal_ex(s->ctx, out, NULL);
	else
		put_be(out, sum_len(s->a), s->a == S3_SUM_CRC32 ? s->crc :
		    s->crc ^ ones(s->a));
	restart(s);
}

void
sum_free(struct sum *s)
{
	if (s == NULL)
		return;
	EVP_MD_CTX_free(s->ctx);
	free(s);
}

int
sum_once(enum s3_sum a, const void *p, size_t n, unsigned char out[SUM_MAX],
    struct err *e)
{
	struct sum *s = sum_new(a, e);

	if (s == NULL)
		return -1;
	sum_add(s, p, n);
	sum_end(s, out);
	sum_free(s);
	return 0;
}

void
sum_join(enum s3_sum a, unsigned char x[SUM_MAX],
    const unsigned char y[SUM_MAX], uint64_t n)
{
	size_t len = rows[a].len;

	pthread_once(&once, prepare);
	put_be(x, len, crc_zeros(crc_of(a), get_be(x, len), n) ^
	    get_be(y, len));
}
