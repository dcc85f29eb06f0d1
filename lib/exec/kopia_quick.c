/*
 * kopia_quick: one file of a snapshot by one run of the program.
 *
 * `kopia show` wants an object's id, which takes a list of the snapshots and a
 * folder to know, each a run with a session of its own.  `kopia restore
 * MANIFEST/path` looks all of that up in one, and its tar says what the path is.
 * Only the plain case is taken from it: a regular file whose size stands in the
 * first block.  All else is for kopia_tree.
 */

#include "exec/kopia_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"

enum { BLOCK = KOPIA_TAR, SIZE_AT = 124, SIZE_LEN = 12, TYPE_AT = 156,
	MAGIC_AT = 257, WASTE = 64 << 10 };

struct quick {
	struct tree t;
	struct content c;
	struct kopia_run run;
	char *path;
	uint64_t size, skip;
	bool whole;                     /* to the file's end */
};

static struct quick *
of_content(struct content *c)
{
	return (struct quick *)((char *)c - offsetof(struct quick, c));
}

/* What was asked for itself has no name in the tar. */
bool
kopia_tar_file(const unsigned char b[KOPIA_TAR], uint64_t *size)
{
	size_t i;

	if (b[0] != '\0' || memcmp(b + MAGIC_AT, "ustar", 5) != 0 ||
	    (b[TYPE_AT] != '0' && b[TYPE_AT] != '\0'))
		return false;
	*size = 0;
	for (i = SIZE_AT; i < SIZE_AT + SIZE_LEN && b[i] >= '0' &&
	    b[i] <= '7'; i++)
		*size = *size << 3 | (uint64_t)(b[i] - '0');
	/* Larger than these digits can say: it would be in another form. */
	return i > SIZE_AT && (i == SIZE_AT + SIZE_LEN || b[i] == '\0' ||
	    b[i] == ' ');
}

static int
read_full(struct child *c, unsigned char *p, size_t n, struct err *e)
{
	ssize_t got;

	for (; n > 0; p += got, n -= (size_t)got)
		if ((got = child_read(c, p, n, e)) <= 0)
			return -1;
	return 0;
}

static int
short_of(struct err *e)
{
	return err_set(e, CALA_INTEGRITY, "a file is shorter than its tar "
	    "says");
}

/* Behind the last byte comes what fills the tar up, and then its status. */
static int
at_end(struct quick *q, struct err *e)
{
	unsigned char b[BLOCK];
	ssize_t n, i;

	q->whole = false;
	while ((n = child_read(q->run.child, b, sizeof(b), e)) > 0)
		for (i = 0; i < n; i++)
			if (b[i] != 0)
				return err_set(e, CALA_INTEGRITY, "a file is "
				    "longer than its tar says");
	return (int)n;
}

static ssize_t
q_read(struct content *c, void *p, size_t n, struct err *e)
{
	struct quick *q = of_content(c);
	unsigned char waste[WASTE];
	uint64_t left = c->size - c->pos;
	ssize_t got;

	while (q->skip > 0) {
		got = child_read(q->run.child, waste, q->skip <
		    sizeof(waste) ? (size_t)q->skip : sizeof(waste), e);
		if (got <= 0)
			return got == 0 ? short_of(e) : -1;
		q->skip -= (uint64_t)got;
	}
	if (left == 0)
		return q->whole ? at_end(q, e) : 0;
	got = child_read(q->run.child, p, n < left ? n : (size_t)left, e);
	/* Its last bytes count only when Kopia says that all was well. */
	if (got > 0 && (uint64_t)got == left && q->whole && at_end(q, e) == -1)
		return -1;
	return got == 0 ? short_of(e) : got;
}

static int
q_skip(struct content *c, uint64_t n, struct err *e)
{
	(void)e;
	of_content(c)->skip += n;
	return 0;
}

static const struct content_ops q_ops = { q_read, q_skip, NULL };

static int
t_stat(struct tree *t, const char *path, struct entry *en, struct err *e)
{
	struct quick *q = (struct quick *)t;

	if (strcmp(path, q->path) != 0)
		return err_set(e, CALA_NOTFOUND, "%s: not in the backup",
		    str_q(path));
	memset(en, 0, sizeof(*en));
	en->type = ENTRY_FILE;
	en->path = q->path;
	en->size = q->size;
	en->uname = en->gname = "";
	return 0;
}

static struct content *
t_open(struct tree *t, const char *path, uint64_t off, uint64_t len,
    struct err *e)
{
	struct quick *q = (struct quick *)t;
	struct entry en;

	/* There is one stream, and it can be read once. */
	if (t_stat(t, path, &en, e) == -1)
		return NULL;
	if (off > q->size)
		off = q->size;
	if (len > q->size - off)
		len = q->size - off;
	q->c.ops = &q_ops;
	q->c.size = len;
	q->skip = off;
	q->whole = len == q->size - off;
	return &q->c;
}

static void
t_close(struct tree *t)
{
	struct quick *q = (struct quick *)t;

	kopia_end(&q->run);
	free(q->path);
	free(q);
}

static const struct tree_ops t_ops = { NULL, t_stat, t_open, NULL, t_close };

struct tree *
kopia_quick(struct kopia *k, const struct kopia_snap *s, const char *path,
    struct err *e)
{
	char *where = str_join(s->id, path);
	const char *const args[] = { "restore", where, "/dev/stdout",
	    "--mode=tar", "--no-progress", NULL };
	struct kopia_cmd cmd = { .what = "restore", .args = args,
	    .in = PROC_NULL, .slow = true, .kill = true };
	struct quick *q = calloc(1, sizeof(*q));
	unsigned char block[BLOCK];

	if (q == NULL || where == NULL || *path == '\0' ||
	    (q->path = strdup(path)) == NULL ||
	    kopia_start(&q->run, k, &cmd, e) == -1 ||
	    read_full(q->run.child, block, sizeof(block), e) == -1 ||
	    !kopia_tar_file(block, &q->size)) {
		if (q != NULL)
			t_close(&q->t);
		free(where);
		return NULL;
	}
	free(where);
	q->t.ops = &t_ops;
	return &q->t;
}
