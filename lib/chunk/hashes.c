#include "chunk/hashes.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

enum { LANES = 4, BLOCK = 128, ROUNDS = 12 };

/* RFC 7693, 2.6 and 2.7 */
static const uint64_t iv[8] = {
	0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b,
	0xa54ff53a5f1d36f1, 0x510e527fade682d1, 0x9b05688c2b3e6c1f,
	0x1f83d9abfb41bd6b, 0x5be0cd19137e2179
};

/* 2.5: no key, fan-out and depth 1, and the length of the sum */
#define FIRST (UINT64_C(0x01010000) ^ BLAKE2B_LEN)

/*
 * State of four messages: word i of lane k is h[i][k].  A lane without a
 * message is given bytes of another one's, and what comes of it is ignored.
 */
struct lanes {
	_Alignas(32) uint64_t h[8][LANES];
	_Alignas(32) uint64_t len[LANES];       /* bytes taken in */
	_Alignas(32) uint64_t last[LANES];      /* ~0: this is the last block */
	const unsigned char *p[LANES];
	size_t left[LANES];
	unsigned char *md[LANES];               /* NULL: no message */
	unsigned char tail[LANES][BLOCK];
};

/* n blocks from p of each lane; len and last are those of the first. */
typedef void blocks_fn(struct lanes *, size_t);

#define ADD(a, b) _mm256_add_epi64(a, b)
#define XOR(a, b) _mm256_xor_si256(a, b)

/* 3.1: the mixing function, on four messages */
#define G(a, b, c, d, x, y) do {					\
	(a) = ADD(ADD(a, b), m[x]);					\
	(d) = ROR32(XOR(d, a));						\
	(c) = ADD(c, d);						\
	(b) = ROR24(XOR(b, c));						\
	(a) = ADD(ADD(a, b), m[y]);					\
	(d) = ROR16(XOR(d, a));						\
	(c) = ADD(c, d);						\
	(b) = ROR63(XOR(b, c));						\
} while (0)

#define ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, sa, sb, sc, sd, se, sf) \
do {									\
	G(v[0], v[4], v[8], v[12], s0, s1);				\
	G(v[1], v[5], v[9], v[13], s2, s3);				\
	G(v[2], v[6], v[10], v[14], s4, s5);				\
	G(v[3], v[7], v[11], v[15], s6, s7);				\
	G(v[0], v[5], v[10], v[15], s8, s9);				\
	G(v[1], v[6], v[11], v[12], sa, sb);				\
	G(v[2], v[7], v[8], v[13], sc, sd);				\
	G(v[3], v[4], v[9], v[14], se, sf);				\
} while (0)

/* 2.7: sigma; rounds 10 and 11 are as 0 and 1 */
#define ALL_ROUNDS do {							\
	ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);	\
	ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3);	\
	ROUND(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4);	\
	ROUND(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8);	\
	ROUND(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13);	\
	ROUND(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9);	\
	ROUND(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11);	\
	ROUND(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10);	\
	ROUND(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5);	\
	ROUND(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0);	\
	ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);	\
	ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3);	\
} while (0)

/* Words 4q to 4q + 3 of four messages: rows become columns. */
#define TRANSPOSE(q) do {						\
	__m256i a = LOAD(0, q), b = LOAD(1, q), c = LOAD(2, q);		\
	__m256i d = LOAD(3, q);						\
	__m256i ab = _mm256_unpacklo_epi64(a, b);			\
	__m256i cd = _mm256_unpacklo_epi64(c, d);			\
	__m256i AB = _mm256_unpackhi_epi64(a, b);			\
	__m256i CD = _mm256_unpackhi_epi64(c, d);			\
	m[4 * (q)] = _mm256_permute2x128_si256(ab, cd, 0x20);		\
	m[4 * (q) + 1] = _mm256_permute2x128_si256(AB, CD, 0x20);	\
	m[4 * (q) + 2] = _mm256_permute2x128_si256(ab, cd, 0x31);	\
	m[4 * (q) + 3] = _mm256_permute2x128_si256(AB, CD, 0x31);	\
} while (0)

#define LOAD(k, q)							\
	_mm256_loadu_si256((const void *)(s->p[k] + 32 * (q)))
#define AT(row) ((void *)(row))

/* 3.2: the compression function */
#define BLOCKS_BODY							\
	__m256i v[16], m[16], h[8];					\
	__m256i len = _mm256_load_si256(AT(s->len));			\
	const __m256i last = _mm256_load_si256(AT(s->last));		\
	int i;								\
									\
	for (i = 0; i < 8; i++)						\
		h[i] = _mm256_load_si256(AT(s->h[i]));			\
	for (; n > 0; n--) {						\
		TRANSPOSE(0);						\
		TRANSPOSE(1);						\
		TRANSPOSE(2);						\
		TRANSPOSE(3);						\
		for (i = 0; i < LANES; i++)				\
			s->p[i] += BLOCK;				\
		for (i = 0; i < 8; i++) {				\
			v[i] = h[i];					\
			v[i + 8] = _mm256_set1_epi64x((long long)iv[i]);\
		}							\
		v[12] = XOR(v[12], len);				\
		v[14] = XOR(v[14], last);				\
		ALL_ROUNDS;						\
		for (i = 0; i < 8; i++)					\
			h[i] = XOR(h[i], XOR(v[i], v[i + 8]));		\
		len = ADD(len, _mm256_set1_epi64x(BLOCK));		\
	}								\
	for (i = 0; i < 8; i++)						\
		_mm256_store_si256(AT(s->h[i]), h[i])

#define ROR32(x) _mm256_shuffle_epi32(x, 0xb1)
#define ROR24(x) _mm256_shuffle_epi8(x, ror24)
#define ROR16(x) _mm256_shuffle_epi8(x, ror16)
#define ROR63(x) _mm256_or_si256(ADD(x, x), _mm256_srli_epi64(x, 63))

__attribute__((target("avx2"))) static void
blocks_avx2(struct lanes *s, size_t n)
{
	const __m256i ror24 = _mm256_setr_epi8(
	    3, 4, 5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10,
	    3, 4, 5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10);
	const __m256i ror16 = _mm256_setr_epi8(
	    2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9,
	    2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9);
	BLOCKS_BODY;
}

#undef ROR32
#undef ROR24
#undef ROR16
#undef ROR63
#define ROR32(x) _mm256_ror_epi64(x, 32)
#define ROR24(x) _mm256_ror_epi64(x, 24)
#define ROR16(x) _mm256_ror_epi64(x, 16)
#define ROR63(x) _mm256_ror_epi64(x, 63)

__attribute__((target("avx2,avx512f,avx512vl"))) static void
blocks_avx512(struct lanes *s, size_t n)
{
	BLOCKS_BODY;
}

static void
lane_begin(struct lanes *s, unsigned k, const struct hash_one *one)
{
	unsigned i;

	for (i = 0; i < 8; i++)
		s->h[i][k] = iv[i];
	s->h[0][k] ^= FIRST;
	s->len[k] = 0;
	s->p[k] = one->p;
	s->left[k] = one->n;
	s->md[k] = one->md;
}

static void
lane_end(struct lanes *s, unsigned k)
{
	unsigned i;

	for (i = 0; i < BLAKE2B_LEN / 8; i++)
		memcpy(s->md[k] + 8 * i, &s->h[i][k], 8);
	s->md[k] = NULL;
}

/* The blocks that come before the last one of any lane. */
static void
lanes_run(struct lanes *s, blocks_fn *blocks)
{
	const unsigned char *any = NULL;
	size_t n = SIZE_MAX, k;

	for (k = 0; k < LANES; k++) {
		if (s->md[k] == NULL)
			continue;
		any = s->p[k];
		if ((s->left[k] - (s->left[k] > 0)) / BLOCK < n)
			n = (s->left[k] - (s->left[k] > 0)) / BLOCK;
	}
	if (n == 0)
		return;
	for (k = 0; k < LANES; k++) {
		if (s->md[k] == NULL)
			s->p[k] = any;
		else
			s->left[k] -= n * BLOCK;
		s->len[k] += BLOCK;
		s->last[k] = 0;
	}
	blocks(s, n);
	for (k = 0; k < LANES; k++)
		s->len[k] += (n - 1) * BLOCK;
}

/* One more block, which is the last of at least one lane. */
static void
lanes_step(struct lanes *s, blocks_fn *blocks)
{
	size_t k, n;

	for (k = 0; k < LANES; k++) {
		n = s->md[k] == NULL ? 0 : s->left[k];
		s->last[k] = n > BLOCK ? 0 : UINT64_MAX;
		if (n > BLOCK) {
			n = BLOCK;
		} else {
			if (n > 0)
				memcpy(s->tail[k], s->p[k], n);
			memset(s->tail[k] + n, 0, BLOCK - n);
			s->p[k] = s->tail[k];
		}
		s->len[k] += n;
		s->left[k] -= n;
	}
	blocks(s, 1);
}

static void
by_lanes(blocks_fn *blocks, const struct hash_one *v, size_t n)
{
	struct lanes s;
	unsigned k, busy = 0;

	memset(&s, 0, sizeof(s));
	for (;;) {
		for (k = 0; k < LANES && n > 0; k++) {
			if (s.md[k] != NULL)
				continue;
			lane_begin(&s, k, v++);
			n--;
			busy++;
		}
		if (busy == 0)
			return;
		lanes_run(&s, blocks);
		lanes_step(&s, blocks);
		for (k = 0; k < LANES; k++) {
			if (s.md[k] == NULL || s.last[k] == 0)
				continue;
			lane_end(&s, k);
			busy--;
		}
	}
}

static bool
can(enum hashes_way way)
{
	return way == HASHES_ONE || (way == HASHES_AVX2 ?
	    __builtin_cpu_supports("avx2") :
	    __builtin_cpu_supports("avx512vl"));
}

static blocks_fn *
lanes_of(enum hashes_way way)
{
	return way == HASHES_AVX512 ? blocks_avx512 : blocks_avx2;
}

#else

static bool
can(enum hashes_way way)
{
	return way == HASHES_ONE;
}

#endif

bool
hashes_by(enum hashes_way way, const struct hash_one *v, size_t n)
{
	if (!can(way))
		return false;
#if defined(__x86_64__)
	if (way != HASHES_ONE) {
		by_lanes(lanes_of(way), v, n);
		return true;
	}
#endif
	for (; n > 0; n--, v++)
		blake2b(v->p, v->n, v->md);
	return true;
}

void
hashes(const struct hash_one *v, size_t n)
{
	/* One alone is no quicker in a lane. */
	if (n > 1 && (hashes_by(HASHES_AVX512, v, n) ||
	    hashes_by(HASHES_AVX2, v, n)))
		return;
	hashes_by(HASHES_ONE, v, n);
}
