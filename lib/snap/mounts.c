#include "snap/mounts.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"

/* Blanks, newlines and backslashes are \040, \011, \012, \134. */
static void
plain(char *s)
{
	char *to = s;

	while (*s != '\0') {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' &&
		    s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 |
			    (s[3] - '0'));
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = '\0';
}

/* "ID PARENT MAJ:MIN ROOT PATH OPTIONS [FIELD...] - TYPE SOURCE OPTIONS" */
static bool
parse(char *line, struct mount_at *m)
{
	char *word, *end = line, *rest;
	int i;

	memset(m, 0, sizeof(*m));
	line[strcspn(line, "\n")] = '\0';
	for (i = 0; (word = strsep(&end, " ")) != NULL; i++) {
		if (i == 3)
			m->root = word;
		else if (i == 4)
			m->path = word;
		else if (i > 5 && strcmp(word, "-") == 0)
			break;
	}
	if (end == NULL || (m->type = strsep(&end, " ")) == NULL ||
	    (rest = strsep(&end, " ")) == NULL || m->path == NULL)
		return false;
	m->source = rest;
	plain((char *)(uintptr_t)m->root);
	plain((char *)(uintptr_t)m->path);
	plain(rest);
	return true;
}

int
mounts_each(int (*fn)(void *, const struct mount_at *, struct err *),
    void *arg, struct err *e)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	struct mount_at m;
	char *line = NULL;
	size_t room = 0;
	int ret = 0;

	if (f == NULL)
		return err_sys(e, "/proc/self/mountinfo");
	while (ret == 0 && getline(&line, &room, f) != -1)
		if (parse(line, &m))
			ret = fn(arg, &m, e);
	if (ret == 0 && ferror(f))
		ret = err_sys(e, "/proc/self/mountinfo");
	free(line);
	fclose(f);
	return ret;
}

bool
mount_zfs(const struct mount_at *m)
{
	return strcmp(m->type, "zfs") == 0 || strcmp(m->type, "fuse.zfs") == 0;
}

bool
mount_below(const struct mount_at *m, const char *dir)
{
	size_t n = strlen(dir);

	if (n == 1)             /* "/" */
		n = 0;
	return strncmp(m->path, dir, n) == 0 && m->path[n] == '/' &&
	    m->path[n + 1] != '\0';
}

char *
mounts_path(int fd, struct err *e)
{
	char proc[32], path[PATH_MAX];
	struct stat a, b;
	ssize_t n;

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	n = readlink(proc, path, sizeof(path) - 1);
	if (n == -1) {
		err_sys(e, "ask for the path of a directory");
		return NULL;
	}
	path[n] = '\0';
	if (path[0] != '/' || fstat(fd, &a) == -1 || stat(path, &b) == -1 ||
	    a.st_ino != b.st_ino || a.st_dev != b.st_dev) {
		err_set(e, CALA_NOTFOUND, "%s is no longer there",
		    str_q(path));
		return NULL;
	}
	return strdup(path);
}
