/*
 * crc: reflected CRCs of up to 64 bits, eight bytes a step.
 *
 * Compiled by the test server when it starts; it shares nothing with the
 * library that it tests.
 */

#include <stddef.h>
#include <stdint.h>

void crc_init(uint64_t (*)[256], uint64_t);
uint64_t crc_update(uint64_t (*)[256], uint64_t, const unsigned char *, size_t);

/* crc_init(t, poly): fill t[8][256] for the reflected polynomial. */
void
crc_init(uint64_t (*t)[256], uint64_t poly)
{
	for (unsigned i = 0; i < 256; i++) {
		uint64_t c = i;

		for (int bit = 0; bit < 8; bit++)
			c = c & 1 ? c >> 1 ^ poly : c >> 1;
		t[0][i] = c;
	}
	for (unsigned k = 1; k < 8; k++)
		for (unsigned i = 0; i < 256; i++)
			t[k][i] = t[k - 1][i] >> 8 ^ t[0][t[k - 1][i] & 255];
}

/* crc_update(t, c, p, n): the register after n more bytes (not inverted). */
uint64_t
crc_update(uint64_t (*t)[256], uint64_t c, const unsigned char *p, size_t n)
{
	for (; n >= 8; p += 8, n -= 8) {
		uint64_t next = 0;

		for (unsigned i = 0; i < 8; i++)
			next ^= t[7 - i][(c >> 8 * i & 255) ^ p[i]];
		c = next;
	}
	while (n-- > 0)
		c = c >> 8 ^ t[0][(c ^ *p++) & 255];
	return c;
}
