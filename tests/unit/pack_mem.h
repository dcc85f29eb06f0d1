#ifndef CALA_TESTS_PACK_MEM_H
#define CALA_TESTS_PACK_MEM_H

/* An archive of made-up files in memory, as cala-pack writes it. */

#include "unit.h"
#include "io_mem.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/archive.h"
#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"

/* Content that compresses some, and differs at each place of each file. */
struct made {
	struct content c;
	uint64_t seed;
};

static inline unsigned char
made_byte(uint64_t seed, uint64_t at)
{
	uint64_t v = (at >> 3) * 0x9e3779b97f4a7c15ull + seed;

	return (unsigned char)((v >> 32 & 1) != 0 ? v >> 40 : 'a' + seed % 26);
}

static inline ssize_t
made_read(struct content *c, void *p, size_t n, struct err *e)
{
	struct made *m = (struct made *)c;
	size_t i;

	(void)e;
	for (i = 0; i < n; i++)
		((unsigned char *)p)[i] = made_byte(m->seed, c->pos + i);
	return (ssize_t)n;
}

static inline int
made_skip(struct content *c, uint64_t n, struct err *e)
{
	(void)c, (void)n, (void)e;
	return 0;
}

/* files of size bytes each in dDD/fNNNN, a link to the first, a symlink. */
static inline void
pack_mem(struct buf *out, const struct archive_write *how, unsigned files,
    uint64_t size, unsigned warnings)
{
	static const struct content_ops cops = { made_read, made_skip, NULL };
	struct err e = ERR_INIT;
	struct mem to;
	struct entry en;
	struct writer *w;
	struct made m;
	struct log log;
	char path[64];
	unsigned i;

	buf_reset(out);
	log_init(&log, NULL, "t");
	mem_init(&to);
	w = archive_writer(&to.s, how, &log, &e);
	if (w == NULL)
		fail_msg("%s", e.msg);
	memset(&en, 0, sizeof(en));
	en.uname = en.gname = "";
	en.type = ENTRY_DIR;
	en.mode = 0755;
	en.path = "";
	en.mtime.tv_sec = 1700000000;
	assert_ok(writer_put(w, &en, NULL, &e), &e);
	for (i = 0; i < files; i++) {
		en.type = ENTRY_DIR;
		en.mode = 0755;
		en.size = 0;
		snprintf(path, sizeof(path), "d%03u", i / 100);
		en.path = path;
		if (i % 100 == 0)
			assert_ok(writer_put(w, &en, NULL, &e), &e);
		snprintf(path, sizeof(path), "d%03u/f%05u", i / 100, i);
		en.type = ENTRY_FILE;
		en.mode = 0640;
		en.size = size;
		en.uid = 1000 + i % 7;
		memset(&m, 0, sizeof(m));
		m.c.ops = &cops;
		m.c.size = size;
		m.c.pos = 0;
		m.seed = i;
		assert_ok(writer_put(w, &en, &m.c, &e), &e);
	}
	en.size = 0;
	if (how->format != ARCHIVE_ZIP && how->format != ARCHIVE_7Z) {
		en.type = ENTRY_HARDLINK;
		en.path = "z-hard";
		en.target = "d000/f00000";
		en.size = 0;
		assert_ok(writer_put(w, &en, NULL, &e), &e);
		en.path = "z-hard2";
		assert_ok(writer_put(w, &en, NULL, &e), &e);
	}
	en.type = ENTRY_SYMLINK;
	en.path = "z-sym";
	en.target = "d000/f00000";
	assert_ok(writer_put(w, &en, NULL, &e), &e);
	while (warnings-- > 0)
		log_warn(&log, "made up");
	assert_ok(writer_commit(w, &e), &e);
	writer_free(w);
	log_fini(&log);
	assert_int_equal(buf_add(out, to.b.p, to.b.len), 0);
	buf_fini(&to.b);
}

#endif
