#include "config/edit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "config/crypt.h"
#include "config/ini.h"
#include "config/scan.h"
#include "config/write.h"

/* Where a new section goes, and so which folder is locked. */
static int
choose(struct edit *ed, struct err *e)
{
	const struct conf_paths *p = &ed->paths;
	char real[PATH_MAX];
	struct stat st;

	if (p->file != NULL) {
		/* The file itself, not a link to it, is replaced. */
		ed->target = strdup(realpath(p->file, real) != NULL ? real :
		    p->file);
		if (stat(p->file, &st) == 0 && !S_ISREG(st.st_mode))
			return err_set(e, CALA_USAGE,
			    "%s: not a regular file, can't be edited",
			    str_q(p->file));
	} else if (geteuid() == 0 || file_may(p->system, W_OK) ||
	    p->user == NULL) {
		ed->target = str_join(p->system, "cala.conf");
	} else {
		ed->target = strdup(p->user);
	}
	return ed->target != NULL ? 0 : err_oom(e);
}

int
edit_open(struct edit *ed, const struct conf_paths *paths, const char *what,
    struct log *log, struct err *e)
{
	char *dir;

	memset(ed, 0, sizeof(*ed));
	ed->lock = ed->lockdir = -1;
	ed->paths = *paths;
	ed->log = log;
	if (choose(ed, e) == -1)
		goto fail;
	if ((dir = write_folder(ed->target)) == NULL) {
		err_oom(e);
		goto fail;
	}
	ed->lockdir = paths->file != NULL ? file_opendir(AT_FDCWD, dir, e) :
	    file_mkdirs(dir, 0755, e);
	free(dir);
	if (ed->lockdir == -1)
		goto fail;
	ed->lock = file_lock(ed->lockdir, WRITE_LOCK, what, EDIT_WAIT, e);
	if (ed->lock == -1 || write_recover(ed->lockdir, log, e) == -1)
		goto fail;
	if (paths->file == NULL || access(paths->file, F_OK) == 0) {
		if (files_read(&ed->fs, paths, e) == -1)
			goto fail;
	}
	if (conf_try(&ed->c, &ed->fs, &ed->paths, &ed->bad, e) == -1)
		goto fail;
	return 0;
fail:
	edit_close(ed);
	return -1;
}

int
edit_strict(struct edit *ed, struct err *e)
{
	return problems_verdict(&ed->bad, &ed->fs, ed->log, e);
}

void
edit_close(struct edit *ed)
{
	/* Waiters see that the name is gone, and make it anew. */
	if (ed->lock != -1) {
		(void)unlinkat(ed->lockdir, WRITE_LOCK, 0);
		close(ed->lock);
	}
	if (ed->lockdir != -1)
		close(ed->lockdir);
	ed->lock = ed->lockdir = -1;
	conf_free(ed->c);
	ed->c = NULL;
	problems_free(&ed->bad);
	files_free(&ed->fs);
	free(ed->target);
	ed->target = NULL;
}

bool
edit_changed(const struct edit *ed)
{
	size_t i;

	for (i = 0; i < ed->fs.n; i++)
		if (ed->fs.v[i].dirty)
			return true;
	return false;
}

int
edit_check(struct edit *ed, struct err *e)
{
	struct problems now = PROBLEMS_INIT;
	struct conf *c = NULL;
	size_t i;
	int ret;

	for (i = 0; i < ed->fs.n; i++)
		if (buf_failed(&ed->fs.v[i].text, e) == -1)
			return -1;
	ret = conf_try(&c, &ed->fs, &ed->paths, &now, e);
	if (ret == 0) {
		problems_old(&now, &ed->bad);
		if ((ret = problems_verdict(&now, &ed->fs, ed->log, e)) == 0)
			problems_warn(&now, &ed->fs, ed->log);
		else
			err_ctx(e, "as it would be after the change");
		conf_free(c);
	}
	problems_free(&now);
	return ret;
}

int
edit_commit(struct edit *ed, struct err *e)
{
	if (!edit_changed(ed))
		return 0;
	if (edit_check(ed, e) == -1)
		return -1;
	return write_files(ed, e);
}

/* The text of a file becomes that of b, which is left empty. */
static void
adopt(struct conf_file *f, struct buf *b)
{
	struct buf old = f->text;

	f->text = *b;
	f->dirty = true;
	secret_wipe(old.p, old.len);
	buf_fini(&old);
	buf_init(b, INI_FILE);
}

/* value as it is written behind "=". */
static int
written(const struct key *k, enum key_form form, const char *value,
    struct buf *out, struct err *e)
{
	size_t from, len, n = strlen(value);

	if ((k == NULL || k->type != KEY_COMMAND) && form != KEY_FROM_COMMAND) {
		if (ini_quote(value, out) == 0)
			return 0;
	} else {
		/* A command has its own quotes and must stand as it is. */
		ini_value(value, n, &from, &len);
		if (from == 0 && len == n && n < INI_LINE / 2 &&
		    strpbrk(value, "\r\n") == NULL) {
			buf_str(out, value);
			return 0;
		}
	}
	return err_set(e, CALA_USAGE, "the value can't be written in one line "
	    "of a configuration file");
}

/* The line i with another value: its indent, key, spacing and comment stay. */
static void
put_value(const struct scan *s, size_t i, const char *value, struct buf *out)
{
	const char *line = s->text + s->start[i];
	size_t n = s->start[i + 1] - s->start[i], at, from, len;

	for (at = 0; at < n && line[at] != '=' && line[at] != ':'; at++)
		;
	at++;
	while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
		n--;
	ini_value(line + at, n - at, &from, &len);
	buf_add(out, line, at + from);
	if (from == 0)
		buf_chr(out, ' ');
	buf_str(out, value);
	buf_add(out, line + at + from + len, n - at - from - len);
	buf_str(out, s->eol);
}

/* A new line for key, indented and aligned as line i is, a line of ours. */
static void
put_new(const struct scan *s, size_t i, const char *key, const char *value,
    bool heading, struct buf *out)
{
	const char *line = s->text + s->start[i];
	size_t indent, col;

	indent = strspn(line, " \t");
	col = heading ? 0 : strcspn(line, "=:\n");
	buf_add(out, line, indent);
	buf_str(out, key);
	while (!heading && col <= 40 && indent + strlen(key) + 1 < col) {
		buf_chr(out, ' ');
		col--;
	}
	buf_printf(out, " = %s%s", value, s->eol);
}

static void
put_line(const struct scan *s, size_t i, struct buf *out)
{
	size_t n = s->start[i + 1] - s->start[i];

	buf_add(out, s->text + s->start[i], n);
	/* The last line of a file may lack its newline. */
	if (n == 0 || s->text[s->start[i + 1] - 1] != '\n')
		buf_str(out, s->eol);
}

/* Does a pair's line set key (canonical, of any form)? */
static bool
same_key(const struct mark *m, const char *key)
{
	return strcmp(m->base, key) == 0;
}

/* Values of key in one file: replaced, or put behind the section's last. */
static int
set_in(struct conf_file *f, const char *kind, const char *name,
    const char *key, const struct key *k, enum key_form form,
    const char *const *values, size_t n, struct err *e)
{
	size_t i, v, line, after = SIZE_MAX, first = SIZE_MAX;
	char base[KEY_NAME_MAX];
	struct buf out, text;
	struct scan s;
	int ret = -1;

	buf_init(&out, INI_FILE);
	buf_init(&text, INI_LINE);
	scan_base(k, key, base);
	if (scan_read(&s, f, e) == -1)
		goto out;
	for (i = 0; i < s.n; i++) {
		if (!scan_in(&s.v[i], kind, name))
			continue;
		after = i;
		if (!s.v[i].heading && same_key(&s.v[i], base) &&
		    first == SIZE_MAX)
			first = i;
	}
	for (line = 0, i = 0; line < s.lines; line++) {
		bool put = true;

		while (i < s.n && s.v[i].line < line)
			i++;
		if (i < s.n && s.v[i].line == line && !s.v[i].heading &&
		    scan_in(&s.v[i], kind, name) && same_key(&s.v[i], base))
			put = false;
		if (put)
			put_line(&s, line, &out);
		if (i == s.n || s.v[i].line != line ||
		    i != (first != SIZE_MAX ? first : after))
			continue;
		for (v = 0; v < n; v++) {
			buf_reset(&text);
			if (written(k, form, values[v], &text, e) == -1)
				goto out;
			if (v == 0 && first != SIZE_MAX &&
			    strcmp(s.v[i].spelt, key) == 0)
				put_value(&s, line, text.p, &out);
			else
				put_new(&s, line, key, text.p,
				    s.v[i].heading, &out);
		}
	}
	if (buf_failed(&out, e) == -1)
		goto out;
	adopt(f, &out);
	ret = 0;
out:
	scan_free(&s);
	secret_wipe(out.p, out.len);
	secret_wipe(text.p, text.len);
	buf_fini(&out);
	buf_fini(&text);
	return ret;
}

/* Has the file a section of that name? */
static bool
holds(struct conf_file *f, const char *kind, const char *name,
    const char *base)
{
	struct err e = ERR_INIT;
	bool found = false;
	struct scan s;
	size_t i;

	if (scan_read(&s, f, &e) == 0)
		for (i = 0; i < s.n && !found; i++)
			found = scan_in(&s.v[i], kind, name) && (base == NULL ?
			    s.v[i].heading : !s.v[i].heading &&
			    same_key(&s.v[i], base));
	scan_free(&s);
	return found;
}

int
edit_add(struct edit *ed, const char *kind, const char *name, struct err *e)
{
	struct conf_file *f = files_find(&ed->fs, ed->target);
	const char *nl, *eol;
	struct buf head;
	int ret = -1;

	buf_init(&head, 4096);
	/* --config-file may be a link to the target. */
	if (f == NULL && ed->paths.file != NULL)
		f = files_find(&ed->fs, ed->paths.file);
	if (f == NULL && (f = files_add(&ed->fs, ed->target, e)) == NULL)
		goto out;
	if (ini_heading(kind, *name != '\0' ? name : NULL, &head) == -1) {
		err_set(e, CALA_USAGE,
		    "'%s' can't be the name of a section", str_q(name));
		goto out;
	}
	nl = memchr(f->text.p, '\n', f->text.len);
	eol = nl != NULL && nl > f->text.p && nl[-1] == '\r' ? "\r\n" : "\n";
	if (f->text.len > 0 && f->text.p[f->text.len - 1] != '\n')
		buf_str(&f->text, eol);
	buf_printf(&f->text, "%s%s%s", f->text.len > 0 ? eol : "", head.p, eol);
	f->dirty = true;
	ret = buf_failed(&f->text, e);
out:
	buf_fini(&head);
	return ret;
}

int
edit_set(struct edit *ed, const char *kind, const char *name,
    const char *key, const char *const *values, size_t n, struct err *e)
{
	const struct key *k = key_find(kind, NULL, key);
	enum key_form form = KEY_PLAIN;
	char base[KEY_NAME_MAX], spelt[KEY_NAME_MAX];
	struct conf_file *f = NULL;
	size_t i;

	if (k != NULL)
		form = key_spell(k, key, spelt);
	scan_base(k, key, base);
	/* The last file that sets it counts. */
	for (i = ed->fs.n; f == NULL && i-- > 0;)
		if (holds(&ed->fs.v[i], kind, name, base))
			f = &ed->fs.v[i];
	for (i = 0; f == NULL && i < ed->fs.n; i++)
		if (holds(&ed->fs.v[i], kind, name, NULL))
			f = &ed->fs.v[i];
	if (f == NULL) {
		if (edit_add(ed, kind, name, e) == -1)
			return -1;
		return edit_set(ed, kind, name, key, values, n, e);
	}
	return set_in(f, kind, name, key, k, form, values, n, e);
}

int
edit_unset(struct edit *ed, const char *kind, const char *name,
    const char *key, struct err *e)
{
	const struct key *k = key_find(kind, NULL, key);
	char base[KEY_NAME_MAX];
	size_t i;

	scan_base(k, key, base);
	for (i = 0; i < ed->fs.n; i++)
		if (holds(&ed->fs.v[i], kind, name, base) &&
		    set_in(&ed->fs.v[i], kind, name, key, k, KEY_PLAIN, NULL,
		    0, e) == -1)
			return -1;
	return 0;
}

enum change { REMOVE, RENAME, COPY };

/* Headings and their lines in one file. */
static int
sections(struct conf_file *f, enum change what, const char *kind,
    const char *name, const char *to, struct err *e)
{
	size_t line, i = 0, end = 0;
	struct buf out, tail, head;
	bool mine = false, any = false;
	struct scan s;
	int ret = -1;

	buf_init(&out, INI_FILE);
	buf_init(&tail, INI_FILE);
	buf_init(&head, 4096);
	if (scan_read(&s, f, e) == -1)
		goto out;
	if (to != NULL && ini_heading(kind, to, &head) == -1) {
		err_set(e, CALA_USAGE,
		    "'%s' can't be the name of a section", str_q(to));
		goto out;
	}
	for (line = 0; line < s.lines; line++) {
		while (i < s.n && s.v[i].line < line)
			i++;
		if (i < s.n && s.v[i].line == line && s.v[i].heading) {
			mine = scan_in(&s.v[i], kind, name);
			if (mine) {
				any = true;
				end = scan_end(&s, i);
				if (what == RENAME)
					scan_heading(&s, line, head.p, &out);
				else if (what == COPY) {
					buf_printf(&tail, "%s%s%s", s.eol,
					    head.p, s.eol);
					put_line(&s, line, &out);
				}
				continue;
			}
		}
		if (mine && line < end && what == COPY)
			put_line(&s, line, &tail);
		if (!mine || line >= end || what != REMOVE)
			put_line(&s, line, &out);
	}
	if (!any) {
		ret = 0;
		goto out;
	}
	buf_add(&out, tail.p, tail.len);
	if (buf_failed(&tail, e) == -1 || buf_failed(&out, e) == -1)
		goto out;
	adopt(f, &out);
	ret = 0;
out:
	scan_free(&s);
	secret_wipe(out.p, out.len);
	secret_wipe(tail.p, tail.len);
	buf_fini(&out);
	buf_fini(&tail);
	buf_fini(&head);
	return ret;
}

static int
all_sections(struct edit *ed, enum change what, const char *kind,
    const char *name, const char *to, struct err *e)
{
	size_t i;

	for (i = 0; i < ed->fs.n; i++)
		if (sections(&ed->fs.v[i], what, kind, name, to, e) == -1)
			return -1;
	return 0;
}

int
edit_remove(struct edit *ed, const char *kind, const char *name,
    struct err *e)
{
	return all_sections(ed, REMOVE, kind, name, NULL, e);
}

int
edit_remove_as(struct edit *ed, const char *heading, struct err *e)
{
	struct conf_file one;
	struct scan s;
	int ret = -1;

	memset(&one, 0, sizeof(one));
	memset(&s, 0, sizeof(s));
	buf_init(&one.text, INI_LINE);
	buf_printf(&one.text, "%s\n", heading);
	/* By the reader of the files, so that both see the same. */
	if (buf_failed(&one.text, e) == -1 || scan_read(&s, &one, e) == -1)
		goto out;
	if (s.n != 1 || !s.v[0].heading)
		err_set(e, CALA_USAGE, "'%s' is no heading", str_q(heading));
	else if (edit_remove(ed, s.v[0].kind, s.v[0].name, e) == 0)
		ret = edit_changed(ed) ? 0 : err_set(e, CALA_NOTFOUND,
		    "no section %s", str_q(heading));
out:
	scan_free(&s);
	buf_fini(&one.text);
	return ret;
}

int
edit_rename(struct edit *ed, const char *kind, const char *name,
    const char *to, struct err *e)
{
	return all_sections(ed, RENAME, kind, name, to, e);
}

int
edit_copy(struct edit *ed, const char *kind, const char *name,
    const char *to, struct err *e)
{
	return all_sections(ed, COPY, kind, name, to, e);
}

static int
tokens_in(struct conf_file *f, edit_token *fn, void *ctx, struct err *e)
{
	struct buf out, text, value;
	bool changed = false;
	size_t line, i = 0;
	struct scan s;
	int ret = -1, r;

	buf_init(&out, INI_FILE);
	buf_init(&text, INI_LINE);
	buf_init(&value, INI_LINE);
	if (scan_read(&s, f, e) == -1)
		goto out;
	for (line = 0; line < s.lines; line++) {
		const struct mark *m;

		while (i < s.n && s.v[i].line < line)
			i++;
		m = i < s.n && s.v[i].line == line ? &s.v[i] : NULL;
		buf_reset(&value);
		buf_reset(&text);
		if (m == NULL || m->heading ||
		    ini_unquote(m->raw, &value) == -1 ||
		    !str_begins(value.p, CRYPT_PREFIX)) {
			put_line(&s, line, &out);
			continue;
		}
		r = fn(ctx, &(struct crypt_place){ m->kind, m->name, m->base },
		    value.p, &text, e);
		if (r == -1) {
			err_ctx(e, "%s:%zu: [%s \"%s\"] %s", str_q(f->path),
			    line + 1, m->kind, str_q(m->name), str_q(m->spelt));
			goto out;
		}
		if (r == 0) {
			put_line(&s, line, &out);
			continue;
		}
		put_value(&s, line, text.p, &out);
		changed = true;
	}
	if (buf_failed(&out, e) == -1)
		goto out;
	if (changed)
		adopt(f, &out);
	ret = 0;
out:
	scan_free(&s);
	buf_fini(&out);
	buf_fini(&text);
	buf_fini(&value);
	return ret;
}

int
edit_tokens(struct edit *ed, edit_token *fn, void *ctx, struct err *e)
{
	size_t i;

	for (i = 0; i < ed->fs.n; i++)
		if (tokens_in(&ed->fs.v[i], fn, ctx, e) == -1)
			return -1;
	return 0;
}
