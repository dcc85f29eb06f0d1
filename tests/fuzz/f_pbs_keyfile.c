/* Any bytes as a key file.  Only bare keys are opened: the others cost time. */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "pbs/keyfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct secret text = SECRET_INIT;
	struct pbs_crypt *c = NULL;
	struct err e = ERR_INIT;
	struct pbs_keyfile f, g;

	if (pbs_keyfile_parse(&f, p, n, &e) == -1)
		return 0;
	if (f.kdf == PBS_KDF_NONE && pbs_keyfile_open(&f, NULL, &c, &e) == 0)
		pbs_crypt_free(c);
	if (pbs_keyfile_put(&f, &text, &e) == 0) {
		if (pbs_keyfile_parse(&g, text.p, text.len, &e) == -1)
			__builtin_trap();
		pbs_keyfile_fini(&g);
	}
	secret_free(&text);
	pbs_keyfile_fini(&f);
	return 0;
}
