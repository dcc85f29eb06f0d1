#include "config/conf.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "config/model.h"

void *
model_more(void *v, size_t n, size_t size)
{
	if ((n & (n + 1)) != 0)
		return v;
	return realloc(v, (2 * n + 1) * size);
}

size_t
model_bucket(size_t buckets, const char *kind, const char *name)
{
	uint64_t h = 0xcbf29ce484222325u;       /* FNV-1a */

	for (; *kind != '\0'; kind++)
		h = (h ^ (unsigned char)*kind) * 0x100000001b3u;
	for (h *= 0x100000001b3u; *name != '\0'; name++)
		h = (h ^ (unsigned char)*name) * 0x100000001b3u;
	return (size_t)(h ^ h >> 32) & (buckets - 1);
}

const struct conf_section *
conf_section(const struct conf *c, const char *kind, const char *name)
{
	const struct conf_section *s;

	if (name == NULL)
		name = "";
	for (s = c->hash[model_bucket(c->buckets, kind, name)]; s != NULL;
	    s = s->next)
		if (strcmp(s->kind, kind) == 0 && strcmp(s->name, name) == 0)
			return s;
	return NULL;
}

const struct conf_section *
conf_nth(const struct conf *c, const char *kind, size_t i)
{
	size_t k;

	for (k = 0; k < c->n; k++)
		if (strcmp(c->v[k]->kind, kind) == 0 && i-- == 0)
			return c->v[k];
	return NULL;
}

const char *
conf_name(const struct conf_section *s)
{
	return s->name;
}

const char *
conf_kind(const struct conf_section *s)
{
	return s->kind;
}

const struct conf_item *
conf_item(const struct conf_section *s, size_t i)
{
	return i < s->n ? &s->items[i] : NULL;
}

/* Is the item's name key, or key with one of the suffixes of its form? */
static bool
named(const struct conf_item *it, const char *key)
{
	size_t n = strlen(key);

	if (strncmp(it->name, key, n) != 0)
		return false;
	return strcmp(it->name + n, it->form == KEY_FROM_FILE ? "-file" :
	    it->form == KEY_FROM_COMMAND ? "-command" : "") == 0;
}

const struct conf_item *
item_find(const struct conf_section *s, const char *key)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (named(&s->items[i], key))
			return &s->items[i];
	return NULL;
}

const char *
conf_where(const struct conf_section *s, const char *key)
{
	const struct conf_item *it;

	if (key == NULL || (it = item_find(s, key)) == NULL)
		return s->where;
	return it->where;
}

const char *
conf_disk(const struct conf_section *s)
{
	const struct conf_item *it = item_find(s, "disk");

	return it != NULL ? it->text : "";
}

const char *
conf_get(const struct conf_section *s, const char *key)
{
	const struct key *k;
	const struct conf_item *it;
	const char *disk;

	if (s == NULL) {
		k = key_find(NULL, NULL, key);
		return k != NULL ? k->def : NULL;
	}
	if ((it = item_find(s, key)) != NULL)
		return it->form == KEY_PLAIN ? it->text : NULL;
	disk = strcmp(s->kind, "configuration") == 0 ? conf_disk(s) : NULL;
	k = key_find(s->kind, disk, key);
	if (k != NULL && (k->flags & (KEY_LIST | KEY_MAP)) != 0)
		return NULL;
	if (s != s->conf->cala && key_find("cala", NULL, key) != NULL)
		return conf_get(s->conf->cala, key);
	return k != NULL ? k->def : NULL;
}

const char *
conf_get_nth(const struct conf_section *s, const char *key, size_t i)
{
	size_t k;

	for (k = 0; s != NULL && k < s->n; k++)
		if (strcmp(s->items[k].name, key) == 0 && i-- == 0)
			return s->items[k].text;
	return NULL;
}

int
conf_map(const struct conf_section *s, const char *map, size_t i,
    const char **key, const char **value)
{
	size_t k, n = strlen(map);
	const struct conf_item *it;

	for (k = 0; s != NULL && k < s->n; k++) {
		it = &s->items[k];
		if (strncmp(it->name, map, n) != 0 || it->name[n] != '.' ||
		    i-- != 0)
			continue;
		*key = it->member;
		*value = it->text;
		return 0;
	}
	return -1;
}

uint64_t
conf_u64(const struct conf_section *s, const char *key)
{
	const char *disk = s != NULL && strcmp(s->kind, "configuration") == 0 ?
	    conf_disk(s) : NULL, *v = conf_get(s, key);
	const struct key *k = key_find(s != NULL ? s->kind : NULL, disk, key);
	uint64_t n = 0;

	if (v == NULL)
		return 0;
	if (k != NULL && k->type == KEY_DURATION)
		(void)str_duration(v, &n);
	else if (k != NULL && k->type == KEY_RATE)
		(void)str_rate(v, &n);
	else
		(void)str_size(v, &n);
	return n;
}

bool
conf_bool(const struct conf_section *s, const char *key)
{
	const char *v = conf_get(s, key);
	bool b = false;

	if (v != NULL)
		(void)str_bool(v, &b);
	return b;
}

const char *
conf_backup_dir(const struct conf *c)
{
	return conf_get(c->cala, "backup-directory");
}

const char *
conf_volumes(const struct conf *c)
{
	return conf_get(c->cala, "volumes");
}

int
conf_words(const char *v, char ***out, struct err *e)
{
	size_t n = strlen(v), words = 0;
	const char *p;
	char **argv, *to;
	bool quoted;

	/* At most every second character starts a word. */
	argv = malloc((n / 2 + 2) * sizeof(*argv) + n + 2);
	if (argv == NULL)
		return err_oom(e);
	to = (char *)(argv + n / 2 + 2);
	for (p = v;;) {
		p += strspn(p, " \t");
		if (*p == '\0')
			break;
		argv[words++] = to;
		for (quoted = false; *p != '\0'; p++) {
			if (*p == '"') {
				quoted = !quoted;
				continue;
			}
			if (!quoted && (*p == ' ' || *p == '\t'))
				break;
			if (*p == '\\' && p[1] != '\0')
				p++;
			*to++ = *p;
		}
		*to++ = '\0';
	}
	argv[words] = NULL;
	if (words == 0) {
		free(argv);
		return err_set(e, CALA_USAGE, "the command is empty");
	}
	*out = argv;
	return 0;
}

int
conf_address(const char *text, const char **kind, char name[CONF_NAME],
    struct err *e)
{
	static const char *const kinds[] = { "location", "node", "server",
	    "configuration", "group", "policy" };
	const char *p = text + (*text == '[');
	size_t i, n, len = strlen(p);

	/* text may be kept whole, with its bracket. */
	if (strlen(text) >= CONF_NAME || len == 0)
		return err_set(e, CALA_USAGE,
		    "the name of the section is empty or too long");
	*kind = "cala";
	name[0] = '\0';
	if (strcmp(text, "cala") == 0 || strcmp(text, "[cala]") == 0)
		return 0;
	*kind = "configuration";
	memcpy(name, text, strlen(text) + 1);
	for (i = 0; i < 6; i++) {
		n = strlen(kinds[i]);
		if (strncmp(p, kinds[i], n) != 0)
			continue;
		if (p == text && p[n] == ':') {
			*kind = kinds[i];
			memcpy(name, p + n + 1, strlen(p + n + 1) + 1);
		} else if (p[n] == ' ' && p[n + 1] == '"') {
			/* [kind "name"] */
			*kind = kinds[i];
			p += n + 2;
			for (n = 0; *p != '\0' && *p != '"'; p++) {
				if (*p == '\\' && p[1] != '\0')
					p++;
				name[n++] = *p;
			}
			name[n] = '\0';
		}
		break;
	}
	if (*name == '\0')
		return err_set(e, CALA_USAGE,
		    "the name of the section is empty");
	return 0;
}
