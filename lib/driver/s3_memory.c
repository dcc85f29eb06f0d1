/*
 * s3_memory: which uploads were begun here.
 */

#include "driver/s3_memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "base/when.h"
#include "s3/s3.h"

enum {
	NOTE_MAX = 16 << 10,    /* bytes */
	DIGITS = 16,            /* of a file's name */
	YOUNG = 600             /* seconds: perhaps not yet locked or written */
};

static const char folder[] = "s3-uploads", suffix[] = ".upload";

static const char *
value(char *const *env, const char *name)
{
	size_t n = strlen(name);
	char *const *p;

	for (p = env; p != NULL && *p != NULL; p++)
		if (strncmp(*p, name, n) == 0 && (*p)[n] == '=' &&
		    (*p)[n + 1] != '\0')
			return *p + n + 1;
	return NULL;
}

/* Survives a reboot, unlike /run: parts cost money until they are aborted. */
static int
state_dir(char *const *env, struct buf *b, struct err *e)
{
	const char *s;

	if ((s = value(env, "STATE_DIRECTORY")) != NULL)
		buf_add(b, s, strcspn(s, ":"));
	else if ((s = value(env, "XDG_STATE_HOME")) != NULL && *s == '/')
		buf_printf(b, "%s/cala", s);
	else if (geteuid() == 0)
		buf_str(b, "/var/lib/cala");
	else if ((s = value(env, "HOME")) != NULL)
		buf_printf(b, "%s/.local/state/cala", s);
	else
		return err_set(e, CALA_NOTFOUND, "no state directory: "
		    "neither STATE_DIRECTORY nor HOME is set");
	buf_printf(b, "/%s", folder);
	return buf_failed(b, e);
}

int
memory_open(char *const *env, bool create, struct err *e)
{
	struct buf b;
	int fd = -1;

	buf_init(&b, 4096);
	if (state_dir(env, &b, e) == 0)
		fd = create ? file_mkdirs(b.p, 0700, e) :
		    file_opendir(AT_FDCWD, b.p, e);
	buf_fini(&b);
	return fd;
}

static int
write_note(int fd, const struct s3_target *t, const char *key,
    const char *id, struct err *e)
{
	struct buf b;
	struct jw j;
	int ret;

	buf_init(&b, NOTE_MAX);
	jw_begin(&j, &b);
	jw_open(&j, NULL, '{');
	jw_u64(&j, "v", 1);
	jw_str(&j, "endpoint", t->endpoint != NULL ? t->endpoint : "");
	jw_str(&j, "bucket", t->bucket);
	jw_str(&j, "key", key);
	jw_str(&j, "upload", id);
	jw_time(&j, "begun", when_now());
	jw_close(&j, '}');
	buf_chr(&b, '\n');
	ret = buf_failed(&b, e);
	if (ret == 0 && (file_write_all(fd, b.p, b.len) == -1 ||
	    fsync(fd) == -1))
		ret = err_sys(e, "note an upload");
	buf_fini(&b);
	return ret;
}

int
memory_note(struct memory *m, int dirfd, const struct s3_target *t,
    const char *key, const char *id, struct err *e)
{
	unsigned char r[DIGITS / 2];
	char hex[DIGITS + 1];

	if (getrandom(r, sizeof(r), 0) != sizeof(r))
		return err_sys(e, "get randomness");
	hex_put(r, sizeof(r), hex);
	snprintf(m->name, sizeof(m->name), "%s%s", hex, suffix);
	m->dirfd = dirfd;
	m->fd = openat(dirfd, m->name,
	    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (m->fd == -1)
		return err_sys(e, "%s", m->name);
	if (flock(m->fd, LOCK_EX | LOCK_NB) == 0 &&
	    write_note(m->fd, t, key, id, e) == 0 && fsync(dirfd) == 0)
		return 0;
	if (e->code == 0)
		err_sys(e, "note an upload");
	memory_drop(m);
	return -1;
}

void
memory_drop(struct memory *m)
{
	if (m->fd == -1)
		return;
	(void)unlinkat(m->dirfd, m->name, 0);
	close(m->fd);
	m->fd = -1;
}

static bool
is_note(const char *name)
{
	return strlen(name) == DIGITS + sizeof(suffix) - 1 &&
	    strspn(name, "0123456789abcdef") == DIGITS &&
	    strcmp(name + DIGITS, suffix) == 0;
}

struct each {
	int dirfd;
	const struct s3_target *t;
	bool dead;
	memory_fn *fn;
	void *arg;
	time_t now;
	struct err first;       /* what went wrong first */
};

/* Is the note about our bucket?  Tells its key and upload id. */
static bool
ours(const struct each *x, const json_t *o, const char **key,
    const char **id)
{
	const struct s3_target *t = x->t;
	const char *endpoint = json_get_str(o, "endpoint");
	const char *bucket = json_get_str(o, "bucket");

	*key = json_get_str(o, "key");
	*id = json_get_str(o, "upload");
	return json_get_u64(o, "v", 0) == 1 && endpoint != NULL &&
	    bucket != NULL && *key != NULL && *id != NULL &&
	    strcmp(endpoint, t->endpoint != NULL ? t->endpoint : "") == 0 &&
	    strcmp(bucket, t->bucket) == 0;
}

static void
one_note(struct each *x, const char *name, const struct stat *st, int fd,
    bool dead)
{
	struct err e = ERR_INIT;
	const char *key, *id;
	json_t *o = NULL;
	struct buf b;
	char *p;
	ssize_t n;
	int r;

	buf_init(&b, NOTE_MAX + 1);
	if ((p = buf_room(&b, NOTE_MAX)) != NULL &&
	    (n = file_pread_full(fd, p, NOTE_MAX, 0)) >= 0) {
		buf_grown(&b, (size_t)n);
		o = json_parse(b.p, b.len, name, &e);
	}
	if (o == NULL) {
		/* Killed while it was written, before its first part. */
		if (dead && st->st_mtim.tv_sec < x->now - YOUNG)
			(void)unlinkat(x->dirfd, name, 0);
	} else if (ours(x, o, &key, &id)) {
		err_clear(&e);
		r = x->fn(x->arg, key, id, &e);
		if (r == 0 && dead)
			(void)unlinkat(x->dirfd, name, 0);
		else if (r == -1 && x->first.code == 0)
			x->first = e;
	}
	json_decref(o);
	buf_fini(&b);
}

int
memory_each(int dirfd, const struct s3_target *t, bool dead, memory_fn *fn,
    void *arg, struct err *e)
{
	struct each x = { dirfd, t, dead, fn, arg, time(NULL), ERR_INIT };
	struct dirent *de;
	struct stat st;
	bool gone;
	DIR *dp;
	int fd;

	if ((dp = file_list(dirfd)) == NULL)
		return err_sys(e, "read the directory of uploads");
	while ((de = readdir(dp)) != NULL) {
		if (!is_note(de->d_name))
			continue;
		fd = openat(dirfd, de->d_name, O_RDONLY | O_NOFOLLOW |
		    O_NONBLOCK | O_CLOEXEC);
		if (fd == -1)
			continue;
		if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
			gone = flock(fd, LOCK_EX | LOCK_NB) == 0;
			if (gone == dead)
				one_note(&x, de->d_name, &st, fd, dead);
		}
		close(fd);
	}
	closedir(dp);
	if (x.first.code == 0)
		return 0;
	*e = x.first;
	return -1;
}

struct sweep {
	struct s3 *s;
	struct log *log;
};

static int
sweep(void *arg, const char *key, const char *id, struct err *e)
{
	struct sweep *w = arg;

	log_note(w->log, "aborting an upload to %s: its process was killed",
	    str_q(key));
	return s3_abort(w->s, key, id, e);
}

void
memory_sweep(int dirfd, const struct s3_target *t, struct s3 *s,
    struct log *log)
{
	struct sweep w = { s, log };
	struct err e = ERR_INIT;

	if (memory_each(dirfd, t, true, sweep, &w, &e) == -1)
		log_note(log, "what a killed run left stays: %s", e.msg);
}
