/* What the encoders write, against the vectors and at the edges. */

#include "pxar_mem.h"

struct out {
	struct mem meta, payload, pcat;
	struct pxar_write how;
	struct log log;
	struct writer *w;
	struct err e;
};

static void
out_init(struct out *o, bool split)
{
	memset(o, 0, sizeof(*o));
	mem_init(&o->meta);
	mem_init(&o->payload);
	mem_init(&o->pcat);
	log_init(&o->log, NULL, "t");
	if (split)
		o->how.payload = &o->payload.s;
}

static void
out_open(struct out *o)
{
	o->w = pxar_writer(&o->meta.s, &o->how, &o->log, &o->e);
	assert_non_null(o->w);
}

static void
out_fini(struct out *o)
{
	writer_free(o->w);
	pcat_free(o->how.catalog);
	buf_fini(&o->meta.b);
	buf_fini(&o->payload.b);
	buf_fini(&o->pcat.b);
	log_fini(&o->log);
}

static void
encode(struct out *o, const char *name)
{
	struct ops ops;
	int k;

	ops_init(&ops, name);
	while ((k = ops_next(&ops)) != 0)
		if (k == 2) {
			assert_ok(writer_leave(o->w, &o->e), &o->e);
		} else {
			assert_ok(writer_put(o->w, &ops.en, ops.content,
			    &o->e), &o->e);
			ops_done(&ops);
		}
	assert_ok(writer_commit(o->w, &o->e), &o->e);
	assert_int_equal(log_warnings(&o->log), 0);
	ops_fini(&ops);
}

static void
vectors(void **state)
{
	static const char prelude[] = "{\"exclude-patterns\":\"*.tmp\\n\"}";
	char name[32];
	struct buf want;
	struct out o;
	int i;

	(void)state;
	buf_init(&want, 1 << 20);
	for (i = 0; i < 3; i++) {
		out_init(&o, false);
		o.how.catalog = pcat_new(&o.pcat.s, &o.e);
		assert_ok(pcat_enter(o.how.catalog, "root.pxar.didx", &o.e),
		    &o.e);
		out_open(&o);
		snprintf(name, sizeof(name), "tree-%c.txt", 'A' + i);
		encode(&o, name);
		assert_ok(pcat_leave(o.how.catalog, &o.e), &o.e);
		assert_ok(pcat_end(o.how.catalog, &o.e), &o.e);
		snprintf(name, sizeof(name), "tree-%c.pxar", 'A' + i);
		file_in(&want, name);
		same_bytes(&o.meta.b, &want, name);
		snprintf(name, sizeof(name), "tree-%c.pcat1", 'A' + i);
		file_in(&want, name);
		same_bytes(&o.pcat.b, &want, name);
		assert_int_equal(o.meta.commits, 1);
		assert_int_equal(o.pcat.commits, 1);
		out_fini(&o);

		out_init(&o, true);
		if (i == 2) {
			o.how.prelude = prelude;
			o.how.prelude_len = strlen(prelude);
		}
		out_open(&o);
		snprintf(name, sizeof(name), "tree-%c.txt", 'A' + i);
		encode(&o, name);
		snprintf(name, sizeof(name), "tree-%c.mpxar", 'A' + i);
		file_in(&want, name);
		same_bytes(&o.meta.b, &want, name);
		snprintf(name, sizeof(name), "tree-%c.ppxar", 'A' + i);
		file_in(&want, name);
		same_bytes(&o.payload.b, &want, name);
		assert_int_equal(o.payload.commits, 1);
		out_fini(&o);
	}
	buf_fini(&want);
}

static void
hashes(void **state)
{
	static const struct {
		const char *name;
		uint64_t hash;
	} v[] = {
		{ "", UINT64_C(0x76614015f8d1bb6c) },
		{ "a", UINT64_C(0x0c26e9067c2c7bcf) },
		{ "f1", UINT64_C(0x23ffa8f0cace039e) },
		{ "0123456", UINT64_C(0xe72ff47567a4e7e2) },
		{ "01234567", UINT64_C(0xf908965382193a1f) },
		{ "012345678", UINT64_C(0x9542a749bd4388d7) },
		{ "hello.txt", UINT64_C(0x9b1ee0b84c66190c) },
		{ "äöü.txt", UINT64_C(0x4bdd2aa887f8fde4) },
		{ "__PROXMOX_FORMAT_VERSION__", PXAR_FORMAT_VERSION },
		{ "__PROXMOX_FORMAT_PRELUDE__", PXAR_PRELUDE },
		{ "__PROXMOX_FORMAT_ENTRY_V2__", PXAR_ENTRY },
		{ "__PROXMOX_FORMAT_ENTRY__", PXAR_ENTRY_V1 },
		{ "__PROXMOX_FORMAT_FILENAME__", PXAR_FILENAME },
		{ "__PROXMOX_FORMAT_SYMLINK__", PXAR_SYMLINK },
		{ "__PROXMOX_FORMAT_DEVICE__", PXAR_DEVICE },
		{ "__PROXMOX_FORMAT_XATTR__", PXAR_XATTR },
		{ "__PROXMOX_FORMAT_ACL_USER__", PXAR_ACL_USER },
		{ "__PROXMOX_FORMAT_ACL_GROUP__", PXAR_ACL_GROUP },
		{ "__PROXMOX_FORMAT_ACL_GROUP_OBJ__", PXAR_ACL_GROUP_OBJ },
		{ "__PROXMOX_FORMAT_ACL_DEFAULT__", PXAR_ACL_DEFAULT },
		{ "__PROXMOX_FORMAT_ACL_DEFAULT_USER__",
		    PXAR_ACL_DEFAULT_USER },
		{ "__PROXMOX_FORMAT_ACL_DEFAULT_GROUP__",
		    PXAR_ACL_DEFAULT_GROUP },
		{ "__PROXMOX_FORMAT_FCAPS__", PXAR_FCAPS },
		{ "__PROXMOX_FORMAT_QUOTA_PROJID__", PXAR_QUOTA_PROJID },
		{ "__PROXMOX_FORMAT_HARDLINK__", PXAR_HARDLINK },
		{ "__PROXMOX_FORMAT_PXAR_PAYLOAD__", PXAR_PAYLOAD },
		{ "__PROXMOX_FORMAT_PXAR_PAYLOAD_REF__", PXAR_PAYLOAD_REF },
		{ "__PROXMOX_FORMAT_GOODBYE__", PXAR_GOODBYE },
		{ "__PROXMOX_FORMAT_PXAR_GOODBYE_TAIL_MARKER__",
		    PXAR_GOODBYE_TAIL },
		{ "__PROXMOX_FORMAT_PXAR_PAYLOAD_START_MARKER__",
		    PXAR_PAYLOAD_START },
		{ "__PROXMOX_FORMAT_PXAR_PAYLOAD_TAIL_MARKER__",
		    PXAR_PAYLOAD_END },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		if (pxar_hash(v[i].name, strlen(v[i].name)) != v[i].hash)
			fail_msg("%s", v[i].name);
}

/* In-order numbers of a complete tree, the slow and plain way. */
static size_t
fill(size_t *out, size_t n, size_t i, size_t k)
{
	if (i >= n)
		return k;
	k = fill(out, n, 2 * i + 1, k);
	out[i] = k++;
	return fill(out, n, 2 * i + 2, k);
}

static void
table_order(void **state)
{
	static const size_t ten[] = { 6, 3, 8, 1, 5, 7, 9, 0, 2, 4 };
	size_t want[1100], n, i;

	(void)state;
	for (i = 0; i < 10; i++)
		assert_int_equal(pxar_goodbye(10, i), ten[i]);
	for (n = 1; n < 1100; n += n < 70 ? 1 : 103) {
		fill(want, n, 0, 0);
		for (i = 0; i < n; i++)
			assert_int_equal(pxar_goodbye(n, i), want[i]);
	}
}

static int
put(struct out *o, enum entry_type type, const char *path, const char *more)
{
	struct mem_content c;
	struct entry en = { .type = type, .path = path, .uname = "",
	    .gname = "", .mode = 0644, .target = more };
	struct content *content = NULL;

	if (type == ENTRY_FILE) {
		en.size = strlen(more);
		content = mc_init(&c, more, strlen(more));
	}
	return writer_put(o->w, &en, content, &o->e);
}

static void
twice(void **state)
{
	struct out o;

	(void)state;
	out_init(&o, false);
	out_open(&o);
	assert_ok(put(&o, ENTRY_DIR, "", NULL), &o.e);
	assert_ok(put(&o, ENTRY_FILE, "a", "x"), &o.e);
	assert_ok(put(&o, ENTRY_FILE, "b", "x"), &o.e);
	assert_ok(put(&o, ENTRY_FILE, "a", "y"), &o.e);
	assert_int_equal(writer_leave(o.w, &o.e), -1);
	assert_non_null(strstr(o.e.msg, "holds a twice"));
	out_fini(&o);
}

static void
out_of_order(void **state)
{
	struct out o;

	(void)state;
	out_init(&o, false);
	out_open(&o);
	assert_ok(put(&o, ENTRY_DIR, "", NULL), &o.e);
	assert_ok(put(&o, ENTRY_DIR, "d", NULL), &o.e);
	assert_int_equal(put(&o, ENTRY_FILE, "e", "x"), -1);
	assert_non_null(strstr(o.e.msg, "order"));
	out_fini(&o);
}

static void
links_without_file(void **state)
{
	struct out o;

	(void)state;
	out_init(&o, false);
	out_open(&o);
	assert_ok(put(&o, ENTRY_DIR, "", NULL), &o.e);
	assert_ok(put(&o, ENTRY_HARDLINK, "l", "gone"), &o.e);
	assert_int_equal(log_warnings(&o.log), 1);
	assert_int_equal(pxar_writer_sum(o.w)->entries, 1);
	out_fini(&o);
}

/* How much of the meta stream was asked for at a time, and where. */
struct reuse {
	uint64_t off[8], suggested[8];
	size_t n, suggestions;
};

static int
suggest(void *arg, uint64_t at, struct err *e)
{
	struct reuse *r = arg;

	(void)e;
	r->suggested[r->suggestions++] = at;
	return 0;
}

static int
reuse(void *arg, const struct entry *en, uint64_t *off, struct err *e)
{
	struct reuse *r = arg;

	(void)e;
	if (en->path[0] != 'o')
		return 0;
	*off = r->off[r->n++];
	return 1;
}

/* new, then two old ones in 1000 bytes of chunks put in, then new again. */
static void
old_contents(void **state)
{
	struct reuse r = { .off = { 40 + 16, 40 + 116, 200 } };
	struct out o;

	(void)state;
	out_init(&o, true);
	o.how.suggest = suggest;
	o.how.reuse = reuse;
	o.how.arg = &r;
	out_open(&o);
	assert_ok(put(&o, ENTRY_DIR, "", NULL), &o.e);
	assert_ok(put(&o, ENTRY_FILE, "new1", "abcdefgh"), &o.e);
	assert_int_equal(pxar_writer_payload(o.w), 40);
	assert_ok(put(&o, ENTRY_FILE, "o1", "0123"), &o.e);
	assert_ok(put(&o, ENTRY_FILE, "o2", "0123"), &o.e);
	assert_int_equal(o.payload.b.len, 40);
	assert_ok(pxar_writer_injected(o.w, 1000, &o.e), &o.e);
	assert_ok(put(&o, ENTRY_FILE, "new2", "z"), &o.e);
	assert_int_equal(r.suggestions, 2);
	assert_int_equal(r.suggested[0], 16);
	assert_int_equal(r.suggested[1], 1040);
	/* lies before what is written: never */
	assert_int_equal(put(&o, ENTRY_FILE, "o3", "0123"), -1);
	out_fini(&o);

	/* referred to, and not put in: no commit */
	memset(&r, 0, sizeof(r));
	r.off[0] = 500;
	out_init(&o, true);
	o.how.reuse = reuse;
	o.how.arg = &r;
	out_open(&o);
	assert_ok(put(&o, ENTRY_FILE, "o1", "0123"), &o.e);
	assert_int_equal(writer_commit(o.w, &o.e), -1);
	assert_int_equal(o.meta.commits + o.payload.commits, 0);
	out_fini(&o);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hashes),
		cmocka_unit_test(table_order),
		cmocka_unit_test(vectors),
		cmocka_unit_test(twice),
		cmocka_unit_test(out_of_order),
		cmocka_unit_test(links_without_file),
		cmocka_unit_test(old_contents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
