/*
 * pbs_outline: what a snapshot's catalog tells: names, and of files size and
 * time.  It is small, so that a far backup is searched without its archive.
 */

#include "driver/pbs_read.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "driver/pbs_record.h"
#include "pxar/pxar.h"

enum { MOST = 10000000 };       /* entries: more is a catalog gone wrong */

/* Folders that were seen and not yet listed, the next one on top. */
struct outline {
	struct driver_call *call;
	struct buf b;
	size_t root;            /* bytes of the archive's own name, with "/" */
	char **todo;
	size_t n, room, entries;
	size_t base;            /* of the folder being listed */
};

static int
push(struct outline *o, const char *path, struct err *e)
{
	size_t more = o->room == 0 ? 64 : 2 * o->room;
	char **v;

	if (o->n == o->room) {
		if ((v = reallocarray(o->todo, more, sizeof(*v))) == NULL)
			return err_oom(e);
		o->todo = v;
		o->room = more;
	}
	if ((o->todo[o->n] = strdup(path)) == NULL)
		return err_oom(e);
	o->n++;
	return 0;
}

static void
say_json(struct outline *o, const struct entry *en)
{
	const char *path = en->path + o->root;
	char type[2] = { (char)en->type, '\0' };
	struct jw j;

	jw_begin(&j, &o->b);
	jw_open(&j, NULL, '{');
	jw_bytes(&j, "path", path, strlen(path));
	jw_str(&j, "type", type);
	if (en->type == ENTRY_FILE) {
		jw_u64(&j, "size", en->size);
		jw_time(&j, "mtime", en->mtime);
	}
	jw_close(&j, '}');
}

static void
say_text(struct outline *o, const struct entry *en)
{
	const char *path = en->path + o->root;
	char when[WHEN_TEXT] = "-";

	if (en->type == ENTRY_FILE)
		when_local(en->mtime, when);
	buf_printf(&o->b, "%c\t%" PRIu64 "\t%s\t", (char)en->type, en->size,
	    when);
	str_esc(&o->b, path, strlen(path));
}

static int
one(void *arg, const struct entry *en, struct err *e)
{
	struct outline *o = arg;

	if (stop_check(e) == -1)
		return -1;
	if (++o->entries > MOST)
		return err_set(e, CALA_INTEGRITY, "the catalog has more than "
		    "%d entries", (int)MOST);
	buf_reset(&o->b);
	if (o->call->json)
		say_json(o, en);
	else
		say_text(o, en);
	if (buf_failed(&o->b, e) == -1)
		return -1;
	driver_say(o->call, "%s", o->b.p);
	if (en->type != ENTRY_DIR)
		return 0;
	if (entry_depth(en->path) > ENTRY_DEPTH_MAX)
		return err_set(e, CALA_INTEGRITY, "the catalog has directories "
		    "too deep");
	return push(o, en->path, e);
}

/* The folders of one are listed in its order: the last pushed is on top. */
static void
turn(struct outline *o)
{
	size_t i = o->base, j = o->n;
	char *p;

	for (; j > i + 1; i++) {
		p = o->todo[--j];
		o->todo[j] = o->todo[i];
		o->todo[i] = p;
	}
}

static int
walk(struct outline *o, struct ranged *rg, const char *archive,
    struct err *e)
{
	char *dir;
	int ret = push(o, archive, e);

	o->root = strlen(archive) + 1;
	while (ret == 0 && o->n > 0) {
		dir = o->todo[--o->n];
		o->base = o->n;
		ret = pcat_list(rg, dir, one, o, e);
		free(dir);
		turn(o);
	}
	return ret;
}

static int
catalog(struct outline *o, struct pbs_session *s, struct err *e)
{
	const struct pbs_manifest *m = pbs_session_manifest(s);
	const struct pbs_file *f = pbs_manifest_file(m, PBS_CATALOG);
	const struct pbs_part *p;
	struct pbs_archive a;
	struct ranged *rg;
	int ret;

	if (pbs_archive(m, &a, e) == -1)
		return -1;
	if (f == NULL) {
		err_set(e, CALA_NOTFOUND, "the backup has no catalog");
		return err_hint(e, "ls -R reads the archive");
	}
	if (pbs_session_part(s, f, &p, e) == -1 ||
	    (rg = pbs_session_ranged(s, p, true, 1, e)) == NULL)
		return -1;
	ret = walk(o, rg, a.meta->name, e);
	ranged_close(rg);
	return ret;
}

int
pbsdisk_outline(struct driver_call *call, struct err *e)
{
	struct pbs_disk *d = pbsdisk_open(call, e);
	struct outline o = { .call = call };
	struct pbs_session *s = NULL;
	int ret = -1;

	if (d == NULL || pbsdisk_find(call, d, e) == -1 ||
	    pbs_session_open(call, d, &s, e) == -1)
		return -1;
	buf_init(&o.b, 8 * ENTRY_PATH_MAX + 1024);
	ret = catalog(&o, s, e);
	while (o.n > 0)
		free(o.todo[--o.n]);
	free(o.todo);
	buf_fini(&o.b);
	pbs_session_close(s);
	return ret;
}
