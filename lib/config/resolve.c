/*
 * resolve: which server is meant, and which configuration it gets
 * (calagopus.md §1; unlike there a dangling reference is an error, because
 * falling through sends backups to the wrong place).
 */

#include "config/conf.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "config/model.h"

static int
fill(const struct conf *c, const struct conf_section *s, const char *uuid,
    struct conf_server *out, struct err *e)
{
	const struct conf_section *node;
	const char *path = NULL;

	memset(out, 0, sizeof(*out));
	memcpy(out->uuid, uuid, UUID_TEXT);
	out->section = s;
	out->name = out->uuid;
	if (s != NULL) {
		out->name = conf_get(s, "name");
		if (out->name == NULL)
			out->name = s->name;
		path = conf_get(s, "path");
		out->node = conf_get(s, "node");
	}
	if (out->node == NULL)
		out->node = conf_get(c->cala, "node");
	if (out->node != NULL) {
		node = conf_section(c, "node", out->node);
		if (node != NULL)
			out->location = conf_get(node, "location");
	}
	out->path = path != NULL ? strdup(path) :
	    str_join(conf_volumes(c), out->uuid);
	return out->path != NULL ? 0 : err_oom(e);
}

void
conf_server_fini(struct conf_server *s)
{
	free(s->path);
	s->path = NULL;
}

int
conf_server_nth(const struct conf *c, size_t i, struct conf_server *out,
    struct err *e)
{
	const struct conf_section *s = conf_nth(c, "server", i);

	return s == NULL ? 1 : fill(c, s, s->uuid, out, e);
}

/* What a query found: how often, and the first and second of them. */
struct found {
	size_t n;
	const struct conf_section *s[2];
	char uuid[2][UUID_TEXT];
};

static void
hit(struct found *f, const struct conf_section *s, const char *uuid)
{
	if (f->n < 2) {
		f->s[f->n] = s;
		memcpy(f->uuid[f->n], uuid, UUID_TEXT);
	}
	f->n++;
}

static const char *
title(const struct conf_section *s)
{
	const struct conf_item *it = item_find(s, "name");

	return it != NULL ? it->text : s->name;
}

static bool
is_prefix(const char *p, const char *s)
{
	return str_begins(s, p);
}

static void
lower(const char *s, char out[UUID_TEXT])
{
	size_t i;

	for (i = 0; i + 1 < UUID_TEXT && s[i] != '\0'; i++)
		out[i] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] + 32 : s[i]);
	out[i] = '\0';
}

/* Directories of volumes that the query may mean and no section names. */
static int
in_volumes(const struct conf *c, const char *prefix, struct found *f,
    struct err *e)
{
	const char *dir = conf_volumes(c);
	char uuid[UUID_TEXT];
	struct dirent *d;
	struct stat st;
	size_t i;
	DIR *v;

	if ((v = opendir(dir)) == NULL)
		return errno == ENOENT || errno == EACCES ||
		    errno == ENOTDIR ? 0 : err_sys(e, "%s", str_q(dir));
	while ((d = readdir(v)) != NULL) {
		if (uuid_norm(d->d_name, uuid) == -1 ||
		    strcmp(uuid, d->d_name) != 0 || !is_prefix(prefix, uuid))
			continue;
		if (fstatat(dirfd(v), d->d_name, &st, 0) == -1 ||
		    !S_ISDIR(st.st_mode))
			continue;
		for (i = 0; i < c->n; i++)
			if (strcmp(c->v[i]->uuid, uuid) == 0)
				break;
		if (i == c->n)
			hit(f, NULL, uuid);
	}
	closedir(v);
	return 0;
}

static int
search(const struct conf *c, const char *q, struct found *f, struct err *e)
{
	char uuid[UUID_TEXT] = "";
	const struct conf_section *s;
	bool prefix = uuid_prefix(q);
	size_t i;

	if (prefix)
		lower(q, uuid);
	for (i = 0; i < c->n; i++) {
		s = c->v[i];
		if (strcmp(s->kind, "server") == 0 &&
		    ((prefix && strcmp(s->uuid, uuid) == 0) ||
		    strcmp(title(s), q) == 0 || strcmp(s->name, q) == 0))
			hit(f, s, s->uuid);
	}
	if (f->n > 0)
		return 0;
	for (i = 0; i < c->n; i++) {
		s = c->v[i];
		if (strcmp(s->kind, "server") == 0 &&
		    ((prefix && is_prefix(uuid, s->uuid)) ||
		    is_prefix(q, title(s)) || is_prefix(q, s->name)))
			hit(f, s, s->uuid);
	}
	return prefix ? in_volumes(c, uuid, f, e) : 0;
}

int
conf_server(const struct conf *c, const char *q, struct conf_server *out,
    struct err *e)
{
	struct found f = { 0, { NULL, NULL }, { "", "" } };

	if (*q == '\0')
		return err_set(e, CALA_USAGE, "the name of the server is empty");
	if (search(c, q, &f, e) == -1)
		return -1;
	if (f.n == 0) {
		err_set(e, CALA_NOTFOUND, "no server '%s' in the "
		    "configuration; a server's UUID always works", str_q(q));
		return err_hint(e, "a name needs a [server] section or a "
		    "directory %s/UUID; 'cala list' shows the UUIDs that have "
		    "backups", str_q(conf_volumes(c)));
	}
	if (f.n > 1)
		return err_set(e, CALA_USAGE,
		    "'%s' is ambiguous: %s (%s), %s (%s)%s", str_q(q),
		    f.s[0] != NULL ? str_q(title(f.s[0])) : "no name",
		    f.uuid[0], f.s[1] != NULL ? str_q(title(f.s[1])) :
		    "no name", f.uuid[1], f.n > 2 ? " and more" : "");
	return fill(c, f.s[0], f.uuid[0], out, e);
}

/*
 * One level: 1 when it decides (*out, or an error in e), 0 when the next one
 * has its turn.
 */
static int
level(const struct conf *c, const char *kind, const struct conf_section *s,
    const char *name, struct log *log, struct conf_resolved *out,
    struct err *e)
{
	const char *ref = s != NULL ? conf_get(s, "configuration") : NULL;
	const struct conf_section *cfg;

	if (ref == NULL) {
		if (log != NULL)
			log_step(log, "%s %s: %s; next", kind, str_q(name),
			    s != NULL ? "has no configuration of its own" :
			    "has no section");
		return 0;
	}
	cfg = conf_section(c, "configuration", ref);
	if (cfg == NULL) {
		err_set(e, CALA_USAGE, "%s: %s '%s' is assigned to "
		    "configuration '%s', which does not exist",
		    conf_where(s, "configuration"), kind, str_q(name),
		    str_q(ref));
		err_hint(e, "cala-config assign EXISTING %s %s", kind,
		    str_q(name));
		return 1;
	}
	out->configuration = cfg;
	out->level = kind;
	out->level_name = name;
	if (log != NULL)
		log_step(log, "%s %s: has configuration %s (%s); it wins, "
		    "nothing less specific is looked at", kind, str_q(name),
		    str_q(ref), conf_where(s, "configuration"));
	if (conf_bool(cfg, "maintenance"))
		err_set(e, CALA_MAINTENANCE, "configuration '%s' (of %s '%s') "
		    "is in maintenance; no other is taken instead",
		    str_q(ref), kind, str_q(name));
	return 1;
}

/* A section that a reference names; an explicit one must exist. */
static int
follow(const struct conf *c, const char *kind, const char *name,
    const char *where, const struct conf_section **out, struct err *e)
{
	*out = conf_section(c, kind, name);
	if (*out == NULL && where != NULL)
		return err_set(e, CALA_USAGE, "%s: %s '%s' is named, but there "
		    "is no [%s \"%s\"]", where, kind, str_q(name), kind,
		    str_q(name));
	return 0;
}

int
conf_resolve(const struct conf *c, const struct conf_server *s,
    struct log *log, struct conf_resolved *out, struct err *e)
{
	const struct conf_section *node = NULL, *location = NULL;
	const char *where = NULL, *name;
	/* Of a server that only its backups know there is but a UUID. */
	const char *server = s->name != NULL ? s->name : s->uuid;

	memset(out, 0, sizeof(*out));
	if (level(c, "server", s->section, server, log, out, e))
		goto decided;
	if (s->node == NULL) {
		if (log != NULL)
			log_step(log, "node: unknown; there is neither node = "
			    "in the server's section nor in [cala]");
		goto none;
	}
	if (s->section != NULL && conf_get(s->section, "node") != NULL &&
	    item_find(s->section, "node") != NULL)
		where = conf_where(s->section, "node");
	if (follow(c, "node", s->node, where, &node, e) == -1)
		return -1;
	if (level(c, "node", node, s->node, log, out, e))
		goto decided;
	name = node != NULL ? conf_get(node, "location") : NULL;
	if (name == NULL) {
		if (log != NULL)
			log_step(log, "location: node %s names none",
			    str_q(s->node));
		goto none;
	}
	if (follow(c, "location", name, conf_where(node, "location"),
	    &location, e) == -1)
		return -1;
	if (level(c, "location", location, name, log, out, e))
		goto decided;
none:
	err_set(e, CALA_UNASSIGNED, "server '%s': no configuration is assigned "
	    "to it, its node%s%s%s or its location", str_q(server),
	    s->node != NULL ? " '" : "", s->node != NULL ? str_q(s->node) : "",
	    s->node != NULL ? "'" : "");
	return s->path == NULL ? err_hint(e, "say which with -c") :
	    err_hint(e, "cala-config assign NAME server %s", str_q(server));
decided:
	return e->code != 0 ? -1 : 0;
}
