/* What the decoders make of the vectors, and of what is broken. */

#include "pxar_mem.h"

static const char *const names[] = { "tree-A", "tree-B", "tree-C",
    "entry-v1" };

struct arch {
	struct buf meta, payload;
	bool split;
};

static void
load(struct arch *a, const char *name, bool split)
{
	char file[64];

	buf_init(&a->meta, 1 << 20);
	buf_init(&a->payload, 1 << 20);
	a->split = split;
	snprintf(file, sizeof(file), "%s.%s", name, split ? "mpxar" : "pxar");
	file_in(&a->meta, file);
	if (!split)
		return;
	snprintf(file, sizeof(file), "%s.ppxar", name);
	file_in(&a->payload, file);
}

static void
drop(struct arch *a)
{
	buf_fini(&a->meta);
	buf_fini(&a->payload);
}

/* Open as a stream (0) or by parts of a tree (1). */
struct opened {
	struct source *meta, *payload;
	struct mem_ranged m, p;
	struct tree *tree;
	struct reader *r;
	struct log log;
	struct err e;
};

static void
open_tree(struct opened *o, const struct arch *a)
{
	memset(o, 0, sizeof(*o));
	log_init(&o->log, NULL, "t");
	o->tree = pxar_tree(mr_init(&o->m, a->meta.p, a->meta.len), a->split ?
	    mr_init(&o->p, a->payload.p, a->payload.len) : NULL, NULL,
	    &o->log, &o->e);
}

static void
open_as(struct opened *o, const struct arch *a, bool by_tree)
{
	if (by_tree) {
		open_tree(o, a);
		if (o->tree != NULL)
			o->r = o->tree->ops->reader(o->tree, NULL, 0, &o->e);
		return;
	}
	memset(o, 0, sizeof(*o));
	log_init(&o->log, NULL, "t");
	o->meta = source_mem(a->meta.p, a->meta.len, &o->e);
	if (a->split)
		o->payload = source_mem(a->payload.p, a->payload.len, &o->e);
	o->r = pxar_reader(o->meta, o->payload, NULL, &o->log, &o->e);
}

static void
close_it(struct opened *o)
{
	reader_close(o->r);
	if (o->tree != NULL)
		o->tree->ops->close(o->tree);
	source_close(o->meta);
	source_close(o->payload);
	log_fini(&o->log);
}

static void
same_as(const struct buf *got, const char *name, const char *ext)
{
	struct buf want;
	char file[64];

	buf_init(&want, 1 << 20);
	snprintf(file, sizeof(file), "%s.%s", name, ext);
	file_in(&want, file);
	same_bytes(got, &want, file);
	buf_fini(&want);
}

/* Decoded and encoded again, every vector is the same bytes. */
static void
again(void **state)
{
	static const char prelude[] = "{\"exclude-patterns\":\"*.tmp\\n\"}";
	struct pxar_write how;
	struct mem meta, payload;
	struct opened o;
	struct writer *w;
	struct arch a;
	unsigned i, from, to, by;

	(void)state;
	for (i = 0; i < 3 * 8; i++) {
		from = i & 1;
		to = i >> 1 & 1;
		by = i >> 2 & 1;
		load(&a, names[i / 8], from);
		open_as(&o, &a, by);
		assert_non_null(o.r);
		mem_init(&meta);
		mem_init(&payload);
		memset(&how, 0, sizeof(how));
		if (to) {
			how.payload = &payload.s;
			how.prelude = i / 8 == 2 ? prelude : NULL;
			how.prelude_len = strlen(prelude);
		}
		w = pxar_writer(&meta.s, &how, &o.log, &o.e);
		assert_ok(pump(o.r, w, NULL, &o.e), &o.e);
		assert_ok(writer_commit(w, &o.e), &o.e);
		same_as(&meta.b, names[i / 8], to ? "mpxar" : "pxar");
		if (to)
			same_as(&payload.b, names[i / 8], "ppxar");
		assert_int_equal(log_warnings(&o.log), 0);
		writer_free(w);
		buf_fini(&meta.b);
		buf_fini(&payload.b);
		close_it(&o);
		drop(&a);
	}
}

static int
next(struct opened *o, const struct entry **en, struct content **c)
{
	int k = reader_next(o->r, en, c, &o->e);

	if (k == -1)
		fail_msg("%s", o->e.msg);
	return k;
}

static void
old_entries(void **state)
{
	const struct entry *en;
	struct content *c;
	struct opened o;
	struct arch a;
	char text[64];
	unsigned n = 0;
	ssize_t k;

	(void)state;
	load(&a, "entry-v1", false);
	open_as(&o, &a, false);
	while (next(&o, &en, &c) == 1) {
		n++;
		if (c == NULL)
			continue;
		k = content_full(c, text, sizeof(text), &o.e);
		assert_int_equal(k, en->size);
		assert_memory_equal(text, "old\n", 4);
		assert_int_equal(en->mtime.tv_sec, 1430487000);
		assert_int_equal(en->mtime.tv_nsec, 250000000);
		assert_int_equal(en->uid, 1000);
	}
	assert_int_equal(n, 2);
	close_it(&o);
	drop(&a);
}

struct names {
	char last[256];
	unsigned n;
	bool one_more;
};

static int
sorted(void *arg, const struct entry *en, struct err *e)
{
	struct names *s = arg;

	(void)e;
	if (s->n++ > 0 && strcmp(s->last, en->path) >= 0)
		fail_msg("%s behind %s", en->path, s->last);
	snprintf(s->last, sizeof(s->last), "%s", en->path);
	return s->one_more ? 1 : 0;
}

/* Everything that a stream yields is found in the tree, and the same. */
static void
by_tree(void **state)
{
	const struct entry *en;
	struct content *c, *tc;
	struct opened o, t;
	struct names s;
	struct entry st;
	struct arch a;
	char text[64], part[64], path[256];
	unsigned i;
	ssize_t n;

	(void)state;
	for (i = 0; i < 7; i++) {
		load(&a, names[i / 2], i % 2 == 1);
		open_as(&o, &a, false);
		open_tree(&t, &a);
		if (t.tree == NULL)
			fail_msg("%s", t.e.msg);
		while (next(&o, &en, &c) == 1) {
			snprintf(path, sizeof(path), "%s", en->path);
			assert_ok(t.tree->ops->stat(t.tree, path, &st, &t.e),
			    &t.e);
			assert_string_equal(st.path, en->path);
			assert_int_equal(st.type, en->type);
			assert_int_equal(st.size, en->size);
			assert_int_equal(st.mode, en->mode);
			assert_int_equal(st.uid, en->uid);
			assert_int_equal(st.mtime.tv_sec, en->mtime.tv_sec);
			assert_int_equal(st.nxattrs, en->nxattrs);
			if (en->type == ENTRY_DIR) {
				memset(&s, 0, sizeof(s));
				assert_ok(t.tree->ops->list(t.tree, path,
				    sorted, &s, &t.e), &t.e);
			}
			if (c == NULL)
				continue;
			n = content_full(c, text, sizeof(text), &o.e);
			assert_int_equal(n, en->size);
			tc = t.tree->ops->open(t.tree, path, 0, UINT64_MAX,
			    &t.e);
			assert_non_null(tc);
			assert_int_equal(content_full(tc, part, sizeof(part),
			    &t.e), n);
			assert_memory_equal(text, part, (size_t)n);
			if (n < 3)
				continue;
			tc = t.tree->ops->open(t.tree, path, 1, (uint64_t)n -
			    2, &t.e);
			assert_int_equal(content_full(tc, part, sizeof(part),
			    &t.e), n - 2);
			assert_memory_equal(text + 1, part, (size_t)n - 2);
		}
		close_it(&o);
		close_it(&t);
		drop(&a);
	}
}

static void
absent(void **state)
{
	static const char *const no[] = { "nothing", "dir/nothing", "a-orig/x",
	    "sym/x", "dir/empty/x" };
	struct names s = { .n = 0 };
	struct opened t;
	struct entry st;
	struct arch a;
	size_t i;

	(void)state;
	load(&a, "tree-B", false);
	open_tree(&t, &a);
	for (i = 0; i < 5; i++) {
		err_clear(&t.e);
		assert_int_equal(t.tree->ops->stat(t.tree, no[i], &st, &t.e),
		    -1);
		assert_int_equal(t.e.code, CALA_NOTFOUND);
	}
	err_clear(&t.e);
	assert_int_equal(t.tree->ops->list(t.tree, "a-orig", sorted, &s,
	    &t.e), -1);
	assert_int_equal(t.e.code, CALA_NOTFOUND);
	assert_null(t.tree->ops->open(t.tree, "dir", 0, 1, &t.e));
	close_it(&t);
	drop(&a);
}

/* One link of the group is asked for: it becomes the file. */
static void
link_alone(void **state)
{
	static const char *const one[] = { "dir/link" }, *const two[] =
	    { "dir", "a-orig", "dir/link" };
	const struct entry *en;
	struct content *c;
	struct opened t;
	struct arch a;
	char text[8];
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		load(&a, "tree-B", i == 1);
		open_tree(&t, &a);
		t.r = t.tree->ops->reader(t.tree, one, 1, &t.e);
		assert_int_equal(next(&t, &en, &c), 1);
		assert_int_equal(en->type, ENTRY_FILE);
		assert_string_equal(en->path, "dir/link");
		assert_int_equal(en->mode, 0600);
		assert_int_equal(content_full(c, text, 8, &t.e), 3);
		assert_memory_equal(text, "ABC", 3);
		assert_int_equal(next(&t, &en, &c), 0);
		reader_close(t.r);

		t.r = t.tree->ops->reader(t.tree, two, 3, &t.e);
		assert_int_equal(next(&t, &en, &c), 1);
		assert_string_equal(en->path, "a-orig");
		assert_int_equal(next(&t, &en, &c), 1);
		assert_string_equal(en->path, "dir");
		assert_int_equal(next(&t, &en, &c), 1);
		assert_string_equal(en->path, "dir/empty");
		assert_int_equal(next(&t, &en, &c), 1);
		assert_int_equal(en->type, ENTRY_HARDLINK);
		assert_string_equal(en->target, "a-orig");
		assert_int_equal(next(&t, &en, &c), 0);
		/* by its own bytes, too */
		c = t.tree->ops->open(t.tree, "dir/link", 1, 1, &t.e);
		assert_non_null(c);
		assert_int_equal(content_full(c, text, 8, &t.e), 1);
		assert_int_equal(text[0], 'B');
		close_it(&t);
		drop(&a);
	}
}

static void
where_payload(void **state)
{
	uint64_t off, size;
	struct opened t;
	struct arch a;

	(void)state;
	load(&a, "tree-A", true);
	open_tree(&t, &a);
	assert_int_equal(pxar_tree_payload(t.tree, "hello.txt", &off, &size,
	    &t.e), 0);
	assert_int_equal(off, 16);
	assert_int_equal(size, 12);
	assert_int_equal(pxar_tree_payload(t.tree, "", &off, &size, &t.e), 1);
	close_it(&t);
	drop(&a);
}

/* All of it, as far as it goes: 0 when it says that it was whole. */
static int
read_all(struct opened *o)
{
	const struct entry *en;
	struct content *c;
	char text[64];
	ssize_t n;
	int k;

	if (o->r == NULL)
		return -1;
	while ((k = reader_next(o->r, &en, &c, &o->e)) == 1) {
		if (c == NULL)
			continue;
		while ((n = content_read(c, text, sizeof(text), &o->e)) > 0)
			;
		if (n == -1)
			return -1;
	}
	return k;
}

static void
truncated(void **state)
{
	struct opened o;
	struct arch a;
	unsigned i;
	size_t n;

	(void)state;
	for (i = 0; i < 6; i++) {
		load(&a, names[i / 2], i % 2 == 1);
		for (n = a.meta.len; n-- > 0;) {
			a.meta.len = n;
			open_as(&o, &a, false);
			if (read_all(&o) != -1)
				fail_msg("%s cut to %zu bytes is no error",
				    names[i / 2], n);
			if (o.e.code != CALA_INCOMPLETE)
				fail_msg("%zu: %s", n, o.e.msg);
			close_it(&o);
			open_tree(&o, &a);
			if (o.tree != NULL)
				o.r = o.tree->ops->reader(o.tree, NULL, 0,
				    &o.e);
			assert_int_equal(read_all(&o), -1);
			close_it(&o);
		}
		drop(&a);
	}
}

static void
payload_cut(void **state)
{
	struct opened o;
	struct arch a;
	size_t n;

	(void)state;
	load(&a, "tree-A", true);
	for (n = 16 + 16 + 12; n-- > 0;) {
		a.payload.len = n;
		open_as(&o, &a, n % 2 == 0);
		assert_int_equal(read_all(&o), -1);
		close_it(&o);
	}
	drop(&a);
}

static void
more_behind(void **state)
{
	struct opened o;
	struct arch a;

	(void)state;
	load(&a, "tree-B", false);
	buf_chr(&a.meta, 'x');
	open_as(&o, &a, false);
	assert_int_equal(read_all(&o), -1);
	assert_int_equal(o.e.code, CALA_INTEGRITY);
	close_it(&o);
	drop(&a);
}

/* Every byte changed in some ways: never a crash, whatever it means then. */
static void
changed(void **state)
{
	static const unsigned char with[] = { 0x01, 0x80, 0xff };
	struct names s;
	struct opened o;
	struct entry st;
	struct arch a;
	size_t at, k;
	unsigned i;
	char was;

	(void)state;
	for (i = 2; i < 6; i++) {
		load(&a, names[i / 2], i % 2 == 1);
		for (at = 0; at < a.meta.len; at++)
			for (k = 0; k < sizeof(with); k++) {
				was = a.meta.p[at];
				a.meta.p[at] = (char)(was ^ with[k]);
				open_as(&o, &a, k == 1);
				read_all(&o);
				close_it(&o);
				open_tree(&o, &a);
				memset(&s, 0, sizeof(s));
				s.one_more = k == 2;
				if (o.tree != NULL) {
					o.tree->ops->stat(o.tree, "dir/link",
					    &st, &o.e);
					o.tree->ops->open(o.tree, "dir/link",
					    0, 9, &o.e);
				}
				close_it(&o);
				a.meta.p[at] = was;
			}
		drop(&a);
	}
}

/* Without the payload all but contents is there. */
static void
no_payload(void **state)
{
	const struct entry *en;
	struct content *c;
	struct opened o;
	struct arch a;
	char b;

	(void)state;
	load(&a, "tree-A", true);
	a.split = false;
	open_as(&o, &a, false);
	assert_int_equal(next(&o, &en, &c), 1);
	assert_int_equal(next(&o, &en, &c), 1);
	assert_int_equal(en->size, 12);
	assert_int_equal(content_read(c, &b, 1, &o.e), -1);
	assert_int_equal(o.e.code, CALA_NOTFOUND);
	close_it(&o);
	drop(&a);
}

static void
limits(void **state)
{
	struct pxar_read how = { .max_entries = 3 };
	const struct entry *en;
	struct content *c;
	struct opened o;
	struct arch a;
	int k, i;

	(void)state;
	load(&a, "tree-C", false);
	for (i = 0; i < 2; i++) {
		memset(&o, 0, sizeof(o));
		log_init(&o.log, NULL, "t");
		o.meta = source_mem(a.meta.p, a.meta.len, &o.e);
		o.r = pxar_reader(o.meta, NULL, &how, &o.log, &o.e);
		while ((k = reader_next(o.r, &en, &c, &o.e)) == 1)
			;
		assert_int_equal(k, -1);
		assert_non_null(strstr(o.e.msg, "more than"));
		close_it(&o);
		how.max_entries = 0;
		how.max_size = 5;
	}
	drop(&a);
}

/* ---- the catalog ---- */

struct seen {
	char text[1024];
};

static int
remember(void *arg, const struct entry *en, struct err *e)
{
	struct seen *s = arg;
	size_t n = strlen(s->text);

	(void)e;
	snprintf(s->text + n, sizeof(s->text) - n, "%c %s %ju %jd\n", en->type,
	    en->path, (uintmax_t)en->size, (intmax_t)en->mtime.tv_sec);
	return 0;
}

static void
catalog(void **state)
{
	struct err e = ERR_INIT;
	struct mem_ranged m;
	struct seen s = { "" };
	struct ranged *r;
	struct buf b;

	(void)state;
	buf_init(&b, 1 << 20);
	file_in(&b, "tree-B.pcat1");
	r = mr_init(&m, b.p, b.len);
	assert_ok(pcat_list(r, "", remember, &s, &e), &e);
	assert_string_equal(s.text, "d root.pxar.didx 0 0\n");
	s.text[0] = '\0';
	assert_ok(pcat_list(r, "root.pxar.didx", remember, &s, &e), &e);
	assert_string_equal(s.text, "f root.pxar.didx/a-orig 3 -2\n"
	    "b root.pxar.didx/blk 0 0\nc root.pxar.didx/chr 0 0\n"
	    "d root.pxar.didx/dir 0 0\np root.pxar.didx/fifo 0 0\n"
	    "s root.pxar.didx/sock 0 0\nl root.pxar.didx/sym 0 0\n");
	s.text[0] = '\0';
	assert_ok(pcat_list(r, "root.pxar.didx/dir", remember, &s, &e), &e);
	assert_string_equal(s.text, "d root.pxar.didx/dir/empty 0 0\n"
	    "h root.pxar.didx/dir/link 0 0\n");
	assert_int_equal(pcat_list(r, "root.pxar.didx/sym", remember, &s, &e),
	    -1);
	assert_int_equal(e.code, CALA_NOTFOUND);
	buf_fini(&b);
}

/* The numbers of the format's table, written and read. */
static void
catalog_numbers(void **state)
{
	static const struct {
		int64_t n;
		const char *hex;
	} v[] = {
		{ 0, "00" }, { 127, "7f" }, { 128, "8001" }, { 300, "ac02" },
		{ 16384, "808001" }, { 1700000000, "80e2cfaa06" },
		{ INT64_MAX, "ffffffffffffffff7f" }, { -1, "8100" },
		{ -2, "8200" }, { -127, "ff00" }, { -128, "808100" },
		{ -16384, "80808100" }, { -1700000000, "80e2cfaa8600" },
		{ INT64_MIN, "8080808080808080808100" },
	};
	struct err e = ERR_INIT;
	struct mem_ranged r;
	char hex[64], want[64];
	struct seen s;
	struct pcat *c;
	struct mem m;
	size_t i, n;

	(void)state;
	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		mem_init(&m);
		c = pcat_new(&m.s, &e);
		assert_ok(pcat_add(c, ENTRY_FILE, "n", 0, v[i].n, &e), &e);
		assert_ok(pcat_end(c, &e), &e);
		/* behind magic, length, count, type, name and size */
		n = m.b.len - 8 - 14;
		hex_put(m.b.p + 14, n, hex);
		assert_string_equal(hex, v[i].hex);
		s.text[0] = '\0';
		assert_ok(pcat_list(mr_init(&r, m.b.p, m.b.len), "", remember,
		    &s, &e), &e);
		snprintf(want, sizeof(want), "f n 0 %jd\n", (intmax_t)v[i].n);
		assert_string_equal(s.text, want);
		pcat_free(c);
		buf_fini(&m.b);
	}
}

static void
catalog_changed(void **state)
{
	struct err e = ERR_INIT;
	struct mem_ranged m;
	struct seen s;
	struct buf b;
	size_t at, n;
	int k;

	(void)state;
	buf_init(&b, 1 << 20);
	file_in(&b, "tree-B.pcat1");
	for (at = 0; at < b.len; at++)
		for (k = 0; k < 8; k++) {
			b.p[at] = (char)(b.p[at] ^ 1 << k);
			s.text[0] = '\0';
			pcat_list(mr_init(&m, b.p, b.len),
			    "root.pxar.didx/dir", remember, &s, &e);
			b.p[at] = (char)(b.p[at] ^ 1 << k);
		}
	for (n = 0; n < b.len; n++)
		assert_int_equal(pcat_list(mr_init(&m, b.p, n),
		    "root.pxar.didx/dir", remember, &s, &e), -1);
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(again),
		cmocka_unit_test(old_entries),
		cmocka_unit_test(by_tree),
		cmocka_unit_test(absent),
		cmocka_unit_test(link_alone),
		cmocka_unit_test(where_payload),
		cmocka_unit_test(truncated),
		cmocka_unit_test(payload_cut),
		cmocka_unit_test(more_behind),
		cmocka_unit_test(changed),
		cmocka_unit_test(no_payload),
		cmocka_unit_test(limits),
		cmocka_unit_test(catalog),
		cmocka_unit_test(catalog_numbers),
		cmocka_unit_test(catalog_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
