/*
 * Is a directory mounted somewhere else, too?  A container that was started
 * with it holds the directory itself: were it exchanged by name, the container
 * would go on with the old tree.
 *
 * Every mount namespace that a process lives in is asked once, as its
 * /proc/PID/mountinfo tells (proc_pid_mountinfo(5)): the same file system and
 * the same place in it is the same directory.
 */

#include "fs/swap_int.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

enum { NAMESPACES = 1024 };

/* A line of mountinfo; the texts lie in the line. */
struct mount {
	unsigned long id;
	const char *dev;                /* "259:1" */
	char *root;                     /* of the mount, in its file system */
	char *at;
};

/* \040 and the like, in place. */
static void
unescape(char *s)
{
	char *to = s;

	for (; *s != '\0'; s++)
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' &&
		    s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 |
			    (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	*to = '\0';
}

/* "36 35 98:0 /root /at options ..." */
static bool
parse(char *line, struct mount *m)
{
	char *save = NULL, *id = strtok_r(line, " \n", &save);
	char *parent = strtok_r(NULL, " \n", &save), *end;

	m->dev = strtok_r(NULL, " \n", &save);
	m->root = strtok_r(NULL, " \n", &save);
	m->at = strtok_r(NULL, " \n", &save);
	if (id == NULL || parent == NULL || m->at == NULL ||
	    !isdigit((unsigned char)*id))
		return false;
	m->id = strtoul(id, &end, 10);
	unescape(m->root);
	unescape(m->at);
	return *end == '\0';
}

static FILE *
mounts_of(const char *pid)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/%.20s/mountinfo", pid);
	return fopen(name, "re");
}

/* The mount that the directory lies in, as the kernel numbers it; 0: unknown. */
static unsigned long
mount_id(int fd)
{
	char name[64], *line = NULL;
	unsigned long id = 0;
	size_t cap = 0;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
	if ((f = fopen(name, "re")) == NULL)
		return 0;
	while (getline(&line, &cap, f) != -1)
		if (str_begins(line, "mnt_id:"))
			id = strtoul(line + strlen("mnt_id:"), NULL, 10);
	free(line);
	fclose(f);
	return id;
}

/* "A/B" less the doubled slashes that a root of "/" would make; heap. */
static char *
joined(const char *root, const char *below)
{
	char *out;

	while (*below == '/')
		below++;
	if (*below == '\0')
		return strdup(root);
	if (asprintf(&out, "%s/%s", strcmp(root, "/") == 0 ? "" : root,
	    below) == -1)
		return NULL;
	return out;
}

/*
 * Where in its file system the directory is: dev and place on the heap, and
 * the id of the mount it is reached by.
 */
static bool
locate(int fd, const char *path, unsigned long *id, char **dev, char **place)
{
	char *line = NULL;
	struct mount m;
	size_t cap = 0, n;
	FILE *f;

	if ((*id = mount_id(fd)) == 0 || (f = mounts_of("self")) == NULL)
		return false;
	while (*place == NULL && getline(&line, &cap, f) != -1) {
		if (!parse(line, &m) || m.id != *id)
			continue;
		n = strcmp(m.at, "/") == 0 ? 0 : strlen(m.at);
		if (strncmp(path, m.at, n) != 0 ||
		    (path[n] != '/' && path[n] != '\0'))
			break;
		*dev = strdup(m.dev);
		*place = joined(m.root, path + n);
	}
	free(line);
	fclose(f);
	return *dev != NULL && *place != NULL;
}

/* A namespace that was not asked yet? */
static bool
fresh(const char *pid, ino_t seen[NAMESPACES], size_t *n)
{
	char name[64];
	struct stat st;
	size_t i;

	snprintf(name, sizeof(name), "/proc/%.20s/ns/mnt", pid);
	if (stat(name, &st) == -1 || *n == NAMESPACES)
		return false;
	for (i = 0; i < *n; i++)
		if (seen[i] == st.st_ino)
			return false;
	seen[(*n)++] = st.st_ino;
	return true;
}

static bool
mounted_there(const char *pid, unsigned long id, const char *dev,
    const char *place, bool *below)
{
	FILE *f = mounts_of(pid);
	size_t cap = 0, n = strlen(place);
	bool found = false;
	char *line = NULL;
	struct mount m;

	while (f != NULL && !found && getline(&line, &cap, f) != -1) {
		if (!parse(line, &m) || m.id == id ||
		    strcmp(m.dev, dev) != 0 ||
		    strncmp(m.root, place, n) != 0)
			continue;
		found = m.root[n] == '\0';
		*below |= m.root[n] == '/' && m.root[n + 1] != '/';
	}
	free(line);
	if (f != NULL)
		fclose(f);
	return found;
}

bool
swap_held(int fd, const char *path, char by[SWAP_BY], bool *below)
{
	char *dev = NULL, *place = NULL;
	const struct dirent *d;
	bool found = false;
	unsigned long id;
	ino_t *seen = NULL;
	size_t n = 0;
	DIR *proc = NULL;

	*below = false;
	if (!locate(fd, path, &id, &dev, &place) ||
	    (seen = calloc(NAMESPACES, sizeof(*seen))) == NULL ||
	    (proc = opendir("/proc")) == NULL)
		goto out;
	while (!found && (d = readdir(proc)) != NULL) {
		if (!isdigit((unsigned char)d->d_name[0]) ||
		    !fresh(d->d_name, seen, &n))
			continue;
		found = mounted_there(d->d_name, id, dev, place, below);
		snprintf(by, SWAP_BY, "%.20s", d->d_name);
	}
out:
	if (proc != NULL)
		closedir(proc);
	free(seen);
	free(dev);
	free(place);
	return found;
}

char *
swap_mounted(const char *path)
{
	char *line = NULL, *found = NULL;
	FILE *f = mounts_of("self");
	size_t cap = 0, n = strlen(path);
	struct mount m;

	while (f != NULL && found == NULL && getline(&line, &cap, f) != -1)
		if (parse(line, &m) && strncmp(m.at, path, n) == 0 &&
		    m.at[n] == '/' && m.at[n + 1] != '\0')
			found = strdup(m.at);
	free(line);
	if (f != NULL)
		fclose(f);
	return found;
}
