/*
 * Any bytes as chunks/index: first as they are, then as what the deflate stream
 * holds, so that the fuzzer need not invent compression.  What was read is
 * whole enough to be saved, and what was saved is read again.
 */

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "ddup/index.h"
#include "ddup/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
load(int dir, struct log *log)
{
	struct err e = ERR_INIT;
	struct index ix;
	uint32_t i;

	index_init(&ix);
	if (index_load(&ix, dir, "index", log, &e) == 0) {
		for (i = 0; i < ix.n; i++) {
			if (index_find(&ix, index_hash(&ix, i)) == INDEX_NONE)
				__builtin_trap();
			(void)index_id(&ix, index_get_id(&ix, i));
		}
		if (ix.damage[0] == '\0') {
			for (i = 0; i < ix.n; i++)
				if (index_id(&ix, index_get_id(&ix, i)) != i)
					__builtin_trap();
			if (index_reload(&ix, dir, "index", log, &e) == -1 ||
			    ix.damage[0] != '\0')
				__builtin_trap();
		}
	}
	index_fini(&ix);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char name[] = "/tmp/cala-fuzz.XXXXXX";
	struct err e = ERR_INIT;
	struct dsink *d;
	struct log log;
	int dir, fd;

	if (mkdtemp(name) == NULL)
		return 0;
	log_init(&log, NULL, "fuzz");
	dir = open(name, O_RDONLY | O_DIRECTORY);
	fd = openat(dir, "index", O_RDWR | O_CREAT, 0600);
	if (dir != -1 && fd != -1 && file_write_all(fd, p, n) == 0) {
		load(dir, &log);
		if (ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0 &&
		    (d = dsink_new(fd, "index", &e)) != NULL) {
			dsink_begin(d, 0);
			dsink_put(d, p, n);
			dsink_end(d);
			(void)dsink_flush(d, &e);
			dsink_free(d);
			load(dir, &log);
		}
	}
	(void)unlinkat(dir, "index", 0);
	close(fd);
	close(dir);
	(void)rmdir(name);
	log_fini(&log);
	return 0;
}
