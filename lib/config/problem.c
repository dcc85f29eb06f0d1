#include "config/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "config/files.h"
#include "config/model.h"

void
problem_add(struct problems *ps, size_t file, int line, const char *fmt, ...)
{
	struct problem *v;
	char text[1024];
	va_list ap;

	if (ps->n >= PROBLEMS)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	v = model_more(ps->v, ps->n, sizeof(*v));
	if (v == NULL) {
		ps->oom = true;
		return;
	}
	ps->v = v;
	v += ps->n;
	memset(v, 0, sizeof(*v));
	if ((v->text = strdup(text)) == NULL) {
		ps->oom = true;
		return;
	}
	v->file = file;
	v->line = line;
	ps->n++;
}

void
problem_first(struct problems *ps, size_t file, int line)
{
	/* Beyond the limit nothing was added. */
	if (ps->n == 0 || ps->n >= PROBLEMS)
		return;
	ps->v[ps->n - 1].first_file = file;
	ps->v[ps->n - 1].first_line = line;
}

void
problems_free(struct problems *ps)
{
	size_t i;

	for (i = 0; i < ps->n; i++)
		free(ps->v[i].text);
	free(ps->v);
	ps->v = NULL;
	ps->n = 0;
}

const char *
problem_label(const struct conf_section *s, const char *key)
{
	static _Thread_local char ring[2][768];
	static _Thread_local unsigned turn;
	char *out = ring[turn++ % 2];

	snprintf(out, sizeof(ring[0]), "[%s%s%s%s]%s%s", s->kind,
	    *s->name != '\0' ? " \"" : "", str_q(s->name),
	    *s->name != '\0' ? "\"" : "", key != NULL ? " " : "",
	    key != NULL ? str_q(key) : "");
	return out;
}

static int
by_place(const void *pa, const void *pb)
{
	const struct problem *a = pa, *b = pb;

	if (a->file != b->file)
		return a->file < b->file ? -1 : 1;
	return (a->line > b->line) - (a->line < b->line);
}

static void
sort(struct problems *ps)
{
	if (ps->n > 1)
		qsort(ps->v, ps->n, sizeof(*ps->v), by_place);
}

static void
say(const struct problem *p, const struct conf_files *fs, struct err *e)
{
	char at[32] = "", first[600] = "";

	if (p->line > 0)
		snprintf(at, sizeof(at), ":%d", p->line);
	if (p->first_line > 0 && p->first_file == p->file)
		snprintf(first, sizeof(first), ", first in line %d",
		    p->first_line);
	else if (p->first_line > 0)
		snprintf(first, sizeof(first), ", first at %s:%d",
		    str_q(fs->v[p->first_file].path), p->first_line);
	err_set(e, CALA_USAGE, "%s%s: %s%s", str_q(fs->v[p->file].path), at,
	    p->text, first);
}

void
problems_old(struct problems *now, const struct problems *before)
{
	bool taken[PROBLEMS] = { false };
	size_t i, k;

	for (i = 0; i < now->n; i++)
		for (k = 0; k < before->n; k++) {
			if (taken[k] || before->v[k].file != now->v[i].file ||
			    strcmp(before->v[k].text, now->v[i].text) != 0)
				continue;
			taken[k] = now->v[i].old = true;
			break;
		}
}

int
problems_verdict(struct problems *ps, const struct conf_files *fs,
    struct log *log, struct err *e)
{
	struct err line = ERR_INIT;
	size_t i, n = 0;

	if (ps->oom)
		return err_oom(e);
	sort(ps);
	for (i = 0; i < ps->n; i++) {
		if (ps->v[i].old)
			continue;
		n++;
		say(&ps->v[i], fs, &line);
		if (log == NULL) {
			*e = line;
			return -1;
		}
		log_error(log, &line);
	}
	return n == 0 ? 0 : err_set(e, CALA_USAGE, "%zu error%s in the "
	    "configuration; nothing was done", n, n == 1 ? "" : "s");
}

void
problems_warn(struct problems *ps, const struct conf_files *fs,
    struct log *log)
{
	struct err line = ERR_INIT;
	size_t i;

	sort(ps);
	for (i = 0; i < ps->n; i++)
		if (ps->v[i].old) {
			say(&ps->v[i], fs, &line);
			log_warn(log, "%s", line.msg);
		}
}
