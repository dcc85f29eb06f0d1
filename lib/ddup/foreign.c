/*
 * foreign: what is owed to the Rust program.
 *
 * It reads the index once, when it opens the repository, and writes its copy
 * over whatever is there: no lock makes writing beside a live one safe.  So a
 * live one is looked for and refused; its lock file is honoured and ours is
 * published in it for the time that the index changes.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "ddup/int.h"

enum {
	SHORT = 24, CONFIG_MAX = 1 << 20,
	MARK = 246813579        /* nanoseconds: who else writes changes them */
};

#define SETTLE 0.2              /* seconds */

int
foreign_parse(struct foreign *f, const unsigned char *p, size_t n)
{
	size_t i;

	if (n < SHORT)
		return -1;
	memset(f, 0, sizeof(*f));
	f->mode = p[0];
	f->writer = p[8] != 0;
	f->pid = get_le64(p + 16);
	for (i = 0; i < 3; i++)
		if (n >= SHORT + 8 * (i + 1))
			f->readers[i] = get_le64(p + SHORT + 8 * i);
	return 0;
}

void
foreign_bytes(const struct foreign *f, unsigned char p[FOREIGN_SIZE])
{
	size_t i;

	memset(p, 0, FOREIGN_SIZE);
	p[0] = f->mode;
	p[8] = f->writer;
	put_le64(p + 16, f->pid);
	for (i = 0; i < 3; i++)
		put_le64(p + SHORT + 8 * i, f->readers[i]);
}

int
foreign_get(struct foreign *f, int chunks, struct err *e)
{
	struct err none = ERR_INIT;
	struct stat st;
	struct buf b;
	int ret = -1;

	memset(f, 0, sizeof(*f));
	buf_init(&b, 4096);
	if (file_slurp(&b, chunks, "index.lock", &none) == -1) {
		if (none.code == CALA_NOTFOUND)
			ret = 0;
		else
			*e = none;
	} else if (b.len == 0) {
		/* Both sides write it whole: this was a power cut. */
		ret = 0;
	} else if (foreign_parse(f, (const unsigned char *)b.p, b.len) == -1) {
		err_set(e, CALA_INTEGRITY, "index.lock: %zu bytes, not 48",
		    b.len);
		err_hint(e, "'cala-ddup break-lock' resets it, when no "
		    "other program uses the repository");
	} else {
		if (fstatat(chunks, "index.lock", &st,
		    AT_SYMLINK_NOFOLLOW) == 0)
			f->since = st.st_mtim;
		ret = 0;
	}
	buf_fini(&b);
	return ret;
}

/* Over the old one, which needs no room on a full disk. */
static int
put_over(int chunks, const unsigned char p[FOREIGN_SIZE])
{
	struct stat st;
	int ret = -1, fd = openat(chunks, "index.lock", O_WRONLY | O_NOFOLLOW |
	    O_NONBLOCK | O_CLOEXEC);

	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    st.st_size == FOREIGN_SIZE)
		ret = file_pwrite_all(fd, p, FOREIGN_SIZE, 0);
	close(fd);
	return ret;
}

bool
foreign_untouched(int chunks)
{
	struct stat st;

	return fstatat(chunks, "index.lock", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_mtim.tv_nsec == MARK;
}

/*
 * Whole by rename, like the other side; no fsync: what it says of us ends with
 * us, and left empty by a power cut it says nothing.  mark: with the time that
 * foreign_untouched() knows.
 */
static int
put(const struct foreign *f, int chunks, bool mark, struct err *e)
{
	struct timespec ours[2] = { { .tv_nsec = UTIME_OMIT },
	    { .tv_sec = when_now().tv_sec, .tv_nsec = MARK } };
	unsigned char p[FOREIGN_SIZE];
	char tmp[64];
	int fd, why, ret = -1;

	foreign_bytes(f, p);
	snprintf(tmp, sizeof(tmp), ".index.lock.cala.%ld", (long)getpid());
	(void)unlinkat(chunks, tmp, 0);
	fd = openat(chunks, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW |
	    O_CLOEXEC, 0644);
	if (fd != -1 && file_write_all(fd, p, sizeof(p)) == 0 &&
	    fchmod(fd, 0644) == 0 && (!mark || futimens(fd, ours) == 0))
		ret = 0;
	if (fd != -1 && close(fd) == -1)
		ret = -1;
	if (ret == 0)
		ret = renameat(chunks, tmp, chunks, "index.lock");
	if (ret == 0)
		return 0;
	why = errno;
	(void)unlinkat(chunks, tmp, 0);
	if ((why == ENOSPC || why == EDQUOT) && put_over(chunks, p) == 0)
		return 0;
	errno = why;
	return err_sys(e, "write index.lock");
}

int
foreign_put(const struct foreign *f, int chunks, struct err *e)
{
	return put(f, chunks, false, e);
}

/* Like wings, wings-rs, calagopus-wings, ddup-bak: the name of a program. */
static bool
suspect(const char *name)
{
	return str_begins(name, "wings") || str_begins(name, "ddup-bak") ||
	    str_begins(name, "calagopus-wings");
}

/* The program's name: of its file; NULL where that can't be told. */
static bool
program(int proc, const char *pid, char *name, size_t size)
{
	char path[320], file[PATH_MAX];
	const char *base;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/exe", pid);
	n = readlinkat(proc, path, file, sizeof(file) - 1);
	if (n > 0) {
		file[n] = '\0';
		base = strrchr(file, '/');
		snprintf(name, size, "%.*s", (int)size - 1,
		    base != NULL ? base + 1 : file);
		return true;
	}
	snprintf(path, sizeof(path), "%s/comm", pid);
	if ((fd = openat(proc, path, O_RDONLY | O_CLOEXEC)) == -1)
		return false;
	n = read(fd, name, size - 1);
	close(fd);
	if (n <= 0)
		return false;
	name[n] = '\0';
	name[strcspn(name, "\n")] = '\0';
	return true;
}

static bool
same_folder(int dirfd, const char *path, const struct stat *root)
{
	struct stat st;

	return fstatat(dirfd, path, &st, 0) == 0 && S_ISDIR(st.st_mode) &&
	    st.st_dev == root->st_dev && st.st_ino == root->st_ino;
}

/* The value of "backup_directory:" in Wings' configuration. */
static bool
configured(int proc, const char *pid, const char *file,
    const struct stat *root)
{
	static const char key[] = "backup_directory:";
	struct err ignored = ERR_INIT;
	char path[PATH_MAX + 64], *p, *end;
	struct buf b;
	bool yes = false;
	int at;

	snprintf(path, sizeof(path), "%s/root", pid);
	at = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	buf_init(&b, CONFIG_MAX);
	while (*file == '/')
		file++;
	if (at != -1 && file_slurp(&b, at, file, &ignored) == 0)
		for (p = b.p; (p = strstr(p, key)) != NULL && !yes; ) {
			p += sizeof(key) - 1;
			p += strspn(p, " \t\"'/");
			end = p + strcspn(p, "\"'\r\n#");
			if ((size_t)(end - p) >= sizeof(path))
				continue;
			memcpy(path, p, (size_t)(end - p));
			path[end - p] = '\0';
			yes = same_folder(at, str_trim(path), root);
		}
	buf_fini(&b);
	if (!yes && at != -1)
		yes = same_folder(at, "var/lib/pterodactyl/backups", root);
	if (at != -1)
		close(at);
	return yes;
}

/* --config FILE, --config=FILE, or where it is without. */
static void
config_of(int proc, const char *pid, char *out, size_t size)
{
	char path[320], args[8192], *p, *end, *val = NULL;
	ssize_t n;
	int fd;

	snprintf(out, size, "etc/pterodactyl/config.yml");
	snprintf(path, sizeof(path), "%s/cmdline", pid);
	if ((fd = openat(proc, path, O_RDONLY | O_CLOEXEC)) == -1)
		return;
	n = read(fd, args, sizeof(args) - 1);
	close(fd);
	if (n <= 0)
		return;
	args[n] = '\0';
	end = args + n;
	for (p = args; p < end && val == NULL; p += strlen(p) + 1) {
		if (str_begins(p, "--config="))
			val = p + 9;
		else if ((strcmp(p, "--config") == 0 ||
		    strcmp(p, "-c") == 0) && p + strlen(p) + 1 < end)
			val = p + strlen(p) + 1;
	}
	if (val != NULL && *val != '\0')
		snprintf(out, size, "%s", val);
}

/* Its working folder, or any file that it has open, is in the repository. */
static bool
inside(int proc, const char *pid, int root, const struct stat *st)
{
	char path[320], file[PATH_MAX], mine[PATH_MAX], self[64];
	struct dirent *d;
	size_t len;
	ssize_t n;
	bool yes;
	DIR *dp;
	int fd;

	snprintf(path, sizeof(path), "%s/cwd", pid);
	if (same_folder(proc, path, st))
		return true;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", root);
	if ((n = readlink(self, mine, sizeof(mine) - 16)) <= 0)
		return false;
	mine[n] = '\0';
	snprintf(mine + n, sizeof(mine) - (size_t)n, "/%s/", DDUP_DIR);
	len = strlen(mine);
	snprintf(path, sizeof(path), "%s/fd", pid);
	fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1 || (dp = fdopendir(fd)) == NULL) {
		if (fd != -1)
			close(fd);
		return false;
	}
	for (yes = false; !yes && (d = readdir(dp)) != NULL; ) {
		n = readlinkat(fd, d->d_name, file, sizeof(file) - 1);
		yes = n > 0 && (size_t)n >= len && memcmp(file, mine,
		    len) == 0;
	}
	closedir(dp);
	return yes;
}

int
foreign_alive(int root, char *who, size_t size)
{
	char name[64], config[PATH_MAX];
	struct dirent *d;
	struct stat st;
	int found = 0, proc;
	DIR *dp;

	if (fstat(root, &st) == -1 || (dp = opendir("/proc")) == NULL)
		return 0;
	proc = dirfd(dp);
	while (found != 1 && (d = readdir(dp)) != NULL) {
		if (d->d_name[0] < '1' || d->d_name[0] > '9' ||
		    !program(proc, d->d_name, name, sizeof(name)) ||
		    !suspect(name))
			continue;
		found = 2;
		config_of(proc, d->d_name, config, sizeof(config));
		if (!inside(proc, d->d_name, root, &st) &&
		    (str_begins(name, "ddup-bak") ||
		    !configured(proc, d->d_name, config, &st)))
			continue;
		snprintf(who, size, "%s (pid %s)", str_q(name), d->d_name);
		found = 1;
	}
	closedir(dp);
	return found;
}

/* Seconds that the process has run, from its stat file; -1: can't be told. */
static double
age(int proc, const char *pid)
{
	enum { STARTTIME = 22 - 3 };    /* fields behind that of the state */
	char path[320], text[1024], *p;
	struct timespec up;
	long hz = sysconf(_SC_CLK_TCK);
	uint64_t ticks;
	ssize_t n;
	int fd, i;

	snprintf(path, sizeof(path), "%s/stat", pid);
	if ((fd = openat(proc, path, O_RDONLY | O_CLOEXEC)) == -1)
		return -1;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0 || hz <= 0 || clock_gettime(CLOCK_BOOTTIME, &up) == -1)
		return -1;
	text[n] = '\0';
	/* The program's name may hold anything, also parentheses. */
	if ((p = strrchr(text, ')')) == NULL || (p = strchr(p, ' ')) == NULL)
		return -1;
	for (i = 0; i < STARTTIME; i++)
		if ((p = strchr(p + 1, ' ')) == NULL)
			return -1;
	p++;
	p[strcspn(p, " \n")] = '\0';
	if (str_u64(p, 0, UINT64_MAX, &ticks) == -1)
		return -1;
	return (double)up.tv_sec - (double)ticks / (double)hz;
}

/*
 * A killed writer's number is soon another process's, and would keep everybody
 * out for as long as that runs.  It is not the writer when it began after the
 * lock file was written and is none of the programs that write.
 */
static bool
other_process(const struct foreign *f)
{
	enum { SLACK = 10 };            /* seconds: clocks are adjusted */
	char pid[32], name[64];
	double old, since;
	bool other;
	int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (proc == -1)
		return false;
	snprintf(pid, sizeof(pid), "%" PRIu64, f->pid);
	since = (double)(when_now().tv_sec - f->since.tv_sec);
	old = age(proc, pid);
	other = old >= 0 && old + SLACK < since &&
	    program(proc, pid, name, sizeof(name)) && !suspect(name);
	close(proc);
	return other;
}

/* Does a writer of that pid live?  Our own is stale: we hold no lock yet. */
static bool
writer_lives(const struct foreign *f)
{
	if (!f->writer || f->pid == (uint64_t)getpid())
		return false;
	if (f->pid == 0 || f->pid > INT_MAX)
		return true;
	if (kill((pid_t)f->pid, 0) == -1 && errno == ESRCH)
		return false;
	return !other_process(f);
}

static bool
readers(const struct foreign *f, enum foreign_mode mode)
{
	size_t i;

	for (i = 0; i < 3; i++)
		if (i != (size_t)mode && f->readers[i] != 0)
			return true;
	return false;
}

static int
refuse(const struct foreign *f, enum foreign_mode mode, struct err *e)
{
	if (writer_lives(f))
		err_set(e, CALA_LOCKED, "the process %" PRIu64 " is writing "
		    "to the repository", f->pid);
	else
		err_set(e, CALA_LOCKED, "another program is reading the "
		    "repository (%" PRIu64 " times)",
		    f->readers[mode == FOREIGN_DESTROY ? FOREIGN_CREATE :
		    FOREIGN_DESTROY]);
	return err_hint(e, "if nothing does, a killed one left its mark: "
	    "'cala-ddup break-lock' removes it");
}

int
foreign_take(struct ddup *r, enum foreign_mode mode, struct err *e)
{
	unsigned wait = r->how.wait > 0 ? r->how.wait : DDUP_WAIT;
	double until = when_mono() + wait;
	struct timespec pause = { 0, 50 * 1000 * 1000 };
	struct foreign f;
	char who[128];
	int alive;

	alive = foreign_alive(r->root, who, sizeof(who));
	if (alive == 1) {
		err_set(e, CALA_LOCKED, "%s has the repository open, and "
		    "would overwrite its index", who);
		return err_hint(e, "stop it first");
	}
	for (;;) {
		if (foreign_get(&f, r->chunks, e) == -1)
			return -1;
		if (!writer_lives(&f) && !readers(&f, mode)) {
			f.mode = (uint8_t)mode;
			f.writer = true;
			f.pid = (uint64_t)getpid();
			/* Where none of them runs, there is no race. */
			r->settled = when_mono() + (alive == 0 ? 0 : SETTLE);
			return foreign_put(&f, r->chunks, e);
		}
		if (stop_check(e) == -1)
			return -1;
		if (when_mono() >= until)
			return refuse(&f, mode, e);
		nanosleep(&pause, NULL);
	}
}

int
foreign_settle(struct ddup *r, enum foreign_mode mode, struct err *e)
{
	struct timespec pause = { 0, 10 * 1000 * 1000 };
	struct foreign f;

	for (;;) {
		while (when_mono() < r->settled) {
			if (stop_check(e) == -1)
				return -1;
			nanosleep(&pause, NULL);
		}
		if (foreign_get(&f, r->chunks, e) == -1)
			return -1;
		if (f.writer && f.pid == (uint64_t)getpid() && f.mode == mode)
			return 0;
		if (foreign_take(r, mode, e) == -1)
			return -1;
	}
}

void
foreign_give(struct ddup *r)
{
	struct err ignored = ERR_INIT;
	struct foreign f;

	if (foreign_get(&f, r->chunks, &ignored) == -1 || !f.writer ||
	    f.pid != (uint64_t)getpid())
		return;
	f.writer = false;
	f.mode = FOREIGN_NONE;
	f.pid = 0;
	(void)put(&f, r->chunks, true, &ignored);
}

/*
 * A pid is given again: one whose program is none that writes here is not the
 * one.  But every container has a process 1 of its own.
 */
static bool
other_program(uint64_t pid)
{
	char name[64], text[24];
	int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool other;

	snprintf(text, sizeof(text), "%" PRIu64, pid);
	other = pid != 1 && proc != -1 &&
	    program(proc, text, name, sizeof(name)) && !suspect(name);
	if (proc != -1)
		close(proc);
	return other;
}

int
foreign_reset(struct ddup *r, struct err *e)
{
	struct foreign idle, f;
	struct err ignored = ERR_INIT;
	char who[128];

	if (foreign_alive(r->root, who, sizeof(who)) == 1)
		return err_set(e, CALA_LOCKED, "%s has the repository open",
		    who);
	if (foreign_get(&f, r->chunks, &ignored) == 0 && writer_lives(&f) &&
	    !other_program(f.pid)) {
		err_set(e, CALA_LOCKED, "the process %" PRIu64 " that the lock "
		    "names is alive", f.pid);
		return err_hint(e, "if it is none that uses the repository, "
		    "not even in a container, remove %s/chunks/index.lock",
		    DDUP_DIR);
	}
	memset(&idle, 0, sizeof(idle));
	return foreign_put(&idle, r->chunks, e);
}
