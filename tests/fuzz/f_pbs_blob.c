/* Any bytes as a blob, with and without a key, as a chunk and as a file. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "pbs/blob.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static unsigned char key[PBS_KEY], digest[PBS_DIGEST], out[8192];
	struct err e = ERR_INIT;
	struct pbs_crypt *c;
	struct pbs_coder *k[2];
	struct buf b;
	unsigned char *copy = malloc(n + 1);
	unsigned i;

	for (i = 0; i < PBS_KEY; i++)
		key[i] = (unsigned char)i;
	c = pbs_crypt_new(key, &e);
	k[0] = pbs_coder_new(NULL, 0, &e);
	k[1] = pbs_coder_new(c, 0, &e);
	if (c == NULL || k[0] == NULL || k[1] == NULL || copy == NULL)
		__builtin_trap();
	for (i = 0; i < 2; i++) {
		buf_init(&b, sizeof(out));
		if (pbs_blob_open(k[i], p, n, &b, &e) == 0 &&
		    b.len > sizeof(out))
			__builtin_trap();
		/* What is in it is what a chunk of that length is. */
		if (b.len > 0 && b.len <= sizeof(out)) {
			pbs_coder_digest(k[i], b.p, b.len, digest);
			memcpy(copy, p, n);
			if (pbs_chunk_open(k[i], copy, n, digest, out, b.len,
			    &e) == 0 && memcmp(out, b.p, b.len) != 0)
				__builtin_trap();
		}
		memcpy(copy, p, n);
		(void)pbs_chunk_open(k[i], copy, n, digest, out, sizeof(out),
		    &e);
		buf_fini(&b);
		pbs_coder_free(k[i]);
	}
	pbs_crypt_free(c);
	free(copy);
	return 0;
}
