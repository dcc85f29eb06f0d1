#include "pxar/item.h"

#include "base/buf.h"
#include "base/bytes.h"

static inline uint64_t
rotl(uint64_t v, unsigned n)
{
	return v << n | v >> (64 - n);
}

static inline void
sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

uint64_t
siphash(uint64_t k0, uint64_t k1, const void *data, size_t n)
{
	uint64_t v[4] = {
		k0 ^ UINT64_C(0x736f6d6570736575),
		k1 ^ UINT64_C(0x646f72616e646f6d),
		k0 ^ UINT64_C(0x6c7967656e657261),
		k1 ^ UINT64_C(0x7465646279746573)
	};
	const unsigned char *p = data;
	uint64_t m;
	size_t left = n;
	unsigned i;

	for (; left >= 8; left -= 8, p += 8) {
		m = get_le64(p);
		v[3] ^= m;
		sip_round(v);
		sip_round(v);
		v[0] ^= m;
	}
	m = (uint64_t)n << 56;
	for (i = 0; i < left; i++)
		m |= (uint64_t)p[i] << (8 * i);
	v[3] ^= m;
	sip_round(v);
	sip_round(v);
	v[0] ^= m;
	v[2] ^= 0xff;
	for (i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t
pxar_hash(const void *p, size_t n)
{
	return siphash(UINT64_C(0x83ac3f1cfbb450db),
	    UINT64_C(0xaa4f1b6879369fbd), p, n);
}

/* The kernel's bit, and pxar's. */
static const struct {
	uint32_t chattr;
	uint32_t pxar;
} attrs[] = {
	{ 0x00000020, 0x00010000 },     /* append-only */
	{ 0x00000080, 0x00020000 },     /* no access time */
	{ 0x00000004, 0x00040000 },     /* compressed */
	{ 0x00800000, 0x00080000 },     /* no copy on write */
	{ 0x00000040, 0x00100000 },     /* no dump */
	{ 0x00010000, 0x00200000 },     /* synchronous directory */
	{ 0x00000010, 0x00400000 },     /* immutable */
	{ 0x00000008, 0x00800000 },     /* synchronous */
	{ 0x00000400, 0x01000000 },     /* no compression */
	{ 0x20000000, 0x02000000 },     /* project id inherited */
};

uint64_t
pxar_attrs(uint32_t chattr)
{
	uint64_t out = 0;
	size_t i;

	for (i = 0; i < sizeof(attrs) / sizeof(attrs[0]); i++)
		if ((chattr & attrs[i].chattr) != 0)
			out |= attrs[i].pxar;
	return out;
}

uint32_t
pxar_chattr(uint64_t flags)
{
	uint32_t out = 0;
	size_t i;

	for (i = 0; i < sizeof(attrs) / sizeof(attrs[0]); i++)
		if ((flags & attrs[i].pxar) != 0)
			out |= attrs[i].chattr;
	return out;
}

/*
 * In the tree, at is the root of a run of the sorted list.  Its ancestors say
 * where the run begins: walk down from the root of all along at's bits.
 */
size_t
pxar_goodbye(size_t n, size_t at)
{
	size_t lo = 0, len = n, path = at + 1, left, half,
	    last;
	unsigned depth = 0;

	while (path >> (depth + 1) != 0)
		depth++;
	for (;;) {
		/*
		 * Left of the root are the inner levels' half, and of the last
		 * level, which has room for half, what fits under that.
		 */
		for (half = 1; half <= len / 2; half *= 2)
			;
		last = len - (half - 1);
		left = half / 2 + (last < half / 2 ? last : half / 2);
		left -= half > 1;
		if (depth == 0)
			return lo + left;
		depth--;
		if ((path >> depth & 1) == 0) {
			len = left;
		} else {
			lo += left + 1;
			len -= left + 1;
		}
	}
}

void
item_head(struct buf *b, uint64_t type, uint64_t content)
{
	unsigned char h[PXAR_HEAD];

	put_le64(h, type);
	put_le64(h + 8, content + PXAR_HEAD);
	buf_add(b, h, sizeof(h));
}

void
item_u64s(struct buf *b, uint64_t type, unsigned n, const uint64_t *v)
{
	unsigned char p[8];
	unsigned i;

	item_head(b, type, 8 * n);
	for (i = 0; i < n; i++) {
		put_le64(p, v[i]);
		buf_add(b, p, sizeof(p));
	}
}
