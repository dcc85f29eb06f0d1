/*
 * main: the part of a driver that is the same for every disk: verbs, options,
 * configuration, maintenance.  The contract in words is cala-driver(7).
 */

#include "driver/verbs.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "config/conf.h"
#include "config/keys.h"
#include "front/conf.h"
#include "front/meter.h"

#ifndef CALA_VERSION
#define CALA_VERSION "unknown"
#endif

enum {
	V_INFO = 1, V_PUT = 2, V_GET = 4, V_RESTORE = 8, V_LS = 16,
	V_CAT = 32, V_LIST = 64, V_SET = 128, V_RM = 256, V_CHECK = 512,
	V_VERIFY = 1024, V_GC = 2048,
	V_EXTRA = 1 << 16,              /* shifts DRIVER_SERVER ... */
	V_X_SERVER = DRIVER_SERVER * V_EXTRA, V_X_DRY = DRIVER_DRY * V_EXTRA,
	V_X_JSON = DRIVER_JSON * V_EXTRA,
	V_X_BLOCKED = DRIVER_BLOCKED * V_EXTRA,
	V_X_BACKUP = DRIVER_BACKUP * V_EXTRA, V_X_FULL = DRIVER_FULL * V_EXTRA,
	V_X_BASE = DRIVER_BASE * V_EXTRA, V_X_NEWER = DRIVER_NEWER * V_EXTRA,
	V_X_KEEP = DRIVER_KEEP * V_EXTRA
};

enum {
	V_BACKUP = V_GET | V_RESTORE | V_LS | V_CAT | V_SET | V_RM | V_VERIFY |
	    V_X_BACKUP,
	V_FULL = V_SET | V_RM | V_X_FULL,                /* a prefix won't do */
	V_BLOCKED = V_PUT | V_GET | V_CAT | V_RESTORE | V_RM | V_GC |
	    V_X_BLOCKED,
	JOBS_MAX = 1024,
	KEEP_MAX = 1000000
};

static int verb_info(struct run *, struct err *);
static int verb_check(struct run *, struct err *);
static int verb_gc(struct run *, struct err *);
static int verb_extra(struct run *, struct err *);

struct verb {
	const char *name;
	unsigned bit;
	size_t min, max;                /* operands */
	int (*run)(struct run *, struct err *);
	const char *operands;
	const char *help;
};

static const struct verb verbs[] = {
	{ "info", V_INFO, 0, 0, verb_info, "",
	    "what this driver can do, as JSON" },
	{ "put", V_PUT, 0, 1, verb_put, "[DIR]",
	    "store the archive on stdin, or DIR" },
	{ "get", V_GET, 0, SIZE_MAX, verb_get, "[PATH...]",
	    "the backup or parts of it as tar" },
	{ "restore", V_RESTORE, 1, SIZE_MAX, verb_restore, "DIR [PATH...]",
	    "into the empty directory DIR" },
	{ "ls", V_LS, 0, 1, verb_ls, "[PATH]", "the entries of a directory" },
	{ "cat", V_CAT, 1, 1, verb_cat, "PATH", "the bytes of a file" },
	{ "list", V_LIST, 0, 0, verb_list, "", "backups, as JSON lines" },
	{ "set", V_SET, 0, 0, verb_set, "",
	    "change name, group, lock; adopt" },
	{ "rm", V_RM, 0, 0, verb_rm, "", "delete one backup" },
	{ "check", V_CHECK, 0, 0, verb_check, "", "try the store, step by step" },
	{ "verify", V_VERIFY, 0, 0, verb_verify, "",
	    "prove that a backup can be restored" },
	{ "gc", V_GC, 0, 0, verb_gc, "", "remove what interrupted runs left" },
};

enum { VERBS = sizeof(verbs) / sizeof(*verbs) };

static bool
has_verb(const struct driver *d, unsigned bit)
{
	switch (bit) {
	case V_PUT:
		return d->put_begin != NULL || d->put_dir != NULL;
	case V_RESTORE:
		return d->restore != NULL;
	default:
		return true;
	}
}

void
driver_say(struct driver_call *c, const char *fmt, ...)
{
	va_list ap;

	/* Both may be the same terminal: the progress line goes before it. */
	log_hold(c->log);
	if (c->log->before != NULL)
		c->log->before(c->log->before_arg);
	va_start(ap, fmt);
	vfprintf(c->out, fmt, ap);
	va_end(ap);
	fputc('\n', c->out);
	fflush(c->out);
	log_release(c->log);
}

/* The disk that we speak for: of the configuration, else by our own name. */
static const char *
which_disk(const struct run *r, const char *argv0)
{
	const char *base = strrchr(argv0, '/');
	size_t i;

	if (r->call.cfg != NULL)
		return conf_disk(r->call.cfg);
	base = base != NULL ? base + 1 : argv0;
	for (i = 0; r->d->disks[i] != NULL; i++)
		if (str_begins(base, "cala-") &&
		    strcmp(base + 5, r->d->disks[i]) == 0)
			return r->d->disks[i];
	return r->d->disks[0];
}

static int
verb_info(struct run *r, struct err *e)
{
	const char *disk = which_disk(r, r->argv0);
	struct buf b;
	struct jw j;
	size_t i;
	int ret;

	buf_init(&b, 1 << 20);
	jw_begin(&j, &b);
	jw_open(&j, NULL, '{');
	jw_u64(&j, "v", 1);
	jw_str(&j, "driver", r->d->name);
	jw_str(&j, "version", CALA_VERSION);
	jw_str(&j, "disk", disk);
	jw_str(&j, "takes", r->d->takes == DRIVER_STREAM ? "stream" :
	    r->d->takes == DRIVER_DIR ? "dir" : "both");
	jw_bool(&j, "raw", r->d->raw != NULL);
	if (r->d->proves)
		jw_bool(&j, "proves", true);
	jw_open(&j, "verbs", '[');
	for (i = 0; i < VERBS; i++)
		if (has_verb(r->d, verbs[i].bit))
			jw_str(&j, NULL, verbs[i].name);
	jw_close(&j, ']');
	if (r->d->extra != NULL) {
		jw_open(&j, "extra", '[');
		for (i = 0; r->d->extra[i].name != NULL; i++)
			jw_str(&j, NULL, r->d->extra[i].name);
		jw_close(&j, ']');
	}
	/* key_info writes a whole array by itself. */
	buf_str(&b, ",\"keys\":");
	key_info(disk, &b);
	jw_close(&j, '}');
	buf_chr(&b, '\n');
	if ((ret = buf_failed(&b, e)) == 0) {
		fwrite(b.p, 1, b.len, stdout);
		ret = file_printed(stdout, "standard output", e);
	}
	buf_fini(&b);
	return ret;
}

static int
verb_check(struct run *r, struct err *e)
{
	return r->d->check(&r->call, e);
}

static int
verb_gc(struct run *r, struct err *e)
{
	return r->d->gc(&r->call, e);
}

/* --base, found as -b is. */
static int
base_pick(struct run *r, struct err *e)
{
	char backup[UUID_TEXT];
	const char *given = r->backup;
	int ret;

	memcpy(backup, r->call.backup, sizeof(backup));
	r->backup = r->base;
	ret = backup_pick(r, e);
	memcpy(r->call.base, r->call.backup, sizeof(backup));
	memcpy(r->call.backup, backup, sizeof(backup));
	r->backup = given;
	return ret == -1 ? err_ctx(e, "--base") : 0;
}

static int
verb_extra(struct run *r, struct err *e)
{
	if (r->base != NULL && base_pick(r, e) == -1)
		return -1;
	return r->extra->run(&r->call, e);
}

static int
server_uuid(const struct run *r, const char *what, char out[UUID_TEXT],
    struct err *e)
{
	struct conf_server s;

	/* A UUID needs no section: its server may be long gone. */
	if (uuid_norm(what, out) == 0)
		return 0;
	if (conf_server(r->conf, what, &s, e) == -1)
		return -1;
	memcpy(out, s.uuid, UUID_TEXT);
	conf_server_fini(&s);
	return 0;
}

static int
configure(struct run *r, const struct verb *v, struct err *e)
{
	struct driver_call *c = &r->call;
	const char *disk;
	size_t i;

	if (r->configuration == NULL)
		return v->bit == V_INFO ? 0 : err_set(e, CALA_USAGE,
		    "%s needs a configuration (-c)", v->name);
	if (front_conf(&r->front, &r->conf, e) == -1)
		return -1;
	c->conf = r->conf;
	c->cfg = conf_section(r->conf, "configuration", r->configuration);
	if (c->cfg == NULL)
		return err_set(e, CALA_USAGE, "there is no configuration '%s'",
		    str_q(r->configuration));
	c->configuration = r->configuration;
	disk = conf_disk(c->cfg);
	for (i = 0; r->d->disks[i] != NULL; i++)
		if (strcmp(r->d->disks[i], disk) == 0)
			break;
	if (r->d->disks[i] == NULL)
		return err_set(e, CALA_USAGE, "configuration '%s' is of the "
		    "disk %s, which is not ours", str_q(r->configuration),
		    disk);
	if ((v->bit & V_BLOCKED) != 0 && conf_bool(c->cfg, "maintenance"))
		return err_set(e, CALA_MAINTENANCE, "configuration '%s' is in "
		    "maintenance: no %s", str_q(r->configuration), v->name);
	return 0;
}

static int
percent(struct run *r, struct err *e)
{
	const char *s = r->read_data;
	char num[8];
	uint64_t n = 100;
	size_t len;

	r->call.percent = 100;
	if ((r->call.read_data = s != NULL) == false || *s == '\0')
		return 0;
	len = strlen(s) - (str_ends(s, "%") ? 1 : 0);
	if (len < sizeof(num)) {
		memcpy(num, s, len);
		num[len] = '\0';
		if (str_u64(num, 1, 100, &n) == 0) {
			r->call.percent = (unsigned)n;
			return 0;
		}
	}
	return err_set(e, CALA_USAGE, "--read-data: '%s' is no percentage",
	    str_q(s));
}

static int
clean_paths(struct run *r, const char *const *v, size_t n, struct err *e)
{
	const char *why;
	struct buf b;
	size_t i;

	if (n == 0)
		return 0;
	if ((r->paths = calloc(n, sizeof(*r->paths))) == NULL)
		return err_oom(e);
	buf_init(&b, ENTRY_PATH_MAX);
	for (i = 0; i < n; i++) {
		if (entry_path(&b, v[i], strlen(v[i]), &why) == -1) {
			buf_fini(&b);
			return err_set(e, CALA_USAGE, "%s: %s", str_q(v[i]),
			    why);
		}
		if ((r->paths[i] = strdup(b.p)) == NULL) {
			buf_fini(&b);
			return err_oom(e);
		}
		r->call.npaths++;
		/* The root holds all the others. */
		if (*r->paths[i] == '\0') {
			while (r->call.npaths > 0)
				free(r->paths[--r->call.npaths]);
			break;
		}
	}
	buf_fini(&b);
	r->call.paths = (const char *const *)r->paths;
	return 0;
}

static int
operands(struct run *r, const struct verb *v, struct err *e)
{
	const char *const *a = (const char *const *)r->args.v + 1;
	size_t n = r->args.n - 1;

	if (n < v->min)
		return err_set(e, CALA_USAGE, "%s needs %s", v->name,
		    v->operands);
	if (n > v->max)
		return err_set(e, CALA_USAGE, "%s: unexpected operand '%s'",
		    v->name, str_q(a[v->max]));
	if (r->rest.v != NULL && (v->bit & V_PUT) == 0)
		return err_set(e, CALA_USAGE, "%s takes no COMMAND", v->name);
	if (v->bit == V_PUT || v->bit == V_RESTORE) {
		r->call.dir = n > 0 ? a[0] : NULL;
		if (n > 0)
			a++, n--;
	}
	if (clean_paths(r, a, n, e) == -1)
		return -1;
	if (v->bit == V_CAT && r->call.npaths == 0)
		return err_set(e, CALA_USAGE, "cat: the root is no file");
	return 0;
}

/* An option that means nothing to the verb is a mistake, not noise. */
static int
no_strangers(const struct run *r, const struct verb *v, struct err *e)
{
	const struct { const char *name; bool given; unsigned for_verbs; } t[] = {
		{ "of", r->server != NULL, V_PUT | V_LIST | V_BACKUP |
		    V_X_SERVER },
		{ "backup", r->backup != NULL, V_BACKUP },
		{ "uuid", r->uuid != NULL, V_PUT },
		{ "name", r->name != NULL, V_PUT | V_SET },
		{ "group", r->group != NULL, V_PUT | V_SET },
		{ "lock", r->lock.raw <= 1, V_PUT | V_SET },
		{ "server", r->to_server != NULL, V_SET },
		{ "created", r->created != NULL, V_PUT },
		{ "as", r->as != NULL, V_PUT },
		{ "exclude-from", r->exclude_from != NULL, V_PUT },
		{ "facts", r->facts != NULL, V_PUT },
		{ "commit-fd", r->commit_fd != UINT64_MAX, V_PUT },
		{ "ok-status", r->ok_status != NULL, V_PUT },
		{ "expect", r->expect != 0, V_PUT },
		{ "force-read", r->force_read, V_PUT },
		{ "ignore-inode", r->ignore_inode, V_PUT },
		{ "no-check", r->no_check, V_PUT | (r->d->salvages ?
		    V_GET | V_RESTORE | V_LS | V_CAT : 0) |
		    (r->d->proves ? V_GET : 0) },
		{ "allow-empty", r->allow_empty, V_PUT },
		{ "raw", r->raw, V_GET },
		{ "recursive", r->recursive, V_LS },
		{ "json", r->json, V_LS | V_LIST | V_INFO | V_SET | V_PUT |
		    V_X_JSON },
		{ "offset", r->offset != 0, V_CAT },
		{ "length", r->length != UINT64_MAX, V_CAT },
		{ "read-data", r->read_data != NULL, V_VERIFY },
		{ "dry-run", r->dry_run, V_RM | V_GC | V_X_DRY },
		{ "base", r->base != NULL, V_X_BASE },
		{ "trailer", !r->trailer, V_X_BASE },
		{ "discard-newer", r->discard_newer, V_X_NEWER },
		{ "keep-last", r->keep[0] != 0, V_X_KEEP },
		{ "keep-hourly", r->keep[1] != 0, V_X_KEEP },
		{ "keep-daily", r->keep[2] != 0, V_X_KEEP },
		{ "keep-weekly", r->keep[3] != 0, V_X_KEEP },
		{ "keep-monthly", r->keep[4] != 0, V_X_KEEP },
		{ "keep-yearly", r->keep[5] != 0, V_X_KEEP },
		{ "progress", r->front.progress, V_PUT | V_GET | V_RESTORE |
		    V_VERIFY },
	};
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(*t); i++)
		if (t[i].given && (t[i].for_verbs & v->bit) == 0)
			return err_set(e, CALA_USAGE, "%s takes no --%s",
			    v->name, t[i].name);
	return 0;
}

static int
rules(struct run *r, struct err *e)
{
	struct driver_keep *k = &r->call.keep;
	unsigned *to[] = { &k->last, &k->hourly, &k->daily, &k->weekly,
	    &k->monthly, &k->yearly };
	size_t i;

	for (i = 0; i < sizeof(to) / sizeof(*to); i++) {
		if (r->keep[i] > KEEP_MAX)
			return err_set(e, CALA_USAGE, "--keep-...: at most %d",
			    (int)KEEP_MAX);
		*to[i] = (unsigned)r->keep[i];
	}
	return 0;
}

/* An option beats the configuration, also when it says 0. */
static uint64_t
option_or_key(uint64_t given, const struct run *r, const char *key)
{
	return given != UINT64_MAX ? given : conf_u64(r->call.cfg, key);
}

static int
prepare(struct run *r, const struct verb *v, struct err *e)
{
	struct driver_call *c = &r->call;
	bool whole = v->bit == V_VERIFY && r->backup == NULL &&
	    r->d->verify_all != NULL;

	if (no_strangers(r, v, e) == -1 || operands(r, v, e) == -1 ||
	    percent(r, e) == -1 || rules(r, e) == -1)
		return -1;
	if ((r->name != NULL && record_name("--name", r->name, e) == -1) ||
	    (r->group != NULL && record_name("--group", r->group, e) == -1))
		return -1;
	if (r->jobs != UINT64_MAX && r->jobs > JOBS_MAX)
		return err_set(e, CALA_USAGE, "--jobs: at most %d",
		    (int)JOBS_MAX);
	if ((v->bit & V_BACKUP) != 0 && r->backup == NULL && !whole)
		return err_set(e, CALA_USAGE, "%s needs a backup (-b)",
		    v->name);
	if ((v->bit & V_FULL) != 0 && !uuid_ok(r->backup))
		return err_set(e, CALA_USAGE, "%s needs the whole UUID of a "
		    "backup, not '%s'", v->name, str_q(r->backup));
	if ((v->bit & V_PUT) != 0 && r->server == NULL)
		return err_set(e, CALA_USAGE, "%s needs a server (-s)",
		    v->name);
	if (configure(r, v, e) == -1 ||
	    (r->server != NULL &&
	    server_uuid(r, r->server, c->server, e) == -1) ||
	    (r->to_server != NULL &&
	    server_uuid(r, r->to_server, r->adopt, e) == -1))
		return -1;
	c->driver = r->d;
	c->verb = v->name;
	c->log = &r->front.log;
	c->out = stdout;
	c->env = environ;
	c->recursive = r->recursive;
	c->json = r->json;
	c->trailer = r->trailer;
	c->discard_newer = r->discard_newer;
	c->raw = r->raw;
	c->dry_run = r->dry_run;
	c->no_check = r->no_check;
	c->force_read = r->force_read;
	c->ignore_inode = r->ignore_inode;
	c->allow_empty = r->allow_empty;
	c->offset = r->offset;
	c->length = r->length;
	c->expect = r->expect;
	c->as = r->as;
	c->exclude_from = r->exclude_from;
	c->jobs = (unsigned)option_or_key(r->jobs, r, "jobs");
	c->memory = option_or_key(r->memory, r, "memory");
	c->limit_read = option_or_key(r->limit_read, r, "limit-read");
	c->limit_write = option_or_key(r->limit_write, r, "limit-write");
	c->limit_network = option_or_key(r->limit_network, r,
	    "limit-network");
	return (v->bit & V_BACKUP) != 0 && !whole ? backup_pick(r, e) : 0;
}

/*
 * How far it is, where a verb takes its time.  The other end of a pipe shows a
 * line of its own on the terminal; ours only where we do all the work.
 */
static int
measure(struct run *r, const struct verb *v, struct front_meter *m,
    struct err *e)
{
	bool alone = r->call.dir != NULL || v->bit == V_VERIFY;
	struct progress_how how = {
		.mode = progress_mode(r->front.progress,
		    r->front.progress_off, r->front.quiet, r->json,
		    alone && isatty(STDERR_FILENO) == 1),
		.log = &r->front.log,
		.bytes = &r->call.tally.bytes,
		.expected = r->expect
	};

	if ((v->bit & (V_PUT | V_GET | V_RESTORE | V_VERIFY)) == 0)
		return 0;
	if (alone)
		how.files = &r->call.tally.files;
	return front_meter_start(m, &how, e);
}

static int
usage_text(const struct driver *d, struct buf *b, struct err *e)
{
	size_t i;

	buf_printf(b, "%s VERB -c CONFIGURATION [-s SERVER] [-b BACKUP]\n"
	    "           [OPTION...] [OPERAND...]\n\nverbs:\n", d->name);
	for (i = 0; i < VERBS; i++)
		if (has_verb(d, verbs[i].bit))
			buf_printf(b, "  %-10s %-14s %s%s", verbs[i].name,
			    verbs[i].operands, verbs[i].help,
			    i + 1 < VERBS ? "\n" : "");
	for (i = 0; d->extra != NULL && d->extra[i].name != NULL; i++)
		buf_printf(b, "\n  %-10s %-14s %s", d->extra[i].name, "",
		    d->extra[i].help);
	return buf_failed(b, e);
}

/* A verb that only this driver has, in the form of the others. */
static const struct verb *
extra_verb(struct run *r, const char *name)
{
	static struct verb v = { .run = verb_extra, .operands = "" };
	const struct driver_verb *x = r->d->extra;

	for (; x != NULL && x->name != NULL; x++)
		if (strcmp(x->name, name) == 0) {
			r->extra = x;
			v.name = x->name;
			v.bit = x->needs * V_EXTRA;
			v.run = verb_extra;
			if ((x->needs & DRIVER_TAKES) != 0) {
				v.bit |= V_PUT;
				v.run = verb_receive;
			}
			return &v;
		}
	return NULL;
}

/* The help of an option that only some drivers' own verbs take. */
static const char *
for_some(const struct driver *d, unsigned need, const char *help)
{
	const struct driver_verb *x = d->extra;

	for (; x != NULL && x->name != NULL; x++)
		if ((x->needs & need) != 0)
			return help;
	return NULL;
}

static int
start(struct run *r, int argc, char **argv, const struct verb **v,
    struct err *e)
{
	const struct opt table[] = {
		{ OPT_STR, 'c', "configuration", "NAME",
		    "the configuration to use", &r->configuration, NULL },
		{ OPT_STR, 's', "of", "SERVER",
		    "the server: a UUID, a name or a prefix", &r->server,
		    NULL },
		{ OPT_STR, 'b', "backup", "BACKUP",
		    "a UUID, a prefix of one, latest or oldest", &r->backup,
		    NULL },
		{ OPT_STR, 0, "uuid", "UUID", "put: the new backup's UUID",
		    &r->uuid, NULL },
		{ OPT_STR, 0, "name", "NAME", "put, set: what people call it",
		    &r->name, NULL },
		{ OPT_STR, 0, "group", "GROUP", "put, set: its group",
		    &r->group, NULL },
		{ OPT_FLAG, 0, "lock", NULL,
		    "put, set: never remove it; --no-lock: unlock",
		    &r->lock.on, NULL },
		{ OPT_STR, 0, "server", "SERVER",
		    "set: adopt a backup that has no known server",
		    &r->to_server, NULL },
		{ OPT_STR, 0, "created", "TIME",
		    "put: when its contents were so (RFC 3339); default: now",
		    &r->created, NULL },
		{ OPT_STR, 0, "as", "PATH",
		    "put DIR: store under PATH although DIR is a snapshot",
		    &r->as, NULL },
		{ OPT_STR, 0, "exclude-from", "FILE",
		    "put DIR: leave out what the rules in FILE match",
		    &r->exclude_from, NULL },
		{ OPT_FLAG, 0, "force-read", NULL,
		    "put DIR: read files that are unchanged, too",
		    &r->force_read, NULL },
		{ OPT_FLAG, 0, "ignore-inode", NULL,
		    "put DIR: unchanged is what has the same size and times",
		    &r->ignore_inode, NULL },
		{ OPT_STR, 0, "facts", "FILE",
		    "put: the producer's report, read at the end", &r->facts,
		    NULL },
		{ OPT_U64, 0, "commit-fd", "N",
		    "put: commit when descriptor N says C", &r->commit_fd,
		    NULL },
		{ OPT_STR, 0, "ok-status", "LIST",
		    "put -- COMMAND: exit statuses that mean well",
		    &r->ok_status, NULL },
		{ OPT_SIZE, 0, "expect", "BYTES",
		    "put: refuse at once when so many don't fit", &r->expect,
		    NULL },
		{ OPT_FLAG, 0, "no-check", NULL,
		    "put: without proof; get: not proven before, or what is "
		    "left",
		    &r->no_check, NULL },
		{ OPT_FLAG, 0, "allow-empty", NULL,
		    "put: store even an empty stream", &r->allow_empty, NULL },
		{ OPT_FLAG, 0, "raw", NULL, "get: the archive as it is stored",
		    &r->raw, NULL },
		{ OPT_FLAG, 'R', "recursive", NULL,
		    "ls: everything below PATH", &r->recursive, NULL },
		{ OPT_FLAG, 0, "json", NULL, "ls: JSON lines", &r->json,
		    NULL },
		{ OPT_SIZE, 0, "offset", "BYTES", "cat: start there",
		    &r->offset, NULL },
		{ OPT_SIZE, 0, "length", "BYTES", "cat: at most so many",
		    &r->length, NULL },
		{ OPT_MAYBE, 0, "read-data", "PCT",
		    "verify: read the data, or a part of them",
		    &r->read_data, NULL },
		{ OPT_FLAG, 'n', "dry-run", NULL,
		    "only say what would be done", &r->dry_run, NULL },
		{ OPT_STR, 'i', "base", "BACKUP", for_some(r->d, DRIVER_BASE,
		    "send: only what changed since BACKUP"), &r->base, NULL },
		{ OPT_FLAG, 0, "trailer", NULL, for_some(r->d, DRIVER_BASE,
		    "send: end with a proof (the default)"), &r->trailer,
		    NULL },
		{ OPT_FLAG, 0, "discard-newer", NULL, for_some(r->d,
		    DRIVER_NEWER, "rollback: lose newer snapshots"),
		    &r->discard_newer, NULL },
		{ OPT_U64, 0, "keep-last", "N", for_some(r->d, DRIVER_KEEP,
		    "prune: the newest N"), &r->keep[0], NULL },
		{ OPT_U64, 0, "keep-hourly", "N", for_some(r->d, DRIVER_KEEP,
		    "prune: the newest of each of N hours"), &r->keep[1],
		    NULL },
		{ OPT_U64, 0, "keep-daily", "N", for_some(r->d, DRIVER_KEEP,
		    "prune: the newest of each of N days"), &r->keep[2],
		    NULL },
		{ OPT_U64, 0, "keep-weekly", "N", for_some(r->d, DRIVER_KEEP,
		    "prune: the newest of each of N weeks"), &r->keep[3],
		    NULL },
		{ OPT_U64, 0, "keep-monthly", "N", for_some(r->d, DRIVER_KEEP,
		    "prune: the newest of each of N months"), &r->keep[4],
		    NULL },
		{ OPT_U64, 0, "keep-yearly", "N", for_some(r->d, DRIVER_KEEP,
		    "prune: the newest of each of N years"), &r->keep[5],
		    NULL },
		{ OPT_U64, 'j', "jobs", "N", "workers; 0: one a core",
		    &r->jobs, NULL },
		{ OPT_SIZE, 0, "memory", "BYTES", "stay below", &r->memory,
		    NULL },
		{ OPT_RATE, 0, "limit-read", "RATE", "bytes per second read",
		    &r->limit_read, NULL },
		{ OPT_RATE, 0, "limit-write", "RATE",
		    "bytes per second written", &r->limit_write, NULL },
		{ OPT_RATE, 0, "limit-network", "RATE",
		    "bytes per second over the network", &r->limit_network,
		    NULL },
		{ OPT_FLAG, 0, "progress", NULL,
		    "progress, also without a terminal", &r->front.progress,
		    NULL },
		FRONT_CONFIG(r->front),
		FRONT_OPTS(r->front),
		FRONT_END
	};
	size_t i;
	int ret;

	ret = front_parse(&r->front, table, argc, argv, &r->args, &r->rest, e);
	if (ret != 0)
		return ret;
	if (r->args.n == 0) {
		err_set(e, CALA_USAGE, "no verb");
		return err_hint(e, "try '%s --help'", r->d->name);
	}
	for (i = 0; i < VERBS; i++)
		if (strcmp(verbs[i].name, r->args.v[0]) == 0 &&
		    has_verb(r->d, verbs[i].bit)) {
			*v = &verbs[i];
			return 0;
		}
	if ((*v = extra_verb(r, r->args.v[0])) != NULL)
		return 0;
	err_set(e, CALA_USAGE, "unknown verb '%s'", str_q(r->args.v[0]));
	return err_hint(e, "try '%s --help'", r->d->name);
}

int
driver_main(const struct driver *d, int argc, char **argv)
{
	struct front_meter meter = { .on = false };
	const struct verb *v = NULL;
	struct err e = ERR_INIT;
	struct run r;
	struct buf usage;
	size_t i;
	int ret;

	memset(&r, 0, sizeof(r));
	r.d = d;
	r.argv0 = argc > 0 ? argv[0] : d->name;
	r.lock.raw = 2;
	r.trailer = true;
	r.commit_fd = r.length = r.jobs = r.memory = UINT64_MAX;
	r.limit_read = r.limit_write = r.limit_network = UINT64_MAX;
	buf_init(&usage, 4096);
	ret = usage_text(d, &usage, &e);
	front_init(&r.front, d->name, usage.p, NULL);
	if (ret == 0)
		ret = start(&r, argc, argv, &v, &e);
	if (ret == 0 && (ret = prepare(&r, v, &e)) == 0 &&
	    (ret = measure(&r, v, &meter, &e)) == 0)
		ret = v->run(&r, &e);
	front_meter_stop(&meter);
	if (d->done != NULL)
		d->done(&r.call);
	for (i = 0; i < r.call.npaths; i++)
		free(r.paths[i]);
	free(r.paths);
	conf_free(r.conf);
	opt_list_free(&r.args);
	ret = front_end(&r.front, ret == -1 ? &e : NULL);
	buf_fini(&usage);
	return ret;
}
