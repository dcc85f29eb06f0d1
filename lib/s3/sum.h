#ifndef CALA_S3_SUM_H
#define CALA_S3_SUM_H

/*
 * sum: the checksums that S3 knows (s3.md 3.1, 3.2): MD5, CRC-32, CRC-32C,
 * CRC-64/NVME, SHA-256.  A CRC's digest is its value, big-endian, as it goes
 * into headers.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "s3/s3.h"

struct err;
struct sum;

enum { SUM_MAX = 32 };

/*
 * sum_len(a): bytes of a digest; 0 for S3_SUM_NONE and S3_SUM_AUTO.
 * sum_word(a): "md5", "crc64nvme", ...
 * sum_header(a): the header that carries it in base64: "content-md5",
 * "x-amz-checksum-crc32", ...
 * sum_element(a): "ChecksumCRC64NVME"; its algorithm is sum_element(a) + 8.
 * NULL for MD5.
 * sum_crc(a): can digests of parts be joined to that of the whole?
 */
size_t sum_len(enum s3_sum);
const char *sum_word(enum s3_sum);
const char *sum_header(enum s3_sum);
const char *sum_element(enum s3_sum);
bool sum_crc(enum s3_sum);

/*
 * sum_new(a, e): NULL when the machine can't do it (MD5 under FIPS) or without
 * memory.  sum_end: the digest; ready for the next.  sum_free: NULL is fine.
 * sum_once: of n bytes.
 */
struct sum *sum_new(enum s3_sum, struct err *);
void sum_add(struct sum *, const void *, size_t);
void sum_end(struct sum *, unsigned char [SUM_MAX]);
void sum_free(struct sum *);
int  sum_once(enum s3_sum, const void *, size_t, unsigned char [SUM_MAX],
    struct err *);

/*
 * sum_join(a, x, y, n): x, the CRC of something, becomes that of it followed
 * by the n bytes whose CRC is y.
 */
void sum_join(enum s3_sum, unsigned char [SUM_MAX],
    const unsigned char [SUM_MAX], uint64_t);

#endif
