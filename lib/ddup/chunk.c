/* chunk: the files chunks/HH/HH/….chunk. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <brotli/decode.h>
#include <libdeflate.h>

#include "base/code.h"
#include "base/file.h"
#include "base/str.h"
#include "chunk/hashes.h"
#include "ddup/folder.h"
#include "ddup/loose.h"

enum { FIRST = 16 << 10, FEW = 4096 };

void
chunk_path(const unsigned char *hash, char out[CHUNK_PATH])
{
	hex_put(hash, 1, out);
	out[2] = '/';
	hex_put(hash + 1, 1, out + 3);
	out[5] = '/';
	hex_put(hash + 2, DDUP_HASH - 2, out + 6);
	memcpy(out + 66, ".chunk", 7);
}

size_t
chunk_cap(const struct ddup *r, uint64_t size)
{
	uint64_t cap = DDUP_CHUNK_MAX, two = 2 * (uint64_t)r->ix.chunk_size;

	if (two > cap && two <= (uint64_t)128 << 20)
		cap = two;
	/* Old releases doubled chunks until a file had few enough of them. */
	if (r->ix.max_count > 0 && size > cap)
		cap = size < (uint64_t)1 << 30 ? size : (uint64_t)1 << 30;
	return (size_t)cap;
}

struct decoder {
	struct libdeflate_decompressor *ld;
	unsigned char *in, *out;
	size_t in_room, out_room;
	size_t trailing;
};

struct decoder *
decoder_new(struct err *e)
{
	struct decoder *d = calloc(1, sizeof(*d));

	if (d == NULL || (d->ld = libdeflate_alloc_decompressor()) == NULL) {
		free(d);
		err_oom(e);
		return NULL;
	}
	return d;
}

void
decoder_free(struct decoder *d)
{
	if (d == NULL)
		return;
	libdeflate_free_decompressor(d->ld);
	free(d->in);
	free(d->out);
	free(d);
}

size_t
decoder_size(const struct decoder *d)
{
	return d->in_room + d->out_room;
}

size_t
decoder_trailing(const struct decoder *d)
{
	return d->trailing;
}

static int
room(unsigned char **p, size_t *have, size_t want, struct err *e)
{
	unsigned char *more;

	if (want <= *have)
		return 0;
	/* What was there is not needed any more. */
	free(*p);
	*p = NULL;
	*have = 0;
	if ((more = malloc(want)) == NULL)
		return err_oom(e);
	*p = more;
	*have = want;
	return 0;
}

static void
change(struct decoder *d, struct load *l)
{
	unsigned char *p = d->in;
	size_t n = d->in_room;

	d->in = l->buf;
	d->in_room = l->room;
	l->buf = p;
	l->room = n;
}

static int
slurp(struct decoder *d, int chunks, const char *path, struct load *l,
    size_t *n, struct err *e)
{
	struct stat st;
	ssize_t got;
	int fd, ret = -1;

	fd = openat(chunks, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
	    O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, "chunk %s", path);
	if (fstat(fd, &st) == -1) {
		err_sys(e, "chunk %s", path);
	} else if (!S_ISREG(st.st_mode) || st.st_size < 2 ||
	    (uint64_t)st.st_size > l->max + l->max / 8 + 4096) {
		err_set(e, CALA_INTEGRITY, "chunk %s: %jd bytes are no chunk",
		    path, (intmax_t)st.st_size);
	} else {
		/* As it is, by its size: plain() gives the memory back. */
		if (l->len > 0 && (size_t)st.st_size == l->len + 1)
			change(d, l);
		if (room(&d->in, &d->in_room, (size_t)st.st_size, e) == -1)
			goto out;
		got = file_read_full(fd, d->in, (size_t)st.st_size);
		/* A bad sector is damage of this chunk, not of the run. */
		if (got == -1 && errno == EIO)
			err_set(e, CALA_INTEGRITY, "chunk %s: the disk can't "
			    "read it", path);
		else if (got == -1)
			err_sys(e, "chunk %s", path);
		else if (got < 2)
			err_set(e, CALA_INTEGRITY, "chunk %s: cut short",
			    path);
		else
			ret = 0;
		*n = got > 0 ? (size_t)got : 0;
	}
out:
	close(fd);
	return ret;
}

/* One try into the room there is: 0; 1: too little room; -1: damaged. */
static int
inflate_once(struct decoder *d, size_t n, struct load *l)
{
	const unsigned char *p = d->in + 1;
	const uint8_t *next = p;
	uint8_t *to = l->buf;
	size_t used = 0, left = n - 1, space = l->room;
	enum libdeflate_result res;
	BrotliDecoderState *br;
	BrotliDecoderResult b;

	if (d->in[0] == DDUP_BROTLI) {
		br = BrotliDecoderCreateInstance(NULL, NULL, NULL);
		if (br == NULL)
			return -1;
		b = BrotliDecoderDecompressStream(br, &left, &next, &space,
		    &to, NULL);
		BrotliDecoderDestroyInstance(br);
		l->n = l->room - space;
		d->trailing = left;
		return b == BROTLI_DECODER_RESULT_SUCCESS ? 0 :
		    b == BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT ? 1 : -1;
	}
	res = d->in[0] == DDUP_GZIP ? libdeflate_gzip_decompress_ex(d->ld, p,
	    n - 1, l->buf, l->room, &used, &l->n) :
	    libdeflate_deflate_decompress_ex(d->ld, p, n - 1, l->buf,
	    l->room, &used, &l->n);
	d->trailing = n - 1 - used;
	return res == LIBDEFLATE_SUCCESS ? 0 :
	    res == LIBDEFLATE_INSUFFICIENT_SPACE ? 1 : -1;
}

static int
plain(struct decoder *d, const char *path, size_t n, struct load *l,
    struct err *e)
{
	size_t want = l->len > 0 ? l->len : 4 * n > FIRST ? 4 * n : FIRST;
	int r;

	d->trailing = 0;
	if (d->in[0] >= DDUP_CODES)
		return err_set(e, CALA_INTEGRITY, "chunk %s: compression %u "
		    "is unknown", path, d->in[0]);
	if (d->in[0] == DDUP_NONE) {
		change(d, l);
		l->p = l->buf + 1;
		l->n = n - 1;
		return 0;
	}
	for (;;) {
		if (room(&l->buf, &l->room, want < l->max ? want : l->max,
		    e) == -1)
			return -1;
		r = inflate_once(d, n, l);
		if (r != 1 || l->room >= l->max)
			break;
		want = 2 * l->room;
	}
	if (r == 1)
		return err_set(e, CALA_INTEGRITY, "chunk %s: more than %zu "
		    "bytes", path, l->max);
	if (r == -1)
		return err_set(e, CALA_INTEGRITY, "chunk %s: compressed data "
		    "are damaged", path);
	l->p = l->buf;
	return 0;
}

void
decoder_loads(struct decoder *d, int chunks, struct load *const *v, size_t n)
{
	unsigned char md[DDUP_LOADS][BLAKE2B_LEN];
	struct hash_one one[DDUP_LOADS] = { { 0 } };
	char path[CHUNK_PATH];
	size_t i, k, stored = 0;

	for (i = k = 0; i < n; i++) {
		chunk_path(v[i]->hash, path);
		v[i]->ret = slurp(d, chunks, path, v[i], &stored,
		    &v[i]->err) == -1 ? -1 :
		    plain(d, path, stored, v[i], &v[i]->err);
		if (v[i]->ret == -1)
			continue;
		one[k].p = v[i]->p;
		one[k].n = v[i]->n;
		one[k].md = md[i];
		k++;
	}
	hashes(one, k);
	for (i = 0; i < n; i++) {
		if (v[i]->ret == -1 ||
		    memcmp(md[i], v[i]->hash, DDUP_HASH) == 0)
			continue;
		chunk_path(v[i]->hash, path);
		v[i]->ret = err_set(&v[i]->err, CALA_INTEGRITY, "chunk %s: "
		    "its bytes are not those that its name stands for", path);
	}
}

int
decoder_load(struct decoder *d, int chunks, const unsigned char *hash,
    size_t len, size_t max, const unsigned char **p, size_t *n, struct err *e)
{
	struct load l = { .len = len, .max = max, .buf = d->out,
	    .room = d->out_room }, *v = &l;

	memcpy(l.hash, hash, DDUP_HASH);
	decoder_loads(d, chunks, &v, 1);
	d->out = l.buf;
	d->out_room = l.room;
	if (l.ret == -1) {
		*e = l.err;
		return -1;
	}
	*p = l.p;
	*n = l.n;
	return 0;
}

/* A file that no index knows counts only when it holds what its name says. */
static bool
adopt(struct ddup *r, const unsigned char *hash, uint32_t len)
{
	struct err ignored = ERR_INIT;
	const unsigned char *p;
	struct decoder *d;
	bool ok;
	size_t n;

	if (!folder_known(r, hash) || !chunk_there(r, hash) ||
	    (d = decoder_new(&ignored)) == NULL)
		return false;
	ok = decoder_load(d, r->chunks, hash, len, DDUP_CHUNK_MAX, &p, &n,
	    &ignored) == 0;
	decoder_free(d);
	return ok;
}

static void
mark(struct ddup *r, uint32_t ref, uint32_t set, uint32_t clear)
{
	pthread_mutex_lock(&r->mu);
	index_set_word(&r->ix, ref, (index_word(&r->ix, ref) | set) & ~clear);
	pthread_mutex_unlock(&r->mu);
}

int
ddup_claim(struct ddup *r, const unsigned char hash[DDUP_HASH], uint32_t len,
    uint32_t *ref, struct err *e)
{
	bool fresh = false;
	uint32_t i, word = 0;
	int ret = 0;

	pthread_mutex_lock(&r->mu);
	if ((i = index_find(&r->ix, hash)) == INDEX_NONE) {
		fresh = true;
		ret = index_add(&r->ix, hash, &i, e);
	}
	if (ret == 0) {
		word = index_word(&r->ix, i);
		index_set_word(&r->ix, i, (word & INDEX_FLAGS) | len |
		    INDEX_SEEN | (fresh ? INDEX_PENDING : 0));
	}
	pthread_mutex_unlock(&r->mu);
	if (ret == -1)
		return -1;
	*ref = i;
	if ((word & INDEX_SEEN) != 0)
		return DDUP_HAVE;
	if (fresh ? r->strays && adopt(r, hash, len) : chunk_there(r, hash)) {
		r->fresh = r->fresh || fresh;
		mark(r, i, 0, INDEX_PENDING);
		return DDUP_HAVE;
	}
	if (!fresh)
		log_note(r->log, "a chunk of the repository is missing, and "
		    "is stored again");
	mark(r, i, INDEX_PENDING, 0);
	return DDUP_WANT;
}

/*
 * Is a file looked for that must be there, since nobody else was?  Where there
 * are many, another sixteenth of them every hour; each comes once in sixteen
 * runs that are an hour, a day or a week apart.
 */
static bool
doubtful(const struct ddup *r, const unsigned char *hash)
{
	return !r->trusted || r->ix.n < FEW || hash[0] % SHARES == r->turn;
}

int
ddup_known(struct ddup *r, const unsigned char hash[DDUP_HASH], uint32_t len,
    uint32_t *ref, struct err *e)
{
	uint32_t i, word = 0;

	(void)e;
	pthread_mutex_lock(&r->mu);
	if ((i = index_near(&r->ix, hash, r->near)) != INDEX_NONE) {
		r->near = i + 1;
		word = index_word(&r->ix, i);
		if ((word & INDEX_LEN) == 0)
			index_set_word(&r->ix, i, word | len);
	}
	pthread_mutex_unlock(&r->mu);
	if (i == INDEX_NONE)
		return DDUP_WANT;
	*ref = i;
	if ((word & INDEX_SEEN) == 0 && doubtful(r, hash)) {
		if (!chunk_there(r, hash))
			return DDUP_WANT;
		mark(r, i, INDEX_SEEN, 0);
	}
	return DDUP_HAVE;
}

void
ddup_ref_hash(struct ddup *r, uint32_t ref, unsigned char out[DDUP_HASH])
{
	pthread_mutex_lock(&r->mu);
	memcpy(out, index_hash(&r->ix, ref), DDUP_HASH);
	pthread_mutex_unlock(&r->mu);
}

uint32_t
ddup_ref_len(struct ddup *r, uint32_t ref)
{
	uint32_t len;

	pthread_mutex_lock(&r->mu);
	len = index_word(&r->ix, ref) & INDEX_LEN;
	pthread_mutex_unlock(&r->mu);
	return len;
}

int
chunk_remove(const struct ddup *r, const unsigned char *hash, struct err *e)
{
	char path[CHUNK_PATH];
	int dir, ret = 0;

	chunk_path(hash, path);
	if ((dir = folder_open(r, hash)) == -1)
		return errno == ENOENT ? 0 : err_sys(e, "remove chunk %s",
		    path);
	if (unlinkat(dir, path + LEAF, 0) == -1 && errno != ENOENT)
		ret = err_sys(e, "remove chunk %s", path);
	close(dir);
	if (ret == -1)
		return -1;
	path[5] = '\0';
	if (unlinkat(r->chunks, path, AT_REMOVEDIR) == 0) {
		path[2] = '\0';
		(void)unlinkat(r->chunks, path, AT_REMOVEDIR);
	}
	return 0;
}

/* Both parts at once: most chunks are small files, and calls are dear. */
static int
write_chunk(int fd, unsigned char code, const void *p, size_t n)
{
	struct iovec v[2] = { { &code, 1 }, { (void *)(uintptr_t)p, n } };
	ssize_t k = writev(fd, v, 2);

	if (k <= 0) {
		if (k == 0)
			errno = ENOSPC;
		else if (errno == EINTR)
			k = 0;
		if (k == -1 || errno == ENOSPC)
			return -1;
		return file_write_all(fd, &code, 1) == -1 ? -1 :
		    file_write_all(fd, p, n);
	}
	return file_write_all(fd, (const char *)p + (k - 1),
	    n - (size_t)(k - 1));
}

/* 0, or -1 with err; the descriptor is closed in any case. */
static int
fill(struct ddup *r, int fd, const char *path, unsigned char code,
    const void *p, size_t n, bool sync, struct err *e)
{
	int ret = repo_own(r, fd, e);

	if (ret == 0 && (write_chunk(fd, code, p, n) == -1 ||
	    (sync && fsync(fd) == -1))) {
		ret = err_sys(e, "write chunk %s", path);
		/* Its name may be another run's by now, these bytes are not. */
		if (ftruncate(fd, 0) == -1)
			log_step(r->log, "chunk %s stays torn", path);
	}
	if (close(fd) == -1 && ret == 0)
		ret = err_sys(e, "write chunk %s", path);
	return ret;
}

/* Where something else has the name: whole and durable before it takes it. */
static int
replace(struct ddup *r, const unsigned char *hash, const char *path,
    unsigned char code, const void *p, size_t n, struct err *e)
{
	char tmp[CHUNK_PATH + 64];
	int fd, dir = -1, ret;

	snprintf(tmp, sizeof(tmp), "%.*s.tmp.cala.%ld.%" PRIu64, 66, path,
	    r->pid, ++r->temps);
	if ((fd = folder_create(r, hash, tmp + LEAF, &dir)) == -1) {
		ret = err_sys(e, "create chunk %s", tmp);
		goto out;
	}
	ret = fill(r, fd, tmp, code, p, n, true, e);
	if (ret == 0 && renameat(dir, tmp + LEAF, dir, path + LEAF) == -1)
		ret = err_sys(e, "rename chunk %s", tmp);
	if (ret == -1)
		(void)unlinkat(dir, tmp + LEAF, 0);
out:
	if (dir != -1)
		close(dir);
	return ret;
}

/*
 * A chunk that no index knows is written under its own name, which is half the
 * work: what is there torn counts for nothing (adopt() hashes it) and is
 * replaced.  One that an index knows counts by being there.
 */
int
ddup_store(struct ddup *r, uint32_t ref, enum ddup_code code, const void *p,
    size_t n, struct err *e)
{
	unsigned char hash[DDUP_HASH];
	char path[CHUNK_PATH];
	uint32_t len;
	bool fresh;
	int fd = -1, ret;

	pthread_mutex_lock(&r->mu);
	memcpy(hash, index_hash(&r->ix, ref), DDUP_HASH);
	fresh = index_get_id(&r->ix, ref) == 0;
	len = index_word(&r->ix, ref) & INDEX_LEN;
	pthread_mutex_unlock(&r->mu);
	chunk_path(hash, path);
	if (loose_begin(r, e) == -1)
		return -1;
	r->fresh = true;
	if (fresh && (fd = chunk_create(r, hash)) == -1 && errno != EEXIST)
		return err_sys(e, "create chunk %s", path);
	if (fd == -1 && fresh && adopt(r, hash, len)) {
		mark(r, ref, 0, INDEX_PENDING);
		return 0;
	}
	if (fd != -1)
		ret = fill(r, fd, path, (unsigned char)code, p, n, false, e);
	else
		ret = replace(r, hash, path, (unsigned char)code, p, n, e);
	/* Ours to be removed, also when it is torn. */
	mark(r, ref, INDEX_MADE, ret == 0 ? INDEX_PENDING : 0);
	if (ret == -1)
		return -1;
	r->new_chunks++;
	r->new_bytes += n + 1;
	return 0;
}
