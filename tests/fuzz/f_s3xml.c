/* Any bytes as a document of a store: walked, its root, as an error. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "s3/xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static int
one(void *arg, const char *path, const char *text, struct err *e)
{
	size_t *n = arg;

	(void)e;
	if (strlen(path) >= XML_PATH || strlen(text) > XML_TEXT)
		__builtin_trap();
	return ++*n > 100000;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct err e = ERR_INIT;
	struct xml_error x;
	char root[16];
	size_t seen = 0;

	(void)xml_walk((const char *)p, n, one, &seen, &e);
	xml_root((const char *)p, n, root, sizeof(root));
	if (strlen(root) >= sizeof(root))
		__builtin_trap();
	if (xml_error((const char *)p, n, &x) && strcmp(root, "Error") != 0)
		__builtin_trap();
	return 0;
}
