/* What a backup remembers of files, and what of it the next one believes. */

#include "scratch.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/when.h"
#include "ddup/statcache.h"
#include "entry/entry.h"

enum { FILES = 5000 };

static const char server[] = "0b0e0c00-0000-4000-8000-000000000001";
static const char other[] = "0b0e0c00-0000-4000-8000-000000000002";
static char dir[] = "/tmp/t_statcache.XXXXXX";
static int top = -1;
static struct log the_log;

static int
begin(void **state)
{
	(void)state;
	top = scratch(dir);
	log_init(&the_log, NULL, "t_statcache");
	return 0;
}

static int
end(void **state)
{
	(void)state;
	log_fini(&the_log);
	return scratch_drop(top, dir);
}

/* File i: i % 5 chunks, one of them with 40,000; some with attributes. */
static void
file(unsigned i, struct entry *en, char path[32])
{
	static const struct xattr x = { "user.x", "", 0 };

	memset(en, 0, sizeof(*en));
	snprintf(path, 32, "d%u/file %u", i % 10, i);
	en->type = ENTRY_FILE;
	en->path = path;
	en->size = i * UINT64_C(1000003);
	en->mtime.tv_sec = 1500000000 - (i % 7 == 0) * INT64_C(1600000000);
	en->mtime.tv_nsec = i;
	en->ctime.tv_sec = 1600000000;
	en->ctime.tv_nsec = i * 2;
	en->ino = 77 + i;
	en->xattrs = &x;
	en->nxattrs = i % 11 == 0;
}

static const unsigned char since[DDUP_SINCE] = "0123456789abcde";

static size_t
chunks(unsigned i, struct stat_chunk *v)
{
	size_t n = i == 1234 ? 40000 : i % 5, j;

	for (j = 0; j < n; j++) {
		memset(v[j].hash, (int)(i + j), DDUP_HASH);
		v[j].len = (uint32_t)(i + j);
	}
	return n;
}

static void
write_all(struct timespec now)
{
	struct stat_new *s = stat_new_open(top, server, now, &the_log);
	struct stat_chunk *v = malloc(40000 * sizeof(*v));
	struct entry en;
	char path[32];
	unsigned i;

	assert_non_null(s);
	for (i = 0; i < FILES; i++) {
		file(i, &en, path);
		stat_new_add(s, &en, v, chunks(i, v));
	}
	stat_new_commit(s, since);
	stat_new_free(s);
	free(v);
}

static void
remembers(void **state)
{
	struct stat_chunk *v = malloc(40000 * sizeof(*v));
	struct stat_hit hit = { NULL, 0, 0, 0 };
	struct stat_old *o;
	struct entry en;
	char path[32];
	unsigned i;
	size_t n;

	(void)state;
	assert_null(stat_old_open(top, server, &the_log));
	write_all(when_now());
	assert_non_null(o = stat_old_open(top, server, &the_log));
	assert_memory_equal(stat_old_since(o), since, sizeof(since));
	for (i = FILES; i-- > 0;) {
		file(i, &en, path);
		assert_true(stat_old_find(o, &en, false, &hit));
		n = chunks(i, v);
		assert_int_equal(hit.n, n);
		for (; n > 0; n--) {
			assert_memory_equal(hit.v[n - 1].hash, v[n - 1].hash,
			    DDUP_HASH);
			assert_int_equal(hit.v[n - 1].len, v[n - 1].len);
		}
		assert_int_equal(hit.flags, i % 11 == 0 ? 0 : STAT_PLAIN);
	}
	/* anything else about a file, and it is not the same */
	for (i = 1; i < FILES; i += 97) {
		file(i, &en, path);
		en.size++;
		assert_false(stat_old_find(o, &en, false, &hit));
		file(i, &en, path);
		en.mtime.tv_nsec++;
		assert_false(stat_old_find(o, &en, false, &hit));
		file(i, &en, path);
		en.mtime.tv_sec--;
		assert_false(stat_old_find(o, &en, false, &hit));
		file(i, &en, path);
		en.ctime.tv_nsec++;
		assert_false(stat_old_find(o, &en, true, &hit));
		file(i, &en, path);
		en.ctime.tv_sec++;
		assert_false(stat_old_find(o, &en, false, &hit));
		file(i, &en, path);
		en.ino++;
		assert_false(stat_old_find(o, &en, false, &hit));
		assert_true(stat_old_find(o, &en, true, &hit));
		file(i, &en, path);
		en.path = "another";
		assert_false(stat_old_find(o, &en, true, &hit));
	}
	stat_old_free(o);
	free(hit.v);
	free(v);
}

/* One that could change again without its times telling is not believed. */
static void
racy(void **state)
{
	static const struct {
		long sec, nsec;
		bool kept;
	} v[] = {
		{ -10, 5, true }, { -1, 5, true }, { 0, -100000000, true },
		{ 0, -20000000, false }, { 0, 0, false }, { 1, 0, false },
		{ 100, 0, false },
	};
	struct timespec now = { 1700000000, 500000001 };
	struct stat_new *s;
	struct stat_old *o;
	struct stat_hit hit = { NULL, 0, 0, 0 };
	struct entry en;
	char path[32];
	unsigned i;

	(void)state;
	s = stat_new_open(top, server, now, &the_log);
	for (i = 0; i < 2 * sizeof(v) / sizeof(*v); i++) {
		file(i, &en, path);
		*(i % 2 == 0 ? &en.mtime : &en.ctime) = (struct timespec){
		    now.tv_sec + v[i / 2].sec, now.tv_nsec + v[i / 2].nsec };
		stat_new_add(s, &en, NULL, 0);
	}
	/* a file system without fractions */
	file(100, &en, path);
	en.mtime = (struct timespec){ now.tv_sec - 1, 0 };
	stat_new_add(s, &en, NULL, 0);
	file(101, &en, path);
	en.mtime = (struct timespec){ now.tv_sec - 2, 0 };
	stat_new_add(s, &en, NULL, 0);
	stat_new_commit(s, since);
	stat_new_free(s);
	assert_non_null(o = stat_old_open(top, server, &the_log));
	for (i = 0; i < 2 * sizeof(v) / sizeof(*v); i++) {
		file(i, &en, path);
		*(i % 2 == 0 ? &en.mtime : &en.ctime) = (struct timespec){
		    now.tv_sec + v[i / 2].sec, now.tv_nsec + v[i / 2].nsec };
		if (stat_old_find(o, &en, false, &hit) != v[i / 2].kept)
			fail_msg("row %u", i / 2);
	}
	file(100, &en, path);
	en.mtime = (struct timespec){ now.tv_sec - 1, 0 };
	assert_false(stat_old_find(o, &en, false, &hit));
	file(101, &en, path);
	en.mtime = (struct timespec){ now.tv_sec - 2, 0 };
	assert_true(stat_old_find(o, &en, false, &hit));
	stat_old_free(o);
	free(hit.v);
}

/* A byte wrong, a byte less or more, another server's: as if it were not. */
static void
damaged(void **state)
{
	char name[128], renamed[128];
	unsigned char byte;
	struct stat st;
	off_t at;
	int fd;

	(void)state;
	write_all(when_now());
	snprintf(name, sizeof(name), ".%s.cala-stat", server);
	snprintf(renamed, sizeof(renamed), ".%s.cala-stat", other);
	fd = openat(top, name, O_RDWR);
	assert_true(fd != -1 && fstat(fd, &st) == 0);
	for (at = 0; at < st.st_size; at += at < 200 ? 1 :
	    at > st.st_size - 100 ? 1 : 100003) {
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 4;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		assert_null(stat_old_open(top, server, &the_log));
		byte ^= 4;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	}
	for (at = 0; at < st.st_size; at += st.st_size / 50) {
		assert_int_equal(ftruncate(fd, at), 0);
		assert_null(stat_old_open(top, server, &the_log));
	}
	close(fd);
	write_all(when_now());
	fd = openat(top, name, O_RDWR | O_APPEND);
	assert_int_equal(write(fd, "", 1), 1);
	assert_null(stat_old_open(top, server, &the_log));
	close(fd);
	write_all(when_now());
	assert_int_equal(renameat(top, name, top, renamed), 0);
	assert_null(stat_old_open(top, other, &the_log));
	assert_int_equal(symlinkat(renamed, top, name), 0);
	assert_null(stat_old_open(top, server, &the_log));
	assert_int_equal(log_warnings(&the_log), 0);
}

static void *
asker(void *arg)
{
	struct stat_hit hit = { NULL, 0, 0, 0 };
	struct entry en;
	char path[32];
	unsigned i;
	bool ok = true;

	for (i = 0; i < FILES; i++) {
		file(i, &en, path);
		ok = ok && stat_old_find(arg, &en, false, &hit) &&
		    hit.n == (i == 1234 ? 40000 : i % 5) &&
		    (hit.n == 0 || hit.v[hit.n - 1].len == i + hit.n - 1);
	}
	free(hit.v);
	return ok ? arg : NULL;
}

static void
threads(void **state)
{
	struct stat_old *o;
	pthread_t t[4];
	void *got;
	int i;

	(void)state;
	write_all(when_now());
	assert_non_null(o = stat_old_open(top, server, &the_log));
	for (i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, asker, o), 0);
	for (i = 0; i < 4; i++) {
		pthread_join(t[i], &got);
		assert_ptr_equal(got, o);
	}
	stat_old_free(o);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(remembers), T(racy), T(damaged), T(threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
