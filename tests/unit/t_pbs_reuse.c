/*
 * Which contents of a previous payload archive are used again: an archive is
 * made of a list of files, then looked at beside a changed list.
 */

#include "pxar_mem.h"

#include "pbs/blob.h"
#include "pbs/index.h"
#include "pbs/reuse.h"

enum { CHUNK = 4096 };

struct file {
	const char *path;
	uint64_t size;
	time_t mtime, ctime;
	enum entry_type type;
};

/* A list as a reader. */
struct walk {
	struct reader r;
	const struct file *f;
	size_t n, at;
	struct entry en;
};

static void
entry_of(const struct file *f, struct entry *en)
{
	memset(en, 0, sizeof(*en));
	en->type = f->type != 0 ? f->type : ENTRY_FILE;
	en->path = f->path;
	en->size = f->size;
	en->mtime.tv_sec = f->mtime;
	en->ctime.tv_sec = f->ctime;
	en->mode = 0644;
	en->uname = en->gname = "";
	en->nlink = 1;
}

static int
walk_next(struct reader *r, const struct entry **en, struct content **c,
    struct err *e)
{
	struct walk *w = (struct walk *)r;

	(void)e;
	if (w->at == w->n)
		return 0;
	entry_of(&w->f[w->at++], &w->en);
	*en = &w->en;
	*c = NULL;
	return 1;
}

static void
walk_close(struct reader *r)
{
	(void)r;
}

/* The previous snapshot. */
struct old {
	struct mem meta, payload;
	struct mem_ranged ranged;
	struct buf index;
	struct pbs_index ix;
	struct log log;
};

static void
old_make(struct old *o, const struct file *f, size_t n)
{
	static const unsigned char magic[8] =
	    { 0x1c, 0x91, 0x4e, 0xa5, 0x19, 0xba, 0xb3, 0xcd };
	static char zeros[1 << 20];
	struct pxar_write how = { .payload = NULL };
	unsigned char entry[PBS_DIDX_ENTRY] = { 0 };
	const char *dir = "";
	struct mem_content c;
	struct err e = ERR_INIT;
	struct writer *w;
	struct entry en;
	uint64_t at;
	size_t i;

	memset(o, 0, sizeof(*o));
	mem_init(&o->meta);
	mem_init(&o->payload);
	log_init(&o->log, NULL, "t");
	how.payload = &o->payload.s;
	w = pxar_writer(&o->meta.s, &how, &o->log, &e);
	assert_non_null(w);
	for (i = 0; i < n; i++) {
		entry_of(&f[i], &en);
		if (!entry_below(en.path, dir)) {
			assert_ok(writer_leave(w, &e), &e);
			dir = "";
		}
		if (en.type == ENTRY_DIR)
			dir = en.path;
		assert_ok(writer_put(w, &en, en.type == ENTRY_FILE ?
		    mc_init(&c, zeros, f[i].size) : NULL, &e), &e);
	}
	assert_ok(writer_commit(w, &e), &e);
	writer_free(w);
	/* Chunks of one size, the last one shorter. */
	buf_init(&o->index, 1 << 20);
	buf_add(&o->index, magic, sizeof(magic));
	memset(buf_room(&o->index, PBS_INDEX_HEAD - 8), 0,
	    PBS_INDEX_HEAD - 8);
	buf_grown(&o->index, PBS_INDEX_HEAD - 8);
	for (at = 0; at < o->payload.b.len;) {
		at += CHUNK;
		if (at > o->payload.b.len)
			at = o->payload.b.len;
		put_le64(entry, at);
		buf_add(&o->index, entry, sizeof(entry));
	}
	assert_ok(pbs_index_open(&o->ix, o->index.p, o->index.len, &e), &e);
	assert_int_equal(o->ix.size, o->payload.b.len);
}

static void
old_free(struct old *o)
{
	buf_fini(&o->meta.b);
	buf_fini(&o->payload.b);
	buf_fini(&o->index);
	log_fini(&o->log);
}

/*
 * Plan with now, then ask for each: how many are used.  All that is promised
 * is checked.
 */
static size_t
used(struct old *o, const struct file *now, size_t n, bool ignore)
{
	static const struct reader_ops ops = { walk_next, walk_close };
	struct walk w = { .r = { &ops, 0 }, .f = now, .n = n };
	struct pbs_reuse_how how = { .payload = &o->ix, .since = 1000,
	    .ignore_inode = ignore, .log = &o->log };
	const struct pbs_run *run, *last = NULL;
	struct pbs_reuse_sum sum;
	struct pbs_reuse *r;
	struct err e = ERR_INIT;
	struct entry en;
	uint64_t pos = 0, before = 0;
	size_t i, count = 0;

	how.meta = mr_init(&o->ranged, o->meta.b.p, o->meta.b.len);
	r = pbs_reuse_new(&how, &e);
	assert_non_null(r);
	assert_ok(pbs_reuse_plan(r, &w.r, &e), &e);
	for (i = 0; i < n; i++) {
		entry_of(&now[i], &en);
		if (en.type != ENTRY_FILE)
			continue;
		if ((run = pbs_reuse_find(r, &en, &pos)) == NULL)
			continue;
		count++;
		/* A header of that size is there, and the run has it. */
		assert_true(pos > before);
		assert_int_equal(get_le64(o->payload.b.p + pos),
		    PXAR_PAYLOAD);
		assert_int_equal(get_le64(o->payload.b.p + pos + 8),
		    en.size + PXAR_HEAD);
		assert_true(pos >= run->start && pos + PXAR_HEAD + en.size <=
		    run->start + run->size);
		assert_int_equal(run->start, pbs_index_start(&o->ix,
		    run->first));
		assert_true(last == NULL || run >= last);
		last = run;
		before = pos;
	}
	pbs_reuse_sum(r, &sum);
	assert_int_equal(sum.files, count);
	pbs_reuse_free(r);
	return count;
}

static const struct file tree[] = {
	{ "a", 40000, 1, 1, 0 },
	{ "b", 0, 0, 0, ENTRY_DIR },
	{ "b/1", 30000, 2, 2, 0 },
	{ "b/2", 0, 2, 2, 0 },
	{ "b.x", 50000, 3, 3, 0 },
	{ "c", 100, 4, 4, 0 },
	{ "d", 60000, 5, 5, 0 }
};
enum { TREE = sizeof(tree) / sizeof(*tree) };

static void
test_an_unchanged_tree_is_used_whole(void **state)
{
	struct old o;

	(void)state;
	old_make(&o, tree, TREE);
	assert_int_equal(used(&o, tree, TREE, false), 6);
	old_free(&o);
}

static void
test_what_changed_is_read(void **state)
{
	struct file now[TREE];
	struct old o;

	(void)state;
	old_make(&o, tree, TREE);
	memcpy(now, tree, sizeof(now));
	now[0].mtime++;
	assert_int_equal(used(&o, now, TREE, false), 5);
	now[0] = tree[0];
	now[0].size++;
	assert_int_equal(used(&o, now, TREE, false), 5);
	now[0] = tree[0];
	/* Only its inode tells: somebody set the time back. */
	now[0].ctime = 1000;
	assert_int_equal(used(&o, now, TREE, false), 5);
	assert_int_equal(used(&o, now, TREE, true), 6);
	now[0] = tree[0];
	now[0].path = "a2";
	assert_int_equal(used(&o, now, TREE, false), 5);
	old_free(&o);
}

/* A chunk of which most is gone is not worth being put in. */
static void
test_what_would_drag_along_too_much_is_read(void **state)
{
	static const struct file was[] = {
		{ "a", 3000, 1, 1, 0 }, { "b", 100, 1, 1, 0 },
		{ "c", 900000, 1, 1, 0 }
	};
	static const struct file now[] = {
		{ "b", 100, 1, 1, 0 }
	};
	static const struct file most[] = {
		{ "b", 100, 1, 1, 0 }, { "c", 900000, 1, 1, 0 }
	};
	struct old o;

	(void)state;
	old_make(&o, was, 3);
	assert_int_equal(used(&o, was, 3, false), 3);
	assert_int_equal(used(&o, now, 1, false), 0);
	/* With a large neighbour it is no loss. */
	assert_int_equal(used(&o, most, 2, false), 2);
	old_free(&o);
}

static void
test_a_small_gap_does_not_end_a_run(void **state)
{
	static const struct file was[] = {
		{ "a", 100000, 1, 1, 0 }, { "b", 10, 1, 1, 0 },
		{ "c", 100000, 1, 1, 0 }
	};
	static const struct file now[] = {
		{ "a", 100000, 1, 1, 0 }, { "c", 100000, 1, 1, 0 }
	};
	struct old o;

	(void)state;
	old_make(&o, was, 3);
	assert_int_equal(used(&o, now, 2, false), 2);
	old_free(&o);
}

/* A list in another order than ours is used less, but never wrongly. */
static void
test_an_archive_in_another_order_does_no_harm(void **state)
{
	static const struct file was[] = {
		{ "c", 50000, 1, 1, 0 }, { "a", 50000, 1, 1, 0 },
		{ "b", 50000, 1, 1, 0 }
	};
	static const struct file now[] = {
		{ "a", 50000, 1, 1, 0 }, { "b", 50000, 1, 1, 0 },
		{ "c", 50000, 1, 1, 0 }
	};
	struct old o;

	(void)state;
	old_make(&o, was, 3);
	assert_true(used(&o, now, 3, false) <= 3);
	old_free(&o);
}

/* Whatever is found lies inside of the payload. */
static void
inside(struct old *o, const struct file *now)
{
	static const struct reader_ops ops = { walk_next, walk_close };
	struct walk w = { .r = { &ops, 0 }, .f = now, .n = TREE };
	struct pbs_reuse_how how = { .payload = &o->ix, .since = 1000,
	    .log = &o->log };
	const struct pbs_run *run;
	struct err e = ERR_INIT;
	struct pbs_reuse *r;
	struct entry en;
	uint64_t pos;
	size_t k;

	how.meta = mr_init(&o->ranged, o->meta.b.p, o->meta.b.len);
	r = pbs_reuse_new(&how, &e);
	assert_non_null(r);
	assert_ok(pbs_reuse_plan(r, &w.r, &e), &e);
	for (k = 0; k < TREE; k++) {
		entry_of(&now[k], &en);
		run = pbs_reuse_find(r, &en, &pos);
		assert_true(run == NULL ||
		    pos + PXAR_HEAD + en.size <= o->ix.size);
	}
	pbs_reuse_free(r);
}

/* What the metadata says of positions is somebody else's word. */
static void
test_a_broken_archive_is_read_as_new(void **state)
{
	struct file now[TREE];
	struct old o;
	size_t i;

	(void)state;
	memcpy(now, tree, sizeof(now));
	for (i = 0; i < 400; i += 7) {
		old_make(&o, tree, TREE);
		if (i < o.meta.b.len)
			memset(o.meta.b.p + i, 0xff, 3);
		inside(&o, now);
		old_free(&o);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_unchanged_tree_is_used_whole),
		cmocka_unit_test(test_what_changed_is_read),
		cmocka_unit_test(test_what_would_drag_along_too_much_is_read),
		cmocka_unit_test(test_a_small_gap_does_not_end_a_run),
		cmocka_unit_test(test_an_archive_in_another_order_does_no_harm),
		cmocka_unit_test(test_a_broken_archive_is_read_as_new)
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
