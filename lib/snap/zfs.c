#include "snap/zfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/str.h"
#include "fs/extract.h"
#include "snap/mounts.h"

enum {
	SAID_MAX = 64 << 10,    /* bytes of standard error */
	LINE_MAX_LEN = 64 << 10,
	PATIENCE = 300,         /* seconds for cleanup */
	BUSY_TRIES = 7          /* after 0.1, 0.2 ... 3.2 seconds */
};

static const char *const env[] = { "LC_ALL=C", NULL };

static bool
word_ok(const char *s, size_t n, bool blanks)
{
	size_t i;

	if (n == 0)
		return false;
	for (i = 0; i < n; i++)
		if ((s[i] < 'a' || s[i] > 'z') && (s[i] < 'A' || s[i] > 'Z') &&
		    (s[i] < '0' || s[i] > '9') &&
		    strchr(blanks ? "-_.: " : "-_.:", s[i]) == NULL)
			return false;
	return true;
}

bool
zfs_dataset_ok(const char *s)
{
	size_t n;

	if (*s == '-' || *s == '.' || strlen(s) >= ZFS_NAME)
		return false;
	for (;; s += n + 1) {
		n = strcspn(s, "/");
		if (!word_ok(s, n, true))
			return false;
		if (s[n] == '\0')
			return true;
	}
}

bool
zfs_snapshot_ok(const char *s)
{
	return strlen(s) < ZFS_NAME && *s != '-' &&
	    word_ok(s, strlen(s), false);
}

/* The last line that says something. */
static const char *
last_line(char *said)
{
	char *nl;

	said = str_trim(said);
	/* "use '-R' to destroy the following datasets:" and a list */
	if ((nl = strstr(said, "\nuse '-")) != NULL)
		*nl = '\0';
	nl = strrchr(said, '\n');
	return nl != NULL ? nl + 1 : said;
}

static int
explain(const char *verb, int status, char *said, struct err *e)
{
	static const struct { const char *text; int code; } known[] = {
		{ "does not exist", CALA_NOTFOUND },
		{ "could not find any snapshots", CALA_NOTFOUND },
		{ "no such pool", CALA_NOTFOUND },
		{ "already exists", CALA_EXISTS },
		{ "busy", CALA_LOCKED },
		{ "permission denied", CALA_AUTH },
		{ "must be run as root", CALA_AUTH },
		{ "out of space", CALA_NOSPACE },
		{ "quota exceeded", CALA_NOSPACE },
	};
	const char *line = last_line(said);
	int code = CALA_FAIL;
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (strcasestr(said, known[i].text) != NULL) {
			code = known[i].code;
			break;
		}
	if (*line == '\0')
		return err_set(e, code, "zfs %s: exited with status %d", verb,
		    status);
	return err_set(e, code, "zfs %s: %s", verb, str_q(line));
}

static int
not_there(struct err *e)
{
	if (e->code == CALA_NOCMD)
		err_hint(e, "install zfsutils-linux");
	return -1;
}

static void
trace(struct log *log, const char *const *argv)
{
	struct buf b;
	size_t i;

	if (log->level < LOG_WIRE)
		return;
	buf_init(&b, 8192);
	for (i = 0; argv[i] != NULL; i++)
		buf_printf(&b, "%s%s", i > 0 ? " " : "", str_q(argv[i]));
	log_wire(log, "running %s", b.p);
	buf_fini(&b);
}

/* To its end; a signal that asks us to stop ends it, unless must. */
static int
await(struct proc *p, bool must, struct err *e)
{
	struct timespec pause = { 0, 10 * 1000 * 1000 };
	unsigned spent = 0;

	while (proc_poll(p, 1, 1) > 0) {
		if (stop_signal() == 0)
			continue;
		if (!must) {
			proc_end(p, 1, 10);
			return stop_check(e);
		}
		/* With the stop flag up proc_poll returns at once. */
		nanosleep(&pause, NULL);
		if (++spent == PATIENCE * 100U) {
			proc_end(p, 1, 10);
			return err_set(e, CALA_DEADLINE, "zfs: did not end");
		}
	}
	return 0;
}

int
zfs_do(struct log *log, const char *const *argv, bool must, struct err *e)
{
	struct proc_spec spec = PROC_SPEC_INIT;
	char said[2048];
	struct proc p;
	ssize_t n;
	int fd, ret = -1;

	trace(log, argv);
	/* In memory, so that nothing waits for us to read it. */
	if ((fd = memfd_create("zfs", MFD_CLOEXEC)) == -1)
		return err_sys(e, "memfd_create");
	spec.argv = argv;
	spec.env = env;
	spec.fd[1] = fd;
	spec.fd[2] = fd;
	spec.group = true;
	if (proc_start(&p, &spec, e) == -1) {
		not_there(e);
		goto out;
	}
	if (await(&p, must, e) == -1)
		goto out;
	ret = 0;
	if (p.status != 0) {
		n = file_pread_full(fd, said, sizeof(said) - 1, 0);
		said[n > 0 ? n : 0] = '\0';
		ret = explain(argv[1], p.status, said, e);
	}
out:
	close(fd);
	return ret;
}

int
zfs_ask(struct log *log, const char *const *argv,
    int (*line)(void *, const char *, size_t, struct err *), void *ctx,
    struct err *e)
{
	static const struct proc_spec init = PROC_SPEC_INIT;
	struct proc_task t;
	struct err own = ERR_INIT;
	struct buf said;
	int ret = -1;

	trace(log, argv);
	memset(&t, 0, sizeof(t));
	buf_init(&said, SAID_MAX);
	t.spec = init;
	t.spec.argv = argv;
	t.spec.env = env;
	t.spec.group = true;
	t.line = line;
	t.ctx = ctx;
	t.line_max = LINE_MAX_LEN;
	t.errs = &said;
	t.e = &own;
	if (proc_gather(&t, 1, 1, -1, e) == -1)
		goto out;
	if (own.code != 0) {
		*e = own;
		not_there(e);
	} else if (t.code != 0) {
		explain(argv[1], t.code, said.p, e);
	} else {
		ret = 0;
	}
out:
	buf_fini(&said);
	return ret;
}

struct answer {
	struct buf *value;
	bool set;
};

/* "VALUE\tSOURCE" */
static int
on_value(void *ctx, const char *p, size_t n, struct err *e)
{
	struct answer *a = ctx;
	const char *tab = memrchr(p, '\t', n);
	char source[64];
	size_t k;

	if (tab == NULL)
		return err_set(e, CALA_INTEGRITY, "zfs get: no answer as "
		    "expected");
	k = n - (size_t)(tab - p) - 1;
	if (k >= sizeof(source))
		k = sizeof(source) - 1;
	memcpy(source, tab + 1, k);
	source[k] = '\0';
	a->set = !str_begins(source, "inherited") &&
	    ((size_t)(tab - p) != 1 || *p != '-');
	buf_reset(a->value);
	return buf_add(a->value, p, (size_t)(tab - p)) == -1 ?
	    buf_failed(a->value, e) : 0;
}

int
zfs_get(struct log *log, const char *target, const char *property,
    struct buf *value, struct err *e)
{
	const char *argv[] = { "zfs", "get", "-H", "-p", "-o", "value,source",
	    property, target, NULL };
	struct answer a = { value, false };

	if (zfs_ask(log, argv, on_value, &a, e) == -1)
		return -1;
	return a.set ? 0 : 1;
}

int
zfs_destroy(struct log *log, const char *name, bool must, struct err *e)
{
	const char *argv[] = { "zfs", "destroy", name, NULL };
	struct timespec pause = { 0, 100 * 1000 * 1000 };
	int i;

	for (i = 0;; i++) {
		err_clear(e);
		if (zfs_do(log, argv, must, e) == 0)
			return 0;
		if (e->code == CALA_NOTFOUND) {
			err_clear(e);
			return 0;
		}
		if (e->code != CALA_LOCKED || i == BUSY_TRIES - 1)
			return -1;
		if (!must && stop_check(e) == -1)
			return -1;
		log_step(log, "%s is busy; trying again", str_q(name));
		nanosleep(&pause, NULL);
		pause.tv_nsec *= 2;
		pause.tv_sec = 2 * pause.tv_sec + pause.tv_nsec / 1000000000;
		pause.tv_nsec %= 1000000000;
	}
}

struct backups {
	struct zfs_seen *v;
	size_t n, room;
};

/* DATASET@backup-UUID; others are not ours to see. */
static int
on_snapshot(void *ctx, const char *p, size_t n, struct err *e)
{
	static const size_t skip = sizeof(ZFS_BACKUP) - 1;
	struct backups *b = ctx;
	const char *at = memchr(p, '@', n);
	char text[UUID_TEXT];
	struct zfs_seen *more, *s;

	if (at == NULL || n - (size_t)(at - p) != 1 + skip + UUID_TEXT - 1 ||
	    memcmp(at + 1, ZFS_BACKUP, skip) != 0)
		return 0;
	memcpy(text, at + 1 + skip, UUID_TEXT - 1);
	text[UUID_TEXT - 1] = '\0';
	if (b->n == b->room) {
		b->room = b->room == 0 ? 64 : 2 * b->room;
		more = reallocarray(b->v, b->room, sizeof(*b->v));
		if (more == NULL)
			return err_oom(e);
		b->v = more;
	}
	s = &b->v[b->n];
	/* Lower case only: nobody looks for another spelling. */
	if (uuid_norm(text, s->uuid) == -1 || strcmp(s->uuid, text) != 0)
		return 0;
	if ((s->dataset = str_ndup(p, (size_t)(at - p))) == NULL)
		return err_oom(e);
	if (zfs_dataset_ok(s->dataset))
		b->n++;
	else
		free(s->dataset);
	return 0;
}

static int
by_uuid(const void *va, const void *vb)
{
	const struct zfs_seen *a = va, *b = vb;
	int c = strcmp(a->uuid, b->uuid);

	return c != 0 ? c : strcmp(a->dataset, b->dataset);
}

int
zfs_backups(struct log *log, struct zfs_seen **out, size_t *n, struct err *e)
{
	/* Names alone, sorted by name: OpenZFS reads no properties then. */
	static const char *const argv[] = { "zfs", "list", "-H", "-t",
	    "snapshot", "-o", "name", "-s", "name", NULL };
	struct backups b = { NULL, 0, 0 };

	if (zfs_ask(log, argv, on_snapshot, &b, e) == -1) {
		zfs_seen_free(b.v, b.n);
		/* A machine without any pool has no backups. */
		if (strstr(e->msg, "no datasets available") == NULL)
			return -1;
		err_clear(e);
		b.v = NULL;
		b.n = 0;
	}
	if (b.n > 1)
		qsort(b.v, b.n, sizeof(*b.v), by_uuid);
	*out = b.v;
	*n = b.n;
	return 0;
}

void
zfs_seen_free(struct zfs_seen *v, size_t n)
{
	while (n > 0)
		free(v[--n].dataset);
	free(v);
}

struct where {
	const char *want;
	char *source, *root, *path;
	bool zfs;
};

static int
at_path(void *arg, const struct mount_at *m, struct err *e)
{
	struct where *w = arg;

	(void)e;
	if (strcmp(m->path, w->want) != 0)
		return 0;
	free(w->source);
	free(w->root);
	w->zfs = mount_zfs(m);
	w->source = strdup(m->source);
	w->root = strdup(m->root);
	return 0;
}

/* "NAME\tMOUNTPOINT\tMOUNTED": the dataset that should be at w->want. */
static int
on_unmounted(void *ctx, const char *p, size_t n, struct err *e)
{
	struct where *w = ctx;
	const char *tab = memchr(p, '\t', n), *tab2;
	size_t k;

	(void)e;
	if (tab == NULL || w->source != NULL ||
	    (tab2 = memrchr(p, '\t', n)) == tab)
		return 0;
	k = (size_t)(tab2 - tab) - 1;
	if (k == strlen(w->want) && memcmp(tab + 1, w->want, k) == 0 &&
	    n - (size_t)(tab2 - p) == 3 && memcmp(tab2 + 1, "no", 2) == 0)
		w->source = str_ndup(p, (size_t)(tab - p));
	return 0;
}

static void
why_not(struct log *log, struct where *w, const char *path, struct err *e)
{
	static const char *const argv[] = { "zfs", "list", "-H", "-o",
	    "name,mountpoint,mounted", "-t", "filesystem", NULL };
	struct err ignored = ERR_INIT;

	free(w->source);
	w->source = NULL;
	if (zfs_ask(log, argv, on_unmounted, w, &ignored) == 0 &&
	    w->source != NULL) {
		err_set(e, CALA_USAGE, "the dataset %s belongs to %s, but is "
		    "not mounted", str_q(w->source), str_q(path));
		err_hint(e, "zfs mount %s", str_q(w->source));
		return;
	}
	err_set(e, CALA_USAGE, "%s is not a ZFS dataset of its own",
	    str_q(path));
	err_hint(e, "with the server stopped: mv V V.old && zfs create -o "
	    "mountpoint=V POOL/server-UUID && cp -a V.old/. V/");
}

char *
zfs_of(struct log *log, int fd, struct err *e)
{
	struct where w = { NULL, NULL, NULL, NULL, false };
	char *path = mounts_path(fd, e), *ret = NULL;

	if (path == NULL)
		return NULL;
	w.want = path;
	if (mounts_each(at_path, &w, e) == -1)
		goto out;
	if (!w.zfs || w.source == NULL || w.root == NULL) {
		why_not(log, &w, path, e);
	} else if (strcmp(w.root, "/") != 0) {
		/* A bind mount shows a part, a snapshot would hold all. */
		err_set(e, CALA_USAGE, "%s is only the part %s of the dataset "
		    "%s", str_q(path), str_q(w.root), str_q(w.source));
	} else if (!zfs_dataset_ok(w.source)) {
		err_set(e, CALA_USAGE, "%s: %s is no dataset's name",
		    str_q(path), str_q(w.source));
	} else {
		ret = w.source;
		w.source = NULL;
	}
out:
	free(w.source);
	free(w.root);
	free(path);
	return ret;
}

static int
of_dataset(void *arg, const struct mount_at *m, struct err *e)
{
	struct where *w = arg;

	if (!mount_zfs(m) || strcmp(m->source, w->want) != 0 ||
	    strcmp(m->root, "/") != 0)
		return 0;
	w->path = strdup(m->path);
	return w->path == NULL ? err_oom(e) : 1;
}

char *
zfs_mountpoint(const char *dataset, struct err *e)
{
	struct where w = { dataset, NULL, NULL, NULL, false };

	if (mounts_each(of_dataset, &w, e) == 0)
		err_set(e, CALA_NOTFOUND, "dataset %s is not mounted",
		    str_q(dataset));
	return w.path;
}

int
zfs_look(const char *dataset, const char *snapshot)
{
	struct err ignored = ERR_INIT;
	char *path = zfs_mountpoint(dataset, &ignored), *name = NULL;
	int root = -1, fd = -1;
	bool walk = false;
	struct statx a;

	if (path == NULL)
		return -1;
	root = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	/*
	 * Where ZFS shows no .zfs, the server can make one itself: a link in it
	 * would have us take any directory for the snapshot.
	 */
	if (asprintf(&name, ".zfs/snapshot/%s", snapshot) == -1)
		name = NULL;
	else if (root != -1)
		fd = fs_beneath(root, name, O_RDONLY | O_DIRECTORY, &walk);
	/*
	 * Opening it makes the kernel mount it.  Without that the directory is
	 * there, and empty: taken for the snapshot, it would be a backup of
	 * nothing.
	 */
	if (fd != -1 && (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS,
	    &a) == -1 || (a.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) == 0 ||
	    (a.stx_attributes & STATX_ATTR_MOUNT_ROOT) == 0)) {
		close(fd);
		fd = -1;
	}
	if (root != -1)
		close(root);
	free(name);
	free(path);
	return fd;
}
