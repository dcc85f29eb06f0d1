/*
 * Any bytes as an archive: the frame, our block, the entries and their lists of
 * ids; first as they are, then with a right frame and a right digest around
 * them, so that the parts inside are reached.  The first byte says where the
 * second kind is cut.
 */

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "ddup/archive.h"
#include "ddup/ext.h"
#include "ddup/read.h"
#include "ddup/stream.h"
#include "ddup/walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static int
id(void *arg, uint64_t v, struct err *e)
{
	unsigned char hash[DDUP_HASH];
	uint32_t len;

	(void)e;
	(void)archive_chunk(arg, v, hash, &len);
	return 0;
}

static int
entry(void *arg, const struct aent *x, struct err *e)
{
	const struct archive *a = arg;
	const char *name = entry_name(x->en.path);

	(void)e;
	if (strcmp(name, "..") == 0 || strcmp(name, ".") == 0 ||
	    x->en.path[0] == '/' || strlen(x->en.path) > ENTRY_PATH_MAX ||
	    (*name == '\0' && *x->en.path != '\0') ||
	    (x->en.type == ENTRY_FILE && x->body.size > 0 &&
	    x->body.off + x->body.stored > a->at))
		__builtin_trap();
	return 0;
}

static void
read_it(struct ddup *r)
{
	struct ddup_read how = { 1, true };
	struct err e = ERR_INIT;
	struct archive a;
	struct reader *in;
	const struct entry *en;
	struct content *c;
	unsigned char p[512];
	int i;

	if (archive_open(&a, r, "x", &e) == 0) {
		(void)each_id(&a, id, entry, &a, &e);
		archive_close(&a);
	}
	err_clear(&e);
	if ((in = ddup_reader(r, "x", NULL, 0, &how, &e)) == NULL)
		return;
	for (i = 0; i < 200 && reader_next(in, &en, &c, &e) == 1; i++)
		if (c != NULL)
			(void)content_read(c, p, sizeof(p), &e);
	reader_close(in);
}

static void
deflate_to(struct dsink *d, const uint8_t *p, size_t n)
{
	dsink_begin(d, 0);
	dsink_put(d, p, n);
	dsink_end(d);
}

/* p: n bytes: extras, then as many of entries, count of them first. */
static int
framed(int fd, const uint8_t *p, size_t n, struct err *e)
{
	unsigned char fixed[EXT_LEAST] = { EXT_VERSION }, tail[16], *all;
	struct dsink *d;
	size_t cut = n > 1 ? 1 + p[0] % n : 0;
	uint64_t at, len;
	int ret = -1;

	if (n < 2 || (d = dsink_new(fd, "x", e)) == NULL)
		return -1;
	dsink_put(d, "DDUPBAK\1", 8);
	dsink_put(d, p, n < 64 ? n : 64);
	at = dsink_pos(d);
	deflate_to(d, p + 1, cut - 1);
	len = dsink_pos(d) - at;
	put_le64(fixed + 8, p[1]);
	put_le64(fixed + 16, len);
	if (dsink_flush(d, e) == -1 ||
	    (all = malloc((size_t)len + EXT_FIXED)) == NULL)
		goto out;
	if (file_pread_full(fd, all, (size_t)len, at) == (ssize_t)len) {
		memcpy(all + len, fixed, EXT_FIXED);
		blake2b(all, (size_t)len + EXT_FIXED, fixed + EXT_FIXED);
		ret = 0;
	}
	free(all);
	dsink_put(d, fixed, sizeof(fixed));
	put_le64(tail, len + sizeof(fixed));
	memcpy(tail + 8, EXT_MAGIC, 8);
	dsink_put(d, tail, sizeof(tail));
	at = dsink_pos(d);
	deflate_to(d, p + cut, n - cut);
	put_le64(tail, p[1]);
	put_le64(tail + 8, at);
	dsink_put(d, tail, sizeof(tail));
	if (dsink_flush(d, e) == -1)
		ret = -1;
out:
	dsink_free(d);
	return ret;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct ddup_how how = { .use = DDUP_LOOK };
	char name[] = "/tmp/cala-fuzz.XXXXXX";
	struct err e = ERR_INIT;
	struct ddup *r = NULL;
	struct log log;
	int dir, fd = -1;

	if (mkdtemp(name) == NULL)
		return 0;
	log_init(&log, NULL, "fuzz");
	dir = open(name, O_RDONLY | O_DIRECTORY);
	(void)mkdirat(dir, ".ddup-bak", 0700);
	(void)mkdirat(dir, ".ddup-bak/archives", 0700);
	(void)mkdirat(dir, ".ddup-bak/chunks", 0700);
	fd = openat(dir, ".ddup-bak/archives/x.ddup", O_RDWR | O_CREAT, 0600);
	if (fd != -1 && file_write_all(fd, p, n) == 0 &&
	    ddup_open(&r, dir, &how, &log, &e) == 0) {
		read_it(r);
		err_clear(&e);
		if (ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0 &&
		    framed(fd, p, n, &e) == 0)
			read_it(r);
		ddup_close(r);
	}
	if (fd != -1)
		close(fd);
	(void)unlinkat(dir, ".ddup-bak/archives/x.ddup", 0);
	(void)unlinkat(dir, ".ddup-bak/archives", AT_REMOVEDIR);
	(void)unlinkat(dir, ".ddup-bak/chunks", AT_REMOVEDIR);
	(void)unlinkat(dir, ".ddup-bak", AT_REMOVEDIR);
	close(dir);
	(void)rmdir(name);
	log_fini(&log);
	return 0;
}
