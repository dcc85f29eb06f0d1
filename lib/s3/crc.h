#ifndef CALA_S3_CRC_H
#define CALA_S3_CRC_H

/*
 * crc: reflected CRCs of 32 and 64 bits, of any polynomial; many bytes at a
 * time where the processor multiplies polynomials.
 */

#include <stddef.h>
#include <stdint.h>

struct crc {
	uint64_t poly;                  /* reflected */
	unsigned bits;                  /* 32 or 64 */
	uint64_t table[8][256];         /* [k][b]: b, then k zero bytes */
	uint64_t fold[4];               /* over 64 and over 16 bytes */
};

/*
 * crc_init(c, poly, bits): the tables of a polynomial.
 * crc_add(c, value, p, n): value, as it is inside (no inversion), after n bytes
 * more.
 * crc_plain: the same without the processor's help.
 * crc_zeros(c, value, n): value after n zero bytes, in steps of log n.
 */
void crc_init(struct crc *, uint64_t, unsigned);
uint64_t crc_add(const struct crc *, uint64_t, const void *, size_t);
uint64_t crc_plain(const struct crc *, uint64_t, const void *, size_t);
uint64_t crc_zeros(const struct crc *, uint64_t, uint64_t);

#endif
