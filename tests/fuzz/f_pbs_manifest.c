/* Any bytes as a manifest; one that is accepted is written and read again. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "pbs/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static unsigned char key[PBS_KEY];
	struct err e = ERR_INIT;
	struct pbs_manifest m, again;
	struct pbs_crypt *c;
	struct buf b;

	if (pbs_manifest_parse(&m, p, n, &e) == -1)
		return 0;
	c = pbs_crypt_new(key, &e);
	buf_init(&b, 64 << 20);
	if (c == NULL || pbs_manifest_put(&m, c, &b, &e) == -1 ||
	    pbs_manifest_parse(&again, b.p, b.len, &e) == -1 ||
	    pbs_manifest_check(&again, c, &e) != 0 ||
	    again.n != m.n || strcmp(again.id, m.id) != 0)
		__builtin_trap();
	(void)pbs_manifest_check(&m, NULL, &e);
	(void)pbs_manifest_notes(&m);
	(void)pbs_manifest_finished(&m);
	pbs_manifest_fini(&again);
	pbs_manifest_fini(&m);
	pbs_crypt_free(c);
	buf_fini(&b);
	return 0;
}
