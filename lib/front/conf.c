#include "front/conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

enum { PATH_LEN = 4096 };

static const char *
env(const char *name)
{
	const char *s = getenv(name);

	return s != NULL && *s != '\0' ? s : NULL;
}

/* dir/name when it is an executable file. */
static bool
runs(const char *dir, size_t n, const char *name, char out[PATH_LEN])
{
	struct stat st;

	if (snprintf(out, PATH_LEN, "%.*s/%s", (int)n, dir, name) >= PATH_LEN)
		return false;
	return stat(out, &st) == 0 && S_ISREG(st.st_mode) &&
	    access(out, X_OK) == 0;
}

int
front_find(const char *name, char out[PATH_LEN])
{
	char self[PATH_LEN];
	const char *p;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	size_t len;

	if (n > 0) {
		while (n > 0 && self[n - 1] != '/')
			n--;
		self[n > 0 ? n - 1 : 0] = '\0';
		if (runs(self, strlen(self), name, out))
			return 0;
		if (strlen(self) + 17 < sizeof(self)) {
			memcpy(self + strlen(self), "/../libexec/cala",
			    17);
			if (runs(self, strlen(self), name, out))
				return 0;
		}
	}
	for (p = env("PATH"); p != NULL && *p != '\0'; p += *p == ':') {
		len = strcspn(p, ":");
		/* An empty part means the current directory: not for us. */
		if (len > 0 && *p == '/' && runs(p, len, name, out))
			return 0;
		p += len;
	}
	return -1;
}

static bool
has_driver(const char *disk)
{
	char name[KEY_DRIVER], path[PATH_LEN];

	return key_driver(disk, name) == 0 && front_find(name, path) == 0;
}

void
front_conf_paths(const struct front *f, struct conf_paths *p)
{
	static char user[PATH_LEN], key[PATH_LEN], own_key[PATH_LEN];
	const char *dir = env("XDG_CONFIG_HOME"), *home = env("HOME"), *s;
	int n = PATH_LEN;

	memset(p, 0, sizeof(*p));
	p->driver = has_driver;
	p->env = env;
	p->system = "/etc/cala";
	p->file = f->config_file != NULL ? f->config_file :
	    env("CALA_CONFIG");
	if (dir != NULL && *dir == '/')
		n = snprintf(user, sizeof(user), "%s/cala/cala.conf", dir);
	else if (geteuid() != 0 && home != NULL)
		n = snprintf(user, sizeof(user), "%s/.config/cala/cala.conf",
		    home);
	if (n < PATH_LEN)
		p->user = user;

	p->key = env("CALA_KEY_FILE");
	if (p->key == NULL && (s = env("CREDENTIALS_DIRECTORY")) != NULL &&
	    snprintf(key, sizeof(key), "%s/cala.key", s) < PATH_LEN &&
	    access(key, F_OK) == 0)
		p->key = key;
	if (p->key == NULL)
		p->key = "/etc/cala/secret.key";
	else
		return;
	if (geteuid() != 0 && p->user != NULL && access(p->key, R_OK) == -1 &&
	    snprintf(own_key, sizeof(own_key), "%.*ssecret.key",
	    (int)(strlen(user) - strlen("cala.conf")), user) < PATH_LEN)
		p->key = own_key;
}

int
front_conf(struct front *f, struct conf **c, struct err *e)
{
	struct conf_paths p;

	front_conf_paths(f, &p);
	return conf_load(c, &p, &f->log, e);
}
