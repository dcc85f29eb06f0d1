/*
 * diff: two lists of entries side by side.
 *
 * Other programs' archives are in any order, and a list may be longer than
 * memory: sort(1) puts each into a temporary file by a key that makes it depth
 * first (hex digits of the path, '/' as 00), and one pass compares them.
 */

#include "job/browse.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/code.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/str.h"
#include "base/when.h"
#include "entry/entry.h"
#include "fs/fs.h"
#include "job/find.h"
#include "job/item.h"
#include "job/tool.h"

/* One side: what goes into sort, and what comes out. */
struct side {
	FILE *to, *from;
	struct proc sort;
	char *line;             /* the current one; NULL: the end */
	size_t room;
	const char *json;       /* behind its key */
};

static int
add(struct side *s, const struct buf *path, const char *json, size_t n,
    struct err *e)
{
	char hex[3];
	size_t i;

	if (path->len == 0)
		return 0;
	for (i = 0; i < path->len; i++) {
		hex_put(&path->p[i], 1, hex);
		fputs(path->p[i] == '/' ? "00" : hex, s->to);
	}
	if (fprintf(s->to, " %.*s\n", (int)n, json) < 0)
		return err_sys(e, "write to sort");
	return 0;
}

static int
add_line(void *ctx, const char *p, size_t n, struct err *e)
{
	struct item it;
	int ret;

	if (item_get(&it, p, n, e) == -1)
		return -1;
	ret = add(ctx, &it.path, p, n, e);
	item_fini(&it);
	return ret;
}

static int
add_dir(const struct job_env *env, struct side *s, const char *dir,
    struct err *e)
{
	const struct entry *ent;
	struct content *content;
	struct reader *r = NULL;
	struct buf json, path;
	struct fs_walk how;
	int k, ret = -1;

	memset(&how, 0, sizeof(how));
	how.keep_cache = true;
	how.jobs = 1;
	buf_init(&json, ITEM_LINE);
	buf_init(&path, ENTRY_PATH_MAX);
	if ((r = fs_reader(AT_FDCWD, dir, &how, env->log, e)) == NULL)
		goto out;
	while ((k = reader_next(r, &ent, &content, e)) == 1) {
		buf_reset(&json);
		buf_reset(&path);
		entry_json(&json, ent);
		buf_str(&path, ent->path);
		if (buf_failed(&json, e) == -1 || buf_failed(&path, e) == -1 ||
		    add(s, &path, json.p, json.len, e) == -1)
			goto out;
	}
	ret = k;
out:
	reader_close(r);
	buf_fini(&json);
	buf_fini(&path);
	return ret;
}

static int
begin(struct side *s, const char *tmp, struct err *e)
{
	static const struct proc_spec init = PROC_SPEC_INIT;
	static const char *const env[] = { "LC_ALL=C", NULL };
	const char *const argv[] = { "sort", "-T", tmp, NULL };
	struct proc_spec spec = init;
	int in[2] = { -1, -1 }, fd, ret = -1;

	if ((fd = file_nameless(AT_FDCWD, tmp, e)) == -1)
		return -1;
	if (pipe2(in, O_CLOEXEC) == -1) {
		err_sys(e, "pipe");
		goto out;
	}
	spec.argv = argv;
	spec.env = env;
	spec.fd[0] = in[0];
	spec.fd[1] = fd;
	spec.group = true;
	if (proc_start(&s->sort, &spec, e) == -1)
		goto out;
	if ((s->to = fdopen(in[1], "w")) == NULL) {
		err_sys(e, "pipe");
		goto out;
	}
	in[1] = -1;
	if ((s->from = fdopen(fd, "r")) == NULL) {
		err_sys(e, "temporary file");
		goto out;
	}
	fd = -1;
	ret = 0;
out:
	if (in[0] != -1)
		close(in[0]);
	if (in[1] != -1)
		close(in[1]);
	if (fd != -1)
		close(fd);
	return ret;
}

static int
sorted(struct side *s, struct err *e)
{
	char text[PROC_TEXT];
	int r = fclose(s->to);

	s->to = NULL;
	if (r == EOF)
		return err_sys(e, "write to sort");
	if (proc_wait(&s->sort, 1, -1, e) == -1)
		return -1;
	if (s->sort.status != 0)
		return err_set(e, CALA_FAIL, "sort: %s",
		    proc_says(&s->sort, text));
	rewind(s->from);
	return 0;
}

static void
end(struct side *s)
{
	if (s->to != NULL)
		fclose(s->to);
	proc_end(&s->sort, 1, 2);
	if (s->from != NULL)
		fclose(s->from);
	free(s->line);
}

/* The next line: 1 with key and JSON apart, 0 at the end, -1. */
static int
step(struct side *s, struct err *e)
{
	ssize_t n = getline(&s->line, &s->room, s->from);
	char *blank;

	s->json = NULL;
	if (n == -1)
		return ferror(s->from) ? err_sys(e, "temporary file") : 0;
	if (s->line[n - 1] == '\n')
		s->line[n - 1] = '\0';
	if ((blank = strchr(s->line, ' ')) == NULL)
		return err_set(e, CALA_FAIL, "temporary file: no key");
	*blank = '\0';
	s->json = blank + 1;
	return 1;
}

/* Formats without fractions of seconds are not different for it. */
static bool
same_time(const struct item *a, const struct item *b)
{
	if (!a->has_mtime || !b->has_mtime)
		return true;
	if (a->mtime.tv_nsec == 0 || b->mtime.tv_nsec == 0)
		return a->mtime.tv_sec == b->mtime.tv_sec;
	return when_cmp(a->mtime, b->mtime) == 0;
}

static void
compare(const struct item *a, const struct item *b, struct opt_list *out)
{
	static const char *const keys[] = { "mode", "uid", "gid", "target",
	    "target_b64", "rdev" };
	bool link = a->type == ENTRY_SYMLINK || a->type == ENTRY_HARDLINK;
	size_t i;

	if (a->type != b->type) {
		opt_list_add(out, "type");
		return;
	}
	if (a->type == ENTRY_FILE && a->size != b->size)
		opt_list_add(out, "size");
	if (a->type == ENTRY_FILE && !same_time(a, b))
		opt_list_add(out, "mtime");
	for (i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		/* A link has no mode of its own. */
		if (link && i == 0)
			continue;
		if (!json_equal(json_object_get(a->json, keys[i]),
		    json_object_get(b->json, keys[i])) &&
		    (json_object_get(a->json, keys[i]) != NULL ||
		    json_object_get(b->json, keys[i]) != NULL))
			opt_list_add(out, keys[i]);
	}
}

static void
report(const struct job_env *env, char sign, const struct item *it,
    const struct opt_list *fields)
{
	const char *word = sign == '+' ? "added" : sign == '-' ? "removed" :
	    "changed";
	struct buf b;
	struct jw j;
	size_t i;

	buf_init(&b, ITEM_LINE);
	if (env->json) {
		jw_begin(&j, &b);
		jw_open(&j, NULL, '{');
		jw_bytes(&j, "path", it->path.p, it->path.len);
		jw_str(&j, "change", word);
		jw_open(&j, "fields", '[');
		for (i = 0; i < fields->n; i++)
			jw_str(&j, NULL, fields->v[i]);
		jw_close(&j, ']');
		jw_close(&j, '}');
		fprintf(env->out, "%s\n", b.p);
	} else {
		str_esc(&b, it->path.p, it->path.len);
		fprintf(env->out, "%c\t%s", sign, b.p);
		for (i = 0; i < fields->n; i++)
			fprintf(env->out, "%c%s", i == 0 ? '\t' : ',',
			    fields->v[i]);
		fputc('\n', env->out);
	}
	buf_fini(&b);
}

static int
one(const struct job_env *env, char sign, const struct side *s,
    struct err *e)
{
	static const struct opt_list none = { NULL, 0 };
	struct item it;

	if (item_get(&it, s->json, strlen(s->json), e) == -1)
		return -1;
	report(env, sign, &it, &none);
	item_fini(&it);
	return 0;
}

static int
both(const struct job_env *env, const struct side *x, const struct side *y,
    struct err *e)
{
	struct opt_list fields = { NULL, 0 };
	struct item a, b;

	if (strcmp(x->json, y->json) == 0)
		return 0;
	if (item_get(&a, x->json, strlen(x->json), e) == -1)
		return -1;
	if (item_get(&b, y->json, strlen(y->json), e) == -1) {
		item_fini(&a);
		return -1;
	}
	compare(&a, &b, &fields);
	if (fields.n > 0)
		report(env, '~', &b, &fields);
	opt_list_free(&fields);
	item_fini(&a);
	item_fini(&b);
	return 0;
}

static int
merge(const struct job_env *env, struct side *x, struct side *y,
    struct err *e)
{
	int a = step(x, e), b = a == -1 ? -1 : step(y, e), cmp;

	while (a != -1 && b != -1 && (a == 1 || b == 1)) {
		if (file_printed(env->out, "standard output", e) == -1)
			return -1;
		cmp = a == 0 ? 1 : b == 0 ? -1 : strcmp(x->line, y->line);
		if ((cmp < 0 ? one(env, '-', x, e) : cmp > 0 ?
		    one(env, '+', y, e) : both(env, x, y, e)) == -1)
			return -1;
		if (cmp <= 0)
			a = step(x, e);
		if (cmp >= 0 && a != -1)
			b = step(y, e);
	}
	return a == -1 || b == -1 ? -1 : 0;
}

int
browse_diff(const struct job_env *env, const char *server, const char *old,
    const char *new, const char *dir, const char *tmp, struct err *e)
{
	struct conf_server srv, again;
	struct job_found a, b;
	struct side x, y;
	int p = -1, q = -1, ret = -1;

	memset(&x, 0, sizeof(x));
	memset(&y, 0, sizeof(y));
	if (job_locate(env, server, old, &srv, &a, e) == -1)
		return -1;
	record_init(&b.rec);
	if (new == NULL && dir == NULL && (dir = srv.path) == NULL) {
		err_set(e, CALA_NOTFOUND, "server %s has no directory here",
		    str_q(server));
		goto out;
	}
	if (new != NULL) {
		if (job_locate(env, server, new, &again, &b, e) == -1)
			goto out;
		conf_server_fini(&again);
	}
	if (begin(&x, tmp, e) == -1 || begin(&y, tmp, e) == -1)
		goto out;
	if ((p = items_list(env, &a, NULL, add_line, &x, e)) == -1 ||
	    sorted(&x, e) == -1)
		goto out;
	q = new != NULL ? items_list(env, &b, NULL, add_line, &y, e) :
	    add_dir(env, &y, dir, e);
	if (q == -1 || sorted(&y, e) == -1 || merge(env, &x, &y, e) == -1)
		goto out;
	ret = p != 0 ? p : q;
out:
	end(&x);
	end(&y);
	record_fini(&a.rec);
	record_fini(&b.rec);
	conf_server_fini(&srv);
	return ret;
}
