#include "config/inside.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/str.h"

/* The folder on this machine that a configuration keeps its backups in. */
static const char *
folder(const struct conf *conf, const struct conf_section *cfg)
{
	const char *disk = conf_disk(cfg), *s;

	if (disk == NULL)
		return NULL;
	if (strcmp(disk, "restic") == 0) {
		if ((s = conf_get(cfg, "repository")) != NULL &&
		    str_begins(s, "local:"))
			s += strlen("local:");
		return s != NULL && *s == '/' ? s : NULL;
	}
	if (strcmp(disk, "local") != 0 && strcmp(disk, "ddup-bak") != 0 &&
	    strcmp(disk, "btrfs") != 0 && strcmp(disk, "zfs") != 0)
		return NULL;
	s = conf_get(cfg, "backup-directory");
	return s != NULL ? s : conf_backup_dir(conf);
}

/* Without links, as far as it exists and we may look; heap. */
static char *
canonical(const char *path)
{
	char *head = strdup(path), *real = NULL, *out = NULL, *slash;
	const char *tail;

	if (head == NULL)
		return NULL;
	while ((real = realpath(*head != '\0' ? head : "/", NULL)) == NULL &&
	    errno == ENOENT && (slash = strrchr(head, '/')) != NULL)
		*slash = '\0';
	tail = path + strlen(head);
	tail += strspn(tail, "/");
	if (real != NULL)
		out = *tail != '\0' ? str_join(real, tail) : strdup(real);
	else if (errno != ENOMEM)
		out = strdup(path);
	free(real);
	free(head);
	return out;
}

int
inside_store(const struct conf *conf, const struct conf_section *cfg,
    const char *dir, char **below, struct err *e)
{
	const char *store = folder(conf, cfg);
	struct stat want, st;
	char *path, cut;
	bool same;
	int ret = 0;
	size_t n;

	/* What isn't there holds nothing. */
	if (store == NULL || stat(dir, &want) == -1)
		return 0;
	if ((path = canonical(store)) == NULL)
		return err_oom(e);
	/* Upwards: by device and inode a bind mount is the same directory. */
	for (n = strlen(path); ; n--) {
		cut = path[n];
		if (cut != '/' && cut != '\0')
			continue;
		path[n] = '\0';
		same = stat(n > 0 ? path : "/", &st) == 0 &&
		    st.st_dev == want.st_dev && st.st_ino == want.st_ino;
		path[n] = cut;
		if (same) {
			ret = 1;
			*below = strdup(path + n + strspn(path + n, "/"));
			if (*below == NULL)
				ret = err_oom(e);
		}
		if (same || n == 0)
			break;
	}
	free(path);
	return ret;
}

char *
inside_rule(const char *below)
{
	char *rule = malloc(2 * strlen(below) + sizeof("//")), *to = rule;

	if (rule == NULL)
		return NULL;
	*to++ = '/';
	for (; *below != '\0'; below++) {
		if (strchr("\\*?[] ", *below) != NULL)
			*to++ = '\\';
		*to++ = *below;
	}
	*to++ = '/';
	*to = '\0';
	return rule;
}

int
inside_none(const struct conf *conf, const char *dir, struct err *e)
{
	const struct conf_section *cfg;
	char *below;
	size_t i;
	int k;

	for (i = 0; (cfg = conf_nth(conf, "configuration", i)) != NULL; i++) {
		if ((k = inside_store(conf, cfg, dir, &below, e)) == -1)
			return -1;
		if (k == 0)
			continue;
		free(below);
		return err_set(e, CALA_USAGE, "%s: configuration %s keeps its "
		    "backups in it: they would go with the old tree",
		    str_q(dir), str_q(conf_name(cfg)));
	}
	return 0;
}

/* The device that path is on, or would be if it existed; 0: none. */
static dev_t
device(char *path)
{
	struct stat st;
	char *slash;

	while (stat(*path != '\0' ? path : "/", &st) == -1) {
		if ((slash = strrchr(path, '/')) == NULL)
			return 0;
		*slash = '\0';
	}
	return st.st_dev;
}

int
inside_none_of(const struct conf *conf, int fd, struct err *e)
{
	const struct conf_section *cfg;
	const char *store;
	struct stat st;
	char *path;
	size_t i;
	bool same;

	if (fstat(fd, &st) == -1)
		return err_sys(e, "look at a directory");
	for (i = 0; (cfg = conf_nth(conf, "configuration", i)) != NULL; i++) {
		if ((store = folder(conf, cfg)) == NULL)
			continue;
		if ((path = canonical(store)) == NULL)
			return err_oom(e);
		same = device(path) == st.st_dev;
		free(path);
		if (same)
			return err_set(e, CALA_USAGE, "configuration %s keeps "
			    "its backups in what is to be rolled back, in %s: "
			    "they would be lost", str_q(conf_name(cfg)),
			    str_q(store));
	}
	return 0;
}
