/*
 * Any bytes as an archive: every entry, every content, on one thread and on
 * two, with the limits that hold memory.
 */

#include <stddef.h>
#include <stdint.h>

#include "archive/archive.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct archive_read how = { .jobs = 1 + (n & 1), .max_size = 4 << 20,
	    .max_entries = 10000, .spool_dir = "/tmp", .spool = 1 << 20 };
	struct archive_facts f;
	struct err e = ERR_INIT;
	const struct entry *en;
	struct content *c;
	struct source *in = source_mem(p, n, &e);
	struct reader *r;
	struct log log;
	unsigned char buf[5000];
	uint64_t k = 0;

	log_init(&log, NULL, "f");
	r = archive_reader(in, &how, &log, &e);
	while (r != NULL && reader_next(r, &en, &c, &e) == 1) {
		if (en->path[0] == '/' || (en->nextents > 0 &&
		    en->extents[en->nextents - 1].off +
		    en->extents[en->nextents - 1].len > en->size))
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
	source_close(in);
	log_fini(&log);
	return 0;
}
