#include "s3/awsfile.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/secret.h"
#include "base/str.h"

/* Where the parser is. */
struct at {
	struct awsfile *f;
	const char *kind, *name, *parent;
	size_t cap;
	bool shared;
};

static int
add(struct at *a, const char *key, const char *value, struct err *e)
{
	struct awsfile *f = a->f;
	struct awsitem *v;

	if (f->n == AWSFILE_ITEMS)
		return err_set(e, CALA_USAGE, "more than %d lines",
		    (int)AWSFILE_ITEMS);
	if (f->n == a->cap) {
		a->cap = a->cap == 0 ? 32 : 2 * a->cap;
		v = reallocarray(f->v, a->cap, sizeof(*v));
		if (v == NULL)
			return err_oom(e);
		f->v = v;
	}
	f->v[f->n++] = (struct awsitem){ a->kind, a->name, a->parent, key,
	    value };
	return 0;
}

/* Cut a name's quotes off: [profile "my servers"]. */
static char *
unquote(char *s)
{
	size_t n = strlen(s);

	if (n >= 2 && (*s == '"' || *s == '\'') && s[n - 1] == *s) {
		s[n - 1] = '\0';
		return s + 1;
	}
	return s;
}

/* "[kind name]"; a section of another kind is kept, and nobody asks for it. */
static int
heading(struct at *a, char *line, struct err *e)
{
	char *end = strchr(line, ']'), *s, *p;

	a->kind = a->name = NULL;
	a->parent = "";
	if (end == NULL)
		return 0;
	*end = '\0';
	s = str_trim(line + 1);
	if (a->shared) {
		a->kind = "profile";
		a->name = unquote(s);
	} else {
		p = s + strcspn(s, " \t");
		if (*p == '\0') {
			a->kind = "profile";
			a->name = strcmp(s, "default") == 0 ? s : "";
		} else {
			*p = '\0';
			a->kind = s;
			a->name = unquote(str_trim(p + 1));
		}
	}
	/* Marks that the section is there. */
	return add(a, "", "", e);
}

/* What follows a blank and "#" or ";" is a comment. */
static void
uncomment(char *s)
{
	for (; *s != '\0'; s++)
		if ((s[1] == '#' || s[1] == ';') && (*s == ' ' || *s == '\t')) {
			*s = '\0';
			return;
		}
}

static int
line(struct at *a, char *s, struct err *e)
{
	bool indented = *s == ' ' || *s == '\t';
	char *eq, *key, *value;

	s = str_trim(s);
	if (*s == '\0' || *s == '#' || *s == ';')
		return 0;
	if (*s == '[' && !indented)
		return heading(a, s, e);
	if (a->kind == NULL || (eq = strchr(s, '=')) == NULL)
		return 0;
	*eq = '\0';
	key = str_trim(s);
	uncomment(eq + 1);
	value = str_trim(eq + 1);
	if (!indented)
		a->parent = "";
	if (add(a, key, value, e) == -1)
		return -1;
	if (!indented && *value == '\0')
		a->parent = key;
	return 0;
}

/* Cuts f->text into lines, in place. */
static int
parse(struct awsfile *f, bool shared, struct err *e)
{
	struct at a = { f, NULL, NULL, "", 0, shared };
	char *p = f->text, *end = f->text + f->size, *nl;

	if (f->size >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
		p += 3;
	for (; p < end; p = nl + 1) {
		if ((nl = memchr(p, '\n', (size_t)(end - p))) == NULL)
			nl = end;
		*nl = '\0';
		if (strlen(p) != (size_t)(nl - p))
			return err_set(e, CALA_USAGE, "has a NUL in it");
		if (line(&a, p, e) == -1)
			return -1;
	}
	return 0;
}

int
awsfile_parse(struct awsfile *f, const void *p, size_t n, bool shared,
    struct err *e)
{
	memset(f, 0, sizeof(*f));
	if (n > AWSFILE_MAX)
		return err_set(e, CALA_USAGE, "longer than %d bytes",
		    (int)AWSFILE_MAX);
	if ((f->text = malloc(n + 1)) == NULL)
		return err_oom(e);
	memcpy(f->text, p, n);
	f->text[n] = '\0';
	f->size = n;
	if (parse(f, shared, e) == 0)
		return 0;
	awsfile_fini(f);
	return -1;
}

int
awsfile_read(struct awsfile *f, const char *path, bool shared, struct err *e)
{
	struct stat st;
	ssize_t n;
	int fd, ret = -1;

	memset(f, 0, sizeof(*f));
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd == -1) {
		if (errno == ENOENT || errno == ENOTDIR)
			return 1;
		return err_sys(e, "%s", str_q(path));
	}
	if (fstat(fd, &st) == -1) {
		err_sys(e, "%s", str_q(path));
		goto out;
	}
	/* /dev/null is how one says "none". */
	if (!S_ISREG(st.st_mode)) {
		ret = S_ISCHR(st.st_mode) ? 1 : err_set(e, CALA_USAGE,
		    "%s: not a regular file", str_q(path));
		goto out;
	}
	f->open = (st.st_mode & 077) != 0;
	/* One block of the right size: realloc would leave copies behind. */
	if ((f->text = malloc(AWSFILE_MAX + 2)) == NULL) {
		err_oom(e);
		goto out;
	}
	if ((n = file_read_full(fd, f->text, AWSFILE_MAX + 1)) == -1) {
		err_sys(e, "%s", str_q(path));
		goto out;
	}
	f->size = (size_t)n;
	f->text[n] = '\0';
	if (n > AWSFILE_MAX)
		err_set(e, CALA_USAGE, "longer than %d bytes",
		    (int)AWSFILE_MAX);
	else
		ret = parse(f, shared, e);
	if (ret == -1)
		err_ctx(e, "%s", str_q(path));
out:
	close(fd);
	if (ret == -1)
		awsfile_fini(f);
	return ret;
}

void
awsfile_fini(struct awsfile *f)
{
	if (f->text != NULL)
		secret_wipe(f->text, f->size);
	free(f->text);
	free(f->v);
	memset(f, 0, sizeof(*f));
}

bool
awsfile_has(const struct awsfile *f, const char *kind, const char *name)
{
	return awsfile_get(f, kind, name, "", "") != NULL;
}

const char *
awsfile_get(const struct awsfile *f, const char *kind, const char *name,
    const char *parent, const char *key)
{
	const char *found = NULL;
	size_t i;

	for (i = 0; i < f->n; i++) {
		const struct awsitem *it = &f->v[i];

		if (strcmp(it->kind, kind) == 0 &&
		    strcmp(it->name, name) == 0 &&
		    strcasecmp(it->parent, parent) == 0 &&
		    strcasecmp(it->key, key) == 0)
			found = it->value;
	}
	return found;
}
