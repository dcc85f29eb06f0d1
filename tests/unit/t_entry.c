/* entry: clean paths, JSON, and the order in which a pump leaves directories. */

#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/io.h"
#include "entry/entry.h"

static void
paths(void **state)
{
	static const struct { const char *in, *out; } t[] = {
		{ "./a/b", "a/b" }, { "/etc//passwd/", "etc/passwd" },
		{ "", "" }, { "./", "" }, { "...", "..." }, { "a/./b", "a/b" },
		{ "../a", NULL }, { "a/..", NULL }, { "a/../../b", NULL },
		{ "..a/b..", "..a/b.." }, { "a\nb/\xff", "a\nb/\xff" },
	};
	const char *why;
	struct buf b;
	size_t i, n;
	char *deep;

	(void)state;
	buf_init(&b, ENTRY_PATH_MAX);
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		why = NULL;
		assert_int_equal(entry_path(&b, t[i].in, strlen(t[i].in), &why),
		    t[i].out == NULL ? -1 : 0);
		if (t[i].out != NULL)
			assert_string_equal(b.p, t[i].out);
		else
			assert_non_null(why);
	}
	assert_int_equal(entry_path(&b, "a\0b", 3, &why), -1);
	n = 2 * (ENTRY_DEPTH_MAX + 1);
	deep = malloc(n);
	for (i = 0; i < n; i += 2)
		memcpy(deep + i, "d/", 2);
	assert_int_equal(entry_path(&b, deep, n, &why), -1);
	assert_int_equal(entry_path(&b, deep, n - 2, &why), 0);
	free(deep);
	buf_fini(&b);
	assert_true(entry_below("a/b", "a") && entry_below("a", "a"));
	assert_true(entry_below("ab", "") && !entry_below("ab", "a"));
	assert_int_equal((int)entry_depth("a/b"), 2);
	assert_int_equal((int)entry_depth(""), 0);
	assert_string_equal(entry_name("a/b"), "b");
}

static void
shown(void **state)
{
	struct entry en = { .type = ENTRY_SYMLINK, .path = "a\xff",
	    .target = "b", .mode = 04755, .mtime = { 0, 5 }, .uid = 7 };
	char mode[11];
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	assert_string_equal(entry_mode(&en, mode), "lrwsr-xr-x");
	entry_json(&b, &en);
	assert_string_equal(b.p, "{\"path\":\"a\xef\xbf\xbd\","
	    "\"path_b64\":\"Yf8=\",\"type\":\"l\",\"size\":0,"
	    "\"mtime\":\"1970-01-01T00:00:00.000000005Z\",\"mode\":\"4755\","
	    "\"uid\":7,\"gid\":0,\"target\":\"b\"}");
	buf_fini(&b);
}

/* A reader of the names in a list; those that end in '/' are directories. */
struct list {
	struct reader r;
	const char *const *at;
	struct entry en;
	char name[64];
};

static int
list_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	struct list *l = (struct list *)r;
	size_t n;

	(void)e, (void)c;
	if (*l->at == NULL)
		return 0;
	n = strlen(*l->at);
	memset(&l->en, 0, sizeof(l->en));
	l->en.type = (*l->at)[n - 1] == '/' ? ENTRY_DIR : ENTRY_FIFO;
	memcpy(l->name, *l->at, n + 1);
	if (l->en.type == ENTRY_DIR)
		l->name[n - 1] = '\0';
	l->en.path = l->name;
	l->at++;
	*en = &l->en;
	return 1;
}

/* A writer that notes what it is told: "+path" and "-" for leave. */
struct notes {
	struct writer w;
	struct buf b;
};

static int
note_put(struct writer *w, const struct entry *en, struct content *c,
    struct err *e)
{
	(void)c, (void)e;
	return buf_printf(&((struct notes *)w)->b, "+%s ", en->path);
}

static int
note_leave(struct writer *w, struct err *e)
{
	(void)e;
	return buf_str(&((struct notes *)w)->b, "- ");
}

static void
leaves(void **state)
{
	static const struct reader_ops rops = { list_next, NULL };
	static const struct writer_ops wops =
	    { note_put, note_leave, NULL, NULL, NULL };
	static const struct { const char *in[10], *out; } t[] = {
		{ { NULL }, "" },
		{ { "f", NULL }, "+f " },
		{ { "/", "a/", "a/b/", "a/b/f", "c", NULL },
		    "+ +a +a/b +a/b/f - - +c - " },
		{ { "/", "a/", "ab/", "ab/x", NULL }, "+ +a - +ab +ab/x - - " },
		{ { "a/", "b/", NULL }, "+a - +b - " },
		/* parents that were never put are not left */
		{ { "x/y/", "x/y/f", "z", NULL }, "+x/y +x/y/f - +z " },
		{ { "x/", "x/y/z/", "x/f", NULL }, "+x +x/y/z - +x/f - " },
	};
	struct err e = ERR_INIT;
	struct tally n;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct list l = { { &rops, READER_ORDERED }, t[i].in,
		    { .path = NULL }, "" };
		struct notes w = { .w = { &wops, false, false } };

		memset(&n, 0, sizeof(n));
		buf_init(&w.b, 1000);
		assert_ok(pump(&l.r, &w.w, &n, &e), &e);
		assert_string_equal(w.b.p, t[i].out);
		buf_fini(&w.b);
	}
	assert_true(n.entries == 3 && n.files == 1);
}

/* One file of 100 bytes, of which the writer reads 40 and passes over 30. */
struct one {
	struct reader r;
	struct content c;
	struct entry en;
	bool given;
};

static ssize_t
one_read(struct content *c, void *p, size_t n, struct err *e)
{
	(void)c, (void)e;
	memset(p, 'x', n);
	return (ssize_t)n;
}

static int
one_skip(struct content *c, uint64_t n, struct err *e)
{
	(void)c, (void)n, (void)e;
	return 0;
}

static int
one_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	struct one *o = (struct one *)r;

	(void)e;
	*en = &o->en;
	*c = &o->c;
	return o->given ? 0 : (o->given = true);
}

struct half {
	struct writer w;
	struct tally *t;
	uint64_t seen[3];
};

static int
half_put(struct writer *w, const struct entry *en, struct content *c,
    struct err *e)
{
	struct half *h = (struct half *)w;
	char p[40];

	(void)en;
	h->seen[0] = h->t->bytes;
	assert_int_equal(content_full(c, p, sizeof(p), e), 40);
	h->seen[1] = h->t->bytes;
	assert_int_equal(content_skip(c, 30, e), 0);
	h->seen[2] = h->t->bytes;
	return 0;
}

/* Who asks in the middle of a file is told where it is. */
static void
tallied(void **state)
{
	static const struct content_ops cops = { one_read, one_skip, NULL };
	static const struct reader_ops rops = { one_next, NULL };
	static const struct writer_ops wops =
	    { half_put, NULL, NULL, NULL, NULL };
	struct one o = { .r = { &rops, READER_ORDERED },
	    .c = { .ops = &cops, .size = 100 },
	    .en = { .type = ENTRY_FILE, .path = "f", .size = 100 } };
	struct half h = { .w = { &wops, false, false } };
	struct err e = ERR_INIT;
	struct tally n;

	(void)state;
	memset(&n, 0, sizeof(n));
	n.bytes = 1000;
	h.t = &n;
	assert_ok(pump(&o.r, &h.w, &n, &e), &e);
	assert_true(h.seen[0] == 1000 && h.seen[1] == 1040 &&
	    h.seen[2] == 1070);
	assert_true(n.bytes == 1100 && n.files == 1);
	assert_null(o.c.seen);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths), cmocka_unit_test(shown),
		cmocka_unit_test(leaves), cmocka_unit_test(tallied),
	};

	return cmocka_run_group_tests_name("entry", tests, NULL, NULL);
}
