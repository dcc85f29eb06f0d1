/* cala-resolve: which configuration a server gets, and why. */

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "front/conf.h"

struct field {
	const char *name, *shell;
	const char *value;              /* NULL: unknown */
};

enum { FIELDS = 10 };

static void
put_shell(struct buf *b, const char *s)
{
	buf_chr(b, '\'');
	for (; *s != '\0'; s++)
		if (*s == '\'')
			buf_str(b, "'\\''");
		else
			buf_chr(b, *s);
	buf_chr(b, '\'');
}

static void
put_fields(const struct field *f, bool json, bool shell, struct buf *b)
{
	struct jw j;
	int i;

	jw_begin(&j, b);
	if (json) {
		jw_open(&j, NULL, '{');
		jw_u64(&j, "v", 1);
	}
	for (i = 0; i < FIELDS; i++) {
		const char *v = f[i].value;

		if (json && v == NULL) {
			jw_null(&j, f[i].name);
		} else if (json) {
			jw_bytes(&j, f[i].name, v, strlen(v));
		} else if (shell) {
			buf_printf(b, "%s=", f[i].shell);
			put_shell(b, v != NULL ? v : "");
			buf_chr(b, '\n');
		} else {
			buf_printf(b, "%s=%s\n", f[i].name,
			    v != NULL ? v : "");
		}
	}
	if (json) {
		jw_close(&j, '}');
		buf_chr(b, '\n');
	}
}

static int
resolve(const struct conf *c, const char *query, bool json, bool shell,
    struct log *log, struct err *e)
{
	struct conf_server s;
	struct conf_resolved r;
	char driver[KEY_DRIVER] = "";
	struct buf b;
	int ret = -1;

	if (conf_server(c, query, &s, e) == -1)
		return -1;
	buf_init(&b, 1 << 20);
	if (conf_resolve(c, &s, log, &r, e) == -1)
		goto out;
	if (key_driver(conf_disk(r.configuration), driver) == -1) {
		err_set(e, CALA_USAGE, "disk '%s' has no driver",
		    conf_disk(r.configuration));
		goto out;
	}
	put_fields((const struct field [FIELDS]){
		{ "server", "CALA_SERVER", s.uuid },
		{ "name", "CALA_NAME", s.name },
		{ "path", "CALA_PATH", s.path },
		{ "node", "CALA_NODE", s.node },
		{ "location", "CALA_LOCATION", s.location },
		{ "configuration", "CALA_CONFIGURATION",
		    conf_name(r.configuration) },
		{ "disk", "CALA_DISK", conf_disk(r.configuration) },
		{ "driver", "CALA_DRIVER", driver },
		{ "level", "CALA_LEVEL", r.level },
		{ "level_name", "CALA_LEVEL_NAME", r.level_name },
	}, json, shell, &b);
	ret = buf_failed(&b, e);
	if (ret == 0)
		fwrite(b.p, 1, b.len, stdout);
out:
	buf_fini(&b);
	conf_server_fini(&s);
	return ret;
}

/* A line a server: name, tab, UUID; names hold no control characters. */
static int
list(const struct conf *c, struct err *e)
{
	struct conf_server s;
	size_t i;
	int r;

	for (i = 0; (r = conf_server_nth(c, i, &s, e)) == 0; i++) {
		printf("%s\t%s\n", s.name, s.uuid);
		conf_server_fini(&s);
	}
	return r == 1 ? 0 : -1;
}

int
main(int argc, char **argv)
{
	struct front f;
	struct opt_list args = { NULL, 0 };
	struct err e = ERR_INIT;
	struct conf *c = NULL;
	bool all = false, json = false, shell = false;
	int ret;
	const struct opt table[] = {
		{ OPT_FLAG, 0, "list", NULL,
		    "name and UUID of every server in the configuration", &all,
		    NULL },
		{ OPT_FLAG, 0, "json", NULL, "one JSON object", &json, NULL },
		{ OPT_FLAG, 0, "shell", NULL,
		    "quoted assignments for eval: CALA_SERVER='...'", &shell,
		    NULL },
		FRONT_CONFIG(f),
		FRONT_OPTS(f),
		FRONT_END
	};

	front_init(&f, "cala-resolve",
	    "cala-resolve [-v] [--json | --shell] SERVER\n"
	    "       cala-resolve --list",
	    "example: eval \"$(cala-resolve --shell survival)\" && "
	    "ls \"$CALA_PATH\"");
	front_keys();
	if ((ret = front_parse(&f, table, argc, argv, &args, NULL, &e)) != 0)
		return front_end(&f, ret == -1 ? &e : NULL);
	ret = -1;
	if (json + shell + all > 1) {
		err_set(&e, CALA_USAGE,
		    "--list, --json and --shell exclude each other");
	} else if (args.n != (all ? 0 : 1)) {
		err_set(&e, CALA_USAGE, all ? "--list takes no SERVER" :
		    "one SERVER is expected");
		err_hint(&e, "try 'cala-resolve --help'");
	} else if (front_conf(&f, &c, &e) == 0) {
		ret = all ? list(c, &e) :
		    resolve(c, args.v[0], json, shell, &f.log, &e);
	}
	conf_free(c);
	opt_list_free(&args);
	return front_end(&f, ret == -1 ? &e : NULL);
}
