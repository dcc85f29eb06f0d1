#include "front/conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/proc.h"
#include "base/str.h"
#include "config/foreign.h"

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
	    file_may(out, X_OK);
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

static int
keep_line(void *out, const char *p, size_t n, struct err *e)
{
	buf_add(out, p, n);
	buf_chr(out, '\n');
	return buf_failed(out, e);
}

int
front_info(const char *disk, struct buf *out, struct err *e)
{
	char name[KEY_DRIVER], path[PATH_LEN], says[PROC_TEXT];
	struct proc_task t = { .spec = PROC_SPEC_INIT, .line = keep_line,
	    .ctx = out, .line_max = FOREIGN_INFO, .e = e };

	if (key_driver(disk, name) == -1 || front_find(name, path) == -1)
		return err_set(e, CALA_NOTFOUND, "no disk '%s'", str_q(disk));
	t.spec.path = path;
	t.spec.argv = (const char *const []){ name, "info", NULL };
	if (proc_gather(&t, 1, 1, 10, e) == -1)
		return -1;
	if (t.code == 0)
		return 0;
	if (e->code == 0)
		err_set(e, CALA_FAIL, "%s info: %s", name,
		    proc_says(&t.proc, says));
	return -1;
}

const struct key *
front_rows(const char *disk, size_t *n)
{
	static struct { char disk[KEY_DRIVER]; const struct key *v; size_t n; }
	    known[64];
	static size_t have;
	struct err e = ERR_INIT;
	struct buf text;
	size_t i;

	for (i = 0; i < have && strcmp(known[i].disk, disk) != 0; i++)
		;
	if (i == sizeof(known) / sizeof(*known) ||
	    strlen(disk) >= sizeof(known[i].disk))
		return NULL;
	if (i == have) {
		have++;
		memcpy(known[i].disk, disk, strlen(disk) + 1);
		buf_init(&text, FOREIGN_INFO);
		if (front_info(disk, &text, &e) == 0)
			(void)foreign_keys(text.p, text.len, disk,
			    &known[i].v, &known[i].n, &e);
		buf_fini(&text);
	}
	*n = known[i].n;
	return known[i].v;
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
	if (geteuid() != 0 && p->user != NULL && !file_may(p->key, R_OK) &&
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
