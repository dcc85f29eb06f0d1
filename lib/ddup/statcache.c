#include "ddup/statcache.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/uuid.h"
#include "entry/entry.h"

enum {
	VERSION = 2,
	HEAD = 64, RECORD = 56, CHUNK = DDUP_HASH + 4,
	SUM = 16, TAIL = DDUP_SINCE + 16 + SUM, SUMMED = TAIL - SUM,
	SERVER = 40,
	BLOCK = 64 << 10, BLOCKS = 8,
	NAME = 128,
	OUT = 256 << 10
};

static const char magic[8] = "CALASTAT";

static void
file_name(const char *server, char out[NAME])
{
	snprintf(out, NAME, ".%s.cala-stat", server);
}

static uint64_t
key_of(const struct entry *en, uint64_t seed)
{
	return XXH3_64bits_withSeed(en->path, strlen(en->path), seed);
}

/* ---- the one before ---- */

/* Where a record is: tag is half of its key, at in units of 4 bytes. */
struct slot {
	uint32_t tag, at;               /* at 0: free */
};

struct block {
	uint64_t off;                   /* UINT64_MAX: nothing read */
	unsigned char p[BLOCK];
};

struct stat_old {
	int fd;
	uint64_t seed, len;             /* len: up to the tail */
	unsigned char since[DDUP_SINCE];
	struct slot *slot;
	size_t mask;
	pthread_mutex_t mu;             /* for block and next */
	struct block *block;
	/*
	 * Where the record behind that found last is, for those who want the
	 * chunks and those who do not: a tree is walked as it was then.
	 */
	uint64_t next[2];
};

/* n bytes at off, which is inside len.  false: they can't be read. */
static bool
get(struct stat_old *o, void *out, size_t n, uint64_t off)
{
	unsigned char *p = out;
	struct block *b;
	uint64_t base;
	size_t k;

	if (off > o->len || n > o->len - off)
		return false;
	for (; n > 0; n -= k, p += k, off += k) {
		base = off - off % BLOCK;
		b = &o->block[base / BLOCK % BLOCKS];
		if (b->off != base) {
			b->off = UINT64_MAX;
			k = o->len - base < BLOCK ? (size_t)(o->len - base) :
			    BLOCK;
			if (file_pread_full(o->fd, b->p, k, base) !=
			    (ssize_t)k)
				return false;
			b->off = base;
		}
		k = BLOCK - (size_t)(off - base);
		if (k > n)
			k = n;
		memcpy(p, b->p + (off - base), k);
	}
	return true;
}

/* The sum at its end, over all before. */
static bool
whole(struct stat_old *o, const unsigned char *sum)
{
	XXH3_state_t *x = XXH3_createState();
	unsigned char *p = o->block[0].p;
	XXH128_canonical_t c;
	uint64_t off = 0;
	ssize_t n = 1;

	if (x == NULL)
		return false;
	XXH3_128bits_reset(x);
	while (off < o->len + SUMMED && n > 0) {
		n = file_pread_full(o->fd, p, o->len + SUMMED - off < BLOCK ?
		    (size_t)(o->len + SUMMED - off) : BLOCK, off);
		if (n > 0) {
			XXH3_128bits_update(x, p, (size_t)n);
			off += (uint64_t)n;
		}
	}
	XXH128_canonicalFromHash(&c, XXH3_128bits_digest(x));
	XXH3_freeState(x);
	return off == o->len + SUMMED && memcmp(&c, sum, SUM) == 0;
}

/* NULL, or why not. */
static const char *
look(struct stat_old *o, const char *server, uint64_t *count)
{
	unsigned char head[HEAD], tail[TAIL];
	char name[SERVER] = "";
	struct stat st;

	if (fstat(o->fd, &st) == -1)
		return strerror(errno);
	if (!S_ISREG(st.st_mode) || st.st_size < HEAD + TAIL ||
	    (st.st_size - TAIL) / 4 > UINT32_MAX)
		return "no such file of ours";
	o->len = (uint64_t)st.st_size - TAIL;
	if (file_pread_full(o->fd, head, HEAD, 0) != HEAD ||
	    file_pread_full(o->fd, tail, TAIL, o->len) != TAIL)
		return "can't be read";
	memcpy(name, server, strlen(server));
	if (memcmp(head, magic, 8) != 0 || get_le32(head + 8) != VERSION)
		return "not of this version";
	if (memcmp(head + 24, name, SERVER) != 0)
		return "another server's";
	memcpy(o->since, tail, DDUP_SINCE);
	*count = get_le64(tail + DDUP_SINCE);
	if (get_le64(tail + DDUP_SINCE + 8) != o->len + DDUP_SINCE + 8 ||
	    *count > (o->len - HEAD) / RECORD || !whole(o, tail + SUMMED))
		return "damaged";
	o->seed = get_le64(head + 16);
	return NULL;
}

static const char *
index_records(struct stat_old *o, uint64_t count)
{
	unsigned char r[RECORD];
	uint64_t i, n, off = HEAD, key;
	size_t room = 64, at;

	while (room < count + count / 2)
		room *= 2;
	if ((o->slot = calloc(room, sizeof(*o->slot))) == NULL)
		return "no memory";
	o->mask = room - 1;
	for (i = 0; i < count; i++) {
		if (!get(o, r, RECORD, off))
			return "damaged";
		n = get_le32(r + 52);
		if (n > (o->len - off - RECORD) / CHUNK)
			return "damaged";
		key = get_le64(r);
		for (at = key & o->mask; o->slot[at].at != 0;
		    at = (at + 1) & o->mask)
			;
		o->slot[at].tag = (uint32_t)(key >> 32);
		o->slot[at].at = (uint32_t)(off / 4);
		off += RECORD + n * CHUNK;
	}
	return off == o->len ? NULL : "damaged";
}

struct stat_old *
stat_old_open(int dirfd, const char *server, struct log *log)
{
	struct stat_old *o;
	pthread_mutexattr_t spin;
	const char *why;
	uint64_t count = 0;
	char name[NAME];
	size_t i;

	if (strlen(server) >= UUID_TEXT ||
	    (o = calloc(1, sizeof(*o))) == NULL)
		return NULL;
	/* It is held for less time than it takes to go to sleep. */
	pthread_mutexattr_init(&spin);
	pthread_mutexattr_settype(&spin, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&o->mu, &spin);
	pthread_mutexattr_destroy(&spin);
	o->next[0] = o->next[1] = HEAD;
	file_name(server, name);
	o->fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
	    O_CLOEXEC);
	if (o->fd == -1) {
		why = errno == ENOENT ? NULL : strerror(errno);
		goto fail;
	}
	if ((o->block = malloc(BLOCKS * sizeof(*o->block))) == NULL) {
		why = "no memory";
		goto fail;
	}
	for (i = 0; i < BLOCKS; i++)
		o->block[i].off = UINT64_MAX;
	if ((why = look(o, server, &count)) == NULL &&
	    (why = index_records(o, count)) == NULL)
		return o;
fail:
	if (why != NULL)
		log_step(log, "%s: %s; all files are read", name, why);
	stat_old_free(o);
	return NULL;
}

const unsigned char *
stat_old_since(const struct stat_old *o)
{
	return o->since;
}

static bool
same(const unsigned char *r, const struct entry *en, bool ignore_inode)
{
	return get_le64(r + 8) == en->size &&
	    (int64_t)get_le64(r + 16) == en->mtime.tv_sec &&
	    get_le32(r + 24) == (uint32_t)en->mtime.tv_nsec &&
	    (int64_t)get_le64(r + 28) == en->ctime.tv_sec &&
	    get_le32(r + 36) == (uint32_t)en->ctime.tv_nsec &&
	    (ignore_inode || get_le64(r + 40) == en->ino);
}

/* With the lock held. */
static bool
find(struct stat_old *o, const struct entry *en, bool ignore_inode,
    bool chunks, struct stat_hit *hit)
{
	unsigned char r[RECORD], c[CHUNK];
	uint64_t key = key_of(en, o->seed), off = o->next[chunks];
	struct stat_chunk *v;
	size_t at, i;

	if (!get(o, r, RECORD, off) || get_le64(r) != key) {
		for (at = key & o->mask; o->slot[at].at != 0;
		    at = (at + 1) & o->mask) {
			if (o->slot[at].tag != (uint32_t)(key >> 32))
				continue;
			off = (uint64_t)o->slot[at].at * 4;
			if (!get(o, r, RECORD, off))
				return false;
			if (get_le64(r) == key)
				break;
		}
		if (o->slot[at].at == 0)
			return false;
	}
	hit->flags = get_le32(r + 48);
	hit->n = get_le32(r + 52);
	o->next[chunks] = off + RECORD + (uint64_t)hit->n * CHUNK;
	if (!same(r, en, ignore_inode))
		return false;
	if (!chunks)
		return true;
	if (hit->n > hit->room) {
		if ((v = reallocarray(hit->v, hit->n, sizeof(*v))) == NULL)
			return false;
		hit->v = v;
		hit->room = hit->n;
	}
	for (i = 0, off += RECORD; i < hit->n; i++, off += CHUNK) {
		if (!get(o, c, CHUNK, off))
			return false;
		memcpy(hit->v[i].hash, c, DDUP_HASH);
		hit->v[i].len = get_le32(c + DDUP_HASH);
	}
	return true;
}

static bool
find_locked(struct stat_old *o, const struct entry *en, bool ignore_inode,
    bool chunks, struct stat_hit *hit)
{
	bool ret;

	if (en->ino == 0 && !ignore_inode)
		return false;
	pthread_mutex_lock(&o->mu);
	ret = find(o, en, ignore_inode, chunks, hit);
	pthread_mutex_unlock(&o->mu);
	return ret;
}

bool
stat_old_find(struct stat_old *o, const struct entry *en, bool ignore_inode,
    struct stat_hit *hit)
{
	return find_locked(o, en, ignore_inode, true, hit);
}

bool
stat_old_plain(struct stat_old *o, const struct entry *en, bool ignore_inode)
{
	struct stat_hit hit = { 0 };

	return find_locked(o, en, ignore_inode, false, &hit) &&
	    (hit.flags & STAT_PLAIN) != 0;
}

void
stat_old_free(struct stat_old *o)
{
	if (o == NULL)
		return;
	if (o->fd != -1)
		close(o->fd);
	pthread_mutex_destroy(&o->mu);
	free(o->slot);
	free(o->block);
	free(o);
}

/* ---- the new one ---- */

struct stat_new {
	struct afile file;
	struct log *log;
	struct timespec now;
	XXH3_state_t *sum;
	uint64_t seed, count, len;
	size_t fill;
	bool failed;
	unsigned char buf[OUT];
};

static void
lost(struct stat_new *s, const char *what)
{
	if (!s->failed)
		log_note(s->log, "%s; the next backup will read all files",
		    what);
	s->failed = true;
}

static void
flush(struct stat_new *s)
{
	if (s->failed || s->fill == 0)
		return;
	XXH3_128bits_update(s->sum, s->buf, s->fill);
	if (file_write_all(s->file.fd, s->buf, s->fill) == -1)
		lost(s, strerror(errno));
	s->len += s->fill;
	s->fill = 0;
}

/* n bytes of room, n <= RECORD or HEAD. */
static unsigned char *
room(struct stat_new *s, size_t n)
{
	if (OUT - s->fill < n)
		flush(s);
	if (s->failed)
		s->fill = 0;
	s->fill += n;
	return s->buf + s->fill - n;
}

struct stat_new *
stat_new_open(int dirfd, const char *server, struct timespec now,
    struct log *log)
{
	struct stat_new *s;
	struct err e = ERR_INIT;
	unsigned char *p;
	char name[NAME];

	if (strlen(server) >= UUID_TEXT ||
	    (s = calloc(1, sizeof(*s))) == NULL)
		return NULL;
	s->file = (struct afile)AFILE_INIT;
	s->log = log;
	s->now = now;
	file_name(server, name);
	s->sum = XXH3_createState();
	if (s->sum == NULL || getrandom(&s->seed, sizeof(s->seed), 0) !=
	    sizeof(s->seed)) {
		stat_new_free(s);
		return NULL;
	}
	if (afile_open(&s->file, dirfd, name, &e) == -1) {
		lost(s, e.msg);
		stat_new_free(s);
		return NULL;
	}
	XXH3_128bits_reset(s->sum);
	p = room(s, HEAD);
	memset(p, 0, HEAD);
	memcpy(p, magic, 8);
	put_le32(p + 8, VERSION);
	put_le64(p + 16, s->seed);
	memcpy(p + 24, server, strlen(server));
	return s;
}

/*
 * Could it be written to once more and still show this time?  A clock's tick is
 * up to 10 ms, of file systems without fractions up to 2 s.
 */
static bool
racy(struct timespec t, struct timespec now)
{
	int64_t slack = t.tv_nsec == 0 ? 2000 : 50;
	int64_t apart = (int64_t)now.tv_sec - t.tv_sec;

	if (apart > 3)
		return false;
	if (apart < -3)
		return true;
	return apart * 1000 + (now.tv_nsec - t.tv_nsec) / 1000000 <= slack;
}

void
stat_new_add(struct stat_new *s, const struct entry *en,
    const struct stat_chunk *v, size_t n)
{
	unsigned char *p;
	size_t i;

	if (s->failed || n > UINT32_MAX || en->ino == 0 ||
	    racy(en->mtime, s->now) || racy(en->ctime, s->now))
		return;
	p = room(s, RECORD);
	put_le64(p, key_of(en, s->seed));
	put_le64(p + 8, en->size);
	put_le64(p + 16, (uint64_t)en->mtime.tv_sec);
	put_le32(p + 24, (uint32_t)en->mtime.tv_nsec);
	put_le64(p + 28, (uint64_t)en->ctime.tv_sec);
	put_le32(p + 36, (uint32_t)en->ctime.tv_nsec);
	put_le64(p + 40, en->ino);
	put_le32(p + 48, en->nxattrs == 0 && !en->sparse ? STAT_PLAIN : 0);
	put_le32(p + 52, (uint32_t)n);
	for (i = 0; i < n; i++) {
		p = room(s, CHUNK);
		memcpy(p, v[i].hash, DDUP_HASH);
		put_le32(p + DDUP_HASH, v[i].len);
	}
	s->count++;
}

void
stat_new_commit(struct stat_new *s, const unsigned char since[DDUP_SINCE])
{
	struct err e = ERR_INIT;
	XXH128_canonical_t c;
	unsigned char *p;

	if (s == NULL || s->failed)
		return;
	memcpy(room(s, DDUP_SINCE), since, DDUP_SINCE);
	p = room(s, 16);
	put_le64(p, s->count);
	/* up to and with this field's own place */
	put_le64(p + 8, s->len + s->fill - 8);
	flush(s);
	XXH128_canonicalFromHash(&c, XXH3_128bits_digest(s->sum));
	memcpy(room(s, SUM), &c, SUM);
	flush(s);
	if (s->failed)
		return;
	/* Torn by a power cut, its sum tells. */
	if (afile_commit(&s->file, 0600, AFILE_LAZY, &e) == -1)
		lost(s, e.msg);
}

void
stat_new_free(struct stat_new *s)
{
	if (s == NULL)
		return;
	afile_abort(&s->file);
	XXH3_freeState(s->sum);
	free(s);
}
