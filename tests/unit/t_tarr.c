/*
 * tarr, source, lar: every archive that stock tools write, cut and damaged
 * ones, and the odd corners of tar built by hand.
 */

#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/archive.h"
#include "archive/source.h"
#include "archive/tarr.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/code.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "fs/extract.h"

static char dir[] = "/tmp/t_tarr.XXXXXX";
static struct log lg;

/* What came out of an archive, as text, and how it ended. */
struct got {
	struct buf text;
	int end;                /* 0 whole, else the error's code */
	struct archive_facts f;
	uint64_t warned;
	struct err e;
};

/* A checksum of content that a wrong order or a lost byte changes. */
static uint32_t
drain(struct content *c, struct err *e, bool *bad)
{
	unsigned char p[7001];
	uint32_t sum = 1;
	ssize_t k, i;

	while ((k = content_read(c, p, sizeof(p), e)) > 0)
		for (i = 0; i < k; i++)
			sum = sum * 31 + p[i];
	*bad = k == -1;
	return sum;
}

static void
collect(struct got *g, struct reader *r, bool contents)
{
	const struct entry *en;
	struct content *c;
	bool bad = false;
	int k = -1;
	size_t i;

	while (!bad && (k = reader_next(r, &en, &c, &g->e)) == 1) {
		buf_printf(&g->text, "%c %s %ju", en->type, str_q(en->path),
		    (uintmax_t)en->size);
		if (en->target != NULL)
			buf_printf(&g->text, " > %s", str_q(en->target));
		for (i = 0; i < en->nxattrs; i++)
			buf_printf(&g->text, " [%s]", en->xattrs[i].name);
		for (i = 0; i < en->nextents; i++)
			buf_printf(&g->text, " %ju+%ju",
			    (uintmax_t)en->extents[i].off,
			    (uintmax_t)en->extents[i].len);
		if (c != NULL && contents)
			buf_printf(&g->text, " =%08x", drain(c, &g->e, &bad));
		buf_chr(&g->text, '\n');
	}
	g->end = k == 0 && !bad ? 0 : g->e.code;
	archive_reader_facts(r, &g->f);
}

static void
look(struct got *g, const void *p, size_t n, unsigned jobs, bool contents)
{
	struct archive_read how = { .jobs = jobs, .spool_dir = "/tmp" };
	struct source *in;
	struct reader *r;
	uint64_t before = log_warnings(&lg);

	memset(g, 0, sizeof(*g));
	buf_init(&g->text, 64 << 20);
	in = source_mem(p, n, &g->e);
	assert_non_null(in);
	if ((r = archive_reader(in, &how, &lg, &g->e)) == NULL)
		g->end = g->e.code;
	else
		collect(g, r, contents);
	reader_close(r);
	source_close(in);
	g->warned = log_warnings(&lg) - before;
}

/* The stdout of a command in dir. */
static void
run(struct buf *b, const char *cmd)
{
	char line[2048];
	FILE *f;
	char *to;
	size_t k;

	snprintf(line, sizeof(line), "cd %s && %s", dir, cmd);
	assert_non_null(f = popen(line, "r"));
	buf_reset(b);
	do {
		assert_non_null(to = buf_room(b, 65536));
		k = fread(to, 1, 65536, f);
		buf_grown(b, k);
	} while (k > 0);
	assert_int_equal(pclose(f), 0);
}

static int
setup(void **state)
{
	char cmd[2048];

	(void)state;
	log_init(&lg, getenv("T_VERBOSE") ? stderr : NULL, "t_tarr");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(cmd, sizeof(cmd), "cd %s && mkdir -p t/d/e && cd t &&"
	    " echo hello >a && seq 1 300000 >big && cat /bin/bash >bin &&"
	    " : >empty && ln a d/hard && ln -s ../a d/sym && mkfifo d/pipe &&"
	    " n=$(printf 'n%%.0s' $(seq 1 150)) && mkdir -p d/$n/$n &&"
	    " echo long >d/$n/$n/$n && ln -s $n/$n/$n d/longsym &&"
	    " truncate -s 3M sparse &&"
	    " echo mid | dd of=sparse bs=1 seek=1000000 conv=notrunc"
	    " 2>/dev/null && echo end >>sparse &&"
	    " touch -d @-5 old && touch -d @1.25 frac", dir);
	return system(cmd) == 0 ? 0 : -1;
}

static int
teardown(void **state)
{
	(void)state;
	log_fini(&lg);
	return fs_remove(AT_FDCWD, dir);
}

/* All formats of tar say the same of the same tree. */
static void
tar_formats(void **state)
{
	static const char *const cmds[] = {
		"tar --format=gnu -cf - t", "tar --format=pax -cf - t",
		"tar --format=gnu --sort=name -b1 -cf - t",
		"tar --format=oldgnu -cf - t",
		"bsdtar --format pax -cf - t", "bsdtar --format gnutar -cf - t",
	};
	struct buf b, want;
	struct got g;
	char *save, *l;
	char copy[65536], one[4096];
	size_t i, n, w = 0;

	(void)state;
	buf_init(&b, 64 << 20);
	buf_init(&want, 1 << 20);
	for (i = 0; i < sizeof(cmds) / sizeof(*cmds); i++) {
		run(&b, cmds[i]);
		look(&g, b.p, b.len, 1, true);
		assert_int_equal(g.end, 0);
		assert_int_equal(g.f.proof, PROOF_FOREIGN);
		assert_true(g.f.counted && !g.f.cala);
		assert_true(g.f.format == ARCHIVE_TAR && g.warned == 0);
		/* order differs, and which name of two is the link */
		n = 0;
		assert_true(g.text.len < sizeof(copy));
		strcpy(copy, g.text.p);
		for (l = strtok_r(copy, "\n", &save); l != NULL;
		    l = strtok_r(NULL, "\n", &save)) {
			n++;
			if (strstr(l, "t/a ") != NULL ||
			    strstr(l, "hard") != NULL ||
			    strstr(l, "sparse") != NULL)
				continue;
			snprintf(one, sizeof(one), "%s\n", l);
			if (i == 0)
				buf_str(&want, one);
			else if (strstr(want.p, one) == NULL)
				fail_msg("%s: %s not in\n%s", cmds[i], l,
				    want.p);
		}
		assert_true(i == 0 || n == w);
		w = n;
		buf_fini(&g.text);
	}
	assert_non_null(strstr(want.p, "f t/empty 0 =00000001\n"));
	assert_non_null(strstr(want.p, "l t/d/sym 0 > ../a\n"));
	buf_fini(&want);
	buf_fini(&b);
}

static void
sparse_formats(void **state)
{
	static const char *const cmds[] = {
		"tar --format=gnu -cf - t/sparse",
		"tar -S --format=gnu -cf - t/sparse",
		"tar -S --format=pax --sparse-version=0.0 -cf - t/sparse",
		"tar -S --format=pax --sparse-version=0.1 -cf - t/sparse",
		"tar -S --format=pax --sparse-version=1.0 -cf - t/sparse",
		"bsdtar --format pax -cf - t/sparse",
	};
	struct buf b;
	struct got g;
	const char *eq;
	char sum[16] = "";
	size_t i;

	(void)state;
	buf_init(&b, 64 << 20);
	for (i = 0; i < sizeof(cmds) / sizeof(*cmds); i++) {
		run(&b, cmds[i]);
		look(&g, b.p, b.len, 1, true);
		assert_int_equal(g.end, 0);
		assert_non_null(strstr(g.text.p, "f t/sparse 3145732"));
		eq = strchr(g.text.p, '=');
		assert_non_null(eq);
		if (i == 0)
			snprintf(sum, sizeof(sum), "%s", eq);
		assert_string_equal(eq, sum);
		if (i > 0)
			assert_non_null(strchr(g.text.p, '+'));
		buf_fini(&g.text);
		look(&g, b.p, b.len, 1, false); /* skipped, not read */
		assert_int_equal(g.end, 0);
		buf_fini(&g.text);
	}
	buf_fini(&b);
}

/* Every wrapping, by every program, whole, doubled, cut and bent. */
static void
wrappings(void **state)
{
	static const struct {
		const char *cmd;
		enum archive_format f;
		bool sum;               /* has a checksum over the data */
	} t[] = {
		{ "tar c t | gzip", ARCHIVE_TAR_GZ, true },
		{ "tar c t | pigz -p2", ARCHIVE_TAR_GZ, true },
		{ "tar c t | split -b300000 --filter=gzip", ARCHIVE_TAR_GZ,
		    true },
		{ "tar c t | zstd", ARCHIVE_TAR_ZST, true },
		{ "tar c t | zstd -T2 --no-check", ARCHIVE_TAR_ZST, false },
		{ "tar c t | split -b300000 --filter='zstd -q "
		    "--stream-size=$(stat -c %s /dev/stdin || echo 0)' "
		    "2>/dev/null || tar c t | zstd", ARCHIVE_TAR_ZST, true },
		{ "tar c t >x.tar && rm -f x.?? && split -b300000 x.tar x. && "
		    "for i in x.??; do zstd -qc $i; done; rm x.??",
		    ARCHIVE_TAR_ZST, true },
		{ "tar c t | xz -T2 --block-size=500000", ARCHIVE_TAR_XZ,
		    true },
		{ "tar c t | split -b300000 --filter=xz", ARCHIVE_TAR_XZ,
		    true },
		{ "tar c t | bzip2", ARCHIVE_TAR_BZ2, true },
		{ "tar c t | split -b900000 --filter=bzip2", ARCHIVE_TAR_BZ2,
		    true },
		{ "tar c t | lz4", ARCHIVE_TAR_LZ4, true },
		{ "tar c t | split -b900000 --filter=lz4", ARCHIVE_TAR_LZ4,
		    true },
		{ "tar c t | lzip", ARCHIVE_TAR_LZ, true },
		{ "tar c t | lzip -b 500000", ARCHIVE_TAR_LZ, true },
	};
	struct buf b, plain;
	struct got g, want;
	unsigned jobs;
	size_t i, at;

	(void)state;
	buf_init(&b, 64 << 20);
	buf_init(&plain, 64 << 20);
	run(&plain, "tar c t");
	look(&want, plain.p, plain.len, 1, true);
	assert_int_equal(want.end, 0);
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		run(&b, t[i].cmd);
		for (jobs = 1; jobs < 4; jobs++) {
			look(&g, b.p, b.len, jobs, true);
			if (g.end != 0)
				fail_msg("%s: %s", t[i].cmd, g.e.msg);
			assert_string_equal(g.text.p, want.text.p);
			assert_int_equal(g.f.format, t[i].f);
			assert_int_equal(g.f.proof, PROOF_FOREIGN);
			assert_true(g.warned == 0);
			buf_fini(&g.text);
		}
		/* cut anywhere: never whole, never damaged */
		for (at = 1; at < 6; at++) {
			look(&g, b.p, b.len * at / 6, 2, true);
			if (g.end != CALA_INCOMPLETE)
				fail_msg("%s cut at %zu/6: %d %s", t[i].cmd,
				    at, g.end, g.e.msg);
			assert_int_equal(g.f.proof, PROOF_NONE);
			buf_fini(&g.text);
		}
		look(&g, b.p, b.len - 1, 2, true);
		if (g.end != CALA_INCOMPLETE)
			fail_msg("%s less one byte: %d %s", t[i].cmd, g.end,
			    g.e.msg);
		buf_fini(&g.text);
		if (!t[i].sum)
			continue;
		b.p[b.len / 2] = (char)(b.p[b.len / 2] ^ 0x10);
		look(&g, b.p, b.len, 2, true);
		if (g.end != CALA_INTEGRITY && g.end != CALA_INCOMPLETE)
			fail_msg("%s bent: %d %s", t[i].cmd, g.end, g.e.msg);
		buf_fini(&g.text);
	}
	buf_fini(&want.text);
	buf_fini(&b);
	buf_fini(&plain);
}

/* ---- by hand ---- */

static void
head(struct buf *b, const char *name, char flag, uint64_t size)
{
	unsigned char h[TAR_BLOCK];
	unsigned sum = 0;
	int i;

	memset(h, 0, sizeof(h));
	snprintf((char *)h, 100, "%s", name);
	memcpy(h + 100, "0000644", 7);
	snprintf((char *)h + 124, 12, "%011jo", (uintmax_t)size);
	memcpy(h + 136, "00000000000", 11);
	memset(h + 148, ' ', 8);
	h[156] = (unsigned char)flag;
	memcpy(h + 257, "ustar\00000", 8);
	for (i = 0; i < TAR_BLOCK; i++)
		sum += h[i];
	snprintf((char *)h + 148, 8, "%06o", sum);
	buf_add(b, h, sizeof(h));
}

static void
resum(char *at)
{
	unsigned char *h = (unsigned char *)at;
	unsigned sum = 0;
	int i;

	memset(h + 148, ' ', 8);
	for (i = 0; i < TAR_BLOCK; i++)
		sum += h[i];
	snprintf(at + 148, 8, "%06o", sum);
}

static void
pad(struct buf *b)
{
	while (b->len % TAR_BLOCK != 0)
		buf_chr(b, '\0');
}

static void
member(struct buf *b, const char *name, char flag, const void *p, size_t n)
{
	head(b, name, flag, n);
	buf_add(b, p, n);
	pad(b);
}

static void
pax(struct buf *b, char flag, const char *key, const char *value)
{
	char rec[8192];
	size_t n = strlen(key) + strlen(value) + 3, len = n, k;

	do {    /* the length counts its own digits */
		k = len;
		len = n + (size_t)snprintf(rec, sizeof(rec), "%zu", k);
	} while (k != len);
	snprintf(rec, sizeof(rec), "%zu %s=%s\n", len, key, value);
	member(b, "pax", flag, rec, len);
}

static void
end(struct buf *b)
{
	static const char zero[2 * TAR_BLOCK];

	buf_add(b, zero, sizeof(zero));
}

static void
marks(void **state)
{
	struct buf b;
	struct got g;
	struct mark m;
	size_t whole, before;

	(void)state;
	buf_init(&b, 1 << 20);
	pax(&b, 'g', "comment", "cala-pack 1");
	member(&b, "./", '5', NULL, 0);
	member(&b, "./x", '0', "hello", 5);
	whole = b.len;
	pax(&b, 'g', "comment",
	    "cala-pack 1 end entries=2 files=1 size=5 warnings=3");
	end(&b);
	look(&g, b.p, b.len, 1, true);
	assert_int_equal(g.end, 0);
	assert_int_equal(g.f.proof, PROOF_INNER);
	assert_true(g.f.cala && g.f.partial && g.f.warnings == 3);
	assert_true(g.f.entries == 2 && g.f.files == 1 && g.f.size == 5);
	buf_fini(&g.text);
	assert_true(mark_tail((unsigned char *)b.p + whole, b.len - whole, &m));
	assert_true(m.entries == 2 && m.size == 5);
	assert_false(mark_tail((unsigned char *)b.p, whole, &m));

	/* zero blocks without our mark are not enough for one of ours */
	buf_cut(&b, whole);
	end(&b);
	look(&g, b.p, b.len, 1, true);
	assert_int_equal(g.end, CALA_INCOMPLETE);
	assert_true(g.f.proof == PROOF_NONE && g.f.cala);
	buf_fini(&g.text);

	/* a mark that miscounts */
	buf_cut(&b, whole);
	pax(&b, 'g', "comment",
	    "cala-pack 1 end entries=3 files=1 size=5 warnings=0");
	end(&b);
	look(&g, b.p, b.len, 1, true);
	assert_int_equal(g.end, CALA_INTEGRITY);
	assert_int_equal(g.f.proof, PROOF_WRONG);
	buf_fini(&g.text);

	/* something behind the mark */
	buf_cut(&b, whole);
	pax(&b, 'g', "comment",
	    "cala-pack 1 end entries=2 files=1 size=5 warnings=0");
	member(&b, "late", '0', "x", 1);
	end(&b);
	look(&g, b.p, b.len, 1, true);
	assert_int_equal(g.end, CALA_INTEGRITY);
	buf_fini(&g.text);

	/* only a directory may stand there, and once */
	buf_cut(&b, whole);
	pax(&b, 'g', "comment",
	    "cala-pack 1 end entries=2 files=1 size=5 warnings=0");
	pax(&b, 'x', "mtime", "1.5");
	member(&b, "./", '5', NULL, 0);
	before = b.len;
	end(&b);
	look(&g, b.p, b.len, 1, true);
	assert_int_equal(g.end, 0);
	assert_int_equal(g.f.proof, PROOF_INNER);
	assert_true(g.f.entries == 2 && g.f.files == 1);
	buf_fini(&g.text);
	assert_true(mark_tail((unsigned char *)b.p + whole, b.len - whole, &m));
	buf_cut(&b, before);
	member(&b, "./", '5', NULL, 0);
	end(&b);
	look(&g, b.p, b.len, 1, true);
	assert_int_equal(g.end, CALA_INTEGRITY);
	buf_fini(&g.text);
	assert_false(mark_tail((unsigned char *)b.p + whole, b.len - whole, &m));

	assert_int_equal(mark_parse("cala-pack 1", 11, &m), 1);
	assert_int_equal(mark_parse("cala-pack 10", 12, &m), 0);
	assert_int_equal(mark_parse("cala-pack 1 end", 15, &m), -1);
	assert_int_equal(mark_parse("cala-pack 1 entries=1 files=2 size=3 "
	    "warnings=4", 47, &m), 2);
	buf_fini(&b);
}

/* Kopia writes Go's own modes, in base-256 where they don't fit octal. */
static void
go_modes(void **state)
{
	static const struct { unsigned char field[8]; uint32_t want; } t[] = {
		{ { 0x80, 0, 0, 0, 0x80, 0, 0x01, 0xed }, 0755 },
		{ { 0x80, 0, 0, 0, 0x08, 0, 0x01, 0xff }, 0777 },
		{ { 0x80, 0, 0, 0, 0, 0x80, 0x01, 0xed }, 04755 },
		{ { 0x80, 0, 0, 0, 0x80, 0x10, 0x01, 0xff }, 01777 },
		{ { 0x80, 0, 0, 0, 0x80, 0x40, 0x01, 0xc0 }, 02700 },
		{ { '0', '0', '0', '4', '7', '1', '1', 0 }, 04711 },
		{ { 'x', 'x', 0, 0, 0, 0, 0, 0 }, 0644 },
	};
	const struct entry *en;
	struct archive_read how = { .jobs = 1 };
	struct err e = ERR_INIT;
	struct reader *r;
	struct source *src;
	struct content *c;
	struct buf b;
	size_t i;

	(void)state;
	buf_init(&b, 1 << 16);
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		buf_reset(&b);
		member(&b, "x", '0', NULL, 0);
		memcpy(b.p + 100, t[i].field, 8);
		resum(b.p);
		end(&b);
		src = source_mem(b.p, b.len, &e);
		r = archive_reader(src, &how, &lg, &e);
		assert_non_null(r);
		assert_int_equal(reader_next(r, &en, &c, &e), 1);
		assert_int_equal(en->mode, t[i].want);
		assert_int_equal(reader_next(r, &en, &c, &e), 0);
		reader_close(r);
		source_close(src);
	}
	buf_fini(&b);
}

static void
ends(void **state)
{
	struct buf b;
	struct got g;
	size_t whole;

	(void)state;
	buf_init(&b, 1 << 20);
	member(&b, "x", '0', "hello", 5);
	whole = b.len;
	look(&g, b.p, b.len, 1, true);          /* no zero block */
	assert_int_equal(g.end, CALA_INCOMPLETE);
	buf_fini(&g.text);
	end(&b);
	look(&g, b.p, b.len - TAR_BLOCK, 1, true);      /* one */
	assert_int_equal(g.end, CALA_INCOMPLETE);
	buf_fini(&g.text);
	look(&g, b.p, b.len, 1, true);                  /* two */
	assert_int_equal(g.end, 0);
	buf_fini(&g.text);
	buf_str(&b, "garbage");
	look(&g, b.p, b.len, 1, true);
	assert_true(g.end == 0 && g.warned == 1);
	buf_fini(&g.text);
	buf_cut(&b, whole);                     /* a lone one in the middle */
	while (b.len < whole + TAR_BLOCK)
		buf_chr(&b, '\0');
	member(&b, "y", '0', "hello", 5);
	end(&b);
	look(&g, b.p, b.len, 1, true);
	assert_int_equal(g.end, CALA_INTEGRITY);
	buf_fini(&g.text);
	buf_reset(&b);                          /* empty archive */
	end(&b);
	look(&g, b.p, b.len, 1, true);
	assert_true(g.end == 0 && g.f.proof == PROOF_FOREIGN);
	assert_true(g.f.entries == 0 && g.f.counted);
	buf_fini(&g.text);
	look(&g, b.p, 0, 1, true);              /* nothing at all */
	assert_int_equal(g.end, CALA_INCOMPLETE);
	buf_fini(&g.text);
	look(&g, "hello", 5, 1, true);
	assert_int_equal(g.end, CALA_INTEGRITY);
	buf_fini(&g.text);
	buf_fini(&b);
}

/* Names that must not be used cost themselves and nothing else. */
static void
hostile_names(void **state)
{
	static const char *const bad[] =
	    { "../x", "a/../../x", "", "a/..", ".." };
	struct buf b;
	struct got g;
	size_t i;

	(void)state;
	buf_init(&b, 1 << 20);
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		member(&b, bad[i], '0', "evil", 4);
	member(&b, "/etc/x//./y", '0', "good", 4);
	pax(&b, 'x', "linkpath", "../../etc/passwd");
	member(&b, "hl", '1', NULL, 0);
	member(&b, "after", '0', "good", 4);
	end(&b);
	look(&g, b.p, b.len, 1, false);
	assert_int_equal(g.end, 0);
	assert_string_equal(g.text.p, "f etc/x/y 4\nf after 4\n");
	assert_int_equal((int)g.warned, 6);
	buf_fini(&g.text);
	buf_fini(&b);
}

static void
numbers(void **state)
{
	struct buf b;
	struct got g;
	char *h;

	(void)state;
	buf_init(&b, 1 << 20);
	/* base-256 size; NUL owner fields (Wings); v7 directory by its slash */
	member(&b, "x", '0', "hello", 5);
	h = b.p;
	memset(h + 124, 0, 12);
	h[124] = (char)0x80;
	h[135] = 5;
	memset(h + 108, 0, 16);
	resum(h);
	member(&b, "d/", '\0', NULL, 0);
	memset(b.p + b.len - TAR_BLOCK + 257, 0, 8);
	resum(b.p + b.len - TAR_BLOCK);
	end(&b);
	look(&g, b.p, b.len, 1, false);
	assert_string_equal(g.text.p, "f x 5\nd d 0\n");
	assert_int_equal(g.end, 0);
	buf_fini(&g.text);
	/* negative, and beyond what fits */
	h = b.p;
	memset(h + 124, 0xff, 12);
	resum(h);
	look(&g, b.p, b.len, 1, false);
	assert_int_equal(g.end, CALA_INTEGRITY);
	buf_fini(&g.text);
	memset(h + 124, 0x7f, 12);
	h[124] = (char)0x80;
	resum(h);
	look(&g, b.p, b.len, 1, false);
	assert_int_equal(g.end, CALA_INTEGRITY);
	buf_fini(&g.text);
	h[148] = '7';                           /* checksum */
	look(&g, b.p, b.len, 1, false);
	assert_int_equal(g.end, CALA_INTEGRITY);
	buf_fini(&g.text);
	buf_fini(&b);
}

static void
pax_corners(void **state)
{
	static const char *const damaged[] = {
		"6 a=\n", "999999999999999999999 a=b\n", "8 a=bcdx", "-3 a=b\n",
		"7 abc\n\n", "14 size=-12\n\n", "0 a=b\n", "x\n",
	};
	struct buf b, v, rec;
	struct got g;
	size_t i;

	(void)state;
	buf_init(&b, 32 << 20);
	for (i = 0; i < sizeof(damaged) / sizeof(*damaged); i++) {
		buf_reset(&b);
		member(&b, "pax", 'x', damaged[i], strlen(damaged[i]));
		member(&b, "x", '0', "hello", 5);
		end(&b);
		look(&g, b.p, b.len, 1, false);
		if (g.end != CALA_INTEGRITY)
			fail_msg("%zu: %d %s", i, g.end, g.text.p);
		buf_fini(&g.text);
	}
	buf_reset(&b);
	pax(&b, 'x', "SCHILY.xattr.user.a", "1");
	member(&b, "x", '0', "hello", 5);
	pax(&b, 'x', "LIBARCHIVE.xattr.user.%62", "aGk");
	member(&b, "y", '0', "hello", 5);
	pax(&b, 'x', "SCHILY.acl.access",
	    "user::rwx,user:1001:rw-,group::r--,mask::rwx,other::---");
	member(&b, "z", '0', "hello", 5);
	pax(&b, 'x', "path", "renamed");
	member(&b, "w", '0', "hello", 5);
	end(&b);
	look(&g, b.p, b.len, 1, false);
	assert_int_equal(g.end, 0);
	assert_string_equal(g.text.p, "f x 5 [user.a]\nf y 5 [user.b]\n"
	    "f z 5 [system.posix_acl_access]\nf renamed 5\n");
	buf_fini(&g.text);
	/* names as GNU tar and libarchive spell them */
	buf_reset(&b);
	pax(&b, 'x', "SCHILY.xattr.user.a%3Db%25", "1");
	member(&b, "x", '0', "hello", 5);
	pax(&b, 'x', "SCHILY.xattr.user.%20c%", "1");
	pax(&b, 'x', "LIBARCHIVE.xattr.user.%20c%25", "aGk");
	member(&b, "y", '0', "hello", 5);
	/* several headers before one entry, a global one between them */
	pax(&b, 'x', "path", "first");
	pax(&b, 'x', "SCHILY.xattr.user.a", "1");
	pax(&b, 'g', "comment", "nobody's");
	pax(&b, 'x', "SCHILY.xattr.user.b", "1");
	pax(&b, 'x', "path", "second");
	member(&b, "w", '0', "hello", 5);
	member(&b, "v", '0', "hello", 5);
	end(&b);
	look(&g, b.p, b.len, 1, false);
	assert_int_equal(g.end, 0);
	assert_string_equal(g.text.p, "f x 5 [user.a=b%]\nf y 5 [user. c%]\n"
	    "f second 5 [user.a] [user.b]\nf v 5\n");
	buf_fini(&g.text);
	/* together they may not say more than one may */
	buf_reset(&b);
	buf_init(&v, 20 << 20);
	while (v.len < 9 << 20)
		buf_str(&v, "all the world is a stage ");
	for (i = 0; i < 2; i++) {
		buf_init(&rec, 20 << 20);
		buf_printf(&rec, "%zu comment=%s\n", v.len + 17, v.p);
		member(&b, "pax", 'x', rec.p, rec.len);
		buf_fini(&rec);
	}
	buf_fini(&v);
	member(&b, "v", '0', "hello", 5);
	end(&b);
	look(&g, b.p, b.len, 1, false);
	assert_int_equal(g.end, CALA_INTEGRITY);
	buf_fini(&g.text);
	/* 16 MiB and one byte announced, none there */
	buf_reset(&b);
	head(&b, "pax", 'x', TAR_PAX_MAX + 1);
	look(&g, b.p, b.len, 1, false);
	assert_int_equal(g.end, CALA_INTEGRITY);
	buf_fini(&g.text);
	buf_reset(&b);
	head(&b, "pax", 'x', TAR_PAX_MAX);
	look(&g, b.p, b.len, 1, false);
	assert_int_equal(g.end, CALA_INCOMPLETE);
	buf_fini(&g.text);
	buf_fini(&b);
}

/* What a global header says holds until another one says it again. */
static void
globals(void **state)
{
	static const unsigned want[] = { 7, 7, 9, 0 };
	struct archive_read how = { .jobs = 1 };
	struct err e = ERR_INIT;
	const struct entry *en;
	struct content *c;
	struct source *in;
	struct reader *r;
	struct buf b;
	size_t i;

	(void)state;
	buf_init(&b, 1 << 20);
	pax(&b, 'g', "uid", "7");
	member(&b, "a", '0', "hello", 5);
	pax(&b, 'g', "comment", "nothing new about the owner");
	member(&b, "b", '0', "hello", 5);
	pax(&b, 'x', "uid", "9");
	member(&b, "c", '0', "hello", 5);
	pax(&b, 'g', "uid", "");
	member(&b, "d", '0', "hello", 5);
	end(&b);
	in = source_mem(b.p, b.len, &e);
	assert_non_null(in);
	assert_non_null(r = archive_reader(in, &how, &lg, &e));
	for (i = 0; i < sizeof(want) / sizeof(*want); i++) {
		assert_int_equal(reader_next(r, &en, &c, &e), 1);
		assert_int_equal(en->uid, want[i]);
	}
	assert_int_equal(reader_next(r, &en, &c, &e), 0);
	reader_close(r);
	source_close(in);
	buf_fini(&b);
}

static int
acl(struct buf *b, const char *text)
{
	return tarr_acl(b, text, strlen(text));
}

static void
acls(void **state)
{
	struct buf b;
	unsigned char want[4 + 8 * 5];
	char hex[2 * sizeof(want) + 1];

	(void)state;
	buf_init(&b, 10000);
	assert_int_equal(acl(&b, "user::rw-\nuser:nobodyhere:r--:1000\n"
	    "group::r--\nmask::r-x\nother::---"), 0);
	assert_int_equal((int)b.len, (int)sizeof(want));
	hex_put(b.p, b.len, hex);
	assert_string_equal(hex, "02000000" "01000600ffffffff"
	    "02000400e8030000" "04000400ffffffff" "10000500ffffffff"
	    "20000000ffffffff");
	assert_int_equal(acl(&b, "user::rw-,group::r--,other::r--"), 1);
	assert_int_equal(acl(&b, "user::rwq,group::r--"), -1);
	assert_int_equal(acl(&b, "user:no-such-person:rwx"), -1);
	buf_fini(&b);
}

static void
bad_maps(void **state)
{
	/* 0.1 maps of a file of 10 bytes with 4 stored */
	static const struct { const char *map; bool good; } t[] = {
		{ "2,4", true }, { "0,2,5,2", true }, { "0,2,1,2", false },
		{ "8,4", false }, { "0,5", false }, { "5,2,0,2", false },
		{ "0,18446744073709551615", false }, { "0", false },
		{ "a,b", false }, { "0,4,10,0", true },
	};
	struct buf b;
	struct got g;
	size_t i;

	(void)state;
	buf_init(&b, 1 << 20);
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		char all[600];

		buf_reset(&b);
		snprintf(all, sizeof(all), "26 GNU.sparse.realsize=10\n"
		    "%zu GNU.sparse.map=%s\n", strlen(t[i].map) + 19,
		    t[i].map);
		member(&b, "pax", 'x', all, strlen(all));
		member(&b, "s", '0', "data", 4);
		member(&b, "after", '0', "x", 1);
		end(&b);
		look(&g, b.p, b.len, 1, true);
		if (t[i].good) {
			if (g.end != 0 || strstr(g.text.p, "f s 10") == NULL)
				fail_msg("%s: %d %s %s", t[i].map, g.end,
				    g.e.msg, g.text.p);
		} else
			assert_null(strstr(g.text.p, "f s "));
		buf_fini(&g.text);
	}
	buf_fini(&b);
}

static void
limits(void **state)
{
	struct archive_read how = { .jobs = 1, .max_entries = 2,
	    .max_size = 100 };
	struct err e = ERR_INIT;
	const struct entry *en;
	struct content *c;
	struct source *in;
	struct reader *r;
	struct buf b;
	int i, k;

	(void)state;
	buf_init(&b, 1 << 20);
	for (i = 0; i < 3; i++)
		member(&b, "x", '0', "hello", 5);
	end(&b);
	in = source_mem(b.p, b.len, &e);
	r = archive_reader(in, &how, &lg, &e);
	for (i = 0; (k = reader_next(r, &en, &c, &e)) == 1; i++)
		;
	assert_true(i == 2 && k == -1 && e.code == CALA_INTEGRITY);
	reader_close(r);
	source_close(in);
	buf_reset(&b);
	head(&b, "bomb", '0', 101);
	in = source_mem(b.p, b.len, &e);
	r = archive_reader(in, &how, &lg, &e);
	assert_int_equal(reader_next(r, &en, &c, &e), -1);
	reader_close(r);
	source_close(in);
	buf_fini(&b);
}

static void
zips(void **state)
{
	static const struct { const char *cmd; enum archive_format f; } t[] = {
		{ "rm -f x.zip; zip -qry x.zip t -x t/d/pipe && cat x.zip",
		    ARCHIVE_ZIP },
		{ "bsdtar -cf - --format zip t/a t/big t/bin t/empty",
		    ARCHIVE_ZIP },
		{ "rm -f x.7z; 7z a -bd -snl x.7z t/a t/big t/bin t/empty "
		    ">/dev/null && cat x.7z", ARCHIVE_7Z },
		{ "bsdtar -cf - --format 7zip t/a t/big t/bin t/empty",
		    ARCHIVE_7Z },
	};
	struct buf b, plain;
	struct got g, want;
	const char *l;
	char big[64];
	size_t i, at;

	(void)state;
	buf_init(&b, 64 << 20);
	buf_init(&plain, 64 << 20);
	run(&plain, "tar c t/big");
	look(&want, plain.p, plain.len, 1, true);
	snprintf(big, sizeof(big), "%s", want.text.p);
	buf_fini(&want.text);
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		run(&b, t[i].cmd);
		look(&g, b.p, b.len, 1, true);
		if (g.end != 0)
			fail_msg("%s: %s", t[i].cmd, g.e.msg);
		l = strstr(g.text.p, big);
		if (l == NULL)
			fail_msg("%s: %s", t[i].cmd, g.text.p);
		assert_int_equal(g.f.format, t[i].f);
		assert_int_equal(g.f.proof, PROOF_FOREIGN);
		assert_true(g.warned == 0);
		buf_fini(&g.text);
		for (at = 1; at < 6; at++) {
			look(&g, b.p, b.len * at / 6, 1, true);
			if (g.end != CALA_INCOMPLETE)
				fail_msg("%s cut at %zu/6: %d %s", t[i].cmd,
				    at, g.end, g.e.msg);
			buf_fini(&g.text);
		}
		b.p[b.len / 2] = (char)(b.p[b.len / 2] ^ 0x10);
		look(&g, b.p, b.len, 1, true);
		if (g.end != CALA_INTEGRITY)
			fail_msg("%s bent: %d %s", t[i].cmd, g.end, g.e.msg);
		buf_fini(&g.text);
	}
	buf_fini(&b);
	buf_fini(&plain);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tar_formats),
		cmocka_unit_test(sparse_formats),
		cmocka_unit_test(wrappings), cmocka_unit_test(marks),
		cmocka_unit_test(go_modes),
		cmocka_unit_test(ends), cmocka_unit_test(hostile_names),
		cmocka_unit_test(numbers), cmocka_unit_test(pax_corners),
		cmocka_unit_test(globals),
		cmocka_unit_test(acls), cmocka_unit_test(bad_maps),
		cmocka_unit_test(limits), cmocka_unit_test(zips),
	};

	return cmocka_run_group_tests_name("tarr", tests, setup, teardown);
}
