/* cala-browse: look into any backup. */

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "base/when.h"
#include "front/conf.h"
#include "job/browse.h"
#include "job/job.h"

struct call {
	struct front front;
	struct job_env env;
	struct conf *conf;
	struct browse_find find;
	const char *type, *newer, *older, *dir;
	bool recursive;
	const char *const *v;   /* SERVER BACKUP and what follows */
	size_t n;
	int status;
};

struct verb {
	const char *name;
	size_t min, max;        /* operands behind it */
	int (*run)(struct call *, struct err *);
};

/* What a driver printed for us: it has said what went wrong. */
static int
through(struct call *c, const char *verb, const char *const *options,
    struct err *e)
{
	int r = job_read(&c->env, c->v[0], c->v[1], verb, options, c->v + 2,
	    c->n - 2, e);

	if (r == CALA_SIGNAL + SIGPIPE)
		return err_set(e, r, "standard output is closed");
	if (r > CALA_SIGNAL)
		return err_set(e, CALA_FAIL, "the driver was killed by "
		    "signal %d", r - CALA_SIGNAL);
	return r;
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
	return through(c, "ls", v, e);
}

static int
do_cat(struct call *c, struct err *e)
{
	const char *none = NULL;

	return through(c, "cat", &none, e);
}

static int
do_get(struct call *c, struct err *e)
{
	const char *none = NULL;

	if (c->env.tty)
		return err_set(e, CALA_USAGE, "an archive is not written to a "
		    "terminal");
	return through(c, "get", &none, e);
}

static int
do_tree(struct call *c, struct err *e)
{
	return browse_tree(&c->env, c->v[0], c->v[1],
	    c->n > 2 ? c->v[2] : NULL, e);
}

static int
do_find(struct call *c, struct err *e)
{
	struct browse_find *f = &c->find;
	struct timespec now = when_now();

	if (c->type != NULL && (strlen(c->type) != 1 ||
	    strchr("fdlhpcbs", *c->type) == NULL))
		return err_set(e, CALA_USAGE, "--type: one of f d l h p c b s");
	f->type = c->type != NULL ? *c->type : '\0';
	if ((c->newer != NULL && when_parse(c->newer, now, &f->newer) == -1) ||
	    (c->older != NULL && when_parse(c->older, now, &f->older) == -1))
		return err_set(e, CALA_USAGE, "--newer, --older: a time, or a "
		    "duration back from now");
	f->has_newer = c->newer != NULL;
	f->has_older = c->older != NULL;
	return browse_find(&c->env, c->v[0], c->v[1],
	    c->n > 2 ? c->v[2] : NULL, f, e);
}

static int
do_diff(struct call *c, struct err *e)
{
	const char *tmp = getenv("TMPDIR");

	if (c->n > 2 && c->dir != NULL)
		return err_set(e, CALA_USAGE, "another BACKUP and --dir "
		    "exclude each other");
	return browse_diff(&c->env, c->v[0], c->v[1],
	    c->n > 2 ? c->v[2] : NULL, c->dir,
	    tmp != NULL && *tmp == '/' ? tmp : "/var/tmp", e);
}

static const struct verb verbs[] = {
	{ "ls", 2, 3, do_ls },
	{ "tree", 2, 3, do_tree },
	{ "cat", 3, 3, do_cat },
	{ "get", 2, SIZE_MAX, do_get },
	{ "find", 2, 3, do_find },
	{ "diff", 2, 3, do_diff },
	{ NULL, 0, 0, NULL }
};

static int
perform(struct call *c, const struct opt_list *args, struct err *e)
{
	char dir[PATH_MAX], libexec[PATH_MAX + 32], *slash;
	const struct verb *v;
	ssize_t n;

	for (v = verbs; args->n > 0 && v->name != NULL; v++)
		if (strcmp(v->name, args->v[0]) == 0)
			break;
	if (args->n == 0 || v->name == NULL) {
		err_set(e, CALA_USAGE, "expected: ls, tree, cat, get, find or "
		    "diff");
		return err_hint(e, "try 'cala-browse --help'");
	}
	c->v = args->v + 1;
	c->n = args->n - 1;
	if (c->n < v->min || c->n > v->max) {
		err_set(e, CALA_USAGE, "%s: wrong number of operands",
		    v->name);
		return err_hint(e, "try 'cala-browse --help'");
	}
	if (front_conf(&c->front, &c->conf, e) == -1)
		return -1;
	n = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
	dir[n > 0 ? n : 0] = '\0';
	if ((slash = strrchr(dir, '/')) != NULL)
		*slash = '\0';
	snprintf(libexec, sizeof(libexec), "%s/../libexec/cala", dir);
	c->env.conf = c->conf;
	c->env.log = &c->front.log;
	c->env.out = stdout;
	c->env.tty = isatty(STDOUT_FILENO) == 1;
	c->env.bindir = dir;
	c->env.libexec = libexec;
	c->env.config_file = c->front.config_file;
	c->env.verbose = c->front.verbose;
	c->env.quiet = c->front.quiet;
	c->env.debug = c->front.debug;
	return v->run(c, e);
}

int
main(int argc, char **argv)
{
	static struct call c;
	struct opt_list args = { NULL, 0 };
	struct err e = ERR_INIT;
	int r;
	const struct opt table[] = {
		{ OPT_STR, 'c', "configuration", "NAME",
		    "this configuration, not the server's own",
		    &c.env.configuration, NULL },
		{ OPT_FLAG, 'R', "recursive", NULL,
		    "ls: all that is below, too", &c.recursive, NULL },
		{ OPT_STR, 0, "name", "GLOB",
		    "find: this name; with '/', this path", &c.find.name,
		    NULL },
		{ OPT_STR, 0, "type", "LETTER",
		    "find: f d l h p c b s, as ls shows them", &c.type, NULL },
		{ OPT_SIZE, 0, "larger", "BYTES", "find: files above",
		    &c.find.larger, NULL },
		{ OPT_SIZE, 0, "smaller", "BYTES", "find: files below",
		    &c.find.smaller, NULL },
		{ OPT_STR, 0, "newer", "TIME",
		    "find: changed after (a time, or 36h, 7d back from now)",
		    &c.newer, NULL },
		{ OPT_STR, 0, "older", "TIME", "find: changed before",
		    &c.older, NULL },
		{ OPT_FLAG, '0', "null", NULL,
		    "find: raw paths, each ended by a NUL", &c.find.null,
		    NULL },
		{ OPT_STR, 0, "dir", "DIR",
		    "diff: against DIR, not the server's directory", &c.dir,
		    NULL },
		{ OPT_FLAG, 0, "json", NULL, "JSON lines, one an entry",
		    &c.env.json, NULL },
		FRONT_CONFIG(c.front),
		FRONT_OPTS(c.front),
		FRONT_END
	};

	front_init(&c.front, "cala-browse",
	    "cala-browse ls [-R] SERVER BACKUP [PATH]\n"
	    "       cala-browse tree SERVER BACKUP [PATH]\n"
	    "       cala-browse cat SERVER BACKUP PATH\n"
	    "       cala-browse get SERVER BACKUP [PATH...]\n"
	    "       cala-browse find [conditions] SERVER BACKUP [PATH]\n"
	    "       cala-browse diff SERVER BACKUP [BACKUP2 | --dir DIR]",
	    "example: cala-browse find --larger 1G survival latest world");
	front_keys();
	signal(SIGCHLD, SIG_DFL);
	c.find.larger = c.find.smaller = UINT64_MAX;
	r = front_parse(&c.front, table, argc, argv, &args, NULL, &e);
	if (r != 0)
		return front_end(&c.front, r == -1 ? &e : NULL);
	r = perform(&c, &args, &e);
	conf_free(c.conf);
	opt_list_free(&args);
	if (r == -1)
		return front_end(&c.front, &e);
	return job_worse(r, front_end(&c.front, NULL));
}
