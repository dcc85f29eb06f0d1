/*
 * Ignore rules: lines up to an empty one are rules, the rest are paths.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "entry/match.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const char *s = (const char *)p, *end = s + n, *nl;
	struct err e = ERR_INIT;
	struct match *m = match_new(&e);
	bool rules = true;
	char *path;

	if (m == NULL || n > 4096)
		goto out;
	for (; s < end; s = nl + 1) {
		if ((nl = memchr(s, '\n', (size_t)(end - s))) == NULL)
			nl = end;
		if (rules && nl == s) {
			rules = false;
			continue;
		}
		if (rules) {
			match_add(m, s, (size_t)(nl - s), &e);
			continue;
		}
		if ((path = str_ndup(s, (size_t)(nl - s))) == NULL)
			break;
		/* A file is never only descended into. */
		if (match_path(m, path, false) == MATCH_DESCEND)
			abort();
		match_path(m, path, true);
		free(path);
	}
out:
	match_free(m);
	return 0;
}
