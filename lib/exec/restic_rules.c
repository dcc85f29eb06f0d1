#include "exec/restic_rules.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/stop.h"
#include "base/str.h"
#include "entry/entry.h"
#include "entry/match.h"

enum {
	FLUSH = 64 << 10,
	LINE = 4 * ENTRY_PATH_MAX,
	ARGS_MAX = 1000         /* names with a newline */
};

/*
 * Bytes as a pattern that matches them alone.  In a file variables are
 * expanded, on a command line they are not.
 */
static void
literal(struct buf *b, const char *s, bool file)
{
	for (; *s != '\0'; s++) {
		if (strchr("*?[]\\", *s) != NULL)
			buf_chr(b, '\\');
		else if (*s == '$' && file)
			buf_chr(b, '$');
		buf_chr(b, *s);
	}
}

int
restic_rule(const char *rule, const char *path, struct buf *b)
{
	const char *p, *slash = strchr(rule, '/');
	size_t n = strlen(rule);

	/*
	 * Only folders, classes, escapes, "**" and "?" are different there; a
	 * rule that begins with what is special in files can't be meant.
	 */
	if (n == 0 || rule[n - 1] == '/' || strchr("!#", *rule) != NULL ||
	    strpbrk(rule, "[]\\?") != NULL || strstr(rule, "**") != NULL ||
	    strstr(rule, "//") != NULL || strstr(rule, "./") != NULL ||
	    str_ends(rule, ".") || !str_utf8(rule, n))
		return 1;
	for (p = rule; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return 1;
	literal(b, path, true);
	/* Without a slash it means any depth, but only below the path. */
	buf_str(b, slash == NULL ? "/**/" : *rule == '/' ? "" : "/");
	for (p = rule; *p != '\0'; p++) {
		if (*p == '$')
			buf_chr(b, '$');
		buf_chr(b, *p);
	}
	/* White space at the end of a line would be cut off. */
	buf_str(b, "/\n");
	return 0;
}

/* ---- the list ---- */

struct level {
	char **names;           /* each behind one byte: 'd' or '-' */
	size_t n, at;
	size_t plen;            /* of the path */
	bool own;               /* the rules keep the folder itself */
	bool below;             /* or something in it */
};

struct walk {
	struct restic_rules *out;
	const struct match *m;
	int root;
	const char *base;
	struct buf path;        /* relative */
	struct buf lines;
	struct level *stack;
	size_t depth;
	struct err *e;
};

static int
flush(struct walk *w)
{
	if (buf_failed(&w->lines, w->e) == -1)
		return -1;
	if (file_write_all(w->out->fd, w->lines.p, w->lines.len) == -1)
		return err_sys(w->e, "list of what is left out");
	buf_reset(&w->lines);
	return 0;
}

static int
by_argument(struct walk *w)
{
	char **args = w->out->args;
	struct buf b;

	if (w->out->nargs == ARGS_MAX)
		return err_set(w->e, CALA_USAGE, "the rules leave out more "
		    "than %d names with a newline", (int)ARGS_MAX);
	if ((w->out->nargs & (w->out->nargs - 1)) == 0) {
		args = realloc(args, (w->out->nargs == 0 ? 1 :
		    2 * w->out->nargs) * sizeof(*args));
		if (args == NULL)
			return err_oom(w->e);
		w->out->args = args;
	}
	buf_init(&b, LINE);
	buf_str(&b, "--exclude=");
	literal(&b, w->base, false);
	buf_chr(&b, '/');
	literal(&b, w->path.p, false);
	if ((args[w->out->nargs] = buf_detach(&b)) == NULL)
		return err_oom(w->e);
	w->out->nargs++;
	return 0;
}

static int
leave_out(struct walk *w)
{
	w->out->listed++;
	if (strchr(w->path.p, '\n') != NULL)
		return by_argument(w);
	literal(&w->lines, w->base, true);
	buf_chr(&w->lines, '/');
	literal(&w->lines, w->path.p, true);
	buf_str(&w->lines, "/\n");
	return w->lines.len < FLUSH && !w->lines.failed ? 0 : flush(w);
}

static void
level_free(struct level *l)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		free(l->names[i]);
	free(l->names);
}

static int
add_name(struct level *l, char kind, const char *name)
{
	size_t n = strlen(name);
	char **v = l->names;

	if ((l->n & (l->n - 1)) == 0) {
		v = realloc(v, (l->n == 0 ? 1 : 2 * l->n) * sizeof(*v));
		if (v == NULL)
			return -1;
		l->names = v;
	}
	if ((v[l->n] = malloc(n + 2)) == NULL)
		return -1;
	v[l->n][0] = kind;
	memcpy(v[l->n++] + 1, name, n + 1);
	return 0;
}

/* The names in a folder; what can't be read restic can't read either. */
static int
enter(struct walk *w, bool own)
{
	struct level *l;
	struct dirent *d;
	struct stat st;
	bool dir;
	DIR *dp;
	int fd;

	l = realloc(w->stack, (w->depth + 1) * sizeof(*l));
	if (l == NULL)
		return err_oom(w->e);
	w->stack = l;
	l += w->depth++;
	memset(l, 0, sizeof(*l));
	l->plen = w->path.len;
	l->own = own;
	fd = openat(w->root, w->path.len > 0 ? w->path.p : ".", O_RDONLY |
	    O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return 0;
	if ((dp = fdopendir(fd)) == NULL) {
		close(fd);
		return err_oom(w->e);
	}
	while ((d = readdir(dp)) != NULL) {
		if (strcmp(d->d_name, ".") == 0 ||
		    strcmp(d->d_name, "..") == 0)
			continue;
		dir = d->d_type == DT_DIR || (d->d_type == DT_UNKNOWN &&
		    fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISDIR(st.st_mode));
		if (add_name(l, dir ? 'd' : '-', d->d_name) == -1) {
			closedir(dp);
			return err_oom(w->e);
		}
	}
	closedir(dp);
	return 0;
}

/* A folder that is only passed through is there for what it holds. */
static int
leave(struct walk *w)
{
	struct level *l = &w->stack[w->depth - 1];
	bool stays = l->own || l->below;

	buf_cut(&w->path, l->plen);
	level_free(l);
	w->depth--;
	if (w->depth == 0)
		return 0;
	if (stays)
		w->stack[w->depth - 1].below = true;
	return stays ? 0 : leave_out(w);
}

static int
visit(struct walk *w)
{
	struct level *l = &w->stack[w->depth - 1];
	const char *name;
	enum match_verdict v;
	bool dir;

	if (l->at == l->n)
		return leave(w);
	name = l->names[l->at++];
	dir = *name++ == 'd';
	buf_cut(&w->path, l->plen);
	if (l->plen > 0)
		buf_chr(&w->path, '/');
	buf_str(&w->path, name);
	if (buf_failed(&w->path, w->e) == -1)
		return -1;
	v = match_path(w->m, w->path.p, dir);
	if (v == MATCH_DROP)
		return leave_out(w);
	if (!dir || w->depth >= ENTRY_DEPTH_MAX) {
		l->below = true;
		return 0;
	}
	if (stop_check(w->e) == -1)
		return -1;
	return enter(w, v == MATCH_KEEP);
}

static int
list(struct walk *w)
{
	int ret = enter(w, true);

	while (ret == 0 && w->depth > 0)
		ret = visit(w);
	while (w->depth > 0)
		level_free(&w->stack[--w->depth]);
	free(w->stack);
	return ret == 0 ? flush(w) : -1;
}

int
restic_rules_make(struct restic_rules *r, const struct match *m, int dirfd,
    const char *path, struct err *e)
{
	struct walk w = { .out = r, .m = m, .root = dirfd, .base = path,
	    .e = e };
	bool exact = false, again = false;
	const char *rule;
	size_t i;
	int ret = -1;

	if (match_count(m) == 0)
		return 0;
	buf_init(&w.path, ENTRY_PATH_MAX);
	buf_init(&w.lines, FLUSH + LINE);
	r->fd = memfd_create("cala-rules", MFD_CLOEXEC);
	if (r->fd == -1) {
		err_sys(e, "memory for rules");
		goto out;
	}
	for (i = 0; i < match_count(m); i++)
		again |= *match_rule(m, i) == '!';
	for (i = 0; i < match_count(m); i++) {
		rule = match_rule(m, i);
		if (again || restic_rule(rule, path, &w.lines) == 1)
			exact = true;
		if (w.lines.len >= FLUSH && flush(&w) == -1)
			goto out;
	}
	if ((exact ? list(&w) : flush(&w)) == -1)
		goto out;
	if (lseek(r->fd, 0, SEEK_SET) == -1) {
		err_sys(e, "memory for rules");
		goto out;
	}
	ret = 0;
out:
	buf_fini(&w.path);
	buf_fini(&w.lines);
	if (ret == -1)
		restic_rules_fini(r);
	return ret;
}

void
restic_rules_fini(struct restic_rules *r)
{
	size_t i;

	if (r->fd != -1)
		close(r->fd);
	for (i = 0; i < r->nargs; i++)
		free(r->args[i]);
	free(r->args);
	*r = (struct restic_rules)RESTIC_RULES_INIT;
}
