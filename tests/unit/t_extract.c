/* extract: entries into a directory, and nothing outside it. */

#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/log.h"
#include "entry/entry.h"
#include "fs/extract.h"
#include "fs/fs.h"

/* A reader over a table; contents repeat the given text up to the size. */
struct item {
	enum entry_type type;
	const char *path, *target, *text;
	uint64_t size;
	uint32_t mode;
	const struct extent *extents;
	size_t nextents;
};

struct table {
	struct reader r;
	struct content c;
	const struct item *at;
	struct entry en;
};

static ssize_t
text_read(struct content *c, void *p, size_t n, struct err *e)
{
	struct table *t = (struct table *)((char *)c -
	    offsetof(struct table, c));
	size_t i, len = strlen(t->at[-1].text);

	(void)e;
	/* Short counts are allowed: give odd ones. */
	if (n > 100003)
		n = 100003;
	for (i = 0; i < n; i++)
		((char *)p)[i] = t->at[-1].text[(c->pos + i) % len];
	return (ssize_t)n;
}

static int
text_skip(struct content *c, uint64_t n, struct err *e)
{
	(void)c;
	(void)n;
	(void)e;
	return 0;
}

static int
table_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	static const struct content_ops ops = { text_read, text_skip, NULL };
	struct table *t = (struct table *)r;
	const struct item *i = t->at;

	(void)e;
	if (i->path == NULL)
		return 0;
	t->at++;
	memset(&t->en, 0, sizeof(t->en));
	t->en.type = i->type;
	t->en.path = i->path;
	t->en.target = i->target;
	t->en.size = i->size;
	t->en.mode = i->mode;
	t->en.uid = getuid();
	t->en.gid = getgid();
	t->en.uname = t->en.gname = "";
	t->en.mtime.tv_sec = 981173106;
	t->en.mtime.tv_nsec = 123456789;
	t->en.sparse = i->extents != NULL;
	t->en.extents = i->extents;
	t->en.nextents = i->nextents;
	t->c.ops = &ops;
	t->c.size = i->size;
	t->c.pos = 0;
	*en = &t->en;
	*c = i->type == ENTRY_FILE ? &t->c : NULL;
	return 1;
}

static void
table_close(struct reader *r)
{
	(void)r;
}

static struct log quiet;

static void
table_init(struct table *t, const struct item *items)
{
	static const struct reader_ops ops = { table_next, table_close };

	memset(t, 0, sizeof(*t));
	t->r.ops = &ops;
	t->at = items;
}

/* All items into dir; the number of warnings, or -code. */
static int
extract(const char *dir, const struct item *items, struct fs_extract *how,
    struct fs_extracted *facts)
{
	struct err e = ERR_INIT;
	uint64_t before = log_warnings(&quiet);
	struct writer *w;
	struct table t;
	int fd, ret;

	table_init(&t, items);
	assert_true((fd = open(dir, O_RDONLY | O_DIRECTORY)) >= 0);
	assert_non_null(w = fs_writer(fd, how, &quiet, &e));
	close(fd);
	ret = pump(&t.r, w, NULL, &e) == -1 || writer_commit(w, &e) == -1 ?
	    -e.code : (int)(log_warnings(&quiet) - before);
	if (facts != NULL)
		fs_writer_facts(w, facts);
	writer_free(w);
	return ret;
}

static char base[64];

static const char *
in(const char *name)
{
	static _Thread_local char out[4][512];
	static _Thread_local int n;
	char *p = out[n++ % 4];

	snprintf(p, 512, "%s/%s", base, name);
	return p;
}

static int
setup(void **state)
{
	(void)state;
	umask(077);
	log_init(&quiet, getenv("LOUD") ? stderr : NULL, "t_extract");
	snprintf(base, sizeof(base), "/tmp/cala-t-extract.XXXXXX");
	return mkdtemp(base) == NULL || mkdir(in("t"), 0700) == -1 ? -1 : 0;
}

static int
teardown(void **state)
{
	(void)state;
	log_fini(&quiet);
	return fs_remove(AT_FDCWD, base);
}

static struct stat
stat_of(const char *name)
{
	struct stat st;

	if (lstat(in(name), &st) == -1)
		fail_msg("%s: %s", name, strerror(errno));
	return st;
}

static void
same(const char *name, const char *text, size_t size)
{
	FILE *f = fopen(in(name), "r");
	size_t i, n = strlen(text);
	int c;

	assert_non_null(f);
	for (i = 0; i < size; i++)
		if ((c = getc(f)) != text[i % n])
			fail_msg("%s: byte %zu is %d", name, i, c);
	assert_int_equal(getc(f), EOF);
	fclose(f);
}

static bool
leftovers(void)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd),
	    "test -z \"$(find %s -name '.cala.*')\"", base);
	return system(cmd) != 0;
}

static void
kinds(void **state)
{
	static const struct extent holes[] = { { 4096, 4096 },
	    { 1 << 20, 300000 } };
	static const struct item items[] = {
		{ ENTRY_DIR, "", NULL, NULL, 0, 0711, NULL, 0 },
		{ ENTRY_DIR, "a", NULL, NULL, 0, 0555, NULL, 0 },
		{ ENTRY_FILE, "a/small", NULL, "hello", 12345, 0640, NULL, 0 },
		{ ENTRY_FILE, "a/empty", NULL, "x", 0, 0600, NULL, 0 },
		{ ENTRY_FILE, "big", NULL, "0123456789", 5000001, 0644, NULL,
		    0 },
		{ ENTRY_FILE, "edge", NULL, "abc", 262144, 0644, NULL, 0 },
		{ ENTRY_FILE, "edge1", NULL, "abc", 262145, 0644, NULL, 0 },
		{ ENTRY_FILE, "sparse", NULL, "zz", 10 << 20, 0644, holes, 2 },
		{ ENTRY_SYMLINK, "soft", "a/small", NULL, 0, 0777, NULL, 0 },
		{ ENTRY_HARDLINK, "hard", "big", NULL, 0, 0, NULL, 0 },
		{ ENTRY_FIFO, "fifo", NULL, NULL, 0, 0622, NULL, 0 },
		{ ENTRY_FILE, "p/q/deep", NULL, "d", 1, 0444, NULL, 0 },
		{ ENTRY_FILE, "twice", NULL, "one", 3, 0600, NULL, 0 },
		{ ENTRY_FILE, "twice", NULL, "two", 3, 0600, NULL, 0 },
		{ 0, NULL, NULL, NULL, 0, 0, NULL, 0 }
	};
	struct fs_extract how = { .overwrite = true, .xattrs = true };
	struct fs_extracted f;
	struct stat st;
	unsigned jobs;
	char link[64];

	(void)state;
	for (jobs = 1; jobs <= 4; jobs++) {
		how.jobs = jobs;
		/* The second round and later ones overlay the first. */
		assert_int_equal(extract(in("t"), items, &how, &f), 0);
		assert_true(f.entries == 14 && f.failed == 0 && f.kept == 0);
		same("t/a/small", "hello", 12345);
		same("t/big", "0123456789", 5000001);
		same("t/edge", "abc", 262144);
		same("t/edge1", "abc", 262145);
		same("t/twice", "two", 3);
		assert_int_equal(stat_of("t").st_mode & 07777, 0711);
		assert_int_equal(stat_of("t/a").st_mode & 07777, 0555);
		st = stat_of("t/a/small");
		assert_int_equal(st.st_mode & 07777, 0640);
		assert_true(st.st_mtim.tv_sec == 981173106 &&
		    st.st_mtim.tv_nsec == 123456789);
		st = stat_of("t/a");
		assert_true(st.st_mtim.tv_sec == 981173106);
		st = stat_of("t");
		assert_true(st.st_mtim.tv_sec == 981173106);
		assert_int_equal(stat_of("t/p").st_mode & 07777, 0755);
		assert_int_equal(stat_of("t/p/q/deep").st_mode & 07777, 0444);
		assert_true(stat_of("t/hard").st_ino == stat_of("t/big").st_ino);
		assert_true(S_ISFIFO(stat_of("t/fifo").st_mode));
		assert_int_equal(stat_of("t/fifo").st_mode & 07777, 0622);
		st = stat_of("t/sparse");
		assert_true(st.st_size == 10 << 20);
		assert_true(st.st_blocks * 512 < 1 << 20);
		st = stat_of("t/soft");
		assert_true(S_ISLNK(st.st_mode));
		assert_true(st.st_mtim.tv_nsec == 123456789);
		assert_int_equal(readlink(in("t/soft"), link, 64), 7);
		assert_false(leftovers());
	}
}

/* A canary outside; everything that tries to reach it must fail. */
static void
hostile(void **state)
{
	char out[128];
	struct item items[] = {
		{ ENTRY_SYMLINK, "up", out, NULL, 0, 0777, NULL, 0 },
		{ ENTRY_FILE, "up/canary", NULL, "evil", 4, 0666, NULL, 0 },
		{ ENTRY_FILE, "up/new", NULL, "evil", 4, 0666, NULL, 0 },
		{ ENTRY_HARDLINK, "h1", "up/canary", NULL, 0, 0, NULL, 0 },
		{ ENTRY_HARDLINK, "h2", "../out/canary", NULL, 0, 0, NULL, 0 },
		{ ENTRY_HARDLINK, "h3", "/etc/passwd", NULL, 0, 0, NULL, 0 },
		{ ENTRY_FILE, "../out/x", NULL, "evil", 4, 0666, NULL, 0 },
		{ ENTRY_FILE, "/tmp/cala-evil", NULL, "evil", 4, 0666, NULL,
		    0 },
		{ ENTRY_FILE, "a/../../out/x", NULL, "evil", 4, 0666, NULL,
		    0 },
		{ ENTRY_FILE, "", NULL, "evil", 4, 0666, NULL, 0 },
		{ ENTRY_SYMLINK, "c", "../out/canary", NULL, 0, 0777, NULL,
		    0 },
		{ ENTRY_FILE, "c", NULL, "good", 4, 0666, NULL, 0 },
		{ ENTRY_DIR, "up", NULL, NULL, 0, 0777, NULL, 0 },
		{ ENTRY_FILE, "up/canary", NULL, "fine", 4, 0666, NULL, 0 },
		{ ENTRY_DIR, "f", NULL, NULL, 0, 0777, NULL, 0 },
		{ ENTRY_FILE, "f", NULL, "evil", 4, 0666, NULL, 0 },
		{ ENTRY_FILE, "g", NULL, "good", 4, 0666, NULL, 0 },
		{ ENTRY_FILE, "g/x", NULL, "evil", 4, 0666, NULL, 0 },
		{ ENTRY_DIR, "g", NULL, NULL, 0, 0777, NULL, 0 },
		{ 0, NULL, NULL, NULL, 0, 0, NULL, 0 }
	};
	struct fs_extract how = { .overwrite = true };
	struct fs_extracted f;
	FILE *c;

	(void)state;
	snprintf(out, sizeof(out), "%s/out", base);
	assert_int_equal(mkdir(out, 0755), 0);
	assert_non_null(c = fopen(in("out/canary"), "w"));
	fputs("canary", c);
	fclose(c);
	chmod(in("out/canary"), 0600);
	assert_int_equal(mkdir(in("h"), 0700), 0);

	assert_int_equal(extract(in("h"), items, &how, &f), 12);
	assert_true(f.failed == 12);
	same("out/canary", "canary", 6);
	assert_int_equal(stat_of("out/canary").st_mode & 07777, 0600);
	assert_int_equal(access(in("out/new"), F_OK), -1);
	assert_int_equal(access(in("out/x"), F_OK), -1);
	assert_int_equal(access("/tmp/cala-evil", F_OK), -1);
	same("h/c", "good", 4);
	same("h/g", "good", 4);
	same("h/up/canary", "fine", 4);
	assert_true(S_ISDIR(stat_of("h/f").st_mode));
	assert_false(leftovers());
}

static void
keep(void **state)
{
	static const struct item one[] = {
		{ ENTRY_DIR, "k", NULL, NULL, 0, 0700, NULL, 0 },
		{ ENTRY_FILE, "k/f", NULL, "old", 3, 0600, NULL, 0 },
		{ ENTRY_SYMLINK, "k/s", "old", NULL, 0, 0777, NULL, 0 },
		{ 0, NULL, NULL, NULL, 0, 0, NULL, 0 }
	};
	static const struct item two[] = {
		{ ENTRY_DIR, "k", NULL, NULL, 0, 0755, NULL, 0 },
		{ ENTRY_FILE, "k/f", NULL, "new", 3, 0600, NULL, 0 },
		{ ENTRY_FILE, "k/b", NULL, "new", 600000, 0600, NULL, 0 },
		{ ENTRY_SYMLINK, "k/s", "new", NULL, 0, 0777, NULL, 0 },
		{ ENTRY_HARDLINK, "k/b", "k/f", NULL, 0, 0, NULL, 0 },
		{ 0, NULL, NULL, NULL, 0, 0, NULL, 0 }
	};
	struct fs_extract how = { .overwrite = false };
	struct fs_extracted f;
	char link[8];

	(void)state;
	assert_int_equal(extract(in("t"), one, &how, NULL), 0);
	assert_int_equal(extract(in("t"), two, &how, &f), 3);
	assert_true(f.kept == 3 && f.failed == 0 && f.files == 1);
	same("t/k/f", "old", 3);
	same("t/k/b", "new", 600000);
	assert_int_equal(stat_of("t/k").st_mode & 07777, 0700);
	assert_int_equal(readlink(in("t/k/s"), link, 8), 3);
	assert_memory_equal(link, "old", 3);
}

static void
limits(void **state)
{
	static const struct item items[] = {
		{ ENTRY_FILE, "l/a", NULL, "a", 10, 0600, NULL, 0 },
		{ ENTRY_FILE, "l/b", NULL, "b", 1 << 30, 0600, NULL, 0 },
		{ 0, NULL, NULL, NULL, 0, 0, NULL, 0 }
	};
	static const char *const paths[] = { "l/a", "nothing" };
	struct fs_extract how = { .overwrite = true, .max_size = 1000 };
	struct err e = ERR_INIT;
	struct writer *w;
	struct table t;
	int fd;

	(void)state;
	assert_int_equal(extract(in("t"), items, &how, NULL), -CALA_NOSPACE);
	how.max_size = 0;
	how.max_entries = 1;
	assert_int_equal(extract(in("t"), items, &how, NULL), -CALA_NOSPACE);
	/* What is not selected does not count. */
	how.max_size = 10;
	how.paths = paths;
	how.npaths = 2;
	table_init(&t, items);
	fd = open(in("t"), O_RDONLY | O_DIRECTORY);
	assert_non_null(w = fs_writer(fd, &how, &quiet, &e));
	close(fd);
	assert_ok(pump(&t.r, w, NULL, &e), &e);
	assert_ok(writer_commit(w, &e), &e);
	assert_true(fs_writer_hit(w, 0));
	assert_false(fs_writer_hit(w, 1));
	writer_free(w);
	same("t/l/a", "a", 10);
	assert_int_equal(access(in("t/l/b"), F_OK), -1);
	assert_false(leftovers());
}

static void
beneath(void **state)
{
	bool walk, first;
	int root, fd, i;

	(void)state;
	assert_int_equal(mkdir(in("b"), 0755), 0);
	assert_int_equal(mkdir(in("b/d"), 0755), 0);
	assert_int_equal(mkdir(in("b/d/e"), 0755), 0);
	assert_int_equal(symlink("d", in("b/l")), 0);
	assert_int_equal(symlink("/", in("b/d/root")), 0);
	assert_true((root = open(in("b"), O_RDONLY | O_DIRECTORY)) >= 0);
	for (i = 0; i < 2; i++) {
		walk = first = i == 1;
		fd = fs_beneath(root, "d/e", O_PATH | O_DIRECTORY, &walk);
		assert_true(fd >= 0);
		close(fd);
		fd = fs_beneath(root, "", O_RDONLY | O_DIRECTORY, &walk);
		assert_true(fd >= 0);
		close(fd);
		assert_int_equal(fs_beneath(root, "l", O_PATH | O_DIRECTORY,
		    &walk), -1);
		assert_int_equal(errno, ELOOP);
		assert_int_equal(fs_beneath(root, "l/e", O_PATH | O_DIRECTORY,
		    &walk), -1);
		assert_int_equal(errno, ELOOP);
		assert_int_equal(fs_beneath(root, "d/root/etc",
		    O_PATH | O_DIRECTORY, &walk), -1);
		assert_int_equal(errno, ELOOP);
		assert_int_equal(fs_beneath(root, "d/none/x",
		    O_PATH | O_DIRECTORY, &walk), -1);
		assert_int_equal(errno, ENOENT);
	}
	close(root);
}

/* More directories than memory keeps records of, and deep ones. */
static void
many(void **state)
{
	/* Enough that what they get does not fit into memory (4 MiB). */
	enum { DIRS = 20000, DEPTH = 1000, NAME = 256 };
	struct item *items = calloc(DIRS + 3, sizeof(*items));
	char *names = calloc(DIRS, NAME), *deep = calloc(1, DEPTH * 11 + 1);
	struct fs_extract how = { .overwrite = true };
	struct fs_extracted f;
	bool walk = false;
	int i, fd, root;

	(void)state;
	assert_true(items != NULL && names != NULL && deep != NULL);
	for (i = 0; i < DIRS; i++) {
		snprintf(names + i * NAME, NAME, "n/%0240d", i);
		items[i].type = ENTRY_DIR;
		items[i].path = names + i * NAME;
		items[i].mode = 0711;
	}
	/* The same directory told again: as told last. */
	items[i] = items[0];
	items[i++].mode = 0705;
	for (fd = 0; fd < DEPTH; fd++)
		strcat(deep + fd * 11, "deepdeep12/");
	deep[DEPTH * 11 - 1] = '\0';
	items[i].type = ENTRY_DIR;
	items[i].path = deep;
	items[i].mode = 0701;
	assert_int_equal(extract(in("t"), items, &how, &f), 0);
	assert_true(f.dirs == DIRS + 2);
	snprintf(names, NAME, "t/n/%0240d", 0);
	assert_int_equal(stat_of(names).st_mode & 07777, 0705);
	snprintf(names, NAME, "t/n/%0240d", DIRS / 2);
	assert_int_equal(stat_of(names).st_mode & 07777, 0711);
	root = open(in("t"), O_RDONLY | O_DIRECTORY);
	assert_true((fd = fs_beneath(root, deep, O_PATH | O_DIRECTORY,
	    &walk)) >= 0);
	close(fd);
	/* Removal needs neither depth nor paths. */
	assert_int_equal(fs_remove(root, "deepdeep12"), 0);
	assert_int_equal(fs_remove(root, "n"), 0);
	assert_int_equal(faccessat(root, "deepdeep12", F_OK, 0), -1);
	close(root);
	free(deep);
	free(names);
	free(items);
}

/*
 * Somebody who may write to the target swaps a directory for a symbolic link,
 * again and again, while we extract through it.
 */
static atomic_bool over;

static void *
attacker(void *arg)
{
	(void)arg;
	while (!over) {
		renameat2(AT_FDCWD, in("r/d"), AT_FDCWD, in("r/l"),
		    RENAME_EXCHANGE);
	}
	return NULL;
}

static void
race(void **state)
{
	enum { N = 3000 };
	struct item *items = calloc(N + 1, sizeof(*items));
	char *names = calloc(N, 32);
	struct fs_extract how = { .overwrite = true };
	char cmd[256];
	pthread_t t;
	int i;

	(void)state;
	assert_true(items != NULL && names != NULL);
	assert_int_equal(mkdir(in("r"), 0755), 0);
	assert_int_equal(mkdir(in("r/d"), 0755), 0);
	assert_int_equal(mkdir(in("outside"), 0755), 0);
	assert_int_equal(symlink("../outside", in("r/l")), 0);
	for (i = 0; i < N; i++) {
		/* Many parents, so that the cache does not hide the race. */
		snprintf(names + i * 32, 32, "d/%d/%d", i % 200, i);
		items[i].type = ENTRY_FILE;
		items[i].path = names + i * 32;
		items[i].text = "x";
		items[i].size = 1;
		items[i].mode = 0644;
	}
	assert_int_equal(pthread_create(&t, NULL, attacker, NULL), 0);
	assert_true(extract(in("r"), items, &how, NULL) >= 0);
	over = true;
	pthread_join(t, NULL);
	snprintf(cmd, sizeof(cmd), "test -z \"$(ls -A %s)\"", in("outside"));
	assert_int_equal(system(cmd), 0);
	free(names);
	free(items);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds), cmocka_unit_test(hostile),
		cmocka_unit_test(keep), cmocka_unit_test(limits),
		cmocka_unit_test(beneath), cmocka_unit_test(many),
		cmocka_unit_test(race),
	};

	return cmocka_run_group_tests_name("extract", tests, setup, teardown);
}
