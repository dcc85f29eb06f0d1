/*
 * Any text as an endpoint, a layout, an ETag: what is accepted is within
 * limits, and what is made of it needs no further escaping.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "s3/attr.h"
#include "s3/target.h"
#include "s3/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
endpoint(const char *text)
{
	struct err e = ERR_INIT;
	char region[REGION_MAX];
	struct s3_place p;
	struct buf b;

	if (s3_place_parse(text, &p, &e) == -1)
		return;
	buf_init(&b, 8192);
	s3_place_host(&p, s3_place_style(&p, "bkt", S3_AUTO), "bkt", &b);
	if (buf_failed(&b, &e) == -1 || strpbrk(b.p, " /?#@\r\n%") != NULL)
		__builtin_trap();
	buf_reset(&b);
	s3_place_path(&p, S3_PATH, "bkt", "k", &b);
	if (b.p[0] != '/' || strpbrk(b.p, " ?#\r\n") != NULL)
		__builtin_trap();
	buf_fini(&b);
	if (s3_place_region(&p, region) == 0 && region[0] == '\0')
		__builtin_trap();
	(void)s3_place_trusts(&p, text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	uint64_t begin, end, total = 1 + n * 1000003;
	unsigned char md[16];
	struct layout l;
	unsigned parts;
	char *s;

	if ((s = malloc(n + 1)) == NULL)
		return 0;
	if (n > 0)
		memcpy(s, p, n);
	s[n] = '\0';
	endpoint(s);
	if (layout_parse(s, &l) == 0 &&
	    layout_part(&l, total - 1, total, &begin, &end) &&
	    (begin >= end || end != total))
		__builtin_trap();
	if (attr_etag(s, md) && attr_etag_parts(s, md, &parts))
		__builtin_trap();
	if (attr_etag_parts(s, md, &parts) && (parts < 1 || parts > S3_PARTS))
		__builtin_trap();
	free(s);
	return 0;
}
