/*
 * pxar: the pxar room on files, for tests.
 *
 *	pxar pack DIR META CATALOG [PAYLOAD]
 *	pxar unpack DIR META [PAYLOAD]         as a stream
 *	pxar get DIR META PAYLOAD|- PATH...    by the tables
 *	pxar ls META PATH      pxar cat META PATH [PAYLOAD]
 *	pxar speed SIZE        files of SIZE bytes to nowhere, 2 GiB in all
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "fs/fs.h"
#include "pxar/pxar.h"

static struct err e = ERR_INIT;
static struct log say;

static int
fail(void)
{
	log_error(&say, &e);
	return e.code == 0 ? 1 : e.code;
}

static struct sink *
out(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd == -1) {
		err_sys(&e, "%s", name);
		return NULL;
	}
	return sink_fd(fd, true, name, &e);
}

static int
in(const char *name)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);

	if (fd == -1)
		err_sys(&e, "%s", name);
	return fd;
}

static int
pack(char **v, int n)
{
	struct fs_walk how = { .xattrs = true };
	struct pxar_write pw = { .payload = NULL };
	struct sink *meta = out(v[1]), *cat = out(v[2]), *pay = NULL;
	int dir = open(v[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct reader *r;
	struct writer *w;

	if (n > 3)
		pw.payload = pay = out(v[3]);
	if (dir == -1 || meta == NULL || cat == NULL ||
	    (pw.catalog = pcat_new(cat, &e)) == NULL ||
	    pcat_enter(pw.catalog, "root.pxar.didx", &e) == -1 ||
	    (r = fs_reader(dir, ".", &how, &say, &e)) == NULL ||
	    (w = pxar_writer(meta, &pw, &say, &e)) == NULL ||
	    pump(r, w, NULL, &e) == -1 || writer_commit(w, &e) == -1 ||
	    pcat_leave(pw.catalog, &e) == -1 || pcat_end(pw.catalog, &e) == -1)
		return fail();
	writer_free(w);
	reader_close(r);
	pcat_free(pw.catalog);
	sink_free(meta);
	sink_free(cat);
	sink_free(pay);
	close(dir);
	return log_warnings(&say) > 0 ? 3 : 0;
}

static int
into(const char *name, struct reader *r)
{
	struct fs_extract how = { .owners = geteuid() == 0, .numeric = true,
	    .xattrs = true, .sparse = true };
	int dir = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct writer *w = NULL;
	int ret;

	if (dir == -1 || r == NULL ||
	    (w = fs_writer(dir, &how, &say, &e)) == NULL ||
	    pump(r, w, NULL, &e) == -1 || writer_commit(w, &e) == -1)
		ret = fail();
	else
		ret = log_warnings(&say) > 0 ? 3 : 0;
	writer_free(w);
	reader_close(r);
	if (dir != -1)
		close(dir);
	return ret;
}

static int
unpack(char **v, int n)
{
	struct source *meta = source_fd(in(v[1]), true, v[1], &e);
	struct source *pay = n > 2 ? source_fd(in(v[2]), true, v[2], &e) :
	    NULL;
	int ret = into(v[0], pxar_reader(meta, pay, NULL, &say, &e));

	source_close(meta);
	source_close(pay);
	return ret;
}

static struct ranged *meta, *payload;

static struct tree *
tree(const char *m, const char *p)
{
	meta = ranged_fd(in(m), true, m, &e);
	if (p != NULL && strcmp(p, "-") != 0)
		payload = ranged_fd(in(p), true, p, &e);
	return meta == NULL ? NULL : pxar_tree(meta, payload, NULL, &say, &e);
}

static void
close_tree(struct tree *t)
{
	t->ops->close(t);
	ranged_close(meta);
	ranged_close(payload);
}

static int
get(char **v, int n)
{
	struct tree *t = tree(v[1], v[2]);
	int ret;

	if (t == NULL)
		return fail();
	ret = into(v[0], t->ops->reader(t, (const char *const *)v + 3,
	    (size_t)n - 3, &e));
	close_tree(t);
	return ret;
}

static int
line(void *arg, const struct entry *en, struct err *err)
{
	struct buf *b = arg;

	(void)err;
	buf_reset(b);
	entry_json(b, en);
	puts(b->p);
	return 0;
}

static int
ls(char **v, int n)
{
	struct tree *t = tree(v[0], NULL);
	struct buf b;

	(void)n;
	buf_init(&b, 1 << 20);
	if (t == NULL || t->ops->list(t, v[1], line, &b, &e) == -1)
		return fail();
	fprintf(stderr, "%ju\n", (uintmax_t)meta->fetched);
	buf_fini(&b);
	close_tree(t);
	return 0;
}

static int
cat(char **v, int n)
{
	struct tree *t = tree(v[0], n > 2 ? v[2] : NULL);
	struct content *c;
	char b[65536];
	ssize_t k;

	if (t == NULL || (c = t->ops->open(t, v[1], 0, UINT64_MAX, &e)) ==
	    NULL)
		return fail();
	while ((k = content_read(c, b, sizeof(b), &e)) > 0)
		fwrite(b, 1, (size_t)k, stdout);
	if (k == -1)
		return fail();
	close_tree(t);
	return 0;
}

static ssize_t
none_read(struct content *c, void *p, size_t n, struct err *err)
{
	(void)c, (void)p, (void)err;
	return (ssize_t)n;
}

static int
none_skip(struct content *c, uint64_t n, struct err *err)
{
	(void)c, (void)n, (void)err;
	return 0;
}

/* What encoding costs when reading and writing cost nothing. */
static int
speed(char **v, int n)
{
	static const struct content_ops ops = { none_read, none_skip, NULL };
	struct entry en = { .type = ENTRY_FILE, .uname = "", .gname = "",
	    .mode = 0644, .nlink = 1 };
	struct content c = { .ops = &ops };
	struct sink *s = sink_null(&e);
	struct writer *w = pxar_writer(s, NULL, &say, &e);
	unsigned i, files;
	char path[64];
	double sec;

	(void)n;
	en.size = c.size = strtoull(v[0], NULL, 10);
	files = (unsigned)((2u << 30) / (en.size + 1));
	for (i = 0; i < files; i++) {
		snprintf(path, sizeof(path), "d%03u/file-%07u", i / 1000, i);
		en.path = path;
		c.pos = 0;
		if (writer_put(w, &en, &c, &e) == -1)
			return fail();
	}
	if (writer_commit(w, &e) == -1)
		return fail();
	writer_free(w);
	sink_free(s);
	sec = (double)clock() / CLOCKS_PER_SEC;
	printf("%u files: %.2f s, %.0f MB/s, %.0f files/s\n", files, sec,
	    (double)files * (double)en.size / 1e6 / sec, files / sec);
	return 0;
}

int
main(int n, char **v)
{
	static const struct {
		const char *name;
		int (*run)(char **, int);
		int least;
	} verbs[] = {
		{ "pack", pack, 3 }, { "unpack", unpack, 2 }, { "get", get, 4 },
		{ "ls", ls, 2 }, { "cat", cat, 2 }, { "speed", speed, 1 },
	};
	size_t i;
	int ret = 2;

	log_init(&say, stderr, "pxar");
	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (n >= 2 + verbs[i].least && strcmp(v[1], verbs[i].name) == 0)
			ret = verbs[i].run(v + 2, n - 2);
	log_fini(&say);
	return ret;
}
