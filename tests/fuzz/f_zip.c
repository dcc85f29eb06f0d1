/*
 * Any bytes as the file of a zip or a 7z: their ends, which are ours to
 * check, and what is in them, read and skipped; then the same as a tree.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "archive/archive.h"
#include "archive/lar.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "../unit/io_mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
ends(const uint8_t *p, size_t n)
{
	struct archive_facts f = { .proof = PROOF_NONE };
	struct zip_end z;
	uint64_t whole;
	size_t k = n < ZIP_TAIL ? n : ZIP_TAIL;

	if (zip_end(p + n - k, k, n, &z) == 0) {
		if (z.dir > n || z.dir_len > n - z.dir ||
		    z.comment < p || z.comment_len > (size_t)(p + n -
		    z.comment))
			__builtin_trap();
		zip_facts(&z, &f);
	}
	if (n >= 32)
		sevenz_end(p, &whole);
}

static int
seen(void *arg, const struct entry *en, struct err *e)
{
	(void)e;
	if (en->path[0] == '/')
		__builtin_trap();
	return ++*(int *)arg == 100;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct archive_read how = { .jobs = 1, .max_size = 4 << 20,
	    .max_entries = 1000 };
	struct archive_facts f;
	struct err e = ERR_INIT;
	struct mem_ranged in;
	struct reader *r;
	const struct entry *en;
	struct content *c;
	struct tree *t;
	struct log log;
	unsigned char buf[5000];
	int k = 0;

	ends(p, n);
	/* tars are another target's */
	if (n < 4 || (p[0] != 'P' && p[0] != '7'))
		return 0;
	log_init(&log, NULL, "f");
	mr_init(&in, p, n);
	r = archive_reader_at(&in.r, &how, &log, &e);
	while (r != NULL && reader_next(r, &en, &c, &e) == 1) {
		if (en->path[0] == '/')
			__builtin_trap();
		if (c != NULL && k++ % 3 != 0)
			while (content_read(c, buf, sizeof(buf), &e) > 0)
				;
		else if (c != NULL && content_skip(c, c->size / 2, &e) == 0)
			content_read(c, buf, sizeof(buf), &e);
	}
	if (r != NULL)
		archive_reader_facts(r, &f);
	reader_close(r);
	err_clear(&e);
	k = 0;
	if ((t = archive_tree(&in.r, &how, &log, &e)) != NULL) {
		t->ops->list(t, "", seen, &k, &e);
		t->ops->close(t);
	}
	log_fini(&log);
	return 0;
}
