/*
 * Any bytes as a stream passing by: the first byte chooses the size of the
 * pieces and whether to decode.  The verdict may not depend on the pieces.
 */

#include <stddef.h>
#include <stdint.h>

#include "archive/archive.h"
#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static enum archive_proof
prove(const uint8_t *p, size_t n, size_t chunk, bool decode)
{
	struct archive_facts f = { .proof = PROOF_NONE };
	struct err e = ERR_INIT;
	struct proof *pr = proof_new(decode, &e);
	size_t k;

	if (pr == NULL)
		return PROOF_NONE;
	for (; n > 0; p += k, n -= k) {
		k = n < chunk ? n : chunk;
		if (proof_feed(pr, p, k, &e) == -1)
			break;
	}
	if (n == 0)
		proof_end(pr, &f, &e);
	proof_free(pr);
	return f.proof;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const size_t chunks[] = { 1, 7, 100, 4096 };
	bool decode;

	if (n == 0)
		return 0;
	decode = (*p & 4) != 0;
	if (prove(p + 1, n - 1, chunks[*p & 3], decode) !=
	    prove(p + 1, n - 1, SIZE_MAX, decode))
		__builtin_trap();
	return 0;
}
