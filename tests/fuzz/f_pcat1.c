/* Any bytes as a catalog: the root, and what the first directories hold. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "base/io.h"
#include "pxar/pxar.h"
#include "../unit/io_mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static int
first(void *arg, const struct entry *en, struct err *e)
{
	char *path = arg;
	size_t n = strlen(en->path);

	(void)e;
	if (n == 0 || n > 65535)
		__builtin_trap();
	if (en->type != ENTRY_DIR || n > 4000)
		return 0;
	memcpy(path, en->path, n + 1);
	return 1;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct mem_ranged m;
	struct err e = ERR_INIT;
	char path[4001] = "", up[4001];
	int i;

	mr_init(&m, p, n);
	for (i = 0; i < 8; i++) {
		memcpy(up, path, sizeof(up));
		if (pcat_list(&m.r, up, first, path, &e) != 1)
			break;
	}
	return 0;
}
