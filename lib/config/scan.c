#include "config/scan.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "config/files.h"
#include "config/ini.h"

struct ctx {
	struct scan *s;
	char *kind, *name;
	bool oom;
};

bool
scan_in(const struct mark *m, const char *kind, const char *name)
{
	return strcmp(m->kind, kind) == 0 && strcmp(m->name, name) == 0;
}

void
scan_base(const struct key *k, const char *key, char out[KEY_NAME_MAX])
{
	enum key_form form = KEY_PLAIN;

	if (k != NULL)
		form = key_spell(k, key, out);
	else if (strlen(key) < KEY_NAME_MAX)
		memcpy(out, key, strlen(key) + 1);
	else
		out[0] = '\0';
	out[strlen(out) - (form == KEY_FROM_FILE ? 5 :
	    form == KEY_FROM_COMMAND ? 8 : 0)] = '\0';
}

static struct mark *
mark(struct ctx *x, int line)
{
	struct scan *s = x->s;
	struct mark *v = s->v;

	if ((s->n & (s->n + 1)) == 0) {
		v = realloc(s->v, (2 * s->n + 1) * sizeof(*v));
		if (v == NULL) {
			x->oom = true;
			return NULL;
		}
		s->v = v;
	}
	v += s->n++;
	memset(v, 0, sizeof(*v));
	v->line = (size_t)line - 1;
	v->kind = strdup(x->kind);
	v->name = strdup(x->name);
	if (v->kind == NULL || v->name == NULL)
		x->oom = true;
	return v;
}

static void
on_heading(void *ctx, int line, const char *kind, const char *name)
{
	struct ctx *x = ctx;
	struct mark *m;

	free(x->kind);
	free(x->name);
	x->kind = strdup(kind);
	x->name = strdup(name != NULL ? name : "");
	if (x->kind == NULL || x->name == NULL) {
		x->oom = true;
		return;
	}
	if ((m = mark(x, line)) != NULL)
		m->heading = true;
}

static void
on_pair(void *ctx, int line, const char *key, const char *raw)
{
	char spelt[KEY_NAME_MAX], base[KEY_NAME_MAX];
	struct ctx *x = ctx;
	const struct key *k;
	struct mark *m;

	if (x->oom || x->kind == NULL || (m = mark(x, line)) == NULL)
		return;
	k = key_find(x->kind, NULL, key);
	if (k != NULL)
		(void)key_spell(k, key, spelt);
	scan_base(k, key, base);
	m->spelt = strdup(k != NULL ? spelt : key);
	m->base = strdup(base);
	m->raw = strdup(raw);
	if (m->spelt == NULL || m->base == NULL || m->raw == NULL)
		x->oom = true;
}

static char
first(const struct scan *s, size_t line)
{
	const char *p = s->text + s->start[line];

	return p[strspn(p, " \t")];
}

/*
 * Said when the file was loaded; such lines are kept as they are.  A heading
 * that is none ends the section before it all the same.
 */
static void
on_bad(void *ctx, int line, const char *what)
{
	struct ctx *x = ctx;

	(void)what;
	if (first(x->s, (size_t)line - 1) == '[')
		on_heading(ctx, line, "", "");
}

int
scan_read(struct scan *s, const struct conf_file *f, struct err *e)
{
	static const struct ini_calls calls = { on_heading, on_pair, on_bad };
	struct ctx x = { s, NULL, NULL, false };
	const char *p, *end = f->text.p + f->text.len;
	size_t n = 0;
	int ret;

	memset(s, 0, sizeof(*s));
	s->text = f->text.p;
	s->eol = "\n";
	p = memchr(f->text.p, '\n', f->text.len);
	if (p != NULL && p > f->text.p && p[-1] == '\r')
		s->eol = "\r\n";
	for (p = f->text.p; p < end; p++)
		n += *p == '\n';
	if ((s->start = malloc((n + 2) * sizeof(*s->start))) == NULL)
		return err_oom(e);
	s->start[0] = 0;
	for (p = f->text.p; p < end; p++)
		if (*p == '\n')
			s->start[++s->lines] = (size_t)(p + 1 - f->text.p);
	if (s->start[s->lines] < f->text.len)
		s->start[++s->lines] = f->text.len;
	ret = ini_read(f->text.p, f->text.len, &calls, &x, e);
	if (ret == 0 && x.oom)
		ret = err_oom(e);
	free(x.kind);
	free(x.name);
	return ret;
}

void
scan_free(struct scan *s)
{
	size_t i;

	for (i = 0; i < s->n; i++) {
		struct mark *m = &s->v[i];

		if (m->raw != NULL)
			secret_wipe(m->raw, strlen(m->raw));
		free(m->kind);
		free(m->name);
		free(m->spelt);
		free(m->base);
		free(m->raw);
	}
	free(s->v);
	free(s->start);
	s->v = NULL;
	s->start = NULL;
	s->n = 0;
}

size_t
scan_end(const struct scan *s, size_t i)
{
	size_t end = s->lines, k;

	for (k = i + 1; k < s->n && !s->v[k].heading; k++)
		;
	if (k < s->n) {
		end = s->v[k].line;
		while (end > s->v[i].line + 1 && (first(s, end - 1) == ';' ||
		    first(s, end - 1) == '#'))
			end--;
	}
	return end;
}

void
scan_heading(const struct scan *s, size_t line, const char *text,
    struct buf *out)
{
	const char *p = s->text + s->start[line];
	size_t n = s->start[line + 1] - s->start[line], at;
	bool quoted = false;

	for (at = 0; at < n && (quoted || p[at] != ']'); at++) {
		if (quoted && p[at] == '\\')
			at++;
		else if (p[at] == '"')
			quoted = !quoted;
	}
	buf_add(out, p, strspn(p, " \t"));
	buf_str(out, text);
	if (at + 1 < n)
		buf_add(out, p + at + 1, n - at - 1);
	else
		buf_str(out, s->eol);
}
