/*
 * build: from the text of the files to struct conf.
 *
 * Two passes, because a key can be judged only when the disk of its
 * configuration is known, and that may stand in another file.  Whatever is
 * wrong is collected, sorted by place and said at once.
 */

#include "config/conf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "config/crypt.h"
#include "config/files.h"
#include "config/ini.h"
#include "config/model.h"

enum { PROBLEMS = 1000 };

static const char *const kinds[] = {
	"cala", "location", "node", "server", "configuration", "group", "policy"
};

/* A line of a file as it was read. */
struct raw {
	struct conf_section *s;
	size_t file;
	int line;
	char *key, *text;       /* one block at key */
};

struct problem {
	size_t file;
	int line;
	char *text;
};

struct build {
	struct conf *c;
	const struct conf_files *fs;
	const struct conf_paths *paths;
	size_t file;
	struct conf_section *s;         /* NULL: behind an unknown section */
	struct raw *raw;
	size_t nraw;
	struct problem *bad;
	size_t nbad;
	bool oom;
};

/* Make room for one more element of an array that grows in powers of two. */
static void *
more(void *v, size_t n, size_t size)
{
	if ((n & (n + 1)) != 0)
		return v;
	return realloc(v, (2 * n + 1) * size);
}

static void problem(struct build *, size_t, int, const char *, ...)
    __attribute__((format(printf, 4, 5)));

static void
problem(struct build *b, size_t file, int line, const char *fmt, ...)
{
	struct problem *v;
	char text[1024];
	va_list ap;

	if (b->nbad >= PROBLEMS)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	v = more(b->bad, b->nbad, sizeof(*v));
	if (v == NULL || (b->bad = v, v[b->nbad].text = strdup(text)) == NULL) {
		b->oom = true;
		return;
	}
	v[b->nbad].file = file;
	v[b->nbad++].line = line;
}

static void
on_bad(void *ctx, int line, const char *what)
{
	struct build *b = ctx;

	problem(b, b->file, line, "%s", what);
}

static char *
place(const struct build *b, size_t file, int line)
{
	char *s;

	return asprintf(&s, "%s:%d", b->fs->v[file].path, line) == -1 ?
	    NULL : s;
}

static void
item_fini(struct conf_item *it)
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
		item_fini(&s->items[i]);
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
			s->where = place(b, b->file, line);
			s->file = b->file;
			s->line = line;
		}
		return s->where != NULL ? s : NULL;
	}
	if ((v = more(c->v, c->n, sizeof(*v))) == NULL)
		return NULL;
	c->v = v;
	if ((s = calloc(1, sizeof(*s))) == NULL)
		return NULL;
	s->conf = c;
	s->kind = strdup(kind);
	s->name = strdup(name != NULL ? name : "");
	s->where = line != 0 ? place(b, b->file, line) : strdup("default");
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
		problem(b, b->file, line, "[%s]: unknown section", str_q(kind));
	else if (i == 0 && name != NULL)
		problem(b, b->file, line, "[cala] has no name");
	else if (i != 0 && name == NULL)
		problem(b, b->file, line,
		    "[%s] needs a name: [%s \"NAME\"]", kind, kind);
	else if (name != NULL && characters(name) > KEY_TITLE_MAX)
		problem(b, b->file, line, "[%s]: the name has %zu characters, "
		    "at most %d", kind, characters(name), KEY_TITLE_MAX);
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
		if (b->c->n == 1 && b->c->cala->line == 0 && b->nbad == 0)
			problem(b, b->file, line,
			    "%s: a key before the first [section]",
			    str_q(key));
		return;
	}
	if ((v = more(b->raw, b->nraw, sizeof(*v))) == NULL) {
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

/* "[server "x"] key" for messages, in one of two rotating buffers. */
static const char *
label(const struct conf_section *s, const char *key)
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

/* How many single-character edits lead from a to b; more than 2 counts as 3. */
static int
distance(const char *a, const char *b)
{
	int row[KEY_NAME_MAX + 1], prev, keep, i, j, m, n;

	m = (int)strlen(a);
	n = (int)strlen(b);
	if (m >= KEY_NAME_MAX || n >= KEY_NAME_MAX || m - n > 2 || n - m > 2)
		return 3;
	for (j = 0; j <= n; j++)
		row[j] = j;
	for (i = 1; i <= m; i++) {
		prev = row[0];
		row[0] = i;
		for (j = 1; j <= n; j++) {
			keep = row[j];
			row[j] = prev + (a[i - 1] != b[j - 1]);
			if (keep + 1 < row[j])
				row[j] = keep + 1;
			if (row[j - 1] + 1 < row[j])
				row[j] = row[j - 1] + 1;
			prev = keep;
		}
	}
	return row[n] > 2 ? 3 : row[n];
}

static void
unknown(struct build *b, const struct raw *r, const char *disk)
{
	const char *kind = r->s->kind, *near = NULL;
	const struct key *k;
	int d, best = 3;
	size_t i;

	if (disk != NULL &&
	    (k = key_find(kind, NULL, r->key)) != NULL) {
		problem(b, r->file, r->line,
		    "%s: a key of disk %s, and this is disk %s",
		    label(r->s, r->key), k->disk, str_q(disk));
		return;
	}
	for (i = 0; (k = key_nth(i)) != NULL; i++) {
		if (strcmp(k->section, kind) != 0 || !key_applies(k, disk))
			continue;
		if ((d = distance(r->key, k->name)) < best) {
			best = d;
			near = k->name;
		}
	}
	if (near != NULL)
		problem(b, r->file, r->line,
		    "%s: unknown key; did you mean %s?",
		    label(r->s, r->key), near);
	else
		problem(b, r->file, r->line, "%s: unknown key",
		    label(r->s, r->key));
}

static void
drop(struct conf_section *s, size_t i)
{
	item_fini(&s->items[i]);
	memmove(s->items + i, s->items + i + 1,
	    (s->n - i - 1) * sizeof(*s->items));
	s->n--;
}

/* How many characters of an item's name are left without -file, -command. */
static size_t
base(const char *name, enum key_form form)
{
	return strlen(name) - (form == KEY_FROM_FILE ? 5 :
	    form == KEY_FROM_COMMAND ? 8 : 0);
}

static void
add(struct build *b, const struct raw *r, const struct key *k,
    enum key_form form, const char *name, const char *text)
{
	struct conf_section *s = r->s;
	const char *dot = strchr(name, '.');
	size_t n = base(name, form);
	struct conf_item *v;

	if ((v = more(s->items, s->n, sizeof(*v))) == NULL) {
		b->oom = true;
		return;
	}
	s->items = v;
	v += s->n;
	memset(v, 0, sizeof(*v));
	v->row = k;
	v->form = form;
	v->file = r->file;
	v->line = r->line;
	if (form == KEY_PLAIN)
		v->secret = k != NULL && (k->flags & KEY_MAP) == 0 ?
		    (k->flags & KEY_SECRET) != 0 :
		    key_secretive(dot != NULL ? dot + 1 : name);
	v->name = strdup(name);
	v->text = strdup(text);
	v->where = place(b, r->file, r->line);
	if (k != NULL && (k->flags & KEY_MAP) != 0 && dot != NULL)
		v->member = strndup(dot + 1, n - (size_t)(dot + 1 - name));
	if (v->name == NULL || v->text == NULL || v->where == NULL) {
		item_fini(v);
		b->oom = true;
		return;
	}
	s->n++;
}

static size_t
count(const struct conf_section *s, const struct key *k)
{
	size_t i, n = 0;

	for (i = 0; i < s->n; i++)
		n += s->items[i].row == k;
	return n;
}

/*
 * A value that others may not read: plain, in a file that they can.  A URL
 * with a password in it counts (restic's repositories have such).
 */
static bool
exposed(const struct build *b, const struct conf_item *it)
{
	const struct stat *st = &b->fs->v[it->file].st;
	const char *at = strstr(it->text, "://"), *colon;

	if (b->fs->loose || !S_ISREG(st->st_mode) ||
	    (st->st_mode & 044) == 0 || it->form != KEY_PLAIN ||
	    str_begins(it->text, CRYPT_PREFIX))
		return false;
	if (it->secret)
		return true;
	if (at == NULL || (colon = strchr(at + 3, ':')) == NULL)
		return false;
	at = strpbrk(at + 3, "/@");
	return at != NULL && *at == '@' && colon < at;
}

static int
limited(struct build *b, const struct raw *r, const struct key *k)
{
	size_t max = k->type == KEY_PRUNE ? (size_t)KEY_PRUNE_MAX :
	    strcmp(k->name, "tags") == 0 ? (size_t)KEY_TAGS_MAX :
	    (size_t)KEY_LIST_MAX;

	if (count(r->s, k) < max)
		return 0;
	problem(b, r->file, r->line, "%s: more than %zu of them",
	    label(r->s, r->key), max);
	return -1;
}

/* One value (of several, where commas separate them) of a known key. */
static void
value(struct build *b, const struct raw *r, const struct key *k,
    enum key_form form, const char *name, const char *text)
{
	static const struct key file = { "", NULL, "", KEY_PATH, 0, 0, 0, NULL,
	    NULL, "" }, command = { "", NULL, "", KEY_COMMAND, 0, 1, 4096, NULL,
	    NULL, "" };
	const struct key *type = form == KEY_FROM_FILE ? &file :
	    form == KEY_FROM_COMMAND ? &command : k;
	struct err e = ERR_INIT;
	struct buf out;

	buf_init(&out, 2 * INI_LINE);
	if ((k->flags & (KEY_LIST | KEY_MAP)) != 0 && limited(b, r, k) == -1)
		goto out;
	/* An encrypted value is judged once it is decrypted. */
	if ((k->flags & KEY_SECRET) != 0 && form == KEY_PLAIN &&
	    str_begins(text, CRYPT_PREFIX)) {
		if (crypt_look(text, NULL, &e) == -1)
			problem(b, r->file, r->line, "%s: %s",
			    label(r->s, name), e.msg);
		else
			add(b, r, k, form, name, text);
		goto out;
	}
	if (strcmp(k->name, "disk") == 0 && key_norm(type, text, &out,
	    &e) == -1 && b->paths->driver != NULL && b->paths->driver(text)) {
		buf_reset(&out);
		buf_str(&out, text);
	} else if (out.len == 0 && key_norm(type, text, &out, &e) == -1) {
		problem(b, r->file, r->line, "%s: %s", label(r->s, name),
		    e.msg);
		goto out;
	}
	add(b, r, k, form, name, out.p);
out:
	secret_wipe(out.p, out.len);
	buf_fini(&out);
}

static void
values(struct build *b, const struct raw *r, const struct key *k,
    enum key_form form, const char *name, char *text)
{
	char *p, *comma;

	if ((k->flags & KEY_COMMA) == 0) {
		value(b, r, k, form, name, text);
		return;
	}
	for (p = text; p != NULL; p = comma) {
		if ((comma = strchr(p, ',')) != NULL)
			*comma++ = '\0';
		value(b, r, k, form, name, str_trim(p));
	}
}

/*
 * Make room for a scalar, or for the list that starts in a line: 0 to go on,
 * -1 when the key stands twice in one file.
 */
static int
replace(struct build *b, const struct raw *r, const struct key *k,
    enum key_form form, const char *name, bool empty)
{
	struct conf_section *s = r->s;
	bool list = k != NULL && (k->flags & KEY_LIST) != 0;
	size_t i, n = base(name, form);

	for (i = 0; i < s->n; i++) {
		struct conf_item *it = &s->items[i];

		if (strncmp(it->name, name, n) != 0 ||
		    base(it->name, it->form) != n)
			continue;
		if (list && !empty)
			return 0;
		if (!list && it->file == r->file) {
			problem(b, r->file, r->line,
			    strcmp(it->name, name) == 0 ?
			    "%s: set twice, first in line %d%.0s" :
			    "%s: already set in line %d by %s",
			    label(s, name), it->line, it->name);
			return -1;
		}
		drop(s, i--);
	}
	return 0;
}

static void
judge(struct build *b, struct raw *r)
{
	const char *kind = r->s->kind, *disk = NULL;
	char name[KEY_NAME_MAX];
	enum key_form form = KEY_PLAIN;
	const struct key *k;
	struct buf text;

	if (strcmp(kind, "configuration") == 0) {
		disk = conf_disk(r->s);
		if (*disk == '\0')
			disk = NULL;
	}
	k = key_find(kind, disk, r->key);
	if (k == NULL && (disk == NULL || key_builtin(disk))) {
		unknown(b, r, disk);
		return;
	}
	if (k != NULL) {
		form = key_spell(k, r->key, name);
	} else if (strlen(r->key) < sizeof(name)) {
		memcpy(name, r->key, strlen(r->key) + 1);
	} else {
		unknown(b, r, disk);
		return;
	}
	buf_init(&text, INI_LINE + 8);
	/* A command has quotes of its own. */
	if ((k != NULL && k->type == KEY_COMMAND) ||
	    form == KEY_FROM_COMMAND) {
		buf_str(&text, r->text);
	} else if (ini_unquote(r->text, &text) == -1) {
		problem(b, r->file, r->line, "%s: a value that begins with a "
		    "quote must end with it", label(r->s, name));
		goto out;
	}
	if (text.failed) {
		b->oom = true;
		goto out;
	}
	/* An empty value unsets what an earlier file said. */
	if (replace(b, r, k, form, name, text.len == 0) == -1)
		goto out;
	if (text.len == 0 && (k == NULL || (k->flags & KEY_MAP) == 0))
		goto out;
	if (k == NULL)
		add(b, r, NULL, form, name, text.p);
	else
		values(b, r, k, form, name, text.p);
out:
	secret_wipe(text.p, text.len);
	buf_fini(&text);
}

/* What can be judged only now: required keys, exposed secrets, UUIDs. */
static void
complete(struct build *b, struct conf_section *s)
{
	const char *disk = NULL;
	const struct key *k;
	size_t i;

	for (i = 0; i < s->n; i++)
		if (exposed(b, &s->items[i]))
			problem(b, s->items[i].file, s->items[i].line,
			    "%s: a plain secret in a file that others can read;"
			    " chmod 600, encrypt it or use %s-file",
			    label(s, s->items[i].name), s->items[i].name);
	if (strcmp(s->kind, "configuration") == 0)
		disk = conf_disk(s);
	for (i = 0; (k = key_nth(i)) != NULL; i++) {
		if (strcmp(k->section, s->kind) != 0 ||
		    (k->flags & KEY_REQUIRED) == 0)
			continue;
		/* Without a disk one line is enough. */
		if (strcmp(k->name, "disk") != 0 && !key_applies(k, disk))
			continue;
		if (item_find(s, k->name) == NULL)
			problem(b, s->file, s->line, "%s: %s is missing",
			    label(s, NULL), k->name);
	}
}

static void
identify(struct build *b, struct conf_section *s)
{
	const struct conf_item *it = item_find(s, "uuid");

	if (it != NULL)
		(void)uuid_norm(it->text, s->uuid);
	else if (uuid_norm(s->name, s->uuid) == -1)
		uuid_named(s->name, s->uuid);
	(void)b;
}

static int
by_uuid(const void *pa, const void *pb)
{
	const struct conf_section *const *a = pa, *const *b = pb;
	int d = strcmp((*a)->uuid, (*b)->uuid);

	if (d != 0)
		return d;
	if ((*a)->file != (*b)->file)
		return (*a)->file < (*b)->file ? -1 : 1;
	return ((*a)->line > (*b)->line) - ((*a)->line < (*b)->line);
}

/* Two sections with one UUID would be one server with two configurations. */
static void
same_server(struct build *b)
{
	const struct conf_section **v;
	struct conf *c = b->c;
	size_t i, n = 0;

	if ((v = malloc((c->n + 1) * sizeof(*v))) == NULL) {
		b->oom = true;
		return;
	}
	for (i = 0; i < c->n; i++)
		if (strcmp(c->v[i]->kind, "server") == 0) {
			identify(b, c->v[i]);
			v[n++] = c->v[i];
		}
	qsort(v, n, sizeof(*v), by_uuid);
	for (i = 1; i < n; i++)
		if (strcmp(v[i - 1]->uuid, v[i]->uuid) == 0)
			problem(b, v[i]->file, v[i]->line,
			    "%s: the same UUID %s as %s at %s",
			    label(v[i], NULL), v[i]->uuid,
			    label(v[i - 1], NULL), v[i - 1]->where);
	free(v);
}

/*
 * Whoever can write the file can name a hook, so it must be as safe as what
 * runs the hooks.
 */
static void
trusted(struct build *b, size_t i)
{
	const struct stat *st = &b->fs->v[i].st;

	if (b->fs->loose || !S_ISREG(st->st_mode))
		return;
	if ((st->st_mode & 022) != 0)
		problem(b, i, 0, "group or others can write to it (mode %04o), "
		    "and it can name commands; chmod go-w", st->st_mode & 07777);
	if (st->st_uid != 0 && st->st_uid != geteuid())
		problem(b, i, 0, "owned by uid %u, must be ours or root's: it "
		    "can name commands", st->st_uid);
}

static int
by_place(const void *pa, const void *pb)
{
	const struct problem *a = pa, *b = pb;

	if (a->file != b->file)
		return a->file < b->file ? -1 : 1;
	return (a->line > b->line) - (a->line < b->line);
}

static int
verdict(struct build *b, struct log *log, struct err *e)
{
	struct err line = ERR_INIT;
	char at[32];
	size_t i;

	if (b->oom)
		return err_oom(e);
	if (b->nbad == 0)
		return 0;
	qsort(b->bad, b->nbad, sizeof(*b->bad), by_place);
	for (i = 0; i < b->nbad; i++) {
		snprintf(at, sizeof(at), b->bad[i].line > 0 ? ":%d" : "%.0d",
		    b->bad[i].line);
		err_set(&line, CALA_USAGE, "%s%s: %s",
		    str_q(b->fs->v[b->bad[i].file].path), at, b->bad[i].text);
		if (log != NULL)
			log_error(log, &line);
		if (i == 0 && log == NULL) {
			*e = line;
			return -1;
		}
	}
	return err_set(e, CALA_USAGE, "%zu error%s in the configuration; "
	    "nothing was done", b->nbad, b->nbad == 1 ? "" : "s");
}

static bool
is_disk(const struct raw *r)
{
	const struct key *k;

	if (strcmp(r->s->kind, "configuration") != 0)
		return false;
	k = key_find("configuration", NULL, r->key);
	return k != NULL && strcmp(k->name, "disk") == 0;
}

int
conf_build(struct conf **out, const struct conf_files *fs,
    const struct conf_paths *paths, struct log *log, struct err *e)
{
	static const struct ini_calls calls = { on_heading, on_pair, on_bad };
	struct build b = { .fs = fs, .paths = paths };
	size_t i;
	int ret = -1;

	if ((b.c = calloc(1, sizeof(*b.c))) == NULL)
		return err_oom(e);
	if ((b.c->cala = section_get(&b, 0, "cala", NULL)) == NULL ||
	    (paths->key != NULL &&
	    (b.c->key = strdup(paths->key)) == NULL)) {
		err_oom(e);
		goto out;
	}
	for (b.file = 0; b.file < fs->n; b.file++) {
		trusted(&b, b.file);
		b.s = NULL;
		if (ini_read(fs->v[b.file].text.p, fs->v[b.file].text.len,
		    &calls, &b, e) == -1)
			goto out;
	}
	/* The disks first: they decide what the other keys may be. */
	for (i = 0; i < b.nraw; i++)
		if (is_disk(&b.raw[i]))
			judge(&b, &b.raw[i]);
	for (i = 0; i < b.nraw; i++)
		if (!is_disk(&b.raw[i]))
			judge(&b, &b.raw[i]);
	for (i = 0; i < b.c->n; i++)
		complete(&b, b.c->v[i]);
	same_server(&b);
	ret = verdict(&b, log, e);
out:
	for (i = 0; i < b.nraw; i++) {
		secret_wipe(b.raw[i].text, strlen(b.raw[i].text));
		free(b.raw[i].key);
	}
	free(b.raw);
	for (i = 0; i < b.nbad; i++)
		free(b.bad[i].text);
	free(b.bad);
	if (ret == -1)
		conf_free(b.c);
	else
		*out = b.c;
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
