/*
 * cala-config: look at configurations and change them, in place.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"
#include "config/crypt.h"
#include "config/edit.h"
#include "config/foreign.h"
#include "config/lint.h"
#include "config/view.h"
#include "front/conf.h"
#include "front/prompt.h"

struct job {
	struct front f;
	struct conf_paths paths;
	struct view view;
	bool force, dry_run;
	const char **v;                 /* operands behind the verb */
	size_t n;
};

static const char *const levels[] = { "server", "node", "location", "policy" };

/* out on standard output, and forgotten. */
static int
print(struct buf *out, int ret, struct err *e)
{
	if (ret == 0 && (ret = buf_failed(out, e)) == 0)
		fwrite(out->p, 1, out->len, stdout);
	secret_wipe(out->p, out->len);
	buf_fini(out);
	return ret;
}

static int
list(struct job *j, struct err *e)
{
	const char *kind = view_kind(j->n > 0 ? j->v[0] : "configurations");
	struct conf *c = NULL;
	struct buf b;
	int ret;

	if (kind == NULL)
		return err_set(e, CALA_USAGE, "'%s' can't be listed: "
		    "configurations, servers, nodes, locations, groups, "
		    "policies", str_q(j->v[0]));
	if (conf_load(&c, &j->paths, &j->f.log, e) == -1)
		return -1;
	buf_init(&b, 64 << 20);
	ret = print(&b, view_list(c, kind, &j->view, &b, e), e);
	conf_free(c);
	return ret;
}

static int
show(struct job *j, struct err *e)
{
	const struct conf_section *s;
	char name[CONF_NAME];
	struct conf *c = NULL;
	const char *kind;
	struct buf b;
	int ret;

	if (conf_address(j->v[0], &kind, name, e) == -1 ||
	    conf_load(&c, &j->paths, &j->f.log, e) == -1)
		return -1;
	buf_init(&b, 16 << 20);
	if ((s = conf_section(c, kind, name)) == NULL)
		ret = err_set(e, CALA_NOTFOUND, "no [%s \"%s\"]", kind,
		    str_q(name));
	else
		ret = view_show(s, &j->view, &b, e);
	ret = print(&b, ret, e);
	conf_free(c);
	return ret;
}

/* Encrypt a secret for its place and set it. */
static int
set_secret(struct job *j, struct edit *ed, const struct crypt_place *at,
    const struct key *k, const struct secret *in, struct err *e)
{
	struct crypt_keys keys = CRYPT_KEYS_INIT;
	struct buf token;
	int ret = -1;

	buf_init(&token, 2 * SECRET_MAX);
	if (strlen((const char *)in->p) != in->len) {
		err_set(e, CALA_USAGE, "the secret has a NUL in it");
	} else if ((k == NULL ||
	    key_check(k, (const char *)in->p, e) == 0) &&
	    crypt_keys_read(&keys, j->paths.key, e) == 0 &&
	    crypt_seal(&keys, at, in->p, in->len, &token, e) == 0) {
		ret = edit_set(ed, at->kind, at->name, at->key,
		    (const char *const []){ token.p }, 1, e);
	}
	crypt_keys_free(&keys);
	buf_fini(&token);
	return ret == -1 ? err_ctx(e, "%s", at->key) : 0;
}

static const char *
disk_of(struct job *j, const struct conf_section *s)
{
	size_t i;

	for (i = 1; i < j->n; i++)
		if (str_begins(j->v[i], "disk="))
			return j->v[i] + 5;
	return s != NULL && *conf_disk(s) != '\0' ? conf_disk(s) : NULL;
}

/* One operand of create or set: KEY=VALUE, or KEY: its value is read. */
static int
assignment(struct job *j, struct edit *ed, const char *kind, const char *name,
    size_t at, struct err *e)
{
	const struct conf_section *s = conf_section(ed->c, kind, name);
	const char *eq = strchr(j->v[at], '='), *disk, *dot;
	char key[KEY_NAME_MAX], spelt[KEY_NAME_MAX];
	const char *values[64];
	size_t n = eq != NULL ? (size_t)(eq - j->v[at]) : strlen(j->v[at]), i;
	struct secret in = SECRET_INIT;
	enum key_form form = KEY_PLAIN;
	const struct key *k, *rows = NULL;
	size_t nrows;
	bool secret;
	int ret = -1;

	if (n == 0 || n >= sizeof(key))
		return err_set(e, CALA_USAGE, "not KEY=VALUE: '%s'",
		    str_q(j->v[at]));
	memcpy(key, j->v[at], n);
	key[n] = '\0';
	disk = strcmp(kind, "configuration") == 0 ? disk_of(j, s) : NULL;
	k = key_find(kind, disk, key);
	if (k == NULL && disk != NULL && !key_builtin(disk) &&
	    (rows = front_rows(disk, &nrows)) != NULL)
		k = key_among(rows, nrows, key);
	if (k == NULL && (disk == NULL || rows != NULL || key_builtin(disk)))
		return err_set(e, CALA_USAGE, "[%s] has no key '%s'", kind,
		    str_q(key));
	memcpy(spelt, key, strlen(key) + 1);
	if (k != NULL)
		form = key_spell(k, key, spelt);
	dot = strchr(spelt, '.');
	secret = form == KEY_PLAIN && (k != NULL && (k->flags & KEY_MAP) == 0 ?
	    (k->flags & KEY_SECRET) != 0 :
	    key_secretive(dot != NULL ? dot + 1 : spelt));
	if (eq != NULL && eq[1] == '\0')        /* blank keeps a secret */
		return secret ? 0 :
		    edit_unset(ed, kind, name, spelt, e);
	/* Said here because the same error may have been there before. */
	if (eq != NULL && !secret && k != NULL && form == KEY_PLAIN &&
	    (k->flags & KEY_COMMA) == 0 && (strcmp(k->name, "disk") != 0 ||
	    key_builtin(eq + 1)) && key_check(k, eq + 1, e) == -1)
		return err_ctx(e, "%s", spelt);
	if (eq != NULL && secret) {
		err_set(e, CALA_USAGE, "%s: a secret on the command line can "
		    "be seen by others", spelt);
		return err_hint(e, "give %s alone and the value on standard "
		    "input, or %s-file=PATH", spelt, spelt);
	}
	if (eq == NULL) {
		if (front_secret(spelt, &in, e) == -1)
			return -1;
		if (in.len == 0)
			ret = secret ? 0 : err_set(e, CALA_USAGE,
			    "%s: the value is empty", spelt);
		else if (secret)
			ret = set_secret(j, ed, &(struct crypt_place){ kind,
			    name, spelt }, k, &in, e);
		else
			ret = edit_set(ed, kind, name, spelt,
			    (const char *const []){ (char *)in.p }, 1, e);
		secret_free(&in);
		return ret;
	}
	/* A list: all operands of this key are set by the first. */
	values[0] = eq + 1;
	n = 1;
	for (i = 1; i < j->n && k != NULL && (k->flags & KEY_LIST) != 0; i++) {
		if (strncmp(j->v[i], j->v[at], (size_t)(eq - j->v[at]) + 1) ||
		    i == at)
			continue;
		if (i < at)
			return 0;
		if (n == sizeof(values) / sizeof(*values))
			return err_set(e, CALA_USAGE, "%s: too many values",
			    spelt);
		values[n++] = strchr(j->v[i], '=') + 1;
	}
	if (edit_set(ed, kind, name, spelt, values, n, e) == -1)
		return err_ctx(e, "%s", spelt);
	return 0;
}

static int
reseal(void *ctx, const struct crypt_place *at, const char *token,
    struct buf *out, struct err *e)
{
	struct job *j = ctx;
	struct crypt_place old = *at;
	struct crypt_keys keys = CRYPT_KEYS_INIT;
	struct secret plain = SECRET_INIT;
	int ret = -1;

	if (strcmp(at->kind, "configuration") != 0 ||
	    strcmp(at->name, j->v[1]) != 0)
		return 0;
	old.name = j->v[0];
	if (crypt_keys_read(&keys, j->paths.key, e) == 0 &&
	    crypt_open(&keys, &old, token, &plain, e) == 0 &&
	    crypt_seal(&keys, at, plain.p, plain.len, out, e) == 0)
		ret = 1;
	crypt_keys_free(&keys);
	secret_free(&plain);
	return ret;
}

static int
absent(const char *name, struct err *e)
{
	return err_set(e, CALA_NOTFOUND, "no configuration '%s'", str_q(name));
}

/* duplicate and rename: the values are encrypted for their new place. */
static int
copy(struct job *j, struct edit *ed, bool rename, struct err *e)
{
	const struct conf_section *s;
	size_t i, k;

	if (conf_section(ed->c, "configuration", j->v[0]) == NULL)
		return absent(j->v[0], e);
	if (conf_section(ed->c, "configuration", j->v[1]) != NULL)
		return err_set(e, CALA_EXISTS, "configuration '%s' exists",
		    str_q(j->v[1]));
	if ((rename ? edit_rename : edit_copy)(ed, "configuration", j->v[0],
	    j->v[1], e) == -1 || edit_tokens(ed, reseal, j, e) == -1)
		return -1;
	for (i = 0; rename && i < 4; i++)
		for (k = 0; (s = conf_nth(ed->c, levels[i], k)) != NULL; k++) {
			const char *ref = conf_get(s, "configuration");

			if (ref != NULL && strcmp(ref, j->v[0]) == 0 &&
			    edit_set(ed, levels[i], conf_name(s),
			    "configuration", &j->v[1], 1, e) == -1)
				return -1;
		}
	return 0;
}

/* The section of server, node or location WHO, as it is titled. */
static int
assign(struct job *j, struct edit *ed, const char *cfg, const char *kind,
    const char *who, struct err *e)
{
	struct conf_server s = { .path = NULL };
	int ret;

	(void)j;
	if (strcmp(kind, "server") != 0 && strcmp(kind, "node") != 0 &&
	    strcmp(kind, "location") != 0)
		return err_set(e, CALA_USAGE,
		    "'%s' is neither server, node nor location", str_q(kind));
	if (cfg != NULL && conf_section(ed->c, "configuration", cfg) == NULL)
		return absent(cfg, e);
	if (strcmp(kind, "server") == 0) {
		if (conf_server(ed->c, who, &s, e) == -1)
			return -1;
		who = s.section != NULL ? conf_name(s.section) : s.uuid;
	} else if (conf_section(ed->c, kind, who) == NULL) {
		err_set(e, CALA_NOTFOUND, "no [%s \"%s\"]", kind, str_q(who));
		return err_hint(e, "cala-config create %s:%s", kind,
		    str_q(who));
	}
	ret = cfg != NULL ? edit_set(ed, kind, who, "configuration", &cfg, 1,
	    e) : edit_unset(ed, kind, who, "configuration", e);
	conf_server_fini(&s);
	return ret;
}

static int
change(struct job *j, struct edit *ed, const char *verb, struct err *e)
{
	const char *kind = "configuration";
	char name[CONF_NAME];
	size_t i;

	if (strcmp(verb, "duplicate") == 0 || strcmp(verb, "rename") == 0)
		return copy(j, ed, *verb == 'r', e);
	if (strcmp(verb, "assign") == 0)
		return assign(j, ed, j->v[0], j->v[1], j->v[2], e);
	if (strcmp(verb, "unassign") == 0)
		return assign(j, ed, NULL, j->v[0], j->v[1], e);
	if (conf_address(j->v[0], &kind, name, e) == -1)
		return -1;
	/* Of a kind that nobody knows, it could not be removed otherwise. */
	if (strcmp(verb, "remove") == 0 && *j->v[0] == '[' &&
	    conf_section(ed->c, kind, name) == NULL)
		return edit_remove_as(ed, j->v[0], e);
	if (strcmp(verb, "create") == 0) {
		if (conf_section(ed->c, kind, name) != NULL)
			return err_set(e, CALA_EXISTS, "[%s \"%s\"] exists",
			    kind, str_q(name));
		if (edit_add(ed, kind, name, e) == -1)
			return -1;
	} else if (conf_section(ed->c, kind, name) == NULL) {
		return err_set(e, CALA_NOTFOUND, "no [%s \"%s\"]", kind,
		    str_q(name));
	}
	if (strcmp(verb, "maintenance") == 0) {
		bool on;

		if (str_bool(j->v[1], &on) == -1)
			return err_set(e, CALA_USAGE,
			    "'%s' is neither on nor off", str_q(j->v[1]));
		return edit_set(ed, kind, name, "maintenance",
		    (const char *const []){ on ? "yes" : "no" }, 1, e);
	}
	if (strcmp(verb, "remove") == 0) {
		if (strcmp(kind, "configuration") == 0 && !j->force &&
		    (i = view_users(ed->c, name, NULL)) > 0) {
			err_set(e, CALA_USAGE, "configuration '%s' is assigned "
			    "%zu time%s", str_q(name), i, i == 1 ? "" : "s");
			return err_hint(e, "cala-config where-used; --force "
			    "removes it all the same");
		}
		return edit_remove(ed, kind, name, e);
	}
	for (i = 1; i < j->n; i++) {
		const struct key *k = key_find(kind, NULL, j->v[i]);
		char spelt[KEY_NAME_MAX] = "";

		if (strcmp(verb, "unset") != 0) {
			if (assignment(j, ed, kind, name, i, e) == -1)
				return -1;
			continue;
		}
		if (k != NULL)
			(void)key_spell(k, j->v[i], spelt);
		if (edit_unset(ed, kind, name, k != NULL ? spelt : j->v[i],
		    e) == -1)
			return -1;
	}
	return 0;
}

static int
lint(struct job *j, struct err *e)
{
	return conf_lint(&j->paths, &j->f.log, e);
}

static int
info(struct job *j, struct err *e)
{
	const struct key *rows;
	struct buf b, text;
	size_t n;
	int ret = 0;

	buf_init(&b, 2 * FOREIGN_INFO);
	buf_init(&text, FOREIGN_INFO);
	if (key_builtin(j->v[0]))
		key_info(j->v[0], &b);
	else if ((ret = front_info(j->v[0], &text, e)) == 0 &&
	    (ret = foreign_keys(text.p, text.len, j->v[0], &rows, &n, e)) == 0)
		ret = foreign_print(text.p, text.len, &b, e);
	buf_chr(&b, '\n');
	buf_fini(&text);
	return print(&b, ret, e);
}

static int
where_used(struct job *j, struct err *e)
{
	struct conf *c = NULL;
	struct buf b;
	int ret = 0;

	if (conf_load(&c, &j->paths, &j->f.log, e) == -1)
		return -1;
	buf_init(&b, 64 << 20);
	if (view_users(c, j->v[0], &b) == 0 &&
	    conf_section(c, "configuration", j->v[0]) == NULL)
		ret = absent(j->v[0], e);
	ret = print(&b, ret, e);
	conf_free(c);
	return ret;
}

static int
edit(struct job *j, const char *verb, struct err *e)
{
	char what[64];
	struct edit ed;
	int ret;

	snprintf(what, sizeof(what), "cala-config %s", verb);
	if (edit_open(&ed, &j->paths, what, &j->f.log, e) == -1)
		return -1;
	ret = change(j, &ed, verb, e);
	if (ret == 0)
		ret = (j->dry_run ? edit_check : edit_commit)(&ed, e);
	edit_close(&ed);
	return ret;
}

static int
run(struct job *j, const struct opt_list *a, struct err *e)
{
	static const struct {
		const char *verb;
		size_t min, max;
		int (*read)(struct job *, struct err *);
	} t[] = {
		{ "list", 0, 1, list }, { "show", 1, 1, show },
		{ "where-used", 1, 1, where_used }, { "lint", 0, 0, lint },
		{ "info", 1, 1, info },
		{ "create", 1, 1000, NULL }, { "set", 2, 1000, NULL },
		{ "unset", 2, 1000, NULL }, { "duplicate", 2, 2, NULL },
		{ "rename", 2, 2, NULL }, { "assign", 3, 3, NULL },
		{ "unassign", 2, 2, NULL }, { "maintenance", 2, 2, NULL },
		{ "remove", 1, 1, NULL },
	};
	const char *verb = a->n > 0 ? a->v[0] : "";
	size_t i;

	front_conf_paths(&j->f, &j->paths);
	j->paths.rows = j->view.rows = front_rows;
	j->view.tty = !j->view.json && isatty(STDOUT_FILENO);
	j->v = a->v + 1;
	j->n = a->n > 0 ? a->n - 1 : 0;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		if (strcmp(t[i].verb, verb) != 0)
			continue;
		if (j->n < t[i].min || j->n > t[i].max)
			break;
		return t[i].read != NULL ? t[i].read(j, e) : edit(j, verb, e);
	}
	err_set(e, CALA_USAGE, i < sizeof(t) / sizeof(*t) ?
	    "%s: wrong number of operands" : "unknown verb '%s'", str_q(verb));
	return err_hint(e, "try 'cala-config --help'");
}

int
main(int argc, char **argv)
{
	struct opt_list args = { NULL, 0 };
	struct err e = ERR_INIT;
	struct job j;
	int ret;
	const struct opt table[] = {
		{ OPT_FLAG, 0, "json", NULL, "list, show: one JSON document",
		    &j.view.json, NULL },
		{ OPT_FLAG, 0, "reveal", NULL, "show: secrets, too",
		    &j.view.reveal, NULL },
		{ OPT_FLAG, 0, "show-origin", NULL,
		    "show: where each value is from, defaults, too",
		    &j.view.origin, NULL },
		{ OPT_FLAG, 0, "header", NULL,
		    "list: column titles when piped, too", &j.view.header,
		    NULL },
		{ OPT_FLAG, 0, "force", NULL,
		    "remove: although it is assigned", &j.force, NULL },
		{ OPT_FLAG, 'n', "dry-run", NULL,
		    "check the change, write nothing", &j.dry_run, NULL },
		FRONT_CONFIG(j.f),
		FRONT_OPTS(j.f),
		FRONT_END
	};

	memset(&j, 0, sizeof(j));
	front_init(&j.f, "cala-config",
	    "cala-config list [KINDS] | lint | info DISK\n"
	    "       cala-config show SECTION | where-used NAME\n"
	    "       cala-config create | set SECTION [KEY=VALUE | KEY]...\n"
	    "       cala-config unset SECTION KEY...\n"
	    "       cala-config duplicate | rename OLD NEW\n"
	    "       cala-config assign NAME server|node|location WHO\n"
	    "       cala-config unassign server|node|location WHO\n"
	    "       cala-config maintenance NAME on|off\n"
	    "       cala-config remove SECTION\n"
	    "KINDS: configurations, servers, nodes, locations, groups, "
	    "policies\n"
	    "SECTION: NAME of a configuration, KIND:NAME, or cala",
	    "example: cala-config create fast disk=local");
	front_keys();
	if ((ret = front_parse(&j.f, table, argc, argv, &args, NULL, &e)) != 0)
		return front_end(&j.f, ret == -1 ? &e : NULL);
	ret = run(&j, &args, &e);
	opt_list_free(&args);
	return front_end(&j.f, ret == -1 ? &e : NULL);
}
