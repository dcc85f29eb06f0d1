/*
 * judge: is each line allowed where it stands?
 *
 * A key can be judged only when the disk of its configuration is known, and
 * that may stand in another file, so the disks come first.  What is wrong
 * becomes a problem and the line is left out.
 */

#include "config/build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "config/crypt.h"
#include "config/ini.h"
#include "config/model.h"

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

/* The keys of a foreign disk, n of them; NULL: any key is allowed. */
static const struct key *
foreign(const struct build *b, const char *disk, size_t *n)
{
	*n = 0;
	if (disk == NULL || *disk == '\0' || key_builtin(disk) ||
	    b->paths->rows == NULL)
		return NULL;
	return b->paths->rows(disk, n);
}

static void
unknown(struct build *b, const struct raw *r, const char *disk)
{
	const char *kind = r->s->kind, *near = NULL;
	const struct key *k, *rows;
	int d, best = 3;
	size_t i, n;

	if (disk != NULL &&
	    (k = key_find(kind, NULL, r->key)) != NULL) {
		problem_add(b->bad, r->file, r->line,
		    "%s: a key of disk %s, and this is disk %s",
		    problem_label(r->s, r->key), k->disk, str_q(disk));
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
	rows = foreign(b, disk, &n);
	for (i = 0; i < n; i++)
		if ((d = distance(r->key, rows[i].name)) < best) {
			best = d;
			near = rows[i].name;
		}
	if (near != NULL)
		problem_add(b->bad, r->file, r->line,
		    "%s: unknown key; did you mean %s?",
		    problem_label(r->s, r->key), near);
	else
		problem_add(b->bad, r->file, r->line, "%s: unknown key",
		    problem_label(r->s, r->key));
}

static void
drop(struct conf_section *s, size_t i)
{
	build_item_fini(&s->items[i]);
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

	if ((v = model_more(s->items, s->n, sizeof(*v))) == NULL) {
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
	v->where = build_place(b, r->file, r->line);
	if (k != NULL && (k->flags & KEY_MAP) != 0 && dot != NULL)
		v->member = str_ndup(dot + 1, n - (size_t)(dot + 1 - name));
	if (v->name == NULL || v->text == NULL || v->where == NULL) {
		build_item_fini(v);
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
	size_t max = key_most(k);

	if (count(r->s, k) < max)
		return 0;
	problem_add(b->bad, r->file, r->line, "%s: more than %zu of them",
	    problem_label(r->s, k->name), max);
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
	if ((k->flags & KEY_MAP) != 0) {
		char member[KEY_NAME_MAX];

		snprintf(member, sizeof(member), "%.*s",
		    (int)(base(name, form) - strlen(k->name) - 1),
		    name + strlen(k->name) + 1);
		if (key_member(k, member, &e) == -1) {
			problem_add(b->bad, r->file, r->line, "%s: %s",
			    problem_label(r->s, name), e.msg);
			goto out;
		}
	}
	/* An encrypted value is judged once it is decrypted. */
	if ((k->flags & KEY_SECRET) != 0 && form == KEY_PLAIN &&
	    str_begins(text, CRYPT_PREFIX)) {
		if (crypt_look(text, NULL, &e) == -1)
			problem_add(b->bad, r->file, r->line, "%s: %s",
			    problem_label(r->s, name), e.msg);
		else
			add(b, r, k, form, name, text);
		goto out;
	}
	if (strcmp(k->name, "disk") == 0 && key_norm(type, text, &out,
	    &e) == -1 && b->paths->driver != NULL && b->paths->driver(text)) {
		buf_reset(&out);
		buf_str(&out, text);
	} else if (out.len == 0 && key_norm(type, text, &out, &e) == -1) {
		problem_add(b->bad, r->file, r->line, "%s: %s",
		    problem_label(r->s, name), e.msg);
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
			problem_add(b->bad, r->file, r->line,
			    strcmp(it->name, name) == 0 ?
			    "%s: set twice%.0s" : "%s: already set by %s",
			    problem_label(s, name), it->name);
			problem_first(b->bad, it->file, it->line);
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
	const struct key *k, *rows = NULL;
	struct buf text;
	size_t n;

	if (strcmp(kind, "configuration") == 0) {
		disk = conf_disk(r->s);
		if (*disk == '\0')
			disk = NULL;
	}
	k = key_find(kind, disk, r->key);
	if (k == NULL && (rows = foreign(b, disk, &n)) != NULL)
		k = key_among(rows, n, r->key);
	if (k == NULL && (disk == NULL || key_builtin(disk) || rows != NULL)) {
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
		problem_add(b->bad, r->file, r->line, "%s: a value that begins "
		    "with a quote must end with it", problem_label(r->s, name));
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

/* Is there a line for it that was found wrong?  One error is enough. */
static bool
tried(const struct build *b, const struct conf_section *s,
    const struct key *k)
{
	size_t i;

	for (i = 0; i < b->nraw; i++)
		if (b->raw[i].s == s && *b->raw[i].text != '\0' &&
		    key_among(k, 1, b->raw[i].key) == k)
			return true;
	return false;
}

static void
must(struct build *b, const struct conf_section *s, const struct key *k)
{
	/* A secret may come from elsewhere. */
	if ((k->flags & (KEY_REQUIRED | KEY_SECRET)) == KEY_REQUIRED &&
	    item_find(s, k->name) == NULL && !tried(b, s, k))
		problem_add(b->bad, s->file, s->line, "%s: %s is missing",
		    problem_label(s, NULL), k->name);
}

/* What can be judged only now: required keys, exposed secrets, UUIDs. */
static void
complete(struct build *b, struct conf_section *s)
{
	const char *disk = NULL;
	const struct key *k, *rows;
	size_t i, n;

	for (i = 0; i < s->n; i++)
		if (exposed(b, &s->items[i]))
			problem_add(b->bad, s->items[i].file, s->items[i].line,
			    "%s: a plain secret in a file that others can read;"
			    " chmod 600, encrypt it or use %s-file",
			    problem_label(s, s->items[i].name), s->items[i].name);
	if (strcmp(s->kind, "configuration") == 0)
		disk = conf_disk(s);
	for (i = 0; (k = key_nth(i)) != NULL; i++) {
		/* Without a disk one line is enough. */
		if (strcmp(k->section, s->kind) == 0 &&
		    (strcmp(k->name, "disk") == 0 || key_applies(k, disk)))
			must(b, s, k);
	}
	rows = foreign(b, disk, &n);
	for (i = 0; i < n; i++)
		must(b, s, &rows[i]);
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
		if (strcmp(v[i - 1]->uuid, v[i]->uuid) == 0) {
			problem_add(b->bad, v[i]->file, v[i]->line,
			    "%s: the same UUID %s as %s",
			    problem_label(v[i], NULL), v[i]->uuid,
			    problem_label(v[i - 1], NULL));
			problem_first(b->bad, v[i - 1]->file, v[i - 1]->line);
		}
	free(v);
}

/*
 * Whoever can write the file can name a hook, so it must be as safe as what
 * runs the hooks.
 */
void
judge_file(struct build *b, size_t i)
{
	const struct stat *st = &b->fs->v[i].st;

	if (b->fs->loose || !S_ISREG(st->st_mode))
		return;
	if ((st->st_mode & 022) != 0)
		problem_add(b->bad, i, 0, "group or others can write to it "
		    "(mode %04o), and it can name commands; chmod go-w",
		    st->st_mode & 07777);
	if (st->st_uid != 0 && st->st_uid != geteuid())
		problem_add(b->bad, i, 0, "owned by uid %u, must be ours or "
		    "root's: it can name commands", st->st_uid);
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

void
judge_all(struct build *b)
{
	size_t i;

	/* The disks first: they decide what the other keys may be. */
	for (i = 0; i < b->nraw; i++)
		if (is_disk(&b->raw[i]))
			judge(b, &b->raw[i]);
	for (i = 0; i < b->nraw; i++)
		if (!is_disk(&b->raw[i]))
			judge(b, &b->raw[i]);
	for (i = 0; i < b->c->n; i++)
		complete(b, b->c->v[i]);
	same_server(b);
}
