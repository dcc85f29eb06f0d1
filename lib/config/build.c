/*
 * build: from the text of the files to struct conf.
 *
 * Two passes: here the lines are sorted into sections, then judge.c says what
 * each of them means.
 */

#include "config/build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "config/ini.h"
#include "config/model.h"

static const char *const kinds[] = {
	"cala", "location", "node", "server", "configuration", "group", "policy"
};

static void
on_bad(void *ctx, int line, const char *what)
{
	struct build *b = ctx;

	problem_add(b->bad, b->file, line, "%s", what);
}

char *
build_place(const struct build *b, size_t file, int line)
{
	char *s;

	return asprintf(&s, "%s:%d", b->fs->v[file].path, line) == -1 ?
	    NULL : s;
}

void
build_item_fini(struct conf_item *it)
{
	if (it->text != NULL)
		secret_wipe(it->text, strlen(it->text));
	free(it->text);
	free(it->name);
	free(it->member);
	free(it->where);
}

static void
section_free(struct conf_section *s)
{
	size_t i;

	if (s == NULL)
		return;
	for (i = 0; i < s->n; i++)
		build_item_fini(&s->items[i]);
	free(s->items);
	free(s->kind);
	free(s->name);
	free(s->where);
	free(s);
}

/* Double the buckets once there are as many sections. */
static int
rehash(struct conf *c)
{
	size_t i, n = c->buckets == 0 ? 64 : 2 * c->buckets, h;
	struct conf_section **v;

	if (c->n < c->buckets)
		return 0;
	if ((v = calloc(n, sizeof(*v))) == NULL)
		return -1;
	for (i = 0; i < c->n; i++) {
		h = model_bucket(n, c->v[i]->kind, c->v[i]->name);
		c->v[i]->next = v[h];
		v[h] = c->v[i];
	}
	free(c->hash);
	c->hash = v;
	c->buckets = n;
	return 0;
}

/* The section of that name, made when it is new.  NULL without memory. */
static struct conf_section *
section_get(struct build *b, int line, const char *kind, const char *name)
{
	const struct conf_section *old;
	struct conf *c = b->c;
	struct conf_section *s, **v;
	size_t h;

	if (rehash(c) == -1)
		return NULL;
	if ((old = conf_section(c, kind, name)) != NULL) {
		/* [cala] exists before any file says so. */
		h = model_bucket(c->buckets, kind, old->name);
		for (s = c->hash[h]; s != old; s = s->next)
			;
		if (s->line == 0 && line != 0) {
			free(s->where);
			s->where = build_place(b, b->file, line);
			s->file = b->file;
			s->line = line;
		}
		return s->where != NULL ? s : NULL;
	}
	if ((v = model_more(c->v, c->n, sizeof(*v))) == NULL)
		return NULL;
	c->v = v;
	if ((s = calloc(1, sizeof(*s))) == NULL)
		return NULL;
	s->conf = c;
	s->kind = strdup(kind);
	s->name = strdup(name != NULL ? name : "");
	s->where = line != 0 ? build_place(b, b->file, line) : strdup("default");
	s->file = b->file;
	s->line = line;
	if (s->kind == NULL || s->name == NULL || s->where == NULL) {
		section_free(s);
		return NULL;
	}
	h = model_bucket(c->buckets, s->kind, s->name);
	s->next = c->hash[h];
	c->hash[h] = s;
	c->v[c->n++] = s;
	return s;
}

static size_t
characters(const char *s)
{
	size_t n = 0;

	for (; *s != '\0'; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static void
on_heading(void *ctx, int line, const char *kind, const char *name)
{
	struct build *b = ctx;
	size_t i, n = sizeof(kinds) / sizeof(*kinds);

	b->s = NULL;
	for (i = 0; i < n && strcmp(kinds[i], kind) != 0; i++)
		;
	if (i == n)
		problem_add(b->bad, b->file, line, "[%s]: unknown section",
		    str_q(kind));
	else if (i == 0 && name != NULL)
		problem_add(b->bad, b->file, line, "[cala] has no name");
	else if (i != 0 && name == NULL)
		problem_add(b->bad, b->file, line,
		    "[%s] needs a name: [%s \"NAME\"]", kind, kind);
	else if (name != NULL && characters(name) > KEY_TITLE_MAX)
		problem_add(b->bad, b->file, line, "[%s]: the name has %zu "
		    "characters, at most %d", kind, characters(name),
		    KEY_TITLE_MAX);
	else if ((b->s = section_get(b, line, kind, name)) == NULL)
		b->oom = true;
}

static void
on_pair(void *ctx, int line, const char *key, const char *text)
{
	struct build *b = ctx;
	size_t n = strlen(key) + 1, m = strlen(text) + 1;
	struct raw *v;

	if (b->s == NULL) {
		/* Behind an unknown section one line was said already. */
		if (b->c->n == 1 && b->c->cala->line == 0 && b->bad->n == 0)
			problem_add(b->bad, b->file, line,
			    "%s: a key before the first [section]",
			    str_q(key));
		return;
	}
	if ((v = model_more(b->raw, b->nraw, sizeof(*v))) == NULL) {
		b->oom = true;
		return;
	}
	b->raw = v;
	v += b->nraw;
	if ((v->key = malloc(n + m)) == NULL) {
		b->oom = true;
		return;
	}
	v->text = v->key + n;
	memcpy(v->key, key, n);
	memcpy(v->text, text, m);
	v->s = b->s;
	v->file = b->file;
	v->line = line;
	b->nraw++;
}

int
conf_try(struct conf **out, const struct conf_files *fs,
    const struct conf_paths *paths, struct problems *bad, struct err *e)
{
	static const struct ini_calls calls = { on_heading, on_pair, on_bad };
	struct build b = { .fs = fs, .paths = paths, .bad = bad };
	size_t i;
	int ret = -1;

	if ((b.c = calloc(1, sizeof(*b.c))) == NULL)
		return err_oom(e);
	b.c->env = paths->env;
	if ((b.c->cala = section_get(&b, 0, "cala", NULL)) == NULL ||
	    (paths->key != NULL &&
	    (b.c->key = strdup(paths->key)) == NULL)) {
		err_oom(e);
		goto out;
	}
	for (b.file = 0; b.file < fs->n; b.file++) {
		judge_file(&b, b.file);
		b.s = NULL;
		if (ini_read(fs->v[b.file].text.p, fs->v[b.file].text.len,
		    &calls, &b, e) == -1)
			goto out;
	}
	judge_all(&b);
	ret = b.oom || bad->oom ? err_oom(e) : 0;
out:
	for (i = 0; i < b.nraw; i++) {
		secret_wipe(b.raw[i].text, strlen(b.raw[i].text));
		free(b.raw[i].key);
	}
	free(b.raw);
	if (ret == -1)
		conf_free(b.c);
	else
		*out = b.c;
	return ret;
}

int
conf_build(struct conf **out, const struct conf_files *fs,
    const struct conf_paths *paths, struct log *log, struct err *e)
{
	struct problems bad = PROBLEMS_INIT;
	struct conf *c = NULL;
	int ret;

	ret = conf_try(&c, fs, paths, &bad, e);
	if (ret == 0 && (ret = problems_verdict(&bad, fs, log, e)) == -1)
		conf_free(c);
	if (ret == 0)
		*out = c;
	problems_free(&bad);
	return ret;
}

int
conf_load(struct conf **out, const struct conf_paths *paths, struct log *log,
    struct err *e)
{
	struct conf_files fs = { NULL, 0, false };
	int ret;

	ret = files_read(&fs, paths, e);
	if (ret == 0)
		ret = conf_build(out, &fs, paths, log, e);
	files_free(&fs);
	return ret;
}

void
conf_free(struct conf *c)
{
	size_t i;

	if (c == NULL)
		return;
	for (i = 0; i < c->n; i++)
		section_free(c->v[i]);
	free(c->v);
	free(c->hash);
	free(c->key);
	free(c);
}
