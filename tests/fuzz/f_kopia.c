/* What Kopia prints: folders, manifests, messages; and paths as its rules. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "exec/kopia.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
manifest(const char *text, size_t n)
{
	struct err e = ERR_INIT;
	json_t *o = json_parse(text, n, "fuzz", &e), *want;
	const char *path, *why;
	struct kopia_snap s;
	size_t i;

	if (o == NULL)
		return;
	if (kopia_snap(o, &s, &e) == 0)
		for (i = 0; kopia_error(&s, i, &path, &why) &&
		    kopia_pin(&s, "cala.", i) != NULL; i++)
			if (path == NULL || why == NULL)
				abort();
	/* Whatever it is, as a policy it becomes one that is right. */
	if (json_is_object(o) &&
	    (want = kopia_policy_want(o, NULL, 0, "zstd", &e)) != NULL) {
		if (kopia_policy_rules(want) != 0 ||
		    !kopia_policy_good(want, "zstd"))
			abort();
		json_decref(want);
	}
	json_decref(o);
}

static void
folder(const char *text, size_t n)
{
	struct err e = ERR_INIT;
	struct kopia_dir d;
	size_t i;

	if (kopia_dir(text, n, "fuzz", &d, &e) == -1)
		return;
	for (i = 0; i < d.n; i++)
		if (strchr(d.v[i].en.path, '/') != NULL ||
		    *d.v[i].en.path == '\0' || !kopia_oid_ok(d.v[i].oid) ||
		    (d.v[i].en.mode & ~07777u) != 0)
			abort();
	kopia_dir_fini(&d);
}

/* Nothing larger than its digits say. */
static void
tar(const uint8_t *p, size_t n)
{
	uint64_t size;

	if (n >= KOPIA_TAR && kopia_tar_file(p, &size) && size >> 36 != 0)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char *text = str_ndup((const char *)p, n);
	struct buf b;

	if (text == NULL)
		return 0;
	manifest(text, n);
	folder(text, n);
	tar(p, n);
	(void)kopia_class(text);
	(void)kopia_too_old(text);
	buf_init(&b, 1 << 20);
	kopia_literal(text, &b);
	buf_reset(&b);
	(void)kopia_pattern(text, &b);
	buf_fini(&b);
	free(text);
	return 0;
}
