/*
 * Any bytes as a pxar archive: as a stream, as a tree from its end, and one
 * name of it.  What lies behind the first PAYLOAD_START_MARKER is the payload
 * stream; the first byte says how to read.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "pxar/item.h"
#include "pxar/pxar.h"
#include "../unit/io_mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
all(struct reader *r, unsigned how, struct err *e)
{
	const struct entry *en;
	struct content *c;
	unsigned char buf[5000];

	while (r != NULL && reader_next(r, &en, &c, e) == 1) {
		if (en->path[0] == '/' || (en->type == ENTRY_SYMLINK &&
		    en->target == NULL))
			__builtin_trap();
		if (c != NULL && (how & 2) != 0)
			while (content_read(c, buf, sizeof(buf), e) > 0)
				;
		else if (c != NULL && content_skip(c, c->size / 2, e) == 0)
			content_read(c, buf, sizeof(buf), e);
	}
	reader_close(r);
}

static int
each(void *arg, const struct entry *en, struct err *e)
{
	struct entry st;
	struct tree *t = arg;
	struct content *c;
	char path[300], buf[100];
	size_t n = strlen(en->path);

	if (n >= sizeof(path))
		return 0;
	memcpy(path, en->path, n + 1);
	if (t->ops->stat(t, path, &st, e) == 0 && st.type == ENTRY_FILE &&
	    (c = t->ops->open(t, path, 1, 1000, e)) != NULL)
		while (content_read(c, buf, sizeof(buf), e) > 0)
			;
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char *const some[] = { "dir/link" };
	struct pxar_read how = { .max_size = 4 << 20, .max_entries = 10000 };
	struct mem_ranged meta, payload;
	struct source *ms, *ps = NULL;
	struct err e = ERR_INIT;
	struct tree *t;
	struct log log;
	unsigned char mark[8];
	unsigned k;
	size_t i;

	if (n == 0)
		return 0;
	k = *p++;
	n--;
	put_le64(mark, PXAR_PAYLOAD_START);
	for (i = 0; i + 8 <= n && memcmp(p + i, mark, 8) != 0; i++)
		;
	if (i + 8 > n)
		i = n;
	mr_init(&meta, p, i);
	mr_init(&payload, p + i, n - i);
	log_init(&log, NULL, "f");
	if ((k & 1) == 0) {
		ms = source_mem(p, i, &e);
		if (n > i)
			ps = source_mem(p + i, n - i, &e);
		all(pxar_reader(ms, ps, &how, &log, &e), k, &e);
		source_close(ms);
		source_close(ps);
	} else if ((t = pxar_tree(&meta.r, n > i ? &payload.r : NULL, &how,
	    &log, &e)) != NULL) {
		t->ops->list(t, "", each, t, &e);
		t->ops->list(t, "dir", each, t, &e);
		all(t->ops->reader(t, some, (k & 4) != 0, &e), k, &e);
		t->ops->close(t);
	}
	log_fini(&log);
	return 0;
}
