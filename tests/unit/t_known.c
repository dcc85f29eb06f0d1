/* fs_reader in front of a writer that knows files already. */

#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/fs.h"

static char dir[] = "/tmp/t_known.XXXXXX";
static int top = -1;
static struct log the_log;

/* A writer that knows every file whose name begins with k. */
struct knower {
	struct writer w;
	_Atomic unsigned asked, wrong;
};

static bool
knows(struct writer *w, const struct entry *en)
{
	struct knower *k = (struct knower *)w;
	struct stat st;

	k->asked++;
	if (fstatat(top, en->path, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    (uint64_t)st.st_size != en->size || st.st_ino != en->ino ||
	    st.st_mtim.tv_nsec != en->mtime.tv_nsec ||
	    st.st_ctim.tv_nsec != en->ctime.tv_nsec ||
	    st.st_ctim.tv_sec != en->ctime.tv_sec)
		k->wrong++;
	return *entry_name(en->path) == 'k';
}

static const struct writer_ops knower_ops = { NULL, NULL, knows, NULL, NULL };

static int
begin(void **state)
{
	(void)state;
	top = scratch(dir);
	log_init(&the_log, NULL, "t_known");
	return 0;
}

static int
end(void **state)
{
	(void)state;
	log_fini(&the_log);
	return scratch_drop(top, dir);
}

static void
put(const char *name, size_t n, char c)
{
	int fd = openat(top, name, O_CREAT | O_TRUNC | O_WRONLY, 0644);
	char *p = malloc(n + 1);

	assert_true(fd != -1 && p != NULL);
	memset(p, c, n);
	assert_true(write(fd, p, n) == (ssize_t)n);
	free(p);
	close(fd);
}

static void
tree(void)
{
	assert_int_equal(mkdirat(top, "d", 0755), 0);
	assert_int_equal(mkdirat(top, "d/e", 0755), 0);
	put("d/e/kept", 100, 'a');
	put("d/e/new", 100, 'b');
	put("d/known", 300000, 'c');
	put("fresh", 300000, 'd');
	put("k", 5, 'e');
}

/* Which files were opened meanwhile, as bits. */
static unsigned
opened(int ino, const int *wd, size_t n)
{
	_Alignas(struct inotify_event) char b[4096];
	const struct inotify_event *ev;
	unsigned seen = 0;
	ssize_t len, at;
	size_t i;

	while ((len = read(ino, b, sizeof(b))) > 0) {
		for (at = 0; at < len; at += (ssize_t)(sizeof(*ev) + ev->len)) {
			ev = (const void *)(b + at);
			for (i = 0; i < n; i++)
				if (ev->wd == wd[i])
					seen |= 1u << i;
		}
	}
	assert_true(len == -1 && errno == EAGAIN);
	return seen;
}

static void
not_opened(void **state)
{
	static const char *const names[] = { "d/e/kept", "d/e/new", "d/known",
	    "fresh", "k" };
	unsigned jobs;

	(void)state;
	tree();
	for (jobs = 0; jobs < 5; jobs += 2) {
		struct knower k = { .w.ops = &knower_ops };
		struct fs_walk how = { .xattrs = true, .jobs = jobs,
		    .asks = &k.w };
		struct err e = ERR_INIT;
		const struct entry *en;
		struct reader *r;
		struct content *c;
		char path[64];
		int wd[5], ino = inotify_init1(IN_NONBLOCK), got;
		size_t i, entries = 0;

		for (i = 0; i < 5; i++) {
			snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
			wd[i] = inotify_add_watch(ino, path, IN_OPEN);
			assert_true(wd[i] != -1);
		}
		r = fs_reader(top, ".", &how, &the_log, &e);
		assert_non_null(r);
		while ((got = reader_next(r, &en, &c, &e)) == 1)
			entries++;
		assert_int_equal(got, 0);
		reader_close(r);
		assert_int_equal(entries, 8);
		assert_int_equal(k.asked, 5);
		assert_int_equal(k.wrong, 0);
		assert_int_equal(opened(ino, wd, 5), 1 << 1 | 1 << 3);
		close(ino);
	}
}

/* Whoever said it knows a file may read it nevertheless. */
static void
read_late(void **state)
{
	struct knower k = { .w.ops = &knower_ops };
	struct fs_walk how = { .asks = &k.w };
	struct err e = ERR_INIT;
	const struct entry *en;
	struct reader *r;
	struct content *c;
	static char p[300001];
	size_t files = 0, i;
	int got;

	(void)state;
	tree();
	r = fs_reader(top, ".", &how, &the_log, &e);
	assert_non_null(r);
	while ((got = reader_next(r, &en, &c, &e)) == 1) {
		if (c == NULL)
			continue;
		assert_int_equal(content_full(c, p, sizeof(p), &e), en->size);
		for (i = 1; i < en->size; i++)
			assert_int_equal(p[i], p[0]);
		assert_int_equal(p[0], "abcde"[files++]);
	}
	assert_int_equal(got, 0);
	assert_int_equal(files, 5);
	assert_int_equal(log_warnings(&the_log), 0);
	reader_close(r);
}

/* Another file in its place is not what was announced. */
static void
replaced(void **state)
{
	struct knower k = { .w.ops = &knower_ops };
	struct fs_walk how = { .asks = &k.w };
	struct err e = ERR_INIT;
	const struct entry *en;
	struct reader *r;
	struct content *c;
	char p[8];

	(void)state;
	put("k", 5, 'a');
	put("other", 5, 'b');
	r = fs_reader(top, ".", &how, &the_log, &e);
	assert_non_null(r);
	assert_int_equal(reader_next(r, &en, &c, &e), 1);
	assert_int_equal(reader_next(r, &en, &c, &e), 1);
	assert_string_equal(en->path, "k");
	assert_int_equal(renameat(top, "other", top, "k"), 0);
	assert_int_equal(content_full(c, p, sizeof(p), &e), 5);
	assert_memory_equal(p, "\0\0\0\0\0", 5);
	assert_int_equal(log_warnings(&the_log), 1);
	reader_close(r);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(not_opened), T(read_late), T(replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
