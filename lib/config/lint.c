#include "config/lint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "config/crypt.h"
#include "config/files.h"
#include "config/model.h"
#include "config/problem.h"

struct lint {
	const struct conf *c;
	struct problems *bad;
	struct crypt_keys keys;
	struct err no_keys;             /* why there are none */
};

static void
bad_item(struct lint *l, const struct conf_section *s,
    const struct conf_item *it, const char *what)
{
	problem_add(l->bad, it->file, it->line, "%s: %s",
	    problem_label(s, it->name), what);
}

static void
dangling(struct lint *l, const struct conf_section *s,
    const struct conf_item *it, const char *kind, const char *name)
{
	problem_add(l->bad, it->file, it->line, "%s: there is no %s '%s'",
	    problem_label(s, it->name), kind, str_q(name));
}

static void
reference(struct lint *l, const struct conf_section *s,
    const struct conf_item *it)
{
	struct conf_server srv = { .path = NULL };
	const char *kind = it->row->choices;
	struct err e = ERR_INIT;

	if (strcmp(kind, "server") != 0) {
		if (conf_section(l->c, kind, it->text) == NULL)
			dangling(l, s, it, kind, it->text);
	} else if (conf_server(l->c, it->text, &srv, &e) == -1) {
		bad_item(l, s, it, e.msg);
	}
	conf_server_fini(&srv);
}

/* The nodes behind the six fields of a prune job. */
static void
prune_nodes(struct lint *l, const struct conf_section *s,
    const struct conf_item *it)
{
	char *text = strdup(it->text), *p = text, *word;
	int field = 0;

	if (text == NULL) {
		l->bad->oom = true;
		return;
	}
	while ((word = strsep(&p, " \t,")) != NULL) {
		if (*word == '\0' || field++ < 6)
			continue;
		if (conf_section(l->c, "node", word) == NULL)
			dangling(l, s, it, "node", word);
	}
	free(text);
}

static void
program(struct lint *l, const struct conf_section *s,
    const struct conf_item *it)
{
	struct err e = ERR_INIT;
	char **argv = NULL;
	struct stat st;

	if (conf_words(it->text, &argv, &e) == -1) {
		bad_item(l, s, it, e.msg);
		return;
	}
	if (stat(argv[0], &st) == -1 || !file_may(argv[0], X_OK))
		problem_add(l->bad, it->file, it->line, "%s: %s: %s",
		    problem_label(s, it->name), str_q(argv[0]),
		    strerror(errno));
	else if (!S_ISREG(st.st_mode))
		problem_add(l->bad, it->file, it->line,
		    "%s: %s: not a program", problem_label(s, it->name),
		    str_q(argv[0]));
	free(argv);
}

static void
readable(struct lint *l, const struct conf_section *s,
    const struct conf_item *it)
{
	struct stat st;

	if (stat(it->text, &st) == -1 || !file_may(it->text, R_OK))
		problem_add(l->bad, it->file, it->line, "%s: %s: %s",
		    problem_label(s, it->name), str_q(it->text),
		    strerror(errno));
	else if (!S_ISREG(st.st_mode))
		problem_add(l->bad, it->file, it->line,
		    "%s: %s: not a regular file",
		    problem_label(s, it->name), str_q(it->text));
}

/* A secret in a file, or encrypted: does it open, and is it allowed? */
static void
secret(struct lint *l, const struct conf_section *s,
    const struct conf_item *it)
{
	struct crypt_place at = { s->kind, s->name, it->name };
	struct secret in = SECRET_INIT;
	struct err e = ERR_INIT;
	int ret;

	if (it->form == KEY_FROM_FILE)
		ret = secret_read_file(&in, it->text, &e);
	else if (l->no_keys.code != 0) {
		e = l->no_keys;
		ret = -1;
	} else
		ret = crypt_open(&l->keys, &at, it->text, &in, &e);
	if (ret == 0 && strlen((const char *)in.p) != in.len)
		ret = err_set(&e, CALA_USAGE, "the secret has a NUL in it");
	if (ret == 0 && it->row != NULL)
		ret = key_check(it->row, (const char *)in.p, &e);
	if (ret == -1)
		bad_item(l, s, it, e.msg);
	secret_free(&in);
}

static void
item(struct lint *l, const struct conf_section *s,
    const struct conf_item *it)
{
	const struct key *k = it->row;

	if (it->form == KEY_FROM_COMMAND)
		program(l, s, it);
	else if (it->form == KEY_FROM_FILE ||
	    str_begins(it->text, CRYPT_PREFIX))
		secret(l, s, it);
	else if (k == NULL)
		return;
	else if (k->type == KEY_REF)
		reference(l, s, it);
	else if (k->type == KEY_PRUNE)
		prune_nodes(l, s, it);
	else if (k->type == KEY_COMMAND)
		program(l, s, it);
	else if ((k->flags & KEY_READ) != 0)
		readable(l, s, it);
}

/* [group "SERVER/NAME"]: names may have slashes, too. */
static void
group(struct lint *l, const struct conf_section *s)
{
	struct conf_server srv = { .path = NULL };
	struct err e = ERR_INIT;
	char *name = strdup(s->name), *slash;
	bool found = false;

	if (name == NULL) {
		l->bad->oom = true;
		return;
	}
	if ((slash = strchr(name, '/')) == NULL)
		found = true;
	for (; !found && slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		found = *name != '\0' &&
		    conf_server(l->c, name, &srv, &e) == 0;
		conf_server_fini(&srv);
		*slash = '/';
	}
	if (!found)
		problem_add(l->bad, s->file, s->line,
		    "%s: there is no server '%.*s'", problem_label(s, NULL),
		    (int)strcspn(s->name, "/"), str_q(s->name));
	free(name);
}

/* A key that means nothing, or the wrong thing, without another. */
static void
pairs(struct lint *l, const struct conf_section *s)
{
	static const struct {
		const char *key, *is;           /* is NULL: set at all */
		const char *needs, *one_of;     /* values, space separated */
	} t[] = {
		{ "sse", "customer", "sse-customer-key", NULL },
		{ "sse-customer-key", NULL, "sse", "customer" },
		{ "sse-kms-key-id", NULL, "sse", "aws:kms aws:kms:dsse" },
		{ "sse-bucket-key", "yes", "sse", "aws:kms aws:kms:dsse" },
		{ "object-lock-retention", NULL, "object-lock-mode",
		    "governance compliance" },
		{ "object-lock-mode", "governance", "object-lock-retention",
		    NULL },
		{ "object-lock-mode", "compliance", "object-lock-retention",
		    NULL },
		{ "secret-key", NULL, "access-key", NULL },
		{ "session-token", NULL, "access-key", NULL },
	};
	const struct conf_item *it, *other;
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		it = item_find(s, t[i].key);
		if (it == NULL || (t[i].is != NULL &&
		    strcmp(it->text, t[i].is) != 0))
			continue;
		other = item_find(s, t[i].needs);
		if (other != NULL && (t[i].one_of == NULL ||
		    strstr(t[i].one_of, other->text) != NULL))
			continue;
		problem_add(l->bad, it->file, it->line, "%s: needs %s%s%s",
		    problem_label(s, it->name), t[i].needs,
		    t[i].one_of != NULL ? " = " : "",
		    t[i].one_of != NULL ? t[i].one_of : "");
	}
}

/* A required secret that is in none of its places. */
static void
required(struct lint *l, const struct conf_section *s)
{
	struct secret in = SECRET_INIT;
	struct err e = ERR_INIT;
	const struct key *k;
	size_t i;

	for (i = 0; (k = key_nth(i)) != NULL; i++) {
		if (strcmp(k->section, s->kind) != 0 ||
		    !key_applies(k, conf_disk(s)) ||
		    (k->flags & (KEY_REQUIRED | KEY_SECRET)) !=
		    (KEY_REQUIRED | KEY_SECRET) ||
		    item_find(s, k->name) != NULL)
			continue;
		if (conf_secret(l->c, s, k->name, &in, &e) == -1)
			problem_add(l->bad, s->file, s->line,
			    "%s: %s is missing", problem_label(s, NULL),
			    k->name);
		secret_free(&in);
	}
}

static void
sections(struct lint *l)
{
	const struct conf_section *s;
	const struct conf_item *it;
	size_t i, k;

	for (i = 0; i < l->c->n; i++) {
		s = l->c->v[i];
		for (k = 0; k < s->n; k++)
			item(l, s, &s->items[k]);
		if (strcmp(s->kind, "group") == 0)
			group(l, s);
		if (strcmp(s->kind, "configuration") != 0)
			continue;
		required(l, s);
		pairs(l, s);
	}
	/* A machine may be no node at all; but not one that nobody knows. */
	it = item_find(l->c->cala, "node");
	if (it != NULL && conf_nth(l->c, "node", 0) != NULL &&
	    conf_section(l->c, "node", it->text) == NULL)
		dangling(l, l->c->cala, it, "node", it->text);
}

int
conf_lint(const struct conf_paths *paths, struct log *log, struct err *e)
{
	struct lint l = { .keys = CRYPT_KEYS_INIT, .no_keys = ERR_INIT };
	struct conf_files fs = { NULL, 0, false };
	struct problems bad = PROBLEMS_INIT;
	struct conf *c = NULL;
	int ret = -1;

	if (files_read(&fs, paths, e) == -1 ||
	    conf_try(&c, &fs, paths, &bad, e) == -1)
		goto out;
	l.c = c;
	l.bad = &bad;
	if (paths->key == NULL)
		err_set(&l.no_keys, CALA_AUTH, "no key file is known");
	else
		(void)crypt_keys_read(&l.keys, paths->key, &l.no_keys);
	sections(&l);
	ret = problems_verdict(&bad, &fs, log, e);
out:
	crypt_keys_free(&l.keys);
	conf_free(c);
	problems_free(&bad);
	files_free(&fs);
	return ret;
}
