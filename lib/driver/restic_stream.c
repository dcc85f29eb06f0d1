/*
 * restic_stream: the entries of a snapshot one after the other.
 *
 * Two children in step: a listing, and where bytes are wanted a dump, which is a
 * tar with one entry for each line of the listing.  The dump has the names as
 * they are, targets, attributes and bytes; the listing has types (a FIFO is an
 * empty file in a dump) and whole times.  Device numbers are in neither, but in
 * the folder's node.  Hard links come as files of their own.
 */

#include "driver/restic_tree.h"

#include <stdlib.h>
#include <string.h>

#include "archive/tarr.h"
#include "base/io.h"
#include "base/json.h"
#include "base/str.h"
#include "base/when.h"

/* The folders above the entry: how far each is, and what it really holds. */
struct level {
	size_t plen;            /* of its path */
	size_t next;            /* its next name */
	bool known;
	struct rnodes exact;
};

/* A file that was there: another name of it has the same of all of these. */
struct seen {
	uint64_t inode, size;
	struct timespec mtime;
};

enum { SEEN = 1 << 14 };

struct stream {
	struct reader r;
	struct rtree *t;
	const char *const *paths;
	size_t npaths, at;
	bool contents, says;
	struct seen *seen;      /* of SEEN files; NULL */
	/* the path at work */
	struct child *list;
	struct source *bytes;
	struct reader *tar;
	size_t depth_abs;       /* components of its absolute path */
	bool first;             /* its own node comes next */
	bool again;             /* it did not come at first */
	struct level *level;    /* of depth + 1 */
	size_t nlevel;
	struct buf path, abs;
	json_t *json;           /* the entry delivered last */
	struct restic_node node;
	struct entry en;
	struct content plain;   /* of a single file */
};

static void
levels_cut(struct stream *s, size_t n)
{
	while (s->nlevel > n)
		rnodes_fini(&s->level[--s->nlevel].exact);
}

static void
entry_done(struct stream *s)
{
	restic_node_fini(&s->node);
	memset(&s->node, 0, sizeof(s->node));
	json_decref(s->json);
	s->json = NULL;
}

static void
path_done(struct stream *s)
{
	entry_done(s);
	levels_cut(s, 0);
	child_free(s->list);
	s->list = NULL;
	reader_close(s->tar);
	s->tar = NULL;
	source_close(s->bytes);
	s->bytes = NULL;
}

static void
sclose(struct reader *r)
{
	struct stream *s = (struct stream *)r;

	path_done(s);
	free(s->seen);
	free(s->level);
	buf_fini(&s->path);
	buf_fini(&s->abs);
	free(s);
}

static int
start(struct stream *s, struct child **out, bool dumped, struct err *e)
{
	const char *const list[] = { "ls", "--recursive", "--", s->t->snap.ref,
	    s->abs.p, NULL };
	const char *const bytes[] = { "dump", "--", s->t->snap.ref, s->abs.p,
	    NULL };
	struct restic_run run = { .flags = RESTIC_READS,
	    .args = dumped ? bytes : list };

	return restic_start(s->t->r, &run, out, e);
}

static int
dump(struct stream *s, bool tar, struct err *e)
{
	static const struct archive_read how = { .jobs = 1 };
	struct child *c = NULL;

	if (start(s, &c, true, e) == -1 ||
	    (s->bytes = child_source(c, e)) == NULL)
		return -1;
	if (!tar)
		return 0;
	s->tar = tarr_reader(s->bytes, false, NULL, &how, s->t->call->log, e);
	return s->tar == NULL ? -1 : 0;
}

static int
path_begin(struct stream *s, struct err *e)
{
	const char *path = s->paths[s->at];
	const char *p;

	buf_reset(&s->path);
	buf_str(&s->path, path);
	if (buf_failed(&s->path, e) == -1 ||
	    rtree_abs(s->t, path, &s->abs, e) == -1)
		return -1;
	s->depth_abs = 0;
	for (p = s->abs.p; *p != '\0'; p++)
		s->depth_abs += *p == '/' && p[1] != '\0' && p[1] != '/';
	s->first = s->abs.p[1] != '\0';
	if (start(s, &s->list, false, e) == -1)
		return -1;
	/* Both need a while to begin: the whole is surely a folder. */
	if (s->contents && *path == '\0')
		return dump(s, true, e);
	return 0;
}

static int
next_node(struct stream *s, struct err *e)
{
	const char *type;
	char *line;
	size_t n;
	int got;

	entry_done(s);
	while ((got = child_line(s->list, &line, &n, e)) == 1) {
		if ((s->json = child_json(line, n)) == NULL)
			continue;
		type = json_get_str(s->json, "struct_type");
		if (type != NULL && strcmp(type, "node") == 0)
			return restic_node(&s->node, s->json, e) == -1 ? -1 :
			    1;
		json_decref(s->json);
		s->json = NULL;
	}
	return got;
}

static int
level_push(struct stream *s, struct err *e)
{
	struct level *l;

	if (s->nlevel == ENTRY_DEPTH_MAX)
		return err_set(e, CALA_INTEGRITY, "directories more than %d "
		    "deep", (int)ENTRY_DEPTH_MAX);
	if (s->level == NULL && (s->level = calloc(ENTRY_DEPTH_MAX,
	    sizeof(*s->level))) == NULL)
		return err_oom(e);
	l = &s->level[s->nlevel++];
	memset(l, 0, sizeof(*l));
	l->plen = s->path.len;
	return 0;
}

/* The node that restic's listing cut: by its place in the folder. */
static const struct restic_node *
exact(struct stream *s, struct err *e)
{
	struct level *l = &s->level[s->nlevel - 1];
	const struct restic_node *n;
	char *folder;
	int ret;

	if (!l->known) {
		if ((folder = str_ndup(s->path.p, l->plen)) == NULL) {
			err_oom(e);
			return NULL;
		}
		ret = rtree_exact(s->t, folder, &l->exact, e);
		free(folder);
		if (ret == -1)
			return NULL;
		l->known = true;
	}
	if (l->next > l->exact.n)
		goto differs;
	n = &l->exact.v[l->next - 1].n;
	if (n->type != s->node.type || (!s->node.mangled &&
	    strcmp(n->name, s->node.name) != 0))
		goto differs;
	return n;
differs:
	err_set(e, CALA_INTEGRITY, "restic lists a directory in two ways");
	return NULL;
}

static int
differs(struct stream *s, const char *what, struct err *e)
{
	return err_set(e, CALA_INTEGRITY, "restic's listing and its dump "
	    "differ at %s: %s", str_q(s->path.p), what);
}

/* The dump's entry for the node, whose path is s->path unless mangled. */
static int
from_tar(struct stream *s, struct content **c, struct err *e)
{
	const struct restic_node *n = &s->node;
	const char *strip = s->abs.p + 1, *rest;
	const struct entry *te;
	size_t k = strlen(strip);
	int got = reader_next(s->tar, &te, c, e);

	if (got == -1)
		return -1;
	if (got == 0)
		return differs(s, "the dump has no more", e);
	if (strncmp(te->path, strip, k) != 0 || (k > 0 && te->path[k] != '/'))
		return differs(s, "the dump is of another directory", e);
	rest = te->path + k + (k > 0);
	buf_cut(&s->path, strlen(s->paths[s->at]));
	if (s->path.len > 0)
		buf_chr(&s->path, '/');
	buf_str(&s->path, rest);
	if (buf_failed(&s->path, e) == -1)
		return -1;
	if (!n->mangled && strcmp(entry_name(rest), n->name) != 0)
		return differs(s, "another name", e);
	s->en.xattrs = te->xattrs;
	s->en.nxattrs = te->nxattrs;
	s->en.uname = te->uname;
	s->en.gname = te->gname;
	if (n->type == ENTRY_SYMLINK)
		s->en.target = te->target;
	if (n->type == ENTRY_FILE) {
		if (te->type != ENTRY_FILE || te->size != n->size)
			return differs(s, "another size", e);
	} else {
		*c = NULL;
	}
	return 0;
}

/*
 * One name more of a file that was there.  The listing does not say how many
 * there are, so of all files the last few thousand are remembered: it is enough
 * to say it once.
 */
static void
hard_link(struct stream *s)
{
	const struct restic_node *n = &s->node;
	uint64_t inode = json_get_u64(s->json, "inode", 0);
	struct seen *seen;

	if (!s->says || n->type != ENTRY_FILE || inode == 0 || (s->seen ==
	    NULL && (s->seen = calloc(SEEN, sizeof(*s->seen))) == NULL))
		return;
	seen = &s->seen[inode % SEEN];
	if (seen->inode == inode && seen->size == n->size &&
	    when_cmp(seen->mtime, n->mtime) == 0) {
		log_note(s->t->call->log, "%s is a hard link, and there may be "
		    "more: in this stream each is a file of its own (restore "
		    "keeps them)", str_q(s->path.p));
		s->says = false;
	}
	*seen = (struct seen){ inode, n->size, n->mtime };
}

static int
below(struct stream *s, struct content **c, struct err *e)
{
	const struct restic_node *n = &s->node, *ex;
	size_t depth = 0;
	const char *p;

	for (p = n->path; *p != '\0'; p++)
		depth += *p == '/';
	if (depth <= s->depth_abs || depth - s->depth_abs > s->nlevel)
		return err_set(e, CALA_INTEGRITY, "restic lists '%s' in the "
		    "wrong place", str_q(n->path));
	levels_cut(s, depth - s->depth_abs);
	s->level[s->nlevel - 1].next++;
	buf_cut(&s->path, s->level[s->nlevel - 1].plen);
	if (s->tar == NULL || n->type == ENTRY_CHAR || n->type == ENTRY_BLOCK) {
		if (n->mangled || (n->type != ENTRY_FILE &&
		    n->type != ENTRY_DIR)) {
			if ((ex = exact(s, e)) == NULL)
				return -1;
		} else {
			ex = n;
		}
		if (s->path.len > 0)
			buf_chr(&s->path, '/');
		buf_str(&s->path, ex->name);
		if (buf_failed(&s->path, e) == -1)
			return -1;
		rtree_entry(ex, s->path.p, &s->en);
	} else {
		rtree_entry(n, "", &s->en);
	}
	if (s->tar != NULL && from_tar(s, c, e) == -1)
		return -1;
	s->en.path = s->path.p;
	hard_link(s);
	return n->type == ENTRY_DIR ? level_push(s, e) : 0;
}

static ssize_t
plain_read(struct content *c, void *p, size_t n, struct err *e)
{
	struct stream *s = (struct stream *)((char *)c -
	    offsetof(struct stream, plain));
	ssize_t got = source_read(s->bytes, p, n, e);
	char more;

	if (got == 0)
		return err_set(e, CALA_INTEGRITY, "%s: shorter than the "
		    "snapshot says", str_q(s->path.p));
	/* Its end is only known to be one when restic has ended well. */
	if (got > 0 && (uint64_t)got == c->size - c->pos)
		switch (source_read(s->bytes, &more, 1, e)) {
		case 0:
			break;
		case -1:
			return -1;
		default:
			return err_set(e, CALA_INTEGRITY, "%s: longer than the "
			    "snapshot says", str_q(s->path.p));
		}
	return got;
}

static int
plain_skip(struct content *c, uint64_t n, struct err *e)
{
	struct stream *s = (struct stream *)((char *)c -
	    offsetof(struct stream, plain));
	char waste[64 << 10];
	ssize_t got;

	for (; n > 0; n -= (uint64_t)got) {
		got = source_read(s->bytes, waste, n < sizeof(waste) ?
		    (size_t)n : sizeof(waste), e);
		if (got <= 0)
			return got == -1 ? -1 : err_set(e, CALA_INTEGRITY,
			    "%s: shorter than the snapshot says",
			    str_q(s->path.p));
	}
	return 0;
}

static const struct content_ops plain_ops = { plain_read, plain_skip, NULL };

/* The path itself: a folder, or one entry. */
static int
self(struct stream *s, struct content **c, struct err *e)
{
	const struct restic_node *n = &s->node;
	struct entry en;

	s->first = false;
	if (n->type == ENTRY_DIR) {
		rtree_entry(n, s->path.p, &s->en);
		if (s->contents && s->tar == NULL && dump(s, true, e) == -1)
			return -1;
		return level_push(s, e);
	}
	if (s->tar != NULL)
		return err_set(e, CALA_USAGE, "backup %s is of no directory",
		    s->t->call->backup);
	if (n->type != ENTRY_FILE) {
		if (s->t->t.ops->stat(&s->t->t, s->path.p, &en, e) == -1)
			return -1;
		s->en = en;
		return 0;
	}
	rtree_entry(n, s->path.p, &s->en);
	if (!s->contents)
		return 0;
	s->plain = (struct content){ .ops = &plain_ops, .size = n->size };
	*c = &s->plain;
	return n->size > 0 ? dump(s, false, e) : 0;
}

/* Both must end, and well. */
static int
path_end(struct stream *s, struct err *e)
{
	const struct entry *te;
	struct content *c;

	if (s->first) {
		/* The folder may be the snapshot's root: then once more. */
		if (s->again)
			return err_set(e, CALA_NOTFOUND, "%s: not in backup "
			    "%s", str_q(s->path.p), s->t->call->backup);
		s->again = true;
		if (rtree_look(s->t, s->paths[s->at], e) == -1)
			return -1;
		path_done(s);
		return 0;
	}
	if (s->tar != NULL) {
		switch (reader_next(s->tar, &te, &c, e)) {
		case 0:
			break;
		case -1:
			return -1;
		default:
			return differs(s, "the dump has more", e);
		}
		if (source_drain(s->bytes, e) == -1)
			return -1;
	}
	path_done(s);
	s->again = false;
	s->at++;
	return 0;
}

static int
snext(struct reader *r, const struct entry **out, struct content **c,
    struct err *e)
{
	struct stream *s = (struct stream *)r;
	int got;

	*c = NULL;
	for (;;) {
		if (s->list == NULL) {
			if (s->at == s->npaths)
				return 0;
			if (path_begin(s, e) == -1)
				return -1;
			if (!s->first && level_push(s, e) == -1)
				return -1;
		}
		if ((got = next_node(s, e)) == -1)
			return -1;
		if (got == 0) {
			if (path_end(s, e) == -1)
				return -1;
			continue;
		}
		if ((s->first ? self(s, c, e) : below(s, c, e)) == -1)
			return -1;
		/* What is of no kind that we know. */
		if (s->node.type == 0)
			continue;
		*out = &s->en;
		return 1;
	}
}

static const struct reader_ops stream_ops = { snext, sclose };

struct reader *
rtree_reader(struct rtree *t, const char *const *paths, size_t n,
    bool contents, bool says, struct err *e)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		err_oom(e);
		return NULL;
	}
	s->r.ops = &stream_ops;
	s->r.can = READER_ORDERED;
	s->t = t;
	s->paths = paths;
	s->npaths = n;
	s->contents = contents;
	s->says = contents && says;
	buf_init(&s->path, ENTRY_PATH_MAX);
	buf_init(&s->abs, 2 * ENTRY_PATH_MAX);
	return &s->r;
}
