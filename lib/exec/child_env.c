/*
 * child_env: what a program is told besides its arguments: an environment made
 * from nothing, and secrets as files that no disk has.
 */

#include "exec/child.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/secret.h"
#include "base/str.h"

enum { VARIABLES = 1000 };

static bool
name_ok(const char *s, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!((s[i] >= 'A' && s[i] <= 'Z') ||
		    (s[i] >= 'a' && s[i] <= 'z') || s[i] == '_' ||
		    (s[i] >= '0' && s[i] <= '9' && i > 0)))
			return false;
	return n > 0;
}

/* Is "NAME=VALUE" of this name, or begins its name so where that ends in '_'? */
static bool
named(const char *var, const char *name)
{
	size_t n = strlen(name);

	return strncmp(var, name, n) == 0 && (var[n] == '=' ||
	    (n > 0 && name[n - 1] == '_'));
}

/* A heap string that may be secret. */
static void
wipe(char *var)
{
	if (var != NULL)
		secret_wipe(var, strlen(var));
	free(var);
}

static int
take(struct child_env *v, char *var, struct err *e)
{
	char **list;

	if (v->n == VARIABLES) {
		wipe(var);
		return err_set(e, CALA_USAGE, "more than %d variables",
		    (int)VARIABLES);
	}
	if ((list = realloc(v->v, (v->n + 2) * sizeof(*list))) == NULL) {
		wipe(var);
		return err_oom(e);
	}
	v->v = list;
	list[v->n++] = var;
	list[v->n] = NULL;
	return 0;
}

int
child_env_set(struct child_env *v, const char *name, const char *value,
    struct err *e)
{
	size_t i, n = strlen(name), len = strlen(value);
	char *var;

	if (!name_ok(name, n))
		return err_set(e, CALA_USAGE, "'%s' is no name of a variable",
		    str_q(name));
	if ((var = malloc(n + len + 2)) == NULL)
		return err_oom(e);
	memcpy(var, name, n);
	var[n] = '=';
	memcpy(var + n + 1, value, len + 1);
	for (i = 0; i < v->n; i++)
		if (strncmp(v->v[i], var, n + 1) == 0) {
			wipe(v->v[i]);
			v->v[i] = var;
			return 0;
		}
	return take(v, var, e);
}

bool
child_env_has(const struct child_env *v, const char *name)
{
	size_t i;

	for (i = 0; i < v->n; i++)
		if (named(v->v[i], name))
			return true;
	return false;
}

const char *
child_env_get(const struct child_env *v, const char *name)
{
	size_t i, n = strlen(name);

	for (i = 0; i < v->n; i++)
		if (strncmp(v->v[i], name, n) == 0 && v->v[i][n] == '=')
			return v->v[i] + n + 1;
	return NULL;
}

int
child_env_pass(struct child_env *v, char *const *ours, const char *name,
    struct err *e)
{
	size_t i, n;
	char own[256], *var;

	for (i = 0; ours != NULL && ours[i] != NULL; i++) {
		n = strcspn(ours[i], "=");
		if (!named(ours[i], name) || ours[i][n] != '=' ||
		    n >= sizeof(own))
			continue;
		memcpy(own, ours[i], n);
		own[n] = '\0';
		if (!name_ok(own, n) || child_env_get(v, own) != NULL)
			continue;
		if ((var = strdup(ours[i])) == NULL)
			return err_oom(e);
		if (take(v, var, e) == -1)
			return -1;
	}
	return 0;
}

int
child_env_init(struct child_env *v, char *const *ours, struct err *e)
{
	static const struct { const char *name, *usual; } always[] = {
		{ "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
		    "/sbin:/bin" },
		{ "HOME", "/" },
		{ "TMPDIR", NULL },
	};
	size_t i;

	v->v = NULL;
	v->n = 0;
	for (i = 0; i < sizeof(always) / sizeof(*always); i++)
		if (child_env_pass(v, ours, always[i].name, e) == -1 ||
		    (always[i].usual != NULL &&
		    child_env_get(v, always[i].name) == NULL &&
		    child_env_set(v, always[i].name, always[i].usual,
		    e) == -1))
			goto fail;
	if (child_env_set(v, "LC_ALL", "C", e) == 0 &&
	    child_env_set(v, "TZ", "UTC", e) == 0)
		return 0;
fail:
	child_env_fini(v);
	return -1;
}

const char *const *
child_env_list(const struct child_env *v)
{
	static const char *const none[] = { NULL };

	return v->v != NULL ? (const char *const *)v->v : none;
}

void
child_env_fini(struct child_env *v)
{
	size_t i;

	for (i = 0; i < v->n; i++)
		wipe(v->v[i]);
	free(v->v);
	v->v = NULL;
	v->n = 0;
}

int
child_memory(const char *name, const void *p, size_t n, struct err *e)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd == -1)
		return err_sys(e, "memory for %s", name);
	if (file_write_all(fd, p, n) == -1 || lseek(fd, 0, SEEK_SET) == -1 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW |
	    F_SEAL_WRITE) == -1) {
		err_sys(e, "memory for %s", name);
		close(fd);
		return -1;
	}
	return fd;
}
