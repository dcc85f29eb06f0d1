/* folder: chunks/HH/HH, without asking for the same twice. */

#include "ddup/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/code.h"
#include "fs/extract.h"

enum { TRIES = 5 };

struct tops *
tops_new(struct err *e)
{
	struct tops *t = calloc(1, sizeof(*t));
	size_t i;

	if (t == NULL) {
		err_oom(e);
		return NULL;
	}
	pthread_mutex_init(&t->mu, NULL);
	for (i = 0; i < TOPS; i++)
		atomic_init(&t->fd[i], -1);
	return t;
}

void
tops_free(struct tops *t)
{
	size_t i;

	if (t == NULL)
		return;
	for (i = 0; i < TOPS; i++)
		if (t->fd[i] != -1)
			close(t->fd[i]);
	pthread_mutex_destroy(&t->mu);
	free(t);
}

static int
open_dir(int at, const char *name)
{
	return openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);
}

/*
 * name in the folder at, made when it is missing.  Step by step: who may write
 * to the repository must not choose, with a link in it, where root writes or
 * removes.
 */
static int
level(const struct ddup *r, int at, const char *name, bool make)
{
	int fd = open_dir(at, name);

	if (fd != -1 || errno != ENOENT || !make)
		return fd;
	if ((mkdirat(at, name, 0700) == -1 && errno != EEXIST) ||
	    (r->chown && fchownat(at, name, r->uid, r->gid,
	    AT_SYMLINK_NOFOLLOW) == -1))
		return -1;
	return open_dir(at, name);
}

/* chunks/HH: lent. */
static int
top(const struct ddup *r, unsigned i, bool make)
{
	struct tops *t = r->tops;
	unsigned char digit = (unsigned char)i;
	char name[3];
	int fd, none = -1;

	if ((fd = atomic_load(&t->fd[i])) != -1)
		return fd;
	hex_put(&digit, 1, name);
	if ((fd = level(r, r->chunks, name, make)) == -1)
		return -1;
	if (atomic_compare_exchange_strong(&t->fd[i], &none, fd))
		return fd;
	close(fd);
	return none;
}

bool
chunk_there(const struct ddup *r, const unsigned char *hash)
{
	char path[CHUNK_PATH];
	struct stat st;
	int at = top(r, hash[0], false);

	chunk_path(hash, path);
	return at != -1 &&
	    fstatat(at, path + 3, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISREG(st.st_mode) && st.st_size >= 2;
}

static bool
bit(const struct tops *t, const unsigned char *hash)
{
	return (t->below[hash[0]][hash[1] / 8] >> hash[1] % 8 & 1) != 0;
}

static void
set_bit(struct tops *t, unsigned i, unsigned k)
{
	t->below[i][k / 8] = (unsigned char)(t->below[i][k / 8] | 1u << k % 8);
}

/* Which folders are in chunks/HH; false when that can't be told. */
static bool
list(struct tops *t, unsigned i, int at)
{
	int fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dp = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *d;
	unsigned char k;

	if (dp == NULL) {
		if (fd != -1)
			close(fd);
		return false;
	}
	while ((errno = 0, d = readdir(dp)) != NULL)
		if (strlen(d->d_name) == 2 && hex_get(d->d_name, 1, &k) == 0)
			set_bit(t, i, k);
	t->listed[i] = errno == 0;
	closedir(dp);
	return t->listed[i];
}

bool
folder_known(const struct ddup *r, const unsigned char *hash)
{
	struct tops *t = r->tops;
	unsigned i = hash[0];
	bool ret = true;
	int at;

	pthread_mutex_lock(&t->mu);
	if (!t->listed[i]) {
		if ((at = top(r, i, false)) == -1)
			ret = errno != ENOENT;
		else
			(void)list(t, i, at);
	}
	if (t->listed[i])
		ret = bit(t, hash);
	pthread_mutex_unlock(&t->mu);
	return ret;
}

static void
learn(const struct ddup *r, const unsigned char *hash)
{
	pthread_mutex_lock(&r->tops->mu);
	set_bit(r->tops, hash[0], hash[1]);
	pthread_mutex_unlock(&r->tops->mu);
}

int
folder_open(const struct ddup *r, const unsigned char *hash)
{
	char path[CHUNK_PATH];
	int at = top(r, hash[0], false);

	chunk_path(hash, path);
	path[LEAF - 1] = '\0';
	return at == -1 ? -1 : open_dir(at, path + 3);
}

/*
 * chunks/HH/HH, where nobody knows it: to open what is not there costs as much
 * as to make it.
 */
static int
make(const struct ddup *r, int at, const unsigned char *hash)
{
	char name[3];

	if (folder_known(r, hash))
		return 0;
	hex_put(hash + 1, 1, name);
	if (mkdirat(at, name, 0700) == 0) {
		if (r->chown && fchownat(at, name, r->uid, r->gid,
		    AT_SYMLINK_NOFOLLOW) == -1)
			return -1;
	} else if (errno != EEXIST) {
		return -1;
	}
	learn(r, hash);
	return 0;
}

/* The same, open; past the first try all of it is looked at anew. */
static int
folder_make(const struct ddup *r, const unsigned char *hash, bool again)
{
	char path[CHUNK_PATH];
	int at, fd, why;

	chunk_path(hash, path);
	path[2] = path[LEAF - 1] = '\0';
	if (!again) {
		at = top(r, hash[0], true);
		if (at == -1 || make(r, at, hash) == -1)
			return -1;
		return level(r, at, path + 3, true);
	}
	if ((at = level(r, r->chunks, path, true)) == -1)
		return -1;
	fd = level(r, at, path + 3, true);
	why = errno;
	close(at);
	errno = why;
	return fd;
}

int
folder_create(const struct ddup *r, const unsigned char *hash,
    const char *name, int *dir)
{
	int fd, i;

	for (i = 0; i < TRIES; i++) {
		if ((*dir = folder_make(r, hash, i > 0)) == -1) {
			if (errno != ENOENT)
				return -1;
			continue;
		}
		fd = openat(*dir, name, O_WRONLY | O_CREAT | O_EXCL |
		    O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd != -1 || errno != ENOENT)
			return fd;
		close(*dir);
		*dir = -1;
	}
	return -1;
}

int
chunk_create(struct ddup *r, const unsigned char *hash)
{
	char path[CHUNK_PATH];
	bool stepwise = r->stepwise;
	int at = top(r, hash[0], true), dir, fd;

	if (at == -1)
		return -1;
	chunk_path(hash, path);
	if (!stepwise) {
		if (make(r, at, hash) == -1)
			return -1;
		fd = fs_beneath(at, path + 3, O_WRONLY | O_CREAT | O_EXCL,
		    &stepwise);
		if (stepwise)
			r->stepwise = true;
		if (fd != -1 || errno != ENOENT)
			return fd;
	}
	fd = folder_create(r, hash, path + LEAF, &dir);
	if (dir != -1)
		close(dir);
	return fd;
}
