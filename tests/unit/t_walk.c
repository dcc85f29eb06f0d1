/* fs_reader on real directories, also ones that change under it. */

#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <dirent.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/rate.h"
#include "base/stop.h"
#include "base/when.h"
#include "entry/match.h"
#include "fs/fs.h"

static char dir[] = "/tmp/t_walk.XXXXXX";
static int top = -1;
static struct log the_log;

static int
begin(void **state)
{
	(void)state;
	top = scratch(dir);
	log_init(&the_log, NULL, "t_walk");
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
put(const char *name, const void *p, size_t n)
{
	int fd = openat(top, name, O_CREAT | O_TRUNC | O_WRONLY, 0644);

	assert_true(fd != -1);
	assert_true(write(fd, p, n) == (ssize_t)n);
	close(fd);
}

static struct reader *
start(const struct fs_walk *how)
{
	struct err e = ERR_INIT;
	struct reader *r = fs_reader(top, ".", how, &the_log, &e);

	if (r == NULL)
		fail_msg("%s", e.msg);
	return r;
}

/* The next entry, which must be there. */
static const struct entry *
want(struct reader *r, char type, const char *path, struct content **c)
{
	struct err e = ERR_INIT;
	const struct entry *en;
	struct content *mine;
	int got = reader_next(r, &en, c == NULL ? &mine : c, &e);

	if (got != 1)
		fail_msg("%s: next answered %d %s", path, got, e.msg);
	assert_string_equal(en->path, path);
	assert_int_equal(en->type, type);
	return en;
}

static void
want_end(struct reader *r)
{
	struct err e = ERR_INIT;
	const struct entry *en;
	struct content *c;
	int got = reader_next(r, &en, &c, &e);

	if (got != 0)
		fail_msg("not the end: %d %s%s", got, e.msg,
		    got == 1 ? en->path : "");
}

/* All of a walk as one line an entry, with a sum over the bytes. */
static void
listing(struct buf *b, const struct fs_walk *how)
{
	struct reader *r = start(how);
	struct err e = ERR_INIT;
	const struct entry *en;
	struct content *c;
	unsigned char p[5000];
	uint64_t sum, total;
	ssize_t n, i;
	int got;

	while ((got = reader_next(r, &en, &c, &e)) == 1) {
		sum = total = 0;
		while (c != NULL && (n = content_read(c, p, sizeof(p),
		    &e)) > 0)
			for (i = 0, total += (uint64_t)n; i < n; i++)
				sum = sum * 31 + p[i];
		assert_true(total == en->size);
		buf_printf(b, "%c %s %s %llu\n", en->type, en->path,
		    en->target == NULL ? "" : en->target,
		    (unsigned long long)sum);
	}
	assert_int_equal(got, 0);
	assert_false(b->failed);
	reader_close(r);
}

static size_t
open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

static void
types(void **state)
{
	struct fs_walk how = { .xattrs = true, .jobs = 2 };
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	char name[256], target[3001];
	size_t fds = open_fds();
	struct timespec ts[2] = { { 1, 2 }, { 981173106, 123456789 } };
	const struct entry *en;
	struct content *c;
	struct reader *r;
	struct err e = ERR_INIT;
	char got[8];
	int s;

	(void)state;
	put("b", "hello", 5);
	assert_int_equal(linkat(top, "b", top, "a-link", 0), 0);
	assert_int_equal(fchmodat(top, "b", 04751, 0), 0);
	memset(target, 't', 3000);
	target[3000] = '\0';
	assert_int_equal(symlinkat(target, top, "c"), 0);
	assert_int_equal(utimensat(top, "c", ts, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(mkfifoat(top, "d", 0600), 0);
	assert_int_equal(mkdirat(top, "e", 0700), 0);
	put("e/\xff\n", "", 0);
	memset(name, 'n', 255);
	name[255] = '\0';
	put(name, "x", 1);
	put("e.f", "after e's contents", 18);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/sock", dir);
	assert_true((s = socket(AF_UNIX, SOCK_STREAM, 0)) != -1);
	assert_int_equal(bind(s, (void *)&sun, sizeof(sun)), 0);
	close(s);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/b", dir);
	if (setxattr(sun.sun_path, "user.note", "v\0w", 3, 0) == -1)
		print_message("no user xattrs in %s\n", dir);
	if (geteuid() == 0)
		assert_int_equal(mknodat(top, "z", S_IFCHR | 0600,
		    makedev(1, 3)), 0);

	r = start(&how);
	want(r, ENTRY_DIR, "", NULL);
	en = want(r, ENTRY_FILE, "a-link", &c);
	assert_int_equal(en->mode, 04751);
	assert_int_equal(en->nlink, 2);
	if (getxattr(sun.sun_path, "user.note", got, sizeof(got)) == 3) {
		assert_int_equal(en->nxattrs, 1);
		assert_string_equal(en->xattrs[0].name, "user.note");
		assert_int_equal(en->xattrs[0].len, 3);
		assert_memory_equal(en->xattrs[0].value, "v\0w", 3);
	}
	assert_int_equal(content_full(c, got, sizeof(got), &e), 5);
	assert_memory_equal(got, "hello", 5);
	assert_ok(content_reopen(c, &e), &e);
	assert_int_equal(content_full(c, got, sizeof(got), &e), 5);
	en = want(r, ENTRY_HARDLINK, "b", &c);
	assert_string_equal(en->target, "a-link");
	assert_null(c);
	assert_int_equal(en->size, 0);
	en = want(r, ENTRY_SYMLINK, "c", NULL);
	assert_string_equal(en->target, target);
	assert_int_equal(en->mtime.tv_sec, 981173106);
	assert_int_equal(en->mtime.tv_nsec, 123456789);
	want(r, ENTRY_FIFO, "d", NULL);
	want(r, ENTRY_DIR, "e", NULL);
	want(r, ENTRY_FILE, "e/\xff\n", NULL);
	want(r, ENTRY_FILE, "e.f", NULL);
	want(r, ENTRY_FILE, name, NULL);
	if (geteuid() == 0) {
		en = want(r, ENTRY_CHAR, "z", NULL);
		assert_int_equal(en->rdev_major, 1);
		assert_int_equal(en->rdev_minor, 3);
	}
	want_end(r);
	reader_close(r);
	assert_int_equal(log_warnings(&the_log), 0);
	assert_int_equal(open_fds(), fds);
}

static void
acl(void **state)
{
	struct fs_walk how = { .xattrs = true };
	const struct entry *en;
	struct reader *r;
	char cmd[100];

	(void)state;
	put("f", "", 0);
	snprintf(cmd, sizeof(cmd), "setfacl -m u:1234:r %s/f 2>/dev/null",
	    dir);
	if (system(cmd) != 0)
		skip();
	r = start(&how);
	want(r, ENTRY_DIR, "", NULL);
	en = want(r, ENTRY_FILE, "f", NULL);
	assert_int_equal(en->nxattrs, 1);
	assert_string_equal(en->xattrs[0].name, "system.posix_acl_access");
	assert_true(en->xattrs[0].len >= 4 + 5 * 8);
	reader_close(r);
}

static void
sparse(void **state)
{
	struct fs_walk how = { .jobs = 1 };
	const struct entry *en;
	struct content *c;
	struct reader *r;
	struct err e = ERR_INIT;
	char p[8192];
	uint64_t at = 0;
	ssize_t n, i;
	int fd;

	(void)state;
	fd = openat(top, "s", O_CREAT | O_WRONLY, 0600);
	assert_int_equal(ftruncate(fd, 40 << 20), 0);
	assert_int_equal(pwrite(fd, "tail", 4, 20 << 20), 4);
	close(fd);
	r = start(&how);
	want(r, ENTRY_DIR, "", NULL);
	en = want(r, ENTRY_FILE, "s", &c);
	assert_true(en->size == 40 << 20);
	if (!en->sparse)
		skip();                 /* no holes on this file system */
	assert_int_equal(en->nextents, 1);
	assert_true(en->extents[0].off <= 20 << 20);
	assert_true(en->extents[0].len < 1 << 20);
	while ((n = content_read(c, p, sizeof(p), &e)) > 0) {
		for (i = 0; i < n; i++, at++)
			if (p[i] != (at - (20 << 20) < 4 ?
			    "tail"[at - (20 << 20)] : 0))
				fail_msg("byte %llu", (unsigned long long)at);
	}
	assert_true(at == 40 << 20);
	assert_ok(content_reopen(c, &e), &e);
	assert_ok(content_skip(c, 20 << 20, &e), &e);
	assert_int_equal(content_full(c, p, 4, &e), 4);
	assert_memory_equal(p, "tail", 4);
	want_end(r);
	reader_close(r);
}

/* More holes than are told: the rest of them become data, in order. */
static void
many_holes(void **state)
{
	struct fs_walk how = { .jobs = 1 };
	const struct entry *en;
	struct reader *r;
	size_t i, n = 40000;
	int fd;

	(void)state;
	fd = openat(top, "s", O_CREAT | O_WRONLY, 0600);
	for (i = 0; i < n; i++)
		assert_int_equal(pwrite(fd, "x", 1, (off_t)(i * 8192)), 1);
	assert_int_equal(ftruncate(fd, (off_t)(n * 8192)), 0);
	close(fd);
	r = start(&how);
	want(r, ENTRY_DIR, "", NULL);
	en = want(r, ENTRY_FILE, "s", NULL);
	if (!en->sparse)
		skip();
	assert_true(en->nextents > 0 && en->nextents <= 16384);
	for (i = 0; i < en->nextents; i++) {
		assert_true(en->extents[i].len > 0);
		assert_true(i == 0 || en->extents[i].off >
		    en->extents[i - 1].off + en->extents[i - 1].len);
	}
	/* The last byte of data is inside. */
	i = en->nextents - 1;
	assert_true(en->extents[i].off + en->extents[i].len > (n - 1) * 8192);
	assert_true(en->extents[i].off + en->extents[i].len <= en->size);
	reader_close(r);
}

static void
changing(void **state)
{
	struct fs_walk how = { .jobs = 1 };
	size_t n = 1 << 20, i;
	char *p = calloc(1, n), *q = malloc(n);
	struct fs_walked facts;
	struct content *c;
	struct reader *r;
	struct err e = ERR_INIT;
	int fd;

	(void)state;
	memset(p, 'x', n);
	put("grown", p, n);
	put("same", p, n);
	put("shrunk", p, n);
	r = start(&how);
	want(r, ENTRY_DIR, "", NULL);
	want(r, ENTRY_FILE, "grown", &c);
	assert_int_equal(content_full(c, q, 1000, &e), 1000);
	fd = openat(top, "grown", O_WRONLY | O_APPEND);
	assert_int_equal(write(fd, p, 100), 100);
	close(fd);
	assert_int_equal(content_full(c, q, n, &e), n - 1000);
	want(r, ENTRY_FILE, "same", &c);
	assert_int_equal(content_full(c, q, n, &e), n);
	assert_int_equal(log_warnings(&the_log), 0);
	want(r, ENTRY_FILE, "shrunk", &c);
	assert_int_equal(content_full(c, q, 1000, &e), 1000);
	fd = openat(top, "shrunk", O_WRONLY);
	assert_int_equal(ftruncate(fd, 300000), 0);
	close(fd);
	assert_int_equal(content_full(c, q, n, &e), n - 1000);
	for (i = 0; i < n - 1000; i++)
		assert_int_equal(q[i], i < 299000 ? 'x' : 0);
	assert_int_equal(content_full(c, q, 1, &e), 0);
	want_end(r);
	fs_reader_facts(r, &facts);
	assert_int_equal(facts.changed, 1);
	assert_int_equal(log_warnings(&the_log), 1);
	assert_non_null(strstr(the_log.kept[0], "shrunk: shrank"));
	reader_close(r);
	free(p);
	free(q);
}

static _Atomic bool over;

static void *
restless(void *arg)
{
	char name[16], p[3000];
	unsigned i = 0;
	int fd;

	(void)arg;
	memset(p, 'r', sizeof(p));
	while (!over) {
		snprintf(name, sizeof(name), "f%u", i % 50);
		switch (i++ % 4) {
		case 0:
			unlinkat(top, name, 0);
			break;
		case 1:
			if (symlinkat("/etc/passwd", top, name) == -1 &&
			    errno != EEXIST)
				abort();
			break;
		default:
			fd = openat(top, name, O_CREAT | O_WRONLY | O_TRUNC |
			    O_NOFOLLOW, 0600);
			if (fd == -1) {
				unlinkat(top, name, 0);
				break;
			}
			if (write(fd, p, 100 * (i % 30)) == -1)
				abort();
			close(fd);
		}
	}
	return NULL;
}

/* Whatever happens meanwhile: sizes are kept, links are not followed. */
static void
racing(void **state)
{
	struct fs_walk how = { .xattrs = true, .jobs = 2 };
	pthread_t t;
	struct buf b;
	int i;

	(void)state;
	over = false;
	assert_int_equal(pthread_create(&t, NULL, restless, NULL), 0);
	buf_init(&b, 1 << 20);
	for (i = 0; i < 200; i++) {
		buf_reset(&b);
		listing(&b, &how);
	}
	over = true;
	pthread_join(t, NULL);
	buf_fini(&b);
}

static void
vanishing(void **state)
{
	struct fs_walk how = { .jobs = 1 };
	struct reader *r;

	(void)state;
	put("a", "1", 1);
	put("b", "2", 1);
	put("c", "3", 1);
	mkdirat(top, "d", 0700);
	put("d/x", "4", 1);
	mkdirat(top, "e", 0700);
	put("e/x", "5", 1);
	mkdirat(top, "f", 0700);
	r = start(&how);
	want(r, ENTRY_DIR, "", NULL);
	/* Listed, but with one job nothing is loaded before it is asked for. */
	unlinkat(top, "b", 0);
	unlinkat(top, "c", 0);
	assert_int_equal(symlinkat("/etc/passwd", top, "c"), 0);
	unlinkat(top, "d/x", 0);
	unlinkat(top, "d", AT_REMOVEDIR);
	assert_int_equal(symlinkat("/etc", top, "d"), 0);
	unlinkat(top, "f", AT_REMOVEDIR);
	want(r, ENTRY_FILE, "a", NULL);
	want(r, ENTRY_DIR, "e", NULL);
	want(r, ENTRY_FILE, "e/x", NULL);
	want_end(r);
	assert_int_equal(log_warnings(&the_log), 4);
	assert_non_null(strstr(the_log.kept[0], "b: vanished"));
	assert_non_null(strstr(the_log.kept[1], "c: became something else"));
	assert_non_null(strstr(the_log.kept[2], "d: became something else"));
	assert_non_null(strstr(the_log.kept[3], "f: vanished"));
	reader_close(r);
}

static void
unreadable_as_nobody(void)
{
	struct fs_walk how = { .jobs = 1, .xattrs = true };
	struct reader *r;

	if (geteuid() == 0 && (setgid(65534) == -1 || setuid(65534) == -1))
		_exit(1);
	r = start(&how);
	want(r, ENTRY_DIR, "", NULL);
	want(r, ENTRY_DIR, "closed", NULL);
	want(r, ENTRY_FILE, "open", NULL);
	want_end(r);
	assert_int_equal(log_warnings(&the_log), 2);
	assert_non_null(strstr(the_log.kept[0], "closed: Permission denied"));
	assert_non_null(strstr(the_log.kept[1], "secret: Permission denied"));
	reader_close(r);
}

static void
unreadable(void **state)
{
	pid_t pid;
	int status;

	(void)state;
	put("open", "1", 1);
	put("secret", "2", 1);
	assert_int_equal(fchmodat(top, "secret", 0, 0), 0);
	mkdirat(top, "closed", 0);
	fchmod(top, 0755);
	if ((pid = fork()) == 0) {
		unreadable_as_nobody();
		_exit(0);
	}
	assert_true(waitpid(pid, &status, 0) == pid);
	assert_int_equal(status, 0);
	assert_int_equal(fchmodat(top, "closed", 0700, 0), 0);
}

static void
deep(void **state)
{
	struct fs_walk how = { .xattrs = true };
	struct rlimit old, few = { 90, 90 };
	const struct entry *en;
	struct content *c;
	struct reader *r;
	struct err e = ERR_INIT;
	size_t depth = 0, entries = 0, fds = open_fds();
	int fd, next, i, got;

	(void)state;
	fd = dup(top);
	for (i = 0; i < 1100; i++) {
		assert_int_equal(mkdirat(fd, "m", 0700), 0);
		assert_int_equal(mkdirat(fd, "z", 0700), 0);
		next = openat(fd, "m", O_RDONLY | O_DIRECTORY);
		assert_true(next != -1);
		close(fd);
		fd = next;
	}
	close(fd);
	getrlimit(RLIMIT_NOFILE, &old);
	few.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	r = start(&how);
	while ((got = reader_next(r, &en, &c, &e)) == 1) {
		entries++;
		if (entry_depth(en->path) > depth)
			depth = entry_depth(en->path);
	}
	if (got == -1)
		fail_msg("%s", e.msg);
	reader_close(r);
	setrlimit(RLIMIT_NOFILE, &old);
	assert_int_equal(depth, ENTRY_DEPTH_MAX);
	/* Both names of each level: found again on the way back up. */
	assert_int_equal(entries, 1 + 2 * ENTRY_DEPTH_MAX);
	assert_int_equal(log_warnings(&the_log), 2);
	assert_int_equal(open_fds(), fds);
}

/* An outer directory is moved away while only its descendants are open. */
static void
moved(void **state)
{
	struct fs_walk how = { .jobs = 1 };
	struct reader *r;
	struct buf b;
	int fd, next, i;

	(void)state;
	fd = dup(top);
	for (i = 0; i < 60; i++) {
		mkdirat(fd, "m", 0700);
		mkdirat(fd, "z", 0700);
		next = openat(fd, "m", O_RDONLY | O_DIRECTORY);
		close(fd);
		fd = next;
	}
	close(fd);
	r = start(&how);
	buf_init(&b, 1000);
	want(r, ENTRY_DIR, "", NULL);
	for (i = 0; i < 60; i++) {
		buf_str(&b, i == 0 ? "m" : "/m");
		want(r, ENTRY_DIR, b.p, NULL);
	}
	/* The fifth level comes out of its parent, with all below it. */
	assert_int_equal(renameat(top, "m/m/m/m/m", top, "away"), 0);
	for (i = 59; i >= 5; i--) {
		buf_cut(&b, 2 * (size_t)i);
		buf_str(&b, "z");
		want(r, ENTRY_DIR, b.p, NULL);
	}
	/* ".." of it is the top now: found again by its path. */
	for (i = 4; i >= 0; i--) {
		buf_cut(&b, 2 * (size_t)i);
		buf_str(&b, "z");
		want(r, ENTRY_DIR, b.p, NULL);
	}
	want_end(r);
	assert_int_equal(log_warnings(&the_log), 0);
	reader_close(r);
	buf_fini(&b);
}

static void
wide(void **state)
{
	struct fs_walk how = { .jobs = 1 };
	struct reader *r;
	struct err e = ERR_INIT;
	const struct entry *en;
	struct content *c;
	struct buf a, b;
	char name[40];
	int i;

	(void)state;
	mkdirat(top, "w", 0700);
	for (i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "w/%d", i * 7919 % 20011);
		put(name, name, i % 100 == 0 ? strlen(name) : 0);
	}
	for (i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		mkdirat(top, name, 0700);
		snprintf(name, sizeof(name), "d%d/f", i);
		put(name, name, strlen(name));
		snprintf(name, sizeof(name), "d%d/sub", i);
		mkdirat(top, name, 0700);
	}
	buf_init(&a, 4 << 20);
	buf_init(&b, 4 << 20);
	listing(&a, &how);
	for (i = 0; i < 3; i++) {
		how.jobs = i == 0 ? 0 : i == 1 ? 2 : 30;
		buf_reset(&b);
		listing(&b, &how);
		assert_string_equal(a.p, b.p);
	}
	assert_non_null(strstr(a.p, "\nf w/1 "));
	assert_non_null(strstr(a.p, "\nd d9/sub "));
	/* Closed in the middle, with loads under way. */
	for (i = 0; i < 20; i++) {
		size_t fds = open_fds();
		int k;

		r = start(&how);
		for (k = 0; k < i * 13; k++)
			assert_int_equal(reader_next(r, &en, &c, &e), 1);
		reader_close(r);
		assert_int_equal(open_fds(), fds);
	}
	buf_fini(&a);
	buf_fini(&b);
}

static void
rules(void **state)
{
	struct err e = ERR_INIT;
	struct match *m = match_new(&e);
	struct fs_walk how = { .jobs = 1, .match = m, .prefix = "srv/" };
	struct fs_walked facts;
	struct reader *r;

	(void)state;
	mkdirat(top, "game", 0700);
	mkdirat(top, "game/cfg", 0700);
	put("game/cfg/x", "", 0);
	put("game/big", "", 0);
	mkdirat(top, "other", 0700);
	put("other/x", "", 0);
	mkdirat(top, ".cala-restore-1", 0700);
	mkdirat(top, ".cala-old-1", 0700);
	put("hard1", "", 0);
	assert_int_equal(linkat(top, "hard1", top, "keep", 0), 0);
	assert_ok(match_add(m, "*", 1, &e), &e);
	assert_ok(match_add(m, "!/keep", 6, &e), &e);
	assert_ok(match_add(m, "!game/cfg", 9, &e), &e);
	r = start(&how);
	want(r, ENTRY_DIR, "srv", NULL);
	want(r, ENTRY_DIR, "srv/game/cfg", NULL);
	want(r, ENTRY_FILE, "srv/game/cfg/x", NULL);
	/* The other name is excluded, so this is the file itself. */
	want(r, ENTRY_FILE, "srv/keep", NULL);
	want_end(r);
	fs_reader_facts(r, &facts);
	assert_int_equal(facts.excluded, 4);
	reader_close(r);
	how.match = NULL;
	how.prefix = NULL;
	r = start(&how);
	want(r, ENTRY_DIR, "", NULL);
	want(r, ENTRY_DIR, "game", NULL);
	reader_close(r);
	match_free(m);
}

static void
single(void **state)
{
	struct fs_walk how = { .jobs = 1 };
	struct err e = ERR_INIT;
	struct content *c;
	struct reader *r;
	char p[8];

	(void)state;
	mkdirat(top, "d", 0700);
	put("d/f", "one", 3);
	assert_int_equal(symlinkat("f", top, "d/l"), 0);
	assert_non_null(r = fs_reader(top, "d/f", &how, &the_log, &e));
	want(r, ENTRY_FILE, "f", &c);
	assert_int_equal(content_full(c, p, 8, &e), 3);
	want_end(r);
	reader_close(r);
	how.prefix = "x/y";
	assert_non_null(r = fs_reader(top, "d/l", &how, &the_log, &e));
	want(r, ENTRY_SYMLINK, "x/y", NULL);
	want_end(r);
	reader_close(r);
	assert_null(fs_reader(top, "d/none", &how, &the_log, &e));
	assert_int_equal(e.code, CALA_NOTFOUND);
	err_clear(&e);
	how.prefix = "../x";
	assert_null(fs_reader(top, "d", &how, &the_log, &e));
	assert_int_equal(e.code, CALA_USAGE);
}

static void
mounts(void **state)
{
	struct fs_walk how = { .one_file_system = true };
	struct reader *r;
	char name[64];
	int status;
	pid_t pid;

	(void)state;
	mkdirat(top, "m", 0700);
	snprintf(name, sizeof(name), "%s/m", dir);
	if ((pid = fork()) == 0) {
		if (unshare(CLONE_NEWNS) == -1 ||
		    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1 ||
		    mount("none", name, "tmpfs", 0, NULL) == -1)
			_exit(77);
		/* The old descriptor still sees the tree without it. */
		close(top);
		top = open(dir, O_RDONLY | O_DIRECTORY);
		put("m/inside", "", 0);
		r = start(&how);
		want(r, ENTRY_DIR, "", NULL);
		want(r, ENTRY_DIR, "m", NULL);
		want_end(r);
		reader_close(r);
		how.one_file_system = false;
		r = start(&how);
		want(r, ENTRY_DIR, "", NULL);
		want(r, ENTRY_DIR, "m", NULL);
		want(r, ENTRY_FILE, "m/inside", NULL);
		want_end(r);
		_exit(0);
	}
	assert_true(waitpid(pid, &status, 0) == pid);
	if (WEXITSTATUS(status) == 77) {
		print_message("may not mount: not tested\n");
		skip();
	}
	assert_int_equal(status, 0);
}

static void
limited(void **state)
{
	struct err e = ERR_INIT;
	struct rate *r = rate_new(1 << 20, &e);
	double t0 = when_mono();
	int i;

	(void)state;
	for (i = 0; i < 5; i++)
		assert_ok(rate_take(r, 64 << 10, &e), &e);
	/* At most a twentieth of a second was saved up. */
	assert_true(when_mono() - t0 > 5.0 / 16 - 0.06);
	assert_ok(rate_take(NULL, 1 << 30, &e), &e);
	stop_set(15);
	assert_int_equal(rate_take(r, (size_t)1 << 40, &e), -1);
	assert_int_equal(e.code, CALA_SIGNAL + 15);
	stop_set(0);
	rate_free(r);
}

/* A part of a tree, under the rules of the whole; and without contents. */
static void
part(void **state)
{
	struct err e = ERR_INIT;
	struct fs_walk how = { .prefix = "a/b", .match_prefix = true,
	    .bare = true };
	struct match *m = match_new(&e);
	const struct entry *en;
	struct content *c = NULL;
	struct reader *r;

	(void)state;
	assert_int_equal(mkdirat(top, "b", 0755), 0);
	assert_int_equal(mkdirat(top, "b/c", 0755), 0);
	put("b/c/gone", "1234", 4);
	put("b/c/kept", "12345", 5);
	put("b/top", "1", 1);
	assert_int_equal(match_add(m, "/a/b/c/gone", 11, &e), 0);
	assert_int_equal(match_add(m, "/c/kept", 7, &e), 0);
	assert_int_equal(match_add(m, "/a/b/top", 8, &e), 0);
	how.match = m;
	assert_non_null((r = fs_reader(top, "b", &how, &the_log, &e)));
	want(r, 'd', "a/b", NULL);
	want(r, 'd', "a/b/c", NULL);
	en = want(r, 'f', "a/b/c/kept", &c);
	assert_int_equal(en->size, 5);
	assert_null(c);
	assert_int_equal(reader_next(r, &en, &c, &e), 0);
	reader_close(r);
	how.prefix = "a/b/top";
	assert_non_null((r = fs_reader(top, "b/top", &how, &the_log, &e)));
	assert_int_equal(reader_next(r, &en, &c, &e), 0);
	reader_close(r);
	match_free(m);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(types), T(acl), T(sparse), T(many_holes), T(changing),
		T(racing), T(vanishing), T(unreadable), T(deep), T(moved),
		T(wide), T(rules), T(single), T(mounts), T(limited),
		T(part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
