/* match: Wings' rules by hand, git's by asking git. */

#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "entry/match.h"
#include "fs/extract.h"

enum { RULE = 128 };

static void
add(char *to, size_t room, const char *s)
{
	size_t n = strlen(to);

	snprintf(to + n, room - n, "%s", s);
}

static struct match *
rules(const char *text)
{
	struct err e = ERR_INIT;
	struct match *m = match_new(&e);
	const char *nl;

	assert_non_null(m);
	for (; *text != '\0'; text = nl + (*nl == '\n')) {
		nl = strchrnul(text, '\n');
		assert_int_not_equal(match_add(m, text, (size_t)(nl - text),
		    &e), -1);
	}
	return m;
}

static void
by_hand(void **state)
{
	static const struct {
		const char *rules, *path;
		char want;              /* k, d, r: keep, drop, descend */
	} t[] = {
		{ "", "a", 'k' },
		{ "#a\n\n  \t\na", "a", 'd' },
		{ "  a \t\r", "a", 'd' },
		{ "\\#a", "#a", 'd' },
		{ "\\!a", "!a", 'd' },
		{ "a\\ ", "a ", 'd' },
		{ "a\\  ", "a ", 'd' },
		{ "a", "x/a", 'd' },
		{ "a", "a/x/y", 'd' },
		{ "/a", "x/a", 'k' },
		{ "/a", "a/x", 'd' },
		{ "a/", "a", 'k' },
		{ "a/", "a/", 'd' },
		{ "a/", "x/a/y", 'd' },
		{ "a/b", "a/b/c", 'd' },
		{ "a/b", "x/a/b", 'k' },
		{ "**/a/b", "x/a/b", 'd' },
		{ "**/a", "a", 'd' },
		{ "a/**", "a/b", 'd' },
		{ "a/**", "a/", 'd' },          /* not so in git */
		{ "a/**", "b/a/", 'k' },
		{ "a/**/b", "a/b", 'd' },
		{ "a/**/b", "a/x/y/b", 'd' },
		{ "a/**/b", "a/xb", 'k' },
		{ "a/*", "a/", 'k' },
		{ "a/*", "a/b", 'd' },
		{ "a/*", "a/b/c", 'd' },
		{ "*.log", "x/y.log", 'd' },
		{ "*.log\n!keep.log", "keep.log", 'k' },
		{ "!keep.log\n*.log", "keep.log", 'd' },
		{ "logs\n!logs/keep", "logs/", 'r' },
		{ "logs\n!logs/keep", "logs/keep", 'k' },
		{ "logs\n!logs/keep", "logs/other/", 'd' },
		{ "!logs/keep\nlogs", "logs/", 'd' },
		{ "*\n!game/csgo/cfg", "game/", 'r' },
		{ "*\n!game/csgo/cfg", "game/csgo/", 'r' },
		{ "*\n!game/csgo/cfg", "game/csgo/cfg/", 'k' },
		{ "*\n!game/csgo/cfg", "game/csgo/cfg/a/b", 'k' },
		{ "*\n!game/csgo/cfg", "game/csgo/bin/", 'd' },
		{ "*\n!game/csgo/cfg", "world/", 'd' },
		{ "*\n!game/*/cfg", "game/x/", 'r' },
		{ "*\n!game/*/cfg", "other/", 'd' },
		{ "*\n!x", "any/", 'r' },
		{ "*\n!**/x/y", "any/", 'r' },
		{ "*\n!x", "any/x/", 'k' },
		{ "*\n!x", "any", 'd' },
		{ "[ab]c", "ac", 'd' },
		{ "[!ab]c", "ac", 'k' },
		{ "[^ab]c", "dc", 'd' },
		{ "[]x]", "]", 'd' },
		{ "[a-c]", "b", 'd' },
		{ "[a-]", "-", 'd' },
		{ "[[:alpha:]]", "q", 'd' },
		{ "[[:alpha:]]", "1", 'k' },
		{ "[![:digit:]x]", "y", 'd' },
		{ "x[\\]]", "x]", 'd' },
		{ "a[!b]c", "a/c", 'k' },
		{ "a?c", "a/c", 'k' },
		{ "\\*", "*", 'd' },
		{ "\\*", "a", 'k' },
		{ "/", "a", 'k' },
		{ "!", "a", 'k' },
		{ "A", "a", 'k' },
		{ "a\xff*", "a\xff\xfe", 'd' },
		{ "n\nx", "n", 'd' },
		{ "?", "\n", 'd' },
		{ "/**", "a/b", 'd' },
		{ "**", "a/b", 'd' },
		{ "**/", "a", 'k' },
		{ "**/", "a/", 'd' },
		{ "**/**/a", "x/a", 'd' },
		{ "a**b", "axxb", 'd' },
		{ "plain/path/", "plain/path", 'k' },
		{ "plain/path/", "plain/path/", 'd' },
	};
	enum match_verdict got;
	struct match *m;
	char path[64];
	size_t i, n;
	bool is_dir;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		m = rules(t[i].rules);
		n = strlen(t[i].path);
		is_dir = t[i].path[n - 1] == '/';
		snprintf(path, sizeof(path), "%.*s", (int)(n - is_dir),
		    t[i].path);
		got = match_path(m, path, is_dir);
		if (got != (t[i].want == 'k' ? MATCH_KEEP : t[i].want == 'd' ?
		    MATCH_DROP : MATCH_DESCEND))
			fail_msg("\"%s\" on \"%s\": %d, not %c", t[i].rules,
			    t[i].path, got, t[i].want);
		match_free(m);
	}
}

static void
malformed(void **state)
{
	static const char *const bad[] = {
		"a[", "a[b", "[]", "[!]", "[[:nope:]]", "[a\\", "a\\", "[z-",
	};
	struct err e = ERR_INIT;
	struct match *m = match_new(&e);
	char *big = malloc(5000);
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		err_clear(&e);
		assert_int_equal(match_add(m, bad[i], strlen(bad[i]), &e), -1);
		assert_int_equal(e.code, CALA_USAGE);
	}
	memset(big, 'a', 5000);
	assert_int_equal(match_add(m, big, 5000, &e), -1);
	assert_int_equal(match_add(m, "a\0b", 3, &e), -1);
	assert_int_equal(match_add(m, "ok", 2, &e), 0);
	assert_int_equal(match_add(m, " # no", 5, &e), 1);
	assert_int_equal(match_count(m), 1);
	assert_string_equal(match_rule(m, 0), "ok");
	assert_int_equal(match_path(m, "a", false), MATCH_KEEP);
	free(big);
	match_free(m);
}

/* These would never end in a matcher that tries one way after the other. */
static void
hostile(void **state)
{
	char pattern[1200] = "", path[4096];
	struct match *m;
	size_t i;

	(void)state;
	for (i = 0; i < 300; i++)
		add(pattern, sizeof(pattern), "a*");
	add(pattern, sizeof(pattern), "b");
	memset(path, 'a', 4000);
	path[4000] = '\0';
	m = rules(pattern);
	assert_int_equal(match_path(m, path, false), MATCH_KEEP);
	path[3999] = 'b';
	assert_int_equal(match_path(m, path, false), MATCH_DROP);
	match_free(m);

	pattern[0] = '\0';
	for (i = 0; i < 150; i++)
		add(pattern, sizeof(pattern), "**/a*/");
	add(pattern, sizeof(pattern), "x*y");
	for (i = 0; i < 2000; i++)
		memcpy(path + 2 * i, "a/", 2);
	path[3999] = '\0';
	m = rules(pattern);
	assert_int_equal(match_path(m, path, false), MATCH_KEEP);
	match_free(m);
}

static void
many(void **state)
{
	struct err e = ERR_INIT;
	struct match *m = match_new(&e);
	char line[64];
	int i, n;

	(void)state;
	for (i = 0; i < 20000; i++) {
		n = snprintf(line, sizeof(line), i % 3 == 0 ? "dir/name%d" :
		    i % 3 == 1 ? "name%d" : "*.ext%d", i);
		assert_ok(match_add(m, line, (size_t)n, &e), &e);
	}
	for (i = 0; i < 20000; i++) {
		snprintf(line, sizeof(line), i % 3 == 0 ? "dir/name%d/x" :
		    i % 3 == 1 ? "q/name%d" : "a/b.ext%d", i);
		if (i % 50 < 3)
			assert_int_equal(match_path(m, line, false),
			    MATCH_DROP);
	}
	assert_int_equal(match_path(m, "dir/name1x", false), MATCH_KEEP);
	match_free(m);
}

static void
from_file(void **state)
{
	char dir[] = "/tmp/t_match.XXXXXX", name[64];
	struct err e = ERR_INIT;
	struct match *m = match_new(&e);
	struct log log;
	FILE *f;
	int fd;

	(void)state;
	log_init(&log, NULL, "t");
	assert_non_null(mkdtemp(dir));
	fd = open(dir, O_RDONLY | O_DIRECTORY);
	snprintf(name, sizeof(name), "%s/.pteroignore", dir);
	assert_non_null(f = fopen(name, "w"));
	fputs("# one\r\n*.log\r\nbad[\n!keep.log", f);
	fclose(f);
	assert_int_equal(match_add_file(m, fd, "none", 100, &log, &e), 1);
	assert_int_equal(match_add_file(m, fd, ".pteroignore", 5, &log, &e),
	    -1);
	assert_ok(match_add_file(m, fd, ".pteroignore", 1 << 20, &log, &e),
	    &e);
	assert_int_equal(log_warnings(&log), 1);
	assert_non_null(strstr(log.kept[0], ".pteroignore:3"));
	assert_int_equal(match_count(m), 2);
	assert_int_equal(match_path(m, "x.log", false), MATCH_DROP);
	assert_int_equal(match_path(m, "keep.log", false), MATCH_KEEP);
	unlink(name);
	rmdir(dir);
	close(fd);
	log_fini(&log);
	match_free(m);
}

/* ---- git as the oracle ---- */

static uint64_t seed = 1;

static unsigned
draw(unsigned n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % n;
}

/*
 * A rule on which git and Wings agree: two stars only between slashes (git's
 * shortcut for a plain beginning sees them elsewhere, too), and not at the end.
 */
static void
draw_rule(char *out, bool negate)
{
	static const char *const part[] = {
		"a", "b", "d", "ab", ".", "-", "?", "*", "[ab]", "[!a]",
		"[a-c]", "[^.]", "\\a", "[[:alpha:]]", "[]b-]", "a", "b",
	};
	unsigned segments = 1 + draw(3), i, k;
	const char *p;

	*out = '\0';
	if (negate && draw(3) == 0)
		add(out, RULE, "!");
	if (draw(4) == 0)
		add(out, RULE, "/");
	for (i = 0; i < segments; i++) {
		if (i > 0)
			add(out, RULE, "/");
		if (i + 1 < segments && draw(4) == 0) {
			add(out, RULE, "**");
			continue;
		}
		for (k = 1 + draw(3); k > 0; k--) {
			p = part[draw(sizeof(part) / sizeof(*part))];
			if (*p == '*' && out[0] != '\0' &&
			    out[strlen(out) - 1] == '*')
				continue;
			add(out, RULE, p);
		}
	}
	if (draw(5) == 0)
		add(out, RULE, "/");
}

static const char *const dirs[] = { "a", "ab", "b.d", "d" };
static const char *const files[] = { "b", "ba", "a.b", "aa", "-", "cab" };

enum { PATHS = 1000 };
static char paths[PATHS][32];
static bool path_is_dir[PATHS];
static size_t npaths;

static void
plant(const char *root, const char *rel, int levels)
{
	char sub[32], abs[128];
	size_t i;
	int fd;

	for (i = 0; i < sizeof(files) / sizeof(*files); i++) {
		snprintf(paths[npaths], 32, "%.20s%s", rel, files[i]);
		snprintf(abs, sizeof(abs), "%s/%s", root, paths[npaths++]);
		assert_true((fd = open(abs, O_CREAT | O_WRONLY, 0600)) != -1);
		close(fd);
	}
	for (i = 0; levels > 0 && i < sizeof(dirs) / sizeof(*dirs); i++) {
		snprintf(sub, sizeof(sub), "%.20s%s", rel, dirs[i]);
		path_is_dir[npaths] = true;
		memcpy(paths[npaths], sub, sizeof(sub));
		snprintf(abs, sizeof(abs), "%s/%s", root, paths[npaths++]);
		assert_int_equal(mkdir(abs, 0700), 0);
		add(sub, sizeof(sub), "/");
		plant(root, sub, levels - 1);
	}
}

static void
oracle(void **state)
{
	char dir[] = "/tmp/t_match.XXXXXX", cmd[512], name[64], text[1024];
	char rule[RULE], line[64];
	struct match *m;
	size_t i, compared = 0, dropped = 0;
	bool ignored[PATHS], mine, negate;
	int round, k;
	FILE *f;

	(void)state;
	if (system("git --version >/dev/null 2>&1") != 0) {
		print_message("git is not installed: not compared\n");
		skip();
	}
	assert_non_null(mkdtemp(dir));
	plant(dir, "", 2);
	snprintf(name, sizeof(name), "%s/.paths", dir);
	assert_non_null(f = fopen(name, "w"));
	for (i = 0; i < npaths; i++)
		fprintf(f, "%s\n", paths[i]);
	fclose(f);
	snprintf(cmd, sizeof(cmd), "cd %s && git init -q . 2>/dev/null", dir);
	assert_int_equal(system(cmd), 0);
	for (round = 0; round < 150; round++) {
		negate = round % 2 == 1;
		text[0] = '\0';
		for (k = 1 + (int)draw(6); k > 0; k--) {
			draw_rule(rule, negate);
			add(text, sizeof(text), rule);
			add(text, sizeof(text), "\n");
		}
		snprintf(name, sizeof(name), "%s/.gitignore", dir);
		assert_non_null(f = fopen(name, "w"));
		fputs(text, f);
		fclose(f);
		snprintf(cmd, sizeof(cmd), "cd %s && GIT_CONFIG_NOSYSTEM=1 "
		    "GIT_CONFIG_GLOBAL=/dev/null git check-ignore --no-index "
		    "--stdin <.paths", dir);
		assert_non_null(f = popen(cmd, "r"));
		memset(ignored, 0, sizeof(ignored));
		for (i = 0; fgets(line, sizeof(line), f) != NULL;) {
			line[strcspn(line, "\n")] = '\0';
			while (i < npaths && strcmp(paths[i], line) != 0)
				i++;
			assert_true(i < npaths);
			ignored[i] = true;
		}
		assert_true(WEXITSTATUS(pclose(f)) <= 1);
		m = rules(text);
		for (i = 0; i < npaths; i++) {
			/* Below an excluded directory they differ on purpose. */
			if (negate && strchr(paths[i], '/') != NULL)
				continue;
			mine = match_path(m, paths[i], path_is_dir[i]) !=
			    MATCH_KEEP;
			if (mine != ignored[i])
				fail_msg("%s: git %d, cala %d; rules:\n%s",
				    paths[i], ignored[i], mine, text);
			compared++;
			dropped += mine;
		}
		match_free(m);
	}
	assert_true(compared > 10000);
	assert_true(dropped > compared / 20 && dropped < compared);
	assert_int_equal(fs_remove(AT_FDCWD, dir), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_hand),
		cmocka_unit_test(malformed),
		cmocka_unit_test(hostile),
		cmocka_unit_test(many),
		cmocka_unit_test(from_file),
		cmocka_unit_test(oracle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
