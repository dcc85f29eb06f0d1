/*
 * kopia_rules: our ignore rules in Kopia's hands.
 *
 * Both speak gitignore's language, with differences in the corners: how much a
 * "?" takes, what "**" is beside other characters, what a class may name, what
 * re-includes can reach.  So only rules whose parts mean the same in both are
 * translated, and only where nothing is re-included; what the others leave out
 * is found by walking the tree with our own matcher and named path by path.
 */

#include "exec/kopia_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/str.h"
#include "entry/match.h"
#include "fs/extract.h"

enum { RULES_MAX = 4 << 20, RULE_MAX = 4 * ENTRY_PATH_MAX };

int
kopia_pattern(const char *rule, struct buf *out)
{
	const char *p;
	size_t n = strlen(rule);

	/* "a/" is a directory; more slashes, and single ones, mean nothing. */
	if (n == 0 || *rule == '!' || *rule == '#' || !str_utf8(rule, n) ||
	    strcmp(rule, "/") == 0)
		return -1;
	for (p = rule; *p != '\0'; p++) {
		if ((unsigned char)*p <= ' ' || strchr("?[]\\", *p) != NULL)
			return -1;
		/* "**", and a "*" that stands for a whole folder's name. */
		if (*p == '*' && (p[1] == '*' || p[1] == '/'))
			return -1;
		if (*p == '/' && (p[1] == '/' || (p[1] == '.' &&
		    (p[2] == '/' || p[2] == '\0'))))
			return -1;
	}
	/* White space of Unicode at the end would be trimmed. */
	if ((rule[n - 1] & 0x80) != 0 || str_begins(rule, "./"))
		return -1;
	return buf_str(out, rule);
}

void
kopia_literal(const char *path, struct buf *out)
{
	const unsigned char *p = (const unsigned char *)path;
	size_t n = strlen(path), last = n, k;

	/*
	 * Blanks at the end are cut off unless the byte before the last is a
	 * backslash; what is no ASCII gets brackets there.
	 */
	while (last > 0 && (p[last - 1] & 0xc0) == 0x80)
		last--;
	if (last > 0)
		last--;
	buf_chr(out, '/');
	for (k = 0; k < n; k++) {
		if (k == last && (p[k] & 0x80) != 0) {
			buf_chr(out, '[');
			buf_add(out, path + k, n - k);
			buf_chr(out, ']');
			return;
		}
		if (strchr("*?[]\\!#", p[k]) != NULL || p[k] <= ' ')
			buf_chr(out, '\\');
		buf_chr(out, path[k]);
	}
}

/* ---- the walk ---- */

/* One level: its subfolders, named one behind the other, NUL between. */
struct level {
	struct buf dirs;
	size_t at;              /* the next of them */
	size_t path_len;        /* of its own path */
	size_t mark;            /* rules there were before it */
	uint64_t kept;          /* entries kept in it and below */
	bool below;             /* dropped itself: kept only for what it holds */
};

struct scan {
	struct kopia_scan *out;
	const struct match *all;        /* NULL: no rules */
	struct match *given;            /* of those that are handed over */
	struct log *log;
	struct level *v;
	size_t n, room;
	struct buf path;
	bool slow;                      /* no openat2(2) */
	size_t bytes;                   /* of rules */
};

static int
add_rule(struct scan *s, const char *text, struct err *e)
{
	struct kopia_scan *o = s->out;
	char **v;

	if ((s->bytes += strlen(text)) > (size_t)64 * RULES_MAX ||
	    o->nrules >= RULES_MAX)
		return err_set(e, CALA_USAGE, "the rules leave out more paths "
		    "than Kopia's policy can name (%zu so far)", o->nrules);
	if ((o->nrules & (o->nrules - 1)) == 0) {
		v = realloc(o->rules, (o->nrules == 0 ? 1 : 2 * o->nrules) *
		    sizeof(*v));
		if (v == NULL)
			return err_oom(e);
		o->rules = v;
	}
	if ((o->rules[o->nrules] = strdup(text)) == NULL)
		return err_oom(e);
	o->nrules++;
	return 0;
}

static void
cut_rules(struct scan *s, size_t n)
{
	while (s->out->nrules > n)
		free(s->out->rules[--s->out->nrules]);
}

/* What runs of ours left, or are at: no backup has that (fs/swap.h). */
static bool
ours(const struct scan *s, const char *name)
{
	return fs_leftover(name) || (s->path.len == strlen(name) &&
	    (str_begins(name, ".cala-restore-") ||
	    str_begins(name, ".cala-old-")));
}

/* The path in s->path is left out: say so, unless a pattern does. */
static int
drop(struct scan *s, bool dir, struct err *e)
{
	struct buf rule;
	int ret;

	s->out->dropped++;
	if (s->given != NULL && match_path(s->given, s->path.p, dir) ==
	    MATCH_DROP)
		return 0;
	buf_init(&rule, RULE_MAX);
	kopia_literal(s->path.p, &rule);
	ret = buf_failed(&rule, e);
	if (ret == 0)
		ret = add_rule(s, rule.p, e);
	buf_fini(&rule);
	return ret;
}

static void
warn_lost(struct scan *s, const char *what)
{
	s->out->lost++;
	log_warn(s->log, "%s: %s", str_q(s->path.p), what);
}

/* A kept name: will Kopia keep it, too? */
static void
look_at(struct scan *s, const char *name, unsigned char type)
{
	switch (type) {
	case DT_FIFO:
		warn_lost(s, "a FIFO: Kopia keeps none");
		return;
	case DT_CHR:
	case DT_BLK:
		warn_lost(s, "a device: Kopia keeps none");
		return;
	case DT_SOCK:
		log_step(s->log, "%s: a socket: left out", str_q(s->path.p));
		return;
	default:
		break;
	}
	if (!str_utf8(name, strlen(name)))
		warn_lost(s, "its name is not UTF-8: Kopia keeps it under "
		    "another, and of several that become one, one");
}

static unsigned char
type_of(int dirfd, const struct dirent *d)
{
	struct stat st;

	if (d->d_type != DT_UNKNOWN)
		return d->d_type;
	return fstatat(dirfd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1 ?
	    DT_REG : (unsigned char)IFTODT(st.st_mode);
}

static int
take(struct scan *s, struct level *l, int dirfd, const struct dirent *d,
    struct err *e)
{
	unsigned char type = type_of(dirfd, d);
	enum match_verdict verdict = MATCH_KEEP;
	size_t len = s->path.len;
	int ret = 0;

	if (len > 0)
		buf_chr(&s->path, '/');
	buf_str(&s->path, d->d_name);
	if (buf_failed(&s->path, e) == -1)
		return -1;
	if (ours(s, d->d_name))
		verdict = MATCH_DROP;
	else if (s->all != NULL)
		verdict = match_path(s->all, s->path.p, type == DT_DIR);
	if (verdict == MATCH_DROP) {
		ret = drop(s, type == DT_DIR, e);
	} else {
		if (verdict == MATCH_KEEP) {
			l->kept++;
			s->out->kept++;
			look_at(s, d->d_name, type);
		}
		/* "D": dropped itself, but what it holds may not be. */
		if (type == DT_DIR && (buf_chr(&l->dirs, verdict ==
		    MATCH_KEEP ? 'd' : 'D') == -1 || buf_add(&l->dirs,
		    d->d_name, strlen(d->d_name) + 1) == -1))
			ret = buf_failed(&l->dirs, e);
	}
	buf_cut(&s->path, len);
	return ret;
}

/* The folder s->path as a new level. */
static int
enter(struct scan *s, int root, bool below, struct err *e)
{
	struct level *l, *more;
	struct dirent *d;
	DIR *dp = NULL;
	int fd, ret = 0;

	if (s->n == s->room) {
		s->room = s->room == 0 ? 16 : 2 * s->room;
		more = reallocarray(s->v, s->room, sizeof(*more));
		if (more == NULL)
			return err_oom(e);
		s->v = more;
	}
	l = &s->v[s->n++];
	memset(l, 0, sizeof(*l));
	buf_init(&l->dirs, SIZE_MAX / 4);
	l->path_len = s->path.len;
	l->mark = s->out->nrules;
	l->below = below;
	fd = fs_beneath(root, s->path.p, O_RDONLY | O_DIRECTORY | O_CLOEXEC,
	    &s->slow);
	if (fd == -1 || (dp = fdopendir(fd)) == NULL) {
		/* Kopia can't read it either, and will say so. */
		if (fd != -1)
			close(fd);
		return 0;
	}
	while (ret == 0 && (d = readdir(dp)) != NULL)
		if (strcmp(d->d_name, ".") != 0 &&
		    strcmp(d->d_name, "..") != 0)
			ret = take(s, l, dirfd(dp), d, e);
	closedir(dp);
	return ret == 0 ? stop_check(e) : -1;
}

/* The innermost level is done. */
static int
leave(struct scan *s, struct err *e)
{
	struct level *l = &s->v[--s->n];
	int ret = 0;

	buf_fini(&l->dirs);
	buf_cut(&s->path, l->path_len);
	if (l->below && l->kept == 0) {
		/* One rule for it says as much as all those inside. */
		cut_rules(s, l->mark);
		ret = drop(s, true, e);
	}
	if (s->n > 0) {
		s->v[s->n - 1].kept += l->kept;
		buf_cut(&s->path, s->v[s->n - 1].path_len);
	}
	return ret;
}

static int
walk(struct scan *s, int root, struct err *e)
{
	struct level *l;
	const char *name;
	int ret = enter(s, root, false, e);

	while (ret == 0 && s->n > 0) {
		l = &s->v[s->n - 1];
		if (l->at == l->dirs.len) {
			ret = leave(s, e);
			continue;
		}
		name = l->dirs.p + l->at;
		l->at += strlen(name) + 1;
		if (s->path.len > 0)
			buf_chr(&s->path, '/');
		buf_str(&s->path, name + 1);
		if ((ret = buf_failed(&s->path, e)) == 0)
			ret = enter(s, root, *name == 'D', e);
	}
	return ret;
}

/* Those that can be handed over as they are; 1: all of them. */
static int
translate(struct scan *s, const struct match *m, struct err *e)
{
	struct buf text;
	const char *rule;
	size_t i, n = match_count(m);
	bool all = true, negated = false;
	int ret = -1;

	buf_init(&text, RULE_MAX);
	for (i = 0; i < n; i++)
		negated |= *match_rule(m, i) == '!';
	for (i = 0; i < n && !negated; i++) {
		rule = match_rule(m, i);
		buf_reset(&text);
		if (kopia_pattern(rule, &text) == -1) {
			all = false;
			continue;
		}
		if (buf_failed(&text, e) == -1 ||
		    add_rule(s, text.p, e) == -1 ||
		    match_add(s->given, rule, strlen(rule), e) == -1)
			goto out;
	}
	ret = all && !negated ? 1 : 0;
out:
	buf_fini(&text);
	return ret;
}

int
kopia_scan(int root, const struct match *m, struct kopia_scan *out,
    struct log *log, struct err *e)
{
	struct scan s = { .out = out, .log = log };
	int ret = -1;

	memset(out, 0, sizeof(*out));
	buf_init(&s.path, ENTRY_PATH_MAX);
	if (m != NULL && match_count(m) > 0) {
		s.all = m;
		if ((s.given = match_new(e)) == NULL ||
		    translate(&s, m, e) == -1)
			goto out;
	}
	ret = walk(&s, root, e);
	if (ret == 0 && out->nrules > 20000)
		log_note(log, "the rules name %zu paths one by one: Kopia "
		    "compares each with every file", out->nrules);
out:
	while (s.n > 0)
		buf_fini(&s.v[--s.n].dirs);
	free(s.v);
	match_free(s.given);
	buf_fini(&s.path);
	if (ret == -1)
		kopia_scan_fini(out);
	return ret;
}

void
kopia_scan_fini(struct kopia_scan *s)
{
	while (s->nrules > 0)
		free(s->rules[--s->nrules]);
	free(s->rules);
	s->rules = NULL;
}
