#include "s3/crc.h"

#include "base/bytes.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { BLOCK = 64, FOLD_MIN = 256 };

/* Product of two polynomials modulo the CRC's; bits are reflected. */
static uint64_t
mul(const struct crc *c, uint64_t a, uint64_t b)
{
	uint64_t m = 1ull << (c->bits - 1), r = 0;

	for (; m != 0; m >>= 1) {
		if ((a & m) != 0)
			r ^= b;
		b = b >> 1 ^ ((b & 1) != 0 ? c->poly : 0);
	}
	return r;
}

/* x^n. */
static uint64_t
power(const struct crc *c, uint64_t n)
{
	uint64_t r = 1ull << (c->bits - 1), base = r >> 1;

	for (; n != 0; n >>= 1) {
		if ((n & 1) != 0)
			r = mul(c, r, base);
		base = mul(c, base, base);
	}
	return r;
}

void
crc_init(struct crc *c, uint64_t poly, unsigned bits)
{
	/*
	 * The product of two reflected numbers of 64 bits is one bit short of
	 * 128: x too much, which these take back.
	 */
	static const unsigned over[4] = { BLOCK * 8 + 63, BLOCK * 8 - 1,
	    128 + 63, 128 - 1 };
	uint64_t v;
	size_t i, k;

	c->poly = poly;
	c->bits = bits;
	for (i = 0; i < 256; i++) {
		v = i;
		for (k = 0; k < 8; k++)
			v = v >> 1 ^ ((v & 1) != 0 ? poly : 0);
		c->table[0][i] = v;
	}
	for (k = 1; k < 8; k++)
		for (i = 0; i < 256; i++)
			c->table[k][i] = c->table[k - 1][i] >> 8 ^
			    c->table[0][c->table[k - 1][i] & 255];
	for (i = 0; i < 4; i++)
		c->fold[i] = power(c, over[i]) << (64 - bits);
}

uint64_t
crc_zeros(const struct crc *c, uint64_t value, uint64_t n)
{
	uint64_t r = value, base = 1ull << (c->bits - 1) >> 8;

	for (; n != 0; n >>= 1) {
		if ((n & 1) != 0)
			r = mul(c, r, base);
		base = mul(c, base, base);
	}
	return r;
}

uint64_t
crc_plain(const struct crc *c, uint64_t v, const void *bytes, size_t n)
{
	const unsigned char *p = bytes;

	for (; n >= 8; p += 8, n -= 8) {
		v ^= get_le64(p);
		v = c->table[7][v & 255] ^ c->table[6][v >> 8 & 255] ^
		    c->table[5][v >> 16 & 255] ^ c->table[4][v >> 24 & 255] ^
		    c->table[3][v >> 32 & 255] ^ c->table[2][v >> 40 & 255] ^
		    c->table[1][v >> 48 & 255] ^ c->table[0][v >> 56];
	}
	for (; n > 0; n--)
		v = v >> 8 ^ c->table[0][(v ^ *p++) & 255];
	return v;
}

#if defined(__x86_64__)
/* x, moved on by as far as k says, and what is there already. */
__attribute__((target("pclmul"))) static inline __m128i
move(__m128i x, __m128i k, __m128i there)
{
	return _mm_xor_si128(there, _mm_xor_si128(
	    _mm_clmulepi64_si128(x, k, 0x00),
	    _mm_clmulepi64_si128(x, k, 0x11)));
}

/*
 * Four accumulators of 16 bytes each, moved on over the next 64; what is left
 * in the end is 16 bytes that have the same CRC.  n is at least BLOCK; what is
 * behind its last whole block is left to the caller.
 */
__attribute__((target("pclmul"))) static uint64_t
folded(const struct crc *c, uint64_t v, const unsigned char *p, size_t n)
{
	const __m128i far = _mm_set_epi64x((long long)c->fold[1],
	    (long long)c->fold[0]);
	const __m128i near = _mm_set_epi64x((long long)c->fold[3],
	    (long long)c->fold[2]);
	unsigned char rest[16];
	__m128i x[4];
	size_t i;

	for (i = 0; i < 4; i++)
		x[i] = _mm_loadu_si128((const __m128i *)(const void *)p + i);
	x[0] = _mm_xor_si128(x[0], _mm_set_epi64x(0, (long long)v));
	for (p += BLOCK, n -= BLOCK; n >= BLOCK; p += BLOCK, n -= BLOCK)
		for (i = 0; i < 4; i++)
			x[i] = move(x[i], far, _mm_loadu_si128(
			    (const __m128i *)(const void *)p + i));
	for (i = 1; i < 4; i++)
		x[i] = move(x[i - 1], near, x[i]);
	_mm_storeu_si128((__m128i *)(void *)rest, x[3]);
	return crc_plain(c, 0, rest, sizeof(rest));
}
#endif

uint64_t
crc_add(const struct crc *c, uint64_t v, const void *bytes, size_t n)
{
#if defined(__x86_64__)
	const unsigned char *p = bytes;

	if (n >= FOLD_MIN && __builtin_cpu_supports("pclmul")) {
		v = folded(c, v, p, n);
		return crc_plain(c, v, p + n / BLOCK * BLOCK, n % BLOCK);
	}
#endif
	return crc_plain(c, v, bytes, n);
}
