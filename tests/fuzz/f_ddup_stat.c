/*
 * Any bytes as what a backup noted of files: as they are, and under a head and a
 * sum that are right, as whoever may write to the repository can make them.
 * What is found keeps to the file, and another one is written beside it.
 */

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "ddup/statcache.h"
#include "entry/entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

enum { HEAD = 64, RECORD = 56, CHUNK = 36, TAIL = 32, LEAST = 4, PATHS = 4 };

static const char server[] = "0b0e0c00-0000-4000-8000-000000000001";
static const char file[] = ".0b0e0c00-0000-4000-8000-000000000001.cala-stat";

static void
look(int dir, struct log *log, const uint8_t *p, size_t n)
{
	struct stat_old *o = stat_old_open(dir, server, log);
	struct stat_hit hit = { NULL, 0, 0, 0 };
	struct entry en;
	char path[] = "a";
	unsigned i;

	for (i = 0; o != NULL && i < PATHS; i++) {
		path[0] = (char)('a' + i);
		memset(&en, 0, sizeof(en));
		en.type = ENTRY_FILE;
		en.path = path;
		/* The first record's, so that something is found. */
		if (n >= RECORD) {
			en.size = get_le64(p + 8);
			en.mtime.tv_sec = (time_t)get_le64(p + 16);
			en.mtime.tv_nsec = (long)get_le32(p + 24);
			en.ctime.tv_sec = (time_t)get_le64(p + 28);
			en.ctime.tv_nsec = (long)get_le32(p + 36);
			en.ino = get_le64(p + 40);
		}
		if (stat_old_find(o, &en, i % 2 == 1, &hit) &&
		    hit.n > n / CHUNK)
			__builtin_trap();
	}
	free(hit.v);
	stat_old_free(o);
}

/* The first record gets the key of the path "a" under the seed 0. */
static void
dress(const uint8_t *p, size_t n, unsigned char *out)
{
	unsigned char *tail = out + HEAD + n;
	XXH128_canonical_t c;
	uint64_t count = n >= LEAST ? get_le32(p + n - LEAST) % 64 : 0;

	memset(out, 0, HEAD);
	memcpy(out, "CALASTAT", 8);
	put_le32(out + 8, 1);
	memcpy(out + 24, server, strlen(server));
	memcpy(out + HEAD, p, n);
	if (n >= RECORD)
		put_le64(out + HEAD, XXH3_64bits_withSeed("a", 1, 0));
	put_le64(tail, count);
	put_le64(tail + 8, HEAD + n + 8);
	XXH128_canonicalFromHash(&c, XXH3_128bits(out, HEAD + n + 16));
	memcpy(tail + 16, &c, 16);
}

static void
with(int dir, struct log *log, const void *p, size_t n, const uint8_t *first,
    size_t left)
{
	int fd = openat(dir, file, O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (fd == -1)
		return;
	if (file_write_all(fd, p, n) == 0)
		look(dir, log, first, left);
	close(fd);
	(void)unlinkat(dir, file, 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char name[] = "/tmp/cala-fuzz.XXXXXX";
	unsigned char *q = malloc(HEAD + n + TAIL);
	struct log log;
	int dir;

	if (q == NULL || mkdtemp(name) == NULL) {
		free(q);
		return 0;
	}
	log_init(&log, NULL, "fuzz");
	if ((dir = open(name, O_RDONLY | O_DIRECTORY)) != -1) {
		with(dir, &log, p, n, p, n);
		dress(p, n, q);
		with(dir, &log, q, HEAD + n + TAIL, p, n);
		close(dir);
	}
	(void)rmdir(name);
	log_fini(&log);
	free(q);
	return 0;
}
