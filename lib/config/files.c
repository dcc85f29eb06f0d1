#include "config/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/secret.h"
#include "base/str.h"
#include "config/conf.h"
#include "config/ini.h"

enum { FILES_MAX = 4096 };

struct conf_file *
files_add(struct conf_files *fs, const char *path, struct err *e)
{
	struct conf_file *v;

	if (fs->n >= FILES_MAX) {
		err_set(e, CALA_USAGE, "more than %d configuration files",
		    FILES_MAX);
		return NULL;
	}
	if ((fs->n & (fs->n + 1)) == 0) {
		v = realloc(fs->v, (2 * fs->n + 1) * sizeof(*v));
		if (v == NULL) {
			err_oom(e);
			return NULL;
		}
		fs->v = v;
	}
	v = &fs->v[fs->n];
	memset(v, 0, sizeof(*v));
	buf_init(&v->text, INI_FILE);
	if ((v->path = strdup(path)) == NULL) {
		err_oom(e);
		return NULL;
	}
	fs->n++;
	return v;
}

/* 0 read, 1 absent, -1 failed.  named: a pipe or a device may be given. */
static int
read_one(struct conf_files *fs, const char *path, bool named, struct err *e)
{
	struct conf_file *f;
	ssize_t n = 1;
	char *to;
	int fd;

	/* O_NONBLOCK: a FIFO planted in conf.d must not hang us. */
	fd = open(path, O_RDONLY | O_CLOEXEC | (named ? 0 : O_NONBLOCK));
	if (fd == -1 && errno == ENOENT && !named)
		return 1;
	if (fd == -1)
		return err_sys(e, "%s", str_q(path));
	if ((f = files_add(fs, path, e)) == NULL)
		goto fail;
	if (fstat(fd, &f->st) == -1) {
		err_sys(e, "%s", str_q(path));
		goto fail;
	}
	if (S_ISDIR(f->st.st_mode) || (!named && !S_ISREG(f->st.st_mode))) {
		err_set(e, CALA_USAGE, "%s: not a regular file", str_q(path));
		goto fail;
	}
	while (n > 0 && f->text.len < INI_FILE) {
		size_t room = INI_FILE - f->text.len;

		room = room < 65536 ? room : 65536;
		if ((to = buf_room(&f->text, room)) == NULL) {
			buf_failed(&f->text, e);
			goto fail;
		}
		if ((n = file_read_full(fd, to, room)) == -1) {
			err_sys(e, "%s", str_q(path));
			goto fail;
		}
		buf_grown(&f->text, (size_t)n);
	}
	if (f->text.len == INI_FILE) {
		err_set(e, CALA_USAGE, "%s: not a configuration: %d bytes or "
		    "more", str_q(path), INI_FILE);
		goto fail;
	}
	close(fd);
	return 0;
fail:
	close(fd);
	return -1;
}

static int
wanted(const struct dirent *d)
{
	return d->d_name[0] != '.' && str_ends(d->d_name, ".conf");
}

static int
by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int
read_folder(struct conf_files *fs, const char *dir, struct err *e)
{
	struct dirent **list = NULL;
	char *path;
	int i, n, ret = 0;

	n = scandir(dir, &list, wanted, by_bytes);
	if (n == -1)
		return errno == ENOENT ? 0 : err_sys(e, "%s", str_q(dir));
	for (i = 0; i < n; i++) {
		if (ret == 0) {
			path = str_join(dir, list[i]->d_name);
			ret = path != NULL ? read_one(fs, path, false, e) :
			    err_oom(e);
			/* Gone since it was listed: as if it never was. */
			if (ret == 1)
				ret = 0;
			free(path);
		}
		free(list[i]);
	}
	free(list);
	return ret;
}

int
files_read(struct conf_files *fs, const struct conf_paths *p, struct err *e)
{
	char *path;
	int ret;

	if (p->file != NULL) {
		ret = read_one(fs, p->file, true, e);
		if (ret == -1 && e->code == CALA_NOTFOUND)
			e->code = CALA_USAGE;
		goto out;
	}
	if ((path = str_join(p->system, "cala.conf")) == NULL)
		return err_oom(e);
	ret = read_one(fs, path, false, e);
	free(path);
	if (ret == -1)
		goto out;
	if ((path = str_join(p->system, "conf.d")) == NULL)
		return err_oom(e);
	ret = read_folder(fs, path, e);
	free(path);
	if (ret == 0 && p->user != NULL)
		ret = read_one(fs, p->user, false, e);
out:
	return ret == -1 ? err_ctx(e, "configuration") : 0;
}

void
files_free(struct conf_files *fs)
{
	size_t i;

	for (i = 0; i < fs->n; i++) {
		secret_wipe(fs->v[i].text.p, fs->v[i].text.len);
		buf_fini(&fs->v[i].text);
		free(fs->v[i].path);
	}
	free(fs->v);
	fs->v = NULL;
	fs->n = 0;
}

struct conf_file *
files_find(const struct conf_files *fs, const char *path)
{
	size_t i;

	for (i = 0; i < fs->n; i++)
		if (strcmp(fs->v[i].path, path) == 0)
			return &fs->v[i];
	return NULL;
}
