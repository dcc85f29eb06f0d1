#include "job/browse.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "base/when.h"
#include "entry/entry.h"
#include "job/find.h"
#include "job/item.h"
#include "job/tool.h"

int
item_get(struct item *it, const char *p, size_t n, struct err *e)
{
	const char *s, *type, *mtime;

	it->json = NULL;
	buf_init(&it->path, ENTRY_PATH_MAX);
	if ((it->json = json_parse(p, n, "entry", e)) == NULL)
		return -1;
	/* The exact bytes where they are no UTF-8. */
	if ((s = json_get_str(it->json, "path_b64")) != NULL) {
		if (b64_get(&it->path, s, strlen(s)) == -1)
			goto bad;
	} else if ((s = json_get_str(it->json, "path")) != NULL) {
		buf_str(&it->path, s);
	} else {
		goto bad;
	}
	if (buf_failed(&it->path, e) == -1 ||
	    memchr(it->path.p, '\0', it->path.len) != NULL ||
	    (type = json_get_str(it->json, "type")) == NULL ||
	    strlen(type) != 1)
		goto bad;
	it->type = *type;
	it->size = json_get_u64(it->json, "size", 0);
	mtime = json_get_str(it->json, "mtime");
	it->has_mtime = mtime != NULL && when_rfc3339(mtime, &it->mtime) == 0;
	return 0;
bad:
	item_fini(it);
	return err_set(e, CALA_INTEGRITY, "entry without path or type");
}

void
item_fini(struct item *it)
{
	json_decref(it->json);
	it->json = NULL;
	buf_fini(&it->path);
}

int
items_list(const struct job_env *env, const struct job_found *b,
    const char *path, int (*line)(void *, const char *, size_t,
    struct err *), void *ctx, struct err *e)
{
	static const struct proc_spec init = PROC_SPEC_INIT;
	struct args a = { NULL, 0, false };
	struct err own = ERR_INIT;
	struct proc_task t;
	char text[PROC_TEXT];
	int ret = -1;

	args_backup(env, &a, b, "ls");
	args_add(&a, "-R");
	args_add(&a, "--json");
	if (path != NULL)
		args_path(&a, path);
	if (a.failed) {
		err_oom(e);
		goto out;
	}
	memset(&t, 0, sizeof(t));
	t.spec = init;
	t.spec.argv = (const char *const *)a.v;
	t.spec.group = true;
	t.line = line;
	t.ctx = ctx;
	t.line_max = ITEM_LINE;
	t.e = &own;
	if (proc_gather(&t, 1, 1, -1, e) == -1)
		goto out;
	if (own.msg[0] != '\0')
		*e = own;
	else if (t.code == CALA_OK || t.code == CALA_PARTIAL)
		ret = t.code;
	else
		err_set(e, tool_code(t.code), "%s ls: %s", t.proc.name,
		    proc_says(&t.proc, text));
out:
	args_free(&a);
	return ret;
}

static void
put_text(const struct job_env *env, const char *s)
{
	struct buf b;

	buf_init(&b, 4 * ENTRY_PATH_MAX + 1);
	str_esc(&b, s, strlen(s));
	fputs(b.p, env->out);
	buf_fini(&b);
}

struct look {
	const struct job_env *env;
	const struct browse_find *how;
	size_t base;            /* depth of the folder that is looked at */
};

static int
tree_line(void *ctx, const char *p, size_t n, struct err *e)
{
	struct look *l = ctx;
	const char *target;
	struct item it;
	size_t depth;

	if (l->env->json) {
		fprintf(l->env->out, "%.*s\n", (int)n, p);
		return file_printed(l->env->out, "standard output", e);
	}
	if (item_get(&it, p, n, e) == -1)
		return -1;
	depth = entry_depth(it.path.p);
	fprintf(l->env->out, "%*s", depth > l->base ?
	    (int)(2 * (depth - l->base - 1)) : 0, "");
	put_text(l->env, entry_name(it.path.p));
	target = json_get_str(it.json, "target");
	if (it.type == ENTRY_DIR)
		fputc('/', l->env->out);
	if (target != NULL) {
		fputs(it.type == ENTRY_HARDLINK ? " = " : " -> ", l->env->out);
		put_text(l->env, target);
	}
	fputc('\n', l->env->out);
	item_fini(&it);
	return file_printed(l->env->out, "standard output", e);
}

static bool
wanted(const struct browse_find *h, const struct item *it)
{
	const char *name = h->name;

	if (name != NULL && fnmatch(name, strchr(name, '/') != NULL ?
	    it->path.p : entry_name(it->path.p), 0) != 0)
		return false;
	if (h->type != 0 && h->type != it->type)
		return false;
	if ((h->larger != UINT64_MAX || h->smaller != UINT64_MAX) &&
	    it->type != ENTRY_FILE)
		return false;
	if (h->larger != UINT64_MAX && it->size <= h->larger)
		return false;
	if (h->smaller != UINT64_MAX && it->size >= h->smaller)
		return false;
	if (h->has_newer && (!it->has_mtime ||
	    when_cmp(it->mtime, h->newer) <= 0))
		return false;
	return !h->has_older || (it->has_mtime &&
	    when_cmp(it->mtime, h->older) < 0);
}

static int
find_line(void *ctx, const char *p, size_t n, struct err *e)
{
	struct look *l = ctx;
	struct item it;

	if (item_get(&it, p, n, e) == -1)
		return -1;
	if (wanted(l->how, &it)) {
		if (l->env->json) {
			fprintf(l->env->out, "%.*s\n", (int)n, p);
		} else if (l->how->null) {
			fputs(it.path.p, l->env->out);
			fputc('\0', l->env->out);
		} else {
			put_text(l->env, it.path.p);
			fputc('\n', l->env->out);
		}
	}
	item_fini(&it);
	return file_printed(l->env->out, "standard output", e);
}

static int
look(const struct job_env *env, const char *server, const char *backup,
    const char *path, const struct browse_find *how, struct err *e)
{
	struct look l = { env, how, 0 };
	struct conf_server srv;
	struct job_found b;
	struct buf clean;
	const char *why;
	int ret = -1;

	buf_init(&clean, ENTRY_PATH_MAX);
	if (path != NULL && entry_path(&clean, path, strlen(path),
	    &why) == -1) {
		buf_fini(&clean);
		return err_set(e, CALA_USAGE, "%s: %s", str_q(path), why);
	}
	l.base = clean.len > 0 ? entry_depth(clean.p) : 0;
	if (job_locate(env, server, backup, &srv, &b, e) == 0) {
		ret = items_list(env, &b, path, how != NULL ? find_line :
		    tree_line, &l, e);
		record_fini(&b.rec);
		conf_server_fini(&srv);
	}
	buf_fini(&clean);
	return ret;
}

int
browse_tree(const struct job_env *env, const char *server,
    const char *backup, const char *path, struct err *e)
{
	return look(env, server, backup, path, NULL, e);
}

int
browse_find(const struct job_env *env, const char *server,
    const char *backup, const char *path, const struct browse_find *how,
    struct err *e)
{
	return look(env, server, backup, path, how, e);
}
