#include "base/opt.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"

enum { MAX_OPTS = 96, COLUMN = 28, WIDTH = 79 };

int
opt_list_add(struct opt_list *l, const char *s)
{
	const char **v;

	/* Room for the next power of two; NULL-terminated for execv. */
	if ((l->n & (l->n + 1)) == 0) {
		v = realloc(l->v, (2 * l->n + 2) * sizeof(*v));
		if (v == NULL)
			return -1;
		l->v = v;
	}
	l->v[l->n++] = s;
	l->v[l->n] = NULL;
	return 0;
}

void
opt_list_free(struct opt_list *l)
{
	free(l->v);
	l->v = NULL;
	l->n = 0;
}

static bool
takes_arg(const struct opt *o)
{
	return o->kind != OPT_FLAG && o->kind != OPT_COUNT;
}

static int
store(const struct opt *o, const char *arg, bool on, bool *seen,
    struct err *e)
{
	uint64_t *n = o->to;
	int bad = 0;

	switch (o->kind) {
	case OPT_FLAG:
		*(bool *)o->to = on;
		return 0;
	case OPT_COUNT:
		*(int *)o->to = on ? *(int *)o->to + 1 : 0;
		return 0;
	case OPT_LIST:
		if (opt_list_add(o->to, arg) == -1)
			return err_oom(e);
		return 0;
	case OPT_CALL:
		if (o->fn(o->to, arg, e) == -1)
			return err_ctx(e, "--%s", o->name);
		return 0;
	default:
		break;
	}
	if (*seen)
		return err_set(e, CALA_USAGE, "--%s: given twice", o->name);
	*seen = true;
	switch (o->kind) {
	case OPT_STR:
		*(const char **)o->to = arg;
		break;
	case OPT_MAYBE:
		*(const char **)o->to = arg != NULL ? arg : "";
		break;
	case OPT_U64:
		bad = str_u64(arg, 0, UINT64_MAX, n);
		break;
	case OPT_SIZE:
		bad = str_size(arg, n);
		break;
	case OPT_RATE:
		bad = str_rate(arg, n);
		break;
	case OPT_DURATION:
		bad = str_duration(arg, n);
		break;
	default:
		break;
	}
	if (bad == -1)
		return err_set(e, CALA_USAGE, "--%s: not a valid %s: '%s'",
		    o->name, o->arg, str_q(arg));
	return 0;
}

/* The row of --name (n characters), or NULL; *on is false for --no-name. */
static const struct opt *
by_name(const struct opt *t, const char *name, size_t n, bool *on)
{
	const struct opt *o;

	for (o = t; o->kind != OPT_END; o++)
		if (strlen(o->name) == n && memcmp(o->name, name, n) == 0) {
			*on = true;
			return o;
		}
	if (n <= 3 || memcmp(name, "no-", 3) != 0)
		return NULL;
	for (o = t; o->kind != OPT_END; o++)
		if (o->kind == OPT_FLAG && strlen(o->name) == n - 3 &&
		    memcmp(o->name, name + 3, n - 3) == 0) {
			*on = false;
			return o;
		}
	return NULL;
}

static int
long_opt(const struct opt *t, char **argv, int argc, int *i, bool *seen,
    struct err *e)
{
	const char *name = argv[*i] + 2, *eq = strchr(name, '='), *arg = NULL;
	size_t n = eq != NULL ? (size_t)(eq - name) : strlen(name);
	const struct opt *o;
	char shown[64];
	bool on;

	if ((o = by_name(t, name, n, &on)) == NULL) {
		/* Cut first, then escape: not within an escape. */
		snprintf(shown, sizeof(shown), "%.*s", (int)n, name);
		return err_set(e, CALA_USAGE, "unknown option --%s",
		    str_q(shown));
	}
	if (!takes_arg(o)) {
		if (eq != NULL)
			return err_set(e, CALA_USAGE,
			    "--%s takes no value", o->name);
	} else if (eq != NULL) {
		arg = eq + 1;
	} else if (o->kind == OPT_MAYBE) {
		arg = NULL;
	} else if (*i + 1 < argc) {
		arg = argv[++*i];
	} else {
		return err_set(e, CALA_USAGE, "--%s needs %s", o->name,
		    o->arg);
	}
	return store(o, arg, on, &seen[o - t], e);
}

static int
letters(const struct opt *t, char **argv, int argc, int *i, bool *seen,
    struct err *e)
{
	const struct opt *o;
	const char *p, *arg;

	for (p = argv[*i] + 1; *p != '\0'; p++) {
		for (o = t; o->kind != OPT_END && o->letter != *p; o++)
			;
		if (o->kind == OPT_END)
			return err_set(e, CALA_USAGE, "unknown option -%s",
			    str_q((char [2]){ *p, '\0' }));
		if (!takes_arg(o) || o->kind == OPT_MAYBE) {
			if (store(o, NULL, true, &seen[o - t], e) == -1)
				return -1;
			continue;
		}
		if (p[1] != '\0')
			arg = p + 1;
		else if (*i + 1 < argc)
			arg = argv[++*i];
		else
			return err_set(e, CALA_USAGE, "-%c needs %s",
			    o->letter, o->arg);
		return store(o, arg, true, &seen[o - t], e);
	}
	return 0;
}

int
opt_parse(const struct opt *t, int argc, char **argv,
    struct opt_list *operands, struct opt_list *rest, struct err *e)
{
	bool seen[MAX_OPTS] = { false };
	int i;

	if (rest != NULL)
		memset(rest, 0, sizeof(*rest));
	memset(operands, 0, sizeof(*operands));
	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0) {
			if (rest != NULL) {
				rest->v = (const char **)argv + i + 1;
				rest->n = (size_t)(argc - i - 1);
				break;
			}
			while (++i < argc)
				if (opt_list_add(operands, argv[i]) == -1) {
					err_oom(e);
					goto fail;
				}
			break;
		}
		if (argv[i][0] == '-' && argv[i][1] == '-') {
			if (long_opt(t, argv, argc, &i, seen, e) == -1)
				goto fail;
		} else if (argv[i][0] == '-' && argv[i][1] != '\0') {
			if (letters(t, argv, argc, &i, seen, e) == -1)
				goto fail;
		} else if (opt_list_add(operands, argv[i]) == -1) {
			err_oom(e);
			goto fail;
		}
	}
	return 0;
fail:
	opt_list_free(operands);
	return -1;
}

static void
wrapped(const char *s, int col, FILE *out)
{
	const char *p, *end;

	for (;;) {
		while (*s == ' ')
			s++;
		if (strlen(s) <= (size_t)(WIDTH - col)) {
			fprintf(out, "%s\n", s);
			return;
		}
		end = s + (WIDTH - col);
		for (p = end; p > s && *p != ' '; p--)
			;
		if (p == s)
			p = end;
		fprintf(out, "%.*s\n%*s", (int)(p - s), s, col, "");
		s = p;
	}
}

void
opt_help(const struct opt *t, FILE *out)
{
	const struct opt *o;
	int n;

	for (o = t; o->kind != OPT_END; o++) {
		if (o->help == NULL)
			continue;
		if (o->letter != 0)
			n = fprintf(out, "  -%c, --%s", o->letter, o->name);
		else
			n = fprintf(out, "      --%s", o->name);
		if (o->kind == OPT_MAYBE)
			n += fprintf(out, "[=%s]", o->arg);
		else if (takes_arg(o))
			n += fprintf(out, " %s", o->arg);
		if (n >= COLUMN)
			n = fprintf(out, "\n") * 0;
		fprintf(out, "%*s", COLUMN - n, "");
		wrapped(o->help, COLUMN, out);
	}
}

void
opt_names(const struct opt *t, FILE *out)
{
	const struct opt *o;

	for (o = t; o->kind != OPT_END; o++) {
		if (o->help == NULL)
			continue;
		fprintf(out, "--%s%s\n", o->name, takes_arg(o) &&
		    o->kind != OPT_MAYBE ? "=" : "");
		if (o->letter != 0)
			fprintf(out, "-%c\n", o->letter);
	}
}
