/*
 * The journal and the moves.  A phase is a loop that moves whatever is still
 * there, so that it can be begun again at any point without knowing how far it
 * had come; only the phase itself must be known, and the journal says it.
 */

#include "fs/swap_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

enum { JOURNAL_MAX = 65536 };

static const char *const names[] = { "stage", "swap", "out", "in", "back",
    "home", "done", "undone" };

bool
swap_step(struct swap *s)
{
	if (s->steps == 0)
		return false;
	if (s->steps != UINT_MAX)
		s->steps--;
	return true;
}

static int
append(struct swap *s, struct buf *b, struct err *e)
{
	buf_chr(b, '\n');
	if (buf_failed(b, e) == -1)
		return -1;
	if (file_write_all(s->journal, b->p, b->len) == -1 ||
	    fsync(s->journal) == -1)
		return err_sys(e, "write the journal of the swap");
	return 0;
}

int
journal_begin(struct swap *s, struct err *e)
{
	struct buf b;
	struct jw j;
	int ret;

	buf_init(&b, JOURNAL_MAX);
	jw_begin(&j, &b);
	jw_open(&j, NULL, '{');
	jw_u64(&j, "v", 1);
	jw_str(&j, "id", s->id);
	jw_bool(&j, "whole", s->whole);
	jw_bytes(&j, "target", s->name, strlen(s->name));
	jw_close(&j, '}');
	ret = append(s, &b, e);
	buf_fini(&b);
	return ret;
}

int
journal_phase(struct swap *s, enum phase p, struct err *e)
{
	struct buf b;
	struct jw j;
	int ret;

	buf_init(&b, JOURNAL_MAX);
	jw_begin(&j, &b);
	jw_open(&j, NULL, '{');
	jw_str(&j, "phase", names[p]);
	if (p == PHASE_SWAP)
		jw_u64(&j, "ino", s->ino);
	if (p == PHASE_OUT) {
		jw_i64(&j, "mtime", s->mtime.tv_sec);
		jw_i64(&j, "nsec", s->mtime.tv_nsec);
	}
	jw_close(&j, '}');
	if ((ret = append(s, &b, e)) == 0)
		s->phase = p;
	buf_fini(&b);
	return ret;
}

/* A name that is no UTF-8 is told exactly only in base64. */
static bool
is_target(const struct swap *s, const char *text, const char *b64)
{
	struct buf b;
	bool same;

	if (b64 == NULL)
		return strcmp(text, s->name) == 0;
	buf_init(&b, JOURNAL_MAX);
	same = b64_get(&b, b64, strlen(b64)) == 0 &&
	    strcmp(b.p, s->name) == 0;
	buf_fini(&b);
	return same;
}

static void
load_time(struct swap *s, const json_t *o)
{
	const json_t *sec = json_object_get(o, "mtime");
	uint64_t nsec = json_get_u64(o, "nsec", 0);

	if (!json_is_integer(sec) || nsec > 999999999)
		return;
	s->mtime.tv_sec = (time_t)json_integer_value(sec);
	s->mtime.tv_nsec = (long)nsec;
}

static int
load_line(struct swap *s, const char *line, size_t n, bool first,
    struct err *e)
{
	json_t *o = json_parse(line, n, "journal", e);
	const char *text;
	size_t i;
	int ret = -1;

	if (o == NULL)
		return -1;
	if (first) {
		text = json_get_str(o, "target");
		if (json_get_u64(o, "v", 0) != 1 || text == NULL) {
			err_set(e, CALA_INTEGRITY, "journal: not version 1");
			goto out;
		}
		s->whole = json_get_bool(o, "whole", false);
		ret = is_target(s, text, json_get_str(o, "target_b64")) ? 0 :
		    err_set(e, CALA_NOTFOUND, "journal of another swap");
		goto out;
	}
	if ((text = json_get_str(o, "phase")) != NULL)
		for (i = 0; i < sizeof(names) / sizeof(*names); i++)
			if (strcmp(text, names[i]) == 0) {
				s->phase = (enum phase)i;
				s->ino = json_get_u64(o, "ino", s->ino);
				load_time(s, o);
				ret = 0;
			}
	if (ret == -1)
		err_set(e, CALA_INTEGRITY, "journal: unknown line");
out:
	json_decref(o);
	return ret;
}

int
journal_load(struct swap *s, struct err *e)
{
	struct buf b;
	const char *p, *nl;
	bool first = true;
	int ret = -1;

	s->phase = PHASE_STAGE;
	buf_init(&b, JOURNAL_MAX);
	if (file_slurp(&b, s->dir, "journal", e) == -1)
		goto out;
	/* A line cut by a power failure had not begun to count. */
	for (p = b.p; (nl = strchr(p, '\n')) != NULL; p = nl + 1) {
		if (load_line(s, p, (size_t)(nl - p), first, e) == -1)
			goto out;
		first = false;
	}
	if (first) {
		err_set(e, CALA_INTEGRITY, "journal: empty");
		goto out;
	}
	if (*p != '\0' && ftruncate(s->journal, (off_t)(p - b.p)) == -1) {
		err_sys(e, "journal");
		goto out;
	}
	ret = 0;
out:
	buf_fini(&b);
	return ret;
}

static bool
spared(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
	    str_begins(name, ".cala-restore-") || str_begins(name,
	    ".cala-old-");
}

/* 0, or -1 with errno; EEXIST when the name is taken. */
static int
rename_new(int from, const char *name, int to, const char *as)
{
	if (renameat2(from, name, to, as, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL)
		return -1;
	/* The file system has no such flag. */
	if (faccessat(to, as, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		errno = EEXIST;
		return -1;
	}
	return errno == ENOENT ? renameat(from, name, to, as) : -1;
}

/*
 * Somebody still writes to V and has made a name anew.  What is ours to move
 * gets its name, the other a longer one; nothing is lost.
 */
static int
move_taken(struct swap *s, int from, int to, const char *name)
{
	char late[256];

	snprintf(late, sizeof(late), "%.220s.cala-late-%.8s", name, s->id);
	log_warn(s->log, "%s: was made anew while the trees were swapped; "
	    "kept as %s", str_q(name), str_q(late));
	if (s->phase == PHASE_OUT)
		return rename_new(from, name, to, late);
	return rename_new(to, name, to, late) == -1 ? -1 :
	    rename_new(from, name, to, name);
}

/* Move everything from one directory to another. */
static int
move_all(struct swap *s, int from, int to, struct err *e)
{
	struct dirent *d;
	DIR *dir = NULL;
	int ret = -1;
	bool moved;

	if ((dir = file_list(from)) == NULL)
		return err_sys(e, "open a directory of the swap");
	/* Until a round finds nothing: what appears meanwhile comes along. */
	do {
		moved = false;
		rewinddir(dir);
		while (errno = 0, (d = readdir(dir)) != NULL) {
			if (spared(d->d_name))
				continue;
			if (!swap_step(s)) {
				ret = 1;
				goto out;
			}
			moved = true;
			if (rename_new(from, d->d_name, to, d->d_name) == 0 ||
			    errno == ENOENT || (errno == EEXIST &&
			    move_taken(s, from, to, d->d_name) == 0))
				continue;
			err_sys(e, "move %s", str_q(d->d_name));
			goto out;
		}
		if (errno != 0) {
			err_sys(e, "read a directory of the swap");
			goto out;
		}
	} while (moved);
	if (fsync(from) == -1 || fsync(to) == -1) {
		err_sys(e, "sync a directory of the swap");
		goto out;
	}
	ret = 0;
out:
	closedir(dir);
	return ret;
}

/* V is not renamed, so it takes over what the new root is. */
static void
copy_root(struct swap *s)
{
	char list[4096], value[65536];
	const char *p;
	struct stat st;
	ssize_t n, k;

	if (fstat(s->tree, &st) == -1)
		return;
	if (geteuid() == 0 && fchown(s->target, st.st_uid, st.st_gid) == -1)
		log_warn(s->log, "%s: owner: %s", str_q(s->path),
		    strerrordesc_np(errno));
	n = flistxattr(s->tree, list, sizeof(list));
	for (p = list; n > 0 && p < list + n; p += strlen(p) + 1) {
		k = fgetxattr(s->tree, p, value, sizeof(value));
		if (k == -1 || fsetxattr(s->target, p, value, (size_t)k, 0) ==
		    -1)
			log_warn(s->log, "%s: attribute %s: %s",
			    str_q(s->path), str_q(p), strerrordesc_np(errno));
	}
	if (fchmod(s->target, st.st_mode & 07777) == -1)
		log_warn(s->log, "%s: mode: %s", str_q(s->path),
		    strerrordesc_np(errno));
}

/* From the phase of the journal to its end. */
static int
move_phase(struct swap *s, int old, enum phase next, struct err *e)
{
	int ret = 0;

	switch (s->phase) {
	case PHASE_OUT:
		ret = move_all(s, s->target, old, e);
		break;
	case PHASE_IN:
		ret = move_all(s, s->tree, s->target, e);
		if (ret == 0)
			copy_root(s);
		break;
	case PHASE_BACK:
		ret = move_all(s, s->target, s->tree, e);
		break;
	case PHASE_HOME:
		ret = move_all(s, old, s->target, e);
		break;
	default:
		return err_set(e, CALA_FAIL, "journal: no such phase here");
	}
	if (ret != 0)
		return ret;
	if (!swap_step(s))
		return 1;
	return journal_phase(s, next, e);
}

static int
run_entries(struct swap *s, struct err *e)
{
	struct err undo = ERR_INIT;
	struct stat st;
	int old, ret = 0;

	if (mkdirat(s->dir, "old", 0700) == -1 && errno != EEXIST)
		return err_sys(e, "create a directory for the old tree");
	old = openat(s->dir, "old", O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);
	if (old == -1)
		return err_sys(e, "open the directory of the old tree");
	if (s->phase == PHASE_STAGE) {
		if (!swap_step(s)) {
			ret = 1;
			goto out;
		}
		/* Moving things out of the new root changes its time. */
		if (fstat(s->tree, &st) == 0)
			s->mtime = st.st_mtim;
		ret = fsync(s->dir) == -1 ? err_sys(e, "sync %s", s->work) :
		    journal_phase(s, PHASE_OUT, e);
		if (ret == -1) {
			err_ctx(e, "begin the swap");
			goto out;
		}
	}
	if (s->phase == PHASE_OUT)
		ret = move_phase(s, old, PHASE_IN, e);
	if (ret == 0 && s->phase == PHASE_IN)
		ret = move_phase(s, old, PHASE_DONE, e);
	if (ret == -1 && (s->phase == PHASE_OUT || s->phase == PHASE_IN) &&
	    journal_phase(s, s->phase == PHASE_OUT ? PHASE_HOME : PHASE_BACK,
	    &undo) == -1)
		goto lost;
	if (ret != 1 && s->phase == PHASE_BACK &&
	    move_phase(s, old, PHASE_HOME, &undo) != 0)
		goto lost;
	if (ret != 1 && s->phase == PHASE_HOME &&
	    move_phase(s, old, PHASE_UNDONE, &undo) != 0)
		goto lost;
	goto out;
lost:
	if (undo.code == 0) {
		ret = 1;        /* the steps were used up on the way back */
		goto out;
	}
	if (e->code == 0)
		*e = undo;
	err_ctx(e, "%s: the swap could neither be finished nor undone (%s)",
	    str_q(s->path), undo.msg);
	err_hint(e, "the old tree is in %s, the new one in tree beside it; "
	    "mend the cause, then run cala-unpack --recover", s->work);
	ret = -1;
out:
	close(old);
	return ret;
}

static bool
is_new(struct swap *s, int at, const char *name)
{
	struct stat st;

	return fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISDIR(st.st_mode) && (uint64_t)st.st_ino == s->ino;
}

static int
run_whole(struct swap *s, struct err *e)
{
	struct stat st;

	if (s->phase == PHASE_STAGE) {
		if (fstat(s->tree, &st) == -1)
			return err_sys(e, "the new tree");
		s->ino = st.st_ino;
		if (!swap_step(s))
			return 1;
		if (journal_phase(s, PHASE_SWAP, e) == -1)
			return -1;
	}
	if (s->phase == PHASE_SWAP && is_new(s, s->dir, "tree")) {
		if (!swap_step(s))
			return 1;
		if (renameat2(s->dir, "tree", s->home, s->name,
		    RENAME_EXCHANGE) == -1 && (errno != ENOENT ||
		    renameat2(s->dir, "tree", s->home, s->name,
		    RENAME_NOREPLACE) == -1)) {
			err_sys(e, "put the new tree in the place of %s",
			    str_q(s->path));
			/* Nothing has moved: what was staged can go. */
			s->phase = PHASE_UNDONE;
			(void)journal_phase(s, PHASE_UNDONE, &(struct err)
			    ERR_INIT);
			return -1;
		}
	} else if (s->phase == PHASE_SWAP && !is_new(s, s->home, s->name)) {
		return err_set(e, CALA_FAIL, "%s: neither it nor what was "
		    "staged for it is the new tree", str_q(s->path));
	}
	if (s->phase == PHASE_SWAP) {
		if (!swap_step(s))
			return 1;
		if (fsync(s->home) == -1 || fsync(s->dir) == -1)
			return err_sys(e, "sync %s", str_q(s->path));
		if (journal_phase(s, PHASE_DONE, e) == -1)
			return -1;
	}
	if (s->phase == PHASE_DONE && faccessat(s->dir, "tree", F_OK,
	    AT_SYMLINK_NOFOLLOW) == 0) {
		if (!swap_step(s))
			return 1;
		if (renameat(s->dir, "tree", s->dir, "old") == -1)
			return err_sys(e, "name the old tree");
	}
	return 0;
}

int
swap_run(struct swap *s, struct err *e)
{
	return s->whole ? run_whole(s, e) : run_entries(s, e);
}
