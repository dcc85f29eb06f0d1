/* archive: the file's frame, and our block in it. */

#include "ddup/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/bytes.h"
#include "base/code.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "ddup/ext.h"
#include "ddup/stream.h"

enum { LEAST_MAPPED = 1 + 1 + DDUP_HASH };

void
archive_close(struct archive *a)
{
	if (a->fd != -1)
		close(a->fd);
	free(a->map);
	free(a->links);
	a->fd = -1;
	a->map = NULL;
	a->links = NULL;
}

static int
wrong(const struct archive *a, const char *why, struct err *e)
{
	return err_set(e, CALA_INTEGRITY, "%s: %s", str_q(a->name), why);
}

static int
read_at(const struct archive *a, void *p, size_t n, uint64_t off,
    struct err *e)
{
	ssize_t got = file_pread_full(a->fd, p, n, off);

	if (got == -1)
		return err_sys(e, "read %s", str_q(a->name));
	return (size_t)got == n ? 0 : wrong(a, "cut short", e);
}

static int
frame(struct archive *a, struct err *e)
{
	unsigned char head[ARCHIVE_HEAD], trail[ARCHIVE_TRAIL];

	if (a->size < ARCHIVE_LEAST)
		return wrong(a, "too short for an archive", e);
	if (read_at(a, head, sizeof(head), 0, e) == -1 ||
	    read_at(a, trail, sizeof(trail), a->size - ARCHIVE_TRAIL, e) == -1)
		return -1;
	if (memcmp(head, "DDUPBAK", 7) != 0)
		return wrong(a, "not an archive of ddup-bak", e);
	if (head[7] != 1)
		return err_set(e, CALA_INTEGRITY, "%s: version %u is not known",
		    str_q(a->name), head[7]);
	a->top = get_le64(trail);
	a->at = get_le64(trail + 8);
	if (a->at < ARCHIVE_HEAD || a->at > a->size - ARCHIVE_TRAIL)
		return wrong(a, "its end is not where an archive's is: cut "
		    "short or still being written", e);
	if (a->top > ARCHIVE_CHILDREN)
		return wrong(a, "too many entries", e);
	return 0;
}

/* 1: what is hashed is what was hashed, 0: it is not, -1. */
static int
ext_sound(const struct archive *a, uint64_t off, uint64_t len,
    const unsigned char *want, struct err *e)
{
	unsigned char md[BLAKE2B_LEN], *buf = malloc(65536);
	struct blake2b *h = blake2b_new(e);
	int ret = -1;
	size_t n;

	if (buf == NULL)
		err_oom(e);
	if (h == NULL || buf == NULL)
		goto out;
	for (; len > 0; len -= n, off += n) {
		n = len < 65536 ? (size_t)len : 65536;
		if (read_at(a, buf, n, off, e) == -1)
			goto out;
		blake2b_add(h, buf, n);
	}
	blake2b_end(h, md);
	ret = memcmp(md, want, sizeof(md)) == 0;
out:
	blake2b_free(h);
	free(buf);
	return ret;
}

int
archive_sum(const struct archive *a, char out[64], struct err *e)
{
	unsigned char md[20], *buf = malloc(65536);
	EVP_MD_CTX *h = EVP_MD_CTX_new();
	uint64_t off = 0;
	int len, ret = -1;
	size_t n;

	if (buf == NULL || h == NULL ||
	    EVP_DigestInit_ex(h, EVP_sha1(), NULL) != 1) {
		err_set(e, CALA_FAIL, "no SHA-1");
		goto out;
	}
	for (; off < a->size; off += n) {
		n = a->size - off < 65536 ? (size_t)(a->size - off) : 65536;
		if (read_at(a, buf, n, off, e) == -1)
			goto out;
		EVP_DigestUpdate(h, buf, n);
	}
	EVP_DigestFinal_ex(h, md, NULL);
	len = snprintf(out, 64, "%" PRIu64 "-", a->size);
	hex_put(md, sizeof(md), out + len);
	ret = 0;
out:
	EVP_MD_CTX_free(h);
	free(buf);
	return ret;
}

static int
by_id(const void *va, const void *vb)
{
	const struct amap *a = va, *b = vb;

	return a->id < b->id ? -1 : a->id > b->id;
}

static int
ext_map(struct archive *a, uint64_t off, uint64_t len, uint64_t n,
    struct err *e)
{
	struct dstream *s = NULL;
	bool sorted = true;
	struct amap *m;
	int ret = -1;

	if (n > len / LEAST_MAPPED)
		return wrong(a, "its block maps more chunks than it can", e);
	a->map = calloc((size_t)n + 1, sizeof(*a->map));
	if (a->map == NULL)
		return err_oom(e);
	if ((s = dstream_new(a->fd, a->name, e)) == NULL ||
	    dstream_set(s, off, len, DDUP_NONE, len, e) == -1)
		goto out;
	for (; a->nmap < n; a->nmap++) {
		m = &a->map[a->nmap];
		if (dstream_varint(s, &m->id, e) == -1 ||
		    dstream_varint32(s, &m->len, e) == -1 ||
		    dstream_get(s, m->hash, DDUP_HASH, e) == -1)
			goto out;
		sorted = sorted && (a->nmap == 0 || m[-1].id < m->id);
	}
	if (!sorted)
		qsort(a->map, a->nmap, sizeof(*a->map), by_id);
	ret = 0;
out:
	dstream_free(s);
	return ret;
}

/*
 * Anything wrong with the block makes an archive without one; a disk that
 * can't be read does not.
 */
static int
ext_open(struct archive *a, struct err *e)
{
	unsigned char tail[EXT_TAIL], fixed[EXT_LEAST];
	uint64_t len, off, map_len, n;
	int r;

	if (a->at < ARCHIVE_HEAD + EXT_TAIL + EXT_LEAST)
		return 0;
	if (read_at(a, tail, sizeof(tail), a->at - EXT_TAIL, e) == -1)
		return -1;
	len = get_le64(tail);
	if (memcmp(tail + 8, EXT_MAGIC, 8) != 0 || len < EXT_LEAST ||
	    len > a->at - EXT_TAIL - ARCHIVE_HEAD)
		return 0;
	off = a->at - EXT_TAIL - len;
	if (read_at(a, fixed, sizeof(fixed), off + len - EXT_LEAST, e) == -1)
		return -1;
	if (fixed[0] != EXT_VERSION)
		return 0;
	r = ext_sound(a, off, len - EXT_DIGEST, fixed + EXT_FIXED, e);
	if (r != 1) {
		if (r == 0)
			log_warn(a->r->log, "%s: what only cala keeps of it "
			    "is damaged, and not used", str_q(a->name));
		return r;
	}
	a->entries = get_le64(fixed + 8);
	a->extras_len = get_le64(fixed + 16);
	n = get_le64(fixed + 24);
	map_len = get_le64(fixed + 32);
	len -= EXT_LEAST;
	if (a->extras_len > len || map_len != len - a->extras_len)
		return wrong(a, "its block contradicts itself", e);
	a->extras = off;
	a->sorted = (fixed[1] & EXT_SORTED) != 0;
	a->ext = true;
	return ext_map(a, off + a->extras_len, map_len, n, e);
}

int
archive_open_at(struct archive *a, struct ddup *r, int dirfd,
    const char *file, struct err *e)
{
	struct stat st;

	memset(a, 0, sizeof(*a));
	a->r = r;
	snprintf(a->name, sizeof(a->name), "%.*s", DDUP_FILE - 1, file);
	a->fd = openat(dirfd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
	    O_CLOEXEC);
	if (a->fd == -1)
		return err_sys(e, "%s", str_q(file));
	if (fstat(a->fd, &st) == -1) {
		err_sys(e, "%s", str_q(file));
		goto fail;
	}
	if (!S_ISREG(st.st_mode)) {
		wrong(a, "not a regular file", e);
		goto fail;
	}
	a->size = (uint64_t)st.st_size;
	if (frame(a, e) == -1 || ext_open(a, e) == -1 ||
	    (!a->ext && repo_index(r, e) == -1))
		goto fail;
	return 0;
fail:
	archive_close(a);
	return -1;
}

int
archive_open(struct archive *a, struct ddup *r, const char *name,
    struct err *e)
{
	char file[DDUP_FILE];

	memset(a, 0, sizeof(*a));
	a->fd = -1;
	if (*name == '\0' || strlen(name) > DDUP_NAME_MAX ||
	    strchr(name, '/') != NULL)
		return err_set(e, CALA_USAGE, "'%s' is no name for an "
		    "archive", str_q(name));
	name_archive(file, name);
	if (archive_open_at(a, r, r->archives, file, e) == 0)
		return 0;
	return e->code != CALA_NOTFOUND ? -1 : err_set(e, CALA_NOTFOUND,
	    "no backup %s", str_q(name));
}

/* The file alone, without a look at what is in it. */
static int
bare(struct archive *a, struct ddup *r, const char *name, struct err *e)
{
	struct stat st;

	memset(a, 0, sizeof(*a));
	a->r = r;
	a->fd = -1;
	if (!ddup_name_ok(name))
		return err_set(e, CALA_USAGE, "'%s' is no name for an "
		    "archive", str_q(name));
	name_archive(a->name, name);
	a->fd = openat(r->archives, a->name, O_RDONLY | O_NOFOLLOW |
	    O_NONBLOCK | O_CLOEXEC);
	if (a->fd == -1 || fstat(a->fd, &st) == -1)
		return err_sys(e, "%s", str_q(a->name));
	if (!S_ISREG(st.st_mode))
		return wrong(a, "not a regular file", e);
	a->size = (uint64_t)st.st_size;
	return 0;
}

int
ddup_sound(struct ddup *r, const char *name, const char *want, struct err *e)
{
	struct archive a;
	char sum[64];
	int ret = -1;

	if (bare(&a, r, name, e) == 0 && archive_sum(&a, sum, e) == 0)
		ret = strcmp(sum, want) == 0 ? 0 : err_set(e,
		    CALA_INTEGRITY, "%s: its checksum is not the record's: "
		    "%s, not %s", str_q(a.name), sum, str_q(want));
	archive_close(&a);
	return ret;
}

int
ddup_ended(struct ddup *r, const char *name, struct err *e)
{
	struct archive a;
	struct err why = ERR_INIT;
	int ret = 1;

	if (bare(&a, r, name, &why) == -1 || frame(&a, &why) == -1) {
		ret = why.code == CALA_INTEGRITY ? 0 : -1;
		if (ret == -1)
			*e = why;
	}
	archive_close(&a);
	return ret;
}

bool
archive_foreign(const struct ddup *r, const char *name, struct stat *st)
{
	struct archive a = { .fd = -1 };
	struct err ignored = ERR_INIT;
	unsigned char magic[8];
	bool yes = false;

	name_archive(a.name, name);
	a.fd = openat(r->archives, a.name, O_RDONLY | O_NOFOLLOW |
	    O_NONBLOCK | O_CLOEXEC);
	if (a.fd == -1)
		return false;
	if (fstat(a.fd, st) == 0 && S_ISREG(st->st_mode)) {
		a.size = (uint64_t)st->st_size;
		yes = frame(&a, &ignored) == 0 && (a.at < ARCHIVE_HEAD +
		    EXT_TAIL || (read_at(&a, magic, sizeof(magic), a.at -
		    sizeof(magic), &ignored) == 0 && memcmp(magic, EXT_MAGIC,
		    sizeof(magic)) != 0));
	}
	archive_close(&a);
	return yes;
}

bool
archive_chunk(const struct archive *a, uint64_t id, unsigned char *hash,
    uint32_t *len)
{
	struct amap key = { .id = id }, *m;
	uint32_t ref;

	if (a->ext) {
		m = bsearch(&key, a->map, a->nmap, sizeof(key), by_id);
		if (m == NULL)
			return false;
		memcpy(hash, m->hash, DDUP_HASH);
		*len = m->len;
		return true;
	}
	if ((ref = index_id(&a->r->ix, id)) == INDEX_NONE)
		return false;
	memcpy(hash, index_hash(&a->r->ix, ref), DDUP_HASH);
	*len = index_word(&a->r->ix, ref) & INDEX_LEN;
	return true;
}
