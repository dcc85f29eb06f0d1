/* Any bytes as an index; of one that is accepted every chunk is asked for. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "pbs/blob.h"
#include "pbs/index.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct err e = ERR_INIT;
	struct pbs_index ix;
	uint64_t at = 0;
	size_t i, len;

	if (pbs_index_open(&ix, p, n, &e) == -1)
		return 0;
	for (i = 0; i < ix.n; i++) {
		len = pbs_index_length(&ix, i);
		if (pbs_index_start(&ix, i) != at || len == 0 ||
		    len > PBS_CHUNK_MAX ||
		    pbs_index_find(&ix, at) != i ||
		    pbs_index_find(&ix, at + len - 1) != i ||
		    pbs_index_digest(&ix, i) < p ||
		    pbs_index_digest(&ix, i) + PBS_DIGEST > p + n)
			__builtin_trap();
		at += len;
	}
	if (at != ix.size)
		__builtin_trap();
	return 0;
}
