#include "config/view.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "config/crypt.h"
#include "config/model.h"

enum { COLUMNS = 6, CELL = 65536 };

/* name, uuid, path, state, used: not a key, but found out. */
struct column {
	const char *title, *key;
};

static const struct {
	const char *plural, *kind;
	struct column column[COLUMNS];
} lists[] = {
	{ "configurations", "configuration", { { "NAME", "name" },
	    { "DISK", "disk" }, { "STATE", "state" }, { "USED", "used" },
	    { "DESCRIPTION", "description" } } },
	{ "servers", "server", { { "SERVER", "title" }, { "UUID", "uuid" },
	    { "NODE", "node" }, { "CONFIGURATION", "configuration" },
	    { "PATH", "path" }, { "DESCRIPTION", "description" } } },
	{ "nodes", "node", { { "NODE", "name" }, { "LOCATION", "location" },
	    { "CONFIGURATION", "configuration" },
	    { "DESCRIPTION", "description" } } },
	{ "locations", "location", { { "LOCATION", "name" },
	    { "CONFIGURATION", "configuration" },
	    { "DESCRIPTION", "description" } } },
	{ "groups", "group", { { "GROUP", "name" },
	    { "KEEP-COUNT", "keep-count" }, { "KEEP-DAYS", "keep-days" },
	    { "DESCRIPTION", "description" } } },
	{ "policies", "policy", { { "POLICY", "name" },
	    { "ENABLED", "enabled" }, { "SCHEDULE", "schedule" },
	    { "CONFIGURATION", "configuration" },
	    { "DESCRIPTION", "description" } } },
};

const char *
view_kind(const char *word)
{
	size_t i;

	for (i = 0; i < sizeof(lists) / sizeof(*lists); i++)
		if (strcmp(word, lists[i].plural) == 0 ||
		    strcmp(word, lists[i].kind) == 0)
			return lists[i].kind;
	return NULL;
}

size_t
view_users(const struct conf *c, const char *name, struct buf *out)
{
	static const char *const kinds[] = { "server", "node", "location",
	    "policy" };
	const struct conf_item *it;
	size_t i, k, n = 0;

	for (i = 0; i < 4; i++)
		for (k = 0; k < c->n; k++) {
			if (strcmp(c->v[k]->kind, kinds[i]) != 0 ||
			    (it = item_find(c->v[k], "configuration")) == NULL ||
			    strcmp(it->text, name) != 0)
				continue;
			n++;
			if (out == NULL)
				continue;
			buf_printf(out, "%s\t", kinds[i]);
			str_esc(out, c->v[k]->name, strlen(c->v[k]->name));
			buf_chr(out, '\t');
			str_esc(out, it->where, strlen(it->where));
			buf_chr(out, '\n');
		}
	return n;
}

/* The text of a column, or NULL; b may be where it is kept. */
static const char *
raw(const struct conf *c, const struct conf_section *s, const char *key,
    struct buf *b, struct err *e)
{
	struct conf_server srv = { .path = NULL };
	size_t i;

	buf_reset(b);
	if (strcmp(key, "name") == 0)
		return s->name;
	if (strcmp(key, "title") == 0)
		return conf_get(s, "name") != NULL ? conf_get(s, "name") :
		    s->name;
	if (strcmp(key, "uuid") == 0)
		return s->uuid;
	if (strcmp(key, "state") == 0)
		return conf_bool(s, "maintenance") ? "maintenance" : "ready";
	if (strcmp(key, "used") == 0) {
		buf_printf(b, "%zu", view_users(c, s->name, NULL));
		return b->p;
	}
	if (strcmp(key, "path") != 0)
		return conf_get(s, key);
	for (i = 0; conf_nth(c, "server", i) != s; i++)
		;
	if (conf_server_nth(c, i, &srv, e) != 0)
		return NULL;
	buf_str(b, srv.path);
	conf_server_fini(&srv);
	return b->p;
}

static void
object(const struct conf *c, const struct conf_section *s,
    const struct column *col, struct jw *w, struct buf *b, struct err *e)
{
	const char *key, *text;
	size_t i;

	jw_open(w, NULL, '{');
	for (i = 0; i < COLUMNS && (key = col[i].key) != NULL; i++) {
		if (strcmp(key, "state") == 0) {
			jw_bool(w, "maintenance", conf_bool(s, "maintenance"));
			jw_bool(w, "shared", conf_bool(s, "shared"));
			continue;
		}
		if (strcmp(key, "used") == 0) {
			jw_u64(w, "used", view_users(c, s->name, NULL));
			continue;
		}
		text = raw(c, s, key, b, e);
		if (strcmp(key, "title") == 0)
			key = "name";
		if (text != NULL)
			jw_str(w, key, text);
		else
			jw_null(w, key);
	}
	jw_close(w, '}');
}

static size_t
width(const char *s)
{
	size_t n = 0;

	for (; *s != '\0'; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

/* The row i, or the titles; wide is filled in, or used for out. */
static void
row(const struct conf *c, const struct conf_section *s,
    const struct column *col, const struct view *v, size_t *wide,
    struct buf *out, struct buf *b, struct err *e)
{
	const char *text;
	struct buf cell;
	size_t i, w;

	buf_init(&cell, 4 * CELL);
	for (i = 0; i < COLUMNS && col[i].key != NULL; i++) {
		buf_reset(&cell);
		text = s == NULL ? col[i].title : raw(c, s, col[i].key, b, e);
		if (text == NULL)
			text = v->tty ? "-" : "";
		str_esc(&cell, text, strlen(text));
		w = width(cell.p);
		if (out == NULL) {
			wide[i] = w > wide[i] ? w : wide[i];
			continue;
		}
		if (i > 0)
			buf_str(out, v->tty ? "  " : "\t");
		buf_add(out, cell.p, cell.len);
		while (v->tty && i + 1 < COLUMNS && col[i + 1].key != NULL &&
		    w++ < wide[i])
			buf_chr(out, ' ');
	}
	if (out != NULL)
		buf_chr(out, '\n');
	buf_fini(&cell);
}

int
view_list(const struct conf *c, const char *kind, const struct view *v,
    struct buf *out, struct err *e)
{
	size_t wide[COLUMNS] = { 0 }, i, k, n = 0;
	const struct column *col;
	struct buf b;
	struct jw w;

	for (k = 0; strcmp(lists[k].kind, kind) != 0; k++)
		;
	col = lists[k].column;
	buf_init(&b, CELL);
	jw_begin(&w, out);
	if (v->json)
		jw_open(&w, NULL, '[');
	/* Widths first; then the lines. */
	for (i = 0; v->tty && i < c->n; i++)
		if (strcmp(c->v[i]->kind, kind) == 0) {
			row(c, c->v[i], col, v, wide, NULL, &b, e);
			n++;
		}
	if (v->tty)
		row(c, NULL, col, v, wide, NULL, &b, e);
	if (!v->json && (v->header || n > 0))
		row(c, NULL, col, v, wide, out, &b, e);
	for (i = 0; i < c->n; i++) {
		if (strcmp(c->v[i]->kind, kind) != 0)
			continue;
		if (v->json)
			object(c, c->v[i], col, &w, &b, e);
		else
			row(c, c->v[i], col, v, wide, out, &b, e);
	}
	if (v->json) {
		jw_close(&w, ']');
		buf_chr(out, '\n');
	}
	buf_fini(&b);
	return buf_failed(out, e);
}

/* What may be seen of a value; a password inside a URL is not. */
static int
shown(const struct conf_section *s, const struct conf_item *it,
    const struct view *v, struct buf *out, struct err *e)
{
	bool token = it->form == KEY_PLAIN &&
	    str_begins(it->text, CRYPT_PREFIX);
	const char *from, *colon, *at;
	struct secret plain = SECRET_INIT;

	if (v->reveal && token) {
		if (conf_secret_here(s->conf, s, it->name, &plain, e) == -1)
			return -1;
		buf_add(out, plain.p, plain.len);
		secret_free(&plain);
		return 0;
	}
	if (!v->reveal && (it->secret || token)) {
		buf_str(out, "<set>");
		return 0;
	}
	/* Up to the last @: whoever wrote it may not have encoded a slash. */
	from = v->reveal ? NULL : strstr(it->text, "://");
	at = from != NULL ? strrchr(from, '@') : NULL;
	colon = at != NULL ? strchr(from + 3, ':') : NULL;
	if (colon != NULL && colon < at) {
		buf_add(out, it->text, (size_t)(colon + 1 - it->text));
		buf_printf(out, "***%s", at);
		return 0;
	}
	buf_str(out, it->text);
	return 0;
}

static void
value(struct jw *w, const struct view *v, const char *key,
    const struct buf *text, bool secret, const char *origin)
{
	if (v->json) {
		jw_open(w, NULL, '{');
		jw_str(w, "key", key);
		jw_bytes(w, "value", text->p, text->len);
		jw_bool(w, "secret", secret);
		jw_str(w, "origin", origin);
		jw_close(w, '}');
	} else if (v->origin) {
		buf_printf(w->b, "%s = %s\t%s\n", key, text->p, origin);
	} else {
		buf_printf(w->b, "%s = %s\n", key, text->p);
	}
}

/* What counts for a key that the section does not set. */
static void
inherited(const struct conf_section *s, const struct key *k,
    const struct view *v, struct jw *w, struct buf *b)
{
	const struct conf_item *it;
	const char *text = k->def;

	if (item_find(s, k->name) != NULL ||
	    (k->flags & (KEY_LIST | KEY_MAP | KEY_SECRET)) != 0)
		return;
	it = s == s->conf->cala || key_find("cala", NULL, k->name) == NULL ?
	    NULL : item_find(s->conf->cala, k->name);
	/* Names of other things: [cala] node is not a configuration's. */
	if (it != NULL && it->row != NULL && it->form == KEY_PLAIN &&
	    it->row->type == k->type)
		text = it->text;
	else
		it = NULL;
	if (text == NULL)
		return;
	buf_reset(b);
	buf_str(b, text);
	value(w, v, k->name, b, false, it != NULL ? it->where : "default");
}

int
view_show(const struct conf_section *s, const struct view *v,
    struct buf *out, struct err *e)
{
	const char *disk = strcmp(s->kind, "configuration") == 0 ?
	    conf_disk(s) : NULL;
	const struct key *k, *rows = NULL;
	const struct conf_item *it;
	size_t i, n = 0;
	struct buf b;
	struct jw w;
	int ret = -1;

	buf_init(&b, 1 << 20);
	jw_begin(&w, out);
	if (v->json) {
		jw_open(&w, NULL, '{');
		jw_u64(&w, "v", 1);
		jw_str(&w, "kind", s->kind);
		jw_str(&w, "name", s->name);
		jw_open(&w, "values", '[');
	}
	for (i = 0; i < s->n; i++) {
		it = &s->items[i];
		buf_reset(&b);
		if (shown(s, it, v, &b, e) == -1)
			goto out;
		value(&w, v, it->name, &b, it->secret, it->where);
	}
	for (i = 0; v->origin && (k = key_nth(i)) != NULL; i++)
		if (strcmp(k->section, s->kind) == 0 && key_applies(k, disk))
			inherited(s, k, v, &w, &b);
	if (v->origin && disk != NULL && !key_builtin(disk) &&
	    v->rows != NULL)
		rows = v->rows(disk, &n);
	for (i = 0; i < n; i++)
		inherited(s, &rows[i], v, &w, &b);
	if (v->json) {
		jw_close(&w, ']');
		jw_close(&w, '}');
		buf_chr(out, '\n');
	}
	ret = buf_failed(out, e);
out:
	secret_wipe(b.p, b.len);
	buf_fini(&b);
	return ret;
}
