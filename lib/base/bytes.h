#ifndef CALA_BASE_BYTES_H
#define CALA_BASE_BYTES_H

/*
 * bytes: integers on the wire, byte by byte, and checked arithmetic for every
 * size that comes from outside.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline uint16_t
get_le16(const void *v)
{
	const unsigned char *p = v;

	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t
get_le32(const void *v)
{
	const unsigned char *p = v;

	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
	    (uint32_t)p[3] << 24;
}

static inline uint64_t
get_le64(const void *v)
{
	const unsigned char *p = v;

	return (uint64_t)get_le32(p) | (uint64_t)get_le32(p + 4) << 32;
}

static inline void
put_le16(void *v, uint16_t n)
{
	unsigned char *p = v;

	p[0] = (unsigned char)n;
	p[1] = (unsigned char)(n >> 8);
}

static inline void
put_le32(void *v, uint32_t n)
{
	unsigned char *p = v;

	put_le16(p, (uint16_t)n);
	put_le16(p + 2, (uint16_t)(n >> 16));
}

static inline void
put_le64(void *v, uint64_t n)
{
	unsigned char *p = v;

	put_le32(p, (uint32_t)n);
	put_le32(p + 4, (uint32_t)(n >> 32));
}

static inline uint32_t
get_be32(const void *v)
{
	const unsigned char *p = v;

	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	    (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static inline void
put_be32(void *v, uint32_t n)
{
	unsigned char *p = v;

	p[0] = (unsigned char)(n >> 24);
	p[1] = (unsigned char)(n >> 16);
	p[2] = (unsigned char)(n >> 8);
	p[3] = (unsigned char)n;
}

/* add, multiply: false (and *r unspecified) on overflow. */
static inline bool
size_add(size_t a, size_t b, size_t *r)
{
	return !__builtin_add_overflow(a, b, r);
}

static inline bool
size_mul(size_t a, size_t b, size_t *r)
{
	return !__builtin_mul_overflow(a, b, r);
}

static inline bool
u64_add(uint64_t a, uint64_t b, uint64_t *r)
{
	return !__builtin_add_overflow(a, b, r);
}

static inline bool
u64_mul(uint64_t a, uint64_t b, uint64_t *r)
{
	return !__builtin_mul_overflow(a, b, r);
}

/*
 * varint_put(p, n): unsigned LEB128 into p (room for 10 bytes); returns the
 * bytes written.
 * varint_get(p, end, &n): returns the bytes read, or 0 when it is cut short,
 * longer than 10 bytes or does not fit 64 bits.
 */
static inline size_t
varint_put(unsigned char *p, uint64_t n)
{
	size_t i = 0;

	while (n >= 0x80) {
		p[i++] = (unsigned char)(n | 0x80);
		n >>= 7;
	}
	p[i++] = (unsigned char)n;
	return i;
}

static inline size_t
varint_get(const unsigned char *p, const unsigned char *end, uint64_t *out)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < 10 && p + i < end; i++) {
		if (i == 9 && p[i] > 1)
			return 0;
		n |= (uint64_t)(p[i] & 0x7f) << (7 * i);
		if ((p[i] & 0x80) == 0) {
			*out = n;
			return i + 1;
		}
	}
	return 0;
}

static inline uint64_t
zigzag(int64_t n)
{
	/* the sign, spread: shifting a negative number is up to the compiler */
	return ((uint64_t)n << 1) ^ (0 - ((uint64_t)n >> 63));
}

static inline int64_t
unzigzag(uint64_t n)
{
	return (int64_t)(n >> 1) ^ -(int64_t)(n & 1);
}

#endif
