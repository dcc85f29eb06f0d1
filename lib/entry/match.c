#include "entry/match.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "entry/entry.h"

/*
 * A rule matches a path when its pattern matches the path itself or any
 * directory above it: that is what Wings gets by adding to every rule X a
 * companion for all that is below X.  Every question is therefore asked once
 * for each leading part of a path.
 *
 * A pattern is compiled to tokens, and matching follows all ways through them
 * at once, one bit a token: time grows with tokens × bytes and never more,
 * whatever the pattern.  Patterns that are plain names, by far the most, are
 * never run at all but found in a hash table; of the others only those are
 * run that can end in the byte the path ends in.
 */

enum {
	PATTERN_MAX = 4096,             /* bytes of a rule */
	RULES_MAX = 1 << 20,
	WORDS_MAX = (PATTERN_MAX + 4) / 64 + 1
};

enum token_kind {
	T_BYTE,                 /* this byte */
	T_ONE,                  /* ? : any byte but '/' */
	T_CLASS,                /* [...] */
	T_ANY,                  /* any byte at all: the first behind a last "/" */
	T_STAR,                 /* * : no '/', as often as it likes */
	T_DEEP,                 /* ** : all bytes, as often as they like */
	T_FORK                  /* before T_DEEP '/': these two may be left out */
};

struct token {
	unsigned char kind;
	unsigned char byte;
	uint16_t class;         /* number of its set */
};

struct rule {
	char *text;             /* as given */
	bool negated, dir_only;
	bool anchored;          /* tried on whole paths, not on names */
	char *plain;            /* without wildcards: the name or path */
	char *prefix;           /* whole components before the first wildcard */
	struct token *tok;
	uint64_t (*class)[4];   /* sets of bytes */
	size_t ntok, nclass, nprefix;
	int last;               /* byte it must end in, or -1 */
};

/* A hash table of plain rules: for each text the highest rule of a kind. */
struct spot {
	const char *plain;
	size_t len;
	uint64_t hash;
	long any, dir;          /* number of the rule, or -1 */
};

struct table {
	struct spot *v;
	size_t n, room;
};

struct list {
	uint32_t *v;
	size_t n, room;
};

struct match {
	struct rule *rule;
	size_t n, room;
	struct table names, paths;
	struct list by_last[257];       /* rules to run; 256: any last byte */
	struct list negated;
};

struct match *
match_new(struct err *e)
{
	struct match *m = calloc(1, sizeof(*m));

	if (m == NULL)
		err_oom(e);
	return m;
}

static void
rule_fini(struct rule *r)
{
	free(r->text);
	free(r->plain);
	free(r->prefix);
	free(r->tok);
	free(r->class);
}

void
match_free(struct match *m)
{
	size_t i;

	if (m == NULL)
		return;
	for (i = 0; i < m->n; i++)
		rule_fini(&m->rule[i]);
	free(m->rule);
	free(m->names.v);
	free(m->paths.v);
	for (i = 0; i < 257; i++)
		free(m->by_last[i].v);
	free(m->negated.v);
	free(m);
}

size_t
match_count(const struct match *m)
{
	return m->n;
}

const char *
match_rule(const struct match *m, size_t i)
{
	return m->rule[i].text;
}

/* ---- compiling ---- */

static bool
in_named(const char *name, size_t n, unsigned char c, bool *known)
{
	static const struct { const char *name; int (*is)(int); } t[] = {
		{ "alnum", isalnum }, { "alpha", isalpha },
		{ "blank", isblank }, { "cntrl", iscntrl },
		{ "digit", isdigit }, { "graph", isgraph },
		{ "lower", islower }, { "print", isprint },
		{ "punct", ispunct }, { "space", isspace },
		{ "upper", isupper }, { "xdigit", isxdigit },
	};
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(*t); i++)
		if (strlen(t[i].name) == n &&
		    memcmp(t[i].name, name, n) == 0) {
			*known = true;
			/* ASCII only: rules mean the same in any locale. */
			return c < 128 && t[i].is(c) != 0;
		}
	*known = false;
	return false;
}

static void
set_add(uint64_t set[4], unsigned c)
{
	set[c >> 6] |= (uint64_t)1 << (c & 63);
}

/*
 * A bracket expression; p is behind its '['.  Returns behind its ']', or NULL
 * when it is never closed or names an unknown class.
 */
static const char *
bracket(const char *p, const char *end, uint64_t set[4])
{
	bool negated = false, first = true, known;
	const char *q;
	unsigned c, to;
	int i;

	memset(set, 0, 4 * sizeof(*set));
	if (p < end && (*p == '!' || *p == '^')) {
		negated = true;
		p++;
	}
	for (;; first = false) {
		if (p >= end)
			return NULL;
		if (*p == ']' && !first)
			break;
		if (*p == '[' && end - p > 1 && p[1] == ':') {
			for (q = p + 2; q < end && *q != ']'; q++)
				;
			if (q == end)
				return NULL;
			if (q > p + 2 && q[-1] == ':') {
				for (c = 0; c < 256; c++)
					if (in_named(p + 2,
					    (size_t)(q - 1 - (p + 2)),
					    (unsigned char)c, &known))
						set_add(set, c);
					else if (!known)
						return NULL;
				p = q + 1;
				continue;
			}
		}
		if (*p == '\\' && ++p >= end)
			return NULL;
		c = to = (unsigned char)*p++;
		if (end - p > 1 && p[0] == '-' && p[1] != ']') {
			if (*++p == '\\' && ++p >= end)
				return NULL;
			to = (unsigned char)*p++;
		}
		for (; c <= to; c++)
			set_add(set, c);
	}
	if (negated)
		for (i = 0; i < 4; i++)
			set[i] = ~set[i];
	set['/' >> 6] &= ~((uint64_t)1 << ('/' & 63));
	return p + 1;
}

static void
token(struct rule *r, enum token_kind kind, unsigned char byte)
{
	r->tok[r->ntok].kind = (unsigned char)kind;
	r->tok[r->ntok++].byte = byte;
}

/* Stars at p, all of a run.  Returns behind what was taken. */
static const char *
stars(struct rule *r, const char *start, const char *p, const char *end)
{
	const char *from = p;
	size_t n = r->ntok;
	bool two;

	while (p < end && *p == '*')
		p++;
	two = p - from > 1 && r->anchored && (from == start ||
	    from[-1] == '/');
	if (two && p < end && *p == '/') {
		/* Several in a row say no more than one. */
		if (n < 3 || r->tok[n - 3].kind != T_FORK) {
			token(r, T_FORK, 0);
			token(r, T_DEEP, 0);
			token(r, T_BYTE, '/');
		}
		return p + 1;
	}
	if (two && p == end) {
		token(r, T_ANY, 0);
		token(r, T_DEEP, 0);
	} else {
		token(r, T_STAR, 0);
	}
	return p;
}

/* The pattern [p, end), without leading and trailing slash, into r->tok. */
static int
compile(struct rule *r, const char *p, const char *end, struct err *e)
{
	size_t n = (size_t)(end - p), classes = 0;
	const char *start = p, *q;
	uint64_t set[4];

	for (q = p; q < end; q++)
		classes += *q == '[';
	/* "**" and '/' are three tokens of three bytes; the rest is less. */
	r->tok = calloc(n + 4, sizeof(*r->tok));
	r->class = classes == 0 ? NULL : calloc(classes, sizeof(*r->class));
	if (r->tok == NULL || (classes > 0 && r->class == NULL))
		return err_oom(e);
	while (p < end)
		switch (*p) {
		case '*':
			p = stars(r, start, p, end);
			break;
		case '?':
			token(r, T_ONE, 0);
			p++;
			break;
		case '[':
			if ((p = bracket(p + 1, end, set)) == NULL)
				return err_set(e, CALA_USAGE, "%s: unclosed "
				    "or unknown '['", str_q(r->text));
			memcpy(r->class[r->nclass], set, sizeof(set));
			r->tok[r->ntok].class = (uint16_t)r->nclass++;
			token(r, T_CLASS, 0);
			break;
		case '\\':
			if (++p == end)
				return err_set(e, CALA_USAGE,
				    "%s: ends in a lone '\\'", str_q(r->text));
			__attribute__((fallthrough));
		default:
			token(r, T_BYTE, (unsigned char)*p++);
			break;
		}
	return 0;
}

/* Plain text, last byte and prefix of what was compiled. */
static int
classify(struct rule *r, struct err *e)
{
	const struct token *t = r->tok;
	size_t n = 0, slash = 0, i;

	while (n < r->ntok && t[n].kind == T_BYTE) {
		if (t[n].byte == '/')
			slash = n;
		n++;
	}
	r->last = r->ntok > 0 && t[r->ntok - 1].kind == T_BYTE ?
	    t[r->ntok - 1].byte : -1;
	if (n < r->ntok)
		n = slash;              /* whole components only */
	if ((r->prefix = calloc(1, n + 1)) == NULL)
		return err_oom(e);
	for (i = 0; i < n; i++)
		r->prefix[i] = (char)t[i].byte;
	r->nprefix = n;
	if (n == r->ntok && (r->plain = strdup(r->prefix)) == NULL)
		return err_oom(e);
	return 0;
}

/*
 * A last slash with two stars also means what stands before it (as in Wings,
 * not in git).  As the companion of a rule covers what is below it, that part
 * alone says both.
 */
static const char *
without_deep(const char *p, const char *end)
{
	const char *q = end;

	while (q > p && q[-1] == '*')
		q--;
	return end - q > 1 && q - p > 1 && q[-1] == '/' && q[-2] != '\\' ?
	    q - 1 : end;
}

/* ---- tables ---- */

static uint64_t
hash_bytes(const char *p, size_t n)
{
	uint64_t h = 0xcbf29ce484222325u;

	while (n-- > 0)
		h = (h ^ (unsigned char)*p++) * 0x100000001b3u;
	return h ^ h >> 29;
}

static struct spot *
table_find(const struct table *t, const char *p, size_t n, uint64_t h)
{
	size_t i = (size_t)h & (t->room - 1);

	for (; t->v[i].plain != NULL; i = (i + 1) & (t->room - 1))
		if (t->v[i].hash == h && t->v[i].len == n &&
		    memcmp(t->v[i].plain, p, n) == 0)
			break;
	return &t->v[i];
}

static int
table_grow(struct table *t, struct err *e)
{
	struct table big = { NULL, t->n, t->room == 0 ? 64 : t->room * 2 };
	size_t i;

	if ((big.v = calloc(big.room, sizeof(*big.v))) == NULL)
		return err_oom(e);
	for (i = 0; i < t->room; i++)
		if (t->v[i].plain != NULL)
			*table_find(&big, t->v[i].plain, t->v[i].len,
			    t->v[i].hash) = t->v[i];
	free(t->v);
	*t = big;
	return 0;
}

static int
table_add(struct table *t, const struct rule *r, long number, struct err *e)
{
	size_t n = strlen(r->plain);
	uint64_t h = hash_bytes(r->plain, n);
	struct spot *s;

	if (t->n * 2 >= t->room && table_grow(t, e) == -1)
		return -1;
	s = table_find(t, r->plain, n, h);
	if (s->plain == NULL) {
		s->plain = r->plain;
		s->len = n;
		s->hash = h;
		s->any = s->dir = -1;
		t->n++;
	}
	*(r->dir_only ? &s->dir : &s->any) = number;
	return 0;
}

static int
list_add(struct list *l, size_t number, struct err *e)
{
	size_t room = l->room == 0 ? 8 : l->room * 2;
	uint32_t *v;

	if (l->n == l->room) {
		v = reallocarray(l->v, room, sizeof(*v));
		if (v == NULL)
			return err_oom(e);
		l->v = v;
		l->room = room;
	}
	l->v[l->n++] = (uint32_t)number;
	return 0;
}

/* ---- adding ---- */

static bool
blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Is the byte at p quoted by an odd number of backslashes? */
static bool
quoted(const char *start, const char *p)
{
	const char *q = p;

	while (q > start && q[-1] == '\\')
		q--;
	return (p - q) % 2 != 0;
}

static int
parse(struct rule *r, const char *p, const char *end, struct err *e)
{
	const char *q;

	if (*p == '!') {
		r->negated = true;
		p++;
	}
	if (end > p && end[-1] == '/' && !quoted(p, end - 1)) {
		r->dir_only = true;
		end--;
	}
	if (end > p && *p == '/') {
		r->anchored = true;
		p++;
	}
	if (p == end)
		return 1;               /* "/", "!": matches nothing */
	/* Two stars and a slash before a mere name say nothing. */
	while (end - p > 3 && memcmp(p, "**/", 3) == 0 &&
	    memchr(p + 3, '/', (size_t)(end - p - 3)) == NULL &&
	    memchr(p + 3, '*', (size_t)(end - p - 3)) == NULL) {
		r->anchored = false;
		p += 3;
	}
	for (q = p; q < end && !r->anchored; q++)
		r->anchored = *q == '/';
	if (r->anchored && !r->dir_only)
		end = without_deep(p, end);
	if (compile(r, p, end, e) == -1 || classify(r, e) == -1)
		return -1;
	return 0;
}

/* The new rule is m->rule[m->n]: make it findable. */
static int
enter(struct match *m, struct err *e)
{
	const struct rule *r = &m->rule[m->n];

	if (r->negated && list_add(&m->negated, m->n, e) == -1)
		return -1;
	if (r->plain != NULL)
		return table_add(r->anchored ? &m->paths : &m->names, r,
		    (long)m->n, e);
	return list_add(&m->by_last[r->last == -1 ? 256 : r->last], m->n, e);
}

int
match_add(struct match *m, const char *line, size_t n, struct err *e)
{
	const char *p = line, *end = line + n;
	struct rule *v, *r;
	int ret;

	while (p < end && blank(*p))
		p++;
	while (end > p && blank(end[-1]) && !quoted(p, end - 1))
		end--;
	if (p == end || *p == '#')
		return 1;
	if (end - p > PATTERN_MAX || memchr(p, '\0', (size_t)(end - p)) !=
	    NULL)
		return err_set(e, CALA_USAGE, "a rule of %zu bytes: longer "
		    "than %d or with NUL bytes", (size_t)(end - p),
		    PATTERN_MAX);
	if (m->n == RULES_MAX)
		return err_set(e, CALA_USAGE, "more than %d rules", RULES_MAX);
	if (m->n == m->room) {
		v = reallocarray(m->rule, m->room == 0 ? 16 : m->room * 2,
		    sizeof(*v));
		if (v == NULL)
			return err_oom(e);
		m->rule = v;
		m->room = m->room == 0 ? 16 : m->room * 2;
	}
	r = &m->rule[m->n];
	memset(r, 0, sizeof(*r));
	if ((r->text = str_ndup(p, (size_t)(end - p))) == NULL)
		return err_oom(e);
	if ((ret = parse(r, p, end, e)) == 0 && (ret = enter(m, e)) == 0) {
		m->n++;
		return 0;
	}
	rule_fini(r);
	return ret;
}

int
match_add_file(struct match *m, int dirfd, const char *name, size_t max,
    struct log *log, struct err *e)
{
	struct err mine = ERR_INIT;
	const char *p, *end, *nl;
	unsigned line = 0;
	struct buf b;
	int ret = -1;

	buf_init(&b, max);
	if (file_slurp(&b, dirfd, name, &mine) == -1) {
		if (mine.code == CALA_NOTFOUND)
			ret = 1;
		else
			*e = mine;
		goto out;
	}
	for (p = b.p, end = b.p + b.len; p < end; p = nl + 1) {
		line++;
		if ((nl = memchr(p, '\n', (size_t)(end - p))) == NULL)
			nl = end;
		err_clear(&mine);
		if (match_add(m, p, (size_t)(nl - p), &mine) != -1)
			continue;
		if (mine.code != CALA_USAGE) {
			*e = mine;
			goto out;
		}
		log_warn(log, "%s:%u: %s; the rule is ignored", str_q(name),
		    line, mine.msg);
	}
	ret = 0;
out:
	buf_fini(&b);
	return ret;
}

/* ---- matching ---- */

static void
enter_bit(uint64_t *s, const struct rule *r, size_t i)
{
	/* What may be left out is entered behind, too. */
	for (;;) {
		s[i >> 6] |= (uint64_t)1 << (i & 63);
		if (i == r->ntok)
			return;
		switch (r->tok[i].kind) {
		case T_FORK:
			enter_bit(s, r, i + 3);
			break;
		case T_STAR:
		case T_DEEP:
			break;
		default:
			return;
		}
		i++;
	}
}

static bool
takes(const struct rule *r, const struct token *t, unsigned char c, bool *stay)
{
	switch (t->kind) {
	case T_BYTE:
		return c == t->byte;
	case T_ONE:
		return c != '/';
	case T_CLASS:
		return (r->class[t->class][c >> 6] >> (c & 63) & 1) != 0;
	case T_ANY:
		return true;
	case T_STAR:
		*stay = c != '/';
		return false;
	case T_DEEP:
		*stay = true;
		return false;
	default:
		return false;
	}
}

/* Does the pattern match all n bytes at p? */
static bool
run(const struct rule *r, const char *p, size_t n)
{
	uint64_t a[WORDS_MAX], b[WORDS_MAX], *now = a, *next = b, *swap, bits;
	size_t words = r->ntok / 64 + 1, i, w, k;
	bool alive, stay;

	memset(now, 0, words * sizeof(*now));
	enter_bit(now, r, 0);
	for (k = 0; k < n; k++) {
		memset(next, 0, words * sizeof(*next));
		alive = false;
		for (w = 0; w < words; w++)
			for (bits = now[w]; bits != 0; bits &= bits - 1) {
				i = w * 64 + (size_t)__builtin_ctzll(bits);
				if (i == r->ntok)
					continue;
				stay = false;
				if (takes(r, &r->tok[i], (unsigned char)p[k],
				    &stay))
					enter_bit(next, r, i + 1);
				else if (stay)
					enter_bit(next, r, i);
				else
					continue;
				alive = true;
			}
		if (!alive)
			return false;
		swap = now;
		now = next;
		next = swap;
	}
	return (now[r->ntok >> 6] >> (r->ntok & 63) & 1) != 0;
}

static long
table_best(const struct table *t, const char *p, size_t n, bool is_dir,
    long best)
{
	const struct spot *s;

	if (t->n == 0)
		return best;
	s = table_find(t, p, n, hash_bytes(p, n));
	if (s->plain == NULL)
		return best;
	if (s->any > best)
		best = s->any;
	if (is_dir && s->dir > best)
		best = s->dir;
	return best;
}

static long
list_best(const struct match *m, const struct list *l, const char *path,
    size_t name, size_t n, bool is_dir, long best)
{
	const struct rule *r;
	size_t i;

	for (i = l->n; i > 0 && (long)l->v[i - 1] > best; i--) {
		r = &m->rule[l->v[i - 1]];
		if (r->dir_only && !is_dir)
			continue;
		if (!r->anchored) {
			if (run(r, path + name, n - name))
				return (long)l->v[i - 1];
			continue;
		}
		if (r->nprefix <= n &&
		    memcmp(r->prefix, path, r->nprefix) == 0 &&
		    run(r, path, n))
			return (long)l->v[i - 1];
	}
	return best;
}

/* The last rule that matches the first n bytes of path, or best if later. */
static long
best_of(const struct match *m, const char *path, size_t name, size_t n,
    bool is_dir, long best)
{
	best = table_best(&m->names, path + name, n - name, is_dir, best);
	best = table_best(&m->paths, path, n, is_dir, best);
	best = list_best(m, &m->by_last[(unsigned char)path[n - 1]], path,
	    name, n, is_dir, best);
	return list_best(m, &m->by_last[256], path, name, n, is_dir, best);
}

/* Could a re-including rule behind best match something below path? */
static bool
below(const struct match *m, const char *path, long best)
{
	const struct list *l = &m->negated;
	const struct rule *r;
	size_t i;

	for (i = l->n; i > 0 && (long)l->v[i - 1] > best; i--) {
		r = &m->rule[l->v[i - 1]];
		if (!r->anchored || r->prefix[0] == '\0' ||
		    entry_below(r->prefix, path) ||
		    (r->plain == NULL && entry_below(path, r->prefix)))
			return true;
	}
	return false;
}

enum match_verdict
match_path(const struct match *m, const char *path, bool is_dir)
{
	size_t name = 0, i;
	long best = -1;

	if (path[0] == '\0' || m->n == 0)
		return MATCH_KEEP;
	for (i = 1; path[i - 1] != '\0'; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		best = best_of(m, path, name, i, path[i] == '/' || is_dir,
		    best);
		name = i + 1;
	}
	if (best == -1 || m->rule[best].negated)
		return MATCH_KEEP;
	return is_dir && below(m, path, best) ? MATCH_DESCEND : MATCH_DROP;
}
