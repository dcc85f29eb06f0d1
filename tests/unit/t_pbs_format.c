/* Blobs, indexes, manifests and keys of Proxmox Backup Server. */

#include "pbs_mem.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/bytes.h"
#include "pbs/blob.h"
#include "pbs/index.h"
#include "pbs/manifest.h"

static const char hello[] = "hello pbs\n";

static const unsigned char elsa_key[PBS_KEY] = {
	0x28, 0xcd, 0xb1, 0xa3, 0xbe, 0xf3, 0x93, 0x96,
	0xc3, 0x86, 0x0e, 0x00, 0xd4, 0x48, 0xfe, 0x7a,
	0x0e, 0xfd, 0x82, 0x44, 0x48, 0x6a, 0xb6, 0xfe,
	0xb3, 0x04, 0x57, 0x68, 0x1d, 0x31, 0x59, 0x7e
};

/* ---- keys ---- */

static void
test_a_key_has_the_known_fingerprint(void **state)
{
	struct pbs_crypt *c = counting_key();
	unsigned char back[PBS_DIGEST];
	char text[PBS_PRINT];

	(void)state;
	assert_string_equal(pbs_print_text(pbs_crypt_print(c), text),
	    "0e:ab:d4:46:0b:6e:b9:ca:34:50:23:de:e2:b7:78:c7:"
	    "90:e5:4a:16:83:b9:65:9c:0a:57:ae:19:90:90:15:9b");
	assert_int_equal(pbs_print_get(text, back), 0);
	assert_memory_equal(back, pbs_crypt_print(c), PBS_DIGEST);
	assert_int_equal(pbs_print_get("0EABD4460B6EB9CA345023DEE2B778C7"
	    "90E54A1683B9659C0A57AE199090159B", back), 0);
	assert_memory_equal(back, pbs_crypt_print(c), PBS_DIGEST);
	assert_int_equal(pbs_print_get("0e:ab", back), -1);
	assert_int_equal(pbs_print_get("0e:ab:d4:46:0b:6e:b9:ca:34:50:23:de:"
	    "e2:b7:78:c7:90:e5:4a:16:83:b9:65:9c:0a:57:ae:19:90:90:15:9b:00",
	    back), -1);
	assert_int_equal(pbs_print_get("", back), -1);
	pbs_crypt_free(c);
}

static void
test_a_digest_depends_on_the_key(void **state)
{
	struct pbs_crypt *c = counting_key();
	struct err e = ERR_INIT;
	struct sha256 *h = sha256_new(&e);
	unsigned char is[PBS_DIGEST], want[PBS_DIGEST];

	(void)state;
	assert_non_null(h);
	hex(want, "7cbefaa3f86013acc6a1e9224f6c601a"
	    "93fdaa96670a253bdef9511df6e0b498");
	pbs_crypt_digest(c, h, hello, 10, is);
	assert_memory_equal(is, want, PBS_DIGEST);
	hex(want, "904eae118d694ef4ae6d7394c57addd0"
	    "867d20ab1147d12dcc96c89d0357b19c");
	pbs_crypt_digest(NULL, h, hello, 10, is);
	assert_memory_equal(is, want, PBS_DIGEST);
	sha256_free(h);
	pbs_crypt_free(c);
}

/* ---- blobs ---- */

/* The blob stays as it is. */
static int
chunk_open(struct pbs_coder *k, const struct buf *in,
    const unsigned char digest[PBS_DIGEST], void *out, size_t n,
    struct err *e)
{
	void *copy = malloc(in->len);
	int ret;

	assert_non_null(copy);
	memcpy(copy, in->p, in->len);
	ret = pbs_chunk_open(k, copy, in->len, digest, out, n, e);
	free(copy);
	return ret;
}

static void
opens(const char *name, bool key, const void *want, size_t n)
{
	struct pbs_crypt *c = counting_key();
	struct err e = ERR_INIT;
	struct pbs_coder *k = pbs_coder_new(key ? c : NULL, 0, &e);
	unsigned char digest[PBS_DIGEST];
	struct buf in, out;
	char *p = malloc(n + 1);

	assert_non_null(k);
	assert_non_null(p);
	vector(&in, name);
	buf_init(&out, n);
	assert_ok(pbs_blob_open(k, in.p, in.len, &out, &e), &e);
	assert_int_equal(out.len, n);
	assert_memory_equal(out.p, want, n);
	/* One byte less is allowed: refused, nothing more is stored. */
	if (n > 0) {
		buf_fini(&out);
		buf_init(&out, n - 1);
		assert_int_equal(pbs_blob_open(k, in.p, in.len, &out, &e),
		    -1);
		assert_int_equal(e.code, CALA_INTEGRITY);
		assert_true(out.len < n);
		pbs_coder_digest(k, want, n, digest);
		assert_ok(chunk_open(k, &in, digest, p, n, &e), &e);
		assert_memory_equal(p, want, n);
		assert_int_equal(chunk_open(k, &in, digest, p, n - 1, &e),
		    -1);
		assert_int_equal(chunk_open(k, &in, digest, p, n + 1, &e),
		    -1);
		digest[31] ^= 1;
		assert_int_equal(chunk_open(k, &in, digest, p, n, &e), -1);
		assert_int_equal(e.code, CALA_INTEGRITY);
	}
	free(p);
	buf_fini(&in);
	buf_fini(&out);
	pbs_coder_free(k);
	pbs_crypt_free(c);
}

static void
test_the_known_blobs_are_read(void **state)
{
	char a[4096];

	(void)state;
	memset(a, 'A', sizeof(a));
	opens("hello.blob", false, hello, 10);
	opens("empty.blob", false, "", 0);
	opens("a4096.blob", false, a, sizeof(a));
	opens("hello-sealed.blob", true, hello, 10);
}

static void
test_a_blob_is_as_the_known_one(void **state)
{
	struct err e = ERR_INIT;
	struct pbs_coder *k = pbs_coder_new(NULL, 0, &e);
	unsigned char out[64];
	struct buf want;
	size_t n = 0;

	(void)state;
	assert_non_null(k);
	vector(&want, "hello.blob");
	assert_ok(pbs_blob_make(k, hello, 10, out, &n, &e), &e);
	assert_int_equal(n, want.len);
	assert_memory_equal(out, want.p, n);
	buf_fini(&want);
	vector(&want, "empty.blob");
	assert_ok(pbs_blob_make(k, "", 0, out, &n, &e), &e);
	assert_int_equal(n, want.len);
	assert_memory_equal(out, want.p, n);
	buf_fini(&want);
	pbs_coder_free(k);
}

/* Text that is compressed, and noise that is not; both ways, both kinds. */
static void
test_what_is_made_is_read_again(void **state)
{
	static const size_t sizes[] = { 1, 2, 100, 4096, 65536, 1 << 20 };
	struct pbs_crypt *c = counting_key();
	struct err e = ERR_INIT;
	unsigned char *p = malloc(1 << 20), *q = malloc(1 << 20);
	unsigned char *blob = malloc((1 << 20) + PBS_BLOB_ROOM);
	unsigned char *whole = malloc((1 << 20) + PBS_BLOB_ROOM);
	unsigned char *spare = malloc(1 << 20), digest[PBS_DIGEST];
	struct pbs_blob b;
	struct pbs_coder *k;
	uint32_t x = 1;
	size_t i, j, n;
	unsigned way;

	(void)state;
	assert_true(p != NULL && q != NULL && blob != NULL &&
	    whole != NULL && spare != NULL);
	for (way = 0; way < 4; way++) {
		k = pbs_coder_new(way & 1 ? c : NULL, 0, &e);
		assert_non_null(k);
		for (j = 0; j < 1 << 20; j++) {
			x = x * 1664525 + 1013904223;
			p[j] = (unsigned char)(way & 2 ? x >> 24 : j / 100);
		}
		for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
			pbs_coder_digest(k, p, sizes[i], digest);
			assert_ok(pbs_blob_make(k, p, sizes[i], blob, &n, &e),
			    &e);
			assert_true(n <= sizes[i] + PBS_BLOB_ROOM);
			assert_int_equal(pbs_blob_sealed(blob, n), way & 1);
			if (sizes[i] >= 4096 && !(way & 2))
				assert_true(n < sizes[i] / 2);
			memset(q, 0, sizes[i]);
			assert_ok(pbs_chunk_open(k, blob, n, digest, q,
			    sizes[i], &e), &e);
			assert_memory_equal(p, q, sizes[i]);
			/* And in two pieces, the second of which may be q. */
			memcpy(blob, p, sizes[i]);
			assert_ok(pbs_blob_pack(k, blob, sizes[i],
			    i & 1 ? spare : NULL, &b, &e), &e);
			assert_true(b.body == blob || b.body == spare);
			memcpy(whole, b.head, b.nhead);
			memcpy(whole + b.nhead, b.body, b.nbody);
			memset(q, 0, sizes[i]);
			assert_ok(pbs_chunk_open(k, whole, b.nhead + b.nbody,
			    digest, q, sizes[i], &e), &e);
			assert_memory_equal(p, q, sizes[i]);
		}
		pbs_coder_free(k);
	}
	free(p);
	free(q);
	free(blob);
	free(whole);
	free(spare);
	pbs_crypt_free(c);
}

static void
test_two_sealed_blobs_of_one_text_differ(void **state)
{
	struct pbs_crypt *c = counting_key();
	struct err e = ERR_INIT;
	struct pbs_coder *k = pbs_coder_new(c, 0, &e);
	unsigned char a[64], b[64];
	size_t n, m;

	(void)state;
	assert_non_null(k);
	assert_ok(pbs_blob_make(k, hello, 10, a, &n, &e), &e);
	assert_ok(pbs_blob_make(k, hello, 10, b, &m, &e), &e);
	assert_int_equal(n, m);
	assert_memory_not_equal(a + 12, b + 12, PBS_IV);
	assert_memory_not_equal(a + 44, b + 44, n - 44);
	pbs_coder_free(k);
	pbs_crypt_free(c);
}

/* Every single bit of a blob counts, but those of magic's other kinds. */
static void
test_no_bit_of_a_blob_can_change(void **state)
{
	static const char *const names[] = { "hello.blob", "a4096.blob",
	    "hello-sealed.blob" };
	struct pbs_crypt *c = counting_key();
	struct err e = ERR_INIT;
	struct pbs_coder *k;
	struct buf in, out;
	size_t i, bit;

	(void)state;
	for (i = 0; i < 3; i++) {
		k = pbs_coder_new(i == 2 ? c : NULL, 0, &e);
		assert_non_null(k);
		vector(&in, names[i]);
		for (bit = 0; bit < 8 * in.len; bit++) {
			buf_init(&out, 1 << 16);
			in.p[bit / 8] ^= (char)(1 << bit % 8);
			assert_int_equal(pbs_blob_open(k, in.p, in.len, &out,
			    &e), -1);
			in.p[bit / 8] ^= (char)(1 << bit % 8);
			buf_fini(&out);
		}
		/* Nor can it be cut. */
		for (bit = 0; bit < in.len; bit++) {
			buf_init(&out, 1 << 16);
			assert_int_equal(pbs_blob_open(k, in.p, bit, &out,
			    &e), -1);
			buf_fini(&out);
		}
		buf_fini(&in);
		pbs_coder_free(k);
	}
	pbs_crypt_free(c);
}

static void
test_a_sealed_blob_needs_its_key(void **state)
{
	struct err e = ERR_INIT;
	struct pbs_coder *k = pbs_coder_new(NULL, 0, &e), *with;
	struct pbs_crypt *c = counting_key(), *other;
	unsigned char digest[PBS_DIGEST], p[10];
	struct buf in, out;

	(void)state;
	assert_non_null(k);
	vector(&in, "hello-sealed.blob");
	buf_init(&out, 100);
	pbs_coder_digest(k, hello, 10, digest);
	assert_int_equal(pbs_blob_open(k, in.p, in.len, &out, &e), -1);
	assert_int_equal(e.code, CALA_INTEGRITY);
	/* Where nothing is sealed this is damage, not the lack of a key. */
	assert_int_equal(pbs_chunk_open(k, in.p, in.len, digest, p, 10, &e),
	    -1);
	assert_int_equal(e.code, CALA_INTEGRITY);
	other = pbs_crypt_new(elsa_key, &e);
	with = pbs_coder_new(other, 0, &e);
	assert_non_null(with);
	assert_int_equal(pbs_blob_open(with, in.p, in.len, &out, &e), -1);
	assert_int_equal(e.code, CALA_INTEGRITY);
	assert_int_equal(out.len, 0);
	pbs_coder_free(with);
	pbs_crypt_free(other);
	buf_fini(&in);
	/* And a plain one is none where all are sealed. */
	vector(&in, "hello.blob");
	with = pbs_coder_new(c, 0, &e);
	assert_int_equal(pbs_blob_open(with, in.p, in.len, &out, &e), -1);
	assert_int_equal(e.code, CALA_INTEGRITY);
	assert_int_equal(out.len, 0);
	pbs_coder_digest(with, hello, 10, digest);
	assert_int_equal(pbs_chunk_open(with, in.p, in.len, digest, p, 10,
	    &e), -1);
	assert_non_null(strstr(e.msg, "not encrypted"));
	buf_fini(&in);
	pbs_coder_free(with);
	pbs_coder_free(k);
	pbs_crypt_free(c);
}

/* ---- indexes ---- */

static void
test_the_known_didx_is_read(void **state)
{
	struct err e = ERR_INIT;
	struct pbs_index ix;
	unsigned char want[PBS_DIGEST];
	struct buf in;

	(void)state;
	vector(&in, "two.didx");
	assert_ok(pbs_index_open(&ix, in.p, in.len, &e), &e);
	assert_false(ix.fixed);
	assert_int_equal(ix.n, 2);
	assert_int_equal(ix.size, 66536);
	hex(want, "b76421159490042064ac73ea8ccb5b48"
	    "9abb1f12f58f5e9898b494b52664543c");
	assert_memory_equal(ix.csum, want, PBS_DIGEST);
	assert_int_equal(pbs_index_start(&ix, 0), 0);
	assert_int_equal(pbs_index_length(&ix, 0), 65536);
	assert_int_equal(pbs_index_start(&ix, 1), 65536);
	assert_int_equal(pbs_index_length(&ix, 1), 1000);
	hex(want, "f6f118e120e52be0bd0cfdf2794cd12c"
	    "07686cc871235ac2f11459378e6d235b");
	assert_memory_equal(pbs_index_digest(&ix, 1), want, PBS_DIGEST);
	assert_int_equal(pbs_index_find(&ix, 0), 0);
	assert_int_equal(pbs_index_find(&ix, 65535), 0);
	assert_int_equal(pbs_index_find(&ix, 65536), 1);
	assert_int_equal(pbs_index_find(&ix, 66535), 1);
	buf_fini(&in);
}

static void
test_the_known_fidx_is_read(void **state)
{
	struct err e = ERR_INIT;
	struct pbs_index ix;
	unsigned char want[PBS_DIGEST];
	struct buf in;

	(void)state;
	vector(&in, "disk.fidx");
	assert_ok(pbs_index_open(&ix, in.p, in.len, &e), &e);
	assert_true(ix.fixed);
	assert_int_equal(ix.n, 2);
	assert_int_equal(ix.size, 5 << 20);
	assert_int_equal(ix.step, 4 << 20);
	hex(want, "12985622eb63d48aed52c6af39cea713"
	    "a419ba5b5d0a470eeb0204cd20a9d0e2");
	assert_memory_equal(ix.csum, want, PBS_DIGEST);
	assert_int_equal(pbs_index_length(&ix, 0), 4 << 20);
	assert_int_equal(pbs_index_length(&ix, 1), 1 << 20);
	assert_int_equal(pbs_index_find(&ix, (4 << 20) - 1), 0);
	assert_int_equal(pbs_index_find(&ix, 4 << 20), 1);
	hex(want, "ee78cd29d3a534713b36e6ff6fa3668c"
	    "8a8f851a542d5eb2401c25ca4e057d02");
	assert_memory_equal(pbs_index_digest(&ix, 1), want, PBS_DIGEST);
	buf_fini(&in);
}

/* Two entries as Wings' specification computes their sum. */
static void
test_the_sum_of_entries_is_the_known_one(void **state)
{
	struct err e = ERR_INIT;
	struct sha256 *h = sha256_new(&e);
	unsigned char one[PBS_DIGEST], two[PBS_DIGEST], is[PBS_DIGEST],
	    want[PBS_DIGEST];

	(void)state;
	assert_non_null(h);
	memset(one, 0x11, sizeof(one));
	memset(two, 0x22, sizeof(two));
	pbs_csum_add(h, 1024, one);
	pbs_csum_add(h, 2048, two);
	sha256_end(h, is);
	hex(want, "c4a4941330cdd8e64c0a280bba341530"
	    "8c8bd8c12686073fd186cfdd6b993645");
	assert_memory_equal(is, want, PBS_DIGEST);
	sha256_free(h);
}

static void
refused(struct buf *b, const char *what)
{
	struct pbs_index ix;
	struct err e = ERR_INIT;

	if (pbs_index_open(&ix, b->p, b->len, &e) == 0)
		fail_msg("%s: accepted", what);
	assert_int_equal(e.code, CALA_INTEGRITY);
	buf_fini(b);
}

static void
test_a_broken_index_is_refused(void **state)
{
	struct err e = ERR_INIT;
	struct pbs_index ix;
	struct buf b;

	(void)state;
	vector(&b, "two.didx");
	buf_cut(&b, 4095);
	refused(&b, "less than a header");
	vector(&b, "two.didx");
	buf_cut(&b, b.len - 1);
	refused(&b, "half an entry");
	vector(&b, "two.didx");
	b.p[0] ^= 1;
	refused(&b, "another magic");
	vector(&b, "two.didx");
	put_le64(b.p + 4096, 66536);
	refused(&b, "two chunks that end together");
	vector(&b, "two.didx");
	put_le64(b.p + 4096, 0);
	refused(&b, "a chunk without bytes");
	vector(&b, "two.didx");
	put_le64(b.p + 4136, UINT64_MAX);
	refused(&b, "a chunk of all there is");
	vector(&b, "two.didx");
	put_le64(b.p + 4136, 65536 + PBS_CHUNK_MAX + 1);
	refused(&b, "a chunk too long");
	vector(&b, "disk.fidx");
	buf_cut(&b, b.len - 32);
	refused(&b, "a chunk less than the size needs");
	vector(&b, "disk.fidx");
	put_le64(b.p + 64, UINT64_MAX);
	refused(&b, "an image of all there is");
	vector(&b, "disk.fidx");
	put_le64(b.p + 64, 0);
	refused(&b, "an image of nothing");
	vector(&b, "disk.fidx");
	put_le64(b.p + 72, 0);
	refused(&b, "chunks of nothing");
	vector(&b, "disk.fidx");
	put_le64(b.p + 72, 3 << 20);
	refused(&b, "chunks of 3 MiB");
	/* One without entries is none that a server closes, but no harm. */
	vector(&b, "two.didx");
	buf_cut(&b, 4096);
	assert_ok(pbs_index_open(&ix, b.p, b.len, &e), &e);
	assert_int_equal(ix.n, 0);
	assert_int_equal(ix.size, 0);
	buf_fini(&b);
}

/* ---- manifests ---- */

static void
load(struct pbs_manifest *m, const char *name)
{
	struct err e = ERR_INIT;
	struct buf in;

	vector(&in, name);
	assert_ok(pbs_manifest_parse(m, in.p, in.len, &e), &e);
	buf_fini(&in);
}

static void
test_a_manifest_is_signed_as_the_known_one(void **state)
{
	struct err e = ERR_INIT;
	struct pbs_crypt *c = pbs_crypt_new(elsa_key, &e);
	struct pbs_manifest m, again;
	unsigned char want[PBS_DIGEST];
	struct buf canon, text;

	(void)state;
	assert_non_null(c);
	load(&m, "elsa.json");
	assert_int_equal(m.n, 2);
	assert_int_equal(m.files[0].mode, PBS_MODE_ENCRYPT);
	assert_true(m.has_sign);
	vector(&canon, "elsa.canonical");
	buf_init(&text, 1 << 16);
	assert_ok(pbs_manifest_canonical(&m, &text, &e), &e);
	assert_string_equal(text.p, canon.p);
	assert_int_equal(pbs_manifest_check(&m, c, &e), 0);
	/* Written and read again, it is still signed, by the same. */
	buf_reset(&text);
	json_object_clear(m.unprotected);
	assert_ok(pbs_manifest_put(&m, c, &text, &e), &e);
	assert_ok(pbs_manifest_parse(&again, text.p, text.len, &e), &e);
	hex(want, "d7b446fb7db081662081d4b40fedd858"
	    "a1d6307a5aff4ecff7d5bf4fd35679e9");
	assert_memory_equal(again.sign, want, PBS_DIGEST);
	assert_int_equal(pbs_manifest_print(&again, want), 1);
	assert_memory_equal(want, pbs_crypt_print(c), PBS_DIGEST);
	assert_int_equal(pbs_manifest_check(&again, c, &e), 0);
	pbs_manifest_fini(&again);
	buf_fini(&canon);
	buf_fini(&text);
	pbs_manifest_fini(&m);
	pbs_crypt_free(c);
}

static void
test_a_forged_manifest_is_found(void **state)
{
	struct err e = ERR_INIT;
	struct pbs_crypt *c = pbs_crypt_new(elsa_key, &e), *other;
	struct pbs_manifest m;

	(void)state;
	load(&m, "elsa.json");
	m.files[1].size++;
	assert_int_equal(pbs_manifest_check(&m, c, &e), -1);
	assert_int_equal(e.code, CALA_INTEGRITY);
	m.files[1].size--;
	assert_int_equal(pbs_manifest_check(&m, c, &e), 0);
	m.time++;
	assert_int_equal(pbs_manifest_check(&m, c, &e), -1);
	m.time--;
	/* Without a key, and with another. */
	assert_int_equal(pbs_manifest_check(&m, NULL, &e), -1);
	assert_int_equal(e.code, CALA_AUTH);
	other = counting_key();
	assert_int_equal(pbs_manifest_check(&m, other, &e), -1);
	assert_int_equal(e.code, CALA_AUTH);
	/* One that tells of no key: the signature says so. */
	json_object_clear(m.unprotected);
	assert_int_equal(pbs_manifest_check(&m, other, &e), -1);
	assert_int_equal(e.code, CALA_INTEGRITY);
	assert_int_equal(pbs_manifest_check(&m, NULL, &e), 1);
	m.has_sign = false;
	assert_int_equal(pbs_manifest_check(&m, other, &e), 1);
	pbs_crypt_free(other);
	pbs_manifest_fini(&m);
	pbs_crypt_free(c);
}

static void
test_a_plain_manifest_is_read_and_written(void **state)
{
	struct err e = ERR_INIT;
	struct pbs_manifest m, n;
	const struct pbs_file *f;
	struct buf b;

	(void)state;
	load(&m, "demo.json");
	assert_string_equal(m.type, "host");
	assert_string_equal(m.id, "vm-demo");
	assert_int_equal(m.time, 1700000000);
	assert_false(m.has_sign);
	assert_false(pbs_manifest_finished(&m));
	assert_null(pbs_manifest_notes(&m));
	f = pbs_manifest_file(&m, "root.pxar.didx");
	assert_non_null(f);
	assert_int_equal(f->size, 66536);
	assert_int_equal(f->mode, PBS_MODE_NONE);
	assert_null(pbs_manifest_file(&m, "root.pxar"));
	assert_int_equal(pbs_manifest_check(&m, NULL, &e), 1);
	buf_init(&b, 1 << 16);
	assert_ok(pbs_manifest_put(&m, NULL, &b, &e), &e);
	assert_non_null(strstr(b.p, "\"signature\":null"));
	assert_ok(pbs_manifest_parse(&n, b.p, b.len, &e), &e);
	assert_int_equal(n.n, 2);
	assert_memory_equal(n.files[1].csum, m.files[1].csum, PBS_DIGEST);
	pbs_manifest_fini(&n);
	pbs_manifest_fini(&m);
	buf_fini(&b);
	load(&m, "demo-finished.json");
	assert_true(pbs_manifest_finished(&m));
	assert_string_equal(pbs_manifest_notes(&m), "first\nsecond");
	pbs_manifest_fini(&m);
}

static void
test_a_broken_manifest_is_refused(void **state)
{
#define FILES(f) "{\"backup-type\":\"host\",\"backup-id\":\"a\"," \
	"\"backup-time\":1,\"files\":[" f "]}"
#define SUM "\"0000000000000000000000000000000000000000000000000000000000" \
	"000000\""
	static const char *const bad[] = {
		"", "{", "[]", "{}",
		FILES("{}"),
		FILES("{\"filename\":\"../x.blob\",\"size\":1,\"csum\":" SUM
		    "}"),
		FILES("{\"filename\":\"x.blob\",\"size\":-1,\"csum\":" SUM
		    "}"),
		FILES("{\"filename\":\"x.blob\",\"size\":1e3,\"csum\":" SUM
		    "}"),
		FILES("{\"filename\":\"x.blob\",\"size\":1,\"csum\":\"00\"}"),
		FILES("{\"filename\":\"x.blob\",\"size\":1,\"csum\":" SUM
		    ",\"crypt-mode\":\"maybe\"}"),
		FILES("{\"filename\":\"x.blob\",\"size\":1,\"csum\":" SUM
		    "},{\"filename\":\"x.blob\",\"size\":1,\"csum\":" SUM
		    "}"),
		"{\"backup-type\":\"host\",\"backup-id\":\"a/b\","
		    "\"backup-time\":1,\"files\":[]}",
		"{\"backup-type\":\"host\",\"backup-id\":\"a\","
		    "\"backup-time\":1,\"files\":[],\"signature\":\"00\"}",
		"{\"backup-type\":\"host\",\"backup-id\":\"a\","
		    "\"backup-time\":1,\"files\":[],\"unprotected\":[]}",
		"{\"backup-type\":\"host\",\"backup-id\":\"a\","
		    "\"backup-time\":1.5,\"files\":[]}"
	};
	struct pbs_manifest m;
	struct err e = ERR_INIT;
	size_t i;

	(void)state;
	assert_ok(pbs_manifest_parse(&m, FILES(""), strlen(FILES("")), &e),
	    &e);
	pbs_manifest_fini(&m);
	assert_ok(pbs_manifest_parse(&m, FILES("{\"filename\":\"x.blob\","
	    "\"size\":1,\"csum\":" SUM "}"), strlen(FILES("{\"filename\":"
	    "\"x.blob\",\"size\":1,\"csum\":" SUM "}")), &e), &e);
	pbs_manifest_fini(&m);
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		if (pbs_manifest_parse(&m, bad[i], strlen(bad[i]), &e) == 0)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(e.code, CALA_INTEGRITY);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_key_has_the_known_fingerprint),
		cmocka_unit_test(test_a_digest_depends_on_the_key),
		cmocka_unit_test(test_the_known_blobs_are_read),
		cmocka_unit_test(test_a_blob_is_as_the_known_one),
		cmocka_unit_test(test_what_is_made_is_read_again),
		cmocka_unit_test(test_two_sealed_blobs_of_one_text_differ),
		cmocka_unit_test(test_no_bit_of_a_blob_can_change),
		cmocka_unit_test(test_a_sealed_blob_needs_its_key),
		cmocka_unit_test(test_the_known_didx_is_read),
		cmocka_unit_test(test_the_known_fidx_is_read),
		cmocka_unit_test(test_the_sum_of_entries_is_the_known_one),
		cmocka_unit_test(test_a_broken_index_is_refused),
		cmocka_unit_test(test_a_manifest_is_signed_as_the_known_one),
		cmocka_unit_test(test_a_forged_manifest_is_found),
		cmocka_unit_test(test_a_plain_manifest_is_read_and_written),
		cmocka_unit_test(test_a_broken_manifest_is_refused)
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
