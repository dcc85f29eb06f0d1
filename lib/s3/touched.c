/* touched: when somebody last worked on an upload (ListParts, s3.md 2.9). */

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "base/when.h"
#include "s3/client.h"

enum { PAGE_MAX = 8 << 20 };

struct parts {
	time_t last;
	bool truncated, rooted;
	char next[24];
};

static int
on_part(void *arg, const char *path, const char *text, struct err *e)
{
	struct parts *p = arg;
	struct timespec t;
	uint64_t n;

	if (!str_begins(path, "ListPartsResult"))
		return err_set(e, CALA_INTEGRITY, "the answer is no list of "
		    "parts but %s", str_q(path));
	p->rooted = true;
	if (str_ends(path, "/Part/LastModified") &&
	    when_rfc3339(text, &t) == 0 && t.tv_sec > p->last)
		p->last = t.tv_sec;
	else if (str_ends(path, "/IsTruncated"))
		p->truncated = strcmp(text, "true") == 0;
	else if (str_ends(path, "/NextPartNumberMarker") &&
	    str_u64(text, 1, S3_PARTS, &n) == 0)
		snprintf(p->next, sizeof(p->next), "%u", (unsigned)n);
	return 0;
}

int
s3_touched(struct s3 *s, const char *key, const char *id, time_t *t,
    struct err *e)
{
	struct parts p = { .last = 0 };
	char mark[24] = "";
	struct buf b;
	int ret;

	buf_init(&b, PAGE_MAX);
	do {
		const char *q[] = { "uploadId", id, "max-parts", "1000",
		    mark[0] != '\0' ? "part-number-marker" : NULL, mark,
		    NULL };
		struct s3_call c = { .method = "GET", .key = key, .query = q,
		    .answer = &b, .cap = PAGE_MAX };

		p.truncated = p.rooted = false;
		p.next[0] = '\0';
		if ((ret = s3_call(s, &c, e)) == -1 ||
		    (ret = xml_walk(b.p, b.len, on_part, &p, e)) == -1)
			break;
		if (p.truncated && (p.next[0] == '\0' ||
		    strcmp(p.next, mark) == 0)) {
			ret = err_set(e, CALA_INTEGRITY, "a list of parts is "
			    "cut and does not say where it goes on");
			break;
		}
		memcpy(mark, p.next, sizeof(mark));
	} while (p.truncated);
	if (ret == 0)
		*t = p.last;
	buf_fini(&b);
	return ret;
}
