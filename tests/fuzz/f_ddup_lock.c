/* Any bytes as a lock file of ddup-bak, and as varints. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "ddup/int.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	unsigned char out[FOREIGN_SIZE], again[10];
	struct foreign f, g;
	uint64_t v;
	size_t i, k;

	if (foreign_parse(&f, p, n) == 0) {
		foreign_bytes(&f, out);
		if (foreign_parse(&g, out, sizeof(out)) == -1 ||
		    g.mode != f.mode || g.writer != f.writer ||
		    g.pid != f.pid || g.readers[0] != f.readers[0] ||
		    g.readers[1] != f.readers[1] ||
		    g.readers[2] != f.readers[2])
			__builtin_trap();
	}
	for (i = 0; i < n && (k = varint_get(p + i, p + n, &v)) > 0; i += k) {
		/* Written again it is the shortest form of the same number. */
		if (varint_put(again, v) > k ||
		    varint_get(again, again + 10, &v) == 0)
			__builtin_trap();
	}
	return 0;
}
