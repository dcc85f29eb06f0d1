/* base: files that are whole or absent, locks, secrets. */

#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/secret.h"
#include "base/str.h"

static char dir[] = "/tmp/cala-t_base_file.XXXXXX";
static int dirfd_;

static int
enter(void **state)
{
	(void)state;
	dirfd_ = scratch(dir);
	return chdir(dir);
}

static int
left(void **state)
{
	(void)state;
	return chdir("/") == -1 ? -1 : scratch_drop(dirfd_, dir);
}

static void
write_file(const char *name, const char *text, mode_t mode)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd != -1);
	assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void
assert_content(const char *name, const char *text)
{
	struct err e = ERR_INIT;
	struct buf b;

	buf_init(&b, 4096);
	assert_ok(file_slurp(&b, dirfd_, name, &e), &e);
	assert_string_equal(b.p, text);
	buf_fini(&b);
}

/* Names in the folder that end in .part: what an abort must not leave. */
static int
parts(void)
{
	FILE *f = popen("ls -A | grep -c 'part$'", "r");
	int n = -1;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &n), 1);
	pclose(f);
	return n;
}

static void
slurp_limits(void **state)
{
	struct err e = ERR_INIT;
	struct buf b;

	(void)state;
	write_file("five", "12345", 0600);
	buf_init(&b, 5);
	assert_ok(file_slurp(&b, dirfd_, "five", &e), &e);
	assert_string_equal(b.p, "12345");
	/* Full already: one byte more is one too many, none is not. */
	assert_int_equal(file_slurp(&b, dirfd_, "five", &e), -1);
	assert_int_equal(e.code, CALA_INTEGRITY);
	write_file("none", "", 0600);
	assert_ok(file_slurp(&b, dirfd_, "none", &e), &e);
	buf_fini(&b);

	buf_init(&b, 4);
	assert_int_equal(file_slurp(&b, dirfd_, "five", &e), -1);
	assert_int_equal(e.code, CALA_INTEGRITY);
	assert_int_equal(file_slurp(&b, dirfd_, "absent", &e), -1);
	assert_int_equal(e.code, CALA_NOTFOUND);
	assert_int_equal(mkfifo("pipe", 0600), 0);
	assert_int_equal(file_slurp(&b, dirfd_, "pipe", &e), -1);
	assert_int_equal(file_slurp(&b, dirfd_, ".", &e), -1);
	buf_fini(&b);
}

static void
atomic_commit(void **state)
{
	struct err e = ERR_INIT;
	struct afile f = AFILE_INIT;
	struct stat st;

	(void)state;
	assert_ok(afile_open(&f, dirfd_, "a", &e), &e);
	assert_int_equal(file_write_all(f.fd, "one", 3), 0);
	assert_int_equal(access("a", F_OK), -1);
	assert_int_equal(parts(), 1);
	assert_ok(afile_commit(&f, 0640, AFILE_NOREPLACE, &e), &e);
	assert_int_equal(stat("a", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	afile_abort(&f);
	assert_content("a", "one");

	/* A second writer is told, and the first one's bytes stay. */
	assert_ok(afile_open(&f, dirfd_, "a", &e), &e);
	assert_int_equal(file_write_all(f.fd, "two", 3), 0);
	assert_int_equal(afile_commit(&f, 0600, AFILE_NOREPLACE, &e), -1);
	assert_int_equal(e.code, CALA_EXISTS);
	afile_abort(&f);
	assert_content("a", "one");
	assert_int_equal(parts(), 0);

	assert_ok(afile_open(&f, dirfd_, "a", &e), &e);
	assert_int_equal(file_write_all(f.fd, "two", 3), 0);
	assert_ok(afile_commit(&f, 0600, 0, &e), &e);
	assert_content("a", "two");

	assert_ok(afile_open(&f, dirfd_, "a", &e), &e);
	afile_abort(&f);
	afile_abort(&f);
	assert_content("a", "two");
	assert_int_equal(parts(), 0);
}

/* renameat2 with flags answers EINVAL, as on file systems without them. */
static int
forbid_noreplace(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
		    offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat2, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
		    offsetof(struct seccomp_data, args[4])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog =
	    { sizeof(code) / sizeof(*code), code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0 ? 0 : -1;
}

static int
commit_noreplace(const char *name, const char *text)
{
	struct err e = ERR_INIT;
	struct afile f = AFILE_INIT;
	int ret;

	if (afile_open(&f, dirfd_, name, &e) == -1 ||
	    file_write_all(f.fd, text, strlen(text)) == -1)
		return CALA_FAIL;
	ret = afile_commit(&f, 0600, AFILE_NOREPLACE, &e);
	afile_abort(&f);
	return ret == 0 ? 0 : e.code;
}

static void
atomic_without_flags(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	fflush(NULL);
	if ((pid = fork()) == 0) {
		if (forbid_noreplace() == -1)
			_exit(77);
		if (renameat2(dirfd_, "x", dirfd_, "y", RENAME_NOREPLACE) !=
		    -1 || errno != EINVAL)
			_exit(78);
		if (commit_noreplace("nr", "first") != 0)
			_exit(1);
		if (commit_noreplace("nr", "second") != CALA_EXISTS)
			_exit(2);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("no seccomp filters here\n");
		skip();
	}
	assert_int_equal(status, 0);
	assert_content("nr", "first");
	assert_int_equal(parts(), 0);
}

/* A writer that dies at any moment before the commit leaves the old file. */
static void
atomic_crash(void **state)
{
	struct err e = ERR_INIT;
	struct afile f = AFILE_INIT;
	int step, status;
	pid_t pid;

	(void)state;
	write_file("c", "old", 0600);
	for (step = 0; step < 3; step++) {
		fflush(NULL);
		if ((pid = fork()) == 0) {
			if (afile_open(&f, dirfd_, "c", &e) == -1)
				_exit(1);
			if (step > 0)
				file_write_all(f.fd, "n", 1);
			if (step > 1)
				file_write_all(f.fd, "ew", 2);
			raise(SIGKILL);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		assert_content("c", "old");
	}
	assert_int_equal(parts(), 3);
	assert_int_equal(system("rm -f .c.*.part"), 0);
}

static void
full_disk(void **state)
{
	struct err e = ERR_INIT;
	int fd = open("/dev/full", O_WRONLY);

	(void)state;
	if (fd == -1) {
		print_message("no /dev/full\n");
		skip();
	}
	assert_int_equal(file_write_all(fd, "x", 1), -1);
	err_sys(&e, "x");
	assert_int_equal(e.code, CALA_NOSPACE);
	assert_int_equal(file_pwrite_all(fd, "x", 1, 1000), -1);
	close(fd);
}

/* Short reads and writes through a pipe come out whole. */
static void
whole_through_pipe(void **state)
{
	static char in[300000], out[300001];
	int fds[2], status;
	pid_t pid;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(in); i++)
		in[i] = (char)(i * 31);
	assert_int_equal(pipe(fds), 0);
	if ((pid = fork()) == 0) {
		close(fds[0]);
		_exit(file_write_all(fds[1], in, sizeof(in)) == 0 ? 0 : 1);
	}
	close(fds[1]);
	assert_int_equal(file_read_full(fds[0], out, sizeof(out)),
	    sizeof(in));
	assert_memory_equal(in, out, sizeof(in));
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void
locks(void **state)
{
	struct err e = ERR_INIT;
	char pid_text[40];
	int fd, other, status;
	pid_t pid;

	(void)state;
	fd = file_lock(dirfd_, "l", "a test", 0, &e);
	assert_true(fd != -1);
	other = file_lock(dirfd_, "l", "another", 0, &e);
	assert_int_equal(other, -1);
	assert_int_equal(e.code, CALA_LOCKED);
	snprintf(pid_text, sizeof(pid_text), "pid %ld (a test)",
	    (long)getpid());
	assert_non_null(strstr(e.msg, pid_text));
	close(fd);
	fd = file_lock(dirfd_, "l", "again", 0, &e);
	assert_true(fd != -1);
	close(fd);

	/* The death of its holder frees it. */
	fflush(NULL);
	if ((pid = fork()) == 0) {
		if (file_lock(dirfd_, "l", "child", 0, &e) == -1)
			_exit(1);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	fd = file_lock(dirfd_, "l", "after", 0, &e);
	assert_true(fd != -1);
	close(fd);
	assert_int_equal(symlink("/etc/passwd", "planted"), 0);
	assert_int_equal(file_lock(dirfd_, "planted", "x", 0, &e), -1);
}

/* A lock file removed while we waited is not the lock any more. */
static void
lock_replaced(void **state)
{
	struct err e = ERR_INIT;
	int ready[2], fd, status;
	pid_t pid;
	char c;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	fd = file_lock(dirfd_, "r", "first", 0, &e);
	assert_true(fd != -1);
	fflush(NULL);
	if ((pid = fork()) == 0) {
		close(fd);
		if (write(ready[1], "r", 1) != 1)
			_exit(1);
		fd = file_lock(dirfd_, "r", "second", 60, &e);
		/* Ours must be the file that has the name now. */
		_exit(fd != -1 && access("r", F_OK) == 0 &&
		    file_lock(dirfd_, "r", "third", 0, &e) == -1 ? 0 : 2);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(unlink("r"), 0);
	close(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(ready[0]);
	close(ready[1]);
}

static void
folders(void **state)
{
	struct err e = ERR_INIT;
	char path[5000];
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/x//y/z/", dir);
	fd = file_mkdirs(path, 0700, &e);
	assert_true(fd != -1);
	close(fd);
	fd = file_mkdirs(path, 0700, &e);
	assert_true(fd != -1);
	close(fd);
	write_file("x/y/file", "", 0600);
	assert_int_equal(file_mkdirs("x/y/file/z", 0700, &e), -1);
	assert_int_equal(file_mkdirs("x/y/file", 0700, &e), -1);
	assert_int_equal(file_mkdirs("", 0700, &e), -1);
	memset(path, 'p', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(file_mkdirs(path, 0700, &e), -1);
	assert_int_equal(file_opendir(dirfd_, "x/nowhere", &e), -1);
	assert_int_equal(e.code, CALA_NOTFOUND);
}

static void
secret_files(void **state)
{
	struct err e = ERR_INIT;
	struct secret s = SECRET_INIT;

	(void)state;
	write_file("s", "hunter2\r\n", 0600);
	assert_ok(secret_read_file(&s, "s", &e), &e);
	assert_int_equal(s.len, 7);
	assert_string_equal((char *)s.p, "hunter2");
	write_file("s", "two\n\n", 0600);
	assert_ok(secret_read_file(&s, "s", &e), &e);
	assert_string_equal((char *)s.p, "two\n");
	write_file("s", "bare\r", 0400);
	assert_ok(secret_read_file(&s, "s", &e), &e);
	assert_string_equal((char *)s.p, "bare\r");

	write_file("open", "x", 0640);
	assert_int_equal(secret_read_file(&s, "open", &e), -1);
	assert_int_equal(e.code, CALA_AUTH);
	assert_string_equal(e.hint, "chmod 600 open");
	assert_int_equal(symlink("s", "link"), 0);
	assert_int_equal(secret_read_file(&s, "link", &e), -1);
	assert_int_equal(mkfifo("fifo", 0600), 0);
	assert_int_equal(secret_read_file(&s, "fifo", &e), -1);
	assert_int_equal(e.code, CALA_AUTH);
	assert_int_equal(secret_read_file(&s, "absent", &e), -1);
	assert_int_equal(e.code, CALA_NOTFOUND);
	if (geteuid() == 0) {
		assert_int_equal(chown("s", 1234, 1234), 0);
		assert_int_equal(secret_read_file(&s, "s", &e), -1);
		assert_int_equal(e.code, CALA_AUTH);
	}
	secret_free(&s);
	secret_free(&s);
}

static void
secret_limits(void **state)
{
	struct err e = ERR_INIT;
	struct secret s = SECRET_INIT;
	int fd = open("big", O_RDWR | O_CREAT, 0600);

	(void)state;
	assert_int_equal(ftruncate(fd, SECRET_MAX - 1), 0);
	assert_ok(secret_read_fd(&s, fd, "big", &e), &e);
	assert_int_equal(s.len, SECRET_MAX - 1);
	assert_int_equal(ftruncate(fd, SECRET_MAX), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(secret_read_fd(&s, fd, "big", &e), -1);
	assert_int_equal(e.code, CALA_USAGE);
	assert_int_equal(secret_alloc(&s, SECRET_MAX + 1, &e), -1);
	close(fd);
	secret_free(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slurp_limits),
		cmocka_unit_test(atomic_commit),
		cmocka_unit_test(atomic_without_flags),
		cmocka_unit_test(atomic_crash),
		cmocka_unit_test(full_disk),
		cmocka_unit_test(whole_through_pipe),
		cmocka_unit_test(locks), cmocka_unit_test(lock_replaced),
		cmocka_unit_test(folders), cmocka_unit_test(secret_files),
		cmocka_unit_test(secret_limits),
	};

	return cmocka_run_group_tests_name("base_file", tests, enter, left);
}
