/* Entries in any order come out as a backup wants them. */

#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "ddup/arrange.h"
#include "entry/entry.h"

struct in {
	char type;
	const char *path, *target;
	uint32_t ref;
};

static struct buf out;
static struct log the_log;

static int
put(void *arg, const struct entry *en, const uint32_t *refs, size_t n,
    struct err *e)
{
	size_t i;

	(void)arg;
	(void)e;
	buf_printf(&out, "%c%s", en->type, en->path);
	if (en->target != NULL)
		buf_printf(&out, ">%s", en->target);
	for (i = 0; i < n; i++)
		buf_printf(&out, " %u", refs[i]);
	for (i = 0; i < en->nxattrs; i++)
		buf_printf(&out, " %s=%.*s", en->xattrs[i].name,
		    (int)en->xattrs[i].len, (const char *)en->xattrs[i].value);
	for (i = 0; en->sparse && i < en->nextents; i++)
		buf_printf(&out, " %u+%u", (unsigned)en->extents[i].off,
		    (unsigned)en->extents[i].len);
	buf_chr(&out, '|');
	return 0;
}

static int
leave(void *arg, struct err *e)
{
	(void)arg;
	(void)e;
	buf_chr(&out, '.');
	return 0;
}

static void
check(const struct in *v, const char *want)
{
	struct arrange_to to = { put, leave, NULL };
	struct err e = ERR_INIT;
	int dir = open("/tmp", O_RDONLY | O_DIRECTORY);
	struct arrange *a = arrange_new(dir, &the_log, &e);
	struct entry en;

	assert_non_null(a);
	for (; v->path != NULL; v++) {
		memset(&en, 0, sizeof(en));
		en.type = (enum entry_type)v->type;
		en.path = v->path;
		en.target = v->target;
		en.uname = "u";
		assert_ok(arrange_put(a, &en, &v->ref, v->ref != 0, &e), &e);
	}
	buf_init(&out, 1 << 20);
	assert_ok(arrange_all(a, &to, &e), &e);
	assert_string_equal(out.p, want);
	buf_fini(&out);
	arrange_free(a);
	close(dir);
}

static void
orders(void **state)
{
	(void)state;
	check((struct in[]){ { 0 } }, "");
	check((struct in[]){ { 'd', "", 0, 0 }, { 0 } }, "d|.");
	/* as cala-pack writes it */
	check((struct in[]){ { 'd', "", 0, 0 }, { 'd', "a", 0, 0 },
	    { 'f', "a/x", 0, 1 }, { 'd', "a/y", 0, 0 },
	    { 'f', "a-b", 0, 2 }, { 'f', "a.c", 0, 3 }, { 0 } },
	    "d|da|fa/x 1|da/y|..fa-b 2|fa.c 3|.");
	/* siblings in any order */
	check((struct in[]){ { 'd', "", 0, 0 }, { 'f', "z", 0, 1 },
	    { 'd', "m", 0, 0 }, { 'f', "m/2", 0, 2 }, { 'f', "m/1", 0, 3 },
	    { 'f', "a", 0, 4 }, { 0 } },
	    "d|fa 4|dm|fm/1 3|fm/2 2|.fz 1|.");
	/* directories missing, late, and left long ago */
	check((struct in[]){ { 'f', "p/q/r", 0, 1 }, { 'f', "b", 0, 2 },
	    { 'f', "p/a", 0, 3 }, { 'd', "p", 0, 0 }, { 0 } },
	    "fb 2|dp|fp/a 3|dp/q|fp/q/r 1|..");
	check((struct in[]){ { 'f', "a/b/c/d", 0, 1 }, { 0 } },
	    "da|da/b|da/b/c|fa/b/c/d 1|...");
	/* the same name again: the last one */
	check((struct in[]){ { 'f', "a", 0, 1 }, { 'f', "b", 0, 2 },
	    { 'f', "a", 0, 3 }, { 0 } }, "fa 3|fb 2|");
	check((struct in[]){ { 'f', "a", 0, 1 }, { 'f', "a", 0, 2 }, { 0 } },
	    "fa 2|");
	/* bytes below a slash, and control characters */
	check((struct in[]){ { 'f', "a\001", 0, 1 }, { 'd', "a", 0, 0 },
	    { 'f', "a/b", 0, 2 }, { 'f', "a!", 0, 3 }, { 'f', "a\377", 0, 4 },
	    { 0 } }, "da|fa/b 2|.fa\001 1|fa! 3|fa\377 4|");
}

static void
links(void **state)
{
	(void)state;
	/* the file's name comes first: nothing to do */
	check((struct in[]){ { 'f', "a", 0, 1 }, { 'h', "b", "a", 0 }, { 0 } },
	    "fa 1|hb>a|");
	/* it does not, once sorted */
	check((struct in[]){ { 'f', "z", 0, 1 }, { 'h', "b", "z", 0 },
	    { 'h', "a", "z", 0 }, { 'h', "zz", "z", 0 }, { 0 } },
	    "fa 1|hb>a|hz>a|hzz>a|");
	/* a link to a link */
	check((struct in[]){ { 'f', "z", 0, 7 }, { 'h', "y", "z", 0 },
	    { 'h', "a", "y", 0 }, { 0 } }, "fa 7|hy>a|hz>a|");
	/* to nothing, to itself, in a ring */
	check((struct in[]){ { 'h', "b", "none", 0 }, { 'f', "a", 0, 1 },
	    { 0 } }, "fa 1|hb>none|");
	check((struct in[]){ { 'h', "b", "b", 0 }, { 'h', "d", "c", 0 },
	    { 'h', "c", "d", 0 }, { 'f', "a", 0, 1 }, { 0 } },
	    "fa 1|hb>b|hc>d|hd>c|");
	/* of symbolic links, too */
	check((struct in[]){ { 'l', "z", "t", 0 }, { 'h', "a", "z", 0 },
	    { 0 } }, "la>t|hz>a|");
}

/* Enough for several buffers, with all that an entry may carry. */
static void
many(void **state)
{
	static const struct extent ext[2] = { { 0, 4 }, { 100, 9 } };
	static const struct xattr xattr[2] = { { "user.a", "v\001", 2 },
	    { "user.bcd", "", 0 } };
	static uint32_t refs[1000];
	struct arrange_to to = { put, leave, NULL };
	struct err e = ERR_INIT;
	int dir = open("/tmp", O_RDONLY | O_DIRECTORY);
	struct arrange *a = arrange_new(dir, &the_log, &e);
	struct buf want;
	struct entry en;
	char path[32];
	unsigned i, j;

	(void)state;
	assert_non_null(a);
	buf_init(&out, 64 << 20);
	buf_init(&want, 64 << 20);
	for (i = 0; i < 1000; i++)
		refs[i] = i;
	for (i = 0; i < 3000; i++) {
		j = i * 1009 % 3000;
		memset(&en, 0, sizeof(en));
		en.type = ENTRY_FILE;
		snprintf(path, sizeof(path), "%05u", j);
		en.path = path;
		en.sparse = j % 2 == 0;
		en.extents = ext;
		en.nextents = 2;
		en.xattrs = xattr;
		en.nxattrs = j % 3;
		assert_ok(arrange_put(a, &en, refs, j % 1000, &e), &e);
	}
	assert_ok(arrange_all(a, &to, &e), &e);
	for (i = 0; i < 3000; i++) {
		buf_printf(&want, "f%05u", i);
		for (j = 0; j < i % 1000; j++)
			buf_printf(&want, " %u", j);
		if (i % 3 > 0)
			buf_str(&want, " user.a=v\001");
		if (i % 3 > 1)
			buf_str(&want, " user.bcd=");
		if (i % 2 == 0)
			buf_str(&want, " 0+4 100+9");
		buf_chr(&want, '|');
	}
	assert_string_equal(out.p, want.p);
	buf_fini(&out);
	buf_fini(&want);
	arrange_free(a);
	close(dir);
}

static int
setup(void **state)
{
	(void)state;
	log_init(&the_log, NULL, "t_arrange");
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	log_fini(&the_log);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(orders), cmocka_unit_test(links),
		cmocka_unit_test(many),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
