#include "archive/press.h"

enum { MIB = 1 << 20 };

/* Measured contexts in MiB, by level, for frames of up to 8 (xz: 32) MiB. */
static const unsigned char zstd_ctx[] = { 1, 1, 1, 2, 3, 4, 4, 7, 7, 13, 25,
    25, 49, 49, 49, 65, 65, 65, 65, 82 };
static const unsigned short lzma_ctx[] = { 3, 9, 17, 32, 48, 94, 94, 186,
    370, 674 };

void
press_cost(enum archive_format f, int level, struct press_cost *c)
{
	size_t ctx;

	c->target = 4 * MIB;
	switch (f) {
	case ARCHIVE_TAR_GZ:
		c->target = MIB;
		ctx = level > 9 ? 10 : 1;
		break;
	case ARCHIVE_TAR_XZ:
	case ARCHIVE_TAR_LZ:
		/* Their dictionaries are larger than a small frame. */
		if (level > 5)
			c->target = 16 * MIB;
		ctx = lzma_ctx[level];
		break;
	case ARCHIVE_TAR_ZST:
		ctx = zstd_ctx[level];
		break;
	default:
		ctx = 10;
		break;
	}
	c->hard = 2 * c->target;
	c->ctx = ctx * MIB;
}
