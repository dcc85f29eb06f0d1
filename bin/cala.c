/*
 * cala: the dispatcher.  A few verbs of its own start the other tools and join
 * them with pipes; any other `cala X` becomes cala-X, with nothing added.
 */

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "front/conf.h"
#include "job/job.h"

/* Which options a verb takes. */
enum {
	O_CONF = 1 << 0,        /* -c */
	O_JSON = 1 << 1,
	O_DRY = 1 << 2,
	O_WAIT = 1 << 3,        /* --lock-wait, --progress: what transfers */
	O_BACKUP = 1 << 4,
	O_RESTORE = 1 << 5,
	O_LIST = 1 << 6,
	O_LS = 1 << 7,
	O_CAT = 1 << 8,
	O_VERIFY = 1 << 9,
	O_STATUS = 1 << 10,
	O_GET = 1 << 11,
	O_WAITS = 1 << 12,      /* --lock-wait alone */
	O_LIMITS = 1 << 13,
	O_PRUNE = 1 << 14,
	O_COPY = 1 << 15,
	O_ALL = INT_MAX
};

enum { OPTIONS = 80 };          /* rows at most, the last one included */

struct call {
	struct front front;
	struct job_env env;
	struct conf *conf;
	struct job_backup backup;
	struct job_restore restore;
	struct job_prune prune;
	const char *read_data;
	uint64_t max_age, offset, length;
	bool recursive, raw;
	const char *const *v;   /* operands */
	size_t n;
	int status;             /* when all was said already */
};

struct verb {
	const char *name, *usage, *summary;
	int options;
	size_t min, max;        /* operands */
	int (*run)(struct call *, struct err *);
};

/* -1 when we were told to stop; else remember how bad it was. */
static int
each(struct call *c, int r, struct err *e)
{
	if (r != -1) {
		c->status = job_worse(c->status, r);
		return 0;
	}
	if (e->code > CALA_SIGNAL)
		return -1;
	log_error(&c->front.log, e);
	c->status = job_worse(c->status, e->code);
	err_clear(e);
	return 0;
}

static int
do_backup(struct call *c, struct err *e)
{
	size_t i;

	for (i = 0; i < c->n; i++)
		if (each(c, job_backup(&c->env, c->v[i], &c->backup, e),
		    e) == -1)
			return -1;
	return 0;
}

static int
do_restore(struct call *c, struct err *e)
{
	int r;

	if (c->restore.discard_old) {
		if (c->n != 1)
			return err_set(e, CALA_USAGE,
			    "--discard-old takes one SERVER");
	} else if (c->n < 2) {
		return err_set(e, CALA_USAGE, "SERVER and BACKUP are expected");
	} else {
		c->restore.paths = c->v + 2;
		c->restore.npaths = c->n - 2;
	}
	r = job_restore(&c->env, c->v[0], c->n > 1 ? c->v[1] : NULL,
	    &c->restore, e);
	if (r > 0)
		c->status = r;
	return r == -1 ? -1 : 0;
}

static int
do_list(struct call *c, struct err *e)
{
	return job_list(&c->env, c->v, c->n, e);
}

/* The driver has said what went wrong; its status is ours. */
static int
driver_status(struct call *c, int r, struct err *e)
{
	if (r == -1)
		return -1;
	if (r == CALA_SIGNAL + SIGPIPE)
		return err_set(e, r, "standard output is closed");
	if (r > CALA_SIGNAL)
		return err_set(e, CALA_FAIL, "the driver was killed by "
		    "signal %d", r - CALA_SIGNAL);
	c->status = r;
	return 0;
}

/* From the third operand on they are paths. */
static int
read_backup(struct call *c, const char *verb, const char *const *options,
    struct err *e)
{
	return driver_status(c, job_read(&c->env, c->v[0], c->v[1], verb,
	    options, c->v + 2, c->n - 2, e), e);
}

static int
do_ls(struct call *c, struct err *e)
{
	const char *v[3] = { NULL, NULL, NULL };
	size_t n = 0;

	if (c->recursive)
		v[n++] = "-R";
	if (c->env.json)
		v[n++] = "--json";
	return read_backup(c, "ls", v, e);
}

static int
do_cat(struct call *c, struct err *e)
{
	const char *v[3] = { NULL, NULL, NULL };
	char offset[48], length[48];
	size_t n = 0;

	if (c->offset != 0) {
		snprintf(offset, sizeof(offset), "--offset=%ju",
		    (uintmax_t)c->offset);
		v[n++] = offset;
	}
	if (c->length != UINT64_MAX) {
		snprintf(length, sizeof(length), "--length=%ju",
		    (uintmax_t)c->length);
		v[n++] = length;
	}
	return read_backup(c, "cat", v, e);
}

static int
do_get(struct call *c, struct err *e)
{
	const char *v[2] = { c->raw ? "--raw" : NULL, NULL };

	if (c->env.tty)
		return err_set(e, CALA_USAGE, "an archive is not written to a "
		    "terminal");
	return read_backup(c, "get", v, e);
}

static int
do_verify(struct call *c, struct err *e)
{
	const char *v[2] = { NULL, NULL };
	char data[64];

	if (c->read_data != NULL) {
		if (strlen(c->read_data) > 8)
			return err_set(e, CALA_USAGE, "--read-data: not a "
			    "percentage: %s", str_q(c->read_data));
		snprintf(data, sizeof(data), "--read-data%s%s",
		    *c->read_data != '\0' ? "=" : "", c->read_data);
		v[0] = data;
	}
	return read_backup(c, "verify", v, e);
}

static int
do_delete(struct call *c, struct err *e)
{
	size_t i;

	for (i = 1; i < c->n; i++)
		if (each(c, job_delete(&c->env, c->v[0], c->v[i], e), e) == -1)
			return -1;
	return 0;
}

static int
set_all(struct call *c, const char *what, struct err *e)
{
	size_t i;

	for (i = 1; i < c->n; i++)
		if (each(c, job_set(&c->env, c->v[0], c->v[i], what, NULL, e),
		    e) == -1)
			return -1;
	return 0;
}

static int
do_lock(struct call *c, struct err *e)
{
	return set_all(c, "--lock", e);
}

static int
do_unlock(struct call *c, struct err *e)
{
	return set_all(c, "--no-lock", e);
}

static int
do_rename(struct call *c, struct err *e)
{
	return job_set(&c->env, c->v[0], c->v[1], "--name", c->v[2], e);
}

static int
do_move(struct call *c, struct err *e)
{
	return job_set(&c->env, c->v[0], c->v[1], "--group", c->v[2], e);
}

static int
do_check(struct call *c, struct err *e)
{
	int r = job_check(&c->env, c->v, c->n, e);

	if (r > 0)
		c->status = r;
	return r == -1 ? -1 : 0;
}

static int
do_status(struct call *c, struct err *e)
{
	return job_status(&c->env, c->v[0], c->max_age, e);
}

static int
do_prune(struct call *c, struct err *e)
{
	size_t i;

	c->prune.group = c->backup.group;
	for (i = 0; i < c->n; i++)
		if (each(c, job_prune(&c->env, c->v[i], &c->prune, e),
		    e) == -1)
			return -1;
	return 0;
}

static int
do_copy(struct call *c, struct err *e)
{
	size_t i;

	for (i = 1; i < c->n; i++)
		if (each(c, job_copy(&c->env, c->v[0], c->v[i],
		    c->restore.to, e), e) == -1)
			return -1;
	return 0;
}

static int
do_break_lock(struct call *c, struct err *e)
{
	return job_break_lock(&c->env, c->v[0], e);
}

static const struct verb verbs[] = {
	{ "backup", "SERVER...", "back up servers to their storage",
	    O_CONF | O_JSON | O_DRY | O_WAIT | O_WAITS | O_BACKUP |
	    O_LIMITS, 1,
	    SIZE_MAX, do_backup },
	{ "restore", "SERVER BACKUP [PATH...] | --discard-old SERVER",
	    "put a backup, or parts of it, back",
	    O_CONF | O_DRY | O_WAIT | O_WAITS | O_RESTORE | O_LIMITS, 1,
	    SIZE_MAX,
	    do_restore },
	{ "list", "[SERVER...]", "the backups there are",
	    O_CONF | O_JSON | O_LIST, 0, SIZE_MAX, do_list },
	{ "ls", "SERVER BACKUP [PATH]", "what is in a directory of a backup",
	    O_CONF | O_JSON | O_LS, 2, 3, do_ls },
	{ "cat", "SERVER BACKUP PATH", "one file of a backup",
	    O_CONF | O_CAT, 3, 3, do_cat },
	{ "get", "SERVER BACKUP [PATH...]", "a backup, or parts of it, as tar",
	    O_CONF | O_GET, 2, SIZE_MAX, do_get },
	{ "delete", "SERVER BACKUP...", "delete backups",
	    O_CONF | O_DRY, 2, SIZE_MAX, do_delete },
	{ "lock", "SERVER BACKUP...", "protect backups from deletion",
	    O_CONF | O_JSON | O_DRY, 2, SIZE_MAX, do_lock },
	{ "unlock", "SERVER BACKUP...", "let backups be deleted again",
	    O_CONF | O_JSON | O_DRY, 2, SIZE_MAX, do_unlock },
	{ "rename", "SERVER BACKUP NAME", "give a backup another name",
	    O_CONF | O_JSON | O_DRY, 3, 3, do_rename },
	{ "move", "SERVER BACKUP GROUP", "put a backup into another group",
	    O_CONF | O_JSON | O_DRY, 3, 3, do_move },
	{ "verify", "SERVER BACKUP", "prove that a backup can be restored",
	    O_CONF | O_WAIT | O_VERIFY | O_LIMITS, 2, 2, do_verify },
	{ "copy", "--to CONFIGURATION SERVER BACKUP...",
	    "store a backup in another configuration, too",
	    O_CONF | O_JSON | O_DRY | O_WAIT | O_WAITS | O_COPY | O_LIMITS, 2,
	    SIZE_MAX, do_copy },
	{ "prune", "SERVER...", "delete what no rule keeps",
	    O_CONF | O_JSON | O_DRY | O_WAITS | O_PRUNE, 1, SIZE_MAX,
	    do_prune },
	{ "check", "[CONFIGURATION...]", "try whether storage works",
	    O_CONF, 0, SIZE_MAX, do_check },
	{ "status", "SERVER", "is there a whole backup, and a young one?",
	    O_CONF | O_JSON | O_STATUS, 1, 1, do_status },
	{ "break-lock", "SERVER", "clean up after a run that was killed",
	    O_WAITS, 1, 1, do_break_lock },
	{ NULL, NULL, NULL, 0, 0, 0, NULL }
};

/* The other tools, said by `cala` alone where they are installed. */
static const struct {
	const char *name, *summary;
} tools[] = {
	{ "browse", "look into backups: ls tree cat get find diff" },
	{ "config", "show and edit configurations" },
	{ "resolve", "which configuration a server gets, and why" },
	{ "secret", "keys and encrypted values" },
	{ "pack", "directory to archive stream" },
	{ "unpack", "archive stream to directory" },
	{ "s3put", "bytes to one object" },
	{ "s3get", "one object to bytes" },
};

static const struct verb *
verb_of(const char *name)
{
	const struct verb *v;

	for (v = verbs; v->name != NULL; v++)
		if (strcmp(v->name, name) == 0)
			return v;
	return NULL;
}

/* The directory of this executable, or "". */
static void
own_dir(char out[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
	char *slash;

	out[n > 0 ? n : 0] = '\0';
	if ((slash = strrchr(out, '/')) != NULL)
		*slash = '\0';
}

static int
commands(FILE *to)
{
	char path[4096], name[64];
	const struct verb *v;
	size_t i;

	fputs("usage: cala COMMAND [options] [operands]\n"
	    "       cala help [COMMAND]\n\ncommands:\n", to);
	for (v = verbs; v->name != NULL; v++)
		fprintf(to, "  %-12s %s\n", v->name, v->summary);
	fputs("\ntools (cala X is cala-X):\n", to);
	for (i = 0; i < sizeof(tools) / sizeof(*tools); i++) {
		snprintf(name, sizeof(name), "cala-%s", tools[i].name);
		if (front_find(name, path) == 0)
			fprintf(to, "  %-12s %s\n", tools[i].name,
			    tools[i].summary);
	}
	return fflush(to) == EOF ? CALA_FAIL : 0;
}

static int
no_command(const char *name)
{
	fprintf(stderr, "cala: error: no command '%s'\n"
	    "cala: hint: 'cala' alone lists the commands\n", str_q(name));
	return CALA_USAGE;
}

/*
 * Become cala-NAME.  Returns only when that can't be: 126 or, when there is
 * none, 2.
 */
static int
become(const char *name, char **argv)
{
	char tool[NAME_MAX + 1], path[4096];

	if (strchr(name, '/') == NULL && strlen(name) < NAME_MAX - 8) {
		snprintf(tool, sizeof(tool), "cala-%s", name);
		if (front_find(tool, path) == 0) {
			argv[0] = tool;
			execv(path, argv);
			fprintf(stderr, "cala: error: %s: %s\n", path,
			    strerror(errno));
			return CALA_NOEXEC;
		}
	}
	return no_command(name);
}

/* The page's file; man finds that of a build that isn't installed no other way. */
static bool
find_page(const char *page, char path[PATH_MAX + 300])
{
	static const struct { const char *dir; int section; } at[] = {
		{ "../share/man/man1", 1 }, { "../man", 1 },
		{ "../share/man/man7", 7 }, { "../man", 7 },
		{ "../share/man/man5", 5 }, { "../man", 5 },
	};
	char dir[PATH_MAX];
	size_t i;

	own_dir(dir);
	for (i = 0; i < sizeof(at) / sizeof(*at); i++) {
		snprintf(path, PATH_MAX + 300, "%s/%s/%s.%d", dir, at[i].dir,
		    page, at[i].section);
		if (file_may(path, R_OK))
			return true;
	}
	return false;
}

static int
help(const char *what)
{
	char page[NAME_MAX + 1], path[PATH_MAX + 300], tool[4096];
	const char *arg = page;

	if (what == NULL)
		return commands(stdout);
	if (strchr(what, '/') != NULL || strlen(what) > 100)
		return no_command(what);
	if (str_begins(what, "cala"))
		snprintf(page, sizeof(page), "%s", what);
	else if (verb_of(what) != NULL)
		snprintf(page, sizeof(page), "cala");
	else
		snprintf(page, sizeof(page), "cala-%s", what);
	if (find_page(page, path))
		arg = path;
	else if (strcmp(page, "cala") != 0 && front_find(page, tool) == -1)
		/* man's status for that has another meaning here. */
		return no_command(what);
	/* "--": a name beginning with a hyphen is no option of man's. */
	execlp("man", "man", "--", arg, (char *)NULL);
	if (errno == ENOENT)
		fprintf(stderr, "cala: error: man is not installed\n"
		    "cala: hint: try '%s --help'\n", page);
	else
		fprintf(stderr, "cala: error: man: %s\n", strerror(errno));
	return errno == ENOENT ? CALA_NOCMD : CALA_NOEXEC;
}

/* The rows of all that mask asks for, into out. */
static void
rows(struct call *c, int mask, struct opt *out)
{
	const struct {
		int mask;
		struct opt opt;
	} all[] = {
		{ O_CONF, { OPT_STR, 'c', "configuration", "NAME",
		    "this configuration, not the server's own",
		    &c->env.configuration, NULL } },
		{ O_BACKUP, { OPT_LIST, 'e', "exclude", "PATTERN",
		    "backup: leave out (gitignore pattern)",
		    &c->backup.exclude, NULL } },
		{ O_BACKUP, { OPT_STR, 0, "name", "NAME",
		    "backup: what people call it; default: the local time",
		    &c->backup.name, NULL } },
		{ O_BACKUP | O_PRUNE, { OPT_STR, 0, "group", "GROUP",
		    "backup: its group, default: the server's; prune: only "
		    "this one",
		    &c->backup.group, NULL } },
		{ O_BACKUP, { OPT_FLAG, 0, "lock", NULL,
		    "backup: protect it from deletion", &c->backup.lock,
		    NULL } },
		{ O_BACKUP, { OPT_FLAG, 0, "allow-empty", NULL,
		    "backup: even a directory with nothing in it",
		    &c->backup.allow_empty, NULL } },
		{ O_RESTORE | O_COPY, { OPT_STR, 0, "to", "WHERE",
		    "restore: into a new directory; copy: the configuration",
		    &c->restore.to, NULL } },
		{ O_RESTORE, { OPT_FLAG, 0, "truncate", NULL,
		    "restore: replace the whole directory; the old one stays "
		    "until --discard-old", &c->restore.truncate, NULL } },
		{ O_RESTORE, { OPT_FLAG, 0, "keep-directory", NULL,
		    "restore: with --truncate: swap what the directory holds, "
		    "never the directory itself", &c->restore.keep_directory,
		    NULL } },
		{ O_RESTORE, { OPT_FLAG, 0, "overwrite", NULL,
		    "restore: --to a DIR that is not empty",
		    &c->restore.overwrite, NULL } },
		{ O_RESTORE, { OPT_FLAG, 0, "space-check", NULL,
		    "restore: --to and --truncate only where the whole size "
		    "is free (default)", &c->restore.space, NULL } },
		{ O_RESTORE, { OPT_FLAG, 0, "discard-old", NULL,
		    "restore: remove what --truncate, or --overwrite of --to, "
		    "has replaced",
		    &c->restore.discard_old, NULL } },
		{ O_LS, { OPT_FLAG, 'R', "recursive", NULL,
		    "ls: all that is below, too", &c->recursive, NULL } },
		{ O_CAT, { OPT_SIZE, 0, "offset", "BYTES",
		    "cat: start there", &c->offset, NULL } },
		{ O_CAT, { OPT_SIZE, 0, "length", "BYTES",
		    "cat: at most so many", &c->length, NULL } },
		{ O_GET, { OPT_FLAG, 0, "raw", NULL,
		    "get: the archive as it is stored", &c->raw, NULL } },
		{ O_VERIFY, { OPT_MAYBE, 0, "read-data", "PCT",
		    "verify: read the data, too, or PCT percent of it",
		    &c->read_data, NULL } },
		{ O_STATUS, { OPT_DURATION, 0, "max-age", "DURATION",
		    "status: exit 10 when the last whole backup is older",
		    &c->max_age, NULL } },
		{ O_LIST, { OPT_FLAG, 0, "header", NULL,
		    "list: column titles when piped, too", &c->env.header,
		    NULL } },
		{ O_DRY, { OPT_FLAG, 'n', "dry-run", NULL,
		    "say what would be done", &c->env.dry_run, NULL } },
		{ O_JSON, { OPT_FLAG, 0, "json", NULL, "machine output",
		    &c->env.json, NULL } },
		{ O_WAITS, { OPT_DURATION, 0, "lock-wait", "DURATION",
		    "wait for the server's lock; default: 0",
		    &c->env.lock_wait, NULL } },
		{ O_WAIT, { OPT_FLAG, 0, "progress", NULL,
		    "plain progress lines every 10 seconds",
		    &c->front.progress, NULL } },
#define KEEP(name, help)						\
		{ O_PRUNE, { OPT_U64, 0, "keep-" #name, "N",		\
		    "prune: keep " help, &c->prune.keep.name, NULL } }
		KEEP(last, "the newest N"),
		KEEP(count, "the newest N, as Calagopus calls it"),
		KEEP(hourly, "the newest of each of N hours"),
		KEEP(daily, "the newest of each of N days"),
		KEEP(weekly, "the newest of each of N weeks"),
		KEEP(monthly, "the newest of each of N months"),
		KEEP(yearly, "the newest of each of N years"),
		KEEP(days, "all of the last N days"),
#undef KEEP
		{ O_PRUNE, { OPT_DURATION, 0, "keep-within", "DURATION",
		    "prune: keep all that is younger",
		    &c->prune.keep.within, NULL } },
		{ O_LIMITS, { OPT_U64, 'j', "jobs", "N",
		    "worker threads; 0: one a core", &c->env.jobs, NULL } },
		{ O_LIMITS, { OPT_SIZE, 0, "memory", "BYTES", "stay below",
		    &c->env.memory, NULL } },
		{ O_LIMITS, { OPT_RATE, 0, "limit-read", "RATE",
		    "bytes per second read from disks", &c->env.limit_read,
		    NULL } },
		{ O_LIMITS, { OPT_RATE, 0, "limit-write", "RATE",
		    "bytes per second written to disks", &c->env.limit_write,
		    NULL } },
		{ O_LIMITS, { OPT_RATE, 0, "limit-network", "RATE",
		    "bytes per second over the network; 0, of each: unlimited",
		    &c->env.limit_network, NULL } },
		{ O_ALL, FRONT_CONFIG(c->front) },
	};
	const struct opt common[] = { FRONT_OPTS(c->front), FRONT_END };
	size_t i;

	for (i = 0; i < sizeof(all) / sizeof(*all); i++)
		if ((all[i].mask & mask) != 0)
			*out++ = all[i].opt;
	memcpy(out, common, sizeof(common));
}

/*
 * `cala -q backup x`: the verb is the first operand.  It goes in front, so that
 * its own options are the ones that count.
 */
static const struct verb *
find_verb(struct call *c, int *argc, char **argv, struct err *e)
{
	struct opt table[OPTIONS];
	struct opt_list args;
	const struct verb *v;
	int i;

	if (*argc > 1 && (v = verb_of(argv[1])) != NULL) {
		memmove(argv + 1, argv + 2,
		    (size_t)(*argc - 1) * sizeof(*argv));
		--*argc;
		return v;
	}
	rows(c, O_ALL, table);
	if (opt_parse(table, *argc, argv, &args, NULL, e) == -1) {
		err_hint(e, "try 'cala --help'");
		return NULL;
	}
	v = args.n > 0 ? verb_of(args.v[0]) : NULL;
	for (i = 1; v != NULL && i < *argc; i++)
		if (argv[i] == args.v[0]) {
			memmove(argv + i, argv + i + 1,
			    (size_t)(*argc - i) * sizeof(*argv));
			--*argc;
			break;
		}
	if (v == NULL && args.n > 0)
		err_set(e, CALA_USAGE, "no command '%s' after options",
		    str_q(args.v[0]));
	opt_list_free(&args);
	return v;
}

/* Forget what the first look at the options set. */
static void
fresh(struct call *c)
{
	struct front f = c->front;
	size_t i;

	opt_list_free(&c->backup.exclude);
	memset(c, 0, sizeof(*c));
	c->front = f;
	c->front.verbose = 0;
	c->front.quiet = c->front.debug = c->front.help = false;
	c->front.version = c->front.progress = c->front.names = false;
	c->front.config_file = NULL;
	c->max_age = c->length = UINT64_MAX;
	c->env.jobs = c->env.memory = UINT64_MAX;
	c->env.limit_read = c->env.limit_write = UINT64_MAX;
	c->env.limit_network = UINT64_MAX;
	for (i = 0; retain_key(i) != NULL; i++)
		*retain_at(&c->prune.keep, i) = UINT64_MAX;
	c->restore.space = true;
}

static int
perform(struct call *c, const struct verb *v, struct err *e)
{
	char dir[PATH_MAX], libexec[PATH_MAX + 32], runtime[PATH_MAX];
	struct job_env *env = &c->env;

	if (c->n < v->min || c->n > v->max) {
		err_set(e, CALA_USAGE, "%s: expected: %s", v->name, v->usage);
		return err_hint(e, "try 'cala %s --help'", v->name);
	}
	if (front_conf(&c->front, &c->conf, e) == -1)
		return -1;
	own_dir(dir);
	snprintf(libexec, sizeof(libexec), "%s/../libexec/cala", dir);
	env->conf = c->conf;
	env->log = &c->front.log;
	env->out = stdout;
	env->tty = isatty(STDOUT_FILENO) == 1;
	env->err_tty = isatty(STDERR_FILENO) == 1;
	env->bindir = dir;
	env->libexec = libexec;
	env->runtime = front_runtime(runtime, sizeof(runtime)) == 0 ?
	    runtime : NULL;
	env->config_file = c->front.config_file;
	env->verbose = c->front.verbose;
	env->quiet = c->front.quiet;
	env->debug = c->front.debug;
	env->progress = c->front.progress;
	env->progress_off = c->front.progress_off;
	return v->run(c, e);
}

int
main(int argc, char **argv)
{
	static struct call c;
	struct opt table[OPTIONS];
	struct opt_list args = { NULL, 0 };
	struct err e = ERR_INIT;
	const struct verb *v;
	char usage[256];
	int r;

	if (argc < 2)
		return commands(stdout);
	/* Before anything of this process is changed: another program's run. */
	if (argv[1][0] != '-' && strcmp(argv[1], "help") != 0 &&
	    verb_of(argv[1]) == NULL)
		return become(argv[1], argv + 1);
	if (strcmp(argv[1], "help") == 0)
		return help(argc > 2 ? argv[2] : NULL);

	front_init(&c.front, "cala", "cala COMMAND [options] [operands]", NULL);
	front_keys();
	signal(SIGCHLD, SIG_DFL);       /* an inherited "ignored" loses them */
	v = find_verb(&c, &argc, argv, &e);
	if (v == NULL && e.code != 0)
		return front_end(&c.front, &e);
	if (v == NULL && c.front.help)
		return commands(stdout);
	fresh(&c);
	rows(&c, v != NULL ? v->options : O_ALL, table);
	if (v != NULL) {
		snprintf(usage, sizeof(usage), "cala %s [options] %s", v->name,
		    v->usage);
		c.front.usage = usage;
	}
	r = front_parse(&c.front, table, argc, argv, &args, NULL, &e);
	if (r == -1 && v != NULL)
		err_hint(&e, "try 'cala %s --help'", v->name);
	if (r != 0)
		return front_end(&c.front, r == -1 ? &e : NULL);
	if (v == NULL) {
		err_set(&e, CALA_USAGE, "a command is expected");
		err_hint(&e, "'cala' alone lists the commands");
		return front_end(&c.front, &e);
	}
	c.v = args.v;
	c.n = args.n;
	r = perform(&c, v, &e);
	conf_free(c.conf);
	opt_list_free(&args);
	opt_list_free(&c.backup.exclude);
	if (r == -1)
		return front_end(&c.front, &e);
	r = front_end(&c.front, NULL);
	return job_worse(c.status, r);
}
